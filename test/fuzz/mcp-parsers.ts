/** What an MCP client or server sends, and what of it is judged. Whatever passes must mean one thing to every reader. */
import { isDeepStrictEqual } from 'node:util';
import { type Json, type JsonObject, MeshError } from '../../protocol/index.ts';
import {
  definitionHash,
  diffDefinitions,
  exactOf,
  filteredBytes,
  type GovernedContext,
  governedOf,
  inputRequestsOf,
  isListing,
  lexicalForms,
  memberRequest,
  membersOf,
  type Message,
  parseMessage,
  type Sender,
  verifyHeaders,
  withResult,
} from '../../protocol/mcp/index.ts';
import type { FuzzedParser } from './parsers.ts';
import type { SeededRandom } from './random.ts';
import { JSON_TEXT } from './structure.ts';

const LIMITS = { bytesMax: 16 * 1024, depthMax: 32 };
const utf8 = new TextEncoder();
const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const lossy = new TextDecoder();
const context: GovernedContext = { server: 'files', paths: { canonicalPaths: (texts) => texts } };
const json = (...values: unknown[]): Uint8Array[] => values.map((value) => utf8.encode(JSON.stringify(value)));

const META = { progressToken: 1, 'io.modelcontextprotocol/protocolVersion': '2026-07-28' };
const rpc = (method: string, params?: object): object => ({ jsonrpc: '2.0', id: 1, method, params });
const REQUESTS = [
  rpc('initialize', { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'a', version: '1' } }),
  rpc('tools/call', {
    name: 'read_file',
    arguments: { path: '/a/../b', n: 1.5, deep: [{ uri: 'file:///%2e' }] },
    _meta: META,
  }),
  rpc('tools/call', {
    name: 'pay',
    arguments: { files: ['a', '{"path":"/x"}'] },
    requestState: 's',
    inputResponses: {},
  }),
  rpc('resources/read', { uri: 'file://localhost/a%20b?c#d' }),
  rpc('prompts/get', { name: 'p', arguments: { a: '~/b' } }),
  rpc('completion/complete', { ref: { type: 'ref/resource', uri: 'docs://{a}' }, argument: { name: 'a', value: 'b' } }),
  { jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 'x' } },
];
const ANSWERS = [
  { jsonrpc: '2.0', id: 'a', result: { content: [{ type: 'text', text: 'x' }], structuredContent: { n: 1.25 } } },
  { jsonrpc: '2.0', id: 1, result: { tools: [{ name: 'a', inputSchema: {} }, { name: 'b' }], cacheScope: 'public' } },
  { jsonrpc: '2.0', id: 1, result: { resultType: 'input_required', inputRequests: { a: { method: 'roots/list' } } } },
  { jsonrpc: '2.0', id: null, error: { code: -32700, message: 'm' } },
];
const TOOL = {
  name: 'a',
  description: 'Adds 1.',
  inputSchema: { type: 'object', properties: { a: { maximum: 0.5 } } },
  _meta: {},
};

/** What a lax reader makes of the bytes that are sent on must be what was judged. Throws what is no coded error. */
function verifyMeaning(message: Message): void {
  const text = strict.decode(message.bytes);
  if (/[\r\n]/.test(text)) throw new Error('several lines');
  const value = JSON.parse(text) as JsonObject;
  const names = Object.keys(value).map((name) => name.normalize('NFKC').toUpperCase().trim());
  if (new Set(names).size !== names.length) throw new Error('two members that some readers take for one');
  const parts = {
    method: undefined,
    params: undefined,
    result: undefined,
    error: undefined,
    id: undefined,
    ...message,
  };
  for (const name of ['method', 'result'] as const)
    if (!isDeepStrictEqual(value[name], parts[name])) throw new Error(`another ${name}`);
  const isCall = message.kind === 'request' || message.kind === 'notification';
  if (isCall && !isDeepStrictEqual(value['params'] ?? undefined, parts.params)) throw new Error('other params');
}

const readMessage = (bytes: Uint8Array, from: Sender): Message => {
  const message = parseMessage(bytes, from, LIMITS);
  if (message === undefined) throw new MeshError('malformed', 'a blank line');
  verifyMeaning(message);
  return message;
};

function judge(bytes: Uint8Array): void {
  const message = readMessage(bytes, 'client');
  exactOf(message);
  const request = governedOf(message, 'client', context);
  if (message.kind === 'request' && request === undefined) throw new Error('a request that nobody judges');
  if (request?.tool !== undefined && typeof request.tool.name !== 'string') throw new Error('a tool without a name');
}

function take(bytes: Uint8Array): void {
  const message = readMessage(bytes, 'server');
  if (message.kind !== 'result') return;
  if (
    !isDeepStrictEqual(
      JSON.parse(strict.decode(withResult(message, message.result))),
      JSON.parse(strict.decode(message.bytes)),
    )
  )
    throw new Error('written anew it means something else');
  inputRequestsOf(message.result);
  for (const method of ['tools/list', 'resources/list'].filter(isListing)) {
    const members = membersOf(method, message.result);
    for (const member of members) memberRequest(method, member, context);
    readMessage(
      filteredBytes(
        message,
        method,
        members.map((_, i) => i % 2 === 0),
      ),
      'server',
    );
  }
}

