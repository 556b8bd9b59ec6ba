/**
 * Reconciliation of 100,000 items: bytes (both directions, without the statements themselves) and round trips, beside
 * the figures of the negentropy reference implementation for the same differences; exits 1 if a row needs more than
 * 1.5 times as much. Then the speed and memory of the index. `node bench/reconciliation.ts`
 *
 * Items are spread evenly over four weeks of minutes. The reference was measured without a limit on messages, so the
 * rows are, too; where 240 KiB do not suffice for a row, it is shown again as daemons do it, and there its bytes count,
 * but not its round trips.
 */
import { createHash } from 'node:crypto';
import { compareBytes } from '../protocol/encoding/bytes.ts';
import { RANGE_MESSAGE_BYTES_MAX } from '../protocol/limits.ts';
import { encodeBase128 } from '../protocol/sync/base128.ts';
import { createReconciler } from '../protocol/sync/negentropy.ts';
import { RangeIndex, type RangeItem } from '../protocol/sync/range-index.ts';

const ITEMS = 100_000;
const FIRST_EPOCH = 29_900_000;
const EPOCHS = 4 * 7 * 24 * 60;
const FACTOR_MAX = 1.5;

const idOf = (text: string): Uint8Array => new Uint8Array(createHash('sha256').update(text).digest());
const itemsOf = (count: number): RangeItem[] =>
  Array.from({ length: count }, (_, i) => ({
    epoch: FIRST_EPOCH + Math.floor((i * EPOCHS) / count),
    id: idOf(`${i}`),
  }));

interface Cost {
  readonly bytes: number;
  readonly roundTrips: number;
  readonly messageBytes: number;
}

function reconcile(asker: RangeIndex, other: RangeIndex, messageBytesMax: number): Cost & { readonly found: number } {
  const ours = createReconciler(asker, { messageBytesMax });
  const theirs = createReconciler(other, { messageBytesMax });
  let [bytes, roundTrips, messageBytes, found] = [0, 0, 0, 0];
  let question: Uint8Array | undefined = ours.initiate();
  while (question !== undefined) {
    const answer = theirs.respond(question);
    const { reply, have, need } = ours.reconcile(answer);
    bytes += question.length + answer.length;
    messageBytes = Math.max(messageBytes, question.length, answer.length);
    roundTrips += 1;
    found += have.length + need.length;
    question = reply;
  }
  return { bytes, roundTrips, messageBytes, found };
}

const kilobytes = (bytes: number): string => (bytes / 1000).toFixed(2);
const columns = [34, 12, 12, 12, 12, 12, 10];
const print = (...cells: readonly string[]): void =>
  console.log(
    cells.map((cell, i) => (i === 0 ? cell.padEnd(columns[i] ?? 0) : cell.padStart(columns[i] ?? 0))).join(''),
  );

const items = itemsOf(ITEMS);
const newest = (count: number): RangeItem[] => items.slice(ITEMS - count);
const scattered = (count: number): RangeItem[] =>
  items
    .map((item) => ({ item, order: createHash('sha256').update(item.id).digest('hex') }))
    .sort((a, b) => (a.order < b.order ? -1 : 1))
    .slice(0, count)
    .map(({ item }) => item);

/** KB and round trips of the reference implementation, one side lacking the items. */
const rows = [
  { name: 'nothing', missing: [], kilobytesWanted: 0.34, roundTripsWanted: 1 },
  { name: '1 scattered', missing: scattered(1), kilobytesWanted: 1.8, roundTripsWanted: 2 },
  { name: '1 newest', missing: newest(1), kilobytesWanted: 1.8, roundTripsWanted: 2 },
  { name: '100 newest', missing: newest(100), kilobytesWanted: undefined, roundTripsWanted: undefined },
  { name: '1,000 newest', missing: newest(1_000), kilobytesWanted: 34, roundTripsWanted: 3 },
  { name: '100 scattered', missing: scattered(100), kilobytesWanted: 114, roundTripsWanted: 2 },
  { name: '1,000 scattered', missing: scattered(1_000), kilobytesWanted: 803, roundTripsWanted: 2 },
];

let failures = 0;

function judge(name: string, who: string, cost: Cost, kilobytesWanted?: number, roundTripsWanted?: number): void {
  const factor = kilobytesWanted === undefined ? undefined : cost.bytes / 1000 / kilobytesWanted;
  const isOver =
    (factor ?? 0) > FACTOR_MAX || (roundTripsWanted !== undefined && cost.roundTrips / roundTripsWanted > FACTOR_MAX);
  if (isOver) failures += 1;
  print(
    name,
    who,
    kilobytes(cost.bytes),
    kilobytesWanted?.toString() ?? '-',
    `${cost.roundTrips}`,
    roundTripsWanted?.toString() ?? '-',
    factor === undefined ? '-' : `${factor.toFixed(2)}x${isOver ? ' !' : ''}`,
  );
}

