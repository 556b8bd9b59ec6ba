/** Configuration files of other programs: read as they are, and written so that nothing is lost on the way. */
import { randomBytes } from 'node:crypto';
import { open, realpath, rename, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { limits, MeshError } from '../../protocol/index.ts';
import { isErrno, readBounded, removeDraft, writingProblem } from '../files.ts';

export interface ConfigFile {
  /** As it was named. */
  readonly path: string;
  /** Links followed. */
  readonly realPath: string;
  readonly bytes: Buffer;
  readonly text: string;
}

/** Errors: not_found, permissions, too_large, malformed. */
export async function readConfig(path: string): Promise<ConfigFile> {
  await verifyFile(path);
  const bytes = await readBounded(path, limits.CLIENT_CONFIG_BYTES_MAX);
  try {
    // A byte order mark stays a letter of the text, to be written again.
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    return { path, realPath: await realpath(path), bytes, text };
  } catch (cause) {
    if (!(cause instanceof TypeError)) throw cause;
    throw new MeshError('malformed', `Cannot read "${path}": it is not UTF-8`, { path }, { cause });
  }
}

/** A pipe or device would be waited for. What is not there, or not for us, reading says. */
async function verifyFile(path: string): Promise<void> {
  const found = await stat(path).catch(() => undefined); // reading it says why
  if (found === undefined || found.isFile() || found.isDirectory()) return;
  throw new MeshError('not_found', `Cannot read "${path}": it is no file`, { path });
}

/** Errors: permissions, where it may not be written. */
export async function verifyWritable({ path, realPath }: ConfigFile): Promise<void> {
  const { mode } = await stat(realPath);
  if ((mode & 0o222) === 0)
    throw new MeshError('permissions', `Cannot write "${path}": it is read-only`, {
      path,
      next: `allow it: chmod u+w '${realPath}'`,
    });
  try {
    await using _ = await open(realPath, 'r+');
  } catch (error) {
    throw writingProblem(path, error);
  }
}

/**
 * Puts new content in the place of what was read, whole or not at all, with the same mode and owner.
 * Errors: conflict, where the file was changed since it was read; permissions.
 */
export async function replaceConfig(config: ConfigFile, text: string): Promise<void> {
  const { path, realPath, bytes } = config;
  await verifyWritable(config);
  const draft = join(dirname(realPath), `.${basename(realPath)}.${randomBytes(8).toString('hex')}.tmp`);
  try {
    await writeDraft(draft, text, realPath);
    if (!(await readBounded(realPath, limits.CLIENT_CONFIG_BYTES_MAX)).equals(bytes)) {
      throw new MeshError('conflict', `Cannot write "${path}": another program changed it meanwhile`, {
        path,
        next: 'close the client that owns it, and run the command again',
      });
    }
    await rename(draft, realPath);
  } catch (error) {
    throw writingProblem(path, error);
  } finally {
    await removeDraft(draft);
  }
  await syncDirectory(dirname(realPath));
}

async function writeDraft(draft: string, text: string, realPath: string): Promise<void> {
  const { mode, uid, gid } = await stat(realPath);
  await using handle = await open(draft, 'wx', 0o600);
  const own = await handle.stat();
  if (own.uid !== uid || own.gid !== gid) await handle.chown(uid, gid);
  await handle.chmod(mode & 0o777);
  await handle.writeFile(text);
  await handle.sync();
}

/** The name is on disk only after this. */
async function syncDirectory(path: string): Promise<void> {
  try {
    await using handle = await open(path, 'r');
    await handle.sync();
  } catch (error) {
    if (!isErrno(error, 'EISDIR', 'EPERM', 'EINVAL', 'EACCES')) throw error; // Windows has no such thing
  }
}
