/** What a dishonest caller does with quantity: an honest caller of the same daemon must notice nothing of it. */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { encodeCallFrame } from '../../protocol/call/index.ts';
import { encodeCbor, encodeHandshakeFrame, isMeshError, limits } from '../../protocol/index.ts';
import { until } from './daemon-process.ts';
import { tried } from './dishonest/attack.ts';
import {
  connectionTo,
  type HandLink,
  type HandSession,
  openByHand,
  openFrameOf,
  sendRaw,
  streamTo,
} from './dishonest/by-hand.ts';
import { Bystander, DishonestWorld, residentBytes } from './dishonest/world.ts';

const SLOW = { timeout: 60_000 };
const MEBIBYTE = 1024 * 1024;
/** That Acme's daemon may grow by, whatever is thrown at it: what one peer may have under way, and as much that is not collected yet. */
const GROWTH_BYTES_MAX = 2 * limits.CALL_BYTES_A_PEER_MAX + 128 * MEBIBYTE;
/** Of an honest call, with all of a flood on two shared cores beside it. */
const HONEST_MS_MAX = 8_000;

let world: DishonestWorld;
let restingBytes: number;
let reader: string;
let grant: string;
let peakBytes = 0;

beforeAll(async () => {
  world = await DishonestWorld.create();
  const { gamma, mallory } = world;
  reader = mallory.agents['reader'] ?? '';
  await world.grant(gamma, gamma.agent);
  grant = await world.grant(mallory, reader);
  restingBytes = residentBytes(world.acme.daemon.pid);
}, 60_000);
afterAll(() => world[Symbol.asyncDispose]());

const session = (): Promise<HandSession> => world.shake(world.mallory, reader, { grant });
const open = async (by?: HandSession): Promise<HandLink> => openByHand(by ?? (await session()));

interface Flood {
  readonly name: string;
  readonly play: () => Promise<void>;
}

/** An error of the other side's, or of a stream that it ended, is what a flood has to expect. */
async function expecting(what: () => Promise<unknown>): Promise<string> {
  try {
    await what();
    return 'ok';
  } catch (error) {
    if (!isMeshError(error)) throw error;
    return error.code;
  }
}

const times = <T>(count: number, make: (at: number) => T): T[] => Array.from({ length: count }, (_, at) => make(at));

