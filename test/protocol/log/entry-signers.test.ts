import { describe, expect, test } from 'vitest';
import { toBase64url } from '../../../protocol/encoding/bytes.ts';
import { encodeCbor } from '../../../protocol/encoding/cbor.ts';
import { LOG_CREDENTIALS_AN_AGENT_MAX, SKEW_SECONDS } from '../../../protocol/limits.ts';
import { EntrySigners, type ParsedEntry, parseEntry } from '../../../protocol/log/index.ts';
import { isSignatureValidSodium } from '../../../protocol/sodium.ts';
import {
  createAgent,
  createChildLink,
  createCredential,
  createOrganisation,
  createRotate,
  keyOf,
  keySet,
  NOW_MS,
  NOW_SECONDS,
} from '../../builders.ts';
import {
  acme,
  actionEntry,
  agent,
  alice,
  beta,
  credential,
  credentialEntry,
  entryOf,
  ephemeral,
  opened,
  operationEntry,
  rootLink,
  time,
} from './entry-sample.ts';
import { codeOf } from './sample.ts';

/** Of each entry the DID whose key signed it, until one is refused: then the code. */
function reading(...entries: readonly ParsedEntry[]): string[] {
  const signers = new EntrySigners(isSignatureValidSodium);
  const out: string[] = [];
  try {
    for (const { bytes } of entries) out.push(signers.read(parseEntry(bytes)));
    signers.end();
  } catch (error) {
    out.push(
      codeOf(() => {
        throw error;
      }),
    );
  }
  return out;
}
const last = (...entries: readonly ParsedEntry[]): string | undefined => reading(...entries).at(-1);

const opening = [opened(), operationEntry(acme.genesis, acme.did)] as const;
const known = [...opening, operationEntry(alice.genesis, alice.did), operationEntry(agent.genesis, agent.did)] as const;
const started = entryOf('daemon.started', { version: '1' });
const rotation = createRotate(acme, 'acme second');
const second = keySet('acme second');

describe('the log shows whose keys sign', () => {
  test('the organisation for the daemon, the agent for itself', () => {
    const byAgent = entryOf(
      'session.ended',
      { as: agent.did, direction: 'outbound', code: 'closed' },
      { actor: agent.did },
    );
    expect(reading(...known, started, actionEntry(), byAgent)).toEqual([
      ...known.map(() => acme.did),
      acme.did,
      agent.did,
      acme.did,
    ]);
  });

  test('an agent by its credential, once that is in the log and until it expires', () => {
    const at = (seconds: number): ParsedEntry =>
      actionEntry({ key: ephemeral, timeMs: (NOW_SECONDS + seconds) * 1000 });
    expect(last(...known, at(1))).toBe('key_unknown');
    expect(last(...known, credentialEntry(), at(1))).toBe(agent.did);
    expect(last(...known, credentialEntry(), at(900 + SKEW_SECONDS))).toBe(agent.did);
    expect(last(...known, credentialEntry(), at(900 + SKEW_SECONDS + 1))).toBe('key_unknown');
  });

  test('a key that an operation lists, from there on, and the one before for what it signed', () => {
    const rotated = operationEntry(rotation, acme.did);
    const by = (key: typeof second.sign): ParsedEntry => entryOf('daemon.started', { version: '1' }, {}, { key });
    expect(last(...known, by(second.sign))).toBe('key_unknown');
    expect(last(...known, rotated, by(second.sign))).toBe(acme.did);
    expect(last(...known, rotated, by(acme.keys.sign))).toBe(acme.did);
    // An agent that joined after the rotation is signed for by the new key.
    const late = createAgent(acme, 'late worker', { controllerKey: second.sign });
    expect(last(...known, operationEntry(late.genesis, late.did))).toBe('key_unknown');
    expect(last(...known, rotated, operationEntry(late.genesis, late.did))).toBe(acme.did);
  });

  test('an agent for its own operation, right behind the opening', () => {
    const genesis = operationEntry(agent.genesis, agent.did, { key: agent.keys.sign, actor: agent.did });
    expect(reading(...opening, genesis)).toEqual([acme.did, acme.did, agent.did]);
    expect(last(...opening, operationEntry(agent.genesis, agent.did, { key: agent.keys.auth, actor: agent.did }))).toBe(
      'key_unknown',
    );
  });

  test('operations may come twice', () => {
    expect(
      last(...known, ...known.slice(1), operationEntry(rotation, acme.did), operationEntry(rotation, acme.did)),
    ).toBe(acme.did);
  });
});

