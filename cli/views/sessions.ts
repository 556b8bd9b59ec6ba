import type { SessionView } from '../../protocol/control/index.ts';
import { formatFields, formatTable, type View } from '../text/table.ts';
import { formatLatency, formatTime, formatTimeFully } from '../text/time.ts';
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
      { title: 'Score', cell: ({ score }) => String(score), align: 'right' },
      { title: 'Opened', cell: ({ openedAt }) => formatTime(openedAt, view.nowMs), optional: true },
      { title: 'Ends', cell: ({ expiresAt }) => formatTime(expiresAt, view.nowMs) },
    ],
    view,
  );
}

export function formatSession(session: Session, view: View, names: Names = NO_NAMES): string {
  const took = session.durationMs === null ? '' : ` in ${formatLatency(session.durationMs)}`;
  const head = `${view.paint('good', 'verified')} ${formatDid(session.did, names)}${took}\n\n`;
  const fields = formatFields(
    [
      ['Session', session.sid],
      ['As', formatDid(session.as, names)],
      ['Organisation', formatDid(session.organisation, names)],
      ['PeerId', session.peerId],
      ['Sponsor', session.sponsor ?? '-'],
      ['Score', `${session.score}, wanted ${session.minScore} (${session.scoreBasis})`],
      [
        'Granted',
        session.granted.length === 0 ? 'nothing: no grant was presented' : session.granted.map(formatCapability),
      ],
      ...(session.rates.length === 0 ? [] : [['Rates', session.rates.map(formatRate)] as const]),
      ['Checked', session.checked.length === 0 ? '-' : session.checked.join(', ')],
      ['Ends', formatTimeFully(session.expiresAt, view.nowMs)],
    ],
    view,
  );
  return head + fields;
}
