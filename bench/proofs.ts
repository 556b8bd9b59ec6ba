/**
 * Inclusion proofs of a log of 1,000,000 entries whose tiles are in memory, and the verification of a `.tlog-proof`
 * whose checkpoint three witnesses cosigned. Beside the proving stands folding the same proof, beside the verification
 * its 4 bare signatures and bare hashes, alternating proof by proof, so that all meet the same machine. Exits 1 above
 * the bars. `node bench/proofs.ts`
 */
import { hash } from 'node:crypto';
import {
  cosignatureMessage,
  createTreeHasher,
  type EdgeTile,
  foldInclusion,
  formatProofFile,
  formatVkey,
  leafHash,
  nodeHash,
  noteMessage,
  parseCheckpoint,
  parsePolicy,
  parseProofFile,
  proveInclusion,
  TileNodes,
  type TilePlace,
  type TileReader,
  TreeEdge,
  verifyEntryProof,
  verifyProofFile,
} from '../protocol/log/index.ts';
import { isSignatureValidSodium } from '../protocol/sodium.ts';
import { auditEntries } from '../test/protocol/log/audit-entries.ts';
import { ownLog, ownWitness } from '../test/protocol/log/own-log.ts';
import { signedNote } from '../test/protocol/log/sample.ts';
import { seededRandom } from '../test/random.ts';

const TREE_SIZE = 1_000_000;
const PROVE_MS_MAX = 1;
const VERIFY_MS_MAX = 1;
const PROOFS = 3_000;
const COLD = 500;
const WARM_UP = 1_000;
const COSIGNED_SECONDS = 1_800_000_000;

const random = seededRandom(18);
const hasher = createTreeHasher((bytes) => new Uint8Array(hash('sha256', bytes, 'buffer')));

// What an agent did, signed by it, at the places that are proven; elsewhere as many bytes.
const entry = auditEntries(4)[3] as Uint8Array;
const entryHash = leafHash(entry);
const places = new Set(Array.from({ length: PROOFS }, () => Math.floor(random() * TREE_SIZE)));

/** By level and index: partial ones as they were last. */
const tiles = new Map<string, EdgeTile>();
const keyOf = ({ level, index }: TilePlace): string => `${level}/${index}`;
const edge = new TreeEdge(hasher);
const filler = new Uint8Array(entry.length);
for (let i = 0; i < TREE_SIZE; i++) {
  new DataView(filler.buffer).setUint32(0, i);
  edge.append(places.has(i) ? entryHash : hasher.leafHash(filler));
  if (i % 256 === 255 || i === TREE_SIZE - 1) for (const tile of edge.takeTiles()) tiles.set(keyOf(tile.place), tile);
}
const root = edge.root();

/** `keeps` tells of which tiles the nodes are remembered. */
function readerThat(keeps: (place: TilePlace) => boolean): TileReader {
  const kept = new Map<string, TileNodes>();
  return {
    tile: async (place) => tiles.get(keyOf(place))?.bytes,
    async nodes(place) {
      const key = keyOf(place);
      const tile = tiles.get(key);
      const nodes = kept.get(key) ?? (tile === undefined ? undefined : new TileNodes(tile.bytes, tile.place.width));
      if (nodes !== undefined && keeps(place)) kept.set(key, nodes);
      return nodes;
    },
  };
}

const medianMs = (samples: readonly number[]): number =>
  samples.toSorted((a, b) => a - b)[Math.floor(samples.length / 2)] ?? Number.NaN;
const p99Ms = (samples: readonly number[]): number =>
  samples.toSorted((a, b) => a - b)[Math.floor(samples.length * 0.99)] ?? Number.NaN;

interface Times {
  readonly name: string;
  readonly samples: number[];
}
const timesOf = (name: string): Times => ({ name, samples: [] });
function timed<T>({ samples }: Times, run: () => T): T {
  const start = performance.now();
  const result = run();
  samples.push(performance.now() - start);
  return result;
}
async function timedAsync<T>({ samples }: Times, run: () => Promise<T>): Promise<T> {
  const start = performance.now();
  const result = await run();
  samples.push(performance.now() - start);
  return result;
}

