/**
 * Puts checkpoints where everybody sees them (SPEC "Audit log statements"): those of the own log, and those that this
 * witness cosigned. A log that shows itself to a few is so shown to all by those few. No more often than one of a log
 * every second, and of all logs of the network together 28 a second.
 */
import { isMeshError, limits, type MeshState, type Statement } from '../../../protocol/index.ts';
import {
  checkpointStatement,
  formatNote,
  parseCheckpoint,
  parseLogOrigin,
  type SignedCheckpoint,
} from '../../../protocol/log/index.ts';
import type { Clock, Logger, Timer } from '../../ports.ts';
import type { Pipeline } from '../pipeline.ts';

export interface CheckpointGossipComponents {
  readonly pipeline: Pick<Pipeline, 'submit' | 'listen'>;
  readonly state: Pick<MeshState, 'checkpointOf'>;
  readonly clock: Clock;
  readonly log: Logger;
  /** Organisations that are known to keep a log. */
  readonly organisations: () => number;
}

const COUNT_MS = 10_000; // how old the number of organisations may be

export class CheckpointGossip {
  readonly #components: CheckpointGossipComponents;
  /** By origin, when one was seen last; the longest ago first. */
  readonly #seenMs = new Map<string, number>();
  readonly #waiting = new Map<string, { signed: SignedCheckpoint; readonly timer: Timer }>();
  #count: { readonly organisations: number; readonly atMs: number } | undefined;
  #isClosed = false;

  constructor(components: CheckpointGossipComponents) {
    this.#components = components;
    components.pipeline.listen({ seen: (statement) => this.#seen(originOf(statement)) });
  }

  close(): void {
    this.#isClosed = true;
    for (const { timer } of this.#waiting.values()) timer.cancel();
    this.#waiting.clear();
  }

  /** Now, or once none of this log was seen for the interval, unless somebody put one as large by then. */
  put(signed: SignedCheckpoint): void {
    const { origin, treeSize } = signed.checkpoint;
    if (this.#isClosed || parseLogOrigin(origin) === undefined) return; // others' logs have no place in the set
    const waiting = this.#waiting.get(origin);
    if (waiting !== undefined) {
      if (treeSize > waiting.signed.checkpoint.treeSize) waiting.signed = signed;
      return;
    }
    this.#putWhenDue(signed);
  }

  #putWhenDue(signed: SignedCheckpoint): void {
    const { clock } = this.#components;
    const { origin } = signed.checkpoint;
    if (this.#isHeld(signed)) return;
    const seenMs = this.#seenMs.get(origin);
    const waitMs = seenMs === undefined ? 0 : seenMs + this.#intervalMs() - clock.monotonicMs();
    if (waitMs <= 0) return this.#submit(signed);
    if (this.#waiting.size >= limits.WITNESS_ORIGINS_MAX) return; // the next one of this log comes
    const timer = clock.after(waitMs, () => {
      const newest = this.#waiting.get(origin)?.signed ?? signed;
      this.#waiting.delete(origin);
      this.#putWhenDue(newest);
    });
    this.#waiting.set(origin, { signed, timer });
  }

  #submit(signed: SignedCheckpoint): void {
    const { pipeline, log } = this.#components;
    this.#seen(signed.checkpoint.origin);
    pipeline.submit([checkpointStatement(formatNote(signed.note))]).catch((error: unknown) => {
      const { origin } = signed.checkpoint;
      // A larger one came in the same turn, or the binding of the log is not held any more.
      if (isMeshError(error))
        log.debug({ origin, code: error.code, reason: error.message }, 'checkpoint not published');
      else log.error({ origin, error }, 'checkpoint not published');
    });
  }

  #isHeld({ checkpoint }: SignedCheckpoint): boolean {
    const held = this.#components.state.checkpointOf(checkpoint.origin);
    return held !== undefined && parseCheckpoint(held.payload.note).checkpoint.treeSize >= checkpoint.treeSize;
  }

  #seen(origin: string): void {
    this.#seenMs.delete(origin);
    this.#seenMs.set(origin, this.#components.clock.monotonicMs());
    if (this.#seenMs.size > limits.WITNESS_ORIGINS_MAX) this.#seenMs.delete(this.#seenMs.keys().next().value as string);
  }

  #intervalMs(): number {
    const { clock, organisations } = this.#components;
    const nowMs = clock.monotonicMs();
    if (this.#count === undefined || nowMs - this.#count.atMs > COUNT_MS)
      this.#count = { organisations: organisations(), atMs: nowMs };
    return Math.max(
      limits.CHECKPOINT_GOSSIP_MS_MIN,
      limits.CHECKPOINT_GOSSIP_MS_AN_ORGANISATION * this.#count.organisations,
    );
  }
}

const originOf = ({ payload }: Statement<'checkpoint/v1'>): string => parseCheckpoint(payload.note).checkpoint.origin;
