/**
 * Decides by policies (SPEC "Policies"). Each policy that applies to the agent is a layer and answers by its own conflict
 * strategy; the strictest answer of all layers counts, so that whoever adds a policy can only narrow.
 *
 * Rules are indexed by the action types and tool names that their conditions ask for, so that a request is held against
 * the rules that it can concern. What a decision says that does not depend on the request is made beforehand.
 */
import { MeshError } from '../errors.ts';
import { POLICY_LAYERS_MAX } from '../limits.ts';
import { isUnknown, type Truth } from './condition/compile.ts';
import type { PolicyContext } from './context.ts';
import type { ApprovalNeed, Decision, Effect, LimitUse, MatchedRule, OutputRules, PolicyRef } from './decision.ts';
import { type Conflict, type PinRules, SCOPES } from './document.ts';
import { canonicalName } from './names.ts';
import { digestOfTexts, OPEN_OUTPUT, type Policy, type PolicyRule, strictestOutput, strictestPins } from './policy.ts';

export interface DecideByOptions {
  /**
   * `possible`: could it be allowed or approved with some arguments? Then a rule that restricts and cannot be told does
   * not count, an allow rule does, and limits are not asked. For lists. Default: `certain`, where it is the other way.
   */
  readonly mode?: 'certain' | 'possible';
  /** Whether it can be used once more now. Asked only where everything else allows it. */
  readonly isLimitFree: (use: LimitUse) => boolean;
}

export interface PolicySet {
  /** In the order in which they were given; each once. */
  readonly policies: readonly Policy[];
  decide(context: PolicyContext, options: DecideByOptions): Decision;
  /** What to do about changed tools, for this agent. Deny, where no policy applies. */
  pins(agent: PolicyContext['agent']): PinRules;
  /** The policies that apply to it. */
  layersOf(agent: PolicyContext['agent']): readonly Policy[];
}

/** Named where no policy decided. */
export const NO_POLICY: PolicyRef = { name: 'none', digest: digestOfTexts([]) };

/**
 * For these the default says nothing: lists are filtered member by member, unknown messages are forwarded, and
 * delegations, handshakes and messages have rules of their own, which a policy for tools must not switch off.
 */
const WITHOUT_DEFAULT: ReadonlySet<string> = new Set([
  'tools_list',
  'resources_list',
  'prompts_list',
  'mcp_request',
  'delegate',
  'handshake',
  'message',
]);

/** Those whose policies come first name the approvers. Errors: policy_invalid (too many of them). */
export function compilePolicies(policies: readonly Policy[]): PolicySet {
  const distinct = policies.filter(
    (policy, i) => policies.findIndex((each) => each.digest === policy.digest && each.name === policy.name) === i,
  );
  if (distinct.length > POLICY_LAYERS_MAX)
    throw new MeshError(
      'policy_invalid',
      `Cannot ask ${distinct.length} policies at once, want <= ${POLICY_LAYERS_MAX}`,
    );
  return new Layers(
    distinct,
    distinct.map((policy, i) => new Layer(policy, distinct.findIndex(({ name }) => name === policy.name) === i)),
  );
}

const DENY = 2;
const APPROVAL = 1;
const ALLOW = 0;
const NOTE = -1;
type Strictness = typeof DENY | typeof APPROVAL | typeof ALLOW;
const EFFECTS: readonly Effect[] = ['allow', 'require_approval', 'deny'];
const STRICTNESS = {
  deny: DENY,
  require_approval: APPROVAL,
  allow: ALLOW,
  limit: NOTE,
  warn: NOTE,
  log: NOTE,
} as const;

/** Sections of the context that say what a request is about, and the action types that always have one. */
const SUBJECTS = ['tool', 'resource', 'prompt', 'mcp'] as const;
const SUBJECT_OF: Readonly<Record<string, (typeof SUBJECTS)[number]>> = {
  tool_call: 'tool',
  resource_read: 'resource',
  prompt_get: 'prompt',
  mcp_request: 'mcp',
};

interface CompiledRule {
  readonly name: string;
  readonly strictness: Strictness | typeof NOTE;
  readonly isImmutable: boolean;
  readonly isInherited: boolean;
  readonly priority: number;
  readonly specificity: number;
  readonly order: number;
  readonly evaluate: ((context: PolicyContext) => Truth) | null;
  /** Sections that the condition looks at. */
  readonly subjects: readonly (typeof SUBJECTS)[number][];
  /** Of a document that is extended and names agents; null: all. */
  readonly agents: Agents | null;
  readonly match: MatchedRule;
  readonly use: LimitUse | undefined;
  readonly approval: ApprovalNeed | undefined;
  readonly reason: string;
  readonly limitReason: string;
}

