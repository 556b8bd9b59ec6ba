import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { limits, type MeshError } from '../../../protocol/index.ts';
import { parsePolicy } from '../../../protocol/policy/index.ts';
import { policy, SEED } from './sample.ts';

/** The error that a text makes. */
function refusal(text: string): MeshError {
  try {
    parsePolicy(text, { name: 'policy', file: 'policy.yaml' });
  } catch (error) {
    return error as MeshError;
  }
  throw new Error(`Nothing is wrong with ${text}`);
}

test("the seed's policy loads exactly as printed", () => {
  const { agents, rules, default: effect, scope, conflict } = parsePolicy(SEED, { name: 'policy' });
  expect({ agents, effect, scope, conflict }).toEqual({
    agents: ['data-analyst-agent'],
    effect: 'deny',
    scope: 'agent',
    conflict: 'deny_overrides',
  });
  expect(rules.map(({ name, action, limit, approval, place }) => ({ name, action, limit, approval, place }))).toEqual([
    { name: 'no-pii-export', action: 'deny', limit: undefined, approval: undefined, place: { line: 6, column: 5 } },
    {
      name: 'rate-limit-api',
      action: 'limit',
      limit: { count: 100, windowMs: 3_600_000 },
      approval: undefined,
      place: { line: 10, column: 5 },
    },
    {
      name: 'require-approval-for-delete',
      action: 'require_approval',
      limit: undefined,
      approval: { approvers: ['security-team'], quorum: 1, expiresMs: 900_000 },
      place: { line: 14, column: 5 },
    },
  ]);
});

test('every key is read', () => {
  const parsed = policy(`name: acme-baseline
description: Of Acme
agents: [a, 'did:mesh:b']
scope: organisation
default: allow
conflict: most_specific_wins
rules:
  - name: r
    description: Why
    condition: action.type == 'x'
    action: require_approval
    limit: 2/second
    approvers: [x, y]
    quorum: 2
    expires: 1h
    priority: -3
    enabled: false
    scope: global
output: { secrets: redact, pii: mark, phi: refuse, cards: redact, instructions: mark, invisible: allow, max_bytes: 9 }
tools: { changes: approve, approvers: [x] }
external:
  - { name: opa, type: opa, url: 'http://127.0.0.1:8181/v1/data/mesh', timeout: 500ms }
`);
  const [rule] = parsed.rules;
  expect(parsed).toMatchObject({
    name: 'acme-baseline',
    description: 'Of Acme',
    agents: ['a', 'did:mesh:b'],
    scope: 'organisation',
    default: 'allow',
    conflict: 'most_specific_wins',
    output: { secrets: 'redact', pii: 'mark', phi: 'refuse', cards: 'redact', invisible: 'allow', bytesMax: 9 },
    pins: { changes: 'approve', approvers: ['x'] },
    external: [{ name: 'opa', type: 'opa', url: 'http://127.0.0.1:8181/v1/data/mesh', timeoutMs: 500 }],
  });
  expect(rule).toMatchObject({
    limit: { count: 2, windowMs: 1_000 },
    approval: { approvers: ['x', 'y'], quorum: 2, expiresMs: 3_600_000 },
    priority: -3,
    isEnabled: false,
    scope: 'global',
  });
});

test('version is "1.0", the text or the number', () => {
  expect(parsePolicy('version: 1.0', { name: 'p' }).rules).toEqual([]);
  for (const version of ['1', '"1"', '2.0', '1.00', '[]', '"1.0 "', 'null'])
    expect(refusal(`version: ${version}`).message, version).toContain('want "1.0"');
  expect(refusal('name: x').message).toContain('"version" is missing');
});

