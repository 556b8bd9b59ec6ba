/** What whole nodes do, and what their logs say of it: each log is verified from its own entries whenever it is read. */
import { afterEach, expect, test } from 'vitest';
import {
  limits,
  assembleStatement,
  digestOf,
  type ErrorCode,
  isMeshError,
  Link,
  signingInput,
  signStatement,
  toHex,
} from '../../../../protocol/index.ts';
import type { StoreWrite } from '../../../../daemon/ports.ts';
import { MemoryStore } from '../../../../daemon/store/memory.ts';
import { createEntry, createUuid7, type Entry } from '../../../../protocol/log/index.ts';
import { keyOf } from '../../../builders.ts';
import { seededRandom } from '../../../random.ts';
import { input, type Member, never, NodeWorld, operator } from '../node-world.ts';
import { settle } from '../virtual-clock.ts';
import { entriesOf, LogGate } from './own-log.ts';

let world: NodeWorld;
afterEach(async () => {
  await world.close();
});

const codeOf = (work: Promise<unknown>, forMs = 100): Promise<string> =>
  world.during(
    work.then(
      () => 'ok',
      (error: unknown) => (isMeshError(error) ? error.code : String(error)),
    ),
    forMs,
  );
async function alone(): Promise<Member> {
  world = new NodeWorld();
  return world.open('acme');
}
async function two(): Promise<[Member, Member]> {
  world = new NodeWorld();
  const [a, b] = [await world.open('acme'), await world.open('beta')];
  world.mesh.connect(a.network, b.network);
  await world.clock.advance(200);
  return [a, b];
}
const body = (name: string, more: object = {}) => ({
  name,
  sponsor: 'alice@example.com',
  capabilities: [{ can: 'read:data/*' }],
  ...more,
});
const employ = async ({ api }: Member, name: string, more: object = {}): Promise<string> =>
  (await world.during(api.agentCreate(input(body(name, more)), operator, never))).agent.did;
const delegate = async (from: Member, to: string, can = 'read:reports/q3'): Promise<string> =>
  (await world.during(from.api.delegationCreate(input({ to, capabilities: [{ can }] }), operator, never))).link.id;
const shake = (from: Member, as: string, did: string, more: object = {}) =>
  from.api.handshakeCreate(input({ did, as, ...more }), operator, never);
const keyOfOrganisation = async ({ api, did }: Member): Promise<string> =>
  (await api.didShow(input(undefined, { did }), operator, never)).keys[0]?.key as string;
const reopen = async (member: Member): Promise<Member> => {
  await world.during(member.node.close());
  await member.network.close();
  return world.open(member.name, member.store);
};

type Written = { readonly type: string; readonly subject: string | undefined } & Readonly<Record<string, unknown>>;
const shortened = ({ type, subject, data, id }: Entry): Written => ({
  ...data,
  id,
  type: type.slice('agentmesh.'.length, -'.v1'.length),
  subject,
});
const written = async ({ auditLog }: Member, ...types: readonly string[]): Promise<Written[]> =>
  (await entriesOf(auditLog)).map(shortened).filter(({ type }) => types.length === 0 || types.includes(type));
/** What became of each announced entry of a type. */
async function settled(member: Member, type: string): Promise<string[]> {
  const all = await written(member);
  return all
    .filter((entry) => entry.type === type && entry['phase'] === 'intent')
    .map(({ id }) => {
      const outcome = all.find((entry) => entry['intent'] === id);
      return (outcome?.['result'] as { code: string } | undefined)?.code ?? 'open';
    });
}

test('a new log shows first whose it is, with the keys that sign it', async () => {
  const a = await alone();
  await world.clock.advance(limits.LOG_GATHER_MS);
  const [opened, genesis, started] = await written(a);
  expect(opened).toMatchObject({ type: 'log.opened', actor: a.did });
  expect(genesis).toMatchObject({ type: 'did.operation', operation: 'genesis', did: a.did, seq: 0 });
  expect(started).toMatchObject({ type: 'daemon.started' });
});

