import { describe, expect, test } from 'vitest';
import type { JsonObject } from '../../../../protocol/encoding/jcs.ts';
import { CONDITION_STEPS_MAX } from '../../../../protocol/limits.ts';
import { compileCondition, isUnknown } from '../../../../protocol/policy/condition/compile.ts';
import type { PolicyContext } from '../../../../protocol/policy/context.ts';
import { cpuMsOf } from '../cpu-time.ts';

const bare: PolicyContext = {
  action: { type: 'tool_call' },
  agent: { did: 'did:mesh:a', organisation: 'did:mesh:o' },
  time: { iso: '2026-01-01T02:00:00Z', unix: 1_767_232_800, hour: 2, weekday: 4 },
};
const full: PolicyContext = {
  ...bare,
  tool: {
    name: 'Delete_File',
    server: 'fs',
    arguments: {
      amount: 5,
      text: 'Grüße 😀',
      flag: true,
      none: null,
      list: ['a', 'b'],
      numbers: [1, 2, 3],
      mixed: ['a', 1, null],
      nested: { deep: [{ x: 1 }, { x: 2 }] },
      'a b': 'spaced',
      in: 'word',
    },
    paths: ['/srv/a', '/etc/passwd'],
  },
  trust: { score: 700 },
  data: {
    labels: ['pii.email'],
    contains_pii: true,
    contains_phi: false,
    contains_card: false,
    contains_secret: false,
  },
  environment: { name: 'production' },
};
const truthOf = (text: string, context: PolicyContext = full): boolean | string => {
  const truth = compileCondition(text).evaluate(context);
  return isUnknown(truth) ? truth.because : truth;
};
const withFacts = (facts: JsonObject): PolicyContext => ({ ...bare, facts });

