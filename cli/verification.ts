/** Chains checked in this very process, from bytes: nothing is believed because a daemon says so. */
import { type Capability, type ErrorData, isMeshError } from '../protocol/index.ts';
import { type ChainReport, verifyChain } from '../sdk/index.ts';
import type { Checked } from './views/chains.ts';

export interface CheckOptions {
  readonly roots: readonly string[];
  /** None: whether the chain stands, judged as a read. */
  readonly capabilities: readonly Capability[];
  readonly nowMs: number;
}

export function checkBundle(bytes: Uint8Array, { roots, capabilities, nowMs }: CheckOptions): Checked {
  try {
    const report = verifyChain(bytes, { roots, nowMs, ...(capabilities.length > 0 && { capabilities }) });
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
