import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createChainCache } from '../../../protocol/delegation/chain-cache.ts';
import { type ChainCheck, verifyChain } from '../../../protocol/delegation/verify.ts';
import { isMeshError } from '../../../protocol/errors.ts';
import { isSignatureValidSodium } from '../../../protocol/sodium.ts';
import { admitAll, MeshState } from '../../../protocol/state/mesh-state.ts';
import { assembleStatement, parseStatementOf, type Statement } from '../../../protocol/statement/statement.ts';
import {
  createChildLink,
  createCredential,
  createDeactivate,
  createHeartbeat,
  createRevocation,
  createRootLink,
  createRotate,
  keyOf,
  keySet,
  NOW_MS,
  NOW_SECONDS,
} from '../../builders.ts';
import {
  acme,
  alice,
  beta,
  bob,
  chain,
  checkOf,
  everyone,
  first,
  gamma,
  genesisOf,
  grace,
  knowing,
  leaf,
  type Link,
  refusalOf,
  root,
  stranger,
} from './world.ts';

const cnf = keyOf('cnf');
const strict = createRootLink(acme, alice, {
  aud: beta.did,
  nonce: 'strict',
  stl: 20,
  mts: 400,
  exp: NOW_SECONDS + 500,
});
const strictLeaf = createChildLink(strict, beta, { aud: grace.did });
const credential = createCredential(leaf, grace, cnf);
const chains: Readonly<Record<string, readonly Link[]>> = {
  whole: chain,
  begun: [root, first],
  strict: [strict, strictLeaf],
  bound: [...chain, credential],
  broken: [root, leaf],
};
const badlySigned = (link: Link): Link =>
  assembleStatement(
    link.payloadBytes,
    link.signatures.map((signature) => signature.map((byte, i) => (i === 40 ? byte ^ 1 : byte))),
  ) as Link;
const copied = (link: Link): Link => parseStatementOf('delegation/v1', Uint8Array.from(link.envelope));

/** What may be learnt, in any order. */
const rotated = createRotate(beta, 'beta 2', { retire: [[beta.keys.delegate, NOW_SECONDS + 200, []]] });
const dead = createRotate(bob.organisation ?? beta, 'beta 3', { retire: [[beta.keys.delegate, null, [first]]] });
const revocation = createRevocation(beta, leaf);
const news: Readonly<Record<string, Statement>> = {
  root,
  first,
  leaf,
  strict,
  strictLeaf,
  credential,
  rotated,
  dead,
  revocation,
  'bound key revoked': createRevocation(gamma, { of: grace, key: cnf }, { iss: grace }),
  'revoked by a stranger': createRevocation(stranger, root),
  'sponsor revoked': createRevocation(acme, alice),
  'audience ends': createDeactivate(gamma),
  ...Object.fromEntries(
    [0, 30, 90, 150, 400].flatMap((seconds) =>
      [acme, beta, gamma].map((one) => [
        `beat ${one.name} ${seconds}`,
        createHeartbeat(one, { iat: NOW_SECONDS + seconds }),
      ]),
    ),
  ),
  'beat beta 100, revoked': createHeartbeat(beta, { iat: NOW_SECONDS + 100, rhead: revocation }),
  'beat beta 160, rotated': createHeartbeat(beta, {
    iat: NOW_SECONDS + 160,
    head: rotated,
    signers: [keySet('beta 2').sign],
  }),
};
const mores: Readonly<Record<string, Partial<ChainCheck>>> = {
  plain: {},
  'two roots': { roots: new Set([acme.did, beta.did]) },
  'another root': { roots: new Set([beta.did]) },
  'no roots': { roots: new Set() },
  holder: { holder: { did: grace.did } },
  'holder of the bound key': { holder: { did: grace.did, key: cnf.publicKey } },
  'holder by auth': { holder: { did: grace.did, key: grace.keys.auth.publicKey } },
  'another holder': { holder: { did: bob.did } },
  'asks nothing': { request: { capabilities: [] } },
  reads: { request: { capabilities: [{ can: 'read:reports/q3' }], score: 400 } },
  writes: { request: { capabilities: [{ can: 'write:x' }] } },
  'reads, of the root': { request: { capabilities: [{ can: 'read:x' }] }, askedSinceMs: NOW_MS },
  'critical domain': {
    request: { capabilities: [{ can: 'read:reports/q3' }] },
    askedSinceMs: NOW_MS + 100_000,
    staleness: { readSeconds: 0, writeSeconds: 0, criticalDomains: ['read'] },
  },
  'vouched for': { isVerified: () => true },
  'root vouched for': { isVerified: (link) => link.id === root.id },
};

/** Told by names, so that a counterexample can be read. */
type Step =
  | { readonly learn: string; readonly askedSeconds: number | null }
  | { readonly wait: number }
  | {
      readonly verify: string;
      readonly how: 'held' | 'same' | 'copied' | 'badly signed';
      readonly more: string;
      readonly other: boolean;
    };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      learn: fc.constantFrom(...Object.keys(news)),
      askedSeconds: fc.constantFrom(null, null, 0, 100),
    }),
  },
  { weight: 2, arbitrary: fc.record({ wait: fc.constantFrom(1, 20, 100, 400, -50, 86_000) }) },
  {
    weight: 6,
    arbitrary: fc.record({
      verify: fc.constantFrom(...Object.keys(chains), 'whole', 'whole'),
      how: fc.constantFrom('held', 'same', 'same', 'copied', 'badly signed'),
      more: fc.constantFrom(...Object.keys(mores), 'plain'),
      other: fc.integer({ min: 0, max: 7 }).map((x) => x === 0),
    }),
  },
);

