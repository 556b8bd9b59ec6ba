import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { limits } from '../../../protocol/index.ts';
import { parseSource, type Policy } from '../../../protocol/policy/index.ts';
import { readPolicySource } from '../../../sdk/gate/index.ts';

let root: string;
beforeEach(() => {
  root = realpathSync(mkdtempSync(join(tmpdir(), 'agentmesh-source-')));
  mkdirSync(join(root, 'policies/base'), { recursive: true });
});
afterEach(() => rmSync(root, { recursive: true }));
const write = (path: string, more: string): void =>
  writeFileSync(join(root, path), `version: "1.0"\n${more}\nrules: [ { name: "${path}", action: deny } ]\n`);
const read = async (path: string): Promise<Policy> => parseSource(await readPolicySource(path, join(root, 'policies')));
const refused = { code: 'policy_invalid' };

test('the built-in policies go by their names, wherever they are asked for', async () => {
  for (const name of ['strict', 'moderate', 'permissive']) {
    const policy = parseSource(await readPolicySource(name, '/nowhere'));
    expect(policy).toMatchObject({ name });
    expect(policy.rules.length).toBeGreaterThan(0);
  }
});

test('a file comes with all that it extends, by its path from its folder', async () => {
  write('policies/own.yaml', 'extends: [base/one.yaml, agentmesh:strict]');
  write('policies/base/one.yaml', 'extends: ../two.yaml');
  write('policies/two.yaml', '');
  const source = await readPolicySource('own.yaml', join(root, 'policies'));
  expect(source.name).toBe('own');
  expect(source.files.map(({ path }) => path).sort()).toEqual(['base/one.yaml', 'own.yaml', 'two.yaml']);
  expect(parseSource(source).rules.map(({ name }) => name)).toContain('policies/two.yaml');
  expect((await read(join(root, 'policies/own.yaml'))).digest).toBe((await read('own.yaml')).digest);
});

test('nothing outside of its folder comes along: by dots, from the root, or over a link', async () => {
  write('outside.yaml', '');
  mkdirSync(join(root, 'policies-too'));
  write('policies-too/other.yaml', '');
  for (const path of [
    '../outside.yaml',
    'base/../../outside.yaml',
    join(root, 'outside.yaml'),
    '../policies-too/other.yaml',
  ]) {
    write('policies/own.yaml', `extends: "${path}"`);
    await expect(readPolicySource('own.yaml', join(root, 'policies')), path).rejects.toMatchObject(refused);
  }
  symlinkSync(join(root, 'outside.yaml'), join(root, 'policies/link.yaml'));
  symlinkSync(root, join(root, 'policies/up'));
  for (const path of ['link.yaml', 'up/outside.yaml']) {
    write('policies/own.yaml', `extends: ${path}`);
    await expect(readPolicySource('own.yaml', join(root, 'policies')), path).rejects.toMatchObject(refused);
  }
});

test('links inside of the folder are followed', async () => {
  write('policies/base/one.yaml', '');
  symlinkSync('base/one.yaml', join(root, 'policies/link.yaml'));
  write('policies/own.yaml', 'extends: link.yaml');
  expect((await read('own.yaml')).rules).toHaveLength(2);
});

test('what is not there, is no file, or is too large is refused', async () => {
  for (const path of ['none.yaml', 'base', '/dev/zero', '/dev/null/x'])
    await expect(readPolicySource(path, join(root, 'policies')), path).rejects.toMatchObject(refused);
  writeFileSync(join(root, 'policies/big.yaml'), ' '.repeat(limits.POLICY_EXTERNAL_FILE_BYTES_MAX + 1));
  await expect(read('big.yaml')).rejects.toMatchObject({
    ...refused,
    data: { want: limits.POLICY_EXTERNAL_FILE_BYTES_MAX },
  });
});

test('what is extended under another spelling than the parser looks for is not left out unseen', async () => {
  writeFileSync(join(root, 'policies/own.yaml'), 'version: "1.0"\n"\\x65xtends": base/one.yaml\n');
  write('policies/base/one.yaml', '');
  await expect(read('own.yaml')).rejects.toMatchObject(refused);
});
