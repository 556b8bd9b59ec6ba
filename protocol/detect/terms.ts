/**
 * Words and phrases, found in one pass: a table by the first two letters leads to the few terms that can begin here.
 * Patterns are sequences of roles with a bounded gap; each keeps only the newest chain up to each of its steps, so
 * that a hit costs as many operations as patterns have its role, whatever came before.
 */
import { foldText } from './fold.ts';
import { isLabel, type Label } from './labels.ts';
import { MARK_START } from './marks.ts';
import { LANGUAGES, MARKERS, SENSITIVE } from './phrases.ts';
import type { Scan } from './scan.ts';

/** A role is a number; those that numbers and secrets ask for have names. */
export type Role = number;

interface Term {
  readonly text: string;
  /** Nothing but a non-letter may follow. */
  readonly whole: boolean;
  readonly roles: readonly Role[];
}

interface Step {
  readonly pattern: number;
  readonly step: number;
}

const roleNumbers = new Map<string, Role>();
function roleNumber(name: string): Role {
  const known = roleNumbers.get(name);
  if (known !== undefined) return known;
  roleNumbers.set(name, roleNumbers.size);
  return roleNumbers.size - 1;
}

export const ROLES = {
  secret: roleNumber('secret'),
  awsSecret: roleNumber('awsSecret'),
  card: roleNumber('card'),
  ssn: roleNumber('ssn'),
  phone: roleNumber('phone'),
  npi: roleNumber('npi'),
  mrn: roleNumber('mrn'),
  diagnosis: roleNumber('diagnosis'),
  healthPlan: roleNumber('healthPlan'),
} as const;
export const CONTEXT_ROLES: number = roleNumbers.size;

interface Pattern {
  readonly roles: readonly Role[];
  readonly label: Label;
  readonly gap: number;
  /** The end of a sentence does not end it. */
  readonly isAcross: boolean;
}

const patterns: Pattern[] = [];
const termRoles = new Map<string, Set<Role>>();

/** "ignor*": a star for any ending. */
function addTerm(written: string, role: Role): void {
  const term = foldText(written).lower;
  const roles = termRoles.get(term) ?? new Set();
  termRoles.set(term, roles.add(role));
}
function addTerms(list: string, role: Role): void {
  for (const written of list.split('|')) addTerm(written, role);
}
function addPatterns(prefix: string, rows: readonly string[], label: Label, gap: number, isAcross = false): void {
  for (const row of rows)
    patterns.push({ roles: row.split(' ').map((name) => roleNumber(prefix + name)), label, gap, isAcross });
}

for (const [name, list] of Object.entries(SENSITIVE)) addTerms(list, roleNumber(name));
for (const { language, terms, patterns: rows } of LANGUAGES) {
  for (const [name, list] of Object.entries(terms)) addTerms(list, roleNumber(`${language}.${name}`));
  addPatterns(`${language}.`, rows, 'hidden.instruction', 36);
}
for (const text of MARKERS.markup) addTerm(text, roleNumber('marker.Z'));
for (const [name, list] of Object.entries(MARKERS.terms)) addTerms(list, roleNumber(`marker.${name}`));
addPatterns('marker.', MARKERS.strong, 'hidden.role', 0);
addPatterns('marker.', MARKERS.weak, 'hidden.role', 96);
addPatterns('marker.', MARKERS.concealed, 'hidden.instruction', 240, true);

const roleCount = roleNumbers.size;
const stepsOfRole: readonly Step[][] = Array.from({ length: roleCount }, () => []);
const firstStep: number[] = [];
let stepCount = 0;
for (const [pattern, { roles }] of patterns.entries()) {
  firstStep.push(stepCount);
  stepCount += roles.length;
  // Later steps first: one hit must not be two steps.
  for (let step = roles.length - 1; step >= 0; step--) stepsOfRole[roles[step] as Role]?.push({ pattern, step });
}

const buckets: Term[][] = [[]];
const asciiBuckets = new Uint16Array(128 * 128);
const otherBuckets = new Map<number, number>();
const pairKey = (a: number, b: number): number => a * 65_536 + b;
for (const [written, roles] of [...termRoles].sort(([a], [b]) => b.length - a.length)) {
  const whole = !written.endsWith('*');
  const term: Term = { text: whole ? written : written.slice(0, -1), whole, roles: [...roles] };
  const [a, b] = [term.text.charCodeAt(0), term.text.charCodeAt(1)];
  let bucket = a < 128 && b < 128 ? asciiBuckets[a * 128 + b] : otherBuckets.get(pairKey(a, b));
  if (bucket === undefined || bucket === 0) {
    bucket = buckets.push([]) - 1;
    if (a < 128 && b < 128) asciiBuckets[a * 128 + b] = bucket;
    else otherBuckets.set(pairKey(a, b), bucket);
  }
  buckets[bucket]?.push(term);
}

