import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  encodeTlogAnswer,
  encodeTlogRequest,
  parseTlogAnswer,
  parseTlogRequest,
  plainAnswer,
  serveTlog,
  TlogAsker,
  type TlogAnswer,
  type TlogRequest,
} from '../../../../daemon/core/log/tlog-stream.ts';
import { serveWitness, WITNESS_FRAME_BYTES_MAX, witnessOfPeer } from '../../../../daemon/core/log/witness-stream.ts';
import { limits, MeshError } from '../../../../protocol/index.ts';
import { parseCheckpoint, parseVkey } from '../../../../protocol/log/index.ts';
import { bytesOf, codeOf, textOf } from '../../../protocol/log/sample.ts';
import { describeWithShared } from '../../../shared.ts';
import { quiet } from '../handshake-world.ts';
import { MemoryMesh, type MemoryNetwork } from '../memory-network.ts';
import { VirtualClock } from '../virtual-clock.ts';
import { SampleLog, witnessFor } from './witness-world.ts';

const nothing = new Uint8Array();

describe('a frame', () => {
  test('is a line and a body, and reads as what was written', () => {
    expect(textOf(encodeTlogRequest({ path: 'add-checkpoint', body: bytesOf('old 0\n') }))).toBe(
      'add-checkpoint\nold 0\n',
    );
    const conflict = { status: 409, contentType: 'text/x.tlog.size', body: bytesOf('5\n') };
    expect(textOf(encodeTlogAnswer(conflict))).toBe('409 text/x.tlog.size\n5\n');
    fc.assert(
      fc.property(
        fc.stringMatching(/^[!-~]{1,100}$/),
        fc.integer({ min: 100, max: 599 }),
        fc.uint8Array(),
        (path, status, body) => {
          expect(parseTlogRequest(encodeTlogRequest({ path, body }))).toEqual({ path, body });
          const answer = { status, contentType: `text/${path}; charset=utf-8`, body };
          expect(parseTlogAnswer(encodeTlogAnswer(answer))).toEqual(answer);
        },
      ),
    );
  });

  test.each(['', 'add-checkpoint', '\nbody', 'add checkpoint\n', 'ädd\n', '\u0000\n'])('%j is no request', (text) => {
    expect(codeOf(() => parseTlogRequest(bytesOf(text)))).toBe('malformed');
  });
  test.each([
    '',
    '200',
    '200\n',
    '200 \n',
    '20 text/plain\n',
    '2000 text/plain\n',
    '600 text/plain\n',
    'ok text/plain\n',
  ])('%j is no answer', (text) => {
    expect(codeOf(() => parseTlogAnswer(bytesOf(text)))).toBe('malformed');
  });
  test('of any bytes is one, or is refused with a code', () => {
    const some = fc.oneof(
      fc.uint8Array(),
      fc.string().map(bytesOf),
      fc.string().map((text) => bytesOf(`200 ${text}\nx`)),
    );
    fc.assert(
      fc.property(some, (frame) => {
        for (const parse of [parseTlogRequest, parseTlogAnswer])
          expect(['accepted', 'malformed', 'too_large']).toContain(codeOf(() => parse(frame)));
      }),
    );
  });

  test('has a line of bounded length, which is UTF-8', () => {
    const long = 'x'.repeat(limits.TLOG_LINE_BYTES_MAX);
    expect(parseTlogRequest(bytesOf(`${long}\n`)).path).toBe(long);
    for (const frame of [`${long}x\n`, `${long}x`])
      expect(codeOf(() => parseTlogRequest(bytesOf(frame)))).toBe('too_large');
    expect(codeOf(() => encodeTlogRequest({ path: `${long}x`, body: nothing }))).toBe('too_large');
    expect(codeOf(() => encodeTlogRequest({ path: 'a\nb', body: nothing }))).toBe('malformed');
    expect(codeOf(() => parseTlogRequest(Uint8Array.of(0xff, 0x0a)))).toBe('malformed');
  });
});

let clock: VirtualClock;
let mesh: MemoryMesh;
let [a, b]: [MemoryNetwork, MemoryNetwork] = [] as never;
let frames: number;
let streams: Set<number>;

beforeEach(() => {
  clock = new VirtualClock();
  mesh = new MemoryMesh({ clock });
  [a, b] = [mesh.join('a'), mesh.join('b')];
  mesh.connect(a, b);
  b.setBound('a', true);
  [frames, streams] = [0, new Set()];
  mesh.onFrame = (frame, { index, from }) => {
    frames += 1;
    if (from === 'a' && index === 0) streams.add(frames);
    return frame;
  };
});
afterEach(async () => {
  await Promise.all([a.close(), b.close()]);
  expect([...a.faults, ...b.faults]).toEqual([]);
});

