/** How each client writes down a server: what it starts or calls, and what has to change to put the proxy in between. */
import { isOwnHeader } from '../../protocol/mcp/index.ts';
import { isObject, isSame, isText, isTextList, isTextRecord, type Json, type JsonObject } from './json-value.ts';
import { readWrapped, rewrap, type Target, wrap, type Wrapped, type WrapOptions } from './wrapper.ts';

export interface Shape {
  /** command + args; Zed also command: {path, args}; OpenCode command: [program, ...args]. */
  readonly command: 'plain' | 'list';
  readonly environment: string;
  /** Members that hold the address of a Streamable HTTP server. */
  readonly http: readonly string[];
  /** Members that hold the address of a server of the older HTTP+SSE transport, unless `type` is "http". */
  readonly sse: readonly string[];
  /** What `type` becomes when a server with an address becomes a command; null: there is no such member then. */
  readonly stdioType: string | null;
  /** Whether `type` must be there. */
  readonly needsType: boolean;
  /** Codex: headers in three members, and variables are passed on only where they are named. */
  readonly isCodex: boolean;
}

const STANDARD: Shape = {
  command: 'plain',
  environment: 'env',
  http: ['url'],
  sse: [],
  stdioType: null,
  needsType: false,
  isCodex: false,
};

export const SHAPES = {
  standard: STANDARD,
  /** Clients that know a `type` of "stdio". */
  typed: { ...STANDARD, stdioType: 'stdio' },
  vscode: { ...STANDARD, stdioType: 'stdio', needsType: true },
  copilot: { ...STANDARD, stdioType: 'local', needsType: true },
  stdioOnly: { ...STANDARD, http: [] },
  serverUrl: { ...STANDARD, http: ['serverUrl', 'url'] },
  gemini: { ...STANDARD, http: ['httpUrl'], sse: ['url'] },
  codex: { ...STANDARD, isCodex: true },
  opencode: { ...STANDARD, command: 'list', environment: 'environment', stdioType: 'local', needsType: true },
} as const satisfies Readonly<Record<string, Shape>>;

export type Transport = 'stdio' | 'http' | 'sse' | 'other';

/** One server, as its client has it. */
export type Server =
  | { readonly kind: 'stdio'; readonly words: readonly string[]; readonly wrapped: Wrapped | undefined }
  | { readonly kind: 'url'; readonly url: string; readonly key: string }
  /** It cannot be put behind the proxy. */
  | { readonly kind: 'left'; readonly transport: Transport; readonly why: string };

const left = (transport: Transport, why: string): Server => ({ kind: 'left', transport, why });

const SSE_TYPES = /^sse$/i;
const HTTP_TYPES = /^(?:http|streamable-?http|remote)$/i;
/** What a client can do and the proxy cannot: get headers from a program, or sign in. */
const SIGN_IN = ['oauth', 'auth', 'headersHelper', 'authProviderType', 'oauth_resource', 'scopes'];

export function readServer(shape: Shape, value: Json): Server {
  if (!isObject(value)) return left('other', 'it is not a table of settings');
  const words = wordsOf(shape, value);
  if (words !== undefined) return { kind: 'stdio', words, wrapped: readWrapped(words) };
  if (value['command'] !== undefined) return left('stdio', 'its "command" or "args" is not what this client starts');
  const type = isText(value['type']) ? value['type'] : undefined;
  if (type !== undefined && SSE_TYPES.test(type)) return left('sse', SSE_WHY);
  const key = addressKey(shape, value, type);
  if (key === undefined) {
    return shape.sse.some((each) => isText(value[each])) ? left('sse', SSE_WHY) : left('other', otherWhy(shape, value));
  }
  return addressed(shape, value, key, type);
}

const SSE_WHY = 'it speaks HTTP+SSE, which the proxy does not; ask its maker for Streamable HTTP';

