/**
 * A log as files that any web server can serve (C2SP tlog-tiles), copied so that nothing is believed on the way: from
 * the root of the checkpoint down, every tile and every bundle has to be what the hash above it says, whether it was
 * there or comes from the daemon. The checkpoint is written last, so the files below it are never fewer than it says.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { equalBytes, limits, MeshError } from '../protocol/index.ts';
import {
  type Checkpoint,
  CHECKPOINT_PATH,
  formatTilePath,
  leafHash,
  type LogFiles,
  parseBundle,
  parseCheckpoint,
  parseTile,
  parseVkey,
  POLICY_PATH,
  rootFromTiles,
  rootOfEdge,
  rootOfHashes,
  TILE_WIDTH,
  tileLevels,
  type TilePlace,
  type Vkey,
  VKEY_PATH,
  verifyNote,
} from '../protocol/log/index.ts';
import { isSignatureValidSodium } from '../protocol/sodium.ts';
import { verifyNotAborted } from './http.ts';

export interface ExportOptions {
  readonly signal?: AbortSignal | undefined;
  /** Told after each bundle: entries in the directory so far, and those that there will be. */
  readonly onProgress?: ((entries: number, of: number) => void) | undefined;
}

export interface Exported {
  readonly directory: string;
  readonly origin: string;
  readonly treeSize: number;
  /** Of the checkpoint that was there before; null where there was none. */
  readonly before: number | null;
  readonly filesWritten: number;
  /** That were there and are what they should be. */
  readonly filesKept: number;
}

/** A directory that holds a log as files; what lies outside it is not read. */
export const filesIn = (directory: string): LogFiles => ({
  read: async (path) => readIfThere(join(directory, path)),
});

/**
 * Brings the directory to the newest released checkpoint. What is there already is kept where it is right.
 * Errors: bad_proof (a file does not fit the checkpoint, or the checkpoint there is not of this history), conflict (it
 * holds another log), not_found (nothing is released yet, or a file is missing), bad_signature, cancelled.
 */
export async function exportToDirectory(
  source: LogFiles,
  directory: string,
  options: ExportOptions = {},
): Promise<Exported> {
  const vkey = parseVkey(textOf(await required(source, VKEY_PATH)).trimEnd());
  const policy = await required(source, POLICY_PATH);
  const note = await required(source, CHECKPOINT_PATH);
  const next = checkpointOf(note, vkey);
  const before = await checkpointThere(directory, vkey);
  const copy = new Copy(source, directory, next, options);
  if (before !== undefined) await copy.verifyContinues(before);
  await copy.tiles();
  await copy.write(VKEY_PATH, await required(source, VKEY_PATH));
  await copy.write(POLICY_PATH, policy);
  await copy.write(CHECKPOINT_PATH, note);
  if (before !== undefined) await copy.removeOutgrown(before.treeSize);
  return {
    directory,
    origin: next.origin,
    treeSize: next.treeSize,
    before: before?.treeSize ?? null,
    filesWritten: copy.written,
    filesKept: copy.kept,
  };
}

class Copy {
  readonly #source: LogFiles;
  readonly #directory: string;
  readonly #checkpoint: Checkpoint;
  readonly #options: ExportOptions;
  readonly #directoriesMade = new Set<string>();
  #entries = 0;
  written = 0;
  kept = 0;

  constructor(source: LogFiles, directory: string, checkpoint: Checkpoint, options: ExportOptions) {
    this.#source = source;
    this.#directory = directory;
    this.#checkpoint = checkpoint;
    this.#options = options;
  }

