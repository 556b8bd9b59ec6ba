/**
 * The one envelope (SPEC "Envelope"):
 *
 *   envelope  82 ‖ bstr(payload) ‖ array(n) of bstr(64)      n = length of payload.by
 *   signed    "AgentMesh/" ‖ t ‖ 00 ‖ payload
 *   id        SHA-256(payload); text: CIDv1 dag-cbor sha2-256
 *
 * The payload names its signers, so signatures are checked before any look-up and re-signing cannot mint a second id.
 */
import { type Cbor, decodeCbor, encodeCbor } from '../encoding/cbor.ts';
import { cidText, digestOf } from '../encoding/cid.ts';
import { signedBytes, type SigningContext } from '../domains.ts';
import { isMeshError, MeshError } from '../errors.ts';
import { EPOCH_SECONDS, SIGNERS_MAX, STATEMENT_BYTES_MAX } from '../limits.ts';
import { verifyCheckpointPayload } from '../log/checkpoint-statement.ts';
import { verifyConviction } from '../log/conviction.ts';
import { type IsSignatureValid, SIGNATURE_BYTES, verifySignature } from '../signature.ts';
import { isKindName, type KindName, kindRow, type Payload, type PayloadOf } from './kinds.ts';

export interface Statement<K extends KindName = KindName> {
  /** CIDv1 text. */
  readonly id: string;
  readonly digest: Uint8Array;
  readonly t: K;
  readonly payload: PayloadOf<K>;
  readonly payloadBytes: Uint8Array;
  readonly signatures: readonly Uint8Array[];
  readonly envelope: Uint8Array;
  /** iat in whole minutes: with the id, its place in the reconciliation order. */
  readonly epoch: number;
}

/** Errors: too_large, malformed, noncanonical, unknown_kind, schema, signers. Signatures are not checked here. */
export function parseStatement(envelope: Uint8Array): Statement {
  if (envelope.length > STATEMENT_BYTES_MAX) throw tooLarge(envelope.length, STATEMENT_BYTES_MAX);
  const [payloadBytes, signatures] = openEnvelope(decodeCbor(envelope));
  const payload = decodeCbor(payloadBytes);
  const t = typeof payload === 'object' && payload !== null && 't' in payload ? payload.t : undefined;
  if (typeof t !== 'string')
    throw new MeshError('schema', 'Cannot accept a statement: its payload names no kind', { field: 't' });
  if (!isKindName(t))
    throw new MeshError('unknown_kind', `Cannot accept a statement of kind "${t}": not known here`, {
      field: 't',
      is: t,
    });
  const row = kindRow(t);
  if (envelope.length > row.bytesMax) throw tooLarge(envelope.length, row.bytesMax);
  return build(t, row.schema.check(payload, ''), payloadBytes, signatures, envelope);
}

export const isOfKind = <K extends KindName>(statement: Statement, t: K): statement is Statement<K> =>
  statement.t === t;

/** Parses and wants one kind. Errors: as parseStatement; schema for another kind. */
export function parseStatementOf<K extends KindName>(t: K, envelope: Uint8Array): Statement<K> {
  const statement = parseStatement(envelope);
  if (!isOfKind(statement, t))
    throw new MeshError('schema', `Cannot accept a "${statement.t}" here: want a "${t}"`, {
      field: 't',
      is: statement.t,
      want: t,
    });
  return statement;
}

function build(
  t: KindName,
  payload: Payload,
  payloadBytes: Uint8Array,
  signatures: readonly Uint8Array[],
  envelope: Uint8Array,
): Statement {
  if (payload.by.length !== signatures.length) {
    throw new MeshError(
      'signers',
      `Cannot accept a statement: ${signatures.length} signatures, want ${payload.by.length}`,
    );
  }
  const digest = digestOf(payloadBytes);
  return {
    id: cidText(digest),
    digest,
    t,
    payload,
    payloadBytes,
    signatures,
    envelope,
    epoch: Math.floor(payload.iat / EPOCH_SECONDS),
  };
}

