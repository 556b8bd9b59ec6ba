import { expect, test } from 'vitest';
import { fuzzParser } from './fuzz-parser.ts';
import { PARSERS } from './parsers.ts';
import { suiteSeed } from './random.ts';

const RUNS = 2000;
const SEED = suiteSeed(4242);

test.each(PARSERS)(
  '$name: coded errors and nothing else, for every input',
  async ({ name, start, corpus, codes, ...how }) => {
    const { accepted, refused } = await fuzzParser(name, start(), corpus, { runs: RUNS, seed: SEED, ...how });
    const seen = [...refused.keys()].sort();
    expect(
      seen.filter((code) => !(codes as readonly string[]).includes(code)),
      `seed ${SEED}`,
    ).toEqual([]);
    // A fuzzer whose inputs all fall at the first check has looked at nothing.
    expect(seen.length).toBeGreaterThanOrEqual(Math.min(2, codes.length));
    expect(accepted).toBeGreaterThan(0);
    expect(accepted).toBeLessThan(RUNS);
  },
);
