/**
 * Who may import what, and which folders may touch the world: cli -> sdk -> protocol <- daemon. .oxlintrc.json says
 * the same to editors; here the sources are parsed, specifiers are resolved to paths, and the lists say what is allowed
 * instead of what is not.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, posix, relative } from 'node:path';
import { parseSync } from 'oxc-parser';

export const repositoryRoot: string = dirname(dirname(import.meta.dirname));

interface Layer {
  /** Paths of this repository that may be imported. */
  readonly paths: RegExp;
  /** Packages and node: modules that may be imported. */
  readonly packages: RegExp;
  /** Must take clock, randomness, timers and everything else of the world as arguments or ports. */
  readonly pure?: true;
  /** Globals that a pure layer may use all the same. */
  readonly globals?: readonly string[];
}

// Beside the doors of the folders, single files for whoever must start fast and small: the proxy beside each MCP server.
const PROTOCOL_DOORS =
  'protocol/(?:index|sodium|errors|limits|control/(?:api-version|http-status|paths)|policy/(?:hold|presets)|(?:call|control|log|policy|detect|mcp|receipt)/index)\\.ts$';
const inside = (...paths: string[]): RegExp => new RegExp(`^(?:${paths.join('|')})`);
const anyBut = (...packages: string[]): RegExp => new RegExp(`^(?!(?:${packages.join('|')})(?:/|$))`);

const SODIUM = 'sodium-native';
const LIBP2P = ['libp2p', '@libp2p', '@chainsafe', '@multiformats', 'datastore-level'];
const LEVEL = ['level', 'abstract-level', 'classic-level', 'memory-level'];
const HTTP = ['fastify', '@fastify', 'node:http', 'node:https', 'node:http2', 'http', 'https', 'http2'];

/** The longest key that a path begins with decides; a path under none of them is a fault. */
export const LAYERS: Readonly<Record<string, Layer>> = {
  'protocol/': {
    paths: /^protocol\/(?!sodium\.ts$)/,
    packages: /^(?:multiformats|@noble\/(?:ed25519|hashes))(?:\/|$)/,
    pure: true,
  },
  'protocol/control/': {
    paths: /^protocol\/(?!sodium\.ts$)/,
    packages: /^(?:multiformats|@noble\/(?:ed25519|hashes)|typebox)(?:\/|$)/,
    pure: true,
  },
  'protocol/policy/': {
    paths: /^protocol\/(?!sodium\.ts$)/,
    packages: /^(?:multiformats|@noble\/(?:ed25519|hashes)|yaml|re2js)(?:\/|$)/,
    pure: true,
  },
  'protocol/sodium.ts': { paths: inside('protocol/'), packages: /^sodium-native$/, pure: true, globals: ['Buffer'] },
  'daemon/': {
    // The SDK's one part that the daemon shares: it starts MCP servers too.
    paths: inside('daemon/', 'sdk/servers/index\\.ts$', PROTOCOL_DOORS),
    packages: anyBut(SODIUM, ...LIBP2P, ...LEVEL, ...HTTP, 'commander'),
  },
  'daemon/core/': {
    paths: inside('daemon/core/', 'daemon/ports\\.ts$', PROTOCOL_DOORS),
    packages: /(?!)/,
    pure: true,
    globals: ['Buffer', 'queueMicrotask'],
  },
  'daemon/libp2p/': {
    paths: inside('daemon/', PROTOCOL_DOORS),
    packages: anyBut(SODIUM, ...LEVEL, ...HTTP, 'commander'),
  },
  'daemon/control/': {
    paths: inside('daemon/', 'sdk/servers/index\\.ts$', PROTOCOL_DOORS), // links speak lines, as servers do
    packages: anyBut(SODIUM, ...LIBP2P, ...LEVEL, 'commander'),
  },
  'daemon/store/': {
    paths: inside('daemon/', PROTOCOL_DOORS),
    packages: anyBut(SODIUM, ...LIBP2P, ...HTTP, 'commander'),
  },
  'sdk/': {
    paths: inside('sdk/', PROTOCOL_DOORS),
    packages: anyBut(SODIUM, ...LIBP2P, ...LEVEL, 'fastify', '@fastify', 'commander', 'pino'),
  },
  'cli/': {
    paths: inside('cli/', 'sdk/(?:(?:gate/|servers/)?index|servers/(?:child|http))\\.ts$', PROTOCOL_DOORS),
    packages: anyBut(SODIUM, ...LIBP2P, ...LEVEL, 'fastify', '@fastify', 'pino'),
  },
  'simulations/': {
    paths: inside('simulations/', 'daemon/(?:core|libp2p)/', 'daemon/ports\\.ts$', PROTOCOL_DOORS),
    packages: anyBut(SODIUM, 'commander'),
  },
  'examples/': { paths: inside('examples/', 'sdk/index\\.ts$', PROTOCOL_DOORS), packages: anyBut(SODIUM) },
  // What measures or tests a part may reach into it.
  'bench/': { paths: inside(''), packages: inside('') },
  'test/': { paths: inside(''), packages: inside('') },
};

