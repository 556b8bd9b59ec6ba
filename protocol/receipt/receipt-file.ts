/**
 * A receipt with everything that an offline verifier needs, in one file (SPEC "Receipt files"): JSON, closed, bytes in
 * base64url. Nothing in it vouches for anything but by signatures; what it says beside them (whose log a proof is of,
 * which links lead to whose key) is only where to look.
 */
import { fromBase64url, toBase64url } from '../encoding/bytes.ts';
import type { Cbor } from '../encoding/cbor.ts';
import { scanJson } from '../encoding/json.ts';
import { list, literal, map, refine, type Schema, textWhere } from '../encoding/schema.ts';
import { MeshError } from '../errors.ts';
import type { Transcript } from '../iatp/transcript.ts';
import {
  CALL_SALT_BYTES,
  CALL_STATEMENT_BYTES_MAX,
  IATP_FRAME_BYTES_MAX,
  LOG_ENTRY_BYTES_MAX,
  PROOF_FILE_BYTES_MAX,
  RECEIPT_FILE_BYTES_MAX,
  RECEIPT_PROOFS_MAX,
  RECEIPT_STATEMENTS_MAX,
  STATEMENT_BYTES_MAX,
} from '../limits.ts';
import { base64url, message, peerId, statementId } from '../log/entry-fields.ts';
import { parseStatementOf } from '../statement/statement.ts';
import type { CallRole, OrderStatement, ReceiptStatement, TakingStatement } from './receipt.ts';

/** The links that lead to the key of a party. */
export interface ReceiptParty {
  /** Leaf of what it is: its root link, or its credential under that. Absent: an organisation, by a key of its DID. */
  readonly ident?: string;
  /** Leaf of what it was granted. */
  readonly grant?: string;
}

/** That a party's log holds what it kept of the call. */
export interface ReceiptProof {
  readonly role: CallRole;
  /** Bytes of the entry. */
  readonly entry: Uint8Array;
  /** C2SP tlog-proof. */
  readonly proof: Uint8Array;
}

export interface ReceiptFile {
  readonly receipt: ReceiptStatement;
  readonly order: OrderStatement;
  readonly taking?: TakingStatement;
  readonly salts: { readonly req?: Uint8Array; readonly res?: Uint8Array };
  readonly parties: { readonly caller: ReceiptParty; readonly callee: ReceiptParty };
  /** Envelopes: links, DID logs, revocations, heartbeats, bindings; in any order. */
  readonly statements: readonly Uint8Array[];
  /** What both sides signed when the session was agreed: in files of half receipts. */
  readonly handshake?: Transcript;
  readonly proofs: readonly ReceiptProof[];
}

const MAGIC = 'receipt/v1';
const DEPTH_MAX = 4;
const WHAT = 'a receipt file';

const bytesOf = (length: number): Schema<string> =>
  textWhere((value) => fromBase64url(value)?.length === length, `${length} bytes as base64url, without padding`);
const statement = base64url(CALL_STATEMENT_BYTES_MAX);
const party = map({}, { ident: statementId, grant: statementId });
const handshake = map({
  protocol: message,
  initiator: peerId,
  responder: peerId,
  channel: bytesOf(32),
  messages: list(base64url(IATP_FRAME_BYTES_MAX), 4, 4),
});
const role: Schema<CallRole> = textWhere(
  (value) => value === 'caller' || value === 'callee',
  '"caller" or "callee"',
) as Schema<CallRole>;
const proofs = refine(
  list(
    map({ role, entry: base64url(LOG_ENTRY_BYTES_MAX), proof: base64url(PROOF_FILE_BYTES_MAX) }),
    0,
    RECEIPT_PROOFS_MAX,
  ),
  ([first, second], fail) => {
    if (first?.role === second?.role && first !== undefined) fail('proofs', 'one of each side at most');
  },
);
const fileSchema = map(
  {
    agentmesh: literal(MAGIC),
    receipt: statement,
    order: statement,
    salts: map({}, { req: bytesOf(CALL_SALT_BYTES), res: bytesOf(CALL_SALT_BYTES) }),
    parties: map({ caller: party, callee: party }),
    statements: list(base64url(STATEMENT_BYTES_MAX), 0, RECEIPT_STATEMENTS_MAX),
    proofs,
  },
  { taking: statement, handshake },
);

