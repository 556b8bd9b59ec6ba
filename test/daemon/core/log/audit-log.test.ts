import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { createFileAnchor } from '../../../../daemon/store/anchor.ts';
import { openLevelStore } from '../../../../daemon/store/level.ts';
import { MemoryStore } from '../../../../daemon/store/memory.ts';
import { limits, rawKeyOf, toHex } from '../../../../protocol/index.ts';
import {
  createCosignatureLine,
  createVkey,
  formatNote,
  LOG_KEY_TYPE,
  logVkey,
  noteMessage,
  parseBundle,
  parseTile,
  rootOfHashes,
  leafHash,
  verifyInclusion,
  verifyConsistency,
  verifyNote,
  witnessVkey,
  createSignatureLine,
} from '../../../../protocol/log/index.ts';
import { isSignatureValidSodium } from '../../../../protocol/sodium.ts';
import { keyOf } from '../../../builders.ts';
import { HeldStore } from '../pipeline-world.ts';
import { settle } from '../virtual-clock.ts';
import {
  create,
  entryOf,
  expectWhole,
  FragileStore,
  growTo,
  isAbsent,
  logKey,
  MemoryAnchor,
  open,
  rootOf,
  textOf,
} from './log-world.ts';

const fresh = () => ({ store: new MemoryStore(), anchor: new MemoryAnchor() });
const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'done',
    (error: unknown) => (error as { readonly code: string }).code,
  );

describe('a new log', () => {
  test('is none until its first entry is given, and then generation 0 of its key', async () => {
    const world = fresh();
    expect(await isAbsent(world)).toBe(true);
    const log = await create(world);
    expect(log.origin).toBe(`agentmesh/v1/log/${logKey.text}/0`);
    expect(log.vkey).toEqual(logVkey(rawKeyOf(logKey.publicKey), 0));
    await expectWhole(log, 1);
    expect(log.released()).toBeUndefined();
    expect(world.anchor.sizes()).toEqual([0, 1]);
    expect(await isAbsent(world)).toBe(false);
  });

  test('is none when it was given up before anything was in it', async () => {
    const world = fresh();
    world.store.batch = () => Promise.reject(new Error('no space left on device'));
    await expect(create(world)).rejects.toThrow('no space left on device');
    const again = { store: new MemoryStore(), anchor: world.anchor };
    expect(await isAbsent(again)).toBe(true);
    expect((await create(again)).generation).toBe(0);
  });

  test('takes the next number after one that is there, and leaves that as it was', async () => {
    const world = fresh();
    const old = await create(world);
    await growTo(old, 20);
    const checkpoint = await old.release();
    await old.close();
    const log = await create(world, entryOf(0, 'after generation 0'));
    expect(log.generation).toBe(1);
    expect(log.treeSize).toBe(1);
    expect(log.origin.endsWith('/1')).toBe(true);
    await log.append(entryOf(5, 'ids of another generation are free'));
    await log.close();
    const again = await open(world);
    expect([again.generation, again.treeSize, again.problem]).toEqual([1, 2, undefined]);
    expect(checkpoint.checkpoint.treeSize).toBe(20);
  });

  test('takes the next number after one that only the anchor remembers', async () => {
    const world = fresh();
    await create(world);
    const log = await create({ store: new MemoryStore(), anchor: world.anchor });
    expect(log.generation).toBe(1);
  });
});

