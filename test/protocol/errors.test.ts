import { expect, test } from 'vitest';
import { ERRORS, isErrorCode, isMeshError, MeshError, unreachable } from '../../protocol/errors.ts';

test('every code is lower case with underscores and says when it happens', () => {
  const codes = Object.entries(ERRORS);
  expect(codes.length).toBeGreaterThan(50);
  for (const [code, when] of codes) {
    expect(code).toMatch(/^[a-z]+(_[a-z]+)*$/);
    expect(when.length, code).toBeGreaterThan(10);
    expect(when, code).not.toMatch(/\.$/);
  }
  expect(new Set(codes.map(([, when]) => when)).size).toBe(codes.length);
});

test('a code is one of the list, and nothing of a prototype is', () => {
  expect(isErrorCode('malformed')).toBe(true);
  for (const other of ['Malformed', '', 'toString', '__proto__', 'constructor', 1, null, undefined])
    expect(isErrorCode(other)).toBe(false);
});

test('an error carries its code, a sentence and facts into JSON, and nothing else', () => {
  const error = new MeshError(
    'depth',
    'Cannot accept link 3: too deep',
    { link: 3 },
    { cause: new Error('secret detail') },
  );
  expect(error).toBeInstanceOf(Error);
  expect(isMeshError(error)).toBe(true);
  expect(isMeshError(new Error('x'))).toBe(false);
  expect(JSON.parse(JSON.stringify(error))).toEqual({
    code: 'depth',
    message: 'Cannot accept link 3: too deep',
    data: { link: 3 },
  });
  expect(error.cause).toMatchObject({ message: 'secret detail' });
});

test('a case that should not exist is an internal error', () => {
  expect(() => unreachable('new' as never)).toThrow(expect.objectContaining({ code: 'internal' }));
});
