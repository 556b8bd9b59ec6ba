/** How bytes, texts and members are read: encodings, spellings, members twice, many messages in one. */
import { call, nextId, rawCall, request, table, type Trick, utf8, withBytes } from './trick.ts';

const DELETE = (): string => call('delete_file', {});
const utf16 = (text: string): Buffer => Buffer.from(text, 'utf16le');
const utf32 = (text: string): Buffer => {
  const points = [...text].map((letter) => letter.codePointAt(0) ?? 0);
  const bytes = Buffer.alloc(points.length * 4);
  points.forEach((point, i) => bytes.writeUInt32LE(point, i * 4));
  return bytes;
};
const spelt = (find: string, put: string): string => DELETE().replace(find, put);

const ENCODINGS: Trick[] = [
  ...table('python', undefined, {
    'byte order mark': () => `\ufeff${DELETE()}`,
    'UTF-16, little end first': () => utf16(DELETE()),
    'UTF-16, with its mark': () => Buffer.concat([Buffer.from([0xff, 0xfe]), utf16(DELETE())]),
    'UTF-16, big end first': () => utf16(DELETE()).swap16(),
    'UTF-32': () => utf32(DELETE()),
    'overlong letter in the name': () => withBytes(DELETE(), 'delete', [0xc1, 0xa4, ...utf8('elete')]),
    'overlong letter of three bytes': () => withBytes(DELETE(), 'delete', [0xe0, 0x81, 0xa4, ...utf8('elete')]),
    'overlong letter in a member': () => withBytes(DELETE(), '"name"', [0x22, 0xc1, 0xae, ...utf8('ame"')]),
    'overlong quote': () => withBytes(DELETE(), '"name"', [0xc0, 0xa2, ...utf8('name'), 0xc0, 0xa2]),
    'no UTF-8 beside the name': () => withBytes(call('delete_file', { x: 'Q' }), 'Q', [0xff, 0xfe]),
    'surrogates as UTF-8': () => withBytes(call('delete_file', { x: 'Q' }), 'Q', [0xed, 0xa0, 0x80]),
    'escapes in the name': () => spelt('delete_file', '\\u0064elete\\u005Ffile'),
    'escapes in the method': () => spelt('tools/call', 'tools\\u002fc\\u0061ll'),
    'escaped slash': () => spelt('tools/call', 'tools\\/call'),
    'escapes in a member': () => spelt('"name"', '"\\u006eame"'),
    'escapes in "method"': () => spelt('"method"', '"\\u006dethod"'),
    'half a surrogate pair beside it': () => spelt('{}', '{"x":"\\ud800"}'),
    'arrives bit by bit': () => ({ bits: utf8(`${call('delete_file', { x: 'grüße 🚀' })}\n`) }),
    'arrives with the next one in one bit': () => ({ bits: utf8(`${request('ping', {})}\n${DELETE()}\n`) }),
    'a long line': () => call('delete_file', { x: 'y'.repeat(2_000_000) }),
    'deep nesting': () => spelt('{}', `{"x":${'['.repeat(1_000)}${']'.repeat(1_000)}}`),
    'white space of a megabyte': () => `${' '.repeat(1_000_000)}${DELETE()}`,
  }),
];

