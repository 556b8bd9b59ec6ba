/** Keys and tokens: by their prefixes, their envelopes, or the names that they are assigned to. */
import { fromBase64url } from '../encoding/bytes.ts';
import type { Label } from './labels.ts';
import { isAlnum } from './numbers.ts';
import type { Scan } from './scan.ts';

/** Classes of units as bits of one table. */
const DIGIT = 1;
const UPPER = 2;
const LOWER = 4;
const SCORE = 8; // _
const MINUS = 16; // -
const BASE64 = 32; // + / =
const DOT = 64;
const ALNUM = DIGIT | UPPER | LOWER;
const WORD = ALNUM | SCORE;
const URL = WORD | MINUS;
const UNITS = new Uint8Array(128);
for (let unit = 0; unit < 128; unit++) UNITS[unit] = unitClass(String.fromCharCode(unit));
function unitClass(letter: string): number {
  if (/\d/.test(letter)) return DIGIT;
  if (/[A-Z]/.test(letter)) return UPPER;
  if (/[a-z]/.test(letter)) return LOWER;
  if (letter === '_') return SCORE;
  if (letter === '-') return MINUS;
  if (letter === '.') return DOT;
  return /[+/=]/.test(letter) ? BASE64 : 0;
}
const isOf = (unit: number, classes: number): boolean => unit < 128 && ((UNITS[unit] as number) & classes) !== 0;

interface Prefix {
  readonly prefix: string;
  readonly label: Label;
  /** Of what follows. */
  readonly units: number;
  readonly min: number;
  /** Must have a digit among its first letters: words are no keys. */
  readonly hasDigit?: true;
  readonly exact?: true;
}
const of = (label: Label, units: number, min: number, prefixes: string, rest: Partial<Prefix> = {}): Prefix[] =>
  prefixes.split(' ').map((prefix) => ({ prefix, label, units, min, ...rest }));

const PREFIXES: readonly Prefix[] = [
  ...of('secret.aws_key', DIGIT | UPPER, 16, 'AKIA ASIA ABIA ACCA', { exact: true }),
  ...of('secret.github_token', WORD, 60, 'github_pat_'),
  ...of('secret.github_token', ALNUM, 36, 'ghp_ gho_ ghu_ ghs_ ghr_'),
  ...of('secret.gitlab_token', URL | DOT, 20, 'glpat- gldt- glrt- glft- glsoat- glptt- glcbt- glimt- glagent-'),
  ...of('secret.slack', ALNUM | MINUS, 20, 'xoxb- xoxp- xoxa- xoxo- xoxr- xoxs- xoxe- xapp-', { hasDigit: true }),
  ...of('secret.slack', ALNUM | BASE64, 30, 'hooks.slack.com/services/'),
  ...of('secret.stripe', ALNUM, 16, 'sk_live_ rk_live_ sk_test_ rk_test_'),
  ...of('secret.stripe', ALNUM | BASE64, 24, 'whsec_'),
  ...of('secret.anthropic', URL, 32, 'sk-ant-', { hasDigit: true }),
  ...of('secret.openai', URL, 32, 'sk-proj- sk-svcacct- sk-admin- sk-or-', { hasDigit: true }),
  ...of('secret.openai', ALNUM, 32, 'sk-', { hasDigit: true }),
  ...of('secret.google_key', URL, 35, 'AIza'),
  ...of('secret.google_key', URL, 28, 'GOCSPX-'),
  ...of('secret.google_key', URL | DOT, 40, 'ya29.'),
  ...of('secret.token', ALNUM, 36, 'npm_', { hasDigit: true }),
  ...of('secret.token', URL, 50, 'pypi-AgE'),
  ...of('secret.token', URL | DOT, 60, 'SG.', { hasDigit: true }),
  ...of('secret.token', ALNUM, 34, 'hf_', { hasDigit: true }),
  ...of('secret.token', ALNUM, 64, 'dop_v1_ doo_v1_ dor_v1_'),
  ...of('secret.token', ALNUM, 32, 'shpat_ shpca_ shppa_ shpss_', { hasDigit: true }),
  ...of('secret.token', URL | DOT, 80, 'hvs. hvb.', { hasDigit: true }),
  ...of('secret.token', ALNUM, 32, 'lin_api_ ntn_ figd_ gsk_ xai-', { hasDigit: true }),
  ...of('secret.token', ALNUM, 32, 'dapi r8_', { hasDigit: true }),
  ...of('secret.token', URL, 40, 'nvapi- sntrys_', { hasDigit: true }),
  ...of('secret.private_key', DIGIT | UPPER, 50, 'AGE-SECRET-KEY-1'),
];
const buckets: Prefix[][] = [[]];
const bucketOf = new Uint8Array(128 * 128);
for (const prefix of PREFIXES) {
  const pair = prefix.prefix.charCodeAt(0) * 128 + prefix.prefix.charCodeAt(1);
  if (bucketOf[pair] === 0) bucketOf[pair] = buckets.push([]) - 1;
  buckets[bucketOf[pair] as number]?.push(prefix);
}
const JWT = 0x65 * 128 + 0x79; // "ey"

