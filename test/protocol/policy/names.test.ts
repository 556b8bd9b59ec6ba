import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { canonicalName, canonicalPart } from '../../../protocol/policy/names.ts';
import { cpuMsOf } from './cpu-time.ts';

const hex = (text: string): string => Array.from(text, (letter) => letter.codePointAt(0)?.toString(16)).join(' ');

describe('canonicalName()', () => {
  test.each([
    ['Delete_File', 'delete_file'],
    ['ｄｅｌｅｔｅ＿ｆｉｌｅ', 'delete_file'],
    ['de\u200blete\u00ad_fi\u2060le\ufeff', 'delete_file'],
    ['delete_file\ufe0f', 'delete_file'],
    ['delete_file\u{e0041}\u{e007f}', 'delete_file'],
    ['delete\u0000_\u001bfile\u009c', 'delete_file'],
    ['delete_\u202eelif\u202c', 'delete_elif'],
    ['\u3164delete_file\u115f', 'delete_file'],
    [' \u3000delete_file\t\n', 'delete_file'],
    ['delete \u00a0\u2003\tfile', 'delete file'],
    ['delete \u200b file', 'delete file'],
    ['delete\u2800file', 'delete file'],
    ['li\u017ft_fileſ', 'list_files'],
    ['\u212aill', 'kill'],
    ['dıelete', 'dielete'],
    ['İSTANBUL', 'istanbul'],
    ['STRASSE', 'strasse'],
    ['straße', 'strasse'],
    ['STRAẞE', 'strasse'],
    ['ΟΔΟΣ', 'οδοσ'],
    ['οδος', 'οδοσ'],
    ['ﬁle', 'file'],
    ['e\u0301dit', 'édit'],
    ['ÉDIT', 'édit'],
    ['read_file', 'read_file'],
    ['', ''],
    ['\u200b', ''],
  ])('makes %j %j', (text, canonical) => {
    expect(canonicalName(text)).toBe(canonical);
  });

  // Unicode says which characters NFKC_Casefold changes, and the platform says what Unicode says.
  test('changes the characters that NFKC_Casefold changes, controls, formats, white space and dotless i, and no others', () => {
    const wrong: string[] = [];
    let changed = 0;
    for (let point = 0; point <= 0x10ffff; point++) {
      if (point === 0xd800) point = 0xe000; // halves of pairs are no characters
      const letter = String.fromCodePoint(point);
      const canonical = canonicalPart(letter);
      if (canonical !== letter) changed++;
      if (canonical !== letter && canonicalPart(canonical) !== canonical) wrong.push(`${hex(letter)} is not settled`);
      const isChanged = /[\p{CWKCF}\p{Cc}\p{Cf}\u2800ı]/u.test(letter) || /[^ \P{White_Space}]/u.test(letter);
      // Cherokee folds to its capital letters, and here to its small ones.
      if (/\p{Script=Cherokee}/u.test(letter)) continue;
      if (isChanged !== (canonical !== letter)) wrong.push(hex(letter));
    }
    expect(wrong).toEqual([]);
    expect(changed).toBeGreaterThan(10_000);
  });

  test('makes one of every letter and what the platform takes for its other case', () => {
    const wrong: string[] = [];
    let letters = 0;
    for (let point = 0; point <= 0x1_ffff; point++) {
      const letter = String.fromCodePoint(point);
      const [upper, lower] = [letter.toUpperCase(), letter.toLowerCase()];
      if (upper === lower) continue;
      letters++;
      if (new Set([letter, upper, lower].map(canonicalName)).size > 1) wrong.push(hex(letter));
    }
    expect(wrong).toEqual([]);
    expect(letters).toBeGreaterThan(2_500);
  });

  test('leaves a canonical name as it is', () => {
    const letter = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 3 }),
      fc.constantFrom(
        'i',
        'İ',
        'ı',
        '\u0307',
        '\u0301',
        'Σ',
        'ς',
        'ß',
        ' ',
        '\u200d',
        '\u00a0',
        '\u0345',
        'Ω',
        'ΐ',
        'ﷺ',
      ),
    );
    const text = fc.array(letter, { maxLength: 8 }).map((letters) => letters.join(''));
    fc.assert(
      fc.property(text, (name) => {
        const canonical = canonicalName(name);
        expect(canonicalName(canonical)).toBe(canonical);
        expect(canonicalPart(canonical)).toBe(canonical);
        expect(canonicalPart(name).trim()).toBe(canonical);
      }),
      { numRuns: 5000, seed: 17 },
    );
  });

  test('takes time linear in the name, whatever is stacked in it', () => {
    for (const stack of ['i\u0307', '\u0307', 'İ', '\u200b \u200b', 'ﷺ', 'ΐ', 'Σς']) {
      const [short, long] = [4_000, 32_000].map((count) => {
        const text = `i${stack.repeat(count)}`;
        return cpuMsOf(() => canonicalName(text));
      });
      // Eight times as long: a square would take 64 times the time.
      expect((long ?? 0) / Math.max(short ?? 0, 1), hex(stack)).toBeLessThan(32);
    }
  });
});

describe('canonicalPart()', () => {
  test('keeps white space at its ends, as one space, so that "read " does not begin "reads"', () => {
    expect(canonicalPart(' \u3000Read\t ')).toBe(' read ');
    expect(canonicalPart('READ')).toBe('read');
  });
});
