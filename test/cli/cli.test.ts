import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EXIT, exitOf } from '../../cli/exit.ts';
import { createProgram } from '../../cli/program.ts';
import { CHAIN_CODES, ERRORS, type ErrorCode, MeshError } from '../../protocol/index.ts';
import { createOrganisation } from '../builders.ts';
import { createHome, type Home } from './start.ts';

const { did, genesis } = createOrganisation('acme');
const LINK = genesis.id;

let home: Home;
beforeAll(async () => {
  home = await createHome();
});
afterAll(() => home[Symbol.asyncDispose]());

/** Every command that there is, with words that make sense. */
const COMMANDS: Readonly<Record<string, readonly string[]>> = {
  init: ['--name', 'my-agent', '--sponsor', 'alice@company.com'],
  'init-integration': [],
  'init-integration list': [],
  'init-integration status': [],
  call: [did, 'files', 'read_text_file'],
  'policy list': [],
  'policy show': [],
  'policy print': ['strict'],
  'policy check': ['strict'],
  'policy lint': ['strict'],
  'policy test': ['cases.yaml'],
  'policy diff': ['strict', 'moderate'],
  'policy explain': ['--tool', 'read_file'],
  'policy shadow': [],
  'policy reload': [],
  'approvals list': [],
  'approvals show': ['0123456789abcdef'],
  'approvals approve': ['0123456789abcdef', '--reason', 'seen'],
  'approvals deny': ['0123456789abcdef', '--reason', 'not this'],
  'approvals wait': ['0123456789abcdef'],
  register: [],
  run: [],
  proxy: [],
  doctor: [],
  status: [],
  peers: [],
  'peers add': ['/ip4/127.0.0.1/tcp/4801/p2p/12D3KooWHdqKZepoNasbhtmgNNKNDwppSwLGUvxCUfU3N4dh39fS'],
  'agent list': [],
  'agent show': ['my-agent'],
  'agent suspend': ['my-agent'],
  'agent resume': [did],
  'agent revoke': ['my-agent', '--reason', 'gone'],
  'sponsor list': [],
  'sponsor show': ['alice@company.com'],
  'did show': [],
  'did resolve': [did],
  'did rotate': [],
  'did recover': ['--key', 'a.key'],
  'did export': [],
  events: [],
  delegate: ['--to', did, '--can', 'read:reports/q3'],
  'chain list': [],
  'chain show': [LINK],
  'chain export': [LINK],
  'verify-chain': [LINK],
  revoke: [LINK, '--reason', 'over'],
  handshake: [did],
  sessions: [],
  'sessions list': [],
  'sessions show': ['0'.repeat(32)],
  'sessions end': ['0'.repeat(32)],
  services: [did],
  expose: ['--mcp', 'files', '--url', 'http://127.0.0.1:1/'],
  'expose list': [],
  'expose check': ['files'],
  'expose remove': ['files'],
  'message send': [did, 'hello'],
  'message list': [],
  'message outbox': [],
  audit: [],
  'log tail': [],
  'log show': ['0'],
  'log prove': ['0', '-o', 'entry0'],
  'log verify': [],
  'log export': ['copy'],
  'log status': [],
  'log recover': ['--new-generation', '--reason', 'restored'],
  'receipt list': [],
  'receipt show': [LINK],
  'receipt save': [LINK, '-o', 'call.receipt'],
  'receipt verify': ['call.receipt'],
  'witness status': [],
  'conviction list': [],
  'conviction show': [did],
  'conviction lift': [did, '--reason', 'talked to them'],
  completion: ['bash'],
  version: [],
};

/** The tree as it is, so that no command is forgotten here. */
function commandsOf(command: Command, path: readonly string[] = []): string[] {
  const inner = command.commands.flatMap((each) => commandsOf(each, [...path, each.name()]));
  const isGroup =
    command.commands.length > 0 && !['init-integration', 'peers', 'sessions', 'expose'].includes(command.name());
  return isGroup ? inner : [path.join(' '), ...inner];
}
const output = { write: () => undefined, isTty: false, columns: undefined };
const program = createProgram({
  world: { out: output, err: output, version: '0.1.0' },
  act: () => async () => undefined,
});

test('the commands tested here are all that there are', () => {
  expect(commandsOf(program).toSorted()).toEqual(Object.keys(COMMANDS).toSorted());
});

