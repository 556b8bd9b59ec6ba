/**
 * YAML read strictly, with the place of everything: what is wrong is reported where it stands. One document, no tags, no
 * key twice, no unknown key, and aliases counted, so that a short text never stands for a long one.
 */
import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseDocument,
  type Scalar,
  type YAMLMap,
} from 'yaml';
import { nearest } from '../control/nearest.ts';
import { MeshError } from '../errors.ts';
import { POLICY_ALIASES_MAX, POLICY_TEXT_BYTES_MAX } from '../limits.ts';

/** Counted from 1, columns in UTF-16 code units as editors show them. */
export interface Place {
  readonly line: number;
  readonly column: number;
}

/** A node with the name that people know it by, as "rules[2].action". */
export interface Item {
  readonly node: Node | null;
  readonly path: string;
  /** Where a node that is not there would stand. */
  readonly at: number;
}

export type Members<K extends string> = { readonly [key in K]?: Item };

export class YamlReader {
  readonly #source: string;
  /** As people know it: the file's name, or the policy's. */
  readonly #file: string;
  readonly #lines = new LineCounter();
  readonly #document: Document.Parsed;
  #aliases = 0;

  /** Errors: policy_invalid. */
  constructor(source: string, file: string) {
    this.#source = source;
    this.#file = file;
    const bytes = new TextEncoder().encode(source).length;
    if (bytes > POLICY_TEXT_BYTES_MAX) throw this.#error(0, `it has ${bytes} bytes, want <= ${POLICY_TEXT_BYTES_MAX}`);
    this.#document = parseDocument(source, {
      lineCounter: this.#lines,
      prettyErrors: false,
      stringKeys: true,
      logLevel: 'error', // at 'silent' yaml overlooks a second document
    });
    const problem = this.#document.errors[0] ?? this.#document.warnings[0];
    if (problem !== undefined)
      throw this.#error(
        problem.pos[0],
        problem.code === 'MULTIPLE_DOCS' ? 'it holds a second document, want one' : lowered(problem.message),
      );
  }

  get root(): Item {
    return { node: this.#document.contents, path: '', at: 0 };
  }

  /** Members of a map by their keys. Errors: policy_invalid, for any other key with what was probably meant. */
  members<const K extends string>(item: Item, keys: readonly K[], what: string): Members<K> {
    const node = this.#resolved(item);
    if (!isMap(node)) throw this.invalid(item, `${what} is ${described(node)}, want a map of ${listed(keys)}`);
    const found: { [key in K]?: Item } = {};
    for (const { key, value } of (node as YAMLMap<Node, Node | null>).items) {
      const word = isScalar(key) ? String(key.value) : '';
      const at = key.range?.[0] ?? item.at;
      const known = keys.find((each) => each === word);
      if (known === undefined) throw this.#unknownKey(at, word, keys, what, item.path);
      found[known] = { node: value, path: item.path === '' ? word : `${item.path}.${word}`, at };
    }
    return found;
  }

  items(item: Item, want: string, max: number): Item[] {
    const node = this.#resolved(item);
    if (!isSeq<Node>(node)) throw this.invalid(item, `"${item.path}" is ${described(node)}, want ${want}`);
    if (node.items.length > max)
      throw this.invalid(item, `"${item.path}" has ${node.items.length} items, want at most ${max}`);
    return node.items.map((each, i) => ({ node: each, path: `${item.path}[${i}]`, at: each.range?.[0] ?? item.at }));
  }

  /** Of a scalar: its value, and its letters in the source. */
  scalar(item: Item): { readonly value: unknown; readonly source: string; readonly node: Scalar } | undefined {
    const node = this.#resolved(item);
    return isScalar(node) ? { value: node.value, source: node.source ?? String(node.value), node } : undefined;
  }

  isList(item: Item): boolean {
    return isSeq(this.#resolved(item));
  }
  isMap(item: Item): boolean {
    return isMap(this.#resolved(item));
  }

  text(item: Item, want: string, isRight: (text: string) => boolean): string {
    const value = this.scalar(item)?.value;
    if (typeof value !== 'string' || !isRight(value)) throw this.#wrong(item, want);
    return value;
  }

  integer(item: Item, min: number, max: number): number {
    const value = this.scalar(item)?.value;
    if (typeof value !== 'number' || !Number.isInteger(value) || value < min || value > max)
      throw this.#wrong(item, `an integer from ${min} to ${max}`);
    return value;
  }

  boolean(item: Item): boolean {
    const value = this.scalar(item)?.value;
    if (typeof value !== 'boolean') throw this.#wrong(item, 'true or false');
    return value;
  }

  oneOf<const T extends string>(item: Item, words: readonly T[]): T {
    const value = this.scalar(item)?.value;
    const found = words.find((word) => word === value);
    if (found !== undefined) return found;
    const near = typeof value === 'string' ? nearest(value.replaceAll('-', '_'), words) : undefined;
    throw this.#wrong(item, near === undefined ? `one of ${words.join(', ')}` : `perhaps "${near}"`);
  }

  /** As JSON: for parts that are taken as they are. */
  json(item: Item): unknown {
    const node = this.#resolved(item);
    if (node === null) return null;
    try {
      return node.toJS(this.#document, { maxAliasCount: POLICY_ALIASES_MAX }) as unknown;
    } catch {
      throw this.invalid(item, `"${item.path}" uses more than ${POLICY_ALIASES_MAX} aliases`); // all that yaml throws here
    }
  }

  place(item: Item): Place {
    return this.#placeAt(this.#offsetOf(item));
  }

  /** `what` says what is and what was wanted. */
  invalid(item: Item, what: string): MeshError {
    return this.#error(this.#offsetOf(item), what, item.path);
  }

  /** As `invalid`, `offset` letters into a scalar's value, in whichever way it is quoted or folded. */
  invalidWithin(item: Item, offset: number, what: string): MeshError {
    return this.#error(this.#offsetWithin(item, offset), what, item.path);
  }

  placeWithin(item: Item, offset: number): Place {
    return this.#placeAt(this.#offsetWithin(item, offset));
  }

  #offsetOf(item: Item): number {
    return item.node?.range?.[0] ?? item.at;
  }

  #offsetWithin(item: Item, offset: number): number {
    const scalar = this.scalar(item);
    return scalar === undefined ? this.#offsetOf(item) : sourceOffset(this.#source, scalar.node, offset);
  }

  #wrong(item: Item, want: string): MeshError {
    return this.invalid(item, `"${item.path}" is ${described(this.#resolved(item))}, want ${want}`);
  }

  #unknownKey(at: number, word: string, keys: readonly string[], what: string, path: string): MeshError {
    const near = nearest(word.toLowerCase().replaceAll('-', '_'), keys);
    const want = near === undefined ? `one of ${keys.join(', ')}` : `perhaps "${near}"`;
    return this.#error(at, `"${word}" is no key of ${what}, want ${want}`, path === '' ? word : `${path}.${word}`);
  }

  #resolved(item: Item): Node | null {
    const { node } = item;
    if (!isAlias(node)) return node;
    if (++this.#aliases > POLICY_ALIASES_MAX)
      throw this.invalid(item, `it uses more than ${POLICY_ALIASES_MAX} aliases, want the values themselves`);
    return node.resolve(this.#document) ?? null;
  }

  #error(offset: number, what: string, path?: string): MeshError {
    const { line, column } = this.#placeAt(offset);
    return invalidPolicy(this.#file, { line, column }, what, path);
  }

  #placeAt(offset: number): Place {
    const { line, col } = this.#lines.linePos(offset);
    return { line: Math.max(1, line), column: Math.max(1, col) };
  }
}

