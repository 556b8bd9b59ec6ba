import { describe, expect, test } from 'vitest';
import { CHECKS } from '../../../protocol/delegation/report.ts';
import { CHAIN_CODES, type ChainCheck, verifyChain, verifyChainBytes } from '../../../protocol/delegation/verify.ts';
import { decodeCbor, encodeCbor } from '../../../protocol/encoding/cbor.ts';
import { Link as LinkValue } from '../../../protocol/encoding/cid.ts';
import { ERRORS } from '../../../protocol/errors.ts';
import { didKeyOf } from '../../../protocol/identity/did.ts';
import { CHAIN_BYTES_MAX, CHAIN_LINKS_MAX, SKEW_SECONDS } from '../../../protocol/limits.ts';
import { isSignatureValidSodium } from '../../../protocol/sodium.ts';
import type { MeshState } from '../../../protocol/state/mesh-state.ts';
import { assembleStatement, encodePayload, type Statement } from '../../../protocol/statement/statement.ts';
import {
  createAgent,
  createChildLink,
  createCredential,
  createDeactivate,
  createHeartbeat,
  createPerson,
  createRecover,
  createRevocation,
  createRevocations,
  createRootLink,
  createRotate,
  type Identity,
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
  organisations,
  refusalOf,
  reportIn,
  root,
  strangeAgent,
  stranger,
  viewOf,
} from './world.ts';

const view = knowing();
const check = checkOf(view);
const refused = (links: readonly Link[] | string, more: Partial<ChainCheck> = {}) =>
  refusalOf(() => verifyChain(links, { ...check, ...more }));
const verdict = (links: readonly Link[] | string, more: Partial<ChainCheck> = {}): string => {
  try {
    verifyChain(links, { ...check, ...more });
    return 'valid';
  } catch {
    const { code, data } = refused(links, more);
    return code === 'widened' ? `widened:${data.dimension}` : code;
  }
};
const bytesOf = (links: readonly Link[]): Uint8Array[] => links.map(({ envelope }) => envelope);

describe('a chain that holds', () => {
  test('verifies from bytes, from statements and from the id of its leaf', () => {
    const held = knowing([...chain]);
    for (const report of [
      verifyChainBytes(bytesOf(chain), check),
      verifyChain(chain, check),
      verifyChain(leaf.id, checkOf(held)),
    ]) {
      expect(report).toMatchObject({
        ids: [root.id, first.id, leaf.id],
        leaf: leaf.id,
        root: acme.did,
        sponsor: alice.did,
        audience: grace.did,
      });
    }
  });

  test('is reported with what was checked, what was not, and as of when', () => {
    const report = verifyChain(chain, { ...check, nowMs: NOW_MS + 7_000 });
    expect(report.checked).toEqual(CHECKS.filter((one) => one !== 'holder' && one !== 'request'));
    expect(report.notChecked).toEqual([
      { check: 'holder', why: 'nobody was named as its holder' },
      { check: 'request', why: 'nothing was asked for' },
    ]);
    const asOf = new Date(NOW_MS).toISOString();
    // Of every issuer's organisation and of the root; the audience of the leaf grants nothing.
    expect(report.checkedThrough).toEqual([
      { did: acme.did, rseq: 0, ageSeconds: 7, asOf, answered: false },
      { did: beta.did, rseq: 0, ageSeconds: 7, asOf, answered: false },
    ]);
    expect(report).toMatchObject({
      staleAfterSeconds: 300,
      validUntilSeconds: leaf.payload.exp,
      checkedAt: new Date(NOW_MS + 7_000).toISOString(),
    });
    expect(report.effective).toMatchObject({
      capabilities: [{ can: 'read:reports/q3' }],
      depth: 2,
      expiresSeconds: leaf.payload.exp,
    });
  });

  test('explains every link', () => {
    const report = verifyChain(chain, check);
    expect(report.links.map(({ issuer, audience, status, sponsor }) => [issuer, audience, status, sponsor])).toEqual([
      [acme.did, beta.did, 'ok', alice.did],
      [beta.did, bob.did, 'ok', alice.did],
      [bob.did, grace.did, 'ok', alice.did],
    ]);
    expect(report.links[0]?.signers).toEqual([
      { did: acme.did, key: acme.keys.delegate.text, standing: 'current' },
      { did: alice.did, key: alice.keys.delegate.text, standing: 'current' },
    ]);
    expect(report.links[2]).toMatchObject({
      capabilities: [{ can: 'read:reports/q3' }],
      credential: false,
      boundKey: null,
      depth: null,
    });
  });

  test('has a report of nothing but JSON', () => {
    const report = verifyChain(chain, check);
    expect(JSON.parse(JSON.stringify(report))).toEqual({ ...report });
    const { data } = refused([root, leaf]);
    expect(JSON.parse(JSON.stringify(data))).toEqual({ ...data, report: { ...reportIn(refused([root, leaf])) } });
  });

  test('all codes are known, and each is refused somewhere in these tests', () => {
    for (const code of CHAIN_CODES) expect(Object.hasOwn(ERRORS, code)).toBe(true);
  });
});

