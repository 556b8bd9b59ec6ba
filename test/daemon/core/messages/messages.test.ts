/** Messages between agents of two organisations, and of one. */
import { afterEach, expect, it } from 'vitest';
import { input, never, operator } from '../node-world.ts';
import { MailWorld, type Name } from './mail-world.ts';

let world: MailWorld;
afterEach(() => world.nodes.close());

it('come in order, once, and leave when they are acknowledged', async () => {
  world = await MailWorld.open();
  for (const text of ['one', 'two', 'three']) expect(await world.send(text)).toMatchObject({ bytes: text.length });
  await world.pass(2_000);
  expect(await world.states()).toEqual(['delivered', 'delivered', 'delivered']);
  const messages = await world.inbox();
  expect(await world.texts()).toEqual(['one', 'two', 'three']);
  expect(messages[0]).toMatchObject({ from: world.bot, to: world.clerk, organisation: world.member('gamma').did });
  expect((await world.outbox()).map(({ id, seq }) => [id, seq])).toEqual(messages.map(({ id, seq }) => [id, seq]));
  expect(await world.acknowledge(messages.slice(0, 2).map(({ id }) => id))).toBe(2);
  expect(await world.texts()).toEqual(['three']);
  expect(await world.acknowledge(messages.map(({ id }) => id))).toBe(1);
  expect(await world.inbox()).toEqual([]);
});

it('are in both logs, with one commitment to what they say, and nothing of that', async () => {
  world = await MailWorld.open();
  const { id } = await world.send('the secret of the house');
  await world.pass(2_000);
  const [sent] = await world.entries('gamma', 'message.sent');
  const [received] = await world.entries('acme', 'message.received');
  expect(sent).toMatchObject({ actor: world.bot, peer: world.clerk, id, phase: 'intent' });
  expect(received).toMatchObject({ actor: world.clerk, peer: world.bot, id, phase: 'intent' });
  expect(received?.in).toBe(sent?.in);
  expect(JSON.stringify([sent, received])).not.toContain('secret');
  const settled = await world.entries('gamma', 'intent.settled');
  expect(settled.filter(({ peer, session }) => peer === world.clerk && session === undefined)).toMatchObject([
    { result: { code: 'ok' } },
  ]);
});

it('whose answer is lost are sent again and kept once', async () => {
  world = await MailWorld.open();
  let lost = 0;
  const { peer } = world.member('acme').network;
  world.nodes.mesh.onFrame = (frame, { name, from, index }) => {
    const isAnswer = name === 'call' && from === peer && index === 1;
    if (!isAnswer || lost > 0) return frame;
    lost += 1;
    return undefined;
  };
  await world.send('once');
  await world.send('after it');
  await world.pass(10_000);
  expect(await world.texts()).toEqual(['once']);
  expect(await world.states()).toEqual(['waiting', 'waiting']);
  await world.pass(60_000);
  expect([lost, await world.texts(), await world.states()]).toEqual([
    1,
    ['once', 'after it'],
    ['delivered', 'delivered'],
  ]);
  expect(await world.entries('acme', 'message.received')).toHaveLength(2);
});

it('that were acknowledged meanwhile do not come again', async () => {
  world = await MailWorld.open();
  const { peer } = world.member('acme').network;
  let lost = 0;
  world.nodes.mesh.onFrame = (frame, { name, from, index }) =>
    name === 'call' && from === peer && index === 1 && lost++ === 0 ? undefined : frame;
  await world.send('once');
  await world.pass(1_000);
  await world.acknowledge((await world.inbox()).map(({ id }) => id));
  await world.pass(60_000);
  expect([await world.inbox(), await world.states()]).toEqual([[], ['delivered']]);
});

for (const name of ['gamma', 'acme'] as const)
  it(`wait while ${name} is away, and come once it is back`, async () => {
    world = await MailWorld.open();
    if (name === 'acme') await world.stop('acme');
    else world.nodes.mesh.partition([world.member('gamma').network], [world.member('acme').network]);
    await world.send('first');
    await world.send('second');
    await world.pass(20_000);
    expect((await world.states()).every((state) => state.startsWith('waiting'))).toBe(true);
    if (name === 'gamma') await world.stop('gamma');
    world.nodes.mesh.heal();
    await world.start(name);
    world.connect();
    await world.pass(10_000);
    expect(await world.states()).toEqual(['delivered', 'delivered']);
    expect(await world.texts()).toEqual(['first', 'second']);
  });

it('are tried at once when a peer of their organisation shows itself, however long they have rested', async () => {
  world = await MailWorld.open();
  await world.stop('acme');
  await world.send('patience', { expiresInSeconds: 86_400 });
  await world.pass(3_600_000);
  const [message] = await world.outbox();
  expect(message?.tries).toBeLessThan(40);
  expect(message?.tries).toBeGreaterThan(8);
  expect(message?.nextAt).toEqual(expect.any(String));
  await world.start('acme');
  world.connect();
  await world.pass(1_000);
  expect(await world.states()).toEqual(['delivered']);
});

