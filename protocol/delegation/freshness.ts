/**
 * How recent knowledge of revocations must be, and how recent it is (SPEC "Revocation and freshness").
 *
 * An organisation's heartbeat says: my DID log ends here and my revocations at this number, as of then. It counts where
 * all of that is held. Not learnt is not "not revoked": too little or too old knowledge is `status_stale`.
 */
import { MeshError } from '../errors.ts';
import { SKEW_SECONDS, STALENESS_READ_SECONDS, STALENESS_WRITE_SECONDS } from '../limits.ts';
import type { HeldHeartbeat, MeshView } from '../state/view.ts';
import { type Capability, domainOf } from './capability.ts';

/** Tolerated age of knowledge by the domain of what is asked for. */
export interface StalenessPolicy {
  /** Domain `read`, and a request that asks for nothing; default 300. */
  readonly readSeconds: number;
  /** Every other domain; default 60. */
  readonly writeSeconds: number;
  /** Domains for which only an answer to an own nonce, asked for this decision, will do; default admin, pay, secrets. */
  readonly criticalDomains: readonly string[];
}
export const STALENESS_POLICY: StalenessPolicy = {
  readSeconds: STALENESS_READ_SECONDS,
  writeSeconds: STALENESS_WRITE_SECONDS,
  criticalDomains: ['admin', 'pay', 'secrets'],
};

/** The strictest class among what is asked for, lowered by the strictest `stl` of the chain. 0 = an own nonce, now. */
export function stalenessOf(
  wanted: readonly Capability[],
  stl: number | null,
  policy: StalenessPolicy = STALENESS_POLICY,
): number {
  let seconds = wanted.length === 0 ? policy.readSeconds : Number.POSITIVE_INFINITY;
  for (const { can } of wanted) {
    const domain = domainOf(can);
    const own = policy.criticalDomains.includes(domain)
      ? 0
      : domain === 'read'
        ? policy.readSeconds
        : policy.writeSeconds;
    seconds = Math.min(seconds, own);
  }
  return stl === null ? seconds : Math.min(seconds, stl);
}

/** What is known of one organisation, and as of when. */
export interface CheckedThrough {
  readonly did: string;
  /** The last revocation that the heartbeat names and that is held, with all before it; null: nothing is known. */
  readonly rseq: number | null;
  /** Age of that knowledge; null: unknown. */
  readonly ageSeconds: number | null;
  /** RFC 3339; null: unknown. */
  readonly asOf: string | null;
  /** By an answer to an own nonce (own clock), rather than a heartbeat that was stapled or handed on (its clock). */
  readonly answered: boolean;
}

/** Why knowledge of an organisation does not do; `data.reason` of `status_stale`. */
export type StaleReason =
  | 'no_heartbeat' // none is held, or none that is dated plausibly
  | 'incomplete' // a heartbeat names operations or revocations that are not held
  | 'too_old'
  | 'not_asked'; // nothing but an answer to a nonce of this decision will do

export interface FreshnessNeed {
  readonly staleAfterSeconds: number;
  /** Own wall clock when this decision began: answers to nonces sent since then are as fresh as can be. */
  readonly askedSinceMs?: number | undefined;
}

export interface Freshness {
  readonly through: CheckedThrough;
  readonly stale: StaleReason | undefined;
}

type Knowledge = Pick<MeshView, 'heartbeatsOf' | 'holdsOperation' | 'holdsRevocations'>;

interface Judged {
  readonly held: HeldHeartbeat;
  readonly ageMs: number;
  readonly stale: StaleReason | undefined;
}

/** One that will do goes before one that will not: an answer to an own nonce may be older than a stapled heartbeat. */
const isBetter = (a: Judged, b: Judged): boolean =>
  (a.stale === undefined) === (b.stale === undefined) ? a.ageMs < b.ageMs : a.stale === undefined;

export function freshnessOf(view: Knowledge, organisation: string, nowMs: number, need: FreshnessNeed): Freshness {
  let best: Judged | undefined;
  for (const held of view.heartbeatsOf(organisation, nowMs)) {
    const ageMs = ageOf(held, nowMs);
    if (ageMs === undefined) continue;
    const { dseq, head, rseq, rhead } = held.statement.payload;
    // Any that names more than is held proves that something is missing, however fresh another may be.
    if (
      !view.holdsOperation(organisation, dseq, head.text) ||
      !view.holdsRevocations(organisation, rseq, rhead?.text ?? null)
    ) {
      return { through: unknown(organisation), stale: 'incomplete' };
    }
    const stale = staleReason(held, ageMs, need);
    const one = { held, ageMs, stale };
    if (best === undefined || isBetter(one, best)) best = one;
  }
  if (best === undefined) return { through: unknown(organisation), stale: 'no_heartbeat' };
  const { held, ageMs, stale } = best;
  const through: CheckedThrough = {
    did: organisation,
    rseq: held.statement.payload.rseq,
    ageSeconds: ageMs / 1000,
    asOf: new Date(nowMs - ageMs).toISOString(),
    answered: held.askedMs !== undefined,
  };
  return { through, stale };
}

function staleReason(
  { askedMs }: HeldHeartbeat,
  ageMs: number,
  { staleAfterSeconds, askedSinceMs }: FreshnessNeed,
): StaleReason | undefined {
  if (askedMs !== undefined && askedSinceMs !== undefined && askedMs >= askedSinceMs) return undefined;
  if (staleAfterSeconds <= 0) return 'not_asked';
  return ageMs > staleAfterSeconds * 1000 ? 'too_old' : undefined;
}

/** Of an answer: own clock since it was asked for, so skew does not enter. Of any other: since its iat. Undefined: unknown. */
function ageOf({ askedMs, statement }: HeldHeartbeat, nowMs: number): number | undefined {
  const ageMs = nowMs - (askedMs ?? statement.payload.iat * 1000);
  return ageMs < -SKEW_SECONDS * 1000 ? undefined : Math.max(0, ageMs);
}

const unknown = (did: string): CheckedThrough => ({ did, rseq: null, ageSeconds: null, asOf: null, answered: false });

/**
 * Enough is known of every organisation. Errors: status_stale for the first of which it is not, listing all such in
 * `data.organisations`, so that one round of questions can cure it.
 */
export function verifyFreshness(all: readonly Freshness[], staleAfterSeconds: number): void {
  const stale = all.filter((one) => one.stale !== undefined);
  const [first] = stale;
  if (first === undefined) return;
  const { did, ageSeconds } = first.through;
  throw new MeshError(
    'status_stale',
    `Cannot rely on what "${did}" has not revoked: ${sentenceOf(first, staleAfterSeconds)}`,
    {
      did,
      ageSeconds,
      staleAfterSeconds,
      reason: first.stale as StaleReason,
      organisations: stale.map(({ through }) => through.did),
    },
  );
}

function sentenceOf({ through, stale }: Freshness, staleAfterSeconds: number): string {
  switch (stale) {
    case 'incomplete':
      return 'its heartbeat names operations or revocations that are not held';
    case 'too_old':
      return `known as of ${Math.ceil(through.ageSeconds ?? 0)} s ago, want at most ${staleAfterSeconds} s`;
    case 'not_asked':
      return 'this needs its answer to a question of our own, now';
    case 'no_heartbeat':
    case undefined:
      return 'no heartbeat of it is held';
  }
}
