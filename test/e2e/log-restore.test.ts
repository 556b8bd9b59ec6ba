/** Backups put back: the log that they hold is older than what its key has signed since, and is never signed over. */
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { monitoringPath, parseCheckpoint } from '../../protocol/log/index.ts';
import type { AgentMesh, LogStatus } from '../../sdk/index.ts';
import { run } from '../cli/start.ts';
import { type DaemonProcess, startDaemonProcess, until } from './daemon-process.ts';
import { LogHome } from './log-home.ts';

const SLOW = { timeout: 120_000 }; // daemons start beside other tests on two cores
const UNASKED_MS = 1_500; // longer than a log that may release waits with it

let folder: string;
let home: string;
let watcher: DaemonProcess;
let watching: AgentMesh;
/** Tree sizes when the older and the newer copy were made. */
let [older, newer] = [0, 0];
/** Why the restored log was halted. */
let found: LogStatus['problem'] = null;

const env = (): Record<string, string> => ({
  AGENTMESH_LOCAL_NETWORK: 'true',
  NODE_COMPILE_CACHE: join(folder, 'compiled'),
});
const startWatcher = (listen?: string): Promise<DaemonProcess> =>
  startDaemonProcess({
    home: join(folder, 'watcher'),
    name: 'Watcher',
    env: env(),
    args: ['--witness-listen', '127.0.0.1:0'],
    ...(listen !== undefined && { listen }),
  });
const start = (): Promise<DaemonProcess> =>
  startDaemonProcess({ home, name: 'Acme', env: env(), bootstrap: [watcher.address] });

/** Twenty entries more, all of them cosigned; then stopped. Returns the size that was released last. */
async function live(): Promise<number> {
  await using daemon = await start();
  const mesh = await daemon.connect();
  if ((await mesh.sponsors.list()).length === 0) await mesh.sponsors.create({ contact: 'restore@example.com' });
  await Promise.all(Array.from({ length: 20 }, (_, i) => mesh.log.append({ facts: { i } })));
  await until('a witness is known', async () => (await mesh.log.status()).watched);
  await mesh.log.append({ facts: { last: true }, witnessed: 1 });
  expect(await daemon.end('SIGTERM')).toBe(0);
  return (await new LogHome(home).sizes()).released;
}

async function putBack(whole: string, database = whole): Promise<void> {
  await rm(home, { recursive: true, force: true });
  await cp(join(folder, whole), home, { recursive: true });
  if (database === whole) return;
  await rm(join(home, 'db'), { recursive: true });
  await cp(join(folder, database, 'db'), join(home, 'db'), { recursive: true });
}

/** What the witness shows of the first generation, whose newest copy it cosigned. */
async function lastCosigned(file: string): Promise<{ origin: string }> {
  const { listening, logs } = await watching.witness.status();
  const log = logs.find(({ origin }) => origin.endsWith('/0'));
  if (log === undefined) throw new Error('the witness has cosigned nothing');
  const answer = await fetch(`${listening}/${monitoringPath(log.origin)}`);
  expect(answer.status).toBe(200);
  await writeFile(file, await answer.text());
  return log;
}

async function expectNothingGranted(mesh: AgentMesh): Promise<void> {
  const halted = { code: 'log_halted' };
  const capabilities = [{ can: 'read:x' }];
  await expect(
    mesh.agents.create({ name: 'late', sponsor: 'restore@example.com', capabilities }),
  ).rejects.toMatchObject(halted);
  await expect(mesh.sponsors.create({ contact: 'late@example.com' })).rejects.toMatchObject(halted);
  await expect(mesh.delegations.create({ to: watcher.did, capabilities, ttlSeconds: 60 })).rejects.toMatchObject(
    halted,
  );
  await expect(mesh.handshake({ did: watcher.did })).rejects.toMatchObject(halted);
  await expect(watching.handshake({ did: await mesh.organisationDid() })).rejects.toMatchObject(halted);
  await expect(mesh.log.append({ facts: {} })).rejects.toMatchObject(halted);
  await expect(mesh.log.append({ facts: {}, witnessed: 1 })).rejects.toMatchObject(halted);
  // Reads go on, and nothing half made is left.
  expect(await mesh.agents.list()).toEqual([]);
  expect(await mesh.sponsors.list()).toHaveLength(1);
  expect((await mesh.log.entry(3)).index).toBe(3);
  expect((await mesh.status()).log.problem).not.toBeNull();
}

async function expectNobodyConvicted(mesh: AgentMesh): Promise<void> {
  expect(await mesh.convictions.list()).toEqual([]);
  expect(await watching.convictions.list()).toEqual([]);
  for await (const { entry } of watching.log.entries({ types: ['agentmesh.fork'] })) expect(entry).toBeUndefined();
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'agentmesh-restore-'));
  home = join(folder, 'home');
  watcher = await startWatcher();
  older = await live();
  await cp(home, join(folder, 'older'), { recursive: true });
  newer = await live();
  await cp(home, join(folder, 'newer'), { recursive: true });
  watching = await watcher.connect();
}, 120_000);
afterAll(async () => {
  await watcher.end('SIGKILL');
  await rm(folder, { recursive: true, force: true });
});

