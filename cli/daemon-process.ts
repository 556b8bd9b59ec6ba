/** Starting and stopping agentmeshd as a process of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { mkdir, open } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { type HomePaths, isMeshError, MeshError } from '../protocol/index.ts';
import { connectTo, type Mesh } from './mesh.ts';
import type { World } from './world.ts';

const START_MS = 60_000; // opening a large store or an encrypted key ring takes seconds on a slow machine
const POLL_MS = 50;
const STOP_MS = 15_000; // longer than the daemon's own time for requests under way and its store
const SHOWN_BYTES = 4_096; // of what a daemon that failed said

type DaemonWorld = Pick<World, 'daemonCommand' | 'env' | 'signal'>;

export interface StartedDaemon {
  readonly mesh: Mesh;
  readonly pid: number;
}

/** The daemon of this home, or undefined. Errors: permissions, version. */
export async function findDaemon(paths: HomePaths, world: DaemonWorld): Promise<Mesh | undefined> {
  try {
    return await connectTo(paths, world, true);
  } catch (error) {
    if (isMeshError(error) && error.code === 'not_running') return undefined;
    throw error;
  }
}

/** Runs `work` with a daemon that lives as long as it. Errors: internal, when it does not start; those of `work`. */
export async function withDaemon<T>(
  paths: HomePaths,
  flags: readonly string[],
  world: DaemonWorld,
  work: (mesh: Mesh) => Promise<T>,
): Promise<T> {
  const said: Buffer[] = [];
  const child = spawnDaemon(paths, flags, world, ['ignore', 'ignore', 'pipe'], false);
  child.stderr?.on('data', (chunk: Buffer) => said.push(chunk));
  const ended = endOf(child);
  try {
    const mesh = await untilReady(paths, world, ended, async () => Buffer.concat(said).toString('utf8'));
    return await work(mesh);
  } finally {
    await stop(child, ended);
  }
}

/** Starts a daemon that goes on after this process, writing its log to `logFile`. Errors: internal, when it does not start. */
export async function startInBackground(paths: HomePaths, logFile: string, world: DaemonWorld): Promise<StartedDaemon> {
  await mkdir(paths.home, { recursive: true, mode: 0o700 });
  const log = openSync(logFile, 'a', 0o600);
  const child = spawnDaemon(paths, [], world, ['ignore', log, log], true);
  closeSync(log);
  const ended = endOf(child);
  const { pid } = child;
  try {
    const mesh = await untilReady(paths, world, ended, () => lastOf(logFile));
    child.unref();
    return { mesh, pid: pid ?? 0 };
  } catch (error) {
    await stop(child, ended);
    throw error;
  }
}

function spawnDaemon(
  paths: HomePaths,
  flags: readonly string[],
  { daemonCommand, env }: DaemonWorld,
  stdio: ['ignore', 'ignore' | number, 'pipe' | number],
  detached: boolean,
): ChildProcess {
  const [command, ...args] = daemonCommand;
  return spawn(command, [...args, '--home', paths.home, ...flags], { stdio, detached, env });
}

interface End {
  readonly why: string;
}

function endOf(child: ChildProcess): Promise<End> {
  return new Promise((settle) => {
    child.once('error', ({ message }) => settle({ why: message }));
    child.once('exit', (code, signal) => settle({ why: signal === null ? `exit code ${code}` : `signal ${signal}` }));
  });
}

async function untilReady(
  paths: HomePaths,
  world: DaemonWorld,
  ended: Promise<End>,
  said: () => Promise<string>,
): Promise<Mesh> {
  let end: End | undefined;
  void ended.then((found) => (end = found));
  const giveUpMs = performance.now() + START_MS;
  for (;;) {
    const mesh = await findReady(paths, world);
    if (mesh !== undefined) return mesh;
    if (end !== undefined) throw notStarted(end.why, await said());
    if (performance.now() > giveUpMs) throw notStarted(`it is not ready after ${START_MS / 1000} s`, await said());
    await sleep(POLL_MS, undefined, { signal: world.signal }).catch(() => {
      throw new MeshError('cancelled', 'Cannot wait for the daemon: interrupted');
    });
  }
}

async function findReady(paths: HomePaths, world: DaemonWorld): Promise<Mesh | undefined> {
  try {
    const mesh = await connectTo(paths, world, true);
    return (await mesh.call('readyz')).ready ? mesh : undefined;
  } catch (error) {
    // While it starts it does not listen, or answers that it is not ready; whatever else is wrong, it says itself.
    if (isMeshError(error) && ['not_running', 'closed', 'internal', 'read_only'].includes(error.code)) return undefined;
    throw error;
  }
}

/** With what the daemon said last, which names the reason. */
function notStarted(why: string, said: string): MeshError {
  const lines = said.slice(-SHOWN_BYTES).trim().split('\n');
  const own = lines.filter((line) => line.startsWith('agentmeshd: ')); // what it tells people, between lines of its log
  const shown = (own.length > 0 ? own : lines).join('\n');
  return new MeshError('internal', `Cannot start agentmeshd: ${why}${shown === '' ? '' : `\n${shown}`}`, {
    next: 'correct what it says above, or see what "agentmesh doctor" finds',
  });
}

async function lastOf(file: string): Promise<string> {
  await using handle = await open(file);
  const { size } = await handle.stat();
  const buffer = Buffer.alloc(Math.min(size, SHOWN_BYTES));
  await handle.read(buffer, 0, buffer.length, Math.max(0, size - SHOWN_BYTES));
  return buffer.toString('utf8');
}

async function stop(child: ChildProcess, ended: Promise<End>): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  child.kill('SIGTERM');
  const late = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
  await ended;
  clearTimeout(late);
}
