/** 100,000 inputs a parser, from a seed of its own each time: `AGENTMESH_SEED=n npm run soak` repeats a run. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { beforeAll, expect, test } from 'vitest';
import { fuzzParser } from '../fuzz/fuzz-parser.ts';
import { PARSERS } from '../fuzz/parsers.ts';
import { suiteSeed } from '../fuzz/random.ts';

const RUNS = 100_000;
const WARM_UP_RUNS = 60_000; // glibc's high-water mark is reached in tens of thousands; what leaks goes on growing
const RSS_BYTES_MAX = 50 * 1024 * 1024;
const SEED = suiteSeed(Date.now() >>> 0);

setFlagsFromString('--expose_gc');
const gc = runInNewContext('gc') as (options: { type: 'major'; execution: 'sync'; flavor: 'last-resort' }) => void;

async function settledRss(): Promise<number> {
  for (let i = 0; i < 3; i++) {
    gc({ type: 'major', execution: 'sync', flavor: 'last-resort' }); // else V8 keeps the room of its youngest generation
    await new Promise((resolve) => setTimeout(resolve, 50)); // buffers are freed after their finalizers ran
  }
  return process.memoryUsage.rss();
}

beforeAll(async () => {
  const [first] = PARSERS;
  if (first === undefined) throw new Error('there is no parser to fuzz');
  await fuzzParser(first.name, first.start(), first.corpus, { ...first, runs: WARM_UP_RUNS, seed: SEED ^ 2 });
}, 10 * 60_000);

test.each(PARSERS)(
  '$name: 100,000 inputs, and the memory is given back',
  async ({ name, start, corpus, codes, ...how }) => {
    console.log(`fuzz "${name}": seed ${SEED}`);
    // What the engine and the corpus need is there before the measurement begins.
    await fuzzParser(name, start(), corpus, { runs: 2000, seed: SEED ^ 1, ...how });
    const before = await settledRss();
    const { accepted, refused, slowestMs } = await fuzzParser(name, start(), corpus, {
      runs: RUNS,
      seed: SEED,
      ...how,
    });
    const grown = (await settledRss()) - before;
    const counts = [...refused].map(([code, count]) => `${code} ${count}`).join(', ');
    console.log(
      `fuzz "${name}": accepted ${accepted}, ${counts}; slowest ${slowestMs} ms; RSS ${(grown / 1e6).toFixed(1)} MB more`,
    );
    expect(
      [...refused.keys()].filter((code) => !(codes as readonly string[]).includes(code)),
      `seed ${SEED}`,
    ).toEqual([]);
    expect(accepted + [...refused.values()].reduce((sum, count) => sum + count, 0)).toBe(RUNS);
    expect(grown, `seed ${SEED}`).toBeLessThan(RSS_BYTES_MAX);
  },
);
