/** A command line in a home of its own, run in this process; with a fake daemon where one is wanted. */
import { mkdtemp, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runCli } from '../../cli/cli.ts';
import type { ExitCode } from '../../cli/exit.ts';
import type { World } from '../../cli/world.ts';
import type { ControlServerOptions } from '../../daemon/control/server.ts';
import { FakeBackend } from '../daemon/control/fake-backend.ts';
import { startServer } from '../daemon/control/start.ts';

export interface Ran {
  readonly exit: ExitCode;
  readonly out: string;
  /** As bytes. */
  readonly outBytes: Buffer;
  readonly err: string;
  /** What was answered with --json. */
  readonly json: Record<string, unknown>;
  /** The error that was told with --json. */
  readonly error: {
    readonly code: string;
    readonly message: string;
    readonly next: string | null;
    readonly exit: number;
  };
}

type Overrides = Partial<Omit<World, 'out' | 'err' | 'argv'>> & {
  readonly outColumns?: number;
  /** Standard input. */
  readonly input?: Uint8Array;
};

/** Runs `agentmesh` with these words. Standard output is no terminal unless `outColumns` says how wide it is. */
export async function run(home: string, argv: readonly string[], overrides: Overrides = {}): Promise<Ran> {
  const { outColumns, input, ...world } = overrides;
  const [out, err] = [collector(outColumns), collector(undefined)];
  const exit = await runCli({
    argv: ['--home', home, ...argv],
    env: {},
    cwd: home,
    userHome: '/nobody',
    temporaryDir: tmpdir(),
    uid: process.getuid?.() ?? 0,
    isInteractive: false,
    readInput: async () => input ?? new Uint8Array(),
    nowMs: () => Date.now(),
    signal: new AbortController().signal,
    platform: 'linux',
    ownCommand: [process.execPath, join(import.meta.dirname, '../../cli/bin.js')],
    daemonCommand: [process.execPath, '-e', 'process.exit(9)', '--'],
    nodeVersion: process.versions.node,
    version: '0.1.0',
    ...world,
    out: out.output,
    err: err.output,
  });
  const [outText, errText] = [out.bytes().toString('utf8'), err.bytes().toString('utf8')];
  return {
    exit,
    out: outText,
    outBytes: out.bytes(),
    err: errText,
    get json() {
      return JSON.parse(outText) as Record<string, unknown>;
    },
    get error() {
      const line = errText.split('\n').find((each) => each.startsWith('{"error"')) ?? '';
      return (JSON.parse(line) as { error: Ran['error'] }).error;
    },
  };
}

function collector(columns: number | undefined): { output: World['out']; bytes: () => Buffer } {
  const chunks: Buffer[] = [];
  return {
    output: {
      write: (text) => void chunks.push(Buffer.from(text as Uint8Array)),
      isTty: columns !== undefined,
      columns,
    },
    bytes: () => Buffer.concat(chunks),
  };
}

export interface Home extends AsyncDisposable {
  readonly path: string;
  readonly run: (argv: readonly string[], overrides?: Overrides) => Promise<Ran>;
}

/** An empty home, and nobody in it. */
export async function createHome(): Promise<Home> {
  const path = await realpath(await mkdtemp(join(tmpdir(), 'agentmesh-cli-')));
  return {
    path,
    run: (argv, overrides) => run(path, argv, overrides),
    [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }),
  };
}

export interface HomeWithDaemon extends Home {
  readonly fake: FakeBackend;
}

/** A home where a daemon answers: acme, with the agent "reporter", sponsored by alice. */
export async function createHomeWithDaemon(
  fake: FakeBackend = new FakeBackend(),
  options: Pick<ControlServerOptions, 'links'> | Record<string, never> = {},
): Promise<HomeWithDaemon> {
  const home = await createHome();
  const started = await startServer({ ...options, fake, socketPath: join(home.path, 'agentmeshd.sock') });
  await fake.agentCreate(
    {
      params: {},
      query: {},
      body: { name: 'reporter', sponsor: 'alice@company.com', capabilities: [{ can: 'read:reports/*' }] },
    },
    { kind: 'operator' },
    new AbortController().signal,
  );
  fake.calls.length = 0;
  return {
    ...home,
    fake,
    async [Symbol.asyncDispose]() {
      await started[Symbol.asyncDispose]();
      await home[Symbol.asyncDispose]();
    },
  };
}
