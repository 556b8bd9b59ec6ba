/** What can be said of conditions without a request. Certain where it says something, and silent otherwise. */
import type { Condition } from './compile.ts';

/** Why it is true of no request, where that is certain. */
export function isNeverTrue({ tree }: Condition): string | undefined {
  return tree.kind === 'boolean' && !tree.value ? 'it is false' : undefined;
}

/** True of every request, and never unknown. */
export function isAlwaysTrue({ tree }: Condition): boolean {
  return tree.kind === 'boolean' && tree.value;
}

/** `a` is certainly true whenever `b` is. */
export function covers(a: Condition, b: Condition): boolean {
  return isAlwaysTrue(a) || isNeverTrue(b) !== undefined || a.text === b.text;
}
