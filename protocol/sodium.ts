/**
 * The Ed25519 rule by libsodium, for Node: the fastest here, and exactly the rule once the lengths are checked
 * (libsodium takes the first 64 bytes of a longer signature for valid, and throws on a shorter one).
 */
import sodium from 'sodium-native';
import { type IsSignatureValid, PUBLIC_KEY_BYTES, SIGNATURE_BYTES } from './signature.ts';

const asBuffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

export const isSignatureValidSodium: IsSignatureValid = (signature, message, rawKey) =>
  signature.length === SIGNATURE_BYTES &&
  rawKey.length === PUBLIC_KEY_BYTES &&
  sodium.crypto_sign_verify_detached(asBuffer(signature), asBuffer(message), asBuffer(rawKey));