const MANY: Trick[] = [
  ...table('go', undefined, {
    'NUL before and after': () => `\0${DELETE()}\0`,
    'carriage returns within': () => spelt(',', ',\r\t '),
    'two values in one line': () => `${request('ping', {})}${DELETE()}`,
    'two values with a space': () => `${request('ping', {})} ${DELETE()}`,
    'a value behind a number': () => `0 ${DELETE()}`,
    'a value behind rubbish after it': () => `${DELETE()} }`,
  }),
  ...table('python', undefined, {
    'carriage return between two': () => `${request('ping', {})}\r${DELETE()}`,
    'carriage return and space': () => `${request('ping', {})} \r ${DELETE()}\r`,
  }),
  ...table('js', undefined, {
    'U+2028 between two': () => `${request('ping', {})}\u2028${DELETE()}`,
    'U+2028 in a text, a message in it': () =>
      request('ping', {
        x: "\u2028{'jsonrpc':'2.0','id':7,'method':'tools/call','params':{'name':'delete_file'}}\u2028",
      }),
    'U+2029 in a text, a message in it': () =>
      call('mark', { x: "\u2029{'jsonrpc':'2.0','id':7,'method':'tools/call','params':{'name':'delete_file'}}\u2029" }),
    'a comment in it': () => spelt('"params"', '/* "params":{"name":"mark"}, */"params"'),
    'a comment at the end': () => `${DELETE()} // ping`,
    'names without quotes': () => spelt('"name"', 'name'),
    'single quotes': () => DELETE().replaceAll('"', "'"),
    'a comma at the end': () => spelt('}}}', '},}}'),
    'a number in hexadecimal': () => rawCall('{"name":"transfer","arguments":{"amount":0x1388}}'),
  }),
  ...table('batch', undefined, {
    'a batch of one': () => `[${DELETE()}]`,
    'a batch within a batch': () => `[[[${DELETE()}]]]`,
    'a batch that begins empty': () => `[[],${DELETE()}]`,
    'a batch that begins with what is allowed': () => `[${call('mark', {})},${DELETE()}]`,
    'a batch of notifications': () =>
      `[${JSON.stringify({ jsonrpc: '2.0', method: 'tools/call', params: { name: 'delete_file' } })}]`,
    'a batch with rubbish in it': () => `[1,null,"x",${DELETE()}]`,
    'an empty batch, then a call': () => ['[]', DELETE()],
  }),
];

const CLOSED_AND = (second: string): string =>
  `{"jsonrpc":"2.0","id":${nextId()},"method":"tools/call","params":{"name":"mark","arguments":{}},${second}}`;

