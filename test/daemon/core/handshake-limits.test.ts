import { afterEach, describe, expect, test } from 'vitest';
import type { FrameStream } from '../../../daemon/ports.ts';
import { decodeCbor, encodeCbor, isMeshError, limits, MeshError } from '../../../protocol/index.ts';
import { keyOf } from '../../builders.ts';
import {
  createHandshakeWorld,
  endings,
  type Party,
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
  const world = await createHandshakeWorld(options);
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
    return error.data.side === 'peer' ? `${error.code} (peer)` : error.code;
  }
}
/** Begun now, so that time can pass while it is under way. */
function begun(work: Promise<unknown>): { outcome: string | undefined } {
  const result: { outcome: string | undefined } = { outcome: undefined };
  void outcomeOf(work).then((outcome) => {
    result.outcome = outcome;
  });
  return result;
}
const IATP = { frameBytesMax: limits.IATP_FRAME_BYTES_MAX };
const SERVES = { ...IATP, inboundStreamsMax: 1000, unbound: true };
const never = (): Promise<never> => new Promise(() => undefined);

function stranger(world: World, name: string): MemoryNetwork {
  const network = world.mesh.join(keyOf(`${name} node`).peerId);
  for (const party of world.parties) world.mesh.connect(network, party.network);
  return network;
}
const helloFrom = (beta: Party, acme: Party): Uint8Array =>
  encodeCbor({ v: 1, did: beta.agent.did, to: acme.agent.did, non: new Uint8Array(32), want: [], min: 0 });
const said = async (stream: FrameStream): Promise<unknown> => {
  const frame = await stream.receive();
  return frame === undefined ? 'end' : (decodeCbor(frame) as { rej?: string }).rej;
};

describe('time', () => {
  test('a peer that does not answer is given up after 5 s', async () => {
    const { world, acme, beta } = await pair();
    const mute = stranger(world, 'mute');
    await mute.handle('iatp', SERVES, never);
    beta.is.reaches = () => world.mesh.connect(beta.network, mute);
    const asked = begun(shake(beta, acme));
    await world.clock.advance(limits.HANDSHAKE_STEP_MS - 1);
    expect(asked.outcome).toBeUndefined();
    expect(beta.handshakes.pending).toBe(1);
    await world.clock.advance(1);
    expect(asked.outcome).toBe('timeout');
    expect(refusals(beta)).toEqual(['timeout']);
  });

  test('a peer that opens a stream and says nothing is told so after 5 s', async () => {
    const { world, acme } = await pair();
    const stream = await stranger(world, 'mute').openStream(acme.network.peer, 'iatp', IATP);
    await world.clock.advance(limits.HANDSHAKE_STEP_MS);
    expect(await said(stream)).toBe('timeout');
    expect(refusals(acme)).toEqual(['timeout']);
  });

  test('a peer that begins and does not go on is told so after 5 s', async () => {
    const { world, acme, beta } = await pair();
    const stream = await stranger(world, 'slow').openStream(acme.network.peer, 'iatp', IATP);
    await world.clock.advance(4_000);
    await stream.send(helloFrom(beta, acme));
    expect(await said(stream)).toBeUndefined(); // an OFFER
    await world.clock.advance(limits.HANDSHAKE_STEP_MS);
    expect(await said(stream)).toBe('timeout');
  });

  test('own work that does not end is given up too, and the other side is told', async () => {
    const { world, acme, beta } = await pair();
    acme.is.presents = never;
    const asked = begun(shake(beta, acme));
    await world.clock.advance(limits.HANDSHAKE_STEP_MS);
    expect(asked.outcome).toMatch(/^timeout/);
    expect(refusals(acme)).toEqual(['timeout']);
    expect(acme.handshakes.pending).toBe(0);
  });

  test('the total is kept to where every step is in time', async () => {
    const { world, acme, beta } = await pair({ handshake: { totalMs: 6_000 } });
    const stream = await stranger(world, 'slow').openStream(acme.network.peer, 'iatp', IATP);
    await world.clock.advance(4_000);
    await stream.send(helloFrom(beta, acme));
    expect(await said(stream)).toBeUndefined();
    await world.clock.advance(1_999);
    expect(acme.handshakes.pending).toBe(1);
    await world.clock.advance(1);
    expect(acme.handshakes.pending).toBe(0);
    expect(await said(stream)).toBe('timeout');
  });
});

describe('connections', () => {
  test.each([0, 1, 2, 3])('that close after frame %i leave nothing behind on either side', async (last) => {
    const { world, acme, beta } = await pair();
    let frames = 0;
    world.mesh.onFrame = (frame) => {
      if (frames++ === last) queueMicrotask(() => void beta.network.disconnect(acme.network.peer, 'a test'));
      return frame;
    };
    const outcome = await outcomeOf(shake(beta, acme));
    await settle();
    expect(outcome).toBe('closed');
    expect([acme.handshakes.pending, beta.handshakes.pending, acme.sessions.size, beta.sessions.size]).toEqual([
      0, 0, 0, 0,
    ]);
  });

  test('that nobody answers on: unreachable', async () => {
    const { world, acme, beta } = await pair();
    world.mesh.partition([acme.network], [beta.network]);
    expect(await outcomeOf(shake(beta, acme))).toBe('unreachable');
    expect(refusals(beta)).toEqual([]);
  });

  test('to a node that does not speak the protocol: no_route', async () => {
    const { world, acme, beta } = await pair();
    const other = stranger(world, 'other');
    beta.is.reaches = () => world.mesh.connect(beta.network, other);
    expect(await outcomeOf(shake(beta, acme))).toBe('no_route');
    expect(refusals(beta)).toEqual(['no_route']);
  });
});

