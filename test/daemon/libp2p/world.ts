/** Networks on loopback for tests: made by number, closed together. */
import { createSystemClock, createSystemRandom } from '../../../daemon/system.ts';
import { createLibp2pNetwork, type Libp2pNetwork, type Libp2pNetworkOptions } from '../../../daemon/libp2p/index.ts';
import type { Logger } from '../../../daemon/ports.ts';

export interface TestNetworkOptions extends Omit<Libp2pNetworkOptions, 'privateKeySeed'> {
  /** False: peers stay strangers. Default true: as if `hello` had shown an organisation at once. */
  readonly binds?: boolean;
}

export interface World extends AsyncDisposable {
  /** A running network whose key follows from the number. */
  start(number: number, options?: TestNetworkOptions): Promise<Libp2pNetwork>;
  /** Closed with the world, last made first. */
  own(resource: { close(): unknown }): void;
}

export const quietLog: Logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

export const seedOf = (number: number): Uint8Array => {
  const seed = new Uint8Array(32);
  new DataView(seed.buffer).setUint32(28, number);
  return seed;
};

export function createWorld(): World {
  const owned: { close(): unknown }[] = [];
  return {
    start: async (number, options = {}) => {
      const { binds = true, ...rest } = options;
      const network = await createLibp2pNetwork(
        { clock: createSystemClock(), random: createSystemRandom(), log: quietLog },
        { listen: ['/ip4/127.0.0.1/tcp/0'], localNetwork: true, ...rest, privateKeySeed: seedOf(number) },
      );
      owned.push(network);
      if (binds) network.onConnect(({ peer }) => network.setBound(peer, true));
      await network.start();
      return network;
    },
    own: (resource) => {
      owned.push(resource);
    },
    [Symbol.asyncDispose]: async () => {
      await Promise.all(owned.splice(0).map(async (resource) => resource.close()));
    },
  };
}

/** Waits until `isSo`; fails with what is not so. */
export async function until(what: string, isSo: () => boolean | Promise<boolean>, withinMs = 5_000): Promise<void> {
  const endMs = performance.now() + withinMs;
  while (!(await isSo())) {
    if (performance.now() > endMs) throw new Error(`Not so within ${withinMs} ms: ${what}`);
    await sleep(10);
  }
}

export const sleep = (delayMs: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, delayMs));

export const isConnected = (a: Libp2pNetwork, b: { readonly peer: string }): boolean =>
  a.connections().some(({ peer }) => peer === b.peer);

export const addressOf = (network: Libp2pNetwork): string => {
  const [address] = network.addresses();
  if (address === undefined) throw new Error('The network does not listen');
  return address;
};
