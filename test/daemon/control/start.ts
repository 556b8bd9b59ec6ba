/** A control server for a test, in a directory of its own, and requests to it by plain node:http. */
import { mkdtemp, rm } from 'node:fs/promises';
import { type IncomingHttpHeaders, type IncomingMessage, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ControlServer, type ControlServerOptions, createControlServer } from '../../../daemon/control/server.ts';
import type { ControlBackend, Problem } from '../../../protocol/control/index.ts';
import { FakeBackend } from './fake-backend.ts';
import { FakeLinks } from './fake-links.ts';

export interface Logged {
  readonly level: string;
  readonly facts: object;
  readonly message: string;
}

export interface Started extends AsyncDisposable {
  readonly fake: FakeBackend;
  readonly server: ControlServer;
  readonly socketPath: string;
  readonly logged: Logged[];
}

interface StartOptions extends Partial<ControlServerOptions> {
  readonly fake?: FakeBackend;
  readonly backend?: ControlBackend;
}

export async function startServer({
  fake = new FakeBackend(),
  backend = fake,
  ...options
}: StartOptions = {}): Promise<Started> {
  const directory = await mkdtemp(join(tmpdir(), 'agentmesh-control-'));
  const socketPath = join(directory, 'agentmeshd.sock');
  const logged: Logged[] = [];
  const at = (level: string) => (facts: object, message: string) => void logged.push({ level, facts, message });
  const server = await createControlServer(backend, {
    socketPath,
    log: { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') },
    tokens: fake.tokens,
    events: fake.events,
    links: new FakeLinks().open,
    ready: () => ({ ready: true, checks: [{ name: 'store', ok: true }] }),
    version: '0.1.0',
    strict: true,
    ...options,
  });
  return {
    fake,
    server,
    socketPath,
    logged,
    async [Symbol.asyncDispose]() {
      await server.close();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

export interface Asked {
  readonly method?: string;
  readonly token?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as JSON; a string or bytes as they are. */
  readonly body?: unknown;
}

export interface Answered {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  /** The body as JSON. */
  readonly json: Record<string, unknown>;
  /** `code` of a problem; undefined for an answer that is none. */
  readonly code: string | undefined;
}

type Where = { readonly socketPath: string } | { readonly host: string; readonly port: number };

export function ask(where: Where, path: string, { method, token, headers = {}, body }: Asked = {}): Promise<Answered> {
  const bytes =
    body === undefined || typeof body === 'string' || body instanceof Uint8Array ? body : JSON.stringify(body);
  return new Promise((settle, fail) => {
    const asked = request({
      ...where,
      path,
      method: method ?? (body === undefined ? 'GET' : 'POST'),
      agent: false,
      headers: {
        ...(bytes === undefined
          ? {}
          : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(bytes) }),
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        ...headers,
      },
    });
    asked.on('error', fail);
    asked.on('response', (response) => {
      textOf(response).then((text) => {
        const problem = response.headers['content-type'] === 'application/problem+json';
        const isJson = text !== '' && /json/.test(response.headers['content-type'] ?? '');
        const json = isJson ? (JSON.parse(text) as Record<string, unknown>) : {};
        settle({
          status: response.statusCode ?? 0,
          headers: response.headers,
          text,
          json,
          code: problem ? (json as Problem).code : undefined,
        });
      }, fail);
    });
    asked.end(bytes);
  });
}

async function textOf(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('utf8');
}

/** Polls for what happens on its own time. */
export async function until(isSo: () => boolean, timeoutMs = 5_000): Promise<void> {
  for (const end = Date.now() + timeoutMs; !isSo(); ) {
    if (Date.now() > end) throw new Error('It did not happen in time');
    await new Promise((settle) => setTimeout(settle, 5));
  }
}
