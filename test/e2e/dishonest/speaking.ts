/** Attacks with what is no call: messages that carry one all the same, and bodies that are read in two ways. */
import { type Attack, tries } from './attack.ts';

type Messages = (tag: string) => readonly (string | Uint8Array)[];

const evil = (tag: string, more = ''): string =>
  `"params":{"name":"note","arguments":{"tag":${JSON.stringify(tag)}}}${more}`;

/** Each in a message that has no order. What is honest afterwards is done in the same link. */
const said = (name: string, messages: Messages, logged: readonly string[] = []): Attack => ({
  name,
  play: async (stage) => {
    const link = await stage.link();
    for (const message of messages(stage.tag)) await link.tell(message);
    return [await tries(link, 'note', { tag: 'afterwards' })];
  },
  answer: ['ok'],
  logged,
});

/** Each as the body of an order that commits to it. */
const ordered = (name: string, messages: Messages): Attack => ({
  name,
  play: async (stage) => {
    const link = await stage.link();
    const answers = new Set<string>();
    for (const message of messages(stage.tag)) {
      const answer = await tries(link, '', {}, { message });
      answers.add(answer.startsWith('refused') ? 'refused' : `${answer} for ${String(message)}`);
    }
    return [...answers, await tries(link, 'note', { tag: 'afterwards' })];
  },
  answer: ['refused', 'ok'],
});

const utf8 = new TextEncoder();

/** No request of MCP, or not one that can be read in one way. */
const broken: Messages = (tag) => [
  `[{"jsonrpc":"2.0","id":"b","method":"tools/call",${evil(tag)}}]`,
  `{"jsonrpc":"2.0","id":"d","method":"ping","method":"tools/call",${evil(tag)}}`,
  `{"jsonrpc":"2.0","id":"d","method":"tools/call",${evil(tag, `,${evil(tag)}`)}}`,
  `{"jsonrpc":"2.0","id":"d","method":"ping","Method":"tools/call",${evil(tag)}}`,
  `{"jsonrpc":"2.0","id":"e","method":"ping"}\n{"jsonrpc":"2.0","id":"f","method":"tools/call",${evil(tag)}}`,
  `{"jsonrpc":"2.0","id":"e","method":"ping"} {"jsonrpc":"2.0","id":"f","method":"tools/call",${evil(tag)}}`,
  `\ufeff{"jsonrpc":"2.0","id":"g","method":"tools/call",${evil(tag)}}`,
  `{"jsonrpc":"1.0","id":"h","method":"tools/call",${evil(tag)}}`,
  `{"id":"h","method":"tools/call",${evil(tag)}}`,
  `{"jsonrpc":"2.0","id":null,"method":"tools/call",${evil(tag)}}`,
  `{"jsonrpc":"2.0","id":{"a":1},"method":"tools/call",${evil(tag)}}`,
  `{"jsonrpc":"2.0","id":"i","method":["tools/call"],${evil(tag)}}`,
  `{"jsonrpc":"2.0","id":"i","method":"tools/call","result":{},${evil(tag)}}`,
  `{"jsonrpc":"2.0","id":"j","method":"tools/call",${evil(tag)},}`,
  `{'jsonrpc':'2.0','id':'j','method':'tools/call',${evil(tag)}}`,
  `${'['.repeat(5_000)}{"jsonrpc":"2.0","id":"k","method":"tools/call",${evil(tag)}}${']'.repeat(5_000)}`,
  new Uint8Array([0xff, 0xfe, ...utf8.encode(`{"jsonrpc":"2.0","id":"l","method":"tools/call",${evil(tag)}}`)]),
  new Uint8Array([
    ...utf8.encode(`{"jsonrpc":"2.0","id":"m","method":"tools/call",${evil(tag, ',"x":"')}`),
    0xc0,
    0xaf,
    0x22,
    0x7d,
  ]),
];

export const SPEAKING: readonly Attack[] = [
  said('calls in messages that have no order', (tag) => [
    `{"jsonrpc":"2.0","id":1,"method":"tools/call",${evil(tag)}}`,
    `{"jsonrpc":"2.0","id":2,"method":"tools\\/call",${evil(tag)}}`,
    `{"jsonrpc":"2.0","id":3,"method":"\\u0074ools/call",${evil(tag)}}`,
    `{"jsonrpc":"2.0","id":4,"method":"tools/call ",${evil(tag)}}`,
    `{"jsonrpc":"2.0","id":5,"method":"Tools/Call",${evil(tag)}}`,
    `{"jsonrpc":"2.0","id":6,"method":"resources/read","params":{"uri":"vault://a","_meta":{"tag":"${tag}"}}}`,
    `{"jsonrpc":"2.0","id":7,"method":"prompts/get","params":{"name":"a","_meta":{"tag":"${tag}"}}}`,
    `{"jsonrpc":"2.0","id":8,"method":"x/y","params":{"_meta":{"tag":"${tag}"}}}`,
  ]),
  said('notifications that are calls', (tag) => [
    `{"jsonrpc":"2.0","method":"tools/call",${evil(tag)}}`,
    `{"jsonrpc":"2.0","method":"Tools/Call",${evil(tag)}}`,
    `{"jsonrpc":"2.0","method":"resources/read","params":{"uri":"vault://a","_meta":{"tag":"${tag}"}}}`,
    `{"jsonrpc":"2.0","method":"x/y","params":{"_meta":{"tag":"${tag}"}}}`,
    `{"jsonrpc":"2.0","method":"notifications/../tools/call",${evil(tag)}}`,
  ]),
  said('what cannot be read, or can in two ways, without an order', broken),
  said('answers to what nobody asked', (tag) => [
    `{"jsonrpc":"2.0","id":1,"result":{"tag":"${tag}"}}`,
    `{"jsonrpc":"2.0","id":"ask","error":{"code":1,"message":"${tag}"}}`,
    `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"nothing"}}`,
    `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{}}`,
    `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}`,
  ]),
  ordered('what cannot be read, or can in two ways, with an order', broken),
  ordered('what is no call, with an order', (tag) => [
    '{"jsonrpc":"2.0","id":1,"method":"ping"}',
    '{"jsonrpc":"2.0","id":2,"method":"tools/list"}',
    `{"jsonrpc":"2.0","id":3,"method":"initialize","params":{}}`,
    `{"jsonrpc":"2.0","method":"tools/call",${evil(tag)}}`,
    '{"jsonrpc":"2.0","id":4,"result":{}}',
    '{"jsonrpc":"2.0","method":"notifications/initialized"}',
    ' ',
    'null',
  ]),
  {
    name: 'two calls of one id at once, and the id of another in a cancellation',
    play: async (stage) => {
      const link = await stage.link();
      const slow = `{"jsonrpc":"2.0","id":"same","method":"tools/call","params":{"name":"slow","arguments":{"tag":"first","ms":300}}}`;
      const n = await link.start('', {}, { message: slow });
      const second = await tries(
        link,
        '',
        {},
        {
          message: `{"jsonrpc":"2.0","id":"same","method":"tools/call",${evil(stage.tag)}}`,
        },
      );
      const { out } = await link.outcome(n);
      return [out, second];
    },
    answer: ['ok', 'refused'],
  },
];
