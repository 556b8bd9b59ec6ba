/** The command line as a process of its own. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const BIN = fileURLToPath(new URL('../../cli/bin.js', import.meta.url));

export interface Ended {
  readonly exit: number;
  readonly out: string;
  readonly err: string;
}

export const agentmesh = (home: string, ...words: readonly string[]): Promise<Ended> =>
  new Promise((resolve) => {
    const { AGENTMESH_HOME: _home, AGENTMESH_SOCKET: _socket, ...env } = process.env;
    execFile(process.execPath, [BIN, '--home', home, ...words], { env }, (error, out, err) =>
      resolve({ exit: error === null ? 0 : Number(error.code), out, err }),
    );
  });