describe('bytes', () => {
  test('with any one bit flipped do not verify', () => {
    let flips = 0;
    for (const [i, { envelope }] of chain.entries()) {
      for (let at = 0; at < envelope.length; at++) {
        const changed = Uint8Array.from(envelope);
        changed[at] = (changed[at] as number) ^ (1 << ((at + i) % 8));
        const { code } = refusalOf(() => verifyChainBytes(bytesOf(chain).with(i, changed), check));
        expect(CHAIN_CODES).toContain(code);
        flips += 1;
      }
    }
    expect(flips).toBeGreaterThan(1_500);
  });

  test('of another kind, of no statement and of nothing are malformed', () => {
    for (const bytes of [
      acme.genesis.envelope,
      new Uint8Array(0),
      Uint8Array.of(0x80),
      encodeCbor([new Uint8Array(0), []]),
    ])
      expect(refusalOf(() => verifyChainBytes([bytes], check)).code).toBe('malformed');
    expect(refusalOf(() => verifyChainBytes([], check)).code).toBe('malformed');
  });

  test('in another encoding are noncanonical', () => {
    const spread = Uint8Array.from([0x98, 0x02, ...root.envelope.subarray(1)]);
    expect(refusalOf(() => verifyChainBytes([spread], check)).code).toBe('noncanonical');
  });

  test('of a link that is too large, of too many links or of too large a chain are beyond the budget', () => {
    const padded = encodeCbor([encodeCbor({ t: 'delegation/v1', x: new Uint8Array(9_000) }), []]);
    const deep = new Uint8Array(200).fill(0x81);
    expect(refusalOf(() => verifyChainBytes([root.envelope, padded], check))).toMatchObject({
      code: 'budget',
      data: { link: 1 },
    });
    expect(refusalOf(() => verifyChainBytes([deep], check)).code).toBe('budget');
    expect(
      refusalOf(() =>
        verifyChainBytes(
          Array.from({ length: CHAIN_LINKS_MAX + 1 }, () => root.envelope),
          check,
        ),
      ).code,
    ).toBe('budget');
    expect(refusalOf(() => verifyChainBytes([new Uint8Array(CHAIN_BYTES_MAX + 1)], check)).code).toBe('budget');
  });

  test('say which link is at fault, and what was checked before', () => {
    const error = refusalOf(() => verifyChainBytes([root.envelope, first.envelope, Uint8Array.of(1)], check));
    expect(error).toMatchObject({ code: 'malformed', data: { link: 2 } });
    expect(reportIn(error)).toMatchObject({ ids: [root.id, first.id], checked: [] });
    expect(reportIn(error).notChecked.map(({ check: one }) => one)).toEqual([...CHECKS]);
  });
});

describe('the root', () => {
  test('must be trusted: no roots, or others, refuse it', () => {
    expect(refused(chain, { roots: new Set() })).toMatchObject({
      code: 'unknown_root',
      data: { did: acme.did, link: 0 },
    });
    expect(verdict(chain, { roots: new Set([beta.did, alice.did]) })).toBe('unknown_root');
  });

  test('must be an organisation, even if a person or agent was configured as a root', () => {
    const self = createRootLink(bob, alice, { aud: grace.did });
    expect(verdict([self], { roots: new Set([bob.did]) })).toBe('unknown_root');
  });

  test('must have no parent', () => {
    expect(refused([first, leaf])).toMatchObject({ code: 'broken_link', data: { link: 0, waitsFor: root.id } });
  });

  test('must carry the signature of its sponsor', () => {
    const [payloadBytes, signatures] = decodeCbor(root.envelope) as [Uint8Array, Uint8Array[]];
    const oneSignature = encodeCbor([payloadBytes, signatures.slice(0, 1)]);
    const payload = decodeCbor(payloadBytes) as { by: Uint8Array[] };
    const oneSigner = encodeCbor([encodeCbor({ ...payload, by: payload.by.slice(0, 1) }), signatures.slice(0, 1)]);
    for (const bytes of [oneSignature, oneSigner])
      expect(refusalOf(() => verifyChainBytes([bytes, first.envelope, leaf.envelope], check))).toMatchObject({
        code: 'sponsor_missing',
        data: { link: 0 },
      });
    const forged = encodeCbor([payloadBytes, [...signatures.slice(0, 1), ...signatures.slice(0, 1)]]);
    expect(refusalOf(() => verifyChainBytes([forged], check)).code).toBe('bad_signature');
  });

  test('must be sponsored by a person of the organisation', () => {
    const agent = createAgent(acme, 'acme agent');
    const outsider = createPerson(beta, 'outsider');
    const more = { view: knowing([agent.genesis, outsider.genesis]) };
    expect(verdict([createRootLink(acme, agent, { aud: beta.did })], more)).toBe('sponsor_missing');
    expect(verdict([createRootLink(acme, outsider, { aud: beta.did })], more)).toBe('sponsor_missing');
    expect(
      verdict(
        [createRootLink(acme, acme, { aud: beta.did, signers: [acme.keys.delegate, alice.keys.delegate] })],
        more,
      ),
    ).toBe('sponsor_missing');
  });

  test('must be signed by keys that organisation and sponsor list for delegating', () => {
    const by = (one: Parameters<typeof createRootLink>[2]['signers']) =>
      verdict([createRootLink(acme, alice, { aud: beta.did, signers: one ?? [] })]);
    expect(by([acme.keys.delegate, alice.keys.delegate])).toBe('valid');
    expect(by([acme.keys.sign, alice.keys.delegate])).toBe('key_unknown');
    expect(by([acme.keys.delegate, alice.keys.auth])).toBe('key_unknown');
    expect(by([alice.keys.delegate, acme.keys.delegate])).toBe('key_unknown');
    expect(by([keyOf('thief'), alice.keys.delegate])).toBe('key_unknown');
    expect(by([acme.keys.delegate, keyOf('thief')])).toBe('key_unknown');
  });
});

