import { concatBytes } from '../encoding/bytes.ts';

/**
 * What an agent signs under SIGNING_CONTEXTS.login to get a token: the daemon's DID (68 ASCII characters) ‖ 32-byte
 * nonce. The DID is that of the daemon's organisation: a signature coaxed out by one daemon opens no other.
 */
export const loginMessage = (daemonDid: string, nonce: Uint8Array): Uint8Array =>
  concatBytes(new TextEncoder().encode(daemonDid), nonce);
