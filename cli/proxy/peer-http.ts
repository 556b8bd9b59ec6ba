/**
 * `agentmesh proxy --peer --listen`: clients over HTTP, with a link of the daemon where http-processes.ts has a process.
 * Nothing is decided here either.
 */
import { resolve } from 'node:path';
import { isMeshError } from '../../protocol/errors.ts';
import * as limits from '../../protocol/limits.ts';
import { createSession, type Failure } from '../../protocol/mcp/index.ts';
import type { Gate } from '../../protocol/policy/index.ts';
import type { LinkEvents, LinkOptions, ServerLink } from '../../sdk/gate/index.ts';
import { EXIT } from '../exit.ts';
import { parseListen, readTokenFile } from './http-guard.ts';
import {
  createProcessBackend,
  type OpenSession,
  type ServerProcess,
  type ServerProcessEvents,
} from './http-processes.ts';
import { startHttpServer } from './http-server.ts';
import type { ProxyFlags } from './options.ts';
import type { OpenPeerLink } from './peer.ts';

export interface PeerHttpOptions {
  readonly flags: ProxyFlags;
  readonly wanted: Pick<LinkOptions, 'did' | 'server'>;
  readonly cwd: string;
  readonly open: OpenPeerLink;
  /** Looked at once, so that whoever starts this learns what is wrong, and not only a client. */
  readonly openFirst: (events: LinkEvents) => Promise<ServerLink>;
  readonly note: (text: string) => void;
  /** Ends it. */
  readonly signal: AbortSignal;
}

/** Until the signal fires. Errors: those of openLink, parseListen, readTokenFile and startHttpServer. */
export async function servePeer(options: PeerHttpOptions): Promise<number> {
  const { flags, wanted, cwd, open, openFirst, note, signal } = options;
  const listen = parseListen(flags.listen ?? '');
  const token = flags.tokenFile === undefined ? undefined : await readTokenFile(resolve(cwd, flags.tokenFile));
  await (await openFirst({ message: () => undefined })).close();
  const report = (_level: string, text: string): void => note(text);
  const backend = createProcessBackend(
    {
      openSession: sessionsOf(`${wanted.did}/${wanted.server}`, report),
      report,
      startServer: (events) => processOf(open, events),
    },
    { sessionsMax: limits.PROXY_PEER_SESSIONS_MAX, spareMs: limits.PROXY_PEER_SESSION_SPARE_MS },
  );
  await using server = await startHttpServer(backend, { listen, allowedHosts: flags.allowHost ?? [], token, report });
  note(`Serving MCP at ${server.url}`);
  if (!signal.aborted)
    await new Promise<void>((settle) => signal.addEventListener('abort', () => settle(), { once: true }));
  return EXIT.ok;
}

/** A link as lines. What comes before it is open waits. */
function processOf(open: OpenPeerLink, { line, ended }: ServerProcessEvents): ServerProcess {
  const stop = new AbortController();
  const early: Uint8Array[] = [];
  let earlyBytes = 0;
  let link: ServerLink | undefined;
  const run = async (): Promise<void> => {
    try {
      link = await open({ message: line }, stop.signal);
      for (const message of early.splice(0)) link.send(message);
      earlyBytes = 0;
      ended(await link.ended);
    } catch (error) {
      ended(failureOf(error));
    }
  };
  const over = run();
  return {
    send: (message) => {
      if (link !== undefined) return link.send(message);
      early.push(message);
      earlyBytes += message.length;
    },
    get backlogBytes() {
      return earlyBytes + (link?.backlogBytes ?? 0);
    },
    close: async () => {
      if (link === undefined) stop.abort();
      else await link.close();
      await over;
    },
  };
}

/** Which message belongs to which exchange, as in front of any server; who decides is elsewhere. */
function sessionsOf(server: string, report: (level: string, text: string) => void): OpenSession {
  const after = (ms: number, run: () => void): (() => void) => {
    const timer = setTimeout(run, ms);
    return () => clearTimeout(timer);
  };
  const paths = { canonicalPaths: (texts: readonly string[]) => texts };
  return (wires) => createSession({ gate: PASSING, paths, after, report, ...wires }, { server, approvalWaitMs: 0 });
}

const POLICY = { name: 'the daemon decides', digest: '0'.repeat(64) };
const PASSING: Omit<Gate, 'close' | typeof Symbol.asyncDispose> = {
  description: { mode: 'local', agent: '', organisation: null, policies: [POLICY], missing: [] },
  decide: async () => ({
    id: null,
    effect: 'allow',
    rule: null,
    policy: POLICY,
    matched: [],
    output: {
      secrets: 'allow',
      pii: 'allow',
      phi: 'allow',
      cards: 'allow',
      instructions: 'allow',
      invisible: 'allow',
      bytesMax: limits.MCP_MESSAGE_BYTES_MAX,
    },
    reason: POLICY.name,
    index: null,
  }),
  filter: async (requests) => requests.map(() => true),
  settle: () => undefined,
  checkTools: async (_server, tools) =>
    tools.map(({ name }) => ({ name: typeof name === 'string' ? name : '', state: 'pinned', action: 'ignore' })),
};

const failureOf = (error: unknown): Failure =>
  isMeshError(error)
    ? { code: error.code, message: error.message }
    : { code: 'internal', message: error instanceof Error ? error.message : String(error) };
