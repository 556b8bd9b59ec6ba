import fc from 'fast-check';
import { CID } from 'multiformats/cid';
import { sha256 as hasher } from 'multiformats/hashes/sha2';
import { describe, expect, test } from 'vitest';
import { toHex } from '../../../protocol/encoding/bytes.ts';
import { cidText, digestOf, digestOfCid, isCid, Link } from '../../../protocol/encoding/cid.ts';

const digest = fc.uint8Array({ minLength: 32, maxLength: 32 });

describe('the id of some bytes', () => {
  test('is the CIDv1, dag-cbor, sha2-256 that multiformats makes of them', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array(), async (bytes) => {
        const theirs = CID.createV1(0x71, await hasher.digest(bytes));
        expect(cidText(digestOf(bytes))).toBe(theirs.toString());
        expect(toHex(Link.ofDigest(digestOf(bytes)).bytes)).toBe(toHex(theirs.bytes));
      }),
    );
  });

  test('reads back from its one text', () => {
    fc.assert(
      fc.property(digest, (bytes) => {
        const text = cidText(bytes);
        expect(text).toMatch(/^bafyrei[a-z2-7]{52}$/);
        expect(toHex(digestOfCid(text) ?? new Uint8Array())).toBe(toHex(bytes));
        expect(Link.parse(text).text).toBe(text);
      }),
    );
  });
});

describe('digestOfCid()', () => {
  const text = cidText(new Uint8Array(32).fill(7));
  const other = (code: number, hash: number, length: number): string =>
    CID.createV1(code, {
      code: hash,
      size: length,
      digest: new Uint8Array(length),
      bytes: Uint8Array.from([hash, length, ...new Uint8Array(length)]),
    }).toString();

  test.each([
    ['nothing', ''],
    ['upper case', text.toUpperCase()],
    ['one letter less', text.slice(0, -1)],
    ['one letter more', `${text}a`],
    ['a letter that base32 lacks', `${text.slice(0, -2)}1a`],
    ['bits after the last byte', `${text.slice(0, -1)}${text.endsWith('b') ? 'c' : 'b'}`],
    ['another codec (raw)', other(0x55, 0x12, 32)],
    ['another hash (identity)', other(0x71, 0x00, 32)],
    ['a shorter hash', other(0x71, 0x12, 20)],
    ['version 0', 'QmRgutAxd8t7oGkSm4wmeuByG6M51wcTso6cubDdQtuEfL'],
  ])('does not read %s', (_, wrong) => {
    expect(digestOfCid(wrong)).toBeUndefined();
    expect(() => Link.parse(wrong)).toThrow(expect.objectContaining({ code: 'malformed' }));
  });

  test('reads no text but the one that cidText() writes, whichever letter is changed', () => {
    const letters = 'abcdefghijklmnopqrstuvwxyz0123456789=-';
    for (let at = 0; at < text.length; at++) {
      for (const letter of letters) {
        const changed = text.slice(0, at) + letter + text.slice(at + 1);
        const read = digestOfCid(changed);
        if (read !== undefined) expect(cidText(read)).toBe(changed);
      }
    }
  });
});

test('isCid() takes what multiformats decodes and writes again the same', () => {
  const isTheirs = (bytes: Uint8Array): boolean => {
    try {
      return toHex(CID.decode(bytes).bytes) === toHex(bytes);
    } catch {
      return false; // not a CID: that is the answer
    }
  };
  const start = fc.constantFrom([1, 0x71, 0x12, 0x20], [1, 0x55, 0x00], [0x12, 0x20], [1, 0x81, 0x00, 0x12], [0], []);
  fc.assert(
    fc.property(start, fc.uint8Array({ maxLength: 40 }), (head, tail) => {
      const bytes = Uint8Array.from([...head, ...tail]);
      expect(isCid(bytes)).toBe(isTheirs(bytes));
    }),
    { numRuns: 2000 },
  );
  expect(isCid(Link.ofDigest(new Uint8Array(32)).bytes)).toBe(true);
  expect(isCid(CID.parse('QmRgutAxd8t7oGkSm4wmeuByG6M51wcTso6cubDdQtuEfL').bytes)).toBe(true);
});

test('a link to something that is no statement has a text, and says that it is no id', () => {
  const foreign = CID.parse('bafkreiebzrnroamgos2adnbpgw5apo3z4iishhbdx77gldnbk57d4zdio4');
  const link = new Link(foreign.bytes);
  expect(link.isId).toBe(false);
  expect(link.text).toBe(foreign.toString());
  expect(JSON.stringify(link)).toBe(`{"/":"${foreign.toString()}"}`);
});
