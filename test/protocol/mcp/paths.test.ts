import { describe, expect, test } from 'vitest';
import { limits } from '../../../protocol/index.ts';
import { lexicalForms, pathCandidates, pathTexts } from '../../../protocol/mcp/index.ts';

const PASSWD = '/etc/passwd';

describe('lexicalForms()', () => {
  test.each([
    ['as it is', '/etc/passwd'],
    ['dot segments', '/tmp/../etc/./passwd'],
    ['many dot segments', '/a/b/../../../../../etc/passwd'],
    ['slashes', '//etc///passwd'],
    ['backslashes', '\\etc\\passwd'],
    ['mixed separators', '/tmp\\..\\etc/passwd'],
    ['percent-encoding', '/etc%2fpasswd'],
    ['percent-encoded dots', '/tmp/%2e%2e/etc/passwd'],
    ['percent-encoding twice', '/tmp/%252e%252e/etc%252Fpasswd'],
    ['percent-encoding four times', '/etc/pass%25252577d'],
    ['percent-encoded letters', '/%65%74%63/passwd'],
    ['overlong UTF-8 of two bytes', '/tmp/%c0%ae%c0%ae/etc/passwd'],
    ['overlong UTF-8 of a slash', '/etc%c0%afpasswd'],
    ['overlong UTF-8 of three bytes', '/etc%e0%80%afpasswd'],
    ['%u escapes', '/etc%u002fpasswd'],
    ['file:///', 'file:///etc/passwd'],
    ['file:/', 'file:/etc/passwd'],
    ['FILE:', 'FILE:///etc/passwd'],
    ['url:file:', 'url:file:///etc/passwd'],
    ['localhost', 'file://localhost/etc/passwd'],
    ['LOCALHOST', 'file://LocalHost/etc/passwd'],
    ['another host', 'file://127.0.0.1/etc/passwd'],
    ['a host that is a directory', 'file://etc/passwd'],
    ['backslashes after file:', 'file:\\\\\\etc\\passwd'],
    ['four slashes', 'file:////etc/passwd'],
    ['a query', 'file:///etc/passwd?x=1'],
    ['a fragment', 'file:///etc/passwd#top'],
    ['an encoded path in a URI', 'file:///%65tc/p%61sswd'],
    ['dots in a URI', 'file:///tmp/..%2fetc/passwd'],
    ['a tab in the scheme', 'fi\tle:///etc/passwd'],
    ['line breaks in a URI', 'file:///etc/pas\nswd'],
    ['space around', '  /etc/passwd\n'],
    ['full-width letters', '\uff0fetc\uff0fpasswd'],
    ['full-width dots', '/tmp/\uff0e\uff0e/etc/passwd'],
    ['a two-dot leader', '/tmp/\u2025/etc/passwd'],
    ['a zero-width space', '/etc/pass\u200bwd'],
    ['dots and spaces that Windows drops', '/etc./passwd. .'],
    ['an NTFS stream', '/etc/passwd::$DATA'],
    ['a named NTFS stream', '/etc/passwd:secret'],
    ['a space after dots', '/tmp/.. /etc/passwd'],
  ])('finds /etc/passwd behind %s', (_, text) => {
    expect(lexicalForms(text)).toContain(PASSWD);
  });

  test.each([
    ['a drive', 'C:\\Windows\\System32'],
    ['a device path', '\\\\?\\C:\\Windows\\System32'],
    ['a device path with dots', '\\\\.\\C:\\Windows\\x\\..\\System32'],
    ['an NT path', '\\??\\C:\\Windows\\System32'],
    ['a URI', 'file:///C:/Windows/System32'],
    ['a URI with a bar', 'file:///C|/Windows/System32'],
    ['an administrative share', '\\\\localhost\\c$\\Windows\\System32'],
  ])('finds C:/Windows/System32 behind %s', (_, text) => {
    expect(lexicalForms(text).map((form) => form.toUpperCase())).toContain('C:/WINDOWS/SYSTEM32');
  });

  test('keeps what only the file system can tell', () => {
    for (const text of ['~/.ssh', '$HOME/.ssh', '%USERPROFILE%/.ssh']) expect(lexicalForms(text)).toContain(text);
    expect(lexicalForms('a/link/../x')).toEqual(expect.arrayContaining(['a/link/../x', 'a/x']));
    expect(lexicalForms('//server/share/x')).toEqual(expect.arrayContaining(['//server/share/x', '/server/share/x']));
  });

  test('has both forms of a composed letter', () => {
    expect(lexicalForms('/caf\u0065\u0301')).toContain('/caf\u00e9');
  });

  test('has one form of what can be read in one way', () => {
    for (const text of ['/workspace/a/b.txt', 'src/index.ts', '../x', 'a', '/'])
      expect(lexicalForms(text)).toEqual([text]);
    expect(lexicalForms('file:///workspace/a.txt')).toEqual(['/workspace/a.txt']);
  });

  test.each([
    ['a NUL', '/workspace/a.txt\0.png'],
    ['an encoded NUL', '/workspace/a.txt%00.png'],
    ['an encoded NUL in a URI', 'file:///workspace/a%2500b'],
    ['a fifth layer of encoding', '/etc/pass%2525252577d'],
  ])('refuses %s', (_, text) => {
    expect(() => lexicalForms(text)).toThrow(expect.objectContaining({ code: 'malformed' }) as Error);
  });

  test('finds a short path behind dots longer than any path', () => {
    const detour = `/${'a/../'.repeat(5_000)}etc/passwd`;
    expect(lexicalForms(detour)).toContain(PASSWD);
    expect(lexicalForms(detour.replaceAll('..', '%2e%2e'))).toContain(PASSWD);
    expect(lexicalForms(`file://${detour}`)).toContain(PASSWD);
  });

  test('leaves out what no system call takes', () => {
    expect(lexicalForms(`/${'a'.repeat(limits.PATH_TEXT_MAX)}`)).toEqual([]);
  });
});

