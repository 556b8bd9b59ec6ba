/** A condition that was checked: every field exists, and every operation has operands of types that it takes. */
import type { FieldName, Type } from './fields.ts';
import type { Pattern } from './pattern.ts';
import type { Constant, Relation, Span } from './syntax.ts';

export type Step = string | number;

/** What a field, or an element that a macro goes through, holds somewhere inside. */
export interface Path extends Span {
  readonly kind: 'path';
  readonly type: Type;
  /** A field, or the number of the variable: how many macros are around the one that names it. */
  readonly root: FieldName | number;
  readonly steps: readonly Step[];
  /** The one way of writing it: `tool.arguments['a b'][0]`. */
  readonly text: string;
}

export type Operand =
  | Path
  | (Span & { readonly kind: 'constant'; readonly type: Type; readonly value: Constant })
  /** Of constants of one type; null may be among them. */
  | (Span & { readonly kind: 'list'; readonly type: Type; readonly values: readonly Constant[] })
  | (Span & { readonly kind: 'size'; readonly type: 'number'; readonly of: Operand })
  | (Span & { readonly kind: 'lower'; readonly type: Type; readonly of: Operand })
  | Node;

export type TextTest = 'startsWith' | 'endsWith' | 'contains';

export type Node = Span & { readonly type: 'boolean' } & (
    | { readonly kind: 'boolean'; readonly value: boolean }
    /** A boolean field alone. */
    | { readonly kind: 'holds'; readonly of: Path }
    | { readonly kind: 'not'; readonly of: Node }
    | { readonly kind: 'and' | 'or'; readonly items: readonly Node[] }
    | {
        readonly kind: 'relation';
        readonly op: Relation;
        /** Both sides compare canonically. */
        readonly isOfNames: boolean;
        readonly left: Operand;
        readonly right: Operand;
      }
    | {
        readonly kind: 'in';
        readonly isNegated: boolean;
        readonly isOfNames: boolean;
        readonly left: Operand;
        readonly right: Operand;
      }
    | {
        readonly kind: 'text';
        readonly op: TextTest;
        readonly isOfNames: boolean;
        readonly left: Operand;
        readonly right: Operand;
      }
    | { readonly kind: 'matches'; readonly isOfNames: boolean; readonly left: Operand; readonly pattern: Pattern }
    | { readonly kind: 'has'; readonly of: Path }
    /** The directory is absolute and has no slash at its end; "" is the root. */
    | { readonly kind: 'under'; readonly left: Operand; readonly directory: string }
    | { readonly kind: 'exists' | 'all'; readonly of: Operand; readonly variable: number; readonly body: Node }
  );

export const isNode = (operand: Operand): operand is Node =>
  operand.type === 'boolean' && operand.kind !== 'path' && operand.kind !== 'constant';
