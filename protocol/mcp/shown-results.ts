/** What is shown of a server's answers under the output rules. */
import { applyOutput } from '../detect/index.ts';
import type { Json, JsonObject } from '../encoding/jcs.ts';
import { type ErrorCode, MeshError } from '../errors.ts';
import type { OutputRules } from '../policy/decision.ts';
import {
  type ErrorMessage,
  isObject,
  type NotificationMessage,
  type RequestMessage,
  type ResultMessage,
} from './messages.ts';
import { withParams, withResult } from './outputs.ts';

export interface Scanned {
  readonly shown: ResultMessage | ErrorMessage;
  readonly labels: readonly string[];
  /** Nothing of it is shown. */
  readonly refused?: { readonly code: ErrorCode; readonly reason: string };
}

export function scanned(message: ResultMessage | ErrorMessage, rules: OutputRules): Scanned {
  const value = message.kind === 'error' ? message.error : message.result;
  // The server's own, which it wants back to the letter, and which no model reads.
  const state = isObject(value) ? value['requestState'] : undefined;
  const { requestState: _, ...rest } = isObject(value) ? value : {};
  const { result, refused, labels, changed } = applyOutput(state === undefined ? value : rest, rules);
  if (refused !== undefined) return { shown: message, labels, refused: refusedFor(refused.label, rules) };
  if (!changed) return { shown: message, labels };
  return {
    shown: rewritten(message, state === undefined ? result : { ...(result as JsonObject), requestState: state }),
    labels,
  };
}

const refusedFor = (label: string, { bytesMax }: OutputRules): { readonly code: ErrorCode; readonly reason: string } =>
  label === 'size' || label === 'depth'
    ? { code: 'too_large', reason: `Cannot show it: it has more than ${bytesMax} bytes, or too many levels` }
    : { code: 'policy_denied', reason: `Cannot show it: it holds "${label}", which policy keeps back` };

export function rewritten(message: ResultMessage | ErrorMessage, value: Json): ResultMessage | ErrorMessage {
  if (message.kind === 'result') return { ...message, bytes: withResult(message, value), result: value };
  const bytes = utf8Encoder.encode(JSON.stringify({ jsonrpc: '2.0', id: message.id, error: value }));
  return { ...message, bytes, error: value };
}

/**
 * Of a notification: progress and log messages are read too, and a task's result comes with one. Undefined: nothing of
 * it is shown. `kept`: members of its params that are the client's own, by which it knows what the notification is about.
 */
export function scannedNotice(
  message: NotificationMessage,
  rules: OutputRules,
  kept: readonly string[],
): NotificationMessage | undefined {
  const { params } = message;
  if (params === undefined) return message;
  const own = isObject(params) ? Object.entries(params).filter(([name]) => kept.includes(name)) : [];
  const rest = isObject(params) && own.length > 0 ? without(params, kept) : params;
  const { result, refused, changed } = applyOutput(rest, rules);
  if (refused !== undefined) return undefined;
  if (!changed) return message;
  const shown = own.length === 0 ? result : { ...(result as JsonObject), ...Object.fromEntries(own) };
  return { ...message, params: shown, bytes: withParams(message, shown) };
}

const without = (params: JsonObject, names: readonly string[]): JsonObject =>
  Object.fromEntries(Object.entries(params).filter(([name]) => !names.includes(name)));

/** Of a question of the server's: the client's model may read it. Errors: policy_denied, too_large. */
export function scannedQuestion(message: RequestMessage, rules: OutputRules): RequestMessage {
  const { params } = message;
  if (params === undefined) return message;
  const { result, refused, changed } = applyOutput(params, rules);
  if (refused !== undefined) {
    const { code, reason } = refusedFor(refused.label, rules);
    throw new MeshError(code, reason);
  }
  return changed ? { ...message, params: result, bytes: withParams(message, result) } : message;
}

/** Whether nothing of a list's member may be shown. */
export const isKeptBack = (member: Json, rules: OutputRules): boolean =>
  applyOutput(member, rules).refused !== undefined;

const utf8Encoder = new TextEncoder();
