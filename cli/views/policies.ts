/** Policies for people: what is in force, what is wrong with a file, what is decided and why, what a change changes. */
import type {
  ComparisonView,
  ExplainAnswer,
  Policies,
  PolicyFile,
  PolicyListed,
} from '../../protocol/control/index.ts';
import { visibleText } from '../../protocol/index.ts';
import type { Direction, PolicyDiff, PolicyRef } from '../../protocol/policy/index.ts';
import type { Tone } from '../text/style.ts';
import { type Cell, type Column, formatFields, formatTable, indent, type View } from '../text/table.ts';
import { formatTime, formatTimeFully } from '../text/time.ts';
import { formatDidShort, type Immutable, type Names, NO_NAMES, plural } from './common.ts';

const DIGEST_SHOWN = 16; // letters: as many as tell policies apart, and as the audit log is searched by

const SOURCES: Readonly<Record<PolicyListed['source'], Cell>> = {
  configuration: { text: 'in force', tone: 'good' },
  shadow: 'candidate',
  exposed: 'for others',
  caller: 'brought',
};

export function formatPolicies({ policies, problem, loadedAt }: Immutable<Policies>, view: View): string {
  const columns: Column<Immutable<PolicyListed>>[] = [
    { title: 'Policy', cell: ({ name }) => ({ text: visibleText(name), tone: 'strong' }) },
    { title: 'State', cell: ({ source }) => SOURCES[source] },
    { title: 'Rules', cell: ({ rules }) => String(rules), align: 'right' },
    { title: 'For', cell: ({ agents }) => (agents.length === 0 ? 'every agent' : agents.map(visibleText).join(', ')) },
    { title: 'Digest', cell: ({ digest }) => digest.slice(0, DIGEST_SHOWN) },
    { title: 'File', cell: ({ file }) => visibleText(file ?? '-'), optional: true },
  ];
  const table = policies.length === 0 ? '' : `${formatTable(policies, columns, view)}\n`;
  const isGoverned = policies.some(({ source }) => source === 'configuration');
  const none = isGoverned
    ? ''
    : 'No policy is in force: nothing is allowed but what a proxy or program brings a policy for. Name files under "policies" in agentmesh.yaml.\n';
  const broken =
    problem === null
      ? ''
      : `${view.paint('bad', 'problem')}  The newest files are not in force, ${formatTime(problem.since, view.nowMs)}: ${visibleText(problem.message)}\n`;
  const read = isGoverned ? `Read ${formatTimeFully(loadedAt, view.nowMs)}.\n` : '';
  return `${table}${none}${read}${broken}`;
}

/** Its own text first. Where it is read by a program it is just as it is in the file. */
export function formatPolicyFiles(
  { policy, files }: { readonly policy: PolicyRef; readonly files: readonly Immutable<PolicyFile>[] },
  { columns, paint }: View,
): string {
  const [only, ...others] = files;
  const isTerminal = columns !== undefined;
  const shown = (text: string): string => (isTerminal ? text.split('\n').map(visibleText).join('\n') : text);
  if (only !== undefined && others.length === 0 && !isTerminal) return only.text;
  const head = paint('dim', `# policy ${visibleText(policy.name)}, digest ${policy.digest}`);
  const parts = files.map(({ path, text }) => {
    const end = text.endsWith('\n') ? '' : '\n';
    return `${paint('dim', `# ${visibleText(path)}`)}\n${shown(text)}${end}`;
  });
  return `${head}\n${parts.join('\n')}`;
}

export interface Checked {
  readonly file: string;
  readonly ok: boolean;
  readonly name: string | null;
  readonly digest: string | null;
  /** With those that it extends. */
  readonly rules: number;
  readonly default: 'allow' | 'deny' | null;
  readonly problem: {
    readonly file: string;
    readonly line: number | null;
    readonly column: number | null;
    readonly message: string;
  } | null;
}

export const formatChecked = (checked: readonly Checked[], { paint }: View): string =>
  checked
    .map(({ file, name, digest, rules, default: effect, problem }) => {
      if (problem === null)
        return `${paint('good', 'ok')}       ${visibleText(file)}  policy ${visibleText(name ?? '')}, ${plural(rules, 'rule')}, default ${effect ?? ''}, digest ${(digest ?? '').slice(0, DIGEST_SHOWN)}\n`;
      return `${paint('bad', 'invalid')}  ${placed(problem)}: ${visibleText(problem.message)}\n`;
    })
    .join('');

