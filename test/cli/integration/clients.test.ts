import { describe, expect, test } from 'vitest';
import {
  CLIENT_IDS,
  type ClientId,
  foundPlaces,
  isManaged,
  type Machine,
  type Platform,
  placesOf,
} from '../../../cli/integration/clients.ts';

/** A machine that has these files and no other. */
function machineWith(
  platform: Platform,
  home: string,
  files: readonly string[] = [],
  env: Machine['env'] = {},
): Machine {
  const slash = platform === 'win32' ? '\\' : '/';
  return {
    platform,
    env,
    home,
    isFile: (path) => files.includes(path),
    list: (directory) => [
      ...new Set(
        files.flatMap((file) =>
          file.startsWith(`${directory}${slash}`) ? (file.slice(directory.length + 1).split(slash)[0] ?? []) : [],
        ),
      ),
    ],
  };
}

const mac = '/m/alice';
const linux = '/l/alice';
const windows = 'C:\\Users\\alice';
const support = `${mac}/Library/Application Support`;
const roaming = `${windows}\\AppData\\Roaming`;

const FIRST: Readonly<Record<ClientId, readonly [mac: string, linux: string, windows: string]>> = {
  claude: [
    `${support}/Claude/claude_desktop_config.json`,
    `${linux}/.config/Claude/claude_desktop_config.json`,
    `${roaming}\\Claude\\claude_desktop_config.json`,
  ],
  'claude-code': [`${mac}/.claude.json`, `${linux}/.claude.json`, `${windows}\\.claude.json`],
  cursor: [`${mac}/.cursor/mcp.json`, `${linux}/.cursor/mcp.json`, `${windows}\\.cursor\\mcp.json`],
  vscode: [`${support}/Code/User/mcp.json`, `${linux}/.config/Code/User/mcp.json`, `${roaming}\\Code\\User\\mcp.json`],
  windsurf: [
    `${mac}/.codeium/windsurf/mcp_config.json`,
    `${linux}/.codeium/windsurf/mcp_config.json`,
    `${windows}\\.codeium\\windsurf\\mcp_config.json`,
  ],
  zed: [`${mac}/.config/zed/settings.json`, `${linux}/.config/zed/settings.json`, `${roaming}\\Zed\\settings.json`],
  gemini: [`${mac}/.gemini/settings.json`, `${linux}/.gemini/settings.json`, `${windows}\\.gemini\\settings.json`],
  codex: [`${mac}/.codex/config.toml`, `${linux}/.codex/config.toml`, `${windows}\\.codex\\config.toml`],
  copilot: [
    `${mac}/.copilot/mcp-config.json`,
    `${linux}/.copilot/mcp-config.json`,
    `${windows}\\.copilot\\mcp-config.json`,
  ],
  lmstudio: [`${mac}/.lmstudio/mcp.json`, `${linux}/.lmstudio/mcp.json`, `${windows}\\.lmstudio\\mcp.json`],
  kiro: [`${mac}/.kiro/settings/mcp.json`, `${linux}/.kiro/settings/mcp.json`, `${windows}\\.kiro\\settings\\mcp.json`],
  antigravity: [
    `${mac}/.gemini/antigravity/mcp_config.json`,
    `${linux}/.gemini/antigravity/mcp_config.json`,
    `${windows}\\.gemini\\antigravity\\mcp_config.json`,
  ],
  opencode: [
    `${mac}/.config/opencode/opencode.json`,
    `${linux}/.config/opencode/opencode.json`,
    `${windows}\\.config\\opencode\\opencode.json`,
  ],
  cline: [
    `${support}/Code/User/globalStorage/saoudrizwan.claude-dev/settings/cline_mcp_settings.json`,
    `${linux}/.config/Code/User/globalStorage/saoudrizwan.claude-dev/settings/cline_mcp_settings.json`,
    `${roaming}\\Code\\User\\globalStorage\\saoudrizwan.claude-dev\\settings\\cline_mcp_settings.json`,
  ],
  roo: [
    `${support}/Code/User/globalStorage/rooveterinaryinc.roo-cline/settings/mcp_settings.json`,
    `${linux}/.config/Code/User/globalStorage/rooveterinaryinc.roo-cline/settings/mcp_settings.json`,
    `${roaming}\\Code\\User\\globalStorage\\rooveterinaryinc.roo-cline\\settings\\mcp_settings.json`,
  ],
  amp: [
    `${mac}/.config/amp/settings.json`,
    `${linux}/.config/amp/settings.json`,
    `${windows}\\.config\\amp\\settings.json`,
  ],
};

