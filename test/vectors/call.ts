/** Vectors of calls: one of each frame, proofs with what their signatures cover, and bodies in parts. */
import { BodyAssembly } from '../../daemon/core/calls/body-assembly.ts';
import {
  encodeCallFrame,
  encodePartFrame,
  openDigest,
  type OpenClaim,
  parseCallFrame,
  verifyOpenProof,
} from '../../protocol/call/index.ts';
import {
  type Cbor,
  concatBytes,
  decodeCbor,
  digestOf,
  encodeCbor,
  fromHex,
  isMeshError,
  limits,
  Link,
  parseMultikeyText,
  SIGNING_CONTEXTS,
  signedBytes,
  toHex,
} from '../../protocol/index.ts';
import { isSignatureValidSodium } from '../../protocol/sodium.ts';
import { keyOf } from '../builders.ts';
import { caller, claims, encoded, FRAMES, LARGE_BODY, largeMessage } from '../protocol/call/worked-example.ts';
import { dagJson, type InvalidVector, type ValidVector, type VectorSet } from './vectors.ts';

const SOURCE = 'Calls';
const hex = (text: string): Uint8Array => fromHex(text) ?? new Uint8Array();
const fields = (bytes: Uint8Array): Record<string, Cbor> => ({ ...(decodeCbor(bytes) as Record<string, Cbor>) });
const changed = (name: string, change: Record<string, Cbor | undefined>): Uint8Array =>
  encodeCbor({ ...fields(encoded(name)), ...change });

const claimJson = ({ protocolId, hash, sid, frame, subject, id, nonce }: OpenClaim): object => ({
  protocolId,
  hash: toHex(hash),
  sid: toHex(sid),
  frame,
  subject,
  ...(id === undefined ? {} : { id: id.text }),
  nonce: toHex(nonce),
});

const plain = (name: string): ValidVector => ({
  source: SOURCE,
  value: dagJson(decodeCbor(encoded(name))),
  bytes: toHex(encoded(name)),
});
const proven = (name: keyof typeof claims): ValidVector => ({
  ...plain(name),
  claim: claimJson(claims[name]),
  key: caller.text,
  context: SIGNING_CONTEXTS.link,
  claimSha256: toHex(openDigest(claims[name])),
  signedBytes: toHex(signedBytes('link', openDigest(claims[name]))),
});

/** Frames one after the other, and the digest of the body that they make. */
const inParts = (frames: readonly Uint8Array[], body: Uint8Array): ValidVector => ({
  source: SOURCE,
  frames: frames.map(toHex),
  bodyBytes: body.length,
  bodySha256: toHex(digestOf(body)),
});

const refused = (code: string, bytes: Uint8Array): InvalidVector => ({ source: SOURCE, code, bytes: toHex(bytes) });
const sequence = (code: string, ...frames: readonly Uint8Array[]): InvalidVector => ({
  source: SOURCE,
  code,
  frames: frames.map(toHex),
});
const forged = (name: keyof typeof claims, change: Partial<OpenClaim>, key = caller.text): InvalidVector => ({
  source: SOURCE,
  code: 'bad_signature',
  claim: claimJson({ ...claims[name], ...change }),
  key,
  bytes: toHex(encoded(name)),
});

const part = (m: number, length: number): Uint8Array => concatBytes(...encodePartFrame(m, new Uint8Array(length)));
const last = (m: number, size: number): Uint8Array => encodeCallFrame({ f: 'msg' }, { m, size });
const [first = new Uint8Array(), second = new Uint8Array(), whole = new Uint8Array()] = largeMessage;

const bare = Object.keys(FRAMES).filter((name) => !Object.hasOwn(claims, name));
const between = part(2, limits.CALL_PART_BYTES_MIN); // of another body, which may go on

