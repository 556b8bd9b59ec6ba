import { digestOf } from '../encoding/cid.ts';
import { toHex } from '../encoding/bytes.ts';
import { MeshError } from '../errors.ts';
import { isMeshDid } from '../identity/did.ts';
import { DAEMON_INFO_BYTES_MAX, ROOTS_BYTES_MAX, SOCKET_PATH_BYTES_MAX } from '../limits.ts';

/**
 * Where the files of one home are; the daemon that makes them and the clients that look for them share these rules.
 * Unix paths only.
 *
 *   agentmesh.yaml     configuration
 *   keys/              private keys of the daemon and of the agents whose keys it holds
 *   recovery/          rotation and recovery keys, one file each, to be taken offline
 *   db/                LevelDB; its lock makes the daemon the only one of this home
 *   log.anchor         the newest checkpoints of the audit log: an older copy of db/ contradicts them
 *   peers/             addresses of known peers
 *   daemon.json        what runs here now
 *   roots.json         organisations trusted as roots, for checks without the daemon
 *   agentmeshd.sock    control socket, unless the path is too long
 */
export interface HomePaths {
  readonly home: string;
  readonly config: string;
  readonly keys: string;
  readonly recovery: string;
  readonly database: string;
  readonly anchor: string;
  readonly peers: string;
  readonly daemonInfo: string;
  readonly roots: string;
  /** The default; `socket` in the configuration may name another. */
  readonly socket: string;
}

export interface HomePlace {
  /** Absolute; the real path, so that two spellings of one home lead to one socket. */
  readonly home: string;
  /** For a socket whose path in the home would be too long: `runtimeDirOf`. */
  readonly runtimeDir: string;
  readonly uid: number;
}

export type Environment = Readonly<Record<string, string | undefined>>;

/** `--home`, else $AGENTMESH_HOME, else ~/.agentmesh. A relative one is the caller's to resolve. */
export const homeOf = (flag: string | undefined, env: Environment, userHome: string): string =>
  nonEmpty(flag) ?? nonEmpty(env['AGENTMESH_HOME']) ?? `${withoutSlash(userHome)}/.agentmesh`;

/** $XDG_RUNTIME_DIR where there is one (XDG Base Directory: absolute, or ignored), else the directory for temporary files. */
export function runtimeDirOf(env: Environment, temporaryDir: string): string {
  const runtimeDir = nonEmpty(env['XDG_RUNTIME_DIR']);
  return runtimeDir?.startsWith('/') === true ? runtimeDir : temporaryDir;
}

export function pathsOf(place: HomePlace): HomePaths {
  const home = withoutSlash(place.home);
  return {
    home: home === '' ? '/' : home,
    config: `${home}/agentmesh.yaml`,
    keys: `${home}/keys`,
    recovery: `${home}/recovery`,
    database: `${home}/db`,
    anchor: `${home}/log.anchor`,
    peers: `${home}/peers`,
    daemonInfo: `${home}/daemon.json`,
    roots: `${home}/roots.json`,
    socket: socketPathOf(place),
  };
}

/**
 * `<home>/agentmeshd.sock`; if that is longer than a socket's address may be, `<runtimeDir>/agentmesh-<uid>/<hash>.sock`.
 * That directory may lie in one that everybody writes to: whoever creates or connects first runs `verifyPrivate` on it.
 * Errors: config_invalid.
 */
export function socketPathOf({ home, runtimeDir, uid }: HomePlace): string {
  if (!home.startsWith('/'))
    throw new MeshError('config_invalid', `Cannot place the control socket: home is "${home}", want an absolute path`);
  const plain = withoutSlash(home);
  const inside = `${plain}/agentmeshd.sock`;
  if (byteLength(inside) <= SOCKET_PATH_BYTES_MAX) return inside;
  const hash = toHex(digestOf(new TextEncoder().encode(plain))).slice(0, 16);
  const short = `${withoutSlash(runtimeDir)}/agentmesh-${uid}/${hash}.sock`;
  if (byteLength(short) <= SOCKET_PATH_BYTES_MAX) return short;
  throw new MeshError(
    'config_invalid',
    `Cannot place the control socket: "${short}" has ${byteLength(short)} bytes, want <= ${SOCKET_PATH_BYTES_MAX}; set "socket" or XDG_RUNTIME_DIR to a shorter path`,
    { field: 'socket', is: byteLength(short), want: SOCKET_PATH_BYTES_MAX },
  );
}

export const isSocketPathShort = (path: string): boolean => byteLength(path) <= SOCKET_PATH_BYTES_MAX;

