import { describe, expect, it } from 'vitest';
import type { StoreWrite } from '../../../daemon/ports.ts';
import { GroupCommit } from '../../../daemon/store/group-commit.ts';
import { limits, MeshError } from '../../../protocol/index.ts';
import { bytes, put } from './compliance.ts';

/** A disk that finishes or fails a write when told to. */
class Disk {
  readonly written: { keys: number[]; sync: boolean }[] = [];
  readonly #pending: PromiseWithResolvers<void>[] = [];

  write = (writes: readonly StoreWrite[], { sync }: { readonly sync: boolean }): Promise<void> => {
    this.written.push({ keys: writes.map(({ key }) => key[0] ?? -1), sync });
    const pending = Promise.withResolvers<void>();
    this.#pending.push(pending);
    return pending.promise;
  };

  async finish(): Promise<void> {
    this.#pending.shift()?.resolve();
    await settled();
  }

  async fail(cause: Error): Promise<void> {
    this.#pending.shift()?.reject(cause);
    await settled();
  }
}

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const SYNC = { sync: true } as const;
const one = (key: number): StoreWrite[] => [put(bytes(key), bytes(key))];

describe('GroupCommit', () => {
  it('writes a lone batch at once, without waiting for company', async () => {
    const disk = new Disk();
    const written = new GroupCommit(disk.write).batch(one(1), SYNC);
    await Promise.resolve(); // no timer: within the same turn of the event loop
    await Promise.resolve();
    expect(disk.written).toEqual([{ keys: [1], sync: true }]);
    await disk.finish();
    await written;
  });

  it('gathers what arrives during a write into one synced batch, and acknowledges it only after its own sync', async () => {
    const disk = new Disk();
    const commits = new GroupCommit(disk.write);
    const acknowledged: number[] = [];
    const write = (key: number) => commits.batch(one(key), SYNC).then(() => acknowledged.push(key));
    const all = [write(1)];
    await settled();
    for (let key = 2; key <= 5; key++) all.push(write(key));
    await settled();
    expect(disk.written).toEqual([{ keys: [1], sync: true }]);
    await disk.finish();
    expect(acknowledged).toEqual([1]);
    expect(disk.written[1]).toEqual({ keys: [2, 3, 4, 5], sync: true });
    await disk.finish();
    await Promise.all(all);
    expect(acknowledged).toEqual([1, 2, 3, 4, 5]);
    expect(disk.written.length).toBe(2);
  });

  it('lets what needs no sync go with what does in the same turn, and by itself once that is over', async () => {
    const disk = new Disk();
    const commits = new GroupCommit(disk.write);
    const all = [commits.batch(one(1), { sync: false })];
    await Promise.resolve();
    await Promise.resolve();
    all.push(commits.batch(one(2), { sync: false }));
    await Promise.resolve();
    all.push(commits.batch(one(3), SYNC));
    for (let i = 0; i < 8; i++) await Promise.resolve(); // no timer, no end of the turn
    expect(disk.written).toEqual([{ keys: [1, 2, 3], sync: true }]);
    await disk.finish();
    all.push(commits.batch(one(4), { sync: false }));
    await settled();
    await settled();
    expect(disk.written[1]).toEqual({ keys: [4], sync: false });
    await disk.finish();
    await Promise.all(all);
  });

  it('syncs a group if one of its batches asks for it, and not otherwise', async () => {
    const disk = new Disk();
    const commits = new GroupCommit(disk.write);
    const first = [commits.batch(one(1), { sync: false }), commits.batch(one(2), { sync: false })];
    await settled();
    await settled();
    const second = [commits.batch(one(3), { sync: false }), commits.batch(one(4), SYNC)];
    await disk.finish();
    await disk.finish();
    await Promise.all([...first, ...second]);
    expect(disk.written).toEqual([
      { keys: [1, 2], sync: false },
      { keys: [3, 4], sync: true },
    ]);
  });

  it('never splits a batch, and ends a group at its bound in bytes', async () => {
    const disk = new Disk();
    const commits = new GroupCommit(disk.write);
    const large = new Uint8Array(limits.STORE_GROUP_BYTES_MAX * 0.75);
    const all = [1, 2].map((key) => commits.batch([put(bytes(key), large), put(bytes(key), large)], SYNC));
    await settled();
    await disk.finish();
    await disk.finish();
    await Promise.all(all);
    expect(disk.written.map(({ keys }) => keys)).toEqual([
      [1, 1],
      [2, 2],
    ]);
  });

  it('acknowledges nothing after a failed write: not the group, not those waiting, not later ones', async () => {
    const disk = new Disk();
    const commits = new GroupCommit(disk.write);
    const outcome = (key: number, sync: boolean) =>
      commits.batch(one(key), { sync }).then(
        () => 'written',
        (cause: unknown) => (cause instanceof MeshError ? cause.code : cause),
      );
    const failing = outcome(1, true);
    await settled();
    const waiting = [outcome(2, true), outcome(3, false)];
    expect(commits.isReadOnly).toBe(false);
    await disk.fail(new Error('no space left on device'));
    expect([await failing, ...(await Promise.all(waiting))]).toEqual(['read_only', 'read_only', 'read_only']);
    expect(commits.isReadOnly).toBe(true);
    expect([await outcome(4, true), await outcome(5, false)]).toEqual(['read_only', 'read_only']);
    await expect(commits.batch(one(6), SYNC)).rejects.toThrow(/no space left on device/);
    expect(disk.written.length).toBe(1);
    await commits.close();
  });

  it('finishes what was accepted when closed, and takes nothing more', async () => {
    const disk = new Disk();
    const commits = new GroupCommit(disk.write);
    const all = [commits.batch(one(1), SYNC)];
    await settled();
    all.push(commits.batch(one(2), SYNC));
    const closing = commits.close();
    await expect(commits.batch(one(3), SYNC)).rejects.toMatchObject({ code: 'read_only' });
    await disk.finish();
    await disk.finish();
    await closing;
    await Promise.all(all);
    expect(disk.written.map(({ keys }) => keys)).toEqual([[1], [2]]);
  });
});
