import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isMeshError, limits, type MeshError } from '../../../protocol/index.ts';
import {
  errorResponse,
  exactOf,
  idKey,
  type Message,
  parseMessage,
  refusalAnswer,
  resultResponse,
  RPC_CODES,
  type Sender,
} from '../../../protocol/mcp/index.ts';

const utf8 = new TextEncoder();
const textOf = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
const read = (text: string, from: Sender = 'client'): Message => {
  const message = parseMessage(utf8.encode(text), from);
  if (message === undefined) throw new Error('a blank line');
  return message;
};
/** The error that a message is refused with. */
const refusal = (input: string | Uint8Array, from: Sender = 'client'): MeshError => {
  try {
    parseMessage(typeof input === 'string' ? utf8.encode(input) : input, from);
  } catch (error) {
    if (isMeshError(error)) return error;
    throw error;
  }
  throw new Error(`accepted: ${String(input)}`);
};
const answerTo = (input: string | Uint8Array, from: Sender = 'client'): unknown => {
  const answer = refusalAnswer(refusal(input, from));
  return answer === undefined ? undefined : JSON.parse(textOf(answer));
};
const call = (params: string, id = '1'): string =>
  `{"jsonrpc":"2.0","id":${id},"method":"tools/call","params":${params}}`;

describe('parseMessage()', () => {
  test('tells the four kinds apart', () => {
    expect(read('{"jsonrpc":"2.0","id":"a","method":"x","params":{"b":1}}')).toMatchObject({
      kind: 'request',
      id: 'a',
      method: 'x',
      params: { b: 1 },
    });
    expect(read('{"jsonrpc":"2.0","method":"notifications/initialized"}')).toMatchObject({
      kind: 'notification',
      method: 'notifications/initialized',
    });
    expect(read('{"jsonrpc":"2.0","id":1,"result":{"c":[]}}', 'server')).toMatchObject({
      kind: 'result',
      id: 1,
      result: { c: [] },
    });
    expect(read('{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"m","data":[1]}}', 'server')).toMatchObject({
      kind: 'error',
      id: 1,
      error: { code: -1, message: 'm', data: [1] },
    });
  });

  test('keeps the bytes as they came, without the end of the line', () => {
    const text = '{"id":1,  "z":1.50, "jsonrpc":"2.0","method":"x\\u0041","params":{"n":12345678901234567890}}';
    for (const end of ['', '\n', '\r\n']) expect(textOf(read(text + end).bytes)).toBe(text);
  });

  test('makes one line of a message of several, which stdio would take for several messages', () => {
    const smuggled = '{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"delete_all"}}';
    const text = `{"jsonrpc":"2.0","id":1,"method":"x","params":\n${smuggled}\r\n}`;
    const { bytes } = read(text);
    expect(textOf(bytes)).not.toMatch(/[\r\n]/);
    expect(JSON.parse(textOf(bytes))).toEqual(JSON.parse(text));
  });

  test('escapes what some readers of lines take for an end', () => {
    const text = '{"jsonrpc":"2.0","id":1,"method":"x","params":["\u2028{}\u2029","\u0085é \\u2028"]}';
    const { bytes } = read(text);
    expect(textOf(bytes)).toBe(
      '{"jsonrpc":"2.0","id":1,"method":"x","params":["\\u2028{}\\u2029","\\u0085é \\u2028"]}',
    );
    expect(JSON.parse(textOf(bytes))).toEqual(JSON.parse(text));
  });

  test.each(['', '\n', '  \t\r\n', '\r\n'])('ignores the blank line %j', (line) => {
    expect(parseMessage(utf8.encode(line), 'client')).toBeUndefined();
  });

  test.each([
    ['not JSON', '{"jsonrpc":"2.0",'],
    ['two messages in one line', `${call('{}')}${call('{}')}`],
    ['a byte order mark', `\ufeff${call('{"name":"a"}')}`],
    ['not UTF-8', Uint8Array.of(0x22, 0xc3, 0x28, 0x22)],
    ['overlong UTF-8', Uint8Array.of(0x22, 0xc0, 0xae, 0x22)],
    ['a surrogate in UTF-8', Uint8Array.of(0x22, 0xed, 0xa0, 0x80, 0x22)],
    ['UTF-16', Uint8Array.from([...'{"a":1}'].flatMap((letter) => [letter.charCodeAt(0), 0]))],
    ['a comment', '{"jsonrpc":"2.0",/**/"id":1,"method":"x"}'],
    ['NaN', '{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":NaN}}'],
    ['single quotes', "{'jsonrpc':'2.0'}"],
  ])('answers -32700 with a null id to what is %s', (_, input) => {
    expect(answerTo(input)).toMatchObject({ id: null, error: { code: RPC_CODES.parse } });
  });

  test.each([
    ['a batch, whose members a policy might not look at', `[${call('{"name":"delete_all"}')}]`, null],
    ['an empty batch', '[]', null],
    ['a text', '"tools/call"', null],
    ['null', 'null', null],
    ['a method named twice', '{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call"}', null],
    ['an id named twice', '{"jsonrpc":"2.0","id":1,"id":2,"method":"x"}', null],
    [
      'params named twice by escapes',
      '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{},"p\\u0061rams":{}}',
      null,
    ],
    ['a tool named twice', call('{"name":"read_file","name":"delete_all"}'), 1],
    ['an argument named twice, far in', call('{"name":"a","arguments":{"b":[{"c":1,"c":2}]}}'), 1],
    ['__proto__', call('{"name":"a","arguments":{"__proto__":{"path":"/etc"}}}'), 1],
    ['half a surrogate pair', call('{"name":"a\\ud800"}'), 1],
    ['too many levels', call(`{"a":${'['.repeat(200)}${']'.repeat(200)}}`), 1],
    ['version 1.0', '{"jsonrpc":"1.0","id":1,"method":"x"}', 1],
    ['no version', '{"id":1,"method":"x"}', 1],
    ['a request and a response in one', '{"jsonrpc":"2.0","id":1,"method":"tools/call","result":{}}', 1],
    ['a request and an error in one', '{"jsonrpc":"2.0","id":1,"method":"tools/call","error":{}}', 1],
    ['result and error', '{"jsonrpc":"2.0","id":1,"result":{},"error":{}}', 1],
    ['neither', '{"jsonrpc":"2.0","id":1}', 1],
    ['a null id', '{"jsonrpc":"2.0","id":null,"method":"tools/call","params":{"name":"a"}}', null],
    ['an id that is an object', '{"jsonrpc":"2.0","id":{},"method":"x"}', null],
    ['an id that is true', '{"jsonrpc":"2.0","id":true,"method":"x"}', null],
    ['an id too large for a double', '{"jsonrpc":"2.0","id":9007199254740993,"method":"x"}', null],
    ['a very long id', `{"jsonrpc":"2.0","id":"${'a'.repeat(513)}","method":"x"}`, null],
    ['a method that is no text', '{"jsonrpc":"2.0","id":1,"method":["tools/call"]}', 1],
    ['a very long method', `{"jsonrpc":"2.0","id":1,"method":"${'a'.repeat(257)}"}`, 1],
  ])('answers -32600 to %s', (_, text, id) => {
    expect(answerTo(text)).toMatchObject({ jsonrpc: '2.0', id, error: { code: RPC_CODES.invalidRequest } });
  });

  test.each(['1.0', '1e0', '10e-1', '-0', '0.0', '1E0', '1e2'])(
    'refuses the id %s, which a server gives back in other letters',
    (id) => {
      expect(answerTo(call('{"name":"a"}', id))).toMatchObject({ error: { code: RPC_CODES.invalidRequest } });
    },
  );

  test('takes ids of both types, and knows 1 from "1"', () => {
    const ids = ['1', '"1"', '0', '-7', '1.5', '9007199254740991', '""', '"1.0"'];
    const keys = ids.map((id) => {
      const message = read(call('{"name":"a"}', id));
      return message.kind === 'request' ? idKey(message.id) : '';
    });
    expect(new Set(keys).size).toBe(ids.length);
  });

  test('takes an answer whose number is spelt otherwise for the same id', () => {
    const answer = read('{"jsonrpc":"2.0","id":1.0,"result":{}}', 'server');
    expect(answer.kind === 'result' && idKey(answer.id)).toBe(idKey(1));
  });

  test('takes errors without an id and refuses results without one', () => {
    for (const id of ['"id":null,', ''])
      expect(read(`{"jsonrpc":"2.0",${id}"error":{"code":-32700,"message":"m"}}`, 'server')).toMatchObject({
        id: null,
      });
    for (const id of ['"id":null,', ''])
      expect(refusal(`{"jsonrpc":"2.0",${id}"result":{}}`, 'server').code).toBe('malformed');
  });

  test.each([
    ['another case, which Go folds', 'Method'],
    ['capitals', 'METHOD'],
    ['a long s', 'param\u017f'],
    ['a full-width letter', '\uff4dethod'],
    ['a zero-width space', 'met\u200bhod'],
    ['a soft hyphen', 'par\u00adams'],
    ['a space at the end', 'method '],
    ['another case of the id', 'ID'],
    ['another case of the version', 'JSONRPC'],
    ['a NUL', 'method\\u0000'],
  ])('refuses a second spelling of a member: %s', (_, name) => {
    const text = `{"jsonrpc":"2.0","id":1,"method":"tools/list","${name}":"tools/call"}`;
    expect(answerTo(text)).toMatchObject({ error: { code: RPC_CODES.invalidRequest } });
    expect(refusal(`{"jsonrpc":"2.0","id":1,"result":{},"${name}":"x"}`, 'server').code).toBe('malformed');
  });

  test('refuses a second spelling of a result, which a client may show instead of the one that was looked at', () => {
    expect(refusal('{"jsonrpc":"2.0","id":1,"result":{},"Result":{"content":[]}}', 'server').code).toBe('malformed');
  });

  test.each([
    'Name',
    'NAME',
    'ARGUMENTS',
    'argument\u017f',
    'uR\u0131',
    '_Meta',
    'na\u200dme',
    'Ref',
    'Cursor',
    'Task',
  ])('refuses %j in the params of a client', (name) => {
    const text = call(`{"name":"read_file","${name}":"delete_all"}`);
    expect(answerTo(text)).toMatchObject({ id: 1, error: { code: RPC_CODES.invalidParams } });
    expect(read(text, 'server').kind).toBe('request');
  });

  test('lets params of methods that MCP does not know be as they are', () => {
    expect(read('{"jsonrpc":"2.0","id":1,"method":"acme/sync","params":{"Name":1,"name":2}}').kind).toBe('request');
    expect(read('{"jsonrpc":"2.0","id":1,"method":"acme/sync","params":[1,2]}')).toMatchObject({ params: [1, 2] });
  });

  test.each([
    'Tools/Call',
    'tools/call ',
    'tools/\u200bcall',
    'TOOLS/CALL',
    '\uff54ools/call',
    'tools/ca\u2113l',
    'tool\u017f/call',
  ])('refuses the method %j, which is "tools/call" to a lax server', (method) => {
    expect(answerTo(JSON.stringify({ jsonrpc: '2.0', id: 1, method, params: {} }))).toMatchObject({
      id: 1,
      error: { code: RPC_CODES.invalidRequest },
    });
  });

  test('refuses a number beyond doubles, which would be judged as null', () => {
    expect(answerTo(call('{"name":"pay","arguments":{"amount":1e400}}'))).toMatchObject({
      id: 1,
      error: { code: RPC_CODES.invalidParams },
    });
    expect(read('{"jsonrpc":"2.0","id":1,"result":{"n":1e400}}', 'server').kind).toBe('result');
  });

  test.each(['"a"', '1', 'true', '[]'])('refuses the params %s of a method of MCP', (params) => {
    expect(answerTo(call(params))).toMatchObject({ error: { code: RPC_CODES.invalidParams } });
  });

  test('takes null params for none', () => {
    expect(read('{"jsonrpc":"2.0","id":1,"method":"ping","params":null}')).not.toHaveProperty('params');
  });

  test('does not answer what asks nothing', () => {
    expect(answerTo('{"jsonrpc":"1.0","method":"notifications/initialized"}')).toBeUndefined();
    expect(answerTo('{"jsonrpc":"1.0","id":1,"result":{}}', 'server')).toBeUndefined();
    expect(refusal('{"jsonrpc":"1.0","id":7,"result":{}}', 'server').data).toMatchObject({ rpcId: 7, kind: 'result' });
  });

  test('never quotes what it refuses', () => {
    const secret = 'hunter2-hunter2';
    for (const text of [
      `{"a":"${secret}`,
      `{"jsonrpc":"1.0","id":1,"method":"x","params":{"a":"${secret}"}}`,
      `"${secret}"`,
    ])
      expect(refusal(text).message).not.toContain(secret);
  });

  test('takes as many bytes and levels as the limits say and no more', () => {
    const small = { bytesMax: 100, depthMax: 3 };
    const text = '{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":[1]}}';
    const padded = utf8.encode(text.padEnd(100));
    expect(parseMessage(padded, 'client', small)?.kind).toBe('request');
    expect(() => parseMessage(utf8.encode(text.padEnd(101)), 'client', small)).toThrow(
      expect.objectContaining({ code: 'too_large' }) as Error,
    );
    expect(() => parseMessage(padded, 'client', { ...small, depthMax: 2 })).toThrow(/deeper than 2 levels/);
  });

  test('does not parse what is nested a million times', () => {
    const deep = `{"jsonrpc":"2.0","id":1,"method":"x","params":${'['.repeat(1_000_000)}${']'.repeat(1_000_000)}}`;
    expect(refusal(deep).message).toContain(`deeper than ${limits.MCP_DEPTH_MAX} levels`);
  });

  test('means what JSON.parse means, whatever the message', () => {
    const json = fc.jsonValue({ maxDepth: 4 });
    fc.assert(
      fc.property(
        fc.oneof(fc.string(), fc.integer()),
        fc.string(),
        json,
        fc.constantFrom(undefined, 1, '\t'),
        (id, method, a, space) => {
          const text = JSON.stringify({ jsonrpc: '2.0', id, method: `acme/${method}`, params: { a } }, null, space);
          let message: Message | undefined;
          try {
            message = parseMessage(utf8.encode(text), 'client');
          } catch (error) {
            if (isMeshError(error)) return;
            throw error;
          }
          expect(JSON.parse(textOf(message?.bytes ?? new Uint8Array()))).toEqual(JSON.parse(text));
          expect(message).toMatchObject({
            kind: 'request',
            id,
            params: { a: (JSON.parse(text) as { params: { a: unknown } }).params.a },
          });
        },
      ),
      { seed: 20261122 },
    );
  });
});

