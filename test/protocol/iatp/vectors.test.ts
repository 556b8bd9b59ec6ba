import { describe, expect, test } from 'vitest';
import { handshakeRefusalOf } from '../../vectors/iatp.ts';
import { filesOnDisk, type InvalidVector, type ValidVector } from '../../vectors/vectors.ts';

/** The files themselves, as another implementation would read them. */
const read = <T>(verdict: 'valid' | 'invalid'): [string, T][] =>
  [...filesOnDisk('iatp')]
    .filter(([path]) => path.startsWith(`iatp/${verdict}/`))
    .map(([path, text]) => [path.slice(`iatp/${verdict}/`.length, -'.json'.length), JSON.parse(text) as T]);

describe('the vectors of the handshake', () => {
  test.each(read<ValidVector>('valid'))('%s is accepted', (_, vector) => {
    expect(handshakeRefusalOf(vector)).toBeUndefined();
  });

  test.each(read<InvalidVector>('invalid'))('%s is refused with its code', (_, vector) => {
    expect(handshakeRefusalOf(vector)).toBe(vector.code);
  });
});
