import { describe, expect, test } from 'vitest';
import { inputRequestsOf, isInputRetry } from '../../../protocol/mcp/index.ts';
import { meshErrorOf, read, request } from './sample.ts';

describe('inputRequestsOf()', () => {
  test('finds what a result asks of the client', () => {
    const inputRequests = {
      a: { method: 'sampling/createMessage', params: {} },
      b: { method: 'elicitation/create', params: {} },
      c: { method: 'roots/list' },
      d: { method: 'acme/x' },
    };
    expect(inputRequestsOf({ resultType: 'input_required', inputRequests })).toEqual([
      { key: 'a', request: { action: 'sampling' } },
      { key: 'b', request: { action: 'elicitation' } },
      { key: 'c', request: { action: 'roots_list' } },
      { key: 'd', request: { action: 'mcp_request', mcp: { method: 'acme/x' } } },
    ]);
  });

  test('finds it under any result type, as that of a task', () => {
    const inputRequests = { a: { method: 'sampling/createMessage' } };
    expect(inputRequestsOf({ resultType: 'complete', status: 'input_required', inputRequests })).toHaveLength(1);
  });

  test('finds nothing in an ordinary result', () => {
    for (const result of [{ content: [] }, { inputRequests: null }, { inputRequests: {} }, 'x', null, []])
      expect(inputRequestsOf(result)).toEqual([]);
  });

  test.each([
    [{ InputRequests: { a: { method: 'sampling/createMessage' } } }],
    [{ ResultType: 'input_required' }],
    [{ inputRequests: [{ method: 'sampling/createMessage' }] }],
    [{ inputRequests: { a: 'sampling/createMessage' } }],
    [{ inputRequests: { a: { method: ['sampling/createMessage'] } } }],
    [{ inputRequests: { a: { method: 'roots/list', Method: 'sampling/createMessage' } } }],
  ])('refuses what readers may disagree on: %j', (result) => {
    expect(meshErrorOf(() => inputRequestsOf(result)).code).toBe('malformed');
  });
});

test('a retry is known by what it brings', () => {
  expect(isInputRetry(request('tools/call', { name: 'a', inputResponses: {} }))).toBe(true);
  expect(isInputRetry(request('tools/call', { name: 'a', requestState: 's' }))).toBe(true);
  expect(isInputRetry(request('tools/call', { name: 'a' }))).toBe(false);
  expect(isInputRetry(read('{"jsonrpc":"2.0","id":1,"result":{"requestState":"s"}}'))).toBe(false);
});
