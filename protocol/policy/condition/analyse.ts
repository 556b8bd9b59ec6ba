/**
 * What can be said of conditions without a request, for whoever checks policies. Certain where something is said: that a
 * condition is never true, always true, or true whenever another is. Silent where it would take more than comparing
 * literals: whether a set of conditions can be fulfilled is NP-hard.
 */
import { CONDITION_PROOF_STEPS_MAX } from '../../limits.ts';
import type { Condition } from './compile.ts';
import { type Formula, isWithin, type Literal, normalOf } from './normal.ts';
import type { Constant } from './syntax.ts';
import { compareTexts, isUnder } from './text.ts';

/** Why it is true of no request, where that is certain. */
export const isNeverTrue = (condition: Condition): string | undefined => knownOf(condition).neverBecause;

/** Certain that it is true of every request, and never unknown. */
export const isAlwaysTrue = (condition: Condition): boolean => knownOf(condition).isAlways;

/** Certain that `a` is true whenever `b` is. */
export function covers(a: Condition, b: Condition): boolean {
  const [wide, narrow] = [knownOf(a), knownOf(b)];
  if (wide.isAlways || narrow.neverBecause !== undefined) return true;
  // What most pairs of rules are: about different things.
  if (!isSubset(b.actionTypes, a.actionTypes) || !isSubset(b.toolNames, a.toolNames)) return false;
  return coversFormula(wide.formula, narrow.formula, { stepsLeft: CONDITION_PROOF_STEPS_MAX });
}

const isSubset = (a: ReadonlySet<string> | undefined, b: ReadonlySet<string> | undefined): boolean => {
  if (b === undefined || a === undefined) return b === undefined;
  for (const value of a) if (!b.has(value)) return false;
  return true;
};

interface Known {
  readonly formula: Formula;
  readonly neverBecause: string | undefined;
  readonly isAlways: boolean;
}
/** Found out when it is asked for, and once: rules are compared with all others. */
function knownOf(condition: Condition): Known {
  const before = known.get(condition);
  if (before !== undefined) return before;
  const formula = normalOf(condition.tree, condition.text);
  const neverBecause = neverTrue(formula, [], { stepsLeft: CONDITION_PROOF_STEPS_MAX });
  const found = { formula, neverBecause, isAlways: alwaysTrue(formula) };
  known.set(condition, found);
  return found;
}
const known = new WeakMap<Condition, Known>();

/** What a proof may take; when it is used up nothing more is certain. */
interface Effort {
  stepsLeft: number;
}
const isTooMuch = (effort: Effort): boolean => --effort.stepsLeft < 0;

// Never and always

const FALSE = 'it is false';

/** `given`: what else must be true. */
function neverTrue(formula: Formula, given: readonly Literal[], effort: Effort): string | undefined {
  if (isTooMuch(effort)) return undefined;
  if (isLiteral(formula)) return conflict(formula, given, effort);
  switch (formula.kind) {
    case 'boolean':
      return formula.value ? undefined : FALSE;
    case 'or': {
      const reasons = formula.items.map((item) => neverTrue(item, given, effort));
      return reasons.every((reason) => reason !== undefined) ? reasons[0] : undefined;
    }
    case 'and': {
      const items = flat(formula);
      if (items.some((item) => item.kind === 'boolean' && !item.value)) return FALSE;
      const literals = [...given];
      for (const item of items) {
        if (!isLiteral(item)) continue;
        const reason = conflict(item, literals, effort);
        if (reason !== undefined) return reason;
        literals.push(item);
      }
      for (const item of items) {
        const reason = item.kind === 'or' ? neverTrue(item, literals, effort) : undefined;
        if (reason !== undefined) return reason;
      }
      return undefined;
    }
  }
}

const isLiteral = (formula: Formula): formula is Literal =>
  formula.kind !== 'boolean' && formula.kind !== 'and' && formula.kind !== 'or';
const flat = (formula: Formula): readonly Formula[] =>
  formula.kind === 'and' ? formula.items.flatMap(flat) : [formula];

