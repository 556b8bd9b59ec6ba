import { afterEach, describe, expect, test } from 'vitest';
import type { Session } from '../../../daemon/core/sessions.ts';
import { checkJson, schemas } from '../../../protocol/control/index.ts';
import { encodeHandshakeFrame, limits, MeshError, type Statement } from '../../../protocol/index.ts';
import {
  createAgent,
  createDeactivate,
  createHeartbeat,
  createOrganisation,
  createPerson,
  createRevocation,
  createRotate,
  createUpdate,
  keyOf,
  keySet,
  NOW_SECONDS,
} from '../../builders.ts';
import { formatSession } from '../../../daemon/core/sessions.ts';
import {
  createHandshakeWorld,
  credentialUnder,
  endings,
  grantTo,
  type Party,
  type World,
  type WorldOptions,
} from './handshake-world.ts';
import { settle } from './virtual-clock.ts';

let open: World | undefined;
afterEach(async () => {
  await open?.close();
  const errors = open?.parties.flatMap((party) => [...party.errors, ...party.network.faults]) ?? [];
  const left = open?.parties.map(({ handshakes, sessions }) => handshakes.pending + sessions.size) ?? [];
  const timers = open?.clock.timers ?? 0;
  open = undefined;
  expect(errors).toEqual([]);
  expect(left.filter((count) => count !== 0)).toEqual([]);
  expect(timers).toBe(0);
});

interface Opened {
  readonly world: World;
  readonly acme: Party;
  readonly beta: Party;
  /** acme's, to beta's agent. */
  readonly grant: Statement<'delegation/v1'>;
  readonly session: Session;
}

/** beta's agent has a session with acme's, for which acme granted it something. */
async function opened({
  capabilities = [{ can: 'read:reports/q3' }],
  grant: fields = {},
  ...options
}: WorldOptions & { capabilities?: { can: string }[]; grant?: Parameters<typeof grantTo>[3] } = {}): Promise<Opened> {
  const world = await createHandshakeWorld(options);
  open = world;
  const [acme, beta] = world.parties;
  if (acme === undefined || beta === undefined) throw new Error('two parties');
  const grant = grantTo(world, acme, beta, { cap: capabilities, ...fields });
  const session = await beta.handshakes.shake({
    as: beta.agent.did,
    did: acme.agent.did,
    grant: grant.id,
    capabilities,
  });
  await settle();
  expect(acme.sessions.size).toBe(1);
  return { world, acme, beta, grant, session };
}

