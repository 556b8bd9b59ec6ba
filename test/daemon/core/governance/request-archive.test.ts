import { describe, expect, it } from 'vitest';
import {
  type KeptRequest,
  RequestArchive,
  type RequestArchiveOptions,
} from '../../../../daemon/core/governance/request-archive.ts';
import type { Store } from '../../../../daemon/ports.ts';
import { MemoryStore } from '../../../../daemon/store/memory.ts';
import { toHex } from '../../../../protocol/index.ts';
import { commitmentOf, createUuid7, parseUuid7 } from '../../../../protocol/log/index.ts';
import { timeOf } from '../../../../protocol/policy/index.ts';
import { NOW_MS } from '../../../builders.ts';
import { FragileStore, quiet, rowsOf, storeOf } from '../log/log-world.ts';
import { settle, VirtualClock } from '../virtual-clock.ts';
import { acme, agent, randomFrom, SEED } from './governance-world.ts';

const random = randomFrom(SEED);
const idAt = (ms: number): Uint8Array => parseUuid7(createUuid7(ms, random.bytes(16))).bytes;
const keptOf = (text: string): KeptRequest => ({
  context: {
    action: { type: 'tool_call' },
    tool: { name: 'write_file', server: 'files', arguments: { text, ratio: 0.5, é: null } },
    agent: { did: agent.did, organisation: acme.did },
    time: timeOf(NOW_MS),
  },
  decided: { effect: 'allow', rule: null },
});
const open = (store: Store, clock = new VirtualClock(), options: RequestArchiveOptions = {}): Promise<RequestArchive> =>
  RequestArchive.open({ store, clock, random, log: quiet }, options);

async function textsSince(archive: RequestArchive, ms: number): Promise<unknown[]> {
  const texts: unknown[] = [];
  for await (const { kept } of archive.since(ms)) texts.push(kept?.context.tool?.arguments?.['text']);
  return texts;
}

describe('put()', () => {
  it('keeps what the commitment of the entry is to, and its salt', async () => {
    const archive = await open(new MemoryStore());
    const id = idAt(NOW_MS);
    const { commitment, written } = archive.put(id, keptOf('a'));
    await written;
    const found = await archive.get(id);
    if (found?.bytes === undefined) throw new Error('it is not there');
    expect(found).toMatchObject({ timeMs: NOW_MS, kept: keptOf('a') });
    expect(toHex(found.id)).toBe(toHex(id));
    expect(commitmentOf(found.salt, found.bytes)).toBe(commitment);
    expect(await archive.get(idAt(NOW_MS))).toBeUndefined();
  });

  it('has another salt, and so another commitment, each time', async () => {
    const archive = await open(new MemoryStore());
    const commitments = [1, 2, 3].map(() => archive.put(idAt(NOW_MS), keptOf('a')).commitment);
    expect(new Set(commitments).size).toBe(3);
  });

  it('keeps the salt alone of what is too large', async () => {
    const archive = await open(new MemoryStore(), new VirtualClock(), { requestBytesMax: 1_000 });
    const id = idAt(NOW_MS);
    await archive.put(id, keptOf('a'.repeat(1_000))).written;
    expect(await archive.get(id)).toMatchObject({ bytes: undefined, kept: undefined });
    expect((await archive.get(id))?.salt).toHaveLength(32);
  });

  it('is on disk with whatever is synced after it', async () => {
    const store = await FragileStore.of([]);
    const archive = await open(store);
    const [first, second] = [idAt(NOW_MS), idAt(NOW_MS + 1)];
    const { written } = archive.put(first, keptOf('a'));
    await Promise.all([
      written,
      store.batch([{ type: 'put', key: Uint8Array.of(1), value: Uint8Array.of(1) }], { sync: true }),
    ]);
    await archive.put(second, keptOf('b')).written;
    const after = await open(await storeOf(await store.cutPower()));
    expect(await after.get(first)).toBeDefined();
    expect(await after.get(second)).toBeUndefined();
    expect(after.count).toBe(1);
  });
});

describe('since()', () => {
  it('gives what was decided from then on, oldest first', async () => {
    const archive = await open(new MemoryStore());
    for (const [ms, text] of [
      [NOW_MS + 2, 'c'],
      [NOW_MS, 'a'],
      [NOW_MS + 1, 'b'],
    ] as const)
      await archive.put(idAt(ms), keptOf(text)).written;
    expect(await textsSince(archive, 0)).toEqual(['a', 'b', 'c']);
    expect(await textsSince(archive, NOW_MS + 1)).toEqual(['b', 'c']);
    expect(await textsSince(archive, NOW_MS + 1.5)).toEqual(['c']);
    expect(await textsSince(archive, NOW_MS + 3)).toEqual([]);
  });
});

describe('erase()', () => {
  it('removes request and salt, on disk when it resolves', async () => {
    const store = await FragileStore.of([]);
    const archive = await open(store);
    const id = idAt(NOW_MS);
    await archive.put(id, keptOf('secret')).written;
    expect(await Promise.all([archive.erase(id), archive.erase(id)])).toEqual([true, false]);
    const rows = await store.cutPower();
    expect(rows.map(([, value]) => new TextDecoder().decode(value))).toEqual(['{"count":0,"bytes":0}']);
  });
});

describe('prune()', () => {
  it('removes what is older than it is kept for', async () => {
    const clock = new VirtualClock();
    const archive = await open(new MemoryStore(), clock, { keepMs: 1_000 });
    for (let i = 0; i < 600; i++) await archive.put(idAt(NOW_MS + i), keptOf(`${i}`)).written;
    await clock.advance(1_300);
    expect(await archive.prune()).toBe(300);
    expect((await textsSince(archive, 0))[0]).toBe('300');
    expect(await archive.prune(NOW_MS + 599)).toBe(299);
    expect(archive.count).toBe(1);
  });

  it('happens by itself beyond the bound in bytes, oldest first, and knows after a restart what there is', async () => {
    const store = new MemoryStore();
    const options = { bytesMax: 100_000 };
    const archive = await open(store, new VirtualClock(), options);
    for (let i = 0; i < 300; i++) await archive.put(idAt(NOW_MS + i), keptOf(`${i} ${'x'.repeat(500)}`)).written;
    await settle();
    await archive.close();
    expect(archive.bytes).toBeLessThanOrEqual(options.bytesMax);
    expect(archive.bytes).toBeGreaterThan(options.bytesMax * 0.8);
    expect((await textsSince(archive, 0)).at(-1)).toMatch(/^299 /);
    const rows = await rowsOf(store);
    const requests = rows.filter(([key]) => key[1] === 0x72);
    expect(archive.count).toBe(requests.length);
    expect(archive.bytes).toBe(requests.reduce((sum, [key, value]) => sum + key.length + value.length, 0));
    expect(await open(store)).toMatchObject({ count: archive.count, bytes: archive.bytes });
  });
});

it('answers store_corrupt for a row that it did not write', async () => {
  const store = new MemoryStore();
  const archive = await open(store);
  const id = idAt(NOW_MS);
  await archive.put(id, keptOf('a')).written;
  const [[key]] = (await rowsOf(store)) as [[Uint8Array, Uint8Array]];
  for (const value of [new Uint8Array(31), new Uint8Array(40)]) {
    await store.batch([{ type: 'put', key, value }], { sync: true });
    await expect(archive.get(id)).rejects.toMatchObject({ code: 'store_corrupt' });
  }
});
