/** What a sender may try that does not keep to the rules. */
import { afterEach, beforeEach, expect, it } from 'vitest';
import { Inbox } from '../../../../daemon/core/messages/inbox.ts';
import { IncomingMail, type IncomingMailComponents } from '../../../../daemon/core/messages/incoming-mail.ts';
import type { CallMessages, ReceivedFrame } from '../../../../daemon/core/calls/message-stream.ts';
import type { Session } from '../../../../daemon/core/sessions.ts';
import { MemoryStore } from '../../../../daemon/store/memory.ts';
import type { CallFrame } from '../../../../protocol/call/index.ts';
import { createMessage, limits, type MessageFields, MeshError, toHex } from '../../../../protocol/index.ts';
import { isSignatureValidSodium } from '../../../../protocol/sodium.ts';
import { createAgent, createOrganisation, keyOf, NOW_SECONDS } from '../../../builders.ts';
import { quiet } from '../handshake-world.ts';
import { VirtualClock } from '../virtual-clock.ts';

const [acme, gamma] = [createOrganisation('acme'), createOrganisation('gamma')];
const [clerk, bot] = [createAgent(acme, 'clerk'), createAgent(gamma, 'bot')];
const key = keyOf('session');
const sid = new Uint8Array(16).fill(9);

const session = {
  sid: toHex(sid),
  as: clerk.did,
  did: bot.did,
  organisation: gamma.did,
  granted: [{ can: 'mesh:message' }],
  agreed: { peerKey: key.publicKey, chain: [{ payload: { sub: acme.did } }] },
} as unknown as Session;

let clock: VirtualClock;
let inbox: Inbox;
let refused: string[];
let isOver: boolean;
let mail: IncomingMail;
beforeEach(async () => {
  [clock, refused, isOver] = [new VirtualClock(), [], false];
  const store = new MemoryStore();
  inbox = await Inbox.open({ store, clock, log: quiet, ahead: async () => () => {}, expired: () => {} });
  mail = mailWith({});
});
afterEach(() => inbox.close());

const mailWith = (more: Partial<IncomingMailComponents>, options = {}): IncomingMail =>
  new IncomingMail(
    {
      inbox,
      sessions: {
        verify: () => {
          if (isOver) throw new MeshError('closed', 'Cannot go on: it is over');
          return session;
        },
      },
      clock,
      log: quiet,
      isSignatureValid: isSignatureValidSodium,
      organisation: acme.did,
      verifyRecipient: () => {},
      decide: async () => () => {},
      refused: (_session, { code }) => void refused.push(code),
      ...more,
    },
    options,
  );

const fieldsOf = (seq: number, change: Partial<MessageFields> = {}): MessageFields => ({
  iat: NOW_SECONDS,
  iss: bot.did,
  aud: clerk.did,
  mid: new Uint8Array(16).fill(seq),
  seq,
  exp: NOW_SECONDS + 3_600,
  ct: 'text/plain',
  slt: new Uint8Array(32),
  body: new Uint8Array(10),
  ...change,
});
const frameOf = (seq: number, change: Partial<MessageFields> = {}, signer = key, of = sid): CallFrame => ({
  f: 'mail',
  seq,
  env: createMessage(fieldsOf(seq, change), of, signer).envelope,
});

/** Gives these frames, one after the other, and notes what is answered. */
function streamOf(frames: readonly CallFrame[], said: CallFrame[] = []): { messages: CallMessages; said: CallFrame[] } {
  const left = [...frames];
  const messages = {
    receive: async (): Promise<ReceivedFrame | undefined> => {
      const frame = left.shift();
      return frame === undefined ? undefined : { frame };
    },
    send: async (frame: CallFrame) => void said.push(frame),
  };
  return { messages: messages as unknown as CallMessages, said };
}
async function answers(frames: readonly CallFrame[], by = mail): Promise<string[]> {
  const { messages, said } = streamOf(frames);
  await by.serve(session, messages, new AbortController().signal);
  expect(said.shift()).toEqual({ f: 'opened' });
  return said.map((frame) => (frame.f === 'rej' ? frame.code : frame.f));
}
const held = async (): Promise<number[]> => (await inbox.list(clerk.did)).map(({ row }) => row.message.seq);

