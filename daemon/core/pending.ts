import type { Statement } from '../../protocol/index.ts';
import type { Clock } from '../ports.ts';
import type { Source } from './pipeline.ts';

const COUNT_MAX = 4_096; // statements
const BYTES_MAX = 16 * 1024 * 1024; // together
const A_PEER_MAX = 256; // so that one peer cannot push out what others sent
const KEEP_MS = 10 * 60_000; // by then reconciliation has offered it again

type RemoteSource = Exclude<Source, { via: 'local' }>;
export interface PendingEntry {
  readonly statement: Statement;
  readonly source: RemoteSource;
  readonly waitsFor: string;
  readonly untilMs: number;
}

/**
 * Statements whose signatures hold but which build on something not held. No place in the set: not stored, forwarded,
 * acknowledged or fingerprinted; bounded, oldest out.
 */
export class PendingStatements {
  readonly #clock: Clock;
  readonly #entries = new Map<string, PendingEntry>();
  readonly #waiting = new Map<string, Set<string>>();
  readonly #byPeer = new Map<string, number>();
  #bytes = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** True if it waits now and did not before. */
  add(statement: Statement, waitsFor: string, source: RemoteSource): boolean {
    const known = this.#entries.get(statement.id);
    if (known !== undefined && known.waitsFor === waitsFor) return false;
    if (known !== undefined) this.#remove(known);
    if ((this.#byPeer.get(source.peer) ?? 0) >= A_PEER_MAX)
      this.#removeOldest((entry) => entry.source.peer === source.peer);
    const entry = { statement, source, waitsFor, untilMs: this.#clock.monotonicMs() + KEEP_MS };
    this.#entries.set(statement.id, entry);
    this.#bytes += statement.envelope.length;
    this.#byPeer.set(source.peer, (this.#byPeer.get(source.peer) ?? 0) + 1);
    const ids = this.#waiting.get(waitsFor);
    if (ids === undefined) this.#waiting.set(waitsFor, new Set([statement.id]));
    else ids.add(statement.id);
    while (this.#entries.size > COUNT_MAX || this.#bytes > BYTES_MAX) this.#removeOldest(() => true);
    return true;
  }

  /** What waits for this DID, operation or origin, oldest first. */
  waitingFor(name: string): Statement[] {
    return this.entriesFor(name).map(({ statement }) => statement);
  }

  /** What waits for any of these, oldest first. */
  entriesFor(...names: readonly string[]): PendingEntry[] {
    return names.flatMap((name) =>
      [...(this.#waiting.get(name) ?? [])].map((id) => this.#entries.get(id) as PendingEntry),
    );
  }

  /** Whether this entry waits still, and for the same. */
  has(entry: PendingEntry): boolean {
    return this.#entries.get(entry.statement.id) === entry;
  }

  remove(entry: PendingEntry): void {
    if (this.has(entry)) this.#remove(entry);
  }

  expire(): void {
    const nowMs = this.#clock.monotonicMs();
    for (const entry of this.#entries.values()) {
      if (entry.untilMs > nowMs) return; // in order of arrival
      this.#remove(entry);
    }
  }

  #removeOldest(which: (entry: PendingEntry) => boolean): void {
    for (const entry of this.#entries.values()) {
      if (!which(entry)) continue;
      this.#remove(entry);
      return;
    }
  }

  #remove(entry: PendingEntry): void {
    this.#entries.delete(entry.statement.id);
    this.#bytes -= entry.statement.envelope.length;
    const left = (this.#byPeer.get(entry.source.peer) ?? 1) - 1;
    if (left === 0) this.#byPeer.delete(entry.source.peer);
    else this.#byPeer.set(entry.source.peer, left);
    const ids = this.#waiting.get(entry.waitsFor);
    ids?.delete(entry.statement.id);
    if (ids?.size === 0) this.#waiting.delete(entry.waitsFor);
  }
}
