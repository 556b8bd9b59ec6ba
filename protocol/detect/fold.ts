/**
 * Text as the detectors compare it: compatibility forms (NFKC, a code point at a time), without accents on Latin,
 * Greek and Cyrillic letters, without what is not seen, digits of all scripts as 0-9, one kind of dash, quote and
 * space. Each unit remembers where it came from, so that what is found can be cut out of the original.
 */

export interface Folded {
  readonly plain: string;
  /** In lower case, unit for unit as long as `plain`. */
  readonly lower: string;
  /** Index in the original of each unit of `plain`; undefined: the same. */
  readonly at: Uint32Array | undefined;
}

const NOT_ASCII = /[^\0-\x7f]/;
export const isAscii = (text: string): boolean => !NOT_ASCII.test(text);

const REMOVED =
  /[\p{Default_Ignorable_Code_Point}\p{Cf}\u0300-\u036f\u0640\u064b-\u065f\u0670\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]/u;
const DIGIT = /\p{Nd}/u;
const SPACE = /\p{Zs}/u;
const DASH = /[\p{Pd}\u2212]/u;
const LINE = /[\u0085\u2028\u2029]/;
const ACCENTED = /[\p{Script=Latin}\p{Script=Greek}\p{Script=Cyrillic}\p{Script=Arabic}]/u;
const ACCENTS = /[\u0300-\u036f\u0653-\u0655]/g;
const SPELT: Readonly<Record<string, string>> = {
  ı: 'i',
  ł: 'l',
  Ł: 'L',
  ø: 'o',
  Ø: 'O',
  đ: 'd',
  Đ: 'D',
  ß: 'ss',
  ẞ: 'SS',
  æ: 'ae',
  Æ: 'AE',
  œ: 'oe',
  Œ: 'OE',
  '‘': "'",
  '’': "'",
  ʼ: "'",
  '′': "'",
  '“': '"',
  '”': '"',
  '„': '"',
};

/** Digits stand in tens, from zero. */
function digitValue(cp: number): number {
  let zero = cp;
  while (zero > 0 && cp - zero < 60 && DIGIT.test(String.fromCodePoint(zero - 1))) zero--;
  return (cp - zero) % 10; // the mathematical digits are five tens in a row
}

function foldCodePoint(cp: number): string {
  const text = String.fromCodePoint(cp);
  if (REMOVED.test(text)) return '';
  if (DIGIT.test(text)) return String(digitValue(cp));
  if (SPACE.test(text)) return ' ';
  if (DASH.test(text)) return '-';
  if (LINE.test(text)) return '\n';
  let out = '';
  for (const letter of SPELT[text] ?? text.normalize('NFKC')) out += SPELT[letter] ?? unaccented(letter);
  return out;
}
const unaccented = (letter: string): string =>
  ACCENTED.test(letter) ? letter.normalize('NFD').replace(ACCENTS, '') : letter;

// What was found out of a unit of the basic plane is kept: 0 nothing yet, 1 stays, 2 see FOLDS.
const KNOWN = new Uint8Array(65_536);
const FOLDS = new Map<number, string>();

function foldUnit(unit: number): string | undefined {
  const known = KNOWN[unit];
  if (known === 1) return undefined;
  if (known === 2) return FOLDS.get(unit);
  const folded = foldCodePoint(unit);
  if (folded === String.fromCharCode(unit)) {
    KNOWN[unit] = 1;
    return undefined;
  }
  KNOWN[unit] = 2;
  FOLDS.set(unit, folded);
  return folded;
}

const isJamo = (unit: number): boolean => unit >= 0x1100 && unit <= 0x11ff;
const isHigh = (unit: number): boolean => unit >= 0xd800 && unit <= 0xdbff;
const isLow = (unit: number): boolean => unit >= 0xdc00 && unit <= 0xdfff;

export function foldText(text: string): Folded {
  if (isAscii(text)) return { plain: text, lower: text.toLowerCase(), at: undefined };
  let units = new Uint16Array(text.length + 64);
  let at = new Uint32Array(text.length + 64);
  let n = 0;
  const put = (folded: string, from: number): void => {
    if (n + folded.length > units.length) {
      units = grown(units, new Uint16Array(units.length * 2 + folded.length));
      at = grown(at, new Uint32Array(units.length));
    }
    for (let k = 0; k < folded.length; k++) {
      units[n] = folded.charCodeAt(k);
      at[n++] = from;
    }
  };
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit < 0x80 || KNOWN[unit] === 1) {
      if (n === units.length) put(String.fromCharCode(unit), i);
      else {
        units[n] = unit;
        at[n++] = i;
      }
    } else if (isHigh(unit) && isLow(text.charCodeAt(i + 1))) {
      put(foldCodePoint(text.codePointAt(i) as number), i++);
    } else if (unit >= 0xd800 && unit <= 0xdfff) {
      put('\ufffd', i); // half of a pair is no character
    } else if (isJamo(unit)) {
      let end = i + 1; // a syllable has three at most
      while (end < i + 3 && isJamo(text.charCodeAt(end))) end++;
      put(text.slice(i, end).normalize('NFC'), i);
      i = end - 1;
    } else {
      put(foldUnit(unit) ?? String.fromCharCode(unit), i);
    }
  }
  const plain = textOf(units, n);
  return { plain, lower: lowerOf(plain), at: at.subarray(0, n) };
}

function grown<T extends Uint16Array | Uint32Array>(from: T, to: T): T {
  to.set(from);
  return to;
}

function textOf(units: Uint16Array, n: number): string {
  const parts: string[] = [];
  for (let i = 0; i < n; i += 8192) parts.push(String.fromCharCode(...units.subarray(i, Math.min(n, i + 8192))));
  return parts.join('');
}

function lowerOf(plain: string): string {
  const lower = plain.toLowerCase();
  if (lower.length === plain.length) return lower;
  return Array.from({ length: plain.length }, (_, i) => {
    const small = plain.charAt(i).toLowerCase();
    return small.length === 1 ? small : plain.charAt(i);
  }).join('');
}

/** Where the original ends of what ends before unit `end` of the folded text. */
export function originalEnd(text: string, { at }: Folded, end: number): number {
  if (at === undefined) return end;
  const start = at[end - 1] ?? 0;
  return start + ((text.codePointAt(start) ?? 0) > 0xffff ? 2 : 1);
}
export const originalStart = ({ at }: Folded, start: number): number => (at === undefined ? start : (at[start] ?? 0));
