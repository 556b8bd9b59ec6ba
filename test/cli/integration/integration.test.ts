/** `agentmesh init-integration`, in homes of its own, on the files that the clients have. */
import {
  chmod,
  copyFile,
  lstat,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { parseTree } from 'jsonc-parser';
import { parse as parseToml } from 'smol-toml';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { readConfig, replaceConfig } from '../../../cli/integration/config-file.ts';
import { jsonFormat } from '../../../cli/integration/json.ts';
import { parseHeaders } from '../../../sdk/servers/http-client.ts';
import { parseProxyLine } from '../../../cli/proxy/options.ts';
import { createHome, type Home, type Ran } from '../start.ts';

const FIXTURES = join(import.meta.dirname, 'fixtures');
const NODE = '/opt/node/bin/node';
const SCRIPT = '/opt/agentmesh/cli/bin.js';

let home: Home;
/** The user's home directory. */
let user: string;
beforeEach(async () => {
  home = await createHome();
  user = join(home.path, 'user');
  await mkdir(user);
});
afterEach(() => home[Symbol.asyncDispose]());

type Overrides = NonNullable<Parameters<Home['run']>[1]>;

const run = (words: readonly string[], overrides: Overrides = {}): Promise<Ran> =>
  home.run(['init-integration', ...words], {
    userHome: user,
    platform: 'linux',
    ownCommand: [NODE, SCRIPT],
    ...overrides,
  });

/** A fixture where the client looks for it. */
async function place(fixture: string, ...names: string[]): Promise<string> {
  const file = join(user, ...names);
  await mkdir(dirname(file), { recursive: true });
  await copyFile(join(FIXTURES, fixture), file);
  return file;
}

interface Toml {
  readonly mcp_servers: {
    readonly figma: {
      readonly args: readonly string[];
      readonly env: Record<string, string>;
      readonly env_vars: readonly string[];
    };
  };
}

/** What a file holds, to be looked into. */
interface Value {
  readonly [key: string]: Value;
}

const text = (file: string): Promise<string> => readFile(file, 'utf8');
const read = async (file: string): Promise<Value> => jsonFormat.parse(await text(file)) as Value;

/** Arguments of Node, as words with spaces between them: server and policy, then what follows. */
function proxied(named: string, rest: string): string[] {
  const [server = '', policy = ''] = named.split(' ');
  return [SCRIPT, '--home', home.path, 'proxy', '--server', server, '--policy', policy, ...rest.split(' ')];
}

const claude = (): Promise<string> => place('claude-desktop.json', '.config', 'Claude', 'claude_desktop_config.json');

interface Outcome {
  readonly file: string;
  readonly changed: boolean;
  readonly backup: string | null;
  readonly identical: boolean | null;
  readonly problem: { readonly code: string; readonly message: string } | null;
  readonly servers: readonly { readonly name: string; readonly action: string; readonly note: string | null }[];
}
const outcomes = ({ json }: Ran): readonly Outcome[] => json['files'] as readonly Outcome[];
const actions = (ran: Ran): Record<string, string> =>
  Object.fromEntries(outcomes(ran).flatMap(({ servers }) => servers.map(({ name, action }) => [name, action])));

describe('wrapping', () => {
  test('starts each server of Claude Desktop through the proxy, with all that it had', async () => {
    const file = await claude();
    const ran = await run(['--claude', '--policy', 'moderate']);
    expect(ran.exit).toBe(0);
    expect(ran.out).toMatch(/^Claude Desktop {2}.*claude_desktop_config\.json\n {2}wrapped +filesystem\n/);
    expect(ran.out).toContain('left     remote: this client starts local servers only\n');
    expect(ran.err).toContain('Secrets in these files');
    expect(ran.err).toContain('next  quit Claude Desktop and open it again\n');
    expect(ran.err).toContain('init-integration --undo');
    expect(await read(file)).toEqual({
      globalShortcut: 'Ctrl+Space',
      mcpServers: {
        filesystem: {
          command: NODE,
          args: proxied('filesystem moderate', '-- npx -y @modelcontextprotocol/server-filesystem /home/alice/notes'),
        },
        github: {
          command: NODE,
          args: proxied('github moderate', '-- docker run -i --rm -e GITHUB_TOKEN ghcr.io/github/github-mcp-server'),
          env: { GITHUB_TOKEN: 'ghp_secret' },
        },
        time: {
          command: NODE,
          args: [
            SCRIPT,
            '--home',
            home.path,
            'proxy',
            '--server',
            'time',
            '--policy',
            'moderate',
            '--',
            'uvx mcp-server-time',
          ],
        },
        remote: { url: 'https://mcp.example.com/mcp' },
      },
      scale: 0,
    });
  });

  test('names no home where it is the default one', async () => {
    const file = await claude();
    const { runCli } = await import('../../../cli/cli.ts');
    const quiet = { write: () => undefined, isTty: false, columns: undefined };
    const exit = await runCli({
      argv: ['init-integration', '--claude', '--server', 'time'],
      env: {},
      cwd: home.path,
      userHome: user,
      temporaryDir: home.path,
      uid: process.getuid?.() ?? 0,
      isInteractive: false,
      readInput: async () => new Uint8Array(),
      nowMs: () => 0,
      signal: new AbortController().signal,
      platform: 'linux',
      ownCommand: [NODE, SCRIPT],
      daemonCommand: [NODE],
      nodeVersion: '24.0.0',
      version: '0.1.0',
      out: quiet,
      err: quiet,
    });
    expect(exit).toBe(0);
    expect((await read(file))['mcpServers']).toMatchObject({
      time: { args: [SCRIPT, 'proxy', '--server', 'time', '--policy', 'strict', '--', 'uvx mcp-server-time'] },
    });
    expect(await readdir(join(user, '.agentmesh'))).toEqual(['integrations']);
  });

  const CASES = [
    ['claude', 'claude-desktop.json', ['.config', 'Claude', 'claude_desktop_config.json']],
    ['claude', 'claude-desktop.windows.json', ['.config', 'claude', 'claude_desktop_config.json']],
    ['claude-code', 'claude-code.json', ['.claude.json']],
    ['cursor', 'cursor.json', ['.cursor', 'mcp.json']],
    ['vscode', 'vscode.jsonc', ['.config', 'Code', 'User', 'mcp.json']],
    ['windsurf', 'windsurf.json', ['.codeium', 'windsurf', 'mcp_config.json']],
    ['zed', 'zed.jsonc', ['.config', 'zed', 'settings.json']],
    ['gemini', 'gemini.json', ['.gemini', 'settings.json']],
    ['codex', 'codex.toml', ['.codex', 'config.toml']],
    ['opencode', 'opencode.jsonc', ['.config', 'opencode', 'opencode.jsonc']],
  ] as const;

  test.each(CASES)(
    'of %s in %s leaves every byte outside of its servers, and --undo every byte',
    async (client, fixture, names) => {
      const file = await place(fixture, ...names);
      const before = await text(file);
      const ran = await run(['--client', client, '--json']);
      expect(ran).toMatchObject({ exit: 0, err: expect.stringContaining('Secrets') });
      expect(outcomes(ran)).toMatchObject([{ changed: true, problem: null }]);
      const after = await text(file);
      const touched = Object.entries(actions(ran))
        .filter(([, action]) => action === 'wrapped')
        .map(([name]) => name);
      expect(touched.length).toBeGreaterThan(0);
      expect(outside(after, touched)).toBe(outside(before, touched));
      expect(outside(before, touched)).not.toBe(before);

      // A second time nothing is left to do.
      const again = await run(['--client', client, '--json']);
      expect(outcomes(again)).toMatchObject([{ changed: false }]);
      expect(await text(file)).toBe(after);

      const back = await run(['--undo', '--client', client, '--json']);
      expect(back.exit).toBe(0);
      expect(outcomes(back)).toMatchObject([{ changed: true, identical: true }]);
      expect(await text(file)).toBe(before);
      expect(await run(['--undo', '--client', client])).toMatchObject({ exit: 4 });
    },
  );

  test('moves the headers of a server with an address into the environment', async () => {
    const file = await place('vscode.jsonc', '.config', 'Code', 'User', 'mcp.json');
    await run(['--client', 'vscode']);
    const { servers = {}, inputs } = await read(file);
    expect(inputs).toEqual([{ type: 'promptString', id: 'token', description: 'API token', password: true }]);
    expect(servers).toMatchObject({
      playwright: { type: 'stdio', env: { DEBUG: '${input:token}' }, envFile: '${workspaceFolder}/.env' },
      old: { type: 'sse', url: 'https://old.example.com/sse' },
    });
    expect(servers['api']).toEqual({
      type: 'stdio',
      command: NODE,
      args: proxied(
        'api strict',
        '--url https://api.example.com/mcp --header-env Authorization=AGENTMESH_HEADER_AUTHORIZATION ' +
          '--header-env X-Api-Version=AGENTMESH_HEADER_X_API_VERSION',
      ),
      env: {
        AGENTMESH_HEADER_AUTHORIZATION: 'Bearer ${input:token}',
        AGENTMESH_HEADER_X_API_VERSION: '2',
      },
    });
    expect(await text(file)).toContain('"command": "/opt/node/bin/node", // from npm\n');
  });

  test('does for each client what it understands', async () => {
    await place('claude-code.json', '.claude.json');
    await place('gemini.json', '.gemini', 'settings.json');
    await place('zed.jsonc', '.config', 'zed', 'settings.json');
    await place('windsurf.json', '.codeium', 'windsurf', 'mcp_config.json');
    await place('opencode.jsonc', '.config', 'opencode', 'opencode.jsonc');
    const codex = await place('codex.toml', '.codex', 'config.toml');
    const ran = await run(['--client', 'all', '--json']);
    expect(ran.exit).toBe(0);
    const [code, gemini, zed, windsurf, opencode] = await Promise.all(
      [
        '.claude.json',
        '.gemini/settings.json',
        '.config/zed/settings.json',
        '.codeium/windsurf/mcp_config.json',
        '.config/opencode/opencode.jsonc',
      ].map((name) => read(join(user, name))),
    );
    expect(code).toMatchObject({
      numStartups: 7,
      mcpServers: { sentry: { oauth: { clientId: 'x' } }, local: { type: 'stdio', command: NODE, env: {} } },
      projects: { '/home/alice/shop': { allowedTools: [], mcpServers: { db: { command: NODE, timeout: 5000 } } } },
    });
    expect(gemini).toMatchObject({
      mcpServers: {
        py: { command: NODE, cwd: './tools', timeout: 15000, trust: true, includeTools: ['one'] },
        stream: { command: NODE, env: { AGENTMESH_HEADER_AUTHORIZATION: 'Bearer $TOKEN' }, timeout: 5000 },
        events: { url: 'https://e.example.com/events' },
      },
    });
    expect(gemini?.['mcpServers']?.['typed']).not.toHaveProperty('type');
    expect(gemini?.['mcpServers']?.['stream']).not.toHaveProperty('httpUrl');
    expect(zed).toMatchObject({
      context_servers: {
        new: { source: 'custom', enabled: true, command: NODE, env: {} },
        old: { command: { path: NODE, env: { A: '1' } } },
        postgres: { source: 'extension' },
      },
    });
    expect(zed?.['context_servers']?.['old']?.['command']?.['args']).toEqual(
      proxied('old strict', '-- /usr/bin/old-mcp --stdio'),
    );
    expect(windsurf).toMatchObject({
      mcpServers: {
        files: { disabled: true, alwaysAllow: ['read'] },
        remote: { command: NODE, disabledTools: ['rm'] },
      },
    });
    expect(opencode).toMatchObject({
      mcp: {
        local: { type: 'local', environment: { A: '{env:A}' } },
        remote: { type: 'local', environment: { AGENTMESH_HEADER_X_KEY: 'k' }, enabled: true },
      },
    });
    const toml = parseToml(await text(codex));
    expect(toml).toMatchObject({
      mcp_servers: {
        context7: { command: NODE, startup_timeout_sec: 20, env: { KEY: 'v' } },
        'x.y': { command: NODE, env_vars: ['HOME'], enabled: false },
        figma: {
          command: NODE,
          env: { AGENTMESH_HEADER_X_FIGMA_REGION: 'us-east-1' },
          env_vars: ['FIGMA_KEY', 'FIGMA_TOKEN'],
          tool_timeout_sec: 60.5,
        },
        inline: { command: 'inline', args: ['a'] },
        dotted: { command: 'dotted' },
      },
    });
    expect(Object.keys((toml as { mcp_servers: { figma: object } }).mcp_servers.figma).toSorted()).toEqual(
      'args command env env_vars tool_timeout_sec'.split(' '),
    );
    const notes = new Map(outcomes(ran).flatMap(({ servers }) => servers.map(({ name, note }) => [name, note])));
    expect(notes.get('sentry')).toContain('signs in by itself ("oauth")');
    expect(notes.get('events')).toContain('HTTP+SSE');
    expect(notes.get('postgres')).toBe('an extension brings its command');
    expect(notes.get('inline')).toContain('write it as [mcp_servers.inline]');
    expect(notes.get('typed')).toContain('--undo');
  });

  test('writes lines that the proxy reads as they are meant', async () => {
    await place('gemini.json', '.gemini', 'settings.json');
    const codex = await place('codex.toml', '.codex', 'config.toml');
    await run(['--client', 'gemini,codex', '--policy', 'moderate']);
    const { mcpServers = {} } = await read(join(user, '.gemini', 'settings.json'));
    const { args } = mcpServers['py'] as unknown as { args: readonly string[] };
    expect(parseProxyLine(args.slice(1))).toMatchObject({
      home: home.path,
      flags: { server: 'py', policy: 'moderate' },
      words: ['python', '-m', 'server'],
    });
    const { figma } = (parseToml(await text(codex)) as unknown as Toml).mcp_servers;
    const variables = figma.args.flatMap((word, i) => (figma.args[i - 1] === '--header-env' ? [word] : []));
    const env = { ...figma.env, FIGMA_KEY: 'k', FIGMA_TOKEN: 't' };
    expect(Object.keys(env).toSorted()).toEqual([...Object.keys(figma.env), ...figma.env_vars].toSorted());
    expect(parseHeaders([], variables, env)).toEqual({
      'x-figma-region': 'us-east-1',
      'x-key': 'k',
      authorization: 'Bearer t',
    });
  });

  test('sends the headers that a client sends, and leaves a server whose headers it cannot send', async () => {
    const file = join(user, '.cursor', 'mcp.json');
    await mkdir(dirname(file));
    const servers = {
      spare: { url: 'https://a.example/mcp', headers: { Accept: 'application/json', Authorization: 'Basic eA==' } },
      only: { url: 'https://a.example/mcp', headers: { 'Content-Type': 'application/json' } },
      own: { url: 'https://a.example/mcp', headers: { 'Mcp-Key': 'k' } },
      password: { url: 'https://u:p@a.example/mcp' },
      at: { url: 'https://a.example/mcp?user=a@b' },
      odd: { url: 'https://a.example/mcp', headers: { n: 1 } },
      ftp: { url: 'ftp://a.example/mcp' },
    };
    await writeFile(file, JSON.stringify({ mcpServers: servers }));
    const ran = await run(['--client', 'cursor', '--json']);
    expect(actions(ran)).toEqual({
      spare: 'wrapped',
      only: 'wrapped',
      own: 'left',
      password: 'left',
      at: 'wrapped',
      odd: 'left',
      ftp: 'left',
    });
    const { mcpServers = {} } = await read(file);
    expect(mcpServers['spare']).toMatchObject({ env: { AGENTMESH_HEADER_AUTHORIZATION: 'Basic eA==' } });
    expect(Object.keys(mcpServers['only'] ?? {})).toEqual(['command', 'args']);
    const notes = new Map(outcomes(ran)[0]?.servers.map(({ name, note }) => [name, note]));
    expect(notes.get('own')).toContain('"Mcp-Key"');
    expect(notes.get('password')).toContain('holds a password');
    expect(notes.get('at')).toContain('shown in the list of processes');
    await run(['--undo']);
    expect(await read(file)).toEqual({ mcpServers: servers });
  });

  const URL = 'https://a.example/mcp';
  const VS_CODE = '.config/Code/User/globalStorage';
  test.each([
    ['copilot', '.copilot/mcp-config.json', 'mcpServers', { type: 'http', url: URL, tools: ['*'] }, 'local'],
    ['lmstudio', '.lmstudio/mcp.json', 'mcpServers', { url: URL }, undefined],
    ['kiro', '.kiro/settings/mcp.json', 'mcpServers', { url: URL, autoApprove: ['x'] }, undefined],
    ['antigravity', '.gemini/antigravity/mcp_config.json', 'mcpServers', { serverUrl: URL }, undefined],
    ['amp', '.config/amp/settings.json', 'amp.mcpServers', { url: URL, includeTools: ['x'] }, undefined],
    [
      'cline',
      `${VS_CODE}/saoudrizwan.claude-dev/settings/cline_mcp_settings.json`,
      'mcpServers',
      { type: 'streamableHttp', url: URL },
      'stdio',
    ],
    [
      'roo',
      `${VS_CODE}/rooveterinaryinc.roo-cline/settings/mcp_settings.json`,
      'mcpServers',
      { type: 'streamable-http', url: URL, alwaysAllow: ['x'] },
      'stdio',
    ],
  ])('of %s has the form that it reads', async (client, name, key, server, type) => {
    const file = join(user, name);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, JSON.stringify({ other: true, [key]: { a: server, b: { command: 'x' } } }, null, 2));
    const before = await text(file);
    expect(await run(['--client', client])).toMatchObject({ exit: 0 });
    const { url: _, serverUrl: __, type: ___, ...kept } = { url: '', serverUrl: '', type: '', ...server };
    const { a = {}, b = {} } = (await read(file))[key] ?? {};
    expect(a).toEqual({
      ...kept,
      ...(type !== undefined && { type }),
      command: NODE,
      args: proxied('a strict', `--url ${URL}`),
    });
    expect(b).toMatchObject({ command: NODE, args: proxied('b strict', '-- x') });
    await run(['--undo']);
    expect(await text(file)).toBe(before);
  });

  test('of a project changes its files alone, and says that they are shared', async () => {
    const own = await claude();
    const before = await text(own);
    const project = join(user, 'shop');
    await place('cursor.json', 'shop', '.mcp.json');
    await place('vscode.jsonc', 'shop', '.vscode', 'mcp.json');
    const ran = await run(['--client', 'all', '--project', 'shop'], { cwd: user });
    expect(ran.exit).toBe(0);
    expect(ran.err).toContain('do not commit them for others.');
    expect((await text(join(project, '.mcp.json'))).includes(SCRIPT)).toBe(true);
    expect((await text(join(project, '.vscode', 'mcp.json'))).includes(SCRIPT)).toBe(true);
    expect(await text(own)).toBe(before);
    expect(await run(['--undo', '--project', 'shop'], { cwd: user })).toMatchObject({ exit: 0 });
    expect(await text(join(project, '.mcp.json'))).toBe(await text(join(FIXTURES, 'cursor.json')));
  });

  test('of a named file guesses whose it is', async () => {
    for (const [fixture, member] of [
      ['zed.jsonc', 'context_servers'],
      ['vscode.jsonc', 'servers'],
      ['cursor.json', 'mcpServers'],
      ['opencode.jsonc', 'mcp'],
    ] as const) {
      const file = await place(fixture, `some.${fixture}`);
      expect(await run(['--config-path', file])).toMatchObject({ exit: 0 });
      expect(JSON.stringify((await read(file))[member])).toContain(SCRIPT);
    }
    const toml = await place('codex.toml', 'some.toml');
    expect(await run(['--config-path', toml])).toMatchObject({ exit: 0 });
    expect(await text(toml)).toContain(SCRIPT);
  });
});

