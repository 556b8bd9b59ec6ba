import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { LOG_ENTRY_BYTES_MAX } from '../../../protocol/limits.ts';
import {
  formatBundle,
  formatTile,
  formatTilePath,
  leafHash,
  parseBundle,
  parseCheckpoint,
  parseTile,
  parseTilePath,
  parseVkey,
  rootOfEdge,
  rootOfHashes,
  TILE_WIDTH,
  tileLevels,
  type TilePlace,
  verifyNote,
} from '../../../protocol/log/index.ts';
import { isSignatureValidSodium } from '../../../protocol/sodium.ts';
import { seededRandom, suiteSeed } from '../../fuzz/random.ts';
import { describeWithShared } from '../../shared.ts';
import { bytesOf, codeOf, leaves, textOf } from './sample.ts';

const SEED = suiteSeed(256);

/** The last places of every level, full and partial, as paths. */
const lastPaths = (treeSize: number): string[] =>
  tileLevels(treeSize).flatMap(({ level, full, partialWidth }) => [
    ...(full > 0 ? [formatTilePath({ level, index: full - 1, width: TILE_WIDTH })] : []),
    ...(partialWidth > 0 ? [formatTilePath({ level, index: full, width: partialWidth })] : []),
  ]);

describe('the tiles of a tree', () => {
  test.each([
    [0, []],
    [1, ['tile/0/000.p/1']],
    [255, ['tile/0/000.p/255']],
    [256, ['tile/0/000', 'tile/1/000.p/1']],
    [257, ['tile/0/000', 'tile/0/001.p/1', 'tile/1/000.p/1']],
    [65_536, ['tile/0/255', 'tile/1/000', 'tile/2/000.p/1']],
    [70_000, ['tile/0/272', 'tile/0/273.p/112', 'tile/1/000', 'tile/1/001.p/17', 'tile/2/000.p/1']],
  ])('of %d leaves are those of C2SP tlog-tiles', (size, paths) => {
    expect(lastPaths(size)).toEqual(paths);
  });

  test('of the largest tree have the widths that floor(size / 256^level) mod 256 gives', () => {
    const size = 2 ** 53 - 1;
    const levels = tileLevels(size);
    expect(levels).toHaveLength(7);
    for (const { level, full, partialWidth } of levels) {
      expect(BigInt(partialWidth)).toBe((BigInt(size) >> BigInt(8 * level)) & 255n);
      expect(BigInt(full)).toBe(BigInt(size) >> BigInt(8 * level + 8));
    }
    for (const wrong of [-1, 0.5, 2 ** 53, Number.NaN]) expect(codeOf(() => tileLevels(wrong))).toBe('malformed');
  });

  test.each([0, 1, 255, 256, 257, 65_536, 70_000])('of %d leaves give the root back', (size) => {
    const hashes = leaves(size);
    const levels: Uint8Array[][] = [];
    for (let row = hashes; row.length > 0; ) {
      levels.push(row);
      const above: Uint8Array[] = [];
      for (let at = 0; at + TILE_WIDTH <= row.length; at += TILE_WIDTH)
        above.push(rootOfHashes(parseTile(formatTile(row.slice(at, at + TILE_WIDTH)), TILE_WIDTH)));
      row = above;
    }
    expect(levels.map((row) => row.length)).toEqual(
      tileLevels(size).map(({ full, partialWidth }) => full * TILE_WIDTH + partialWidth),
    );
    const edge = levels.map((row) => row.slice(row.length - (row.length % TILE_WIDTH)));
    expect(rootOfEdge(edge)).toEqual(rootOfHashes(hashes));
  });
});

describe('a path', () => {
  test.each<[string, TilePlace]>([
    ['tile/0/x001/x234/067', { level: 0, index: 1_234_067, width: 256 }],
    ['tile/0/x001/x234/067.p/8', { level: 0, index: 1_234_067, width: 8 }],
    ['tile/entries/x001/000', { level: 'entries', index: 1000, width: 256 }],
    ['tile/entries/999.p/255', { level: 'entries', index: 999, width: 255 }],
    ['tile/6/000.p/1', { level: 6, index: 0, width: 1 }],
    ['tile/0/x009/x007/x199/x254/x740/991', { level: 0, index: 2 ** 53 - 1, width: 256 }],
  ])('%s is read and written again', (path, place) => {
    expect(formatTilePath(place)).toBe(path);
    expect(parseTilePath(path)).toEqual(place);
  });

  test('of any place is read and written again', () => {
    const random = seededRandom(SEED);
    for (let i = 0; i < 2000; i++) {
      const place: TilePlace = {
        level: random.below(8) === 7 ? 'entries' : random.below(7),
        index: random.below(10 ** random.below(16)),
        width: 1 + random.below(256),
      };
      expect(parseTilePath(formatTilePath(place)), `seed ${SEED}`).toEqual(place);
    }
  });

  test.each([
    'tile/0/0',
    'tile/0/00',
    'tile/0/0000',
    'tile/0/001/234',
    'tile/0/x001',
    'tile/0/x000/001',
    'tile/0/x001/x234',
    'tile/0/000.p/0',
    'tile/0/000.p/256',
    'tile/0/000.p/01',
    'tile/0/000.p/',
    'tile/0/000.p/-1',
    'tile/0/000.p/999',
    'tile/00/000',
    'tile/01/000',
    'tile/7/000',
    'tile/64/000',
    'tile/-1/000',
    'tile/x/000',
    'tile//000',
    'tile/8/0/000',
    '/tile/0/000',
    'tile/0/000/',
    'tile/0/000 ',
    'tile/0/../0/000',
    'tile/0/X001/000',
    'tile/entries',
    'tile/0/x999/x999/x999/x999/x999/999',
    'tile/0/x009/x007/x199/x254/x740/992',
    'checkpoint',
    '',
    'tile/0/٠٠٠',
  ])('"%s" is refused', (path) => {
    expect(codeOf(() => parseTilePath(path))).toBe('malformed');
  });

  test('of no place is not written', () => {
    for (const place of [
      { level: 7, index: 0, width: 1 },
      { level: 0.5, index: 0, width: 1 },
      { level: 0, index: -1, width: 1 },
      { level: 0, index: 2 ** 53, width: 1 },
      { level: 0, index: 0, width: 0 },
      { level: 0, index: 0, width: 257 },
    ])
      expect(codeOf(() => formatTilePath(place))).toBe('malformed');
  });
});

