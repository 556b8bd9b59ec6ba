import { type Command, InvalidArgumentError } from 'commander';
import { isExposedName } from '../../protocol/call/index.ts';
import type { ExposeBody } from '../../protocol/control/index.ts';
import { isPresetName } from '../../protocol/policy/presets.ts';
import { readPolicySource } from '../../sdk/index.ts';
import { collect, parseCan } from '../arguments.ts';
import { withHelp } from '../help.ts';
import type { Invocation } from '../invocation.ts';
import { findMeshDid, localNames, speakerOf } from '../lookup.ts';
import { UsageError } from '../problem.ts';
import type { Act } from '../program.ts';
import { formatExposed, formatExposure, formatServices } from '../views/exposed.ts';

interface ExposeOptions {
  readonly mcp?: string;
  readonly url?: string;
  readonly capability?: readonly Granted[];
  readonly policy?: string;
  readonly description?: string;
  readonly env?: readonly string[];
  readonly header?: readonly string[];
  readonly headerEnv?: readonly string[];
  readonly check: boolean;
}

/** `tool` undefined: for all of them. */
interface Granted {
  readonly tool: string | undefined;
  readonly can: string;
}

export function addExpose(program: Command, act: Act): void {
  const expose = withHelp(program.command('expose'), {
    summary: 'Let agents of other organisations call an MCP server',
    about:
      'As far as a delegation of this organisation lets them: each tool needs mcp:NAME/TOOL, or what --capability names. The daemon starts the program ' +
      'once for each of their links, in this directory, with PATH, HOME, LANG and the like, and --env; or reaches a server by --url. Every call is decided by the ' +
      'policies in force and by --policy, and is logged and receipted on both sides. It stays until it is removed, restarts included; "expose" in agentmesh.yaml does the ' +
      'same for good. Exposing it again under its name replaces it, and ends its links.',
    examples: [
      ['expose --mcp files -- npx -y @modelcontextprotocol/server-filesystem /srv/shared', 'a program'],
      [
        'expose --mcp files --capability read:files --capability write_file=write:files --policy strict -- node server.js',
        'with capabilities of your own',
      ],
      [
        'expose --mcp search --url https://search.example.com/mcp --header-env Authorization=TOKEN',
        'a server elsewhere',
      ],
      ['expose list', 'what is exposed'],
    ],
  })
    .argument('[command...]', 'program that is the server, and its arguments, after "--"')
    .option('--mcp <name>', 'name by which others call it', parseExposedName)
    .option('--url <url>', 'a server that speaks Streamable HTTP, in place of a program')
    .option(
      '--capability <[tool=]capability>',
      'what its tools need, or one of them; may be repeated (default: mcp:NAME/TOOL)',
      collect(parseGranted),
    )
    .option(
      '--policy <policy>',
      'file, or strict, moderate or permissive (default: moderate); a file is taken as it is now',
    )
    .option('--description <text>', 'what it is for, on one line; others read it')
    .option(
      '--env <name[=value]>',
      'variable for the program; without a value the one of here; may be repeated',
      collect(String),
    )
    .option(
      '--header <header>',
      "sent to the URL with every request, as 'Name: value'; may be repeated",
      collect(String),
    )
    .option('--header-env <name=variable>', 'the same, with the value of a variable; may be repeated', collect(String))
    .option('--no-check', 'do not start it once to see that it works')
    .action(act(add));

  withHelp(expose.command('list'), {
    summary: 'What this daemon exposes',
    examples: [['expose list --json', 'for a program']],
  }).action(
    act(async (invocation) => {
      const mesh = await invocation.mesh();
      const answer = await mesh.call('exposeList');
      invocation.answer(answer, (view) => formatExposed(answer.exposed, view));
    }),
  );

  withHelp(expose.command('check'), {
    summary: 'Start an exposed server once, and say what its tools need',
    examples: [['expose check files', 'as when it was exposed']],
  })
    .argument('<name>', 'as "expose list" has it', parseExposedName)
    .action(
      act(async (invocation, name: string) => {
        const mesh = await invocation.mesh();
        const answer = await mesh.call('exposeCheck', { params: { name } });
        invocation.answer(answer, (view) => formatExposure(answer, view));
      }),
    );

  withHelp(expose.command('remove'), {
    summary: 'Expose a server no longer; its links end',
    examples: [['expose remove files', 'by its name']],
  })
    .argument('<name>', 'as "expose list" has it', parseExposedName)
    .action(
      act(async (invocation, name: string) => {
        const mesh = await invocation.mesh();
        const answer = await mesh.call('exposeRemove', { params: { name } });
        invocation.answer(answer, () => `removed ${answer.name}\n`);
      }),
    );
}

export function addServices(program: Command, act: Act): void {
  withHelp(program.command('services'), {
    summary: 'What an agent or organisation exposes',
    about:
      'It is asked with each chain that it granted here, and tells names and descriptions of the servers of which one covers something; without a chain nothing. ' +
      'Without a DID: what this daemon tells those who may know of all of it.',
    examples: [
      ['services did:mesh:bafyrei…', 'what the only agent here may use'],
      ['services did:mesh:bafyrei… --as my-agent', 'what one of several may use'],
      ['services', 'of this daemon'],
    ],
  })
    .argument('[did]', 'DID of the agent or organisation')
    .option('--as <agent>', 'own agent that asks; without it the only one (DID of the organisation: itself)')
    .action(
      act(async (invocation, text: string | undefined, { as }: { readonly as?: string }) => {
        const mesh = await invocation.mesh();
        const did = text === undefined ? undefined : await findMeshDid(mesh, text);
        const speaker = did === undefined && as === undefined ? undefined : await speakerOf(mesh, as);
        const query = { ...(did !== undefined && { did }), ...(speaker !== undefined && { as: speaker }) };
        const [answer, names] = await Promise.all([mesh.call('services', { query }), localNames(mesh)]);
        invocation.answer(answer, (view) => formatServices(answer, view, names));
      }),
    );
}

