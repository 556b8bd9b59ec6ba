/** The command line as a tree: every command, its flags, its help. */
import { Command } from 'commander';
import type { Handler } from './invocation.ts';
import { addAgent } from './commands/agent.ts';
import { addApprovals } from './commands/approvals.ts';
import { addAudit } from './commands/audit.ts';
import { addCall } from './commands/call.ts';
import { addChain, addDelegate } from './commands/chain.ts';
import { addCompletion } from './commands/completion.ts';
import { addConviction } from './commands/conviction.ts';
import { addDid } from './commands/did.ts';
import { addDoctor } from './commands/doctor.ts';
import { addEvents } from './commands/events.ts';
import { addExpose, addServices } from './commands/expose.ts';
import { addHandshake } from './commands/handshake.ts';
import { addSessions } from './commands/sessions.ts';
import { addInit } from './commands/init.ts';
import { addIntegration } from './commands/integration.ts';
import { addLog } from './commands/log.ts';
import { addMessage } from './commands/message.ts';
import { addPeers } from './commands/peers.ts';
import { addPolicy } from './commands/policy.ts';
import { addProxy } from './commands/proxy.ts';
import { addReceipt } from './commands/receipt.ts';
import { addRegister } from './commands/register.ts';
import { addRevoke } from './commands/revoke.ts';
import { addRun } from './commands/run.ts';
import { addSponsor } from './commands/sponsor.ts';
import { addStatus } from './commands/status.ts';
import { addVerifyChain } from './commands/verify-chain.ts';
import { addVersion } from './commands/version.ts';
import { addWitness } from './commands/witness.ts';
import { withHelp } from './help.ts';
import type { World } from './world.ts';

/** Turns a handler into what commander calls: its arguments, then its options. */
export type Act = <A extends unknown[]>(handler: Handler<A>) => (...given: unknown[]) => Promise<void>;

const EXIT_CODES = `
Exit codes:
  0    ok
  1    failure
  2    usage
  3    refused by the rules, or invalid
  4    the daemon is not running, or what was named is not there
  5    it waits for an approval
  130  interrupted

The answer goes to stdout, everything else to stderr. --json gives one JSON value
(events, log tail: one a line) whose members are added to, never changed. Whoever may open
the control socket is the operator; the home decides which daemon is asked:
--home, else $AGENTMESH_HOME, else ~/.agentmesh.`;

export interface ProgramOptions {
  readonly world: Pick<World, 'out' | 'err' | 'version'>;
  readonly act: Act;
}

export function createProgram({ world, act }: ProgramOptions): Command {
  const { out, err, version } = world;
  const program = new Command('agentmesh');
  program
    .exitOverride()
    .configureOutput({
      writeOut: (text) => out.write(text),
      writeErr: (text) => err.write(text),
      outputError: () => undefined, // told by whoever catches the error, like any other
      getOutHelpWidth: () => helpWidth(out.columns),
      getErrHelpWidth: () => helpWidth(err.columns),
    })
    .configureHelp({ showGlobalOptions: true })
    .helpOption('-h, --help', 'show this help')
    .version(version, '--version', 'print the version of this command line')
    .option('--home <dir>', 'home of the daemon (default: $AGENTMESH_HOME, else ~/.agentmesh)')
    .option('--json', 'answer in JSON');
  withHelp(program, {
    summary: 'Identity, delegation and revocation between AI agents of different organisations',
    about: 'Talks to the daemon of one organisation, agentmeshd, over its control socket.',
    examples: [
      ['init --name my-agent --sponsor alice@company.com --capability read:reports/*', 'set up organisation and agent'],
      ['run -- node agent.js', 'start a program as that agent'],
      ['delegate --to did:mesh:bafyrei… --can read:reports/q3', 'grant something to another agent'],
      ['verify-chain q3.chain --root did:mesh:bafyrei…', 'check a grant, offline'],
    ],
  }).addHelpText('after', EXIT_CODES);

  program.commandsGroup('Begin:');
  addInit(program, act);
  addRegister(program, act);
  addRun(program, act);
  addProxy(program, act);
  addDoctor(program, act);
  program.commandsGroup('Govern:');
  addPolicy(program, act);
  addApprovals(program, act);
  addIntegration(program, act);
  program.commandsGroup('See:');
  addStatus(program, act);
  addPeers(program, act);
  addAgent(program, act);
  addSponsor(program, act);
  addDid(program, act);
  addEvents(program, act);
  program.commandsGroup('Grant, check, revoke:');
  addDelegate(program, act);
  addChain(program, act);
  addVerifyChain(program, act);
  addRevoke(program, act);
  addHandshake(program, act);
  addSessions(program, act);
  program.commandsGroup('Call:');
  addCall(program, act);
  addServices(program, act);
  addExpose(program, act);
  addMessage(program, act);
  program.commandsGroup('Audit:');
  addAudit(program, act);
  addLog(program, act);
  addReceipt(program, act);
  addWitness(program, act);
  addConviction(program, act);
  program.commandsGroup('This program:');
  addCompletion(program, act);
  addVersion(program, act);
  program.helpCommand('help [command]', 'Help for a command');
  return program;
}

const HELP_COLUMNS_MAX = 100; // longer lines are hard to read
const helpWidth = (columns = HELP_COLUMNS_MAX): number => Math.min(columns, HELP_COLUMNS_MAX);
