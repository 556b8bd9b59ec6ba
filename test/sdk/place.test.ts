import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { formatDaemonInfo } from '../../protocol/index.ts';
import { findPlace } from '../../sdk/index.ts';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'agentmesh-place-'));
});
afterEach(() => rm(directory, { recursive: true }));

const noteOf = (socket: string): string =>
  formatDaemonInfo({ pid: 1, version: '0.1.0', socket, started: '2026-11-22T12:00:00Z' });
const longHome = (): string => join(directory, 'h'.repeat(100));

describe('findPlace()', () => {
  test('goes by what the caller names, then the environment, then the home', () => {
    const env = { AGENTMESH_SOCKET: '/env.sock', AGENTMESH_HOME: directory };
    expect(findPlace({ url: 'http://[::1]:7400', socket: '/a.sock' }, env)).toEqual({ host: '::1', port: 7400 });
    expect(findPlace({ socket: '/a.sock', home: directory }, env)).toEqual({ socketPath: '/a.sock' });
    expect(findPlace({ home: directory }, env)).toEqual({ socketPath: join(directory, 'agentmeshd.sock') });
    expect(findPlace({}, env)).toEqual({ socketPath: '/env.sock' });
    expect(findPlace({}, { AGENTMESH_SOCKET: '', AGENTMESH_URL: 'http://localhost:7400' })).toEqual({
      host: 'localhost',
      port: 7400,
    });
    expect(findPlace({}, { AGENTMESH_HOME: directory })).toEqual({ socketPath: join(directory, 'agentmeshd.sock') });
  });

  test('follows a link to the home, and a note of a socket elsewhere', async () => {
    const link = join(directory, 'link');
    const home = join(directory, 'home');
    await mkdir(home);
    await symlink(home, link);
    expect(findPlace({ home: link }, {})).toEqual({ socketPath: join(home, 'agentmeshd.sock') });
    await writeFile(join(home, 'daemon.json'), noteOf('/run/agentmesh/moved.sock'), { mode: 0o600 });
    expect(findPlace({ home: link }, {})).toEqual({ socketPath: '/run/agentmesh/moved.sock' });
  });

  test('does not follow a note that others could have written or that says nothing', async () => {
    const note = join(directory, 'daemon.json');
    await writeFile(note, '{"socket":1}', { mode: 0o600 });
    expect(findPlace({ home: directory }, {})).toEqual({ socketPath: join(directory, 'agentmeshd.sock') });
    await rm(note);
    await writeFile(note, noteOf('/tmp/theirs.sock'), { mode: 0o666 });
    await chmod(note, 0o666);
    expect(() => findPlace({ home: directory }, {})).toThrow(expect.objectContaining({ code: 'permissions' }) as Error);
  });

  test('a socket outside a home of too long a path is used in a private directory only', async () => {
    const env = { XDG_RUNTIME_DIR: directory };
    const place = findPlace({ home: longHome() }, env);
    expect(place).toEqual({ socketPath: expect.stringMatching(/\/agentmesh-\d+\/[0-9a-f]{16,}\.sock$/) });
    await mkdir(join(directory, `agentmesh-${process.getuid?.() ?? 0}`), { mode: 0o755 });
    expect(() => findPlace({ home: longHome() }, env)).toThrow(
      expect.objectContaining({ code: 'permissions' }) as Error,
    );
  });
});
