/** What a proxy does before it loads the rest of itself: its server, which takes time to start, starts meanwhile. */
import { type Child, startChild } from '../../sdk/servers/child.ts';
import type { ProxyLine } from './options.ts';
import { type Settings, settingsOf } from './settings.ts';

export interface BeginWorld {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  readonly errors: { write(text: string | Uint8Array): unknown };
  /** Default: that of this machine. */
  readonly platform?: NodeJS.Platform;
}

export interface Begun {
  readonly settings: Settings;
  /** Undefined: it is elsewhere, or there will be one for each client. */
  readonly child: Child | undefined;
}

/** Errors: UsageError, bad_request. */
export async function begin(line: ProxyLine, world: BeginWorld): Promise<Begun> {
  const settings = await settingsOf(line, world);
  if (settings.url === undefined && (world.platform ?? process.platform) === 'win32') {
    const { UsageError } = await import('../problem.ts');
    throw new UsageError(
      'Cannot start a server on Windows: it could outlive the proxy, which ends process groups of POSIX',
      'start it by itself, and name it with --url',
    );
  }
  const isOne = settings.url === undefined && settings.listen === undefined;
  return { settings, child: isOne ? startServer(settings, world) : undefined };
}

export function startServer({ command }: Settings, { env, cwd, errors }: BeginWorld): Child {
  const [program = '', ...args] = command;
  return startChild({
    command: program,
    args,
    cwd,
    env,
    onUnwatched: (why) =>
      errors.write(
        `agentmesh: Without a watchdog (${why}): should this proxy be killed, the server finds its input closed\n`,
      ),
  });
}
