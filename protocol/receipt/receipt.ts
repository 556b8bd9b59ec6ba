/**
 * Orders, takings and receipts of calls (SPEC "Receipts"):
 *
 *   caller ── call/v1 ──▶ callee      signed by the caller
 *   caller ◀── taken/v1 ── callee     signed by the callee, once it is in its log
 *   caller ◀── payload, sig ── callee  with the result; receipt/v1 with both keys in `by`
 *   caller ── sig ──▶ callee          now both hold the receipt
 *
 * A receipt holds commitments to request and result; their salts travel beside it, so that it tells nobody else what
 * was asked or answered.
 */
import { concatBytes, equalBytes, toHex } from '../encoding/bytes.ts';
import { decodeCbor } from '../encoding/cbor.ts';
import { digestOf, Link } from '../encoding/cid.ts';
import { multikeyText } from '../encoding/multikey.ts';
import { MeshError } from '../errors.ts';
import { CALL_SALT_BYTES, CALL_STATEMENT_BYTES_MAX } from '../limits.ts';
import { type IsSignatureValid, verifySignature } from '../signature.ts';
import {
  assembleStatement,
  encodePayload,
  isOfKind,
  signingInput,
  signStatement,
  type Statement,
  type StatementSigner,
} from '../statement/statement.ts';
import { type CallOutcome, type Order, type Receipt, receipt as receiptSchema } from './schema.ts';

export type OrderStatement = Statement<'call/v1'>;
export type TakingStatement = Statement<'taken/v1'>;
export type ReceiptStatement = Statement<'receipt/v1'>;

/** Who signs in a receipt as what. */
export type CallRole = 'caller' | 'callee';

/** SHA-256(salt ‖ bytes of the JSON-RPC message as they are on the wire). Errors: malformed. */
export function requestCommitment(salt: Uint8Array, message: Uint8Array): Uint8Array {
  if (salt.length !== CALL_SALT_BYTES)
    throw new MeshError('malformed', `Cannot commit with a salt of ${salt.length} bytes: want ${CALL_SALT_BYTES}`);
  return digestOf(concatBytes(salt, message));
}

export type OrderFields = Omit<Order, 't' | 'by'>;

/** Errors: schema, malformed. */
export const createOrder = (fields: OrderFields, signer: StatementSigner): OrderStatement =>
  signStatement<'call/v1'>({ ...fields, t: 'call/v1' }, [signer]);

/** Errors: schema, malformed. */
export const createTaking = (
  { digest, payload: { iss, aud } }: OrderStatement,
  { iat }: { readonly iat: number },
  signer: StatementSigner,
): TakingStatement =>
  signStatement<'taken/v1'>({ t: 'taken/v1', iat, iss: aud, aud: iss, call: Link.ofDigest(digest) }, [signer]);

/** What became of a call. */
export interface Happened {
  /** Commitment to the result; null: there is none. */
  readonly res: Uint8Array | null;
  readonly out: CallOutcome;
  /** By the clock of the callee; of a half receipt by that of its signer. */
  readonly startMs: number;
  readonly endMs: number;
  /** Unix seconds. */
  readonly iat: number;
}

const payloadOf = (
  { digest, payload: { iss, aud, sid, n, hs, srv, req } }: OrderStatement,
  { res, out, startMs, endMs, iat }: Happened,
): Omit<Receipt, 'by' | 'half'> => ({
  t: 'receipt/v1',
  iat,
  iss,
  aud,
  sid,
  n,
  hs,
  srv,
  call: Link.ofDigest(digest),
  req,
  res,
  out,
  start: startMs,
  end: endMs,
});

/** What both sign, with the caller's key from its order. Errors: schema, malformed. */
export const receiptPayload = (
  order: OrderStatement,
  { calleeKey, ...happened }: Happened & { readonly calleeKey: Uint8Array },
): Uint8Array => encodePayload<'receipt/v1'>({ ...payloadOf(order, happened), by: [callerKeyOf(order), calleeKey] });

/** One of the two signatures. */
export const signReceiptPayload = (payloadBytes: Uint8Array, signer: StatementSigner): Uint8Array =>
  signer.sign(signingInput('receipt/v1', payloadBytes));

/** Errors: too_large, malformed, noncanonical, schema. */
export function parseReceiptPayload(payloadBytes: Uint8Array): Receipt {
  if (payloadBytes.length > CALL_STATEMENT_BYTES_MAX)
    throw new MeshError(
      'too_large',
      `Cannot accept a receipt: ${payloadBytes.length} bytes, want at most ${CALL_STATEMENT_BYTES_MAX}`,
      { is: payloadBytes.length, want: CALL_STATEMENT_BYTES_MAX },
    );
  return receiptSchema.check(decodeCbor(payloadBytes), '');
}

