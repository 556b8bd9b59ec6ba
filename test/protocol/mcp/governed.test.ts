import { describe, expect, test } from 'vitest';
import type { Json } from '../../../protocol/index.ts';
import { governedOf, refusalAnswer, RPC_CODES } from '../../../protocol/mcp/index.ts';
import { context, jsonOf, meshErrorOf, read, request } from './sample.ts';

const governed = (method: string, params?: Json): unknown => governedOf(request(method, params), 'client', context);
const refused = (method: string, params?: Json): unknown =>
  jsonOf(refusalAnswer(meshErrorOf(() => governed(method, params))));

describe('governedOf()', () => {
  test('judges a tool call by its name as it is, its arguments and its paths', () => {
    expect(governed('tools/call', { name: 'Read_File', arguments: { path: '/a', n: [1] } })).toEqual({
      action: 'tool_call',
      tool: { name: 'Read_File', server: 'files', arguments: { path: '/a', n: [1] }, paths: ['/a'] },
    });
  });

  test('says that there are no paths where there are none, since what is missing counts as forbidden', () => {
    expect(governed('tools/call', { name: 'a' })).toEqual({
      action: 'tool_call',
      tool: { name: 'a', server: 'files', paths: [] },
    });
    expect(governed('prompts/get', { name: 'a' })).toMatchObject({ prompt: { paths: [] } });
    expect(governed('resources/read', { uri: 'memo://x' })).toMatchObject({ resource: { paths: [] } });
  });

  test.each([
    ['tools/list', { action: 'tools_list' }],
    ['resources/list', { action: 'resources_list' }],
    ['resources/templates/list', { action: 'resources_list' }],
    ['prompts/list', { action: 'prompts_list' }],
    ['ping', { action: 'mcp_request', mcp: { method: 'ping' } }],
    ['logging/setLevel', { action: 'mcp_request', mcp: { method: 'logging/setLevel' } }],
    ['server/discover', { action: 'mcp_request', mcp: { method: 'server/discover' } }],
    ['subscriptions/listen', { action: 'mcp_request', mcp: { method: 'subscriptions/listen' } }],
    ['resources/unsubscribe', { action: 'mcp_request', mcp: { method: 'resources/unsubscribe' } }],
    ['tasks/get', { action: 'mcp_request', mcp: { method: 'tasks/get' } }],
    ['tasks/cancel', { action: 'mcp_request', mcp: { method: 'tasks/cancel' } }],
    ['acme/own', { action: 'mcp_request', mcp: { method: 'acme/own' } }],
    ['constructor', { action: 'mcp_request', mcp: { method: 'constructor' } }],
    ['sampling/createMessage', { action: 'mcp_request', mcp: { method: 'sampling/createMessage' } }],
  ])('takes a client\'s "%s" for what it is', (method, wanted) => {
    expect(governed(method, {})).toEqual(wanted);
  });

  test.each([
    ['sampling/createMessage', { action: 'sampling' }],
    ['elicitation/create', { action: 'elicitation' }],
    ['roots/list', { action: 'roots_list' }],
    ['ping', { action: 'mcp_request', mcp: { method: 'ping' } }],
    ['tools/call', { action: 'mcp_request', mcp: { method: 'tools/call' } }],
  ])('takes a server\'s "%s" for what it is', (method, wanted) => {
    expect(governedOf(request(method, {}), 'server', context)).toEqual(wanted);
  });

  test('judges a tool call without an id too, on which a lax server acts', () => {
    const message = read('{"jsonrpc":"2.0","method":"tools/call","params":{"name":"delete_all"}}');
    expect(governedOf(message, 'client', context)).toMatchObject({ action: 'tool_call', tool: { name: 'delete_all' } });
  });

  test('judges no answers', () => {
    expect(governedOf(read('{"jsonrpc":"2.0","id":1,"result":{}}'), 'client', context)).toBeUndefined();
    expect(governedOf(read('{"jsonrpc":"2.0","id":1,"error":{}}'), 'client', context)).toBeUndefined();
  });

  test.each<[string, string, Json | undefined]>([
    ['no params', 'tools/call', undefined],
    ['no name', 'tools/call', {}],
    ['an empty name', 'tools/call', { name: '' }],
    ['a name that is a list, which JavaScript joins', 'tools/call', { name: ['delete_all'] }],
    ['a name that is an object', 'tools/call', { name: { toString: 'delete_all' } }],
    ['a name that is a number', 'tools/call', { name: 7 }],
    ['a null name', 'tools/call', { name: null }],
    ['a very long name', 'tools/call', { name: 'a'.repeat(257) }],
    ['arguments that are a list', 'tools/call', { name: 'a', arguments: ['/etc/passwd'] }],
    ['arguments that are a text of JSON', 'tools/call', { name: 'a', arguments: '{"path":"/etc/passwd"}' }],
    ['null arguments', 'tools/call', { name: 'a', arguments: null }],
    ['a path with a NUL', 'tools/call', { name: 'a', arguments: { path: '/a\0.txt' } }],
    [
      'more paths than can be looked at',
      'tools/call',
      { name: 'a', arguments: { x: Array.from({ length: 2_000 }, (_, i) => `/${i}`) } },
    ],
    ['a prompt without a name', 'prompts/get', { arguments: {} }],
    ['a resource without a uri', 'resources/read', { name: 'x' }],
    ['a uri that is no text', 'resources/read', { uri: ['file:///x'] }],
    ['a uri that leaves its directory', 'resources/read', { uri: 'docs://public/../private/x' }],
    ['an encoded uri that leaves it', 'resources/read', { uri: 'docs://public/%2e%2E%2fprivate/x' }],
    ['a uri encoded twice that leaves it', 'resources/subscribe', { uri: 'docs://public/%252e%252e/private/x' }],
    ['a uri with backslashes that leaves it', 'resources/read', { uri: 'docs://public/..\\private' }],
    ['a uri with full-width dots', 'resources/read', { uri: 'docs://public/\uff0e\uff0e/private' }],
    ['a uri with dots and a parameter', 'resources/read', { uri: 'docs://public/..;x/private' }],
    ['a uri that is dots where its host would be', 'resources/read', { uri: 'docs://../private' }],
    ['a uri with a line break', 'resources/read', { uri: 'fi\nle:///x' }],
    ['a uri with space before it', 'resources/read', { uri: ' file:///etc/passwd' }],
    ['a very long uri', 'resources/read', { uri: `docs://${'a'.repeat(8_192)}` }],
    ['a completion without a ref', 'completion/complete', { argument: { name: 'a', value: 'b' } }],
    ['a completion of an unknown kind', 'completion/complete', { ref: { type: 'ref/tool', name: 'a' } }],
    [
      'a completion whose ref has two spellings',
      'completion/complete',
      { ref: { type: 'ref/prompt', name: 'a', Name: 'b' } },
    ],
  ])('refuses %s with -32602', (_, method, params) => {
    expect(refused(method, params)).toMatchObject({ id: 1, error: { code: RPC_CODES.invalidParams } });
  });

  test.each([
    ['FILE:///etc/passwd', 'file', 'file:///etc/passwd'],
    ['file:/etc/passwd', 'file', 'file:/etc/passwd'],
    ['file://localhost/etc/passwd', 'file', 'file://localhost/etc/passwd'],
    ['file:///etc/%70asswd', 'file', 'file:///etc/passwd'],
    ['file:\\\\\\etc\\passwd', 'file', 'file:\\\\\\etc\\passwd'],
  ])('knows the path of %s', (uri, scheme, normal) => {
    const found = governed('resources/read', { uri }) as { resource: { paths: string[] } };
    expect(found).toMatchObject({ action: 'resource_read', resource: { uri: normal, scheme } });
    expect(found.resource.paths).toContain('/etc/passwd');
  });

  test('writes scheme and host small and decodes what needs no code', () => {
    expect(governed('resources/read', { uri: 'Docs://ACME.Example/%7Ea%2fB?Q=%41' })).toEqual({
      action: 'resource_read',
      resource: { uri: 'docs://acme.example/~a%2FB?Q=A', scheme: 'docs', paths: [] },
    });
    expect(governed('resources/read', { uri: 'notes/a' })).toMatchObject({
      resource: { uri: 'notes/a', paths: ['notes/a'] },
    });
    expect(governed('resources/read', { uri: 'git://repo/compare/main..feature' })).toMatchObject({
      action: 'resource_read',
    });
  });

  test('takes url:file: for file:', () => {
    expect(governed('resources/read', { uri: 'URL:url:FILE:///etc/passwd' })).toMatchObject({
      resource: { uri: 'file:///etc/passwd', scheme: 'file', paths: ['/etc/passwd'] },
    });
  });

  test.each([{ amount: 1, Amount: 2 }, { a: [{ path: '/a', 'path\u200b': '/b' }] }, { '\u017fize': 1, size: 2 }])(
    'refuses arguments that a reader who folds case reads otherwise: %j',
    (args) => {
      expect(() => governed('tools/call', { name: 'a', arguments: args })).toThrow(/some readers take for one/);
      expect(() => governed('prompts/get', { name: 'a', arguments: args })).toThrow(/some readers take for one/);
    },
  );

  test('takes one argument of each name in any case', () => {
    expect(governed('tools/call', { name: 'a', arguments: { Amount: 1, list: [{ A: 1 }, { a: 1 }] } })).toMatchObject({
      action: 'tool_call',
    });
  });

  test('judges a subscription as a reading', () => {
    expect(governed('resources/subscribe', { uri: 'file:///a' })).toMatchObject({
      action: 'resource_read',
      resource: { paths: ['/a'] },
    });
  });

  test('finds the paths that a prompt carries', () => {
    expect(governed('prompts/get', { name: 'summarise', arguments: { document: '/etc/passwd' } })).toEqual({
      action: 'prompt_get',
      prompt: { name: 'summarise', arguments: { document: '/etc/passwd' }, paths: ['/etc/passwd'] },
    });
  });

  test('judges a completion as what it completes', () => {
    const argument = { name: 'path', value: '/etc/pas' };
    expect(
      governed('completion/complete', {
        ref: { type: 'ref/prompt', name: 'p' },
        argument,
        context: { arguments: { a: '1' } },
      }),
    ).toEqual({
      action: 'prompt_get',
      prompt: { name: 'p', arguments: { a: '1', path: '/etc/pas' }, paths: ['/etc/pas'] },
    });
    expect(
      governed('completion/complete', { ref: { type: 'ref/resource', uri: 'file:///{path}' }, argument }),
    ).toMatchObject({
      action: 'resource_read',
      resource: { uri: 'file:///{path}', paths: ['/{path}', '/etc/pas'] },
    });
    expect(
      governed('completion/complete', { ref: { type: 'ref/resource', uri: 'docs://{path}' }, argument }),
    ).toMatchObject({
      resource: { paths: ['/etc/pas'] },
    });
  });

  test('takes an argument named __proto__ for an argument', () => {
    const found = governed('completion/complete', {
      ref: { type: 'ref/prompt', name: 'p' },
      argument: { name: '__proto__', value: '/x' },
    });
    expect(JSON.stringify(found)).toContain('"__proto__":"/x"');
  });

  test('is bound to the letters of numbers that parsing loses, and carries the trace', () => {
    const message = read(
      '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"pay","arguments":{"to":9007199254740993},' +
        '"_meta":{"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}}',
    );
    expect(governedOf(message, 'client', context)).toMatchObject({
      exact: expect.stringMatching(/^[0-9a-f]{64}$/) as string,
      trace: '0af7651916cd43dd8448eb211c80319c',
    });
    expect(governed('ping', { _meta: { traceparent: 7 } })).not.toHaveProperty('trace');
  });

  test('leaves out paths that no system call takes, and refuses more than a decision takes', () => {
    const long = { server: 's', paths: { canonicalPaths: () => ['/ok', `/${'a'.repeat(5_000)}`] } };
    const message = request('tools/call', { name: 'a', arguments: { path: 'x' } });
    expect(governedOf(message, 'client', long)).toMatchObject({ tool: { paths: ['/ok'] } });
    const many = { server: 's', paths: { canonicalPaths: () => Array.from({ length: 1_025 }, (_, i) => `/${i}`) } };
    expect(meshErrorOf(() => governedOf(message, 'client', many)).code).toBe('too_large');
  });
});
