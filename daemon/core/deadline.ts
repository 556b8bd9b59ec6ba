import { MeshError } from '../../protocol/index.ts';
import type { Clock } from '../ports.ts';

/** Fires after `delayMs` with a timeout error, or when `signal` does. */
export function deadline(clock: Clock, delayMs: number, signal?: AbortSignal): AbortSignal {
  const controller = new AbortController();
  const timer = clock.after(delayMs, () =>
    controller.abort(new MeshError('timeout', `Cannot wait longer than ${delayMs} ms`)),
  );
  controller.signal.addEventListener('abort', () => timer.cancel(), { once: true });
  return signal === undefined ? controller.signal : AbortSignal.any([signal, controller.signal]);
}
