/**
 * Verifying a chain again while nothing new was learnt (SPEC "Verifying a chain").
 *
 * What is remembered is that the links of a chain verified by themselves under one revision of the view. Everything that
 * time, the verifier's trust or the request can change is checked each time: roots, grace of keys, windows, freshness,
 * holder, request; and where memory does not serve, the full check runs. So the cache answers what `verifyChain` would,
 * errors included; it only answers sooner.
 */
import { equalBytes } from '../encoding/bytes.ts';
import { isMeshError } from '../errors.ts';
import { CHAIN_CACHE_MAX } from '../limits.ts';
import type { MeshView } from '../state/view.ts';
import type { Statement } from '../statement/statement.ts';
import { type ChainReport, type Progress, startProgress } from './report.ts';
import {
  type ChainCheck,
  linksTo,
  reporting,
  verifyGrace,
  verifyRootTrusted,
  verifyStructure,
  verifyUse,
  verifyWindows,
} from './verify.ts';

type Link = Statement<'delegation/v1'>;

export interface ChainCache {
  /** As verifyChain. `check.isSignatureValid` is taken to be the same rule every time. */
  verify(chain: readonly Link[] | string, check: ChainCheck): ChainReport;
}

export interface ChainCacheOptions {
  /** Chains remembered; the oldest goes first. Default CHAIN_CACHE_MAX. */
  readonly chainsMax?: number;
}

interface Remembered {
  readonly view: MeshView;
  readonly revision: number;
  readonly progress: Progress;
}

export function createChainCache({ chainsMax = CHAIN_CACHE_MAX }: ChainCacheOptions = {}): ChainCache {
  const remembered = new Map<string, Remembered>();
  // Links whose signatures verified here. They do not become invalid, so this outlives revisions of the view.
  const signed = new WeakSet<Link>();
  const isSigned = (link: Link, check: ChainCheck): boolean => signed.has(link) || check.isVerified?.(link) === true;

  function recall(chain: readonly Link[] | string, check: ChainCheck): Progress | undefined {
    const { view } = check;
    const leaf = typeof chain === 'string' ? chain : chain.at(-1)?.id;
    const known = leaf === undefined ? undefined : remembered.get(leaf);
    if (known === undefined || known.view !== view || known.revision !== view.revision) return undefined;
    const { links } = known.progress;
    if (!isSameChain(chain, links, view) || !links.every((link) => isSigned(link, check))) return undefined;
    const progress = { ...known.progress, nowMs: check.nowMs };
    return isStillInForce(progress, check) ? progress : undefined;
  }

  function remember(progress: Progress, { view, isVerified }: ChainCheck): void {
    const leaf = progress.links.at(-1);
    if (leaf === undefined) return;
    for (const link of progress.links) if (isVerified?.(link) !== true) signed.add(link);
    remembered.delete(leaf.id);
    remembered.set(leaf.id, { view, revision: view.revision, progress: { ...progress, links: [...progress.links] } });
    const [oldest] = remembered.keys();
    if (remembered.size > chainsMax && oldest !== undefined) remembered.delete(oldest);
  }

  return {
    verify(chain, check) {
      const known = recall(chain, check);
      const progress = known ?? startProgress(check.nowMs);
      return reporting(progress, () => {
        if (known === undefined) {
          progress.links = typeof chain === 'string' ? linksTo(check.view, chain) : chain;
          verifyStructure(progress, { ...check, isVerified: (link) => isSigned(link, check) });
          remember(progress, check);
        }
        verifyUse(progress, check);
      });
    },
  };
}

/** Whether trust and time have left it as it was; if not, the full check says why. */
function isStillInForce(progress: Progress, check: ChainCheck): boolean {
  try {
    verifyRootTrusted(progress, check.roots);
    for (const signers of progress.signers) verifyGrace(signers, check.nowMs);
    verifyWindows(progress);
    return true;
  } catch (error) {
    if (isMeshError(error)) return false;
    throw error;
  }
}

/** The id of a leaf fixes every payload above it, but not the signatures around them. */
function isSameChain(chain: readonly Link[] | string, links: readonly Link[], view: MeshView): boolean {
  if (typeof chain === 'string') return links.every((link) => view.link(link.id) === link);
  return (
    chain.length === links.length &&
    chain.every((link, i) => link === links[i] || equalBytes(link.envelope, links[i]?.envelope ?? NOTHING))
  );
}
const NOTHING = new Uint8Array(0);
