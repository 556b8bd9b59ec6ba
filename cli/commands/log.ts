/** The audit log: what is in it, how it stands, proofs, copies, and checks that believe nobody. */
import { join, resolve } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { LogEntryView } from '../../protocol/control/index.ts';
import { isMeshError, limits, MeshError, toHex } from '../../protocol/index.ts';
import { ENTRY_TYPE_NAMES, leafHash, parseEntry, POLICY_PATH, verifyEntry } from '../../protocol/log/index.ts';
import { isSignatureValidSodium } from '../../protocol/sodium.ts';
import { type EntryQuery, verifyProof } from '../../sdk/index.ts';
import { collect, integerBetween, parseReason, parseSeconds, parseTime } from '../arguments.ts';
import { EXIT, type ExitCode } from '../exit.ts';
import { isFile, writeWhole, writingProblem } from '../files.ts';
import { withHelp } from '../help.ts';
import type { Invocation } from '../invocation.ts';
import { EXPORT_FORMATS, type ExportFormat, writeLines } from '../log-lines.ts';
import {
  checkLog,
  checkProof,
  ENTRY_SUFFIX,
  keptCheckpoints,
  openTarget,
  policyOfOrigin,
  PROOF_SUFFIX,
  readPolicy,
  withoutProofSuffix,
} from '../log-verification.ts';
import { findMeshDid, localNames, peopleNames } from '../lookup.ts';
import type { Mesh } from '../mesh.ts';
import { nextOf, UsageError } from '../problem.ts';
import type { Act } from '../program.ts';
import {
  formatEntry,
  formatEntryLine,
  formatExported,
  formatLogRecovered,
  formatLogStatus,
  formatProved,
  formatVerdict,
  type LogVerdict,
} from '../views/log.ts';

const TAIL_DEFAULT = 20;
const COUNT_MAX = 1_000_000;

export function addLog(program: Command, act: Act): void {
  const log = withHelp(program.command('log'), {
    summary: 'The audit log of this daemon: a Merkle tree that its peers cosign',
    about:
      'Every entry is signed by whoever acted. Nothing can be changed, left out or put in afterwards without the signed and cosigned size of ' +
      'the tree giving it away; "log verify" checks that in this process, from the bytes.',
    examples: [
      ['log tail -f', 'what is logged, as it happens'],
      ['log prove 12 -o entry12', 'an entry with its proof, for anybody'],
      ['log verify', 'all of it'],
    ],
  });
  addTail(log, act);
  addShow(log, act);
  addProve(log, act);
  addVerify(log, act);
  addExport(log, act);
  addStatus(log, act);
  addRecover(log, act);
}

interface TailOptions {
  readonly follow?: true;
  readonly actor?: string;
  readonly type?: readonly string[];
  readonly since?: Since;
  readonly limit?: number;
}

function addTail(log: Command, act: Act): void {
  withHelp(log.command('tail'), {
    summary: 'The newest entries; with --follow also those to come',
    about:
      'A line each: number, time (UTC), type, actor, facts; a "?" after the type marks an intent. With --json one object a line. A type is ' +
      'named like "session.ended", or by its beginning ("session"); of other makers in full.',
    examples: [
      ['log tail', `the last ${TAIL_DEFAULT}`],
      ['log tail -f --type handshake', 'handshakes, as they happen'],
      ['log tail --since 1h --actor my-agent', 'what one agent did in the last hour'],
      ['log tail --since 2026-11-18T11:00Z --json', 'for a program'],
    ],
  })
    .option('-f, --follow', 'go on until interrupted')
    .option('--actor <agent>', 'who acted: DID, or name of an own agent')
    .option('--type <type>', 'only entries of this type; may be repeated', collect(entryType))
    .option('--since <time>', 'from then on: a time, or an age like 10m or 2d', parseSince)
    .option('--limit <count>', `how many (default: ${TAIL_DEFAULT}; with --since all)`, integerBetween(1, COUNT_MAX))
    .action(act(tail));
}

