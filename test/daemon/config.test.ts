import { chmod, mkdtemp, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { formatConfig, loadConfig, parseConfigFile, writeNewConfig } from '../../daemon/config.ts';
import {
  type Config,
  DEFAULT_CONFIG,
  flagOf,
  keyOf,
  SETTING_NAMES,
  SETTINGS,
  variableOf,
} from '../../daemon/settings.ts';
import { didOfDigest, limits, MeshError, peerIdOfKey, multikeyOf } from '../../protocol/index.ts';
import { createVkey, formatVkey, LOG_KEY_TYPE, WITNESS_KEY_TYPE } from '../../protocol/log/index.ts';

let directory: string;
let file: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'agentmesh-config-'));
  file = join(directory, 'agentmesh.yaml');
});
afterEach(async () => {
  await rm(directory, { recursive: true, force: true });
});

const PEER = peerIdOfKey(multikeyOf(new Uint8Array(32).fill(7)));
const DID = didOfDigest(new Uint8Array(32).fill(7));
const LOG_VKEY = formatVkey(createVkey('example.org/log', LOG_KEY_TYPE, new Uint8Array(32).fill(7)));
const WITNESS_VKEY = formatVkey(createVkey('example.org/w', WITNESS_KEY_TYPE, new Uint8Array(32).fill(8)));

const load = async (text: string, env: Record<string, string> = {}, flags = {}) => {
  await writeFile(file, text);
  return loadConfig({ file, env, flags });
};
const errorOf = async (text: string, env: Record<string, string> = {}, flags = {}): Promise<MeshError> => {
  const cause: unknown = await load(text, env, flags).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(cause instanceof MeshError)) throw new Error(`no coded error for ${JSON.stringify(text)}: ${String(cause)}`);
  expect(cause.code).toBe('config_invalid');
  return cause;
};