const echo = async ({ path, body }: TlogRequest): Promise<TlogAnswer> => ({
  status: 200,
  contentType: 'text/plain',
  body: bytesOf(`${path} ${textOf(body)}`),
});
const serve = (answer: (request: TlogRequest) => Promise<TlogAnswer>, options = {}): Promise<void> =>
  serveTlog({ network: b, log: quiet, answer }, 'tlog/read', { frameBytesMax: 1_000, ...options });
const ask = (asker: TlogAsker, path: string, body = ''): Promise<string> =>
  asker.ask('b', { path, body: bytesOf(body) }).then(
    (answer) => `${answer.status} ${textOf(answer.body)}`,
    (error: unknown) => (error instanceof MeshError ? error.code : 'fault'),
  );

describe('requests over a stream', () => {
  test('are answered one at a time on one stream', async () => {
    let [underWay, most] = [0, 0];
    await serve(async (request) => {
      most = Math.max(most, ++underWay);
      await clock.soon();
      underWay -= 1;
      return echo(request);
    });
    using asker = new TlogAsker({ network: a, clock }, 'tlog/read', { frameBytesMax: 1_000 });
    const answers = Promise.all([ask(asker, 'one', '1'), ask(asker, 'two'), ask(asker, 'three', '3')]);
    await clock.advance(0);
    expect(await answers).toEqual(['200 one 1', '200 two ', '200 three 3']);
    expect([frames, streams.size, most]).toEqual([6, 1, 1]);
  });

  test('of peers that are not bound are not heard', async () => {
    await serve(echo);
    b.setBound('a', false);
    mesh.connect(a, b);
    using asker = new TlogAsker({ network: a, clock }, 'tlog/read', { frameBytesMax: 1_000 });
    expect(await ask(asker, 'one')).toBe('closed');
  });

  test('end with what went wrong: nobody there, nobody who speaks it, no answer, too much, nonsense', async () => {
    using asker = new TlogAsker({ network: a, clock }, 'tlog/read', { frameBytesMax: 1_000, timeoutMs: 200 });
    expect(
      await asker.ask('c', { path: 'x', body: nothing }).catch((error: unknown) => (error as MeshError).code),
    ).toBe('unreachable');
    expect(await ask(asker, 'one')).toBe('no_route');
    await serve(({ path }) =>
      path === 'silent'
        ? new Promise(() => {})
        : path === 'large'
          ? Promise.resolve(plainAnswer(200, 'x'.repeat(2_000)))
          : echo({ path, body: nothing }),
    );
    const silent = ask(asker, 'silent');
    await clock.advance(200);
    expect(await silent).toBe('timeout');
    expect(await ask(asker, 'large')).toBe('closed');
    expect(await ask(asker, 'one')).toBe('200 one '); // by another stream
    mesh.onFrame = (frame, { from }) => (from === 'b' ? bytesOf('nonsense') : frame);
    expect(await ask(asker, 'one')).toBe('malformed');
    mesh.onFrame = (frame, { from }) => (from === 'a' ? bytesOf('no line') : frame);
    expect(await ask(asker, 'one')).toBe('closed');
    const stop = new AbortController();
    mesh.onFrame = undefined;
    const cancelled = asker
      .ask('b', { path: 'silent', body: nothing }, stop.signal)
      .catch((error: unknown) => (error as MeshError).code);
    stop.abort();
    expect(await cancelled).toBe('cancelled');
  });

  test('that got no answer leave no stream open', async () => {
    await serve(({ path }) => (path === 'silent' ? new Promise(() => {}) : echo({ path, body: nothing })), {
      inboundStreamsMax: 1,
    });
    using asker = new TlogAsker({ network: a, clock }, 'tlog/read', { frameBytesMax: 1_000, timeoutMs: 200 });
    const silent = ask(asker, 'silent');
    await clock.advance(200);
    expect([await silent, await ask(asker, 'one')]).toEqual(['timeout', '200 one ']);
  });

  test('that the other side fails at are a 500, and the stream goes on', async () => {
    await serve(({ path }) =>
      path === 'bad'
        ? Promise.reject(new MeshError('read_only', 'Cannot write: secret'))
        : echo({ path, body: nothing }),
    );
    using asker = new TlogAsker({ network: a, clock }, 'tlog/read', { frameBytesMax: 1_000 });
    expect(await ask(asker, 'bad')).toBe('500 read_only\n');
    expect(await ask(asker, 'one')).toBe('200 one ');
    expect(streams.size).toBe(1);
  });

  test('after a pause open another stream, and leave no timer behind', async () => {
    await serve(echo, { idleMs: 5_000 });
    using asker = new TlogAsker({ network: a, clock }, 'tlog/read', { frameBytesMax: 1_000 });
    expect(await ask(asker, 'one')).toBe('200 one ');
    await clock.advance(6_000); // the other side has ended it
    expect(await ask(asker, 'two')).toBe('200 two ');
    expect(streams.size).toBe(2);
    await clock.advance(limits.TLOG_IDLE_MS);
    expect(clock.timers).toBe(0);
    expect(await ask(asker, 'three')).toBe('200 three ');
    expect(streams.size).toBe(3);
  });

  test('are refused on too many streams, and end with their connection', async () => {
    await serve(() => new Promise(() => {}), { inboundStreamsMax: 2 });
    const askers = Array.from(
      { length: 3 },
      () => new TlogAsker({ network: a, clock }, 'tlog/read', { frameBytesMax: 1_000 }),
    );
    const answers = askers.map((asker) => ask(asker, 'one'));
    await clock.advance(10);
    expect(await answers[2]).toBe('closed');
    b.setBound('a', false);
    expect(await Promise.all(answers)).toEqual(['closed', 'closed', 'closed']);
    for (const asker of askers) asker.close();
  });
});

