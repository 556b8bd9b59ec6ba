/** The Network port over libp2p: what is composed of what, and the life of a connection. */
import { noise } from '@chainsafe/libp2p-noise';
import { generateKeyPairFromSeed } from '@libp2p/crypto/keys';
import { identify } from '@libp2p/identify';
import type { Connection, IdentifyResult, Libp2p, PeerId, PrivateKey, StreamCloseEvent } from '@libp2p/interface';
import type { KadDHTComponents } from '@libp2p/kad-dht';
import { peerIdFromPrivateKey, peerIdFromString } from '@libp2p/peer-id';
import { type Ping, ping } from '@libp2p/ping';
import { preSharedKey } from '@libp2p/pnet';
import { tcp } from '@libp2p/tcp';
import { yamux } from '@libp2p/yamux';
import { type Multiaddr, multiaddr } from '@multiformats/multiaddr';
import { createLibp2p } from 'libp2p';
import { limits, MeshError, type ProtocolName, protocolId, type Topic, TOPICS } from '../../protocol/index.ts';
import type {
  Clock,
  FrameStream,
  Logger,
  Network,
  PeerConnection,
  Random,
  StreamHandlerOptions,
  Timer,
} from '../ports.ts';
import { BoundPeers } from './bound-peers.ts';
import { ChannelBindings } from './channel-binding.ts';
import { asError, createDeadline, type Deadline, firedWith, messageOf } from './deadline.ts';
import { Dht } from './dht.ts';
import { createFrameStream } from './frame-stream.ts';
import { Gossip, type GossipValidator } from './gossip.ts';
import { joinWrites } from './joined-writes.ts';
import { Offences } from './offences.ts';
import { checkOptions, type CheckedOptions, type Libp2pNetworkOptions } from './options.ts';
import { Peers } from './peers.ts';
import { openDatastore, type PeerDatastore } from './datastore.ts';

export interface Libp2pNetworkComponents {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
}

export interface Libp2pNetwork extends Network, AsyncDisposable {
  /** Listens, dials and joins the gossip topics. Handlers and validators may be set before. Errors: config_invalid. */
  start(): Promise<void>;
  /** Figures for status, metrics and tests. */
  figures(): NetworkFigures;
}

export interface NetworkFigures {
  /** Peers remembered, connected or not. */
  readonly knownPeers: number;
  readonly connections: number;
  readonly boundPeers: number;
  /** Peers in the gossip mesh. */
  readonly mesh: Readonly<Record<Topic, number>>;
  /** Contacts in the DHT's routing table. */
  readonly dhtContacts: number;
}

/**
 * A node that does not run yet: call start().
 * Errors: config_invalid (an option is out of bounds), already_running (another process holds the directory).
 */
export async function createLibp2pNetwork(
  components: Libp2pNetworkComponents,
  options: Libp2pNetworkOptions,
): Promise<Libp2pNetwork> {
  const checked = checkOptions(options);
  const datastore = await openDatastore(checked.directory);
  try {
    return await Libp2pNode.create(components, checked, datastore);
  } catch (cause) {
    await datastore.close();
    throw cause;
  }
}

const USER_AGENT = 'agentmesh'; // what strangers learn; no version
const PINGS_PARALLEL_MAX = 8; // libp2p's own check of connections pings too, and ends a connection on which it may not
const SIMULTANEOUS_MS = 5_000; // two sides that dial each other within this did not know of each other's connection
const CLOSE_MS_MAX = 1_800;
const PROVIDER_MS_MAX = 48 * 3_600_000; // provider records live as long in the DHT; their addresses must too

interface Node {
  readonly libp2p: Libp2p<{ ping: Ping }>;
  readonly gossip: Gossip;
  readonly dht: Dht;
}

interface OpenConnection {
  readonly info: PeerConnection;
  readonly raw: Connection;
  grace: Timer | undefined;
  /** This side ended it. */
  isOurs: boolean;
}

interface Identified {
  readonly addresses: readonly string[];
  readonly protocols: readonly string[];
}

