import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { etc, hashes, Point, verify as nobleVerify } from '@noble/ed25519';
import { sha512 } from '@noble/hashes/sha2.js';
// oxlint-disable-next-line eslint/no-restricted-imports -- shows what protocol/sodium.ts guards against
import sodium from 'sodium-native';
import { describe, expect, test } from 'vitest';
import { SIGNING_CONTEXTS, signedBytes, type SigningContext } from '../../protocol/domains.ts';
import { concatBytes, fromHex, toHex } from '../../protocol/encoding/bytes.ts';
import { rawKeyOf } from '../../protocol/encoding/multikey.ts';
import { isMeshError } from '../../protocol/errors.ts';
import { type IsSignatureValid, isSignatureValidPure, verifySignature } from '../../protocol/signature.ts';
import { isSignatureValidSodium } from '../../protocol/sodium.ts';
import { keyOf } from '../builders.ts';
import { seededRandom, suiteSeed } from '../fuzz/random.ts';
import { describeWithShared } from '../shared.ts';

hashes.sha512 = sha512; // noble's own verify wants it

const SEED = suiteSeed(1189);
const VERIFIERS: [string, IsSignatureValid][] = [
  ['libsodium behind length checks', isSignatureValidSodium],
  ['the equation over noble points', isSignatureValidPure],
];

const bytesOf = (hex: string): Uint8Array => {
  const bytes = fromHex(hex);
  if (bytes === undefined) throw new Error(`"${hex}" is not hex`);
  return bytes;
};

interface Case {
  readonly signature: Uint8Array;
  readonly message: Uint8Array;
  readonly key: Uint8Array;
  readonly valid: boolean;
}

/** Positions at which a verifier's verdict is not the rule's. */
const wrongOf = (isValid: IsSignatureValid, cases: readonly Case[]): number[] =>
  cases.flatMap(({ signature, message, key, valid }, i) => (isValid(signature, message, key) === valid ? [] : [i]));

describeWithShared('vectors/identity/ed25519', 'the published vectors', (folder) => {
  const read = <T>(name: string): T => JSON.parse(readFileSync(join(folder, name), 'utf8')) as T;

  const speccheck = read<{ message: string; pub_key: string; signature: string; mesh: boolean }[]>(
    'speccheck.json',
  ).map((row) => ({
    signature: bytesOf(row.signature),
    message: bytesOf(row.message),
    key: bytesOf(row.pub_key),
    valid: row.mesh,
  }));
  const cctv = read<{ key: string; sig: string; msg: string; mesh: boolean }[]>('cctv.json').map((row) => ({
    signature: bytesOf(row.sig),
    message: new TextEncoder().encode(row.msg),
    key: bytesOf(row.key),
    valid: row.mesh,
  }));
  interface Wycheproof {
    testGroups: { publicKey: { pk: string }; tests: { msg: string; sig: string; result: string }[] }[];
  }
  const wycheproof = read<Wycheproof>('wycheproof_ed25519.json').testGroups.flatMap((group) =>
    group.tests.map(({ msg, sig, result }) => ({
      signature: bytesOf(sig),
      message: bytesOf(msg),
      key: bytesOf(group.publicKey.pk),
      valid: result === 'valid',
    })),
  );

  test('are all there', () => {
    const counts = [speccheck, cctv, wycheproof].map((cases) => [
      cases.length,
      cases.filter(({ valid }) => valid).length,
    ]);
    expect(counts).toEqual([
      [12, 1],
      [457, 7],
      [65, expect.any(Number)],
    ]);
  });

  test.each(VERIFIERS)('get the verdict of the rule from %s', (_, isValid) => {
    expect(wrongOf(isValid, speccheck)).toEqual([]);
    expect(wrongOf(isValid, cctv)).toEqual([]);
    expect(wrongOf(isValid, wycheproof)).toEqual([]);
  });

  test("get other verdicts from noble's own verify, which multiplies by the cofactor", () => {
    const noble: IsSignatureValid = (signature, message, key) =>
      nobleVerify(signature, message, key, { zip215: false });
    expect(wrongOf(noble, speccheck)).toEqual([2, 4, 5]);
    expect(wrongOf(noble, cctv).length).toBeGreaterThan(10);
    const zip215: IsSignatureValid = (signature, message, key) =>
      nobleVerify(signature, message, key, { zip215: true });
    expect(wrongOf(zip215, cctv).length).toBeGreaterThan(100);
  });

  test('get other verdicts from libsodium where a signature is longer, and an exception where it is shorter', () => {
    const exactly = wycheproof.filter(({ signature }) => signature.length === 64);
    const longer = wycheproof.filter(({ signature }) => signature.length > 64);
    const shorter = wycheproof.filter(({ signature }) => signature.length < 64);
    expect([exactly.length, longer.length, shorter.length]).toEqual([53, 5, 7]);
    expect(wrongOf(rawSodium, exactly)).toEqual([]);
    expect(wrongOf(rawSodium, longer).length).toBeGreaterThan(0);
    for (const { signature, message, key } of shorter) expect(() => rawSodium(signature, message, key)).toThrow();
  });
});