/** A top-level folder's door lists what it exports by name, so that what is public is decided and not inherited. */
const DOORS = ['protocol/index.ts', 'protocol/log/index.ts', 'sdk/index.ts'];

/** Globals by which a file reaches clock, randomness, timers, the process or the network. */
const WORLD = [
  'Buffer',
  'WebSocket',
  'Worker',
  'XMLHttpRequest',
  '__dirname',
  '__filename',
  'clearImmediate',
  'clearInterval',
  'clearTimeout',
  'console',
  'crypto',
  'fetch',
  'global',
  'globalThis',
  'performance',
  'process',
  'queueMicrotask',
  'require',
  'setImmediate',
  'setInterval',
  'setTimeout',
];

interface Node {
  readonly type: string;
  readonly [field: string]: unknown;
}
const isNode = (value: unknown): value is Node => typeof value === 'object' && value !== null && 'type' in value;

/** What the file at `path` (from the repository's root, with /) does against the rules of its layer, one line each. */
export function violations(path: string, source: string): string[] {
  const layer = layerOf(path);
  if (layer === undefined) return [`${path}: belongs to no layer`];
  const { program, module, errors } = parseSync(path, source);
  if (errors.length > 0) return errors.map((error) => `${path}: cannot be parsed: ${error.message}`);

  const found: string[] = [];
  for (const specifier of specifiersOf(program, module)) {
    if (specifier === undefined) found.push('imports a computed name');
    else if (!isAllowed(layer, path, specifier)) found.push(`imports "${specifier}"`);
  }
  if (layer.pure) found.push(...impurities(program, layer.globals ?? []));
  if (layer.pure && module.importMetas.length > 0) found.push('uses import.meta');
  if (DOORS.includes(path) && isStarExported(program)) found.push('exports * from a door');
  return found.map((what) => `${path}: ${what}`);
}

/** The packages that a source imports, by name and without node's own modules. */
export function packagesOf(path: string, source: string): string[] {
  const { program, module } = parseSync(path, source);
  const specifiers = specifiersOf(program, module).filter((specifier) => specifier !== undefined);
  return specifiers.filter((specifier) => !/^(?:\.|node:)/.test(specifier)).map(packageOf);
}

const packageOf = (specifier: string): string =>
  specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');

function layerOf(path: string): Layer | undefined {
  const key = Object.keys(LAYERS)
    .filter((prefix) => path.startsWith(prefix))
    .toSorted((a, b) => b.length - a.length)[0];
  return key === undefined ? undefined : LAYERS[key];
}

function isAllowed(layer: Layer, path: string, specifier: string): boolean {
  if (specifier.startsWith('.')) return layer.paths.test(posix.join(posix.dirname(path), specifier));
  // The package's own name leads to its doors: "agentmesh/sdk" is sdk/index.ts.
  const own = /^agentmesh\/(.+)$/.exec(specifier)?.[1];
  if (own !== undefined) return layer.paths.test(own === 'protocol/sodium' ? 'protocol/sodium.ts' : `${own}/index.ts`);
  return layer.packages.test(specifier);
}

