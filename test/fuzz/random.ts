/** Seeded randomness for tests: the same seed gives the same inputs on every machine. */
export interface SeededRandom {
  /** 0 <= x < 1 */
  fraction(): number;
  /** 0 <= x < below */
  below(below: number): number;
  byte(): number;
  bytes(count: number): Uint8Array;
  pick<T>(items: readonly T[]): T;
}

/** sfc32 (Chris Doty-Humphrey, PractRand): small, fast and good enough to choose test inputs; not for secrets. */
export function seededRandom(seed: number): SeededRandom {
  let a = 0x9e3779b9;
  let b = 0x243f6a88;
  let c = seed >>> 0;
  let counter = 1;
  const next = (): number => {
    const sum = (a + b + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + sum) | 0;
    return sum >>> 0;
  };
  for (let i = 0; i < 15; i++) next();
  const random: SeededRandom = {
    fraction: () => next() / 0x1_0000_0000,
    below: (below) => Math.floor(random.fraction() * below),
    byte: () => next() & 255,
    bytes: (count) => Uint8Array.from({ length: count }, () => next() & 255),
    pick(items) {
      const item = items[random.below(items.length)];
      if (item === undefined) throw new Error('Cannot pick from an empty list');
      return item;
    },
  };
  return random;
}

/** The seed of this run: fixed, so that a red suite stays red, unless AGENTMESH_SEED asks for another. */
export function suiteSeed(usual: number): number {
  const asked = process.env.AGENTMESH_SEED;
  if (asked === undefined) return usual;
  if (!/^\d{1,10}$/.test(asked)) throw new Error(`Cannot use AGENTMESH_SEED "${asked}": want an unsigned integer`);
  return Number(asked) >>> 0;
}
