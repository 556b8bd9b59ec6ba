import { describe, expect, it } from 'vitest';
import { PolicyLibrary, type ConfiguredPolicy } from '../../../../daemon/core/governance/policy-library.ts';
import { RequestArchive } from '../../../../daemon/core/governance/request-archive.ts';
import { type DivergedRequest, Shadow } from '../../../../daemon/core/governance/shadow.ts';
import { MemoryStore } from '../../../../daemon/store/memory.ts';
import { createUuid7, parseUuid7 } from '../../../../protocol/log/index.ts';
import { type PolicyContext, timeOf } from '../../../../protocol/policy/index.ts';
import { NOW_MS } from '../../../builders.ts';
import { quiet } from '../log/log-world.ts';
import { VirtualClock } from '../virtual-clock.ts';
import { acme, agent, randomFrom, SEED } from './governance-world.ts';

const textOf = (rules: string): string => `version: "1.0"\ndefault: allow\nrules:\n${rules}`;
const LIVE = textOf(`  - { name: no-delete, condition: "action.type == 'delete'", action: deny }\n`);
const NEXT = textOf(`  - { name: no-export, condition: "action.type == 'export'", action: require_approval }\n`);
const doing = (type: string, text = ''): PolicyContext => ({
  action: { type },
  tool: { name: `${type}_file`, server: 'files', arguments: { text } },
  agent: { did: agent.did, organisation: acme.did },
  time: timeOf(NOW_MS),
});

class ShadowWorld {
  #opened: { shadow: Shadow; library: PolicyLibrary } | undefined;
  readonly clock = new VirtualClock();
  readonly told: DivergedRequest[] = [];
  sources: readonly ConfiguredPolicy[] = [
    { file: 'live.yaml', name: 'base', text: LIVE, use: 'live' },
    { file: 'next.yaml', name: 'base', text: NEXT, use: 'shadow' },
  ];

  async open(newestMax?: number): Promise<{ shadow: Shadow; library: PolicyLibrary }> {
    const { clock } = this;
    const load = async (): Promise<readonly ConfiguredPolicy[]> => this.sources;
    const library = await PolicyLibrary.open({ store: new MemoryStore(), clock, log: quiet, load });
    const diverged = (_policy: unknown, request: DivergedRequest): void => void this.told.push(request);
    const shadow = new Shadow({ clock, library, diverged }, newestMax === undefined ? {} : { newestMax });
    this.#opened = { library, shadow };
    return this.#opened;
  }