describe('continuity', () => {
  test.each<[string, readonly Link[]]>([
    ['links swapped', [root, leaf, first]],
    ['a link left out', [root, leaf]],
    ['a link twice', [root, first, first, leaf]],
    ['the chain reversed', chain.toReversed()],
  ])('%s', (_, links) => {
    expect(verdict(links)).toBe('broken_link');
  });

  test('a link that names another parent', () => {
    const other = createRootLink(acme, alice, { aud: beta.did, nonce: 'other', cap: root.payload.cap });
    expect(verdict([other, first, leaf])).toBe('broken_link');
    expect(verdict([root, createRootLink(acme, alice, { aud: beta.did })])).toBe('broken_link');
  });

  test.each<[string, Partial<Link['payload']>]>([
    ['issuer', { iss: stranger.did }],
    ['root organisation', { sub: stranger.did }],
    ['sponsor', { spo: strangeAgent.did }],
  ])('a link with another %s', (_, fields) => {
    const forged = createChildLink(root, beta, {
      aud: bob.did,
      cap: first.payload.cap,
      ...fields,
      signers: [stranger.keys.delegate],
    });
    expect(refused([root, forged])).toMatchObject({
      code: 'broken_link',
      data: { link: 1, id: forged.id, field: Object.keys(fields)[0] },
    });
  });

  test('a leaf whose links are not all held waits for the missing one', () => {
    const held = knowing([root, leaf]);
    expect(refused(leaf.id, checkOf(held))).toMatchObject({ code: 'broken_link', data: { waitsFor: first.id } });
    expect(refused('nothing', checkOf(held))).toMatchObject({ code: 'broken_link', data: { waitsFor: 'nothing' } });
  });

  test('a link signed by someone who is not its issuer', () => {
    const forged = createChildLink(first, bob, {
      aud: grace.did,
      cap: leaf.payload.cap,
      signers: [stranger.keys.delegate],
    });
    expect(refused([root, first, forged])).toMatchObject({ code: 'key_unknown', data: { did: bob.did, link: 2 } });
  });
});

describe('attenuation in a chain', () => {
  const child = (fields: Partial<Link['payload']>, parent: Link = root): Link =>
    createChildLink(parent, beta, { aud: bob.did, cap: parent.payload.cap, ...fields });

  test.each<[string, Partial<Link['payload']>, string]>([
    ['a capability', { cap: [{ can: 'admin:all' }] }, 'widened:capability'],
    ['the window: a child that outlives its parent', { exp: root.payload.exp + 1 }, 'widened:window'],
    ['the depth', { dep: 7 }, 'widened:depth'],
  ])('a link that widens %s', (_, fields, expected) => {
    const wide = child(fields);
    expect(verdict([root, wide])).toBe(expected);
    expect(refused([root, wide]).data).toMatchObject({ link: 1, id: wide.id });
  });

  test('what a link leaves out it inherits from further up', () => {
    const limited = createRootLink(acme, alice, { aud: beta.did, stl: 60, cap: [{ can: 'read:*', res: ['eu/'] }] });
    const silent = child({ cap: [{ can: 'read:*' }] }, limited);
    const laxer = createChildLink(silent, bob, { aud: grace.did, stl: 61 });
    const abroad = createChildLink(silent, bob, { aud: grace.did, cap: [{ can: 'read:*', res: ['us/'] }] });
    expect(verdict([limited, silent])).toBe('valid');
    expect(verdict([limited, silent, laxer])).toBe('widened:staleness');
    expect(verdict([limited, silent, abroad])).toBe('widened:resource');
  });

  test('hops end where the depth does, credentials and all', () => {
    const shallow = createRootLink(acme, alice, { aud: beta.did, dep: 1 });
    const last = child({}, shallow);
    const further = createChildLink(last, bob, { aud: grace.did });
    const credential = createCredential(last, bob, keyOf('cnf'));
    expect(verdict([shallow, last])).toBe('valid');
    expect(refused([shallow, last, further])).toMatchObject({ code: 'depth', data: { link: 2 } });
    expect(verdict([shallow, last, credential])).toBe('valid');
    const onward = createChildLink(credential, bob, { aud: grace.did, pri: true, signers: [keyOf('cnf')] });
    expect(verdict([shallow, last, credential, onward])).toBe('depth');
  });

  test('eight links are verified, nine are not', () => {
    const links = [createRootLink(acme, alice, { aud: beta.did, dep: 7 })];
    for (let i = 1; i < CHAIN_LINKS_MAX; i++)
      links.push(createChildLink(links.at(-1) as Link, beta, { aud: beta.did, nonce: `${i}` }));
    expect(verdict(links)).toBe('valid');
    expect(verifyChain(links, check).effective?.depth).toBe(0);
    links.push(createChildLink(links.at(-1) as Link, beta, { aud: beta.did, nonce: 'ninth' }));
    expect(verdict(links)).toBe('budget');
    expect(verdict(links.at(-1)?.id ?? '', checkOf(knowing(links)))).toBe('budget');
  });
});

describe('bound keys', () => {
  const cnf = keyOf('cnf');
  const credential = createCredential(leaf, grace, cnf);
  const bound = [...chain, credential];

  test('a link under a credential is signed by its key, and by no other', () => {
    const onward = (signer: typeof cnf): Link =>
      createChildLink(credential, grace, { aud: stranger.did, pri: true, signers: [signer] });
    expect(verdict(bound)).toBe('valid');
    expect(verdict([...bound, onward(cnf)])).toBe('valid');
    expect(verifyChain([...bound, onward(cnf)], check).links[4]?.signers).toEqual([
      { did: grace.did, key: cnf.text, standing: 'bound' },
    ]);
    expect(refused([...bound, onward(grace.keys.delegate)])).toMatchObject({
      code: 'broken_link',
      data: { field: 'by', link: 4 },
    });
  });

  test('a public link under a private one is refused', () => {
    const published = createChildLink(credential, grace, { aud: stranger.did, signers: [cnf] });
    expect(verdict([...bound, published])).toBe('widened:private');
  });

  test('the holder of a bound leaf proves that key', () => {
    const holder = (did: string, key?: Uint8Array) =>
      verdict(bound, { holder: key === undefined ? { did } : { did, key } });
    expect(holder(grace.did, cnf.publicKey)).toBe('valid');
    expect(holder(grace.did)).toBe('holder_mismatch');
    expect(holder(grace.did, grace.keys.auth.publicKey)).toBe('holder_mismatch');
    expect(holder(bob.did, cnf.publicKey)).toBe('holder_mismatch');
  });

  test('a revoked bound key ends the credential', () => {
    const revocation = createRevocation(gamma, { of: grace, key: cnf }, { iss: grace });
    const more = { view: knowing([revocation]) };
    expect(refused(bound, more)).toMatchObject({ code: 'revoked', data: { key: cnf.text, did: grace.did } });
    expect(verdict(chain, more)).toBe('valid');
  });
});

