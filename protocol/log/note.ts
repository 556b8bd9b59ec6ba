/**
 * Signed notes (C2SP signed-note):
 *
 *   text, ending in a newline; it may hold empty lines
 *   (an empty line: the last of the note)
 *   — <key name> <base64(key ID ‖ signature)>      one or more such lines
 */
import { COSIGNATURE_CONTEXT } from '../domains.ts';
import { concatBytes, equalBytes } from '../encoding/bytes.ts';
import { MeshError } from '../errors.ts';
import { NOTE_BYTES_MAX, NOTE_SIGNATURES_MAX } from '../limits.ts';
import { type IsSignatureValid, SIGNATURE_BYTES } from '../signature.ts';
import { formatDecimal, fromBase64, malformed, readLines, toBase64, utf8 } from './text.ts';
import { isKeyName, type Vkey, WITNESS_KEY_TYPE } from './vkey.ts';

export interface NoteSignature {
  readonly name: string;
  /** 4 bytes */
  readonly keyId: Uint8Array;
  /** What follows the key ID. */
  readonly signature: Uint8Array;
  /** The base64 as it was written, so that a note is handed on as it came. */
  readonly encoded: string;
}

export interface Note {
  /** With its final newline. */
  readonly text: string;
  readonly signatures: readonly NoteSignature[];
}

const KEY_ID_BYTES = 4;
const TIME_BYTES = 8;
const LINE_START = '\u2014 ';

/** Errors: too_large, malformed. Says nothing about who signed. */
export function parseNote(bytes: Uint8Array): Note {
  const all = readLines(bytes, 'a note', NOTE_BYTES_MAX);
  const end = all.lastIndexOf('\n\n');
  if (end < 0) throw malformed('a note', 'no empty line separates text and signatures');
  return { text: all.slice(0, end + 1), signatures: parseSignatureLines(all.slice(end + 2), 'a note') };
}

/** One or more lines, as they end a note and as a witness answers. Errors: too_large, malformed. */
export function parseSignatureLines(text: string, what: string): NoteSignature[] {
  const lines = text.split('\n');
  if (lines.pop() !== '') throw malformed(what, 'the last signature line has no end');
  if (lines.length === 0) throw malformed(what, 'it has no signature lines');
  if (lines.length > NOTE_SIGNATURES_MAX)
    throw new MeshError(
      'too_large',
      `Cannot read ${what}: it has ${lines.length} signatures, want at most ${NOTE_SIGNATURES_MAX}`,
    );
  return lines.map((line) => parseSignatureLine(line, what));
}

function parseSignatureLine(line: string, what: string): NoteSignature {
  const parts = line.startsWith(LINE_START) ? line.slice(LINE_START.length).split(' ') : [];
  const [name = '', encoded = ''] = parts;
  if (parts.length !== 2 || !isKeyName(name)) throw malformed(what, `"${line}" is not "— <name> <base64>"`);
  const payload = fromBase64(encoded) ?? fromBase64(withoutSpareBits(encoded));
  if (payload === undefined || payload.length <= KEY_ID_BYTES)
    throw malformed(what, `the signature by "${name}" is not the base64 of a key ID and more`);
  return { name, keyId: payload.slice(0, KEY_ID_BYTES), signature: payload.slice(KEY_ID_BYTES), encoded };
}

const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';

/**
 * Base64 whose last letter has bits beyond the last byte set is read by Go, so whose line it is must not depend on
 * them: a stranger's is ignored as any other. It has a second spelling, though, and verifies under no key.
 */
function withoutSpareBits(encoded: string): string {
  const at = encoded.indexOf('=') - 1;
  const value = LETTERS.indexOf(encoded.charAt(at));
  if (at < 0 || value < 0) return encoded;
  const spareBits = encoded.endsWith('==') ? 4 : 2;
  return encoded.slice(0, at) + LETTERS.charAt((value >> spareBits) << spareBits) + encoded.slice(at + 1);
}

export const formatSignatureLines = (signatures: readonly NoteSignature[]): string =>
  signatures.map(({ name, encoded }) => `${LINE_START}${name} ${encoded}\n`).join('');

