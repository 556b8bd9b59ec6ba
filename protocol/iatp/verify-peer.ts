/**
 * What one side checks of the other, the same for both (SPEC "Handshake"), in this order:
 *
 *   PeerId listed by the organisation → log and heartbeat fresh → sponsor and standing → who signed → chain →
 *   capabilities → score
 *
 * Only what the verifier holds and computes counts; of what the other side says nothing does but its signatures.
 */
import { equalBytes, fromHex } from '../encoding/bytes.ts';
import { isMeshError, MeshError } from '../errors.ts';
import { type Capability, isCovered } from '../delegation/capability.ts';
import {
  freshnessOf,
  stalenessOf,
  STALENESS_POLICY,
  type StalenessPolicy,
  verifyFreshness,
} from '../delegation/freshness.ts';
import { isCredential, isRequestCovered } from '../delegation/order.ts';
import type { ChainReport } from '../delegation/report.ts';
import { type ChainCheck, type ChainRequest, type Holder, linksTo, verifyChain } from '../delegation/verify.ts';
import { SKEW_SECONDS } from '../limits.ts';
import type { IsSignatureValid } from '../signature.ts';
import type { DidState, MeshView } from '../state/view.ts';
import type { Statement } from '../statement/statement.ts';
import type { Presented } from './presentation.ts';
import { type SignatureShown, verifyShown } from './transcript.ts';

type Link = Statement<'delegation/v1'>;

/** Everything that is checked, in this order; the last by the caller. */
export const PEER_CHECKS = [
  'channel',
  'peer',
  'status',
  'sponsor',
  'signer',
  'chain',
  'capabilities',
  'score',
  'policy',
] as const;
export type PeerCheckName = (typeof PEER_CHECKS)[number];

/** Who the other side says it is. */
export interface PeerClaim extends Presented {
  readonly did: string;
  /** PeerId of the connection. */
  readonly peer: string;
}

export interface PeerCheck {
  /** With the private links that were presented. */
  readonly view: MeshView;
  readonly nowMs: number;
  /** Own wall clock when this decision began. */
  readonly askedSinceMs: number;
  readonly isSignatureValid: IsSignatureValid;
  /** Whether the signatures of this very link were verified before. */
  readonly isVerified: (link: Link) => boolean;
  /** Roots that the verifier trusts, for `grant`. */
  readonly roots: ReadonlySet<string>;
  /** What the signature of the other side covers, or the key that it was found to be by earlier. */
  readonly signed: SignatureShown | { readonly key: Uint8Array };
  /** What its chain must cover. */
  readonly wanted: readonly Capability[];
  /** What the handshake is about, which decides how recent knowledge must be. */
  readonly asked: readonly Capability[];
  /** DIDs of the place of use: the one asked and its organisation. */
  readonly at: readonly string[];
  readonly purpose?: string;
  /** In the verifier's own view. */
  readonly score: number;
  readonly minScore: number;
  readonly staleness?: StalenessPolicy;
}

export type StandingCheck = Pick<
  PeerCheck,
  'view' | 'nowMs' | 'isSignatureValid' | 'isVerified' | 'roots' | 'signed' | 'staleness' | 'askedSinceMs'
>;

/** What was checked, and what the answer rests on. */
export interface PeerReport {
  readonly did: string;
  readonly organisation: string;
  /** The human sponsor; null for an organisation. */
  readonly sponsor: string | null;
  /** The multikey that signed. */
  readonly key: Uint8Array;
  readonly checked: readonly PeerCheckName[];
  readonly ident: ChainReport | null;
  readonly grant: ChainReport | null;
  /** Ids of all links. */
  readonly links: readonly string[];
  /** DIDs and organisations named in the links, the own included. */
  readonly dids: readonly string[];
  /** Tolerated staleness, seconds, by organisation. */
  readonly organisations: ReadonlyMap<string, number>;
  /** Limits of the chain on what is wanted. Each counts under its own link id. */
  readonly rates: readonly { readonly link: string; readonly can: string; readonly n: number; readonly per: number }[];
  /** From here on some link is out of its window; null: nothing here ends by itself. */
  readonly validUntilSeconds: number | null;
}

