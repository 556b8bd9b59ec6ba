/**
 * The one check of delegation chains (SPEC "Verifying a chain"): no other path leads from links to authority.
 *
 *   size, strict decode → root → for each link: continuity, key, signature, order → window → revocation → freshness
 *   → holder → meet for the request
 *
 * It ends in a report of what was checked and as of when, or in one MeshError whose code is in CHAIN_CODES and whose
 * data names the failing link and holds the report so far. Nothing else is thrown, whatever the bytes.
 */
import { equalBytes, toHex } from '../encoding/bytes.ts';
import { type Cbor, decodeCbor } from '../encoding/cbor.ts';
import { multikeyText } from '../encoding/multikey.ts';
import { type ErrorCode, isMeshError, MeshError } from '../errors.ts';
import { keyOfDidKey } from '../identity/did.ts';
import type { KeyUse } from '../identity/operations.ts';
import { CHAIN_BYTES_MAX, CHAIN_LINKS_MAX, SKEW_SECONDS } from '../limits.ts';
import type { IsSignatureValid } from '../signature.ts';
import type { DidState, MeshView } from '../state/view.ts';
import { parseStatementOf, type Statement, verifySignatures } from '../statement/statement.ts';
import { type Capability, isCapability, isResource } from './capability.ts';
import { freshnessOf, stalenessOf, STALENESS_POLICY, type StalenessPolicy, verifyFreshness } from './freshness.ts';
import type { Delegation } from './link.ts';
import {
  depthLeft,
  freshWork,
  isRequestCovered,
  meetOf,
  rootDepth,
  verifyContinuity,
  verifyNarrower,
} from './order.ts';
import { type ChainReport, type Check, type Progress, reportOf, type Signer, startProgress } from './report.ts';

type Link = Statement<'delegation/v1'>;

/** Every code with which a chain is refused. */
export const CHAIN_CODES = [
  'malformed',
  'noncanonical',
  'unknown_root',
  'sponsor_missing',
  'broken_link',
  'key_unknown',
  'key_retired',
  'did_unknown',
  'did_forked',
  'did_deactivated',
  'bad_signature',
  'widened',
  'not_yet',
  'expired',
  'depth',
  'revoked',
  'status_stale',
  'holder_mismatch',
  'not_covered',
  'score_below',
  'budget',
] as const satisfies readonly ErrorCode[];
export type ChainCode = (typeof CHAIN_CODES)[number];

/** What is to be done with a chain. With none, limits of place, purpose and score are reported as not checked. */
export interface ChainRequest {
  /** All of these must be covered. None: standing alone, judged as a read. An entry without `res` asks for all resources. */
  readonly capabilities: readonly Capability[];
  /** The DIDs of the place of use: the agent asked and its organisation. */
  readonly at?: readonly string[];
  readonly purpose?: string;
  /** Trust score of the exerciser in the verifier's own view. Unknown is below every minimum. */
  readonly score?: number;
}

/** Who presents a chain. */
export interface Holder {
  readonly did: string;
  /** The multikey of which possession was proved. Required by a leaf that binds a key; else a key of `auth` use. */
  readonly key?: Uint8Array;
}

export interface ChainCheck {
  readonly view: MeshView;
  /** Organisations whose grants count here. Empty: `unknown_root`, never a guess. */
  readonly roots: ReadonlySet<string>;
  readonly nowMs: number;
  readonly isSignatureValid: IsSignatureValid;
  /** Whether the signatures of this very statement were verified before, as by the door; default: none were. */
  readonly isVerified?: (link: Link) => boolean;
  readonly request?: ChainRequest;
  readonly holder?: Holder;
  /** Default STALENESS_POLICY. */
  readonly staleness?: StalenessPolicy;
  /** Own wall clock when this decision began; without it nothing critical verifies. */
  readonly askedSinceMs?: number;
}

/** Links root first, or the id of a leaf whose links the view holds. Errors: CHAIN_CODES. */
export function verifyChain(chain: readonly Link[] | string, check: ChainCheck): ChainReport {
  const progress = startProgress(check.nowMs);
  return reporting(progress, () => {
    progress.links = typeof chain === 'string' ? linksTo(check.view, chain) : chain;
    verifyStructure(progress, check);
    verifyUse(progress, check);
  });
}

