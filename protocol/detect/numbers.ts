/** Cards, phones and identifiers: from chains of digit groups, each read once. */
import { ibanLength, isCard, isE164, isIban, isNanp, isNpi, isSsn } from './digits.ts';
import type { Label } from './labels.ts';
import type { Scan } from './scan.ts';
import { type Role, ROLES } from './terms.ts';

const isDigit = (unit: number): boolean => unit >= 0x30 && unit <= 0x39;
export const isAlnum = (unit: number): boolean =>
  isDigit(unit) || (unit >= 0x41 && unit <= 0x5a) || (unit >= 0x61 && unit <= 0x7a);
const isLetter = (unit: number): boolean => (unit >= 0x41 && unit <= 0x5a) || (unit >= 0x61 && unit <= 0x7a);
const isWordUnit = (unit: number): boolean => isAlnum(unit) || unit === 0x5f;

const SPACE = 0x20;
const DASH = 0x2d;
const DOT = 0x2e;

const isSeparator = (unit: number): boolean => unit === SPACE || unit === DASH || unit === DOT;

/** Digits, with one space, dash or dot between groups. */
interface Chain {
  readonly starts: number[];
  readonly lengths: number[];
  /** After each group; 0 after the last. */
  readonly separators: number[];
  readonly end: number;
}

function readChain(plain: string, start: number): Chain {
  const chain = { starts: [start], lengths: [] as number[], separators: [] as number[], end: start };
  let i = start;
  for (;;) {
    const from = i;
    while (isDigit(plain.charCodeAt(i))) i++;
    chain.lengths.push(i - from);
    const unit = plain.charCodeAt(i);
    if (!isSeparator(unit) || !isDigit(plain.charCodeAt(i + 1))) break;
    chain.separators.push(unit);
    chain.starts.push(++i);
  }
  chain.separators.push(0);
  chain.end = i;
  return chain;
}

const DIGITS_MIN = 9; // of a social security number; without a word beside it nothing shorter is anything

/** The end of a chain that has fewer digits; 0 of others. */
function shortChainEnd(plain: string, start: number): number {
  let digits = 0;
  let i = start;
  for (; digits < DIGITS_MIN; i++) {
    const unit = plain.charCodeAt(i);
    if (isDigit(unit)) digits++;
    else if (!isSeparator(unit) || !isDigit(plain.charCodeAt(i + 1))) return i;
  }
  return 0;
}

/** How far a word may be from the number that it is about. */
const NEAR = 40;

export class Numbers {
  readonly #scan: Scan;
  readonly #plain: string;
  readonly #lastEnds = new Map<Role, number>();
  #next = 0;

  constructor(scan: Scan) {
    this.#scan = scan;
    this.#plain = scan.folded.plain;
  }

