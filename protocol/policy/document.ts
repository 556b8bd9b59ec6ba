/** A policy document, read (SPEC "Policies"): what a YAML text says, before what it extends is added. */
import { isMeshError, type MeshError } from '../errors.ts';
import {
  APPROVAL_MS_DEFAULT,
  APPROVAL_MS_MAX,
  APPROVAL_MS_MIN,
  APPROVAL_QUORUM_MAX,
  APPROVERS_MAX,
  CONTACT_TEXT_MAX,
  LIMIT_COUNT_MAX,
  OUTPUT_BYTES_MAX,
  POLICY_AGENTS_MAX,
  POLICY_DESCRIPTION_TEXT_MAX,
  POLICY_EXTERNAL_MAX,
  POLICY_EXTERNAL_MS_DEFAULT,
  POLICY_EXTERNAL_MS_MAX,
  POLICY_FILES_MAX,
  POLICY_NAME_TEXT_MAX,
  POLICY_PRIORITY_MAX,
  POLICY_REFERENCE_TEXT_MAX,
  POLICY_RULE_NAME_TEXT_MAX,
  POLICY_RULES_MAX,
} from '../limits.ts';
import { type Condition, compileCondition } from './condition/compile.ts';
import {
  OUTPUT_ACTIONS,
  type OutputRules,
  PIN_ACTIONS,
  type PinAction,
  RULE_ACTIONS,
  type RuleAction,
} from './decision.ts';
import { type Item, type Place, YamlReader } from './yaml.ts';

export const SCOPES = ['global', 'organisation', 'agent'] as const;
export type Scope = (typeof SCOPES)[number];
export const CONFLICTS = ['deny_overrides', 'allow_overrides', 'priority_first_match', 'most_specific_wins'] as const;
export type Conflict = (typeof CONFLICTS)[number];
export type DefaultEffect = 'allow' | 'deny';

export interface Rule {
  readonly name: string;
  readonly description?: string;
  /** As it is written; null: always. */
  readonly conditionText: string | null;
  readonly condition: Condition | null;
  readonly action: RuleAction;
  readonly limit?: { readonly count: number; readonly windowMs: number };
  readonly approval?: { readonly approvers: readonly string[]; readonly quorum: number; readonly expiresMs: number };
  readonly priority: number;
  readonly isEnabled: boolean;
  readonly scope: Scope;
  readonly place: Place;
  /** Of a letter of the condition, by its offset in `conditionText`. */
  readonly placeOf: (offset: number) => Place;
}

/** What is done about tools that are not those that were seen first, and who may say that they are right. */
export interface PinRules {
  readonly changes: PinAction;
  /** Empty: any sponsor. */
  readonly approvers: readonly string[];
}

export interface ExternalPoint {
  readonly name: string;
  readonly type: 'cedar' | 'opa';
  /** Cedar: texts of the files that the document names. */
  readonly policies?: string;
  readonly entities?: string;
  /** OPA: of a document of its data API. */
  readonly url?: string;
  readonly timeoutMs: number;
}

/** An external point as it is written: files are references still. */
interface ExternalEntry extends Omit<ExternalPoint, 'policies' | 'entities'> {
  readonly policies?: Reference;
  readonly entities?: Reference;
}

export interface Reference {
  readonly text: string;
  readonly invalid: (what: string) => MeshError;
}

export interface PolicyDocument {
  readonly name: string;
  /** As people know the text: its file, or its name. */
  readonly file: string;
  readonly description?: string;
  /** Names and DIDs; null: every agent. */
  readonly agents: readonly string[] | null;
  readonly scope: Scope;
  readonly default?: { readonly effect: DefaultEffect; readonly item: Reference };
  readonly conflict?: Conflict;
  readonly references: readonly Reference[];
  readonly rules: readonly Rule[];
  readonly output: Partial<OutputRules>;
  readonly pins?: PinRules;
  readonly external: readonly ExternalEntry[];
  readonly text: string;
}

const DOCUMENT_KEYS = [
  'version',
  'name',
  'description',
  'agent',
  'agents',
  'scope',
  'default',
  'conflict',
  'extends',
  'rules',
  'output',
  'tools',
  'external',
] as const;
const RULE_KEYS = [
  'name',
  'description',
  'condition',
  'action',
  'limit',
  'approvers',
  'quorum',
  'expires',
  'priority',
  'enabled',
  'scope',
] as const;
const OUTPUT_KEYS = ['secrets', 'pii', 'phi', 'cards', 'instructions', 'invisible', 'max_bytes'] as const;

