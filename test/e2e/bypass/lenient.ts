/**
 * Reading as real servers do it, with all their kindness: what a strict reader refuses, these carry out. Each kindness is
 * one that some library has (Python's json and text files, Go's encoding/json, JavaScript, gateways that normalise).
 */
export interface Kindness {
  /** Of members of one name (Go: of any case) this one counts. */
  readonly twice: 'first' | 'last';
  /** Member names match without regard to case, U+017F and U+212A as in Go's encoding/json. */
  readonly foldsMembers: boolean;
  /** `json.loads(bytes)` finds UTF-16 and UTF-32 by where the zeros are. */
  readonly findsEncodings: boolean;
  /** Several values behind each other, as Go's json.Decoder and raw_decode loops read them. */
  readonly streams: boolean;
  /** Comments, single quotes, names without quotes, commas at ends. */
  readonly isJson5: boolean;
  /** Text files of Python take CR for a line's end; Node's readline takes U+2028 too. */
  readonly linesEnd: RegExp;
}

export type Value = null | boolean | number | string | Value[] | Members;
/** In order, with all that was there twice resolved. */
export interface Members {
  [name: string]: Value;
}

/** Go's foldName: simple folding of ASCII letters, and the two letters that fold to ASCII. */
export const foldedMember = (name: string): string =>
  name.replaceAll('\u017f', 's').replaceAll('\u212a', 'k').toLowerCase();

/** Overlong forms, surrogates and rubbish make letters too. */
export function laxUtf8(bytes: Uint8Array): string {
  let out = '';
  for (let i = 0; i < bytes.length; ) {
    const lead = bytes[i] ?? 0;
    const length = lead < 0x80 ? 1 : lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 0;
    const rest = bytes.subarray(i + 1, i + length);
    if (length === 0 || rest.length < length - 1 || !rest.every((byte) => byte >> 6 === 2)) {
      out += '\ufffd';
      i++;
      continue;
    }
    let point = length === 1 ? lead : lead & (0x7f >> length);
    for (const byte of rest) point = (point << 6) | (byte & 0x3f);
    out += point > 0x10ffff ? '\ufffd' : String.fromCodePoint(point);
    i += length;
  }
  return out;
}

export function decode(bytes: Uint8Array, kindness: Kindness): string {
  if (!kindness.findsEncodings) return laxUtf8(bytes).replace(/^\ufeff/, '');
  const [a = 1, b = 1, c = 1, d = 1] = bytes;
  const buffer = Buffer.from(bytes);
  if ((a === 0 && b === 0 && d !== 0) || (a !== 0 && b === 0 && c === 0 && d === 0)) {
    const points = [];
    for (let i = 0; i + 3 < buffer.length; i += 4)
      points.push(a === 0 ? buffer.readUInt32BE(i) : buffer.readUInt32LE(i));
    return points.map((point) => String.fromCodePoint(Math.min(point, 0x10ffff))).join('');
  }
  const even = buffer.subarray(0, buffer.length - (buffer.length % 2));
  if ((a === 0xff && b === 0xfe) || (a !== 0 && b === 0)) return even.toString('utf16le').replace(/^\ufeff/, '');
  if ((a === 0xfe && b === 0xff) || (a === 0 && b !== 0))
    return Buffer.from(even)
      .swap16()
      .toString('utf16le')
      .replace(/^\ufeff/, '');
  return laxUtf8(bytes).replace(/^\ufeff/, '');
}

/** Every value in the text that can be read; what cannot ends it. */
export function parseLax(text: string, kindness: Kindness): Value[] {
  const reader = new Reader(text, kindness);
  const values: Value[] = [];
  try {
    while (!reader.isAtEnd()) {
      values.push(reader.value(0));
      if (!kindness.streams) break;
    }
    if (!kindness.streams && !reader.isAtEnd()) return []; // one value, and nothing behind it
  } catch (error) {
    if (!(error instanceof SyntaxError || error instanceof RangeError)) throw error; // RangeError: the stack
  }
  return values;
}

const LITERALS: readonly (readonly [string, Value])[] = [
  ['true', true],
  ['false', false],
  ['null', null],
  ['NaN', Number.NaN],
  ['Infinity', Number.POSITIVE_INFINITY],
  ['-Infinity', Number.NEGATIVE_INFINITY],
];
const DEPTH_MAX = 5_000;