  /** Reads the chain that begins at `start`, where no digit is before; returns where it ends. */
  read(start: number): number {
    const iban = this.#iban(start);
    if (iban > 0) return iban;
    const short = this.#scan.contexts.length === 0 ? shortChainEnd(this.#plain, start) : 0;
    if (short > 0) return short;
    const chain = readChain(this.#plain, start);
    this.#scan.steps += chain.end - start;
    this.#advance(start);
    for (let g = 0; g < chain.lengths.length; ) g += this.#group(chain, g);
    return chain.end;
  }

  /** `(415) 555-2671` */
  bracketed(open: number): number {
    const plain = this.#plain;
    this.#scan.steps += 16;
    const [, digits, end] = /^\((\d{3})\) ?(\d{3}[-. ]\d{4})(?!\w)/.exec(plain.slice(open, open + 16)) ?? [];
    if (digits === undefined || end === undefined || !isNanp(digits + end.replace(/\D/, ''))) return 0;
    const length = plain.charCodeAt(open + 5) === SPACE ? 6 : 5;
    this.#scan.found('pii.phone', open, open + length + end.length);
    return open + length + end.length;
  }

  /** Returns the end of a number in E.164, or 0. */
  international(plus: number): number {
    const plain = this.#plain;
    if (isWordUnit(plain.charCodeAt(plus - 1)) || plain.charCodeAt(plus - 1) === 0x2b) return 0;
    let digits = '';
    let i = plus + 1;
    let end = i;
    for (const max = i + 26; i < max; i++) {
      const unit = plain.charCodeAt(i);
      if (isDigit(unit)) {
        digits += plain.charAt(i);
        end = i + 1;
      } else if (
        !isPhoneGap(unit) ||
        (isPhoneGap(plain.charCodeAt(i - 1)) && !isBracket(unit, plain.charCodeAt(i - 1)))
      )
        break;
    }
    this.#scan.steps += i - plus;
    if (isAlnum(plain.charCodeAt(end))) return 0;
    const national = /\(0\)/.test(plain.slice(plus, end)) ? digits.replace('0', '') : digits; // +44 (0)20
    if (!isE164(national)) return 0;
    this.#scan.found('pii.phone', plus, end);
    return end;
  }

  #advance(start: number): void {
    const { contexts } = this.#scan;
    for (; this.#next < contexts.length; this.#next++) {
      const context = contexts[this.#next];
      if (context === undefined || context.end > start) return;
      this.#lastEnds.set(context.role, context.end);
    }
  }
  #isNear(role: Role, start: number, distance = NEAR): boolean {
    const end = this.#lastEnds.get(role);
    return end !== undefined && start - end <= distance;
  }