/** By the first two units of a word, of ASCII both. */
export const canBeToken = (first: number, second: number): boolean =>
  second < 128 && ((bucketOf[first * 128 + second] as number) !== 0 || first * 128 + second === JWT);

/** A word begins here: the end of the secret that it is, or 0. */
export function readToken(scan: Scan, start: number): number {
  const { plain } = scan.folded;
  const pair = plain.charCodeAt(start) * 128 + plain.charCodeAt(start + 1);
  if (pair === JWT) return readJwt(scan, start);
  const bucket = bucketOf[pair] as number;
  if (bucket === 0) return 0;
  for (const prefix of buckets[bucket] as readonly Prefix[]) {
    scan.steps += 4;
    const end = plain.startsWith(prefix.prefix, start) ? prefixedEnd(scan, start, prefix) : 0;
    if (end === 0) continue;
    scan.found(prefix.label, start, end);
    if (prefix.label === 'secret.aws_key') awsSecretAfter(scan, end);
    return end;
  }
  return 0;
}

function prefixedEnd(scan: Scan, start: number, { prefix, units, min, hasDigit, exact }: Prefix): number {
  const { plain } = scan.folded;
  const from = start + prefix.length;
  let end = from;
  let digits = 0;
  // What is too short costs no more than `min`; what is long enough is passed over as a whole.
  while (isOf(plain.charCodeAt(end), units)) {
    if (isOf(plain.charCodeAt(end), DIGIT)) digits++;
    end++;
    if (end - from >= min && (digits > 0 || hasDigit === undefined)) break;
    if (end - from >= 256) break;
  }
  scan.steps += end - start;
  if (end - from < min || (hasDigit !== undefined && digits === 0)) return 0;
  if (exact !== undefined) return isAlnum(plain.charCodeAt(end)) ? 0 : end;
  while (isOf(plain.charCodeAt(end), units)) end++;
  while (plain.charCodeAt(end - 1) === 0x2e) end--; // a sentence's
  return end;
}

const AWS_SECRET_WITHIN = 256;
/** Forty letters of base64 on their own, near the id that they belong to. */
function awsSecretAfter(scan: Scan, idEnd: number): void {
  const { plain } = scan.folded;
  const end = Math.min(plain.length, idEnd + AWS_SECRET_WITHIN);
  scan.steps += end - idEnd;
  for (let i = idEnd; i < end; i++) {
    const from = i;
    let classes = 0;
    for (
      let unit = plain.charCodeAt(i);
      i < end && isOf(unit, ALNUM | BASE64) && unit !== 0x3d;
      unit = plain.charCodeAt(++i)
    )
      classes |= UNITS[unit] as number;
    if (i - from === 40 && (classes & ALNUM) === ALNUM) scan.found('secret.aws_key', from, i);
  }
}

const JWT_HEADER_MAX = 4096; // with a certificate chain
const JWT_PARTS_MAX = 5; // of the encrypted form

/** RFC 7515 compact: three parts or five of base64url, the first of them a JSON object with "alg". */
function readJwt(scan: Scan, start: number): number {
  const { plain } = scan.folded;
  if (plain.charCodeAt(start + 2) !== 0x4a || isOf(plain.charCodeAt(start - 1), URL | DOT)) return 0;
  let i = start;
  let headerEnd = 0;
  let parts = 0;
  let end = 0;
  while (parts < JWT_PARTS_MAX) {
    while (isOf(plain.charCodeAt(i), URL)) i++;
    parts++;
    end = i;
    if (parts === 1) {
      headerEnd = i;
      if (i - start > JWT_HEADER_MAX) break;
    }
    if (plain.charCodeAt(i) !== 0x2e || (parts >= 3 && !isOf(plain.charCodeAt(i + 1), URL))) break;
    i++;
  }
  scan.steps += i - start;
  if (parts < 3 || !isJoseHeader(plain.slice(start, headerEnd))) return 0;
  scan.found('secret.jwt', start, end);
  return end;
}
function isJoseHeader(part: string): boolean {
  const bytes = fromBase64url(part);
  if (bytes === undefined) return false;
  try {
    const header: unknown = JSON.parse(new TextDecoder().decode(bytes));
    return typeof header === 'object' && header !== null && 'alg' in header;
  } catch {
    return false; // three words with dots between them
  }
}

