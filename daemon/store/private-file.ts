/** Small files that only their owner may read, replaced whole: after a crash either the old or the new content is there. */
import { randomBytes } from 'node:crypto';
import { constants, type Stats } from 'node:fs';
import { type FileHandle, link, lstat, mkdir, open, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { type FileFacts, MeshError, verifyPrivate } from '../../protocol/index.ts';

/** Left behind by a crash while writing; whoever owns the directory may delete what matches. */
export const isLeftover = (name: string): boolean => /^\..+\.[0-9a-f]{16}\.tmp$/.test(name);

/** Who runs this process. Unix only, as are the paths of a home. */
export function ownUid(): number {
  if (process.getuid === undefined)
    throw new MeshError('internal', 'Cannot check who owns a file: this system has no user ids');
  return process.getuid();
}

export const isErrno = (cause: unknown, code: string): boolean =>
  cause instanceof Error && 'code' in cause && cause.code === code;

/** Undefined if nothing is there. */
export async function factsOf(path: string): Promise<FileFacts | undefined> {
  try {
    return facts(path, await lstat(path));
  } catch (cause) {
    if (isErrno(cause, 'ENOENT')) return undefined;
    throw cause;
  }
}

const facts = (path: string, stats: Stats): FileFacts => ({
  path,
  type: stats.isDirectory() ? 'directory' : stats.isFile() ? 'file' : stats.isSocket() ? 'socket' : 'other',
  uid: stats.uid,
  mode: stats.mode & 0o777,
});

/** Makes it (0700), or checks the one that is there. Errors: permissions. */
export async function makePrivateDirectory(path: string): Promise<void> {
  try {
    await mkdir(path, { mode: 0o700 });
  } catch (cause) {
    if (!isErrno(cause, 'EEXIST')) throw cause;
  }
  const found = await factsOf(path);
  if (found === undefined) throw new MeshError('internal', `Cannot use "${path}": it vanished while it was opened`);
  verifyPrivate(found, 'directory', ownUid());
}

/** Undefined if nothing is there. Errors: permissions, too_large. */
export async function readPrivateFile(path: string, bytesMax: number): Promise<Buffer | undefined> {
  const handle = await openForReading(path);
  if (handle === undefined) return undefined;
  try {
    // The opened file is looked at, not the path: nothing can be put in its place between check and use.
    const stats = await handle.stat();
    verifyPrivate(facts(path, stats), 'file', ownUid());
    if (stats.size > bytesMax) {
      throw new MeshError('too_large', `Cannot read "${path}": it has ${stats.size} bytes, want <= ${bytesMax}`, {
        is: stats.size,
        want: bytesMax,
      });
    }
    return await handle.readFile();
  } finally {
    await handle.close();
  }
}

const openForReading = (path: string): Promise<FileHandle | undefined> => openExisting(path, constants.O_RDONLY);

/** To read, and to write in place. Undefined if nothing is there. Errors: permissions. */
export async function openPrivateFile(path: string): Promise<FileHandle | undefined> {
  const handle = await openExisting(path, constants.O_RDWR);
  if (handle === undefined) return undefined;
  try {
    verifyPrivate(facts(path, await handle.stat()), 'file', ownUid());
    return handle;
  } catch (cause) {
    await handle.close();
    throw cause;
  }
}

async function openExisting(path: string, flags: number): Promise<FileHandle | undefined> {
  try {
    return await open(path, flags | constants.O_NOFOLLOW);
  } catch (cause) {
    if (isErrno(cause, 'ENOENT')) return undefined;
    if (isErrno(cause, 'ELOOP'))
      throw new MeshError('permissions', `Cannot trust "${path}": it is a symbolic link`, { path }, { cause });
    throw cause;
  }
}

/**
 * Writes 0600 and returns when the content and its name are on disk.
 * Errors: conflict, when something of this name is there and `replace` is false; read_only, when the disk takes no more.
 */
export async function writePrivateFile(
  path: string,
  content: string | Uint8Array,
  { replace }: { readonly replace: boolean },
): Promise<void> {
  const temporary = join(dirname(path), `.${basename(path)}.${randomBytes(8).toString('hex')}.tmp`);
  try {
    await writeSynced(temporary, content, path);
    if (replace) await rename(temporary, path);
    else await linkNew(temporary, path);
  } finally {
    await rm(temporary, { force: true });
  }
  await syncDirectory(dirname(path));
}

/** A disk that is full, out of quota or mounted read-only. */
const UNWRITABLE = ['ENOSPC', 'EDQUOT', 'EROFS'];

async function writeSynced(path: string, content: string | Uint8Array, shown: string): Promise<void> {
  try {
    await using handle = await open(path, 'wx', 0o600);
    await handle.writeFile(content);
    await handle.sync();
  } catch (cause) {
    if (!UNWRITABLE.some((code) => isErrno(cause, code))) throw cause;
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new MeshError('read_only', `Cannot write "${shown}": ${reason}`, { path: shown }, { cause });
  }
}

async function linkNew(temporary: string, path: string): Promise<void> {
  try {
    await link(temporary, path);
  } catch (cause) {
    if (isErrno(cause, 'EEXIST'))
      throw new MeshError('conflict', `Cannot create "${path}": it exists already`, { path }, { cause });
    throw cause;
  }
}

/** Returns when the file is gone on disk too; it need not have been there. */
export async function removePrivateFile(path: string): Promise<void> {
  await rm(path, { force: true });
  await syncDirectory(dirname(path));
}

/** Names in a directory are on disk only after this. */
async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
