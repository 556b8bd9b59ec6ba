import type { Command } from 'commander';
import type { ExitCode } from '../exit.ts';
import { withHelp } from '../help.ts';
import type { Invocation } from '../invocation.ts';
import type { Act } from '../program.ts';
import { PROXY_FLAGS, type ProxyFlags } from '../proxy/options.ts';

export function addProxy(program: Command, act: Act): void {
  const command = withHelp(program.command('proxy'), {
    summary: 'Put an MCP server under policy',
    about:
      'Stands between an MCP client and a server. Each call, read, prompt and sampling request is decided by policy before the server sees it; ' +
      'lists show what may be used; results are cleaned by the output rules; tools whose definition changes wait for approval. Decisions, identity, ' +
      "approvals and the audit log are the daemon's, which is started where this home is set up. Where it is not, a policy decides in this process alone, " +
      'and standard error says what that lacks. The server ends with the proxy. With --peer the server is one that another organisation exposes: ' +
      'the daemon reaches it, under its policies and what was granted there.',
    examples: [
      [
        'proxy --target npx --target -y --target @modelcontextprotocol/server-filesystem --target .',
        'under the policy "strict"',
      ],
      ['proxy --policy acme.yaml -- node server.js', 'under one of your own'],
      ['proxy --url https://mcp.example.com/mcp --header-env Authorization=TOKEN', 'a server elsewhere'],
      ['proxy --peer did:mesh:bafyrei… --server files', 'a server of another organisation'],
      ['proxy --listen 127.0.0.1:8080 -- node server.js', 'for clients that speak HTTP'],
    ],
  }).argument('[command...]', 'program that is the server, and its arguments, after "--"');
  for (const flag of PROXY_FLAGS) {
    const name = 'value' in flag ? `--${flag.name} <${flag.value}>` : `--${flag.name}`;
    if ('isMany' in flag)
      command.option(name, flag.about, (value: string, given: readonly string[] | undefined) => [
        ...(given ?? []),
        value,
      ]);
    else if ('default' in flag) command.option(name, flag.about, flag.default);
    else command.option(name, flag.about);
  }
  command.action(act(proxy));
}

/** For lines that the short way did not understand: see cli/main.ts. */
async function proxy(invocation: Invocation, words: readonly string[], flags: ProxyFlags): Promise<ExitCode> {
  const { runProxyHere } = await import('../proxy/process.ts');
  const { place, paths } = invocation;
  return runProxyHere({ home: place.isHomeGiven ? paths.home : undefined, flags, words });
}