function conflict(literal: Literal, given: readonly Literal[], effort: Effort): string | undefined {
  if (literal.kind === 'values' && !literal.isNegated && literal.values.size === 0)
    return `"${literal.text}" is never true: nothing is in an empty list`;
  if (literal.kind === 'exists') {
    const reason = neverTrue(literal.body, [], effort);
    if (reason !== undefined) return reason;
  }
  const others = given.filter(
    (other) => other.subject === literal.subject || other.kind === 'has' || literal.kind === 'has',
  );
  for (const other of others) {
    if (isTooMuch(effort)) return undefined;
    if (areOfTwoTypes(literal, other) || excludes(literal, other, effort) || excludes(other, literal, effort))
      return `"${other.text}" and "${literal.text}" are not true together`;
  }
  // Values of which each of the others leaves some, but no two the same.
  const same = [...others.filter(({ subject }) => subject === literal.subject), literal];
  const finite = same.find((other) => other.kind === 'values' && !other.isNegated);
  if (finite?.kind !== 'values' || same.length < 2) return undefined;
  effort.stepsLeft -= finite.values.size * same.length;
  if (effort.stepsLeft < 0) return undefined;
  const isLeft = [...finite.values].some((value) => same.every((other) => isTrueOf(value, other)));
  return isLeft ? undefined : `${same.map(({ text }) => `"${text}"`).join(' and ')} are not true together`;
}

/** True of texts alone, and of numbers alone. */
function areOfTwoTypes(a: Literal, b: Literal): boolean {
  const [typeOfA, typeOfB] = [typeOf(a), typeOf(b)];
  return a.subject === b.subject && typeOfA !== undefined && typeOfB !== undefined && typeOfA !== typeOfB;
}
function typeOf(literal: Literal): string | undefined {
  if (literal.kind === 'bound') return typeof literal.limit;
  return literal.kind === 'text' || literal.kind === 'under' ? 'string' : undefined;
}

function excludes(a: Literal, b: Literal, effort: Effort): boolean {
  const negated = negationOf(b);
  return negated !== undefined && implies(a, negated, effort);
}

/** What is true where it is false; undefined where literals have no word for it. */
function negationOf(literal: Literal): Literal | undefined {
  if (literal.kind === 'bound') return { ...literal, isUpper: !literal.isUpper, isStrict: !literal.isStrict };
  return 'isNegated' in literal ? { ...literal, isNegated: !literal.isNegated } : undefined;
}

/** There in every request, by the type of a context. */
const ALWAYS_THERE: ReadonlySet<string> = new Set([
  'action',
  'action.type',
  'agent',
  'agent.did',
  'agent.organisation',
  'time',
  'time.iso',
  'time.unix',
  'time.hour',
  'time.weekday',
]);

function alwaysTrue(formula: Formula): boolean {
  if (isLiteral(formula)) return formula.kind === 'has' && !formula.isNegated && ALWAYS_THERE.has(formula.subject);
  switch (formula.kind) {
    case 'boolean':
      return formula.value;
    case 'and':
      return formula.items.every(alwaysTrue);
    case 'or':
      return formula.items.some(alwaysTrue);
  }
}

// Covering

function coversFormula(a: Formula, b: Formula, effort: Effort): boolean {
  if (isTooMuch(effort)) return false;
  if (alwaysTrue(a) || neverTrue(b, [], effort) !== undefined) return true;
  if (b.kind === 'or') return b.items.every((item) => coversFormula(a, item, effort));
  if (a.kind === 'and') return a.items.every((item) => coversFormula(item, b, effort));
  if (a.kind === 'or' && a.items.some((item) => coversFormula(item, b, effort))) return true;
  if (b.kind === 'and') return b.items.some((item) => coversFormula(a, item, effort));
  return isLiteral(a) && isLiteral(b) && implies(b, a, effort);
}

