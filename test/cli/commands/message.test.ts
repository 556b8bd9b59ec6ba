import { afterAll, beforeAll, expect, test } from 'vitest';
import { checkJson, ROUTES } from '../../../protocol/control/index.ts';
import { limits } from '../../../protocol/index.ts';
import { createAgent } from '../../builders.ts';
import { createHomeWithDaemon, type HomeWithDaemon } from '../start.ts';

let home: HomeWithDaemon;
let clerk: string;
let stranger: string;
beforeAll(async () => {
  home = await createHomeWithDaemon();
  const { json } = await home.run(['init', '--name', 'clerk', '--sponsor', 'alice@company.com', '--json']);
  clerk = (json['agent'] as { did: string }).did;
  stranger = createAgent(home.fake.organisation, 'stranger').did;
});
afterAll(() => home[Symbol.asyncDispose]());

test('a message is sent, shown to whom it is for, and gone once it is acknowledged', async () => {
  const sent = await home.run(['message', 'send', 'clerk', 'the report is ready', '--as', 'reporter']);
  expect(sent).toMatchObject({ exit: 0, err: '' });
  expect(sent.out).toContain('delivered');
  const { exit, out } = await home.run(['message', 'list', '--as', 'clerk']);
  expect(exit).toBe(0);
  expect(out).toMatch(/From +did:mesh:\w+ \(reporter\)/);
  expect(out).toContain('\n  the report is ready\n');
  expect((await home.run(['message', 'list', '--as', 'clerk', '--ack'])).out).toContain('the report is ready');
  expect((await home.run(['message', 'list', '--as', 'clerk'])).out).toBe('No message waits.\n');
});

test('--json is the answer of each route', async () => {
  const answers = [
    ['messageSend', ['message', 'send', clerk, 'x', '--as', 'reporter', '--expires', '1h']],
    ['inboxList', ['message', 'list', '--as', 'clerk']],
    ['outboxList', ['message', 'outbox']],
  ] as const;
  for (const [operationId, words] of answers) {
    const { exit, json } = await home.run([...words, '--json']);
    expect(exit, operationId).toBe(0);
    expect(() => checkJson(ROUTES[operationId].response, json, 'the answer', 'internal')).not.toThrow();
  }
  await home.run(['message', 'list', '--as', 'clerk', '--ack']);
});

test('what waits is in the outbox, and where to look is said', async () => {
  const sent = await home.run(['message', 'send', stranger, 'anybody?', '--as', 'reporter']);
  expect([sent.exit, sent.err]).toEqual([0, expect.stringContaining('message outbox')]);
  const { out } = await home.run(['message', 'outbox', '--as', 'reporter']);
  expect(out).toMatch(/\n\w{32} +reporter +did:mesh:\w+ +waiting /);
  expect((await home.run(['message', 'outbox', '--as', 'clerk'])).out).toBe('No message was sent.\n');
});

test('standard input is sent as it is, and what is no text is not shown as one', async () => {
  const words = ['message', 'send', 'clerk', '-', '--as', 'reporter'];
  await home.run(words, { input: new TextEncoder().encode('\u001b[2Jlines\nof text') });
  await home.run([...words, '--content-type', 'application/octet-stream'], { input: Uint8Array.of(0xff, 0xfe) });
  const { out } = await home.run(['message', 'list', '--as', 'clerk', '--ack']);
  expect(out).toContain('�[2Jlines\n  of text');
  expect(out).not.toContain('\u001b');
  expect(out).toContain('(2 B that are no text; see --json)');
});

test('what cannot be sent is refused, with how', async () => {
  const large = 'x'.repeat(limits.MESSAGE_BODY_BYTES_MAX + 1);
  expect(await home.run(['message', 'send', 'clerk', large])).toMatchObject({ exit: 3 });
  expect(await home.run(['message', 'send', 'clerk', ''])).toMatchObject({ exit: 3 });
  expect(await home.run(['message', 'send', 'nobody', 'x'])).toMatchObject({ exit: 4 });
  const { exit, err } = await home.run(['message', 'send', 'clerk', 'x', '--expires', '8d']);
  expect([exit, err]).toEqual([2, expect.stringContaining('want from 1s to 7d')]);
});
