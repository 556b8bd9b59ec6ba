/**
 * The flags of `agentmesh proxy`, and reading them without the parser of the other commands: MCP clients start a proxy
 * for each server, and wait for it. Whatever is not plainly understood here is left to the program, which knows all
 * the ways to write a flag, and to say what is wrong with one.
 */
import { resolve } from 'node:path';

export interface ProxyFlag {
  readonly name: string;
  /** Absent: a switch. */
  readonly value?: string;
  readonly about: string;
  /** Given several times, all count. */
  readonly isMany?: true;
  readonly default?: string;
}

export const PROXY_FLAGS = [
  {
    name: 'policy',
    value: 'policy',
    about: 'strict, moderate, permissive, or a file; the policies of the daemon hold beside it',
    default: 'strict',
  },
  { name: 'target', value: 'word', about: 'program that is the server, then its arguments, one a flag', isMany: true },
  { name: 'url', value: 'url', about: 'a server that speaks Streamable HTTP, instead of a program' },
  {
    name: 'peer',
    value: 'did',
    about: 'a server that another organisation exposes under the name in --server; the daemon calls, decides and signs',
  },
  { name: 'grant', value: 'link', about: 'with --peer: what to present there; without it what covers most' },
  { name: 'purpose', value: 'word', about: 'with --peer: what it is for' },
  { name: 'min-score', value: 'score', about: 'with --peer: least score of the other side (default: 300)' },
  { name: 'listen', value: 'host:port', about: 'serve Streamable HTTP there instead of standard input and output' },
  { name: 'server', value: 'name', about: 'what policies call the server (default: name of its package or program)' },
  { name: 'agent', value: 'agent', about: 'name or DID of the agent that acts; without it the only one' },
  { name: 'footer', about: 'say in each result what was checked, and where the log has it' },
  { name: 'approval-wait', value: 'seconds', about: 'how long a call is held for an approval', default: '45' },
  {
    name: 'header',
    value: 'name: value',
    about: 'sent to the server at --url; whoever lists processes sees it',
    isMany: true,
  },
  { name: 'header-env', value: 'name=variable', about: 'as --header, with the value in a variable', isMany: true },
  { name: 'token-file', value: 'file', about: 'clients of --listen must bring the token in it' },
  { name: 'allow-host', value: 'name', about: 'a name by which clients of --listen may call it', isMany: true },
  { name: 'no-daemon', about: 'decide in this process, without identity, audit log and approvals' },
  { name: 'log', value: 'file', about: 'where decisions are noted without a daemon, one line of JSON each' },
] as const satisfies readonly ProxyFlag[];

/** As commander gives them. */
export interface ProxyFlags {
  readonly policy: string;
  readonly target?: readonly string[];
  readonly url?: string;
  readonly peer?: string;
  readonly grant?: string;
  readonly purpose?: string;
  readonly minScore?: string;
  readonly listen?: string;
  readonly server?: string;
  readonly agent?: string;
  readonly header?: readonly string[];
  readonly headerEnv?: readonly string[];
  readonly tokenFile?: string;
  readonly allowHost?: readonly string[];
  readonly footer?: true;
  readonly approvalWait: string;
  /** False where it was said not to be used. */
  readonly daemon: boolean;
  readonly log?: string;
}

export interface ProxyLine {
  readonly home: string | undefined;
  readonly flags: ProxyFlags;
  /** After "--". */
  readonly words: readonly string[];
}

/** Undefined: let the program have a look. */
export function parseProxyLine(argv: readonly string[]): ProxyLine | undefined {
  let at = 0;
  let home: string | undefined;
  const homeFlag = (): boolean => {
    const value = valueOf('home', argv, at);
    if (value === undefined) return false;
    home = value.text;
    at += value.words;
    return true;
  };
  while (homeFlag());
  if (argv[at] !== 'proxy') return undefined;
  at++;
  const found: Record<string, unknown> = { daemon: true };
  while (at < argv.length && argv[at] !== '--') {
    if (homeFlag()) continue;
    const words = takeFlag(argv, at, found);
    if (words === 0) return undefined;
    at += words;
  }
  for (const flag of PROXY_FLAGS) if ('default' in flag) found[camel(flag.name)] ??= flag.default;
  return { home, flags: found as unknown as ProxyFlags, words: argv.slice(at + 1) };
}

