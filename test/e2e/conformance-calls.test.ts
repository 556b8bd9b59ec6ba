/**
 * Servers of another organisation, as the official conformance suite and the clients of both SDKs see them: through
 * `agentmesh proxy --peer`, two daemons and the policies of both nothing is otherwise than directly.
 */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { StdioClientTransport as ModernStdio } from '@modelcontextprotocol/client/stdio';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type CallsWorld, createCallsWorld } from './calls-world.ts';
import { type ConformanceHttpServer, startConformanceServer } from './conformance-server.ts';
import { ONLY_OVER_HTTP, PASSED_MIN, passedAt } from './conformance-suite.ts';
import { connectLegacy, legacyTour, modernTour } from './conformance-tours.ts';
import { until } from './daemon-process.ts';
import { bareEnv, BIN, connect, EVERYTHING } from './proxy-client.ts';
import { tour } from './reference-tour.ts';

const LINES = [process.execPath, fileURLToPath(new URL('conformance-server.ts', import.meta.url)), 'stdio'];

let world: CallsWorld;
let upstream: ConformanceHttpServer;
beforeAll(async () => {
  [world, upstream] = await Promise.all([createCallsWorld(), startConformanceServer()]);
  await expose('http', { url: upstream.url });
  await expose('lines', { command: LINES, cwd: world.files });
  await expose('reference', { command: EVERYTHING, cwd: world.files });
}, 60_000);
afterAll(async () => {
  await world[Symbol.asyncDispose]();
  await upstream[Symbol.asyncDispose]();
});

/** At Acme, with a grant for Gamma's agent. */
async function expose(name: string, server: { command: string[]; cwd: string } | { url: string }): Promise<void> {
  const { acme, gamma } = world;
  await acme.mesh.exposed.add({ name, ...server, policy: 'permissive' });
  const capabilities = [{ can: `mcp:${name}/*` }];
  const { link } = await acme.mesh.delegations.create({ to: gamma.agent, capabilities, ttlSeconds: 3_600 });
  const isHeld = (): Promise<boolean> =>
    gamma.mesh.chains.show(link.id).then(
      () => true,
      () => false,
    );
  await until('the grant reaches Gamma', isHeld);
}

/** The command with which a client of Gamma's reaches a server of Acme's. */
const peerWords = (server: string): string[] => {
  const { acme, gamma } = world;
  const words = ['--peer', acme.agent, '--server', server, '--agent', 'reader', '--policy', 'permissive'];
  return [process.execPath, BIN, '--home', gamma.home, 'proxy', ...words];
};

interface Endpoint extends AsyncDisposable {
  readonly url: string;
}

async function listen(server: string): Promise<Endpoint> {
  const [command = '', ...args] = peerWords(server);
  const child = spawn(command, [...args, '--listen', '127.0.0.1:0'], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: bareEnv(world.gamma.home),
  });
  const exited = new Promise((resolve) => child.once('exit', resolve));
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
  const url = (): string | undefined => /Serving MCP at (\S+)/.exec(said)?.[1];
  await until('it listens', async () => url() !== undefined || child.exitCode !== null);
  return {
    url: url() ?? said,
    [Symbol.asyncDispose]: async () => {
      child.kill('SIGTERM');
      await exited;
    },
  };
}

test.each(['2025-11-25', '2026-07-28'] as const)(
  'no check of MCP %s that a server passes is lost between two organisations, be it behind HTTP or a program',
  { timeout: 180_000 },
  async (revision) => {
    await using relay = await listen('http');
    await using bridge = await listen('lines');
    const [direct = [], relayed, bridged] = await Promise.all(
      [upstream.url, relay.url, bridge.url].map((url) => passedAt(url, revision)),
    );
    expect(direct.length).toBeGreaterThanOrEqual(PASSED_MIN[revision]);
    // Links are lines, whatever the server at their end speaks.
    const inLines = direct.filter((check) => !ONLY_OVER_HTTP.includes(check));
    expect(relayed).toEqual(inLines);
    expect(bridged).toEqual(inLines);
  },
);

test('both daemons have receipts of what the suite called', async () => {
  for (const { mesh } of [world.acme, world.gamma]) {
    const { receipts } = await mesh.call('receiptList', { query: { limit: '100' } });
    for (const name of ['http', 'lines'])
      expect(receipts.filter(({ server, half }) => server === name && !half).length).toBeGreaterThan(10);
  }
});

test('the clients of both SDKs see the same server, in both eras', { timeout: 120_000 }, async () => {
  const env = bareEnv(world.gamma.home);
  const spawned = ([command = '', ...args]: readonly string[]): ConstructorParameters<typeof ModernStdio>[0] => ({
    command,
    args,
    env,
    stderr: 'ignore',
  });
  // A client of the SDKs drops steps that it reads together with the result, which is for chance to say: see below.
  const withoutSteps = (seen: object): object => ({ ...seen, progress: undefined });
  const legacy = async (words: readonly string[]): Promise<unknown> => {
    const connected = await connectLegacy(new StdioClientTransport(spawned(words)));
    const seen = await legacyTour(connected);
    await connected.client.close();
    return withoutSteps(seen);
  };
  const modern = async (words: readonly string[]): Promise<unknown> => {
    const { seen, client } = await modernTour(new ModernStdio(spawned(words)));
    await client.close();
    return withoutSteps(seen);
  };
  for (const view of [legacy, modern]) {
    const direct = await view(LINES);
    expect(await view(peerWords('lines'))).toEqual(direct);
    expect(await view(peerWords('http'))).toEqual(direct);
  }
});

test('every step of a call comes, in order and before its result', { timeout: 60_000 }, async () => {
  const calls = Array.from({ length: 10 }, (_, index) => index + 1);
  const [command = '', ...args] = peerWords('lines');
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'ignore'], env: bareEnv(world.gamma.home) });
  const exited = new Promise((resolve) => child.once('exit', resolve));
  let said = '';
  child.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()));
  for (const id of calls) {
    const _meta = {
      progressToken: id,
      'io.modelcontextprotocol/protocolVersion': '2026-07-28',
      'io.modelcontextprotocol/clientCapabilities': {},
      'io.modelcontextprotocol/clientInfo': { name: 'test', version: '1' },
    };
    const params = { name: 'test_tool_with_progress', arguments: {}, _meta };
    child.stdin.write(`${JSON.stringify({ jsonrpc: '2.0', id, method: 'tools/call', params })}\n`);
  }
  child.stdin.end(); // what was asked is still answered
  await exited;
  interface Line {
    readonly id?: number;
    readonly params?: { readonly progressToken: number; readonly progress: number };
  }
  const lines = said
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Line);
  for (const id of calls) {
    const own = lines.filter((line) => line.id === id || line.params?.progressToken === id);
    expect(own.map(({ params }) => params?.progress ?? 'result')).toEqual([0, 50, 100, 'result']);
  }
});

test('the reference server is the same at another organisation', { timeout: 60_000 }, async () => {
  const env = bareEnv(world.gamma.home);
  await using direct = await connect(EVERYTHING, env);
  await using through = await connect(peerWords('reference'), env);
  const [expected, found] = await Promise.all([tour(direct), tour(through)]);
  expect(found).toEqual(expected);
});
