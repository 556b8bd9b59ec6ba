/** Logs held as the files of C2SP tlog-tiles, made from leaf hashes or entries without the code under test. */
import {
  formatBundle,
  formatTile,
  formatTilePath,
  leafHash,
  rootOfHashes,
  TILE_WIDTH,
  tileLevels,
  type TilePlace,
  type TileReader,
} from '../../../protocol/log/index.ts';

/** The hashes of each tile level, from the leaves up. */
export function hashRows(leaves: readonly Uint8Array[]): Uint8Array[][] {
  const rows: Uint8Array[][] = [];
  for (let row = [...leaves]; row.length > 0; ) {
    rows.push(row);
    row = Array.from({ length: Math.floor(row.length / TILE_WIDTH) }, (_, i) =>
      rootOfHashes(row.slice(i * TILE_WIDTH, (i + 1) * TILE_WIDTH)),
    );
  }
  return rows;
}

export interface CountingReader extends TileReader {
  /** Paths that were asked for, in order. */
  readonly asked: string[];
}

/** Answers any place within the rows, also of a smaller tree. */
export function readerOf(rows: readonly (readonly Uint8Array[])[]): CountingReader {
  const asked: string[] = [];
  return {
    asked,
    tile: async (place: TilePlace) => {
      asked.push(formatTilePath(place));
      const start = place.index * TILE_WIDTH;
      const hashes = rows[Number(place.level)]?.slice(start, start + place.width) ?? [];
      return hashes.length === place.width ? formatTile(hashes) : undefined;
    },
  };
}

/** Tiles and bundles by path; the checkpoint is the caller's. */
export function filesOf(entries: readonly Uint8Array[]): Map<string, Uint8Array> {
  const files = new Map<string, Uint8Array>();
  const rows = hashRows(entries.map(leafHash));
  for (const { level, full, partialWidth } of tileLevels(entries.length)) {
    for (let index = 0; index < full + Math.sign(partialWidth); index++) {
      const width = index < full ? TILE_WIDTH : partialWidth;
      const start = index * TILE_WIDTH;
      files.set(formatTilePath({ level, index, width }), formatTile((rows[level] ?? []).slice(start, start + width)));
      if (level > 0) continue;
      const bundle = formatBundle(entries.slice(start, start + width));
      files.set(formatTilePath({ level: 'entries', index, width }), bundle);
    }
  }
  return files;
}
