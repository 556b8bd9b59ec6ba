import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as dagCbor from '@ipld/dag-cbor';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { equalBytes, fromHex, toHex } from '../../../protocol/encoding/bytes.ts';
import { type Cbor, decodeCbor, encodeCbor } from '../../../protocol/encoding/cbor.ts';
import { cidText, digestOf } from '../../../protocol/encoding/cid.ts';
import { map } from '../../../protocol/encoding/schema.ts';
import { isMeshError, type MeshError } from '../../../protocol/errors.ts';
import { CBOR_DEPTH_MAX } from '../../../protocol/limits.ts';
import { cborLikeBytes, mutateBytes } from '../../fuzz/mutate.ts';
import { seededRandom, suiteSeed } from '../../fuzz/random.ts';
import { describeWithShared } from '../../shared.ts';
import { cborValue, foreign } from './arbitrary.ts';

const SEED = suiteSeed(20261122);

const BYTE_ORDER_MARK = 'efbbbf';

const bytesOf = (hex: string): Uint8Array => {
  const bytes = fromHex(hex.replaceAll(' ', ''));
  if (bytes === undefined) throw new Error(`"${hex}" is not hex`);
  return bytes;
};
const refusal = (bytes: Uint8Array): MeshError => {
  try {
    decodeCbor(bytes);
  } catch (error) {
    if (isMeshError(error)) return error;
    throw error;
  }
  throw new Error(`"${toHex(bytes)}" decodes`);
};
const codeOf = (hex: string): string => refusal(bytesOf(hex)).code;

/** What we accept, by another implementation: it decodes, means only what our model has, and re-encodes to the same bytes. */
function isStrictByDagCbor(bytes: Uint8Array): boolean {
  try {
    const value: unknown = dagCbor.decode(bytes);
    return isInModel(value, 0) && equalBytes(dagCbor.encode(value), bytes);
  } catch {
    return false; // @ipld/dag-cbor throws plain errors of several classes
  }
}
function isInModel(value: unknown, depth: number): boolean {
  if (depth > CBOR_DEPTH_MAX) return false;
  if (typeof value === 'number') return Number.isSafeInteger(value) && !Object.is(value, -0);
  if (typeof value === 'bigint' || value === undefined) return false;
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array || 'asCID' in value) return true;
  return Object.values(value).every((item) => isInModel(item, depth + 1));
}
function isDecoded(bytes: Uint8Array): boolean {
  try {
    decodeCbor(bytes);
    return true;
  } catch (error) {
    if (isMeshError(error)) return false;
    throw error;
  }
}

describe('encodeCbor()', () => {
  test('gives the bytes that @ipld/dag-cbor gives', () => {
    fc.assert(
      fc.property(cborValue, (value) => {
        expect(toHex(encodeCbor(value))).toBe(toHex(dagCbor.encode(foreign(value))));
      }),
      { numRuns: 3000, seed: SEED },
    );
  });

  test('leaves out absent entries and refuses what has no encoding', () => {
    expect(toHex(encodeCbor({ b: 1, a: undefined }))).toBe('a1616201');
    const none: unknown[] = [
      1.5,
      Number.NaN,
      Infinity,
      -0,
      2 ** 53,
      -(2 ** 53),
      undefined,
      1n,
      () => 1,
      Symbol('x'),
      '\ud800',
      [undefined],
    ];
    for (const [i, value] of [...none, { '\udc00': 1 }].entries()) {
      expect(() => encodeCbor(value as Cbor), `value ${i}`).toThrow(expect.objectContaining({ code: 'malformed' }));
    }
  });
});

