/** A pipeline with a clock, a store and a signature port that the test holds in its hands. */
import { expect } from 'vitest';
import { type Outcome, Pipeline, type PipelineOptions, type Source } from '../../../daemon/core/pipeline.ts';
import type { Logger, Store, StoreWrite } from '../../../daemon/ports.ts';
import { MemoryStore } from '../../../daemon/store/memory.ts';
import {
  type IsSignatureValid,
  isMeshError,
  MeshState,
  RangeIndex,
  type StateLimits,
  type Statement,
  toHex,
  verifySignatures,
} from '../../../protocol/index.ts';
import { isSignatureValidSodium } from '../../../protocol/sodium.ts';
import { VirtualClock } from './virtual-clock.ts';

/** A store in memory whose batches wait while the test holds them, and fail when it says so. */
export class HeldStore implements Store {
  readonly rows: Store = new MemoryStore();
  /** Every batch that was asked for. */
  readonly batches: { readonly writes: readonly StoreWrite[]; readonly sync: boolean }[] = [];
  readonly #waiting: (() => void)[] = [];
  #isHolding = false;
  #failure: Error | undefined;

  hold(): void {
    this.#isHolding = true;
  }

  release(): void {
    this.#isHolding = false;
    for (const go of this.#waiting.splice(0)) go();
  }

  /** The next batch to go through fails with this, whatever kind of error it is. */
  failWith(failure: Error): void {
    this.#failure = failure;
  }

  get(key: Uint8Array): Promise<Uint8Array | undefined> {
    return this.rows.get(key);
  }

  range(gte: Uint8Array, lt: Uint8Array): AsyncIterable<readonly [Uint8Array, Uint8Array]> {
    return this.rows.range(gte, lt);
  }

  async batch(writes: readonly StoreWrite[], options: { readonly sync: boolean }): Promise<void> {
    this.batches.push({ writes, sync: options.sync });
    if (this.#isHolding) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    const failure = this.#failure;
    this.#failure = undefined;
    if (failure !== undefined) throw failure;
    await this.rows.batch(writes, options);
  }

  close(): Promise<void> {
    return this.rows.close();
  }
}

export interface DoorOptions extends PipelineOptions {
  readonly limits?: Partial<StateLimits>;
  readonly store?: HeldStore;
  readonly clock?: VirtualClock;
  readonly isSignatureValid?: IsSignatureValid;
  /** False: without a port for bulk, so that receiveMany goes one by one. Default true. */
  readonly bulk?: boolean;
}

export type Heard =
  | readonly ['accepted', id: string, via: Source['via']]
  | readonly ['removed', id: string]
  | readonly ['refused', code: string, via: Source['via']]
  | readonly ['awaiting', did: string, peer: string];

export class Door {
  readonly clock: VirtualClock;
  readonly store: HeldStore;
  readonly state: MeshState;
  readonly index = new RangeIndex();
  readonly pipeline: Pipeline;
  /** What the listeners were told, in order. */
  readonly heard: Heard[] = [];
  readonly logged: string[] = [];
  /** Signatures that were looked at. */
  signaturesChecked = 0;

  constructor({
    limits = {},
    store = new HeldStore(),
    clock = new VirtualClock(),
    isSignatureValid = isSignatureValidSodium,
    bulk = true,
    ...options
  }: DoorOptions = {}) {
    this.clock = clock;
    this.store = store;
    this.state = new MeshState(limits);
    const counted: IsSignatureValid = (...all) => {
      this.signaturesChecked += 1;
      return isSignatureValid(...all);
    };
    this.pipeline = new Pipeline(
      {
        state: this.state,
        index: this.index,
        store,
        clock,
        log: this.#log(),
        isSignatureValid: counted,
        ...(bulk && {
          checkSignatures: (statements) => Promise.resolve(statements.map((one) => areValid(one, counted))),
        }),
      },
      options,
    );
    this.pipeline.listen({
      accepted: ({ id }, { via }) => this.heard.push(['accepted', id, via]),
      removed: ({ id }) => this.heard.push(['removed', id]),
      refused: ({ code }, { via }) => this.heard.push(['refused', code, via]),
      awaiting: (did, peer) => this.heard.push(['awaiting', did, peer]),
    });
  }

  /** All of which the door accepts, as if pulled; not part of what was heard. */
  hold(...statements: readonly Statement[]): this {
    for (const { envelope } of statements)
      expect(formatOutcome(this.pipeline.receive(envelope, { via: 'pulled', peer: 'setup' }))).toBe('accept');
    this.heard.length = 0;
    this.signaturesChecked = 0;
    return this;
  }

  /** Ids of the reconciled set by the index and by the state, which are the same. */
  ids(): string[] {
    const indexed = [...this.index.items()].map(({ epoch, id }) => `${epoch} ${toHex(id)}`);
    const held = [...this.state.statements()].map(({ epoch, digest }) => `${epoch} ${toHex(digest)}`);
    expect(indexed).toEqual(held.toSorted(byEpoch));
    return [...this.state.statements()].map(({ id }) => id).toSorted();
  }

  /** Keys of the rows on disk, in hex. */
  async rows(): Promise<string[]> {
    const rows: string[] = [];
    for await (const [key] of this.store.range(new Uint8Array(), Uint8Array.of(0xff))) rows.push(toHex(key));
    return rows;
  }

  #log(): Logger {
    const record = (facts: object, message: string): void => {
      this.logged.push(message);
      expect(facts).toBeTypeOf('object');
    };
    return { debug: record, info: record, warn: record, error: record };
  }
}

function areValid(statement: Statement, isSignatureValid: IsSignatureValid): boolean {
  try {
    verifySignatures(statement, isSignatureValid);
    return true;
  } catch (error) {
    if (isMeshError(error)) return false;
    throw error;
  }
}

const byEpoch = (a: string, b: string): number => {
  const [x, y] = [a, b].map((text) => Number(text.split(' ')[0])) as [number, number];
  return x - y || (a < b ? -1 : 1);
};

export const rowOf = ({ epoch, digest, payload }: Statement): string =>
  'pri' in payload && payload.pri === true
    ? `76${toHex(digest)}`
    : `73${epoch.toString(16).padStart(8, '0')}${toHex(digest)}`;

/** "accept", or the verdict with its code, or what it waits for. */
export const formatOutcome = (outcome: Outcome): string =>
  outcome.verdict === 'accept'
    ? 'accept'
    : outcome.verdict === 'pending'
      ? `pending ${outcome.waitsFor}`
      : `${outcome.verdict} ${outcome.code}`;