/** What the callee gave beside the payload of a receipt. */
export interface ReceiptOffer {
  /** Of the callee. */
  readonly sig: Uint8Array;
  /** Multikey by which it signed the handshake. */
  readonly calleeKey: Uint8Array;
  /** The answer that came with it; absent: none did, and the receipt may not commit to one. */
  readonly body?: Uint8Array;
  readonly salt?: Uint8Array;
}

/**
 * What the caller checks before it signs: that the receipt is of its order and of the answer that it got, by the callee.
 * Errors: too_large, malformed, noncanonical, schema, bad_signature; conflict, naming the field that differs.
 */
export function verifyReceiptOffer(
  payloadBytes: Uint8Array,
  order: OrderStatement,
  { sig, calleeKey, body, salt }: ReceiptOffer,
  isSignatureValid: IsSignatureValid,
): Receipt {
  const payload = parseReceiptPayload(payloadBytes);
  if (payload.half === true) throw differs('half', 'true', 'a receipt of both sides');
  verifyOfOrder(payload, order);
  verifySame('by', hexOf(payload.by), hexOf([callerKeyOf(order), calleeKey]));
  const want = body === undefined ? null : requestCommitment(salt ?? new Uint8Array(), body);
  verifySame('res', textOf(payload.res), textOf(want));
  verifySignature(isSignatureValid, 'receipt', payloadBytes, sig, calleeKey);
  return payload;
}

/** That a receipt is of this order, in all that an order says. Errors: conflict, naming the field. */
export function verifyOfOrder(receipt: Receipt, { id, payload: order }: OrderStatement): void {
  verifySame('iss', receipt.iss, order.iss);
  verifySame('aud', receipt.aud, order.aud);
  verifySame('sid', toHex(receipt.sid), toHex(order.sid));
  verifySame('n', receipt.n, order.n);
  verifySame('hs', toHex(receipt.hs), toHex(order.hs));
  verifySame('srv', receipt.srv ?? '', order.srv);
  verifySame('req', textOf(receipt.req), toHex(order.req));
  verifySame('call', receipt.call?.text ?? '', id);
}

/** That a taking is of this order, by whom it was given to. Errors: conflict, naming the field. */
export function verifyTakingOf({ payload }: TakingStatement, { id, payload: order }: OrderStatement): void {
  verifySame('iss', payload.iss, order.aud);
  verifySame('aud', payload.aud, order.iss);
  verifySame('call', payload.call.text, id);
}

/** Signatures in the order of `by`. Errors: as parseStatement. */
export function assembleReceipt(payloadBytes: Uint8Array, signatures: readonly Uint8Array[]): ReceiptStatement {
  const statement = assembleStatement(payloadBytes, signatures);
  if (!isOfKind(statement, 'receipt/v1'))
    throw new MeshError('schema', `Cannot accept a "${statement.t}" here: want a "receipt/v1"`, {
      field: 't',
      is: statement.t,
      want: 'receipt/v1',
    });
  return statement;
}

/**
 * What one side says alone, where the other will not sign or cannot be reached.
 * Errors: conflict, for a caller with another key than its order's; schema, malformed.
 */
export function createHalfReceipt(
  order: OrderStatement,
  happened: Happened,
  role: CallRole,
  signer: StatementSigner,
): ReceiptStatement {
  const isCaller = equalBytes(signer.publicKey, callerKeyOf(order));
  if (isCaller !== (role === 'caller')) throw differs('by', multikeyText(signer.publicKey), `the key of the ${role}`);
  return signStatement<'receipt/v1'>({ ...payloadOf(order, happened), half: true }, [signer]);
}

/** Who signed a receipt of this order alone. */
export const halfRoleOf = (receipt: Receipt, order: OrderStatement): CallRole =>
  equalBytes(receipt.by[0] as Uint8Array, callerKeyOf(order)) ? 'caller' : 'callee';

export const callerKeyOf = ({ payload }: OrderStatement): Uint8Array => payload.by[0] as Uint8Array; // the schema wants one

const hexOf = (keys: readonly Uint8Array[]): string => keys.map(toHex).join(' ');
const textOf = (value: Uint8Array | null): string => (value === null ? 'null' : toHex(value));

function verifySame(field: string, is: string | number, want: string | number): void {
  if (is !== want) throw differs(field, is, want);
}

const differs = (field: string, is: string | number, want: string | number): MeshError =>
  new MeshError('conflict', `Cannot accept a receipt: its "${field}" is "${is}", want "${want}"`, { field, is, want });