it('stay in the inbox over a restart, with what was acknowledged gone', async () => {
  world = await MailWorld.open();
  for (const text of ['one', 'two']) await world.send(text);
  await world.pass(2_000);
  const [first] = await world.inbox();
  await world.acknowledge([first?.id ?? '']);
  await world.restart('acme');
  expect(await world.texts()).toEqual(['two']);
  world.connect();
  await world.pass(1_000);
  await world.send('three');
  await world.pass(5_000);
  expect(await world.texts()).toEqual(['two', 'three']);
});

it('expire in the outbox, and the next one follows', async () => {
  world = await MailWorld.open();
  await world.stop('acme');
  await world.send('short', { expiresInSeconds: 60 });
  await world.send('long', { expiresInSeconds: 3_600 });
  await world.pass(120_000);
  expect((await world.states()).map((state) => state.split(' ')[0])).toEqual(['expired', 'waiting']);
  const settled = await world.entries('gamma', 'intent.settled');
  expect(settled.filter(({ peer, session }) => peer === world.clerk && session === undefined)).toMatchObject([
    { result: { code: 'expired' } },
  ]);
  await world.start('acme');
  world.connect();
  await world.pass(5_000);
  expect(await world.texts()).toEqual(['long']);
});

it('expire in the inbox, and that is logged', async () => {
  world = await MailWorld.open();
  const { id } = await world.send('short', { expiresInSeconds: 60 });
  await world.pass(1_000);
  expect(await world.texts()).toEqual(['short']);
  await world.pass(59_000);
  expect(await world.inbox()).toEqual([]);
  await world.pass(40_000);
  expect(await world.entries('acme', 'message.expired')).toMatchObject([{ id, actor: world.clerk, peer: world.bot }]);
  expect(world.member('acme').node.messages.inbox.size).toBe(0);
});

it('to a full inbox wait, which the sender sees, and do not keep others out', async () => {
  world = await MailWorld.open({ acme: { inbox: { pairMax: 2 } } });
  for (const text of ['one', 'two', 'three', 'four']) await world.send(text);
  await world.pass(3_000);
  expect(await world.states()).toEqual(['delivered', 'delivered', 'waiting full', 'waiting']);
  await world.send('from another', { as: world.other });
  await world.pass(3_000);
  expect(await world.states(world.other)).toEqual(['delivered']);
  expect(await world.texts()).toEqual(['one', 'two', 'from another']);
  await world.acknowledge((await world.inbox()).map(({ id }) => id));
  await world.pass(60_000);
  expect(await world.texts()).toEqual(['three', 'four']);
});

it('of one organisation fill no more than its share, while own agents go on', async () => {
  world = await MailWorld.open({ acme: { inbox: { organisationMax: 1 } } });
  const dispatcher = await world.employ('acme', 'dispatcher');
  await world.send('one');
  await world.send('two', { as: world.other });
  await world.send('here', { from: 'acme', as: dispatcher });
  await world.pass(3_000);
  expect(await world.states(world.other)).toEqual(['waiting full']);
  expect(await world.texts()).toEqual(expect.arrayContaining(['one', 'here']));
});

it('that nobody granted are refused for good, before anything leaves', async () => {
  world = await MailWorld.open();
  const stranger = await world.employ('gamma', 'stranger');
  await world.send('hello', { as: stranger });
  await world.pass(2_000);
  expect(await world.states(stranger)).toEqual(['failed caps_insufficient']);
  const only = await world.employ('gamma', 'reader');
  await world.allow(only, 'read:data/q3');
  await world.send('hello', { as: only });
  await world.pass(2_000);
  expect(await world.states(only)).toEqual(['failed caps_insufficient']);
  expect(await world.inbox()).toEqual([]);
});

it('after the grant is revoked are refused for good, and go again under a new one', async () => {
  world = await MailWorld.open();
  await world.send('before');
  await world.pass(1_000);
  const { api } = world.member('acme');
  await world.nodes.during(
    api.revocationCreate(input({ target: { link: world.grant }, reason: 'over' }), operator, never),
  );
  await world.send('after');
  await world.pass(5_000);
  expect(await world.states()).toEqual(['delivered', 'failed caps_insufficient']);
  await world.allow(world.bot);
  await world.pass(1_000);
  await world.send('again');
  await world.pass(5_000);
  expect(await world.texts()).toEqual(['before', 'again']);
});

const NONE = (direction: string): string =>
  `{ name: none, condition: "action.type == 'message' and facts.direction == '${direction}'", action: deny }`;

