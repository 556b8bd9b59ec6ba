import { describe, expect, test } from 'vitest';
import type { FrameStream } from '../../../daemon/ports.ts';
import { keyOf } from '../../builders.ts';
import { addressOf, MemoryMesh, type MemoryMeshOptions } from './memory-network.ts';
import { settle, VirtualClock } from './virtual-clock.ts';

const FRAMES = { frameBytesMax: 16 };
const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);
const open = { ...FRAMES, inboundStreamsMax: 2, unbound: true };
const idle = (): Promise<void> => Promise.resolve();

function trio(options?: MemoryMeshOptions) {
  const mesh = new MemoryMesh(options);
  const [a, b, c] = ['a', 'b', 'c'].map((name) => mesh.join(keyOf(`${name} node`).peerId));
  if (a === undefined || b === undefined || c === undefined) throw new Error('three nodes');
  return { mesh, a, b, c };
}
const bind = (a: { peer: string; setBound(peer: string, bound: boolean): void }, b: typeof a): void => {
  a.setBound(b.peer, true);
  b.setBound(a.peer, true);
};

async function echo(stream: FrameStream): Promise<void> {
  for (let frame = await stream.receive(); frame !== undefined; frame = await stream.receive())
    await stream.send(frame);
}

describe('MemoryNetwork', () => {
  test('carries frames both ways and ends streams in order', async () => {
    const { mesh, a, b } = trio();
    await b.handle('sync', open, echo);
    const connection = mesh.connect(a, b);
    const stream = await a.openStream(connection, 'sync', FRAMES);
    await stream.send(bytes(1));
    await stream.send(bytes(2));
    expect([await stream.receive(), await stream.receive()]).toEqual([bytes(1), bytes(2)]);
    await stream.close();
    expect(await stream.receive()).toBeUndefined();
    await expect(stream.send(bytes(3))).rejects.toMatchObject({ code: 'closed' });
  });

  test('gives both ends one channel binding, another for each connection, or what a test says', () => {
    const { mesh, a, b } = trio();
    mesh.connect(a, b);
    mesh.connect(a, b);
    mesh.connect(a, b, { bindings: [undefined, bytes(1)] });
    const at = (node: typeof a) => node.connections().map(({ channelBinding }) => channelBinding);
    const [first, second, third] = at(a);
    expect(first).toHaveLength(32);
    expect(first).not.toEqual(second);
    expect(at(b)).toEqual([first, second, bytes(1)]);
    expect(third).toBeUndefined();
  });

  test('refuses frames beyond the bound of either end', async () => {
    const { mesh, a, b } = trio();
    let code: unknown;
    await b.handle('sync', { ...open, frameBytesMax: 4 }, async (stream) => {
      await stream.receive().catch((cause: unknown) => {
        code = (cause as { code: string }).code;
      });
    });
    const stream = await a.openStream(mesh.connect(a, b), 'sync', FRAMES);
    await expect(stream.send(new Uint8Array(17))).rejects.toMatchObject({ code: 'too_large' });
    await stream.send(new Uint8Array(5));
    await settle();
    expect(code).toBe('too_large');
    await expect(stream.receive()).rejects.toMatchObject({ code: 'closed' });
  });

  test('serves unbound peers only what is marked so, and only so many streams', async () => {
    const { mesh, a, b } = trio();
    await b.handle('iatp', { ...open, unbound: false }, echo);
    await b.handle('sync', open, echo);
    const connection = mesh.connect(a, b);
    await expect((await a.openStream(connection, 'iatp', FRAMES)).receive()).rejects.toMatchObject({ code: 'closed' });
    b.setBound(a.peer, true);
    const stream = await a.openStream(connection, 'iatp', FRAMES);
    await stream.send(bytes(1));
    expect(await stream.receive()).toEqual(bytes(1));
    await expect(a.openStream(connection, 'kad', FRAMES)).rejects.toMatchObject({ code: 'no_route' });
    const streams = [0, 1, 2].map(() => a.openStream(connection, 'sync', FRAMES));
    await expect((await Promise.all(streams))[2]?.receive()).rejects.toMatchObject({ code: 'closed' });
  });

  test('fails streams and unbinds when the connection closes', async () => {
    const { mesh, a, b } = trio();
    const gone: string[] = [];
    b.onDisconnect(({ peer }) => gone.push(peer));
    await b.handle('sync', open, echo);
    const connection = mesh.connect(a, b);
    bind(a, b);
    const waiting = (await a.openStream(connection, 'sync', FRAMES)).receive();
    await b.disconnect(a.peer, 'a test');
    await expect(waiting).rejects.toMatchObject({ code: 'closed' });
    expect([a.connections(), b.connections(), gone]).toEqual([[], [], [a.peer]]);
    expect([a.isBound(b.peer), b.isBound(a.peer)]).toEqual([false, false]);
    await expect(a.openStream(b.peer, 'sync', FRAMES)).rejects.toMatchObject({ code: 'unreachable' });
  });

  test('waits no longer than asked, and not after a signal', async () => {
    const clock = new VirtualClock();
    const { mesh, a, b } = trio({ clock, latencyMs: 10 });
    await b.handle('sync', open, (stream) => stream.receive().then(() => undefined));
    const opening = a.openStream(mesh.connect(a, b), 'sync', FRAMES);
    await clock.advance(10);
    const stream = await opening;
    const late = expect(stream.receive({ timeoutMs: 100 })).rejects.toMatchObject({ code: 'timeout' });
    await clock.advance(100);
    await late;
    const controller = new AbortController();
    const cancelled = expect(stream.receive({ signal: controller.signal })).rejects.toMatchObject({
      code: 'cancelled',
    });
    controller.abort();
    await cancelled;
    expect(clock.timers).toBe(0);
  });

  test('dials whom it knows, unless a partition lies between', async () => {
    const { mesh, a, b, c } = trio();
    await expect(a.dial(b.peer)).rejects.toMatchObject({ code: 'unreachable' });
    a.rememberPeer(b.peer, [addressOf(b.peer)]);
    const connection = await a.dial(b.peer);
    expect(await a.dial(addressOf(b.peer))).toBe(connection);
    mesh.partition([a], [b, c]);
    expect(a.connections()).toEqual([]);
    await expect(a.dial(b.peer)).rejects.toMatchObject({ code: 'unreachable' });
    expect((await b.dial(addressOf(c.peer))).peer).toBe(c.peer);
    mesh.heal();
    expect((await a.dial(b.peer)).peer).toBe(b.peer);
  });

  test('floods what validators accept to bound neighbours, once to each', async () => {
    const { mesh, a, b, c } = trio();
    const heard: string[] = [];
    for (const [name, node] of Object.entries({ a, b, c })) {
      node.validate('rev', (message, from) => {
        heard.push(`${name}${message[0]} from ${from === a.peer ? 'a' : from === b.peer ? 'b' : 'c'}`);
        return message[0] === 1 ? 'accept' : 'reject';
      });
    }
    for (const [x, y] of [
      [a, b],
      [b, c],
      [c, a],
    ] as const) {
      mesh.connect(x, y);
    }
    bind(a, b);
    bind(b, c);
    expect(await a.publish('rev', bytes(1))).toBe(1);
    expect(await a.publish('rev', bytes(2))).toBe(1);
    await settle();
    expect(heard).toEqual(['b1 from a', 'b2 from a', 'c1 from b']);
    expect([...b.penalties]).toEqual([[a.peer, ['gossip on "rev"']]]);
  });

  test('closes the connections of strangers when their grace is over', async () => {
    const clock = new VirtualClock();
    const { mesh, a, b, c } = trio({ clock, unboundGraceMs: 1_000 });
    mesh.connect(a, b);
    mesh.connect(a, c);
    bind(a, c);
    await clock.advance(1_000);
    expect(a.connections().map(({ peer }) => peer)).toEqual([c.peer]);
    expect(clock.timers).toBe(0);
  });

  test('finds providers on this side of a partition', async () => {
    const { mesh, a, b, c } = trio();
    const { signal } = new AbortController();
    await b.provide('cid', { signal });
    await c.provide('cid', { signal });
    mesh.partition([a, c], [b]);
    const found: string[] = [];
    for await (const { peer } of a.providers('cid', { signal })) found.push(peer);
    expect(found).toEqual([c.peer]);
  });

  test('keeps what a handler throws that is no MeshError', async () => {
    const { mesh, a, b } = trio();
    await b.handle('sync', open, () => Promise.reject(new TypeError('a fault')));
    await a.handle('sync', open, idle);
    await expect((await a.openStream(mesh.connect(a, b), 'sync', FRAMES)).receive()).rejects.toMatchObject({
      code: 'closed',
    });
    expect(b.faults).toEqual([new TypeError('a fault')]);
  });
});