it('is answered for each message, and an honest one after others is kept', async () => {
  const frames = [
    frameOf(1, {}, keyOf('thief')),
    frameOf(1, {}, key, new Uint8Array(16)),
    frameOf(1, { iss: createAgent(gamma, 'other').did }),
    frameOf(1, { aud: createAgent(acme, 'other').did }),
    frameOf(1, { exp: NOW_SECONDS + 1, iat: NOW_SECONDS - 60 * 60 * 24 }),
    frameOf(1, { iat: NOW_SECONDS + 120 }),
    { f: 'mail', seq: 2, env: createMessage(fieldsOf(1), sid, key).envelope } as const,
    { f: 'mail', seq: 1, env: acme.genesis.envelope } as const,
    { f: 'mail', seq: 1, env: new Uint8Array(70_000) } as const,
    { f: 'mail', seq: 1, env: Uint8Array.of(0xff) } as const,
    frameOf(1),
  ];
  await clock.advance(2_000);
  const codes = [
    'conflict',
    'conflict',
    'conflict',
    'conflict',
    'expired',
    'too_early',
    'conflict',
    'schema',
    'too_large',
  ];
  expect(await answers(frames)).toEqual([...codes, 'malformed', 'kept']);
  expect(refused).toEqual([...codes, 'malformed']);
  expect(await held()).toEqual([1]);
});

it('cannot send an old number again as another message, nor go back', async () => {
  expect(
    await answers([frameOf(5), frameOf(5), frameOf(5, { mid: new Uint8Array(16) }), frameOf(4), frameOf(6)]),
  ).toEqual(['kept', 'kept', 'replay', 'replay', 'kept']);
  expect(await held()).toEqual([5, 6]);
});

it('is judged anew for each message: after the session is over nothing is taken', async () => {
  expect(await answers([frameOf(1)])).toEqual(['kept']);
  isOver = true;
  expect(await answers([frameOf(2)])).toEqual(['closed']);
  expect(await held()).toEqual([1]);
});

it('needs a chain that the recipient itself began, and the capability', async () => {
  const serve = (change: object): Promise<void> =>
    mail.serve({ ...session, ...change }, streamOf([frameOf(1)]).messages, new AbortController().signal);
  const chain = [{ payload: { sub: gamma.did } }];
  const changes = [{ granted: [] }, { granted: [{ can: 'mcp:files/*' }] }, { agreed: { ...session.agreed, chain } }];
  for (const change of [...changes, { agreed: { ...session.agreed, chain: [] } }])
    await expect(serve(change)).rejects.toMatchObject({ code: 'caps_insufficient' });
  expect(await held()).toEqual([]);
});

it('may send so many in a time, whatever they are', async () => {
  const slow = mailWith({}, { perSecond: 1, burst: 2 });
  expect(await answers([frameOf(1), frameOf(2), frameOf(3)], slow)).toEqual(['kept', 'kept', 'busy']);
  await clock.advance(1_000);
  expect(await answers([frameOf(3)], slow)).toEqual(['kept']);
});

it('ends its stream with a frame that is no mail', async () => {
  const { messages } = streamOf([frameOf(1), { f: 'renewed', sid }]);
  await expect(mail.serve(session, messages, new AbortController().signal)).rejects.toMatchObject({ code: 'schema' });
  expect(await held()).toEqual([1]);
});

it('holds no more streams open than its share', async () => {
  const { promise: over, resolve } = Promise.withResolvers<undefined>();
  const idle = { receive: () => over, send: async () => {} } as unknown as CallMessages;
  const { signal } = new AbortController();
  const open = Array.from({ length: limits.MAIL_STREAMS_AN_ORGANISATION_MAX }, () => mail.serve(session, idle, signal));
  await expect(mail.serve(session, idle, signal)).rejects.toMatchObject({ code: 'busy' });
  const another = { ...session, organisation: createOrganisation('beta').did };
  const theirs = mail.serve(another, idle, signal);
  resolve(undefined);
  await Promise.all([...open, theirs]);
  expect(await answers([frameOf(1)])).toEqual(['kept']);
});

it('learns nothing of a fault of the recipient but that there is one', async () => {
  const broken = mailWith({
    decide: async () => {
      throw new TypeError('undefined is not a function');
    },
  });
  expect(await answers([frameOf(1)], broken)).toEqual(['internal']);
  expect(await held()).toEqual([]);
});
