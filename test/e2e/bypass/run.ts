/** Runs tricks against a target, directly or through the proxy, and says what came of each. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { Agent, type OutgoingHttpHeaders, request as httpRequest } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { createLineReader } from '../../../sdk/servers/lines.ts';
import type { Deed, PersonalityName } from '../bypass-server.ts';
import { BIN, bareEnv } from '../proxy-client.ts';
import { SECRET } from './secret.ts';
import { isForbidden, nextId, type Places, type Step, type Trick } from './trick.ts';

const SERVER = fileURLToPath(new URL('../bypass-server.ts', import.meta.url));
const WAIT_MS = 15_000; // two shared cores and other tests beside it
const QUESTION = /"method":\s*"\s*(?:sampling\/createMessage|elicitation\/create|roots\/list)\s*"/i;

export interface World extends Places {
  readonly directory: string;
}

/** `executed`: what is forbidden was done, seen or asked. */
export type Outcome = 'executed' | 'refused' | 'harmless';

export interface Target extends AsyncDisposable {
  /** What the client hears because of these, and what the server says that it did. */
  readonly play: (steps: readonly Step[]) => Promise<Played>;
  /** What the server says that it did since the last look; of use after its end too. */
  readonly deeds: () => readonly Deed[];
  readonly pid: number;
  /** From now on the server is like that: a personality, and a word that makes it begin anew. */
  readonly become: (like: string) => void;
  readonly said: () => string;
}
export interface Played {
  readonly deeds: readonly Deed[];
  readonly heard: readonly string[];
}

export interface TargetOptions {
  readonly world: World;
  readonly like: PersonalityName;
  /** Undefined: the server as it is. */
  readonly proxy?: readonly string[] | undefined;
  readonly env?: Readonly<Record<string, string>>;
  /** Whether each call has its answer before the next look: where a daemon decides, later ones may overtake it. */
  readonly isPatient?: boolean;
}

let logs = 0;
const newLog = (world: World): string => {
  const file = join(world.directory, `server-${++logs}.log`);
  writeFileSync(file, '');
  return file;
};
/** How the server is started, and how it is told to read as another one. */
function serverOf({ world, like }: TargetOptions, log: string): { command: string[]; become: Target['become'] } {
  const file = `${log}.like`;
  const become = (spec: string): void => {
    writeFileSync(`${file}.new`, spec);
    renameSync(`${file}.new`, file); // it never finds half a word
  };
  become(like);
  return { command: [process.execPath, SERVER, '--like', file, '--log', log, '--root', world.open], become };
}

/** Deeds since the last look. */
function watch(log: string): () => Deed[] {
  let seen = 0;
  return () => {
    const lines = readFileSync(log, 'utf8').split('\n').filter(Boolean);
    const fresh = lines.slice(seen).map((line) => JSON.parse(line) as Deed);
    seen = lines.length;
    return fresh;
  };
}

export async function openStdio(options: TargetOptions): Promise<Target> {
  const { world, proxy } = options;
  const log = newLog(world);
  const { command: server, become } = serverOf(options, log);
  const command = proxy === undefined ? server : [process.execPath, BIN, 'proxy', ...proxy, '--', ...server];
  const child = start(command, options);
  const deeds = watch(log);
  const waiting = new Map<string, () => void>();
  let heard: string[] = [];
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
  const reader = createLineReader({
    bytesMax: 64 * 1024 * 1024,
    onTooLong: () => undefined,
    onLine: (line) => {
      const text = Buffer.from(line).toString();
      const barrier = /"id":"(barrier-\d+)"/.exec(text)?.[1];
      if (barrier === undefined) heard.push(text);
      else waiting.get(barrier)?.();
    },
  });
  child.stdout.on('data', (chunk: Buffer) => reader.push(chunk));

  const barrier = async (): Promise<void> => {
    const id = `barrier-${nextId()}`;
    const passed = new Promise<void>((settle, fail) => {
      const late = setTimeout(() => fail(new Error(`no answer any more; stderr:\n${said}`)), WAIT_MS);
      waiting.set(id, () => {
        clearTimeout(late);
        settle();
      });
    });
    child.stdin.write(
      `${JSON.stringify({ jsonrpc: '2.0', id, method: 'tools/call', params: { name: 'mark', arguments: {} } })}\n`,
    );
    await passed;
  };
  await barrier();
  deeds();
  return {
    pid: child.pid ?? 0,
    said: () => said,
    deeds,
    become,
    play: async (steps) => {
      heard = [];
      for (const step of steps) await writeStep(child, step);
      child.stdin.write('\n');
      await barrier();
      await barrier(); // what is judged side by side may come after the first
      if (options.isPatient === true) await answered(steps, () => heard);
      return { deeds: deeds(), heard };
    },
    [Symbol.asyncDispose]: () => ended(child),
  };
}

