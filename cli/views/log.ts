/** The audit log for people: what is in it, how it stands, and what a check of it found. */
import type {
  CosignatureView,
  LogEntryAnswer,
  LogEntryView,
  LogProofAnswer,
  LogRecovered,
  LogStatus,
  LogSummary,
  WitnessStatusView,
} from '../../protocol/control/index.ts';
import { type ErrorData, ERRORS, isErrorCode } from '../../protocol/index.ts';
import type { Exported } from '../../sdk/index.ts';
import { shortenIds } from '../text/ids.ts';
import { plain } from '../text/plain.ts';
import { type Cell, type Column, formatFields, formatTable, type View } from '../text/table.ts';
import { formatBytes, formatDuration, formatTimeFully } from '../text/time.ts';
import { formatDid, formatDidShort, type Immutable, type Names, NO_NAMES, plural } from './common.ts';
import { factsOf } from './events.ts';

type EntryView = Immutable<LogEntryView>;

/** What is shown of an entry; others' entries may hold anything, so every member is looked at before it is used. */
interface Shown {
  readonly time: string;
  readonly type: string;
  readonly subject: string | undefined;
  readonly actor: string;
  readonly phase: string;
  readonly members: Readonly<Record<string, unknown>>;
}

function shownOf({ entry }: Pick<EntryView, 'entry'>): Shown {
  const data: Readonly<Record<string, unknown>> = isRecord(entry['data']) ? entry['data'] : {};
  const { actor, phase, sig: _, ...members } = data;
  return {
    time: textOf(entry['time']),
    type: textOf(entry['type']),
    subject: entry['subject'] === undefined ? undefined : textOf(entry['subject']),
    actor: textOf(actor),
    phase: textOf(phase),
    members,
  };
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const textOf = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value ?? null));

/** "agentmesh.session.ended.v1" as "session.ended"; types of other makers as they are. */
export const shortType = (type: string): string => /^agentmesh\.(.+)\.v1$/.exec(type)?.[1] ?? type;

const LONG = 72; // letters of one value in a line: a DID and a little; bytes in base64 run to thousands
/** What `log show` has in full: statements as they were signed, and what follows from the rest of the entry. */
const LEFT_OUT: ReadonlySet<string> = new Set(['statement', 'binding', 'principal', 'delegation']);
/** Of decisions and approvals the same: commitments, signatures, and what another member says in other words. */
const LEFT_OUT_OF_KIND: Readonly<Record<string, ReadonlySet<string>>> = {
  action: new Set(['in', 'op']),
  approval: new Set(['digest', 'signature', 'at']),
};
/** What a line begins with, as people ask it. */
const FIRST = ['action', 'tool', 'server', 'policy', 'decision', 'approver', 'reason'];

/** One line: place, when, what, who, and the facts as name=value. On a terminal ids are cut short. */
export function formatEntryLine(entry: EntryView, { paint, columns }: View, names: Names = NO_NAMES): string {
  const { time, type, subject, actor, phase, members } = shownOf(entry);
  const shorten = (text: string): string =>
    names.get(text) ?? (columns === undefined ? text : (shortenIds([text]).get(text) ?? text));
  const [kind = ''] = shortType(type).split('.');
  const isLeftOut = (name: string): boolean => LEFT_OUT.has(name) || LEFT_OUT_OF_KIND[kind]?.has(name) === true;
  const placeOf = (name: string): number => (FIRST.includes(name) ? FIRST.indexOf(name) : FIRST.length);
  const ordered = Object.entries(members).sort(([a], [b]) => placeOf(a) - placeOf(b));
  const facts = (LEFT_OUT_OF_KIND[kind] === undefined ? Object.entries(members) : ordered).flatMap(([name, value]) =>
    isLeftOut(name) ? [] : factsOf(name, withNames(name === 'policy' ? policyFacts(value) : value, shorten)),
  );
  const isNew = subject !== undefined && !Object.values(members).includes(subject);
  const what = phase === 'intent' ? `${shortType(type)}?` : shortType(type);
  const line = [
    paint('dim', String(entry.index).padStart(6)),
    paint('dim', plain(time.replace('T', ' ').replace(/\.\d+Z$/, ''))),
    paint('strong', plain(what).padEnd(20)),
    plain(shorten(actor)),
    ...(isNew ? [plain(cut(shorten(subject)))] : []),
    ...facts.map((fact) => plain(cut(fact))),
  ];
  return `${line.join('  ')}\n`;
}

/** Which policy by its name; its digest is in `log show`. */
function policyFacts(value: unknown): unknown {
  if (!isRecord(value) || value['decision'] === undefined) return value;
  const { decision, rule, version } = value;
  return { decision, rule, policy: version };
}

