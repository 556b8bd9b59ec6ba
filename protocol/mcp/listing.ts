/** Lists of what a server has, cut to what the agent may use. */
import type { Json, JsonObject } from '../encoding/jcs.ts';
import { isMeshError, MeshError } from '../errors.ts';
import type { GateRequest } from '../policy/gate.ts';
import { type GovernedContext, resourceOf } from './governed.ts';
import { isObject, type ResultMessage } from './messages.ts';
import { hasVariant } from './names.ts';
import { withChangedResult } from './outputs.ts';

/** The member of the result that holds the list. */
const LISTS: ReadonlyMap<string, string> = new Map([
  ['tools/list', 'tools'],
  ['resources/list', 'resources'],
  ['resources/templates/list', 'resourceTemplates'],
  ['prompts/list', 'prompts'],
]);

export const isListing = (method: string): boolean => LISTS.has(method);

/** Errors: malformed, where it is no list for every reader. */
export function membersOf(method: string, result: Json): readonly Json[] {
  const member = LISTS.get(method) ?? '';
  if (!isObject(result)) throw unclear(method, 'it is no object');
  if (hasVariant(result, member)) throw unclear(method, `it has a member that some readers take for "${member}"`);
  const items = result[member];
  if (items === undefined) return [];
  if (!Array.isArray(items)) throw unclear(method, `its member "${member}" is no list`);
  return items as readonly Json[];
}

/** What using a member would ask; undefined: it has no name or URI that a policy could judge, so it is not shown. */
export function memberRequest(method: string, member: Json, context: GovernedContext): GateRequest | undefined {
  if (!isObject(member)) return undefined;
  if (['name', 'uri', 'uriTemplate'].some((word) => hasVariant(member, word))) return undefined;
  const { name, uri, uriTemplate } = member;
  if (method === 'tools/list')
    return typeof name === 'string' ? { action: 'tool_call', tool: { name, server: context.server } } : undefined;
  if (method === 'prompts/list')
    return typeof name === 'string' ? { action: 'prompt_get', prompt: { name } } : undefined;
  const address = method === 'resources/list' ? uri : uriTemplate;
  return typeof address === 'string' ? resourceRequest(address, context) : undefined;
}

function resourceRequest(uri: string, { paths }: GovernedContext): GateRequest | undefined {
  try {
    return { action: 'resource_read', resource: resourceOf(uri, paths) };
  } catch (error) {
    if (isMeshError(error)) return undefined; // reading it would be refused
    throw error;
  }
}

/** The result with those members that are kept; the same object where that is all of them. */
export function filteredResult(method: string, result: JsonObject, keep: readonly boolean[]): JsonObject {
  const member = LISTS.get(method) ?? '';
  const items = membersOf(method, result);
  if (items.length !== keep.length)
    throw new MeshError(
      'internal',
      `Cannot filter a list: it has ${items.length} members, and ${keep.length} were judged`,
    );
  if (keep.every((isKept) => isKept)) return result;
  return {
    ...result,
    [member]: items.filter((_, i) => keep[i]),
    // What one agent may see is not for a cache that others share.
    ...(result['cacheScope'] === undefined ? {} : { cacheScope: 'private' }),
  };
}

/** The message with what is kept: its own bytes where that is everything. Errors: malformed. */
export function filteredBytes(message: ResultMessage, method: string, keep: readonly boolean[]): Uint8Array {
  const { result } = message;
  if (!isObject(result)) throw unclear(method, 'it is no object');
  if (filteredResult(method, result, keep) === result) return message.bytes;
  return withChangedResult(message, (spelt) => filteredResult(method, spelt as JsonObject, keep));
}

const unclear = (method: string, why: string): MeshError =>
  new MeshError('malformed', `Cannot show the result of "${method}": ${why}`);
