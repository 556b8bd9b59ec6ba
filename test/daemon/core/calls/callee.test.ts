import { afterEach, expect, test } from 'vitest';
import { CalleeWorld } from './callee-world.ts';

let world: CalleeWorld;
afterEach(async () => {
  await world.close();
});

test('a call that is covered is done, taken, answered and receipted by both', async () => {
  world = await new CalleeWorld().open();
  const link = await world.ready();
  expect(link.frames('opened')).toHaveLength(1);
  const { out, text, isError } = await link.call('echo', { a: 1 });
  expect({ out, text, isError }).toEqual({ out: 'ok', text: '{"a":1}', isError: false });
  expect(link.frames('taken')).toHaveLength(1);
  expect(world.servers.did).toEqual(['echo']);
  const [allowed] = await world.written('action.allowed');
  expect(allowed).toMatchObject({
    actor: world.clerk,
    peer: world.reader,
    session: link.session.sid,
    action: 'tool_call',
    tool: 'echo',
    server: 'files',
  });
  const [kept] = await world.written('receipt.kept');
  expect(kept).toMatchObject({
    role: 'callee',
    n: 1,
    half: false,
    outcome: 'ok',
    intent: allowed?.['id'],
    peer: world.reader,
  });
});
