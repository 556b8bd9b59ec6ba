import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { leafHash, parseEntry, toCloudEventLine, toJsonLine } from '../../../../protocol/log/index.ts';
import { SAMPLES } from '../entry-sample.ts';

const samples = Object.entries(SAMPLES);

test.each(samples)('%s is a CloudEvent as it is', (_, made) => {
  const line = toCloudEventLine(made);
  expect(Buffer.from(line)).toEqual(Buffer.from(made.bytes));
  expect(line).not.toContain('\n');
  // CloudEvents 1.0 section 3: what must be there, and names of lower-case letters and digits only.
  const event = JSON.parse(line) as Record<string, unknown>;
  for (const name of ['id', 'source', 'specversion', 'type']) expect(event[name], name).toMatch(/./);
  for (const name of Object.keys(event)) expect(name).toMatch(/^[a-z0-9]{1,20}$/);
});

test.each(samples)('%s as a line holds the entry to the byte, and the hash that it gives', (_, made) => {
  const line = toJsonLine(made, { index: 7, leafHash: leafHash(made.bytes) });
  expect(line).not.toContain('\n');
  const read = JSON.parse(line) as { index: number; leafHash: string; entry: unknown };
  expect(Object.keys(read)).toEqual(['index', 'leafHash', 'entry']);
  expect(read.index).toBe(7);
  const entry = line.slice(line.indexOf('"entry":') + '"entry":'.length, -1);
  expect(parseEntry(Buffer.from(entry)).entry).toEqual(read.entry);
  const hash = createHash('sha256').update(Uint8Array.of(0)).update(entry).digest('hex');
  expect(read.leafHash).toBe(hash);
});
