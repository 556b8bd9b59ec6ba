import { describe, expect, test } from 'vitest';
import { filteredBytes, filteredResult, isListing, memberRequest, membersOf } from '../../../protocol/mcp/index.ts';
import { context, jsonOf, meshErrorOf, resultOf, textOf } from './sample.ts';

const tools = [
  { name: 'read_file', inputSchema: { type: 'object', properties: { n: { maximum: 9007199254740992 } } } },
  { name: 'delete_file', inputSchema: { type: 'object' } },
];

describe('lists', () => {
  test('are those of tools, resources, templates and prompts', () => {
    expect(['tools/list', 'resources/list', 'resources/templates/list', 'prompts/list'].every(isListing)).toBe(true);
    expect(['tools/call', 'roots/list', 'tasks/list', 'constructor'].some(isListing)).toBe(false);
  });

  test('have members, and none where the list is missing', () => {
    expect(membersOf('tools/list', { tools })).toEqual(tools);
    expect(membersOf('prompts/list', {})).toEqual([]);
  });

  test.each([
    ['no object', []],
    ['no list', { tools: { a: 1 } }],
    ['a second list in other letters, which a lax client would show', { tools: [], Tools: tools }],
    ['only a list in other letters', { TOOLS: tools }],
  ])('are refused where there is %s', (_, result) => {
    expect(meshErrorOf(() => membersOf('tools/list', result)).code).toBe('malformed');
  });

  test('are judged by what using a member would ask', () => {
    expect(memberRequest('tools/list', tools[0] ?? null, context)).toEqual({
      action: 'tool_call',
      tool: { name: 'read_file', server: 'files' },
    });
    expect(memberRequest('prompts/list', { name: 'p' }, context)).toEqual({
      action: 'prompt_get',
      prompt: { name: 'p' },
    });
    expect(memberRequest('resources/list', { uri: 'FILE:///a', name: 'a' }, context)).toEqual({
      action: 'resource_read',
      resource: { uri: 'file:///a', scheme: 'file', paths: ['/a'] },
    });
    expect(memberRequest('resources/templates/list', { uriTemplate: 'docs://{id}' }, context)).toMatchObject({
      resource: { uri: 'docs://{id}' },
    });
  });

  test.each([
    ['tools/list', 'x'],
    ['tools/list', {}],
    ['tools/list', { name: ['a'] }],
    ['tools/list', { name: 'read_file', Name: 'delete_file' }],
    ['resources/list', { uri: 'docs://a/../b' }],
    ['resources/list', { uri: 7 }],
  ])('show no member of "%s" that cannot be judged: %j', (method, member) => {
    expect(memberRequest(method, member, context)).toBeUndefined();
  });
});

describe('filteredResult()', () => {
  test('keeps what is allowed, and every other member', () => {
    const result = { tools, nextCursor: 'c', ttlMs: 5, _meta: { a: 1 }, x: 1 };
    expect(filteredResult('tools/list', result, [true, false])).toEqual({ ...result, tools: [tools[0]] });
  });

  test('makes a filtered list private', () => {
    for (const cacheScope of ['public', 'private', 'elsewhere'])
      expect(filteredResult('tools/list', { tools, cacheScope }, [false, true])).toMatchObject({
        cacheScope: 'private',
      });
    expect(filteredResult('tools/list', { tools }, [false, true])).not.toHaveProperty('cacheScope');
  });

  test('gives back the same result where all is kept', () => {
    const result = { tools, cacheScope: 'public' };
    expect(filteredResult('tools/list', result, [true, true])).toBe(result);
  });

  test('refuses verdicts on another number of members', () => {
    expect(meshErrorOf(() => filteredResult('tools/list', { tools }, [true])).code).toBe('internal');
  });
});

describe('filteredBytes()', () => {
  const text =
    '{"x":1.50,"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a","max":12345678901234567890},{"name":"b"}],"n":1.0}}';

  test('are the original ones where all is kept', () => {
    const message = resultOf(text);
    expect(filteredBytes(message, 'tools/list', [true, true])).toBe(message.bytes);
  });

  test('keep the letters of numbers where something goes', () => {
    expect(textOf(filteredBytes(resultOf(text), 'tools/list', [true, false]))).toBe(
      '{"x":1.50,"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a","max":12345678901234567890}],"n":1.0}}',
    );
    expect(jsonOf(filteredBytes(resultOf(text), 'tools/list', [false, false]))).toMatchObject({
      result: { tools: [] },
    });
  });
});