describe('appending', () => {
  const SIZES = [1, 255, 256, 257, 511, 512, 513];
  test('leads to the root of all entries at every size, over restarts', async () => {
    const world = fresh();
    let log = await create(world);
    for (const size of SIZES) {
      await growTo(log, size);
      await expectWhole(log, size);
      await log.close();
      log = await open(world);
      await expectWhole(log, size);
    }
    for (let index = 0; index < 513; index++) {
      expect(await log.files.entry(index)).toEqual(entryOf(index).bytes);
      expect(await log.files.indexOf(entryOf(index).id16)).toBe(index);
    }
    expect(await log.files.indexOf(entryOf(513).id16)).toBeUndefined();
  });

  test('holds 70,000 entries, with proofs of and between any sizes', async () => {
    const world = fresh();
    let log = await create(world);
    for (const size of [65_536, 70_000]) {
      await growTo(log, size);
      await log.close();
      log = await open(world);
      await expectWhole(log, size);
    }
    const { files } = log;
    for (const [index, size] of [
      [0, 70_000],
      [69_999, 70_000],
      [65_535, 65_536],
      [300, 301],
      [12_345, 66_000],
    ] as const) {
      const proof = await files.proveInclusion(index, size);
      verifyInclusion(index, size, leafHash(entryOf(index).bytes), proof, rootOf(size));
    }
    for (const [old, size] of [
      [1, 70_000],
      [256, 257],
      [65_536, 70_000],
      [69_999, 70_000],
    ] as const)
      verifyConsistency(old, size, rootOf(old), rootOf(size), await files.proveConsistency(old, size));
    expect(toHex(await files.rootAt(65_536))).toBe(toHex(rootOf(65_536)));
    await expect(files.rootAt(70_001)).rejects.toMatchObject({ code: 'bad_proof' });
    await expect(files.proveInclusion(5, 70_001)).rejects.toMatchObject({ code: 'bad_proof' });
  }, 60_000);

  test('answers each appender with his own index, across the end of a tile', async () => {
    const world = fresh();
    const log = await create(world);
    await growTo(log, 254);
    const grown: number[] = [];
    log.onGrown((size) => grown.push(size));
    const [a, b] = await Promise.all([
      Promise.all(Array.from({ length: 300 }, (_, i) => log.append(entryOf(254 + 2 * i)))),
      Promise.all(Array.from({ length: 300 }, (_, i) => log.append(entryOf(255 + 2 * i)))),
    ]);
    expect(new Set([...a, ...b])).toEqual(new Set(Array.from({ length: 600 }, (_, i) => 254 + i)));
    for (const [i, index] of a.entries()) expect(await log.files.entry(index)).toEqual(entryOf(254 + 2 * i).bytes);
    expect(grown).toEqual([510, 766, 854]);
    await log.close();
    const again = await open(world);
    expect([again.problem, again.treeSize]).toEqual([undefined, 854]);
  });

  test('two appenders that go on one after the other race over the end of a tile', async () => {
    const world = fresh();
    const log = await create(world);
    await growTo(log, 250);
    const appender = async (start: number): Promise<number[]> => {
      const indices: number[] = [];
      for (let i = 0; i < 12; i++) indices.push(await log.append(entryOf(start + 2 * i)));
      return indices;
    };
    const indices = await Promise.all([appender(1000), appender(1001)]);
    expect(indices.flat().toSorted((x, y) => x - y)).toEqual(Array.from({ length: 24 }, (_, i) => 250 + i));
    await log.close();
    const again = await open(world);
    expect([again.problem, again.treeSize]).toEqual([undefined, 274]);
  });

  test('acknowledges nothing before the sync, and has one batch under way', async () => {
    const store = new HeldStore();
    const log = await create({ store, anchor: new MemoryAnchor() });
    store.hold();
    const first = log.append(entryOf(1));
    await settle();
    const others = [log.append(entryOf(2)), log.append(entryOf(3))];
    await settle();
    expect(store.batches.at(-1)).toMatchObject({ sync: true });
    expect(store.batches).toHaveLength(2);
    expect(log.treeSize).toBe(1);
    expect(log.head().checkpoint.treeSize).toBe(1);
    expect(await log.files.entry(1)).toBeUndefined();
    expect(await Promise.race([first, Promise.resolve('waits')])).toBe('waits');
    store.release();
    expect(await Promise.all([first, ...others])).toEqual([1, 2, 3]);
    expect(store.batches).toHaveLength(3);
    await expectWhole(log, 4);
  });

  test('refuses ids that are used, whether they wait, are recent, or long on disk', async () => {
    const world = fresh();
    let log = await create(world);
    const waiting = log.append(entryOf(1));
    expect(await codeOf(log.append(entryOf(1, 'other')))).toBe('conflict');
    await waiting;
    expect(await codeOf(log.append(entryOf(1)))).toBe('conflict');
    await growTo(log, 9000);
    expect(await codeOf(log.append(entryOf(2)))).toBe('conflict');
    await log.close();
    log = await open(world);
    expect(await codeOf(log.append(entryOf(8999)))).toBe('conflict');
    expect(await codeOf(log.append(entryOf(0)))).toBe('conflict');
    expect(log.treeSize).toBe(9000);
    // An unused one from before all others: as a clock that was set back makes them.
    const early = { ...entryOf(1), id16: new Uint8Array(16).fill(1) };
    const both = [log.append(early), log.append(early)];
    expect(await Promise.all(both.map(codeOf))).toEqual(['done', 'conflict']);
    expect(await log.files.indexOf(early.id16)).toBe(9000);
  });

  test('refuses what is too large, and ids that are none', async () => {
    const log = await create(fresh());
    const { id16 } = entryOf(1);
    const largest = new Uint8Array(limits.LOG_ENTRY_BYTES_MAX);
    expect(await codeOf(log.append({ bytes: new Uint8Array(largest.length + 1), id16 }))).toBe('too_large');
    expect(await codeOf(log.append({ bytes: largest, id16: id16.slice(1) }))).toBe('malformed');
    expect(await log.append({ bytes: largest, id16 })).toBe(1);
    expect(parseBundle((await log.files.tile({ level: 'entries', index: 0, width: 2 })) ?? largest, 2)[1]).toEqual(
      largest,
    );
  });

  test('answers busy when the queue is full, and goes on when it was worked off', async () => {
    const store = new HeldStore();
    const log = await create({ store, anchor: new MemoryAnchor() });
    store.hold();
    const first = log.append(entryOf(1));
    await settle();
    const most = limits.LOG_QUEUE_ENTRIES_MAX;
    const queued = Array.from({ length: most }, (_, i) => log.append(entryOf(2 + i)));
    expect(await codeOf(log.append(entryOf(1 + most + 1)))).toBe('busy');
    store.release();
    await Promise.all([first, ...queued]);
    expect(await log.append(entryOf(1 + most + 1))).toBe(most + 2);
    expect(Math.max(...store.batches.slice(1).map(({ writes }) => writes.length))).toBeLessThan(2 * 256 + 6);

    store.hold();
    const under = log.append(entryOf(10_000));
    await settle();
    const large = new Uint8Array(60_000);
    const fitting = Math.floor(limits.LOG_QUEUE_BYTES_MAX / large.length);
    const waiting = Array.from({ length: fitting }, (_, i) => log.append({ ...entryOf(10_001 + i), bytes: large }));
    expect(await codeOf(log.append({ ...entryOf(20_000), bytes: large }))).toBe('busy');
    store.release();
    await Promise.all([under, ...waiting]);
    await log.append({ ...entryOf(20_000), bytes: large });
  });

  test('lets what nobody waits for go with the next entry that somebody does', async () => {
    const store = new HeldStore();
    const log = await create({ store, anchor: new MemoryAnchor() });
    const before = store.batches.length;
    const patient = [1, 2].map((n) => log.append(entryOf(n), { isPatient: true }));
    await settle();
    expect(store.batches.length).toBe(before);
    const urgent = log.append(entryOf(3));
    expect(await Promise.all([...patient, urgent])).toEqual([1, 2, 3]);
    expect(store.batches.length).toBe(before + 1);
  });

  test('writes what nobody waits for by itself after a while, when flushed, when closed, and when there is much', async () => {
    const store = new HeldStore();
    const log = await create({ store, anchor: new MemoryAnchor() });
    const beganMs = performance.now();
    expect(await log.append(entryOf(1), { isPatient: true })).toBe(1);
    expect(performance.now() - beganMs).toBeGreaterThanOrEqual(limits.LOG_GATHER_MS - 1);
    const flushed = log.append(entryOf(2), { isPatient: true });
    await log.flush();
    expect(log.treeSize).toBe(3);
    expect(await flushed).toBe(2);
    const many = Array.from({ length: limits.LOG_BATCH_ENTRIES_MAX }, (_, n) =>
      log.append(entryOf(3 + n), { isPatient: true }),
    );
    await settle();
    expect(log.treeSize).toBe(3 + many.length);
    const last = log.append(entryOf(900), { isPatient: true });
    await log.close();
    expect(await last).toBe(3 + many.length);
  });

  test('keeps batches of large entries small', async () => {
    const store = new HeldStore();
    const log = await create({ store, anchor: new MemoryAnchor() });
    const large = new Uint8Array(60_000);
    await Promise.all(Array.from({ length: 40 }, (_, i) => log.append({ ...entryOf(1 + i), bytes: large })));
    expect(store.batches.slice(1).map(({ writes }) => writes.filter(({ key }) => key[5] === 0x65).length)).toEqual([
      17, 17, 6,
    ]);
  });
});

