import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { collectBundle, encodeBundle, parseBundle, verifyBundle } from '../../../protocol/delegation/bundle.ts';
import { CHAIN_CODES, type ChainCheck, verifyChain } from '../../../protocol/delegation/verify.ts';
import { fromHex } from '../../../protocol/encoding/bytes.ts';
import { decodeCbor, encodeCbor } from '../../../protocol/encoding/cbor.ts';
import { Link as LinkValue } from '../../../protocol/encoding/cid.ts';
import { BUNDLE_BYTES_MAX } from '../../../protocol/limits.ts';
import { isSignatureValidSodium } from '../../../protocol/sodium.ts';
import type { MeshState } from '../../../protocol/state/mesh-state.ts';
import type { Statement } from '../../../protocol/statement/statement.ts';
import {
  createChildLink,
  createCredential,
  createHeartbeat,
  createRevocation,
  createRevocations,
  createRootLink,
  createRotate,
  keyOf,
  keySet,
  NOW_MS,
  NOW_SECONDS,
} from '../../builders.ts';
import { seededRandom, suiteSeed } from '../../fuzz/random.ts';
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
  reportIn,
  root,
  strangeAgent,
  viewOf,
} from './world.ts';

const options: Omit<ChainCheck, 'view'> = {
  roots: new Set([acme.did]),
  nowMs: NOW_MS,
  isSignatureValid: isSignatureValidSodium,
};
const held = knowing([...chain]);
const bundle = collectBundle(held, leaf.id, NOW_MS);
const bytes = encodeBundle(bundle);
const verdict = (input: Uint8Array, more: Partial<ChainCheck> = {}): string => {
  try {
    verifyBundle(input, { ...options, ...more });
    return 'valid';
  } catch {
    return refusalOf(() => verifyBundle(input, { ...options, ...more })).code;
  }
};
const bundleOf = (statements: readonly Statement[], leafId: string = leaf.id): Uint8Array =>
  encodeBundle({ leaf: leafId, envelopes: statements.map(({ envelope }) => envelope) });
const named = [acme, beta, gamma, alice, bob, grace];
const beats = [createHeartbeat(acme), createHeartbeat(beta)];

