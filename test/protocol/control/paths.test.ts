import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type FileFacts,
  formatDaemonInfo,
  formatRoots,
  homeOf,
  isSocketPathShort,
  parseDaemonInfo,
  parseRoots,
  pathsOf,
  runtimeDirOf,
  socketPathOf,
  verifyOwn,
  verifyPrivate,
  verifyUnwritable,
} from '../../../protocol/control/paths.ts';
import { MeshError } from '../../../protocol/errors.ts';
import { ROOTS_BYTES_MAX, SOCKET_PATH_BYTES_MAX } from '../../../protocol/limits.ts';

const codeOf = (call: () => unknown): string => {
  try {
    call();
  } catch (cause) {
    if (cause instanceof MeshError) return cause.code;
    throw cause;
  }
  return 'none';
};

describe('homeOf()', () => {
  it("goes by flag, then AGENTMESH_HOME, then the user's home; empty ones do not count", () => {
    const env = { AGENTMESH_HOME: '/env' };
    expect(homeOf('/flag', env, '/u')).toBe('/flag');
    expect(homeOf(undefined, env, '/u')).toBe('/env');
    expect(homeOf('', { AGENTMESH_HOME: '' }, '/u/')).toBe('/u/.agentmesh');
  });
});

describe('runtimeDirOf()', () => {
  it('is XDG_RUNTIME_DIR where that is absolute, else the directory for temporary files', () => {
    expect(runtimeDirOf({ XDG_RUNTIME_DIR: '/run/user/1' }, '/tmp')).toBe('/run/user/1');
    for (const dir of [undefined, '', 'relative']) expect(runtimeDirOf({ XDG_RUNTIME_DIR: dir }, '/tmp')).toBe('/tmp');
  });
});

describe('socketPathOf()', () => {
  const place = { runtimeDir: '/run/user/7', uid: 7 };
  const long = (bytes: number) => `/${'h'.repeat(bytes - 1)}`;
  const room = SOCKET_PATH_BYTES_MAX - '/agentmeshd.sock'.length;

  it("lies in the home as long as its path fits a socket's address, and not a byte longer", () => {
    expect(socketPathOf({ ...place, home: long(room) })).toBe(`${long(room)}/agentmeshd.sock`);
    const short = socketPathOf({ ...place, home: long(room + 1) });
    expect(short).toMatch(/^\/run\/user\/7\/agentmesh-7\/[0-9a-f]{16}\.sock$/);
    const letters = `/${'é'.repeat(Math.ceil(room / 2))}`; // counted in bytes
    expect(socketPathOf({ ...place, home: letters })).toMatch(/^\/run\/user\/7\/agentmesh-7\//);
  });

  it('is the same for the same home and another for each other home', () => {
    const homes = fc
      .string({ unit: fc.constantFrom('a', 'b', '/', 'é'), minLength: 1, maxLength: 5 })
      .map((end) => `${long(room)}x${end}`);
    fc.assert(
      fc.property(homes, homes, (a, b) => {
        const isSame = a.replace(/\/+$/, '') === b.replace(/\/+$/, '');
        expect(socketPathOf({ ...place, home: a }) === socketPathOf({ ...place, home: b })).toBe(isSame);
      }),
    );
  });

  it('always fits, or says what to set', () => {
    expect(codeOf(() => socketPathOf({ ...place, home: long(200), runtimeDir: long(80) }))).toBe('config_invalid');
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: 60 }), (home, runtime) => {
        expect(
          isSocketPathShort(socketPathOf({ home: long(home), runtimeDir: long(runtime), uid: 4_294_967_294 })),
        ).toBe(true);
      }),
    );
  });

  it('refuses a relative home', () => {
    expect(codeOf(() => socketPathOf({ ...place, home: 'here' }))).toBe('config_invalid');
  });
});

describe('pathsOf()', () => {
  it('lays out one home', () => {
    expect(pathsOf({ home: '/h/', runtimeDir: '/run', uid: 1 })).toEqual({
      home: '/h',
      config: '/h/agentmesh.yaml',
      keys: '/h/keys',
      recovery: '/h/recovery',
      database: '/h/db',
      anchor: '/h/log.anchor',
      peers: '/h/peers',
      daemonInfo: '/h/daemon.json',
      roots: '/h/roots.json',
      socket: '/h/agentmeshd.sock',
    });
  });
});

