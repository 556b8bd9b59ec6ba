/** A small MCP client over a link: enough for programs that call tools themselves, without a model in between. */
import { type ErrorCode, type ErrorData, isErrorCode, MeshError } from '../protocol/errors.ts';
import { MCP_LIST_PAGES_MAX, MCP_TOOLS_MAX } from '../protocol/limits.ts';
import { META_DECISION } from '../protocol/mcp/index.ts';
import { cancelled } from './http.ts';
import { type Ended, type LinkOptions, openLink, type LinkReceipt, type ServerLink } from './link.ts';
import type { Place } from './place.ts';

export type JsonObject = Readonly<Record<string, unknown>>;

export interface McpClientOptions extends LinkOptions {
  /** Said to the server; default "agentmesh". */
  readonly name?: string | undefined;
  /** What the server may ask of this side, by method, such as "elicitation/create"; each gives the result. Default: nothing. */
  readonly handlers?: Readonly<Record<string, (params: JsonObject) => Promise<JsonObject>>> | undefined;
  readonly onNotification?: ((method: string, params: JsonObject) => void) | undefined;
}

export interface Progress {
  readonly progress: number;
  readonly total?: number | undefined;
  readonly message?: string | undefined;
}

export interface RequestOptions {
  readonly signal?: AbortSignal | undefined;
  /** After which it is cancelled; default: as long as the mesh allows a call. */
  readonly timeoutMs?: number | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  /** Two calls with one key are done once: 16 to 64 visible letters of ASCII. Default: each call is one of its own. */
  readonly key?: string | undefined;
}

/** What both sides signed about a call. */
export type CallReceipt = Pick<LinkReceipt, 'id' | 'out' | 'half'>;

export interface Answer {
  readonly result: JsonObject;
  /** Null: none was signed, as for what is no call. */
  readonly receipt: CallReceipt | null;
}

const PROTOCOL_VERSION = '2025-11-25';
const META_KEY = 'agentmesh/idempotency-key';
const RECEIPT_MS = 500; // that a receipt has to follow its result: they come in one turn
const RECEIPT_OF_REFUSAL_MS = 50; // what this side refused has none
const METHOD_NOT_FOUND = -32601;
const INTERNAL = -32603;

/** Errors: those of openLink, and of the server's answer to `initialize`. */
export async function openMcpClient(place: Place, options: McpClientOptions): Promise<McpClient> {
  const client = new McpClient(options);
  await client.open(place, options);
  return client;
}

interface Pending {
  readonly method: string;
  readonly options: RequestOptions;
  readonly settle: (answer: Answer) => void;
  readonly fail: (error: Error) => void;
  receipt: CallReceipt | null;
  /** It came, and its receipt has not. */
  answered: (() => void) | undefined;
}

export class McpClient implements AsyncDisposable {
  readonly #options: McpClientOptions;
  readonly #pending = new Map<number, Pending>();
  #link: ServerLink | undefined;
  #ids = 0;
  #ended: Ended | undefined;
  #server: JsonObject = {};

  constructor(options: McpClientOptions) {
    this.#options = options;
  }

  async open(place: Place, { name = 'agentmesh', handlers = {}, signal }: McpClientOptions): Promise<void> {
    const link = await openLink(place, this.#options, {
      message: (line) => this.#receive(line),
      receipt: ({ request, id, out, half }) => this.#receipt(request, { id, out, half }),
    });
    this.#link = link;
    void link.ended.then((ended) => this.#over(ended));
    try {
      const capabilities: Record<string, object> = {};
      for (const method of Object.keys(handlers)) capabilities[method.split('/')[0] ?? method] = {};
      const clientInfo = { name, version: '1' };
      const params = { protocolVersion: PROTOCOL_VERSION, capabilities, clientInfo };
      this.#server = (await this.request('initialize', params, { signal })).result;
      this.#say({ method: 'notifications/initialized' });
    } catch (error) {
      await link.close();
      throw error;
    }
  }

