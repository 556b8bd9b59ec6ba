/** What every call of the control API shares. */
import type { InputOf, OperationId, ResponseOf } from '../protocol/control/index.ts';
import { type ErrorCode, isMeshError } from '../protocol/index.ts';
import { cancelled, verifyNotAborted } from './http.ts';

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
}

/** Any route, by its operation id. */
export type Call = <K extends OperationId>(
  operationId: K,
  input?: Partial<InputOf<K>>,
  options?: CallOptions,
) => Promise<ResponseOf<K>>;

export const codeOf = (error: unknown): ErrorCode | undefined => (isMeshError(error) ? error.code : undefined);

/** What a daemon that restarts answers on its way. */
const PASSING: readonly ErrorCode[] = ['not_running', 'closed', 'timeout', 'read_only', 'busy'];
export const isPassing = (error: unknown): boolean => PASSING.includes(codeOf(error) ?? 'internal');

/** Errors: cancelled. */
export function pause(delayMs: number, signal: AbortSignal | undefined): Promise<void> {
  verifyNotAborted(signal);
  return new Promise((settle, fail) => {
    const stop = (): void => {
      clearTimeout(timer);
      if (signal !== undefined) fail(cancelled(signal));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', stop);
      settle();
    }, delayMs);
    signal?.addEventListener('abort', stop, { once: true });
  });
}
