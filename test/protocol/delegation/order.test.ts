import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Capability } from '../../../protocol/delegation/capability.ts';
import type { Delegation, Rate } from '../../../protocol/delegation/link.ts';
import {
  depthLeft,
  DIMENSIONS,
  freshWork,
  isRequestCovered,
  meetCapabilities,
  meetOf,
  verifyAttenuation,
  verifyNarrower,
} from '../../../protocol/delegation/order.ts';
import { isMeshError } from '../../../protocol/errors.ts';
import { CHAIN_COMPARISONS_MAX, DEPTH_DEFAULT } from '../../../protocol/limits.ts';
import {
  createAgent,
  createChildLink,
  createCredential,
  createOrganisation,
  createPerson,
  createRootLink,
  keyOf,
  NOW_SECONDS,
} from '../../builders.ts';

const acme = createOrganisation('acme');
const alice = createPerson(acme, 'alice');
const beta = createOrganisation('beta');
const agent = createAgent(beta, 'agent');
const root = createRootLink(acme, alice, { aud: beta.did });
const child = createChildLink(root, beta, { aud: agent.did });

const link = (fields: Partial<Delegation>): Delegation => ({ ...root.payload, ...fields });
/** A link's terms under another's, as error code and dimension. */
function refusal(run: () => void): string {
  try {
    run();
  } catch (error) {
    if (!isMeshError(error)) throw error;
    return error.code === 'widened' ? `widened:${error.data.dimension}` : error.code;
  }
  return 'narrower';
}
const narrower = (below: Partial<Delegation>, above: Partial<Delegation>): string =>
  refusal(() => verifyNarrower(link(below), link(above), freshWork()));
const isNarrower = (below: Partial<Delegation>, above: Partial<Delegation>): boolean =>
  narrower(below, above) === 'narrower';

describe('every row of the table', () => {
  const nbf = NOW_SECONDS;
  const exp = NOW_SECONDS + 100;
  const rate = (can: string, n: number, per: number): Partial<Delegation> => ({ rate: [{ can, n, per }] });

  test.each<[string, Partial<Delegation>, Partial<Delegation>, string]>([
    ['fewer capabilities', { cap: [{ can: 'read:a' }] }, { cap: [{ can: 'read:*' }, { can: 'write:*' }] }, 'narrower'],
    [
      'another capability',
      { cap: [{ can: 'read:a' }, { can: 'write:a' }] },
      { cap: [{ can: 'read:*' }] },
      'widened:capability',
    ],
    ['a broader capability', { cap: [{ can: 'read:*' }] }, { cap: [{ can: 'read:a' }] }, 'widened:capability'],
    [
      'a resource within',
      { cap: [{ can: 'read:a', res: ['x/y'] }] },
      { cap: [{ can: 'read:a', res: ['x/'] }] },
      'narrower',
    ],
    [
      'another resource',
      { cap: [{ can: 'read:a', res: ['z'] }] },
      { cap: [{ can: 'read:a', res: ['x/'] }] },
      'widened:resource',
    ],
    ['resources not named', { cap: [{ can: 'read:a' }] }, { cap: [{ can: 'read:a', res: ['x/'] }] }, 'narrower'],
    ['an earlier start', { nbf: nbf - 1, exp }, { nbf, exp }, 'widened:window'],
    ['a later end', { nbf, exp: exp + 1 }, { nbf, exp }, 'widened:window'],
    ['the same window', { nbf, exp }, { nbf, exp }, 'narrower'],
    ['the same rate in other numbers', rate('read:a', 60, 60), rate('read:a', 1, 1), 'narrower'],
    ['a higher rate', rate('read:a', 61, 60), rate('read:a', 1, 1), 'widened:rate'],
    ['a lower rate', rate('read:a', 59, 60), rate('read:a', 1, 1), 'narrower'],
    ['a higher rate for a part of what is limited', rate('read:a', 2, 1), rate('read:*', 1, 1), 'widened:rate'],
    ['a higher rate for more than is limited', rate('read:*', 2, 1), rate('read:a', 1, 1), 'widened:rate'],
    ['a rate for something else', rate('write:a', 2, 1), rate('read:a', 1, 1), 'narrower'],
    ['no rate of its own', {}, rate('read:a', 1, 1), 'narrower'],
    ['a rate where there was none', rate('read:a', 1, 1), {}, 'narrower'],
    [
      'a lower of two rates where one is above',
      {
        rate: [
          { can: 'read:*', n: 5, per: 1 },
          { can: 'read:a', n: 1, per: 1 },
        ],
      },
      rate('read:a', 1, 1),
      'narrower',
    ],
    [
      'a rate between two nested ones',
      rate('read:a', 3, 1),
      {
        rate: [
          { can: 'read:*', n: 5, per: 1 },
          { can: 'read:a', n: 2, per: 1 },
        ],
      },
      'widened:rate',
    ],
    ['another place', { at: [beta.did] }, { at: [acme.did] }, 'widened:at'],
    ['one of the places', { at: [acme.did] }, { at: [beta.did, acme.did] }, 'narrower'],
    ['no place named', {}, { at: [acme.did] }, 'narrower'],
    ['another purpose', { pur: ['a', 'c'] }, { pur: ['a', 'b'] }, 'widened:purpose'],
    ['one of the purposes', { pur: ['b'] }, { pur: ['a', 'b'] }, 'narrower'],
    ['a lower minimum score', { mts: 499 }, { mts: 500 }, 'widened:score'],
    ['a higher minimum score', { mts: 501 }, { mts: 500 }, 'narrower'],
    ['no minimum score of its own', {}, { mts: 500 }, 'narrower'],
    ['a laxer staleness', { stl: 6 }, { stl: 5 }, 'widened:staleness'],
    ['a stricter staleness', { stl: 4 }, { stl: 5 }, 'narrower'],
    ['a public link under a private one', {}, { pri: true }, 'widened:private'],
    ['a private link under a public one', { pri: true }, {}, 'narrower'],
  ])('%s', (_, below, above, expected) => {
    expect(narrower(below, above)).toBe(expected);
  });

  test('each dimension but depth is named above', () => {
    expect(new Set(DIMENSIONS)).toEqual(
      new Set(['capability', 'resource', 'window', 'depth', 'rate', 'at', 'purpose', 'score', 'staleness', 'private']),
    );
  });

  test('cross-multiplied rates are exact at their bounds', () => {
    const most: Rate = { can: 'read:a', n: 1_000_000_000, per: 2_592_000 };
    expect(narrower({ rate: [most] }, { rate: [{ ...most, n: most.n - 1 }] })).toBe('widened:rate');
    expect(narrower({ rate: [most] }, { rate: [{ ...most, per: most.per - 1 }] })).toBe('narrower');
  });
});

