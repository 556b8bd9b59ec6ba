import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { TrustBridge } from '../../sdk/index.ts';
import { type CallsWorld, createCallsWorld, NOTE, type Side } from './calls-world.ts';
import { agentmesh, type Ended } from './cli-process.ts';
import { until } from './daemon-process.ts';
import { bareEnv, BIN, connect, type Connected } from './proxy-client.ts';

let world: CallsWorld;
beforeAll(async () => {
  world = await createCallsWorld();
}, 60_000);
afterAll(() => world[Symbol.asyncDispose]());

const file = (name: string): string => join(world.files, name);
const peerFlags = (...flags: readonly string[]): string[] => {
  const { acme, gamma } = world;
  return ['--home', gamma.home, 'proxy', '--peer', acme.agent, '--server', 'files', '--agent', 'reader', ...flags];
};
const proxy = (...flags: readonly string[]): Promise<Connected> =>
  connect([process.execPath, BIN, ...peerFlags(...flags)], bareEnv(world.gamma.home));
const call = (tool: string, args: object, ...words: readonly string[]): Promise<Ended> => {
  const flags = ['--as', 'reader', '--args', JSON.stringify(args), ...words];
  return agentmesh(world.gamma.home, 'call', world.acme.agent, 'files', tool, ...flags);
};
const textOf = (result: unknown): string => (result as { content: { text: string }[] }).content[0]?.text ?? '';
const hasNoLinks = async ({ mesh }: Side): Promise<boolean> =>
  (await mesh.sessions.list()).every(({ servers }) => servers.length === 0);

describe('agentmesh proxy --peer, under the official MCP client', () => {
  test('lists, reads and writes what the other organisation exposes, and says on stderr with whom', async () => {
    await using connected = await proxy('--policy', 'permissive');
    const { client, said } = connected;
    expect(client.getServerVersion()?.name).toContain('filesystem');
    const { tools } = await client.listTools();
    expect(tools.map(({ name }) => name)).toEqual(expect.arrayContaining(['read_text_file', 'write_file']));
    const read = await client.callTool({ name: 'read_text_file', arguments: { path: file('notes.txt') } });
    expect(textOf(read)).toBe(NOTE);
    await client.callTool({ name: 'write_file', arguments: { path: file('by-proxy.txt'), content: 'x' } });
    expect(await readFile(file('by-proxy.txt'), 'utf8')).toBe('x');
    const outside = await client.callTool({ name: 'read_text_file', arguments: { path: '/etc/hostname' } });
    expect(outside.isError).toBe(true);
    expect(said()).toContain(`Linked to "files" of ${world.acme.agent}, organisation ${world.acme.daemon.did}`);
    expect(said()).not.toContain('receipt');
  });

  test('is under the policy that its flags name, which the daemon enforces', async () => {
    const policy = join(world.gamma.home, 'read-only.yaml');
    const rule = 'rules:\n  - name: no-writes\n    condition: tool.name == "write_file"\n    action: deny\n';
    await writeFile(policy, `version: "1.0"\nname: read-only\ndefault: allow\n${rule}`);
    await using connected = await proxy('--policy', policy);
    const { client } = connected;
    expect((await client.listTools()).tools.map(({ name }) => name)).not.toContain('write_file');
    const denied = await client.callTool({ name: 'write_file', arguments: { path: file('no.txt'), content: 'x' } });
    expect(denied.isError).toBe(true);
    expect(textOf(denied)).toContain('"no-writes"');
    expect(existsSync(file('no.txt'))).toBe(false);
  });

  test('answers what was asked before its input ended', async () => {
    const child = spawn(process.execPath, [BIN, ...peerFlags('--policy', 'permissive')], {
      stdio: ['pipe', 'pipe', 'ignore'],
      env: bareEnv(world.gamma.home),
    });
    let said = '';
    child.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()));
    const params = { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'a pipe', version: '1' } };
    child.stdin.end(`${JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'initialize', params })}\n`);
    expect(await new Promise((resolve) => child.once('exit', resolve))).toBe(0);
    expect(JSON.parse(said)).toMatchObject({ id: 1, result: { protocolVersion: '2025-11-25' } });
  });

  test('leaves no link at the other side when it is killed', async () => {
    const child: ChildProcess = spawn(process.execPath, [BIN, ...peerFlags('--policy', 'permissive')], {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: bareEnv(world.gamma.home),
    });
    const exited = new Promise((resolve) => child.once('exit', resolve));
    try {
      for (const side of [world.gamma, world.acme]) await until('it is linked', async () => !(await hasNoLinks(side)));
    } finally {
      child.kill('SIGKILL');
      await exited;
    }
    for (const side of [world.gamma, world.acme]) await until('the link is over', () => hasNoLinks(side));
  });

  test('says why there is no link, with the exit code of the reason', async () => {
    const words = ['proxy', '--peer', world.acme.agent, '--agent', 'reader', '--server'];
    const unknown = await agentmesh(world.gamma.home, ...words, 'nothing');
    expect([unknown.exit, unknown.out]).toEqual([4, '']);
    expect(unknown.err).toContain('no server "nothing" is exposed');
    const other = await agentmesh(world.gamma.home, ...words, 'files', '--grant', 'x');
    expect([other.exit, other.err]).toEqual([2, expect.stringContaining('"grant"')]);
  });
});

