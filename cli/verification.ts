/** Chains checked in this very process, from bytes: nothing is believed because a daemon says so. */
import { type Capability, type ChainReport, type ErrorData, isMeshError, verifyBundle } from '../protocol/index.ts';
import { isSignatureValidSodium } from '../protocol/sodium.ts';
import type { Checked } from './views/chains.ts';

export interface CheckOptions {
  readonly roots: readonly string[];
  /** None: whether the chain stands, judged as a read. */
  readonly capabilities: readonly Capability[];
  readonly nowMs: number;
}

export function checkBundle(bytes: Uint8Array, { roots, capabilities, nowMs }: CheckOptions): Checked {
  try {
    const report = verifyBundle(bytes, {
      roots: new Set(roots),
      nowMs,
      isSignatureValid: isSignatureValidSodium,
      ...(capabilities.length > 0 && { request: { capabilities } }),
    });
    return { ok: true, code: null, message: null, data: {}, report };
  } catch (error) {
    return refusedBy(error);
  }
}

/** The refusal of a chain, with the report that every such error carries; any other error is thrown on. */
export function refusedBy(error: unknown): Checked {
  if (!isMeshError(error)) throw error;
  const { report, ...data } = error.data as ErrorData & { readonly report?: ChainReport };
  if (report === undefined) throw error;
  return { ok: false, code: error.code, message: error.message, data, report };
}
