/**
 * The one file that knows @libp2p/kad-dht: provider records only, the last resort of a look-up. Left alone it dials
 * whomever it hears of, to check contacts and to keep the nearest connected (20 nodes become a full mesh); so its view
 * of the connection manager, of ping and of the peer store is ours: it uses connections that are there, and may open a
 * few more for a while.
 */
import {
  type Connection,
  KEEP_ALIVE,
  type NewStreamOptions,
  type PeerId,
  peerDiscoverySymbol,
  type PeerInfo,
  type PeerStore,
  type Startable,
  type Stream,
  type TypedEventTarget,
} from '@libp2p/interface';
import { type KadDHT, kadDHT, type KadDHTComponents, type SingleKadDHT } from '@libp2p/kad-dht';
import { isPrivate } from '@libp2p/utils';
import type { Multiaddr } from '@multiformats/multiaddr';
import type { Datastore, Key } from 'interface-datastore';
import { CID } from 'multiformats/cid';
import { limits, MeshError } from '../../protocol/index.ts';
import type { Clock, Logger, Timer } from '../ports.ts';
import { type BoundPeers, boundRegistrar } from './bound-peers.ts';
import { createDeadline, firedWith, messageOf, raceSignal } from './deadline.ts';
import { overlay } from './overlay.ts';

export interface DhtDependencies {
  readonly clock: Clock;
  readonly log: Logger;
  readonly bound: BoundPeers;
  /** The peer's open connection, if there is one. */
  connectionTo(peer: string): Connection | undefined;
  /** Addresses that the peer-maintenance loop knows. */
  addressesOf(peer: string): readonly Multiaddr[];
  /** True: the connection is wanted beside the DHT, and is not closed after a visit. */
  isWanted(peer: string): boolean;
  /** Somebody in the DHT says where this peer is. */
  onHeard(peer: string, addresses: readonly string[]): void;
}

export interface DhtOptions {
  /** protocolId(network, 'kad') */
  readonly protocol: string;
  /** True: private addresses are passed on and dialled. */
  readonly localNetwork: boolean;
}

const ALPHA = 3; // questions in parallel, as in the Kademlia paper; kad-dht's 10 would take all visits at once
const BOUND_WITHIN_MS = 3_000; // for `hello` on a connection opened for a look-up
const HEARD_PEERS_MAX = 2048; // addresses heard in answers, for the next step of a look-up; oldest out
const CHECKS_BURST = 5; // contacts not connected that are dialled to see whether they live
const CHECK_EVERY_MS = 5_000; // … and then one so often
const DATASTORE_PREFIX = '/dht';

export class Dht {
  /** For libp2p's services. Not kad-dht itself: libp2p would use it to find the addresses of every peer it dials. */
  readonly service: Startable;
  readonly #kad: SingleKadDHT & Startable;
  readonly #visits: Visits;
  readonly #dependencies: DhtDependencies;

