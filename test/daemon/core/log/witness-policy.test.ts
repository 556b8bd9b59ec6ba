import { describe, expect, test } from 'vitest';
import {
  type BoundWitness,
  defaultPolicy,
  quorumSize,
  type WitnessOperator,
  witnessOperators,
} from '../../../../daemon/core/log/witness-policy.ts';
import { digestOf, didOfDigest, limits, rawKeyOf } from '../../../../protocol/index.ts';
import {
  formatPolicy,
  isQuorumMet,
  logVkey,
  parsePolicy,
  type Vkey,
  witnessVkey,
} from '../../../../protocol/log/index.ts';
import { keyOf } from '../../../builders.ts';
import { bytesOf, textOf, witnessSigner } from '../../../protocol/log/sample.ts';

const didOf = (name: string): string => didOfDigest(digestOf(bytesOf(name)));
const keyNamed = (name: string): Vkey => witnessVkey(rawKeyOf(keyOf(name).publicKey));
const log = logVkey(rawKeyOf(keyOf('the log').publicKey), 0);
const bind = (name: string, { key = `${name} key`, peer = `${name} peer`, iat = 1 } = {}): BoundWitness => ({
  did: didOf(name),
  vkey: keyNamed(key),
  peer,
  iat,
});
const asked = {
  origin: log.name,
  owner: didOf('me'),
  mayWitness: () => true,
};
const didsOf = (operators: readonly WitnessOperator[]): (string | null)[] => operators.map(({ did }) => did);
const names = (count: number): string[] => Array.from({ length: count }, (_, i) => `org ${i}`);
const sorted = (dids: readonly (string | null)[]): (string | null)[] =>
  dids.toSorted((a, b) => String(a).localeCompare(String(b)));

describe('quorumSize()', () => {
  test.each([
    [0, 0],
    [1, 1],
    [2, 2],
    [3, 2],
    [4, 3],
    [5, 4],
    [6, 4],
    [7, 5],
    [10, 7],
    [13, 9],
    [64, 43],
  ])('of %i operators is %i', (operators, quorum) => {
    expect(quorumSize(operators)).toBe(quorum);
  });

  test('leaves no two quorums whose only common members are bad, and the good ones suffice', () => {
    for (let n = 1; n <= 200; n++) {
      const [k, f] = [quorumSize(n), Math.floor((n - 1) / 3)];
      expect(2 * k - n, `of ${n}`).toBeGreaterThan(f); // members that any two quorums share at least
      expect(n - f, `of ${n}`).toBeGreaterThanOrEqual(k);
    }
  });
});

describe('the operators of a log', () => {
  test('are those bound, but for its owner and those that may not witness', () => {
    const bound = [bind('a'), bind('b'), bind('me'), bind('convicted')];
    const operators = witnessOperators({ ...asked, bound, mayWitness: (did) => did !== didOf('convicted') });
    expect(sorted(didsOf(operators))).toEqual(sorted([didOf('a'), didOf('b')]));
    expect(operators.find(({ did }) => did === didOf('a'))?.witnesses).toEqual([
      { vkey: keyNamed('a key'), peer: 'a peer' },
    ]);
    expect(witnessOperators({ ...asked, bound: [] })).toEqual([]);
  });

  test('are at most seven, the same whoever asks and in whatever order, and others for another log', () => {
    const bound = names(40).map((name) => bind(name));
    const first = didsOf(witnessOperators({ ...asked, bound }));
    expect(first).toHaveLength(limits.WITNESSES_MAX);
    expect(didsOf(witnessOperators({ ...asked, bound: bound.toReversed() }))).toEqual(first);
    // Whoever is not among them can go without a change.
    expect(didsOf(witnessOperators({ ...asked, bound: bound.filter(({ did }) => first.includes(did)) }))).toEqual(
      first,
    );
    expect(didsOf(witnessOperators({ ...asked, bound, origin: `${log.name}1` }))).not.toEqual(first);
    const counts = new Map<string | null, number>();
    for (let i = 0; i < 400; i++)
      for (const did of didsOf(witnessOperators({ ...asked, bound, origin: `log ${i}` })))
        counts.set(did, (counts.get(did) ?? 0) + 1);
    expect(counts.size).toBe(40);
    for (const [did, count] of counts) expect(count, String(did)).toBeGreaterThan(30); // 70 on average
  });

  test('do not count by a key that another claims too, unless a human chose between them', () => {
    const bound = [
      bind('a'),
      bind('thief', { key: 'a key' }),
      bind('b'),
      bind('c', { key: 'my key' }),
      bind('me', { key: 'my key' }),
    ];
    expect(didsOf(witnessOperators({ ...asked, bound }))).toEqual([didOf('b')]);
    expect(didsOf(witnessOperators({ ...asked, bound, chosen: [didOf('a')] }))).toEqual([didOf('a')]);
    expect(didsOf(witnessOperators({ ...asked, bound, chosen: [didOf('a'), didOf('thief')] }))).toEqual([]);
    expect(didsOf(witnessOperators({ ...asked, bound, chosen: [didOf('c')] }))).toEqual([]); // it would be the own one
    expect(sorted(didsOf(witnessOperators({ ...asked, bound, mayWitness: (did) => did !== didOf('thief') })))).toEqual(
      sorted([didOf('a'), didOf('b')]),
    );
  });

  test('have their newest keys, each once, and few', () => {
    const keys = ['k1', 'k2', 'k3', 'k4'];
    const bound = keys.flatMap((key, i) => [
      bind('a', { key, iat: 10 * i + 1, peer: 'old' }),
      bind('a', { key, iat: 10 * i + 2, peer: 'new' }),
    ]);
    const [operator] = witnessOperators({ ...asked, bound });
    expect(operator?.witnesses).toEqual(['k4', 'k3', 'k2'].map((key) => ({ vkey: keyNamed(key), peer: 'new' })));
  });

  test('are those named, in their order, and configured ones of other keys', () => {
    const bound = names(9).map((name) => bind(name));
    const chosen = [didOf('org 5'), didOf('unknown'), didOf('org 1')];
    const other = witnessSigner('witness.example/w').vkey;
    const configured = [
      { vkey: other, url: 'https://w.example/' },
      { vkey: keyNamed('org 5 key'), url: 'https://again.example/' },
    ];
    const operators = witnessOperators({ ...asked, bound, chosen, configured });
    expect(didsOf(operators)).toEqual([didOf('org 5'), didOf('org 1'), null]);
    expect(operators[2]?.witnesses).toEqual([{ vkey: other, peer: null, url: 'https://w.example/' }]);
  });
});

