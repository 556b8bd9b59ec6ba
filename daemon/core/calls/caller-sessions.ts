/**
 * Sessions under links: several links to one place share one, and each is followed by another before it ends. A session
 * that no link and no call uses is kept for a while for the next client, then ended.
 */
import { type Capability, limits, MeshError } from '../../../protocol/index.ts';
import type { Clock, Timer } from '../../ports.ts';
import type { Handshakes } from '../handshake.ts';
import { Serial } from '../serial.ts';
import type { Session, Sessions } from '../sessions.ts';

export interface SessionTerms {
  readonly as: string;
  readonly did: string;
  /** Leaf of the chain to present. */
  readonly grant: string;
  readonly capabilities: readonly Capability[];
  readonly purpose?: string | undefined;
  readonly minScore?: number | undefined;
}

/** A share of a session, by which it is kept. */
export interface HeldSession {
  readonly session: Session;
  /** The number of its next call, of none for which `isTaken`. */
  next(isTaken: (n: number) => boolean): number;
  /** Wall clock: from here on a new handshake is due. */
  readonly renewAtMs: number;
  /** Another share of the same. */
  share(): HeldSession;
  /** Once. */
  release(): void;
}

export interface CallerSessionsComponents {
  readonly clock: Clock;
  readonly handshakes: Pick<Handshakes, 'shake'>;
  readonly sessions: Pick<Sessions, 'get' | 'end'>;
}

interface Pooled {
  readonly session: Session;
  readonly renewAtMs: number;
  shares: number;
  calls: number;
  idle: Timer | undefined;
}

const RENEW_AT = 2 / 3; // of its life: time for several tries

export class CallerSessions {
  readonly #components: CallerSessionsComponents;
  readonly #pools = new Map<string, { readonly turns: Serial; waiting: number; newest: Pooled | undefined }>();

  constructor(components: CallerSessionsComponents) {
    this.#components = components;
  }

  /** One that has most of its life before it. Errors: of the handshake. */
  async acquire(terms: SessionTerms, signal: AbortSignal): Promise<HeldSession> {
    const key = keyOf(terms);
    const pool = this.#pools.get(key) ?? { turns: new Serial(), waiting: 0, newest: undefined };
    this.#pools.set(key, pool);
    pool.waiting++;
    try {
      return await pool.turns.run(async () => {
        if (signal.aborted) throw new MeshError('cancelled', 'Cannot open a session: cancelled');
        if (pool.newest === undefined || !this.#isGood(pool.newest)) pool.newest = await this.#shake(terms, signal);
        return this.#share(key, pool.newest);
      });
    } finally {
      pool.waiting--;
      this.#forget(key);
    }
  }

  /** Ends those that nobody uses any more. */
  close(): void {
    for (const { newest } of this.#pools.values()) {
      newest?.idle?.cancel();
      if (newest?.shares === 0) this.#components.sessions.end(newest.session.sid, 'closed');
    }
    this.#pools.clear();
  }

  #isGood({ session, renewAtMs }: Pooled): boolean {
    const { clock, sessions } = this.#components;
    return sessions.get(session.sid) !== undefined && clock.nowMs() < renewAtMs;
  }

  async #shake(terms: SessionTerms, signal: AbortSignal): Promise<Pooled> {
    const { as, did, grant, capabilities, purpose, minScore } = terms;
    const session = await this.#components.handshakes.shake({
      as,
      did,
      grant,
      capabilities,
      signal,
      ...(purpose !== undefined && { purpose }),
      ...(minScore !== undefined && { minScore }),
    });
    const renewAtMs = session.openedMs + (session.expiresMs - session.openedMs) * RENEW_AT;
    return { session, renewAtMs, shares: 0, calls: 0, idle: undefined };
  }

  #share(key: string, pooled: Pooled): HeldSession {
    pooled.shares++;
    pooled.idle?.cancel();
    let isReleased = false;
    return {
      session: pooled.session,
      renewAtMs: pooled.renewAtMs,
      next: (isTaken) => {
        do pooled.calls++;
        while (isTaken(pooled.calls));
        return pooled.calls;
      },
      share: () => this.#share(key, pooled),
      release: () => {
        if (isReleased) return;
        isReleased = true;
        if (--pooled.shares === 0) this.#idle(key, pooled);
      },
    };
  }

  #idle(key: string, pooled: Pooled): void {
    const { clock, sessions } = this.#components;
    const isWanted = this.#pools.get(key)?.newest === pooled && this.#isGood(pooled);
    pooled.idle = clock.after(isWanted ? limits.CALL_SESSION_IDLE_MS : 0, () => {
      if (pooled.shares > 0) return;
      sessions.end(pooled.session.sid, 'closed');
      this.#forget(key);
    });
  }

  #forget(key: string): void {
    const pool = this.#pools.get(key);
    if (pool === undefined || pool.waiting > 0) return;
    if (pool.newest !== undefined && this.#components.sessions.get(pool.newest.session.sid) === undefined)
      pool.newest = undefined;
    if (pool.newest === undefined) this.#pools.delete(key);
  }
}

const keyOf = ({ as, did, grant, capabilities, purpose, minScore }: SessionTerms): string =>
  JSON.stringify([as, did, grant, capabilities, purpose ?? null, minScore ?? null]);
