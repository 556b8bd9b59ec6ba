/** What the line formats of C2SP share: strict UTF-8, standard base64 and decimals, each with one spelling only. */
import { fromBase64url, toBase64url } from '../encoding/bytes.ts';
import { MeshError } from '../errors.ts';
import { HASH_BYTES } from './tree.ts';

// Without ignoreBOM the decoder would drop a byte order mark, and the text would no longer be what was signed.
const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const encoder = new TextEncoder();

export const utf8 = (text: string): Uint8Array => encoder.encode(text);

/** Errors: too_large, malformed (also for control characters other than a line's end). */
export function readLines(bytes: Uint8Array, what: string, bytesMax: number): string {
  if (bytes.length > bytesMax)
    throw new MeshError('too_large', `Cannot read ${what}: it has ${bytes.length} bytes, want at most ${bytesMax}`);
  let text: string;
  try {
    text = strictUtf8.decode(bytes);
  } catch (cause) {
    throw new MeshError('malformed', `Cannot read ${what}: it is not UTF-8`, {}, { cause });
  }
  // oxlint-disable-next-line eslint/no-control-regex -- C2SP signed-note forbids exactly these
  if (/[\0-\x09\x0b-\x1f]/.test(text)) throw malformed(what, 'it holds a control character');
  return text;
}

export const malformed = (what: string, why: string): MeshError =>
  new MeshError('malformed', `Cannot read ${what}: ${why}`);

/** RFC 4648 section 4, padded. */
export function toBase64(bytes: Uint8Array): string {
  const text = toBase64url(bytes).replaceAll('-', '+').replaceAll('_', '/');
  return text.padEnd(Math.ceil(text.length / 4) * 4, '=');
}

/** Undefined unless the text is the one padded spelling of its bytes (unlike Buffer and atob, which take more). */
export function fromBase64(text: string): Uint8Array | undefined {
  if (text.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(text)) return undefined;
  return fromBase64url(text.replace(/=+$/, '').replaceAll('+', '-').replaceAll('/', '_'));
}

/** Errors: malformed, unless the line is the base64 of one hash. */
export function parseHashLine(line: string, what: string): Uint8Array {
  const hash = fromBase64(line);
  if (hash?.length !== HASH_BYTES) throw malformed(what, `"${line}" is not the base64 of ${HASH_BYTES} bytes`);
  return hash;
}

/** Errors: malformed; sizes and indices beyond 2^53 - 1 are refused, never rounded. */
export function parseDecimal(text: string, what: string): number {
  const value = /^(?:0|[1-9][0-9]{0,15})$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(value)) throw malformed(what, `"${text}" is not a decimal from 0 to 2^53 - 1`);
  return value;
}

/** Errors: malformed. */
export function parsePrefixedDecimal(line: string | undefined, prefix: string, what: string): number {
  if (line === undefined || !line.startsWith(prefix)) throw malformed(what, `want a line "${prefix}<n>"`);
  return parseDecimal(line.slice(prefix.length), what);
}

/** Errors: malformed, for what no parser would take: these come from programs, not from the network. */
export function formatDecimal(value: number, what: string): string {
  if (!Number.isSafeInteger(value) || value < 0)
    throw new MeshError('malformed', `Cannot write ${what}: it is ${value}, want an integer from 0 to 2^53 - 1`);
  return String(value);
}
