/**
 * The Ed25519 rule by libsodium, for Node: the fastest here, and exactly the rule once the lengths are checked
 * (libsodium takes the first 64 bytes of a longer signature for valid, and throws on a shorter one).
 */
import sodium, { type SecureBuffer } from 'sodium-native';
import { multikeyOf } from './encoding/multikey.ts';
import { MeshError } from './errors.ts';
import { type IsSignatureValid, PUBLIC_KEY_BYTES, SIGNATURE_BYTES } from './signature.ts';

const asBuffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

export const isSignatureValidSodium: IsSignatureValid = (signature, message, rawKey) =>
  signature.length === SIGNATURE_BYTES &&
  rawKey.length === PUBLIC_KEY_BYTES &&
  sodium.crypto_sign_verify_detached(asBuffer(signature), asBuffer(message), asBuffer(rawKey));

/**
 * A private key in libsodium's guarded memory: kept out of swap and core dumps where the system allows it, between
 * inaccessible pages, zeroed when freed. It is a private field, so nothing that prints or serialises reaches it.
 */
export class SecretKey {
  /** multikey: ed01 ‖ 32 bytes */
  readonly publicKey: Uint8Array;
  /** seed ‖ raw public key, as libsodium wants it. */
  #secret: SecureBuffer | undefined;

  /** Errors: malformed, for a seed that is not 32 bytes. The caller wipes the seed. */
  constructor(seed: Uint8Array) {
    if (seed.length !== sodium.crypto_sign_SEEDBYTES) {
      throw new MeshError(
        'malformed',
        `Cannot use a seed of ${seed.length} bytes: want ${sodium.crypto_sign_SEEDBYTES}`,
      );
    }
    const secret = sodium.sodium_malloc(sodium.crypto_sign_SECRETKEYBYTES);
    const rawKey = Buffer.alloc(PUBLIC_KEY_BYTES);
    sodium.crypto_sign_seed_keypair(rawKey, secret, asBuffer(seed));
    sodium.sodium_mprotect_readonly(secret);
    this.#secret = secret;
    this.publicKey = multikeyOf(rawKey);
  }

  /** Errors: key_missing, after `wipe()`. */
  sign(message: Uint8Array): Uint8Array {
    const signature = new Uint8Array(SIGNATURE_BYTES);
    sodium.crypto_sign_detached(asBuffer(signature), asBuffer(message), this.#held());
    return signature;
  }

  /** A copy for the one who has to store it elsewhere, and who wipes it. Errors: key_missing, after `wipe()`. */
  exportSeed(): Uint8Array {
    return Uint8Array.from(this.#held().subarray(0, sodium.crypto_sign_SEEDBYTES));
  }

  wipe(): void {
    const secret = this.#secret;
    if (secret === undefined) return;
    this.#secret = undefined;
    sodium.sodium_mprotect_readwrite(secret);
    sodium.sodium_memzero(secret);
  }

  #held(): Buffer {
    if (this.#secret === undefined)
      throw new MeshError('key_missing', 'Cannot sign: the key was removed or its ring is closed');
    return this.#secret;
  }
}
