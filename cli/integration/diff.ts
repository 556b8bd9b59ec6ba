/** A unified diff, as diff(1) and patch(1) have it. */

const CONTEXT_LINES = 3;
const CELLS_MAX = 4_000_000; // of the table below: beyond, what lies between the first and last change is shown as one

interface Line {
  readonly sign: ' ' | '-' | '+';
  readonly text: string;
}

/** Empty for equal texts. */
export function unifiedDiff(before: string, after: string, path: string): string {
  if (before === after) return '';
  const lines = compare(linesOf(before), linesOf(after));
  return `--- ${path}\n+++ ${path}\n${hunksOf(lines).map(formatHunk).join('')}`;
}

/** With their ends, so that a changed line end is a change. */
const linesOf = (text: string): string[] => text.match(/[^\n]*\n|[^\n]+$/g) ?? [];

function compare(a: readonly string[], b: readonly string[]): Line[] {
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start += 1;
  let end = 0;
  while (end < a.length - start && end < b.length - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end += 1;
  const same = (text: string): Line => ({ sign: ' ', text });
  const middle = compareMiddle(a.slice(start, a.length - end), b.slice(start, b.length - end));
  return [...a.slice(0, start).map(same), ...middle, ...a.slice(a.length - end).map(same)];
}

/** By a longest common subsequence. */
function compareMiddle(a: readonly string[], b: readonly string[]): Line[] {
  const removed = (text = ''): Line => ({ sign: '-', text });
  const added = (text = ''): Line => ({ sign: '+', text });
  if (a.length * b.length > CELLS_MAX) return [...a.map(removed), ...b.map(added)];
  const width = b.length + 1;
  const common = new Uint32Array((a.length + 1) * width);
  const at = (i: number, j: number): number => common[i * width + j] ?? 0;
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1)
      common[i * width + j] = a[i] === b[j] ? at(i + 1, j + 1) + 1 : Math.max(at(i + 1, j), at(i, j + 1));
  }
  const lines: Line[] = [];
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      lines.push({ sign: ' ', text: a[i] ?? '' });
      i += 1;
      j += 1;
    } else if (i < a.length && (j >= b.length || at(i + 1, j) >= at(i, j + 1))) lines.push(removed(a[i++]));
    else lines.push(added(b[j++]));
  }
  return lines;
}

interface Hunk {
  /** Lines of either text before it. */
  readonly before: number;
  readonly after: number;
  readonly lines: readonly Line[];
}

function hunksOf(lines: readonly Line[]): Hunk[] {
  const hunks: Hunk[] = [];
  const isNear = (index: number): boolean =>
    lines.slice(Math.max(0, index - CONTEXT_LINES), index + CONTEXT_LINES + 1).some(({ sign }) => sign !== ' ');
  let [before, after] = [0, 0];
  let open: { before: number; after: number; lines: Line[] } | undefined;
  for (const [index, line] of lines.entries()) {
    if (isNear(index)) {
      if (open === undefined) hunks.push((open = { before, after, lines: [] }));
      open.lines.push(line);
    } else open = undefined;
    if (line.sign !== '+') before += 1;
    if (line.sign !== '-') after += 1;
  }
  return hunks;
}

function formatHunk({ before, after, lines }: Hunk): string {
  const count = (sign: '-' | '+'): number => lines.filter((line) => line.sign === ' ' || line.sign === sign).length;
  const range = (start: number, size: number): string =>
    `${size === 0 ? start : start + 1}${size === 1 ? '' : `,${size}`}`;
  const body = lines.map(({ sign, text }) =>
    text.endsWith('\n') ? `${sign}${text}` : `${sign}${text}\n\\ No newline at end of file\n`,
  );
  return `@@ -${range(before, count('-'))} +${range(after, count('+'))} @@\n${body.join('')}`;
}
