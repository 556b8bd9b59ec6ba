/** What a server gives and asks: secrets by every way back, and questions that no policy here allows. */
import { call, request, table, type Trick } from './trick.ts';

const HOW = [
  'text',
  'blocks',
  'structured',
  'member name',
  'resource',
  'base64',
  'meta',
  'is error',
  'zero width',
  'full width',
  'link',
  'json in text',
  'error',
  'log',
  'progress',
  'unknown notification',
  'task',
  'unasked',
  'sampling',
] as const;

const QUESTIONS = ['sampling/createMessage', 'elicitation/create', 'roots/list'] as const;
const ask = (how: string): string => call('ask', { how });

export const GIVING: readonly Trick[] = [
  ...table(
    'python',
    'leak',
    Object.fromEntries(
      HOW.map((how) => [
        `secret by ${how}`,
        () => call('speak', { how }, { _meta: { progressToken: `token of ${how}` } }),
      ]),
    ),
  ),
  ...table('python', 'leak', {
    'secret of a prompt': () => request('prompts/get', { name: 'open_prompt' }),
    'secret of a resource': ({ open }) => request('resources/read', { uri: `file://${open}/a` }),
    'secret of a completion': () =>
      request('completion/complete', {
        ref: { type: 'ref/prompt', name: 'open_prompt' },
        argument: { name: 'a', value: 'b' },
      }),
    'secret of a task': () => request('tasks/result', { taskId: 't' }),
    'secret of a task that is asked for': () => request('tasks/get', { taskId: 't' }),
  }),
  ...table('python', 'leak', {
    'secret in a description': () => [
      call('speak', { how: 'description' }),
      call('mark', {}),
      request('tools/list', {}),
      request('tools/list', {}),
    ],
  }).map((trick) => ({ ...trick, part: 'description' })),
  ...table(
    'python',
    'question',
    Object.fromEntries(
      QUESTIONS.flatMap((method) => [
        [`${method}`, () => ask(method)],
        [`${method} as input`, () => ask(`input ${method}`)],
        [`${method} as input, spelt otherwise`, () => ask(`spelt ${method}`)],
        [`${method} in a task`, () => ask(`task ${method}`)],
        [`${method} without an id`, () => ask(`note ${method}`)],
      ]),
    ),
  ),
  ...table('python', 'question', {
    'sampling beside a pong': () => [ask('beside sampling/createMessage'), request('ping', {})],
    'sampling beside a list': () => [ask('beside sampling/createMessage'), request('tools/list', {})],
  }).map((trick) => ({ ...trick, part: 'beside' })),
  ...table('python', 'question', {
    'sampling in another case': () => ask('Sampling/CreateMessage'),
    'sampling with space': () => ask(' sampling/createMessage'),
  }),
  ...table('python', undefined, {
    'an answer before the question': () => [
      ask('roots/list'),
      '{"jsonrpc":"2.0","id":"ask","result":{"roots":[{"uri":"file:///"}]}}',
    ],
    'an answer to a question that was refused': () => [
      ask('sampling/createMessage'),
      '{"jsonrpc":"2.0","id":"ask","result":{"model":"m","role":"assistant","content":{"type":"text","text":"t"}}}',
    ],
  }),
];
