import { base58btc } from 'multiformats/bases/base58';
import { MeshError } from '../errors.ts';
import { concatBytes, equalBytes } from './bytes.ts';

/**
 * One Ed25519 public key, four spellings (W3C Multikey, did:key, libp2p peer-ids spec):
 *
 *   multikey   ed 01 ‖ 32 bytes                     on the wire
 *   text       z6Mk… = "z" ‖ base58btc(multikey)    in JSON, DID documents and did:key
 *   PeerId     12D3KooW… = base58btc(00 24 ‖ 08 01 12 20 ‖ 32 bytes)   identity multihash of the libp2p key
 */
const ED25519 = Uint8Array.of(0xed, 0x01);
const PEER_ID_HEAD = Uint8Array.of(0x00, 0x24, 0x08, 0x01, 0x12, 0x20);
export const MULTIKEY_BYTES = 34;
const MULTIKEY_TEXT_MAX = 64; // 48 characters of an Ed25519 key, with room; bounds the quadratic base58 decoder

export const multikeyOf = (rawKey: Uint8Array): Uint8Array => concatBytes(ED25519, rawKey);

export const isMultikey = (bytes: Uint8Array): boolean =>
  bytes.length === MULTIKEY_BYTES && bytes[0] === ED25519[0] && bytes[1] === ED25519[1];

/** The 32 raw bytes. */
export const rawKeyOf = (multikey: Uint8Array): Uint8Array => multikey.subarray(2);

export const multikeyText = (multikey: Uint8Array): string => base58btc.encode(multikey);

/**
 * As parseMultikeyText, without decoding: the alphabet of base58btc is in the order of its characters, so texts of one
 * length sort as their numbers do, and those of Ed25519 multikeys lie between that of all zeros and that of all ones.
 */
export const isMultikeyText = (text: string): boolean =>
  text.length === TEXT_MIN.length && /^z[1-9A-HJ-NP-Za-km-z]+$/.test(text) && text >= TEXT_MIN && text <= TEXT_MAX;
const TEXT_MIN = base58btc.encode(concatBytes(ED25519, new Uint8Array(32)));
const TEXT_MAX = base58btc.encode(concatBytes(ED25519, new Uint8Array(32).fill(0xff)));

/** Errors: malformed. */
export function parseMultikeyText(text: string): Uint8Array {
  const bytes = decodeBase58(text);
  if (bytes === undefined || !isMultikey(bytes))
    throw new MeshError('malformed', `Cannot read key "${text}": want an Ed25519 multikey like "z6Mk…"`);
  return bytes;
}

export const peerIdOfKey = (multikey: Uint8Array): string =>
  base58btc.encode(concatBytes(PEER_ID_HEAD, rawKeyOf(multikey))).slice(1);

/** Errors: malformed (also for the PeerIds of other key types). */
export function keyOfPeerId(peerId: string): Uint8Array {
  const bytes = decodeBase58(`z${peerId}`);
  if (
    bytes === undefined ||
    bytes.length !== PEER_ID_HEAD.length + 32 ||
    !equalBytes(bytes.subarray(0, 6), PEER_ID_HEAD)
  ) {
    throw new MeshError('malformed', `Cannot read PeerId "${peerId}": want an Ed25519 one like "12D3KooW…"`);
  }
  return multikeyOf(bytes.subarray(PEER_ID_HEAD.length));
}

/** The multihash bytes of a PeerId, as they enter the handshake transcript. Errors: malformed. */
export const peerIdBytes = (peerId: string): Uint8Array => concatBytes(PEER_ID_HEAD, rawKeyOf(keyOfPeerId(peerId)));

export function isPeerId(text: string): boolean {
  const bytes = decodeBase58(`z${text}`);
  return (
    bytes !== undefined && bytes.length === PEER_ID_HEAD.length + 32 && equalBytes(bytes.subarray(0, 6), PEER_ID_HEAD)
  );
}

function decodeBase58(text: string): Uint8Array | undefined {
  if (text.length > MULTIKEY_TEXT_MAX) return undefined;
  try {
    const bytes = base58btc.decode(text);
    return base58btc.encode(bytes) === text ? bytes : undefined;
  } catch {
    return undefined; // not base58: the callers say what they wanted
  }
}
