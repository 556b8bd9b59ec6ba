import { describe, expect, test } from 'vitest';
import { detect, isLabel, LABELS, labelsOf } from '../../../protocol/detect/index.ts';
import { casesOf } from './corpus.ts';

const valid = casesOf('valid');
const nearMisses = casesOf('near-miss');

describe('detect()', () => {
  test.each(valid)('finds $label in $text', ({ label, text, start, end }) => {
    expect(isLabel(label)).toBe(true);
    expect(start).toBeGreaterThanOrEqual(0);
    const found = detect(text).filter((finding) => finding.label === label);
    expect(found.map((finding) => text.slice(finding.start, finding.end))).toContain(text.slice(start, end));
  });

  test.each(nearMisses)('does not find $label in $text', ({ label, text }) => {
    const found = detect(text).map((finding) => finding.label);
    if (label === '*') expect(found).toEqual([]);
    else expect(found).not.toContain(label);
  });

  test('has a case for every label, and the lists are not empty', () => {
    const labels = new Set(valid.map(({ label }) => label));
    expect(Object.keys(LABELS).filter((label) => !labels.has(label))).toEqual([]);
    expect(valid.length).toBeGreaterThan(150);
    expect(nearMisses.length).toBeGreaterThan(70);
  });
});
