import { describe, expect, test } from 'vitest';
import { isMeshError } from '../../../protocol/errors.ts';
import { signatureShown, signFrame, startTranscript, type Transcript } from '../../../protocol/iatp/transcript.ts';
import { parseHandshakeFrame } from '../../../protocol/iatp/frames.ts';
import {
  type PeerCheck,
  type PeerClaim,
  type PeerReport,
  verifyPeer,
  verifyStanding,
} from '../../../protocol/iatp/verify-peer.ts';
import { isSignatureValidSodium } from '../../../protocol/sodium.ts';
import { admitAll, MeshState } from '../../../protocol/state/mesh-state.ts';
import { overlayView } from '../../../protocol/state/overlay.ts';
import type { Statement } from '../../../protocol/statement/statement.ts';
import {
  createAgent,
  createChildLink,
  createCredential,
  createDeactivate,
  createHeartbeat,
  createOrganisation,
  createPerson,
  createRevocation,
  createRootLink,
  createRotate,
  createUpdate,
  type Identity,
  keyOf,
  keySet,
  NOW_MS,
  NOW_SECONDS,
  type TestKey,
} from '../../builders.ts';

type Link = Statement<'delegation/v1'>;
const acme = createOrganisation('acme');
const alice = createPerson(acme, 'alice');
const beta = createOrganisation('beta');
const bob = createPerson(beta, 'bob');
const worker = createAgent(beta, 'worker');
const colleague = createAgent(beta, 'colleague');
const ident = createRootLink(beta, bob, { aud: worker.did, cap: [{ can: 'read:reports/*' }] });
const grant = createRootLink(acme, alice, {
  aud: worker.did,
  cap: [{ can: 'read:reports/*' }, { can: 'pay:invoices/*' }],
  nonce: 'grant',
});
const ephemeral = keyOf('ephemeral');
const credential = createCredential(ident, worker, ephemeral);
const exercised = createCredential(grant, worker, ephemeral);
const q3 = [{ can: 'read:reports/q3' }];

const ground: readonly Statement[] = [
  ...[acme, alice, beta, bob, worker, colleague].map(({ genesis }) => genesis),
  ident,
  grant,
  createHeartbeat(acme),
  createHeartbeat(beta),
];

interface Case {
  /** Held beside, or after, everybody's logs, links and heartbeats. */
  readonly more?: readonly Statement[];
  /** In place of all that. */
  readonly held?: readonly Statement[];
  readonly presented?: readonly Link[];
  readonly claim?: Partial<PeerClaim>;
  readonly check?: Partial<PeerCheck>;
  readonly signer?: TestKey;
}

const transcript: Transcript = startTranscript({
  protocolId: 'a test',
  initiator: beta.node.peerId,
  responder: acme.node.peerId,
  channelBinding: new Uint8Array(32),
});
const signedBy = (key: TestKey): PeerCheck['signed'] =>
  signatureShown<'proof'>(
    'I',
    transcript,
    parseHandshakeFrame('proof', signFrame('proof', 'I', transcript, { pres: { set: [] } }, key)),
  );

function setUp({
  more = [],
  held = ground,
  presented = [],
  claim = {},
  check = {},
  signer = worker.keys.auth,
}: Case): [PeerClaim, PeerCheck] {
  const state = new MeshState();
  admitAll(state, [...held, ...more], NOW_MS);
  const full: PeerCheck = {
    view: overlayView(state, presented),
    nowMs: NOW_MS,
    askedSinceMs: NOW_MS,
    isSignatureValid: isSignatureValidSodium,
    isVerified: (link) => state.link(link.id) === link,
    roots: new Set([acme.did]),
    signed: signedBy(signer),
    wanted: q3,
    asked: check.wanted ?? q3,
    at: [acme.did],
    score: 300,
    minScore: 300,
    ...check,
  };
  return [{ did: worker.did, peer: beta.node.peerId, ident: ident.id, grant: grant.id, ...claim }, full];
}
const judge = (how: Case): PeerReport => verifyPeer(...setUp(how));

/** code, or chain:reason */
function codeOf(run: () => unknown): string | undefined {
  try {
    run();
    return undefined;
  } catch (error) {
    if (!isMeshError(error)) throw error;
    return error.code === 'chain' ? `chain:${String(error.data.reason)}` : error.code;
  }
}

