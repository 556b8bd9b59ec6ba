/** Multi-round-trip requests of MCP 2026-07-28: a result asks the client for input, and the request comes again with it. */
import type { Json } from '../encoding/jcs.ts';
import { MeshError } from '../errors.ts';
import type { GateRequest } from '../policy/gate.ts';
import { isObject, type Message } from './messages.ts';
import { hasVariant } from './names.ts';

const ACTIONS: ReadonlyMap<string, string> = new Map([
  ['sampling/createMessage', 'sampling'],
  ['elicitation/create', 'elicitation'],
  ['roots/list', 'roots_list'],
]);

/** What a result asks of the client, each by its key. Errors: malformed, where readers may disagree on what it asks. */
export function inputRequestsOf(result: Json): readonly { readonly key: string; readonly request: GateRequest }[] {
  if (!isObject(result)) return [];
  for (const word of ['inputRequests', 'resultType'])
    if (hasVariant(result, word)) throw unclear(`it has a member that some readers take for "${word}"`);
  const asked = result['inputRequests'];
  if (asked === undefined || asked === null) return [];
  if (!isObject(asked)) throw unclear('its member "inputRequests" is no object');
  return Object.entries(asked).map(([key, item]) => {
    const method = isObject(item) && !hasVariant(item, 'method') ? item['method'] : undefined;
    if (typeof method !== 'string') throw unclear(`what it asks for "${key.slice(0, 64)}" has no method`);
    const action = ACTIONS.get(method);
    return { key, request: action === undefined ? { action: 'mcp_request', mcp: { method } } : { action } };
  });
}

/** Whether a request brings what an earlier result asked for. It is a call of its own all the same. */
export function isInputRetry(message: Message): boolean {
  if (message.kind !== 'request' || !isObject(message.params)) return false;
  return message.params['inputResponses'] !== undefined || message.params['requestState'] !== undefined;
}

const unclear = (why: string): MeshError => new MeshError('malformed', `Cannot pass on what a server asks: ${why}`);