/**
 * Errors: did_unknown, did_forked, did_deactivated, policy_denied (a person), peer_not_bound, status_stale,
 * sponsor_missing, sponsor_revoked, bad_signature, chain (data.reason), caps_insufficient, score_below.
 */
export function verifyPeer(stated: PeerClaim, check: PeerCheck): PeerReport {
  const policy = check.staleness ?? STALENESS_POLICY;
  const staleAfterSeconds = stalenessOf(check.asked, null, policy);
  // No chain is judged more leniently than what the handshake is about.
  const staleness: StalenessPolicy = { ...policy, readSeconds: Math.min(policy.readSeconds, staleAfterSeconds) };
  const own: PeerCheck = { ...check, staleness };

  const organisation = verifyBound(stated, check.view);
  const claim = claimOf(stated, organisation);
  const freshness = freshnessOf(check.view, organisation, check.nowMs, {
    staleAfterSeconds,
    askedSinceMs: check.askedSinceMs,
  });
  verifyFreshness([freshness], staleAfterSeconds);
  const ident = claim.did === organisation ? null : verifyIdent(claim, organisation, own);
  const key = verifySigner(claim, own);
  const grant = claim.grant === undefined ? null : verifyGrant(claim.grant, { did: claim.did, key }, own);
  verifyCovered(grant, check.wanted);
  verifyScore(check);
  return reportOf(claim, organisation, { key, ident, grant, staleAfterSeconds }, check);
}

/**
 * Of what verifyPeer checked, all that what was learnt since may have changed; `check.signed` is the key that signed.
 * How old the knowledge is does not enter: that ends sessions by itself. Errors: as verifyPeer.
 */
export function verifyStanding(stated: PeerClaim, check: StandingCheck): void {
  const organisation = verifyBound(stated, check.view);
  const claim = claimOf(stated, organisation);
  if (claim.did !== organisation) whateverItsAge(() => verifyIdent(claim, organisation, check));
  verifySigner(claim, check);
  const { grant } = claim;
  if (grant !== undefined) whateverItsAge(() => inChain(() => verifyChain(grant, chainCheck(check, check.roots))));
}

/** A chain is found stale after all that is known of it was found good. */
function whateverItsAge(run: () => void): void {
  try {
    run();
  } catch (error) {
    if (!isMeshError(error) || error.code !== 'chain' || error.data.reason !== 'status_stale') throw error;
  }
}

/** An organisation has no sponsor: an agent's credential beside it would speak for the agent, and so counts for nothing. */
function claimOf({ did, peer, ident, grant }: PeerClaim, organisation: string): PeerClaim {
  return {
    did,
    peer,
    ...(ident === undefined || did === organisation ? {} : { ident }),
    ...(grant === undefined ? {} : { grant }),
  };
}

/** The organisation for which the peer of the connection may speak. */
function verifyBound({ did, peer }: PeerClaim, view: MeshView): string {
  const state = activeState(view, did);
  if (state.kind === 'person')
    throw new MeshError(
      'policy_denied',
      `Cannot shake hands with "${did}": it is a person, want an agent or organisation`,
      { did },
    );
  const organisation = activeState(view, state.organisation);
  if (!organisation.peers.includes(peer)) {
    throw new MeshError('peer_not_bound', `Cannot shake hands with "${did}": its organisation does not list ${peer}`, {
      did: organisation.did,
      is: peer,
    });
  }
  return organisation.did;
}

function activeState(view: MeshView, did: string): DidState {
  const state = view.didState(did);
  if (state === undefined)
    throw new MeshError('did_unknown', `Cannot shake hands with "${did}": its log is not held`, { did, waitsFor: did });
  if (state.status === 'active') return state;
  const code = state.status === 'frozen' ? 'did_forked' : 'did_deactivated';
  throw new MeshError(code, `Cannot shake hands with "${did}": it is ${state.status}`, { did });
}