/** The same of envelopes, root first, as they come from outside. Errors: CHAIN_CODES. */
export function verifyChainBytes(envelopes: readonly Uint8Array[], check: ChainCheck): ChainReport {
  const progress = startProgress(check.nowMs);
  return reporting(progress, () => {
    verifyBudget(envelopes);
    const links: Link[] = [];
    progress.links = links;
    for (const envelope of envelopes) {
      progress.at = links.length;
      links.push(parseLink(envelope));
    }
    verifyStructure(progress, check);
    verifyUse(progress, check);
  });
}

/** Runs checks and reports how far they came, either way. */
export function reporting(progress: Progress, run: () => void): ChainReport {
  try {
    run();
  } catch (error) {
    if (!isMeshError(error)) throw error;
    const data = { ...error.data, link: progress.at, report: reportOf(progress, true) };
    const id = progress.links[progress.at]?.id;
    throw new MeshError(error.code, error.message, id === undefined ? data : { ...data, id }, { cause: error });
  }
  return reportOf(progress, false);
}

const pass = (progress: Progress, ...checks: readonly Check[]): void => {
  progress.checked = [...progress.checked, ...checks];
};

// Size and encoding

function verifyBudget(envelopes: readonly Uint8Array[]): void {
  if (envelopes.length > CHAIN_LINKS_MAX) {
    throw new MeshError(
      'budget',
      `Cannot verify a chain: it has ${envelopes.length} links, want at most ${CHAIN_LINKS_MAX}`,
      {
        is: envelopes.length,
        want: CHAIN_LINKS_MAX,
      },
    );
  }
  let bytes = 0;
  for (const { length } of envelopes) bytes += length;
  if (bytes > CHAIN_BYTES_MAX) {
    throw new MeshError('budget', `Cannot verify a chain: it has ${bytes} bytes, want at most ${CHAIN_BYTES_MAX}`, {
      is: bytes,
      want: CHAIN_BYTES_MAX,
    });
  }
}

/** Errors: malformed, noncanonical, sponsor_missing, budget: what statements in general answer, in the words of chains. */
export function parseLink(envelope: Uint8Array): Link {
  try {
    return parseStatementOf('delegation/v1', envelope);
  } catch (error) {
    if (!isMeshError(error) || error.code === 'malformed' || error.code === 'noncanonical') throw error;
    const data = { ...error.data, reason: error.code };
    if (error.code === 'too_large') throw new MeshError('budget', error.message, data, { cause: error });
    if (isUnsponsored(envelope))
      throw new MeshError('sponsor_missing', 'Cannot accept a root link: its sponsor did not sign it', data, {
        cause: error,
      });
    throw new MeshError('malformed', error.message, data, { cause: error });
  }
}

/** Whether an envelope that was refused is that of a root link with one signer or signature where two are due. */
function isUnsponsored(envelope: Uint8Array): boolean {
  const [bytes, signatures] = itemsOf(decodedOr(envelope));
  const payload = bytes instanceof Uint8Array ? decodedOr(bytes) : null;
  if (
    typeof payload !== 'object' ||
    payload === null ||
    !('t' in payload) ||
    payload.t !== 'delegation/v1' ||
    payload.prf !== null
  )
    return false;
  return itemsOf(payload.by).length === 1 || itemsOf(signatures).length === 1;
}

const itemsOf = (value: Cbor | undefined): readonly Cbor[] => (Array.isArray(value) ? (value as readonly Cbor[]) : []);

function decodedOr(bytes: Uint8Array): Cbor {
  try {
    return decodeCbor(bytes);
  } catch {
    return null; // refused already: this only looks for a better word
  }
}

/** Root first, as the view holds them. Errors: broken_link, budget. */
export function linksTo(view: Pick<MeshView, 'link'>, leaf: string): Link[] {
  const links: Link[] = [];
  for (let id: string | undefined = leaf; id !== undefined; ) {
    if (links.length === CHAIN_LINKS_MAX) {
      throw new MeshError('budget', `Cannot verify a chain: it has more than ${CHAIN_LINKS_MAX} links`, {
        want: CHAIN_LINKS_MAX,
      });
    }
    const link = view.link(id);
    if (link === undefined)
      throw new MeshError('broken_link', `Cannot verify a chain: its link "${id}" is not held`, { waitsFor: id });
    links.unshift(link);
    id = link.payload.prf?.text;
  }
  return links;
}