const asked = (links: readonly Link[], how: string): readonly Link[] | string => {
  if (how === 'held') return links.at(-1)?.id ?? '';
  if (how === 'copied') return links.map(copied);
  return how === 'same' ? links : links.with(-1, badlySigned(links.at(-1) as Link));
};

const outcome = (run: () => unknown): unknown => {
  try {
    return JSON.parse(JSON.stringify(run()));
  } catch (error) {
    if (isMeshError(error)) return JSON.parse(JSON.stringify(error));
    throw error;
  }
};

const settled = (): MeshState => {
  const view = new MeshState();
  admitAll(view, [...genesisOf(everyone), ...[acme, beta, gamma].map((one) => createHeartbeat(one))], NOW_MS);
  return view;
};

describe('the cache', () => {
  test('answers what the full check would, whatever is learnt and whenever it is asked', () => {
    let [hits, valid] = [0, 0];
    fc.assert(
      fc.property(fc.array(step, { minLength: 5, maxLength: 60 }), (steps) => {
        const cache = createChainCache({ chainsMax: 3 });
        const views = [settled(), settled()] as const;
        let nowMs = NOW_MS;
        for (const one of steps) {
          if ('wait' in one) nowMs += one.wait * 1000;
          else if ('learn' in one) {
            const answer = one.askedSeconds === null ? {} : { askedMs: NOW_MS + one.askedSeconds * 1000 };
            views[0].admit(news[one.learn] as Statement, nowMs, answer);
          } else {
            let signatures = 0;
            const check = checkOf(one.other ? views[1] : views[0], {
              ...mores[one.more],
              nowMs,
              isSignatureValid: (...all) => {
                signatures += 1;
                return isSignatureValidSodium(...all);
              },
            });
            const links = asked(chains[one.verify] as readonly Link[], one.how);
            const quick = outcome(() => cache.verify(links, check));
            const signaturesQuick = signatures;
            const full = outcome(() => verifyChain(links, check));
            expect(quick).toEqual(full);
            if (signaturesQuick < signatures - signaturesQuick) hits += 1;
            if ((full as { leaf?: string }).leaf !== undefined) valid += 1;
          }
        }
      }),
      { numRuns: 200 },
    );
    // Nothing was shown unless much was remembered and much was valid.
    expect(hits).toBeGreaterThan(60);
    expect(valid).toBeGreaterThan(150);
  });

  test('checks no signature again, and notices at once what is learnt', () => {
    const view = knowing();
    let signatures = 0;
    const check = checkOf(view, {
      isSignatureValid: (...all) => {
        signatures += 1;
        return isSignatureValidSodium(...all);
      },
    });
    const cache = createChainCache();
    expect(cache.verify(chain, check).leaf).toBe(leaf.id);
    expect(signatures).toBe(4);
    expect(cache.verify(chain, check).leaf).toBe(leaf.id);
    expect(cache.verify(chain.map(copied), check).leaf).toBe(leaf.id);
    expect(signatures).toBe(4);
    view.admit(revocation, NOW_MS);
    expect(refusalOf(() => cache.verify(chain, check)).code).toBe('revoked');
    expect(signatures).toBe(4); // signatures do not become invalid
  });

  test('does not take another envelope of the same payload for the one it verified', () => {
    const check = checkOf(knowing());
    const cache = createChainCache();
    cache.verify(chain, check);
    expect(refusalOf(() => cache.verify(chain.with(2, badlySigned(leaf)), check))).toMatchObject({
      code: 'bad_signature',
      data: { link: 2 },
    });
  });

  test('does not pass on to others what one caller said to have verified', () => {
    const forged = chain.with(2, badlySigned(leaf));
    const check = checkOf(knowing());
    const cache = createChainCache();
    expect(cache.verify(forged, { ...check, isVerified: () => true }).leaf).toBe(leaf.id);
    expect(refusalOf(() => cache.verify(forged, check)).code).toBe('bad_signature');
  });

  test('notices when the grace of a key ends, though nothing was learnt', () => {
    const beat = createHeartbeat(beta, { iat: NOW_SECONDS + 160, head: rotated, signers: [keySet('beta 2').sign] });
    const view = knowing([rotated, beat, createHeartbeat(acme, { iat: NOW_SECONDS + 160 })], NOW_MS + 160_000);
    const cache = createChainCache();
    const at = (seconds: number) => checkOf(view, { nowMs: (NOW_SECONDS + seconds) * 1000 });
    expect(cache.verify([root, first], at(160)).validUntilSeconds).toBe(NOW_SECONDS + 200);
    expect(cache.verify([root, first], at(259)).leaf).toBe(first.id);
    expect(refusalOf(() => cache.verify([root, first], at(260)))).toMatchObject({
      code: 'key_retired',
      data: { link: 1 },
    });
    expect(cache.verify([root, first], at(259)).leaf).toBe(first.id);
  });

  test('forgets the oldest chain', () => {
    let signatures = 0;
    const check = checkOf(knowing(), {
      isSignatureValid: (...all) => {
        signatures += 1;
        return isSignatureValidSodium(...all);
      },
    });
    const cache = createChainCache({ chainsMax: 1 });
    const copies = chain.map(copied);
    cache.verify(copies, check);
    cache.verify([root], check);
    const before = signatures;
    cache.verify(chain.map(copied), check);
    expect(signatures - before).toBe(4);
  });
});
