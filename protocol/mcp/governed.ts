/** What a message asks for, as a policy judges it (SPEC "MCP as governed"). */
import type { Json, JsonObject } from '../encoding/jcs.ts';
import { isMeshError, MeshError } from '../errors.ts';
import { MCP_NAME_TEXT_MAX, MCP_SUBSCRIPTIONS_MAX, PATH_TEXT_MAX, PATHS_MAX, URI_TEXT_MAX } from '../limits.ts';
import type { GateRequest } from '../policy/gate.ts';
import { canonicalName } from '../policy/names.ts';
import { metaOf } from './era.ts';
import { exactOf, isObject, type Message, type Refusal, RPC_CODES, type Sender } from './messages.ts';
import { hasVariant } from './names.ts';
import { decodedOften, hasDots, lexicalForms, type Paths, pathTexts } from './paths.ts';

export interface GovernedContext {
  /** The server, as policies name it. */
  readonly server: string;
  readonly paths: Paths;
}

/**
 * Undefined for results and errors: they belong to what was decided. Errors: malformed, too_large, with a Refusal in
 * their data: what cannot be judged is not sent on.
 */
export function governedOf(message: Message, from: Sender, context: GovernedContext): GateRequest | undefined {
  if (message.kind === 'result' || message.kind === 'error') return undefined;
  const judge = (from === 'client' ? CLIENT : SERVER).get(message.method);
  // A notification named as a request asks for no answer; a lax server may act on it all the same.
  try {
    const request = judge?.(isObject(message.params) ? message.params : {}, context) ?? {
      action: 'mcp_request',
      mcp: { method: message.method },
    };
    const exact = exactOf(message);
    const trace = traceOf(message);
    return { ...request, ...(exact === undefined ? {} : { exact }), ...(trace === undefined ? {} : { trace }) };
  } catch (error) {
    throw refusedAs(message, error);
  }
}

/**
 * What a message asks for beside what it is: `subscriptions/listen` (2026-07-28) names many resources, each of which is
 * judged as `resources/subscribe` was. Errors: as of `governedOf`.
 */
export function subscribedOf(message: Message, from: Sender, { paths }: GovernedContext): readonly GateRequest[] {
  if (from !== 'client' || message.kind === 'result' || message.kind === 'error') return [];
  if (message.method !== 'subscriptions/listen' || !isObject(message.params)) return [];
  try {
    return urisOf(message.params).map((uri) => ({ action: 'resource_read', resource: resourceOf(uri, paths) }));
  } catch (error) {
    throw refusedAs(message, error);
  }
}

function urisOf({ notifications }: JsonObject): readonly string[] {
  if (notifications === undefined || notifications === null) return [];
  if (!isObject(notifications) || hasVariant(notifications, 'resourceSubscriptions'))
    throw unclear('its member "notifications" says in no clear way what it subscribes to');
  const uris = notifications['resourceSubscriptions'];
  if (uris === undefined || uris === null) return [];
  if (!Array.isArray(uris)) throw unclear('its member "resourceSubscriptions" is no list');
  if (uris.length > MCP_SUBSCRIPTIONS_MAX)
    throw new MeshError('too_large', `Cannot judge the request: it subscribes to ${uris.length} resources`, {
      is: uris.length,
      want: MCP_SUBSCRIPTIONS_MAX,
    });
  return (uris as readonly Json[]).map((uri) => textOf({ uri }, 'uri', URI_TEXT_MAX));
}

function refusedAs(message: Message, error: unknown): unknown {
  if (!isMeshError(error)) return error;
  const refusal: Refusal = {
    rpcCode: RPC_CODES.invalidParams,
    rpcId: message.kind === 'request' ? message.id : null,
    kind: message.kind,
  };
  return new MeshError(error.code, error.message, { ...error.data, ...refusal }, { cause: error });
}

type Judge = (params: JsonObject, context: GovernedContext) => GateRequest;

const plain =
  (action: string): Judge =>
  () => ({ action });

const SERVER: ReadonlyMap<string, Judge> = new Map([
  ['sampling/createMessage', plain('sampling')],
  ['elicitation/create', plain('elicitation')],
  ['roots/list', plain('roots_list')],
]);

const CLIENT: ReadonlyMap<string, Judge> = new Map<string, Judge>([
  ['tools/call', toolCall],
  ['tools/list', plain('tools_list')],
  ['resources/read', resourceRead],
  ['resources/subscribe', resourceRead],
  ['resources/list', plain('resources_list')],
  ['resources/templates/list', plain('resources_list')],
  ['prompts/get', promptGet],
  ['prompts/list', plain('prompts_list')],
  ['completion/complete', completion],
]);

function toolCall(params: JsonObject, { server, paths }: GovernedContext): GateRequest {
  const name = textOf(params, 'name', MCP_NAME_TEXT_MAX);
  const args = argumentsOf(params);
  return {
    action: 'tool_call',
    tool: { name, server, ...(args === undefined ? {} : { arguments: args }), paths: pathsIn(args, paths) },
  };
}

function promptGet(params: JsonObject, { paths }: GovernedContext): GateRequest {
  const name = textOf(params, 'name', MCP_NAME_TEXT_MAX);
  const args = argumentsOf(params);
  return {
    action: 'prompt_get',
    prompt: { name, ...(args === undefined ? {} : { arguments: args }), paths: pathsIn(args, paths) },
  };
}

