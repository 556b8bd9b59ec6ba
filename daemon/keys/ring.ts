/**
 * The private keys in one directory, one file each (key-file.ts), beside `ring.json`, which says whether they are
 * encrypted and under which salt, and tells a right passphrase from a wrong one:
 *
 *   { format, kdf: null }   or   { format, kdf: { name, N, r, p, salt }, nonce, check }
 *
 * check = AES-256-GCM tag over the ring's context and salt: nothing is encrypted, only authenticated.
 */
import type { KeyObject } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { concatBytes, equalBytes, KEY_RING_PREFIX, limits, MeshError } from '../../protocol/index.ts';
import { SecretKey } from '../../protocol/sodium.ts';
import type { Keys, Logger, Random, Signer } from '../ports.ts';
import {
  isLeftover,
  makePrivateDirectory,
  readPrivateFile,
  removePrivateFile,
  writePrivateFile,
} from '../store/private-file.ts';
import {
  base64,
  damaged,
  formatKdf,
  formatPlainKey,
  json,
  type Kdf,
  NONCE_BYTES,
  openPair,
  parseBase64,
  parseKdf,
  parseKeyFile,
  parseObject,
  type PlainKeyFile,
  requireFields,
  SALT_BYTES,
  seal,
  sealKey,
  SEED_BYTES,
  unseal,
  unsealKey,
} from './key-file.ts';
import type { Passphrase } from './passphrase.ts';

const FORMAT = 'agentmesh-key-ring/1';
const RING_FILE = 'ring.json';
const PLAIN = '.key';
const SEALED = '.sealed';
const FILE_NAME_BYTES_MAX = 255 - '..0123456789abcdef.tmp'.length; // of the temporary file that it is written to first

export interface KeyRing extends Keys, AsyncDisposable {
  readonly directory: string;
  readonly isEncrypted: boolean;
  /** A new key, on disk when the promise resolves. Errors: conflict, malformed (the name). */
  create(name: string): Promise<Signer>;
  /** A key made elsewhere; the caller wipes the seed. Errors: conflict, malformed. */
  import(name: string, seed: Uint8Array): Promise<Signer>;
  /** Works until the key is removed or the ring closed. Errors: key_missing. */
  signer(name: string): Signer;
  has(name: string): boolean;
  /** In the order of their letters. */
  names(): string[];
  /** multikey. Errors: key_missing. */
  publicKey(name: string): Uint8Array;
  /** Its file is gone and its signers are dead when the promise resolves. Errors: key_missing. */
  remove(name: string): Promise<void>;
  /** The private key itself, for the one who has to carry it elsewhere and wipes it. Errors: key_missing. */
  exportSeed(name: string): Uint8Array;
  /** Wipes every key from memory. */
  close(): Promise<void>;
}

export interface KeyRingOptions {
  /** Made (0700) if it is not there. */
  readonly directory: string;
  /** Without one the keys are stored unencrypted, and the log says so at every opening. */
  readonly passphrase?: Passphrase | undefined;
  readonly random: Random;
  readonly log: Logger;
  /** scrypt N of a ring that is encrypted now; one that already is keeps its own. Default 2^17. */
  readonly scryptCost?: number | undefined;
}

/** Undefined: not encrypted. */
type Lock = { readonly kdf: Kdf; readonly key: KeyObject } | undefined;

/**
 * Opens every key of the directory. With a passphrase and an unencrypted ring, the ring is encrypted first.
 * Errors: key_locked (encrypted, and the passphrase is missing or wrong), key_damaged, permissions.
 */
