/** The running daemon, as commands see it: asked as the operator, until the command is interrupted. */
import type { InputOf, OperationId, ResponseOf } from '../protocol/control/index.ts';
import type { HomePaths } from '../protocol/index.ts';
import { AgentMesh } from '../sdk/index.ts';
import type { World } from './world.ts';

export interface Mesh {
  /** For what is more than one call. */
  readonly client: AgentMesh;
  /** Errors: those of the route, not_running, cancelled. */
  call<K extends OperationId>(operationId: K, input?: Partial<InputOf<K>>): Promise<ResponseOf<K>>;
}

/**
 * The daemon of a home; where no home was named by flag, the one on $AGENTMESH_SOCKET, which `run` sets.
 * Errors: not_running, permissions, version.
 */
export async function connectTo(
  { home }: HomePaths,
  { env, signal }: Pick<World, 'env' | 'signal'>,
  isHomeGiven: boolean,
): Promise<Mesh> {
  const socket = isHomeGiven ? '' : (env['AGENTMESH_SOCKET'] ?? '');
  // Without a token, whatever the environment holds: this program is the operator's.
  const client = await AgentMesh.connect({ ...(socket === '' ? { home } : { socket }), token: null, signal });
  return { client, call: (operationId, input = {}) => client.call(operationId, input, { signal }) };
}