describe('placesOf()', () => {
  test.each(CLIENT_IDS)('knows where %s keeps its servers on each system', (client) => {
    const first = (platform: Platform, home: string): string | undefined =>
      placesOf(client, machineWith(platform, home))[0]?.file;
    expect([first('darwin', mac), first('linux', linux), first('win32', windows)]).toEqual(FIRST[client]);
  });

  test('follows the variables that move these folders', () => {
    const files = (client: ClientId, platform: Platform, home: string, env: Machine['env']): readonly string[] =>
      placesOf(client, machineWith(platform, home, [], env)).map(({ file }) => file);
    expect(files('claude-code', 'linux', linux, { CLAUDE_CONFIG_DIR: '/c' })).toEqual(['/c/.claude.json']);
    expect(files('claude-code', 'linux', linux, { CLAUDE_CONFIG_DIR: '' })).toEqual([`${linux}/.claude.json`]);
    expect(files('codex', 'darwin', mac, { CODEX_HOME: '/x' })).toEqual(['/x/config.toml']);
    expect(files('zed', 'linux', linux, { XDG_CONFIG_HOME: '/xdg' })).toEqual(['/xdg/zed/settings.json']);
    expect(files('zed', 'linux', linux, { XDG_CONFIG_HOME: 'xdg' })).toEqual([`${linux}/.config/zed/settings.json`]);
    expect(files('claude', 'win32', windows, { APPDATA: 'D:\\Roaming' })).toEqual([
      'D:\\Roaming\\Claude\\claude_desktop_config.json',
    ]);
  });

  test('names the files of a project, and none for clients without', () => {
    const files = (client: ClientId, platform: Platform, project: string): readonly string[] =>
      placesOf(client, machineWith(platform, windows), project).map(({ file }) => file);
    expect(files('claude-code', 'linux', '/p')).toEqual(['/p/.mcp.json']);
    expect(files('vscode', 'win32', 'C:\\p')).toEqual(['C:\\p\\.vscode\\mcp.json']);
    expect(files('codex', 'darwin', '/p')).toEqual(['/p/.codex/config.toml']);
    expect(files('claude', 'darwin', '/p')).toEqual([]);
  });
});

describe('foundPlaces()', () => {
  test('takes the redirected file of a packaged Claude Desktop, and not the one that it does not read', () => {
    const name = 'claude_desktop_config.json';
    const packaged = `${windows}\\AppData\\Local\\Packages\\Claude_pzs8sxrjxfjjc\\LocalCache\\Roaming\\Claude\\${name}`;
    const plain = `${roaming}\\Claude\\${name}`;
    const found = (files: readonly string[]): readonly string[] =>
      foundPlaces('claude', machineWith('win32', windows, files)).map(({ file }) => file);
    expect(found([plain, packaged])).toEqual([packaged]);
    expect(found([plain, packaged.replace('Claude_', 'Other_')])).toEqual([plain]);
    expect(found([])).toEqual([]);
  });

  test('takes both spellings of the folder on Linux', () => {
    const files = ['Claude', 'claude'].map((name) => `${linux}/.config/${name}/claude_desktop_config.json`);
    for (const given of [files, files.slice(1)])
      expect(foundPlaces('claude', machineWith('linux', linux, given)).map(({ file }) => file)).toEqual(given);
  });

  test('takes every profile of VS Code and of its Insiders', () => {
    const files = [
      `${support}/Code/User/mcp.json`,
      `${support}/Code/User/profiles/-1a2b/mcp.json`,
      `${support}/Code - Insiders/User/mcp.json`,
      `${support}/Code - Insiders/User/profiles/77/mcp.json`,
    ];
    const machine = machineWith('darwin', mac, [...files, `${support}/Code/User/profiles/9/settings.json`]);
    expect(foundPlaces('vscode', machine).map(({ file }) => file)).toEqual(files);
  });
});

test.each([
  ['/Library/Application Support/ClaudeCode/managed-mcp.json', true],
  ['C:\\Program Files\\ClaudeCode\\managed-mcp.json', true],
  ['/etc/claude-code/managed-settings.json', true],
  ['/etc/codex/config.toml', true],
  ['/anywhere/Managed-MCP.json', true],
  ['/home/alice/.mcp.json', false],
  ['/home/alice/Library/Application Support/Claude/claude_desktop_config.json', false],
])('isManaged(%j) is %j', (path, managed) => {
  expect(isManaged(path)).toBe(managed);
});