describe('Condition.evaluate()', () => {
  test.each([
    "action.type == 'tool_call' and data.contains_pii",
    "action.type == 'Tool_Call'",
    "'tool_call' == action.type",
    "action.type != 'export'",
    'trust.score >= 700 and trust.score <= 700 and trust.score > 699.5 and 701 > trust.score',
    'trust.score in [1, 700]',
    "tool.name == 'delete_file' and tool.name == 'ＤＥＬＥＴＥ_file' and tool.name == 'delete\\u200b_file'",
    "tool.name in ['x', 'DELETE_FILE']",
    "tool.name not in ['x']",
    "tool.name.startsWith('DELETE') and tool.name.endsWith('_FILE') and tool.name.contains('te_FI')",
    "tool.name.matches('^delete') and tool.name.matches('FILE$') and tool.name.matches(r'\\w_\\w')",
    'tool.name != tool.server',
    "tool.arguments.text == 'Grüße 😀' and tool.arguments.text != 'grüße 😀'",
    "tool.arguments.text.lower() == 'grüße 😀'",
    'size(tool.arguments.text) == 7 and tool.arguments.text.size() == 7',
    'size(tool.arguments.list) == 2 and size(tool.arguments.nested) == 1 and size(tool.paths) == 2',
    'tool.arguments.flag and tool.arguments.flag == true',
    'tool.arguments.none == null and tool.arguments.amount != null',
    "tool.arguments.none != 'a' and tool.arguments.none not in ['a', 'b'] and tool.arguments.none in ['a', null]",
    "tool.arguments['a b'] == 'spaced' and tool.arguments.in == 'word'",
    'tool.arguments.nested.deep[1].x == 2',
    'tool.arguments.nested.deep.exists(d, d.x == 2) and tool.arguments.nested.deep.all(d, d.x > 0)',
    'tool.arguments.numbers.exists(n, n > 2) and not tool.arguments.numbers.all(n, n > 2)',
    "tool.arguments.list.all(x, ['a', 'b', 'c'].exists(y, x == y))",
    "'a' in tool.arguments.list and 2 in tool.arguments.numbers and 'amount' in tool.arguments",
    "'a' in tool.arguments.mixed and null in tool.arguments.mixed",
    "'zzz' not in tool.arguments.list and 'zzz' not in tool.arguments",
    "['read', 'delete'].exists(p, tool.name.startsWith(p))",
    "tool.paths.exists(p, under(p, '/etc')) and not tool.paths.all(p, under(p, '/srv'))",
    "tool.paths[0] == '/srv/a' and under(tool.paths[0], '/srv') and under(tool.paths[0], '/srv/a/')",
    "not under(tool.paths[0], '/sr') and under(tool.paths[0], '/')",
    "'pii.email' in data.labels and data.labels.exists(l, l.startsWith('pii.'))",
    "environment.name == 'production' and environment['name'].contains('prod')",
    'has(tool.arguments.none) and not has(tool.arguments.other) and has(tool) and not has(peer.did)',
    'exists(tool.arguments.amount)',
    'not has(tool.arguments.amount.more) and not has(tool.paths[2]) and has(tool.paths[1])',
    '(trust.score > 1) == data.contains_pii',
    '!data.contains_phi && !(data.contains_card || data.contains_secret)',
    '!data.contains_phi == true',
    "time.weekday in [1, 2, 3, 4, 5] and time.iso < '2026-02'",
    'true and not false and 1 < 2',
    'data.contains_pii or peer.did == tool.arguments.other',
    "tool.arguments.list.all(x, x != 'c') and tool.arguments.none == null",
  ])('%s', (text) => {
    expect(truthOf(text)).toBe(true);
    expect(truthOf(`not (${text})`)).toBe(false);
  });

  test.each([
    ["peer.did == 'x'", '"peer.did" is missing'],
    ["peer.did != 'x'", '"peer.did" is missing'],
    ["'x' == peer.did", '"peer.did" is missing'],
    ['peer.did == agent.did', '"peer.did" is missing'],
    ['agent.did == peer.did', '"peer.did" is missing'],
    ["peer.did in ['x']", '"peer.did" is missing'],
    ["peer.did not in ['x']", '"peer.did" is missing'],
    ['peer.did in []', '"peer.did" is missing'],
    ["peer.did.startsWith('x')", '"peer.did" is missing'],
    ['agent.did.contains(peer.did)', '"peer.did" is missing'],
    ["peer.did.matches('x')", '"peer.did" is missing'],
    ['size(peer.did) > 0', '"peer.did" is missing'],
    ["peer.did.lower() == 'x'", '"peer.did" is missing'],
    ["under(peer.did, '/x')", '"peer.did" is missing'],
    ["'x' in delegation.capabilities", '"delegation.capabilities" is missing'],
    ["'x' not in delegation.capabilities", '"delegation.capabilities" is missing'],
    ["delegation.capabilities.exists(x, x == 'a')", '"delegation.capabilities" is missing'],
    ['delegation.capabilities.all(x, true)', '"delegation.capabilities" is missing'],
    ['facts.x == null', '"facts.x" is missing'],
    ['facts.x != null', '"facts.x" is missing'],
    ['tool.arguments.flag and facts.x', '"facts.x" is missing'],
    ['data.contains_phi or facts.x', '"facts.x" is missing'],
    ['not facts.x', '"facts.x" is missing'],
    ['delegation.depth < 3', '"delegation.depth" is missing'],
    ['tool.arguments.nested.deep[2].x == 1', '"tool.arguments.nested.deep[2].x" is missing'],
    ['tool.arguments.list.length == 2', '"tool.arguments.list.length" is missing'],
    ["tool.arguments.text[0] == 'G'", '"tool.arguments.text[0]" is missing'],
    ['tool.arguments.constructor == 1', '"tool.arguments.constructor" is missing'],
    ['tool.arguments.__proto__.x == 1', '"tool.arguments.__proto__.x" is missing'],

    ["tool.arguments.amount == '5'", '"tool.arguments.amount" is a number, want a text'],
    ["tool.arguments.amount != '5'", '"tool.arguments.amount" is a number, want a text'],
    ["tool.arguments.amount in ['5']", '"tool.arguments.amount" is a number, want a text'],
    ['tool.arguments.text == 5', '"tool.arguments.text" is a text, want a number'],
    ['tool.arguments.text < 5', '"tool.arguments.text" is a text, want a number'],
    ["tool.arguments.none < 'a'", '"tool.arguments.none" is null, want a text'],
    ['tool.arguments.amount', '"tool.arguments.amount" is a number, want a boolean'],
    ['not tool.arguments.none', '"tool.arguments.none" is null, want a boolean'],
    ["tool.arguments.list == 'a'", '"tool.arguments.list" is a list, want a text'],
    ["tool.arguments.nested.matches('a')", '"tool.arguments.nested" is a map, want a text'],
    ['size(tool.arguments.amount) == 1', '"tool.arguments.amount" is a number, want a text, list or map'],
    ['tool.arguments.text.exists(x, true)', '"tool.arguments.text" is a text, want a list'],
    ["'a' in tool.arguments.amount", '"tool.arguments.amount" is a number, want a list or a map'],
    [
      'tool.arguments.amount == tool.arguments.text',
      '"tool.arguments.amount" and "tool.arguments.text" are not of one type',
    ],
    [
      'tool.arguments.flag < tool.arguments.flag',
      '"tool.arguments.flag" and "tool.arguments.flag" are not of one type that has an order',
    ],
    ["'zzz' in tool.arguments.mixed", '"tool.arguments.mixed" has elements of another type than "\'zzz\'"'],
    ["tool.arguments.mixed.all(x, x != 'b')", '"x" is a number, want a text'],
    ["under(tool.arguments.text, '/a')", '"tool.arguments.text" is no absolute path without "." and ".."'],
  ])('cannot tell %s', (text, because) => {
    expect(truthOf(text)).toBe(because);
    expect(truthOf(`not (${text})`)).toBe(because);
    // What decides beside it still does, on either side.
    expect(truthOf(`(${text}) and false`)).toBe(false);
    expect(truthOf(`false and (${text})`)).toBe(false);
    expect(truthOf(`(${text}) or true`)).toBe(true);
    expect(truthOf(`true or (${text})`)).toBe(true);
    expect(truthOf(`true and (${text}) and true`)).toBe(because);
    expect(truthOf(`false or (${text}) or false`)).toBe(because);
    expect(truthOf(`false or (${text}) or true`)).toBe(true);
  });

  test.each(['tool', 'tool.name', 'facts.a.b', 'environment.name', 'delegation.capabilities', 'tool.paths[0]'])(
    'has(%s) is false of a request without it, and never unknown',
    (field) => {
      expect(truthOf(`has(${field})`, bare)).toBe(false);
      expect(truthOf(`not has(${field})`, bare)).toBe(true);
    },
  );

  test('of an empty list nothing exists and all is so', () => {
    expect(truthOf('facts.l.exists(x, x == 1)', withFacts({ l: [] }))).toBe(false);
    expect(truthOf('facts.l.all(x, x == 1)', withFacts({ l: [] }))).toBe(true);
  });

  test('a macro is decided by one element, whatever cannot be told of the others', () => {
    const facts = withFacts({ l: ['x', 1, 'x'] });
    expect(truthOf('facts.l.exists(x, x == 1)', facts)).toBe(true);
    expect(truthOf('facts.l.all(x, x == 2)', facts)).toBe(false);
    expect(truthOf('facts.l.exists(x, x == 2)', facts)).toBe('"x" is a text, want a number');
    expect(truthOf('facts.l.all(x, x == 1)', facts)).toBe('"x" is a text, want a number');
  });

  test('members that JSON names like inherited ones are members', () => {
    const facts = JSON.parse('{"__proto__": "a", "constructor": "b", "toString": true}') as JsonObject;
    expect(truthOf("facts.__proto__ == 'a' and facts.constructor == 'b' and facts.toString", withFacts(facts))).toBe(
      true,
    );
  });

  test.each([
    ['/srv', '/srv', true],
    ['/srv/', '/srv', true],
    ['/srv/a/b', '/srv', true],
    ['/srvs', '/srv', false],
    ['/', '/', true],
    ['/a', '/', true],
    ['/', '/srv', false],
    ['C:/srv/a', 'C:/srv', true],
    ['C:/', 'C:/', true],
    ['D:/srv/a', 'C:/srv', false],
    ['/srv/..a', '/srv', true],
    ['/srv/../etc', '/srv', undefined],
    ['/srv/..', '/srv', undefined],
    ['/srv/./a', '/srv', undefined],
    ['/srv/.', '/srv', undefined],
    ['/srv//a', '/srv', undefined],
    ['/srv/a\\..\\..\\etc', '/srv', undefined],
    ['/srv/a\0b', '/srv', undefined],
    ['srv/a', '/srv', undefined],
    ['C:srv', 'C:/srv', undefined],
    ['~/a', '/srv', undefined],
    ['', '/', undefined],
  ])('of %j, under %j is %s', (path, directory, is) => {
    const truth = compileCondition(`under(facts.p, '${directory}')`).evaluate(withFacts({ p: path }));
    expect(isUnknown(truth) ? undefined : truth).toBe(is);
  });

  test.each([
    ['\uffff', '<', '\u{10000}'],
    ['a', '<', 'ab'],
    ['', '<', 'a'],
    ['a\u{10000}', '>', 'a\ue000'],
    ['\u{10000}', '<', '\u{10001}'],
  ])('%j %s %j, by code points', (a, op, b) => {
    expect(truthOf(`facts.a ${op} facts.b`, withFacts({ a, b }))).toBe(true);
    expect(truthOf(`facts.b ${op} facts.a`, withFacts({ a, b }))).toBe(false);
  });

  test('names compare canonically wherever they are compared', () => {
    const tool = {
      name: 'ＲＥＡＤ_\u200dFile',
      server: 'FS',
      arguments: { wanted: 'read_FILE', names: ['x', 'READ_file'] },
    };
    const context = { ...bare, tool };
    for (const text of [
      'tool.name == tool.arguments.wanted',
      'tool.arguments.wanted == tool.name',
      'tool.name in tool.arguments.names',
      'tool.name.startsWith(tool.arguments.wanted)',
      "tool.name.lower() == 'READ_FILE'",
      'tool.arguments.names.exists(n, tool.name == n)',
      "tool.name >= 'READ_FILE' and tool.name <= 'READ_FILE'",
      "tool.server not in ['Fs'] or tool.name.contains('D_F')",
    ])
      expect(truthOf(text, context), text).toBe(true);
    expect(truthOf("tool.arguments.wanted == 'read_file'", context)).toBe(false);
    expect(truthOf("tool.name.startsWith('read ')", { ...bare, tool: { name: 'reads' } })).toBe(false);
    expect(truthOf("tool.name.startsWith('read ')", { ...bare, tool: { name: 'Read\u3000all' } })).toBe(true);
  });

  test('one condition after another, and one request after another, do not disturb each other', () => {
    const conditions = ["tool.name == 'a'", "tool.name == 'B'", "'b' == tool.name"].map(compileCondition);
    for (const name of ['A', 'b', 'B', 'a', 'c'])
      expect(conditions.map((condition) => condition.evaluate({ ...bare, tool: { name } }))).toEqual([
        name.toLowerCase() === 'a',
        name.toLowerCase() === 'b',
        name.toLowerCase() === 'b',
      ]);
  });
});

