/**
 * Durable appends: entries that are signed already, by 1 to 256 appenders at a time, to the audit log and, in turns with
 * it, to bare LevelDB that is given the same rows in the same batches; both turn their entries into bytes. Beside them a
 * hash-chained JSONL file, hypercore if it is installed somewhere, and what a log of a million entries takes to open.
 * Exits 1 below the bars. `node bench/appends.ts [--entries N] [--hypercore DIRECTORY]`
 */
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { digestOf, limits } from '../protocol/index.ts';
import {
  createEntry,
  createUuid7,
  foldInclusion,
  leafHash,
  parseEntry,
  parseUuid7,
  verifyEntry,
} from '../protocol/log/index.ts';
import { isSignatureValidSodium, SecretKey } from '../protocol/sodium.ts';
import { createAgent, createOrganisation } from '../test/builders.ts';
import {
  BareLevel,
  ChainedFile,
  HypercoreLog,
  OwnLog,
  type Side,
  type SignedEntry,
  serialise,
} from './append-sides.ts';

const RATIO_MIN = 0.7; // of bare LevelDB, at 64 appenders and more
const PER_SECOND_MIN = 10_000; // there
const PUTS_MAX = 2; // p50 of a single append, in synced puts of one row
const ROUNDS = 9;
const WARM_UP = 2; // rounds that do not count
const BATCHES: Readonly<Record<number, number>> = { 1: 300, 8: 150, 64: 150, 256: 100 }; // in a round

const { values: flags } = parseArgs({
  options: { entries: { type: 'string', default: '1000000' }, hypercore: { type: 'string' } },
});

const acme = createOrganisation('acme');
const bot = createAgent(acme, 'bot');
const agentKey = new SecretKey(bot.keys.sign.seed);
let made = 0;

function sign(): SignedEntry & { readonly bytes: Uint8Array } {
  made++;
  const nowMs = 1_795_000_000_000 + Math.floor(made / 20); // as a busy daemon makes them
  const random = digestOf(new TextEncoder().encode(`${made}`)).subarray(0, 16);
  return createEntry(
    {
      id: createUuid7(nowMs, random),
      source: acme.did,
      timeMs: nowMs,
      type: 'agentmesh.agent.action.v1',
      data: { actor: bot.did, phase: 'intent', tool: 'search' },
    },
    agentKey,
  );
}

const { bytes: signed, id16: signedId } = sign();
/** As it is read back: its keys are in canonical order. */
const template = { ...parseEntry(signed), id16: signedId };

/** As signed ones but for id and signature, which the log does not verify again; no two compress to one. */
function entries(count: number): SignedEntry[] {
  return Array.from({ length: count }, () => {
    made++;
    const id = createUuid7(1_795_000_000_000 + Math.floor(made / 20), randomOf(made));
    const { kid } = template.entry.data.sig;
    const data = { ...template.entry.data, sig: { kid, sig: randomBytes(64).toString('base64url') } };
    return { entry: { ...template.entry, data, id }, id16: parseUuid7(id).bytes };
  });
}
function randomOf(n: number): Uint8Array {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, Math.imul(n, 0x9e3779b1));
  view.setUint32(4, n);
  view.setUint32(8, Math.imul(n, 0x85ebca6b));
  return bytes;
}

const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
const at = (values: readonly number[], part: number): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length * part)] ?? Number.NaN;
const print = (name: string, ...values: readonly (number | string)[]): void =>
  console.log(
    name.padEnd(26) +
      values.map((value) => (typeof value === 'number' ? `${Math.round(value)}` : value).padStart(14)).join(''),
  );
const failures: string[] = [];
function bar(holds: boolean, what: string): void {
  if (!holds) failures.push(what);
}

interface Round {
  readonly perSecond: number;
  readonly tookMs: readonly number[];
}

async function measure(side: Side, appenders: number): Promise<Round> {
  const batch = entries(appenders * (BATCHES[appenders] ?? 100));
  const start = performance.now();
  const tookMs = await side.append(batch, appenders);
  return { perSecond: (1000 * batch.length) / (performance.now() - start), tookMs };
}

/** Each round in another order, so that none always runs behind the same one. */
async function rounds(sides: readonly Side[], appenders: number): Promise<Map<string, Round[]>> {
  const results = new Map<string, Round[]>(sides.map(({ name }) => [name, []]));
  for (let round = -WARM_UP; round < ROUNDS; round++) {
    const order = round % 2 === 0 ? sides : sides.toReversed();
    for (const side of order) {
      const result = await measure(side, appenders);
      if (round >= 0) results.get(side.name)?.push(result);
    }
  }
  return results;
}

async function bytesBelow(directory: string): Promise<number> {
  let bytes = 0;
  for (const each of await readdir(directory, { withFileTypes: true, recursive: true }))
    if (each.isFile()) bytes += (await stat(join(each.parentPath, each.name))).size;
  return bytes;
}

