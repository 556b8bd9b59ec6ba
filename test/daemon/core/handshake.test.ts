import { afterEach, describe, expect, test } from 'vitest';
import { formatSession } from '../../../daemon/core/sessions.ts';
import { checkJson, EventSchema, schemas } from '../../../protocol/control/index.ts';
import {
  decodeCbor,
  digestOfCid,
  isMeshError,
  limits,
  MeshError,
  parseHandshakeFrame,
  parseReply,
} from '../../../protocol/index.ts';
import {
  createAgent,
  createChildLink,
  createRevocation,
  createRootLink,
  createRotate,
  keySet,
  NOW_MS,
  NOW_SECONDS,
} from '../../builders.ts';
import {
  createHandshakeWorld,
  credentialUnder,
  grantTo,
  type Party,
  publishedBy,
  refusals,
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

async function pair(options?: WorldOptions): Promise<{ world: World; acme: Party; beta: Party }> {
  const world = await createHandshakeWorld(options);
  open = world;
  const [acme, beta] = world.parties;
  if (acme === undefined || beta === undefined) throw new Error('two parties');
  return { world, acme, beta };
}

/** beta's agent asks acme's; nothing unless said. */
const shake = (beta: Party, acme: Party, more: Partial<Parameters<Party['handshakes']['shake']>[0]> = {}) =>
  beta.handshakes.shake({ as: beta.agent.did, did: acme.agent.did, ...more });
const Q3 = [{ can: 'read:reports/q3' }];

/** code, or chain:reason, with who found it. */
async function outcomeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return 'a session';
  } catch (error) {
    if (!isMeshError(error)) throw error;
    const code = error.code === 'chain' ? `chain:${String(error.data.reason)}` : error.code;
    return error.data.side === 'peer' ? `${code} (peer)` : code;
  }
}

/** Names of the frames that went by, with who sent them. */
function watch(world: World, acme: Party): string[] {
  const seen: string[] = [];
  world.mesh.onFrame = (frame, { from }) => {
    const fields = Object.keys(decodeCbor(frame) as object);
    const name = fields.includes('want')
      ? 'hello'
      : fields.includes('need')
        ? 'offer'
        : fields.includes('sid')
          ? 'result'
          : fields.includes('pres')
            ? 'proof'
            : (fields[0] ?? '?');
    seen.push(`${from === acme.network.peer ? 'R' : 'I'} ${name}`);
    return frame;
  };
  return seen;
}