/** As of a daemon that had no log yet: the rows of its log and of what it has seen of others are gone. */
async function withoutLog(store: MemoryStore): Promise<MemoryStore> {
  const older = new MemoryStore();
  const kept: StoreWrite[] = [];
  for await (const [key, value] of store.range(new Uint8Array(), Uint8Array.of(0xff)))
    if (!'aA'.includes(String.fromCharCode(key[0] as number))) kept.push({ type: 'put', key, value });
  await older.batch(kept, { sync: true });
  return older;
}

test('what a daemon did before it had a log is in it before anything else', async () => {
  const a = await alone();
  await employ(a, 'clerk');
  await world.during(a.node.close());
  await a.network.close();
  const again = await world.open(a.name, await withoutLog(a.store));
  const entries = await written(again);
  const operations = entries.filter(({ type }) => type === 'did.operation');
  expect(operations.map(({ did }) => did)).toEqual([again.did, expect.any(String), expect.any(String)]);
  expect(entries.slice(1, 4)).toEqual(operations);
});

test('operations are written in the order in which they build on each other, however the disk answers', async () => {
  const a = await alone();
  for (let i = 0; i < 8; i++) {
    const retire = [{ key: await keyOfOrganisation(a), graceSeconds: null }];
    expect(await codeOf(a.api.organisationRotate(input({ retire }), operator, never))).toBe('ok');
    await employ(a, `clerk-${i}`);
  }
  await world.during(a.node.close());
  await a.network.close();
  const store = await withoutLog(a.store);
  const get = store.get.bind(store);
  const random = seededRandom(11);
  store.get = async (key) => {
    for (let turns = Math.floor(random() * 40); turns > 0; turns--) await Promise.resolve();
    return get(key);
  };
  const again = await world.open(a.name, store);
  const operations = await written(again, 'did.operation'); // verified as they are read
  expect(operations.map(({ seq }) => seq).slice(0, 9)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
  expect(operations).toHaveLength(9 + 8 + 1);
});

test('a log that is begun anew shows the keys that sign before anything that they sign', async () => {
  const [a, b] = await two();
  const [clerk, reader] = [await employ(a, 'clerk'), await employ(b, 'reader')];
  a.auditLog.halt({ code: 'log_halted', message: 'a test says so' });
  await world.during(a.node.audit.beginGeneration('a test asked for it'));
  expect(await codeOf(shake(b, reader, clerk), 1_000)).toBe('ok');
  const entries = await written(a);
  const [accepted] = entries.filter(({ type }) => type === 'handshake.accepted') as [Written];
  expect(accepted['sig']).toMatchObject({ kid: await credentialKey(a, clerk) });
  expect(entries.slice(0, 5).map(({ type }) => type)).toEqual([
    'log.opened',
    'did.operation',
    'did.operation',
    'did.operation',
    'credential.issued',
  ]);
});

test('a daemon that starts again writes what its log shows already no second time', async () => {
  const a = await alone();
  await employ(a, 'clerk');
  const again = await reopen(a);
  const operations = await written(again, 'did.operation');
  expect(operations).toHaveLength(3);
  expect(new Set(operations.map(({ statement }) => statement)).size).toBe(3);
  expect((await written(again, 'daemon.started', 'daemon.stopped')).map(({ type }) => type)).toEqual([
    'daemon.started',
    'daemon.stopped',
    'daemon.started',
  ]);
});

test('an agent: its sponsor, its DID, its root link, its credential, its token, each announced and settled', async () => {
  const a = await alone();
  const clerk = await employ(a, 'clerk');
  const entries = await written(a);
  const intents = entries.filter(({ phase }) => phase === 'intent');
  const { sponsor, rootLink } = a.node.agents.agent(clerk);
  const announced = intents.map(({ type, subject }) => `${type} ${subject}`);
  // Its DID and its root link go together.
  expect([...announced.slice(0, 2), ...announced.slice(2, 4).sort(), ...announced.slice(4)]).toEqual([
    `did.operation ${sponsor}`,
    `sponsor.registered ${sponsor}`,
    `delegation.issued ${rootLink}`,
    `did.operation ${clerk}`,
    `credential.issued ${clerk}`,
    `token.issued ${clerk}`,
  ]);
  expect(intents.every(({ actor }) => actor === a.did)).toBe(true);
  for (const { id } of intents)
    expect(entries.find(({ intent }) => intent === id)).toMatchObject({
      type: 'intent.settled',
      result: { code: 'ok' },
    });
  expect(entries.find(({ type }) => type === 'agent.registered')).toMatchObject({
    phase: 'outcome',
    did: clerk,
    sponsor,
    principal: sponsor,
    parent: null,
    keyHeldBy: 'daemon',
    rootLink,
    capabilities: ['read:data/*'],
  });
});

test('no entry holds the name of an agent or how to reach a sponsor', async () => {
  const a = await alone();
  const clerk = await employ(a, 'clerk-of-the-works');
  await codeOf(a.api.agentRevoke(input({ reason: 'left' }, { did: clerk }), operator, never));
  const text = JSON.stringify(await entriesOf(a.auditLog));
  expect(text).toContain(clerk);
  expect(text).not.toContain('alice');
  expect(text).not.toContain('clerk-of-the-works');
});

test('a delegation names its chain by a hash; one that an agent issues is signed by its credential', async () => {
  const [a, b] = await two();
  const clerk = await employ(a, 'clerk');
  const reader = await employ(b, 'reader');
  const link = await delegate(a, clerk);
  const child = (
    await world.during(
      a.api.delegationCreate(
        input({ as: clerk, from: link, to: reader, capabilities: [{ can: 'read:reports/q3' }], private: true }),
        operator,
        never,
      ),
    )
  ).link.id;
  const [, first, second] = (await written(a, 'delegation.issued')) as [Written, Written, Written];
  const envelopes = [link, child].map((id) => a.node.state.link(id)?.envelope as Uint8Array);
  const hash = (...parts: readonly Uint8Array[]): string => toHex(digestOf(Buffer.concat(parts)));
  expect(first).toMatchObject({
    link,
    issuer: a.did,
    actor: a.did,
    audience: clerk,
    parent: null,
    private: false,
    delegation: { chain: hash(envelopes[0] as Uint8Array), leaf: link },
  });
  expect(second).toMatchObject({
    link: child,
    issuer: clerk,
    actor: clerk,
    parent: link,
    private: true,
    delegation: { chain: hash(...envelopes), leaf: child },
  });
  expect(second['sig']).toMatchObject({ kid: (await credentialKey(a, clerk)) as string });
});
const credentialKey = async ({ api }: Member, did: string): Promise<string | undefined> =>
  (await api.credentialShow(input(undefined, { did }), operator, never)).credential?.holderKey;

test('a handshake: announced on both sides by the agents that take part, settled, and its end noted', async () => {
  const [a, b] = await two();
  const [clerk, reader] = [await employ(a, 'clerk'), await employ(b, 'reader')];
  const grant = await delegate(a, reader);
  const wish = { grant, capabilities: [{ can: 'read:reports/q3' }], purpose: 'billing' };
  const { session } = await world.during(shake(b, reader, clerk, wish), 1_000);
  Object.assign(a.node.sessions.useOf(session.sid) ?? {}, { calls: 3, refused: 1, bytesIn: 900, bytesOut: 50 });
  await codeOf(b.api.sessionClose(input(undefined, { sid: session.sid }), operator, never));
  const [accepted] = await written(a, 'handshake.accepted');
  const over = (await written(b, 'credential.issued')).at(-1) as Written;
  const common = { phase: 'intent', session: session.sid, subject: session.sid, granted: ['read:reports/q3'] };
  expect(accepted).toMatchObject({
    ...common,
    actor: clerk,
    as: clerk,
    peer: reader,
    organisation: b.did,
    peerId: b.network.peer,
    principal: a.node.agents.agent(clerk).sponsor,
    score: 300,
    minScore: 300,
    purpose: 'billing',
    policy: { version: 'open/1', rule: null, decision: 'allow' },
    delegation: over['delegation'],
    sig: { kid: await credentialKey(a, clerk) },
  });
  expect(accepted?.['links']).toContain(grant);
  const [opened] = await written(b, 'session.opened');
  expect(opened).toMatchObject({
    ...common,
    actor: reader,
    as: reader,
    peer: clerk,
    organisation: a.did,
    delegation: over['delegation'],
    sig: { kid: await credentialKey(b, reader) },
  });
  expect(await settled(a, 'handshake.accepted')).toEqual(['ok']);
  expect(await settled(b, 'session.opened')).toEqual(['ok']);
  const ended = { session: session.sid, code: 'closed' };
  expect(await written(a, 'session.ended')).toEqual([
    expect.objectContaining({
      ...ended,
      as: clerk,
      peer: reader,
      direction: 'inbound',
      calls: 3,
      refused: 1,
      bytesIn: 900,
      bytesOut: 50,
    }),
  ]);
  expect(await written(b, 'session.ended')).toEqual([expect.not.objectContaining({ calls: expect.anything() })]);
  expect(await written(b, 'session.ended')).toMatchObject([
    { ...ended, as: reader, peer: clerk, direction: 'outbound' },
  ]);
});

test('a handshake that is refused is noted on both sides with its code', async () => {
  const [a, b] = await two();
  const [clerk, reader] = [await employ(a, 'clerk'), await employ(b, 'reader')];
  const wish = { capabilities: [{ can: 'read:reports/q3' }] };
  const code = await codeOf(shake(b, reader, clerk, wish), 1_000);
  expect(code).not.toBe('ok');
  const refused = (direction: string, as: string, peer: string) =>
    expect.objectContaining({ direction, code, as, peer, phase: 'outcome' });
  expect(await written(a, 'handshake.refused')).toEqual([refused('inbound', clerk, reader)]);
  expect(await written(b, 'handshake.refused')).toEqual([refused('outbound', reader, clerk)]);
  expect(await written(a, 'handshake.accepted')).toEqual([]);
});

test('peers that come and go, and statements that are refused, are noted', async () => {
  const [a, b] = await two();
  expect(await written(a, 'peer.bound')).toEqual([expect.objectContaining({ peer: b.did, peerId: b.network.peer })]);
  a.node.pipeline.receive(new Uint8Array([1]), { via: 'put', peer: b.network.peer });
  await world.during(b.node.close());
  await b.network.close();
  await world.clock.advance(1_000);
  expect(await written(a, 'peer.lost')).toEqual([expect.objectContaining({ peer: b.did, peerId: b.network.peer })]);
  expect(await written(a, 'statement.rejected')).toEqual([
    expect.objectContaining({ code: 'malformed', source: 'sync', peerId: b.network.peer }),
  ]);
});

test('a suspension, its revocation, and the return, which is announced', async () => {
  const a = await alone();
  const clerk = await employ(a, 'clerk');
  await codeOf(a.api.agentSuspend(input(undefined, { did: clerk }), operator, never));
  await codeOf(a.api.agentResume(input(undefined, { did: clerk }), operator, never));
  const told = (await written(a, 'agent.changed', 'revocation.issued')).map((entry) => [
    entry.type,
    entry['phase'],
    entry['status'] ?? entry['reason'],
  ]);
  expect(told).toEqual([
    ['revocation.issued', 'intent', 'suspended'],
    ['agent.changed', 'outcome', 'suspended'],
    ['agent.changed', 'intent', 'active'],
  ]);
  expect(await settled(a, 'agent.changed')).toEqual(['ok']);
});

test('operations of the organisation are announced by the key before, and settled by the key after', async () => {
  const a = await alone();
  const before = await keyOfOrganisation(a);
  const retire = [{ key: before, graceSeconds: null }];
  expect(await codeOf(a.api.organisationRotate(input({ retire }), operator, never))).toBe('ok');
  const after = await keyOfOrganisation(a);
  const rotate = (await written(a, 'did.operation')).find(({ operation }) => operation === 'rotate') as Written;
  const outcome = (await written(a)).find(({ intent }) => intent === rotate['id']);
  expect(rotate).toMatchObject({ phase: 'intent', did: a.did, seq: 1, sig: { kid: before } });
  expect(outcome).toMatchObject({ result: { code: 'ok' }, sig: { kid: after } });
});

test('a deactivated organisation still signs what its daemon says', async () => {
  const a = await alone();
  await codeOf(a.api.organisationDeactivate(input({ confirm: a.did }), operator, never));
  const again = await reopen(a);
  await world.clock.advance(limits.LOG_GATHER_MS);
  expect(await settled(again, 'did.operation')).toEqual(['ok']);
  expect((await written(again, 'daemon.started')).length).toBe(2);
});

test('an operation signed with keys that nobody committed to is refused before it is announced', async () => {
  const a = await alone();
  const thief = keyOf('thief');
  const wanted = { retire: [], rotationKeys: [thief.text], next: { commitments: ['A'.repeat(43)], threshold: 1 } };
  const { id, toSign } = await a.api.organisationRotate(input(wanted), operator, never);
  const payload = Uint8Array.from(Buffer.from(toSign[0]?.payload as string, 'base64url'));
  const signature = Buffer.from(thief.sign(signingInput('didop/v1', payload))).toString('base64url');
  expect(await codeOf(a.api.operationComplete(input({ signatures: [signature] }, { id }), operator, never))).toBe(
    'not_entitled',
  );
  expect((await written(a, 'did.operation')).map(({ operation }) => operation)).toEqual(['genesis']);
});

test("an operation of the organisation that others bring is in the log too: it lists keys in the organisation's name", async () => {
  const a = await alone();
  const commitments = [Buffer.from(digestOf(keyOf('thief').publicKey)).toString('base64url')];
  const retire = [{ key: await keyOfOrganisation(a), graceSeconds: null }];
  const wanted = { retire, rotationKeys: [keyOf('acme/rotation-1').text], next: { commitments, threshold: 1 } };
  const { toSign } = await a.api.organisationRotate(input(wanted), operator, never);
  const payload = Uint8Array.from(Buffer.from(toSign[0]?.payload as string, 'base64url'));
  const signature = keyOf('acme/rotation-1').sign(signingInput('didop/v1', payload));
  const { envelope } = assembleStatement(payload, [signature]);
  expect(a.node.pipeline.receive(envelope, { via: 'put', peer: 'thief' }).verdict).toBe('accept');
  // In the same turn, and signed with the key that it lists.
  a.node.pipeline.receive(new Uint8Array([1]), { via: 'put', peer: keyOf('thief').peerId });
  await world.clock.advance(100);
  expect((await written(a, 'statement.rejected'))[0]?.['sig']).toMatchObject({ kid: await keyOfOrganisation(a) });
  const [, rotate] = await written(a, 'did.operation');
  expect(rotate).toMatchObject({
    phase: 'outcome',
    operation: 'rotate',
    statement: Buffer.from(envelope).toString('base64url'),
  });
});

test('an operation is in the log even if somebody has used the id of its entry for something else', async () => {
  const a = await alone();
  const commitments = [Buffer.from(digestOf(keyOf('thief').publicKey)).toString('base64url')];
  const wanted = { retire: [], rotationKeys: [keyOf('acme/rotation-1').text], next: { commitments, threshold: 1 } };
  const { toSign } = await a.api.organisationRotate(input(wanted), operator, never);
  const payload = Uint8Array.from(Buffer.from(toSign[0]?.payload as string, 'base64url'));
  const signature = keyOf('acme/rotation-1').sign(signingInput('didop/v1', payload));
  const operation = assembleStatement(payload, [signature]);
  const { actors, recorder } = a.node.audit;
  const squatter = createEntry<string>(
    {
      id: createUuid7(operation.payload.iat * 1000, operation.digest.subarray(0, 16)),
      source: a.did,
      timeMs: world.clock.nowMs(),
      type: 'org.example.squatted',
      data: { actor: a.did, phase: 'outcome' },
    },
    actors.signer(a.did),
  );
  await world.during(recorder.append(squatter));
  expect(a.node.pipeline.receive(operation.envelope, { via: 'put', peer: 'thief' }).verdict).toBe('accept');
  await world.clock.advance(100);
  expect((await written(a, 'did.operation')).map(({ operation: op }) => op)).toEqual(['genesis', 'rotate']);
});

test('a token for an agent that logs in is announced with its end', async () => {
  const a = await alone();
  const own = keyOf('own key');
  const draft = await world.during(a.api.agentCreate(input(body('clerk', { publicKey: own.text })), operator, never));
  const signatures = draft.toSign.map(({ payload }) => {
    const bytes = Uint8Array.from(Buffer.from(payload, 'base64url'));
    return Buffer.from(own.sign(signingInput('didop/v1', bytes))).toString('base64url');
  });
  const { did } = draft.agent;
  expect(await codeOf(a.api.agentComplete(input({ signatures }, { did }), operator, never))).toBe('ok');
  const { untilMs } = await world.during(a.node.agents.loginToken(did));
  expect((await written(a, 'token.issued')).map(({ until }) => until)).toEqual([null, new Date(untilMs).toISOString()]);
});

// Before it is done

/** What would grant something, and whether it did. */
interface Grant {
  readonly name: string;
  /** The entry that comes first, and where. */
  readonly type: string;
  readonly on: 'a' | 'b';
  prepare(
    a: Member,
    b: Member,
  ): Promise<{ work: () => Promise<unknown>; isGranted: () => boolean; again?: () => Promise<unknown> }>;
}

const GRANTS: readonly Grant[] = [
  {
    name: 'a sponsor',
    type: 'did.operation',
    on: 'a',
    prepare: async (a) => ({
      work: () => a.api.sponsorCreate(input({ contact: 'bob@example.com' }), operator, never),
      isGranted: () =>
        a.node.agents.sponsors().length > 0 ||
        [...a.node.state.didsOf(a.did)].some((did) => a.node.state.didState(did)?.kind === 'person'),
    }),
  },
  {
    name: 'an agent',
    type: 'did.operation',
    on: 'a',
    prepare: async (a) => {
      await world.during(a.api.sponsorCreate(input({ contact: 'alice@example.com' }), operator, never));
      return {
        work: () => a.api.agentCreate(input(body('clerk')), operator, never),
        isGranted: () => a.node.agents.agents().some((agent) => a.node.agents.status(agent) === 'active'),
        // It is there, unpublished, and has its name.
        again: () =>
          a.api.agentRegister(input(undefined, { did: a.node.agents.agents()[0]?.did as string }), operator, never),
      };
    },
  },
  {
    name: 'a delegation',
    type: 'delegation.issued',
    on: 'a',
    prepare: async (a, b) => {
      await employ(a, 'clerk');
      const reader = await employ(b, 'reader');
      return {
        work: () => a.api.delegationCreate(input({ to: reader, capabilities: [{ can: 'read:x' }] }), operator, never),
        isGranted: () =>
          [a, b].some(({ node }) => [...node.state.linksTo(reader)].some((link) => link.payload.sub === a.did)),
      };
    },
  },
  {
    name: 'a token',
    type: 'token.issued',
    on: 'a',
    prepare: async (a) => {
      const did = await employ(a, 'clerk');
      const before = a.node.agents.agent(did).tokens.length;
      return {
        work: () => a.api.agentToken(input(undefined, { did }), operator, never),
        isGranted: () => a.node.agents.agent(did).tokens.length > before,
      };
    },
  },
  {
    name: 'the return of an agent',
    type: 'agent.changed',
    on: 'a',
    prepare: async (a) => {
      const did = await employ(a, 'clerk');
      await codeOf(a.api.agentSuspend(input(undefined, { did }), operator, never));
      return {
        work: () => a.api.agentResume(input(undefined, { did }), operator, never),
        isGranted: () => a.node.agents.status(a.node.agents.agent(did)) === 'active',
      };
    },
  },
  {
    name: 'a rotation',
    type: 'did.operation',
    on: 'a',
    prepare: async (a) => {
      const retire = [{ key: await keyOfOrganisation(a), graceSeconds: null }];
      return {
        work: () => a.api.organisationRotate(input({ retire }), operator, never),
        isGranted: () => a.node.organisation.state.seq > 0,
      };
    },
  },
  {
    name: 'a session, where it is granted',
    type: 'handshake.accepted',
    on: 'a',
    prepare: async (a, b) => {
      const [clerk, reader] = [await employ(a, 'clerk'), await employ(b, 'reader')];
      return { work: () => shake(b, reader, clerk), isGranted: () => a.node.sessions.size + b.node.sessions.size > 0 };
    },
  },
  {
    name: 'a session, where it is used',
    type: 'session.opened',
    on: 'b',
    prepare: async (a, b) => {
      const [clerk, reader] = [await employ(a, 'clerk'), await employ(b, 'reader')];
      return { work: () => shake(b, reader, clerk), isGranted: () => b.node.sessions.size > 0 };
    },
  },
  {
    name: 'a credential over a grant',
    type: 'credential.issued',
    on: 'b',
    prepare: async (a, b) => {
      const [clerk, reader] = [await employ(a, 'clerk'), await employ(b, 'reader')];
      const grant = await delegate(a, reader);
      return {
        work: () => shake(b, reader, clerk, { grant, capabilities: [{ can: 'read:reports/q3' }] }),
        isGranted: () => a.node.sessions.size + b.node.sessions.size > 0,
      };
    },
  },
];

for (const { name, on, type, prepare } of GRANTS) {
  test(`${name}: nothing is granted before it is on disk that it will be`, async () => {
    const [a, b] = await two();
    const { work, isGranted } = await prepare(a, b);
    expect(isGranted()).toBe(false);
    const member = on === 'a' ? a : b;
    const gate = new LogGate(member.auditLog);
    const intents = (await written(member, type)).length;
    gate.shut();
    const done = codeOf(work(), 4_000);
    expect(isGranted()).toBe(false);
    await world.clock.advance(1_000);
    expect(isGranted()).toBe(false);
    expect((await written(member, type)).length).toBe(intents);
    gate.open();
    expect(await done).toBe('ok');
    expect(isGranted()).toBe(true);
    const after = (await written(member, type)).filter(({ phase }) => phase === 'intent').at(-1);
    expect(after).toBeDefined();
    expect((await written(member, 'intent.settled')).find(({ intent }) => intent === after?.['id'])).toBeDefined();
  });

  for (const code of ['log_halted', 'read_only', 'busy'] as const satisfies readonly ErrorCode[]) {
    test(`${name}: where the log answers ${code}, nothing is granted`, async () => {
      const [a, b] = await two();
      const { work, isGranted, again = work } = await prepare(a, b);
      const gate = new LogGate((on === 'a' ? a : b).auditLog);
      gate.broken = code;
      // The other side of a handshake is told no more than that it failed.
      expect(await codeOf(work(), 12_000)).not.toBe('ok');
      expect(isGranted()).toBe(false);
      gate.broken = undefined;
      expect(await codeOf(again(), 4_000)).toBe('ok');
      expect(isGranted()).toBe(true);
    });
  }
}

test('that a conviction is lifted is announced, and refused where the log cannot hold it', async () => {
  const [a, b] = await two();
  const lift = (): Promise<string> =>
    codeOf(a.api.convictionLift(input({ reason: 'a restored backup' }, { did: b.did }), operator, never));
  expect(await lift()).toBe('not_found');
  expect(await written(a, 'conviction.lifted')).toEqual([
    expect.objectContaining({ phase: 'intent', who: b.did, peer: b.did, reason: 'a restored backup' }),
  ]);
  expect(await settled(a, 'conviction.lifted')).toEqual(['not_found']);
  a.auditLog.halt({ code: 'log_halted', message: 'a test says so' });
  expect(await lift()).toBe('log_halted');
});

test('a halted log refuses a handshake before anything is shown, on either side', async () => {
  const [a, b] = await two();
  const [clerk, reader] = [await employ(a, 'clerk'), await employ(b, 'reader')];
  b.auditLog.halt({ code: 'log_halted', message: 'a test says so' });
  expect(await codeOf(shake(b, reader, clerk), 1_000)).toBe('log_halted');
  expect(await written(a, 'handshake.refused')).toEqual([]);
  a.auditLog.halt({ code: 'log_halted', message: 'a test says so' });
  expect(await codeOf(shake(a, clerk, reader), 1_000)).toBe('log_halted');
});

test('with a halted log revocations and suspensions still go out, and sessions still end', async () => {
  const [a, b] = await two();
  const [clerk, reader] = [await employ(a, 'clerk'), await employ(b, 'reader')];
  const link = await delegate(a, reader);
  await world.during(shake(b, reader, clerk), 1_000);
  a.auditLog.halt({ code: 'log_halted', message: 'a test says so' });
  const revoke = { target: { link }, reason: 'over' };
  expect(await codeOf(a.api.revocationCreate(input(revoke), operator, never))).toBe('ok');
  expect(b.node.state.revocationsOf({ link })).toHaveLength(1);
  expect(await codeOf(a.api.agentSuspend(input(undefined, { did: clerk }), operator, never))).toBe('ok');
  expect([a.node.sessions.size, b.node.sessions.size]).toEqual([0, 0]);
  expect(await codeOf(a.api.agentResume(input(undefined, { did: clerk }), operator, never))).toBe('log_halted');
  expect(a.node.agents.status(a.node.agents.agent(clerk))).toBe('suspended');
});

test('a daemon whose log is halted starts, lets its credentials lapse, and stops', async () => {
  const a = await alone();
  const clerk = await employ(a, 'clerk');
  a.auditLog.halt({ code: 'log_halted', message: 'a test says so' });
  const again = await reopen(a);
  expect(again.auditLog.problem).toMatchObject({ code: 'log_halted' });
  await world.clock.advance(60_000);
  expect(await credentialKey(again, clerk)).toBeUndefined();
});

test('what waited for the log is looked at again before it is done', async () => {
  const [a, b] = await two();
  const [clerk, reader] = [await employ(a, 'clerk'), await employ(b, 'reader')];
  const gate = new LogGate(a.auditLog);
  gate.shut();
  const work = codeOf(shake(b, reader, clerk), 4_000);
  await world.clock.advance(1_000);
  // Its revocation arrives while the grant is being written.
  await world.during(b.api.agentRevoke(input({ reason: 'left' }, { did: reader }), operator, never));
  gate.open();
  expect(await work).toBe('chain');
  expect([a.node.sessions.size, b.node.sessions.size]).toEqual([0, 0]);
  expect(await settled(a, 'handshake.accepted')).toEqual(['chain']);
});

test('a rotation for which another took the place while it was being written forks nobody', async () => {
  const a = await alone();
  const commitments = [Buffer.from(digestOf(keyOf('next').publicKey)).toString('base64url')];
  const rotationKeys = [keyOf('acme/rotation-1').text];
  const key = await keyOfOrganisation(a);
  const prepare = (graceSeconds: number | null) => {
    const retire = [{ key, graceSeconds }];
    const wanted = { retire, rotationKeys, next: { commitments, threshold: 1 } };
    return a.api.organisationRotate(input(wanted), operator, never);
  };
  const [own, other] = [await prepare(null), await prepare(60)];
  const signed = ({ toSign }: typeof own): [Uint8Array, Uint8Array] => {
    const payload = Uint8Array.from(Buffer.from(toSign[0]?.payload as string, 'base64url'));
    return [payload, keyOf('acme/rotation-1').sign(signingInput('didop/v1', payload))];
  };
  const gate = new LogGate(a.auditLog);
  gate.shut();
  const signatures = [Buffer.from(signed(own)[1]).toString('base64url')];
  const done = codeOf(a.api.operationComplete(input({ signatures }, { id: own.id }), operator, never), 1_000);
  await settle();
  const [payload, signature] = signed(other);
  a.node.pipeline.receive(assembleStatement(payload, [signature]).envelope, { via: 'put', peer: 'thief' });
  gate.open();
  expect(await done).toBe('conflict');
  expect(a.node.organisation.state).toMatchObject({ status: 'active', seq: 1, head: other.id });
  expect(await settled(a, 'did.operation')).toEqual(['conflict']);
});

test('a revocation whose number another took while it was being written is not numbered twice', async () => {
  const a = await alone();
  const clerk = await employ(a, 'clerk');
  const gate = new LogGate(a.auditLog);
  gate.shut();
  const revoke = (): Promise<string> =>
    codeOf(a.api.revocationCreate(input({ target: { did: clerk }, reason: 'left' }), operator, never), 1_000);
  const done = revoke();
  await settle();
  const nowSeconds = Math.floor(world.clock.nowMs() / 1000);
  const { rootLink } = a.node.agents.agent(clerk);
  const other = signStatement<'revocation/v1'>(
    {
      t: 'revocation/v1',
      iat: nowSeconds,
      iss: a.did,
      org: a.did,
      seq: 1,
      prv: null,
      tgt: { link: Link.parse(rootLink) },
      rsn: 'by the daemon whose backup this one is',
    },
    [keyOf('acme/organisation')],
  );
  expect(a.node.pipeline.receive(other.envelope, { via: 'put', peer: 'neighbour' }).verdict).toBe('accept');
  gate.open();
  expect(await done).toBe('conflict');
  expect(a.node.state.revocationsBy(a.did).map(({ id }) => id)).toEqual([other.id]);
  expect(await revoke()).toBe('ok');
  expect(a.node.organisation.revocationHead().seq).toBe(2);
});
