/** Everything here is done by somebody on the wire, or with a node of their own. */
import { afterEach, describe, expect, test } from 'vitest';
import type { FrameStream } from '../../../daemon/ports.ts';
import {
  type CborMap,
  createPresentation,
  decodeCbor,
  encodeCbor,
  encodeHandshakeFrame,
  isErrorCode,
  isMeshError,
  limits,
  parseReply,
  protocolId,
  signFrame,
  startTranscript,
  type Transcript,
  withMessage,
} from '../../../protocol/index.ts';
import { createAgent, createOrganisation, createUpdate, keyOf } from '../../builders.ts';
import { cborLikeBytes, mutateBytes } from '../../fuzz/mutate.ts';
import { seededRandom, suiteSeed } from '../../fuzz/random.ts';
import {
  createHandshakeWorld,
  endings,
  grantTo,
  type Party,
  publishedBy,
  refusals,
  type World,
  type WorldOptions,
} from './handshake-world.ts';
import type { MemoryNetwork } from './memory-network.ts';
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
  const world = await createHandshakeWorld({ handshake: { burst: 10_000 }, ...options });
  open = world;
  const [acme, beta] = world.parties;
  if (acme === undefined || beta === undefined) throw new Error('two parties');
  return { world, acme, beta };
}
const shake = (beta: Party, acme: Party, more: Partial<Parameters<Party['handshakes']['shake']>[0]> = {}) =>
  beta.handshakes.shake({ as: beta.agent.did, did: acme.agent.did, ...more });
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
const IATP = { frameBytesMax: limits.IATP_FRAME_BYTES_MAX };
const SERVES = { ...IATP, inboundStreamsMax: 32, unbound: true };

/** A node of an attacker's, connected to everybody. */
function intruder(world: World, name = 'mallory'): MemoryNetwork {
  const network = world.mesh.join(keyOf(`${name} node`).peerId);
  for (const party of world.parties) world.mesh.connect(network, party.network);
  return network;
}

/** What the other side answers to raw frames, one after the other; "end" where it ended the stream. */
async function converse(stream: FrameStream, frames: readonly Uint8Array[]): Promise<string[]> {
  const answers: string[] = [];
  for (const frame of frames) {
    await stream.send(frame).catch(() => undefined); // it may have ended already: what it said is what counts
    const answer = await stream.receive().catch((error: unknown) => error);
    if (!(answer instanceof Uint8Array)) {
      answers.push('end');
      break;
    }
    const value = decodeCbor(answer) as Record<string, unknown>;
    answers.push(typeof value.rej === 'string' ? value.rej : Object.keys(value).includes('need') ? 'OFFER' : 'RESULT');
  }
  await stream.close();
  await settle();
  return answers;
}

const helloOf = (from: string, to: string, change: object = {}): Uint8Array =>
  encodeCbor({ v: 1, did: from, to, non: new Uint8Array(32).fill(5), want: [], min: 0, ...change });

describe('a man in the middle', () => {
  /** Relays every frame of a stream to a stream of its own, both ways. */
  function relay(mallory: MemoryNetwork, to: Party): Promise<void> {
    return mallory.handle('iatp', SERVES, async (victim) => {
      const other = await mallory.openStream(to.network.peer, 'iatp', IATP);
      const pump = async (from: FrameStream, into: FrameStream): Promise<void> => {
        for (let frame = await from.receive(); frame !== undefined; frame = await from.receive())
          await into.send(frame);
        await into.close();
      };
      await Promise.all([pump(victim, other), pump(other, victim)].map((work) => work.catch(() => undefined)));
    });
  }

  test('who is not of the organisation asked is found out by its PeerId, before anything is shown to it', async () => {
    const { world, acme, beta } = await pair();
    const mallory = intruder(world);
    await relay(mallory, acme);
    beta.is.reaches = () => world.mesh.connect(beta.network, mallory);
    expect(await outcomeOf(shake(beta, acme))).toBe('peer_not_bound');
    await settle();
    expect(acme.sessions.size + beta.sessions.size).toBe(0);
  });

  test('is found out by the signature even where it is listed beside the true node', async () => {
    const { world, acme, beta } = await pair();
    const mallory = intruder(world);
    world.learn([createUpdate(acme.organisation, { nodes: [acme.organisation.node, keyOf('mallory node')] })]);
    acme.is.newest = {
      operation: createUpdate(acme.organisation, { nodes: [acme.organisation.node, keyOf('mallory node')] }),
      revocation: null,
    };
    await relay(mallory, acme);
    beta.is.reaches = () => world.mesh.connect(beta.network, mallory);
    expect(await outcomeOf(shake(beta, acme))).toBe('bad_signature');
    await settle();
    expect(refusals(acme)).toEqual(['bad_signature']);
    // Nothing but the relaying was wrong.
    beta.is.reaches = () => world.mesh.connect(beta.network, acme.network);
    expect(await outcomeOf(shake(beta, acme))).toBe('a session');
  });

  test('who terminates the encryption itself is found out by the channel binding', async () => {
    const { world, acme, beta } = await pair();
    beta.is.reaches = () =>
      world.mesh.connect(beta.network, acme.network, {
        bindings: [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)],
      });
    expect(await outcomeOf(shake(beta, acme))).toBe('bad_signature');
  });
});