/** Agents by DID, or by name whatever its case and look. */
class Agents {
  readonly #dids: ReadonlySet<string>;
  readonly #names: ReadonlySet<string>;

  constructor(agents: readonly string[]) {
    this.#dids = new Set(agents);
    this.#names = new Set(agents.filter((agent) => !agent.startsWith('did:')).map(canonicalName));
  }

  has({ did, name }: PolicyContext['agent']): boolean {
    return this.#dids.has(did) || (name !== undefined && this.#names.has(canonicalName(name)));
  }
}

class Bucket {
  readonly byTool = new Map<string, CompiledRule[]>();
  readonly anyTool: CompiledRule[] = [];
  /** With those of single tools, for requests that name no tool and should. */
  readonly all: CompiledRule[] = [];

  add(rule: CompiledRule, tools: ReadonlySet<string> | undefined): void {
    this.all.push(rule);
    if (tools === undefined) this.anyTool.push(rule);
    else for (const tool of tools) pushTo(this.byTool, tool, rule);
  }
}

function pushTo(map: Map<string, CompiledRule[]>, key: string, rule: CompiledRule): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [rule]);
  else list.push(rule);
}

/** What a layer answers. */
interface Answer {
  readonly strictness: Strictness;
  readonly rule: CompiledRule | null;
  readonly isLimit: boolean;
  readonly hits: Hits | undefined;
}

interface Hits {
  readonly rules: CompiledRule[];
  readonly matched: MatchedRule[];
}

class Layer {
  readonly policy: Policy;
  readonly ref: PolicyRef;
  readonly agents: Agents | null;
  readonly #isBetter: (a: CompiledRule, b: CompiledRule) => boolean;
  readonly #default: Strictness;
  readonly #byAction = new Map<string, Bucket>();
  readonly #anyAction = new Bucket();
  /** What it says where no rule decides. */
  readonly #defaultReason: string;
  readonly #listReason: string;
  readonly #overruled: boolean;

  /** `hasName`: no earlier layer has the same; else counters of both would be one. */
  constructor(policy: Policy, hasName: boolean) {
    this.policy = policy;
    this.ref = { name: policy.name, digest: policy.digest };
    this.agents = policy.agents === null ? null : new Agents(policy.agents);
    this.#isBetter = BETTER[policy.conflict];
    this.#overruled = policy.conflict !== 'deny_overrides';
    this.#default = STRICTNESS[policy.default];
    this.#defaultReason =
      policy.default === 'allow'
        ? `No rule of policy "${policy.name}" denies it, and its default is to allow`
        : `No rule of policy "${policy.name}" allows it, and its default is to deny`;
    this.#listReason = `No rule of policy "${policy.name}" denies it`;
    const counted = hasName ? policy.name : `${policy.name}@${policy.digest.slice(0, 16)}`;
    policy.rules.forEach((rule, order) => {
      if (rule.isEnabled) this.#add(rule, compileRule(rule, order, policy, counted));
    });
  }

