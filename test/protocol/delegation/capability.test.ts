import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  isCapability,
  isCapabilityWithin,
  isCovered,
  isResource,
  isResourceWithin,
  parseCapability,
} from '../../../protocol/delegation/capability.ts';
import { describeWithShared } from '../../shared.ts';

interface OrderVector {
  readonly parent: string;
  readonly child: string;
  readonly expect: 'covered' | 'not-covered' | 'malformed';
}

describeWithShared('vectors/identity/attenuation', 'the order of capabilities follows the shared vectors', (folder) => {
  const vectors = JSON.parse(readFileSync(join(folder, 'capability-order.json'), 'utf8')) as OrderVector[];

  test('there are vectors of each kind', () => {
    expect(new Set(vectors.map((vector) => vector.expect))).toEqual(new Set(['covered', 'not-covered', 'malformed']));
  });

  test.each(vectors)('"$child" under "$parent" is $expect', ({ parent, child, expect: verdict }) => {
    expect(isCapability(parent) && isCapability(child)).toBe(verdict !== 'malformed');
    if (verdict !== 'malformed') expect(isCovered(child, parent)).toBe(verdict === 'covered');
  });
});

describe('prefixes of text are not authority', () => {
  // The same mistake in several systems: a raw startsWith.
  test.each([
    ['crypto:sign', 'crypto:signature'],
    ['crypto:*', 'cryptocurrency:send'],
    ['w:notes', 'w:notesSECRET'],
    ['w:notes/*', 'w:notesSECRET/x'],
    ['w:notes/*', 'w:notes'],
    ['mcp:fs/read', 'mcp:fs/read_all'],
  ])('"%s" does not cover "%s"', (parent, child) => {
    expect(isCapability(parent) && isCapability(child)).toBe(true);
    expect(isCovered(child, parent)).toBe(false);
  });

  test.each([
    ['w/notes', 'w/notesSECRET'],
    ['w/notes/', 'w/notesSECRET/a'],
    ['w/notes', 'w/notes/a'],
    ['w/notes/', 'w/notes'],
  ])('resource "%s" does not contain "%s"', (parent, child) => {
    expect(isResource(parent) && isResource(child)).toBe(true);
    expect(isResourceWithin(child, parent)).toBe(false);
  });

  test('a star stands for one segment at least', () => {
    expect(isCovered('read:', 'read:*')).toBe(false);
    expect(isCovered('read:data/', 'read:data/*')).toBe(false);
    expect(isCovered('read:data/x', 'read:data/*')).toBe(true);
  });

  test('a subtree contains what is below it, and itself', () => {
    for (const child of ['w/notes/', 'w/notes/a', 'w/notes/a/', 'w/notes/a/b'])
      expect(isResourceWithin(child, 'w/notes/')).toBe(true);
  });
});

describe('capabilities', () => {
  test.each(['read:*', 'read:a', 'mcp:a/b/*', 'x.y-z_0:A~@-._', `${'a'.repeat(32)}:${'b'.repeat(128)}`])(
    '"%s" is one',
    (can) => {
      expect(isCapability(can)).toBe(true);
    },
  );

  test.each([
    '',
    '*',
    '*:*',
    'read',
    'read:',
    ':a',
    'read:/a',
    'read:a/',
    'read:a//b',
    'read:.',
    'read:..',
    'read:a/../b',
    'read:*/a',
    'read:a*',
    'read:**',
    'read:a:b',
    'Read:a',
    '1read:a',
    'read:a%2fb',
    'read:a b',
    'read:a\n',
    'read:\u0000',
    'read:é',
    `${'a'.repeat(33)}:b`,
    `read:${'b'.repeat(129)}`,
    `read:${Array.from({ length: 10 }, () => 'b'.repeat(60)).join('/')}`,
  ])('%j is none', (can) => {
    expect(isCapability(can)).toBe(false);
    expect(isCovered(can, can)).toBe(true); // so the order is only ever asked about what the grammar admits
  });
});

describe('resources', () => {
  test.each(['a', 'a/', '/a/b', 'https://x/a', 'https://x/a/', 'file:///etc/', 'urn:x:y'])(
    '"%s" is one',
    (resource) => {
      expect(isResource(resource)).toBe(true);
    },
  );

  test.each([
    '',
    '/',
    '//',
    'a//b',
    'a//',
    '../a',
    'a/..',
    'a/./b',
    'a\\b',
    'a%2e',
    'https://',
    'https:////a',
    'a\u0000',
    'a\nb',
    'x'.repeat(257),
  ])('%j is none', (resource) => {
    expect(isResource(resource)).toBe(false);
  });
});

describe('entries', () => {
  const parent = { can: 'read:reports/*', res: ['eu/', 'us/q3'] };

  test.each([
    [{ can: 'read:reports/q3', res: ['eu/de', 'us/q3'] }, true],
    [{ can: 'read:reports/q3' }, true], // inherits the resources above
    [{ can: 'read:reports/q3', res: ['us/q4'] }, false],
    [{ can: 'read:reports/q3', res: ['eu/de', 'asia'] }, false],
    [{ can: 'read:reports', res: ['eu/'] }, false],
  ])('%j within a limited entry: %s', (child, within) => {
    expect(isCapabilityWithin(child, parent)).toBe(within);
  });

  test('an entry without resources contains any', () => {
    expect(isCapabilityWithin({ can: 'read:a', res: ['x'] }, { can: 'read:a' })).toBe(true);
  });
});

describe('what people type', () => {
  test('the older spelling with several colons becomes the one of the wire', () => {
    expect(parseCapability('execute:tools:calculator')).toBe('execute:tools/calculator');
    expect(parseCapability('read:reports/*')).toBe('read:reports/*');
    expect(parseCapability('read:data:*')).toBe('read:data/*');
  });

  test.each(['*', 'read', 'read:data:', 'read::data', ''])('%j is refused, saying what is wanted', (input) => {
    expect(() => parseCapability(input)).toThrow(expect.objectContaining({ code: 'malformed' }));
  });
});
