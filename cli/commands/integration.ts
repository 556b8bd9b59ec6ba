/** MCP clients whose servers are started through the proxy. */
import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { nearest } from '../../protocol/control/index.ts';
import { isMeshError, MeshError } from '../../protocol/index.ts';
import { isPresetName, PRESET_NAMES } from '../../protocol/policy/presets.ts';
import { EXIT, type ExitCode, exitOf } from '../exit.ts';
import { isFile } from '../files.ts';
import { withHelp } from '../help.ts';
import type { ClientId, FileOutcome, FoundFile, Place, Records } from '../integration/index.ts';
import type { Invocation } from '../invocation.ts';
import { UsageError } from '../problem.ts';
import type { Act } from '../program.ts';
import { formatFound, formatOutcomes, formatStatus, type Told } from '../views/integration.ts';

interface Options {
  readonly claude?: true;
  readonly client?: readonly string[];
  readonly policy?: string;
  readonly agent?: string;
  readonly server?: readonly string[];
  readonly configPath?: string;
  readonly project?: string;
  readonly dryRun?: true;
  readonly backup: boolean;
  readonly undo?: true;
}

const SET_UP_FOR = 'for identity, audit log and approvals, which need a daemon';

export function addIntegration(program: Command, act: Act): void {
  const integration = withHelp(program.command('init-integration'), {
    summary: 'Put the MCP servers of a client behind the proxy',
    about:
      'In the configuration file of the client each server is started through "agentmesh proxy" from then on, so that policy decides on what ' +
      'is called. The file is edited in place: comments, order and everything else stay as they are. What was there is kept in the folder ' +
      '"integrations" of the home; --undo brings it back. Running it again changes nothing but the policy and the agent, if others are named, and the ' +
      'path of agentmesh, if it has moved. HTTP headers go into the environment of the proxy, as arguments are shown in the list of processes. Servers that ' +
      'speak the older HTTP+SSE, or that the client signs in to by itself, are left as they are and named. Files of an administrator ' +
      'are never touched. "init-integration list" shows what there is.',
    examples: [
      ['init-integration --claude', 'all servers of Claude Desktop'],
      ['init-integration --client cursor,vscode --policy moderate', 'of two clients'],
      ['init-integration --client all --dry-run', 'what would change'],
      ['init-integration --client claude-code --project . --server github', 'one server of a project'],
      ['init-integration --claude --undo', 'as it was before'],
    ],
  })
    .option('--claude', 'Claude Desktop; the same as --client claude')
    .option(
      '--client <client>',
      'claude, claude-code, cursor, vscode, windsurf, zed, gemini, codex, copilot, lmstudio, kiro, antigravity, opencode, cline, roo, amp, or all; may be repeated',
      parseNames,
    )
    .option('--policy <policy>', `${PRESET_NAMES.join(', ')}, or a file (default: strict, or what the server has)`)
    .option('--agent <agent>', 'name or DID of the agent that acts (default: the only one of the home)')
    .option('--server <name>', 'only the servers of this name; may be repeated', parseNames)
    .option('--config-path <file>', 'this configuration file, wherever it is')
    .option('--project <dir>', 'the files of this project instead of those of the user')
    .option('--dry-run', 'show the difference that it would make (with any secrets in it), write nothing')
    .option('--backup', 'keep a copy of the file as it was (the default)', true)
    .option('--no-backup', 'keep none; --undo works all the same')
    .option('--undo', 'take back what was changed, as far as it is still there')
    .action(
      act(async (invocation) => {
        const options = integration.opts<Options>();
        return options.undo === true ? undo(invocation, options) : write(invocation, options);
      }),
    );

  withHelp(integration.command('list'), {
    summary: 'The clients that are found, and their servers',
    about: 'Wrapped: started through the proxy. Open: not. Left: cannot be, and why.',
    examples: [
      ['init-integration list', 'of every client'],
      ['init-integration list --client vscode --json', 'of one, for a program'],
    ],
  }).action(
    act(async (invocation) => {
      const files = await look(invocation, integration.opts<Options>(), 'list');
      invocation.answer({ files }, (view) => formatFound(files, view));
      suggestNext(invocation, files);
    }),
  );

  withHelp(integration.command('status'), {
    summary: 'Whether what was put behind the proxy still works',
    about:
      'Says for each file how many servers are wrapped, and which wrappers name a program or policy that is gone. Exit code 1 if some do.',
    examples: [['init-integration status', 'after moving or updating agentmesh']],
  }).action(
    act(async (invocation): Promise<ExitCode> => {
      const files = await look(invocation, integration.opts<Options>(), 'status');
      const ok = files.every(
        ({ problem, servers }) => problem === null && servers.every(({ works }) => works !== false),
      );
      invocation.answer({ ok, files }, (view) => formatStatus(files, view));
      const broken = files.find(({ servers }) => servers.some(({ works }) => works === false));
      if (broken !== undefined) {
        const place = ['--client', broken.client, '--config-path', broken.file];
        invocation.suggest('write the wrappers anew', 'init-integration', ...place);
      }
      return ok ? EXIT.ok : EXIT.failure;
    }),
  );
}