/** Every form of every path in them, for the context of a policy. Errors: too_large. */
export const pathsIn = (args: Json | undefined, paths: Paths): readonly string[] =>
  resolved(args === undefined ? [] : pathTexts(args), paths);

/** Of no path an empty list: what is missing counts against who asks. What no system call takes is left out. */
function resolved(texts: readonly string[], paths: Paths): readonly string[] {
  if (texts.length === 0) return [];
  const found = paths.canonicalPaths(texts).filter(({ length }) => length <= PATH_TEXT_MAX);
  if (found.length > PATHS_MAX) throw tooManyForms(found.length);
  return found;
}

const tooManyForms = (is: number): MeshError =>
  new MeshError('too_large', `Cannot judge the request: its paths have ${is} forms, want at most ${PATHS_MAX}`, {
    is,
    want: PATHS_MAX,
  });

function resourceRead(params: JsonObject, context: GovernedContext): GateRequest {
  return { action: 'resource_read', resource: resourceOf(textOf(params, 'uri', URI_TEXT_MAX), context.paths) };
}

/** What is completed is told what the prompt or template would be asked with. */
function completion(params: JsonObject, context: GovernedContext): GateRequest {
  const { ref, argument } = params;
  if (!isObject(ref) || ['type', 'name', 'uri'].some((word) => hasVariant(ref, word)))
    throw unclear('its member "ref" names no prompt and no resource');
  if (argument !== undefined && !isObject(argument)) throw unclear('its member "argument" is no object');
  const about = params['context'];
  const known = isObject(about) && isObject(about['arguments']) ? about['arguments'] : {};
  const name = argument?.['name'];
  const values = typeof name === 'string' ? { ...known, [name]: argument?.['value'] ?? null } : known;
  if (ref['type'] === 'ref/prompt') return promptGet({ name: ref['name'] ?? null, arguments: values }, context);
  if (ref['type'] === 'ref/resource')
    return { action: 'resource_read', resource: resourceOf(textOf(ref, 'uri', URI_TEXT_MAX), context.paths, values) };
  throw unclear('its member "ref" is of a type that is not known');
}

/** A text, and nothing that a server might make one of. */
function textOf(params: JsonObject, member: string, lettersMax: number): string {
  const value = params[member];
  if (typeof value !== 'string' || value === '') throw unclear(`its "${member}" is no text`);
  if (value.length > lettersMax) throw unclear(`its "${member}" has more than ${lettersMax} letters`);
  return value;
}

function argumentsOf(params: JsonObject): JsonObject | undefined {
  const value = params['arguments'];
  if (value === undefined) return undefined;
  if (!isObject(value)) throw unclear('its arguments are no object');
  verifyMembers(value);
  return value;
}

/** Go's encoding/json fills a field from a member of any case, the last one: a rule about `amount` would see another. */
function verifyMembers(value: Json): void {
  if (typeof value !== 'object' || value === null) return;
  if (!Array.isArray(value)) {
    const names = Object.keys(value);
    if (names.length > 1 && new Set(names.map(canonicalName)).size < names.length)
      throw unclear('its arguments have two members that some readers take for one');
  }
  for (const item of Object.values<Json>(value as JsonObject)) verifyMembers(item);
}

const unclear = (why: string): MeshError => new MeshError('malformed', `Cannot judge the request: ${why}`);

/** The URL standard takes tabs and line breaks out and trims the ends. */
const UNFIT = /\p{Cc}|^\s|\s$/u;
/** `url:file:///x`, of RFC 1738 and Java, is file:///x to who takes it at all. */
const WRAPPED = /^(?:url:)+/i;
const URI = /^([a-z][-+.a-z0-9]*):(\/\/[^/?#]*)?(.*)$/is;

/**
 * A resource by its URI: scheme and host in lower case, what need not be encoded decoded (RFC 3986 section 6.2.2), and
 * nothing that readers of URIs treat differently. Errors: malformed.
 */
export function resourceOf(uri: string, paths: Paths, values: JsonObject = {}): NonNullable<GateRequest['resource']> {
  if (UNFIT.test(uri)) throw unclear('its uri has control characters or space at an end');
  if (WRAPPED.test(uri)) return resourceOf(uri.replace(WRAPPED, ''), paths, values);
  const [, scheme = '', host = '', rest = uri] = URI.exec(uri) ?? [];
  const lower = scheme.toLowerCase();
  if (hasDotSegments(rest) || hasDotSegments(host)) throw unclear('its uri has a segment ".."');
  const normal = lower === '' ? uri : `${lower}:${host.toLowerCase()}${unreserved(rest)}`;
  const isPath = lower === 'file' || lower.length < 2; // of one letter: a drive of Windows
  const forms = new Set([...(isPath ? lexicalForms(uri) : []), ...pathTexts(values)]);
  return {
    uri: normal,
    ...(lower === '' ? {} : { scheme: lower }),
    paths: resolved([...forms], paths),
  };
}

const hasDotSegments = (text: string): boolean => hasDots(decodedOften(text));

const unreserved = (text: string): string =>
  text.replaceAll(/%([0-9a-f]{2})/gi, (whole, hex: string) => {
    const letter = String.fromCharCode(Number.parseInt(hex, 16));
    return /[-.\w~]/.test(letter) ? letter : whole.toUpperCase();
  });

/** W3C Trace Context: the trace id of `_meta.traceparent`. */
function traceOf(message: Message): string | undefined {
  const parent = metaOf(message)?.['traceparent'];
  return typeof parent === 'string'
    ? /^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}/.exec(parent)?.[1]
    : undefined;
}
