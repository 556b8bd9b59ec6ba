import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { peerIdFromString } from '@libp2p/peer-id';
import { LevelDatastore } from 'datastore-level';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createLibp2pNetwork, type Libp2pNetwork, type Libp2pNetworkOptions } from '../../../daemon/libp2p/index.ts';
import { createSystemClock, createSystemRandom } from '../../../daemon/system.ts';
import { peerIdOfKey } from '../../../protocol/index.ts';
import { publicKeyOf } from './keys.ts';
import { createStranger, dialFrom } from './stranger.ts';
import { addressOf, createWorld, isConnected, quietLog, seedOf, sleep, until, type World } from './world.ts';

const swarmKey = (byte: string): Uint8Array =>
  new TextEncoder().encode(`/key/swarm/psk/1.0.0/\n/base16/\n${byte.repeat(32)}\n`);

let world: World;
let directory: string;
beforeEach(() => {
  world = createWorld();
  directory = mkdtempSync(join(tmpdir(), 'agentmesh-network-'));
});
afterEach(async () => {
  await world[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true, force: true });
});

const portOf = (network: Libp2pNetwork): string => addressOf(network).split('/')[4] ?? '';

describe('createLibp2pNetwork()', () => {
  const make = (options: Partial<Libp2pNetworkOptions>): Promise<Libp2pNetwork> =>
    createLibp2pNetwork(
      { clock: createSystemClock(), random: createSystemRandom(), log: quietLog },
      { privateKeySeed: seedOf(1), ...options },
    );

  test.each<[string, Partial<Libp2pNetworkOptions>]>([
    ['a seed that is not 32 bytes', { privateKeySeed: new Uint8Array(31) }],
    ['a network name in capitals', { network: 'Mesh' }],
    ['a listen address that is none', { listen: ['127.0.0.1:4001'] }],
    ['a bootstrap address that is none', { bootstrap: ['/ip4/300.0.0.1/tcp/1'] }],
    ['an anchor without a PeerId', { anchors: ['/ip4/127.0.0.1/tcp/1'] }],
    ['a key without the heading of a swarm key', { preSharedKey: new TextEncoder().encode('5a'.repeat(32)) }],
    ['a target degree of none', { targetDegree: 0 }],
    ['no connections', { connectionsMax: 0 }],
  ])('refuses %s', async (_, options) => {
    await expect(make(options)).rejects.toMatchObject({ code: 'config_invalid' });
  });

  test('takes its PeerId from the seed', async () => {
    const network = await make({});
    world.own(network);
    expect(network.peer).toBe(peerIdOfKey(publicKeyOf(seedOf(1))));
  });

  test('says config_invalid when it cannot listen', async () => {
    const first = await world.start(1);
    const second = await make({ privateKeySeed: seedOf(2), listen: [`/ip4/127.0.0.1/tcp/${portOf(first)}`] });
    world.own(second);
    await expect(second.start()).rejects.toMatchObject({ code: 'config_invalid' });
  });

  test('says already_running when another holds the directory', async () => {
    await world.start(1, { directory });
    await expect(make({ directory })).rejects.toMatchObject({ code: 'already_running' });
  });
});

