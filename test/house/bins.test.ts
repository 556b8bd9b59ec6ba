import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { readSource, repositoryRoot } from './architecture.ts';

const BINS = [
  ['agentmesh', 'cli/bin.js'],
  ['agentmeshd', 'daemon/bin.js'],
] as const;

interface Package {
  readonly bin: Readonly<Record<string, string>>;
  readonly engines: { readonly node: string };
}
const { bin, engines } = JSON.parse(readSource('package.json')) as Package;

/** Starts a bin with `process.versions` saying that Node is another. */
function startAs(nodeVersion: string, bin: string): { status: number | null; stdout: string; stderr: string } {
  const pretend = `Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '${nodeVersion}' } })`;
  const options = ['--import', `data:text/javascript,${encodeURIComponent(pretend)}`];
  return spawnSync(process.execPath, [...options, bin, 'argument'], { encoding: 'utf8' });
}

test.each(BINS)('%s says which Node it needs when an older one starts it', (name, path) => {
  for (const version of ['12.22.12', '20.20.2', '22.17.1']) {
    const { status, stdout, stderr } = startAs(version, join(repositoryRoot, path));
    expect(stderr).toBe(
      `Cannot start ${name}: Node is ${version}, want ${engines.node.replace('>=', '>= ')}\n` +
        `Run "npx ${name}": it finds the Node of this checkout\n`,
    );
    expect(stdout).toBe('');
    expect(status).toBe(1);
  }
});

// A copy, with a main that only says that it was started: the real daemon would start.
test.each(BINS)('%s finds its main in a checkout, in dist and in the package', (_, path) => {
  const folder = dirname(path);
  for (const [bin, main] of [
    [`${folder}/bin.js`, `${folder}/main.ts`],
    [`dist/${folder}/bin.js`, `dist/${folder}/main.js`],
    [`${folder}/bin.js`, `dist/${folder}/main.js`],
  ] as const) {
    const root = mkdtempSync(join(tmpdir(), 'agentmesh-bins-'));
    try {
      for (const file of [bin, main]) mkdirSync(join(root, dirname(file)), { recursive: true });
      writeFileSync(join(root, 'package.json'), '{ "type": "module" }');
      writeFileSync(join(root, main), `console.log('${main}', ...process.argv.slice(2))`);
      copyFileSync(join(repositoryRoot, path), join(root, bin));
      const { status, stdout, stderr } = startAs(`${engines.node.replace('>=', '')}.0`, join(root, bin));
      expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: `${main} argument\n`, stderr: '' });
    } finally {
      rmSync(root, { recursive: true });
    }
  }
});

test.each(BINS)('%s is the bin of package.json, and by the same rule as the other', (name, path) => {
  expect(bin[name]).toBe(`./${path}`);
  const [first, second] = BINS.map(([eachName, eachPath]) =>
    readSource(eachPath)
      .replace(`'${eachName}'`, 'NAME')
      .replace(`'${dirname(eachPath)}'`, 'FOLDER'),
  );
  expect(first).toBe(second);
});