function otherWhy(shape: Shape, value: JsonObject): string {
  if (value['url'] !== undefined) return 'this client starts local servers only';
  if (value['source'] === 'extension' || value['settings'] !== undefined) return 'an extension brings its command';
  return shape.http.length === 0 ? 'it names no command' : 'it names neither a command nor an address';
}

function addressKey({ http, sse }: Shape, value: JsonObject, type: string | undefined): string | undefined {
  const isHttp = type !== undefined && HTTP_TYPES.test(type);
  return [...http, ...(isHttp ? sse : [])].find((each) => isText(value[each]));
}

function addressed(shape: Shape, value: JsonObject, key: string, type: string | undefined): Server {
  const url = value[key];
  if (!isText(url) || !/^(?:https?:\/\/|\$)/i.test(url))
    return left('other', 'its address is not one of http or https');
  if (/^[^/]*\/\/[^/?#]*@/.test(url))
    return left('http', 'its address holds a password; give that as a header instead');
  if (type === undefined && /\/sse\/?(?:[?#]|$)/i.test(url)) return left('sse', SSE_WHY);
  const signIn = SIGN_IN.find((each) => value[each] !== undefined && value[each] !== false);
  if (signIn !== undefined)
    return left('http', `the client signs in by itself ("${signIn}"), which the proxy does not`);
  const bad = [...headerKeys(shape), shape.environment].find(
    (each) => value[each] !== undefined && !isTextRecord(value[each]),
  );
  if (bad !== undefined) return left('http', `its "${bad}" is not a table of texts`);
  const unsent = headerKeys(shape)
    .flatMap((each) => Object.keys(recordAt(value, each)))
    .find((header) => isOwnHeader(header) && !SPARE_HEADERS.test(header));
  if (unsent !== undefined) return left('http', `the proxy does not send its header "${unsent}"`);
  return { kind: 'url', url, key };
}

/** Set by every client of MCP, so that nothing is lost without them. */
const SPARE_HEADERS =
  /^(?:accept|accept-encoding|connection|keep-alive|content-(?:type|length)|mcp-(?:protocol-version|session-id|method|name))$/i;

const headerKeys = ({ isCodex }: Shape): readonly string[] =>
  isCodex ? ['http_headers', 'env_http_headers'] : ['headers'];

/** Command and arguments, where there is a command that this client would start. */
function wordsOf({ command }: Shape, value: JsonObject): readonly string[] | undefined {
  const program = value['command'];
  if (command === 'list') return isTextList(program) && program.length > 0 ? program : undefined;
  if (isObject(program)) {
    const { path, args = [] } = program;
    return isText(path) && path !== '' && isTextList(args) ? [path, ...args] : undefined;
  }
  const args = value['args'] ?? [];
  return isText(program) && program !== '' && isTextList(args) ? [program, ...args] : undefined;
}

/** One member of a server set or removed. */
export interface Change {
  /** Members from the server on. */
  readonly at: readonly string[];
  /** Undefined: it goes. */
  readonly value: Json | undefined;
  /** Put in the place of this member of the same table, else after `after`, else at the end. */
  readonly inPlaceOf?: string;
  readonly after?: string;
}

/** What to change so that the server is started through the proxy; nothing where it is already as wanted. */
export function changesOf(
  shape: Shape,
  name: string,
  value: Json,
  server: Exclude<Server, { kind: 'left' }>,
  options: WrapOptions,
): readonly Change[] {
  if (!isObject(value)) return [];
  if (server.kind === 'url') return urlChanges(shape, name, value, server, options);
  const { words, wrapped } = server;
  const [command = '', ...args] = words;
  if (wrapped !== undefined && !wrapped.isOurs) return [];
  const wanted =
    wrapped === undefined ? wrap(name, { kind: 'stdio', command, args }, options) : rewrap(wrapped, options);
  return isSame(wanted, words) ? [] : commandChanges(shape, value, wanted);
}

function commandChanges(shape: Shape, value: JsonObject, words: readonly string[], inPlaceOf?: string): Change[] {
  const place = inPlaceOf === undefined ? {} : { inPlaceOf };
  if (shape.command === 'list') return [{ at: ['command'], value: words, ...place }];
  const [command = '', ...args] = words;
  const [key, at] = isObject(value['command']) ? ['path', ['command']] : ['command', []];
  return [
    { at: [...at, key], value: command, ...place },
    { at: [...at, 'args'], value: args, after: key },
  ];
}

function urlChanges(
  shape: Shape,
  name: string,
  value: JsonObject,
  { url, key }: { readonly url: string; readonly key: string },
  options: WrapOptions,
): Change[] {
  const environment = recordAt(value, shape.environment);
  const { headers, variables, forwarded } = headersOf(shape, value, environment);
  const target: Target = { kind: 'url', url, headers };
  const given = Object.keys(variables).length > 0;
  const moved = headerKeys(shape)[0] ?? '';
  const stale = [...headerKeys(shape), 'bearer_token_env_var'].filter((each) => value[each] !== undefined);
  const hasEnvironment = value[shape.environment] !== undefined;
  const inPlace = given && !hasEnvironment && value[moved] !== undefined;
  return [
    ...commandChanges(shape, value, wrap(name, target, options), key),
    ...(given
      ? [
          {
            at: [shape.environment],
            value: { ...environment, ...variables },
            ...(inPlace ? { inPlaceOf: moved } : { after: shape.command === 'list' ? 'command' : 'args' }),
          },
        ]
      : []),
    ...(forwarded.length === 0 ? [] : [{ at: ['env_vars'], value: forwarded, after: 'args' }]),
    ...stale.filter((each) => !(inPlace && each === moved)).map((each) => ({ at: [each], value: undefined })),
    ...typeChanges(shape, value),
  ];
}

function typeChanges({ stdioType, needsType }: Shape, value: JsonObject): Change[] {
  if (stdioType === null) return value['type'] === undefined ? [] : [{ at: ['type'], value: undefined }];
  return value['type'] === undefined && !needsType ? [] : [{ at: ['type'], value: stdioType }];
}

interface Headers {
  readonly headers: [header: string, variable: string][];
  /** To be set in the environment of the proxy. */
  readonly variables: Readonly<Record<string, string>>;
  /** Variables of the client's own environment that the proxy needs. */
  readonly forwarded: readonly string[];
}

function headersOf(shape: Shape, value: JsonObject, environment: Readonly<Record<string, string>>): Headers {
  const headers: [string, string][] = [];
  const variables: Record<string, string> = {};
  for (const [header, text] of Object.entries(recordAt(value, headerKeys(shape)[0] ?? ''))) {
    if (isOwnHeader(header)) continue;
    const variable = variableOf(header, { ...environment, ...variables });
    variables[variable] = text;
    headers.push([header, variable]);
  }
  if (!shape.isCodex) return { headers, variables, forwarded: [] };
  const bearer = value['bearer_token_env_var'];
  const named = [
    ...Object.entries(recordAt(value, 'env_http_headers')).filter(([header]) => !isOwnHeader(header)),
    // The token alone: the proxy says "Bearer" before what names no scheme.
    ...(isText(bearer) ? [['Authorization', bearer] as [string, string]] : []),
  ];
  return { headers: [...headers, ...named], variables, forwarded: [...new Set(named.map(([, variable]) => variable))] };
}

const recordAt = (value: JsonObject, key: string): Readonly<Record<string, string>> => {
  const found = value[key];
  return isTextRecord(found) ? found : {};
};

/** "AGENTMESH_HEADER_X_API_KEY", or one with a number where that is taken. */
function variableOf(header: string, taken: Readonly<Record<string, string>>): string {
  const plain = `AGENTMESH_HEADER_${header.toUpperCase().replaceAll(/[^A-Z0-9]/g, '_')}`;
  let name = plain;
  for (let i = 2; Object.hasOwn(taken, name); i += 1) name = `${plain}_${i}`;
  return name;
}
