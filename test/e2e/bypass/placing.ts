/** Paths and URIs in every spelling. */
import type { PersonalityName } from '../bypass-server.ts';
import { call, type Places, request, table, type Trick } from './trick.ts';

const encoded = (text: string, times = 1): string => {
  let out = text;
  for (let i = 0; i < times; i++) out = out.replaceAll('%', '%25').replaceAll('.', '%2e').replaceAll('/', '%2f');
  return out;
};
const below = ({ closed }: Places): string => closed.slice(1);

/** By who reads paths as the system does. */
const PLAIN: Readonly<Record<string, (places: Places) => string>> = {
  'as it is': ({ closed }) => `${closed}/key`,
  'by ..': ({ open, closed }) => `${open}/../${closed.split('/').at(-1)}/key`,
  'by .. from the working directory': ({ closed }) => `../../../../../../../../../..${closed}/key`,
  relative: ({ closed }) => `../${closed.split('/').at(-1)}/key`,
  'with .': ({ closed }) => `${closed}/./././key`,
  'with slashes': ({ closed }) => `//${closed.replaceAll('/', '///')}//key`,
  'with a slash at the end': ({ closed }) => `${closed}/`,
  'by a link': ({ open }) => `${open}/link/key`,
  'by a link to a file': ({ open }) => `${open}/link-to-key`,
  'by a link of a link': ({ open }) => `${open}/link-of-link/key`,
  'out of a link by ..': ({ open }) => `${open}/link-below/../key`,
  'by /proc/self/root': ({ closed }) => `/proc/self/root${closed}/key`,
  'by /proc/self/cwd': (places) => `/proc/self/cwd/../../../../../../../../${below(places)}/key`,
  'by /proc/thread-self/root': ({ closed }) => `/proc/thread-self/root${closed}/key`,
  'not there yet': ({ closed }) => `${closed}/new-file`,
  'a long way round': ({ open, closed }) => `${open}/${'x/../'.repeat(500)}../${closed.split('/').at(-1)}/key`,
};

/** By who decodes and expands. */
const DECODED: Readonly<Record<string, (places: Places) => string>> = {
  'percent-encoded': ({ closed }) => encoded(`${closed}/key`),
  'percent-encoded ..': ({ open, closed }) => `${open}/%2e%2e/${closed.split('/').at(-1)}/key`,
  'encoded in capitals': ({ open, closed }) => `${open}/%2E%2E%2F${closed.split('/').at(-1)}%2Fkey`,
  'encoded twice': ({ closed }) => encoded(`${closed}/key`, 2),
  'encoded three times': ({ closed }) => encoded(`${closed}/key`, 3),
  'overlong %c0%ae': ({ open, closed }) => `${open}/%c0%ae%c0%ae/${closed.split('/').at(-1)}/key`,
  'overlong %c0%af': ({ open, closed }) => `${open}/..%c0%af${closed.split('/').at(-1)}/key`,
  '%u002e': ({ open, closed }) => `${open}/%u002e%u002e/${closed.split('/').at(-1)}/key`,
  backslashes: ({ closed }) => `${closed}\\key`.replaceAll('/', '\\'),
  'backslashes and ..': ({ open, closed }) => `${open}\\..\\${closed.split('/').at(-1)}\\key`,
  'as a file: URI': ({ closed }) => `file://${closed}/key`,
  'as file:/': ({ closed }) => `file:${closed}/key`,
  'as FILE://localhost': ({ closed }) => `FILE://localhost${closed}/key`,
  'as file:////': ({ closed }) => `file:///${closed}/key`,
  'as url:file:': ({ closed }) => `url:file://${closed}/key`,
  'as a file: URI, encoded': ({ closed }) => `file:///${encoded(closed.slice(1))}%2fkey`,
  'with a query': ({ closed }) => `${closed}/key?x=/a`,
  'with a fragment': ({ closed }) => `${closed}/key#/a`,
  'from home': () => '~/closed/key',
  'from $HOME': () => '$HOME/closed/key',
  'from ${HOME}': () => '${HOME}/closed/key',
  'from %HOME%': () => '%HOME%/closed/key',
  'full width slashes': ({ closed }) => `${closed}/key`.replaceAll('/', '／'),
  'full width dots': ({ open, closed }) => `${open}/．．/${closed.split('/').at(-1)}/key`,
  'a two dot leader': ({ open, closed }) => `${open}/‥/${closed.split('/').at(-1)}/key`,
  'not seen letters': ({ closed }) => `${closed}\u200b/k\u00adey`,
  'with dots at the end': ({ closed }) => `${closed}./key.`,
  'with spaces at the end': ({ closed }) => `${closed} /key `,
  'space before': ({ closed }) => ` ${closed}/key`,
  'as a device': ({ closed }) => `\\\\?\\${closed}/key`,
  'as a stream': ({ closed }) => `${closed}/key::$DATA`,
};

