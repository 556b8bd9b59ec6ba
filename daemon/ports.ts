/**
 * What daemon/core sees of the world. Every port has one implementation in the daemon (clock and random in
 * daemon/system.ts, network in daemon/libp2p, store in daemon/store) and may have others in simulations.
 */
import type { ProtocolName, Topic } from '../protocol/index.ts';
import type { Failure, Id, Message, Paths } from '../protocol/mcp/index.ts';

export interface Clock {
  /** Wall clock, milliseconds since 1970. */
  nowMs(): number;
  /** Never goes back; for ages and timeouts. Milliseconds from an arbitrary start. */
  monotonicMs(): number;
  /** Calls once after `delayMs`; does not keep the process alive. */
  after(delayMs: number, call: () => void): Timer;
  /** Resolves once other work that is ready has had its turn: sooner than any timer. */
  soon(): Promise<void>;
}
export interface Timer {
  cancel(): void;
}

export interface Random {
  /** Cryptographically strong. */
  bytes(count: number): Uint8Array;
  /** 0 <= x < 1, for jitter and choices; not for secrets. */
  fraction(): number;
}

export interface Logger {
  debug(facts: object, message: string): void;
  info(facts: object, message: string): void;
  warn(facts: object, message: string): void;
  error(facts: object, message: string): void;
}

/** A private key that can be used but not read. */
export interface Signer {
  /** multikey: ed01 ‖ 32 bytes */
  readonly publicKey: Uint8Array;
  sign(message: Uint8Array): Uint8Array;
}

/** The private keys of this home, by name. daemon/keys implements it. */
export interface Keys {
  names(): readonly string[];
  has(name: string): boolean;
  /** Errors: key_missing. */
  signer(name: string): Signer;
  /** On disk when it resolves. Errors: conflict. */
  create(name: string): Promise<Signer>;
  remove(name: string): Promise<void>;
}

export type StoreWrite =
  | { readonly type: 'put'; readonly key: Uint8Array; readonly value: Uint8Array }
  | { readonly type: 'del'; readonly key: Uint8Array };

/** Ordered bytes to bytes. One batch is atomic; with sync it is on disk when the promise resolves. */
export interface Store {
  get(key: Uint8Array): Promise<Uint8Array | undefined>;
  /** Keys with gte <= key < lt in byte order. */
  range(gte: Uint8Array, lt: Uint8Array): AsyncIterable<readonly [key: Uint8Array, value: Uint8Array]>;
  batch(writes: readonly StoreWrite[], options: { readonly sync: boolean }): Promise<void>;
  close(): Promise<void>;
}

export interface AnchorNote {
  readonly note: Uint8Array;
  /** Others may have seen it; else it is a head that nobody was shown. */
  readonly isReleased: boolean;
}

/**
 * The newest checkpoints of the own log, kept outside the database: a database that was brought back from an older copy
 * contradicts them. Of heads and of released ones two each are held, so that a write that a crash cuts short leaves the
 * one before.
 */
export interface Anchor {
  /** The notes that are there, in no order; an empty list where none was written whole. Undefined: no file. */
  read(): Promise<readonly AnchorNote[] | undefined>;
  /** In place of the older one of its kind. With sync it is on disk when the promise resolves. Errors: too_large. */
  write(note: Uint8Array, options: { readonly sync: boolean; readonly isReleased: boolean }): Promise<void>;
}

/** One authenticated connection to a peer. A peer may have two (both sides dialled). */
export interface PeerConnection {
  /** Unique on this node while it lives. */
  readonly id: string;
  /** PeerId text, e.g. 12D3KooW…; authenticated by Noise. */
  readonly peer: string;
  readonly direction: 'inbound' | 'outbound';
  /** multiaddr of the other side as seen from here. */
  readonly address: string;
  /** monotonicMs() when it opened. */
  readonly openedMs: number;
  /**
   * SHA-256 over the three recorded Noise frames; equal at both ends and different for each connection.
   * Undefined where they were not recorded: then no handshake is possible.
   */
  readonly channelBinding: Uint8Array | undefined;
}

/** A frame, or its pieces in order, so that whoever has them need not put them together. */
export type FrameBytes = Uint8Array | readonly Uint8Array[];

/** Whole frames over one stream: unsigned-varint length, then the bytes. */
export interface FrameStream {
  readonly connection: PeerConnection;
  /**
   * Resolves when handed to the transport (back-pressure respected). After `timeoutMs` (default SEND_MS_MAX) in which it
   * is not taken the stream is reset. Errors: timeout, closed, too_large.
   */
  send(frame: FrameBytes, options?: { readonly timeoutMs?: number }): Promise<void>;
  /**
   * The next frame, or undefined when the other side ended the stream.
   * Errors: timeout, cancelled, too_large (more than the handler's frameBytesMax), malformed or noncanonical (the
   * length), closed, conflict (another receive is waiting). Of these only timeout, cancelled and conflict leave the
   * stream usable.
   */
  receive(options?: { readonly timeoutMs?: number; readonly signal?: AbortSignal }): Promise<Uint8Array | undefined>;
  /** Ends this side in order; never throws. */
  close(): Promise<void>;
  /** Resets at once. */
  abort(reason: string): void;
}

