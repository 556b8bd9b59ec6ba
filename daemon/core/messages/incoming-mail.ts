/**
 * The recipient's end of mail between organisations (SPEC "Messages"). Each message is judged by itself: the session may
 * have lost its grounds since the last one.
 */
import type { CallFrameOf } from '../../../protocol/call/index.ts';
import {
  isMeshError,
  isRequestCovered,
  type IsSignatureValid,
  limits,
  type MessageFields,
  MeshError,
  openMessage,
  toHex,
} from '../../../protocol/index.ts';
import type { Clock, Logger } from '../../ports.ts';
import type { CallMessages } from '../calls/message-stream.ts';
import { afterWritten, type Settle } from '../log/write-ahead.ts';
import { type Session, type Sessions, sidOf } from '../sessions.ts';
import { TokenBuckets } from '../token-buckets.ts';
import type { Inbox, Incoming } from './inbox.ts';
import { MESSAGE_CAPABILITY } from './mail-line.ts';

export interface IncomingMailComponents {
  readonly inbox: Inbox;
  readonly sessions: Pick<Sessions, 'verify'>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly isSignatureValid: IsSignatureValid;
  readonly organisation: string;
  /** An own agent that may act, or the organisation. Errors: not_found, suspended, revoked, conflict. */
  readonly verifyRecipient: (did: string) => void;
  /** What the policies say. Errors: policy_denied, limit_exceeded, approval_pending, approval_denied, of the log. */
  readonly decide: (session: Session, message: MessageFields) => Promise<Settle>;
  /** A message was not taken. */
  readonly refused: (session: Session, problem: MeshError, mid: string | undefined) => void;
}

export interface IncomingMailOptions {
  /** Taken from one organisation; default MESSAGES_PER_SECOND, MESSAGES_BURST. */
  readonly perSecond?: number;
  readonly burst?: number;
}

export class IncomingMail {
  readonly #components: IncomingMailComponents;
  readonly #rates: TokenBuckets;
  /** Open streams, by organisation. */
  readonly #open = new Map<string, number>();
  #openCount = 0;

  constructor(components: IncomingMailComponents, options: IncomingMailOptions = {}) {
    this.#components = components;
    this.#rates = new TokenBuckets(components.clock, {
      perSecond: options.perSecond ?? limits.MESSAGES_PER_SECOND,
      burst: options.burst ?? limits.MESSAGES_BURST,
    });
  }

  /** One stream, until the sender ends it. Errors: caps_insufficient, busy, of the stream. */
  async serve(session: Session, messages: CallMessages, signal: AbortSignal): Promise<void> {
    const { organisation } = session;
    this.#verifyGranted(session);
    const open = this.#open.get(organisation) ?? 0;
    if (open >= limits.MAIL_STREAMS_AN_ORGANISATION_MAX || this.#openCount >= limits.MAIL_STREAMS_MAX)
      throw new MeshError('busy', 'Cannot take messages on another stream: as many as may are open');
    this.#open.set(organisation, open + 1);
    this.#openCount += 1;
    try {
      await messages.send({ f: 'opened' });
      await this.#serve(session, messages, signal);
    } finally {
      this.#openCount -= 1;
      const left = (this.#open.get(organisation) ?? 1) - 1;
      if (left === 0) this.#open.delete(organisation);
      else this.#open.set(organisation, left);
    }
  }

  async #serve(session: Session, messages: CallMessages, signal: AbortSignal): Promise<void> {
    for (;;) {
      const received = await messages.receive({ timeoutMs: limits.MAIL_IDLE_MS, signal });
      if (received === undefined) return;
      const { frame } = received;
      if (frame.f !== 'mail')
        throw new MeshError('schema', `Cannot take a frame "${frame.f}" here: want "mail"`, { field: 'f' });
      const problem = await this.#take(session, frame);
      await messages.send(
        problem === undefined
          ? { f: 'kept', seq: frame.seq }
          : { f: 'rej', code: problem.code, why: problem.message.slice(0, limits.CALL_WHY_TEXT_MAX) },
      );
    }
  }

  /** Undefined: it is kept, and on disk. */
  async #take(session: Session, frame: CallFrameOf<'mail'>): Promise<MeshError | undefined> {
    const about: { mid: string | undefined } = { mid: undefined };
    try {
      await this.#accept(session, frame, about);
      return undefined;
    } catch (error) {
      const { sid, did } = session;
      const problem = isMeshError(error)
        ? error
        : new MeshError('internal', 'Cannot take a message: a fault of this program');
      if (!isMeshError(error)) this.#components.log.error({ sid, did, error }, 'a message could not be taken');
      this.#components.refused(session, problem, about.mid);
      return problem;
    }
  }

  async #accept(session: Session, frame: CallFrameOf<'mail'>, about: { mid: string | undefined }): Promise<void> {
    const { inbox, sessions, clock, isSignatureValid, verifyRecipient, decide } = this.#components;
    const { as, did, organisation } = session;
    if (!this.#rates.take(organisation))
      throw new MeshError('busy', 'Cannot take another message: too many came just now; try again later');
    const statement = openMessage(
      frame.env,
      { sid: sidOf(session), sender: did, senderKey: session.agreed.peerKey, recipient: as },
      isSignatureValid,
      clock.nowMs(),
    );
    const { t: _, by, sid, ...message } = statement.payload;
    about.mid = toHex(message.mid);
    if (message.seq !== frame.seq)
      throw new MeshError('conflict', `Cannot take message ${message.seq}: its frame says ${frame.seq}`, {
        field: 'seq',
      });
    sessions.verify(session.sid);
    verifyRecipient(as);
    if (inbox.isKept(message)) return; // the answer was lost
    const signed = { sid, key: by[0] as Uint8Array, sig: statement.signatures[0] as Uint8Array };
    const incoming: Incoming = { message, organisation, signed };
    inbox.verifyRoom(incoming);
    await afterWritten(decide(session, message), () => inbox.take(incoming));
  }

  /** By a chain that this organisation itself began: what others grant is theirs. Errors: caps_insufficient. */
  #verifyGranted({ granted, agreed, did }: Session): void {
    const root = agreed.chain[0]?.payload.sub;
    if (isRequestCovered(MESSAGE_CAPABILITY, granted) && root === this.#components.organisation) return;
    throw new MeshError(
      'caps_insufficient',
      `Cannot take messages of "${did}": the session grants no "${MESSAGE_CAPABILITY.can}" of this organisation`,
      { want: MESSAGE_CAPABILITY.can },
    );
  }
}