describe('a session ends in the same turn in which it is learnt', () => {
  const cases: [string, string, (one: Opened) => readonly Statement[]][] = [
    ['that its grant is revoked', 'revoked', ({ acme, grant }) => [createRevocation(acme.organisation, grant)]],
    [
      'that its holder gave its grant back',
      'revoked',
      ({ beta, grant }) => [createRevocation(beta.organisation, grant, { iss: beta.agent })],
    ],
    [
      'that the sponsor of the grant revoked it',
      'revoked',
      ({ acme, grant }) => [createRevocation(acme.organisation, grant, { iss: acme.sponsor })],
    ],
    [
      'that the root link of I is revoked',
      'revoked',
      ({ beta }) => [createRevocation(beta.organisation, beta.rootLink)],
    ],
    [
      'that the root link of R is revoked',
      'revoked',
      ({ acme }) => [createRevocation(acme.organisation, acme.rootLink)],
    ],
    ['that the agent of I is revoked', 'revoked', ({ beta }) => [createRevocation(beta.organisation, beta.agent)]],
    ['that the agent of R is revoked', 'revoked', ({ acme }) => [createRevocation(acme.organisation, acme.agent)]],
    ['that the sponsor of I is revoked', 'revoked', ({ beta }) => [createRevocation(beta.organisation, beta.sponsor)]],
    [
      'that the sponsor of the grant is revoked',
      'revoked',
      ({ acme }) => [createRevocation(acme.organisation, acme.sponsor)],
    ],
    [
      'that the key which signed the credential is revoked',
      'revoked',
      ({ beta }) => [createRevocation(beta.organisation, { of: beta.agent, key: beta.agent.keys.delegate })],
    ],
    [
      'that the ephemeral key is revoked',
      'revoked',
      ({ beta, grant }) => [
        createRevocation(beta.organisation, { of: beta.agent, key: credentialUnder([grant], beta.agent).key }),
      ],
    ],
    [
      'that the organisation of I has two histories',
      'did_forked',
      ({ beta }) => [createRotate(beta.organisation, 'one'), createRotate(beta.organisation, 'two')],
    ],
    [
      'that the organisation of R has two histories',
      'did_forked',
      ({ acme }) => [createRotate(acme.organisation, 'one'), createRotate(acme.organisation, 'two')],
    ],
    [
      'that the organisation of I is deactivated',
      'did_deactivated',
      ({ beta }) => [createDeactivate(beta.organisation)],
    ],
    ['that the sponsor of I is deactivated', 'revoked', ({ beta }) => [createDeactivate(beta.sponsor)]],
    [
      'that the organisation of I lists another node',
      'peer_not_bound',
      ({ beta }) => [createUpdate(beta.organisation, { nodes: [keyOf('another node')] })],
    ],
    [
      'that a key which signed its grant was retired as dead',
      'key_retired',
      ({ acme }) => [
        createRotate(acme.organisation, 'acme second', { retire: [[acme.organisation.keys.delegate, null]] }),
      ],
    ],
  ];
  test.each(cases)('%s: %s', async (_, code, statementsOf) => {
    const one = await opened();
    const { world, acme, beta, session } = one;
    const statements = statementsOf(one);
    // On one side first, which then tells the other.
    world.learn(statements, acme);
    expect(endings(acme)).toEqual([code]);
    expect(acme.sessions.get(session.sid)).toBeUndefined();
    expect(endings(beta)).toEqual([]);
    await settle();
    expect(endings(beta)).toEqual([code]);
    expect([acme.sessions.size, beta.sessions.size]).toEqual([0, 0]);
  });

  test.each(cases)('on the side of I as well: %s: %s', async (what, code, statementsOf) => {
    const one = await opened();
    const { world, acme, beta } = one;
    const statements = statementsOf(one);
    // I judges R by its own organisation, and what it was granted by acme; nobody asks I about its own PeerId.
    const expected = code === 'peer_not_bound' ? [] : [what.includes('deactivated') ? 'did_deactivated' : code];
    world.learn(statements, beta);
    expect(endings(beta)).toEqual(expected);
    await settle();
    expect(endings(acme)).toEqual(expected);
  });

  test('of organisations alone, that one of them has two histories, on its own side as well', async () => {
    for (const [at, of] of [
      [0, 1],
      [1, 1],
    ] as const) {
      const world = await createHandshakeWorld();
      open = world;
      const [acme, beta] = world.parties as [Party, Party];
      await beta.handshakes.shake({ as: beta.organisation.did, did: acme.organisation.did });
      await settle();
      const forked = (world.parties[of] as Party).organisation;
      world.learn([createRotate(forked, 'one'), createRotate(forked, 'two')], world.parties[at] as Party);
      expect(endings(world.parties[at] as Party)).toEqual(['did_forked']);
      await world.close();
    }
  });

  test('by five revocations with one number', async () => {
    const { world, acme, beta } = await opened();
    const others = Array.from({ length: 5 }, (_, i) =>
      createRevocation(acme.organisation, createAgent(acme.organisation, `other ${i}`)),
    );
    world.learn(others.slice(0, 4), beta);
    expect(endings(beta)).toEqual([]);
    world.learn(others.slice(4), beta);
    expect(endings(beta)).toEqual(['did_forked']);
  });

  test('by what was learnt while RESULT was under way', async () => {
    const { world, acme, beta, grant } = await opened();
    const revocation = createRevocation(acme.organisation, grant);
    world.mesh.onFrame = (frame, { from, index }) => {
      // R has judged and says so; before I hears it, I learns that the grant is gone.
      if (from === acme.network.peer && index === 1) world.learn([revocation], beta);
      return frame;
    };
    const again = beta.handshakes.shake({
      as: beta.agent.did,
      did: acme.agent.did,
      grant: grant.id,
      capabilities: [{ can: 'read:reports/q3' }],
    });
    await expect(again).rejects.toMatchObject({ code: 'closed' });
    await settle();
    expect(endings(beta)).toEqual(['revoked', 'revoked']);
    expect(acme.sessions.size).toBe(0);
  });
});

