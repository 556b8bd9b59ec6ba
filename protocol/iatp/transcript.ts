/**
 * What the signatures of a handshake cover (SPEC "Handshake"):
 *
 *   sig = sign( "AgentMesh/iatp/v1" 00 ‖ role ‖ SHA-256( part ‖ part ‖ … ) )      role: I 49, R 52
 *   part = u32be length ‖ bytes, of: protocol id, PeerId of I, PeerId of R (multihash bytes), channel binding,
 *          every earlier message, the own message without sig
 *
 * Role and order stop reflection; both PeerIds and the channel binding stop relaying, since a man in the middle has
 * another PeerId and another connection on one side; both nonces stop replay without a memory of them.
 */
import { concatBytes, u32be } from '../encoding/bytes.ts';
import { digestOf } from '../encoding/cid.ts';
import { peerIdBytes } from '../encoding/multikey.ts';
import { signedBytes } from '../domains.ts';
import { isMeshError, MeshError } from '../errors.ts';
import { type IsSignatureValid, verifySignature } from '../signature.ts';
import type { StatementSigner } from '../statement/statement.ts';
import { encodeHandshakeFrame, encodeUnsigned, type FrameOf, type SignedFrameName } from './frames.ts';

/** I began the handshake, R answers. */
export type Role = 'I' | 'R';
const ROLE_BYTES: Readonly<Record<Role, number>> = { I: 0x49, R: 0x52 };
const CHANNEL_BINDING_BYTES = 32; // SHA-256

/** The connection that a handshake is bound to. */
export interface HandshakeChannel {
  /** With the network's name. */
  readonly protocolId: string;
  /** PeerId text of I and R. */
  readonly initiator: string;
  readonly responder: string;
  /** Undefined: no Noise frames were recorded, so there is no handshake. */
  readonly channelBinding: Uint8Array | undefined;
}

/** Everything said so far, in order, byte for byte as on the wire. */
export interface Transcript {
  readonly channel: HandshakeChannel;
  readonly messages: readonly Uint8Array[];
}

/** Errors: no_channel_binding, reflection, malformed (a PeerId of another key type). */
export function startTranscript(channel: HandshakeChannel): Transcript {
  const { channelBinding, initiator, responder } = channel;
  if (channelBinding?.length !== CHANNEL_BINDING_BYTES) {
    throw new MeshError(
      'no_channel_binding',
      'Cannot shake hands: nothing is known by which to bind it to the connection',
    );
  }
  if (initiator === responder)
    throw new MeshError('reflection', `Cannot shake hands with ${initiator}: it is this node`);
  peerIdBytes(initiator);
  peerIdBytes(responder);
  return { channel, messages: [] };
}

export const withMessage = ({ channel, messages }: Transcript, message: Uint8Array): Transcript => ({
  channel,
  messages: [...messages, message],
});

/** SHA-256 over the parts. */
export const transcriptHash = (transcript: Transcript, unsigned: Uint8Array): Uint8Array =>
  transcriptDigest(withMessage(transcript, unsigned));

/** The same over what was said and nothing more: with all four messages, what both sides know a session by. */
export function transcriptDigest({ channel, messages }: Transcript): Uint8Array {
  const parts = [
    new TextEncoder().encode(channel.protocolId),
    peerIdBytes(channel.initiator),
    peerIdBytes(channel.responder),
    channel.channelBinding ?? new Uint8Array(0),
    ...messages,
  ];
  return digestOf(concatBytes(...parts.flatMap((part) => [u32be(part.length), part])));
}

/** What a signature of this role covers after its context: role byte ‖ hash. */
export const handshakeMessage = (role: Role, transcript: Transcript, unsigned: Uint8Array): Uint8Array =>
  concatBytes(Uint8Array.of(ROLE_BYTES[role]), transcriptHash(transcript, unsigned));

/** The signed frame, ready to be sent. Errors: schema, malformed, too_large. */
export function signFrame<N extends SignedFrameName>(
  name: N,
  role: Role,
  transcript: Transcript,
  value: Omit<FrameOf<N>, 'sig'>,
  signer: StatementSigner,
): Uint8Array {
  const message = handshakeMessage(role, transcript, encodeUnsigned<N>(value));
  const sig = signer.sign(signedBytes('iatp', message));
  return encodeHandshakeFrame(name, { ...value, sig } as unknown as FrameOf<N>);
}

/** What was signed, by whom it shows: to be verified once it is known which keys may speak for the other side. */
export interface SignatureShown {
  readonly message: Uint8Array;
  readonly signature: Uint8Array;
}

export const signatureShown = <N extends SignedFrameName>(
  role: Role,
  transcript: Transcript,
  frame: FrameOf<N>,
): SignatureShown => ({
  message: handshakeMessage(role, transcript, encodeUnsigned<N>(frame)),
  signature: frame.sig,
});

/** The key of this DID, out of those that may speak for it, that signed. Errors: bad_signature. */
export function verifyShown(
  shown: SignatureShown,
  keys: readonly Uint8Array[],
  isSignatureValid: IsSignatureValid,
  did: string,
): Uint8Array {
  for (const key of keys) {
    try {
      verifySignature(isSignatureValid, 'iatp', shown.message, shown.signature, key);
      return key;
    } catch (error) {
      if (!isMeshError(error)) throw error; // not this one: perhaps the next
    }
  }
  throw new MeshError(
    'bad_signature',
    `Cannot accept a handshake message of "${did}": signed by none of ${keys.length} keys that may speak for it`,
    { did },
  );
}