/** The text with the servers of these names cut out. */
function outside(source: string, names: readonly string[]): string {
  if (source.includes('[mcp_servers')) {
    const kept: string[] = [];
    let inside = false;
    for (const line of source.split('\n')) {
      if (line.startsWith('['))
        inside = names.some((name) =>
          [`[mcp_servers.${name}]`, `[mcp_servers."${name}"]`].some((head) => line.startsWith(head)),
        );
      if (!inside || line.startsWith('[') || line.trim() === '') kept.push(line);
    }
    return kept.join('\n');
  }
  const plain = source.replace('\ufeff', ' ');
  const root = parseTree(plain, [], { allowTrailingComma: true });
  const cuts: [start: number, end: number][] = [];
  const walk = (node: typeof root): void => {
    for (const child of node?.children ?? []) {
      const [key, value] = child.children ?? [];
      if (child.type === 'property' && value?.type === 'object' && names.includes(String(key?.value)))
        cuts.push([value.offset, value.offset + value.length]);
      else walk(child.type === 'property' ? value : child);
    }
  };
  walk(root);
  return cuts.toReversed().reduce((at, [start, end]) => `${at.slice(0, start)}…${at.slice(end)}`, source);
}

describe('a second run', () => {
  test('changes the policy where another one is named, and nothing else', async () => {
    const file = await claude();
    await run(['--claude']);
    const first = await text(file);
    await writeFile(join(home.path, 'own.yaml'), 'version: "1.0"\nrules: []\n');
    const ran = await run(['--claude', '--policy', 'own.yaml', '--json']);
    expect(actions(ran)).toEqual({ filesystem: 'updated', github: 'updated', time: 'updated', remote: 'left' });
    const policy = join(home.path, 'own.yaml');
    expect(await text(file)).toBe(first.replaceAll('"strict"', JSON.stringify(policy)));
    expect(actions(await run(['--claude', '--json']))).toMatchObject({ filesystem: 'unchanged' });
    await run(['--undo']);
    expect(await text(file)).toBe(await text(join(FIXTURES, 'claude-desktop.json')));
  });

  test('follows agentmesh to where it is now', async () => {
    const file = await claude();
    await run(['--claude'], { ownCommand: ['/old/node', '/old/agentmesh/dist/cli/bin.js'] });
    expect(actions(await run(['--claude', '--json']))).toMatchObject({ filesystem: 'updated' });
    expect((await text(file)).includes('/old/')).toBe(false);
    await run(['--undo']);
    expect(await text(file)).toBe(await text(join(FIXTURES, 'claude-desktop.json')));
  });

  test('leaves what a person wrote by hand', async () => {
    const file = join(user, '.cursor', 'mcp.json');
    await mkdir(dirname(file));
    const own = '{"mcpServers":{"a":{"command":"npx","args":["-y","agentmesh","proxy","--target","npx"]}}}';
    await writeFile(file, own);
    const ran = await run(['--client', 'cursor', '--policy', 'moderate', '--json']);
    expect(outcomes(ran)).toMatchObject([
      { changed: false, servers: [{ action: 'unchanged', note: 'its command line was written by hand, and stays' }] },
    ]);
    expect(await text(file)).toBe(own);
  });

  test('wraps the servers that have come since, and --undo knows of all', async () => {
    const file = await place('cursor.json', '.cursor', 'mcp.json');
    await run(['--client', 'cursor']);
    const grown = (await text(file)).replace('{"mcpServers":{', '{"mcpServers":{"new":{"command":"n"},');
    await writeFile(file, grown);
    expect(actions(await run(['--client', 'cursor', '--json']))).toEqual({
      new: 'wrapped',
      a: 'unchanged',
      b: 'unchanged',
      c: 'left',
    });
    await run(['--undo']);
    expect(await text(file)).toBe(
      (await text(join(FIXTURES, 'cursor.json'))).replace('{"mcpServers":{', '{"mcpServers":{"new":{"command":"n"},'),
    );
  });
});

