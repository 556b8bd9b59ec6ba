/** What is shown of a server's answers under the output rules. */
import { applyOutput } from '../detect/index.ts';
import type { Json, JsonObject } from '../encoding/jcs.ts';
import type { ErrorCode } from '../errors.ts';
import type { OutputRules } from '../policy/decision.ts';
import { type ErrorMessage, isObject, type NotificationMessage, type ResultMessage } from './messages.ts';
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
    ? { code: 'too_large', reason: `Cannot show the result: it has more than ${bytesMax} bytes, or too many levels` }
    : { code: 'policy_denied', reason: `Cannot show the result: it holds "${label}", which policy keeps back` };

export function rewritten(message: ResultMessage | ErrorMessage, value: Json): ResultMessage | ErrorMessage {
  if (message.kind === 'result') return { ...message, bytes: withResult(message, value), result: value };
  const bytes = utf8Encoder.encode(JSON.stringify({ jsonrpc: '2.0', id: message.id, error: value }));
  return { ...message, bytes, error: value };
}

/** Of a notification that carries a result; undefined: nothing of it is shown. */
export function scannedNotice(message: NotificationMessage, rules: OutputRules): NotificationMessage | undefined {
  const { result, refused, changed } = applyOutput(message.params ?? {}, rules);
  if (refused !== undefined) return undefined;
  return changed ? { ...message, params: result, bytes: withParams(message, result) } : message;
}

const utf8Encoder = new TextEncoder();
