import { PassThrough } from 'node:stream';
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { createLineReader, createLineWriter } from '../../../sdk/servers/lines.ts';

function reading(bytesMax: number): {
  push: (chunk: Buffer) => void;
  end: () => void;
  lines: string[];
  refused: () => number;
} {
  const lines: string[] = [];
  let refused = 0;
  const reader = createLineReader({
    bytesMax,
    onLine: (line) => lines.push(Buffer.from(line).toString()),
    onTooLong: () => refused++,
  });
  return { ...reader, lines, refused: () => refused };
}

test('lines are the same wherever chunks are cut', () => {
  const text = fc.array(fc.string({ unit: 'grapheme', minLength: 1 }).filter((line) => !/[\n\r\t ]/.test(line)));
  fc.assert(
    fc.property(text, fc.array(fc.nat({ max: 200 })), (wanted, cuts) => {
      const bytes = Buffer.from(wanted.map((line) => `${line}\n`).join(''));
      const { push, end, lines, refused } = reading(1_000_000);
      const at = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
      for (let i = 1; i < at.length; i++) push(bytes.subarray(at[i - 1], at[i]));
      end();
      expect(lines).toEqual(wanted);
      expect(refused()).toBe(0);
    }),
  );
});

test('blank lines are nothing, and the last one needs no end', () => {
  const { push, end, lines } = reading(100);
  push(Buffer.from('\n \t\r\n{"a":1}\r\n\n{"b":2}'));
  expect(lines).toEqual(['{"a":1}\r']);
  end();
  end();
  expect(lines).toEqual(['{"a":1}\r', '{"b":2}']);
});

test('a line that is too long is refused once, skipped to its end and never held', () => {
  const { push, lines, refused } = reading(10);
  push(Buffer.from('0123456789\n'));
  for (let i = 0; i < 1_000; i++) push(Buffer.alloc(1_000, 0x61));
  expect(refused()).toBe(1);
  push(Buffer.from('end\nshort\n'));
  push(Buffer.from('01234567890\nnext\n'));
  expect(lines).toEqual(['0123456789', 'short', 'next']);
  expect(refused()).toBe(2);
});

test('what is written leaves in order, each line with its end', async () => {
  const stream = new PassThrough();
  const writer = createLineWriter(stream);
  for (const line of ['a', 'b', 'c']) writer.write(Buffer.from(line));
  expect(writer.backlogBytes).toBe(6);
  await new Promise((settle) => setImmediate(settle));
  expect(String(stream.read())).toBe('a\nb\nc\n');
  stream.destroy();
  writer.write(Buffer.from('nobody reads this'));
});
