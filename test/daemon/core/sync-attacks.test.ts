import { afterEach, expect, test } from 'vitest';
import type { FrameStream } from '../../../daemon/ports.ts';
import {
  type Answer,
  createReconciler,
  encodeAnswer,
  encodeQuestion,
  limits,
  parseAnswer,
  parseQuestion,
  type Question,
  RangeIndex,
  type Statement,
  toHex,
} from '../../../protocol/index.ts';
import {
  createAgent,
  createOrganisation,
  createPerson,
  createRevocation,
  createRootLink,
  type Identity,
  NOW_SECONDS,
} from '../../builders.ts';
import type { MemoryNetwork } from './memory-network.ts';
import { input, type Member, never, NodeWorld, operator } from './node-world.ts';

let world: NodeWorld;
afterEach(async () => {
  await world.close();
});

/** A peer that answers and asks whatever a test wants it to. */
interface Rogue {
  readonly organisation: Identity;
  readonly network: MemoryNetwork;
  /** What it was asked. */
  readonly asked: Question[];
  ask(question: Question): Promise<Answer>;
}

const bytesOf = (...statements: readonly Statement[]): Uint8Array[] => statements.map(({ envelope }) => envelope);

async function rogueAt(
  member: Member,
  answer: (question: Question, rogue: Identity) => Answer | undefined,
  name = 'rogue',
): Promise<Rogue> {
  const organisation = createOrganisation(name);
  const network = world.mesh.join(organisation.node.peerId);
  const asked: Question[] = [];
  const usual = (question: Question): Answer =>
    question[0] === 'hello' ? ['hello', organisation.did, bytesOf(organisation.genesis)] : ['no', 'did_unknown'];
  await network.handle(
    'sync',
    { frameBytesMax: limits.SYNC_FRAME_BYTES_MAX, inboundStreamsMax: 4, unbound: true },
    async (stream) => {
      for (let frame = await stream.receive(); frame !== undefined; frame = await stream.receive()) {
        const question = parseQuestion(frame);
        asked.push(question);
        await stream.send(encodeAnswer(answer(question, organisation) ?? usual(question)));
      }
    },
  );
  world.mesh.connect(member.network, network);
  await world.clock.advance(200);
  let stream: FrameStream | undefined;
  const ask = async (question: Question): Promise<Answer> => {
    stream ??= await network.openStream(member.network.peer, 'sync', {
      frameBytesMax: limits.SYNC_FRAME_BYTES_MAX,
    });
    await stream.send(encodeQuestion(question));
    return parseAnswer((await stream.receive()) as Uint8Array);
  };
  return { organisation, network, asked, ask: (question) => world.during(ask(question), 0) };
}

async function alone(): Promise<Member> {
  world = new NodeWorld();
  return world.open('acme');
}
const holds = ({ node }: Member, { id }: Statement): boolean => node.state.inSet(id) !== undefined;
const penalties = ({ network }: Member, rogue: Rogue): readonly string[] =>
  network.penalties.get(rogue.network.peer) ?? [];

test('a hello brings the log of the own organisation, and nothing else', async () => {
  const a = await alone();
  const other = createOrganisation('another');
  const rogue = await rogueAt(a, (question, { did, genesis }) =>
    question[0] === 'hello' ? ['hello', did, bytesOf(genesis, other.genesis)] : undefined,
  );
  expect(holds(a, rogue.organisation.genesis)).toBe(true);
  expect(holds(a, other.genesis)).toBe(false);
  expect(penalties(a, rogue)).toHaveLength(1);
});

test('an answer brings what was asked for, and one that never brings it is not asked without end', async () => {
  const a = await alone();
  const other = createOrganisation('another');
  const claimed = Array.from({ length: 3 }, (_, i) => ({
    epoch: Math.floor(NOW_SECONDS / 60),
    id: new Uint8Array(32).fill(i + 1),
  }));
  const rogue = await rogueAt(a, (question) => {
    if (question[0] === 'range') return ['range', createReconciler(RangeIndex.of(claimed)).respond(question[1])];
    return question[0] === 'get' ? ['have', bytesOf(other.genesis)] : undefined;
  });
  expect(rogue.asked.filter(([kind]) => kind === 'get')).toHaveLength(1);
  expect(holds(a, other.genesis)).toBe(false);
  expect(penalties(a, rogue)).toHaveLength(1);
});

