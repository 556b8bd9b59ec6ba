import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createPaths, directoriesIn } from '../../../sdk/servers/paths.ts';

let root: string;
let meaning: (text: string) => readonly string[];
beforeAll(() => {
  root = realpathSync(mkdtempSync(join(tmpdir(), 'agentmesh-paths-')));
  for (const name of ['home', 'work', 'other/deep', 'secret']) mkdirSync(join(root, name), { recursive: true });
  writeFileSync(join(root, 'secret/key'), 'k');
  symlinkSync(join(root, 'secret'), join(root, 'work/link'));
  symlinkSync('loop', join(root, 'work/loop'));
  symlinkSync(join(root, 'other/deep'), join(root, 'work/far'));
  const paths = createPaths({
    cwd: join(root, 'work'),
    directories: [join(root, 'other')],
    home: join(root, 'home'),
    env: { HOME: join(root, 'home'), WHERE: join(root, 'secret') },
  });
  meaning = (text) => paths.canonicalPaths([text]);
});
afterAll(() => rmSync(root, { recursive: true }));

test('a relative path is below every directory that the server may start from', () => {
  expect(meaning('a.txt')).toEqual(expect.arrayContaining([join(root, 'work/a.txt'), join(root, 'other/a.txt')]));
});

test('links are followed, also to what is not there yet', () => {
  expect(meaning(join(root, 'work/link/key'))).toContain(join(root, 'secret/key'));
  expect(meaning('link/new/file')).toContain(join(root, 'secret/new/file'));
});

test('".." after a link is read both ways', () => {
  const found = meaning(`${join(root, 'work/far')}/../key`);
  expect(found).toContain(join(root, 'work/key'));
  expect(found).toContain(join(root, 'other/key'));
});

test.each(['~/x', '$HOME/x', '${HOME}/x', '%HOME%/x', '%USERPROFILE%/x'])('%s is in the home directory', (text) => {
  expect(meaning(text)).toContain(join(root, 'home/x'));
});

test('a variable of the server leads where it leads', () => {
  expect(meaning('$WHERE/key')).toContain(join(root, 'secret/key'));
});

test('the home of another user is found', () => {
  expect(meaning('~root/.ssh')).toContain(join('/root', '.ssh'));
});

test('/proc/self/root is the root', () => {
  expect(meaning('/proc/self/root/etc/passwd')).toContain('/etc/passwd');
});

test('a loop of links, a NUL and a name that is too long throw nothing', () => {
  expect(meaning('loop/x')).toContain(join(root, 'work/loop/x'));
  expect(meaning('a\0b')).toEqual([]);
  expect(meaning('y'.repeat(5_000)).length).toBeGreaterThan(0);
});

test('directories among words are those that are there', () => {
  expect(directoriesIn(['-y', 'server', join(root, 'work'), 'other', 'z'.repeat(5_000)], root)).toEqual([
    join(root, 'work'),
    'other',
  ]);
});
