/** Controls, formats, separators other than a space, and what Unicode wants shown as nothing. */
const UNSEEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cn}\p{Default_Ignorable_Code_Point}]|(?! )\p{Zs}/gu;

/** For people's terminals: what would not be seen, or would move what is, as ⟨U+200B⟩. */
export const visibleText = (text: string): string =>
  text.replaceAll(
    UNSEEN,
    (letter) => `⟨U+${(letter.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}⟩`,
  );
