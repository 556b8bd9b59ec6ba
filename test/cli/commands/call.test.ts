import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { MeshError } from '../../../protocol/index.ts';
import { FakeBackend } from '../../daemon/control/fake-backend.ts';
import { FakeLinks, PEER } from '../../daemon/control/fake-links.ts';
import { RECEIPT, serveFake } from '../../daemon/control/fake-server.ts';
import { SAMPLE } from '../../protocol/control/samples.ts';
import { createHomeWithDaemon, type HomeWithDaemon } from '../start.ts';

let links: FakeLinks;
let fake: FakeBackend;
let home: HomeWithDaemon;
beforeEach(async () => {
  links = new FakeLinks();
  links.onMessage = serveFake;
  fake = new FakeBackend();
  home = await createHomeWithDaemon(fake, { links: links.open });
});
afterEach(() => home[Symbol.asyncDispose]());

const call = (tool: string, ...words: readonly string[]) => home.run(['call', PEER.did, 'files', tool, ...words]);
const asked = () =>
  links.opened
    .flatMap(({ received }) => received.map((line) => JSON.parse(line) as { method?: string; params?: object }))
    .filter(({ method }) => method === 'tools/call')
    .map(({ params }) => params);

test('prints what a person reads, and on standard error where the receipt is', async () => {
  const { exit, out, err } = await call('echo', '--args', '{"text":"Grüße\\u001b[31m"}');
  expect([exit, out]).toEqual([0, 'Grüße�[31m\n']);
  expect(err).toContain(`receipt show ${RECEIPT}`);
  expect(asked()).toMatchObject([{ name: 'echo', arguments: { text: 'Grüße\u001b[31m' } }]);
});

test('acts as the only agent, or as the organisation where its DID is named', async () => {
  const { json } = await home.run(['agent', 'show', 'reporter', '--json']);
  await call('echo');
  expect(links.last.wanted.as).toBe((json['agent'] as { did: string }).did);
  await call('echo', '--as', fake.organisation.did);
  expect(links.last.wanted.as).toBeUndefined();
});

test('--json has all of it, and nothing is said beside it', async () => {
  const key = 'order-2026-0042-a';
  const { exit, json, err } = await call('echo', '--key', key, '--json');
  expect([exit, err]).toEqual([0, '']);
  expect(json).toEqual({
    did: PEER.did,
    server: 'files',
    tool: 'echo',
    key,
    isError: false,
    content: [{ type: 'text', text: 'undefined' }],
    structuredContent: { key },
    receipt: { id: RECEIPT, out: 'ok', half: false },
  });
});

test('reads its arguments from a file or standard input', async () => {
  await writeFile(join(home.path, 'args.json'), '{"text":"from a file"}');
  expect((await call('echo', '--args', '@args.json')).out).toBe('from a file\n');
  const input = Buffer.from('{"text":"piped"}');
  expect((await home.run(['call', PEER.did, 'files', 'echo', '--args', '-'], { input })).out).toBe('piped\n');
  for (const args of ['{', '[]', '1', 'null'])
    expect((await call('echo', '--args', args, '--json')).error.code).toBe('usage');
  expect((await call('echo', '--args', '@missing.json', '--json')).error.code).toBe('not_found');
  expect((await call('echo', '--key', 'short', '--json')).error.code).toBe('usage');
  expect((await call('echo', '--key', 'a key with spaces in it', '--json')).error.code).toBe('usage');
  expect(asked()).toHaveLength(2);
});

test('acts as the agent that is named, with what its flags say', async () => {
  const { json } = await home.run(['agent', 'show', 'reporter', '--json']);
  const { did } = json['agent'] as { did: string };
  await call('echo', '--as', 'reporter', '--grant', SAMPLE.id, '--purpose', 'billing', '--policy', 'strict');
  expect(links.last.wanted).toMatchObject({ as: did, grant: SAMPLE.id, purpose: 'billing' });
  expect((await call('echo', '--as', 'nobody', '--json')).error.code).toBe('not_found');
  expect((await call('echo', '--purpose', 'Not one', '--json')).error.code).toBe('usage');
  expect((await call('echo', '--policy', 'missing.yaml', '--json')).error).toMatchObject({
    code: 'policy_invalid',
    message: expect.stringContaining(join(home.path, 'missing.yaml')) as string,
  });
});

test.each([
  ['broken', 1, 'no such file\n'],
  ['late_receipt', 0, ''],
] as const)('%s exits %d', async (tool, exit, out) => {
  expect(await call(tool)).toMatchObject({ exit, out });
});

test.each([
  ['denied', 3, 'policy_denied'],
  ['nothing', 1, 'failed'],
  ['waiting', 5, 'approval_pending'],
  ['unknown_outcome', 1, 'outcome_unknown'],
  ['ends', 1, 'outcome_unknown'],
] as const)('%s exits %d: %s', async (tool, exit, code) => {
  const ran = await call(tool, '--json');
  expect(ran.exit).toBe(exit);
  expect(ran.error.code).toBe(code);
  expect(ran.out).toBe('');
});

test('says how a call of unknown outcome is repeated safely', async () => {
  const { error } = await call('ends', '--key', 'order-2026-0042-a', '--json');
  expect(error.next).toContain("--key 'order-2026-0042-a'");
});

test('fails with the code that kept the link from opening', async () => {
  links.before = async () => {
    throw new MeshError('unreachable', 'Cannot reach it');
  };
  expect((await call('echo', '--json')).error.code).toBe('unreachable');
});

test('gives up when its time is over', async () => {
  expect((await call('slow', '--timeout', '1', '--json')).error).toMatchObject({ code: 'timeout' });
});

test('writes the receipt where it is told to', async () => {
  const file = Buffer.from('{"agentmesh":"receipt/v1"}\n');
  vi.spyOn(fake, 'receiptFile').mockResolvedValue({ id: RECEIPT, file: file.toString('base64url') });
  const { exit, err } = await call('echo', '--receipt', 'echo.receipt');
  expect(exit).toBe(0);
  expect(err).toContain(join(home.path, 'echo.receipt'));
  expect(await readFile(join(home.path, 'echo.receipt'))).toEqual(file);
  expect((await call('echo', '--receipt', 'no/such/place', '--json')).error.code).toBe('not_found');
});
