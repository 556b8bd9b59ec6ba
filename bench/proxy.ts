/**
 * `agentmesh proxy` beside the server alone, the least that Node can put in between, and the bridges of npm for the
 * transports that they share: from start to initialize answered, a 32-byte echo with 1 and 8 calls in flight, and
 * resident memory without the wrapped server. All sides in turns, medians of the rounds. Reported, no bar.
 * `npm run build && node bench/proxy.ts [--rounds N] [--dist DIRECTORY]`; memory and CPU are told on Linux.
 */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { stripTypeScriptTypes } from 'node:module';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Level } from 'level';
import { AgentMesh } from '../sdk/index.ts';
import { freePort, Side, type SideOptions } from './proxy-sides.ts';

const MESSAGE = '0123456789abcdef0123456789abcdef';
const WARM_MS = 300; // of calls that do not count
const ONE_MS = 500;
const EIGHT_MS = 500;
const IDLE_MS = 150; // after the first call, before memory is looked at
const PUTS = 60; // a round
const ENTRY_BYTES = 1_000; // about what the entry of an allowed call has

const { values: flags } = parseArgs({
  options: { rounds: { type: 'string', default: '3' }, dist: { type: 'string' } },
});
const fileOf = (path: string): string => fileURLToPath(new URL(`../${path}`, import.meta.url));
const dist = resolve(flags.dist ?? fileOf('dist'));
if (!existsSync(join(dist, 'cli/bin.js'))) throw new Error(`Cannot measure: "${dist}" is not built: npm run build`);

interface Took {
  readonly initializeMs: number;
  readonly firstMs: number;
  readonly one50: number;
  readonly one99: number;
  readonly eight50: number;
  readonly eight99: number;
  readonly perSecond: number;
  readonly cpuUs: number;
  readonly idleMegabytes: number;
  readonly megabytes: number;
}

interface Candidate {
  readonly name: string;
  /** Starts a table; what follows is compared with it. */
  readonly isBare?: true;
  readonly options: () => Promise<SideOptions> | SideOptions;
}

const at = (values: readonly number[], share: number): number => {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
};
const median = (values: readonly number[]): number => at(values, 0.5);

/** So many at a time, for so long. */
async function calls(side: Side, inFlight: number, forMs: number): Promise<number[]> {
  const took: number[] = [];
  const untilMs = performance.now() + forMs;
  const caller = async (): Promise<void> => {
    while (performance.now() < untilMs) took.push(await side.echo(MESSAGE));
  };
  await Promise.all(Array.from({ length: inFlight }, caller));
  return took;
}

async function measure({ options }: Candidate): Promise<Took> {
  const { side, initializeMs } = await Side.start(await options());
  await using _ = side;
  const firstMs = await side.echo(MESSAGE);
  await new Promise((settle) => setTimeout(settle, IDLE_MS));
  const idleMegabytes = side.megabytes;
  await calls(side, 8, WARM_MS);
  const one = await calls(side, 1, ONE_MS);
  const cpuMs = side.cpuMs;
  const beganMs = performance.now();
  const eight = await calls(side, 8, EIGHT_MS);
  const perSecond = (1000 * eight.length) / (performance.now() - beganMs);
  return {
    initializeMs,
    firstMs,
    one50: median(one),
    one99: at(one, 0.99),
    eight50: median(eight),
    eight99: at(eight, 0.99),
    perSecond,
    cpuUs: (1000 * (side.cpuMs - cpuMs)) / eight.length,
    idleMegabytes,
    megabytes: side.megabytes,
  };
}

/** Milliseconds of each: the least that makes a decision durable. */
async function puts(database: Level<string, Uint8Array>, round: number): Promise<number[]> {
  const took: number[] = [];
  for (let i = 0; i < PUTS; i++) {
    const value = randomBytes(ENTRY_BYTES);
    const beganMs = performance.now();
    await database.put(`${round}/${i}`, value, { sync: true });
    took.push(performance.now() - beganMs);
  }
  return took;
}

