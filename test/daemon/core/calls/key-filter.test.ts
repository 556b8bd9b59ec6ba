import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { KeyFilter } from '../../../../daemon/core/calls/key-filter.ts';

const digest = (n: number): Uint8Array => new Uint8Array(createHash('sha256').update(`key ${n}`).digest());
const digests = (from: number, to: number): Uint8Array[] =>
  Array.from({ length: to - from }, (_, i) => digest(from + i));

test('what was added may be there, however full it is, and hardly anything else', () => {
  const filter = new KeyFilter(8_192);
  for (const each of digests(0, 1_024)) filter.add(each);
  expect(digests(0, 1_024).every((each) => filter.mayHave(each))).toBe(true);
  const mistaken = digests(1_024, 11_024).filter((each) => filter.mayHave(each)).length;
  expect(mistaken).toBeGreaterThan(0); // it is full enough to be mistaken at all
  expect(mistaken).toBeLessThan(500);
});

test('what was removed is not there, and what shares its counters stays', () => {
  const filter = new KeyFilter(8_192);
  for (const each of digests(0, 1_024)) filter.add(each);
  for (const each of digests(0, 512)) filter.remove(each);
  expect(digests(512, 1_024).every((each) => filter.mayHave(each))).toBe(true);
  expect(digests(0, 512).filter((each) => filter.mayHave(each)).length).toBeLessThan(50);
  for (const each of digests(512, 1_024)) filter.remove(each);
  expect(digests(0, 1_024).some((each) => filter.mayHave(each))).toBe(false);
});

test('a counter that is full does not forget what it counted', () => {
  const filter = new KeyFilter(8_192);
  for (let i = 0; i < 300; i++) filter.add(digest(1));
  for (let i = 0; i < 299; i++) filter.remove(digest(1));
  expect(filter.mayHave(digest(1))).toBe(true);
});
