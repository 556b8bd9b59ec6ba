import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Case {
  readonly label: string;
  readonly text: string;
  /** Of what must be found. */
  readonly start: number;
  readonly end: number;
}

/** The cases of a file of corpus/, one a line. */
export function casesOf(name: string): Case[] {
  const lines = readFileSync(join(import.meta.dirname, 'corpus', `${name}.txt`), 'utf8').split('\n');
  return lines
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => {
      const [label = '', written = ''] = line.split('\t');
      const marked = unescaped(written);
      const start = marked.indexOf('«');
      const end = marked.indexOf('»');
      return { label, text: marked.replace('«', '').replace('»', ''), start, end: end - 1 };
    });
}

const unescaped = (written: string): string =>
  written
    .replaceAll('¦', '')
    .replaceAll(/\\u\{([0-9a-f]+)\}/g, (_, hex: string) => String.fromCodePoint(Number.parseInt(hex, 16)))
    .replaceAll(/\\(\\|n)/g, (_, letter: string) => (letter === 'n' ? '\n' : '\\'));
