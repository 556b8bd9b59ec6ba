/**
 * A whole log as files, which any web server can serve (C2SP tlog-tiles; SPEC "Exported logs"):
 *
 *   tile/entries/<N>[.p/<W>]   tile/<L>/<N>[.p/<W>]
 *   checkpoint                 as it was signed, with the cosignatures known
 *   log.v0.vkey                the log's key, for people; nothing vouches for it
 *   policy                     optional: whom the log's owner asked to cosign; a verifier has one of its own
 */
import { MeshError } from '../errors.ts';
import type { TileReader } from './prove.ts';
import { formatBundle, formatTilePath, readBundle, TILE_WIDTH, tileLevels, type TilePlace } from './tile.ts';
import { HASH_BYTES } from './tree.ts';

export const CHECKPOINT_PATH = 'checkpoint';
export const VKEY_PATH = 'log.v0.vkey';
export const POLICY_PATH = 'policy';

export interface LogFiles {
  /** Undefined: there is no such file. */
  read(path: string): Promise<Uint8Array | undefined>;
}

/**
 * Where the tiles and bundles of a log of this size are, level by level from the entries up; partial ones of this size
 * only, and no empty ones. Errors: malformed, for what is no size.
 */
export function* listLogFiles(treeSize: number): Generator<TilePlace & { readonly path: string }> {
  const [leaves, ...above] = tileLevels(treeSize);
  if (leaves === undefined) return;
  for (const { level, full, partialWidth } of [{ ...leaves, level: 'entries' as const }, leaves, ...above]) {
    for (let index = 0; index < full; index++) yield placed({ level, index, width: TILE_WIDTH });
    if (partialWidth > 0) yield placed({ level, index: full, width: partialWidth });
  }
}

const placed = (place: TilePlace): TilePlace & { readonly path: string } => ({ ...place, path: formatTilePath(place) });

/** What a file holds that begins with the tile or bundle asked for. */
export interface FoundTile {
  readonly path: string;
  readonly bytes: Uint8Array;
  /** At least that of the place. */
  readonly width: number;
}

/**
 * A tile or bundle of a log's files. Partial ones may be deleted once the full one exists, which begins with them (C2SP
 * tlog-tiles, "Partial Tiles"). Errors: not_found, and malformed, unless a tile has as many hashes as its path says,
 * both naming the path; bundles are not looked into.
 */
export async function readTile(files: LogFiles, place: TilePlace): Promise<FoundTile> {
  const found = await findTile(files, place);
  if (found === undefined) throw missing(formatTilePath(place));
  return found;
}

async function findTile(files: LogFiles, place: TilePlace): Promise<FoundTile | undefined> {
  for (const width of new Set([place.width, TILE_WIDTH])) {
    const path = formatTilePath({ ...place, width });
    const bytes = await files.read(path);
    if (bytes === undefined) continue;
    if (place.level !== 'entries') verifyTileSize(path, bytes, width);
    return { path, bytes, width };
  }
  return undefined;
}

function verifyTileSize(path: string, { length: is }: Uint8Array, width: number): void {
  const want = width * HASH_BYTES;
  if (is !== want)
    throw new MeshError('malformed', `Cannot read "${path}": it has ${is} bytes, want ${want}`, { path, is, want });
}

/** To prove from files. Errors of its reads: malformed, naming the path. */
export const tileReaderOf = (files: LogFiles): TileReader => ({
  async tile(place) {
    const found = await findTile(files, place);
    if (found === undefined || found.width === place.width) return found?.bytes;
    if (place.level !== 'entries') return found.bytes.slice(0, place.width * HASH_BYTES);
    return inFile(found.path, () => formatBundle([...readBundle(found.bytes, found.width)].slice(0, place.width)));
  },
});

const missing = (path: string): MeshError =>
  new MeshError('not_found', `Cannot read "${path}": it is missing`, { path });

/** Errors that say which file they are about. */
function inFile<T>(path: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof MeshError)) throw error;
    throw new MeshError(error.code, `${error.message} ("${path}")`, { ...error.data, path }, { cause: error });
  }
}