const folder = await mkdtemp(join(tmpdir(), 'agentmesh-bench-'));
const home = join(folder, 'home');
const env = { PATH: process.env['PATH'] ?? '', HOME: folder, MCP_REMOTE_CONFIG_DIR: join(folder, 'mcp-remote') };
const node = process.execPath;
const program = join(folder, 'bare.mjs');
writeFileSync(program, stripTypeScriptTypes(readFileSync(fileOf('bench/proxy-program.ts'), 'utf8')));
const package_ = (path: string): string => fileOf(`node_modules/${path}`);
const everything = package_('@modelcontextprotocol/server-everything/dist/index.js');
const bare = [node, program, 'stdio'];

const mesh = (given: readonly string[], server: readonly string[] = []): string[] => [
  node,
  join(dist, 'cli/bin.js'),
  'proxy',
  ...given,
  ...(server.length > 0 ? ['--', ...server] : []),
];
const local = ['--no-daemon', '--policy', 'permissive'];
const over = (name: string, command: readonly string[], isBare?: true): Candidate => ({
  name,
  ...(isBare && { isBare }),
  options: () => ({ command, env, ...(!isBare && { server: command.includes(everything) ? everything : program }) }),
});
/** For a client over HTTP. */
const listening = (name: string, command: (port: number) => readonly string[], isBare?: true): Candidate => ({
  name,
  ...(isBare && { isBare }),
  options: async () => {
    const port = await freePort();
    return { command: command(port), env, url: `http://127.0.0.1:${port}/mcp`, ...(!isBare && { server: program }) };
  },
});

function candidates(url: string): Candidate[] {
  return [
    over('stdio: bare server', bare, true),
    over('Node, bytes piped', [node, program, 'pipe', ...bare]),
    over('Node, lines parsed and written', [node, program, 'lines', ...bare]),
    over('agentmesh --no-daemon', mesh(local, bare)),
    over('agentmesh --no-daemon --log', mesh([...local, '--log', join(folder, 'decisions.jsonl')], bare)),
    over('agentmesh with its daemon', mesh(['--home', home, '--policy', 'permissive'], bare)),
    over('stdio: server-everything', [node, everything, 'stdio'], true),
    over('agentmesh --no-daemon', mesh(local, [node, everything, 'stdio'])),
    listening('stdio to HTTP: bare HTTP server', (port) => [node, program, 'http', String(port)], true),
    listening('agentmesh --listen', (port) => mesh([...local, '--listen', `127.0.0.1:${port}`], bare)),
    listening('mcp-proxy', (port) => [
      node,
      package_('mcp-proxy/dist/bin/mcp-proxy.mjs'),
      '--host',
      '127.0.0.1',
      '--port',
      String(port),
      '--server',
      'stream',
      '--',
      ...bare,
    ]),
    listening('supergateway', (port) => [
      node,
      package_('supergateway/dist/index.js'),
      '--stdio',
      bare.map((word) => `"${word}"`).join(' '),
      '--outputTransport',
      'streamableHttp',
      '--stateful',
      '--logLevel',
      'none',
      '--port',
      String(port),
    ]),
    listening('HTTP to stdio: bare HTTP server', (port) => [node, program, 'http', String(port)], true),
    over('agentmesh --url', mesh([...local, '--url', url])),
    over('supergateway', [node, package_('supergateway/dist/index.js'), '--streamableHttp', url, '--logLevel', 'none']),
    over('mcp-remote', [node, package_('mcp-remote/dist/proxy.js'), url, '--allow-http', '--transport', 'http-only']),
  ];
}

/** The first line that it prints is told. */
async function background(command: readonly string[], says: RegExp): Promise<AsyncDisposable & { said: string }> {
  const [first = '', ...rest] = command;
  const child = spawn(first, rest, { stdio: ['ignore', 'pipe', 'inherit'], env });
  const gone = new Promise<void>((settle) => child.once('exit', () => settle()));
  const end = async (): Promise<void> => {
    child.kill();
    const late = setTimeout(() => child.kill('SIGKILL'), 10_000);
    await gone;
    clearTimeout(late);
  };
  let said = '';
  await new Promise<void>((settle, fail) => {
    void gone.then(() => fail(new Error(`Cannot measure: "${command.join(' ')}" ended\n${said}`)));
    child.stdout.on('data', (chunk: Buffer) => {
      said += chunk.toString();
      if (says.test(said)) settle();
    });
  });
  return { said, [Symbol.asyncDispose]: end };
}

