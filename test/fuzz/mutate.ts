/** What an adversary, a fault or a foreign implementation may make of bytes. */
import type { SeededRandom } from './random.ts';

const INTERESTING = [
  0x00, 0x01, 0x17, 0x18, 0x1b, 0x1f, 0x40, 0x58, 0x5f, 0x60, 0x7f, 0x80, 0x82, 0x9f, 0xa0, 0xbf, 0xd8, 0xf6, 0xf7,
  0xfb, 0xff,
];

/** Length fields that lie: CBOR heads of every size, and varints. */
const LENGTHS = [
  '5818',
  '58ff',
  '59ffff',
  '5affffffff',
  '5b001fffffffffffff',
  '98ff',
  '9affffffff',
  'baffffffff',
  'bb001fffffffffffff',
  '7a7fffffff',
  'ffffffff0f',
  '808080808001',
  '8000',
].map((hex) => Uint8Array.from(Buffer.from(hex, 'hex')));

type Mutation = (bytes: Uint8Array, random: SeededRandom, corpus: readonly Uint8Array[]) => Uint8Array;

const splice = (bytes: Uint8Array, from: number, to: number, insert: Uint8Array): Uint8Array => {
  const out = new Uint8Array(from + insert.length + bytes.length - to);
  out.set(bytes.subarray(0, from), 0);
  out.set(insert, from);
  out.set(bytes.subarray(to), from + insert.length);
  return out;
};
const place = (bytes: Uint8Array, random: SeededRandom): number => random.below(bytes.length + 1);
const run = (bytes: Uint8Array, random: SeededRandom): [number, number] => {
  const from = place(bytes, random);
  return [from, Math.min(bytes.length, from + 1 + random.below(16))];
};

const MUTATIONS: readonly Mutation[] = [
  function flipBits(bytes, random) {
    const out = Uint8Array.from(bytes);
    for (let i = 1 + random.below(4); i > 0 && out.length > 0; i--) {
      const at = random.below(out.length);
      out[at] = (out[at] as number) ^ (1 << random.below(8));
    }
    return out;
  },
  function setByte(bytes, random) {
    const out = Uint8Array.from(bytes);
    if (out.length > 0) out[random.below(out.length)] = random.pick(INTERESTING);
    return out;
  },
  (bytes, random) => bytes.slice(0, random.below(bytes.length + 1)),
  function dropRun(bytes, random) {
    const [from, to] = run(bytes, random);
    return splice(bytes, from, to, new Uint8Array());
  },
  function repeatRun(bytes, random) {
    const [from, to] = run(bytes, random);
    return splice(bytes, from, from, bytes.slice(from, to));
  },
  function swapRuns(bytes, random) {
    const [from, to] = run(bytes, random);
    const at = place(bytes, random);
    return splice(bytes, at, Math.min(bytes.length, at + to - from), bytes.slice(from, to));
  },
  function insertRandom(bytes, random) {
    const at = place(bytes, random);
    return splice(bytes, at, at, random.bytes(1 + random.below(8)));
  },
  function spliceAnother(bytes, random, corpus) {
    const other = random.pick(corpus);
    return splice(bytes, place(bytes, random), bytes.length, other.subarray(place(other, random)));
  },
  function lieAboutLength(bytes, random) {
    const at = place(bytes, random);
    return splice(bytes, at, Math.min(bytes.length, at + random.below(3)), random.pick(LENGTHS));
  },
  function nudgeByte(bytes, random) {
    const out = Uint8Array.from(bytes);
    if (out.length > 0) {
      const at = random.below(out.length);
      out[at] = ((out[at] as number) + random.pick([1, 255])) & 255; // off by one: lengths and counts
    }
    return out;
  },
];

/** One to three mutations of valid bytes. */
export function mutateBytes(bytes: Uint8Array, random: SeededRandom, corpus: readonly Uint8Array[]): Uint8Array {
  let out = bytes;
  for (let i = random.pick([1, 1, 1, 2, 3]); i > 0; i--) out = random.pick(MUTATIONS)(out, random, corpus);
  return out;
}

/** Short random bytes with more CBOR heads of small arguments than chance gives. */
export function cborLikeBytes(random: SeededRandom): Uint8Array {
  const length = 1 + random.below(random.pick([3, 8, 24]));
  return Uint8Array.from({ length }, () => {
    const kind = random.below(4);
    if (kind === 0) return random.byte();
    if (kind === 1) return random.pick(INTERESTING);
    return (random.below(8) << 5) | random.below(4);
  });
}
