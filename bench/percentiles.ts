/** Times of many calls, as the benchmarks print them. */
const at = (sorted: readonly number[], share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;

/** Prints one line for milliseconds of each call. */
export function row(name: string, values: readonly number[]): { p50: number; p99: number } {
  const sorted = [...values].sort((a, b) => a - b);
  const [p50, p99] = [at(sorted, 0.5), at(sorted, 0.99)];
  console.log(
    `${name.padEnd(52)} n ${values.length}  p50 ${p50.toFixed(2)} ms  p99 ${p99.toFixed(2)} ms  max ${at(sorted, 1).toFixed(2)} ms`,
  );
  return { p50, p99 };
}