  #add({ condition }: PolicyRule, rule: CompiledRule): void {
    if (condition?.actionTypes === undefined) this.#anyAction.add(rule, condition?.toolNames);
    else
      for (const action of condition.actionTypes) {
        const bucket = this.#byAction.get(action) ?? new Bucket();
        this.#byAction.set(action, bucket);
        bucket.add(rule, condition.toolNames);
      }
  }

  answer(
    context: PolicyContext,
    action: string,
    tool: string | undefined,
    isPossible: boolean,
    isLimitFree: DecideByOptions['isLimitFree'],
  ): Answer {
    const bucket = this.#byAction.get(action);
    let hits: Hits | undefined;
    if (bucket !== undefined) hits = hitsOf(bucket, context, action, tool, isPossible, hits);
    hits = hitsOf(this.#anyAction, context, action, tool, isPossible, hits);
    if (hits === undefined) return this.#byDefault(action, undefined);
    if (hits.rules.length > 1) sortHits(hits);

    const rule = this.#decisive(hits.rules);
    const answer = rule === undefined ? this.#byDefault(action, hits) : answerOf(rule, hits);
    if (answer.strictness !== ALLOW || isPossible) return answer;
    for (const each of hits.rules)
      if (each.use !== undefined && !isLimitFree(each.use))
        return { strictness: DENY, rule: each, isLimit: true, hits };
    return answer;
  }

  #byDefault(action: string, hits: Hits | undefined): Answer {
    const strictness = WITHOUT_DEFAULT.has(action) ? ALLOW : this.#default;
    return { strictness, rule: null, isLimit: false, hits };
  }

  /** Of rules that allow, deny or want an approval. What a parent denies nothing overrules. */
  #decisive(rules: readonly CompiledRule[]): CompiledRule | undefined {
    let best: CompiledRule | undefined;
    for (const rule of rules) {
      if (rule.strictness === NOTE) continue;
      if (rule.isImmutable && this.#overruled) {
        if (best?.isImmutable !== true) best = rule;
      } else if (best === undefined || (!(best.isImmutable && this.#overruled) && this.#isBetter(rule, best)))
        best = rule;
    }
    return best;
  }

  reasonOf({ rule, isLimit }: Answer, action: string, matched: MatchedRule | undefined): string {
    if (rule === null) return WITHOUT_DEFAULT.has(action) ? this.#listReason : this.#defaultReason;
    if (isLimit) return rule.limitReason;
    return matched?.certain === false
      ? `${rule.reason}; whether the rule applies cannot be told, so it does`
      : rule.reason;
  }
}

const answerOf = (rule: CompiledRule, hits: Hits): Answer => ({
  strictness: rule.strictness === NOTE ? DENY : rule.strictness,
  rule,
  isLimit: false,
  hits,
});

const BETTER: Readonly<Record<Conflict, (a: CompiledRule, b: CompiledRule) => boolean>> = {
  deny_overrides: (a, b) => (a.strictness !== b.strictness ? a.strictness > b.strictness : a.priority > b.priority),
  allow_overrides: (a, b) => (a.strictness !== b.strictness ? a.strictness < b.strictness : a.priority > b.priority),
  priority_first_match: (a, b) => (a.priority !== b.priority ? a.priority > b.priority : a.strictness > b.strictness),
  most_specific_wins: (a, b) =>
    a.specificity !== b.specificity
      ? a.specificity > b.specificity
      : a.strictness !== b.strictness
        ? a.strictness > b.strictness
        : a.priority > b.priority,
};

function hitsOf(
  bucket: Bucket,
  context: PolicyContext,
  action: string,
  tool: string | undefined,
  isPossible: boolean,
  before: Hits | undefined,
): Hits | undefined {
  let hits = before;
  if (tool === undefined) {
    // A rule of single tools is about no request without one, unless that request should have named it.
    const rules = action === 'tool_call' ? bucket.all : bucket.anyTool;
    for (let i = 0; i < rules.length; i++) hits = tryRule(rules[i] as CompiledRule, context, action, isPossible, hits);
    return hits;
  }
  const rules = bucket.byTool.get(tool);
  if (rules !== undefined)
    for (let i = 0; i < rules.length; i++) hits = tryRule(rules[i] as CompiledRule, context, action, isPossible, hits);
  const { anyTool } = bucket;
  for (let i = 0; i < anyTool.length; i++)
    hits = tryRule(anyTool[i] as CompiledRule, context, action, isPossible, hits);
  return hits;
}

function tryRule(
  rule: CompiledRule,
  context: PolicyContext,
  action: string,
  isPossible: boolean,
  hits: Hits | undefined,
): Hits | undefined {
  const truth = rule.evaluate === null || rule.evaluate(context);
  if (truth === false) return hits;
  if (rule.agents !== null && !rule.agents.has(context.agent)) return hits;
  if (truth === true) return withHit(hits, rule, rule.match);
  if (!isUnknown(truth) || !countsUnknown(rule, context, action, isPossible)) return hits;
  return withHit(hits, rule, { ...rule.match, certain: false, because: truth.because.slice(0, BECAUSE_SHOWN_MAX) });
}

/** What cannot be told restricts and does not grant; where something is only to be possible, it grants. */
function countsUnknown(rule: CompiledRule, context: PolicyContext, action: string, isPossible: boolean): boolean {
  for (const subject of rule.subjects)
    if (context[subject] === undefined && SUBJECT_OF[action] !== subject) return false; // it is about something else
  return (rule.strictness === ALLOW) === isPossible;
}

function withHit(hits: Hits | undefined, rule: CompiledRule, match: MatchedRule): Hits {
  if (hits === undefined) return { rules: [rule], matched: [match] };
  hits.rules.push(rule);
  hits.matched.push(match);
  return hits;
}

/** Into the order of the policy; a handful, nearly in order. */
function sortHits({ rules, matched }: Hits): void {
  for (let i = 1; i < rules.length; i++) {
    const rule = rules[i] as CompiledRule;
    const match = matched[i] as MatchedRule;
    let at = i;
    for (; at > 0 && (rules[at - 1] as CompiledRule).order > rule.order; at--) {
      rules[at] = rules[at - 1] as CompiledRule;
      matched[at] = matched[at - 1] as MatchedRule;
    }
    rules[at] = rule;
    matched[at] = match;
  }
}

/** What follows for an agent from which layers apply. */
interface Applicable {
  readonly layers: readonly Layer[];
  readonly output: OutputRules;
  readonly pins: PinRules;
}

const NONE: readonly never[] = [];

class Layers implements PolicySet {
  readonly policies: readonly Policy[];
  readonly #layers: readonly Layer[];
  /** By which layers apply, a bit each. */
  readonly #applicable = new Map<number, Applicable>();

  constructor(policies: readonly Policy[], layers: readonly Layer[]) {
    this.policies = policies;
    this.#layers = layers;
  }

  pins(agent: PolicyContext['agent']): PinRules {
    return this.#for(agent).pins;
  }

  layersOf(agent: PolicyContext['agent']): readonly Policy[] {
    return this.#for(agent).layers.map(({ policy }) => policy);
  }

  decide(context: PolicyContext, { mode = 'certain', isLimitFree }: DecideByOptions): Decision {
    const { layers, output } = this.#for(context.agent);
    if (layers.length === 0) return this.#withoutLayer(output);
    const action = canonicalName(context.action.type);
    const tool = context.tool === undefined ? undefined : canonicalName(context.tool.name);
    const isPossible = mode === 'possible';

    const [first] = layers as readonly [Layer];
    let layer = first;
    let answer = first.answer(context, action, tool, isPossible, isLimitFree);
    if (layers.length === 1) return decisionOf(layer, answer, action, output, answer.hits, NONE);
    let rest: Answer[] | undefined;
    for (let i = 1; i < layers.length; i++) {
      const next = layers[i] as Layer;
      const other = next.answer(context, action, tool, isPossible, isLimitFree);
      rest ??= [answer];
      rest.push(other);
      if (other.strictness > answer.strictness) [layer, answer] = [next, other];
    }
    return decisionOf(layer, answer, action, output, mergedHits(rest ?? NONE), rest ?? NONE);
  }

  #withoutLayer(output: OutputRules): Decision {
    return {
      effect: 'deny',
      code: 'policy_denied',
      rule: null,
      policy: NO_POLICY,
      matched: NONE,
      limits: NONE,
      output,
      reason: this.#layers.length === 0 ? 'No policy is loaded' : 'No policy that is loaded is for this agent',
    };
  }

  #for(agent: PolicyContext['agent']): Applicable {
    let bits = 0;
    for (let i = 0; i < this.#layers.length; i++) {
      const { agents } = this.#layers[i] as Layer;
      if (agents === null || agents.has(agent)) bits |= 1 << i;
    }
    let found = this.#applicable.get(bits);
    if (found === undefined) {
      const layers = this.#layers.filter((_, i) => (bits & (1 << i)) !== 0);
      found = {
        layers,
        output: layers.length === 0 ? OPEN_OUTPUT : strictestOutput(layers.map(({ policy }) => policy.output)),
        pins:
          layers.length === 0 ? { changes: 'deny', approvers: [] } : strictestPins(layers.map(({ policy }) => policy)),
      };
      this.#applicable.set(bits, found);
    }
    return found;
  }
}