describe('verifyPeer() accepts', () => {
  test('an agent with its sponsor and a grant, and says what that rests on', () => {
    const report = judge({});
    expect(report).toMatchObject({
      did: worker.did,
      organisation: beta.did,
      sponsor: bob.did,
      links: [ident.id, grant.id],
      checked: ['channel', 'peer', 'status', 'sponsor', 'signer', 'chain', 'capabilities', 'score'],
      validUntilSeconds: NOW_SECONDS + 86_400,
      rates: [],
    });
    expect(report.key).toEqual(worker.keys.auth.publicKey);
    expect(new Set(report.dids)).toEqual(new Set([worker.did, beta.did, bob.did, acme.did, alice.did]));
    expect(report.organisations).toEqual(
      new Map([
        [beta.did, 300],
        [acme.did, 300],
      ]),
    );
  });

  test('an agent by the key of its credential alone, under grant and ident alike', () => {
    const report = judge({
      presented: [credential, exercised],
      claim: { ident: credential.id, grant: exercised.id },
      signer: ephemeral,
    });
    expect(report.key).toEqual(ephemeral.publicKey);
    expect(report.validUntilSeconds).toBe(NOW_SECONDS + 900);
    expect(judge({ presented: [exercised], claim: { grant: exercised.id }, signer: ephemeral }).key).toEqual(
      ephemeral.publicKey,
    );
  });

  test('an agent that asks for nothing, by its credential and without a grant', () => {
    const { grant: none, ...claim } = {
      did: worker.did,
      peer: beta.node.peerId,
      ident: credential.id,
      grant: undefined,
    };
    const [, check] = setUp({ presented: [credential], check: { wanted: [] }, signer: ephemeral });
    expect(none).toBeUndefined();
    expect(verifyPeer(claim, check)).toMatchObject({
      grant: null,
      checked: ['channel', 'peer', 'status', 'sponsor', 'signer', 'score'],
    });
  });

  test('an organisation without a sponsor, by its own key', () => {
    const [, check] = setUp({ check: { wanted: [] }, signer: beta.keys.auth });
    expect(verifyPeer({ did: beta.did, peer: beta.node.peerId }, check)).toMatchObject({
      sponsor: null,
      links: [],
      organisation: beta.did,
      validUntilSeconds: null,
    });
  });

  test('a key that is retired with grace until that is over', () => {
    const rotated = createRotate(beta, 'beta second', { retire: [[beta.keys.auth, NOW_SECONDS + 10]] });
    const heartbeat = createHeartbeat(beta, {
      head: rotated,
      iat: NOW_SECONDS + 1,
      signers: [keySet('beta second').sign],
    });
    const at = (seconds: number) => ({ nowMs: (NOW_SECONDS + seconds) * 1000, wanted: [] });
    const verify = (seconds: number): PeerReport => {
      const [, check] = setUp({ more: [rotated, heartbeat], check: at(seconds), signer: beta.keys.auth });
      return verifyPeer({ did: beta.did, peer: beta.node.peerId }, check);
    };
    expect(verify(69).key).toEqual(beta.keys.auth.publicKey);
    expect(codeOf(() => verify(70))).toBe('bad_signature');
  });

  test('the rates of a chain that limit what is wanted, under their own links', () => {
    const limited = createChildLink(grant, worker, {
      aud: colleague.did,
      cap: q3,
      rate: [
        { can: 'read:reports/*', n: 5, per: 60 },
        { can: 'pay:invoices/*', n: 1, per: 60 },
      ],
    });
    const own = createRootLink(beta, bob, { aud: colleague.did, nonce: 'colleague' });
    const report = judge({
      more: [limited, own],
      claim: { did: colleague.did, ident: own.id, grant: limited.id },
      signer: colleague.keys.auth,
    });
    expect(report.rates).toEqual([{ link: limited.id, can: 'read:reports/*', n: 5, per: 60 }]);
  });
});

const without = (...gone: readonly Statement[]): readonly Statement[] =>
  ground.filter((statement) => !gone.includes(statement));