describe('the holder', () => {
  const holder = (did: string, key?: Uint8Array, more: Partial<ChainCheck> = {}) =>
    verdict(chain, { ...more, holder: key === undefined ? { did } : { did, key } });

  test('is the audience of the leaf, by a key of use "auth"', () => {
    expect(holder(grace.did)).toBe('valid');
    expect(holder(grace.did, grace.keys.auth.publicKey)).toBe('valid');
    expect(holder(grace.did, grace.keys.delegate.publicKey)).toBe('holder_mismatch');
    expect(holder(bob.did, bob.keys.auth.publicKey)).toBe('holder_mismatch');
    expect(refused(chain, { holder: { did: bob.did } }).data).toMatchObject({ is: bob.did, want: grace.did });
  });

  test('of a longer chain is not the holder of the shorter one that it begins with', () => {
    for (const links of [[root], [root, first]])
      expect(verdict(links, { holder: { did: grace.did } })).toBe('holder_mismatch');
  });

  test('with a retired key is refused once its grace is over, and with a dead one at once, even if it keeps this link', () => {
    const org = createRootLink(acme, alice, { aud: gamma.did });
    const rotated = (until: number | null) =>
      createRotate(gamma, 'gamma 2', { retire: [[gamma.keys.auth, until, until === null ? [org] : []]] });
    const old = (until: number | null, nowMs: number) => {
      const rotate = rotated(until);
      const beat = createHeartbeat(gamma, { head: rotate, signers: [keySet('gamma 2').sign], iat: NOW_SECONDS + 60 });
      return verdict([org], {
        view: knowing([rotate, beat], nowMs),
        nowMs,
        holder: { did: gamma.did, key: gamma.keys.auth.publicKey },
      });
    };
    expect(old(NOW_SECONDS + 100, NOW_MS + 60_000)).toBe('valid');
    expect(old(NOW_SECONDS + 100, NOW_MS + (100 + SKEW_SECONDS) * 1000)).toBe('key_retired');
    expect(old(null, NOW_MS)).toBe('key_retired');
  });

  test('of a did:key is that key', () => {
    const key = keyOf('device');
    const links = [...chain, createChildLink(leaf, grace, { aud: didKeyOf(key.text) })];
    expect(verdict(links, { holder: { did: didKeyOf(key.text), key: key.publicKey } })).toBe('valid');
    expect(verdict(links, { holder: { did: didKeyOf(key.text), key: keyOf('thief').publicKey } })).toBe(
      'holder_mismatch',
    );
  });

  test('whose key was revoked is refused', () => {
    const revocation = createRevocation(gamma, { of: grace, key: grace.keys.auth });
    expect(holder(grace.did, grace.keys.auth.publicKey, { view: knowing([revocation]) })).toBe('revoked');
  });
});

describe('time', () => {
  const at = (seconds: number, links: readonly Link[] = chain) => {
    const nowMs = (NOW_SECONDS + seconds) * 1000;
    const beats = organisations.map((one) => createHeartbeat(one, { iat: NOW_SECONDS + seconds }));
    return verdict(links, { nowMs, view: viewOf([...genesisOf(everyone), ...beats], Math.max(nowMs, NOW_MS)) });
  };

  test('a chain is in force within its window, give or take the skew', () => {
    expect(at(-SKEW_SECONDS - 1)).toBe('not_yet');
    expect(at(-SKEW_SECONDS)).toBe('valid');
    expect(at(86_400 + SKEW_SECONDS - 1)).toBe('valid');
    expect(at(86_400 + SKEW_SECONDS)).toBe('expired');
  });

  test('one link out of force is enough, and is named', () => {
    const short = createChildLink(root, beta, { aud: bob.did, cap: first.payload.cap, exp: NOW_SECONDS + 10 });
    const late = createChildLink(root, beta, {
      aud: bob.did,
      cap: first.payload.cap,
      nbf: NOW_SECONDS + 1_000,
      exp: NOW_SECONDS + 2_000,
    });
    expect(at(10 + SKEW_SECONDS, [root, short])).toBe('expired');
    expect(at(0, [root, late])).toBe('not_yet');
    expect(refused([root, late]).data).toMatchObject({
      link: 1,
      at: new Date((NOW_SECONDS + 1_000) * 1000).toISOString(),
    });
  });

  test('a link dated in the future is not in force, or it would outlive what its date bounds', () => {
    const credential = createCredential(leaf, grace, keyOf('cnf'), {
      iat: NOW_SECONDS + 10_000,
      nbf: NOW_SECONDS,
      exp: NOW_SECONDS + 10_800,
    });
    expect(at(0, [...chain, credential])).toBe('not_yet');
  });
});

