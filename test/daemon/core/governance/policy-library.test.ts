import { describe, expect, it } from 'vitest';
import {
  PolicyLibrary,
  type PolicyLibraryOptions,
  type ConfiguredPolicy,
} from '../../../../daemon/core/governance/policy-library.ts';
import type { Store } from '../../../../daemon/ports.ts';
import { MemoryStore } from '../../../../daemon/store/memory.ts';
import { MeshError } from '../../../../protocol/index.ts';
import { type PolicyContext, timeOf } from '../../../../protocol/policy/index.ts';
import { NOW_MS } from '../../../builders.ts';
import { FragileStore, quiet, storeOf } from '../log/log-world.ts';
import { settle, VirtualClock } from '../virtual-clock.ts';
import { acme, agent } from './governance-world.ts';

const source = (name: string, rules: string, use: ConfiguredPolicy['use'] = 'live'): ConfiguredPolicy => ({
  file: `/etc/${name}.yaml`,
  name,
  use,
  text: `version: "1.0"\nrules:\n${rules}`,
});
const ALLOW = '  - { name: all, action: allow }\n';
const NO_DELETE = `${ALLOW}  - { name: no-delete, condition: "action.type == 'delete'", action: deny }\n`;
const NO_EXPORT = `${ALLOW}  - { name: no-export, condition: "action.type == 'export'", action: deny }\n`;
const fileOf = (rules: string, path = 'mine.yaml') => ({ path, text: `version: "1.0"\nrules:\n${rules}` });

const doing = (type: string): PolicyContext => ({
  action: { type },
  agent: { did: agent.did, organisation: acme.did },
  time: timeOf(NOW_MS),
});

class LibraryWorld {
  readonly clock = new VirtualClock();
  sources: readonly ConfiguredPolicy[] = [source('base', NO_DELETE)];
  failure: Error | undefined;

  open(store: Store = new MemoryStore(), options: PolicyLibraryOptions = {}): Promise<PolicyLibrary> {
    const load = async (): Promise<readonly ConfiguredPolicy[]> => {
      if (this.failure !== undefined) throw this.failure;
      return this.sources;
    };
    return PolicyLibrary.open({ store, clock: this.clock, log: quiet, load }, options);
  }
}

const effectOf = (library: PolicyLibrary, type: string, brought: readonly string[] = []): string =>
  library.policiesFor(brought).decide(doing(type), { isLimitFree: () => true }).effect;

