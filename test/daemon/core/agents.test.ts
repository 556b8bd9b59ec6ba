import { afterEach, expect, test } from 'vitest';
import type { ToSign } from '../../../protocol/control/index.ts';
import { isMeshError, limits, signingInput } from '../../../protocol/index.ts';
import { keyOf } from '../../builders.ts';
import { input, type Member, never, NodeWorld, operator } from './node-world.ts';

let world: NodeWorld;
afterEach(async () => {
  await world.close();
});

const codeOf = (work: Promise<unknown>): Promise<string> =>
  world.during(
    work.then(
      () => 'ok',
      (error: unknown) => (isMeshError(error) ? error.code : String(error)),
    ),
  );
async function alone(): Promise<Member> {
  world = new NodeWorld();
  return world.open('acme');
}
const body = (name: string, more: object = {}) => ({
  name,
  sponsor: 'alice@example.com',
  capabilities: [{ can: 'read:data/*' }],
  ...more,
});
const employ = async ({ api }: Member, name: string, more: object = {}): Promise<string> =>
  (await world.during(api.agentCreate(input(body(name, more)), operator, never))).agent.did;
const credentialOf = async ({ api }: Member, did: string): Promise<string | undefined> =>
  (await api.credentialShow(input(undefined, { did }), operator, never)).credential?.id;
const revoke = (member: Member, target: { link: string } | { did: string }): Promise<string> =>
  codeOf(member.api.revocationCreate(input({ target, reason: 'over' }), operator, never));
const reopen = async (member: Member): Promise<Member> => {
  await world.during(member.node.close());
  await member.network.close();
  return world.open(member.name, member.store);
};

const own = keyOf('kept by the agent');
const signed = (toSign: readonly ToSign[]): string[] =>
  toSign.map(({ payload }) =>
    Buffer.from(own.sign(signingInput('didop/v1', Uint8Array.from(Buffer.from(payload, 'base64url'))))).toString(
      'base64url',
    ),
  );

test('an agent whose root link was revoked gets no other, while the others are renewed and the daemon starts again', async () => {
  const a = await alone();
  const [first, second] = [await employ(a, 'first'), await employ(a, 'second')];
  const link = a.node.agents.agent(first).rootLink;
  expect(await revoke(a, { link })).toBe('ok');
  const before = await credentialOf(a, second);
  await world.clock.advance(460_000);
  expect(await credentialOf(a, second)).not.toBe(before);
  const again = await reopen(a);
  expect(await credentialOf(again, second)).toBeDefined();
  expect(await credentialOf(again, first)).toBeUndefined();
  world.clock.step(4 * 86_400_000);
  await world.clock.advance(10_000);
  expect(again.node.agents.agent(first).rootLink).toBe(link);
  expect(again.node.agents.agent(second).rootLink).not.toBe(a.node.agents.agent(second).rootLink);
});

test('a revoked sponsor signs for nobody any more', async () => {
  const a = await alone();
  const clerk = await employ(a, 'clerk');
  const { sponsor } = a.node.agents.agent(clerk);
  expect(await revoke(a, { did: sponsor })).toBe('ok');
  const keys = a.node.signers.names().length;
  expect(await codeOf(a.api.agentCreate(input(body('another')), operator, never))).toBe('revoked');
  expect(a.node.signers.names()).toHaveLength(keys);
  const delegation = { to: clerk, capabilities: [{ can: 'read:x' }], sponsor };
  expect(await codeOf(a.api.delegationCreate(input(delegation), operator, never))).toBe('revoked');
  expect(await credentialOf(await reopen(a), clerk)).toBeUndefined();
});

test('when a key of the organisation is retired as dead its agents have new root links and credentials in the same moment', async () => {
  const a = await alone();
  const clerk = await employ(a, 'clerk');
  const before = [a.node.agents.agent(clerk).rootLink, await credentialOf(a, clerk)];
  const key = (await a.api.didShow(input(undefined, { did: a.did }), operator, never)).keys[0]?.key as string;
  const retire = [{ key, graceSeconds: null }];
  expect(await codeOf(a.api.organisationRotate(input({ retire }), operator, never))).toBe('ok');
  const after = [a.node.agents.agent(clerk).rootLink, await credentialOf(a, clerk)];
  expect(after).not.toContain(before[0]);
  expect(after).not.toContain(before[1]);
  const ask = { params: { leaf: after[0] as string }, body: { capabilities: [{ can: 'read:data/x' }] }, query: {} };
  expect(await codeOf(a.api.chainVerify(ask, operator, never))).toBe('ok');
});

