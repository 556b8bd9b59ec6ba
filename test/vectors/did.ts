/** Vectors of DID states: sets of operations, in any order, and what they come to. */
import {
  admitAll,
  type DidState,
  fromHex,
  isMeshError,
  MeshState,
  multikeyText,
  parseStatement,
  signStatement,
  toHex,
  verifySignatures,
} from '../../protocol/index.ts';
import { isSignatureValidSodium } from '../../protocol/sodium.ts';
import {
  createAgent,
  createDeactivate,
  createOrganisation,
  createPerson,
  createRecover,
  createRotate,
  createUpdate,
  type Identity,
  keyOf,
  keySet,
  NOW_MS,
  NOW_SECONDS,
  type Operation,
} from '../builders.ts';
import type { InvalidVector, ValidVector, VectorSet } from './vectors.ts';

const SOURCE = 'DID operations';
const acme = createOrganisation('acme');
const beta = createOrganisation('beta');
const alice = createPerson(acme, 'alice');
const agent = createAgent(acme, 'agent');

interface Expected {
  readonly status: DidState['status'];
  readonly head: Operation;
  readonly contested?: true;
}

export function stateOf(did: string, envelopes: readonly string[]): DidState {
  const statements = envelopes.map((envelope) => parseStatement(fromHex(envelope) ?? new Uint8Array()));
  for (const statement of statements) verifySignatures(statement, isSignatureValidSodium);
  const state = new MeshState();
  admitAll(state, statements, NOW_MS + 86_400_000);
  const found = state.didState(did);
  if (found === undefined) throw new Error(`"${did}" has no state`);
  return found;
}

/** What a state says, as JSON. */
export const stateJson = (state: DidState): object => ({
  kind: state.kind,
  organisation: state.organisation,
  status: state.status,
  head: state.head,
  seq: state.seq,
  contested: state.contested,
  keys: state.keys.map(([key, uses]) => ({ key: multikeyText(key), uses })),
  standings: [...state.listed]
    .map(([key, standing]) => ({
      key: multikeyText(fromHex(key) ?? new Uint8Array()),
      ...standing,
      ...('kept' in standing ? { kept: [...standing.kept].sort() } : {}),
    }))
    .sort((a, b) => (a.key < b.key ? -1 : 1)),
  peers: state.peers,
  services: state.services,
  next: { commitments: state.next.commitments.map(toHex), threshold: state.next.threshold },
  recovery: { commitments: state.recovery.commitments.map(toHex), threshold: state.recovery.threshold },
});

/** The state is this implementation's, held to what the case was made to show. */
function valid(
  identity: Identity,
  operations: readonly Operation[],
  { status, head, contested }: Expected,
): ValidVector {
  const envelopes = operations.map(({ envelope }) => toHex(envelope));
  const state = stateOf(identity.did, envelopes);
  if (state.status !== status || state.head !== head.id || state.contested !== (contested ?? false))
    throw new Error(`The vector is "${state.status}" at "${state.head}", want "${status}" at "${head.id}"`);
  return { source: SOURCE, did: identity.did, operations: envelopes, state: stateJson(state) };
}

/** The last operation is refused where all others are held. */
const invalid = (held: readonly Operation[], operation: Operation): InvalidVector => ({
  source: SOURCE,
  code: 'not_entitled',
  held: held.map(({ envelope }) => toHex(envelope)),
  operation: toHex(operation.envelope),
});

export function refusalOfOperation(held: readonly string[], operation: string): string | undefined {
  const state = new MeshState();
  admitAll(
    state,
    held.map((envelope) => parseStatement(fromHex(envelope) ?? new Uint8Array())),
    NOW_MS + 86_400_000,
  );
  try {
    const statement = parseStatement(fromHex(operation) ?? new Uint8Array());
    verifySignatures(statement, isSignatureValidSodium);
    const admission = state.admit(statement, NOW_MS + 86_400_000);
    return admission.verdict === 'reject' ? admission.code : undefined;
  } catch (error) {
    if (isMeshError(error)) return error.code;
    throw error;
  }
}

const second = createRotate(acme, 'acme second', { retire: [[acme.keys.sign, NOW_SECONDS + 3600]] });
const rival = createRotate(acme, 'acme rival', { retire: [[acme.keys.sign, null]] });
const third = createRotate(acme, 'acme third', {
  prv: second,
  signers: [keyOf('acme second next')],
  retire: [[keySet('acme second').delegate, null]],
});
const recover = createRecover(acme, 'acme recovered');
const recoverLater = createRecover(acme, 'acme recovered', { prv: third });
const otherRecover = createRecover(acme, 'acme recovered otherwise', { prv: second });
const update = createUpdate(acme, { services: [['libp2p', '/ip4/192.0.2.1/tcp/4001']] });
const otherUpdate = createUpdate(acme, { services: [['libp2p', '/ip4/192.0.2.2/tcp/4001']] });
const lowest = [update, otherUpdate].sort((a, b) => (toHex(a.digest) < toHex(b.digest) ? -1 : 1))[0] as Operation;
const afterUpdate = createRotate(acme, 'acme second', { prv: otherUpdate });
const signedBy = (name: string): { signers: ReturnType<typeof keyOf>[] } => ({ signers: [keyOf(name)] });