describe('tiles', () => {
  test('of any width that the tree has are answered, also of those that grew since', async () => {
    const log = await create(fresh());
    await growTo(log, 600);
    const { files } = log;
    for (const [index, width] of [
      [0, 1],
      [0, 255],
      [0, 256],
      [2, 7],
      [2, 88],
    ] as const) {
      const hashes = Array.from({ length: width }, (_, i) => leafHash(entryOf(256 * index + i).bytes));
      expect(parseTile((await files.tile({ level: 0, index, width })) ?? new Uint8Array(), width)).toEqual(hashes);
      expect(parseBundle((await files.tile({ level: 'entries', index, width })) ?? new Uint8Array(), width)).toEqual(
        hashes.map((_, i) => entryOf(256 * index + i).bytes),
      );
    }
    const roots = [0, 1].map((tile) =>
      rootOfHashes(Array.from({ length: 256 }, (_, i) => leafHash(entryOf(256 * tile + i).bytes))),
    );
    expect(parseTile((await files.tile({ level: 1, index: 0, width: 2 })) ?? new Uint8Array(), 2)).toEqual(roots);
    for (const place of [
      { level: 0, index: 2, width: 89 },
      { level: 'entries', index: 2, width: 89 },
      { level: 0, index: 3, width: 1 },
      { level: 1, index: 0, width: 3 },
      { level: 2, index: 0, width: 1 },
    ] as const)
      expect(await files.tile(place)).toBeUndefined();
    await expect(files.tile({ level: 0, index: 0, width: 0 })).rejects.toMatchObject({ code: 'malformed' });
  });

  test('that were remembered are asked for again when they have grown', async () => {
    const log = await create(fresh());
    for (const size of [3, 4, 200, 256, 257, 300]) {
      await growTo(log, size);
      for (const index of [0, size - 1])
        verifyInclusion(
          index,
          size,
          leafHash(entryOf(index).bytes),
          await log.files.proveInclusion(index),
          rootOf(size),
        );
    }
  });

  test('and entries that the database has lost are named', async () => {
    const { store, anchor } = fresh();
    const log = await create({ store, anchor });
    await growTo(log, 600);
    const keys: Uint8Array[] = [];
    for await (const [key] of store.range(Uint8Array.of(0x61), Uint8Array.of(0x62))) keys.push(key);
    const lost = keys.filter((key) => (key[5] === 0x65 && key[13] === 7) || (key[5] === 0x74 && key[14] === 0));
    await store.batch(
      lost.map((key) => ({ type: 'del', key })),
      { sync: true },
    );
    await expect(log.files.entry(7)).rejects.toMatchObject({ code: 'store_corrupt', data: { place: 'entry 7' } });
    await expect(log.files.tile({ level: 'entries', index: 0, width: 256 })).rejects.toMatchObject({
      data: { place: 'entry 7' },
    });
    await expect(log.files.proveInclusion(3)).rejects.toMatchObject({ data: { place: 'tile/0/0' } });
    expect(await log.files.entry(8)).toEqual(entryOf(8).bytes);
  });
});