async function tail(invocation: Invocation, options: TailOptions): Promise<void> {
  const { signal } = invocation;
  const mesh = await invocation.mesh();
  const names = await peopleNames(mesh);
  const { treeSize } = await mesh.call('logStatus');
  const filter: EntryQuery = {
    ...(options.actor !== undefined && { actor: await findMeshDid(mesh, options.actor) }),
    ...(options.type !== undefined && { types: options.type }),
    ...(options.since !== undefined && { since: options.since(invocation.world.nowMs()) }),
    before: treeSize,
  };
  const show = (entry: LogEntryView): void =>
    invocation.answerLine(entry, (view) => formatEntryLine(entry, view, names));
  for await (const entry of lastEntries(mesh, filter, options, signal)) show(entry);
  if (options.follow !== true) return;
  if (!invocation.json) invocation.note('Following the log; Ctrl-C ends it.');
  const { before: _, ...rest } = filter;
  const after = treeSize === 0 ? {} : { after: treeSize - 1 };
  for await (const entry of mesh.client.log.entries({ ...rest, ...after, follow: true }, { signal })) show(entry);
}

/** Oldest first. Where a count is asked for, the log is read from its end. */
async function* lastEntries(
  mesh: Mesh,
  filter: EntryQuery,
  { limit, since }: TailOptions,
  signal: AbortSignal,
): AsyncGenerator<LogEntryView> {
  if (since !== undefined && limit === undefined) {
    yield* mesh.client.log.entries({ ...filter, order: 'oldest' }, { signal });
    return;
  }
  const found: LogEntryView[] = [];
  const newest = mesh.client.log.entries({ ...filter, limit: limit ?? TAIL_DEFAULT }, { signal });
  for await (const entry of newest) found.push(entry);
  yield* found.toReversed();
}

function addShow(log: Command, act: Act): void {
  withHelp(log.command('show'), {
    summary: 'One entry in full, its signature checked here',
    about: 'Exit code 3 if the signature does not verify. Whether the entry is in the log is what "log prove" shows.',
    examples: [
      ['log show 12', 'by its number'],
      ['log show 019aac3e-1c55-7f3a-8f0e-2f4f4b6f1d11', 'by its id'],
    ],
  })
    .argument('<entry>', 'its number, from 0, or its id')
    .action(
      act(async (invocation, text: string) => {
        const at = entryAt(text);
        const mesh = await invocation.mesh();
        const [answer, names] = await Promise.all([mesh.call('logEntry', { params: { at } }), peopleNames(mesh)]);
        const bytes = Uint8Array.from(Buffer.from(answer.bytes, 'base64url'));
        const isSigned = isEntrySigned(bytes);
        const about = { leaf: toHex(leafHash(bytes)), bytes: bytes.length, isSigned };
        invocation.answer(answer, (view) => formatEntry(answer, about, view, names));
        return isSigned ? EXIT.ok : EXIT.refused;
      }),
    );
}

function isEntrySigned(bytes: Uint8Array): boolean {
  try {
    verifyEntry(parseEntry(bytes), isSignatureValidSodium);
    return true;
  } catch (error) {
    if (isMeshError(error)) return false; // shown as such
    throw error;
  }
}

function addProve(log: Command, act: Act): void {
  withHelp(log.command('prove'), {
    summary: 'An entry with the proof that it is in the log, for anybody to check offline',
    about:
      'Writes FILE.tlog-proof (C2SP tlog-proof: the way to the root, and the cosigned checkpoint) and FILE.json (the bytes of the entry). With ' +
      '--witnessed a checkpoint is waited for that so many witnesses have cosigned. What is written was checked before.',
    examples: [
      ['log prove 12 -o entry12', 'entry12.tlog-proof and entry12.json'],
      ['log prove 12 -o entry12 --witnessed 2', 'cosigned by two at least'],
    ],
  })
    .argument('<entry>', 'its number, from 0, or its id')
    .requiredOption('-o, --out <file>', 'where to write; the endings are added')
    .option('--witnessed <count>', 'witnesses that must have cosigned', integerBetween(1, limits.WITNESSES_MAX))
    .action(act(prove));
}

