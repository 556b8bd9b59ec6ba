import { limits } from '../../protocol/index.ts';
import type { Clock } from '../ports.ts';

const DECAY_A_SECOND = 0.99; // as of gossip's own counter of invalid messages (P4)
const FORGOTTEN = 0.1; // counts below this are no offence any more (gossip's decayToZero)
const PENALTY = 10; // times the squared count (P4's weight)

interface Record {
  count: number;
  atMs: number;
  deniedUntilMs: number;
}

/**
 * What peers did wrong, across their connections (gossipsub 17.1.1 starts a fresh score at every reconnect).
 * Counts decay; a peer at the limit is denied for a while.
 */
export class Offences {
  readonly #clock: Clock;
  /** In order of the last offence. */
  readonly #records = new Map<string, Record>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** True when the peer is to be disconnected: from now on it is denied. */
  add(peer: string, count = 1): boolean {
    const nowMs = this.#clock.monotonicMs();
    const record: Record = {
      count: this.#count(peer) + count,
      atMs: nowMs,
      deniedUntilMs: this.#records.get(peer)?.deniedUntilMs ?? 0,
    };
    const isOver = record.count > limits.GOSSIP_REJECTS_MAX - 0.5; // decayed a little between the first and the last
    if (isOver) record.deniedUntilMs = nowMs + limits.DENIED_MS;
    this.#records.delete(peer);
    this.#records.set(peer, record);
    this.#trim();
    return isOver;
  }

  isDenied(peer: string): boolean {
    return (this.#records.get(peer)?.deniedUntilMs ?? 0) > this.#clock.monotonicMs();
  }

  /** <= 0 */
  score(peer: string): number {
    return 0 - PENALTY * this.#count(peer) ** 2;
  }

  #count(peer: string): number {
    const record = this.#records.get(peer);
    if (record === undefined) return 0;
    const count = record.count * DECAY_A_SECOND ** ((this.#clock.monotonicMs() - record.atMs) / 1000);
    return count < FORGOTTEN ? 0 : count;
  }

  #trim(): void {
    for (const peer of this.#records.keys()) {
      if (this.#records.size <= limits.DENIED_PEERS_MAX) return;
      this.#records.delete(peer);
    }
  }
}
