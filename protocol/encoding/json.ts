/**
 * A second look at the tokens of JSON text. JSON.parse lets pass what two readers may understand differently: a member
 * that is named twice (the last wins here, the first elsewhere), `__proto__`, half a surrogate pair, any depth, and
 * numbers that a double cannot hold. Where the values stand is told too, for whoever needs their letters.
 */

export interface JsonFault {
  /** "the member "a" is there twice". */
  readonly why: string;
  /** The member that it is about, or "". */
  readonly field: string;
  /** It is about a member of the outermost object itself. */
  readonly isOutermost: boolean;
}

/** Where something stands in the text: from its first letter to before the letter after its last. */
export type Span = readonly [start: number, end: number];

export interface JsonScan {
  readonly value: unknown;
  /** The first thing that is wrong; what else is told is then of no use but for an answer. */
  readonly fault?: JsonFault;
  /** Where the value of each member of the outermost object stands. */
  readonly members: ReadonlyMap<string, Span>;
  /** Where numbers start that are not what they were any more once they are doubles. */
  readonly inexact: readonly number[];
  /** One is beyond the range of doubles. */
  readonly isOverflowing: boolean;
}

/** Errors: SyntaxError where it is no JSON. What is nested far too deep is not even parsed: `value` is undefined. */
export function scanJson(text: string, depthMax: number): JsonScan {
  if (text.length > LONG && isDeeper(text, depthMax)) return tooDeep(depthMax);
  return new Scanner(text, depthMax).scan(JSON.parse(text));
}

const LONG = 64 * 1024; // the levels that fit in fewer letters take JSON.parse no memory to speak of

/** Of text that may be no JSON. */
function isDeeper(text: string, depthMax: number): boolean {
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === QUOTE) i = endOfString(text, i) - 1;
    else if (code === OPEN_OBJECT || code === OPEN_ARRAY) depth++;
    else if (code === CLOSE_OBJECT || code === CLOSE_ARRAY) depth--;
    if (depth > depthMax) return true;
  }
  return false;
}

const tooDeep = (depthMax: number): JsonScan => ({
  value: undefined,
  fault: { why: `it is nested deeper than ${depthMax} levels`, field: '', isOutermost: false },
  members: new Map(),
  inexact: [],
  isOverflowing: false,
});

class Scanner {
  readonly #text: string;
  readonly #depthMax: number;
  /** Names seen in each open object; undefined for an array. */
  readonly #open: (Set<string> | undefined)[] = [];
  readonly #members = new Map<string, Span>();
  readonly #inexact: number[] = [];
  #isOverflowing = false;
  #fault: JsonFault | undefined;
  /** The member of the outermost object whose value is being read. */
  #member: { readonly name: string; readonly start: number } | undefined;

  constructor(text: string, depthMax: number) {
    this.#text = text;
    this.#depthMax = depthMax;
  }

