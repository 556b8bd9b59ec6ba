/** What start-up looks at, damaged in every way: nothing is signed then, and what is whole can still be read. */
import { beforeAll, describe, expect, test } from 'vitest';
import type { AuditLog } from '../../../../daemon/core/log/audit-log.ts';
import type { AnchorNote } from '../../../../daemon/ports.ts';
import { MemoryStore } from '../../../../daemon/store/memory.ts';
import { compareBytes, concatBytes, fromHex, rawKeyOf, toHex } from '../../../../protocol/index.ts';
import {
  createSignatureLine,
  formatCheckpointText,
  formatNote,
  leafHash,
  logVkey,
  noteMessage,
  parseCheckpoint,
} from '../../../../protocol/log/index.ts';
import { keyOf } from '../../../builders.ts';
import {
  create,
  entryOf,
  expectWhole,
  growTo,
  isAbsent,
  logKey,
  MemoryAnchor,
  open,
  rootOf,
  type Rows,
  rowsOf,
  storeOf,
} from './log-world.ts';

interface Saved {
  readonly rows: Rows;
  readonly slots: readonly AnchorNote[];
}

const GENERATION = '41';
const row = (letter: string, ...numbers: readonly (readonly [value: number, bytes: number])[]): string =>
  `6100000000${toHex(new TextEncoder().encode(letter))}${numbers.map(([value, bytes]) => value.toString(16).padStart(2 * bytes, '0')).join('')}`;
const entryRow = (index: number): string => row('e', [index, 8]);
const tileRow = (level: number, index: number): string => row('t', [level, 1], [index, 8]);
const idRow = (index: number): string => row('i') + toHex(entryOf(index).id16);
const checkpointRow = (size: number): string => row('c', [size, 8]);

/** A log of this size, released at some sizes on the way. */
async function saved(size: number, releasedAt: readonly number[] = []): Promise<Saved> {
  const world = { store: new MemoryStore(), anchor: new MemoryAnchor() };
  const log = await create(world);
  for (const at of [...releasedAt, size]) {
    await growTo(log, at);
    if (releasedAt.includes(at)) await log.release();
  }
  await log.close();
  return { rows: await rowsOf(world.store), slots: world.anchor.slots ?? [] };
}

const at = (rows: Rows, key: string): Uint8Array => {
  const found = rows.find(([each]) => toHex(each) === key);
  if (found === undefined) throw new Error(`Cannot damage row ${key}: it is missing`);
  return found[1];
};
/** The same rows with these in place of theirs; undefined: without it. */
function having(rows: Rows, changes: Readonly<Record<string, Uint8Array | undefined>>): Rows {
  const kept = rows.filter(([key]) => !Object.hasOwn(changes, toHex(key)));
  const added = Object.entries(changes).flatMap(([key, value]) =>
    value === undefined ? [] : [[fromHex(key) ?? new Uint8Array(), value] as const],
  );
  return [...kept, ...added].toSorted(([a], [b]) => compareBytes(a, b));
}
const without = (rows: Rows, isLost: (key: string) => boolean): Rows => rows.filter(([key]) => !isLost(toHex(key)));
const flipped = (bytes: Uint8Array, position: number, bit = 0): Uint8Array =>
  bytes.map((byte, i) => (i === position ? byte ^ (1 << bit) : byte));

const reopened = async (rows: Rows, slots: readonly AnchorNote[] | undefined): Promise<AuditLog> =>
  open({ store: await storeOf(rows), anchor: new MemoryAnchor(slots) });