  constructor(components: KadDHTComponents, dependencies: DhtDependencies, options: DhtOptions) {
    this.#dependencies = dependencies;
    const heard = new HeardAddresses();
    this.#visits = new Visits(components.connectionManager, dependencies, heard);
    const mapper = (info: PeerInfo): PeerInfo =>
      options.localNetwork ? info : { ...info, multiaddrs: info.multiaddrs.filter((address) => !isPrivate(address)) };
    this.#kad = kadDHT({
      protocol: options.protocol,
      datastorePrefix: DATASTORE_PREFIX,
      clientMode: false,
      alpha: ALPHA,
      disjointPaths: 1,
      allowQueryWithZeroPeers: false,
      initialQuerySelfInterval: 100,
      peerInfoMapper: mapper,
      validators: { pk: refuseValue }, // the only kind of value that kad-dht would take by itself
      maxInboundStreams: 2 * ALPHA,
      maxOutboundStreams: 2 * ALPHA,
    })(this.#restricted(components)) as SingleKadDHT & Startable;
    discoveries(this.#kad).addEventListener('peer', ({ detail }) => {
      const { id, multiaddrs } = mapper(detail);
      const addresses = multiaddrs.slice(0, limits.PEER_ADDRESSES_MAX);
      if (addresses.length === 0) return;
      heard.set(id.toString(), addresses);
      dependencies.onHeard(
        id.toString(),
        addresses.map((address) => address.toString()),
      );
    });
    this.service = {
      start: () => this.#kad.start(),
      stop: async () => {
        this.#visits.close();
        await this.#kad.stop();
      },
    };
  }

  /** Contacts in the routing table. */
  get contacts(): number {
    return this.#kad.routingTable.size;
  }

  /** Resolves when the nearest peers have been told; waits for the first one when alone. Errors: malformed, timeout, cancelled. */
  async provide(cid: string, options: { readonly signal: AbortSignal }): Promise<void> {
    const key = parseCid(cid);
    let told = 0;
    try {
      for await (const event of this.#kad.provide(key, { signal: options.signal })) {
        if (event.name === 'PEER_RESPONSE' && event.messageName === 'ADD_PROVIDER') told++;
      }
    } catch (cause) {
      throw interrupted(`provide ${cid}`, options.signal, cause);
    }
    if (options.signal.aborted) throw interrupted(`provide ${cid}`, options.signal, options.signal.reason);
    this.#dependencies.log.debug({ cid, told }, 'provider record sent');
  }

  async *providers(
    cid: string,
    options: { readonly signal: AbortSignal },
  ): AsyncGenerator<{ peer: string; addresses: string[] }> {
    const key = parseCid(cid);
    if (this.contacts === 0) return; // kad-dht would wait for one until the signal
    const seen = new Set<string>();
    try {
      for await (const event of this.#kad.findProviders(key, { signal: options.signal })) {
        if (event.name !== 'PROVIDER') continue;
        for (const { id, multiaddrs } of event.providers) {
          const peer = id.toString();
          if (seen.has(peer)) continue;
          seen.add(peer);
          yield {
            peer,
            addresses: multiaddrs.slice(0, limits.PEER_ADDRESSES_MAX).map((address) => address.toString()),
          };
        }
      }
    } catch (cause) {
      if (!options.signal.aborted)
        this.#dependencies.log.debug({ cid, cause: messageOf(cause) }, 'a look-up ended early');
    }
  }

  /** The peer's last connection closed. */
  forget(peer: string): void {
    this.#visits.forget(peer);
  }

  #restricted(components: KadDHTComponents): KadDHTComponents {
    return overlay(components, {
      registrar: boundRegistrar(components.registrar, this.#dependencies.bound),
      connectionManager: overlay(components.connectionManager, {
        openStream: (target, protocol, options) => this.#visits.openStream(target as PeerId, protocol, options),
      }),
      ping: overlay(components.ping, {
        ping: (target, options) =>
          this.#visits.check(target as PeerId, (peer) => components.ping.ping(peer, options), options?.signal),
      }),
      peerStore: withoutKeepAlive(components.peerStore),
      datastore: new ProviderQuota(components.datastore).datastore,
    });
  }
}

const refuseValue = (): never => {
  throw new Error('this DHT holds provider records only');
};

function discoveries(kad: KadDHT): TypedEventTarget<{ peer: CustomEvent<PeerInfo> }> {
  const source: unknown = Reflect.get(kad, peerDiscoverySymbol);
  if (source instanceof EventTarget) return source as TypedEventTarget<{ peer: CustomEvent<PeerInfo> }>;
  throw new MeshError('internal', 'Cannot use this kad-dht: it does not show the peers that it hears of');
}

function parseCid(text: string): CID {
  try {
    return CID.parse(text);
  } catch (cause) {
    throw new MeshError('malformed', `Cannot read CID "${text}": ${messageOf(cause)}`, {}, { cause });
  }
}

function interrupted(attempt: string, signal: AbortSignal, cause: unknown): MeshError {
  const fired = firedWith(signal);
  if (fired !== undefined) return fired;
  const isTimeout = signal.aborted && signal.reason instanceof Error && signal.reason.name === 'TimeoutError';
  const code = isTimeout ? 'timeout' : signal.aborted ? 'cancelled' : 'unreachable';
  return new MeshError(code, `Cannot ${attempt}: ${messageOf(cause)}`, {}, { cause });
}

/** kad-dht tags its nearest contacts so that libp2p redials them: which peers to keep is the peer-maintenance loop's to say. */
function withoutKeepAlive(peerStore: PeerStore): PeerStore {
  return overlay(peerStore, {
    merge: (peer, data, options) => {
      const tags = Object.entries(data.tags ?? {}).filter(([name]) => !name.startsWith(KEEP_ALIVE));
      return peerStore.merge(
        peer,
        data.tags === undefined ? data : { ...data, tags: Object.fromEntries(tags) },
        options,
      );
    },
    get: async (peer, options) => {
      try {
        return await peerStore.get(peer, options);
      } catch (cause) {
        // A provider whose addresses have aged out must not spoil the answer about the others.
        if (!(cause instanceof Error) || cause.name !== 'NotFoundError') throw cause;
        return { id: peer, addresses: [], protocols: [], metadata: new Map<string, Uint8Array>(), tags: new Map() };
      }
    },
  });
}

