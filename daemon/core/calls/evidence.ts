/**
 * What a log holds of a call, told to the other side of it and to nobody else (SPEC "Receipts", evidence): the entry and
 * the proof that it is in the log, so that whoever shows a receipt can show that both sides logged it.
 */
import {
  decodeJcs,
  encodeJcs,
  fromBase64url,
  isMeshError,
  Link,
  limits,
  MeshError,
  toBase64url,
} from '../../../protocol/index.ts';
import type { Handshakes } from '../handshake.ts';
import type { Session, Sessions } from '../sessions.ts';
import { ask, type AskComponents } from './ask.ts';
import type { AskHandler } from './node-calls.ts';
import type { AskEvidence, KeptReceipt, ReceiptEvidence, Receipts } from './receipts.ts';

/** Answers whoever asks for evidence: canonical JSON {entry, proof}, both base64url. */
export const evidenceAnswers =
  (receipts: Pick<Receipts, 'evidenceOf'>): AskHandler =>
  async ({ session, frame, messages, signal }) => {
    if (frame.id === undefined)
      throw new MeshError('schema', 'Cannot tell evidence: want the id of an order or receipt', { field: 'id' });
    const { entry, proof } = await receipts.evidenceOf(frame.id.text, session.did, signal);
    await messages.send({ f: 'told' }, encodeJcs({ entry: toBase64url(entry), proof: toBase64url(proof) }));
  };

export interface EvidenceComponents extends AskComponents {
  readonly sessions: Pick<Sessions, 'list' | 'end'>;
  /** For when no session is open: one that grants nothing is enough, since whoever took part in the call may ask. */
  readonly handshakes: Pick<Handshakes, 'shake'>;
}

/**
 * Asks the other side, in a session that this side began. Errors: as `ask`, and of sessions; malformed.
 */
export const evidenceBy =
  (components: EvidenceComponents): AskEvidence =>
  async (kept, signal) => {
    const open = components.sessions
      .list()
      .find(({ direction, as, did }) => direction === 'outbound' && as === kept.as && did === kept.did);
    if (open !== undefined) return askIn(components, open, kept, signal);
    const { as, did } = kept;
    const session = await components.handshakes.shake({ as, did, signal });
    try {
      return await askIn(components, session, kept, signal);
    } finally {
      components.sessions.end(session.sid, 'closed');
    }
  };

async function askIn(
  components: EvidenceComponents,
  session: Session,
  { order }: KeptReceipt,
  signal: AbortSignal,
): Promise<ReceiptEvidence> {
  const told = await ask(components, session, { what: 'evidence', id: Link.ofDigest(order.digest) }, signal);
  return parseEvidence(told);
}

const EVIDENCE_BYTES_MAX = 2 * (limits.LOG_ENTRY_BYTES_MAX + limits.PROOF_FILE_BYTES_MAX); // in base64url, with names

/** Errors: malformed. */
export function parseEvidence(bytes: Uint8Array): ReceiptEvidence {
  const value = decoded(bytes);
  const { entry, proof, ...others } =
    typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
  const [entryBytes, proofBytes] = [entry, proof].map((text) =>
    typeof text === 'string' ? fromBase64url(text) : undefined,
  );
  if (entryBytes === undefined || proofBytes === undefined || Object.keys(others).length > 0)
    throw new MeshError('malformed', 'Cannot read evidence: want {entry, proof}, both base64url');
  return { entry: entryBytes, proof: proofBytes };
}

function decoded(bytes: Uint8Array): unknown {
  try {
    return decodeJcs(bytes, EVIDENCE_BYTES_MAX);
  } catch (cause) {
    if (!isMeshError(cause)) throw cause;
    throw new MeshError('malformed', `Cannot read evidence: ${cause.message}`, {}, { cause });
  }
}
