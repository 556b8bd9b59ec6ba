import { basename, dirname, join, resolve } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import type { ExplainAnswer, GateRequestBody, PolicyListed } from '../../protocol/control/index.ts';
import { isMeshError, type JsonObject, limits, MeshError } from '../../protocol/index.ts';
import type { GateRequest, Policy } from '../../protocol/policy/index.ts';
import { isPresetName, PRESET_NAMES, PRESETS } from '../../protocol/policy/presets.ts';
import { readPolicySource } from '../../sdk/index.ts';
import { collect, secondsBetween, withoutEllipsis } from '../arguments.ts';
import { EXIT, type ExitCode } from '../exit.ts';
import { isFile, readBounded } from '../files.ts';
import { withHelp } from '../help.ts';
import type { Invocation } from '../invocation.ts';
import { findAgent, localNames } from '../lookup.ts';
import type { Mesh } from '../mesh.ts';
import { UsageError } from '../problem.ts';
import type { Act } from '../program.ts';
import {
  type Checked,
  formatChecked,
  formatComparison,
  formatDiff,
  formatExplained,
  formatLint,
  formatPolicies,
  formatPolicyFiles,
  formatShadow,
  formatTested,
  type Linted,
  type Tested,
} from '../views/policies.ts';

/** Loaded where a policy is read: with it come a YAML parser and regular expressions. */
const engine = () => import('../../protocol/policy/index.ts');

const DAY_SECONDS = 86_400;
const NAMED = 'file, or strict, moderate or permissive';

export function addPolicy(program: Command, act: Act): void {
  const policy = withHelp(program.command('policy'), {
    summary: 'Policies: what agents may do, and why',
    about:
      'A policy is a YAML file with rules that allow, deny, limit or want an approval. Those that "policies" in agentmesh.yaml names hold for ' +
      'all that goes through the daemon; a proxy or program may bring others, which can only narrow them.',
    examples: [
      ['policy list', 'what is in force'],
      ['policy print strict > acme.yaml', 'begin with one that comes along'],
      ['policy check acme.yaml', 'before it is used'],
      ['policy explain --tool write_file --arg path=/etc/hosts', 'what would be decided, and why'],
    ],
  });
  addList(policy, act);
  addShow(policy, act);
  addPrint(policy, act);
  addCheck(policy, act);
  addLint(policy, act);
  addTest(policy, act);
  addDiff(policy, act);
  addExplain(policy, act);
  addShadow(policy, act);
  addReload(policy, act);
}

function addList(policy: Command, act: Act): void {
  withHelp(policy.command('list'), {
    summary: 'The policies in force, candidates, and those that callers brought',
    examples: [['policy list --json', 'for a program']],
  }).action(
    act(async (invocation) => {
      const mesh = await invocation.mesh();
      const answer = await mesh.call('policyList');
      invocation.answer(answer, (view) => formatPolicies(answer, view));
    }),
  );
}

function addShow(policy: Command, act: Act): void {
  withHelp(policy.command('show'), {
    summary: 'A policy as the daemon read it, with all that it extends',
    examples: [
      ['policy show acme-baseline', 'by name'],
      ['policy show 9f86d081', 'by the beginning of its digest, as the audit log has it'],
    ],
  })
    .argument('[policy]', 'name or digest (default: the only one that is in force)')
    .action(
      act(async (invocation, text: string | undefined) => {
        const mesh = await invocation.mesh();
        const { digest } = await findPolicy(mesh, text);
        const answer = await mesh.call('policyShow', { params: { digest } });
        invocation.answer(answer, (view) => formatPolicyFiles(answer, view));
      }),
    );
}

