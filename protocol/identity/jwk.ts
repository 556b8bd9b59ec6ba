/** Ed25519 keys as JSON Web Keys (RFC 8037) and back. The private part is written only by the function that says so. */
import { Point } from '@noble/ed25519';
import { sha512 } from '@noble/hashes/sha2.js';
import { base64url } from 'multiformats/bases/base64';
import { equalBytes } from '../encoding/bytes.ts';
import { multikeyOf, multikeyText, rawKeyOf } from '../encoding/multikey.ts';
import { MeshError } from '../errors.ts';

export interface PublicJwk {
  readonly kty: 'OKP';
  readonly crv: 'Ed25519';
  /** base64url of the 32 raw bytes, without padding. */
  readonly x: string;
  readonly kid: string;
  readonly use: 'sig';
}

export interface PrivateJwk extends PublicJwk {
  /** base64url of the 32-byte seed. */
  readonly d: string;
}

const KEY_BYTES = 32;
const encode = (bytes: Uint8Array): string => base64url.encode(bytes).slice(1); // less its multibase prefix "u"

/** `kid` is the key's URL in the DID's document, or the key's own text where no DID is named. */
export const publicJwk = (multikey: Uint8Array, did?: string): PublicJwk => ({
  kty: 'OKP',
  crv: 'Ed25519',
  x: encode(rawKeyOf(multikey)),
  kid: did === undefined ? multikeyText(multikey) : `${did}#${multikeyText(multikey)}`,
  use: 'sig',
});

/** With the private part: for exports that ask for it. Errors: malformed, for a seed that is not 32 bytes. */
export function privateJwk(seed: Uint8Array, did?: string): PrivateJwk {
  if (seed.length !== KEY_BYTES)
    throw new MeshError('malformed', `Cannot export a seed of ${seed.length} bytes: want ${KEY_BYTES}`);
  return { ...publicJwk(publicKeyOf(seed), did), d: encode(seed) };
}

/**
 * The multikey of a public Ed25519 JWK; members that this does not know are ignored (RFC 7517 section 4).
 * Errors: malformed, also for a private key, which has no business where a public one is wanted.
 */
export function parsePublicJwk(jwk: unknown): Uint8Array {
  const members = membersOf(jwk);
  if (members.d !== undefined)
    throw new MeshError('malformed', 'Cannot read a JWK: it holds a private key ("d"), want a public one', {
      field: 'd',
    });
  return multikeyOf(bytesOf(members, 'x'));
}

/** Errors: malformed, also when the public part is not that of the private one. */
export function parsePrivateJwk(jwk: unknown): { readonly publicKey: Uint8Array; readonly seed: Uint8Array } {
  const members = membersOf(jwk);
  const seed = bytesOf(members, 'd');
  const publicKey = publicKeyOf(seed);
  if (!equalBytes(bytesOf(members, 'x'), rawKeyOf(publicKey))) {
    throw new MeshError('malformed', 'Cannot read a JWK: "x" is not the public key of "d"', { field: 'x' });
  }
  return { publicKey, seed };
}

function membersOf(jwk: unknown): Readonly<Record<string, unknown>> {
  if (typeof jwk !== 'object' || jwk === null || Array.isArray(jwk))
    throw new MeshError('malformed', 'Cannot read a JWK: want an object');
  const members = jwk as Readonly<Record<string, unknown>>;
  for (const [field, want] of [
    ['kty', 'OKP'],
    ['crv', 'Ed25519'],
  ] as const) {
    if (members[field] !== want)
      throw new MeshError('malformed', `Cannot read a JWK: want "${field}" to be "${want}"`, { field, want });
  }
  return members;
}

function bytesOf(members: Readonly<Record<string, unknown>>, field: 'x' | 'd'): Uint8Array {
  const bytes = decode(members[field]);
  if (bytes?.length !== KEY_BYTES) {
    throw new MeshError('malformed', `Cannot read a JWK: want "${field}" to be base64url of ${KEY_BYTES} bytes`, {
      field,
    });
  }
  return bytes;
}

function decode(text: unknown): Uint8Array | undefined {
  if (typeof text !== 'string' || text.length > 2 * KEY_BYTES) return undefined;
  try {
    const bytes = base64url.decode(`u${text}`);
    return encode(bytes) === text ? bytes : undefined;
  } catch {
    return undefined; // not base64url: the caller says what it wanted
  }
}

/** RFC 8032 section 5.1.5. Not constant in time: for exports and imports, never for signing. */
function publicKeyOf(seed: Uint8Array): Uint8Array {
  const digest = sha512(seed).subarray(0, KEY_BYTES);
  let scalar = 0n;
  for (let i = KEY_BYTES - 1; i >= 0; i--) scalar = (scalar << 8n) | BigInt(digest[i] as number);
  scalar = (scalar & ((1n << 254n) - 8n)) | (1n << 254n);
  return multikeyOf(Point.BASE.multiply(scalar % Point.CURVE().n).toBytes());
}
