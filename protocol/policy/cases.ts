/**
 * Tests of policies, in YAML (SPEC "Policies", tests):
 *
 *   cases:
 *     - name: personal data stays
 *       context: { action: { type: export }, data: { contains_pii: true } }
 *       used_up: [rate-limit-api]          # limits that count as exhausted; default: none
 *       expect: { effect: deny, rule: no-pii-export, code: policy_denied }
 *
 * What a gate always knows need not be said: nothing found in the data, no paths in the arguments.
 */
import { isErrorCode } from '../errors.ts';
import { POLICY_CASES_MAX, POLICY_RULES_MAX } from '../limits.ts';
import type { PolicyContext } from './context.ts';
import type { Decision, Effect } from './decision.ts';
import type { PolicySet } from './engine.ts';
import { timeOf } from './request.ts';
import { type Item, type Place, YamlReader } from './yaml.ts';

export interface CaseResult {
  readonly name: string;
  readonly place: Place;
  readonly decision: Decision;
  /** What is not as expected, a sentence each; none: it passed. */
  readonly failures: readonly string[];
}

interface Case {
  readonly name: string;
  readonly place: Place;
  readonly context: PolicyContext;
  readonly usedUp: readonly string[];
  readonly expect: { readonly effect: Effect; readonly rule?: string | null; readonly code?: string };
}

/** Errors: policy_invalid, with line and column of the tests' file. */
export function runPolicyTests(text: string, policies: PolicySet, file = 'tests'): CaseResult[] {
  return parseCases(text, file).map(({ name, place, context, usedUp, expect }) => {
    const decision = policies.decide(context, { isLimitFree: ({ rule }) => !usedUp.includes(rule) });
    return { name, place, decision, failures: failuresOf(decision, expect) };
  });
}

function failuresOf(decision: Decision, { effect, rule, code }: Case['expect']): string[] {
  const failures: string[] = [];
  if (decision.effect !== effect) failures.push(`effect is "${decision.effect}", want "${effect}": ${decision.reason}`);
  if (rule !== undefined && decision.rule !== rule)
    failures.push(`rule is ${JSON.stringify(decision.rule)}, want ${JSON.stringify(rule)}`);
  if (code !== undefined && decision.code !== code)
    failures.push(`code is ${JSON.stringify(decision.code ?? null)}, want "${code}"`);
  return failures;
}

function parseCases(text: string, file: string): Case[] {
  const reader = new YamlReader(text, file);
  const { cases } = reader.members(reader.root, ['cases'], 'a file of policy tests');
  if (cases === undefined) throw reader.invalid(reader.root, '"cases" is missing, want a list of cases');
  const items = reader.items(cases, 'a list of cases', POLICY_CASES_MAX);
  if (items.length === 0) throw reader.invalid(cases, '"cases" is empty, want at least one');
  return items.map((item) => parseCase(reader, item));
}

function parseCase(reader: YamlReader, item: Item): Case {
  const members = reader.members(item, ['name', 'context', 'used_up', 'expect'], 'a case');
  const need = (key: 'name' | 'context' | 'expect'): Item => {
    const found = members[key];
    if (found === undefined) throw reader.invalid(item, `"${item.path}.${key}" is missing`);
    return found;
  };
  const usedUp = members.used_up;
  return {
    name: reader.text(need('name'), 'a text', (name) => name.length > 0),
    place: reader.place(item),
    context: parseContext(reader, need('context')),
    usedUp:
      usedUp === undefined
        ? []
        : reader
            .items(usedUp, 'a list of names of rules', POLICY_RULES_MAX)
            .map((each) => reader.text(each, 'the name of a rule', () => true)),
    expect: parseExpect(reader, need('expect')),
  };
}

function parseExpect(reader: YamlReader, item: Item): Case['expect'] {
  const { effect, rule, code } = reader.members(item, ['effect', 'rule', 'code'], 'what is expected');
  if (effect === undefined) throw reader.invalid(item, `"${item.path}.effect" is missing`);
  const isNone = rule !== undefined && reader.scalar(rule)?.value === null;
  return {
    effect: reader.oneOf(effect, ['allow', 'deny', 'require_approval']),
    ...(rule !== undefined && { rule: isNone ? null : reader.text(rule, 'the name of a rule, or null', () => true) }),
    ...(code !== undefined && { code: reader.text(code, 'an error code', isErrorCode) }),
  };
}

