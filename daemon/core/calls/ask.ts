/** One question in a session, and its answer (SPEC "Calls", asking). */
import { type Asked, openProof } from '../../../protocol/call/index.ts';
import { isErrorCode, type Link, limits, MeshError } from '../../../protocol/index.ts';
import type { Clock, Network, Random } from '../../ports.ts';
import { type Session, sidOf } from '../sessions.ts';
import { createCallMessages } from './message-stream.ts';

export interface AskComponents {
  readonly network: Pick<Network, 'connections' | 'openStream'>;
  readonly clock: Clock;
  readonly random: Random;
  /** Of the protocol of calls, with the network's name. */
  readonly protocolId: string;
}

export interface Question {
  readonly what: Exclude<Asked, 'mail'>;
  readonly id?: Link | undefined;
}

/**
 * What the other side tells. Errors: unreachable, no_route, busy, timeout, cancelled, closed, malformed, and what it
 * refuses with, with data.side "peer".
 */
export async function ask(
  { network, clock, random, protocolId }: AskComponents,
  session: Session,
  { what, id }: Question,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const { did, agreed } = session;
  const connection = network.connections().find(({ id: each }) => each === session.connection);
  if (connection === undefined)
    throw new MeshError('unreachable', `Cannot ask "${did}": the connection of session "${session.sid}" is gone`);
  const stream = await network.openStream(connection, 'call', { frameBytesMax: limits.CALL_FRAME_BYTES_MAX, signal });
  const messages = createCallMessages(stream, { clock });
  try {
    const [sid, nonce] = [sidOf(session), random.bytes(limits.CALL_NONCE_BYTES)];
    const about = id === undefined ? {} : { id };
    const claim = { protocolId, hash: agreed.hash, sid, frame: 'ask', subject: what, nonce, ...about } as const;
    await messages.send({ f: 'ask', v: 1, sid, what, non: nonce, sig: openProof(claim, agreed.signer), ...about });
    const received = await messages.receive({ timeoutMs: limits.CALL_OPEN_MS, signal });
    const frame = received?.frame;
    if (frame?.f === 'told' && received?.body !== undefined) return received.body;
    if (frame?.f === 'rej')
      throw new MeshError(
        isErrorCode(frame.code) ? frame.code : 'closed',
        `Cannot ask "${did}" for its ${what}: ${frame.why}`,
        { side: 'peer' },
      );
    throw new MeshError('malformed', `Cannot ask "${did}" for its ${what}: it gave no answer`, { side: 'peer' });
  } finally {
    messages.abort('asked');
  }
}
