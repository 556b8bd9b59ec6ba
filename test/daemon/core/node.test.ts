import { afterEach, expect, test } from 'vitest';
import { isMeshError, toHex } from '../../../protocol/index.ts';
import { input, type Member, never, NodeWorld, operator } from './node-world.ts';

let world: NodeWorld;
afterEach(async () => {
  await world.close();
});

const root = ({ node }: Member): string => toHex(node.index.root());

async function three(): Promise<[Member, Member, Member]> {
  world = new NodeWorld();
  const [a, b, c] = [await world.open('acme'), await world.open('beta'), await world.open('gamma')];
  for (const [from, to] of [
    [a, b],
    [b, c],
    [c, a],
  ] as const)
    world.mesh.connect(from.network, to.network);
  await world.clock.advance(200);
  return [a, b, c];
}

const employ = async ({ api }: Member, name: string, can = 'read:data/*'): Promise<string> => {
  const made = await world.during(
    api.agentCreate(input({ name, sponsor: `${name}@example.com`, capabilities: [{ can }] }), operator, never),
  );
  return made.agent.did;
};

const sponsor = ({ api }: Member): Promise<unknown> =>
  world.during(api.sponsorCreate(input({ contact: 'alice@example.com' }), operator, never));

const delegate = async (
  from: Member,
  body: Parameters<Member['api']['delegationCreate']>[0]['body'],
): Promise<string> => (await world.during(from.api.delegationCreate(input(body), operator, never))).link.id;

async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await world.during(work);
    return 'ok';
  } catch (error) {
    if (isMeshError(error)) return error.code;
    throw error;
  }
}

test('nodes that connect show their organisations, are bound, and hold the same set', async () => {
  const [a, b, c] = await three();
  expect(a.node.sync.organisationOf(b.network.peer)).toBe(b.did);
  expect(b.node.sync.organisationOf(a.network.peer)).toBe(a.did);
  expect(new Set([root(a), root(b), root(c)]).size).toBe(1);
});

test('what one makes, gossip brings to all at once', async () => {
  const [a, b, c] = await three();
  const agent = await employ(a, 'clerk');
  expect([b, c].map(({ node }) => node.state.didState(agent)?.ctl)).toEqual([a.did, a.did]);
});

test('statements that gossip lost arrive by reconciliation within seconds', async () => {
  const [a, b, c] = await three();
  world.mesh.onMessage = () => false;
  const agent = await employ(a, 'clerk');
  expect(b.node.state.didState(agent)).toBeUndefined();
  await world.clock.advance(30_000);
  expect([b, c].map(({ node }) => node.state.didState(agent)?.ctl)).toEqual([a.did, a.did]);
});

test('a node that was down while statements spread has them all within seconds of coming back', async () => {
  const [a, b] = await three();
  const gone = world.members.get('gamma') as Member;
  await world.during(gone.node.close());
  await gone.network.close();
  for (let i = 0; i < 5; i++) await employ(a, `clerk-${i}`);
  await world.clock.advance(600_000);
  const back = await world.open('gamma', gone.store);
  expect(back.did).toBe(gone.did);
  world.mesh.connect(back.network, b.network);
  await world.clock.advance(5_000);
  expect(root(back)).toBe(root(a));
});

test('a healed partition converges to equal state on both sides, revocations included', async () => {
  const [a, b, c] = await three();
  await sponsor(a);
  const agent = await employ(b, 'analyst');
  const link = await delegate(a, { to: agent, capabilities: [{ can: 'read:reports/*' }], ttlSeconds: 86_400 });
  await world.clock.advance(1_000);
  world.mesh.partition([a.network], [b.network, c.network]);
  const [fromA, fromC] = [await employ(a, 'clerk'), await employ(c, 'reader')];
  await world.during(a.api.revocationCreate(input({ target: { link }, reason: 'over' }), operator, never));
  await world.clock.advance(120_000);
  expect(root(a)).not.toBe(root(b));
  world.mesh.heal();
  world.mesh.connect(b.network, a.network);
  await world.clock.advance(20_000);
  expect(new Set([root(a), root(b), root(c)]).size).toBe(1);
  expect(c.node.state.didState(fromA)?.kind).toBe('agent');
  expect(a.node.state.didState(fromC)?.kind).toBe('agent');
  expect(b.node.state.revocationsOf({ link })).toHaveLength(1);
});

