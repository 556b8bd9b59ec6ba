import { type ChainReport, type ChainRequest, type Holder, verifyBundle } from '../protocol/index.ts';
import { isSignatureValidSodium } from '../protocol/sodium.ts';
import { capabilitiesOf, type CapabilityInput } from './capability-input.ts';

export interface VerifyChainOptions {
  /** DIDs of the organisations whose grants count here. None: unknown_root. */
  readonly roots: readonly string[];
  /** What is to be done with it; all must be covered. None: the chain alone is checked. */
  readonly capabilities?: readonly CapabilityInput[] | undefined;
  /** The DIDs of the place of use. */
  readonly at?: readonly string[] | undefined;
  readonly purpose?: string | undefined;
  /** Trust score of the holder in the caller's own view. */
  readonly score?: number | undefined;
  /** Who presents it. A DID alone is a claim: name the key of which possession was proved, where there is one. */
  readonly holder?: Holder | undefined;
  /** Default: now. */
  readonly nowMs?: number | undefined;
}

/**
 * Checks a bundle (`mesh.chains.bundle`, `agentmesh chain export`) in this process, from its bytes: no daemon is asked
 * and none is believed. What was revoked since the bundle was made is not in it, so it is good only for as long as the
 * chain tolerates (`status_stale` after that).
 * Errors: those of a chain, with the failing link and the report so far in `data`.
 */
export function verifyChain(
  bundle: Uint8Array,
  { roots, capabilities, at, purpose, score, holder, nowMs = Date.now() }: VerifyChainOptions,
): ChainReport {
  const request: ChainRequest = {
    capabilities: capabilitiesOf(capabilities ?? []),
    ...(at !== undefined && { at }),
    ...(purpose !== undefined && { purpose }),
    ...(score !== undefined && { score }),
  };
  const isAsked = [capabilities, at, purpose, score].some((given) => given !== undefined);
  return verifyBundle(bundle, {
    roots: new Set(roots),
    nowMs,
    isSignatureValid: isSignatureValidSodium,
    ...(isAsked && { request }),
    ...(holder !== undefined && { holder }),
  });
}