// What does not depend on the request, nor on time beyond windows and grace

/** Errors: CHAIN_CODES up to revoked. Without a view nothing that depends on DIDs is checked: for issuing. */
export function verifyStructure(
  progress: Progress,
  check: Omit<ChainCheck, 'view'> & { readonly view: MeshView | undefined },
): void {
  const { links } = progress;
  verifyBudget(links.map(({ envelope }) => envelope));
  pass(progress, 'encoding');
  verifyRootTrusted(progress, check.roots);
  const grantors = verifyLinks(progress, check);
  pass(progress, 'continuity', 'keys', 'signatures', 'attenuation');
  verifyWindows(progress);
  pass(progress, 'window');
  if (check.view !== undefined) verifyNotRevoked(progress, check.view, grantors);
  pass(progress, 'revocation');
}

/** Errors: malformed, broken_link, unknown_root. */
export function verifyRootTrusted(progress: Progress, roots: ReadonlySet<string>): void {
  progress.at = 0;
  const root = progress.links[0]?.payload;
  if (root === undefined) throw new MeshError('malformed', 'Cannot verify a chain: it has no links');
  if (root.prf !== null) {
    throw new MeshError('broken_link', 'Cannot verify a chain: its first link has a parent, so it is no root', {
      field: 'prf',
      waitsFor: root.prf.text,
    });
  }
  if (!roots.has(root.sub)) {
    throw new MeshError(
      'unknown_root',
      `Cannot trust a chain from "${root.sub}": want one of ${roots.size} trusted roots`,
      { did: root.sub },
    );
  }
}

/** Who grants a link: its issuer, and at the root the sponsor. */
type Grantors = readonly [issuer: DidState] | readonly [issuer: DidState, sponsor: DidState];

/** Returns the grantors of each link; none without a view. */
function verifyLinks(
  progress: Progress,
  check: Omit<ChainCheck, 'view'> & { readonly view: MeshView | undefined },
): Grantors[] {
  const { links } = progress;
  const work = freshWork();
  const all: Grantors[] = [];
  const signers: Signer[][] = [];
  progress.signers = signers;
  let depth = 0;
  links.forEach((link, i) => {
    progress.at = i;
    const { payload } = link;
    const parent = links[i - 1];
    if (parent !== undefined) verifyChild(link, parent);
    if (check.view !== undefined) {
      const grantors = grantorsOf(check.view, payload);
      const own = signersOf(grantors, link, parent?.payload);
      all.push(grantors);
      signers.push(own);
      verifyGrace(own, check.nowMs);
    }
    if (check.isVerified?.(link) !== true) verifySignatures(link, check.isSignatureValid);
    // Against all above, not the parent alone: what the parent leaves out it inherits from further up.
    for (let above = i - 1; above >= 0; above--) verifyNarrower(payload, (links[above] as Link).payload, work);
    depth = i === 0 ? rootDepth(payload) : depthLeft(payload, depth);
    progress.walked = i + 1;
    if (i === 0) pass(progress, 'root');
  });
  progress.authority = meetOf(links, work);
  return all;
}

function verifyChild({ payload }: Link, parent: Link): void {
  if (payload.prf === null || !equalBytes(payload.prf.digest, parent.digest)) {
    const is = payload.prf === null ? 'null' : payload.prf.text;
    throw new MeshError('broken_link', `Cannot continue a chain: "prf" is "${is}", want "${parent.id}"`, {
      field: 'prf',
      is,
      want: parent.id,
    });
  }
  verifyContinuity(payload, parent.payload);
}

/** Errors: did_unknown, did_forked, did_deactivated, unknown_root, sponsor_missing. */
function grantorsOf(view: MeshView, { iss, spo, sub, prf }: Delegation): Grantors {
  const issuer = activeState(view, iss);
  if (prf !== null) return [issuer];
  if (issuer.kind !== 'org')
    throw new MeshError('unknown_root', `Cannot trust a chain from "${iss}": it is not an organisation`, { did: iss });
  const sponsor = activeState(view, spo);
  if (sponsor.kind !== 'person' || sponsor.ctl !== sub) {
    throw new MeshError('sponsor_missing', `Cannot accept a root link: its sponsor "${spo}" is no person of "${sub}"`, {
      did: spo,
    });
  }
  return [issuer, sponsor];
}

