import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { rawKeyOf } from '../../../protocol/encoding/multikey.ts';
import {
  formatPolicy,
  logVkey,
  parsePolicy,
  type Policy,
  type Vkey,
  witnessVkey,
} from '../../../protocol/log/index.ts';
import { keyOf } from '../../builders.ts';
import { textOf } from './sample.ts';

const keyNamed = (name: string): Vkey => witnessVkey(rawKeyOf(keyOf(name).publicKey));

describe('formatPolicy()', () => {
  const octet = fc
    .integer({ min: 0x21, max: 0xff })
    .filter((code) => code !== 0x7f)
    .map((code) => String.fromCharCode(code));
  const word = fc.array(octet, { minLength: 1, maxLength: 8 }).map((letters) => letters.join(''));
  /** Any policy: witnesses, then groups over what was defined before, each name a member at most once. */
  const policies = fc
    .record({
      logs: fc.uniqueArray(fc.integer({ min: 0, max: 5 }), { maxLength: 3 }),
      witnesses: fc.uniqueArray(
        word.filter((name) => name !== 'none'),
        { maxLength: 6 },
      ),
      groups: fc.uniqueArray(
        word.filter((name) => name !== 'none'),
        { maxLength: 4 },
      ),
      url: fc.option(word, { nil: undefined }),
      picks: fc.array(fc.nat(), { minLength: 16, maxLength: 16 }),
    })
    .map(({ logs, witnesses, groups, url, picks }): Policy => {
      const free = [...witnesses];
      const made: { name: string; threshold: number; members: string[] }[] = [];
      for (const [i, name] of groups.entries()) {
        if (witnesses.includes(name) || free.length === 0) continue;
        const members = free.splice(0, 1 + ((picks[i] ?? 0) % free.length));
        made.push({ name, threshold: 1 + ((picks[i + 4] ?? 0) % members.length), members });
        free.push(name);
      }
      const all = [...witnesses, ...made.map(({ name }) => name)];
      const quorum = all[(picks[8] ?? 0) % (all.length + 1)];
      return {
        logs: logs.map((i) => ({ vkey: logVkey(rawKeyOf(keyOf(`log ${i}`).publicKey), i) })),
        witnesses: witnesses.map((name, i) => ({
          name,
          vkey: keyNamed(`w ${i}`),
          ...(url === undefined ? {} : { url }),
        })),
        groups: made,
        quorum,
      };
    });

  test('writes what is read as the same policy', () => {
    fc.assert(
      fc.property(policies, (policy) => {
        expect(parsePolicy(formatPolicy(policy))).toEqual(policy);
      }),
    );
  });

  test('says any, all and numbers', () => {
    const policy = (threshold: number): Policy => ({
      logs: [],
      witnesses: ['a', 'b', 'c'].map((name) => ({ name, vkey: keyNamed(name) })),
      groups: [{ name: 'g', threshold, members: ['a', 'b', 'c'] }],
      quorum: 'g',
    });
    const lineOf = (threshold: number): string => textOf(formatPolicy(policy(threshold))).split('\n')[3] ?? '';
    expect([1, 2, 3].map(lineOf)).toEqual(['group g any a b c', 'group g 2 a b c', 'group g all a b c']);
  });

  test.each([
    ['a space in a name', { witnesses: [{ name: 'a b', vkey: keyNamed('a') }] }],
    ['an empty name', { witnesses: [{ name: '', vkey: keyNamed('a') }] }],
    ['a name beyond octets', { witnesses: [{ name: 'ł', vkey: keyNamed('a') }] }],
    ['a newline in a URL', { witnesses: [{ name: 'a', vkey: keyNamed('a'), url: 'x\nquorum none' }] }],
    ['a quorum called none', { witnesses: [{ name: 'none', vkey: keyNamed('a') }], quorum: 'none' }],
    ['a quorum that is not defined', { quorum: 'x' }],
    ['a member that is not defined', { groups: [{ name: 'g', threshold: 1, members: ['x'] }] }],
    [
      'a threshold of more than there are',
      { witnesses: [{ name: 'a', vkey: keyNamed('a') }], groups: [{ name: 'g', threshold: 2, members: ['a'] }] },
    ],
    [
      'a threshold of none',
      { witnesses: [{ name: 'a', vkey: keyNamed('a') }], groups: [{ name: 'g', threshold: 0, members: ['a'] }] },
    ],
    [
      'one key twice',
      {
        witnesses: [
          { name: 'a', vkey: keyNamed('a') },
          { name: 'b', vkey: keyNamed('a') },
        ],
      },
    ],
  ] as readonly [string, Partial<Policy>][])('refuses %s', (_, wrong) => {
    const policy = { logs: [], witnesses: [], groups: [], quorum: undefined, ...wrong };
    expect(() => formatPolicy(policy)).toThrow(expect.objectContaining({ code: 'malformed' }));
  });
});
