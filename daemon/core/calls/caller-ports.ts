/** What a link to a server of another organisation is to whoever opens one, and what it needs of the daemon around it. */
import type { Capability, ErrorCode } from '../../../protocol/index.ts';
import type { Id } from '../../../protocol/mcp/index.ts';

export interface LinkWanted {
  /** The agent or organisation whose server it is. */
  readonly did: string;
  /** Under which name it is exposed there. */
  readonly server: string;
  /** Own agent that calls; default the organisation. */
  readonly as?: string | undefined;
  /** Leaf of the chain to present; default: the held one that covers most. */
  readonly grant?: string | undefined;
  /** Digests of policies that the client brought; they narrow what the daemon's own allow. */
  readonly policies?: readonly string[] | undefined;
  readonly purpose?: string | undefined;
  /** Asked of the other side; default HANDSHAKE_SCORE_DEFAULT. */
  readonly minScore?: number | undefined;
  /** How long a call is held for an approval of this side; 0: not. Default CALL_APPROVAL_WAIT_MS. */
  readonly approvalWaitMs?: number | undefined;
}

export interface LinkInfo {
  /** Of the session under it when it was opened. */
  readonly sid: string;
  readonly as: string;
  readonly did: string;
  readonly server: string;
  readonly organisation: string;
  /** Leaf of the chain that was chosen; null: none. */
  readonly grant: string | null;
  readonly score: number;
  readonly capabilities: readonly Capability[];
  /** RFC 3339: when that session ends, unless it is renewed. */
  readonly expiresAt: string;
}

/** What the local client is told beside the conversation. */
export type LinkControl =
  | ({ readonly type: 'opened' } & LinkInfo)
  | {
      readonly type: 'receipt';
      /** Of the client's request. */
      readonly request: Id;
      /** Of the receipt. */
      readonly id: string;
      readonly sid: string;
      readonly n: number;
      readonly out: string;
      /** Signed by this side alone. */
      readonly half: boolean;
    };

export interface LinkEvents {
  /** One JSON-RPC message to the client, without a line's end. */
  line(bytes: Uint8Array): void;
  /** `opened` comes first, before `openLink` resolves. */
  control(control: LinkControl): void;
  /** The link is over: told once, and nothing comes after it. `closed` where the client ended it itself. */
  ended(code: ErrorCode, message: string): void;
}

export interface CallerLink extends AsyncDisposable {
  readonly info: LinkInfo;
  /** One message of the client as it came. Nothing throws; what cannot be accepted is answered. */
  fromClient(bytes: Uint8Array): void;
  /** More waits for the other organisation than should: the client should not be read until `onDrained` calls. */
  readonly isFull: boolean;
  /** Calls each time when it is no longer full. */
  onDrained(call: () => void): void;
  /** The client does not read: nothing more is taken from the other organisation until it does. */
  setPaused(isPaused: boolean): void;
  /** The client sends nothing more: resolves when nothing that it asked for is without an answer, and the link is over. */
  clientEnded(): Promise<void>;
  /** At once: what is under way is left as it is, with half receipts. */
  close(): Promise<void>;
}

/** `caller.openLink`. Errors: those of openLink in caller.ts. */
export type OpenLink = (wanted: LinkWanted, events: LinkEvents, signal: AbortSignal) => Promise<CallerLink>;