describe('connections', () => {
  test('both sides see the same connection, and its end', async () => {
    const [a, b] = [await world.start(1, { listen: [] }), await world.start(2)];
    const ended: string[] = [];
    for (const network of [a, b]) network.onDisconnect(({ peer }) => ended.push(peer));
    const connection = await a.dial(addressOf(b));
    expect(connection).toMatchObject({ peer: b.peer, direction: 'outbound', address: addressOf(b) });
    expect(await a.dial(addressOf(b))).toBe(connection);
    await until('b sees it', () => b.connections().length === 1);
    expect(b.connections()[0]).toMatchObject({ peer: a.peer, direction: 'inbound' });
    await until('identified', async () => (await a.protocolsOf(b.peer)).includes('/agentmesh/agentmesh/kad/1.0.0'));
    expect(await a.ping(b.peer)).toBeLessThan(1_000);
    await a.disconnect(b.peer, 'test');
    await until('it ended on both sides', () => ended.length === 2);
    expect(ended.toSorted()).toEqual([a.peer, b.peer].toSorted());
  });

  test('two sides that dial each other keep one connection, the same one', async () => {
    const [a, b] = [await world.start(1), await world.start(2)];
    await Promise.all([a.dial(addressOf(b)), b.dial(addressOf(a))]);
    await sleep(200);
    expect(a.connections()).toHaveLength(1);
    expect(b.connections()).toHaveLength(1);
    expect(a.connections()[0]?.channelBinding).toEqual(b.connections()[0]?.channelBinding);
    await until('they gossip over it', () => a.figures().mesh.rev === 1 && b.figures().mesh.rev === 1);
  });

  test('dial() says malformed, unreachable, timeout or cancelled', async () => {
    const a = await world.start(1);
    await expect(a.dial('not an address')).rejects.toMatchObject({ code: 'malformed' });
    await expect(a.dial('/ip4/127.0.0.1/tcp/1')).rejects.toMatchObject({ code: 'unreachable' });
    const stranger = await createStranger(world, 9);
    await expect(a.dial(stranger.peerId.toString())).rejects.toMatchObject({ code: 'unreachable' });
    await expect(a.dial(addressOf(a))).rejects.toMatchObject({ code: 'unreachable' });
    await expect(
      a.dial(stranger.getMultiaddrs()[0]?.toString() ?? '', { signal: AbortSignal.abort() }),
    ).rejects.toMatchObject({
      code: 'cancelled',
    });
    await expect(a.ping(stranger.peerId.toString())).rejects.toMatchObject({ code: 'unreachable' });
  });

  test('dial() reaches a PeerId whose addresses were remembered', async () => {
    const [a, b] = [await world.start(1, { targetDegree: 1 }), await world.start(2)];
    a.rememberPeer(b.peer, [addressOf(b), 'no address']);
    a.rememberPeer('no peer', [addressOf(b)]);
    expect(await a.dial(b.peer)).toMatchObject({ peer: b.peer });
    expect(a.figures().knownPeers).toBe(1);
  });

  test('openStream() says unreachable without a connection, and no_route for a protocol nobody handles', async () => {
    const [a, b] = [await world.start(1, { listen: [] }), await world.start(2)];
    const ended: string[] = [];
    a.onDisconnect(({ peer }) => ended.push(peer));
    await expect(a.openStream(b.peer, 'sync', { frameBytesMax: 10 })).rejects.toMatchObject({ code: 'unreachable' });
    const connection = await a.dial(addressOf(b));
    await expect(a.openStream(connection, 'sync', { frameBytesMax: 10 })).rejects.toMatchObject({ code: 'no_route' });
    await until('b sees it', () => isConnected(b, a));
    await b.disconnect(a.peer, 'test');
    await until('it ended', () => ended.length === 1);
    await expect(a.openStream(connection, 'sync', { frameBytesMax: 10 })).rejects.toMatchObject({
      code: 'unreachable',
    });
  });

  test('a protocol has one handler', async () => {
    const a = await world.start(1);
    const options = { frameBytesMax: 10, inboundStreamsMax: 1, unbound: true };
    await a.handle('sync', options, async () => undefined);
    await expect(a.handle('sync', options, async () => undefined)).rejects.toMatchObject({ code: 'conflict' });
    await expect(a.handle('kad', options, async () => undefined)).rejects.toMatchObject({ code: 'conflict' });
  });

  test('a handler that throws loses its stream and nothing else', async () => {
    const [a, b] = [await world.start(1), await world.start(2)];
    await b.handle('iatp', { frameBytesMax: 10, inboundStreamsMax: 1, unbound: false }, async () => {
      throw new Error('a fault of ours');
    });
    await a.dial(addressOf(b));
    const stream = await a.openStream(b.peer, 'iatp', { frameBytesMax: 10 });
    await expect(stream.receive({ timeoutMs: 2_000 })).rejects.toMatchObject({ code: 'closed' });
    expect(isConnected(a, b)).toBe(true);
  });

  test('more than the connections allowed are refused', async () => {
    const a = await world.start(1, { connectionsMax: 2 });
    const others = await Promise.all([2, 3, 4].map((number) => world.start(number, { targetDegree: 1 })));
    await Promise.allSettled(others.map((other) => other.dial(addressOf(a))));
    await until('one was refused', () => others.filter((other) => isConnected(other, a)).length === 2);
    expect(a.connections()).toHaveLength(2);
  });

  test('a pinned peer is let in beyond the limit', async () => {
    const pinned = await world.start(2, { listen: [] });
    const a = await world.start(1, { connectionsMax: 1, anchors: [`/ip4/127.0.0.1/tcp/1/p2p/${pinned.peer}`] });
    const other = await world.start(3);
    await other.dial(addressOf(a));
    await until('a is full', () => isConnected(a, other));
    await pinned.dial(addressOf(a));
    await until('a has both', () => a.connections().length === 2);
  });

  test('close() ends within 2 s with all its connections, and can be called twice', async () => {
    const [a, b] = [await world.start(1), await world.start(2)];
    await a.dial(addressOf(b));
    await until('connected', () => isConnected(b, a));
    const [address, startMs] = [addressOf(a), performance.now()];
    await Promise.all([a.close(), a.close()]);
    expect(performance.now() - startMs).toBeLessThan(2_000);
    await until('b sees it', () => b.connections().length === 0);
    await expect(a.start()).rejects.toMatchObject({ code: 'closed' });
    await expect(b.dial(address)).rejects.toMatchObject({
      code: 'unreachable',
    });
  });
});

