/**
 * How often each agent used what a rule limits (SPEC "Policies", limits): one counter for policy, rule and agent, on
 * disk, so that a restart frees nothing.
 *
 * A use is written without a sync of its own, before the entry that lets the request go ahead and that is synced. The
 * store keeps the order of batches, and what is synced takes what was written before it along: whoever awaits the entry
 * has the use on disk too. A crash in between loses a use whose request did not go ahead.
 */
import { digestOf, isMeshError, limits, MeshError, toHex } from '../../../protocol/index.ts';
import {
  decodeLimitState,
  encodeLimitState,
  freeAtMs,
  giveBack,
  isFree,
  type LimitState,
  type LimitUse,
  take,
} from '../../../protocol/policy/index.ts';
import type { Clock, Logger, Store, StoreWrite } from '../../ports.ts';
import { rowKey, rowRange } from './rows.ts';

export interface LimitStoreComponents {
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Logger;
}

export interface LimitStoreOptions {
  /** Counters in memory; the others are read when they are asked for. Default LIMIT_COUNTERS_CACHED_MAX. */
  readonly cachedMax?: number;
}

export type TakenLimits =
  | {
      readonly isTaken: true;
      /** Resolves once it is written; what is written after it and synced makes it durable. Errors: read_only. */
      readonly written: Promise<void>;
      /** For what did not go ahead after all. Never throws. */
      giveBack(): void;
    }
  | {
      readonly isTaken: false;
      /** Used up. */
      readonly use: LimitUse;
      /** When it may be used again, unless others use it first; infinite for a limit of none. */
      readonly freeAtMs: number;
    };

interface Counter {
  readonly key: Uint8Array;
  /** Over once the row is read. */
  readonly loaded: Promise<void>;
  state: LimitState | undefined;
  /** Who asks for it or writes it now: until they are over the row may be older than this, so it stays in memory. */
  users: number;
}

export class LimitStore {
  readonly #components: LimitStoreComponents;
  readonly #cachedMax: number;
  /** The one asked for last is last. */
  readonly #counters = new Map<string, Counter>();
  /** While counters that are over are looked for: those in use since. */
  #usedSince: Set<string> | undefined;

  constructor(components: LimitStoreComponents, options: LimitStoreOptions = {}) {
    this.#components = components;
    this.#cachedMax = options.cachedMax ?? limits.LIMIT_COUNTERS_CACHED_MAX;
  }

  /** May it be used once more? Errors: store_corrupt, closed. */
  async isFree(agent: string, use: LimitUse): Promise<boolean> {
    const { clock } = this.#components;
    return this.#using([keyOf(agent, use)], ([counter]) => isFree(counter?.state, clock.nowMs(), use));
  }

  /** All of them, or none. Errors: store_corrupt, closed. */
  async take(agent: string, uses: readonly LimitUse[]): Promise<TakenLimits> {
    const keys = uses.map((use) => keyOf(agent, use));
    return this.#using(keys, (counters) => this.#take(counters, uses));
  }