describe('what is wrong is told with its line and column', () => {
  const head = 'version: "1.0"\n';
  const rule = (lines: string): string => `${head}rules:\n  - name: r\n${lines}`;
  test.each([
    ['an unknown key', `${head}ruls: []`, 2, 1, 'perhaps "rules"'],
    ['an unknown key of a rule', rule('    conditon: x\n    action: deny'), 4, 5, 'perhaps "condition"'],
    ['a key with a dash', rule('    action: require_approval\n    aprovers: [a]'), 5, 5, 'perhaps "approvers"'],
    ['a key of another letter case', `${head}Default: deny`, 2, 1, 'perhaps "default"'],
    ['a key twice', `${head}default: deny\ndefault: allow`, 3, 1, 'unique'],
    ['a second document', `${head}---\n${head}`, 2, 1, 'second document'],
    ['a tag', `${head}name: !!js/function x`, 2, 7, 'tag'],
    ['an alias without anchor', `${head}name: *x`, 2, 7, 'x'],
    ['no YAML', `${head}name: [`, 2, 8, 'flow sequence'],
    ['a list', '- 1', 1, 1, 'a list'],
    ['nothing', '', 1, 1, 'empty'],
    ['agent beside agents', `${head}agent: a\nagents: [b]`, 3, 9, 'one of them'],
    ['a glob in an agent', `${head}agent: "data-*"`, 2, 8, 'want the name'],
    ['an unknown action', rule('    action: dny'), 4, 13, 'perhaps "deny"'],
    ['no action', rule('    condition: "true"'), 3, 5, 'neither action nor limit'],
    ['no name', `${head}rules: [{ action: deny }]`, 2, 9, '"rules[0].name" is missing'],
    ['a rule twice', rule('    action: deny\n  - name: r\n    action: deny'), 5, 5, 'already, on line 3'],
    ['a limit beside deny', rule('    action: deny\n    limit: 1/day'), 5, 12, 'beside action "deny"'],
    ['a limit beside warn', rule('    action: warn\n    limit: 1/day'), 5, 12, 'beside action "warn"'],
    ['action limit without one', rule('    action: limit'), 4, 13, 'no limit'],
    ['a limit of nothing', rule('    limit: 0/day'), 4, 12, '"100/hour"'],
    ['a limit a week', rule('    limit: 1/week'), 4, 12, '"100/hour"'],
    ['a limit that is a number', rule('    limit: 100'), 4, 12, '"100/hour"'],
    ['approvers beside allow', rule('    action: allow\n    approvers: [a]'), 5, 16, 'want action require_approval'],
    ['nobody as approver', rule('    action: require_approval\n    approvers: []'), 5, 16, 'at least one'],
    ['an approver twice', rule('    action: require_approval\n    approvers: [a, a]'), 5, 20, 'again'],
    ['an invisible letter', rule('    action: require_approval\n    approvers: ["a\\u200b"]'), 5, 17, 'approvers[0]'],
    ['a quorum of none', rule('    action: require_approval\n    quorum: 0'), 5, 13, 'from 1 to'],
    ['a quorum of a half', rule('    action: require_approval\n    quorum: 0.5'), 5, 13, 'from 1 to'],
    ['a time without unit', rule('    action: require_approval\n    expires: 15'), 5, 14, '"15m"'],
    ['a time of a month', rule('    action: require_approval\n    expires: 30d'), 5, 14, '"15m"'],
    ['a priority that is text', rule('    action: deny\n    priority: high'), 5, 15, 'an integer'],
    ['yes for true', rule('    action: deny\n    enabled: yes'), 5, 14, 'true or false'],
    ['a condition that is no text', rule('    action: deny\n    condition: true'), 5, 16, 'a condition in quotes'],
    ['an unknown output', `${head}output: { secrets: hide }`, 2, 20, 'one of allow, mark, redact, refuse'],
    ['pins without changes', `${head}tools: {}`, 2, 8, '"tools.changes" is missing'],
    [
      'pins with approvers and no approval',
      `${head}tools: { changes: warn, approvers: [a] }`,
      2,
      36,
      'changes: approve',
    ],
    ['a URL at Cedar', `${head}external: [{ name: a, type: cedar, policies: p, url: x }]`, 2, 54, 'cedar'],
    ['a password in a URL', `${head}external: [{ name: a, type: opa, url: "http://u:p@h/" }]`, 2, 39, 'http'],
    ['a URL of a file', `${head}external: [{ name: a, type: opa, url: "file:///x" }]`, 2, 39, 'http'],
  ])('%s', (_, text, line, column, words) => {
    const { code, message, data } = refusal(text);
    expect({ code, line: data.line, column: data.column, file: data['file'] }).toEqual({
      code: 'policy_invalid',
      line,
      column,
      file: 'policy.yaml',
    });
    expect(message).toContain(`"policy.yaml", line ${line}, column ${column}: `);
    expect(message).toContain(words);
  });
});