/** Errors: key_unknown, key_retired. */
function signersOf([issuer, sponsor]: Grantors, { id, payload }: Link, parent: Delegation | undefined): Signer[] {
  const [first, second] = payload.by as readonly [Uint8Array, Uint8Array?]; // the schema wants one, and two at the root
  if (parent?.cnf !== undefined) return [{ did: issuer.did, key: first, standing: 'bound' }];
  const own = signerOf(issuer, first, 'delegate', id);
  return sponsor === undefined || second === undefined ? [own] : [own, signerOf(sponsor, second, 'delegate', id)];
}

/** The state of a DID that may grant: itself active, and its organisation too. Errors: did_unknown, did_forked, did_deactivated. */
function activeState(view: MeshView, did: string): DidState {
  const state = view.didState(did);
  if (state === undefined)
    throw new MeshError('did_unknown', `Cannot verify a chain: the log of "${did}" is not held`, {
      did,
      waitsFor: did,
    });
  if (state.status !== 'active') {
    const code = state.status === 'frozen' ? 'did_forked' : 'did_deactivated';
    throw new MeshError(code, `Cannot accept what "${did}" grants: it is ${state.status}`, { did });
  }
  if (state.ctl !== undefined) activeState(view, state.ctl);
  return state;
}

/** Why a key counts at the head of its DID's log. Errors: key_unknown, key_retired. */
function signerOf(state: DidState, key: Uint8Array, use: KeyUse, id: string): Signer {
  const { did } = state;
  if (state.keys.some(([listed, uses]) => uses.includes(use) && equalBytes(listed, key)))
    return { did, key, standing: 'current' };
  const known = state.listed.get(toHex(key));
  if (known === undefined || known.standing === 'current' || !known.uses.includes(use)) {
    const text = multikeyText(key);
    throw new MeshError('key_unknown', `Cannot accept key "${text}": "${did}" does not list it for "${use}"`, {
      did,
      key: text,
      field: use,
    });
  }
  if (known.standing === 'grace') return { did, key, standing: 'grace', untilSeconds: known.untilSeconds };
  if (known.kept.has(id)) return { did, key, standing: 'kept' };
  throw retired(did, key, 'it was retired as dead');
}

/** What is asked about a key that signs no link: a dead key keeps links, and nothing else. */
const NO_LINK = '';

const isListed = ({ listed }: DidState, key: Uint8Array, use: KeyUse): boolean =>
  listed.get(toHex(key))?.uses.includes(use) ?? false;

const retired = (did: string, key: Uint8Array, why: string, facts: object = {}): MeshError => {
  const text = multikeyText(key);
  return new MeshError('key_retired', `Cannot accept key "${text}" of "${did}": ${why}`, { did, key: text, ...facts });
};

/** Errors: key_retired. */
export function verifyGrace(signers: readonly Signer[], nowMs: number): void {
  for (const { did, key, untilSeconds } of signers) {
    if (untilSeconds !== undefined && nowMs >= (untilSeconds + SKEW_SECONDS) * 1000) {
      throw retired(did, key, 'its grace is over', { at: new Date(untilSeconds * 1000).toISOString() });
    }
  }
}

/**
 * Errors: not_yet, expired. A link dated in the future is not in force either: what bounds a life from its iat would not
 * bound it otherwise.
 */
export function verifyWindows(progress: Progress): void {
  const nowSeconds = progress.nowMs / 1000;
  progress.links.forEach(({ payload: { iat, nbf, exp } }, i) => {
    progress.at = i;
    const from = Math.max(iat, nbf);
    if (nowSeconds < from - SKEW_SECONDS) {
      throw new MeshError('not_yet', `Cannot use a link yet: it begins in ${Math.ceil(from - nowSeconds)} s`, {
        at: new Date(from * 1000).toISOString(),
      });
    }
    if (nowSeconds >= exp + SKEW_SECONDS) {
      throw new MeshError('expired', `Cannot use a link any more: it ended ${Math.floor(nowSeconds - exp)} s ago`, {
        at: new Date(exp * 1000).toISOString(),
      });
    }
  });
}

// Revocation

