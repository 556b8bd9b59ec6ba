/**
 * Binds a handshake to its connection (SPEC "Channel binding"). The Noise module shows neither its handshake hash nor
 * an exporter, so the three frames of the XX handshake are recorded while it runs, as they are on the wire:
 *
 *   A  initiator -> responder   u16be length ‖ e
 *   B  responder -> initiator   u16be length ‖ e, ee, s, es, payload
 *   C  initiator -> responder   u16be length ‖ s, se, payload
 *
 *   cb = SHA-256("AgentMesh/cb/v1" 00 ‖ A ‖ B ‖ C)
 */
import { createHash } from 'node:crypto';
import type {
  ConnectionEncrypter,
  ConnectionProtector,
  MessageStream,
  SecureConnectionOptions,
  SecuredConnection,
  StreamMessageEvent,
} from '@libp2p/interface';
import { CHANNEL_BINDING_PREFIX, concatBytes } from '../../protocol/index.ts';

type Role = 'initiator' | 'responder';
type Secure = (stream: MessageStream, options?: SecureConnectionOptions) => Promise<SecuredConnection>;

export class ChannelBindings {
  /** By `timeline`, the one object that a transport's connection and libp2p's Connection share. */
  readonly #bindings = new WeakMap<object, Uint8Array>();
  /** From the timeline of a stream inside a pre-shared-key layer to its connection's. */
  readonly #outer = new WeakMap<object, object>();

  of(connection: { readonly timeline: object }): Uint8Array | undefined {
    return this.#bindings.get(connection.timeline);
  }

  /** The same encrypter, observed. */
  recordEncrypter(inner: ConnectionEncrypter): ConnectionEncrypter {
    return {
      protocol: inner.protocol,
      secureOutbound: (stream, options) => this.#record('initiator', stream, options, inner.secureOutbound.bind(inner)),
      secureInbound: (stream, options) => this.#record('responder', stream, options, inner.secureInbound.bind(inner)),
    };
  }

  /** The same protector; remembers which connection the stream that it makes belongs to. */
  recordProtector(inner: ConnectionProtector): ConnectionProtector {
    return {
      protect: async (connection, options) => {
        const inside = await inner.protect(connection, options);
        this.#outer.set(inside.timeline, connection.timeline);
        return inside;
      },
    };
  }

  async #record(
    role: Role,
    stream: MessageStream,
    options: SecureConnectionOptions | undefined,
    secure: Secure,
  ): Promise<SecuredConnection> {
    const tap = tapHandshake(stream, role);
    try {
      const secured = await secure(stream, options);
      const frames = tap.frames();
      const timeline = this.#outer.get(stream.timeline) ?? stream.timeline;
      if (frames !== undefined) this.#bindings.set(timeline, bindingOf(frames));
      return secured;
    } finally {
      tap.stop();
    }
  }
}

function bindingOf(frames: readonly Uint8Array[]): Uint8Array {
  const hash = createHash('sha256').update(CHANNEL_BINDING_PREFIX);
  for (const frame of frames) hash.update(frame);
  return new Uint8Array(hash.digest());
}

interface Tap {
  /** A, B and C; undefined unless all three went by. */
  frames(): readonly Uint8Array[] | undefined;
  stop(): void;
}

/**
 * Sees what passes through the stream without taking it: `send` is shadowed on this one object, and the listener goes
 * when it has its frames, before the encrypter puts back what it read too much (that must not meet a second reader).
 */
function tapHandshake(stream: MessageStream, role: Role): Tap {
  const sent = new FrameRecorder(role === 'initiator' ? 2 : 1);
  const received = new FrameRecorder(role === 'initiator' ? 1 : 2);
  const ownSend = Object.getOwnPropertyDescriptor(stream, 'send');
  const send = stream.send.bind(stream);
  stream.send = (data) => {
    sent.push(data.subarray());
    return send(data);
  };
  const onMessage = (event: StreamMessageEvent): void => {
    received.push(event.data.subarray());
    if (received.isComplete) stream.removeEventListener('message', onMessage);
  };
  stream.addEventListener('message', onMessage);
  return {
    frames: () => {
      const [a, b, c] =
        role === 'initiator'
          ? [sent.frames[0], received.frames[0], sent.frames[1]]
          : [received.frames[0], sent.frames[0], received.frames[1]];
      return a === undefined || b === undefined || c === undefined ? undefined : [a, b, c];
    },
    stop: () => {
      stream.removeEventListener('message', onMessage);
      if (ownSend === undefined) Reflect.deleteProperty(stream, 'send');
      else Object.defineProperty(stream, 'send', ownSend);
    },
  };
}

/** The first `count` frames (u16be length ‖ bytes) of what is pushed, lengths included. */
class FrameRecorder {
  readonly frames: Uint8Array[] = [];
  readonly #count: number;
  #rest: Uint8Array = new Uint8Array(0);

  constructor(count: number) {
    this.#count = count;
  }

  get isComplete(): boolean {
    return this.frames.length === this.#count;
  }

  push(bytes: Uint8Array): void {
    if (this.isComplete) return;
    this.#rest = concatBytes(this.#rest, bytes);
    while (!this.isComplete) {
      const [high, low] = this.#rest;
      if (high === undefined || low === undefined) return;
      const end = 2 + high * 256 + low;
      if (this.#rest.length < end) return;
      this.frames.push(this.#rest.slice(0, end));
      this.#rest = this.#rest.subarray(end);
    }
  }
}
