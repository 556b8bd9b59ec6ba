/** Vectors of MCP as governed: hashes of tool definitions, and messages that nobody may send on. */
import { toHex } from '../../protocol/index.ts';
import { definitionHash, type Id, parseMessage } from '../../protocol/mcp/index.ts';
import { meshErrorOf } from '../protocol/mcp/sample.ts';
import type { InvalidVector, ValidVector, VectorSet } from './vectors.ts';

const SOURCE = 'MCP as governed';
const utf8 = new TextEncoder();

export interface DefinitionVector {
  /** JSON text, since numbers have letters. */
  readonly definition: string;
  readonly hash: string;
}
export const hashOf = ({ definition }: Pick<DefinitionVector, 'definition'>): string =>
  definitionHash(JSON.parse(definition) as Parameters<typeof definitionHash>[0]);

const valid = (definition: string): ValidVector => ({ source: SOURCE, definition, hash: hashOf({ definition }) });

export interface MessageVector {
  readonly from: 'client' | 'server';
  readonly messageBytes: string;
  readonly code: string;
  readonly rpcCode: number;
  readonly rpcId: Id | null;
}
export function refusalOfMessage({ from, messageBytes }: Pick<MessageVector, 'from' | 'messageBytes'>): {
  readonly code: string;
  readonly rpcCode: unknown;
  readonly rpcId: unknown;
} {
  const { code, data } = meshErrorOf(() => parseMessage(Uint8Array.from(Buffer.from(messageBytes, 'hex')), from));
  return { code, rpcCode: data['rpcCode'], rpcId: data['rpcId'] };
}

function refused(message: string | Uint8Array, from: 'client' | 'server' = 'client'): InvalidVector {
  const messageBytes = toHex(typeof message === 'string' ? utf8.encode(message) : message);
  return { source: SOURCE, from, messageBytes, ...refusalOfMessage({ from, messageBytes }) };
}

const call = (params: string, id = '1'): string =>
  `{"jsonrpc":"2.0","id":${id},"method":"tools/call","params":${params}}`;

export const mcpVectors: VectorSet = {
  valid: {
    'definition-of-a-name': valid('{"name":"a"}'),
    'definition-with-a-schema': valid(
      '{"name":"add","description":"Adds two numbers.","inputSchema":{"type":"object","properties":{"a":{"type":"number"},"b":{"type":"number"}},"required":["a","b"]}}',
    ),
    'definition-in-another-order': valid(
      '{"inputSchema":{"required":["a","b"],"properties":{"b":{"type":"number"},"a":{"type":"number"}},"type":"object"},"description":"Adds two numbers.","name":"add"} ',
    ),
    'definition-without-its-meta': valid('{"name":"a","_meta":{"build":7}}'),
    'definition-with-a-meta-further-in': valid('{"name":"a","inputSchema":{"_meta":{"build":7}}}'),
    'definition-with-fractions': valid(
      '{"name":"a","inputSchema":{"maximum":0.1,"minimum":-1.5e-7,"multipleOf":1e21}}',
    ),
    'definition-with-an-integer-spelt-as-a-fraction': valid('{"name":"a","max":1.0}'),
    'definition-with-letters-of-every-plane': valid(
      '{"name":"a","description":"\\u00e9 \\u200b \\ud83d\\ude00 \\u001f"}',
    ),
    'definition-with-names-by-utf-16': valid('{"name":"a","\\ufb33":1,"\\ud83d\\ude00":2}'),
  },
  invalid: {
    'message-not-json': refused('{"jsonrpc":"2.0",'),
    'message-not-utf-8': refused(Uint8Array.of(0x7b, 0xff, 0x7d)),
    'message-byte-order-mark': refused(`\ufeff${call('{"name":"a"}')}`),
    'message-batch': refused(`[${call('{"name":"a"}')}]`),
    'message-two-in-one': refused('{"jsonrpc":"2.0","id":1,"method":"tools/call","result":{}}'),
    'message-method-twice': refused('{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call"}'),
    'message-method-in-another-case': refused('{"jsonrpc":"2.0","id":1,"method":"tools/list","Method":"tools/call"}'),
    'message-member-with-a-long-s': refused('{"jsonrpc":"2.0","id":1,"method":"tools/call","param\u017f":{}}'),
    'message-tool-twice': refused(call('{"name":"read_file","name":"delete_file"}')),
    'message-tool-in-another-case': refused(call('{"name":"read_file","Name":"delete_file"}')),
    'message-tool-twice-by-escapes': refused(call('{"name":"read_file","n\\u0061me":"delete_file"}')),
    'message-argument-twice': refused(call('{"name":"a","arguments":{"path":"a","path":"b"}}')),
    'message-proto': refused(call('{"name":"a","arguments":{"__proto__":{}}}')),
    'message-half-a-surrogate-pair': refused(call('{"name":"a\\ud800"}')),
    'message-number-beyond-doubles': refused(call('{"name":"a","arguments":{"n":1e400}}')),
    'message-null-id': refused(call('{"name":"a"}', 'null')),
    'message-id-with-a-fraction-of-nothing': refused(call('{"name":"a"}', '1.0')),
    'message-id-beyond-doubles': refused(call('{"name":"a"}', '9007199254740993')),
    'message-method-of-another-case': refused('{"jsonrpc":"2.0","id":1,"method":"Tools/Call","params":{"name":"a"}}'),
    'message-too-deep': refused(call(`{"name":"a","arguments":{"a":${'['.repeat(130)}${']'.repeat(130)}}}`)),
    'message-second-result': refused('{"jsonrpc":"2.0","id":1,"result":{},"Result":{}}', 'server'),
    'message-result-without-an-id': refused('{"jsonrpc":"2.0","result":{}}', 'server'),
  },
};