const PEM_START = '-----BEGIN ';
const PEM_END = '-----END ';
const PEM_HEAD = /^-----BEGIN [A-Z0-9 ]{0,32}PRIVATE KEY(?: BLOCK)?-----/;

/** The whole block, or what there is of it. Reads up to the next five dashes, so no unit is read for two blocks. */
export function readPem(scan: Scan, start: number): number {
  const { plain } = scan.folded;
  if (!plain.startsWith(PEM_START, start)) return 0;
  scan.steps += 80;
  const head = PEM_HEAD.exec(plain.slice(start, start + 80))?.[0];
  if (head === undefined) return 0;
  let i = start + head.length;
  let letters = 0;
  for (; i < plain.length; i++) {
    const unit = plain.charCodeAt(i);
    if (unit === 0x2d && plain.startsWith('-----', i)) break;
    if (isOf(unit, ALNUM | BASE64)) letters++;
    else if (!isPemFiller(unit)) break;
  }
  scan.steps += i - start;
  let end = i;
  if (plain.startsWith(PEM_END, i)) {
    const close = plain.indexOf('-----', i + PEM_END.length);
    if (close > 0 && close - i < 64) end = close + 5;
  } else if (letters < 40) return 0; // documentation
  scan.found('secret.private_key', start, end);
  return end;
}
/** White space, the headers of old forms, and how programs write lines in strings. */
const isPemFiller = (unit: number): boolean =>
  unit <= 0x20 ||
  unit === 0x3a ||
  unit === 0x2c ||
  unit === 0x5c ||
  unit === 0x22 ||
  unit === 0x27 ||
  unit === 0x2d ||
  unit === 0x2e ||
  unit === 0x28 ||
  unit === 0x29 ||
  unit === 0x3e ||
  unit === 0x2a ||
  unit === 0x23;

const USERINFO_MAX = 320;
/** At `://`: the end of user and password before an at sign, or 0. */
export function readUrlPassword(scan: Scan, colon: number): number {
  const { plain } = scan.folded;
  if (plain.charCodeAt(colon + 1) !== 0x2f || plain.charCodeAt(colon + 2) !== 0x2f) return 0;
  if (!isAlnum(plain.charCodeAt(colon - 1))) return 0;
  const from = colon + 3;
  let i = from;
  let passwordAt = 0;
  for (const max = Math.min(plain.length, from + USERINFO_MAX); i < max; i++) {
    const unit = plain.charCodeAt(i);
    if (
      unit === 0x40 ||
      unit <= 0x20 ||
      unit === 0x2f ||
      unit === 0x3f ||
      unit === 0x23 ||
      unit === 0x22 ||
      unit === 0x27
    )
      break;
    if (unit === 0x3c || unit === 0x3e || unit === 0x60) break;
    if (unit === 0x3a && passwordAt === 0) passwordAt = i + 1;
  }
  scan.steps += i - from;
  const password = plain.slice(passwordAt, i);
  if (plain.charCodeAt(i) !== 0x40 || passwordAt === 0 || password === '' || isPlaceholder(password)) return 0;
  scan.found('secret.url_password', from, i);
  return i;
}

const VALUE_LOOK = 160;
const AFTER_NAME_MAX = 40;

