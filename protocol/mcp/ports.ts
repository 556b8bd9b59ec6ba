/** What a session stands between: a client, a server, and whoever decides (SPEC "MCP as governed"). */
import type { JsonObject } from '../encoding/jcs.ts';
import type { ErrorCode } from '../errors.ts';
import type { Gate, ToolDefinition, ToolState } from '../policy/gate.ts';
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
  /** How it is started or reached, so that two servers of one name are told apart. */
  readonly serverOrigin?: string | undefined;
  /** How long a request is held for an approval; 0: not. */
  readonly approvalWaitMs: number;
  /**
   * The organisation whose people approve, where the client is of another: it is told so in place of a command that is
   * not for it. Default: whoever reads what the client is told may be one of them.
   */
  readonly approvedBy?: string | undefined;
  /** Whether results say what was checked; default false. */
  readonly footer?: boolean | undefined;
}

/** What the gate said of a server's tools; made by `createKnownTools`. */
export interface KnownTools {
  /** All of them have been looked at since the server last said that they changed. */
  readonly isComplete: boolean;
  /** How often the server said so. */
  readonly changes: number;
  stateOf(name: string): ToolState | undefined;
  setChanged(): void;
  hasOutputSchema(name: string): boolean;
  /** `whole`: they are all that the server has, and what `changes` was when it was asked. */
  keep(checked: CheckedTools, whole: { readonly changes: number } | undefined): void;
  /** Fetches them where they are not complete; callers at one time share it. False: they change faster than that. */
  complete(fetch: () => Promise<CheckedTools>): Promise<boolean>;
}

export interface CheckedTools {
  readonly definitions: readonly ToolDefinition[];
  readonly states: readonly ToolState[];
}

/** Why a request cannot reach its server. */
export interface Failure {
  readonly code: ErrorCode;
  readonly message: string;
  /** For programs, beside the code. */
  readonly facts?: JsonObject;
  /** It had reached the server, and was ended. */
  readonly isBegun?: true;
}

export interface Session<Origin> {
  /** One message as it came, parsed or not. What cannot be accepted is answered; nothing throws. */
  fromClient(message: Uint8Array | Message, origin?: Origin): void;
  /** `relatedTo`: the request on whose stream it came, where the transport has streams. */
  fromServer(message: Uint8Array | Message, relatedTo?: Id): void;
  /** What was handed to `toServer` with this id gets no answer: the client is told. */
  failRequest(id: Id, failure: Failure): void;
  /** As `failRequest`, for all that was handed to it: which of them an unreadable message answers cannot be told. */
  failSent(failure: Failure): void;
  /** The server is gone: whatever waits for it is answered with this, and whatever comes. */
  serverEnded(failure: Failure): void;
  /**
   * The client sends nothing more. Resolves when all that it sent is at the server, or refused, and no answer is still
   * being judged; approvals are not waited for.
   */
  clientEnded(): Promise<void>;
  /** Requests of the client without an answer. */
  readonly pending: number;
  /** Nothing is sent any more; decisions under way are given up. */
  close(): void;
}
