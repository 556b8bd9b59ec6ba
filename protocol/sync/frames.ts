/**
 * Questions and answers of the sync protocol (SPEC "Sync"): one strict DAG-CBOR array a frame, at most 256 KiB.
 *
 *   ["hello", did, [own organisation's DID log]]     ["hello", did, [log]]
 *   ["range", bytes, organisation or null]           ["range", bytes]
 *   ["get", [digest, … 512]]                         ["have", [envelope, …]]   as many as fit
 *   ["put", [envelope, …]]                           ["took", [[verdict, code or null, what it waits for or null], …]]
 *   ["log", did, from seq]                           ["have", [envelope, …]]
 *   ["beat", [did, … 64], nonce or null]             ["have", [heartbeat, …]]
 *                                                    ["no", code]              to any
 */
import { decodeCbor, encodeCbor } from '../encoding/cbor.ts';
import {
  bytes,
  type Checked,
  integer,
  list,
  literal,
  nullable,
  oneOf,
  type Schema,
  textWhere,
  tuple,
} from '../encoding/schema.ts';
import { isMeshDid } from '../identity/did.ts';
import { type ErrorCode, isErrorCode, MeshError } from '../errors.ts';
import {
  BEATS_MAX,
  DID_SEQ_MAX,
  GET_IDS_MAX,
  NONCE_BYTES,
  RANGE_MESSAGE_BYTES_MAX,
  STATEMENT_BYTES_MAX,
  SYNC_FRAME_BYTES_MAX,
} from '../limits.ts';

const ENVELOPES_MAX = 1024; // the smallest statement takes more than 200 bytes: no frame holds more
const did = textWhere(isMeshDid, 'a DID like "did:mesh:bafyrei…"');
const someBytes = (max: number): Schema<Uint8Array> => ({
  check(value, field) {
    if (value instanceof Uint8Array && value.length <= max) return value;
    throw new MeshError('schema', `Cannot accept field "${field}": want at most ${max} bytes`, { field });
  },
});
const envelopes = list(someBytes(STATEMENT_BYTES_MAX), 0, ENVELOPES_MAX);
const code = textWhere(isErrorCode, 'a code of the closed list') as Schema<ErrorCode>;
const WAITS_FOR_TEXT_MAX = 76; // the longest origin of a log; a DID has 68
const waitsFor = textWhere((text) => text.length <= WAITS_FOR_TEXT_MAX, 'a DID, an id or an origin');

const QUESTIONS = {
  hello: tuple(literal('hello'), did, envelopes),
  range: tuple(literal('range'), someBytes(RANGE_MESSAGE_BYTES_MAX), nullable(did)),
  get: tuple(literal('get'), list(bytes(32), 1, GET_IDS_MAX)),
  put: tuple(literal('put'), envelopes),
  log: tuple(literal('log'), did, integer(0, DID_SEQ_MAX)),
  beat: tuple(literal('beat'), list(did, 1, BEATS_MAX), nullable(bytes(NONCE_BYTES))),
} as const;
const ANSWERS = {
  hello: tuple(literal('hello'), did, envelopes),
  range: tuple(literal('range'), someBytes(RANGE_MESSAGE_BYTES_MAX)),
  have: tuple(literal('have'), envelopes),
  took: tuple(
    literal('took'),
    list(tuple(oneOf('accept', 'ignore', 'reject', 'pending'), nullable(code), nullable(waitsFor)), 0, ENVELOPES_MAX),
  ),
  no: tuple(literal('no'), code),
} as const;

type Named<T> = { readonly [K in keyof T]: Checked<T[K]> }[keyof T];
export type Question = Named<typeof QUESTIONS>;
export type Answer = Named<typeof ANSWERS>;

/** Errors: too_large, malformed, noncanonical, schema. */
export const parseQuestion = (frame: Uint8Array): Question => parse(frame, QUESTIONS, 'question') as Question;
/** Errors: too_large, malformed, noncanonical, schema. */
export const parseAnswer = (frame: Uint8Array): Answer => parse(frame, ANSWERS, 'answer') as Answer;

export const encodeQuestion = (question: Question): Uint8Array => encodeCbor(question);
export const encodeAnswer = (answer: Answer): Uint8Array => encodeCbor(answer);

function parse(frame: Uint8Array, rows: Readonly<Record<string, Schema<unknown>>>, what: string): unknown {
  if (frame.length > SYNC_FRAME_BYTES_MAX) {
    throw new MeshError(
      'too_large',
      `Cannot read a sync ${what}: ${frame.length} bytes, want at most ${SYNC_FRAME_BYTES_MAX}`,
    );
  }
  const value = decodeCbor(frame);
  const name: unknown = Array.isArray(value) ? value[0] : undefined;
  const row = typeof name === 'string' && Object.hasOwn(rows, name) ? rows[name] : undefined;
  if (row === undefined)
    throw new MeshError('schema', `Cannot read a sync ${what}: want one of "${Object.keys(rows).join('", "')}"`);
  return row.check(value, what);
}
