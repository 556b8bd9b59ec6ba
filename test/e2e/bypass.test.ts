/**
 * The bypass corpus: what clients and servers do to get past a policy, against the real proxy as a process, by a policy
 * that denies and by one that allows. What was done is what the server itself wrote down.
 */
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { GIVING } from './bypass/giving.ts';
import { NAMING } from './bypass/naming.ts';
import { PLACING } from './bypass/placing.ts';
import { READING } from './bypass/reading.ts';
import {
  openHttp,
  openStdio,
  type Outcome,
  outcomeOf,
  type Target,
  type TargetOptions,
  type World,
} from './bypass/run.ts';
import { call, isForbidden, request, type Trick } from './bypass/trick.ts';

const SLOW = { timeout: 120_000 };
const TRICKS: readonly Trick[] = [...READING, ...NAMING, ...PLACING, ...GIVING];

let world: World;
let policies: Readonly<Record<'deny' | 'allow', string>>;

beforeAll(() => {
  const directory = realpathSync(mkdtempSync(join(tmpdir(), 'agentmesh-bypass-')));
  const [open, closed] = [join(directory, 'open'), join(directory, 'closed')];
  for (const place of [open, closed, join(closed, 'below')]) mkdirSync(place);
  writeFileSync(join(open, 'a'), 'open');
  writeFileSync(join(closed, 'key'), 'closed');
  symlinkSync(closed, join(open, 'link'));
  symlinkSync('link', join(open, 'link-of-link'));
  symlinkSync('../closed/key', join(open, 'link-to-key'));
  symlinkSync('../closed/below', join(open, 'link-below'));
  world = { directory, open, closed };
  policies = { deny: policy('deny-list', denyList(closed)), allow: policy('allow-list', allowList(open)) };
});
afterAll(() => rmSync(world.directory, { recursive: true }));

function policy(name: string, text: string): string {
  const file = join(world.directory, `${name}.yaml`);
  writeFileSync(file, text);
  return file;
}

const OUTPUT = `
output: { secrets: redact, instructions: mark, invisible: mark }
`;
const denyList = (closed: string): string => `
version: "1.0"
default: allow
rules:
  - { name: no-delete, action: deny, condition: "tool.name == 'delete_file'" }
  - { name: no-big-sums, action: deny, condition: "tool.name == 'transfer' and tool.arguments.amount > 1000" }
  - { name: no-closed-paths, action: deny, condition: "tool.paths.exists(p, under(p, '${closed}'))" }
  - { name: no-closed-files, action: deny, condition: "resource.paths.exists(p, under(p, '${closed}'))" }
  - { name: no-closed-prompts, action: deny, condition: "prompt.name == 'secret_prompt' or prompt.paths.exists(p, under(p, '${closed}'))" }
  - { name: no-vault, action: deny, condition: "action.type == 'resource_read' and resource.scheme == 'vault'" }
  - { name: no-questions, action: deny, condition: "action.type in ['sampling', 'elicitation', 'roots_list']" }
${OUTPUT}`;
const allowList = (open: string): string => `
version: "1.0"
default: deny
rules:
  - { name: harmless, action: allow, condition: "tool.name in ['mark', 'speak', 'ask', 'mutate']" }
  - { name: small-sums, action: allow, condition: "tool.name == 'transfer' and tool.arguments.amount <= 1000" }
  - { name: open-paths, action: allow, condition: "tool.name == 'read_file' and tool.paths.all(p, under(p, '${open}'))" }
  - { name: open-files, action: allow, condition: "resource.scheme == 'file' and size(resource.paths) > 0 and resource.paths.all(p, under(p, '${open}'))" }
  - { name: open-prompts, action: allow, condition: "prompt.name == 'open_prompt' and prompt.paths.all(p, under(p, '${open}'))" }
${OUTPUT}`;

type Run = 'direct' | 'deny' | 'allow';
const RUNS: readonly Run[] = ['direct', 'deny', 'allow'];
type Row = Record<Run, Outcome>;

/** One process of each serves all tricks, and reads as the server that a trick is for. */
async function runAll(
  tricks: readonly Trick[],
  open: (options: TargetOptions) => Promise<Target>,
): Promise<ReadonlyMap<string, Row>> {
  const columns = await Promise.all(RUNS.map(async (run) => [run, await outcomesOf(tricks, run, open)] as const));
  const [first] = columns;
  return new Map(
    [...(first?.[1].keys() ?? [])].map((name) => [
      name,
      Object.fromEntries(columns.map(([run, outcomes]) => [run, outcomes.get(name)])) as Row,
    ]),
  );
}