const FLOODS: readonly Flood[] = [
  {
    name: 'thousands of handshakes that stop after the first word',
    play: async () => {
      const { node } = world.mallory;
      const connection = connectionTo(node, world.acme.daemon.peerId);
      const said = new Map<string, number>();
      for (let round = 0; round < 50; round++) {
        const codes = await Promise.all(
          times(40, () =>
            expecting(async () => {
              const stream = await node.network.openStream(connection, 'iatp', { frameBytesMax: 65_536 });
              const non = new Uint8Array(randomBytes(32));
              const hello = { v: 1, did: reader, to: world.acme.agent, non, want: [], min: 300 } as const;
              await stream.send(encodeHandshakeFrame('hello', hello));
              if (round % 2 === 0) stream.abort('gone');
              else await stream.receive({ timeoutMs: 30 }).finally(() => stream.abort('gone'));
            }),
          ),
        );
        for (const code of codes) said.set(code, (said.get(code) ?? 0) + 1);
      }
      expect([...said.values()].reduce((a, b) => a + b)).toBe(2_000);
    },
  },
  {
    name: 'whole handshakes as fast as they go',
    play: async () => {
      await sleep(1_500);
      const sessions: HandSession[] = [];
      const codes = await Promise.all(times(100, () => expecting(async () => sessions.push(await session()))));
      for (const one of sessions) one.end();
      expect(codes.filter((code) => code !== 'ok').length).toBeGreaterThan(50);
      await sleep(1_500);
    },
  },
  {
    name: 'a thousand streams, with nothing, noise, and broken lengths on them',
    play: async () => {
      const { node } = world.mallory;
      const connection = connectionTo(node, world.acme.daemon.peerId);
      const noise = new Uint8Array(randomBytes(512));
      await Promise.all(
        times(25, async (lane) => {
          for (let at = 0; at < 40; at++)
            await expecting(async () => {
              const stream = await streamTo({ node, connection });
              const kind = (lane + at) % 5;
              if (kind === 1) await stream.send(noise);
              if (kind === 2) await sendRaw(stream, noise, 2 ** 30 - 1);
              if (kind === 3) await sendRaw(stream, Uint8Array.of(0x80, 0x80, 0x80, 0x80, 0x80, 0x80), 0);
              if (kind === 4) await sendRaw(stream, new Uint8Array(100), limits.CALL_FRAME_BYTES_MAX);
              if (kind !== 0) await Promise.race([stream.receive(), sleep(20)]);
              stream.abort('gone');
            });
        }),
      );
    },
  },
  {
    name: 'more links than one organisation may have, and as many again',
    play: async () => {
      const by = await session();
      const said: string[] = [];
      const links: HandLink[] = [];
      for (let at = 0; at < 40; at++)
        said.push(await tried(openByHand(by, { first: openFrameOf(by, 'witness') }).then((link) => links.push(link))));
      for (const link of links) link.close();
      by.end();
      expect(links.length).toBeLessThanOrEqual(limits.CALL_SERVERS_AN_ORGANISATION_MAX);
      expect(said.filter((one) => one === 'refused busy').length).toBe(40 - links.length);
    },
  },
  {
    name: 'hundreds of calls at once in one link',
    play: async () => {
      const link = await open();
      const numbers = times(500, (at) => at + 1);
      await expecting(() => Promise.all(numbers.map((n) => link.start('note', { tag: 'many' }, { n }))));
      const outs = await Promise.all(numbers.map(async (n) => (await link.outcome(n, 40_000)).out));
      expect(new Set(outs)).toEqual(new Set(['ok', 'refused']));
      expect(world.deeds('many').length).toBe(outs.filter((out) => out === 'ok').length);
      link.close();
      link.session.end();
    },
  },
  {
    name: 'hundreds of calls that are cancelled at once',
    play: async () => {
      const link = await open();
      const numbers = times(300, (at) => at + 1);
      for (const n of numbers) {
        await link.start('slow', { tag: 'cancelled', ms: 60_000 }, { n });
        const params = { requestId: `call ${n}` };
        await link.tell(JSON.stringify({ jsonrpc: '2.0', method: 'notifications/cancelled', params }));
      }
      const outs = await Promise.all(numbers.map(async (n) => (await link.outcome(n, 40_000)).out));
      expect(new Set(outs)).toEqual(new Set(['cancelled']));
      link.close();
      link.session.end();
    },
  },
  {
    name: 'huge frames, frames with wrong lengths, and a frame byte by byte',
    play: async () => {
      const by = await session();
      const evil: ((link: HandLink) => Promise<unknown>)[] = [
        (link) => link.stream.send(new Uint8Array(64 * MEBIBYTE)),
        (link) => sendRaw(link.stream, new Uint8Array(10), 2 ** 28),
        (link) => sendRaw(link.stream, encodeCallFrame({ f: 'msg' }, { inline: Uint8Array.of(123, 125) }), 5),
        (link) => sendRaw(link.stream, Uint8Array.of(0x81, 0x00), 0),
        (link) => link.stream.send(new Uint8Array(0)),
        (link) => link.stream.send(new Uint8Array(randomBytes(1_000))),
        (link) => link.stream.send(encodeCbor({ f: 'part', m: 5, p: new Uint8Array(20_000) })),
        (link) => link.stream.send(encodeCbor({ f: 'part', m: 1, p: new Uint8Array(0) })),
        (link) => link.stream.send(encodeCbor({ f: 'msg', m: 1, size: 100_000 })),
        (link) => link.stream.send(encodeCbor({ f: 'msg', m: 1, size: 2 ** 40 })),
        (link) => link.stream.send(encodeCbor({ f: 'msg', b: new Uint8Array(limits.CALL_INLINE_BYTES_MAX + 1) })),
      ];
      const ends: string[] = [];
      for (const play of evil) {
        const link = await open(by);
        await expecting(() => play(link));
        ends.push(await link.ended());
        link.close();
      }
      expect(ends).toEqual(evil.map(() => 'aborted'));
      const slow = await open(by);
      await sendRaw(slow.stream, Uint8Array.of(0xa2), 1_000);
      for (let at = 0; at < 50; at++) {
        await slow.stream.send(Uint8Array.of(0x61));
        await sleep(10);
      }
      expect(slow.isOver).toBe(false); // it may take its time: only it is held up by that
      slow.close();
      by.end();
    },
  },
  {
    name: 'parts that never end, and parts of a byte',
    play: async () => {
      const by = await session();
      const endless = await open(by);
      const part = (m: number, bytes: number) => encodeCbor({ f: 'part', m, p: new Uint8Array(bytes) });
      const full = part(1, limits.CALL_PART_BYTES);
      await expecting(async () => {
        for (let at = 0; at < 400; at++) await endless.stream.send(full);
      });
      expect(await endless.ended()).toBe('aborted');
      const tiny = await open(by);
      await expecting(async () => {
        for (let at = 0; at < 100; at++) await tiny.stream.send(part(1, 1));
      });
      expect(await tiny.ended()).toBe('aborted');
      const many = await open(by);
      await expecting(async () => {
        for (let m = 1; m <= 200; m++) await many.stream.send(part(m, limits.CALL_PART_BYTES_MIN));
      });
      expect(await many.ended()).toBe('aborted');
      by.end();
    },
  },
  {
    name: 'bodies that are begun and never finished, in as many links as there may be',
    play: async () => {
      const by = await session();
      const links: HandLink[] = [];
      for (let at = 0; at < 5; at++) links.push(await open(by));
      const part = (m: number) => encodeCbor({ f: 'part', m, p: new Uint8Array(limits.CALL_PART_BYTES) });
      await Promise.all(
        links.map((link) =>
          expecting(async () => {
            for (let at = 0; at < 130; at++) await link.stream.send(part(1));
          }),
        ),
      );
      await sleep(1_000);
      for (const link of links) link.close();
      by.end();
    },
  },
  {
    name: 'a reader of large results that has stopped reading',
    play: async () => {
      const by = await session();
      const streams = [];
      for (let at = 0; at < 8; at++) {
        const stream = await streamTo(by);
        await stream.send(encodeCallFrame(openFrameOf(by, 'witness')));
        await stream.receive({ timeoutMs: 10_000 });
        streams.push(stream);
      }
      const maker = await open(by);
      await Promise.all(
        streams.map(async (stream, lane) => {
          for (let at = 0; at < 8; at++) {
            const n = 1_000 + lane * 8 + at;
            const args = { tag: 'large', bytes: 8 * MEBIBYTE };
            const [frame, body] = maker.prepare('large', args, { n });
            await expecting(() => stream.send(encodeCallFrame(frame, { inline: body })));
          }
        }),
      );
      await sleep(3_000);
      for (const stream of streams) stream.abort('gone');
      maker.close();
      by.end();
    },
  },
  {
    name: 'refusals as fast as they go, and lists',
    play: async () => {
      const link = await open();
      for (let n = 1; n <= 400; n++)
        if (n % 2 === 0) await link.start('forbidden', { tag: 'refused' }, { n });
        else await link.tell(JSON.stringify({ jsonrpc: '2.0', id: `l${n}`, method: 'tools/list' }));
      await link.outcome(400, 40_000);
      expect(world.deeds('refused')).toEqual([]);
      link.close();
      link.session.end();
    },
  },
];

test.each(FLOODS)('$name: honest calls go on', SLOW, async ({ name, play }) => {
  const bystander = new Bystander(world, 50, name);
  await bystander.linked();
  const watch = setInterval(() => (peakBytes = Math.max(peakBytes, residentBytes(world.acme.daemon.pid))), 50);
  try {
    await play();
    await sleep(300);
  } finally {
    clearInterval(watch);
    const tookMs = await bystander.end();
    expect(Math.max(0, ...tookMs)).toBeLessThan(HONEST_MS_MAX);
  }
});

test('the daemon stays small, its log verifies, and nothing of the floods is left', SLOW, async () => {
  expect(peakBytes - restingBytes).toBeLessThan(GROWTH_BYTES_MAX);
  const { acme } = world;
  expect(await world.verifyLog(acme)).toBeGreaterThan(0);
  expect((await acme.mesh.readiness()).ready).toBe(true);
  expect(acme.daemon.logged()).not.toMatch(/fault of this program|unhandled/i);
  await until('its sessions are over', async () =>
    (await acme.mesh.sessions.list()).every(({ did }) => did !== reader),
  );
});