/** Opens with a problem at this place, signs nothing, and changes no row. */
async function expectHalted(
  rows: Rows,
  slots: readonly AnchorNote[] | undefined,
  place: string | RegExp,
): Promise<AuditLog> {
  const store = await storeOf(rows);
  const anchor = new MemoryAnchor(slots);
  const log = await open({ store, anchor });
  expect(log.problem, 'halted').toMatchObject({ code: 'log_halted' });
  expect(log.problem?.place).toMatch(place);
  expect(log.problem?.message).toMatch(/^Cannot .*[^.]$/);
  await expect(log.append(entryOf(999_999))).rejects.toMatchObject({ code: 'log_halted' });
  await expect(log.release()).rejects.toMatchObject({ code: 'log_halted' });
  await expect(log.addCosignatures(1, [])).rejects.toMatchObject({ code: 'log_halted' });
  await log.close();
  expect(await rowsOf(store)).toEqual(await rowsOf(await storeOf(rows)));
  expect(anchor.slots).toBe(slots);
  return log;
}

const note = (origin: string, treeSize: number, root: Uint8Array, key = logKey): Uint8Array => {
  const text = formatCheckpointText({ origin, treeSize, root });
  const line = createSignatureLine(logVkey(rawKeyOf(key.publicKey), 0), key.sign(noteMessage(text)));
  return formatNote({ text, signatures: [{ ...line, name: origin }] });
};
const head = (bytes: Uint8Array): AnchorNote => ({ note: bytes, isReleased: false });
const released = (bytes: Uint8Array): AnchorNote => ({ note: bytes, isReleased: true });
const treeSizeOf = (bytes: Uint8Array): number => parseCheckpoint(bytes).checkpoint.treeSize;
const ORIGIN = logVkey(rawKeyOf(logKey.publicKey), 0).name;

/** 300: the last tile of level 0 is partial. 512: it is full, and only that of level 1 is not. */
const SIZES = [300, 512] as const;
const logs = new Map<number, Saved>();
beforeAll(async () => {
  for (const size of SIZES) logs.set(size, await saved(size, [100, size - 20]));
});
const logOf = (size: number): Saved => {
  const log = logs.get(size);
  if (log === undefined) throw new Error(`no log of ${size}`);
  return log;
};

