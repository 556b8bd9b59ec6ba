/**
 * Entries of the audit log (SPEC "Audit entries"): CloudEvents 1.0 in canonical JSON, signed by whoever acted. The
 * bytes are the entry: they are stored, hashed into the tree and handed out as they are.
 *
 *   signed   "AgentMesh/entry/v1" ‖ 00 ‖ canonical JSON of the entry without data.sig
 *   leaf     SHA-256(00 ‖ canonical JSON of the entry)
 */
import { concatBytes, fromBase64url, toBase64url } from '../encoding/bytes.ts';
import { digestOf } from '../encoding/cid.ts';
import { decodeJcs, encodeJcs, type Json, type JsonObject } from '../encoding/jcs.ts';
import { multikeyText, parseMultikeyText } from '../encoding/multikey.ts';
import { literal, map, textWhere } from '../encoding/schema.ts';
import type { Cbor } from '../encoding/cbor.ts';
import { signedBytes } from '../domains.ts';
import { MeshError } from '../errors.ts';
import { LOG_ENTRY_OWN_BYTES_MAX, LOG_SALT_BYTES } from '../limits.ts';
import { type IsSignatureValid, verifySignature } from '../signature.ts';
import { did, entryId, name, time } from './entry-fields.ts';
import {
  type CommonData,
  type EntryDataOf,
  type EntryTypeName,
  entryRow,
  type WireType,
  wireTypeOf,
} from './entry-types.ts';
import { parseUuid7 } from './uuid7.ts';

interface Envelope<T extends string> {
  readonly specversion: '1.0';
  readonly datacontenttype: 'application/json';
  /** A UUID of version 7. */
  readonly id: string;
  /** DID of the organisation whose log it is. */
  readonly source: string;
  /** RFC 3339, UTC, to the millisecond. */
  readonly time: string;
  readonly type: T;
  readonly subject?: string;
}
/** `T`: its type on the wire. What is parsed has common data; `isOfType` tells more. */
export type Entry<T extends string = string> = Envelope<T> & {
  readonly data: string extends T ? CommonData : EntryDataOf<T>;
};

export interface ParsedEntry {
  readonly entry: Entry;
  readonly bytes: Uint8Array;
  /** The 16 bytes of its UUID. */
  readonly id16: Uint8Array;
}

/** What is to be said: an entry without what follows from the format or from the key. */
export interface EntryFields<T extends string> {
  readonly id: string;
  readonly source: string;
  readonly timeMs: number;
  readonly type: T;
  readonly subject?: string;
  readonly data: Omit<EntryDataOf<T>, 'sig'>;
}

export interface EntrySigner {
  /** Multikey. */
  readonly publicKey: Uint8Array;
  /** An Ed25519 signature of these bytes. */
  sign(message: Uint8Array): Uint8Array;
}

export const isOfType = <N extends EntryTypeName>(entry: Entry, type: N): entry is Entry & Entry<WireType<N>> =>
  entry.type === wireTypeOf(type);

/** Errors: schema, malformed (what canonical JSON cannot hold), too_large. */
export function createEntry<const T extends string>(fields: EntryFields<T>, signer: EntrySigner): ParsedEntry {
  const { id, source, timeMs, type, subject, data } = fields;
  const unsigned = {
    specversion: '1.0',
    datacontenttype: 'application/json',
    id,
    source,
    time: timeText(timeMs),
    type,
    ...(subject === undefined ? {} : { subject }),
    data: withoutAbsent(data),
  };
  const sig = {
    kid: multikeyText(signer.publicKey),
    sig: toBase64url(signer.sign(signedBytes('entry', encodeJcs(unsigned)))),
  };
  const entry: unknown = { ...unsigned, data: { ...unsigned.data, sig } };
  verifySchema(entry);
  const bytes = encodeJcs(entry);
  verifySize(bytes);
  return { entry, bytes, id16: parseUuid7(id).bytes };
}

/** Errors: too_large, malformed, noncanonical, schema. The signature is not checked here. */
export function parseEntry(bytes: Uint8Array): ParsedEntry {
  const entry: unknown = decodeJcs(bytes, LOG_ENTRY_OWN_BYTES_MAX);
  verifySchema(entry);
  return { entry, bytes, id16: parseUuid7(entry.id).bytes };
}

/** That the key that it names signed it; whose key that is, EntrySigners knows. Errors: bad_signature. */
export function verifyEntry({ entry }: ParsedEntry, isSignatureValid: IsSignatureValid): void {
  const { sig, ...data } = entry.data;
  const signature = fromBase64url(sig.sig) ?? new Uint8Array();
  verifySignature(isSignatureValid, 'entry', encodeJcs({ ...entry, data }), signature, parseMultikeyText(sig.kid));
}

/**
 * What `in` and `out` hold: SHA-256(salt ‖ bytes), in base64url. Salt and bytes are kept outside the log; without the
 * salt nobody can tell or guess what was committed to, so erasing it erases them. Errors: malformed.
 */
export function commitmentOf(salt: Uint8Array, bytes: Uint8Array): string {
  if (salt.length !== LOG_SALT_BYTES)
    throw new MeshError('malformed', `Cannot commit with a salt of ${salt.length} bytes: want ${LOG_SALT_BYTES}`);
  return toBase64url(digestOf(concatBytes(salt, bytes)));
}

const envelope = map(
  {
    specversion: literal('1.0'),
    datacontenttype: literal('application/json'),
    id: entryId,
    source: did,
    time,
    type: textWhere((type) => entryRow(type) !== undefined, 'a type of AgentMesh, or a reverse domain name and a word'),
    data: { check: (value: Cbor | undefined) => value as unknown },
  },
  { subject: name },
);

function verifySchema(value: unknown): asserts value is Entry {
  const { type, data } = envelope.check(value as Cbor, '');
  entryRow(type)?.data.check(data as Cbor, 'data');
}

function verifySize({ length }: Uint8Array): void {
  if (length > LOG_ENTRY_OWN_BYTES_MAX)
    throw new MeshError(
      'too_large',
      `Cannot accept an entry: ${length} bytes, want at most ${LOG_ENTRY_OWN_BYTES_MAX}`,
      {
        is: length,
        want: LOG_ENTRY_OWN_BYTES_MAX,
      },
    );
}

/** Errors: schema. */
function timeText(timeMs: number): string {
  const date = new Date(timeMs);
  if (Number.isNaN(date.getTime()))
    throw new MeshError('schema', `Cannot write an entry: its time is ${timeMs} ms`, { field: 'time' });
  return date.toISOString();
}

/** Members that are undefined are absent; what lies deeper is the caller's. */
function withoutAbsent(data: object): JsonObject {
  return Object.fromEntries(Object.entries(data).filter(([, value]) => value !== undefined)) as Record<string, Json>;
}
