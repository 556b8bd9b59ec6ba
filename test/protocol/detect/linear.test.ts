import { expect, test } from 'vitest';
import { applyOutput, labelsOf } from '../../../protocol/detect/index.ts';
import { scanText } from '../../../protocol/detect/text.ts';
import { HOSTILE } from './hostile.ts';
import { REDACT } from './rules.ts';

const LENGTHS = [2 ** 14, 2 ** 15, 2 ** 16];
const LARGE = 2 ** 20;
const textOf = (unit: string, length: number): string => unit.repeat(Math.ceil(length / unit.length)).slice(0, length);

/** What the detectors look at beyond the passes that they make over every text; a count is the same on every machine. */
const stepsOf = (unit: string, length: number): number => scanText(textOf(unit, length)).steps;

test.each(Object.entries(HOSTILE))('steps grow no faster than the text: %s', (_, unit) => {
  const steps = LENGTHS.map((length) => stepsOf(unit, length));
  for (const [i, count] of steps.entries()) {
    expect(count).toBeLessThan(200 * (LENGTHS[i] as number));
    if (i > 0) expect(count).toBeLessThan(2.2 * (steps[i - 1] as number) + 4096);
  }
});

test('and so for all of them together, in one text of a million units', () => {
  const mixed = Object.values(HOSTILE).join(' ');
  expect(stepsOf(mixed, LARGE)).toBeLessThan(17 * stepsOf(mixed, LARGE / 16));
  expect(labelsOf(textOf(mixed, LARGE)).labels.length).toBeGreaterThan(5);
});

test('steps do count: a detector that began anew at each place would show', () => {
  expect(stepsOf('a@', 2 ** 16)).toBeGreaterThan(2 ** 16);
  expect(stepsOf('plain words only ', 2 ** 16)).toBeLessThan(2 ** 16);
});

test('what is rewritten grows no more than each finding does', () => {
  for (const unit of Object.values(HOSTILE)) {
    const text = textOf(unit, 2 ** 12);
    const { result } = applyOutput(text, REDACT);
    expect(JSON.stringify(result).length).toBeLessThan(40 * text.length);
  }
});