function decisionOf(
  layer: Layer,
  answer: Answer,
  action: string,
  output: OutputRules,
  hits: Hits | undefined,
  answers: readonly Answer[],
): Decision {
  const { strictness, rule, isLimit } = answer;
  const matched = hits?.matched ?? NONE;
  const own = rule === null ? undefined : answer.hits?.matched[answer.hits.rules.indexOf(rule)];
  const reason = layer.reasonOf(answer, action, own);
  const name = rule === null ? null : rule.name;
  const limits = strictness === DENY || hits === undefined ? NONE : usesOf(hits.rules);
  if (strictness === ALLOW) return { effect: 'allow', rule: name, policy: layer.ref, matched, limits, output, reason };
  const effect = EFFECTS[strictness] as Effect;
  if (strictness === DENY) {
    const code = isLimit ? 'limit_exceeded' : 'policy_denied';
    return { effect, code, rule: name, policy: layer.ref, matched, limits, output, reason };
  }
  const approval = approvalOf(answer, answers);
  return {
    effect,
    code: 'approval_pending',
    rule: name,
    policy: layer.ref,
    matched,
    limits,
    ...(approval !== undefined && { approval }),
    output,
    reason,
  };
}

function usesOf(rules: readonly CompiledRule[]): readonly LimitUse[] {
  let uses: LimitUse[] | undefined;
  for (const { use } of rules) if (use !== undefined) (uses ??= []).push(use);
  return uses ?? NONE;
}

