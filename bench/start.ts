/**
 * From starting the process to ready, and resident memory when idle: the daemon, and a bare libp2p node with the same
 * services (TCP, Noise, Yamux, identify, ping, gossipsub, kad-dht). Medians of processes started in turns. Reported,
 * no bar. `node bench/start.ts`
 */
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const RUNS = 5; // measured, after one to warm the disk's cache
const IDLE_MS = 4_000; // after ready: what starting left behind is collected or not
const READY_MS = 60_000;

const fileOf = (path: string): string => fileURLToPath(new URL(`../${path}`, import.meta.url));

interface Took {
  readonly readyMs: number;
  /** Of all its threads until it was ready; the machine's other work does not count. */
  readonly cpuMs: number;
  readonly idleMegabytes: number;
}

interface Candidate {
  readonly name: string;
  /** Command line after node, for the n-th start. */
  readonly args: (run: number) => readonly string[];
  /** On stdout once it is ready. */
  readonly says: string;
}

async function start({ args, says }: Candidate, run: number): Promise<Took> {
  const beganMs = performance.now();
  const child = spawn(process.execPath, args(run), { stdio: ['ignore', 'pipe', 'pipe'] });
  const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  try {
    const readyMs = await new Promise<number>((resolve, reject) => {
      let printed = '';
      const fail = (): void => reject(new Error(`Cannot measure: not ready\n${printed}`));
      const late = setTimeout(fail, READY_MS);
      void gone.then(fail);
      child.stderr.on('data', (bytes: Buffer) => (printed += bytes.toString()));
      child.stdout.on('data', (bytes: Buffer) => {
        printed += bytes.toString();
        if (!printed.includes(says)) return;
        clearTimeout(late);
        resolve(performance.now() - beganMs);
      });
    });
    const cpuMs = cpuMsOf(child.pid as number);
    await new Promise((resolve) => setTimeout(resolve, IDLE_MS));
    return { readyMs, cpuMs, idleMegabytes: residentMegabytes(child.pid as number) };
  } finally {
    child.kill();
    await gone;
  }
}

/** Not known without /proc. */
function cpuMsOf(pid: number): number {
  const stat = `/proc/${pid}/stat`;
  if (!existsSync(stat)) return Number.NaN;
  const fields = readFileSync(stat, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return 10 * (Number(fields[11]) + Number(fields[12])); // utime and stime, in ticks of 10 ms (proc_pid_stat(5))
}

function residentMegabytes(pid: number): number {
  const status = `/proc/${pid}/status`;
  const kilobytes = existsSync(status)
    ? /VmRSS:\s+(\d+)/.exec(readFileSync(status, 'utf8'))?.[1]
    : execFileSync('ps', ['-o', 'rss=', '-p', `${pid}`], { encoding: 'utf8' });
  return Number(kilobytes) / 1024;
}

const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
const listed = (values: readonly number[]): string =>
  values
    .map((value) => value.toFixed(0))
    .sort((a, b) => Number(a) - Number(b))
    .join(' ');

const folder = await mkdtemp(join(tmpdir(), 'agentmesh-start-'));
const daemon = (bin: string, home: string): string[] => [
  fileOf(bin),
  '--home',
  join(folder, home),
  '--listen',
  '/ip4/127.0.0.1/tcp/0',
  '--log-level',
  'error',
];
const candidates: Candidate[] = [
  { name: 'bare libp2p', args: () => [fileOf('bench/bare-node.ts')], says: 'ready' },
  { name: 'daemon, new home', args: (run) => daemon('daemon/bin.js', `new ${run}`), says: 'is ready' },
  { name: 'daemon, home used before', args: () => daemon('daemon/bin.js', 'used'), says: 'is ready' },
];
if (existsSync(fileOf('dist/daemon/main.js')))
  candidates.push({ name: 'the same, built', args: () => daemon('dist/daemon/bin.js', 'used'), says: 'is ready' });

try {
  const took = new Map<Candidate, Took[]>(candidates.map((candidate) => [candidate, []]));
  for (let run = 0; run <= RUNS; run++) {
    for (const [candidate, all] of took) {
      const one = await start(candidate, run);
      if (run > 0) all.push(one);
    }
  }
  const [[, bare] = [undefined, []]] = took;
  const of = (all: readonly Took[], what: keyof Took): number => median(all.map(({ [what]: value }) => value));
  const columns = [
    ['readyMs', 'ready, ms'],
    ['cpuMs', 'CPU of that, ms'],
    ['idleMegabytes', 'idle, MB'],
  ] as const;
  console.log(''.padEnd(24) + columns.map(([, title]) => title.padStart(32)).join(''));
  for (const [{ name }, all] of took) {
    const cells = columns.map(
      ([what]) => `${of(all, what).toFixed(0)}  ${(of(all, what) / of(bare, what)).toFixed(2)}x`,
    );
    console.log(name.padEnd(24) + cells.map((cell) => cell.padStart(32)).join(''));
    console.log(
      ''.padEnd(24) + columns.map(([what]) => listed(all.map(({ [what]: value }) => value)).padStart(32)).join(''),
    );
  }
} finally {
  await rm(folder, { recursive: true });
}
