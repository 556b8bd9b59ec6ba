/**
 * Making delegation links (SPEC "Delegation links"). What a verifier would refuse is refused here, by the verifier's own
 * check, before anything is signed. The payload is for `signStatement`, or for a signer elsewhere (`encodePayload`,
 * `signingInput`, `assembleStatement`). Randomness and time are arguments.
 */
import { encodeCbor, type Cbor } from '../encoding/cbor.ts';
import { Link as LinkValue } from '../encoding/cid.ts';
import { isMeshError, MeshError } from '../errors.ts';
import { CREDENTIAL_SECONDS_MAX } from '../limits.ts';
import { SIGNATURE_BYTES } from '../signature.ts';
import type { MeshView } from '../state/view.ts';
import { encodePayload, type Statement } from '../statement/statement.ts';
import type { Capability } from './capability.ts';
import type { Delegation, Rate } from './link.ts';
import { startProgress } from './report.ts';
import { parseLink, verifyStructure } from './verify.ts';

type Link = Statement<'delegation/v1'>;

/** What a link grants. What is left out is inherited from its parent. */
export interface LinkTerms {
  /** did:mesh or did:key. */
  readonly audience: string;
  readonly capabilities: readonly Capability[];
  readonly expiresSeconds: number;
  /** Default: now, or the parent's where that is later. */
  readonly notBeforeSeconds?: number;
  /** Further hops. */
  readonly depth?: number;
  readonly rates?: readonly Rate[];
  readonly at?: readonly string[];
  readonly purposes?: readonly string[];
  readonly minScore?: number;
  readonly stalenessSeconds?: number;
  /** Never published, only presented. Implied by a bound key and by a private parent. */
  readonly private?: boolean;
  /** Multikey: the one key that may exercise or continue the link. */
  readonly boundKey?: Uint8Array;
}

export interface IssueContext {
  /** 16 random bytes. */
  readonly nonce: Uint8Array;
  readonly nowSeconds: number;
  /** What is known: with it, keys, DIDs and revocations are checked too. */
  readonly view?: MeshView;
}

/** Multikeys of use `delegate`. */
export interface RootSigners {
  readonly organisation: { readonly did: string; readonly key: Uint8Array };
  readonly sponsor: { readonly did: string; readonly key: Uint8Array };
}

/** To be signed by the organisation, then the sponsor. Errors: those of verifyChain before freshness. */
export function createRootLink(
  terms: LinkTerms,
  { organisation, sponsor }: RootSigners,
  context: IssueContext,
): Delegation {
  const payload: Delegation = {
    ...termsOf(terms, undefined, context),
    by: [organisation.key, sponsor.key],
    iss: organisation.did,
    sub: organisation.did,
    spo: sponsor.did,
    prf: null,
  };
  verifyIssue(payload, [], context);
  return payload;
}

/**
 * Continues a chain (root first). `key` is the signer's: the key that the last link binds, or one of use `delegate` of its
 * audience. Errors: those of verifyChain before freshness.
 */
export function createChildLink(
  terms: LinkTerms,
  chain: readonly Link[],
  key: Uint8Array,
  context: IssueContext,
): Delegation {
  const parent = chain.at(-1);
  if (parent === undefined) throw new MeshError('malformed', 'Cannot continue a chain: it has no links');
  const { aud, sub, spo } = parent.payload;
  const payload: Delegation = {
    ...termsOf(terms, parent.payload, context),
    by: [key],
    iss: aud,
    sub,
    spo,
    prf: LinkValue.ofDigest(parent.digest),
  };
  verifyIssue(payload, chain, context);
  return payload;
}

export interface CredentialTerms
  extends Omit<LinkTerms, 'audience' | 'capabilities' | 'expiresSeconds' | 'boundKey' | 'private'> {
  readonly boundKey: Uint8Array;
  /** Default: those of the last link of the chain. */
  readonly capabilities?: readonly Capability[];
  /** Default 900, and at most that; cut to what the chain has left. */
  readonly seconds?: number;
}

/** An agent's link to itself that binds an ephemeral key. Errors: those of verifyChain before freshness. */
export function createCredential(
  terms: CredentialTerms,
  chain: readonly Link[],
  key: Uint8Array,
  context: IssueContext,
): Delegation {
  const parent = chain.at(-1)?.payload;
  if (parent === undefined) throw new MeshError('malformed', 'Cannot continue a chain: it has no links');
  const { seconds = CREDENTIAL_SECONDS_MAX, capabilities = parent.cap, ...rest } = terms;
  const expiresSeconds = Math.min(context.nowSeconds + seconds, parent.exp);
  return createChildLink({ ...rest, capabilities, expiresSeconds, audience: parent.aud }, chain, key, context);
}

function termsOf(
  terms: LinkTerms,
  parent: Delegation | undefined,
  { nonce, nowSeconds }: IssueContext,
): Omit<Delegation, 'by' | 'iss' | 'sub' | 'spo' | 'prf'> {
  const { depth, rates, at, purposes, minScore, stalenessSeconds, boundKey } = terms;
  const isPrivate = terms.private === true || boundKey !== undefined || parent?.pri === true;
  return {
    t: 'delegation/v1',
    iat: nowSeconds,
    aud: terms.audience,
    cap: terms.capabilities,
    nbf: terms.notBeforeSeconds ?? Math.max(nowSeconds, parent?.nbf ?? 0),
    exp: terms.expiresSeconds,
    nce: nonce,
    ...(boundKey !== undefined && { cnf: boundKey }),
    ...(depth !== undefined && { dep: depth }),
    ...(rates !== undefined && { rate: rates }),
    ...(at !== undefined && { at }),
    ...(purposes !== undefined && { pur: purposes }),
    ...(minScore !== undefined && { mts: minScore }),
    ...(stalenessSeconds !== undefined && { stl: stalenessSeconds }),
    ...(isPrivate && { pri: true as const }),
  };
}

/**
 * The verifier's check of the chain as it would be, signatures aside, at the moment in which the link begins. Errors name
 * the link that is at fault by its place in the chain.
 */
function verifyIssue(payload: Delegation, chain: readonly Link[], { nowSeconds, view }: IssueContext): void {
  const nowMs = Math.max(nowSeconds, payload.nbf) * 1000;
  const progress = startProgress(nowMs);
  progress.at = chain.length;
  try {
    progress.links = [...chain, unsigned(payload)];
    verifyStructure(progress, {
      view,
      nowMs,
      roots: new Set([payload.sub]),
      isVerified: () => true,
      isSignatureValid: () => false,
    });
  } catch (error) {
    if (!isMeshError(error)) throw error;
    throw new MeshError(error.code, error.message, { ...error.data, link: progress.at }, { cause: error });
  }
}

/** As any receiver would parse it, with blanks for signatures. Errors: malformed, budget. */
function unsigned(payload: Delegation): Link {
  try {
    const blanks = payload.by.map(() => new Uint8Array(SIGNATURE_BYTES));
    return parseLink(encodeCbor([encodePayload<'delegation/v1'>(payload), blanks] satisfies Cbor));
  } catch (error) {
    if (!isMeshError(error) || error.code !== 'schema') throw error;
    throw new MeshError('malformed', error.message, { ...error.data, reason: error.code }, { cause: error });
  }
}
