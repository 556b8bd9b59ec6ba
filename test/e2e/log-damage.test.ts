/** What is stored of an audit log, changed at rest: found by the daemon that starts on it, or by whoever verifies it. */
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Store, StoreWrite } from '../../daemon/ports.ts';
import { limits } from '../../protocol/index.ts';
import { parseBundle, parseEntry, parseUuid7, formatBundle } from '../../protocol/log/index.ts';
import { AgentMesh } from '../../sdk/index.ts';
import { seededRandom } from '../random.ts';
import { flipped, GENERATION_ROW, keys, LogHome, rowOf, startHere } from './log-home.ts';

const SLOW = { timeout: 60_000 }; // daemons start beside other tests on two cores
const seed = Number(process.env['AGENTMESH_SEED'] ?? Date.now() % 1_000_000);
const random = seededRandom(seed);
const SLOT_BYTES = limits.LOG_ANCHOR_SLOT_BYTES;
const below = (count: number): number => Math.floor(random() * count);

let base: LogHome;
let head: number;
let released: number;
let exported: string;
beforeAll(async () => {
  base = await LogHome.make(600);
  {
    await using _daemon = await startHere(base.home);
    exported = join(base.home, '../exported');
    expect((await base.cli('log', 'export', exported)).exit).toBe(0);
    expect((await base.cli('log', 'verify')).exit).toBe(0);
  }
  ({ head, released } = await base.sizes());
  console.log(`log damage, seed ${seed}: ${head} entries, ${released} of them released`);
}, 60_000);
afterAll(() => base[Symbol.asyncDispose]());

type Writes = Promise<readonly StoreWrite[]>;

const flip = async (store: Store, key: Uint8Array, at?: number): Writes => {
  const row = await rowOf(store, key);
  return [{ type: 'put', key, value: flipped(row, at ?? below(row.length), below(8)) }];
};
const swap = async (store: Store, a: Uint8Array, b: Uint8Array): Writes => [
  { type: 'put', key: a, value: await rowOf(store, b) },
  { type: 'put', key: b, value: await rowOf(store, a) },
];

interface Damage {
  readonly name: string;
  readonly change: (store: Store) => Writes;
  /** What the halted daemon says. */
  readonly start: (() => RegExp) | undefined;
  /** What verifying its log says, where that is something else. */
  readonly verify?: () => RegExp;
}

const DAMAGES: readonly Damage[] = [
  {
    name: 'a byte of an entry of the last bundle',
    change: (store) => flip(store, keys.entry(head - 1)),
    start: () => new RegExp(`at "entry ${head - 1}": it has another hash`),
  },
  {
    name: 'a byte of an older entry',
    change: (store) => flip(store, keys.entry(40)),
    start: undefined,
    verify: () => /at entry 40\n.*entry 40 in "tile\/entries\/000": its leaf hash is not that of "tile\/0\/000"/,
  },
  {
    name: 'a byte of the last tile',
    change: (store) => flip(store, keys.tile(0, 2), 40),
    start: () => /at "tiles": the last tiles lead to another root/,
    verify: () => /at entry 513\n.*"tile\/0\/002\.p\/\d+": the leaf hash of entry 513 leads to the root/,
  },
  {
    name: 'a byte of an older tile',
    change: (store) => flip(store, keys.tile(0, 0), 130 * 32 + below(32)),
    start: undefined,
    verify: () => /at entry 130\n.*"tile\/0\/000": the leaf hash of entry 130 leads to the root/,
  },
  {
    name: 'a byte of a tile of a higher level',
    change: (store) => flip(store, keys.tile(1, 0), 32 + below(32)),
    start: () => /at "tiles": the last tiles lead to another root/,
    verify: () => /"tile\/1\/000\.p\/2": the root of "tile\/0\/001" leads to that of the checkpoint, and its hash 1 is/,
  },
  {
    name: 'a byte of the head',
    change: (store) => flip(store, keys.head),
    start: () => /at "head": it is /,
  },
  {
    name: 'a byte of the newest released checkpoint',
    change: (store) => flip(store, keys.checkpoint(released)),
    start: () => new RegExp(`at "checkpoint ${released}": it is `),
  },
  {
    name: 'a byte of one that was released before',
    change: async (store) => {
      for await (const [key] of store.range(keys.checkpoint(200), keys.checkpoint(released))) return flip(store, key);
      throw new Error('only one was released');
    },
    start: undefined,
    verify: () => /checkpoint [23]\d\d\b/,
  },
  {
    name: 'a byte of the row that names it',
    change: (store) => flip(store, keys.released, 7),
    start: () => /at "checkpoint \d+": it (was released, and the log names another|is missing)/,
  },
  {
    name: 'a byte of the generation row',
    change: (store) => flip(store, GENERATION_ROW),
    start: () => /its generation row is missing or is not what was written/,
  },
  {
    name: 'an entry that is gone',
    change: async () => [{ type: 'del', key: keys.entry(head - 1) }],
    start: () => new RegExp(`at "entry ${head - 1}": it is missing`),
  },
  {
    name: 'two entries that changed places',
    change: (store) => swap(store, keys.entry(300), keys.entry(301)),
    start: undefined,
    verify: () => /at entry 300\n.*entry 300 in "tile\/entries\/001"/,
  },
  {
    name: 'a tail that was cut off cleanly, down to what was released',
    change: async (store) => {
      const writes: StoreWrite[] = [
        { type: 'put', key: keys.head, value: await rowOf(store, keys.checkpoint(released)) },
      ];
      for await (const [key, bytes] of store.range(keys.entry(released), keys.end('entry')))
        writes.push({ type: 'del', key }, { type: 'del', key: keys.id(parseUuid7(parseEntry(bytes).entry.id).bytes) });
      const tile = await rowOf(store, keys.tile(0, 2));
      writes.push({ type: 'put', key: keys.tile(0, 2), value: tile.slice(0, (released - 512) * 32) });
      return writes;
    },
    start: () =>
      new RegExp(`at "anchor": it holds a checkpoint of ${head} leaves, the database has ${released} and is an older`),
  },
];

