/** Receipts of calls between organisations, checked in the caller's own process: no daemon is asked and none is believed. */
import type { ReceiptView } from '../protocol/control/index.ts';
import { MeshError } from '../protocol/index.ts';
import { parseVkey, type Policy } from '../protocol/log/index.ts';
import { parseReceiptFile, type ReceiptReport, verifyReceiptFile } from '../protocol/receipt/index.ts';
import { isSignatureValidSodium } from '../protocol/sodium.ts';
import type { Call, CallOptions } from './calls.ts';
import { policyOf, type PolicyInput } from './verify-log.ts';

export interface VerifyReceiptOptions {
  /** DIDs of the organisations that the caller knows: every key has to lead to one of them. None: unknown_root. */
  readonly roots: readonly string[];
  /** Verifier keys of witnesses (C2SP vkey), each of which must have cosigned. Not beside `policy`. */
  readonly witnesses?: readonly string[] | undefined;
  /** Whose quorum must have cosigned. Default: nobody, and cosignatures are reported as not checked. */
  readonly policy?: PolicyInput | undefined;
  /** The JSON-RPC messages, byte for byte as they were on the wire. Absent: contents are reported as not checked. */
  readonly request?: Uint8Array | undefined;
  readonly result?: Uint8Array | undefined;
}

/**
 * A receipt file (`mesh.receipts.file`, `agentmesh receipt save`) from its bytes: signatures, whose keys they were, the
 * chain, both logs, cosignatures, contents. What was not checked is said to be so in `checks`, and is not good.
 * Errors: those of reading; else the code of the first check that failed, with the whole report in `data.report`.
 */
export function verifyReceipt(file: Uint8Array, options: VerifyReceiptOptions): ReceiptReport {
  const { roots, request, result } = options;
  const policy = policyFrom(options);
  return verifyReceiptFile(file, {
    isSignatureValid: isSignatureValidSodium,
    roots: new Set(roots),
    ...(policy !== undefined && { policy }),
    ...(request !== undefined && { request }),
    ...(result !== undefined && { result }),
  });
}

/** Errors: malformed, key_type, too_large; conflict, for both at once. */
function policyFrom({ policy, witnesses = [] }: VerifyReceiptOptions): Policy | undefined {
  if (witnesses.length === 0) return policy === undefined ? undefined : policyOf(policy);
  if (policy !== undefined)
    throw new MeshError('conflict', 'Cannot verify a receipt: want a policy or witnesses, not both');
  const vkeys = [...new Set(witnesses)].map((text) => parseVkey(text));
  const names = vkeys.map(({ name }) => name);
  return {
    logs: [],
    witnesses: vkeys.map((vkey) => ({ name: vkey.name, vkey })),
    groups: [{ name: 'all', threshold: names.length, members: names }],
    quorum: 'all',
  };
}

/** What is in a receipt file, unchecked. Errors: too_large, malformed, noncanonical, schema, signers. */
export { parseReceiptFile as readReceiptFile };

export interface ReceiptQuery {
  /** Own agent or organisation. */
  readonly as?: string | undefined;
  /** The other side. */
  readonly did?: string | undefined;
  /** Most to give; default: all. */
  readonly limit?: number | undefined;
}

/** Newest first. Errors: those of the route; cancelled. */
export async function* receiptsOf(
  call: Call,
  { as, did, limit = Number.POSITIVE_INFINITY }: ReceiptQuery = {},
  options: CallOptions = {},
): AsyncGenerator<ReceiptView, void, undefined> {
  let left = limit;
  let before: number | null | undefined;
  do {
    const query = {
      ...(as !== undefined && { as }),
      ...(did !== undefined && { did }),
      ...(before !== undefined && { before: String(before) }),
    };
    const page = await call('receiptList', { query }, options);
    for (const receipt of page.receipts) {
      if (left-- <= 0) return;
      yield receipt;
    }
    before = page.next;
  } while (before !== null && left > 0);
}