class Reader {
  readonly #text: string;
  readonly #kindness: Kindness;
  #at = 0;

  constructor(text: string, kindness: Kindness) {
    this.#text = text;
    this.#kindness = kindness;
  }

  isAtEnd(): boolean {
    this.#skip();
    return this.#at >= this.#text.length;
  }

  value(depth: number): Value {
    if (depth > DEPTH_MAX) throw new SyntaxError('deep');
    this.#skip();
    const letter = this.#text[this.#at];
    if (letter === '{') return this.#object(depth);
    if (letter === '[') return this.#list(depth);
    if (this.#isQuote(letter)) return this.#string();
    for (const [word, value] of LITERALS)
      if (this.#text.startsWith(word, this.#at)) {
        this.#at += word.length;
        return value;
      }
    return this.#number();
  }

  #skip(): void {
    const pattern = this.#kindness.isJson5 ? /(?:\s|\/\/[^\n]*|\/\*[^]*?\*\/|\ufeff)*/y : /[ \t\r\n\0\v\f\ufeff]*/y;
    pattern.lastIndex = this.#at;
    pattern.exec(this.#text);
    this.#at = Math.max(this.#at, pattern.lastIndex);
  }

  #isQuote = (letter: string | undefined): boolean => letter === '"' || (this.#kindness.isJson5 && letter === "'");

  #take(letter: string): boolean {
    this.#skip();
    if (this.#text[this.#at] !== letter) return false;
    this.#at++;
    return true;
  }

  #number(): number {
    const pattern = /[-+]?(?:0x[0-9a-f]+|\d[\d_]*\.?\d*(?:e[-+]?\d+)?)/iy;
    pattern.lastIndex = this.#at;
    const [text] = pattern.exec(this.#text) ?? [];
    if (text === undefined) throw new SyntaxError('no value');
    this.#at += text.length;
    return Number(text.replaceAll('_', ''));
  }

  #string(): string {
    const quote = this.#text[this.#at++];
    let out = '';
    for (;;) {
      const letter = this.#text[this.#at++];
      if (letter === undefined) throw new SyntaxError('no end');
      if (letter === quote) return out;
      out += letter === '\\' ? this.#escape() : letter;
    }
  }

  #escape(): string {
    const letter = this.#text[this.#at++] ?? '';
    if (letter === 'u' || letter === 'x') {
      const length = letter === 'u' ? 4 : 2;
      const hex = this.#text.slice(this.#at, this.#at + length);
      this.#at += length;
      return String.fromCharCode(Number.parseInt(hex, 16));
    }
    return { n: '\n', r: '\r', t: '\t', b: '\b', f: '\f' }[letter] ?? letter;
  }

  #list(depth: number): Value[] {
    this.#at++;
    const items: Value[] = [];
    for (;;) {
      if (this.#take(']')) return items;
      items.push(this.value(depth + 1));
      if (!this.#take(',') && this.#text[this.#at] !== ']') throw new SyntaxError('no comma');
    }
  }

  #object(depth: number): Members {
    this.#at++;
    const found = new Map<string, Value>();
    for (;;) {
      if (this.#take('}')) break;
      const name = this.#name();
      if (!this.#take(':')) throw new SyntaxError('no colon');
      const value = this.value(depth + 1);
      const key = this.#kindness.foldsMembers ? foldedMember(name) : name;
      if (this.#kindness.twice === 'last' || !found.has(key)) found.set(key, value);
      if (!this.#take(',') && this.#text[this.#at] !== '}') throw new SyntaxError('no comma');
    }
    return Object.fromEntries<Value>(found);
  }

  #name(): string {
    this.#skip();
    if (this.#isQuote(this.#text[this.#at])) return this.#string();
    const pattern = /[\p{ID_Start}$_][\p{ID_Continue}$]*/uy;
    pattern.lastIndex = this.#at;
    const [text] = this.#kindness.isJson5 ? (pattern.exec(this.#text) ?? []) : [];
    if (text === undefined) throw new SyntaxError('no name');
    this.#at += text.length;
    return text;
  }
}