const withNames = (value: unknown, shorten: (text: string) => string): unknown => {
  if (typeof value === 'string') return shorten(value);
  return Array.isArray(value) ? value.map((each) => withNames(each, shorten)) : value;
};
const cut = (text: string): string => (text.length > LONG + 20 ? `${text.slice(0, LONG)}…` : text);

/** Everything that an entry says, and whether its signature verifies here. */
export function formatEntry(
  answer: Immutable<LogEntryAnswer>,
  { leaf, bytes, isSigned }: { readonly leaf: string; readonly bytes: number; readonly isSigned: boolean },
  view: View,
  names: Names = NO_NAMES,
): string {
  const { time, type, subject, actor, phase, members } = shownOf(answer);
  const data = answer.entry['data'];
  const signature = isRecord(data) && isRecord(data['sig']) ? textOf(data['sig']['kid']) : '-';
  return formatFields(
    [
      ['Entry', String(answer.index)],
      ['Id', answer.id],
      ['Type', type],
      ['Time', formatTimeFully(time, view.nowMs)],
      ['Actor', formatDid(actor, names)],
      ['Phase', phase],
      ...(subject === undefined ? [] : [['Subject', subject] as const]),
      ...Object.entries(members).map(([name, value]) => [name, linesOf(value)] as const),
      [
        'Signature',
        isSigned
          ? { text: `verifies under ${signature}`, tone: 'good' }
          : { text: `DOES NOT VERIFY under ${signature}`, tone: 'bad' },
      ],
      ['Leaf hash', leaf],
      ['Size', formatBytes(bytes)],
    ],
    view,
  );
}

function linesOf(value: unknown): Cell | readonly Cell[] {
  if (Array.isArray(value)) return value.map(textOf);
  if (isRecord(value)) return Object.entries(value).flatMap(([inner, each]) => factsOf(inner, each));
  return textOf(value);
}

export function formatLogStatus(status: Immutable<LogStatus>, view: View, names: Names = NO_NAMES): string {
  const { released, problem, watched } = status;
  const fields: (readonly [string, Cell | readonly Cell[]])[] = [
    ['Log', status.origin],
    ['State', problem === null ? { text: 'signs', tone: 'good' } : { text: `HALTED: ${problem.message}`, tone: 'bad' }],
    ...(problem === null || problem.place === null ? [] : [['Seen in', problem.place] as const]),
    ['Entries', String(status.treeSize)],
    ['Root', status.root ?? { text: 'unknown', tone: 'bad' }],
    ['Newest', formatTimeFully(status.headAt, view.nowMs)],
    ['Released', releasedCell(status)],
    ['Cosigned by', cosignersCells(released?.cosignatures ?? [], watched, names)],
    ['Quorum', quorumCell(status)],
    ['Asked', status.witnesses.length === 0 ? '-' : status.witnesses.map((one) => witnessCell(one, names))],
    ['Other logs', monitorCells(status, view, names)],
    ['Copies kept', status.mirrors.length === 0 ? '-' : status.mirrors.map((copy) => mirrorCell(copy, names))],
    ['Key', status.vkey],
  ];
  const warning =
    problem === null && !watched
      ? `\n${view.paint('warn', 'warning')} Nobody watches this log: no witness is known, so only its own anchor would show that it was cut or rewritten.\n`
      : '';
  return formatFields(fields, view) + warning;
}

/** What it cost to go on comes first: the rest is the status as ever. */
export function formatLogRecovered(recovered: Immutable<LogRecovered>, view: View, names: Names = NO_NAMES): string {
  const { lost } = recovered;
  const warning =
    lost === null || lost === 0
      ? ''
      : `${view.paint('warn', 'warning')} ${plural(lost, 'entry', 'entries')} at the end, written here and never released, ${lost === 1 ? 'is' : 'are'} lost: no copy has ${lost === 1 ? 'it' : 'them'}.\n\n`;
  return warning + formatLogStatus(recovered, view, names);
}

const releasedCell = ({ released, treeSize }: Immutable<LogStatus>): Cell => {
  if (released === null) return { text: 'nothing yet', tone: 'warn' };
  const later = treeSize - released.treeSize;
  return later <= 0 ? `all ${released.treeSize}` : `${released.treeSize}, ${later} not yet`;
};

