import type { ReceiptView } from '../../protocol/control/index.ts';
import { ERRORS, type ErrorCode } from '../../protocol/index.ts';
import type { ReceiptCheckLine, ReceiptReport } from '../../sdk/index.ts';
import { plain } from '../text/plain.ts';
import { type Cell, formatFields, formatTable, indent, type View } from '../text/table.ts';
import { formatTime, formatTimeFully } from '../text/time.ts';
import { formatDid, formatDidShort, type Immutable, type Names, NO_NAMES } from './common.ts';

type Receipt = Immutable<ReceiptView>;

export function formatReceipts(receipts: readonly Receipt[], view: View, names: Names = NO_NAMES): string {
  if (receipts.length === 0) return 'No calls with other organisations yet.\n';
  return formatTable(
    receipts,
    [
      { title: 'Receipt', cell: ({ id }) => id },
      { title: 'Who', cell: ({ as }) => formatDidShort(as, names) },
      { title: 'Dir', cell: ({ role }) => (role === 'caller' ? 'out' : 'in') },
      { title: 'With', cell: ({ did }) => formatDidShort(did, names) },
      { title: 'Server', cell: ({ server }) => server },
      { title: 'Tool', cell: ({ tool }) => tool ?? '-' },
      { title: 'Outcome', cell: outcomeCell },
      { title: 'Ended', cell: ({ endedAt }) => formatTime(endedAt, view.nowMs), optional: true },
    ],
    view,
  );
}

/** A half receipt is the word of this side alone. */
const outcomeCell = ({ outcome, half }: Pick<Receipt, 'outcome' | 'half'>): Cell => ({
  text: half ? `${outcome} (half)` : outcome,
  tone: half ? 'warn' : outcome === 'ok' ? 'good' : 'dim',
});

export const formatReceipt = (receipt: Receipt, view: View, names: Names = NO_NAMES): string =>
  formatFields(
    [
      ['Receipt', receipt.id],
      ['Order', receipt.order],
      [receipt.role === 'caller' ? 'Caller' : 'Callee', `${formatDid(receipt.as, names)}, this side`],
      [receipt.role === 'caller' ? 'Callee' : 'Caller', formatDid(receipt.did, names)],
      ['Organisation', formatDid(receipt.organisation, names)],
      ['Session', `${receipt.sid}, call ${receipt.n}`],
      ['Server', receipt.server],
      ['Tool', receipt.tool ?? '-'],
      ['Outcome', outcomeCell(receipt)],
      ['Started', formatTimeFully(receipt.startedAt, view.nowMs)],
      ['Ended', formatTimeFully(receipt.endedAt, view.nowMs)],
      ['Signed by', receipt.half ? { text: 'this side alone', tone: 'warn' } : 'both sides'],
      ['Taken', receipt.taken ? 'the callee signed that it took the order' : 'nothing says so'],
      ['Decided in', receipt.intent === null ? '-' : `entry ${receipt.intent}`],
      ['Logged in', `entry ${receipt.entry}`],
    ],
    view,
  );

/** What a check in this process found; `report` null: it could not even be read. */
export interface ReceiptVerdict {
  readonly ok: boolean;
  readonly code: ErrorCode | null;
  readonly message: string | null;
  readonly report: ReceiptReport | null;
}

const TITLES: Readonly<Record<ReceiptCheckLine['check'], string>> = {
  receipt: 'Receipt',
  order: 'Order',
  taking: 'Taking',
  handshake: 'Handshake',
  caller: "Caller's key",
  callee: "Callee's key",
  authority: 'Authority',
  need: 'Covers the call',
  callerLog: "Caller's log",
  calleeLog: "Callee's log",
  witnesses: 'Witnesses',
  request: 'Request',
  result: 'Result',
};
const MARKS = {
  ok: { text: 'ok', tone: 'good' },
  failed: { text: 'FAILED', tone: 'bad' },
  notChecked: { text: 'not checked', tone: 'warn' },
} as const satisfies Record<ReceiptCheckLine['status'], Cell>;

export function formatReceiptVerdict(
  { ok, code, message, report }: ReceiptVerdict,
  view: View,
  names: Names = NO_NAMES,
): string {
  if (report === null)
    return `${view.paint('bad', 'invalid')}  ${code ?? ''}: ${code === null ? '' : ERRORS[code]}\n         ${plain(message ?? '')}\n`;
  const left = report.checks.filter(({ status }) => status === 'notChecked').length;
  const whole = report.half === null ? 'the receipt is of both sides' : `the receipt is of the ${report.half} alone`;
  const head = ok
    ? `${view.paint('good', 'valid')}    ${whole}${left === 0 ? '' : `; ${left} of ${report.checks.length} checks were not made`}\n`
    : `${view.paint('bad', 'invalid')}  ${code ?? ''}: ${code === null ? '' : ERRORS[code]}\n`;
  return [
    head,
    formatFields(fieldsOf(report, view, names), view),
    formatTable(
      report.checks,
      [
        { title: 'Check', cell: ({ check }) => TITLES[check] },
        { title: '', cell: ({ status }) => MARKS[status] },
        { title: 'Found', cell: ({ text }) => text },
      ],
      view,
    ),
    listed('Proven', report.proven, view),
    listed('Not proven', report.notProven, view),
    listed('Learnt since', report.since, view),
  ]
    .filter((part) => part !== '')
    .join('\n');
}

function fieldsOf(report: ReceiptReport, view: View, names: Names): (readonly [string, Cell | readonly Cell[]])[] {
  const { tool } = report;
  const shown =
    tool === null ? 'not shown' : `${tool.name}, ${tool.shownBy === 'request' ? 'as requested' : 'says an entry'}`;
  const known = report.knownThrough.map(({ did, asOf }) => `${formatDidShort(did, names)}: ${asOf ?? 'unknown'}`);
  return [
    ['Receipt', report.id],
    ['Caller', formatDid(report.caller, names)],
    ['Callee', formatDid(report.callee, names)],
    ['Session', `${report.sid}, call ${report.n}`],
    ['Server', report.server],
    ['Tool', shown],
    ['Outcome', outcomeCell({ outcome: report.outcome, half: report.half !== null })],
    ['Started', formatTimeFully(report.startedAt, view.nowMs)],
    ['Ended', formatTimeFully(report.endedAt, view.nowMs)],
    ['Judged as of', formatTimeFully(report.checkedAsOf, view.nowMs)],
    ['Revocations as of', known.length === 0 ? '-' : known],
  ];
}

const listed = (title: string, lines: readonly string[], view: View): string =>
  lines.length === 0 ? '' : `${view.paint('strong', title)}\n${indent(`${lines.map(plain).join('\n')}\n`)}`;
