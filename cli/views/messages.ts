import type { InboxMessageView, OutgoingMessageView } from '../../protocol/control/index.ts';
import { plainLines } from '../text/plain.ts';
import { type Cell, formatFields, formatTable, indent, type View } from '../text/table.ts';
import { formatBytes, formatTime, formatTimeFully } from '../text/time.ts';
import { formatDid, formatDidShort, type Immutable, type Names } from './common.ts';

type Outgoing = Immutable<OutgoingMessageView>;
type Incoming = Immutable<InboxMessageView>;

const TONES = { waiting: 'warn', delivered: 'good', failed: 'bad', expired: 'bad' } as const;

/** What it is, and while it waits what came of the last try. */
function stateCell({ state, code }: Outgoing): Cell {
  const why = code === null || state === 'expired' ? '' : ` (${code})`;
  return { text: `${state}${why}`, tone: TONES[state] };
}

export function formatSent(message: Outgoing, view: View, names: Names): string {
  return formatFields(
    [
      ['Message', message.id],
      ['From', formatDid(message.from, names)],
      ['To', formatDid(message.to, names)],
      ['Says', `${formatBytes(message.bytes)}, ${message.contentType}`],
      ['State', stateCell(message)],
      ['Until', formatTimeFully(message.expiresAt, view.nowMs)],
    ],
    view,
  );
}

export function formatOutbox(messages: readonly Outgoing[], view: View, names: Names): string {
  if (messages.length === 0) return 'No message was sent.\n';
  return formatTable(
    messages,
    [
      { title: 'Message', cell: ({ id }) => id },
      { title: 'From', cell: ({ from }) => formatDidShort(from, names) },
      { title: 'To', cell: ({ to }) => formatDidShort(to, names) },
      { title: 'State', cell: stateCell },
      { title: 'Tries', cell: ({ tries }) => String(tries), align: 'right', optional: true },
      { title: 'Next', cell: ({ nextAt }) => formatTime(nextAt, view.nowMs), optional: true },
      { title: 'Size', cell: ({ bytes }) => formatBytes(bytes), align: 'right', optional: true },
      { title: 'Sent', cell: ({ createdAt }) => formatTime(createdAt, view.nowMs) },
    ],
    view,
  );
}

export function formatInbox(messages: readonly Incoming[], view: View, names: Names): string {
  if (messages.length === 0) return 'No message waits.\n';
  return messages.map((message) => formatIncoming(message, view, names)).join('\n');
}

function formatIncoming(message: Incoming, view: View, names: Names): string {
  const { id, from, organisation, sentAt, contentType, body } = message;
  const fields = formatFields(
    [
      ['Message', id],
      ['From', formatDid(from, names)],
      ['Of', formatDid(organisation, names)],
      ['Sent', formatTimeFully(sentAt, view.nowMs)],
      ['Until', formatTimeFully(message.expiresAt, view.nowMs)],
      ['Type', contentType],
    ],
    view,
  );
  const bytes = Buffer.from(body, 'base64url');
  return `${fields}\n${indent(shown(bytes))}\n`;
}

/** With whatever would move the cursor or hide something made visible. */
function shown(bytes: Uint8Array): string {
  try {
    return plainLines(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    return `(${formatBytes(bytes.length)} that are no text; see --json)`; // bytes of another kind
  }
}