describe('a handshake opens one session on both sides', () => {
  test('between organisations', async () => {
    const { acme, beta } = await pair();
    const session = await beta.handshakes.shake({ as: beta.organisation.did, did: acme.organisation.did });
    await settle();
    expect(session).toMatchObject({
      direction: 'outbound',
      sponsor: null,
      granted: [],
      score: 300,
      minScore: 300,
      did: acme.organisation.did,
      organisation: acme.organisation.did,
      peer: acme.network.peer,
    });
    expect(acme.sessions.list()).toMatchObject([
      {
        sid: session.sid,
        direction: 'inbound',
        did: beta.organisation.did,
        as: acme.organisation.did,
        durationMs: null,
      },
    ]);
    expect(session.checked).toEqual(['channel', 'peer', 'status', 'signer', 'score', 'policy']);
  });

  test('between agents that ask for nothing: each has proved who it is and who answers for it', async () => {
    const { acme, beta } = await pair();
    const session = await shake(beta, acme);
    await settle();
    expect(session).toMatchObject({ sponsor: acme.sponsor.did, granted: [], rates: [], links: [acme.rootLink.id] });
    expect(acme.sessions.list()).toMatchObject([{ sponsor: beta.sponsor.did, links: [beta.rootLink.id], granted: [] }]);
    expect(session.checked).toEqual(['channel', 'peer', 'status', 'sponsor', 'signer', 'score', 'policy']);
  });

  test('with what was asked for, under the rates of the chain', async () => {
    const { world, acme, beta } = await pair();
    const grant = grantTo(world, acme, beta, { rate: [{ can: 'read:reports/*', n: 10, per: 60 }] });
    const session = await shake(beta, acme, { grant: grant.id, capabilities: Q3 });
    await settle();
    expect(session).toMatchObject({ granted: Q3, rates: [{ link: null, can: 'read:reports/*', n: 10, per: 60 }] });
    const [other] = acme.sessions.list();
    expect(other).toMatchObject({ granted: Q3, rates: [{ link: grant.id, can: 'read:reports/*', n: 10, per: 60 }] });
    expect(other?.checked).toEqual([
      'channel',
      'peer',
      'status',
      'sponsor',
      'signer',
      'chain',
      'capabilities',
      'score',
      'policy',
    ]);
    expect(other?.links).toContain(grant.id);
  });

  test('of which both tell, in the schemas of the control API', async () => {
    const { world, acme, beta } = await pair();
    const grant = grantTo(world, acme, beta, { rate: [{ can: 'read:reports/*', n: 10, per: 60 }] });
    const session = await shake(beta, acme, {
      grant: grant.id,
      capabilities: [{ can: 'read:reports/q3', res: ['s3://a/'] }],
    });
    await settle();
    for (const one of [session, ...acme.sessions.list()])
      checkJson(schemas.Session, formatSession(one), 'a session', 'internal');
    for (const { events } of [acme, beta]) {
      expect(events).toMatchObject([{ type: 'session.opened', data: { sid: session.sid } }]);
      for (const event of events)
        checkJson(EventSchema, { id: '1', at: '2026-11-18T11:06:40.000Z', ...event }, 'an event', 'internal');
    }
    expect(formatSession(session)).toMatchObject({
      openedAt: '2026-11-18T11:06:40.000Z',
      expiresAt: '2026-11-18T11:21:40.000Z',
      durationMs: 0,
    });
  });

  test('whose time is the shortest of 15 minutes and every link shown', async () => {
    const { world, acme, beta } = await pair();
    const left = async (exp: number): Promise<number> => {
      const grant = grantTo(world, acme, beta, { exp: NOW_SECONDS + exp, nonce: `${exp}` });
      const session = await shake(beta, acme, { grant: grant.id, capabilities: Q3 });
      const [other] = acme.sessions.list().filter(({ sid }) => sid === session.sid);
      expect(other?.expiresMs).toBe(session.expiresMs);
      return (session.expiresMs - NOW_MS) / 1000;
    };
    expect(await left(86_000)).toBe(limits.SESSION_SECONDS_MAX);
    expect(await left(100)).toBe(100);
  });

  test('of strangers, from what each shows and what is asked for', async () => {
    const { world, acme, beta } = await pair({ knows: false });
    const grant = createRootLink(acme.organisation, acme.sponsor, { aud: beta.agent.did, cap: Q3 });
    beta.is.grants.set(grant.id, [grant]);
    // beta knows whom it looks for, and no more; acme knows nothing of beta.
    world.learn([acme.organisation.genesis, acme.agent.genesis, acme.sponsor.genesis, grant], beta);
    world.learn([grant], acme);
    acme.is.answersPulls = false;
    beta.is.answersPulls = false;
    expect(acme.state.didState(beta.agent.did)).toBeUndefined();
    const session = await shake(beta, acme, { grant: grant.id, capabilities: Q3 });
    expect(session.granted).toEqual(Q3);
    expect(acme.state.didState(beta.agent.did)?.organisation).toBe(beta.organisation.did);
  });

  test("and leaves nothing private in anybody's set", async () => {
    const { world, acme, beta } = await pair();
    const grant = grantTo(world, acme, beta);
    const { credential } = credentialUnder([grant], beta.agent);
    const before = new Set([...acme.state.statements()].map(({ id }) => id));
    const seen: string[] = [];
    world.mesh.onFrame = (frame) => {
      seen.push(Buffer.from(frame).toString('hex'));
      return frame;
    };
    const session = await shake(beta, acme, { grant: grant.id, capabilities: Q3 });
    await settle();
    expect(acme.sessions.list()[0]?.links).toContain(credential.id);
    expect(seen.some((frame) => frame.includes(Buffer.from(credential.envelope).toString('hex')))).toBe(true);
    expect(acme.state.link(credential.id)).toBeUndefined();
    expect(new Set([...acme.state.statements()].map(({ id }) => id))).toEqual(before);
    expect(session.restsOn.links).toContain(credential.id);
  });

  test('many times over, each with another id and signed anew', async () => {
    const { acme, beta } = await pair();
    const sids = new Set<string>();
    for (let i = 0; i < 20; i++) sids.add((await shake(beta, acme)).sid);
    expect(sids.size).toBe(20);
    expect(acme.sessions.size).toBe(20);
  });
});