describe('depth', () => {
  const credential = createCredential(child, agent, keyOf('cnf')).payload;

  test.each<[string, Partial<Delegation>, number, number | string]>([
    ['a hop takes one', {}, 4, 3],
    ['a hop may take more', { dep: 1 }, 4, 1],
    ['a hop may not keep all', { dep: 4 }, 4, 'widened:depth'],
    ['the last hop leaves none', {}, 1, 0],
    ['no hop where none is left', {}, 0, 'depth'],
    ['no hop where none is left, whatever it says', { dep: 0 }, 0, 'depth'],
  ])('%s', (_, fields, left, expected) => {
    if (typeof expected === 'number') expect(depthLeft(link({ ...fields, aud: agent.did }), left)).toBe(expected);
    else expect(refusal(() => depthLeft(link({ ...fields, aud: agent.did }), left))).toBe(expected);
  });

  test('a credential is no hop', () => {
    expect(depthLeft(credential, 0)).toBe(0);
    expect(depthLeft(credential, 3)).toBe(3);
    expect(refusal(() => depthLeft({ ...credential, dep: 4 }, 3))).toBe('widened:depth');
  });

  test('a link to oneself that binds no key is a hop', () => {
    const { cnf: _, ...unbound } = credential;
    expect(depthLeft(unbound, 3)).toBe(2);
  });
});

