import { chmod, chown, mkdir, mkdtemp, readdir, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  claimSocket,
  findHome,
  openHome,
  readDaemonInfo,
  removeDaemonInfo,
  writeDaemonInfo,
} from '../../daemon/home.ts';
import { type LevelStore, openLevelStore } from '../../daemon/store/level.ts';
import type { HomePaths } from '../../protocol/index.ts';

let root: string;
let env: Record<string, string>;
const closing: AsyncDisposable[] = [];
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'agentmesh-home-'));
  env = { XDG_RUNTIME_DIR: join(root, 'run') };
  await mkdir(join(root, 'run'), { mode: 0o700 });
});
afterEach(async () => {
  for (const owner of closing.splice(0).toReversed()) await owner[Symbol.asyncDispose]();
  await rm(root, { recursive: true, force: true });
});

const modeOf = async (path: string): Promise<string> => ((await stat(path)).mode & 0o777).toString(8);

describe('openHome()', () => {
  it('makes a home that is closed to others, and finds it as it is', async () => {
    const paths = await openHome(join(root, 'a/home'), env);
    expect(paths).toEqual(findHome(undefined, { ...env, AGENTMESH_HOME: join(root, 'a/home') }));
    for (const path of [paths.home, paths.keys, paths.recovery, paths.database, paths.peers])
      expect(await modeOf(path), path).toBe('700');
    await writeFile(join(paths.peers, 'kept'), '');
    await openHome(join(root, 'a/home'), env);
    expect(await readdir(paths.peers)).toEqual(['kept']);
  });

  it('takes a home that others may read, and refuses one that they may write', async () => {
    const home = join(root, 'home');
    await mkdir(home);
    await chmod(home, 0o755);
    expect(await modeOf((await openHome(home, env)).keys)).toBe('700');
    for (const mode of [0o775, 0o757]) {
      await chmod(home, mode);
      await expect(openHome(home, env)).rejects.toMatchObject({ code: 'permissions' });
    }
  });

  it.each(['keys', 'recovery', 'db', 'peers'])(
    'refuses a folder %s that others may enter, or that is a link',
    async (folder) => {
      const { home } = await openHome(join(root, 'home'), env);
      await chmod(join(home, folder), 0o750);
      await expect(openHome(home, env)).rejects.toMatchObject({ code: 'permissions' });
      await rm(join(home, folder), { recursive: true });
      await mkdir(join(root, 'elsewhere'));
      await symlink(join(root, 'elsewhere'), join(home, folder));
      await expect(openHome(home, env)).rejects.toMatchObject({ code: 'permissions' });
    },
  );

  it('leads two spellings of one home to one socket', async () => {
    const home = join(root, 'h'.repeat(120)); // too long for a socket inside
    const { socket } = await openHome(home, env);
    expect(dirname(socket)).toBe(join(root, 'run', `agentmesh-${process.getuid?.()}`));
    await symlink(home, join(root, 'link'));
    expect(findHome(join(root, 'link'), env).socket).toBe(socket);
    expect(findHome(`${home}/../${'h'.repeat(120)}/`, env).socket).toBe(socket);
  });
});

