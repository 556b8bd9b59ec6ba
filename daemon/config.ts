/**
 * The daemon's configuration: flags go before AGENTMESH_* variables, those before agentmesh.yaml, that before the
 * defaults. Each setting has one name in three spellings: `sync_seconds`, `--sync-seconds`, AGENTMESH_SYNC_SECONDS.
 */
import { readFile, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { isMap, isNode, isPair, isScalar, isSeq, LineCounter, type Node, parseDocument, stringify } from 'yaml';
import { nearest } from '../protocol/control/index.ts';
import { DEFAULT_NETWORK, type Environment, limits, MeshError, verifyUnwritable } from '../protocol/index.ts';
import {
  type Config,
  configOf,
  flagOf,
  keyOf,
  type Kind,
  type KindFault,
  SETTING_NAMES,
  type SettingName,
  SETTINGS,
  variableOf,
} from './settings.ts';
import { isErrno, ownUid, writePrivateFile } from './store/private-file.ts';

export type Origin =
  | { readonly from: 'default' }
  | { readonly from: 'file'; readonly file: string; readonly line: number }
  | { readonly from: 'environment'; readonly variable: string }
  | { readonly from: 'flag'; readonly flag: string };

export interface ResolvedConfig {
  readonly config: Config;
  readonly origins: Readonly<Record<SettingName, Origin>>;
  /** What an operator should know before the daemon runs so. */
  readonly warnings: readonly string[];
}

export interface ConfigSources {
  /** agentmesh.yaml; it need not be there. */
  readonly file: string;
  readonly env: Environment;
  /** As text, by setting; lists may be repeated or separated by commas. */
  readonly flags?: Readonly<Partial<Record<SettingName, string | readonly string[]>>> | undefined;
}

interface Found {
  readonly value: unknown;
  readonly origin: Origin;
}

/** Errors: config_invalid (with `field`, and `line` where it is the file's), permissions. */
export async function loadConfig({ file, env, flags = {} }: ConfigSources): Promise<ResolvedConfig> {
  const inFile = parseConfigFile(await readConfigFile(file), file);
  const found = new Map<SettingName, Found>();
  for (const name of SETTING_NAMES) {
    found.set(
      name,
      fromFlag(name, flags[name]) ??
        fromVariable(name, env) ??
        inFile.get(name) ?? { value: SETTINGS[name].preset, origin: { from: 'default' } },
    );
  }
  const config = configOf((name) => found.get(name)?.value);
  const origins = Object.fromEntries([...found].map(([name, { origin }]) => [name, origin])) as Record<
    SettingName,
    Origin
  >;
  return { config, origins, warnings: [...warningsOf(config), ...misspelt(env)] };
}

async function readConfigFile(file: string): Promise<string> {
  try {
    const { mode, uid, size } = await stat(file); // through links: mounted configuration is often one
    verifyUnwritable({ path: file, type: 'file', mode, uid }, 'file', ownUid());
    if (size > limits.CONFIG_BYTES_MAX)
      throw new MeshError(
        'config_invalid',
        `Cannot read "${file}": it has ${size} bytes, want <= ${limits.CONFIG_BYTES_MAX}`,
      );
    return await readFile(file, 'utf8');
  } catch (cause) {
    if (isErrno(cause, 'ENOENT')) return '';
    throw cause;
  }
}

/** The settings in a text of agentmesh.yaml. Errors: config_invalid. */
export function parseConfigFile(source: string, file: string): Map<SettingName, Found> {
  const lines = new LineCounter();
  const document = parseDocument(source, {
    lineCounter: lines,
    prettyErrors: false,
    stringKeys: true,
    logLevel: 'error', // at 'silent' yaml overlooks a second document
  });
  const lineAt = (offset: number): number => Math.max(1, lines.linePos(offset).line);
  const problem = document.errors[0] ?? document.warnings[0];
  if (problem !== undefined) throw invalid(file, lineAt(problem.pos[0]), problem.message);
  if (document.contents === null || (isScalar(document.contents) && document.contents.value === null)) return new Map();
  if (!isMap(document.contents))
    throw invalid(file, 1, `it is not a map, want lines like "network: ${DEFAULT_NETWORK}"`);

  const found = new Map<SettingName, Found>();
  for (const { key, value } of document.contents.items) {
    const line = lineAt(key.range?.[0] ?? 0);
    const keyText = String(isScalar(key) ? key.value : key);
    const name = SETTING_NAMES.find((each) => keyOf(each) === keyText);
    if (name === undefined) throw unknownKey(file, line, keyText);
    const origin: Origin = { from: 'file', file, line };
    const lineOf = (node: Node | null | undefined): number =>
      node?.range === null || node?.range === undefined ? line : lineAt(node.range[0]);
    found.set(name, {
      value: checked(name, plainOf(value, document, file, line), origin, (path) => lineOf(nodeAt(value, path))),
      origin,
    });
  }
  return found;
}

/** The innermost node on the way to a value, since what is missing has none. */
function nodeAt(node: Node | null, [step, ...rest]: readonly (string | number)[]): Node | null {
  if (step === undefined || node === null) return node;
  const items: readonly unknown[] = isSeq(node) || isMap(node) ? node.items : [];
  const found = isSeq(node)
    ? items[Number(step)]
    : items.filter(isPair).find(({ key }) => (isScalar(key) ? key.value : key) === step);
  if (!isPair<Node, Node | null>(found)) return isNode(found) ? nodeAt(found, rest) : node;
  return rest.length === 0 ? found.key : (nodeAt(found.value, rest) ?? found.key);
}

/** Aliases beyond reason make yaml throw. */
function plainOf(node: Node | null, document: Parameters<Node['toJS']>[0], file: string, line: number): unknown {
  try {
    return node === null ? null : (node.toJS(document, { maxAliasCount: 0 }) as unknown);
  } catch (cause) {
    throw invalid(file, line, 'it uses an alias, want the value itself', undefined, cause);
  }
}

function fromFlag(name: SettingName, given: string | readonly string[] | undefined): Found | undefined {
  if (given === undefined) return undefined;
  const origin: Origin = { from: 'flag', flag: flagOf(name) };
  const { kind: wanted } = SETTINGS[name];
  const value =
    typeof given === 'string'
      ? wanted.fromText(given)
      : wanted.item === undefined
        ? wanted.fromText(given.at(-1) ?? '')
        : given.flatMap((each) => wanted.fromText(each));
  return { value: checked(name, value, origin), origin };
}

/** An empty variable counts as none: compose files and units pass on what is not set as empty. */
function fromVariable(name: SettingName, env: Environment): Found | undefined {
  const variable = variableOf(name);
  const given = env[variable];
  if (given === undefined || given === '') return undefined;
  const origin: Origin = { from: 'environment', variable };
  return { value: checked(name, SETTINGS[name].kind.fromText(given), origin), origin };
}

/** The value as the daemon uses it. Errors: config_invalid. */
function checked(
  name: SettingName,
  value: unknown,
  origin: Origin,
  lineAt: (path: readonly (string | number)[]) => number = () => 0,
): unknown {
  const { kind: wanted } = SETTINGS[name];
  if (wanted.isValid(value)) {
    if (wanted.resolved !== undefined) return wanted.resolved(value, directoryOf(origin));
    return wanted.isPath === true ? resolved(value, origin) : value;
  }
  const { path, is, want } = wanted.fault?.(value) ?? itemFault(wanted, value);
  const field = keyOf(name) + path.map((step) => (typeof step === 'number' ? `[${step}]` : `.${step}`)).join('');
  const what = `"${field}" is ${describe(is)}, want ${want}`;
  if (origin.from === 'file') {
    const line = path.length === 0 ? 0 : lineAt(path);
    throw invalid(origin.file, line === 0 ? origin.line : line, what, field);
  }
  const where = origin.from === 'flag' ? origin.flag : origin.from === 'environment' ? origin.variable : 'the defaults';
  throw new MeshError('config_invalid', `Cannot use ${where}: ${what}`, { field, want });
}

/** Of a list the first that is wrong, else the whole. */
function itemFault(wanted: Kind<unknown>, value: unknown): KindFault {
  const { item } = wanted;
  const wrong =
    item !== undefined && Array.isArray(value)
      ? value.findIndex((each: unknown, index) => !item.isValid(each) || value.indexOf(each) !== index)
      : -1;
  if (wrong < 0 || item === undefined) return { path: [], is: value, want: wanted.want };
  const is = (value as unknown[])[wrong];
  return { path: [wrong], is, want: item.isValid(is) ? 'each once' : item.want };
}

const directoryOf = (origin: Origin): string => (origin.from === 'file' ? dirname(origin.file) : resolve('.'));

/** Relative paths belong to the folder of their file. */
function resolved(value: unknown, origin: Origin): unknown {
  if (Array.isArray(value)) return value.map((each: unknown) => resolved(each, origin));
  if (typeof value !== 'string') return value;
  return resolve(directoryOf(origin), value);
}

const describe = (value: unknown): string => {
  const json = value === undefined ? 'missing' : JSON.stringify(value);
  return json.length <= 80 ? json : `${json.slice(0, 79)}…`;
};

const invalid = (file: string, line: number, what: string, field?: string, cause?: unknown): MeshError =>
  new MeshError(
    'config_invalid',
    `Cannot use "${file}", line ${line}: ${what}`,
    { line, ...(field === undefined ? {} : { field }) },
    cause === undefined ? {} : { cause },
  );

function unknownKey(file: string, line: number, key: string): MeshError {
  const near = nearest(key.toLowerCase().replaceAll('-', '_'), SETTING_NAMES.map(keyOf));
  const want = near === undefined ? `one of ${SETTING_NAMES.map(keyOf).join(', ')}` : `perhaps "${near}"`;
  return invalid(file, line, `"${key}" is no setting, want ${want}`, key);
}

function warningsOf({ listen }: Config): string[] {
  if (listen.length === 0) return ['Other daemons cannot connect to this one: "listen" is empty, so it only dials out'];
  if (listen.every((address) => /^\/ip4\/127\.|^\/ip6\/(?:0*:)*:?0*1\//.test(address))) {
    return [
      `Other hosts cannot reach this daemon: it listens on ${listen.join(', ')} only, want an address of the network in "listen"`,
    ];
  }
  return [];
}

/** A variable that is nearly a setting's would be overlooked in silence. */
function misspelt(env: Environment): string[] {
  const variables = SETTING_NAMES.map(variableOf);
  return Object.keys(env)
    .filter((variable) => variable.startsWith('AGENTMESH_') && !variables.includes(variable))
    .flatMap((variable) => {
      const near = nearest(variable, variables);
      return near === undefined
        ? []
        : [`${variable} has no effect: no setting has this name, perhaps ${near} was meant`];
    });
}

/** agentmesh.yaml with these settings, and every other one in a comment with its default. */
export function formatConfig(set: Partial<Config> = {}): string {
  const parts = SETTING_NAMES.map((name) => {
    const { about, preset } = SETTINGS[name];
    const value = set[name];
    const lines = stringify({ [keyOf(name)]: value === undefined ? preset : value }, { lineWidth: 0 })
      .trimEnd()
      .split('\n');
    return [
      ...about.map((line) => `# ${line}`),
      ...lines.map((line) => (value === undefined ? `#${line}` : line)),
    ].join('\n');
  });
  const head = [
    '# Settings of this AgentMesh daemon. A setting that is commented out has the value shown.',
    '# Flags (--sync-seconds 5) and variables (AGENTMESH_SYNC_SECONDS=5) go before this file.',
    '# Relative paths begin at the folder of this file.',
  ];
  return `${[head.join('\n'), ...parts].join('\n\n')}\n`;
}

/** Errors: conflict, when there is a file already; config_invalid. */
export async function writeNewConfig(file: string, set: Partial<Config> = {}): Promise<void> {
  const source = formatConfig(set);
  parseConfigFile(source, file); // what is written can be read
  await writePrivateFile(file, source, { replace: false });
}
