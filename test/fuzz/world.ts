/** A small mesh whose statements the fuzzers start from: two organisations, a person, agents, a chain, revocations. */
import {
  type Cbor,
  decodeCbor,
  encodeCbor,
  isKindName,
  KINDS,
  Link,
  SIGNATURE_BYTES,
  type Statement,
  signingInput,
  toHex,
} from '../../protocol/index.ts';
import { createHalfReceipt, createOrder, createTaking } from '../../protocol/receipt/index.ts';
import {
  createAgent,
  createChildLink,
  createCredential,
  createDeactivate,
  createHeartbeat,
  createOrganisation,
  createPerson,
  createRecover,
  createRevocation,
  createRevocations,
  createRootLink,
  createRotate,
  createUpdate,
  type Identity,
  keyOf,
  keySet,
  NOW_MS,
  type TestKey,
} from '../builders.ts';
import { createBinding, createCheckpoint, createFork, ownLog, ownWitness } from '../protocol/log/own-log.ts';

import type { SeededRandom } from './random.ts';

export { NOW_MS };
export const acme: Identity = createOrganisation('fuzz acme');
export const beta: Identity = createOrganisation('fuzz beta');
export const alice: Identity = createPerson(acme, 'fuzz alice');
export const agent: Identity = createAgent(acme, 'fuzz agent');
export const worker: Identity = createAgent(beta, 'fuzz worker');

const root = createRootLink(acme, alice, { aud: agent.did });
const child = createChildLink(root, agent, {
  aud: worker.did,
  cap: [{ can: 'read:reports/q3', res: ['s3://reports/'] }],
  dep: 1,
  rate: [{ can: 'read:reports/q3', n: 10, per: 60 }],
  at: [beta.did],
  pur: ['billing'],
  mts: 100,
  stl: 60,
});
const holderKey = keyOf('fuzz holder');
const credential = createCredential(child, worker, holderKey);
/** Root first. */
export const chain: readonly Statement<'delegation/v1'>[] = [root, child, credential];

export const revocations: readonly Statement<'revocation/v1'>[] = createRevocations(beta, [
  worker,
  { of: worker, key: worker.keys.sign },
]);
export const heartbeats: readonly Statement<'heartbeat/v1'>[] = [createHeartbeat(acme), createHeartbeat(beta)];
const rotate = createRotate(acme, 'fuzz second', { retire: [[acme.keys.sign, NOW_MS / 1000 + 3600]] });

/** What is admitted without question: enough to verify the chain. */
export const ground: readonly Statement[] = [acme, beta, alice, agent, worker].map(({ genesis }) => genesis);

const log = ownLog('fuzz acme');
const binding = createBinding(acme);
/** Of a log with one history, of one with two, and of a witness that cosigned both. */
export const logStatements: readonly Statement[] = [
  binding,
  createBinding(beta),
  createCheckpoint(ownLog('fuzz beta'), 7),
  createCheckpoint(log, 8),
  createCheckpoint(log, 9, 'other'),
  createFork(binding, log, [8, 9]),
  createFork(binding, log, [6, 6]),
  createFork(binding, ownWitness('fuzz acme'), [5, 9], { log: ownLog('fuzz beta') }),
];

const order = createOrder(
  {
    iat: NOW_MS / 1000,
    iss: worker.did,
    aud: agent.did,
    sid: new Uint8Array(16).fill(1),
    n: 1,
    hs: new Uint8Array(32).fill(2),
    srv: 'files',
    req: new Uint8Array(32).fill(3),
    key: new Uint8Array(16).fill(4),
  },
  holderKey,
);
const happened = { res: null, out: 'ok', startMs: NOW_MS, endMs: NOW_MS + 1, iat: NOW_MS / 1000 } as const;
/** What two parties keep: no door takes it. */
export const ofTwo: readonly Statement[] = [
  order,
  createTaking(order, { iat: NOW_MS / 1000 }, agent.keys.auth),
  createHalfReceipt(order, happened, 'callee', agent.keys.auth),
];

/** One statement at least of every kind and operation. */
export const statements: readonly Statement[] = [
  ...ground,
  ...chain,
  ...revocations,
  ...heartbeats,
  rotate,
  createUpdate(acme, { services: [['libp2p', '/ip4/192.0.2.1/tcp/4001']] }),
  createRecover(beta, 'fuzz recovered', { rhead: createRevocation(beta, worker) }),
  createDeactivate(alice),
  createRevocation(beta, child, { iss: worker }),
  createHeartbeat(acme, { nonce: new Uint8Array(16), rhead: createRevocation(acme, agent) }),
  ...logStatements,
  ...ofTwo,
];

