/** What waits for a person, as the person has to see it: everything that the approval is for, nothing hidden in it. */
import type { ApprovalView } from '../../protocol/control/index.ts';
import { visibleText } from '../../protocol/index.ts';
import { widthOf } from '../text/plain.ts';
import { type Cell, type Column, formatFields, formatTable, type View } from '../text/table.ts';
import { formatTime, formatTimeFully } from '../text/time.ts';
import { formatDid, formatDidShort, type Immutable, type Names, NO_NAMES, plural } from './common.ts';

type Approval = Immutable<ApprovalView>;
type Field = readonly [label: string, value: Cell | readonly Cell[]];

const STATES: Readonly<Record<ApprovalView['state'], Cell & object>> = {
  pending: { text: 'waits', tone: 'warn' },
  approved: { text: 'approved', tone: 'good' },
  used: { text: 'used', tone: 'good' },
  denied: { text: 'denied', tone: 'bad' },
  expired: { text: 'expired', tone: 'bad' },
};

export function formatApprovals(
  approvals: readonly Approval[],
  { isAll }: { readonly isAll: boolean },
  view: View,
  names: Names = NO_NAMES,
): string {
  if (approvals.length === 0)
    return isAll ? 'Nothing waits for an approval, and nothing did.\n' : 'Nothing waits for an approval.\n';
  const columns: Column<Approval>[] = [
    { title: 'Id', cell: ({ id }) => ({ text: id, tone: 'strong' }) },
    { title: 'Agent', cell: ({ agent }) => formatDidShort(agent, names) },
    { title: 'Wants', cell: (approval) => cut(wantsOf(approval)) },
    ...(isAll ? [{ title: 'State', cell: ({ state }: Approval) => STATES[state] }] : []),
    { title: 'Given', cell: (approval) => `${givenOf(approval)} of ${approval.quorum}` },
    { title: 'Ends', cell: ({ expiresAt }) => formatTime(expiresAt, view.nowMs) },
    { title: 'Rule', cell: (approval) => visibleText(approval.rule ?? '-'), optional: true },
    { title: 'May decide', cell: (approval) => mayDecideOf(approval, names), optional: true },
  ];
  return formatTable(approvals, columns, view);
}

const WANTS_MAX = 60; // letters in a table; "show" has all
const cut = (text: string): string => (text.length > WANTS_MAX ? `${text.slice(0, WANTS_MAX)}…` : text);

const givenOf = ({ decisions }: Approval): number => decisions.filter(({ decision }) => decision === 'approve').length;

const mayDecideOf = ({ mayDecide }: Approval, names: Names): string =>
  mayDecide.length === 0 ? 'nobody here' : mayDecide.map((did) => formatDidShort(did, names)).join(', ');

/** In a few words: "delete_file on filesystem". */
export function wantsOf({ request }: Pick<Approval, 'request'>): string {
  const tool = recordOf(request['tool']);
  const resource = recordOf(request['resource']);
  const prompt = recordOf(request['prompt']);
  const server = request['server'] === undefined ? '' : ` on ${textOf(request['server'])}`;
  if (request['action'] === 'tools_changed') return visibleText(`use changed tools of ${textOf(request['server'])}`);
  const action = textOf(request['action'] ?? 'something');
  const name = tool?.['name'] ?? resource?.['uri'] ?? prompt?.['name'];
  if (name === undefined) return visibleText(action);
  const what = action === 'tool_call' ? textOf(name) : `${action} ${textOf(name)}`;
  return visibleText(`${what}${server}`);
}

const recordOf = (value: unknown): Readonly<Record<string, unknown>> | undefined =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Readonly<Record<string, unknown>>)
    : undefined;
const textOf = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value ?? null));

/** `isWhole`: the digest is of just what is shown; undefined: it is of something that cannot be shown. */
export function formatApproval(
  approval: Approval,
  { isWhole }: { readonly isWhole: boolean | undefined },
  view: View,
  names: Names = NO_NAMES,
): string {
  const { id, agent, policy, rule, approvers, mayDecide, decisions, digest } = approval;
  const fields: Field[] = [
    ['Approval', id],
    ['State', stateCell(approval)],
    ['Agent', formatDid(agent, names)],
    ...requestFields(approval, names),
    ['Rule', `${rule === null ? 'none: the policy itself' : visibleText(rule)}, of policy ${visibleText(policy.name)}`],
    [
      'May decide',
      mayDecide.length === 0
        ? { text: 'nobody that this daemon knows', tone: 'warn' }
        : mayDecide.map((did) => formatDid(did, names)),
    ],
    ...(approvers.length === 0
      ? []
      : [['Named as', approvers.map((name) => visibleText(name)).join(', ')] satisfies Field]),
    ['Decided', decisions.length === 0 ? 'by nobody yet' : decisions.map((one) => decisionCell(one, view, names))],
    ['Asked', formatTimeFully(approval.createdAt, view.nowMs)],
    ['Ends', formatTimeFully(approval.expiresAt, view.nowMs)],
    ['Digest', digestCells(digest, isWhole)],
  ];
  return formatFields(wrapped(fields, view), view);
}

function stateCell(approval: Approval): Cell {
  const { state, quorum } = approval;
  if (state === 'approved') return { text: 'approved: it may be done, once', tone: 'good' };
  if (state === 'used') return { text: 'approved, and used', tone: 'good' };
  if (state !== 'pending') return STATES[state];
  return { text: `waits: ${givenOf(approval)} of ${plural(quorum, 'approval')} so far`, tone: 'warn' };
}