function cosignersCells(cosignatures: Immutable<CosignatureView[]>, watched: boolean, names: Names): Cell[] {
  if (cosignatures.length === 0) return [{ text: watched ? 'nobody yet' : 'nobody', tone: 'warn' }];
  return cosignatures.map(
    ({ name, did, ageSeconds }) =>
      `${did === null ? name : formatDid(did, names)}, ${formatDuration(ageSeconds)} ago by its clock`,
  );
}

function quorumCell({ released, watched }: Immutable<LogStatus>): Cell {
  if (!watched) return { text: 'none: the policy names no witness', tone: 'warn' };
  return released?.quorumMet === true ? { text: 'met', tone: 'good' } : { text: 'not met', tone: 'warn' };
}

function witnessCell(witness: Immutable<LogStatus['witnesses'][number]>, names: Names): Cell {
  const { did, name, treeSize, ageSeconds, reachable, error } = witness;
  const who = did === null ? name : formatDid(did, names);
  const when = ageSeconds === null ? '' : `, ${formatDuration(ageSeconds)} ago`;
  const how = treeSize === null ? 'has cosigned nothing yet' : `cosigned ${treeSize}${when}`;
  const state = reachable ? '' : '; not connected';
  const text = `${who}: ${how}${state}${error === null ? '' : `; ${error}`}`;
  return error === null && reachable ? text : { text, tone: 'warn' };
}

/** What is held against a log is shown for a while, and is no proof. */
function monitorCells({ monitor }: Immutable<LogStatus>, view: View, names: Names): Cell[] {
  const { logs, checkpoints, proven, withheld } = monitor;
  const seen = `${plural(logs, 'log')} watched, ${plural(checkpoints, 'checkpoint')} compared`;
  const forks: Cell[] =
    proven === 0
      ? []
      : [{ text: `${plural(proven, 'fork')} proven since the start: see "conviction list"`, tone: 'bad' }];
  return [seen, ...forks, ...withheld.map((held) => withheldCell(held, view, names))];
}

function withheldCell(
  { organisations, origin, treeSizes, times, since }: Immutable<LogStatus['monitor']['withheld'][number]>,
  view: View,
  names: Names,
): Cell {
  const who = organisations.length === 0 ? origin : organisations.map((did) => formatDid(did, names)).join(', ');
  const what = `has not shown that its trees of ${treeSizes.join(' and ')} entries agree`;
  return {
    text: `${who}: ${what}; asked ${plural(times, 'time')} since ${formatTimeFully(since, view.nowMs)}`,
    tone: 'warn',
  };
}

function mirrorCell({ did, treeSize, problem }: Immutable<LogStatus['mirrors'][number]>, names: Names): Cell {
  const text = `${formatDid(did, names)}: ${plural(treeSize, 'entry', 'entries')}`;
  return problem === null ? text : { text: `${text}; could not be extended (${problem})`, tone: 'warn' };
}

/** In the status of the daemon. */
export function logCell(log: Immutable<LogSummary>): Cell {
  if (log.problem !== null) return { text: `HALTED: ${log.problem.message}`, tone: 'bad' };
  const size = plural(log.treeSize, 'entry', 'entries');
  if (!log.watched) return { text: `${size}, nobody watches it`, tone: 'warn' };
  if (!log.quorumMet) return { text: `${size}, not cosigned by a quorum (${log.cosigners} so far)`, tone: 'warn' };
  return `${size}, ${log.releasedSize ?? 0} cosigned by ${plural(log.cosigners, 'witness', 'witnesses')}`;
}

export interface Proved extends Omit<Immutable<LogProofAnswer>, 'bytes' | 'proof'> {
  readonly files: { readonly proof: string; readonly entry: string };
}

export const formatProved = ({ index, treeSize, cosignatures, files }: Proved, view: View): string =>
  formatFields(
    [
      ['Entry', String(index)],
      ['In a log of', plural(treeSize, 'entry', 'entries')],
      ['Cosigned by', cosignersCells(cosignatures, true, NO_NAMES)],
      ['Proof', files.proof],
      ['Entry bytes', files.entry],
    ],
    view,
  );

/** What `log verify` found. */
export interface LogVerdict {
  readonly ok: boolean;
  readonly code: string | null;
  readonly message: string | null;
  readonly data: ErrorData;
  readonly report: LogReportView | null;
}

export interface LogReportView {
  readonly origin: string;
  readonly treeSize: number;
  /** Base64, as in the checkpoint. */
  readonly root: string;
  readonly cosignatures: readonly { readonly name: string; readonly at: string }[];
  readonly policy: {
    readonly from: string;
    /** Whether it has to be met for the log to be valid: one that came with the log is its maker's word. */
    readonly enforced: boolean;
    readonly quorumMet: boolean;
    readonly hasQuorum: boolean;
  } | null;
  /** Of a whole log: what was looked at. */
  readonly entries: number | null;
  readonly signatures: number | null;
  readonly tiles: number | null;
  readonly since: readonly { readonly file: string; readonly treeSize: number }[];
  /** Of a proof: the entry that it is about. */
  readonly entry: EntryView | null;
}

