/**
 * What a path means on this machine, for policies that name directories: against every directory that the server may
 * start from, and with links followed as the kernel follows them. Servers differ in whether `..` undoes a link's name
 * or leaves its target, so both are told. A hard link has no other name to be found by.
 */
import { lstatSync, readFileSync, readlinkSync, realpathSync, statSync } from 'node:fs';
import { dirname, isAbsolute, join, parse, resolve, sep } from 'node:path';
import type { Paths } from '../../protocol/mcp/index.ts';

const LINKS_MAX = 40; // as Linux counts before ELOOP
const PASSWD_BYTES_MAX = 1024 * 1024;

export interface PathsOptions {
  /** Of the server when it starts. */
  readonly cwd: string;
  /** Directories that the server is given: some resolve relative paths against these. */
  readonly directories: readonly string[];
  readonly home: string;
  readonly env: Readonly<Record<string, string | undefined>>;
}

export function createPaths({ cwd, directories, home, env }: PathsOptions): Paths {
  const bases = [...new Set([cwd, ...directories.map((directory) => resolve(cwd, directory))])];
  const foldsCase = caseProbe();
  return {
    canonicalPaths: (texts) => {
      const found = new Set<string>();
      for (const text of texts) {
        if (text.includes('\0')) continue; // no system call takes it
        for (const form of expanded(text, home, env)) {
          for (const base of isAbsolute(form) ? ['/'] : bases) {
            for (const path of meaningsOf(base, form)) {
              found.add(path);
              if (foldsCase(path)) found.add(path.normalize('NFC').toLowerCase());
            }
          }
        }
      }
      return [...found];
    },
  };
}

/** Directories among the words of a command line. */
export const directoriesIn = (words: readonly string[], cwd: string): readonly string[] =>
  words.filter((word) => !word.startsWith('-') && isDirectory(resolve(cwd, word)));

function isDirectory(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch {
    return false; // no path at all, as most words
  }
}

/** As it is, and with what shells and servers put in for home and variables. */
function expanded(text: string, home: string, env: PathsOptions['env']): string[] {
  const forms = [text];
  const tilde = /^~([^/\\]*)(.*)$/s.exec(text);
  if (tilde !== null) {
    const [, user = '', rest = ''] = tilde;
    const place = user === '' ? home : homeOf(user);
    if (place !== undefined) forms.push(place + rest);
  }
  if (/[$%]/.test(text)) {
    const filled = text.replace(
      /\$\{([A-Za-z_]\w*)\}|\$([A-Za-z_]\w*)|%([A-Za-z_]\w*)%/g,
      (whole, braced?: string, plain?: string, percent?: string) => {
        const name = braced ?? plain ?? percent ?? '';
        return env[name] ?? (name === 'HOME' || name === 'USERPROFILE' ? home : whole);
      },
    );
    if (filled !== text) forms.push(filled);
  }
  return forms;
}

/** Of another user, where the machine has a list of them. */
function homeOf(user: string): string | undefined {
  let list: string;
  try {
    list = readFileSync('/etc/passwd', 'utf8').slice(0, PASSWD_BYTES_MAX);
  } catch {
    return undefined; // no such list, as on Windows
  }
  const line = list.split('\n').find((each) => each.startsWith(`${user}:`));
  return line?.split(':')[5];
}

/** By name, by name with links followed, and as the kernel walks it. */
function meaningsOf(base: string, path: string): string[] {
  const lexical = resolve(base, path);
  return [lexical, real(lexical), walked(base, path)].filter((each) => each !== undefined);
}

/** Links followed as far as something is there; the rest by name. */
function real(path: string): string {
  for (let at = path, rest = ''; ; ) {
    try {
      return join(realpathSync.native(at), rest);
    } catch {
      // Not there, or not for us: what is above it may lead elsewhere all the same.
      const above = dirname(at);
      if (above === at) return path;
      rest = join(at.slice(above.length).replace(/^[/\\]/, ''), rest);
      at = above;
    }
  }
}

/** `..` after a link leaves the link's target. Undefined: more links than the kernel follows. */
function walked(base: string, path: string): string | undefined {
  let at = isAbsolute(path) ? parse(path).root : real(base);
  const open = segmentsOf(isAbsolute(path) ? path.slice(at.length) : path);
  for (let links = 0, segment = open.shift(); segment !== undefined; segment = open.shift()) {
    if (segment === '..') {
      at = dirname(at);
      continue;
    }
    const next = join(at, segment);
    const target = linkAt(next);
    if (target === undefined) {
      at = next;
      continue;
    }
    if (++links > LINKS_MAX) return undefined;
    if (isAbsolute(target)) at = parse(target).root;
    open.unshift(...segmentsOf(target));
  }
  return at;
}

const segmentsOf = (path: string): string[] =>
  path.split(sep === '\\' ? /[/\\]/ : '/').filter((segment) => segment !== '' && segment !== '.');

function linkAt(path: string): string | undefined {
  try {
    return lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() === true ? readlinkSync(path) : undefined;
  } catch {
    return undefined; // a file in the middle, too long a name, or not for us: the server meets the same
  }
}

/** Whether two spellings of a path are one file there; asked once for each file system. */
function caseProbe(): (path: string) => boolean {
  const known = new Map<number, boolean>();
  return (path) => {
    for (let at = path; ; at = dirname(at)) {
      const stats = statsOf(at);
      if (stats !== undefined) {
        const found = known.get(stats.dev) ?? probe(at, stats.ino);
        if (found !== undefined) {
          known.set(stats.dev, found);
          return found;
        }
      }
      if (dirname(at) === at) return false;
    }
  };
}

/** Undefined: there is no letter in it to tell by. */
function probe(path: string, ino: number): boolean | undefined {
  const name = path.slice(dirname(path).length);
  const other = swapped(name);
  if (other === name) return undefined;
  return statsOf(path.slice(0, path.length - name.length) + other)?.ino === ino;
}

const swapped = (name: string): string =>
  name.replace(/[a-z]/gi, (letter) => (letter < 'a' ? letter.toLowerCase() : letter.toUpperCase()));

function statsOf(path: string): { readonly dev: number; readonly ino: number } | undefined {
  try {
    return lstatSync(path, { throwIfNoEntry: false });
  } catch {
    return undefined; // as of links
  }
}
