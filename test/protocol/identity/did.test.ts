import { expect, test } from 'vitest';
import { Link, multikeyText } from '../../../protocol/index.ts';
import {
  didKeyOf,
  didOfDigest,
  didOfGenesis,
  digestOfDid,
  DID_TEXT_MAX,
  genesisIdOf,
  isAudienceDid,
  isMeshDid,
  keyOfDidKey,
} from '../../../protocol/identity/did.ts';
import { toHex } from '../../../protocol/encoding/bytes.ts';
import { createOrganisation, keyOf } from '../../builders.ts';
import { did, genesis } from '../statement/worked-example.ts';

test('a did:mesh is the text of its genesis, and no longer than 68 characters', () => {
  expect(didOfGenesis(genesis.id)).toBe(did);
  expect(didOfDigest(genesis.digest)).toBe(did);
  expect(did.length).toBe(DID_TEXT_MAX);
  expect(genesisIdOf(did)).toBe(genesis.id);
  expect(toHex(digestOfDid(did) ?? new Uint8Array())).toBe(toHex(genesis.digest));
  expect(createOrganisation('another').did).not.toBe(did);
});

test.each([
  ['another method', did.replace('mesh', 'web')],
  ['upper case', did.toUpperCase()],
  ['upper case in the id', `did:mesh:${genesis.id.toUpperCase()}`],
  ['a fragment', `${did}#key`],
  ['a query', `${did}?versionId=1`],
  ['a space', ` ${did}`],
  ['a line break', `${did}\n`],
  ['an id of another codec', 'did:mesh:bafkreiebzrnroamgos2adnbpgw5apo3z4iishhbdx77gldnbk57d4zdio4'],
  ['an id that ends early', did.slice(0, -1)],
  ['32 hex digits, as others wrote it', `did:mesh:${'0a'.repeat(16)}`],
  ['nothing', ''],
])('no did:mesh has %s', (_, wrong) => {
  expect(isMeshDid(wrong)).toBe(false);
  expect(digestOfDid(wrong)).toBeUndefined();
  expect(isAudienceDid(wrong)).toBe(false);
});

test('an audience is a did:mesh or the did:key of an Ed25519 key', () => {
  const didKey = didKeyOf(multikeyText(keyOf(1).publicKey));
  expect(toHex(keyOfDidKey(didKey) ?? new Uint8Array())).toBe(toHex(keyOf(1).publicKey));
  for (const audience of [did, didKey]) expect(isAudienceDid(audience)).toBe(true);
  for (const wrong of [
    `${didKey}#x`,
    didKey.replace('key', 'mesh'),
    'did:key:',
    `did:key:${Link.ofDigest(genesis.digest).text}`,
  ]) {
    expect(isAudienceDid(wrong), wrong).toBe(false);
  }
});

test('what has the form of a did:mesh has a digest, and nothing else has: any letter at any place', () => {
  let [held, refused] = [0, 0];
  for (let at = 0; at < did.length; at++) {
    for (const letter of 'abcdefghijklmnopqrstuvwxyz01234567890:=A') {
      const changed = did.slice(0, at) + letter + did.slice(at + 1);
      expect(isMeshDid(changed), changed).toBe(digestOfDid(changed) !== undefined);
      if (isMeshDid(changed)) held += 1;
      else refused += 1;
    }
  }
  expect(Math.min(held, refused)).toBeGreaterThan(500);
});
