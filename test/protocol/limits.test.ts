import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import * as limits from '../../protocol/limits.ts';
import { KINDS } from '../../protocol/statement/kinds.ts';

const source = readFileSync(join(import.meta.dirname, '..', '..', 'protocol', 'limits.ts'), 'utf8');
const names = Object.keys(limits);

test('every limit is a number with a unit in its name or a plain count, and above zero', () => {
  expect(names.length).toBeGreaterThan(40);
  for (const [name, value] of Object.entries(limits)) {
    expect(name).toMatch(/^[A-Z][A-Z0-9_]*$/);
    expect(Number.isSafeInteger(value) && value > 0, name).toBe(true);
  }
});

test('every limit states its reason', () => {
  const lines = source.split('\n').filter((line) => line.startsWith('export const'));
  expect(lines.length).toBe(names.length);
  expect(lines.filter((line) => !/; \/\/ ./.test(line))).toEqual([]);
});

test('limits that follow from each other agree', () => {
  expect(limits.CHAIN_BYTES_MAX).toBe(limits.CHAIN_LINKS_MAX * limits.DELEGATION_BYTES_MAX);
  expect(limits.DEPTH_MAX).toBe(limits.CHAIN_LINKS_MAX - 1);
  expect(limits.DEPTH_DEFAULT).toBeLessThanOrEqual(limits.DEPTH_MAX);
  expect(limits.STALENESS_READ_SECONDS).toBe(limits.STALENESS_SECONDS_MAX);
  expect(limits.RATE_N_MAX * limits.RATE_SECONDS_MAX).toBeLessThan(Number.MAX_SAFE_INTEGER);
  expect(limits.RANGE_MESSAGE_BYTES_MAX).toBeLessThan(limits.SYNC_FRAME_BYTES_MAX);
  expect(limits.SECONDS_MAX).toBe(Date.parse('9999-12-31T23:59:59Z') / 1000);
  for (const row of Object.values(KINDS)) expect(row.bytesMax).toBeLessThanOrEqual(limits.STATEMENT_BYTES_MAX);
});