/** A name that some reader takes for one that decides. */
const spelling = (name: string, random: SeededRandom): string => {
  const at = random.below(name.length);
  const letter = name.charAt(at);
  const other = random.pick([
    letter.toUpperCase(),
    `${letter}\u200d`,
    letter.replace('s', '\u017f').replace('k', '\u212a'),
    letter,
  ]);
  return name.slice(0, at) + other + name.slice(at + 1);
};
/** A message with a member once more, in this or another spelling, before or after the first. */
function doubled(random: SeededRandom): Uint8Array {
  const text = JSON.stringify(random.pick([...REQUESTS, ...ANSWERS]));
  const name = random.pick(['method', 'params', 'id', 'result', 'name', 'arguments', 'uri', 'jsonrpc']);
  const more = `${JSON.stringify(spelling(name, random))}:${random.pick(['"tools/call"', '1', '{"name":"x"}', 'null', '1.0', '1e400'])}`;
  const braces = [...text.matchAll(/[{}]/g)].map(({ index }) => index);
  const at = random.pick(braces);
  const out =
    text.charAt(at) === '{'
      ? `${text.slice(0, at + 1)}${more},${text.slice(at + 1)}`
      : `${text.slice(0, at)},${more}${text.slice(at)}`;
  return utf8.encode(out);
}

const PIECES = [
  '/',
  '\\',
  '..',
  '.',
  '%2e',
  '%252f',
  '%c0%ae',
  'file:',
  '//',
  '?',
  '#',
  'C:',
  '|',
  '~',
  ' ',
  '\u2025',
  '\uff0f',
  ':',
  '::$DATA',
  'etc',
  '\u200b',
  '%',
  '%u002e',
  'localhost',
  '$HOME',
  'a',
  '%5c',
  '%20',
];
const path = (random: SeededRandom): Uint8Array =>
  utf8.encode(Array.from({ length: 1 + random.below(20) }, () => random.pick(PIECES)).join(''));

export const MCP_PARSERS: readonly FuzzedParser[] = [
  {
    name: 'MCP message of a client',
    start: () => judge,
    corpus: json(...REQUESTS),
    codes: ['malformed', 'too_large'],
    format: JSON_TEXT,
    bytesMax: LIMITS.bytesMax,
    make: doubled,
  },
  {
    name: 'MCP message of a server',
    start: () => take,
    corpus: json(...ANSWERS, ...REQUESTS),
    codes: ['malformed', 'too_large'],
    format: JSON_TEXT,
    bytesMax: LIMITS.bytesMax,
    make: doubled,
  },
  {
    name: 'text that may be a path',
    start: () => (bytes) => lexicalForms(lossy.decode(bytes)),
    corpus: ['/a/b', 'file:///a/%2e%2e/b', 'C:\\a\\..\\b', '~/a', '//server/share/a'].map((text) => utf8.encode(text)),
    codes: ['malformed', 'too_large'],
    make: path,
  },
  {
    name: 'definition of a tool',
    start: () => (bytes) => {
      const message = readMessage(utf8.encode(`{"jsonrpc":"2.0","id":1,"result":${lossy.decode(bytes)}}`), 'server');
      const tool: Json = message.kind === 'result' ? message.result : null;
      if (typeof tool !== 'object' || tool === null || Array.isArray(tool))
        throw new MeshError('malformed', 'no object');
      const isSame = definitionHash(tool as JsonObject) === definitionHash(TOOL);
      if (isSame !== (diffDefinitions(TOOL, tool as JsonObject) === '')) throw new Error('hash and diff disagree');
    },
    corpus: json(TOOL, { name: 'b' }),
    codes: ['malformed', 'too_large'],
    format: JSON_TEXT,
    bytesMax: LIMITS.bytesMax,
  },
  {
    name: 'headers of an MCP request',
    start: () => (bytes) => {
      const [name = '', method = '', version = ''] = lossy.decode(bytes).split('|');
      const headers: Readonly<Record<string, string>> = {
        'mcp-name': name,
        'mcp-method': method,
        'mcp-protocol-version': version,
      };
      const message = readMessage(json(rpc('tools/call', { name: 'read_file', _meta: META }))[0] ?? bytes, 'client');
      verifyHeaders(message, (each) => headers[each]);
      const decoded = name.trim().startsWith('=?base64?') ? 'read_file' : name.trim();
      if (decoded !== 'read_file' || method.trim() !== 'tools/call') throw new Error('headers that say something else');
    },
    corpus: ['read_file|tools/call|2026-07-28', '=?base64?cmVhZF9maWxl?=|tools/call|2026-07-28'].map((text) =>
      utf8.encode(text),
    ),
    codes: ['malformed'],
  },
];