describe.each(SIZES)('a log of %d entries', (size) => {
  const first = 256; // of the last bundle

  test('is whole as it was left', async () => {
    const { rows, slots } = logOf(size);
    await expectWhole(await reopened(rows, slots), size);
  });

  test('does not go on after any bit of its head changed', async () => {
    const { rows, slots } = logOf(size);
    const head = at(rows, row('h'));
    for (let position = 0; position < head.length; position += 7)
      await expectHalted(having(rows, { [row('h')]: flipped(head, position, position % 8) }), slots, 'head');
  });

  test('does not go on without its head, or with another that is signed', async () => {
    const { rows, slots } = logOf(size);
    const lost = await expectHalted(having(rows, { [row('h')]: undefined }), slots, 'head');
    expect(lost.treeSize).toBe(size);
    expect(await lost.files.entry(size - 1)).toEqual(entryOf(size - 1).bytes);
    expect(() => lost.head()).toThrow(expect.objectContaining({ code: 'log_halted' }));
    expect(() => lost.root).toThrow(expect.objectContaining({ code: 'log_halted' }));
    const older = at(rows, checkpointRow(100));
    await expectHalted(having(rows, { [row('h')]: older }), slots, /^tile\/0|^entry/);
    const forged = note(ORIGIN, size, rootOf(size - 1));
    await expectHalted(having(rows, { [row('h')]: forged }), slots, 'tiles');
    const other = note(ORIGIN.replace(/0$/, '1'), size, rootOf(size));
    await expectHalted(having(rows, { [row('h')]: other }), slots, 'head');
    const stranger = note(ORIGIN, size, rootOf(size), keyOf('stranger'));
    await expectHalted(having(rows, { [row('h')]: stranger }), slots, 'head');
  });

  test('does not go on after a bit of a tile of the right edge changed, or one is cut or gone', async () => {
    const { rows, slots } = logOf(size);
    for (const key of [tileRow(0, 1), tileRow(1, 0)]) {
      const tile = at(rows, key);
      for (const position of [0, 31, tile.length >> 1, tile.length - 1].filter((each) => each < tile.length))
        await expectHalted(having(rows, { [key]: flipped(tile, position, 3) }), slots, /^tile/);
      await expectHalted(having(rows, { [key]: undefined }), slots, /^tile\//);
      await expectHalted(having(rows, { [key]: tile.slice(32) }), slots, /^tile\//);
      await expectHalted(having(rows, { [key]: tile.slice(1) }), slots, /^tile\//);
      await expectHalted(having(rows, { [key]: concatBytes(tile, rootOf(1)) }), slots, /^tile\//);
    }
  });

  test('does not go on after a bit of an entry of the last bundle changed, and names the entry', async () => {
    const { rows, slots } = logOf(size);
    for (const index of [first, first + 7, size - 1]) {
      const entry = at(rows, entryRow(index));
      for (const position of [0, 16, entry.length - 1]) {
        const log = await expectHalted(
          having(rows, { [entryRow(index)]: flipped(entry, position) }),
          slots,
          new RegExp(`^entry ${index}$`),
        );
        expect(log.treeSize).toBe(size);
      }
      await expectHalted(having(rows, { [entryRow(index)]: undefined }), slots, new RegExp(`^entry ${index}$`));
    }
  });

  test('does not go on after two entries changed places, and names the first', async () => {
    const { rows, slots } = logOf(size);
    const [a, b] = [entryRow(first + 3), entryRow(size - 2)];
    await expectHalted(having(rows, { [a]: at(rows, b), [b]: at(rows, a) }), slots, new RegExp(`^entry ${first + 3}$`));
  });

  test('does not go on after an index row of the last bundle changed', async () => {
    const { rows, slots } = logOf(size);
    for (const index of [first, size - 1]) {
      const place = new RegExp(`^id of entry ${index}$|^index|^database$`);
      const key = idRow(index);
      for (const value of [undefined, flipped(at(rows, key), 7), flipped(at(rows, key), 0), new Uint8Array(3)])
        await expectHalted(having(rows, { [key]: value }), slots, place);
    }
  });

  test('does not go on after its tail was dropped, with or without the rows that tell of it', async () => {
    const { rows, slots } = logOf(size);
    const tail = (key: string): boolean => key >= entryRow(size - 5) && key < entryRow(size);
    const tailIds = new Set(Array.from({ length: 5 }, (_, i) => idRow(size - 5 + i)));
    await expectHalted(without(rows, tail), slots, /^entry \d+$/);
    await expectHalted(
      without(rows, (key) => tail(key) || tailIds.has(key)),
      slots,
      /^entry \d+$/,
    );
    // Cut off as it would be done with the tiles and the head that was signed at that size.
    const old = logOf(size === 512 ? 300 : 300);
    const cut = without(old.rows, (key) => key >= entryRow(280) && key < entryRow(300));
    const tiles = { [tileRow(0, 1)]: at(old.rows, tileRow(0, 1)).slice(0, 24 * 32) };
    const oldHead = { [row('h')]: at(old.rows, checkpointRow(280)) };
    await expectHalted(having(cut, { ...tiles, ...oldHead }), old.slots, /^ids$/);
    const ids = new Set(Array.from({ length: 20 }, (_, i) => idRow(280 + i)));
    const complete = without(having(cut, { ...tiles, ...oldHead }), (key) => ids.has(key));
    await expectHalted(complete, old.slots, /^anchor$/);
    await expectWhole(await reopened(complete, [head(at(old.rows, checkpointRow(280)))]), 280); // nothing else knows better
  });

  test('does not go on with rows beyond its head', async () => {
    const { rows, slots } = logOf(size);
    for (const [key, value, place] of [
      [entryRow(size), entryOf(size).bytes, `entry ${size}`],
      [entryRow(2 ** 40), entryOf(size).bytes, `entry ${2 ** 40}`],
      [tileRow(0, 2), rootOf(1), 'tile/0/2'],
      [tileRow(1, 1), rootOf(1), 'tile/1/1'],
      [tileRow(2, 0), rootOf(1), 'tile/2/0'],
      [tileRow(5, 9), rootOf(1), 'tile/2/0'],
      [idRow(size + 3), fromHex((size + 3).toString(16).padStart(16, '0')) ?? new Uint8Array(), 'ids'],
      [checkpointRow(size + 1), at(rows, checkpointRow(100)), `checkpoint ${size + 1}`],
    ] as const)
      await expectHalted(having(rows, { [key]: value }), slots, new RegExp(`^${place}$`));
  });

  test('does not go on after its newest released checkpoint changed or was lost', async () => {
    const { rows, slots } = logOf(size);
    const newest = checkpointRow(size - 20);
    const released = at(rows, newest);
    for (let position = 0; position < released.length; position += 17)
      await expectHalted(having(rows, { [newest]: flipped(released, position, 2) }), slots, /^checkpoint/);
    await expectHalted(having(rows, { [newest]: undefined }), slots, /^checkpoint/);
    await expectHalted(having(rows, { [newest]: at(rows, checkpointRow(100)) }), slots, /^checkpoint/);
    await expectHalted(having(rows, { [newest]: note(ORIGIN, size - 20, rootOf(7)) }), slots, /^checkpoint/);
    await expectHalted(having(rows, { [row('r')]: undefined }), slots, /^checkpoint 100$/);
    await expectHalted(having(rows, { [row('r')]: flipped(at(rows, row('r')), 7) }), slots, /^checkpoint/);
    await expectHalted(having(rows, { [row('r')]: new Uint8Array(7) }), slots, /^database$/);
  });

  test('does not go on without its anchor, with a newer one, or one of another history', async () => {
    const { rows, slots } = logOf(size);
    await expectHalted(rows, undefined, 'anchor');
    await expectHalted(rows, [], 'anchor');
    for (const slot of [head, released]) {
      const ahead = await expectHalted(rows, [slot(note(ORIGIN, size + 1, rootOf(size + 1)))], 'anchor');
      expect(ahead.problem?.message).toContain(`${size + 1} leaves, the database has ${size}`);
      await expectHalted(rows, [slot(note(ORIGIN, size, rootOf(3)))], 'anchor');
      await expectHalted(rows, [slot(note(ORIGIN, 40, rootOf(41))), ...slots], 'anchor');
    }
  });

  test('goes on with one whole slot of its anchor, and with an old one', async () => {
    const { rows, slots } = logOf(size);
    expect(slots).toHaveLength(4);
    const torn = slots.map((slot) => ({ ...slot, note: flipped(slot.note, 100) }));
    for (const [i, slot] of slots.entries()) {
      await expectWhole(await reopened(rows, [slot]), size);
      await expectWhole(await reopened(rows, torn.with(i, slot)), size);
    }
    await expectHalted(rows, torn, 'anchor');
    await expectWhole(await reopened(rows, [head(note(ORIGIN, 1, rootOf(1)))]), size);
  });

  test('anchors what was released before it goes on, where the anchor has missed it', async () => {
    const { rows, slots } = logOf(size);
    const heads = slots.filter(({ isReleased }) => !isReleased);
    const older = slots.find(({ note: bytes, isReleased }) => isReleased && treeSizeOf(bytes) === 100);
    if (older === undefined) throw new Error('100 was released');
    for (const missing of [heads, [...heads, older]]) {
      const anchor = new MemoryAnchor(missing);
      await expectWhole(await open({ store: await storeOf(rows), anchor }), size);
      expect(anchor.sizes({ isReleased: true }).at(-1)).toBe(size - 20);
    }
  });

  test('does not go on when its generation is in doubt', async () => {
    const { rows, slots } = logOf(size);
    const named = at(rows, GENERATION);
    for (const value of [
      undefined,
      new Uint8Array(),
      new TextEncoder().encode('{}'),
      named.slice(1),
      flipped(named, 14),
      flipped(named, 40),
    ]) {
      const log = await expectHalted(having(rows, { [GENERATION]: value }), slots, /^generation$|^key$/);
      expect(log.treeSize).toBe(size);
      expect(await log.files.entry(5)).toEqual(entryOf(5).bytes);
    }
    await expectHalted(having(rows, { '610000000168': at(rows, row('h')) }), slots, 'generation');
    const lost = await expectHalted(
      without(rows, (key) => key.startsWith('61')),
      slots,
      'generation',
    );
    expect(lost.treeSize).toBe(0);
    const empty = await expectHalted([], slots, 'anchor');
    expect([empty.treeSize, empty.origin]).toEqual([0, ORIGIN]);
    expect(await isAbsent({ store: new MemoryStore(), anchor: new MemoryAnchor([]) })).toBe(true);
  });

  test('does not go on when it was halted, also where the reason cannot be read', async () => {
    const { rows, slots } = logOf(size);
    const reason = new TextEncoder().encode('{"message":"Cannot sign: a witness knows better","place":"witness"}');
    const log = await expectHalted(having(rows, { [row('x')]: reason }), slots, 'witness');
    expect(log.problem?.message).toBe('Cannot sign: a witness knows better');
    for (const damaged of ['', '{', '7', 'null', '{"message":7}'])
      await expectHalted(having(rows, { [row('x')]: new TextEncoder().encode(damaged) }), slots, 'problem');
  });

  test('does not go on after it was written anew with fresh hashes, unless the key helped', async () => {
    const { slots } = logOf(size);
    const world = { store: new MemoryStore(), anchor: new MemoryAnchor(), signer: keyOf('thief') };
    const fake = await create(world, entryOf(0, 'another past'));
    await growTo(fake, size);
    await fake.close();
    const rows = await rowsOf(world.store);
    await expectHalted(rows, slots, 'key');
    // Where the key was taken as well, the anchor knows another tree.
    const forged = { store: new MemoryStore(), anchor: new MemoryAnchor() };
    const own = await create(forged, entryOf(0, 'another past'));
    await growTo(own, size);
    await own.close();
    await expectHalted(await rowsOf(forged.store), slots, 'anchor');
  });
});

test('of the entries before the last bundle start-up reads none: their proofs fail', async () => {
  const { rows, slots } = logOf(300);
  const damaged = having(rows, { [entryRow(3)]: entryOf(3, 'another').bytes });
  const log = await reopened(damaged, slots);
  expect(log.problem).toBeUndefined();
  const hashes = await log.files.tile({ level: 0, index: 0, width: 256 });
  const entry = await log.files.entry(3);
  expect(toHex(hashes?.slice(96, 128) ?? new Uint8Array())).not.toBe(toHex(leafHash(entry ?? new Uint8Array())));
});

test('a log of one entry is looked over like any other', async () => {
  const { rows, slots } = await saved(1);
  await expectWhole(await reopened(rows, slots), 1);
  await expectHalted(having(rows, { [entryRow(0)]: flipped(entryOf(0).bytes, 20) }), slots, 'entry 0');
  await expectHalted(rows, undefined, 'anchor');
});

test('a log of 65,536 entries, whose last tiles are all full, is tied together through every level', async () => {
  const world = { store: new MemoryStore(), anchor: new MemoryAnchor() };
  const log = await create(world);
  await growTo(log, 65_536);
  await log.close();
  await expectWhole(await open(world), 65_536);
  for (const [key, place] of [
    [tileRow(0, 255), 'tile/0/255'],
    [tileRow(1, 0), 'tile/1/0'],
    [tileRow(2, 0), 'tile/1/0'],
    [entryRow(65_300), 'entry 65300'],
  ] as const) {
    const held = await world.store.get(fromHex(key) ?? new Uint8Array());
    const put = (value: Uint8Array) =>
      world.store.batch([{ type: 'put', key: fromHex(key) ?? new Uint8Array(), value }], { sync: true });
    await put(flipped(held ?? new Uint8Array(), 9));
    expect((await open(world)).problem?.place).toBe(place);
    await put(held ?? new Uint8Array());
  }
  await expectWhole(await open(world), 65_536);
});
