/**
 * Own calls that are over, for when the same key is used again: the other side then shows the receipt of the first time,
 * which can only be checked against the order of then. Those that ended without a receipt of both are held in memory with
 * their session, whose key can still sign; all are in the store, as long as receipts are kept.
 */
import { equalBytes, isMeshError, limits, MeshError } from '../../../protocol/index.ts';
import {
  type OrderStatement,
  type ReceiptStatement,
  signReceiptPayload,
  type TakingStatement,
} from '../../../protocol/receipt/index.ts';
import type { Session } from '../sessions.ts';
import type { KeptReceipt, Receipts } from './receipts.ts';

export interface EndedCall {
  readonly order: OrderStatement;
  readonly salt: Uint8Array;
  readonly taking: TakingStatement | undefined;
  readonly session: Session;
  /** Half. */
  readonly receipt: ReceiptStatement;
}

export interface EarlierCall extends Omit<EndedCall, 'session'> {
  /** Undefined: it was settled before, or by an earlier run. */
  readonly session: Session | undefined;
  readonly calleeKey: Uint8Array;
  /** Undefined: the key is gone. */
  sign(payload: Uint8Array): Uint8Array | undefined;
}

export class EarlierCalls {
  readonly #receipts: Pick<Receipts, 'get'>;
  /** Without a receipt of both, by the id of their order; the oldest first. */
  readonly #ended = new Map<string, EndedCall>();

  constructor(receipts: Pick<Receipts, 'get'>) {
    this.#receipts = receipts;
  }

  add(call: EndedCall): void {
    this.#ended.set(call.order.id, call);
    if (this.#ended.size <= limits.CALLS_ENDED_MAX) return;
    const [oldest] = this.#ended.keys();
    if (oldest !== undefined) this.#ended.delete(oldest);
  }

  settled(id: string): void {
    this.#ended.delete(id);
  }

  /** That `order` repeats. Errors: conflict (it is of another key), outcome_unknown (nothing is held of it). */
  async of(id: string, order: OrderStatement): Promise<EarlierCall> {
    const earlier = this.#inMemory(id) ?? (await this.#kept(id));
    verifyRepeated(earlier.order, order);
    return earlier;
  }

  #inMemory(id: string): EarlierCall | undefined {
    const ended = this.#ended.get(id);
    if (ended === undefined) return undefined;
    const { peerKey, signer } = ended.session.agreed;
    return { ...ended, calleeKey: peerKey, sign: (payload) => signReceiptPayload(payload, signer) };
  }

  async #kept(id: string): Promise<EarlierCall> {
    const { order, salts, taking, receipt } = await this.#get(id);
    const isHalf = receipt.payload.half === true;
    const calleeKey = isHalf ? taking?.payload.by[0] : receipt.payload.by[1];
    if (calleeKey === undefined || salts.req === undefined) throw unknown(id);
    const [own] = receipt.signatures;
    return {
      order,
      salt: salts.req,
      taking,
      receipt,
      session: undefined,
      calleeKey,
      sign: (payload) => (isHalf || !equalBytes(payload, receipt.payloadBytes) ? undefined : own),
    };
  }

  /** Errors: outcome_unknown. */
  async #get(id: string): Promise<KeptReceipt> {
    try {
      const kept = await this.#receipts.get(id);
      if (kept.role === 'caller') return kept;
    } catch (error) {
      if (!isMeshError(error) || error.code !== 'not_found') throw error;
    }
    throw unknown(id);
  }
}

/** Errors: conflict. */
function verifyRepeated({ payload: first }: OrderStatement, { payload: again }: OrderStatement): void {
  const isSame =
    first.iss === again.iss &&
    first.aud === again.aud &&
    first.srv === again.srv &&
    first.key !== undefined &&
    again.key !== undefined &&
    equalBytes(first.key, again.key);
  if (!isSame)
    throw new MeshError('conflict', 'Cannot accept a receipt: it is of another call, and of another key', {
      field: 'call',
    });
}

const unknown = (id: string): MeshError =>
  new MeshError('outcome_unknown', `Cannot check what came of order "${id}": it is not held here any more`, { id });
