import { chmod, mkdir, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  agentsFinding,
  approvalsFinding,
  exposedFinding,
  clockFinding,
  logFinding,
  nodeFinding,
  organisationFinding,
  peersFinding,
  policiesFinding,
  reachFinding,
} from '../../cli/doctor.ts';
import type { Finding } from '../../cli/views/doctor.ts';
import { createOrganisation, NOW_MS } from '../builders.ts';
import { FakeBackend } from '../daemon/control/fake-backend.ts';
import { startServer } from '../daemon/control/start.ts';
import { createHome, createHomeWithDaemon, type Home, type Ran } from './start.ts';

const { did } = createOrganisation('acme');
const at = (seconds: number): string => new Date(NOW_MS + seconds * 1000).toISOString();
const checksIn = ({ json }: Ran): Finding[] => json['checks'] as Finding[];
const outcomes = (ran: Ran): Record<string, string> =>
  Object.fromEntries(checksIn(ran).map(({ name, outcome }) => [name, outcome]));
const command = (...args: string[]): string => args.join(' ');

/** As a daemon leaves it when it stops in order. */
async function setUp(home: Home): Promise<void> {
  for (const folder of ['keys', 'recovery', 'db']) await mkdir(join(home.path, folder), { mode: 0o700 });
  await writeFile(join(home.path, 'agentmesh.yaml'), '', { mode: 0o600 });
  await writeFile(join(home.path, 'keys', 'organisation.key'), '', { mode: 0o600 });
}

describe('with a daemon', () => {
  test('all of it is looked at, and each line has its outcome in words', async () => {
    await using home = await createHomeWithDaemon();
    await setUp(home);
    const ran = await home.run(['doctor', '--json']);
    expect([ran.exit, ran.json['ok']]).toEqual([0, true]);
    expect(outcomes(ran)).toEqual({
      node: 'ok',
      home: 'ok',
      settings: 'ok',
      socket: 'ok',
      daemon: 'ok',
      readiness: 'ok',
      organisation: 'ok',
      keys: 'warn',
      reach: 'warn',
      peers: 'ok',
      clock: 'ok',
      agents: 'ok',
      log: 'warn',
      policies: 'warn',
      approvals: 'ok',
      exposed: 'ok',
    });
    const { out } = await home.run(['doctor']);
    expect(out).toMatch(/^OK {4}node {10}Node \d/);
    expect(out).toMatch(/\nWARN {2}keys +not encrypted.*\n +next: start agentmeshd once with --passphrase-file FILE\n/);
    expect(out).toMatch(/\n\nNothing is broken, 4 to look at\.\n$/);
  });

  test('of another version, or not ready, or with peers of the future, is told', async () => {
    await using home = await createHome();
    await setUp(home);
    const fake = new FakeBackend();
    await using _started = await startServer({
      fake,
      socketPath: join(home.path, 'agentmeshd.sock'),
      version: '0.0.9',
      ready: () => ({ ready: false, checks: [{ name: 'store', ok: false, detail: 'it is full' }] }),
    });
    const ran = await home.run(['doctor', '--json']);
    expect([ran.exit, ran.json['ok']]).toEqual([1, false]);
    expect(outcomes(ran)).toMatchObject({ daemon: 'warn', readiness: 'fail', agents: 'warn' });
  });
});

