/**
 * Text that comes from elsewhere (reasons, addresses, names, messages), made harmless: a control character could move
 * the cursor or recolour what stands beside it, and a bidirectional override could make it read as something else.
 */
export const plain = (text: string): string => text.replaceAll(HARMFUL, '�');
const HARMFUL = /[\p{Cc}\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu;

/** The same for text of several lines. */
export const plainLines = (text: string): string => text.split('\n').map(plain).join('\n');

/** One JSON value of the same meaning: JSON.stringify escapes the controls of ASCII and no others. */
export const plainJson = (value: unknown, indentation = 0): string =>
  JSON.stringify(value, null, indentation).replaceAll(HARMFUL, (letter) =>
    letter === '\n' ? letter : `\\u${letter.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );

/** Columns that a text takes on a terminal: two for what East Asian fonts and emoji draw wide, none for marks. */
export function widthOf(text: string): number {
  let width = 0;
  for (const letter of text) width += /\p{M}|\u200d/u.test(letter) ? 0 : WIDE.test(letter) ? 2 : 1;
  return width;
}
const WIDE =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\u33ff\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}/u;
