/**
 * From the tree of a condition to a function (SPEC "Policy conditions"). Logic has three values, as Kleene's: what
 * cannot be told is neither true nor false, and whoever asks decides on which side that is safe.
 */
import { CONDITION_STEPS_MAX } from '../../limits.ts';
import type { PolicyContext } from '../context.ts';
import { canonicalName, canonicalPart } from '../names.ts';
import { parseCondition } from './check.ts';
import { type FieldName, FIELDS, isText } from './fields.ts';
import { type IndexedSets, indexOf } from './index-of.ts';
import type { Constant, Relation } from './syntax.ts';
import { compareTexts, isInside, isUnder, textSize } from './text.ts';
import { isNode, type Node, type Operand, type Path, type Step, type TextTest } from './tree.ts';

/** Neither true nor false. */
export class Unknown {
  /** What is missing, or which operation failed. */
  readonly because: string;
  constructor(because: string) {
    this.because = because;
  }
}
export type Truth = boolean | Unknown;

export const isUnknown = (truth: Truth): truth is Unknown => typeof truth === 'object';

export interface Condition extends IndexedSets {
  readonly text: string;
  readonly tree: Node;
  /** Fields that it looks at, each once, as `tool.arguments.amount`. */
  readonly fields: readonly string[];
  /** Keeps nothing of the context. */
  evaluate(context: PolicyContext): Truth;
}

/** Errors: policy_invalid, whose data has line, column (from 1) and offset within the text. */
export function compileCondition(text: string): Condition {
  const tree = parseCondition(text);
  const { actionTypes, toolNames } = indexOf(tree);
  return { text, tree, fields: [...fieldsOf(tree)], evaluate: evaluatorOf(tree, text), actionTypes, toolNames };
}

/** What one evaluation counts and binds. */
interface Run {
  stepsLeft: number;
  /** Of macros, by depth. */
  readonly elements: unknown[];
}
type Test = (context: PolicyContext, run: Run) => Truth;
/** Undefined: missing. An Unknown where what it is made of is missing or wrong. */
type Read = (context: PolicyContext, run: Run) => unknown;

const TOO_MUCH = new Unknown(`it takes more than ${CONDITION_STEPS_MAX} steps`);
const isSpent = (run: Run, steps: number): boolean => (run.stepsLeft -= steps) < 0;
const LETTERS_A_STEP = 16;
const isSpentOn = (run: Run, text: string): boolean => isSpent(run, text.length / LETTERS_A_STEP);

export function evaluatorOf(tree: Node, text: string): (context: PolicyContext) => Truth {
  const test = new Compiler(text).test(tree);
  const run: Run = { stepsLeft: 0, elements: [] };
  return (context) => {
    run.stepsLeft = CONDITION_STEPS_MAX;
    return test(context, run);
  };
}

/** The value of a part of a condition; undefined where it is missing or inside a macro. */
export function readerOf(operand: Operand, text: string): (context: PolicyContext) => unknown {
  const read = new Compiler(text).read(operand);
  return (context) => {
    const value = read(context, { stepsLeft: CONDITION_STEPS_MAX, elements: [] });
    return value instanceof Unknown ? undefined : value;
  };
}

