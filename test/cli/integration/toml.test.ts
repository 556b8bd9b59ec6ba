import fc from 'fast-check';
import { parse as parseToml, stringify } from 'smol-toml';
import { describe, expect, test } from 'vitest';
import { isSame, withValueAt } from '../../../cli/integration/json-value.ts';
import { tomlFormat } from '../../../cli/integration/toml.ts';

const { parse, edit, replace, textAt } = tomlFormat;
const at = ['mcp_servers', 'a'];

describe('edit()', () => {
  test.each([
    [
      '[mcp_servers.a]\ncommand = "x" # why\n',
      { at: ['command'], value: 'y' },
      '[mcp_servers.a]\ncommand = "y" # why\n',
    ],
    [
      '[mcp_servers.a]\n  command = "x"\n\n[b]\n',
      { at: ['args'], value: ['p', 'q'], after: 'command' },
      '[mcp_servers.a]\n  command = "x"\n  args = ["p", "q"]\n\n[b]\n',
    ],
    [
      '[mcp_servers.a]\nargs = [ # first\n  "]", \'#\', # second\n]\n[b]\n',
      { at: ['args'], value: ['r'] },
      '[mcp_servers.a]\nargs = ["r"]\n[b]\n',
    ],
    [
      '[ mcp_servers . "a" ]\r\nurl = "u"\r\n',
      { at: ['command'], value: 'c', inPlaceOf: 'url' },
      '[ mcp_servers . "a" ]\r\ncommand = "c"\r\n',
    ],
    ['[mcp_servers.a]\r\nx = 1', { at: ['y'], value: 2 }, '[mcp_servers.a]\r\nx = 1\r\ny = 2'],
    ['[mcp_servers.a]\n[b]\n', { at: ['y'], value: { 'k.l': 'v' } }, '[mcp_servers.a]\ny = { "k.l" = "v" }\n[b]\n'],
    [
      '[mcp_servers.a]\nx = """\n[not.a.table]\ny = 2\n"""\ny = 1\n',
      { at: ['y'], value: undefined },
      '[mcp_servers.a]\nx = """\n[not.a.table]\ny = 2\n"""\n',
    ],
    ['[mcp_servers.a]\nx = """a\\""""\ny = 1\n', { at: ['y'], value: 3 }, '[mcp_servers.a]\nx = """a\\""""\ny = 3\n'],
    [
      "[mcp_servers.a]\nx = '''it''s''''\ny = 1\n",
      { at: ['y'], value: 3 },
      "[mcp_servers.a]\nx = '''it''s''''\ny = 3\n",
    ],
  ])('of %j with %j', (text, change, wanted) => {
    expect(() => parseToml(text)).not.toThrow();
    expect(edit(text, at, change)).toBe(wanted);
    expect(() => parseToml(wanted)).not.toThrow();
    const body = textAt(text, at);
    expect(replace(wanted, at, body)).toBe(text);
  });

  test('writes what it means, whatever the text', () => {
    for (const value of ['"', '\\', "'", '\n', '\u0000', 'é\u2028', '"""', '#']) {
      const text = edit('[mcp_servers.a]\n', at, { at: ['v'], value: [value, { [value]: value }] });
      expect(parse(text)).toEqual({ mcp_servers: { a: { v: [value, { [value]: value }] } } });
    }
  });

  test.each([
    ['[mcp_servers]\na = { command = "x" }\n', 'inline table or with dotted keys; write it as [mcp_servers.a]'],
    ['mcp_servers.a.command = "x"\n', 'inline table or with dotted keys'],
    ['mcp_servers = { a = { command = "x" } }\n', 'inline table or with dotted keys'],
    ['[mcp_servers.a]\nenv.K = "v"\ncommand = "x"\n', 'has the dotted key "env.K"'],
    ['[mcp_servers.a.env]\nK = "v"\n[mcp_servers]\n', 'inline table or with dotted keys'],
  ])('refuses %j', (text, why) => {
    expect(() => parseToml(text)).not.toThrow();
    expect(() => edit(text, at, { at: ['command'], value: 'y' })).toThrow(why);
  });

  test('refuses to change what has a table of its own', () => {
    const text = '[mcp_servers.a]\nurl = "u"\n[mcp_servers.a.http_headers]\nK = "v"\n';
    expect(() => edit(text, at, { at: ['http_headers'], value: undefined })).toThrow(
      'has a table "http_headers" of its own',
    );
  });
});

test('edit() changes the value that is meant and nothing else, whatever else the file holds', () => {
  const letters = fc.constantFrom(
    'a',
    'B-1',
    'é',
    '.',
    ' ',
    '"',
    "'",
    '\\',
    '#',
    '[',
    ']',
    '=',
    '\n',
    '{',
    ',',
    '\t',
    '\u0000',
  );
  const word = fc.array(letters, { minLength: 1, maxLength: 6 }).map((parts) => parts.join(''));
  const plain = fc.oneof(word, fc.integer(), fc.boolean(), fc.array(word, { maxLength: 3 }));
  const table = fc.dictionary(word, plain, { minKeys: 1, maxKeys: 3 });
  const lead = fc.constantFrom(
    '',
    '# [mcp_servers.a]\n',
    'x = """\n[mcp_servers.a]\ny = 1"""\n',
    "x = '''\n# \"\n'''\n",
    'x = [ # ]\n  "]", [\'[\'],\n]\n',
  );
  fc.assert(
    fc.property(
      fc.dictionary(word, table, { minKeys: 1, maxKeys: 3 }),
      table,
      lead,
      word,
      fc.option(fc.oneof(plain, table), { nil: undefined }),
      fc.constantFrom('\n', '\r\n'),
      (servers, other, head, key, value, eol) => {
        const before = (head + stringify({ mcp_servers: servers, other })).replaceAll('\n', eol);
        const path = ['mcp_servers', Object.keys(servers)[0] ?? ''];
        const text = edit(before, path, { at: [key], value });
        expect(isSame(parse(text), withValueAt(parse(before), [...path, key], value))).toBe(true);
        expect(replace(text, path, textAt(before, path))).toBe(before);
      },
    ),
    { numRuns: 500 },
  );
});

test('parse() says where a text is no TOML', () => {
  expect(() => parse('a = 1\nb = = 2\n')).toThrow(/^line 2, column \d+: /);
});
