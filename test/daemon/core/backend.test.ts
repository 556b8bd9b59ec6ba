import { afterEach, expect, test } from 'vitest';
import { type Caller, loginMessage } from '../../../protocol/control/index.ts';
import { isMeshError, parseMultikeyText, signedBytes, signingInput, signStatement } from '../../../protocol/index.ts';
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
const employ = async ({ api }: Member, name: string): Promise<string> => {
  const body = { name, sponsor: 'alice@example.com', capabilities: [{ can: 'read:data/*' }] };
  return (await world.during(api.agentCreate(input(body), operator, never))).agent.did;
};
const as = (did: string): Caller => ({ kind: 'agent', did });
const base64url = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64url');

test("a private chain is its holder's to see, and nobody's that it passed by", async () => {
  world = new NodeWorld();
  const a = await world.open('acme');
  const agents: [string, string, string, string] = [
    await employ(a, 'analyst'),
    await employ(a, 'reader'),
    await employ(a, 'helper'),
    await employ(a, 'stranger'),
  ];
  const [analyst, reader, helper, stranger] = agents;
  const capabilities = [{ can: 'read:x' }];
  const delegate = async (body: object): Promise<string> =>
    (
      await world.during(
        a.api.delegationCreate(input({ to: analyst, capabilities, private: true, ...body }), operator, never),
      )
    ).link.id;
  const root = await delegate({ to: analyst });
  const middle = await delegate({ as: analyst, from: root, to: reader });
  const leaf = await delegate({ as: reader, from: middle, to: helper });
  const sees = async (link: string): Promise<string[]> => {
    const codes = agents.map((did) =>
      codeOf(a.api.chainShow(input(undefined, { leaf: link }) as never, as(did), never)),
    );
    return (await Promise.all(codes)).map((code) => (code === 'ok' ? 'sees' : code));
  };
  expect(await sees(root)).toEqual(['sees', 'not_found', 'not_found', 'not_found']);
  expect(await sees(middle)).toEqual(['sees', 'sees', 'not_found', 'not_found']);
  expect(await sees(leaf)).toEqual(['not_found', 'sees', 'sees', 'not_found']);
  const bundle = (did: string) => codeOf(a.api.chainBundle(input(undefined, { leaf }) as never, as(did), never));
  expect(await bundle(helper)).toBe('ok');
  expect(await bundle(stranger)).toBe('not_found');
});

test('a revoked key logs nobody in', async () => {
  world = new NodeWorld();
  const a = await world.open('acme');
  const key = keyOf('kept by the agent');
  const body = { name: 'clerk', sponsor: 'alice@example.com', capabilities: [{ can: 'read:x' }], publicKey: key.text };
  const { agent, toSign } = await world.during(a.api.agentCreate(input(body), operator, never));
  const { did } = agent;
  const signatures = toSign.map(({ payload }) =>
    base64url(key.sign(signingInput('didop/v1', Uint8Array.from(Buffer.from(payload, 'base64url'))))),
  );
  await world.during(a.api.agentComplete(input({ signatures }, { did }), operator, never));
  const login = async (): Promise<string> => {
    const { nonce } = await a.api.loginChallenge(input({ did }), operator, never);
    const message = signedBytes('login', loginMessage(a.did, Uint8Array.from(Buffer.from(nonce, 'base64url'))));
    return codeOf(a.api.login(input({ did, nonce, signature: base64url(key.sign(message)) }), operator, never));
  };
  expect(await login()).toBe('ok');
  const target = { did, key: key.text };
  expect(await codeOf(a.api.revocationCreate(input({ target, reason: 'stolen' }), operator, never))).toBe('ok');
  expect(await login()).toBe('bad_signature');
});

test('what a thief numbers with a key that was retired as dead stands in the way of no revocation', async () => {
  world = new NodeWorld();
  const [a, b] = [await world.open('acme'), await world.open('beta')];
  world.mesh.connect(a.network, b.network);
  await world.clock.advance(200);
  const [clerk, reader] = [await employ(a, 'clerk'), await employ(a, 'reader')];
  const key = (await a.api.didShow(input(undefined, { did: a.did }), operator, never)).keys[0]?.key as string;
  await world.during(a.api.organisationRotate(input({ retire: [{ key, graceSeconds: null }] }), operator, never));
  const stolen = keyOf('acme/organisation');
  expect(stolen.publicKey).toEqual(parseMultikeyText(key));
  const forged = signStatement<'revocation/v1'>(
    {
      t: 'revocation/v1',
      iat: Math.floor(world.clock.nowMs() / 1000),
      iss: a.did,
      org: a.did,
      seq: 1,
      prv: null,
      tgt: { did: reader },
      rsn: 'forged',
    },
    [stolen],
  );
  for (const { node } of [a, b]) node.pipeline.receive(forged.envelope, { via: 'pulled', peer: 'thief' });
  const answer = await world.during(a.api.agentRevoke(input({ reason: 'left' }, { did: clerk }), operator, never));
  expect(answer.revocation.number).toBe(1);
  expect(b.node.state.revocationsOf({ did: clerk })).toHaveLength(1);
  expect(b.node.state.revocationsOf({ did: reader })).toHaveLength(0);
  expect(a.node.organisation.revocationHead()).toEqual({ seq: 1, id: answer.revocation.id });
});

test('a session is shown with its chain and use to the agent whose it is, and to the operator', async () => {
  world = new NodeWorld();
  const [a, b] = [await world.open('acme'), await world.open('beta')];
  world.mesh.connect(a.network, b.network);
  await world.clock.advance(200);
  const [clerk, reader] = [await employ(a, 'clerk'), await employ(b, 'reader')];
  const capabilities = [{ can: 'read:data/x' }];
  const grant = await world.during(a.api.delegationCreate(input({ to: reader, capabilities }), operator, never));
  const { session } = await world.during(
    b.api.handshakeCreate(input({ did: clerk, as: reader, grant: grant.link.id, capabilities }), operator, never),
  );
  const { sid } = session;
  const use = a.node.sessions.useOf(sid);
  if (use === undefined) throw new Error('both have it');
  use.calls = 3;
  use.bytesIn = 120;
  const show = (of: Member, caller: Caller) => of.api.sessionShow(input(undefined, { sid }), caller, never);
  const shown = await show(a, as(clerk));
  expect(shown.session).toMatchObject({ sid, direction: 'inbound', use: { calls: 3, bytesIn: 120 }, servers: [] });
  expect(shown.chain[0]).toMatchObject({ id: grant.link.id, issuer: a.did, audience: reader, capabilities });
  expect((await show(b, operator)).chain.map(({ id }) => id)).toEqual(shown.chain.map(({ id }) => id));
  expect(await codeOf(show(a, as(reader)))).toBe('not_found');
  expect(await codeOf(a.api.sessionClose(input(undefined, { sid }), as(reader), never))).toBe('not_found');
  expect(await codeOf(a.api.sessionClose(input(undefined, { sid }), as(clerk), never))).toBe('ok');
  expect(await codeOf(show(a, operator))).toBe('not_found');
});