describe('--undo', () => {
  test('of a file that was changed since takes back what is still ours, and names the rest', async () => {
    const file = await place('cursor.json', '.cursor', 'mcp.json');
    await writeFile(
      file,
      '{"mcpServers":{"keep":{"command":"k"},"toggled":{"command":"t","args":["1"]},"edited":{"command":"e"},"gone":{"command":"g"}}}',
    );
    await run(['--client', 'cursor']);
    const value = (await read(file)) as unknown as { mcpServers: Record<string, Record<string, unknown>> };
    value.mcpServers['toggled'] = { ...value.mcpServers['toggled'], disabled: true };
    value.mcpServers['edited'] = { ...value.mcpServers['edited'], command: '/own/node' };
    delete value.mcpServers['gone'];
    await writeFile(file, JSON.stringify({ ...value, more: 1 }, null, 2)); // as a client writes it anew
    const ran = await run(['--undo', '--json']);
    expect(actions(ran)).toEqual({ keep: 'restored', toggled: 'restored', edited: 'left', gone: 'left' });
    expect(outcomes(ran)[0]).toMatchObject({ identical: false });
    expect(await read(file)).toEqual({
      mcpServers: {
        keep: { command: 'k' },
        toggled: { command: 't', args: ['1'], disabled: true },
        edited: value.mcpServers['edited'],
      },
      more: 1,
    });
    // What was left is still known, should it be changed back.
    expect(actions(await run(['--undo', '--json']))).toEqual({ edited: 'left' });
  });

  test('gives an address back its headers beside what was changed since', async () => {
    const file = join(user, '.cursor', 'mcp.json');
    await mkdir(dirname(file));
    await writeFile(file, '{"mcpServers":{"b":{"url":"https://b.example.com/mcp","headers":{"X":"1"},"name":"B"}}}');
    await run(['--client', 'cursor']);
    await writeFile(file, (await text(file)).replace('"name":"B"', '"name":"C"'));
    await run(['--undo']);
    expect(await read(file)).toEqual({
      mcpServers: { b: { url: 'https://b.example.com/mcp', headers: { X: '1' }, name: 'C' } },
    });
  });

  test('of one server leaves the others wrapped', async () => {
    const file = await claude();
    await run(['--claude']);
    expect(actions(await run(['--undo', '--server', 'github', '--json']))).toEqual({ github: 'restored' });
    const { mcpServers = {} } = await read(file);
    expect(mcpServers['github']).toMatchObject({ command: 'docker' });
    expect(mcpServers['filesystem']).toMatchObject({ command: NODE });
    await run(['--undo']);
    expect(await text(file)).toBe(await text(join(FIXTURES, 'claude-desktop.json')));
  });

  test('keeps a comment that was written since', async () => {
    const toml = await place('codex.toml', '.codex', 'config.toml');
    const json = await place('zed.jsonc', '.config', 'zed', 'settings.json');
    await run(['--client', 'codex,zed']);
    await writeFile(toml, (await text(toml)).replace('[mcp_servers.figma]\n', '[mcp_servers.figma]\n# mine\n'));
    await writeFile(json, (await text(json)).replace('"enabled": true,\n', '"enabled": true, // mine\n'));
    const ran = await run(['--undo', '--json']);
    expect(actions(ran)).toMatchObject({ figma: 'restored', context7: 'restored', new: 'restored' });
    const [codex, zed] = [await text(toml), await text(json)];
    expect(codex).toContain('[mcp_servers.figma]\n# mine\n');
    expect(codex).toContain('  "-y", # yes\n');
    expect(parseToml(codex)).toEqual(parseToml(await text(join(FIXTURES, 'codex.toml'))));
    expect(zed).toBe(
      (await text(join(FIXTURES, 'zed.jsonc'))).replace('"enabled": true,\n', '"enabled": true, // mine\n'),
    );
  });

  test('keeps what was changed between two runs', async () => {
    const file = await place('windsurf.json', '.codeium', 'windsurf', 'mcp_config.json');
    await run(['--client', 'windsurf']);
    await writeFile(file, (await text(file)).replace('"disabled": true', '"disabled": false'));
    await run(['--client', 'windsurf', '--policy', 'moderate']);
    await run(['--undo']);
    const original = await text(join(FIXTURES, 'windsurf.json'));
    expect(await text(file)).toBe(original.replace('"disabled": true', '"disabled": false'));
  });

  test('of a file that is gone says so, once', async () => {
    const file = await claude();
    await run(['--claude', '--backup']);
    await rm(file);
    expect(outcomes(await run(['--undo', '--json']))).toMatchObject([
      { changed: false, servers: [{ action: 'left', note: 'its file is not there any more' }, {}, {}] },
    ]);
    expect(await run(['--undo'])).toMatchObject({ exit: 4 });
  });

  test('works without backup, and says where there is nothing to undo', async () => {
    const file = await claude();
    const ran = await run(['--claude', '--no-backup', '--json']);
    expect(outcomes(ran)).toMatchObject([{ changed: true, backup: null }]);
    const names = await readdir(join(home.path, 'integrations'));
    expect(names.filter((name) => name.endsWith('.bak'))).toEqual([]);
    await run(['--undo', '--claude']);
    expect(await text(file)).toBe(await text(join(FIXTURES, 'claude-desktop.json')));
    const { exit, error } = await run(['--undo', '--json']);
    expect([exit, error.code]).toEqual([4, 'not_found']);
  });
});