/** Errors: revoked; did_unknown, did_forked, did_deactivated for the audience of the leaf. */
function verifyNotRevoked(progress: Progress, view: MeshView, all: readonly Grantors[]): void {
  const { links } = progress;
  const asked = new Set<string>();
  const issuers: string[] = [];
  links.forEach(({ id, payload }, i) => {
    progress.at = i;
    const { iss, aud, sub, spo, by } = payload;
    issuers.push(iss);
    // Its issuer, any issuer above, the root organisation, the sponsor, and its own audience by way of surrender.
    const [revocation] = view.revocationsOf({ link: id }, [...issuers, sub, spo, aud]);
    if (revocation !== undefined) throw revoked(revocation, `link "${id}"`);
    all[i]?.forEach((grantor, k) => {
      verifyDidNotRevoked(view, grantor, asked);
      verifyKeyNotRevoked(view, grantor, by[k] as Uint8Array, id);
    });
  });
  verifyAudience(progress, view, asked);
  progress.organisations = [...new Set(all.map(([{ organisation }]) => organisation))];
}

function verifyAudience(progress: Progress, view: MeshView, asked: Set<string>): void {
  const { id, payload } = progress.links.at(-1) as Link;
  if (keyOfDidKey(payload.aud) !== undefined) return; // a key alone: no log, nobody who could revoke it
  const audience = activeState(view, payload.aud);
  verifyDidNotRevoked(view, audience, asked);
  if (payload.cnf !== undefined) verifyKeyNotRevoked(view, audience, payload.cnf, id);
}

/** An agent or person is revoked by its organisation; an organisation by nobody. */
function verifyDidNotRevoked(view: MeshView, { did, ctl }: DidState, asked: Set<string>): void {
  if (ctl === undefined || asked.has(did)) return;
  asked.add(did);
  const [revocation] = view.revocationsOf({ did }, [ctl]);
  if (revocation !== undefined) throw revoked(revocation, `"${did}"`, { did });
}

/** A key of an agent or person is revoked by that DID or its organisation, and then counts as dead: kept links stay. */
function verifyKeyNotRevoked(view: MeshView, state: DidState, key: Uint8Array, id: string): void {
  const { did, ctl } = state;
  if (ctl === undefined) return;
  const [revocation] = view.revocationsOf({ did, key }, [did, ctl]);
  if (revocation === undefined) return;
  const standing = state.listed.get(toHex(key));
  if (standing?.standing === 'dead' && standing.kept.has(id)) return;
  const text = multikeyText(key);
  throw revoked(revocation, `key "${text}" of "${did}"`, { did, key: text });
}

const revoked = ({ id, payload }: Statement<'revocation/v1'>, what: string, facts: object = {}): MeshError => {
  const at = new Date(payload.iat * 1000).toISOString();
  return new MeshError('revoked', `Cannot accept a chain: ${what} was revoked by "${payload.iss}" on ${at}`, {
    by: payload.iss,
    at,
    revocation: id,
    reason: payload.rsn,
    ...facts,
  });
};

// Use: freshness, holder, request

/** Errors: status_stale, holder_mismatch, key_retired, revoked, not_covered, score_below, malformed. */
export function verifyUse(progress: Progress, check: ChainCheck): void {
  verifyKnowledge(progress, check);
  pass(progress, 'freshness');
  const leaf = progress.links.length - 1;
  progress.at = leaf;
  const missing: { check: Check; why: string }[] = [];
  if (check.holder === undefined) missing.push({ check: 'holder', why: 'nobody was named as its holder' });
  else {
    verifyHolder(check.view, check.nowMs, (progress.links[leaf] as Link).payload, check.holder);
    pass(progress, 'holder');
  }
  if (check.request === undefined) missing.push({ check: 'request', why: 'nothing was asked for' });
  else {
    verifyRequest(progress, check.request);
    pass(progress, 'request');
  }
  progress.notChecked = missing;
}

function verifyKnowledge(progress: Progress, { view, nowMs, request, staleness, askedSinceMs }: ChainCheck): void {
  const wanted = request?.capabilities ?? [];
  const stl = progress.authority?.stalenessSeconds ?? null;
  const staleAfterSeconds = stalenessOf(wanted, stl, staleness ?? STALENESS_POLICY);
  progress.staleAfterSeconds = staleAfterSeconds;
  const all = progress.organisations.map((did) => freshnessOf(view, did, nowMs, { staleAfterSeconds, askedSinceMs }));
  progress.through = all.map(({ through }) => through);
  const stale = all.find((one) => one.stale !== undefined)?.through.did;
  if (stale !== undefined)
    progress.at = progress.links.findIndex(({ payload }) => view.didState(payload.iss)?.organisation === stale);
  verifyFreshness(all, staleAfterSeconds);
}

