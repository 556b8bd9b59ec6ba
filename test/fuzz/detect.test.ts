import { expect, test } from 'vitest';
import { applyOutput, detect, labelsOf } from '../../protocol/detect/index.ts';
import type { Json } from '../../protocol/encoding/jcs.ts';
import { casesOf } from '../protocol/detect/corpus.ts';
import { HOSTILE } from '../protocol/detect/hostile.ts';
import { MARK, REDACT } from '../protocol/detect/rules.ts';
import { type SeededRandom, seededRandom, suiteSeed } from './random.ts';

const RUNS = 400;
const SEED = suiteSeed(5151);

const units = Object.values(HOSTILE);
const cases = [...casesOf('valid'), ...casesOf('near-miss')].map(({ text }) => text);
const GLUE = ['', '', ' ', '\n', '-', '.', '"', '\\n', '\u200b', '[redacted: card]', '⟧', '⟦', '@', '://', '='];

/** Pieces of what is found, cut and joined where nobody expects it. */
function hostileText(random: SeededRandom): string {
  let text = '';
  for (let i = 1 + random.below(6); i > 0; i--) {
    const kind = random.below(5);
    const whole = random.pick(cases);
    if (kind < 2) text += whole;
    else if (kind === 2) text += whole.slice(random.below(whole.length), random.below(whole.length + 1));
    else if (kind === 3) text += random.pick(units).repeat(random.below(12));
    else for (let k = random.below(8); k > 0; k--) text += String.fromCharCode(random.below(0x1_0000));
    text += random.pick(GLUE);
  }
  return text;
}

function hostileValue(random: SeededRandom): Json {
  const text = (): string => hostileText(random);
  const block = (): Json => ({ type: random.pick(['text', 'text', 'image', 'resource']), text: text(), data: text() });
  return random.pick<() => Json>([
    text,
    () => ({ content: [block(), block(), { type: 'text', text: text() }, { type: 'text', text: text() }] }),
    () => ({ structuredContent: { [text()]: [text(), { [text()]: random.below(9) }] }, content: [block()] }),
    () => ({
      contents: [{ uri: text(), mimeType: 'text/plain', blob: btoa('x'.repeat(random.below(9))), text: text() }],
    }),
    () => [text(), [text(), null, true], { _meta: { 'agentmesh/findings': [text()] }, messages: [block()] }],
  ])();
}

test('whatever the value: no exception, the same answer twice, and nothing left to redact', () => {
  const random = seededRandom(SEED);
  let found = 0;
  let refused = 0;
  for (let i = 0; i < RUNS; i++) {
    const value = hostileValue(random);
    const where = `seed ${SEED}, input ${i}: ${JSON.stringify(value).slice(0, 2000)}`;
    const findings = detect(value);
    const { labels } = labelsOf(value);
    expect([...new Set(findings.map(({ label }) => label))].sort(), where).toEqual(labels);
    expect(detect(value), where).toEqual(findings);
    for (const { start, end } of findings) expect(start >= 0 && end > start, where).toBe(true);
    found += findings.length;
    for (const rules of [REDACT, MARK]) {
      const applied = applyOutput(value, rules);
      if (applied.refused !== undefined) refused++;
      else {
        const again = applyOutput(applied.result, rules);
        expect(again.result, where).toBe(applied.result);
        if (rules === REDACT) expect(labelsOf(applied.result).labels, where).toEqual([]);
      }
      expect(
        labels.filter((label) => applied.refused === undefined && !applied.labels.includes(label)),
        where,
      ).toEqual([]);
    }
  }
  expect(found).toBeGreaterThan(RUNS);
  expect(refused, `seed ${SEED}`).toBeLessThan(RUNS / 10); // names that become one, and what never comes to rest
});