describe('verifyAttenuation()', () => {
  test('accepts what continues its parent', () => {
    expect(refusal(() => verifyAttenuation(child.payload, root.payload))).toBe('narrower');
  });

  test.each<[string, Partial<Delegation>, string]>([
    ['another issuer', { iss: acme.did }, 'broken_link'],
    ['another root organisation', { sub: beta.did }, 'broken_link'],
    ['another sponsor', { spo: agent.did }, 'broken_link'],
    ['a wider capability', { cap: [{ can: 'read:*' }] }, 'widened:capability'],
    ['a later end', { exp: root.payload.exp + 1 }, 'widened:window'],
    ['more depth than the default leaves', { dep: DEPTH_DEFAULT }, 'widened:depth'],
  ])('refuses %s', (_, fields, expected) => {
    expect(refusal(() => verifyAttenuation({ ...child.payload, ...fields }, root.payload))).toBe(expected);
  });

  test('refuses another key than the one that the parent binds', () => {
    const bound = createCredential(child, agent, keyOf('cnf')).payload;
    const next = { ...bound, by: [keyOf('cnf').publicKey], cnf: keyOf('next').publicKey };
    expect(refusal(() => verifyAttenuation(next, bound))).toBe('narrower');
    expect(refusal(() => verifyAttenuation({ ...next, by: [agent.keys.delegate.publicKey] }, bound))).toBe(
      'broken_link',
    );
  });
});

// Small alphabets, so that random links often have to do with each other.
const can = fc.constantFrom('r:*', 'r:a', 'r:a/*', 'r:a/b', 'r:a/b/*', 'r:a/b/c', 'r:b', 'w:*', 'w:a');
const resource = fc.constantFrom('x', 'd/', 'd/e', 'd/e/', 'd/e/f', 'd/g');
const resources = fc.uniqueArray(resource, { minLength: 1, maxLength: 3 });
const entry: fc.Arbitrary<Capability> = fc.record({ can, res: resources }, { requiredKeys: ['can'] });
const entries = fc.array(entry, { minLength: 1, maxLength: 4 });
const rates: fc.Arbitrary<Rate[]> = fc.array(
  fc.record({ can, n: fc.integer({ min: 1, max: 4 }), per: fc.integer({ min: 1, max: 3 }) }),
  { minLength: 1, maxLength: 3 },
);
const names = (options: readonly string[]): fc.Arbitrary<string[]> =>
  fc.uniqueArray(fc.constantFrom(...options), { minLength: 1, maxLength: 3 });

type Terms = Pick<Delegation, 'cap' | 'nbf' | 'exp' | 'rate' | 'at' | 'pur' | 'mts' | 'stl' | 'pri'>;
/**
 * Every optional field said, and a rate for everything: nothing is inherited, so that the order of the terms alone is
 * seen. Either all entries name resources or none does, since an entry that inherits its resources equals many others.
 */
const complete = (cap: fc.Arbitrary<Capability[]>): fc.Arbitrary<Terms> =>
  fc.record({
    cap,
    nbf: fc.integer({ min: 0, max: 3 }),
    exp: fc.integer({ min: 5, max: 8 }),
    rate: rates.map((some) => [...some, { can: 'r:*', n: 4, per: 1 }, { can: 'w:*', n: 4, per: 1 }]),
    at: names(['did:a', 'did:b', 'did:c']),
    pur: names(['p', 'q', 's']),
    mts: fc.integer({ min: 0, max: 3 }),
    stl: fc.integer({ min: 0, max: 3 }),
    pri: fc.constant(true as const),
  });
const kinds = [
  complete(
    fc.array(
      can.map((name) => ({ can: name })),
      { minLength: 1, maxLength: 3 },
    ),
  ),
  complete(fc.array(fc.record({ can, res: resources }), { minLength: 1, maxLength: 3 })),
];
const terms = fc.oneof(...kinds);
const mostly = fc.integer({ min: 0, max: 3 }).map((x) => x > 0);
/** Something that often is within the terms: parts of them, or other terms. */
const around = (above: Terms, kind: fc.Arbitrary<Terms>): fc.Arbitrary<Terms> =>
  fc.tuple(kind, fc.array(mostly, { minLength: 8, maxLength: 8 })).map(([other, keep]) => ({
    cap: keep[0] ? above.cap : other.cap,
    nbf: keep[1] ? above.nbf : other.nbf,
    exp: keep[2] ? above.exp : other.exp,
    rate: keep[3] ? (above.rate ?? []) : (other.rate ?? []),
    at: keep[4] ? (above.at ?? []) : (above.at ?? []).slice(0, 1),
    pur: keep[5] ? (above.pur ?? []) : (other.pur ?? []),
    mts: keep[6] ? (above.mts ?? 0) : (other.mts ?? 0),
    stl: keep[7] ? (above.stl ?? 0) : (other.stl ?? 0),
    pri: true as const,
  }));
