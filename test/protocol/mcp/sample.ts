/** Messages, a context and verdicts for the tests of MCP. */
import { isMeshError, type Json, type MeshError } from '../../../protocol/index.ts';
import {
  type GovernedContext,
  type Message,
  parseMessage,
  type RequestMessage,
  type ResultMessage,
  type Sender,
} from '../../../protocol/mcp/index.ts';
import type { Verdict } from '../../../protocol/policy/index.ts';

export const utf8 = new TextEncoder();
export const textOf = (bytes: Uint8Array | undefined): string => new TextDecoder().decode(bytes);
export const jsonOf = (bytes: Uint8Array | undefined): unknown => JSON.parse(textOf(bytes));

export function read(text: string, from: Sender = 'client'): Message {
  const message = parseMessage(utf8.encode(text), from);
  if (message === undefined) throw new Error('a blank line');
  return message;
}
export function request(method: string, params?: Json, id: number | string = 1): RequestMessage {
  const message = read(JSON.stringify({ jsonrpc: '2.0', id, method, ...(params === undefined ? {} : { params }) }));
  if (message.kind !== 'request') throw new Error('no request');
  return message;
}
export function resultOf(text: string): ResultMessage {
  const message = read(text, 'server');
  if (message.kind !== 'result') throw new Error('no result');
  return message;
}
export function meshErrorOf(run: () => unknown): MeshError {
  try {
    run();
  } catch (error) {
    if (isMeshError(error)) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

/** Paths come back as they were asked for. */
export const context: GovernedContext = { server: 'files', paths: { canonicalPaths: (texts) => texts } };

export const verdict: Verdict = {
  id: 'v1',
  effect: 'deny',
  code: 'policy_denied',
  rule: 'no-writes',
  policy: { name: 'acme-baseline', digest: 'ab'.repeat(32) },
  matched: [],
  output: {
    secrets: 'redact',
    pii: 'allow',
    phi: 'allow',
    cards: 'redact',
    instructions: 'mark',
    invisible: 'mark',
    bytesMax: 1000,
  },
  reason: 'writing is not allowed here',
  index: 41,
};
export const approval = { id: 'ap-1', approvers: ['security-team'], quorum: 1, expiresAt: '2026-11-22T23:00:00Z' };
