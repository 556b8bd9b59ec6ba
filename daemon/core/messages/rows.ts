/**
 * Rows of messages, below `c`, which they share with calls, and one letter a kind:
 *
 *   c i ‖ position (u64)                message in an inbox
 *   c n                                 the highest number given to a message of this daemon
 *   c o ‖ mid (16 bytes)                message of an own agent that waits, or is over
 *   c q ‖ SHA-256 of sender, recipient  the newest message that was taken of a pair
 *
 * Values are DAG-CBOR, and what this daemon wrote.
 */
import {
  type Cbor,
  concatBytes,
  decodeCbor,
  digestOf,
  encodeCbor,
  type ErrorCode,
  isMeshError,
  type MessageFields,
  MeshError,
} from '../../../protocol/index.ts';
import { parseU64, u64be } from '../log/log-rows.ts';

const CALLS = 0x63; // "c"
const LETTERS = { inbox: 0x69, number: 0x6e, outbox: 0x6f, newest: 0x71 } as const;
export type MessageRow = keyof typeof LETTERS;

const rowKey = (kind: MessageRow, id: Uint8Array = new Uint8Array()): Uint8Array =>
  concatBytes(Uint8Array.of(CALLS, LETTERS[kind]), id);

/** All rows of a kind. */
export const rowRange = (kind: MessageRow): readonly [gte: Uint8Array, lt: Uint8Array] => [
  rowKey(kind),
  Uint8Array.of(CALLS, LETTERS[kind] + 1),
];

export const inboxKey = (position: number): Uint8Array => rowKey('inbox', u64be(position));
/** Errors: store_corrupt. */
export const positionOf = (key: Uint8Array): number => parseU64(key.subarray(2), 'a position in the inbox');
export const outboxKey = (mid: Uint8Array): Uint8Array => rowKey('outbox', mid);
export const newestKey = (sender: string, recipient: string): Uint8Array =>
  rowKey('newest', digestOf(new TextEncoder().encode(`${sender} ${recipient}`))); // no DID holds a space
export const NUMBER_KEY: Uint8Array = rowKey('number');

export interface InboxRow {
  readonly message: MessageFields;
  /** Of the sender. */
  readonly organisation: string;
  readonly arrivedMs: number;
  /** What shows to others who sent it: session, multikey and signature. Null: an agent of this daemon. */
  readonly signed: { readonly sid: Uint8Array; readonly key: Uint8Array; readonly sig: Uint8Array } | null;
}

/** The body and its salt are gone once it is over. */
export interface OutboxRow {
  readonly message: Omit<MessageFields, 'body' | 'slt'>;
  readonly content: Pick<MessageFields, 'body' | 'slt'> | null;
  readonly bytes: number;
  /** Leaf of the chain to present; null: one is chosen. */
  readonly grant: string | null;
  /** Id of the entry that says that it will be sent. */
  readonly intent: string;
  readonly createdMs: number;
  /** Null: it waits. `code` null: delivered. */
  readonly over: { readonly code: ErrorCode | null; readonly atMs: number } | null;
}

export interface NewestRow {
  readonly sender: string;
  readonly recipient: string;
  /** Of the sender. */
  readonly organisation: string;
  readonly seq: number;
  readonly mid: Uint8Array;
  /** Unix seconds from which nothing that was sent up to now could be taken again. */
  readonly until: number;
}

interface RowOf {
  readonly inbox: InboxRow;
  readonly number: { readonly seq: number };
  readonly outbox: OutboxRow;
  readonly newest: NewestRow;
}

export const encodeRow = <K extends MessageRow>(_kind: K, row: RowOf[K]): Uint8Array =>
  encodeCbor(row as unknown as Cbor);

/** Errors: store_corrupt. */
export function parseRow<K extends MessageRow>(kind: K, value: Uint8Array): RowOf[K] {
  try {
    return decodeCbor(value) as unknown as RowOf[K];
  } catch (cause) {
    if (!isMeshError(cause)) throw cause;
    throw new MeshError('store_corrupt', `Cannot read a row of kind "${kind}": it is not DAG-CBOR`, {}, { cause });
  }
}
