/**
 * What was changed in which file, and the files as they were, in `<home>/integrations/`: what `--undo` goes by. They may
 * hold secrets that were in the configuration, so they are for their owner alone.
 */
import { createHash } from 'node:crypto';
import { mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { limits, MeshError, verifyPrivate } from '../../protocol/index.ts';
import { factsOf, isErrno, readBounded, removeDraft } from '../files.ts';
import { type ClientId, isClientId } from './clients.ts';
import { isObject, isText, isTextList, type Json } from './json-value.ts';

export interface EntryRecord {
  /** Members from the root of the file. */
  readonly path: readonly string[];
  /** Before we first changed it; without the text where a person changed it in between. */
  readonly original: { readonly text: string | null; readonly value: Json };
  /** As we last wrote it, and as it stood in the file. */
  readonly written: { readonly text: string; readonly value: Json };
}

export interface FileRecord {
  readonly client: ClientId;
  readonly file: string;
  /** RFC 3339. */
  readonly changedAt: string;
  readonly beforeSha256: string;
  readonly afterSha256: string;
  /** Name beside this record; null: none was wanted. */
  readonly backup: string | null;
  readonly entries: readonly EntryRecord[];
}

const BACKUPS_KEPT = 10; // of one file; the oldest go

export const sha256 = (data: string | Uint8Array): string => createHash('sha256').update(data).digest('hex');

export class Records {
  readonly #directory: string;
  readonly #uid: number;

  constructor(home: string, uid: number) {
    this.#directory = join(home, 'integrations');
    this.#uid = uid;
  }

  get directory(): string {
    return this.#directory;
  }

  /** Errors: permissions, too_large, malformed. */
  async read(file: string): Promise<FileRecord | undefined> {
    return this.#readNamed(`${stemOf(file)}.json`);
  }

  async list(): Promise<readonly FileRecord[]> {
    const names = (await this.#names()).filter((name) => /^[0-9a-f]{12}-.*\.json$/.test(name)).toSorted();
    const records: FileRecord[] = [];
    for (const name of names) {
      const record = await this.#readNamed(name);
      if (record !== undefined) records.push(record);
    }
    return records;
  }

  /** Keeps the bytes of a file beside its record. Returns the name. */
  async keep(file: string, bytes: Uint8Array, nowMs: number): Promise<string> {
    const stamp = new Date(nowMs).toISOString().replaceAll(/[-:.]/g, '');
    const name = `${stemOf(file)}.${stamp}.bak`;
    await this.#write(name, bytes);
    const own = (await this.#names()).filter((each) => each.startsWith(`${stemOf(file)}.`) && each.endsWith('.bak'));
    for (const old of own.toSorted().slice(0, -BACKUPS_KEPT)) await rm(join(this.#directory, old), { force: true });
    return name;
  }

  async save(record: FileRecord): Promise<void> {
    await this.#write(`${stemOf(record.file)}.json`, `${JSON.stringify({ version: 1, ...record }, null, 2)}\n`);
  }

  async forget(file: string): Promise<void> {
    await rm(join(this.#directory, `${stemOf(file)}.json`), { force: true });
  }

  async #names(): Promise<readonly string[]> {
    try {
      return await readdir(this.#directory);
    } catch (error) {
      if (isErrno(error, 'ENOENT', 'ENOTDIR')) return [];
      throw error;
    }
  }

  async #readNamed(name: string): Promise<FileRecord | undefined> {
    const path = join(this.#directory, name);
    const facts = await factsOf(path);
    if (facts === undefined) return undefined;
    verifyPrivate(facts, 'file', this.#uid);
    const text = (await readBounded(path, 4 * limits.CLIENT_CONFIG_BYTES_MAX)).toString('utf8');
    const record = parseRecord(text);
    if (record === undefined) {
      throw new MeshError('malformed', `Cannot read "${path}": it is not what was written there`, {
        path,
        next: `move it away; the backups beside it hold the files as they were`,
      });
    }
    return record;
  }

  async #write(name: string, content: string | Uint8Array): Promise<void> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    const facts = await factsOf(this.#directory);
    if (facts !== undefined) verifyPrivate(facts, 'directory', this.#uid);
    const draft = join(this.#directory, `.${name}.${process.pid}.tmp`);
    try {
      await using handle = await open(draft, 'w', 0o600);
      await handle.writeFile(content);
      await handle.sync();
      await rename(draft, join(this.#directory, name));
    } finally {
      await removeDraft(draft);
    }
  }
}

/** Told apart by the path, readable by the name. */
const stemOf = (file: string): string => `${sha256(file).slice(0, 12)}-${basename(file).replaceAll(/[^\w.-]/g, '_')}`;

function parseRecord(text: string): FileRecord | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined; // the caller says so
  }
  if (!isObject(value) || value['version'] !== 1) return undefined;
  const { client, file, changedAt, beforeSha256, afterSha256, backup, entries } = value;
  if (!isText(client) || !isClientId(client) || ![file, changedAt, beforeSha256, afterSha256].every(isText))
    return undefined;
  if (!(backup === null || isText(backup)) || !Array.isArray(entries) || !entries.every(isEntry)) return undefined;
  return value as unknown as FileRecord;
}

function isEntry(value: unknown): boolean {
  if (!isObject(value) || !isTextList(value['path']) || value['path'].length === 0) return false;
  const { original, written } = value;
  if (!isObject(original) || original['value'] === undefined) return false;
  if (!isObject(written) || written['value'] === undefined) return false;
  return (original['text'] === null || isText(original['text'])) && isText(written['text']);
}