describe('files', () => {
  test('the backup is the file as it was, for its owner alone', async () => {
    await claude();
    const [outcome] = outcomes(await run(['--claude', '--json']));
    const backup = outcome?.backup ?? '';
    expect(await text(backup)).toBe(await text(join(FIXTURES, 'claude-desktop.json')));
    const directory = join(home.path, 'integrations');
    expect((await stat(directory)).mode & 0o777).toBe(0o700);
    for (const name of await readdir(directory)) expect((await stat(join(directory, name))).mode & 0o777).toBe(0o600);
  });

  test('--dry-run shows the difference and writes nothing at all', async () => {
    const file = await claude();
    const ran = await run(['--claude', '--dry-run']);
    expect(ran.exit).toBe(0);
    expect(ran.out).toMatch(new RegExp(`^--- ${file}\\n\\+\\+\\+ ${file}\\n@@ -\\d`));
    expect(ran.out).toContain('-      "command": "npx",\n');
    expect(await text(file)).toBe(await text(join(FIXTURES, 'claude-desktop.json')));
    expect(await readdir(home.path)).toEqual(['user']);
    await run(['--claude']);
    const wrapped = await text(file);
    expect((await run(['--undo', '--dry-run'])).out).toContain('+      "command": "npx",\n');
    expect(await text(file)).toBe(wrapped);
  });

  test('mode and symbolic link stay', async () => {
    const file = await claude();
    const real = join(user, 'dotfiles.json');
    await rename(file, real);
    await chmod(real, 0o640);
    await symlink(real, file);
    await run(['--claude']);
    expect((await lstat(file)).isSymbolicLink()).toBe(true);
    expect((await stat(real)).mode & 0o777).toBe(0o640);
    expect(await text(real)).toContain(SCRIPT);
    expect((await readdir(user)).filter((name) => name.endsWith('.tmp'))).toEqual([]);
    await run(['--undo']);
    expect(await text(real)).toBe(await text(join(FIXTURES, 'claude-desktop.json')));
  });

  test('two names of one file are one file', async () => {
    const file = await claude();
    await symlink(dirname(file), join(user, '.config', 'claude'));
    expect(outcomes(await run(['--claude', '--json']))).toHaveLength(1);
  });

  test.each([
    ['{"mcpServers": {', 'malformed', 3],
    ['not json', 'malformed', 3],
    [Buffer.from([0x7b, 0xff, 0x7d]), 'malformed', 3],
    [Buffer.from('\ufeff{"mcpServers":{}}', 'utf16le'), 'malformed', 3],
  ])('of %j nothing is changed', async (content, code, exit) => {
    const file = await claude();
    await writeFile(file, content);
    const ran = await run(['--claude', '--json']);
    expect([ran.exit, ran.error.code]).toEqual([exit, code]);
    expect(ran.error.message).toContain(`"${file}"`);
    expect(await readFile(file)).toEqual(Buffer.from(content));
    const listed = (await run(['list', '--json'])).json['files'];
    expect(listed).toMatchObject([{ problem: { code }, servers: [] }]);
  });

  test('a file that is read-only stays as it is', async () => {
    const file = await claude();
    await chmod(file, 0o444);
    for (const words of [['--claude'], ['--claude', '--dry-run']]) {
      const ran = await run([...words, '--json']);
      expect([ran.exit, ran.error.code, ran.error.next]).toEqual([1, 'permissions', `allow it: chmod u+w '${file}'`]);
    }
    expect(await text(file)).toBe(await text(join(FIXTURES, 'claude-desktop.json')));
  });

  test('a file of more than 32 MiB is not read', async () => {
    const file = await claude();
    await writeFile(file, Buffer.alloc(32 * 1024 * 1024 + 1, ' '));
    expect((await run(['--claude', '--json'])).error.code).toBe('too_large');
  });

  test('a file that another program wrote meanwhile is not replaced', async () => {
    const file = await claude();
    const config = await readConfig(file);
    await writeFile(file, '{"mcpServers":{}}');
    await expect(replaceConfig(config, '{}')).rejects.toMatchObject({ code: 'conflict' });
    expect(await text(file)).toBe('{"mcpServers":{}}');
    expect(await readdir(dirname(file))).toEqual(['claude_desktop_config.json']);
  });

  test('files of an administrator are never touched', async () => {
    const file = await place('cursor.json', 'managed-mcp.json');
    const ran = await run(['--config-path', file, '--client', 'claude-code', '--json']);
    expect([ran.exit, ran.error.code]).toEqual([1, 'permissions']);
    expect(await text(file)).toBe(await text(join(FIXTURES, 'cursor.json')));
  });

  test('one that is broken does not keep the others from it', async () => {
    const good = await claude();
    const bad = await place('cursor.json', '.cursor', 'mcp.json');
    await writeFile(bad, '{');
    const ran = await run(['--client', 'claude,cursor', '--json']);
    expect(ran.exit).toBe(3);
    expect(outcomes(ran)).toMatchObject([
      { changed: true, problem: null },
      { changed: false, problem: { code: 'malformed' } },
    ]);
    expect(await text(good)).toContain(SCRIPT);
    expect(await text(bad)).toBe('{');
  });

  test('a record that is not what was written is not gone by', async () => {
    await claude();
    await run(['--claude']);
    const directory = join(home.path, 'integrations');
    const name = (await readdir(directory)).find((each) => each.endsWith('.json')) ?? '';
    await writeFile(join(directory, name), '{}');
    expect((await run(['--undo', '--json'])).error.code).toBe('malformed');
    await chmod(join(directory, name), 0o666);
    expect((await run(['--undo', '--json'])).error.code).toBe('permissions');
  });
});