describe('the opening of a log', () => {
  test('is settled by its own operations', () => {
    expect(reading(...opening)).toEqual([acme.did, acme.did]);
    expect(last(opened())).toBe('key_unknown');
    expect(last(opened(), started)).toBe('key_unknown');
    expect(last(started)).toBe('key_unknown');
  });

  test('by a key that comes with a later operation of it', () => {
    const key = second.sign;
    const [genesis, rotated] = [
      operationEntry(acme.genesis, acme.did, { key }),
      operationEntry(rotation, acme.did, { key }),
    ];
    expect(last(opened({ key }), genesis, rotated, started)).toBe(acme.did);
    expect(last(opened({ key }), genesis, started, rotated)).toBe('key_unknown');
  });

  test('by a key of nobody, or of another use, is refused once it ends', () => {
    for (const key of [beta.keys.sign, acme.keys.auth, acme.keys.delegate, acme.node, ephemeral]) {
      expect(last(opened({ key }), opening[1]), key.text).toBe('key_unknown');
      expect(last(opened({ key }), opening[1], started), key.text).toBe('key_unknown');
      expect(last(opened(), operationEntry(acme.genesis, acme.did, { key })), key.text).toBe('key_unknown');
    }
  });
});

describe('nobody signs', () => {
  test('for an agent that says what it did, but the agent', () => {
    for (const key of [acme.keys.sign, alice.keys.sign, agent.keys.auth, agent.keys.delegate, beta.keys.sign])
      expect(last(...known, actionEntry({ key })), key.text).toBe('key_unknown');
  });

  test('for the organisation, but its own key', () => {
    for (const key of [agent.keys.sign, acme.keys.delegate, acme.node, beta.keys.sign])
      expect(last(...known, entryOf('daemon.started', { version: '1' }, {}, { key })), key.text).toBe('key_unknown');
  });

  test('for an agent that the log has not shown', () => {
    expect(last(...opening, actionEntry())).toBe('key_unknown');
  });

  test('in the name of another organisation', () => {
    const foreign = entryOf(
      'daemon.started',
      { version: '1' },
      { actor: beta.did },
      { source: beta.did, key: beta.keys.sign },
    );
    expect(last(...known, foreign)).toBe('not_entitled');
    expect(last(...known, operationEntry(beta.genesis, beta.did))).toBe('not_entitled');
    const stranger = createAgent(beta, 'stranger');
    expect(last(...known, operationEntry(stranger.genesis, stranger.did))).toBe('not_entitled');
  });
});

describe('an operation does not show keys', () => {
  test('if its signatures do not verify', () => {
    const { payloadBytes, signatures } = agent.genesis;
    const forged = encodeCbor([payloadBytes, [...signatures].reverse()]);
    const entry = entryOf('did.operation', {
      did: agent.did,
      operation: 'genesis',
      seq: 0,
      statement: toBase64url(forged),
    });
    expect(last(...opening, entry)).toBe('bad_signature');
  });

  test('of an agent that the organisation did not sign for', () => {
    const made = createAgent(acme, 'smuggled', { controllerKey: acme.keys.auth });
    expect(last(...opening, operationEntry(made.genesis, made.did))).toBe('key_unknown');
  });

  test('without the one that it follows, or by keys that were not committed to', () => {
    expect(last(opened(), operationEntry(rotation, acme.did))).toBe('pending');
    const stolen = createRotate(acme, 'acme thief', { signers: [acme.keys.sign] });
    expect(last(...known, operationEntry(stolen, acme.did))).toBe('not_entitled');
  });

  test.each([
    ['did', { did: beta.did }],
    ['operation', { operation: 'update' }],
    ['seq', { seq: 1 }],
  ] as const)('if the entry says another "%s"', (_, change) => {
    const entry = entryOf('did.operation', {
      did: agent.did,
      operation: 'genesis',
      seq: 0,
      statement: toBase64url(agent.genesis.envelope),
      ...change,
    });
    expect(last(...opening, entry)).toBe('schema');
  });

  test('if it is no operation', () => {
    const entry = (statement: Uint8Array): ParsedEntry =>
      entryOf('did.operation', { did: agent.did, operation: 'genesis', seq: 0, statement: toBase64url(statement) });
    expect(last(...opening, entry(rootLink.envelope))).toBe('schema');
    expect(last(...opening, entry(Uint8Array.of(1)))).toBe('malformed');
  });
});