const COLUMNS = [
  ['initializeMs', 'initialize', 0],
  ['firstMs', '1st call', 1],
  ['one50', 'p50 x1', 3],
  ['one99', 'p99 x1', 2],
  ['eight50', 'p50 x8', 3],
  ['eight99', 'p99 x8', 2],
  ['perSecond', 'calls/s x8', 0],
  ['cpuUs', 'CPU us/call', 0],
  ['idleMegabytes', 'MB idle', 1],
  ['megabytes', 'MB used', 1],
] as const satisfies readonly (readonly [keyof Took, string, number])[];
const NAME_WIDTH = 32;
const WIDTH = 16;

function print(results: ReadonlyMap<Candidate, readonly Took[]>, failures: ReadonlyMap<Candidate, string>): void {
  let base: readonly Took[] = [];
  console.log(' '.repeat(NAME_WIDTH) + COLUMNS.map(([, title]) => title.padStart(WIDTH)).join(''));
  for (const [candidate, all] of results) {
    const { name, isBare } = candidate;
    if (isBare) {
      base = all;
      console.log('');
    }
    const why = failures.get(candidate);
    if (why !== undefined) console.log(`${name.padEnd(NAME_WIDTH)}  ${why}`);
    if (all.length === 0) continue;
    const cells = COLUMNS.map(([what, , digits]) => {
      const value = median(all.map((took) => took[what]));
      const ratio = value / median(base.map((took) => took[what]));
      const shown = isBare || digits === 1 ? '' : ` ${ratio.toFixed(ratio < 10 ? 2 : 0)}x`;
      return (value.toFixed(digits) + shown.padStart(7)).padStart(WIDTH);
    });
    console.log(name.padEnd(NAME_WIDTH) + cells.join(''));
  }
}

try {
  await using _ = await background(
    [
      node,
      join(dist, 'daemon/bin.js'),
      '--home',
      home,
      '--org',
      'Bench',
      '--listen',
      '/ip4/127.0.0.1/tcp/0',
      '--log-level',
      'error',
    ],
    /\nNext:/,
  );
  await using web = await background([node, program, 'http'], /\n/);
  const own = await AgentMesh.connect({ home });
  await own.agents.create({ name: 'bench', sponsor: 'a@example.com', capabilities: [{ can: 'call:tools' }] });
  const results = new Map<Candidate, Took[]>(
    candidates(`http://127.0.0.1:${web.said.trim()}/mcp`).map((candidate) => [candidate, []]),
  );
  const failures = new Map<Candidate, string>();
  const database = new Level<string, Uint8Array>(join(folder, 'puts'), { valueEncoding: 'view' });
  const putMs: number[] = [];
  const rounds = Number(flags.rounds);
  for (let round = 0; round <= rounds; round++) {
    for (const [candidate, all] of results) {
      if (failures.has(candidate)) continue;
      try {
        if (round > 0) all.push(await measure(candidate));
        else await (await Side.start(await candidate.options())).side[Symbol.asyncDispose](); // warms the disk's cache
      } catch (error) {
        failures.set(candidate, String(error));
      }
    }
    const took = await puts(database, round);
    if (round > 0) putMs.push(median(took));
  }
  await database.close();
  console.log(
    `${rounds} rounds, medians; times in ms; 32-byte echo; MB of all processes but the wrapped server; x: of the line above that has none\n`,
  );
  print(results, failures);
  const one = (name: string): number =>
    median([...results].find(([candidate]) => candidate.name === name)?.[1].map(({ one50 }) => one50) ?? []);
  const direct = one('stdio: bare server');
  const put = median(putMs);
  console.log(`
a synced put of ${ENTRY_BYTES} bytes takes ${put.toFixed(2)} ms (p50)
a call takes ${(one('agentmesh --no-daemon') - direct).toFixed(3)} ms more without a daemon, want <= 0.5
with one it takes ${(one('agentmesh with its daemon') - direct).toFixed(2)} ms more, ${(one('agentmesh with its daemon') - direct - put).toFixed(2)} ms above a synced put, want <= 1.5`);
} finally {
  await rm(folder, { recursive: true, force: true });
}