/** Names, one an option or several with commas. */
const parseNames = (text: string, before: readonly string[] = []): readonly string[] => {
  const names = text.split(',').map((name) => name.trim());
  if (names.includes('')) throw new InvalidArgumentError('want a name, or several with commas between them');
  return [...before, ...names];
};

/** Loaded here, so that no other command pays for it. */
const load = () => import('../integration/index.ts');

/** Undefined: all. */
async function clientsOf({ claude, client = [] }: Options): Promise<readonly ClientId[] | undefined> {
  const { CLIENT_IDS, isClientId } = await load();
  const named = [...(claude === true ? ['claude'] : []), ...client];
  for (const name of named) {
    if (name === 'all' || isClientId(name)) continue;
    const meant = nearest(name, [...CLIENT_IDS, 'all']);
    throw new UsageError(
      `Cannot take "${name}" for a client: want ${CLIENT_IDS.join(', ')} or all`,
      meant === undefined ? null : `did you mean "${meant}"?`,
    );
  }
  return named.includes('all') || named.length === 0 ? undefined : [...new Set(named.filter(isClientId))];
}

/** The files that are there of the clients that are meant. Errors: not_found, usage. */
async function placesOf(invocation: Invocation, options: Options): Promise<readonly Place[]> {
  const { world } = invocation;
  const integration = await load();
  const clients = await clientsOf(options);
  if (options.configPath !== undefined) {
    if (options.project !== undefined)
      throw new UsageError('Cannot use --config-path with --project: it names the file');
    return [await namedPlace(resolve(world.cwd, options.configPath), clients)];
  }
  const project = options.project === undefined ? undefined : projectOf(resolve(world.cwd, options.project));
  const machine = integration.createMachine(world);
  const wanted = clients ?? integration.CLIENT_IDS;
  const found = wanted.flatMap((client) => integration.foundPlaces(client, machine, project));
  for (const client of clients ?? []) {
    if (found.some((place) => place.client === client)) continue;
    const { title } = integration.clientOf(client);
    const looked = integration.placesOf(client, machine, project).map(({ file }) => `"${file}"`);
    throw new MeshError(
      'not_found',
      looked.length === 0
        ? `Cannot find a configuration of ${title} in a project: it has none there`
        : `Cannot find the configuration of ${title}: nothing at ${looked.join(' or ')}`,
      { field: client, next: 'name the file with --config-path FILE, or add a server in the client first' },
    );
  }
  return integration.withoutTwins(found);
}

async function namedPlace(file: string, clients: readonly ClientId[] | undefined): Promise<Place> {
  const { guessClient, readConfig } = await load();
  const [client, ...others] = clients ?? [];
  if (others.length > 0) throw new UsageError('Cannot use --config-path with several clients: it is the file of one');
  if (client !== undefined) return { client, file };
  const { text } = await readConfig(file);
  try {
    return { client: guessClient(file, text), file };
  } catch (error) {
    if (!isMeshError(error)) throw error;
    throw new MeshError(error.code, `Cannot read "${file}": ${error.message}`, { ...error.data, path: file });
  }
}

function projectOf(directory: string): string {
  if (statSync(directory, { throwIfNoEntry: false })?.isDirectory() === true) return directory;
  throw new MeshError('not_found', `Cannot use "${directory}" as a project: it is no directory`, { path: directory });
}

