/** The command line as a process of its own, with the daemon that it starts: what a newcomer types first. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { repositoryRoot } from '../house/architecture.ts';

const BIN = join(repositoryRoot, 'cli/bin.js');
const STEP_MS = 60_000; // each starts processes, on a machine that may be busy with others

let home: string;
beforeAll(async () => {
  home = join(await realpath(await mkdtemp(join(tmpdir(), 'agentmesh-process-'))), 'home');
});
afterAll(async () => {
  await stopDaemon();
  await rm(join(home, '..'), { recursive: true, force: true });
});

function start(words: readonly string[], more: Readonly<Record<string, string>> = {}): ChildProcess {
  const { AGENTMESH_HOME: _home, AGENTMESH_SOCKET: _socket, ...inherited } = process.env;
  const env = { ...inherited, AGENTMESH_HOME: home, AGENTMESH_LISTEN: '/ip4/127.0.0.1/tcp/0', ...more };
  return spawn(process.execPath, [BIN, ...words], { env, stdio: ['ignore', 'pipe', 'pipe'] });
}

interface Ended {
  readonly exit: number | null;
  readonly out: string;
  readonly err: string;
}

function endOf(child: ChildProcess): Promise<Ended> {
  const [out, err]: [Buffer[], Buffer[]] = [[], []];
  child.stdout?.on('data', (chunk: Buffer) => out.push(chunk));
  child.stderr?.on('data', (chunk: Buffer) => err.push(chunk));
  return new Promise((settle, fail) => {
    child.once('error', fail);
    child.once('close', (exit) =>
      settle({ exit, out: Buffer.concat(out).toString(), err: Buffer.concat(err).toString() }),
    );
  });
}

const agentmesh = (...words: readonly string[]): Promise<Ended> => endOf(start(words));

/** Until the process has said this. */
function said(child: ChildProcess, text: string): Promise<void> {
  return new Promise((settle, fail) => {
    let all = '';
    const listen = (chunk: Buffer): void => {
      all += chunk.toString();
      if (all.includes(text)) settle();
    };
    child.stdout?.on('data', listen);
    child.stderr?.on('data', listen);
    child.once('close', () => fail(new Error(`It ended without saying "${text}": ${all}`)));
  });
}

const isAlive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false; // no such process
  }
};

async function stopDaemon(): Promise<void> {
  const info = join(home, 'daemon.json');
  if (!existsSync(info)) return;
  const { pid } = JSON.parse(await readFile(info, 'utf8')) as { pid: number };
  if (isAlive(pid)) process.kill(pid, 'SIGTERM');
  for (let i = 0; i < 400 && isAlive(pid); i++) await new Promise((settle) => setTimeout(settle, 25));
  expect(isAlive(pid)).toBe(false);
}