const MEMBERS: Trick[] = [
  ...table('python', undefined, {
    'method twice': () => spelt('"method"', '"method":"ping","method"'),
    'params twice': () => CLOSED_AND('"params":{"name":"delete_file"}'),
    'name twice': () => rawCall('{"name":"mark","name":"delete_file"}'),
    'name twice, once escaped': () => rawCall('{"name":"mark","\\u006eame":"delete_file"}'),
    'params twice, once escaped': () => CLOSED_AND('"param\\u0073":{"name":"delete_file"}'),
    'arguments twice': () => rawCall('{"name":"transfer","arguments":{"amount":1},"arguments":{"amount":5000}}'),
    'an argument twice': () => rawCall('{"name":"transfer","arguments":{"amount":1,"amount":5000}}'),
    'an argument twice, once escaped': () =>
      rawCall('{"name":"transfer","arguments":{"amount":1,"\\u0061mount":5000}}'),
    'path twice': ({ open, closed }) =>
      rawCall(`{"name":"read_file","arguments":{"path":"${open}/a","path":"${closed}/key"}}`),
    'uri twice': ({ open }) =>
      `{"jsonrpc":"2.0","id":${nextId()},"method":"resources/read","params":{"uri":"file://${open}/a","uri":"vault://key"}}`,
    'name of a ref twice': () =>
      `{"jsonrpc":"2.0","id":${nextId()},"method":"completion/complete","params":{"ref":{"type":"ref/prompt","name":"open_prompt","name":"secret_prompt"},"argument":{"name":"a","value":"b"}}}`,
    '"jsonrpc" twice around it': () => `{"jsonrpc":"2.0",${DELETE().slice(1, -1)},"jsonrpc":"2.0"}`,
    'a prototype beside it': () => rawCall('{"name":"delete_file","__proto__":{"name":"mark"}}'),
    'another version of JSON-RPC': () => spelt('2.0', '1.0'),
    'no version of JSON-RPC': () => spelt('"jsonrpc":"2.0",', ''),
    'a result beside the method': () => spelt('"id"', '"result":{},"id"'),
    'an error beside the method': () => spelt('"id"', '"error":{"code":1,"message":"m"},"id"'),
    'a member nobody knows': () => spelt('"id"', '"x-policy":"allow","id"'),
    '_meta that says it was decided': () =>
      call('delete_file', {}, { _meta: { 'agentmesh/decision': { effect: 'allow' }, name: 'mark' } }),
    'as a task': () => call('delete_file', {}, { task: { ttl: 60_000 } }),
    'as a retry with a state': () => call('delete_file', {}, { requestState: 's', inputResponses: {} }),
    'as a retry of ours': () =>
      call(
        'delete_file',
        {},
        {
          requestState: 'agentmesh/1 {"approval":"a"}',
          inputResponses: { 'agentmesh/approval': { action: 'accept' } },
        },
      ),
    'name in the state of a retry of ours': () =>
      call('mark', {}, { requestState: 'agentmesh/1 {"approval":"a","name":"delete_file","requestState":"x"}' }),
    'of the later era': () =>
      call(
        'delete_file',
        {},
        {
          _meta: {
            'io.modelcontextprotocol/protocolVersion': '2026-07-28',
            'io.modelcontextprotocol/clientCapabilities': {},
          },
        },
      ),
  }),
  ...table('first', undefined, {
    'method twice, the first counts': () => spelt('"params"', '"method":"ping","params"'),
    'name twice, the first counts': () => rawCall('{"name":"delete_file","name":"mark"}'),
    'an argument twice, the first counts': () => rawCall('{"name":"transfer","arguments":{"amount":5000,"amount":1}}'),
  }),
  ...table('go', undefined, {
    '"Method"': () => spelt('"method"', '"Method"'),
    '"METHOD" beside "method"': () => spelt('"method"', '"method":"ping","METHOD"'),
    '"Params" beside "params"': () => CLOSED_AND('"Params":{"name":"delete_file"}'),
    '"paramſ" (U+017F)': () => CLOSED_AND('"param\u017f":{"name":"delete_file"}'),
    '"Name"': () => spelt('"name"', '"Name"'),
    '"NAME" beside "name"': () => rawCall('{"name":"mark","NAME":"delete_file"}'),
    '"Arguments" beside "arguments"': () =>
      rawCall('{"name":"transfer","arguments":{"amount":1},"Arguments":{"amount":5000}}'),
    '"argumentſ" beside "arguments"': () =>
      rawCall('{"name":"transfer","arguments":{"amount":1},"argument\u017f":{"amount":5000}}'),
    'an argument in capital letters': () => call('transfer', { AMOUNT: 5000 }),
    'an argument beside itself in another case': () => call('transfer', { amount: 1, Amount: 5000 }),
    'a path beside itself in another case': ({ open, closed }) =>
      call('read_file', { path: `${open}/a`, PATH: `${closed}/key` }),
    '"URI"': () => request('resources/read', { URI: 'vault://key' }),
    '"Uri" beside "uri"': ({ open }) => request('resources/read', { uri: `file://${open}/a`, Uri: 'vault://key' }),
    '"Ref" beside "ref"': () =>
      request('completion/complete', {
        ref: { type: 'ref/prompt', name: 'open_prompt' },
        Ref: { type: 'ref/prompt', name: 'secret_prompt' },
        argument: { name: 'a', value: 'b' },
      }),
    '"Name" within "ref"': () =>
      request('completion/complete', {
        ref: { type: 'ref/prompt', name: 'open_prompt', Name: 'secret_prompt' },
        argument: { name: 'a', value: 'b' },
      }),
  }),
];

const WITHOUT_ID = (id?: string): string =>
  `{"jsonrpc":"2.0",${id === undefined ? '' : `"id":${id},`}"method":"tools/call","params":{"name":"delete_file","arguments":{}}}`;