async function prove(
  invocation: Invocation,
  text: string,
  { out, witnessed }: { out: string; witnessed?: number },
): Promise<void> {
  const at = entryAt(text);
  if (out === '')
    throw new UsageError('Cannot write a proof to "": want the name of a file', 'name one with --out FILE');
  const mesh = await invocation.mesh();
  const { signal, world } = invocation;
  const found = await mesh.client.log.prove(at, { signal, ...(witnessed !== undefined && { witnessed }) });
  const { bytes, proof, ...rest } = found;
  const { leafIndex } = verifyProof(proof, bytes, policyOfOrigin(proof));
  if (leafIndex !== found.index)
    throw new MeshError('internal', `Cannot use the daemon's proof: it is of entry ${leafIndex}, want ${found.index}`);
  const stem = resolve(world.cwd, withoutProofSuffix(out));
  const files = { proof: `${stem}${PROOF_SUFFIX}`, entry: `${stem}${ENTRY_SUFFIX}` };
  await writeWhole(files.entry, bytes);
  await writeWhole(files.proof, proof);
  invocation.answer({ ...rest, files }, (view) => formatProved({ ...rest, files }, view));
  invocation.suggest('check it, anywhere', 'log', 'verify', files.proof);
}

interface VerifyOptions {
  readonly policy?: string;
  readonly since?: readonly string[];
  readonly entry?: string;
  readonly maxAge?: number;
}

function addVerify(log: Command, act: Act): void {
  withHelp(log.command('verify'), {
    summary: 'Check a log or a proof, offline, and name the first place that is wrong',
    about:
      'FILE is a .tlog-proof beside its entry (FILE.json, else --entry); DIR what "log export" wrote, or any copy of it; without either the ' +
      "daemon's own log is read, file by file. All of it is checked in this process: signatures of log and witnesses, every entry and its " +
      'signature, every tile, the root. With --since the log has to contain a checkpoint that you kept. The quorum of your --policy has to be ' +
      'met; of a policy that came with the log it is only told whether it is. Exit code 3 if anything is wrong.',
    examples: [
      ['log verify', "the daemon's own log"],
      ['log verify entry12.tlog-proof --policy mine.policy', 'one entry, cosigned by witnesses you trust'],
      ['log verify /srv/log --since old-checkpoint', 'a copy, against what it was'],
    ],
  })
    .argument('[file|dir]', 'a proof, or a directory')
    .option('--policy <file>', 'C2SP tlog-policy: the logs and witnesses that you trust')
    .option(
      '--since <checkpoint>',
      'file of a checkpoint, or proof, that it must contain; may be repeated',
      collect(String),
    )
    .option('--entry <file>', 'the bytes of the entry, of a proof')
    .option('--max-age <time>', 'how old cosignatures may be, like 10m or 1d', parseSeconds)
    .action(act(verify));
}

async function verify(invocation: Invocation, named: string | undefined, options: VerifyOptions): Promise<ExitCode> {
  const { world, signal } = invocation;
  const { policy: policyFile, since = [], entry, maxAge } = options;
  const pathOf = (text: string): string => resolve(world.cwd, text);
  if (maxAge !== undefined && policyFile === undefined)
    throw new UsageError('Cannot use --max-age without --policy: a policy that came with the log decides nothing');
  const common = {
    policy: policyFile === undefined ? undefined : await readPolicy(pathOf(policyFile)),
    nowMs: world.nowMs(),
    signal,
    ...(maxAge !== undefined && { ageSecondsMax: maxAge }),
  };
  const files = named === undefined ? undefined : await openTarget(pathOf(named));
  if (named !== undefined && files === undefined) {
    if (since.length > 0)
      throw new UsageError(
        'Cannot compare a proof with a checkpoint: it holds one entry',
        'give --since with a directory, or without one for the own log',
      );
    const file = pathOf(named);
    const verdict = await checkProof(file, entry === undefined ? undefined : pathOf(entry), common);
    return report(invocation, verdict, { file });
  }
  if (entry !== undefined) throw new UsageError('Cannot use --entry without the file of a proof');
  const asked = { ...common, since: since.map(pathOf) };
  if (named !== undefined && files !== undefined) {
    const directory = pathOf(named);
    return report(invocation, await checkLog(files, { ...asked, policyFrom: join(directory, POLICY_PATH) }), {
      directory,
    });
  }
  const mesh = await invocation.mesh();
  const [own, { problem }] = [mesh.client.log.files({ signal }), await mesh.call('logStatus')];
  const verdict = await checkLog(own, {
    ...asked,
    policyFrom: 'the daemon',
    problem,
    kept: keptCheckpoints(own),
  });
  return report(invocation, verdict, { daemon: true });
}