/** Errors: policy_invalid, with line and column. */
export function parseDocument(text: string, given: { readonly name: string; readonly file?: string }): PolicyDocument {
  const file = given.file ?? given.name;
  const reader = new YamlReader(text, file);
  const members = reader.members(reader.root, DOCUMENT_KEYS, 'a policy');
  const version = requiredItem(reader, members.version, 'version', 'version: "1.0"');
  const { value, source } = reader.scalar(version) ?? {};
  if (value !== '1.0' && !(value === 1 && source === '1.0'))
    throw reader.invalid(version, `"version" is ${JSON.stringify(value) ?? 'no text'}, want "1.0"`);
  if (members.agent !== undefined && members.agents !== undefined)
    throw reader.invalid(members.agents, '"agents" stands beside "agent", want one of them');

  const agents = agentsOf(reader, members.agent, members.agents);
  const scope = members.scope === undefined ? undefined : reader.oneOf(members.scope, SCOPES);
  const ownScope = scope ?? (agents === null ? 'organisation' : 'agent');
  const effect = members.default === undefined ? undefined : reader.oneOf(members.default, ['allow', 'deny']);
  const conflict = members.conflict === undefined ? undefined : reader.oneOf(members.conflict, CONFLICTS);
  const pins = members.tools === undefined ? undefined : pinsOf(reader, members.tools);
  return {
    name: members.name === undefined ? given.name : nameOf(reader, members.name),
    file,
    ...descriptionOf(reader, members.description),
    agents,
    scope: ownScope,
    ...(effect !== undefined &&
      members.default !== undefined && { default: { effect, item: referenceTo(reader, members.default, effect) } }),
    ...(conflict !== undefined && { conflict }),
    references: members.extends === undefined ? [] : referencesOf(reader, members.extends),
    rules: members.rules === undefined ? [] : rulesOf(reader, members.rules, ownScope),
    output: members.output === undefined ? {} : outputOf(reader, members.output),
    ...(pins !== undefined && { pins }),
    external: members.external === undefined ? [] : externalOf(reader, members.external),
    text,
  };
}

function requiredItem(reader: YamlReader, item: Item | undefined, key: string, want: string, of?: Item): Item {
  if (item !== undefined) return item;
  const parent = of ?? reader.root;
  throw reader.invalid({ ...parent, path: key }, `"${key}" is missing, want ${want}`);
}

/** What is shown in lists and stands in the log: no white space at the ends, nothing that people do not see. */
const isShown = (text: string, max: number): boolean =>
  text.length > 0 && text.length <= max && text.trim() === text && !/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u.test(text);

const nameOf = (reader: YamlReader, item: Item, max = POLICY_NAME_TEXT_MAX): string =>
  reader.text(item, `a text of 1 to ${max} visible letters`, (text) => isShown(text, max));

const descriptionOf = (reader: YamlReader, item: Item | undefined): { description?: string } =>
  item === undefined
    ? {}
    : {
        description: reader.text(
          item,
          `a text of at most ${POLICY_DESCRIPTION_TEXT_MAX} letters`,
          (text) => text.length <= POLICY_DESCRIPTION_TEXT_MAX,
        ),
      };

/** A text or a list of different ones. */
function textsOf(
  reader: YamlReader,
  item: Item,
  { want, max, isRight }: { want: string; max: number; isRight: (text: string) => boolean },
): [string, Item][] {
  const found: [string, Item][] = [];
  for (const each of reader.items(item, `a list of ${want}s`, max)) {
    const text = reader.text(each, `a ${want}`, isRight);
    if (found.some(([before]) => before === text)) throw reader.invalid(each, `"${each.path}" is "${text}" again`);
    found.push([text, each]);
  }
  if (found.length === 0) throw reader.invalid(item, `"${item.path}" is empty, want at least one ${want}`);
  return found;
}

const isAgent = (text: string): boolean => text === '*' || (isShown(text, POLICY_NAME_TEXT_MAX) && !text.includes('*'));
const AGENT = 'name or DID of an agent, or "*"';

function agentsOf(reader: YamlReader, agent: Item | undefined, agents: Item | undefined): readonly string[] | null {
  const named =
    agent !== undefined
      ? [reader.text(agent, `the ${AGENT}`, isAgent)]
      : agents !== undefined
        ? textsOf(reader, agents, { want: AGENT, max: POLICY_AGENTS_MAX, isRight: isAgent }).map(([text]) => text)
        : null;
  return named === null || named.includes('*') ? null : named;
}

const approversOf = (reader: YamlReader, item: Item): readonly string[] =>
  textsOf(reader, item, {
    want: 'DID, contact or group',
    max: APPROVERS_MAX,
    isRight: (text) => isShown(text, CONTACT_TEXT_MAX),
  }).map(([text]) => text);

const referenceTo = (reader: YamlReader, item: Item, text: string): Reference => ({
  text,
  invalid: (what) => reader.invalid(item, what),
});

const isReference = (text: string): boolean => text.length > 0 && text.length <= POLICY_REFERENCE_TEXT_MAX;

