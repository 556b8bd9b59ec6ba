import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import type { Agent } from '../../protocol/control/index.ts';
import { MeshError } from '../../protocol/index.ts';
import { findDaemon, startInBackground } from '../daemon-process.ts';
import type { ExitCode } from '../exit.ts';
import { withHelp } from '../help.ts';
import type { Invocation } from '../invocation.ts';
import { soleAgent } from '../lookup.ts';
import type { Mesh } from '../mesh.ts';
import type { Place } from '../problem.ts';
import type { Act } from '../program.ts';
import { formatCommand } from '../text/command.ts';
import { formatAgent } from '../views/agents.ts';

const LOG_FILE = 'agentmeshd.log';

/** As env(1) and shells have it. */
const COMMAND_NOT_FOUND = 127;
const COMMAND_NOT_RUN = 126;

interface RunOptions {
  readonly agent?: string;
}

export function addRun(program: Command, act: Act): void {
  withHelp(program.command('run'), {
    summary: 'Run a program as an agent, with the daemon it needs',
    about:
      'Starts the daemon in the background if none runs, publishes the agent if it is not, and starts the command with AGENTMESH_AGENT_TOKEN, ' +
      "AGENTMESH_SOCKET and AGENTMESH_AGENT_DID in its environment: what 'agentmesh/sdk' looks for. The exit code is the command's. The " +
      'daemon goes on when the command ends. Without a command it only sees to daemon and agent.',
    examples: [
      ['run -- node agent.js', 'as the only agent'],
      ['run --agent reporter -- python3 report.py', 'as one of several'],
      ['run', 'daemon and agent only'],
    ],
  })
    .argument('[command...]', 'program and its arguments, after "--"')
    .option('--agent <agent>', 'name or DID of the agent; without it the only one')
    .action(act(run));
}

async function run(
  invocation: Invocation,
  command: readonly string[],
  { agent: named }: RunOptions,
): Promise<ExitCode> {
  const { mesh, socket, pid } = await ensureDaemon(invocation);
  const { agent, token } = await ensureAgent(mesh, named, command.length > 0, invocation.place);
  if (command.length > 0) {
    return runCommand(invocation, command, {
      AGENTMESH_AGENT_TOKEN: token,
      AGENTMESH_SOCKET: socket,
      AGENTMESH_AGENT_DID: agent.did,
    });
  }
  invocation.answer({ agent, socket, started: pid }, (view) => formatAgent(agent, view));
  invocation.suggest('start a program as this agent', 'run', '--', 'COMMAND');
  return 0;
}

async function ensureDaemon(invocation: Invocation): Promise<{ mesh: Mesh; socket: string; pid: number | null }> {
  const { paths, world } = invocation;
  const running = await findDaemon(paths, world);
  if (running !== undefined) return { mesh: running, socket: (await running.call('status')).socket, pid: null };
  if (!invocation.place.isSetUp) {
    throw new MeshError('not_found', `Cannot run an agent: nothing is set up in "${paths.home}"`, {
      next: `set it up: ${formatCommand(['init', '--name', 'my-agent', '--sponsor', 'you@company.com'], invocation.place)}`,
    });
  }
  const logFile = join(paths.home, LOG_FILE);
  const { mesh, pid } = await startInBackground(paths, logFile, world);
  invocation.note(`Started agentmeshd in the background (pid ${pid}, log ${logFile}); "kill ${pid}" stops it.`);
  return { mesh, socket: (await mesh.call('status')).socket, pid };
}

/** Published, with a token where one is needed. Errors: not_found, suspended, revoked, usage. */
async function ensureAgent(
  mesh: Mesh,
  named: string | undefined,
  wantsToken: boolean,
  place: Place,
): Promise<{ agent: Agent; token: string }> {
  const agent = await soleAgent(mesh, named, { how: 'name one with --agent' });
  const params = { did: agent.did };
  if (agent.status === 'unregistered') {
    const registered = await mesh.call('agentRegister', { params });
    if (registered.token !== null) return { agent: registered.agent, token: registered.token };
  } else if (agent.status !== 'active') {
    throw new MeshError(agent.status, `Cannot run as "${agent.name}": it is ${agent.status}`, {
      did: agent.did,
      ...(agent.status === 'suspended' && {
        next: `let it work again: ${formatCommand(['agent', 'resume', agent.name], place)}`,
      }),
    });
  }
  return { agent, token: wantsToken ? (await mesh.call('agentToken', { params })).token : '' };
}

/** The exit code of the command, or 128 and the number of the signal that ended it. */
function runCommand(
  { world, signal: interrupt }: Invocation,
  [program = '', ...args]: readonly string[],
  variables: Record<string, string>,
): Promise<ExitCode> {
  const { AGENTMESH_PASSPHRASE: _passphrase, ...inherited } = world.env; // the key ring's; no agent's business
  return new Promise((settle, fail) => {
    const child = spawn(program, args, { stdio: 'inherit', cwd: world.cwd, env: { ...inherited, ...variables } });
    const pass = (): void => {
      const name = signalOf(interrupt);
      // A terminal sends SIGINT to the whole group by itself; twice would mean "force" to many programs.
      if (name === 'SIGTERM' || !world.isInteractive) child.kill(name);
    };
    interrupt.addEventListener('abort', pass);
    child.once('error', (cause: NodeJS.ErrnoException) => {
      interrupt.removeEventListener('abort', pass);
      if (cause.code !== 'ENOENT' && cause.code !== 'EACCES') return fail(cause);
      world.err.write(
        `error Cannot run "${program}": ${cause.code === 'ENOENT' ? 'no such command' : 'it may not be executed'}\n`,
      );
      settle(cause.code === 'ENOENT' ? COMMAND_NOT_FOUND : COMMAND_NOT_RUN);
    });
    child.once('exit', (code, name) => {
      interrupt.removeEventListener('abort', pass);
      settle(name === null ? (code ?? 1) : 128 + constants.signals[name]);
    });
  });
}

const signalOf = ({ reason }: AbortSignal): 'SIGINT' | 'SIGTERM' =>
  reason instanceof MeshError && reason.data['signal'] === 'SIGTERM' ? 'SIGTERM' : 'SIGINT';
