/** What a dishonest caller does with frames, orders, proofs, chains, names and receipts; the server's own log counts. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Attack, Stage } from './dishonest/attack.ts';
import { KEEPING } from './dishonest/keeping.ts';
import { ORDERING } from './dishonest/ordering.ts';
import { REACHING } from './dishonest/reaching.ts';
import { SPEAKING } from './dishonest/speaking.ts';
import { ALL, Bystander, DishonestWorld } from './dishonest/world.ts';
import { never, operator } from './own-node.ts';

const SLOW = { timeout: 60_000 };
const ATTACKS: readonly Attack[] = [...ORDERING, ...REACHING, ...SPEAKING, ...KEEPING];

let world: DishonestWorld;
let bystander: Bystander;
let grants: Record<string, string>;
/** What the log of the honest side has to say, by session. */
const expected: { readonly name: string; readonly sids: readonly string[]; readonly codes: readonly string[] }[] = [];

beforeAll(async () => {
  world = await DishonestWorld.create();
  const { gamma, mallory, eve } = world;
  const own = async (name: string): Promise<string> => world.grant(mallory, mallory.agents[name] ?? '');
  await world.grant(gamma, gamma.agent);
  const reader = mallory.agents['reader'] ?? '';
  const places = [`file://${world.open}/`];
  const narrow = [{ can: 'mcp:witness/note' }, { can: 'mcp:witness/read', res: places }];
  const body = { to: reader, capabilities: [...ALL] };
  const ownRoot = await mallory.node.api.delegationCreate({ params: {}, query: {}, body }, operator, never);
  const rates = [{ can: 'mcp:witness/counted', n: 5, per: 3_600 }];
  const rated = await world.grant(mallory, reader, { capabilities: [...ALL], rates, depth: 2 });
  grants = {
    all: await own('reader'),
    other: await own('other'),
    eve: await world.grant(eve, eve.agents['reader'] ?? ''),
    narrow: await world.grant(mallory, reader, { capabilities: narrow }),
    own: ownRoot.link.id,
    unpublished: 'bafyreiacgxkhjjq2ejubgdljykkzowofgidlc4lpzyqa5pqiv6bv4mrfoq',
  };
  for (const name of ['other', 'third', 'fourth']) {
    const below = { to: mallory.agents[name] ?? '', capabilities: [...ALL], from: rated };
    const { link } = await mallory.node.api.delegationCreate({ params: {}, query: {}, body: below }, operator, never);
    grants[`rated ${name}`] = link.id;
  }
  bystander = new Bystander(world);
}, 60_000);
afterAll(() => world[Symbol.asyncDispose]());

test.each(ATTACKS)('$name', SLOW, async ({ name, play, answer, runs = 0, logged = [] }) => {
  const stage = new Stage(world, name, grants);
  try {
    expect(await play(stage)).toEqual(answer);
  } finally {
    stage.close();
  }
  const done = world.deeds(name).length;
  if (typeof runs === 'number') expect(done).toBe(runs);
  else expect(done).toBeLessThanOrEqual(runs.most);
  expected.push({ name, sids: stage.sids(), codes: logged });
});

test('the log of the honest side says what was refused, in which session, and verifies', SLOW, async () => {
  const entries = await world.entries(world.acme, ['action.refused']);
  const refused = entries.map(({ entry }) => entry.data as { readonly session?: string; readonly code: string });
  for (const { name, sids, codes } of expected)
    for (const code of codes)
      expect(
        refused.some((entry) => entry.code === code && sids.includes(entry.session ?? '')),
        `${name}: ${code}`,
      ).toBe(true);
  expect(await world.verifyLog(world.acme)).toBeGreaterThan(entries.length);
});

test('nothing was done that the log did not allow before, and the honest noticed nothing', SLOW, async () => {
  const tookMs = await bystander.end();
  expect(tookMs.length).toBeGreaterThan(10);
  expect(Math.max(...tookMs)).toBeLessThan(5_000);
  const allowed = await world.entries(world.acme, ['action.allowed']);
  const calls = allowed.filter(({ entry }) => (entry.data as { readonly session?: string }).session !== undefined);
  const deeds = world.allDeeds().filter(({ did }) => !['cancelled', 'open'].includes(did));
  expect(calls.length).toBeGreaterThanOrEqual(deeds.length);
  for (const { daemon, mesh } of [world.acme, world.gamma]) {
    expect((await mesh.readiness()).ready).toBe(true);
    expect(daemon.logged()).not.toMatch(/fault of this program|unhandled/i);
  }
});