describe('who shows what when', () => {
  test('I shows nothing of itself to whom it has not checked', async () => {
    const { world, acme, beta } = await pair();
    const frames = watch(world, acme);
    beta.is.score = 100; // of acme, in beta's view
    expect(await outcomeOf(shake(beta, acme))).toBe('score_below');
    await settle();
    expect(frames).toEqual(['I hello', 'R offer', 'I rej']);
    expect(refusals(acme)).toEqual(['score_below']);
  });

  test('R shows nothing and looks up nothing before its policy lets the other side in', async () => {
    const { world, acme, beta } = await pair();
    const seen = watch(world, acme);
    let asked = 0;
    acme.is.presents = (usual) => {
      asked += 1;
      return usual;
    };
    acme.is.policy = {
      need: ({ did, wanted, peer, purpose, direction }) => {
        expect({ did, wanted, peer, purpose, direction }).toEqual({
          did: beta.agent.did,
          wanted: [],
          peer: beta.network.peer,
          purpose: null,
          direction: 'inbound',
        });
        throw new MeshError('policy_denied', 'Cannot let anybody in: it is Sunday');
      },
      verify: () => {},
    };
    expect(await outcomeOf(shake(beta, acme))).toBe('policy_denied (peer)');
    expect([seen, asked]).toEqual([['I hello', 'R rej'], 0]);
    expect(refusals(acme)).toEqual(['policy_denied']);
    expect(refusals(beta)).toEqual(['policy_denied']);
  });

  test('the policy has the last word on either side, knowing everything', async () => {
    const { acme, beta } = await pair();
    for (const [here, there, outcome] of [
      [beta, acme, 'policy_denied'],
      [acme, beta, 'policy_denied (peer)'],
    ] as const) {
      here.is.policy = {
        need: here.is.policy.need,
        verify: (_, judged) => {
          expect(judged).toEqual({ organisation: there.organisation.did, sponsor: there.sponsor.did, score: 300 });
          throw new MeshError('policy_denied', 'Cannot go on: no');
        },
      };
      expect(await outcomeOf(shake(beta, acme))).toBe(outcome);
      here.is.policy = { need: here.is.policy.need, verify: () => {} };
    }
  });

  test('R may ask for capabilities beyond those wanted', async () => {
    const { world, acme, beta } = await pair();
    const narrow = grantTo(world, acme, beta, { cap: Q3, nonce: 'narrow' });
    const wide = grantTo(world, acme, beta, { cap: [...Q3, { can: 'read:badge' }], nonce: 'wide' });
    acme.is.policy = { need: () => ({ minScore: 0, capabilities: [{ can: 'read:badge' }] }), verify: () => {} };
    expect(await outcomeOf(shake(beta, acme, { grant: narrow.id, capabilities: Q3 }))).toBe('caps_insufficient (peer)');
    expect(await outcomeOf(shake(beta, acme))).toBe('caps_insufficient (peer)');
    expect((await shake(beta, acme, { grant: wide.id, capabilities: Q3 })).granted).toEqual(Q3);
  });
});