  /** Removes counters that hold no use any more; those of rules and agents that are gone would stay for good. */
  async prune(): Promise<number> {
    const { store, clock } = this.#components;
    const usedSince = new Set<string>();
    this.#usedSince = usedSince;
    try {
      const over: Uint8Array[] = [];
      for await (const [key, value] of store.range(...rowRange('limit')))
        if (isOver(readState(value), clock.nowMs())) over.push(key);
      const gone = over.filter(
        (key) => !usedSince.has(toHex(key)) && (this.#counters.get(toHex(key))?.users ?? 0) === 0,
      );
      for (const key of gone) this.#counters.delete(toHex(key));
      if (gone.length === 0) return 0;
      await store.batch(
        gone.map((key) => ({ type: 'del', key })),
        { sync: false },
      );
      return gone.length;
    } finally {
      this.#usedSince = undefined;
    }
  }

  #take(counters: readonly Counter[], uses: readonly LimitUse[]): TakenLimits {
    const nowMs = this.#components.clock.nowMs();
    const before = counters.map(({ state }) => state);
    for (const [i, use] of uses.entries()) {
      const counter = counters[i];
      if (counter === undefined) continue; // there is one for each
      if (!isFree(counter.state, nowMs, use)) {
        for (const [j, each] of counters.entries()) each.state = before[j];
        return { isTaken: false, use, freeAtMs: freeAtMs(before[i], nowMs, use) };
      }
      counter.state = take(counter.state, nowMs, use); // at once: two uses may be of one counter
    }
    const written = this.#write(counters);
    written.catch(() => {}); // whoever waits for it has the error
    let isGivenBack = false;
    return {
      isTaken: true,
      written,
      giveBack: () => {
        if (isGivenBack) return;
        isGivenBack = true;
        this.#giveBack(
          counters.map(({ key }) => key),
          uses,
          nowMs,
        );
      },
    };
  }

  #giveBack(keys: readonly Uint8Array[], uses: readonly LimitUse[], takenMs: number): void {
    const { log } = this.#components;
    this.#using(keys, async (counters) => {
      for (const [i, counter] of counters.entries()) {
        const use = uses[i];
        if (use !== undefined && counter.state !== undefined) counter.state = giveBack(counter.state, takenMs, use);
      }
      await this.#write(counters);
    }).catch((error: unknown) => log.warn({ error }, 'a use of a limit that was given back cannot be written'));
  }

  async #write(counters: readonly Counter[]): Promise<void> {
    const writes = [...new Set(counters)].map(
      ({ key, state }): StoreWrite =>
        state === undefined ? { type: 'del', key } : { type: 'put', key, value: encodeLimitState(state) },
    );
    if (writes.length === 0) return;
    for (const counter of counters) counter.users += 1;
    try {
      await this.#components.store.batch(writes, { sync: false });
    } finally {
      for (const counter of counters) counter.users -= 1;
      this.#evict();
    }
  }

  /** With these counters, which stay in memory until the work is over. */
  async #using<T>(keys: readonly Uint8Array[], work: (counters: readonly Counter[]) => T | Promise<T>): Promise<T> {
    const counters = keys.map((key) => this.#touch(key));
    try {
      await Promise.all(counters.map(({ loaded }) => loaded));
      return await work(counters);
    } finally {
      for (const counter of counters) counter.users -= 1;
      this.#evict();
    }
  }

  #touch(key: Uint8Array): Counter {
    const name = toHex(key);
    const counter = this.#counters.get(name) ?? this.#load(name, key);
    this.#counters.delete(name);
    this.#counters.set(name, counter);
    this.#usedSince?.add(name);
    counter.users += 1;
    return counter;
  }

  #load(name: string, key: Uint8Array): Counter {
    const read = async (): Promise<void> => {
      try {
        const value = await this.#components.store.get(key);
        counter.state = value === undefined ? undefined : readState(value);
      } catch (error) {
        this.#counters.delete(name);
        throw error;
      }
    };
    const counter: Counter = { key, loaded: soon(read), state: undefined, users: 0 };
    return counter;
  }

  #evict(): void {
    for (const [name, { users }] of this.#counters) {
      if (this.#counters.size <= this.#cachedMax) return;
      if (users === 0) this.#counters.delete(name);
    }
  }
}

/** Not before whoever calls has what it returns. */
const soon = (work: () => Promise<void>): Promise<void> => Promise.resolve().then(work);

const encoder = new TextEncoder();
const keyOf = (agent: string, { policy, rule, of = agent }: LimitUse): Uint8Array =>
  rowKey('limit', digestOf(encoder.encode(JSON.stringify([policy, rule, of]))));

const isOver = (state: LimitState, nowMs: number): boolean =>
  isFree(state, nowMs, { count: 1, windowMs: state.windowMs });

function readState(value: Uint8Array): LimitState {
  try {
    return decodeLimitState(value);
  } catch (cause) {
    if (!isMeshError(cause)) throw cause;
    throw new MeshError(
      'store_corrupt',
      'Cannot read the counter of a limit: it is not what was written',
      {},
      { cause },
    );
  }
}
