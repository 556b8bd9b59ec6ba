/**
 * A peer that breaks the rules on purpose: a daemon's core with its own home, keys and libp2p node, in this process,
 * which does everything as an honest one does, except that its frames go through a tap. What the tap makes of them is
 * what the other side gets, and what it takes in is what the core sees.
 */
import { parseCallFrame } from '../../protocol/call/index.ts';
import { concatBytes } from '../../protocol/index.ts';
import type { ProtocolName } from '../../protocol/index.ts';
import type { FrameStream, Network } from '../../daemon/ports.ts';
import { openOwnNode, type OwnNode, type OwnNodeOptions } from './own-node.ts';

/** A stream as the tap sees it. */
export interface TappedStream {
  readonly protocol: ProtocolName;
  /** opened: by the dishonest side. handled: by the other. */
  readonly origin: 'opened' | 'handled';
  /** That really went out, and that really came in. */
  readonly sent: readonly Uint8Array[];
  readonly received: readonly Uint8Array[];
  /** Past the core and the tap. Errors: those of FrameStream.send. */
  inject(frame: Uint8Array): Promise<void>;
  /** Nothing is read from it any more, as of a peer that hangs. */
  stall(): void;
  abort(reason: string): void;
}

/** Each gives what goes on in place of the frame: nothing, one frame or several. Default: the frame itself. */
export interface Tap {
  /** Default: streams of calls. */
  readonly protocols?: readonly ProtocolName[];
  sending?(frame: Uint8Array, stream: TappedStream): readonly Uint8Array[];
  receiving?(frame: Uint8Array, stream: TappedStream): readonly Uint8Array[];
  /** A stream there is; from now on frames can be injected. */
  opened?(stream: TappedStream): void;
}

export interface DishonestPeer extends OwnNode {
  /** Of the protocols that are tapped, in the order in which they were opened. */
  readonly streams: readonly TappedStream[];
}

export type DishonestOptions = Omit<OwnNodeOptions, 'wrap'> & { readonly tap: Tap };

export async function openDishonestPeer({ tap, ...options }: DishonestOptions): Promise<DishonestPeer> {
  const streams: TappedStream[] = [];
  const own = await openOwnNode({ ...options, wrap: (network) => tapped(network, tap, streams) });
  return { ...own, streams };
}

/** The name of a call frame, or `part`; undefined for what is none. */
export function nameOf(bytes: Uint8Array): string | undefined {
  try {
    const parsed = parseCallFrame(bytes);
    return 'part' in parsed ? 'part' : parsed.frame.f;
  } catch {
    return undefined; // bytes that the tap made up
  }
}

function tapped(network: Network, tap: Tap, streams: TappedStream[]): Network {
  const protocols = new Set<ProtocolName>(tap.protocols ?? ['call']);
  const wrap = (stream: FrameStream, protocol: ProtocolName, origin: TappedStream['origin']): FrameStream => {
    if (!protocols.has(protocol)) return stream;
    const made = new Tapped(stream, tap, { protocol, origin });
    streams.push(made);
    tap.opened?.(made);
    return made;
  };
  const instead: Pick<Network, 'openStream' | 'handle'> = {
    openStream: async (to, name, options) => wrap(await network.openStream(to, name, options), name, 'opened'),
    handle: (name, options, handler) =>
      network.handle(name, options, (stream) => handler(wrap(stream, name, 'handled'))),
  };
  return new Proxy(network, {
    get(target, key: keyof Network) {
      if (key === 'openStream' || key === 'handle') return instead[key];
      const value: unknown = target[key];
      return typeof value === 'function' ? (value.bind(target) as unknown) : value; // its fields are private
    },
  });
}

class Tapped implements FrameStream, TappedStream {
  readonly protocol: ProtocolName;
  readonly origin: TappedStream['origin'];
  readonly sent: Uint8Array[] = [];
  readonly received: Uint8Array[] = [];
  readonly #stream: FrameStream;
  readonly #tap: Tap;
  /** Let in, and not yet taken by the core. */
  readonly #waiting: Uint8Array[] = [];
  #isStalled = false;

  constructor(stream: FrameStream, tap: Tap, { protocol, origin }: Pick<TappedStream, 'protocol' | 'origin'>) {
    this.#stream = stream;
    this.#tap = tap;
    this.protocol = protocol;
    this.origin = origin;
  }

  get connection(): FrameStream['connection'] {
    return this.#stream.connection;
  }

  async send(frame: Parameters<FrameStream['send']>[0], options?: Parameters<FrameStream['send']>[1]): Promise<void> {
    const whole = frame instanceof Uint8Array ? frame : concatBytes(...frame);
    for (const each of this.#tap.sending?.(whole, this) ?? [whole]) {
      this.sent.push(each);
      await this.#stream.send(each, options);
    }
  }

  async receive(options?: Parameters<FrameStream['receive']>[0]): Promise<Uint8Array | undefined> {
    for (;;) {
      const next = this.#waiting.shift();
      if (next !== undefined) return next;
      if (this.#isStalled) await new Promise<never>((_, reject) => this.#onAbort(options?.signal, reject));
      const frame = await this.#stream.receive(options);
      if (frame === undefined) return undefined;
      this.received.push(frame);
      this.#waiting.push(...(this.#tap.receiving?.(frame, this) ?? [frame]));
    }
  }

  inject(frame: Uint8Array): Promise<void> {
    this.sent.push(frame);
    return this.#stream.send(frame);
  }

  stall(): void {
    this.#isStalled = true;
  }

  close(): Promise<void> {
    return this.#stream.close();
  }

  abort(reason: string): void {
    this.#stream.abort(reason);
  }

  #onAbort(signal: AbortSignal | undefined, reject: (cause: unknown) => void): void {
    if (signal?.aborted === true) reject(signal.reason);
    else signal?.addEventListener('abort', () => reject(signal.reason), { once: true });
  }
}
