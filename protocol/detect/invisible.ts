/**
 * Characters that nobody sees. What scripts and emoji need stays:
 * - ZWJ and ZWNJ between letters of Arabic, Syriac, Indic and other scripts that join, and ZWJ between pictographs;
 * - one variation selector after a pictograph, a keycap's base, a symbol, an ideograph or a Mongolian letter;
 * - tag characters as a flag: U+1F3F4, a region of 3 to 6 letters and digits, U+E007F;
 * - a byte order mark at the very start; zero-width spaces beside scripts that write no spaces; joiners of words and
 *   soft hyphens other than between ASCII letters;
 * - marks of direction in a text with letters written from right to left; embeddings and isolates that end in their line;
 * - terminal colours.
 * Two of them in a row stay nowhere else: that is how bytes are written in them.
 */
import type { Label } from './labels.ts';
import type { Span } from './finding.ts';

const SUSPECT = /[\p{Default_Ignorable_Code_Point}\p{Cf}\p{Cc}\u2028\u2029]/u;
const JOINING =
  /[\p{Script=Arabic}\p{Script=Syriac}\p{Script=Thaana}\p{Script=Nko}\p{Script=Mongolian}\p{Script=Devanagari}\p{Script=Bengali}\p{Script=Gurmukhi}\p{Script=Gujarati}\p{Script=Oriya}\p{Script=Tamil}\p{Script=Telugu}\p{Script=Kannada}\p{Script=Malayalam}\p{Script=Sinhala}\p{Script=Khmer}\p{Script=Myanmar}\p{Script=Tibetan}\p{Script=Thai}\p{Script=Lao}\p{Mn}\p{Mc}]/u;
const SPACELESS =
  /[\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}\p{Script=Tibetan}\p{Script=Javanese}\p{Script=Balinese}\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}]/u;
