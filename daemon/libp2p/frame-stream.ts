/** Frames over a libp2p stream: unsigned-varint length, shortest form, then as many bytes. */
import type { Stream, StreamCloseEvent, StreamMessageEvent } from '@libp2p/interface';
import { concatBytes, decodeVarint, encodeVarint, limits, MeshError } from '../../protocol/index.ts';
import type { Clock, FrameBytes, FrameStream, PeerConnection, Timer } from '../ports.ts';
import { asError, createDeadline, messageOf } from './deadline.ts';
import { gatherWindowUpdates } from './window-updates.ts';

export interface FrameStreamOptions {
  /** Largest frame sent or received, bytes. */
  readonly frameBytesMax: number;
}

export function createFrameStream(
  components: { readonly clock: Clock; readonly stream: Stream; readonly connection: PeerConnection },
  options: FrameStreamOptions,
): FrameStream {
  return new Libp2pFrameStream(components, options);
}

const PREFIX_BYTES_MAX = 5; // of a varint that decodeVarint() reads
const LINGER_MS = 5_000; // for the other side to end its half after ours

interface Waiter {
  resolve(frame: Uint8Array | undefined): void;
  reject(cause: Error): void;
}

/**
 * Reads on demand: the stream is paused unless someone waits in receive(), so what is not asked for stays with the
 * sender beyond the muxer's window.
 */
class Libp2pFrameStream implements FrameStream {
  readonly connection: PeerConnection;
  readonly #clock: Clock;
  readonly #stream: Stream;
  readonly #frameBytesMax: number;

  #chunks: Uint8Array[] = [];
  #chunkBytes = 0;
  /** Length of the frame being assembled, once its prefix is read. */
  #frameBytes: number | undefined;
  #ended: boolean;
  #failure: MeshError | undefined;
  #waiter: Waiter | undefined;
  #resuming = false;
  #sending: Promise<unknown> = Promise.resolve();
  #linger: Timer | undefined;