describe('networks apart', () => {
  test('peers with other pre-shared keys, or with none, cannot connect', async () => {
    const a = await world.start(1, { preSharedKey: swarmKey('5a') });
    const same = await world.start(2, { preSharedKey: swarmKey('5a') });
    const other = await world.start(3, { preSharedKey: swarmKey('a5') });
    const none = await world.start(4);
    await same.dial(addressOf(a));
    const signal = AbortSignal.timeout(1_500);
    const outcomes = await Promise.allSettled([
      other.dial(addressOf(a), { signal }),
      none.dial(addressOf(a), { signal }),
    ]);
    expect(outcomes.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    expect(a.connections().map(({ peer }) => peer)).toEqual([same.peer]);
  });

  test('peers of a network of another name are hung up on', async () => {
    const a = await world.start(1, { network: 'red' });
    const b = await world.start(2, { network: 'blue' });
    const c = await world.start(3, { network: 'red' });
    await c.dial(addressOf(a));
    await b.dial(addressOf(a)).catch(() => undefined); // it may be over before the dial returns
    await until('they part', () => !isConnected(a, b) && !isConnected(b, a));
    await sleep(100);
    expect(isConnected(a, c)).toBe(true);
  });
});

describe('staying connected', () => {
  test('a peer that restarts on the same port is reconnected within two seconds', async () => {
    const a = await world.start(1);
    const b = await world.start(2);
    await a.dial(addressOf(b));
    await until('connected', () => isConnected(b, a));
    const listen = [`/ip4/127.0.0.1/tcp/${portOf(b)}`];
    await b.close();
    await until('a sees it', () => a.connections().length === 0);
    await sleep(1_500);
    const startMs = performance.now();
    const again = await world.start(2, { listen });
    await until('reconnected', () => isConnected(a, again), 3_000);
    expect(performance.now() - startMs).toBeLessThan(2_500);
    await until('they gossip', () => a.figures().mesh.rev === 1 && again.figures().mesh.rev === 1);
  });

  test('a connection that breaks is made again at once', async () => {
    const a = await world.start(1);
    const stranger = await createStranger(world, 2);
    a.rememberPeer(stranger.peerId.toString(), stranger.getMultiaddrs().map(String));
    await until('connected', () => a.connections().length === 1 && stranger.getConnections().length === 1);
    const before = a.connections()[0]?.id;
    stranger.getConnections()[0]?.abort(new Error('cut'));
    await until('connected again', () => a.connections()[0]?.id !== undefined && a.connections()[0]?.id !== before);
  });

  test('known peers are remembered across a restart', async () => {
    const hub = await world.start(1);
    const first = await world.start(2, { directory });
    await first.dial(addressOf(hub));
    await until('identified', async () => (await first.protocolsOf(hub.peer)).length > 0);
    await first.close();
    const second = await world.start(2, { directory });
    await until('connected without being told', () => isConnected(second, hub));
    expect(second.figures().knownPeers).toBe(1);
  });

  test('what a stranger said of itself is not kept', async () => {
    const a = await world.start(1, { binds: false, directory });
    const stranger = await createStranger(world, 2);
    await dialFrom(stranger, a);
    await until('identified', async () => (await a.protocolsOf(stranger.peerId.toString())).length > 0);
    await a.disconnect(stranger.peerId.toString(), 'test');
    await until('closed', () => a.connections().length === 0);
    expect(await a.protocolsOf(stranger.peerId.toString())).toEqual([]);
    expect(a.figures().knownPeers).toBe(0);
    await sleep(100);
    await a.close();
    const datastore = new LevelDatastore(directory);
    await datastore.open();
    const rows: string[] = [];
    for await (const key of datastore.queryKeys({ prefix: '/peers/' })) rows.push(key.toString());
    await datastore.close();
    expect(rows).toEqual([`/peers/${peerIdFromString(a.peer).toCID().toString()}`]);
  });

  test('bootstrap peers are dialled at the start, and again when they come later', async () => {
    const hub = await world.start(1);
    const address = addressOf(hub);
    const listen = [address.replace(/\/p2p\/.*/, '')];
    await hub.close();
    const a = await world.start(2, { bootstrap: listen }); // without its PeerId
    await sleep(300);
    const later = await world.start(1, { listen });
    await until('connected', () => isConnected(a, later), 3_000);
  });
});