test(
  'init makes organisation, sponsor, agent and settings, and leaves no process behind',
  async () => {
    const words = [
      'init',
      '--name',
      'my-agent',
      '--sponsor',
      'alice@company.com',
      '--org',
      'Acme',
      '--capability',
      'read:reports/*',
    ];
    const { exit, out, err } = await agentmesh(...words);
    expect([exit, err]).toEqual([0, expect.stringContaining('agentmesh run -- COMMAND')]);
    expect(out).toMatch(/^created organisation, sponsor and agent\n/);
    const settings = await readFile(join(home, 'agentmesh.yaml'), 'utf8');
    expect(settings).toMatch(/^# Settings of this AgentMesh daemon/);
    expect(settings).toContain('\norganisation: Acme\n');
    expect(await readdir(home)).not.toContain('daemon.json');
    expect(await agentmesh('status')).toMatchObject({ exit: 4, out: '' });
    expect(JSON.parse(await readFile(join(home, 'roots.json'), 'utf8'))).toMatchObject({
      roots: [/did:mesh:\w+/.exec(out)?.[0]],
    });
  },
  STEP_MS,
);

test(
  "run starts the daemon, publishes the agent, and passes on the command's output and exit code",
  async () => {
    const print =
      'const { AGENTMESH_AGENT_DID: did, AGENTMESH_AGENT_TOKEN: token, AGENTMESH_SOCKET: socket } = process.env; console.log(JSON.stringify({ did, token, socket, pw: process.env.AGENTMESH_PASSPHRASE ?? null })); process.exit(7)';
    const first = await agentmesh('run', '--', process.execPath, '-e', print);
    expect(first.err).toMatch(
      /^Started agentmeshd in the background \(pid \d+, log .*agentmeshd\.log\); "kill \d+" stops it\.\n/,
    );
    expect(first.exit).toBe(7);
    const given = JSON.parse(first.out) as Record<string, string>;
    expect(given).toMatchObject({ socket: join(home, 'agentmeshd.sock'), pw: null });
    expect(given['token']).toMatch(/^[\w-]{43}$/);
  },
  STEP_MS,
);

test(
  'Ctrl-C ends what follows or runs, with 130',
  async () => {
    const events = start(['events']);
    const followed = endOf(events);
    await said(events, 'Following events');
    events.kill('SIGINT');
    expect(await followed).toMatchObject({ exit: 130, out: '' });

    const runs = start(['run', '--', process.execPath, '-e', 'console.log("up"); setInterval(() => {}, 1000)']);
    const ran = endOf(runs);
    await said(runs, 'up');
    runs.kill('SIGINT');
    expect(await ran).toMatchObject({ exit: 130 });
  },
  STEP_MS,
);

test(
  'a reader that leaves early is no failure',
  async () => {
    const child = spawn('sh', [
      '-c',
      '"$0" "$1" --home "$2" did export --format log | head -c 1; exit 0',
      process.execPath,
      BIN,
      home,
    ]);
    expect(await endOf(child)).toEqual({ exit: 0, out: '{', err: '' });
  },
  STEP_MS,
);

test(
  'a chain is exported, verified without the daemon, and stale when it is old',
  async () => {
    const link = JSON.parse(
      (
        await agentmesh(
          'delegate',
          '--to',
          'my-agent',
          '--can',
          'read:reports/q3',
          '--as',
          'my-agent',
          '--stl',
          '2s',
          '--json',
        )
      ).out,
    ) as { link: { id: string } };
    const file = join(home, 'q3.chain');
    expect(await agentmesh('chain', 'export', link.link.id, '--out', file)).toMatchObject({ exit: 0 });
    await stopDaemon();
    await new Promise((settle) => setTimeout(settle, 2_100));
    const { exit, out, err } = await agentmesh('verify-chain', file);
    expect([exit, err]).toEqual([3, expect.stringContaining('export the chain anew')]);
    expect(out).toMatch(/^invalid {2}status_stale/);
    const { heartbeat } = { heartbeat: /known as of (\d+) s before/.exec(out)?.[1] };
    const then = new Date(Date.now() - 1000 * Number(heartbeat)).toISOString();
    expect(await agentmesh('verify-chain', file, '--at', then, '--can', 'read:reports/q3')).toMatchObject({ exit: 0 });
  },
  STEP_MS,
);

test(
  'the recovery keys that init left take the organisation back, and are good once',
  async () => {
    expect(await agentmesh('run')).toMatchObject({ exit: 0 });
    const keys = (await readdir(join(home, 'recovery'))).filter((name) => /^recovery-\d\.key$/.test(name)).slice(0, 2);
    expect(keys).toHaveLength(2);
    const words = ['did', 'recover', ...keys.flatMap((name) => ['--key', join(home, 'recovery', name)])];
    const before = JSON.parse((await agentmesh('did', 'show', '--json')).out) as { keys: { key: string }[] };
    const { exit, out } = await agentmesh(...words);
    expect([exit, out]).toMatchObject([0, expect.stringMatching(/^recovered did:mesh:/)]);
    const after = JSON.parse((await agentmesh('did', 'show', '--json')).out) as {
      keys: { key: string; standing: string }[];
    };
    expect(after.keys.find(({ key }) => key === before.keys[0]?.key)?.standing).toBe('dead');
    const made = (): Promise<string[]> => readdir(join(home, 'recovery'));
    const files = await made();
    const again = await agentmesh(...words);
    expect([again.exit, again.err]).toEqual([
      3,
      expect.stringContaining('not the recovery keys that it is committed to'),
    ]);
    expect(await made()).toEqual(files);
  },
  STEP_MS,
);