describe('without a daemon', () => {
  test('an empty home is broken, with what to do first', async () => {
    await using home = await createHome();
    await rm(home.path, { recursive: true });
    const ran = await home.run(['doctor', '--json']);
    expect(ran.exit).toBe(1);
    expect(outcomes(ran)).toMatchObject({ node: 'ok', home: 'fail', daemon: 'fail', peers: 'skip', agents: 'skip' });
    expect(checksIn(ran).find(({ name }) => name === 'home')?.next).toContain('agentmesh --home');
  });

  test('the rest is looked at all the same', async () => {
    await using home = await createHome();
    await setUp(home);
    const ran = await home.run(['doctor', '--json']);
    expect(ran.exit).toBe(1);
    expect(outcomes(ran)).toMatchObject({ home: 'ok', settings: 'ok', socket: 'warn', daemon: 'fail', keys: 'warn' });
    await rm(join(home.path, 'keys', 'organisation.key'));
    await writeFile(join(home.path, 'keys', 'organisation.sealed'), '');
    expect(outcomes(await home.run(['doctor', '--json']))).toMatchObject({ keys: 'ok' });
  });

  test('whatever others may read or change is named with its chmod', async () => {
    await using home = await createHome();
    await setUp(home);
    await chmod(join(home.path, 'keys'), 0o755);
    await chmod(join(home.path, 'agentmesh.yaml'), 0o666);
    const { out, exit } = await home.run(['doctor']);
    expect(exit).toBe(1);
    expect(out).toMatch(/\nFAIL {2}home +Cannot trust ".*\/keys": its mode is 0755/);
    expect(out).toMatch(/\n +next: chmod 700 '.*\/keys'/);
    expect(out).toMatch(/\nFAIL {2}home +Cannot trust ".*\/agentmesh\.yaml": its mode is 0666/);
    expect(out).toMatch(/\n\d of \d+ checks failed/);
  });

  test('a socket that a killed daemon left is told from one that somebody put there', async () => {
    await using home = await createHome();
    await setUp(home);
    const socket = join(home.path, 'agentmeshd.sock');
    await writeFile(socket, '', { mode: 0o600 });
    expect(outcomes(await home.run(['doctor', '--json']))).toMatchObject({ socket: 'fail' });
    await rm(socket);
    const server = createServer();
    await new Promise<void>((settle) => server.listen(socket, settle));
    await chmod(socket, 0o666);
    server.on('connection', (connection) => connection.destroy());
    expect(outcomes(await home.run(['doctor', '--json']))).toMatchObject({ socket: 'fail', daemon: 'fail' });
    await chmod(socket, 0o600);
    expect(outcomes(await home.run(['doctor', '--json']))).toMatchObject({ socket: 'warn' });
    await new Promise((settle) => server.close(settle));
  });
});

describe('each finding', () => {
  test('of Node', () => {
    expect(['24.21.0', '22.18.0', '23.0.0'].map((version) => nodeFinding(version).outcome)).toEqual(['ok', 'ok', 'ok']);
    expect(['22.17.9', '20.20.2'].map((version) => nodeFinding(version).outcome)).toEqual(['fail', 'fail']);
  });

  test('of the organisation', () => {
    const of = (status: 'active' | 'frozen' | 'deactivated'): Finding =>
      organisationFinding({ organisation: { did, name: null, status } });
    expect([of('active'), of('frozen'), of('deactivated')].map(({ outcome }) => outcome)).toEqual([
      'ok',
      'fail',
      'fail',
    ]);
    expect(of('frozen').next).toContain('did recover');
  });

  test('of who can reach it', () => {
    const of = (listening: 'none' | 'loopback' | 'private' | 'public'): string =>
      reachFinding({ listening, addresses: ['/ip4/1.2.3.4/tcp/1'] }).outcome;
    expect([of('none'), of('loopback'), of('private'), of('public')]).toEqual(['warn', 'warn', 'ok', 'ok']);
  });

  test('of peers', () => {
    const peer = { bound: true, lastHeartbeatAgeSeconds: 12 };
    expect(peersFinding([], command)).toMatchObject({ outcome: 'warn', next: 'connect to one: peers add MULTIADDR' });
    expect(peersFinding([peer], command)).toMatchObject({ outcome: 'ok' });
    expect(peersFinding([{ ...peer, bound: false }], command)).toMatchObject({ outcome: 'warn' });
    expect(peersFinding([{ ...peer, lastHeartbeatAgeSeconds: null }], command)).toMatchObject({ outcome: 'warn' });
    expect(peersFinding([{ ...peer, lastHeartbeatAgeSeconds: 301 }, peer], command)).toMatchObject({ outcome: 'ok' });
  });

  test('of the clock: heartbeats from the future', () => {
    const peer = (seconds: number | null) => ({ did, lastHeartbeatAt: seconds === null ? null : at(seconds) });
    expect(clockFinding([peer(null)], NOW_MS)).toMatchObject({ outcome: 'skip' });
    expect(clockFinding([peer(-30), peer(2)], NOW_MS)).toMatchObject({ outcome: 'ok' });
    expect(clockFinding([peer(30), peer(40)], NOW_MS).detail).toContain(
      "up to 40 s ahead of this machine: this machine's clock is behind",
    );
    expect(clockFinding([peer(30), peer(-10)], NOW_MS).detail).toContain('a clock is wrong, here or there');
  });

  test('of agents', () => {
    const agent = {
      name: 'a',
      status: 'active',
      keyHeldBy: 'daemon',
      credential: { id: 'x', expiresAt: at(100) },
    } as const;
    expect(agentsFinding([], NOW_MS, command)).toMatchObject({ outcome: 'warn' });
    expect(agentsFinding([agent], NOW_MS, command)).toMatchObject({ outcome: 'ok' });
    expect(agentsFinding([agent, { ...agent, name: 'b', status: 'unregistered' }], NOW_MS, command)).toMatchObject({
      outcome: 'warn',
      next: 'publish: register b',
    });
    for (const credential of [null, { id: 'x', expiresAt: at(-1) }]) {
      expect(agentsFinding([{ ...agent, credential }], NOW_MS, command)).toMatchObject({
        outcome: 'warn',
        detail: 'without a credential: a',
      });
    }
    expect(agentsFinding([{ ...agent, credential: null, keyHeldBy: 'agent' }], NOW_MS, command).next).toContain(
      'start the program',
    );
  });

  test('of the audit log', () => {
    const log = {
      origin: 'agentmesh/v1/log/z6Mk/0',
      treeSize: 2,
      headAt: null,
      releasedSize: 2,
      cosigners: 1,
      quorumMet: true,
      watched: true,
      problem: null,
    };
    const of = (change: Partial<typeof log>): Finding => logFinding({ log: { ...log, ...change } }, command);
    expect(of({})).toMatchObject({ outcome: 'ok', detail: '2 entries, 2 of them cosigned by a quorum' });
    expect(of({ quorumMet: false })).toMatchObject({ outcome: 'warn', next: 'see which answer: log status' });
    expect(of({ watched: false, quorumMet: true })).toMatchObject({ outcome: 'warn' });
    const problem = { code: 'log_halted', message: 'the anchor is newer', place: null };
    expect(logFinding({ log: { ...log, problem } }, command)).toMatchObject({
      outcome: 'fail',
      detail: 'it is halted: the anchor is newer',
    });
  });
});