function openEnvelope(outer: Cbor): [Uint8Array, readonly Uint8Array[]] {
  if (!Array.isArray(outer) || outer.length !== 2)
    throw new MeshError('malformed', 'Cannot read an envelope: want an array of payload and signatures');
  const [payload, signatures] = outer as readonly Cbor[];
  if (!(payload instanceof Uint8Array) || !Array.isArray(signatures))
    throw new MeshError('malformed', 'Cannot read an envelope: want payload bytes and a list of signatures');
  if (signatures.length > SIGNERS_MAX)
    throw new MeshError(
      'signers',
      `Cannot accept an envelope: ${signatures.length} signatures, want at most ${SIGNERS_MAX}`,
    );
  for (const signature of signatures as readonly Cbor[]) {
    if (!(signature instanceof Uint8Array) || signature.length !== SIGNATURE_BYTES) {
      throw new MeshError('malformed', `Cannot read an envelope: a signature that is not ${SIGNATURE_BYTES} bytes`);
    }
  }
  return [payload, signatures as readonly Uint8Array[]];
}

const tooLarge = (is: number, want: number): MeshError =>
  new MeshError('too_large', `Cannot accept a statement: ${is} bytes, want at most ${want}`, { is, want });

/**
 * Every signature, in the order of `by`; and of what nobody signs, because it proves itself, those inside.
 * Errors: bad_signature, bad_proof.
 */
export function verifySignatures(statement: Statement, isSignatureValid: IsSignatureValid): void {
  if (isOfKind(statement, 'checkpoint/v1')) return verifyCheckpointPayload(statement.payload, isSignatureValid);
  if (isOfKind(statement, 'proof/v1')) return verifyProof(statement, isSignatureValid);
  const context = contextOf(statement.t);
  statement.payload.by.forEach((key, i) => {
    verifySignature(isSignatureValid, context, statement.payloadBytes, statement.signatures[i] as Uint8Array, key);
  });
}

function verifyProof(statement: Statement<'proof/v1'>, isSignatureValid: IsSignatureValid): void {
  const binding = bindingInside(statement);
  verifySignatures(binding, isSignatureValid);
  verifyConviction(statement.payload, binding.payload, isSignatureValid);
}

/** The binding that a proof holds. Errors: bad_proof, if it holds none. */
export function bindingInside({ payload }: Statement<'proof/v1'>): Statement<'binding/v1'> {
  try {
    return parseStatementOf('binding/v1', payload.binding);
  } catch (cause) {
    if (!isMeshError(cause)) throw cause;
    throw new MeshError('bad_proof', 'Cannot accept a proof of a fork: it holds no binding', {}, { cause });
  }
}

function contextOf(t: KindName): SigningContext {
  const { context } = kindRow(t);
  if (context === undefined) throw new MeshError('signers', `Cannot sign a "${t}": it proves itself, nobody signs it`);
  return context;
}

/** The canonical bytes of a payload, which are what is signed and hashed. Errors: schema, malformed. */
export function encodePayload<K extends KindName>(payload: PayloadOf<K>): Uint8Array {
  const value = payload as unknown as Cbor;
  kindRow(payload.t).schema.check(value, '');
  return encodeCbor(value);
}

/** What each signer signs. Errors: signers, for what proves itself. */
export const signingInput = (t: KindName, payloadBytes: Uint8Array): Uint8Array =>
  signedBytes(contextOf(t), payloadBytes);

/** Puts signatures made elsewhere, in the order of `by`, around a payload. Errors: as parseStatement. */
export const assembleStatement = (payloadBytes: Uint8Array, signatures: readonly Uint8Array[]): Statement =>
  parseStatement(encodeCbor([payloadBytes, signatures]));

export interface StatementSigner {
  readonly publicKey: Uint8Array;
  sign(message: Uint8Array): Uint8Array;
}

/** A payload before its signers are known. */
export type Unsigned<P> = P extends unknown ? Omit<P, 'by'> : never;

/** Fills `by` from the signers, signs, and parses the result as any receiver would. Errors: schema, malformed. */
export function signStatement<K extends KindName>(
  payload: Unsigned<PayloadOf<K>> & { readonly t: K },
  signers: readonly StatementSigner[],
): Statement<K> {
  const complete = { ...payload, by: signers.map(({ publicKey }) => publicKey) } as unknown as PayloadOf<K>;
  const payloadBytes = encodePayload<K>(complete);
  return assembleStatement(
    payloadBytes,
    signers.map((signer) => signer.sign(signingInput(complete.t, payloadBytes))),
  ) as Statement<K>;
}