export function formatVerdict(verdict: LogVerdict, view: View, names: Names = NO_NAMES): string {
  const { ok, code, message, data, report } = verdict;
  if (!ok || report === null) {
    const why = isErrorCode(code) ? ERRORS[code] : '';
    const place = typeof data['index'] === 'number' ? `         at entry ${data['index']}\n` : '';
    const head = `${view.paint('bad', 'invalid')}  ${code ?? ''}: ${why}\n`;
    return `${head}${place}${message === null ? '' : `         ${plain(message)}\n`}`;
  }
  const what =
    report.entry === null
      ? `the log of ${plural(report.treeSize, 'entry', 'entries')} is whole`
      : `entry ${report.entry.index} is in the log, as it was signed`;
  const fields: (readonly [string, Cell | readonly Cell[]])[] = [
    ['Log', report.origin],
    ['Entries', String(report.treeSize)],
    ['Root', report.root],
    ...(report.entry === null ? [] : [['Entry', formatEntryLine(report.entry, view, names).trim()] as const]),
    ['Checked', checkedCell(report)],
    ...(report.since.length === 0
      ? []
      : [['Contains', report.since.map(({ file, treeSize }) => `the checkpoint of ${treeSize} in ${file}`)] as const]),
    [
      'Cosigned by',
      report.cosignatures.length === 0 ? '-' : report.cosignatures.map(({ name, at }) => `${name}, ${at}`),
    ],
    ['Quorum', policyCell(report)],
  ];
  return `${view.paint('good', 'valid')}    ${what}\n\n${formatFields(fields, view)}`;
}

function checkedCell({ entries, signatures, tiles, entry }: LogReportView): string {
  if (entry !== null) return "the checkpoint's signatures, the way from the entry to its root, the entry's signature";
  return `the checkpoint's signatures, ${plural(entries ?? 0, 'entry', 'entries')} with ${plural(signatures ?? 0, 'signature')}, ${plural(tiles ?? 0, 'tile')}`;
}

function policyCell({ policy }: LogReportView): Cell {
  if (policy === null) return { text: 'not looked at: no policy (name yours with --policy FILE)', tone: 'warn' };
  const from = policy.enforced ? `of ${policy.from}` : `of ${policy.from}, which came with the log: its maker's word`;
  if (!policy.hasQuorum) return { text: `none is asked for by the policy ${from}`, tone: 'warn' };
  return policy.quorumMet
    ? { text: `met, by the policy ${from}`, tone: 'good' }
    : { text: `NOT met, by the policy ${from}`, tone: 'warn' };
}

export const formatExported = (exported: Exported, view: View): string =>
  formatFields(
    [
      ['Log', exported.origin],
      [
        'Entries',
        exported.before === null ? String(exported.treeSize) : `${exported.treeSize}, ${exported.before} before`,
      ],
      ['Files', `${exported.filesWritten} written, ${exported.filesKept} kept after a check`],
      ['Directory', exported.directory],
    ],
    view,
  );

export function formatWitness(witness: Immutable<WitnessStatusView>, view: View, names: Names = NO_NAMES): string {
  const head = formatFields(
    [
      ['Witness', witness.name],
      ['Key', witness.vkey],
      ['HTTP', witness.listening ?? 'not served: peers ask over libp2p'],
    ],
    view,
  );
  if (witness.logs.length === 0) return `${head}\nIt has cosigned nothing yet.\n`;
  const columns: Column<Immutable<WitnessStatusView['logs'][number]>>[] = [
    { title: 'Log of', cell: ({ did, origin }) => (did === null ? origin : formatDidShort(did, names)) },
    { title: 'Entries', cell: ({ treeSize }) => String(treeSize), align: 'right' },
    { title: 'Cosigned', cell: ({ cosignedAt }) => formatTimeFully(cosignedAt, view.nowMs) },
    { title: 'Root', cell: ({ root }) => root, optional: true },
  ];
  return `${head}\n${formatTable(witness.logs, columns, view)}`;
}

/** A row of `audit`. */
export interface AuditRow {
  readonly index: number;
  readonly id: string;
  readonly time: string;
  readonly type: string;
  readonly agent: string;
  /** The operation, else the type. */
  readonly action: string;
  readonly resource: string;
  readonly outcome: string;
  readonly decision: string;
  readonly rule: string;
  /** DID of the person who decided, of an approval. */
  readonly approver: string;
  readonly trace: string;
  /** Of an intent: the entry that says what came of it. */
  readonly settledBy: number | null;
}

