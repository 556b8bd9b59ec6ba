/**
 * Which requests a condition can be about at all, so that a policy need not ask every rule about each. Sound with three
 * values: outside of the set the condition is false, whatever is missing, because `false and unknown` is false.
 */
import { canonicalName } from '../names.ts';
import type { FieldName } from './fields.ts';
import type { Node, Operand } from './tree.ts';

/**
 * Undefined: any. Names are canonical. The condition is false of a request whose `action.type`, or whose tool, is there
 * and not in the set. Where it is missing from the context, nothing follows.
 */
export interface IndexedSets {
  readonly actionTypes: ReadonlySet<string> | undefined;
  readonly toolNames: ReadonlySet<string> | undefined;
}

export const indexOf = (tree: Node): IndexedSets => ({
  actionTypes: valuesOf(tree, 'action.type'),
  toolNames: valuesOf(tree, 'tool.name'),
});

type Values = ReadonlySet<string> | undefined;

function valuesOf(node: Node, field: FieldName): Values {
  switch (node.kind) {
    case 'boolean':
      return node.value ? undefined : new Set();
    case 'and':
      return node.items.map((item) => valuesOf(item, field)).reduce(intersection);
    case 'or':
      return node.items.map((item) => valuesOf(item, field)).reduce(union);
    case 'relation':
      if (node.op !== '==') return undefined;
      return constantsOf(node.left, node.right, field) ?? constantsOf(node.right, node.left, field);
    case 'in':
      return node.isNegated ? undefined : constantsOf(node.left, node.right, field);
    case 'all':
    case 'exists':
    case 'has':
    case 'holds':
    case 'matches':
    case 'not':
    case 'text':
    case 'under':
      return undefined;
  }
}

function constantsOf(operand: Operand, constant: Operand, field: FieldName): Values {
  if (operand.kind !== 'path' || operand.root !== field || operand.steps.length > 0) return undefined;
  const values =
    constant.kind === 'constant' ? [constant.value] : constant.kind === 'list' ? constant.values : undefined;
  return values && new Set(values.filter((value) => typeof value === 'string').map(canonicalName));
}

const intersection = (a: Values, b: Values): Values =>
  a === undefined ? b : b === undefined ? a : new Set([...a].filter((value) => b.has(value)));
const union = (a: Values, b: Values): Values =>
  a === undefined || b === undefined ? undefined : new Set([...a, ...b]);
