/** The daemon's own outbox and inbox over a store in memory; what is for nobody here waits for ever. */
import { randomBytes } from 'node:crypto';
import { Inbox } from '../../../daemon/core/messages/inbox.ts';
import { createMessagesBackend, type MessagesOperation } from '../../../daemon/core/messages/messages-backend.ts';
import { Outbox } from '../../../daemon/core/messages/outbox.ts';
import { MemoryStore } from '../../../daemon/store/memory.ts';
import { createSystemClock } from '../../../daemon/system.ts';
import type { ControlBackend } from '../../../protocol/control/index.ts';
import { limits } from '../../../protocol/index.ts';

export interface FakeMailComponents {
  readonly organisation: string;
  readonly isOwn: (did: string) => boolean;
  readonly verifyMayAct: (did: string) => void;
}

export async function openFakeMail({
  organisation,
  isOwn,
  verifyMayAct,
}: FakeMailComponents): Promise<Pick<ControlBackend, MessagesOperation>> {
  const store = new MemoryStore();
  const clock = createSystemClock();
  const log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
  const outbox = await Outbox.open({ store, clock, log });
  const inbox = await Inbox.open({ store, clock, log, ahead: async () => () => {}, expired: () => {} });
  return createMessagesBackend({
    outbox,
    inbox,
    organisation,
    acting: (did) => {
      if (did !== organisation) verifyMayAct(did);
      return { did };
    },
    send: async ({ as, to, contentType, body, expiresInSeconds = limits.MESSAGE_SECONDS_DEFAULT, grant }) => {
      const iat = Math.floor(Date.now() / 1000);
      const mid = Uint8Array.from(randomBytes(limits.MESSAGE_ID_BYTES));
      const slt = Uint8Array.from(randomBytes(limits.LOG_SALT_BYTES));
      const message = { iat, iss: as, aud: to, mid, exp: iat + expiresInSeconds, ct: contentType, slt, body };
      const sent = await outbox.add(
        { message, grant: grant ?? null },
        async () => '01980000-0000-7000-8000-000000000001',
      );
      if (!isOwn(to)) return sent;
      await inbox.take({ message: { ...message, seq: sent.seq }, organisation, signed: null });
      return outbox.settle(sent.mid, null);
    },
  });
}
