/**
 * Tiles and entry bundles (C2SP tlog-tiles). A tile of level L holds the hashes of 256 full tiles of level L - 1, or at
 * level 0 of 256 leaves; only the last of each level may be partial, with 1 to 255 hashes.
 *
 *   tile/<L>/<N>[.p/<W>]          hashes of 32 bytes
 *   tile/entries/<N>[.p/<W>]      entries, each after its length in two bytes
 *
 * N is written in groups of three digits, all but the last after an "x": 1234067 is x001/x234/067.
 */
import { MeshError } from '../errors.ts';
import { LOG_BUNDLE_BYTES_MAX, LOG_ENTRY_BYTES_MAX, TILE_LEVEL_MAX } from '../limits.ts';
import { concatBytes } from '../encoding/bytes.ts';
import { malformed, parseDecimal } from './text.ts';
import { HASH_BYTES, rootOfHashes } from './tree.ts';

/** Hashes of a full tile, and entries of a full bundle. */
export const TILE_WIDTH = 256;

export interface TilePlace {
  readonly level: number | 'entries';
  /** From 0, counted in tiles. */
  readonly index: number;
  /** 1 to 256 */
  readonly width: number;
}

/** Errors: malformed, for a place that no tree has. */
export function formatTilePath({ level, index, width }: TilePlace): string {
  const fits =
    (level === 'entries' || (Number.isInteger(level) && level >= 0 && level <= TILE_LEVEL_MAX)) &&
    Number.isSafeInteger(index) &&
    index >= 0 &&
    Number.isInteger(width) &&
    width >= 1 &&
    width <= TILE_WIDTH;
  if (!fits)
    throw new MeshError(
      'malformed',
      `Cannot write the path of tile ${level}/${index} of width ${width}: there is none`,
    );
  const digits = String(index);
  const groups = digits.padStart(Math.ceil(digits.length / 3) * 3, '0').match(/\d{3}/g) ?? [];
  const name = groups.map((group, i) => (i === groups.length - 1 ? group : `x${group}`)).join('/');
  return `tile/${level}/${name}${width === TILE_WIDTH ? '' : `.p/${width}`}`;
}

const PATH = /^tile\/(entries|\d)\/((?:x\d{3}\/){0,5}\d{3})(?:\.p\/([1-9]\d{0,2}))?$/;

/** Errors: malformed. */
export function parseTilePath(path: string): TilePlace {
  const [, level = '', name = '', width] = PATH.exec(path) ?? [];
  const what = `tile path "${path}"`;
  const digits = name.replaceAll(/[x/]/g, '').replace(/^0+(?=\d)/, '');
  const place: TilePlace = {
    level: level === 'entries' ? level : parseDecimal(level, what),
    index: parseDecimal(digits, what),
    width: width === undefined ? TILE_WIDTH : Number(width),
  };
  if (formatTilePath(place) !== path) throw malformed(what, 'it has another spelling');
  return place;
}

/** How many tiles a level has in a tree of this size: full ones, and the width of the partial one after them. */
export interface TileLevel {
  readonly level: number;
  readonly full: number;
  /** 0 if there is none: empty tiles do not exist. */
  readonly partialWidth: number;
}

/** From level 0 up; none for a tree without leaves. Entry bundles lie as the tiles of level 0. Errors: malformed. */
export function tileLevels(treeSize: number): TileLevel[] {
  if (!Number.isSafeInteger(treeSize) || treeSize < 0)
    throw new MeshError(
      'malformed',
      `Cannot divide a tree of ${treeSize} leaves into tiles: want an integer from 0 to 2^53 - 1`,
    );
  const levels: TileLevel[] = [];
  for (let count = treeSize; count > 0; count = Math.floor(count / TILE_WIDTH)) {
    levels.push({ level: levels.length, full: Math.floor(count / TILE_WIDTH), partialWidth: count % TILE_WIDTH });
  }
  return levels;
}

/**
 * Root of a tree from its right edge: the hashes of the partial tile of each level, from level 0 up, none where a level
 * has no partial tile. The hashes of a level lie to the left of all that the levels below have beside full tiles.
 */
export function rootOfEdge(edge: readonly (readonly Uint8Array[])[]): Uint8Array {
  let right: readonly Uint8Array[] = [];
  for (const hashes of edge) {
    const all = [...hashes, ...right];
    right = all.length === 0 ? [] : [rootOfHashes(all)];
  }
  return rootOfHashes(right);
}

/** Errors: malformed, unless it holds as many hashes as its place has. */
export function parseTile(bytes: Uint8Array, width: number): Uint8Array[] {
  checkWidth('a tile', width);
  if (bytes.length !== width * HASH_BYTES)
    throw malformed('a tile', `it has ${bytes.length} bytes, want ${width * HASH_BYTES} for a width of ${width}`);
  return Array.from({ length: width }, (_, i) => bytes.slice(i * HASH_BYTES, (i + 1) * HASH_BYTES));
}

/** Errors: malformed. */
export function formatTile(hashes: readonly Uint8Array[]): Uint8Array {
  checkWidth('a tile', hashes.length);
  if (!hashes.every(({ length }) => length === HASH_BYTES))
    throw malformed('a tile', `want hashes of ${HASH_BYTES} bytes`);
  return concatBytes(...hashes);
}

/** Errors: too_large, malformed, unless it holds as many entries as its place has. */
export const parseBundle = (bytes: Uint8Array, width: number): Uint8Array[] => [...readBundle(bytes, width)];

/** The same, entry by entry: those before a damaged place can be looked at. */
export function* readBundle(bytes: Uint8Array, width: number): Generator<Uint8Array, undefined> {
  checkWidth('an entry bundle', width);
  if (bytes.length > LOG_BUNDLE_BYTES_MAX)
    throw new MeshError(
      'too_large',
      `Cannot read an entry bundle: it has ${bytes.length} bytes, want at most ${LOG_BUNDLE_BYTES_MAX}`,
    );
  let [at, count] = [0, 0];
  for (; at < bytes.length && count < width; count++) {
    const [high, low] = [bytes[at], bytes[at + 1]];
    if (high === undefined || low === undefined) throw malformed('an entry bundle', `entry ${count} has no length`);
    const end = at + 2 + high * 256 + low;
    if (end > bytes.length) throw malformed('an entry bundle', `entry ${count} is cut off`);
    yield bytes.slice(at + 2, end);
    at = end;
  }
  if (count < width) throw malformed('an entry bundle', `it has ${count} entries, want ${width}`);
  if (at < bytes.length) throw malformed('an entry bundle', `${bytes.length - at} bytes follow its ${width} entries`);
  return undefined;
}

/** Errors: too_large, malformed. */
export function formatBundle(entries: readonly Uint8Array[]): Uint8Array {
  checkWidth('an entry bundle', entries.length);
  return concatBytes(
    ...entries.flatMap((entry) => {
      if (entry.length > LOG_ENTRY_BYTES_MAX)
        throw new MeshError(
          'too_large',
          `Cannot write an entry of ${entry.length} bytes: want at most ${LOG_ENTRY_BYTES_MAX}`,
        );
      return [Uint8Array.of(entry.length >> 8, entry.length & 255), entry];
    }),
  );
}

function checkWidth(what: string, width: number): void {
  if (!Number.isInteger(width) || width < 1 || width > TILE_WIDTH)
    throw malformed(what, `its width is ${width}, want 1 to ${TILE_WIDTH}`);
}
