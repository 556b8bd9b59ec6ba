/**
 * Requests of the transparency log over streams (SPEC "Witness protocol over libp2p"): what HTTP would carry, in frames.
 *
 *   request   <path> 0A <body>                     "add-checkpoint", "<hex>/checkpoint", …
 *   answer    <status> SP <content type> 0A <body>
 *
 * Several on one stream, one at a time.
 */
import { concatBytes, isMeshError, limits, MeshError, type ProtocolName } from '../../../protocol/index.ts';
import type { Clock, FrameStream, Logger, Network, PeerConnection, Timer } from '../../ports.ts';
import { Serial } from '../serial.ts';

export interface TlogRequest {
  readonly path: string;
  readonly body: Uint8Array;
}

export interface TlogAnswer {
  /** As in HTTP, three digits. */
  readonly status: number;
  readonly contentType: string;
  readonly body: Uint8Array;
}

export const PLAIN_TEXT = 'text/plain; charset=utf-8';

/** For people; the body of refusals. */
export const plainAnswer = (status: number, message: string): TlogAnswer => ({
  status,
  contentType: PLAIN_TEXT,
  body: encoder.encode(`${message}\n`),
});

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const LINE_END = 0x0a;

/** Errors: malformed, too_large (the line). */
export function encodeTlogRequest({ path, body }: TlogRequest): Uint8Array {
  return withLine(path, body);
}

/** Errors: malformed, too_large (the line). */
export function parseTlogRequest(frame: Uint8Array): TlogRequest {
  const { line, body } = splitLine(frame);
  if (!/^[\x21-\x7e]+$/.test(line)) throw malformed('its path is empty or not of printable ASCII');
  return { path: line, body };
}

/** Errors: malformed, too_large (the line). */
export function encodeTlogAnswer({ status, contentType, body }: TlogAnswer): Uint8Array {
  return withLine(`${status} ${contentType}`, body);
}

/** Errors: malformed, too_large (the line). */
export function parseTlogAnswer(frame: Uint8Array): TlogAnswer {
  const { line, body } = splitLine(frame);
  const [, status = '', contentType = ''] = /^([1-5][0-9]{2}) ([\x20-\x7e]+)$/.exec(line) ?? [];
  if (status === '') throw malformed(`"${line}" is not "<status> <content type>"`);
  return { status: Number(status), contentType, body };
}

function withLine(line: string, body: Uint8Array): Uint8Array {
  const bytes = encoder.encode(`${line}\n`);
  if (line.includes('\n')) throw malformed('its first line is two');
  verifyLineLength(bytes.length - 1);
  return concatBytes(bytes, body);
}

function splitLine(frame: Uint8Array): { line: string; body: Uint8Array } {
  const end = frame.subarray(0, limits.TLOG_LINE_BYTES_MAX + 1).indexOf(LINE_END);
  if (end < 0) {
    verifyLineLength(frame.length);
    throw malformed('its first line has no end');
  }
  try {
    return { line: decoder.decode(frame.subarray(0, end)), body: frame.subarray(end + 1) };
  } catch (cause) {
    throw new MeshError('malformed', 'Cannot read a frame: its first line is not UTF-8', {}, { cause });
  }
}

function verifyLineLength(bytes: number): void {
  if (bytes > limits.TLOG_LINE_BYTES_MAX)
    throw new MeshError(
      'too_large',
      `Cannot read a frame: its first line has over ${limits.TLOG_LINE_BYTES_MAX} bytes`,
    );
}

const malformed = (why: string): MeshError => new MeshError('malformed', `Cannot read a frame: ${why}`);

type TlogProtocol = Extract<ProtocolName, `tlog/${string}`>;

export interface TlogServerComponents {
  readonly network: Network;
  readonly log: Logger;
  /** Must bound its own time. What it throws is answered with 500, and logged unless it is a MeshError. */
  readonly answer: (request: TlogRequest, connection: PeerConnection) => Promise<TlogAnswer>;
}

export interface TlogServerOptions {
  /** Largest frame in either direction. */
  readonly frameBytesMax: number;
  /** Streams that one connection may have open. Default TLOG_STREAMS_A_CONNECTION_MAX. */
  readonly inboundStreamsMax?: number;
  /** A stream without a request for so long is ended. Default TLOG_IDLE_MS. */
  readonly idleMs?: number;
  /** Ends what waits. */
  readonly signal?: AbortSignal;
}

/** Answers bound peers on this protocol from now on. */
export async function serveTlog(
  { network, log, answer }: TlogServerComponents,
  name: TlogProtocol,
  options: TlogServerOptions,
): Promise<void> {
  const { frameBytesMax, signal } = options;
  const { inboundStreamsMax = limits.TLOG_STREAMS_A_CONNECTION_MAX, idleMs = limits.TLOG_IDLE_MS } = options;
  const receive = { timeoutMs: idleMs, ...(signal === undefined ? {} : { signal }) };
  await network.handle(name, { frameBytesMax, inboundStreamsMax, unbound: false }, async (stream) => {
    for (;;) {
      const frame = await receiveOrIdle(stream, receive);
      if (frame === undefined) return stream.close();
      // Nonsense ends the stream: whoever sends it is no client of this protocol.
      const request = parseTlogRequest(frame);
      const given = await answer(request, stream.connection).catch((error: unknown) => {
        if (isMeshError(error)) log.warn({ protocol: name, code: error.code, reason: error.message }, 'request failed');
        else log.error({ protocol: name, error }, 'request failed by a fault of this program');
        return plainAnswer(500, isMeshError(error) ? error.code : 'internal');
      });
      await stream.send(encodeTlogAnswer(given));
    }
  });
}