describe('pathCandidates()', () => {
  test('finds texts that look like paths under any name and at any depth', () => {
    const found = pathCandidates({
      a: [{ b: ['/etc/passwd', { c: 'sub/x' }] }],
      d: '~/.ssh/id_rsa',
      e: '..',
      f: '.env',
      g: 'C:\\x',
      h: '%2e%2e%2fx',
      i: '$HOME',
      j: 'file:x',
      k: '\uff0fetc',
    });
    expect(found).toEqual([
      '/etc/passwd',
      'sub/x',
      '~/.ssh/id_rsa',
      '..',
      '.env',
      'C:\\x',
      '%2e%2e%2fx',
      '$HOME',
      'file:x',
      '\uff0fetc',
    ]);
  });

  test.each([
    'path',
    'file_path',
    'filePath',
    'PATH',
    'sourceFile',
    'cwd',
    'dir',
    'root',
    'destination',
    'target',
    'files',
    '\uff50ath',
  ])('takes a bare name under "%s" for a path', (name) => {
    expect(pathCandidates({ [name]: 'passwd' })).toEqual(['passwd']);
    expect(pathCandidates({ [name]: ['passwd', { x: 'shadow' }] })).toEqual(['passwd', 'shadow']);
  });

  test('takes names of members for paths, as tools that write several files have them', () => {
    expect(pathCandidates({ changes: { '/etc/passwd': 'x' } })).toEqual(['/etc/passwd']);
  });

  test('looks into JSON within a text, which some servers parse', () => {
    expect(pathCandidates({ list: '["/etc/passwd"]' })).toContain('/etc/passwd');
    expect(pathCandidates({ list: ' {"path":"passwd","more":"[\\"/etc/shadow\\"]"}' })).toEqual(
      expect.arrayContaining(['passwd', '/etc/shadow']),
    );
    expect(() => pathCandidates({ list: '{"path":"a","path":"/etc/passwd"}' })).toThrow(/there twice/);
  });

  test('takes each line of a list of paths', () => {
    expect(pathCandidates({ paths: 'a.txt\n/etc/passwd' })).toEqual(['a.txt', '/etc/passwd']);
  });

  test('leaves texts alone that name no path', () => {
    expect(
      pathCandidates({
        text: 'hello there',
        n: 1,
        b: true,
        x: null,
        content: '// a comment\nimport x from "/y";\n',
        url: 'https://example.com/a/b?c=d',
        image: 'data:image/png;base64,/9j/4AAQ',
        source: `line\n${'code / comment\n'.repeat(5_000)}`,
      }),
    ).toEqual([]);
  });

  test('looks at a URL of another scheme that leaves its directory', () => {
    expect(pathCandidates({ q: 'https://a/../../../etc/passwd' })).toHaveLength(1);
    expect(pathTexts({ q: 'https://a/%2e%2e/%2e%2e/%2e%2e/etc/passwd' })).toContain('../etc/passwd');
  });

  test('refuses more than it can look at', () => {
    const many = Array.from({ length: 100_000 }, (_, i) => `/tmp/${i}`);
    expect(() => pathCandidates({ many })).toThrow(expect.objectContaining({ code: 'too_large' }) as Error);
    expect(pathCandidates({ many: many.slice(0, limits.PATHS_MAX) })).toHaveLength(limits.PATHS_MAX);
    let nested = '"/x"';
    for (let i = 0; i < 12; i++) nested = JSON.stringify(`[${nested}]`);
    expect(pathCandidates({ nested: JSON.parse(nested) as string })).toContain('/x');
  });

  test('refuses paths that take too much work, in sum', () => {
    const paths = Array.from({ length: 1_000 }, (_, i) => `/${i}${'%2e./a'.repeat(600)}`);
    expect(() => pathTexts({ paths })).toThrow(expect.objectContaining({ code: 'too_large' }) as Error);
    expect(() => pathTexts({ path: `/${'%41'.repeat(400_000)}` })).toThrow(/letters in its paths/);
  });

  test('takes time that grows with the length of the text and no faster', () => {
    const spent = (text: string): number => {
      const before = process.threadCpuUsage();
      pathTexts({ path: text });
      const { user } = process.threadCpuUsage(before);
      return user;
    };
    for (const unit of ['%25', '../', '\\', 'a/', ' .', 'file:', '%c0%ae', '\u2025']) {
      const short = `/${unit.repeat(20_000)}`;
      const long = `/${unit.repeat(200_000)}`;
      const tried = (text: string): number => {
        try {
          return spent(text);
        } catch {
          return 0; // refused, which costs less
        }
      };
      tried(short);
      expect(tried(long), unit).toBeLessThan(60 * (tried(short) + 2_000));
    }
  });
});
