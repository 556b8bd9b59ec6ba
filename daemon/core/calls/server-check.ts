/** Whether a server can be used at all: it is started or reached once, says what tools it has, and is ended again. */
import { limits, MeshError } from '../../../protocol/index.ts';
import {
  isRefusal,
  type Message,
  META_CLIENT_CAPABILITIES,
  META_CLIENT_INFO,
  META_PROTOCOL_VERSION,
  parseMessage,
  RPC_CODES,
  visibleText,
} from '../../../protocol/mcp/index.ts';
import type { Clock, ExposedServer, McpServerEnd, McpServers } from '../../ports.ts';
import { deadline } from '../deadline.ts';

export interface ServerCheckComponents {
  readonly servers: McpServers;
  readonly clock: Clock;
}

export interface ServerCheckOptions {
  /** Default EXPOSED_CHECK_MS. */
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface FoundTool {
  readonly name: string;
  readonly description: string | null;
}

const CLIENT = { name: 'agentmesh', version: '1' };
const STATEFUL = '2025-11-25';
const STATELESS = '2026-07-28';
const PAGES_MAX = 64; // of a list of tools
const DESCRIPTION_SHOWN_MAX = 256; // letters, for a table

/** Errors: failed (it cannot be started, or does not answer as a server of MCP), timeout, cancelled, too_large. */
export async function checkServer(
  { servers, clock }: ServerCheckComponents,
  server: ExposedServer,
  { timeoutMs = limits.EXPOSED_CHECK_MS, signal }: ServerCheckOptions = {},
): Promise<readonly FoundTool[]> {
  const over = new AbortController();
  const client = new Client(servers, server, AbortSignal.any([deadline(clock, timeoutMs, signal), over.signal]));
  try {
    return await client.tools();
  } finally {
    over.abort(new MeshError('closed', 'Cannot go on: it is over')); // the timer, too
    await client.end();
  }
}

interface Waiting {
  readonly settle: (message: Message) => void;
  readonly fail: (error: MeshError) => void;
}

type Json = Readonly<Record<string, unknown>>;
const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

class Client {
  readonly #end: McpServerEnd;
  readonly #waiting = new Map<number, Waiting>();
  #failure: MeshError | undefined;
  #printed: string | undefined;
  #requests = 0;
  #hasTools = true;

  constructor(servers: McpServers, server: ExposedServer, signal: AbortSignal) {
    signal.addEventListener('abort', () => this.#fail(signal.reason as MeshError), { once: true });
    this.#end = servers.open(server, {
      message: (message) => this.#take(message),
      failed: (_id, { message }) => this.#fail(failed(message)),
      lost: ({ message }) => this.#fail(failed(message)),
      drained: () => undefined,
      printed: (line) => (this.#printed = line),
      ended: (how) => this.#fail(this.#endedEarly(how)),
    });
  }

  async tools(): Promise<readonly FoundTool[]> {
    const meta = await this.#greet();
    const found = new Map<string, FoundTool>();
    let cursor: string | undefined;
    for (let page = 0; page < PAGES_MAX; page++) {
      const result = await this.#ask('tools/list', { ...meta, ...(cursor !== undefined && { cursor }) });
      for (const tool of toolsIn(result)) found.set(tool.name, tool);
      if (found.size > limits.MCP_TOOLS_MAX)
        throw new MeshError('too_large', `Cannot use the server: it has more than ${limits.MCP_TOOLS_MAX} tools`, {
          want: limits.MCP_TOOLS_MAX,
        });
      const { nextCursor } = result;
      if (typeof nextCursor !== 'string' || nextCursor === '') break;
      cursor = nextCursor;
    }
    return [...found.values()];
  }

  end(): Promise<void> {
    return this.#end.end();
  }