describe('keys', () => {
  /** beta rotates; `second` is then its key set. */
  const second = keySet('beta 2');
  const rotated = (retire: Parameters<typeof createRotate>[2], nowMs = NOW_MS): MeshState => {
    const rotate = createRotate(beta, 'beta 2', retire);
    return knowing(
      [rotate, createHeartbeat(beta, { head: rotate, signers: [second.sign], iat: Math.floor(nowMs / 1000) })],
      nowMs,
    );
  };

  test('retired with grace sign on until it ends', () => {
    const until = NOW_SECONDS + 100;
    const links = [root, first];
    const report = verifyChain(links, checkOf(rotated({ retire: [[beta.keys.delegate, until]] })));
    expect(report.validUntilSeconds).toBe(until);
    expect(report.links[1]?.signers).toEqual([
      { did: beta.did, key: beta.keys.delegate.text, standing: 'grace', untilSeconds: until },
    ]);
    for (const [seconds, expected] of [
      [100 + SKEW_SECONDS - 1, 'valid'],
      [100 + SKEW_SECONDS, 'key_retired'],
    ] as const) {
      const nowMs = (NOW_SECONDS + seconds) * 1000;
      const beats = createHeartbeat(acme, { iat: NOW_SECONDS + seconds });
      const state = rotated({ retire: [[beta.keys.delegate, until]] }, nowMs);
      state.admit(beats, nowMs);
      expect(verdict(links, { view: state, nowMs }), `${seconds}`).toBe(expected);
    }
  });

  test('retired as dead, or dropped without a word, sign nothing but what is kept', () => {
    const kept = { view: rotated({ retire: [[beta.keys.delegate, null, [first]]] }) };
    expect(verdict(chain, kept)).toBe('valid');
    expect(verifyChain(chain, { ...check, ...kept }).links[1]?.signers[0]?.standing).toBe('kept');
    const another = createChildLink(root, beta, { aud: bob.did, nonce: 'another' });
    expect(refused([root, another], kept)).toMatchObject({
      code: 'key_retired',
      data: { did: beta.did, key: beta.keys.delegate.text, link: 1 },
    });
    expect(verdict(chain, { view: rotated({ retire: [[beta.keys.delegate, null]] }) })).toBe('key_retired');
    expect(verdict(chain, { view: rotated({}) })).toBe('key_retired');
  });

  test('that came with a rotation or recovery sign', () => {
    const renewed = createChildLink(root, beta, { aud: bob.did, signers: [second.delegate] });
    expect(verdict([root, renewed], { view: rotated({}) })).toBe('valid');
    expect(verdict([root, renewed])).toBe('key_unknown');
    const recover = createRecover(beta, 'beta 3');
    const recovered = {
      view: knowing([recover, createHeartbeat(beta, { head: recover, signers: [keySet('beta 3').sign] })]),
    };
    expect(
      verdict([root, createChildLink(root, beta, { aud: bob.did, signers: [keySet('beta 3').delegate] })], recovered),
    ).toBe('valid');
    expect(verdict(chain, recovered)).toBe('key_retired');
  });

  test('listed for another use do not sign links', () => {
    expect(verdict([root, createChildLink(root, beta, { aud: bob.did, signers: [beta.keys.auth] })])).toBe(
      'key_unknown',
    );
  });
});

describe('DIDs', () => {
  test.each<[string, Identity]>([
    ['the root', acme],
    ['the sponsor', alice],
    ['an issuer in between', beta],
    ['an agent that issues', bob],
    ['the audience of the leaf', grace],
  ])('%s must be known', (_, one) => {
    const known = everyone.filter((other) => other !== one && other.organisation !== one);
    const state = viewOf([...genesisOf(known), ...organisations.map((other) => createHeartbeat(other))]);
    expect(refused(chain, { view: state })).toMatchObject({ code: 'did_unknown', data: { waitsFor: one.did } });
  });

  test.each<[string, Identity, number]>([
    ['the root', acme, 0],
    ['an issuer in between', beta, 1],
    ['the organisation of the audience', gamma, 2],
  ])('%s must not be forked', (_, one, link) => {
    const rivals = [createRotate(one, 'one'), createRotate(one, 'other')];
    expect(refused(chain, { view: knowing(rivals) })).toMatchObject({
      code: 'did_forked',
      data: { did: one.did, link },
    });
  });

  test.each<[string, Identity, number]>([
    ['the root', acme, 0],
    ['the sponsor', alice, 0],
    ['an issuer in between', beta, 1],
    ['the organisation of the audience', gamma, 2],
  ])('%s must not be deactivated', (_, one, link) => {
    expect(refused(chain, { view: knowing([createDeactivate(one)]) })).toMatchObject({
      code: 'did_deactivated',
      data: { did: one.did, link },
    });
  });

  test('two recoveries of one DID end it', () => {
    expect(verdict(chain, { view: knowing([createRecover(beta, 'one'), createRecover(beta, 'other')]) })).toBe(
      'did_deactivated',
    );
  });

  test('a recovery ends a fork', () => {
    const recover = createRecover(beta, 'beta 2', { retire: [[beta.keys.delegate, NOW_SECONDS + 600]] });
    const beat = createHeartbeat(beta, { head: recover, signers: [keySet('beta 2').sign] });
    expect(
      verdict(chain, { view: knowing([createRotate(beta, 'one'), createRotate(beta, 'other'), recover, beat]) }),
    ).toBe('valid');
  });
});