/** Certain that `q` is true where `p` is. */
function implies(p: Literal, q: Literal, effort: Effort): boolean {
  if (q.kind === 'has')
    return q.isNegated
      ? p.kind === 'has' && p.isNegated && isWithin(q.subject, p.subject)
      : p.needs.some((need) => isWithin(need, q.subject));
  if (p.subject !== q.subject) return false;
  if (p.kind === 'exists' || p.kind === 'all') return p.kind === q.kind && coversFormula(q.body, p.body, effort);
  if (p.kind === 'values' && !p.isNegated) {
    effort.stepsLeft -= p.values.size;
    return effort.stepsLeft >= 0 && [...p.values].every((value) => isTrueOf(value, q));
  }
  if (q.kind === 'values') return q.isNegated && isOutside(p, q.values);
  switch (p.kind) {
    case 'bound':
      return q.kind === 'bound' && isBoundWithin(p, q);
    case 'text':
      return q.kind === 'text' && isTextWithin(p, q);
    case 'under':
      return q.kind === 'under' && isDirectoryWithin(p, q);
    case 'other':
      return q.kind === 'other' && p.isNegated === q.isNegated;
    case 'values':
    case 'has':
      return false;
  }
}

/** Whether the literal is true (not unknown) where its subject is that value. */
function isTrueOf(value: Constant, literal: Literal): boolean {
  switch (literal.kind) {
    case 'values':
      return literal.isNegated
        ? !literal.values.has(value) && [...literal.values].every((other) => isComparable(value, other))
        : literal.values.has(value);
    case 'bound': {
      const difference = differenceOf(value, literal.limit);
      if (difference === undefined) return false;
      return difference === 0 ? !literal.isStrict : difference < 0 === literal.isUpper;
    }
    case 'text':
      return typeof value === 'string' && hasPart(value, literal) !== literal.isNegated;
    case 'under':
      return typeof value === 'string' && isUnder(value, literal.directory) === !literal.isNegated;
    case 'has':
      return !literal.isNegated;
    case 'exists':
    case 'all':
    case 'other':
      return false;
  }
}

const isComparable = (a: Constant, b: Constant): boolean => a === null || b === null || typeof a === typeof b;

function differenceOf(a: Constant, b: Constant): number | undefined {
  if (typeof a === 'number' && typeof b === 'number') return a - b;
  return typeof a === 'string' && typeof b === 'string' ? compareTexts(a, b) : undefined;
}

function hasPart(value: string, { op, part }: Literal & { readonly kind: 'text' }): boolean {
  if (op === 'contains') return value.includes(part);
  return op === 'startsWith' ? value.startsWith(part) : value.endsWith(part);
}

/** Where `p` is true, its subject is none of the values, and of a type that compares with them. */
function isOutside(p: Literal, values: ReadonlySet<Constant>): boolean {
  if (p.kind === 'values') return [...values].every((value) => p.values.has(value));
  const type = p.kind === 'bound' ? typeof p.limit : p.kind === 'text' || p.kind === 'under' ? 'string' : undefined;
  if (type === undefined) return false;
  return [...values].every((value) => value === null || (typeof value === type && !isTrueOf(value, p)));
}

function isBoundWithin(p: Literal & { readonly kind: 'bound' }, q: Literal & { readonly kind: 'bound' }): boolean {
  const difference = differenceOf(p.limit, q.limit);
  if (p.isUpper !== q.isUpper || difference === undefined) return false;
  return difference === 0 ? p.isStrict || !q.isStrict : difference < 0 === p.isUpper;
}

type TextLiteral = Literal & { readonly kind: 'text' };
function isTextWithin(p: TextLiteral, q: TextLiteral): boolean {
  if (p.isNegated) return q.isNegated && isPartWithin(q, p);
  if (!q.isNegated) return isPartWithin(p, q);
  // Two ends of one text, neither of which is an end of the other.
  return p.op === q.op && p.op !== 'contains' && !hasPart(p.part, q) && !hasPart(q.part, p);
}

/** Every text that passes `p` passes `q`, negations left aside. */
const isPartWithin = (p: TextLiteral, q: TextLiteral): boolean =>
  (q.op === 'contains' || p.op === q.op) && hasPart(p.part, q);

type UnderLiteral = Literal & { readonly kind: 'under' };
function isDirectoryWithin(p: UnderLiteral, q: UnderLiteral): boolean {
  if (p.isNegated) return q.isNegated && isInDirectory(q.directory, p.directory);
  if (!q.isNegated) return isInDirectory(p.directory, q.directory);
  return !isInDirectory(p.directory, q.directory) && !isInDirectory(q.directory, p.directory);
}
const isInDirectory = (directory: string, outer: string): boolean =>
  directory === outer || directory.startsWith(`${outer}/`);
