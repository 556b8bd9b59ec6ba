import { describe, expect, test } from 'vitest';
import type { ExposureEntries } from '../../../../daemon/core/calls/exposure-entries.ts';
import { Exposures } from '../../../../daemon/core/calls/exposures.ts';
import type { Settle } from '../../../../daemon/core/log/write-ahead.ts';
import { type ConfiguredPolicy, PolicyLibrary } from '../../../../daemon/core/governance/policy-library.ts';
import type { Store } from '../../../../daemon/ports.ts';
import { MemoryStore } from '../../../../daemon/store/memory.ts';
import type { ExposureInput } from '../../../../protocol/call/index.ts';
import { limits, MeshError } from '../../../../protocol/index.ts';
import { FragileStore, quiet } from '../log/log-world.ts';
import { VirtualClock } from '../virtual-clock.ts';

const FILES: ExposureInput = { name: 'files', command: ['cat'], cwd: '/srv' };
const policyText = (effect: string): string => `version: "1.0"\nname: acme\ndefault: ${effect}\n`;

class World {
  readonly clock = new VirtualClock();
  text = policyText('allow');
  readonly changed: string[] = [];
  library!: PolicyLibrary;
  /** What `begin` gave. */
  isBegun: boolean | undefined;
  /** As they were announced, and how it ended. */
  readonly written: string[] = [];
  /** Why the log holds nothing. */
  halted: MeshError | undefined;
  readonly entries: ExposureEntries = {
    exposed: async ({ name, origin }, policy) => {
      if (this.halted !== undefined) throw this.halted;
      return this.#wrote(`exposed ${name} by ${origin} under ${policy?.name ?? 'none'}`);
    },
    withdrawn: async (name, origin) => this.#wrote(`withdrawn ${name} of ${origin}`),
  };
  exposures!: Exposures;

  async open(
    configured: readonly ExposureInput[] = [],
    store: Store = new MemoryStore(),
    broughtMax: number = limits.POLICIES_BROUGHT_KEPT_MAX,
  ): Promise<this> {
    const load = async (): Promise<ConfiguredPolicy[]> => [
      { file: '/etc/acme.yaml', name: 'acme', text: this.text, use: 'exposed' },
    ];
    this.library = await PolicyLibrary.open({ store, clock: this.clock, log: quiet, load }, { broughtMax });
    const parts = { store, log: quiet, library: this.library, entries: this.entries };
    this.exposures = await Exposures.open(parts, { configured });
    this.exposures.onChanged((name) => this.changed.push(name));
    this.isBegun = await this.exposures.begin();
    this.changed.length = 0;
    return this;
  }

  #wrote(text: string): Settle {
    this.written.push(text);
    return (problem) => void this.written.push(`${text}: ${problem?.code ?? 'ok'}`);
  }

  /** What an exposure's policy makes of a call. */
  effect(name = 'files'): string {
    const { policy } = this.exposures.get(name) ?? {};
    if (policy === undefined) throw new Error(`no exposure "${name}"`);
    const context = { action: { type: 'tool_call' }, agent: { did: 'd', organisation: 'o' } };
    const tool = { name: 'delete_file', server: name, arguments: {}, paths: [] };
    const set = this.library.policiesFor([policy]);
    return set.decide({ ...context, tool, time: {} } as never, { isLimitFree: () => true }).effect;
  }
}

