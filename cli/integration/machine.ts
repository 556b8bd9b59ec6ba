/** This machine, as the search for configuration files sees it. */
import { readdirSync } from 'node:fs';
import { isErrno, isFile } from '../files.ts';
import type { World } from '../world.ts';
import type { Machine } from './clients.ts';

/** What cannot be looked at counts as not there: a link in a circle, a directory of somebody else. */
export function isFileHere(path: string): boolean {
  try {
    return isFile(path);
  } catch (error) {
    if (isErrno(error, 'EACCES', 'ELOOP', 'ENOTDIR', 'ENAMETOOLONG')) return false;
    throw error;
  }
}

export function createMachine({ platform, env, userHome }: Pick<World, 'platform' | 'env' | 'userHome'>): Machine {
  return {
    // Whatever else there is keeps its files where Linux does.
    platform: platform === 'darwin' || platform === 'win32' ? platform : 'linux',
    env,
    home: userHome,
    isFile: isFileHere,
    list: (directory) => {
      try {
        return readdirSync(directory);
      } catch (error) {
        if (isErrno(error, 'ENOENT', 'ENOTDIR', 'EACCES')) return [];
        throw error;
      }
    },
  };
}