/** As compilers say it, so that editors find it. */
const placed = ({
  file,
  line,
  column,
}: {
  readonly file: string;
  readonly line: number | null;
  readonly column: number | null;
}): string => visibleText([file, line, column].filter((part) => part !== null).join(':'));

export interface Linted {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly severity: 'error' | 'warning';
  readonly lint: string;
  readonly rule: string | null;
  readonly message: string;
}

export function formatLint(found: readonly Linted[], files: readonly string[], { paint }: View): string {
  if (found.length === 0) return `${paint('good', 'ok')}  nothing found in ${visibleText(files.join(', '))}\n`;
  const lines = found.map((one) => {
    const severity = paint(one.severity === 'error' ? 'bad' : 'warn', one.severity);
    return `${placed(one)}: ${severity} ${visibleText(one.message)} ${paint('dim', `(${one.lint})`)}\n`;
  });
  const errors = found.filter(({ severity }) => severity === 'error').length;
  return `${lines.join('')}\n${plural(errors, 'error')}, ${plural(found.length - errors, 'warning')}.\n`;
}

export interface Tested {
  readonly name: string;
  readonly ok: boolean;
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly effect: string;
  readonly rule: string | null;
  readonly code: string | null;
  readonly failures: readonly string[];
}

export function formatTested(cases: readonly Tested[], { paint }: View): string {
  const lines = cases.map((one) => {
    const rule = one.rule === null ? 'by default' : `by ${visibleText(one.rule)}`;
    if (one.ok)
      return `${paint('good', 'ok')}      ${visibleText(one.name)}  ${paint('dim', `${one.effect} ${rule}`)}\n`;
    const why = one.failures.map((failure) => `        ${visibleText(failure)}\n`).join('');
    return `${paint('bad', 'FAILED')}  ${visibleText(one.name)}  ${paint('dim', placed(one))}\n${why}`;
  });
  const failed = cases.filter(({ ok }) => !ok).length;
  const sum =
    failed === 0
      ? `${plural(cases.length, 'case')} passed.\n`
      : `${failed} of ${plural(cases.length, 'case')} failed.\n`;
  return `${lines.join('')}\n${sum}`;
}

const DIRECTIONS: Readonly<Record<Direction, Cell & object>> = {
  same: { text: 'the same', tone: 'dim' },
  narrower: { text: 'narrower', tone: 'good' },
  wider: { text: 'wider', tone: 'warn' },
  unclear: { text: 'depends', tone: 'warn' },
};
const SUMS: Readonly<Record<Direction, string>> = {
  same: 'Both decide the same.',
  narrower: 'The second allows no more than the first, and less of some things.',
  wider: 'The second allows no less than the first, and more of some things.',
  unclear: 'The second allows more of some things and less of others, or it depends on the request.',
};

export function formatDiff(
  { before, after, rules, settings, direction }: PolicyDiff & { readonly before: PolicyRef; readonly after: PolicyRef },
  view: View,
): string {
  const refOf = ({ name, digest }: PolicyRef): string => `${visibleText(name)} (${digest.slice(0, DIGEST_SHOWN)})`;
  const head = `${refOf(before)} -> ${refOf(after)}\n`;
  interface Row {
    readonly what: string;
    readonly change: string;
    readonly direction: Direction;
  }
  const changeOf = (change: PolicyDiff['settings'][number]): string =>
    `${change.setting} ${change.before} -> ${change.after}`;
  const rows: Row[] = [
    ...settings.map((change) => ({ what: '~ policy', change: changeOf(change), direction: change.direction })),
    ...rules.flatMap(({ rule, kind, settings: changes, direction: whole }): Row[] =>
      kind === 'changed'
        ? changes.map((change) => ({
            what: `~ ${rule}`,
            change: changeOf(change),
            direction: change.direction,
          }))
        : [{ what: `${kind === 'added' ? '+' : '-'} ${rule}`, change: kind, direction: whole }],
    ),
  ];
  const columns: Column<Row>[] = [
    { title: 'Rule', cell: ({ what }) => visibleText(what) },
    { title: 'Effect', cell: (row) => DIRECTIONS[row.direction] },
    { title: 'Change', cell: ({ change }) => visibleText(change) },
  ];
  const table = rows.length === 0 ? '' : `\n${formatTable(rows, columns, view)}`;
  return `${head}${table}\n${view.paint(DIRECTIONS[direction].tone, SUMS[direction])}\n`;
}