test('DIDs that control each other in a long row are not followed to its end', async () => {
  const a = await alone();
  const organisation = createOrganisation('first');
  const row = [createPerson(organisation, 'person 0')];
  for (let i = 1; i < 400; i++) {
    const { did: ctl } = row.at(-1) as Identity;
    row.push(createPerson(organisation, `person ${i}`, { fields: { ctl } }));
  }
  const byDid = new Map(row.map((person) => [person.did, person]));
  const rogue = await rogueAt(a, (question) => {
    if (question[0] !== 'log') return undefined;
    const known = byDid.get(question[1]);
    return known === undefined ? undefined : ['have', question[2] === 0 ? bytesOf(known.genesis) : []];
  });
  rogue.asked.length = 0;
  await world.during(a.node.sync.learnLog((row.at(-1) as Identity).did, rogue.network.peer), 1_000);
  const logs = rogue.asked.flatMap((question) => (question[0] === 'log' ? [question[1]] : []));
  expect(new Set(logs).size).toBeLessThan(300);
});

test('what one peer spoils another can still bring', async () => {
  const a = await alone();
  const acme = createOrganisation('the issuer');
  const alice = createPerson(acme, 'alice');
  const link = createRootLink(acme, alice, { aud: createAgent(acme, 'clerk').did });
  const revocation = createRevocation(acme, link);
  for (const { envelope } of [acme.genesis, alice.genesis, link])
    a.node.pipeline.receive(envelope, { via: 'pulled', peer: 'somebody' });
  const spoilt = revocation.envelope.slice();
  spoilt[spoilt.length - 1] = (spoilt.at(-1) as number) ^ 1;
  const other = await world.open('beta');
  for (const statement of [acme.genesis, alice.genesis, link, revocation])
    other.node.pipeline.receive(statement.envelope, { via: 'pulled', peer: 'somebody' });
  // On its way from the first it is spoilt.
  world.mesh.onFrame = (frame, { from }) => {
    if (from !== other.network.peer) return frame;
    const answer = ((): Answer | undefined => {
      try {
        return parseAnswer(frame);
      } catch {
        return undefined; // a question
      }
    })();
    if (answer?.[0] !== 'have') return frame;
    const id = toHex(revocation.envelope);
    return encodeAnswer(['have', answer[1].map((envelope) => (toHex(envelope) === id ? spoilt : envelope))]);
  };
  world.mesh.onMessage = () => false;
  world.mesh.connect(a.network, other.network);
  await world.clock.advance(1_000);
  expect(holds(a, revocation)).toBe(false);
  expect(a.network.penalties.get(other.network.peer)).not.toBeUndefined();
  const honest = await world.open('gamma');
  for (const statement of [acme.genesis, alice.genesis, link, revocation])
    honest.node.pipeline.receive(statement.envelope, { via: 'pulled', peer: 'somebody' });
  world.mesh.connect(a.network, honest.network);
  await world.clock.advance(1_000);
  expect(holds(a, revocation)).toBe(true);
});

test('a peer that is gone before its hello was judged is not bound', async () => {
  const a = await alone();
  const rogue = await rogueAt(a, (question) => (question[0] === 'hello' ? ['no', 'busy'] : undefined));
  const { organisation } = rogue;
  void rogue.ask(['hello', organisation.did, bytesOf(organisation.genesis)]).catch(() => undefined); // cut off below
  world.mesh.onFrame = undefined;
  const receiveMany = a.node.pipeline.receiveMany.bind(a.node.pipeline);
  a.node.pipeline.receiveMany = async (...given) => {
    const outcomes = await receiveMany(...given);
    a.network.breakWhere((peer) => peer === rogue.network.peer);
    return outcomes;
  };
  await world.clock.advance(1_000);
  expect(holds(a, organisation.genesis)).toBe(true);
  expect(a.node.sync.boundPeers()).toEqual([]);
});

