import { createPublicKey, createPrivateKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fromHex, toHex } from '../../../protocol/encoding/bytes.ts';
import { multikeyOf, multikeyText, rawKeyOf } from '../../../protocol/encoding/multikey.ts';
import { didKeyOf, keyOfDidKey } from '../../../protocol/identity/did.ts';
import { parsePrivateJwk, parsePublicJwk, privateJwk, publicJwk } from '../../../protocol/identity/jwk.ts';
import { keyOf } from '../../builders.ts';
import { describeWithShared } from '../../shared.ts';

const key = keyOf('a key');
const malformed = expect.objectContaining({ code: 'malformed' }) as Error;

describeWithShared('vectors/identity/did-key', 'the did:key vectors', (folder) => {
  const read = (name: string): { did: string; publicKeyJwk: Record<string, string> }[] =>
    JSON.parse(readFileSync(join(folder, name), 'utf8')) as { did: string; publicKeyJwk: Record<string, string> }[];

  test('give the JWK of an Ed25519 did:key, and the did:key of the JWK', () => {
    const rows = read('ed25519-jwk.json');
    expect(rows.length).toBe(1);
    for (const { did, publicKeyJwk } of rows) {
      const multikey = keyOfDidKey(did);
      if (multikey === undefined) throw new Error(`"${did}" was not read`);
      expect(publicJwk(multikey)).toMatchObject(publicKeyJwk);
      expect(didKeyOf(multikeyText(parsePublicJwk(publicKeyJwk)))).toBe(did);
    }
  });

  test('hold a P-256 key, which is refused in both spellings', () => {
    const rows = read('p256-jwk.json');
    expect(rows.length).toBe(1);
    for (const { did, publicKeyJwk } of rows) {
      expect(keyOfDidKey(did)).toBeUndefined();
      expect(() => parsePublicJwk(publicKeyJwk)).toThrow(malformed);
    }
  });

  test('hold seeds whose private JWKs are read back and by node', () => {
    const rows = JSON.parse(readFileSync(join(folder, 'peerid-map.json'), 'utf8')) as {
      seed: string;
      publicKey: string;
    }[];
    for (const { seed, publicKey } of rows.slice(0, 10)) {
      const jwk = privateJwk(fromHex(seed) as Uint8Array);
      expect(toHex(rawKeyOf(parsePrivateJwk(jwk).publicKey))).toBe(publicKey);
      expect(createPublicKey(createPrivateKey({ key: { ...jwk }, format: 'jwk' })).export({ format: 'jwk' }).x).toBe(
        jwk.x,
      );
    }
  });
});

describe('publicJwk()', () => {
  test('never holds the private part', () => {
    expect(Object.keys(publicJwk(key.publicKey)).sort()).toEqual(['crv', 'kid', 'kty', 'use', 'x']);
  });

  test('names the key by its URL in the DID, or by its own text', () => {
    expect(publicJwk(key.publicKey, 'did:mesh:x').kid).toBe(`did:mesh:x#${key.text}`);
    expect(publicJwk(key.publicKey).kid).toBe(key.text);
  });

  test('is read by node:crypto as the same key', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (seed) => {
        const jwk = publicJwk(keyOf(toHex(seed)).publicKey);
        expect(createPublicKey({ key: { ...jwk }, format: 'jwk' }).export({ format: 'jwk' }).x).toBe(jwk.x);
        expect(toHex(parsePublicJwk(jwk))).toBe(toHex(keyOf(toHex(seed)).publicKey));
      }),
      { numRuns: 20 },
    );
  });
});

describe('parsePublicJwk()', () => {
  const jwk = publicJwk(key.publicKey);

  test('ignores members that it does not know', () => {
    expect(toHex(parsePublicJwk({ ...jwk, alg: 'EdDSA', key_ops: ['verify'], x5c: [] }))).toBe(toHex(key.publicKey));
  });

  test('refuses a private key', () => {
    expect(() => parsePublicJwk(privateJwk(key.seed))).toThrow(malformed);
  });

  test.each<[string, unknown]>([
    ['nothing', undefined],
    ['null', null],
    ['a list', [jwk]],
    ['a text', JSON.stringify(jwk)],
    ['no kty', { crv: 'Ed25519', x: jwk.x }],
    ['another kty', { ...jwk, kty: 'EC' }],
    ['another curve', { ...jwk, crv: 'X25519' }],
    ['no x', { kty: 'OKP', crv: 'Ed25519' }],
    ['an x that is a number', { ...jwk, x: 1 }],
    ['padding', { ...jwk, x: `${jwk.x}=` }],
    ['base64 instead of base64url', { ...jwk, x: Buffer.alloc(32, 0xff).toString('base64').replace('=', '') }],
    ['31 bytes', { ...jwk, x: Buffer.alloc(31).toString('base64url') }],
    ['33 bytes', { ...jwk, x: Buffer.alloc(33).toString('base64url') }],
    ['bits after the last byte', { ...jwk, x: `${Buffer.alloc(32).toString('base64url').slice(0, -1)}B` }],
    ['an endless x', { ...jwk, x: 'A'.repeat(1_000_000) }],
  ])('refuses %s', (_, wrong) => {
    expect(() => parsePublicJwk(wrong)).toThrow(malformed);
  });
});

describe('a private JWK', () => {
  test('holds the seed, and is read back with its public key', () => {
    const { publicKey, seed } = parsePrivateJwk(privateJwk(key.seed, 'did:mesh:x'));
    expect(toHex(seed)).toBe(toHex(key.seed));
    expect(toHex(publicKey)).toBe(toHex(key.publicKey));
  });

  test('is refused where its parts are of two keys, or one is missing', () => {
    const other = privateJwk(keyOf('another key').seed);
    expect(() => parsePrivateJwk({ ...privateJwk(key.seed), d: other.d })).toThrow(malformed);
    expect(() => parsePrivateJwk(publicJwk(key.publicKey))).toThrow(malformed);
    expect(() => parsePrivateJwk({ ...other, x: undefined })).toThrow(malformed);
    expect(() => privateJwk(new Uint8Array(31))).toThrow(malformed);
    expect(() => privateJwk(multikeyOf(key.seed))).toThrow(malformed);
  });
});
