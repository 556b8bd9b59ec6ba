/** A configuration file as text that is edited in place: what is not touched stays as it is, byte for byte. */
import type { Json } from './json-value.ts';
import type { Change } from './shapes.ts';
import { jsonFormat } from './json.ts';
import { tomlFormat } from './toml.ts';

/** Paths lead through members from the root. Errors: malformed, with line and column; conflict, where an edit could harm. */
export interface Format {
  /** What the text says. */
  parse(text: string): Json;
  /** The text of what is at a path: what `replace` puts back. */
  textAt(text: string, path: readonly string[]): string;
  edit(text: string, path: readonly string[], change: Change): string;
  replace(text: string, path: readonly string[], content: string): string;
}

export const formatOf = (format: 'json' | 'toml'): Format => (format === 'json' ? jsonFormat : tomlFormat);