const pairs = fc.constantFrom(...kinds).chain((kind) => kind.chain((a) => around(a, kind).map((b) => [a, b] as const)));
const triples = fc
  .constantFrom(...kinds)
  .chain((kind) => kind.chain((a) => around(a, kind).chain((b) => around(b, kind).map((c) => [a, b, c] as const))));

const concrete = ['r:a', 'r:b', 'r:z', 'r:a/b', 'r:a/z', 'r:a/b/c', 'r:a/b/z', 'w:a', 'w:z', 'r:a/*', 'r:*'];
const requests: readonly Capability[] = concrete.flatMap((name) => [
  { can: name },
  ...['x', 'y', 'd/', 'd/e', 'd/e/', 'd/e/f', 'd/g', 'd/z'].map((one) => ({ can: name, res: [one] })),
]);
const grants = (cap: readonly Capability[]): boolean[] => requests.map((request) => isRequestCovered(request, cap));
const limitOf = (list: readonly Rate[], name: string): number =>
  Math.min(
    ...list.filter((rate) => isRequestCovered({ can: name }, [rate])).map(({ n, per }) => n / per),
    Number.POSITIVE_INFINITY,
  );

describe('the order of links', () => {
  test('is reflexive', () => {
    fc.assert(
      fc.property(terms, (a) => {
        expect(narrower(a, a)).toBe('narrower');
      }),
    );
  });

  test('is transitive', () => {
    let met = 0;
    fc.assert(
      fc.property(triples, ([a, b, c]) => {
        if (!isNarrower(b, a) || !isNarrower(c, b)) return;
        met += 1;
        expect(narrower(c, a)).toBe('narrower');
      }),
      { numRuns: 3_000 },
    );
    expect(met).toBeGreaterThan(50);
  });

  test('is antisymmetric: two links within each other grant the same', () => {
    let met = 0;
    fc.assert(
      fc.property(pairs, ([a, b]) => {
        if (!isNarrower(a, b) || !isNarrower(b, a)) return;
        met += 1;
        expect(grants(a.cap)).toEqual(grants(b.cap));
        expect([a.nbf, a.exp, a.mts, a.stl]).toEqual([b.nbf, b.exp, b.mts, b.stl]);
        expect(new Set(a.at)).toEqual(new Set(b.at));
        expect(new Set(a.pur)).toEqual(new Set(b.pur));
        for (const name of concrete) expect(limitOf(a.rate ?? [], name)).toBe(limitOf(b.rate ?? [], name));
      }),
      { numRuns: 5_000 },
    );
    expect(met).toBeGreaterThan(50);
  });

  test('lets nothing through that the link above does not grant', () => {
    let met = 0;
    fc.assert(
      fc.property(pairs, ([a, b]) => {
        if (!isNarrower(b, a)) return;
        met += 1;
        const above = grants(a.cap);
        grants(b.cap).forEach((granted, i) => expect(granted && !above[i]).toBe(false));
        for (const name of concrete)
          expect(limitOf(b.rate ?? [], name)).toBeLessThanOrEqual(limitOf(a.rate ?? [], name));
      }),
      { numRuns: 3_000 },
    );
    expect(met).toBeGreaterThan(50);
  });
});