describe('servers exposed by command', () => {
  test('are there at once and after a restart, as they were given', async () => {
    const store = new MemoryStore();
    const input: ExposureInput = {
      ...FILES,
      env: { TOKEN: 't' },
      capability: 'read:files',
      needs: { write: 'write:files/*' },
      policy: 'strict',
      description: 'Reports',
    };
    const world = await new World().open([], store);
    const added = await world.exposures.add(input);
    expect(added).toMatchObject({
      name: 'files',
      server: { command: ['cat'], cwd: '/srv', env: { TOKEN: 't' } },
      capability: 'read:files',
      needs: { write: 'write:files/*' },
      description: 'Reports',
      origin: 'command',
    });
    expect(world.exposures.policyOf(added)?.name).toBe('strict');
    const { exposures } = await new World().open([], store);
    const { policy, ...rest } = added;
    expect(exposures.list()).toEqual([{ ...rest, policy }]);
  });

  test('are decided by "moderate" where no policy is named', async () => {
    const { exposures, library } = await new World().open();
    const added = await exposures.add({ name: 'search', url: 'https://h.example/mcp', headers: { 'X-Key': 'k' } });
    expect(library.show(added.policy).policy.name).toBe('moderate');
    expect(added.server).toEqual({ url: 'https://h.example/mcp', headers: { 'X-Key': 'k' } });
  });

  test('replace the one of their name, and are removed; whoever listens is told each time', async () => {
    const store = new MemoryStore();
    const { exposures, changed } = await new World().open([], store);
    await exposures.add(FILES);
    await exposures.add({ ...FILES, command: ['tac'] });
    expect(exposures.get('files')?.server).toMatchObject({ command: ['tac'] });
    await exposures.remove('files');
    expect(changed).toEqual(['files', 'files', 'files']);
    await expect(exposures.remove('files')).rejects.toMatchObject({ code: 'not_found' });
    expect((await new World().open([], store)).exposures.list()).toEqual([]);
  });

  test('are not in force before they are on disk', async () => {
    const store = await FragileStore.of([]);
    const { exposures, written } = await new World().open([], store);
    await exposures.planned(FILES); // its policy is kept already
    store.failsAt = store.batches + 1;
    await expect(exposures.add(FILES)).rejects.toThrow();
    expect(exposures.list()).toEqual([]);
    expect(written.at(-1)).toBe('exposed files by command under moderate: internal');
  });

  test.each<[string, ExposureInput, string]>([
    ['without a directory', { name: 'a', command: ['cat'] }, 'bad_request'],
    ['with what cannot be meant', { ...FILES, capability: 'read' }, 'bad_request'],
    ['under a policy that is not held', { ...FILES, policy: 'ab'.repeat(32) }, 'not_found'],
    ['under a file, which the caller has to bring', { ...FILES, policy: '/etc/acme.yaml' }, 'not_found'],
  ])('are refused %s', async (_, input, code) => {
    const { exposures } = await new World().open();
    await expect(exposures.add(input)).rejects.toMatchObject({ code });
    await expect(exposures.planned(input)).rejects.toMatchObject({ code });
    expect(exposures.list()).toEqual([]);
  });

  test('are as many as their bound', async () => {
    const { exposures } = await new World().open();
    for (let i = 0; i < limits.EXPOSED_MAX; i++) await exposures.add({ ...FILES, name: `a${i}` });
    await expect(exposures.add(FILES)).rejects.toMatchObject({ code: 'full' });
    await exposures.add({ ...FILES, name: 'a0' });
    expect(exposures.list()).toHaveLength(limits.EXPOSED_MAX);
  });

  test('keep their policy, however many others are brought', async () => {
    const world = await new World().open([], new MemoryStore(), 3);
    const own = [{ path: 'a.yaml', text: policyText('deny') }];
    const { digest } = await world.library.load('own', own);
    await world.exposures.add({ ...FILES, policy: digest });
    for (let i = 0; i < 8; i++)
      await world.library.load(`p${i}`, [{ path: 'p.yaml', text: `${policyText('allow')}# ${i}\n` }]);
    expect(world.library.list().filter(({ source }) => source === 'caller')).toHaveLength(3);
    expect(world.effect()).toBe('deny');
    await world.exposures.remove('files');
    for (let i = 8; i < 12; i++)
      await world.library.load(`p${i}`, [{ path: 'p.yaml', text: `${policyText('allow')}# ${i}\n` }]);
    expect(() => world.library.show(digest)).toThrow(/Cannot find policy/);
  });

  test('leave no room for another policy where they hold them all', async () => {
    const { exposures, library } = await new World().open([], new MemoryStore(), 2);
    await exposures.add(FILES);
    await exposures.add({ ...FILES, name: 'b', policy: 'strict' });
    await expect(exposures.add({ ...FILES, name: 'c', policy: 'permissive' })).rejects.toMatchObject({ code: 'full' });
    expect(library.list().filter(({ source }) => source === 'caller')).toHaveLength(2);
  });
});