describe("scores are the verifier's own", () => {
  test('a required 700 is refused while the neutral default is 300', async () => {
    const { acme, beta } = await pair();
    const error = await shake(beta, acme, { minScore: 700 }).catch((cause: unknown) => cause);
    expect(error).toMatchObject({ code: 'score_below', data: { min: 700, is: 300 } });
    acme.is.policy = { need: () => ({ minScore: 700 }), verify: () => {} };
    expect(await outcomeOf(shake(beta, acme))).toBe('score_below (peer)');
  });

  test('and nothing that the other side thinks of itself enters', async () => {
    const { acme, beta } = await pair();
    beta.is.score = 1_000; // of acme, in beta's view
    acme.is.score = 100; // of beta, in acme's
    expect(await outcomeOf(shake(beta, acme, { minScore: 900 }))).toBe('score_below (peer)');
    acme.is.score = 300;
    expect(await shake(beta, acme, { minScore: 900 })).toMatchObject({
      score: 1_000,
      minScore: 900,
      scoreBasis: 'neutral: no evidence',
    });
  });

  test("and a chain's own minimum raises what is asked", async () => {
    const { world, acme, beta } = await pair();
    const grant = grantTo(world, acme, beta, { mts: 500 });
    expect(await outcomeOf(shake(beta, acme, { grant: grant.id, capabilities: Q3 }))).toBe('score_below (peer)');
    acme.is.score = 500;
    await shake(beta, acme, { grant: grant.id, capabilities: Q3 });
    await settle();
    expect(acme.sessions.list()[0]?.minScore).toBe(500);
  });
});

describe('nothing of an earlier handshake answers a later one', () => {
  test('not a score that sufficed, nor capabilities that were covered, nor a chain that held', async () => {
    const { world, acme, beta } = await pair();
    const grant = grantTo(world, acme, beta);
    const ask = { grant: grant.id, capabilities: Q3 };
    expect(await outcomeOf(shake(beta, acme, ask))).toBe('a session');
    expect(await outcomeOf(shake(beta, acme, { ...ask, minScore: 301 }))).toBe('score_below');
    acme.is.policy = { need: () => ({ minScore: 301 }), verify: () => {} };
    expect(await outcomeOf(shake(beta, acme, ask))).toBe('score_below (peer)');
    acme.is.policy = { need: () => ({ minScore: 300 }), verify: () => {} };
    expect(await outcomeOf(shake(beta, acme, { ...ask, capabilities: [{ can: 'write:notes/1' }] }))).toBe(
      'caps_insufficient (peer)',
    );
    expect(await outcomeOf(shake(beta, acme, { capabilities: Q3 }))).toBe('caps_insufficient (peer)');
    world.learn([createRevocation(acme.organisation, grant)], acme);
    expect(await outcomeOf(shake(beta, acme, ask))).toBe('chain:revoked (peer)');
  });
});

