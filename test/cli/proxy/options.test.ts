import { Command } from 'commander';
import { expect, test } from 'vitest';
import { addProxy } from '../../../cli/commands/proxy.ts';
import { parseProxyLine, type ProxyFlags, serverNameOf, serverOriginOf } from '../../../cli/proxy/options.ts';

/** As commander reads it, by the program's own declaration. */
function byProgram(argv: readonly string[]): { flags: ProxyFlags; words: readonly string[]; home: string | undefined } {
  let read: { flags: ProxyFlags; words: readonly string[] } | undefined;
  const program = new Command('agentmesh').exitOverride().option('--home <dir>');
  addProxy(program, () => async (words: unknown, flags: unknown) => {
    read = { flags: flags as ProxyFlags, words: words as string[] };
  });
  program.parse(argv, { from: 'user' });
  if (read === undefined) throw new Error('not read');
  return { ...read, home: program.opts<{ home?: string }>().home };
}

test.each([
  'proxy --target npx --target -y --target @modelcontextprotocol/server-filesystem --target .',
  'proxy -- npx -y server --policy strict --home x',
  'proxy --policy=acme.yaml --agent reporter --footer --approval-wait 3 --no-daemon --log=x.jsonl -- node server.js',
  'proxy --url https://example.com/mcp --header A:b --header-env Authorization=TOKEN --header=C:d',
  '--home /tmp/x proxy --listen 127.0.0.1:0 --token-file t --allow-host a --allow-host b --server s -- node x',
  'proxy --peer did:mesh:x --server files --grant=bafyrei --purpose billing --min-score 300',
  'proxy --home /tmp/x --target --policy -- --footer',
])('the short way reads %j as the program does', (text) => {
  const argv = text.split(' ');
  const line = parseProxyLine(argv);
  expect(line).toEqual(byProgram(argv));
});

test.each([
  'status',
  'proxy --help',
  'proxy -h',
  'proxy --polcy strict -- x',
  'proxy npx server',
  'proxy --policy',
  'proxy --no-footer -- x',
  '--json proxy -- x',
  'run -- agentmesh proxy -- x',
  '',
])('what is not plainly a proxy is left to the program: %j', (text) => {
  expect(parseProxyLine(text.split(' '))).toBeUndefined();
});

test.each([
  ['npx -y @modelcontextprotocol/server-filesystem /tmp', 'server-filesystem'],
  ['npx -y @scope/pkg@1.2.3', 'pkg'],
  ['node /opt/server-everything/dist/index.js stdio', 'server-everything'],
  ['python -m mcp_server_git --repository x', 'mcp_server_git'],
  ['uvx mcp-server-fetch', 'mcp-server-fetch'],
  ['docker run -i --rm mcp/github:latest', 'github'],
  ['/usr/local/bin/my-server', 'my-server'],
  ['node dist/index.js', 'work'],
  ['./server.py', 'work'],
])('%s is called %s', (command, name) => {
  expect(serverNameOf(command.split(' '), '/people/me/work')).toBe(name);
});

test('how a server is started leaves its other arguments out', () => {
  const origin = serverOriginOf(['npx', '-y', 'server-postgres', 'postgres://me:secret@host/db', '--key=secret'], '/w');
  expect(origin).toBe('npx server-postgres');
  expect(serverOriginOf(['node', './server.js', 'secret'], '/w')).toBe('node /w/server.js');
});