const heartbeats = ground.filter(({ t }) => t === 'heartbeat/v1');
const revoking = (organisation: Identity, target: Parameters<typeof createRevocation>[1]): Statement[] => {
  const revocation = createRevocation(organisation, target);
  return [revocation, createHeartbeat(organisation, { rhead: revocation, iat: NOW_SECONDS + 1 })];
};
const mine = createRootLink(acme, alice, { aud: worker.did, nonce: 'narrow', cap: [{ can: 'read:reports/q3' }] });
const forMallory = createOrganisation('mallory');
const mallorySponsor = createPerson(forMallory, 'mallory sponsor');
const malloryAgent = createAgent(forMallory, 'mallory agent');
const malloryIdent = createRootLink(forMallory, mallorySponsor, { aud: malloryAgent.did });
const malloryCredential = createCredential(malloryIdent, malloryAgent, keyOf('mallory ephemeral'));
const mallory: readonly Statement[] = [
  forMallory.genesis,
  mallorySponsor.genesis,
  malloryAgent.genesis,
  malloryIdent,
  createHeartbeat(forMallory),
];
const unsponsored = createRootLink(beta, alice, { aud: worker.did, nonce: 'foreign sponsor' });
const longIdent = createChildLink(createRootLink(beta, bob, { aud: colleague.did, nonce: 'other' }), colleague, {
  aud: worker.did,
});
const short = createRootLink(beta, bob, { aud: worker.did, nonce: 'short', exp: NOW_SECONDS + 60 });
const stricter = createRootLink(acme, alice, { aud: worker.did, nonce: 'stl', stl: 5 });
const trusted = createRootLink(acme, alice, { aud: worker.did, nonce: 'mts', mts: 500 });
const elsewhere = createRootLink(acme, alice, { aud: worker.did, nonce: 'at', at: [beta.did] });
const billing = createRootLink(acme, alice, { aud: worker.did, nonce: 'pur', pur: ['billing'] });
const bindsForeign = createRootLink(acme, alice, {
  aud: worker.did,
  nonce: 'cnf',
  cap: [{ can: 'read:reports/*' }],
  cnf: keyOf('chosen by acme').publicKey,
  exp: NOW_SECONDS + 600,
  pri: true,
});
const truncated = createChildLink(grant, worker, { aud: colleague.did, cap: q3 });
const pays = [{ can: 'pay:invoices/7' }];