describe('without a channel binding there is no handshake', () => {
  test('on the side that asks', async () => {
    const { world, acme, beta } = await pair();
    beta.is.reaches = () =>
      world.mesh.connect(beta.network, acme.network, { bindings: [undefined, new Uint8Array(32)] });
    expect(await outcomeOf(shake(beta, acme))).toBe('no_channel_binding');
    expect(refusals(acme)).toEqual([]);
  });

  test('on the side that is asked', async () => {
    const { world, acme, beta } = await pair();
    beta.is.reaches = () =>
      world.mesh.connect(beta.network, acme.network, { bindings: [new Uint8Array(32), undefined] });
    expect(await outcomeOf(shake(beta, acme))).toBe('no_channel_binding (peer)');
    expect(refusals(acme)).toEqual(['no_channel_binding']);
  });
});

describe('changing frames on their way', () => {
  test.each(['hello', 'offer', 'proof', 'result'])(
    'opens no session that lasts, whichever byte of %s it is',
    async (name) => {
      const { world, acme, beta } = await pair();
      const grant = grantTo(world, acme, beta);
      const number = ['hello', 'offer', 'proof', 'result'].indexOf(name);
      const isTarget = (from: string, index: number): boolean =>
        from === (number % 2 === 0 ? beta.network.peer : acme.network.peer) && index === Math.floor(number / 2);
      let length = 0;
      world.mesh.onFrame = (frame, { from, index }) => {
        if (isTarget(from, index)) length = frame.length;
        return frame;
      };
      await shake(beta, acme, { grant: grant.id, capabilities: [{ can: 'read:reports/q3' }] });
      for (const { sid } of beta.sessions.list()) beta.sessions.end(sid);
      await settle();
      const codes = new Set<string>();
      for (let at = 0; at < length; at += Math.max(1, Math.floor(length / 40))) {
        world.mesh.onFrame = (frame, { from, index }) => {
          if (!isTarget(from, index)) return frame;
          const changed = Uint8Array.from(frame);
          changed[at] = (changed[at] as number) ^ (1 << (at % 8));
          return changed;
        };
        const outcome = await outcomeOf(
          shake(beta, acme, { grant: grant.id, capabilities: [{ can: 'read:reports/q3' }] }),
        );
        expect(outcome, `byte ${at} of ${length}`).not.toBe('a session');
        codes.add(outcome);
        await settle();
        expect(acme.sessions.size + beta.sessions.size, `byte ${at} of ${length}`).toBe(0);
      }
      expect([...codes].some((code) => code.startsWith('bad_signature'))).toBe(true);
    },
  );

  test('so that more is granted, or for longer, than was signed, is noticed', async () => {
    const { world, acme, beta } = await pair();
    const grant = grantTo(world, acme, beta, { exp: grantTo(world, acme, beta).payload.iat + 60, nonce: 'short' });
    const edit = (change: object) => {
      world.mesh.onFrame = (frame, { from, index }) => {
        if (from !== acme.network.peer || index !== 1) return frame;
        return encodeCbor({ ...(decodeCbor(frame) as object), ...change });
      };
    };
    const ask = { grant: grant.id, capabilities: [{ can: 'read:reports/q3' }] };
    for (const change of [
      { caps: [{ can: 'read:reports/*' }] },
      { exp: 1_795_099_999 },
      { rates: [{ can: 'read:reports/q3', n: 9, per: 1 }] },
      { sid: new Uint8Array(16) },
    ]) {
      edit(change);
      expect(await outcomeOf(shake(beta, acme, ask))).toBe('bad_signature');
      await settle();
      expect(endings(acme).at(-1)).toBe('closed');
    }
  });
});