describe('decodeCbor()', () => {
  test('gives back what was encoded', () => {
    fc.assert(
      fc.property(cborValue, (value) => {
        const bytes = encodeCbor(value);
        const decoded = decodeCbor(bytes);
        expect(foreign(decoded)).toEqual(foreign(value));
        expect(toHex(encodeCbor(decoded))).toBe(toHex(bytes));
      }),
      { numRuns: 2000, seed: SEED },
    );
  });

  test('accepts exactly what @ipld/dag-cbor decodes, re-encodes and finds equal, on mutated and on random bytes', () => {
    const random = seededRandom(SEED);
    const valid = fc.sample(cborValue, { numRuns: 400, seed: SEED }).map(encodeCbor);
    let accepted = 0;
    for (let i = 0; i < 12_000; i++) {
      const bytes = i % 4 === 0 ? cborLikeBytes(random) : mutateBytes(random.pick(valid), random, valid);
      // Its decoder drops a byte order mark at the start of a text, so such texts cannot be compared with it.
      if (toHex(bytes).includes(BYTE_ORDER_MARK)) continue;
      const ours = isDecoded(bytes);
      if (ours) accepted++;
      expect(ours, `seed ${SEED}, input ${i}: ${toHex(bytes)}`).toBe(isStrictByDagCbor(bytes));
    }
    expect(accepted).toBeGreaterThan(1000);
  });

  test('accepts exactly the one- and two-byte strings that @ipld/dag-cbor accepts strictly', () => {
    let accepted = 0;
    for (let first = 0; first < 256; first++) {
      for (let second = -1; second < 256; second++) {
        const bytes = second < 0 ? Uint8Array.of(first) : Uint8Array.of(first, second);
        const ours = isDecoded(bytes);
        if (ours) accepted++;
        expect(ours, toHex(bytes)).toBe(isStrictByDagCbor(bytes));
      }
    }
    // 24 + 24 integers, empty bytes, text, array and map, false, true, null; 2 * 232 longer integers and so on.
    expect(accepted).toBeGreaterThan(55 + 464);
  });

  test.each([
    ['an integer in a longer form', '1817', 'noncanonical'],
    ['an integer in a longer form (2 bytes)', '1900ff', 'noncanonical'],
    ['an integer in a longer form (4 bytes)', '1a0000ffff', 'noncanonical'],
    ['an integer in a longer form (8 bytes)', '1b00000000ffffffff', 'noncanonical'],
    ['an integer beyond 2^53 - 1', '1b0020000000000000', 'malformed'],
    ['an integer below -(2^53 - 1)', '3b001fffffffffffff', 'malformed'],
    ['a length in a longer form', '580141', 'noncanonical'],
    ['bytes of indefinite length', '5f4101ff', 'noncanonical'],
    ['text of indefinite length', '7f6161ff', 'noncanonical'],
    ['an array of indefinite length', '9f01ff', 'noncanonical'],
    ['a map of indefinite length', 'bf616101ff', 'noncanonical'],
    ['a lone break', 'ff', 'malformed'],
    ['reserved additional information', '1c', 'malformed'],
    ['a key twice', 'a2616101616102', 'malformed'],
    ['a longer key first', 'a262616101616201', 'noncanonical'],
    ['keys of one length out of order', 'a2616201616101', 'noncanonical'],
    ['a key that is a number', 'a10101', 'malformed'],
    ['a key that is bytes', 'a1416101', 'malformed'],
    ['text that is not UTF-8', '61ff', 'malformed'],
    ['text with an encoded surrogate', '63eda080', 'malformed'],
    ['text in overlong UTF-8', '62c080', 'malformed'],
    ['a half float', 'f93c00', 'malformed'],
    ['a single float', 'fa3f800000', 'malformed'],
    ['a double float', 'fb3ff0000000000000', 'malformed'],
    ['undefined', 'f7', 'malformed'],
    ['a simple value', 'f820', 'malformed'],
    ['tag 1', 'c100', 'malformed'],
    ['tag 42 in a longer form', 'd9002a4100', 'noncanonical'],
    ['tag 42 on text', 'd82a6100', 'malformed'],
    ['tag 42 without the 00 in front', 'd82a450101550000', 'malformed'],
    ['tag 42 without a CID', 'd82a4100', 'malformed'],
    ['an empty tag 42', 'd82a40', 'malformed'],
    ['nothing', '', 'malformed'],
    ['a byte after the item', '0100', 'malformed'],
    ['an array that ends early', '8201', 'malformed'],
    ['bytes that end early', '4201', 'malformed'],
  ])('refuses %s', (_, hex, code) => {
    expect(codeOf(hex)).toBe(code);
  });

  test('refuses an array and a map that claim 2^32 - 1 or 2^53 - 1 items before it reads one', () => {
    for (const head of [
      '9affffffff',
      'baffffffff',
      '9b001fffffffffffff',
      'bb001fffffffffffff',
      '5b001fffffffffffff',
      '7affffffff',
    ]) {
      const started = performance.now();
      const error = refusal(bytesOf(`${head}00`));
      expect(error.code).toBe('malformed');
      expect(performance.now() - started).toBeLessThan(100);
    }
  });

  test('a long run of claims inside claims takes no memory', () => {
    const claims = new Uint8Array(64 * 1024);
    for (let at = 0; at + 3 <= claims.length; at += 3) claims.set([0x99, 0xf0, 0x00], at);
    expect(refusal(claims).code).toBe('too_large');
  });

  test(`reads ${CBOR_DEPTH_MAX} containers around an item and refuses one more`, () => {
    for (const [open, close] of [
      ['81', '00'],
      ['a16161', 'f6'],
    ] as const) {
      expect(() => decodeCbor(bytesOf(open.repeat(CBOR_DEPTH_MAX) + close))).not.toThrow();
      const error = refusal(bytesOf(open.repeat(CBOR_DEPTH_MAX + 1) + close));
      expect(error.code).toBe('too_large');
    }
    expect(codeOf(`${'81'.repeat(100_000)}00`)).toBe('too_large');
  });

  test('a "__proto__" key is an ordinary entry that no closed schema lets pass', () => {
    const value = decodeCbor(bytesOf('a1695f5f70726f746f5f5fa1 6161 01'));
    expect(Object.getPrototypeOf(value)).toBe(null);
    expect(Object.keys(value as object)).toEqual(['__proto__']);
    expect((value as { a?: number }).a).toBeUndefined();
    expect(() => map({}).check(value, '')).toThrow(expect.objectContaining({ code: 'schema' }));
  });

  test('keeps a byte order mark, which is a character like any other', () => {
    expect(decodeCbor(bytesOf('64efbbbf61'))).toBe('\ufeffa');
    expect(toHex(encodeCbor('\ufeffa'))).toBe('64efbbbf61');
  });

  test('byte strings are views of the input', () => {
    const input = bytesOf('4161');
    input[1] = 0x62;
    expect(decodeCbor(input)).toEqual(Uint8Array.of(0x62));
  });
});

