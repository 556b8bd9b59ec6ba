/** Who decides: the daemon of this home, or a policy in this process where there is none to ask. */
import { resolve } from 'node:path';
import { userInfo } from 'node:os';
import type { Gate } from '../../protocol/policy/index.ts';
import {
  findOwnAgent,
  findPlace,
  homePathsOf,
  isSetUp,
  openDaemonGate,
  openLocalGate,
  type Place,
  readPolicySource,
} from '../../sdk/gate/index.ts';

export interface OpenGateOptions {
  readonly home: string | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  /** strict, moderate, permissive, or a file. */
  readonly policy: string;
  /** Name or DID; default the only one. */
  readonly agent: string | undefined;
  /** False: never the daemon. */
  readonly daemon: boolean;
  /** Of decisions without a daemon. */
  readonly logFile: string | undefined;
  readonly note: (text: string) => void;
  readonly signal: AbortSignal;
}

/** Errors: policy_invalid, not_found, permissions, version, internal (a daemon that does not start). */
export async function openGate(options: OpenGateOptions): Promise<Gate> {
  const { home, env, cwd, agent, logFile, note } = options;
  const policies = [await readPolicySource(options.policy, cwd)];
  if (!options.daemon || !(isNamed(env) || isSetUp(home, env))) {
    const gate = await openLocalGate({
      agent: agent ?? userInfo().username,
      policies,
      ...(logFile !== undefined && { logFile: resolve(cwd, logFile) }),
    });
    const why = options.daemon ? `nothing is set up in "${homePathsOf(home, env).home}"` : 'as --no-daemon says';
    note(`Without a daemon: ${why}. What this lacks: ${gate.description.missing.join('; ')}`);
    if (options.daemon) note('To set one up: agentmesh init --name my-agent --sponsor you@company.com');
    return gate;
  }
  const place = findPlace({ home }, env);
  return withDaemon(options, async () => {
    const caller = await callerOf(place, options);
    return openDaemonGate({ place, ...caller, policies, signal: options.signal });
  });
}

/** For whom a proxy asks: the agent whose token it was given, else as the operator for one that it names. Errors: not_found. */
export async function callerOf(
  place: Place,
  { env, agent, signal }: Pick<OpenGateOptions, 'env' | 'agent' | 'signal'>,
): Promise<{ readonly token: string } | { readonly as: string }> {
  const token = env['AGENTMESH_AGENT_TOKEN'];
  return token === undefined || token === '' ? { as: await findOwnAgent(place, agent, signal) } : { token };
}

/** Starts the daemon of a home where it does not run yet. Errors: those of `open`, internal (it does not start). */
export async function withDaemon<T>(
  { home, env, note, signal }: Pick<OpenGateOptions, 'home' | 'env' | 'note' | 'signal'>,
  open: () => Promise<T>,
): Promise<T> {
  try {
    return await open();
  } catch (error) {
    if (!isNotRunning(error) || isNamed(env) || !isSetUp(home, env)) throw error;
  }
  note('Starting agentmeshd in the background; it goes on when this ends');
  const { startDaemonFor } = await import('./start-daemon.ts');
  await startDaemonFor(home, signal);
  return open();
}

/** Whether the environment says where the daemon is, which then is not ours to start. */
const isNamed = (env: OpenGateOptions['env']): boolean =>
  (env['AGENTMESH_SOCKET'] ?? '') !== '' || (env['AGENTMESH_URL'] ?? '') !== '';

const isNotRunning = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && error.code === 'not_running';