/** A human sponsor of the own organisation answers for the agent, and it stands: root link, or credential under it. */
function verifyIdent({ did, ident }: PeerClaim, organisation: string, check: StandingCheck): ChainReport {
  if (ident === undefined)
    throw new MeshError(
      'sponsor_missing',
      `Cannot shake hands with "${did}": it shows no root link of its organisation`,
      { did },
    );
  const links = inChain(() => linksTo(check.view, ident));
  const [root, ...credentials] = links.map(({ payload }) => payload);
  if (root?.aud !== did || root.sub !== organisation || !credentials.every(isCredential)) {
    throw new MeshError(
      'sponsor_missing',
      `Cannot shake hands with "${did}": "${ident}" is no root link from its organisation to it`,
      { did, id: ident },
    );
  }
  try {
    return inChain(() => verifyChain(links, chainCheck(check, new Set([organisation]))));
  } catch (error) {
    throw asSponsorError(error, root.spo);
  }
}

const SPONSOR_ERRORS = ['revoked', 'did_deactivated', 'did_forked'];
function asSponsorError(error: unknown, sponsor: string): unknown {
  if (!isMeshError(error)) return error;
  const { reason, did } = error.data;
  if (reason === 'sponsor_missing')
    return new MeshError('sponsor_missing', error.message, error.data, { cause: error });
  if (did !== sponsor || !SPONSOR_ERRORS.includes(String(reason))) return error;
  return new MeshError('sponsor_revoked', error.message, { ...error.data, did: sponsor }, { cause: error });
}

/** The one key that a credential binds, else any of `auth` use. */
function verifySigner(claim: PeerClaim, check: StandingCheck): Uint8Array {
  const keys = speakersFor(claim, check);
  const { signed } = check;
  if ('signature' in signed) return verifyShown(signed, keys, check.isSignatureValid, claim.did);
  if (keys.some((key) => equalBytes(key, signed.key))) return signed.key;
  throw new MeshError('chain', `Cannot go on with "${claim.did}": the key that signed may not speak for it any more`, {
    reason: 'key_retired',
    did: claim.did,
  });
}

function speakersFor({ did, ident, grant }: PeerClaim, { view, nowMs }: StandingCheck): readonly Uint8Array[] {
  const bound = [grant, ident].flatMap((id) => (id === undefined ? [] : (boundKey(id, did, view) ?? [])));
  const [first, second] = bound;
  if (first === undefined) return authKeysOf(view, did, nowMs);
  if (second !== undefined && !equalBytes(first, second)) {
    throw new MeshError('chain', 'Cannot accept a presentation: its two credentials bind different keys', {
      reason: 'holder_mismatch',
      did,
    });
  }
  return [first];
}

/**
 * Whoever may grant may grant to anybody, and bind any key: that it is the key of `did` is for itself to say, or its
 * organisation. Errors: chain (holder_mismatch).
 */
function boundKey(id: string, did: string, view: MeshView): Uint8Array | undefined {
  const { cnf, iss } = view.link(id)?.payload ?? {};
  if (cnf === undefined || iss === did || iss === view.didState(did)?.organisation) return cnf;
  throw new MeshError('chain', `Cannot take a key for that of "${did}": link "${id}" by "${iss}" binds it`, {
    reason: 'holder_mismatch',
    id,
    did,
  });
}

/** Keys of `auth` use that count now. */
function authKeysOf(view: MeshView, did: string, nowMs: number): readonly Uint8Array[] {
  const state = view.didState(did);
  if (state === undefined) return [];
  const current = state.keys.filter(([, uses]) => uses.includes('auth')).map(([key]) => key);
  return current.filter((key) => !isRevoked(view, state, key)).concat(graceKeysOf(view, state, nowMs));
}

function graceKeysOf(view: MeshView, state: DidState, nowMs: number): Uint8Array[] {
  const keys: Uint8Array[] = [];
  for (const [id, standing] of state.listed) {
    if (
      standing.standing !== 'grace' ||
      !standing.uses.includes('auth') ||
      nowMs >= (standing.untilSeconds + SKEW_SECONDS) * 1000
    )
      continue;
    const key = fromHex(id);
    if (key !== undefined && !isRevoked(view, state, key)) keys.push(key);
  }
  return keys;
}

/** A key of an agent is revoked by that agent or its organisation; an organisation's by nobody. */
const isRevoked = (view: MeshView, { did, ctl }: DidState, key: Uint8Array): boolean =>
  ctl !== undefined && view.revocationsOf({ did, key }).some(({ payload: { iss } }) => iss === did || iss === ctl);