const PICTOGRAPH = /[\p{Extended_Pictographic}\p{Emoji_Modifier}]/u;
const SELECTABLE =
  /[\p{Extended_Pictographic}\p{Emoji_Modifier}0-9#*\p{Script=Han}\p{S}\p{Script=Mongolian}\p{Script=Myanmar}\p{Script=Phags_Pa}]/u;
const RIGHT_TO_LEFT =
  /[\p{Script=Arabic}\p{Script=Hebrew}\p{Script=Syriac}\p{Script=Thaana}\p{Script=Nko}\p{Script=Adlam}]/u;
const ASCII_WORD = /[0-9A-Za-z_]/;

const isSelector = (cp: number): boolean =>
  (cp >= 0xfe00 && cp <= 0xfe0f) || (cp >= 0xe0100 && cp <= 0xe01ef) || (cp >= 0x180b && cp <= 0x180f);
const isTag = (cp: number): boolean => cp >= 0xe0000 && cp <= 0xe007f;
const isPrivateTag = (cp: number): boolean => cp >= 0xe0080 && cp <= 0xe0fff && !isSelector(cp);

const KNOWN = new Uint8Array(65_536); // 0 not looked at yet, 1 seen by people, 2 not
function isSuspect(cp: number): boolean {
  if (cp > 0xffff) return cp >= 0xe0000 && cp <= 0xe0fff ? true : SUSPECT.test(String.fromCodePoint(cp));
  if (cp >= 0xd800 && cp <= 0xdfff) return false; // half of a pair shows as a box
  if (KNOWN[cp] === 0)
    KNOWN[cp] = cp !== 0x0a && cp !== 0x0d && cp !== 0x09 && SUSPECT.test(String.fromCharCode(cp)) ? 2 : 1;
  return KNOWN[cp] === 2;
}

const at = (text: string, i: number): number => text.codePointAt(i) ?? 0;
/** The code point that ends before `i`. */
function before(text: string, i: number): number {
  const low = text.charCodeAt(i - 1);
  const high = text.charCodeAt(i - 2);
  return low >= 0xdc00 && low <= 0xdfff && high >= 0xd800 && high <= 0xdbff ? at(text, i - 2) : low || 0;
}
const isIn = (set: RegExp, cp: number): boolean => cp > 0 && set.test(String.fromCodePoint(cp));
const widthOf = (cp: number): number => (cp > 0xffff ? 2 : 1);

/** Indices of the original text. */
export function findInvisible(text: string): Span[] {
  const spans: Span[] = [];
  const lines = new BidiLines();
  let hasRightToLeft: boolean | undefined;
  const add = (label: Label, start: number, end: number): void => {
    const last = spans.at(-1);
    if (last?.label === label && last.end === start) spans[spans.length - 1] = { label, start: last.start, end };
    else spans.push({ label, start, end });
  };
  for (let i = 0; i < text.length; ) {
    const cp = at(text, i);
    const width = widthOf(cp);
    if (cp === 0x0a) lines.endLine((start) => add('hidden.bidi', start, start + 1));
    if (!isSuspect(cp)) {
      i += width;
      continue;
    }
    if (cp < 0xa0) {
      const end = controlEnd(text, i);
      if (end < 0) i = -end;
      else {
        add('hidden.control', i, end);
        i = end;
      }
      continue;
    }
    if (isTag(cp) && before(text, i) === 0x1f3f4) {
      const end = flagEnd(text, i);
      if (end > 0) {
        i = end;
        continue;
      }
    }
    if (isBidiControl(cp)) {
      if (lines.take(cp, i)) add('hidden.bidi', i, i + 1);
    } else if (cp === 0x200e || cp === 0x200f || cp === 0x061c) {
      hasRightToLeft ??= RIGHT_TO_LEFT.test(text);
      if (!hasRightToLeft || isInvisibleNeighbour(text, i, width)) add('hidden.invisible', i, i + width);
    } else if (isTag(cp) || isPrivateTag(cp)) add('hidden.tags', i, i + width);
    else if (!isLegitimate(text, i, cp)) add(isSelector(cp) ? 'hidden.tags' : 'hidden.invisible', i, i + width);
    i += width;
  }
  lines.endLine((start) => add('hidden.bidi', start, start + 1));
  return spans.sort((a, b) => a.start - b.start || a.end - b.end);
}

function isLegitimate(text: string, i: number, cp: number): boolean {
  const last = before(text, i);
  const next = at(text, i + widthOf(cp));
  if (isSelector(cp)) return isIn(SELECTABLE, last) && !isSelector(next);
  if (cp === 0xfeff) return i === 0;
  if (cp === 0x200d && isIn(PICTOGRAPH, next) && (isIn(PICTOGRAPH, last) || last === 0xfe0f)) return true;
  if (cp === 0x200c || cp === 0x200d) return isIn(JOINING, last) && (isIn(JOINING, next) || !isSuspect(next));
  if (isSuspect(last) || isSuspect(next)) return false;
  if (cp === 0x200b) return isIn(SPACELESS, last) || isIn(SPACELESS, next);
  if (cp === 0x00ad || (cp >= 0x2060 && cp <= 0x2064)) return !(isIn(ASCII_WORD, last) && isIn(ASCII_WORD, next));
  if (cp === 0x2028 || cp === 0x2029) return true; // ends a line
  if (cp === 0x034f || cp === 0x180e || cp === 0x17b4 || cp === 0x17b5) return isIn(JOINING, last);
  // Signs that are seen although they format: Arabic numbers, Kaithi, Egyptian, shorthand, music.
  return (
    (cp >= 0x0600 && cp <= 0x0605) || cp === 0x06dd || cp === 0x070f || cp === 0x08e2 || (cp > 0x10ff0 && cp < 0x1e000)
  );
}
const isInvisibleNeighbour = (text: string, i: number, width: number): boolean =>
  isSuspect(before(text, i)) && isSuspect(at(text, i + width));

/** Of the tags that spell the region of a flag, or 0. */
function flagEnd(text: string, start: number): number {
  let region = '';
  for (let i = start; i < start + 14; i += 2) {
    const cp = at(text, i);
    if (cp === 0xe007f) return /^[a-z]{2}[a-z0-9]{1,4}$/.test(region) ? i + 2 : 0;
    if (!isTag(cp)) return 0;
    region += String.fromCharCode(cp - 0xe0000);
  }
  return 0;
}

/** After the escape character; not 8, which conceals. */
const COLOUR = /^\[(?:(?!0?8[;m])\d{1,3}(?:;(?!0?8[;m])\d{1,3}){0,16})?m/;
/** Of the control character; negative: it is a colour, which ends there. */
function controlEnd(text: string, i: number): number {
  if (text.charCodeAt(i) !== 0x1b) return text.charCodeAt(i) === 0x0c || text.charCodeAt(i) === 0x85 ? -(i + 1) : i + 1;
  const colour = COLOUR.exec(text.slice(i + 1, i + 80))?.[0];
  return colour === undefined ? i + 1 : -(i + 1 + colour.length);
}

const isBidiControl = (cp: number): boolean => (cp >= 0x202a && cp <= 0x202e) || (cp >= 0x2066 && cp <= 0x2069);

/** Embeddings (U+202A, U+202B, ended by U+202C) and isolates (U+2066 to U+2068, ended by U+2069) of one line. */
class BidiLines {
  #open: { readonly isIsolate: boolean; readonly start: number }[] = [];

  /** Whether it is one that hides in itself: an override, or an end of nothing. */
  take(cp: number, start: number): boolean {
    if (cp === 0x202d || cp === 0x202e) return true;
    if (cp === 0x202c || cp === 0x2069) {
      const last = this.#open.at(-1);
      if (last?.isIsolate !== (cp === 0x2069)) return true;
      this.#open.pop();
      return false;
    }
    this.#open.push({ isIsolate: cp >= 0x2066, start });
    return false;
  }

  /** Tells of those that did not end. */
  endLine(onOpen: (start: number) => void): void {
    for (const { start } of this.#open) onOpen(start);
    this.#open = [];
  }
}