test('an unbound peer gets no heartbeats, and neither hellos nor sets of organisations without end', async () => {
  const a = await alone();
  const b = await world.open('beta');
  world.mesh.connect(a.network, b.network);
  await world.clock.advance(200);
  const rogue = await rogueAt(a, (question) => (question[0] === 'hello' ? ['no', 'busy'] : undefined));
  expect(await rogue.ask(['beat', [a.did], new Uint8Array(limits.NONCE_BYTES)])).toEqual(['no', 'peer_not_bound']);
  const many = Array.from({ length: 40 }, (_, i) => createOrganisation(`set ${i}`));
  for (const { genesis } of many) a.node.pipeline.receive(genesis.envelope, { via: 'pulled', peer: 'somebody' });
  const range = Uint8Array.of(0x61, 0, 0, 2, 0);
  const sets: string[] = [];
  for (const { did } of many) sets.push((await rogue.ask(['range', range, did]))[0]);
  expect(sets.filter((answer) => answer === 'no').length).toBeGreaterThan(20);
  const hellos: string[] = [];
  for (let i = 0; i < 40; i++)
    hellos.push((await rogue.ask(['hello', rogue.organisation.did, bytesOf(rogue.organisation.genesis)]))[0]);
  expect(hellos.filter((answer) => answer === 'no').length).toBeGreaterThan(20);
  expect(penalties(a, rogue)).toEqual([]);
});

test('a peer that names one unknown DID after the other is not asked about all of them at once', async () => {
  const a = await alone();
  const rogue = await rogueAt(a, () => undefined);
  rogue.asked.length = 0;
  world.mesh.onFrame = (frame, { from }) => (from === rogue.network.peer ? undefined : frame);
  for (let i = 0; i < 300; i++) {
    const stranger = createAgent(createOrganisation(`stranger ${i}`), `agent ${i}`);
    a.node.pipeline.receive(stranger.genesis.envelope, { via: 'gossip', peer: rogue.network.peer, topic: 'id' });
  }
  await world.clock.advance(3_600_000);
  expect(rogue.asked.filter(([kind]) => kind === 'log').length).toBeLessThan(64);
});

test('a chain is verified where a newer heartbeat names a revocation that is not held yet', async () => {
  const a = await alone();
  const c = await world.open('gamma');
  world.mesh.connect(a.network, c.network);
  await world.clock.advance(200);
  const employ = (member: Member, name: string) =>
    world.during(
      member.api.agentCreate(
        input({ name, sponsor: 'alice@example.com', capabilities: [{ can: 'read:x' }] }),
        operator,
        never,
      ),
    );
  const [reader, clerk] = [await employ(c, 'reader'), await employ(a, 'clerk')];
  const delegation = { to: reader.agent.did, capabilities: [{ can: 'read:x' }] };
  const { link } = await world.during(a.api.delegationCreate(input(delegation), operator, never));
  const ask = { params: { leaf: link.id }, body: { roots: [a.did], capabilities: [{ can: 'read:x' }] }, query: {} };
  await world.during(c.api.chainVerify(ask, operator, never));
  world.mesh.onMessage = () => false;
  await world.clock.advance(1_000);
  await world.during(a.api.agentRevoke(input({ reason: 'left' }, { did: clerk.agent.did }), operator, never), 0);
  await a.node.freshness.freshen(a.did, { maxAgeSeconds: 0 });
  await world.during(c.node.sync.pullHeartbeats([a.did], a.network.peer), 0);
  expect(c.node.state.revocationsBy(a.did)).toHaveLength(0);
  const report = await world.during(c.api.chainVerify(ask, operator, never));
  expect(report.checkedThrough.find(({ did }) => did === a.did)?.rseq).toBe(1);
});

test('what is held stays held when the clock was set back between two starts', async () => {
  const a = await alone();
  await world.during(
    a.api.agentCreate(
      input({ name: 'clerk', sponsor: 'alice@example.com', capabilities: [{ can: 'read:x' }] }),
      operator,
      never,
    ),
  );
  const root = toHex(a.node.index.root());
  await world.during(a.node.close());
  await a.network.close();
  world.clock.step(-86_400_000);
  const again = await world.open('acme', a.store);
  expect(again.node.organisation.state.status).toBe('active');
  await world.during(again.node.close());
  await again.network.close();
  world.clock.step(86_400_000);
  const later = await world.open('acme', a.store);
  expect(later.node.state.size).toBeGreaterThanOrEqual(a.node.state.size);
  expect(root).toHaveLength(64);
  expect(NOW_SECONDS).toBeLessThan(world.clock.nowMs());
});
