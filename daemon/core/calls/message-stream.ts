/**
 * Whole messages of calls over one stream (SPEC "Calls"), both ways.
 *
 * One frame at a time is with the transport, so that what is urgent goes next. Nothing is read unless somebody waits for
 * it, so a sender is held back by the stream itself. What breaks the rules ends the stream.
 */
import { isMeshError, limits, MeshError } from '../../../protocol/index.ts';
import { type CallFrame, parseCallFrame } from '../../../protocol/call/index.ts';
import type { Clock, FrameBytes, FrameStream, PeerConnection } from '../../ports.ts';
import { BodyAssembly } from './body-assembly.ts';
import { type ByteBudget, holdAll, releaseAll } from './byte-budget.ts';
import { type Outgoing, outgoingOf, SendQueue } from './send-queue.ts';

export interface ReceivedFrame {
  readonly frame: CallFrame;
  /** Present where the frame has one. */
  readonly body?: Uint8Array;
}

export interface CallMessages {
  readonly connection: PeerConnection;
  /**
   * Resolves once it is handed to the transport. After `end` nothing more is taken.
   * Errors: closed, too_large, schema, busy (CALL_QUEUE_BYTES_MAX wait already, or the budget is spent).
   */
  send(frame: CallFrame, body?: Uint8Array): Promise<void>;
  /**
   * The next whole message; undefined: the other side ended the stream in order.
   * Errors: timeout, cancelled, conflict (another receive waits), after which one may go on; malformed, noncanonical,
   * version, schema, too_large, busy (the budget is spent), timeout with data.reason "stalled", closed, which end it.
   */
  receive(options?: { readonly timeoutMs?: number; readonly signal?: AbortSignal }): Promise<ReceivedFrame | undefined>;
  /** That wait to be sent. */
  readonly backlogBytes: number;
  /** More than CALL_QUEUE_PAUSE_BYTES wait: whoever has a choice should not give more. */
  readonly isFull: boolean;
  /** Is called each time that it is not full any more. */
  onDrained(call: () => void): void;
  /** Of frames, since it began. */
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** Sends what waits, then ends this side; never throws. */
  close(): Promise<void>;
  /** Resets at once; what waits is lost. */
  abort(reason: string): void;
}

export interface CallMessagesComponents {
  readonly clock: Clock;
}

export interface CallMessagesOptions {
  /** That the other side may take nothing, or leave a body unfinished, milliseconds. Default CALL_STALL_MS. */
  readonly stallMs?: number;
  /** What waits or is put together here counts against each of these too. Default none. */
  readonly budgets?: readonly ByteBudget[];
}

export const createCallMessages = (
  stream: FrameStream,
  components: CallMessagesComponents,
  options: CallMessagesOptions = {},
): CallMessages => new StreamMessages(stream, components, options);

class StreamMessages implements CallMessages {
  readonly #stream: FrameStream;
  readonly #clock: Clock;
  readonly #stallMs: number;
  readonly #budgets: readonly ByteBudget[];
  readonly #assembly: BodyAssembly;
  readonly #queue = new SendQueue();
  #pumping: Promise<void> | undefined;

  #backlogBytes = 0;
  #bytesIn = 0;
  #bytesOut = 0;
  readonly #drained: (() => void)[] = [];
  #isReceiving = false;
  /** This side said that it is over. */
  #isEnded = false;
  #failure: MeshError | undefined;

  constructor(stream: FrameStream, { clock }: CallMessagesComponents, options: CallMessagesOptions) {
    this.#stream = stream;
    this.#clock = clock;
    this.#stallMs = options.stallMs ?? limits.CALL_STALL_MS;
    this.#budgets = options.budgets ?? [];
    this.#assembly = new BodyAssembly(this.#budgets);
  }

  get connection(): PeerConnection {
    return this.#stream.connection;
  }
  get backlogBytes(): number {
    return this.#backlogBytes;
  }
  get isFull(): boolean {
    return this.#backlogBytes > limits.CALL_QUEUE_PAUSE_BYTES;
  }
  get bytesIn(): number {
    return this.#bytesIn;
  }
  get bytesOut(): number {
    return this.#bytesOut;
  }

  onDrained(call: () => void): void {
    this.#drained.push(call);
  }

