/** Whatever the bytes: a report or one coded error of the closed list. */
import { expect, test } from 'vitest';
import { collectBundle, encodeBundle, verifyBundle } from '../../../protocol/delegation/bundle.ts';
import { CHAIN_CODES, verifyChain, verifyChainBytes } from '../../../protocol/delegation/verify.ts';
import { isMeshError } from '../../../protocol/errors.ts';
import { SCORE_MAX, STALENESS_SECONDS_MAX } from '../../../protocol/limits.ts';
import {
  createChildLink,
  createCredential,
  createRootLink,
  type Identity,
  keyOf,
  NOW_MS,
  NOW_SECONDS,
} from '../../builders.ts';
import { cborLikeBytes, mutateBytes } from '../../fuzz/mutate.ts';
import { type SeededRandom, seededRandom, suiteSeed } from '../../fuzz/random.ts';
import {
  acme,
  alice,
  beta,
  bob,
  chain,
  checkOf,
  everyone,
  gamma,
  grace,
  knowing,
  leaf,
  type Link,
  organisations,
  root,
  stranger,
} from './world.ts';

const INPUTS = 2_000;
const seed = suiteSeed(2_026_11_22);
const view = knowing([...chain]);
const check = checkOf(view);
const credential = createCredential(leaf, grace, keyOf('cnf'));
const envelopes = [...chain, credential].map(({ envelope }) => envelope);
const corpus = [...envelopes, ...everyone.map(({ genesis }) => genesis.envelope)];

/** `valid`, or the code; anything else that is thrown fails the test. */
function outcome(run: () => unknown): string {
  try {
    run();
    return 'valid';
  } catch (error) {
    if (!isMeshError(error)) throw error;
    expect(CHAIN_CODES).toContain(error.code);
    expect(error.data.report, error.message).toBeDefined();
    JSON.stringify(error);
    return error.code;
  }
}

function tally(count: number, input: (random: SeededRandom, i: number) => string): Map<string, number> {
  const random = seededRandom(seed);
  const outcomes = new Map<string, number>();
  for (let i = 0; i < count; i++) {
    let result: string;
    try {
      result = input(random, i);
    } catch (cause) {
      throw new Error(`Input ${i} of seed ${seed}`, { cause });
    }
    outcomes.set(result, (outcomes.get(result) ?? 0) + 1);
  }
  return outcomes;
}

test(`random and mutated chains end in a report or a code (seed ${seed})`, () => {
  const outcomes = tally(INPUTS, (random, i) => {
    const links = i % 5 === 0 ? Array.from({ length: random.below(10) }, () => cborLikeBytes(random)) : [...envelopes];
    if (i % 5 !== 0) {
      for (let k = random.below(3); k >= 0; k--) {
        const at = random.below(links.length);
        if (random.below(4) === 0) links[at] = random.pick(corpus);
        else links[at] = mutateBytes(links[at] as Uint8Array, random, corpus);
      }
    }
    return outcome(() => verifyChainBytes(links, check));
  });
  expect([...outcomes.keys()].length).toBeGreaterThan(5);
});

test(`random and mutated bundles end in a report or a code (seed ${seed})`, () => {
  const bundle = collectBundle(view, [...chain, credential], NOW_MS);
  const bytes = encodeBundle(bundle);
  const { view: _, ...offline } = check;
  const outcomes = tally(INPUTS, (random, i) => {
    if (i % 4 === 0) return outcome(() => verifyBundle(cborLikeBytes(random), offline));
    if (i % 4 === 1) return outcome(() => verifyBundle(mutateBytes(bytes, random, corpus), offline));
    const changed = [...bundle.envelopes];
    const at = random.below(changed.length);
    if (i % 4 === 2) changed[at] = mutateBytes(changed[at] as Uint8Array, random, corpus);
    else changed.splice(at, 1 + random.below(3), ...(random.below(2) === 0 ? [random.pick(corpus)] : []));
    return outcome(() =>
      verifyBundle(encodeBundle({ leaf: random.pick([credential.id, leaf.id, root.id]), envelopes: changed }), offline),
    );
  });
  expect([...outcomes.keys()].length).toBeGreaterThan(5);
});

/** Well signed, and anything but well meant: what gets as far as the rules. */
test(`random links under good signatures end in a report or a code (seed ${seed})`, () => {
  const identities: readonly Identity[] = [acme, beta, bob, gamma, grace, stranger];
  const cans = ['read:*', 'read:reports/*', 'read:reports/q3', 'write:*', 'admin:all'];
  const maybe = <T>(random: SeededRandom, make: () => T): T | undefined => (random.below(4) === 0 ? make() : undefined);
  const fieldsOf = (random: SeededRandom): Partial<Link['payload']> => {
    const some = {
      cap: Array.from({ length: 1 + random.below(2) }, () => ({
        can: random.pick(cans),
        ...(random.below(3) === 0 ? { res: [random.pick(['eu/', 'eu/de', 'us'])] } : {}),
      })),
      dep: maybe(random, () => random.below(8)),
      rate: maybe(random, () => [{ can: random.pick(cans), n: 1 + random.below(5), per: 1 + random.below(5) }]),
      at: maybe(random, () => [random.pick(identities).did]),
      pur: maybe(random, () => [random.pick(['a', 'b'])]),
      mts: maybe(random, () => random.below(SCORE_MAX + 1)),
      stl: maybe(random, () => random.below(STALENESS_SECONDS_MAX + 1)),
      pri: maybe(random, () => true as const),
      nbf: maybe(random, () => NOW_SECONDS + random.below(200) - 100),
      exp: maybe(random, () => NOW_SECONDS + 200 + random.below(800)),
    };
    return Object.fromEntries(Object.entries(some).filter(([, value]) => value !== undefined));
  };
  const outcomes = tally(1_000, (random) => {
    const links: Link[] = [
      createRootLink(random.pick(organisations), alice, { aud: random.pick(identities).did, ...fieldsOf(random) }),
    ];
    for (let k = random.below(4); k > 0; k--) {
      const parent = links.at(-1) as Link;
      const issuer =
        random.below(8) === 0
          ? random.pick(identities)
          : (identities.find(({ did }) => did === parent.payload.aud) ?? acme);
      const inherit = random.below(2) === 0 ? { ...fieldsOf(random), cap: parent.payload.cap } : fieldsOf(random);
      links.push(createChildLink(parent, issuer, { aud: random.pick(identities).did, nonce: `${k}`, ...inherit }));
    }
    const request = {
      capabilities: [{ can: random.pick(cans) }],
      score: random.below(SCORE_MAX + 1),
      at: [acme.did],
      purpose: 'a',
    };
    return outcome(() => verifyChain(links, random.below(2) === 0 ? check : { ...check, request }));
  });
  for (const code of ['valid', 'widened', 'broken_link', 'not_covered'])
    expect(outcomes.get(code) ?? 0, code).toBeGreaterThan(10);
});
