import { describe, expect, test } from 'vitest';
import { isErrorCode } from '../../../protocol/index.ts';
import { mutateBytes } from '../../fuzz/mutate.ts';
import { seededRandom, type SeededRandom, suiteSeed } from '../../fuzz/random.ts';
import { SAMPLES } from '../../protocol/control/samples.ts';
import { ask, startServer } from './start.ts';

const BODIES = 2_000;
const VALUES = [
  null,
  true,
  0,
  -1,
  1e308,
  2 ** 53,
  '',
  '\0',
  'a'.repeat(300),
  '../..',
  '__proto__',
  [],
  {},
  [[[[]]]],
  { a: 1 },
  ['a', 'a'],
  '😀',
];

/** A body like a good one, with a member changed, added, doubled or gone; or mutated bytes of it. */
function bodyLike(
  sample: (typeof SAMPLES)[number],
  corpus: readonly Uint8Array[],
  random: SeededRandom,
): Uint8Array | string {
  const text = JSON.stringify(sample.body);
  switch (random.below(6)) {
    case 0:
      return random.bytes(random.below(64));
    case 1: {
      const name = random.pick([...Object.keys(sample.body ?? {}), 'surplus', '__proto__', 'constructor']);
      return text.replace('{', `{${JSON.stringify(name)}:${JSON.stringify(random.pick(VALUES))},`);
    }
    case 2:
      return JSON.stringify({ ...sample.body, [random.pick(Object.keys(sample.body ?? {}))]: random.pick(VALUES) });
    case 3:
      return '['.repeat(random.below(2_000)) + text;
    default:
      return mutateBytes(Buffer.from(text), random, corpus);
  }
}

describe('any body', () => {
  test(`of ${BODIES} gets an answer, or a problem with a code, and the server goes on`, async () => {
    const seed = suiteSeed(20_261_122);
    const random = seededRandom(seed);
    await using started = await startServer();
    const rows = SAMPLES.filter(({ body }) => body !== undefined);
    const corpus = rows.map(({ body }) => Buffer.from(JSON.stringify(body)));
    const codes = new Map<string, number>();
    for (let i = 0; i < BODIES; i++) {
      const sample = random.pick(rows);
      const body = bodyLike(sample, corpus, random);
      const { status, code, text } = await ask(started, sample.path, { method: 'POST', body });
      const shown = `seed ${seed}, body ${i} of ${sample.operationId}: ${Buffer.from(body).toString('utf8').slice(0, 300)}`;
      if (status !== 200) expect(isErrorCode(code), `${shown}: ${status} ${text}`).toBe(true);
      expect(code, shown).not.toBe('internal');
      codes.set(code ?? 'ok', (codes.get(code ?? 'ok') ?? 0) + 1);
    }
    expect(started.logged.filter(({ level }) => level === 'error')).toEqual([]);
    expect(codes.get('bad_request')).toBeGreaterThan(BODIES / 2);
    expect(codes.get('ok')).toBeGreaterThan(10);
    expect((await ask(started, '/livez')).status).toBe(200);
  });
});