class Compiler {
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  test(node: Node): Test {
    switch (node.kind) {
      case 'boolean': {
        const { value } = node;
        return () => value;
      }
      case 'holds': {
        const read = this.read(node.of);
        const failed = this.#failer(node.of, 'a boolean');
        return (context, run) => {
          const value = read(context, run);
          return typeof value === 'boolean' ? value : failed(value);
        };
      }
      case 'not': {
        const of = this.test(node.of);
        return (context, run) => {
          const truth = of(context, run);
          return typeof truth === 'boolean' ? !truth : truth;
        };
      }
      case 'and':
      case 'or':
        return joined(
          node.items.map((item) => this.test(item)),
          node.kind === 'or',
        );
      case 'relation':
        return this.#relation(node);
      case 'in':
        return this.#in(node);
      case 'text':
        return this.#textTest(node);
      case 'matches': {
        const read = this.read(node.left);
        const failed = this.#failer(node.left, 'a text');
        const canonical = node.isOfNames ? memoOf(node.left) : itself;
        const { pattern } = node;
        return (context, run) => {
          const value = read(context, run);
          if (typeof value !== 'string') return failed(value);
          return isSpent(run, value.length * pattern.stepsALetter) ? TOO_MUCH : pattern.isIn(canonical(value));
        };
      }
      case 'has': {
        const read = this.read(node.of);
        return (context, run) => read(context, run) !== undefined;
      }
      case 'under': {
        const read = this.read(node.left);
        const failed = this.#failer(node.left, 'a path');
        const unclear = new Unknown(`${this.#nameOf(node.left)} is no absolute path without "." and ".."`);
        const { directory } = node;
        return (context, run) => {
          const value = read(context, run);
          if (typeof value !== 'string') return failed(value);
          return isSpentOn(run, value) ? TOO_MUCH : (isUnder(value, directory) ?? unclear);
        };
      }
      case 'exists':
      case 'all':
        return this.#macro(node);
    }
  }

  read(operand: Operand): Read {
    if (isNode(operand)) return this.test(operand);
    switch (operand.kind) {
      case 'constant': {
        const { value } = operand;
        return () => value;
      }
      case 'list': {
        const { values } = operand;
        return () => values;
      }
      case 'path':
        return readPath(operand);
      case 'size': {
        const read = this.read(operand.of);
        const failed = this.#failer(operand.of, 'a text, list or map');
        return (context, run) => {
          const value = read(context, run);
          if (typeof value === 'string') return isSpentOn(run, value) ? TOO_MUCH : textSize(value);
          if (Array.isArray(value)) return value.length;
          if (!isMap(value)) return failed(value);
          const { length } = Object.keys(value);
          return isSpent(run, length) ? TOO_MUCH : length;
        };
      }
      case 'lower': {
        const read = this.read(operand.of);
        const failed = this.#failer(operand.of, 'a text');
        return (context, run) => {
          const value = read(context, run);
          if (typeof value !== 'string') return failed(value);
          return isSpentOn(run, value) ? TOO_MUCH : value.toLowerCase();
        };
      }
    }
  }

  // Comparisons

