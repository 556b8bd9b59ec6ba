/** `agentmesh proxy` as people run it: a process between the SDK's client and real servers. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { BIN, bareEnv, connect, EVERYTHING, FILESYSTEM, proxied } from './proxy-client.ts';
import { tour } from './reference-tour.ts';

let directory: string;
let env: Record<string, string>;
let open: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'agentmesh-proxy-'));
  env = bareEnv(directory);
  open = policy('open', 'version: "1.0"\ndefault: allow\n');
});
afterAll(() => rmSync(directory, { recursive: true }));

function policy(name: string, text: string): string {
  const file = join(directory, `${name}.yaml`);
  writeFileSync(file, text);
  return file;
}

test('the reference server is the same behind the proxy as without it', async () => {
  await using direct = await connect(EVERYTHING, env);
  await using through = await connect(proxied(['--policy', open], EVERYTHING), env);
  const [expected, found] = await Promise.all([tour(direct), tour(through)]);
  expect(found).toEqual(expected);
  expect(JSON.stringify(found).length).toBeGreaterThan(10_000);
});

const textOf = async (client: Client, name: string, args: Record<string, unknown>): Promise<string> => {
  const { content } = await client.callTool({ name, arguments: args });
  return JSON.stringify(content);
};

test('"strict" lets a directory be read, and nothing be written or reached around it', async () => {
  const root = mkdtempSync(join(directory, 'root-'));
  writeFileSync(join(root, 'a.txt'), 'hello');
  await using through = await connect(proxied([], [...FILESYSTEM, root]), env);
  const { client } = through;
  const { tools } = await client.listTools();
  expect(tools.map(({ name }) => name)).toContain('read_text_file');
  expect(tools.map(({ name }) => name)).not.toContain('write_file');
  expect(await textOf(client, 'read_text_file', { path: join(root, 'a.txt') })).toMatch(/hello/);
  expect(await textOf(client, 'write_file', { path: join(root, 'b.txt'), content: 'x' })).toMatch(
    /AgentMesh did not let this through/,
  );
  expect(await textOf(client, 'read_text_file', { path: '/etc/passwd' })).not.toMatch(/root:/);
  expect(through.said()).toMatch(/Without a daemon/);
  expect(through.said()).toMatch(/no approvals/);
});

test('a rule about one tool holds for it alone, and decisions are noted where the caller says', async () => {
  const log = join(directory, 'decisions.jsonl');
  const file = policy(
    'no-echo',
    'version: "1.0"\ndefault: allow\nrules:\n  - name: no-echo\n    condition: "tool.name == \'echo\'"\n    action: deny\n',
  );
  await using through = await connect(proxied(['--policy', file, '--log', log], EVERYTHING), env);
  const { client } = through;
  const { tools } = await client.listTools();
  expect(tools.map(({ name }) => name)).not.toContain('echo');
  expect(await textOf(client, 'echo', { message: 'hi' })).toMatch(/rule \\"no-echo\\"/i);
  expect(await textOf(client, 'get-sum', { a: 1, b: 2 })).toMatch(/3/);
  await client.close();
  const lines = readFileSync(log, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as object);
  expect(lines.length).toBeGreaterThan(2);
});

// Processes

/** A server that notes its pid, and ends only when it is killed. */
const STUBBORN = `
  const { writeFileSync } = require('node:fs');
  const { spawn } = require('node:child_process');
  for (const name of ['SIGTERM', 'SIGINT', 'SIGHUP']) process.on(name, () => {});
  const inner = spawn('/bin/sh', ['-c', "trap '' TERM INT HUP; while :; do sleep 1; done"], { stdio: 'ignore' });
  writeFileSync(process.argv[1], JSON.stringify([process.pid, inner.pid]));
  setInterval(() => {}, 1000);
`;

function start(server: readonly string[], flags: readonly string[] = ['--policy', open]): ChildProcess {
  return spawn(process.execPath, [BIN, 'proxy', ...flags, '--', ...server], { env, stdio: 'pipe' });
}

const exitOf = (child: ChildProcess): Promise<number | string> =>
  new Promise((settle) => child.once('exit', (code, signal) => settle(code ?? signal ?? '')));

const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8')); // nobody reaps orphans in a container
  } catch {
    return false; // no such process
  }
};

async function until<T>(find: () => T | undefined, waitMs: number): Promise<T> {
  for (const endMs = performance.now() + waitMs; ; await sleep(20)) {
    const found = find();
    if (found !== undefined) return found;
    if (performance.now() > endMs) throw new Error(`not within ${waitMs} ms`);
  }
}