describe('a bundle', () => {
  test('holds all that an offline verifier needs, and nothing of others', () => {
    const expected = new Set(
      [...genesisOf(named), ...chain, ...[acme, beta, gamma].map((one) => createHeartbeat(one))].map(({ envelope }) =>
        Buffer.from(envelope).toString('hex'),
      ),
    );
    expect(new Set(bundle.envelopes.map((envelope) => Buffer.from(envelope).toString('hex')))).toEqual(expected);
    expect(bundle.envelopes.length).toBe(expected.size);
  });

  test('verifies offline to the same report', () => {
    const request = { capabilities: [{ can: 'read:reports/q3' }] };
    const report = verifyBundle(bytes, { ...options, request, holder: { did: grace.did } });
    expect(JSON.parse(JSON.stringify(report))).toEqual(
      JSON.parse(JSON.stringify(verifyChain(chain, checkOf(held, { request, holder: { did: grace.did } })))),
    );
  });

  test('is read back as it was written', () => {
    expect(parseBundle(bytes)).toEqual(bundle);
    expect(encodeBundle(parseBundle(bytes))).toEqual(bytes);
  });

  test('may be in any order', () => {
    const random = seededRandom(suiteSeed(7));
    for (let i = 0; i < 20; i++) {
      const envelopes = [...bundle.envelopes];
      for (let at = envelopes.length - 1; at > 0; at--) {
        const other = random.below(at + 1);
        [envelopes[at], envelopes[other]] = [envelopes[other] as Uint8Array, envelopes[at] as Uint8Array];
      }
      expect(verdict(encodeBundle({ leaf: leaf.id, envelopes }))).toBe('valid');
    }
  });

  test('carries private links that are given', () => {
    const cnf = keyOf('cnf');
    const credential = createCredential(leaf, grace, cnf);
    const own = encodeBundle(collectBundle(held, [...chain, credential], NOW_MS));
    expect(verdict(own, { holder: { did: grace.did, key: cnf.publicKey } })).toBe('valid');
    expect(verdict(own, { holder: { did: grace.did } })).toBe('holder_mismatch');
  });

  test('carries rotations, and revocation logs from the first to the last', () => {
    const revocations = createRevocations(beta, [strangeAgent, createCredential(leaf, grace, keyOf('x')), bob.genesis]);
    const rotate = createRotate(beta, 'beta 2', {
      retire: [[beta.keys.delegate, null, [first]]],
      rhead: revocations[2] ?? null,
    });
    const beat = createHeartbeat(beta, {
      iat: NOW_SECONDS + 1,
      head: rotate,
      rhead: revocations[2] ?? null,
      signers: [keySet('beta 2').sign],
    });
    const state: MeshState = knowing([...chain, ...revocations, rotate, beat]);
    const collected = collectBundle(state, leaf.id, NOW_MS);
    expect(verifyBundle(encodeBundle(collected), options).checkedThrough).toContainEqual(
      expect.objectContaining({ did: beta.did, rseq: 3 }),
    );
    const withoutSecond = collected.envelopes.filter((envelope) => envelope !== revocations[1]?.envelope);
    expect(withoutSecond.length).toBe(collected.envelopes.length - 1);
    expect(
      refusalOf(() => verifyBundle(encodeBundle({ leaf: leaf.id, envelopes: withoutSecond }), options)),
    ).toMatchObject({ code: 'status_stale', data: { reason: 'incomplete', did: beta.did } });
  });

  test('with a revocation in it is refused, and one exported before goes stale', () => {
    const revocation = createRevocation(acme, root);
    const state = knowing([...chain, revocation, createHeartbeat(acme, { iat: NOW_SECONDS + 1, rhead: revocation })]);
    expect(verdict(encodeBundle(collectBundle(state, leaf.id, NOW_MS)))).toBe('revoked');
    expect(verdict(bytes, { nowMs: NOW_MS + 300_000 })).toBe('valid');
    expect(verdict(bytes, { nowMs: NOW_MS + 301_000 })).toBe('status_stale');
    expect(verdict(bytes, { nowMs: NOW_MS + 90_000_000 })).toBe('expired');
  });

  test('of a chain whose DIDs are not all held is not collected', () => {
    const partial = viewOf([...genesisOf(everyone.filter((one) => one !== grace)), ...beats]);
    expect(refusalOf(() => collectBundle(partial, chain, NOW_MS))).toMatchObject({
      code: 'did_unknown',
      data: { did: grace.did },
    });
    expect(refusalOf(() => collectBundle(held, strangeAgent.genesis.id, NOW_MS)).code).toBe('broken_link');
    expect(refusalOf(() => collectBundle(held, [], NOW_MS)).code).toBe('malformed');
  });
});

test('a chain of more than eight links is not collected', () => {
  const links = [createRootLink(acme, alice, { aud: beta.did, dep: 7 })];
  while (links.length < 9)
    links.push(createChildLink(links.at(-1) as Link, beta, { aud: beta.did, nonce: `${links.length}` }));
  const state = knowing(links);
  expect(collectBundle(state, links[7]?.id ?? '', NOW_MS).envelopes.length).toBeGreaterThan(8);
  expect(refusalOf(() => collectBundle(state, links[8]?.id ?? '', NOW_MS)).code).toBe('budget');
});

describe('a bundle that lacks', () => {
  const all: readonly Statement[] = [...genesisOf(named), ...chain, ...beats];
  const without = (...left: readonly Statement[]): Uint8Array => bundleOf(all.filter((one) => !left.includes(one)));

  test('nothing verifies', () => {
    expect(verdict(without())).toBe('valid');
  });

  test.each(named.map((one) => [one.name, one.genesis] as const))('the log of %s is refused', (_, genesis) => {
    expect(verdict(without(genesis))).toBe('did_unknown');
  });

  test.each([
    ['leaf', leaf],
    ['link in between', first],
    ['root', root],
  ] as const)('the %s is refused, naming it', (_, link) => {
    expect(refusalOf(() => verifyBundle(without(link), options))).toMatchObject({
      code: 'broken_link',
      data: { waitsFor: link.id },
    });
  });

  test('a heartbeat is stale', () => {
    for (const beat of beats) expect(verdict(without(beat))).toBe('status_stale');
    expect(reportIn(refusalOf(() => verifyBundle(without(...beats), options))).ids).toEqual(chain.map(({ id }) => id));
  });

  test('trust in its root is refused', () => {
    expect(verdict(without(), { roots: new Set() })).toBe('unknown_root');
  });
});

