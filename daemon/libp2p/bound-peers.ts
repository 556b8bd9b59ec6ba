/**
 * Who reaches what (SPEC "Who reaches what"): a peer is bound while the daemon holds that an organisation in good
 * standing lists its PeerId. Gossip and the DHT see bound peers only. libp2p's own middleware cannot be used for this:
 * its list of a protocol grows by the handler with every stream, which then runs more than once (libp2p 3.3.11,
 * connection.ts onIncomingStream); so the registrar that gossip and the DHT are given is ours.
 */
import type { Connection, PeerId, Stream, StreamHandler, Topology } from '@libp2p/interface';
import { overlay } from './overlay.ts';

const WAITING_A_PEER_MAX = 32; // three gossip versions twice (both dialled), topologies, and a look-up's ten questions

/** The part of libp2p's registrar that protocols register with. */
export interface Registrar {
  handle(protocol: string, handler: StreamHandler, options?: object): Promise<void>;
  register(protocol: string, topology: Topology): Promise<string>;
}

export class BoundPeers {
  readonly #bound = new Set<string>();
  readonly #waiting = new Map<string, Set<() => void>>();

  has(peer: string): boolean {
    return this.#bound.has(peer);
  }

  bind(peer: string): void {
    if (this.#bound.has(peer)) return;
    this.#bound.add(peer);
    const waiting = this.#waiting.get(peer);
    this.#waiting.delete(peer);
    for (const call of waiting ?? []) call();
  }

  /** Also forgets what waited for the peer. */
  unbind(peer: string): void {
    this.#bound.delete(peer);
    this.#waiting.delete(peer);
  }

  /** Calls once the peer is bound, at once if it is. False when too much waits for this peer already. */
  whenBound(peer: string, call: () => void): boolean {
    if (this.#bound.has(peer)) {
      call();
      return true;
    }
    const waiting = this.#waiting.get(peer) ?? new Set();
    if (waiting.size >= WAITING_A_PEER_MAX) return false;
    waiting.add(call);
    this.#waiting.set(peer, waiting);
    return true;
  }

  /** Rejects with the signal's reason when that fires first. */
  async untilBound(peer: string, signal: AbortSignal): Promise<void> {
    if (this.#bound.has(peer)) return;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const fire = (): void => reject(signal.reason instanceof Error ? signal.reason : new Error(String(signal.reason)));
    if (signal.aborted) fire();
    signal.addEventListener('abort', fire, { once: true });
    if (!this.whenBound(peer, resolve)) reject(new Error(`too much waits for ${peer}`));
    try {
      await promise;
    } finally {
      signal.removeEventListener('abort', fire);
      this.#waiting.get(peer)?.delete(resolve);
    }
  }
}

/**
 * A registrar through which only bound peers are seen. A stream that comes earlier is held, unread, until its peer is
 * bound: the other side may have bound us first, and gossip's streams are opened once, when a connection is. Peers that
 * stay unbound lose the connection with all that is held on it.
 */
export function boundRegistrar<R extends Registrar>(registrar: R, bound: BoundPeers): R {
  const gated: Registrar = {
    handle: (protocol, handler, options) => registrar.handle(protocol, holdUntilBound(handler, bound), options),
    register: (protocol, topology) => registrar.register(protocol, notifyWhenBound(topology, bound)),
  };
  return overlay<R>(registrar, gated as Partial<R>);
}

function holdUntilBound(handler: StreamHandler, bound: BoundPeers): StreamHandler {
  return (stream: Stream, connection: Connection) => {
    const peer = connection.remotePeer.toString();
    if (bound.has(peer)) return handler(stream, connection);
    stream.pause();
    const proceed = (): void => {
      if (stream.status !== 'open') return;
      stream.resume();
      void Promise.resolve(handler(stream, connection)).catch((cause: unknown) =>
        stream.abort(cause instanceof Error ? cause : new Error(String(cause))),
      );
    };
    if (!bound.whenBound(peer, proceed)) stream.abort(new Error('not bound to an organisation'));
    return undefined;
  };
}

function notifyWhenBound(topology: Topology, bound: BoundPeers): Topology {
  return overlay<Topology>(topology, {
    onConnect: (peer: PeerId, connection: Connection) => {
      bound.whenBound(peer.toString(), () => {
        if (connection.status === 'open') void topology.onConnect?.(peer, connection);
      });
    },
  });
}