test('a chain verifies at a third party, and is revoked there when its root link is', async () => {
  const [a, b, c] = await three();
  await sponsor(a);
  const [analyst, reader] = [await employ(b, 'analyst'), await employ(c, 'reader')];
  const first = await delegate(a, { to: analyst, capabilities: [{ can: 'read:reports/*' }] });
  const leaf = await delegate(b, { as: analyst, from: first, to: reader, capabilities: [{ can: 'read:reports/q3' }] });
  const ask = { params: { leaf }, body: { roots: [a.did], capabilities: [{ can: 'read:reports/q3' }] }, query: {} };
  const report = await world.during(c.api.chainVerify(ask, operator, never));
  expect(report.ids).toEqual([first, leaf]);
  const answer = await world.during(
    a.api.revocationCreate(input({ target: { link: first }, reason: 'over' }), operator, never),
  );
  expect(answer.cascade).toEqual([first, leaf]);
  expect(await codeOf(c.api.chainVerify(ask, operator, never))).toBe('revoked');
});

test('knowledge that cannot be refreshed becomes stale, and a critical request needs its own answer', async () => {
  const [a, b, c] = await three();
  await sponsor(a);
  const reader = await employ(c, 'reader');
  const leaf = await delegate(a, {
    to: reader,
    capabilities: [{ can: 'read:x' }, { can: 'pay:x' }],
    ttlSeconds: 86_400,
  });
  const ask = (can: string) => ({ params: { leaf }, body: { roots: [a.did], capabilities: [{ can }] }, query: {} });
  expect(await codeOf(c.api.chainVerify(ask('pay:x'), operator, never))).toBe('ok');
  world.mesh.partition([a.network], [b.network, c.network]);
  expect(await codeOf(c.api.chainVerify(ask('pay:x'), operator, never))).toBe('status_stale');
  expect(await codeOf(c.api.chainVerify(ask('read:x'), operator, never))).toBe('ok');
  await world.clock.advance(301_000);
  expect(await codeOf(c.api.chainVerify(ask('read:x'), operator, never))).toBe('status_stale');
});

test('a handshake opens sessions on both sides, and a revocation ends them in the same turn', async () => {
  const [a, , c] = await three();
  const [clerk, reader] = [await employ(a, 'clerk'), await employ(c, 'reader')];
  const grant = await delegate(a, { to: reader, capabilities: [{ can: 'read:reports/q3' }] });
  const wish = { did: clerk, as: reader, grant, capabilities: [{ can: 'read:reports/q3' }] };
  const { session } = await world.during(c.api.handshakeCreate(input(wish), operator, never), 1_000);
  expect(session).toMatchObject({ did: clerk, organisation: a.did, granted: [{ can: 'read:reports/q3' }], score: 300 });
  expect(a.node.sessions.size).toBe(1);
  await world.during(a.api.revocationCreate(input({ target: { link: grant }, reason: 'over' }), operator, never));
  expect([a.node.sessions.size, c.node.sessions.size]).toEqual([0, 0]);
});

test('a suspended agent has no session, no token and no credential; resumed it works again', async () => {
  const [a, , c] = await three();
  const [clerk, reader] = [await employ(a, 'clerk'), await employ(c, 'reader')];
  await world.during(c.api.handshakeCreate(input({ did: clerk, as: reader }), operator, never), 1_000);
  const { token } = await c.api.agentToken(input(undefined, { did: reader }), operator, never);
  expect(c.node.agents.agentOfToken(token)).toBe(reader);
  await world.during(c.api.agentSuspend(input(undefined, { did: reader }), operator, never));
  expect([a.node.sessions.size, c.node.sessions.size]).toEqual([0, 0]);
  expect(c.node.agents.agentOfToken(token)).toBeUndefined();
  expect(await codeOf(c.api.handshakeCreate(input({ did: clerk, as: reader }), operator, never))).toBe('suspended');
  await world.during(c.api.agentResume(input(undefined, { did: reader }), operator, never));
  expect(c.node.agents.agentOfToken(token)).toBeUndefined();
  expect(await codeOf(c.api.handshakeCreate(input({ did: clerk, as: reader }), operator, never))).toBe('ok');
});

test('an agent that is revoked is refused everywhere', async () => {
  const [a, , c] = await three();
  const [clerk, reader] = [await employ(a, 'clerk'), await employ(c, 'reader')];
  await world.during(c.api.agentRevoke(input({ reason: 'left' }, { did: reader }), operator, never));
  expect(a.node.state.revocationsOf({ did: reader })).toHaveLength(1);
  expect(await codeOf(c.api.handshakeCreate(input({ did: clerk, as: reader }), operator, never))).toBe('revoked');
});