async function answered(steps: readonly Step[], heard: () => readonly string[]): Promise<void> {
  const ids = steps.flatMap(
    (step) => /^\{"jsonrpc":"2.0","id":(\d+)/.exec(typeof step === 'string' ? step : '')?.[1] ?? [],
  );
  const open = (): string[] => ids.filter((id) => !heard().some((line) => line.includes(`"id":${id},`)));
  for (const endMs = performance.now() + WAIT_MS; open().length > 0; await sleep(5))
    if (performance.now() > endMs) throw new Error(`no answer to ${open().join(', ')}`);
}

async function writeStep(child: ChildProcessWithoutNullStreams, step: Step): Promise<void> {
  if (typeof step === 'string' || step instanceof Uint8Array) {
    child.stdin.write(step);
    child.stdin.write('\n');
    return;
  }
  for (const byte of step.bits) {
    child.stdin.write(Uint8Array.of(byte));
    await new Promise((settle) => setImmediate(settle));
  }
}

function start(
  [program = '', ...args]: readonly string[],
  { world, env }: TargetOptions,
): ChildProcessWithoutNullStreams {
  return spawn(program, args, { cwd: world.open, env: { ...bareEnv(world.directory), ...env }, stdio: 'pipe' });
}

function ended(child: ChildProcessWithoutNullStreams): Promise<void> {
  return new Promise((settle) => {
    if (child.exitCode !== null || child.signalCode !== null) return settle();
    child.once('exit', () => settle());
    child.stdin.end();
    setTimeout(() => child.kill('SIGKILL'), 5_000).unref();
  });
}

/** A child that says on a stream where it is. */
async function saying(child: ChildProcessWithoutNullStreams, pattern: RegExp): Promise<string> {
  let said = '';
  return new Promise((settle, fail) => {
    const late = setTimeout(() => fail(new Error(`it does not say ${String(pattern)}:\n${said}`)), WAIT_MS);
    const take = (chunk: Buffer): void => {
      said += chunk.toString();
      const found = pattern.exec(said)?.[1];
      if (found === undefined) return;
      clearTimeout(late);
      settle(found);
    };
    child.stdout.on('data', take);
    child.stderr.on('data', take);
  });
}

export interface HttpTarget extends Target {
  readonly port: number;
  /** One request with these bytes and headers; undefined: the connection ended without an answer. */
  readonly post: (
    body: Uint8Array | string,
    headers?: Readonly<Record<string, string | readonly string[]>>,
  ) => Promise<HttpAnswer>;
}
export interface HttpAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: string;
}

/** The server over HTTP, as it is or behind `--listen` with `--url`. */
export async function openHttp(options: TargetOptions): Promise<HttpTarget> {
  const { world, proxy } = options;
  const log = newLog(world);
  const { command: program, become } = serverOf(options, log);
  const server = start([...program, '--http'], options);
  const serverPort = await saying(server, /port (\d+)/);
  const children = [server];
  let port = Number(serverPort);
  if (proxy !== undefined) {
    const url = `http://127.0.0.1:${serverPort}/mcp`;
    const command = [process.execPath, BIN, 'proxy', ...proxy, '--listen', '127.0.0.1:0', '--url', url];
    const child = start(command, options);
    children.unshift(child);
    port = Number(await saying(child, /Serving MCP at http:\/\/127\.0\.0\.1:(\d+)/));
  }
  return httpTarget(children, { port, deeds: watch(log), become });
}