const log = ownLog('acme');
const witnesses = [1, 2, 3].map((i) => ownWitness(`witness ${i}`));
const note = signedNote({ origin: log.vkey.name, treeSize: TREE_SIZE, root }, log, witnesses, COSIGNED_SECONDS);
const signed = parseCheckpoint(note);
const members = witnesses.map((_, i) => `w${i}`).join(' ');
const policy = parsePolicy(
  new TextEncoder().encode(
    `log ${formatVkey(log.vkey)}\n${witnesses.map(({ vkey }, i) => `witness w${i} ${formatVkey(vkey)}\n`).join('')}group all all ${members}\nquorum all\n`,
  ),
);

/** Its 4 signatures and the hashes from the leaf to the root, and nothing else. */
const { text, signatures } = signed.note;
const bare = [log, ...witnesses].map(({ vkey }, i) => ({
  key: vkey.publicKey,
  signature: signatures[i]?.signature.slice(-64) ?? new Uint8Array(),
  message: i === 0 ? noteMessage(text) : cosignatureMessage(text, COSIGNED_SECONDS),
}));
function verifyBare(hashes: readonly Uint8Array[]): void {
  for (const { signature, message, key } of bare)
    if (!isSignatureValidSodium(signature, message, key)) throw new Error('Cannot measure: a signature is invalid');
  let node = leafHash(entry);
  for (const sibling of hashes) node = nodeHash(sibling, node);
}

const warm = readerThat(() => true);
const leafTileCold = readerThat(({ level }) => level !== 0);
const allCold = readerThat(() => false);
const prove = timesOf('prove, tiles decoded before');
const fold = timesOf('fold the same proof');
const verify = timesOf('verify a .tlog-proof');
const whole = timesOf('verify it with its audit entry');
const baseline = timesOf('4 signatures and the hashes, bare');
const sizes: number[] = [];
for (const leafIndex of places) await proveInclusion(leafIndex, TREE_SIZE, warm); // every tile decoded once
for (const leafIndex of places) {
  const hashes = await timedAsync(prove, () => proveInclusion(leafIndex, TREE_SIZE, warm));
  timed(fold, () => foldInclusion(leafIndex, TREE_SIZE, entryHash, hashes));
  const file = formatProofFile({ leafIndex, hashes, signed });
  sizes.push(file.length);
  timed(baseline, () => verifyBare(hashes));
  const report = timed(verify, () =>
    verifyProofFile(parseProofFile(file), leafHash(entry), policy, isSignatureValidSodium),
  );
  const { cosignatures } = timed(whole, () => verifyEntryProof(file, entry, policy, isSignatureValidSodium));
  if (report.checkpoint.treeSize !== TREE_SIZE || cosignatures.length !== 3)
    throw new Error('Cannot measure: not verified');
}
for (const { samples } of [prove, fold, verify, whole, baseline]) samples.splice(0, WARM_UP);

const coldLeaf = timesOf("prove, the leaf's tile not decoded");
const cold = timesOf('prove, no tile decoded');
for (const leafIndex of [...places].slice(0, COLD)) {
  await timedAsync(coldLeaf, () => proveInclusion(leafIndex, TREE_SIZE, leafTileCold));
  await timedAsync(cold, () => proveInclusion(leafIndex, TREE_SIZE, allCold));
}

const print = ({ name, samples }: Times, beside: Times, barMs?: number): void => {
  const [median, base] = [medianMs(samples), medianMs(beside.samples)];
  const bar = barMs === undefined ? '' : `, want <= ${barMs} ms`;
  console.log(
    `${name.padEnd(36)}${(median * 1000).toFixed(0).padStart(6)} us median${(p99Ms(samples) * 1000).toFixed(0).padStart(7)} us p99${(median / base).toFixed(2).padStart(7)}x ${beside === fold ? 'folding' : 'bare'}${bar}`,
  );
};
const hashes = await proveInclusion([...places][0] ?? 0, TREE_SIZE, warm);
console.log(`${TREE_SIZE.toLocaleString('en')} entries, ${tiles.size} tiles; ${prove.samples.length} proofs measured`);
print(fold, fold);
print(prove, fold, PROVE_MS_MAX);
print(coldLeaf, fold);
print(cold, fold);
print(baseline, baseline);
print(verify, baseline, VERIFY_MS_MAX);
print(whole, baseline);
console.log(
  `bytes: ${hashes.length} hashes ${32 * hashes.length}, .tlog-proof ${medianMs(sizes)}, its checkpoint with ${signatures.length - 1} cosignatures ${note.length}, the entry ${entry.length}`,
);
if (medianMs(prove.samples) > PROVE_MS_MAX || medianMs(verify.samples) > VERIFY_MS_MAX) {
  console.error('above the bar');
  process.exitCode = 1;
}
