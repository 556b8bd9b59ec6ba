import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { privateKeyFromRaw } from '@libp2p/crypto/keys';
import { peerIdFromPrivateKey } from '@libp2p/peer-id';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fromHex, toHex } from '../../../protocol/encoding/bytes.ts';
import {
  isMultikey,
  isMultikeyText,
  isPeerId,
  keyOfPeerId,
  multikeyOf,
  multikeyText,
  parseMultikeyText,
  peerIdBytes,
  peerIdOfKey,
  rawKeyOf,
} from '../../../protocol/encoding/multikey.ts';
import { didKeyOf, keyOfDidKey } from '../../../protocol/identity/did.ts';
import { SecretKey } from '../../../protocol/sodium.ts';
import { describeWithShared } from '../../shared.ts';

const P256_DID_KEY = 'did:key:zDnaerx9CtbPJ1q36T5Ln5wYt3MQYeGRG5ehnPAmxcf5mDZpv';
const RSA_PEER_ID = 'QmcgpsyWgH8Y8ajJz1Cu72KnS5uo2Aa2LpzU7kinSupNKC';
const SECP256K1_PEER_ID = '16Uiu2HAkuWRrpBEUTtWKKyNLhjDoMbECSvXbKtfNjfZxGPELgWSe';
const raw = fc.uint8Array({ minLength: 32, maxLength: 32 });

describeWithShared('vectors/identity/did-key', 'the PeerId map', (folder) => {
  const rows = JSON.parse(readFileSync(join(folder, 'peerid-map.json'), 'utf8')) as Record<
    'seed' | 'publicKey' | 'didKey' | 'peerId',
    string
  >[];

  test('has all its rows', () => {
    expect(rows.length).toBe(20);
  });

  test.each(rows)('$peerId', ({ seed, publicKey, didKey, peerId }) => {
    const key = multikeyOf(fromHex(publicKey) as Uint8Array);
    expect(toHex(new SecretKey(fromHex(seed) as Uint8Array).publicKey)).toBe(toHex(key));
    expect(didKeyOf(multikeyText(key))).toBe(didKey);
    expect(toHex(keyOfDidKey(didKey) ?? new Uint8Array())).toBe(toHex(key));
    expect(peerIdOfKey(key)).toBe(peerId);
    expect(toHex(keyOfPeerId(peerId))).toBe(toHex(key));
  });
});

describe('a key', () => {
  test('has the same PeerId here and in libp2p', () => {
    fc.assert(
      fc.property(raw, (seed) => {
        const { publicKey } = new SecretKey(seed);
        const theirs = peerIdFromPrivateKey(privateKeyFromRaw(Uint8Array.from([...seed, ...rawKeyOf(publicKey)])));
        expect(peerIdOfKey(publicKey)).toBe(theirs.toString());
        expect(toHex(peerIdBytes(theirs.toString()))).toBe(toHex(theirs.toMultihash().bytes));
      }),
      { numRuns: 10 },
    );
  });

  test('reads back from every spelling', () => {
    fc.assert(
      fc.property(raw, (bytes) => {
        const key = multikeyOf(bytes);
        expect(toHex(rawKeyOf(key))).toBe(toHex(bytes));
        expect(toHex(parseMultikeyText(multikeyText(key)))).toBe(toHex(key));
        expect(toHex(keyOfPeerId(peerIdOfKey(key)))).toBe(toHex(key));
        expect(isPeerId(peerIdOfKey(key))).toBe(true);
      }),
    );
  });
});

test.each([
  ['31 bytes', Uint8Array.from([0xed, 1, ...new Uint8Array(31)])],
  ['33 bytes', Uint8Array.from([0xed, 1, ...new Uint8Array(33)])],
  ['the P-256 prefix', Uint8Array.from([0x80, 0x24, ...new Uint8Array(32)])],
  ['no prefix', new Uint8Array(32)],
])('a multikey with %s is none', (_, bytes) => {
  expect(isMultikey(bytes)).toBe(false);
  expect(() => parseMultikeyText(multikeyText(bytes))).toThrow(expect.objectContaining({ code: 'malformed' }));
});

const text = multikeyText(multikeyOf(new Uint8Array(32).fill(9)));
test.each([
  ['nothing', ''],
  ['no multibase prefix', text.slice(1)],
  ['another multibase', `m${text.slice(1)}`],
  ['a leading one, which is a zero byte', `z1${text.slice(1)}`],
  ['a letter that base58 lacks', `${text.slice(0, -1)}0`],
  ['a space', `${text} `],
  ['a text too long to decode', `z${'6'.repeat(100_000)}`],
  ['a P-256 key', P256_DID_KEY.slice('did:key:'.length)],
])('no key is read from %s', (_, wrong) => {
  const started = performance.now();
  expect(isMultikeyText(wrong)).toBe(false);
  expect(() => parseMultikeyText(wrong)).toThrow(expect.objectContaining({ code: 'malformed' }));
  expect(keyOfDidKey(`did:key:${wrong}`)).toBeUndefined();
  expect(performance.now() - started).toBeLessThan(200);
});

test.each([
  ['an RSA key', RSA_PEER_ID],
  ['a secp256k1 key', SECP256K1_PEER_ID],
  ['a multikey text', text],
  ['nothing', ''],
  ['a PeerId as a CID', 'k51qzi5uqu5dkiqvlzthtcmk3q2blh47aawzh9m2xkuccn9vd15bpe7guo3a0d'],
  ['a PeerId with a one in front', `1${peerIdOfKey(multikeyOf(new Uint8Array(32)))}`],
])('no Ed25519 PeerId is read from %s', (_, wrong) => {
  expect(isPeerId(wrong)).toBe(false);
  expect(() => keyOfPeerId(wrong)).toThrow(expect.objectContaining({ code: 'malformed' }));
});

describe('isMultikeyText()', () => {
  const LETTERS = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz';
  const isParsed = (text: string): boolean => {
    try {
      parseMultikeyText(text);
      return true;
    } catch {
      return false;
    }
  };

  test('says what parseMultikeyText() takes, at both ends of the range and beyond', () => {
    const first = multikeyText(multikeyOf(new Uint8Array(32)));
    const last = multikeyText(multikeyOf(new Uint8Array(32).fill(0xff)));
    // The texts next to them in the order of base58, which are of no such key.
    const next = (text: string, by: 1 | -1): string =>
      text.slice(0, -1) + LETTERS.charAt(LETTERS.indexOf(text.slice(-1)) + by);
    expect([first, last].map(isMultikeyText)).toEqual([true, true]);
    for (const text of [next(first, -1), next(last, 1), next(first, 1), next(last, -1)])
      expect(isMultikeyText(text), text).toBe(isParsed(text));
    expect([next(first, -1), next(last, 1)].map(isMultikeyText)).toEqual([false, false]);
  });

  test('says so of keys, and of keys with any one letter changed', () => {
    const change = fc.tuple(fc.nat(47), fc.constantFrom(...LETTERS, '0', 'I', 'O', 'l', '+', '\n', 'é'));
    fc.assert(
      fc.property(raw, change, (bytes, [at, letter]) => {
        const text = multikeyText(multikeyOf(bytes));
        expect(isMultikeyText(text)).toBe(true);
        const other = text.slice(0, at) + letter + text.slice(at + 1);
        expect(isMultikeyText(other), other).toBe(isParsed(other));
      }),
      { seed: 58, numRuns: 500 },
    );
  });
});
