/**
 * Text as the detectors compare it: compatibility forms (NFKC, a code point at a time), without accents on Latin,
 * Greek and Cyrillic letters, without what is not seen, digits of all scripts as 0-9, one kind of dash, quote and
 * space. Each unit remembers where it came from, so that what is found can be cut out of the original.
 */

export interface Folded {
  readonly plain: string;
  /** In lower case, unit for unit as long as `plain`. */
  readonly lower: string;
  /** Undefined where the text is plain ASCII. */
  readonly changes: Changes | undefined;
}

/** Letters, digits and signs of ASCII, and white space: nothing in it is unseen. */
export const isPlainAscii = (text: string): boolean => !/[^\t\n\r -~]/.test(text);

const UNSEEN = /[\p{Default_Ignorable_Code_Point}\p{Cf}]/u;
/** Accents on their own, Arabic vowel signs and the stretching tatweel: first and last of each range. */
const MARKS: readonly (readonly [number, number])[] = [
  [0x0300, 0x036f],
  [0x0640, 0x0640],
  [0x064b, 0x065f],
  [0x0670, 0x0670],
  [0x1ab0, 0x1aff],
  [0x1dc0, 0x1dff],
  [0x20d0, 0x20ff],
  [0xfe20, 0xfe2f],
];
const isMark = (cp: number): boolean => MARKS.some(([from, to]) => cp >= from && cp <= to);
const DIGIT = /\p{Nd}/u;
const SPACE = /\p{Zs}/u;
const DASH = /[\p{Pd}\u2212]/u;
const LINE = /[\u0085\u2028\u2029]/;
const ACCENTED = /[\p{Script=Latin}\p{Script=Greek}\p{Script=Cyrillic}\p{Script=Arabic}]/u;
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
  if (isMark(cp) || UNSEEN.test(text)) return '';
  if (DIGIT.test(text)) return String(digitValue(cp));
  if (SPACE.test(text)) return ' ';
  if (DASH.test(text)) return '-';
  if (LINE.test(text)) return '\n';
  let out = '';
  for (const letter of SPELT[text] ?? text.normalize('NFKC')) out += SPELT[letter] ?? unaccented(letter);
  return out;
}
const unaccented = (letter: string): string =>
  ACCENTED.test(letter)
    ? [...letter.normalize('NFD')].filter((part) => !isMark(part.codePointAt(0) ?? 0)).join('')
    : letter;

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
const LONE = '\ufffd'; // half of a pair is no character

/** What is written otherwise in the folded text: most of a text is not. */
export interface Changes {
  /** In the original. */
  readonly starts: number[];
  readonly ends: number[];
  /** In the folded text. */
  readonly foldedStarts: number[];
  readonly foldedEnds: number[];
}

export function foldText(text: string): Folded {
  if (isPlainAscii(text)) return { plain: text, lower: text.toLowerCase(), changes: undefined };
  const changes: Changes = { starts: [], ends: [], foldedStarts: [], foldedEnds: [] };
  const parts: string[] = [];
  let kept = 0; // up to here the parts have the text
  let length = 0;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit < 0x80 || KNOWN[unit] === 1) continue;
    const end = clusterEnd(text, i, unit);
    const folded = foldCluster(text, i, end, unit);
    if (folded !== undefined) {
      parts.push(text.slice(kept, i), folded);
      length += i - kept;
      changes.starts.push(i);
      changes.ends.push(end);
      changes.foldedStarts.push(length);
      length += folded.length;
      changes.foldedEnds.push(length);
      kept = end;
    }
    i = end - 1;
  }
  parts.push(text.slice(kept));
  const plain = parts.join('');
  return { plain, lower: lowerOf(plain), changes };
}

function clusterEnd(text: string, i: number, unit: number): number {
  if (isHigh(unit) && isLow(text.charCodeAt(i + 1))) return i + 2;
  if (!isJamo(unit)) return i + 1;
  let end = i + 1; // a syllable has three at most
  while (end < i + 3 && isJamo(text.charCodeAt(end))) end++;
  return end;
}

/** Undefined: it stays. */
function foldCluster(text: string, start: number, end: number, unit: number): string | undefined {
  let folded: string | undefined;
  if (isJamo(unit)) folded = text.slice(start, end).normalize('NFC');
  else if (end - start === 2) folded = foldCodePoint(text.codePointAt(start) ?? 0);
  else if (unit >= 0xd800 && unit <= 0xdfff) folded = LONE;
  else folded = foldUnit(unit);
  return folded === undefined || (folded.length === end - start && text.startsWith(folded, start)) ? undefined : folded;
}

function lowerOf(plain: string): string {
  const lower = plain.toLowerCase();
  if (lower.length === plain.length) return lower;
  return Array.from({ length: plain.length }, (_, i) => {
    const small = plain.charAt(i).toLowerCase();
    return small.length === 1 ? small : plain.charAt(i);
  }).join('');
}

/** The last change that begins at or before this place of the folded text; -1 before the first. */
function changeAt({ foldedStarts }: Changes, place: number): number {
  let low = 0;
  let high = foldedStarts.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((foldedStarts[middle] as number) <= place) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** The first and the last unit of the original that became this unit of the folded text. */
function originOf(changes: Changes, place: number): readonly [start: number, end: number] {
  const k = changeAt(changes, place);
  if (k < 0) return [place, place + 1];
  const foldedEnd = changes.foldedEnds[k] as number;
  const end = changes.ends[k] as number;
  if (place < foldedEnd) return [changes.starts[k] as number, end];
  return [end + place - foldedEnd, end + place - foldedEnd + 1];
}

export const originalStart = ({ changes }: Folded, start: number): number =>
  changes === undefined ? start : originOf(changes, start)[0];
/** Where the original ends of what ends before this unit of the folded text. */
export const originalEnd = ({ changes }: Folded, end: number): number =>
  changes === undefined ? end : originOf(changes, end - 1)[1];
