import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { PolicyLibrary } from '../../daemon/core/governance/policy-library.ts';
import { createPolicyFiles, type PolicyFiles } from '../../daemon/policy-files.ts';
import { MemoryStore } from '../../daemon/store/memory.ts';
import { createSystemClock } from '../../daemon/system.ts';
import { limits } from '../../protocol/index.ts';
import { quiet } from './core/log/log-world.ts';

let root: string;
let files: PolicyFiles | undefined;
beforeEach(() => {
  root = realpathSync(mkdtempSync(join(tmpdir(), 'agentmesh-policies-')));
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
});
afterEach(() => {
  files?.[Symbol.dispose]();
  vi.useRealTimers();
  rmSync(root, { recursive: true });
});
const at = (path: string): string => join(root, path);
const textOf = (rule: string, more = ''): string =>
  `version: "1.0"\n${more}\nrules: [ { name: ${rule}, action: allow } ]\n`;
const write = (path: string, text: string): void => writeFileSync(at(path), text, { mode: 0o644 });

async function open(
  policies: readonly string[],
  shadowPolicies: readonly string[] = [],
  exposedPolicies: readonly string[] = [],
) {
  files = createPolicyFiles({
    policies: policies.map(at),
    shadowPolicies: shadowPolicies.map(at),
    exposedPolicies: exposedPolicies.map(at),
  });
  const library = await PolicyLibrary.open({
    store: new MemoryStore(),
    clock: createSystemClock(),
    log: quiet,
    load: files.load,
  });
  let told = 0;
  let reading: Promise<void> = Promise.resolve();
  files.watch(() => {
    told += 1;
    reading = library.reload().catch(() => {});
  });
  return {
    library,
    /** How often a change was told when a second has passed. */
    look: async (): Promise<number> => {
      const before = told;
      vi.advanceTimersByTime(1_000);
      await reading;
      return told - before;
    },
    rules: () => library.configured.policies.flatMap((policy) => policy.rules.map(({ name }) => name)),
    problem: () => library.status().problem?.error.message,
  };
}

describe('changes of files', () => {
  test('are in force within a second, however a file is replaced; what is the same is not read again', async () => {
    write('a.yaml', textOf('one'));
    const { look, rules } = await open(['a.yaml']);
    expect([await look(), rules()]).toEqual([0, ['one']]);
    write('a.yaml', textOf('two'));
    expect([await look(), rules()]).toEqual([1, ['two']]);
    write('next', textOf('six')); // as long as before, and perhaps as old
    renameSync(at('next'), at('a.yaml'));
    expect([await look(), rules()]).toEqual([1, ['six']]);
    expect(await look()).toBe(0);
  });

  test('that are broken, or gone, leave the last good ones in force, all of them, and are told of once', async () => {
    write('a.yaml', textOf('one'));
    write('b.yaml', textOf('other'));
    const { look, rules, problem } = await open(['a.yaml', 'b.yaml']);
    write('a.yaml', textOf('two'));
    write('b.yaml', 'version: "1.0"\nrules: [ { name: x, action: permit } ]\n');
    expect([await look(), rules()]).toEqual([1, ['one', 'other']]);
    expect(problem()).toContain('b.yaml');
    expect(await look()).toBe(0);
    unlinkSync(at('b.yaml'));
    expect([await look(), rules()]).toEqual([1, ['one', 'other']]);
    expect(problem()).toContain('there is none');
    expect(await look()).toBe(0);
    write('b.yaml', textOf('again'));
    expect([await look(), rules()]).toEqual([1, ['two', 'again']]);
    expect(problem()).toBeUndefined();
  });

  test('of a file that is extended are seen too, also of one that was not there', async () => {
    write('a.yaml', textOf('one', 'extends: base.yaml'));
    write('base.yaml', textOf('base'));
    const { look, rules } = await open(['a.yaml']);
    write('base.yaml', textOf('next'));
    expect(await look()).toBe(1);
    expect(rules()).toContain('next');
    write('a.yaml', textOf('one', 'extends: later.yaml'));
    expect(await look()).toBe(1);
    expect(rules()).toContain('next');
    write('later.yaml', textOf('later'));
    expect(await look()).toBe(1);
    expect(rules()).toContain('later');
  });

  test('made as Kubernetes makes them, by turning a link to a folder, are seen', async () => {
    for (const [folder, rule] of [
      ['..one', 'one'],
      ['..two', 'two'],
    ] as const) {
      mkdirSync(at(folder));
      write(`${folder}/a.yaml`, textOf(rule));
    }
    symlinkSync('..one', at('..data'));
    symlinkSync(join('..data', 'a.yaml'), at('a.yaml'));
    const { look, rules } = await open(['a.yaml']);
    expect(rules()).toEqual(['one']);
    symlinkSync('..two', at('..data_tmp'));
    renameSync(at('..data_tmp'), at('..data'));
    expect([await look(), rules()]).toEqual([1, ['two']]);
  });

  test('are not looked for any more once nobody wants them', async () => {
    write('a.yaml', textOf('one'));
    const { look } = await open(['a.yaml']);
    files?.[Symbol.dispose]();
    write('a.yaml', textOf('two'));
    expect(await look()).toBe(0);
  });
});

