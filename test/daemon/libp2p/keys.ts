import { createPrivateKey, createPublicKey } from 'node:crypto';
import { multikeyOf } from '../../../protocol/index.ts';

const PKCS8_HEAD = Buffer.from('302e020100300506032b657004220420', 'hex'); // RFC 8410: an Ed25519 private key of 32 bytes

/** The multikey of an RFC 8032 seed, by Node's own implementation. */
export function publicKeyOf(seed: Uint8Array): Uint8Array {
  const key = createPrivateKey({ key: Buffer.concat([PKCS8_HEAD, seed]), format: 'der', type: 'pkcs8' });
  return multikeyOf(new Uint8Array(createPublicKey(key).export({ format: 'der', type: 'spki' }).subarray(-32)));
}