type Parsed = ReturnType<typeof parseSync>;

/** Every specifier, of types too; undefined for one that is computed. */
function specifiersOf(program: Parsed['program'], module: Parsed['module']): (string | undefined)[] {
  const found: (string | undefined)[] = module.staticImports.map((each) => each.moduleRequest.value);
  walk(program, (node) => {
    if (node.type === 'ExportNamedDeclaration' || node.type === 'ExportAllDeclaration') {
      if (isNode(node.source)) found.push(textOf(node.source));
    } else if (node.type === 'ImportExpression' || node.type === 'TSImportType') {
      found.push(textOf(node.source));
    } else if (node.type === 'TSExternalModuleReference') {
      found.push(textOf(node.expression));
    }
  });
  return found;
}

const textOf = (node: unknown): string | undefined =>
  isNode(node) && node.type === 'Literal' && typeof node.value === 'string' ? node.value : undefined;

const isStarExported = (program: Parsed['program']): boolean =>
  program.body.some((statement) => statement.type === 'ExportAllDeclaration' && statement.exported === null);

function impurities(program: Parsed['program'], allowed: readonly string[]): string[] {
  const found = new Set<string>();
  walk(program, (node, parent, field) => {
    if (node.type !== 'Identifier' || typeof node.name !== 'string' || isOnlyAName(parent, field)) return;
    if (WORLD.includes(node.name) && !allowed.includes(node.name)) found.add(`uses ${node.name}`);
    if (node.name === 'Date' && !isPureDate(parent, field)) found.add('reads the clock by Date');
    if (node.name === 'Math' && !isMemberOtherThan(parent, field, 'random')) found.add('draws randomness by Math');
    if (node.name === 'AbortSignal' && !isMemberOtherThan(parent, field, 'timeout'))
      found.add('sets a timer by AbortSignal');
  });
  return [...found];
}

/** A property's or type's name, and not a use of the global of that name. */
function isOnlyAName(parent: Node, field: string): boolean {
  if (parent.type.startsWith('TS')) return !/^(?:expression|body|argument)/.test(field);
  if (parent.type === 'MemberExpression') return field === 'property' && parent.computed !== true;
  if (/^(?:Property|MethodDefinition|PropertyDefinition|AccessorProperty)$/.test(parent.type)) {
    return field === 'key' && parent.computed !== true && parent.shorthand !== true;
  }
  return /^(?:Import|Export)\w*Specifier$/.test(parent.type);
}

const isMemberOtherThan = (parent: Node, field: string, forbidden: string): boolean =>
  parent.type === 'MemberExpression' &&
  field === 'object' &&
  parent.computed !== true &&
  isNode(parent.property) &&
  parent.property.name !== forbidden;

const isPureDate = (parent: Node, field: string): boolean =>
  isMemberOtherThan(parent, field, 'now') ||
  (parent.type === 'NewExpression' && Array.isArray(parent.arguments) && parent.arguments.length > 0);

function walk(node: unknown, visit: (node: Node, parent: Node, field: string) => void): void {
  if (!isNode(node)) return;
  for (const [field, value] of Object.entries(node)) {
    for (const child of Array.isArray(value) ? (value as unknown[]) : [value]) {
      if (!isNode(child)) continue;
      visit(child, node, field);
      walk(child, visit);
    }
  }
}

/** The TypeScript sources under a folder, as paths from the repository's root. */
export function sourcesIn(folder: string): string[] {
  const absolute = join(repositoryRoot, folder);
  if (!existsSync(absolute)) return [];
  return readdirSync(absolute, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /\.[cm]?tsx?$/.test(entry.name))
    .map((entry) => relative(repositoryRoot, join(entry.parentPath, entry.name)).replaceAll('\\', '/'));
}

export const readSource = (path: string): string => readFileSync(join(repositoryRoot, path), 'utf8');