const rawSodium: IsSignatureValid = (signature, message, key) =>
  sodium.crypto_sign_verify_detached(Buffer.from(signature), Buffer.from(message), Buffer.from(key));

const ORDER = 2n ** 252n + 27742317777372353535851937790883648493n;
const integerOf = (bytes: Uint8Array): bigint => BigInt(`0x${toHex(Uint8Array.from(bytes).reverse())}`);
const bytesOfInteger = (value: bigint): Uint8Array => bytesOf(value.toString(16).padStart(64, '0')).reverse();
const times = (point: Point, n: number): Point => {
  let sum = Point.ZERO;
  for (let i = 0; i < n; i++) sum = sum.add(point);
  return sum;
};
/** A point of order 8: speccheck and every paper on cofactors use this one. */
const TORSION = Point.fromHex('c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a');

/**
 * A signature of the honest equation under A = [a]B + [k]T and R = [r]B + [j]T. Then [S]B - [h]A = [r]B - [h k]T, so the
 * cofactorless equation holds exactly where j + h k is 0 mod 8, and the cofactored one always.
 */
function torsionMixed(random: ReturnType<typeof seededRandom>): Case {
  const a = etc.mod(integerOf(random.bytes(32)), ORDER);
  const r = etc.mod(integerOf(random.bytes(32)), ORDER);
  const [k, j] = [random.below(8), random.below(8)];
  const key = Point.BASE.multiply(a, false).add(times(TORSION, k)).toBytes();
  const encodedR = Point.BASE.multiply(r, false).add(times(TORSION, j)).toBytes();
  const message = random.bytes(random.below(40));
  const h = etc.mod(integerOf(sha512(concatBytes(encodedR, key, message))), ORDER);
  const s = etc.mod(r + h * a, ORDER);
  return {
    signature: concatBytes(encodedR, bytesOfInteger(s)),
    message,
    key,
    valid: (BigInt(j) + h * BigInt(k)) % 8n === 0n,
  };
}

