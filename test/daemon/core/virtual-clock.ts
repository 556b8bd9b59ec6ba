/** Time that passes when a test says so. */
import type { Clock, Timer } from '../../../daemon/ports.ts';
import { NOW_MS } from '../../builders.ts';

interface Pending {
  readonly atMs: number;
  readonly call: () => void;
}

const TURNS = 64; // of the microtask queue that one step of a protocol may need to come to rest

/** Lets everything happen that needs no time. */
export async function settle(): Promise<void> {
  for (let i = 0; i < TURNS; i++) await Promise.resolve();
  await new Promise<void>((resolve) => {
    setImmediate(resolve);
  });
}

export class VirtualClock implements Clock {
  readonly #startMs: number;
  #elapsedMs = 0;
  #skewMs = 0;
  readonly #pending = new Set<Pending>();

  /** @param startMs wall clock at the start; default NOW_MS of the builders. */
  constructor(startMs: number = NOW_MS) {
    this.#startMs = startMs;
  }

  nowMs(): number {
    return this.#startMs + this.#skewMs + this.#elapsedMs;
  }

  monotonicMs(): number {
    return this.#elapsedMs;
  }

  after(delayMs: number, call: () => void): Timer {
    const entry: Pending = { atMs: this.#elapsedMs + Math.max(0, delayMs), call };
    this.#pending.add(entry);
    return {
      cancel: () => {
        this.#pending.delete(entry);
      },
    };
  }

  soon(): Promise<void> {
    return Promise.resolve();
  }

  /** Timers that wait: 0 when everything was closed. */
  get timers(): number {
    return this.#pending.size;
  }

  /** Moves the wall clock alone, as an operator or NTP does. */
  step(byMs: number): void {
    this.#skewMs += byMs;
  }

  /** Lets time pass; timers fire in order, each after what the one before set off has come to rest. */
  async advance(byMs: number): Promise<void> {
    const untilMs = this.#elapsedMs + byMs;
    await settle();
    for (;;) {
      let next: Pending | undefined;
      for (const entry of this.#pending)
        if (entry.atMs <= untilMs && (next === undefined || entry.atMs < next.atMs)) next = entry;
      if (next === undefined) break;
      this.#pending.delete(next);
      this.#elapsedMs = Math.max(this.#elapsedMs, next.atMs);
      next.call();
      await settle();
    }
    this.#elapsedMs = untilMs;
    await settle();
  }
}
