/** Headers that repeat what a body says, for whoever looks at headers only (MCP 2026-07-28, "Request Metadata"). */
import type { OutgoingHttpHeaders } from 'node:http';
import * as limits from '../../protocol/limits.ts';
import type { Message } from '../../protocol/mcp/index.ts';

/** Of each tool: which arguments go into which headers. */
export type ParamHeaders = ReadonlyMap<string, readonly ParamHeader[]>;

export interface ParamHeader {
  /** "mcp-param-region". */
  readonly header: string;
  readonly path: readonly string[];
}

const NAME_MEMBER: Readonly<Record<string, string>> = {
  'tools/call': 'name',
  'prompts/get': 'name',
  'resources/read': 'uri',
  'tasks/get': 'taskId',
  'tasks/update': 'taskId',
  'tasks/cancel': 'taskId',
};
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/; // RFC 9110, section 5.6.2
const DEPTH_MAX = 16; // of annotated arguments; conforming servers name one or two

/** What Mcp-Name repeats. */
export function nameOf(message: Message): string | undefined {
  if (message.kind !== 'request') return undefined;
  const member = NAME_MEMBER[message.method];
  const value = member === undefined ? undefined : memberOf(message.params, member);
  return typeof value === 'string' ? value : undefined;
}

/** "Value Encoding": what a header cannot hold, or what looks encoded already, as base64 of its UTF-8. */
export function encodeHeader(value: string): string {
  const isPlain = /^[!-~](?:[ -~\t]*[!-~])?$/.test(value) && !/^=\?base64\?.*\?=$/.test(value);
  return isPlain ? value : `=?base64?${Buffer.from(value, 'utf8').toString('base64')}?=`;
}

/** Looks for `x-mcp-header` where the result lists tools; what is said of other tools stays. */
export function readParamHeaders(result: unknown, known: ParamHeaders): ParamHeaders {
  const tools = memberOf(result, 'tools');
  if (!Array.isArray(tools)) return known;
  const all = new Map(known);
  for (const tool of tools) {
    const name = memberOf(tool, 'name');
    if (typeof name !== 'string' || (all.size >= limits.MCP_TOOLS_MAX && !all.has(name))) continue;
    const headers = declaredIn(memberOf(tool, 'inputSchema'), []);
    const isUnambiguous = new Set(headers.map(({ header }) => header)).size === headers.length;
    if (headers.length > 0 && isUnambiguous) all.set(name, headers);
    else all.delete(name);
  }
  return all;
}

function declaredIn(schema: unknown, path: readonly string[]): ParamHeader[] {
  const properties = memberOf(schema, 'properties');
  if (typeof properties !== 'object' || properties === null || path.length >= DEPTH_MAX) return [];
  return Object.entries(properties).flatMap(([name, property]) => {
    const declared = memberOf(property, 'x-mcp-header');
    const here = [...path, name];
    const own =
      typeof declared === 'string' && TOKEN.test(declared)
        ? [{ header: `mcp-param-${declared.toLowerCase()}`, path: here }]
        : [];
    return [...own, ...declaredIn(property, here)];
  });
}

/** Of a call to one of these tools. */
export function paramHeadersOf(message: Message, tools: ParamHeaders): OutgoingHttpHeaders {
  if (message.kind !== 'request' || message.method !== 'tools/call') return {};
  const declared = tools.get(nameOf(message) ?? '') ?? [];
  const args = memberOf(message.params, 'arguments');
  return Object.fromEntries(
    declared.flatMap(({ header, path }) => {
      const value = path.reduce<unknown>((from, name) => memberOf(from, name), args);
      const isMirrored = typeof value === 'string' || typeof value === 'boolean' || Number.isSafeInteger(value);
      return isMirrored ? [[header, encodeHeader(String(value))]] : [];
    }),
  );
}

/** What is wrong with the headers that repeat arguments; undefined: nothing. "Server Behavior for Custom Headers". */
export function paramFault(
  message: Message,
  tools: ParamHeaders,
  header: (name: string) => string | undefined,
): string | undefined {
  if (message.kind !== 'request' || message.method !== 'tools/call') return undefined;
  const declared = tools.get(nameOf(message) ?? '') ?? [];
  const args = memberOf(message.params, 'arguments');
  for (const { header: name, path } of declared) {
    const value = path.reduce<unknown>((from, part) => memberOf(from, part), args);
    const said = header(name);
    if (value === undefined || value === null) {
      if (said !== undefined) return `the header "${name}" repeats an argument that is not there`;
    } else if (said === undefined) return `the header "${name}" is missing`;
    else if (!isSame(decodeHeader(said), value)) return `the header "${name}" is not what the body says`;
  }
  return undefined;
}

/** Undefined: no text that could be meant. */
function decodeHeader(value: string): string | undefined {
  const encoded = /^=\?base64\?(.*)\?=$/.exec(value)?.[1];
  if (encoded === undefined) return value;
  const bytes = Buffer.from(encoded, 'base64');
  if (bytes.toString('base64') !== encoded) return undefined; // letters that base64 has not, or padding that it wants
  const text = bytes.toString('utf8');
  return Buffer.from(text, 'utf8').equals(bytes) ? text : undefined;
}

/** 42.0 and 42 are one number. */
const isSame = (said: string | undefined, value: unknown): boolean =>
  said !== undefined &&
  (typeof value === 'number' ? said.trim() !== '' && Number(said) === value : said === String(value));

function memberOf(value: unknown, name: string): unknown {
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined;
  return (value as Readonly<Record<string, unknown>>)[name];
}