describe('of hostile requests', () => {
  const TOO_MUCH = `it takes more than ${CONDITION_STEPS_MAX} steps`;

  test.each([
    [
      'facts.l.exists(x, facts.l.exists(y, x == y and x > 0))',
      (n: number) => ({ l: Array.from({ length: n }, () => 0) }),
    ],
    ['facts.l.all(x, not (x in facts.m))', (n: number) => ({ l: Array(n).fill(0), m: Array(n).fill(1) })],
    ['facts.l.exists(x, facts.t.contains(x))', (n: number) => ({ l: Array(n).fill('aab'), t: 'a'.repeat(n) })],
    ["facts.l.exists(x, facts.t.matches('b$'))", (n: number) => ({ l: Array(n).fill(0), t: 'a'.repeat(n) })],
    ["facts.l.exists(x, facts.t.lower() == 'b')", (n: number) => ({ l: Array(n).fill(0), t: 'A'.repeat(n) })],
    ['facts.l.exists(x, size(facts.t) == 1)', (n: number) => ({ l: Array(n).fill(0), t: 'A'.repeat(n) })],
    ["facts.l.exists(x, under(facts.t, '/b'))", (n: number) => ({ l: Array(n).fill(0), t: `/${'A'.repeat(n)}` })],
  ])('%s gives up where it takes too much, and says so', (text, facts) => {
    expect(truthOf(text, withFacts(facts(10)))).toBeTypeOf('boolean');
    expect(truthOf(text, withFacts(facts(20_000)))).toBe(TOO_MUCH);
    expect(truthOf(`${text} and false`, withFacts(facts(20_000)))).toBe(false);
    // The next request has as many steps as the first one.
    const condition = compileCondition(text);
    expect(isUnknown(condition.evaluate(withFacts(facts(20_000))))).toBe(true);
    expect(isUnknown(condition.evaluate(withFacts(facts(10))))).toBe(false);
  });

  test.each([
    ['(a+)+$', "facts.t.matches('(a+)+$')"],
    ['(a|aa)+$', "facts.t.matches('(a|aa)+$')"],
    ['(.*a){20}$', "facts.t.matches('(.*a){20}b$')"],
    ['a long part of a long text', 'facts.t.contains(facts.part)'],
    ['a name', 'tool.name.contains(facts.part)'],
  ])('%s takes time linear in the text', (_, text) => {
    const condition = compileCondition(text);
    const msOf = (length: number): number => {
      const t = `${'a'.repeat(length)}!`;
      const facts = { t, part: `${'a'.repeat(length / 2)}b` };
      const context = { ...bare, tool: { name: t }, facts };
      return cpuMsOf(() => expect(condition.evaluate(context)).toBe(false));
    };
    msOf(1_000);
    const [short, long] = [msOf(10_000), msOf(160_000)];
    // Sixteen times as long: a square would take 256 times the time, backtracking for ever.
    expect(long / Math.max(short, 0.5)).toBeLessThan(80);
  });
});
