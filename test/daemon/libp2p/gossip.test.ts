import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Libp2pNetwork } from '../../../daemon/libp2p/index.ts';
import { limits, topicName } from '../../../protocol/index.ts';
import { createStranger, dialFrom } from './stranger.ts';
import { addressOf, createWorld, sleep, until, type World } from './world.ts';

const text = (words: string): Uint8Array => new TextEncoder().encode(words);

let world: World;
beforeEach(() => {
  world = createWorld();
});
afterEach(() => world[Symbol.asyncDispose]());

/** `count` networks that know the first one. What each accepts is listed by its place. */
async function startMany(count: number): Promise<{ networks: Libp2pNetwork[]; accepted: string[][] }> {
  const networks: Libp2pNetwork[] = [];
  const accepted: string[][] = [];
  for (let i = 0; i < count; i++) {
    const [first] = networks;
    const network = await world.start(i + 1, first === undefined ? {} : { bootstrap: [addressOf(first)] });
    const words: string[] = [];
    network.validate('rev', (message) => {
      words.push(new TextDecoder().decode(message));
      return 'accept';
    });
    networks.push(network);
    accepted.push(words);
  }
  return { networks, accepted };
}

describe('gossip', () => {
  test('a message reaches every one of five networks, once, also over others', async () => {
    const { networks, accepted } = await startMany(5);
    await until('all are in a mesh', () => networks.every((network) => network.figures().mesh.rev > 0));
    const last = networks.at(-1);
    await last?.publish('rev', text('from the last'));
    await until('four heard it', () => accepted.slice(0, 4).every((words) => words.length === 1));
    await sleep(200);
    expect(accepted).toEqual([...Array.from({ length: 4 }, () => ['from the last']), []]);
  });

  test('twelve peers on one IP address have a mesh', async () => {
    const { networks, accepted } = await startMany(13);
    const [hub] = networks;
    await until('the hub has twelve peers', () => (hub?.connections().length ?? 0) >= 12, 8_000);
    await until('its mesh is filled', () => (hub?.figures().mesh.rev ?? 0) >= 6, 8_000);
    await until('and so is everybody else’s', () => networks.every((network) => network.figures().mesh.rev > 0), 8_000);
    expect(await hub?.publish('rev', text('to all'))).toBeGreaterThanOrEqual(12);
    await until('twelve heard it', () => accepted.filter((words) => words.includes('to all')).length === 12);
  });

  test('publish() counts whom it reached: nobody when alone', async () => {
    const network = await world.start(1);
    expect(await network.publish('rev', text('anyone'))).toBe(0);
  });

  test('publish() refuses a message above the limit, and runs only while the network does', async () => {
    const network = await world.start(1);
    await expect(network.publish('rev', new Uint8Array(limits.GOSSIP_MESSAGE_BYTES_MAX + 1))).rejects.toMatchObject({
      code: 'too_large',
    });
    await network.close();
    await expect(network.publish('rev', text('late'))).rejects.toMatchObject({ code: 'closed' });
  });

  test('the same bytes on two topics are two messages', async () => {
    const [a, b] = [await world.start(1), await world.start(2)];
    const heard: string[] = [];
    a.validate('link', () => 'ignore');
    a.validate('rev', () => {
      heard.push('rev');
      return 'accept';
    });
    await b.dial(addressOf(a));
    await until('they gossip', () => b.figures().mesh.rev === 1 && b.figures().mesh.link === 1);
    await b.publish('link', text('same'));
    await sleep(100);
    await b.publish('rev', text('same'));
    await until('the second is not masked by the first', () => heard.length === 1);
  });

  test('what nobody validates, and what the validator ignores or fails on, is not handed on', async () => {
    const [a, b, c] = [
      await world.start(1),
      await world.start(2, { targetDegree: 1 }),
      await world.start(3, { targetDegree: 1 }),
    ];
    const heard: string[] = [];
    a.validate('id', () => 'ignore');
    a.validate('link', () => {
      throw new Error('a fault of ours');
    });
    for (const topic of ['rev', 'id', 'link'] as const) {
      c.validate(topic, () => {
        heard.push(topic);
        return 'accept';
      });
    }
    await b.dial(addressOf(a));
    await c.dial(addressOf(a));
    await until('a gossips with both', () => a.figures().mesh.rev === 2);
    for (const topic of ['rev', 'id', 'link'] as const) await b.publish(topic, text(`about ${topic}`));
    await sleep(300);
    expect(heard).toEqual([]);
    expect(a.isBound(b.peer)).toBe(true); // and nobody was punished for it
  });

  test('a peer whose messages are rejected is disconnected, and denied when it comes back', async () => {
    const network = await world.start(1);
    let [judged, connects] = [0, 0];
    network.onConnect(() => connects++);
    network.validate('rev', () => {
      judged++;
      return 'reject';
    });
    const stranger = await createStranger(world, 2);
    const connection = await dialFrom(stranger, network);
    const topic = topicName('agentmesh', 'rev');
    await until('they gossip', () => stranger.services.gossip.getSubscribers(topic).length === 1);
    for (let i = 0; i < 10 && connection.status === 'open'; i++) {
      await stranger.services.gossip.publish(topic, text(`bad ${i}`));
      await sleep(20);
    }
    await until('it is disconnected', () => connection.status !== 'open' && network.connections().length === 0);
    expect(judged).toBeLessThanOrEqual(limits.GOSSIP_REJECTS_MAX + 1);
    await dialFrom(stranger, network).catch(() => undefined); // either the dial fails or the connection is short
    await sleep(100);
    expect(connects).toBe(1);
    await expect(network.dial(stranger.getMultiaddrs()[0]?.toString() ?? '')).rejects.toMatchObject({
      code: 'unreachable',
    });
  });

  test('penalise() counts as a rejected message does', async () => {
    const [a, b] = [await world.start(1), await world.start(2)];
    await a.dial(addressOf(b));
    await until('connected', () => b.connections().length === 1);
    for (let i = 1; i < limits.GOSSIP_REJECTS_MAX; i++) b.penalise(a.peer, 'test');
    expect(b.connections()).toHaveLength(1);
    b.penalise(a.peer, 'test');
    await until('disconnected', () => b.connections().length === 0);
  });

  test('signed messages are rejected: their senders would be named', async () => {
    const network = await world.start(1);
    const heard: Uint8Array[] = [];
    network.validate('rev', (message) => {
      heard.push(message);
      return 'accept';
    });
    const stranger = await createStranger(world, 2, 'agentmesh', { signs: true });
    await dialFrom(stranger, network);
    const topic = topicName('agentmesh', 'rev');
    await until('they gossip', () => stranger.services.gossip.getSubscribers(topic).length === 1);
    for (let i = 0; i < 4; i++) await stranger.services.gossip.publish(topic, text(`signed ${i}`));
    await until('it is disconnected', () => network.connections().length === 0);
    expect(heard).toEqual([]);
  });

  test('gossip streams that break are opened again', async () => {
    const network = await world.start(1);
    const heard: string[] = [];
    network.validate('rev', (message) => {
      heard.push(new TextDecoder().decode(message));
      return 'accept';
    });
    const stranger = await createStranger(world, 2);
    const connection = await dialFrom(stranger, network);
    const topic = topicName('agentmesh', 'rev');
    await until('they gossip', () => stranger.services.gossip.getSubscribers(topic).length === 1);
    for (const stream of connection.streams)
      if (stream.protocol.startsWith('/meshsub/')) stream.abort(new Error('broken'));
    let tries = 0;
    const isHeard = async (): Promise<boolean> => {
      await stranger.services.gossip.publish(topic, text(`hello again ${tries++}`));
      await sleep(50);
      return heard.length > 0;
    };
    expect(await isHeard()).toBe(false);
    await until('it is heard', isHeard, 10_000);
    expect(await network.publish('rev', text('and back'))).toBe(1);
  });
});
