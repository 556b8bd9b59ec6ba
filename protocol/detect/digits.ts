/** Numbers that are more than numbers. All take plain digits. */

/** ISO/IEC 7812-1 annex B; `start` for digits that go before. */
export function passesLuhn(digits: string, start = 0): boolean {
  let sum = start;
  for (let i = digits.length - 1, isDoubled = false; i >= 0; i--, isDoubled = !isDoubled) {
    const digit = digits.charCodeAt(i) - 0x30;
    sum += isDoubled ? (digit > 4 ? 2 * digit - 9 : 2 * digit) : digit;
  }
  return sum % 10 === 0;
}
/** 80840, the health application and the United States, adds 24 (45 CFR 162.406). */
export const isNpi = (digits: string): boolean => /^[12]\d{9}$/.test(digits) && passesLuhn(digits, 24);

interface Issuer {
  /** First digits, from and to: of equal length. */
  readonly from: number;
  readonly to: number;
  readonly lengths: readonly number[];
}
const LONG = [16, 17, 18, 19];
/** Of ISO/IEC 7812 ranges that issuers publish. UATP (1) is left out: every other timestamp would be one. */
const ISSUERS: readonly Issuer[] = [
  { from: 4, to: 4, lengths: [13, 16, 19] }, // Visa
  { from: 51, to: 55, lengths: [16] }, // Mastercard
  { from: 2221, to: 2720, lengths: [16] },
  { from: 34, to: 34, lengths: [15] }, // American Express
  { from: 37, to: 37, lengths: [15] },
  { from: 6011, to: 6011, lengths: LONG }, // Discover
  { from: 644, to: 659, lengths: LONG },
  { from: 300, to: 305, lengths: [14, 16, 19] }, // Diners Club
  { from: 3095, to: 3095, lengths: [14, 16, 19] },
  { from: 36, to: 36, lengths: [14, 16, 19] },
  { from: 38, to: 39, lengths: [14, 16, 19] },
  { from: 3528, to: 3589, lengths: LONG }, // JCB
  { from: 62, to: 62, lengths: LONG }, // UnionPay
  { from: 81, to: 82, lengths: [16] }, // UnionPay, RuPay
  { from: 2200, to: 2204, lengths: LONG }, // Mir
  { from: 50, to: 50, lengths: [16, 18, 19] }, // Maestro, Elo, Verve
  { from: 56, to: 58, lengths: [16, 18, 19] },
  { from: 60, to: 60, lengths: [16, 19] },
  { from: 63, to: 63, lengths: [16, 18, 19] },
  { from: 67, to: 67, lengths: [16, 18, 19] },
  { from: 9792, to: 9792, lengths: [16] }, // Troy
];

export const isCard = (digits: string): boolean =>
  ISSUERS.some(({ from, to, lengths }) => {
    if (!lengths.includes(digits.length)) return false;
    const first = Number(digits.slice(0, String(from).length));
    return first >= from && first <= to;
  }) && passesLuhn(digits);

/** Areas 000, 666 and from 900, group 00 and serial 0000 are never issued (SSA, since 2011). */
export function isSsn(digits: string): boolean {
  if (digits.length !== 9) return false;
  const area = Number(digits.slice(0, 3));
  return area !== 0 && area !== 666 && area < 900 && digits.slice(3, 5) !== '00' && digits.slice(5) !== '0000';
}

/** SWIFT's registry: lengths by country. */
const IBAN_LENGTHS: Readonly<Record<string, number>> = Object.fromEntries(
  `15NO 16BE 18DKFOFIGLNLSD 19MKSI 20ATBAEEKZLTLUMNXK 21CHHRLILV 22BGBHCRDEGBGEIEMERSVA 23AEGIILIQOMSOTL
   24ADCZESMDPKROSASESKTNVG 25LYPTST 26ISTR 27BIDJFRGRITMCMRSM 28ALAZBYCYDOGTHULBNIPLSV 29BREGPSQAUA
   30JOKWMUYE 31MTSC 32LC 33RU`
    .split(/\s+/)
    .flatMap((row) => (row.slice(2).match(/../g) ?? []).map((country) => [country, Number(row.slice(0, 2))])),
);
export const ibanLength = (country: string): number =>
  Object.hasOwn(IBAN_LENGTHS, country) ? (IBAN_LENGTHS[country] ?? 0) : 0;

/** ISO 13616: mod 97 of the digits with the first four letters last is 1. */
export function isIban(text: string): boolean {
  if (text.length === 0 || text.length !== ibanLength(text.slice(0, 2)) || !/^[A-Z]{2}\d\d[A-Z0-9]+$/.test(text))
    return false;
  let remainder = 0;
  for (const letter of text.slice(4) + text.slice(0, 4)) {
    const value = Number.parseInt(letter, 36);
    remainder = (remainder * (value > 9 ? 100 : 10) + value) % 97;
  }
  return remainder === 1;
}

/** ITU-T E.164 assigned country codes: those of one and two digits, and the rest by their first two. */
const COUNTRIES = new Set(
  '20 27 30 31 32 33 34 36 39 40 41 43 44 45 46 47 48 49 51 52 53 54 55 56 57 58 60 61 62 63 64 65 66 81 82 84 86 90 91 92 93 94 95 98'.split(
    ' ',
  ),
);
const COUNTRY_TENS = new Set('21 22 23 24 25 26 29 35 37 38 42 50 59 67 68 69 80 85 87 88 96 97 99'.split(' '));

/** With country code, after the plus. */
export function isE164(digits: string): boolean {
  if (digits.startsWith('1')) return isNanp(digits.slice(1));
  if (digits.startsWith('7')) return digits.length === 11;
  const two = digits.slice(0, 2);
  if (COUNTRIES.has(two)) return digits.length >= 10 && digits.length <= 15;
  return COUNTRY_TENS.has(two) && digits.length >= 10 && digits.length <= 15;
}

/** North America: area and exchange begin with 2 to 9. */
export const isNanp = (digits: string): boolean => /^[2-9]\d\d[2-9]\d{6}$/.test(digits);
