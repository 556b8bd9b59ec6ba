/**
 * What streams to whoever opens a stream, as its own process: `calls` results over the daemon's own network, `bare` bytes
 * over a libp2p node that has nothing else. Prints its address. For bench/streams.ts.
 */
import { randomFillSync } from 'node:crypto';
import { createCallMessages } from '../daemon/core/calls/message-stream.ts';
import { createLibp2pNetwork, type Libp2pNetwork } from '../daemon/libp2p/index.ts';
import { createSystemClock, createSystemRandom } from '../daemon/system.ts';
import { limits } from '../protocol/index.ts';
import { createBare } from './bare-echo.ts';

export const STREAM = '/stream/1.0.0';
export const RESULT_BYTES = 16 * 1024 * 1024;
export const RESULTS = 8;
const CHUNK_BYTES = 64 * 1024; // what the muxer puts into one frame

/** A network of the daemon's kind to which everybody is bound. */
export async function createOurs(seed: number): Promise<Libp2pNetwork> {
  const log = { debug: () => {}, info: () => {}, warn: console.warn, error: console.error };
  const network = await createLibp2pNetwork(
    { clock: createSystemClock(), random: createSystemRandom(), log },
    { listen: ['/ip4/127.0.0.1/tcp/0'], localNetwork: true, privateKeySeed: new Uint8Array(32).fill(seed) },
  );
  network.onConnect(({ peer }) => network.setBound(peer, true));
  await network.start();
  return network;
}

async function serveCalls(): Promise<string | undefined> {
  const network = await createOurs(1);
  const result = randomFillSync(new Uint8Array(RESULT_BYTES));
  const handling = { frameBytesMax: limits.CALL_FRAME_BYTES_MAX, inboundStreamsMax: 8, unbound: false };
  await network.handle('call', handling, async (stream) => {
    const messages = createCallMessages(stream, { clock: createSystemClock() });
    const [sig, salt] = [new Uint8Array(64), new Uint8Array(limits.CALL_SALT_BYTES)];
    for (let n = 1; n <= RESULTS; n++)
      await messages.send({ f: 'result', n, rcpt: new Uint8Array(300), sig, salt }, result);
    await messages.close();
  });
  return network.addresses()[0];
}

async function serveBare(): Promise<string | undefined> {
  const node = await createBare(['/ip4/127.0.0.1/tcp/0']);
  const chunk = randomFillSync(new Uint8Array(CHUNK_BYTES));
  await node.handle(STREAM, async (stream) => {
    for (let sent = 0; sent < RESULTS * RESULT_BYTES; sent += CHUNK_BYTES) {
      if (stream.send(chunk)) continue;
      await new Promise<void>((resolve) => stream.addEventListener('drain', () => resolve(), { once: true }));
    }
    await stream.close();
  });
  return node.getMultiaddrs()[0]?.toString();
}

const kind = process.argv[2];
if (kind === 'calls' || kind === 'bare') {
  console.log(await (kind === 'calls' ? serveCalls() : serveBare()));
  process.once('disconnect', () => process.exit(0));
}