describeWithShared('vectors/identity/dag-cbor', 'the DAG-CBOR fixtures', (folder) => {
  const fixtures = join(folder, 'fixtures');
  const names = readdirSync(fixtures);
  const fixture = (name: string): { cid: string; bytes: Uint8Array } => {
    const file = readdirSync(join(fixtures, name)).find((entry) => entry.endsWith('.dag-cbor'));
    if (file === undefined) throw new Error(`"${name}" has no .dag-cbor file`);
    return { cid: file.slice(0, -'.dag-cbor'.length), bytes: new Uint8Array(readFileSync(join(fixtures, name, file))) };
  };
  // Outside our subset, by another decoder's reading: floats, and integers beyond 2^53 - 1.
  const isOutside = (name: string): boolean => !isInModel(dagCbor.decode(fixture(name).bytes), 0);

  test('are all there', () => {
    expect(names.length).toBe(64);
    expect(
      names
        .filter(isOutside)
        .filter((name) => !name.startsWith('garbage-'))
        .sort(),
    ).toEqual([
      'float--0.9999999999999999',
      'float--1e-323',
      'float-0.5',
      'float-1.1',
      'float-1e-323',
      'float-82497.63712086187',
      'int--9007199254740992',
      'int--9223372036854775808',
      'int-18446744073709551615',
    ]);
    expect(names.filter((name) => name.startsWith('garbage-') && isOutside(name)).length).toBe(8);
  });

  test.each(names.filter((name) => !isOutside(name)))('%s round-trips bit for bit', (name) => {
    const { cid, bytes } = fixture(name);
    const value = decodeCbor(bytes);
    expect(toHex(encodeCbor(value))).toBe(toHex(bytes));
    expect(foreign(value)).toEqual(dagCbor.decode(bytes));
    expect(cidText(digestOf(bytes))).toBe(cid);
  });

  test.each(names.filter(isOutside))('%s is outside our subset and refused', (name) => {
    expect(refusal(fixture(name).bytes).code).toBe('malformed');
  });

  const rejects = JSON.parse(readFileSync(join(folder, 'strict-reject.json'), 'utf8')) as {
    name: string;
    hex: string;
  }[];
  test.each(rejects)('a signed object is never "$name"', ({ hex }) => {
    expect(() => map({}).check(decodeCbor(bytesOf(hex)), '')).toThrow(
      expect.objectContaining({ code: expect.stringMatching(/^(malformed|noncanonical|schema)$/) as string }),
    );
  });
  test('all of strict-reject.json but the "__proto__" key fall in the decoder itself', () => {
    expect(rejects.length).toBe(12);
    expect(rejects.filter(({ hex }) => isDecoded(bytesOf(hex))).map(({ name }) => name)).toEqual(['__proto__ key']);
  });
});