/** A client that asks nothing for long ends as one that closed: the next question opens another stream. */
async function receiveOrIdle(
  stream: FrameStream,
  options: { readonly timeoutMs: number; readonly signal?: AbortSignal },
): Promise<Uint8Array | undefined> {
  try {
    return await stream.receive(options);
  } catch (error) {
    if (isMeshError(error) && error.code === 'timeout') return undefined;
    throw error;
  }
}

export interface TlogAskerOptions {
  readonly frameBytesMax: number;
  /** For an answer, once it is this question's turn; default TLOG_ANSWER_MS. */
  readonly timeoutMs?: number;
}

/** Asks peers, over one stream to each that is opened when needed and closed when it was idle; one question at a time. */
export class TlogAsker implements Disposable {
  readonly #network: Network;
  readonly #clock: Clock;
  readonly #name: TlogProtocol;
  readonly #options: Required<TlogAskerOptions>;
  readonly #streams = new Map<string, PeerAsker>();
  readonly #stop = new AbortController();

  constructor(
    { network, clock }: { readonly network: Network; readonly clock: Clock },
    name: TlogProtocol,
    options: TlogAskerOptions,
  ) {
    this.#network = network;
    this.#clock = clock;
    this.#name = name;
    this.#options = { timeoutMs: limits.TLOG_ANSWER_MS, ...options };
    network.onDisconnect(({ peer }) => this.#forget(peer));
  }

  /** Errors: unreachable, no_route, busy (stream limits), timeout, cancelled, closed, too_large, malformed. */
  async ask(peer: string, request: TlogRequest, signal?: AbortSignal): Promise<TlogAnswer> {
    const frame = encodeTlogRequest(request);
    let asker = this.#streams.get(peer);
    if (asker === undefined) {
      asker = new PeerAsker(this.#network, this.#clock, peer, this.#name, this.#options);
      this.#streams.set(peer, asker);
    }
    const either = signal === undefined ? this.#stop.signal : AbortSignal.any([signal, this.#stop.signal]);
    return parseTlogAnswer(await asker.ask(frame, either));
  }

  close(): void {
    this.#stop.abort(new MeshError('cancelled', 'Cannot ask: this side is stopping'));
    for (const asker of this.#streams.values()) asker.close();
    this.#streams.clear();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #forget(peer: string): void {
    if (this.#network.connections().some((other) => other.peer === peer)) return;
    this.#streams.get(peer)?.close();
    this.#streams.delete(peer);
  }
}

class PeerAsker {
  readonly #network: Network;
  readonly #clock: Clock;
  readonly #peer: string;
  readonly #name: TlogProtocol;
  readonly #options: Required<TlogAskerOptions>;
  readonly #serial = new Serial();
  #stream: FrameStream | undefined;
  #idle: Timer | undefined;

  constructor(network: Network, clock: Clock, peer: string, name: TlogProtocol, options: Required<TlogAskerOptions>) {
    this.#network = network;
    this.#clock = clock;
    this.#peer = peer;
    this.#name = name;
    this.#options = options;
  }

  ask(frame: Uint8Array, signal: AbortSignal): Promise<Uint8Array> {
    return this.#serial.run(async () => {
      this.#idle?.cancel();
      const isReused = this.#stream !== undefined;
      try {
        return await this.#askOnce(frame, signal);
      } catch (error) {
        // The other side may have ended a stream that was idle; all requests may be asked twice.
        if (!isReused || !isMeshError(error) || error.code !== 'closed') throw error;
        return this.#askOnce(frame, signal);
      }
    });
  }

  async #askOnce(frame: Uint8Array, signal: AbortSignal): Promise<Uint8Array> {
    if (signal.aborted) throw new MeshError('cancelled', `Cannot ask ${this.#peer}: cancelled`);
    const { frameBytesMax, timeoutMs } = this.#options;
    this.#stream ??= await this.#network.openStream(this.#peer, this.#name, { frameBytesMax, signal });
    const stream = this.#stream;
    try {
      await stream.send(frame);
      const answer = await stream.receive({ timeoutMs, signal });
      if (answer === undefined) throw new MeshError('closed', `Cannot ask ${this.#peer}: it ended the stream`);
      // Sooner than the other side would end it: a question must not meet a stream that is being closed.
      this.#idle = this.#clock.after(limits.TLOG_IDLE_MS / 2, () => void this.#end(stream));
      return answer;
    } catch (error) {
      stream.abort('question failed'); // what is still under way on it would answer the wrong question
      this.#stream = undefined;
      throw error;
    }
  }

  close(): void {
    this.#idle?.cancel();
    this.#stream?.abort('closed');
    this.#stream = undefined;
  }

  async #end(stream: FrameStream): Promise<void> {
    if (this.#stream === stream) this.#stream = undefined;
    await stream.close();
  }
}