describe('replaying', () => {
  test('the frames of a handshake that succeeded opens nothing', async () => {
    const { world, acme, beta } = await pair();
    const recorded: Uint8Array[] = [];
    world.mesh.onFrame = (frame, { from }) => {
      if (from === beta.network.peer) recorded.push(frame);
      return frame;
    };
    await shake(beta, acme);
    world.mesh.onFrame = undefined;
    const opened = acme.sessions.size;
    // By the very node that was heard, on the very connection.
    const stream = await beta.network.openStream(acme.network.peer, 'iatp', IATP);
    expect(await converse(stream, recorded.slice(0, 2))).toEqual(['OFFER', 'bad_signature']);
    expect(acme.sessions.size).toBe(opened);
  });

  test('an OFFER of an earlier handshake convinces nobody', async () => {
    const { world, acme, beta } = await pair();
    let offer: Uint8Array | undefined;
    world.mesh.onFrame = (frame, { from, index }) => {
      if (from !== acme.network.peer || index > 0) return frame;
      offer ??= frame;
      return offer;
    };
    await shake(beta, acme);
    expect(await outcomeOf(shake(beta, acme))).toBe('bad_signature');
  });

  test("the other side's nonce as one's own is refused", async () => {
    const { acme, beta, world } = await pair();
    const nonces: Uint8Array[] = [];
    world.mesh.onFrame = (frame, { from, index }) => {
      const fields = decodeCbor(frame) as Record<string, unknown>;
      if (index === 0) nonces.push(fields.non as Uint8Array);
      return from === acme.network.peer && index === 0
        ? encodeCbor({ ...(fields as CborMap), non: nonces[0] as Uint8Array })
        : frame;
    };
    expect(await outcomeOf(shake(beta, acme))).toBe('replay');
  });

  test('a session id that is in use opens no second session', async () => {
    const { world, acme, beta } = await pair();
    const { sid } = await shake(beta, acme);
    // A hostile R draws the id of a session that beta has already.
    const mallory = await evilResponder(world, acme, { sid });
    beta.is.reaches = () => mallory;
    expect(await outcomeOf(shake(beta, acme))).toBe('replay');
    expect(beta.sessions.list().map((session) => session.sid)).toEqual([sid]);
  });
});

/** A responder with acme's keys that keeps to the protocol but for what is said; returns a connection of beta's to it. */
async function evilResponder(
  world: World,
  acme: Party,
  says: { sid?: string; caps?: readonly { can: string }[]; did?: string; exp?: number; extra?: Uint8Array },
) {
  const beta = world.parties[1] as Party;
  const node = keyOf('evil node');
  const evil = world.mesh.join(node.peerId);
  const update = createUpdate(acme.organisation, { nodes: [acme.organisation.node, node] });
  world.learn([update]);
  acme.is.newest = { operation: update, revocation: null };
  await evil
    .handle('iatp', SERVES, async (stream) => {
      const { peer, channelBinding } = stream.connection;
      let transcript: Transcript = startTranscript({
        protocolId: protocolId('agentmesh', 'iatp'),
        initiator: peer,
        responder: evil.peer,
        channelBinding,
      });
      const hear = async (): Promise<void> => {
        const frame = await stream.receive();
        if (frame === undefined) throw new Error('ended');
        transcript = withMessage(transcript, frame);
      };
      const say = async (frame: Uint8Array): Promise<void> => {
        transcript = withMessage(transcript, frame);
        await stream.send(frame);
      };
      await hear();
      const pres = createPresentation({ ident: acme.rootLink.id }, []);
      await say(
        signFrame(
          'offer',
          'R',
          transcript,
          { did: says.did ?? acme.agent.did, non: new Uint8Array(32).fill(9), pres, need: { min: 0 } },
          acme.agent.keys.auth,
        ),
      );
      await hear();
      const result = {
        sid: Uint8Array.from(Buffer.from(says.sid ?? '00'.repeat(16), 'hex')),
        caps: says.caps ?? [],
        exp: says.exp ?? 1_795_000_900,
        rates: [],
      };
      await say(signFrame('result', 'R', transcript, result, acme.agent.keys.auth));
      if (says.extra !== undefined) await stream.send(says.extra);
      await stream.receive();
    })
    .catch((error: unknown) => {
      throw error;
    });
  return world.mesh.connect(beta.network, evil);
}