class HeardAddresses {
  readonly #addresses = new Map<string, readonly Multiaddr[]>();

  get(peer: string): readonly Multiaddr[] {
    return this.#addresses.get(peer) ?? [];
  }

  set(peer: string, addresses: readonly Multiaddr[]): void {
    this.#addresses.delete(peer);
    this.#addresses.set(peer, addresses);
    for (const oldest of this.#addresses.keys()) {
      if (this.#addresses.size <= HEARD_PEERS_MAX) return;
      this.#addresses.delete(oldest);
    }
  }
}

interface Visit {
  uses: number;
  /** False: the connection was there before, and is somebody else's to close. */
  isOurs: boolean;
  idle: Timer | undefined;
}

/** Connections opened for the DHT alone: few at a time, closed soon after their last use. */
class Visits {
  readonly #connectionManager: KadDHTComponents['connectionManager'];
  readonly #dependencies: DhtDependencies;
  readonly #heard: HeardAddresses;
  readonly #visits = new Map<string, Visit>();
  readonly #queue: (() => void)[] = [];
  #checks = CHECKS_BURST;
  #checksAtMs: number;
  #isClosed = false;

  constructor(
    connectionManager: KadDHTComponents['connectionManager'],
    dependencies: DhtDependencies,
    heard: HeardAddresses,
  ) {
    this.#connectionManager = connectionManager;
    this.#dependencies = dependencies;
    this.#heard = heard;
    this.#checksAtMs = dependencies.clock.monotonicMs();
  }

