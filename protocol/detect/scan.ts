/** One text under the detectors, and what they have found in it. */
import type { Span } from './finding.ts';
import { type Folded, foldText, originalEnd, originalStart } from './fold.ts';
import type { Label } from './labels.ts';
import type { Role } from './terms.ts';

export class Scan {
  readonly text: string;
  readonly folded: Folded;
  readonly spans: Span[] = [];
  /** Characters looked at beyond the one pass over the text: shows in tests that the whole is linear. */
  steps = 0;
  /** Where words were that give numbers a meaning, in order. */
  readonly contexts: { readonly role: Role; readonly end: number }[] = [];

  constructor(text: string) {
    this.text = text;
    this.folded = foldText(text);
  }

  /** Of indices in the folded text. */
  found(label: Label, start: number, end: number): void {
    this.spans.push({ label, start: originalStart(this.folded, start), end: originalEnd(this.folded, end) });
  }
}