describe('an error in a condition has its place in the file', () => {
  const at = (condition: string): [unknown, unknown] => {
    const { data } = refusal(`version: "1.0"\nrules:\n  - name: r\n    action: deny\n    condition: ${condition}\n`);
    return [data.line, data.column];
  };
  // The wrong word is "oops" in each.
  test.each([
    ['plain', 'oops.x', 5, 16],
    ['plain on two lines', "action.type == 'x'\n      and   oops.x", 6, 13],
    ['between double quotes', `"action.type == 'x' and oops.x"`, 5, 40],
    ['behind escapes', `"action.type == \\"\\x41\\u0042\\U0001F600\\\\n\\" and oops.x"`, 5, 64],
    ['behind an escaped line end', `"action.type == 'x' \\\n      and oops.x"`, 6, 11],
    ['between single quotes', `'action.type == ''x'' and oops.x'`, 5, 42],
    ['in a literal block', "|\n      action.type == 'x'\n        and oops.x", 7, 13],
    ['in a folded block', ">-\n      action.type == 'x'\n\n      and oops.x", 8, 11],
    ['in a block with a comment', ">- # why\n      action.type == 'x'\n      and\n      oops.x", 8, 7],
    ['as an alias', '&c oops.x', 5, 19],
  ])('%s', (_, condition, line, column) => {
    expect(at(condition)).toEqual([line, column]);
  });

  test('in whichever way it is quoted and folded', () => {
    const word = fc.constantFrom("action.type == 'x'", "tool.name == 'a b'", 'data.contains_pii', "'\\'' == tool.name");
    fc.assert(
      fc.property(fc.array(word, { maxLength: 4 }), fc.constantFrom(' ', '  '), (words, gap) => {
        const condition = [...words, 'oops.x'].join(`${gap}and${gap}`);
        for (const scalar of [
          JSON.stringify(condition),
          `'${condition.replaceAll("'", "''")}'`,
          `>-\n      ${condition.replaceAll(`and${gap}`, 'and\n      ')}`,
          `|\n       ${condition.replaceAll(`and${gap}`, 'and\n       ')}`,
        ]) {
          const text = `version: "1.0"\nrules:\n  - name: r\n    action: deny\n    condition: ${scalar}\n`;
          const { data } = refusal(text);
          const line = text.split('\n')[(data.line ?? 0) - 1] ?? '';
          expect(line.slice(Number(data['column']) - 1, Number(data['column']) + 3), text).toBe('oops');
        }
      }),
    );
  });
});

test('aliases may share lists, and are counted', () => {
  const { rules } = policy(`rules:
  - { name: a, action: require_approval, approvers: &team [x, y] }
  - { name: b, action: require_approval, approvers: *team }
`);
  expect(rules.map(({ approval }) => approval?.approvers)).toEqual([
    ['x', 'y'],
    ['x', 'y'],
  ]);
  const many = Array.from({ length: limits.POLICY_ALIASES_MAX + 1 }, (_, i) => `  - { name: r${i}, action: *a }\n`);
  expect(refusal(`version: "1.0"\ndescription: &a deny\nrules:\n${many.join('')}`).message).toContain('aliases');
});

test('a document is no larger than it may be', () => {
  expect(refusal(`version: "1.0"\n#${'x'.repeat(limits.POLICY_TEXT_BYTES_MAX)}`).message).toContain('bytes, want <=');
});

test('whatever becomes of a text, it loads or is refused with a place inside it', () => {
  const whole = `${SEED}
conflict: deny_overrides
output: { secrets: redact, max_bytes: 5 }
tools: { changes: approve, approvers: &team [x] }
`;
  const edit = fc.record({
    at: fc.integer({ min: 0, max: whole.length - 1 }),
    length: fc.integer({ min: 0, max: 6 }),
    text: fc.oneof(
      fc.constantFrom(
        ':',
        '\n',
        '  ',
        '- ',
        '[',
        '{',
        '"',
        "'",
        '*team',
        '&a ',
        '!x ',
        '# ',
        '|',
        '>',
        '---\n',
        '? ',
        '<<: ',
        '\t',
        '\u0000',
        '\ud800',
      ),
      fc.string({ maxLength: 3 }),
    ),
  });
  let refused = 0;
  fc.assert(
    fc.property(fc.array(edit, { minLength: 1, maxLength: 3 }), (edits) => {
      let text = whole;
      for (const { at, length, text: put } of edits) text = text.slice(0, at) + put + text.slice(at + length);
      try {
        parsePolicy(text, { name: 'policy' });
      } catch (error) {
        refused++;
        const { code, data } = error as MeshError;
        expect(code).toBe('policy_invalid');
        const lines = text.split(/\r\n?|\n/);
        expect(data.line).toBeGreaterThan(0);
        expect(data.line).toBeLessThanOrEqual(lines.length);
        expect(data['column']).toBeGreaterThan(0);
      }
    }),
    { numRuns: 500 },
  );
  expect(refused).toBeGreaterThan(50);
});