type Shape = 'text' | 'number' | 'boolean' | 'texts' | 'map' | { readonly [key: string]: Shape };
const PATHS = { paths: 'texts' } as const;
const CONTEXT = {
  action: { type: 'text' },
  tool: { name: 'text', server: 'text', arguments: 'map', ...PATHS },
  resource: { uri: 'text', scheme: 'text', ...PATHS },
  prompt: { name: 'text', arguments: 'map', ...PATHS },
  mcp: { method: 'text' },
  agent: { did: 'text', name: 'text', organisation: 'text' },
  principal: { did: 'text' },
  peer: { did: 'text', organisation: 'text' },
  trust: { score: 'number' },
  delegation: { leaf: 'text', depth: 'number', capabilities: 'texts', audience: 'text' },
  data: {
    labels: 'texts',
    contains_pii: 'boolean',
    contains_phi: 'boolean',
    contains_card: 'boolean',
    contains_secret: 'boolean',
    bytes: 'number',
  },
  time: { iso: 'text' },
  environment: 'map',
  facts: 'map',
} as const satisfies Readonly<Record<keyof PolicyContext, Shape>>;

const ITEMS_MAX = 1_024; // of a list in a case: what people write by hand
const NOTHING_FOUND = {
  labels: [],
  contains_pii: false,
  contains_phi: false,
  contains_card: false,
  contains_secret: false,
};
/** Of whom a case says nothing. */
const SOMEBODY = { did: 'did:mesh:agent', organisation: 'did:mesh:organisation' };
const SOME_DAY = '2026-01-05T12:00:00.000Z'; // a Monday at noon

function parseContext(reader: YamlReader, item: Item): PolicyContext {
  const said = shaped(reader, item, CONTEXT) as Partial<Record<keyof PolicyContext, Record<string, unknown>>>;
  if (said.action?.['type'] === undefined)
    throw reader.invalid(item, `"${item.path}.action.type" is missing, want one like "tool_call"`);
  const iso = typeof said.time?.['iso'] === 'string' ? said.time['iso'] : SOME_DAY;
  if (Number.isNaN(Date.parse(iso)))
    throw reader.invalid(item, `"${item.path}.time.iso" is "${iso}", want a time as "${SOME_DAY}"`);
  const withPaths = (of: Record<string, unknown> | undefined): object | undefined => of && { paths: [], ...of };
  const { tool, prompt } = said;
  return {
    ...said,
    ...(tool && { tool: withPaths(tool) }),
    ...(prompt && { prompt: withPaths(prompt) }),
    ...(said.delegation && { delegation: { capabilities: [], ...said.delegation } }),
    agent: { ...SOMEBODY, ...said.agent },
    data: { ...NOTHING_FOUND, ...said.data },
    time: timeOf(Date.parse(iso)),
  } as unknown as PolicyContext; // as CONTEXT says
}

function shaped(reader: YamlReader, item: Item, shape: Shape): unknown {
  switch (shape) {
    case 'text':
      return reader.text(item, 'a text', () => true);
    case 'boolean':
      return reader.boolean(item);
    case 'number': {
      const value = reader.scalar(item)?.value;
      if (typeof value !== 'number' || !Number.isFinite(value))
        throw reader.invalid(item, `"${item.path}" is no number`);
      return value;
    }
    case 'texts':
      return reader.items(item, 'a list of texts', ITEMS_MAX).map((each) => reader.text(each, 'a text', () => true));
    case 'map':
      if (!reader.isMap(item)) throw reader.invalid(item, `"${item.path}" is no map`);
      return reader.json(item);
    default: {
      const members = reader.members(item, Object.keys(shape), item.path);
      return Object.fromEntries(
        Object.entries(members).flatMap(([key, each]) =>
          each === undefined ? [] : [[key, shaped(reader, each, shape[key] as Shape)]],
        ),
      );
    }
  }
}
