/**
 * What was checked of a chain, as of when, and what every link says: never a bare yes (SPEC "Verifying a chain").
 * Everything in a report is JSON-safe, since it also rides in `data.report` of the error that refuses a chain.
 */
import { multikeyText } from '../encoding/multikey.ts';
import type { Statement } from '../statement/statement.ts';
import type { Capability } from './capability.ts';
import type { CheckedThrough } from './freshness.ts';
import type { Authority } from './order.ts';
import { isCredential } from './order.ts';

type Link = Statement<'delegation/v1'>;

/** Everything that is checked, in this order. */
export const CHECKS = [
  'encoding', // sizes, strict decoding, schemas
  'root', // begins at a trusted organisation, signed with a human sponsor of it
  'continuity', // each link issued by whom the one before names, about the same root and sponsor, by the key bound there
  'keys', // DIDs active, signing keys good for this use at the head of their DID's log
  'signatures',
  'attenuation', // no link grants more than any above it
  'window', // all links in force, give or take the allowed clock skew
  'revocation', // no link, issuer, sponsor, audience or key is revoked by someone entitled, as far as is known
  'freshness', // and that is known as of recently enough
  'holder', // presented by the one that the leaf names
  'request', // every link covers what is asked for, here, for this purpose, by one trusted this much
] as const;
export type Check = (typeof CHECKS)[number];

/** Which key signed, for whom, and why it counts. */
export interface Signer {
  readonly did: string;
  readonly key: Uint8Array;
  /**
   * current: listed now. grace: retired, good until `untilSeconds`. kept: retired as dead, this link kept. bound: the key
   * that the parent link binds.
   */
  readonly standing: 'current' | 'grace' | 'kept' | 'bound';
  readonly untilSeconds?: number;
}
export type SignerReport = Omit<Signer, 'key'> & { readonly key: string };

export interface LinkReport {
  readonly id: string;
  readonly issuer: string;
  readonly audience: string;
  readonly sponsor: string;
  /** Binds an ephemeral key to an agent: not a hop of authority. */
  readonly credential: boolean;
  /** The one key that may exercise or continue this link; null: any such key of the audience. */
  readonly boundKey: string | null;
  readonly capabilities: readonly Capability[];
  readonly notBeforeSeconds: number;
  readonly expiresSeconds: number;
  /** Further hops as written; null: inherited. */
  readonly depth: number | null;
  readonly rates: readonly { readonly can: string; readonly n: number; readonly per: number }[];
  readonly at: readonly string[] | null;
  readonly purposes: readonly string[] | null;
  readonly minScore: number | null;
  readonly stalenessSeconds: number | null;
  readonly private: boolean;
  /** Empty where the check did not come so far, or no state of DIDs was at hand. */
  readonly signers: readonly SignerReport[];
  /** ok: by itself and against the links above. failed: the error is about this link. unchecked: not reached. */
  readonly status: 'ok' | 'failed' | 'unchecked';
}

export interface ChainReport {
  /** Link ids, root first. */
  readonly ids: readonly string[];
  readonly leaf: string | null;
  readonly root: string | null;
  readonly sponsor: string | null;
  readonly audience: string | null;
  /** When this was checked, RFC 3339. */
  readonly checkedAt: string;
  readonly checked: readonly Check[];
  readonly notChecked: readonly { readonly check: Check; readonly why: string }[];
  /** Per organisation on which it rests. */
  readonly checkedThrough: readonly CheckedThrough[];
  readonly staleAfterSeconds: number | null;
  /** From here on it does not verify whatever is learnt; earlier if something is. Without the allowed skew. */
  readonly validUntilSeconds: number | null;
  readonly effective: Authority | null;
  readonly links: readonly LinkReport[];
}

/** How far a verification got. */
export interface Progress {
  readonly nowMs: number;
  links: readonly Link[];
  /** The link being looked at. */
  at: number;
  /** Links found good by themselves and against those above. */
  walked: number;
  checked: readonly Check[];
  notChecked: readonly { readonly check: Check; readonly why: string }[];
  signers: readonly (readonly Signer[])[];
  organisations: readonly string[];
  through: readonly CheckedThrough[];
  staleAfterSeconds: number | null;
  authority: Authority | null;
}

export const startProgress = (nowMs: number): Progress => ({
  nowMs,
  links: [],
  at: 0,
  walked: 0,
  checked: [],
  notChecked: [],
  signers: [],
  organisations: [],
  through: [],
  staleAfterSeconds: null,
  authority: null,
});

export function reportOf(progress: Progress, failed: boolean): ChainReport {
  const { links, checked, at, walked, signers } = progress;
  const leaf = links.at(-1);
  const unreached = failed ? unreachedOf(progress) : [];
  let explained: readonly LinkReport[] | undefined;
  return {
    ids: links.map(({ id }) => id),
    leaf: leaf?.id ?? null,
    root: leaf?.payload.sub ?? null,
    sponsor: leaf?.payload.spo ?? null,
    audience: leaf?.payload.aud ?? null,
    checkedAt: new Date(progress.nowMs).toISOString(),
    checked,
    notChecked: [...progress.notChecked, ...unreached],
    checkedThrough: progress.through,
    staleAfterSeconds: progress.staleAfterSeconds,
    validUntilSeconds: leaf === undefined ? null : validUntil(progress),
    effective: progress.authority,
    // Made when somebody looks: the texts of keys cost more than the rest of the report.
    get links() {
      explained ??= links.map((link, i) =>
        linkReport(link, signers[i] ?? [], i === at && failed ? 'failed' : i < walked ? 'ok' : 'unchecked'),
      );
      return explained;
    },
  };
}

function unreachedOf({ checked, notChecked }: Progress): ChainReport['notChecked'] {
  const reached = [...checked, ...notChecked.map(({ check }) => check)];
  return CHECKS.filter((check) => !reached.includes(check)).map((check) => ({ check, why: 'an earlier check failed' }));
}

function validUntil({ links, signers }: Progress): number {
  let until = Number.POSITIVE_INFINITY;
  for (const { payload } of links) until = Math.min(until, payload.exp);
  for (const own of signers) for (const { untilSeconds = until } of own) until = Math.min(until, untilSeconds);
  return until;
}

const linkReport = ({ id, payload }: Link, signers: readonly Signer[], status: LinkReport['status']): LinkReport => ({
  id,
  issuer: payload.iss,
  audience: payload.aud,
  sponsor: payload.spo,
  credential: isCredential(payload),
  boundKey: payload.cnf === undefined ? null : multikeyText(payload.cnf),
  capabilities: payload.cap.map(({ can, res }) => (res === undefined ? { can } : { can, res })),
  notBeforeSeconds: payload.nbf,
  expiresSeconds: payload.exp,
  depth: payload.dep ?? null,
  rates: (payload.rate ?? []).map(({ can, n, per }) => ({ can, n, per })),
  at: payload.at ?? null,
  purposes: payload.pur ?? null,
  minScore: payload.mts ?? null,
  stalenessSeconds: payload.stl ?? null,
  private: payload.pri === true,
  signers: signers.map((signer) => ({ ...signer, key: multikeyText(signer.key) })),
  status,
});