describe('loadConfig()', () => {
  it('gives the defaults when there is no file, an empty one or one of comments', async () => {
    expect((await loadConfig({ file, env: {} })).config).toEqual(DEFAULT_CONFIG);
    for (const text of ['', '# nothing\n', '---\n']) expect((await load(text)).config).toEqual(DEFAULT_CONFIG);
  });

  it('has the defaults that the design gives', () => {
    expect(DEFAULT_CONFIG).toEqual({
      organisation: null,
      network: 'agentmesh',
      listen: ['/ip4/0.0.0.0/tcp/4801'],
      bootstrap: [],
      anchors: [],
      psk: null,
      localNetwork: false,
      roots: [],
      criticalDomains: ['admin', 'pay', 'secrets'],
      stalenessReadSeconds: 300,
      stalenessWriteSeconds: 60,
      sponsorAgentsMax: 10,
      heartbeatSeconds: 60,
      credentialSeconds: 900,
      syncSeconds: 5,
      targetDegree: 8,
      logLevel: 'info',
      socket: null,
      apiPort: null,
      witnessListen: null,
      witnessLogs: [],
      witnesses: [],
      witnessUrls: [],
      witnessQuorum: null,
      logReaders: [],
      logMirrors: [],
      policies: [],
      shadowPolicies: [],
      approvers: [],
      environment: null,
      requestDays: 7,
      expose: [],
    });
    for (const name of SETTING_NAMES) expect(SETTINGS[name].kind.isValid(DEFAULT_CONFIG[name]), name).toBe(true);
  });

  it('lets flags go before variables, those before the file, that before the defaults, and says which it was', async () => {
    const text = '# first\nnetwork: file\nsync_seconds: 20\n\nlog_level: warn\n';
    const { config, origins } = await load(
      text,
      { AGENTMESH_SYNC_SECONDS: '30', AGENTMESH_LOG_LEVEL: 'error', AGENTMESH_TARGET_DEGREE: '' },
      { logLevel: 'debug' },
    );
    expect(config).toEqual({ ...DEFAULT_CONFIG, network: 'file', syncSeconds: 30, logLevel: 'debug' });
    expect(origins.network).toEqual({ from: 'file', file, line: 2 });
    expect(origins.syncSeconds).toEqual({ from: 'environment', variable: 'AGENTMESH_SYNC_SECONDS' });
    expect(origins.logLevel).toEqual({ from: 'flag', flag: '--log-level' });
    expect(origins.targetDegree).toEqual({ from: 'default' });
    expect(Object.keys(origins)).toEqual([...SETTING_NAMES]);
  });

  it('reads every setting from file, variable and flag alike', async () => {
    const values: { [Name in keyof Config]: [yaml: string, text: string, value: Config[Name]] } = {
      organisation: ['Acme & Söhne', 'Acme & Söhne', 'Acme & Söhne'],
      network: ['lab-2', 'lab-2', 'lab-2'],
      listen: [
        '[/ip4/127.0.0.1/tcp/0, "/ip6/::1/tcp/4801"]',
        '/ip4/127.0.0.1/tcp/0, /ip6/::1/tcp/4801',
        ['/ip4/127.0.0.1/tcp/0', '/ip6/::1/tcp/4801'],
      ],
      bootstrap: [
        `["/dns4/a.example/tcp/1/p2p/${PEER}"]`,
        `/dns4/a.example/tcp/1/p2p/${PEER}`,
        [`/dns4/a.example/tcp/1/p2p/${PEER}`],
      ],
      anchors: [
        `["/ip4/10.0.0.1/tcp/1/p2p/${PEER}"]`,
        `/ip4/10.0.0.1/tcp/1/p2p/${PEER}`,
        [`/ip4/10.0.0.1/tcp/1/p2p/${PEER}`],
      ],
      psk: ['/etc/swarm.key', '/etc/swarm.key', '/etc/swarm.key'],
      localNetwork: ['true', 'true', true],
      roots: [`["${DID}"]`, DID, [DID]],
      criticalDomains: ['[pay]', 'pay', ['pay']],
      stalenessReadSeconds: ['0', '0', 0],
      stalenessWriteSeconds: ['5', '5', 5],
      apiPort: ['4802', '4802', 4802],
      sponsorAgentsMax: ['1000', '1000', 1000],
      heartbeatSeconds: ['1', '1', 1],
      credentialSeconds: ['2', '2', 2],
      syncSeconds: ['300', '300', 300],
      targetDegree: ['64', '64', 64],
      logLevel: ['debug', 'debug', 'debug'],
      socket: ['/run/a.sock', '/run/a.sock', '/run/a.sock'],
      witnessListen: ['"[::1]:4804"', '[::1]:4804', '[::1]:4804'],
      witnessLogs: [`["${LOG_VKEY}"]`, LOG_VKEY, [LOG_VKEY]],
      witnesses: [`["${DID}"]`, DID, [DID]],
      witnessUrls: [
        `["${WITNESS_VKEY} https://w.example/x"]`,
        `${WITNESS_VKEY} https://w.example/x`,
        [`${WITNESS_VKEY} https://w.example/x`],
      ],
      witnessQuorum: ['3', '3', 3],
      logReaders: [`["${DID}"]`, DID, [DID]],
      logMirrors: [`["${DID}"]`, DID, [DID]],
      policies: ['[/etc/a.yaml, /etc/b.yaml]', '/etc/a.yaml,/etc/b.yaml', ['/etc/a.yaml', '/etc/b.yaml']],
      shadowPolicies: ['[/etc/c.yaml]', '/etc/c.yaml', ['/etc/c.yaml']],
      approvers: ['["security alice@company.com"]', 'security alice@company.com', ['security alice@company.com']],
      environment: ['production', 'production', 'production'],
      requestDays: ['0', '0', 0],
      expose: [
        '[{name: files, command: [/bin/cat], cwd: /srv}]',
        '[{"name":"files","command":["/bin/cat"],"cwd":"/srv"}]',
        [{ name: 'files', command: ['/bin/cat'], cwd: '/srv' }],
      ],
    };
    for (const name of SETTING_NAMES) {
      const [yaml, text, value] = values[name];
      expect((await load(`${keyOf(name)}: ${yaml}\n`)).config[name], name).toEqual(value);
      expect((await load('', { [variableOf(name)]: text })).config[name], name).toEqual(value);
      expect((await load('', {}, { [name]: text })).config[name], name).toEqual(value);
    }
  });

  it('spells a setting alike in file, variable and flag', () => {
    expect([keyOf('stalenessReadSeconds'), variableOf('stalenessReadSeconds'), flagOf('stalenessReadSeconds')]).toEqual(
      ['staleness_read_seconds', 'AGENTMESH_STALENESS_READ_SECONDS', '--staleness-read-seconds'],
    );
  });

  it('takes repeated flags as one list, and the last of a single value', async () => {
    const { config } = await load(
      '',
      {},
      { listen: ['/ip4/127.0.0.1/tcp/1', '/ip4/127.0.0.1/tcp/2,/ip4/127.0.0.1/tcp/3'], network: ['a', 'b'] },
    );
    expect(config.listen).toEqual(['/ip4/127.0.0.1/tcp/1', '/ip4/127.0.0.1/tcp/2', '/ip4/127.0.0.1/tcp/3']);
    expect(config.network).toBe('b');
  });

  it('lets relative paths begin at the folder of the file, or at the working directory', async () => {
    expect((await load('psk: swarm.key\n')).config.psk).toBe(join(directory, 'swarm.key'));
    expect((await load('', { AGENTMESH_PSK: 'swarm.key' })).config.psk).toBe(join(process.cwd(), 'swarm.key'));
    expect((await load('psk: null\nsocket:\n')).config).toEqual(DEFAULT_CONFIG);
  });

  it('names the line, the key, what is and what was wanted', async () => {
    const error = await errorOf('network: lab\n\n# why\ncredential_seconds: 901\n');
    expect(error.message).toBe(
      `Cannot use "${file}", line 4: "credential_seconds" is 901, want an integer from 2 to 900`,
    );
    expect(error.data).toEqual({ field: 'credential_seconds', line: 4 });
  });

  it('names the line of the item of a list', async () => {
    const error = await errorOf('roots:\n  - did:mesh:short\n');
    expect(error.message).toBe(
      `Cannot use "${file}", line 2: "roots[0]" is "did:mesh:short", want a DID like "did:mesh:bafyrei…"`,
    );
    const repeated = await errorOf('critical_domains:\n  - pay\n  - admin\n  - pay\n');
    expect(repeated.message).toBe(`Cannot use "${file}", line 4: "critical_domains[2]" is "pay", want each once`);
  });

  it('names the flag or variable with a wrong value', async () => {
    expect((await errorOf('', { AGENTMESH_SYNC_SECONDS: '5s' })).message).toBe(
      'Cannot use AGENTMESH_SYNC_SECONDS: "sync_seconds" is "5s", want an integer from 1 to 300',
    );
    expect((await errorOf('', {}, { targetDegree: '0' })).message).toBe(
      'Cannot use --target-degree: "target_degree" is 0, want an integer from 1 to 64',
    );
  });

  it('refuses an unknown key, and guesses which was meant', async () => {
    const near = await errorOf('network: lab\nLisen: []\n');
    expect(near.message).toBe(`Cannot use "${file}", line 2: "Lisen" is no setting, want perhaps "listen"`);
    expect(near.data).toEqual({ field: 'Lisen', line: 2 });
    expect((await errorOf('sync-seconds: 5\n')).message).toContain('want perhaps "sync_seconds"');
    expect((await errorOf('colour: blue\n')).message).toContain('want one of organisation, network, listen,');
    expect((await errorOf('__proto__: 1\n')).data.line).toBe(1);
    expect((await errorOf('<<: {}\n')).data.line).toBe(1);
  });

  it.each([
    ['a quote that never ends', 'network: "lab\n', 2],
    ['a tab for indentation', 'listen:\n\t- a\n', 2],
    ['a key twice', 'network: a\nlog_level: info\nnetwork: b\n', 3],
    ['a list for a map', '- network\n', 1],
    ['a bare word', 'network\n', 1],
    ['two documents', 'network: a\n---\nnetwork: b\n', 2],
    ['an unknown tag', 'network: !secret a\n', 1],
    ['an alias', 'listen: &a []\nbootstrap: *a\n', 2],
    ['a key that is a map', '{a: 1}: 2\n', 1],
    ['a value that is missing', 'network:\n', 1],
    ['a list that is missing', 'listen:\n', 1],
    ['one value for a list', 'listen: /ip4/127.0.0.1/tcp/0\n', 1],
    ['text for a number', 'sync_seconds: "5"\n', 1],
    ['a fraction', 'sync_seconds: 1.5\n', 1],
    ['not a number', 'sync_seconds: .nan\n', 1],
    ['yes for true', 'local_network: yes\n', 1],
    ['a number for a name', 'organisation: 5\n', 1],
    ['an empty name', 'organisation: ""\n', 1],
    ['a control character in a name', 'organisation: "a\\u001bb"\n', 1],
    ['a line break in a name', 'organisation: "a\\u2028b"\n', 1],
    ['a network of capitals', 'network: Lab\n', 1],
    ['a log level of another program', 'log_level: verbose\n', 1],
    ['a domain with a path', 'critical_domains: ["pay:x"]\n', 1],
    ['a socket path that is too long', `socket: /${'x'.repeat(limits.SOCKET_PATH_BYTES_MAX)}\n`, 1],
    ['a path with a zero', 'psk: "a\\0b"\n', 1],
    ['too many entries', `critical_domains: [${Array.from({ length: 65 }, (_, i) => `d${i}`).join(', ')}]\n`, 1],
  ])('refuses %s, with its line', async (_what, text, line) => {
    expect((await errorOf(text)).data.line).toBe(line);
  });

  it.each([
    '/ip4/0.0.0.0/udp/4801/quic-v1',
    '/ip4/0.0.0.0/tcp/4801/ws',
    '/ip4/0.0.0.0/tcp',
    '/ip4/0.0.0.0/tcp/65536',
    '/ip4/0.0.0.0/tcp/01',
    '/ip4/256.0.0.1/tcp/1',
    '/ip6/fe80::1%eth0/tcp/1',
    '/dns4/a.example/tcp/1',
    `/ip4/0.0.0.0/tcp/1/p2p/${PEER}`,
    '0.0.0.0:4801',
    'x/ip4/0.0.0.0/tcp/1',
    '',
  ])('refuses to listen on %j', async (address) => {
    expect((await errorOf(`listen: [${JSON.stringify(address)}]\n`)).data.field).toBe('listen[0]');
  });

  it.each([
    '/ip4/10.0.0.1/tcp/4801',
    `/ip4/10.0.0.1/tcp/0/p2p/${PEER}`,
    `/ip4/10.0.0.1/tcp/1/p2p/${PEER}x`,
    `/ip4/10.0.0.1/tcp/1/p2p/${PEER}/p2p-circuit`,
    `/dns4/-a.example/tcp/1/p2p/${PEER}`,
    `/dns4//tcp/1/p2p/${PEER}`,
    `/unix/a/tcp/1/p2p/${PEER}`,
  ])('refuses to dial %j', async (address) => {
    expect((await errorOf(`anchors: [${JSON.stringify(address)}]\n`)).data.field).toBe('anchors[0]');
    expect((await errorOf('', {}, { bootstrap: address })).data.field).toBe('bootstrap[0]');
  });

  it.each([
    ['witness_listen', '4804'],
    ['witness_listen', 'localhost:4804'],
    ['witness_listen', '127.0.0.1'],
    ['witness_listen', '127.0.0.1:65536'],
    ['witness_listen', '127.0.0.1:04804'],
    ['witness_listen', '::1:4804'],
    ['witness_listen', '[127.0.0.1]:4804'],
    ['witness_listen', '[fe80::1%eth0]:4804'],
    ['witness_logs', [WITNESS_VKEY]],
    ['witness_logs', [`${LOG_VKEY.slice(0, -4)}AAA=`]],
    ['witness_urls', [WITNESS_VKEY]],
    ['witness_urls', [`${LOG_VKEY} https://w.example/`]],
    ['witness_urls', [`${WITNESS_VKEY} ftp://w.example/`]],
    ['witness_urls', [`${WITNESS_VKEY}  https://w.example/`]],
    ['witness_urls', [`${WITNESS_VKEY} https://w.example/ x`]],
    ['witness_urls', [`${WITNESS_VKEY} https://:80/`]],
    ['witness_urls', [`${WITNESS_VKEY} https://w.example/${'x'.repeat(512)}`]],
    ['witness_quorum', -1],
    ['witnesses', ['did:web:example.org']],
    ['log_readers', ['*']],
    ['log_mirrors', ['*']],
    ['policies', ['']],
    ['policies', 'acme.yaml'],
    ['approvers', ['security-team']],
    ['approvers', ['security-team alice']],
    ['approvers', ['security team alice@company.com']],
    ['approvers', ['security did:web:example.org']],
    ['environment', 'Production'],
    ['request_days', 91],
  ])('refuses %s: %j', async (name, value) => {
    const { field } = (await errorOf(`${name}: ${JSON.stringify(value)}\n`)).data;
    expect(field).toBe(Array.isArray(value) ? `${name}[0]` : name);
  });

  it('warns when other hosts cannot reach the daemon, and not otherwise', async () => {
    expect((await load('')).warnings).toEqual([]);
    expect((await load('listen: [/ip4/127.0.0.1/tcp/0, /ip4/10.0.0.1/tcp/0]\n')).warnings).toEqual([]);
    for (const listen of [
      '[/ip4/127.0.0.1/tcp/0]',
      '["/ip6/::1/tcp/0", /ip4/127.9.9.9/tcp/0]',
      '["/ip6/0:0:0:0:0:0:0:1/tcp/0"]',
      '[]',
    ]) {
      expect((await load(`listen: ${listen}\n`)).warnings, listen).toHaveLength(1);
    }
  });

  it('warns of a variable that is nearly that of a setting, and of no other', async () => {
    const { warnings } = await load('', {
      AGENTMESH_PKS: 'x',
      AGENTMESH_HOME: '/',
      AGENTMESH_AGENT_TOKEN: 'x',
      AGENTMESH_PASSPHRASE: 'secret',
      LISTEN: 'x',
    });
    expect(warnings).toEqual([
      'AGENTMESH_PKS has no effect: no setting has this name, perhaps AGENTMESH_PSK was meant',
    ]);
  });

  it('refuses a file that others may write, and reads one that they may read or that is linked to', async () => {
    await writeFile(file, 'network: lab\n');
    for (const mode of [0o620, 0o602]) {
      await chmod(file, mode);
      await expect(loadConfig({ file, env: {} })).rejects.toMatchObject({ code: 'permissions' });
    }
    await chmod(file, 0o644);
    await symlink(file, join(directory, 'link.yaml'));
    expect((await loadConfig({ file: join(directory, 'link.yaml'), env: {} })).config.network).toBe('lab');
  });

  it('refuses a file beyond its bound', async () => {
    await errorOf(`#${'x'.repeat(limits.CONFIG_BYTES_MAX)}\n`);
  });

  it('answers a coded error or settings to any text', () => {
    const word = fc.constantFrom(
      ...SETTING_NAMES.map(keyOf),
      ': ',
      '\n',
      '- ',
      '[',
      ']',
      '{',
      '}',
      '&a',
      '*a',
      '"',
      '#',
      '|',
      '!!',
      '~',
      '1e9',
      'null',
      '  ',
      '\t',
      '? ',
    );
    const text = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.array(word, { maxLength: 30 }).map((words) => words.join('')),
    );
    fc.assert(
      fc.property(text, (source) => {
        try {
          expect(parseConfigFile(source, file)).toBeInstanceOf(Map);
        } catch (cause) {
          if (!(cause instanceof MeshError)) throw cause;
          expect(cause.code).toBe('config_invalid');
          expect(cause.data.line).toBeGreaterThan(0);
        }
      }),
      { numRuns: 1000 },
    );
  });
});

