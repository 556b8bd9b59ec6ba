/** The process around a command line: what it gives to the program, and its exit code. */
import { readFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { MeshError } from '../protocol/index.ts';
import { runCli } from './cli.ts';
import { EXIT } from './exit.ts';
import type { Output, World } from './world.ts';

export async function runProcess(): Promise<void> {
  const interrupt = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      if (interrupt.signal.aborted) process.exit(EXIT.interrupted); // a second time: at once
      interrupt.abort(new MeshError('cancelled', `Cannot go on: ${signal}`, { signal }));
    });
  }
  process.exitCode = await runCli(worldOf(interrupt.signal));
}

const worldOf = (signal: AbortSignal): World => ({
  argv: process.argv.slice(2),
  env: process.env,
  cwd: process.cwd(),
  userHome: homedir(),
  temporaryDir: tmpdir(),
  uid: process.getuid?.() ?? 0,
  out: outputOf(process.stdout),
  err: outputOf(process.stderr),
  isInteractive: process.stdin.isTTY,
  readInput,
  nowMs: () => Date.now(),
  signal,
  platform: process.platform,
  ownCommand: [process.execPath, join(import.meta.dirname, 'bin.js')],
  // Beside this file in a checkout and in dist alike.
  daemonCommand: [process.execPath, join(import.meta.dirname, '../daemon/bin.js')],
  nodeVersion: process.versions.node,
  version: versionOf(),
});

function outputOf(stream: NodeJS.WriteStream): Output {
  // Whoever reads may leave before the end ("| head"): that is no failure of ours.
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(EXIT.ok);
    throw error;
  });
  return {
    write: (text) => void stream.write(text),
    isTty: stream.isTTY,
    get columns() {
      return stream.columns;
    },
  };
}

async function readInput(bytesMax: number): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > bytesMax)
      throw new MeshError('too_large', `Cannot read standard input: more than ${bytesMax} bytes`, { want: bytesMax });
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** The package's: one level up in a checkout, two in dist. */
function versionOf(): string {
  for (const path of ['../package.json', '../../package.json']) {
    try {
      const found = JSON.parse(readFileSync(join(import.meta.dirname, path), 'utf8')) as {
        name?: unknown;
        version?: unknown;
      };
      if (found.name === 'agentmesh' && typeof found.version === 'string') return found.version;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error; // looked for in the next place
    }
  }
  throw new MeshError('internal', 'Cannot tell the version: package.json is not where it was installed');
}
