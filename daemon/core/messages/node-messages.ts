/** Messages between agents, put together for one node: sent, delivered, taken, and read. */
import {
  type DidState,
  type IsSignatureValid,
  isMeshError,
  limits,
  type MessageFields,
  MeshError,
  type MeshState,
  toHex,
} from '../../../protocol/index.ts';
import type { ControlBackend } from '../../../protocol/control/index.ts';
import { commitmentOf } from '../../../protocol/log/index.ts';
import type { GateRequest } from '../../../protocol/policy/index.ts';
import type { Clock, Logger, Network, Random, Store } from '../../ports.ts';
import type { Agents } from '../agents.ts';
import { CallerSessions } from '../calls/caller-sessions.ts';
import type { AskHandler } from '../calls/node-calls.ts';
import { factsOf } from '../calls/session-facts.ts';
import type { Chains } from '../chains.ts';
import type { Acting, Governance } from '../governance/governance.ts';
import type { Handshakes } from '../handshake.ts';
import type { Details, Recorder } from '../log/recorder.ts';
import { afterWritten, problemOf, type Settle } from '../log/write-ahead.ts';
import type { Resolver } from '../resolver.ts';
import type { Session, Sessions } from '../sessions.ts';
import { Delivery, type MailLine, Refusal } from './delivery.ts';
import { type HeldMessage, Inbox, type Incoming, type InboxOptions } from './inbox.ts';
import { IncomingMail, type IncomingMailOptions } from './incoming-mail.ts';
import { openMailLine } from './mail-line.ts';
import { createMessagesBackend, type MessagesOperation } from './messages-backend.ts';
import { Outbox, type OutboxOptions, type Outgoing } from './outbox.ts';

export interface NodeMessagesComponents {
  readonly store: Store;
  readonly network: Network;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly isSignatureValid: IsSignatureValid;
  readonly state: MeshState;
  readonly recorder: Pick<Recorder, 'announce' | 'announceAs' | 'note' | 'settle' | 'verifyOpen'>;
  readonly governance: Pick<Governance, 'require'>;
  /** As of GovernanceComponents. */
  readonly acting: (did: string) => Acting;
  readonly organisation: string;
}

export interface NodeMessagesOptions {
  /** Name of the network, part of protocol ids. */
  readonly networkName: string;
  readonly outbox?: OutboxOptions;
  readonly inbox?: InboxOptions;
  readonly incoming?: IncomingMailOptions;
}

export interface NodeMessagesSurroundings {
  readonly agents: Agents;
  readonly sessions: Sessions;
  readonly handshakes: Pick<Handshakes, 'shake'>;
  readonly resolver: Pick<Resolver, 'resolve'>;
  readonly chains: Pick<Chains, 'judge' | 'freshen'>;
}

export interface Sending {
  readonly as: string;
  readonly to: string;
  readonly contentType: string;
  readonly body: Uint8Array;
  /** Default MESSAGE_SECONDS_DEFAULT. */
  readonly expiresInSeconds?: number | undefined;
  /** Leaf of the chain to present; default: one of those held is chosen. */
  readonly grant?: string | undefined;
}

export class NodeMessages {
  readonly #components: NodeMessagesComponents;
  readonly #options: NodeMessagesOptions;
  readonly outbox: Outbox;
  readonly inbox: Inbox;
  readonly operations: Pick<ControlBackend, MessagesOperation>;
  #parts: Parts | undefined;

  private constructor(
    components: NodeMessagesComponents,
    options: NodeMessagesOptions,
    { outbox, inbox }: { readonly outbox: Outbox; readonly inbox: Inbox },
  ) {
    this.#components = components;
    this.#options = options;
    this.outbox = outbox;
    this.inbox = inbox;
    const { organisation, acting } = components;
    this.operations = createMessagesBackend({
      outbox,
      inbox,
      organisation,
      acting,
      send: (sending) => this.send(sending),
    });
  }

  /** Errors: store_corrupt. */
  static async open(components: NodeMessagesComponents, options: NodeMessagesOptions): Promise<NodeMessages> {
    const { store, clock, log, recorder } = components;
    const outbox = await Outbox.open({ store, clock, log }, options.outbox);
    const inbox = await Inbox.open(
      {
        store,
        clock,
        log,
        ahead: (incoming) => announceReceived(recorder, incoming),
        expired: (held) => noteExpired(recorder, held),
      },
      options.inbox,
    );
    return new NodeMessages(components, options, { outbox, inbox });
  }