describe('expose', () => {
  it('lets its relative paths begin at the folder of the file, and knows a built-in policy by its name', async () => {
    const lines = [
      '- { name: a, command: [./server, data], policy: p.yaml }',
      '- { name: b, url: "http://h/", policy: strict }',
    ];
    const { config } = await load(`expose:\n${lines.join('\n')}\n`);
    expect(config.expose).toEqual([
      { name: 'a', command: ['./server', 'data'], cwd: directory, policy: join(directory, 'p.yaml') },
      { name: 'b', url: 'http://h/', policy: 'strict' },
    ]);
  });

  const entry = (...members: string[]): string =>
    `expose:\n  - name: a\n    command: [b]\n${members.map((each) => `    ${each}\n`).join('')}`;
  it.each([
    ['no list', 'expose: { a: 1 }\n', 1, 'expose', 'want a list of at most 64'],
    ['no map', 'expose:\n  - a\n', 2, 'expose[0]', 'want a map with "name" and either'],
    ['no name', 'expose:\n  - command: [a]\n', 2, 'expose[0].name', '"expose[0].name" is missing, want a name'],
    ['a bad name', 'expose:\n  - name: A b\n    url: http://h/\n', 2, 'expose[0].name', 'beginning with a letter'],
    ['neither command nor url', 'network: a\nexpose:\n  - name: a\n', 3, 'expose[0]', 'either "command" or "url"'],
    ['both', entry('url: http://h/'), 2, 'expose[0]', 'is "with both", want either'],
    [
      'a command that is text',
      'expose:\n  - name: a\n    command: cat x\n',
      3,
      'expose[0].command',
      'a program and its arguments',
    ],
    [
      'a word that is none',
      'expose:\n  - name: a\n    command:\n      - cat\n      - 5\n',
      5,
      'expose[0].command[1]',
      'is 5, want text',
    ],
    ['an unknown member', entry('comand: x'), 4, 'expose[0].comand', 'want one of capability, command, cwd'],
    ['a bad capability', entry('capability: read'), 4, 'expose[0].capability', 'want a capability like'],
    [
      'a bad capability of a tool',
      entry('needs:', '  x: read:y', '  z: "*"'),
      6,
      'expose[0].needs.z',
      'want a capability like',
    ],
    [
      'a variable that is no text',
      entry('env:', '  A: b', '  N: 5'),
      6,
      'expose[0].env.N',
      'in quotes, where it is a number',
    ],
    ['headers of a program', entry('headers: { A: b }'), 4, 'expose[0].headers', 'want it only with "url"'],
    [
      'a header that is set anyway',
      'expose:\n  - name: a\n    url: http://h/\n    headers:\n      Mcp-Method: b\n',
      5,
      'expose[0].headers.Mcp-Method',
      'a header that is not set anyway',
    ],
    [
      'a URL with a password',
      'expose:\n  - { name: a, url: "http://u:p@h/" }\n',
      2,
      'expose[0].url',
      'without a password',
    ],
    ['a description of two lines', entry('description: "a\\nb"'), 4, 'expose[0].description', 'one line'],
    ['a name twice', `${entry()}  - name: a\n    url: http://h/\n`, 4, 'expose[1].name', 'is "a", want each once'],
  ])('refuses %s, and says where', async (_, text, line, field, want) => {
    const { message, data } = await errorOf(text);
    expect(data).toMatchObject({ line, field });
    expect(message).toContain(want);
  });

  it('quotes no value that may be a secret', async () => {
    const { message } = await errorOf(entry('env: { A: ["hunter2"] }'));
    expect(message).toContain('expose[0].env.A');
    expect(message).not.toContain('hunter2');
  });

  it('says what is wrong in a variable, where it is JSON', async () => {
    await expect(load('', { AGENTMESH_EXPOSE: '[{"name":"a"}]' })).rejects.toThrow(/AGENTMESH_EXPOSE: "expose\[0\]"/);
    await expect(load('', { AGENTMESH_EXPOSE: 'a' })).rejects.toThrow(/"expose" is "a", want a list/);
  });
});