describe('verifyPrivate(), verifyUnwritable() and verifyOwn()', () => {
  const facts = (over: Partial<FileFacts> = {}): FileFacts => ({
    path: '/f',
    type: 'file',
    uid: 7,
    mode: 0o600,
    ...over,
  });

  it('accept exactly the modes without any right, or without the right to write, for group and others', () => {
    for (let mode = 0; mode <= 0o777; mode++) {
      expect(codeOf(() => verifyPrivate(facts({ mode }), 'file', 7))).toBe(
        (mode & 0o077) === 0 ? 'none' : 'permissions',
      );
      expect(codeOf(() => verifyUnwritable(facts({ mode }), 'file', 7))).toBe(
        (mode & 0o022) === 0 ? 'none' : 'permissions',
      );
      expect(codeOf(() => verifyOwn(facts({ mode }), 'file', 7))).toBe('none');
    }
  });

  it("refuse what belongs to another user, and only verifyUnwritable() takes what is root's", () => {
    for (const verify of [verifyPrivate, verifyUnwritable, verifyOwn]) {
      expect(codeOf(() => verify(facts({ uid: 8 }), 'file', 7))).toBe('permissions');
      expect(codeOf(() => verify(facts({ uid: 0 }), 'file', 7))).toBe(
        verify === verifyUnwritable ? 'none' : 'permissions',
      );
    }
  });

  it('refuse a link, a socket or a directory in place of a file, and the reverse', () => {
    for (const type of ['directory', 'socket', 'other'] as const)
      expect(codeOf(() => verifyPrivate(facts({ type }), 'file', 7))).toBe('permissions');
    expect(codeOf(() => verifyPrivate(facts({ mode: 0o700 }), 'directory', 7))).toBe('permissions');
    expect(codeOf(() => verifyOwn(facts({ type: 'socket' }), 'socket', 7))).toBe('none');
  });

  it('say what is, what was wanted and what to run', () => {
    expect(() => verifyPrivate(facts({ mode: 0o644 }), 'file', 7)).toThrow(
      `Cannot trust "/f": its mode is 0644, want it closed to group and others; run: chmod 600 '/f'`,
    );
  });
});

describe('parseDaemonInfo()', () => {
  const info = { pid: 12, version: '0.1.0', socket: '/h/agentmeshd.sock', started: '2026-11-22T15:00:00.000Z' };

  it('reads what formatDaemonInfo() wrote', () => {
    expect(parseDaemonInfo(formatDaemonInfo(info))).toEqual(info);
  });

  it.each([
    '',
    'null',
    '[]',
    '{}',
    JSON.stringify({ ...info, pid: 0 }),
    JSON.stringify({ ...info, pid: '12' }),
    JSON.stringify({ ...info, socket: 'relative' }),
    JSON.stringify({ ...info, version: 1 }),
  ])('refuses %j', (text) => {
    expect(codeOf(() => parseDaemonInfo(text))).toBe('malformed');
  });

  it('refuses more than its bound', () => {
    expect(codeOf(() => parseDaemonInfo(' '.repeat(5000)))).toBe('too_large');
  });
});

describe('roots.json', () => {
  const did = `did:mesh:bafyrei${'a'.repeat(52)}`;

  it('is read as it was written', () => {
    expect(parseRoots(formatRoots([did]))).toEqual([did]);
    expect(parseRoots(formatRoots([]))).toEqual([]);
  });

  it('is refused when it is not a list of DIDs, or too long', () => {
    for (const text of ['', 'null', '[]', '{}', '{"roots":"x"}', '{"roots":["did:key:z6Mk"]}', '{"roots":[1]}']) {
      expect(
        codeOf(() => parseRoots(text)),
        text,
      ).toBe('malformed');
    }
    expect(codeOf(() => parseRoots(' '.repeat(ROOTS_BYTES_MAX + 1)))).toBe('too_large');
  });
});
