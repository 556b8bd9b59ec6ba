import { afterEach, beforeEach, expect, test } from 'vitest';
import { ChannelBindings } from '../../../daemon/libp2p/channel-binding.ts';
import type { Libp2pNetwork } from '../../../daemon/libp2p/index.ts';
import { equalBytes } from '../../../protocol/index.ts';
import { addressOf, createWorld, until, type World } from './world.ts';

let world: World;
beforeEach(() => {
  world = createWorld();
});
afterEach(() => world[Symbol.asyncDispose]());

const bindingOf = (network: Libp2pNetwork, other: Libp2pNetwork): Uint8Array => {
  const binding = network.connections().find(({ peer }) => peer === other.peer)?.channelBinding;
  if (binding === undefined) throw new Error('no channel binding');
  return binding;
};

async function connect(a: Libp2pNetwork, b: Libp2pNetwork): Promise<Uint8Array> {
  await a.dial(addressOf(b));
  await until('both see the connection', () => b.connections().some(({ peer }) => peer === a.peer));
  const [mine, theirs] = [bindingOf(a, b), bindingOf(b, a)];
  expect(mine).toHaveLength(32);
  expect(equalBytes(mine, theirs)).toBe(true);
  return mine;
}

test('both ends of a connection have the same channel binding, and each connection another', async () => {
  const a = await world.start(1, { listen: [] }); // so that only a dials
  const b = await world.start(2);
  const seen = new Set<string>();
  for (let i = 0; i < 3; i++) {
    seen.add(Buffer.from(await connect(a, b)).toString('hex'));
    await a.disconnect(b.peer, 'again');
    await until('it is closed', () => a.connections().length === 0 && b.connections().length === 0);
  }
  expect(seen.size).toBe(3);
});

test('it is there under a pre-shared key too', async () => {
  const preSharedKey = new TextEncoder().encode(`/key/swarm/psk/1.0.0/\n/base16/\n${'5a'.repeat(32)}`);
  const a = await world.start(1, { preSharedKey });
  const b = await world.start(2, { preSharedKey });
  expect(await connect(a, b)).toHaveLength(32);
});

test('a man in the middle has two connections, and their channel bindings differ', async () => {
  const [alice, mallory, bob] = [await world.start(1), await world.start(2), await world.start(3)];
  const left = await connect(alice, mallory);
  const right = await connect(mallory, bob);
  expect(equalBytes(left, right)).toBe(false);
  expect(equalBytes(bindingOf(mallory, alice), bindingOf(mallory, bob))).toBe(false);
});

test('a connection whose handshake was not recorded has none', () => {
  expect(new ChannelBindings().of({ timeline: {} })).toBeUndefined();
});
