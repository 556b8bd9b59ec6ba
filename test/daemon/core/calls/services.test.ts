/** Acme's node tells Beta's agent what is exposed, as far as what it was granted covers something of it. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { ResponseOf } from '../../../../protocol/control/index.ts';
import { input, never, operator } from '../node-world.ts';
import { CalleeWorld } from './callee-world.ts';

let world: CalleeWorld;
beforeEach(async () => {
  world = await new CalleeWorld().open();
  const { exposures } = world.acme.node.calls;
  for (const name of ['archive', 'search'])
    await exposures.add({ name, url: `http://127.0.0.1:1/${name}`, description: `The ${name}\u200b` });
});
afterEach(async () => {
  await world.close();
  expect([...world.acme.network.faults, ...world.beta.network.faults]).toEqual([]);
});

const ask = (query: object = { did: world.clerk, as: world.reader }): Promise<ResponseOf<'services'>> =>
  world.during(world.beta.api.services({ ...input({}), query } as never, operator, never), 1_000);

test('whoever holds no grant asks nobody, and learns nothing', async () => {
  expect(await ask()).toMatchObject({ did: world.clerk, organisation: world.acme.did, services: [], grants: 0 });
  expect(world.beta.node.sessions.size).toBe(0);
});

test('a grant shows the servers that it covers something of, and no other', async () => {
  await world.grant({ capabilities: [{ can: 'mcp:archive/read' }, { can: 'mcp:nowhere/*' }] });
  const { services, grants } = await ask();
  expect(services).toEqual([{ name: 'archive', description: 'The archive⟨U+200B⟩' }]);
  expect(grants).toBe(1);
});

test('every chain that is held is presented, but those that add nothing', async () => {
  await world.grant({ capabilities: [{ can: 'mcp:archive/*' }] });
  await world.grant({ capabilities: [{ can: 'mcp:search/*' }] });
  await world.grant({ capabilities: [{ can: 'mcp:search/find' }] });
  const { services, grants } = await ask();
  expect(services.map(({ name }) => name)).toEqual(['archive', 'search']);
  expect(grants).toBe(2);
});

test('what is removed is told no longer', async () => {
  await world.grant({ capabilities: [{ can: 'mcp:archive/*' }] });
  await world.acme.node.calls.exposures.remove('archive');
  expect((await ask()).services).toEqual([]);
});

test('one whom nobody knows cannot be asked', async () => {
  const did = world.clerk.replace(/.{4}$/, 'aaaa');
  await expect(ask({ did })).rejects.toMatchObject({ code: 'did_unknown' });
});
