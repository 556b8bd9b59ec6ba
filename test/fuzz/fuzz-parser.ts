/** Holds a parser to its promise: whatever the bytes, it returns or throws one coded error, soon. */
import { isMeshError, toHex } from '../../protocol/index.ts';
import { cborLikeBytes, mutateBytes } from './mutate.ts';
import { type SeededRandom, seededRandom } from './random.ts';
import { type Format, mutateStructure } from './structure.ts';

export interface FuzzOptions {
  readonly runs: number;
  readonly seed: number;
  /** How the corpus is written inside; undefined: bytes are all that is known. */
  readonly format?: Format;
  /** The parser's own limit: some inputs are just beyond it, and one is ten times as large. Default 64 KiB. */
  readonly bytesMax?: number;
  /** CPU time of one input. Default 500 ms. */
  readonly inputMsMax?: number;
  /** Inputs of the caller's making, every fourth: for instance wrong content under right signatures. */
  readonly make?: (random: SeededRandom) => Uint8Array;
}

export interface FuzzReport {
  readonly accepted: number;
  /** How often each code refused. */
  readonly refused: ReadonlyMap<string, number>;
  readonly slowestMs: number;
}

const OVERSIZE_FACTOR = 10;

/** Errors: an Error that names the seed, the input and what went wrong. */
export async function fuzzParser(
  name: string,
  parse: (bytes: Uint8Array) => unknown,
  corpus: readonly Uint8Array[],
  options: FuzzOptions,
): Promise<FuzzReport> {
  const { runs, seed, inputMsMax = 500 } = options;
  for (const [i, bytes] of corpus.entries()) {
    const code = await refusalOf(parse, bytes);
    if (code !== undefined) throw new Error(`fuzz "${name}": item ${i} of the corpus is refused with "${code}"`);
  }
  const random = seededRandom(seed);
  const refused = new Map<string, number>();
  let accepted = 0;
  let slowestMs = 0;
  for (let i = 0; i < runs; i++) {
    const bytes = input(i, random, corpus, options);
    const where = (): string =>
      `fuzz "${name}", seed ${seed}, input ${i} (${bytes.length} bytes ${toHex(bytes.subarray(0, 2000))})`;
    const before = process.threadCpuUsage();
    let code: string | undefined;
    try {
      code = await refusalOf(parse, bytes);
    } catch (cause) {
      throw new Error(`${where()}: threw what is no coded error: ${String(cause)}`, { cause });
    }
    const used = process.threadCpuUsage(before);
    const ms = (used.user + used.system) / 1000;
    slowestMs = Math.max(slowestMs, ms);
    if (ms > inputMsMax) throw new Error(`${where()}: took ${ms} ms, want at most ${inputMsMax}`);
    if (code === 'internal') throw new Error(`${where()}: refused with "internal", which is for faults of the program`);
    if (code === undefined) accepted++;
    else refused.set(code, (refused.get(code) ?? 0) + 1);
  }
  return { accepted, refused, slowestMs };
}

/** The code, or undefined where it is accepted. Throws whatever is no MeshError. */
async function refusalOf(parse: (bytes: Uint8Array) => unknown, bytes: Uint8Array): Promise<string | undefined> {
  try {
    const result = parse(bytes);
    if (result instanceof Promise) await result;
    return undefined;
  } catch (error) {
    if (isMeshError(error)) return error.code;
    throw error;
  }
}

function input(i: number, random: SeededRandom, corpus: readonly Uint8Array[], options: FuzzOptions): Uint8Array {
  const { bytesMax = 64 * 1024 } = options;
  if (i % 100 === 0) return oversize(i, random, corpus, bytesMax);
  if (i % 50 === 1) return deep(random);
  // Mutations of mutations may grow without bound; far beyond the limit they say nothing more about a parser.
  return mutation(i, random, corpus, options).subarray(0, bytesMax * OVERSIZE_FACTOR);
}

function mutation(i: number, random: SeededRandom, corpus: readonly Uint8Array[], options: FuzzOptions): Uint8Array {
  const { format, make } = options;
  if (make !== undefined && i % 4 === 3) return make(random);
  const kind = random.below(format === undefined ? 5 : 10);
  if (kind === 0) return random.bytes(random.below(random.pick([4, 64, 1024])));
  if (kind === 1) return cborLikeBytes(random);
  if (kind <= 4 || format === undefined) return mutateBytes(random.pick(corpus), random, corpus);
  return mutateStructure(format, random.pick(corpus), random, corpus);
}

/** A valid start, and then more than the limit allows: zeros, noise, or the same again and again. */
function oversize(i: number, random: SeededRandom, corpus: readonly Uint8Array[], bytesMax: number): Uint8Array {
  const item = random.pick(corpus.filter(({ length }) => length > 0));
  const out = new Uint8Array(i === 0 ? bytesMax * OVERSIZE_FACTOR : bytesMax + 1 + random.below(64));
  const filler = random.pick(['zeros', 'noise', 'repeat', 'one item']);
  if (filler === 'noise') out.set(random.bytes(Math.min(out.length, 4096)), 0);
  if (filler === 'repeat') for (let at = 0; at + item.length <= out.length; at += item.length) out.set(item, at);
  if (filler === 'one item') {
    // A byte string of all that is left: well formed, and too long.
    out.set([0x5a, 0, 0, 0, 0], 0);
    new DataView(out.buffer).setUint32(1, out.length - 5);
  } else if (filler === 'zeros') {
    out.set(item.subarray(0, out.length), 0);
  }
  return out;
}

const OPENERS = [
  [0x81],
  [0xa1, 0x61, 0x61],
  [0x9f],
  [0xd8, 0x2a],
  [0x82, 0x00],
  [0x99, 0x01, 0x00],
  [0x5b],
  [0x5f],
  [0x7b, 0x22, 0x61, 0x22, 0x3a],
  [0x5b, 0x7b],
];

/** Levels upon levels, of CBOR and of JSON. */
function deep(random: SeededRandom): Uint8Array {
  const opener = random.pick(OPENERS);
  const levels = random.pick([15, 16, 17, 18, 100, 1000, 20_000]);
  const out = new Uint8Array(opener.length * levels + 1);
  for (let i = 0; i < levels; i++) out.set(opener, i * opener.length);
  return out;
}