describe('the meet', () => {
  test('of two lists of capabilities covers what both cover, and nothing else', () => {
    fc.assert(
      fc.property(entries, entries, (a, b) => {
        const other = grants(b);
        const both = grants(a).map((granted, i) => granted && other[i]);
        expect(grants(meetCapabilities(a, b))).toEqual(both);
      }),
      { numRuns: 2_000 },
    );
  });

  test('of a list with itself is that list, in what it covers', () => {
    fc.assert(
      fc.property(entries, (a) => {
        expect(grants(meetCapabilities(a, a))).toEqual(grants(a));
      }),
    );
  });

  const optional: fc.Arbitrary<Partial<Delegation>> = fc.record(
    {
      cap: entries,
      nbf: fc.integer({ min: NOW_SECONDS, max: NOW_SECONDS + 3 }),
      exp: fc.integer({ min: NOW_SECONDS + 5, max: NOW_SECONDS + 8 }),
      rate: rates,
      at: names([acme.did, beta.did, agent.did]),
      pur: names(['p', 'q', 's']),
      mts: fc.integer({ min: 0, max: 3 }),
      stl: fc.integer({ min: 0, max: 3 }),
    },
    { requiredKeys: ['cap'] },
  );

  test('never exceeds any link of a chain, whether or not its links are in order', () => {
    fc.assert(
      fc.property(fc.array(optional, { minLength: 1, maxLength: 4 }), (all) => {
        // Payloads alone are looked at here: the fields are put into real links without signing them again.
        const links = all.map((fields, i) => ({ ...root, id: `link ${i}`, payload: link(fields) }));
        const meet = meetOf(links.map((one) => ({ ...one, payload: { ...one.payload, aud: agent.did } })));
        const granted = grants(meet.capabilities);
        expect(granted).toEqual(
          granted.map((_, i) => all.every(({ cap = [] }) => isRequestCovered(requests[i] as Capability, cap))),
        );
        for (const { payload } of links) {
          expect(meet.notBeforeSeconds).toBeGreaterThanOrEqual(payload.nbf);
          expect(meet.expiresSeconds).toBeLessThanOrEqual(payload.exp);
          if (payload.at !== undefined) expect(meet.at?.every((did) => payload.at?.includes(did))).toBe(true);
          if (payload.pur !== undefined) expect(meet.purposes?.every((one) => payload.pur?.includes(one))).toBe(true);
          if (payload.mts !== undefined) expect(meet.minScore).toBeGreaterThanOrEqual(payload.mts);
          if (payload.stl !== undefined) expect(meet.stalenessSeconds).toBeLessThanOrEqual(payload.stl);
          for (const limit of payload.rate ?? []) expect(meet.rates).toContainEqual(expect.objectContaining(limit));
        }
        expect(meet.at === null).toBe(all.every(({ at }) => at === undefined));
        expect(meet.minScore === null).toBe(all.every(({ mts }) => mts === undefined));
      }),
      { numRuns: 500 },
    );
  });

  test('names the link under which a rate counts', () => {
    const limit = { can: 'read:reports/*', n: 10, per: 60 };
    const limited = createRootLink(acme, alice, { aud: beta.did, rate: [limit] });
    const narrowed = createChildLink(limited, beta, { aud: agent.did, rate: [{ ...limit, n: 5 }] });
    expect(meetOf([limited, narrowed]).rates).toEqual([
      { link: limited.id, ...limit },
      { link: narrowed.id, ...limit, n: 5 },
    ]);
    expect(meetOf([limited, narrowed]).depth).toBe(DEPTH_DEFAULT - 1);
  });
});

describe('requests', () => {
  const cap = [
    { can: 'read:reports/*', res: ['eu/'] },
    { can: 'read:reports/q3', res: ['us'] },
  ];

  test.each<[Capability, boolean]>([
    [{ can: 'read:reports/q3', res: ['eu/de'] }, true],
    [{ can: 'read:reports/q3', res: ['eu/de', 'us'] }, true],
    [{ can: 'read:reports/q4', res: ['us'] }, false],
    [{ can: 'read:reports/q3', res: ['eu/de', 'asia'] }, false],
    [{ can: 'read:reports/q3' }, false], // all resources are more than some
    [{ can: 'read:reports/q3', res: [] }, false],
    [{ can: 'write:reports/q3', res: [] }, false],
  ])('%j is covered: %s', (request, covered) => {
    expect(isRequestCovered(request, cap)).toBe(covered);
  });
});

describe('work', () => {
  test('is bounded: links that would cost too much to compare are refused', () => {
    const res = Array.from({ length: 32 }, (_, i) => String.fromCharCode(0x100 + i));
    const above = Array.from({ length: 32 }, () => ({ can: 'r:*', res }));
    // Each entry is compared with all 32 above before its last resource fails.
    const below = Array.from({ length: 32 }, () => ({ can: 'r:a', res }));
    const last = { can: 'r:a', res: [...res.slice(0, 31), 'other'] };
    expect(narrower({ cap: below }, { cap: above })).toBe('narrower');
    expect(narrower({ cap: [...below.slice(0, 31), last] }, { cap: above })).toBe('widened:resource');
    const work = { left: CHAIN_COMPARISONS_MAX };
    const often = (): void => {
      for (let i = 0; i < 100; i++) verifyNarrower(link({ cap: below }), link({ cap: above }), work);
    };
    expect(refusal(often)).toBe('budget');
  });
});
