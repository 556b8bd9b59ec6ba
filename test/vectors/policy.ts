/** Vectors of policies: texts with their digest and what they decide, and texts to refuse with the place of the fault. */
import { isMeshError } from '../../protocol/index.ts';
import { compilePolicies, parsePolicy, type Policy, type PolicyContext } from '../../protocol/policy/index.ts';
import { context, NOTHING, SEED, tool } from '../protocol/policy/sample.ts';
import type { InvalidVector, ValidVector, VectorSet } from './vectors.ts';

const SOURCE = 'Policies';

export interface PolicyVector {
  /** By path; the first is the policy. */
  readonly files: Readonly<Record<string, string>>;
}
export interface PolicyFault {
  readonly code: string;
  readonly file: unknown;
  readonly line: unknown;
  readonly column: unknown;
}

export function policyOf({ files }: PolicyVector): Policy {
  const [[file, text] = ['', '']] = Object.entries(files);
  return parsePolicy(text, {
    name: 'policy',
    file,
    resolve: (path) => {
      const found = files[path];
      if (found === undefined) throw new Error('no such file');
      return { name: path, text: found };
    },
  });
}

export function faultOfPolicy(vector: PolicyVector): PolicyFault | undefined {
  try {
    policyOf(vector);
    return undefined;
  } catch (error) {
    if (!isMeshError(error)) throw error;
    return { code: error.code, file: error.data['file'], line: error.data.line, column: error.data['column'] };
  }
}

export interface PolicyCase {
  readonly context: PolicyContext;
  readonly mode?: 'possible';
  readonly effect: string;
  readonly rule: string | null;
  readonly code: string | null;
}

export function decidedBy(
  vector: PolicyVector,
  { context: asked, mode }: Pick<PolicyCase, 'context' | 'mode'>,
): Omit<PolicyCase, 'context' | 'mode'> {
  const set = compilePolicies([policyOf(vector)]);
  const { effect, rule, code } = set.decide(asked, { mode: mode ?? 'certain', isLimitFree: () => false });
  return { effect, rule, code: code ?? null };
}

function valid(
  files: Readonly<Record<string, string>>,
  ...asked: readonly (PolicyContext | readonly ['possible', PolicyContext])[]
): ValidVector {
  const { digest } = policyOf({ files });
  const cases = asked.map((each): PolicyCase => {
    const [mode, of] = 'action' in each ? [undefined, each] : each;
    return {
      ...(mode !== undefined && { mode }),
      context: of,
      ...decidedBy({ files }, { context: of, ...(mode !== undefined && { mode }) }),
    };
  });
  return { source: SOURCE, files, digest, cases };
}
function invalid(files: Readonly<Record<string, string>>): InvalidVector {
  const fault = faultOfPolicy({ files });
  if (fault === undefined) throw new Error(`Cannot make a vector: nothing is wrong with ${JSON.stringify(files)}`);
  return { source: SOURCE, ...fault, files };
}

const head = 'version: "1.0"\n';
const one = (body: string): Readonly<Record<string, string>> => ({ 'policy.yaml': head + body });
const request = (action: string, change: Partial<typeof NOTHING> = {}): PolicyContext =>
  context({ action }, { detected: { ...NOTHING, ...change } });
const rule = (body: string): string => `rules:\n  - name: r\n${body}`;
const conflicts = (conflict: string): Readonly<Record<string, string>> =>
  one(`conflict: ${conflict}
rules:
  - { name: deny, action: deny, scope: global }
  - { name: ask, action: require_approval, priority: 1, scope: organisation }
  - { name: allow, action: allow, scope: agent }
`);

