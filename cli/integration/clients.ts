/** The MCP clients that are known: where their configuration is, and what it looks like. No file is opened here. */
import { posix, win32 } from 'node:path';
import type { Environment } from '../../protocol/index.ts';
import { type Shape, SHAPES } from './shapes.ts';

export type Platform = 'darwin' | 'linux' | 'win32';

/** The machine, as far as configuration files lie elsewhere on another. */
export interface Machine {
  readonly platform: Platform;
  readonly env: Environment;
  /** Home directory of the user. */
  readonly home: string;
  isFile(path: string): boolean;
  /** Names in a directory; none where there is no such directory. */
  list(directory: string): readonly string[];
}

export interface Client {
  readonly title: string;
  readonly format: 'json' | 'toml';
  readonly shape: Shape;
  /** Members that lead to the servers. */
  readonly servers: readonly string[];
  /** What a person does so that it reads its configuration again. */
  readonly restart: string;
  /** Files of the user, those to be preferred first; `first`: only the first that is there counts. */
  readonly files: (folders: Folders) => readonly string[];
  readonly first?: true;
  /** Files of a project, from its directory. */
  readonly project: readonly string[];
}

/** Folders of a user, and how paths are joined there. */
export interface Folders {
  readonly machine: Machine;
  readonly home: (...names: string[]) => string;
  /** Where programs keep their settings: Application Support, $XDG_CONFIG_HOME, %APPDATA%. */
  readonly settings: (...names: string[]) => string;
  /** ~/.config on every system, as programs of the command line have it. */
  readonly config: (...names: string[]) => string;
  readonly join: (...names: string[]) => string;
}

function foldersOf(machine: Machine): Folders {
  const { platform, env, home } = machine;
  const path = platform === 'win32' ? win32 : posix;
  const join = (...names: string[]): string => path.join(...names);
  // XDG Base Directory: absolute, or ignored.
  const xdg = env['XDG_CONFIG_HOME'] ?? '';
  const config = path.isAbsolute(xdg) && platform !== 'win32' ? xdg : join(home, '.config');
  const appData = env['APPDATA'] ?? join(home, 'AppData', 'Roaming');
  const settings =
    platform === 'darwin' ? join(home, 'Library', 'Application Support') : platform === 'win32' ? appData : config;
  return {
    machine,
    join,
    home: (...names) => join(home, ...names),
    settings: (...names) => join(settings, ...names),
    config: (...names) => join(config, ...names),
  };
}

const CLAUDE_FILE = 'claude_desktop_config.json';

function claudeFiles({ machine, join, settings }: Folders): string[] {
  const { platform, env, home } = machine;
  if (platform === 'darwin') return [settings('Claude', CLAUDE_FILE)];
  if (platform === 'linux') return [settings('Claude', CLAUDE_FILE), settings('claude', CLAUDE_FILE)];
  // Installed from the store (MSIX), Windows redirects its %APPDATA% into the package: the file outside is not read.
  const packages = join(env['LOCALAPPDATA'] ?? join(home, 'AppData', 'Local'), 'Packages');
  const redirected = machine
    .list(packages)
    .filter((name) => /^Claude_/i.test(name))
    .toSorted()
    .map((name) => join(packages, name, 'LocalCache', 'Roaming', 'Claude', CLAUDE_FILE));
  return [...redirected, settings('Claude', CLAUDE_FILE)];
}

const CODE_PRODUCTS = ['Code', 'Code - Insiders'];

/** In the folder of each VS Code, and in those of its profiles. */
function codeFiles({ machine, settings, join }: Folders, inProfiles: boolean, ...names: string[]): string[] {
  return CODE_PRODUCTS.flatMap((product) => {
    const user = settings(product, 'User');
    const profiles = join(user, 'profiles');
    const ids = inProfiles ? machine.list(profiles).toSorted() : [];
    return [join(user, ...names), ...ids.map((id) => join(profiles, id, ...names))];
  });
}

const MCP_SERVERS = ['mcpServers'];
const standard = { format: 'json', shape: SHAPES.standard, servers: MCP_SERVERS, project: [] } as const;

