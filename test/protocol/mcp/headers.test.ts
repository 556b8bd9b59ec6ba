import { describe, expect, test } from 'vitest';
import type { Json } from '../../../protocol/index.ts';
import {
  type Message,
  META_PROTOCOL_VERSION,
  refusalAnswer,
  RPC_CODES,
  verifyHeaders,
} from '../../../protocol/mcp/index.ts';
import { jsonOf, meshErrorOf, read, request } from './sample.ts';

const META = { [META_PROTOCOL_VERSION]: '2026-07-28', 'io.modelcontextprotocol/clientCapabilities': {} };
const call = (name: string): Message => request('tools/call', { name, _meta: META });
const NEW = { 'mcp-protocol-version': '2026-07-28', 'mcp-method': 'tools/call', 'mcp-name': 'read_file' };

const verify = (message: Message, headers: Readonly<Record<string, string>>): void =>
  verifyHeaders(message, (name) => headers[name]);
const refused = (message: Message, headers: Readonly<Record<string, string>>): unknown =>
  jsonOf(refusalAnswer(meshErrorOf(() => verify(message, headers))));
const base64 = (text: string): string => `=?base64?${Buffer.from(text).toString('base64')}?=`;

describe('verifyHeaders()', () => {
  test('takes headers that say what the body says', () => {
    verify(call('read_file'), NEW);
    verify(call('read_file'), { ...NEW, 'mcp-name': ' \tread_file ' });
    verify(call('lösche'), { ...NEW, 'mcp-name': base64('lösche') });
    verify(request('tools/list', { _meta: META }), { ...NEW, 'mcp-method': 'tools/list', 'mcp-name': 'whatever' });
    verify(request('resources/read', { uri: 'file:///a', _meta: META }), {
      ...NEW,
      'mcp-method': 'resources/read',
      'mcp-name': 'file:///a',
    });
    verify(request('tasks/get', { taskId: 't', _meta: META }), { ...NEW, 'mcp-method': 'tasks/get', 'mcp-name': 't' });
  });

  test('asks nothing of older clients and of answers', () => {
    verify(request('tools/call', { name: 'a' }), {});
    verify(request('tools/call', { name: 'a' }), { 'mcp-protocol-version': '2025-11-25' });
    verify(request('initialize', { protocolVersion: '2025-11-25' }), {});
    verify(read('{"jsonrpc":"2.0","id":1,"result":{}}'), { 'mcp-method': 'x' });
    verify(read('{"jsonrpc":"2.0","method":"notifications/cancelled"}'), { 'mcp-protocol-version': '2026-07-28' });
  });

  test.each<[string, Message, Record<string, string>]>([
    ['another tool', call('delete_all'), NEW],
    ['another tool to an older server', request('tools/call', { name: 'delete_all' }), { 'mcp-name': 'read_file' }],
    ['the tool in another case', call('Read_File'), NEW],
    ['another tool in Base64', call('delete_all'), { ...NEW, 'mcp-name': base64('read_file') }],
    ['Base64 that is none', call('read_file'), { ...NEW, 'mcp-name': '=?base64?###?=' }],
    ['Base64 of no UTF-8', call('\ufffd'), { ...NEW, 'mcp-name': '=?base64?/w==?=' }],
    ['the name twice', call('read_file'), { ...NEW, 'mcp-name': 'read_file, read_file' }],
    [
      'another method',
      request('tools/call', { name: 'read_file', _meta: META }),
      { ...NEW, 'mcp-method': 'tools/list' },
    ],
    [
      'another method of a notification',
      read('{"jsonrpc":"2.0","method":"notifications/x"}'),
      { 'mcp-method': 'ping' },
    ],
    ['another revision', call('read_file'), { ...NEW, 'mcp-protocol-version': '2025-11-25' }],
    ['initialize under the new revision', request('initialize', {}), { 'mcp-protocol-version': '2026-07-28' }],
    ['no revision', call('read_file'), { 'mcp-method': 'tools/call', 'mcp-name': 'read_file' }],
    ['no method', call('read_file'), { 'mcp-protocol-version': '2026-07-28', 'mcp-name': 'read_file' }],
    ['no name', call('read_file'), { 'mcp-protocol-version': '2026-07-28', 'mcp-method': 'tools/call' }],
  ])('refuses %s with -32020', (_, message, headers) => {
    const error = meshErrorOf(() => verify(message, headers));
    expect(error.data).toMatchObject({ rpcCode: RPC_CODES.headerMismatch });
  });

  test('answers with the id of the request', () => {
    expect(refused(call('delete_all'), NEW)).toMatchObject({ id: 1, error: { code: -32020 } });
  });

  test.each<[string, Json]>([
    ['without _meta', { name: 'read_file' }],
    ['with a revision that is no text', { name: 'read_file', _meta: { [META_PROTOCOL_VERSION]: 2026 } }],
  ])('refuses a body %s under headers of the new revision with -32602', (_, params) => {
    expect(refused(request('tools/call', params), NEW)).toMatchObject({ error: { code: RPC_CODES.invalidParams } });
  });
});
