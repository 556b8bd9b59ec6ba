/**
 * Messages between agents (SPEC "Messages"). A message is signed by the key of the session that carries it, and means
 * nothing outside it: under another session it is signed anew, as another statement with the same `mid` and `seq`.
 */
import { equalBytes, toHex } from '../encoding/bytes.ts';
import { MeshError } from '../errors.ts';
import { SKEW_SECONDS } from '../limits.ts';
import type { IsSignatureValid } from '../signature.ts';
import {
  parseStatementOf,
  signStatement,
  type Statement,
  type StatementSigner,
  verifySignatures,
} from '../statement/statement.ts';
import type { Message } from './schema.ts';

/** What a message says, whatever session carries it. */
export type MessageFields = Omit<Message, 't' | 'by' | 'sid'>;

/** What a session's two ends know of every message in it. */
export interface MessageSession {
  /** 16 bytes. */
  readonly sid: Uint8Array;
  /** Who sends, and the multikey by which they signed the handshake. */
  readonly sender: string;
  readonly senderKey: Uint8Array;
  readonly recipient: string;
}

/** Errors: schema. */
export const createMessage = (
  fields: MessageFields,
  sid: Uint8Array,
  signer: StatementSigner,
): Statement<'message/v1'> => signStatement<'message/v1'>({ t: 'message/v1', ...fields, sid }, [signer]);

/**
 * What the other side of a session brought. Errors: too_large, malformed, noncanonical, schema, signers, conflict
 * (data.field is of another session, sender or recipient), bad_signature, too_early, expired.
 */
export function openMessage(
  envelope: Uint8Array,
  { sid, sender, senderKey, recipient }: MessageSession,
  isSignatureValid: IsSignatureValid,
  nowMs: number,
): Statement<'message/v1'> {
  const statement = parseStatementOf('message/v1', envelope);
  const { payload } = statement;
  verifySame('iss', payload.iss, sender);
  verifySame('aud', payload.aud, recipient);
  verifySame('sid', toHex(payload.sid), toHex(sid));
  if (!equalBytes(payload.by[0] as Uint8Array, senderKey))
    throw new MeshError('conflict', "Cannot accept a message: it is signed by another key than the session's", {
      field: 'by',
    });
  verifySignatures(statement, isSignatureValid);
  verifyInTime(payload, nowMs);
  return statement;
}

/** Errors: too_early, expired. */
export function verifyInTime({ iat, exp }: Pick<Message, 'iat' | 'exp'>, nowMs: number): void {
  if (iat * 1000 > nowMs + SKEW_SECONDS * 1000)
    throw new MeshError('too_early', 'Cannot accept a message: it is dated in the future', { at: timeOf(iat) });
  if (exp * 1000 <= nowMs)
    throw new MeshError('expired', `Cannot accept a message: it expired at "${timeOf(exp)}"`, { at: timeOf(exp) });
}

function verifySame(field: string, is: string, want: string): void {
  if (is === want) return;
  throw new MeshError('conflict', `Cannot accept a message: its "${field}" is "${is}", want "${want}"`, {
    field,
    is,
    want,
  });
}

const timeOf = (unixSeconds: number): string => new Date(unixSeconds * 1000).toISOString();