  /** Called once, before start. */
  attach({ agents, sessions, handshakes, resolver, chains }: NodeMessagesSurroundings): void {
    const { clock, network, random, log, isSignatureValid, state, organisation, recorder } = this.#components;
    const { networkName, incoming } = this.#options;
    const verifyRecipient = (did: string): void => {
      if (did !== organisation) agents.requireActive(agents.agent(did));
    };
    const lines = new CallerSessions({ clock, handshakes, sessions });
    const line = { network, clock, random, resolver, sessions: lines, grants: { state, chains, clock }, networkName };
    const delivery = new Delivery({
      outbox: this.outbox,
      clock,
      random,
      log,
      open: async (pair, grant, signal) =>
        this.#isOwn(pair.recipient) ? this.#ownLine(verifyRecipient) : openMailLine(line, pair, grant, signal),
      organisationOf: (did) => this.#organisationOf(did)?.organisation,
      settled: (message, intent) => settleSent(recorder, message, intent),
    });
    const incomingMail = new IncomingMail(
      {
        inbox: this.inbox,
        sessions,
        clock,
        log,
        isSignatureValid,
        organisation,
        verifyRecipient,
        decide: (session, message) => this.#decideIncoming(session, message),
        refused: (session, problem, mid) => noteRefused(recorder, session, problem, mid),
      },
      incoming,
    );
    this.#parts = { delivery, incomingMail, lines };
  }

  /** For NodeCalls.onAsk('mail'). */
  readonly serve: AskHandler = ({ session, messages, signal }) =>
    this.#attached().incomingMail.serve(session, messages, signal);

  /** Called once the log is open. */
  start(): void {
    this.inbox.start();
    this.#attached().delivery.start();
  }

  /** A peer of this organisation can be asked now. */
  organisationSeen(organisation: string): void {
    this.#parts?.delivery.organisationSeen(organisation);
  }

  /**
   * Puts a message into the outbox: decided, logged, and on disk when it resolves. What becomes of it the outbox says.
   * Errors: bad_request (to oneself), not_found, suspended, revoked, policy_denied and the others of a decision, full,
   * too_large, those of the log.
   */
  async send({ as, to, contentType, body, expiresInSeconds, grant }: Sending): Promise<Outgoing> {
    const { recorder, governance, acting, clock, random } = this.#components;
    recorder.verifyOpen();
    if (as === to)
      throw new MeshError('bad_request', `Cannot send a message to "${to}": it is the one that sends`, { field: 'to' });
    if (body.length > limits.MESSAGE_BODY_BYTES_MAX)
      throw new MeshError(
        'too_large',
        `Cannot send a message of ${body.length} bytes: want at most ${limits.MESSAGE_BODY_BYTES_MAX}`,
        { is: body.length, want: limits.MESSAGE_BODY_BYTES_MAX },
      );
    const agent = acting(as);
    const iat = Math.floor(clock.nowMs() / 1000);
    const message: Omit<MessageFields, 'seq'> = {
      iat,
      iss: as,
      aud: to,
      mid: random.bytes(limits.MESSAGE_ID_BYTES),
      exp: iat + (expiresInSeconds ?? limits.MESSAGE_SECONDS_DEFAULT),
      ct: contentType,
      slt: random.bytes(limits.LOG_SALT_BYTES),
      body,
    };
    const decided = governance.require(agent, requestOf('outbound', message), this.#peerFacts(to), `write to "${to}"`);
    const sent = await afterWritten(decided, () => this.#add(message, grant ?? null));
    this.#attached().delivery.wake({ sender: as, recipient: to });
    return sent;
  }

  async close(): Promise<void> {
    const { delivery, lines } = this.#parts ?? {};
    await delivery?.close();
    lines?.close();
    await this.inbox.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** The entry first; where the row cannot be written it says that nothing came of it. */
  async #add(message: Omit<MessageFields, 'seq'>, grant: string | null): Promise<Outgoing> {
    const { recorder } = this.#components;
    let settle: Settle = () => {};
    try {
      return await this.outbox.add({ message, grant }, async (numbered) => {
        const announced = await recorder.announceAs('message.sent', membersOf(numbered), {
          actor: message.iss,
          peer: message.aud,
          subject: toHex(message.mid),
          in: commitmentOf(message.slt, message.body),
        });
        settle = announced.settle;
        return announced.id;
      });
    } catch (error) {
      settle(problemOf(error));
      throw error;
    }
  }

  // Within one daemon

  #organisationOf(did: string): DidState | undefined {
    return this.#components.state.didState(did);
  }

  #isOwn(did: string): boolean {
    return this.#organisationOf(did)?.organisation === this.#components.organisation;
  }