class Libp2pNode implements Libp2pNetwork {
  readonly peer: string;
  readonly #components: Libp2pNetworkComponents;
  readonly #options: CheckedOptions;
  readonly #datastore: PeerDatastore;
  readonly #bindings = new ChannelBindings();
  readonly #bound = new BoundPeers();
  readonly #offences: Offences;
  readonly #peers: Peers;
  readonly #open = new Map<string, OpenConnection>();
  readonly #identified = new Map<string, Identified>();
  readonly #connectCalls: ((connection: PeerConnection) => void)[] = [];
  readonly #disconnectCalls: ((connection: PeerConnection) => void)[] = [];
  #composed: Node | undefined;
  #closing: Promise<void> | undefined;

  private constructor(
    peer: string,
    components: Libp2pNetworkComponents,
    options: CheckedOptions,
    datastore: PeerDatastore,
  ) {
    this.peer = peer;
    this.#components = components;
    this.#options = options;
    this.#datastore = datastore;
    this.#offences = new Offences(components.clock);
    this.#peers = new Peers(
      {
        ...components,
        dial: async (addresses, name, signal) => (await this.#dialAddresses(addresses, name, signal)).info.peer,
        hangUp: (name) => this.#drop(name, 'more connections than wanted'),
        save: (known) => datastore.saveKnownPeers(known),
      },
      { self: peer, pinned: options.pinned, targetDegree: options.targetDegree },
    );
  }

  static async create(
    components: Libp2pNetworkComponents,
    options: CheckedOptions,
    datastore: PeerDatastore,
  ): Promise<Libp2pNode> {
    const privateKey = await generateKeyPairFromSeed('Ed25519', options.privateKeySeed);
    const node = new Libp2pNode(peerIdFromPrivateKey(privateKey).toString(), components, options, datastore);
    await node.#compose(privateKey);
    return node;
  }