describe('the configured policies', () => {
  it('decide, and are listed and shown as they were read', async () => {
    const world = new LibraryWorld();
    const library = await world.open();
    expect([effectOf(library, 'delete'), effectOf(library, 'read')]).toEqual(['deny', 'allow']);
    const [policy] = library.list();
    expect(policy).toMatchObject({
      name: 'base',
      source: 'configuration',
      file: '/etc/base.yaml',
      agents: [],
      rules: 2,
    });
    const { files } = library.show(policy?.digest ?? '');
    expect(files).toEqual([{ path: '/etc/base.yaml', text: world.sources[0]?.text }]);
    expect(library.status()).toEqual({ loadedMs: world.clock.nowMs(), problem: undefined });
  });

  it('deny everything where there are none', async () => {
    const world = new LibraryWorld();
    world.sources = [];
    expect(effectOf(await world.open(), 'read')).toBe('deny');
  });

  it('open nothing where they cannot be read at the start', async () => {
    const world = new LibraryWorld();
    world.sources = [source('base', '  - { name: x, action: alow }\n')];
    await expect(world.open()).rejects.toMatchObject({ code: 'policy_invalid' });
  });

  it('are replaced by what is read anew, for brought ones too', async () => {
    const world = new LibraryWorld();
    const library = await world.open();
    const { digest } = await library.load('mine', [fileOf(ALLOW)]);
    expect(effectOf(library, 'export', [digest])).toBe('allow');
    let changes = 0;
    const stop = library.onChange(() => (changes += 1));
    world.sources = [source('base', NO_EXPORT)];
    await world.clock.advance(5_000);
    await library.reload();
    expect([effectOf(library, 'delete'), effectOf(library, 'export'), effectOf(library, 'export', [digest])]).toEqual([
      'allow',
      'deny',
      'deny',
    ]);
    expect(library.status().loadedMs).toBe(world.clock.nowMs());
    stop();
    await library.reload();
    expect(changes).toBe(1);
  });

  it.each([
    [
      'one of them cannot be used',
      () => [source('base', NO_EXPORT), source('other', '  - { name: x, action: alow }\n')],
      'policy_invalid',
    ],
    [
      'a candidate cannot be used',
      () => [source('base', NO_EXPORT), source('next', '  - nothing\n', 'shadow')],
      'policy_invalid',
    ],
    ['they cannot be read', () => new Error('EACCES'), 'policy_invalid'],
    ['they may not be read', () => new MeshError('permissions', 'Cannot read'), 'permissions'],
  ])('stay as they were where %s, and say so until they can', async (_what, next, code) => {
    const world = new LibraryWorld();
    const library = await world.open();
    const outcome = next();
    if (outcome instanceof Error) world.failure = outcome;
    else world.sources = outcome;
    let changes = 0;
    library.onChange(() => (changes += 1));
    const sinceMs = world.clock.nowMs();
    await expect(library.reload()).rejects.toMatchObject({ code });
    await world.clock.advance(1_000);
    await expect(library.reload()).rejects.toMatchObject({ code });
    expect([effectOf(library, 'delete'), effectOf(library, 'export')]).toEqual(['deny', 'allow']);
    expect(library.status()).toMatchObject({ loadedMs: sinceMs, problem: { error: { code }, sinceMs } });
    world.failure = undefined;
    world.sources = [source('base', NO_EXPORT)];
    await library.reload();
    expect(library.status().problem).toBeUndefined();
    expect(changes).toBe(3);
  });

  it('extend what the loader reads', async () => {
    const world = new LibraryWorld();
    const child = { ...source('child', ALLOW), text: `version: "1.0"\nextends: base.yaml\nrules:\n${ALLOW}` };
    world.sources = [
      { ...child, resolve: (path) => ({ name: path, text: fileOf(NO_DELETE.replace('all', 'other')).text }) },
    ];
    const library = await world.open();
    expect(effectOf(library, 'delete')).toBe('deny');
    expect(library.show(library.list()[0]?.digest ?? '').files).toHaveLength(2);
    expect(library.list()[0]?.rules).toBe(3);
  });
});

