/**
 * Decisions by policies of 1, 10, 100 and 1,000 rules in the seed's shape (an action type, and something of the request)
 * over random requests, beside @marcbachmann/cel-js, @cedar-policy/cedar-wasm and @microsoft/agent-governance-sdk, in turns
 * in one run. First all must answer alike. Then the same without action types, where our index helps nothing.
 * Exits 1 where they differ or below the bars. `node bench/policy.ts [SEED]`
 */
import * as cedar from '@cedar-policy/cedar-wasm/nodejs';
import { parse } from '@marcbachmann/cel-js';
import { ConflictResolutionStrategy, type Policy as AgtPolicy, PolicyEngine } from '@microsoft/agent-governance-sdk';
import { compilePolicies, parsePolicy, type PolicyContext } from '../protocol/policy/index.ts';
import { seededRandom } from '../test/random.ts';

const SIZES = [1, 10, 100, 1_000];
const FACTOR_MIN = 5; // beside the fastest other, at 100 rules
const GROWTH_MAX = 2; // from 100 rules to 1,000, where the index applies
const CONTEXTS = 512;
const ROUNDS = 3;
const ROUND_MS = 250;
const CALLS_MIN = 30;
const TURNS = 51;
const TURN_CALLS = 20_000;
const AGENT = { did: 'did:mesh:agent', name: 'agent', organisation: 'did:mesh:organisation' };

const seed = Number(process.argv[2] ?? 1);
const random = seededRandom(seed);
const upTo = (n: number): number => Math.floor(random() * n);

interface BenchRule {
  readonly name: string;
  readonly action: 'allow' | 'deny';
  /** Comparisons joined by "and": as we and AGT write them, as CEL, as Cedar. */
  readonly parts: readonly Part[];
}
type Part = { readonly own: string; readonly cel: string; readonly cedar: string };

const same = (text: string): Part => ({ own: text, cel: text, cedar: `context.${text}` });
const quoted = (path: string, op: '==' | '!=', word: string): Part => ({
  own: `${path} ${op} '${word}'`,
  cel: `${path} ${op} '${word}'`,
  cedar: `context.${path} ${op} "${word}"`,
});
const TOOLS = Array.from({ length: 40 }, (_, i) => `tool_${i}`);
const REGIONS = ['eu', 'us', 'ap'];
const pick = <T>(list: readonly T[]): T => list[upTo(list.length)] as T;

function anyPart(): Part {
  switch (upTo(5)) {
    case 0:
      return same('data.contains_pii');
    case 1:
      return same(`tool.arguments.amount ${pick(['<', '>='])} ${upTo(1_000)}`);
    case 2:
      return quoted('tool.arguments.region', pick(['==', '!=']), pick(REGIONS));
    case 3: {
      const names = [pick(TOOLS), pick(TOOLS), pick(TOOLS)];
      const list = names.map((name) => `'${name}'`).join(', ');
      return {
        own: `tool.name in [${list}]`,
        cel: `tool.name in [${list}]`,
        cedar: `[${names.map((name) => `"${name}"`).join(', ')}].contains(context.tool.name)`,
      };
    }
    default:
      return quoted('tool.name', '==', pick(TOOLS));
  }
}

/** Three rules an action type, as policies that people write; `isIndexed` false: none names one. */
const actionTypes = (size: number): string[] => Array.from({ length: Math.ceil(size / 3) }, (_, i) => `action_${i}`);
const createRules = (size: number, isIndexed: boolean): BenchRule[] =>
  Array.from({ length: size }, (_, i) => ({
    name: `rule-${i}`,
    action: i % 3 === 0 ? 'allow' : pick(['allow', 'deny', 'deny']),
    parts: isIndexed ? [quoted('action.type', '==', pick(actionTypes(size))), anyPart()] : [anyPart(), anyPart()],
  }));

const createContexts = (size: number): PolicyContext[] =>
  Array.from({ length: CONTEXTS }, () => ({
    action: { type: pick([...actionTypes(size), 'other']) },
    tool: { name: pick(TOOLS), arguments: { amount: upTo(1_000), region: pick(REGIONS) } },
    agent: AGENT,
    data: {
      labels: [],
      contains_pii: random() < 0.3,
      contains_phi: false,
      contains_card: false,
      contains_secret: false,
    },
    time: { iso: '2026-01-05T12:00:00.000Z', unix: 1_767_614_400, hour: 12, weekday: 1 },
  }));