  /** The tree of the checkpoint there has to be the beginning of this one. Errors: bad_proof. */
  async verifyContinues(before: Checkpoint): Promise<void> {
    const { origin, treeSize } = this.#checkpoint;
    const why =
      before.treeSize > treeSize
        ? `it has ${before.treeSize} entries, the log ${treeSize}`
        : equalBytes(await this.#rootAt(before.treeSize), before.root)
          ? undefined
          : `the log has another root at ${before.treeSize} entries`;
    if (why === undefined) return;
    throw new MeshError(
      'bad_proof',
      `Cannot export to "${this.#directory}": the checkpoint there is of another history of "${origin}": ${why}`,
      { path: join(this.#directory, CHECKPOINT_PATH), is: before.treeSize, want: treeSize },
    );
  }

  #rootAt(treeSize: number): Promise<Uint8Array> {
    return rootFromTiles(treeSize, { tile: async (place) => this.#source.read(formatTilePath(place)) });
  }

  async tiles(): Promise<void> {
    const levels = tileLevels(this.#checkpoint.treeSize);
    const edge: Uint8Array[][] = [];
    const partials: { readonly place: TilePlace; readonly bytes: Uint8Array }[] = [];
    for (const { level, full, partialWidth } of levels) {
      if (partialWidth === 0) {
        edge.push([]);
        continue;
      }
      const place = { level, index: full, width: partialWidth };
      const bytes = await this.#fetch(place);
      edge.push(parseTile(bytes, partialWidth));
      partials.push({ place, bytes });
    }
    if (!equalBytes(rootOfEdge(edge), this.#checkpoint.root))
      throw new MeshError(
        'bad_proof',
        `Cannot export "${this.#checkpoint.origin}": its tiles lead to another root than its checkpoint of ${this.#checkpoint.treeSize} entries`,
        { path: CHECKPOINT_PATH },
      );
    // From the left: every partial tile above level 0 holds the hashes of full ones, which come before the ones below.
    for (const { place, bytes } of partials.toReversed()) {
      await this.#keepOrWrite(place, async (there) => equalBytes(there, bytes), bytes);
      await this.#below(place, parseTile(bytes, place.width));
    }
  }

  /** What lies under a tile whose hashes are right. */
  async #below({ level, index, width }: TilePlace, hashes: readonly Uint8Array[]): Promise<void> {
    if (level === 0) return this.#bundle({ level: 'entries', index, width }, hashes);
    const under = Number(level) - 1;
    for (const [i, hash] of hashes.entries()) {
      const place = { level: under, index: index * TILE_WIDTH + i, width: TILE_WIDTH };
      const bytes = await this.#keepOrWrite(place, async (tile) => isTileOf(tile, hash));
      await this.#below(place, parseTile(bytes, TILE_WIDTH));
    }
  }

  async #bundle(place: TilePlace, hashes: readonly Uint8Array[]): Promise<void> {
    await this.#keepOrWrite(place, async (bundle) => isBundleOf(bundle, hashes));
    this.#entries += place.width;
    this.#options.onProgress?.(this.#entries, this.#checkpoint.treeSize);
  }

  /** The file that is there if it is right, else the daemon's, which has to be. Errors: bad_proof, not_found. */
  async #keepOrWrite(
    place: TilePlace,
    isRight: (bytes: Uint8Array) => Promise<boolean>,
    given?: Uint8Array,
  ): Promise<Uint8Array> {
    const path = formatTilePath(place);
    const there = await readIfThere(join(this.#directory, path));
    if (there !== undefined && (await isRight(there))) {
      this.kept += 1;
      return there;
    }
    const bytes = given ?? (await this.#fetch(place));
    if (!(await isRight(bytes)))
      throw new MeshError('bad_proof', `Cannot export "${path}": it is not what the hash above it says`, { path });
    await this.write(path, bytes);
    return bytes;
  }

  async #fetch(place: TilePlace): Promise<Uint8Array> {
    verifyNotAborted(this.#options.signal);
    return required(this.#source, formatTilePath(place));
  }

  /** On disk under its name, whole, when it resolves. */
  async write(path: string, bytes: Uint8Array): Promise<void> {
    const file = join(this.#directory, path);
    await this.#makeDirectory(dirname(file));
    const draft = `${file}.${randomBytes(4).toString('hex')}.new`;
    try {
      await using handle = await open(draft, 'wx');
      await handle.writeFile(bytes);
      await handle.sync();
    } catch (error) {
      await rm(draft, { force: true });
      throw error;
    }
    await rename(draft, file);
    await syncDirectory(dirname(file));
    this.written += 1;
  }

  /** A directory is on disk once the one that names it is synced. */
  async #makeDirectory(path: string): Promise<void> {
    if (this.#directoriesMade.has(path)) return;
    const first = await mkdir(path, { recursive: true });
    this.#directoriesMade.add(path);
    if (first === undefined) return;
    for (let made = path; made.length >= first.length; made = dirname(made)) await syncDirectory(dirname(made));
  }

  /** Partial tiles of the checkpoint before, where the full one is there now: only that checkpoint needed them. */
  async removeOutgrown(before: number): Promise<void> {
    const now = new Map(tileLevels(this.#checkpoint.treeSize).map(({ level, full }) => [level, full]));
    for (const { level, full, partialWidth } of tileLevels(before)) {
      if (partialWidth === 0 || (now.get(level) ?? 0) <= full) continue;
      const places: TilePlace[] = [{ level, index: full, width: partialWidth }];
      if (level === 0) places.push({ level: 'entries', index: full, width: partialWidth });
      for (const place of places)
        await rm(dirname(join(this.#directory, formatTilePath(place))), { recursive: true, force: true });
    }
  }
}

function isTileOf(bytes: Uint8Array, root: Uint8Array): boolean {
  if (bytes.length !== TILE_WIDTH * root.length) return false;
  return equalBytes(rootOfHashes(parseTile(bytes, TILE_WIDTH)), root);
}

function isBundleOf(bytes: Uint8Array, hashes: readonly Uint8Array[]): boolean {
  let entries: Uint8Array[];
  try {
    entries = parseBundle(bytes, hashes.length);
  } catch {
    return false; // torn or damaged: it is fetched anew, and what comes then has to be right
  }
  return entries.every((entry, i) => equalBytes(leafHash(entry), hashes[i] ?? new Uint8Array()));
}

/** Errors: malformed, bad_signature, not_signed, conflict. */
function checkpointOf(bytes: Uint8Array, vkey: Vkey): Checkpoint {
  const { checkpoint, note } = parseCheckpoint(bytes);
  verifyNote(note, [vkey], isSignatureValidSodium);
  if (checkpoint.origin === vkey.name) return checkpoint;
  throw new MeshError('conflict', `Cannot use a checkpoint of "${checkpoint.origin}": want "${vkey.name}"`);
}

/** What was exported before. Errors: conflict, malformed. */
async function checkpointThere(directory: string, vkey: Vkey): Promise<Checkpoint | undefined> {
  const bytes = await readIfThere(join(directory, CHECKPOINT_PATH));
  if (bytes === undefined) return undefined;
  const { checkpoint } = parseCheckpoint(bytes);
  if (checkpoint.origin !== vkey.name) {
    throw new MeshError(
      'conflict',
      `Cannot export to "${directory}": it holds "${checkpoint.origin}", want "${vkey.name}" or an empty directory`,
      { path: directory, is: checkpoint.origin, want: vkey.name },
    );
  }
  return checkpointOf(bytes, vkey);
}

/** Errors: not_found. */
async function required(source: LogFiles, path: string): Promise<Uint8Array> {
  const bytes = await source.read(path);
  if (bytes !== undefined) return bytes;
  throw new MeshError('not_found', `Cannot read "${path}" of the log: there is no such file`, { path });
}

/** Errors: too_large, for what no file of a log can be. */
async function readIfThere(path: string): Promise<Uint8Array | undefined> {
  try {
    await using handle = await open(path);
    const { size } = await handle.stat();
    if (size > limits.LOG_BUNDLE_BYTES_MAX) {
      const want = limits.LOG_BUNDLE_BYTES_MAX;
      throw new MeshError('too_large', `Cannot read "${path}": it has ${size} bytes, want <= ${want}`, {
        is: size,
        want,
      });
    }
    return await readFile(handle);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw error;
  }
}

async function syncDirectory(path: string): Promise<void> {
  await using handle = await open(path);
  await handle.sync();
}

const textOf = (bytes: Uint8Array): string => new TextDecoder('utf-8', { fatal: true }).decode(bytes);