async function look(invocation: Invocation, options: Options, verb: string): Promise<readonly FoundFile[]> {
  const writing = (['policy', 'agent', 'dryRun', 'undo'] as const).find((name) => options[name] !== undefined);
  if (writing !== undefined || !options.backup) {
    const flag = writing === undefined ? 'no-backup' : writing.replace(/[A-Z]/, (letter) => `-${letter.toLowerCase()}`);
    throw new UsageError(`Cannot use --${flag} with "${verb}": it only looks`);
  }
  const { lookInto } = await load();
  const places = await placesOf(invocation, options);
  const files = await Promise.all(places.map(lookInto));
  if (options.server === undefined) return files;
  const chosen = new Set(options.server);
  return files.map((file) => ({ ...file, servers: file.servers.filter(({ name }) => chosen.has(name)) }));
}

function suggestNext(invocation: Invocation, files: readonly FoundFile[]): void {
  const open = files.find(({ servers }) => servers.some(({ state }) => state === 'open'));
  if (open !== undefined)
    invocation.suggest('put its servers behind the proxy', 'init-integration', '--client', open.client);
}

async function write(invocation: Invocation, options: Options): Promise<ExitCode> {
  if (options.claude !== true && options.client === undefined && options.configPath === undefined) {
    throw new UsageError(
      'Cannot tell which client is meant: want --claude, --client NAME or --client all',
      'see what there is: agentmesh init-integration list',
    );
  }
  const { world, place } = invocation;
  const { Records, wrapFile } = await load();
  const policy = await policyOf(invocation, options.policy);
  const places = await placesOf(invocation, options);
  if (places.length === 0)
    throw new MeshError('not_found', 'Cannot find the configuration of any client', {
      next: 'name the file with --config-path FILE',
    });
  await verifyServers(places, options.server);
  const isHomeNamed = place.isHomeGiven || (world.env['AGENTMESH_HOME'] ?? '') !== '';
  const wrapping = {
    launcher: world.ownCommand,
    home: isHomeNamed ? place.home : undefined,
    policy,
    agent: options.agent,
  };
  const records = new Records(place.home, world.uid);
  const told = await each(places, (at) =>
    wrapFile(at, wrapping, { ...writing(invocation, options, records), backup: options.backup }),
  );
  return tell(invocation, options, told, records);
}

const writing = ({ world }: Invocation, { server, dryRun }: Options, records: Records) => ({
  chosen: server === undefined ? undefined : new Set(server),
  records,
  nowMs: () => world.nowMs(),
  dryRun: dryRun === true,
});

/**
 * A client starts the proxy in a directory of its own choice: files are named in full. One that no proxy could read
 * would stop every server. Errors: not_found, policy_invalid.
 */
async function policyOf({ world }: Invocation, policy: string | undefined): Promise<string | undefined> {
  if (policy === undefined || isPresetName(policy)) return policy;
  const file = resolve(world.cwd, policy);
  if (isFile(file)) {
    const [{ parseSource }, { readPolicySource }] = await Promise.all([
      import('../../protocol/policy/index.ts'),
      import('../../sdk/gate/index.ts'),
    ]);
    parseSource(await readPolicySource(file));
    return file;
  }
  const meant = nearest(policy, PRESET_NAMES);
  throw new MeshError('not_found', `Cannot find the policy "${policy}": want ${PRESET_NAMES.join(', ')} or a file`, {
    path: file,
    ...(meant !== undefined && { next: `did you mean "${meant}"?` }),
  });
}

/** Errors: not_found, for a name that no file knows. */
async function verifyServers(places: readonly Place[], servers: readonly string[] | undefined): Promise<void> {
  if (servers === undefined) return;
  const { lookInto } = await load();
  const names = (await Promise.all(places.map(lookInto))).flatMap((file) => file.servers.map(({ name }) => name));
  const unknown = servers.find((name) => !names.includes(name));
  if (unknown === undefined) return;
  const meant = nearest(unknown, names);
  throw new MeshError(
    'not_found',
    `Cannot find the server "${unknown}": it is in no configuration that was looked at`,
    {
      field: unknown,
      next: meant === undefined ? 'see what there is: agentmesh init-integration list' : `did you mean "${meant}"?`,
    },
  );
}

