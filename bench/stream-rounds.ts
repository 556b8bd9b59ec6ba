/** Rounds of large results over a stream from another process: bare libp2p's, and calls'. For bench/streams.ts and bench/calls.ts. */
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { multiaddr } from '@multiformats/multiaddr';
import { createCallMessages } from '../daemon/core/calls/message-stream.ts';
import { createSystemClock } from '../daemon/system.ts';
import { limits } from '../protocol/index.ts';
import { createBare } from './bare-echo.ts';
import { createOurs, RESULT_BYTES, RESULTS, STREAM } from './stream-source.ts';

/** Of one round. */
export const BYTES = RESULTS * RESULT_BYTES;

/** One side, and the process of the other. */
export interface Rounds extends AsyncDisposable {
  readonly round: Round;
}

async function startSource(kind: string): Promise<{ child: ChildProcess; address: string }> {
  const child = fork(fileURLToPath(new URL('./stream-source.ts', import.meta.url)), [kind], {
    stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
  });
  const address = await new Promise<string>((resolve) =>
    child.stdout?.once('data', (bytes: Buffer) => resolve(bytes.toString().trim())),
  );
  return { child, address };
}

const perSecond = (beganMs: number): number => BYTES / 1e6 / ((performance.now() - beganMs) / 1000);

/** Megabytes a second of one round; the handshakes are not counted. */
export type Round = () => Promise<number>;

export async function startBareRounds(): Promise<Rounds> {
  const { child, address } = await startSource('bare');
  const node = await createBare([]);
  const connection = await node.dial(multiaddr(address));
  const round = async (): Promise<number> => {
    const beganMs = performance.now();
    const stream = await connection.newStream(STREAM);
    let got = 0;
    for await (const bytes of stream) got += bytes.byteLength;
    if (got !== BYTES) throw new Error(`${got} bytes came, want ${BYTES}`);
    await stream.close();
    return perSecond(beganMs);
  };
  return { round, [Symbol.asyncDispose]: async () => ended(child, node.stop()) };
}

export async function startCallRounds(): Promise<Rounds> {
  const { child, address } = await startSource('calls');
  const network = await createOurs(2);
  const connection = await network.dial(address);
  const round = async (): Promise<number> => {
    const beganMs = performance.now();
    const stream = await network.openStream(connection, 'call', { frameBytesMax: limits.CALL_FRAME_BYTES_MAX });
    const messages = createCallMessages(stream, { clock: createSystemClock() });
    let got = 0;
    for (let next = await messages.receive(); next !== undefined; next = await messages.receive())
      got += next.body?.length ?? 0;
    if (got !== BYTES) throw new Error(`${got} bytes came, want ${BYTES}`);
    await messages.close();
    return perSecond(beganMs);
  };
  return { round, [Symbol.asyncDispose]: async () => ended(child, network.close()) };
}

async function ended(child: ChildProcess, stopped: Promise<void> | void): Promise<void> {
  await stopped;
  child.disconnect();
}
