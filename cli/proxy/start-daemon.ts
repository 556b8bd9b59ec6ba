/** Starting the daemon that a proxy needs; loaded where it does not run yet, since it brings the whole client with it. */
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { findDaemon, startInBackground } from '../daemon-process.ts';
import { findHome } from '../home.ts';

const LOG_FILE = 'agentmeshd.log';

/** Errors: internal (it does not start), cancelled. */
export async function startDaemonFor(home: string | undefined, signal: AbortSignal): Promise<void> {
  const world = {
    env: process.env,
    cwd: process.cwd(),
    userHome: homedir(),
    temporaryDir: tmpdir(),
    uid: process.getuid?.() ?? 0,
    signal,
    // Beside cli/ in a checkout and in dist alike.
    daemonCommand: [process.execPath, join(import.meta.dirname, '../../daemon/bin.js')] as const,
  };
  const paths = findHome(home, world);
  try {
    await startInBackground(paths, join(paths.home, LOG_FILE), world);
  } catch (error) {
    // Proxies of one client start together, and one of them is first.
    if ((await findDaemon(paths, world)) === undefined) throw error;
  }
}
