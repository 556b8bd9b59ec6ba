/** Statements of the audit log between nodes: by gossip, by sync, to whoever comes later. */
import { afterEach, expect, test } from 'vitest';
import type { MeshEvent } from '../../../protocol/control/index.ts';
import type { Statement } from '../../../protocol/index.ts';
import { createOrganisation, keyOf } from '../../builders.ts';
import { createBinding, createCheckpoint, createFork, ownLog } from '../../protocol/log/own-log.ts';
import { type Member, NodeWorld } from './node-world.ts';

let world: NodeWorld;
afterEach(async () => {
  await world.close();
});

async function three(): Promise<[Member, Member, Member]> {
  world = new NodeWorld();
  const [a, b, c] = [await world.open('acme'), await world.open('beta'), await world.open('gamma')];
  world.mesh.connect(a.network, b.network);
  world.mesh.connect(b.network, c.network);
  await world.clock.advance(200);
  return [a, b, c];
}

/** Who is not there: nobody is cut off for what is proven here. */
const mallory = createOrganisation('mallory');
const log = ownLog('mallory');
const binding = createBinding(mallory);
const fork = createFork(binding, log, [3, 9]);
const holders = (members: readonly Member[], { id }: Statement): string[] =>
  members.filter(({ node }) => node.state.inSet(id) !== undefined).map(({ name }) => name);

test('what one node makes, gossip brings to all; whom it convicts, all hold convicted', async () => {
  const all = await three();
  const [a, , c] = all;
  const events: MeshEvent[] = [];
  c.node.events.subscribe(undefined, (event) => events.push(event));
  const [first, second] = [createCheckpoint(log, 5), createCheckpoint(log, 9, 'other')];
  await world.during(a.node.pipeline.submit([mallory.genesis, binding, first]));
  expect(holders(all, binding)).toEqual(['acme', 'beta', 'gamma']);
  expect(holders(all, first)).toEqual(['acme', 'beta', 'gamma']);
  await world.during(a.node.pipeline.submit([second]));
  expect(holders(all, first)).toEqual([]);
  expect(holders(all, second)).toEqual(['acme', 'beta', 'gamma']);

  await world.during(all[1].node.pipeline.submit([fork]));
  expect(all.map(({ node }) => [...node.state.convicted()])).toEqual(all.map(() => [mallory.did]));
  expect(
    events.flatMap(({ type, data }) => (type === 'statement.accepted' ? [[data.kind, data.issuer, data.source]] : [])),
  ).toEqual([
    ['didop/v1', null, 'gossip'],
    ['binding/v1', mallory.did, 'gossip'],
    ['checkpoint/v1', null, 'gossip'],
    ['checkpoint/v1', null, 'gossip'],
    ['proof/v1', null, 'gossip'],
  ]);
});

test('a checkpoint that was heard of before its binding goes on once that has come', async () => {
  const all = await three();
  const [a, b, c] = all;
  const checkpoint = createCheckpoint(log, 5);
  await world.during(a.network.publish('cp', checkpoint.envelope));
  expect(b.node.pipeline.pendingCount).toBe(1);
  expect(c.node.pipeline.pendingCount).toBe(0);
  await world.during(b.node.pipeline.submit([mallory.genesis, binding]));
  expect(holders([b, c], checkpoint)).toEqual(['beta', 'gamma']);
});

test('what gossip lost, and what a newcomer missed, sync brings', async () => {
  const all = await three();
  const [a, b] = all;
  world.mesh.onMessage = () => false;
  const statements = [mallory.genesis, binding, createCheckpoint(log, 5), fork];
  await world.during(a.node.pipeline.submit(statements));
  expect(holders(all, binding)).toEqual(['acme']);
  await world.clock.advance(30_000);
  for (const statement of statements) expect(holders(all, statement), statement.t).toEqual(['acme', 'beta', 'gamma']);
  const late = await world.open('delta');
  world.mesh.connect(late.network, b.network);
  await world.clock.advance(1_000);
  for (const statement of statements) expect(holders([late], statement), statement.t).toEqual(['delta']);
  expect([...late.node.state.convicted()]).toEqual([mallory.did]);
});

test('the statements of one organisation are reconciled alone, with its checkpoints and what convicts it', async () => {
  const [a, b] = await three();
  world.mesh.onMessage = () => false;
  const statements = [mallory.genesis, binding, createCheckpoint(log, 5), fork];
  await world.during(a.node.pipeline.submit(statements));
  const { complete } = await world.during(b.node.sync.reconcile(a.network.peer, mallory.did));
  expect(complete).toBe(true);
  for (const statement of statements) expect(holders([b], statement), statement.t).toEqual(['beta']);
});

test('a peer that sends a proof of nothing is refused, and nobody is convicted', async () => {
  const [a, b] = await three();
  const proof = createFork(binding, log, [5, 9], { salt: '' });
  const refused: string[] = [];
  b.node.pipeline.listen({ refused: ({ code }) => refused.push(code) });
  await world.during(a.network.publish('rev', proof.envelope));
  expect(refused).toEqual(['bad_proof']);
  expect([...b.node.state.convicted()]).toEqual([]);
});

test('a key that signs for nobody binds nothing', async () => {
  const [a, b] = await three();
  const stolen = createBinding(mallory, { signer: keyOf('thief') });
  await world.during(a.node.pipeline.submit([mallory.genesis]));
  await world.during(a.network.publish('cp', stolen.envelope));
  expect(b.node.pipeline.pendingCount).toBe(1); // an operation that is not held may list it
  expect(b.node.state.bindingOfOrigin(log.vkey.name)).toBeUndefined();
});
