/**
 * What a chain must grant for something that a client asks of an exposed server (SPEC "Serving calls").
 *
 *   tool        mcp:NAME/TOOL, or what the exposure names for it
 *   resource    mcp:NAME/~resources        within its `res`, where it has one
 *   prompt      mcp:NAME/~prompts/PROMPT
 *   the rest    mcp:NAME/~methods/METHOD
 *
 * Letters that a segment of a capability cannot have are written "~" and two hex digits a byte; "~" itself too, so that
 * no two names make one segment and no tool is taken for "~resources".
 */
import { type Capability, isCovered, isResourceWithin } from '../delegation/capability.ts';
import { MeshError } from '../errors.ts';
import { SEGMENT_TEXT_MAX } from '../limits.ts';
import type { GateRequest } from '../policy/gate.ts';
import { canonicalName } from '../policy/names.ts';

/** An exposed server, as far as it says what is needed. */
export interface ServerNeeds {
  readonly name: string;
  /** Needed for every tool that `needs` does not name; null: what follows from the tool's name. */
  readonly capability: string | null;
  /** By tool. */
  readonly needs: Readonly<Record<string, string>>;
}

export interface Need {
  readonly can: string;
  /** What it reads, where it is a resource. */
  readonly uri?: string;
  /** Every form of every path in it. */
  readonly paths: readonly string[];
}

const HOUSEKEEPING: ReadonlySet<string> = new Set([
  'initialize',
  'ping',
  'server/discover',
  'tools/list',
  'resources/list',
  'resources/templates/list',
  'prompts/list',
  'logging/setLevel',
  'completion/complete',
  'subscriptions/listen',
  'resources/subscribe',
  'resources/unsubscribe',
]);

/** Whether a request of this method has an order, a number and a receipt. What is not known may do anything. */
export const isCall = (method: string): boolean => !HOUSEKEEPING.has(method);

/** Undefined: lists, which are cut to what is covered, and what a server asks. Errors: not_covered: nothing can be granted for it. */
export function needOf(request: GateRequest, server: ServerNeeds): Need | undefined {
  const { action, tool, resource, prompt, mcp } = request;
  const all = `mcp:${server.name}`;
  if (action === 'tool_call' && tool !== undefined)
    return { can: toolNeed(tool.name, server), paths: tool.paths ?? [] };
  if (action === 'resource_read' && resource !== undefined)
    return { can: `${all}/~resources`, uri: resource.uri, paths: resource.paths ?? [] };
  if (action === 'prompt_get' && prompt !== undefined)
    return { can: `${all}/~prompts/${segmentOf(prompt.name)}`, paths: prompt.paths ?? [] };
  if (action === 'mcp_request' && mcp !== undefined && isCall(mcp.method))
    return { can: `${all}/~methods/${segmentOf(mcp.method)}`, paths: [] };
  return undefined;
}

/** A lax server may take other letters for the name of a tool: whatever policies compare as equal needs the same. */
function toolNeed(tool: string, { name, capability, needs }: ServerNeeds): string {
  if (Object.hasOwn(needs, tool)) return needs[tool] ?? '';
  const canonical = canonicalName(tool);
  const alike = Object.entries(needs).find(([named]) => canonicalName(named) === canonical);
  return alike?.[1] ?? capability ?? `mcp:${name}/${segmentOf(tool)}`;
}

const encoder = new TextEncoder();

/** Errors: not_covered. */
export function segmentOf(name: string): string {
  const segment = [...encoder.encode(name)]
    .map(letterOf)
    .join('')
    .replace(/^\.{1,2}$/, (dots) => '~2e'.repeat(dots.length));
  if (segment !== '' && segment.length <= SEGMENT_TEXT_MAX && name.isWellFormed()) return segment;
  const why = segment === '' ? 'it is empty' : `it is longer than ${SEGMENT_TEXT_MAX} letters as a segment, or no text`;
  throw new MeshError('not_covered', `Cannot say what "${name.slice(0, SEGMENT_TEXT_MAX)}" needs: ${why}`, {
    field: 'can',
  });
}

function letterOf(byte: number): string {
  const letter = String.fromCharCode(byte);
  return /[A-Za-z0-9._@-]/.test(letter) ? letter : `~${byte.toString(16).padStart(2, '0')}`;
}

/** That one of the capabilities is enough for it. Errors: caps_insufficient. */
export function verifyCovered(need: Need, granted: readonly Capability[]): void {
  const named = granted.filter(({ can }) => isCovered(need.can, can));
  if (named.some((capability) => isWithin(need, capability))) return;
  const data = { field: named.length === 0 ? 'can' : 'res', want: need.can };
  const what = named.length === 0 ? 'is not granted' : `is granted for other resources than those that it names`;
  throw new MeshError('caps_insufficient', `Cannot go ahead: "${need.can}" ${what}`, data);
}

/** Whether it may be covered with some arguments, for lists. Of a resource its name is known already. */
export const isPossiblyCovered = (need: Need, granted: readonly Capability[]): boolean =>
  granted.some(
    (capability) => isCovered(need.can, capability.can) && (need.uri === undefined || isWithin(need, capability)),
  );

/** Whether somebody with these could ask anything of the server: others are not told of it. */
export function coversSome({ name, capability, needs }: ServerNeeds, granted: readonly Capability[]): boolean {
  const all = `mcp:${name}`;
  const named = [...Object.values(needs), ...(capability === null ? [] : [capability])];
  const beside = [`${all}/~resources`, `${all}/~prompts/*`, `${all}/~methods/*`]; // tools need what is named
  const parts = capability === null ? [`${all}/*`] : beside;
  return granted.some(
    ({ can }) =>
      named.some((need) => isCovered(need, can)) || parts.some((part) => isCovered(part, can) || isCovered(can, part)),
  );
}

/** Where resources are named, what names none of them is about all of them. */
function isWithin({ uri, paths }: Need, { res }: Capability): boolean {
  if (res === undefined) return true;
  const isNamed = uri !== undefined && !isFile(uri) ? res.some((one) => isResourceWithin(uri, one)) : paths.length > 0;
  return isNamed && paths.every((path) => res.some((one) => isPathWithin(path, one)));
}

/** By its path a file is told, which is the one after links; its URI says what it is called. */
const isFile = (uri: string): boolean => /^file:|^[^:]?:|^[^:]*$/i.test(uri);

/** Of a subtree the folder at its root is part. */
function isPathWithin(path: string, resource: string): boolean {
  const root = resource.replace(/^file:\/\//, '');
  if (!root.startsWith('/')) return false;
  return isResourceWithin(path, root) || (root.endsWith('/') && `${path}/` === root);
}
