/** Messages by number, and boxes over stores that a test holds. */
import { Inbox, type InboxOptions, type Incoming } from '../../../../daemon/core/messages/inbox.ts';
import { Outbox, type OutboxOptions } from '../../../../daemon/core/messages/outbox.ts';
import type { Store } from '../../../../daemon/ports.ts';
import type { MessageFields } from '../../../../protocol/index.ts';
import { createAgent, createOrganisation, NOW_SECONDS } from '../../../builders.ts';
import { quiet } from '../handshake-world.ts';
import type { VirtualClock } from '../virtual-clock.ts';

export const [acme, gamma] = [createOrganisation('acme'), createOrganisation('gamma')];
export const [clerk, guard] = [createAgent(acme, 'clerk').did, createAgent(acme, 'guard').did];
export const [bot, other] = [createAgent(gamma, 'bot').did, createAgent(gamma, 'other').did];
export const INTENT = '01980000-0000-7000-8000-000000000001';

export const midOf = (seq: number): Uint8Array =>
  Uint8Array.from({ length: 16 }, (_, i) => (i === 15 ? seq % 256 : seq >> 8));

export const messageOf = (seq: number, change: Partial<MessageFields> = {}): MessageFields => ({
  iat: NOW_SECONDS,
  iss: bot,
  aud: clerk,
  mid: midOf(seq),
  seq,
  exp: NOW_SECONDS + 3_600,
  ct: 'text/plain',
  slt: new Uint8Array(32),
  body: new Uint8Array(10).fill(seq),
  ...change,
});
export const incoming = (seq: number, change: Partial<MessageFields> = {}, organisation = gamma.did): Incoming => ({
  message: messageOf(seq, change),
  organisation,
  signed: null,
});

export const openInbox = (
  store: Store,
  clock: VirtualClock,
  options: InboxOptions = {},
  more: Partial<Parameters<typeof Inbox.open>[0]> = {},
): Promise<Inbox> =>
  Inbox.open({ store, clock, log: quiet, ahead: async () => () => {}, expired: () => {}, ...more }, options);

export const openOutbox = (store: Store, clock: VirtualClock, options: OutboxOptions = {}): Promise<Outbox> =>
  Outbox.open({ store, clock, log: quiet }, options);

/** Without number: the outbox gives it. */
export function unnumbered(n: number, change: Partial<MessageFields> = {}): Omit<MessageFields, 'seq'> {
  const { seq: _, ...message } = messageOf(n, change);
  return message;
}
