import type { Connection, Stream } from '@libp2p/interface';
import { multiaddr } from '@multiformats/multiaddr';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Libp2pNetwork } from '../../../daemon/libp2p/index.ts';
import type { FrameStream } from '../../../daemon/ports.ts';
import { concatBytes, encodeVarint, limits, protocolId } from '../../../protocol/index.ts';
import { createStranger } from './stranger.ts';
import { addressOf, createWorld, sleep, until, type World } from './world.ts';

const MAX = 64 * 1024;
const bytes = (count: number, fill = 7): Uint8Array => new Uint8Array(count).fill(fill);

let world: World;
let server: Libp2pNetwork;
let client: Libp2pNetwork;
let inbound: FrameStream[];

/** Handlers of the server give their streams here and wait until the test is over. */
let over: PromiseWithResolvers<void>;

beforeEach(async () => {
  world = createWorld();
  over = Promise.withResolvers<void>();
  inbound = [];
  server = await world.start(1);
  await server.handle('sync', { frameBytesMax: MAX, inboundStreamsMax: 4, unbound: true }, async (stream) => {
    inbound.push(stream);
    await over.promise;
  });
  client = await world.start(2);
  await client.dial(addressOf(server));
});

afterEach(async () => {
  over.resolve();
  await world[Symbol.asyncDispose]();
});

async function openPair(): Promise<[FrameStream, FrameStream]> {
  const mine = await client.openStream(server.peer, 'sync', { frameBytesMax: MAX });
  await until('the handler runs', () => inbound.length > 0);
  const theirs = inbound.shift();
  if (theirs === undefined) throw new Error('no stream');
  return [mine, theirs];
}

/** A stream on which the test writes bytes as it likes. */
async function openRaw(): Promise<[Stream, FrameStream, Connection]> {
  const stranger = await createStranger(world, 3);
  const connection = await stranger.dial(multiaddr(addressOf(server)));
  const raw = await connection.newStream(protocolId('agentmesh', 'sync'));
  await until('the handler runs', () => inbound.length > 0);
  const theirs = inbound.shift();
  if (theirs === undefined) throw new Error('no stream');
  return [raw, theirs, connection];
}