  #relation({ op, isOfNames, left, right }: Node & { readonly kind: 'relation' }): Test {
    if (left.kind === 'constant' && right.kind === 'constant') {
      const isTrue = isRelated(op, isOfNames, left.value, right.value) ?? false;
      return () => isTrue;
    }
    if (left.kind === 'constant') return this.#relationTo(FLIPPED[op], isOfNames, right, left.value);
    if (right.kind === 'constant') return this.#relationTo(op, isOfNames, left, right.value);
    return this.#relationOfTwo(op, isOfNames, left, right);
  }

  /** What conditions mostly are: a field and a constant. */
  #relationTo(op: Relation, isOfNames: boolean, operand: Operand, constant: Constant): Test {
    const read = this.read(operand);
    const failed = this.#failer(operand, constant === null ? 'any value' : aOf(constant));
    if (op !== '==' && op !== '!=') return orderTo(op, isOfNames ? memoOf(operand) : itself, read, constant, failed);
    const yes = op === '==';
    const want = isOfNames && typeof constant === 'string' ? canonicalName(constant) : constant;
    if (want === null)
      return (context, run) => {
        const value = read(context, run);
        return value === undefined || value instanceof Unknown ? failed(value) : (value === null) === yes;
      };
    const isNullable = operand.type === 'dyn';
    const type = typeof want;
    if (!isOfNames)
      return (context, run) => {
        const value = read(context, run);
        if (value === want) return yes;
        return typeof value === type || (value === null && isNullable) ? !yes : failed(value);
      };
    const canonical = memoOf(operand);
    return (context, run) => {
      const value = read(context, run);
      if (value === want) return yes; // what is canonical already
      if (typeof value === 'string') return (canonical(value) === want) === yes;
      return value === null && isNullable ? !yes : failed(value);
    };
  }

  #relationOfTwo(op: Relation, isOfNames: boolean, left: Operand, right: Operand): Test {
    const [readLeft, readRight] = [this.read(left), this.read(right)];
    const [failedLeft, failedRight] = [this.#failer(left, SCALARS), this.#failer(right, SCALARS)];
    const isOrder = op !== '==' && op !== '!=';
    const different = new Unknown(
      `${this.#nameOf(left)} and ${this.#nameOf(right)} are not of one type${isOrder ? ' that has an order' : ''}`,
    );
    return (context, run) => {
      const a = readLeft(context, run);
      if (!isScalar(a)) return failedLeft(a);
      const b = readRight(context, run);
      if (!isScalar(b)) return failedRight(b);
      if (typeof a === 'string' && isSpentOn(run, a)) return TOO_MUCH;
      return isRelated(op, isOfNames, a, b) ?? different;
    };
  }

  #in(node: Node & { readonly kind: 'in' }): Test {
    const { isNegated, isOfNames, left, right } = node;
    const read = this.read(left);
    if (right.kind === 'list') return this.#inConstants(read, node, right.values);
    const readList = this.read(right);
    const failed = this.#failer(left, SCALARS);
    const failedList = this.#failer(right, 'a list or a map');
    const different = new Unknown(`${this.#nameOf(right)} has elements of another type than ${this.#nameOf(left)}`);
    return (context, run) => {
      const value = read(context, run);
      if (!isScalar(value)) return failed(value);
      const list = readList(context, run);
      if (isMap(list)) return typeof value === 'string' ? Object.hasOwn(list, value) !== isNegated : different;
      if (!Array.isArray(list)) return failedList(list);
      let isSure = true;
      for (const item of list as readonly unknown[]) {
        if (isSpent(run, typeof item === 'string' && isOfNames ? 1 + item.length : 1)) return TOO_MUCH;
        const isIt = isScalar(item) ? isRelated('==', isOfNames, value, item) : undefined;
        if (isIt === true) return !isNegated;
        if (isIt === undefined) isSure = false;
      }
      return isSure ? isNegated : different;
    };
  }

  #inConstants(read: Read, node: Node & { readonly kind: 'in' }, values: readonly Constant[]): Test {
    const { isNegated, isOfNames, left } = node;
    const set = new Set<unknown>(
      values.map((value) => (isOfNames && typeof value === 'string' ? canonicalName(value) : value)),
    );
    const example = values.find((value) => value !== null);
    const type = example === undefined ? undefined : typeof example;
    const failed = this.#failer(left, example === undefined ? 'any value' : aOf(example));
    const isNullable = left.type === 'dyn';
    const canonical = isOfNames ? memoOf(left) : itself;
    return (context, run) => {
      const value = read(context, run);
      if (typeof value === 'string' && type === 'string') return set.has(canonical(value)) !== isNegated;
      if (value === undefined || value instanceof Unknown) return failed(value);
      // Nothing is in an empty list, and nothing but null in one of nulls.
      if (typeof value === type || type === undefined || (value === null && isNullable))
        return set.has(value) !== isNegated;
      return failed(value);
    };
  }

  #textTest({ op, isOfNames, left, right }: Node & { readonly kind: 'text' }): Test {
    const read = this.read(left);
    const failed = this.#failer(left, 'a text');
    const isTrue = TEXT_TESTS[op];
    const canonical = isOfNames ? memoOf(left) : itself;
    if (right.kind === 'constant' && typeof right.value === 'string') {
      const part = isOfNames ? canonicalPart(right.value) : right.value;
      return (context, run) => {
        const value = read(context, run);
        if (typeof value !== 'string') return failed(value);
        return isSpentOn(run, value) ? TOO_MUCH : isTrue(canonical(value), part);
      };
    }
    const readPart = this.read(right);
    const failedPart = this.#failer(right, 'a text');
    return (context, run) => {
      const value = read(context, run);
      if (typeof value !== 'string') return failed(value);
      const part = readPart(context, run);
      if (typeof part !== 'string') return failedPart(part);
      if (isSpentOn(run, value) || isSpentOn(run, part)) return TOO_MUCH;
      if (!isOfNames) return isTrue(value, part);
      return isSpent(run, value.length + part.length) ? TOO_MUCH : isTrue(canonical(value), canonicalPart(part));
    };
  }

  #macro({ kind, of, variable, body }: Node & { readonly kind: 'exists' | 'all' }): Test {
    const read = this.read(of);
    const failed = this.#failer(of, 'a list');
    const test = this.test(body);
    const steps = sizeOf(body);
    const decisive = kind === 'exists';
    return (context, run) => {
      const list = read(context, run);
      if (!Array.isArray(list)) return failed(list);
      let truth: Truth = !decisive;
      for (const item of list as readonly unknown[]) {
        if (isSpent(run, steps)) {
          truth = TOO_MUCH;
          break;
        }
        run.elements[variable] = item;
        const one = test(context, run);
        if (one === decisive) {
          truth = decisive;
          break;
        }
        if (typeof one !== 'boolean' && typeof truth === 'boolean') truth = one;
      }
      run.elements[variable] = undefined;
      return truth;
    };
  }

  // Words for what is unknown

  #nameOf(operand: Operand): string {
    return `"${operand.kind === 'path' ? operand.text : this.#text.slice(operand.start, operand.end)}"`;
  }

  /** Made once, as far as it can be: a missing field is nothing out of the ordinary. */
  #failer(operand: Operand, want: string): (value: unknown) => Unknown {
    const name = this.#nameOf(operand);
    const missing = new Unknown(`${name} is missing`);
    return (value) => {
      if (value === undefined) return missing;
      return value instanceof Unknown ? value : new Unknown(`${name} is ${aOf(value)}, want ${want}`);
    };
  }
}