/** Whether it is allowed: a deny rule before an allow rule, else denied. */
type Engine = (context: PolicyContext) => boolean;

function ownEngine(rules: readonly BenchRule[]): Engine {
  const text = rules.map(
    ({ name, action, parts }) =>
      `  - name: "${name}"\n    condition: "${parts.map(({ own }) => own).join(' and ')}"\n    action: "${action}"\n`,
  );
  const set = compilePolicies([parsePolicy(`version: "1.0"\nrules:\n${text.join('')}`, { name: 'bench' })]);
  const options = { isLimitFree: () => true };
  return (context) => set.decide(context, options).effect === 'allow';
}

function celEngine(rules: readonly BenchRule[]): Engine {
  const compiled = rules.map(({ action, parts }) => ({
    isDeny: action === 'deny',
    holds: parse(parts.map(({ cel }) => cel).join(' && ')),
  }));
  return (context) => {
    let isAllowed = false;
    for (const { isDeny, holds } of compiled) {
      if (isAllowed && !isDeny) continue;
      if (holds(context) !== true) continue;
      if (isDeny) return false;
      isAllowed = true;
    }
    return isAllowed;
  };
}

function cedarEngine(rules: readonly BenchRule[], id: string): Engine {
  const policies = rules.map(
    ({ action, parts }) =>
      `${action === 'allow' ? 'permit' : 'forbid'}(principal, action, resource) when { ${parts.map((part) => part.cedar).join(' && ')} };`,
  );
  const parsed = cedar.preparsePolicySet(id, { staticPolicies: policies.join('\n') });
  if (parsed.type === 'failure') throw new Error(`Cannot read the Cedar policies: ${JSON.stringify(parsed.errors)}`);
  const uid = { type: 'Agent', id: AGENT.did };
  return ({ action, tool, data }) => {
    const answer = cedar.statefulIsAuthorized({
      principal: uid,
      action: { type: 'Action', id: 'do' },
      resource: { type: 'Any', id: 'x' },
      context: { action, tool, data } as unknown as cedar.Context,
      preparsedPolicySetId: id,
      entities: [],
    });
    if (answer.type === 'failure' || answer.response.diagnostics.errors.length > 0)
      throw new Error(`Cannot ask Cedar: ${JSON.stringify(answer)}`);
    return answer.response.decision === 'allow';
  };
}

function agtEngine(rules: readonly BenchRule[]): Engine {
  const engine = new PolicyEngine([], ConflictResolutionStrategy.DenyOverrides);
  const policy: AgtPolicy = {
    name: 'bench',
    agents: ['*'],
    default_action: 'deny',
    rules: rules.map(({ name, action, parts }) => ({
      name,
      action: '*',
      effect: action,
      ruleAction: action,
      condition: parts.map(({ own }) => own).join(' and '),
    })),
  };
  engine.loadPolicy(policy);
  return (context) => engine.evaluatePolicy(AGENT.did, context as unknown as Record<string, unknown>).allowed;
}

