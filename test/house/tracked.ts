/** What must not be in the repository's files, wherever they are. */
import { execFileSync } from 'node:child_process';
import { lstatSync } from 'node:fs';
import { join } from 'node:path';
import { repositoryRoot } from './architecture.ts';

export const FILE_BYTES_MAX = 1.5 * 1024 * 1024; // larger things make every clone slow for ever

/** Files that are tracked, or would be by `git add`. */
export function trackedFiles(): string[] {
  const args = ['ls-files', '-z', '--cached', '--others', '--exclude-standard'];
  const paths = execFileSync('git', args, { cwd: repositoryRoot, encoding: 'utf8' }).split('\0');
  return paths.filter(
    (path) => path !== '' && lstatSync(join(repositoryRoot, path), { throwIfNoEntry: false })?.isFile(),
  );
}

// Home and work folders of whoever wrote it; alice and bob live in documentation.
const MACHINE_PATH = /(?:^|[\s"'`(=:[,])(?:file:\/\/)?\/(?:root\/|work\/|Users\/|home\/(?!alice\/|bob\/))/m;
// Where packages come from is each machine's own affair; the lock must install through any mirror.
const REGISTRY = /\bregistry\.[a-z0-9-]+(?:\.[a-z0-9-]+)+|_authToken|(?:npm_config_)?registry\s*=\s*https?:/i;

/** What a file's text gives away of the machine on which it was written. */
export function machineTraces(text: string, registryHost?: string): string[] {
  const found = [MACHINE_PATH.exec(text)?.[0], REGISTRY.exec(text)?.[0]];
  if (registryHost !== undefined && text.includes(registryHost)) found.push(registryHost);
  return found.filter((trace) => trace !== undefined).map((trace) => trace.trim());
}
