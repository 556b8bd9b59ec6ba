import { limits, MeshError, type Transcript, withMessage } from '../../protocol/index.ts';
import type { Clock, FrameStream } from '../ports.ts';

export interface ExchangeOptions {
  /** For a frame of the other side, or own work between frames; default HANDSHAKE_STEP_MS. */
  readonly stepMs?: number;
  /** For the whole handshake; default HANDSHAKE_TOTAL_MS. */
  readonly totalMs?: number;
}

/** The frames of one handshake as they are said, and its time. */
export class Exchange {
  readonly stream: FrameStream;
  /** Everything said so far. */
  transcript: Transcript;
  readonly #clock: Clock;
  readonly #startedMs: number;
  readonly #stepMs: number;
  readonly #totalMs: number;
  readonly #signal: AbortSignal;

  constructor(
    {
      stream,
      transcript,
      clock,
      signal,
    }: {
      readonly stream: FrameStream;
      readonly transcript: Transcript;
      readonly clock: Clock;
      readonly signal: AbortSignal;
    },
    { stepMs = limits.HANDSHAKE_STEP_MS, totalMs = limits.HANDSHAKE_TOTAL_MS }: ExchangeOptions,
  ) {
    this.stream = stream;
    this.transcript = transcript;
    this.#clock = clock;
    this.#signal = signal;
    this.#stepMs = stepMs;
    this.#totalMs = totalMs;
    this.#startedMs = clock.monotonicMs();
  }

  get durationMs(): number {
    return this.#clock.monotonicMs() - this.#startedMs;
  }

  /** `parse` sees the transcript up to the frame, which then becomes part of it. Errors: timeout, cancelled, closed, of parse. */
  async receive<T>(parse: (frame: Uint8Array) => T): Promise<T> {
    const frame = await this.within((signal) => this.stream.receive({ signal }));
    if (frame === undefined)
      throw new MeshError('closed', `Cannot shake hands with ${this.stream.connection.peer}: it ended the stream`);
    const parsed = parse(frame);
    this.transcript = withMessage(this.transcript, frame);
    return parsed;
  }

  /** Errors: timeout, cancelled, closed. */
  async send(frame: Uint8Array): Promise<void> {
    this.transcript = withMessage(this.transcript, frame);
    await this.within(() => this.stream.send(frame));
  }

  /** Own work, as one step. Errors: timeout, cancelled, of the work. */
  async within<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const controller = new AbortController();
    const stopped = Promise.withResolvers<never>();
    const stop = (error: MeshError): void => {
      controller.abort(error);
      stopped.reject(error);
    };
    const cancel = (): void => stop(new MeshError('cancelled', 'Cannot shake hands: cancelled'));
    const leftMs = Math.min(this.#stepMs, this.#startedMs + this.#totalMs - this.#clock.monotonicMs());
    const timer = this.#clock.after(leftMs, () =>
      stop(
        new MeshError(
          'timeout',
          `Cannot shake hands with ${this.stream.connection.peer}: a step took more than ${leftMs} ms`,
        ),
      ),
    );
    this.#signal.addEventListener('abort', cancel, { once: true });
    if (this.#signal.aborted) cancel();
    try {
      return await Promise.race([stopped.promise, work(controller.signal)]);
    } finally {
      timer.cancel();
      this.#signal.removeEventListener('abort', cancel);
    }
  }
}