/** What `lstat` says; symbolic links are `other`. */
export interface FileFacts {
  readonly path: string;
  readonly type: 'directory' | 'file' | 'socket' | 'other';
  readonly uid: number;
  /** Permission bits; others are ignored. */
  readonly mode: number;
}

/** Nobody but us (and root) can have put it there, read it or changed it. Errors: permissions. */
export function verifyPrivate(found: FileFacts, want: 'directory' | 'file', uid: number): void {
  verifyOwn(found, want, uid);
  if ((found.mode & 0o077) !== 0) refuseMode(found, want === 'directory' ? '700' : '600', 'closed to group and others');
}

/**
 * Nobody but us and root can have put it there or changed what is in it; it may be root's (a mounted volume), and
 * reading is allowed. Errors: permissions.
 */
export function verifyUnwritable(found: FileFacts, want: 'directory' | 'file', uid: number): void {
  verifyOwn(found, want, found.uid === 0 ? 0 : uid);
  if ((found.mode & 0o022) !== 0) refuseMode(found, 'go-w', 'not writable by group and others');
}

/** Nobody but us (and root) can have put it there. Errors: permissions. */
export function verifyOwn(found: FileFacts, want: 'directory' | 'file' | 'socket', uid: number): void {
  const { path, type } = found;
  if (type !== want) throw new MeshError('permissions', `Cannot trust "${path}": it is not a ${want}`, { path, want });
  if (found.uid !== uid) {
    throw new MeshError('permissions', `Cannot trust "${path}": its owner is uid ${found.uid}, want ${uid}`, {
      path,
      is: found.uid,
      want: uid,
    });
  }
}

function refuseMode({ path, mode }: FileFacts, chmod: string, want: string): never {
  const is = (mode & 0o777).toString(8).padStart(4, '0');
  throw new MeshError(
    'permissions',
    `Cannot trust "${path}": its mode is ${is}, want it ${want}; run: chmod ${chmod} '${path}'`,
    { path, is, want },
  );
}

/** What runs in a home (`daemon.json`). It may outlive its daemon: only an answer on the socket shows that one runs. */
export interface DaemonInfo {
  readonly pid: number;
  readonly version: string;
  readonly socket: string;
  /** RFC 3339. */
  readonly started: string;
}

export const formatDaemonInfo = ({ pid, version, socket, started }: DaemonInfo): string =>
  `${JSON.stringify({ pid, version, socket, started }, null, 2)}\n`;

/** Errors: malformed, too_large. */
export function parseDaemonInfo(text: string): DaemonInfo {
  if (text.length > DAEMON_INFO_BYTES_MAX)
    throw new MeshError(
      'too_large',
      `Cannot read daemon.json: it has ${text.length} characters, want <= ${DAEMON_INFO_BYTES_MAX}`,
    );
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new MeshError('malformed', 'Cannot read daemon.json: it is not JSON', {}, { cause });
  }
  if (!isDaemonInfo(value))
    throw new MeshError('malformed', 'Cannot read daemon.json: want pid, version, socket and started');
  return value;
}

function isDaemonInfo(value: unknown): value is DaemonInfo {
  if (typeof value !== 'object' || value === null) return false;
  const { pid, version, socket, started } = value as Partial<Record<keyof DaemonInfo, unknown>>;
  return (
    Number.isSafeInteger(pid) &&
    (pid as number) > 0 &&
    typeof version === 'string' &&
    typeof socket === 'string' &&
    socket.startsWith('/') &&
    typeof started === 'string'
  );
}

/** `roots.json`, written at every start: the own organisation first, then those of the configuration. */
export const formatRoots = (dids: readonly string[]): string => `${JSON.stringify({ roots: dids }, null, 2)}\n`;

/** Errors: malformed, too_large. */
export function parseRoots(text: string): readonly string[] {
  if (text.length > ROOTS_BYTES_MAX)
    throw new MeshError(
      'too_large',
      `Cannot read roots.json: it has ${text.length} characters, want <= ${ROOTS_BYTES_MAX}`,
    );
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new MeshError('malformed', 'Cannot read roots.json: it is not JSON', {}, { cause });
  }
  const roots = typeof value === 'object' && value !== null && 'roots' in value ? value.roots : undefined;
  if (!Array.isArray(roots) || !roots.every((did: unknown) => typeof did === 'string' && isMeshDid(did)))
    throw new MeshError('malformed', 'Cannot read roots.json: want a list of DIDs in "roots"');
  return roots as string[];
}

const nonEmpty = (text: string | undefined): string | undefined => (text === '' ? undefined : text);
const withoutSlash = (path: string): string => path.replace(/\/+$/, '');
const byteLength = (text: string): number => new TextEncoder().encode(text).length;
