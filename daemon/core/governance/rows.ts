/**
 * Rows of what policies decide by, below `g` and one letter a kind:
 *
 *   g a ‖ id (8 bytes)                    approval (JSON)
 *   g l ‖ SHA-256 of policy, rule, agent  counter of a limit (JSON)
 *   g p ‖ digest (32 bytes)               policy that a caller brought (JSON)
 *   g r ‖ id of the entry (16 bytes)      salt ‖ request (canonical JSON)
 *   g s                                   how many requests are kept, and their bytes (JSON)
 *   g t ‖ SHA-256 of the server's name    what a server's tools were when they were seen first (JSON)
 */
import { concatBytes, MeshError } from '../../../protocol/index.ts';

const GOVERNANCE = 0x67; // "g"
const LETTERS = { approval: 0x61, limit: 0x6c, policy: 0x70, request: 0x72, requestTotals: 0x73, tools: 0x74 } as const;
export type GovernanceRow = keyof typeof LETTERS;

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true });

export const rowKey = (kind: GovernanceRow, id: Uint8Array = new Uint8Array()): Uint8Array =>
  concatBytes(Uint8Array.of(GOVERNANCE, LETTERS[kind]), id);

/** All rows of a kind, from one id on. */
export const rowRange = (kind: GovernanceRow, from?: Uint8Array): readonly [gte: Uint8Array, lt: Uint8Array] => [
  rowKey(kind, from),
  Uint8Array.of(GOVERNANCE, LETTERS[kind] + 1),
];

/** What of a key follows the letter of its kind. */
export const idOfRow = (key: Uint8Array): Uint8Array => key.subarray(2);

export const jsonRow = (value: object): Uint8Array => encoder.encode(JSON.stringify(value));

/** What this daemon wrote as such a row. Errors: store_corrupt. */
export function parseJsonRow(kind: GovernanceRow, value: Uint8Array): unknown {
  try {
    return JSON.parse(decoder.decode(value));
  } catch (cause) {
    throw new MeshError('store_corrupt', `Cannot read a row of kind "${kind}": it is not JSON`, {}, { cause });
  }
}
