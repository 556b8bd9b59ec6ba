import { expect, test } from 'vitest';
import {
  formatHashLines,
  formatReadPath,
  originHash,
  parseHashLinesOf,
  parseReadPath,
  READ_STATUSES,
  type ReadQuestion,
} from '../../../protocol/log/index.ts';
import { MERKLE_PROOF_HASHES_MAX } from '../../../protocol/limits.ts';
import { readFileSync } from 'node:fs';
import { sectionOf, specPath } from '../spec-tables.ts';

const origin = 'agentmesh/v1/log/z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK/0';
const hash = originHash(origin);
const hex = Buffer.from(hash).toString('hex');

const tile = { level: 1, index: 1234067, width: 256 } as const;
const PATHS: readonly (readonly [string, ReadQuestion])[] = [
  ['checkpoint', { of: 'checkpoint' }],
  ['tile/1/x001/x234/067', { of: 'tile', place: tile, isDirect: false }],
  ['tile/0/000.p/5/direct', { of: 'tile', place: { level: 0, index: 0, width: 5 }, isDirect: true }],
  ['tile/entries/003.p/7/part/0', { of: 'bundle', place: { level: 'entries', index: 3, width: 7 }, part: 0 }],
  ['tile/entries/003/part/12', { of: 'bundle', place: { level: 'entries', index: 3, width: 256 }, part: 12 }],
  ['consistency/3/9007199254740991', { of: 'consistency', oldSize: 3, newSize: 2 ** 53 - 1, isDirect: false }],
  ['consistency/0/0/direct', { of: 'consistency', oldSize: 0, newSize: 0, isDirect: true }],
  ['inclusion/0/1', { of: 'inclusion', leafIndex: 0, treeSize: 1 }],
];

test.each(PATHS)('parseReadPath() and formatReadPath() agree on %s', (path, question) => {
  expect(formatReadPath(hash, question)).toBe(`${hex}/${path}`);
  expect(parseReadPath(`${hex}/${path}`)).toEqual({ hash: hex, question });
});

test.each([
  '',
  'checkpoint',
  `${hex}`,
  `${hex}/`,
  `${hex}//checkpoint`,
  `/${hex}/checkpoint`,
  `${hex.toUpperCase()}/checkpoint`,
  `${hex.slice(2)}/checkpoint`,
  `${hex}00/checkpoint`,
  `${hex}/checkpoint/`,
  `${hex}/checkpoint/direct`,
  `${hex}/tile/7/000`,
  `${hex}/tile/00/000`,
  `${hex}/tile/0/0`,
  `${hex}/tile/0/000.p/256`,
  `${hex}/tile/0/000/part/0`,
  `${hex}/tile/entries/000`,
  `${hex}/tile/entries/000/part/`,
  `${hex}/tile/entries/000/part/01`,
  `${hex}/tile/entries/000/part/0/direct`,
  `${hex}/consistency/1`,
  `${hex}/consistency/01/2`,
  `${hex}/consistency/1/2/3`,
  `${hex}/consistency/1/9007199254740992`,
  `${hex}/consistency/1/2/direct/direct`,
  `${hex}/inclusion/1/2/direct`,
  `${hex}/inclusion/-1/2`,
])('parseReadPath() refuses "%s"', (path) => {
  expect(() => parseReadPath(path)).toThrow(expect.objectContaining({ code: 'malformed' }));
});

test('a proof is as many lines as hashes, none for none', () => {
  const hashes = Array.from({ length: MERKLE_PROOF_HASHES_MAX }, (_, i) => new Uint8Array(32).fill(i));
  for (const some of [[], hashes.slice(0, 1), hashes])
    expect(parseHashLinesOf(formatHashLines(some), 'it')).toEqual(some);
  const longer = formatHashLines([...hashes, new Uint8Array(32)]);
  expect(() => parseHashLinesOf(longer, 'it')).toThrow(expect.objectContaining({ code: 'too_large' }));
  const cut = formatHashLines(hashes).slice(0, -1);
  expect(() => parseHashLinesOf(cut, 'it')).toThrow(expect.objectContaining({ code: 'malformed' }));
});

test('SPEC has every status', () => {
  const spec = sectionOf(readFileSync(specPath, 'utf8'), 'Reading logs');
  for (const [status, when] of Object.entries(READ_STATUSES)) expect(spec).toContain(`| ${status} | ${when} |`);
});
