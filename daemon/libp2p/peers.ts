/**
 * Which peers to be connected to. libp2p 3 does not redial what a partition cut (measured), so this loop does:
 *
 *   pinned      anchors and bootstrap peers: always, with a backoff of at most 5 s
 *   lost        connections that broke rather than closed: for two minutes every 2 s, whatever the degree is, since
 *               each side of a partition may have neighbours enough and would never look across
 *   others      while fewer than the target degree are connected, backoff of at most 30 s
 *   a look      now and then one that is known and not connected, so that halves find each other after longer cuts
 */
import { limits } from '../../protocol/index.ts';
import type { Clock, Logger, Random, Timer } from '../ports.ts';
import { createDeadline, messageOf } from './deadline.ts';

/** What is remembered of a peer across restarts. */
export interface KnownPeer {
  readonly peer: string;
  /** Multiaddr texts, the newest first. */
  readonly addresses: readonly string[];
  /** Wall clock of the last time it was bound; 0 = never. */
  readonly seenMs: number;
}

export interface PinnedPeer {
  readonly address: string;
  /** PeerId in the address, if it names one. */
  readonly peer: string | undefined;
}

export interface PeersComponents {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  /** Connects; resolves with the PeerId reached. */
  dial(addresses: readonly string[], peer: string | undefined, signal: AbortSignal): Promise<string>;
  /** Closes all connections to a peer that is no longer wanted. */
  hangUp(peer: string): void;
  /** Writes down what to remember. */
  save(peers: readonly KnownPeer[]): Promise<void>;
}

export interface PeersOptions {
  readonly self: string;
  /** Redialled for ever. */
  readonly pinned: readonly PinnedPeer[];
  /** Peers to be connected to, those who dialled us included. */
  readonly targetDegree: number;
}

const BACKOFF_FIRST_MS = 250;
const BACKOFF_GONE_MAX_MS = 2_000; // while the parting is young: restarts and most cuts are over within minutes
const GONE_WINDOW_MS = 120_000;
const BACKOFF_PINNED_MAX_MS = 5_000;
const BACKOFF_MAX_MS = 30_000;
const BACKOFF_HOPELESS_MS = 600_000; // after FAILURES_HOPELESS in a row
const FAILURES_HOPELESS = 20;
const STABLE_MS = 20_000; // a connection that lived so long was no failure; longer than the grace of the unbound
const LOOK_EVERY_MS = 30_000;
const FORGET_SEEN_MS = 7 * 86_400_000; // not reached for a week
const FORGET_UNSEEN_MS = 3_600_000; // only ever heard of, and not reached for an hour
const EXCESS_MAX = 2; // connections above the target degree that a look may leave behind
const SAVE_AFTER_MS = 2_000;
const TICK_MS_MIN = 20;

/** Whose word an entry is: the DHT's, somebody's who looks for the peer, or the peer's own as a bound one. */
type Source = 'heard' | 'told' | 'proved';
const TRUST: Record<Source, number> = { heard: 0, told: 1, proved: 2 };

interface Entry {
  peer: string | undefined;
  addresses: string[];
  source: Source;
  seenMs: number;
  readonly heardMs: number;
  /** Configured addresses, tried first and never forgotten; empty unless pinned. */
  readonly fixed: string[];
  failures: number;
  nextDialMs: number;
  /** When a good connection ended, and whether it broke. */
  gone: { readonly atMs: number; readonly isBroken: boolean } | undefined;
  isDialling: boolean;
}

const isPinned = (entry: Entry): boolean => entry.fixed.length > 0;

export class Peers {
  readonly #components: PeersComponents;
  readonly #options: PeersOptions;
  readonly #known = new Map<string, Entry>();
  /** Pinned addresses whose PeerId is not known yet. */
  readonly #nameless: Entry[] = [];
  /** Since when, monotonicMs(), and who dialled. */
  readonly #connected = new Map<
    string,
    { readonly sinceMs: number; readonly isOutbound: boolean; isProved: boolean }
  >();
  readonly #stop = new AbortController();
  #dialling = 0;
  #nextLookMs = 0;
  #tick: Timer | undefined;
  #save: Timer | undefined;
  #saving: Promise<void> = Promise.resolve();
  #isRunning = false;

  constructor(components: PeersComponents, options: PeersOptions) {
    this.#components = components;
    this.#options = options;
    for (const { address, peer } of options.pinned) this.#pin(address, peer);
  }