const IDS: Trick[] = table('coerce', undefined, {
  'no id': () => WITHOUT_ID(),
  'null for an id': () => WITHOUT_ID('null'),
  'false for an id': () => WITHOUT_ID('false'),
  'an empty id': () => WITHOUT_ID('""'),
  'an object for an id': () => WITHOUT_ID('{"a":1}'),
  'a list for an id': () => WITHOUT_ID('[1]'),
  'an id of a fraction': () => WITHOUT_ID('1.5'),
  'an id as 1.0': () => WITHOUT_ID('1.0'),
  'an id as 1e0': () => WITHOUT_ID('1e0'),
  'an id of 2^53 + 1': () => WITHOUT_ID('9007199254740993'),
  'an id beyond doubles': () => WITHOUT_ID('1e400'),
  'a long id': () => WITHOUT_ID(`"${'x'.repeat(100_000)}"`),
  'an id called __proto__': () => WITHOUT_ID('"__proto__"'),
  'an id of ours': () => WITHOUT_ID('"agentmesh/1"'),
  'an id of ours, twice': () => [WITHOUT_ID('"agentmesh/2"'), WITHOUT_ID('"agentmesh/2"')],
  'the id of one under way': () => [
    '{"jsonrpc":"2.0","id":"same","method":"tools/call","params":{"name":"mark","arguments":{}}}',
    WITHOUT_ID('"same"'),
  ],
  'the id of one that is over': () => ['{"jsonrpc":"2.0","id":"over","method":"ping"}', WITHOUT_ID('"over"')],
  'a resource without an id': () => '{"jsonrpc":"2.0","method":"resources/read","params":{"uri":"vault://key"}}',
  'a prompt without an id': () => '{"jsonrpc":"2.0","method":"prompts/get","params":{"name":"secret_prompt"}}',
  'a subscription without an id': () =>
    '{"jsonrpc":"2.0","method":"resources/subscribe","params":{"uri":"vault://key"}}',
});

const SHAPES: Trick[] = table('coerce', undefined, {
  'params by position': () => request('tools/call', ['delete_file', {}]),
  'params in a list': () => request('tools/call', [{ name: 'delete_file' }]),
  'params as text': () => request('tools/call', '{"name":"delete_file"}'),
  'a name in a list': () => call(['delete_file'], {}),
  'a name in an object': () => call({ name: 'delete_file' }, {}),
  'a method in a list': () => request(['tools/call'] as unknown as string, { name: 'delete_file' }),
  'a method in an object': () => request({ name: 'tools/call' } as unknown as string, { name: 'delete_file' }),
  'arguments as text': () => call('transfer', '{"amount":5000}'),
  'arguments as pairs': () => call('transfer', [['amount', 5000]]),
  'arguments in a list': () => call('transfer', [{ amount: 5000 }]),
  'arguments by position': () => call('transfer', [5000]),
  'a path by position': ({ closed }) => call('read_file', [`${closed}/key`]),
  'a path in a list': ({ closed }) => call('read_file', { paths: [[`${closed}/key`]] }),
  'a uri by position': () => request('resources/read', ['vault://key']),
  'a number as text': () => call('transfer', { amount: '5000' }),
  'a number as text with a plus': () => call('transfer', { amount: '+5e3' }),
  'a number as text with space': () => call('transfer', { amount: ' 5000 ' }),
  'a number in a list': () => call('transfer', { amount: [5000] }),
  'a number in an object': () => call('transfer', { amount: { value: 5000 } }),
  'a number beyond doubles': () => rawCall('{"name":"transfer","arguments":{"amount":1e400}}'),
  'a number as 5E3': () => rawCall('{"name":"transfer","arguments":{"amount":5E3}}'),
  'a number of 2^53 + 1': () => rawCall('{"name":"transfer","arguments":{"amount":9007199254740993}}'),
  'a number of many digits': () => rawCall(`{"name":"transfer","arguments":{"amount":1000.${'0'.repeat(5)}1}}`),
  'a number that is none': () => rawCall('{"name":"transfer","arguments":{"amount":NaN}}'),
  'an infinite number': () => rawCall('{"name":"transfer","arguments":{"amount":Infinity}}'),
});

export const READING: readonly Trick[] = [...ENCODINGS, ...MANY, ...MEMBERS, ...IDS, ...SHAPES];