describe('a tile', () => {
  test('holds exactly as many hashes as its path says', () => {
    for (const width of [1, 2, 255, 256]) {
      const hashes = leaves(width);
      const bytes = formatTile(hashes);
      expect(bytes).toHaveLength(32 * width);
      expect(parseTile(bytes, width)).toEqual(hashes);
      for (const wrong of [bytes.slice(1), bytes.slice(32), Uint8Array.from([...bytes, 0])])
        expect(codeOf(() => parseTile(wrong, width))).toBe('malformed');
    }
    expect(codeOf(() => formatTile([]))).toBe('malformed');
    expect(codeOf(() => formatTile(leaves(257)))).toBe('malformed');
    expect(codeOf(() => formatTile([new Uint8Array(31)]))).toBe('malformed');
    for (const width of [0, 257, 0.5, -1]) expect(codeOf(() => parseTile(new Uint8Array(), width))).toBe('malformed');
  });
});

describe('an entry bundle', () => {
  const entries = [bytesOf('one'), new Uint8Array(), bytesOf('three'), new Uint8Array(LOG_ENTRY_BYTES_MAX).fill(7)];
  const bytes = formatBundle(entries);

  test('is read and written again, with empty and largest entries', () => {
    expect(parseBundle(bytes, 4)).toEqual(entries);
    expect([...bytes.subarray(0, 7)]).toEqual([0, 3, ...bytesOf('one'), 0, 0]);
    const full = Array.from({ length: 256 }, (_, i) => bytesOf(`entry ${i}`));
    expect(parseBundle(formatBundle(full), 256)).toEqual(full);
  });

  test('holds exactly as many entries as its path says, and nothing more', () => {
    for (const width of [1, 3, 5, 256]) expect(codeOf(() => parseBundle(bytes, width))).toBe('malformed');
    for (const wrong of [bytes.slice(0, -1), Uint8Array.from([...bytes, 0]), bytes.slice(0, 1), new Uint8Array()])
      expect(codeOf(() => parseBundle(wrong, 4))).toBe('malformed');
    expect(codeOf(() => formatBundle([]))).toBe('malformed');
    expect(codeOf(() => formatBundle([new Uint8Array(LOG_ENTRY_BYTES_MAX + 1)]))).toBe('too_large');
    expect(codeOf(() => parseBundle(new Uint8Array(256 * 65_537 + 1), 256))).toBe('too_large');
  });
});

describeWithShared('vectors/tlog/tessera-log-15', 'a log of Tessera', (folder) => {
  const read = (path: string): Uint8Array => Uint8Array.from(readFileSync(join(folder, path)));
  const vkey = parseVkey(textOf(read('vkey')).trim());

  test.each([0, 1, 2, 3, 4, 5, 6, 7, 8, 15])('of size %d: note, tile and bundle give one root', (size) => {
    const { note, checkpoint } = parseCheckpoint(read(`checkpoint.${size}`));
    verifyNote(note, [vkey], isSignatureValidSodium);
    expect(checkpoint.treeSize).toBe(size);
    const hashes = lastPaths(size).flatMap((path) => parseTile(read(path), parseTilePath(path).width));
    expect(hashes).toHaveLength(size);
    expect(rootOfHashes(hashes)).toEqual(checkpoint.root);
    if (size === 0) return;
    const path = formatTilePath({ level: 'entries', index: 0, width: size });
    expect(parseBundle(read(path), size).map(leafHash)).toEqual(hashes);
    expect(formatBundle(parseBundle(read(path), size))).toEqual(read(path));
  });

  test('has no file whose path is not read', () => {
    const files = readdirSync(join(folder, 'tile'), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1));
    expect(files).toHaveLength(30);
    for (const path of files) expect(formatTilePath(parseTilePath(path))).toBe(path);
  });
});