export async function openKeyRing(options: KeyRingOptions): Promise<KeyRing> {
  const { directory, log } = options;
  await makePrivateDirectory(directory);
  const names = await readdir(directory);
  await Promise.all(names.filter(isLeftover).map((name) => removePrivateFile(join(directory, name))));
  const plain = names.filter((name) => name.endsWith(PLAIN));
  const sealed = names.filter((name) => name.endsWith(SEALED));

  let lock = await openLock(options, plain, sealed);
  if (lock === undefined) await clearHalfSealed(directory, plain, sealed);
  if (lock === undefined && options.passphrase !== undefined)
    lock = await encryptRing(options, options.passphrase, plain);
  else if (lock !== undefined) await clearHalfPlain(directory, plain, sealed, log);

  const keys = new Map<string, SecretKey>();
  const files = lock === undefined ? plain : (await readdir(directory)).filter((name) => name.endsWith(SEALED));
  for (const file of files) {
    const { name, secret } = await openKeyIn(directory, file, lock);
    keys.set(name, secret);
  }
  if (lock === undefined) {
    log.warn(
      { directory, keys: keys.size },
      'Private keys are stored UNENCRYPTED: whoever reads this disk or a backup of it can act in their name. ' +
        'Start with a passphrase (AGENTMESH_PASSPHRASE_FILE, --passphrase-file or a systemd credential) to encrypt them',
    );
  }
  return new OpenKeyRing(options, lock, keys);
}

class OpenKeyRing implements KeyRing {
  readonly directory: string;
  readonly isEncrypted: boolean;
  readonly #random: Random;
  readonly #lock: Lock;
  readonly #keys: Map<string, SecretKey>;
  /** Names whose files are being written. */
  readonly #reserved = new Set<string>();
  #isOpen = true;

  constructor({ directory, random }: KeyRingOptions, lock: Lock, keys: Map<string, SecretKey>) {
    this.directory = directory;
    this.isEncrypted = lock !== undefined;
    this.#random = random;
    this.#lock = lock;
    this.#keys = keys;
  }

  async create(name: string): Promise<Signer> {
    const seed = this.#random.bytes(SEED_BYTES);
    try {
      return await this.import(name, seed);
    } finally {
      seed.fill(0);
    }
  }