describe('the witness over a stream', () => {
  test('cosigns, and shows what it has cosigned', async () => {
    const { witness } = witnessFor('w', { clock });
    await serveWitness({ network: b, log: quiet, witness });
    using asker = new TlogAsker({ network: a, clock }, 'tlog/witness', { frameBytesMax: WITNESS_FRAME_BYTES_MAX });
    const endpoint = witnessOfPeer(asker, 'b');
    const log = new SampleLog('a');
    const signal = new AbortController().signal;
    expect((await endpoint.readCheckpoint(log.origin, signal)).status).toBe(404);
    expect((await endpoint.addCheckpoint(log.request(0, 3), signal)).status).toBe(200);
    const shown = await endpoint.readCheckpoint(log.origin, signal);
    expect([shown.status, parseCheckpoint(shown.body).checkpoint]).toEqual([200, log.at(3).checkpoint]);
    const stale = await endpoint.addCheckpoint(log.request(0, 4), signal);
    expect([stale.status, stale.contentType, textOf(stale.body)]).toEqual([409, 'text/x.tlog.size', '3\n']);
    for (const path of [
      '',
      'x',
      '/add-checkpoint',
      'add-checkpoint/',
      `${'A'.repeat(64)}/checkpoint`,
      `${'a'.repeat(63)}/checkpoint`,
    ].filter((each) => each !== ''))
      expect((await asker.ask('b', { path, body: nothing })).status, path).toBe(404);
    const largest = new Uint8Array(limits.ADD_CHECKPOINT_BYTES_MAX).fill(0x61);
    expect((await endpoint.addCheckpoint(largest, signal)).status).toBe(400);
  });

  test('gives each peer its own budget', async () => {
    const { witness } = witnessFor('w', { clock, options: { perSecond: 1, burst: 1 } });
    await serveWitness({ network: b, log: quiet, witness });
    const c = mesh.join('c');
    mesh.connect(c, b);
    b.setBound('c', true);
    const log = new SampleLog('a');
    const signal = new AbortController().signal;
    using fromA = new TlogAsker({ network: a, clock }, 'tlog/witness', { frameBytesMax: WITNESS_FRAME_BYTES_MAX });
    using fromC = new TlogAsker({ network: c, clock }, 'tlog/witness', { frameBytesMax: WITNESS_FRAME_BYTES_MAX });
    const statuses = [];
    for (const asker of [fromA, fromA, fromC])
      statuses.push((await witnessOfPeer(asker, 'b').addCheckpoint(log.request(0, 1), signal)).status);
    expect(statuses).toEqual([200, 429, 409]);
    await c.close();
  });
});

describeWithShared('vectors/tlog/witness-exchange-litewitness.json', "litewitness's exchange over a stream", (file) => {
  test('has the same answers', async () => {
    const { logVkey, origin, steps } = JSON.parse(readFileSync(file, 'utf8')) as {
      logVkey: string;
      origin: string;
      steps: { body: string; status: number }[];
    };
    const { witness } = witnessFor('w', {
      clock,
      admits: (asked) => (asked === origin ? [parseVkey(logVkey)] : undefined),
    });
    await serveWitness({ network: b, log: quiet, witness });
    using asker = new TlogAsker({ network: a, clock }, 'tlog/witness', { frameBytesMax: WITNESS_FRAME_BYTES_MAX });
    const statuses = [];
    for (const { body } of steps)
      statuses.push(
        (await witnessOfPeer(asker, 'b').addCheckpoint(bytesOf(body), new AbortController().signal)).status,
      );
    expect(statuses).toEqual(steps.map(({ status }, i) => (i === 2 ? 404 : status)));
    expect(statuses).toHaveLength(9);
  });
});
