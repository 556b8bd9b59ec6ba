/**
 * Inputs that are well formed on the outside and wrong within: valid CBOR or JSON is taken apart, changed at one place
 * and written again, also in ways that an honest encoder cannot (a key twice, keys out of order, floats). Byte strings
 * that hold CBOR themselves, as an envelope's payload does, are taken apart as well.
 */
import { type Cbor, concatBytes, decodeCbor, digestOf, encodeCbor, fromHex, Link } from '../../protocol/index.ts';
import type { SeededRandom } from './random.ts';

type Tree =
  | { readonly leaf: Cbor | { readonly raw: string } }
  | { list: Tree[] }
  | { map: [string, Tree][] }
  | { nested: Tree };

export interface Format {
  readonly read: (bytes: Uint8Array) => Tree;
  readonly write: (tree: Tree) => Uint8Array;
  readonly leaves: readonly Tree[];
}

const hex = (text: string): Uint8Array => fromHex(text) ?? new Uint8Array();
const ascii = new TextEncoder();

const INTEGERS = [0, 1, -1, 23, 24, 255, 256, 65_535, 65_536, 2 ** 31, 2 ** 32, 2 ** 40, 2 ** 53 - 1, 1 - 2 ** 53];
const TEXTS = [
  '',
  'x',
  '__proto__',
  'é'.repeat(300),
  'x'.repeat(5000),
  '\0',
  '../..',
  '*',
  'read:*',
  'did:mesh:',
  'did:key:z6Mk',
];
const SCALARS: readonly Cbor[] = [null, true, false, ...INTEGERS, ...TEXTS];

// CBOR

const CBOR_ONLY: readonly Cbor[] = [
  ...[0, 1, 16, 31, 32, 33, 34, 64, 1024].map((length) => new Uint8Array(length)),
  Link.ofDigest(digestOf(new Uint8Array())),
  new Link(hex('01550000')),
];
/** A float, NaN, undefined, a simple value, other tags, indefinite lengths, a long integer, a lone break, bad UTF-8. */
const CBOR_RAW = [
  'f93c00',
  'fb3ff8000000000000',
  'f97e00',
  'f7',
  'f820',
  'c100',
  'd82a4100',
  '9fff',
  'bfff',
  '5fff',
  '1801',
  'ff',
  '61ff',
  '3bffffffffffffffff',
];

const asTree = (value: Cbor): Tree => {
  if (value instanceof Uint8Array) return nestedTree(value) ?? { leaf: value };
  if (typeof value !== 'object' || value === null || value instanceof Link) return { leaf: value };
  if (Array.isArray(value)) return { list: (value as readonly Cbor[]).map(asTree) };
  return { map: Object.entries(value).map(([key, item]) => [key, asTree(item as Cbor)]) };
};
function nestedTree(bytes: Uint8Array): Tree | undefined {
  if (bytes.length < 40 || (bytes[0] as number) < 0x80) return undefined; // containers only: most short bytes are CBOR by chance
  try {
    return { nested: asTree(decodeCbor(bytes)) };
  } catch {
    return undefined; // bytes that hold no CBOR are a leaf
  }
}

function head(major: number, value: number): Uint8Array {
  // The head of an array of that many items has the same argument.
  const bytes = encodeCbor(value);
  return Uint8Array.from(bytes, (byte, i) => (i === 0 ? (major << 5) | (byte & 31) : byte));
}
const writeCbor = (tree: Tree): Uint8Array => {
  if ('leaf' in tree) return isRaw(tree.leaf) ? hex(tree.leaf.raw) : encodeCbor(tree.leaf);
  if ('list' in tree) return concatBytes(head(4, tree.list.length), ...tree.list.map(writeCbor));
  if ('map' in tree) {
    return concatBytes(
      head(5, tree.map.length),
      ...tree.map.flatMap(([key, item]) => [encodeCbor(key), writeCbor(item)]),
    );
  }
  const inner = writeCbor(tree.nested);
  return concatBytes(head(2, inner.length), inner);
};
const isRaw = (leaf: Cbor | { readonly raw: string }): leaf is { readonly raw: string } =>
  typeof leaf === 'object' && leaf !== null && 'raw' in leaf && typeof leaf.raw === 'string';

export const CBOR: Format = {
  read: (bytes) => asTree(decodeCbor(bytes)),
  write: writeCbor,
  leaves: [
    ...[...SCALARS, ...CBOR_ONLY].map((leaf): Tree => ({ leaf })),
    ...CBOR_RAW.map((raw): Tree => ({ leaf: { raw } })),
  ],
};

// JSON