function joined(items: readonly Test[], decisive: boolean): Test {
  const [first, second] = items;
  if (first === undefined || second === undefined) return first ?? (() => !decisive);
  if (items.length === 2)
    return (context, run) => {
      const a = first(context, run);
      if (a === decisive) return decisive;
      const b = second(context, run);
      return b === decisive || typeof a === 'boolean' ? b : a;
    };
  return (context, run) => {
    let truth: Truth = !decisive;
    for (const item of items) {
      const one = item(context, run);
      if (one === decisive) return decisive;
      if (typeof one !== 'boolean' && typeof truth === 'boolean') truth = one;
    }
    return truth;
  };
}

// Values

const isMap = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Unknown);
const isScalar = (value: unknown): value is Constant =>
  value === null || typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean';
const SCALARS = 'a text, number, boolean or null';

/** Nothing inherited: `constructor` and `__proto__` are members like others, and mostly missing. */
function memberOf(value: unknown, step: Step): unknown {
  if (typeof step === 'number') return Array.isArray(value) ? (value as readonly unknown[])[step] : undefined;
  return isMap(value) && Object.hasOwn(value, step) ? value[step] : undefined;
}

function readPath({ root, steps }: Path): Read {
  const start: Read = typeof root === 'number' ? (_, run) => run.elements[root] : FIELDS[root].read;
  const [first, second] = steps;
  if (first === undefined) return start;
  if (second === undefined) return (context, run) => memberOf(start(context, run), first);
  return (context, run) => {
    let value = start(context, run);
    for (const step of steps) value = memberOf(value, step);
    return value;
  };
}

const KINDS = { string: 'a text', number: 'a number', boolean: 'a boolean' } as const;
function aOf(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'a list';
  return KINDS[typeof value as keyof typeof KINDS] ?? 'a map';
}

// Relations

