import { describe, expect, test } from 'vitest';
import {
  createChildLink,
  createCredential,
  createRootLink,
  type IssueContext,
  type LinkTerms,
} from '../../../protocol/delegation/create.ts';
import type { Delegation } from '../../../protocol/delegation/link.ts';
import { verifyChain } from '../../../protocol/delegation/verify.ts';
import { CREDENTIAL_SECONDS_MAX, SKEW_SECONDS } from '../../../protocol/limits.ts';
import {
  assembleStatement,
  encodePayload,
  signingInput,
  signStatement,
} from '../../../protocol/statement/statement.ts';
import { createDeactivate, createRevocation, keyOf, NOW_SECONDS } from '../../builders.ts';
import {
  acme,
  alice,
  beta,
  bob,
  chain,
  checkOf,
  first,
  grace,
  knowing,
  leaf,
  type Link,
  refusalOf,
  root,
} from './world.ts';

const view = knowing();
const context: IssueContext = { nonce: new Uint8Array(16).fill(3), nowSeconds: NOW_SECONDS, view };
const signers = {
  organisation: { did: acme.did, key: acme.keys.delegate.publicKey },
  sponsor: { did: alice.did, key: alice.keys.delegate.publicKey },
};
const terms: LinkTerms = {
  audience: beta.did,
  capabilities: [{ can: 'read:reports/*' }],
  expiresSeconds: NOW_SECONDS + 3_600,
};
const childTerms: LinkTerms = { ...terms, audience: grace.did, capabilities: [{ can: 'read:reports/q3' }] };
const key = bob.keys.delegate.publicKey;
const parents = [root, first];
const full: LinkTerms = {
  ...terms,
  depth: 2,
  rates: [{ can: 'read:*', n: 10, per: 60 }],
  at: [beta.did],
  purposes: ['billing'],
  minScore: 300,
  stalenessSeconds: 30,
};

describe('what is created', () => {
  test('verifies once signed: a root, a child, a credential', () => {
    const base = signStatement<'delegation/v1'>(createRootLink(terms, signers, context), [
      acme.keys.delegate,
      alice.keys.delegate,
    ]);
    const child = signStatement<'delegation/v1'>(
      createChildLink({ ...childTerms, audience: bob.did }, [base], beta.keys.delegate.publicKey, context),
      [beta.keys.delegate],
    );
    const credential = signStatement<'delegation/v1'>(
      createCredential({ boundKey: keyOf('cnf').publicKey }, [base, child], key, context),
      [bob.keys.delegate],
    );
    const report = verifyChain(
      [base, child, credential],
      checkOf(view, { holder: { did: bob.did, key: keyOf('cnf').publicKey } }),
    );
    expect(report.links[2]).toMatchObject({
      credential: true,
      private: true,
      expiresSeconds: NOW_SECONDS + CREDENTIAL_SECONDS_MAX,
    });
    expect(report.effective?.capabilities).toEqual(childTerms.capabilities);
  });

  test('may be signed elsewhere, over the bytes that are handed out', () => {
    const payload = createRootLink(full, signers, context);
    const bytes = encodePayload<'delegation/v1'>(payload);
    const input = signingInput('delegation/v1', bytes);
    const link = assembleStatement(bytes, [acme.keys.delegate.sign(input), alice.keys.delegate.sign(input)]) as Link;
    expect(verifyChain([link], checkOf(view)).effective).toEqual({
      capabilities: full.capabilities,
      notBeforeSeconds: NOW_SECONDS,
      expiresSeconds: full.expiresSeconds,
      depth: 2,
      rates: [{ link: link.id, can: 'read:*', n: 10, per: 60 }],
      at: [beta.did],
      purposes: ['billing'],
      minScore: 300,
      stalenessSeconds: 30,
      private: false,
    });
  });

  test('begins with its parent at the earliest, and may begin later', () => {
    const later = signStatement<'delegation/v1'>(
      createRootLink({ ...terms, notBeforeSeconds: NOW_SECONDS + 600 }, signers, context),
      [acme.keys.delegate, alice.keys.delegate],
    );
    const child = createChildLink(childTerms, [later], beta.keys.delegate.publicKey, context);
    expect(child.nbf).toBe(NOW_SECONDS + 600);
  });

  test('is private under a private parent, and inherits nothing else by copying', () => {
    const base = signStatement<'delegation/v1'>(createRootLink({ ...full, private: true }, signers, context), [
      acme.keys.delegate,
      alice.keys.delegate,
    ]);
    const child = createChildLink(childTerms, [base], beta.keys.delegate.publicKey, context);
    expect(child.pri).toBe(true);
    for (const field of ['dep', 'rate', 'at', 'pur', 'mts', 'stl'] as const satisfies readonly (keyof Delegation)[])
      expect(child[field]).toBeUndefined();
  });

  test('as a credential ends with the chain', () => {
    const nowSeconds = first.payload.exp - 100;
    expect(createCredential({ boundKey: keyOf('cnf').publicKey }, parents, key, { ...context, nowSeconds }).exp).toBe(
      first.payload.exp,
    );
  });
});

