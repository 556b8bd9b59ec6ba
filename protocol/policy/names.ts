/**
 * What makes two names the same one to a policy (SPEC "Policy conditions"). Servers and models tell tools apart by bytes,
 * people by looks, and some JSON libraries by neither; a rule about "delete_file" shall not be passed by "Delete_File",
 * "ｄelete_file" or one with a zero-width joiner in it.
 */

/** Cc, Cf and what Unicode wants shown as nothing: joiners, variation selectors, fillers, tags. */
const INVISIBLE = /[\p{Cc}\p{Cf}\p{Default_Ignorable_Code_Point}]/gu;
/** White space, and the Braille pattern without dots, which looks like it. */
const SPACES = /[\p{White_Space}\u2800]+/gu;
const PLAIN = /^[!-@[-~]*$/; // ASCII without space and capital letters

/**
 * NFKC, case folded, without invisible characters, white space trimmed and each run of it one space. Idempotent.
 *
 * The platform folds no case. Lower, upper and lower case again make one of all letters that full case folding (Unicode
 * CaseFolding.txt, C and F) makes one, after final sigma, which depends on its neighbours, is undone. Beyond that, as in
 * Turkish, i, I, dotless ı and dotted İ are one letter.
 */
export function canonicalName(text: string): string {
  return PLAIN.test(text) ? text : canonicalPart(text).trim();
}

/** As `canonicalName`, for a part of a name: white space at its ends stays, as one space. */
export function canonicalPart(text: string): string {
  if (PLAIN.test(text)) return text;
  // What one round uncovers the next one folds: capital letters in compatibility forms, marks behind what was removed.
  for (let before = text; ; before = text) {
    text = fold(visible(visible(text).normalize('NFKC'))).normalize('NFKC');
    if (text === before) return text;
  }
}

const visible = (text: string): string =>
  text.replaceAll(SPACES, ' ').replaceAll(INVISIBLE, '').replaceAll(SPACES, ' ');

const fold = (text: string): string =>
  text
    .toLowerCase()
    .toUpperCase()
    .toLowerCase()
    .replaceAll('ς', 'σ')
    .replaceAll(/i\u0307+/g, 'i');