describe('releasing', () => {
  const witness = (name: string) => {
    const key = keyOf(name);
    const vkey = witnessVkey(rawKeyOf(key.publicKey));
    return { vkey, line: (seconds: number) => createCosignatureLine(vkey, seconds, key.sign(Uint8Array.of(seconds))) };
  };

  test('writes the checkpoint and the anchor before it is handed out, once a size', async () => {
    const store = new HeldStore();
    const anchor = new MemoryAnchor();
    const log = await create({ store, anchor });
    await growTo(log, 10);
    store.hold();
    const released = log.release();
    await settle();
    expect(log.released()).toBeUndefined();
    expect(await log.files.checkpointAt(10)).toBeUndefined();
    store.release();
    const signed = await released;
    expect(signed).toEqual(log.head());
    verifyNote(signed.note, [log.vkey], isSignatureValidSodium);
    expect(log.released()).toBe(signed);
    expect(await log.files.checkpointAt(10)).toEqual(signed);
    expect(await log.files.checkpointAt(9)).toBeUndefined();
    expect(anchor.sizes()).toContain(10);
    const before = store.batches.length;
    expect(await Promise.all([log.release(), log.release()])).toEqual([signed, signed]);
    expect(store.batches.length).toBe(before);
  });

  test('hands nothing out while the anchor cannot be written, and does when it can', async () => {
    const anchor = new MemoryAnchor();
    const world = { store: new MemoryStore(), anchor };
    const log = await create(world);
    await growTo(log, 10);
    await log.flush();
    anchor.failure = new Error('no space left on device');
    expect(await codeOf(log.release())).toBe('read_only');
    expect(log.released()).toBeUndefined();
    await growTo(log, 11);
    anchor.failure = undefined;
    expect((await log.release()).checkpoint.treeSize).toBe(11);
    await log.close();
    await expectWhole(await open(world), 11);
  });

  test('keeps cosignatures beside the note, of each key the last, and over restarts', async () => {
    const world = fresh();
    let log = await create(world);
    const [a, b] = [witness('witness a'), witness('witness b')];
    expect(await codeOf(log.addCosignatures(1, [a.line(1)]))).toBe('not_found');
    const first = await log.release();
    await growTo(log, 5);
    const second = await log.release();
    await log.addCosignatures(5, [a.line(2), b.line(3)]);
    await log.addCosignatures(5, [a.line(4)]);
    await log.addCosignatures(1, [b.line(5)]);
    const ownAgain = createSignatureLine(log.vkey, logKey.sign(noteMessage('other')));
    await log.addCosignatures(5, [ownAgain]);
    await log.close();
    log = await open(world);
    const wanted = [...second.note.signatures, a.line(4), b.line(3)];
    expect(log.released()?.note.signatures.map(({ encoded }) => encoded)).toEqual(wanted.map(({ encoded }) => encoded));
    expect(log.released()?.note.text).toBe(textOf(second));
    expect((await log.files.checkpointAt(1))?.note.signatures).toEqual([...first.note.signatures, b.line(5)]);
    expect(await codeOf(log.addCosignatures(4, [a.line(6)]))).toBe('not_found');
    const many = Array.from({ length: limits.NOTE_SIGNATURES_MAX }, (_, i) => witness(`witness ${i}`).line(i));
    expect(await codeOf(log.addCosignatures(5, many))).toBe('too_large');
    await log.addCosignatures(5, [a.line(7)]);
  });

  test('goes on beside appends', async () => {
    const world = fresh();
    const log = await create(world);
    const appends = growTo(log, 3000);
    const released: number[] = [];
    for (let i = 0; i < 20; i++) {
      const { checkpoint } = await log.release();
      released.push(checkpoint.treeSize);
      expect(toHex(checkpoint.root)).toBe(toHex(rootOf(checkpoint.treeSize)));
    }
    await appends;
    expect(released).toEqual(released.toSorted((x, y) => x - y));
    await log.close();
    await expectWhole(await open(world), 3000);
  });
});

