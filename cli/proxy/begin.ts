/** What a proxy does before it loads the rest of itself: its server, which takes time to start, starts meanwhile. */
import { type Child, startChild } from './child.ts';
import type { ProxyLine } from './options.ts';
import { type Settings, settingsOf } from './settings.ts';

export interface BeginWorld {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  readonly errors: { write(text: string | Uint8Array): unknown };
}

export interface Begun {
  readonly settings: Settings;
  /** Undefined: it is elsewhere, or there will be one for each client. */
  readonly child: Child | undefined;
}

/** Errors: UsageError. */
export async function begin(line: ProxyLine, world: BeginWorld): Promise<Begun> {
  const settings = await settingsOf(line, world);
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
