import { MeshError } from '../../protocol/index.ts';
import type { Clock } from '../ports.ts';

/** Fires with the caller's signal (reason: MeshError cancelled) or after a time (reason: MeshError timeout). */
export interface Deadline extends Disposable {
  readonly signal: AbortSignal;
}

export function createDeadline(clock: Clock, delayMs: number, attempt: string, signal?: AbortSignal): Deadline {
  const controller = new AbortController();
  const cancel = (): void => controller.abort(new MeshError('cancelled', `Cannot ${attempt}: cancelled`));
  const timer = clock.after(delayMs, () => {
    controller.abort(new MeshError('timeout', `Cannot ${attempt}: no answer within ${delayMs} ms`));
  });
  if (signal?.aborted === true) cancel();
  signal?.addEventListener('abort', cancel, { once: true });
  return {
    signal: controller.signal,
    [Symbol.dispose]: () => {
      timer.cancel();
      signal?.removeEventListener('abort', cancel);
    },
  };
}

/** What a signal made by createDeadline() fired with; undefined while it has not. */
export const firedWith = (signal: AbortSignal): MeshError | undefined =>
  signal.aborted && signal.reason instanceof MeshError ? signal.reason : undefined;

/** Rejects with the signal's reason when it fires first. */
export function raceSignal<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const fire = (): void => reject(asError(signal.reason));
    if (signal.aborted) fire();
    signal.addEventListener('abort', fire, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', fire));
  });
}

export const asError = (reason: unknown): Error => (reason instanceof Error ? reason : new Error(String(reason)));

export const messageOf = (cause: unknown): string => asError(cause).message;