describe('exactOf()', () => {
  const exact = (args: string): string | undefined =>
    exactOf(read(call(`{"name":"pay","arguments":${args},"_meta":{"progressToken":1}}`)));

  test('is nothing where every number is what it says', () => {
    for (const args of ['{}', '{"a":1.5,"b":-3e10,"c":9007199254740991,"d":"9007199254740993"}'])
      expect(exact(args)).toBeUndefined();
  });

  test('tells numbers apart that are one as doubles', () => {
    const [a, b] = [exact('{"to":9007199254740992.5}'), exact('{"to":9007199254740993}')];
    expect(a).toMatch(/^[0-9a-f]{64}$/);
    expect(b).toMatch(/^[0-9a-f]{64}$/);
    expect(a).not.toBe(b);
    expect(exact('{"to":9007199254740993}')).toBe(b);
  });

  test('is of the arguments alone', () => {
    expect(exactOf(read(call('{"name":"pay","arguments":{"a":1},"_meta":{"n":9007199254740993}}')))).toBeUndefined();
    const one = exactOf(
      read(call('{"name":"pay","arguments":{"a":9007199254740993},"_meta":{"progressToken":1}}', '1')),
    );
    const two = exactOf(
      read(call('{"_meta":{"progressToken":2},"arguments":{"a":9007199254740993},"name":"pay"}', '2')),
    );
    expect(one).toBe(two);
  });
});

test('answers are read as what they are', () => {
  const error = parseMessage(errorResponse(3, -32001, 'no', { a: 1 }), 'server');
  expect(error).toMatchObject({ kind: 'error', id: 3, error: { code: -32001, message: 'no', data: { a: 1 } } });
  expect(parseMessage(resultResponse('x', { content: [] }), 'server')).toMatchObject({ kind: 'result', id: 'x' });
});
