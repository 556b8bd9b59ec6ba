/** Key pairs from fixed seeds, for tests. */
import { getPublicKey, hashes, sign } from '@noble/ed25519';
import { sha512 } from '@noble/hashes/sha2.js';
import { multikeyOf } from '../../protocol/encoding/multikey.ts';
import type { StatementSigner } from '../../protocol/statement/statement.ts';

hashes.sha512 = sha512;

export interface KeyPair extends StatementSigner {
  readonly seed: Uint8Array;
}

export const keyPair = (seed: Uint8Array): KeyPair => ({
  seed,
  publicKey: multikeyOf(getPublicKey(seed)),
  sign: (message) => sign(message, seed),
});

const made = new Map<number, KeyPair>();

/** The key pair whose seed is 32 times this byte. */
export function keyOfByte(byte: number): KeyPair {
  const held = made.get(byte) ?? keyPair(new Uint8Array(32).fill(byte));
  made.set(byte, held);
  return held;
}
