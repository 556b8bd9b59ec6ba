/**
 * Calls between organisations: a 32-byte echo by an agent of one daemon, served behind another, each its own process, over
 * loopback, against the same server called directly over stdio, and the synced puts that lie on the way: each side has the
 * call in its log before it goes on. In turns, medians of the rounds. Then what open sessions cost in memory.
 * `node bench/calls.ts [--rounds N] [--of N] [--sessions N] [--prof DIRECTORY]`; exits 1 above the bar. Memory and CPU on Linux.
 */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Level } from 'level';
import { limits } from '../protocol/index.ts';
import { TrustBridge, type AgentMesh } from '../sdk/index.ts';
import { type DaemonProcess, startDaemonProcess, until } from '../test/e2e/daemon-process.ts';
import { never, openOwnNode, operator } from '../test/e2e/own-node.ts';
import { Side } from './proxy-sides.ts';

const TARGET_MS = 5; // p50 of the governed path, without the two synced puts on it
const MESSAGE = '0123456789abcdef0123456789abcdef';
const ENTRY_BYTES = 1_000; // about what the entry of an allowed call has
const IN_FLIGHT = [1, 8, 64];
const CAN = [{ can: 'mcp:echo/*' }];
const SESSIONS_A_NODE = limits.SESSIONS_A_CONNECTION_MAX;
const PACE_MS = 1_000; // between handshakes of one organisation, while the others have theirs
const SETTLE_MS = 3_000; // before memory is looked at

const { values: flags } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    of: { type: 'string', default: '200' },
    sessions: { type: 'string', default: '1000' },
    prof: { type: 'string' },
  },
});
const count = Number(flags.of);
const sessionsMax = Number(flags.sessions);
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const at = (values: readonly number[], share: number): number =>
  values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * share))] ?? Number.NaN;
const median = (values: readonly number[]): number => at(values, 0.5);

interface Round {
  readonly tookMs: readonly number[];
  readonly perSecond: number;
  /** Of all daemons, a call. */
  readonly cpuUs: number;
}
type Work = () => Promise<unknown>;

async function measure(work: Work, inFlight: number, pids: readonly number[]): Promise<Round> {
  const total = count * Math.min(inFlight, 8);
  const tookMs: number[] = [];
  let left = total;
  const one = async (): Promise<void> => {
    while (left-- > 0) {
      const startMs = performance.now();
      await work();
      tookMs.push(performance.now() - startMs);
    }
  };
  const [cpuMs, beganMs] = [cpuOf(pids), performance.now()];
  await Promise.all(Array.from({ length: inFlight }, one));
  const perSecond = (1000 * total) / (performance.now() - beganMs);
  return { tookMs, perSecond, cpuUs: (1000 * (cpuOf(pids) - cpuMs)) / total };
}

/** Ticks are 10 ms: enough over a round. */
const cpuOf = (pids: readonly number[]): number =>
  pids.reduce((sum, pid) => {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
    return sum + 10 * (Number(fields[11]) + Number(fields[12]));
  }, 0);
const megabytesOf = (pid: number): number =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024;

const profiled = (name: string): Readonly<Record<string, string>> =>
  flags.prof === undefined
    ? {}
    : { NODE_OPTIONS: `--cpu-prof --cpu-prof-dir=${flags.prof} --cpu-prof-name=${name}.cpuprofile` };

const program = fileURLToPath(new URL('./proxy-program.ts', import.meta.url));
const bare = [process.execPath, program, 'stdio'];

interface Two {
  readonly acme: DaemonProcess;
  readonly gamma: DaemonProcess;
  readonly callee: AgentMesh;
  readonly caller: AgentMesh;
  readonly reader: string;
}

async function connected(acme: DaemonProcess, gamma: DaemonProcess): Promise<Two> {
  const [callee, caller] = [await acme.connect(), await gamma.connect()];
  await until('bound', async () => (await callee.status()).peers.bound === 1);
  await callee.sponsors.create({ contact: 'a@example.com' });
  await callee.exposed.add({ name: 'echo', command: bare, cwd: tmpdir(), policy: 'permissive' });
  const made = await caller.agents.create({ name: 'reader', sponsor: 'g@example.com', capabilities: CAN });
  const reader = made.agent.did;
  const grant = (await callee.delegations.create({ to: reader, capabilities: CAN })).link.id;
  await until('the grant', async () => (await caller.chains.list({ to: reader })).some(({ leaf }) => leaf === grant));
  return { acme, gamma, callee, caller, reader };
}