/** By name or digest; what is in force goes before what callers brought. Errors: not_found, usage. */
async function findPolicy(mesh: Mesh, text: string | undefined): Promise<PolicyListed> {
  const { policies } = await mesh.call('policyList');
  const prefix = withoutEllipsis(text ?? '');
  const inForce = policies.filter(({ source }) => source === 'configuration');
  const isMeant = ({ name, digest }: PolicyListed): boolean =>
    name === text || (prefix.length >= 4 && digest.startsWith(prefix));
  const [known, all] = text === undefined ? [inForce, inForce] : [inForce.filter(isMeant), policies.filter(isMeant)];
  const found = known.length > 0 ? known : all;
  const digests = new Set(found.map(({ digest }) => digest));
  const [only] = found;
  if (only !== undefined && digests.size === 1) return only;
  if (only !== undefined) {
    const names = found.map(({ name, digest }) => `"${name}" (${digest.slice(0, 8)})`).join(', ');
    throw new UsageError(`Cannot choose a policy: there are ${names}`, 'name one by more of its digest');
  }
  const what = text === undefined ? 'none is in force' : `the daemon has none of this name or digest`;
  throw new MeshError('not_found', `Cannot find policy${text === undefined ? '' : ` "${text}"`}: ${what}`, {
    next: 'see "agentmesh policy list"',
  });
}

function addPrint(policy: Command, act: Act): void {
  withHelp(policy.command('print'), {
    summary: 'A policy that comes with AgentMesh, to be copied and changed',
    about:
      'strict: reading, away from credentials and system files; all else is denied. moderate: writing too; what deletes, runs programs or hands out ' +
      'secrets waits for an approval. permissive: everything, noted. A policy of yours can also extend one: "extends: agentmesh:strict".',
    examples: [['policy print moderate > acme.yaml', 'as a beginning']],
  })
    .argument('<name>', PRESET_NAMES.join(', '))
    .action(
      act(async (invocation, name: string): Promise<void> => {
        if (!isPresetName(name))
          throw new UsageError(
            `Cannot print "${name}": no such policy comes along`,
            `want one of ${PRESET_NAMES.join(', ')}`,
          );
        const text = PRESETS[name];
        invocation.answer({ name, text }, () => text);
      }),
    );
}

// Files

function addCheck(policy: Command, act: Act): void {
  withHelp(policy.command('check'), {
    summary: 'Whether policy files can be used',
    about:
      'With all that they extend. Needs no daemon. Exit code 3: one cannot be used; the message says where, as file:line:column.',
    examples: [['policy check acme.yaml policies/*.yaml', 'in a commit hook, for instance']],
  })
    .argument('<file...>', NAMED)
    .action(
      act(async (invocation, files: string[]): Promise<ExitCode> => {
        const checked = await Promise.all(files.map((file) => check(invocation, file)));
        const ok = checked.every((one) => one.ok);
        invocation.answer({ ok, files: checked }, (view) => formatChecked(checked, view));
        return ok ? EXIT.ok : EXIT.refused;
      }),
    );
}

async function check(invocation: Invocation, file: string): Promise<Checked> {
  try {
    const { name, digest, rules, default: effect } = await readPolicy(invocation, file);
    return { file, ok: true, name, digest, rules: rules.length, default: effect, problem: null };
  } catch (error) {
    if (!isMeshError(error) || error.code !== 'policy_invalid') throw error;
    const problem = placeOf(file, error);
    return { file, ok: false, name: null, digest: null, rules: 0, default: null, problem };
  }
}

/** The file that is wrong may be one that the named one extends. */
function placeOf(file: string, { message, data }: MeshError): NonNullable<Checked['problem']> {
  const number = (value: unknown): number | null => (typeof value === 'number' ? value : null);
  const named = typeof data['file'] === 'string' ? data['file'] : basename(file);
  const line = number(data['line']);
  return {
    file: named === basename(file) || line === null ? file : join(dirname(file), named),
    line,
    column: number(data['column']),
    message: line === null ? message : message.replace(/^Cannot use policy "[^"]*", line \d+, column \d+: /, ''),
  };
}

/** Errors: policy_invalid. */
async function readPolicy({ world }: Pick<Invocation, 'world'>, named: string): Promise<Policy> {
  const { parseSource } = await engine();
  return parseSource(await readPolicySource(named, world.cwd)); // built-in ones too: with the digest that decisions name
}

