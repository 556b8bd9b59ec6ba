import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import { fromHex, toHex } from '../../protocol/encoding/bytes.ts';
import { rawKeyOf } from '../../protocol/encoding/multikey.ts';
import { MeshError } from '../../protocol/errors.ts';
import { isSignatureValidPure } from '../../protocol/signature.ts';
import { SecretKey } from '../../protocol/sodium.ts';

const bytesOf = (hex: string): Uint8Array => fromHex(hex) ?? new Uint8Array();
const codeOf = (call: () => unknown): unknown => {
  try {
    return call();
  } catch (cause) {
    return cause instanceof MeshError ? cause.code : cause;
  }
};

// RFC 8032 section 7.1, tests 1 to 3.
const VECTORS = [
  [
    '9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60',
    'd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a',
    '',
    'e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b',
  ],
  [
    '4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb',
    '3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c',
    '72',
    '92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00',
  ],
  [
    'c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7',
    'fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025',
    'af82',
    '6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a',
  ],
] as const;

describe('SecretKey', () => {
  it.each(VECTORS)('signs as RFC 8032 does with the seed %s', (seed, publicKey, message, signature) => {
    const key = new SecretKey(bytesOf(seed));
    expect(toHex(rawKeyOf(key.publicKey))).toBe(publicKey);
    expect(toHex(key.sign(bytesOf(message)))).toBe(signature);
    expect(isSignatureValidPure(bytesOf(signature), bytesOf(message), bytesOf(publicKey))).toBe(true);
    expect(toHex(key.exportSeed())).toBe(seed);
  });

  it('signs a view into a larger buffer, and only that', () => {
    const [seed, , message, signature] = VECTORS[2];
    const large = Uint8Array.of(9, ...bytesOf(message), 9);
    expect(toHex(new SecretKey(bytesOf(seed)).sign(large.subarray(1, -1)))).toBe(signature);
  });

  it('refuses a seed of another length', () => {
    for (const length of [0, 31, 33, 64]) expect(codeOf(() => new SecretKey(new Uint8Array(length)))).toBe('malformed');
  });

  it('keeps its seed whatever becomes of the array that it came from or that was exported', () => {
    const seed = bytesOf(VECTORS[0][0]);
    const key = new SecretKey(seed);
    seed.fill(0);
    key.exportSeed().fill(0);
    expect(toHex(key.sign(new Uint8Array()))).toBe(VECTORS[0][3]);
  });

  it('answers key_missing once wiped, and never a signature by a key of zeros', () => {
    const key = new SecretKey(bytesOf(VECTORS[0][0]));
    key.wipe();
    key.wipe();
    expect([codeOf(() => key.sign(new Uint8Array())), codeOf(() => key.exportSeed())]).toEqual([
      'key_missing',
      'key_missing',
    ]);
  });

  it('shows its public key only', () => {
    const key = new SecretKey(new Uint8Array(32).fill(0xa7));
    const printed =
      inspect(key, { showHidden: true, depth: 99 }) +
      JSON.stringify(key) +
      JSON.stringify(Object.getOwnPropertyDescriptors(key));
    expect(printed).toContain('publicKey');
    expect(printed).not.toMatch(/(?:a7){4}|(?:a7 ){4}|(?:167,\s*){4}|p6enp6en/i);
  });
});
