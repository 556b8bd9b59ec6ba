import { existsSync, lstatSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { LAYERS, packagesOf, readSource, repositoryRoot, sourcesIn, violations } from './house/architecture.ts';
import { type Lock, missingOptional } from './house/complete-lock.ts';
import { FILE_BYTES_MAX, machineTraces, trackedFiles } from './house/tracked.ts';
import { WRONG_SOURCES } from './house/wrong-sources.ts';

// Each of these must have something to look at; the other folders of LAYERS come with their first feature.
const BUILT = [
  'protocol',
  'daemon',
  'daemon/core',
  'daemon/libp2p',
  'daemon/control',
  'daemon/store',
  'sdk',
  'cli',
  'test',
];
const folders = Object.keys(LAYERS).filter((path) => path.endsWith('/'));

describe('imports and purity', () => {
  test.each(
    folders.filter((folder) => BUILT.includes(folder.slice(0, -1)) || existsSync(join(repositoryRoot, folder))),
  )('of %s keep to the rules of its layer', (folder) => {
    const sources = sourcesIn(folder);
    expect(sources.length, `"${folder}" holds no source to look at`).toBeGreaterThan(0);
    expect(sources.flatMap((path) => violations(path, readSource(path)))).toEqual([]);
  });

  test('every folder with sources has a layer', () => {
    const known = new Set(folders.map((folder) => folder.split('/')[0]));
    const found = readdirSync(repositoryRoot, { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && !/^(?:\..*|node_modules|dist|coverage)$/.test(entry.name))
      .filter((entry) => sourcesIn(entry.name).length > 0)
      .map((entry) => entry.name);
    expect(found.length).toBeGreaterThan(0);
    expect(found.filter((name) => !known.has(name))).toEqual([]);
  });

  test('what is published imports only what is installed with it', () => {
    const { dependencies } = JSON.parse(readSource('package.json')) as { dependencies: Record<string, string> };
    const imported = ['protocol', 'daemon', 'sdk', 'cli']
      .flatMap(sourcesIn)
      .flatMap((path) => packagesOf(path, readSource(path)));
    expect(imported.length).toBeGreaterThan(0);
    expect(imported.filter((name) => dependencies[name] === undefined)).toEqual([]);
    expect(packagesOf('cli/a.ts', "import '@a/b/c'; import 'd/e'; import 'node:fs'; import './f.ts'")).toEqual([
      '@a/b',
      'd',
    ]);
  });

  test.each(WRONG_SOURCES)('would refuse %s with %j', (path, source) => {
    expect(violations(path, source)).toHaveLength(1);
  });

  // What a linter's patterns do not see.
  test.each([
    ['protocol/a.ts', 'export const a = new Date();\n'],
    ['protocol/a.ts', 'const { now } = Date;\nexport const a = now();\n'],
    ['protocol/a.ts', 'const clock = Date;\nexport const a = clock.now();\n'],
    ['protocol/a.ts', 'export const { random } = Math;\n'],
    ['protocol/a.ts', 'export const a = { process };\n'],
    ['protocol/a.ts', 'export const a = import.meta.url;\n'],
    ['protocol/a.ts', 'export const a = (name: string) => import(name);\n'],
    ['protocol/a.ts', `export type A = import('../daemon/ports.ts').Clock;\n`],
    ['protocol/a.ts', `export const a = import('agentmesh/sdk');\n`],
    ['protocol/index.ts', `export * from './errors.ts';\n`],
    ['daemon/core/a.ts', `export type { Daemon } from '../daemon.ts';\n`],
    ['cli/a.ts', `export const a = typeof import('../daemon/daemon.ts');\n`],
    ['elsewhere/a.ts', 'export const a = 1;\n'],
    ['protocol/a.ts', 'export const = 1;\n'],
  ])('would refuse %s with %j, which the linter does not see', (path, source) => {
    expect(violations(path, source)).toHaveLength(1);
  });

  test.each([
    [
      'protocol/a.ts',
      `import { b } from './b.ts';\nexport const a = [b, new Date(0), Date.parse('1970'), Math.max(1)];\n`,
    ],
    [
      'protocol/a.ts',
      '// Date.now() and process are not for here\nexport const a = { process: "setTimeout" }.process;\n',
    ],
    ['protocol/a.ts', `import { base32 } from 'multiformats/bases/base32';\nexport const a = base32;\n`],
    ['protocol/a.ts', 'export const a = (signal: AbortSignal) => AbortSignal.any([signal]);\n'],
    [
      'daemon/core/a.ts',
      `import type { Clock } from '../ports.ts';\nexport const a = (clock: Clock) => clock.nowMs();\n`,
    ],
    ['daemon/core/x/a.ts', `import { isX } from '../../../protocol/index.ts';\nexport const a = isX;\n`],
    ['daemon/a.ts', `import { startChild } from '../sdk/servers/index.ts';\nexport const a = startChild;\n`],
    ['cli/a.ts', `import { startChild } from '../sdk/servers/child.ts';\nexport const a = startChild;\n`],
    ['daemon/libp2p/a.ts', `import { createLibp2p } from 'libp2p';\nexport const a = createLibp2p;\n`],
    [
      'cli/a.ts',
      `import { AgentMesh } from '../sdk/index.ts';\nexport const a = [AgentMesh, process.argv, Date.now()];\n`,
    ],
    ['examples/a.ts', `import { AgentMesh } from 'agentmesh/sdk';\nexport const a = AgentMesh;\n`],
  ])('allow %s with %j', (path, source) => {
    expect(violations(path, source)).toEqual([]);
  });
});

describe('the files of the repository', () => {
  const files = trackedFiles();
  const npmRegistry = process.env.npm_config_registry;
  const registryHost = npmRegistry === undefined ? undefined : new URL(npmRegistry).host;

  test('tell nothing of the machine on which they were written', () => {
    expect(files).toContain('package.json');
    const traces = files
      .filter((path) => !['test/architecture.test.ts', 'test/house/tracked.ts'].includes(path))
      .flatMap((path) => machineTraces(readSource(path), registryHost).map((trace) => `${path}: ${trace}`));
    expect(traces).toEqual([]);
  });

  test.each([
    [`cd /${'work'}/main\n`],
    ['"/root/.npm"'],
    ['file:///home/eve/agentmesh/x.ts'],
    [' at /Users/eve/x.ts:1:1'],
    ['https://registry.example.org/level'],
    ['//mirror.example/:_authToken=1'],
    ['see https://mirror.example/level'],
  ])('would be refused with %j', (text) => {
    expect(machineTraces(text, 'mirror.example')).not.toEqual([]);
  });

  test('are small', () => {
    const large = files.filter((path) => lstatSync(join(repositoryRoot, path)).size > FILE_BYTES_MAX);
    expect(large).toEqual([]);
  });

  test('lock every dependency for every platform, and from no registry in particular', () => {
    const text = readSource('package-lock.json');
    const lock = JSON.parse(text) as Lock;
    const { dependencies, devDependencies } = JSON.parse(readSource('package.json')) as Record<string, object>;
    expect(lock.packages['']).toMatchObject({ dependencies, devDependencies });
    expect(missingOptional(lock), 'run "npm run lock"').toEqual([]);
    expect(text).not.toContain('"resolved"');
  });

  test('would be refused with a platform missing from the lock', () => {
    const lock = { packages: { 'node_modules/a': { optionalDependencies: { 'a-linux-x64': '1.0.0' } } } };
    expect(missingOptional(lock)).toMatchObject([{ name: 'a-linux-x64', version: '1.0.0' }]);
    expect(missingOptional({ packages: { ...lock.packages, 'node_modules/a-linux-x64': {} } })).toEqual([]);
  });
});