export const invalidPolicy = (file: string, { line, column }: Place, what: string, field?: string): MeshError =>
  new MeshError('policy_invalid', `Cannot use policy "${file}", line ${line}, column ${column}: ${what}`, {
    file,
    line,
    column,
    ...(field === undefined || field === '' ? {} : { field }),
  });

const lowered = (message: string): string => message.charAt(0).toLowerCase() + message.slice(1).replace(/\.$/, '');
const listed = (keys: readonly string[]): string => keys.slice(0, 8).join(', ') + (keys.length > 8 ? ', …' : '');

function described(node: Node | null | undefined): string {
  if (node === null || node === undefined) return 'empty';
  if (isMap(node)) return 'a map';
  if (isSeq(node)) return 'a list';
  if (!isScalar(node) || node.value === null) return 'empty';
  const text = typeof node.value === 'string' ? JSON.stringify(node.value) : (node.source ?? typeof node.value);
  return text.length <= 80 ? text : `${text.slice(0, 79)}…`;
}

/**
 * Where in the source the letter at `offset` of a scalar's value stands. Letters that are no white space are the same in
 * value and source but for escapes; between them white space may be folded, indented or continued.
 */
function sourceOffset(source: string, node: Scalar, offset: number): number {
  const [start, end] = node.range ?? [0, 0, 0];
  const value = String(node.value);
  let at = start;
  if (node.type === 'QUOTE_DOUBLE' || node.type === 'QUOTE_SINGLE') at++;
  else if (node.type === 'BLOCK_LITERAL' || node.type === 'BLOCK_FOLDED') {
    const header = source.indexOf('\n', start); // indicator, indentation, comment
    at = header < 0 || header > end ? end : header + 1;
  }
  for (let i = 0; ; ) {
    const skipTo = nextLetter(source, at, end, node.type);
    if (isSpace(value, i)) {
      // Of a run of white space the letters that are alike on both sides stand where they stand.
      let run = i;
      while (isSpace(value, run)) run++;
      if (offset < run) return Math.min(at + (offset - i), Math.max(at, skipTo - (run - offset)));
      i = run;
      at = skipTo;
      continue;
    }
    at = skipTo;
    if (i >= offset || i >= value.length || at >= end) return Math.min(at, end);
    const step = escapeAt(source, at, node.type);
    at += step.length;
    i += step.letters;
  }
}

const isSpace = (text: string, at: number): boolean => at < text.length && /[ \t\r\n]/.test(text.charAt(at));

/** Past white space and, between double quotes, past line ends that a backslash hides. */
function nextLetter(source: string, at: number, end: number, type: Scalar['type']): number {
  let next = at;
  while (next < end) {
    if (/[ \t\r\n]/.test(source.charAt(next))) next++;
    else if (type === 'QUOTE_DOUBLE' && /^\\(\r?\n|[ ntr\t])/.test(source.slice(next, next + 3)))
      next += source.charAt(next + 1) === '\r' ? 3 : 2;
    else break;
  }
  return next;
}

/** How long one letter is in the source, and in the value. */
function escapeAt(source: string, at: number, type: Scalar['type']): { length: number; letters: number } {
  const letter = source.charAt(at);
  if (type === 'QUOTE_SINGLE' && letter === "'") return { length: 2, letters: 1 };
  if (type !== 'QUOTE_DOUBLE' || letter !== '\\') return { length: 1, letters: 1 };
  const kind = source.charAt(at + 1);
  const digits = kind === 'x' ? 2 : kind === 'u' ? 4 : kind === 'U' ? 8 : 0;
  const isAstral = kind === 'U' && Number.parseInt(source.slice(at + 2, at + 10), 16) > 0xffff;
  return { length: 2 + digits, letters: isAstral ? 2 : 1 };
}