  get link(): ServerLink {
    if (this.#link === undefined) throw new MeshError('closed', 'Cannot ask: the link is not open');
    return this.#link;
  }

  /** Undefined while the link is open. */
  get ended(): Ended | undefined {
    return this.#ended;
  }

  /** The server's answer to `initialize`. */
  get server(): JsonObject {
    return this.#server;
  }

  callTool(name: string, args: JsonObject, options: RequestOptions = {}): Promise<Answer> {
    return this.request('tools/call', { name, arguments: args }, options);
  }

  /** Every page of them. Errors: too_large (it does not come to an end), those of request. */
  async listTools(options: RequestOptions = {}): Promise<readonly JsonObject[]> {
    const tools: JsonObject[] = [];
    let cursor: unknown;
    for (let page = 0; page < MCP_LIST_PAGES_MAX && tools.length <= MCP_TOOLS_MAX; page++) {
      const { result } = await this.request('tools/list', cursor === undefined ? {} : { cursor }, options);
      if (Array.isArray(result['tools'])) tools.push(...result['tools'].map(recordOf));
      if (result['nextCursor'] === undefined || result['nextCursor'] === cursor) return tools;
      cursor = result['nextCursor'];
    }
    throw new MeshError(
      'too_large',
      `Cannot list the tools: the server gave ${tools.length}, and says that it has more`,
    );
  }

  readResource(uri: string, options: RequestOptions = {}): Promise<Answer> {
    return this.request('resources/read', { uri }, options);
  }

  /**
   * Errors: the code with which the mesh refused it; outcome_unknown (it may have been done); failed (the server
   * answered with an error of JSON-RPC); timeout, cancelled. What a tool itself calls an error is no error here.
   */
  request(method: string, params: JsonObject, options: RequestOptions = {}): Promise<Answer> {
    const { signal, timeoutMs, onProgress, key } = options;
    if (this.#ended !== undefined) return Promise.reject(new MeshError(this.#ended.code, this.#ended.message));
    if (signal?.aborted === true) return Promise.reject(cancelled(signal));
    const id = ++this.#ids;
    const meta = { ...(onProgress && { progressToken: id }), ...(key !== undefined && { [META_KEY]: key }) };
    const hasMeta = Object.keys(meta).length > 0;
    return new Promise((settle, fail) => {
      const stop = (error: MeshError): void => {
        this.#say({ method: 'notifications/cancelled', params: { requestId: id, reason: error.message } });
        done(() => fail(error));
      };
      const onAbort = (): void => stop(cancelled(signal as AbortSignal));
      const late = (): void => stop(new MeshError('timeout', `Cannot wait longer for "${method}"`, keyOf(options)));
      const timer = timeoutMs === undefined ? undefined : setTimeout(late, timeoutMs);
      signal?.addEventListener('abort', onAbort);
      const done = (tell: () => void): void => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', onAbort);
        this.#pending.delete(id);
        if (this.#pending.size === 0) this.#link?.setReferenced(false);
        tell();
      };
      this.#pending.set(id, {
        method,
        options,
        settle: (answer) => done(() => settle(answer)),
        fail: (error) => done(() => fail(error)),
        receipt: null,
        answered: undefined,
      });
      this.link.setReferenced(true);
      this.#say({ id, method, params: hasMeta ? { ...params, _meta: meta } : params });
    });
  }

  /** What has no answer yet is cancelled by the daemon. */
  async close(): Promise<void> {
    await this.#link?.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #say(message: JsonObject): void {
    this.#link?.send(Buffer.from(JSON.stringify({ jsonrpc: '2.0', ...message })));
  }

