/** What the flags of a proxy mean. */
import { resolve } from 'node:path';
import type { SessionOptions } from '../../protocol/mcp/index.ts';
import { type ProxyLine, serverNameOf, serverOriginOf } from './options.ts';

const APPROVAL_WAIT_SECONDS_MAX = 3_600; // no client waits longer for a tool

export interface Settings {
  /** Program and arguments; empty where the server is at `url`. */
  readonly command: readonly string[];
  readonly url: URL | undefined;
  /** HOST:PORT; undefined: standard input and output. */
  readonly listen: string | undefined;
  readonly headers: readonly string[];
  readonly headersFromEnv: readonly string[];
  readonly tokenFile: string | undefined;
  readonly allowedHosts: readonly string[];
  readonly session: SessionOptions;
}

/** Errors: UsageError, bad_request. */
export async function settingsOf({ flags, words }: ProxyLine, { cwd }: { readonly cwd: string }): Promise<Settings> {
  const command = [...(flags.target ?? []), ...words];
  if ((command.length === 0) === (flags.url === undefined))
    throw await usage(
      'Cannot tell which server to use: want a program after "--", --url, or --peer',
      'as in: agentmesh proxy -- npx -y @modelcontextprotocol/server-filesystem /some/directory',
    );
  const onlyWith = async (flag: string, isGiven: boolean, other: string, hasOther: boolean): Promise<void> => {
    if (isGiven && !hasOther) throw await usage(`Cannot use ${flag} without ${other}`);
  };
  const isListening = flags.listen !== undefined;
  await onlyWith('--header', flags.header !== undefined, '--url', flags.url !== undefined);
  await onlyWith('--header-env', flags.headerEnv !== undefined, '--url', flags.url !== undefined);
  await onlyWith('--token-file', flags.tokenFile !== undefined, '--listen', isListening);
  await onlyWith('--allow-host', flags.allowHost !== undefined, '--listen', isListening);
  const url =
    flags.url === undefined ? undefined : (await import('../../sdk/servers/http.ts')).parseServerUrl(flags.url);
  return {
    command,
    url,
    listen: flags.listen,
    headers: flags.header ?? [],
    headersFromEnv: flags.headerEnv ?? [],
    tokenFile: flags.tokenFile === undefined ? undefined : resolve(cwd, flags.tokenFile),
    allowedHosts: flags.allowHost ?? [],
    session: {
      server: flags.server ?? url?.host ?? serverNameOf(command, cwd),
      // A query may hold a secret.
      serverOrigin: url === undefined ? serverOriginOf(command, cwd) : url.origin + url.pathname,
      approvalWaitMs: 1000 * (await secondsOf(flags.approvalWait)),
      footer: flags.footer === true,
    },
  };
}

async function secondsOf(text: string): Promise<number> {
  const seconds = /^\d{1,4}$/.test(text) ? Number(text) : undefined;
  if (seconds !== undefined && seconds <= APPROVAL_WAIT_SECONDS_MAX) return seconds;
  throw await usage(`Cannot wait "${text}" seconds for an approval: want 0 to ${APPROVAL_WAIT_SECONDS_MAX}`);
}

/** Loaded when it is needed: with it comes much that a proxy does without. */
async function usage(message: string, next: string | null = null): Promise<Error> {
  const { UsageError } = await import('../problem.ts');
  return new UsageError(message, next);
}
