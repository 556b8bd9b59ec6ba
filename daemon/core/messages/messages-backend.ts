/** The control API's answers about messages between agents. */
import type { Caller, ControlBackend, InboxMessageView, OutgoingMessageView } from '../../../protocol/control/index.ts';
import { fromBase64url, limits, MeshError, toBase64url, toHex } from '../../../protocol/index.ts';
import type { Acting } from '../governance/governance.ts';
import type { Inbox, InboxMessage } from './inbox.ts';
import type { Sending } from './node-messages.ts';
import type { Outbox, Outgoing } from './outbox.ts';

export interface MessagesBackendComponents {
  readonly outbox: Pick<Outbox, 'list'>;
  readonly inbox: Pick<Inbox, 'list' | 'wait' | 'acknowledge'>;
  readonly organisation: string;
  /** As of GovernanceComponents: whoever is stopped reads nothing either. */
  readonly acting: (did: string) => Acting;
  readonly send: (sending: Sending) => Promise<Outgoing>;
}

export type MessagesOperation = 'messageSend' | 'inboxList' | 'inboxAck' | 'outboxList';

export function createMessagesBackend({
  outbox,
  inbox,
  organisation,
  acting,
  send,
}: MessagesBackendComponents): Pick<ControlBackend, MessagesOperation> {
  return {
    messageSend: async ({ body: { as, to, contentType, body, expiresInSeconds, grant } }) => {
      const sent = await send({
        as: as ?? organisation,
        to,
        contentType,
        body: bytesOf(body),
        expiresInSeconds,
        grant,
      });
      return { message: outgoingView(sent) };
    },
    inboxList: async ({ query: { as = organisation, after, wait } }, _caller: Caller, signal) => {
      acting(as);
      const from = after === undefined ? 0 : Number(after);
      const waitSeconds = Math.min(limits.INBOX_WAIT_SECONDS_MAX, Number(wait ?? 0));
      await inbox.wait(as, from, { waitMs: 1000 * waitSeconds, signal });
      const messages = await inbox.list(as, { after: from });
      return { messages: messages.map(inboxView), next: String(messages.at(-1)?.position ?? from) };
    },
    inboxAck: async ({ body: { as = organisation, ids } }) => {
      acting(as);
      return { acknowledged: await inbox.acknowledge(as, ids) };
    },
    outboxList: async ({ query: { as } }) => ({
      messages: outbox.list({ ...(as !== undefined && { sender: as }) }).map(outgoingView),
    }),
  };
}

function bytesOf(text: string): Uint8Array {
  const bytes = fromBase64url(text);
  if (bytes === undefined)
    throw new MeshError('bad_request', 'Cannot send a message: its body is no base64url', { field: 'body' });
  return bytes;
}

export const outgoingView = (message: Outgoing): OutgoingMessageView => ({
  id: message.mid,
  seq: message.seq,
  from: message.sender,
  to: message.recipient,
  contentType: message.contentType,
  bytes: message.bytes,
  state: message.state,
  code: message.code,
  tries: message.tries,
  createdAt: timeOf(message.createdMs),
  expiresAt: timeOf(message.exp * 1000),
  nextAt: message.nextMs === null ? null : timeOf(message.nextMs),
  overAt: message.overMs === null ? null : timeOf(message.overMs),
});

export const inboxView = ({
  position,
  row: { message, organisation, arrivedMs, signed },
}: InboxMessage): InboxMessageView => ({
  id: toHex(message.mid),
  seq: message.seq,
  position: String(position),
  from: message.iss,
  organisation,
  to: message.aud,
  contentType: message.ct,
  body: toBase64url(message.body),
  sentAt: timeOf(message.iat * 1000),
  receivedAt: timeOf(arrivedMs),
  expiresAt: timeOf(message.exp * 1000),
  session: signed === null ? null : toHex(signed.sid),
});

const timeOf = (ms: number): string => new Date(ms).toISOString();
