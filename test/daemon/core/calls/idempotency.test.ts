import { describe, expect, test } from 'vitest';
import {
  IdempotencyKeys,
  type KeyTaken,
  type KeyUse,
  requestDigest,
} from '../../../../daemon/core/calls/idempotency.ts';
import { MemoryStore } from '../../../../daemon/store/memory.ts';
import { isMeshError, limits } from '../../../../protocol/index.ts';
import { parseMessage, type RequestMessage } from '../../../../protocol/mcp/index.ts';
import { quiet } from '../handshake-world.ts';
import { VirtualClock } from '../virtual-clock.ts';
import { encode } from './callee-world.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const reader = { did: 'did:mesh:reader', organisation: 'did:mesh:beta' };
const other = { did: 'did:mesh:other', organisation: 'did:mesh:beta' };
const stranger = { did: 'did:mesh:stranger', organisation: 'did:mesh:gamma' };
const REQUEST = new Uint8Array(32).fill(1);
const recorded = (body = 'result') => ({
  payload: bytes('payload'),
  sig: bytes('signature'),
  salt: bytes('salt'),
  body: bytes(body),
});

const open = (store: MemoryStore, clock: VirtualClock, options = {}): Promise<IdempotencyKeys> =>
  IdempotencyKeys.open({ store, clock, log: quiet }, options);
async function fresh(options = {}): Promise<{ store: MemoryStore; clock: VirtualClock; keys: IdempotencyKeys }> {
  const [store, clock] = [new MemoryStore(), new VirtualClock()];
  return { store, clock, keys: await open(store, clock, options) };
}
function useOf(taken: KeyTaken): KeyUse {
  if (taken.state !== 'new') throw new Error(`the key is ${taken.state}`);
  return taken.use;
}
async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return 'ok';
  } catch (error) {
    if (isMeshError(error)) return error.code;
    throw error;
  }
}

describe('a key', () => {
  test('that was done gives what was recorded, after a restart too', async () => {
    const { store, clock, keys } = await fresh();
    const use = useOf(await keys.take(reader, bytes('key'), REQUEST));
    await use.written();
    use.done(recorded());
    expect(await keys.take(reader, bytes('key'), REQUEST)).toEqual({ state: 'done', recorded: recorded() });
    const again = await open(store, clock);
    expect(again.size).toBe(1);
    expect(await again.take(reader, bytes('key'), REQUEST)).toEqual({ state: 'done', recorded: recorded() });
  });

  test('that is under way is not known to anybody else, nor after a crash', async () => {
    const { store, clock, keys } = await fresh();
    const use = useOf(await keys.take(reader, bytes('key'), REQUEST));
    expect((await keys.take(reader, bytes('key'), REQUEST)).state).toBe('unknown');
    await use.written();
    expect((await keys.take(reader, bytes('key'), REQUEST)).state).toBe('unknown');
    expect((await (await open(store, clock)).take(reader, bytes('key'), REQUEST)).state).toBe('unknown');
    use.unknown();
    expect((await keys.take(reader, bytes('key'), REQUEST)).state).toBe('unknown');
  });

  test('that was not written, or was released, is free', async () => {
    const { store, clock, keys } = await fresh();
    await keys.take(reader, bytes('never written'), REQUEST);
    const use = useOf(await keys.take(reader, bytes('key'), REQUEST));
    await use.written();
    use.release();
    expect(keys.size).toBe(0);
    expect((await keys.take(reader, bytes('key'), REQUEST)).state).toBe('new');
    const again = await open(store, clock);
    expect(again.size).toBe(0);
    expect((await again.take(reader, bytes('never written'), REQUEST)).state).toBe('new');
  });

  test('is for one request, and its caller’s own', async () => {
    const { keys } = await fresh();
    const use = useOf(await keys.take(reader, bytes('key'), REQUEST));
    await use.written();
    use.done(recorded());
    expect(await codeOf(keys.take(reader, bytes('key'), new Uint8Array(32)))).toBe('conflict');
    expect((await keys.take(other, bytes('key'), new Uint8Array(32))).state).toBe('new');
  });

  test('with a result that is too large to keep says that it was done', async () => {
    const { keys } = await fresh();
    const use = useOf(await keys.take(reader, bytes('key'), REQUEST));
    await use.written();
    use.done(recorded('x'.repeat(limits.CALL_KEY_RESULT_BYTES_MAX + 1)));
    expect(await keys.take(reader, bytes('key'), REQUEST)).toEqual({
      state: 'unknown',
      why: 'it was done before, and its result is not kept',
    });
  });
});

