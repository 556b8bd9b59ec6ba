import fc from 'fast-check';
import { expect, test } from 'vitest';
import { unifiedDiff } from '../../../cli/integration/diff.ts';

/** What patch(1) does. */
function patched(before: string, diff: string): string {
  const source = before.match(/[^\n]*\n|[^\n]+$/g) ?? [];
  const result: string[] = [];
  let at = 0;
  const lines = diff.match(/[^\n]*\n/g) ?? [];
  for (const [i, line] of lines.entries()) {
    const start = /^@@ -(\d+)(,\d+)? /.exec(line);
    const text = lines[i + 1]?.startsWith('\\') === true ? line.slice(1, -1) : line.slice(1);
    if (start !== null) {
      const first = Number(start[1]) - (start[2] === ',0' ? 0 : 1);
      while (at < first) result.push(source[at++] ?? '');
    } else if (i >= 2 && line.startsWith('+')) result.push(text);
    else if (i >= 2 && /^[- ]/.test(line)) {
      expect(source[at]).toBe(text);
      if (line.startsWith(' ')) result.push(text);
      at += 1;
    }
  }
  return [...result, ...source.slice(at)].join('');
}

test('a diff makes the one text of the other', () => {
  const text = fc
    .array(fc.constantFrom('a\n', 'b\n', 'c\r\n', '\n', '-\n', 'end'), { maxLength: 24 })
    .map((lines) => lines.join(''));
  fc.assert(
    fc.property(text, text, (before, after) => {
      expect(patched(before, unifiedDiff(before, after, 'f'))).toBe(after);
    }),
    { numRuns: 500 },
  );
});

test('it shows three lines around a change, and nothing where nothing changed', () => {
  const lines = Array.from({ length: 20 }, (_, i) => `${i}\n`);
  expect(unifiedDiff(lines.join(''), lines.with(10, 'x\n').join(''), '/f')).toBe(
    '--- /f\n+++ /f\n@@ -8,7 +8,7 @@\n 7\n 8\n 9\n-10\n+x\n 11\n 12\n 13\n',
  );
  expect(unifiedDiff('a\n', 'a\n', '/f')).toBe('');
  expect(unifiedDiff('a', 'a\n', '/f')).toBe('--- /f\n+++ /f\n@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+a\n');
});
