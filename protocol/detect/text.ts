/** All detectors over one text: a few passes, none of which goes back. */
import { LOOKALIKES } from './lookalikes.ts';
import type { Span } from './finding.ts';
import { isPlainAscii } from './fold.ts';
import { findInvisible } from './invisible.ts';
import { Numbers } from './numbers.ts';
import { Scan } from './scan.ts';
import { canBeToken, readAssignment, readPem, readToken, readUrlPassword } from './secrets.ts';
import { ROLES, scanTerms } from './terms.ts';

const TEXT_MIN = 5; // "<|x|>"; no ASCII text below it holds anything

export interface Scanned {
  /** Sorted by start. */
  readonly spans: readonly Span[];
  readonly steps: number;
}

const NOTHING: Scanned = { spans: [], steps: 0 };

export function scanText(text: string): Scanned {
  if (text.length < TEXT_MIN && isPlainAscii(text)) return NOTHING;
  const scan = new Scan(text);
  scanPhrases(scan);
  scanUnits(scan);
  const invisible = scan.folded.changes === undefined ? [] : findInvisible(text);
  if (scan.spans.length === 0) return { spans: invisible, steps: scan.steps };
  const spans = [...withoutInner(scan.spans), ...invisible];
  return { spans: spans.sort((a, b) => a.start - b.start || b.end - a.end), steps: scan.steps };
}

/** Longest first at each place; the same label inside itself says nothing more. */
function withoutInner(spans: readonly Span[]): Span[] {
  const sorted = [...spans].sort((a, b) => a.start - b.start || b.end - a.end);
  const ends = new Map<string, number>();
  return sorted.filter(({ label, end }) => {
    if (end <= (ends.get(label) ?? -1)) return false;
    ends.set(label, end);
    return true;
  });
}

function scanPhrases(scan: Scan): void {
  const { plain, lower, changes } = scan.folded;
  let valueEnd = 0;
  scanTerms(scan, plain, lower, (role, end) => {
    if (end < valueEnd) return;
    valueEnd = readAssignment(scan, end, role === ROLES.awsSecret ? 'secret.aws_key' : 'secret.generic') || valueEnd;
  });
  // "ignоre" with a Cyrillic "о": once more as it looks.
  if (changes === undefined || !LOOKALIKES.hasMixedWord(lower)) return;
  const looks = LOOKALIKES.skeleton(lower);
  scanTerms(scan, looks, looks);
}

const LETTER = 1;
const DIGIT = 2;
const AT = 3;
const COLON = 4;
const DASH = 5;
const PLUS = 6;
const OPEN = 7;
const KINDS = new Uint8Array(128);
for (let unit = 0; unit < 128; unit++) KINDS[unit] = kindOf(String.fromCharCode(unit));
function kindOf(letter: string): number {
  if (/[A-Za-z]/.test(letter)) return LETTER;
  if (/\d/.test(letter)) return DIGIT;
  return ['@', ':', '-', '+', '('].indexOf(letter) + 1 && ['@', ':', '-', '+', '('].indexOf(letter) + AT;
}

function scanUnits(scan: Scan): void {
  const { plain } = scan.folded;
  const numbers = new Numbers(scan);
  let isWord = false;
  for (let i = 0; i < plain.length; i++) {
    const unit = plain.charCodeAt(i);
    const kind = unit < 128 ? (KINDS[unit] as number) : 0;
    if (kind === LETTER) {
      if (!isWord && canBeToken(unit, plain.charCodeAt(i + 1))) {
        const end = readToken(scan, i);
        if (end > 0) i = end - 1;
      }
      isWord = true;
      continue;
    }
    if (kind === DIGIT) {
      i = numbers.read(i) - 1;
      isWord = true;
      continue;
    }
    isWord = false;
    if (kind === 0) continue;
    let end = 0;
    if (kind === AT) end = readEmail(scan, i);
    else if (kind === COLON) end = readUrlPassword(scan, i);
    else if (kind === DASH) end = readPem(scan, i);
    else if (kind === PLUS) end = numbers.international(i);
    else if (kind === OPEN) end = numbers.bracketed(i);
    if (end > 0) i = end - 1;
  }
}

const LOCAL_MAX = 64; // RFC 5321 4.5.3.1.1
const DOMAIN_MAX = 253;
const isLocal = (unit: number): boolean =>
  isDomain(unit) || unit === 0x5f || unit === 0x25 || unit === 0x2b || unit === 0x27;
const isDomain = (unit: number): boolean =>
  (unit >= 0x30 && unit <= 0x39) ||
  (unit >= 0x41 && unit <= 0x5a) ||
  (unit >= 0x61 && unit <= 0x7a) ||
  unit === 0x2d ||
  unit === 0x2e;
/** Endings that files have and no domain does, as "icon@2x.png". */
const FILE_ENDING =
  /^(?:png|jpe?g|gif|svg|webp|avif|ico|js|mjs|cjs|ts|tsx|jsx|css|scss|json|html?|xml|ya?ml|md|txt|map|lock|tgz|gz|zip|d)$/i;

/** Returns the end; the local part was passed already. */
function readEmail(scan: Scan, at: number): number {
  const { plain } = scan.folded;
  let start = at;
  while (start > 0 && at - start < LOCAL_MAX && isLocal(plain.charCodeAt(start - 1))) start--;
  let end = at + 1;
  while (end - at <= DOMAIN_MAX && isDomain(plain.charCodeAt(end))) end++;
  scan.steps += end - start;
  while (start < at && /[.'%-]/.test(plain.charAt(start))) start++;
  while (end > at && /[.-]/.test(plain.charAt(end - 1))) end--;
  if (start === at || plain.charAt(at - 1) === '.' || plain.charAt(at + 1) === '-' || plain.charAt(at + 1) === '.')
    return 0;
  const domain = plain.slice(at + 1, end);
  const ending = domain.slice(domain.lastIndexOf('.') + 1);
  if (!/^(?:[a-z]{2,24}|xn--[a-z0-9-]{2,59})$/i.test(ending) || ending === domain || FILE_ENDING.test(ending)) return 0;
  if (domain.includes('..')) return 0;
  if (plain.slice(start, at) === 'git' && plain.charCodeAt(end) === 0x3a) return 0; // git@host.example:path
  scan.found('pii.email', start, end);
  return end;
}
