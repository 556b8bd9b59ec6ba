import type { Label } from './labels.ts';

/** In one text: UTF-16 indices. */
export interface Span {
  readonly label: Label;
  readonly start: number;
  readonly end: number;
}

/** In a JSON value. */
export interface Finding extends Span {
  /** JSON pointer (RFC 6901) of the text; of the member, where it is in its name. */
  readonly path: string;
  /** The finding is in the member's name. */
  readonly inName?: true;
}
