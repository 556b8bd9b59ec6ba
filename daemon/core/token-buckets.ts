import type { Clock } from '../ports.ts';

/** A token bucket for each key, refilled steadily; forgets keys whose bucket is full. */
export class TokenBuckets {
  readonly #clock: Clock;
  readonly #perSecond: number;
  readonly #burst: number;
  readonly #keysMax: number;
  readonly #buckets = new Map<string, { tokens: number; atMs: number }>();

  constructor(
    clock: Clock,
    {
      perSecond,
      burst,
      keysMax = 10_000,
    }: { readonly perSecond: number; readonly burst: number; readonly keysMax?: number },
  ) {
    this.#clock = clock;
    this.#perSecond = perSecond;
    this.#burst = burst;
    this.#keysMax = keysMax; // more peers than a daemon ever has connections; beyond, the longest unused is forgotten
  }

  /** Whether there was a token; takes it. */
  take(key: string): boolean {
    const nowMs = this.#clock.monotonicMs();
    const bucket = this.#buckets.get(key) ?? { tokens: this.#burst, atMs: nowMs };
    bucket.tokens = Math.min(this.#burst, bucket.tokens + ((nowMs - bucket.atMs) / 1000) * this.#perSecond);
    bucket.atMs = nowMs;
    this.#buckets.delete(key);
    this.#buckets.set(key, bucket);
    if (this.#buckets.size > this.#keysMax) this.#buckets.delete(this.#buckets.keys().next().value as string);
    if (bucket.tokens < 1) return false;
    bucket.tokens -= 1;
    return true;
  }

  forgetIdle(): void {
    const nowMs = this.#clock.monotonicMs();
    for (const [key, { tokens, atMs }] of this.#buckets) {
      if (tokens + ((nowMs - atMs) / 1000) * this.#perSecond >= this.#burst) this.#buckets.delete(key);
    }
  }
}