describe('what is missing is asked for, once', () => {
  test('logs that changed since: a new node and new keys', async () => {
    const { world, acme, beta } = await pair();
    const second = keySet('beta second');
    const rotated = createRotate(beta.organisation, 'beta second', {
      retire: [
        [beta.organisation.keys.auth, null],
        [beta.organisation.keys.sign, NOW_SECONDS + 600],
      ],
    });
    world.learn([rotated], beta);
    beta.is.newest = { operation: rotated, revocation: null };
    beta.is.presents = (usual) => ({ ...usual, signer: second.auth, envelopes: [] });
    expect(acme.state.didState(beta.organisation.did)?.seq).toBe(0);
    const session = await beta.handshakes.shake({ as: beta.organisation.did, did: acme.organisation.did });
    await settle();
    expect(acme.sessions.list().map(({ sid }) => sid)).toEqual([session.sid]);
    expect(acme.state.didState(beta.organisation.did)?.seq).toBe(1);
  });

  test('a heartbeat that is too old, from its issuer', async () => {
    const { world, acme, beta } = await pair();
    await world.clock.advance(400_000);
    acme.is.reachesIssuers = false;
    expect(await outcomeOf(shake(beta, acme))).toBe('status_stale (peer)');
    expect(refusals(acme)).toEqual(['status_stale']);
    acme.is.reachesIssuers = true;
    expect(await outcomeOf(shake(beta, acme))).toBe('a session');
  });

  test("what is critical by a question of one's own, every time", async () => {
    const { world, acme, beta } = await pair();
    const grant = grantTo(world, acme, beta, { cap: [{ can: 'pay:invoices/*' }] });
    const pay = { grant: grant.id, capabilities: [{ can: 'pay:invoices/7' }] };
    expect(await outcomeOf(shake(beta, acme, pay))).toBe('a session');
    acme.is.reachesIssuers = false;
    // Its own heartbeat acme can always make; beta's it asked for an instant ago, for another decision.
    await world.clock.advance(1);
    expect(await outcomeOf(shake(beta, acme, pay))).toBe('status_stale (peer)');
    expect(await outcomeOf(shake(beta, acme, { ...pay, capabilities: [] }))).toBe('a session');
  });

  test('and when it is not to be had, the refusal says what was missing', async () => {
    const { acme, beta } = await pair({ knows: false });
    for (const party of [acme, beta]) party.is.answersPulls = false;
    open?.learn(publishedBy(acme), beta);
    beta.is.presents = (usual) => ({ ...usual, envelopes: [] });
    expect(await outcomeOf(shake(beta, acme))).toBe('did_unknown (peer)');
    beta.is.answersPulls = true;
    expect(await outcomeOf(shake(beta, acme))).toBe('a session');
  });
});

