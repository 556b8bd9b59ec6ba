/**
 * `GET /v1/link`: a local client's conversation with a server that another organisation exposes, as lines of JSON on
 * the socket of the request, once that was upgraded (RFC 9110 section 7.8). Who is at the other end, and what may pass,
 * is the core's business; here are sockets, lines and whose turn it is to wait.
 */
import type { Duplex } from 'node:stream';
import { createLineReader, createLineWriter } from '../../sdk/servers/index.ts';
import { type ErrorCode, limits, MeshError } from '../../protocol/index.ts';
import { LINK_UPGRADE, type QueryOf } from '../../protocol/control/index.ts';
import { errorResponse, RPC_CODES } from '../../protocol/mcp/index.ts';
import type { CallerLink, LinkControl, LinkEvents, LinkWanted, OpenLink } from '../core/calls/caller-ports.ts';

export interface LinksOptions {
  /** Open at once; default API_LINKS_MAX. */
  readonly linksMax?: number;
  /** How often it is looked whether the client is there and its token counts; default API_LINK_CHECK_MS. */
  readonly checkMs?: number;
  /** That a client has to read the last lines; default API_STOP_MS. */
  readonly lastMs?: number;
  /** Unread bytes at which no more is taken from the other side; default API_LINK_BACKLOG_BYTES_MAX. */
  readonly backlogBytesMax?: number;
}

export interface LinkRequest {
  readonly wanted: LinkWanted;
  /** Of the request that is to be upgraded; what came after its head can be read from it. */
  readonly socket: Duplex;
  /** Whether the caller's token still counts. */
  readonly mayContinue: () => boolean;
  /** The request is answered by the head of 101 from here on. */
  readonly onOpened: () => void;
}

export class Links {
  readonly #openLink: OpenLink;
  readonly #options: Required<LinksOptions>;
  readonly #open = new Set<SocketLink>();
  #isClosing = false;