const REFUSED: readonly [name: string, code: string, how: Case][] = [
  // Who it is
  ['a DID of which no log is held', 'did_unknown', { held: without(worker.genesis) }],
  ['an organisation of which no log is held', 'did_unknown', { held: [], claim: { did: beta.did } }],
  ['a PeerId that its organisation does not list', 'peer_not_bound', { claim: { peer: acme.node.peerId } }],
  [
    'a PeerId that its organisation does not list any more',
    'peer_not_bound',
    { more: [createUpdate(beta, { nodes: [keyOf('new node')] })] },
  ],
  ['an organisation that is frozen', 'did_forked', { more: [createRotate(beta, 'one'), createRotate(beta, 'two')] }],
  ['an organisation that is deactivated', 'did_deactivated', { more: [createDeactivate(beta)] }],
  ['a person', 'policy_denied', { claim: { did: bob.did } }],
  // What is known of it
  ['an organisation without a heartbeat', 'status_stale', { held: without(...heartbeats) }],
  ['a heartbeat older than reads tolerate', 'status_stale', { check: { nowMs: NOW_MS + 301_000 } }],
  [
    'a heartbeat older than writes tolerate',
    'status_stale',
    { check: { nowMs: NOW_MS + 61_000, wanted: [{ can: 'write:notes/1' }] } },
  ],
  ['a heartbeat that does not answer a question, for what is critical', 'status_stale', { check: { wanted: pays } }],
  [
    'a heartbeat that names a revocation that is not held',
    'status_stale',
    { more: revoking(beta, colleague).slice(1) },
  ],
  [
    'a heartbeat that names an operation that is not held',
    'status_stale',
    { more: [createHeartbeat(beta, { head: createUpdate(beta), iat: NOW_SECONDS + 1 })] },
  ],
  // Its sponsor
  ['an agent that shows no root link', 'sponsor_missing', { claim: { ident: undefined } as never }],
  [
    'an agent that shows a root link of another',
    'sponsor_missing',
    { more: mallory, claim: { ident: malloryIdent.id } },
  ],
  [
    'an agent that shows the grant of another organisation as its own',
    'sponsor_missing',
    { claim: { ident: grant.id } },
  ],
  [
    'an agent that shows a delegation by a colleague as its own',
    'sponsor_missing',
    {
      presented: [longIdent],
      more: [createRootLink(beta, bob, { aud: colleague.did, nonce: 'other' })],
      claim: { ident: longIdent.id },
    },
  ],
  [
    'a sponsor of another organisation',
    'sponsor_missing',
    { presented: [unsponsored], claim: { ident: unsponsored.id } },
  ],
  ['a root link that is not held', 'chain:broken_link', { held: without(ident) }],
  [
    'a root link that is over',
    'chain:expired',
    {
      more: [short, createHeartbeat(beta, { iat: NOW_SECONDS + 121 })],
      claim: { ident: short.id },
      check: { nowMs: NOW_MS + 121_000 },
    },
  ],
  ['a revoked sponsor', 'sponsor_revoked', { more: revoking(beta, bob) }],
  ['a sponsor whose key is revoked', 'sponsor_revoked', { more: revoking(beta, { of: bob, key: bob.keys.delegate }) }],
  ['a sponsor that is deactivated', 'sponsor_revoked', { more: [createDeactivate(bob)] }],
  ['an agent that is revoked', 'chain:revoked', { more: revoking(beta, worker) }],
  ['a root link that is revoked', 'chain:revoked', { more: revoking(beta, ident) }],
  // Who signed
  ['a key that is not for speaking', 'bad_signature', { signer: worker.keys.sign }],
  ['the key of a colleague', 'bad_signature', { signer: colleague.keys.auth }],
  ['the key of its organisation', 'bad_signature', { signer: beta.keys.auth }],
  ['an attacker who signs as a victim', 'bad_signature', { more: mallory, signer: malloryAgent.keys.auth }],
  [
    'the long-lived key where a credential binds another',
    'bad_signature',
    { presented: [exercised], claim: { grant: exercised.id } },
  ],
  ['an ephemeral key without the credential that binds it', 'bad_signature', { signer: ephemeral }],
  [
    'two credentials that bind two keys',
    'chain:holder_mismatch',
    {
      presented: [exercised, createCredential(ident, worker, keyOf('other'))],
      claim: { grant: exercised.id, ident: createCredential(ident, worker, keyOf('other')).id },
      signer: ephemeral,
    },
  ],
  [
    'a key that another organisation binds, and chose',
    'chain:holder_mismatch',
    { presented: [bindsForeign], claim: { grant: bindsForeign.id }, signer: keyOf('chosen by acme') },
  ],
  ['a key that is revoked', 'bad_signature', { more: revoking(beta, { of: worker, key: worker.keys.auth }) }],
  // Its chain
  ['a chain from a root that is not trusted', 'chain:unknown_root', { check: { roots: new Set([beta.did]) } }],
  ['no trusted root at all', 'chain:unknown_root', { check: { roots: new Set() } }],
  ['a chain that is not held', 'chain:broken_link', { held: without(grant) }],
  ['a chain that is revoked', 'chain:revoked', { more: revoking(acme, grant) }],
  [
    'a chain whose root cannot be known recently enough',
    'chain:status_stale',
    { held: [...without(...heartbeats), createHeartbeat(beta)] },
  ],
  [
    'a chain that tolerates less than is known',
    'chain:status_stale',
    {
      more: [stricter, createHeartbeat(beta, { iat: NOW_SECONDS + 6 })],
      claim: { grant: stricter.id },
      check: { nowMs: NOW_MS + 6_000 },
    },
  ],
  [
    'a chain cut back to a link that is for another',
    'chain:holder_mismatch',
    {
      more: [truncated],
      claim: { did: colleague.did, ident: createRootLink(beta, bob, { aud: colleague.did }).id },
      presented: [createRootLink(beta, bob, { aud: colleague.did })],
      signer: colleague.keys.auth,
    },
  ],
  [
    'a chain that another holds',
    'chain:holder_mismatch',
    {
      more: [...mallory],
      claim: { did: malloryAgent.did, peer: forMallory.node.peerId, ident: malloryIdent.id },
      signer: malloryAgent.keys.auth,
    },
  ],
  // What it may
  [
    'more than the chain covers',
    'caps_insufficient',
    { more: [mine], claim: { grant: mine.id }, check: { wanted: [{ can: 'read:reports/q4' }] } },
  ],
  [
    'every resource where some are covered',
    'caps_insufficient',
    {
      more: [
        createRootLink(acme, alice, {
          aud: worker.did,
          nonce: 'res',
          cap: [{ can: 'read:reports/q3', res: ['s3://a/'] }],
        }),
      ],
      claim: {
        grant: createRootLink(acme, alice, {
          aud: worker.did,
          nonce: 'res',
          cap: [{ can: 'read:reports/q3', res: ['s3://a/'] }],
        }).id,
      },
    },
  ],
  ['anything without a chain', 'caps_insufficient', { claim: { grant: undefined } as never }],
  [
    'use at a place that the chain does not name',
    'caps_insufficient',
    { more: [elsewhere], claim: { grant: elsewhere.id } },
  ],
  [
    'a purpose that the chain does not name',
    'caps_insufficient',
    { more: [billing], claim: { grant: billing.id }, check: { purpose: 'curiosity' } },
  ],
  ['no purpose where the chain wants one', 'caps_insufficient', { more: [billing], claim: { grant: billing.id } }],
  // Trust
  ['a score below the minimum', 'score_below', { check: { minScore: 301 } }],
  ['a score below the minimum of the chain', 'score_below', { more: [trusted], claim: { grant: trusted.id } }],
];

