/**
 * A condition as `and` and `or` over literals, with every `not` pushed down to them, where De Morgan's laws hold with
 * three values as well. It is true exactly where the condition is; where it is not, it may be false instead of unknown.
 */
import { canonicalName, canonicalPart } from '../names.ts';
import { evaluatorOf, partsOf } from './compile.ts';
import type { Constant } from './syntax.ts';
import type { Node, Operand, Step, TextTest } from './tree.ts';

export type Formula =
  | { readonly kind: 'boolean'; readonly value: boolean }
  | { readonly kind: 'and' | 'or'; readonly items: readonly Formula[] }
  | Literal;

interface About {
  /** What it looks at, written in one way; literals that look at different things say nothing of each other. */
  readonly subject: string;
  /** Fields without which it is not true. */
  readonly needs: readonly string[];
  /** As it is written, for people. */
  readonly text: string;
}
export type Literal = About &
  (
    | { readonly kind: 'values'; readonly isNegated: boolean; readonly values: ReadonlySet<Constant> }
    | {
        readonly kind: 'bound';
        readonly isUpper: boolean;
        readonly isStrict: boolean;
        readonly limit: number | string;
      }
    | { readonly kind: 'text'; readonly isNegated: boolean; readonly op: TextTest; readonly part: string }
    | { readonly kind: 'under'; readonly isNegated: boolean; readonly directory: string }
    | { readonly kind: 'has'; readonly isNegated: boolean }
    | { readonly kind: 'exists' | 'all'; readonly body: Formula }
    /** Equal to what has the same subject, and nothing else is known of it. */
    | { readonly kind: 'other'; readonly isNegated: boolean }
  );

/** `text`: of the condition that the node is of. */
export function normalOf(node: Node, text: string, isNegated = false): Formula {
  if (node.kind === 'not') return normalOf(node.of, text, !isNegated);
  if (node.kind === 'and' || node.kind === 'or') {
    const items = node.items.map((item) => normalOf(item, text, isNegated));
    return (node.kind === 'and') === isNegated ? anyOf(items) : { kind: 'and', items };
  }
  if (isConstant(node)) {
    const truth = evaluatorOf(node, text)(NO_CONTEXT);
    if (typeof truth === 'boolean') return { kind: 'boolean', value: truth !== isNegated };
  }
  return literalOf(node, text, isNegated);
}

/** `x == 'a' or x == 'b'` as `x in ['a', 'b']`. */
function anyOf(items: readonly Formula[]): Formula {
  const merged: Formula[] = [];
  for (const item of items) {
    const at = merged.findIndex((other) => isValues(other) && isValues(item) && other.subject === item.subject);
    const other = merged[at];
    if (isValues(item) && other !== undefined && isValues(other))
      merged[at] = {
        ...other,
        values: new Set([...other.values, ...item.values]),
        text: `${other.text} or ${item.text}`,
      };
    else merged.push(item);
  }
  const [only] = merged;
  return merged.length === 1 && only !== undefined ? only : { kind: 'or', items: merged };
}
const isValues = (formula: Formula): formula is Literal & { readonly kind: 'values' } =>
  formula.kind === 'values' && !formula.isNegated;

/** Nothing of it is read where a condition has no field. */
const NO_CONTEXT = {
  action: { type: '' },
  agent: { did: '', organisation: '' },
  time: { iso: '', unix: 0, hour: 0, weekday: 1 },
};
const isConstant = (operand: Operand): boolean => operand.kind !== 'path' && partsOf(operand).every(isConstant);

