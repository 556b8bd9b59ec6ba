/**
 * The one Ed25519 rule of the network (SPEC "Signatures"): S < L, canonical encodings, neither A nor R of small order,
 * cofactorless equation [S]B = R + [h]A. Two verifiers follow it: protocol/sodium.ts (Node) and this one, built on
 * @noble/ed25519's points, for browsers and as the differential twin. Neither library's own verify is the rule.
 */
import { Point, etc } from '@noble/ed25519';
import { sha512 } from '@noble/hashes/sha2.js';
import { concatBytes, equalBytes } from './encoding/bytes.ts';
import { isMultikey, rawKeyOf } from './encoding/multikey.ts';
import { MeshError } from './errors.ts';
import { type SigningContext, signedBytes } from './domains.ts';

export const SIGNATURE_BYTES = 64;
export const PUBLIC_KEY_BYTES = 32;

/** The verify port. Lengths are the port's business: anything but 64 and 32 bytes is invalid. */
export type IsSignatureValid = (signature: Uint8Array, message: Uint8Array, rawKey: Uint8Array) => boolean;

const ORDER = 2n ** 252n + 27742317777372353535851937790883648493n;
const FIELD = 2n ** 255n - 19n;

const littleEndian = (bytes: Uint8Array): bigint => {
  let value = 0n;
  for (let i = bytes.length - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[i] as number);
  return value;
};

/** Decodes a point only if its encoding is canonical and its order is not small. */
function strictPoint(bytes: Uint8Array): Point | undefined {
  const masked = Uint8Array.from(bytes);
  masked[31] = (masked[31] as number) & 0x7f;
  if (littleEndian(masked) >= FIELD) return undefined;
  try {
    const point = Point.fromBytes(bytes, false);
    return point.isSmallOrder() || !equalBytes(point.toBytes(), bytes) ? undefined : point;
  } catch {
    return undefined; // noble throws on what is not on the curve: that is the answer
  }
}

/** The rule in pure JavaScript; about 30 times slower than libsodium. */
export const isSignatureValidPure: IsSignatureValid = (signature, message, rawKey) => {
  if (signature.length !== SIGNATURE_BYTES || rawKey.length !== PUBLIC_KEY_BYTES) return false;
  const r = signature.subarray(0, 32);
  const s = littleEndian(signature.subarray(32));
  if (s >= ORDER) return false;
  const a = strictPoint(rawKey);
  if (a === undefined || strictPoint(r) === undefined) return false;
  const h = etc.mod(littleEndian(sha512(concatBytes(r, rawKey, message))), ORDER);
  const sb = s === 0n ? Point.ZERO : Point.BASE.multiply(s, false);
  const ha = h === 0n ? Point.ZERO : a.multiply(h, false);
  return equalBytes(sb.add(ha.negate()).toBytes(), r);
};

/** Errors: bad_signature, naming the key. */
export function verifySignature(
  isSignatureValid: IsSignatureValid,
  context: SigningContext,
  message: Uint8Array,
  signature: Uint8Array,
  multikey: Uint8Array,
): void {
  if (!isMultikey(multikey) || !isSignatureValid(signature, signedBytes(context, message), rawKeyOf(multikey))) {
    throw new MeshError(
      'bad_signature',
      `Cannot accept a "${context}" signature: it does not verify under the key that it names`,
    );
  }
}
