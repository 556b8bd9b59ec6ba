/** What a daemon exposes: by its configuration and by command, told to who may know of it, and gone with the daemon. */
import { mkdir, mkdtemp, readFile, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readPolicySource } from '../../sdk/index.ts';
import { type CallsWorld, createCallsWorld } from './calls-world.ts';
import { agentmesh } from './cli-process.ts';
import { startDaemonProcess, until } from './daemon-process.ts';

const DIARY = join(import.meta.dirname, 'diary-server.ts');

let directory: string;
beforeAll(async () => {
  directory = await realpath(await mkdtemp(join(tmpdir(), 'agentmesh-expose-')));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

/** Writes its process id before it is the server. */
const diary = (name: string): string[] => [
  '/bin/sh',
  '-c',
  `echo $$ > ${join(directory, name)}.pid; exec "$0" "$@"`,
  process.execPath,
  DIARY,
  '--diary',
  join(directory, name),
];

async function isRunning(name: string): Promise<boolean> {
  const pid = (await readFile(join(directory, `${name}.pid`), 'utf8')).trim();
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => 'State:\tZ'); // no such process
  return !/^State:\s+Z/m.test(status);
}

test('agentmesh.yaml and the command line expose servers, each under its policy, over a restart', async () => {
  const home = join(directory, 'home');
  await mkdir(home, { mode: 0o700 });
  const yaml = { name: 'notes', command: diary('notes'), policy: 'notes.policy.yaml', description: 'Notes' };
  await writeFile(join(home, 'agentmesh.yaml'), `expose:\n  - ${JSON.stringify(yaml)}\n`, { mode: 0o600 });
  const policy = (effect: string): string => `version: "1.0"\nname: notes\ndefault: ${effect}\n`;
  await writeFile(join(home, 'notes.policy.yaml'), policy('allow'), { mode: 0o600 });
  /** Of the audit log, oldest first. */
  const written = async (): Promise<string[]> => {
    const { entries } = JSON.parse((await agentmesh(home, 'audit', '--limit', '200', '--format', 'json')).out);
    const rows = entries as { action: string; resource: string; outcome: string }[];
    const ours = rows.filter(({ action }) => action.startsWith('server.'));
    return ours.map(({ action, resource, outcome }) => `${action} ${resource} ${outcome}`).reverse();
  };
  const exposed = async () => JSON.parse((await agentmesh(home, 'expose', 'list', '--json')).out).exposed;
  {
    await using _daemon = await startDaemonProcess({ home, name: 'Acme' });
    const added = await agentmesh(home, 'expose', '--mcp', 'diary', '--policy', 'strict', '--', ...diary('diary'));
    expect(added.exit, added.err).toBe(0);
    expect(added.out).toMatch(/\nnote +mcp:diary\/note +Writes a note\nslow +mcp:diary\/slow /);
    expect(await isRunning('diary')).toBe(false);
    const before = (await exposed())[1].policy.digest;
    await writeFile(join(home, 'notes.policy.yaml'), policy('deny'));
    await until('the policy is read again', async () => (await exposed())[1].policy.digest !== before);
    expect((await agentmesh(home, 'status')).out).toMatch(/\nExposed +2 MCP servers\n/);
  }
  await using _again = await startDaemonProcess({ home, name: 'Acme' });
  expect(await exposed()).toMatchObject([
    { name: 'diary', origin: 'command', policy: { name: 'strict' } },
    { name: 'notes', origin: 'configuration', policy: { name: 'notes' }, cwd: home },
  ]);
  expect((await agentmesh(home, 'expose', 'check', 'notes')).out).toMatch(/Writes a note/);
  expect((await agentmesh(home, 'expose', 'remove', 'notes')).err).toMatch(/agentmesh.yaml has one of this name/);
  expect((await agentmesh(home, 'expose', 'remove', 'diary')).exit).toBe(0);
  expect(await written()).toEqual([
    'server.exposed notes ok',
    'server.exposed diary ok',
    'server.exposed notes ok',
    'server.withdrawn diary ok',
  ]);
}, 180_000);

test('a faulty entry of agentmesh.yaml keeps the daemon from starting, and is named', async () => {
  const home = join(directory, 'faulty');
  await mkdir(home, { mode: 0o700 });
  const lines = ['expose:', '  - name: a', '    command: [cat]', '    capability: read', ''];
  await writeFile(join(home, 'agentmesh.yaml'), lines.join('\n'), { mode: 0o600 });
  await expect(startDaemonProcess({ home, name: 'Acme' })).rejects.toThrow(/line 4.*expose\[0\]\.capability/);
}, 60_000);

test('another organisation is told what its grant covers; a server ends where its daemon is killed', async () => {
  await using world: CallsWorld = await createCallsWorld();
  const { acme, gamma } = world;
  await acme.mesh.exposed.add({ name: 'diary', command: diary('killed'), cwd: directory });
  const services = async (): Promise<string> => {
    const asked = await agentmesh(gamma.home, 'services', acme.agent);
    expect(asked.err).toBe('');
    return asked.out;
  };
  expect(await services()).toMatch(/^SERVER +ABOUT\nfiles +-\n$/);
  const capabilities = [{ can: 'mcp:diary/*' }];
  await acme.mesh.delegations.create({ to: gamma.agent, capabilities, ttlSeconds: 600 });
  await until('the grant is held', async () => /^diary /m.test(await services()));

  const policies = [await readPolicySource('permissive')];
  const client = await gamma.mesh.openClient({ did: acme.agent, server: 'diary', as: gamma.agent, policies });
  await until('the server runs', () => isRunning('killed'));
  expect((await acme.mesh.exposed.list()).find(({ name }) => name === 'diary')?.links).toBe(1);
  await acme.daemon.end('SIGKILL');
  await until('the server is gone', async () => !(await isRunning('killed')));
  await client.close();
}, 180_000);
