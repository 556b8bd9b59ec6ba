import { cidText, digestOfCid } from '../encoding/cid.ts';
import { parseMultikeyText } from '../encoding/multikey.ts';

/** did:mesh:<CIDv1 text of the unsigned genesis operation>: 9 + 59 characters. */
const MESH = 'did:mesh:';
const KEY = 'did:key:';
export const DID_TEXT_MAX = 68;

export const didOfDigest = (genesisDigest: Uint8Array): string => MESH + cidText(genesisDigest);
export const didOfGenesis = (genesisId: string): string => MESH + genesisId;

/** The id of the genesis operation, which is also the DHT provider key. */
export const genesisIdOf = (did: string): string => did.slice(MESH.length);

/** The 32-byte digest in a did:mesh, or undefined if it is none. */
export const digestOfDid = (did: string): Uint8Array | undefined =>
  did.length === DID_TEXT_MAX && did.startsWith(MESH) ? digestOfCid(did.slice(MESH.length)) : undefined;

/**
 * As digestOfDid, without making the digest: the four bytes in front of it fix 32 bits of base32, so that the eighth
 * letter is one of the first eight, and the last letter ends in two zero bits.
 */
const MESH_DID = /^did:mesh:bafyrei[a-h][a-z2-7]{50}[aeimquy4]$/;
export const isMeshDid = (did: string): boolean => did.length === DID_TEXT_MAX && MESH_DID.test(did);

/** did:key of an Ed25519 key; accepted as an audience only. */
export const didKeyOf = (multikeyText: string): string => KEY + multikeyText;

/** The multikey in an Ed25519 did:key, or undefined. */
export function keyOfDidKey(did: string): Uint8Array | undefined {
  if (!did.startsWith(KEY)) return undefined;
  try {
    return parseMultikeyText(did.slice(KEY.length));
  } catch {
    return undefined; // another key type, or not a key: not a did:key that we know
  }
}
export const isAudienceDid = (did: string): boolean => isMeshDid(did) || keyOfDidKey(did) !== undefined;
