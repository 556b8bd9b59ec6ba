/**
 * Large results of calls from one process to another, against a bare libp2p stream between two processes, in turns.
 * `node bench/streams.ts`; exits 1 if the median of the ratios is below 0.6.
 */
import { RESULT_BYTES, RESULTS } from './stream-source.ts';
import { BYTES, startBareRounds, startCallRounds } from './stream-rounds.ts';

const BAR = 0.6;
const ROUNDS = 7;

const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
const shown = (name: string, values: readonly number[]): void =>
  console.log(
    `${name.padEnd(52)} n ${values.length}  median ${median(values).toFixed(0)} MB/s  ` +
      `min ${Math.min(...values).toFixed(0)}  max ${Math.max(...values).toFixed(0)}`,
  );

await using bare = await startBareRounds();
await using calls = await startCallRounds();
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