  /** As decided by the configured policies, and those of these digests. */
  observe(context: PolicyContext, brought: readonly string[] = []): void {
    if (this.#opened === undefined) throw new Error('nothing is open');
    const { library, shadow } = this.#opened;
    shadow.observe(context, library.policiesFor(brought).decide(context, { isLimitFree: () => true }), brought);
  }
}

describe('observe()', () => {
  it('counts what a candidate decides otherwise, and which way', async () => {
    const world = new ShadowWorld();
    const { shadow, library } = await world.open();
    for (const type of ['read', 'delete', 'export', 'export', 'read']) world.observe(doing(type));
    const [comparison] = shadow.comparisons();
    expect(comparison).toMatchObject({ compared: 5, diverged: 3, loosened: 1, tightened: 2 });
    expect(comparison?.policy).toEqual({ name: 'base', digest: library.candidates[0]?.policy.digest });
    expect(world.told).toMatchObject([
      {
        action: 'delete',
        tool: 'delete_file',
        live: 'deny',
        liveRule: 'no-delete',
        candidate: 'allow',
        candidateRule: null,
      },
      { action: 'export', live: 'allow', liveRule: null, candidate: 'require_approval', candidateRule: 'no-export' },
      { action: 'export' },
    ]);
    expect(comparison?.newest).toEqual(world.told.toReversed());
  });

  it('compares with what the policies of the request said, also those that its caller brought', async () => {
    const world = new ShadowWorld();
    const { shadow, library } = await world.open();
    const strict = textOf(`  - { name: no-reads, condition: "action.type == 'read'", action: deny }\n`);
    const { digest } = await library.load('own', [{ path: 'own.yaml', text: strict }]);
    world.observe(doing('read'), [digest]);
    expect(shadow.comparisons()).toMatchObject([{ compared: 1, diverged: 0 }]); // denied either way
    world.observe(doing('delete'), [digest]);
    expect(world.told).toMatchObject([{ action: 'delete', live: 'deny', candidate: 'allow' }]);
  });

  it('stands in for a policy of its name that a caller brought, where the configuration has none', async () => {
    const world = new ShadowWorld();
    world.sources = world.sources.slice(1);
    const { shadow, library } = await world.open();
    const { digest } = await library.load('base', [{ path: 'base.yaml', text: LIVE }]);
    const other = textOf(`  - { name: no-reads, condition: "action.type == 'read'", action: deny }\n`);
    const { digest: second } = await library.load('other', [{ path: 'other.yaml', text: other }]);
    for (const type of ['read', 'delete', 'write']) world.observe(doing(type), [digest, second]);
    expect(shadow.comparisons()).toMatchObject([{ compared: 3, diverged: 1, loosened: 1, tightened: 0 }]);
    expect(world.told).toMatchObject([{ action: 'delete', live: 'deny', liveRule: 'no-delete', candidate: 'allow' }]);
  });

  it('keeps the newest, and nothing of their arguments', async () => {
    const world = new ShadowWorld();
    const { shadow } = await world.open(2);
    for (let i = 0; i < 5; i++) {
      world.observe(doing('delete', 'secret'));
      await world.clock.advance(1);
    }
    const [comparison] = shadow.comparisons();
    expect(comparison?.newest.map(({ atMs }) => atMs - NOW_MS)).toEqual([4, 3]);
    expect(JSON.stringify(shadow.comparisons())).not.toContain('secret');
    expect(comparison?.diverged).toBe(5);
  });

  it('counts on for a candidate that stays, and forgets one that is gone', async () => {
    const world = new ShadowWorld();
    const { shadow, library } = await world.open();
    world.observe(doing('delete'));
    await library.reload();
    world.observe(doing('delete'));
    expect(shadow.comparisons()).toMatchObject([{ diverged: 2 }]);
    const before = world.sources;
    world.sources = before.slice(0, 1);
    await library.reload();
    world.observe(doing('delete'));
    expect(shadow.comparisons()).toEqual([]);
    world.sources = before;
    await library.reload();
    expect(shadow.comparisons()).toMatchObject([{ compared: 0 }]);
  });
});

describe('replay()', () => {
  it('compares with what was decided, from the time asked for on', async () => {
    const world = new ShadowWorld();
    const { shadow } = await world.open();
    const { clock } = world;
    const random = randomFrom(SEED);
    const archive = await RequestArchive.open(
      { store: new MemoryStore(), clock, random, log: quiet },
      { requestBytesMax: 2_000 },
    );
    const put = async (ms: number, context: PolicyContext, effect: 'allow' | 'deny'): Promise<void> =>
      archive.put(parseUuid7(createUuid7(NOW_MS + ms, random.bytes(16))).bytes, {
        context,
        decided: { effect, rule: null },
      }).written;
    await put(0, doing('export'), 'allow');
    await put(1, doing('export'), 'allow');
    await put(2, doing('read'), 'deny'); // by a policy that is no longer
    await put(3, doing('read'), 'allow');
    await put(4, doing('export', 'x'.repeat(2_000)), 'allow'); // not kept: nothing can be said of it
    const candidate = { name: 'base', files: [{ path: 'next.yaml', text: NEXT }] };
    const comparison = await shadow.replay(candidate, archive.since(NOW_MS + 1));
    expect(comparison).toMatchObject({ compared: 3, diverged: 2, loosened: 1, tightened: 1 });
    expect(comparison.newest).toMatchObject([
      { atMs: NOW_MS + 2, live: 'deny', candidate: 'allow' },
      { atMs: NOW_MS + 1, live: 'allow', candidate: 'require_approval', candidateRule: 'no-export' },
    ]);
    expect(world.told).toEqual([]);
    await expect(shadow.replay({ name: 'x', files: [] }, archive.since(0))).rejects.toMatchObject({
      code: 'policy_invalid',
    });
    const signal = AbortSignal.abort();
    await expect(shadow.replay(candidate, archive.since(0), { signal })).rejects.toThrow();
  });
});
