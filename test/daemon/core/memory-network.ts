/**
 * The Network port in one process, for tests of what stands above it: no sockets, no encryption, no libp2p. One
 * MemoryMesh is the world; each node joins it under its PeerId. Without a clock frames and messages arrive in the same
 * turn of the event loop; with one after `latencyMs`, in order.
 *
 * What a test can control: which channel binding each end sees, who can reach whom, who is bound, and every frame and
 * gossip message on its way.
 */
import type {
  Clock,
  FrameBytes,
  FrameStream,
  GossipVerdict,
  Network,
  PeerConnection,
  StreamHandlerOptions,
  Timer,
} from '../../../daemon/ports.ts';
import {
  concatBytes,
  DEFAULT_NETWORK,
  digestOf,
  isMeshError,
  limits,
  MeshError,
  type ProtocolName,
  protocolId,
  type Topic,
  toHex,
} from '../../../protocol/index.ts';

type Handler = (stream: FrameStream) => Promise<void>;
type Validator = (message: Uint8Array, from: string) => Promise<GossipVerdict> | GossipVerdict;

/** A frame on its way. */
export interface Passage {
  readonly from: string;
  readonly to: string;
  readonly name: ProtocolName;
  /** Of the connection, at the sender's end. */
  readonly connection: string;
  /** Frames that this end sent before on this stream. */
  readonly index: number;
}

export interface MemoryMeshOptions {
  /** Needed for latency and for the grace of unbound peers. */
  readonly clock?: Clock;
  /** One way, milliseconds; default 0. */
  readonly latencyMs?: number;
  /** How long an unbound peer stays connected; default: for ever. */
  readonly unboundGraceMs?: number;
}

export interface ConnectOptions {
  /**
   * What each end sees as channel binding: [dialler, listener]. Default: one value, the same at both ends and different
   * for each connection.
   */
  readonly bindings?: readonly [Uint8Array | undefined, Uint8Array | undefined];
}

export class MemoryMesh {
  readonly options: MemoryMeshOptions;
  readonly nodes = new Map<string, MemoryNetwork>();
  /** Called for each frame: what it returns arrives instead; undefined: nothing does. */
  onFrame: ((frame: Uint8Array, passage: Passage) => Uint8Array | undefined) | undefined;
  /** Called for each gossip message and hop; false: it is lost. */
  onMessage:
    | ((message: Uint8Array, hop: { readonly from: string; readonly to: string; readonly topic: Topic }) => boolean)
    | undefined;
  readonly #groups = new Map<string, number>();
  readonly #records = new Map<string, Set<string>>();
  #connections = 0;

  constructor(options: MemoryMeshOptions = {}) {
    this.options = options;
  }

  /** A node under this PeerId. */
  join(peer: string): MemoryNetwork {
    if (this.nodes.has(peer)) throw new Error(`Cannot join as ${peer}: it is there already`);
    const node = new MemoryNetwork(this, peer);
    this.nodes.set(peer, node);
    return node;
  }

  /** A new connection, even beside another between the two. Errors: unreachable. */
  connect(dialler: MemoryNetwork, listener: MemoryNetwork, { bindings }: ConnectOptions = {}): PeerConnection {
    if (dialler === listener || !this.canReach(dialler.peer, listener.peer) || dialler.isClosed || listener.isClosed) {
      throw new MeshError('unreachable', `Cannot reach ${listener.peer}: nobody answers`);
    }
    const number = ++this.#connections;
    const binding = digestOf(new TextEncoder().encode(`connection ${number}`));
    const [atDialler, atListener] = bindings ?? [binding, binding];
    const openedMs = this.options.clock?.monotonicMs() ?? 0;
    const common = { openedMs, isOpen: true, streams: new Set<MemoryStream>() };
    const outbound: Link = {
      ...common,
      node: dialler,
      connection: {
        id: `${number}-dialler`,
        peer: listener.peer,
        direction: 'outbound',
        address: addressOf(listener.peer),
        openedMs,
        channelBinding: atDialler,
      },
      inbound: new Map(),
      other: undefined,
      grace: undefined,
    };
    const inbound: Link = {
      ...common,
      node: listener,
      connection: {
        id: `${number}-listener`,
        peer: dialler.peer,
        direction: 'inbound',
        address: addressOf(dialler.peer),
        openedMs,
        channelBinding: atListener,
      },
      streams: new Set(),
      inbound: new Map(),
      other: outbound,
      grace: undefined,
    };
    outbound.other = inbound;
    inbound.node.opened(inbound);
    outbound.node.opened(outbound);
    return outbound.connection;
  }