  async #compose(privateKey: PrivateKey): Promise<void> {
    const options = this.#options;
    let gossip: Gossip | undefined;
    let dht: Dht | undefined;
    const psk = options.preSharedKey;
    const { datastore } = this.#datastore;
    const libp2p = await createLibp2p({
      start: false,
      privateKey,
      nodeInfo: { name: USER_AGENT, userAgent: USER_AGENT },
      addresses: { listen: [...options.listen] },
      ...(datastore === undefined ? {} : { datastore }),
      peerStore: { maxAddressAge: PROVIDER_MS_MAX, maxPeerAge: PROVIDER_MS_MAX },
      transports: [tcp()],
      connectionEncrypters: [(parts) => joinWrites(this.#bindings.recordEncrypter(noise()(parts)))],
      ...(psk === undefined
        ? {}
        : { connectionProtector: () => this.#bindings.recordProtector(preSharedKey({ psk })()) }),
      streamMuxers: [
        yamux({
          maxInboundStreams: limits.STREAMS_A_CONNECTION_MAX,
          maxOutboundStreams: limits.STREAMS_A_CONNECTION_MAX,
          streamOptions: { maxStreamWindowSize: STREAM_WINDOW_BYTES_MAX },
        }),
      ],
      connectionManager: connectionLimits(options),
      connectionMonitor: { pingInterval: options.pingEveryMs, pingTimeout: { minTimeout: limits.DIAL_MS_MAX } },
      connectionGater: {
        denyDialPeer: (peer) => this.#offences.isDenied(peer.toString()),
        denyOutboundEncryptedConnection: (peer) => this.#offences.isDenied(peer.toString()),
        denyInboundEncryptedConnection: (peer) => this.#isUnwelcome(peer.toString()),
      },
      services: {
        identify: identify(),
        ping: ping({ maxInboundStreams: PINGS_PARALLEL_MAX, maxOutboundStreams: PINGS_PARALLEL_MAX }),
        gossip: (parts) => {
          gossip = this.#createGossip(parts);
          return gossip.service;
        },
        dht: (parts) => {
          dht = this.#createDht(parts);
          return dht.service;
        },
      },
    });
    if (gossip === undefined || dht === undefined)
      throw new MeshError('internal', 'Cannot compose the node: services were not made');
    libp2p.addEventListener('connection:open', ({ detail }) => this.#onOpen(detail));
    libp2p.addEventListener('peer:identify', ({ detail }) => this.#onIdentify(detail));
    gossip.service.addEventListener('gossipsub:heartbeat', () => this.#repairGossip());
    this.#composed = { libp2p, gossip, dht };
  }

  get #node(): Node {
    if (this.#composed === undefined) throw new MeshError('internal', 'Cannot use the node: it is not composed yet');
    return this.#composed;
  }

  #createGossip(parts: ConstructorParameters<typeof Gossip>[0]): Gossip {
    const condemn = (peer: string, count: number, reason: string): void => this.#offend(peer, count, reason);
    return new Gossip(
      parts,
      {
        clock: this.#components.clock,
        log: this.#components.log,
        bound: this.#bound,
        offenceScore: (peer) => this.#offences.score(peer),
        connectedSinceMs: (peer) => this.#connectionsTo(peer)[0]?.info.openedMs,
        onReject: (peer, topic) => condemn(peer, 1, `a rejected message on "${topic}"`),
        onInvalid: (peer) => condemn(peer, limits.GOSSIP_REJECTS_MAX, 'invalid messages'),
      },
      { network: this.#options.network, localNetwork: this.#options.localNetwork },
    );
  }

  #createDht(parts: KadDHTComponents): Dht {
    return new Dht(
      parts,
      {
        clock: this.#components.clock,
        log: this.#components.log,
        bound: this.#bound,
        connectionTo: (peer) => this.#connectionsTo(peer)[0]?.raw,
        addressesOf: (peer) => this.#peers.addressesOf(peer).flatMap(parseAddress),
        isWanted: (peer) => this.#peers.isWanted(peer),
        onHeard: (peer, addresses) => this.#peers.hear(peer, addresses),
      },
      { protocol: protocolId(this.#options.network, 'kad'), localNetwork: this.#options.localNetwork },
    );
  }

  async start(): Promise<void> {
    if (this.#closing !== undefined) throw new MeshError('closed', 'Cannot start the network: it is closed');
    try {
      await this.#node.libp2p.start();
    } catch (cause) {
      const field = 'listen';
      const listen = this.#options.listen.join('", "');
      throw new MeshError('config_invalid', `Cannot listen on "${listen}": ${messageOf(cause)}`, { field }, { cause });
    }
    this.#node.gossip.subscribe();
    this.#peers.start(await this.#datastore.loadKnownPeers(this.#components.log));
  }

  addresses(): string[] {
    return this.#node.libp2p.getMultiaddrs().map((address) => address.toString());
  }

  connections(): PeerConnection[] {
    return [...this.#open.values()].map(({ info }) => info);
  }

  figures(): NetworkFigures {
    const { gossip, dht } = this.#node;
    return {
      knownPeers: this.#peers.knownCount,
      connections: this.#open.size,
      boundPeers: new Set(this.connections().flatMap(({ peer }) => (this.#bound.has(peer) ? [peer] : []))).size,
      mesh: Object.fromEntries(TOPICS.map((topic) => [topic, gossip.meshPeers(topic).length])) as Record<Topic, number>,
      dhtContacts: dht.contacts,
    };
  }

  async dial(target: string, options: { readonly signal?: AbortSignal } = {}): Promise<PeerConnection> {
    const { peer, addresses } = this.#targetOf(target);
    const there = peer === undefined ? undefined : this.#connectionsTo(peer)[0];
    if (there !== undefined) return there.info;
    const deadline = createDeadline(this.#components.clock, limits.DIAL_MS_MAX, `reach ${target}`, options.signal);
    try {
      return (await this.#dialAddresses(addresses, peer, deadline.signal)).info;
    } catch (cause) {
      throw asMeshError(cause, `reach ${target}`, deadline);
    } finally {
      deadline[Symbol.dispose]();
    }
  }

  rememberPeer(peer: string, addresses: readonly string[]): void {
    const usable = addresses.filter((address) => parseAddress(address).length > 0);
    if (isPeerId(peer) && usable.length > 0) this.#peers.remember(peer, usable);
  }

  async protocolsOf(peer: string): Promise<string[]> {
    return [...(this.#identified.get(peer)?.protocols ?? [])];
  }

  async ping(peer: string, options: { readonly signal?: AbortSignal } = {}): Promise<number> {
    const { raw } = this.#require(peer);
    const deadline = createDeadline(this.#components.clock, limits.DIAL_MS_MAX, `ping ${peer}`, options.signal);
    try {
      return await this.#node.libp2p.services.ping.ping(raw.remotePeer, { signal: deadline.signal });
    } catch (cause) {
      throw asMeshError(cause, `ping ${peer}`, deadline);
    } finally {
      deadline[Symbol.dispose]();
    }
  }

  async handle(
    name: ProtocolName,
    options: StreamHandlerOptions,
    handler: (stream: FrameStream) => Promise<void>,
  ): Promise<void> {
    const protocol = protocolId(this.#options.network, name);
    const limit = { maxInboundStreams: options.inboundStreamsMax, maxOutboundStreams: options.inboundStreamsMax };
    try {
      await this.#node.libp2p.handle(
        protocol,
        (stream, raw) => {
          const info = this.#open.get(raw.id)?.info;
          if (info === undefined || !(options.unbound || this.#bound.has(info.peer))) {
            stream.abort(new Error('not bound to an organisation'));
            return;
          }
          void this.#serve(
            createFrameStream({ clock: this.#components.clock, stream, connection: info }, options),
            name,
            handler,
          );
        },
        limit,
      );
    } catch (cause) {
      throw new MeshError('conflict', `Cannot handle "${protocol}": ${messageOf(cause)}`, {}, { cause });
    }
  }

  async #serve(
    stream: FrameStream,
    name: ProtocolName,
    handler: (stream: FrameStream) => Promise<void>,
  ): Promise<void> {
    try {
      await handler(stream);
      await stream.close();
    } catch (cause) {
      this.#components.log.debug(
        { peer: stream.connection.peer, protocol: name, cause: messageOf(cause) },
        'a stream failed',
      );
      stream.abort(messageOf(cause));
    }
  }

  async openStream(
    to: PeerConnection | string,
    name: ProtocolName,
    options: { readonly frameBytesMax: number; readonly signal?: AbortSignal },
  ): Promise<FrameStream> {
    const { raw, info } = this.#require(to);
    const protocol = protocolId(this.#options.network, name);
    const attempt = `open "${protocol}" to ${info.peer}`;
    const deadline = createDeadline(this.#components.clock, limits.DIAL_MS_MAX, attempt, options.signal);
    try {
      const stream = await raw.newStream(protocol, {
        signal: deadline.signal,
        maxOutboundStreams: limits.NETWORK_STREAMS_A_PROTOCOL_MAX,
      });
      return createFrameStream({ clock: this.#components.clock, stream, connection: info }, options);
    } catch (cause) {
      throw asMeshError(cause, attempt, deadline);
    } finally {
      deadline[Symbol.dispose]();
    }
  }

  async publish(topic: Topic, message: Uint8Array): Promise<number> {
    if (this.#closing !== undefined || this.#node.libp2p.status !== 'started') {
      throw new MeshError('closed', `Cannot publish on "${topic}": the network does not run`);
    }
    return this.#node.gossip.publish(topic, message);
  }

  validate(topic: Topic, validator: GossipValidator): void {
    this.#node.gossip.validate(topic, validator);
  }

  setBound(peer: string, bound: boolean): void {
    if (!bound) {
      this.#bound.unbind(peer);
      this.#drop(peer, 'not bound to an organisation in good standing');
      return;
    }
    const connections = this.#connectionsTo(peer);
    if (connections.length === 0) return; // it will have to prove itself anew
    for (const connection of connections) connection.grace?.cancel();
    this.#bound.bind(peer);
    this.#prove(peer);
  }

  isBound(peer: string): boolean {
    return this.#bound.has(peer);
  }

  penalise(peer: string, reason: string): void {
    this.#offend(peer, 1, reason);
  }

  async disconnect(peer: string, reason: string): Promise<void> {
    this.#drop(peer, reason);
  }

  onConnect(call: (connection: PeerConnection) => void): void {
    this.#connectCalls.push(call);
  }

  onDisconnect(call: (connection: PeerConnection) => void): void {
    this.#disconnectCalls.push(call);
  }

  provide(cid: string, options: { readonly signal: AbortSignal }): Promise<void> {
    return this.#node.dht.provide(cid, options);
  }

  providers(
    cid: string,
    options: { readonly signal: AbortSignal },
  ): AsyncIterable<{ peer: string; addresses: string[] }> {
    return this.#node.dht.providers(cid, options);
  }

  close(): Promise<void> {
    this.#closing ??= this.#stop();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #stop(): Promise<void> {
    for (const connection of this.#open.values()) connection.grace?.cancel();
    await this.#peers.close();
    const isLate = Symbol('late');
    const late = Promise.withResolvers<typeof isLate>();
    const timer = this.#components.clock.after(CLOSE_MS_MAX, () => late.resolve(isLate));
    try {
      const ended = await Promise.race([Promise.resolve(this.#node.libp2p.stop()), late.promise]);
      if (ended === isLate) this.#components.log.warn({ afterMs: CLOSE_MS_MAX }, 'the network did not stop in time');
    } catch (cause) {
      this.#components.log.warn({ cause: messageOf(cause) }, 'the network did not stop in order');
    } finally {
      timer.cancel();
      for (const { raw } of this.#open.values()) raw.abort(new Error('the daemon stops'));
      await this.#datastore.close();
    }
  }

  // The life of a connection

  #onOpen(raw: Connection): void {
    if (this.#closing !== undefined || raw.status !== 'open') return;
    const connection: OpenConnection = { info: this.#infoOf(raw), raw, grace: undefined, isOurs: false };
    const { peer } = connection.info;
    const rivals = this.#connectionsTo(peer);
    const isWorse = rivals.some((rival) => !this.#isBetter(connection.info, rival.info));
    // libp2p's own limit counts what is open when an upgrade starts, so that many at once pass it, and knows no pinned peers.
    const isBeyond =
      rivals.length === 0 &&
      raw.direction === 'inbound' &&
      this.#open.size >= this.#options.connectionsMax &&
      !this.#peers.isPinned(peer);
    if (isWorse || isBeyond) {
      raw.abort(new Error(isWorse ? 'a duplicate connection' : 'enough connections'));
      return;
    }
    raw.addEventListener('close', (event) => this.#onClose(connection, event));
    this.#open.set(raw.id, connection);
    if (!this.#bound.has(peer)) this.#startGrace(connection);
    if (rivals.length === 0) this.#peers.connected(peer, connection.info.direction);
    this.#call(this.#connectCalls, connection.info);
    for (const rival of rivals) this.#end(rival, 'a duplicate connection');
  }

  /**
   * Both sides choose alike. Dialled at the same time: the one that the lower PeerId dialled stays. Else the newer: who
   * dials again has lost the older one, even where it still looks open.
   */
  #isBetter(newer: PeerConnection, older: PeerConnection): boolean {
    if (newer.direction === older.direction || newer.openedMs - older.openedMs > SIMULTANEOUS_MS) return true;
    const isLower = this.peer < newer.peer;
    return (newer.direction === 'outbound') === isLower;
  }

  #startGrace(connection: OpenConnection): void {
    connection.grace = this.#components.clock.after(this.#options.unboundGraceMs, () => {
      if (!this.#bound.has(connection.info.peer)) this.#end(connection, 'not bound to an organisation in time');
    });
  }

  #onClose(connection: OpenConnection, event: StreamCloseEvent): void {
    const { info, raw } = connection;
    connection.grace?.cancel();
    if (!this.#open.delete(raw.id)) return;
    const [survivor] = this.#connectionsTo(info.peer);
    if (survivor === undefined)
      this.#forget(info.peer, raw.remotePeer, { isBroken: event.error !== undefined, isOurs: connection.isOurs });
    else if (this.#bound.has(info.peer)) this.#node.gossip.use(raw.remotePeer, survivor.raw);
    this.#call(this.#disconnectCalls, info);
  }

  /** The last connection is gone, and with it what was proved over it. */
  #forget(peer: string, id: PeerId, how: { readonly isBroken: boolean; readonly isOurs: boolean }): void {
    const wasBound = this.#bound.has(peer);
    this.#bound.unbind(peer);
    this.#identified.delete(peer);
    this.#node.gossip.forget(peer);
    this.#node.dht.forget(peer);
    this.#peers.disconnected(peer, how);
    // What strangers said of themselves is not kept: everybody may connect, and the peer store has no bound.
    if (!wasBound && this.#closing === undefined) {
      this.#node.libp2p.peerStore
        .delete(id)
        .catch((cause: unknown) => this.#components.log.debug({ peer, cause: messageOf(cause) }, 'peer not forgotten'));
    }
  }

  #onIdentify({ peerId, connection, listenAddrs, protocols }: IdentifyResult): void {
    const peer = peerId.toString();
    const open = this.#open.get(connection.id);
    if (open === undefined) return;
    if (!protocols.some((protocol) => protocol.startsWith(`/agentmesh/${this.#options.network}/`))) {
      this.#drop(peer, `not in network "${this.#options.network}"`);
      return;
    }
    const addresses = listenAddrs.slice(0, limits.PEER_ADDRESSES_MAX).map((address) => address.toString());
    this.#identified.set(peer, { addresses, protocols });
    if (this.#bound.has(peer)) this.#prove(peer);
  }

  /** A bound peer's addresses: those that we reached it at, then those that it says it has. */
  #prove(peer: string): void {
    const reached = this.#connectionsTo(peer).flatMap(({ info }) =>
      info.direction === 'outbound' ? [info.address] : [],
    );
    this.#peers.proved(peer, [...reached, ...(this.#identified.get(peer)?.addresses ?? [])]);
  }

  #repairGossip(): void {
    const isGossiping = ({ info: { peer } }: OpenConnection): boolean =>
      this.#bound.has(peer) && this.#identified.has(peer);
    this.#node.gossip.repair([...this.#open.values()].filter(isGossiping).map(({ raw }) => raw));
  }

  #offend(peer: string, count: number, reason: string): void {
    this.#components.log.debug({ peer, reason }, 'a peer misbehaved');
    if (this.#offences.add(peer, count)) this.#drop(peer, `denied for ${limits.DENIED_MS / 1000} s: ${reason}`);
  }

  #drop(peer: string, reason: string): void {
    for (const connection of this.#connectionsTo(peer)) this.#end(connection, reason);
  }

  #end(connection: OpenConnection, reason: string): void {
    connection.isOurs = true;
    this.#components.log.debug({ peer: connection.info.peer, reason }, 'connection closed by this side');
    connection.raw.abort(new Error(reason));
  }

  #isUnwelcome(peer: string): boolean {
    if (this.#offences.isDenied(peer)) return true;
    if (this.#peers.addressesOf(peer).length > 0) return false;
    const strangers = [...this.#open.values()].filter(({ info }) => !this.#bound.has(info.peer));
    return strangers.length >= limits.CONNECTIONS_UNBOUND_MAX;
  }

  /** Newest first. */
  #connectionsTo(peer: string): OpenConnection[] {
    return [...this.#open.values()].filter(({ info, raw }) => info.peer === peer && raw.status === 'open').reverse();
  }

  #require(to: PeerConnection | string): OpenConnection {
    const connection = typeof to === 'string' ? this.#connectionsTo(to)[0] : this.#open.get(to.id);
    if (connection !== undefined) return connection;
    const peer = typeof to === 'string' ? to : to.peer;
    throw new MeshError('unreachable', `Cannot reach ${peer}: not connected`);
  }

  #infoOf(raw: Connection): PeerConnection {
    return {
      id: raw.id,
      peer: raw.remotePeer.toString(),
      direction: raw.direction,
      address: raw.remoteAddr.toString(),
      openedMs: this.#components.clock.monotonicMs(),
      channelBinding: this.#bindings.of(raw),
    };
  }

  #call(calls: readonly ((connection: PeerConnection) => void)[], connection: PeerConnection): void {
    for (const call of calls) {
      try {
        call(connection);
      } catch (cause) {
        this.#components.log.error({ peer: connection.peer, cause: messageOf(cause) }, 'a connection listener failed');
      }
    }
  }

  // Dialling

  #targetOf(target: string): { peer: string | undefined; addresses: readonly string[] } {
    if (isPeerId(target)) return { peer: target, addresses: this.#peers.addressesOf(target) };
    const [address] = parseAddress(target);
    if (address === undefined)
      throw new MeshError('malformed', `Cannot reach "${target}": want a multiaddr or a PeerId`);
    return { peer: peerIn(address), addresses: [target] };
  }

  async #dialAddresses(
    addresses: readonly string[],
    peer: string | undefined,
    signal: AbortSignal,
  ): Promise<OpenConnection> {
    const parsed = addresses.flatMap(parseAddress).map((address) => withPeer(address, peer));
    if (parsed.length === 0)
      throw new MeshError('unreachable', `Cannot reach ${peer ?? 'a peer'}: no address is known`);
    let reached = peer;
    try {
      const raw = await this.#node.libp2p.dial(parsed, { signal });
      reached = raw.remotePeer.toString();
    } catch (cause) {
      // Both sides dialled, and the other's connection won while this one was being made.
      if (peer === undefined || this.#connectionsTo(peer).length === 0) throw cause;
    }
    const [connection] = reached === undefined ? [] : this.#connectionsTo(reached);
    if (connection === undefined)
      throw new MeshError('unreachable', `Cannot reach ${reached}: it closed the connection`);
    return connection;
  }
}

const STREAM_WINDOW_BYTES_MAX = 1024 * 1024; // four full frames; libp2p's 16 MiB a stream is memory for the other side to fill

function connectionLimits(
  options: CheckedOptions,
): NonNullable<Parameters<typeof createLibp2p>[0]>['connectionManager'] & object {
  return {
    maxConnections: options.connectionsMax + limits.CONNECTIONS_UNBOUND_MAX, // #onOpen() holds the limit itself
    maxPeerAddrsToDial: limits.PEER_ADDRESSES_MAX,
    maxParallelDials: 4 * limits.DIALS_PARALLEL_MAX,
    maxDialQueueLength: 16 * limits.DIALS_PARALLEL_MAX,
    dialTimeout: limits.DIAL_MS_MAX,
    addressDialTimeout: limits.DIAL_MS_MAX / 2,
    inboundUpgradeTimeout: limits.DIAL_MS_MAX,
    inboundStreamProtocolNegotiationTimeout: limits.DIAL_MS_MAX,
    outboundStreamProtocolNegotiationTimeout: limits.DIAL_MS_MAX,
    connectionCloseTimeout: 500,
    // One host may open this many a second; in the upgrade's 5 s it holds half of what may be pending.
    inboundConnectionThreshold: options.localNetwork ? Number.POSITIVE_INFINITY : 10,
    maxIncomingPendingConnections: options.localNetwork ? 1_000 : 100,
    reconnectRetries: 0, // the peer-maintenance loop does this
  };
}

function asMeshError(cause: unknown, attempt: string, deadline: Deadline): MeshError {
  const fired = firedWith(deadline.signal);
  if (fired !== undefined) return fired;
  if (cause instanceof MeshError) return cause;
  const name = asError(cause).name;
  const code =
    name === 'UnsupportedProtocolError'
      ? 'no_route'
      : name === 'TooManyOutboundProtocolStreamsError'
        ? 'busy'
        : name === 'TimeoutError'
          ? 'timeout'
          : 'unreachable';
  return new MeshError(code, `Cannot ${attempt}: ${messageOf(cause)}`, {}, { cause });
}

/** None or one. */
function parseAddress(text: string): Multiaddr[] {
  if (text.length > limits.MULTIADDR_TEXT_MAX) return [];
  try {
    return [multiaddr(text)];
  } catch {
    return []; // what others say of themselves need not be an address that this build knows
  }
}

const peerIn = (address: Multiaddr): string | undefined =>
  address.getComponents().findLast(({ name }) => name === 'p2p')?.value;

const withPeer = (address: Multiaddr, peer: string | undefined): Multiaddr =>
  peer === undefined || peerIn(address) !== undefined ? address : address.encapsulate(`/p2p/${peer}`);

function isPeerId(text: string): boolean {
  try {
    peerIdFromString(text);
    return true;
  } catch {
    return false; // a question, not a failure
  }
}
