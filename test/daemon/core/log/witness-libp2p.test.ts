/** Over real sockets: the witness answers a libp2p stream as it answers in memory. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { serveTlog, TlogAsker } from '../../../../daemon/core/log/tlog-stream.ts';
import { serveWitness, WITNESS_FRAME_BYTES_MAX, witnessOfPeer } from '../../../../daemon/core/log/witness-stream.ts';
import { createLibp2pNetwork, type Libp2pNetwork } from '../../../../daemon/libp2p/index.ts';
import { createSystemClock, createSystemRandom } from '../../../../daemon/system.ts';
import { limits, MeshError } from '../../../../protocol/index.ts';
import { parseCheckpoint } from '../../../../protocol/log/index.ts';
import { keyOf } from '../../../builders.ts';
import { textOf } from '../../../protocol/log/sample.ts';
import { addressOf, until } from '../../libp2p/world.ts';
import { quiet } from '../handshake-world.ts';
import { SampleLog, witnessFor } from './witness-world.ts';

const clock = createSystemClock();
const networks: Libp2pNetwork[] = [];
const never = new AbortController().signal;
let [own, other]: [Libp2pNetwork, Libp2pNetwork] = [] as never;

beforeAll(async () => {
  for (const name of ['own', 'other']) {
    const network = await createLibp2pNetwork(
      { clock, random: createSystemRandom(), log: quiet },
      { listen: ['/ip4/127.0.0.1/tcp/0'], localNetwork: true, privateKeySeed: keyOf(`${name} node`).seed },
    );
    network.onConnect(({ peer }) => network.setBound(peer, true));
    networks.push(network);
  }
  [own, other] = networks as [Libp2pNetwork, Libp2pNetwork];
  await serveWitness({ network: other, log: quiet, witness: witnessFor('w', { clock }).witness });
  const slow = async ({ path }: { path: string }) => {
    if (path === 'silent') await new Promise(() => {});
    return { status: 200, contentType: 'text/plain', body: new Uint8Array(path === 'large' ? 50_000 : 1) };
  };
  await serveTlog({ network: other, log: quiet, answer: slow }, 'tlog/read', {
    frameBytesMax: 100_000,
    inboundStreamsMax: 1,
    idleMs: 100,
  });
  for (const network of networks) await network.start();
  await own.dial(addressOf(other));
  await until('both are connected', () => networks.every((network) => network.connections().length === 1));
});
afterAll(async () => {
  for (const network of networks) await network.close();
});

describe('over libp2p', () => {
  test('a witness cosigns and shows, many times on one stream', async () => {
    using asker = new TlogAsker({ network: own, clock }, 'tlog/witness', { frameBytesMax: WITNESS_FRAME_BYTES_MAX });
    const endpoint = witnessOfPeer(asker, other.peer);
    const log = new SampleLog('a');
    for (let size = 1; size <= 20; size++)
      expect((await endpoint.addCheckpoint(log.request(size - 1, size), never)).status).toBe(200);
    const shown = await endpoint.readCheckpoint(log.origin, never);
    expect(parseCheckpoint(shown.body).checkpoint).toEqual(log.at(20).checkpoint);
    const stale = await endpoint.addCheckpoint(log.request(3, 21), never);
    expect([stale.status, stale.contentType, textOf(stale.body)]).toEqual([409, 'text/x.tlog.size', '20\n']);
    const largest = new Uint8Array(limits.ADD_CHECKPOINT_BYTES_MAX).fill(0x61);
    expect((await endpoint.addCheckpoint(largest, never)).status).toBe(400);
  });

  test('a stream that was ended for its silence, reset or timed out is followed by another', async () => {
    using asker = new TlogAsker({ network: own, clock }, 'tlog/read', { frameBytesMax: 40_000, timeoutMs: 300 });
    const ask = (path: string): Promise<number | string> =>
      asker.ask(other.peer, { path, body: new Uint8Array() }).then(
        ({ status }) => status,
        (error: unknown) => (error instanceof MeshError ? error.code : String(error)),
      );
    /** The reset of one stream and the next one are under way together, and there is room for one only. */
    const askUntilHeard = async (path: string): Promise<number | string> => {
      for (let tries = 1; tries < 40; tries++) {
        const status = await ask(path);
        if (status === 200) return status;
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      return ask(path);
    };
    expect(await ask('one')).toBe(200);
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(await askUntilHeard('two')).toBe(200); // the other side had ended it
    expect(await ask('large')).toBe('too_large');
    expect(await askUntilHeard('three')).toBe(200);
    expect(await ask('silent')).toBe('timeout');
    expect(await askUntilHeard('four')).toBe(200);
  });
});