  start(remembered: readonly KnownPeer[]): void {
    for (const { peer, addresses, seenMs } of remembered) {
      const entry = this.#merge(peer, addresses, seenMs > 0 ? 'proved' : 'told');
      if (entry !== undefined) entry.seenMs = Math.max(entry.seenMs, seenMs);
    }
    this.#isRunning = true;
    this.#nextLookMs = this.#nowMs() + this.#jittered(LOOK_EVERY_MS);
    this.#schedule();
  }

  async close(): Promise<void> {
    this.#isRunning = false;
    this.#tick?.cancel();
    this.#stop.abort();
    if (this.#save !== undefined) this.#write();
    await this.#saving;
  }

  /** Somebody who asks for this peer says where it is. */
  remember(peer: string, addresses: readonly string[]): void {
    const isNews = addresses.some((address) => !this.addressesOf(peer).includes(address));
    const entry = this.#merge(peer, addresses, 'told');
    if (entry !== undefined && isNews) entry.nextDialMs = Math.min(entry.nextDialMs, this.#nowMs());
    this.#saveLater();
    this.#schedule();
  }

  /** Somebody in the DHT says where a peer is: tried when nothing better is known, and not written down. */
  hear(peer: string, addresses: readonly string[]): void {
    if (this.#known.has(peer)) return;
    this.#merge(peer, addresses, 'heard');
    this.#schedule();
  }

  addressesOf(peer: string): readonly string[] {
    return this.#known.get(peer)?.addresses ?? [];
  }

  get knownCount(): number {
    return this.#known.size;
  }

  isPinned(peer: string): boolean {
    const entry = this.#known.get(peer);
    return entry !== undefined && isPinned(entry);
  }

  /** False: a connection that served its purpose may go. */
  isWanted(peer: string): boolean {
    return this.isPinned(peer) || this.#connected.size <= this.#options.targetDegree;
  }

  connected(peer: string, direction: 'inbound' | 'outbound'): void {
    this.#connected.set(peer, { sinceMs: this.#nowMs(), isOutbound: direction === 'outbound', isProved: false });
    this.#schedule();
  }

  /**
   * The peer's last connection is gone. `isBroken`: an error ended it, not a side that wanted to; `isOurs`: we did.
   */
  disconnected(peer: string, how: { readonly isBroken: boolean; readonly isOurs: boolean }): void {
    const connection = this.#connected.get(peer);
    this.#connected.delete(peer);
    const entry = this.#known.get(peer);
    if (entry === undefined || connection === undefined) return;
    const nowMs = this.#nowMs();
    const wasStable = nowMs - connection.sinceMs >= STABLE_MS;
    if (how.isOurs) {
      entry.nextDialMs = nowMs + (isPinned(entry) ? BACKOFF_PINNED_MAX_MS : 2 * BACKOFF_MAX_MS);
      entry.gone = undefined;
    } else {
      if (wasStable) entry.failures = 0;
      // Not again for one that keeps breaking: the other side may not want us.
      if (wasStable || (connection.isProved && entry.failures === 0))
        entry.gone = { atMs: nowMs, isBroken: how.isBroken };
      entry.nextDialMs = nowMs + (wasStable ? this.#jittered(BACKOFF_FIRST_MS) : this.#failed(entry));
    }
    this.#schedule();
  }

  /** An organisation stands by this peer, and these are its addresses. */
  proved(peer: string, addresses: readonly string[]): void {
    const entry = this.#merge(peer, addresses, 'proved');
    if (entry !== undefined) entry.seenMs = this.#components.clock.nowMs();
    const connection = this.#connected.get(peer);
    if (connection !== undefined) connection.isProved = true;
    this.#saveLater();
  }

  #pin(address: string, peer: string | undefined): void {
    if (peer === this.#options.self) return;
    const known = peer === undefined ? undefined : this.#known.get(peer);
    if (known !== undefined) {
      known.fixed.push(address);
      known.addresses = newestFirst(known.fixed, known.addresses);
      return;
    }
    const entry = this.#entry(peer, [address], 'told', [address]);
    if (peer === undefined) this.#nameless.push(entry);
    else this.#known.set(peer, entry);
  }

  #merge(peer: string, addresses: readonly string[], source: Source): Entry | undefined {
    const known = this.#known.get(peer);
    if (known !== undefined) {
      known.addresses = newestFirst([...known.fixed, ...addresses], known.addresses);
      if (TRUST[source] > TRUST[known.source]) known.source = source;
      return known;
    }
    if (addresses.length === 0 || peer === this.#options.self) return undefined;
    if (this.#known.size >= limits.KNOWN_PEERS_MAX && !this.#evict(source)) return undefined;
    const entry = this.#entry(peer, newestFirst(addresses, []), source, []);
    this.#known.set(peer, entry);
    return entry;
  }

  #entry(peer: string | undefined, addresses: string[], source: Source, fixed: string[]): Entry {
    return {
      peer,
      addresses,
      source,
      seenMs: 0,
      heardMs: this.#nowMs(),
      fixed,
      failures: 0,
      nextDialMs: this.#nowMs(),
      gone: undefined,
      isDialling: false,
    };
  }

  /** Makes room by forgetting the least trusted, then the longest unseen: hearsay never displaces what was told or proved. */
  #evict(source: Source): boolean {
    let worst: Entry | undefined;
    for (const entry of this.#known.values()) {
      if (isPinned(entry) || this.#isConnected(entry)) continue;
      const less = worst === undefined ? -1 : TRUST[entry.source] - TRUST[worst.source] || entry.seenMs - worst.seenMs;
      if (less < 0) worst = entry;
    }
    if (worst?.peer === undefined || (source === 'heard' && worst.source !== 'heard')) return false;
    return this.#known.delete(worst.peer);
  }

  #forgetHopeless(): void {
    const nowMs = this.#nowMs();
    const wallMs = this.#components.clock.nowMs();
    for (const [peer, entry] of this.#known) {
      if (isPinned(entry) || entry.failures < FAILURES_HOPELESS || this.#isConnected(entry)) continue;
      const isLongGone =
        entry.seenMs > 0 ? wallMs - entry.seenMs > FORGET_SEEN_MS : nowMs - entry.heardMs > FORGET_UNSEEN_MS;
      if (isLongGone) this.#known.delete(peer);
    }
  }

  #isConnected(entry: Entry): boolean {
    return entry.peer !== undefined && this.#connected.has(entry.peer);
  }

  #run(): void {
    const nowMs = this.#nowMs();
    const due = this.#candidates().filter((entry) => entry.nextDialMs <= nowMs);
    for (const entry of due) {
      if (this.#dialling >= limits.DIALS_PARALLEL_MAX) break;
      if (this.#isUrgent(entry, nowMs) || this.#connected.size + this.#dialling < this.#options.targetDegree)
        this.#dial(entry);
    }
    if (nowMs >= this.#nextLookMs) {
      this.#nextLookMs = nowMs + this.#jittered(LOOK_EVERY_MS);
      this.#forgetHopeless();
      this.#look(due.filter((entry) => !entry.isDialling));
    }
    this.#schedule();
  }

  /** Not connected and not being dialled: pinned first, then lost, then hearsay last, else by failures and lot. */
  #candidates(): Entry[] {
    const entries = [...this.#nameless, ...this.#known.values()].filter(
      (entry) => !entry.isDialling && !this.#isConnected(entry),
    );
    const nowMs = this.#nowMs();
    const rank = (entry: Entry): number =>
      isPinned(entry)
        ? 0
        : this.#isUrgent(entry, nowMs)
          ? 1
          : 2 + Math.min(entry.failures, 10) + (entry.source === 'heard' ? 11 : 0);
    return entries
      .map((entry) => ({ entry, rank: rank(entry), lot: this.#components.random.fraction() }))
      .sort((a, b) => a.rank - b.rank || a.lot - b.lot)
      .map(({ entry }) => entry);
  }

  #isUrgent(entry: Entry, nowMs: number): boolean {
    return isPinned(entry) || (entry.gone?.isBroken === true && nowMs - entry.gone.atMs < GONE_WINDOW_MS);
  }

  /** One connection more than is wanted, and one of the older ones less. */
  #look(idle: readonly Entry[]): void {
    const entry = idle.find((other) => !isPinned(other));
    if (entry !== undefined && this.#dialling < limits.DIALS_PARALLEL_MAX) this.#dial(entry);
    if (this.#connected.size <= this.#options.targetDegree + EXCESS_MAX) return;
    const nowMs = this.#nowMs();
    const ours = [...this.#connected].filter(
      ([peer, { isOutbound, sinceMs }]) => isOutbound && !this.isPinned(peer) && nowMs - sinceMs > LOOK_EVERY_MS,
    );
    const [chosen] = ours[Math.floor(this.#components.random.fraction() * ours.length)] ?? [];
    if (chosen !== undefined) this.#components.hangUp(chosen);
  }

  #dial(entry: Entry): void {
    entry.isDialling = true;
    this.#dialling++;
    void this.#attempt(entry).finally(() => {
      entry.isDialling = false;
      this.#dialling--;
      this.#schedule();
    });
  }

  async #attempt(entry: Entry): Promise<void> {
    const deadline = createDeadline(
      this.#components.clock,
      limits.DIAL_MS_MAX,
      `reach ${entry.peer ?? entry.addresses[0]}`,
      this.#stop.signal,
    );
    try {
      const peer = await this.#components.dial(entry.addresses, entry.peer, deadline.signal);
      if (entry.peer === undefined) this.#named(entry, peer);
      entry.nextDialMs = this.#nowMs() + this.#jittered(BACKOFF_FIRST_MS); // should it be gone again already
    } catch (cause) {
      entry.nextDialMs = this.#nowMs() + this.#failed(entry);
      this.#components.log.debug(
        { peer: entry.peer, failures: entry.failures, cause: messageOf(cause) },
        'dial failed',
      );
    } finally {
      deadline[Symbol.dispose]();
    }
  }

  /** A pinned address has told its PeerId. */
  #named(entry: Entry, peer: string): void {
    entry.peer = peer;
    const at = this.#nameless.indexOf(entry);
    if (at >= 0) this.#nameless.splice(at, 1);
    const known = this.#known.get(peer);
    if (known !== undefined) {
      entry.addresses = newestFirst(entry.addresses, known.addresses);
      entry.seenMs = known.seenMs;
    }
    this.#known.set(peer, entry);
  }

  /** Counts a failure; milliseconds to wait. */
  #failed(entry: Entry): number {
    entry.failures++;
    const maxMs = this.#backoffMaxMs(entry);
    return this.#jittered(Math.min(maxMs, BACKOFF_FIRST_MS * 2 ** Math.min(entry.failures - 1, 20)));
  }

  #backoffMaxMs(entry: Entry): number {
    if (entry.gone !== undefined && this.#nowMs() - entry.gone.atMs < GONE_WINDOW_MS) return BACKOFF_GONE_MAX_MS;
    if (isPinned(entry)) return BACKOFF_PINNED_MAX_MS;
    return entry.failures < FAILURES_HOPELESS ? BACKOFF_MAX_MS : BACKOFF_HOPELESS_MS;
  }

  /** Half of it to all of it: two sides that lost each other do not dial at the same moment. */
  #jittered(delayMs: number): number {
    return delayMs * (0.5 + this.#components.random.fraction() / 2);
  }

  #schedule(): void {
    this.#tick?.cancel();
    if (!this.#isRunning) return;
    const nowMs = this.#nowMs();
    const hasRoom = this.#connected.size + this.#dialling < this.#options.targetDegree;
    let atMs = this.#nextLookMs;
    if (this.#dialling < limits.DIALS_PARALLEL_MAX) {
      for (const entry of [...this.#nameless, ...this.#known.values()]) {
        if (entry.isDialling || this.#isConnected(entry) || !(hasRoom || this.#isUrgent(entry, nowMs))) continue;
        atMs = Math.min(atMs, entry.nextDialMs);
      }
    }
    this.#tick = this.#components.clock.after(Math.max(atMs - nowMs, TICK_MS_MIN), () => this.#run());
  }

  #saveLater(): void {
    this.#save ??= this.#components.clock.after(SAVE_AFTER_MS, () => this.#write());
  }

  #write(): void {
    this.#save?.cancel();
    this.#save = undefined;
    const peers = [...this.#known.values()].flatMap(({ peer, addresses, seenMs, source }) =>
      peer !== undefined && source !== 'heard' ? [{ peer, addresses, seenMs }] : [],
    );
    this.#saving = this.#saving
      .then(() => this.#components.save(peers))
      .catch((cause: unknown) =>
        this.#components.log.warn({ cause: messageOf(cause) }, 'known peers could not be written'),
      );
  }

  #nowMs(): number {
    return this.#components.clock.monotonicMs();
  }
}

const newestFirst = (newer: readonly string[], older: readonly string[]): string[] =>
  [...new Set([...newer, ...older])]
    .filter((address) => address.length <= limits.MULTIADDR_TEXT_MAX)
    .slice(0, limits.PEER_ADDRESSES_MAX);