/**
 * Whether a term may begin with four units like these: five bits a unit, and most words are none. What is no letter is
 * 0 where it ends a word, and GAP where a term has a space.
 */
const GAP = 28;
const ASCII_CODES = new Uint8Array(128);
for (let unit = 0; unit < 128; unit++) ASCII_CODES[unit] = asciiCode(unit);
function asciiCode(unit: number): number {
  if (unit >= 0x61 && unit <= 0x7a) return unit - 0x60;
  if (unit >= 0x30 && unit <= 0x39) return 27;
  if (isGap(unit)) return GAP;
  return unit === 0x3c ? 29 : unit === 0x5b ? 30 : 0;
}
/** NaN is the end of the text. */
function codeOf(unit: number): number {
  if (unit < 128) return ASCII_CODES[unit] as number;
  return unit >= 128 ? 1 + ((unit ^ (unit >> 5)) % 27) : 0;
}
const CAN_BEGIN = new Uint8Array(2 ** 20 / 8); // a bit for each
for (const [written] of termRoles) {
  const start = (written.endsWith('*') ? written.slice(0, -1) : written).slice(0, 4);
  let index = 0;
  for (let k = 0; k < start.length; k++) index = (index << 5) | codeOf(start.charCodeAt(k));
  const open = 5 * (4 - start.length); // bits of the units after it, which may be any
  if (open === 0) CAN_BEGIN[index >> 3] = (CAN_BEGIN[index >> 3] as number) | (1 << (index & 7));
  else CAN_BEGIN.fill(255, (index << open) >> 3, ((index + 1) << open) >> 3);
}

