import { existsSync } from 'node:fs';
import type { Command } from 'commander';
import type { Agent } from '../../protocol/control/index.ts';
import type { HomePaths } from '../../protocol/index.ts';
import { capabilitiesOf, collect, parseCan, parseContact, parseDisplayName, parseName } from '../arguments.ts';
import { findDaemon, withDaemon } from '../daemon-process.ts';
import { withHelp } from '../help.ts';
import type { Invocation } from '../invocation.ts';
import type { Mesh } from '../mesh.ts';
import { UsageError } from '../problem.ts';
import type { Act } from '../program.ts';
import { formatInit, type Init } from '../views/init.ts';

/** What an agent may do for which nothing was asked: show itself, which grants nothing to anybody. */
const DEFAULT_CAPABILITY = 'mesh:handshake';

interface InitOptions {
  readonly name: string;
  readonly sponsor: string;
  readonly org?: string;
  readonly capability?: readonly string[];
}

export function addInit(program: Command, act: Act): void {
  withHelp(program.command('init'), {
    summary: 'Set up an organisation, a sponsor and an agent',
    about:
      'Makes the keys and DIDs of an organisation in an empty home, with its settings in agentmesh.yaml and its recovery keys in a folder to be ' +
      'taken offline; then a sponsor, the person who answers for the agent, and the agent with what it may do. Nothing is published before ' +
      '"register" or "run". In a home that is set up already it adds one more agent.',
    examples: [
      ['init --name my-agent --sponsor alice@company.com', 'the least'],
      [
        'init --name reporter --sponsor alice@company.com --org Acme --capability read:reports/*',
        'with what it may do',
      ],
    ],
  })
    .requiredOption('--name <name>', 'local name of the agent', parseName)
    .requiredOption(
      '--sponsor <email>',
      'e-mail address of the person who answers for it; stays on this machine',
      parseContact,
    )
    .option('--org <name>', 'name of the organisation, for people', parseDisplayName)
    .option(
      '--capability <capability>',
      `what the agent may do, like read:reports/*; may be repeated (default: ${DEFAULT_CAPABILITY}, which grants nothing)`,
      collect(parseCan),
    )
    .action(act(init));
}

async function init(invocation: Invocation, options: InitOptions): Promise<void> {
  const { paths, world } = invocation;
  const running = await findDaemon(paths, world);
  const isNew = !invocation.place.isSetUp;
  if (!isNew && options.org !== undefined) {
    throw new UsageError(
      `Cannot name the organisation "${options.org}": "${paths.home}" is set up already`,
      'leave --org out to add an agent, change "organisation" in agentmesh.yaml, or name another home with --home',
    );
  }
  const flags = options.org === undefined ? [] : ['--org', options.org];
  const work = (mesh: Mesh): Promise<Init> => setUp(mesh, paths, options, isNew);
  const answer = running === undefined ? await withDaemon(paths, flags, world, work) : await work(running);
  invocation.answer(answer, (view) => formatInit(answer, view));
  if (running === undefined)
    invocation.suggest('start the daemon, publish the agent, run your program as it', 'run', '--', 'COMMAND');
  else invocation.suggest('publish it, and get its token', 'register', answer.agent.name);
}

async function setUp(mesh: Mesh, paths: HomePaths, options: InitOptions, isNew: boolean): Promise<Init> {
  const agent = await createAgent(mesh, options);
  const { organisation } = await mesh.call('status');
  const { sponsor } = await mesh.call('sponsorShow', { params: { did: agent.sponsor.did } });
  return {
    organisation,
    sponsor,
    agent,
    isNew,
    home: paths.home,
    config: existsSync(paths.config) ? paths.config : null,
    recovery: isNew ? paths.recovery : null,
  };
}

async function createAgent(mesh: Mesh, { name, sponsor, capability }: InitOptions): Promise<Agent> {
  const capabilities = capabilitiesOf(capability ?? [DEFAULT_CAPABILITY]);
  const { agent } = await mesh.call('agentCreate', { body: { name, sponsor, capabilities, publish: false } });
  return agent;
}
