/** kill -9 at random moments while the daemon writes: what it acknowledged and released is there when it starts again. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isMeshError } from '../../protocol/index.ts';
import type { AgentMesh } from '../../sdk/index.ts';
import { seededRandom } from '../random.ts';
import { type DaemonProcess, startDaemonProcess } from './daemon-process.ts';
import { LogRecord } from './log-record.ts';

const LINK_WRITERS = 4;
const ENTRY_WRITERS = 6;
const HASTE = 0.25; // of the rounds: killed so soon that maybe nobody has cosigned since the start
const ACKNOWLEDGED_MAX = 60; // of a round, before it is killed: by counting, busy machines are killed at work as well
const MORE_MS_MAX = 20;
const ROUND_MS_MAX = 2_000; // a daemon that acknowledges nothing is killed too

export interface KillReport {
  /** Links and revocations. */
  readonly acknowledged: number;
  readonly lost: readonly string[];
  /** Leaf indices of the audit log. */
  readonly entries: number;
  readonly lostEntries: readonly number[];
  /** Checkpoints that the daemon or its witness showed, each compared with the one before it. */
  readonly checkpoints: number;
  readonly treeSize: number;
  readonly convictions: number;
  readonly starts: number;
}

/** One home, killed `rounds` times, beside a second daemon that witnesses its log. */
export async function killRepeatedly(rounds: number, seed: number): Promise<KillReport> {
  const random = seededRandom(seed);
  const folder = await mkdtemp(join(tmpdir(), 'agentmesh-kill-'));
  // Compiled once: most of what a start costs. It is kept by a process that ends in order, as the witness's first does.
  const env = { AGENTMESH_LOCAL_NETWORK: 'true', NODE_COMPILE_CACHE: join(folder, 'compiled') };
  const args = ['--log-level', 'error'];
  const watcher = { home: join(folder, 'watcher'), name: 'Watcher', env };
  const acknowledged = new Set<string>();
  const record = new LogRecord(random);
  try {
    await (await startDaemonProcess({ ...watcher, args })).end('SIGTERM');
    await using witness = await startDaemonProcess({
      ...watcher,
      args: [...args, '--witness-listen', '127.0.0.1:0'],
    });
    const watching = await witness.connect();
    const { listening } = await watching.witness.status();
    const options = { home: join(folder, 'killed'), name: 'Kill', args, env, bootstrap: [witness.address] };
    let did: string | undefined;
    for (let round = 0; round < rounds; round++) {
      await using daemon = await startDaemonProcess(options);
      if (did !== undefined && daemon.did !== did)
        throw new Error(`round ${round}: the organisation is another, "${daemon.did}"`);
      did = daemon.did;
      const mesh = await daemon.connect();
      const [sponsor] = await mesh.sponsors.list();
      if (sponsor === undefined) await mesh.sponsors.create({ contact: 'kill@example.com' });
      const { origin, problem } = await mesh.log.status();
      if (problem !== null) throw new Error(`round ${round}: the log is halted: ${problem.message}`);
      const before = await heldOf(mesh);
      const lost = [...acknowledged].filter((id) => !before.has(id));
      const lostEntries = await record.lost(mesh);
      if (lost.length > 0 || lostEntries.length > 0) return reportOf(lost, lostEntries, round + 1);
      if (random() >= HASTE) await record.verify(mesh);
      await record.register(mesh);
      const count = (): number => acknowledged.size + record.acknowledged.size;
      const killed = killAt(daemon, count, count() + random() * ACKNOWLEDGED_MAX, random() * MORE_MS_MAX);
      const url = listening ?? '';
      await Promise.all([
        ...Array.from({ length: LINK_WRITERS }, (_, i) => writeLinks(mesh, daemon.did, acknowledged, i)),
        ...Array.from({ length: ENTRY_WRITERS }, (_, i) =>
          untilGone(() => record.append(mesh, i === 0 ? 1 : undefined)),
        ),
        untilGone(() => record.look(mesh.log.files())),
        untilKilled(killed, () => record.lookAt(url, origin)),
      ]);
    }
    await using daemon = await startDaemonProcess(options);
    const mesh = await daemon.connect();
    const held = await heldOf(mesh);
    const lost = [...acknowledged].filter((id) => !held.has(id));
    const lostEntries = await record.lost(mesh);
    const treeSize = await record.verify(mesh);
    const convictions = [...(await mesh.convictions.list()), ...(await watching.convictions.list())];
    return { ...reportOf(lost, lostEntries, rounds + 1), treeSize, convictions: convictions.length };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }

  function reportOf(lost: readonly string[], lostEntries: readonly number[], starts: number): KillReport {
    const entries = record.acknowledged.size;
    const checkpoints = record.checkpoints.size;
    return {
      acknowledged: acknowledged.size,
      lost,
      entries,
      lostEntries,
      checkpoints,
      treeSize: 0,
      convictions: 0,
      starts,
    };
  }
}

/** Links and revocations until the daemon is gone; remembers what was acknowledged. */
function writeLinks(mesh: AgentMesh, did: string, acknowledged: Set<string>, writer: number): Promise<void> {
  let made = 0;
  return untilGone(async () => {
    const { link } = await mesh.delegations.create({
      to: did,
      capabilities: [{ can: `read:w${writer}/n${made}` }],
      ttlSeconds: 86_400,
    });
    acknowledged.add(link.id);
    if (made++ % 5 === 4)
      acknowledged.add((await mesh.revocations.create({ target: { link: link.id }, reason: 'kill' })).revocation.id);
  });
}

/** Resolves when it is gone: after so much was acknowledged, and so long. */
async function killAt(daemon: DaemonProcess, count: () => number, want: number, moreMs: number): Promise<void> {
  const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
  const beganMs = performance.now();
  while (count() < want && performance.now() - beganMs < ROUND_MS_MAX) await pause(1);
  await pause(moreMs);
  await daemon.end('SIGKILL');
}

const GONE: readonly string[] = ['not_running', 'closed', 'internal', 'unreachable'];

/** Again and again, until the daemon is gone. */
async function untilGone(step: () => Promise<unknown>): Promise<void> {
  try {
    for (;;) await step();
  } catch (error) {
    if (!isMeshError(error) || !GONE.includes(error.code)) throw error;
  }
}

async function untilKilled(killed: Promise<void>, step: () => Promise<unknown>): Promise<void> {
  let isGone = false;
  void killed.then(() => (isGone = true));
  while (!isGone) await step();
}

async function heldOf(mesh: AgentMesh): Promise<Set<string>> {
  const chains = await mesh.chains.list();
  const revocations = await mesh.revocations.list();
  return new Set([...chains.map(({ leaf }) => leaf), ...revocations.map(({ revocation }) => revocation.id)]);
}
