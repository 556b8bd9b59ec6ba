import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { limits, type MeshError } from '../../protocol/index.ts';
import { AgentMesh, type MeshEvent } from '../../sdk/index.ts';
import { parseEvents } from '../../sdk/event-stream.ts';
import { startServer, type Started, until } from '../daemon/control/start.ts';
import { SAMPLE } from '../protocol/control/samples.ts';

let started: Started;
let mesh: AgentMesh;
beforeEach(async () => {
  started = await startServer();
  mesh = await AgentMesh.connect({ socket: started.socketPath, token: null });
});
afterEach(() => started[Symbol.asyncDispose]());

const beat = (revocations: number): void =>
  started.fake.events.emit({
    type: 'heartbeat',
    data: { organisation: started.fake.organisation.did, at: '2026-11-22T12:00:00Z', revocations },
  });
const numberOf = ({ type, data }: MeshEvent): unknown => (type === 'heartbeat' ? data.revocations : type);

/** Reads on its own until the signal fires. */
function listen(options: Parameters<AgentMesh['events']>[0]): { heard: MeshEvent[]; stopped: Promise<unknown> } {
  const heard: MeshEvent[] = [];
  const stopped = (async () => {
    for await (const event of mesh.events(options)) heard.push(event);
  })().catch((error: unknown) => error);
  return { heard, stopped };
}

describe('mesh.events()', () => {
  test('gives events as they happen, of the types asked for, until the signal fires', async () => {
    const controller = new AbortController();
    const { heard, stopped } = listen({ types: ['heartbeat'], signal: controller.signal });
    await until(() => started.server.streams === 1);
    started.fake.events.emit({ type: 'peer.lost', data: { peerId: started.fake.organisation.node.peerId, did: null } });
    beat(1);
    await until(() => heard.length === 1);
    expect(heard.map(numberOf)).toEqual([1]);
    controller.abort();
    expect(await stopped).toMatchObject({ code: 'cancelled' });
    await until(() => started.server.streams === 0);
  });

  test('leaving the loop closes the stream', async () => {
    const first = mesh.events();
    const next = first.next();
    await until(() => started.server.streams === 1);
    beat(1);
    expect(numberOf((await next).value as MeshEvent)).toBe(1);
    await first.return();
    await until(() => started.server.streams === 0);
  });

  test('a daemon that comes back is heard again, and nothing in between is lost or repeated', async () => {
    const controller = new AbortController();
    const { heard, stopped } = listen({ signal: controller.signal, retryMs: 10, types: ['heartbeat'] });
    await until(() => started.server.streams === 1);
    beat(1);
    beat(2);
    await until(() => heard.length === 2);
    await started.server.close();
    beat(3);
    const again = await startServer({ fake: started.fake, socketPath: started.socketPath });
    await until(() => heard.length === 3);
    beat(4);
    await until(() => heard.length === 4);
    expect(heard.map(numberOf)).toEqual([1, 2, 3, 4]);
    controller.abort();
    await stopped;
    await again[Symbol.asyncDispose]();
  });

  test('starts after a given event, and says where some are lost', async () => {
    for (let i = 1; i <= 3; i++) beat(i);
    const controller = new AbortController();
    const { heard, stopped } = listen({ after: 'ff-2', signal: controller.signal });
    await until(() => heard.length >= 4);
    expect(heard[0]).toMatchObject({ type: 'gap', data: { reason: 'restarted' } });
    controller.abort();
    await stopped;
  });

  test('a first call fails at once without a daemon, and with a token that does not count', async () => {
    const agent = await AgentMesh.connect({
      socket: started.socketPath,
      token: started.fake.issueToken(started.fake.organisation.did),
    });
    started.fake.forgetTokens();
    await expect(agent.events().next()).rejects.toMatchObject({ code: 'unauthorized' });
    await started.server.close();
    await expect(mesh.events().next()).rejects.toMatchObject({ code: 'not_running' });
  });

  test('is cancelled while it waits for a daemon to come back', async () => {
    const controller = new AbortController();
    const { stopped } = listen({ signal: controller.signal, retryMs: 60_000 });
    await until(() => started.server.streams === 1);
    await started.server.close();
    setTimeout(() => controller.abort(), 20);
    expect(await stopped).toMatchObject({ code: 'cancelled' });
  });
});

describe('parseEvents()', () => {
  async function* chunksOf(text: string, bytes: number): AsyncGenerator<Uint8Array> {
    const all = Buffer.from(text);
    for (let i = 0; i < all.length; i += bytes) yield all.subarray(i, i + bytes);
  }
  const event = (id: string): string =>
    `id: ${id}\nevent: agent.changed\ndata: ${JSON.stringify({ id, at: '2026-11-22T12:00:00Z', type: 'agent.changed', data: { did: SAMPLE.did, status: 'active' } })}\n\n`;

  test.each([1, 2, 3, 7, 64, 10_000])('reads the same from chunks of %i bytes', async (bytes) => {
    const heard: string[] = [];
    for await (const { id } of parseEvents(
      chunksOf(`retry: 1000\n\n:\n\n${event('a-1')}:\n\n${event('ő-2')}id: half`, bytes),
    ))
      heard.push(id);
    expect(heard).toEqual(['a-1', 'ő-2']);
  });

  test.each([
    ['an event without end', 'data: '.padEnd(limits.EVENT_BYTES_MAX + 10, 'x'), 'too_large'],
    ['no JSON', 'data: {\n\n', 'internal'],
    ['an event of no known type', event('a-1').replaceAll('agent.changed', 'agent.exploded'), 'internal'],
    [
      'an event with more in it than its schema has',
      event('a-1').replace('"status"', '"secret":1,"status"'),
      'internal',
    ],
  ])('refuses %s', async (_, text, code) => {
    const read = async (): Promise<void> => {
      for await (const one of parseEvents(chunksOf(text, 4_096))) expect(one).toBeUndefined();
    };
    await expect(read()).rejects.toThrow(expect.objectContaining({ code }) as MeshError);
  });
});