describe('defaultPolicy()', () => {
  const operatorsOf = (count: number): WitnessOperator[] =>
    names(count).map((name) => ({ did: didOf(name), witnesses: [{ vkey: keyNamed(`${name} key`), peer: 'p' }] }));

  test('counts operators, not keys', () => {
    const many = { did: didOf('many'), witnesses: ['x', 'y', 'z'].map((key) => ({ vkey: keyNamed(key), peer: 'p' })) };
    const policy = defaultPolicy(log, [many, ...operatorsOf(3)]);
    const witnessNames = policy.witnesses.map(({ name }) => name);
    expect(witnessNames).toHaveLength(6);
    const met = (which: readonly string[]): boolean => isQuorumMet(policy, new Set(which));
    expect(met(witnessNames.slice(0, 3))).toBe(false);
    expect(met(witnessNames.slice(0, 5))).toBe(true);
    expect(met(witnessNames.slice(2, 5))).toBe(true);
    expect(met(witnessNames.slice(3, 5))).toBe(false);
  });

  test('has the quorum that the number gives, or the one that was set, and refuses one that nobody can meet', () => {
    for (let n = 0; n <= 8; n++) {
      const policy = defaultPolicy(log, operatorsOf(n));
      const least = Array.from({ length: n + 1 }, (_, k) => k).find((k) =>
        isQuorumMet(policy, new Set(policy.witnesses.slice(0, k).map(({ name }) => name))),
      );
      expect(least, `of ${n}`).toBe(quorumSize(n));
    }
    expect(textOf(formatPolicy(defaultPolicy(log, [])))).toMatch(/^log \S+\nquorum none\n$/);
    expect(defaultPolicy(log, operatorsOf(4), 0).quorum).toBeUndefined();
    expect(defaultPolicy(log, operatorsOf(4), 4).groups.at(-1)?.threshold).toBe(4);
    expect(() => defaultPolicy(log, operatorsOf(4), 5)).toThrow(expect.objectContaining({ code: 'quorum' }));
  });

  test('is written and read again, configured witnesses with their URL, up to the most that can be named', () => {
    const configured = names(limits.CONFIG_LIST_MAX).map((name) => ({
      did: null,
      witnesses: [
        { vkey: witnessSigner(`wíth.example/${name.replace(' ', '-')}`).vkey, peer: null, url: 'https://w.example/ü' },
      ],
    }));
    const bound = names(limits.CONFIG_LIST_MAX).map((name) => ({
      did: didOf(name),
      witnesses: [1, 2, 3].map((i) => ({ vkey: keyNamed(`${name} ${i}`), peer: 'p' })),
    }));
    const policy = defaultPolicy(log, [...bound, ...configured]);
    expect(parsePolicy(formatPolicy(policy))).toEqual(policy);
    expect(policy.witnesses).toHaveLength(4 * limits.CONFIG_LIST_MAX);
  });
});