describe('what a verifier would refuse is refused before it is signed', () => {
  test.each<[string, Partial<LinkTerms>, string]>([
    ['no capability', { capabilities: [] }, 'malformed'],
    ['what is no capability', { capabilities: [{ can: '*' }] }, 'malformed'],
    ['what is no resource', { capabilities: [{ can: 'read:a', res: ['../etc'] }] }, 'malformed'],
    ['an audience that is no DID', { audience: 'bob' }, 'malformed'],
    ['a life of more than 30 days', { expiresSeconds: NOW_SECONDS + 31 * 86_400 }, 'malformed'],
    ['an end before the start', { expiresSeconds: NOW_SECONDS - 1 }, 'malformed'],
    [
      'an end in the past',
      { notBeforeSeconds: NOW_SECONDS - 200, expiresSeconds: NOW_SECONDS - SKEW_SECONDS },
      'expired',
    ],
    ['a depth beyond eight links', { depth: 8 }, 'malformed'],
    ['a bound key for more than 15 minutes', { boundKey: keyOf('cnf').publicKey }, 'malformed'],
    ['an audience that is not known', { audience: `did:mesh:${leaf.id}` }, 'did_unknown'],
    [
      'more than 8 KiB',
      {
        capabilities: Array.from({ length: 32 }, (_, i) => ({
          can: `read:${i}`,
          res: ['x'.repeat(250), 'y'.repeat(250)],
        })),
      },
      'budget',
    ],
  ])('a root with %s', (_, change, expected) => {
    expect(refusalOf(() => createRootLink({ ...terms, ...change }, signers, context)).code).toBe(expected);
  });

  test.each<[string, Partial<LinkTerms>, string]>([
    ['a capability', { capabilities: [{ can: 'read:*' }] }, 'capability'],
    ['the window', { expiresSeconds: root.payload.exp + 1 }, 'window'],
    ['the depth', { depth: 3 }, 'depth'],
  ])('a child that widens %s', (_, change, dimension) => {
    expect(refusalOf(() => createChildLink({ ...childTerms, ...change }, parents, key, context))).toMatchObject({
      code: 'widened',
      data: { dimension, link: 2 },
    });
  });

  test('a root by keys or sponsors that do not count', () => {
    const by = (change: Partial<typeof signers>) =>
      refusalOf(() => createRootLink(terms, { ...signers, ...change }, context)).code;
    expect(by({ organisation: { did: acme.did, key: acme.keys.sign.publicKey } })).toBe('key_unknown');
    expect(by({ sponsor: { did: bob.did, key } })).toBe('sponsor_missing');
    expect(by({ sponsor: { did: alice.did, key: keyOf('thief').publicKey } })).toBe('key_unknown');
    expect(by({ sponsor: { did: alice.did, key: signers.organisation.key } })).toBe('malformed'); // one key for two signers
  });

  test('a child by another key than the chain ends in', () => {
    expect(refusalOf(() => createChildLink(childTerms, parents, grace.keys.delegate.publicKey, context)).code).toBe(
      'key_unknown',
    );
    const credential = signStatement<'delegation/v1'>(
      createCredential({ boundKey: keyOf('cnf').publicKey }, parents, key, context),
      [bob.keys.delegate],
    );
    const within = { ...childTerms, expiresSeconds: credential.payload.exp };
    expect(refusalOf(() => createChildLink(within, [...parents, credential], key, context))).toMatchObject({
      code: 'broken_link',
      data: { field: 'by' },
    });
    expect(createChildLink(within, [...parents, credential], keyOf('cnf').publicKey, context).pri).toBe(true);
  });

  test('a child of a chain that no longer holds', () => {
    const revoked = knowing([createRevocation(acme, root)]);
    expect(refusalOf(() => createChildLink(childTerms, parents, key, { ...context, view: revoked }))).toMatchObject({
      code: 'revoked',
      data: { link: 0 },
    });
    const ended = knowing([createDeactivate(beta)]);
    expect(refusalOf(() => createChildLink(childTerms, parents, key, { ...context, view: ended })).code).toBe(
      'did_deactivated',
    );
    const nowSeconds = root.payload.exp + SKEW_SECONDS;
    expect(
      refusalOf(() =>
        createChildLink({ ...childTerms, expiresSeconds: nowSeconds + 1 }, parents, key, { ...context, nowSeconds }),
      ).code,
    ).toBe('widened');
    expect(refusalOf(() => createChildLink(childTerms, [], key, context)).code).toBe('malformed');
    expect(refusalOf(() => createChildLink(childTerms, [first], key, context)).code).toBe('broken_link');
  });

  test('a ninth link', () => {
    let links: readonly Link[] = [
      signStatement<'delegation/v1'>(createRootLink({ ...terms, depth: 7 }, signers, context), [
        acme.keys.delegate,
        alice.keys.delegate,
      ]),
    ];
    const extend = () =>
      createChildLink({ ...terms, audience: beta.did }, links, beta.keys.delegate.publicKey, context);
    while (links.length < 8) links = [...links, signStatement<'delegation/v1'>(extend(), [beta.keys.delegate])];
    expect(refusalOf(extend).code).toBe('budget');
  });

  test('without a view, structure and time alone', () => {
    const { view: _, ...blind } = context;
    expect(createChildLink(childTerms, chain.slice(0, 2), grace.keys.delegate.publicKey, blind).iss).toBe(bob.did);
    expect(
      refusalOf(() => createChildLink({ ...childTerms, capabilities: [{ can: 'admin:all' }] }, parents, key, blind))
        .code,
    ).toBe('widened');
  });
});
