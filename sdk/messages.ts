/** Messages between agents, as programs send and read them. */
import type { InboxMessageView, OutgoingMessageView } from '../protocol/control/index.ts';
import { limits, MeshError } from '../protocol/index.ts';
import { type Call, type CallOptions, isPassing, pause } from './calls.ts';
import { bytesOfText, textOfBytes } from './signer.ts';

/** Text, bytes, or whatever JSON can say. */
export type MessageInput = string | Uint8Array | object;

export interface SendMessageOptions extends CallOptions {
  /** From now; default a day, at most a week. What nobody took by then is over. */
  readonly expiresInSeconds?: number | undefined;
  /** Default: "text/plain; charset=utf-8", "application/octet-stream" or "application/json", by what it is. */
  readonly contentType?: string | undefined;
  /** Leaf of the chain to present; default: one that is held and grants `mesh:message`. */
  readonly grant?: string | undefined;
}

/** A message that the daemon keeps until it is delivered or over: see AgentMesh.messages.outbox. */
export interface SentMessage {
  readonly id: string;
  /** Rises with each message to the same recipient; not by one. */
  readonly seq: number;
  readonly state: OutgoingMessageView['state'];
}

/** It comes again, to this program or the next one, until it is acknowledged or expires. */
export interface ReceivedMessage extends Omit<InboxMessageView, 'body' | 'position'> {
  readonly body: Uint8Array;
  /** Errors: malformed (it is no UTF-8). */
  text(): string;
  /** Errors: malformed. */
  json(): unknown;
  /** It was dealt with. Again without effect. */
  ack(options?: CallOptions): Promise<void>;
}

export interface ReadMessagesOptions extends CallOptions {
  /** For the operator: whose; default the organisation's own. */
  readonly as?: string | undefined;
}

const CONTENT_TYPES = {
  text: 'text/plain; charset=utf-8',
  bytes: 'application/octet-stream',
  json: 'application/json',
} as const;

/** As the control API takes it. Errors: malformed, too_large. */
export function encodeMessage(input: MessageInput): { readonly body: string; readonly contentType: string } {
  const kind = typeof input === 'string' ? 'text' : input instanceof Uint8Array ? 'bytes' : 'json';
  const bytes = input instanceof Uint8Array ? input : new TextEncoder().encode(textOf(input));
  if (bytes.length === 0) throw new MeshError('malformed', 'Cannot send a message: it is empty');
  if (bytes.length > limits.MESSAGE_BODY_BYTES_MAX)
    throw new MeshError(
      'too_large',
      `Cannot send a message of ${bytes.length} bytes: want at most ${limits.MESSAGE_BODY_BYTES_MAX}`,
      { is: bytes.length, want: limits.MESSAGE_BODY_BYTES_MAX },
    );
  return { body: textOfBytes(bytes), contentType: CONTENT_TYPES[kind] };
}

/** Errors: malformed. */
function textOf(input: string | object): string {
  const text = typeof input === 'string' ? input : (JSON.stringify(input) as string | undefined);
  if (text === undefined) throw new MeshError('malformed', 'Cannot send a message: JSON cannot say what it is');
  return text;
}

/**
 * What is in the inbox, then what comes, in order, until the signal fires (`cancelled`) or the loop is left. A first
 * call without a daemon fails; later it is asked again.
 */
export async function* messagesOf(
  call: Call,
  { as, signal }: ReadMessagesOptions,
): AsyncGenerator<ReceivedMessage, void, undefined> {
  const own = as === undefined ? {} : { as };
  let after = '0';
  let waitMs = limits.EVENT_RETRY_MS;
  for (let isStarted = false; ; ) {
    try {
      const query = { ...own, after, wait: isStarted ? String(limits.INBOX_WAIT_SECONDS_MAX) : '0' };
      const { messages, next } = await call('inboxList', { query }, { signal });
      isStarted = true;
      waitMs = limits.EVENT_RETRY_MS;
      for (const message of messages) {
        after = message.position;
        yield received(call, own, message);
      }
      after = next;
    } catch (error) {
      if (!isStarted || !isPassing(error)) throw error;
      await pause(waitMs, signal);
      waitMs = Math.min(2 * waitMs, limits.EVENT_RETRY_MS_MAX);
    }
  }
}

function received(call: Call, own: { readonly as?: string }, view: InboxMessageView): ReceivedMessage {
  const { position: _, body, ...message } = view;
  const bytes = bytesOfText(body);
  const { id } = message;
  const text = (): string => {
    try {
      return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    } catch (cause) {
      throw new MeshError('malformed', `Cannot read message "${id}": it is no UTF-8`, { id }, { cause });
    }
  };
  return {
    ...message,
    body: bytes,
    text,
    json: () => {
      try {
        return JSON.parse(text()) as unknown;
      } catch (cause) {
        throw new MeshError('malformed', `Cannot read message "${id}": it is no JSON`, { id }, { cause });
      }
    },
    ack: async (options) => void (await call('inboxAck', { body: { ...own, ids: [id] } }, options)),
  };
}