/** The intent that the entry is the outcome of; `isBare`: it says nothing else, so the two are one row. */
export function intentOf({
  entry,
}: Pick<EntryView, 'entry'>): { readonly id: string; readonly isBare: boolean } | undefined {
  const { data, type } = entry;
  const id = isRecord(data) ? data['intent'] : undefined;
  return typeof id === 'string' ? { id, isBare: shortType(textOf(type)) === 'intent.settled' } : undefined;
}

/** What was done, with what came of it where another entry says so. */
export function auditRow(entry: EntryView, settled?: EntryView): AuditRow {
  const { time, type, actor, phase, members, subject } = shownOf(entry);
  const member = (name: string, inner: string): string => {
    const value = members[name];
    const found = isRecord(value) ? value[inner] : undefined;
    return found === undefined || found === null ? '' : textOf(found);
  };
  const word = (...names: string[]): string => {
    const found = names.map((name) => members[name]).find((value) => typeof value === 'string');
    return typeof found === 'string' ? found : '';
  };
  const resultOf = (of: Shown['members']): string =>
    isRecord(of['result']) && typeof of['result']['code'] === 'string' ? of['result']['code'] : '';
  const result = settled === undefined ? resultOf(members) || word('code') : resultOf(shownOf(settled).members);
  const isOpen = phase === 'intent' && settled === undefined;
  const short = shortType(type);
  const isPolicied = short.startsWith('action.'); // what it is: "tool_call", or the caller's own word
  const isApproval = short.startsWith('approval.'); // by its id, as "approvals show" takes it
  const named = short === 'policy.loaded' ? word('name') : '';
  return {
    index: entry.index,
    id: entry.id,
    time,
    type,
    agent: actor,
    action: (isPolicied ? word('action') : word('op')) || short,
    resource: isApproval
      ? (subject ?? '')
      : word('tool') || named || (subject ?? word('peer', 'as', 'did', 'audience')),
    outcome: isOpen ? 'intent' : result === '' ? 'ok' : result,
    decision: member('policy', 'decision') || (short === 'approval.decided' ? word('decision') : ''),
    rule: member('policy', 'rule'),
    approver: word('approver'),
    trace: word('trace'),
    settledBy: settled?.index ?? null,
  };
}

export function formatAudit(rows: readonly AuditRow[], view: View, names: Names = NO_NAMES): string {
  if (rows.length === 0) return 'The audit log has no such entries.\n';
  const columns: Column<AuditRow>[] = [
    { title: 'Time', cell: ({ time }) => time.replace('T', ' ').replace(/\.\d+Z$/, '') },
    { title: 'Agent', cell: ({ agent }) => formatDidShort(agent, names) },
    { title: 'Action', cell: ({ action }) => action },
    { title: 'Resource', cell: ({ resource }) => (resource === '' ? '-' : formatDidShort(resource, names)) },
    { title: 'Outcome', cell: ({ outcome }) => outcomeCell(outcome) },
    {
      title: 'Decision',
      cell: ({ decision, rule, approver }) =>
        [decision, rule === '' ? formatDidShort(approver, names) : rule].filter((text) => text !== '').join(' by ') ||
        '-',
      optional: true,
    },
    { title: 'Entry', cell: ({ index }) => String(index), align: 'right' },
  ];
  return formatTable(rows, columns, view);
}

const outcomeCell = (outcome: string): Cell =>
  outcome === 'ok'
    ? { text: outcome, tone: 'good' }
    : outcome === 'intent'
      ? outcome
      : { text: outcome, tone: outcome === 'approval_pending' ? 'warn' : 'bad' };

export const AUDIT_COLUMNS = [
  'time',
  'agent',
  'type',
  'action',
  'resource',
  'outcome',
  'decision',
  'rule',
  'trace',
  'index',
  'id',
  'approver',
] as const satisfies readonly (keyof AuditRow)[];

/**
 * RFC 4180. A cell that a spreadsheet would take for a formula gets an apostrophe in front: what agents log must not
 * run on the auditor's machine.
 */
export const formatAuditCsv = (rows: readonly AuditRow[]): string =>
  [[...AUDIT_COLUMNS], ...rows.map((row) => AUDIT_COLUMNS.map((column) => String(row[column])))]
    .map((cells) => `${cells.map(csvCell).join(',')}\r\n`)
    .join('');

function csvCell(text: string): string {
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