/** Errors: holder_mismatch, and those of verifyAuthKey. */
export function verifyHolder(view: MeshView, nowMs: number, { aud, cnf }: Delegation, { did, key }: Holder): void {
  const mismatch = (field: string, is: string, want: string): MeshError =>
    new MeshError('holder_mismatch', `Cannot accept a chain from "${did}": ${field} is "${is}", want "${want}"`, {
      field,
      is,
      want,
    });
  if (did !== aud) throw mismatch('holder', did, aud);
  if (cnf !== undefined) {
    if (key === undefined || !equalBytes(key, cnf))
      throw mismatch('key', key === undefined ? 'not proved' : multikeyText(key), multikeyText(cnf));
    return;
  }
  if (key === undefined) return;
  const own = keyOfDidKey(aud);
  if (own !== undefined) {
    if (!equalBytes(key, own)) throw mismatch('key', multikeyText(key), multikeyText(own));
    return;
  }
  if (!isListed(activeState(view, aud), key, 'auth')) throw mismatch('key', multikeyText(key), 'a key of use "auth"');
  verifyAuthKey(view, nowMs, aud, key);
}

/**
 * That a DID speaks for itself by this key.
 * Errors: did_unknown, did_forked, did_deactivated, key_unknown, key_retired, revoked.
 */
export function verifyAuthKey(view: MeshView, nowMs: number, did: string, key: Uint8Array): void {
  const state = activeState(view, did);
  verifyGrace([signerOf(state, key, 'auth', NO_LINK)], nowMs);
  verifyKeyNotRevoked(view, state, key, NO_LINK);
}

function verifyRequest(progress: Progress, { capabilities, at, purpose, score }: ChainRequest): void {
  const { links } = progress;
  const work = freshWork();
  for (const wanted of capabilities) {
    if (!isCapability(wanted.can) || wanted.res?.every(isResource) === false) {
      throw new MeshError(
        'malformed',
        `Cannot ask for "${wanted.can}": want a capability like "read:reports/q3" and resources without ".."`,
        { field: 'can' },
      );
    }
    refuseIf(
      progress,
      ({ cap }) => !isRequestCovered(wanted, cap, work),
      () => notCovered('capability', askedFor(wanted)),
    );
  }
  refuseIf(
    progress,
    ({ at: places }) => places !== undefined && at?.some((did) => places.includes(did)) !== true,
    () => notCovered('at', placeOf(at)),
  );
  refuseIf(
    progress,
    ({ pur }) => pur !== undefined && (purpose === undefined || !pur.includes(purpose)),
    () => notCovered('purpose', purpose === undefined ? 'use without a purpose' : `purpose "${purpose}"`),
  );
  refuseIf(
    progress,
    ({ mts }) => mts !== undefined && (score === undefined || score < mts),
    ({ mts }) => {
      const min = mts as number;
      return new MeshError(
        'score_below',
        `Cannot accept a chain: the score of its holder is ${score ?? 'unknown'}, want >= ${min}`,
        { min, is: score ?? 'unknown' },
      );
    },
  );
  progress.at = links.length - 1;
}

const askedFor = ({ can, res = [] }: Capability): string =>
  res.length === 0 ? `"${can}" on every resource` : `"${can}" on "${res.join('", "')}"`;
const placeOf = (at: readonly string[] = []): string =>
  at.length === 0 ? 'use at an unnamed place' : `use at "${at.join('", "')}"`;

const notCovered = (dimension: string, what: string): MeshError =>
  new MeshError('not_covered', `Cannot accept a request: a link does not cover ${what}`, { dimension, is: what });

function refuseIf(
  progress: Progress,
  isRefused: (link: Delegation) => boolean,
  error: (link: Delegation) => MeshError,
): void {
  progress.links.forEach(({ payload }, i) => {
    if (!isRefused(payload)) return;
    progress.at = i;
    throw error(payload);
  });
}
