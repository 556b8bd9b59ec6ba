/**
 * What tampering shows, in the audit log and in a plain hash-chained JSONL file of the same entries: each is done for
 * real, and each log's own verification is asked, as a reader who kept nothing and as one who kept what he saw last.
 * Exits 1 if the audit log misses one. `node bench/detection.ts`
 *
 * Not run here: hypercore signs its tree, so it shows what a stranger changes; its owner may cut it back and publish
 * again under a higher fork id.
 */
import { hash } from 'node:crypto';
import { isMeshError, verifySignatures } from '../protocol/index.ts';
import { createForkProof, formatVkey, leafHash, parsePolicy, rootOfHashes, verifyLog } from '../protocol/log/index.ts';
import { isSignatureValidSodium } from '../protocol/sodium.ts';
import { keyOf } from '../test/builders.ts';
import { acme, auditEntries } from '../test/protocol/log/audit-entries.ts';
import { naiveConsistency, naiveRoot } from '../test/protocol/log/naive-tree.ts';
import { createBinding, ownLog, ownWitness } from '../test/protocol/log/own-log.ts';
import { signedNote } from '../test/protocol/log/sample.ts';
import { filesOf } from '../test/protocol/log/tiled.ts';

const ENTRIES = 600;
const CUT = 10;
const AT = 300;

type Entries = readonly Uint8Array[];
type Files = ReadonlyMap<string, Uint8Array>;

const log = ownLog('acme');
const thief = { ...log, key: keyOf('a thief') };
const witness = ownWitness('beta');
const policy = parsePolicy(
  new TextEncoder().encode(`log ${formatVkey(log.vkey)}\nwitness w ${formatVkey(witness.vkey)}\nquorum w\n`),
);
const rootOf = (entries: Entries): Uint8Array => rootOfHashes(entries.map(leafHash));
const noteOf = (entries: Entries, signer = log, by = [witness]): Uint8Array =>
  signedNote({ origin: log.vkey.name, treeSize: entries.length, root: rootOf(entries) }, signer, by);
const published = (entries: Entries, note = noteOf(entries)): Files => filesOf(entries).set('checkpoint', note);

/** The code of what is wrong. */
async function complaint(files: Files, isKept: boolean): Promise<string | undefined> {
  const known = isKept ? [{ origin: log.vkey.name, treeSize: ENTRIES, root: rootOf(genuine) }] : [];
  try {
    await verifyLog(
      { read: async (path) => files.get(path) },
      { isSignatureValid: isSignatureValidSodium, policy, known },
    );
    return undefined;
  } catch (error) {
    if (isMeshError(error)) return error.code;
    throw error;
  }
}

/** Lines of JSON, each with the hash of the line before. */
function chain(entries: Entries): string[] {
  let prev = '';
  return entries.map((entry) => {
    const line = JSON.stringify({ prev, entry: Buffer.from(entry).toString() });
    prev = hash('sha256', line, 'hex');
    return line;
  });
}

function isChain(lines: readonly string[], isKept: boolean): boolean {
  let prev = '';
  const links = lines.every((line) => {
    const holds = JSON.parse(line).prev === prev;
    prev = hash('sha256', line, 'hex');
    return holds;
  });
  const last = hash('sha256', chain(genuine).at(-1) ?? '', 'hex');
  return links && (!isKept || lines.some((line) => hash('sha256', line, 'hex') === last));
}

const genuine: Entries = auditEntries(ENTRIES);
const changed = genuine.map((bytes, i) =>
  i === AT ? Buffer.from(Buffer.from(bytes).toString().replace('"read"', '"erase"')) : bytes,
);
const swapped = genuine.map((bytes, i) => genuine[i === AT ? AT + 1 : i === AT + 1 ? AT : i] ?? bytes);
const cut = genuine.slice(0, -CUT);
const invented = auditEntries(ENTRIES, { by: keyOf('a thief') });

const bundlesOf = (entries: Entries): [string, Uint8Array][] =>
  [...filesOf(entries)].filter(([path]) => path.startsWith('tile/entries'));

/** What is published then, and the lines of the other log. */
const deeds: readonly (readonly [what: string, files: Files, lines: readonly string[]])[] = [
  [
    'an entry changed, and nothing else',
    new Map([...published(genuine), ...bundlesOf(changed)]),
    chain(genuine).map((line, i) => (i === AT ? (chain(changed)[AT] ?? line) : line)),
  ],
  ['an entry changed, all hashes redone, without keys', published(changed, noteOf(changed, thief)), chain(changed)],
  ["the same with the log's key, uncosigned", published(changed, noteOf(changed, log, [])), chain(changed)],
  ['two entries swapped, all hashes redone, signed, cosigned', published(swapped), chain(swapped)],
  [`the last ${CUT} dropped, an older checkpoint put back`, published(cut), chain(cut)],
  ["an agent's deeds invented, signed, cosigned", published(invented), chain(invented)],
];

/** Both checkpoints and a proof between them: a statement that convicts their signer everywhere. Errors: bad_proof. */
function proveFork(): void {
  const other = auditEntries(ENTRIES + 1, { by: keyOf('a thief') });
  const hashes = other.map(leafHash);
  const proof = createForkProof({
    of: 'log',
    who: acme.did,
    vkey: log.vkey,
    a: noteOf(genuine),
    b: noteOf(other),
    rootOfAOnB: naiveRoot(hashes, ENTRIES),
    proof: naiveConsistency(ENTRIES, hashes),
    binding: createBinding(acme),
  });
  verifySignatures(proof, isSignatureValidSodium);
}

for (const isKept of [false, true]) {
  if ((await complaint(published(genuine), isKept)) !== undefined || !isChain(chain(genuine), isKept))
    throw new Error('Cannot compare: what nobody touched is refused');
}
const print = (...cells: readonly string[]): void =>
  console.log(cells.map((cell, i) => cell.padEnd(i === 0 ? 60 : 16)).join(''));
print('', 'audit log', '', 'chained JSONL', '');
print('what was done; the reader kept', 'nothing', 'a checkpoint', 'nothing', 'the last hash');
for (const [what, files, lines] of deeds) {
  const [fresh, kept] = [await complaint(files, false), await complaint(files, true)];
  if (kept === undefined) process.exitCode = 1;
  const seen = (isKept: boolean): string => (isChain(lines, isKept) ? '-' : 'seen');
  print(what, fresh ?? '-', kept ?? 'MISSED', seen(false), seen(true));
}
proveFork();
print('two histories shown to two readers, told to a third', 'proof/v1', 'proof/v1', '-', '-');