function literalOf(leaf: Node, text: string, isNegated: boolean): Literal {
  const written = text.slice(leaf.start, leaf.end);
  const about = (operand: Operand): About => ({
    subject: keyOf(operand),
    needs: needsOf(operand),
    text: isNegated ? `not ${written}` : written,
  });
  const other = (): Literal => ({ kind: 'other', isNegated, ...about(leaf) });
  switch (leaf.kind) {
    case 'holds': // unknown unless it is a boolean
      return { kind: 'values', isNegated: false, values: new Set([!isNegated]), ...about(leaf.of) };
    case 'has': {
      const { subject, ...rest } = about(leaf.of);
      return { kind: 'has', isNegated, subject, ...rest, needs: isNegated ? [] : rest.needs };
    }
    case 'under':
      return { kind: 'under', isNegated, directory: leaf.directory, ...about(leaf.left) };
    case 'text': {
      const { left, right, op } = leaf;
      if (right.kind !== 'constant' || typeof right.value !== 'string') return other();
      const part = leaf.isOfNames ? canonicalPart(right.value) : right.value;
      return { kind: 'text', isNegated, op, part, ...about(left) };
    }
    case 'in': {
      const { left, right } = leaf;
      if (right.kind !== 'list') return other();
      const values = canonicalValues(right.values, leaf.isOfNames);
      return { kind: 'values', isNegated: leaf.isNegated !== isNegated, values, ...about(left) };
    }
    case 'relation':
      return relationOf(leaf, isNegated, about) ?? other();
    case 'exists':
    case 'all': {
      const kind = (leaf.kind === 'exists') === isNegated ? 'all' : 'exists';
      return { kind, body: normalOf(leaf.body, text, isNegated), ...about(leaf.of) };
    }
    case 'and':
    case 'boolean':
    case 'matches':
    case 'not':
    case 'or':
      return other();
  }
}

const canonicalValues = (values: readonly Constant[], isOfNames: boolean): Set<Constant> =>
  new Set(values.map((value) => (isOfNames && typeof value === 'string' ? canonicalName(value) : value)));

function relationOf(
  { op, isOfNames, left, right }: Node & { readonly kind: 'relation' },
  isNegated: boolean,
  about: (operand: Operand) => About,
): Literal | undefined {
  const isFlipped = left.kind === 'constant';
  const [subject, constant] = isFlipped ? [right, left] : [left, right];
  if (constant.kind !== 'constant') return undefined;
  const [value] = canonicalValues([constant.value], isOfNames);
  if (value === undefined) return undefined;
  if (op === '==' || op === '!=')
    return { kind: 'values', isNegated: (op === '!=') !== isNegated, values: new Set([value]), ...about(subject) };
  if (typeof value !== 'number' && typeof value !== 'string') return undefined;
  const isUpper = op.startsWith('<') !== isFlipped;
  const isStrict = op.length === 1;
  return {
    kind: 'bound',
    isUpper: isUpper !== isNegated,
    isStrict: isStrict !== isNegated,
    limit: value,
    ...about(subject),
  };
}

/** The same for what is the same, however it is written: `tool['name']`, and whatever a macro calls its elements. */
function keyOf(operand: Operand): string {
  if (operand.kind === 'path') return pathKey(operand.root, operand.steps);
  const { start: _start, end: _end, ...rest } = operand;
  const own = Object.entries(rest).map(([name, value]: [string, unknown]) => {
    if (isOperand(value)) return [name, keyOf(value)];
    if (Array.isArray(value)) return [name, value.map((item: unknown) => (isOperand(item) ? keyOf(item) : item))];
    return [name, name === 'pattern' && typeof value === 'object' ? { ...value } : value];
  });
  return JSON.stringify(own);
}
const isOperand = (value: unknown): value is Operand =>
  typeof value === 'object' && value !== null && 'kind' in value && 'start' in value;

const pathKey = (root: string | number, steps: readonly Step[]): string =>
  [`${root}`, ...steps.map((step) => JSON.stringify(step))].join('\n');

/** Keys of the fields that it looks at, as far as they must be there. Elements of a list are there if it is. */
function needsOf(operand: Operand): readonly string[] {
  if (operand.kind === 'path') return typeof operand.root === 'string' ? [pathKey(operand.root, operand.steps)] : [];
  if (operand.kind === 'and' || operand.kind === 'or' || operand.kind === 'has') return [];
  if (operand.kind === 'exists' || operand.kind === 'all') return needsOf(operand.of);
  return partsOf(operand).flatMap(needsOf);
}

/** Whether the one field is the other, or inside it: then it is missing where the other is. */
export const isWithin = (key: string, outer: string): boolean => {
  if (key === outer || key.startsWith(`${outer}\n`)) return true;
  return !outer.includes('\n') && key.startsWith(`${outer}.`);
};
