/** Two FrameStreams that give each other what the other sends, in one process; a test holds back or reads what passes. */
import type { Clock, FrameBytes, FrameStream, PeerConnection } from '../../../../daemon/ports.ts';
import { concatBytes, MeshError } from '../../../../protocol/index.ts';

export class PipeEnd implements FrameStream {
  readonly connection: PeerConnection;
  /** Frames that this end sent, in order. */
  readonly sent: Uint8Array[] = [];
  /** Set: what is sent is not taken until it resolves. */
  blocked: Promise<void> | undefined;
  abortedWith: string | undefined;
  isClosed = false;
  other: PipeEnd | undefined;

  readonly #clock: Clock;
  readonly #arrived: Uint8Array[] = [];
  #wake: (() => void) | undefined;
  #isOver = false;

  constructor(peer: string, clock: Clock) {
    this.#clock = clock;
    this.connection = {
      id: `to ${peer}`,
      peer,
      direction: 'outbound',
      address: '/memory',
      openedMs: 0,
      channelBinding: undefined,
    };
  }

  async send(pieces: FrameBytes, { timeoutMs = Number.POSITIVE_INFINITY } = {}): Promise<void> {
    await this.#orLate(this.blocked ?? Promise.resolve(), timeoutMs, () => this.abort('nothing was taken'));
    if (this.abortedWith !== undefined || this.isClosed)
      throw new MeshError('closed', `Cannot send: ${this.abortedWith}`);
    const frame = pieces instanceof Uint8Array ? pieces : concatBytes(...pieces);
    this.sent.push(frame);
    this.other?.arrive(frame);
  }

  async receive({ timeoutMs = Number.POSITIVE_INFINITY, signal }: { timeoutMs?: number; signal?: AbortSignal } = {}) {
    for (;;) {
      const frame = this.#arrived.shift();
      if (frame !== undefined) return frame;
      if (this.abortedWith !== undefined) throw new MeshError('closed', `Cannot receive: ${this.abortedWith}`);
      if (this.#isOver) return undefined;
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      this.#wake = resolve;
      const cancel = (): void => reject(new MeshError('cancelled', 'Cannot receive: cancelled'));
      if (signal?.aborted === true) cancel();
      signal?.addEventListener('abort', cancel, { once: true });
      await this.#orLate(promise, timeoutMs, () => undefined);
    }
  }

  async close(): Promise<void> {
    this.isClosed = true;
    this.other?.end();
  }

  abort(reason: string): void {
    this.abortedWith ??= reason;
    this.#wake?.();
    if (this.other?.abortedWith === undefined) this.other?.abort(`the other side: ${reason}`);
  }

  arrive(frame: Uint8Array): void {
    this.#arrived.push(frame);
    this.#wake?.();
  }

  end(): void {
    this.#isOver = true;
    this.#wake?.();
  }

  async #orLate(promise: Promise<void>, timeoutMs: number, late: () => void): Promise<void> {
    if (!Number.isFinite(timeoutMs)) return promise;
    const { promise: timeout, reject } = Promise.withResolvers<void>();
    const timer = this.#clock.after(timeoutMs, () => {
      late();
      reject(new MeshError('timeout', `Cannot wait: ${timeoutMs} ms are over`));
    });
    try {
      await Promise.race([promise, timeout]);
    } finally {
      timer.cancel();
    }
  }
}

export function createPipe(clock: Clock): readonly [PipeEnd, PipeEnd] {
  const [a, b] = [new PipeEnd('b', clock), new PipeEnd('a', clock)];
  a.other = b;
  b.other = a;
  return [a, b];
}