it('go on under a policy whose default denies, and not under a rule that does', async () => {
  world = await MailWorld.open();
  await world.under('gamma');
  await world.under('acme');
  await world.send('by default');
  await world.pass(2_000);
  expect(await world.texts()).toEqual(['by default']);
  await world.under('gamma', NONE('outbound'));
  expect(await world.codeOf(world.send('never leaves'))).toBe('policy_denied');
  expect(await world.states()).toEqual(['delivered']);
  await world.under('gamma', NONE('inbound'));
  await world.under('acme', NONE('inbound'));
  await world.send('is not taken');
  await world.pass(2_000);
  expect(await world.states()).toEqual(['delivered', 'failed policy_denied']);
  expect(await world.texts()).toEqual(['by default']);
  const [refused] = await world.entries('acme', 'action.refused');
  expect(refused).toMatchObject({ actor: world.clerk, action: 'message', code: 'policy_denied' });
});

it('with what the policy forbids in them are refused by either side', async () => {
  world = await MailWorld.open();
  await world.under('gamma', `{ name: cards, condition: "data.contains_card", action: deny }`);
  expect(await world.codeOf(world.send('pay with 4111 1111 1111 1111'))).toBe('policy_denied');
  expect(await world.codeOf(world.send('pay with cash'))).toBe('ok');
});

it('to an agent that is suspended or revoked fail, and go again once it is resumed', async () => {
  world = await MailWorld.open();
  const { api } = world.member('acme');
  const params = { did: world.clerk };
  await world.send('before');
  await world.pass(2_000);
  await world.nodes.during(api.agentSuspend(input(undefined, params), operator, never));
  await world.send('meanwhile'); // why a handshake is refused is nobody else's business: a denial is all that is told
  await world.pass(5_000);
  await world.nodes.during(api.agentResume(input(undefined, params), operator, never));
  await world.send('after');
  await world.pass(30_000);
  expect(await world.states()).toEqual(['delivered', 'failed policy_denied', 'delivered']);
  await world.nodes.during(api.agentRevoke(input({ reason: 'gone' }, params), operator, never));
  await world.send('never');
  await world.pass(30_000);
  expect((await world.states())[3]).toBe('failed revoked');
});

it('to nobody wait until they expire', async () => {
  world = await MailWorld.open();
  const nobody = `did:mesh:bafyrei${'a'.repeat(51)}i`;
  const sent = await world.codeOf(world.send('anybody?', { to: nobody, expiresInSeconds: 60 }));
  expect(sent).toBe('ok');
  await world.pass(30_000);
  expect(await world.states()).toEqual(['waiting did_unknown']);
  await world.pass(60_000);
  expect(await world.states()).toEqual(['expired expired']);
});

it('to the sender itself, or too large, are no messages', async () => {
  world = await MailWorld.open();
  expect(await world.codeOf(world.send('me', { to: world.bot }))).toBe('bad_request');
  expect(await world.codeOf(world.send('x'.repeat(60 * 1024 + 1)))).toBe('too_large');
  expect(await world.codeOf(world.send('x'.repeat(60 * 1024)))).toBe('ok');
  await world.pass(2_000);
  expect((await world.texts())[0]).toHaveLength(60 * 1024);
});

it('between agents of one daemon need no grant, and are under the same policies and in the same log', async () => {
  world = await MailWorld.open();
  const dispatcher = await world.employ('acme', 'dispatcher');
  const local = { from: 'acme' as Name, as: dispatcher };
  await world.send('here', local);
  await world.pass(500);
  expect(await world.texts()).toEqual(['here']);
  expect((await world.inbox())[0]).toMatchObject({ session: null, organisation: world.member('acme').did });
  expect(await world.entries('acme', 'message.received')).toHaveLength(1);
  expect(await world.entries('acme', 'message.sent')).toHaveLength(1);
  await world.under('acme', NONE('inbound'));
  await world.send('not here', local);
  await world.pass(500);
  expect(await world.states(dispatcher, 'acme')).toEqual(['delivered', 'failed policy_denied']);
});

it('to and from the organisations themselves come as well', async () => {
  world = await MailWorld.open();
  const [acme, gamma] = [world.member('acme').did, world.member('gamma').did];
  await world.allow(gamma);
  await world.pass(1_000);
  await world.send('from house to house', { as: gamma, to: acme });
  await world.pass(3_000);
  expect(await world.states(gamma)).toEqual(['delivered']);
  expect(await world.texts(acme)).toEqual(['from house to house']);
});

it('are waited for by who reads', async () => {
  world = await MailWorld.open();
  const { api } = world.member('acme');
  const asked = { params: {}, body: undefined, query: { as: world.clerk, wait: '30' } } as const;
  const waiting = api.inboxList(asked, operator, never);
  await world.pass(1_000);
  await world.send('now');
  const { messages, next } = await world.nodes.during(waiting, 2_000);
  expect(messages).toHaveLength(1);
  const after = { ...asked, query: { ...asked.query, after: next } };
  const nothing = await world.nodes.during(api.inboxList(after, operator, never), 31_000);
  expect(nothing).toEqual({ messages: [], next });
});
