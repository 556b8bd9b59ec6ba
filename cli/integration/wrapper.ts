/**
 * The command line that puts a server behind the proxy, made and recognised:
 *
 *   NODE SCRIPT [--home DIR] proxy --server NAME [--policy POLICY] [--agent AGENT] … -- COMMAND ARGS…
 *   NODE SCRIPT [--home DIR] proxy --server NAME [--policy POLICY] [--agent AGENT] … --url URL [--header-env HEADER=VARIABLE]…
 *
 * Node and script are named by absolute paths, as programs with windows have no shell's PATH. Header values travel in
 * the environment: arguments are shown to every user of the machine in the list of processes.
 */
import { win32 } from 'node:path';
import { PROXY_FLAGS } from '../proxy/options.ts';

/** How agentmesh is started: Node, then the script. */
export type Launcher = readonly [string, ...string[]];

export interface WrapOptions {
  readonly launcher: Launcher;
  /** Home to name, where it is not the default one. */
  readonly home: string | undefined;
  /** Undefined: the one that is there, else the default. */
  readonly policy: string | undefined;
  /** Who acts; undefined: the one that is there, else the only one of the home. */
  readonly agent?: string | undefined;
}

export const POLICY_DEFAULT = 'strict'; // as of the proxy; written out, so that the file says what holds

export type Target =
  | { readonly kind: 'stdio'; readonly command: string; readonly args: readonly string[] }
  | {
      readonly kind: 'url';
      readonly url: string;
      /** Header and the variable that holds its value. */
      readonly headers: readonly (readonly [header: string, variable: string])[];
    };

/** Command first. */
export function wrap(name: string, target: Target, { launcher, home, policy, agent }: WrapOptions): readonly string[] {
  return [
    ...launcher,
    ...(home === undefined ? [] : ['--home', home]),
    'proxy',
    '--server',
    name,
    '--policy',
    policy ?? POLICY_DEFAULT,
    ...(agent === undefined ? [] : ['--agent', agent]),
    ...(target.kind === 'stdio' ? ['--', target.command, ...target.args] : urlFlags(target)),
  ];
}

const urlFlags = ({ url, headers }: Extract<Target, { kind: 'url' }>): string[] => [
  '--url',
  url,
  ...headers.flatMap(([header, variable]) => ['--header-env', `${header}=${variable}`]),
];

export interface Wrapped {
  /** Whether it has the form above, and may be brought up to date; else somebody wrote it by hand. */
  readonly isOurs: boolean;
  readonly launcher: readonly string[];
  readonly home: string | undefined;
  /** Between "proxy" and the target. */
  readonly flags: readonly string[];
  /** From "--" on. */
  readonly rest: readonly string[];
  readonly policy: string | undefined;
}

const NAMED = /(?:^|[\\/])agentmesh(?:@[\w.-]+|\.js|\.cmd|\.exe)?$|[\\/]agentmesh[\\/](?:.*[\\/])?cli[\\/]bin\.js$/i;
/** In a checkout of any name; then only what has exactly our form is ours. */
const UNNAMED = /[\\/]cli[\\/]bin\.js$/i;
const HEAD_WORDS_MAX = 4; // "npx -y --package agentmesh" and the like

/** Undefined for what does not lead through the proxy. */
export function readWrapped(words: readonly string[]): Wrapped | undefined {
  const at = words.slice(0, HEAD_WORDS_MAX).findIndex((word) => NAMED.test(word) || UNNAMED.test(word));
  if (at < 0) return undefined;
  let verb = at + 1;
  let home: string | undefined;
  for (; words[verb]?.startsWith('--') === true; verb += 1) {
    const word = words[verb] ?? '';
    if (word === '--home') home = words[++verb];
    else if (word.startsWith('--home=')) home = word.slice('--home='.length);
  }
  if (words[verb] !== 'proxy') return undefined;
  const end = words.indexOf('--', verb);
  const flags = words.slice(verb + 1, end < 0 ? undefined : end);
  const isDirect = at === 0 || (at === 1 && /^node(?:\.exe)?$/i.test(win32.basename(words[0] ?? '')));
  const hasTarget = end >= 0 || flags.includes('--url');
  const hasForm = isDirect && flags.includes('--server') && hasTarget;
  const isNamed = NAMED.test(words[at] ?? '');
  if (!isNamed && !(hasForm && flags[0] === '--server' && flags[2] === '--policy')) return undefined;
  return {
    isOurs: hasForm,
    launcher: words.slice(0, at + 1),
    home,
    flags,
    rest: end < 0 ? [] : words.slice(end),
    policy: policyAmong(flags),
  };
}

/** The same server behind the proxy as the options want it, with whatever else was asked of the proxy. */
export function rewrap({ flags, rest }: Wrapped, { launcher, home, policy, agent }: WrapOptions): readonly string[] {
  return [
    ...launcher,
    ...(home === undefined ? [] : ['--home', home]),
    'proxy',
    ...withFlag(withFlag(flags, '--policy', policy), '--agent', agent),
    ...rest,
  ];
}

/** Flags of the proxy that take a word: that word is no flag, whatever it looks like. */
const TAKES_WORD = new Set(PROXY_FLAGS.flatMap((flag) => ('value' in flag ? [`--${flag.name}`] : [])));

/** Index of the flag, or -1. */
function flagIndex(flags: readonly string[], name: string): number {
  for (let i = 0; i < flags.length; i += 1) {
    const flag = flags[i] ?? '';
    if (flag === name || flag.startsWith(`${name}=`)) return i;
    if (TAKES_WORD.has(flag)) i += 1;
  }
  return -1;
}

function policyAmong(flags: readonly string[]): string | undefined {
  const at = flagIndex(flags, '--policy');
  const flag = flags[at];
  return flag === '--policy' ? flags[at + 1] : flag?.slice('--policy='.length);
}

function withFlag(flags: readonly string[], name: string, value: string | undefined): readonly string[] {
  if (value === undefined) return flags;
  const at = flagIndex(flags, name);
  if (at >= 0) return flags.toSpliced(at, flags[at] === name ? 2 : 1, name, value);
  if (name !== '--policy') return [...flags, name, value];
  const server = flags.indexOf('--server');
  return flags.toSpliced(server < 0 ? 0 : server + 2, 0, name, value);
}
