/** Key files sealed and opened with Node's ciphers; their format is the protocol's, since they leave this machine. */
import { createCipheriv, createDecipheriv, type KeyObject } from 'node:crypto';
import { concatBytes, equalBytes, keyFiles, limits, MeshError } from '../../protocol/index.ts';
import { SecretKey } from '../../protocol/sodium.ts';
import { readPrivateFile } from '../store/private-file.ts';
import type { Passphrase } from './passphrase.ts';

export type Kdf = keyFiles.Kdf;
export type PlainKeyFile = keyFiles.PlainKeyFile;
export const {
  base64,
  damaged,
  formatKdf,
  formatPlainKey,
  json,
  NONCE_BYTES,
  parseBase64,
  parseKdf,
  parseKeyFile,
  parseObject,
  requireFields,
  SALT_BYTES,
  SEED_BYTES,
} = keyFiles;
const { formatSealedKey, sealedContext, TAG_BYTES } = keyFiles;

export function sealKey(file: PlainKeyFile, key: KeyObject, kdf: Kdf, nonce: Uint8Array): string {
  return formatSealedKey({ ...file, kdf, nonce, box: seal(key, nonce, file.seed, sealedContext(file)) });
}

/** Errors: key_damaged. */
export function unsealKey(file: keyFiles.SealedKeyFile, key: KeyObject, path: string): Uint8Array {
  const seed = unseal(key, file.nonce, file.box, sealedContext(file));
  if (seed === undefined) throw damaged(path, 'it was changed, or belongs to another name or key');
  return seed;
}

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
  const seed = unseal(key, file.nonce, file.box, sealedContext(file));
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
