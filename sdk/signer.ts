import { randomBytes } from 'node:crypto';
import { multikeyText, type StatementSigner } from '../protocol/index.ts';
import { SecretKey } from '../protocol/sodium.ts';

/** An Ed25519 key that signs and does not show itself; a hardware key can be one too. */
export interface Signer extends StatementSigner {
  /** multikey: ed01 ‖ 32 bytes */
  readonly publicKey: Uint8Array;
  sign(message: Uint8Array): Uint8Array;
}

/** From 32 secret bytes, which the caller keeps or wipes; without them a new key. Errors: malformed. */
export function createSigner(seed?: Uint8Array): SecretKey {
  if (seed !== undefined) return new SecretKey(seed);
  const fresh = randomBytes(32);
  const key = new SecretKey(fresh);
  fresh.fill(0);
  return key;
}

/** z6Mk…, as in DID documents and in this API. */
export const publicKeyText = ({ publicKey }: Signer): string => multikeyText(publicKey);

export const textOfBytes = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64url');
export const bytesOfText = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'base64url'));
