/** What the documents name exists. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));
const read = (file: string): string => readFileSync(`${root}/${file}`, 'utf8');

test('SECURITY.md names tests that exist, or says "not covered"', () => {
  const rows = read('SECURITY.md')
    .split('\n')
    .filter((line) => line.startsWith('| ') && !line.startsWith('| threat'));
  expect(rows.length).toBeGreaterThan(30);
  for (const row of rows) {
    const named = [...row.matchAll(/`(test\/[^`]+)`/g)].map(([, path]) => path as string);
    for (const path of named) expect(existsSync(`${root}/${path}`), `${path} in: ${row}`).toBe(true);
    if (named.length === 0) expect(row).toMatch(/not covered/);
  }
});

test('documents link only to files and headings that exist', () => {
  const pages = readdirSync(`${root}/docs`).map((name) => `docs/${name}`);
  expect(pages.length).toBeGreaterThan(0);
  for (const file of ['README.md', 'ARCHITECTURE.md', 'SECURITY.md', ...pages]) {
    for (const [, path, heading] of read(file).matchAll(/\]\(([^)#:]+)(?:#([^)]+))?\)/g)) {
      const target = join(dirname(file), path as string);
      expect(existsSync(`${root}/${target}`), `${target} in ${file}`).toBe(true);
      if (heading !== undefined) expect(headingsOf(target), `#${heading} in ${file}`).toContain(heading);
    }
  }
});

/** As they are linked to. */
const headingsOf = (file: string): string[] =>
  [...read(file).matchAll(/^#+ (.+)$/gm)].map(([, text = '']) => text.toLowerCase().replaceAll(' ', '-'));

test('the scripts that README.md names are in package.json', () => {
  const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
  const named = [...read('README.md').matchAll(/npm (?:run )?(start|test|demo|soak|check)\b/g)].map(
    ([, name]) => name as string,
  );
  expect(named.length).toBeGreaterThanOrEqual(4);
  for (const name of named) expect(scripts[name], name).toBeDefined();
});
