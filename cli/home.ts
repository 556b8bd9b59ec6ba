/** Where the home is, as the daemon finds it. */
import { existsSync, realpathSync } from 'node:fs';
import { resolve } from 'node:path';
import { type HomePaths, homeOf, pathsOf, runtimeDirOf } from '../protocol/index.ts';
import type { World } from './world.ts';

type HomeWorld = Pick<World, 'env' | 'cwd' | 'userHome' | 'temporaryDir' | 'uid'>;

/** Nothing is created. Errors: config_invalid. */
export function findHome(flag: string | undefined, { env, cwd, userHome, temporaryDir, uid }: HomeWorld): HomePaths {
  const home = realPath(resolve(cwd, homeOf(flag, env, userHome)));
  return pathsOf({ home, runtimeDir: runtimeDirOf(env, temporaryDir), uid });
}

/** Whether this home holds an organisation; a daemon would make one in an empty home. */
export const isSetUp = ({ database }: HomePaths): boolean => existsSync(database);

function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path; // not made yet, or not for us: whoever opens it says so
  }
}
