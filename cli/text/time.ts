/** Times as people say them. `--json` has them as RFC 3339. */

const UNITS = [
  ['d', 86_400],
  ['h', 3_600],
  ['min', 60],
  ['s', 1],
] as const;

/** "45 s", "2 min", "3 h 20 min", "5 d". */
export function formatDuration(seconds: number): string {
  const whole = Math.round(seconds);
  if (whole === 0) return '0 s';
  const [unit, size] = UNITS.find(([, each]) => whole >= each) ?? ['s', 1];
  const count = Math.floor(whole / size);
  const minutes = Math.floor((whole - count * size) / 60);
  return unit === 'h' && minutes > 0 ? `${count} h ${minutes} min` : `${count} ${unit}`;
}

/** "2 min ago", "in 14 min", "now"; "-" for no time. */
export function formatTime(time: string | number | null, nowMs: number): string {
  if (time === null) return '-';
  const seconds = (nowMs - (typeof time === 'number' ? time : Date.parse(time))) / 1000;
  if (Math.abs(seconds) < 1) return 'now';
  return seconds > 0 ? `${formatDuration(seconds)} ago` : `in ${formatDuration(-seconds)}`;
}

/** "2 min ago (2026-11-18T11:06:40Z)", where there is room for both. */
export const formatTimeFully = (time: string | null, nowMs: number): string =>
  time === null ? '-' : `${formatTime(time, nowMs)} (${time.replace('.000Z', 'Z')})`;

/** "0.4 ms", "12 ms", "1.2 s". */
export function formatLatency(ms: number | null): string {
  if (ms === null) return '-';
  if (ms >= 1000) return `${(ms / 1000).toFixed(1)} s`;
  return ms < 10 ? `${ms.toFixed(1)} ms` : `${Math.round(ms)} ms`;
}

export const formatBytes = (bytes: number): string => {
  if (bytes < 1024) return `${bytes} B`;
  const [unit, size] = bytes < 1024 ** 2 ? ['KiB', 1024] : bytes < 1024 ** 3 ? ['MiB', 1024 ** 2] : ['GiB', 1024 ** 3];
  return `${(bytes / Number(size)).toFixed(1)} ${unit}`;
};

export const formatCount = (count: number, one: string, many = `${one}s`): string =>
  `${count} ${count === 1 ? one : many}`;