/** A server over stdio behind `--listen`. */
export async function openListening(
  options: TargetOptions & { readonly proxy: readonly string[] },
): Promise<HttpTarget> {
  const log = newLog(options.world);
  const { command: program, become } = serverOf(options, log);
  const command = [process.execPath, BIN, 'proxy', ...options.proxy, '--listen', '127.0.0.1:0', '--', ...program];
  const child = start(command, options);
  const port = Number(await saying(child, /Serving MCP at http:\/\/127\.0\.0\.1:(\d+)/));
  return httpTarget([child], { port, deeds: watch(log), become });
}

function httpTarget(
  children: readonly ChildProcessWithoutNullStreams[],
  { port, deeds, become }: Pick<HttpTarget, 'port' | 'deeds' | 'become'>,
): HttpTarget {
  const agent = new Agent({ keepAlive: true, maxSockets: 4 });
  const post: HttpTarget['post'] = (body, headers = {}) =>
    new Promise((settle) => {
      const asked = httpRequest(
        {
          agent,
          port,
          host: '127.0.0.1',
          method: 'POST',
          path: '/mcp',
          headers: {
            'content-type': 'application/json',
            accept: 'application/json, text/event-stream',
            'content-length': Buffer.byteLength(body),
            ...headers,
          } as OutgoingHttpHeaders,
          timeout: WAIT_MS,
        },
        (response) => {
          const chunks: Buffer[] = [];
          response.on('data', (chunk: Buffer) => chunks.push(chunk));
          response.once('close', () =>
            settle({
              status: response.statusCode ?? 0,
              headers: response.headers,
              body: Buffer.concat(chunks).toString(),
            }),
          );
        },
      );
      asked.once('error', (error) => settle({ status: 0, headers: {}, body: String(error) }));
      asked.once('timeout', () => asked.destroy(new Error('no answer')));
      asked.end(body);
    });
  return {
    pid: children[0]?.pid ?? 0,
    port,
    deeds,
    become,
    post,
    said: () => '',
    play: async (steps) => {
      const heard: string[] = [];
      for (const step of steps) {
        const body = typeof step === 'string' || step instanceof Uint8Array ? step : step.bits;
        const { body: answer } = await post(body);
        heard.push(
          ...answer
            .split('\n')
            .map((line) => line.replace(/^data: /, ''))
            .filter((line) => line.startsWith('{')),
        );
      }
      return { deeds: deeds(), heard };
    },
    async [Symbol.asyncDispose]() {
      agent.destroy();
      for (const child of children) {
        child.kill('SIGTERM');
        await ended(child);
      }
    },
  };
}

/** Every text that somebody who reads the answers could make of them. */
function revealed(heard: readonly string[]): string {
  const texts: string[] = [];
  const visit = (value: unknown): void => {
    if (typeof value === 'string') texts.push(value, Buffer.from(value, 'base64').toString());
    else if (Array.isArray(value)) value.forEach(visit);
    else if (typeof value === 'object' && value !== null) {
      for (const [name, item] of Object.entries(value)) {
        texts.push(name);
        visit(item);
      }
    }
  };
  const joined: string[] = [];
  for (const line of heard) {
    const message = JSON.parse(line) as { result?: { content?: { text?: string }[] } };
    visit(message);
    joined.push((message.result?.content ?? []).map(({ text = '' }) => text).join(''));
  }
  return [...texts, ...joined]
    .join('\n')
    .normalize('NFKC')
    .replaceAll(/[\p{Cf}]/gu, '');
}

export function outcomeOf({ aims = 'deed' }: Trick, { deeds, heard }: Played, places: Places): Outcome {
  const isExecuted =
    aims === 'deed'
      ? deeds.some((deed) => isForbidden(deed, places))
      : aims === 'leak'
        ? revealed(heard).includes(SECRET)
        : heard.some((line) => QUESTION.test(line));
  if (isExecuted) return 'executed';
  return heard.some((line) => /"error":|"isError":true/.test(line)) ? 'refused' : 'harmless';
}