function referencesOf(reader: YamlReader, item: Item): Reference[] {
  const want = 'relative path, or "agentmesh:" and a name';
  const found: [string, Item][] = reader.isList(item)
    ? textsOf(reader, item, { want, max: POLICY_FILES_MAX, isRight: isReference })
    : [[reader.text(item, `a ${want}`, isReference), item]];
  return found.map(([text, each]) => referenceTo(reader, each, text));
}

function rulesOf(reader: YamlReader, item: Item, scope: Scope): Rule[] {
  const rules: Rule[] = [];
  const places = new Map<string, number>();
  for (const each of reader.items(item, 'a list of rules', POLICY_RULES_MAX)) {
    const rule = ruleOf(reader, each, scope);
    const before = places.get(rule.name);
    if (before !== undefined)
      throw reader.invalid(each, `rule "${rule.name}" is there already, on line ${before}, want names that differ`);
    places.set(rule.name, rule.place.line);
    rules.push(rule);
  }
  return rules;
}

function ruleOf(reader: YamlReader, item: Item, scope: Scope): Rule {
  const members = reader.members(item, RULE_KEYS, 'a rule');
  const name = nameOf(
    reader,
    requiredItem(reader, members.name, `${item.path}.name`, 'a name for the rule', item),
    POLICY_RULE_NAME_TEXT_MAX,
  );
  const { condition: conditionItem } = members;
  const [conditionText, condition] =
    conditionItem === undefined ? [null, null] : conditionOf(reader, conditionItem, name);
  const action = actionOf(reader, item, members.action, members.limit, name);
  const limit = members.limit === undefined ? undefined : limitOf(reader, members.limit);
  if (limit !== undefined && members.limit !== undefined && ['deny', 'warn', 'log'].includes(action))
    throw reader.invalid(
      members.limit,
      `rule "${name}" has a limit beside action "${action}", want a limit with allow, require_approval or limit`,
    );
  for (const key of ['approvers', 'quorum', 'expires'] as const) {
    const stray = members[key];
    if (stray !== undefined && action !== 'require_approval')
      throw reader.invalid(
        stray,
        `rule "${name}" has "${key}" beside action "${action}", want action require_approval`,
      );
  }
  const approval = action === 'require_approval' ? approvalOf(reader, members) : undefined;
  return {
    name,
    ...descriptionOf(reader, members.description),
    conditionText,
    condition,
    action,
    ...(limit !== undefined && { limit }),
    ...(approval !== undefined && { approval }),
    priority:
      members.priority === undefined ? 0 : reader.integer(members.priority, -POLICY_PRIORITY_MAX, POLICY_PRIORITY_MAX),
    isEnabled: members.enabled === undefined || reader.boolean(members.enabled),
    scope: members.scope === undefined ? scope : reader.oneOf(members.scope, SCOPES),
    place: reader.place(item),
    placeOf: (offset) => (conditionItem === undefined ? reader.place(item) : reader.placeWithin(conditionItem, offset)),
  };
}

function approvalOf(
  reader: YamlReader,
  { approvers, quorum, expires }: { readonly approvers?: Item; readonly quorum?: Item; readonly expires?: Item },
): NonNullable<Rule['approval']> {
  return {
    approvers: approvers === undefined ? [] : approversOf(reader, approvers),
    quorum: quorum === undefined ? 1 : reader.integer(quorum, 1, APPROVAL_QUORUM_MAX),
    expiresMs:
      expires === undefined ? APPROVAL_MS_DEFAULT : durationOf(reader, expires, APPROVAL_MS_MIN, APPROVAL_MS_MAX),
  };
}

function actionOf(
  reader: YamlReader,
  rule: Item,
  action: Item | undefined,
  limit: Item | undefined,
  name: string,
): RuleAction {
  if (action === undefined && limit === undefined)
    throw reader.invalid(
      rule,
      `rule "${name}" has neither action nor limit, want an action: ${RULE_ACTIONS.join(', ')}`,
    );
  if (action === undefined) return 'limit';
  const found = reader.oneOf(action, RULE_ACTIONS);
  if (found === 'limit' && limit === undefined)
    throw reader.invalid(action, `rule "${name}" has action "limit" and no limit, want one like limit: "100/hour"`);
  return found;
}

function conditionOf(reader: YamlReader, item: Item, rule: string): [string, Condition] {
  const text = reader.text(item, 'a condition in quotes', () => true);
  try {
    return [text, compileCondition(text)];
  } catch (cause) {
    if (!isMeshError(cause) || cause.code !== 'policy_invalid') throw cause;
    const { offset, is, want } = cause.data;
    const what = is === undefined ? cause.message : `it is ${String(is)}, want ${String(want)}`;
    throw reader.invalidWithin(
      item,
      typeof offset === 'number' ? offset : 0,
      `in the condition of rule "${rule}": ${what}`,
    );
  }
}