async function appendRates(directory: string): Promise<void> {
  await using own = await OwnLog.open(await folder(directory, 'own'), entries(1)[0]);
  await using bare = new BareLevel(await folder(directory, 'bare'));
  await using chain = await ChainedFile.open(await folder(directory, 'chain'));
  await using core =
    flags.hypercore === undefined
      ? undefined
      : await HypercoreLog.open(flags.hypercore, await folder(directory, 'core'));
  const sides: Side[] = [own, bare, chain, ...(core === undefined ? [] : [core])];
  print('appenders', 'entries/s', 'p50 ms', 'p99 ms', 'of bare');
  for (const appenders of [1, 8, 64, 256]) {
    const results = await rounds(sides, appenders);
    for (const [name, all] of results) {
      const tookMs = all.flatMap((round) => round.tookMs);
      const bareRounds = results.get(bare.name) ?? [];
      const ratio = median(all.map(({ perSecond }, i) => perSecond / (bareRounds[i]?.perSecond ?? Number.NaN)));
      const perSecond = median(all.map((round) => round.perSecond));
      print(
        `${appenders} ${name}`,
        perSecond,
        median(tookMs).toFixed(2),
        at(tookMs, 0.99).toFixed(2),
        ratio.toFixed(2),
      );
      if (name !== own.name || appenders < 64) continue;
      bar(ratio >= RATIO_MIN, `${appenders} appenders: ${ratio.toFixed(2)} of bare LevelDB, want >= ${RATIO_MIN}`);
      bar(perSecond >= PER_SECOND_MIN, `${appenders} appenders: ${Math.round(perSecond)}/s, want >= ${PER_SECOND_MIN}`);
    }
  }
  await singleAppend(own, directory);
}

async function singleAppend(own: OwnLog, directory: string): Promise<void> {
  await using bare = new BareLevel(await folder(directory, 'puts'));
  const ratios: number[] = [];
  const all: { readonly append: number[]; readonly put: number[] } = { append: [], put: [] };
  for (let round = -WARM_UP; round < ROUNDS; round++) {
    const append = round % 2 === 0 ? await own.append(entries(200), 1) : [];
    const put = await bare.put(entries(200));
    if (append.length === 0) append.push(...(await own.append(entries(200), 1)));
    if (round < 0) continue;
    ratios.push(median(append) / median(put));
    all.append.push(...append);
    all.put.push(...put);
  }
  const ratio = median(ratios);
  console.log(
    `\na single append takes ${median(all.append).toFixed(2)} ms (p50), a synced put of one row ${median(all.put).toFixed(2)} ms: ${ratio.toFixed(2)} (median), want <= ${PUTS_MAX}`,
  );
  bar(ratio <= PUTS_MAX, `a single append takes ${ratio.toFixed(2)} synced puts, want <= ${PUTS_MAX}`);
}

function signatures(): void {
  const count = 3_000;
  const rate = (work: () => void): string => {
    for (let i = 0; i < count / 10; i++) work();
    const start = performance.now();
    for (let i = 0; i < count; i++) work();
    return `${Math.round((1000 * count) / (performance.now() - start))}/s`;
  };
  const parsed = parseEntry(template.bytes);
  console.log(
    `beside it, on one core: entries built and signed ${rate(sign)}, parsed ${rate(() => parseEntry(template.bytes))}, their signatures verified ${rate(() => verifyEntry(parsed, isSignatureValidSodium))}`,
  );
}

async function openLarge(directory: string, count: number): Promise<void> {
  const home = await folder(directory, 'large');
  let start = performance.now();
  {
    await using own = await OwnLog.open(home, entries(1)[0]);
    while (own.log.treeSize < count) await own.append(entries(Math.min(64 * 256, count - own.log.treeSize)), 256);
  }
  const writtenMs = performance.now() - start;
  const bytes = await bytesBelow(home);
  start = performance.now();
  await using own = await OwnLog.open(home);
  const openMs = performance.now() - start;
  const { log } = own;
  console.log(
    `\na log of ${log.treeSize} entries: written in ${(writtenMs / 1000).toFixed(1)} s, open in ${openMs.toFixed(0)} ms, ${(bytes / log.treeSize).toFixed(0)} bytes of disk an entry (${template.bytes.length} of them the entry's own)`,
  );
  await proofs(own);
}

async function proofs({ log }: OwnLog): Promise<void> {
  const took: Record<'cold' | 'warm', number[]> = { cold: [], warm: [] };
  let hashes = 0;
  for (let i = 0; i < 200; i++) {
    const index = Math.floor((((i * 7919) % 200) / 200) * log.treeSize);
    const entry = await log.files.entry(index);
    if (entry === undefined) throw new Error(`Cannot measure: entry ${index} is missing`);
    for (const heat of ['cold', 'warm'] as const) {
      const start = performance.now();
      const proof = await log.files.proveInclusion(index);
      took[heat].push(performance.now() - start);
      hashes = proof.length;
      const root = foldInclusion(index, log.treeSize, leafHash(entry), proof);
      if (Buffer.compare(root, log.root) !== 0) throw new Error('Cannot measure: a proof leads to another root');
    }
  }
  console.log(
    `inclusion proofs from it, of ${hashes} hashes: p50 ${median(took.cold).toFixed(2)} ms with its tile read for the first time, ${median(took.warm).toFixed(3)} ms once more`,
  );
}

async function folder(directory: string, name: string): Promise<string> {
  const path = join(directory, name);
  await mkdir(path);
  return path;
}

const directory = await mkdtemp(join(tmpdir(), 'agentmesh-appends-'));
try {
  console.log(
    `entries of ${serialise(template).length} bytes, at most ${limits.LOG_BATCH_ENTRIES_MAX} a batch; ${ROUNDS} rounds, medians\n`,
  );
  await appendRates(directory);
  signatures();
  const count = Number(flags.entries);
  if (count > 0) await openLarge(directory, count);
  console.log(`
changed bytes: all of these notice, LevelDB alone does not. A tail that was cut off: the audit log (anchor, witnesses);
a chain of hashes verifies without it, and so does hypercore. Two histories for two readers: the audit log and hypercore,
each by two signatures; a chain has none. A proof of one entry without the rest: the audit log and hypercore.`);
  for (const failure of failures) console.error(`below the bar: ${failure}`);
  if (failures.length > 0) process.exitCode = 1;
} finally {
  await rm(directory, { recursive: true });
}
