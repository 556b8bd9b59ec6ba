/**
 * Rows of calls between organisations, below `c`, which they share with messages (daemon/core/messages/rows.ts), and one
 * letter a kind:
 *
 *   c c                           names that the configuration exposed when the daemon last started (DAG-CBOR)
 *   c d ‖ digest (32)             of an order or receipt: the number of the receipt that is kept (u64)
 *   c e ‖ name (text)             a server exposed by command (DAG-CBOR)
 *   c h ‖ handshake (32)          what shows who signs in a session: messages and statements (DAG-CBOR)
 *   c k ‖ caller and key (32)     what was asked under an idempotency key, and what came of it (DAG-CBOR)
 *   c m ‖ organisation (16) ‖ milliseconds (u64) ‖ caller and key   bytes of that row (u32)
 *   c r ‖ number (u64)            a receipt with what belongs to it (DAG-CBOR)
 *   c s ‖ handshake ‖ number      the receipts of a session (empty)
 *   c t                           first and next number of receipts (DAG-CBOR)
 */
import { type Cbor, concatBytes, decodeCbor, isMeshError, MeshError } from '../../../protocol/index.ts';

const CALLS = 0x63; // "c"
const LETTERS = {
  configured: 0x63,
  digest: 0x64,
  exposure: 0x65,
  handshake: 0x68,
  key: 0x6b,
  keyByTime: 0x6d,
  receipt: 0x72,
  ofSession: 0x73,
  receiptNumbers: 0x74,
} as const;
export type CallRow = keyof typeof LETTERS;

export const rowKey = (kind: CallRow, id: Uint8Array = new Uint8Array()): Uint8Array =>
  concatBytes(Uint8Array.of(CALLS, LETTERS[kind]), id);

/** All rows of a kind below a prefix. */
export const rowRange = (
  kind: CallRow,
  prefix: Uint8Array = new Uint8Array(),
): readonly [gte: Uint8Array, lt: Uint8Array] => {
  const gte = rowKey(kind, prefix);
  return [gte, afterPrefix(gte)];
};

/** The least key that no key with this prefix reaches. */
function afterPrefix(prefix: Uint8Array): Uint8Array {
  const end = Uint8Array.from(prefix);
  for (let i = end.length - 1; i >= 0; i--) {
    const byte = end[i] as number;
    if (byte === 0xff) continue;
    end[i] = byte + 1;
    return end.subarray(0, i + 1);
  }
  throw new MeshError('internal', 'Cannot range over rows: their prefix is all ones');
}

/** What this daemon wrote as such a row. Errors: store_corrupt. */
export function decodeRow(kind: CallRow, value: Uint8Array): Cbor {
  try {
    return decodeCbor(value);
  } catch (cause) {
    if (!isMeshError(cause)) throw cause;
    throw new MeshError('store_corrupt', `Cannot read a row of kind "${kind}": ${cause.message}`, {}, { cause });
  }
}