describe('a credential does not bind a key', () => {
  const reads = (entry: ParsedEntry): string | undefined => last(...known, entry);

  test.each([
    ['did', { did: alice.did }],
    ['leaf', { leaf: rootLink.id }],
    ['key', { key: beta.keys.sign.text }],
    ['until', { until: time(NOW_SECONDS + 901) }],
  ])('if the entry says another "%s"', (_, change) => {
    expect(reads(credentialEntry())).toBe(acme.did);
    expect(reads(credentialEntry(credential, change))).toBe('schema');
  });

  test('if it is a link to somebody else', () => {
    const change = { did: acme.did, until: time(rootLink.payload.exp) };
    expect(reads(credentialEntry(rootLink, change))).toBe('schema');
  });

  test('if it is a link to somebody else that binds a key', () => {
    const bound = createChildLink(rootLink, agent, {
      aud: alice.did,
      cnf: ephemeral.publicKey,
      pri: true,
      exp: NOW_SECONDS + 900,
    });
    expect(reads(credentialEntry(bound))).toBe('schema');
  });

  test('that the agent did not sign: the organisation alone cannot give it one', () => {
    const made = createCredential(rootLink, agent, ephemeral, { signers: [acme.keys.delegate] });
    expect(reads(credentialEntry(made))).toBe('key_unknown');
    const byAuth = createCredential(rootLink, agent, ephemeral, { signers: [agent.keys.auth] });
    expect(reads(credentialEntry(byAuth))).toBe('key_unknown');
  });

  test('of an agent that the log has not shown', () => {
    expect(last(...opening, credentialEntry())).toBe('key_unknown');
  });

  test('whose signature does not verify', () => {
    const forged = encodeCbor([credential.payloadBytes, [new Uint8Array(64)]]);
    expect(reads(credentialEntry(credential, { statement: toBase64url(forged) }))).toBe('bad_signature');
  });

  test('for ever: of one agent the newest LOG_CREDENTIALS_AN_AGENT_MAX are remembered', () => {
    const keys = Array.from({ length: LOG_CREDENTIALS_AN_AGENT_MAX + 1 }, (_, i) => keyOf(`ephemeral ${i}`));
    const entries = keys.map((key, i) => {
      const link = createCredential(rootLink, agent, key, { nonce: String(i) });
      return credentialEntry(link, { key: key.text });
    });
    const by = (i: number): ParsedEntry => actionEntry({ key: keys[i] as (typeof keys)[0], timeMs: NOW_MS });
    expect(last(...known, ...entries, by(1))).toBe(agent.did);
    expect(last(...known, ...entries, by(0))).toBe('key_unknown');
    expect(last(...known, ...entries.slice(0, -1), by(0))).toBe(agent.did);
  });
});

test('verifyOrganisationKey() knows the keys that operations listed to sign', () => {
  const signers = new EntrySigners(isSignatureValidSodium);
  const code = (key: Uint8Array): string => codeOf(() => signers.verifyOrganisationKey(key));
  expect(code(acme.keys.sign.publicKey)).toBe('key_unknown');
  for (const entry of known) signers.read(entry);
  expect(code(acme.keys.sign.publicKey)).toBe('accepted');
  expect(code(acme.keys.auth.publicKey)).toBe('key_unknown');
  expect(code(createOrganisation('gamma').keys.sign.publicKey)).toBe('key_unknown');
});
