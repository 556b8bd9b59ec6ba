/**
 * Orders as a callee takes them (SPEC "Serving calls"). An order that is not its caller's, or not of this session, is
 * nobody's: no receipt could say of whom it was, and an honest caller never sends one.
 */
import {
  equalBytes,
  fromHex,
  type IsSignatureValid,
  limits,
  MeshError,
  parseStatementOf,
  verifySignatures,
} from '../../../protocol/index.ts';
import type { OrderStatement } from '../../../protocol/receipt/index.ts';
import type { Session } from '../sessions.ts';

/** Which numbers of a session were used. They may come a little out of order, over several streams. */
export class CallNumbers {
  readonly #used = new Set<number>();
  #highest = 0;

  /** Errors: replay. */
  take(n: number): void {
    if (this.#used.has(n) || n <= this.#highest - limits.CALL_NUMBERS_BEHIND_MAX)
      throw new MeshError('replay', `Cannot take call ${n}: this number was used before in the session`, { is: n });
    this.#used.add(n);
    if (n <= this.#highest) return;
    this.#highest = n;
    if (this.#used.size <= 2 * limits.CALL_NUMBERS_BEHIND_MAX) return;
    for (const used of this.#used) if (used <= n - limits.CALL_NUMBERS_BEHIND_MAX) this.#used.delete(used);
  }
}

export interface OrderCheck {
  readonly session: Session;
  /** Of the frame. */
  readonly n: number;
  readonly isSignatureValid: IsSignatureValid;
  readonly nowMs: number;
}

/** Errors: bad_signature, conflict (naming the field that differs), too_early, those of parseStatement. */
export function parseOrder(envelope: Uint8Array, { session, n, isSignatureValid, nowMs }: OrderCheck): OrderStatement {
  const order = parseStatementOf('call/v1', envelope);
  const { by, sid, hs, iss, aud, n: number } = order.payload;
  const { agreed, as, did } = session;
  if (by[0] === undefined || !equalBytes(by[0], agreed.peerKey))
    throw new MeshError('bad_signature', `Cannot take call ${n}: its order is not by the key of the session`);
  verifySignatures(order, isSignatureValid);
  const isOfSession = equalBytes(sid, fromHex(session.sid) ?? new Uint8Array()) && equalBytes(hs, agreed.hash);
  const wrong = !isOfSession ? 'sid' : iss !== did ? 'iss' : aud !== as ? 'aud' : number !== n ? 'n' : undefined;
  if (wrong !== undefined)
    throw new MeshError('conflict', `Cannot take call ${n}: its order is of another session, by its "${wrong}"`, {
      field: wrong,
    });
  verifyDated(order, session, nowMs);
  return order;
}

/**
 * Its receipt is judged by what held at its iat: dated outside of the session, it could be one that proves nothing against
 * its caller. Errors: conflict, too_early.
 */
function verifyDated({ payload: { n, iat } }: OrderStatement, { openedMs }: Session, nowMs: number): void {
  const earliest = Math.floor(openedMs / 1000) - limits.SKEW_SECONDS;
  if (iat < earliest)
    throw new MeshError('conflict', `Cannot take call ${n}: its order is dated before its session began`, {
      field: 'iat',
    });
  if (iat > Math.floor(nowMs / 1000) + limits.SKEW_SECONDS)
    throw new MeshError('too_early', `Cannot take call ${n}: its order is dated in the future`, { field: 'iat' });
}
