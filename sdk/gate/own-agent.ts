/** For whom a process beside the daemon acts, found without loading the whole client. */
import { statSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { resolve } from 'node:path';
import { type Environment, type HomePaths, homeOf, pathsOf, runtimeDirOf } from '../../protocol/control/paths.ts';
import { MeshError } from '../../protocol/errors.ts';
import * as limits from '../../protocol/limits.ts';
import { parseAnswer, readText, send } from '../http.ts';
import type { Place } from '../place.ts';

export function homePathsOf(home: string | undefined, env: Environment): HomePaths {
  const uid = process.getuid?.() ?? 0;
  return pathsOf({ home: resolve(homeOf(home, env, homedir())), runtimeDir: runtimeDirOf(env, tmpdir()), uid });
}

/** Whether an organisation was set up there. */
export function isSetUp(home: string | undefined, env: Environment): boolean {
  try {
    return statSync(homePathsOf(home, env).database, { throwIfNoEntry: false }) !== undefined;
  } catch {
    return true; // something that may not be looked at: whoever goes on without a daemon would pass its policies by
  }
}

interface ListedAgent {
  readonly did: string;
  readonly name: string;
  readonly status: string;
}

/**
 * The DID of the agent of this name or DID, or of the only one, which is published where it is not; asked as the
 * operator. Errors: not_found, and the daemon's.
 */
export async function findOwnAgent(place: Place, named: string | undefined, signal?: AbortSignal): Promise<string> {
  const call = async (method: string, path: string): Promise<unknown> => {
    const asked = { method, path, token: undefined, signal, idleMs: limits.API_CALL_MS };
    return parseAnswer(await readText(await send(place, asked), signal));
  };
  const { agents } = (await call('GET', '/v1/agents')) as { agents: readonly ListedAgent[] };
  const found =
    named === undefined
      ? agents.filter(({ status }) => status !== 'revoked')
      : agents.filter(({ name, did }) => name === named || did === named);
  const [agent] = found;
  if (agent === undefined || found.length > 1) throw notOne(agents, found, named);
  if (agent.status === 'unregistered') await call('POST', `/v1/agents/${agent.did}/register`);
  return agent.did;
}

function notOne(agents: readonly ListedAgent[], found: readonly ListedAgent[], named: string | undefined): MeshError {
  const names = agents.map(({ name }) => `"${name}"`).join(', ');
  return new MeshError(
    'not_found',
    named === undefined
      ? `Cannot tell which agent acts: there ${found.length === 0 ? 'is none' : `are ${found.length}`}`
      : `Cannot find agent "${named}": this organisation has none of this name`,
    {
      next:
        agents.length === 0
          ? 'make one: agentmesh init --name my-agent --sponsor you@company.com'
          : `name one with --agent: ${names}`,
    },
  );
}