describe('policies and approvals', () => {
  const listed = { name: 'acme', digest: '0'.repeat(64), file: 'acme.yaml', agents: [], rules: 3 };
  const inForce = { ...listed, source: 'configuration' as const };
  const problem = { code: 'policy_invalid', message: 'Cannot use policy "acme.yaml", line 3', since: at(-5) } as const;

  test('that cannot be read are broken, and none at all is worth a look', () => {
    expect(policiesFinding({ policies: [inForce], problem: null }, command)).toEqual({
      name: 'policies',
      outcome: 'ok',
      detail: 'acme in force',
      next: null,
    });
    const shadow = { ...listed, source: 'shadow' as const };
    expect(policiesFinding({ policies: [inForce, shadow], problem: null }, command).detail).toBe(
      'acme in force, 1 candidate beside',
    );
    expect(policiesFinding({ policies: [inForce], problem }, command)).toMatchObject({
      outcome: 'fail',
      detail: 'the newest files are not in force: Cannot use policy "acme.yaml", line 3',
      next: 'correct the file, then see: policy list',
    });
    expect(policiesFinding({ policies: [shadow], problem: null }, command).outcome).toBe('warn');
  });

  test('that wait are counted, and told of where nobody may decide', () => {
    expect(approvalsFinding([], command).outcome).toBe('ok');
    expect(approvalsFinding([{ mayDecide: [did] }], command)).toMatchObject({
      outcome: 'warn',
      detail: '1 approval to be decided',
      next: 'see them: approvals list',
    });
    expect(approvalsFinding([{ mayDecide: [did] }, { mayDecide: [] }], command)).toMatchObject({
      outcome: 'warn',
      detail: '1 approval for which nobody here may decide',
    });
  });
});

test('a server that cannot be started is named', () => {
  expect(exposedFinding(0, [], command).outcome).toBe('ok');
  expect(exposedFinding(2, [], command)).toMatchObject({ outcome: 'ok', detail: '2 servers, which can be started' });
  const problems = ['files', 'search'].map((name) => ({ name, message: 'no such command' }));
  expect(exposedFinding(3, problems, command)).toMatchObject({
    outcome: 'warn',
    detail: '"files": no such command, and 1 more of 3',
    next: expect.stringContaining('expose check files') as string,
  });
});