  async import(name: string, seed: Uint8Array): Promise<Signer> {
    verifyName(name);
    if (!this.#isOpen) throw new MeshError('closed', `Cannot add key "${name}": the key ring is closed`);
    if (this.has(name) || this.#reserved.has(name))
      throw new MeshError('conflict', `Cannot add key "${name}": one of this name exists`, { key: name });
    const secret = new SecretKey(seed);
    this.#reserved.add(name);
    try {
      await writeKey(this.directory, { name, publicKey: secret.publicKey, seed }, this.#lock, this.#random);
    } catch (cause) {
      secret.wipe();
      throw cause;
    } finally {
      this.#reserved.delete(name);
    }
    if (this.#isOpen) this.#keys.set(name, secret);
    else secret.wipe(); // closed meanwhile: the next opening finds it
    return new RingSigner(secret);
  }

  signer(name: string): Signer {
    return new RingSigner(this.#secret(name));
  }

  has(name: string): boolean {
    return this.#keys.has(name);
  }

  names(): string[] {
    return [...this.#keys.keys()].toSorted();
  }

  publicKey(name: string): Uint8Array {
    return this.#secret(name).publicKey.slice();
  }

  async remove(name: string): Promise<void> {
    const secret = this.#secret(name);
    await removePrivateFile(join(this.directory, fileNameOf(name, this.isEncrypted)));
    this.#keys.delete(name);
    secret.wipe();
  }

  exportSeed(name: string): Uint8Array {
    return this.#secret(name).exportSeed();
  }

  close(): Promise<void> {
    this.#isOpen = false;
    for (const secret of this.#keys.values()) secret.wipe();
    this.#keys.clear();
    return Promise.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #secret(name: string): SecretKey {
    const secret = this.#keys.get(name);
    if (secret === undefined)
      throw new MeshError('key_missing', `Cannot use key "${name}": it is not held in "${this.directory}"`, {
        key: name,
      });
    return secret;
  }
}

class RingSigner implements Signer {
  readonly publicKey: Uint8Array;
  readonly #secret: SecretKey;

  constructor(secret: SecretKey) {
    this.publicKey = secret.publicKey.slice();
    this.#secret = secret;
  }

  sign(message: Uint8Array): Uint8Array {
    return this.#secret.sign(message);
  }
}

async function openLock(
  { directory, passphrase, random, scryptCost }: KeyRingOptions,
  plain: readonly string[],
  sealed: readonly string[],
): Promise<Lock> {
  const path = join(directory, RING_FILE);
  const bytes = await readPrivateFile(path, limits.KEY_FILE_BYTES_MAX);
  if (bytes === undefined) {
    if (sealed.length > 0) throw damaged(path, 'it is missing beside encrypted keys, want it from a backup');
    const lock =
      passphrase === undefined || plain.length > 0 ? undefined : await newLock(passphrase, random, scryptCost);
    await writeRing(directory, lock, random);
    return lock;
  }
  const ring = parseRing(bytes.toString('utf8'), path);
  if (ring === undefined) return undefined;
  if (passphrase === undefined)
    throw new MeshError(
      'key_locked',
      `Cannot open the keys in "${directory}": they are encrypted, want their passphrase`,
      { path: directory },
    );
  const key = await passphrase.deriveKey(ring.kdf.salt, ring.kdf.cost);
  if (unseal(key, ring.nonce, ring.check, ringContext(ring.kdf)) === undefined) {
    throw new MeshError('key_locked', `Cannot open the keys in "${directory}": the passphrase is wrong`, {
      path: directory,
    });
  }
  return { kdf: ring.kdf, key };
}

async function newLock(
  passphrase: Passphrase,
  random: Random,
  cost: number = limits.SCRYPT_COST,
): Promise<NonNullable<Lock>> {
  const kdf = { cost, salt: random.bytes(SALT_BYTES) };
  return { kdf, key: await passphrase.deriveKey(kdf.salt, cost) };
}

const ringContext = ({ salt }: Kdf): Uint8Array => concatBytes(KEY_RING_PREFIX, salt);

function parseRing(text: string, path: string): { kdf: Kdf; nonce: Uint8Array; check: Uint8Array } | undefined {
  const value = parseObject(text, path);
  requireFields(value, value['kdf'] === null ? ['format', 'kdf'] : ['format', 'kdf', 'nonce', 'check'], path);
  if (value['format'] !== FORMAT)
    throw damaged(path, `its format is ${JSON.stringify(value['format'])}, want "${FORMAT}"`);
  if (value['kdf'] === null) return undefined;
  const nonce = parseBase64(value['nonce'], NONCE_BYTES, 'nonce', path);
  return { kdf: parseKdf(value['kdf'], path), nonce, check: parseBase64(value['check'], 16, 'check', path) };
}

async function writeRing(directory: string, lock: Lock, random: Random): Promise<void> {
  await writePrivateFile(join(directory, RING_FILE), formatRing(lock, random), { replace: true });
}

function formatRing(lock: Lock, random: Random): string {
  if (lock === undefined) return json({ format: FORMAT, kdf: null });
  const nonce = random.bytes(NONCE_BYTES);
  const check = seal(lock.key, nonce, new Uint8Array(), ringContext(lock.kdf));
  return json({ format: FORMAT, kdf: formatKdf(lock.kdf), nonce: base64(nonce), check: base64(check) });
}

/**
 * Writes every key a second time, encrypted; then ring.json, which decides; then the unencrypted files go. Stopped
 * before that decision the ring is unencrypted as before, stopped after it the next opening removes what is left.
 */
async function encryptRing(
  { directory, random, log, scryptCost }: KeyRingOptions,
  passphrase: Passphrase,
  plain: readonly string[],
): Promise<Lock> {
  const lock = await newLock(passphrase, random, scryptCost);
  for (const file of plain) {
    const { name, secret } = await openKeyIn(directory, file, undefined);
    const seed = secret.exportSeed();
    await writeKey(directory, { name, publicKey: secret.publicKey, seed }, lock, random);
    seed.fill(0);
    secret.wipe();
  }
  await writeRing(directory, lock, random);
  for (const file of plain) await removePrivateFile(join(directory, file));
  log.warn(
    { directory, keys: plain.length },
    'Private keys that were stored unencrypted are encrypted now. The disk and its backups may still hold the old files: rotate the keys if others could read those',
  );
  return lock;
}

/** An unencrypted ring holds encrypted files only where encrypting it was stopped half-way. */
async function clearHalfSealed(directory: string, plain: readonly string[], sealed: readonly string[]): Promise<void> {
  for (const file of sealed) {
    const path = join(directory, file);
    if (!plain.includes(file.slice(0, -SEALED.length) + PLAIN))
      throw damaged(path, 'it is encrypted, but its key ring is not: it comes from another one');
    await removePrivateFile(path);
  }
}

/** An encrypted ring holds unencrypted files only where removing them was stopped half-way. */
async function clearHalfPlain(
  directory: string,
  plain: readonly string[],
  sealed: readonly string[],
  log: Logger,
): Promise<void> {
  for (const file of plain) {
    const path = join(directory, file);
    if (!sealed.includes(file.slice(0, -PLAIN.length) + SEALED))
      throw damaged(path, 'it is not encrypted, but its key ring is: it comes from elsewhere');
    await removePrivateFile(path);
    log.warn({ path }, 'Removed the unencrypted file of a key that is encrypted now');
  }
}

async function openKeyIn(
  directory: string,
  fileName: string,
  lock: Lock,
): Promise<{ name: string; secret: SecretKey }> {
  const path = join(directory, fileName);
  const bytes = await readPrivateFile(path, limits.KEY_FILE_BYTES_MAX);
  if (bytes === undefined) throw damaged(path, 'it vanished while the keys were opened');
  const file = parseKeyFile(bytes.toString('utf8'), path);
  bytes.fill(0);
  if (fileNameOf(file.name, lock !== undefined) !== fileName)
    throw damaged(
      path,
      `it holds the key "${file.name}", whose file is "${fileNameOf(file.name, lock !== undefined)}"`,
    );
  const seed = seedOf(file, lock, path);
  try {
    return { name: file.name, secret: openPair({ name: file.name, publicKey: file.publicKey, seed }, path) };
  } finally {
    seed.fill(0);
  }
}

function seedOf(file: ReturnType<typeof parseKeyFile>, lock: Lock, path: string): Uint8Array {
  if ('seed' in file) {
    if (lock !== undefined) throw damaged(path, 'it is not encrypted, but its key ring is');
    return file.seed;
  }
  if (lock === undefined) throw damaged(path, 'it is encrypted, but its key ring is not');
  if (!equalBytes(file.kdf.salt, lock.kdf.salt) || file.kdf.cost !== lock.kdf.cost)
    throw damaged(path, 'it was encrypted in another key ring');
  return unsealKey(file, lock.key, path);
}

async function writeKey(directory: string, file: PlainKeyFile, lock: Lock, random: Random): Promise<void> {
  const text = lock === undefined ? formatPlainKey(file) : sealKey(file, lock.key, lock.kdf, random.bytes(NONCE_BYTES));
  await writePrivateFile(join(directory, fileNameOf(file.name, lock !== undefined)), text, { replace: false });
}

/** Errors: malformed. */
function verifyName(name: string): void {
  if (!/^[!-~]+$/.test(name) || name.length > limits.KEY_NAME_TEXT_MAX) {
    throw new MeshError(
      'malformed',
      `Cannot name a key ${JSON.stringify(name)}: want 1 to ${limits.KEY_NAME_TEXT_MAX} printable ASCII characters without spaces`,
    );
  }
  const bytes = fileNameOf(name, true).length;
  if (bytes > FILE_NAME_BYTES_MAX)
    throw new MeshError(
      'malformed',
      `Cannot name a key "${name}": its file's name has ${bytes} bytes, want <= ${FILE_NAME_BYTES_MAX}`,
    );
}

/**
 * Distinct for distinct names, also where the file system ignores case: what is not a lower-case letter, digit, "-" or
 * "_" is written as "%" and two hex digits. `agent/did:mesh:bafy…` is `agent%2fdid%3amesh%3abafy….key`.
 */
function fileNameOf(name: string, isEncrypted: boolean): string {
  const safe = name.replace(/[^a-z0-9_-]/g, (letter) => `%${letter.charCodeAt(0).toString(16).padStart(2, '0')}`);
  return safe + (isEncrypted ? SEALED : PLAIN);
}
