/** A command line to run next, as it can be pasted into a shell. */
export function formatCommand(
  args: readonly string[],
  place: { readonly home: string; readonly isHomeGiven: boolean },
): string {
  const home = place.isHomeGiven ? ['--home', place.home] : [];
  return ['agentmesh', ...home, ...args].map(quote).join(' ');
}

const quote = (word: string): string => (/^[\w@%+=:,./…-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`);