const signers = new Map<string, TestKey>();
for (const { keys, next, node, recovery } of [acme, beta, alice, agent, worker]) {
  for (const key of [keys.auth, keys.delegate, keys.sign, next, node, holderKey, ...recovery])
    signers.set(toHex(key.publicKey), key);
}
for (const name of ['fuzz second', 'fuzz recovered']) {
  const { auth, delegate, sign } = keySet(name);
  for (const key of [auth, delegate, sign]) signers.set(toHex(key.publicKey), key);
}

/** Signs whatever payload an envelope holds by the keys that it names, so that wrong content comes with right signatures. */
export function signedAgain(envelope: Uint8Array): Uint8Array {
  const payloadBytes = payloadOf(envelope);
  if (payloadBytes === undefined) return envelope;
  const payload = decodedOr(payloadBytes);
  const { t, by } = (typeof payload === 'object' && payload !== null ? payload : {}) as { t?: Cbor; by?: Cbor };
  const keys = Array.isArray(by) ? (by as readonly Cbor[]) : [];
  if (!isKindName(t)) return envelope;
  if (KINDS[t].context === undefined) return encodeCbor([payloadBytes, []]);
  const input = signingInput(t, payloadBytes);
  const signatures = keys.map((key) => {
    const signer = key instanceof Uint8Array ? signers.get(toHex(key)) : undefined;
    return signer?.sign(input) ?? new Uint8Array(SIGNATURE_BYTES);
  });
  return encodeCbor([payloadBytes, signatures]);
}

function payloadOf(envelope: Uint8Array): Uint8Array | undefined {
  const outer = decodedOr(envelope);
  const first = Array.isArray(outer) ? (outer as readonly Cbor[])[0] : undefined;
  return first instanceof Uint8Array ? first : undefined;
}

function decodedOr(bytes: Uint8Array): Cbor {
  try {
    return decodeCbor(bytes);
  } catch {
    return null; // a mutation that is no CBOR has no signer to ask
  }
}

const delegateOf = new Map(
  [acme, beta, alice, agent, worker].map((identity) => [identity.did, identity.keys.delegate]),
);

/**
 * One link of the chain changed in a way that its schema allows, and signed by whoever must: what comes of it is for the
 * check of chains to find.
 */
export function plausibleLink(random: SeededRandom): { readonly position: number; readonly envelope: Uint8Array } {
  const position = random.pick([0, 1, 1, 2, 2, 2]);
  const { payload } = chain[position] as Statement<'delegation/v1'>;
  const dids = [acme, beta, alice, agent, worker].map(({ did }) => did);
  const around = (value: number): number => Math.max(0, value + random.pick([-100_000, -61, -1, 1, 61, 100_000]));
  const changes: readonly (() => Record<string, Cbor | undefined>)[] = [
    () => ({ [random.pick(['iss', 'aud', 'sub', 'spo'])]: random.pick(dids) }),
    () => ({ [random.pick(['iat', 'nbf', 'exp'])]: around(payload.exp) }),
    () => ({ [random.pick(['dep', 'rate', 'at', 'pur', 'mts', 'stl', 'cnf'])]: undefined }),
    () => ({ dep: random.below(8), stl: random.below(301), mts: random.below(1001) }),
    () => ({
      cap: [{ can: random.pick(['read:reports/*', 'read:reports/q3', 'read:reports', 'read:*', 'write:reports/q3']) }],
    }),
    () => ({
      cap: [
        { can: 'read:reports/q3', res: [random.pick(['s3://reports/', 's3://reports/q3/', 's3://', 's3://reports'])] },
      ],
    }),
    () => ({ rate: [{ can: 'read:reports/q3', n: 1 + random.below(20), per: 60 }] }),
    () => ({ at: [random.pick(dids)], pur: [random.pick(['billing', 'fraud'])] }),
    () => ({ prf: random.pick(chain.map(({ digest }) => Link.ofDigest(digest))) }),
    () => ({ cnf: random.pick([...signers.values()]).publicKey, pri: true }),
    () => ({ by: payload.by.map(() => random.pick([...signers.values()]).publicKey) }),
  ];
  const changed = { ...(payload as unknown as Record<string, Cbor>), ...random.pick(changes)() };
  const issuer = delegateOf.get(changed.iss as string);
  // By the right key for once: a link that is signed by another than its issuer is refused before anything else of it.
  if (position === 1 && issuer !== undefined && random.below(2) === 0) changed.by = [issuer.publicKey];
  return { position, envelope: signedAgain(encodeCbor([encodeCbor(changed), []])) };
}
