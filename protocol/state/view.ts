import type { DidKind, KeyUse } from '../identity/operations.ts';
import type { Statement } from '../statement/statement.ts';

/**
 * active: usable. frozen: two histories answer one commitment, or five revocations share a number; grants and proves
 * nothing until recovered. deactivated: final, by a deactivate or by two competing recoveries.
 */
export type DidStatus = 'active' | 'frozen' | 'deactivated';

/** What became of a key that an admitted operation once listed. */
export type KeyStanding =
  | { readonly standing: 'current'; readonly uses: readonly KeyUse[] }
  /** Retired with grace: what it signed counts until `untilSeconds`, whatever its own expiry. */
  | { readonly standing: 'grace'; readonly uses: readonly KeyUse[]; readonly untilSeconds: number }
  /** Retired as dead: only the kept links count, and only the revocations that are ancestors of (or are) `rhead`. */
  | {
      readonly standing: 'dead';
      readonly uses: readonly KeyUse[];
      readonly kept: ReadonlySet<string>;
      readonly rseq: number;
      readonly rhead: string | null;
    };

/** The state of one DID: a pure function of the set of its admitted operations. */
export interface DidState {
  readonly did: string;
  readonly kind: DidKind;
  /** The organisation of an agent or person; undefined for an organisation. */
  readonly ctl: string | undefined;
  /** Itself for an organisation, else ctl. */
  readonly organisation: string;
  readonly status: DidStatus;
  /** Last operation of the history that counts: id and its seq. */
  readonly head: string;
  readonly seq: number;
  /** Keys in use now, in the order listed. */
  readonly keys: readonly (readonly [multikey: Uint8Array, uses: readonly KeyUse[]])[];
  /**
   * Every key ever listed in an admitted operation, by toHex(multikey). A current key has the uses listed now, any
   * other all that were ever listed for it.
   */
  readonly listed: ReadonlyMap<string, KeyStanding>;
  readonly peers: readonly string[];
  readonly services: readonly (readonly [type: string, endpoint: string])[];
  readonly next: { readonly commitments: readonly Uint8Array[]; readonly threshold: number };
  readonly recovery: { readonly commitments: readonly Uint8Array[]; readonly threshold: number };
  /** True where updates competed and the lowest id was followed. */
  readonly contested: boolean;
  /** iat of genesis and of head, unix seconds, as claimed. */
  readonly createdSeconds: number;
  readonly updatedSeconds: number;
}

/** A heartbeat held for an organisation. */
export interface HeldHeartbeat {
  readonly statement: Statement<'heartbeat/v1'>;
  /** Own wall clock, when the question whose nonce this answers was sent; undefined for one that was stapled or handed on. */
  readonly askedMs: number | undefined;
}

export type RevocationTargetKey =
  | { readonly link: string }
  | { readonly did: string }
  | { readonly did: string; readonly key: Uint8Array };

/**
 * What a verifier knows: the daemon's own set, or the statements of a bundle under the same rules. Pure reads; whatever
 * depends on time takes `nowMs`.
 */
export interface MeshView {
  /** Changes whenever anything below may have changed; for caches. */
  readonly revision: number;
  didState(did: string): DidState | undefined;
  link(id: string): Statement<'delegation/v1'> | undefined;
  /**
   * Revocations of exactly this target whose number counts (SPEC "Revocation and freshness"). Whether the issuer is
   * entitled to revoke this target is for the caller to check, at use; anybody may revoke anything without effect, so
   * whoever knows who is entitled names them, and what strangers pile up costs nothing.
   */
  revocationsOf(target: RevocationTargetKey, issuers?: readonly string[]): readonly Statement<'revocation/v1'>[];
  /** Newest held heartbeats: the answer to an own nonce, and the newest stapled one. Signed by a key that counts at nowMs. */
  heartbeatsOf(organisation: string, nowMs: number): readonly HeldHeartbeat[];
  /** Whether the DID's own log is held through this operation. */
  holdsOperation(did: string, seq: number, id: string): boolean;
  /** Whether revocations 1..seq of the organisation are held as one chain of prv ending in `head` (null: nothing revoked). */
  holdsRevocations(organisation: string, seq: number, head: string | null): boolean;
}