const WINDOWS_MS = { second: 1_000, minute: 60_000, hour: 3_600_000, day: 86_400_000 } as const;

function limitOf(reader: YamlReader, item: Item): NonNullable<Rule['limit']> {
  const want = `a text like "100/hour": 1 to ${LIMIT_COUNT_MAX}, and second, minute, hour or day`;
  const text = reader.text(item, want, (value) => LIMIT.test(value) && Number.parseInt(value, 10) <= LIMIT_COUNT_MAX);
  const [, count, unit] = LIMIT.exec(text) ?? [];
  return { count: Number(count), windowMs: WINDOWS_MS[unit as keyof typeof WINDOWS_MS] };
}
const LIMIT = /^([1-9][0-9]{0,9})\/(second|minute|hour|day)$/;

const UNITS_MS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
const DURATION = /^([1-9][0-9]{0,8})(ms|s|m|h|d)$/;

function durationOf(reader: YamlReader, item: Item, minMs: number, maxMs: number): number {
  const msOf = (text: string): number => {
    const [, count, unit] = DURATION.exec(text) ?? [];
    return Number(count) * UNITS_MS[unit as keyof typeof UNITS_MS]; // NaN where it is none
  };
  const want = `a time like "500ms", "30s", "15m", "2h" or "1d", from ${minMs / 1000} s to ${maxMs / 1000} s`;
  return msOf(reader.text(item, want, (text) => msOf(text) >= minMs && msOf(text) <= maxMs));
}

function outputOf(reader: YamlReader, item: Item): Partial<OutputRules> {
  const { max_bytes, ...members } = reader.members(item, OUTPUT_KEYS, '"output"');
  return {
    ...Object.fromEntries(Object.entries(members).map(([key, each]) => [key, reader.oneOf(each, OUTPUT_ACTIONS)])),
    ...(max_bytes !== undefined && { bytesMax: reader.integer(max_bytes, 1, OUTPUT_BYTES_MAX) }),
  };
}

function pinsOf(reader: YamlReader, item: Item): PinRules {
  const members = reader.members(item, ['changes', 'approvers'], '"tools"');
  const changes = reader.oneOf(
    requiredItem(reader, members.changes, 'tools.changes', `one of ${PIN_ACTIONS.join(', ')}`, item),
    PIN_ACTIONS,
  );
  if (members.approvers !== undefined && changes !== 'approve')
    throw reader.invalid(
      members.approvers,
      `"tools" has approvers beside "changes: ${changes}", want "changes: approve"`,
    );
  return { changes, approvers: members.approvers === undefined ? [] : approversOf(reader, members.approvers) };
}

function externalOf(reader: YamlReader, item: Item): ExternalEntry[] {
  const found: ExternalEntry[] = [];
  for (const each of reader.items(item, 'a list of decision points', POLICY_EXTERNAL_MAX)) {
    const point = externalPoint(reader, each);
    if (found.some(({ name }) => name === point.name)) throw reader.invalid(each, `"${point.name}" is there already`);
    found.push(point);
  }
  return found;
}

function externalPoint(reader: YamlReader, item: Item): ExternalEntry {
  const keys = ['name', 'type', 'policies', 'entities', 'url', 'timeout'] as const;
  const members = reader.members(item, keys, 'a decision point');
  const need = (key: (typeof keys)[number], want: string): Item =>
    requiredItem(reader, members[key], `${item.path}.${key}`, want, item);
  const name = nameOf(reader, need('name', 'a name'));
  const type = reader.oneOf(need('type', 'cedar or opa'), ['cedar', 'opa']);
  for (const key of type === 'cedar' ? (['url'] as const) : (['policies', 'entities'] as const)) {
    const stray = members[key];
    if (stray !== undefined) throw reader.invalid(stray, `"${stray.path}" stands at a point of type "${type}"`);
  }
  const timeoutMs =
    members.timeout === undefined
      ? POLICY_EXTERNAL_MS_DEFAULT
      : durationOf(reader, members.timeout, 1, POLICY_EXTERNAL_MS_MAX);
  if (type === 'opa') {
    const url = reader.text(need('url', 'an http or https URL'), 'an http or https URL', isHttpUrl);
    return { name, type, url, timeoutMs };
  }
  const fileOf = (key: Item): Reference => referenceTo(reader, key, reader.text(key, 'a relative path', isReference));
  return {
    name,
    type,
    policies: fileOf(need('policies', 'the file of its policies')),
    ...(members.entities !== undefined && { entities: fileOf(members.entities) }),
    timeoutMs,
  };
}

const isHttpUrl = (text: string): boolean =>
  text.length <= POLICY_REFERENCE_TEXT_MAX &&
  /^https?:\/\/[^\s/@#]+(\/[^\s#]*)?$/.test(text) && // no user or password: this text is shown and logged
  URL.canParse(text);
