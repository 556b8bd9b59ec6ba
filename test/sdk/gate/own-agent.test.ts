import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { homePathsOf, isSetUp } from '../../../sdk/gate/index.ts';

let home: string;
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'agentmesh-own-agent-'));
});
afterEach(() => rm(home, { recursive: true, force: true }));

test('isSetUp() is false where there is no database, or no directory', () => {
  expect(isSetUp(home, {})).toBe(false);
  expect(isSetUp(join(home, 'none'), {})).toBe(false);
});

test('isSetUp() is false in what is no directory', async () => {
  const file = join(home, 'file');
  await writeFile(file, '');
  expect(isSetUp(file, {})).toBe(false);
});

test('isSetUp() is true where a database may be and cannot be looked at, so that nothing is decided without it', async () => {
  const { database } = homePathsOf(home, {});
  await symlink(database, database); // ELOOP, for root too
  expect(isSetUp(home, {})).toBe(true);
});
