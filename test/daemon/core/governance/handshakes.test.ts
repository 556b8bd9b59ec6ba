/** Handshakes and sessions under policies, between whole nodes. */
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { ConfiguredPolicy } from '../../../../daemon/core/governance/policy-library.ts';
import { isMeshError, toHex, digestOf } from '../../../../protocol/index.ts';
import type { Entry } from '../../../../protocol/log/index.ts';
import { entriesOf } from '../log/own-log.ts';
import { input, type Member, never, NodeWorld, operator } from '../node-world.ts';
import { live, yaml } from './decide-world.ts';

let world: NodeWorld;
let [a, b]: Member[] = [];
let sources: readonly ConfiguredPolicy[];
let clerk: string;
let reader: string;
const employ = async ({ api }: Member, name: string): Promise<string> => {
  const body = { name, sponsor: 'ann@example.com', capabilities: [{ can: 'read:data/*' }] };
  return (await world.during(api.agentCreate(input(body), operator, never))).agent.did;
};
const member = (of: Member | undefined): Member => {
  if (of === undefined) throw new Error('nobody is there');
  return of;
};
beforeEach(async () => {
  world = new NodeWorld();
  sources = [];
  const load = async (): Promise<readonly ConfiguredPolicy[]> => sources;
  [a, b] = [await world.open('acme', undefined, { governance: { load } }), await world.open('beta')];
  world.mesh.connect(a.network, b.network);
  await world.clock.advance(200);
  [clerk, reader] = [await employ(a, 'clerk'), await employ(b, 'reader')];
});
afterEach(() => world.close());

async function under(...rules: readonly string[]): Promise<void> {
  sources = [live(yaml(rules))];
  await world.during(member(a).api.policyReload(input(undefined), operator, never));
}
const shake = (from: Member, as: string, did: string): Promise<string> =>
  world.during(
    from.api.handshakeCreate(input({ did, as }), operator, never).then(
      () => 'ok',
      (error: unknown) => (isMeshError(error) ? error.code : String(error)),
    ),
    1_000,
  );
const out = (): Promise<string> => shake(member(a), clerk, reader);
const inward = (): Promise<string> => shake(member(b), reader, clerk);
const sessions = async (of: Member | undefined): Promise<number> =>
  (await member(of).api.sessionList(input(undefined), operator, never)).sessions.length;
const written = async (type: string): Promise<Entry['data'][]> => {
  await world.clock.advance(100);
  const entries = await entriesOf(member(a).auditLog);
  return entries.filter((entry) => entry.type === `agentmesh.${type}.v1`).map(({ data }) => data);
};
const NONE = `{ name: none, condition: "action.type == 'handshake'", action: deny }`;

it('are as before under no policy, and under one whose default denies', async () => {
  expect([await out(), await inward()]).toEqual(['ok', 'ok']);
  await under();
  expect([await out(), await inward()]).toEqual(['ok', 'ok']);
});

it('are denied in either direction, by what the rule says of the peer', async () => {
  await under(NONE);
  expect([await out(), await inward()]).toEqual(['policy_denied', 'policy_denied']);
  await under(`{ name: in, condition: "action.type == 'handshake' && facts.direction == 'inbound'", action: deny }`);
  expect([await out(), await inward()]).toEqual(['ok', 'policy_denied']);
  const other = member(b).did;
  await under(
    `{ name: beta, condition: "action.type == 'handshake' && peer.organisation == '${other}'", action: deny }`,
  );
  expect([await out(), await inward()]).toEqual(['policy_denied', 'policy_denied']);
  await under(`{ name: clerk, condition: "action.type == 'handshake' && agent.name == 'somebody'", action: deny }`);
  expect([await out(), await inward()]).toEqual(['ok', 'ok']);
});

it('cannot wait for an approval', async () => {
  await under(`{ name: ask, condition: "action.type == 'handshake'", action: require_approval }`);
  expect([await out(), await inward()]).toEqual(['policy_denied', 'policy_denied']);
  expect(await written('approval.requested')).toEqual([]);
});

it('are judged by the score of the peer', async () => {
  await under(`{ name: low, condition: "action.type == 'handshake' && trust.score < 301", action: deny }`);
  expect(await inward()).toBe('policy_denied');
  await under(`{ name: low, condition: "action.type == 'handshake' && trust.score < 300", action: deny }`);
  expect(await inward()).toBe('ok');
});

it('end their sessions when a policy comes that would not let them in, on both sides', async () => {
  expect([await out(), await inward()]).toEqual(['ok', 'ok']);
  expect([await sessions(a), await sessions(b)]).toEqual([2, 2]);
  await under(`{ name: other, condition: "action.type == 'export'", action: deny }`);
  await world.clock.advance(1_000);
  expect([await sessions(a), await sessions(b)]).toEqual([2, 2]);
  await under(NONE);
  await world.clock.advance(1_000);
  expect([await sessions(a), await sessions(b)]).toEqual([0, 0]);
});

it('name in the log the policies that let them in, by a hash of their digests', async () => {
  await under();
  expect(await inward()).toBe('ok');
  const [accepted] = await written('handshake.accepted');
  const { policies } = await member(a).api.policyList(input(undefined), operator, never);
  const text = policies.map(({ digest }) => digest).join('\n');
  expect(accepted).toMatchObject({
    policy: { version: 'base', hash: toHex(digestOf(new TextEncoder().encode(text))) },
  });
  await under(NONE);
  expect(await inward()).toBe('policy_denied');
  expect(await written('handshake.refused')).toMatchObject([{ code: 'policy_denied' }]);
});