  scan(value: unknown): JsonScan {
    const text = this.#text;
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i);
      if (code === QUOTE) i = this.#string(i) - 1;
      else if (code === OPEN_OBJECT || code === OPEN_ARRAY) this.#push(code === OPEN_OBJECT ? new Set() : undefined);
      else if (code === CLOSE_OBJECT || code === CLOSE_ARRAY) this.#pop(i);
      else if (code === COMMA) this.#endMember(i);
      else if (code === MINUS || (code >= ZERO && code <= NINE)) i = this.#number(i) - 1;
    }
    return {
      value,
      ...(this.#fault === undefined ? {} : { fault: this.#fault }),
      members: this.#members,
      inexact: this.#inexact,
      isOverflowing: this.#isOverflowing,
    };
  }

  #push(names: Set<string> | undefined): void {
    this.#open.push(names);
    if (this.#open.length > this.#depthMax) this.#refuse(`it is nested deeper than ${this.#depthMax} levels`);
  }

  #pop(at: number): void {
    this.#endMember(at);
    this.#open.pop();
  }

  #endMember(at: number): void {
    if (this.#member === undefined || this.#open.length !== 1) return;
    this.#members.set(this.#member.name, [this.#member.start, this.#backFrom(at)]);
    this.#member = undefined;
  }

  /** Position after the string that starts here. */
  #string(start: number): number {
    const end = endOfString(this.#text, start);
    const after = skipSpace(this.#text, end);
    const isName = this.#text.charCodeAt(after) === COLON;
    const quoted = this.#text.slice(start, end);
    // Half a surrogate pair can only be written as an escape where the text was decoded from UTF-8.
    if (isName || quoted.includes('\\u')) {
      const string = quoted.includes('\\') ? (JSON.parse(quoted) as string) : quoted.slice(1, -1);
      if (!string.isWellFormed()) this.#refuse('a text in it is not Unicode');
      if (isName) this.#name(string, after);
    }
    return end;
  }

  #name(name: string, colon: number): void {
    const shown = name.slice(0, 64);
    const seen = this.#open.at(-1);
    if (name === '__proto__') this.#refuse(`a member is named "${shown}"`);
    if (seen?.has(name) === true) this.#refuse(`the member "${shown}" is there twice`, shown);
    seen?.add(name);
    if (this.#open.length === 1) this.#member = { name, start: skipSpace(this.#text, colon + 1) };
  }

  /** Position after the number that starts here. */
  #number(start: number): number {
    NUMBER.lastIndex = start;
    NUMBER.test(this.#text);
    const end = NUMBER.lastIndex;
    const letters = this.#text.slice(start, end);
    if (!SHORT.test(letters) && !isExact(letters)) {
      this.#inexact.push(start);
      this.#isOverflowing ||= !Number.isFinite(Number(letters));
    }
    return end;
  }

  #refuse(why: string, field = ''): void {
    this.#fault ??= { why, field, isOutermost: this.#open.length <= 1 };
  }

  #backFrom(at: number): number {
    let end = at;
    while (isSpace(this.#text.charCodeAt(end - 1))) end--;
    return end;
  }
}

const QUOTE = 0x22;
const COMMA = 0x2c;
const MINUS = 0x2d;
const ZERO = 0x30;
const NINE = 0x39;
const COLON = 0x3a;
const OPEN_ARRAY = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_ARRAY = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;

const NUMBER = /[-+.0-9eE]+/y;
/** Every decimal number of at most 15 digits comes back from a double as it was (IEEE 754). */
const SHORT = /^(?!-0(?:\.0*)?$)-?(?=[\d.]{1,16}$)\d{1,15}(?:\.\d{1,14})?$/;

const isSpace = (code: number): boolean => code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09;

function skipSpace(text: string, from: number): number {
  let i = from;
  while (isSpace(text.charCodeAt(i))) i++;
  return i;
}

/** Position after the closing quote, or after the text where there is none. */
function endOfString(text: string, start: number): number {
  let end = text.indexOf('"', start + 1);
  while (end !== -1 && isEscaped(text, end)) end = text.indexOf('"', end + 1);
  return end === -1 ? text.length : end + 1;
}

/** An odd number of backslashes stands before it; the opening quote ends the count. */
function isEscaped(text: string, at: number): boolean {
  let i = at;
  while (text.charCodeAt(i - 1) === BACKSLASH) i--;
  return (at - i) % 2 === 1;
}

/** Whether the number that a double makes of these letters is the one they name. */
export function isExact(letters: string): boolean {
  const value = Number(letters);
  if (!Number.isFinite(value)) return false;
  if (Object.is(value, -0)) return false; // written out again it is 0
  return decimalOf(letters) === decimalOf(String(value));
}

/** Sign, digits without zeros at either end, and the place of the last one: one text for each number. */
function decimalOf(letters: string): string {
  const [, sign = '', whole = '', fraction = '', exponent = '0'] =
    /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([-+]?\d+))?$/.exec(letters) ?? [];
  const digits = (whole + fraction).replace(/^0+/, '');
  const kept = trimZeros(digits);
  if (kept === '') return '0';
  return `${sign}${kept}e${Number(exponent) - fraction.length + digits.length - kept.length}`;
}

function trimZeros(digits: string): string {
  let end = digits.length; // a regular expression would look at every run of zeros from each of its places
  while (end > 0 && digits.charCodeAt(end - 1) === ZERO) end--;
  return digits.slice(0, end);
}
