/**
 * `agentmesh proxy --peer`: lines between a client and a link of the daemon. Nothing is decided here: the daemon does
 * that, and signs, so that a client that went round this process would gain nothing.
 */
import * as limits from '../../protocol/limits.ts';
import {
  createLineReader,
  createLineWriter,
  findPlace,
  type LinkEvents,
  type LinkOptions,
  openLink,
  readPolicySource,
  type ServerLink,
} from '../../sdk/gate/index.ts';
import { EXIT, exitOf } from '../exit.ts';
import { plainLines } from '../text/plain.ts';
import { callerOf, withDaemon } from './open-gate.ts';
import type { ProxyLine } from './options.ts';
import type { ProxyWorld } from './run.ts';

/** That one side has not read, before the other is not listened to. */
const BACKLOG_BYTES_MAX = 4 * 1024 * 1024;
const LAST_MS = 2_000; // for what the client has not read when all is over
const SIGNAL_EXITS = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const;
const NOT_WITH_PEER = ['target', 'url', 'header', 'headerEnv', 'footer', 'log'] as const;
const ONLY_WITH_LISTEN = ['tokenFile', 'allowHost'] as const;

export type PeerWorld = Omit<ProxyWorld, 'openGate' | 'platform'> & {
  /** Default: over the daemon's control socket. */
  readonly openLink?: typeof openLink;
};

/** Opens a link for a client. Errors: those of openLink. */
export type OpenPeerLink = (events: LinkEvents, signal: AbortSignal) => Promise<ServerLink>;

/**
 * Until the link ends, the client leaves or a signal comes. The exit code is that of the code with which the link
 * ended. With `--listen` until a signal comes: each client has a link of its own. Errors: UsageError; those of openLink.
 */
export async function runPeerProxy(line: ProxyLine, world: PeerWorld): Promise<number> {
  const wanted = await wantedOf(line);
  const { flags, home } = line;
  const { env, cwd, errors } = world;
  const note = (text: string): void => void errors.write(`agentmesh: ${plainLines(text)}\n`);
  const closing = new AbortController();
  let signalled: keyof typeof SIGNAL_EXITS | undefined;
  world.onSignal((signal) => {
    signalled ??= signal;
    closing.abort();
  });

  const policies = [await readPolicySource(flags.policy, cwd)];
  const place = findPlace({ home }, env);
  const open: OpenPeerLink = async (events, signal) => {
    const caller = await callerOf(place, { env, agent: flags.agent, signal });
    return (world.openLink ?? openLink)(place, { ...wanted, ...caller, policies, signal }, events);
  };
  /** The first one: starts the daemon where it does not run, and says who is there. */
  const openFirst = async (events: LinkEvents): Promise<ServerLink> => {
    const { signal } = closing;
    const link = await withDaemon({ home, env, note, signal }, () => open(events, signal));
    const { did, server, organisation, score, expiresAt } = link.info;
    note(
      `Linked to "${server}" of ${did}, organisation ${organisation}, score ${score}; the session lasts until ${expiresAt} and is renewed`,
    );
    return link;
  };
  try {
    const { signal } = closing;
    const exit =
      flags.listen === undefined
        ? await overStdio(openFirst, { world, note, signal })
        : await (await import('./peer-http.ts')).servePeer({ flags, wanted, cwd, open, openFirst, note, signal });
    return signalled === undefined ? exit : SIGNAL_EXITS[signalled];
  } catch (error) {
    if (signalled !== undefined) return SIGNAL_EXITS[signalled];
    throw error;
  }
}

interface StdioOptions {
  readonly world: PeerWorld;
  readonly note: (text: string) => void;
  /** Ends the link. */
  readonly signal: AbortSignal;
}

