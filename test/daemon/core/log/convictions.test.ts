import { afterEach, describe, expect, test } from 'vitest';
import { offenceOf } from '../../../../daemon/core/log/convictions.ts';
import { compareBytes, isMeshError, type Statement } from '../../../../protocol/index.ts';
import { createForkProof, formatNote } from '../../../../protocol/log/index.ts';
import { input, type Member, never, NodeWorld, operator } from '../node-world.ts';
import { type Fork, forkOf, signCheckpoint } from './monitor-world.ts';

type Proof = Statement<'proof/v1'>;

let world: NodeWorld;
afterEach(async () => {
  await world.close();
});

async function codeOf(work: () => Promise<unknown>): Promise<string> {
  try {
    await world.during(work(), 2_000);
    return 'ok';
  } catch (error) {
    if (isMeshError(error)) return error.code;
    throw error;
  }
}

async function connect(...pairs: readonly (readonly [Member, Member])[]): Promise<void> {
  for (const [a, b] of pairs) world.mesh.connect(a.network, b.network);
  await world.clock.advance(1_000);
}

async function restart({ name, node, network, store }: Member): Promise<Member> {
  await world.during(node.close());
  await network.close();
  return world.open(name, store);
}

/** acme and beta in contact with one who will be convicted. */
async function three(): Promise<[acme: Member, beta: Member, forker: Member]> {
  world = new NodeWorld();
  const [acme, beta, forker] = [await world.open('acme'), await world.open('beta'), await world.open('forker')];
  await connect([acme, beta], [forker, acme], [forker, beta]);
  await world.clock.advance(2_000);
  return [acme, beta, forker];
}

/** That the log's key signed the ends of this fork beside what the log is. */
async function proofOf({ node, did }: Member, { left, right }: Fork): Promise<Proof> {
  const { vkey } = node.audit.auditLog;
  const signer = node.signers.byName('log');
  const [a, b] = [await signCheckpoint(vkey, signer, left), await signCheckpoint(vkey, signer, right)];
  const [m, n] = [left.treeSize, right.treeSize];
  const [binding] = node.state.bindingsOf(did);
  if (binding === undefined) throw new Error('the log has no binding');
  return createForkProof({
    of: 'log',
    who: did,
    vkey,
    a: formatNote(a.note),
    b: formatNote(b.note),
    rootOfAOnB: await right.rootAt(m),
    proof: m === n ? [] : await right.proveConsistency(m, n),
    binding,
  });
}

/** Many, the one of lowest id first: that one stays where several are known. */
async function proofsOf(of: Member): Promise<readonly Proof[]> {
  const sizes = [4, 5, 6, 7, 8];
  const proofs = await Promise.all(sizes.map((size) => proofOf(of, forkOf([size, 9], 2))));
  return proofs.sort((a, b) => compareBytes(a.digest, b.digest));
}

const give = (to: Member, from: Member, { envelope }: Proof): string => {
  const source = { via: 'gossip', peer: from.network.peer, topic: 'rev' } as const;
  const outcome = to.node.pipeline.receive(envelope, source);
  return outcome.verdict === 'accept' ? outcome.verdict : outcome.code;
};

const shake = (from: Member, to: Member) => () => from.node.handshake({ did: to.did }, never);