function parseExposedName(text: string): string {
  if (!isExposedName(text))
    throw new InvalidArgumentError('want 1 to 64 of a-z, 0-9, ".", "_" and "-", beginning with a letter');
  return text;
}

/** No capability has "=" in it, and tools may. */
function parseGranted(text: string): Granted {
  const equals = text.lastIndexOf('=');
  if (equals === 0) throw new InvalidArgumentError('want TOOL=CAPABILITY, or a capability for all tools');
  return {
    tool: equals < 0 ? undefined : text.slice(0, equals),
    can: parseCan(text.slice(equals + 1)),
  };
}

async function add(invocation: Invocation, words: readonly string[], options: ExposeOptions): Promise<void> {
  const server = await serverOf(invocation, words, options);
  const granted = grantedOf(options.capability ?? []);
  const mesh = await invocation.mesh();
  const policy = options.policy === undefined ? undefined : await policyOf(invocation, options.policy);
  const body: ExposeBody = {
    ...server,
    ...granted,
    ...(policy !== undefined && { policy }),
    ...(options.description !== undefined && { description: options.description }),
    check: options.check,
  };
  const answer = await mesh.call('exposeAdd', { body });
  invocation.answer(answer, (view) => formatExposure(answer, view));
  const { name, capability } = answer.exposure;
  invocation.suggest('let another agent use it', 'delegate', '--to', 'DID', '--can', capability ?? `mcp:${name}/*`);
}

type Server = Pick<ExposeBody, 'name' | 'command' | 'cwd' | 'env' | 'url' | 'headers'>;

/** Errors: UsageError, bad_request. */
async function serverOf(
  { world }: Invocation,
  words: readonly string[],
  { mcp: name, url, env = [], header = [], headerEnv = [] }: ExposeOptions,
): Promise<Server> {
  if (name === undefined)
    throw new UsageError(
      'Cannot expose a server without a name: want --mcp NAME',
      'see what is exposed with "agentmesh expose list"',
    );
  if ((words.length === 0) === (url === undefined))
    throw new UsageError(
      'Cannot tell which server to expose: want either a program after "--", or --url',
      `as in: agentmesh expose --mcp ${name} -- npx -y @modelcontextprotocol/server-filesystem /some/directory`,
    );
  if (url === undefined) {
    if (header.length + headerEnv.length > 0) throw new UsageError('Cannot use --header without --url');
    return { name, command: [...words], cwd: world.cwd, ...(env.length > 0 && { env: variablesOf(env, world.env) }) };
  }
  if (env.length > 0) throw new UsageError('Cannot use --env with --url: there is no program to give it to');
  const { parseHeaders, parseServerUrl } = await import('../../sdk/servers/http.ts');
  const headers = parseHeaders(header, headerEnv, world.env);
  const texts = Object.fromEntries(Object.entries(headers).map(([field, value]) => [field, String(value)]));
  return { name, url: parseServerUrl(url).href, ...(Object.keys(texts).length > 0 && { headers: texts }) };
}

/** Errors: UsageError, which never holds a value. */
function variablesOf(
  given: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): Record<string, string> {
  return Object.fromEntries(
    given.map((text) => {
      const equals = text.indexOf('=');
      const name = equals < 0 ? text : text.slice(0, equals);
      const value = equals < 0 ? env[name] : text.slice(equals + 1);
      if (name === '' || value === undefined)
        throw new UsageError(
          name === ''
            ? 'Cannot read an --env: want NAME or NAME=VALUE'
            : `Cannot give "${name}" on: it is not set here`,
        );
      return [name, value];
    }),
  );
}

/** Errors: UsageError. */
function grantedOf(granted: readonly Granted[]): Pick<ExposeBody, 'capability' | 'needs'> {
  const [capability, ...others] = granted.filter(({ tool }) => tool === undefined);
  if (others.length > 0)
    throw new UsageError(
      'Cannot tell what tools need: more than one --capability is for all of them',
      'name the tool: TOOL=CAPABILITY',
    );
  const needs = granted.flatMap(({ tool, can }) => (tool === undefined ? [] : [[tool, can] as const]));
  return {
    ...(capability !== undefined && { capability: capability.can }),
    ...(needs.length > 0 && { needs: Object.fromEntries(needs) }),
  };
}

/** A built-in one by name, any other by the digest under which the daemon keeps it. Errors: policy_invalid. */
async function policyOf(invocation: Invocation, named: string): Promise<string> {
  if (isPresetName(named)) return named;
  const { name, files } = await readPolicySource(named, invocation.world.cwd);
  const mesh = await invocation.mesh();
  const { policy } = await mesh.call('policyLoad', { body: { name, files: [...files] } });
  return policy.digest;
}