/** A file, a built-in policy, or one that the daemon has: only for the last one it is asked. */
async function readNamed(invocation: Invocation, named: string): Promise<Policy> {
  const isLocal = isPresetName(named) || /[/\\.]/.test(named) || isFile(resolve(invocation.world.cwd, named));
  if (isLocal) return readPolicy(invocation, named);
  const mesh = await invocation.mesh();
  return heldPolicy(mesh, await findPolicy(mesh, named));
}

async function heldPolicy(mesh: Mesh, { name, digest }: PolicyListed): Promise<Policy> {
  const { files } = await mesh.call('policyShow', { params: { digest } });
  return (await engine()).parseSource({ name, files });
}

/** Those that are named, else those that the daemon decides by. */
async function readPolicies(invocation: Invocation, named: readonly string[] | undefined): Promise<Policy[]> {
  if (named !== undefined) return Promise.all(named.map((one) => readPolicy(invocation, one)));
  const mesh = await invocation.mesh();
  const { policies } = await mesh.call('policyList');
  const inForce = policies.filter(({ source }) => source === 'configuration');
  if (inForce.length === 0)
    throw new UsageError('Cannot test: the daemon has no policy in force', 'name a policy with --policy FILE');
  return Promise.all(inForce.map((one) => heldPolicy(mesh, one)));
}

function addLint(policy: Command, act: Act): void {
  withHelp(policy.command('lint'), {
    summary: 'What is probably not meant in a policy that can be used',
    about:
      'Rules that never apply, approvals that nobody can give, rules that others overrule, and more; each finding is certain. Needs no daemon. Exit ' +
      'code 3: a finding is an error, for which the policy does not do what it says.',
    examples: [['policy lint acme.yaml', 'beside "policy check"']],
  })
    .argument('<file...>', NAMED)
    .action(
      act(async (invocation, files: string[]): Promise<ExitCode> => {
        const { lintPolicy } = await engine();
        const found: Linted[] = [];
        for (const file of files) {
          const read = await readPolicy(invocation, file);
          for (const { lint, rule, message, file: inside, place } of lintPolicy(read)) {
            const severity = LINT_ERRORS.has(lint) ? 'error' : 'warning';
            const where =
              inside === read.file ? file : inside.startsWith('agentmesh:') ? inside : join(dirname(file), inside);
            found.push({ file: where, ...place, severity, lint, rule, message });
          }
        }
        const ok = found.every(({ severity }) => severity === 'warning');
        invocation.answer({ ok, findings: found }, (view) => formatLint(found, files, view));
        return ok ? EXIT.ok : EXIT.refused;
      }),
    );
}

/** A rule that cannot do what it says; the others say what may be meant so. */
const LINT_ERRORS: ReadonlySet<string> = new Set(['never_matches', 'unreachable_approval', 'quorum']);

interface Policied {
  readonly policy?: readonly string[];
}
const POLICY_OPTION = ['--policy <policy>', `${NAMED}; may be repeated, then the strictest wins`] as const;

function addTest(policy: Command, act: Act): void {
  withHelp(policy.command('test'), {
    summary: 'Cases with what is expected of each',
    about:
      'A file of cases: under "cases" each with a name, a "context" (action, tool, agent, data …) and "expect" (effect, rule, code). With --policy no ' +
      'daemon is needed; without, its policies in force are tested. Exit code 3: a case failed.',
    examples: [
      ['policy test cases.yaml --policy acme.yaml', 'before it is used'],
      ['policy test cases.yaml', 'what the daemon decides by'],
    ],
  })
    .argument('<file>', 'file of cases')
    .option(...POLICY_OPTION, collect(String))
    .action(
      act(async (invocation, file: string, { policy: named }: Policied): Promise<ExitCode> => {
        const { compilePolicies, runPolicyTests } = await engine();
        const text = await readText(invocation, file);
        const results = runPolicyTests(text, compilePolicies(await readPolicies(invocation, named)), file);
        const cases = results.map(({ name, place, decision, failures }): Tested => {
          const { effect, rule, code } = decision;
          return { name, ok: failures.length === 0, file, ...place, effect, rule, code: code ?? null, failures };
        });
        const ok = cases.every((one) => one.ok);
        invocation.answer({ ok, cases }, (view) => formatTested(cases, view));
        return ok ? EXIT.ok : EXIT.refused;
      }),
    );
}