test('a server that is there twice is left, and named', async () => {
  const file = join(user, '.cursor', 'mcp.json');
  await mkdir(dirname(file));
  const twice = '{"mcpServers":{"a":{"command":"x"},"b":{"command":"y"},"a":{"command":"z"}}}';
  await writeFile(file, twice);
  const ran = await run(['--client', 'cursor', '--json']);
  expect(outcomes(ran)[0]?.servers).toMatchObject([
    { name: 'a', action: 'left', note: '"a" is there twice; remove one of them' },
    { name: 'b', action: 'wrapped' },
  ]);
  expect(await text(file)).toContain('"a":{"command":"x"},"b":{"command":"/opt');
});

test('links in a circle and devices are no configuration', async () => {
  const file = join(user, '.cursor', 'mcp.json');
  await mkdir(dirname(file));
  await symlink(file, file);
  expect((await run(['list', '--json'])).json).toEqual({ files: [] });
  expect((await run(['--client', 'cursor', '--json'])).error.code).toBe('not_found');
  const device = await run(['--config-path', '/dev/zero', '--client', 'cursor', '--json']);
  expect(device.error.message).toBe('Cannot read "/dev/zero": it is no file');
});

test('what an answer shows holds no secret, but for the difference that is asked for', async () => {
  await claude();
  for (const words of [
    ['list'],
    ['list', '--json'],
    ['--claude', '--json'],
    ['status', '--json'],
    ['--undo', '--json'],
  ]) {
    const { out, err } = await run(words);
    expect(`${out}${err}`).not.toContain('ghp_secret');
  }
  expect((await run(['--claude', '--dry-run'])).out).toContain('ghp_secret');
});

