/** The fields of a PolicyContext, as conditions see them: types, errors and SPEC's table come from here. */
import type { PolicyContext } from '../context.ts';

/**
 * `name`: a text that compares canonically (`canonicalName`). `path`: a text that `under` reads. `dyn`: whatever JSON the
 * caller has there, looked at when the condition is evaluated. `object`: has members that are fields of their own.
 */
export type Type =
  | 'boolean'
  | 'number'
  | 'text'
  | 'name'
  | 'path'
  | 'null'
  | 'dyn'
  | 'object'
  | 'map<text>'
  | 'map<dyn>'
  | ListType;
export type ListType = `list<${ElementType}>`;
export type ElementType = 'boolean' | 'number' | 'text' | 'name' | 'path' | 'null' | 'dyn';

export interface Field {
  readonly type: Type;
  /** Undefined: missing. One function a field: each sees objects of one shape, which is what makes it fast. */
  readonly read: (context: PolicyContext) => unknown;
  readonly says: string;
}

export const FIELDS = {
  action: { type: 'object', read: (c) => c.action, says: 'what is to be done' },
  'action.type': { type: 'name', read: (c) => c.action.type, says: 'as `tool_call`, or a word of the caller' },
  tool: { type: 'object', read: (c) => c.tool, says: 'of a tool call' },
  'tool.name': { type: 'name', read: (c) => c.tool?.name, says: 'as its server calls it' },
  'tool.server': { type: 'name', read: (c) => c.tool?.server, says: 'as whoever configured the server calls it' },
  'tool.arguments': { type: 'map<dyn>', read: (c) => c.tool?.arguments, says: 'the arguments, as they are' },
  'tool.paths': {
    type: 'list<path>',
    read: (c) => c.tool?.paths,
    says: 'every form of every path in the arguments, absolute: decoded, resolved, links followed',
  },
  resource: { type: 'object', read: (c) => c.resource, says: 'of a resource' },
  'resource.uri': { type: 'text', read: (c) => c.resource?.uri, says: 'the URI' },
  'resource.scheme': { type: 'name', read: (c) => c.resource?.scheme, says: 'its scheme, as `file`' },
  'resource.paths': { type: 'list<path>', read: (c) => c.resource?.paths, says: 'as `tool.paths`' },
  prompt: { type: 'object', read: (c) => c.prompt, says: 'of a prompt' },
  'prompt.name': { type: 'name', read: (c) => c.prompt?.name, says: 'as its server calls it' },
  'prompt.arguments': { type: 'map<dyn>', read: (c) => c.prompt?.arguments, says: 'the arguments, as they are' },
  'prompt.paths': { type: 'list<path>', read: (c) => c.prompt?.paths, says: 'as `tool.paths`' },
  mcp: { type: 'object', read: (c) => c.mcp, says: 'of an MCP message of another kind' },
  'mcp.method': { type: 'name', read: (c) => c.mcp?.method, says: 'its method' },
  agent: { type: 'object', read: (c) => c.agent, says: 'who wants to do it' },
  'agent.did': { type: 'text', read: (c) => c.agent.did, says: 'DID' },
  'agent.name': { type: 'name', read: (c) => c.agent.name, says: 'its name on this daemon' },
  'agent.organisation': { type: 'text', read: (c) => c.agent.organisation, says: 'DID of its organisation' },
  principal: { type: 'object', read: (c) => c.principal, says: 'the person who answers for the agent' },
  'principal.did': { type: 'text', read: (c) => c.principal?.did, says: 'DID' },
  peer: { type: 'object', read: (c) => c.peer, says: 'the agent at the other end' },
  'peer.did': { type: 'text', read: (c) => c.peer?.did, says: 'DID' },
  'peer.organisation': { type: 'text', read: (c) => c.peer?.organisation, says: 'DID of its organisation' },
  trust: { type: 'object', read: (c) => c.trust, says: 'of the peer' },
  'trust.score': { type: 'number', read: (c) => c.trust?.score, says: "0 to 1000, in this daemon's view" },
  delegation: { type: 'object', read: (c) => c.delegation, says: 'what the agent was given' },
  'delegation.leaf': { type: 'text', read: (c) => c.delegation?.leaf, says: 'id of the last link' },
  'delegation.depth': { type: 'number', read: (c) => c.delegation?.depth, says: 'links before the last' },
  'delegation.capabilities': {
    type: 'list<text>',
    read: (c) => c.delegation?.capabilities,
    says: 'as `read:reports/q3`',
  },
  'delegation.audience': { type: 'text', read: (c) => c.delegation?.audience, says: 'DID that the last link is for' },
  data: { type: 'object', read: (c) => c.data, says: 'what was found in arguments and resource' },
  'data.labels': { type: 'list<text>', read: (c) => c.data?.labels, says: 'as `pii.email`, `secret.aws_key`' },
  'data.contains_pii': { type: 'boolean', read: (c) => c.data?.contains_pii, says: 'personal data' },
  'data.contains_phi': { type: 'boolean', read: (c) => c.data?.contains_phi, says: 'health data' },
  'data.contains_card': { type: 'boolean', read: (c) => c.data?.contains_card, says: 'the number of a payment card' },
  'data.contains_secret': { type: 'boolean', read: (c) => c.data?.contains_secret, says: 'a key, token or password' },
  'data.bytes': { type: 'number', read: (c) => c.data?.bytes, says: 'length of the arguments as JSON' },
  time: { type: 'object', read: (c) => c.time, says: 'when it is asked for, in UTC' },
  'time.iso': { type: 'text', read: (c) => c.time.iso, says: 'RFC 3339' },
  'time.unix': { type: 'number', read: (c) => c.time.unix, says: 'seconds since 1970' },
  'time.hour': { type: 'number', read: (c) => c.time.hour, says: '0 to 23' },
  'time.weekday': { type: 'number', read: (c) => c.time.weekday, says: '1 Monday to 7 Sunday' },
  environment: {
    type: 'map<text>',
    read: (c) => c.environment,
    says: 'what the configuration says of where it runs, as `environment.name`',
  },
  facts: { type: 'map<dyn>', read: (c) => c.facts, says: "a caller's own facts" },
} as const satisfies Readonly<Record<string, Field>>;

export type FieldName = keyof typeof FIELDS;

export const isField = (name: string): name is FieldName => Object.hasOwn(FIELDS, name);
/** First words of all fields; variables of macros may not be called like them. */
export const ROOTS: ReadonlySet<string> = new Set(Object.keys(FIELDS).map((name) => name.split('.')[0] ?? name));

export const isText = (type: Type): boolean => type === 'text' || type === 'name' || type === 'path';
export const isList = (type: Type): type is ListType => type.startsWith('list<');
export const elementOf = (type: ListType): ElementType => type.slice('list<'.length, -1) as ElementType;