async function calls({ acme, gamma, caller, reader }: Two, folder: string): Promise<number> {
  await using bridge = new TrustBridge({ mesh: caller, as: reader });
  const { side } = await Side.start({ command: bare, env: {} });
  await using _ = side;
  const database = new Level<Uint8Array, Uint8Array>(join(folder, 'puts'), {
    keyEncoding: 'view',
    valueEncoding: 'view',
  });
  const pids = [acme.pid, gamma.pid];
  const sides: readonly (readonly [string, Work])[] = [
    ['raw synced put', () => database.put(randomBytes(16), randomBytes(ENTRY_BYTES), { sync: true })],
    ['the server directly, over stdio', () => side.echo(MESSAGE)],
    [
      'across organisations',
      async () => {
        const { content, receipt } = await bridge.call(acme.did, 'echo', 'echo', { message: MESSAGE });
        if (content[0]?.['text'] !== MESSAGE || receipt === null || receipt.half)
          throw new Error(`Cannot measure: ${JSON.stringify({ content, receipt })}`);
      },
    ],
  ];
  let overMs = Number.NaN;
  for (const inFlight of IN_FLIGHT) {
    const results = new Map<string, Round[]>(sides.map(([name]) => [name, []]));
    for (let round = -1; round < Number(flags.rounds); round++)
      for (const [name, work] of sides) {
        const result = await measure(work, inFlight, pids);
        if (round >= 0) results.get(name)?.push(result);
      }
    console.log(`${inFlight} in flight`);
    for (const [name, rounds] of results) print(name, rounds);
    const p50 = (name: string): number => median((results.get(name) ?? []).map(({ tookMs }) => at(tookMs, 0.5)));
    if (inFlight > 1) continue;
    overMs = p50('across organisations') - 2 * p50('raw synced put');
    console.log(
      `  ${(p50('across organisations') / p50('the server directly, over stdio')).toFixed(1)}x the server directly; ${overMs.toFixed(2)} ms above two synced puts, want <= ${TARGET_MS}`,
    );
  }
  await database.close();
  return overMs;
}

function print(name: string, rounds: readonly Round[]): void {
  const p = (share: number): string => median(rounds.map(({ tookMs }) => at(tookMs, share))).toFixed(2);
  const perSecond = median(rounds.map((round) => round.perSecond)).toFixed(0);
  const cpu = median(rounds.map(({ cpuUs }) => cpuUs)).toFixed(0);
  console.log(
    `  ${name.padEnd(34)} p50 ${p(0.5).padStart(7)} ms  p99 ${p(0.99).padStart(7)} ms  ${perSecond.padStart(6)} calls/s${name === 'across organisations' ? `  CPU ${cpu} us a call, both daemons` : ''}`,
  );
}

/** By as many organisations as the bound of a connection asks for, in this process. */
async function sessions({ acme, callee }: Two, folder: string): Promise<void> {
  const nodes = Math.ceil(sessionsMax / SESSIONS_A_NODE);
  await using opened = new AsyncDisposableStack();
  const peers = [];
  for (let i = 0; i < nodes; i++) {
    const home = join(folder, `peer-${i}`);
    peers.push(opened.use(await openOwnNode({ home, name: `Peer ${i}`, bootstrap: [acme.address], listen: [] })));
  }
  await until('all bound', async () => (await callee.status()).peers.bound >= nodes, 60_000);
  const grants: string[] = [];
  for (const { did } of peers) grants.push((await callee.delegations.create({ to: did, capabilities: CAN })).link.id);
  await sleep(SETTLE_MS);
  const [before, openBefore] = [megabytesOf(acme.pid), (await callee.status()).sessions];
  await Promise.all(
    peers.map(async ({ api, node }, i) => {
      const grant = grants[i];
      await until('the grant', async () => grant !== undefined && node.state.link(grant) !== undefined);
      for (let n = 0; n < Math.min(SESSIONS_A_NODE, sessionsMax - i * SESSIONS_A_NODE); n++) {
        const body = { did: acme.did, grant, capabilities: CAN };
        const shake = (): Promise<unknown> =>
          api.handshakeCreate({ params: {}, query: {}, body } as never, operator, never);
        // So many at once are more than a daemon lets in: those that it turned away come again.
        await until(
          'a handshake',
          () =>
            shake().then(
              () => true,
              () => sleep(PACE_MS).then(() => false),
            ),
          60_000,
        );
        await sleep(PACE_MS);
      }
    }),
  );
  await sleep(SETTLE_MS);
  const [after, open] = [megabytesOf(acme.pid), (await callee.status()).sessions - openBefore];
  console.log(
    `${open} sessions of ${nodes} organisations: daemon of ${before.toFixed(0)} MB grew to ${after.toFixed(0)} MB, ${((1024 * (after - before)) / open).toFixed(1)} KB a session`,
  );
}

const folder = await mkdtemp(join(tmpdir(), 'agentmesh-bench-'));
try {
  const common = ['--log-level', 'error', '--local-network', 'true'];
  await using acme = await startDaemonProcess({
    home: join(folder, 'acme'),
    name: 'Acme',
    args: common,
    env: profiled('callee'),
  });
  await using gamma = await startDaemonProcess({
    home: join(folder, 'gamma'),
    name: 'Gamma',
    bootstrap: [acme.address],
    args: common,
    env: profiled('caller'),
  });
  const two = await connected(acme, gamma);
  const overMs = await calls(two, folder);
  if (sessionsMax > 0) await sessions(two, folder);
  if (!(overMs <= TARGET_MS)) process.exitCode = 1;
  for (const daemon of [acme, gamma]) await daemon.end('SIGTERM');
} finally {
  await rm(folder, { recursive: true, force: true });
}