describe('list and status', () => {
  test('say what is there, and what is wrapped', async () => {
    await claude();
    await place('vscode.jsonc', '.config', 'Code', 'User', 'mcp.json');
    await run(['--client', 'vscode', '--server', 'playwright', '--policy', 'moderate']);
    const { exit, out, err } = await run(['list']);
    expect(exit).toBe(0);
    expect(out).toMatch(
      /^Claude Desktop {2}.*\n {2}SERVER +STATE +TRANSPORT +POLICY +NOTE\n {2}filesystem +open +stdio +- /,
    );
    expect(out).toMatch(/\n {2}playwright +broken +stdio +moderate +"\/opt\/node\/bin\/node" is not there any more\n/);
    expect(out).toMatch(/\n {2}old +left +sse +- +it speaks HTTP\+SSE/);
    expect(err).toMatch(/init-integration --client claude {2}put its servers behind the proxy\n$/);
    const one = (await run(['list', '--client', 'vscode', '--server', 'api', '--json'])).json;
    expect(one).toMatchObject({
      files: [{ client: 'vscode', servers: [{ name: 'api', state: 'open', transport: 'http', works: null }] }],
    });
  });

  test('status fails where a wrapper names what is gone', async () => {
    const node = join(user, 'node');
    const script = join(user, 'agentmesh', 'cli', 'bin.js');
    await mkdir(dirname(script), { recursive: true });
    await Promise.all([writeFile(node, ''), writeFile(script, '')]);
    await claude();
    await run(['--claude'], { ownCommand: [node, script] });
    const well = await run(['status']);
    expect(well).toMatchObject({ exit: 0, err: '' });
    expect(well.out).toMatch(/ {2}3 of 4 servers wrapped\n$/);
    await rm(script);
    const broken = await run(['status']);
    expect(broken.exit).toBe(1);
    expect(broken.out).toContain(`broken  filesystem: "${script}" is not there any more`);
    expect(broken.err).toMatch(
      /^next {2}.*init-integration --client claude --config-path .* {2}write the wrappers anew\n$/,
    );
    expect((await run(['status', '--json'])).json).toMatchObject({ ok: false });
  });

  test('without any client say so', async () => {
    for (const verb of ['list', 'status'])
      expect(await run([verb])).toMatchObject({ exit: 0, out: 'No configuration of an MCP client is found.\n' });
  });
});