describe('formatConfig()', () => {
  const ports = fc.integer({ min: 0, max: 65_535 });
  const list = (item: fc.Arbitrary<string>) => fc.uniqueArray(item, { maxLength: 3 });
  const peers = list(ports.filter((port) => port > 0).map((port) => `/dns/a.example/tcp/${port}/p2p/${PEER}`));
  const names = fc
    .string({ unit: 'grapheme', minLength: 1, maxLength: 16 })
    .filter((name) => SETTINGS.organisation.kind.isValid(name));
  const some: { [Name in keyof Config]: fc.Arbitrary<Config[Name]> } = {
    organisation: fc.oneof(names, fc.constantFrom('null', '~', '5', 'true', '#a', '- a', 'a: b', '"', null)),
    network: fc.stringMatching(/^[a-z0-9][a-z0-9-]{0,31}$/),
    listen: list(ports.map((port) => `/ip6/::/tcp/${port}`)),
    bootstrap: peers,
    anchors: peers,
    psk: fc.constantFrom(null, '/etc/a key', '/~', '/#1'),
    localNetwork: fc.boolean(),
    roots: list(fc.uint8Array({ minLength: 32, maxLength: 32 }).map(didOfDigest)),
    criticalDomains: list(fc.stringMatching(/^[a-z][a-z0-9._-]{0,31}$/)),
    stalenessReadSeconds: fc.integer({ min: 0, max: 300 }),
    stalenessWriteSeconds: fc.integer({ min: 0, max: 300 }),
    sponsorAgentsMax: fc.integer({ min: 1, max: 1000 }),
    heartbeatSeconds: fc.integer({ min: 1, max: 300 }),
    credentialSeconds: fc.integer({ min: 2, max: 900 }),
    syncSeconds: fc.integer({ min: 1, max: 300 }),
    targetDegree: fc.integer({ min: 1, max: 64 }),
    logLevel: fc.constantFrom('debug', 'info', 'warn', 'error'),
    socket: fc.constantFrom(null, '/run/agentmesh.sock'),
    apiPort: fc.option(fc.integer({ min: 0, max: 65_535 })),
    witnessListen: fc.option(fc.constantFrom('127.0.0.1:0', '[::]:4804')),
    witnessLogs: fc.constantFrom([], [LOG_VKEY]),
    witnesses: list(fc.uint8Array({ minLength: 32, maxLength: 32 }).map(didOfDigest)),
    witnessUrls: fc.constantFrom([], [`${WITNESS_VKEY} http://[::1]:80/`, `${WITNESS_VKEY} https://w.example/#a`]),
    witnessQuorum: fc.option(fc.integer({ min: 0, max: 128 })),
    logReaders: list(fc.uint8Array({ minLength: 32, maxLength: 32 }).map(didOfDigest)),
    logMirrors: list(fc.uint8Array({ minLength: 32, maxLength: 32 }).map(didOfDigest)),
    policies: list(fc.constantFrom('/etc/a.yaml', '/etc/b c.yaml', '/#')),
    shadowPolicies: list(fc.constantFrom('/etc/a.yaml', '/etc/b.yaml')),
    approvers: list(fc.constantFrom('a alice@company.com', 'a bob@company.com', 'b alice@company.com')),
    environment: fc.option(fc.constantFrom('test', 'production')),
    requestDays: fc.integer({ min: 0, max: 90 }),
    expose: fc.constantFrom<Config['expose'][]>(
      [],
      [{ name: 'files', command: ['npx', '-y', '@a/b c', ''], cwd: '/srv', env: { A: '1', B: 'x: y' } }],
      [
        { name: 'search', url: 'https://example.com/mcp', headers: { 'X-Key': '#1' }, policy: '/etc/p.yaml' },
        { name: 'b', command: ['b'], cwd: '/', needs: { 'a b': 'read:x', __proto__x: 'read:y/*' }, description: '~' },
      ],
    ),
  };

  it('writes what reads as the same settings', () => {
    fc.assert(
      fc.property(fc.record(some, { requiredKeys: [] }), (set) => {
        const found = parseConfigFile(formatConfig(set), file);
        expect(Object.fromEntries([...found].map(([name, { value }]) => [name, value]))).toEqual(set);
      }),
    );
  });

  it('shows every setting, and the default of those not set, which read as the defaults when uncommented', () => {
    const text = formatConfig();
    expect(parseConfigFile(text, file).size).toBe(0);
    const uncommented = text.replace(/^#(?! )|^#(?= {2}- )/gm, '');
    const found = parseConfigFile(uncommented, file);
    expect(Object.fromEntries([...found].map(([name, { value }]) => [name, value]))).toEqual(DEFAULT_CONFIG);
    for (const name of SETTING_NAMES) {
      expect(text, name).toMatch(new RegExp(`\n\n(?:# .{10,}\n)+#${keyOf(name)}:`));
    }
  });
});

describe('writeNewConfig()', () => {
  it('writes a file of our own that loads as what was set', async () => {
    const set = { organisation: 'acme', listen: ['/ip4/127.0.0.1/tcp/0'] };
    await writeNewConfig(file, set);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    const { config, origins } = await loadConfig({ file, env: {} });
    expect(config).toEqual({ ...DEFAULT_CONFIG, ...set });
    expect([origins.listen.from, origins.network.from]).toEqual(['file', 'default']);
  });

  it('keeps a file that is there', async () => {
    await writeFile(file, 'network: mine\n');
    await expect(writeNewConfig(file, { network: 'lab' })).rejects.toMatchObject({ code: 'conflict' });
    expect(await readFile(file, 'utf8')).toBe('network: mine\n');
  });

  it('writes nothing that could not be read', async () => {
    await expect(writeNewConfig(file, { network: 'Lab' })).rejects.toMatchObject({ code: 'config_invalid' });
    await expect(stat(file)).rejects.toThrow('ENOENT');
  });
});
