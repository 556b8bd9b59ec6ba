/** The ports that Node itself implements. */
import { hash, randomBytes } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import type { Clock, Random, Timer } from './ports.ts';

const TIMEOUT_MS_MAX = 2 ** 31 - 1; // Node fires a longer one at once

export function createSystemClock(): Clock {
  return {
    nowMs: () => Date.now(),
    monotonicMs: () => performance.now(),
    after: (delayMs, call) => {
      let handle: NodeJS.Timeout;
      const arm = (restMs: number): void => {
        const stepMs = Math.min(Math.max(restMs, 0), TIMEOUT_MS_MAX);
        handle = setTimeout(() => (restMs > stepMs ? arm(restMs - stepMs) : call()), stepMs);
        handle.unref();
      };
      arm(delayMs);
      return { cancel: () => clearTimeout(handle) } satisfies Timer;
    },
    soon: () => setImmediate(),
  };
}

export function createSystemRandom(): Random {
  return {
    bytes: (count) => new Uint8Array(randomBytes(count)),
    fraction: () => Math.random(),
  };
}

/** By OpenSSL: several times as fast as the pure one, for where hashes are what takes the time. */
export function sha256(bytes: Uint8Array): Uint8Array {
  // A digest comes as text in half the time that it takes to come as an array of its own.
  const { buffer, byteOffset, byteLength } = Buffer.from(hash('sha256', bytes, 'binary'), 'latin1');
  return new Uint8Array(buffer, byteOffset, byteLength); // a Buffer's `slice` shares memory where Uint8Array's copies
}
