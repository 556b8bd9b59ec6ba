/**
 * Words of MCP that decide what a message does. A reader that is laxer than JSON (Go's encoding/json folds the case of
 * members, U+017F and U+212A among it) takes another spelling for the same word, so a policy that saw the one would say
 * nothing about the other.
 */

import type { JsonObject } from '../encoding/jcs.ts';
import { canonicalName } from '../policy/names.ts';

/** Members of a JSON-RPC message. */
export const TOP_MEMBERS = ['jsonrpc', 'id', 'method', 'params', 'result', 'error'] as const;

/** Members of `params` that some method of MCP gives a meaning, in any of its revisions. */
export const PARAM_MEMBERS = [
  '_meta',
  'argument',
  'arguments',
  'capabilities',
  'clientInfo',
  'content',
  'context',
  'cursor',
  'inputRequests',
  'inputResponses',
  'level',
  'name',
  'notifications',
  'progressToken',
  'protocolVersion',
  'reason',
  'ref',
  'requestId',
  'requestState',
  'task',
  'taskId',
  'type',
  'uri',
] as const;

/** Every method that MCP defines from 2024-11-05 to 2026-07-28, with its extension for tasks. */
export const METHODS = [
  'completion/complete',
  'elicitation/create',
  'initialize',
  'logging/setLevel',
  'notifications/cancelled',
  'notifications/elicitation/complete',
  'notifications/initialized',
  'notifications/message',
  'notifications/progress',
  'notifications/prompts/list_changed',
  'notifications/resources/list_changed',
  'notifications/resources/updated',
  'notifications/roots/list_changed',
  'notifications/subscriptions/acknowledged',
  'notifications/tasks',
  'notifications/tasks/status',
  'notifications/tools/list_changed',
  'ping',
  'prompts/get',
  'prompts/list',
  'resources/list',
  'resources/read',
  'resources/subscribe',
  'resources/templates/list',
  'resources/unsubscribe',
  'roots/list',
  'sampling/createMessage',
  'server/discover',
  'subscriptions/listen',
  'tasks/cancel',
  'tasks/get',
  'tasks/list',
  'tasks/result',
  'tasks/update',
  'tools/call',
  'tools/list',
] as const;

const canonical = (words: readonly string[]): ReadonlyMap<string, string> =>
  new Map(words.map((word) => [canonicalName(word), word]));

/** Says which of these words a lax reader takes a text for that is spelt otherwise. */
function variants(words: readonly string[]): (text: string) => string | undefined {
  const exact = new Set(words);
  const byName = canonical(words);
  return (text) => (exact.has(text) ? undefined : byName.get(canonicalName(text)));
}

export const topVariant = variants(TOP_MEMBERS);
export const paramVariant = variants(PARAM_MEMBERS);
export const methodVariant = variants(METHODS);

const KNOWN: ReadonlySet<string> = new Set(METHODS);
export const isMethod = (method: string): boolean => KNOWN.has(method);

/** For a member whose place decides, as `tools` in a list of tools. */
export const hasVariant = (object: JsonObject, word: string): boolean =>
  Object.keys(object).some((name) => name !== word && canonicalName(name) === canonicalName(word));
