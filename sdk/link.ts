/**
 * A link to a server that another organisation exposes, through the daemon, which decides and signs. Lean, as a proxy
 * is nothing else.
 */
import type { Socket } from 'node:net';
import type { LinkControl, LinkEnded, LinkOpened, LinkReceipt } from '../protocol/control/index.ts';
import { LINK_UPGRADE } from '../protocol/control/api-version.ts';
import { isErrorCode, MeshError } from '../protocol/errors.ts';
import * as limits from '../protocol/limits.ts';
import type { PolicySource } from '../protocol/policy/index.ts';
import { bringPolicies } from './gate/bring-policies.ts';
import { cancelled, parseAnswer, readText, send, upgrade } from './http.ts';
import type { Place } from './place.ts';
import { createLineReader, createLineWriter, type LineReader, type LineWriter } from './servers/lines.ts';

export type LinkInfo = Omit<LinkOpened, 'type'>;
export type { LinkReceipt };

export interface LinkOptions {
  /** The agent or organisation whose server it is. */
  readonly did: string;
  /** Under which name it is exposed there. */
  readonly server: string;
  /** Own agent that calls, where the operator asks; default the organisation. */
  readonly as?: string | undefined;
  /** An agent's; without one the caller is the operator. */
  readonly token?: string | undefined;
  /** Leaf of the chain to present; default: of those that are held, the one that covers most. */
  readonly grant?: string | undefined;
  /** They narrow what the daemon's own policies allow; without any of either nothing is allowed. */
  readonly policies?: readonly PolicySource[] | undefined;
  readonly purpose?: string | undefined;
  /** Asked of the other side, in this side's own view. */
  readonly minScore?: number | undefined;
  /** How long a call is held for an approval; default 45. */
  readonly approvalWaitSeconds?: number | undefined;
  /** Ends the link too. */
  readonly signal?: AbortSignal | undefined;
}

export interface LinkEvents {
  /** One JSON-RPC message of the other side. */
  readonly message: (line: Uint8Array) => void;
  /** What was signed about a call. */
  readonly receipt?: (receipt: Omit<LinkReceipt, 'type'>) => void;
  /** The daemon takes more again. */
  readonly drained?: () => void;
}

/** Why there is no more of a link. */
export type Ended = Omit<LinkEnded, 'type'>;

export interface ServerLink extends AsyncDisposable {
  readonly info: LinkInfo;
  /** One JSON-RPC message on one line. */
  send(message: Uint8Array): void;
  /** The daemon does not take more as fast as it comes. */
  readonly isFull: boolean;
  readonly backlogBytes: number;
  /** Whether to read what it sends. */
  setPaused(isPaused: boolean): void;
  /** Nothing more is sent: the link ends once all is answered. */
  sendEnd(): void;
  /** Whether it keeps the process from ending; it does by default. */
  setReferenced(isReferenced: boolean): void;
  /** `closed` where this side ended it. Never rejects; what the daemon said last was told before. */
  readonly ended: Promise<Ended>;
  close(): Promise<void>;
}

const CLOSE_MS = 2_000; // for the daemon's last line

/**
 * Errors: caps_insufficient (nothing was granted that covers the server), policy_denied, unreachable and others of a
 * handshake; policy_invalid; not_running and others of a connection.
 */
export async function openLink(place: Place, options: LinkOptions, events: LinkEvents): Promise<ServerLink> {
  const { signal } = options;
  const path = await pathOf(place, options);
  const asked = { method: 'GET', path, token: options.token, signal, idleMs: limits.API_CALL_MS, to: LINK_UPGRADE };
  const { socket, head } = await upgrade(place, asked);
  const link = new SocketLink(socket, events);
  const stop = (): void => void socket.destroy(signal && cancelled(signal));
  signal?.addEventListener('abort', stop);
  void link.ended.then(() => signal?.removeEventListener('abort', stop));
  await link.begin(head, options);
  return link;
}

async function pathOf(place: Place, options: LinkOptions): Promise<string> {
  const { did, server, as, grant, purpose, minScore, approvalWaitSeconds, token, signal } = options;
  const post = async (path: string, body: object): Promise<unknown> => {
    const asked = { method: 'POST', path, token, signal, idleMs: limits.API_CALL_MS };
    const answer = await send(place, { ...asked, body: { ...body, ...(as !== undefined && { as }) } });
    return parseAnswer(await readText(answer, signal));
  };
  const brought = await bringPolicies(post, options.policies ?? []);
  const query = new URLSearchParams({ did, server });
  const given = {
    as,
    grant,
    purpose,
    minScore,
    policies: brought.length === 0 ? undefined : brought.map(({ digest }) => digest).join(','),
    wait: approvalWaitSeconds,
  };
  for (const [name, value] of Object.entries(given)) if (value !== undefined) query.set(name, String(value));
  return `/v1/link?${query}`;
}

