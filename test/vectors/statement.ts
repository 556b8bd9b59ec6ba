/** Vectors of the envelope and of every kind in it. Keys are of seeds with one repeated byte, or hashes of a name. */
import {
  type Cbor,
  concatBytes,
  decodeCbor,
  digestOf,
  encodeCbor,
  fromHex,
  isMeshError,
  KINDS,
  limits,
  Link,
  parseStatement,
  SIGNATURE_BYTES,
  SIGNING_CONTEXTS,
  type SigningContext,
  type Statement,
  signingInput,
  toHex,
  verifySignatures,
} from '../../protocol/index.ts';
import { formatNote, formatVkey, parseNote } from '../../protocol/log/index.ts';
import { witnessVkey } from '../../protocol/log/names.ts';
import { isSignatureValidSodium } from '../../protocol/sodium.ts';
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
  createRootLink,
  createRotate,
  createUpdate,
  keyOf,
  NOW_SECONDS,
  type TestKey,
} from '../builders.ts';
import { createHalfReceipt, createTaking } from '../../protocol/receipt/index.ts';
import { calleeKey, callerKey, happened, orderOf, receiptOf } from '../protocol/receipt/world.ts';
import { naiveConsistency, naiveRoot } from '../protocol/log/naive-tree.ts';
import {
  checkpointOf,
  cosignedNote,
  createBinding,
  createCheckpoint,
  createFork,
  noteOf,
  ownLog,
  ownWitness,
} from '../protocol/log/own-log.ts';
import { leaves, logSigner, signedNote } from '../protocol/log/sample.ts';
import { genesis, heartbeat, NODE, ORGANISATION, revocation } from '../protocol/statement/worked-example.ts';
import { dagJson, type InvalidVector, type ValidVector, type VectorSet } from './vectors.ts';

const acme = createOrganisation('acme');
const alice = createPerson(acme, 'alice');
const agent = createAgent(acme, 'agent');
const beta = createOrganisation('beta');
const worker = createAgent(beta, 'worker');
const root = createRootLink(acme, alice, { aud: worker.did });
const child = createChildLink(root, worker, {
  aud: agent.did,
  cap: [{ can: 'read:reports/q3', res: ['s3://reports/q3/', 's3://reports/index.html'] }],
  dep: 2,
  rate: [{ can: 'read:reports/q3', n: 100, per: 60 }],
  at: [beta.did],
  pur: ['billing', 'quarterly-report'],
  mts: 300,
  stl: 5,
  exp: NOW_SECONDS + 3600,
});

const SOURCES = {
  'didop/v1': 'DID operations',
  'delegation/v1': 'Delegation links',
  'revocation/v1': 'Revocation and freshness',
  'heartbeat/v1': 'Revocation and freshness',
  'binding/v1': 'Audit log statements',
  'checkpoint/v1': 'Audit log statements',
  'proof/v1': 'Audit log statements',
  'call/v1': 'Receipts',
  'taken/v1': 'Receipts',
  'receipt/v1': 'Receipts',
  'message/v1': 'Messages',
} as const;

/** Null: it proves itself. */
const contextOf = ({ context }: { readonly context: SigningContext | undefined }): string | null =>
  context === undefined ? null : SIGNING_CONTEXTS[context];

const valid = (statement: Statement, source: string = SOURCES[statement.t]): ValidVector => ({
  source,
  kind: statement.t,
  id: statement.id,
  epoch: statement.epoch,
  context: contextOf(KINDS[statement.t]),
  payload: dagJson(decodeCbor(statement.payloadBytes)),
  payloadBytes: toHex(statement.payloadBytes),
  envelopeBytes: toHex(statement.envelope),
  envelopeSha256: toHex(digestOf(statement.envelope)),
});

/** The refusal is what SPEC.md says; the test holds this implementation to it. */
const invalid = (source: string, code: string, envelope: Uint8Array): InvalidVector => ({
  source,
  code,
  envelopeBytes: toHex(envelope),
});