  constructor(openLink: OpenLink, options: LinksOptions = {}) {
    this.#openLink = openLink;
    this.#options = {
      linksMax: options.linksMax ?? limits.API_LINKS_MAX,
      checkMs: options.checkMs ?? limits.API_LINK_CHECK_MS,
      lastMs: options.lastMs ?? limits.API_STOP_MS,
      backlogBytesMax: options.backlogBytesMax ?? limits.API_LINK_BACKLOG_BYTES_MAX,
    };
  }

  /** Those that are being opened too. */
  get size(): number {
    return this.#open.size;
  }

  /** Resolves once the link is open; it ends by itself, with its socket, its token or `close`. Errors: busy, cancelled, those of `OpenLink`. */
  async start(request: LinkRequest): Promise<void> {
    const { linksMax } = this.#options;
    if (this.#isClosing) throw stopping();
    if (this.#open.size >= linksMax)
      throw new MeshError('busy', `Cannot open a link: ${this.#open.size} are open, want < ${linksMax}`);
    const link = new SocketLink(request, this.#options, () => this.#open.delete(link));
    this.#open.add(link);
    try {
      await link.open(this.#openLink);
    } catch (error) {
      this.#open.delete(link);
      throw this.#isClosing ? stopping() : error;
    }
  }

  /** Tells the clients, and waits until their sockets are closed. */
  async close(): Promise<void> {
    this.#isClosing = true;
    await Promise.all([...this.#open].map((link) => link.end('closed', 'Cannot go on: the daemon is stopping')));
  }
}

const SWITCHING = `HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: ${LINK_UPGRADE}\r\n\r\n`;

class SocketLink {
  readonly #request: LinkRequest;
  readonly #options: Required<LinksOptions>;
  readonly #opening = new AbortController();
  readonly #gone = Promise.withResolvers<void>();
  /** What is told before the client can read it. */
  #early: Uint8Array[] | undefined = [];
  readonly #toClient;
  readonly #fromClient;
  #link: CallerLink | undefined;
  #timer: NodeJS.Timeout | undefined;
  #isPaused = false;
  #isOver = false;

  constructor(request: LinkRequest, options: Required<LinksOptions>, onGone: () => void) {
    this.#request = request;
    this.#options = options;
    const { socket } = request;
    this.#toClient = createLineWriter(socket);
    this.#fromClient = createLineReader({
      bytesMax: limits.MCP_MESSAGE_BYTES_MAX,
      onLine: (line) => this.#link?.fromClient(line),
      onTooLong: () => this.#write(tooLong()),
    });
    socket.once('close', () => {
      this.#opening.abort(gone());
      clearInterval(this.#timer);
      void this.#link?.close();
      onGone();
      this.#gone.resolve();
    });
    socket.on('error', () => undefined); // a client that is gone; "close" follows
  }

  async open(openLink: OpenLink): Promise<void> {
    const { socket, wanted, onOpened } = this.#request;
    // A client that leaves meanwhile is noticed by reading alone. It has nothing to say before it is answered.
    const onReadable = (): void => {
      if (socket.readableLength === 0) socket.read();
    };
    const onEnd = (): void => this.#opening.abort(gone());
    socket.on('readable', onReadable).once('end', onEnd);
    const link = await openLink(wanted, this.#events(), this.#opening.signal);
    socket.off('readable', onReadable).off('end', onEnd);
    if (this.#opening.signal.aborted) {
      await link.close();
      throw gone();
    }
    this.#link = link;
    onOpened();
    this.#begin(link);
  }

  /** Errors: none. Resolves once the socket is closed. */
  end(code: ErrorCode, message: string): Promise<void> {
    if (this.#link === undefined) {
      // Whoever waits for it to open is told by the answer to its request.
      this.#opening.abort(new MeshError(code, message));
      this.#cutLater();
    } else this.#finish(code, message);
    return this.#gone.promise;
  }

  #begin(link: CallerLink): void {
    const { socket } = this.#request;
    socket.write(SWITCHING);
    const early = this.#early ?? [];
    this.#early = undefined;
    for (const line of early) this.#toClient.write(line);
    if (this.#isOver) return this.#sayGoodbye();
    link.onDrained(() => this.#regulate());
    socket.on('drain', () => this.#regulate());
    socket.on('data', (chunk: Buffer) => {
      if (this.#isOver || !this.#isStillAllowed()) return;
      this.#fromClient.push(chunk);
      this.#regulate();
    });
    socket.once('end', () => this.#clientEnded(link));
    this.#timer = setInterval(() => this.#check(), this.#options.checkMs).unref();
    this.#regulate();
  }

  #events(): LinkEvents {
    return {
      line: (bytes) => this.#write(bytes),
      control: (control) => this.#write(controlLine(control)),
      ended: (code, message) => this.#finish(code, message),
    };
  }

  #write(line: Uint8Array): void {
    if (this.#isOver) return;
    if (this.#early !== undefined) return void this.#early.push(line);
    if (!this.#isStillAllowed()) return;
    this.#toClient.write(line);
    this.#regulate();
  }

  /** Whoever does not read is not listened to, and neither is who makes us write to them: so nothing piles up here. */
  #regulate(): void {
    const { socket } = this.#request;
    const isUnread = this.#toClient.backlogBytes > this.#options.backlogBytesMax;
    if (isUnread !== this.#isPaused) this.#link?.setPaused(isUnread);
    this.#isPaused = isUnread;
    if (isUnread || this.#link?.isFull === true) socket.pause();
    else if (socket.isPaused()) socket.resume();
  }

  #clientEnded(link: CallerLink): void {
    this.#fromClient.end();
    const over = (): void => this.#finish('closed', 'Nothing more was asked');
    link.clientEnded().then(over, over);
  }

  #check(): void {
    if (!this.#isStillAllowed() || !this.#request.socket.readableEnded) return;
    // It says nothing more, and may be gone altogether, which writing alone shows. A reader passes over blank lines.
    this.#toClient.write(new Uint8Array());
  }

  #isStillAllowed(): boolean {
    if (this.#request.mayContinue()) return true;
    this.#finish('unauthorized', 'Cannot go on: the token counts no longer');
    return false;
  }

  /** The last line, once. */
  #finish(code: ErrorCode, message: string): void {
    if (this.#isOver) return;
    const line = controlLine({ type: 'ended', code, message });
    if (this.#early === undefined) this.#toClient.write(line);
    else this.#early.push(line);
    this.#isOver = true;
    if (this.#early === undefined) this.#sayGoodbye();
  }

  #sayGoodbye(): void {
    const { socket } = this.#request;
    clearInterval(this.#timer);
    void this.#link?.close();
    socket.resume(); // to see its end; what it says is for nobody
    socket.end();
    this.#cutLater();
  }

  #cutLater(): void {
    const { socket } = this.#request;
    const cut = setTimeout(() => socket.destroy(), this.#options.lastMs).unref();
    socket.once('close', () => clearTimeout(cut));
  }
}

/** What the query asks for. Errors: bad_request. */
export function linkWantedOf({ policies, minScore, wait, ...rest }: QueryOf<'link'>): LinkWanted {
  return {
    ...rest,
    ...(policies !== undefined && { policies: policies.split(',') }),
    ...(minScore !== undefined && { minScore: numberOf('minScore', minScore, limits.SCORE_MAX) }),
    ...(wait !== undefined && { approvalWaitMs: 1000 * numberOf('wait', wait, limits.LINK_WAIT_SECONDS_MAX) }),
  };
}

function numberOf(field: string, text: string, want: number): number {
  const is = Number(text);
  if (is <= want) return is;
  throw new MeshError('bad_request', `Cannot accept the query: "${field}" is ${is}, want <= ${want}`, {
    field,
    is,
    want,
  });
}

const controlLine = (control: LinkControl | { type: 'ended'; code: ErrorCode; message: string }): Uint8Array =>
  Buffer.from(JSON.stringify({ agentmesh: control }));

function tooLong(): Uint8Array {
  const text = `Cannot accept the message: it has more than ${limits.MCP_MESSAGE_BYTES_MAX} bytes`;
  return errorResponse(null, RPC_CODES.invalidRequest, text);
}

const gone = (): MeshError => new MeshError('cancelled', 'Cannot go on: the client is gone');
const stopping = (): MeshError => new MeshError('read_only', 'Cannot open a link: the daemon is stopping');