describe('a log that was halted', () => {
  const problem = {
    code: 'log_halted',
    message: 'Cannot sign: witness "w" cosigned 900 leaves',
    place: 'witness w',
  } as const;

  test('signs nothing more, in this run and the next; reads go on', async () => {
    const world = fresh();
    let log = await create(world);
    await growTo(log, 40);
    await log.release();
    log.halt(problem);
    log.halt({ ...problem, message: 'a later one' });
    for (const again of [false, true]) {
      if (again) {
        await log.close();
        log = await open(world);
      }
      expect(log.problem).toEqual(problem);
      expect(await codeOf(log.append(entryOf(40)))).toBe('log_halted');
      await expect(log.release()).rejects.toMatchObject({ code: 'log_halted', data: { place: 'witness w' } });
      expect(await codeOf(log.addCosignatures(40, []))).toBe('log_halted');
      expect(log.treeSize).toBe(40);
      expect(log.released()?.checkpoint.treeSize).toBe(40);
      expect(await log.files.entry(39)).toEqual(entryOf(39).bytes);
      await log.files.proveInclusion(7);
    }
    const next = await create(world, entryOf(0, 'after a halt'));
    expect([next.generation, next.problem]).toEqual([1, undefined]);
  });

  test('finishes the batch under way, refuses what waits, and hands out no checkpoint', async () => {
    const store = new HeldStore();
    const log = await create({ store, anchor: new MemoryAnchor() });
    store.hold();
    const under = log.append(entryOf(1));
    const released = log.release();
    await settle();
    const waiting = log.append(entryOf(2));
    const outcome = codeOf(released);
    log.halt(problem);
    expect(await codeOf(waiting)).toBe('log_halted');
    store.release();
    expect(await under).toBe(1);
    expect(await outcome).toBe('log_halted');
    expect(log.released()).toBeUndefined();
    await log.close();
  });
});

