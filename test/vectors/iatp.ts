/** Vectors of the handshake: the worked example's frames with what their signatures cover, and frames to refuse. */
import {
  type Cbor,
  concatBytes,
  decodeCbor,
  encodeCbor,
  encodeHandshakeFrame,
  encodeUnsigned,
  fromHex,
  type HandshakeChannel,
  handshakeMessage,
  isMeshError,
  limits,
  Link,
  parseHandshakeFrame,
  parseMultikeyText,
  parseReply,
  type Role,
  SIGNING_CONTEXTS,
  type SignedFrameName,
  signatureShown,
  signedBytes,
  signFrame,
  startTranscript,
  toHex,
  transcriptHash,
  verifyShown,
  withMessage,
} from '../../protocol/index.ts';
import { isSignatureValidSodium } from '../../protocol/sodium.ts';
import { keyOf, type TestKey } from '../builders.ts';
import { acme, before, beta, channel, frames, worker } from '../protocol/iatp/worked-example.ts';
import { dagJson, type InvalidVector, type ValidVector, type VectorSet } from './vectors.ts';

const SOURCE = 'Handshake';
type Signed = 'offer' | 'proof' | 'result';

const channelJson = ({ protocolId, initiator, responder, channelBinding }: HandshakeChannel): object => ({
  protocolId,
  initiator,
  responder,
  channelBinding: toHex(channelBinding ?? new Uint8Array()),
});

const plain = (frame: string, bytes: Uint8Array): ValidVector => ({
  source: SOURCE,
  frame,
  value: dagJson(decodeCbor(bytes)),
  bytes: toHex(bytes),
});

interface Shown {
  readonly role?: Role;
  readonly key?: TestKey;
  readonly over?: HandshakeChannel;
  readonly earlier?: readonly Uint8Array[];
  readonly bytes?: Uint8Array;
}
const KEYS: Readonly<Record<Signed, TestKey>> = {
  offer: acme.keys.auth,
  proof: worker.keys.auth,
  result: acme.keys.auth,
};
const ROLES: Readonly<Record<Signed, Role>> = { offer: 'R', proof: 'I', result: 'R' };

/** What a reader of the frame knows: its channel, what was said before, whose key it should be, and in which role. */
const shown = (
  name: Signed,
  {
    role = ROLES[name],
    key = KEYS[name],
    over = channel,
    earlier = before[name].messages,
    bytes = frames[name],
  }: Shown = {},
) => ({
  source: SOURCE,
  frame: name,
  role,
  channel: channelJson(over),
  earlier: earlier.map(toHex),
  key: key.text,
  bytes: toHex(bytes),
});

function signed(name: Signed): ValidVector {
  const frame = parseHandshakeFrame(name, frames[name]);
  const unsigned = encodeUnsigned<SignedFrameName>(frame);
  const role = ROLES[name];
  return {
    ...shown(name),
    value: dagJson(decodeCbor(frames[name])),
    context: SIGNING_CONTEXTS.iatp,
    unsignedBytes: toHex(unsigned),
    transcriptSha256: toHex(transcriptHash(before[name], unsigned)),
    signedBytes: toHex(signedBytes('iatp', handshakeMessage(role, before[name], unsigned))),
  };
}

const refused = (code: string, frame: string, bytes: Uint8Array): InvalidVector => ({
  source: SOURCE,
  code,
  frame,
  bytes: toHex(bytes),
});
const forged = (name: Signed, how: Shown): InvalidVector => ({ ...shown(name, how), code: 'bad_signature' });

const fields = (bytes: Uint8Array): Record<string, Cbor> => ({ ...(decodeCbor(bytes) as Record<string, Cbor>) });
const changed = (name: keyof typeof frames, change: Record<string, Cbor | undefined>): Uint8Array =>
  encodeCbor({ ...fields(frames[name]), ...change });
const hello = (code: string, change: Record<string, Cbor | undefined>): InvalidVector =>
  refused(code, 'hello', changed('hello', change));
const nested = (
  name: 'offer' | 'proof' | 'result',
  field: string,
  change: Record<string, Cbor | undefined>,
): InvalidVector =>
  refused(
    'schema',
    name,
    changed(name, { [field]: { ...(fields(frames[name])[field] as Record<string, Cbor>), ...change } }),
  );