class SocketLink implements ServerLink {
  readonly #socket: Socket;
  readonly #events: LinkEvents;
  readonly #writer: LineWriter;
  readonly #reader: LineReader;
  readonly #opened = Promise.withResolvers<LinkInfo>();
  readonly #ended = Promise.withResolvers<Ended>();
  #info: LinkInfo | undefined;
  #last: Ended | undefined;
  #isClosing = false;

  constructor(socket: Socket, events: LinkEvents) {
    this.#socket = socket;
    this.#events = events;
    this.#writer = createLineWriter(socket);
    this.#reader = createLineReader({
      bytesMax: limits.MCP_MESSAGE_BYTES_MAX,
      onLine: (line) => this.#line(line),
      onTooLong: () => this.#fail('too_large', 'the daemon sent a line that is too long'),
    });
    socket.on('error', (error) => this.#fail('closed', error.message));
    socket.on('drain', () => this.#events.drained?.());
    socket.once('close', () => this.#over());
    this.#opened.promise.catch(() => undefined); // `begin` waits for it, and throws
  }

  get info(): LinkInfo {
    if (this.#info === undefined) throw new MeshError('closed', 'Cannot tell about the link: it is not open');
    return this.#info;
  }

  get ended(): Promise<Ended> {
    return this.#ended.promise;
  }

  get isFull(): boolean {
    return this.#socket.writableNeedDrain;
  }

  get backlogBytes(): number {
    return this.#writer.backlogBytes;
  }

  /** Resolves once the daemon has said who is there. Errors: internal, closed. */
  async begin(head: Buffer, { did, server }: LinkOptions): Promise<void> {
    this.#reader.push(head);
    this.#socket.on('data', (chunk: Buffer) => this.#reader.push(chunk));
    const info = await this.#opened.promise;
    if (info.did === did && info.server === server) return;
    await this.close();
    throw new MeshError('internal', `Cannot use the link: the daemon opened one to "${info.server}" of "${info.did}"`);
  }

  send(message: Uint8Array): void {
    this.#writer.write(message);
  }

  setPaused(isPaused: boolean): void {
    if (isPaused) this.#socket.pause();
    else if (this.#socket.isPaused()) this.#socket.resume();
  }

  sendEnd(): void {
    this.#isClosing = true;
    this.#socket.end();
  }

  setReferenced(isReferenced: boolean): void {
    if (isReferenced) this.#socket.ref();
    else this.#socket.unref();
  }

  async close(): Promise<void> {
    this.sendEnd();
    this.#socket.resume();
    const cut = setTimeout(() => this.#socket.destroy(), CLOSE_MS);
    await this.ended;
    clearTimeout(cut);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #line(line: Uint8Array): void {
    if (this.#last !== undefined) return;
    const control = controlOf(line);
    if (control === undefined) return this.#info === undefined ? this.#unreadable() : this.#events.message(line);
    if (control.type === 'receipt') return this.#events.receipt?.(control);
    if (control.type === 'opened') {
      const { type: _, ...info } = control;
      this.#info = info;
      return this.#opened.resolve(info);
    }
    if (control.type !== 'ended') return; // of a later version
    const { code, message } = control;
    this.#last = { code: isErrorCode(code) ? code : 'internal', message };
    this.#socket.end();
  }

  #unreadable(): void {
    this.#fail('internal', 'it is not what this version understands');
  }

  #fail(code: Ended['code'], why: string): void {
    this.#last ??= { code, message: `Cannot read the daemon's answer: ${why}` };
    this.#socket.destroy();
  }

  #over(): void {
    this.#last ??= this.#isClosing
      ? { code: 'closed', message: 'This side closed it' }
      : { code: 'closed', message: 'Cannot go on: the daemon closed the connection' };
    const { code, message } = this.#last;
    this.#opened.reject(new MeshError(code, message));
    this.#ended.resolve(this.#last);
  }
}

const CONTROL = Buffer.from('{"agentmesh":');

/** What the daemon says itself. A message of MCP has more members than that one. */
function controlOf(line: Uint8Array): LinkControl | undefined {
  if (!CONTROL.equals(line.subarray(0, CONTROL.length))) return undefined;
  try {
    const value = JSON.parse(Buffer.from(line).toString()) as Readonly<Record<string, unknown>>;
    const { agentmesh: control } = value;
    const isOne = Object.keys(value).length === 1 && typeof control === 'object' && control !== null;
    return isOne ? (control as LinkControl) : undefined;
  } catch {
    return undefined; // then it is a message that the client will refuse
  }
}
