import { expect, test } from 'vitest';
import { FakeBackend } from '../../control/fake-backend.ts';

const operator = { kind: 'operator' } as const;
const never = new AbortController().signal;

test('a tool that has the name of another server’s, or looks like it, is told with that server', async () => {
  const backend = new FakeBackend();
  backend.policies = ['version: "1.0"\ndefault: allow\n'];
  const check = async (server: string, names: readonly string[]) => {
    const tools = names.map((name) => ({ name, inputSchema: { type: 'object' } }));
    const input = { params: {}, query: {}, body: { server, complete: true, tools } };
    const { tools: states } = await backend.toolCheck(input, operator, never);
    return Object.fromEntries(states.map(({ name, shadows }) => [name, shadows]));
  };
  expect(await check('mail', ['send_mail', 'list_mail'])).toEqual({ send_mail: undefined, list_mail: undefined });
  expect(await check('weather', ['forecast', 'Send_Mail', 'list-rnail'])).toEqual({
    forecast: undefined,
    Send_Mail: [{ server: 'mail', tool: 'send_mail' }],
    'list-rnail': [{ server: 'mail', tool: 'list_mail' }],
  });
  // A server is not beside itself.
  expect(await check('weather', ['forecast'])).toEqual({ forecast: undefined });
});
