/** MCP servers as a client starts them: directly, or behind something, over stdio or HTTP. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { Agent, type IncomingMessage, request as requestHttp } from 'node:http';
import { createServer } from 'node:net';

const READY_MS = 20_000;
const END_MS = 3_000;
const PROTOCOL = '2025-11-25';

interface Answer {
  readonly id?: unknown;
  readonly result?: { readonly isError?: boolean; readonly content?: readonly { readonly text?: string }[] };
  readonly error?: unknown;
}

export interface SideOptions {
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Where it serves HTTP; undefined: over stdio. */
  readonly url?: string | undefined;
  /** File of the wrapped server on stdio, which is not what is measured. */
  readonly server?: string;
}

/** A started side; `initialize` has been answered. */
export class Side implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #options: SideOptions;
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  readonly #http = new Agent({ keepAlive: true, maxSockets: 64 });
  readonly #gone: Promise<void>;
  #headers: Record<string, string> = {};
  #said = '';
  #ids = 0;

  private constructor(options: SideOptions) {
    this.#options = options;
    const [program = '', ...args] = options.command;
    this.#child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'], env: options.env });
    this.#gone = new Promise((settle) => this.#child.once('close', () => settle()));
    this.#child.stdin?.on('error', () => undefined); // it ended, which whoever waits for an answer is told
    this.#child.stderr?.on('data', (chunk: Buffer) => (this.#said = (this.#said + chunk.toString()).slice(-2_000)));
    let rest = '';
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      if (options.url === undefined) for (const line of lines) if (line.startsWith('{')) this.#take(line);
    });
  }

  /** With the milliseconds until initialize was answered. */
  static async start(options: SideOptions): Promise<{ side: Side; initializeMs: number }> {
    const beganMs = performance.now();
    const side = new Side(options);
    try {
      const params = { protocolVersion: PROTOCOL, capabilities: {}, clientInfo: { name: 'bench', version: '1' } };
      await side.#inTime(side.#ask('initialize', params));
      const initializeMs = performance.now() - beganMs;
      await side.#inTime(side.#post({ jsonrpc: '2.0', method: 'notifications/initialized' }));
      return { side, initializeMs };
    } catch (error) {
      await side[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Milliseconds. */
  async echo(message: string): Promise<number> {
    const beganMs = performance.now();
    const { result, error } = await this.#ask('tools/call', { name: 'echo', arguments: { message } });
    const tookMs = performance.now() - beganMs;
    if (result?.isError !== true && result?.content?.[0]?.text?.includes(message) === true) return tookMs;
    throw new Error(`Cannot measure: echo answered ${JSON.stringify(result ?? error)}`);
  }

  /** Of what is started, without the server that it wraps. */
  get megabytes(): number {
    return this.#sum((pid) => Number(/VmRSS:\s+(\d+)/.exec(read(`/proc/${pid}/status`))?.[1] ?? 0) / 1024);
  }

  get cpuMs(): number {
    return this.#sum((pid) =>
      list(`/proc/${pid}/task`).reduce(
        (sum, task) => sum + Number(read(`/proc/${pid}/task/${task}/schedstat`).split(' ')[0]) / 1e6,
        0,
      ),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const left = treeOf(this.#child.pid);
    this.#http.destroy();
    this.#child.stdin?.end();
    if (this.#options.url !== undefined) this.#child.kill();
    const late = setTimeout(() => this.#child.kill('SIGKILL'), END_MS);
    await this.#gone;
    clearTimeout(late);
    for (const pid of left) {
      try {
        if (!isZombie(pid)) process.kill(pid, 'SIGKILL');
      } catch {
        // ended by itself, as it should
      }
    }
  }

  #sum(of: (pid: number) => number): number {
    if (!existsSync('/proc/self/status')) return Number.NaN; // not known without /proc
    const { server } = this.#options;
    const isServer = (pid: number): boolean => {
      const [, file, mode] = read(`/proc/${pid}/cmdline`).split('\0');
      return file === server && mode === 'stdio';
    };
    return treeOf(this.#child.pid)
      .filter((pid) => !isServer(pid))
      .reduce((sum, pid) => sum + of(pid), 0);
  }

  async #inTime<T>(work: Promise<T>): Promise<T> {
    let late: NodeJS.Timeout | undefined;
    const fail = new Promise<never>((_, reject) => {
      const tell = (): void => reject(new Error(`Cannot measure: no answer\n${this.#said}`));
      late = setTimeout(tell, READY_MS);
      void this.#gone.then(tell);
    });
    try {
      return await Promise.race([work, fail]);
    } finally {
      clearTimeout(late);
    }
  }

  async #ask(method: string, params: object): Promise<Answer> {
    const id = ++this.#ids;
    const answered = new Promise<Answer>((settle) => this.#waiting.set(id, settle));
    await this.#post({ jsonrpc: '2.0', id, method, params });
    return answered;
  }

  #take(text: string): void {
    const answer = JSON.parse(text) as Answer;
    const settle = this.#waiting.get(answer.id as number);
    this.#waiting.delete(answer.id as number);
    settle?.(answer);
  }

  async #post(message: object): Promise<void> {
    const text = JSON.stringify(message);
    if (this.#options.url === undefined) {
      this.#child.stdin?.write(`${text}\n`);
      return;
    }
    const response = await this.#sent(this.#options.url, text);
    const session = response.headers['mcp-session-id'];
    if (typeof session === 'string') this.#headers = { 'mcp-session-id': session, 'mcp-protocol-version': PROTOCOL };
    let body = '';
    for await (const chunk of response.setEncoding('utf8') as AsyncIterable<string>) body += chunk;
    if ((response.statusCode ?? 0) >= 300) throw new Error(`Cannot measure: HTTP ${response.statusCode} ${body}`);
    if (response.headers['content-type']?.startsWith('text/event-stream') === true) {
      for (const line of body.split('\n')) if (line.startsWith('data: {')) this.#take(line.slice(6));
    } else if (body.startsWith('{')) this.#take(body);
  }

  /** Until it listens. */
  async #sent(url: string, text: string): Promise<IncomingMessage> {
    for (;;) {
      try {
        return await new Promise<IncomingMessage>((settle, fail) => {
          const headers = {
            'content-type': 'application/json',
            accept: 'application/json, text/event-stream',
            'content-length': Buffer.byteLength(text),
            ...this.#headers,
          };
          requestHttp(url, { method: 'POST', agent: this.#http, headers }, settle).once('error', fail).end(text);
        });
      } catch (error) {
        const isListening = (error as NodeJS.ErrnoException).code !== 'ECONNREFUSED';
        if (isListening || this.#child.exitCode !== null || this.#child.signalCode !== null) throw error;
        await new Promise((settle) => setTimeout(settle, 3));
      }
    }
  }
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((settle) => server.listen(0, '127.0.0.1', settle));
  const { port } = server.address() as { port: number };
  await new Promise((settle) => server.close(settle));
  return port;
}

/** Empty for a process or thread that has just ended. */
function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
function list(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return []; // as of read
  }
}

const isZombie = (pid: number): boolean => /^State:\s+Z/m.test(read(`/proc/${pid}/status`));

/** The process with all that it started, and they. */
function treeOf(root: number | undefined): number[] {
  if (root === undefined) return [];
  const parents = list('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((name) => [Number(name), Number(/^PPid:\s+(\d+)/m.exec(read(`/proc/${name}/status`))?.[1] ?? 0)] as const);
  const found = [root];
  for (const pid of found) found.push(...parents.filter(([, parent]) => parent === pid).map(([child]) => child));
  return found;
}