/** Errors: too_large, malformed, noncanonical, schema, signers. Nothing is verified yet. */
export function parseReceiptFile(bytes: Uint8Array): ReceiptFile {
  const file = fileSchema.check(jsonOf(bytes), '');
  const { salts, taking, handshake: shown } = file;
  return {
    receipt: parseStatementOf('receipt/v1', decode(file.receipt)),
    order: parseStatementOf('call/v1', decode(file.order)),
    ...(taking !== undefined && { taking: parseStatementOf('taken/v1', decode(taking)) }),
    salts: {
      ...(salts.req !== undefined && { req: decode(salts.req) }),
      ...(salts.res !== undefined && { res: decode(salts.res) }),
    },
    parties: file.parties,
    statements: file.statements.map(decode),
    ...(shown !== undefined && {
      handshake: {
        channel: {
          protocolId: shown.protocol,
          initiator: shown.initiator,
          responder: shown.responder,
          channelBinding: decode(shown.channel),
        },
        messages: shown.messages.map(decode),
      },
    }),
    proofs: file.proofs.map((proof) => ({ role: proof.role, entry: decode(proof.entry), proof: decode(proof.proof) })),
  };
}

/** Errors: too_large, malformed, schema, for what would not be read again. */
export function formatReceiptFile(file: ReceiptFile): Uint8Array {
  const { receipt, order, taking, salts, parties, handshake: shown } = file;
  const value = {
    agentmesh: MAGIC,
    receipt: toBase64url(receipt.envelope),
    order: toBase64url(order.envelope),
    ...(taking !== undefined && { taking: toBase64url(taking.envelope) }),
    salts: {
      ...(salts.req !== undefined && { req: toBase64url(salts.req) }),
      ...(salts.res !== undefined && { res: toBase64url(salts.res) }),
    },
    parties,
    statements: file.statements.map(toBase64url),
    ...(shown !== undefined && {
      handshake: {
        protocol: shown.channel.protocolId,
        initiator: shown.channel.initiator,
        responder: shown.channel.responder,
        channel: toBase64url(shown.channel.channelBinding ?? new Uint8Array()),
        messages: shown.messages.map(toBase64url),
      },
    }),
    proofs: file.proofs.map((proof) => ({
      role: proof.role,
      entry: toBase64url(proof.entry),
      proof: toBase64url(proof.proof),
    })),
  };
  const bytes = new TextEncoder().encode(`${JSON.stringify(value, undefined, 2)}\n`);
  parseReceiptFile(bytes);
  return bytes;
}

const decode = (text: string): Uint8Array => fromBase64url(text) as Uint8Array; // one spelling, by the schema

function jsonOf(bytes: Uint8Array): Cbor {
  if (bytes.length > RECEIPT_FILE_BYTES_MAX)
    throw new MeshError(
      'too_large',
      `Cannot read ${WHAT}: ${bytes.length} bytes, want at most ${RECEIPT_FILE_BYTES_MAX}`,
      {
        is: bytes.length,
        want: RECEIPT_FILE_BYTES_MAX,
      },
    );
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    const { value, fault } = scanJson(text, DEPTH_MAX);
    if (fault !== undefined) throw new SyntaxError(fault.why);
    return value as Cbor; // the schema looks at each member
  } catch (cause) {
    if (!(cause instanceof SyntaxError || cause instanceof TypeError)) throw cause;
    throw new MeshError('malformed', `Cannot read ${WHAT}: it is no JSON, ${cause.message}`, {}, { cause });
  }
}
