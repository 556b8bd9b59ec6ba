import { chmod, mkdtemp, open, readFile, rm, stat, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { AnchorNote } from '../../../daemon/ports.ts';
import { createFileAnchor, type FileAnchor } from '../../../daemon/store/anchor.ts';
import { limits } from '../../../protocol/index.ts';

const SLOT = limits.LOG_ANCHOR_SLOT_BYTES;
const SYNC = { sync: true, isReleased: false } as const;
const RELEASED = { sync: true, isReleased: true } as const;
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const texts = (notes: readonly AnchorNote[] | undefined): string[] | undefined =>
  notes?.map(({ note, isReleased }) => `${isReleased ? 'released ' : ''}${new TextDecoder().decode(note)}`).toSorted();

let directory: string;
let path: string;
let opened: FileAnchor[];
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'agentmesh-anchor-'));
  path = join(directory, 'log.anchor');
  opened = [];
});
afterEach(async () => {
  for (const anchor of opened) await anchor.close();
  await rm(directory, { recursive: true, force: true });
});
const reopen = async (): Promise<FileAnchor> => {
  for (const anchor of opened.splice(0)) await anchor.close();
  const anchor = createFileAnchor(path);
  opened.push(anchor);
  return anchor;
};

/** Writes over some bytes of the file, as a fault would. */
async function damage(position: number, ...values: number[]): Promise<void> {
  const handle = await open(path, 'r+');
  await handle.write(Uint8Array.from(values), 0, values.length, position);
  await handle.close();
}

describe('the anchor', () => {
  test('is missing until something is written, then a private file of four slots', async () => {
    const anchor = await reopen();
    expect(await anchor.read()).toBeUndefined();
    await anchor.write(bytes('one'), SYNC);
    const { mode, size } = await stat(path);
    expect(mode & 0o777).toBe(0o600);
    expect(size).toBe(4 * SLOT);
    expect(texts(await anchor.read())).toEqual(['one']);
    expect(texts(await (await reopen()).read())).toEqual(['one']);
  });

  test('holds the two notes that were written last, in this run or the one before', async () => {
    let anchor = await reopen();
    for (const [i, name] of ['a', 'b', 'c', 'd', 'e'].entries()) {
      await anchor.write(bytes(name), { sync: i % 2 === 0, isReleased: false });
      if (i % 3 === 1) anchor = await reopen();
      if (i > 0) expect(texts(await anchor.read())).toEqual(['a', 'b', 'c', 'd', 'e'].slice(i - 1, i + 1));
    }
  });

  test('keeps what was released apart from heads, however many of them follow', async () => {
    let anchor = await reopen();
    for (const [i, name] of ['a', 'b', 'c'].entries()) {
      await anchor.write(bytes(name), RELEASED);
      for (const head of ['1', '2', '3']) await anchor.write(bytes(`${name}${head}`), SYNC);
      if (i === 1) anchor = await reopen();
    }
    const all = ['c2', 'c3', 'released b', 'released c'];
    expect(texts(await anchor.read())).toEqual(all);
    expect(texts(await (await reopen()).read())).toEqual(all);
    for (const [position, left] of [
      [3 * SLOT + 20, ['c2', 'c3', 'released c']],
      [2 * SLOT + 20, ['c2', 'c3']],
    ] as const) {
      await damage(position, 0xee);
      expect(texts(await (await reopen()).read())).toEqual(left);
    }
    const again = await reopen();
    await again.write(bytes('d'), RELEASED);
    expect(texts(await again.read())).toEqual(['c2', 'c3', 'released d']);
  });

  test('reads a file of two slots as heads, and adds the other two', async () => {
    const anchor = await reopen();
    await anchor.write(bytes('a'), SYNC);
    await anchor.write(bytes('b'), SYNC);
    await truncate(path, 2 * SLOT);
    const again = await reopen();
    expect(texts(await again.read())).toEqual(['a', 'b']);
    await again.write(bytes('b'), RELEASED);
    expect(texts(await (await reopen()).read())).toEqual(['a', 'b', 'released b']);
  });

  test('writes before it was read, and keeps the order of its calls', async () => {
    await (await reopen()).write(bytes('before'), SYNC);
    const anchor = await reopen();
    await Promise.all(['a', 'b', 'c'].map((name) => anchor.write(bytes(name), { sync: false, isReleased: false })));
    expect(texts(await anchor.read())).toEqual(['b', 'c']);
  });

  test('leaves out a slot that was not written whole, and writes there next', async () => {
    const anchor = await reopen();
    await anchor.write(bytes('a'), SYNC);
    await anchor.write(bytes('b'), SYNC);
    for (const [torn, other, position] of [
      ['a', 'b', 3],
      ['d', 'b+', SLOT + 500],
    ] as const) {
      await damage(position, 0xee);
      const again = await reopen();
      expect(texts(await again.read()), torn).toEqual([other]);
      await again.write(bytes(`${other}+`), SYNC);
      expect(texts(await again.read())).toEqual([other, `${other}+`]);
      await again.write(bytes('d'), SYNC);
    }
  });

  test('shows no bit that was changed', async () => {
    const anchor = await reopen();
    await anchor.write(bytes('only one'), SYNC);
    const whole = await readFile(path);
    for (const position of [0, 7, 8, 9, 10, 17, 18, 400, SLOT - 32, SLOT - 1]) {
      await writeFile(path, whole);
      await damage(position, (whole[position] ?? 0) ^ 0x10);
      expect(texts(await (await reopen()).read()), `byte ${position}`).toEqual([]);
    }
  });

  test('is an empty list where nothing whole is in the file', async () => {
    for (const content of ['', 'short', 'x'.repeat(5000)]) {
      await writeFile(path, content, { mode: 0o600 });
      const anchor = await reopen();
      expect(await anchor.read()).toEqual([]);
      await anchor.write(bytes('new'), SYNC);
      expect(texts(await anchor.read())).toEqual(['new']);
    }
    await truncate(path, 100);
    expect(await (await reopen()).read()).toEqual([]);
  });

  test('is refused when others could have written it, or it is a link', async () => {
    await (await reopen()).write(bytes('a'), SYNC);
    await chmod(path, 0o644);
    await expect((await reopen()).read()).rejects.toMatchObject({ code: 'permissions' });
    await expect((await reopen()).write(bytes('b'), SYNC)).rejects.toMatchObject({ code: 'permissions' });
    await chmod(path, 0o600);
    await symlink(path, `${path}2`);
    await expect(createFileAnchor(`${path}2`).read()).rejects.toMatchObject({ code: 'permissions' });
  });

  test('takes notes as large as a slot allows', async () => {
    const anchor = await reopen();
    const most = SLOT - 42;
    await expect(anchor.write(new Uint8Array(most + 1), SYNC)).rejects.toMatchObject({ code: 'too_large' });
    expect(await anchor.read()).toBeUndefined();
    await anchor.write(new Uint8Array(most).fill(7), SYNC);
    expect(await anchor.read()).toEqual([{ note: new Uint8Array(most).fill(7), isReleased: false }]);
  });

  test('answers closed once it is', async () => {
    const anchor = await reopen();
    await anchor.write(bytes('a'), SYNC);
    await anchor.close();
    await anchor.close();
    await expect(anchor.read()).rejects.toMatchObject({ code: 'closed' });
    await expect(anchor.write(bytes('b'), SYNC)).rejects.toMatchObject({ code: 'closed' });
  });
});