/** File by file: one that cannot be changed does not keep the others from it. */
async function each<T extends { readonly client: ClientId; readonly file: string }>(
  items: readonly T[],
  work: (item: T) => Promise<FileOutcome>,
): Promise<readonly Told[]> {
  const { clientOf } = await load();
  const told: Told[] = [];
  for (const item of items) {
    try {
      told.push({ ...(await work(item)), problem: null });
    } catch (error) {
      if (!isMeshError(error) || items.length === 1) throw error;
      const { client, file } = item;
      const { code, message } = error;
      const nothing = { servers: [], changed: false, backup: null, identical: null, diff: null };
      told.push({ client, title: clientOf(client).title, file, ...nothing, problem: { code, message } });
    }
  }
  return told;
}

async function undo(invocation: Invocation, options: Options): Promise<ExitCode> {
  for (const flag of ['policy', 'agent'] as const)
    if (options[flag] !== undefined) throw new UsageError(`Cannot use --${flag} with --undo: nothing is wrapped`);
  const { world, place } = invocation;
  const { Records, undoFile, createMachine, placesOf: everyPlace } = await load();
  const records = new Records(place.home, world.uid);
  const clients = await clientsOf(options);
  const all = await records.list();
  const named = options.configPath === undefined ? undefined : await realPathOf(resolve(world.cwd, options.configPath));
  const project = options.project === undefined ? undefined : projectOf(resolve(world.cwd, options.project));
  const inProject = new Set<string>();
  if (project !== undefined) {
    const machine = createMachine(world);
    for (const { client } of all)
      for (const { file } of everyPlace(client, machine, project)) inProject.add(await realPathOf(file));
  }
  const chosen = new Set(options.server ?? []);
  const meant = all.filter(
    ({ client, file, entries }) =>
      clients?.includes(client) !== false &&
      (named === undefined || file === named) &&
      (project === undefined || inProject.has(file)) &&
      (chosen.size === 0 || entries.some(({ path }) => chosen.has(path.at(-1) ?? ''))),
  );
  if (meant.length === 0) {
    throw new MeshError('not_found', `Cannot undo anything: "${records.directory}" knows of no such change`, {
      path: records.directory,
      next: 'see what is wrapped: agentmesh init-integration list; changes made with another --home are known there',
    });
  }
  const told = await each(meant, (record) => undoFile(record, writing(invocation, options, records)));
  return tell(invocation, options, told, records);
}

async function realPathOf(file: string): Promise<string> {
  const { readConfig } = await load();
  try {
    return (await readConfig(file)).realPath;
  } catch (error) {
    if (!isMeshError(error)) throw error;
    return file; // whoever deals with it says what is wrong with it
  }
}

async function tell(
  invocation: Invocation,
  { dryRun, undo: isUndo, project }: Options,
  told: readonly Told[],
  { directory }: Records,
): Promise<ExitCode> {
  const { clientOf } = await load();
  invocation.answer({ dryRun: dryRun === true, files: told }, (view) => formatOutcomes(told, dryRun === true, view));
  const changed = told.filter((file) => file.changed);
  if (changed.length > 0 && dryRun !== true && isUndo !== true) notes(invocation, project !== undefined, directory);
  if (!invocation.json && changed.length > 0) {
    for (const client of dryRun === true ? [] : new Set(changed.map((file) => file.client)))
      invocation.note(`next  ${clientOf(client).restart}`);
    if (isUndo !== true && dryRun !== true) {
      if (!invocation.place.isSetUp)
        invocation.suggest(SET_UP_FOR, 'init', '--name', 'my-agent', '--sponsor', 'you@company.com');
      invocation.suggest('see that all wrappers work', 'init-integration', 'status');
      invocation.suggest('take it back', 'init-integration', '--undo');
    }
  }
  const problem = told.find((file) => file.problem !== null)?.problem;
  return problem === null || problem === undefined ? EXIT.ok : exitOf(problem.code);
}

/** What is not seen in the files themselves, said once. */
function notes(invocation: Invocation, isProject: boolean, directory: string): void {
  invocation.note(
    `Secrets in these files (environment, headers, arguments) stay readable there, and in "${directory}": keep both to yourself.`,
  );
  if (invocation.world.ownCommand.some((word) => /[\\/]_npx[\\/]/.test(word))) {
    invocation.note(
      'This agentmesh lies in the cache of npx, which may be emptied: install it (npm install --global agentmesh) and run this again.',
    );
  }
  if (isProject)
    invocation.note('The files of this project name paths of this machine now: do not commit them for others.');
}