const FLIPPED: Readonly<Record<Relation, Relation>> = {
  '==': '==',
  '!=': '!=',
  '<': '>',
  '<=': '>=',
  '>': '<',
  '>=': '<=',
};

const ORDERS: Readonly<Record<Exclude<Relation, '==' | '!='>, (difference: number) => boolean>> = {
  '<': (difference) => difference < 0,
  '<=': (difference) => difference <= 0,
  '>': (difference) => difference > 0,
  '>=': (difference) => difference >= 0,
};

function orderTo(
  op: Exclude<Relation, '==' | '!='>,
  canonical: (text: string) => string,
  read: Read,
  constant: Constant,
  failed: (value: unknown) => Unknown,
): Test {
  const holds = ORDERS[op];
  if (typeof constant === 'number')
    return (context, run) => {
      const value = read(context, run);
      return typeof value === 'number' ? holds(value - constant) : failed(value);
    };
  const text = typeof constant === 'string' ? canonical(constant) : '';
  return (context, run) => {
    const value = read(context, run);
    return typeof value === 'string' ? holds(compareTexts(canonical(value), text)) : failed(value);
  };
}

/** Undefined: they are of types that do not compare so. Null is equal to itself and different from everything else. */
function isRelated(op: Relation, isOfNames: boolean, a: Constant, b: Constant): boolean | undefined {
  if (isOfNames && typeof a === 'string' && typeof b === 'string')
    return isRelated(op, false, canonicalName(a), canonicalName(b));
  if (op === '==' || op === '!=') {
    if (a !== null && b !== null && typeof a !== typeof b) return undefined;
    return (a === b) === (op === '==');
  }
  if (typeof a === 'number' && typeof b === 'number') return ORDERS[op](a - b);
  if (typeof a === 'string' && typeof b === 'string') return ORDERS[op](compareTexts(a, b));
  return undefined;
}

const TEXT_TESTS: Readonly<Record<TextTest, (text: string, part: string) => boolean>> = {
  startsWith: (text, part) => text.startsWith(part),
  endsWith: (text, part) => text.endsWith(part),
  contains: isInside,
};

// Names

const itself = (text: string): string => text;
const MEMO_TEXT_MAX = 256;

/** All rules that ask for a field ask for the same name: it is made canonical once. */
function createMemo(): (text: string) => string {
  let last = '';
  let canonical = '';
  return (text) => {
    if (text === last) return canonical;
    if (text.length > MEMO_TEXT_MAX) return canonicalName(text);
    last = text;
    canonical = canonicalName(text);
    return canonical;
  };
}
const memos = new Map<FieldName, (text: string) => string>();

function memoOf(operand: Operand): (text: string) => string {
  if (operand.kind !== 'path' || typeof operand.root === 'number' || !isText(operand.type)) return canonicalName;
  const memo = memos.get(operand.root) ?? createMemo();
  memos.set(operand.root, memo);
  return memo;
}

// Trees

/** What a node is made of, itself not. */
export function partsOf(operand: Operand): readonly Operand[] {
  switch (operand.kind) {
    case 'constant':
    case 'list':
    case 'boolean':
    case 'path':
      return [];
    case 'and':
    case 'or':
      return operand.items;
    case 'relation':
    case 'in':
    case 'text':
      return [operand.left, operand.right];
    case 'matches':
    case 'under':
      return [operand.left];
    case 'exists':
    case 'all':
      return [operand.of, operand.body];
    case 'holds':
    case 'not':
    case 'has':
    case 'size':
    case 'lower':
      return [operand.of];
  }
}

const sizeOf = (operand: Operand): number => partsOf(operand).reduce((size, part) => size + sizeOf(part), 1);

function fieldsOf(operand: Operand, fields = new Set<string>()): Set<string> {
  if (operand.kind === 'path' && typeof operand.root === 'string') fields.add(operand.text);
  for (const part of partsOf(operand)) fieldsOf(part, fields);
  return fields;
}
