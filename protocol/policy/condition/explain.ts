/** What a condition says of one request, comparison by comparison. */
import type { Json } from '../../encoding/jcs.ts';
import type { PolicyContext } from '../context.ts';
import { type Condition, evaluatorOf, isUnknown, readerOf } from './compile.ts';
import type { Node, Operand } from './tree.ts';

export interface Explained {
  /** As it is written. */
  readonly text: string;
  readonly is: boolean | 'unknown';
  /** Of the field that is looked at; absent where it is missing, or there is more than one. */
  readonly value?: Json;
  /** Why it is unknown. */
  readonly because?: string;
}

/** One for each comparison, in the order of the text; a macro over a list is one. */
export function explainCondition({ tree, text }: Condition, context: PolicyContext): readonly Explained[] {
  return leavesOf(tree).map((leaf) => {
    const truth = evaluatorOf(leaf, text)(context);
    const subject = subjectOf(leaf);
    const value = subject && readerOf(subject, text)(context);
    return {
      text: text.slice(leaf.start, leaf.end),
      is: isUnknown(truth) ? 'unknown' : truth,
      ...(value === undefined ? {} : { value: value as Json }),
      ...(isUnknown(truth) ? { because: truth.because } : {}),
    };
  });
}

function leavesOf(node: Node): readonly Node[] {
  if (node.kind === 'not') return leavesOf(node.of);
  return node.kind === 'and' || node.kind === 'or' ? node.items.flatMap(leavesOf) : [node];
}

function subjectOf(leaf: Node): Operand | undefined {
  switch (leaf.kind) {
    case 'holds':
    case 'has':
    case 'exists':
    case 'all':
      return leaf.of;
    case 'relation':
    case 'in':
    case 'text': {
      const { left, right } = leaf;
      const isLeftFixed = left.kind === 'constant' || left.kind === 'list';
      const isRightFixed = right.kind === 'constant' || right.kind === 'list';
      return isLeftFixed === isRightFixed ? undefined : isLeftFixed ? right : left;
    }
    case 'matches':
    case 'under':
      return leaf.left;
    case 'boolean':
    case 'not':
    case 'and':
    case 'or':
      return undefined;
  }
}
