/**
 * Whether whoever opens a stream of calls holds the key of the session that it names (SPEC "Calls"). The session must be
 * one that the other side began on this very connection, and each proof counts once.
 */
import { type CallFrameOf, type OpenClaim, verifyOpenProof } from '../../../protocol/call/index.ts';
import { type IsSignatureValid, limits, MeshError, toHex } from '../../../protocol/index.ts';
import type { PeerConnection } from '../../ports.ts';
import type { Session, Sessions } from '../sessions.ts';

export interface SessionProofsComponents {
  readonly sessions: Pick<Sessions, 'get' | 'onEnded'>;
  readonly isSignatureValid: IsSignatureValid;
  /** Of the protocol of calls, with the network's name. */
  readonly protocolId: string;
}

type ProvingFrame = CallFrameOf<'open'> | CallFrameOf<'ask'> | CallFrameOf<'renew'>;

export class SessionProofs {
  readonly #components: SessionProofsComponents;
  /** Nonces by session. */
  readonly #seen = new Map<string, Set<string>>();

  constructor(components: SessionProofsComponents) {
    this.#components = components;
    components.sessions.onEnded(({ sid }) => this.#seen.delete(sid));
  }

  /** `server`: that of the link which is renewed. Errors: not_found, bad_signature, replay, busy. */
  verify(frame: ProvingFrame, connection: PeerConnection, server?: string): Session {
    const { sessions, isSignatureValid, protocolId } = this.#components;
    const sid = toHex(frame.sid);
    const session = sessions.get(sid);
    const isTheirs = session?.direction === 'inbound' && session.connection === connection.id;
    if (session === undefined || !isTheirs)
      throw new MeshError('not_found', `Cannot go on in session "${sid}": none of this id is open here`, { id: sid });
    const { hash, peerKey } = session.agreed;
    const claim: OpenClaim = { protocolId, hash, sid: frame.sid, nonce: frame.non, ...subjectOf(frame, server) };
    verifyOpenProof(claim, frame.sig, peerKey, isSignatureValid);
    this.#take(sid, toHex(frame.non));
    return session;
  }

  #take(sid: string, nonce: string): void {
    const seen = this.#seen.get(sid) ?? new Set();
    if (seen.has(nonce))
      throw new MeshError('replay', `Cannot go on in session "${sid}": this proof was shown before`, { id: sid });
    if (seen.size >= limits.CALL_PROOFS_A_SESSION_MAX)
      throw new MeshError('busy', `Cannot go on in session "${sid}": ${seen.size} streams were opened in it`, {
        id: sid,
        is: seen.size,
        want: limits.CALL_PROOFS_A_SESSION_MAX,
      });
    this.#seen.set(sid, seen.add(nonce));
  }
}

function subjectOf(frame: ProvingFrame, server = ''): Pick<OpenClaim, 'frame' | 'subject' | 'id'> {
  if (frame.f === 'open') return { frame: 'open', subject: frame.srv };
  if (frame.f === 'renew') return { frame: 'renew', subject: server };
  return { frame: 'ask', subject: frame.what, ...(frame.id !== undefined && { id: frame.id }) };
}
