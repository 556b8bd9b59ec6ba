/** Files of the home, trusted only where nobody else can have written them. */
import { type Stats, statSync } from 'node:fs';
import { lstat, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { type FileFacts, MeshError, verifyUnwritable } from '../protocol/index.ts';

export const isErrno = (error: unknown, ...codes: readonly string[]): boolean =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' && codes.includes(error.code);

/** Of the path itself, links not followed; undefined if nothing is there. */
export async function factsOf(path: string): Promise<FileFacts | undefined> {
  try {
    return facts(path, await lstat(path));
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR')) return undefined;
    throw error;
  }
}

const facts = (path: string, stats: Stats): FileFacts => ({
  path,
  type: stats.isDirectory() ? 'directory' : stats.isFile() ? 'file' : stats.isSocket() ? 'socket' : 'other',
  uid: stats.uid,
  mode: stats.mode & 0o777,
});

/** Text that others may read but not change; undefined if it is not there. Errors: permissions, too_large. */
export async function readTrusted(path: string, uid: number, bytesMax: number): Promise<string | undefined> {
  const found = await factsOf(path);
  if (found === undefined) return undefined;
  verifyUnwritable(found, 'file', uid);
  return (await readBounded(path, bytesMax)).toString('utf8');
}

/** Errors: not_found, too_large. */
export async function readBounded(path: string, bytesMax: number): Promise<Buffer> {
  try {
    const { size } = await stat(path);
    if (size > bytesMax) {
      throw new MeshError('too_large', `Cannot read "${path}": it has ${size} bytes, want <= ${bytesMax}`, {
        is: size,
        want: bytesMax,
      });
    }
    return await readFile(path);
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR'))
      throw new MeshError('not_found', `Cannot read "${path}": no such file`, { path });
    if (isErrno(error, 'EISDIR'))
      throw new MeshError('not_found', `Cannot read "${path}": it is a directory`, { path });
    if (isErrno(error, 'EACCES')) throw new MeshError('permissions', `Cannot read "${path}": you may not`, { path });
    throw error;
  }
}

/** What is left of a file that did not become whole; where there is no such directory, nothing is. */
export async function removeDraft(path: string): Promise<void> {
  try {
    await rm(path, { force: true });
  } catch (error) {
    if (!isErrno(error, 'ENOENT', 'ENOTDIR')) throw error;
  }
}

/** Of a file that a person named: why it cannot be written; what is no fault of the name stays as it is. */
export function writingProblem(path: string, error: unknown): unknown {
  const refuse = (code: 'not_found' | 'conflict' | 'permissions', why: string): MeshError =>
    new MeshError(code, `Cannot write "${path}": ${why}`, { path }, { cause: error });
  if (isErrno(error, 'ENOENT', 'ENOTDIR')) return refuse('not_found', 'its directory is not there');
  if (isErrno(error, 'EISDIR', 'ENOTEMPTY')) return refuse('conflict', 'it is a directory');
  if (isErrno(error, 'EACCES', 'EPERM', 'EROFS')) return refuse('permissions', 'you may not');
  return error;
}

/** Under its name once it is whole. Errors: not_found, conflict, permissions. */
export async function writeWhole(path: string, bytes: Uint8Array): Promise<void> {
  const draft = `${path}.new`;
  try {
    await writeFile(draft, bytes);
    await rename(draft, path);
  } catch (error) {
    await removeDraft(draft);
    throw writingProblem(path, error);
  }
}

export const isFile = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;