async function readText({ world }: Invocation, file: string): Promise<string> {
  return (await readBounded(resolve(world.cwd, file), limits.POLICY_TEXT_BYTES_MAX)).toString('utf8');
}

function addDiff(policy: Command, act: Act): void {
  withHelp(policy.command('diff'), {
    summary: 'What changed between two policies, and whether it allows more',
    about:
      'For each rule and setting whether the second policy is wider or narrower than the first, where that is certain. Files need no daemon; a name ' +
      'or digest is one that the daemon has.',
    examples: [
      ['policy diff acme-baseline acme.yaml', 'what is in force, and the file that would be'],
      ['policy diff strict acme.yaml', 'beside a policy that comes along'],
    ],
  })
    .argument('<before>', `${NAMED}; or name or digest of one that the daemon has`)
    .argument('<after>', 'the same')
    .action(
      act(async (invocation, before: string, after: string) => {
        const { diffPolicies } = await engine();
        const [a, b] = await Promise.all([readNamed(invocation, before), readNamed(invocation, after)]);
        const diff = diffPolicies(a, b);
        const refOf = ({ name, digest }: Policy) => ({ name, digest });
        const answer = { before: refOf(a), after: refOf(b), ...diff };
        invocation.answer(answer, (view) => formatDiff(answer, view));
      }),
    );
}

// Decisions

interface ExplainOptions extends Policied {
  readonly action?: string;
  readonly tool?: string;
  readonly server?: string;
  readonly resource?: string;
  readonly prompt?: string;
  readonly arg?: readonly (readonly [string, string])[];
  readonly args?: JsonObject;
  readonly fact?: readonly (readonly [string, string])[];
  readonly facts?: JsonObject;
  readonly label?: readonly string[];
  readonly agent?: string;
}

function addExplain(policy: Command, act: Act): void {
  withHelp(policy.command('explain'), {
    summary: 'What would be decided, why, and what would change it',
    about:
      'By the policies that the daemon has in force; with --policy by that one, and no daemon. Nothing is logged or used up, and limits count as ' +
      'free. Paths in arguments are read as if the server started here.',
    examples: [
      ['policy explain --tool write_file --server files --arg path=a.txt', 'a tool'],
      ['policy explain --action export --fact format=csv --label pii.email', 'an action of your own'],
      ['policy explain --policy acme.yaml --tool run --args \'{"n":1}\'', 'a file that is not in force'],
    ],
  })
    .option(...POLICY_OPTION, collect(String))
    .option('--action <type>', 'what kind of thing it is, like tool_call or export (default: by the other flags)')
    .option('--tool <name>', 'tool that is called')
    .option('--server <name>', 'MCP server that has it')
    .option('--arg <name=text>', 'argument of the tool or prompt; may be repeated', collect(parsePair))
    .option('--args <json>', 'all arguments, as a JSON object', parseObject)
    .option('--resource <uri>', 'resource that is read')
    .option('--prompt <name>', 'prompt that is asked for')
    .option('--fact <name=text>', 'fact of an action of your own; may be repeated', collect(parsePair))
    .option('--facts <json>', 'all facts, as a JSON object', parseObject)
    .option('--label <label>', 'what is known of the data, like pii.email; may be repeated', collect(String))
    .option('--agent <agent>', 'who wants it: name or DID (default: the organisation)')
    .action(act(explain));
}

function parsePair(text: string): readonly [string, string] {
  const at = text.indexOf('=');
  if (at < 1) throw new InvalidArgumentError('want NAME=TEXT');
  return [text.slice(0, at), text.slice(at + 1)];
}