// How a unit counts: scripts that divide words have terms at the beginning of a word only.
const OTHER = 0;
const LETTER = 1;
const OPENER = 2;
const STOP = 3;
const LINE = 4;
const CAPITAL = 6;
const FREE = 5; // letters of scripts that do not divide words, or join small words to large ones
const KIND = new Uint8Array(65_536).fill(255);
for (let unit = 0; unit < 128; unit++) KIND[unit] = asciiKind(String.fromCharCode(unit));
function asciiKind(letter: string): number {
  if (/[A-Z]/.test(letter)) return CAPITAL;
  if (/[a-z0-9]/.test(letter)) return LETTER;
  if (/[<[#]/.test(letter)) return OPENER;
  if (/[.!?>]/.test(letter)) return STOP;
  return letter === '\n' ? LINE : OTHER;
}
const FREE_SCRIPT =
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}\p{Script=Arabic}\p{Script=Thai}ー]/u;
function kindOf(unit: number): number {
  const known = KIND[unit] as number;
  if (known !== 255) return known;
  const letter = String.fromCharCode(unit);
  let kind = OTHER;
  if (/[。।؟]/.test(letter)) kind = STOP;
  else if (FREE_SCRIPT.test(letter)) kind = FREE;
  else if (/\p{Lu}/u.test(letter)) kind = CAPITAL;
  else if (/[\p{L}\p{M}\p{N}]/u.test(letter)) kind = LETTER;
  KIND[unit] = kind;
  return kind;
}

/** White space and what takes its place in identifiers. */
function isGap(unit: number): boolean {
  return unit === 0x20 || unit === 0x0a || unit === 0x0d || unit === 0x09 || unit === 0x5f || unit === 0x2d;
}
const GAP_MAX = 8;

/** The end of the term if it is at `start`; a space in it is any run of spaces, underscores and dashes. */
function matchEnd(lower: string, start: number, { text, whole }: Term): number {
  let i = start;
  for (let k = 0; k < text.length; k++) {
    const want = text.charCodeAt(k);
    if (lower.charCodeAt(i) === want) i++;
    else if (want !== 0x20 || !isGap(lower.charCodeAt(i))) return -1;
    else i++;
    if (want === 0x20) for (let more = 0; more < GAP_MAX && isGap(lower.charCodeAt(i)); more++) i++;
  }
  if (whole && isWordEnd(text) && kindOf(lower.charCodeAt(i) || 0) === LETTER) return -1;
  return i;
}
const isWordEnd = (text: string): boolean => kindOf(text.charCodeAt(text.length - 1)) === LETTER;

// Nothing in the marks that output rules put in is a phrase, and nothing across one.
const MARK_START_LOWER = foldText(MARK_START).lower;
const MARK_UNIT = MARK_START_LOWER.charCodeAt(0);

const WORD_REST_MAX = 32;
/** Of the word that a stem begins, for people to read. */
function wordEnd(lower: string, end: number): number {
  if (kindOf(lower.charCodeAt(end - 1)) !== LETTER) return end;
  let i = end;
  while (i < end + WORD_REST_MAX && kindOf(lower.charCodeAt(i) || 0) === LETTER) i++;
  return i;
}

/** Of `[redacted: label]`, whose words mean nothing; or 0. */
function redactionEnd(lower: string, start: number): number {
  if (!lower.startsWith('[redacted: ', start)) return 0;
  const end = lower.slice(start, start + 48).indexOf(']');
  return end > 0 && isLabel(lower.slice(start + 11, start + end)) ? start + end + 1 : 0;
}

/** Told of each secret's name, with where it ends. */
export type OnSecretName = (role: Role, end: number) => void;

/** Finds phrases, and keeps the words that give numbers a meaning. */
export function scanTerms(scan: Scan, plain: string, lower: string, onSecretName?: OnSecretName): void {
  // Made at the first word of a phrase: most texts have none, and many are names of a few letters.
  let chains: { readonly starts: Int32Array; readonly ends: Int32Array } | undefined;
  let sentenceAt = 0;
  let acrossAt = 0;
  let steps = 0;

  const hit = (role: Role, start: number, end: number): void => {
    if (role < CONTEXT_ROLES) {
      if (onSecretName === undefined) return;
      if (role === ROLES.secret || role === ROLES.awsSecret) onSecretName(role, end);
      if (role !== ROLES.secret) scan.contexts.push({ role, end });
      return;
    }
    chains ??= { starts: new Int32Array(stepCount).fill(-1), ends: new Int32Array(stepCount) };
    const { starts, ends } = chains;
    for (const { pattern, step } of stepsOfRole[role] as readonly Step[]) {
      steps++;
      const { roles, label, gap, isAcross } = patterns[pattern] as Pattern;
      const slot = (firstStep[pattern] as number) + step;
      let from = start;
      if (step > 0) {
        from = starts[slot - 1] as number;
        const before = ends[slot - 1] as number;
        if (from < (isAcross ? acrossAt : sentenceAt) || start < before || start - before > gap) continue;
      }
      if (step === roles.length - 1) scan.found(label, from, wordEnd(lower, end));
      else {
        starts[slot] = from;
        ends[slot] = end;
      }
    }
  };
  const lookUp = (i: number): void => {
    const unit = lower.charCodeAt(i);
    const next = lower.charCodeAt(i + 1);
    const index =
      (codeOf(unit) << 15) |
      (codeOf(next) << 10) |
      (codeOf(lower.charCodeAt(i + 2)) << 5) |
      codeOf(lower.charCodeAt(i + 3));
    if (((CAN_BEGIN[index >> 3] as number) & (1 << (index & 7))) === 0) return;
    const bucket = unit < 128 && next < 128 ? asciiBuckets[unit * 128 + next] : otherBuckets.get(pairKey(unit, next));
    if (bucket === undefined || bucket === 0) return;
    for (const term of buckets[bucket] as readonly Term[]) {
      steps += 2;
      const end = matchEnd(lower, i, term);
      if (end < 0) continue;
      steps += end - i;
      for (const role of term.roles) hit(role, i, end);
    }
  };

  let last = OTHER;
  for (let i = 0; i < plain.length; i++) {
    const unit = plain.charCodeAt(i);
    const kind = kindOf(unit);
    const before = last;
    last = kind;
    if (kind === LETTER || kind === CAPITAL) {
      // "dbPassword": a capital after a small letter begins a word too
      if ((before !== LETTER && before !== CAPITAL) || (kind === CAPITAL && before === LETTER)) lookUp(i);
      continue;
    }
    if (kind === OTHER) {
      if (unit === MARK_UNIT && lower.startsWith(MARK_START_LOWER, i)) {
        i += MARK_START_LOWER.length - 1;
        sentenceAt = i;
        acrossAt = i;
      }
    } else if (kind === FREE) lookUp(i);
    else if (kind === OPENER) {
      const end = redactionEnd(lower, i);
      if (end > 0) i = end - 1;
      else lookUp(i);
    } else if (kind === LINE) {
      if (lower.charCodeAt(i + 1) === 0x0a) sentenceAt = i;
    } else if (unit === 0x3e) {
      if (lower.charCodeAt(i - 1) === 0x2d && lower.charCodeAt(i - 2) === 0x2d) acrossAt = i;
    } else if (unit > 127 || isGap(lower.charCodeAt(i + 1))) sentenceAt = i;
  }
  scan.steps += steps;
}