describe('FrameStream', () => {
  test('gives frames back whole and in order, empty and largest ones too', async () => {
    const [mine, theirs] = await openPair();
    const frames = [bytes(1), bytes(0), bytes(MAX, 1), bytes(127), bytes(128), bytes(MAX, 2)];
    const sent = Promise.all(frames.map((frame) => mine.send(frame)));
    for (const frame of frames) expect(await theirs.receive({ timeoutMs: 2_000 })).toEqual(frame);
    await sent;
  });

  test('a frame given in pieces is one frame, and its bound is that of all of them', async () => {
    const [mine, theirs] = await openPair();
    const pieces = [bytes(3, 1), bytes(0), bytes(700, 2)];
    await mine.send(pieces);
    await mine.send([]);
    expect(await theirs.receive({ timeoutMs: 2_000 })).toEqual(concatBytes(...pieces));
    expect(await theirs.receive({ timeoutMs: 2_000 })).toEqual(bytes(0));
    await expect(mine.send([bytes(MAX), bytes(1)])).rejects.toMatchObject({ code: 'too_large' });
  });

  test('carries questions and answers over one long-lived stream', async () => {
    const [mine, theirs] = await openPair();
    for (let i = 0; i < 50; i++) {
      await mine.send(bytes(i));
      expect(await theirs.receive()).toEqual(bytes(i));
      await theirs.send(bytes(i, 9));
      expect(await mine.receive()).toEqual(bytes(i, 9));
    }
    expect(inbound).toHaveLength(0);
  });

  test('receive() resolves with undefined once the other side has ended it', async () => {
    const [mine, theirs] = await openPair();
    await mine.send(bytes(3));
    await mine.close();
    expect(await theirs.receive()).toEqual(bytes(3));
    expect(await theirs.receive()).toBeUndefined();
    expect(await theirs.receive()).toBeUndefined();
  });

  test('receive() fails with closed when the other side resets it', async () => {
    const [mine, theirs] = await openPair();
    const waiting = theirs.receive();
    mine.abort('enough');
    await expect(waiting).rejects.toMatchObject({ code: 'closed' });
    await expect(theirs.send(bytes(1))).rejects.toMatchObject({ code: 'closed' });
  });

  test('receive() fails with closed, not with an end, when the connection is lost', async () => {
    const [, theirs, connection] = await openRaw();
    const waiting = theirs.receive({ timeoutMs: 2_000 });
    connection.abort(new Error('gone'));
    await expect(waiting).rejects.toMatchObject({ code: 'closed' });
  });

  test('receive() fails with timeout, and the frame that comes later is not lost', async () => {
    const [mine, theirs] = await openPair();
    await expect(theirs.receive({ timeoutMs: 20 })).rejects.toMatchObject({ code: 'timeout' });
    await mine.send(bytes(5));
    expect(await theirs.receive({ timeoutMs: 2_000 })).toEqual(bytes(5));
  });

  test('receive() fails with cancelled when its signal fires, before or while it waits', async () => {
    const [, theirs] = await openPair();
    await expect(theirs.receive({ signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'cancelled' });
    const controller = new AbortController();
    const waiting = theirs.receive({ signal: controller.signal });
    controller.abort();
    await expect(waiting).rejects.toMatchObject({ code: 'cancelled' });
  });

  test('a second receive() beside a waiting one is a conflict', async () => {
    const [mine, theirs] = await openPair();
    const waiting = theirs.receive();
    await expect(theirs.receive()).rejects.toMatchObject({ code: 'conflict' });
    await mine.send(bytes(2));
    expect(await waiting).toEqual(bytes(2));
  });

  test('send() refuses a frame above the limit and stays usable', async () => {
    const [mine, theirs] = await openPair();
    await expect(mine.send(bytes(MAX + 1))).rejects.toMatchObject({
      code: 'too_large',
      data: { is: MAX + 1, want: MAX },
    });
    await mine.send(bytes(1));
    expect(await theirs.receive()).toEqual(bytes(1));
  });

  test('a length above the limit resets the stream on its prefix alone', async () => {
    const [raw, theirs] = await openRaw();
    raw.send(encodeVarint(MAX + 1)); // no byte of the frame follows
    await expect(theirs.receive({ timeoutMs: 2_000 })).rejects.toMatchObject({
      code: 'too_large',
      data: { is: MAX + 1 },
    });
    await until('the sender sees the reset', () => raw.status === 'reset');
  });

  test.each([
    ['noncanonical', 'a length that is not in its shortest form', Uint8Array.of(0x81, 0x00, 1)],
    ['malformed', 'a length of more than five bytes', Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0xff, 0x01)],
  ])('%s: %s resets the stream', async (code, _, prefix) => {
    const [raw, theirs] = await openRaw();
    raw.send(prefix);
    await expect(theirs.receive({ timeoutMs: 2_000 })).rejects.toMatchObject({ code });
    await until('the sender sees the reset', () => raw.status === 'reset');
  });

  test('a stream that ends inside a frame fails with closed', async () => {
    const [raw, theirs] = await openRaw();
    raw.send(concatBytes(encodeVarint(10), bytes(9)));
    await raw.close();
    await expect(theirs.receive({ timeoutMs: 2_000 })).rejects.toMatchObject({ code: 'closed' });
  });

  test('a frame that arrives byte by byte is one frame', async () => {
    const [raw, theirs] = await openRaw();
    const waiting = theirs.receive({ timeoutMs: 5_000 });
    for (const byte of concatBytes(encodeVarint(300), bytes(300))) raw.send(Uint8Array.of(byte));
    expect(await waiting).toEqual(bytes(300));
  });

  test('what nobody receives stays with the sender: at most a window is buffered here', async () => {
    const [raw, theirs] = await openRaw();
    const frame = concatBytes(encodeVarint(MAX), bytes(MAX));
    for (let i = 0; i < 64; i++) raw.send(frame); // 4 MiB
    await sleep(300);
    expect(raw.writeBufferLength).toBeGreaterThan(3 * 1024 * 1024 - 64 * 1024); // 1 MiB is the widest window
    for (let i = 0; i < 64; i++) expect((await theirs.receive({ timeoutMs: 5_000 }))?.length).toBe(MAX);
    expect(raw.writeBufferLength).toBe(0);
  });

  test('send() waits for room, so that a fast sender does not pile up frames', async () => {
    const [mine, theirs] = await openPair();
    let sent = 0;
    const sending = (async () => {
      for (; sent < 64; sent++) await mine.send(bytes(MAX));
    })();
    await sleep(300);
    expect(sent).toBeLessThan(24); // 1 MiB in the window, and one frame waiting
    for (let i = 0; i < 64; i++) expect((await theirs.receive({ timeoutMs: 5_000 }))?.length).toBe(MAX);
    await sending;
  });

  test('send() resets the stream when the other side takes nothing for as long as it was told to wait', async () => {
    const [mine, theirs] = await openPair();
    const sending = async (): Promise<void> => {
      for (;;) await mine.send(bytes(MAX), { timeoutMs: 200 });
    };
    await expect(sending()).rejects.toMatchObject({ code: 'timeout' });
    const rest = async (): Promise<void> => {
      while ((await theirs.receive({ timeoutMs: 2_000 })) !== undefined);
    };
    await expect(rest()).rejects.toMatchObject({ code: 'closed' });
  });

  test('openStream() says busy when this side has as many of a protocol as it may open', async () => {
    const room = 2 * limits.NETWORK_STREAMS_A_PROTOCOL_MAX;
    await server.handle('iatp', { frameBytesMax: MAX, inboundStreamsMax: room, unbound: true }, () => over.promise);
    for (let i = 0; i < limits.NETWORK_STREAMS_A_PROTOCOL_MAX; i++) {
      await client.openStream(server.peer, 'iatp', { frameBytesMax: MAX });
    }
    await expect(client.openStream(server.peer, 'iatp', { frameBytesMax: MAX })).rejects.toMatchObject({
      code: 'busy',
    });
  });

  test('more inbound streams than the handler allows are refused', async () => {
    const streams = await Promise.all(
      [1, 2, 3, 4].map(() => client.openStream(server.peer, 'sync', { frameBytesMax: MAX })),
    );
    await until('four handlers run', () => inbound.length === 4);
    const fifth = await client.openStream(server.peer, 'sync', { frameBytesMax: MAX });
    await expect(fifth.receive({ timeoutMs: 2_000 })).rejects.toMatchObject({ code: 'closed' });
    expect(inbound).toHaveLength(4);
    for (const stream of streams) stream.abort('done');
  });
});
