/**
 * One private key in one file: JSON, so that its owner sees what it is, and complete, so that it can be taken elsewhere.
 *
 *   <name>.key      { format, name, publicKey, seed }
 *   <name>.sealed   { format, name, publicKey, kdf: { name, N, r, p, salt }, nonce, box }
 *
 * box = AES-256-GCM(scrypt key, nonce, seed) ‖ 16-byte tag. It authenticates the name and the public key too, so a file
 * moved to another name does not open. Binary fields are base64url; publicKey is a multikey's text. Whoever reads such a
 * file brings the cipher: here is the format alone.
 */
import { base64url } from 'multiformats/bases/base64';
import { concatBytes } from '../encoding/bytes.ts';
import { encodeCbor } from '../encoding/cbor.ts';
import { multikeyText, parseMultikeyText } from '../encoding/multikey.ts';
import { SEALED_KEY_PREFIX } from '../domains.ts';
import { isMeshError, MeshError } from '../errors.ts';
import { KEY_NAME_TEXT_MAX, SCRYPT_COST_MAX, SCRYPT_COST_MIN } from '../limits.ts';

const FORMAT = 'agentmesh-key/1';
export const SEED_BYTES = 32;
export const SALT_BYTES = 16;
export const NONCE_BYTES = 12; // GCM's own size; random, for far fewer than 2^32 files of one salt
export const TAG_BYTES = 16;
/** scrypt's other parameters, and the bytes of the AES-256 key that it derives. */
export const SCRYPT = { r: 8, p: 1, keyBytes: 32 } as const;

export interface Kdf {
  /** scrypt N; r = 8, p = 1 */
  readonly cost: number;
  readonly salt: Uint8Array;
}

interface Described {
  readonly name: string;
  readonly publicKey: Uint8Array;
}
export interface PlainKeyFile extends Described {
  readonly seed: Uint8Array;
}
export interface SealedKeyFile extends Described {
  readonly kdf: Kdf;
  readonly nonce: Uint8Array;
  readonly box: Uint8Array;
}

export const damaged = (path: string, what: string, cause?: unknown): MeshError =>
  new MeshError('key_damaged', `Cannot open "${path}": ${what}`, { path }, cause === undefined ? {} : { cause });

export const formatPlainKey = ({ name, publicKey, seed }: PlainKeyFile): string =>
  json({ format: FORMAT, name, publicKey: multikeyText(publicKey), seed: base64(seed) });

export const formatSealedKey = ({ name, publicKey, kdf, nonce, box }: SealedKeyFile): string =>
  json({
    format: FORMAT,
    name,
    publicKey: multikeyText(publicKey),
    kdf: formatKdf(kdf),
    nonce: base64(nonce),
    box: base64(box),
  });

/** What the cipher authenticates beside the seed. */
export const sealedContext = ({ name, publicKey }: Described): Uint8Array =>
  concatBytes(SEALED_KEY_PREFIX, encodeCbor([name, publicKey]));

/** Errors: key_damaged. */
export function parseKeyFile(text: string, path: string): PlainKeyFile | SealedKeyFile {
  const value = parseObject(text, path);
  const isSealed = 'kdf' in value;
  requireFields(
    value,
    isSealed ? ['format', 'name', 'publicKey', 'kdf', 'nonce', 'box'] : ['format', 'name', 'publicKey', 'seed'],
    path,
  );
  const { format, name, publicKey } = value;
  if (format !== FORMAT) throw damaged(path, `its format is ${JSON.stringify(format)}, want "${FORMAT}"`);
  if (typeof name !== 'string' || name.length > KEY_NAME_TEXT_MAX) throw damaged(path, 'it has no name');
  const described = { name, publicKey: parsePublicKey(publicKey, path) };
  if (!isSealed) return { ...described, seed: parseBase64(value['seed'], SEED_BYTES, 'seed', path) };
  const nonce = parseBase64(value['nonce'], NONCE_BYTES, 'nonce', path);
  return {
    ...described,
    kdf: parseKdf(value['kdf'], path),
    nonce,
    box: parseBase64(value['box'], SEED_BYTES + TAG_BYTES, 'box', path),
  };
}

export const formatKdf = ({ cost, salt }: Kdf): object => ({
  name: 'scrypt',
  N: cost,
  r: SCRYPT.r,
  p: SCRYPT.p,
  salt: base64(salt),
});

/** Errors: key_damaged. */
export function parseKdf(value: unknown, path: string): Kdf {
  if (typeof value !== 'object' || value === null) throw damaged(path, 'its kdf is not an object');
  const fields = value as Record<string, unknown>;
  requireFields(fields, ['name', 'N', 'r', 'p', 'salt'], path);
  const { name, N: cost, r, p } = fields;
  if (name !== 'scrypt' || r !== SCRYPT.r || p !== SCRYPT.p)
    throw damaged(path, 'its kdf is not scrypt with r = 8 and p = 1');
  if (
    typeof cost !== 'number' ||
    !Number.isInteger(Math.log2(cost)) ||
    cost < SCRYPT_COST_MIN ||
    cost > SCRYPT_COST_MAX
  ) {
    throw damaged(
      path,
      `its scrypt N is ${JSON.stringify(cost)}, want a power of 2 from ${SCRYPT_COST_MIN} to ${SCRYPT_COST_MAX}`,
    );
  }
  return { cost, salt: parseBase64(fields['salt'], SALT_BYTES, 'salt', path) };
}

/** Errors: key_damaged. */
export function parseObject(text: string, path: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw damaged(path, 'it is not JSON'); // without the parser's message: it may quote the seed
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw damaged(path, 'it is not a JSON object');
  return value as Record<string, unknown>;
}

/** Errors: key_damaged. */
export function requireFields(value: Record<string, unknown>, fields: readonly string[], path: string): void {
  const found = Object.keys(value);
  if (found.length !== fields.length || !fields.every((field) => Object.hasOwn(value, field))) {
    throw damaged(path, `it has the fields "${found.join('", "')}", want "${fields.join('", "')}"`);
  }
}

/** Errors: key_damaged. */
export function parseBase64(value: unknown, bytes: number, field: string, path: string): Uint8Array {
  const parsed = typeof value === 'string' ? decodedBase64(value) : undefined;
  if (parsed === undefined || parsed.length !== bytes || base64(parsed) !== value)
    throw damaged(path, `its ${field} is not ${bytes} bytes in base64url`);
  return parsed;
}

function decodedBase64(text: string): Uint8Array | undefined {
  try {
    return Uint8Array.from(base64url.decode(`u${text}`));
  } catch {
    return undefined; // not base64url: the caller says so without quoting it
  }
}

function parsePublicKey(value: unknown, path: string): Uint8Array {
  try {
    return parseMultikeyText(typeof value === 'string' ? value : '');
  } catch (cause) {
    if (isMeshError(cause)) throw damaged(path, 'its publicKey is not an Ed25519 multikey', cause);
    throw cause;
  }
}

export const base64 = (bytes: Uint8Array): string => base64url.encode(bytes).slice(1); // less its multibase prefix
export const json = (value: object): string => `${JSON.stringify(value, null, 2)}\n`;