function parseObject(text: string): JsonObject {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as JsonObject;
  } catch (error) {
    throw new InvalidArgumentError(`want a JSON object; ${error instanceof Error ? error.message : String(error)}`);
  }
  throw new InvalidArgumentError('want a JSON object');
}

async function explain(invocation: Invocation, options: ExplainOptions): Promise<void> {
  const request = await requestOf(invocation, options);
  const { policy, agent } = options;
  const answer =
    policy === undefined
      ? await explainThere(await invocation.mesh(), request, agent)
      : await explainHere(invocation, request, policy, agent);
  invocation.answer(answer, (view) => formatExplained(answer, view));
}

/** As the proxy reads the same thing from an MCP message. */
async function requestOf({ world }: Invocation, options: ExplainOptions): Promise<GateRequestBody> {
  const { tool, server, resource, prompt, arg, args, fact, facts, label } = options;
  const named = Object.entries({ tool, resource, prompt }).filter(
    (entry): entry is [Kind, string] => entry[1] !== undefined,
  );
  const [about, another] = named;
  if (another !== undefined)
    throw new UsageError(
      `Cannot explain: a request is about one thing, and --${about?.[0]} and --${another[0]} are given`,
    );
  const action = options.action ?? (about === undefined ? undefined : MESSAGES[about[0]].action);
  if (action === undefined) {
    const next = 'name it with --tool, --resource, --prompt or --action';
    throw new UsageError('Cannot explain: it is not said what is wanted', next);
  }
  if (server !== undefined && tool === undefined) throw new UsageError('Cannot take --server without --tool');
  const given = together(arg, args);
  if (given !== undefined && (about === undefined || resource !== undefined)) {
    const next = 'facts of an action of your own go with --fact';
    throw new UsageError('Cannot take arguments without --tool or --prompt', next);
  }
  const known = together(fact, facts);
  return {
    ...(about === undefined ? {} : await judged(world, about, { server, args: given })),
    action,
    ...(known !== undefined && { facts: known }),
    ...(label !== undefined && { labels: [...label] }),
  };
}

type Kind = keyof typeof MESSAGES;
const MESSAGES = {
  tool: { action: 'tool_call', method: 'tools/call', member: 'name' },
  resource: { action: 'resource_read', method: 'resources/read', member: 'uri' },
  prompt: { action: 'prompt_get', method: 'prompts/get', member: 'name' },
} as const;

async function judged(
  { cwd, userHome, env }: Invocation['world'],
  [kind, name]: readonly [Kind, string],
  { server, args }: { readonly server: string | undefined; readonly args: JsonObject | undefined },
): Promise<Partial<GateRequestBody>> {
  const [{ governedOf, parseMessage }, { createPaths }] = await Promise.all([
    import('../../protocol/mcp/index.ts'),
    import('../../sdk/servers/index.ts'),
  ]);
  const { method, member } = MESSAGES[kind];
  const params = { [member]: name, ...(args !== undefined && { arguments: args }) };
  const bytes = new TextEncoder().encode(JSON.stringify({ jsonrpc: '2.0', id: 1, method, params }));
  const message = parseMessage(bytes, 'client');
  const paths = createPaths({ cwd, directories: [], home: userHome, env });
  const request = message && governedOf(message, 'client', { server: server ?? '', paths });
  const { tool, resource, prompt } = (request ?? {}) as Partial<GateRequestBody>;
  const { server: _none, ...unserved } = tool ?? {};
  return {
    ...(tool && { tool: server === undefined ? { ...unserved, name: tool.name } : tool }),
    ...(resource && { resource }),
    ...(prompt && { prompt }),
  };
}

function together(
  pairs: readonly (readonly [string, string])[] | undefined,
  object: JsonObject | undefined,
): JsonObject | undefined {
  return pairs === undefined && object === undefined ? undefined : { ...object, ...Object.fromEntries(pairs ?? []) };
}