  async openStream(target: PeerId, protocol: string | string[], options: NewStreamOptions = {}): Promise<Stream> {
    const peer = target.toString();
    const there = this.#dependencies.connectionTo(peer);
    if (there !== undefined && this.#dependencies.bound.has(peer) && !this.#visits.has(peer)) {
      return there.newStream(protocol, options);
    }
    while (!this.#enter(peer)) await this.#room(options.signal);
    try {
      const connection = await this.#connect(target, options.signal);
      const stream = await connection.newStream(protocol, options);
      stream.addEventListener('close', () => this.#leave(peer), { once: true });
      return stream;
    } catch (cause) {
      this.#leave(peer);
      throw cause;
    }
  }

  /** Does this contact live? Costs nothing where a connection is; of others a few are dialled. */
  async check(
    target: PeerId,
    ping: (peer: PeerId) => Promise<number>,
    signal: AbortSignal | undefined,
  ): Promise<number> {
    const peer = target.toString();
    if (this.#dependencies.connectionTo(peer) !== undefined) {
      if (this.#dependencies.bound.has(peer)) return ping(target);
      throw new Error('not bound to an organisation');
    }
    if (!this.#takeCheck() || !this.#enter(peer)) throw new Error('enough contacts are being checked');
    try {
      await this.#connect(target, signal);
      return await ping(target);
    } finally {
      this.#leave(peer);
    }
  }

  forget(peer: string): void {
    const visit = this.#visits.get(peer);
    if (visit === undefined || visit.uses > 0) return; // those who use it leave by themselves
    this.#end(peer);
  }

  close(): void {
    this.#isClosed = true;
    for (const visit of this.#visits.values()) visit.idle?.cancel();
    for (const call of this.#queue.splice(0)) call();
  }

  async #connect(target: PeerId, signal: AbortSignal | undefined): Promise<Connection> {
    const peer = target.toString();
    const deadline = createDeadline(
      this.#dependencies.clock,
      limits.DIAL_MS_MAX + BOUND_WITHIN_MS,
      `reach ${peer}`,
      signal,
    );
    try {
      const connection = this.#dependencies.connectionTo(peer) ?? (await this.#dial(target, deadline.signal));
      await this.#dependencies.bound.untilBound(peer, deadline.signal);
      return connection;
    } finally {
      deadline[Symbol.dispose]();
    }
  }

  #dial(target: PeerId, signal: AbortSignal): Promise<Connection> {
    const peer = target.toString();
    const visit = this.#visits.get(peer);
    if (visit !== undefined) visit.isOurs = true;
    const addresses = [...this.#heard.get(peer), ...this.#dependencies.addressesOf(peer)].map((address) =>
      withPeer(address, peer),
    );
    return this.#connectionManager.openConnection(addresses.length > 0 ? addresses : target, { signal });
  }

  #enter(peer: string): boolean {
    if (this.#isClosed) throw new Error('the DHT is stopping');
    const visit = this.#visits.get(peer);
    if (visit !== undefined) {
      visit.idle?.cancel();
      visit.idle = undefined;
      visit.uses++;
      return true;
    }
    if (this.#visits.size >= limits.DHT_VISITS_MAX && !this.#endIdle()) return false;
    this.#visits.set(peer, { uses: 1, isOurs: false, idle: undefined });
    return true;
  }

  #leave(peer: string): void {
    const visit = this.#visits.get(peer);
    if (visit === undefined || --visit.uses > 0) return;
    if (this.#isClosed) return;
    if (!visit.isOurs || this.#dependencies.connectionTo(peer) === undefined || this.#queue.length > 0) this.#end(peer);
    else visit.idle = this.#dependencies.clock.after(limits.DHT_VISIT_IDLE_MS, () => this.#end(peer));
  }

  #endIdle(): boolean {
    for (const [peer, visit] of this.#visits) {
      if (visit.uses > 0) continue;
      this.#end(peer);
      return true;
    }
    return false;
  }

  #end(peer: string): void {
    const visit = this.#visits.get(peer);
    visit?.idle?.cancel();
    this.#visits.delete(peer);
    const connection = this.#dependencies.connectionTo(peer);
    if (connection !== undefined && visit?.isOurs === true && !this.#dependencies.isWanted(peer)) {
      connection
        .close()
        .catch((cause: unknown) => connection.abort(cause instanceof Error ? cause : new Error(String(cause))));
    }
    this.#queue.shift()?.();
  }

  async #room(signal: AbortSignal | undefined): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#queue.push(resolve);
    try {
      await (signal === undefined ? promise : raceSignal(promise, signal));
    } finally {
      const at = this.#queue.indexOf(resolve);
      if (at >= 0) this.#queue.splice(at, 1);
    }
  }

  #takeCheck(): boolean {
    const nowMs = this.#dependencies.clock.monotonicMs();
    const earned = Math.floor((nowMs - this.#checksAtMs) / CHECK_EVERY_MS);
    this.#checksAtMs += earned * CHECK_EVERY_MS;
    this.#checks = Math.min(CHECKS_BURST, this.#checks + earned);
    if (this.#checks === 0) return false;
    this.#checks--;
    return true;
  }
}

const withPeer = (address: Multiaddr, peer: string): Multiaddr =>
  address.getComponents().some(({ name }) => name === 'p2p') ? address : address.encapsulate(`/p2p/${peer}`);

/** Bounds the provider records kept for others, for each peer and in all. Rows: /dht/provider/<cid>/<PeerId>. */
class ProviderQuota {
  readonly datastore: Datastore;
  readonly #inner: Datastore;
  #counts: Promise<Map<string, number>> | undefined;
  #total = 0;

  constructor(inner: Datastore) {
    this.#inner = inner;
    this.datastore = overlay(inner, {
      put: async (key, value, options) => {
        if (isProviderRow(key) && !(await inner.has(key))) await this.#take(key);
        return inner.put(key, value, options);
      },
      delete: async (key, options) => {
        if (isProviderRow(key) && (await inner.has(key))) await this.#give(key);
        return inner.delete(key, options);
      },
    });
  }

  async #take(key: Key): Promise<void> {
    const counts = await this.#counted();
    const peer = key.name();
    const count = counts.get(peer) ?? 0;
    if (count >= limits.DHT_PROVIDERS_A_PEER_MAX || this.#total >= limits.DHT_PROVIDERS_MAX) {
      throw new Error(`no room for another provider record of ${peer}`);
    }
    counts.set(peer, count + 1);
    this.#total++;
  }

  async #give(key: Key): Promise<void> {
    const counts = await this.#counted();
    const peer = key.name();
    const count = (counts.get(peer) ?? 1) - 1;
    if (count > 0) counts.set(peer, count);
    else counts.delete(peer);
    this.#total--;
  }

  #counted(): Promise<Map<string, number>> {
    this.#counts ??= this.#count();
    return this.#counts;
  }

  async #count(): Promise<Map<string, number>> {
    const counts = new Map<string, number>();
    for await (const key of this.#inner.queryKeys({ prefix: `${DATASTORE_PREFIX}/provider/` })) {
      counts.set(key.name(), (counts.get(key.name()) ?? 0) + 1);
      this.#total++;
    }
    return counts;
  }
}

const isProviderRow = (key: Key): boolean => key.toString().startsWith(`${DATASTORE_PREFIX}/provider/`);
