/** A daemon of Acme with one agent and its sponsor, and MCP clients behind proxies that ask it. */
import { readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, mkdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client as ModernClient } from '@modelcontextprotocol/client';
import { StdioClientTransport as ModernStdio } from '@modelcontextprotocol/client/stdio';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { ElicitRequestSchema } from '@modelcontextprotocol/sdk/types.js';
import type { AgentMesh } from '../../sdk/index.ts';
import { type DaemonProcess, startDaemonProcess, until } from './daemon-process.ts';
import { bareEnv, proxied } from './proxy-client.ts';

export const SPONSOR = 'alice@acme.example';
const DIARY_SERVER = join(import.meta.dirname, 'diary-server.ts');

export interface Approval {
  readonly id: string;
  readonly kind: string;
  readonly mayDecide: readonly string[];
}

/** What a tool's result says. */
export interface Answer {
  readonly isError: boolean;
  readonly text: string;
  readonly code: string | undefined;
}

/** An entry about something that the agent did. */
export interface LogLine {
  readonly index: number;
  /** Without "agentmesh." and version. */
  readonly type: string;
  readonly id: string;
  readonly data: {
    readonly action?: string;
    readonly tool?: string;
    readonly code?: string;
    readonly intent?: string;
    readonly result?: { readonly code: string };
  };
}

const SETTLED_MS = 1_000; // outcomes are written a moment after they are known

export interface OpenOptions {
  readonly flags?: readonly string[];
  readonly server?: readonly string[];
  /** What a person answers to questions; default: the client shows none. */
  readonly answer?: (message: string) => Promise<'accept' | 'decline'>;
}

export class AcmeWorld implements AsyncDisposable {
  readonly directory: string;
  readonly home: string;
  #daemon: DaemonProcess | undefined;
  #mesh: AgentMesh | undefined;
  agent = '';
  readonly #opened: (() => Promise<void>)[] = [];
  #diaries = 0;

  private constructor(directory: string) {
    this.directory = directory;
    this.home = join(directory, 'home');
  }

  static async make(policy: string): Promise<AcmeWorld> {
    const world = new AcmeWorld(await mkdtemp(join(tmpdir(), 'agentmesh-acme-')));
    await mkdir(world.home, { recursive: true, mode: 0o700 });
    writeFileSync(world.configured, 'version: "1.0"\nname: house\ndefault: allow\n');
    writeFileSync(join(world.home, 'agentmesh.yaml'), `policies: ["${world.configured}"]\n`);
    writeFileSync(world.policy, policy);
    await world.start();
    const made = await world.mesh.agents.create({ name: 'clerk', sponsor: SPONSOR, capabilities: [{ can: 'read:x' }] });
    world.agent = made.agent.did;
    return world;
  }