  async send(frame: CallFrame, body?: Uint8Array): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#isEnded) throw this.#closed('this side has ended it');
    const message = outgoingOf(frame, body);
    this.#hold(message);
    this.#isEnded = frame.f === 'end';
    this.#queue.push(message);
    this.#start();
    await message.sent.promise;
  }

  async receive(
    options: { readonly timeoutMs?: number; readonly signal?: AbortSignal } = {},
  ): Promise<ReceivedFrame | undefined> {
    if (this.#isReceiving) throw new MeshError('conflict', 'Cannot receive a message: another receive is waiting');
    this.#isReceiving = true;
    try {
      return await this.#receiveWhole(options);
    } finally {
      this.#isReceiving = false;
    }
  }

  async close(): Promise<void> {
    this.#isEnded = true;
    const late = this.#clock.after(this.#stallMs, () => this.abort('what waited to be sent was not taken in time'));
    while (this.#pumping !== undefined) await this.#pumping;
    late.cancel();
    await this.#stream.close();
    this.#failure ??= this.#closed('this side has ended it');
    this.#assembly.clear();
  }

  abort(reason: string): void {
    this.#fail(this.#closed(reason));
    this.#stream.abort(reason);
  }

  /** One message more than the bound: it may be larger than the bound itself. `end` is let go of in any case. */
  #hold(message: Outgoing): void {
    const isRoom = this.#backlogBytes < limits.CALL_QUEUE_BYTES_MAX && holdAll(this.#budgets, message.bytes);
    if (!isRoom && message.frame.f !== 'end') {
      throw new MeshError('busy', `Cannot send a message: ${this.#backlogBytes} bytes wait to be taken already`, {
        is: this.#backlogBytes,
        want: limits.CALL_QUEUE_BYTES_MAX,
      });
    }
    if (!isRoom) message.bytes = 0;
    this.#backlogBytes += message.bytes;
  }

  #start(): void {
    this.#pumping ??= this.#pump().then(() => {
      this.#pumping = undefined;
      if (!this.#queue.isEmpty) this.#start(); // given after the last look into the queue
    });
  }

  /** Never rejects. */
  async #pump(): Promise<void> {
    for (let next = this.#queue.next(); next !== undefined; next = this.#queue.next()) {
      const { bytes, of, settles, isLast } = next;
      const failure = await this.#give(bytes);
      if (failure !== undefined) return this.#drop(of, failure);
      this.#settle(of, settles);
      if (isLast) of.sent.resolve();
    }
  }

  /** Why it could not be given to the transport; undefined: it was. */
  async #give(bytes: FrameBytes): Promise<MeshError | undefined> {
    try {
      await this.#stream.send(bytes, { timeoutMs: this.#stallMs });
      this.#bytesOut += lengthOf(bytes);
      return this.#failure;
    } catch (cause) {
      return this.#break(cause);
    }
  }

  #drop(message: Outgoing, failure: MeshError): void {
    this.#settle(message, message.bytes);
    message.sent.reject(failure);
  }

  #settle(message: Outgoing, bytes: number): void {
    const settled = Math.min(bytes, message.bytes);
    const wasFull = this.isFull;
    message.bytes -= settled;
    this.#backlogBytes -= settled;
    releaseAll(this.#budgets, settled);
    if (wasFull && !this.isFull) for (const call of this.#drained) call();
  }

  async #receiveWhole({
    timeoutMs = Number.POSITIVE_INFINITY,
    signal,
  }: {
    readonly timeoutMs?: number;
    readonly signal?: AbortSignal;
  }): Promise<ReceivedFrame | undefined> {
    const untilMs = this.#clock.monotonicMs() + timeoutMs;
    for (;;) {
      const bytes = await this.#nextFrame(untilMs, signal);
      if (this.#failure !== undefined) throw this.#failure;
      if (bytes === undefined) {
        if (this.#assembly.isEmpty) return undefined;
        throw this.#break(this.#closed('it ended inside a message'));
      }
      this.#bytesIn += bytes.length;
      const message = this.#take(bytes);
      if (message !== undefined) return message;
    }
  }

  async #nextFrame(untilMs: number, signal: AbortSignal | undefined): Promise<Uint8Array | undefined> {
    if (this.#failure !== undefined) throw this.#failure;
    const leftMs = Math.max(0, untilMs - this.#clock.monotonicMs());
    const isStall = !this.#assembly.isEmpty && this.#stallMs < leftMs;
    const timeoutMs = isStall ? this.#stallMs : leftMs;
    try {
      return await this.#stream.receive({
        ...(Number.isFinite(timeoutMs) ? { timeoutMs } : {}),
        ...(signal === undefined ? {} : { signal }),
      });
    } catch (cause) {
      const code = isMeshError(cause) ? cause.code : undefined;
      if (code === 'timeout' && isStall) throw this.#break(this.#stalled());
      if (code === 'timeout' || code === 'cancelled' || code === 'conflict') throw cause;
      throw this.#break(cause);
    }
  }

  #take(bytes: Uint8Array): ReceivedFrame | undefined {
    try {
      const parsed = parseCallFrame(bytes);
      if ('part' in parsed) {
        this.#assembly.add(parsed.part.m, parsed.part.bytes);
        return undefined;
      }
      const { frame, body } = parsed;
      if (body === undefined) return { frame };
      return { frame, body: 'inline' in body ? body.inline : this.#assembly.take(body.m, body.size) };
    } catch (cause) {
      throw this.#break(cause);
    }
  }

  /** The stream is of no use any more, for this reason; the first counts. */
  #break(cause: unknown): MeshError {
    const failure = isMeshError(cause) ? cause : this.#closed(String(cause));
    if (this.#failure !== undefined) return this.#failure;
    this.#fail(failure);
    this.#stream.abort(failure.message);
    return failure;
  }

  #fail(failure: MeshError): void {
    this.#failure ??= failure;
    this.#assembly.clear();
    for (const message of this.#queue.clear()) this.#drop(message, this.#failure);
  }

  #stalled(): MeshError {
    return new MeshError('timeout', `Cannot receive a message: nothing of it came within ${this.#stallMs} ms`, {
      reason: 'stalled',
    });
  }

  #closed(reason: string): MeshError {
    return new MeshError('closed', `Cannot exchange calls with ${this.connection.peer}: ${reason}`);
  }
}

const lengthOf = (frame: FrameBytes): number =>
  frame instanceof Uint8Array ? frame.length : frame.reduce((sum, piece) => sum + piece.length, 0);