/** Approvers are named by the first layer that wants an approval; quorum and time are the strictest of all. */
function approvalOf(first: Answer, answers: readonly Answer[]): ApprovalNeed | undefined {
  const named = approvalOfLayer(first);
  if (named === undefined) return undefined;
  const all = (answers.length === 0 ? [first] : answers).filter(({ strictness }) => strictness === APPROVAL);
  const needs = all.flatMap(({ hits }) => hits?.rules.flatMap(({ approval }) => approval ?? []) ?? []);
  return {
    ...named,
    quorum: Math.max(...needs.map(({ quorum }) => quorum)),
    expiresMs: Math.min(...needs.map(({ expiresMs }) => expiresMs)),
  };
}

/** A rule of a parent names them before one of the policy itself, else the one that decided. */
const approvalOfLayer = ({ rule, hits }: Answer): ApprovalNeed | undefined =>
  (hits?.rules.find(({ approval, isInherited }) => approval !== undefined && isInherited) ?? rule)?.approval;

function mergedHits(answers: readonly Answer[]): Hits | undefined {
  const found = answers.flatMap(({ hits }) => hits ?? []);
  if (found.length <= 1) return found[0];
  return { rules: found.flatMap(({ rules }) => rules), matched: found.flatMap(({ matched }) => matched) };
}

function compileRule(rule: PolicyRule, order: number, policy: Policy, counted: string): CompiledRule {
  const { name, action, condition, limit, approval, document, isInherited } = rule;
  const fields = condition?.fields ?? [];
  const who = `Rule "${name}" of policy "${policy.name}"`;
  const why = rule.description === undefined ? '' : `: ${shortened(rule.description)}`;
  return {
    name,
    strictness: STRICTNESS[action],
    isImmutable: isInherited && action === 'deny',
    isInherited,
    priority: rule.priority,
    specificity: SCOPES.indexOf(rule.scope),
    order,
    evaluate: condition === null ? null : (context) => condition.evaluate(context),
    subjects: SUBJECTS.filter((subject) =>
      fields.some((field) => field === subject || field.startsWith(`${subject}.`) || field.startsWith(`${subject}[`)),
    ),
    agents: !isInherited || document.agents === null ? null : new Agents(document.agents),
    match: { policy: policy.name, rule: name, action, certain: true },
    use: limit && { policy: counted, rule: name, ...limit },
    approval: approval && { policy: policy.name, rule: name, ...approval },
    reason:
      action === 'deny'
        ? `${who} denies it${why}`
        : action === 'require_approval'
          ? `${who} wants an approval by ${approversText(approval)}${why}`
          : `${who} allows it`,
    limitReason: limit === undefined ? '' : `${who} allows ${limitText(limit)}, and they are used up; try again later`,
  };
}

/** Sentences are for people; whoever wants everything has the policy. */
const APPROVERS_NAMED_MAX = 4;
const DESCRIPTION_SHOWN_MAX = 280;
const BECAUSE_SHOWN_MAX = 1_000;

function shortened(description: string): string {
  const text = description.trim().replaceAll(/\s+/g, ' ');
  return text.length > DESCRIPTION_SHOWN_MAX ? `${text.slice(0, DESCRIPTION_SHOWN_MAX)}…` : text.replace(/\.$/, '');
}

function approversText(approval: PolicyRule['approval']): string {
  const { approvers = [], quorum = 1 } = approval ?? {};
  const more = approvers.length - APPROVERS_NAMED_MAX;
  const named = approvers.slice(0, APPROVERS_NAMED_MAX).join(', ');
  const who = approvers.length === 0 ? 'a sponsor' : more > 0 ? `${named} and ${more} more` : named;
  return quorum === 1 ? who : `${quorum} of ${who}`;
}

const UNIT_OF: Readonly<Record<number, string>> = {
  1_000: 'second',
  60_000: 'minute',
  3_600_000: 'hour',
  86_400_000: 'day',
};
/** As the document has it: "100/hour". */
export const limitText = ({ count, windowMs }: { readonly count: number; readonly windowMs: number }): string =>
  `${count}/${UNIT_OF[windowMs] ?? `${windowMs} ms`}`;