export const callVectors: VectorSet = {
  valid: {
    ...Object.fromEntries((Object.keys(claims) as (keyof typeof claims)[]).map((name) => [name, proven(name)])),
    ...Object.fromEntries(bare.map((name) => [name, plain(name)])),
    'body-in-two-parts': inParts([first, second, whole], LARGE_BODY),
    'body-with-others-in-between': inParts([first, between, encoded('sign'), second, whole], LARGE_BODY),
  },
  invalid: {
    'empty-frame': refused('malformed', new Uint8Array()),
    'frame-cut-short': refused('malformed', encoded('call').subarray(0, -1)),
    'byte-after-the-frame': refused('malformed', concatBytes(encoded('opened'), Uint8Array.of(0))),
    'frame-with-keys-out-of-order': refused('noncanonical', hex('a263736571016166646b657074')),
    'frame-that-is-a-list': refused('schema', encodeCbor(['msg'])),
    'frame-without-a-name': refused('schema', encodeCbor({ n: 1 })),
    'frame-with-an-unknown-name': refused('schema', encodeCbor({ f: 'hello' })),
    'open-of-another-version': refused('version', changed('open', { v: 2 })),
    'open-without-a-signature': refused('schema', changed('open', { sig: undefined })),
    'open-of-a-server-in-capitals': refused('schema', changed('open', { srv: 'Files' })),
    'open-of-a-server-that-is-a-pattern': refused('schema', changed('open', { srv: '*' })),
    'ask-for-what-nobody-tells': refused('schema', changed('ask-for-services', { what: 'keys' })),
    'ask-with-an-id-in-text': refused('schema', changed('ask-for-evidence', { id: 'bafyrei' })),
    'call-number-0': refused('schema', changed('call', { n: 0 })),
    'call-number-beyond-32-bits': refused('schema', changed('call', { n: limits.CALL_NUMBER_MAX + 1 })),
    'call-without-a-body': refused('schema', changed('call', { b: undefined })),
    'call-with-a-short-salt': refused('schema', changed('call', { salt: new Uint8Array(8) })),
    'msg-with-an-empty-body': refused('schema', changed('msg', { b: new Uint8Array() })),
    'msg-with-a-body-in-two-places': refused('schema', changed('msg', { m: 1, size: 70_000 })),
    'msg-with-a-number-and-no-size': refused('schema', changed('msg', { b: undefined, m: 1 })),
    'msg-in-parts-that-would-fit-a-frame': refused(
      'schema',
      changed('msg', { b: undefined, m: 1, size: limits.CALL_INLINE_BYTES_MAX }),
    ),
    'msg-larger-than-any-message': refused(
      'schema',
      changed('msg', { b: undefined, m: 1, size: limits.MCP_MESSAGE_BYTES_MAX + 1 }),
    ),
    'sign-with-a-body': refused('schema', changed('sign', { b: new Uint8Array(1) })),
    'result-with-a-long-signature': refused('schema', changed('result', { sig: new Uint8Array(65) })),
    'end-with-an-unknown-code': refused('schema', changed('end', { code: 'because' })),
    'end-with-a-novel': refused('schema', changed('end', { why: 'x'.repeat(limits.CALL_WHY_TEXT_MAX + 1) })),
    'rejection-without-a-sentence': refused('schema', changed('rejected', { why: undefined })),
    'part-without-bytes': refused('schema', encodeCbor({ f: 'part', m: 1, p: new Uint8Array() })),
    'part-with-a-size': refused('schema', encodeCbor({ f: 'part', m: 1, p: new Uint8Array(1), size: 1 })),
    // Proofs
    'open-of-another-server': forged('open', { subject: 'mail' }),
    'open-read-as-an-ask': forged('open', { frame: 'ask' }),
    'open-of-another-session': forged('open', { sid: new Uint8Array(16).fill(0x34) }),
    'open-after-another-handshake': forged('open', { hash: digestOf(new Uint8Array(1)) }),
    'open-in-another-network': forged('open', { protocolId: '/agentmesh/other/call/1.0.0' }),
    'open-by-another-key': forged('open', {}, keyOf('mallory').text),
    'ask-about-another-id': forged('ask-for-evidence', { id: Link.ofDigest(digestOf(new Uint8Array(2))) }),
    'renewal-of-another-server': forged('renew', { subject: 'mail' }),
    // Bodies
    'bodies-that-do-not-begin-with-number-1': sequence('malformed', part(2, 1)),
    'body-number-left-out': sequence('malformed', part(1, 1), part(3, 1)),
    'body-without-parts': sequence('malformed', last(1, 70_000)),
    'body-shorter-than-it-says': sequence('malformed', part(1, 1), last(1, 70_000)),
    'body-that-goes-on-after-a-short-part': sequence('malformed', part(1, 1), part(1, 1)),
    'bodies-beyond-64-at-a-time': sequence(
      'too_large',
      ...Array.from({ length: limits.CALL_OPEN_BODIES_MAX + 1 }, (_, i) => part(i + 1, 1)),
    ),
  },
};

/** The code with which this implementation refuses the vector; else the digest of the body that its frames make. */
export function callVerdictOf({ bytes, frames, claim, key }: ValidVector): { code?: string; bodySha256?: string } {
  try {
    if (claim !== undefined) verifyClaim(claim as Record<string, string>, hex(bytes as string), key as string);
    else if (bytes !== undefined) parseCallFrame(hex(bytes as string));
    else return { bodySha256: toHex(digestOf(bodyOf(frames as readonly string[]))) };
    return {};
  } catch (error) {
    if (isMeshError(error)) return { code: error.code };
    throw error;
  }
}

function verifyClaim(claim: Record<string, string>, bytes: Uint8Array, key: string): void {
  const parsed = parseCallFrame(bytes);
  if ('part' in parsed || !('sig' in parsed.frame)) throw new Error('Cannot verify a vector: its frame is not signed');
  const { protocolId = '', hash = '', sid = '', frame, subject = '', id, nonce = '' } = claim;
  const shown: OpenClaim = {
    protocolId,
    hash: hex(hash),
    sid: hex(sid),
    frame: frame as OpenClaim['frame'],
    subject,
    id: id === undefined ? undefined : Link.parse(id),
    nonce: hex(nonce),
  };
  verifyOpenProof(shown, parsed.frame.sig, parseMultikeyText(key), isSignatureValidSodium);
}

function bodyOf(frames: readonly string[]): Uint8Array {
  const assembly = new BodyAssembly([]);
  let body = new Uint8Array();
  for (const frame of frames) {
    const parsed = parseCallFrame(hex(frame));
    if ('part' in parsed) assembly.add(parsed.part.m, parsed.part.bytes);
    else if (parsed.body !== undefined && 'm' in parsed.body)
      body = Uint8Array.from(assembly.take(parsed.body.m, parsed.body.size));
  }
  return body;
}