const pidsIn = (file: string): number[] | undefined => {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as number[];
  } catch {
    return undefined; // not written yet
  }
};
const allGone = (pids: readonly number[]) => (): true | undefined => (pids.some(isAlive) ? undefined : true);

test.each([
  ['its client closes standard input', (child: ChildProcess) => void child.stdin?.end()],
  ['it is told to end', (child: ChildProcess) => void child.kill('SIGTERM')],
  ['it is killed', (child: ChildProcess) => void child.kill('SIGKILL')],
])('nothing of the server is left when %s', async (_, end) => {
  const file = join(mkdtempSync(join(directory, 'pids-')), 'pids');
  const child = start([process.execPath, '-e', STUBBORN, file]);
  const pids = await until(() => pidsIn(file), 10_000);
  expect(pids.every(isAlive)).toBe(true);
  end(child);
  await until(allGone(pids), 12_000);
});

test("the exit code is the server's own, and what waits is answered", async () => {
  const server = `process.stdin.once('data', () => setTimeout(() => process.exit(7), 100))`;
  const child = start([process.execPath, '-e', server]);
  let out = '';
  child.stdout?.on('data', (chunk: Buffer) => (out += chunk.toString()));
  child.stdin?.write('{"jsonrpc":"2.0","id":1,"method":"ping"}\n{"jsonrpc":"2.0","id":2,"method":"ping"}\n');
  expect(await exitOf(child)).toBe(7);
  const answers = out
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { id: number; error: { message: string } });
  expect(answers.map(({ id }) => id)).toEqual([1, 2]);
  expect(answers[0]?.error.message).toMatch(/exit code 7/);
});

test('a program that is not there is said, with the exit code of shells', async () => {
  const child = start(['/nonexistent/server']);
  let said = '';
  child.stderr?.on('data', (chunk: Buffer) => (said += chunk.toString()));
  expect(await exitOf(child)).toBe(127);
  expect(said).toMatch(/no such command/);
});

test('what the server prints beside messages is for people, and what clients send in bits is put together', async () => {
  const server = `
    console.log('Listening… ready');
    process.stdin.setEncoding('utf8');
    process.stdin.on('data', (text) => { for (const line of text.split('\\n').filter(Boolean)) {
      const { id, params } = JSON.parse(line);
      console.log(JSON.stringify({ jsonrpc: '2.0', id, result: params }));
    } });
    process.stdin.on('end', () => process.exit(0));
  `;
  const child = start([process.execPath, '-e', server]);
  let out = '';
  let said = '';
  child.stdout?.on('data', (chunk: Buffer) => (out += chunk.toString()));
  child.stderr?.on('data', (chunk: Buffer) => (said += chunk.toString()));
  const message = Buffer.from('{"jsonrpc":"2.0","id":1,"method":"ping","params":{"text":"grüße 🚀"}}\n');
  for (const byte of message) {
    child.stdin?.write(Buffer.of(byte));
    await sleep(1);
  }
  await until(() => (out.includes('\n') ? true : undefined), 10_000);
  child.stdin?.end();
  expect(await exitOf(child)).toBe(0);
  expect(JSON.parse(out)).toEqual({ jsonrpc: '2.0', id: 1, result: { text: 'grüße 🚀' } });
  expect(said).toMatch(/Listening… ready/);
});

test('the server does not see our secrets, and sees all else', async () => {
  const server = `process.stdin.once('data', () => { console.log(JSON.stringify({ jsonrpc: '2.0', id: 1, result: process.env })); })`;
  const child = spawn(
    process.execPath,
    [BIN, 'proxy', '--policy', open, '--no-daemon', '--', process.execPath, '-e', server],
    {
      env: { ...env, AGENTMESH_AGENT_TOKEN: 'secret-token', AGENTMESH_PASSPHRASE: 'secret-words', OTHER: 'stays' },
      stdio: 'pipe',
    },
  );
  let out = '';
  child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()));
  child.stdin.write('{"jsonrpc":"2.0","id":1,"method":"ping"}\n');
  await until(() => (out.includes('\n') ? true : undefined), 10_000);
  expect(out).toMatch(/"OTHER":"stays"/);
  expect(out).not.toMatch(/secret/);
  child.stdin.end();
  await exitOf(child);
});

test('a policy that cannot be read ends everything, and says where it is wrong', async () => {
  const file = policy('wrong', 'version: "1.0"\nrules:\n  - name: x\n    acton: deny\n');
  const child = start(EVERYTHING, ['--policy', file]);
  let said = '';
  child.stderr?.on('data', (chunk: Buffer) => (said += chunk.toString()));
  expect(await exitOf(child)).toBe(3);
  expect(said).toMatch(/policy_invalid/);
  expect(said).toMatch(/acton/);
});
