import { describe, expect, test } from 'vitest';
import { limits, type MeshError } from '../../../protocol/index.ts';
import { digestOfTexts, parsePolicy, type Policy } from '../../../protocol/policy/index.ts';
import { decide, policy, rules } from './sample.ts';

/** The root's lines, and files by path. */
function extending(root: string, files: Readonly<Record<string, string>>): Policy {
  return policy(root, {
    file: 'root.yaml',
    resolve: (path) => {
      const body = files[path];
      if (body === undefined) throw new Error('no such file');
      return { name: path.replace('.yaml', ''), text: `version: "1.0"\n${body}` };
    },
  });
}

function refusal(root: string, files: Readonly<Record<string, string>> = {}): MeshError {
  try {
    extending(root, files);
  } catch (error) {
    return error as MeshError;
  }
  throw new Error(`Nothing is wrong with ${root}`);
}

const DENY_X = rules(`name: no-x, condition: "action.type == 'x'", action: deny`);
const ALLOW_ALL = `${rules('name: all, action: allow, priority: 9, scope: agent')}`;

describe('what a parent denies stays denied', () => {
  test.each(['deny_overrides', 'allow_overrides', 'priority_first_match', 'most_specific_wins'])(
    'under %s',
    (conflict) => {
      const parsed = extending(`extends: base.yaml\nconflict: ${conflict}\ndefault: allow\n${ALLOW_ALL}`, {
        'base.yaml': DENY_X,
      });
      expect(decide(parsed, { action: 'x' })).toMatchObject({ effect: 'deny', rule: 'no-x', code: 'policy_denied' });
      expect(decide(parsed, { action: 'y' })).toMatchObject({ effect: 'allow', rule: 'all' });
    },
  );

  test('and cannot be taken over by a rule of the same name, with both places told', () => {
    const { message, data } = refusal(`extends: base.yaml\n${rules('name: no-x, action: deny, enabled: false')}`, {
      'base.yaml': DENY_X,
    });
    expect(message).toContain('rule "no-x" is one of "base.yaml" too');
    expect(data).toMatchObject({ file: 'root.yaml', line: 4 });
  });

  test('but an own deny under allow_overrides gives way to an own allow', () => {
    const parsed = policy(`conflict: allow_overrides\n${rules('name: no, action: deny', 'name: yes-, action: allow')}`);
    expect(decide(parsed, { action: 'x' }).effect).toBe('allow');
  });
});

describe('a default', () => {
  test('may not be looser than that of a parent', () => {
    const { message, data } = refusal('extends: base.yaml\ndefault: allow', { 'base.yaml': 'default: deny' });
    expect(message).toContain('"base.yaml", which it extends, says deny');
    expect(data).toMatchObject({ line: 3, column: 10 });
    expect(refusal('default: allow\nextends: agentmesh:strict').message).toContain('agentmesh:strict');
  });
  test('may be stricter, and is taken over where the policy says none', () => {
    expect(extending('extends: base.yaml\ndefault: deny', { 'base.yaml': 'default: allow' }).default).toBe('deny');
    expect(extending('extends: base.yaml', { 'base.yaml': 'default: allow' }).default).toBe('allow');
    expect(
      extending('extends: [a.yaml, b.yaml]', { 'a.yaml': 'default: allow', 'b.yaml': 'default: deny' }).default,
    ).toBe('deny');
    expect(extending('extends: base.yaml', { 'base.yaml': '' }).default).toBe('deny');
  });
});

test('output and pinning are the strictest of all', () => {
  const parsed = extending(
    'extends: base.yaml\noutput: { secrets: allow, pii: refuse, max_bytes: 99 }\ntools: { changes: ignore }',
    {
      'base.yaml': 'output: { secrets: redact, max_bytes: 50 }\ntools: { changes: approve, approvers: [security] }',
    },
  );
  expect(parsed.output).toMatchObject({ secrets: 'redact', pii: 'refuse', bytesMax: 50 });
  expect(parsed.pins).toEqual({ changes: 'approve', approvers: ['security'] });
});

test('approvers that a parent names are not replaced by the policy', () => {
  const pins = (who: string): string => `tools: { changes: approve, approvers: [${who}] }`;
  expect(extending(`extends: base.yaml\n${pins('me')}`, { 'base.yaml': pins('security') }).pins.approvers).toEqual([
    'security',
  ]);
  const parsed = extending(
    `extends: base.yaml\n${rules('name: own, action: require_approval, approvers: [me], priority: 9')}`,
    {
      'base.yaml': rules('name: theirs, action: require_approval, approvers: [security], quorum: 2'),
    },
  );
  expect(decide(parsed, { action: 'x' }).approval).toMatchObject({ approvers: ['security'], quorum: 2 });
});

test('rules of a parent that names agents are for those agents', () => {
  const parsed = extending('extends: base.yaml\ndefault: allow', { 'base.yaml': `agent: somebody-else\n${DENY_X}` });
  expect(decide(parsed, { action: 'x' }).effect).toBe('allow');
  const own = extending('extends: base.yaml\ndefault: allow', { 'base.yaml': `agent: Data-Analyst-Agent\n${DENY_X}` });
  expect(decide(own, { action: 'x' }).effect).toBe('deny');
});

