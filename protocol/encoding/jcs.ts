/**
 * Canonical JSON (RFC 8785, JCS), narrowed: numbers are integers within ±(2^53 - 1), so that no reader rounds one (unless
 * a caller hashes what others wrote and asks for `numbers: 'any'`), and
 * texts are Unicode (no half of a surrogate pair), so that every value has UTF-8. Of such values the encoding is what
 * RFC 8785 says: members in the order of their names' UTF-16 code units, no white space, strings as ECMAScript's
 * JSON.stringify writes them.
 *
 * The decoder re-encodes what it read and compares. That refuses whatever could be spelt otherwise: white space, escapes,
 * order, `1.0`, `-0`, and a member that is named twice, so it needs no second look at the tokens (protocol/encoding/json.ts
 * takes JSON as people's programs write it and needs one).
 */
import { MeshError } from '../errors.ts';
import { JCS_DEPTH_MAX } from '../limits.ts';

export type Json = null | boolean | number | string | readonly Json[] | JsonObject;
export interface JsonObject {
  readonly [name: string]: Json;
}

const utf8Encoder = new TextEncoder();
const utf8Decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

export interface JcsOptions {
  /** `any`: every finite number, as RFC 8785 writes it. Default `integers`: others are refused. */
  readonly numbers?: 'integers' | 'any';
  /** Levels of nesting; default JCS_DEPTH_MAX. */
  readonly depthMax?: number;
}

/** Errors: malformed (what canonical JSON cannot hold), too_large (nested too deep). */
export const encodeJcs = (
  value: unknown,
  { numbers = 'integers', depthMax = JCS_DEPTH_MAX }: JcsOptions = {},
): Uint8Array =>
  utf8Encoder.encode(
    textOf(value, 0, numbers === 'integers' && depthMax === JCS_DEPTH_MAX ? NARROW : { numbers, depthMax }),
  );

const NARROW: Required<JcsOptions> = { numbers: 'integers', depthMax: JCS_DEPTH_MAX };

/** Errors: too_large (bytes or levels), malformed, noncanonical. */
export function decodeJcs(bytes: Uint8Array, bytesMax: number): Json {
  if (bytes.length > bytesMax)
    throw new MeshError('too_large', `Cannot read JSON: it has ${bytes.length} bytes, want at most ${bytesMax}`, {
      is: bytes.length,
      want: bytesMax,
    });
  const text = decodeUtf8(bytes);
  let value: Json;
  try {
    value = JSON.parse(text) as Json;
  } catch {
    throw malformed('read', 'it is not JSON'); // the engine's message quotes the text
  }
  if (textOf(value, 0, NARROW) !== text)
    throw new MeshError('noncanonical', 'Cannot accept JSON: it is not in the canonical form of RFC 8785');
  return value;
}

function decodeUtf8(bytes: Uint8Array): string {
  try {
    return utf8Decoder.decode(bytes);
  } catch (cause) {
    throw new MeshError('malformed', 'Cannot read JSON: it is not UTF-8', {}, { cause });
  }
}

function textOf(value: unknown, depth: number, options: Required<JcsOptions>): string {
  if (typeof value === 'string') return quoted(value);
  if (typeof value === 'object') return value === null ? 'null' : nestedText(value, depth + 1, options);
  if (typeof value === 'number') {
    if (!(options.numbers === 'any' ? Number.isFinite(value) : Number.isSafeInteger(value)))
      throw malformed(
        'write',
        `${value} is not ${options.numbers === 'any' ? 'finite' : 'an integer within ±(2^53 - 1)'}`,
      );
    return String(value); // as RFC 8785 wants it; of -0: "0"
  }
  if (typeof value === 'boolean') return value ? 'true' : 'false';
  throw malformed('write', `it holds a value of type "${typeof value}"`);
}

function nestedText(value: object, depth: number, options: Required<JcsOptions>): string {
  const { depthMax } = options;
  if (depth > depthMax)
    throw new MeshError('too_large', `Cannot accept JSON: it is nested deeper than ${depthMax} levels`, {
      want: depthMax,
    });
  if (Array.isArray(value)) return listText(value as readonly unknown[], depth, options);
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null)
    throw malformed('write', 'it holds an object that is no plain record');
  return recordText(value as Readonly<Record<string, unknown>>, depth, options);
}

function listText(list: readonly unknown[], depth: number, options: Required<JcsOptions>): string {
  let out = '[';
  for (let i = 0; i < list.length; i++) out += (i === 0 ? '' : ',') + textOf(list[i], depth, options); // a hole is undefined
  return `${out}]`;
}

function recordText(record: Readonly<Record<string, unknown>>, depth: number, options: Required<JcsOptions>): string {
  const names = Object.keys(record);
  if (!isSorted(names)) names.sort(); // without a comparator: by UTF-16 code units
  let out = '{';
  for (let i = 0; i < names.length; i++) {
    const name = names[i] as string;
    out += `${(i === 0 ? '' : ',') + quoted(name)}:${textOf(record[name], depth, options)}`;
  }
  return `${out}}`;
}

/** Most objects come from canonical text or were written in order. */
function isSorted(names: readonly string[]): boolean {
  for (let i = 1; i < names.length; i++) if ((names[i - 1] as string) > (names[i] as string)) return false;
  return true;
}

/** What JSON writes as it is. */
const PLAIN = /^[ !#-[\]-~]*$/;

function quoted(text: string): string {
  if (PLAIN.test(text)) return `"${text}"`; // several times as fast, and nearly every text
  if (!text.isWellFormed()) throw malformed('write', 'a text in it is not Unicode');
  return JSON.stringify(text);
}

const malformed = (attempt: 'read' | 'write', why: string): MeshError =>
  new MeshError('malformed', `Cannot ${attempt} canonical JSON: ${why}`);
