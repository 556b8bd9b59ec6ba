/** Where the daemon's control socket is, found by the rules by which the daemon places it. */
import { lstatSync, readFileSync, realpathSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { dirname, resolve } from 'node:path';
import {
  type Environment,
  homeOf,
  parseDaemonInfo,
  pathsOf,
  runtimeDirOf,
  verifyPrivate,
} from '../protocol/control/paths.ts';
import { isMeshError, MeshError } from '../protocol/errors.ts';
import * as limits from '../protocol/limits.ts';

/** A unix socket, or a loopback port. */
export type Place = { readonly socketPath: string } | { readonly host: string; readonly port: number };

export interface PlaceOptions {
  /** The daemon's home; default $AGENTMESH_HOME, else ~/.agentmesh. */
  readonly home?: string | undefined;
  /** Path of its control socket; default $AGENTMESH_SOCKET, else what the home says. */
  readonly socket?: string | undefined;
  /** Its loopback port, like "http://127.0.0.1:7400"; default $AGENTMESH_URL. A token or login is then needed. */
  readonly url?: string | undefined;
}

/** What the caller names, then what the environment names, then the home. Errors: config_invalid, permissions. */
export function findPlace(options: PlaceOptions, env: Environment): Place {
  const { home, socket, url } = options;
  if (url !== undefined) return parseUrl(url);
  if (socket !== undefined) return { socketPath: resolve(socket) };
  if (home !== undefined) return { socketPath: socketOfHome(home, env) };
  const named = env['AGENTMESH_SOCKET'] ?? '';
  if (named !== '') return { socketPath: named };
  const byUrl = env['AGENTMESH_URL'] ?? '';
  return byUrl === '' ? { socketPath: socketOfHome(undefined, env) } : parseUrl(byUrl);
}

/** Tokens travel in the clear, so nothing but this machine will do. */
function parseUrl(text: string): Place {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (
    url?.protocol !== 'http:' ||
    !['127.0.0.1', 'localhost', '[::1]'].includes(url.hostname) ||
    url.pathname !== '/' ||
    url.search !== ''
  ) {
    throw new MeshError(
      'config_invalid',
      `Cannot use "${text}" as the daemon's address: want a loopback one like "http://127.0.0.1:7400"`,
      { field: 'url' },
    );
  }
  return { host: url.hostname.replace(/^\[(.*)\]$/, '$1'), port: url.port === '' ? 80 : Number(url.port) };
}

function socketOfHome(flag: string | undefined, env: Environment): string {
  const home = realPath(resolve(homeOf(flag, env, homedir())));
  const uid = process.getuid?.() ?? 0;
  const paths = pathsOf({ home, runtimeDir: runtimeDirOf(env, tmpdir()), uid });
  const noted = socketNotedIn(paths.daemonInfo, uid);
  if (noted !== undefined && noted !== paths.socket) return noted;
  // Outside the home others might have put a socket of their own there first.
  const directory = dirname(paths.socket);
  const facts = directory === paths.home ? undefined : factsOf(directory);
  if (facts !== undefined) verifyPrivate(facts, 'directory', uid);
  return paths.socket;
}

/** The socket in daemon.json, which the configuration may have moved; undefined where nothing says so reliably. */
function socketNotedIn(path: string, uid: number): string | undefined {
  const facts = factsOf(path);
  if (facts === undefined) return undefined;
  verifyPrivate(facts, 'file', uid);
  try {
    return parseDaemonInfo(readFileSync(path, 'utf8').slice(0, limits.DAEMON_INFO_BYTES_MAX + 1)).socket;
  } catch (error) {
    if (isMeshError(error) || isMissing(error)) return undefined; // a note of a daemon that was killed; the default holds
    throw error;
  }
}

function factsOf(path: string): Parameters<typeof verifyPrivate>[0] | undefined {
  try {
    const stats = lstatSync(path);
    const type = stats.isDirectory() ? 'directory' : stats.isFile() ? 'file' : stats.isSocket() ? 'socket' : 'other';
    return { path, type, uid: stats.uid, mode: stats.mode & 0o777 };
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch (error) {
    if (isMissing(error)) return path; // then nobody listens there either, which the call will say
    throw error;
  }
}

const isMissing = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR');