/** After the name of a secret: the end of the value that is assigned to it, or 0. */
export function readAssignment(scan: Scan, nameEnd: number, label: Label): number {
  const { plain } = scan.folded;
  let i = nameEnd;
  for (const max = i + AFTER_NAME_MAX; i < max && isOf(plain.charCodeAt(i), URL); ) i++; // PASSWORD_OF_TEST
  const isQuotedName = isQuote(plain.charCodeAt(i)) || plain.charCodeAt(i) === 0x5c;
  while (
    i < nameEnd + AFTER_NAME_MAX + 4 &&
    (isQuote(plain.charCodeAt(i)) ||
      isBlank(plain.charCodeAt(i)) ||
      plain.charCodeAt(i) === 0x5c ||
      plain.charCodeAt(i) === 0x5d)
  )
    i++;
  const operator = plain.charCodeAt(i);
  let isBearer = false;
  if (operator === 0x3d || operator === 0x3a) {
    while (i < nameEnd + AFTER_NAME_MAX + 8 && isOperator(plain.charCodeAt(i))) i++;
  } else if (i > nameEnd && plain.slice(nameEnd - 6, nameEnd).toLowerCase() === 'bearer') isBearer = true;
  else {
    scan.steps += i - nameEnd;
    return 0;
  }
  for (
    const max = i + 8;
    i < max && (isBlank(plain.charCodeAt(i)) || plain.charCodeAt(i) === 0x5c || plain.charCodeAt(i) === 0x28);
  )
    i++;
  const quote = isQuote(plain.charCodeAt(i)) ? plain.charCodeAt(i++) : 0;
  const from = i;
  for (const max = Math.min(plain.length, from + VALUE_LOOK); i < max && isValueUnit(plain.charCodeAt(i), quote); ) i++;
  scan.steps += i - nameEnd;
  const looked = plain.slice(from, i);
  if (!isSecretValue(looked, quote !== 0 || isQuotedName, isBearer, plain.charCodeAt(i))) return 0;
  while (isValueUnit(plain.charCodeAt(i), quote)) i++;
  while (quote === 0 && i > from && /[.,;)]/.test(plain.charAt(i - 1))) i--;
  scan.found(label, from, i);
  return i;
}

const isQuote = (unit: number): boolean => unit === 0x22 || unit === 0x27 || unit === 0x60;
const isBlank = (unit: number): boolean => unit === 0x20 || unit === 0x09;
const isOperator = (unit: number): boolean => unit === 0x3d || unit === 0x3a || unit === 0x3e || isBlank(unit);
function isValueUnit(unit: number, quote: number): boolean {
  if (!(unit > 0x20) || isQuote(unit) || unit === 0x5c) return false;
  return (
    quote !== 0 ||
    (unit !== 0x2c &&
      unit !== 0x3b &&
      unit !== 0x26 &&
      unit !== 0x3c &&
      unit !== 0x3e &&
      unit !== 0x7d &&
      unit !== 0x5d)
  );
}

const PLACEHOLDER =
  /^(?:[<[{$%(]|\*+$|x+$|your|my|the|example|sample|test|dummy|changeme|change_me|placeholder|redacted|process\.|env\.|os\.|import\.|secrets?[.[]|vault:|null|none|undefined|true|false|required|optional|string|password|passwd|pass$|pwd$|secret$|token$)/i;
const isPlaceholder = (value: string): boolean => PLACEHOLDER.test(value) || /^(.)\1*$/.test(value);

/** Long and mixed enough that nobody wrote it as a word, a type, a call or a placeholder. */
function isSecretValue(value: string, isQuoted: boolean, isBearer: boolean, next: number): boolean {
  if (value.length < 8 || isPlaceholder(value)) return false;
  if (
    !isQuoted &&
    (/[()[\]{}]/.test(value) || next === 0x28 || /^[A-Za-z_$][\w$]*(?:\??\.#?[A-Za-z_$][\w$]*)+$/.test(value))
  )
    return false;
  if (/^(?:https?|file|ftp):/i.test(value) || /^[./~]/.test(value)) return false; // where it is, not what it is
  let classes = 0;
  let others = 0;
  for (let i = 0; i < value.length; i++) {
    const unit = value.charCodeAt(i);
    const kind = unit < 128 ? (UNITS[unit] as number) : 0;
    classes |= kind & ALNUM;
    if ((kind & ALNUM) === 0 && kind !== SCORE && kind !== MINUS && kind !== DOT) others++;
  }
  const kinds =
    (classes & DIGIT ? 1 : 0) + (classes & UPPER ? 1 : 0) + (classes & LOWER ? 1 : 0) + (others > 0 ? 1 : 0);
  if ((classes & DIGIT) === 0 && others === 0 && !(kinds === 2 && value.length >= 20)) return false;
  if (kinds < 2) return false;
  return entropyBits(value) >= (isBearer || (value.length >= 16 && !isQuoted) ? 3 : 2.5);
}

/** Shannon's, a letter. */
function entropyBits(value: string): number {
  const counts = new Map<number, number>();
  for (let i = 0; i < value.length; i++) counts.set(value.charCodeAt(i), (counts.get(value.charCodeAt(i)) ?? 0) + 1);
  let bits = 0;
  for (const count of counts.values()) bits -= (count / value.length) * Math.log2(count / value.length);
  return bits;
}