describe('servers of the configuration', () => {
  test('go before those of a command, and cannot be changed by one', async () => {
    const store = new MemoryStore();
    await (await new World().open([], store)).exposures.add({ ...FILES, command: ['other'] });
    const { exposures } = await new World().open([FILES], store);
    expect(exposures.get('files')).toMatchObject({ server: { command: ['cat'] }, origin: 'configuration' });
    await expect(exposures.add(FILES)).rejects.toMatchObject({ code: 'conflict' });
    await expect(exposures.remove('files')).rejects.toMatchObject({ code: 'conflict' });
    expect((await new World().open([], store)).exposures.get('files')).toMatchObject({
      server: { command: ['other'] },
    });
  });

  test('are decided by their file as it was read last', async () => {
    const world = await new World().open([{ ...FILES, policy: '/etc/acme.yaml' }]);
    expect(world.effect()).toBe('allow');
    const before = world.exposures.get('files')?.policy;
    world.text = policyText('deny');
    await world.library.reload();
    expect(world.effect()).toBe('deny');
    expect(() => world.library.policiesFor([before ?? ''])).toThrow(/Cannot find policy/);
    world.text = 'version: "1.0"\ndefault: maybe\n';
    await expect(world.library.reload()).rejects.toMatchObject({ code: 'policy_invalid' });
    expect(world.effect()).toBe('deny');
    expect(world.library.list()).toMatchObject([{ name: 'acme', source: 'exposed', file: '/etc/acme.yaml' }]);
  });

  test('decide nothing else', async () => {
    const world = await new World().open([{ ...FILES, policy: '/etc/acme.yaml' }]);
    await world.exposures.add({ ...FILES, name: 'other' });
    expect(world.library.configured.policies).toEqual([]);
    expect(world.effect('other')).not.toBe('allow');
  });
});

describe('in the audit log', () => {
  test('a command is written before it is in force, and how it ended', async () => {
    const world = await new World().open();
    const { exposures, written, entries } = world;
    const inForce: boolean[] = [];
    const { exposed, withdrawn } = entries;
    Object.assign(entries, {
      exposed: (...told: Parameters<typeof exposed>) => {
        inForce.push(exposures.get('files') !== undefined);
        return exposed(...told);
      },
      withdrawn: (...told: Parameters<typeof withdrawn>) => {
        inForce.push(exposures.get('files') !== undefined);
        return withdrawn(...told);
      },
    });
    await exposures.add(FILES);
    await exposures.remove('files');
    expect(inForce).toEqual([false, true]);
    const [exposing, withdrawing] = ['exposed files by command under moderate', 'withdrawn files of command'];
    expect(written).toEqual([exposing, `${exposing}: ok`, withdrawing, `${withdrawing}: ok`]);
  });

  test('what it cannot hold is not exposed', async () => {
    const store = new MemoryStore();
    const world = await new World().open([], store);
    world.halted = new MeshError('log_halted', 'Cannot write');
    await expect(world.exposures.add(FILES)).rejects.toMatchObject({ code: 'log_halted' });
    expect([world.exposures.list(), world.changed]).toEqual([[], []]);
    expect((await new World().open([], store)).exposures.list()).toEqual([]);
  });

  test('what the configuration exposes is written at each start, and what it has no more', async () => {
    const store = new MemoryStore();
    const notes: ExposureInput = { ...FILES, name: 'notes', policy: 'strict' };
    const first = await new World().open([FILES, notes], store);
    expect(first.written.filter((text) => !text.endsWith(': ok')).sort()).toEqual([
      'exposed files by configuration under moderate',
      'exposed notes by configuration under strict',
    ]);
    const second = await new World().open([notes], store);
    expect(second.written).toContain('withdrawn files of configuration: ok');
    expect(second.written).toContain('exposed notes by configuration under strict: ok');
    const third = await new World().open([notes], store);
    expect(third.written.filter((text) => text.startsWith('withdrawn'))).toEqual([]);
  });

  test('what a command exposed is written again where the configuration does not hide it any more', async () => {
    const store = new MemoryStore();
    await (await new World().open([], store)).exposures.add(FILES);
    const hidden = await new World().open([{ ...FILES, policy: 'strict' }], store);
    expect(hidden.written).toContain('exposed files by configuration under strict');
    const shown = await new World().open([], store);
    expect(shown.written[0]).toBe('exposed files by command under moderate');
    expect(shown.exposures.get('files')?.origin).toBe('command');
  });

  test('the configuration exposes nothing until it can be written', async () => {
    const world = new World();
    world.halted = new MeshError('log_halted', 'Cannot write');
    await world.open([FILES]);
    expect([world.isBegun, world.exposures.list(), world.exposures.get('files')]).toEqual([false, [], undefined]);
    world.halted = undefined;
    expect(await world.exposures.begin()).toBe(true);
    expect(world.exposures.list().map(({ name }) => name)).toEqual(['files']);
    expect(await world.exposures.begin()).toBe(true);
    expect(world.written.filter((text) => !text.endsWith(': ok'))).toHaveLength(1);
  });
});