describe('the signature rule', () => {
  const signer = keyOf(42);
  const key = rawKeyOf(signer.publicKey);
  const message = new TextEncoder().encode('a message');
  const signature = signer.sign(message);

  test.each(VERIFIERS)('is cofactorless on keys and nonces with a torsion component: %s', (_, isValid) => {
    const random = seededRandom(SEED);
    const cases = Array.from({ length: 250 }, () => torsionMixed(random));
    const valid = cases.filter((row) => row.valid).length;
    expect(valid, `seed ${SEED}`).toBeGreaterThan(20);
    expect(valid, `seed ${SEED}`).toBeLessThan(120);
    expect(wrongOf(isValid, cases), `seed ${SEED}`).toEqual([]);
  });

  test("is not noble's own verify, which accepts every torsion-mixed signature", () => {
    const random = seededRandom(SEED);
    const cases = Array.from({ length: 40 }, () => torsionMixed(random)).filter(({ valid }) => !valid);
    expect(cases.length).toBeGreaterThan(10);
    for (const row of cases) expect(nobleVerify(row.signature, row.message, row.key, { zip215: false })).toBe(true);
  });

  test.each(VERIFIERS)('refuses a signature with any bit flipped, in it, its key or its message: %s', (_, isValid) => {
    expect(isValid(signature, message, key)).toBe(true);
    const random = seededRandom(SEED);
    const whole = concatBytes(signature, key, message);
    for (let i = 0; i < 300; i++) {
      const bit = random.below(whole.length * 8);
      const flipped = Uint8Array.from(whole);
      flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7));
      const [s, k, m] = [flipped.subarray(0, 64), flipped.subarray(64, 96), flipped.subarray(96)];
      expect(isValid(s, m, k), `seed ${SEED}, bit ${bit}`).toBe(false);
    }
  });

  test.each(VERIFIERS)('signs the empty message like any other: %s', (_, isValid) => {
    expect(isValid(signer.sign(new Uint8Array()), new Uint8Array(), key)).toBe(true);
    expect(isValid(signature, new Uint8Array(), key)).toBe(false);
  });

  test.each(VERIFIERS)('refuses S + L, which signs the same in the equation: %s', (_, isValid) => {
    const s = integerOf(signature.subarray(32));
    for (const more of [ORDER, 2n * ORDER, 8n * ORDER, 15n * ORDER].filter((term) => s + term < 2n ** 256n)) {
      expect(isValid(concatBytes(signature.subarray(0, 32), bytesOfInteger(s + more)), message, key)).toBe(false);
    }
  });

  test.each(VERIFIERS)('refuses keys and nonces of small order in every encoding: %s', (_, isValid) => {
    const zero = new Uint8Array(32);
    const encodings = Array.from({ length: 8 }, (__, i) => times(TORSION, i).toBytes());
    const withSign = encodings.map((bytes) => Uint8Array.from(bytes, (byte, i) => (i === 31 ? byte ^ 0x80 : byte)));
    for (const small of [...encodings, ...withSign]) {
      expect(isValid(concatBytes(small, zero), message, small), toHex(small)).toBe(false);
      expect(isValid(concatBytes(small, signature.subarray(32)), message, key), toHex(small)).toBe(false);
      expect(isValid(signature, message, small), toHex(small)).toBe(false);
    }
  });

  test.each(VERIFIERS)('refuses every length but 64 and 32 bytes: %s', (_, isValid) => {
    for (const length of [0, 1, 32, 63, 65, 66, 96, 128, 1000]) {
      const other = new Uint8Array(length);
      other.set(signature.subarray(0, Math.min(length, 64)));
      expect(isValid(other, message, key), `a signature of ${length} bytes`).toBe(false);
    }
    for (const length of [0, 31, 33, 34, 64]) {
      const other = new Uint8Array(length);
      other.set(key.subarray(0, Math.min(length, 32)));
      expect(isValid(signature, message, other), `a key of ${length} bytes`).toBe(false);
    }
  });

  test('is not libsodium alone, which takes the first 64 bytes of a longer signature and throws on a shorter one', () => {
    expect(rawSodium(concatBytes(signature, Uint8Array.of(0)), message, key)).toBe(true);
    expect(() => rawSodium(signature.subarray(0, 63), message, key)).toThrow();
  });

  test('verifiers read a view of a larger buffer, not the buffer', () => {
    const room = concatBytes(new Uint8Array(7), signature, key, message, new Uint8Array(9));
    const parts = [room.subarray(7, 71), room.subarray(103, 103 + message.length), room.subarray(71, 103)] as const;
    for (const [, isValid] of VERIFIERS) expect(isValid(...parts)).toBe(true);
  });
});

describe('verifySignature()', () => {
  const signer = keyOf(43);
  const message = Uint8Array.of(1, 2, 3);
  const contexts = Object.keys(SIGNING_CONTEXTS) as SigningContext[];

  test('accepts a signature under the context for which it was made and under no other', () => {
    for (const made of contexts) {
      const signature = signer.sign(signedBytes(made, message));
      for (const read of contexts) {
        const verify = (): void => verifySignature(isSignatureValidSodium, read, message, signature, signer.publicKey);
        if (read === made) expect(verify).not.toThrow();
        else expect(verify, `${made} as ${read}`).toThrow(expect.objectContaining({ code: 'bad_signature' }));
      }
    }
  });

  test('refuses a signature over the bare message', () => {
    for (const context of contexts) {
      expect(() =>
        verifySignature(isSignatureValidSodium, context, message, signer.sign(message), signer.publicKey),
      ).toThrow(expect.objectContaining({ code: 'bad_signature' }));
    }
  });

  test('refuses a key that is no Ed25519 multikey before it asks the verifier', () => {
    const yes: IsSignatureValid = () => true;
    const p256 = Uint8Array.from([0x80, 0x24, ...signer.publicKey.subarray(2)]);
    for (const wrong of [rawKeyOf(signer.publicKey), p256, new Uint8Array()]) {
      try {
        verifySignature(yes, 'didop', message, new Uint8Array(64), wrong);
        expect.unreachable('it was accepted');
      } catch (error) {
        expect(isMeshError(error) && error.code).toBe('bad_signature');
      }
    }
  });
});