  /** How many groups were taken. */
  #group(chain: Chain, g: number): number {
    const { starts, lengths } = chain;
    const start = starts[g] as number;
    const length = lengths[g] as number;
    if (g > 0) this.#advance(start);
    this.#diagnosis(start, length);
    const { label, groups } = this.#numberAt(chain, g);
    if (label !== undefined) {
      const last = g + groups - 1;
      this.#scan.found(label, start, (starts[last] as number) + (lengths[last] as number));
      return groups;
    }
    return 1;
  }

  #numberAt(chain: Chain, g: number): { readonly label?: Label; readonly groups: number } {
    const { starts, lengths } = chain;
    const start = starts[g] as number;
    const identifier = this.#identifier(chain, g);
    if (identifier !== undefined) return identifier;
    if (!isOpen(this.#plain, chain, g)) return { groups: 1 };
    for (const groups of this.#cardGroups(chain, g))
      if (isClosed(this.#plain, chain, g + groups - 1) && isCard(digitsOf(this.#plain, chain, g, groups))) {
        const isShort = lengths[g] === 13 && !this.#isNear(ROLES.card, start); // European articles have 13 digits too
        if (!isShort) return { label: 'card', groups };
      }
    if (hasLayout(chain, g, [3, 2, 4], 3) && isClosed(this.#plain, chain, g + 2) && this.#isSsn(chain, g, 3))
      return { label: 'pii.ssn', groups: 3 };
    if (lengths[g] === 9 && isClosed(this.#plain, chain, g) && this.#isSsn(chain, g, 1))
      return { label: 'pii.ssn', groups: 1 };
    return this.#phone(chain, g);
  }

  #isSsn(chain: Chain, g: number, groups: number): boolean {
    const { separators, lengths } = chain;
    if (!isSsn(digitsOf(this.#plain, chain, g, groups))) return false;
    const isNamed = this.#isNear(ROLES.ssn, chain.starts[g] as number);
    if (groups === 1 || isNamed) return isNamed;
    if (separators[g] === DASH) return separators[g - 1] !== DASH && separators[g + 2] !== DASH;
    return separators[g] === SPACE && lengths.length === 3; // three numbers of a table are seldom all of it
  }

  /** Numbers of groups that may be a card from here. */
  *#cardGroups({ lengths, separators }: Chain, g: number): Generator<number> {
    const length = lengths[g] as number;
    if (length >= 13 && length <= 19 && separators[g] !== DOT && separators[g - 1] !== DOT) yield 1;
    const separator = separators[g];
    if (length === 4 && (lengths[g + 1] ?? 0) === 6 && separators[g + 1] === separator) {
      if (lengths[g + 2] === 5 || lengths[g + 2] === 4) yield 3;
    }
    // Groups of four, as printed: where such groups begin or end, so that a table of years is not read at every place.
    if (length === 4) {
      let run = 1;
      while (run < 6 && lengths[g + run] === 4 && separators[g + run - 1] === separator) run++;
      const isFirst = g === 0 || lengths[g - 1] !== 4 || separators[g - 1] !== separator;
      const rest = separators[g + run - 1] === separator ? (lengths[g + run] ?? 5) : 5;
      if (run === 4 && rest < 4 && g + 5 === lengths.length) yield 5;
      if ((run >= 4 && isFirst) || run === 4) yield 4;
    }
    // Other even groups, as "41 11 …", where nothing else is beside them.
    if (g === 0 && length !== 4 && length <= 8 && lengths.length > 1 && lengths.length <= 19) {
      const isEven = lengths.every((other, k) => (k === lengths.length - 1 ? other <= length : other === length));
      if (isEven && separators.slice(0, -1).every((other) => other === separator)) yield lengths.length;
    }
  }

  #phone(chain: Chain, g: number): { readonly label?: Label; readonly groups: number } {
    const { lengths, separators, starts } = chain;
    const start = starts[g] as number;
    const isNamed = this.#isNear(ROLES.phone, start, 16);
    for (const [layout, from] of NANP_LAYOUTS) {
      const groups = layout.length;
      if (!hasLayout(chain, g, layout, groups) || !isClosed(this.#plain, chain, g + groups - 1)) continue;
      const digits = digitsOf(this.#plain, chain, g, groups).slice(from);
      const isFree = separators[g] !== SPACE && separators[g - 1] !== separators[g];
      if (isNanp(digits) && (isFree || isNamed) && separators[g + groups - 1] !== separators[g])
        return { label: 'pii.phone', groups };
    }
    if (!isNamed || (g > 0 && this.#isNear(ROLES.phone, starts[g - 1] as number, 16))) return { groups: 1 };
    let total = 0;
    let groups = 0;
    while (g + groups < lengths.length && groups < 7 && total + (lengths[g + groups] as number) <= 13)
      total += lengths[g + groups++] as number;
    const isWhole = g + groups === lengths.length && isClosed(this.#plain, chain, g + groups - 1);
    return isWhole && total >= 7 ? { label: 'pii.phone', groups } : { groups: 1 };
  }

  /** What is one only by the word before it. */
  #identifier(chain: Chain, g: number): { readonly label: Label; readonly groups: number } | undefined {
    const { starts, lengths } = chain;
    const start = starts[g] as number;
    const length = lengths[g] as number;
    if (length === 10 && this.#isNear(ROLES.npi, start) && isNpi(digitsOf(this.#plain, chain, g, 1)))
      return { label: 'phi.npi', groups: 1 };
    const role = this.#isNear(ROLES.mrn, start, 20)
      ? ROLES.mrn
      : this.#isNear(ROLES.healthPlan, start, 32)
        ? ROLES.healthPlan
        : undefined;
    if (role === undefined) return undefined;
    let groups = 1;
    let total = length;
    while (total < 15 && g + groups < lengths.length && chain.separators[g + groups - 1] !== DOT)
      total += lengths[g + groups++] as number;
    if (total < 5 || total > 15) {
      groups = 1;
      total = length;
    }
    // "1EG4-TE5-MK73" has digits and letters in turn; the label then covers its first run.
    if (total < 5 && !isBeneficiary(this.#plain, start)) return undefined;
    return { label: role === ROLES.mrn ? 'phi.mrn' : 'phi.health_plan', groups };
  }

  #diagnosis(start: number, length: number): void {
    if (length > 3 || !this.#isNear(ROLES.diagnosis, start, 80)) return;
    const plain = this.#plain;
    if (start > 1 && !/[\s:(["',;=]/.test(plain.charAt(start - 2))) return;
    this.#scan.steps += 10;
    const code = /^[A-Z]\d[0-9A-Z](?:\.[0-9A-Z]{1,4})?(?!\w)/.exec(plain.slice(start - 1, start + 9))?.[0];
    if (code !== undefined) this.#scan.found('phi.icd10', start - 1, start - 1 + code.length);
  }

  /** Where the two letters before the digits are a country's: the end of the IBAN, or 0. */
  #iban(start: number): number {
    const plain = this.#plain;
    if (!isLetter(plain.charCodeAt(start - 1)) || !isLetter(plain.charCodeAt(start - 2))) return 0;
    const before = plain.charCodeAt(start - 3);
    if (isWordUnit(before) || (before === DASH && isAlnum(plain.charCodeAt(start - 4)))) return 0;
    const country = plain.slice(start - 2, start).toUpperCase();
    const length = ibanLength(country);
    if (length === 0) return 0;
    let text = country;
    let i = start;
    for (; text.length < length; i++) {
      const unit = plain.charCodeAt(i);
      if (isAlnum(unit)) text += plain.charAt(i).toUpperCase();
      else if ((unit !== SPACE && unit !== DASH) || !isAlnum(plain.charCodeAt(i - 1))) break;
    }
    this.#scan.steps += i - start;
    const isGoingOn =
      isAlnum(plain.charCodeAt(i)) || (plain.charCodeAt(i) === DASH && isAlnum(plain.charCodeAt(i + 1)));
    if (isGoingOn || !isIban(text)) return 0;
    this.#scan.found('pii.iban', start - 2, i);
    return i;
  }
}

const NANP_LAYOUTS: readonly (readonly [readonly number[], number])[] = [
  [[1, 3, 3, 4], 1],
  [[3, 3, 4], 0],
];

const isPhoneGap = (unit: number): boolean =>
  unit === SPACE || unit === DASH || unit === DOT || unit === 0x28 || unit === 0x29 || unit === 0x2f;
/** A bracket may stand beside another gap: "+1 (415) 555". */
const isBracket = (unit: number, before: number): boolean =>
  unit === 0x28 || unit === 0x29 || before === 0x28 || before === 0x29;

/** Medicare's: C A AN N A AN N A A N N. */
const isBeneficiary = (plain: string, start: number): boolean =>
  /^[1-9][AC-HJKMNP-RT-Y][AC-HJKMNP-RT-Y0-9]\d-?[AC-HJKMNP-RT-Y][AC-HJKMNP-RT-Y0-9]\d-?[AC-HJKMNP-RT-Y]{2}\d\d/.test(
    plain.slice(start, start + 13),
  );

function hasLayout({ lengths, separators }: Chain, g: number, layout: readonly number[], groups: number): boolean {
  for (let k = 0; k < groups; k++) {
    if (lengths[g + k] !== layout[k]) return false;
    if (k > 0 && separators[g + k - 1] !== separators[g]) return false;
  }
  return true;
}

function digitsOf(plain: string, { starts, lengths }: Chain, g: number, groups: number): string {
  let digits = '';
  for (let k = g; k < g + groups; k++) {
    const start = starts[k] as number;
    digits += plain.slice(start, start + (lengths[k] as number));
  }
  return digits;
}

/** No letter touches the chain where the number begins. */
function isOpen(plain: string, { starts }: Chain, g: number): boolean {
  if (g > 0) return true;
  const start = starts[0] as number;
  const before = plain.charCodeAt(start - 1);
  return !isWordUnit(before) && !((before === DASH || before === DOT) && isWordUnit(plain.charCodeAt(start - 2)));
}
function isClosed(plain: string, { starts, lengths, end }: Chain, g: number): boolean {
  if (g < lengths.length - 1 && starts.length > g + 1) return true;
  const after = plain.charCodeAt(end);
  return !isWordUnit(after) && !(after === DASH && isWordUnit(plain.charCodeAt(end + 1)));
}
