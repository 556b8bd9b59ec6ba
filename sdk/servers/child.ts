/**
 * The wrapped server as a child process that never outlives the proxy. It leads a process group of its own, since what
 * people name is often a starter of something else (npx starts node), and the group is what is ended:
 *
 *   stdin closed -> 2 s -> SIGTERM -> 2 s -> SIGKILL
 *
 * A watchdog, /bin/sh reading a pipe that only the proxy holds, does the same when the proxy is killed and can do
 * nothing any more. A process that leaves the group on purpose, as daemons do, is out of reach.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { constants } from 'node:os';
import type { Readable, Writable } from 'node:stream';

/** As env(1) and shells have it. */
export const COMMAND_NOT_FOUND = 127;
export const COMMAND_NOT_RUN = 126;

const GRACE_MS = 2_000; // as MCP's SDKs wait between closing stdin, SIGTERM and SIGKILL
const POLL_MS = 20; // between two looks whether the group is gone
const DRAIN_MS = 500; // for what the server wrote last; something that it left behind may hold its stdout open

/** Ours; the server is another program, from who knows where. */
const SECRETS = ['AGENTMESH_AGENT_TOKEN', 'AGENTMESH_PASSPHRASE', 'AGENTMESH_PASSPHRASE_FILE'];

export type EndSignal = 'SIGTERM' | 'SIGINT' | 'SIGHUP';

export interface Ended {
  /** The child's own, or 128 and the signal's number, as shells have it; 126 and 127 where it was never run. */
  readonly exit: number;
  /** For people: "exit code 1", "SIGSEGV", "no such command". */
  readonly how: string;
}

export interface Child {
  readonly stdin: Writable;
  readonly stdout: Readable;
  /** Its process ended, or never was; its stdout ended too, or had its time. Others of its group may be left. */
  readonly ended: Promise<Ended>;
  /** Ends it and all of its group: by closing stdin first, or with the signal at once. Resolves when none is left. */
  end(signal?: EndSignal): Promise<void>;
}

export interface ChildOptions {
  readonly command: string;
  readonly args: readonly string[];
  readonly cwd: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly graceMs?: number;
  /** Takes what it prints on stderr; default: it shares that of this process. */
  readonly onPrinted?: ((chunk: Buffer) => void) | undefined;
  /** Said when there is no watchdog. */
  readonly onUnwatched: (why: string) => void;
}

export function startChild({
  command,
  args,
  cwd,
  env,
  graceMs = GRACE_MS,
  onPrinted,
  onUnwatched,
}: ChildOptions): Child {
  // Before the child, so that there is no moment in which it runs unwatched.
  const watchdog = startWatchdog(graceMs, onUnwatched);
  const options = { cwd, env: withoutSecrets(env), detached: true }; // leads its group
  const child =
    onPrinted === undefined
      ? spawn(command, args, { ...options, stdio: ['pipe', 'pipe', 'inherit'] })
      : spawn(command, args, { ...options, stdio: ['pipe', 'pipe', 'pipe'] });
  if (onPrinted !== undefined) child.stderr?.on('data', onPrinted);
  const group = child.pid;
  if (group !== undefined) watchdog.watch(group);
  child.stdin.on('error', () => undefined); // EPIPE: it ended, which `ended` says
  child.stdout.on('error', () => undefined); // as above
  child.stderr?.on('error', () => undefined); // as above

  let ending: Promise<void> | undefined;
  const endGroup = async (first: EndSignal | undefined): Promise<void> => {
    child.stdin.end(); // what was written to it still goes there
    if (group === undefined) return;
    if (first === undefined) await isGone(group, graceMs);
    for (const signal of [first ?? 'SIGTERM', 'SIGKILL'] as const) {
      if (!signalGroup(group, signal) || (await isGone(group, graceMs))) break;
    }
    watchdog.release();
  };
  const end = (first?: EndSignal): Promise<void> => {
    // A signal does not wait for the grace of a stdin that was closed before.
    if (ending !== undefined && first !== undefined && group !== undefined) signalGroup(group, first);
    ending ??= endGroup(first);
    return ending;
  };
  return { stdin: child.stdin, stdout: child.stdout, ended: endOf(child), end };
}

function withoutSecrets(env: ChildOptions['env']): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !SECRETS.includes(name)));
}

function endOf(child: ChildProcess & { readonly stdout: Readable }): Promise<Ended> {
  return new Promise((settle) => {
    let ended: Ended | undefined;
    let late: NodeJS.Timeout | undefined;
    child.once('error', (cause: NodeJS.ErrnoException) => {
      if (child.pid !== undefined) return; // of a signal that could not be sent
      settle(
        cause.code === 'ENOENT'
          ? { exit: COMMAND_NOT_FOUND, how: 'no such command' }
          : { exit: COMMAND_NOT_RUN, how: `it may not be run (${cause.code ?? cause.message})` },
      );
    });
    child.once('exit', (code, signal) => {
      ended =
        signal === null
          ? { exit: code ?? 1, how: `exit code ${code}` }
          : { exit: 128 + constants.signals[signal], how: signal };
      late = setTimeout(settle, DRAIN_MS, ended);
    });
    child.once('close', () => {
      clearTimeout(late);
      if (ended !== undefined) settle(ended);
    });
  });
}

/** False: there is none left. */
function signalGroup(group: number, signal: NodeJS.Signals | 0): boolean {
  try {
    process.kill(-group, signal);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
    if ((error as NodeJS.ErrnoException).code === 'EPERM') return true; // one of them changed its user; others may hear
    throw error;
  }
}

async function isGone(group: number, waitMs: number): Promise<boolean> {
  for (const untilMs = performance.now() + waitMs; performance.now() < untilMs; ) {
    if (!signalGroup(group, 0)) return true;
    await new Promise((settle) => setTimeout(settle, POLL_MS));
  }
  return !signalGroup(group, 0);
}

/**
 * Reads the group's number, then waits for the pipe to end: with another line it was released, without one the proxy is
 * gone. $1: seconds of grace.
 */
const WATCHDOG = `
read -r group || exit 0
read -r released && exit 0
trap '' TERM INT HUP
gone() {
  left=$1
  while [ "$left" -gt 0 ]; do
    kill -s 0 -- "-$group" 2>/dev/null || exit 0
    sleep 1
    left=$((left - 1))
  done
}
gone "$1"
kill -s TERM -- "-$group" 2>/dev/null || exit 0
gone "$1"
kill -s KILL -- "-$group" 2>/dev/null
`;

interface Watchdog {
  watch(group: number): void;
  release(): void;
}

function startWatchdog(graceMs: number, onUnwatched: (why: string) => void): Watchdog {
  const seconds = String(Math.max(1, Math.round(graceMs / 1000)));
  const shell = spawn('/bin/sh', ['-c', WATCHDOG, 'agentmesh-watchdog', seconds], {
    stdio: ['pipe', 'ignore', 'ignore'],
    env: { PATH: '/usr/bin:/bin' },
    detached: true, // not in a terminal's group, whose signals are not for it
  });
  shell.once('error', ({ message }) => onUnwatched(message));
  shell.stdin.on('error', () => undefined); // it is gone; the proxy ends its child all the same
  shell.unref();
  (shell.stdin as Writable & { unref?(): void }).unref?.();
  return {
    watch: (group) => void shell.stdin.write(`${group}\n`),
    release: () => shell.stdin.end('released\n'),
  };
}