const asTool = (like: PersonalityName, rows: typeof PLAIN): Trick[] =>
  table(
    like,
    undefined,
    Object.fromEntries(
      Object.entries(rows).map(([how, path]) => [`path ${how}`, (places) => call('read_file', { path: path(places) })]),
    ),
  );
const asResource = (like: PersonalityName, rows: typeof PLAIN): Trick[] =>
  table(
    like,
    undefined,
    Object.fromEntries(
      Object.entries(rows).map(([how, path]) => [
        `resource ${how}`,
        (places) => {
          const text = path(places);
          return request('resources/read', { uri: /^(?:url:)?file:/i.test(text) ? text : `file://${text}` });
        },
      ]),
    ),
  );

export const PLACING: readonly Trick[] = [
  ...asTool('python', PLAIN),
  ...asTool('web', DECODED),
  ...asResource('python', PLAIN),
  ...asResource('web', DECODED),
  ...table('python', undefined, {
    'path beside an open one': ({ open, closed }) => call('read_file', { path: `${open}/a`, paths: [`${closed}/key`] }),
    'the same path, again and again': ({ closed }) =>
      Array.from({ length: 6 }, () => call('read_file', { path: `${closed}/key` })),
    'path of a prompt': ({ closed }) =>
      request('prompts/get', { name: 'open_prompt', arguments: { path: `${closed}/key` } }),
    'path of a prompt by a link': ({ open }) =>
      request('prompts/get', { name: 'open_prompt', arguments: { path: `${open}/link/key` } }),
    'resource by its path alone': ({ closed }) => request('resources/read', { uri: `${closed}/key` }),
    'subscription to a file': ({ closed }) => request('resources/subscribe', { uri: `file://${closed}/key` }),
    'resource of the vault': () => request('resources/read', { uri: 'vault://key' }),
    'subscription to the vault': () => request('resources/subscribe', { uri: 'vault://key' }),
    'listening to the vault': () =>
      request('subscriptions/listen', { notifications: { resourceSubscriptions: ['vault://key'] } }),
    'listening to the vault beside an open file': ({ open }) =>
      request('subscriptions/listen', {
        notifications: { resourceSubscriptions: [`file://${open}/a`, 'vault://key'] },
      }),
    'listening to a file': ({ closed }) =>
      request('subscriptions/listen', { notifications: { resourceSubscriptions: [`file://${closed}/key`] } }),
    'completion of the vault': () =>
      request('completion/complete', {
        ref: { type: 'ref/resource', uri: 'vault://{key}' },
        argument: { name: 'key', value: 'k' },
      }),
  }),
  ...table('web', undefined, {
    'vault with an encoded letter': () => request('resources/read', { uri: 'v%61ult://key' }),
    'vault without slashes': () => request('resources/read', { uri: 'vault:key' }),
    'vault with space before': () => request('resources/read', { uri: '\tvault://key' }),
    'vault with a tab within': () => request('resources/read', { uri: 'va\tult://key' }),
    'file: with a tab within': ({ closed }) => request('resources/read', { uri: `fi\tle://${closed}/key` }),
    'file: on another host': ({ closed }) => request('resources/read', { uri: `file://host/..${closed}/key` }),
  }),
  ...table('coerce', undefined, {
    'path in a text of JSON': ({ closed }) => call('read_file', JSON.stringify({ path: `${closed}/key` })),
  }),
];
