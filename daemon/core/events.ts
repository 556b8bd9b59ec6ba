/** What the daemon tells those who listen: numbered events and a bounded memory for clients that come back. */
import type { MeshEvent, MeshEventInput } from '../../protocol/control/index.ts';
import { limits } from '../../protocol/index.ts';
import type { Clock } from '../ports.ts';

export interface Subscription {
  /** What came after the id that was named; a `gap` first where some are lost. */
  readonly missed: readonly MeshEvent[];
  close(): void;
}

export interface EventBusOptions {
  /** Tells this run of the daemon from others: lower-case hex. Ids of another run are a gap. */
  readonly run: string;
  /** Events remembered; default EVENTS_RING_MAX. */
  readonly ringMax?: number;
}

type Listener = (event: MeshEvent) => void;

/** Listeners are called in order, at once, and must not throw. */
export class EventBus {
  readonly #clock: Pick<Clock, 'nowMs'>;
  readonly #run: string;
  readonly #ringMax: number;
  readonly #ring: MeshEvent[] = [];
  readonly #listeners = new Set<Listener>();
  /** Of the newest event; the first is 1. */
  #number = 0;

  constructor(clock: Pick<Clock, 'nowMs'>, { run, ringMax = limits.EVENTS_RING_MAX }: EventBusOptions) {
    this.#clock = clock;
    this.#run = run;
    this.#ringMax = ringMax;
  }

  emit(input: MeshEventInput): void {
    this.#number += 1;
    const event = { id: this.#id(this.#number), at: this.#now(), ...input } as MeshEvent;
    this.#ring.push(event);
    if (this.#ring.length > this.#ringMax) this.#ring.shift();
    for (const listener of this.#listeners) listener(event);
  }

  /** From now on, or from after `lastId`: nothing is lost or doubled between `missed` and the first call. */
  subscribe(lastId: string | undefined, listener: Listener): Subscription {
    this.#listeners.add(listener);
    return {
      missed: lastId === undefined ? [] : this.#after(lastId),
      close: () => {
        this.#listeners.delete(listener);
      },
    };
  }

  #after(lastId: string): readonly MeshEvent[] {
    const match = /^([0-9a-f]+)-(\d{1,15})$/.exec(lastId);
    const held = this.#number - this.#ring.length; // events that are forgotten
    if (match === null || match[1] !== this.#run || Number(match[2]) > this.#number)
      return [this.#gap('restarted', held), ...this.#ring];
    const last = Number(match[2]);
    return last < held ? [this.#gap('too_old', held), ...this.#ring] : this.#ring.slice(last - held);
  }

  /** Carries the id of the last event that is lost, so that a client that resumes after it is told once. */
  #gap(reason: 'restarted' | 'too_old', number: number): MeshEvent {
    return { id: this.#id(number), at: this.#now(), type: 'gap', data: { reason } };
  }

  #id(number: number): string {
    return `${this.#run}-${number}`;
  }

  #now(): string {
    return new Date(this.#clock.nowMs()).toISOString();
  }
}
