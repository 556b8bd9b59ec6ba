/**
 * Closed schemas over decoded DAG-CBOR. A schema converts nothing: what passes is the value itself with a type, so
 * encoding it again gives the bytes that were read. Unknown keys are refused at every level.
 */
import { MeshError } from '../errors.ts';
import type { Cbor } from './cbor.ts';
import { Link } from './cid.ts';
import { isMultikey } from './multikey.ts';

export interface Schema<T> {
  /** The value itself, typed. Errors: schema, naming the field. */
  check(value: Cbor | undefined, field: string): T;
}
export type Checked<S> = S extends Schema<infer T> ? T : never;

const fail = (field: string, want: string): never => {
  throw new MeshError('schema', `Cannot accept field "${field}": want ${want}`, { field, want });
};

const schema = <T>(refuse: (value: Cbor | undefined, field: string) => void): Schema<T> => ({
  check(value, field) {
    refuse(value, field);
    return value as T;
  },
});

export const integer = (min: number, max: number): Schema<number> =>
  schema((value, field) => {
    if (typeof value !== 'number' || value < min || value > max) fail(field, `an integer from ${min} to ${max}`);
  });

export const bytes = (length: number): Schema<Uint8Array> =>
  schema((value, field) => {
    if (!(value instanceof Uint8Array) || value.length !== length) fail(field, `${length} bytes`);
  });

export const bytesOfAtMost = (lengthMax: number): Schema<Uint8Array> =>
  schema((value, field) => {
    if (!(value instanceof Uint8Array) || value.length > lengthMax) fail(field, `at most ${lengthMax} bytes`);
  });

export const multikey: Schema<Uint8Array> = schema((value, field) => {
  if (!(value instanceof Uint8Array) || !isMultikey(value)) fail(field, 'an Ed25519 multikey (ed01 and 32 bytes)');
});

/** Text that satisfies a test; lengths are the test's business. */
export const textWhere = (test: (text: string) => boolean, want: string): Schema<string> =>
  schema((value, field) => {
    if (typeof value !== 'string' || !test(value)) fail(field, want);
  });

/** Characters are Unicode code points, which every language can count; UTF-16 units are not. */
export const isTextOfAtMost = (value: string, charactersMax: number): boolean =>
  value.length <= charactersMax || (value.length <= 2 * charactersMax && [...value].length <= charactersMax);

export const text = (lengthMax: number): Schema<string> =>
  textWhere((value) => isTextOfAtMost(value, lengthMax), `text of at most ${lengthMax} characters`);

export const oneOf = <const T extends string>(...options: readonly T[]): Schema<T> =>
  schema((value, field) => {
    if (typeof value !== 'string' || !(options as readonly string[]).includes(value))
      fail(field, `one of "${options.join('", "')}"`);
  });

export const literal = <const T extends string | number | boolean>(wanted: T): Schema<T> =>
  schema((value, field) => {
    if (value !== wanted) fail(field, JSON.stringify(wanted));
  });

export const boolean: Schema<boolean> = schema((value, field) => {
  if (typeof value !== 'boolean') fail(field, 'true or false');
});

/** A CIDv1 dag-cbor sha2-256 link. */
export const link: Schema<Link> = schema((value, field) => {
  if (!(value instanceof Link) || !value.isId) fail(field, 'a link to a statement (CIDv1, dag-cbor, sha2-256)');
});

export const nullable = <T>(inner: Schema<T>): Schema<T | null> =>
  schema((value, field) => {
    if (value !== null) inner.check(value, field);
  });

/** Array.isArray, without the `any` that it brings. */
const isList = (value: Cbor | undefined): value is readonly Cbor[] => Array.isArray(value);

export const list = <T>(item: Schema<T>, min: number, max: number): Schema<readonly T[]> =>
  schema((value, field) => {
    if (!isList(value) || value.length < min || value.length > max)
      return fail(field, `a list of ${min} to ${max} items`);
    for (let i = 0; i < value.length; i++) item.check(value[i], `${field}[${i}]`);
  });

export const tuple = <const T extends readonly Schema<unknown>[]>(
  ...items: T
): Schema<{ readonly [I in keyof T]: Checked<T[I]> }> =>
  schema((value, field) => {
    if (!isList(value) || value.length !== items.length) return fail(field, `a list of exactly ${items.length} items`);
    for (let i = 0; i < items.length; i++) (items[i] as Schema<unknown>).check(value[i], `${field}[${i}]`);
  });

type Fields = Readonly<Record<string, Schema<unknown>>>;
type MapOf<R extends Fields, O extends Fields> = { readonly [K in keyof R]: Checked<R[K]> } & {
  readonly [K in keyof O]?: Checked<O[K]>;
};

/** A map with exactly these keys; the optional ones may be absent (never null). */
export const map = <const R extends Fields, const O extends Fields = Record<never, never>>(
  required: R,
  optional?: O,
): Schema<MapOf<R, O>> => {
  const all = new Map<string, Schema<unknown>>(Object.entries({ ...required, ...optional }));
  const names = Object.keys(required);
  return schema((value, field) => {
    if (
      typeof value !== 'object' ||
      value === null ||
      Array.isArray(value) ||
      value instanceof Uint8Array ||
      value instanceof Link
    ) {
      return fail(field, 'a map');
    }
    const entries = value as Record<string, Cbor | undefined>;
    for (const key of Object.keys(entries)) {
      if (entries[key] === undefined) continue;
      const inner = all.get(key);
      if (inner === undefined) return fail(join(field, key), 'no such field');
      inner.check(entries[key], join(field, key));
    }
    for (const name of names) if (entries[name] === undefined) fail(join(field, name), 'it to be present');
  });
};

const join = (field: string, key: string): string => (field === '' ? key : `${field}.${key}`);

/** Runs a further check on what already has the right shape. */
export const refine = <T>(
  inner: Schema<T>,
  further: (value: T, fail: (field: string, want: string) => never) => void,
): Schema<T> =>
  schema((value, field) => {
    further(inner.check(value, field), fail);
  });

/** Picks the schema by a text field of the map. */
export const variant = <const V extends Readonly<Record<string, Schema<unknown>>>>(
  key: string,
  variants: V,
): Schema<Checked<V[keyof V]>> =>
  schema((value, field) => {
    const tag =
      typeof value === 'object' && value !== null ? (value as Record<string, Cbor | undefined>)[key] : undefined;
    const inner = typeof tag === 'string' && Object.hasOwn(variants, tag) ? variants[tag] : undefined;
    if (inner === undefined) return fail(join(field, key), `one of "${Object.keys(variants).join('", "')}"`);
    inner.check(value, field);
  });