async function expectFound(home: LogHome, start: RegExp | undefined, verify: RegExp | undefined): Promise<void> {
  await using _daemon = await startHere(home.home);
  const status = await home.cli('log', 'status');
  if (start === undefined) expect([status.exit, status.out]).toEqual([0, expect.stringContaining('signs')]);
  else {
    expect([status.exit, status.out]).toEqual([1, expect.stringMatching(start)]);
    expect((await home.cli('status')).exit).toBeLessThan(2); // what says that it is halted does not fail for it
    await expect((await AgentMesh.connect({ home: home.home })).log.append({ facts: {} })).rejects.toMatchObject({
      code: 'log_halted',
    });
    expect((await home.cli('log', 'show', '3')).exit).toBe(0);
  }
  const verified = await home.cli('log', 'verify');
  expect([verified.exit, verified.out]).toEqual([3, expect.stringMatching(verify ?? (start as RegExp))]);
}

describe(`changed in the database (seed ${seed})`, () => {
  test.each(DAMAGES)('$name', SLOW, async ({ change, start, verify }) => {
    await using home = await base.copy();
    await home.change(change);
    await expectFound(home, start?.(), verify?.());
  });
});

describe('changed in the anchor', () => {
  test('every slot, or the file lost: the daemon does not go on', SLOW, async () => {
    for (const change of [
      async (path: string) => {
        let bytes: Uint8Array = await readFile(path);
        for (let slot = 0; slot < bytes.length; slot += SLOT_BYTES) bytes = flipped(bytes, slot + below(SLOT_BYTES), 0);
        await writeFile(path, bytes);
      },
      (path: string) => rm(path),
    ]) {
      await using home = await base.copy();
      await change(home.anchor);
      await expectFound(home, /at "anchor": it (holds no checkpoint of this log|is missing)/, undefined);
    }
  });

  test('one slot, as a write that was cut short leaves it: the others are enough', SLOW, async () => {
    await using home = await base.copy();
    const bytes = await readFile(home.anchor);
    await writeFile(home.anchor, flipped(bytes, below(bytes.length), 0));
    await using _daemon = await startHere(home.home);
    expect((await home.cli('log', 'status')).exit).toBe(0);
  });
});

