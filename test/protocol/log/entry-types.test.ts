import { describe, expect, test } from 'vitest';
import { CBOR_DEPTH_MAX, JCS_DEPTH_MAX, LOG_TYPE_TEXT_MAX } from '../../../protocol/limits.ts';
import { COMMON_MEMBERS, entryRow } from '../../../protocol/log/entry-types.ts';
import { ENTRY_TYPE_NAMES, ENTRY_TYPES, entryTypeOf, isForeignType, wireTypeOf } from '../../../protocol/log/index.ts';
import { SAMPLES } from './entry-sample.ts';

const rows = Object.entries(ENTRY_TYPES);

describe('the table of types', () => {
  test('names each "<area>.<verb>", under which it travels', () => {
    expect(rows.length).toBeGreaterThan(20);
    for (const [name, { area, summary }] of rows) {
      expect(name).toMatch(/^[a-z]+\.[a-z]+$/);
      expect(name.split('.')[0], name).toBe(area);
      expect(summary.length, name).toBeGreaterThan(10);
    }
    for (const name of ENTRY_TYPE_NAMES) {
      expect(entryTypeOf(`agentmesh.${name}.v1`)).toBe(name);
      expect(entryRow(wireTypeOf(name))).toBe(ENTRY_TYPES[name]);
    }
  });

  test('gives no member a name that every entry has for something else', () => {
    expect(COMMON_MEMBERS).toContain('actor');
    for (const [name, { members }] of rows) {
      const own = members.map((member) => member.replace('?', ''));
      expect(
        own.filter((member) => COMMON_MEMBERS.includes(member)),
        name,
      ).toEqual([]);
      expect(new Set(own).size, name).toBe(own.length);
    }
  });

  test('has a sample of each in these tests, with all of its members', () => {
    expect(Object.keys(SAMPLES).sort()).toEqual([...ENTRY_TYPE_NAMES].sort());
    for (const [name, { members }] of rows) {
      const { data } = SAMPLES[name as keyof typeof SAMPLES].entry;
      const own = members.map((member) => member.replace('?', ''));
      expect(Object.keys(data), name).toEqual(expect.arrayContaining(own));
    }
  });

  test('leaves what an agent says of itself, and what other makers say, to the actor', () => {
    const byActor = rows.filter(([, { signedBy }]) => signedBy === 'actor').map(([name]) => name);
    expect(byActor).toEqual(['agent.action']);
    expect(entryRow('com.example.order.paid')?.signedBy).toBe('actor');
  });
});

describe('a type of another maker', () => {
  test.each([
    'com.example.paid',
    'com.github.pull_request.opened',
    'org.acme.v1',
    'io.x-y.A.B.c9',
    'agentmeshed.org.x',
  ])('may be "%s"', (type) => {
    expect(isForeignType(type)).toBe(true);
    expect(entryTypeOf(type)).toBeUndefined();
    expect(entryRow(type)).toBeDefined();
  });

  test.each([
    '',
    'com',
    'com.example',
    'com.example.',
    '.com.example.x',
    'com..x',
    'Com.example.x',
    'c.example.x',
    'com.exa mple.x',
    'com.example.é',
    'com.example.-x',
    'com.example.x-',
    'com.example.x\n',
    `com.example.${'x'.repeat(64)}`,
    'agentmesh.agent.action.v1',
    'agentmesh.agent.action.v2',
    'agentmesh.com.example',
  ])('may not be "%s"', (type) => {
    expect(isForeignType(type)).toBe(false);
    expect(entryRow(type) === undefined).toBe(entryTypeOf(type) === undefined);
  });

  test('has at most LOG_TYPE_TEXT_MAX letters', () => {
    const words = `com.${'abcdefghi.'.repeat(12)}`;
    expect(isForeignType(words.padEnd(LOG_TYPE_TEXT_MAX, 'x'))).toBe(true);
    expect(isForeignType(words.padEnd(LOG_TYPE_TEXT_MAX + 1, 'x'))).toBe(false);
  });
});

test('JSON and CBOR nest equally deep, as the reason of the limit says', () => {
  expect(JCS_DEPTH_MAX).toBe(CBOR_DEPTH_MAX);
});