function decisionCell(
  { approver, decision, reason, at }: Approval['decisions'][number],
  view: View,
  names: Names,
): Cell {
  const verb = decision === 'approve' ? 'approved' : 'denied';
  return {
    text: `${verb} by ${formatDid(approver, names)} ${formatTime(at, view.nowMs)}: ${visibleText(reason)}`,
    tone: decision === 'approve' ? 'good' : 'bad',
  };
}

function digestCells(digest: string, isWhole: boolean | undefined): Cell[] {
  if (isWhole === undefined) return [digest];
  if (isWhole) return [digest, 'of exactly what is shown here; whoever approves signs it'];
  return [digest, { text: 'of MORE than is shown here: the request is too large to be kept', tone: 'bad' }];
}

/** Members that a request may have, in the order in which they are read; any other comes last, so that none is missed. */
function requestFields({ kind, request }: Approval, names: Names): Field[] {
  const { action, tool, server, resource, prompt, mcp, facts, exact, tools, cut: cutText, bytes, ...rest } = request;
  const left = Object.fromEntries(Object.entries(rest).filter(([name]) => name !== 'agent'));
  if (kind === 'tool')
    return [['Wants', wantsOf({ request })], ['Server', visibleText(textOf(server))], ...toolFields(tools)];
  return [
    ['Wants', visibleText(textOf(action ?? 'something'))],
    ...partFields('Tool', tool, 'name', server === undefined ? [] : [['Server', visibleText(textOf(server))]]),
    ...(tool === undefined && server !== undefined ? [['Server', visibleText(textOf(server))] satisfies Field] : []),
    ...partFields('Resource', resource, 'uri'),
    ...partFields('Prompt', prompt, 'name'),
    ...(mcp === undefined ? [] : [['Message', jsonLines(mcp)] satisfies Field]),
    ...(facts === undefined ? [] : [['Facts', factLines(facts, names)] satisfies Field]),
    ...(exact === undefined ? [] : [['As written', visibleText(textOf(exact))] satisfies Field]),
    ...(cutText === undefined
      ? []
      : [['Beginning', visibleText(textOf(cutText))] satisfies Field, ['Bytes', textOf(bytes)] satisfies Field]),
    ...(Object.keys(left).length === 0 ? [] : [['More', jsonLines(left)] satisfies Field]),
  ];
}

function partFields(label: string, part: unknown, key: string, beside: readonly Field[] = []): Field[] {
  if (part === undefined) return [];
  const { [key]: name, arguments: args, paths, ...rest } = recordOf(part) ?? { [key]: part };
  return [
    [label, visibleText(textOf(name))],
    ...beside,
    ...(args === undefined ? [] : [['Arguments', jsonLines(args)] satisfies Field]),
    ...(Array.isArray(paths) && paths.length > 0
      ? [['Paths', paths.map((path) => visibleText(textOf(path)))] satisfies Field]
      : []),
    ...(Object.keys(rest).length === 0 ? [] : [[`${label} more`, jsonLines(rest)] satisfies Field]),
  ];
}

function toolFields(tools: unknown): Field[] {
  if (!Array.isArray(tools)) return [['Tools', jsonLines(tools ?? null)]];
  return tools.map((tool): Field => {
    const { name, state, diff } = recordOf(tool) ?? {};
    const lines = textOf(diff ?? '').split('\n');
    return [
      'Tool',
      [`${visibleText(textOf(name))}: ${textOf(state)}`, ...lines.map((line) => `  ${visibleText(line)}`)],
    ];
  });
}

/** Each as JSON, which escapes line ends; what else is not seen is spelt out. */
const jsonLines = (value: unknown): string[] => (JSON.stringify(value, null, 2) ?? '').split('\n').map(visibleText);

function factLines(facts: unknown, names: Names): string[] {
  const lines = jsonLines(facts);
  const to = recordOf(facts)?.['to'];
  const name = typeof to === 'string' ? names.get(to) : undefined;
  return name === undefined ? lines : [...lines, `"to" is ${name}`];
}

/**
 * Broken here where the terminal is narrower: a line that the terminal breaks goes on at the left edge, where a long
 * argument could pass itself off as a field.
 */
function wrapped(fields: readonly Field[], { columns }: View): Field[] {
  if (columns === undefined) return [...fields];
  const width = columns - Math.max(...fields.map(([label]) => widthOf(label))) - 2;
  return fields.map(([label, value]): Field => {
    const cells = Array.isArray(value) ? (value as readonly Cell[]) : [value as Cell];
    return [label, cells.flatMap((cell) => wrappedCell(cell, Math.max(width, WIDTH_MIN)))];
  });
}
const WIDTH_MIN = 16;

function wrappedCell(cell: Cell, width: number): Cell[] {
  const text = typeof cell === 'string' ? cell : cell.text;
  const lines: string[] = [];
  let line = '';
  let taken = 0;
  for (const letter of text) {
    const more = widthOf(letter);
    if (taken + more > width) {
      lines.push(line);
      [line, taken] = ['', 0];
    }
    line += letter;
    taken += more;
  }
  lines.push(line);
  return lines.map((each) => (typeof cell === 'string' ? each : { ...cell, text: each }));
}
