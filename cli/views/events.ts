import type { MeshEvent } from '../../protocol/control/index.ts';
import { plain } from '../text/plain.ts';
import type { View } from '../text/table.ts';
import type { Immutable } from './common.ts';

/** One line: when, what, and the facts as name=value, which is what people grep for. */
export function formatEvent(event: Immutable<MeshEvent>, { paint }: View): string {
  const time = event.at.slice(11, 19);
  const facts = Object.entries(event.data).flatMap(([name, value]) => factsOf(name, value));
  return `${paint('dim', time)}  ${paint('strong', event.type.padEnd(19))}  ${facts.join(' ')}\n`;
}

/** "name=value", of an object each of its members; none for null. */
export function factsOf(name: string, value: unknown): string[] {
  if (value === null || value === undefined) return [];
  if (typeof value === 'object') {
    return Array.isArray(value)
      ? [`${name}=${value.map(textOf).join(',')}`]
      : Object.entries(value).flatMap(([inner, each]) => factsOf(inner, each));
  }
  return [`${name}=${textOf(value)}`];
}

const textOf = (value: unknown): string => {
  const text = plain(typeof value === 'string' ? value : JSON.stringify(value));
  return /\s/.test(text) ? JSON.stringify(text) : text;
};