async function explainThere(mesh: Mesh, request: GateRequestBody, agent: string | undefined): Promise<ExplainAnswer> {
  const as = agent === undefined ? {} : { as: (await findAgent(mesh, agent)).did };
  return mesh.call('decisionExplain', { body: { ...as, request } });
}

/** As a gate in this process would decide. */
async function explainHere(
  { world }: Invocation,
  request: GateRequestBody,
  named: readonly string[],
  agent = 'somebody',
): Promise<ExplainAnswer> {
  const [{ compilePolicies, contextOf, explainDecision }, { labelsOfRequest }] = await Promise.all([
    engine(),
    import('../../protocol/detect/index.ts'),
  ]);
  const policies = compilePolicies(await Promise.all(named.map((one) => readPolicy({ world }, one))));
  const context = contextOf(request as GateRequest, {
    agent: { did: agent, name: agent, organisation: '' },
    nowMs: world.nowMs(),
    detected: labelsOfRequest(request as GateRequest),
  });
  const { decision, rules, wouldChange } = explainDecision(policies, context);
  const { effect, code, rule, policy, matched, reason } = decision;
  const told = { effect, ...(code !== undefined && { code }), rule, policy, matched: [...matched], reason };
  return {
    decision: told,
    rules: rules.map((each) => ({ ...each, leaves: [...each.leaves] })),
    wouldChange: [...wouldChange],
  };
}

// Candidates

interface ShadowOptions {
  readonly policy?: string;
  readonly since?: number;
}

function addShadow(policy: Command, act: Act): void {
  withHelp(policy.command('shadow'), {
    summary: 'What a candidate would have decided otherwise',
    about:
      'Candidates are the files under "shadow_policies" in agentmesh.yaml: they are asked beside the policies in force, and have no effect. With ' +
      '--policy a file is held against the requests that the daemon keeps (request_days in agentmesh.yaml), in place of the policy of its name.',
    examples: [
      ['policy shadow', 'the candidates that run'],
      ['policy shadow --policy acme-next.yaml --since 7d', 'a file, against last week'],
    ],
  })
    .option('--policy <policy>', NAMED)
    .option(
      '--since <time>',
      'with --policy: how far back, like 1h or 7d (default: 7d)',
      secondsBetween(1, limits.REPLAY_SECONDS_MAX, 'from 1s to 90d'),
    )
    .action(act(shadow));
}

async function shadow(invocation: Invocation, { policy, since }: ShadowOptions): Promise<void> {
  if (policy === undefined && since !== undefined)
    throw new UsageError('Cannot look back without a policy', 'name one with --policy FILE');
  if (policy === undefined) {
    const mesh = await invocation.mesh();
    const [answer, names] = await Promise.all([mesh.call('policyShadow'), localNames(mesh)]);
    invocation.answer(answer, (view) => formatShadow(answer.candidates, view, names));
    return;
  }
  const { name, files } = await readPolicySource(policy, invocation.world.cwd); // before a daemon is asked for
  const mesh = await invocation.mesh();
  const body = { name, files: files.map((file) => ({ ...file })), sinceSeconds: since ?? 7 * DAY_SECONDS };
  const [answer, names] = await Promise.all([mesh.call('policyReplay', { body }), localNames(mesh)]);
  invocation.answer(answer, (view) => formatComparison(answer.comparison, view, names));
}

function addReload(policy: Command, act: Act): void {
  withHelp(policy.command('reload'), {
    summary: 'Read the policy files again, now',
    about:
      'The daemon sees by itself within a second or two when a file changes. All files are taken, or none: with a mistake in one the last good ones ' +
      'stay in force. Which files there are, agentmesh.yaml says; it is read when the daemon starts.',
    examples: [['policy reload', 'and see what is in force']],
  }).action(
    act(async (invocation) => {
      const mesh = await invocation.mesh();
      const answer = await mesh.call('policyReload');
      invocation.answer(answer, (view) => formatPolicies(answer, view));
    }),
  );
}