  /** Nobody is granted anything here: it is one organisation, whose policies are asked for both. */
  #ownLine(verifyRecipient: (did: string) => void): MailLine {
    const { acting, governance, organisation } = this.#components;
    return {
      deliver: async ({ message }) => {
        try {
          verifyRecipient(message.aud);
          const sender = acting(message.iss);
          if (this.inbox.isKept(message)) return;
          const incoming: Incoming = { message, organisation, signed: null };
          this.inbox.verifyRoom(incoming);
          const own = this.#peerFacts(message.iss);
          const attempt = `take a message of "${message.iss}"`;
          const decided = governance.require(sender, requestOf('inbound', message), own, attempt);
          await afterWritten(decided, () => this.inbox.take(incoming));
        } catch (error) {
          throw isMeshError(error) ? new Refusal(error) : error;
        }
      },
      close: () => {},
    };
  }

  // Policies

  #decideIncoming(session: Session, message: MessageFields): Promise<Settle> {
    const { did, organisation, as } = session;
    const foreign = { did, organisation, actor: as };
    const request = requestOf('inbound', message);
    return this.#components.governance.require(foreign, request, factsOf(session), `take a message of "${did}"`);
  }

  #peerFacts(did: string): { readonly peer?: { readonly did: string; readonly organisation: string } } {
    const organisation = this.#organisationOf(did)?.organisation;
    return organisation === undefined ? {} : { peer: { did, organisation } }; // unknown: rules about it fail closed
  }

  #attached(): Parts {
    if (this.#parts === undefined)
      throw new MeshError('internal', 'Cannot handle messages: the node is not put together yet');
    return this.#parts;
  }
}

interface Parts {
  readonly delivery: Delivery;
  readonly incomingMail: IncomingMail;
  readonly lines: CallerSessions;
}

/** The same for the same content each time, so that an approval is for the message that is sent again. */
function requestOf(direction: 'inbound' | 'outbound', { aud, ct, body }: Omit<MessageFields, 'seq'>): GateRequest {
  const text = textOf(body);
  const facts = { direction, to: aud, contentType: ct, bytes: body.length, ...(text !== undefined && { text }) };
  return { action: 'message', facts };
}

/** Undefined: it is no text, so that rules about it fail closed. */
function textOf(body: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(body);
  } catch {
    return undefined; // bytes of another kind
  }
}

const timeOf = (seconds: number): string => new Date(seconds * 1000).toISOString();

const membersOf = ({ mid, seq, body, ct, exp }: MessageFields) => ({
  id: toHex(mid),
  seq,
  bytes: body.length,
  contentType: ct,
  until: timeOf(exp),
});

function announceReceived(recorder: Pick<Recorder, 'announce'>, { message, signed }: Incoming): Promise<Settle> {
  const details: Details = {
    actor: message.aud,
    peer: message.iss,
    subject: toHex(message.mid),
    in: commitmentOf(message.slt, message.body),
    ...(signed !== null && { session: toHex(signed.sid) }),
  };
  return recorder.announce('message.received', membersOf(message), details);
}

function noteExpired(recorder: Pick<Recorder, 'note'>, { mid, seq, recipient, sender }: HeldMessage): void {
  recorder.note('message.expired', { id: mid, seq }, { actor: recipient, peer: sender, subject: mid });
}

function noteRefused(
  recorder: Pick<Recorder, 'note'>,
  { sid, as, did, organisation }: Session,
  { code }: MeshError,
  mid: string | undefined,
): void {
  const members = { organisation, code, ...(mid !== undefined && { id: mid }) };
  recorder.note('message.refused', members, { actor: as, peer: did, session: sid });
}

function settleSent(
  recorder: Pick<Recorder, 'settle'>,
  { mid, sender, recipient, code }: Outgoing,
  intent: string,
): void {
  const problem = code === null ? undefined : new MeshError(code, 'Cannot deliver a message');
  recorder.settle(intent, { actor: sender, peer: recipient, subject: mid }, problem);
}