describe('a policy that a caller brings', () => {
  it('narrows what the configured ones allow, and never widens it', async () => {
    const library = await new LibraryWorld().open();
    const { digest } = await library.load('mine', [fileOf(NO_EXPORT)]);
    expect(effectOf(library, 'export')).toBe('allow');
    expect(['export', 'delete', 'read'].map((type) => effectOf(library, type, [digest]))).toEqual([
      'deny',
      'deny',
      'allow',
    ]);
    expect(library.list()[1]).toMatchObject({ digest, name: 'mine', source: 'caller', file: null, rules: 2 });
    expect(library.show(digest)).toEqual({ policy: { name: 'mine', digest }, files: [fileOf(NO_EXPORT)] });
  });

  it('has its files along, and reads no others', async () => {
    const library = await new LibraryWorld().open();
    const root = { path: 'mine.yaml', text: `version: "1.0"\nextends: sub/base.yaml\nrules:\n${ALLOW}` };
    const base = fileOf(NO_EXPORT.replace('all', 'other'), 'sub/base.yaml');
    const { digest } = await library.load('mine', [root, base]);
    expect(effectOf(library, 'export', [digest])).toBe('deny');
    await expect(library.load('mine', [root])).rejects.toMatchObject({ code: 'policy_invalid' });
    await expect(library.load('mine', [])).rejects.toMatchObject({ code: 'policy_invalid' });
  });

  it('may ask no decision point', async () => {
    const library = await new LibraryWorld().open();
    const file = {
      path: 'x',
      text: `version: "1.0"\nrules:\n${ALLOW}external: [{ name: opa, type: opa, url: "http://169.254.169.254/" }]\n`,
    };
    await expect(library.load('mine', [file])).rejects.toMatchObject({
      code: 'policy_invalid',
      data: { field: 'external' },
    });
  });

  it('is there after a restart, whenever the power went', async () => {
    const world = new LibraryWorld();
    const store = await FragileStore.of([]);
    const { digest } = await (await world.open(store)).load('mine', [fileOf(NO_EXPORT)]);
    const after = await world.open(await storeOf(await store.cutPower()));
    expect(effectOf(after, 'export', [digest])).toBe('deny');
    expect(await after.load('other name', [fileOf(NO_EXPORT)])).toEqual({ name: 'mine', digest });
  });

  it('is asked for again where it is not held', async () => {
    const library = await new LibraryWorld().open();
    expect(() => library.policiesFor(['ab'.repeat(32)])).toThrow(
      expect.objectContaining({ code: 'not_found', data: { field: 'policies', id: 'ab'.repeat(32) } }),
    );
  });

  it('goes when it was used longest ago and there are too many, also over restarts', async () => {
    const world = new LibraryWorld();
    const store = new MemoryStore();
    const options = { broughtMax: 2 };
    const library = await world.open(store, options);
    const nth = (i: number) => [fileOf(`${ALLOW}  - { name: n${i}, action: log }\n`)];
    const digests: string[] = [];
    for (let i = 0; i < 2; i++) {
      digests.push((await library.load(`p${i}`, nth(i))).digest);
      await world.clock.advance(3_600_000);
    }
    effectOf(library, 'read', digests.slice(0, 1));
    await settle();
    const later = await world.open(store, options);
    await world.clock.advance(1);
    await later.load('p2', nth(2));
    expect(later.list().flatMap(({ name, source: from }) => (from === 'caller' ? [name] : []))).toEqual(['p0', 'p2']);
    const last = await world.open(store, options);
    expect(last.list().flatMap(({ name, source: from }) => (from === 'caller' ? [name] : []))).toEqual(['p0', 'p2']);
  });

  it('takes no more bytes than there are for them', async () => {
    const library = await new LibraryWorld().open(new MemoryStore(), { broughtBytesMax: 1_000 });
    const sized = (i: number, bytes: number) => [
      fileOf(`${ALLOW}  - { name: n${i}, action: log } # ${'x'.repeat(bytes)}\n`),
    ];
    await expect(library.load('large', sized(0, 1_000))).rejects.toMatchObject({ code: 'too_large' });
    for (let i = 0; i < 5; i++) await library.load(`p${i}`, sized(i, 100));
    expect(library.list().flatMap(({ name, source: from }) => (from === 'caller' ? [name] : []))).toEqual(['p3', 'p4']);
  });
});

describe('candidates', () => {
  it('stand in for the policy of their name, or for all', async () => {
    const world = new LibraryWorld();
    world.sources = [
      source('base', NO_DELETE),
      source('more', NO_EXPORT),
      source('more', ALLOW, 'shadow'),
      source('other', ALLOW, 'shadow'),
    ];
    const library = await world.open();
    expect(effectOf(library, 'export')).toBe('deny');
    const effects = library.candidates.map(({ policies }) =>
      ['export', 'delete'].map((type) => policies.decide(doing(type), { isLimitFree: () => true }).effect),
    );
    expect(effects).toEqual([
      ['allow', 'deny'],
      ['allow', 'allow'],
    ]);
    expect(library.list().map(({ name, source: from }) => `${name} ${from}`)).toEqual([
      'base configuration',
      'more configuration',
      'more shadow',
      'other shadow',
    ]);
  });
});