export const policyVectors: VectorSet = {
  valid: {
    seed: valid(
      { 'policy.yaml': SEED },
      request('export', { contains_pii: true }),
      request('export'),
      request('delete'),
      request('api_call'),
    ),
    'no-rules': valid(one(''), request('tool_call'), request('tools_list')),
    'default-allow-with-limit': valid(one('default: allow\nrules:\n  - { name: r, limit: 1/day }\n'), request('x')),
    'deny-overrides': valid(conflicts('deny_overrides'), request('x')),
    'allow-overrides': valid(conflicts('allow_overrides'), request('x')),
    'priority-first-match': valid(conflicts('priority_first_match'), request('x')),
    'most-specific-wins': valid(conflicts('most_specific_wins'), request('x')),
    'missing-field': valid(
      one(
        "rules:\n  - { name: no, action: deny, condition: trust.score < 10 }\n  - { name: yes, action: allow, condition: trust.score >= 500 or action.type == 'x' }\n",
      ),
      request('x'),
      ['possible', request('x')],
      context({ action: 'x' }, { trust: { score: 700 } }),
    ),
    'tool-rule-and-no-tool': valid(
      one("default: allow\nrules:\n  - { name: no, action: deny, condition: tool.name == 'x' }\n"),
      request('sampling'),
      request('tool_call'),
      context(tool('X')),
    ),
    extends: valid(
      {
        'policy.yaml': `${head}extends: [base/a.yaml, base/b.yaml]\nconflict: allow_overrides\nrules:\n  - { name: all, action: allow }\n`,
        'base/a.yaml': `${head}extends: ../c.yaml\n`,
        'base/b.yaml': `${head}extends: ../c.yaml\ndefault: allow\n`,
        'c.yaml': `${head}rules:\n  - { name: no-x, action: deny, condition: action.type == 'x' }\n`,
      },
      request('x'),
      request('y'),
    ),
    'file-of-a-point': valid({
      'policy.yaml': `${head}external:\n  - { name: c, type: cedar, policies: p.cedar }\n`,
      'p.cedar': 'permit(principal, action, resource);\n',
    }),
  },
  invalid: {
    'unknown-key': invalid(one('ruls: []\n')),
    'key-twice': invalid(one('name: a\nname: b\n')),
    'second-document': invalid(one(`---\n${head}`)),
    'version-two': invalid({ 'policy.yaml': 'version: "2.0"\n' }),
    'unknown-action': invalid(one(rule('    action: block\n'))),
    'no-action': invalid(one(rule('    condition: "true"\n'))),
    'limit-beside-deny': invalid(one(rule('    action: deny\n    limit: 1/day\n'))),
    'limit-of-nothing': invalid(one(rule('    limit: 0/day\n'))),
    'approvers-beside-allow': invalid(one(rule('    action: allow\n    approvers: [x]\n'))),
    'rule-twice': invalid(one(`${rule('    action: deny\n')}  - name: r\n    action: deny\n`)),
    'unknown-field-in-a-condition': invalid(
      one(rule('    action: deny\n    condition: "action.type == \'x\' and dta.x"\n')),
    ),
    'unknown-field-in-a-folded-condition': invalid(
      one(rule("    action: deny\n    condition: >-\n      action.type == 'x'\n      and dta.x\n")),
    ),
    'rule-of-a-parent': invalid({
      'policy.yaml': `${head}extends: a.yaml\n${rule('    action: deny\n')}`,
      'a.yaml': `${head}${rule('    action: deny\n')}`,
    }),
    'default-looser-than-a-parent': invalid({
      'policy.yaml': `${head}extends: a.yaml\ndefault: allow\n`,
      'a.yaml': `${head}default: deny\n`,
    }),
    cycle: invalid({
      'policy.yaml': `${head}extends: a.yaml\n`,
      'a.yaml': `${head}extends: b.yaml\n`,
      'b.yaml': `${head}extends: a.yaml\n`,
    }),
    'path-that-leaves': invalid(one('extends: a/../../b.yaml\n')),
    'path-that-is-absolute': invalid(one('extends: /etc/b.yaml\n')),
    'path-that-is-a-url': invalid(one('extends: https://example.com/b.yaml\n')),
  },
};