describe('verifyPeer() refuses', () => {
  test.each(REFUSED)('%s: %s', (_, code, how) => {
    expect(codeOf(() => judge(how))).toBe(code);
  });

  test("to take an agent's credential for its organisation's word", () => {
    // The credential is genuine and its holder signs; but it speaks for the agent, not for the organisation.
    const [, check] = setUp({ presented: [credential], check: { wanted: [] }, signer: ephemeral });
    const view = overlayView(check.view, [exercised]);
    const claim = { did: beta.did, peer: beta.node.peerId };
    expect(codeOf(() => verifyPeer({ ...claim, ident: credential.id }, { ...check, view }))).toBe('bad_signature');
    expect(codeOf(() => verifyPeer({ ...claim, grant: exercised.id }, { ...check, view }))).toBe(
      'chain:holder_mismatch',
    );
  });

  test('to take the credential of one agent for another, whoever presents it', () => {
    const how: Case = {
      more: mallory,
      presented: [malloryCredential],
      claim: { ident: malloryCredential.id, grant: undefined } as never,
      check: { wanted: [] },
      signer: keyOf('mallory ephemeral'),
    };
    expect(codeOf(() => judge(how))).toBe('sponsor_missing');
  });

  test("to take a colleague's root link for one's own", () => {
    const theirs = createRootLink(beta, bob, { aud: colleague.did });
    expect(codeOf(() => judge({ more: [theirs], claim: { ident: theirs.id } }))).toBe('sponsor_missing');
  });

  test('to take who was delegated to for who delegated, by the key bound in between', () => {
    const theirs = keyOf('ephemeral of a colleague');
    const passed = createChildLink(ident, worker, {
      aud: colleague.did,
      cnf: theirs.publicKey,
      pri: true,
      exp: NOW_SECONDS + 900,
    });
    const [, check] = setUp({ presented: [passed], check: { wanted: [] }, signer: theirs });
    const claim = { did: worker.did, peer: beta.node.peerId };
    expect(codeOf(() => verifyPeer({ ...claim, ident: passed.id }, check))).toBe('sponsor_missing');
    const trusting = { ...check, roots: new Set([beta.did]) };
    expect(codeOf(() => verifyPeer({ ...claim, ident: ident.id, grant: passed.id }, trusting))).toBe(
      'chain:holder_mismatch',
    );
  });

  test('a chain of which less is known than the handshake is about, though nothing is wanted of it', () => {
    const fresh = createHeartbeat(beta, { iat: NOW_SECONDS + 60 });
    const check = { nowMs: NOW_MS + 100_000, wanted: [] };
    expect(codeOf(() => judge({ more: [fresh], check: { ...check, asked: q3 } }))).toBeUndefined();
    const writing = { ...check, asked: [{ can: 'write:notes/1' }] };
    expect(codeOf(() => judge({ more: [fresh], check: writing }))).toBe('chain:status_stale');
  });

  test("a private link whose signature is not its issuer's", () => {
    const forged = createCredential(ident, worker, keyOf('mallory'), { signers: [keyOf('mallory')] });
    expect(codeOf(() => judge({ presented: [forged], claim: { ident: forged.id }, signer: keyOf('mallory') }))).toBe(
      'chain:key_unknown',
    );
  });

  test('in the documented order: nothing later is told before what comes first', () => {
    const bad: Case = {
      claim: { peer: acme.node.peerId, ident: undefined } as never,
      check: { nowMs: NOW_MS + 400_000, minScore: 999, roots: new Set() },
      signer: keyOf('x'),
    };
    expect(codeOf(() => judge(bad))).toBe('peer_not_bound');
    const bound: Case = { ...bad, claim: { ident: undefined } as never };
    expect(codeOf(() => judge(bound))).toBe('status_stale');
    const fresh: Case = { ...bound, check: { ...bad.check, nowMs: NOW_MS } };
    expect(codeOf(() => judge(fresh))).toBe('sponsor_missing');
    const sponsored: Case = { ...fresh, claim: {} };
    expect(codeOf(() => judge(sponsored))).toBe('bad_signature');
    const speaking: Case = { ...sponsored, signer: worker.keys.auth };
    expect(codeOf(() => judge(speaking))).toBe('chain:unknown_root');
    const chained: Case = {
      ...speaking,
      check: {
        nowMs: NOW_MS,
        minScore: 999,
        wanted: [{ can: 'admin:all' }],
        asked: q3,
        staleness: { readSeconds: 300, writeSeconds: 60, criticalDomains: [] },
      },
    };
    expect(codeOf(() => judge(chained))).toBe('caps_insufficient');
    expect(codeOf(() => judge({ check: { minScore: 999 } }))).toBe('score_below');
  });
});