const chainCheck = (
  { view, nowMs, askedSinceMs, isSignatureValid, isVerified, staleness }: StandingCheck,
  roots: ReadonlySet<string>,
): ChainCheck => ({
  view,
  roots,
  nowMs,
  askedSinceMs,
  isSignatureValid,
  isVerified,
  ...(staleness === undefined ? {} : { staleness }),
});

function verifyGrant(leaf: string, holder: Holder, check: PeerCheck): ChainReport {
  const { wanted, at, purpose, score } = check;
  const request: ChainRequest = { capabilities: wanted, at, score, ...(purpose === undefined ? {} : { purpose }) };
  return inChain(() => verifyChain(leaf, { ...chainCheck(check, check.roots), holder, request }));
}

/** A chain's codes in the words of the handshake. */
function inChain<T>(run: () => T): T {
  try {
    return run();
  } catch (error) {
    if (!isMeshError(error)) throw error;
    if (error.code === 'not_covered')
      throw new MeshError('caps_insufficient', error.message, error.data, { cause: error });
    if (error.code === 'score_below') throw error;
    throw new MeshError('chain', error.message, { ...error.data, reason: error.code }, { cause: error });
  }
}

/** Without a chain there are no capabilities, whatever else is proved. */
function verifyCovered(grant: ChainReport | null, wanted: readonly Capability[]): void {
  const missing = wanted.find((one) => !isRequestCovered(one, grant?.effective?.capabilities ?? []));
  if (missing === undefined) return;
  throw new MeshError(
    'caps_insufficient',
    `Cannot grant "${missing.can}": ${grant === null ? 'no chain was presented' : 'the chain does not cover it'}`,
    {
      is: grant === null ? 'none' : 'less',
      want: missing.can,
    },
  );
}

function verifyScore({ score, minScore }: PeerCheck): void {
  if (score >= minScore) return;
  throw new MeshError(
    'score_below',
    `Cannot trust the other side enough: its score here is ${score}, want >= ${minScore}`,
    { min: minScore, is: score, want: minScore },
  );
}

interface Verified {
  readonly key: Uint8Array;
  readonly ident: ChainReport | null;
  readonly grant: ChainReport | null;
  readonly staleAfterSeconds: number;
}

function reportOf(
  claim: PeerClaim,
  organisation: string,
  { key, ident, grant, staleAfterSeconds }: Verified,
  { view, wanted }: PeerCheck,
): PeerReport {
  const reports = [ident, grant].filter((report) => report !== null);
  const links = [...new Set(reports.flatMap(({ ids }) => ids))];
  const organisations = new Map([[organisation, staleAfterSeconds]]);
  for (const { checkedThrough, staleAfterSeconds: own } of reports) {
    for (const { did } of checkedThrough)
      organisations.set(did, Math.min(organisations.get(did) ?? Number.POSITIVE_INFINITY, own ?? staleAfterSeconds));
  }
  const untils = reports.flatMap(({ validUntilSeconds }) => validUntilSeconds ?? []);
  const checked = PEER_CHECKS.filter(
    (name) => name !== 'policy' && (name !== 'sponsor' || ident !== null) && (name !== 'chain' || grant !== null),
  );
  return {
    did: claim.did,
    organisation,
    sponsor: ident?.sponsor ?? null,
    key,
    checked: checked.filter((name) => name !== 'capabilities' || wanted.length > 0),
    ident,
    grant,
    links,
    dids: didsIn(view, links, [claim.did, organisation]),
    organisations,
    rates: (grant?.effective?.rates ?? []).filter(({ can }) =>
      wanted.some((one) => isCovered(can, one.can) || isCovered(one.can, can)),
    ),
    validUntilSeconds: untils.length === 0 ? null : Math.min(...untils),
  };
}

/** Every DID that the links name, and its organisation. */
export function didsIn(view: MeshView, links: readonly string[], further: readonly string[]): string[] {
  const dids = new Set(further);
  for (const id of links) {
    const payload = view.link(id)?.payload;
    if (payload !== undefined) for (const did of [payload.iss, payload.aud, payload.sub, payload.spo]) dids.add(did);
  }
  for (const did of dids) {
    const organisation = view.didState(did)?.organisation;
    if (organisation !== undefined) dids.add(organisation);
  }
  return [...dids];
}
