/** One home directory: its folders, its control socket's place, and the note of what runs in it. */
import { realpathSync } from 'node:fs';
import { mkdir, rm, stat } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { homedir, tmpdir } from 'node:os';
import { dirname, resolve } from 'node:path';
import {
  type DaemonInfo,
  type Environment,
  formatDaemonInfo,
  formatRoots,
  homeOf,
  type HomePaths,
  isSocketPathShort,
  limits,
  MeshError,
  parseDaemonInfo,
  pathsOf,
  runtimeDirOf,
  verifyOwn,
  verifyUnwritable,
} from '../protocol/index.ts';
import type { LevelStore } from './store/level.ts';
import {
  factsOf,
  isErrno,
  makePrivateDirectory,
  ownUid,
  readPrivateFile,
  writePrivateFile,
} from './store/private-file.ts';

const PROBE_MS = 1_000; // a daemon of this machine accepts within milliseconds even when busy

/** Where the home named by flag or environment is; nothing is created. Errors: config_invalid. */
export function findHome(flag: string | undefined, env: Environment = process.env): HomePaths {
  const home = realPath(resolve(homeOf(flag, env, homedir())));
  return pathsOf({ home, runtimeDir: runtimeDirOf(env, tmpdir()), uid: ownUid() });
}

function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch (cause) {
    if (isErrno(cause, 'ENOENT')) return path; // not made yet
    throw cause;
  }
}

/**
 * Makes what is missing of the home. An existing home may be readable by others (a mounted volume often is), never
 * writable; the folders inside are ours alone.
 * Errors: permissions, config_invalid.
 */
export async function openHome(flag: string | undefined, env: Environment = process.env): Promise<HomePaths> {
  await mkdir(findHome(flag, env).home, { recursive: true, mode: 0o700 });
  const paths = findHome(flag, env); // again: links can be followed now
  const { mode, uid } = await stat(paths.home);
  verifyUnwritable({ path: paths.home, type: 'directory', uid, mode }, 'directory', ownUid());
  for (const folder of [paths.keys, paths.recovery, paths.database, paths.peers]) await makePrivateDirectory(folder);
  return paths;
}

/**
 * Makes the place ready to listen on: its directory is there and ours, and a socket that a killed daemon left is gone.
 * Takes the open store because only the holder of its lock may remove anything here. The daemon listens with a umask
 * of 0077, so that the socket is never open to others, not even before its mode is set.
 * Errors: permissions, config_invalid, already_running (a daemon of another home answers there).
 */
export async function claimSocket(socket: string, paths: HomePaths, _lock: LevelStore): Promise<void> {
  if (!isSocketPathShort(socket)) {
    throw new MeshError(
      'config_invalid',
      `Cannot listen on "${socket}": the path is too long, want <= ${limits.SOCKET_PATH_BYTES_MAX} bytes`,
      { field: 'socket' },
    );
  }
  if (socket === paths.socket && dirname(socket) !== paths.home) await makePrivateDirectory(dirname(socket));
  const found = await factsOf(socket);
  if (found === undefined) return;
  verifyOwn(found, 'socket', ownUid());
  if (await isAnswering(socket))
    throw new MeshError('already_running', `Cannot listen on "${socket}": another daemon answers there`, {
      path: socket,
    });
  await rm(socket, { force: true });
}

function isAnswering(socket: string): Promise<boolean> {
  return new Promise((settle) => {
    const connection = createConnection(socket);
    const done = (answer: boolean) => {
      connection.destroy();
      settle(answer);
    };
    connection.setTimeout(PROBE_MS, () => done(true)); // its queue is full: somebody is there
    connection.once('connect', () => done(true));
    connection.once('error', () => done(false)); // nobody listens: the file alone was left
  });
}

export const writeDaemonInfo = (paths: HomePaths, info: DaemonInfo): Promise<void> =>
  writePrivateFile(paths.daemonInfo, formatDaemonInfo(info), { replace: true });

/** What checks of chains start from where no daemon runs: the own organisation first. */
export const writeRoots = (paths: HomePaths, dids: readonly string[]): Promise<void> =>
  writePrivateFile(paths.roots, formatRoots(dids), { replace: true });

/** Undefined if none is there. Errors: permissions, malformed, too_large. */
export async function readDaemonInfo(paths: HomePaths): Promise<DaemonInfo | undefined> {
  const bytes = await readPrivateFile(paths.daemonInfo, limits.DAEMON_INFO_BYTES_MAX);
  return bytes === undefined ? undefined : parseDaemonInfo(bytes.toString('utf8'));
}

/** On an orderly stop, while the store's lock is still held. */
export const removeDaemonInfo = (paths: HomePaths): Promise<void> => rm(paths.daemonInfo, { force: true });
