/** Which fields, functions and types a condition may combine; everything else is an error with its place. */
import { nearest } from '../../control/nearest.ts';
import { canonicalName, canonicalPart } from '../names.ts';
import {
  type ElementType,
  elementOf,
  type FieldName,
  FIELDS,
  isField,
  isList,
  isText,
  ROOTS,
  type Type,
} from './fields.ts';
import { compilePattern } from './pattern.ts';
import {
  type Constant,
  type Expression,
  invalid,
  KEYWORDS,
  parseSyntax,
  quoted,
  type Span,
  type Word,
} from './syntax.ts';
import { isCanonicalPath } from './text.ts';
import { isNode, type Node, type Operand, type Path, type Step, type TextTest } from './tree.ts';

const FUNCTIONS = ['has', 'size', 'under'] as const;
const METHODS = ['startsWith', 'endsWith', 'contains', 'matches', 'size', 'lower', 'exists', 'all'] as const;
const TEXT_TESTS: readonly string[] = ['startsWith', 'endsWith', 'contains'];
const isTextTest = (name: string): name is TextTest => TEXT_TESTS.includes(name);

/** Errors: policy_invalid. */
export function parseCondition(text: string): Node {
  return new Checker(text).condition(parseSyntax(text));
}

interface Variable {
  readonly number: number;
  readonly type: ElementType;
}

class Checker {
  readonly #text: string;
  readonly #variables = new Map<string, Variable>();

  constructor(text: string) {
    this.#text = text;
  }

  condition(expression: Expression): Node {
    const operand = this.#operand(expression);
    const { start, end } = expression;
    if (isNode(operand)) return operand;
    if (operand.kind === 'constant' && typeof operand.value === 'boolean')
      return { kind: 'boolean', type: 'boolean', value: operand.value, start, end };
    if (operand.kind === 'path' && isOneOf(operand.type, 'boolean'))
      return { kind: 'holds', type: 'boolean', of: operand, start, end };
    throw this.#invalid(expression, this.#called(operand), 'a boolean or a comparison');
  }