describe('agentmesh call', () => {
  test('prints the answer, and keeps the receipt that both sides signed', async () => {
    const receipt = join(world.gamma.home, 'read.receipt');
    const { exit, out, err } = await call('read_text_file', { path: file('notes.txt') }, '--receipt', receipt);
    expect(err).toContain(receipt);
    expect([exit, out]).toEqual([0, `${NOTE}\n`]);
    expect(JSON.parse(await readFile(receipt, 'utf8'))).toMatchObject({ agentmesh: 'receipt/v1' });
  });

  test('tells by its exit code a tool that failed from a call that was refused', async () => {
    const broken = await call('read_text_file', { path: file('missing.txt') }, '--json');
    expect([broken.exit, JSON.parse(broken.out)]).toMatchObject([1, { isError: true, receipt: { out: 'error' } }]);
    const strict = await call('write_file', { path: file('no.txt'), content: 'x' }, '--policy', 'strict', '--json');
    expect(strict.exit).not.toBe(0);
    expect(strict.err).toMatch(/"code":"(policy_denied|approval_pending)"/);
    const words = ['call', world.acme.agent, 'files', 'list_allowed_directories'];
    expect(await agentmesh(world.gamma.home, ...words)).toMatchObject({ exit: 0 }); // as the only agent
    const stranger = await agentmesh(world.gamma.home, ...words, '--as', world.gamma.daemon.did);
    expect([stranger.exit, stranger.err]).toEqual([3, expect.stringContaining('caps_insufficient')]);
    expect(existsSync(file('no.txt'))).toBe(false);
  });
});

describe('TrustBridge.call()', () => {
  test('calls at once what is asked at once, each with a receipt that both daemons keep', async () => {
    const { acme, gamma } = world;
    await using bridge = new TrustBridge({ mesh: gamma.mesh, as: gamma.agent });
    await mkdir(file('many'));
    const names = Array.from({ length: 20 }, (_, index) => `many/${index}.txt`);
    const results = await Promise.all(
      names.map((name) => bridge.call(acme.agent, 'files', 'write_file', { path: file(name), content: name })),
    );
    expect(results.map(({ isError }) => isError)).toEqual(names.map(() => false));
    for (const name of names) expect(await readFile(file(name), 'utf8')).toBe(name);
    const ids = results.map(({ receipt }) => receipt?.id);
    expect(new Set(ids).size).toBe(names.length);
    for (const { mesh } of [acme, gamma]) {
      await until('the receipts are kept', async () => {
        const { receipts } = await mesh.call('receiptList', { query: { limit: '100' } });
        const kept = new Set(receipts.map(({ id }) => id));
        return ids.every((id) => id !== undefined && kept.has(id));
      });
    }
  });

  test('does what was asked under one key once', async () => {
    const { acme, gamma } = world;
    await using bridge = new TrustBridge({ mesh: gamma.mesh, as: gamma.agent });
    await writeFile(file('from.txt'), 'x');
    const move = (key?: string) =>
      bridge.call(acme.agent, 'files', 'move_file', { source: file('from.txt'), destination: file('to.txt') }, { key });
    const first = await move('order-2026-0042-a');
    const again = await move('order-2026-0042-a');
    expect([first.isError, again.isError]).toEqual([false, false]);
    expect(again.content).toEqual(first.content);
    expect((await move()).isError).toBe(true);
  });

  test('carries what is larger than a frame both ways', async () => {
    const { acme, gamma } = world;
    await using bridge = new TrustBridge({ mesh: gamma.mesh, as: gamma.agent });
    const content = 'all that there is\n'.repeat(50_000);
    await bridge.call(acme.agent, 'files', 'write_file', { path: file('large.txt'), content });
    const read = await bridge.call(acme.agent, 'files', 'read_text_file', { path: file('large.txt') });
    expect(textOf(read.result) === content).toBe(true);
  });
});

// Last: afterwards Gamma's agent has no grant.
test('ends at once, with its reason, when the grant is revoked', async () => {
  const { acme, gamma, grant } = world;
  const child = spawn(process.execPath, [BIN, ...peerFlags('--policy', 'permissive')], {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: bareEnv(gamma.home),
  });
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
  const exited = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)));
  try {
    await until('it is linked', async () => said.includes('Linked to'));
    await using bridge = new TrustBridge({ mesh: gamma.mesh, as: gamma.agent });
    expect((await bridge.call(acme.agent, 'files', 'list_allowed_directories')).isError).toBe(false);
    await acme.mesh.revocations.create({ target: { link: grant }, reason: 'the quarter is over' });
    expect(await Promise.race([exited, sleep(10_000)])).toBe(3);
    expect(said).toContain('The link ended (revoked)');
    await expect(bridge.call(acme.agent, 'files', 'list_allowed_directories')).rejects.toMatchObject({
      code: 'caps_insufficient',
    });
    for (const side of [gamma, acme]) await until('nothing is left', () => hasNoLinks(side));
  } finally {
    child.kill('SIGKILL');
  }
});
