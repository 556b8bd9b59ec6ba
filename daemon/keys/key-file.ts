/**
 * One private key in one file: JSON, so that its owner sees what it is, and complete, so that it can be taken elsewhere.
 *
 *   <name>.key      { format, name, publicKey, seed }
 *   <name>.sealed   { format, name, publicKey, kdf: { name, N, r, p, salt }, nonce, box }
 *
 * box = AES-256-GCM(scrypt key, nonce, seed) ‖ 16-byte tag. It authenticates the name and the public key too, so a file
 * moved to another name does not open. Binary fields are base64url; publicKey is a multikey's text.
 */
import { createCipheriv, createDecipheriv, type KeyObject } from 'node:crypto';
import {
  concatBytes,
  encodeCbor,
  equalBytes,
  isMeshError,
  limits,
  MeshError,
  multikeyText,
  parseMultikeyText,
  SEALED_KEY_PREFIX,
} from '../../protocol/index.ts';
import { SecretKey } from '../../protocol/sodium.ts';
import { readPrivateFile } from '../store/private-file.ts';
import type { Passphrase } from './passphrase.ts';

const FORMAT = 'agentmesh-key/1';
export const SEED_BYTES = 32;
export const SALT_BYTES = 16;
export const NONCE_BYTES = 12; // GCM's own size; random, for far fewer than 2^32 files of one salt
const TAG_BYTES = 16;

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

export function sealKey({ name, publicKey, seed }: PlainKeyFile, key: KeyObject, kdf: Kdf, nonce: Uint8Array): string {
  const box = seal(key, nonce, seed, sealedContext(name, publicKey));
  return json({
    format: FORMAT,
    name,
    publicKey: multikeyText(publicKey),
    kdf: formatKdf(kdf),
    nonce: base64(nonce),
    box: base64(box),
  });
}

/** Errors: key_damaged. */
export function unsealKey({ name, publicKey, nonce, box }: SealedKeyFile, key: KeyObject, path: string): Uint8Array {
  const seed = unseal(key, nonce, box, sealedContext(name, publicKey));
  if (seed === undefined) throw damaged(path, 'it was changed, or belongs to another name or key');
  return seed;
}

const sealedContext = (name: string, publicKey: Uint8Array): Uint8Array =>
  concatBytes(SEALED_KEY_PREFIX, encodeCbor([name, publicKey]));

export function seal(key: KeyObject, nonce: Uint8Array, plain: Uint8Array, context: Uint8Array): Uint8Array {
  const cipher = createCipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES }).setAAD(context);
  return concatBytes(cipher.update(plain), cipher.final(), cipher.getAuthTag());
}

/** Undefined if the key, the context or a bit of the box is not the one of sealing. */
export function unseal(
  key: KeyObject,
  nonce: Uint8Array,
  box: Uint8Array,
  context: Uint8Array,
): Uint8Array | undefined {
  const body = box.subarray(0, -TAG_BYTES);
  const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES })
    .setAAD(context)
    .setAuthTag(box.subarray(-TAG_BYTES));
  const plain = decipher.update(body);
  try {
    decipher.final();
    return Uint8Array.from(plain);
  } catch {
    return undefined; // final() throws when the tag does not fit: that is the answer
  } finally {
    plain.fill(0);
  }
}

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
  if (typeof name !== 'string' || name.length > limits.KEY_NAME_TEXT_MAX) throw damaged(path, 'it has no name');
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

/**
 * Reads one key file from anywhere, such as a recovery key brought back from where it was kept.
 * Errors: key_missing, key_locked, key_damaged, permissions, too_large.
 */
export async function readKeyFile(path: string, passphrase?: Passphrase): Promise<PlainKeyFile> {
  const bytes = await readPrivateFile(path, limits.KEY_FILE_BYTES_MAX);
  if (bytes === undefined) throw new MeshError('key_missing', `Cannot open "${path}": no such file`, { path });
  const file = parseKeyFile(bytes.toString('utf8'), path);
  bytes.fill(0);
  if ('seed' in file) return verifyPair(file, path);
  if (passphrase === undefined)
    throw new MeshError('key_locked', `Cannot open "${path}": it is encrypted, want its passphrase`, { path });
  const key = await passphrase.deriveKey(file.kdf.salt, file.kdf.cost);
  const seed = unseal(key, file.nonce, file.box, sealedContext(file.name, file.publicKey));
  if (seed === undefined)
    throw new MeshError('key_locked', `Cannot open "${path}": the passphrase is wrong, or the file was changed`, {
      path,
    });
  return verifyPair({ name: file.name, publicKey: file.publicKey, seed }, path);
}

function verifyPair(file: PlainKeyFile, path: string): PlainKeyFile {
  openPair(file, path).wipe();
  return file;
}

/** The key in guarded memory; the seed is left to the caller. Errors: key_damaged, when it is not the public key's. */
export function openPair({ publicKey, seed }: PlainKeyFile, path: string): SecretKey {
  const secret = new SecretKey(seed);
  if (equalBytes(secret.publicKey, publicKey)) return secret;
  secret.wipe();
  throw damaged(path, 'its private key is not the one of its public key');
}

export const formatKdf = ({ cost, salt }: Kdf): object => ({ name: 'scrypt', N: cost, r: 8, p: 1, salt: base64(salt) });

/** Errors: key_damaged. */
export function parseKdf(value: unknown, path: string): Kdf {
  if (typeof value !== 'object' || value === null) throw damaged(path, 'its kdf is not an object');
  const fields = value as Record<string, unknown>;
  requireFields(fields, ['name', 'N', 'r', 'p', 'salt'], path);
  const { name, N: cost, r, p } = fields;
  if (name !== 'scrypt' || r !== 8 || p !== 1) throw damaged(path, 'its kdf is not scrypt with r = 8 and p = 1');
  if (typeof cost !== 'number' || !Number.isInteger(Math.log2(cost)) || cost < 2 || cost > limits.SCRYPT_COST_MAX) {
    throw damaged(path, `its scrypt N is ${JSON.stringify(cost)}, want a power of 2 up to ${limits.SCRYPT_COST_MAX}`);
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
  const parsed = typeof value === 'string' ? Buffer.from(value, 'base64url') : undefined;
  if (parsed === undefined || parsed.length !== bytes || base64(parsed) !== value)
    throw damaged(path, `its ${field} is not ${bytes} bytes in base64url`);
  return Uint8Array.from(parsed);
}

function parsePublicKey(value: unknown, path: string): Uint8Array {
  try {
    return parseMultikeyText(typeof value === 'string' ? value : '');
  } catch (cause) {
    if (isMeshError(cause)) throw damaged(path, 'its publicKey is not an Ed25519 multikey', cause);
    throw cause;
  }
}

export const base64 = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64url');
export const json = (value: object): string => `${JSON.stringify(value, null, 2)}\n`;
