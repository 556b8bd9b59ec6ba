import { describe, expect, test } from 'vitest';
import { isErrorCode, parseStatement } from '../../protocol/index.ts';
import { SETS } from './sets.ts';
import { refusalOf } from './statement.ts';
import { filesOf, filesOnDisk, type InvalidVector, type ValidVector } from './vectors.ts';

describe.each(Object.entries(SETS))('the vectors of %s', (name, set) => {
  test('are what regenerate.ts would write, no more and no less', () => {
    expect(Object.keys(set.valid).length).toBeGreaterThan(5);
    expect(Object.keys(set.invalid).length).toBeGreaterThan(5);
    const onDisk = filesOnDisk(name);
    expect([...onDisk.keys()].sort()).toEqual([...filesOf(name, set).keys()].sort());
    for (const [path, text] of filesOf(name, set)) expect(onDisk.get(path), path).toBe(text);
  });

  test('each name the section that decides them, and the invalid ones a code of the list', () => {
    for (const vector of [...Object.values(set.valid), ...Object.values(set.invalid)])
      expect(vector.source.length).toBeGreaterThan(3);
    for (const [title, { code }] of Object.entries(set.invalid)) expect(isErrorCode(code), title).toBe(true);
  });

  test('are all different', () => {
    const bytes = [...Object.values(set.valid), ...Object.values(set.invalid)].map((vector) => JSON.stringify(vector));
    expect(new Set(bytes).size).toBe(bytes.length);
  });
});

/** The files themselves, as another implementation would read them. */
function read<T>(verdict: 'valid' | 'invalid'): [string, T][] {
  return [...filesOnDisk('statement')]
    .filter(([path]) => path.startsWith(`statement/${verdict}/`))
    .map(([path, text]) => [path.slice(`statement/${verdict}/`.length, -'.json'.length), JSON.parse(text) as T]);
}

test.each(read<ValidVector>('valid'))('statement %s is accepted, with the id that it has', (_, vector) => {
  expect(refusalOf(vector)).toBeUndefined();
  const statement = parseStatement(Buffer.from(vector.envelopeBytes as string, 'hex'));
  expect({ id: statement.id, epoch: statement.epoch, kind: statement.t }).toEqual({
    id: vector.id,
    epoch: vector.epoch,
    kind: vector.kind,
  });
  expect(Buffer.from(statement.payloadBytes).toString('hex')).toBe(vector.payloadBytes);
});

test.each(read<InvalidVector>('invalid'))('statement %s is refused with its code', (_, vector) => {
  expect(refusalOf(vector)).toBe(vector.code);
});
