import { afterEach, describe, expect, test } from 'vitest';
import { offenceOf } from '../../../../daemon/core/log/convictions.ts';
import { isMeshError, type Statement } from '../../../../protocol/index.ts';
import { createForkProof, formatNote } from '../../../../protocol/log/index.ts';
import { input, never, operator } from '../node-world.ts';
import { type Fork, forkOf, MonitorWorld, type Watcher } from './monitor-world.ts';

type Proof = Statement<'proof/v1'>;

let world: MonitorWorld;
afterEach(async () => {
  await world.close();
});

async function codeOf(work: () => Promise<unknown>): Promise<string> {
  try {
    await world.nodes.during(work(), 2_000);
    return 'ok';
  } catch (error) {
    if (isMeshError(error)) return error.code;
    throw error;
  }
}

/** acme and beta in contact with one who will be convicted; nobody monitors. */
async function three(): Promise<[acme: Watcher, beta: Watcher, forker: Watcher]> {
  world = new MonitorWorld();
  const [acme, beta, forker] = [
    await world.open('acme', { watches: false }),
    await world.open('beta', { watches: false }),
    await world.open('forker', { watches: false }),
  ];
  await world.connect([acme, beta], [forker, acme], [forker, beta]);
  return [acme, beta, forker];
}

/** That the log signed this fork's ends. */
async function proofOf(of: Watcher, { left, right }: Fork): Promise<Proof> {
  const [a, b] = [await of.log.sign(left), await of.log.sign(right)];
  const [m, n] = [left.treeSize, right.treeSize];
  const [binding] = of.member.node.state.bindingsOf(of.member.did);
  if (binding === undefined) throw new Error('the log has no binding');
  return createForkProof({
    of: 'log',
    who: of.member.did,
    vkey: of.log.vkey,
    a: formatNote(a.note),
    b: formatNote(b.note),
    rootOfAOnB: await right.rootAt(m),
    proof: m === n ? [] : await right.proveConsistency(m, n),
    binding,
  });
}

/** Many, the one of lowest id first: that one stays where several are known. */
async function proofsOf(of: Watcher): Promise<readonly Proof[]> {
  const sizes = [4, 5, 6, 7, 8];
  const proofs = await Promise.all(sizes.map((size) => proofOf(of, forkOf([size, 9], 2))));
  return proofs.sort((a, b) => Buffer.compare(a.digest, b.digest));
}

const give = (to: Watcher, from: Watcher, { envelope }: Proof): string => {
  const source = { via: 'gossip', peer: from.member.network.peer, topic: 'rev' } as const;
  const outcome = to.member.node.pipeline.receive(envelope, source);
  return outcome.verdict === 'accept' ? outcome.verdict : outcome.code;
};

const shake = (from: Watcher, to: Watcher) => () => from.member.node.handshake({ did: to.member.did }, never);

function endings({ member }: Watcher): readonly string[] {
  const codes: string[] = [];
  member.node.events.subscribe(undefined, (event) => {
    if (event.type === 'session.ended') codes.push(event.data.code);
  });
  return codes;
}