describe('a hostile R', () => {
  test.each<[string, string, Parameters<typeof evilResponder>[2]]>([
    ['answers as somebody else', 'did_unknown', { did: createOrganisation('other').did }],
    ['grants more than was asked for', 'caps_insufficient', { caps: [{ can: 'admin:all' }] }],
    ['opens a session that is over', 'chain:expired', { exp: 1_794_999_000 }],
  ])('that %s is refused', async (_, code, says) => {
    const { world, acme, beta } = await pair();
    const connection = await evilResponder(world, acme, says);
    beta.is.reaches = () => connection;
    expect(await outcomeOf(shake(beta, acme))).toBe(code);
    await settle();
    expect(beta.sessions.size).toBe(0);
  });

  test('that answers as the one that asks is shown the mirror', async () => {
    const { world, acme, beta } = await pair();
    const connection = await evilResponder(world, acme, { did: beta.agent.did });
    beta.is.reaches = () => connection;
    expect(await outcomeOf(shake(beta, acme))).toBe('reflection');
  });

  test('that makes a session last a year gets 15 minutes', async () => {
    const { world, acme, beta } = await pair();
    const connection = await evilResponder(world, acme, { exp: 1_826_536_000 });
    beta.is.reaches = () => connection;
    const session = await shake(beta, acme);
    expect(session.expiresMs - session.openedMs).toBe(limits.SESSION_SECONDS_MAX * 1000);
  });

  test('that says on after its RESULT ends the session', async () => {
    const { world, acme, beta } = await pair();
    const connection = await evilResponder(world, acme, { extra: encodeHandshakeFrame('refusal', { rej: 'busy' }) });
    beta.is.reaches = () => connection;
    await shake(beta, acme).catch(() => undefined); // over before it is looked at, or right after: over
    await settle();
    expect(endings(beta)).toEqual(['closed']);
  });

  test('that echoes what it hears gets nowhere', async () => {
    const { world, acme, beta } = await pair();
    const mallory = intruder(world);
    await mallory.handle('iatp', SERVES, async (stream) => {
      for (let frame = await stream.receive(); frame !== undefined; frame = await stream.receive())
        await stream.send(frame);
    });
    beta.is.reaches = () => world.mesh.connect(beta.network, mallory);
    expect(await outcomeOf(shake(beta, acme))).toBe('schema');
  });
});