/** How many words it takes; 0: none is understood. */
function takeFlag(argv: readonly string[], at: number, found: Record<string, unknown>): number {
  for (const flag of PROXY_FLAGS) {
    if (!('value' in flag)) {
      if (argv[at] !== `--${flag.name}`) continue;
      if (flag.name === 'no-daemon') found['daemon'] = false;
      else found[flag.name] = true;
      return 1;
    }
    const value = valueOf(flag.name, argv, at);
    if (value === undefined) continue;
    const key = camel(flag.name);
    found[key] = 'isMany' in flag ? [...((found[key] as string[] | undefined) ?? []), value.text] : value.text;
    return value.words;
  }
  return 0;
}

/** `--name value`, whatever the value begins with, or `--name=value`. */
function valueOf(name: string, argv: readonly string[], at: number): { text: string; words: number } | undefined {
  const word = argv[at];
  if (word === `--${name}`) {
    const text = argv[at + 1];
    return text === undefined ? undefined : { text, words: 2 };
  }
  return word?.startsWith(`--${name}=`) === true ? { text: word.slice(name.length + 3), words: 1 } : undefined;
}

const camel = (name: string): string => name.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());

/** Programs that run what their first plain argument names. */
const STARTERS = new Set([
  'bun',
  'bunx',
  'deno',
  'dlx',
  'docker',
  'exec',
  'node',
  'npm',
  'npx',
  'pipx',
  'pnpm',
  'podman',
  'python',
  'python3',
  'run',
  'tsx',
  'uv',
  'uvx',
  'x',
  'yarn',
]);
/** Names of files and directories that say nothing of what they hold. */
const GENERIC = new Set([
  '__main__',
  'app',
  'bin',
  'build',
  'cli',
  'dist',
  'index',
  'lib',
  'main',
  'out',
  'server',
  'src',
]);
const EXTENSION = /\.(?:exe|cmd|[cm]?[jt]s|py|sh|rb)$/;

/** A name for a server that says what it is, and stays the same from one start to the next: pins go by it. */
export function serverNameOf(command: readonly string[], cwd: string): string {
  const words = command.filter((word) => !word.startsWith('-'));
  const word = words.find((each) => !STARTERS.has(partsOf(each).at(-1) ?? '')) ?? words[0] ?? '';
  const parts = partsOf(word);
  const isFile = word.includes('/') || EXTENSION.test(word);
  return sayingOf(parts) ?? (isFile ? sayingOf(partsOf(cwd)) : undefined) ?? parts.at(-1) ?? word;
}

const sayingOf = (parts: readonly string[]): string | undefined => parts.findLast((part) => !GENERIC.has(part));

/** Of a path, a package with scope and version, or an image with its tag. */
const partsOf = (word: string): readonly string[] =>
  word
    .replace(/(?<=[^@/])[@:][^/\\@:]*$/, '')
    .replace(EXTENSION, '')
    .split(/[/\\]/)
    .filter((part) => part !== '' && part !== '.' && part !== '..');

/** How it is started, without what may be secret in its arguments: the program, and what it runs. */
export function serverOriginOf(command: readonly string[], cwd: string): string {
  const [program = '', ...args] = command;
  const main = args.find((word) => !word.startsWith('-') && !STARTERS.has(word));
  const isFile = main !== undefined && (/^[./~]/.test(main) || EXTENSION.test(main));
  return [program, ...(main === undefined ? [] : [isFile ? resolve(cwd, main) : main])].join(' ');
}
