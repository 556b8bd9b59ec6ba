/** What a piece of text is; a colour repeats what its words say, never more. */
export type Tone = 'good' | 'warn' | 'bad' | 'dim' | 'strong';

export type Paint = (tone: Tone | undefined, text: string) => string;

const CODES: Readonly<Record<Tone, readonly [open: number, close: number]>> = {
  good: [32, 39],
  warn: [33, 39],
  bad: [31, 39],
  dim: [2, 22],
  strong: [1, 22],
};

const inColour: Paint = (tone, text) => {
  if (tone === undefined || text === '') return text;
  const [open, close] = CODES[tone];
  return `\u001b[${open}m${text}\u001b[${close}m`;
};
const inOneColour: Paint = (_, text) => text;

export const createPaint = (hasColour: boolean): Paint => (hasColour ? inColour : inOneColour);

/** https://no-color.org: any value that is not empty turns colour off. */
export const hasColour = (isTty: boolean, env: Readonly<Record<string, string | undefined>>): boolean =>
  isTty && (env['NO_COLOR'] ?? '') === '' && env['TERM'] !== 'dumb';
