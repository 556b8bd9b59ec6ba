/**
 * How vectors of our own formats are kept: a folder a format, one case a file under `valid/` or `invalid/`, named by
 * what it shows. Each has `source` (the section of SPEC.md that decides it); an invalid one has the `code` that any
 * implementation must refuse it with. `npm run generate` writes them; vectors.test.ts checks that
 * this changes nothing and that this implementation agrees with every one.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Cbor, Link } from '../../protocol/index.ts';

export interface ValidVector {
  readonly source: string;
  readonly [fact: string]: unknown;
}
export interface InvalidVector extends ValidVector {
  readonly code: string;
}
export interface VectorSet {
  readonly valid: Readonly<Record<string, ValidVector>>;
  readonly invalid: Readonly<Record<string, InvalidVector>>;
}

export const vectorsRoot: string = import.meta.dirname;

/** Each file of a set, by its path from the vectors' root, with its text. */
export function filesOf(name: string, set: VectorSet): Map<string, string> {
  const files = new Map<string, string>();
  for (const verdict of ['valid', 'invalid'] as const) {
    for (const [title, vector] of Object.entries(set[verdict])) {
      if (!/^[a-z0-9]+(-[a-z0-9]+)*$/.test(title)) throw new Error(`Cannot name a vector "${title}"`);
      files.set(`${name}/${verdict}/${title}.json`, `${JSON.stringify(vector, null, 2)}\n`);
    }
  }
  return files;
}

/** What lies on disk under a set's name. */
export function filesOnDisk(name: string): Map<string, string> {
  const files = new Map<string, string>();
  for (const verdict of ['valid', 'invalid']) {
    const folder = join(vectorsRoot, name, verdict);
    for (const file of readdirSync(folder))
      files.set(`${name}/${verdict}/${file}`, readFileSync(join(folder, file), 'utf8'));
  }
  return files;
}

/** A decoded value as DAG-JSON: bytes as {"/": {"bytes": base64}}, links as {"/": CID}. */
export function dagJson(value: Cbor): unknown {
  if (value instanceof Uint8Array) return { '/': { bytes: Buffer.from(value).toString('base64').replace(/=+$/, '') } };
  if (value instanceof Link) return value.toJSON();
  if (Array.isArray(value)) return (value as readonly Cbor[]).map(dagJson);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, dagJson(item as Cbor)]));
}