const hex = (text: string): Uint8Array => fromHex(text) ?? new Uint8Array();
const fields = (statement: Statement): Record<string, Cbor> => ({
  ...(decodeCbor(statement.payloadBytes) as Record<string, Cbor>),
});

/** The statement with fields changed (undefined: left out), signed as its kind by the right keys all the same. */
function changed(statement: Statement, keys: readonly TestKey[], change: Record<string, Cbor | undefined>): Uint8Array {
  const payload = encodeCbor({ ...fields(statement), ...change });
  return encodeCbor([payload, keys.map((key) => key.sign(signingInput(statement.t, payload)))]);
}
const link = (change: Record<string, Cbor | undefined>): InvalidVector =>
  invalid('Delegation links', 'schema', changed(child, [worker.keys.delegate], change));
const order = orderOf();
const receipt = receiptOf(order);
const ofTwo = (
  statement: Statement,
  keys: readonly TestKey[],
  change: Record<string, Cbor | undefined>,
): InvalidVector => invalid('Receipts', 'schema', changed(statement, keys, change));
const operation = (change: Record<string, Cbor | undefined>): InvalidVector =>
  invalid('DID operations', 'schema', changed(genesis, [ORGANISATION, NODE], change));
const revoking = (change: Record<string, Cbor | undefined>): InvalidVector =>
  invalid('Revocation and freshness', 'schema', changed(revocation, [ORGANISATION], change));
const beating = (change: Record<string, Cbor | undefined>): InvalidVector =>
  invalid('Revocation and freshness', 'schema', changed(heartbeat, [ORGANISATION], change));

const log = ownLog('acme');
const witness = ownWitness('acme');
const foreign = logSigner('example.org/log');
const binding = createBinding(acme);
const checkpoint = createCheckpoint(log, 7);
const fork = createFork(binding, log, [5, 9]);
const atEqualSizes = createFork(binding, log, [6, 6]);
const asWitness = createFork(binding, witness, [5, 9], { log: ownLog('beta') });
const ofTheLog = (code: string, statement: Statement, change: Record<string, Cbor | undefined>): InvalidVector =>
  invalid(
    'Audit log statements',
    code,
    changed(statement, statement === binding ? [acme.keys.sign, log.key, witness.key] : [], change),
  );
/** The note of the checkpoint with other lines. */
const lines = (...all: readonly Uint8Array[]): Uint8Array => {
  const { text } = parseNote(noteOf(log, 7));
  return formatNote({ text, signatures: all.flatMap((bytes) => parseNote(bytes).signatures) });
};
/** With the first letter of its signature changed that is not of the key ID. */
const spoilt = (note: Uint8Array): Uint8Array => {
  const at = note.lastIndexOf(0x20) + 8;
  return Uint8Array.from(note, (byte, i) => (i === at ? (byte === 65 ? 66 : 65) : byte));
};
const withExtension = (note: Uint8Array): Uint8Array =>
  new TextEncoder().encode(new TextDecoder().decode(note).replace('\n\n', '\nmore\n\n'));
/** With the last bits of the base64 set that stand for no byte. */
const respelt = (note: Uint8Array): Uint8Array =>
  new TextEncoder().encode(
    new TextDecoder()
      .decode(note)
      .replace(/(.)=\n$/, (_, last: string) => `${BASE64.charAt(BASE64.indexOf(last) | 1)}=\n`),
  );
const BASE64 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';

const { payloadBytes, signatures } = revocation;
const [signature] = signatures as [Uint8Array];
const envelope = (code: string, ...parts: readonly Cbor[]): InvalidVector =>
  invalid('Envelope', code, encodeCbor(parts));