describe('refused is', () => {
  test('a fabricated peer: no log, no handshake', async () => {
    const { acme, beta } = await pair();
    const invented = createAgent(acme.organisation, 'invented').did;
    expect(await outcomeOf(shake(beta, acme, { did: invented }))).toBe('did_unknown');
    open?.learn([createAgent(acme.organisation, 'invented').genesis], beta);
    // The DID exists; but acme's daemon does not act for it.
    expect(await outcomeOf(shake(beta, acme, { did: invented }))).toBe('did_unknown (peer)');
  });

  test('an agent that this daemon does not act for, before anything is sent', async () => {
    const { world, acme, beta } = await pair();
    const seen = watch(world, acme);
    expect(await outcomeOf(shake(beta, acme, { as: acme.agent.did, did: acme.organisation.did }))).toBe('not_found');
    expect(seen).toEqual([]);
  });

  test('whoever speaks to itself', async () => {
    const { acme, beta } = await pair();
    expect(await outcomeOf(shake(beta, acme, { did: beta.agent.did }))).toBe('reflection');
  });

  test.each<[string, string, (acme: Party, beta: Party, world: World) => void]>([
    [
      'a key that is not of use "auth"',
      'bad_signature (peer)',
      (_, beta) => (beta.is.presents = (usual) => ({ ...usual, signer: beta.agent.keys.sign })),
    ],
    [
      "the organisation's key for its agent",
      'bad_signature (peer)',
      (_, beta) => (beta.is.presents = (usual) => ({ ...usual, signer: beta.organisation.keys.auth })),
    ],
    [
      'R with a key that is not of use "auth"',
      'bad_signature',
      (acme) => (acme.is.presents = (usual) => ({ ...usual, signer: acme.agent.keys.delegate })),
    ],
    [
      'an agent without a sponsor',
      'sponsor_missing (peer)',
      (_, beta) => (beta.is.presents = ({ ident: _ident, ...usual }) => usual),
    ],
    ['R without a sponsor', 'sponsor_missing', (acme) => (acme.is.presents = ({ ident: _ident, ...usual }) => usual)],
    [
      'a revoked sponsor',
      'sponsor_revoked (peer)',
      (acme, beta, world) => world.learn([createRevocation(beta.organisation, beta.sponsor)], acme),
    ],
    [
      'R with a revoked sponsor',
      'sponsor_revoked',
      (acme, beta, world) => world.learn([createRevocation(acme.organisation, acme.sponsor)], beta),
    ],
    [
      'a revoked agent',
      'chain:revoked (peer)',
      (acme, beta, world) => world.learn([createRevocation(beta.organisation, beta.agent)], acme),
    ],
    [
      'a forked organisation',
      'did_forked (peer)',
      (acme, beta, world) =>
        world.learn([createRotate(beta.organisation, 'one'), createRotate(beta.organisation, 'two')], acme),
    ],
  ])('%s', async (_, outcome, change) => {
    const { world, acme, beta } = await pair();
    for (const party of [acme, beta]) party.is.answersPulls = false;
    change(acme, beta, world);
    expect(await outcomeOf(shake(beta, acme))).toBe(outcome);
    await settle();
    expect(acme.sessions.size + beta.sessions.size).toBe(0);
  });

  test.each<[string, string, (acme: Party, beta: Party, world: World) => string]>([
    [
      'a chain that is over',
      'chain:expired (peer)',
      (acme, beta, world) => grantTo(world, acme, beta, { iat: NOW_SECONDS - 1000, exp: NOW_SECONDS - 61 }).id,
    ],
    [
      'a chain that ends this very second',
      'chain:expired (peer)',
      (acme, beta, world) => grantTo(world, acme, beta, { iat: NOW_SECONDS - 1000, exp: NOW_SECONDS }).id,
    ],
    ['a chain of an unknown root', 'chain:unknown_root (peer)', (_, beta, world) => grantTo(world, beta, beta).id],
    [
      'more than was granted',
      'caps_insufficient (peer)',
      (acme, beta, world) => grantTo(world, acme, beta, { cap: [{ can: 'read:reports/q4' }] }).id,
    ],
    [
      'use elsewhere',
      'caps_insufficient (peer)',
      (acme, beta, world) => grantTo(world, acme, beta, { at: [beta.agent.did] }).id,
    ],
    [
      'a revoked chain',
      'chain:revoked (peer)',
      (acme, beta, world) => {
        const grant = grantTo(world, acme, beta);
        world.learn([createRevocation(acme.organisation, grant)], acme);
        return grant.id;
      },
    ],
  ])('%s', async (_, outcome, grantOf) => {
    const { world, acme, beta } = await pair();
    for (const party of [acme, beta]) party.is.answersPulls = false;
    const grant = grantOf(acme, beta, world);
    expect(await outcomeOf(shake(beta, acme, { grant, capabilities: Q3 }))).toBe(outcome);
  });

  test('a chain cut back to a link that was given to another', async () => {
    const { world, acme, beta } = await pair({ names: ['acme', 'beta', 'gamma'] });
    const gamma = world.parties[2];
    if (gamma === undefined) throw new Error('three parties');
    const wide = grantTo(world, acme, gamma, { cap: [{ can: 'read:reports/*' }] });
    const narrow = createChildLink(wide, gamma.agent, { aud: beta.agent.did, cap: Q3 });
    world.learn([wide, narrow]);
    beta.is.grants.set(narrow.id, [wide, narrow]);
    expect((await shake(beta, acme, { grant: narrow.id, capabilities: Q3 })).granted).toEqual(Q3);
    beta.is.presents = (usual) => ({ ...usual, grant: wide.id, signer: beta.agent.keys.auth });
    expect(await outcomeOf(shake(beta, acme, { grant: narrow.id, capabilities: [{ can: 'read:reports/q4' }] }))).toBe(
      'chain:holder_mismatch (peer)',
    );
  });

  test('a credential used with another key than it binds', async () => {
    const { world, acme, beta } = await pair();
    const grant = grantTo(world, acme, beta);
    beta.is.presents = (usual) => ({ ...usual, signer: beta.agent.keys.auth });
    expect(await outcomeOf(shake(beta, acme, { grant: grant.id, capabilities: Q3 }))).toBe('bad_signature (peer)');
  });

  test('a private link that was tampered with', async () => {
    const { world, acme, beta } = await pair();
    const grant = grantTo(world, acme, beta);
    beta.is.presents = (usual) => {
      const envelopes = usual.envelopes.map((envelope) => Uint8Array.from(envelope));
      const first = envelopes[0] as Uint8Array;
      first[first.length - 1] = (first[first.length - 1] as number) ^ 1;
      return { ...usual, envelopes };
    };
    expect(await outcomeOf(shake(beta, acme, { grant: grant.id, capabilities: Q3 }))).toBe(
      'chain:bad_signature (peer)',
    );
  });

  test('a presenter that fails, without a word about why to the other side', async () => {
    const { acme, beta } = await pair();
    acme.is.presents = () => Promise.reject(new MeshError('suspended', 'Cannot present "x": it is suspended'));
    expect(await outcomeOf(shake(beta, acme))).toBe('policy_denied (peer)');
    acme.is.presents = () => Promise.reject(new MeshError('key_missing', 'Cannot sign for "x"'));
    expect(await outcomeOf(shake(beta, acme))).toBe('key_missing (peer)');
    beta.is.presents = () => Promise.reject(new MeshError('suspended', 'Cannot present "y": it is suspended'));
    expect(await outcomeOf(shake(beta, acme))).toBe('suspended');
    expect(refusals(acme)).toEqual(['suspended', 'key_missing']);
  });

  test('a fault of this program as such, with the detail in the log alone', async () => {
    const { world, acme, beta } = await pair();
    const seen: unknown[] = [];
    world.mesh.onFrame = (frame) => {
      seen.push(decodeCbor(frame));
      return frame;
    };
    acme.is.presents = () => Promise.reject(new TypeError('secret detail'));
    expect(await outcomeOf(shake(beta, acme))).toBe('internal (peer)');
    expect(JSON.stringify(seen)).not.toContain('secret');
    expect(acme.errors.map(({ facts }) => facts.error)).toEqual([new TypeError('secret detail')]);
    acme.errors.length = 0;
  });
});