function report(invocation: Invocation, verdict: LogVerdict, source: object): ExitCode {
  const { ok, code, message, data } = verdict;
  invocation.answer({ ok, code, message, data, checkedBy: 'this process', source, report: verdict.report }, (view) =>
    formatVerdict(verdict, view),
  );
  const next = ok ? null : code === 'log_halted' ? nextOf(code, invocation.place) : (NEXT[code ?? ''] ?? null);
  if (next !== null && !invocation.json) invocation.note(`next  ${next}`);
  return ok ? EXIT.ok : EXIT.refused;
}

const NEXT: Readonly<Record<string, string>> = {
  bad_proof: 'keep these files and the checkpoint as they are: they show what was changed, and that it was',
  quorum: 'ask for a proof with --witnessed, or look whether the policy names the witnesses of this log',
  not_signed: 'name a policy that has the key of this log',
};

function addExport(log: Command, act: Act): void {
  withHelp(log.command('export'), {
    summary: 'Copy the log into files',
    about:
      'tiles: a static log by C2SP tlog-tiles, which any web server can serve and any reader of that format can check. It is brought up to ' +
      'date when run again: what is there is kept where it is right, and the checkpoint is written last. The others write a file of lines ("-" ' +
      'for standard output): jsonl each entry with its number and leaf hash, cloudevents the entries as they are, ocsf for tools that read OCSF.',
    examples: [
      ['log export /srv/log', 'for a web server; again for what is new'],
      ['log export audit.jsonl --format jsonl', 'one entry a line'],
      ['log export - --format ocsf | gzip > ocsf.gz', 'for a SIEM'],
    ],
  })
    .argument('<dir|file>', 'a directory for tiles, else a file')
    .addOption(new Option('--format <format>', 'what to write').choices(['tiles', ...EXPORT_FORMATS]).default('tiles'))
    .action(act(exportLog));
}

async function exportLog(
  invocation: Invocation,
  named: string,
  { format }: { format: 'tiles' | ExportFormat },
): Promise<void> {
  const { world, signal } = invocation;
  if (format === 'tiles' && named === '-')
    throw new UsageError('Cannot write tiles to standard output: they are many files', 'name a directory');
  if (named === '') throw new UsageError('Cannot export to "": want a directory, or a file for the other formats');
  const target = resolve(world.cwd, named);
  if (format === 'tiles' && isFile(target))
    throw new UsageError(`Cannot write tiles to "${target}": it is a file`, 'name a directory, or another --format');
  const mesh = await invocation.mesh();
  if (format === 'tiles') {
    const exported = await mesh.client.log.export(target, { signal }).catch((error: unknown) => {
      throw writingProblem(target, error);
    });
    invocation.answer({ format, ...exported }, (view) => formatExported(exported, view));
    invocation.suggest('check it', 'log', 'verify', target);
    return;
  }
  const entries = await writeLines(mesh, format, named === '-' ? world.out : target, signal);
  if (named === '-') return;
  invocation.answer({ format, file: target, entries }, () => `wrote ${target}, ${entries} entries\n`);
}