const JSON_RAW = ['1.5', '1e400', '-0', 'NaN', 'undefined', "'x'", '"\\ud800"', '01', '"\\u0000"', '[', '/* */ 1'];
const writeJson = (tree: Tree): string => {
  if ('leaf' in tree) return isRaw(tree.leaf) ? tree.leaf.raw : JSON.stringify(tree.leaf);
  if ('list' in tree) return `[${tree.list.map(writeJson).join(',')}]`;
  if ('map' in tree) return `{${tree.map.map(([key, item]) => `${JSON.stringify(key)}:${writeJson(item)}`).join(',')}}`;
  return JSON.stringify(writeJson(tree.nested));
};
export const JSON_TEXT: Format = {
  read: (bytes) => asTree(JSON.parse(new TextDecoder().decode(bytes)) as Cbor),
  write: (tree) => ascii.encode(writeJson(tree)),
  leaves: [...SCALARS.map((leaf): Tree => ({ leaf })), ...JSON_RAW.map((raw): Tree => ({ leaf: { raw } }))],
};

// Mutations

const childrenOf = (tree: Tree): Tree[] => {
  if ('list' in tree) return tree.list;
  if ('map' in tree) return tree.map.map(([, item]) => item);
  return 'nested' in tree ? [tree.nested] : [];
};
function everyNode(tree: Tree): Tree[] {
  return [tree, ...childrenOf(tree).flatMap(everyNode)];
}
const copy = (tree: Tree): Tree => {
  if ('list' in tree) return { list: tree.list.map(copy) };
  if ('map' in tree) return { map: tree.map.map(([key, item]) => [key, copy(item)]) };
  return 'nested' in tree ? { nested: copy(tree.nested) } : tree;
};

function nest(tree: Tree, random: SeededRandom): Tree {
  let out = tree;
  for (let depth = random.pick([1, 2, 10, 30, 300]); depth > 0; depth--) out = { list: [out] };
  return out;
}

const GROWTH_BYTES_MAX = 256 * 1024; // of one change: the largest frames are as long

/** About as many bytes as it takes to write it. */
function sizeOf(tree: Tree): number {
  if (!('leaf' in tree)) return childrenOf(tree).reduce((sum, child) => sum + sizeOf(child), 1);
  const { leaf } = tree;
  if (typeof leaf === 'string' || leaf instanceof Uint8Array) return leaf.length + 1;
  return 9;
}

/** What a container holds, for changes that are the same for lists and maps. Items are copied: twice is not the same one. */
interface Items<T> {
  readonly items: T[];
  readonly fresh: () => T;
  readonly copy: (item: T) => T;
  readonly sizeOf: (item: T) => number;
}

/** Changes the items of one container. */
function disturb<T>({ items, fresh, copy: again, sizeOf: size }: Items<T>, random: SeededRandom): void {
  const at = random.below(items.length + 1);
  const held = items[at];
  const another = (): T => (held === undefined ? fresh() : again(held));
  switch (random.below(5)) {
    case 0:
      items.splice(at, 1);
      break;
    case 1:
      items.splice(at, 0, another());
      break;
    case 2:
      items.splice(at, 0, fresh());
      break;
    case 3:
      items.reverse();
      break;
    default: {
      let room = GROWTH_BYTES_MAX;
      for (let i = random.pick([2, 20, 200]); i > 0 && room > 0; i--) {
        const item = another();
        room -= size(item);
        items.push(item);
      }
    }
  }
}

/** One valid input with one change inside, written again. */
export function mutateStructure(
  format: Format,
  bytes: Uint8Array,
  random: SeededRandom,
  corpus: readonly Uint8Array[],
): Uint8Array {
  const root = { list: [copy(format.read(bytes))] };
  const donor = everyNode(format.read(random.pick(corpus)));
  const fresh = (): Tree => (random.below(4) === 0 ? copy(random.pick(donor)) : random.pick(format.leaves));
  for (let i = random.pick([1, 1, 1, 2, 4]); i > 0; i--) {
    const parents = everyNode(root).filter((tree) => !('leaf' in tree));
    change(random.pick(parents), fresh, random);
  }
  return format.write(root.list[0] ?? { list: [] });
}

function change(parent: Tree, fresh: () => Tree, random: SeededRandom): void {
  const replace = (tree: Tree): Tree => (random.below(8) === 0 ? nest(tree, random) : fresh());
  const inPlace = random.below(3) > 0;
  if ('nested' in parent) {
    parent.nested = replace(parent.nested);
  } else if ('map' in parent) {
    const key = random.pick(['x', '', '__proto__', 'constructor', ...parent.map.map(([name]) => name)]);
    if (!inPlace || parent.map.length === 0) {
      const entries: Items<[string, Tree]> = {
        items: parent.map,
        fresh: () => [key, fresh()],
        copy: ([name, item]) => [name, copy(item)],
        sizeOf: ([, item]) => sizeOf(item),
      };
      return disturb(entries, random);
    }
    const entry = random.pick(parent.map);
    if (random.below(8) === 0) entry[0] = key;
    else entry[1] = replace(entry[1]);
  } else if ('list' in parent) {
    if (!inPlace || parent.list.length === 0) return disturb({ items: parent.list, fresh, copy, sizeOf }, random);
    const at = random.below(parent.list.length);
    parent.list[at] = replace(parent.list[at] as Tree);
  }
}