async function outcomesOf(
  tricks: readonly Trick[],
  run: Run,
  open: (options: TargetOptions) => Promise<Target>,
): Promise<ReadonlyMap<string, Outcome>> {
  const proxy = run === 'direct' ? undefined : ['--no-daemon', '--policy', policies[run]];
  const target = await open({ world, like: 'python', proxy });
  const outcomes = new Map<string, Outcome>();
  try {
    for (const trick of tricks) {
      const name = `${trick.like}: ${trick.name}`;
      target.become(`${trick.like} ${trick.part ?? ''}`);
      const played = await target.play(trick.send(world)).catch((error: unknown) => {
        throw new Error(`${name} (${run}): ${String(error)}`, { cause: error });
      });
      outcomes.set(name, outcomeOf(trick, played, world));
    }
  } finally {
    await target[Symbol.asyncDispose]();
  }
  // Whatever came late was forbidden no less.
  if (run !== 'direct') expect(target.deeds().filter((deed) => isForbidden(deed, world))).toEqual([]);
  return outcomes;
}

/** The table of a run, for people; what of it works without the proxy, and what with it. */
function summary(
  transport: string,
  rows: ReadonlyMap<string, Row>,
): { readonly unguarded: number; readonly through: string[] } {
  const lines = [...rows].map(
    ([name, row]) => `${name.slice(0, 62).padEnd(63)} ${RUNS.map((run) => row[run].padEnd(9)).join(' ')}`,
  );
  const count = (run: Run, outcome: Outcome): number => [...rows.values()].filter((row) => row[run] === outcome).length;
  const totals = RUNS.map(
    (run) =>
      `${run}: ${count(run, 'executed')} executed, ${count(run, 'refused')} refused, ${count(run, 'harmless')} harmless`,
  );
  console.log([`Bypass corpus over ${transport}: ${rows.size} tricks`, ...lines, ...totals].join('\n'));
  const through = [...rows].flatMap(([name, row]) =>
    (['deny', 'allow'] as const).filter((run) => row[run] === 'executed').map((run) => `${name} (${run} list)`),
  );
  return { unguarded: count('direct', 'executed'), through };
}

test('no trick gets past a policy over stdio, and most work without one', SLOW, async () => {
  const rows = await runAll(TRICKS, openStdio);
  const { unguarded, through } = summary('stdio', rows);
  expect(rows.size).toBe(TRICKS.length); // names are unique
  expect(rows.size).toBeGreaterThan(200);
  expect(unguarded).toBeGreaterThan(rows.size * 0.8);
  expect(through).toEqual([]);
});

const CHANGES = `
version: "1.0"
default: allow
rules:
  - { name: no-transfer, action: deny, condition: "tool.name == 'transfer'" }
tools: { changes: deny }
`;
const toolsIn = (heard: readonly string[]): string[] =>
  heard
    .flatMap((line) => (JSON.parse(line) as { result?: { tools?: { name: string }[] } }).result?.tools ?? [])
    .map(({ name }) => name);

test('tools that change, come or are not listed are neither shown nor called', SLOW, async () => {
  const flags = ['--no-daemon', '--policy', policy('changes', CHANGES)];
  await using target = await openStdio({ world, like: 'fold', proxy: flags });
  const did = async (...steps: readonly string[]): Promise<string[]> =>
    (await target.play(steps)).deeds.flatMap((deed) =>
      deed.did === 'tool' && deed.name !== 'mark' ? [deed.name] : [],
    );
  const shown = async (): Promise<string[]> => toolsIn((await target.play([request('tools/list', {})])).heard);

  expect(await shown()).toEqual(['mark', 'read_file', 'speak', 'ask', 'mutate', 'delete_file']);
  expect(await did(call('delete_file', {}))).toEqual(['delete_file']);
  expect(await did(call('hidden_tool', {}), call('Hidden_Tool', {}), call('delete-file', {}))).toEqual([]);
  await target.play([call('mutate', { how: 'add' })]);
  expect(await shown()).not.toContain('new_tool');
  expect(await did(call('new_tool', {}), call('NEW_TOOL', {}), call('new_tool', {}))).toEqual([]);
  await target.play([call('mutate', { how: 'description' })]);
  expect(await did(call('delete_file', {}), call('Delete_File', {}), call('delete_\u200bfile', {}))).toEqual([]);
  expect(await shown()).toEqual(['mark', 'read_file', 'speak', 'ask', 'mutate']);
  expect(target.said()).toMatch(/Tool "delete_file" of .* changed/);
  // An empty question beside the list is no reason to show all of it.
  await target.play([call('ask', { how: 'beside ' })]);
  expect(await shown()).toEqual(['mark', 'read_file', 'speak', 'ask', 'mutate']);
});

test('no trick gets past a policy over HTTP, and most work without one', SLOW, async () => {
  const rows = await runAll(TRICKS, openHttp);
  const { unguarded, through } = summary('HTTP', rows);
  expect(unguarded).toBeGreaterThan(rows.size * 0.75);
  expect(through).toEqual([]);
});
