/** The sender's end of mail between organisations (SPEC "Messages"): `ask` on a stream of calls, under a session. */
import { openProof } from '../../../protocol/call/index.ts';
import {
  type Capability,
  createMessage,
  limits,
  MeshError,
  type MeshState,
  protocolId,
} from '../../../protocol/index.ts';
import type { Clock, Network, Random } from '../../ports.ts';
import type { CallerSessions, HeldSession } from '../calls/caller-sessions.ts';
import { chooseGrant, type GrantsComponents } from '../calls/grants.ts';
import { type CallMessages, createCallMessages } from '../calls/message-stream.ts';
import type { Resolver } from '../resolver.ts';
import { type Session, sidOf } from '../sessions.ts';
import { type MailLine, Refusal } from './delivery.ts';
import type { Content, Pair } from './outbox.ts';

/** What a recipient's organisation grants to those whose messages it takes. */
export const MESSAGE_CAPABILITY: Capability = { can: 'mesh:message' };

export interface MailLineComponents {
  readonly network: Network;
  readonly clock: Clock;
  readonly random: Random;
  readonly resolver: Pick<Resolver, 'resolve'>;
  readonly sessions: CallerSessions;
  readonly grants: GrantsComponents;
  readonly networkName: string;
}

/**
 * Errors: did_unknown; caps_insufficient (nobody granted it), those of a named grant; of the handshake; unreachable,
 * timeout, cancelled; what the other side answers.
 */
export async function openMailLine(
  components: MailLineComponents,
  { sender, recipient }: Pair,
  grant: string | null,
  signal: AbortSignal,
): Promise<MailLine> {
  const { state } = await components.resolver.resolve(recipient, { signal });
  const { organisation } = state;
  verifyNotRevoked(components.grants.state, recipient, organisation);
  const chosen = await chooseGrant(
    components.grants,
    {
      as: sender,
      did: recipient,
      organisation,
      about: MESSAGE_CAPABILITY.can,
      ...(grant !== null && { grant }),
    },
    signal,
  );
  const held = await components.sessions.acquire(
    { as: sender, did: recipient, grant: chosen.leaf, capabilities: [MESSAGE_CAPABILITY] },
    signal,
  );
  try {
    return new StreamLine(await openStream(components, held.session, signal), held);
  } catch (error) {
    held.release();
    throw error;
  }
}

/** A handshake with it would fail without saying so. Errors: revoked. */
function verifyNotRevoked(state: MeshState, did: string, organisation: string): void {
  if (!state.revocationsOf({ did }, [organisation]).some(({ payload }) => payload.iss === organisation)) return;
  throw new MeshError('revoked', `Cannot deliver to "${did}": its organisation revoked it`, { did });
}

async function openStream(
  { network, clock, random, networkName }: MailLineComponents,
  session: Session,
  signal: AbortSignal,
): Promise<CallMessages> {
  const connection = network.connections().find(({ id }) => id === session.connection);
  if (connection === undefined)
    throw new MeshError('unreachable', `Cannot reach "${session.did}": the connection of the session is gone`);
  const stream = await network.openStream(connection, 'call', { frameBytesMax: limits.CALL_FRAME_BYTES_MAX, signal });
  const messages = createCallMessages(stream, { clock });
  try {
    const sid = sidOf(session);
    const nonce = random.bytes(limits.CALL_NONCE_BYTES);
    const claim = { protocolId: protocolId(networkName, 'call'), hash: session.agreed.hash, sid, nonce } as const;
    const sig = openProof({ ...claim, frame: 'ask', subject: 'mail' }, session.agreed.signer);
    await messages.send({ f: 'ask', v: 1, sid, what: 'mail', non: nonce, sig });
    const answer = await messages.receive({ timeoutMs: limits.CALL_OPEN_MS, signal });
    if (answer?.frame.f === 'opened') return messages;
    const problem = answer === undefined ? ended() : problemIn(answer.frame);
    // The session ended there in this moment: a new one will do.
    throw problem.code === 'not_found' ? new MeshError('closed', problem.message, problem.data) : problem;
  } catch (error) {
    messages.abort('it was not opened');
    throw error;
  }
}

class StreamLine implements MailLine {
  readonly #messages: CallMessages;
  readonly #held: HeldSession;

  constructor(messages: CallMessages, held: HeldSession) {
    this.#messages = messages;
    this.#held = held;
  }

  async deliver({ message }: Content, signal: AbortSignal): Promise<void> {
    const { session } = this.#held;
    const { envelope } = createMessage(message, sidOf(session), session.agreed.signer);
    await this.#messages.send({ f: 'mail', seq: message.seq, env: envelope });
    const answer = await this.#messages.receive({ timeoutMs: limits.MAIL_ATTEMPT_MS, signal });
    if (answer === undefined) throw ended();
    const { frame } = answer;
    if (frame.f === 'kept' && frame.seq === message.seq) return;
    if (frame.f === 'rej') throw new Refusal(problemIn(frame));
    throw problemIn(frame);
  }

  close(): void {
    void this.#messages.close(); // never throws
    this.#held.release();
  }
}

type Frame = NonNullable<Awaited<ReturnType<CallMessages['receive']>>>['frame'];

/** What the other side said instead. */
const problemIn = (frame: Frame): MeshError =>
  frame.f === 'rej' || frame.f === 'end'
    ? new MeshError(frame.code, `Cannot deliver a message: the other side says "${frame.why}"`, { side: 'peer' })
    : new MeshError('malformed', `Cannot deliver a message: the other side answered "${frame.f}"`, { side: 'peer' });

const ended = (): MeshError => new MeshError('closed', 'Cannot deliver a message: the other side ended the stream');
