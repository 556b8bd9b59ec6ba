import type { View } from '../text/table.ts';
import { plain, widthOf } from '../text/plain.ts';
import type { Tone } from '../text/style.ts';

/** One thing that was looked at. */
export interface Finding {
  readonly name: string;
  /** skip: could not be looked at because of another finding. */
  readonly outcome: 'ok' | 'warn' | 'fail' | 'skip';
  readonly detail: string;
  /** What to do about it. */
  readonly next: string | null;
}

const TONES: Readonly<Record<Finding['outcome'], Tone>> = { ok: 'good', warn: 'warn', fail: 'bad', skip: 'dim' };

export function formatFindings(findings: readonly Finding[], { paint }: View): string {
  const width = Math.max(...findings.map(({ name }) => widthOf(name)));
  const lines = findings.map(({ name, outcome, detail, next }) => {
    const label = outcome.toUpperCase().padEnd(4);
    const line = `${paint(TONES[outcome], label)}  ${name.padEnd(width)}  ${plain(detail)}\n`;
    return next === null ? line : `${line}${' '.repeat(width + 8)}${paint('dim', 'next:')} ${plain(next)}\n`;
  });
  return `${lines.join('')}\n${conclusionOf(findings)}\n`;
}

function conclusionOf(findings: readonly Finding[]): string {
  const count = (outcome: Finding['outcome']): number => findings.filter((each) => each.outcome === outcome).length;
  const [broken, warnings] = [count('fail'), count('warn')];
  const also = warnings === 0 ? '' : `, ${warnings} to look at`;
  if (broken > 0) return `${broken} of ${findings.length} checks failed${also}.`;
  return warnings === 0 ? 'All is well.' : `Nothing is broken${also}.`;
}
