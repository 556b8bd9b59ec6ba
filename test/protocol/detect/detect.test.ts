import { describe, expect, test } from 'vitest';
import { detect, isLabel, LABELS, labelsOf, labelsOfRequest } from '../../../protocol/detect/index.ts';
import type { Json } from '../../../protocol/encoding/jcs.ts';
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

  test('says where: in a member, in its name, in an item, and in both parts of what was cut', () => {
    const token = `gh${'p'}_16C7e42F292c6912E7710c838347Ae178B4a`;
    const value = {
      'a/b': [{ 'x@example.com': 'y@example.com' }],
      content: [
        { type: 'text', text: `- ${token.slice(0, 9)}` },
        { type: 'text', text: token.slice(9) },
      ],
    };
    expect(detect(value)).toEqual([
      { label: 'pii.email', path: '/a~1b/0/x@example.com', start: 0, end: 13, inName: true },
      { label: 'pii.email', path: '/a~1b/0/x@example.com', start: 0, end: 13 },
      { label: 'secret.github_token', path: '/content/0/text', start: 2, end: 11 },
      { label: 'secret.github_token', path: '/content/1/text', start: 0, end: 31 },
    ]);
  });

  test('does not depend on how deep a value is', () => {
    let value: Json = 'a@example.com';
    for (let i = 0; i < 50_000; i++) value = [value];
    expect(labelsOf(value).labels).toEqual(['pii.email']);
  });

  test('answers the same however often it is asked', () => {
    for (const { text } of valid) expect(detect(text)).toEqual(detect(text));
  });
});

test('labelsOfRequest() looks at arguments of tools and prompts, facts and the address of a resource', () => {
  const said = { to: 'alice@example.com' };
  expect(labelsOfRequest({ action: 'tool_call', tool: { name: 'send', arguments: said } }).labels).toEqual([
    'pii.email',
  ]);
  expect(labelsOfRequest({ action: 'prompt_get', prompt: { name: 'mail', arguments: said } }).contains_pii).toBe(true);
  expect(labelsOfRequest({ action: 'export', facts: said }).contains_pii).toBe(true);
  const uri = 'mailto:alice@example.com';
  expect(labelsOfRequest({ action: 'resource_read', resource: { uri } }).contains_pii).toBe(true);
  expect(labelsOfRequest({ action: 'tool_call', tool: { name: 'alice@example.com' } }).labels).toEqual([]);
});

test('labelsOf() sorts, and says of which classes they are', () => {
  expect(labelsOf(['MRN: 12345678', 'b@example.com', '4111 1111 1111 1111', 'a@example.com'])).toEqual({
    labels: ['card', 'phi.mrn', 'pii.email'],
    contains_pii: true,
    contains_phi: true,
    contains_card: true,
    contains_secret: false,
  });
  expect(labelsOf({ a: [1, null, true, 'clean'] })).toEqual({
    labels: [],
    contains_pii: false,
    contains_phi: false,
    contains_card: false,
    contains_secret: false,
  });
});