describe('a conviction', () => {
  test('ends sessions and bindings in the turn in which the proof is held, and lets none be made again', async () => {
    const [acme, beta, forker] = await three();
    expect(await codeOf(shake(acme, forker))).toBe('ok');
    expect(await codeOf(shake(forker, beta))).toBe('ok');
    expect(await codeOf(shake(acme, beta))).toBe('ok');
    const { node, network } = acme.member;
    const sids = node.sessions.list().map(({ organisation }) => organisation);
    expect(new Set(sids)).toEqual(new Set([forker.member.did, beta.member.did]));
    const [proof] = await proofsOf(forker);
    const ended = endings(acme);
    const verdict = give(acme, beta, proof as Proof);
    // No await between: this is the same turn.
    expect([verdict, node.sessions.list().map(({ organisation }) => organisation)]).toEqual([
      'accept',
      [beta.member.did],
    ]);
    expect([node.sync.peersOf(forker.member.did), network.isBound(forker.member.network.peer)]).toEqual([[], false]);
    await world.clock.advance(500);
    expect(beta.member.node.convictions.isConvicted(forker.member.did), 'gossip carries the proof').toBe(true);
    expect(ended).toEqual(['convicted']);
    expect(beta.member.node.sessions.list().map(({ organisation }) => organisation)).toEqual([acme.member.did]);
    // Both roles refuse, and so does hello.
    expect(await codeOf(shake(acme, forker))).toBe('convicted');
    await world.connect([forker, acme], [forker, beta]);
    expect(node.sync.organisationOf(forker.member.network.peer)).toBeUndefined();
    const strangers = forker.member.network.connections().length;
    expect(strangers, 'connected, and bound to nobody').toBeGreaterThan(0);
  });

  test('refuses its handshakes with the code', async () => {
    const [acme, beta, forker] = await three();
    const [proof] = await proofsOf(forker);
    give(acme, beta, proof as Proof);
    world.nodes.mesh.connect(forker.member.network, acme.member.network);
    await world.clock.advance(100);
    const connection = forker.member.network.connections().find(({ peer }) => peer === acme.member.network.peer);
    if (connection === undefined) throw new Error('not connected');
    // It knows whom it reaches, whatever acme says of it.
    Object.defineProperty(forker.member.node.sync, 'peersOf', { value: () => [connection.peer] });
    expect(await codeOf(shake(forker, acme))).toBe('convicted');
  });

  test('makes chains that rest on the organisation fail here, agents and all, and no offline verdict', async () => {
    const [acme, beta, forker] = await three();
    const { api } = forker.member;
    await world.nodes.during(api.sponsorCreate(input({ contact: 'alice@example.com' }), operator, never));
    const made = await world.nodes.during(
      api.agentCreate(
        input({ name: 'clerk', sponsor: 'alice@example.com', capabilities: [{ can: 'read:data/*' }] }),
        operator,
        never,
      ),
    );
    await world.clock.advance(1_000);
    const { node } = acme.member;
    const leaf = [...node.state.statements()].find(({ t }) => t === 'delegation/v1')?.id ?? '';
    const roots = new Set([forker.member.did]);
    expect((await world.nodes.during(node.chains.verify(leaf, { roots }))).leaf).toBe(leaf);
    const [proof] = await proofsOf(forker);
    give(acme, beta, proof as Proof);
    expect(() => node.chains.judge(leaf, { roots })).toThrow(expect.objectContaining({ code: 'convicted' }));
    await world.clock.advance(600_000);
    expect(await codeOf(() => node.chains.verify(leaf, { roots })), 'and not since nothing new is heard').toBe(
      'convicted',
    );
    expect(node.convictions.isConvicted(made.agent.did)).toBe(true);
    expect(await codeOf(() => node.handshake({ did: made.agent.did }, never))).toBe('convicted');
    expect(node.convictions.list().map(({ proofs }) => proofs.map(offenceOf))).toEqual([
      [{ of: 'log', origin: forker.log.origin, treeSizes: expect.any(Array) as number[] }],
    ]);
  });

  test('of the own organisation is told, and refuses nobody', async () => {
    const [acme, beta, forker] = await three();
    const [proof] = await proofsOf(forker);
    expect(give(forker, acme, proof as Proof)).toBe('accept');
    const { convictions, sync } = forker.member.node;
    expect([convictions.isConvicted(forker.member.did), convictions.isRefused(forker.member.did)]).toEqual([
      true,
      false,
    ]);
    expect(sync.boundPeers()).toHaveLength(2);
    expect(beta.member.node.convictions.list()).toHaveLength(0);
  });

  test('survives a restart', async () => {
    const [acme, beta, forker] = await three();
    const [proof] = await proofsOf(forker);
    give(acme, beta, proof as Proof);
    await world.clock.advance(1_000);
    const again = await world.restart(acme);
    expect(again.member.node.convictions.isConvicted(forker.member.did)).toBe(true);
    await world.connect([again, forker]);
    expect(again.member.node.sync.boundPeers()).toEqual([]);
  });
});

describe('a lift', () => {
  test('is this daemon’s own and stays over a restart, until another pair convicts again', async () => {
    const [acme, beta, forker] = await three();
    const [lowest, low, , high] = (await proofsOf(forker)) as [Proof, Proof, Proof, Proof];
    give(acme, beta, low);
    await world.clock.advance(1_000);
    const lifted = await acme.member.node.convictions.lift(forker.member.did, 'restored from a backup');
    expect(lifted).toMatchObject({ isInForce: false, lift: { reason: 'restored from a backup' } });
    await world.connect([acme, forker]);
    expect(acme.member.node.sync.organisationOf(forker.member.network.peer)).toBe(forker.member.did);
    expect(await codeOf(shake(acme, forker))).toBe('ok');
    expect(beta.member.node.convictions.isConvicted(forker.member.did)).toBe(true);

    const again = await world.restart(acme);
    const { convictions } = again.member.node;
    expect(convictions.get(forker.member.did)).toMatchObject({
      isInForce: false,
      lift: { reason: lifted.lift?.reason },
    });
    expect(give(again, beta, low)).toBe('duplicate');
    expect(convictions.isConvicted(forker.member.did)).toBe(false);
    // What fills the place after it does.
    expect(give(again, beta, lowest)).toBe('accept');
    expect(convictions.isConvicted(forker.member.did)).toBe(true);
    await convictions.lift(forker.member.did, 'the same accident');
    expect(convictions.isConvicted(forker.member.did)).toBe(false);
    // And what was found here but has no place.
    expect(give(again, beta, high)).toBe('superseded');
    expect(convictions.isConvicted(forker.member.did)).toBe(false);
    await convictions.convictAgain(high);
    expect(convictions.isConvicted(forker.member.did)).toBe(true);
    await convictions.convictAgain(high);
    await convictions.lift(forker.member.did, 'and the same');
    await convictions.convictAgain(high);
    await convictions.convictAgain(low);
    expect(convictions.isConvicted(forker.member.did), 'forgiven pairs stay forgiven').toBe(false);
    const third = await world.restart(again);
    expect(third.member.node.convictions.isConvicted(forker.member.did)).toBe(false);
  });

  test('of nobody is refused, and a row that is none is named', async () => {
    const [acme, beta] = await three();
    const { convictions } = acme.member.node;
    await expect(convictions.lift(beta.member.did, 'why not')).rejects.toMatchObject({ code: 'not_found' });
    const key = Uint8Array.of(0x6e, ...new TextEncoder().encode(beta.member.did));
    await acme.member.store.batch([{ type: 'put', key, value: Uint8Array.of(0x7b) }], { sync: true });
    await expect(world.restart(acme)).rejects.toMatchObject({ code: 'store_corrupt', data: { id: beta.member.did } });
    world.watchers.delete('acme');
    world.nodes.members.delete('acme');
  });
});