describe('revocation', () => {
  /** Knows the revocation and a heartbeat that names it. */
  const after = (revocations: readonly Statement<'revocation/v1'>[]) => {
    const newest = new Map(revocations.map((one) => [one.payload.org, one]));
    const beats = organisations.map((one) => createHeartbeat(one, { rhead: newest.get(one.did) ?? null }));
    return { view: viewOf([...genesisOf(everyone), ...revocations, ...beats]) };
  };

  test.each<[string, Link, Identity, Identity | undefined]>([
    ['its issuer', leaf, beta, bob],
    ['an issuer above', leaf, beta, undefined],
    ['the root organisation', leaf, acme, undefined],
    ['the sponsor', leaf, acme, alice],
    ['its audience, by way of surrender', leaf, gamma, grace],
    ['the root organisation, of the root', root, acme, undefined],
    ['the audience of the root', root, beta, undefined],
    ['the sponsor, of the root', root, acme, alice],
  ])('of a link by %s ends the chain', (_, link, organisation, iss) => {
    const revocation = createRevocation(organisation, link, {
      rsn: 'contract ended',
      ...(iss === undefined ? {} : { iss }),
    });
    expect(refused(chain, after([revocation]))).toMatchObject({
      code: 'revoked',
      data: {
        by: (iss ?? organisation).did,
        id: link.id,
        link: chain.indexOf(link),
        reason: 'contract ended',
        at: new Date(NOW_MS).toISOString(),
      },
    });
  });

  test.each<[string, Link, Identity, Identity | undefined]>([
    ['a stranger', leaf, stranger, undefined],
    ['an agent of a stranger', root, stranger, strangeAgent],
    ['the organisation of the audience', leaf, gamma, undefined],
    ['someone further down', root, gamma, grace],
    ['an agent further down', root, beta, bob],
  ])('of a link by %s changes nothing', (_, link, organisation, iss) => {
    const revocation = createRevocation(organisation, link, iss === undefined ? {} : { iss });
    expect(verdict(chain, after([revocation]))).toBe('valid');
  });

  test.each<[string, Identity, Identity, string]>([
    ['an issuing agent by its organisation', bob, beta, 'revoked'],
    ['the sponsor by the organisation', alice, acme, 'revoked'],
    ['the audience by its organisation', grace, gamma, 'revoked'],
    ['an issuing agent by a stranger', bob, stranger, 'valid'],
    ['an issuing agent by the root', bob, acme, 'valid'],
    ['the root organisation by itself', acme, acme, 'valid'],
    ['an organisation in between by another', beta, acme, 'valid'],
  ])('of the DID of %s', (_, target, by, expected) => {
    expect(verdict(chain, after([createRevocation(by, target)]))).toBe(expected);
  });

  test('of its own DID by an agent changes nothing', () => {
    expect(verdict(chain, after([createRevocation(beta, bob, { iss: bob })]))).toBe('valid');
  });

  test.each<[string, Identity, 'delegate' | 'auth', Identity, Identity | undefined, string]>([
    ['an agent by itself', bob, 'delegate', beta, bob, 'revoked'],
    ['an agent by its organisation', bob, 'delegate', beta, undefined, 'revoked'],
    ['the sponsor by itself', alice, 'delegate', acme, alice, 'revoked'],
    ['an agent, for another use', bob, 'auth', beta, undefined, 'valid'],
    ['an agent by a stranger', bob, 'delegate', stranger, undefined, 'valid'],
    ['an organisation by itself', beta, 'delegate', beta, undefined, 'valid'],
  ])('of a key of %s', (_, of, use, organisation, iss, expected) => {
    const revocation = createRevocation(organisation, { of, key: of.keys[use] }, iss === undefined ? {} : { iss });
    expect(verdict(chain, after([revocation]))).toBe(expected);
  });

  test('of a key that its owner retired as dead leaves the kept links', () => {
    const person = createRotate(alice, 'alice 2', { retire: [[alice.keys.delegate, null, [root]]] });
    const revocation = createRevocation(acme, { of: alice, key: alice.keys.delegate });
    const known = after([revocation]);
    known.view.admit(person, NOW_MS);
    expect(verdict(chain, known)).toBe('valid');
    const another = createRootLink(acme, alice, { aud: beta.did, nonce: 'another' });
    expect(verdict([another], known)).toBe('key_retired');
  });

  test('of an ancestor by whoever stole a retired key does not count, and one that the owner stands by does', () => {
    const [own, stolen] = createRevocations(beta, [createRootLink(beta, alice, { aud: bob.did }), first]) as [
      Statement<'revocation/v1'>,
      Statement<'revocation/v1'>,
    ];
    const standBy = (rhead: Statement<'revocation/v1'>) => {
      const rotate = createRotate(beta, 'beta 2', {
        retire: [
          [beta.keys.sign, null],
          [beta.keys.delegate, NOW_SECONDS + 600],
        ],
        rhead,
      });
      const beat = createHeartbeat(beta, { head: rotate, rhead, signers: [keySet('beta 2').sign] });
      return verdict(chain, { view: knowing([own, stolen, rotate, beat]) });
    };
    expect(standBy(own)).toBe('valid');
    expect(standBy(stolen)).toBe('revoked');
  });

  test('is irrevocable, and outlasts the fork of whoever revoked', () => {
    const revocation = createRevocation(beta, leaf);
    const recover = createRecover(beta, 'beta 2', {
      rhead: revocation,
      retire: [[beta.keys.delegate, NOW_SECONDS + 600]],
    });
    const beat = createHeartbeat(beta, { head: recover, rhead: revocation, signers: [keySet('beta 2').sign] });
    expect(
      verdict(chain, {
        view: knowing([revocation, createRotate(beta, 'one'), createRotate(beta, 'other'), recover, beat]),
      }),
    ).toBe('revoked');
  });
});

