import type { Command } from 'commander';
import { API_VERSION } from '../../protocol/control/index.ts';
import { isMeshError } from '../../protocol/index.ts';
import { withHelp } from '../help.ts';
import type { Invocation } from '../invocation.ts';
import type { Act } from '../program.ts';
import { formatFields } from '../text/table.ts';

export function addVersion(program: Command, act: Act): void {
  withHelp(program.command('version'), {
    summary: 'Versions of this program, of Node and of the running daemon',
    examples: [['version --json', 'for a bug report']],
  }).action(
    act(async (invocation) => {
      const { version, nodeVersion } = invocation.world;
      const daemon = await daemonVersion(invocation);
      invocation.answer({ version, api: API_VERSION, node: nodeVersion, daemon }, (view) =>
        formatFields(
          [
            ['agentmesh', version],
            ['Node', nodeVersion],
            ['Daemon', daemon === null ? 'not running' : daemon.version],
          ],
          view,
        ),
      );
    }),
  );
}

/** Null without one, which is no failure here. */
async function daemonVersion(invocation: Invocation): Promise<{ version: string; api: number } | null> {
  try {
    const mesh = await invocation.mesh();
    return await mesh.call('version');
  } catch (error) {
    if (isMeshError(error) && error.code === 'not_running') return null;
    throw error;
  }
}