describe('a failed write', () => {
  test.each([[false], [true]])(
    'ends all signing until the log is opened again (on disk all the same: %s)',
    async (isWritten) => {
      const anchor = new MemoryAnchor();
      const store = await FragileStore.of([]);
      const log = await create({ store, anchor });
      await growTo(log, 30);
      store.failsAt = store.batches + 1;
      store.writesWhatFails = isWritten;
      const under = [log.append(entryOf(30)), log.append(entryOf(31))].map(codeOf);
      await settle();
      const late = codeOf(log.append(entryOf(32)));
      expect(await Promise.all([...under, late])).toEqual(['read_only', 'read_only', 'read_only']);
      store.failsAt = Number.POSITIVE_INFINITY;
      expect(await codeOf(log.append(entryOf(33)))).toBe('read_only');
      expect(await codeOf(log.release())).toBe('read_only');
      expect(log.treeSize).toBe(30);
      expect(log.head().checkpoint.treeSize).toBe(30);
      expect(log.problem).toBeUndefined();
      await log.close();
      const again = await open({ store: await FragileStore.of(await store.cutPower()), anchor });
      await expectWhole(again, isWritten ? 32 : 30);
      await growTo(again, 40);
      await expectWhole(again, 40);
    },
  );

  test('of a checkpoint ends it too', async () => {
    const store = await FragileStore.of([]);
    const log = await create({ store, anchor: new MemoryAnchor() });
    store.failsAt = store.batches + 1;
    expect(await codeOf(log.release())).toBe('read_only');
    expect(await codeOf(log.append(entryOf(1)))).toBe('read_only');
    expect(log.released()).toBeUndefined();
  });

  test('of the anchor alone keeps appends going, and is warned of', async () => {
    const warnings: string[] = [];
    const anchor = new MemoryAnchor();
    const log = await create({
      ...fresh(),
      anchor,
      log: { debug: () => {}, info: () => {}, warn: (_, message) => warnings.push(message), error: () => {} },
    });
    anchor.failure = new Error('no space left on device');
    await growTo(log, 5);
    await log.flush();
    expect(warnings).toContain('the anchor of the audit log is not up to date');
    anchor.failure = undefined;
    await log.close();
    expect(anchor.sizes()).toContain(5);
  });
});