export const didVectors: VectorSet = {
  valid: {
    'organisation-at-its-genesis': valid(acme, [acme.genesis], { status: 'active', head: acme.genesis }),
    'agent-under-its-organisation': valid(agent, [acme.genesis, agent.genesis], {
      status: 'active',
      head: agent.genesis,
    }),
    'two-rotates-in-a-row': valid(acme, [acme.genesis, second, third], { status: 'active', head: third }),
    'rotate-beside-the-one-before-it': valid(acme, [third, acme.genesis, second, third], {
      status: 'active',
      head: third,
    }),
    'two-rotates-that-answer-one-commitment': valid(acme, [acme.genesis, second, rival], {
      status: 'frozen',
      head: acme.genesis,
      contested: true,
    }),
    'two-rotates-and-one-built-upon': valid(acme, [acme.genesis, second, rival, third], {
      status: 'frozen',
      head: acme.genesis,
      contested: true,
    }),
    'recover-after-a-freeze': valid(acme, [acme.genesis, second, rival, recover], { status: 'active', head: recover }),
    'recover-beside-rotates': valid(acme, [acme.genesis, second, third, recover], { status: 'active', head: recover }),
    'recover-below-rotates': valid(acme, [acme.genesis, second, third, recoverLater], {
      status: 'active',
      head: recoverLater,
    }),
    'two-recovers': valid(acme, [acme.genesis, second, recover, otherRecover], {
      status: 'deactivated',
      head: acme.genesis,
      contested: true,
    }),
    'competing-updates': valid(acme, [acme.genesis, update, otherUpdate], {
      status: 'active',
      head: lowest,
      contested: true,
    }),
    'rotate-below-one-of-competing-updates': valid(acme, [acme.genesis, update, otherUpdate, afterUpdate], {
      status: 'active',
      head: afterUpdate,
    }),
    'deactivate-beside-a-recover': valid(acme, [acme.genesis, createDeactivate(acme), recover], {
      status: 'deactivated',
      head: createDeactivate(acme),
    }),
    'deactivate-of-a-person-by-a-recovery-quorum': valid(
      alice,
      [acme.genesis, alice.genesis, createDeactivate(alice, { signers: alice.recovery.slice(0, 2) })],
      { status: 'deactivated', head: createDeactivate(alice, { signers: alice.recovery.slice(0, 2) }) },
    ),
  },
  invalid: {
    'genesis-signed-by-a-key-that-it-does-not-list': invalid([], createUnlisted()),
    'rotate-by-a-key-not-committed-to': invalid([acme.genesis], createRotate(acme, 'acme second', signedBy('a thief'))),
    'rotate-by-the-sign-key': invalid([acme.genesis], createRotate(acme, 'acme second', { signers: [acme.keys.sign] })),
    'rotate-with-a-stranger-beside': invalid(
      [acme.genesis],
      createRotate(acme, 'acme second', { signers: [acme.next, keyOf('a thief')] }),
    ),
    'rotate-of-an-agent-without-commitments': invalid(
      [acme.genesis, agent.genesis],
      createRotate(agent, 'agent second', { signers: [agent.keys.sign] }),
    ),
    'rotate-by-the-commitment-before-last': invalid(
      [acme.genesis, second],
      createRotate(acme, 'acme third', { prv: second, signers: [acme.next] }),
    ),
    'recover-below-its-threshold': invalid(
      [acme.genesis],
      createRecover(acme, 'acme recovered', { signers: [...acme.recovery.slice(0, 1), acme.node] }),
    ),
    'recover-without-the-signature-of-a-peer-id': invalid(
      [acme.genesis],
      createRecover(acme, 'acme recovered', { signers: acme.recovery.slice(0, 2) }),
    ),
    'update-by-a-key-of-another-use': invalid(
      [acme.genesis],
      createUpdate(acme, { signers: [acme.keys.auth, acme.node] }),
    ),
    'update-by-a-retired-key': invalid([acme.genesis, second], createUpdate(acme, { prv: second })),
    'update-claiming-a-peer-id-that-did-not-sign': invalid(
      [acme.genesis],
      createUpdate(acme, { nodes: [keyOf('another node')], signers: [acme.keys.sign, acme.node] }),
    ),
    'update-of-a-person-with-a-peer-id': invalid(
      [acme.genesis, alice.genesis],
      createUpdate(alice, { nodes: [acme.node] }),
    ),
    'seq-that-skips': invalid([acme.genesis], createRotate(acme, 'acme second', { seq: 2 })),
    'prv-of-another-did': invalid(
      [acme.genesis, beta.genesis],
      createRotate(acme, 'acme second', { prv: beta.genesis }),
    ),
    'successor-of-a-deactivate': invalid(
      [acme.genesis, createDeactivate(acme)],
      createRecover(acme, 'acme recovered', { prv: createDeactivate(acme) }),
    ),
    'agent-of-an-agent': invalid([acme.genesis, agent.genesis], createAgent(agent, 'agent of an agent').genesis),
  },
};

/** A genesis of its own fields, signed by a key of another. */
function createUnlisted(): Operation {
  const { genesis } = createAgent(acme, 'unlisted');
  const { by: _, ...fields } = genesis.payload;
  return signStatement<'didop/v1'>(fields, [keyOf('a thief'), acme.keys.sign]);
}