export const CLIENTS = {
  claude: {
    ...standard,
    title: 'Claude Desktop',
    shape: SHAPES.stdioOnly,
    restart: 'quit Claude Desktop and open it again',
    files: claudeFiles,
    first: true,
  },
  'claude-code': {
    ...standard,
    title: 'Claude Code',
    shape: SHAPES.typed,
    restart: 'start Claude Code again',
    files: ({ machine: { env }, home, join }) => [
      (env['CLAUDE_CONFIG_DIR'] ?? '') === ''
        ? home('.claude.json')
        : join(env['CLAUDE_CONFIG_DIR'] ?? '', '.claude.json'),
    ],
    project: ['.mcp.json'],
  },
  cursor: {
    ...standard,
    title: 'Cursor',
    shape: SHAPES.typed,
    restart: 'switch the servers off and on in the settings of Cursor, or start it again',
    files: ({ home }) => [home('.cursor', 'mcp.json')],
    project: ['.cursor/mcp.json'],
  },
  vscode: {
    ...standard,
    title: 'VS Code',
    shape: SHAPES.vscode,
    servers: ['servers'],
    restart: 'restart the servers in VS Code ("MCP: List Servers"); it asks whether to trust what changed',
    files: (folders) => codeFiles(folders, true, 'mcp.json'),
    project: ['.vscode/mcp.json'],
  },
  windsurf: {
    ...standard,
    title: 'Windsurf',
    shape: SHAPES.serverUrl,
    restart: 'refresh the MCP servers in Windsurf, or start it again',
    files: ({ home }) => [home('.codeium', 'windsurf', 'mcp_config.json'), home('.codeium', 'mcp_config.json')],
  },
  zed: {
    ...standard,
    title: 'Zed',
    servers: ['context_servers'],
    restart: 'nothing to do: Zed starts the servers anew when its settings change',
    files: ({ config, settings, machine }) => [
      machine.platform === 'win32' ? settings('Zed', 'settings.json') : config('zed', 'settings.json'),
    ],
    project: ['.zed/settings.json'],
  },
  gemini: {
    ...standard,
    title: 'Gemini CLI',
    shape: SHAPES.gemini,
    restart: 'start Gemini CLI again',
    files: ({ home }) => [home('.gemini', 'settings.json')],
    project: ['.gemini/settings.json'],
  },
  codex: {
    ...standard,
    title: 'Codex',
    format: 'toml',
    shape: SHAPES.codex,
    servers: ['mcp_servers'],
    restart: 'start Codex again',
    files: ({ machine: { env }, home, join }) => [
      (env['CODEX_HOME'] ?? '') === '' ? home('.codex', 'config.toml') : join(env['CODEX_HOME'] ?? '', 'config.toml'),
    ],
    project: ['.codex/config.toml'],
  },
  copilot: {
    ...standard,
    title: 'Copilot CLI',
    shape: SHAPES.copilot,
    restart: 'start Copilot CLI again',
    files: ({ home }) => [home('.copilot', 'mcp-config.json')],
  },
  lmstudio: {
    ...standard,
    title: 'LM Studio',
    restart: 'start LM Studio again',
    files: ({ home }) => [home('.lmstudio', 'mcp.json')],
  },
  kiro: {
    ...standard,
    title: 'Kiro',
    restart: 'nothing to do: Kiro connects anew when its settings change',
    files: ({ home }) => [home('.kiro', 'settings', 'mcp.json')],
    project: ['.kiro/settings/mcp.json'],
  },
  antigravity: {
    ...standard,
    title: 'Antigravity',
    shape: SHAPES.serverUrl,
    restart: 'refresh the MCP servers in Antigravity, or start it again',
    files: ({ home }) => [home('.gemini', 'antigravity', 'mcp_config.json')],
  },
  opencode: {
    ...standard,
    title: 'OpenCode',
    shape: SHAPES.opencode,
    servers: ['mcp'],
    restart: 'start OpenCode again',
    files: ({ config }) => [config('opencode', 'opencode.json'), config('opencode', 'opencode.jsonc')],
    project: ['opencode.json', 'opencode.jsonc'],
  },
  cline: {
    ...standard,
    title: 'Cline',
    shape: SHAPES.typed,
    restart: 'restart the servers in Cline',
    files: (folders) =>
      codeFiles(folders, false, 'globalStorage', 'saoudrizwan.claude-dev', 'settings', 'cline_mcp_settings.json'),
  },
  roo: {
    ...standard,
    title: 'Roo Code',
    shape: SHAPES.typed,
    restart: 'restart the servers in Roo Code',
    files: (folders) =>
      codeFiles(folders, false, 'globalStorage', 'rooveterinaryinc.roo-cline', 'settings', 'mcp_settings.json'),
    project: ['.roo/mcp.json'],
  },
  amp: {
    ...standard,
    title: 'Amp',
    servers: ['amp.mcpServers'],
    restart: 'start Amp again',
    files: ({ config }) => [config('amp', 'settings.json')],
    project: ['.amp/settings.json'],
  },
} as const satisfies Readonly<Record<string, Client>>;

export type ClientId = keyof typeof CLIENTS;
export const CLIENT_IDS = Object.keys(CLIENTS) as readonly ClientId[];
export const isClientId = (text: string): text is ClientId => Object.hasOwn(CLIENTS, text);
export const clientOf = (id: ClientId): Client => CLIENTS[id];

export interface Place {
  readonly client: ClientId;
  readonly file: string;
}

/** Every file that the client may read on this machine, whether it is there or not; those of a project where one is named. */
export function placesOf(client: ClientId, machine: Machine, project?: string): readonly Place[] {
  const { files, project: names } = clientOf(client);
  const folders = foldersOf(machine);
  const paths = project === undefined ? files(folders) : names.map((name) => folders.join(project, ...name.split('/')));
  return paths.map((file) => ({ client, file }));
}

/** Those of them that are there. */
export function foundPlaces(client: ClientId, machine: Machine, project?: string): readonly Place[] {
  const found = placesOf(client, machine, project).filter(({ file }) => machine.isFile(file));
  return clientOf(client).first === true && machine.platform === 'win32' ? found.slice(0, 1) : found;
}

/** Files that an administrator wrote, so that nobody else decides. */
const MANAGED_NAMES = /^(?:managed-mcp\.json|managed-settings\.json|managed_config\.toml|requirements\.toml)$/i;
const MANAGED_FOLDERS =
  /(?:^|[\\/])(?:etc[\\/](?:claude-code|codex|gemini-cli)|(?:Application Support|Program Files|ProgramData)[\\/]ClaudeCode)[\\/]/i;

export const isManaged = (path: string): boolean =>
  MANAGED_NAMES.test(win32.basename(path)) || MANAGED_FOLDERS.test(path);