/** The bytes that were read, for a note that was. Errors: too_large, malformed, for what would not be read again. */
export function formatNote({ text, signatures }: Note): Uint8Array {
  const bytes = utf8(`${text}\n${formatSignatureLines(signatures)}`);
  const again = parseNote(bytes);
  if (again.text !== text) throw malformed('a note to write', 'its text does not end in one newline');
  return bytes;
}

/** What a log's key signs. */
export const noteMessage = (text: string): Uint8Array => utf8(text);

/** What a witness's key signs (C2SP tlog-cosignature, cosignature/v1): that it saw no larger tree of this log. */
export const cosignatureMessage = (text: string, timeSeconds: number): Uint8Array =>
  utf8(`${COSIGNATURE_CONTEXT}\ntime ${formatDecimal(timeSeconds, 'the time of a cosignature')}\n${text}`);

const signatureLine = ({ name, keyId }: Vkey, signature: Uint8Array): NoteSignature => ({
  name,
  keyId,
  signature,
  encoded: toBase64(concatBytes(keyId, signature)),
});

/** What follows the key ID in a line of such a key. */
export const signatureBytesOf = ({ type }: Vkey): number =>
  type === WITNESS_KEY_TYPE ? TIME_BYTES + SIGNATURE_BYTES : SIGNATURE_BYTES;

/** The line of a log's key over `noteMessage`. */
export const createSignatureLine = signatureLine;

/** The line of a witness's key over `cosignatureMessage`: the time in 8 bytes, then the signature. */
export function createCosignatureLine(vkey: Vkey, timeSeconds: number, signature: Uint8Array): NoteSignature {
  formatDecimal(timeSeconds, 'the time of a cosignature');
  const time = new Uint8Array(TIME_BYTES);
  new DataView(time.buffer).setBigUint64(0, BigInt(timeSeconds));
  return signatureLine(vkey, concatBytes(time, signature));
}

export interface VerifiedSignature {
  readonly vkey: Vkey;
  readonly line: NoteSignature;
  /** When a witness says that it cosigned; absent for a log's signature. */
  readonly timeSeconds?: number;
}

/**
 * The lines by these keys, each of which verifies. Lines by others are ignored. A line by one of the keys that does not
 * verify spoils the note: then whoever relayed it may have added the line, so it says nothing about the signers.
 * Errors: bad_signature, not_signed.
 */
export function verifyNote(
  note: Note,
  vkeys: readonly Vkey[],
  isSignatureValid: IsSignatureValid,
): VerifiedSignature[] {
  const verified: VerifiedSignature[] = [];
  for (const line of note.signatures) {
    const known = vkeys.filter(({ name, keyId }) => name === line.name && equalBytes(keyId, line.keyId));
    if (known.length === 0) continue;
    const found = known
      .map((vkey) => verifiedBy(vkey, line, note.text, isSignatureValid))
      .find((each) => each !== undefined);
    if (found === undefined)
      throw new MeshError(
        'bad_signature',
        `Cannot accept a note: the line by "${line.name}" does not verify under its key`,
      );
    verified.push(found);
  }
  if (verified.length === 0)
    throw new MeshError('not_signed', 'Cannot accept a note: no line is by a key known for it');
  return verified;
}

function verifiedBy(
  vkey: Vkey,
  line: NoteSignature,
  text: string,
  isSignatureValid: IsSignatureValid,
): VerifiedSignature | undefined {
  if (toBase64(concatBytes(line.keyId, line.signature)) !== line.encoded) return undefined;
  if (vkey.type !== WITNESS_KEY_TYPE)
    return isSignatureValid(line.signature, noteMessage(text), vkey.publicKey) ? { vkey, line } : undefined;
  if (line.signature.length !== TIME_BYTES + SIGNATURE_BYTES) return undefined;
  const { buffer, byteOffset } = line.signature;
  const time = new DataView(buffer, byteOffset).getBigUint64(0);
  if (time > BigInt(Number.MAX_SAFE_INTEGER)) return undefined;
  const timeSeconds = Number(time);
  return isSignatureValid(line.signature.subarray(TIME_BYTES), cosignatureMessage(text, timeSeconds), vkey.publicKey)
    ? { vkey, line, timeSeconds }
    : undefined;
}
