/** Chains, and what a check of one says: every link, and for a failure which link and why. */
import type { ChainReportView, ChainSummary, DelegationAnswer, LinkView } from '../../protocol/control/index.ts';
import { ERRORS, type ErrorData, isErrorCode } from '../../protocol/index.ts';
import { plain } from '../text/plain.ts';
import { type Cell, formatFields, formatTable, indent, type View } from '../text/table.ts';
import { formatDuration, formatTime, formatTimeFully } from '../text/time.ts';
import {
  formatCapabilitiesShort,
  formatCapability,
  formatDid,
  formatDidShort,
  formatRate,
  type Immutable,
  type Names,
  NO_NAMES,
  plural,
  unixTime,
} from './common.ts';

type Summary = Immutable<ChainSummary>;
type Report = Immutable<ChainReportView>;
type LinkReport = Report['links'][number];

export function formatChains(chains: readonly Summary[], view: View, names: Names = NO_NAMES): string {
  if (chains.length === 0) return 'No chains are held here.\n';
  return formatTable(
    chains,
    [
      { title: 'Leaf', cell: ({ leaf }) => leaf },
      { title: 'Root', cell: ({ organisation }) => formatDidShort(organisation, names) },
      { title: 'Holder', cell: ({ audience }) => formatDidShort(audience, names) },
      { title: 'Links', cell: ({ links }) => String(links), align: 'right', optional: true },
      { title: 'Can', cell: ({ capabilities }) => formatCapabilitiesShort(capabilities) },
      { title: 'Ends', cell: ({ expiresAt }) => formatTime(expiresAt, view.nowMs) },
      { title: 'Check', cell: ({ verdict }) => verdictCell(verdict) },
    ],
    view,
  );
}

const verdictCell = ({ ok, code }: Summary['verdict']): Cell =>
  ok ? { text: 'valid', tone: 'good' } : { text: code ?? 'invalid', tone: 'bad' };

export function formatDelegation(
  { link, published }: Immutable<DelegationAnswer>,
  view: View,
  names: Names = NO_NAMES,
): string {
  const how = published ? 'published' : link.private ? 'private: it is only presented' : 'not published yet';
  return `${view.paint('good', 'delegated')} ${link.id}

${formatLink(link, how, view, names)}`;
}

const formatLink = (link: Immutable<LinkView>, sharing: string, view: View, names: Names): string =>
  formatFields(
    [
      ['From', formatDid(link.issuer, names)],
      ['To', formatDid(link.audience, names)],
      ['May', link.capabilities.map(formatCapability)],
      ['Ends', formatTimeFully(link.expiresAt, view.nowMs)],
      ['Parent', link.parent ?? 'none: a root link of the organisation'],
      ['Sponsor', formatDid(link.sponsor, names)],
      ...limitsOf(link),
      ['Sharing', sharing],
    ],
    view,
  );

interface Limits {
  readonly depth: number | null;
  readonly rates: Immutable<LinkView['rates']>;
  readonly at: readonly string[] | null;
  readonly purposes: readonly string[] | null;
  readonly minScore: number | null;
  readonly stalenessSeconds: number | null;
}

const limitsOf = (link: Limits): (readonly [string, Cell | readonly Cell[]])[] => [
  ...(link.depth === null ? [] : [['Depth', plural(link.depth, 'further hop')] as const]),
  ...(link.rates.length === 0 ? [] : [['Rates', link.rates.map(formatRate)] as const]),
  ...(link.at === null || link.at.length === 0 ? [] : [['Only at', link.at] as const]),
  ...(link.purposes === null || link.purposes.length === 0 ? [] : [['Only for', link.purposes.join(', ')] as const]),
  ...(link.minScore === null ? [] : [['Score', `at least ${link.minScore}`] as const]),
  ...(link.stalenessSeconds === null
    ? []
    : [['Staleness', `at most ${formatDuration(link.stalenessSeconds)}`] as const]),
];

/** A check's outcome as `verify-chain` and `chain show` tell it. */
export interface Checked {
  readonly ok: boolean;
  readonly code: string | null;
  readonly message: string | null;
  /** Of the failure, without its report. */
  readonly data: ErrorData;
  readonly report: Report;
}

export function formatChecked(checked: Checked, view: View, names: Names = NO_NAMES): string {
  const { report } = checked;
  const links = report.links.map((link, i) => formatReportedLink(link, i, checked, view, names));
  return [verdictOf(checked, view), ...links, summaryOf(checked, view, names)].join('\n');
}

function verdictOf({ ok, code, message, data, report }: Checked, { paint }: View): string {
  const count = report.ids.length;
  if (ok) {
    const of = `the chain of ${plural(count, 'link')} verifies`;
    return `${paint('good', 'valid')}    ${of}\n`;
  }
  const why = isErrorCode(code) ? ERRORS[code] : '';
  const where =
    data.link === undefined || count === 0 || !isAboutLink(report)
      ? ''
      : `         at link ${data.link + 1} of ${count}${data.id === undefined ? '' : `, ${data.id}`}\n`;
  const dimension = data.dimension === undefined ? '' : `: ${data.dimension}`;
  return (
    `${paint('bad', 'invalid')}  ${code ?? ''}${dimension}: ${why}\n` +
    where +
    (message === null ? '' : `         ${plain(message)}\n`)
  );
}