  /** What every further request says. A server of the stateless era alone knows no `initialize`. */
  async #greet(): Promise<Json> {
    const answer = await this.#request('initialize', {
      protocolVersion: STATEFUL,
      capabilities: {},
      clientInfo: CLIENT,
    });
    if (answer.kind === 'result') {
      this.#send({ method: 'notifications/initialized' });
      const { capabilities } = isObject(answer.result) ? answer.result : {};
      if (isObject(capabilities) && capabilities['tools'] === undefined) this.#hasTools = false;
      return {};
    }
    const meta = {
      [META_PROTOCOL_VERSION]: STATELESS,
      [META_CLIENT_INFO]: CLIENT,
      [META_CLIENT_CAPABILITIES]: {},
    };
    return { _meta: meta };
  }

  /** Errors: failed, and whatever ended the conversation. */
  async #ask(method: string, params: Json): Promise<Json> {
    if (!this.#hasTools) return {};
    const answer = await this.#request(method, params);
    if (answer.kind === 'result' && isObject(answer.result)) return answer.result;
    const said = answer.kind === 'error' && isObject(answer.error) ? answer.error['message'] : undefined;
    throw failed(`it answered "${method}" with an error${typeof said === 'string' ? `: "${visibleText(said)}"` : ''}`);
  }

  #request(method: string, params: Json): Promise<Message> {
    const id = ++this.#requests;
    return new Promise((settle, fail) => {
      if (this.#failure !== undefined) return fail(this.#failure);
      this.#waiting.set(id, { settle, fail });
      this.#send({ id, method, params });
    });
  }

  #send(message: Json): void {
    const bytes = new TextEncoder().encode(JSON.stringify({ jsonrpc: '2.0', ...message }));
    const parsed = parseMessage(bytes, 'client');
    if (parsed !== undefined && this.#failure === undefined) this.#end.send(parsed);
  }

  #take(message: Uint8Array | Message): void {
    if (this.#failure !== undefined) return;
    const parsed = message instanceof Uint8Array ? this.#parsed(message) : message;
    if (parsed === undefined || parsed.kind === 'notification') return;
    if (parsed.kind === 'request') return this.#answer(parsed.id, parsed.method);
    const waiting = typeof parsed.id === 'number' ? this.#waiting.get(parsed.id) : undefined;
    if (waiting === undefined) return;
    this.#waiting.delete(parsed.id as number);
    waiting.settle(parsed);
  }

  /** It may ask whether somebody is there; it has nothing else to ask. */
  #answer(id: string | number, method: string): void {
    const rest =
      method === 'ping'
        ? { result: {} }
        : { error: { code: RPC_CODES.methodNotFound, message: 'this client answers nothing' } };
    const bytes = new TextEncoder().encode(JSON.stringify({ jsonrpc: '2.0', id, ...rest }));
    const answer = parseMessage(bytes, 'client');
    if (answer !== undefined) this.#end.send(answer);
  }

  #parsed(bytes: Uint8Array): Message | undefined {
    try {
      return parseMessage(bytes, 'server');
    } catch (error) {
      if (!isRefusal(error)) throw error;
      this.#fail(failed(error.message));
      return undefined;
    }
  }

  #fail(error: MeshError): void {
    this.#failure ??= error;
    for (const { fail } of this.#waiting.values()) fail(this.#failure);
    this.#waiting.clear();
  }

  #endedEarly(how: string): MeshError {
    const said = this.#printed === undefined ? '' : `, having printed "${this.#printed}"`;
    return failed(`it ended: ${how}${said}`);
  }
}

const failed = (why: string): MeshError =>
  new MeshError('failed', `Cannot use the server: ${why}`, {
    next: 'run the command by itself in that directory, as the user of the daemon',
  });

/** Errors: failed. */
function toolsIn({ tools = [] }: Json): FoundTool[] {
  if (!Array.isArray(tools)) throw failed('its list of tools is no list');
  return tools.map((tool: unknown) => {
    const { name, description } = isObject(tool) ? tool : {};
    if (typeof name !== 'string' || name === '') throw failed('one of its tools has no name');
    const text = typeof description === 'string' ? visibleText(description).slice(0, DESCRIPTION_SHOWN_MAX) : null;
    return { name, description: text?.toWellFormed() ?? null };
  });
}