describe('a hostile I', () => {
  test("that signs as its victim is not listed by the victim's organisation", async () => {
    const { world, acme, beta } = await pair();
    const mallory = intruder(world);
    const stream = await mallory.openStream(acme.network.peer, 'iatp', IATP);
    const hello = helloOf(beta.agent.did, acme.agent.did);
    await stream.send(hello);
    const offer = (await stream.receive()) as Uint8Array;
    const transcript = [hello, offer].reduce(
      withMessage,
      startTranscript({
        protocolId: protocolId('agentmesh', 'iatp'),
        initiator: mallory.peer,
        responder: acme.network.peer,
        channelBinding: stream.connection.channelBinding,
      }),
    );
    const pres = createPresentation(
      { ident: beta.rootLink.id },
      publishedBy(beta).map(({ envelope }) => envelope),
    );
    expect(await converse(stream, [signFrame('proof', 'I', transcript, { pres }, keyOf('mallory'))])).toEqual([
      'peer_not_bound',
    ]);
  });

  test("with the agent's stolen key, on a node of its own, is refused all the same", async () => {
    const { world, acme, beta } = await pair();
    const mallory = intruder(world);
    const stream = await mallory.openStream(acme.network.peer, 'iatp', IATP);
    const hello = helloOf(beta.agent.did, acme.agent.did);
    await stream.send(hello);
    const offer = (await stream.receive()) as Uint8Array;
    expect(parseReply('offer', offer).did).toBe(acme.agent.did);
    const transcript = [hello, offer].reduce(
      withMessage,
      startTranscript({
        protocolId: protocolId('agentmesh', 'iatp'),
        initiator: mallory.peer,
        responder: acme.network.peer,
        channelBinding: stream.connection.channelBinding,
      }),
    );
    const pres = createPresentation({ ident: beta.rootLink.id }, []);
    expect(await converse(stream, [signFrame('proof', 'I', transcript, { pres }, beta.agent.keys.auth)])).toEqual([
      'peer_not_bound',
    ]);
  });

  test.each<[string, string, (acme: Party, beta: Party) => Uint8Array]>([
    ['nothing at all', 'malformed', () => new Uint8Array()],
    ['a version to come', 'version', (acme, beta) => helloOf(beta.agent.did, acme.agent.did, { v: 2 })],
    ['an unknown field', 'schema', (acme, beta) => helloOf(beta.agent.did, acme.agent.did, { score: 1000 })],
    ['fields out of order', 'noncanonical', () => Uint8Array.from(Buffer.from('a2626279806174f6', 'hex'))],
    ['itself as the one asked', 'reflection', (acme) => helloOf(acme.agent.did, acme.agent.did)],
    [
      'an invented agent to be asked',
      'did_unknown',
      (acme, beta) => helloOf(beta.agent.did, createAgent(acme.organisation, 'invented').did),
    ],
    ["somebody else's agent to be asked", 'did_unknown', (_, beta) => helloOf(beta.organisation.did, beta.agent.did)],
    ['an ending instead of a beginning', 'schema', () => encodeHandshakeFrame('end', { end: 'closed' })],
    ['a refusal instead of a beginning', 'schema', () => encodeHandshakeFrame('refusal', { rej: 'busy' })],
  ])('that says %s is told %s', async (_, code, frame) => {
    const { world, acme, beta } = await pair();
    const stream = await intruder(world).openStream(acme.network.peer, 'iatp', IATP);
    expect(await converse(stream, [frame(acme, beta)])).toEqual([code]);
    // Here it is known that there is no such agent; elsewhere it is nobody's business.
    expect(refusals(acme)).toEqual([code === 'did_unknown' ? 'not_found' : code]);
  });

  test('that sends more than a frame may have is cut off', async () => {
    const { world, acme } = await pair();
    const stream = await intruder(world).openStream(acme.network.peer, 'iatp', { frameBytesMax: 2 ** 20 });
    expect(await converse(stream, [new Uint8Array(limits.IATP_FRAME_BYTES_MAX + 1)])).toEqual(['end']);
    expect(refusals(acme)).toEqual(['too_large']);
  });

  test('that refuses instead of proving itself leaves nothing behind', async () => {
    const { world, acme, beta } = await pair();
    const stream = await intruder(world).openStream(acme.network.peer, 'iatp', IATP);
    const frames = [helloOf(beta.agent.did, acme.agent.did), encodeHandshakeFrame('refusal', { rej: 'chain:expired' })];
    expect(await converse(stream, frames)).toEqual(['OFFER', 'end']);
    expect(refusals(acme)).toEqual(['chain:expired']);
    expect(acme.handshakes.pending).toBe(0);
  });

  test('that sends noise gets coded answers and nothing else, for 500 handshakes', async () => {
    const { world, acme, beta } = await pair();
    const seed = suiteSeed(61_803);
    const random = seededRandom(seed);
    const mallory = intruder(world);
    const recorded: Uint8Array[] = [];
    world.mesh.onFrame = (frame) => {
      recorded.push(frame);
      return frame;
    };
    await shake(beta, acme);
    world.mesh.onFrame = undefined;
    const told = new Map<string, number>();
    for (let run = 0; run < 500; run++) {
      const stream = await mallory.openStream(acme.network.peer, 'iatp', IATP);
      const noise =
        random.below(3) === 0 ? cborLikeBytes(random) : mutateBytes(random.pick(recorded), random, recorded);
      const frames = random.below(2) === 0 ? [noise] : [helloOf(beta.agent.did, acme.agent.did), noise];
      await stream.send(frames[0] as Uint8Array);
      const first = await stream.receive();
      if (frames[1] !== undefined && first !== undefined && 'need' in (decodeCbor(first) as object)) {
        await stream.send(frames[1]);
        await stream.receive().then(
          (frame) => frame !== undefined && note(frame),
          () => undefined,
        );
      } else if (first !== undefined) note(first);
      stream.abort('enough');
      await settle();
    }
    function note(frame: Uint8Array): void {
      const { rej } = decodeCbor(frame) as { rej?: string };
      told.set(rej ?? 'OFFER', (told.get(rej ?? 'OFFER') ?? 0) + 1);
    }
    expect(
      [...told.keys()].filter((code) => code !== 'OFFER' && !isErrorCode(code.split(':')[0])),
      `seed ${seed}`,
    ).toEqual([]);
    expect(told.get('internal'), `seed ${seed}`).toBeUndefined();
    expect([...told.keys()]).toEqual(expect.arrayContaining(['malformed', 'schema', 'noncanonical']));
    expect(acme.sessions.size).toBe(1);
  });
});