export interface StreamHandlerOptions {
  readonly frameBytesMax: number;
  /** Concurrent inbound streams a connection. */
  readonly inboundStreamsMax: number;
  /** True: also peers that are not bound to an organisation may open it. */
  readonly unbound: boolean;
}

export type GossipVerdict = 'accept' | 'ignore' | 'reject';

export interface Network {
  /** Own PeerId text. */
  readonly peer: string;
  /** Own multiaddrs, with /p2p/<PeerId>. */
  addresses(): string[];
  connections(): PeerConnection[];
  /**
   * Connects by multiaddr text, or by PeerId text if addresses are known.
   * Errors: unreachable, timeout, cancelled, malformed.
   */
  dial(target: string, options?: { readonly signal?: AbortSignal }): Promise<PeerConnection>;
  /** Remembers where a peer was seen, for the peer-maintenance loop and across restarts. */
  rememberPeer(peer: string, addresses: readonly string[]): void;
  /** Protocols that identify saw on this peer; empty until identified. */
  protocolsOf(peer: string): Promise<string[]>;
  /** Round trip, milliseconds. Errors: unreachable, timeout. */
  ping(peer: string, options?: { readonly signal?: AbortSignal }): Promise<number>;

  handle(
    name: ProtocolName,
    options: StreamHandlerOptions,
    handler: (stream: FrameStream) => Promise<void>,
  ): Promise<void>;
  /** On this connection, or on any to this peer; never dials. Errors: unreachable, timeout, no_route, busy, cancelled. */
  openStream(
    to: PeerConnection | string,
    name: ProtocolName,
    options: { readonly frameBytesMax: number; readonly signal?: AbortSignal },
  ): Promise<FrameStream>;

  /** Floods a message on a topic; resolves with the number of peers it was handed to (0 when alone). */
  publish(topic: Topic, message: Uint8Array): Promise<number>;
  /** The one validator of a topic; must answer within 100 ms or peers are mis-scored. Unbound senders never reach it. */
  validate(
    topic: Topic,
    validator: (message: Uint8Array, from: string) => Promise<GossipVerdict> | GossipVerdict,
  ): void;

  /**
   * A bound peer may use gossip, kad-dht and all streams; an unbound one only what is marked `unbound`, and its
   * connection is closed `unboundGraceMs` (10 s) after it opened. False closes its connections at once. Being bound
   * ends with the peer's last connection; without one, true has no effect.
   */
  setBound(peer: string, bound: boolean): void;
  isBound(peer: string): boolean;
  /** Lowers the sender's score as gossip's own rejects do; repeated offences disconnect. */
  penalise(peer: string, reason: string): void;
  disconnect(peer: string, reason: string): Promise<void>;

  onConnect(call: (connection: PeerConnection) => void): void;
  onDisconnect(call: (connection: PeerConnection) => void): void;

  /** Announces in the DHT that this node can answer for the CID (base32 text). Errors: timeout, cancelled. */
  provide(cid: string, options: { readonly signal: AbortSignal }): Promise<void>;
  /** Peers that say so, as they are found; ends when the search is exhausted or the signal fires. */
  providers(
    cid: string,
    options: { readonly signal: AbortSignal },
  ): AsyncIterable<{ peer: string; addresses: string[] }>;

  close(): Promise<void>;
}

/** How an exposed MCP server is started or reached. */
export type ExposedServer =
  | {
      readonly command: readonly string[];
      readonly cwd: string;
      /** Beside the daemon's own variables that any program needs. */
      readonly env?: Readonly<Record<string, string>>;
    }
  | { readonly url: string; readonly headers?: Readonly<Record<string, string>> };

export interface McpServerEvents {
  /** `relatedTo`: the request on whose stream it came, where the transport has streams. */
  message(message: Uint8Array | Message, relatedTo?: Id): void;
  /** No answer will come to this one. */
  failed(id: Id, failure: Failure): void;
  /** It sent what cannot be read, and which request that answers cannot be told. */
  lost(failure: Failure): void;
  /** It takes more again. */
  drained(): void;
  /** A line that it printed beside its messages: why it does not start, perhaps. Few of them, and cut. */
  printed?(line: string): void;
  /** Told once, after what it sent last: how, for the daemon's own log. Also where it could not be started. */
  ended(how: string): void;
}

export interface McpServerEnd {
  send(message: Message): void;
  /** It does not take more as fast as it comes. */
  readonly isFull: boolean;
  readonly backlogBytes: number;
  /** Whether to read what it sends. */
  setPaused(isPaused: boolean): void;
  /** Resolves once it is gone, with whatever it started. Never throws. */
  end(): Promise<void>;
  /** As they are where it runs. */
  readonly paths: Paths;
}

/** Each `open` is a server of its own: MCP servers keep state for one client. */
export interface McpServers {
  /** Errors that come later are told by `ended`. */
  open(server: ExposedServer, events: McpServerEvents): McpServerEnd;
}
