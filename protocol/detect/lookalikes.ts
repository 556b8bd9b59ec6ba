/**
 * Letters of Cyrillic and Greek that look like Latin ones (a small part of Unicode's confusables.txt): the small letters,
 * after folding. Other look-alikes, as "rn" for "m", are not known here.
 */
const PAIRS =
  'аa вb сc ԁd еe һh іi јj ӏl кk мm оo рp ԛq ѕs тt уy ѵv ԝw хx ьb гr пn αa βb γy εe ηn ιi κk νv οo ρp σo τt υu χx ωw';

const LATIN_OF = new Map(PAIRS.split(' ').map((pair) => [pair.charCodeAt(0), pair.charAt(1)]));

const LETTERS = [...LATIN_OF.keys()].map((unit) => String.fromCharCode(unit)).join('');
const LOOKALIKE = new RegExp(`[${LETTERS}]`, 'g');
/** Letters of both in one word: no language writes so. */
const MIXED = new RegExp(`[a-z][${LETTERS}]|[${LETTERS}][a-z]`);

export const LOOKALIKES = {
  hasMixedWord: (lower: string): boolean => MIXED.test(lower),
  /** Unit for unit, so that places stay. */
  skeleton: (lower: string): string =>
    lower.replace(LOOKALIKE, (letter) => LATIN_OF.get(letter.charCodeAt(0)) ?? letter),
} as const;
