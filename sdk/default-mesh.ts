import type { CallOptions } from './calls.ts';
import { AgentMesh } from './mesh.ts';

let connected: AgentMesh | undefined;

/** One connection for all who name none: to the daemon that the environment names. Errors: those of AgentMesh.connect. */
export async function defaultMesh(options: CallOptions): Promise<AgentMesh> {
  connected ??= await AgentMesh.connect(options);
  return connected;
}