describe('what is critical', () => {
  test('is decided on answers to questions asked for this decision', () => {
    const answered = (askedMs: number): string | undefined => {
      const state = new MeshState();
      admitAll(state, ground, NOW_MS);
      for (const organisation of [acme, beta]) {
        state.admit(createHeartbeat(organisation, { nonce: new Uint8Array(16), iat: NOW_SECONDS + 1 }), NOW_MS, {
          askedMs,
        });
      }
      const [claim, check] = setUp({ check: { wanted: pays } });
      return codeOf(() => verifyPeer(claim, { ...check, view: state }));
    };
    expect(answered(NOW_MS)).toBeUndefined();
    expect(answered(NOW_MS - 1)).toBe('status_stale');
  });
});

describe('verifyStanding()', () => {
  const standing = (how: Case): string | undefined => {
    const [claim, check] = setUp(how);
    return codeOf(() =>
      verifyStanding(claim, { ...check, signed: { key: (how.signer ?? worker.keys.auth).publicKey } }),
    );
  };

  test('holds however old knowledge is', () => {
    expect(standing({})).toBeUndefined();
    expect(standing({ check: { nowMs: NOW_MS + 3_000_000 } })).toBeUndefined();
    expect(standing({ held: without(...heartbeats) })).toBeUndefined();
  });

  test.each<[string, string, Case]>([
    ['the grant is revoked', 'chain:revoked', { more: revoking(acme, grant) }],
    ['the root link is revoked', 'chain:revoked', { more: revoking(beta, ident) }],
    ['the agent is revoked', 'chain:revoked', { more: revoking(beta, worker) }],
    ['the sponsor is revoked', 'sponsor_revoked', { more: revoking(beta, bob) }],
    [
      'the key that signed is revoked',
      'chain:key_retired',
      { more: revoking(beta, { of: worker, key: worker.keys.auth }) },
    ],
    ['the organisation forks', 'did_forked', { more: [createRotate(beta, 'one'), createRotate(beta, 'two')] }],
    ['the root of its grant is deactivated', 'chain:did_deactivated', { more: [createDeactivate(acme)] }],
    ['the PeerId is listed no more', 'peer_not_bound', { more: [createUpdate(beta, { nodes: [keyOf('new node')] })] }],
    [
      'the key that signed the grant is retired as dead',
      'chain:key_retired',
      { more: [createRotate(acme, 'acme second', { retire: [[acme.keys.delegate, null]] })] },
    ],
    ['roots are trusted no more', 'chain:unknown_root', { check: { roots: new Set() } }],
    ['the links are over', 'chain:expired', { check: { nowMs: NOW_MS + 86_400_000 + 61_000 } }],
  ])('ends when %s', (_, code, how) => {
    expect(standing(how)).toBe(code);
    expect(standing({ ...how, held: (how.held ?? ground).filter(({ t }) => t !== 'heartbeat/v1') })).toBe(code);
  });

  test('of an organisation ends when its key is retired as dead', () => {
    const rotated = createRotate(beta, 'beta second', { retire: [[beta.keys.auth, null]] });
    const [, check] = setUp({ more: [rotated] });
    const claim = { did: beta.did, peer: beta.node.peerId };
    expect(codeOf(() => verifyStanding(claim, { ...check, signed: { key: beta.keys.auth.publicKey } }))).toBe(
      'chain:key_retired',
    );
    expect(
      codeOf(() => verifyStanding(claim, { ...check, signed: { key: keySet('beta second').auth.publicKey } })),
    ).toBeUndefined();
  });
});
