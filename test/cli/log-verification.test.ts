/** What people name that is not what they mean: each is told so, by its name, and nothing is left half written. */
import { copyFile, mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createHomeWithDaemon, type HomeWithDaemon } from './start.ts';

let home: HomeWithDaemon;
let folder: string;
const at = (name: string): string => join(folder, name);

beforeAll(async () => {
  home = await createHomeWithDaemon();
  folder = join(home.path, 'given');
  await mkdir(at('empty'), { recursive: true });
  await writeFile(at('garbage'), '{}');
  await home.fake.cosigning.witnessed(home.fake.auditLog.treeSize, 2);
  expect(await home.run(['log', 'prove', '1', '-o', at('one')])).toMatchObject({ exit: 0 });
  expect(await home.run(['log', 'export', at('log')])).toMatchObject({ exit: 0 });
  await copyFile(at('one.tlog-proof'), at('alone.tlog-proof'));
});
afterAll(() => home[Symbol.asyncDispose]());

describe('log verify', () => {
  test('takes a proof by the name of its entry too', async () => {
    for (const name of ['one', 'one.json', 'one.tlog-proof'])
      expect(await home.run(['log', 'verify', at(name)]), name).toMatchObject({ exit: 0 });
  });

  test.each([
    ['a directory that is no exported log', ['empty'], 4, /^error \(not_found\) .*empty": it holds no exported log/],
    ['a proof without its entry', ['alone.tlog-proof'], 4, /^error \(not_found\) .*\nnext {2}.*--entry/],
    ['a file of a log', ['log/checkpoint'], 4, /^error \(not_found\) .*not beside it/],
    ['what is not there', ['nothing'], 4, /^error \(not_found\) .*nothing": no such file or directory/],
  ])('refuses %s', async (_, [name = ''], exit, message) => {
    const ran = await home.run(['log', 'verify', at(name)]);
    expect([ran.exit, ran.out]).toEqual([exit, '']);
    expect(ran.err).toMatch(message);
  });

  test.each([
    ['--policy', 'a policy'],
    ['--since', 'a checkpoint'],
  ])('says which file is no use for %s', async (flag, what) => {
    const ran = await home.run(['log', 'verify', at('log'), flag, at('garbage'), '--json']);
    expect(ran.exit).toBe(3);
    expect(ran.err + ran.out).toContain(`garbage\\" as ${what}: Cannot read `);
    expect(ran.err + ran.out).toContain(`name a file that holds ${what}`);
  });
});

describe('what is written', () => {
  test.each([
    ['a proof where there is no directory', ['log', 'prove', '1', '-o', 'missing/one'], 4, 'not_found'],
    ['lines where there is no directory', ['log', 'export', 'missing/log', '--format', 'jsonl'], 4, 'not_found'],
    ['lines in the place of a directory', ['log', 'export', 'empty', '--format', 'jsonl'], 3, 'conflict'],
    ['a log below a file', ['log', 'export', 'garbage/log'], 4, 'not_found'],
    ['a proof without a name', ['log', 'prove', '1', '-o', ''], 2, 'usage'],
    ['a log without a name', ['log', 'export', ''], 2, 'usage'],
    ['a proof of an entry beyond the log', ['log', 'prove', '9999', '-o', 'two'], 4, 'not_found'],
  ])('is not %s', async (_, words, exit, code) => {
    const before = await readdir(folder);
    const ran = await home.run(words, { cwd: folder });
    expect([ran.exit, ran.out]).toEqual([exit, '']);
    expect(ran.err).toContain(`error (${code}) `);
    expect(await readdir(folder)).toEqual(before);
    expect(await readdir(at('empty'))).toEqual([]);
  });
});

test('log tail says how a time is written', async () => {
  const { err, exit } = await home.run(['log', 'tail', '--since', 'nonsense']);
  expect(exit).toBe(2);
  expect(err).toContain('want a time like "2026-11-18T11:06:40Z", or an age like "10m"');
});

test('audit of an agent that logged nothing says where to look', async () => {
  const ran = await home.run(['audit', '--agent', 'reporter']);
  expect(ran.exit).toBe(0);
  expect(ran.err).toContain('"reporter" has logged nothing itself');
});