  get configured(): string {
    return join(this.directory, 'house.yaml');
  }
  get policy(): string {
    return join(this.directory, 'desk.yaml');
  }
  get mesh(): AgentMesh {
    if (this.#mesh === undefined) throw new Error('the daemon does not run');
    return this.#mesh;
  }
  get env(): Record<string, string> {
    const { XDG_RUNTIME_DIR: runtime, TMPDIR: temporary } = process.env; // where the daemon's socket is
    return {
      ...bareEnv(this.directory),
      ...(runtime !== undefined && { XDG_RUNTIME_DIR: runtime }),
      ...(temporary !== undefined && { TMPDIR: temporary }),
    };
  }

  async start(): Promise<void> {
    this.#daemon = await startDaemonProcess({ home: this.home, name: 'Acme', args: ['--log-level', 'error'] });
    this.#mesh = await this.#daemon.connect();
  }

  async end(signal: NodeJS.Signals): Promise<void> {
    await this.#daemon?.end(signal);
    this.#daemon = undefined;
  }

  /** A file of a name of its own, in which the diary server writes. */
  diary(): Diary {
    return new Diary(join(this.directory, `diary-${++this.#diaries}`));
  }

  /** The command line of a proxy under the policy of this world. */
  words({ flags = [], server = [] }: OpenOptions): string[] {
    return proxied(['--home', this.home, '--policy', this.policy, ...flags], server);
  }

  async open(options: OpenOptions): Promise<Talk> {
    const [command = '', ...args] = this.words(options);
    const transport = new StdioClientTransport({ command, args, env: this.env, stderr: 'pipe' });
    let said = '';
    transport.stderr?.on('data', (chunk: Buffer) => (said += chunk.toString()));
    const { answer } = options;
    const client = new Client(
      { name: 'test', version: '1' },
      { capabilities: answer === undefined ? {} : { elicitation: {} } },
    );
    if (answer !== undefined)
      client.setRequestHandler(ElicitRequestSchema, async ({ params }) => {
        const action = await answer(params.message);
        return action === 'accept' ? { action, content: {} } : { action };
      });
    await client.connect(transport);
    const talk = new Talk(client, () => said);
    this.#opened.push(() => talk.close());
    return talk;
  }

  /** A client of MCP 2026-07-28. */
  async openModern(options: OpenOptions): Promise<ModernClient> {
    const [command = '', ...args] = this.words(options);
    const { answer } = options;
    const client = new ModernClient(
      { name: 'test', version: '1' },
      {
        capabilities: answer === undefined ? {} : { elicitation: {} },
        versionNegotiation: { mode: { pin: '2026-07-28' } },
        inputRequired: { autoFulfill: true },
      },
    );
    if (answer !== undefined)
      client.setRequestHandler('elicitation/create', async ({ params }) => {
        const action = await answer(params.message);
        return action === 'accept' ? { action, content: {} } : { action };
      });
    await client.connect(new ModernStdio({ command, args, env: this.env, stderr: 'ignore' }));
    this.#opened.push(() => client.close());
    return client;
  }

  /** The only one that waits, once it does. */
  async waiting(): Promise<Approval> {
    let found: readonly Approval[] = [];
    await until('an approval waits', async () => (found = await this.mesh.approvals.list()).length > 0);
    const [one, other] = found;
    if (one === undefined || other !== undefined) throw new Error(`${found.length} approvals wait`);
    return one;
  }

  async decide({ id, mayDecide: [approver = ''] }: Approval, decision: 'approve' | 'deny'): Promise<void> {
    await this.mesh.approvals.decide(id, { decision, approver, reason: 'as it should be' });
  }

  /** What the log says that the agent did, from an index on. */
  async log(from = 0): Promise<LogLine[]> {
    const lines: LogLine[] = [];
    for await (const { index, entry } of this.mesh.log.entries({ actor: this.agent, order: 'oldest' })) {
      if (index < from) continue;
      const { type, id, data } = entry as { type: string; id: string; data: LogLine['data'] };
      lines.push({ index, id, type: type.replace(/^agentmesh\.(.*)\.v1$/, '$1'), data });
    }
    return lines;
  }

  /** What became of each call, in the order of the log: tool, and the code, or "allowed" and how it ended. */
  async calls(from: number): Promise<string[]> {
    for (const endMs = performance.now() + SETTLED_MS; ; await sleep(50)) {
      const lines = await this.log(from);
      const ends = new Map(lines.map(({ data: { intent, result } }) => [intent, result?.code]));
      const calls = lines.filter(({ type, data }) => type.startsWith('action.') && data.action === 'tool_call');
      const told = calls.map(({ type, id, data: { tool, code } }) =>
        type === 'action.refused' ? `${tool} ${code}` : `${tool} allowed ${ends.get(id) ?? 'unknown'}`,
      );
      if (performance.now() > endMs || !told.some((one) => one.endsWith('unknown'))) return told;
    }
  }

  async treeSize(): Promise<number> {
    return (await this.mesh.log.status()).treeSize;
  }

  async closeTalks(): Promise<void> {
    for (const close of this.#opened.splice(0).reverse()) await close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.closeTalks();
    await this.#daemon?.[Symbol.asyncDispose]();
    await rm(this.directory, { recursive: true, force: true });
  }
}

export class Diary {
  readonly file: string;

  constructor(file: string) {
    this.file = file;
    writeFileSync(file, '');
  }

  server(...flags: readonly string[]): string[] {
    return [process.execPath, DIARY_SERVER, '--diary', this.file, ...flags];
  }

  get lines(): string[] {
    return readFileSync(this.file, 'utf8').split('\n').filter(Boolean);
  }
}

export class Talk {
  readonly client: Client;
  /** On standard error. */
  readonly said: () => string;

  constructor(client: Client, said: () => string) {
    this.client = client;
    this.said = said;
  }

  async call(
    name: string,
    args: Record<string, unknown>,
    options: Parameters<Client['callTool']>[2] = {},
  ): Promise<Answer> {
    return answerOf(await this.client.callTool({ name, arguments: args }, undefined, options));
  }

  async tools(): Promise<string[]> {
    return (await this.client.listTools()).tools.map(({ name }) => name).sort();
  }

  close(): Promise<void> {
    return this.client.close();
  }
}

export function answerOf(result: Record<string, unknown>): Answer {
  const content = (result['content'] ?? []) as readonly { readonly text?: string }[];
  const meta = (result['_meta'] ?? {}) as Readonly<Record<string, { readonly code?: string }>>;
  return {
    isError: result['isError'] === true,
    text: content.map(({ text }) => text ?? '').join('\n'),
    code: meta['agentmesh/decision']?.code,
  };
}