test('two may extend the same, which counts once', () => {
  const files = { 'a.yaml': 'extends: base.yaml', 'b.yaml': 'extends: ./base.yaml', 'base.yaml': DENY_X };
  expect(extending('extends: [a.yaml, b.yaml]', files).documents.map(({ file }) => file)).toEqual([
    'root.yaml',
    'a.yaml',
    'base.yaml',
    'b.yaml',
  ]);
});

test('paths are those of the folder of the root, whoever names them', () => {
  const files = { 'team/a.yaml': 'extends: [../base.yaml, ./b.yaml]', 'base.yaml': DENY_X, 'team/b.yaml': '' };
  expect(extending('extends: team//a.yaml', files).documents.map(({ file }) => file)).toEqual([
    'root.yaml',
    'team/a.yaml',
    'base.yaml',
    'team/b.yaml',
  ]);
});

describe('refused is', () => {
  test.each([
    ['a path out of the folder', '../base.yaml', 'leaves the folder'],
    ['one that comes back', '../policies/base.yaml', 'leaves the folder'],
    ['one that goes out later', 'a/../../b.yaml', 'leaves the folder'],
    ['an absolute one', '/etc/base.yaml', 'no relative path'],
    ['a URL', 'https://example.com/base.yaml', 'no relative path'],
    ['a drive', 'C:base.yaml', 'no relative path'],
    ['a backslash', '..\\base.yaml', 'no relative path'],
    ['a zero', '"a\\0.yaml"', 'no relative path'],
    ['a folder', './', 'names a folder'],
    ['what is not there', 'gone.yaml', 'cannot read "gone.yaml": no such file'],
    ['an unknown built-in', 'agentmesh:lax', 'want one of agentmesh:strict'],
  ])('%s', (_, reference, words) => {
    const { code, message, data } = refusal(`extends: ${reference}`);
    expect(code).toBe('policy_invalid');
    expect(message).toContain(words);
    expect(data).toMatchObject({ file: 'root.yaml', line: 2, column: 10 });
  });

  test('a cycle', () => {
    const files = { 'a.yaml': 'extends: b.yaml', 'b.yaml': 'extends: a.yaml' };
    expect(refusal('extends: a.yaml', files)).toMatchObject({
      code: 'policy_invalid',
      data: { file: 'b.yaml', line: 2 },
    });
    expect(refusal('extends: a.yaml', { 'a.yaml': 'extends: a.yaml' }).message).toContain('extends this policy itself');
  });

  test('more than there may be', () => {
    const chain = Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`${i}.yaml`, `extends: ${i + 1}.yaml`]));
    expect(refusal('extends: 0.yaml', chain).message).toContain(`more than ${limits.POLICY_EXTENDS_DEPTH_MAX} levels`);
    const wide = Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`${i}.yaml`, '']));
    const list = (from: number, to: number): string =>
      Array.from({ length: to - from }, (_, i) => `${i + from}.yaml`).join(', ');
    expect(
      refusal(`extends: [${list(0, 15)}, a.yaml]`, { ...wide, 'a.yaml': `extends: [${list(15, 20)}]` }).message,
    ).toContain('others');
  });

  test('a file, where none are read', () => {
    expect(() => policy('extends: base.yaml')).toThrow(/no files are read here/);
    expect(policy('extends: agentmesh:permissive').default).toBe('allow');
  });

  test('what a parent has wrong, with the place in the parent', () => {
    expect(refusal('extends: a.yaml', { 'a.yaml': 'ruls: []' })).toMatchObject({
      data: { file: 'a.yaml', line: 2, column: 1 },
    });
  });
});

test('the digest is over all texts, the root first, and over what external points read', () => {
  const digest = (root: string, files: Readonly<Record<string, string>> = {}): string => extending(root, files).digest;
  expect(digest('')).toBe(digestOfTexts(['version: "1.0"\n']));
  const both = digest('extends: a.yaml', { 'a.yaml': 'default: deny' });
  expect(both).toBe(digestOfTexts(['version: "1.0"\nextends: a.yaml', 'version: "1.0"\ndefault: deny']));
  expect(digest('extends: a.yaml', { 'a.yaml': 'default: deny ' })).not.toBe(both);
  expect(digestOfTexts(['ab', 'c'])).not.toBe(digestOfTexts(['a', 'bc']));
  const cedar = 'external: [{ name: c, type: cedar, policies: p.cedar }]';
  expect(digest(cedar, { 'p.cedar': 'x' })).not.toBe(digest(cedar, { 'p.cedar': 'y' }));
  expect(extending(cedar, { 'p.cedar': 'x' }).external).toEqual([
    { name: 'c', type: 'cedar', policies: 'version: "1.0"\nx', timeoutMs: 1_000 },
  ]);
});

test('a policy that parses does so again: the digest depends on nothing else', () => {
  const text = 'version: "1.0"\nextends: agentmesh:moderate\n';
  expect(parsePolicy(text, { name: 'a' }).digest).toBe(parsePolicy(text, { name: 'b', file: 'c' }).digest);
});
