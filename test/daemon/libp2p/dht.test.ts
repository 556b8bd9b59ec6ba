import { CID } from 'multiformats/cid';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Libp2pNetwork } from '../../../daemon/libp2p/index.ts';
import { protocolId } from '../../../protocol/index.ts';
import { createStranger, dialFrom, putValue } from './stranger.ts';
import { addressOf, createWorld, sleep, until, type World } from './world.ts';

const KEY = 'bafyreibngsuak3ya2kxxp3vcaqcxxclmxs7vbcaqj6zmflcbvrv2mcwwsy';

let world: World;
beforeEach(() => {
  world = createWorld();
});
afterEach(() => world[Symbol.asyncDispose]());

async function providersOf(network: Libp2pNetwork, withinMs = 3_000): Promise<{ peer: string; addresses: string[] }[]> {
  const found: { peer: string; addresses: string[] }[] = [];
  for await (const provider of network.providers(KEY, { signal: AbortSignal.timeout(withinMs) })) found.push(provider);
  return found;
}

describe('the DHT', () => {
  test('finds a provider through a third network', async () => {
    const hub = await world.start(1);
    const provider = await world.start(2, { targetDegree: 1 });
    await provider.dial(addressOf(hub));
    await until('they are contacts', () => hub.figures().dhtContacts === 1);
    await provider.provide(KEY, { signal: AbortSignal.timeout(8_000) });
    const [peer, address] = [provider.peer, addressOf(provider)];
    await provider.close(); // what is found now is known from the hub
    const seeker = await world.start(3, { targetDegree: 1 });
    await seeker.dial(addressOf(hub));
    await until('the hub is a contact', () => seeker.figures().dhtContacts >= 1);
    const found = await providersOf(seeker);
    expect(found.map((entry) => entry.peer)).toEqual([peer]);
    expect(address).toContain(found[0]?.addresses[0]?.replace(/\/p2p\/.*/, ''));
  });

  test('providers() ends when alone, and for a key that nobody provides', async () => {
    const [a, b] = [await world.start(1), await world.start(2)];
    let startMs = performance.now();
    expect(await providersOf(a)).toEqual([]);
    expect(performance.now() - startMs).toBeLessThan(1_000);
    await a.dial(addressOf(b));
    await until('they are contacts', () => a.figures().dhtContacts === 1);
    startMs = performance.now();
    expect(await providersOf(a)).toEqual([]);
    expect(performance.now() - startMs).toBeLessThan(2_500);
  });

  test('provide() waits for a first contact, and says timeout, cancelled or malformed', async () => {
    const a = await world.start(1);
    await expect(a.provide('no CID', { signal: AbortSignal.timeout(1_000) })).rejects.toMatchObject({
      code: 'malformed',
    });
    await expect(a.provide(KEY, { signal: AbortSignal.timeout(100) })).rejects.toMatchObject({ code: 'timeout' });
    const controller = new AbortController();
    const cancelled = a.provide(KEY, { signal: controller.signal });
    controller.abort();
    await expect(cancelled).rejects.toMatchObject({ code: 'cancelled' });
    const waiting = a.provide(KEY, { signal: AbortSignal.timeout(5_000) });
    const b = await world.start(2);
    await a.dial(addressOf(b));
    await waiting;
    expect((await providersOf(b)).map(({ peer }) => peer)).toContain(a.peer);
  });

  test('stores no values, not even public keys', async () => {
    const network = await world.start(1);
    const stranger = await createStranger(world, 2);
    const connection = await dialFrom(stranger, network);
    const id = stranger.peerId.toMultihash().bytes;
    const publicKey = stranger.peerId.toMultihash().bytes.subarray(2); // an Ed25519 PeerId holds its key
    for (const [key, value] of [
      [Buffer.concat([Buffer.from('/pk/'), id]), publicKey],
      [Buffer.from('/agentmesh/x'), Buffer.from('value')],
    ] as const) {
      const stream = await connection.newStream(protocolId('agentmesh', 'kad'));
      stream.send(putValue(key, value));
      await until('it is reset', () => stream.status === 'reset');
    }
  });

  test('keeps provider records only of the peer that sends them', async () => {
    const network = await world.start(1);
    const stranger = await createStranger(world, 2);
    await dialFrom(stranger, network);
    await until('it is a contact', () => network.figures().dhtContacts === 1);
    for await (const event of stranger.services.dht.provide(CID.parse(KEY), { signal: AbortSignal.timeout(3_000) })) {
      if (event.name === 'PEER_RESPONSE' && event.messageName === 'ADD_PROVIDER') break;
    }
    await until('the record is there', async () => (await providersOf(network)).length === 1);
    expect((await providersOf(network)).map(({ peer }) => peer)).toEqual([stranger.peerId.toString()]);
  });

  test('twelve networks with it do not become a full mesh', async () => {
    const hub = await world.start(1, { targetDegree: 3 });
    const networks = [hub];
    for (let number = 2; number <= 12; number++) {
      networks.push(await world.start(number, { targetDegree: 3, bootstrap: [addressOf(hub)] }));
    }
    await until(
      'all are contacts of some',
      () => networks.every((network) => network.figures().dhtContacts >= 2),
      20_000,
    );
    await Promise.all(
      networks.slice(1, 5).map((network) => network.provide(KEY, { signal: AbortSignal.timeout(10_000) })),
    );
    const found = await providersOf(networks[11] ?? hub);
    expect(found.length).toBeGreaterThanOrEqual(4);
    const degrees = (): number[] => networks.slice(1).map((network) => network.connections().length);
    const isSparse = (): boolean =>
      Math.max(...degrees()) < 11 && degrees().reduce((sum, degree) => sum + degree, 0) < 6 * 11;
    await until('visits are over', isSparse, 8_000);
    // Visits of the DHT may come and go, but nothing grows towards the mean of 11 that a full mesh has.
    for (let i = 0; i < 10; i++) {
      await sleep(100);
      const mean = degrees().reduce((sum, degree) => sum + degree, 0) / 11;
      expect(mean, `degrees ${degrees().join(' ')}`).toBeLessThan(8.5);
    }
  }, 60_000);
});