describe('a session goes on', () => {
  test('whatever is learnt of others', async () => {
    const { world, acme, beta, grant, session } = await opened();
    const mallory = createOrganisation('mallory');
    const agent = createAgent(mallory, 'mallory agent');
    const other = createAgent(acme.organisation, 'other');
    const first = createRevocation(acme.organisation, other);
    world.learn([
      mallory.genesis,
      agent.genesis,
      other.genesis,
      createPerson(acme.organisation, 'somebody').genesis,
      // From a stranger a revocation never applies.
      createRevocation(mallory, grant),
      createRevocation(mallory, grant, { iss: agent, prv: createRevocation(mallory, grant) }),
      first,
      createRevocation(acme.organisation, grantTo(world, acme, beta, { nonce: 'another' }), { prv: first }),
      createHeartbeat(acme.organisation, { iat: NOW_SECONDS + 1 }),
    ]);
    await settle();
    expect([endings(acme), endings(beta)]).toEqual([[], []]);
    expect(acme.sessions.get(session.sid)).toBeDefined();
  });

  test('through a rotation that keeps its link or gives its key grace', async () => {
    const { world, acme, grant, session } = await opened();
    const kept = createRotate(acme.organisation, 'acme second', {
      retire: [
        [acme.organisation.keys.delegate, null, [grant, acme.rootLink]],
        [acme.organisation.keys.sign, NOW_SECONDS + 600],
      ],
    });
    world.learn([kept]);
    expect(acme.sessions.get(session.sid)).toBeDefined();
    const graced = await opened();
    graced.world.learn([
      createRotate(graced.acme.organisation, 'acme second', {
        retire: [
          [graced.acme.organisation.keys.delegate, NOW_SECONDS + 600],
          [graced.acme.organisation.keys.sign, NOW_SECONDS + 600],
        ],
      }),
    ]);
    expect(graced.acme.sessions.size).toBe(1);
    await world.close();
  });

  test('through a new service in the log of its organisation', async () => {
    const { world, beta, acme } = await opened();
    world.learn([createUpdate(beta.organisation, { services: [['libp2p', '/ip4/192.0.2.1/tcp/1']] })]);
    expect(acme.sessions.size).toBe(1);
  });
});

