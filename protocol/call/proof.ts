/**
 * What shows that whoever opens a stream of calls holds the key of the session (SPEC "Calls"):
 *
 *   sig = sign( "AgentMesh/link/v1" 00 ‖ SHA-256( part ‖ part ‖ … ) )
 *   part = u32be length ‖ bytes, of: protocol id, hash of the session's handshake, sid, frame name, subject, id, nonce
 *
 * The handshake's hash binds it to both organisations, their keys and the connection; frame name and subject keep a proof
 * for one purpose from serving another.
 */
import { concatBytes, u32be } from '../encoding/bytes.ts';
import { digestOf, type Link } from '../encoding/cid.ts';
import { signedBytes } from '../domains.ts';
import { MeshError } from '../errors.ts';
import { CALL_NONCE_BYTES, SESSION_ID_BYTES } from '../limits.ts';
import { type IsSignatureValid, verifySignature } from '../signature.ts';
import type { StatementSigner } from '../statement/statement.ts';

const HANDSHAKE_HASH_BYTES = 32; // SHA-256

export interface OpenClaim {
  /** With the network's name. */
  readonly protocolId: string;
  /** `agreed.hash` of the session. */
  readonly hash: Uint8Array;
  readonly sid: Uint8Array;
  readonly frame: 'open' | 'ask' | 'renew';
  /** open and renew: name of the server; ask: what is asked for. */
  readonly subject: string;
  /** That an ask is about. */
  readonly id?: Link | undefined;
  readonly nonce: Uint8Array;
}

/** The signature of the frame, by the session's key. Errors: malformed. */
export const openProof = (claim: OpenClaim, signer: StatementSigner): Uint8Array =>
  signer.sign(signedBytes('link', openDigest(claim)));

/** `key` is the multikey by which the other side signed the handshake. Errors: bad_signature, malformed. */
export function verifyOpenProof(
  claim: OpenClaim,
  signature: Uint8Array,
  key: Uint8Array,
  isSignatureValid: IsSignatureValid,
): void {
  verifySignature(isSignatureValid, 'link', openDigest(claim), signature, key);
}

/** What is signed after its context. Errors: malformed. */
export function openDigest({ protocolId, hash, sid, frame, subject, id, nonce }: OpenClaim): Uint8Array {
  verifyLength('hash', hash, HANDSHAKE_HASH_BYTES);
  verifyLength('session id', sid, SESSION_ID_BYTES);
  verifyLength('nonce', nonce, CALL_NONCE_BYTES);
  const utf8 = new TextEncoder();
  const parts = [
    utf8.encode(protocolId),
    hash,
    sid,
    utf8.encode(frame),
    utf8.encode(subject),
    id?.bytes ?? new Uint8Array(0),
    nonce,
  ];
  return digestOf(concatBytes(...parts.flatMap((part) => [u32be(part.length), part])));
}

function verifyLength(what: string, { length }: Uint8Array, want: number): void {
  if (length === want) return;
  throw new MeshError('malformed', `Cannot prove a session: its ${what} has ${length} bytes, want ${want}`, {
    is: length,
    want,
  });
}