const hex = (text: string): Uint8Array => fromHex(text) ?? new Uint8Array();
const swapped: HandshakeChannel = { ...channel, initiator: channel.responder, responder: channel.initiator };

export const iatpVectors: VectorSet = {
  valid: {
    'worked-example-1-hello': plain('hello', frames.hello),
    'worked-example-2-offer': signed('offer'),
    'worked-example-3-proof': signed('proof'),
    'worked-example-4-result': signed('result'),
    'hello-that-asks-for-nothing': plain('hello', changed('hello', { want: [], pur: undefined, min: 0 })),
    refusal: plain('refusal', encodeHandshakeFrame('refusal', { rej: 'score_below' })),
    'refusal-of-a-chain': plain('refusal', encodeHandshakeFrame('refusal', { rej: 'chain:expired' })),
    end: plain('end', encodeHandshakeFrame('end', { end: 'revoked' })),
  },
  invalid: {
    // Bytes
    'empty-frame': refused('malformed', 'hello', new Uint8Array()),
    'byte-after-the-frame': refused('malformed', 'hello', concatBytes(frames.hello, Uint8Array.of(0))),
    'frame-cut-short': refused('malformed', 'hello', frames.hello.subarray(0, -1)),
    'frame-that-is-a-list': refused('schema', 'hello', encodeCbor([1])),
    'frame-with-a-float': refused('malformed', 'hello', hex('a16176f93c00')),
    'frame-with-keys-out-of-order': refused('noncanonical', 'end', hex('a263656e6466636c6f736564617600')),
    'frame-beyond-64-kib': refused(
      'too_large',
      'end',
      concatBytes(hex('a163656e647a00010001'), new Uint8Array(limits.IATP_FRAME_BYTES_MAX + 1).fill(0x61)),
    ),
    // HELLO
    'hello-of-another-version': hello('version', { v: 2 }),
    'hello-of-another-version-with-other-fields': refused('version', 'hello', encodeCbor({ v: 3, suites: ['x'] })),
    'hello-without-a-version': hello('schema', { v: undefined }),
    'hello-with-an-unknown-field': hello('schema', { score: 1000 }),
    'hello-without-a-nonce': hello('schema', { non: undefined }),
    'hello-with-a-short-nonce': hello('schema', { non: new Uint8Array(31) }),
    'hello-from-a-did-key': hello('schema', { did: 'did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp' }),
    'hello-wanting-a-bare-star': hello('schema', { want: [{ can: '*' }] }),
    'hello-wanting-33-capabilities': hello('schema', {
      want: Array.from({ length: limits.CAPABILITIES_MAX + 1 }, (_, i) => ({ can: `read:x/${i}` })),
    }),
    'hello-with-a-score-beyond-the-scale': hello('schema', { min: limits.SCORE_MAX + 1 }),
    'hello-with-a-purpose-null-instead-of-absent': hello('schema', { pur: null }),
    // OFFER, PROOF, RESULT
    'offer-without-a-signature': refused('schema', 'offer', changed('offer', { sig: undefined })),
    'offer-with-a-long-signature': refused('schema', 'offer', changed('offer', { sig: new Uint8Array(65) })),
    'offer-needing-an-empty-list': nested('offer', 'need', { caps: [] }),
    'offer-saying-its-own-score': nested('offer', 'need', { score: 1000 }),
    'proof-with-an-ident-in-text': nested('proof', 'pres', { ident: 'bafyreib' }),
    'proof-with-a-grant-that-is-no-statement': nested('proof', 'pres', {
      grant: new Link(hex('015512207ca6dd6cf3d6a6dbc83eb71f8d2ba1e0fd1a0f1b7c7ea33e7fdb7a7d8cd23fb2')),
    }),
    'proof-presenting-65-statements': nested('proof', 'pres', {
      set: Array.from({ length: limits.PRESENTED_STATEMENTS_MAX + 1 }, () => new Uint8Array(1)),
    }),
    'proof-with-capabilities-of-its-own': refused(
      'schema',
      'proof',
      changed('proof', { caps: [{ can: 'admin:all' }] }),
    ),
    'result-with-a-long-session-id': refused('schema', 'result', changed('result', { sid: new Uint8Array(32) })),
    'result-with-a-rate-of-nothing': refused(
      'schema',
      'result',
      changed('result', { rates: [{ can: 'read:x', n: 0, per: 60 }] }),
    ),
    'result-beside-a-refusal': refused('schema', 'result', changed('result', { rej: 'busy' })),
    // Refusals and endings
    'refusal-with-an-unknown-code': refused('schema', 'refusal', encodeCbor({ rej: 'because' })),
    'refusal-of-a-chain-with-a-code-that-chains-have-not': refused(
      'schema',
      'refusal',
      encodeCbor({ rej: 'chain:busy' }),
    ),
    'refusal-with-details': refused('schema', 'refusal', encodeCbor({ rej: 'busy', why: 'you' })),
    'end-with-a-code-that-ends-nothing': refused('schema', 'end', encodeCbor({ end: 'version' })),
    // Signatures
    'offer-signed-in-the-other-role': forged('offer', {
      bytes: signFrame('offer', 'I', before.offer, parseHandshakeFrame('offer', frames.offer), acme.keys.auth),
    }),
    'proof-read-as-the-other-role': forged('proof', { role: 'R' }),
    'offer-under-another-channel-binding': forged('offer', {
      over: { ...channel, channelBinding: new Uint8Array(32).fill(0x0d) },
    }),
    'proof-relayed-by-another-initiator': forged('proof', { over: { ...channel, initiator: keyOf('mallory').peerId } }),
    'offer-relayed-by-another-responder': forged('offer', { over: { ...channel, responder: keyOf('mallory').peerId } }),
    'offer-with-the-peers-swapped': forged('offer', { over: swapped }),
    'offer-in-another-network': forged('offer', { over: { ...channel, protocolId: '/agentmesh/other/iatp/1.0.0' } }),
    'offer-after-another-hello': forged('offer', {
      earlier: [changed('hello', { non: new Uint8Array(32).fill(0x44) })],
    }),
    'proof-without-the-offer-before': forged('proof', { earlier: before.offer.messages }),
    'proof-with-messages-in-another-order': forged('proof', { earlier: [...before.proof.messages].reverse() }),
    'result-of-an-earlier-handshake': forged('result', {
      earlier: [changed('hello', { non: new Uint8Array(32).fill(0x44) }), frames.offer, frames.proof],
    }),
    'result-granting-more-than-was-signed': forged('result', {
      bytes: changed('result', { caps: [{ can: 'read:reports/*' }] }),
    }),
    'proof-by-another-key-of-the-agent': forged('proof', {
      bytes: signFrame('proof', 'I', before.proof, parseHandshakeFrame('proof', frames.proof), worker.keys.sign),
    }),
    'proof-by-the-organisation-of-the-agent': forged('proof', {
      bytes: signFrame('proof', 'I', before.proof, parseHandshakeFrame('proof', frames.proof), beta.keys.auth),
    }),
  },
};

/** The code with which this implementation refuses the vector, or undefined. */
export function handshakeRefusalOf(vector: ValidVector): string | undefined {
  try {
    verifyVector(vector);
    return undefined;
  } catch (error) {
    if (isMeshError(error)) return error.code;
    throw error;
  }
}

function verifyVector({ frame: name, bytes, role, channel: over, earlier, key }: ValidVector): void {
  const frame = hex(bytes as string);
  if (role === undefined) {
    if (name === 'result') parseReply(name, frame);
    else parseHandshakeFrame(name as 'hello' | 'offer' | 'proof' | 'refusal' | 'end', frame);
    return;
  }
  const { channelBinding, ...rest } = over as Record<
    'protocolId' | 'initiator' | 'responder' | 'channelBinding',
    string
  >;
  let transcript = startTranscript({ ...rest, channelBinding: hex(channelBinding) });
  for (const message of earlier as readonly string[]) transcript = withMessage(transcript, hex(message));
  const signature = signatureShown<SignedFrameName>(
    role as Role,
    transcript,
    parseReply(name as SignedFrameName, frame),
  );
  verifyShown(signature, [parseMultikeyText(key as string)], isSignatureValidSodium, '');
}