/** Before the first check has passed nothing was said of any link: what is wrong is the whole that they came in. */
const isAboutLink = ({ checked }: Report): boolean => checked.length > 0;

const MARKS: Readonly<Record<LinkReport['status'], Cell & object>> = {
  ok: { text: 'ok', tone: 'good' },
  failed: { text: 'FAILED', tone: 'bad' },
  unchecked: { text: 'not checked', tone: 'dim' },
};

function formatReportedLink(
  link: LinkReport,
  index: number,
  { code, report }: Checked,
  view: View,
  names: Names,
): string {
  const mark = MARKS[isAboutLink(report) ? link.status : 'unchecked'];
  const what = index === 0 ? 'root link' : link.credential ? 'credential' : 'link';
  const failed = mark === MARKS.failed && code !== null ? ` (${code})` : '';
  const head = `${index + 1}. ${what} ${link.id}  ${view.paint(mark.tone, mark.text + failed)}\n`;
  const fields = formatFields(
    [
      ['From', formatDid(link.issuer, names)],
      ['To', formatDid(link.audience, names)],
      ...(index === 0 ? [['Sponsor', formatDid(link.sponsor, names)] as const] : []),
      ['May', link.capabilities.map(formatCapability)],
      ['In force', `${unixTime(link.notBeforeSeconds, view)} to ${unixTime(link.expiresSeconds, view)}`],
      ...limitsOf(link),
      ...(link.boundKey === null ? [] : [['Bound to key', link.boundKey] as const]),
      ...(link.private ? [['Sharing', 'private'] as const] : []),
      ...(link.signers.length === 0
        ? []
        : [['Signed by', link.signers.map((signer) => signerCell(signer, view))] as const]),
    ],
    view,
  );
  return head + indent(fields);
}

function signerCell({ did, key, standing, untilSeconds }: LinkReport['signers'][number], view: View): Cell {
  const text = `${key} of ${did}`;
  if (standing === 'current') return text;
  if (standing === 'bound') return `${key}, the key that the link before binds`;
  if (standing === 'kept') return `${text}, retired, this link kept`;
  return {
    text: `${text}, retired, counts until ${untilSeconds === undefined ? '-' : unixTime(untilSeconds, view)}`,
    tone: 'warn',
  };
}

function summaryOf({ ok, report }: Checked, view: View, names: Names): string {
  const { effective, checkedThrough } = report;
  const until = report.validUntilSeconds;
  return formatFields(
    [
      ...(ok && effective !== null ? [['Grants', effective.capabilities.map(formatCapability)] as const] : []),
      ...(ok && report.audience !== null ? [['To', formatDid(report.audience, names)] as const] : []),
      ...(report.root === null ? [] : [['Root', formatDid(report.root, names)] as const]),
      ['As of', formatTimeFully(report.checkedAt, view.nowMs)],
      ...(ok && until !== null ? [['Until', `${unixTime(until, view)}, unless something is learnt`] as const] : []),
      ...(checkedThrough.length === 0
        ? []
        : [['Revocations', checkedThrough.map((one) => throughCell(one, report.staleAfterSeconds, names))] as const]),
      ['Checked', report.checked.length === 0 ? '-' : report.checked.join(', ')],
      ...(report.notChecked.length === 0 ? [] : [['Not checked', notCheckedLines(report.notChecked)] as const]),
    ],
    view,
  );
}

function throughCell(
  { did, rseq, ageSeconds, answered }: Report['checkedThrough'][number],
  staleAfterSeconds: number | null,
  names: Names,
): Cell {
  const who = formatDid(did, names);
  const tolerated = staleAfterSeconds === null ? '' : `; tolerated: ${formatDuration(staleAfterSeconds)}`;
  if (rseq === null || ageSeconds === null) return { text: `${who}: nothing is known${tolerated}`, tone: 'bad' };
  const how = answered ? 'by its own answer' : 'by a heartbeat';
  const isStale = staleAfterSeconds !== null && ageSeconds > staleAfterSeconds;
  const text = `${who}: ${plural(rseq, 'revocation')}, known as of ${formatDuration(ageSeconds)} before, ${how}${tolerated}`;
  return isStale ? { text, tone: 'bad' } : text;
}

/** One line a reason: where a check fails, all later ones share theirs. */
function notCheckedLines(notChecked: Report['notChecked']): string[] {
  const reasons = [...new Set(notChecked.map(({ why }) => why))];
  return reasons.map((reason) => {
    const checks = notChecked.filter(({ why }) => why === reason).map(({ check }) => check);
    return `${checks.join(', ')}: ${reason}`;
  });
}