console.log(`Reconciliation of ${ITEMS} items; at most ${FACTOR_MAX}x the reference\n`);
print('missing', 'of', 'KB', 'reference', 'round trips', 'reference', 'bytes');
for (const { name, missing, kilobytesWanted, roundTripsWanted } of rows) {
  const lacking = new Set(missing);
  const full = RangeIndex.of(items);
  const part = RangeIndex.of(items.filter((item) => !lacking.has(item)));
  for (const who of missing.length === 0 ? ['-'] : ['asker', 'other side']) {
    const [asker, other] = who === 'other side' ? [full, part] : [part, full];
    const cost = reconcile(asker, other, Number.POSITIVE_INFINITY);
    if (cost.found !== missing.length) throw new Error(`${name}: found ${cost.found} of ${missing.length} differences`);
    judge(name, who, cost, kilobytesWanted, roundTripsWanted);
    if (cost.messageBytes <= RANGE_MESSAGE_BYTES_MAX) continue;
    judge(`${name}, 240 KiB messages`, who, reconcile(asker, other, RANGE_MESSAGE_BYTES_MAX), kilobytesWanted);
  }
}

/** Milliseconds of one call: the median of `runs`. */
function time(runs: number, act: () => void): number {
  const took = Array.from({ length: runs }, () => {
    const start = performance.now();
    act();
    return performance.now() - start;
  });
  return took.sort((a, b) => a - b)[runs >> 1] ?? Number.NaN;
}

/** The same 16 fingerprints as an opening message has, from sums made anew: the loop alone, on ids that lie packed. */
function fingerprintNaively(words: DataView): void {
  for (let bucket = 0; bucket < 16; bucket++) {
    const limbs = new Float64Array(8);
    for (let item = (bucket * ITEMS) >> 4; item < ((bucket + 1) * ITEMS) >> 4; item++) {
      for (let limb = 0; limb < 8; limb++)
        limbs[limb] = (limbs[limb] ?? 0) + words.getUint32(32 * item + 4 * limb, true);
    }
    createHash('sha256').update(limbs).digest();
  }
}

const index = RangeIndex.of(items);
const packed = new Uint8Array(32 * ITEMS);
for (const [i, { id }] of items.entries()) packed.set(id, 32 * i);
const words = new DataView(packed.buffer);
const naiveMs = time(51, () => fingerprintNaively(words));
const cachedMs = time(501, () => createReconciler(index).initiate());
const oldest = index.at(0);
const changedMs = time(501, () => {
  index.delete(oldest);
  index.insert(oldest);
  createReconciler(index).initiate();
});
console.log(`
opening message (16 fingerprints of ${ITEMS} items)
  sums made anew          ${naiveMs.toFixed(3)} ms
  sums kept               ${cachedMs.toFixed(3)} ms   ${(naiveMs / cachedMs).toFixed(0)}x faster
  after the oldest change ${changedMs.toFixed(3)} ms   ${(naiveMs / changedMs).toFixed(0)}x faster`);

const million = itemsOf(1_000_000);
const shuffled = million.toSorted((a, b) => compareBytes(a.id, b.id));
for (const [order, list] of [
  ['newest last', million],
  ['any order', shuffled],
] as const) {
  const filled = new RangeIndex();
  const start = performance.now();
  for (const item of list) filled.insert(item);
  const seconds = (performance.now() - start) / 1000;
  console.log(
    `1,000,000 insertions, ${order}: ${Math.round(list.length / seconds)}/s, ${(filled.bytes / filled.size).toFixed(1)} bytes an item`,
  );
}

/**
 * What a stranger can make a daemon do with one message: as many fingerprints as it holds, of `minutes` each. Wrong ones
 * are answered until the answer is full; right ones cost little room, and are all compared.
 */
function fingerprintsOf(large: RangeIndex, minutes: number, isRight: boolean): Uint8Array {
  const message = [0x61];
  let lower = 0;
  for (
    let epoch = 0, next = FIRST_EPOCH;
    message.length + 25 <= RANGE_MESSAGE_BYTES_MAX;
    epoch = next, next += minutes
  ) {
    const upper = large.lowerBound({ epoch: next, prefix: new Uint8Array() });
    message.push(...encodeBase128(1 + next - epoch), 0, 1);
    message.push(...(isRight ? large.fingerprint(lower, upper) : new Uint8Array(16)));
    lower = upper;
  }
  return Uint8Array.from(message);
}

const large = RangeIndex.of(million);
console.log('\nanswers to 240 KiB of fingerprints, against 1,000,000 items');
for (const [name, isRight] of [
  ['right', true],
  ['wrong', false],
] as const) {
  const message = fingerprintsOf(large, 3, isRight);
  const reconciler = createReconciler(large);
  const answered = reconciler.respond(message).length;
  console.log(`  ${name}: ${answered} bytes, ${time(21, () => reconciler.respond(message)).toFixed(1)} ms`);
}

if (failures > 0) {
  console.error(`\n${failures} rows exceed ${FACTOR_MAX}x their reference`);
  process.exitCode = 1;
}
