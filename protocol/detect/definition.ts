/** Tools as servers define them: what speaks to the model where a description should be, and names like others'. */
import type { JsonObject } from '../encoding/jcs.ts';
import { detect } from './detect.ts';
import type { Finding } from './finding.ts';
import { foldText } from './fold.ts';
import { classOf } from './labels.ts';
import { LOOKALIKES } from './lookalikes.ts';

/**
 * Hidden instructions and characters in the name, description and schemas of a tool ("tool poisoning"). Many a honest
 * description says when the tool must be called: a finding is for people to look at.
 */
export const findingsOfDefinition = (tool: JsonObject): Finding[] =>
  detect(tool).filter(({ label }) => ['instructions', 'invisible'].includes(classOf(label)));

export interface SimilarName {
  readonly a: string;
  readonly b: string;
  /** The same: equal but for case, width, accents and invisible characters. Look-alike: equal to the eye. */
  readonly kind: 'same' | 'lookalike';
}

/** Pairs of two servers' names that people or models may take for each other. */
export function similarNames(a: readonly string[], b: readonly string[]): SimilarName[] {
  const byCanonical = Map.groupBy(b, canonical);
  const bySkeleton = Map.groupBy(b, skeleton);
  return a.flatMap((name) => {
    const same = byCanonical.get(canonical(name)) ?? [];
    const like = (bySkeleton.get(skeleton(name)) ?? []).filter((other) => !same.includes(other));
    return [
      ...same.map((other): SimilarName => ({ a: name, b: other, kind: 'same' })),
      ...like.map((other): SimilarName => ({ a: name, b: other, kind: 'lookalike' })),
    ];
  });
}

const canonical = (name: string): string => foldText(name.trim()).lower;
/** Letters by their shapes; what divides words does not count. */
const skeleton = (name: string): string =>
  LOOKALIKES.skeleton(canonical(name))
    .replaceAll(/[\s._-]/g, '')
    .replaceAll(/[1l|]/g, 'i')
    .replaceAll('0', 'o')
    .replaceAll('rn', 'm')
    .replaceAll('vv', 'w');
