/**
 * A log checked from its bytes alone (SPEC "Exported logs"): from the entries up, so that what is found first is the
 * first place, in the order of the leaves, that is not as the checkpoint says. One bundle, one tile a level and the
 * right edge of the tree are held at a time.
 */
import { equalBytes, fromBase64url, toHex } from '../encoding/bytes.ts';
import { MeshError } from '../errors.ts';
import type { IsSignatureValid } from '../signature.ts';
import { parseStatementOf, type Statement, verifySignatures } from '../statement/statement.ts';
import { originOf } from './binding.ts';
import { type Checkpoint, parseCheckpoint, type SignedCheckpoint } from './checkpoint.ts';
import { TreeEdge } from './edge.ts';
import { EntrySigners } from './entry-signers.ts';
import { wireTypeOf } from './entry-types.ts';
import { isOfType, type ParsedEntry, parseEntry, verifyEntry } from './entry.ts';
import { CHECKPOINT_PATH, type FoundTile, type LogFiles, readTile, tileReaderOf, VKEY_PATH } from './log-files.ts';
import { parseLogOrigin } from './names.ts';
import { type Freshness, type Policy, type VerifiedCheckpoint, verifyCheckpoint, verifyProofFile } from './policy.ts';
import { parseProofFile } from './proof-file.ts';
import { proveInclusion, tileOf } from './prove.ts';
import { utf8 } from './text.ts';
import { formatTilePath, readBundle, TILE_WIDTH, tileLevels } from './tile.ts';
import { foldInclusion, HASH_BYTES, leafHash, type TreeHasher } from './tree.ts';
import { formatVkey, isSameKey, type Vkey } from './vkey.ts';

export interface VerifyLogOptions {
  readonly isSignatureValid: IsSignatureValid;
  /**
   * The log's key. Default: that of the policy's logs which is named as the origin, if the policy names any; else the
   * one that the origin of an AgentMesh log holds, and then whose log it is remains to be looked at in the report.
   */
  readonly vkey?: Vkey;
  /** Its quorum must have cosigned the checkpoint. Default: nobody needs to have. */
  readonly policy?: Policy;
  /** How old the cosignatures may be. Default: any age. */
  readonly freshness?: Freshness;
  /**
   * Checkpoints of the log that were seen elsewhere (an anchor's, one that was cosigned), verified before: the log must
   * contain them. Without any, a log that was cut back to an older checkpoint of its own is as good as that checkpoint.
   */
  readonly known?: readonly Checkpoint[];
  /**
   * `opaque`: bytes to be hashed, as the entries of other people's logs. Default: audit entries, each verified with the
   * keys that the log has shown up to there; leaf 0 says that it is this log, and whose.
   */
  readonly entries?: 'audit' | 'opaque';
  /** Called after each bundle. */
  readonly onProgress?: (progress: LogProgress) => void;
  /** Looked at before each bundle. */
  readonly signal?: AbortSignal;
  /** Default: pure JavaScript. */
  readonly hasher?: TreeHasher;
}

export interface LogProgress {
  /** Entries checked so far. */
  readonly entries: number;
  readonly treeSize: number;
}

/** What was checked, and found to be as it should. */
export interface LogReport extends VerifiedCheckpoint {
  readonly entries: number;
  /** Of entries; none in opaque ones. */
  readonly signatures: number;
  /** DID of the organisation whose log it is, as leaf 0 of an audit log says, signed by it. */
  readonly organisation?: string;
  readonly bundles: number;
  /** Of hashes. */
  readonly tiles: number;
  /** Checkpoints of `known` that it contains. */
  readonly known: number;
}

/**
 * Errors, each naming the first place (data: path, index, is, want): not_found, malformed, too_large (a file is missing
 * or cannot be read); bad_proof (hashes contradict one another, or the checkpoint, or a known one); not_signed,
 * bad_signature, quorum (the checkpoint); those of parseEntry, verifyEntry and EntrySigners; not_entitled (the log is
 * not the one that its leaf 0 opens); cancelled.
 */