const EFFECTS: Readonly<Record<string, Tone>> = { allow: 'good', deny: 'bad', require_approval: 'warn' };
const TOLD: Readonly<Record<'true' | 'false' | 'unknown', Cell & object>> = {
  true: { text: 'yes', tone: 'good' },
  false: { text: 'no', tone: 'dim' },
  unknown: { text: 'unknown', tone: 'warn' },
};

/** The decision, each rule that applies or nearly does with its comparisons, and what would change it. */
export function formatExplained({ decision, rules, wouldChange }: Immutable<ExplainAnswer>, view: View): string {
  const { paint } = view;
  const { effect, rule, policy, reason, code } = decision;
  const by = rule === null ? 'by default' : `by rule ${visibleText(rule)}`;
  const head = `${paint(EFFECTS[effect], effect)}  ${by}, policy ${visibleText(policy.name)}${code === undefined ? '' : ` (${code})`}\n  ${visibleText(reason)}\n`;
  const parts = rules.map((each) => {
    const is = each.is === 'true' ? 'applies' : each.is === 'false' ? 'does not apply' : 'cannot be told';
    const title = `${paint('strong', visibleText(each.rule))} of ${visibleText(each.policy)}: ${each.action}, ${paint(TOLD[each.is].tone, is)}\n`;
    if (each.leaves.length === 0) return `${title}  always\n`;
    return title + indent(each.leaves.map((leaf) => leafLine(leaf, view)).join(''));
  });
  const changes = wouldChange.map((line) => `  ${visibleText(line)}\n`).join('');
  return [
    head,
    ...(parts.length === 0 ? ['No rule applies.\n'] : parts),
    ...(changes === '' ? [] : [`${paint('strong', 'What would change it')}\n${changes}`]),
  ].join('\n');
}

function leafLine(
  { text, is, value, because }: Immutable<ExplainAnswer>['rules'][number]['leaves'][number],
  { paint }: View,
): string {
  const { text: word, tone } = TOLD[is];
  // Where a comparison holds, its words say what the value is.
  const isSaid = is === 'true' && (value === true || text.includes(String(value)));
  const note = because ?? (value === undefined || isSaid ? '' : `it is ${JSON.stringify(value)}`);
  const told = note === '' ? '' : `  ${paint('dim', visibleText(note))}`;
  return `${paint(tone, word.padEnd(7))}  ${visibleText(text)}${told}\n`;
}

type Comparison = Immutable<ComparisonView>;

export function formatShadow(candidates: readonly Comparison[], view: View, names: Names = NO_NAMES): string {
  if (candidates.length === 0)
    return 'No candidate runs. Name files under "shadow_policies" in agentmesh.yaml, or try one with --policy FILE.\n';
  return candidates.map((candidate) => formatComparison(candidate, view, names)).join('\n');
}

export function formatComparison(
  { policy, compared, diverged, loosened, tightened, newest }: Comparison,
  view: View,
  names: Names = NO_NAMES,
): string {
  const other = diverged - loosened - tightened;
  const head = formatFields(
    [
      ['Candidate', `${visibleText(policy.name)} (${policy.digest.slice(0, DIGEST_SHOWN)})`],
      ['Compared', plural(compared, 'request')],
      ['Otherwise', diverged === 0 ? 'none' : { text: String(diverged), tone: 'warn' }],
      ...(diverged === 0
        ? []
        : [
            ['Allowed by it alone', loosened === 0 ? '0' : ({ text: String(loosened), tone: 'bad' } as const)] as const,
            ['Not allowed by it', String(tightened)] as const,
            ...(other === 0 ? [] : [['Refused otherwise', String(other)] as const]),
          ]),
    ],
    view,
  );
  if (newest.length === 0) return head;
  const side = (effect: string, rule: string | null): Cell => {
    const text = rule === null ? effect : `${effect} by ${visibleText(rule)}`;
    const tone = EFFECTS[effect];
    return tone === undefined ? text : { text, tone };
  };
  const columns: Column<Comparison['newest'][number]>[] = [
    { title: 'When', cell: ({ at }) => formatTime(at, view.nowMs) },
    { title: 'Agent', cell: ({ agent }) => formatDidShort(agent, names) },
    { title: 'Wants', cell: ({ action, tool }) => visibleText(tool ?? action) },
    { title: 'In force', cell: ({ live, liveRule }) => side(live, liveRule) },
    { title: 'Candidate', cell: ({ candidate, candidateRule }) => side(candidate, candidateRule) },
  ];
  return `${head}\n${formatTable(newest, columns, view)}`;
}