describe('a session ends', () => {
  test('when its time is over, on both sides', async () => {
    const { world, acme, beta, session } = await opened({ grant: { exp: NOW_SECONDS + 100 } });
    expect(session.expiresMs).toBe((NOW_SECONDS + 100) * 1000);
    await world.clock.advance(99_999);
    expect([acme.sessions.size, beta.sessions.size]).toEqual([1, 1]);
    await world.clock.advance(1);
    expect([endings(acme), endings(beta)]).toEqual([['expired'], ['expired']]);
  });

  test('by the wall clock, though its timer is late', async () => {
    const { world, acme, beta, session } = await opened({ grant: { exp: NOW_SECONDS + 100 } });
    world.clock.step(100_000);
    expect(acme.sessions.get(session.sid)).toBeUndefined();
    expect(beta.sessions.list()).toEqual([]);
    expect([endings(acme), endings(beta)]).toEqual([['expired'], ['expired']]);
  });

  test('with its connection', async () => {
    const { acme, beta } = await opened();
    await acme.network.disconnect(beta.network.peer, 'a test');
    expect([endings(acme), endings(beta)]).toEqual([['closed'], ['closed']]);
  });

  test('with its connection and no other', async () => {
    const { world, acme, beta } = await opened();
    const second = world.mesh.connect(beta.network, acme.network);
    beta.is.reaches = () => second;
    await beta.handshakes.shake({ as: beta.organisation.did, did: acme.organisation.did });
    await settle();
    beta.sessions.connectionClosed(second.id);
    await settle();
    expect(endings(beta)).toEqual(['closed']);
    expect([acme.sessions.size, beta.sessions.size]).toEqual([1, 1]);
  });

  test('when its peer may not speak for the organisation any more', async () => {
    const { acme, beta } = await opened();
    acme.sessions.peerUnbound(keyOf('somebody else').peerId);
    expect(acme.sessions.size).toBe(1);
    acme.sessions.peerUnbound(beta.network.peer);
    expect(endings(acme)).toEqual(['peer_not_bound']);
    await settle();
    expect(endings(beta)).toEqual(['peer_not_bound']);
  });

  test('when the policy changes against it, and when the score falls below what was asked', async () => {
    const { acme, beta } = await opened();
    acme.sessions.trustChanged();
    expect(acme.sessions.size).toBe(1);
    acme.is.policy = {
      need: acme.is.policy.need,
      verify: () => {
        throw new MeshError('policy_denied', 'Cannot go on');
      },
    };
    acme.sessions.trustChanged();
    expect(endings(acme)).toEqual(['policy_changed']);
    await settle();
    expect(endings(beta)).toEqual(['policy_changed']);
    await beta.handshakes.shake({ as: beta.organisation.did, did: acme.organisation.did }).catch(() => undefined);
    acme.is.policy = { need: acme.is.policy.need, verify: () => {} };
    await beta.handshakes.shake({ as: beta.organisation.did, did: acme.organisation.did });
    beta.is.score = 299;
    beta.sessions.trustChanged();
    expect(endings(beta).at(-1)).toBe('score_below');
  });

  test('when its root is trusted no more', async () => {
    const { acme } = await opened();
    acme.is.roots = new Set();
    acme.sessions.trustChanged();
    expect(endings(acme)).toEqual(['policy_changed']);
  });

  test('when either side says so, and the other learns which', async () => {
    const { acme, beta, session } = await opened();
    expect(beta.sessions.end(session.sid)).toBe(true);
    expect(beta.sessions.end(session.sid)).toBe(false);
    await settle();
    expect([endings(acme), endings(beta)]).toEqual([['closed'], ['closed']]);
  });

  test('when one side stops, and no other is opened then', async () => {
    const { acme, beta } = await opened();
    await acme.sessions.close();
    expect([endings(acme), endings(beta)]).toEqual([['closed'], ['closed']]);
    await expect(
      beta.handshakes.shake({ as: beta.organisation.did, did: acme.organisation.did }),
    ).rejects.toMatchObject({ code: 'closed', data: { side: 'peer' } });
  });

  test('when anything but an ending comes on its stream', async () => {
    const { world, acme, beta, session } = await opened();
    world.mesh.onFrame = (frame, { from }) =>
      from === beta.network.peer ? encodeHandshakeFrame('refusal', { rej: 'busy' }) : frame;
    beta.sessions.end(session.sid, 'revoked');
    await settle();
    expect(endings(acme)).toEqual(['closed']);
  });
});

describe('what is known of those that a session rests on', () => {
  test('is named with the staleness tolerated, strictest first', async () => {
    const { world, acme, beta } = await opened({ grant: { stl: 20 } });
    // The credential under the grant is issued by beta's agent, so the chain rests on both.
    const both = (seconds: number) => new Map([acme, beta].map(({ organisation }) => [organisation.did, seconds]));
    expect(acme.sessions.organisationsReliedOn()).toEqual(both(20));
    expect(beta.sessions.organisationsReliedOn()).toEqual(new Map([[acme.organisation.did, 300]]));
    const writes = [{ can: 'write:notes/1' }];
    const strict = grantTo(world, acme, beta, { stl: 5, cap: writes, nonce: 'strict' });
    await beta.handshakes.shake({ as: beta.agent.did, did: acme.agent.did, grant: strict.id, capabilities: writes });
    await settle();
    expect(acme.sessions.organisationsReliedOn()).toEqual(both(5));
    expect(beta.sessions.organisationsReliedOn()).toEqual(new Map([[acme.organisation.did, 60]]));
  });

  test('may age as long as is tolerated, and not a moment longer', async () => {
    const { world, acme, beta } = await opened();
    await world.clock.advance(300_000);
    expect([endings(acme), endings(beta)]).toEqual([[], []]);
    await world.clock.advance(1);
    expect([endings(acme), endings(beta)]).toEqual([['status_stale'], ['status_stale']]);
  });

  test('keeps the session alive where it is refreshed in time', async () => {
    const { world, acme, beta } = await opened({ grant: { stl: 5 } });
    for (let second = 2; second <= 60; second += 2) {
      await world.clock.advance(2_000);
      world.learn([
        createHeartbeat(acme.organisation, { iat: NOW_SECONDS + second }),
        createHeartbeat(beta.organisation, { iat: NOW_SECONDS + second }),
      ]);
    }
    expect([endings(acme), endings(beta)]).toEqual([[], []]);
    await world.clock.advance(5_001);
    expect(endings(acme)).toEqual(['status_stale']);
    await settle();
    expect(endings(beta)).toEqual(['status_stale']);
  });

  test('ends the session where a heartbeat names what does not come', async () => {
    const { world, acme, beta, grant } = await opened({ grant: { stl: 5 } });
    const revocation = createRevocation(acme.organisation, grant);
    await world.clock.advance(2_000);
    world.learn([createHeartbeat(acme.organisation, { iat: NOW_SECONDS + 2, rhead: revocation })], acme);
    await world.clock.advance(3_001);
    expect(endings(acme)).toEqual(['status_stale']);
    await settle();
    expect(endings(beta)).toEqual(['status_stale']);
  });

  test('is asked for again with each critical use; between them a session lives as one that writes', async () => {
    const { world, acme } = await opened({ capabilities: [{ can: 'pay:invoices/7' }] });
    expect([...acme.sessions.organisationsReliedOn().values()]).toEqual([60, 60]);
    await world.clock.advance(60_000);
    expect(endings(acme)).toEqual([]);
    await world.clock.advance(1);
    expect(endings(acme)).toEqual(['status_stale']);
  });

  test('is looked at when the session is, though its timer is late', async () => {
    const { world, acme, session } = await opened();
    world.clock.step(301_000);
    expect(acme.sessions.get(session.sid)).toBeUndefined();
    expect(endings(acme)).toEqual(['status_stale']);
  });
});