describe('files that are refused', () => {
  const refused = async (path: string): Promise<unknown> =>
    open([path]).then(
      () => 'ok',
      (error: unknown) => (error as { code: string }).code,
    );

  test('because others may write to them', async () => {
    write('a.yaml', textOf('one'));
    for (const mode of [0o666, 0o664, 0o646]) {
      chmodSync(at('a.yaml'), mode);
      expect(await refused('a.yaml'), mode.toString(8)).toBe('permissions');
    }
    chmodSync(at('a.yaml'), 0o444);
    expect(await refused('a.yaml')).toBe('ok');
    write('b.yaml', textOf('one', 'extends: open.yaml'));
    write('open.yaml', textOf('base'));
    chmodSync(at('open.yaml'), 0o666);
    expect(await refused('b.yaml')).toMatch(/^(permissions|policy_invalid)$/);
    symlinkSync('open.yaml', at('link.yaml'));
    expect(await refused('link.yaml')).toBe('permissions');
  });

  test('and a file that others may write to from now on is in force as it was', async () => {
    write('a.yaml', textOf('one'));
    const { look, rules, problem } = await open(['a.yaml']);
    write('a.yaml', textOf('two'));
    chmodSync(at('a.yaml'), 0o666);
    expect([await look(), rules()]).toEqual([1, ['one']]);
    expect(problem()).toContain('chmod');
    chmodSync(at('a.yaml'), 0o644);
    expect([await look(), rules()]).toEqual([1, ['two']]);
  });

  test('because they are outside of their folder, no file, too large, or not there', async () => {
    mkdirSync(at('in'));
    write('outside.yaml', textOf('out'));
    symlinkSync('../outside.yaml', at('in/link.yaml'));
    expect(await refused('in/link.yaml')).toBe('policy_invalid');
    write('in/a.yaml', textOf('one', 'extends: ../outside.yaml'));
    expect(await refused('in/a.yaml')).toBe('policy_invalid');
    write('in/a.yaml', textOf('one', 'extends: link.yaml'));
    expect(await refused('in/a.yaml')).toBe('policy_invalid');
    expect(await refused('in')).toBe('permissions');
    expect(await refused('none.yaml')).toBe('policy_invalid');
    write('big.yaml', ' '.repeat(limits.POLICY_EXTERNAL_FILE_BYTES_MAX + 1));
    expect(await refused('big.yaml')).toBe('policy_invalid');
  });
});

test('policies of exposed servers are read once each, and again when they change', async () => {
  write('a.yaml', textOf('first'));
  const { library, look } = await open([], [], ['a.yaml', 'a.yaml']);
  expect(library.list().map(({ source, file }) => [source, file])).toEqual([['exposed', at('a.yaml')]]);
  const before = library.exposedDigest(at('a.yaml'));
  expect(library.configured.policies).toEqual([]);
  write('a.yaml', textOf('second'));
  expect(await look()).toBe(1);
  expect(library.exposedDigest(at('a.yaml'))).not.toBe(before);
});