describe('refused', () => {
  test.each([
    [[], 2, 'want --claude, --client NAME or --client all', 'agentmesh init-integration list'],
    [['--client', 'cusor'], 2, 'Cannot take "cusor" for a client', 'did you mean "cursor"?'],
    [['--client', 'cursor,'], 2, 'want a name, or several', null],
    [['--claude'], 4, 'Cannot find the configuration of Claude Desktop: nothing at "', '--config-path FILE'],
    [['--client', 'all'], 4, 'Cannot find the configuration of any client', null],
    [['--claude', '--project', '.'], 4, 'a configuration of Claude Desktop in a project', null],
    [['--client', 'cursor', '--project', 'nowhere'], 4, 'it is no directory', null],
    [['--config-path', 'nowhere.json'], 4, 'no such file', null],
    [['--client', 'all', '--config-path', 'a', '--project', '.'], 2, 'Cannot use --config-path with --project', null],
    [['--client', 'zed,cursor', '--config-path', 'a'], 2, 'it is the file of one', null],
    [['--undo', '--policy', 'strict', '--claude'], 2, 'Cannot use --policy with --undo', null],
    [['--undo', '--agent', 'clerk', '--claude'], 2, 'Cannot use --agent with --undo', null],
    [['list', '--dry-run'], 2, 'Cannot use --dry-run with "list"', null],
    [['status', '--no-backup'], 2, 'Cannot use --no-backup with "status"', null],
  ])('%j', async (words, exit, why, next) => {
    const ran = await run(words);
    expect([ran.exit, ran.out]).toEqual([exit, '']);
    expect(ran.err).toContain(why);
    if (next !== null) expect(ran.err).toContain(next);
  });

  test('a policy that no proxy could read', async () => {
    const file = await claude();
    await writeFile(join(home.path, 'own.yaml'), 'version: "1.0"\nruels: []\n');
    const ran = await run(['--claude', '--policy', 'own.yaml', '--json']);
    expect([ran.exit, ran.error.code]).toEqual([3, 'policy_invalid']);
    expect(ran.error.message).toContain('ruels');
    expect(await text(file)).toBe(await text(join(FIXTURES, 'claude-desktop.json')));
  });

  test('a policy and a server that are not there', async () => {
    const file = await claude();
    expect(await run(['--claude', '--policy', 'strickt'])).toMatchObject({
      exit: 4,
      err: expect.stringMatching(/Cannot find the policy "strickt"[\s\S]*did you mean "strict"/),
    });
    expect(await run(['--claude', '--server', 'gthub'])).toMatchObject({
      exit: 4,
      err: expect.stringMatching(/Cannot find the server "gthub"[\s\S]*did you mean "github"/),
    });
    expect(await text(file)).toBe(await text(join(FIXTURES, 'claude-desktop.json')));
  });
});
