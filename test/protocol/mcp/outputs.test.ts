import { describe, expect, test } from 'vitest';
import { withParams, withResult } from '../../../protocol/mcp/index.ts';
import { read, resultOf, textOf } from './sample.ts';

describe('withResult()', () => {
  const text =
    '{"id":7,"extra":9007199254740993,"jsonrpc":"2.0","result":{"content":[{"type":"text","text":"key"}],"structuredContent":{"big":12345678901234567890,"one":1.0,"exp":1E5,"huge":1e999},"list":[1.10,2]}}';

  test('writes the new texts and keeps the letters of every number', () => {
    const message = resultOf(text);
    const result = { ...(message.result as object), content: [{ type: 'text', text: '[redacted]' }] };
    expect(textOf(withResult(message, result))).toBe(
      '{"id":7,"extra":9007199254740993,"jsonrpc":"2.0","result":{"content":[{"type":"text","text":"[redacted]"}],"structuredContent":{"big":12345678901234567890,"one":1.0,"exp":1E5,"huge":1e999},"list":[1.10,2]}}',
    );
  });

  test('writes a number that changed as it is now', () => {
    const message = resultOf('{"jsonrpc":"2.0","id":1,"result":{"a":1.0,"b":[2.0],"c":{"d":3.0}}}');
    expect(textOf(withResult(message, { a: 2, b: [2, 4.5], c: [3], e: 5 }))).toBe(
      '{"jsonrpc":"2.0","id":1,"result":{"a":2,"b":[2.0,4.5],"c":[3],"e":5}}',
    );
  });

  test('does not take letters from a prototype', () => {
    const message = resultOf('{"jsonrpc":"2.0","id":1,"result":{"rawJSON":"7"}}');
    expect(textOf(withResult(message, { rawJSON: '8', constructor: 1 }))).toBe(
      '{"jsonrpc":"2.0","id":1,"result":{"rawJSON":"8","constructor":1}}',
    );
  });
});

test('withParams() keeps the letters of numbers', () => {
  const message = read(
    '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"n":9007199254740993},"requestState":"x"}}',
  );
  if (message.kind !== 'request') throw new Error('no request');
  const { requestState: _, ...rest } = message.params as Record<string, never>;
  expect(textOf(withParams(message, rest))).toBe(
    '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"n":9007199254740993}}}',
  );
});
