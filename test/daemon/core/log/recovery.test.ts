/** A whole daemon's log that was rolled back, got back from a neighbour through the control API. */
import { afterEach, expect, test } from 'vitest';
import { MemoryStore } from '../../../../daemon/store/memory.ts';
import { input, type Member, never, NodeWorld, operator } from '../node-world.ts';
import { entriesOf } from './own-log.ts';
import { rowsOf } from './log-world.ts';

let world: NodeWorld;
afterEach(async () => {
  await world.close();
});

async function copyOf(store: MemoryStore): Promise<MemoryStore> {
  const copy = new MemoryStore();
  await copy.batch(
    (await rowsOf(store)).map(([key, value]) => ({ type: 'put', key, value }) as const),
    { sync: true },
  );
  return copy;
}

const employ = ({ api }: Member, name: string): Promise<unknown> =>
  world.during(
    api.agentCreate(
      input({ name, sponsor: 'alice@example.com', capabilities: [{ can: 'read:data/*' }] }),
      operator,
      never,
    ),
  );

/** Acme, and Beta who keeps a copy of its log. */
async function mirrored() {
  world = new NodeWorld();
  const readers: string[] = [];
  const audit = { version: '1', logReaders: readers };
  const acme = await world.open('acme', new MemoryStore(), { audit });
  const beta = await world.open('beta', new MemoryStore(), { audit: { version: '1', logMirrors: [acme.did] } });
  readers.push(beta.did);
  world.mesh.connect(acme.network, beta.network);
  await world.during(acme.api.sponsorCreate(input({ contact: 'alice@example.com' }), operator, never));
  await world.clock.advance(5_000);
  return { acme, beta, audit };
}

test('agentmesh log recover --from-mirrors brings back what a restored database had lost', async () => {
  const { acme, beta, audit } = await mirrored();
  const backup = await copyOf(acme.store);
  for (const name of ['one', 'two', 'three']) await employ(acme, name);
  await world.clock.advance(5_000);
  await world.during(acme.node.close(), 5_000);
  await acme.network.close();
  await world.clock.advance(5_000);
  const [mirror] = beta.node.audit.mirrors.status();
  expect(mirror).toMatchObject({ organisation: acme.did, problem: null });

  const again = await world.open('acme', backup, { audit });
  world.mesh.connect(again.network, beta.network);
  await world.clock.advance(2_000);
  const before = again.node.audit.auditLog;
  expect([before.problem?.code, before.treeSize < (mirror?.treeSize ?? 0)]).toEqual(['log_halted', true]);
  const recovered = { how: 'mirrors', reason: 'the disk was replaced' } as const;
  await world.during(again.api.logRecover(input(recovered), operator, never), 2_000);
  const log = again.node.audit.auditLog;
  expect([log.problem, log.generation, log.treeSize > (mirror?.treeSize ?? 0)]).toEqual([undefined, 0, true]);
  const entries = await entriesOf(log);
  const named = entries.filter(({ type }) => type === 'agentmesh.log.recovered.v1').map(({ data }) => data);
  expect(named).toMatchObject([{ how: 'mirror', reason: 'the disk was replaced' }]);
  // What it lost beside its log is what sync brings back; nobody holds anything against it.
  await employ(again, 'four');
  await world.clock.advance(10_000);
  expect(beta.node.convictions.list()).toEqual([]);
  expect(beta.node.audit.mirrors.status()).toMatchObject([{ problem: null }]);
  expect(beta.node.audit.mirrors.status()[0]?.treeSize).toBeGreaterThan(mirror?.treeSize ?? Number.POSITIVE_INFINITY);
});

test('entries that nobody was shown are lost and counted, and nothing is released before a witness has answered', async () => {
  const { acme, beta, audit } = await mirrored();
  const backup = await copyOf(acme.store);
  for (const name of ['one', 'two']) await employ(acme, name);
  await world.clock.advance(5_000);
  await world.during(acme.node.close(), 5_000);
  await acme.network.close();
  await world.clock.advance(5_000);
  const copied = beta.node.audit.mirrors.status()[0]?.treeSize ?? 0;
  const stopped = acme.auditLog.treeSize;
  expect(stopped).toBeGreaterThan(copied); // at least that the daemon stopped

  const anchor = world.anchors.get(acme.store);
  if (anchor === undefined) throw new Error('acme has an anchor');
  expect([anchor.sizes({ isReleased: true }).at(-1), Math.max(...anchor.sizes())]).toEqual([copied, stopped]);
  world.anchors.set(backup, anchor);
  const again = await world.open('acme', backup, { audit });
  expect(again.auditLog.problem?.message).toContain(`it holds a checkpoint of ${stopped} leaves`);
  world.mesh.onFrame = (frame, { name }) => (name === 'tlog/witness' ? undefined : frame);
  world.mesh.connect(again.network, beta.network);
  await world.clock.advance(2_000);
  const recovered = { how: 'mirrors', reason: 'the disk was replaced' } as const;
  const answer = await world.during(again.api.logRecover(input(recovered), operator, never), 2_000);
  expect(answer).toMatchObject({ problem: null, generation: 0, lost: stopped - copied });
  await world.clock.advance(20_000);
  expect([again.node.audit.cosigning.isConfirmed, again.auditLog.released()?.checkpoint.treeSize]).toEqual([
    false,
    copied,
  ]);
  world.mesh.onFrame = undefined;
  await world.clock.advance(60_000);
  expect(again.node.audit.cosigning.isConfirmed).toBe(true);
  expect(again.auditLog.released()?.checkpoint.treeSize).toBeGreaterThan(copied);
  expect(beta.node.audit.mirrors.status()).toMatchObject([{ problem: null, treeSize: again.auditLog.treeSize }]);
  const entries = await entriesOf(again.auditLog);
  const named = entries.filter(({ type }) => type === 'agentmesh.log.recovered.v1').map(({ data }) => data);
  expect(named).toMatchObject([{ how: 'mirror', lost: stopped - copied }]);
  expect(beta.node.convictions.list()).toEqual([]);
});
