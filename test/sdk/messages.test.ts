import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { limits } from '../../protocol/index.ts';
import { AgentIdentity, AgentMesh, type ReceivedMessage, TrustBridge } from '../../sdk/index.ts';
import { createAgent } from '../builders.ts';
import { startServer, type Started } from '../daemon/control/start.ts';

let started: Started;
let mesh: AgentMesh;
let alice: AgentIdentity;
let bob: AgentIdentity;
beforeEach(async () => {
  started = await startServer();
  mesh = await AgentMesh.connect({ socket: started.socketPath, token: null });
  const make = (name: string): Promise<AgentIdentity> =>
    AgentIdentity.create({ name, sponsor: 'bob@company.com', capabilities: ['read:data'], mesh });
  [alice, bob] = [await make('alice'), await make('bob')];
});
afterEach(() => started[Symbol.asyncDispose]());

const bridgeOf = (as: AgentIdentity): TrustBridge => new TrustBridge({ as });

async function take(of: AsyncIterable<ReceivedMessage>, count: number): Promise<ReceivedMessage[]> {
  const taken: ReceivedMessage[] = [];
  if (count === 0) return taken;
  for await (const message of of) {
    taken.push(message);
    if (taken.length === count) break;
  }
  return taken;
}

describe('sendMessage() and messages()', () => {
  test('carry text, bytes and JSON, in order, with what they are', async () => {
    const to = bridgeOf(alice);
    const sent = [
      await to.sendMessage(bob.did, 'grüße'),
      await to.sendMessage(bob.did, Uint8Array.of(0xff, 0)),
      await to.sendMessage(bob.did, { order: 7 }, { expiresInSeconds: 60 }),
      await to.sendMessage(bob.did, '<p>', { contentType: 'text/html' }),
    ];
    expect(sent.map(({ state }) => state)).toEqual(sent.map(() => 'delivered'));
    const received = await take(bridgeOf(bob).messages(), 4);
    expect(received.map(({ id, seq }) => ({ id, seq }))).toEqual(sent.map(({ id, seq }) => ({ id, seq })));
    expect(received.map(({ contentType }) => contentType)).toEqual([
      'text/plain; charset=utf-8',
      'application/octet-stream',
      'application/json',
      'text/html',
    ]);
    const [text, bytes, json] = received;
    expect([text?.text(), bytes?.body, json?.json()]).toEqual(['grüße', Uint8Array.of(0xff, 0), { order: 7 }]);
    expect(() => bytes?.text()).toThrow(expect.objectContaining({ code: 'malformed' }));
    expect(() => text?.json()).toThrow(expect.objectContaining({ code: 'malformed' }));
    expect(text).toMatchObject({ from: alice.did, to: bob.did, organisation: started.fake.organisation.did });
  });

  test('a message comes again until it is acknowledged, and then never', async () => {
    for (const text of ['one', 'two']) await bridgeOf(alice).sendMessage(bob.did, text);
    const [first] = await take(bridgeOf(bob).messages(), 1);
    expect((await take(bridgeOf(bob).messages(), 1)).map((message) => message.text())).toEqual(['one']);
    await first?.ack();
    await first?.ack();
    expect((await take(bridgeOf(bob).messages(), 1)).map((message) => message.text())).toEqual(['two']);
  });

  test('a reader gets each once, and what comes while it waits', async () => {
    const reading = take(bridgeOf(bob).messages(), 3);
    for (const text of ['one', 'two', 'three']) await bridgeOf(alice).sendMessage(bob.did, text);
    expect((await reading).map((message) => message.text())).toEqual(['one', 'two', 'three']);
  });

  test('reading ends when the signal fires', async () => {
    const controller = new AbortController();
    const reading = take(bridgeOf(bob).messages({ signal: controller.signal }), 1);
    controller.abort();
    await expect(reading).rejects.toMatchObject({ code: 'cancelled' });
  });

  test('a reader goes on where the daemon was away, and fails where there was none', async () => {
    await bridgeOf(alice).sendMessage(bob.did, 'one');
    const messages = bridgeOf(bob).messages();
    expect((await messages.next()).value?.text()).toBe('one');
    const { backlog } = await failOnce(started);
    await bridgeOf(alice).sendMessage(bob.did, 'two');
    expect((await messages.next()).value?.text()).toBe('two');
    expect(backlog()).toBe(0);
    await messages.return();
    await expect(AgentMesh.connect({ socket: '/nowhere/socket', token: null })).rejects.toMatchObject({
      code: 'not_running',
    });
  });

  test('what cannot be sent is refused before it leaves this process', async () => {
    const before = started.fake.calls.length;
    await expect(bridgeOf(alice).sendMessage(bob.did, '')).rejects.toMatchObject({ code: 'malformed' });
    const large = new Uint8Array(limits.MESSAGE_BODY_BYTES_MAX + 1);
    await expect(bridgeOf(alice).sendMessage(bob.did, large)).rejects.toMatchObject({ code: 'too_large' });
    expect(started.fake.calls.length).toBe(before);
    await expect(bridgeOf(alice).sendMessage('nobody', 'x')).rejects.toMatchObject({ code: 'bad_request' });
  });

  test('the outbox says what became of a message; an agent sees its own', async () => {
    const stranger = createAgent(started.fake.organisation, 'stranger').did;
    const { id } = await bridgeOf(alice).sendMessage(stranger, 'hello?');
    expect(await mesh.messages.outbox({ as: alice.did })).toMatchObject([{ id, state: 'waiting', code: null }]);
    expect(await mesh.messages.outbox({ as: bob.did })).toEqual([]);
    const asBob = await AgentMesh.connect({ socket: started.socketPath, token: started.fake.issueToken(bob.did) });
    expect(await asBob.messages.outbox()).toEqual([]);
    await expect(asBob.messages.outbox({ as: alice.did })).rejects.toMatchObject({ code: 'forbidden' });
    await expect(asBob.messages.inbox({ as: alice.did })).rejects.toMatchObject({ code: 'forbidden' });
    await expect(asBob.messages.ack([id], { as: alice.did })).rejects.toMatchObject({ code: 'forbidden' });
  });
});

/** The next time that somebody reads, the daemon is on its way down. */
async function failOnce({ fake }: Started): Promise<{ readonly backlog: () => number }> {
  const { MeshError } = await import('../../protocol/index.ts');
  let failures = 1;
  fake.onCall = async (operationId) => {
    if (operationId !== 'inboxList' || failures === 0) return;
    failures -= 1;
    throw new MeshError('closed', 'Cannot read: the daemon is stopping');
  };
  return { backlog: () => failures };
}