  #operand(expression: Expression): Operand {
    const { start, end } = expression;
    switch (expression.kind) {
      case 'constant':
        return { kind: 'constant', type: typeOfConstant(expression.value), value: expression.value, start, end };
      case 'list':
        return this.#list(expression.items, expression);
      case 'word':
      case 'member':
        return this.#path(expression);
      case 'not':
        return { kind: 'not', type: 'boolean', of: this.condition(expression.of), start, end };
      case 'and':
      case 'or': {
        const items = expression.items.map((item) => this.condition(item));
        return { kind: expression.kind, type: 'boolean', items, start, end };
      }
      case 'relation':
        return this.#relation(expression);
      case 'in':
        return this.#in(expression);
      case 'call':
        return this.#call(expression);
      case 'method':
        return this.#method(expression);
    }
  }

  #list(items: readonly Expression[], { start, end }: Span): Operand {
    let type: Type = 'null';
    const values = items.map((item) => {
      if (item.kind !== 'constant') throw this.#invalid(item, this.#written(item), 'a text, number, boolean or null');
      const itemType = typeOfConstant(item.value);
      if (type !== 'null' && itemType !== 'null' && itemType !== type)
        throw this.#invalid(item, `${aOf(itemType)} among others of another type`, aOf(type));
      if (itemType !== 'null') type = itemType;
      return item.value;
    });
    return { kind: 'list', type: `list<${items.length === 0 ? 'dyn' : type}>`, values, start, end };
  }

  // Fields

  #path(expression: Expression): Path {
    const steps: { readonly step: Step; readonly at: Span }[] = [];
    let of = expression;
    while (of.kind === 'member') {
      steps.push({ step: of.step, at: of.at });
      of = of.of;
    }
    if (of.kind !== 'word') throw this.#invalid(of, this.#written(of), 'a field before "." and "["');
    steps.reverse();
    const variable = this.#variables.get(of.word);
    const { start, end } = expression;
    if (variable !== undefined) {
      const type = this.#typeInside(variable.type, steps, of.word);
      const inside = steps.map(({ step }) => step);
      return {
        kind: 'path',
        type,
        root: variable.number,
        steps: inside,
        text: formatPath(of.word, inside),
        start,
        end,
      };
    }
    const { name, taken } = this.#field(of, steps);
    const inside = steps.slice(taken);
    const type = this.#typeInside(FIELDS[name].type, inside, name);
    const rest = inside.map(({ step }) => step);
    return { kind: 'path', type, root: name, steps: rest, text: formatPath(name, rest), start, end };
  }

  /** As many steps as are the name of a field: `tool['name']` is `tool.name`. */
  #field(root: Word, steps: readonly { readonly step: Step; readonly at: Span }[]): { name: FieldName; taken: number } {
    if (!ROOTS.has(root.word) || !isField(root.word)) throw this.#unknownField(root, root.word);
    let name: FieldName = root.word;
    let taken = 0;
    for (const { step, at } of steps) {
      const type: Type = FIELDS[name].type;
      if (type !== 'object') break;
      const longer = `${name}.${step}`;
      if (!isField(longer)) throw this.#unknownField(at, longer);
      name = longer;
      taken++;
    }
    return { name, taken };
  }

  #unknownField(at: Span, name: string): Error {
    const fields = Object.keys(FIELDS);
    const near = nearest(name, [...fields, ...this.#variables.keys()]);
    const parent = name.slice(0, name.lastIndexOf('.') + 1);
    const siblings = fields.filter((field) => field.startsWith(parent) && !field.slice(parent.length).includes('.'));
    const want = near === undefined ? `one of ${siblings.join(', ')}` : `a field: did you mean "${near}"?`;
    return this.#invalid(at, `${quoted(name)}, which is no field`, want.replace(/\?$/, ''));
  }

  #typeInside(type: Type, steps: readonly { readonly step: Step; readonly at: Span }[], name: string): Type {
    for (const { step, at } of steps) {
      if (type === 'dyn') continue;
      if (isList(type) && typeof step === 'number') type = elementOf(type);
      else if (type === 'map<dyn>' && typeof step === 'string') type = 'dyn';
      else if (type === 'map<text>' && typeof step === 'string') type = 'text';
      else throw this.#invalid(at, `a member of ${quoted(name)}, which is ${aOf(type)}`, 'nothing inside it');
    }
    return type;
  }

  // Operators

  #relation(expression: Expression & { readonly kind: 'relation' }): Node {
    const { op, start, end } = expression;
    const left = this.#operand(expression.left);
    const right = this.#operand(expression.right);
    const isOrder = op !== '==' && op !== '!=';
    const want = isOrder ? 'a number or a text' : 'a text, number, boolean or null';
    for (const side of [left, right])
      if (!(isOrder ? isOrdered(side.type) : isScalar(side.type))) throw this.#invalid(side, this.#called(side), want);
    this.#mustCompare(left, right, right.type);
    const isOfNames = left.type === 'name' || right.type === 'name';
    if (isOfNames) for (const side of [left, right]) this.#mustBeVisible(side, canonicalName);
    return { kind: 'relation', type: 'boolean', op, isOfNames, left, right, start, end };
  }

  #mustCompare(left: Operand, right: Operand, type: Type): void {
    if (!isComparable(left.type, type))
      throw this.#invalid(right, `${this.#called(right)}, compared with ${this.#called(left)}`, aOf(left.type));
  }

  /** A constant that canonicalises to nothing looks as if it said something. */
  #mustBeVisible(operand: Operand, canonical: (text: string) => string): void {
    const values = operand.kind === 'constant' ? [operand.value] : operand.kind === 'list' ? operand.values : [];
    for (const value of values)
      if (typeof value === 'string' && value !== '' && canonical(value) === '')
        throw this.#invalid(operand, `${quoted(value)}, of which nothing is compared`, 'visible characters');
  }

  #in(expression: Expression & { readonly kind: 'in' }): Node {
    const { isNegated, start, end } = expression;
    const left = this.#operand(expression.left);
    const right = this.#operand(expression.right);
    if (!isScalar(left.type)) throw this.#invalid(left, this.#called(left), 'a text, number, boolean or null');
    if (isText(right.type))
      throw this.#invalid(right, this.#called(right), 'a list: for a part of a text there is .contains()');
    if (isList(right.type)) this.#mustCompare(left, right, elementOf(right.type));
    else if (right.type === 'map<dyn>' || right.type === 'map<text>') this.#mustCompare(left, right, 'text');
    else if (right.type !== 'dyn') throw this.#invalid(right, this.#called(right), 'a list');
    const isOfNames = left.type === 'name';
    if (isOfNames) for (const side of [left, right]) this.#mustBeVisible(side, canonicalName);
    return { kind: 'in', type: 'boolean', isNegated, isOfNames, left, right, start, end };
  }

  // Functions, methods, macros

  #call(expression: Expression & { readonly kind: 'call' }): Operand {
    const { name, args, start, end } = expression;
    switch (name.word) {
      case 'has':
      case 'exists': {
        const [path] = this.#arguments(name, args, 1);
        return { kind: 'has', type: 'boolean', of: this.#fieldOnly(path), start, end };
      }
      case 'size': {
        const [of] = this.#arguments(name, args, 1);
        return this.#size(this.#operand(of), expression);
      }
      case 'under': {
        const [path, directory] = this.#arguments(name, args, 2);
        return this.#under(this.#operand(path), directory, expression);
      }
      default: {
        const near = nearest(name.word, FUNCTIONS);
        const isMethod = (METHODS as readonly string[]).includes(name.word);
        const want = isMethod
          ? `it behind a dot: x.${name.word}(…)`
          : near === undefined
            ? `one of ${FUNCTIONS.join(', ')}`
            : `one: did you mean "${near}"`;
        throw this.#invalid(name, `${quoted(name.word)}, which is no function`, want);
      }
    }
  }

  #method(expression: Expression & { readonly kind: 'method' }): Operand {
    const { name, args, start, end } = expression;
    const { word } = name;
    if (word === 'exists' || word === 'all') return this.#macro(word, expression);
    const left = this.#operand(expression.of);
    if (word === 'size') {
      this.#arguments(name, args, 0);
      return this.#size(left, expression);
    }
    if (word === 'lower') {
      this.#arguments(name, args, 0);
      this.#mustBeText(left);
      const type = left.type === 'name' || left.type === 'dyn' ? left.type : 'text';
      return { kind: 'lower', type, of: left, start, end };
    }
    if (word === 'matches') {
      const [pattern] = this.#arguments(name, args, 1);
      return this.#matches(left, pattern, expression);
    }
    if (!isTextTest(word)) {
      const near = nearest(word, METHODS);
      const want = near === undefined ? `one of ${METHODS.join(', ')}` : `one: did you mean "${near}"`;
      throw this.#invalid(name, `${quoted(word)}, which is no method`, want);
    }
    const [argument] = this.#arguments(name, args, 1);
    const right = this.#operand(argument);
    if (word === 'contains' && isList(left.type))
      throw this.#invalid(left, this.#called(left), 'a text: for an element of a list there is "in"');
    for (const side of [left, right]) this.#mustBeText(side);
    const isOfNames = left.type === 'name' || right.type === 'name';
    if (isOfNames) for (const side of [left, right]) this.#mustBeVisible(side, canonicalPart);
    return { kind: 'text', type: 'boolean', op: word, isOfNames, left, right, start, end };
  }

  #matches(left: Operand, source: Expression, { start, end }: Span): Node {
    this.#mustBeText(left);
    if (source.kind !== 'constant' || typeof source.value !== 'string')
      throw this.#invalid(source, this.#written(source), "a pattern in quotes, as r'^a+$'");
    const isOfNames = left.type === 'name';
    const pattern = compilePattern(source.value, isOfNames);
    if ('wrong' in pattern) throw this.#invalid(source, pattern.wrong, 'one that RE2 takes');
    return { kind: 'matches', type: 'boolean', isOfNames, left, pattern, start, end };
  }

  #size(of: Operand, { start, end }: Span): Operand {
    if (!isText(of.type) && !isList(of.type) && !isOneOf(of.type, 'map<dyn>', 'map<text>'))
      throw this.#invalid(of, this.#called(of), 'a text, list or map');
    return { kind: 'size', type: 'number', of, start, end };
  }

  #under(left: Operand, directory: Expression, { start, end }: Span): Node {
    if (isList(left.type))
      throw this.#invalid(left, this.#called(left), `a path: of a list, ${this.#written(left)}.all(p, under(p, …))`);
    if (left.type === 'name' || !isOneOf(left.type, 'path', 'text'))
      throw this.#invalid(left, this.#called(left), 'a path');
    if (directory.kind !== 'constant' || typeof directory.value !== 'string')
      throw this.#invalid(directory, this.#written(directory), 'a directory in quotes');
    if (!isCanonicalPath(directory.value))
      throw this.#invalid(
        directory,
        quoted(directory.value),
        'an absolute path without "." or ".." in it, as /srv/data',
      );
    return { kind: 'under', type: 'boolean', left, directory: directory.value.replace(/\/$/, ''), start, end };
  }

  #macro(kind: 'exists' | 'all', expression: Expression & { readonly kind: 'method' }): Node {
    const { name, args, start, end } = expression;
    const of = this.#operand(expression.of);
    const type = isList(of.type) ? elementOf(of.type) : of.type;
    if (!isList(of.type) && type !== 'dyn') throw this.#invalid(of, this.#called(of), 'a list');
    const [variable, body] = this.#arguments(name, args, 2);
    if (variable.kind !== 'word') throw this.#invalid(variable, this.#written(variable), 'a name for the elements');
    const { word } = variable;
    if (ROOTS.has(word) || KEYWORDS.has(word) || this.#variables.has(word))
      throw this.#invalid(variable, `${quoted(word)}, which has a meaning already`, 'another name for the elements');
    const number = this.#variables.size;
    this.#variables.set(word, { number, type: type as ElementType });
    const node = this.condition(body);
    this.#variables.delete(word);
    return { kind, type: 'boolean', of, variable: number, body: node, start, end };
  }

  #fieldOnly(expression: Expression): Path {
    if (expression.kind !== 'word' && expression.kind !== 'member')
      throw this.#invalid(expression, this.#written(expression), 'a field');
    const path = this.#path(expression);
    if (typeof path.root === 'number' && path.steps.length === 0)
      throw this.#invalid(expression, `${quoted(path.text)}, which is always there`, 'something inside it');
    return path;
  }

  #arguments<N extends 0 | 1 | 2>(name: Word, args: readonly Expression[], count: N): Arguments[N] {
    if (args.length !== count)
      throw this.#invalid(name, `"${name.word}" with ${args.length} arguments`, `${count === 0 ? 'none' : count}`);
    return args as unknown as Arguments[N];
  }

  #mustBeText(operand: Operand): void {
    if (!isText(operand.type) && operand.type !== 'dyn') throw this.#invalid(operand, this.#called(operand), 'a text');
  }

  // Words for errors

  #written({ start, end }: Span): string {
    return quoted(this.#text.slice(start, end));
  }
  #called(operand: Operand): string {
    return `${this.#written(operand)}, which is ${aOf(operand.type)}`;
  }
  #invalid({ start }: Span, is: string, want: string): Error {
    return invalid(this.#text, start, is, want);
  }
}

