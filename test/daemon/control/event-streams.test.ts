import { createConnection, type Socket } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import type { MeshEvent } from '../../../protocol/control/index.ts';
import { createAgent } from '../../builders.ts';
import { ask, startServer, type Started, until } from './start.ts';

interface Stream {
  readonly socket: Socket;
  /** Everything after the head. */
  readonly text: () => string;
  readonly events: () => MeshEvent[];
  readonly ended: () => boolean;
}

const open: Socket[] = [];
afterEach(() => {
  for (const socket of open.splice(0)) socket.destroy();
});

async function stream(started: Started, query = '', headers: Readonly<Record<string, string>> = {}): Promise<Stream> {
  const socket = createConnection(started.socketPath);
  open.push(socket);
  let all = '';
  let ended = false;
  socket.on('data', (chunk) => (all += chunk.toString()));
  socket.on('error', () => {}); // a stream that is cut is what some tests are about
  socket.on('close', () => (ended = true));
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.write(`GET /v1/events${query} HTTP/1.1\r\nhost: x\r\n${lines.join('')}\r\n`);
  await until(() => all.includes('retry: 1000') || ended || all.startsWith('HTTP/1.1 4'));
  const text = (): string => all.slice(all.indexOf('\r\n\r\n') + 4);
  const events = (): MeshEvent[] =>
    [...text().matchAll(/^data: (.*)$/gm)].map(([, json = '']) => JSON.parse(json) as MeshEvent);
  return { socket, text, events, ended: () => ended };
}

const heartbeat = ({ fake }: Started, revocations: number): void =>
  fake.events.emit({
    type: 'heartbeat',
    data: { organisation: fake.organisation.did, at: '2026-11-22T12:00:00Z', revocations },
  });
const status = ({ fake }: Started, did: string, to: 'active' | 'suspended'): void =>
  fake.events.emit({ type: 'agent.changed', data: { did, status: to } });

describe('GET /v1/events', () => {
  test('sends what happens from now on, as the standard wants it', async () => {
    await using started = await startServer();
    heartbeat(started, 1);
    const { text, events } = await stream(started);
    heartbeat(started, 2);
    await until(() => events().length === 1);
    const [event] = events();
    expect(event).toMatchObject({ type: 'heartbeat', data: { revocations: 2 } });
    expect(text()).toContain(`id: ${event?.id}\nevent: heartbeat\ndata: {`);
    expect(text()).toMatch(/\}\n\n/);
  });

  test('resumes after Last-Event-ID without loss or repetition, and tells of a gap', async () => {
    await using started = await startServer();
    for (let i = 1; i <= 3; i++) heartbeat(started, i);
    const first = await stream(started, '', { 'last-event-id': 'ff-1' });
    await until(() => first.events().length >= 4);
    const [gap, ...rest] = first.events();
    expect(gap).toMatchObject({ type: 'gap', data: { reason: 'restarted' } });
    const second = await stream(started, '', { 'last-event-id': rest.at(-2)?.id ?? '' });
    heartbeat(started, 4);
    await until(() => second.events().length >= 2);
    expect(second.events().map(({ data }) => data)).toMatchObject([{ revocations: 3 }, { revocations: 4 }]);
  });

  test('sends the types that were asked for; an unknown one is a bad_request', async () => {
    await using started = await startServer();
    const { events } = await stream(started, '?types=agent.changed,peer.lost');
    heartbeat(started, 1);
    status(started, started.fake.organisation.did, 'active');
    await until(() => events().length > 0);
    expect(events().map(({ type }) => type)).toEqual(['agent.changed']);
    expect((await ask(started, '/v1/events?types=agent.changed,agent.exploded')).code).toBe('bad_request');
  });

  test('an agent hears what is public and what is its own, the operator all', async () => {
    await using started = await startServer();
    const [alice, bob] = ['alice', 'bob'].map((name) => createAgent(started.fake.organisation, name).did);
    const token = started.fake.issueToken(alice ?? '');
    const agent = await stream(started, '', { authorization: `Bearer ${token}` });
    const operator = await stream(started);
    status(started, alice ?? '', 'active');
    status(started, bob ?? '', 'active');
    started.fake.events.emit({ type: 'peer.lost', data: { peerId: started.fake.organisation.node.peerId, did: null } });
    heartbeat(started, 1);
    await until(() => operator.events().length === 4 && agent.events().length >= 2);
    expect(agent.events().map(({ type, data }) => ('did' in data ? data.did : type))).toEqual([alice, 'heartbeat']);
  });

  test("an agent's stream ends when its token counts no longer, before it says anything more", async () => {
    await using started = await startServer();
    const token = started.fake.issueToken(started.fake.organisation.did);
    const { events, ended } = await stream(started, '', { authorization: `Bearer ${token}`, connection: 'close' });
    started.fake.forgetToken(token);
    heartbeat(started, 1);
    await until(ended);
    expect(events()).toEqual([]);
    expect(started.server.streams).toBe(0);
  });

  test('says that it lives while nothing happens', async () => {
    await using started = await startServer({ streams: { heartbeatMs: 10 } });
    const { text } = await stream(started);
    await until(() => (text().match(/^:$/gm) ?? []).length >= 3);
  });

  test('ends in order when the server closes, which does not wait for it', async () => {
    await using started = await startServer();
    const { text, ended } = await stream(started);
    const before = performance.now();
    await started.server.close();
    expect(performance.now() - before).toBeLessThan(1_000);
    await until(ended);
    expect(text().endsWith('0\r\n\r\n')).toBe(true);
  });

  test('leaves nothing behind when a client goes', async () => {
    await using started = await startServer();
    const { socket } = await stream(started);
    expect(started.server.streams).toBe(1);
    socket.destroy();
    await until(() => started.server.streams === 0);
  });

  test('cuts a client that does not read, and holds no more of its mail than the limit', async () => {
    await using started = await startServer({ streams: { backlogBytesMax: 64 * 1024 } });
    const slow = await stream(started);
    slow.socket.pause();
    const before = process.memoryUsage().rss;
    for (let i = 0; i < 200_000 && started.server.streams > 0; i++) {
      heartbeat(started, i);
      if (i % 1_000 === 0) await new Promise((settle) => setImmediate(settle));
    }
    expect(started.server.streams).toBe(0);
    expect(process.memoryUsage().rss - before).toBeLessThan(100 * 1024 * 1024);
  });

  test('refuses one stream too many as busy', async () => {
    await using started = await startServer({ streams: { streamsMax: 2 } });
    await stream(started);
    await stream(started);
    expect(await ask(started, '/v1/events')).toMatchObject({ status: 429, code: 'busy' });
  });
});