function endings({ node }: Member): readonly string[] {
  const codes: string[] = [];
  node.events.subscribe(undefined, (event) => {
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
    const { node, network } = acme;
    const sids = node.sessions.list().map(({ organisation }) => organisation);
    expect(new Set(sids)).toEqual(new Set([forker.did, beta.did]));
    const [proof] = await proofsOf(forker);
    const ended = endings(acme);
    const verdict = give(acme, beta, proof as Proof);
    // No await between: this is the same turn.
    expect([verdict, node.sessions.list().map(({ organisation }) => organisation)]).toEqual(['accept', [beta.did]]);
    expect([node.sync.peersOf(forker.did), network.isBound(forker.network.peer)]).toEqual([[], false]);
    await world.clock.advance(500);
    expect(beta.node.convictions.isConvicted(forker.did), 'gossip carries the proof').toBe(true);
    expect(ended).toEqual(['convicted']);
    expect(beta.node.sessions.list().map(({ organisation }) => organisation)).toEqual([acme.did]);
    // Both roles refuse, and so does hello.
    expect(await codeOf(shake(acme, forker))).toBe('convicted');
    await connect([forker, acme], [forker, beta]);
    expect(node.sync.organisationOf(forker.network.peer)).toBeUndefined();
    const strangers = forker.network.connections().length;
    expect(strangers, 'connected, and bound to nobody').toBeGreaterThan(0);
  });

  test('refuses its handshakes with the code', async () => {
    const [acme, beta, forker] = await three();
    const [proof] = await proofsOf(forker);
    give(acme, beta, proof as Proof);
    world.mesh.connect(forker.network, acme.network);
    await world.clock.advance(100);
    const connection = forker.network.connections().find(({ peer }) => peer === acme.network.peer);
    if (connection === undefined) throw new Error('not connected');
    // It knows whom it reaches, whatever acme says of it.
    Object.defineProperty(forker.node.sync, 'peersOf', { value: () => [connection.peer] });
    expect(await codeOf(shake(forker, acme))).toBe('convicted');
  });

  test('makes chains that rest on the organisation fail here, agents and all, and no offline verdict', async () => {
    const [acme, beta, forker] = await three();
    const { api } = forker;
    await world.during(api.sponsorCreate(input({ contact: 'alice@example.com' }), operator, never));
    const made = await world.during(
      api.agentCreate(
        input({ name: 'clerk', sponsor: 'alice@example.com', capabilities: [{ can: 'read:data/*' }] }),
        operator,
        never,
      ),
    );
    await world.clock.advance(1_000);
    const { node } = acme;
    const leaf = [...node.state.statements()].find(({ t }) => t === 'delegation/v1')?.id ?? '';
    const roots = new Set([forker.did]);
    expect((await world.during(node.chains.verify(leaf, { roots }))).leaf).toBe(leaf);
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
      [{ of: 'log', origin: forker.node.audit.auditLog.origin, treeSizes: expect.any(Array) as number[] }],
    ]);
  });

  test('of the own organisation is told, and refuses nobody', async () => {
    const [acme, beta, forker] = await three();
    const [proof] = await proofsOf(forker);
    expect(give(forker, acme, proof as Proof)).toBe('accept');
    const { convictions, sync } = forker.node;
    expect([convictions.isConvicted(forker.did), convictions.isRefused(forker.did)]).toEqual([true, false]);
    expect(sync.boundPeers()).toHaveLength(2);
    expect(beta.node.convictions.list()).toHaveLength(0);
  });

  test('survives a restart', async () => {
    const [acme, beta, forker] = await three();
    const [proof] = await proofsOf(forker);
    give(acme, beta, proof as Proof);
    await world.clock.advance(1_000);
    const again = await restart(acme);
    expect(again.node.convictions.isConvicted(forker.did)).toBe(true);
    await connect([again, forker]);
    expect(again.node.sync.boundPeers()).toEqual([]);
  });
});

describe('a lift', () => {
  test('is this daemon’s own and stays over a restart, until another pair convicts again', async () => {
    const [acme, beta, forker] = await three();
    const [lowest, low, , high] = (await proofsOf(forker)) as [Proof, Proof, Proof, Proof];
    give(acme, beta, low);
    await world.clock.advance(1_000);
    const lifted = await acme.node.convictions.lift(forker.did, 'restored from a backup');
    expect(lifted).toMatchObject({ isInForce: false, lift: { reason: 'restored from a backup' } });
    await connect([acme, forker]);
    expect(acme.node.sync.organisationOf(forker.network.peer)).toBe(forker.did);
    expect(await codeOf(shake(acme, forker))).toBe('ok');
    expect(beta.node.convictions.isConvicted(forker.did)).toBe(true);

    const again = await restart(acme);
    const { convictions } = again.node;
    expect(convictions.get(forker.did)).toMatchObject({
      isInForce: false,
      lift: { reason: lifted.lift?.reason },
    });
    expect(give(again, beta, low)).toBe('duplicate');
    expect(convictions.isConvicted(forker.did)).toBe(false);
    // What fills the place after it does.
    expect(give(again, beta, lowest)).toBe('accept');
    expect(convictions.isConvicted(forker.did)).toBe(true);
    await convictions.lift(forker.did, 'the same accident');
    expect(convictions.isConvicted(forker.did)).toBe(false);
    // And what was found here but has no place.
    expect(give(again, beta, high)).toBe('superseded');
    expect(convictions.isConvicted(forker.did)).toBe(false);
    await convictions.convictAgain(high);
    expect(convictions.isConvicted(forker.did)).toBe(true);
    await convictions.convictAgain(high);
    await convictions.lift(forker.did, 'and the same');
    await convictions.convictAgain(high);
    await convictions.convictAgain(low);
    expect(convictions.isConvicted(forker.did), 'forgiven pairs stay forgiven').toBe(false);
    const third = await restart(again);
    expect(third.node.convictions.isConvicted(forker.did)).toBe(false);
  });

  test('of nobody is refused, and a row that is none is named', async () => {
    const [acme, beta] = await three();
    const { convictions } = acme.node;
    await expect(convictions.lift(beta.did, 'why not')).rejects.toMatchObject({ code: 'not_found' });
    const key = Uint8Array.of(0x6e, ...new TextEncoder().encode(beta.did));
    await acme.store.batch([{ type: 'put', key, value: Uint8Array.of(0x7b) }], { sync: true });
    await expect(restart(acme)).rejects.toMatchObject({ code: 'store_corrupt', data: { id: beta.did } });
    world.members.delete('acme');
  });
});