function addStatus(log: Command, act: Act): void {
  withHelp(log.command('status'), {
    summary: 'Size, root, age, who cosigned and how long ago, and what is wrong',
    about: 'Exit code 1 if the log is halted: then it signs nothing, and the daemon grants nothing.',
    examples: [
      ['log status', 'for a person'],
      ['log status --json | jq -r .policy', 'the policy by which others can check proofs'],
    ],
  }).action(
    act(async (invocation) => {
      const mesh = await invocation.mesh();
      const [status, names] = await Promise.all([mesh.call('logStatus'), localNames(mesh)]);
      invocation.answer(status, (view) => formatLogStatus(status, view, names));
      if (status.problem === null) return EXIT.ok;
      const next = nextOf('log_halted', invocation.place);
      if (next !== null && !invocation.json) invocation.note(`next  ${next}`);
      return EXIT.failure;
    }),
  );
}

function addRecover(log: Command, act: Act): void {
  withHelp(log.command('recover'), {
    summary: 'The way out of a log that is halted',
    about:
      'A log halts where it contradicts what it has signed before: after a restored backup, an edited or damaged database. --from-mirrors fetches ' +
      'what is missing from peers that keep a copy, says how many of the last entries no copy has, and is the better way ' +
      'where there is one. --new-generation leaves the old log as it is and ' +
      'begins another, whose first entry names the last checkpoint of the old one and the reason. Both are logged, for ever.',
    examples: [
      ['log recover --from-mirrors --reason "disk replaced"', 'with a copy elsewhere'],
      ['log recover --new-generation --reason "restored from a backup"', 'without'],
    ],
  })
    .addOption(new Option('--new-generation', 'begin another log that names this one').conflicts('fromMirrors'))
    .option('--from-mirrors', 'fetch what is missing')
    .requiredOption('--reason <text>', 'why; it is logged, so no personal data', parseReason)
    .action(
      act(async (invocation, options: { newGeneration?: true; fromMirrors?: true; reason: string }) => {
        const how =
          options.newGeneration === true ? 'new_generation' : options.fromMirrors === true ? 'mirrors' : undefined;
        if (how === undefined)
          throw new UsageError(
            'Cannot recover: want --from-mirrors or --new-generation',
            'see "agentmesh log recover --help"',
          );
        const mesh = await invocation.mesh();
        const names = await peopleNames(mesh);
        const recovered = await mesh.call('logRecover', { body: { how, reason: options.reason } });
        invocation.answer(recovered, (view) => formatLogRecovered(recovered, view, names));
      }),
    );
}

/** A leaf index or a UUIDv7. */
function entryAt(text: string): string {
  const isIndex = /^(0|[1-9][0-9]{0,14})$/.test(text);
  if (isIndex || /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(text)) return text;
  throw new UsageError(`Cannot take "${text}" for an entry: want its number or its id, as "log tail" shows them`);
}

/** Our types without prefix and version; other makers' in full. */
function entryType(text: string): string {
  if (!/^[A-Za-z0-9._-]{1,128}$/.test(text)) throw new InvalidArgumentError('want a type like "session.ended"');
  return AREAS.has(text.split('.')[0] ?? '') ? `agentmesh.${text}` : text;
}
const AREAS: ReadonlySet<string> = new Set(ENTRY_TYPE_NAMES.map((name) => name.split('.')[0] ?? ''));

type Since = (nowMs: number) => Date;

/** An age, or a time. */
function parseSince(text: string): Since {
  if (/^\d{1,9}\s?(s|m|min|h|d)$/.test(text)) {
    const seconds = parseSeconds(text);
    return (nowMs) => new Date(nowMs - seconds * 1000);
  }
  let atMs: number;
  try {
    atMs = parseTime(text);
  } catch (error) {
    if (!(error instanceof InvalidArgumentError)) throw error;
    throw new InvalidArgumentError(`${error.message}, or an age like "10m"`);
  }
  return () => new Date(atMs);
}
