import { describe, expect, test } from 'vitest';
import { exposureFault, type ExposureInput, isExposedName } from '../../../protocol/call/index.ts';
import { isCapability, limits } from '../../../protocol/index.ts';

const FULL: ExposureInput = {
  name: 'files',
  command: ['npx', '-y', 'server', ''],
  cwd: '/srv',
  env: { API_TOKEN: 't\n', _x: '' },
  capability: 'read:files/*',
  needs: { 'write file': 'write:files', 'ü=': 'x:y' },
  policy: 'strict',
  description: 'Reports “q3”',
};

test('a name is a segment of a capability', () => {
  for (const name of ['a', 'files', 'a.b_c-9', 'a'.repeat(64)]) {
    expect(isExposedName(name), name).toBe(true);
    expect(isCapability(`mcp:${name}/x`), name).toBe(true);
  }
  for (const name of ['', 'A', '9a', '.a', 'a b', 'a/b', 'a~', 'ä', 'a'.repeat(65), 'a\n'])
    expect(isExposedName(name), name).toBe(false);
});

describe('exposureFault()', () => {
  test('finds nothing wrong with a program, nor with a URL', () => {
    expect(exposureFault(FULL)).toBeUndefined();
    expect(
      exposureFault({ name: 'a', url: 'https://h.example:1/mcp?x=1', headers: { 'X-Key': '\tk~' } }),
    ).toBeUndefined();
    expect(exposureFault({ name: 'a', command: ['b'], env: undefined })).toBeUndefined();
  });

  test.each<[string, object]>([
    ['name', { name: '../a' }],
    ['command', { command: [] }],
    ['command', { command: Array.from({ length: limits.EXPOSED_WORDS_MAX + 1 }, () => 'a') }],
    ['command.0', { command: [''] }],
    ['command.1', { command: ['a', 'b\0'] }],
    ['command.1', { command: ['a', '\ud800'] }],
    ['command.0', { command: ['x'.repeat(limits.EXPOSED_WORD_TEXT_MAX + 1)] }],
    ['cwd', { cwd: '' }],
    ['env', { env: ['A=b'] }],
    ['env.A B', { env: { 'A B': '' } }],
    ['env.A', { env: { A: null } }],
    ['env.A', { env: { A: 'x\0' } }],
    ['capability', { capability: 'read' }],
    ['needs.', { needs: { '': 'a:b' } }],
    ['needs.x', { needs: { x: 'a:b/../c' } }],
    ['description', { description: ' a' }],
    ['description', { description: 'a\u2028b' }],
    ['description', { description: 'x'.repeat(limits.EXPOSED_DESCRIPTION_TEXT_MAX + 1) }],
    ['url', { command: undefined, cwd: undefined, env: undefined, url: 'file:///etc/passwd' }],
    ['url', { command: undefined, cwd: undefined, env: undefined, url: 'http://user@h/' }],
    ['cwd', { command: undefined, env: undefined, url: 'http://h/' }],
    ['headers', { headers: { A: 'b' } }],
    ['', { url: 'http://h/' }],
    ['', { command: undefined }],
    ['check', { check: true }],
  ])('names "%s" in %j', (path, more) => {
    expect(exposureFault({ ...FULL, ...more })?.path.join('.')).toBe(path);
  });

  test.each(['Host', 'content-length', 'Mcp-Method', 'Transfer-Encoding', 'A b', ''])(
    'refuses the header "%s"',
    (name) => {
      expect(exposureFault({ name: 'a', url: 'http://h/', headers: { [name]: 'x' } })?.path).toEqual(['headers', name]);
    },
  );

  test.each(['a\nb', 'a\r', 'ä', '\0'])('refuses the value %j of a header, and does not quote it', (value) => {
    const fault = exposureFault({ name: 'a', url: 'http://h/', headers: { 'X-Key': value } });
    expect(fault).toMatchObject({ path: ['headers', 'X-Key'], is: 'another' });
  });

  test.each([null, 5, 'a', [FULL]])('%j is none', (value) => {
    expect(exposureFault(value)?.path).toEqual([]);
  });
});
