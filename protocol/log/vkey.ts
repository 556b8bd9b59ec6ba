/**
 * Verifier keys of signed notes (C2SP signed-note, "Verifier keys"):
 *
 *   <name>+<key ID, 8 lower-case hex digits>+<base64(type ‖ public key)>
 *   key ID = first 4 bytes of SHA-256(name ‖ 0x0A ‖ type ‖ public key)
 */
import { concatBytes, equalBytes, toHex } from '../encoding/bytes.ts';
import { digestOf } from '../encoding/cid.ts';
import { MeshError } from '../errors.ts';
import { LOG_NAME_BYTES_MAX } from '../limits.ts';
import { PUBLIC_KEY_BYTES } from '../signature.ts';
import { fromBase64, malformed, readLines, toBase64, utf8 } from './text.ts';

/** Ed25519 over the text: what a log signs with. */
export const LOG_KEY_TYPE = 0x01;
/** Ed25519 with a time, cosignature/v1: what a witness signs with. */
export const WITNESS_KEY_TYPE = 0x04;
export type VkeyType = typeof LOG_KEY_TYPE | typeof WITNESS_KEY_TYPE;

export interface Vkey {
  readonly name: string;
  readonly type: VkeyType;
  /** 32 raw bytes */
  readonly publicKey: Uint8Array;
  /** 4 bytes */
  readonly keyId: Uint8Array;
}

const KEY_ID_BYTES = 4;
const VKEY_BYTES_MAX = LOG_NAME_BYTES_MAX + 64; // 8 digits, 44 letters and two signs beside the name

/** Non-empty, no "+", nothing that Unicode counts as white space (`\s` of JavaScript is another set). */
export const isKeyName = (name: string): boolean =>
  name !== '' && name.isWellFormed() && !/[+\p{White_Space}]/u.test(name);

/** Errors: malformed, key_type. */
export function createVkey(name: string, type: VkeyType, publicKey: Uint8Array): Vkey {
  const what = `verifier key "${name}"`;
  // oxlint-disable-next-line eslint/no-control-regex -- C2SP signed-note forbids exactly these
  if (!isKeyName(name) || /[\0-\x1f]/.test(name))
    throw malformed(what, 'the name is empty or has a space, a "+" or a control character');
  if (utf8(name).length > LOG_NAME_BYTES_MAX) throw malformed(what, `the name has over ${LOG_NAME_BYTES_MAX} bytes`);
  if (type !== LOG_KEY_TYPE && type !== WITNESS_KEY_TYPE) throw unknownType(what, type);
  if (publicKey.length !== PUBLIC_KEY_BYTES) throw malformed(what, `want ${PUBLIC_KEY_BYTES} bytes of public key`);
  return { name, type, publicKey, keyId: keyIdOf(name, type, publicKey) };
}

const keyIdOf = (name: string, type: number, publicKey: Uint8Array): Uint8Array =>
  digestOf(concatBytes(utf8(`${name}\n`), Uint8Array.of(type), publicKey)).slice(0, KEY_ID_BYTES);

export const formatVkey = ({ name, type, publicKey, keyId }: Vkey): string =>
  `${name}+${toHex(keyId)}+${toBase64(concatBytes(Uint8Array.of(type), publicKey))}`;

/** Errors: malformed (also where the key ID is not that of the key), key_type for types other than 0x01 and 0x04. */
export function parseVkey(text: string): Vkey {
  readLines(utf8(text), 'a verifier key', VKEY_BYTES_MAX);
  const what = `verifier key "${text}"`;
  // The name holds no "+", base64 may: so the first two separate.
  const [, name = '', keyId = '', key = ''] = /^([^+]+)\+([0-9a-f]{8})\+(.+)$/s.exec(text) ?? [];
  const bytes = fromBase64(key);
  const type = bytes?.[0];
  if (bytes === undefined || type === undefined) throw malformed(what, 'want "<name>+<key ID>+<base64>"');
  if (type !== LOG_KEY_TYPE && type !== WITNESS_KEY_TYPE) throw unknownType(what, type);
  const vkey = createVkey(name, type, bytes.subarray(1));
  if (toHex(vkey.keyId) !== keyId) throw malformed(what, `its key ID is ${toHex(vkey.keyId)}`);
  return vkey;
}

export const isSameKey = (a: Vkey, b: Vkey): boolean => equalBytes(a.publicKey, b.publicKey);

const unknownType = (what: string, type: number): MeshError =>
  new MeshError(
    'key_type',
    `Cannot use ${what}: its signature type is ${type}, want ${LOG_KEY_TYPE} or ${WITNESS_KEY_TYPE}`,
  );