const percentile = (sorted: readonly number[], share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;

interface Measured {
  readonly us: number[];
  calls: number;
  elapsedMs: number;
}

/** As many calls as fit in ROUND_MS, timed together; then as many again, timed each. */
function measure(engine: Engine, contexts: readonly PolicyContext[], into: Measured): void {
  const deadline = performance.now() + ROUND_MS;
  const start = performance.now();
  let calls = 0;
  while (calls < CALLS_MIN || performance.now() < deadline)
    for (let i = 0; i < CALLS_MIN; i++) engine(contexts[calls++ % contexts.length] as PolicyContext);
  into.elapsedMs += performance.now() - start;
  into.calls += calls;
  for (let i = 0; i < Math.min(calls, 20_000); i++) {
    const context = contexts[i % contexts.length] as PolicyContext;
    const before = performance.now();
    engine(context);
    into.us.push((performance.now() - before) * 1_000);
  }
}

let isBelow = false;
const perDecisionUs = new Map<string, number>();

for (const isIndexed of [true, false]) {
  console.log(
    isIndexed
      ? `\nrules that name an action type (seed ${seed})`
      : '\nrules that name none: every engine looks at all of them',
  );
  for (const size of isIndexed ? SIZES : [100]) {
    const rules = createRules(size, isIndexed);
    const contexts = createContexts(size);
    const engines: Record<string, Engine> = {
      agentmesh: ownEngine(rules),
      'cel-js': celEngine(rules),
      'agent-governance-sdk': agtEngine(rules),
      'cedar-wasm': cedarEngine(rules, `${isIndexed}-${size}`),
    };
    const answers = Object.entries(engines).map(([name, engine]) => ({ name, all: contexts.map(engine) }));
    const [own, ...others] = answers;
    const allowed = own?.all.filter(Boolean).length ?? 0;
    console.log(`\n${size} rules: ${allowed} of ${CONTEXTS} requests allowed`);
    for (const { name, all } of others) {
      const different = all.filter((answer, i) => answer !== own?.all[i]).length;
      if (different === 0) continue;
      console.log(`  ${name} answers ${different} of ${CONTEXTS} otherwise`);
      isBelow = true;
    }

    const measured = new Map<string, Measured>(
      Object.keys(engines).map((name) => [name, { us: [], calls: 0, elapsedMs: 0 }]),
    );
    for (let round = 0; round < ROUNDS; round++)
      for (const [name, engine] of Object.entries(engines)) measure(engine, contexts, measured.get(name) as Measured);

    const meanUs = ({ calls, elapsedMs }: Measured): number => (elapsedMs * 1_000) / calls;
    const base = meanUs(measured.get('agentmesh') as Measured);
    for (const [name, each] of measured) {
      const sorted = each.us.toSorted((a, b) => a - b);
      const mean = meanUs(each);
      perDecisionUs.set(`${isIndexed} ${size} ${name}`, mean);
      console.log(
        `  ${name.padEnd(22)} ${Math.round(1_000_000 / mean)
          .toLocaleString('en')
          .padStart(
            10,
          )}/s  mean ${mean.toFixed(2)} us  p50 ${percentile(sorted, 0.5).toFixed(2)} us  p99 ${percentile(sorted, 0.99).toFixed(2)} us${name === 'agentmesh' ? '' : `  ${(mean / base).toFixed(1)}x ours`}`,
      );
    }
  }
}

const at = (size: number, name: string): number => perDecisionUs.get(`true ${size} ${name}`) ?? Number.NaN;
const fastest = Math.min(...['cel-js', 'agent-governance-sdk', 'cedar-wasm'].map((name) => at(100, name)));
const factor = fastest / at(100, 'agentmesh');
const growth = growthOf(100, 1_000);
console.log(`\nat 100 rules ${factor.toFixed(1)}x the fastest other, want >= ${FACTOR_MIN}`);
console.log(`1,000 rules take ${growth.toFixed(2)}x the time of 100 (median of ${TURNS} turns), want <= ${GROWTH_MAX}`);
if (isBelow || !(factor >= FACTOR_MIN) || !(growth <= GROWTH_MAX)) process.exitCode = 1;

/** In short turns one behind the other, so that both meet the same machine. */
function growthOf(small: number, large: number): number {
  const [before, after] = [small, large].map((size) => ({
    engine: ownEngine(createRules(size, true)),
    contexts: createContexts(size),
  }));
  if (before === undefined || after === undefined) return Number.NaN;
  const timeOf = ({ engine, contexts }: typeof before): number => {
    const start = performance.now();
    for (let i = 0; i < TURN_CALLS; i++) engine(contexts[i % contexts.length] as PolicyContext);
    return performance.now() - start;
  };
  for (const each of [before, after]) timeOf(each);
  const ratios = Array.from({ length: TURNS }, () => {
    const base = timeOf(before);
    return timeOf(after) / base;
  });
  return percentile(
    ratios.toSorted((a, b) => a - b),
    0.5,
  );
}