describe("rewritten whole, with heads signed by the log's own key", () => {
  test('contradicts the anchor', SLOW, async () => {
    await using home = await base.copy();
    await home.rewrite(300, { withAnchor: false });
    await expectFound(home, /at "anchor": it signs another root for \d+ leaves/, undefined);
  });

  test(
    'with the anchor as well: contradicts what was published, and every checkpoint that anybody has kept',
    SLOW,
    async () => {
      await using home = await base.copy();
      await home.rewrite(300, { withAnchor: true });
      await using _daemon = await startHere(home.home);
      const status = await home.cli('log', 'status');
      expect([status.exit, status.out]).toEqual([
        1,
        expect.stringMatching(/its key signed another tree of \d+ entries than the one held here/),
      ]);
      const kept = join(exported, 'checkpoint');
      const { exit, out } = await home.cli('log', 'verify', '--since', kept);
      expect([exit, out]).toEqual([
        3,
        expect.stringMatching(/it contradicts the checkpoint of size \d+ that is known/),
      ]);
      const again = await home.cli('log', 'export', exported);
      expect([again.exit, again.err]).toEqual([3, expect.stringMatching(/the checkpoint there is of another history/)]);
    },
  );
});

/** Files of the export, without the policy, which comes unsigned and decides nothing. */
const files = async (): Promise<string[]> =>
  (await readdir(exported, { recursive: true, withFileTypes: true }))
    .filter((each) => each.isFile() && each.name !== 'policy')
    .map(({ parentPath, name }) => join(parentPath, name).slice(exported.length + 1));

/** Verified in an empty home: no daemon is asked. */
async function verdict(path: string, bytes: Uint8Array | undefined): Promise<{ exit: number; out: string }> {
  const file = join(exported, path);
  const before = await readFile(file);
  if (bytes === undefined) await rm(file);
  else await writeFile(file, bytes);
  const { exit, out } = await base.cli('log', 'verify', exported);
  await writeFile(file, before);
  return { exit, out };
}

describe(`changed in an export (seed ${seed})`, () => {
  test('any byte of any file is found, and the file or the entry is named', SLOW, async () => {
    const all = await files();
    expect(all.length).toBeGreaterThan(7);
    for (const path of all) {
      const bytes = await readFile(join(exported, path));
      for (let i = 0; i < 4; i++) {
        const at = below(bytes.length);
        const { exit, out } = await verdict(path, flipped(bytes, at, below(8)));
        const place = /entries|tile\/0/.test(path) ? /at entry \d+\n|"tile\// : new RegExp(`"${path}"`);
        expect([path, at, exit, out]).toEqual([path, at, 3, expect.stringMatching(place)]);
      }
    }
    expect((await base.cli('log', 'verify', exported)).exit).toBe(0);
  });

  test('a file that is gone or cut, and two entries that changed places', SLOW, async () => {
    for (const path of await files()) {
      if (path === 'log.v0.vkey' || path === 'checkpoint') continue; // the one may be absent, without the other it is no log
      expect(await verdict(path, undefined)).toMatchObject({ exit: 3, out: expect.stringContaining(path) });
      const bytes = await readFile(join(exported, path));
      const cut = await verdict(path, bytes.subarray(0, -1));
      expect(cut).toMatchObject({ exit: 3, out: expect.stringMatching(/"tile\//) });
    }
    const path = 'tile/entries/001';
    const entries = parseBundle(await readFile(join(exported, path)), 256);
    const [a, b] = [entries[9], entries[10]];
    if (a === undefined || b === undefined) throw new Error('the bundle is not full');
    const swapped = await verdict(path, formatBundle([...entries.slice(0, 9), b, a, ...entries.slice(11)]));
    expect(swapped).toMatchObject({ exit: 3, out: expect.stringMatching(/at entry 265\n/) });
  });

  test('a checkpoint of before, put back: only who has kept a later one can tell', SLOW, async () => {
    await using home = await base.copy();
    await using _daemon = await startHere(home.home);
    const [now, then] = [join(home.home, '../now'), join(home.home, '../then')];
    expect((await home.cli('log', 'export', then)).exit).toBe(0);
    const mesh = await AgentMesh.connect({ home: home.home });
    await mesh.log.prove((await mesh.log.append({ facts: {} })).index);
    expect((await home.cli('log', 'export', now)).exit).toBe(0);
    expect((await home.cli('log', 'verify', then)).exit).toBe(0);
    const { exit, out } = await home.cli('log', 'verify', then, '--since', join(now, 'checkpoint'));
    expect([exit, out]).toEqual([
      3,
      expect.stringMatching(/it ends after \d+ entries, and a checkpoint of \d+ is known/),
    ]);
  });
});