describe('frames', () => {
  test('say what they are about and nothing of scores, statuses or times of the sender', async () => {
    const { world, acme, beta } = await pair();
    const frames: Uint8Array[] = [];
    world.mesh.onFrame = (frame) => {
      frames.push(frame);
      return frame;
    };
    const grant = grantTo(world, acme, beta);
    await shake(beta, acme, { grant: grant.id, capabilities: Q3, purpose: 'billing', minScore: 250 });
    const [hello, offer, proof, result] = frames as [Uint8Array, Uint8Array, Uint8Array, Uint8Array];
    expect(parseHandshakeFrame('hello', hello)).toMatchObject({
      v: 1,
      did: beta.agent.did,
      to: acme.agent.did,
      want: Q3,
      pur: 'billing',
      min: 250,
    });
    expect(parseReply('offer', offer)).toMatchObject({ did: acme.agent.did, need: { min: 300 } });
    expect(parseReply('proof', proof).pres.ident?.digest).toEqual(digestOfCid(beta.rootLink.id));
    expect(parseReply('result', result)).toMatchObject({ caps: Q3, exp: NOW_SECONDS + 900 });
    expect(parseHandshakeFrame('hello', hello).non).not.toEqual(parseReply('offer', offer).non);
    expect(frames).toHaveLength(4);
  });
});
