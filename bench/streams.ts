/**
 * Large results of calls from one process to another, against a bare libp2p stream between two processes, in turns.
 * `node bench/streams.ts`; exits 1 if the median of the ratios is below 0.6.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { multiaddr } from '@multiformats/multiaddr';
import { createCallMessages } from '../daemon/core/calls/message-stream.ts';
import { createSystemClock } from '../daemon/system.ts';
import { limits } from '../protocol/index.ts';
import { createBare } from './bare-echo.ts';
import { createOurs, RESULT_BYTES, RESULTS, STREAM } from './stream-source.ts';

const BAR = 0.6;
const ROUNDS = 7;
const BYTES = RESULTS * RESULT_BYTES;

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
type Round = () => Promise<number>;

async function createBareRound(address: string): Promise<{ round: Round; stop: () => Promise<void> }> {
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
  return { round, stop: async () => node.stop() };
}

async function createCallRound(address: string): Promise<{ round: Round; stop: () => Promise<void> }> {
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
  return { round, stop: async () => network.close() };
}

const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
const shown = (name: string, values: readonly number[]): void =>
  console.log(
    `${name.padEnd(52)} n ${values.length}  median ${median(values).toFixed(0)} MB/s  ` +
      `min ${Math.min(...values).toFixed(0)}  max ${Math.max(...values).toFixed(0)}`,
  );

const [bareSource, callSource] = [await startSource('bare'), await startSource('calls')];
const bare = await createBareRound(bareSource.address);
const calls = await createCallRound(callSource.address);
try {
  const [bareRates, callRates]: [number[], number[]] = [[], []];
  for (let i = 0; i <= ROUNDS; i++) {
    const [bareRate, callRate] = [await bare.round(), await calls.round()];
    if (i === 0) continue; // while everything is compiled
    bareRates.push(bareRate);
    callRates.push(callRate);
  }
  const ratio = median(callRates.map((rate, i) => rate / (bareRates[i] ?? Number.NaN)));
  shown(`bare libp2p stream: ${BYTES / 1024 ** 2} MiB`, bareRates);
  shown(`calls: ${RESULTS} results of ${RESULT_BYTES / 1024 ** 2} MiB`, callRates);
  console.log(`ratio ${ratio.toFixed(2)}x of the bare stream; bar ${BAR}x`);
  if (!(ratio >= BAR)) process.exitCode = 1;
} finally {
  await Promise.all([bare.stop(), calls.stop()]);
  for (const { child } of [bareSource, callSource]) child.disconnect();
}