test(
  'the whole home, anchor and all: nothing is released before the witness was asked, who halts it',
  SLOW,
  async () => {
    await putBack('older');
    await watcher.end('SIGTERM');
    await using daemon = await start();
    const mesh = await daemon.connect();
    const before = await mesh.log.status();
    expect([before.problem, before.released?.treeSize]).toEqual([null, older]);
    const { index } = await mesh.log.append({ facts: { after: 'the restore' } });
    await expect(mesh.log.prove(index, { signal: AbortSignal.timeout(UNASKED_MS) })).rejects.toBeDefined();
    expect(await mesh.log.status()).toMatchObject({ problem: null, released: { treeSize: older } });

    const { address } = watcher;
    watcher = await startWatcher(address.replace(/\/p2p\/.*$/, ''));
    watching = await watcher.connect();
    await until('it is halted', async () => (await mesh.log.status()).problem !== null, 60_000);
    const { problem, released, treeSize } = await mesh.log.status();
    expect(problem?.message).toMatch(
      /^Cannot go on with log .*signed (a tree of \d+ entries, and \d+ are held here|another tree of \d+ entries than the one held here)$/,
    );
    found = problem;
    expect(problem?.place).toMatch(new RegExp(`^(a checkpoint shown by ${watcher.peerId}|witness agentmesh/)`));
    expect([released?.treeSize, treeSize < newer]).toEqual([older, true]);
    await expectNothingGranted(mesh);
    const status = await run(home, ['log', 'status']);
    expect([status.exit, status.out, status.err]).toEqual([
      1,
      expect.stringContaining(`HALTED: ${problem?.message}`),
      expect.stringContaining('log recover --help'),
    ]);
    await expectNobodyConvicted(mesh);
  },
);

test('it stays halted over a restart without any witness', SLOW, async () => {
  await using daemon = await start();
  const { problem } = await (await daemon.connect()).log.status();
  expect(problem).toEqual(found);
  expect(await daemon.end('SIGTERM')).toBe(0);
});

test('the database alone: the anchor halts it, and a new generation goes on, cosigned', SLOW, async () => {
  await putBack('newer', 'older');
  await using daemon = await start();
  const mesh = await daemon.connect();
  const before = await mesh.log.status();
  expect(before.problem).toMatchObject({
    code: 'log_halted',
    place: 'anchor',
    message: expect.stringMatching(/it holds a checkpoint of \d+ leaves, the database has \d+ and is an older copy/),
  });
  expect(daemon.logged()).toContain('is an older copy');
  await expectNothingGranted(mesh);

  const recovered = await run(home, [
    'log',
    'recover',
    '--new-generation',
    '--reason',
    'a backup was put back',
    '--json',
  ]);
  expect([recovered.exit, recovered.json]).toMatchObject([0, { generation: 1, problem: null }]);
  const { entry } = await mesh.log.entry(0);
  const { previous } = entry['data'] as { previous: { origin: string; checkpoint: string; reason: string } };
  expect(previous).toMatchObject({ origin: before.origin, reason: 'a backup was put back' });
  expect(parseCheckpoint(Buffer.from(previous.checkpoint)).checkpoint).toMatchObject({
    origin: before.origin,
    treeSize: older,
  });
  const proved = await mesh.log.prove(0, { witnessed: 1 });
  expect(proved.cosignatures).toMatchObject([{ did: watcher.did }]);
  expect(
    (await mesh.agents.create({ name: 'late', sponsor: 'restore@example.com', capabilities: [{ can: 'read:x' }] }))
      .agent,
  ).toMatchObject({ name: 'late' });
  expect((await run(home, ['log', 'verify'])).exit).toBe(0);
  expect((await mesh.handshake({ did: watcher.did })).did).toBe(watcher.did);
  await expectNobodyConvicted(mesh);
  expect(await daemon.end('SIGTERM')).toBe(0);
});

test(
  "rewritten by a thief who has the log's key, anchor and all: the witness's checkpoint contradicts it",
  SLOW,
  async () => {
    const kept = join(folder, 'cosigned');
    const { origin } = await lastCosigned(kept);
    await putBack('newer');
    await new LogHome(home).rewrite(older + 2, { withAnchor: true });
    await using daemon = await start();
    const mesh = await daemon.connect();
    expect((await mesh.log.status()).origin).toBe(origin);
    const { exit, out } = await run(home, ['log', 'verify', '--since', kept]);
    expect([exit, out]).toEqual([3, expect.stringMatching(/contradicts the checkpoint of size \d+ that is known/)]);
    // The thief's released checkpoint was signed for all to see: two histories under one key, whoever had it.
    const did = await mesh.organisationDid();
    await until('the witness convicts it', async () => (await watching.convictions.list()).length > 0, 60_000);
    expect(await watching.convictions.list()).toMatchObject([{ did, of: ['log'], inForce: true }]);
    const { problem, released } = await mesh.log.status(); // the witness may have turned away before it was asked
    if (problem !== null) expect(problem.message).toMatch(/signed another tree of \d+ entries than the one held here$/);
    expect(released?.cosignatures).toEqual([]);
  },
);