test('credentials are renewed at half of their life, each with another key', async () => {
  const [a] = await three();
  const clerk = await employ(a, 'clerk');
  const first = await a.api.credentialShow(input(undefined, { did: clerk }), operator, never);
  await world.clock.advance(460_000);
  const second = await a.api.credentialShow(input(undefined, { did: clerk }), operator, never);
  expect(second.credential?.id).not.toBe(first.credential?.id);
  expect(second.credential?.holderKey).not.toBe(first.credential?.holderKey);
});

test('root links of own agents are renewed before they end', async () => {
  const [a] = await three();
  const clerk = await employ(a, 'clerk');
  const first = a.node.agents.agent(clerk).rootLink;
  world.clock.step(4 * 86_400_000);
  await world.clock.advance(10_000);
  expect(a.node.agents.agent(clerk).rootLink).not.toBe(first);
});

test('a sponsor has at most as many agents as allowed', async () => {
  world = new NodeWorld({ agentsPerSponsorMax: 2 });
  const a = await world.open('acme');
  const make = (name: string): Promise<unknown> =>
    a.api.agentCreate(
      input({ name, sponsor: 'alice@example.com', capabilities: [{ can: 'read:x' }] }),
      operator,
      never,
    );
  expect(await codeOf(make('one'))).toBe('ok');
  expect(await codeOf(make('two'))).toBe('ok');
  expect(await codeOf(make('three'))).toBe('sponsor_full');
});

test("a sponsor's contact data is in no statement", async () => {
  const [a] = await three();
  await employ(a, 'clerk');
  const text = [...a.node.state.statements()].map(({ envelope }) => Buffer.from(envelope).toString('latin1')).join('');
  expect(text).not.toContain('clerk@example.com');
  expect(text).not.toContain('@example.com');
});

test('a rotated organisation is bound and heard as before; its old key numbers no revocation', async () => {
  const [a, b] = await three();
  const clerk = await employ(a, 'clerk');
  const key = (await a.api.didShow(input(undefined, { did: a.did }), operator, never)).keys[0]?.key as string;
  const rotated = await world.during(
    a.api.organisationRotate(input({ retire: [{ key, graceSeconds: null }] }), operator, never),
  );
  expect(rotated).toMatchObject({ applied: true, seq: 1 });
  expect(b.node.state.didState(a.did)?.seq).toBe(1);
  expect(b.node.sync.organisationOf(a.network.peer)).toBe(a.did);
  await world.during(a.api.agentRevoke(input({ reason: 'left' }, { did: clerk }), operator, never));
  expect(b.node.state.revocationsOf({ did: clerk })).toHaveLength(1);
});

test('a deactivated organisation is unbound by its peers', async () => {
  const [a, b] = await three();
  await world.during(a.api.organisationDeactivate(input({ confirm: a.did }), operator, never));
  expect(b.node.state.didState(a.did)?.status).toBe('deactivated');
  expect(b.node.sync.organisationOf(a.network.peer)).toBeUndefined();
});

test('a DID that neighbours do not hold is found through the DHT', async () => {
  world = new NodeWorld();
  const [a, b, c] = [await world.open('acme'), await world.open('beta'), await world.open('gamma')];
  await world.clock.advance(5_000);
  world.mesh.connect(b.network, c.network);
  await world.clock.advance(200);
  await world.during(c.node.resolver.resolve(a.did), 1_000);
  expect(c.node.state.didState(a.did)?.status).toBe('active');
  expect(
    await codeOf(
      c.api.didResolve(
        input(undefined, { did: a.did.replace(/.$/, (last) => (last === 'a' ? 'q' : 'a')) }),
        operator,
        never,
      ),
    ),
  ).not.toBe('ok');
});

test('own chains are as fresh as before right after the organisation replaced its key', async () => {
  const [a] = await three();
  const clerk = await employ(a, 'clerk');
  const leaf = a.node.agents.agent(clerk).rootLink;
  const key = (await a.api.didShow(input(undefined, { did: a.did }), operator, never)).keys[0]?.key as string;
  const retire = [{ key, graceSeconds: null, keep: [leaf] }];
  await world.during(a.api.organisationRotate(input({ retire }), operator, never), 0);
  const { verdict } = await a.api.chainShow(input(undefined, { leaf }), operator, never);
  expect(verdict).toMatchObject({ ok: true, code: null });
});