export async function verifyLog(files: LogFiles, options: VerifyLogOptions): Promise<LogReport> {
  const verified = verifySigned(await readCheckpoint(files), options);
  await verifyVkeyFile(files, verified.log);
  return new Check(files, verified, options).report();
}

async function readCheckpoint(files: LogFiles): Promise<SignedCheckpoint> {
  const bytes = await files.read(CHECKPOINT_PATH);
  if (bytes === undefined)
    throw new MeshError('not_found', `Cannot read "${CHECKPOINT_PATH}": it is missing`, { path: CHECKPOINT_PATH });
  return at({ path: CHECKPOINT_PATH }, () => parseCheckpoint(bytes));
}

function verifySigned({ note, checkpoint }: SignedCheckpoint, options: VerifyLogOptions): VerifiedCheckpoint {
  const { policy, isSignatureValid, freshness } = options;
  return at({ path: CHECKPOINT_PATH }, () => {
    const logs = [{ vkey: logKey(checkpoint.origin, options) }];
    const whole = policy === undefined ? { logs, witnesses: [], groups: [], quorum: undefined } : { ...policy, logs };
    return verifyCheckpoint(note, whole, isSignatureValid, freshness);
  });
}

/** The one key that the checkpoint must be signed with. An AgentMesh origin holds its key, so no other will do. */
function logKey(origin: string, { vkey, policy }: VerifyLogOptions): Vkey {
  const own = parseLogOrigin(origin)?.vkey;
  const given = vkey === undefined ? policy?.logs.map((log) => log.vkey) : [vkey];
  const key = given === undefined || given.length === 0 ? own : given.find(({ name }) => name === origin);
  if (key === undefined || (own !== undefined && !isSameKey(key, own)))
    throw new MeshError('not_signed', `Cannot accept checkpoint "${origin}": no key asked for is of this log`);
  return key;
}

/** It vouches for nothing, but must not mislead who reads it. */
async function verifyVkeyFile(files: LogFiles, vkey: Vkey): Promise<void> {
  const bytes = await files.read(VKEY_PATH);
  if (bytes === undefined || equalBytes(bytes, utf8(`${formatVkey(vkey)}\n`))) return;
  throw new MeshError('malformed', `Cannot accept "${VKEY_PATH}": it is not the key that signed the checkpoint`, {
    path: VKEY_PATH,
  });
}

/** One run over one log. */
class Check {
  readonly #files: LogFiles;
  readonly #verified: VerifiedCheckpoint;
  readonly #options: VerifyLogOptions;
  readonly #edge: TreeEdge;
  readonly #leafHash: TreeHasher['leafHash'];
  /** Of each level, the tile that the edge is in. */
  readonly #stored: FoundTile[] = [];
  readonly #known: readonly Checkpoint[];
  #knownSeen = 0;
  readonly #audit: AuditCheck | undefined;

  constructor(files: LogFiles, verified: VerifiedCheckpoint, options: VerifyLogOptions) {
    this.#files = files;
    this.#verified = verified;
    this.#options = options;
    this.#edge = new TreeEdge(options.hasher);
    const { isSignatureValid } = options;
    if (options.entries !== 'opaque') this.#audit = new AuditCheck(verified.checkpoint.origin, isSignatureValid);
    this.#leafHash = options.hasher?.leafHash ?? leafHash;
    this.#known = (options.known ?? []).toSorted((a, b) => a.treeSize - b.treeSize);
  }

