/** Random values of the data model, and the same values as @ipld/dag-cbor has them. */
import fc from 'fast-check';
import { CID } from 'multiformats/cid';
import type { Cbor } from '../../../protocol/encoding/cbor.ts';
import { Link } from '../../../protocol/encoding/cid.ts';

const unit = fc.oneof(
  fc.constantFrom('a', 'b', 'z', 'é', '€', '𐅑', '\u0000', '\ufeff'),
  fc.string({ unit: 'binary', maxLength: 1 }),
);
const text = fc.oneof(
  { weight: 8, arbitrary: fc.string({ unit, maxLength: 12 }) },
  { weight: 2, arbitrary: fc.constantFrom('__proto__', 'constructor', 'toString', 'hasOwnProperty', '/') },
  // Both sides of the head sizes 1, 2 and 3 bytes.
  { weight: 1, arbitrary: fc.constantFrom(23, 24, 31, 32, 255, 256).map((length) => 'x'.repeat(length)) },
);
const integer = fc.oneof(
  fc.maxSafeInteger(),
  fc.integer({ min: -300, max: 300 }),
  fc
    .constantFrom(23, 24, 255, 256, 0xffff, 0x10000, 0xffff_ffff, 0x1_0000_0000, Number.MAX_SAFE_INTEGER)
    .chain((edge) => fc.constantFrom(edge, -edge, Math.max(-1 - edge, Number.MIN_SAFE_INTEGER))),
);
const link = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((digest) => Link.ofDigest(digest));

export const cborValue: fc.Arbitrary<Cbor> = fc.letrec<{ value: Cbor }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 5, depthSize: 'small', withCrossShrink: true },
    integer,
    text,
    fc.uint8Array({ maxLength: 40 }),
    fc.constantFrom<Cbor[]>(null, true, false),
    link,
    fc.array(tie('value'), { maxLength: 30 }),
    fc.uniqueArray(fc.tuple(text, tie('value')), { selector: ([key]) => key, maxLength: 30 }).map(mapOf),
  ),
})).value;

function mapOf(entries: readonly (readonly [string, Cbor])[]): Cbor {
  const map: Record<string, Cbor> = Object.create(null);
  for (const [key, value] of entries) map[key] = value;
  return map;
}

/** The same value for @ipld/dag-cbor: CIDs instead of links, ordinary objects. */
export function foreign(value: Cbor): unknown {
  if (value instanceof Link) return CID.decode(value.bytes);
  if (value instanceof Uint8Array || value === null || typeof value !== 'object') return value;
  if (Array.isArray(value)) return (value as readonly Cbor[]).map(foreign);
  const out = {};
  for (const [key, item] of Object.entries(value)) {
    Object.defineProperty(out, key, {
      value: foreign(item as Cbor),
      enumerable: true,
      configurable: true,
      writable: true,
    });
  }
  return out;
}
