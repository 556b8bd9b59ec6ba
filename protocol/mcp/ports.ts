/** What a session stands between: a client, a server, and whoever decides (SPEC "The MCP proxy"). */
import type { ErrorCode } from '../errors.ts';
import type { Gate } from '../policy/gate.ts';
import type { Id, Message } from './messages.ts';
import type { Paths } from './paths.ts';

/** Where a message to the client belongs. Lines on stdout need none of it; HTTP has an exchange for each request. */
export interface ClientRoute<Origin> {
  /** What `fromClient` was given with the request that this answers or serves; undefined: it belongs to none. */
  readonly origin: Origin | undefined;
  /** Nothing more comes for this origin. */
  readonly isLast: boolean;
}

/** Where a message to the server came from. */
export interface ServerRoute<Origin> {
  readonly origin: Origin | undefined;
}

/** `warn`: somebody should look at it. `note`: good to know. */
export type ReportLevel = 'warn' | 'note';

/** `Origin`: the transport's own name for one exchange with the client, handed back with what belongs to it. */
export interface SessionComponents<Origin> {
  readonly gate: Omit<Gate, 'close' | typeof Symbol.asyncDispose>;
  /** Called in the order in which messages are to be seen. `message.bytes` is one JSON text without a line's end. */
  readonly toClient: (message: Message, route: ClientRoute<Origin>) => void;
  readonly toServer: (message: Message, route: ServerRoute<Origin>) => void;
  readonly paths: Paths;
  /** Runs it once after so many milliseconds, unless the function that it gives is called before. */
  readonly after: (ms: number, run: () => void) => () => void;
  /** Something that people should know, a sentence without a final stop. Each kind is told a few times at most. */
  readonly report: (level: ReportLevel, text: string) => void;
  /** No answer will come for this origin: its client cancelled it. */
  readonly onDropped?: (origin: Origin) => void;
  /** Of sessions with one and the same server process, so that each does not ask it again; default one of its own. */
  readonly tools?: KnownTools;
}

export interface SessionOptions {
  /** The server, as policies and pins name it. */
  readonly server: string;
  /** How long a request is held for an approval; 0: not. */
  readonly approvalWaitMs: number;
  /** Whether results say what was checked; default false. */
  readonly footer?: boolean | undefined;
}

/** What a server said of its tools, and what the gate said of that; opaque to transports: `createKnownTools`. */
export interface KnownTools {
  /** What the gate said of each, by canonical name. */
  readonly states: ReadonlyMap<string, unknown>;
}

/** Why a request cannot reach its server. */
export interface Failure {
  readonly code: ErrorCode;
  readonly message: string;
}

export interface Session<Origin> {
  /** One message as it came, parsed or not. What cannot be accepted is answered; nothing throws. */
  fromClient(message: Uint8Array | Message, origin?: Origin): void;
  /** `relatedTo`: the request on whose stream it came, where the transport has streams. */
  fromServer(message: Uint8Array | Message, relatedTo?: Id): void;
  /** What was handed to `toServer` with this id gets no answer: the client is told. */
  failRequest(id: Id, failure: Failure): void;
  /** The server is gone: whatever waits for it is answered with this, and whatever comes. */
  serverEnded(failure: Failure): void;
  /** The client sends nothing more. Resolves when all that it sent is at the server, or refused; approvals are not waited for. */
  clientEnded(): Promise<void>;
  /** Requests of the client without an answer. */
  readonly pending: number;
  /** Nothing is sent any more; decisions under way are given up. */
  close(): void;
}