describe('without a daemon', () => {
  const OWN_WAY = [
    'init',
    'init-integration',
    'init-integration list',
    'init-integration status',
    'doctor',
    'completion',
    'version',
    'proxy',
    'receipt verify',
    'policy print',
    'policy check',
    'policy lint',
    'policy test',
    'policy diff',
  ];

  test.each(Object.entries(COMMANDS).filter(([name]) => !OWN_WAY.includes(name)))(
    '"%s" says so, exits with 4 and answers nothing',
    async (name, words) => {
      const text = await home.run([...name.split(' '), ...words]);
      expect(text).toMatchObject({ exit: 4, out: '' });
      expect(text.err).toMatch(name === 'run' ? /nothing is set up/ : /^error \(not_running\) Cannot reach the daemon/);
      expect(text.err).toContain(`next  set it up: agentmesh --home ${home.path} init`);

      const json = await home.run([...name.split(' '), ...words, '--json']);
      expect(json).toMatchObject({ exit: 4, out: '' });
      expect(json.error).toMatchObject({ code: name === 'run' ? 'not_found' : 'not_running', exit: 4 });
    },
  );

  test('a home that is set up is pointed at "run"', async () => {
    await using other = await createHome();
    await writeFile(join(other.path, 'db'), '');
    expect((await other.run(['status'])).err).toContain(
      `next  start a daemon in the background: agentmesh --home ${other.path} run\n`,
    );
  });

  test('"init" and "run" tell why a daemon did not start', async () => {
    const daemonCommand = [
      process.execPath,
      '-e',
      'console.error("agentmeshd: no room"); process.exit(9)',
      '--',
    ] as const;
    const words = ['init', ...(COMMANDS['init'] ?? [])];
    const inited = await home.run(words, { daemonCommand });
    expect(inited).toMatchObject({ exit: 1, out: '' });
    expect(inited.err).toMatch(/^error \(internal\) Cannot start agentmeshd: exit code 9\nagentmeshd: no room\nnext /);
    await using other = await createHome();
    await writeFile(join(other.path, 'db'), '');
    const ran = await other.run(['run', '--', 'true'], { daemonCommand });
    expect(ran).toMatchObject({ exit: 1, out: '' });
    expect(ran.err).toContain('agentmeshd: no room');
    const missing = await home.run(words, { daemonCommand: [join(home.path, 'no-such-node')] });
    expect(missing.exit).toBe(1);
    expect(missing.err).toMatch(/Cannot start agentmeshd: .*ENOENT/);
  });
});

