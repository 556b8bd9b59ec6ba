/** Keys that are kept outside the daemon: brought here to sign one operation, and made here for the next. */
import { createCipheriv, createDecipheriv, createSecretKey, type KeyObject, randomBytes, scrypt } from 'node:crypto';
import { mkdir, open } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { concatBytes, equalBytes, keyFiles, limits, MeshError, verifyPrivate } from '../protocol/index.ts';
import { createSigner, publicKeyText, type Signer } from '../sdk/index.ts';
import { factsOf, isErrno, readBounded } from './files.ts';
import type { World } from './world.ts';

const CIPHER = 'aes-256-gcm';

/** Opens a key file wherever it is. Errors: not_found, permissions, key_damaged, key_locked, too_large. */
export async function readKey(path: string, passphrase: string | undefined, uid: number): Promise<Signer> {
  const facts = await factsOf(path);
  if (facts !== undefined) verifyPrivate(facts, 'file', uid);
  const bytes = await readBounded(path, limits.KEY_FILE_BYTES_MAX);
  const file = keyFiles.parseKeyFile(bytes.toString('utf8'), path);
  bytes.fill(0);
  const seed = 'seed' in file ? file.seed : await unseal(file, passphrase, path);
  const signer = createSigner(seed);
  seed.fill(0);
  if (equalBytes(signer.publicKey, file.publicKey)) return signer;
  throw keyFiles.damaged(path, 'its private key is not the one of its public key');
}

async function unseal(file: keyFiles.SealedKeyFile, passphrase: string | undefined, path: string): Promise<Uint8Array> {
  if (passphrase === undefined) {
    throw new MeshError('key_locked', `Cannot open "${path}": it is encrypted, want its passphrase`, { path });
  }
  const key = await deriveKey(passphrase, file.kdf);
  const tagAt = file.box.length - keyFiles.TAG_BYTES;
  const decipher = createDecipheriv(CIPHER, key, file.nonce, { authTagLength: keyFiles.TAG_BYTES })
    .setAAD(keyFiles.sealedContext(file))
    .setAuthTag(file.box.subarray(tagAt));
  const seed = decipher.update(file.box.subarray(0, tagAt));
  try {
    decipher.final();
    return Uint8Array.from(seed);
  } catch (cause) {
    const why = 'the passphrase is wrong, or the file was changed';
    throw new MeshError('key_locked', `Cannot open "${path}": ${why}`, { path }, { cause });
  } finally {
    seed.fill(0);
  }
}

export interface NewKey {
  readonly publicKey: Uint8Array;
  readonly file: string;
}

/**
 * Makes a key in a new file, encrypted if there is a passphrase. Some letters of the public key are part of its name, so
 * that it never meets another. Errors: conflict, when the file is there all the same.
 */
export async function writeNewKey(directory: string, prefix: string, passphrase: string | undefined): Promise<NewKey> {
  const seed = randomBytes(keyFiles.SEED_BYTES);
  const signer = createSigner(seed);
  const { publicKey } = signer;
  const name = `${prefix}-${publicKeyText(signer).slice(-8)}`;
  const text =
    passphrase === undefined
      ? keyFiles.formatPlainKey({ name, publicKey, seed })
      : await seal({ name, publicKey, seed }, passphrase);
  seed.fill(0);
  const file = join(directory, `${name}${passphrase === undefined ? '.key' : '.sealed'}`);
  await mkdir(directory, { recursive: true, mode: 0o700 });
  try {
    await using handle = await open(file, 'wx', 0o600);
    await handle.writeFile(text);
    await handle.sync(); // without these keys what they are for cannot be done
  } catch (error) {
    if (!isErrno(error, 'EEXIST')) throw error;
    throw new MeshError('conflict', `Cannot write "${file}": it is there already`, { path: file });
  }
  return { publicKey, file };
}

async function seal(plain: keyFiles.PlainKeyFile, passphrase: string): Promise<string> {
  const kdf = { cost: limits.SCRYPT_COST, salt: randomBytes(keyFiles.SALT_BYTES) };
  const nonce = randomBytes(keyFiles.NONCE_BYTES);
  const cipher = createCipheriv(CIPHER, await deriveKey(passphrase, kdf), nonce, { authTagLength: keyFiles.TAG_BYTES });
  cipher.setAAD(keyFiles.sealedContext(plain));
  const box = concatBytes(cipher.update(plain.seed), cipher.final(), cipher.getAuthTag());
  return keyFiles.formatSealedKey({ ...plain, kdf, nonce, box });
}

function deriveKey(passphrase: string, { cost, salt }: keyFiles.Kdf): Promise<KeyObject> {
  const { r, p, keyBytes } = keyFiles.SCRYPT;
  // As the daemon derives it; OpenSSL counts a little more than scrypt's table.
  const options = { N: cost, r, p, maxmem: 2 * 128 * cost * r + 2 ** 20 };
  return new Promise((settle, fail) => {
    scrypt(passphrase.normalize('NFKC'), salt, keyBytes, options, (error, derived) => {
      if (error !== null) return fail(error);
      settle(createSecretKey(derived));
      derived.fill(0);
    });
  });
}

/** From a file, or from the environment as the daemon takes it; one line end at its end is not part of it. */
export async function passphraseOf(
  file: string | undefined,
  env: Readonly<Record<string, string | undefined>>,
): Promise<string | undefined> {
  const named = file ?? env['AGENTMESH_PASSPHRASE_FILE'];
  if (named === undefined) return env['AGENTMESH_PASSPHRASE'];
  const text = (await readBounded(named, limits.PASSPHRASE_BYTES_MAX + 2)).toString('utf8').replace(/\r?\n$/, '');
  if (text === '') throw new MeshError('config_invalid', `Cannot use the passphrase in "${named}": it is empty`);
  return text;
}

type Reader = Pick<World, 'cwd' | 'env' | 'uid'>;

/** Key files that a person names, all under one passphrase. Errors: those of readKey and passphraseOf. */
export async function readKeys(
  world: Reader,
  files: readonly string[],
  passphraseFile: string | undefined,
): Promise<Signer[]> {
  const passphrase = await passphraseIn(world, passphraseFile);
  const signers: Signer[] = [];
  for (const file of files) signers.push(await readKey(resolve(world.cwd, file), passphrase, world.uid)); // one scrypt at a time: 128 MiB each
  return signers;
}

export const passphraseIn = ({ cwd, env }: Reader, file: string | undefined): Promise<string | undefined> =>
  passphraseOf(file === undefined ? undefined : resolve(cwd, file), env);