interface Arguments {
  0: readonly [];
  1: readonly [Expression];
  2: readonly [Expression, Expression];
}

const CONSTANT_TYPES = { boolean: 'boolean', number: 'number', string: 'text' } as const;
const typeOfConstant = (value: Constant): 'boolean' | 'number' | 'text' | 'null' =>
  value === null ? 'null' : CONSTANT_TYPES[typeof value as keyof typeof CONSTANT_TYPES];

/** What is not known before may be of any type. */
const isOneOf = (type: Type, ...types: readonly Type[]): boolean => type === 'dyn' || types.includes(type);
const isScalar = (type: Type): boolean => isText(type) || isOneOf(type, 'number', 'boolean', 'null');
const isOrdered = (type: Type): boolean => isText(type) || isOneOf(type, 'number');
const isComparable = (a: Type, b: Type): boolean => a === 'dyn' || b === 'dyn' || (isText(a) && isText(b)) || a === b;

const NAMES: Readonly<Partial<Record<Type, string>>> = {
  boolean: 'a boolean',
  number: 'a number',
  text: 'a text',
  name: 'a name',
  path: 'a path',
  null: 'null',
  object: 'a group of fields',
  dyn: 'of any type',
};
const aOf = (type: Type): string => NAMES[type] ?? (isList(type) ? 'a list' : 'a map');

const PLAIN_NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;
export const formatPath = (root: string, steps: readonly Step[]): string =>
  root +
  steps
    .map((step) => (typeof step === 'string' && PLAIN_NAME.test(step) ? `.${step}` : `[${formatStep(step)}]`))
    .join('');
const formatStep = (step: Step): string =>
  typeof step === 'number'
    ? String(step)
    : `'${JSON.stringify(step).slice(1, -1).replaceAll('\\"', '"').replaceAll("'", "\\'")}'`;