describe('freshness', () => {
  const beat = (one: Identity, age: number, more: Parameters<typeof createHeartbeat>[1] = {}) =>
    createHeartbeat(one, { iat: NOW_SECONDS - age, ...more });
  const read = { capabilities: [{ can: 'read:reports/q3' }] };
  const write = { capabilities: [{ can: 'write:reports/q3' }] };
  const wide = [root, createChildLink(root, beta, { aud: grace.did })];
  const knowingBeats = (...beats: readonly Statement[]) => ({ view: viewOf([...genesisOf(everyone), ...beats]) });

  test('without a heartbeat nothing is known', () => {
    const error = refused(chain, knowingBeats(beat(acme, 0)));
    expect(error).toMatchObject({
      code: 'status_stale',
      data: {
        did: beta.did,
        ageSeconds: null,
        staleAfterSeconds: 300,
        reason: 'no_heartbeat',
        link: 1,
        organisations: [beta.did],
      },
    });
    expect(reportIn(error).checkedThrough.map(({ ageSeconds }) => ageSeconds)).toEqual([0, null]);
    expect(reportIn(error).notChecked.map((one) => one.check)).toEqual(['freshness', 'holder', 'request']);
  });

  test('a read may rest on five minutes, everything else on one', () => {
    const aged = (age: number) => knowingBeats(beat(acme, age), beat(beta, 0));
    expect(verdict(wide, { ...aged(300), request: read })).toBe('valid');
    expect(verdict(wide, { ...aged(301), request: read })).toBe('status_stale');
    expect(verdict(wide, { ...aged(300) })).toBe('valid');
    expect(verdict(wide, { ...aged(60), request: write })).toBe('valid');
    expect(refused(wide, { ...aged(61), request: write }).data).toMatchObject({
      did: acme.did,
      ageSeconds: 61,
      staleAfterSeconds: 60,
      reason: 'too_old',
    });
    expect(
      verdict(wide, { ...aged(61), request: { capabilities: [...read.capabilities, ...write.capabilities] } }),
    ).toBe('status_stale');
  });

  test('a link may ask for less', () => {
    const strict = createRootLink(acme, alice, { aud: grace.did, stl: 5 });
    expect(verdict([strict], knowingBeats(beat(acme, 5)))).toBe('valid');
    expect(verdict([strict], knowingBeats(beat(acme, 6)))).toBe('status_stale');
  });

  test('a policy of the verifier may differ', () => {
    const staleness = { readSeconds: 10, writeSeconds: 1_000, criticalDomains: [] };
    const aged = knowingBeats(beat(acme, 100), beat(beta, 100));
    expect(verdict(wide, { ...aged, staleness, request: read })).toBe('status_stale');
    expect(verdict(wide, { ...aged, staleness, request: write })).toBe('valid');
  });

  test('critical decisions rest on an answer asked for since they began', () => {
    const pay = createRootLink(acme, alice, { aud: grace.did, cap: [{ can: 'pay:invoices/*' }] });
    const request = { capabilities: [{ can: 'pay:invoices/7' }] };
    const state = viewOf(genesisOf(everyone));
    state.admit(beat(acme, 0), NOW_MS);
    expect(refused([pay], { view: state, request }).data).toMatchObject({ reason: 'not_asked', staleAfterSeconds: 0 });
    expect(verdict([pay], { view: state, request, askedSinceMs: NOW_MS - 500 })).toBe('status_stale');
    state.admit(createHeartbeat(acme, { iat: NOW_SECONDS - 30, nonce: new Uint8Array(16) }), NOW_MS, {
      askedMs: NOW_MS - 400,
    });
    expect(verdict([pay], { view: state, request })).toBe('status_stale');
    expect(verdict([pay], { view: state, request, askedSinceMs: NOW_MS - 300 })).toBe('status_stale');
    const report = verifyChain([pay], checkOf(state, { request, askedSinceMs: NOW_MS - 500 }));
    expect(report.checkedThrough).toEqual([
      { did: acme.did, rseq: 0, ageSeconds: 0.4, asOf: new Date(NOW_MS - 400).toISOString(), answered: true },
    ]);
  });

  test('the age of an answer is by the own clock, so that skew does not enter', () => {
    const state = viewOf([...genesisOf(everyone)]);
    state.admit(createHeartbeat(acme, { iat: NOW_SECONDS - 3_000, nonce: new Uint8Array(16) }), NOW_MS, {
      askedMs: NOW_MS - 1_000,
    });
    expect(verifyChain([root], checkOf(state)).checkedThrough[0]).toMatchObject({ ageSeconds: 1, answered: true });
  });

  test('a heartbeat of the future is as good as none', () => {
    const ahead = viewOf([...genesisOf(everyone), createHeartbeat(acme, { iat: NOW_SECONDS + 100 })], NOW_MS + 60_000);
    expect(refused([root], { view: ahead }).data).toMatchObject({ reason: 'no_heartbeat' });
    expect(verdict([root], { view: ahead, nowMs: NOW_MS + 40_000 })).toBe('valid');
  });

  test('a heartbeat that names what is not held shows that something is missing', () => {
    const revocation = createRevocation(acme, strangeAgent);
    const rotate = createRotate(beta, 'beta 2', { retire: [[beta.keys.delegate, NOW_SECONDS + 600]] });
    const named = knowing([createHeartbeat(acme, { iat: NOW_SECONDS + 1, rhead: revocation })]);
    expect(refused([root], { view: named }).data).toMatchObject({ reason: 'incomplete', did: acme.did });
    named.admit(revocation, NOW_MS);
    expect(verdict([root], { view: named })).toBe('valid');
    expect(verifyChain([root], checkOf(named)).checkedThrough[0]?.rseq).toBe(1);
    const headed = knowing([createHeartbeat(beta, { iat: NOW_SECONDS + 1, head: rotate })]);
    expect(refused(chain, { view: headed }).data).toMatchObject({ reason: 'incomplete', did: beta.did });
    headed.admit(rotate, NOW_MS);
    headed.admit(
      createHeartbeat(beta, { iat: NOW_SECONDS + 2, head: rotate, signers: [keySet('beta 2').sign] }),
      NOW_MS,
    );
    expect(verdict(chain, { view: headed })).toBe('valid');
  });

  test('a heartbeat signed by a key that is dead by now does not count', () => {
    const rotate = createRotate(acme, 'acme 2', { retire: [[acme.keys.delegate, NOW_SECONDS + 600]] });
    expect(verdict([root], knowingBeats(rotate, beat(acme, 0)))).toBe('status_stale');
  });
});

