import type { LinkView, SessionShown, SessionView } from '../../protocol/control/index.ts';
import { type Cell, formatFields, formatTable, indent, type View } from '../text/table.ts';
import { formatBytes, formatCount, formatLatency, formatTime, formatTimeFully } from '../text/time.ts';
import {
  formatCapabilitiesShort,
  formatCapability,
  formatDid,
  formatDidShort,
  formatRate,
  type Immutable,
  type Names,
  NO_NAMES,
} from './common.ts';

type Session = Immutable<SessionView>;

export function formatSessions(sessions: readonly Session[], view: View, names: Names = NO_NAMES): string {
  if (sessions.length === 0) return 'No sessions are open.\n';
  return formatTable(
    sessions,
    [
      { title: 'Session', cell: ({ sid }) => sid },
      { title: 'As', cell: ({ as }) => formatDidShort(as, names) },
      { title: 'With', cell: ({ did }) => formatDidShort(did, names) },
      { title: 'Dir', cell: ({ direction }) => (direction === 'inbound' ? 'in' : 'out') },
      { title: 'Granted', cell: ({ granted }) => (granted.length === 0 ? '-' : formatCapabilitiesShort(granted)) },
      { title: 'Calls', cell: ({ use }) => String(use.calls), align: 'right' },
      { title: 'Score', cell: ({ score }) => String(score), align: 'right', optional: true },
      { title: 'Opened', cell: ({ openedAt }) => formatTime(openedAt, view.nowMs), optional: true },
      { title: 'Ends', cell: ({ expiresAt }) => formatTime(expiresAt, view.nowMs) },
    ],
    view,
  );
}

/** What a handshake came to. */
export function formatSession(session: Session, view: View, names: Names = NO_NAMES): string {
  const took = session.durationMs === null ? '' : ` in ${formatLatency(session.durationMs)}`;
  const head = `${view.paint('good', 'verified')} ${formatDid(session.did, names)}${took}\n\n`;
  const ends = ['Ends', formatTimeFully(session.expiresAt, view.nowMs)] as const;
  return head + formatFields([...fieldsOf(session, names), ends], view);
}

/** All that is known of an open one. */
export function formatSessionInFull(
  { session, chain }: Immutable<SessionShown>,
  view: View,
  names: Names = NO_NAMES,
): string {
  const { use, servers, direction } = session;
  const who = direction === 'inbound' ? 'which it began' : 'which this side began';
  const head = `session with ${formatDid(session.did, names)}, ${who}\n\n`;
  const fields = formatFields(
    [
      ...fieldsOf(session, names),
      ['Since', formatTimeFully(session.openedAt, view.nowMs)],
      ['Until', formatTimeFully(session.expiresAt, view.nowMs)],
      ['Calls', `${use.calls}, of which ${use.refused} refused; ${use.running} running`],
      ['Bytes', `${formatBytes(use.bytesIn)} in, ${formatBytes(use.bytesOut)} out`],
      [
        'Servers',
        servers.length === 0
          ? 'none in use'
          : servers.map(({ server, openedAt }) => `${server}, since ${formatTime(openedAt, view.nowMs)}`),
      ],
      ['Chain', chain.length === 0 ? 'none: an organisation acts by itself' : formatCount(chain.length, 'link')],
    ],
    view,
  );
  return [head + fields, ...chain.map((link, i) => formatChainLink(link, i, view, names))].join('\n');
}

function formatChainLink(link: Immutable<LinkView>, index: number, view: View, names: Names): string {
  const fields = formatFields(
    [
      ['From', formatDid(link.issuer, names)],
      ['To', formatDid(link.audience, names)],
      ['May', link.capabilities.map(formatCapability)],
      ...(link.rates.length === 0 ? [] : [['Rates', link.rates.map(formatRate)] as const]),
      ['Ends', formatTimeFully(link.expiresAt, view.nowMs)],
    ],
    view,
  );
  return `${index + 1}. ${link.id}\n${indent(fields)}`;
}

const fieldsOf = (session: Session, names: Names): (readonly [string, Cell | readonly Cell[]])[] => [
  ['Session', session.sid],
  ['As', formatDid(session.as, names)],
  ['Organisation', formatDid(session.organisation, names)],
  ['PeerId', session.peerId],
  ['Sponsor', session.sponsor ?? '-'],
  ['Score', `${session.score}, wanted ${session.minScore} (${session.scoreBasis})`],
  ['Granted', session.granted.length === 0 ? 'nothing: no grant was presented' : session.granted.map(formatCapability)],
  ...(session.rates.length === 0 ? [] : [['Rates', session.rates.map(formatRate)] as const]),
  ['Checked', session.checked.length === 0 ? '-' : session.checked.join(', ')],
];