  constructor(
    components: { readonly clock: Clock; readonly stream: Stream; readonly connection: PeerConnection },
    options: FrameStreamOptions,
  ) {
    this.#clock = components.clock;
    this.#stream = components.stream;
    this.connection = components.connection;
    this.#frameBytesMax = options.frameBytesMax;
    this.#pause();
    this.#ended = this.#stream.remoteWriteStatus === 'closed' && this.#stream.status === 'open';
    if (this.#stream.status !== 'open') this.#failure = this.#closedError('the stream is closed');
    gatherWindowUpdates(this.#stream);
    this.#stream.addEventListener('message', (event) => this.#onMessage(event));
    this.#stream.addEventListener('remoteCloseWrite', () => this.#onEnd());
    this.#stream.addEventListener('close', (event) => this.#onClose(event));
  }

  async send(frame: FrameBytes, options: { readonly timeoutMs?: number } = {}): Promise<void> {
    const pieces = frame instanceof Uint8Array ? [frame] : frame;
    const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
    if (length > this.#frameBytesMax) {
      throw new MeshError('too_large', `Cannot send a frame: ${length} bytes, want <= ${this.#frameBytesMax}`, {
        is: length,
        want: this.#frameBytesMax,
      });
    }
    const turn = this.#sending.then(() =>
      this.#write([encodeVarint(length), ...pieces], options.timeoutMs ?? limits.SEND_MS_MAX),
    );
    this.#sending = turn.catch(() => undefined); // the next frame's sender learns of a failure by its own write
    await turn;
  }

  async receive(
    options: { readonly timeoutMs?: number; readonly signal?: AbortSignal } = {},
  ): Promise<Uint8Array | undefined> {
    const { timeoutMs, signal } = options;
    if (this.#waiter !== undefined)
      throw new MeshError('conflict', 'Cannot receive a frame: another receive is waiting');
    if (signal?.aborted === true) throw new MeshError('cancelled', 'Cannot receive a frame: cancelled');
    const { promise, resolve, reject } = Promise.withResolvers<Uint8Array | undefined>();
    this.#waiter = { resolve, reject };
    const give = (cause: MeshError): void => this.#settle((waiter) => waiter.reject(cause));
    const cancel = (): void => give(new MeshError('cancelled', 'Cannot receive a frame: cancelled'));
    signal?.addEventListener('abort', cancel, { once: true });
    const timer =
      timeoutMs === undefined
        ? undefined
        : this.#clock.after(timeoutMs, () =>
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
    const deadline = createDeadline(this.#clock, LINGER_MS, 'end a stream');
    try {
      await this.#sending;
      await this.#stream.close({ signal: deadline.signal });
      if (this.#stream.status === 'open')
        this.#linger ??= this.#clock.after(LINGER_MS, () => this.abort('the other side did not end'));
    } catch (cause) {
      this.abort(messageOf(cause));
    } finally {
      deadline[Symbol.dispose]();
    }
  }

  abort(reason: string): void {
    this.#stream.abort(new Error(reason));
  }

  async #write(pieces: readonly Uint8Array[], timeoutMs: number): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#stream.writeStatus !== 'writable') throw this.#closedError('this side has ended it');
    const deadline = createDeadline(this.#clock, timeoutMs, 'send a frame');
    try {
      this.#stream.send(concatBytes(...pieces));
      while (this.#stream.writableNeedsDrain) await drained(this.#stream, deadline.signal);
    } catch (cause) {
      this.abort(messageOf(cause)); // half a frame may be out
      throw cause instanceof MeshError ? cause : this.#closedError(messageOf(cause));
    } finally {
      deadline[Symbol.dispose]();
    }
  }

  #onMessage(event: StreamMessageEvent): void {
    const { data } = event;
    for (const chunk of data instanceof Uint8Array ? [data] : data) this.#chunks.push(chunk);
    this.#chunkBytes += data.byteLength;
    if (!this.#resuming) this.#advance();
  }

  #onEnd(): void {
    this.#ended = true;
    this.#advance();
  }

  #onClose(event: StreamCloseEvent): void {
    this.#linger?.cancel();
    if (event.error !== undefined) this.#fail(this.#closedError(event.error.message));
    else if (!this.#ended) this.#fail(this.#closedError('the connection closed'));
    this.#advance();
  }

  /** Gives the waiter what there is, or lets more come. */
  #advance(): void {
    try {
      while (this.#waiter !== undefined) {
        if (this.#failure !== undefined) throw this.#failure;
        const frame = this.#takeFrame();
        if (frame !== undefined) this.#settle((waiter) => waiter.resolve(frame));
        else if (this.#stream.readBufferLength > 0 && this.#stream.readStatus === 'paused') this.#resume();
        else if (this.#ended) this.#finish();
        else break;
      }
    } catch (cause) {
      const failure = cause instanceof MeshError ? cause : this.#closedError(messageOf(cause));
      this.#fail(failure);
      this.#settle((waiter) => waiter.reject(failure));
    }
    if (this.#waiter === undefined) this.#pause();
    else this.#resume();
  }

  #finish(): void {
    if (this.#chunkBytes > 0 || this.#frameBytes !== undefined) throw this.#closedError('it ended inside a frame');
    this.#settle((waiter) => waiter.resolve(undefined));
  }

  #settle(answer: (waiter: Waiter) => void): void {
    const waiter = this.#waiter;
    this.#waiter = undefined;
    if (waiter !== undefined) answer(waiter);
    this.#pause();
  }

  #fail(failure: MeshError): void {
    this.#failure ??= failure;
    this.#chunks = [];
    this.#chunkBytes = 0;
  }

  /** The bound holds on the prefix alone, before there is anything to hold the frame. */
  #takeFrame(): Uint8Array | undefined {
    if (this.#frameBytes === undefined) {
      const prefix = this.#readPrefix();
      if (prefix === undefined) return undefined;
      this.#frameBytes = prefix;
    }
    if (this.#chunkBytes < this.#frameBytes) return undefined;
    const frame = this.#take(this.#frameBytes);
    this.#frameBytes = undefined;
    return frame;
  }

  #readPrefix(): number | undefined {
    try {
      const prefix = decodeVarint(this.#peek(PREFIX_BYTES_MAX));
      if (prefix === undefined) return undefined;
      if (prefix.value > this.#frameBytesMax) {
        throw new MeshError(
          'too_large',
          `Cannot receive a frame: ${prefix.value} bytes, want <= ${this.#frameBytesMax}`,
          {
            is: prefix.value,
            want: this.#frameBytesMax,
          },
        );
      }
      this.#take(prefix.end);
      return prefix.value;
    } catch (cause) {
      this.#fail(cause instanceof MeshError ? cause : this.#closedError(messageOf(cause)));
      this.abort(messageOf(cause));
      throw asError(cause);
    }
  }

  #peek(count: number): Uint8Array {
    const out: number[] = [];
    for (const chunk of this.#chunks) {
      out.push(...chunk.subarray(0, count - out.length));
      if (out.length === count) break;
    }
    return Uint8Array.from(out);
  }

  #take(count: number): Uint8Array {
    const out = new Uint8Array(count);
    let at = 0;
    while (at < count) {
      const [chunk] = this.#chunks;
      if (chunk === undefined) throw new MeshError('internal', `Cannot take ${count} bytes: only ${at} are there`);
      const used = chunk.subarray(0, count - at);
      out.set(used, at);
      at += used.length;
      if (used.length === chunk.length) this.#chunks.shift();
      else this.#chunks[0] = chunk.subarray(used.length);
    }
    this.#chunkBytes -= count;
    return out;
  }

  #pause(): void {
    if (this.#resuming || this.#stream.readStatus !== 'readable') return;
    this.#stream.pause();
  }

  /** libp2p hands out what it holds inside resume() and opens the window after it: pausing in between would be undone. */
  #resume(): void {
    if (this.#resuming || this.#stream.readStatus !== 'paused') return;
    this.#resuming = true;
    try {
      this.#stream.resume();
    } catch (cause) {
      if (!this.#ended) throw cause; // the window update has nowhere to go; what was buffered has been handed out
    } finally {
      this.#resuming = false;
    }
    if (this.#chunkBytes > 0) this.#advance();
  }

  #closedError(reason: string): MeshError {
    return new MeshError('closed', `Cannot use the stream to ${this.connection.peer}: ${reason}`);
  }
}

/** Resolves at the next chance to write; libp2p has then written what it could and says again whether more must wait. */
function drained(stream: Stream, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (act: () => void): void => {
      stream.removeEventListener('drain', onDrain);
      stream.removeEventListener('close', onClose);
      signal.removeEventListener('abort', onAbort);
      act();
    };
    const onDrain = (): void => settle(resolve);
    const onClose = (event: StreamCloseEvent): void =>
      settle(() => reject(event.error ?? new Error('the stream closed')));
    const onAbort = (): void => settle(() => reject(asError(signal.reason)));
    stream.addEventListener('drain', onDrain);
    stream.addEventListener('close', onClose);
    signal.addEventListener('abort', onAbort);
  });
}