describe('requests', () => {
  const limited = createRootLink(acme, alice, {
    aud: beta.did,
    cap: [{ can: 'read:reports/*', res: ['eu/'] }],
    at: [gamma.did],
    pur: ['billing'],
    mts: 400,
  });
  const links = [limited, createChildLink(limited, beta, { aud: grace.did })];
  const request = {
    capabilities: [{ can: 'read:reports/q3', res: ['eu/de'] }],
    at: [grace.did, gamma.did],
    purpose: 'billing',
    score: 400,
  };

  test('that every link covers is granted', () => {
    const report = verifyChain(links, { ...check, request });
    expect(report.checked).toContain('request');
    expect(report.notChecked.map((one) => one.check)).toEqual(['holder']);
  });

  test.each<[string, object, string]>([
    ['for another capability', { capabilities: [{ can: 'write:reports/q3' }] }, 'not_covered'],
    ['for another resource', { capabilities: [{ can: 'read:reports/q3', res: ['us/ny'] }] }, 'not_covered'],
    ['for all resources', { capabilities: [{ can: 'read:reports/q3' }] }, 'not_covered'],
    [
      'for one that is covered and one that is not',
      { capabilities: [...request.capabilities, { can: 'read:secrets' }] },
      'not_covered',
    ],
    ['at another place', { at: [beta.did] }, 'not_covered'],
    ['for another purpose', { purpose: 'marketing' }, 'not_covered'],
    ['with too low a score', { score: 399 }, 'score_below'],
    ['with an unknown score', { score: undefined }, 'score_below'],
    ['at an unnamed place', { at: undefined }, 'not_covered'],
    ['without a purpose', { purpose: undefined }, 'not_covered'],
    ['for what is no capability', { capabilities: [{ can: 'read:reports/../x' }] }, 'malformed'],
    ['for what is no resource', { capabilities: [{ can: 'read:reports/q3', res: ['eu/../us'] }] }, 'malformed'],
  ])('%s is not', (_, change, expected) => {
    expect(verdict(links, { request: { ...request, ...change } })).toBe(expected);
  });

  test('that one link alone does not cover names it', () => {
    const narrow = createChildLink(limited, beta, { aud: bob.did, cap: [{ can: 'read:reports/q4', res: ['eu/'] }] });
    expect(refused([limited, narrow], { request })).toMatchObject({
      code: 'not_covered',
      data: { link: 1, id: narrow.id, dimension: 'capability' },
    });
    expect(refused(links, { request: { ...request, score: 1 } }).data).toMatchObject({ min: 400, is: 1, link: 0 });
  });

  test('that ask for nothing are judged by place, purpose and score alone', () => {
    expect(verdict(links, { request: { ...request, capabilities: [] } })).toBe('valid');
    expect(verdict(links, { request: { ...request, capabilities: [], score: 1 } })).toBe('score_below');
  });
});

describe('signatures', () => {
  test('of every link are checked', () => {
    for (const [i, link] of chain.entries()) {
      const signatures = link.signatures.map((signature, k) =>
        k === link.signatures.length - 1 ? signature.map((byte, at) => (at === 40 ? byte ^ 1 : byte)) : signature,
      );
      const forged = assembleStatement(link.payloadBytes, signatures) as Link;
      expect(refused(chain.with(i, forged))).toMatchObject({ code: 'bad_signature', data: { link: i } });
    }
  });

  test('are checked by four verifications, unless the door did so', () => {
    let count = 0;
    const isSignatureValid: ChainCheck['isSignatureValid'] = (...all) => {
      count += 1;
      return isSignatureValidSodium(...all);
    };
    verifyChain(chain, { ...check, isSignatureValid });
    expect(count).toBe(4);
    verifyChain(chain, { ...check, isSignatureValid, isVerified: (link) => link !== leaf });
    expect(count).toBe(5);
  });

  test('are not checked by anything that the bytes decide: a payload without signers does not parse', () => {
    const { by: _, ...payload } = leaf.payload;
    expect(() => encodePayload<'delegation/v1'>({ ...payload, by: [] })).toThrow(
      expect.objectContaining({ code: 'schema' }),
    );
  });
});

test('checks come in one order: the first fault found is the one reported', () => {
  // One chain with a fault of every kind that can coexist; each repair uncovers the next.
  const thief = keyOf('thief');
  const expired = { nbf: NOW_SECONDS - 1_000, exp: NOW_SECONDS - 500, iat: NOW_SECONDS - 1_000 };
  const base = createRootLink(acme, alice, { aud: beta.did, ...expired, mts: 900 });
  const wide = createChildLink(base, beta, { aud: bob.did, cap: [{ can: 'admin:all' }], ...expired });
  const narrow = createChildLink(base, beta, { aud: bob.did, ...expired });
  const inForce = [createRootLink(acme, alice, { aud: beta.did, mts: 900 })];
  inForce.push(createChildLink(inForce[0] as Link, beta, { aud: bob.did }));
  const revocation = createRevocation(acme, inForce[0] as Link);
  const bad = viewOf([...genesisOf(everyone), revocation]);
  const more = { holder: { did: stranger.did }, request: { capabilities: [{ can: 'pay:all' }], score: 1 } };
  const stale = { ...more, view: viewOf(genesisOf(everyone)) };
  expect(verdict([base, wide], { ...more, view: bad, roots: new Set() })).toBe('unknown_root');
  const forged = createChildLink(base, beta, {
    aud: bob.did,
    cap: [{ can: 'admin:all' }],
    ...expired,
    signers: [thief],
  });
  expect(verdict([base, forged], { ...more, view: bad })).toBe('key_unknown');
  expect(verdict([base, wide], { ...more, view: bad })).toBe('widened:capability');
  expect(verdict([base, narrow], { ...more, view: bad })).toBe('expired');
  expect(verdict(inForce, { ...more, view: bad })).toBe('revoked');
  expect(verdict(inForce, stale)).toBe('status_stale');
  expect(verdict(inForce, { holder: more.holder, request: { capabilities: [{ can: 'read:x' }], score: 1 } })).toBe(
    'holder_mismatch',
  );
  expect(verdict(inForce, { request: { capabilities: [{ can: 'read:x' }], score: 1 } })).toBe('not_covered');
  expect(verdict(inForce, { request: { capabilities: [{ can: 'read:reports/x' }], score: 1 } })).toBe('score_below');
  expect(verdict(inForce, { request: { capabilities: [{ can: 'read:reports/x' }], score: 900 } })).toBe('valid');
});

test('links that name a parent by a link of another kind of id do not parse', () => {
  const [payloadBytes] = decodeCbor(first.envelope) as [Uint8Array, Uint8Array[]];
  const payload = decodeCbor(payloadBytes) as Record<string, never>;
  const raw = new LinkValue(Uint8Array.from([0x01, 0x55, 0x12, 0x20, ...first.digest]));
  const bytes = encodeCbor([encodeCbor({ ...payload, prf: raw }), [...first.signatures]]);
  expect(refusalOf(() => verifyChainBytes([root.envelope, bytes], check))).toMatchObject({
    code: 'malformed',
    data: { field: 'prf', link: 1 },
  });
});