describe('usage errors exit with 2, say what is wrong and what is meant', () => {
  test.each([
    [['statsu'], 'Unknown command "statsu"', 'did you mean "status"?'],
    [['agent', 'lst'], 'Unknown command "lst"', 'did you mean "list"?'],
    [['nonsense'], 'Unknown command "nonsense"', 'see "agentmesh --help"'],
    [['--jsn', 'status'], 'Unknown option "--jsn"', 'did you mean "--json"?'],
    [
      ['delegate', '--to', did, '--can', 'read:a', '--capability', 'x'],
      'Unknown option "--capability"',
      'see "agentmesh delegate --help"',
    ],
    [
      ['delegate', '--to', did],
      'Required option "--can <capability>" not specified',
      'see "agentmesh delegate --help"',
    ],
    [['agent', 'show'], 'Missing required argument "agent"', 'see "agentmesh agent show --help"'],
    [
      ['status', 'now'],
      'Too many arguments for "status". Expected 0 arguments but got 1',
      'see "agentmesh status --help"',
    ],
    [['status', '--home'], 'Option "--home <dir>" argument missing', 'see "agentmesh status --help"'],
    [['init', '--name', 'a', '--sponsor', 'b'], 'want an e-mail address like "alice@company.com"', null],
    [['delegate', '--to', did, '--can', 'all'], 'want "domain:path" like "read:reports/q3"', null],
    [['delegate', '--to', did, '--can', 'read:a', '--ttl', '31d'], 'want from 1s to 30d', null],
    [['delegate', '--to', did, '--can', 'read:a', '--depth', '8'], 'want a number from 0 to 7', null],
    [['delegate', '--to', did, '--can', 'read:a', '--stl', '6m'], 'want from 0s to 5m', null],
    [['handshake', did, '--min-score', '1001'], 'want a number from 0 to 1000', null],
    [['verify-chain', LINK, '--root', 'acme'], 'want a DID like', null],
    [['verify-chain', LINK, '--at', 'yesterday'], 'want a time like', null],
    [['agent', 'revoke', 'a'], 'Required option "--reason <text>" not specified', null],
    [['revoke', LINK], 'Required option "--reason <text>" not specified', null],
    [['did', 'rotate', '--dead', '--grace', '1h'], 'cannot be used with option', null],
    [['did', 'rotate', '--grace', '2d'], 'want from 0s to 1d', null],
    [['did', 'recover'], 'Required option "--key <file>" not specified', null],
    [['did', 'export', '--format', 'pem'], 'Allowed choices are document, log, jwk', null],
    [['completion', 'tcsh'], 'Allowed choices are bash, zsh, fish', null],
    [['events', '--type', 'sesion.opened'], 'no event has this type', 'did you mean "session.opened"?'],
    [['events', '--type', 'x'], 'no event has this type', null],
    [['peers', 'add', '192.0.2.7:4801'], 'want a multiaddr', null],
    [['log', 'show', 'x'], 'Cannot take "x" for an entry', null],
    [['log', 'show', '01'], 'Cannot take "01" for an entry', null],
    [['log', 'prove', '0'], 'Required option "-o, --out <file>" not specified', 'see "agentmesh log prove --help"'],
    [['log', 'tail', '--limit', '0'], 'want a number from 1 to', null],
    [['log', 'tail', '--since', 'yesterday'], 'want a time like', null],
    [['log', 'export', '-'], 'Cannot write tiles to standard output', null],
    [['log', 'export', 'x', '--format', 'xml'], 'Allowed choices are tiles, jsonl', null],
    [['log', 'recover', '--reason', 'x'], 'want --from-mirrors or --new-generation', null],
    [['log', 'recover', '--new-generation', '--from-mirrors', '--reason', 'x'], 'cannot be used with option', null],
    [['log', 'recover', '--new-generation'], 'Required option "--reason <text>" not specified', null],
    [['log', 'verify', '--max-age', '1h'], 'Cannot use --max-age without --policy', null],
    [['log', 'verify', '--entry', 'x'], 'Cannot use --entry without the file of a proof', null],
    [['audit', '--format', 'xml'], 'Allowed choices are table, json, csv', null],
    [['approvals', 'approve', '3f2a'], 'Required option "--reason <text>" not specified', null],
    [['approvals', 'deny', '3f2a'], 'Required option "--reason <text>" not specified', null],
    [['approvals', 'wait', '3f2a', '--timeout', '8d'], 'want from 0s to 7d', null],
    [['policy', 'check'], 'Missing required argument "file"', null],
    [['policy', 'print', 'lax'], 'no such policy comes along', 'want one of strict, moderate, permissive'],
    [['policy', 'explain'], 'it is not said what is wanted', 'name it with --tool, --resource, --prompt or --action'],
    [['policy', 'explain', '--tool', 'a', '--prompt', 'b'], '--tool and --prompt are given', null],
    [['policy', 'explain', '--action', 'a', '--server', 'b'], 'Cannot take --server without --tool', null],
    [['policy', 'explain', '--action', 'a', '--arg', 'b=c'], 'Cannot take arguments without --tool or --prompt', null],
    [['policy', 'explain', '--tool', 'a', '--arg', 'b'], 'want NAME=TEXT', null],
    [['policy', 'explain', '--tool', 'a', '--args', '[]'], 'want a JSON object', null],
    [['policy', 'explain', '--tool', 'a', '--args', '{'], 'want a JSON object', null],
    [['policy', 'shadow', '--since', '7d'], 'Cannot look back without a policy', 'name one with --policy FILE'],
    [['policy', 'shadow', '--policy', 'strict', '--since', '91d'], 'want from 1s to 90d', null],
    [['conviction', 'lift', did], 'Required option "--reason <text>" not specified', null],
  ])('%j', async (words, what, next) => {
    const ran = await home.run(words);
    expect(ran).toMatchObject({ exit: 2, out: '' });
    expect(ran.err).toMatch(/^error \(usage\) [A-Z]/);
    expect(ran.err).toContain(what);
    if (next !== null) expect(ran.err).toContain(`next  ${next}\n`);
    const { error, exit } = await home.run(['--json', ...words]);
    expect([error.code, error.exit, exit]).toEqual(['usage', 2, 2]);
  });

  test('a command group without a verb shows its help, on stderr', async () => {
    for (const words of [[], ['agent'], ['did'], ['chain'], ['sponsor'], ['log'], ['witness'], ['conviction']]) {
      const { exit, out, err } = await home.run(words);
      expect([exit, out]).toEqual([2, '']);
      expect(err).toContain(`Usage: ${['agentmesh', ...words].join(' ')} [options] [command]`);
    }
  });
});