describe('room', () => {
  async function fill(keys: IdempotencyKeys, count: number, owner = reader): Promise<void> {
    for (let i = 0; i < count; i++) {
      const use = useOf(await keys.take(owner, bytes(`key ${i}`), REQUEST));
      await use.written();
      use.done(recorded());
    }
  }

  test('for keys of an organisation ends, and none is forgotten for the sake of others too early', async () => {
    const { clock, keys } = await fresh({ keysAnOrganisationMax: 3 });
    await fill(keys, 3);
    expect(await codeOf(keys.take(other, bytes('more'), REQUEST))).toBe('busy');
    expect(await codeOf(keys.take(stranger, bytes('more'), REQUEST))).toBe('ok');
    expect((await keys.take(reader, bytes('key 0'), REQUEST)).state).toBe('done');
    await clock.advance(limits.CALL_KEY_SURE_MS + 1);
    expect(await codeOf(keys.take(other, bytes('more still'), REQUEST))).toBe('ok');
    expect(keys.size).toBe(0);
  });

  test('a refused key is free again', async () => {
    const { clock, keys } = await fresh({ keysAnOrganisationMax: 1 });
    await fill(keys, 1);
    expect(await codeOf(keys.take(reader, bytes('more'), REQUEST))).toBe('busy');
    await clock.advance(limits.CALL_KEY_SURE_MS + 1);
    expect((await keys.take(reader, bytes('more'), REQUEST)).state).toBe('new');
  });

  test('prune() removes what is older than a day, and nothing younger', async () => {
    const { clock, keys, store } = await fresh();
    await fill(keys, 2);
    await clock.advance(limits.CALL_KEY_MS - 1_000);
    await fill(keys, 1, stranger);
    expect(await keys.prune()).toBe(0);
    await clock.advance(2_000);
    expect(await keys.prune()).toBe(2);
    expect(keys.size).toBe(1);
    expect((await open(store, clock)).size).toBe(1);
  });
});

describe('requestDigest()', () => {
  const OF = { as: 'did:mesh:a', server: 'files' };
  const digest = (params: object, id = 1, method = 'tools/call', of = OF): string =>
    requestDigest(
      parseMessage(encode({ jsonrpc: '2.0', id, method, params } as never), 'client') as RequestMessage,
      of,
    ).join();

  test('is the same whatever the id, the order of members and `_meta`', () => {
    const is = digest({ name: 'echo', arguments: { a: 1, b: 2 } });
    expect(digest({ arguments: { b: 2, a: 1 }, name: 'echo', _meta: { progressToken: 4 } }, 9)).toBe(is);
  });

  test('is another for another agent, server, method, tool or argument', () => {
    const is = digest({ name: 'echo', arguments: { a: 1 } });
    for (const of of [
      { ...OF, as: 'did:mesh:b' },
      { ...OF, server: 'mail' },
    ])
      expect(digest({ name: 'echo', arguments: { a: 1 } }, 1, 'tools/call', of)).not.toBe(is);
    expect(digest({ name: 'read', arguments: { a: 1 } })).not.toBe(is);
    expect(digest({ name: 'echo', arguments: { a: 2 } })).not.toBe(is);
    expect(digest({ name: 'echo', arguments: { a: 1 } }, 1, 'tools/other')).not.toBe(is);
  });

  test('tells numbers apart that are one once parsed', () => {
    const of = (number: string): string =>
      requestDigest(
        parseMessage(
          bytes(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"pay","arguments":{"n":${number}}}}`),
          'client',
        ) as RequestMessage,
        OF,
      ).join();
    expect(of('9007199254740993')).not.toBe(of('9007199254740992'));
  });
});
