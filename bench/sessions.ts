/**
 * What open sessions cost a daemon in memory: many organisations, all in this process, open as many sessions to one daemon
 * as their connections carry, and open again what a lost connection took along. Resident memory as the system counts it,
 * and what is left of the heap after a collection, asked of the daemon's own inspector.
 * `node bench/sessions.ts [--sessions N]`; exits 1 if they cannot be held. On Linux.
 */
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { isMeshError, limits } from '../protocol/index.ts';
import { type DaemonProcess, startDaemonProcess, until } from '../test/e2e/daemon-process.ts';
import { never, openOwnNode, operator, type OwnNode } from '../test/e2e/own-node.ts';

const CAN = [{ can: 'mcp:echo/*' }];
const EACH = limits.SESSIONS_A_CONNECTION_MAX;
const AT_A_TIME = 2; // organisations that shake hands: more would only wait for this machine's processor
const OPEN_WITHIN_MS = 240_000;
const SETTLE_MS = 5_000;

const { values: flags } = parseArgs({ options: { sessions: { type: 'string', default: '1000' } } });
const wanted = Number(flags.sessions);
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

interface Memory {
  readonly residentMb: number;
  /** After a collection: what is in use, in and beside the heap. */
  readonly heldMb: number;
}

async function memoryOf({ pid, logged }: DaemonProcess): Promise<Memory> {
  const address = /ws:\/\/\S+/.exec(logged())?.[0];
  if (address === undefined) throw new Error('Cannot measure: the daemon has no inspector');
  const residentMb = Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024;
  const socket = new WebSocket(address);
  await new Promise((resolve) => socket.addEventListener('open', resolve, { once: true }));
  let id = 0;
  const ask = (method: string, params: object = {}): Promise<unknown> =>
    new Promise((resolve) => {
      const own = ++id;
      socket.addEventListener('message', ({ data }) => {
        const answer = JSON.parse(String(data)) as { id?: number; result?: unknown };
        if (answer.id === own) resolve(answer.result);
      });
      socket.send(JSON.stringify({ id: own, method, params }));
    });
  await ask('HeapProfiler.collectGarbage');
  const expression = 'const { heapUsed, external } = process.memoryUsage(); heapUsed + external';
  const answer = (await ask('Runtime.evaluate', { expression: `{ ${expression} }` })) as { result: { value: number } };
  socket.close();
  return { residentMb, heldMb: answer.result.value / 1024 ** 2 };
}

interface Peer {
  readonly own: OwnNode;
  readonly grant: string;
  readonly sessions: number;
}

/** What came of it: refusals, and sessions that ended, by code. */
type Told = Map<string, number>;
const tell = (told: Told, what: string): void => void told.set(what, (told.get(what) ?? 0) + 1);

/** As many as it should have; those that were lost again too. */
async function fill({ own: { api, node }, grant, sessions }: Peer, did: string, told: Told): Promise<void> {
  for (let tries = 0; node.sessions.size < sessions && tries < 2 * sessions; tries++) {
    try {
      const body = { did, grant, capabilities: CAN };
      await api.handshakeCreate({ params: {}, query: {}, body }, operator, never);
    } catch (error) {
      if (!isMeshError(error)) throw error;
      tell(told, `refused: ${error.code}`);
      await sleep(200);
    }
  }
}

const folder = await mkdtemp(join(tmpdir(), 'agentmesh-bench-'));
try {
  await using acme = await startDaemonProcess({
    home: join(folder, 'acme'),
    name: 'Acme',
    args: ['--log-level', 'error', '--local-network', 'true'],
    env: { NODE_OPTIONS: '--inspect=127.0.0.1:0' },
  });
  const callee = await acme.connect();
  await callee.sponsors.create({ contact: 'a@example.com' });
  await using opened = new AsyncDisposableStack();
  const peers: Peer[] = [];
  const told: Told = new Map();
  for (let left = wanted; left > 0; left -= EACH) {
    const i = peers.length;
    const home = join(folder, `peer-${i}`);
    const own = opened.use(await openOwnNode({ home, name: `Peer ${i}`, bootstrap: [acme.address], listen: [] }));
    await until('bound', async () => (await callee.status()).peers.bound > i, 60_000);
    const grant = (await callee.delegations.create({ to: own.did, capabilities: CAN })).link.id;
    await until('the grant', async () => own.node.state.link(grant) !== undefined, 60_000);
    own.node.sessions.onEnded((_, code) => tell(told, `ended: ${code}`));
    peers.push({ own, grant, sessions: Math.min(EACH, left) });
  }
  await sleep(SETTLE_MS);
  const before = await memoryOf(acme);
  const deadlineMs = performance.now() + OPEN_WITHIN_MS;
  const open = async (): Promise<number> => (await callee.status()).sessions;
  while ((await open()) < wanted && performance.now() < deadlineMs) {
    const waiting = [...peers];
    const next = async (): Promise<void> => {
      for (let peer = waiting.shift(); peer !== undefined; peer = waiting.shift()) await fill(peer, acme.did, told);
    };
    await Promise.all(Array.from({ length: AT_A_TIME }, next));
  }
  await sleep(SETTLE_MS);
  const [held, after] = [await open(), await memoryOf(acme)];
  const each = (what: keyof Memory): string => ((1024 * (after[what] - before[what])) / held).toFixed(1);
  console.log(`${held} sessions open with ${peers.length} organisations, want ${wanted}`);
  for (const [what, count] of told) console.log(`  ${what} ${count}`);
  console.log(
    `resident ${before.residentMb.toFixed(0)} MB grew to ${after.residentMb.toFixed(0)} MB, ${each('residentMb')} KiB a session; ` +
      `in use after a collection ${before.heldMb.toFixed(0)} MB and ${after.heldMb.toFixed(0)} MB, ${each('heldMb')} KiB a session`,
  );
  if (held < wanted) process.exitCode = 1;
  await acme.end('SIGTERM');
} finally {
  await rm(folder, { recursive: true, force: true });
}