describe('whoever asks may stop', () => {
  test('while it waits, and the other side learns of it', async () => {
    const { acme, beta } = await pair();
    acme.is.presents = never;
    const controller = new AbortController();
    const asked = begun(shake(beta, acme, { signal: controller.signal }));
    await settle();
    controller.abort();
    await settle();
    expect(asked.outcome).toBe('cancelled');
    expect(beta.handshakes.pending).toBe(0);
    await open?.clock.advance(limits.HANDSHAKE_STEP_MS);
    expect(refusals(beta)).toEqual(['cancelled']);
  });

  test('before it began', async () => {
    const { acme, beta } = await pair();
    expect(await outcomeOf(shake(beta, acme, { signal: AbortSignal.abort() }))).toBe('cancelled');
  });

  test('by closing: what is under way ends on both sides', async () => {
    const { acme, beta } = await pair();
    acme.is.presents = never;
    const asked = begun(shake(beta, acme));
    await settle();
    await Promise.all([beta.handshakes.close(), acme.handshakes.close()]);
    await settle();
    expect(asked.outcome).toBe('cancelled');
    expect([acme.handshakes.pending, beta.handshakes.pending]).toEqual([0, 0]);
    expect(await outcomeOf(shake(beta, acme))).toBe('cancelled');
  });
});

describe('busy', () => {
  test('is R with as many handshakes under way as it takes', async () => {
    const { world, acme, beta } = await pair({ handshake: { pendingMax: 2 } });
    const slow = ['a', 'b', 'c'].map((name) => stranger(world, name));
    const streams = await Promise.all(slow.map((node) => node.openStream(acme.network.peer, 'iatp', IATP)));
    await settle();
    expect(acme.handshakes.pending).toBe(2);
    expect(await said(streams[2] as FrameStream)).toBe('busy');
    expect(await outcomeOf(shake(beta, acme))).toBe('busy (peer)');
    await world.clock.advance(limits.HANDSHAKE_STEP_MS);
    expect(await outcomeOf(shake(beta, acme))).toBe('a session');
  });

  test('is I with as many handshakes under way as it begins', async () => {
    const { world, acme, beta } = await pair({ handshake: { pendingMax: 1 } });
    acme.is.presents = never;
    const asked = begun(shake(beta, acme));
    await settle();
    expect(await outcomeOf(shake(beta, acme))).toBe('busy');
    await world.clock.advance(limits.HANDSHAKE_STEP_MS);
    expect(asked.outcome).toMatch(/^timeout/);
  });

  test('is R for a PeerId that asks too often, and for it alone', async () => {
    const { world, acme, beta } = await pair({ handshake: { perSecond: 1, burst: 3 } });
    const pushy = stranger(world, 'pushy');
    const codes: unknown[] = [];
    for (let i = 0; i < 5; i++) {
      const stream = await pushy.openStream(acme.network.peer, 'iatp', IATP);
      await stream.send(new Uint8Array());
      codes.push(await said(stream));
    }
    expect(codes).toEqual(['malformed', 'malformed', 'malformed', 'busy', 'busy']);
    // Who floods does not flood the events.
    expect(refusals(acme)).toEqual(['malformed', 'malformed', 'malformed']);
    expect(await outcomeOf(shake(beta, acme))).toBe('a session');
    await world.clock.advance(1_000);
    const stream = await pushy.openStream(acme.network.peer, 'iatp', IATP);
    await stream.send(new Uint8Array());
    expect(await said(stream)).toBe('malformed');
  });

  test('is R with as many sessions open as it keeps', async () => {
    const { acme, beta } = await pair({ sessionsMax: [2] });
    const first = await shake(beta, acme);
    await shake(beta, acme);
    expect(await outcomeOf(shake(beta, acme))).toBe('busy (peer)');
    beta.sessions.end(first.sid);
    await settle();
    expect(endings(acme)).toEqual(['closed']);
    expect(await outcomeOf(shake(beta, acme))).toBe('a session');
  });

  test('is I with as many sessions open as it keeps', async () => {
    const { acme, beta } = await pair({ sessionsMax: [10, 1] });
    await shake(beta, acme);
    expect(await outcomeOf(shake(beta, acme))).toBe('busy');
    expect(acme.sessions.size).toBe(1);
  });

  test('counts nothing of what has ended', async () => {
    const { acme, beta } = await pair({ handshake: { pendingMax: 1, burst: 1_000 } });
    acme.is.policy = {
      need: () => {
        throw new MeshError('policy_denied', 'Cannot let anybody in');
      },
      verify: () => {},
    };
    for (let i = 0; i < 50; i++) expect(await outcomeOf(shake(beta, acme))).toBe('policy_denied (peer)');
    expect([acme.handshakes.pending, beta.handshakes.pending]).toEqual([0, 0]);
  });
});