async function overStdio(
  open: (events: LinkEvents) => Promise<ServerLink>,
  { world, note, signal }: StdioOptions,
): Promise<number> {
  const { input, output } = world;
  const toClient = createLineWriter(output);
  const regulate = (): void => {
    const isStuck = link === undefined || link.isFull || toClient.backlogBytes > BACKLOG_BYTES_MAX;
    if (isStuck) input.pause();
    else if (input.isPaused()) input.resume();
    link?.setPaused(output.writableNeedDrain);
  };
  const events: LinkEvents = {
    message: (message) => {
      toClient.write(message);
      regulate();
    },
    drained: () => regulate(),
  };
  let link: ServerLink | undefined = undefined; // messages may come before it is said to be open
  link = await open(events);
  const isClientDone = carry(link, { input, output, toClient, regulate });
  const { code, message } = await link.ended;
  await Promise.race([flushed(output), pause(LAST_MS)]);
  input.destroy();
  if (signal.aborted || (code === 'closed' && isClientDone())) return EXIT.ok;
  note(`The link ended (${code}): ${message}`);
  return exitOf(code);
}

interface Ends {
  readonly input: ProxyWorld['input'];
  readonly output: ProxyWorld['output'];
  readonly toClient: ReturnType<typeof createLineWriter>;
  readonly regulate: () => void;
}

/** Gives whether the client is done. */
function carry(link: ServerLink, { input, output, toClient, regulate }: Ends): () => boolean {
  let isDone = false;
  const reader = createLineReader({
    bytesMax: limits.MCP_MESSAGE_BYTES_MAX,
    onLine: (line) => link.send(line),
    onTooLong: () => toClient.write(TOO_LONG),
  });
  const leave = (): void => {
    isDone = true;
    void link.close();
  };
  output.on('drain', regulate);
  output.once('error', leave); // nobody reads any more
  input.on('data', (chunk: Buffer) => {
    reader.push(chunk);
    regulate();
  });
  input.once('end', () => {
    reader.end();
    isDone = true;
    link.sendEnd(); // what was asked is still answered
  });
  input.once('error', leave);
  regulate();
  return () => isDone;
}

const TOO_LONG = Buffer.from(
  JSON.stringify({
    jsonrpc: '2.0',
    id: null,
    error: {
      code: -32600,
      message: `Cannot accept the message: it has more than ${limits.MCP_MESSAGE_BYTES_MAX} bytes`,
    },
  }),
);

/** Errors: UsageError. */
async function wantedOf({ flags, words }: ProxyLine): Promise<LinkOptions> {
  const { peer: did = '', server } = flags;
  const other = NOT_WITH_PEER.find((name) => flags[name] !== undefined);
  if (other !== undefined)
    throw await usage(`Cannot use ${flagOf(other)} with --peer: the server is at the other organisation`);
  const unheard = ONLY_WITH_LISTEN.find((name) => flags.listen === undefined && flags[name] !== undefined);
  if (unheard !== undefined) throw await usage(`Cannot use ${flagOf(unheard)} without --listen`);
  if (words.length > 0)
    throw await usage('Cannot start a program with --peer: the server is at the other organisation');
  if (!flags.daemon)
    throw await usage('Cannot use --no-daemon with --peer: only the daemon speaks for this organisation');
  if (server === undefined)
    throw await usage(
      'Cannot tell which server to use: want its name with --server',
      'ask for the list: agentmesh services DID',
    );
  const minScore =
    flags.minScore === undefined ? undefined : await numberOf('--min-score', flags.minScore, limits.SCORE_MAX);
  const approvalWaitSeconds = await numberOf('--approval-wait', flags.approvalWait, limits.LINK_WAIT_SECONDS_MAX);
  const { grant, purpose } = flags;
  return { did, server, grant, purpose, minScore, approvalWaitSeconds };
}

const flagOf = (name: string): string => `--${name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;

async function numberOf(flag: string, text: string, max: number): Promise<number> {
  if (/^\d{1,4}$/.test(text) && Number(text) <= max) return Number(text);
  throw await usage(`Cannot take "${text}" for ${flag}: want 0 to ${max}`);
}

/** Loaded when it is needed, as everywhere in a proxy. */
async function usage(message: string, next: string | null = null): Promise<Error> {
  const { UsageError } = await import('../problem.ts');
  return new UsageError(message, next);
}

const pause = (ms: number): Promise<void> =>
  new Promise((settle) => {
    setTimeout(settle, ms).unref();
  });

const flushed = (stream: ProxyWorld['output']): Promise<void> =>
  new Promise((settle) => {
    if (stream.destroyed || stream.writableLength === 0) settle();
    else stream.write('', () => settle());
  });