describe('claimSocket()', () => {
  const openLocked = async (name = 'home'): Promise<{ paths: HomePaths; lock: LevelStore }> => {
    const paths = await openHome(join(root, name), env);
    const lock = await openLevelStore(paths.database);
    closing.push(lock);
    return { paths, lock };
  };
  const listen = async (path: string): Promise<Server> => {
    const server = createServer((socket) => socket.destroy());
    server.listen(path);
    await once(server, 'listening');
    closing.push({
      [Symbol.asyncDispose]: async () => void (server.listening && (await new Promise((done) => server.close(done)))),
    });
    return server;
  };
  /** Listens, then dies without removing its socket. */
  const leaveSocket = async (path: string): Promise<void> => {
    const script = `require('node:net').createServer().listen(process.argv[1], () => process.kill(process.pid, 'SIGKILL'))`;
    await once(spawn(process.execPath, ['-e', script, path], { stdio: 'ignore' }), 'close');
    expect((await stat(path)).isSocket()).toBe(true);
  };

  it('lets a socket be listened on where none was', async () => {
    const { paths, lock } = await openLocked();
    await claimSocket(paths.socket, paths, lock);
    await listen(paths.socket);
  });

  it('removes the socket of a daemon that was killed', async () => {
    const { paths, lock } = await openLocked();
    await leaveSocket(paths.socket);
    await claimSocket(paths.socket, paths, lock);
    await listen(paths.socket);
  });

  it('leaves a socket on which another daemon answers', async () => {
    const { paths, lock } = await openLocked();
    const shared = join(root, 'shared.sock');
    await listen(shared);
    await expect(claimSocket(shared, paths, lock)).rejects.toMatchObject({ code: 'already_running' });
    expect((await stat(shared)).isSocket()).toBe(true);
  });

  it('leaves what is no socket', async () => {
    const { paths, lock } = await openLocked();
    await writeFile(paths.socket, 'mine');
    await expect(claimSocket(paths.socket, paths, lock)).rejects.toMatchObject({ code: 'permissions' });
    expect((await stat(paths.socket)).size).toBe(4);
  });

  it('refuses a path too long for a socket', async () => {
    const { paths, lock } = await openLocked();
    await expect(claimSocket(`/${'s'.repeat(103)}`, paths, lock)).rejects.toMatchObject({ code: 'config_invalid' });
  });

  describe('where the path in the home is too long', () => {
    const long = 'h'.repeat(120);

    it('makes a directory of its own beside the home', async () => {
      const { paths, lock } = await openLocked(long);
      await claimSocket(paths.socket, paths, lock);
      expect(await modeOf(dirname(paths.socket))).toBe('700');
      await listen(paths.socket);
    });

    it('refuses that directory when others may enter it', async () => {
      const { paths, lock } = await openLocked(long);
      await mkdir(dirname(paths.socket));
      await chmod(dirname(paths.socket), 0o777);
      await expect(claimSocket(paths.socket, paths, lock)).rejects.toMatchObject({ code: 'permissions' });
    });

    it('refuses that directory when it is a link', async () => {
      const { paths, lock } = await openLocked(long);
      await mkdir(join(root, 'theirs'), { mode: 0o700 });
      await symlink(join(root, 'theirs'), dirname(paths.socket));
      await expect(claimSocket(paths.socket, paths, lock)).rejects.toMatchObject({ code: 'permissions' });
      expect(await readdir(join(root, 'theirs'))).toEqual([]);
    });

    // Only root can give a directory away; as another user the rule itself is tested in test/protocol/control/paths.test.ts.
    it('refuses that directory when another user made it first', async () => {
      const { paths, lock } = await openLocked(long);
      await mkdir(dirname(paths.socket), { mode: 0o700 });
      if (process.getuid?.() === 0) await chown(dirname(paths.socket), 12_345, 12_345);
      else await chmod(dirname(paths.socket), 0o701);
      await expect(claimSocket(paths.socket, paths, lock)).rejects.toMatchObject({ code: 'permissions' });
    });
  });
});

describe('the note of what runs', () => {
  const info = { pid: 12, version: '0.1.0', socket: '/h/agentmeshd.sock', started: '2026-11-22T15:00:00.000Z' };

  it('is written for its owner alone, replaced, read and removed', async () => {
    const paths = await openHome(join(root, 'home'), env);
    expect(await readDaemonInfo(paths)).toBeUndefined();
    await writeDaemonInfo(paths, { ...info, pid: 11 });
    await writeDaemonInfo(paths, info);
    expect(await modeOf(paths.daemonInfo)).toBe('600');
    expect(await readDaemonInfo(paths)).toEqual(info);
    await removeDaemonInfo(paths);
    await removeDaemonInfo(paths);
    expect(await readDaemonInfo(paths)).toBeUndefined();
  });

  it('is not believed when others could have written it', async () => {
    const paths = await openHome(join(root, 'home'), env);
    await writeDaemonInfo(paths, info);
    await chmod(paths.daemonInfo, 0o666);
    await expect(readDaemonInfo(paths)).rejects.toMatchObject({ code: 'permissions' });
  });
});