  async report(): Promise<LogReport> {
    const { treeSize, root, origin } = this.#verified.checkpoint;
    this.#verifyKnownFits();
    this.#verifyKnownHere();
    const bundles = Math.ceil(treeSize / TILE_WIDTH);
    for (let bundle = 0; bundle < bundles; bundle++) {
      this.#verifyNotCancelled();
      await this.#verifyBundle(bundle);
      await this.#verifyTilesAbove();
      this.#options.onProgress?.({ entries: this.#edge.treeSize, treeSize });
    }
    const found = this.#edge.root();
    if (!equalBytes(found, root))
      throw contradiction(
        `checkpoint "${origin}" of size ${treeSize}: all entries and tiles agree with one another, but their root`,
        found,
        root,
        { path: CHECKPOINT_PATH },
      );
    if (treeSize > 0) at({ index: 0, path: this.#bundlePath(0) }, () => this.#audit?.end());
    const tiles = tileLevels(treeSize).reduce((sum, level) => sum + level.full + Math.sign(level.partialWidth), 0);
    return {
      ...this.#verified,
      entries: this.#edge.treeSize,
      signatures: this.#audit?.signatures ?? 0,
      ...(this.#audit?.organisation === undefined ? {} : { organisation: this.#audit.organisation }),
      bundles,
      tiles,
      known: this.#knownSeen,
    };
  }

  #bundlePath(index: number): string {
    const width = Math.min(TILE_WIDTH, this.#verified.checkpoint.treeSize - index * TILE_WIDTH);
    return formatTilePath({ level: 'entries', index, width });
  }

  async #verifyBundle(bundle: number): Promise<void> {
    const { treeSize } = this.#verified.checkpoint;
    const start = bundle * TILE_WIDTH;
    const width = Math.min(TILE_WIDTH, treeSize - start);
    const found = await readTile(this.#files, { level: 'entries', index: bundle, width });
    const tile = await this.#storedAt(0, start);
    const entries = readBundle(found.bytes, found.width);
    const next = (index: number): Uint8Array | undefined => at({ index, path: found.path }, () => entries.next().value);
    for (let index = start; index < start + width; index++) {
      const entry = next(index);
      if (entry === undefined) break; // never before the width: then reading it has thrown
      const hash = this.#leafHash(entry);
      const stored = hashIn(tile, index);
      if (!equalBytes(hash, stored)) throw await this.#leafContradiction(index, hash, stored, tile.path, found.path);
      at({ index, path: found.path }, () => this.#audit?.verify(entry, index));
      this.#edge.append(hash);
      this.#verifyKnownHere();
    }
    // A full bundle may stand for a partial one; what follows there is no business of this checkpoint.
    if (found.width === width) next(start + width);
  }

  /** Each hash that the bundle completed, in the tile above. */
  async #verifyTilesAbove(): Promise<void> {
    for (const { place, bytes } of this.#edge.takeTiles()) {
      if (place.level === 0) continue; // compared entry by entry
      const index = place.index * TILE_WIDTH + place.width - 1;
      const tile = await this.#storedAt(place.level, index);
      const hash = bytes.slice(-HASH_BYTES);
      const stored = hashIn(tile, index);
      if (!equalBytes(hash, stored)) throw await this.#nodeContradiction(place.level, index, hash, stored, tile.path);
    }
  }

  async #storedAt(level: number, hashIndex: number): Promise<FoundTile> {
    const known = this.#stored[level];
    if (known !== undefined && hashIndex % TILE_WIDTH !== 0) return known;
    const tile = await readTile(this.#files, tileOf(level, hashIndex, this.#verified.checkpoint.treeSize));
    this.#stored[level] = tile;
    return tile;
  }

  /** Which of two hashes of a leaf is wrong shows by which of them leads to the root, if the rest of the tiles is good. */
  async #leafContradiction(
    index: number,
    hash: Uint8Array,
    stored: Uint8Array,
    tilePath: string,
    bundlePath: string,
  ): Promise<MeshError> {
    if (await this.#leadsToRoot(0, index, hash))
      return contradiction(
        `"${tilePath}": the leaf hash of entry ${index} leads to the root of the checkpoint, and its hash ${index % TILE_WIDTH}`,
        stored,
        hash,
        { path: tilePath, index },
      );
    const isTileGood = await this.#leadsToRoot(0, index, stored);
    return contradiction(
      `entry ${index} in "${bundlePath}": its leaf hash is not that of "${tilePath}"${isTileGood ? '' : ', and neither leads to the root of the checkpoint'}; it`,
      hash,
      stored,
      { path: bundlePath, index },
    );
  }

  async #nodeContradiction(
    level: number,
    index: number,
    hash: Uint8Array,
    stored: Uint8Array,
    tilePath: string,
  ): Promise<MeshError> {
    const below = formatTilePath(tileOf(level - 1, index * TILE_WIDTH, this.#verified.checkpoint.treeSize));
    if (await this.#leadsToRoot(level, index, hash))
      return contradiction(
        `"${tilePath}": the root of "${below}" leads to that of the checkpoint, and its hash ${index % TILE_WIDTH}`,
        stored,
        hash,
        { path: tilePath },
      );
    const [first, last] = [index * TILE_WIDTH ** level, (index + 1) * TILE_WIDTH ** level - 1];
    const isTileGood = await this.#leadsToRoot(level, index, stored);
    return contradiction(
      `entries ${first} to ${last}: they agree with "${below}", whose root is not that of "${tilePath}"${isTileGood ? '' : ', and neither leads to the root of the checkpoint'}; it`,
      hash,
      stored,
      { path: below, index: first },
    );
  }

  /**
   * Whether this hash, with the tiles of the files beside it, is under the checkpoint. Of a full subtree of height h
   * the path goes on as that of a leaf does in a tree of as many subtrees, so the first h hashes are not needed.
   */
  async #leadsToRoot(level: number, index: number, hash: Uint8Array): Promise<boolean> {
    const { treeSize, root } = this.#verified.checkpoint;
    const [height, leaves] = [8 * level, TILE_WIDTH ** level];
    try {
      const proof = await proveInclusion(index * leaves, treeSize, tileReaderOf(this.#files));
      const subtrees = Math.floor((treeSize - 1) / leaves) + 1;
      return equalBytes(foldInclusion(index, subtrees, hash, proof.slice(height)), root);
    } catch (error) {
      if (error instanceof MeshError) return false; // a tile beside it is missing or none: nothing leads anywhere
      throw error;
    }
  }

  #verifyKnownFits(): void {
    const { origin, treeSize } = this.#verified.checkpoint;
    for (const { origin: knownOrigin, treeSize: want } of this.#known) {
      if (knownOrigin !== origin)
        throw new MeshError('bad_proof', `Cannot compare log "${origin}" with a checkpoint of "${knownOrigin}"`);
      if (want > treeSize)
        throw new MeshError(
          'bad_proof',
          `Cannot accept log "${origin}": it ends after ${treeSize} entries, and a checkpoint of ${want} is known`,
          { path: CHECKPOINT_PATH, is: treeSize, want },
        );
    }
  }

  #verifyKnownHere(): void {
    const { treeSize } = this.#edge;
    for (
      let known = this.#known[this.#knownSeen];
      known?.treeSize === treeSize;
      known = this.#known[++this.#knownSeen]
    ) {
      const found = this.#edge.root();
      if (!equalBytes(found, known.root))
        throw contradiction(
          `log "${known.origin}": it contradicts the checkpoint of size ${treeSize} that is known; its root at that size`,
          found,
          known.root,
          { path: CHECKPOINT_PATH, treeSize },
        );
    }
  }

  #verifyNotCancelled(): void {
    if (this.#options.signal?.aborted !== true) return;
    throw new MeshError('cancelled', `Cannot go on verifying a log: cancelled after ${this.#edge.treeSize} entries`);
  }
}

/** Entries of an audit log, in order: each is signed with a key that the log has shown to be its actor's. */
class AuditCheck {
  readonly #origin: string;
  readonly #isSignatureValid: IsSignatureValid;
  readonly #signers: EntrySigners;
  #binding: Statement<'binding/v1'> | undefined;
  signatures = 0;

  constructor(origin: string, isSignatureValid: IsSignatureValid) {
    this.#origin = origin;
    this.#isSignatureValid = isSignatureValid;
    this.#signers = new EntrySigners(isSignatureValid);
  }

  /** Whose log it is. */
  get organisation(): string | undefined {
    return this.#binding?.payload.iss;
  }

  verify(bytes: Uint8Array, index: number): void {
    const parsed = parseEntry(bytes);
    verifyEntry(parsed, this.#isSignatureValid);
    if (index === 0) this.#binding = this.#bindingIn(parsed);
    this.#signers.read(parsed);
    this.signatures += 1;
  }

  /** What leaf 0 is signed with, the entries after it show. */
  end(): void {
    this.#signers.end();
    const key = this.#binding?.payload.by[0]; // the others are the log's and the witness's own
    if (key !== undefined) this.#signers.verifyOrganisationKey(key);
  }

  /** Without it, entries copied out of one log would be as good in any other. */
  #bindingIn({ entry }: ParsedEntry): Statement<'binding/v1'> {
    if (!isOfType(entry, 'log.opened'))
      throw new MeshError('schema', `Cannot accept an entry: the first is "${entry.type}", want "${OPENED}"`, {
        field: 'type',
        is: entry.type,
        want: OPENED,
      });
    const binding = parseStatementOf('binding/v1', fromBase64url(entry.data.binding) ?? new Uint8Array());
    verifySignatures(binding, this.#isSignatureValid);
    const { iss } = binding.payload;
    const origin = originOf(binding.payload);
    if (iss !== entry.source || origin !== this.#origin)
      throw new MeshError(
        'not_entitled',
        `Cannot accept an entry: it opens log "${origin}" of "${iss}", want "${this.#origin}" of "${entry.source}"`,
        { did: iss, is: origin, want: this.#origin },
      );
    return binding;
  }
}

const OPENED = wireTypeOf('log.opened');

const hashIn = ({ bytes }: FoundTile, index: number): Uint8Array => {
  const at = (index % TILE_WIDTH) * HASH_BYTES;
  return bytes.subarray(at, at + HASH_BYTES);
};

function contradiction(what: string, is: Uint8Array, want: Uint8Array, data: Place & { treeSize?: number }): MeshError {
  const [isHex, wantHex] = [toHex(is), toHex(want)];
  return new MeshError('bad_proof', `Cannot accept ${what} is ${isHex}, want ${wantHex}`, {
    ...data,
    is: isHex,
    want: wantHex,
  });
}

interface Place {
  readonly path: string;
  readonly index?: number;
}

/** Errors that name the place. */
function at<T>(place: Place, run: () => T): T {
  try {
    return run();
  } catch (error) {
    if (!(error instanceof MeshError)) throw error;
    const where = place.index === undefined ? `"${place.path}"` : `entry ${place.index}, in "${place.path}"`;
    throw new MeshError(error.code, `${error.message} (${where})`, { ...error.data, ...place }, { cause: error });
  }
}

export interface VerifiedEntry extends VerifiedCheckpoint {
  readonly leafIndex: number;
  readonly entry: ParsedEntry;
}

/**
 * An audit entry with its `.tlog-proof`, offline: its signature, and that it is in a log of the policy under a
 * checkpoint that the quorum cosigned. Whether the key that it names was its actor's, other entries of that log tell.
 * Errors: those of parseEntry, verifyEntry, parseProofFile and verifyProofFile.
 */
export function verifyEntryProof(
  proofFile: Uint8Array,
  entryBytes: Uint8Array,
  policy: Policy,
  isSignatureValid: IsSignatureValid,
  freshness?: Freshness,
): VerifiedEntry {
  const proof = parseProofFile(proofFile);
  const verified = verifyProofFile(proof, leafHash(entryBytes), policy, isSignatureValid, freshness);
  const entry = parseEntry(entryBytes);
  verifyEntry(entry, isSignatureValid);
  return { ...verified, leafIndex: proof.leafIndex, entry };
}