  /** Only nodes in the same group reach each other from now on; connections across break. Nodes not named stay together. */
  partition(...groups: readonly (readonly MemoryNetwork[])[]): void {
    this.#groups.clear();
    groups.forEach((group, i) => {
      for (const { peer } of group) this.#groups.set(peer, i + 1);
    });
    for (const node of this.nodes.values()) node.breakWhere((peer) => !this.canReach(node.peer, peer));
  }

  /** Everybody can reach everybody again; nobody is reconnected. */
  heal(): void {
    this.#groups.clear();
  }

  canReach(a: string, b: string): boolean {
    return (this.#groups.get(a) ?? 0) === (this.#groups.get(b) ?? 0);
  }

  provide(cid: string, peer: string): void {
    this.#records.set(cid, (this.#records.get(cid) ?? new Set()).add(peer));
  }

  providersOf(cid: string): readonly string[] {
    return [...(this.#records.get(cid) ?? [])];
  }

  /** Runs when the latency has passed: in order, since clocks fire in order. */
  deliver(call: () => void): void {
    const { clock, latencyMs = 0 } = this.options;
    if (clock === undefined || latencyMs === 0) queueMicrotask(call);
    else clock.after(latencyMs, call);
  }
}

export const addressOf = (peer: string): string => `/memory/${peer.slice(-8)}/p2p/${peer}`;

/** One end of a connection. */
interface Link {
  readonly node: MemoryNetwork;
  readonly connection: PeerConnection;
  readonly streams: Set<MemoryStream>;
  /** Open streams that the other side began, by protocol. */
  readonly inbound: Map<ProtocolName, number>;
  other: Link | undefined;
  isOpen: boolean;
  grace: Timer | undefined;
}

export class MemoryNetwork implements Network {
  readonly peer: string;
  readonly mesh: MemoryMesh;
  isClosed = false;
  /** Reasons given to penalise(), by peer. */
  readonly penalties = new Map<string, string[]>();
  /** Reasons given to disconnect(), by peer. */
  readonly disconnects = new Map<string, string[]>();
  readonly remembered = new Map<string, readonly string[]>();
  readonly #links = new Map<string, Link>();
  readonly #handlers = new Map<ProtocolName, { readonly options: StreamHandlerOptions; readonly handler: Handler }>();
  readonly #validators = new Map<Topic, Validator>();
  readonly #bound = new Set<string>();
  readonly #seen = new Set<string>();
  readonly #connectCalls: ((connection: PeerConnection) => void)[] = [];
  readonly #disconnectCalls: ((connection: PeerConnection) => void)[] = [];
  /** Failures of handlers, which a test may want to see: a MeshError is how a handler ends a stream, others are faults. */
  readonly faults: unknown[] = [];

  constructor(mesh: MemoryMesh, peer: string) {
    this.mesh = mesh;
    this.peer = peer;
  }

  addresses(): string[] {
    return this.isClosed ? [] : [addressOf(this.peer)];
  }

  connections(): PeerConnection[] {
    return [...this.#links.values()].map(({ connection }) => connection);
  }

  async dial(target: string, { signal }: { readonly signal?: AbortSignal } = {}): Promise<PeerConnection> {
    if (signal?.aborted === true) throw new MeshError('cancelled', `Cannot reach "${target}": cancelled`);
    const isAddress = target.startsWith('/');
    const peer = isAddress ? target.slice(target.lastIndexOf('/') + 1) : target;
    const held = this.#linkTo(peer);
    if (held !== undefined) return held.connection;
    const node = this.mesh.nodes.get(peer);
    const isKnown = isAddress || (this.remembered.get(peer) ?? []).length > 0;
    await this.#travel();
    if (node === undefined || !isKnown)
      throw new MeshError('unreachable', `Cannot reach "${target}": no address is known, or nobody is there`);
    return this.mesh.connect(this, node);
  }

  rememberPeer(peer: string, addresses: readonly string[]): void {
    this.remembered.set(peer, addresses);
  }

  async protocolsOf(peer: string): Promise<string[]> {
    const node = this.#linkTo(peer)?.other?.node;
    return node === undefined ? [] : [...node.#handlers.keys()].map((name) => protocolId(DEFAULT_NETWORK, name));
  }

  async ping(peer: string, { signal }: { readonly signal?: AbortSignal } = {}): Promise<number> {
    if (signal?.aborted === true) throw new MeshError('cancelled', `Cannot ping ${peer}: cancelled`);
    this.#require(peer);
    await this.#travel();
    await this.#travel();
    return 2 * (this.mesh.options.latencyMs ?? 0);
  }

  async handle(name: ProtocolName, options: StreamHandlerOptions, handler: Handler): Promise<void> {
    if (this.#handlers.has(name)) throw new MeshError('conflict', `Cannot handle "${name}": it has a handler`);
    this.#handlers.set(name, { options, handler });
  }

  async openStream(
    to: PeerConnection | string,
    name: ProtocolName,
    { frameBytesMax, signal }: { readonly frameBytesMax: number; readonly signal?: AbortSignal },
  ): Promise<FrameStream> {
    const link = this.#require(to);
    if (signal?.aborted === true) throw new MeshError('cancelled', `Cannot open "${name}": cancelled`);
    await this.#travel();
    const other = link.other;
    if (!link.isOpen || other === undefined)
      throw new MeshError('unreachable', `Cannot open "${name}" to ${link.connection.peer}: the connection closed`);
    const served = other.node.#handlers.get(name);
    if (served === undefined)
      throw new MeshError('no_route', `Cannot open "${name}" to ${link.connection.peer}: not spoken there`);
    const [own, theirs] = streamPair(link, other, name, frameBytesMax, served.options.frameBytesMax);
    other.node.#serve(other, theirs, name, served);
    return own;
  }

  #serve(
    link: Link,
    stream: MemoryStream,
    name: ProtocolName,
    { options, handler }: { readonly options: StreamHandlerOptions; readonly handler: Handler },
  ): void {
    const open = link.inbound.get(name) ?? 0;
    if (!(options.unbound || this.isBound(link.connection.peer))) return stream.abort('not bound to an organisation');
    if (open >= options.inboundStreamsMax) return stream.abort('too many streams');
    link.inbound.set(name, open + 1);
    stream.onOver = () => {
      link.inbound.set(name, (link.inbound.get(name) ?? 1) - 1);
    };
    // As the libp2p adapter: a handler that returns has ended the stream, one that throws has reset it.
    handler(stream).then(
      () => stream.close(),
      (cause: unknown) => {
        if (!isMeshError(cause)) this.faults.push(cause);
        stream.abort(cause instanceof Error ? cause.message : String(cause));
      },
    );
  }

  async publish(topic: Topic, message: Uint8Array): Promise<number> {
    if (this.isClosed) throw new MeshError('closed', `Cannot publish on "${topic}": the network does not run`);
    this.#seen.add(seenKey(topic, message));
    return this.#forward(topic, message, undefined);
  }

  validate(topic: Topic, validator: Validator): void {
    this.#validators.set(topic, validator);
  }

  #forward(topic: Topic, message: Uint8Array, except: string | undefined): number {
    const peers = new Set(this.connections().map(({ peer }) => peer));
    let handed = 0;
    for (const peer of peers) {
      if (peer === except || !this.isBound(peer)) continue;
      handed += 1;
      const hop = { from: this.peer, to: peer, topic };
      if (this.mesh.onMessage?.(message, hop) === false) continue;
      this.mesh.deliver(() => {
        if (this.mesh.canReach(this.peer, peer)) void this.mesh.nodes.get(peer)?.hear(topic, message, this.peer);
      });
    }
    return handed;
  }

  /** A gossip message from a neighbour. */
  async hear(topic: Topic, message: Uint8Array, from: string): Promise<void> {
    const key = seenKey(topic, message);
    if (this.isClosed || !this.isBound(from) || this.#linkTo(from) === undefined || this.#seen.has(key)) return;
    this.#seen.add(key);
    const verdict = (await this.#validators.get(topic)?.(message, from)) ?? 'ignore';
    if (verdict === 'accept') this.#forward(topic, message, from);
    else if (verdict === 'reject') this.penalise(from, `gossip on "${topic}"`);
  }

  setBound(peer: string, bound: boolean): void {
    if (!bound) {
      this.#bound.delete(peer);
      return this.breakWhere((other) => other === peer);
    }
    const links = this.#linksTo(peer);
    if (links.length === 0) return; // it will have to prove itself anew
    for (const link of links) link.grace?.cancel();
    this.#bound.add(peer);
  }

  isBound(peer: string): boolean {
    return this.#bound.has(peer);
  }

  penalise(peer: string, reason: string): void {
    const reasons = [...(this.penalties.get(peer) ?? []), reason];
    this.penalties.set(peer, reasons);
    if (reasons.length >= limits.GOSSIP_REJECTS_MAX) void this.disconnect(peer, reason);
  }

  async disconnect(peer: string, reason: string): Promise<void> {
    this.disconnects.set(peer, [...(this.disconnects.get(peer) ?? []), reason]);
    this.breakWhere((other) => other === peer);
  }

  /** Closes connections, at both ends at once. */
  breakWhere(which: (peer: string) => boolean): void {
    for (const link of this.#links.values()) {
      if (!which(link.connection.peer)) continue;
      this.gone(link);
      if (link.other !== undefined) link.other.node.gone(link.other);
    }
  }

  onConnect(call: (connection: PeerConnection) => void): void {
    this.#connectCalls.push(call);
  }

  onDisconnect(call: (connection: PeerConnection) => void): void {
    this.#disconnectCalls.push(call);
  }

  async provide(cid: string, { signal }: { readonly signal: AbortSignal }): Promise<void> {
    if (signal.aborted) throw new MeshError('cancelled', 'Cannot provide: cancelled');
    this.mesh.provide(cid, this.peer);
  }

  async *providers(
    cid: string,
    { signal }: { readonly signal: AbortSignal },
  ): AsyncIterable<{ peer: string; addresses: string[] }> {
    for (const peer of this.mesh.providersOf(cid)) {
      if (signal.aborted) return;
      if (this.mesh.canReach(this.peer, peer)) yield { peer, addresses: [addressOf(peer)] };
    }
  }

  async close(): Promise<void> {
    this.isClosed = true;
    this.breakWhere(() => true);
    this.mesh.nodes.delete(this.peer);
  }

  // The life of a connection, driven by the mesh

  opened(link: Link): void {
    this.#links.set(link.connection.id, link);
    const { clock, unboundGraceMs } = this.mesh.options;
    const { peer } = link.connection;
    if (clock !== undefined && unboundGraceMs !== undefined && !this.isBound(peer)) {
      link.grace = clock.after(unboundGraceMs, () => {
        if (!this.isBound(peer)) this.breakWhere((other) => other === peer);
      });
    }
    queueMicrotask(() => {
      if (link.isOpen) for (const call of this.#connectCalls) call(link.connection);
    });
  }

  gone(link: Link): void {
    if (!link.isOpen || !this.#links.delete(link.connection.id)) return;
    link.isOpen = false;
    link.grace?.cancel();
    for (const stream of link.streams) stream.fail('the connection closed');
    if (this.#linksTo(link.connection.peer).length === 0) this.#bound.delete(link.connection.peer);
    for (const call of this.#disconnectCalls) call(link.connection);
  }

  #linksTo(peer: string): Link[] {
    return [...this.#links.values()].filter(({ connection }) => connection.peer === peer);
  }

  /** The newest. */
  #linkTo(peer: string): Link | undefined {
    return this.#linksTo(peer).at(-1);
  }

  #require(to: PeerConnection | string): Link {
    const link = typeof to === 'string' ? this.#linkTo(to) : this.#links.get(to.id);
    if (link !== undefined) return link;
    throw new MeshError('unreachable', `Cannot reach ${typeof to === 'string' ? to : to.peer}: not connected`);
  }

  #travel(): Promise<void> {
    return new Promise((resolve) => {
      this.mesh.deliver(resolve);
    });
  }
}

const seenKey = (topic: Topic, message: Uint8Array): string => `${topic} ${toHex(digestOf(message))}`;

interface Waiter {
  resolve(frame: Uint8Array | undefined): void;
  reject(cause: MeshError): void;
}

/** One end of a stream. */
class MemoryStream implements FrameStream {
  readonly connection: PeerConnection;
  readonly #link: Link;
  readonly #name: ProtocolName;
  readonly #frameBytesMax: number;
  other: MemoryStream | undefined;
  onOver: (() => void) | undefined;
  readonly #arrived: Uint8Array[] = [];
  #waiter: Waiter | undefined;
  #failure: MeshError | undefined;
  #isOtherEnded = false;
  #isEnded = false;
  #sent = 0;

  constructor(link: Link, name: ProtocolName, frameBytesMax: number) {
    this.connection = link.connection;
    this.#link = link;
    this.#name = name;
    this.#frameBytesMax = frameBytesMax;
    link.streams.add(this);
  }

  async send(sent: FrameBytes): Promise<void> {
    const frame = sent instanceof Uint8Array ? sent : concatBytes(...sent);
    if (frame.length > this.#frameBytesMax) throw tooLarge('send', frame.length, this.#frameBytesMax);
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#isEnded) throw this.#closed('this side has ended it');
    const { mesh, peer } = this.#link.node;
    const passage = {
      from: peer,
      to: this.connection.peer,
      name: this.#name,
      connection: this.connection.id,
      index: this.#sent++,
    };
    const passed = mesh.onFrame === undefined ? frame : mesh.onFrame(frame, passage);
    const copy = passed === undefined ? undefined : Uint8Array.from(passed);
    if (copy !== undefined) mesh.deliver(() => this.other?.arrive(copy));
  }

  arrive(frame: Uint8Array): void {
    if (this.#failure !== undefined || this.#isOtherEnded) return;
    if (frame.length > this.#frameBytesMax) {
      this.#failWith(tooLarge('receive', frame.length, this.#frameBytesMax));
      return this.other?.fail('reset: a frame was too large');
    }
    this.#arrived.push(frame);
    this.#advance();
  }

  async receive({
    timeoutMs,
    signal,
  }: {
    readonly timeoutMs?: number;
    readonly signal?: AbortSignal;
  } = {}): Promise<Uint8Array | undefined> {
    if (this.#waiter !== undefined)
      throw new MeshError('conflict', 'Cannot receive a frame: another receive is waiting');
    if (signal?.aborted === true) throw new MeshError('cancelled', 'Cannot receive a frame: cancelled');
    const { clock } = this.#link.node.mesh.options;
    const { promise, resolve, reject } = Promise.withResolvers<Uint8Array | undefined>();
    const waiter = { resolve, reject };
    this.#waiter = waiter;
    const give = (cause: MeshError): void => {
      if (this.#waiter !== waiter) return;
      this.#waiter = undefined;
      reject(cause);
    };
    const cancel = (): void => give(new MeshError('cancelled', 'Cannot receive a frame: cancelled'));
    signal?.addEventListener('abort', cancel, { once: true });
    const timer =
      timeoutMs === undefined || clock === undefined
        ? undefined
        : clock.after(timeoutMs, () =>
            give(new MeshError('timeout', `Cannot receive a frame: none within ${timeoutMs} ms`)),
          );
    try {
      this.#advance();
      return await promise;
    } finally {
      timer?.cancel();
      signal?.removeEventListener('abort', cancel);
    }
  }

  async close(): Promise<void> {
    if (this.#isEnded || this.#failure !== undefined) return;
    this.#isEnded = true;
    this.#link.node.mesh.deliver(() => this.other?.ended());
    this.#overIfSo();
  }

  ended(): void {
    this.#isOtherEnded = true;
    this.#advance();
    this.#overIfSo();
  }

  abort(reason: string): void {
    if (this.#failure !== undefined) return;
    this.fail(reason);
    this.#link.node.mesh.deliver(() => this.other?.fail(`the other side reset it: ${reason}`));
  }

  fail(reason: string): void {
    this.#failWith(this.#closed(reason));
  }

  #failWith(failure: MeshError): void {
    if (this.#failure !== undefined || (this.#isEnded && this.#isOtherEnded)) return;
    this.#failure = failure;
    this.#arrived.length = 0;
    this.#over();
    this.#advance();
  }

  #overIfSo(): void {
    if (this.#isEnded && this.#isOtherEnded) this.#over();
  }

  #over(): void {
    this.#link.streams.delete(this);
    this.onOver?.();
    this.onOver = undefined;
  }

  #advance(): void {
    const waiter = this.#waiter;
    if (waiter === undefined) return;
    const frame = this.#arrived.shift();
    if (frame === undefined && this.#failure === undefined && !this.#isOtherEnded) return;
    this.#waiter = undefined;
    if (frame !== undefined) waiter.resolve(frame);
    else if (this.#failure !== undefined) waiter.reject(this.#failure);
    else waiter.resolve(undefined);
  }

  #closed(reason: string): MeshError {
    return new MeshError('closed', `Cannot use the stream to ${this.connection.peer}: ${reason}`);
  }
}

function streamPair(
  link: Link,
  other: Link,
  name: ProtocolName,
  ownBytesMax: number,
  otherBytesMax: number,
): [MemoryStream, MemoryStream] {
  const own = new MemoryStream(link, name, ownBytesMax);
  const theirs = new MemoryStream(other, name, otherBytesMax);
  own.other = theirs;
  theirs.other = own;
  return [own, theirs];
}

const tooLarge = (attempt: string, is: number, want: number): MeshError =>
  new MeshError('too_large', `Cannot ${attempt} a frame: ${is} bytes, want <= ${want}`, { is, want });