test('an agent drafted before a key was retired is published with a root link that counts', async () => {
  const a = await alone();
  const clerk = await employ(a, 'clerk', { publish: false });
  const key = (await a.api.didShow(input(undefined, { did: a.did }), operator, never)).keys[0]?.key as string;
  const retire = [{ key, graceSeconds: null }];
  expect(await codeOf(a.api.organisationRotate(input({ retire }), operator, never))).toBe('ok');
  expect(await codeOf(a.api.agentRegister(input(undefined, { did: clerk }), operator, never))).toBe('ok');
  const ask = { params: { leaf: a.node.agents.agent(clerk).rootLink }, body: {}, query: {} };
  expect(await codeOf(a.api.chainVerify(ask, operator, never))).toBe('ok');
});

test('an agent that is not published can be suspended and resumed, and stays unpublished', async () => {
  const a = await alone();
  const clerk = await employ(a, 'clerk', { publish: false });
  const count = a.node.state.size;
  expect(await codeOf(a.api.agentSuspend(input(undefined, { did: clerk }), operator, never))).toBe('ok');
  expect(await codeOf(a.api.agentResume(input(undefined, { did: clerk }), operator, never))).toBe('ok');
  expect(a.node.agents.status(a.node.agents.agent(clerk))).toBe('unregistered');
  expect(a.node.state.size).toBe(count);
  expect(await codeOf(a.api.agentRegister(input(undefined, { did: clerk }), operator, never))).toBe('ok');
});

test('a suspension that could not revoke the credential does so when asked again', async () => {
  const a = await alone();
  const clerk = await employ(a, 'clerk');
  const credential = (await credentialOf(a, clerk)) as string;
  const { organisation } = a.node;
  const real = organisation.revoke.bind(organisation);
  organisation.revoke = () => Promise.reject(new Error('the neighbours do not answer'));
  expect(await codeOf(a.api.agentSuspend(input(undefined, { did: clerk }), operator, never))).not.toBe('ok');
  organisation.revoke = real;
  expect(a.node.agents.status(a.node.agents.agent(clerk))).toBe('suspended');
  expect(await codeOf(a.api.agentSuspend(input(undefined, { did: clerk }), operator, never))).toBe('ok');
  expect(a.node.state.revocationsOf({ link: credential })).toHaveLength(1);
});

test('of two agents drafted under one name one is made', async () => {
  const a = await alone();
  const draft = () => world.during(a.api.agentCreate(input(body('clerk', { publicKey: own.text })), operator, never));
  const drafts = [await draft(), await draft()];
  const complete = ({ agent, toSign }: (typeof drafts)[number]) =>
    codeOf(a.api.agentComplete(input({ signatures: signed(toSign) }, { did: agent.did }), operator, never));
  expect(await complete(drafts[0] as (typeof drafts)[number])).toBe('ok');
  expect(await complete(drafts[1] as (typeof drafts)[number])).toBe('conflict');
});

test('asked for at once, a name is given once', async () => {
  const a = await alone();
  const make = () => codeOf(a.api.agentCreate(input(body('clerk')), operator, never));
  expect((await Promise.all([make(), make()])).sort()).toEqual(['conflict', 'ok']);
});

test('a clock set back does not leave an agent without a credential that is valid already', async () => {
  const a = await alone();
  const clerk = await employ(a, 'clerk');
  world.clock.step(-3 * 3_600_000);
  await world.clock.advance(6_000);
  const ask = { params: { leaf: (await credentialOf(a, clerk)) as string }, body: {}, query: {} };
  expect(await codeOf(a.api.chainVerify(ask, operator, never))).toBe('ok');
});

test('a node closed while it renews leaves no timer behind', async () => {
  const a = await alone();
  await employ(a, 'clerk');
  world.clock.step(4 * 86_400_000);
  const batch = a.store.batch.bind(a.store);
  const held: (() => void)[] = [];
  a.store.batch = (writes, options) =>
    new Promise((resolve, reject) => {
      held.push(() => {
        batch(writes, options).then(resolve, reject);
      });
    });
  await world.clock.advance(5_000);
  const closed = a.node.close();
  a.store.batch = batch;
  for (const write of held) write();
  await world.during(closed);
  await world.clock.advance(60_000); // what only waits for an answer ends by itself
  expect(world.clock.timers).toBe(0);
});

test('logging in again and again keeps the newest tokens only', async () => {
  const a = await alone();
  const draft = await world.during(a.api.agentCreate(input(body('clerk', { publicKey: own.text })), operator, never));
  const { did } = draft.agent;
  await world.during(a.api.agentComplete(input({ signatures: signed(draft.toSign) }, { did }), operator, never));
  const tokens: string[] = [];
  for (let i = 0; i <= limits.TOKENS_PER_AGENT_MAX; i++) tokens.push((await a.node.agents.loginToken(did)).token);
  expect(tokens.map((token) => a.node.agents.agentOfToken(token) === did)).toEqual([
    false,
    ...Array.from({ length: limits.TOKENS_PER_AGENT_MAX }, () => true),
  ]);
});