describe('bytes that are no good bundle', () => {
  const cases: readonly (readonly [string, Uint8Array, string])[] = [
    ['nothing', new Uint8Array(0), 'malformed'],
    ['another name', encodeCbor(['bundle/v2', LinkValue.parse(leaf.id), []]), 'malformed'],
    ['a leaf as text', encodeCbor(['bundle/v1', leaf.id, []]), 'malformed'],
    [
      'a leaf of another kind of id',
      encodeCbor(['bundle/v1', new LinkValue(Uint8Array.from([1, 0x55, 0x12, 0x20, ...leaf.digest])), []]),
      'malformed',
    ],
    ['more than three items', encodeCbor(['bundle/v1', LinkValue.parse(leaf.id), [], null]), 'malformed'],
    ['envelopes that are no bytes', encodeCbor(['bundle/v1', LinkValue.parse(leaf.id), [root.id]]), 'malformed'],
    ['an envelope that is none', encodeCbor(['bundle/v1', LinkValue.parse(leaf.id), [Uint8Array.of(1)]]), 'malformed'],
    ['no statements', encodeCbor(['bundle/v1', LinkValue.parse(leaf.id), []]), 'broken_link'],
    ['more than 4 MiB', new Uint8Array(BUNDLE_BYTES_MAX + 1), 'budget'],
    ['deep nesting', new Uint8Array(1_000).fill(0x81), 'budget'],
    ['another encoding', Uint8Array.from([0x98, 3, ...bytes.subarray(1)]), 'noncanonical'],
    ['a link beyond its size', bundleOf([...chain]).slice(0, -1), 'malformed'],
  ];
  test.each(cases)('%s', (_, input, expected) => {
    expect(verdict(input)).toBe(expected);
  });

  test('beyond 4 MiB are not written either', () => {
    const envelopes = Array.from({ length: 70 }, () => new Uint8Array(64 * 1024));
    expect(refusalOf(() => encodeBundle({ leaf: leaf.id, envelopes })).code).toBe('budget');
    expect(refusalOf(() => encodeBundle({ leaf: 'leaf', envelopes: [] })).code).toBe('malformed');
  });

  test('a statement of a kind that is not known here says nothing, and spoils nothing', () => {
    const unknown = encodeCbor([encodeCbor({ t: 'vouch/v1' }), []]);
    expect(verdict(encodeBundle({ leaf: leaf.id, envelopes: [unknown, ...bundle.envelopes] }))).toBe('valid');
  });

  test('a statement that is no part of a chain says nothing either, whatever is wrong with it', () => {
    const path = join(
      import.meta.dirname,
      '../../vectors/statement/invalid/proof-of-one-history-with-another-root.json',
    );
    const { envelopeBytes } = JSON.parse(readFileSync(path, 'utf8')) as { envelopeBytes: string };
    const spoilt = fromHex(envelopeBytes) as Uint8Array;
    expect(verdict(encodeBundle({ ...bundle, envelopes: [...bundle.envelopes, spoilt] }))).toBe('valid');
  });

  test('with one bit flipped do not verify', () => {
    // Without the heartbeat of the audience's organisation, on which nothing rests.
    const needed = bundleOf([...genesisOf(named), ...chain, ...beats]);
    const random = seededRandom(suiteSeed(11));
    for (let i = 0; i < 500; i++) {
      const changed = Uint8Array.from(needed);
      const at = random.below(changed.length);
      const bit = random.below(8);
      changed[at] = (changed[at] as number) ^ (1 << bit);
      const code = verdict(changed);
      expect(code, `bit ${bit} of byte ${at}`).not.toBe('valid');
      expect(CHAIN_CODES, `bit ${bit} of byte ${at}`).toContain(code);
    }
  });

  test('decode to what was put in, so that no second bundle has the same bytes', () => {
    expect(decodeCbor(bytes)).toEqual(['bundle/v1', LinkValue.parse(leaf.id), bundle.envelopes]);
  });
});

test('links in a bundle that the chain does not need are not judged', () => {
  const other: Link = createCredential(leaf, grace, keyOf('other'), { signers: [keyOf('thief')] });
  expect(verdict(bundleOf([...genesisOf(named), ...chain, ...beats, other]))).toBe('valid');
});
