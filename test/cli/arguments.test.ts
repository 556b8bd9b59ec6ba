import { describe, expect, test } from 'vitest';
import {
  capabilitiesOf,
  collect,
  integerBetween,
  parseAudience,
  parseCan,
  parseContact,
  parseDid,
  parseDisplayName,
  parseName,
  parseRate,
  parseReason,
  parseResource,
  parseSeconds,
  parseTime,
  secondsBetween,
  withoutEllipsis,
} from '../../cli/arguments.ts';
import { createOrganisation, NOW_MS } from '../builders.ts';

const { did } = createOrganisation('acme');
const isRefused = (parse: (text: string) => unknown, text: string): boolean => {
  try {
    parse(text);
    return false;
  } catch (error) {
    expect(error).toMatchObject({ code: 'commander.invalidArgument' });
    return true;
  }
};

test.each([
  ['mcp:files/*=100/1h', { can: 'mcp:files/*', n: 100, per: 3600 }],
  ['mcp:files/read_file=1/90s', { can: 'mcp:files/read_file', n: 1, per: 90 }],
  ['read:reports/q3=5/d', { can: 'read:reports/q3', n: 5, per: 86_400 }],
])('"%s" is a rate', (text, rate) => {
  expect(parseRate(text)).toEqual(rate);
});

test.each(['', 'mcp:files/*', 'mcp:files/*=0/1h', 'mcp:files/*=1/0s', 'mcp:files/*=1/31d', 'files=1/1h', 'a:b=x/1h'])(
  '"%s" is no rate',
  (text) => {
    expect(isRefused(parseRate, text)).toBe(true);
  },
);

test.each([
  ['60s', 60],
  ['60', 60],
  ['15m', 900],
  ['15 min', 900],
  ['1h', 3600],
  ['7d', 604_800],
])('"%s" are %s seconds', (text, seconds) => {
  expect(parseSeconds(text)).toBe(seconds);
});

test.each(['', 'h', '1w', '-1s', '1.5h', '1h30m', '9999999999s', '٣s'])('"%s" is no time', (text) => {
  expect(isRefused(parseSeconds, text)).toBe(true);
});

test('times and numbers keep to their bounds', () => {
  const ttl = secondsBetween(1, 3600, 'from 1s to 1h');
  expect([ttl('1s'), ttl('1h')]).toEqual([1, 3600]);
  expect(['0s', '61m'].every((text) => isRefused(ttl, text))).toBe(true);
  const depth = integerBetween(0, 7);
  expect([depth('0'), depth('7')]).toEqual([0, 7]);
  expect(['8', '-1', '1e0', '', '0x1', '2.0'].every((text) => isRefused(depth, text))).toBe(true);
});

describe('capabilities', () => {
  test('take the older spelling with colons', () => {
    expect(parseCan('execute:tools:calculator')).toBe('execute:tools/calculator');
    expect(parseCan('read:reports/*')).toBe('read:reports/*');
  });

  test.each(['*', 'read', 'read:', 'read:*/x', 'read:../x', 'READ:x', 'read:a%20b'])('"%s" is none', (text) => {
    expect(isRefused(parseCan, text)).toBe(true);
  });

  test('have every resource each, and no two are alike', () => {
    expect(capabilitiesOf(['read:a', 'read:b', 'read:a'], ['x/', 'y', 'x/'])).toEqual([
      { can: 'read:a', res: ['x/', 'y'] },
      { can: 'read:b', res: ['x/', 'y'] },
    ]);
    expect(capabilitiesOf(['read:a'])).toEqual([{ can: 'read:a' }]);
  });

  test('resources are checked as the wire has them', () => {
    expect(parseResource('acme/support/')).toBe('acme/support/');
    expect(['', '../x', 'a//b', 'a%2fb'].every((text) => isRefused(parseResource, text))).toBe(true);
  });
});

test('options that are repeated are collected in order', () => {
  const parse = collect(Number);
  expect(parse('2', parse('1'))).toEqual([1, 2]);
});

test('DIDs, names, addresses and reasons are what the daemon takes', () => {
  expect([parseDid(did), parseAudience(did)]).toEqual([did, did]);
  expect(['did:mesh:x', 'my-agent', 'did:key:z6Mk'].every((text) => isRefused(parseDid, text))).toBe(true);
  expect(parseContact('alice@company.com')).toBe('alice@company.com');
  expect(['alice', 'a b@c', '@c', 'a@', `${'a'.repeat(250)}@c.de`].every((text) => isRefused(parseContact, text))).toBe(
    true,
  );
  expect(parseName('my-agent 2')).toBe('my-agent 2');
  expect(['', '-a', 'a/b', 'ä', 'a'.repeat(65)].every((text) => isRefused(parseName, text))).toBe(true);
  expect(parseDisplayName('Zoë & 山田')).toBe('Zoë & 山田');
  expect(['', ' a', 'a\nb', 'a'.repeat(65)].every((text) => isRefused(parseDisplayName, text))).toBe(true);
  expect(parseReason('')).toBe('');
  expect(parseReason('🙂'.repeat(140))).toHaveLength(280);
  expect(['a\nb', 'a'.repeat(141)].every((text) => isRefused(parseReason, text))).toBe(true);
});

describe('points in time', () => {
  test.each(['2026-11-18T11:06:40Z', '2026-11-18T11:06:40.000Z', '2026-11-18 11:06:40', '2026-11-18T12:06:40+01:00'])(
    '"%s" is one',
    (text) => {
      expect(parseTime(text)).toBe(NOW_MS);
    },
  );

  test('a day begins at midnight UTC', () => {
    expect(parseTime('2026-11-18')).toBe(Date.UTC(2026, 10, 18));
  });

  test.each(['', 'now', '18.11.2026', '2026-13-01', '2026-11-18T25:00Z', '1795000000'])('"%s" is none', (text) => {
    expect(isRefused(parseTime, text)).toBe(true);
  });
});

test('an id that a table cut short is taken without its dots', () => {
  expect(withoutEllipsis('bafyreiabc…')).toBe('bafyreiabc');
  expect(withoutEllipsis('bafyreiabc...')).toBe('bafyreiabc');
});