const other = Link.ofDigest(digestOf(new Uint8Array()));
const rawLink = new Link(hex('015512207ca6dd6cf3d6a6dbc83eb71f8d2ba1e0fd1a0f1b7c7ea33e7fdb7a7d8cd23fb2'));
const flipped = (bytes: Uint8Array, bit: number): Uint8Array =>
  Uint8Array.from(bytes, (byte, i) => (i === bit >> 3 ? byte ^ (1 << (bit & 7)) : byte));
/** S + L: the same in the equation, and refused for its encoding. */
const withOrderAdded = (bytes: Uint8Array): Uint8Array => {
  const order = hex('edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010');
  const out = Uint8Array.from(bytes);
  let carry = 0;
  for (let i = 0; i < 32; i++) {
    carry += (out[32 + i] as number) + (order[i] as number);
    out[32 + i] = carry & 255;
    carry >>= 8;
  }
  return out;
};
const signedAs = (text: string): InvalidVector =>
  invalid(
    'Signatures',
    'bad_signature',
    encodeCbor([payloadBytes, [ORGANISATION.sign(concatBytes(new TextEncoder().encode(text), payloadBytes))]]),
  );

export const statementVectors: VectorSet = {
  valid: {
    'worked-example-genesis': valid(genesis, 'Envelope'),
    'worked-example-heartbeat': valid(heartbeat, 'Envelope'),
    'worked-example-revocation': valid(revocation, 'Envelope'),
    'genesis-of-an-organisation': valid(acme.genesis),
    'genesis-of-a-person': valid(alice.genesis),
    'genesis-of-an-agent': valid(agent.genesis),
    'rotate-with-grace': valid(createRotate(acme, 'acme second', { retire: [[acme.keys.sign, NOW_SECONDS + 3600]] })),
    'rotate-with-a-dead-key-and-a-kept-link': valid(
      createRotate(acme, 'acme second', { retire: [[acme.keys.delegate, null, [root]]] }),
    ),
    'update-of-services': valid(createUpdate(acme, { services: [['libp2p', '/ip4/192.0.2.1/tcp/4001']] })),
    recover: valid(createRecover(acme, 'acme recovered', { rhead: createRevocation(acme, agent) })),
    deactivate: valid(createDeactivate(acme)),
    'root-link': valid(root),
    'child-link-with-every-constraint': valid(child),
    credential: valid(createCredential(child, agent, keyOf('a credential'))),
    'revocation-of-a-link-by-an-agent': valid(createRevocation(beta, child, { iss: worker })),
    'revocation-of-a-did': valid(createRevocation(acme, agent)),
    'revocation-of-a-key': valid(createRevocation(acme, { of: agent, key: agent.keys.sign })),
    'revocation-with-a-predecessor': valid(createRevocation(acme, child, { prv: createRevocation(acme, agent) })),
    'heartbeat-with-a-nonce': valid(
      createHeartbeat(acme, { nonce: new Uint8Array(16).fill(9), rhead: createRevocation(acme, agent) }),
    ),
    binding: valid(binding),
    'binding-of-a-later-generation': valid(createBinding(acme, { log: ownLog('acme', 4_294_967_295) })),
    checkpoint: valid(checkpoint),
    'checkpoint-of-a-tree-without-leaves': valid(createCheckpoint(log, 0)),
    'proof-against-a-log': valid(fork),
    'proof-against-a-log-at-equal-sizes': valid(atEqualSizes),
    'proof-against-a-log-at-a-power-of-two': valid(createFork(binding, log, [4, 9])),
    'proof-against-a-witness': valid(asWitness),
    'order-of-a-call': valid(order),
    'order-with-a-key-of-idempotency': valid(orderOf(undefined, { key: new Uint8Array(16).fill(7) })),
    'taking-of-a-call': valid(createTaking(order, { iat: NOW_SECONDS }, calleeKey)),
    'receipt-of-a-call': valid(receiptOf(order)),
    'half-receipt-of-a-caller': valid(
      createHalfReceipt(order, { ...happened('timeout'), res: null }, 'caller', callerKey),
    ),
    'proof-against-a-witness-of-a-foreign-log': valid(createFork(binding, witness, [5, 9], { log: foreign })),
  },
  invalid: {
    // Envelope
    'empty-input': invalid('Envelope', 'malformed', new Uint8Array()),
    'payload-without-envelope': invalid('Envelope', 'malformed', payloadBytes),
    'envelope-of-three-parts': envelope('malformed', payloadBytes, [signature], null),
    'payload-not-in-bytes': envelope('malformed', fields(revocation), [signature]),
    'signature-not-in-a-list': envelope('malformed', payloadBytes, signature),
    'signature-of-63-bytes': envelope('malformed', payloadBytes, [signature.subarray(0, 63)]),
    'signature-of-65-bytes': envelope('malformed', payloadBytes, [concatBytes(signature, Uint8Array.of(0))]),
    'byte-after-the-envelope': invalid('Envelope', 'malformed', concatBytes(revocation.envelope, Uint8Array.of(0))),
    'byte-after-the-payload': envelope('malformed', concatBytes(payloadBytes, Uint8Array.of(0)), [signature]),
    'payload-cut-short': envelope('malformed', payloadBytes.subarray(0, -1), [signature]),
    'payload-with-a-key-twice': envelope(
      'malformed',
      concatBytes(hex('aa6174'), payloadBytes.subarray(3, 17), payloadBytes.subarray(1)),
      [signature],
    ),
    'payload-with-a-float': envelope('malformed', hex('a16369617af93c00'), [signature]),
    'payload-with-keys-out-of-order': envelope('noncanonical', hex('a2626279806174f6'), [signature]),
    'payload-with-a-long-integer': envelope('noncanonical', hex('a1637365711817'), [signature]),
    'payload-of-indefinite-length': envelope(
      'noncanonical',
      concatBytes(hex('bf'), payloadBytes.subarray(1), hex('ff')),
      [signature],
    ),
    'envelope-with-a-long-count': invalid(
      'Envelope',
      'noncanonical',
      concatBytes(hex('9802'), revocation.envelope.subarray(1)),
    ),
    'envelope-of-indefinite-length': invalid(
      'Envelope',
      'noncanonical',
      concatBytes(hex('9f'), revocation.envelope.subarray(1), hex('ff')),
    ),
    'payload-nested-too-deep': envelope('too_large', hex(`${'81'.repeat(limits.CBOR_DEPTH_MAX + 1)}00`), [signature]),
    'larger-than-its-kind': envelope(
      'too_large',
      encodeCbor({ ...fields(revocation), rsn: 'x'.repeat(limits.REVOCATION_BYTES_MAX) }),
      [signature],
    ),
    'kind-of-another-version': envelope('unknown_kind', encodeCbor({ ...fields(revocation), t: 'revocation/v2' }), [
      signature,
    ]),
    'payload-without-a-kind': envelope('schema', encodeCbor({ by: [] }), []),
    'no-signature': envelope('signers', payloadBytes, []),
    'signature-too-many': envelope('signers', payloadBytes, [signature, signature]),
    // Signatures
    'signature-with-a-bit-flipped-in-r': invalid(
      'Signatures',
      'bad_signature',
      encodeCbor([payloadBytes, [flipped(signature, 7)]]),
    ),
    'signature-with-a-bit-flipped-in-s': invalid(
      'Signatures',
      'bad_signature',
      encodeCbor([payloadBytes, [flipped(signature, 300)]]),
    ),
    'signature-with-s-beyond-the-order': invalid(
      'Signatures',
      'bad_signature',
      encodeCbor([payloadBytes, [withOrderAdded(signature)]]),
    ),
    'signature-of-zeros': invalid(
      'Signatures',
      'bad_signature',
      encodeCbor([payloadBytes, [new Uint8Array(SIGNATURE_BYTES)]]),
    ),
    'signature-by-another-key': invalid(
      'Signatures',
      'bad_signature',
      encodeCbor([payloadBytes, [NODE.sign(signingInput('revocation/v1', payloadBytes))]]),
    ),
    'signature-without-a-context': signedAs(''),
    'signature-of-another-kind': signedAs('AgentMesh/delegation/v1\0'),
    'signature-without-the-zero-byte': signedAs('AgentMesh/revocation/v1'),
    'signatures-in-another-order': invalid(
      'Signatures',
      'bad_signature',
      encodeCbor([genesis.payloadBytes, [...genesis.signatures].reverse()]),
    ),
    'key-of-small-order': invalid(
      'Signatures',
      'bad_signature',
      // R and A are the neutral element and S is 0: the equation holds for every message.
      encodeCbor([
        encodeCbor({ ...fields(heartbeat), by: [hex(`ed0101${'00'.repeat(31)}`)] }),
        [hex(`01${'00'.repeat(63)}`)],
      ]),
    ),
    // Schemas
    'field-unknown': revoking({ x: 1 }),
    'field-proto': revoking(JSON.parse('{"__proto__": 1}') as Record<string, Cbor>),
    'field-missing': revoking({ rsn: undefined }),
    'field-null-instead-of-absent': beating({ non: null }),
    'signer-twice': invalid(
      'Envelope',
      'schema',
      changed(genesis, [ORGANISATION, ORGANISATION], { by: [ORGANISATION.publicKey, ORGANISATION.publicKey] }),
    ),
    'signer-not-a-multikey': invalid(
      'Envelope',
      'schema',
      changed(heartbeat, [ORGANISATION], { by: [ORGANISATION.publicKey.subarray(2)] }),
    ),
    'iat-before-1970': beating({ iat: -1 }),
    'iat-after-9999': beating({ iat: limits.SECONDS_MAX + 1 }),
    'issuer-not-a-mesh-did': beating({ iss: 'did:web:example.org' }),
    'genesis-of-an-organisation-with-a-controller': operation({ ctl: acme.did }),
    'genesis-of-an-agent-without-a-controller': operation({ kind: 'agent', peer: [] }),
    'genesis-of-an-agent-with-a-peer-id': operation({ kind: 'agent', ctl: acme.did }),
    'genesis-with-uses-unsorted': operation({ keys: [[ORGANISATION.publicKey, ['sign', 'auth']]] }),
    'genesis-with-a-key-twice': operation({
      keys: [
        [ORGANISATION.publicKey, ['auth']],
        [ORGANISATION.publicKey, ['sign']],
      ],
    }),
    'genesis-with-an-unknown-use': operation({ keys: [[ORGANISATION.publicKey, ['admin']]] }),
    'genesis-with-a-threshold-of-nothing': operation({ nxt: [], nthr: 1 }),
    'genesis-with-a-threshold-of-zero': operation({ rthr: 0 }),
    'genesis-with-a-threshold-too-high': operation({ nthr: 2 }),
    'genesis-with-a-short-nonce': operation({ nce: new Uint8Array(15) }),
    'operation-unknown': operation({ op: 'create' }),
    'rotate-with-grace-beyond-a-day': invalid(
      'DID operations',
      'schema',
      changed(createRotate(acme, 'acme second'), [acme.next], {
        ret: [[acme.keys.sign.publicKey, NOW_SECONDS + 60 + limits.GRACE_SECONDS_MAX + 1, []]],
      }),
    ),
    'rotate-retiring-a-key-that-it-lists': invalid(
      'DID operations',
      'schema',
      changed(createRotate(acme, 'acme second'), [acme.next], {
        keys: acme.keys.listed,
        ret: [[acme.keys.sign.publicKey, null, []]],
      }),
    ),
    'rotate-standing-by-a-revocation-without-a-number': invalid(
      'DID operations',
      'schema',
      changed(createRotate(acme, 'acme second'), [acme.next], { rhead: other }),
    ),
    'link-without-capabilities': link({ cap: [] }),
    'link-with-a-bare-star': link({ cap: [{ can: '*' }] }),
    'link-with-a-star-inside': link({ cap: [{ can: 'read:*/x' }] }),
    'link-with-an-upper-case-domain': link({ cap: [{ can: 'READ:x' }] }),
    'link-with-two-colons': link({ cap: [{ can: 'read:tools:x' }] }),
    'link-with-an-empty-segment': link({ cap: [{ can: 'read:x//y' }] }),
    'link-with-dots-as-a-segment': link({ cap: [{ can: 'read:../x' }] }),
    'link-with-a-percent-sign': link({ cap: [{ can: 'read:a%2Fb' }] }),
    'link-with-a-resource-going-up': link({ cap: [{ can: 'read:x', res: ['s3://reports/../secrets/'] }] }),
    'link-with-no-resource-in-its-list': link({ cap: [{ can: 'read:x', res: [] }] }),
    'link-ending-as-it-begins': link({ nbf: NOW_SECONDS, exp: NOW_SECONDS }),
    'link-longer-than-a-month': link({ exp: NOW_SECONDS + limits.LINK_SECONDS_MAX + 1 }),
    'link-with-a-holder-key-that-is-public': link({ cnf: keyOf('x').publicKey, exp: NOW_SECONDS + 60 }),
    'link-with-a-holder-key-for-long': link({
      cnf: keyOf('x').publicKey,
      pri: true,
      exp: NOW_SECONDS + limits.CREDENTIAL_SECONDS_MAX + 1,
    }),
    'link-private-false': link({ pri: false }),
    'link-with-depth-8': link({ dep: limits.DEPTH_MAX + 1 }),
    'link-with-a-rate-of-nothing': link({ rate: [{ can: 'read:x', n: 0, per: 60 }] }),
    'link-with-staleness-beyond-reads': link({ stl: limits.STALENESS_SECONDS_MAX + 1 }),
    'link-for-a-did-key-of-another-curve': link({ aud: 'did:key:zDnaerx9CtbPJ1q36T5Ln5wYt3MQYeGRG5ehnPAmxcf5mDZpv' }),
    'link-with-a-parent-that-is-no-statement': link({ prf: rawLink }),
    'root-link-without-the-sponsor': invalid(
      'Delegation links',
      'schema',
      changed(root, [acme.keys.delegate], { by: [acme.keys.delegate.publicKey] }),
    ),
    'root-link-by-another-than-its-subject': invalid(
      'Delegation links',
      'schema',
      changed(root, [acme.keys.delegate, alice.keys.delegate], { sub: beta.did }),
    ),
    'revocation-number-0': revoking({ seq: 0 }),
    'revocation-number-1-with-a-predecessor': revoking({ prv: other }),
    'revocation-number-2-without-one': revoking({ seq: 2 }),
    'revocation-of-nothing': revoking({ tgt: {} }),
    'revocation-of-two-things': revoking({ tgt: { link: other, did: acme.did } }),
    'revocation-of-a-key-without-its-did': revoking({ tgt: { key: keyOf('x').publicKey } }),
    'revocation-with-a-long-reason': revoking({ rsn: 'x'.repeat(limits.REASON_TEXT_MAX + 1) }),
    'revocation-for-an-agent-without-its-organisation': revoking({ org: acme.did }),
    'heartbeat-of-no-revocations-with-a-head': beating({ rhead: other }),
    'heartbeat-of-revocations-without-a-head': beating({ rseq: 1 }),
    'heartbeat-with-a-long-nonce': beating({ non: new Uint8Array(32) }),
    // Audit log statements
    'binding-of-a-foreign-log': ofTheLog('schema', binding, { log: formatVkey(foreign.vkey) }),
    'binding-of-a-log-named-after-another-key': ofTheLog('schema', binding, {
      log: formatVkey(logSigner(ownLog('beta').vkey.name, 'acme log').vkey),
    }),
    'binding-with-a-leading-zero-in-the-generation': ofTheLog('schema', binding, {
      log: formatVkey(logSigner(log.vkey.name.replace(/0$/, '00'), 'acme log').vkey),
    }),
    'binding-of-a-witness-in-place-of-the-log': ofTheLog('schema', binding, { log: formatVkey(witness.vkey) }),
    'binding-of-a-witness-that-does-not-sign': ofTheLog('schema', binding, {
      by: [acme.keys.sign.publicKey, log.key.publicKey, keyOf(2).publicKey],
    }),
    'binding-of-one-key-as-log-and-witness': ofTheLog('schema', binding, {
      wit: formatVkey(witnessVkey(log.vkey.publicKey)),
    }),
    'binding-without-a-witness': ofTheLog('schema', binding, { wit: undefined }),
    'binding-signed-for-another-use': invalid(
      'Signatures',
      'bad_signature',
      encodeCbor([
        binding.payloadBytes,
        [acme.keys.sign, log.key, witness.key].map((key) =>
          key.sign(signingInput('revocation/v1', binding.payloadBytes)),
        ),
      ]),
    ),
    'checkpoint-with-a-cosignature': ofTheLog('schema', checkpoint, { note: noteOf(log, 7, '', [witness]) }),
    'checkpoint-with-its-line-twice': ofTheLog('schema', checkpoint, { note: lines(noteOf(log, 7), noteOf(log, 7)) }),
    'checkpoint-with-the-line-of-another-log': ofTheLog('schema', checkpoint, {
      note: lines(signedNote(checkpointOf(log, 7), ownLog('beta'))),
    }),
    'checkpoint-of-a-foreign-log': ofTheLog('schema', checkpoint, {
      note: signedNote({ ...checkpointOf(log, 7), origin: foreign.vkey.name }, foreign),
    }),
    'checkpoint-with-an-extension-line': ofTheLog('schema', checkpoint, { note: withExtension(noteOf(log, 7)) }),
    'checkpoint-with-a-second-spelling-of-its-base64': ofTheLog('schema', checkpoint, {
      note: respelt(noteOf(log, 7)),
    }),
    'checkpoint-with-a-time': ofTheLog('schema', checkpoint, { iat: NOW_SECONDS }),
    'checkpoint-with-a-signer': invalid(
      'Audit log statements',
      'schema',
      encodeCbor([encodeCbor({ ...fields(checkpoint), by: [acme.keys.sign.publicKey] }), [signature]]),
    ),
    'checkpoint-that-its-log-did-not-sign': ofTheLog('bad_signature', checkpoint, { note: spoilt(noteOf(log, 7)) }),
    'checkpoint-under-the-signature-of-another': ofTheLog('bad_signature', checkpoint, {
      note: formatNote({ ...parseNote(noteOf(log, 7)), text: parseNote(noteOf(log, 8)).text }),
    }),
    'proof-with-its-notes-in-another-order': ofTheLog('schema', fork, { a: fork.payload.b, b: fork.payload.a }),
    'proof-at-equal-sizes-in-another-order': ofTheLog('schema', atEqualSizes, {
      a: atEqualSizes.payload.b,
      b: atEqualSizes.payload.a,
    }),
    'proof-with-a-cosignature-on-a-note': ofTheLog('schema', fork, { a: noteOf(log, 5, '', [witness]) }),
    'proof-with-a-note-of-another-generation': ofTheLog('schema', fork, { a: noteOf(ownLog('acme', 1), 5) }),
    'proof-with-a-note-of-another-origin': ofTheLog('schema', fork, {
      a: signedNote({ ...checkpointOf(log, 5), origin: foreign.vkey.name }, log),
    }),
    'proof-with-both-keys': ofTheLog('schema', fork, { witness: formatVkey(witness.vkey) }),
    'proof-without-a-key': ofTheLog('schema', fork, { log: undefined }),
    'proof-of-another-role': ofTheLog('schema', fork, { of: 'witness' }),
    'proof-against-another-organisation': ofTheLog('bad_proof', fork, { who: beta.did }),
    'proof-with-the-binding-of-another-log': ofTheLog('bad_proof', fork, {
      binding: createBinding(acme, { log: ownLog('acme', 1) }).envelope,
    }),
    'proof-with-a-checkpoint-for-a-binding': ofTheLog('bad_proof', fork, { binding: checkpoint.envelope }),
    'proof-with-a-binding-that-nobody-signed': ofTheLog('bad_signature', fork, {
      binding: flipped(binding.envelope, 8 * binding.envelope.length - 1),
    }),
    'proof-with-a-note-that-the-log-did-not-sign': ofTheLog('bad_proof', fork, { a: spoilt(fork.payload.a) }),
    'order-number-zero': ofTwo(order, [callerKey], { n: 0 }),
    'order-by-two-keys': ofTwo(order, [callerKey, calleeKey], { by: [callerKey.publicKey, calleeKey.publicKey] }),
    'order-to-a-server-with-a-slash': ofTwo(order, [callerKey], { srv: 'files/all' }),
    'order-with-a-short-key': ofTwo(order, [callerKey], { key: new Uint8Array(15) }),
    'receipt-of-a-call-without-its-order': ofTwo(receipt, [callerKey, calleeKey], { call: undefined }),
    'receipt-that-ends-before-it-starts': ofTwo(receipt, [callerKey, calleeKey], { end: 0 }),
    'receipt-with-an-unknown-outcome': ofTwo(receipt, [callerKey, calleeKey], { out: 'fine' }),
    'receipt-of-one-key-that-is-not-half': ofTwo(receipt, [callerKey], { by: [callerKey.publicKey] }),
    'receipt-that-says-that-it-is-not-half': ofTwo(receipt, [callerKey, calleeKey], { half: false }),
    'proof-of-one-history': invalid(
      'Audit log statements',
      'bad_proof',
      createFork(binding, log, [5, 9], { salt: '' }).envelope,
    ),
    'proof-of-one-history-with-another-root': ofTheLog('bad_proof', fork, {
      b: noteOf(log, 9),
      proof: naiveConsistency(5, leaves(9)),
    }),
    'proof-with-the-root-of-a': ofTheLog('bad_proof', fork, { rootOfAOnB: naiveRoot(leaves(5)) }),
    'proof-that-leads-nowhere': ofTheLog('bad_proof', fork, {
      proof: fork.payload.proof.map((hash) => flipped(hash, 0)),
    }),
    'proof-with-a-hash-too-few': ofTheLog('bad_proof', fork, { proof: fork.payload.proof.slice(1) }),
    'proof-with-hashes-at-equal-sizes': ofTheLog('bad_proof', atEqualSizes, { proof: fork.payload.proof }),
    'proof-against-a-witness-that-cosigned-twice': ofTheLog('bad_proof', asWitness, {
      a: cosignedNote(checkpointOf(ownLog('beta'), 9, 'other'), witness, NOW_SECONDS - 60),
      rootOfAOnB: naiveRoot(leaves(9, 'other')),
      proof: [],
    }),
    'proof-from-a-tree-without-leaves': ofTheLog('bad_proof', fork, { a: noteOf(log, 0), proof: [] }),
  },
};

/** The code with which this implementation refuses the vector, or undefined. */
export function refusalOf(vector: ValidVector): string | undefined {
  try {
    verifySignatures(parseStatement(hex(vector.envelopeBytes as string)), isSignatureValidSodium);
    return undefined;
  } catch (error) {
    if (isMeshError(error)) return error.code;
    throw error;
  }
}
