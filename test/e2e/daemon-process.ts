/** A daemon as its own process, for tests: started, killed and started again in one home. */
import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { AgentMesh } from '../../sdk/index.ts';

const BIN = fileURLToPath(new URL('../../daemon/bin.js', import.meta.url));
const READY_MS = 30_000; // two shared cores and other tests beside it

export interface DaemonProcess extends AsyncDisposable {
  readonly pid: number;
  readonly did: string;
  readonly address: string;
  readonly peerId: string;
  /** What it wrote so far. */
  readonly printed: () => string;
  readonly logged: () => string;
  readonly connect: () => Promise<AgentMesh>;
  /** Resolves when the process is gone, with its exit code or the signal. */
  readonly end: (signal: NodeJS.Signals) => Promise<number | NodeJS.Signals>;
}

export interface DaemonProcessOptions {
  readonly home: string;
  readonly name: string;
  /** Default: loopback, a free port. */
  readonly listen?: string;
  readonly bootstrap?: readonly string[];
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** To be ready; default 30,000. */
  readonly readyMs?: number;
}

/** Resolves when it has said that it is ready. */
export async function startDaemonProcess(options: DaemonProcessOptions): Promise<DaemonProcess> {
  const {
    home,
    name,
    listen = '/ip4/127.0.0.1/tcp/0',
    bootstrap = [],
    args = [],
    env = {},
    readyMs = READY_MS,
  } = options;
  const child = spawn(
    process.execPath,
    [
      BIN,
      '--home',
      home,
      '--org',
      name,
      '--listen',
      listen,
      ...bootstrap.flatMap((address) => ['--bootstrap', address]),
      ...args,
    ],
    { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } },
  );
  let printed = '';
  let logged = '';
  child.stderr.on('data', (bytes: Buffer) => (logged += bytes.toString()));
  const gone = new Promise<number | NodeJS.Signals>((resolve) =>
    child.once('exit', (code, signal) => resolve(code ?? signal ?? -1)),
  );
  await new Promise<void>((resolve, reject) => {
    const late = setTimeout(() => child.kill('SIGKILL'), readyMs);
    child.stdout.on('data', (bytes: Buffer) => {
      printed += bytes.toString();
      if (!printed.includes('\nNext:')) return;
      clearTimeout(late);
      resolve();
    });
    gone.then(
      (code) => reject(new Error(`the daemon ended with ${code} before it was ready:\n${printed}${logged}`)),
      reject,
    );
  });
  const end = async (signal: NodeJS.Signals): Promise<number | NodeJS.Signals> => {
    if (isRunning(child)) child.kill(signal);
    return gone;
  };
  return {
    pid: child.pid ?? Number.NaN,
    did: found(/organisation +(\S+)/, printed),
    address: found(/address +(\S+)/, printed),
    peerId: found(/PeerId +(\S+)/, printed),
    printed: () => printed,
    logged: () => logged,
    connect: () => AgentMesh.connect({ home }),
    end,
    [Symbol.asyncDispose]: async () => {
      await end('SIGKILL');
    },
  };
}

const isRunning = (child: ChildProcess): boolean => child.exitCode === null && child.signalCode === null;

function found(pattern: RegExp, text: string): string {
  const match = pattern.exec(text)?.[1];
  if (match === undefined) throw new Error(`the daemon did not print ${String(pattern)}:\n${text}`);
  return match;
}

/** Asks until it is so. */
export async function until(what: string, isSo: () => Promise<boolean>, withinMs = 15_000): Promise<void> {
  const beganMs = performance.now();
  while (!(await isSo())) {
    if (performance.now() - beganMs > withinMs) throw new Error(`${what}: not after ${withinMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}