describe('help', () => {
  test.each(['', ...Object.keys(COMMANDS), 'agent', 'sponsor', 'did', 'chain', 'log', 'witness', 'conviction'])(
    'of "%s" has usage, flags and examples, in 100 columns',
    async (name) => {
      const words = name === '' ? [] : name.split(' ');
      const { exit, out, err } = await home.run([...words, '--help']);
      expect([exit, err]).toEqual([0, '']);
      expect(out).toContain(`Usage: ${['agentmesh', ...words].join(' ')} `);
      expect(out).toMatch(/--json +answer in JSON/);
      expect(out).toMatch(/--home <dir> +home of the daemon/);
      expect(out).toMatch(/\nExamples:\n {2}agentmesh [a-z]/);
      const isExample = (line: string): boolean => line.startsWith('  agentmesh '); // nobody could paste it broken
      expect(out.split('\n').filter((line) => line.length > 100 && !isExample(line))).toEqual([]);
    },
  );

  test('examples are command lines that this program takes', async () => {
    for (const name of [
      '',
      ...Object.keys(COMMANDS),
      'agent',
      'sponsor',
      'did',
      'chain',
      'log',
      'witness',
      'conviction',
    ]) {
      const { out } = await home.run([...(name === '' ? [] : name.split(' ')), '--help']);
      const examples = out.slice(out.indexOf('\nExamples:')).matchAll(/^ {2}agentmesh (.*)$/gm);
      for (const [, example = ''] of examples) {
        const words = example
          .replace(/ {2,}.*$/, '')
          .replace(/ [|>].*$/, '')
          .match(/"[^"]*"|\S+/g) as string[];
        const known = Object.keys(COMMANDS).filter((each) => `${words.join(' ')} `.startsWith(`${each} `));
        expect(known, example).not.toEqual([]);
        const flags = words
          .slice(0, words.includes('--') ? words.indexOf('--') : undefined)
          .filter((word) => word.startsWith('--'));
        const { out: help } = await home.run([
          ...(known.toSorted((a, b) => b.length - a.length)[0] ?? '').split(' '),
          '--help',
        ]);
        for (const flag of flags) expect(help, example).toContain(flag);
      }
    }
  });

  test('of the program lists the exit codes and every command', async () => {
    const { out } = await home.run(['--help']);
    for (const code of Object.values(EXIT)) expect(out).toMatch(new RegExp(`\\n  ${code} +\\w`));
    for (const name of new Set(Object.keys(COMMANDS).map((each) => each.split(' ')[0]))) {
      expect(out).toMatch(new RegExp(`\\n  ${name}[ \\n]`));
    }
  });
});

describe('exit codes', () => {
  test('follow from the error code: what is no verdict of a rule is listed', () => {
    const codes = Object.keys(ERRORS) as ErrorCode[];
    expect(new Set(codes.map(exitOf))).toEqual(new Set([1, 2, 3, 4, 5, 130]));
    expect(codes.filter((code) => exitOf(code) === 5)).toEqual(['approval_pending']);
    expect(CHAIN_CODES.filter((code) => exitOf(code) !== 3)).toEqual(['did_unknown']); // alone it means: nobody knows it
    expect(codes.filter((code) => exitOf(code) === 4)).toEqual(['did_unknown', 'not_running', 'not_found']);
    expect([exitOf('cancelled'), exitOf('bad_request')]).toEqual([130, 2]);
    expect(codes.filter((code) => exitOf(code) === 1)).toContain('internal');
  });

  test('an interrupted command exits as shells have it', async () => {
    for (const [signal, code] of [
      ['SIGINT', 130],
      ['SIGTERM', 143],
    ] as const) {
      const controller = new AbortController();
      controller.abort(new MeshError('cancelled', 'Cannot go on', { signal }));
      expect(await home.run(['status'], { signal: controller.signal })).toMatchObject({ exit: code, out: '' });
    }
  });
});

test('"version" answers with and without a daemon', async () => {
  const { exit, out } = await home.run(['version']);
  expect([exit, out]).toEqual([0, `agentmesh  0.1.0\nNode       ${process.versions.node}\nDaemon     not running\n`]);
  expect((await home.run(['version', '--json'])).json).toEqual({
    version: '0.1.0',
    api: 1,
    node: process.versions.node,
    daemon: null,
  });
  expect(await home.run(['--version'])).toMatchObject({ exit: 0, out: '0.1.0\n' });
});