test('closing finishes what was accepted and refuses the rest', async () => {
  const world = fresh();
  const log = await create(world);
  const accepted = Array.from({ length: 700 }, (_, i) => log.append(entryOf(1 + i)));
  const closing = log.close();
  expect(await codeOf(log.append(entryOf(999)))).toBe('read_only');
  expect(await codeOf(log.release())).toBe('read_only');
  await Promise.all([...accepted, closing, log.close()]);
  expect(world.anchor.sizes()).toContain(701);
  await expectWhole(await open(world), 701);
});

test('a listener that fails is nobody else’s trouble', async () => {
  const log = await create(fresh());
  const sizes: number[] = [];
  log.onGrown(() => {
    throw new Error('mine');
  });
  log.onGrown((size) => sizes.push(size));
  await log.append(entryOf(1));
  expect(sizes).toEqual([2]);
});

test('with another key the log goes on being read, and says why it is not signed', async () => {
  const world = fresh();
  const log = await create(world);
  await growTo(log, 10);
  await log.close();
  const other = await open({ ...world, signer: keyOf('another log key') });
  expect(other.problem).toMatchObject({ code: 'log_halted', place: 'key' });
  expect(other.origin).toBe(log.origin);
  expect(other.treeSize).toBe(10);
  const next = await create({ ...world, signer: keyOf('another log key') }, entryOf(0, 'new key'));
  expect(next.origin).toBe(`agentmesh/v1/log/${keyOf('another log key').text}/1`);
  expect(next.problem).toBeUndefined();
});

describe('on disk', () => {
  let directory = '';
  afterEach(() => rm(directory, { recursive: true, force: true }));

  test('a log goes on where it was, and an older copy of its database is refused', async () => {
    directory = await mkdtemp(join(tmpdir(), 'agentmesh-log-'));
    const copies: string[] = [];
    for (const size of [1, 256, 300, 700]) {
      const store = await openLevelStore(join(directory, 'db'));
      const anchor = createFileAnchor(join(directory, 'log.anchor'));
      const log = size === 1 ? await create({ store, anchor }) : await open({ store, anchor });
      await growTo(log, size);
      await expectWhole(log, size);
      const { checkpoint } = await log.release();
      expect(toHex(checkpoint.root)).toBe(toHex(rootOf(size)));
      await log.close();
      await anchor.close();
      await store.close();
      copies.push(join(directory, `copy ${size}`));
      await cp(join(directory, 'db'), copies.at(-1) ?? '', { recursive: true });
    }
    for (const [i, copy] of copies.entries()) {
      const store = await openLevelStore(copy);
      const anchor = createFileAnchor(join(directory, 'log.anchor'));
      const log = await open({ store, anchor });
      if (i === copies.length - 1) {
        await expectWhole(log, 700);
      } else {
        expect(log.problem).toMatchObject({ code: 'log_halted', place: 'anchor' });
        expect(log.problem?.message).toContain('700 leaves');
        expect(await codeOf(log.append(entryOf(800)))).toBe('log_halted');
        expect(await log.files.entry(0)).toEqual(entryOf(0).bytes);
      }
      await log.close();
      await anchor.close();
      await store.close();
    }
  });
});

test('a note of a key of our kind but not ours in the anchor says nothing', async () => {
  const world = fresh();
  const log = await create(world);
  await growTo(log, 3);
  await log.close();
  const foreign = createVkey('example.org/log', LOG_KEY_TYPE, rawKeyOf(keyOf('foreign').publicKey));
  const text = 'example.org/log\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n';
  const line = createSignatureLine(foreign, keyOf('foreign').sign(noteMessage(text)));
  const note = { note: formatNote({ text, signatures: [line] }), isReleased: false };
  const again = await open({ ...world, anchor: new MemoryAnchor([note, ...(world.anchor.slots ?? []).slice(-1)]) });
  await expectWhole(again, 3);
  const alone = await open({ ...world, anchor: new MemoryAnchor([note]) });
  expect(alone.problem).toMatchObject({ place: 'anchor' });
});