  #receive(line: Uint8Array): void {
    const message = messageIn(line);
    if (message === undefined) return;
    const { id, method, params } = message;
    if (typeof method !== 'string') return this.#answer(id, message);
    if (id !== undefined) return void this.#serve(id, method, recordOf(params));
    if (method === 'notifications/progress') this.#progress(recordOf(params));
    this.#options.onNotification?.(method, recordOf(params));
  }

  #answer(id: unknown, { result, error }: JsonObject): void {
    const pending = typeof id === 'number' ? this.#pending.get(id) : undefined;
    if (pending === undefined) return;
    const refusal = error === undefined ? refusalIn(recordOf(result)) : errorOf(recordOf(error));
    const tell = (): void =>
      refusal === undefined
        ? pending.settle({ result: recordOf(result), receipt: pending.receipt })
        : pending.fail(withReceipt(refusal, pending.receipt));
    if (pending.method !== 'tools/call' || pending.receipt !== null) return tell();
    const timer = setTimeout(tell, refusal === undefined ? RECEIPT_MS : RECEIPT_OF_REFUSAL_MS);
    pending.answered = () => {
      clearTimeout(timer);
      tell();
    };
  }

  #receipt(request: unknown, receipt: CallReceipt): void {
    const pending = typeof request === 'number' ? this.#pending.get(request) : undefined;
    if (pending === undefined) return;
    pending.receipt = receipt;
    pending.answered?.();
  }

  #progress({ progressToken, progress, total, message }: JsonObject): void {
    const pending = typeof progressToken === 'number' ? this.#pending.get(progressToken) : undefined;
    if (typeof progress !== 'number') return;
    pending?.options.onProgress?.({
      progress,
      ...(typeof total === 'number' && { total }),
      ...(typeof message === 'string' && { message }),
    });
  }

  async #serve(id: unknown, method: string, params: JsonObject): Promise<void> {
    const { handlers = {} } = this.#options;
    const handler = Object.hasOwn(handlers, method) ? handlers[method] : undefined; // a server may ask for "toString"
    if (method === 'ping') return this.#say({ id, result: {} });
    if (handler === undefined)
      return this.#say({ id, error: { code: METHOD_NOT_FOUND, message: `This client does not support "${method}"` } });
    try {
      this.#say({ id, result: await handler(params) });
    } catch (error) {
      this.#say({ id, error: { code: INTERNAL, message: error instanceof Error ? error.message : String(error) } });
    }
  }

  /** Whatever was under way may have been done: the daemon answers what it knows before it says the last line. */
  #over(ended: Ended): void {
    this.#ended = ended;
    for (const { method, options, fail, answered } of this.#pending.values()) {
      if (answered !== undefined) answered();
      else if (method !== 'tools/call') fail(new MeshError(ended.code, ended.message));
      else {
        const message = `Cannot tell whether the call was done: ${ended.message}`;
        fail(new MeshError('outcome_unknown', message, { ...keyOf(options), reason: ended.code }));
      }
    }
  }
}

const keyOf = ({ key }: RequestOptions): ErrorData => (key === undefined ? {} : { key });

const recordOf = (value: unknown): JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : {};

function messageIn(line: Uint8Array): JsonObject | undefined {
  try {
    return recordOf(JSON.parse(Buffer.from(line).toString()));
  } catch {
    return undefined; // no message: the daemon passes on none that is not JSON
  }
}

/** How the mesh says of a tool's call that it did not pass; undefined for what a server answered. */
function refusalIn({ isError, content, _meta }: JsonObject): MeshError | undefined {
  const decision = recordOf(recordOf(_meta)[META_DECISION]);
  const { effect, code } = decision;
  if (isError !== true || effect === undefined || effect === 'allow' || !isErrorCode(code)) return undefined;
  return refusalOf(code, textOf(content), decision);
}

function refusalOf(code: ErrorCode, text: string, decision: JsonObject): MeshError {
  const { code: _, effect: __, id: entry, ...facts } = decision;
  const approval = recordOf(facts['approval'])['id'];
  // With an id it is for people of this organisation to approve: of others they cannot.
  const isOurs = typeof approval === 'string' && text.includes(`approvals approve ${approval}`);
  return new MeshError(code, text, {
    ...facts,
    ...(entry !== undefined && { entry }),
    ...(isOurs && { id: approval }),
  });
}

function errorOf({ code: rpcCode, message, data }: JsonObject): MeshError {
  const decision = recordOf(data);
  const { code } = decision;
  const text = String(message);
  if (isErrorCode(code)) return refusalOf(code, text, decision);
  return new MeshError('failed', `The server answered with an error: ${text}`, { is: rpcCode as number });
}

const withReceipt = (error: MeshError, receipt: CallReceipt | null): MeshError =>
  receipt === null ? error : new MeshError(error.code, error.message, { ...error.data, receipt: receipt.id });

/** What a model reads. */
export function textOf(content: unknown): string {
  const parts = Array.isArray(content) ? content.map(recordOf) : [];
  return parts.map(({ type, text }) => (type === 'text' ? String(text) : `[${String(type)}]`)).join('\n');
}