describe('sessions', () => {
  test('are told once each as opened and ended, and leave nothing behind', async () => {
    const { acme, beta, session } = await opened();
    const more: Session[] = [];
    for (let i = 0; i < 10; i++)
      more.push(await beta.handshakes.shake({ as: beta.organisation.did, did: acme.organisation.did }));
    await settle();
    expect(acme.sessions.size).toBe(11);
    for (const { sid } of [session, ...more]) acme.sessions.end(sid);
    await settle();
    for (const { events } of [acme, beta]) {
      expect(events.filter(({ type }) => type === 'session.opened')).toHaveLength(11);
      expect(events.filter(({ type }) => type === 'session.ended')).toHaveLength(11);
    }
    expect(acme.sessions.organisationsReliedOn().size + beta.sessions.organisationsReliedOn().size).toBe(0);
  });

  test('survive no restart of the other side: nothing is kept for another connection', async () => {
    const { world, acme, beta, session } = await opened();
    await beta.network.disconnect(acme.network.peer, 'restart');
    world.mesh.connect(beta.network, acme.network);
    expect(acme.sessions.get(session.sid)).toBeUndefined();
    const again = await beta.handshakes.shake({ as: beta.organisation.did, did: acme.organisation.did });
    expect(again.sid).not.toBe(session.sid);
  });

  test('are shown in the schema of the control API', async () => {
    const { acme, session } = await opened();
    for (const one of [session, ...acme.sessions.list()])
      checkJson(schemas.Session, formatSession(one), 'a session', 'internal');
    expect(formatSession(session).links.length).toBeLessThanOrEqual(2 * limits.CHAIN_LINKS_MAX);
    const use = acme.sessions.useOf(session.sid);
    if (use === undefined) throw new Error('acme has it too');
    use.calls = 2;
    const link = { server: 'filesystem', openedMs: session.openedMs };
    use.links.add(link);
    const shown = formatSession(session, acme.sessions.useOf(session.sid));
    checkJson(schemas.Session, shown, 'a session', 'internal');
    expect(shown).toMatchObject({ use: { calls: 2, running: 0 }, servers: [{ server: 'filesystem' }] });
    use.links.delete(link);
    expect(formatSession(session, acme.sessions.useOf(session.sid)).servers).toEqual([]);
  });

  test('of an organisation end when the key that signed is retired as dead', async () => {
    const world = await createHandshakeWorld();
    open = world;
    const [acme, beta] = world.parties as [Party, Party];
    await beta.handshakes.shake({ as: beta.organisation.did, did: acme.organisation.did });
    await settle();
    expect(keySet('beta second').auth.publicKey).not.toEqual(beta.organisation.keys.auth.publicKey);
    world.learn(
      [createRotate(beta.organisation, 'beta second', { retire: [[beta.organisation.keys.auth, null]] })],
      acme,
    );
    expect(endings(acme)).toEqual(['key_retired']);
  });
});
