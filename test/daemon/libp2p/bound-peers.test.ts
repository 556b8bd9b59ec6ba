/** SPEC "Who reaches what": strangers ("shadow agents") are blocked at the network layer. */
import type { Connection } from '@libp2p/interface';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Libp2pNetwork } from '../../../daemon/libp2p/index.ts';
import { protocolId, topicName } from '../../../protocol/index.ts';
import { createStranger, dialFrom, findNode, gossipRpc, type Stranger } from './stranger.ts';
import { addressOf, createWorld, isConnected, sleep, until, type World } from './world.ts';

const GOSSIP = '/meshsub/1.2.0';
const message = new TextEncoder().encode('message');

let world: World;
beforeEach(() => {
  world = createWorld();
});
afterEach(() => world[Symbol.asyncDispose]());

describe('a peer that is not bound', () => {
  let network: Libp2pNetwork;
  let stranger: Stranger;
  let connection: Connection;
  let heard: string[];
  let served: string[];

  beforeEach(async () => {
    heard = [];
    served = [];
    network = await world.start(1, { binds: false });
    for (const [name, unbound] of [
      ['sync', true],
      ['iatp', false],
    ] as const) {
      await network.handle(name, { frameBytesMax: 1024, inboundStreamsMax: 2, unbound }, async (stream) => {
        served.push(name);
        await stream.send(message);
      });
    }
    network.validate('rev', (_, from) => {
      heard.push(from);
      return 'accept';
    });
    stranger = await createStranger(world, 2);
    connection = await dialFrom(stranger, network);
    await until('the network sees it', () => network.connections().length === 1);
  });

  test('is identified and pinged', async () => {
    await until('identified', async () => (await network.protocolsOf(stranger.peerId.toString())).length > 0);
    expect(await stranger.services.ping.ping(stranger.getPeers()[0] ?? stranger.peerId)).toBeGreaterThanOrEqual(0);
  });

  test('reaches a handler that is open to all, and none of the others', async () => {
    const open = await connection.newStream(protocolId('agentmesh', 'sync'));
    await until('it is served', () => served.includes('sync'));
    expect(open.status).toBe('open');
    const closed = await connection.newStream(protocolId('agentmesh', 'iatp'));
    await until('it is reset', () => closed.status === 'reset');
    expect(served).toEqual(['sync']);
  });

  test('is not heard on gossip, and is told nothing on it', async () => {
    const stream = await connection.newStream(GOSSIP);
    stream.send(gossipRpc(topicName('agentmesh', 'rev'), message));
    expect(await network.publish('rev', message)).toBe(0);
    await sleep(300);
    expect(heard).toEqual([]);
    expect(stranger.services.gossip.getSubscribers(topicName('agentmesh', 'rev'))).toEqual([]); // not even what we listen to
    expect(network.figures().mesh).toEqual({ rev: 0, id: 0, link: 0, cp: 0 });
  });

  test('is heard on gossip from the moment it is bound, with what it sent before', async () => {
    const stream = await connection.newStream(GOSSIP);
    stream.send(gossipRpc(topicName('agentmesh', 'rev'), message));
    await sleep(100);
    const id = stranger.peerId.toString();
    network.setBound(id, true);
    expect(network.isBound(id)).toBe(true);
    await until('it is heard', () => heard.length === 1);
    expect(heard).toEqual([id]);
    await until(
      'it knows what we listen to',
      () => stranger.services.gossip.getSubscribers(topicName('agentmesh', 'rev')).length === 1,
    );
  });

  test('gets no answer from the DHT and no place in it, until it is bound', async () => {
    const stream = await connection.newStream(protocolId('agentmesh', 'kad'));
    let answers = 0;
    stream.addEventListener('message', () => answers++);
    stream.send(findNode(stranger.peerId.toMultihash().bytes));
    await sleep(300);
    expect(answers).toBe(0);
    expect(network.figures().dhtContacts).toBe(0);
    network.setBound(stranger.peerId.toString(), true);
    await until('it is answered', () => answers === 1);
    await until('it is a contact', () => network.figures().dhtContacts === 1);
  });

  test('is closed at once when its binding ends, and starts as a stranger', async () => {
    const id = stranger.peerId.toString();
    network.setBound(id, true);
    network.setBound(id, false);
    await until('it is closed', () => network.connections().length === 0 && connection.status !== 'open');
    await dialFrom(stranger, network);
    await until('it is back', () => network.connections().length === 1);
    expect(network.isBound(id)).toBe(false);
  });

  test('cannot be bound without a connection', async () => {
    await connection.close();
    await until('it is gone', () => network.connections().length === 0);
    network.setBound(stranger.peerId.toString(), true);
    expect(network.isBound(stranger.peerId.toString())).toBe(false);
  });
});

test('a connection to a peer that does not become bound is closed after the grace, and not before', async () => {
  const network = await world.start(1, { binds: false, unboundGraceMs: 400 });
  const stranger = await createStranger(world, 2);
  const openedMs = performance.now();
  const connection = await dialFrom(stranger, network);
  await sleep(200);
  expect(connection.status).toBe('open');
  await until('it is closed', () => connection.status !== 'open', 2_000);
  expect(performance.now() - openedMs).toBeGreaterThan(390);
});

test('peers who bind each other at different times still gossip both ways', async () => {
  const a = await world.start(1, { binds: false });
  const b = await world.start(2, { binds: false });
  const heard: string[] = [];
  for (const [name, network] of [
    ['a', a],
    ['b', b],
  ] as const) {
    network.validate('id', () => {
      heard.push(name);
      return 'accept';
    });
  }
  await a.dial(addressOf(b));
  await until('connected', () => isConnected(b, a));
  await sleep(200); // identified, so that libp2p has offered the streams
  a.setBound(b.peer, true);
  await sleep(400);
  b.setBound(a.peer, true);
  await until(
    'a is in the mesh of b and b in that of a',
    () => a.figures().mesh.id === 1 && b.figures().mesh.id === 1,
    2_000,
  );
  expect(await a.publish('id', message)).toBe(1);
  expect(await b.publish('id', new TextEncoder().encode('answer'))).toBe(1);
  await until('both heard', () => heard.length === 2);
  expect(heard.toSorted()).toEqual(['a', 'b']);
});

test('a stranger that floods its held gossip stream takes no more memory than its window', async () => {
  const network = await world.start(1, { binds: false });
  const stranger = await createStranger(world, 2);
  const connection = await dialFrom(stranger, network);
  const stream = await connection.newStream(GOSSIP);
  const chunk = new Uint8Array(1024 * 1024);
  for (let i = 0; i < 8; i++) stream.send(chunk);
  await sleep(300);
  expect(stream.writeBufferLength).toBeGreaterThan(6 * 1024 * 1024);
});
