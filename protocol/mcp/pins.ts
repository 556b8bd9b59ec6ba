/**
 * Definitions of tools, as they are pinned when they are seen first (SPEC "MCP as governed"): a hash to tell that one
 * changed, and the change in words for who has to approve it.
 */
import { toHex } from '../encoding/bytes.ts';
import { digestOf } from '../encoding/cid.ts';
import { encodeJcs, type Json, type JsonObject } from '../encoding/jcs.ts';
import { MCP_DEPTH_MAX, MCP_DIFF_LETTERS_MAX, MCP_DIFF_WORDS_MAX } from '../limits.ts';
import type { ToolDefinition } from '../policy/gate.ts';
import { isObject } from './messages.ts';
import { visibleText } from './visible.ts';

/** Lower-case hex SHA-256. Errors: malformed (a number beyond doubles), too_large (nested too deep). */
export const definitionHash = (tool: ToolDefinition): string =>
  toHex(digestOf(encodeJcs(pinned(tool), { numbers: 'any', depthMax: MCP_DEPTH_MAX })));

/** All but `_meta`, which is for programs and may change with each answer. */
function pinned(tool: ToolDefinition): JsonObject {
  const { _meta: _, ...definition } = tool;
  return definition;
}

/**
 * A line a change: `+` for what is new, `-` for what is gone, by the path of the member. Of texts only the changed words
 * are shown, with some around them. Empty: the same definition.
 */
export function diffDefinitions(before: ToolDefinition, after: ToolDefinition): string {
  const lines: string[] = [];
  compare('', pinned(before), pinned(after), lines);
  return bounded(lines);
}

function compare(path: string, before: Json | undefined, after: Json | undefined, lines: string[]): void {
  if (isObject(before) && isObject(after)) {
    for (const name of new Set([...Object.keys(before), ...Object.keys(after)]))
      compare(path === '' ? name : `${path}.${name}`, own(before, name), own(after, name), lines);
  } else if (isList(before) && isList(after) && before.length === after.length) {
    for (const [i, item] of before.entries()) compare(`${path}[${i}]`, item, after[i], lines);
  } else if (typeof before === 'string' && typeof after === 'string') {
    if (before !== after) lines.push(...changedWords(path, before, after));
  } else if (before === undefined || after === undefined || textOf(before) !== textOf(after)) {
    if (before !== undefined) lines.push(line('-', path, shown(before)));
    if (after !== undefined) lines.push(line('+', path, shown(after)));
  }
}

const own = (object: JsonObject, name: string): Json | undefined =>
  Object.hasOwn(object, name) ? object[name] : undefined;
const isList = (value: Json | undefined): value is readonly Json[] => Array.isArray(value);

/** In one order of members, so that another order is no change. */
const textOf = (value: Json): string =>
  utf8Decoder.decode(encodeJcs(value, { numbers: 'any', depthMax: MCP_DEPTH_MAX }));
const utf8Decoder = new TextDecoder();

const shown = (value: Json): string => (typeof value === 'string' ? value : textOf(value));

const line = (sign: '+' | '-', path: string, text: string): string => `${sign} ${visibleText(`${path}: ${text}`)}`;

const AROUND_WORDS = 5;

/** One pair of lines for each place that changed. */
function changedWords(path: string, before: string, after: string): string[] {
  const [old, young] = [wordsOf(before), wordsOf(after)];
  return changesOf(old, young).flatMap(({ from, to, at, until }) => [
    ...(from === to ? [] : [line('-', path, excerpt(old, from, to))]),
    ...(at === until ? [] : [line('+', path, excerpt(young, at, until))]),
  ]);
}

/** Each with the white space before it; together they are the text. */
const wordsOf = (text: string): string[] => text.match(/\s*\S+|\s+$/g) ?? [];

function excerpt(words: readonly string[], from: number, to: number): string {
  const [start, end] = [Math.max(0, from - AROUND_WORDS), Math.min(words.length, to + AROUND_WORDS)];
  const cut = words.slice(start, end).join('');
  return `${start === 0 ? '' : '…'}${cut}${end === words.length ? '' : '…'}`;
}

interface Change {
  /** Words of the old text. */
  readonly from: number;
  readonly to: number;
  /** Words of the new one. */
  readonly at: number;
  readonly until: number;
}

function changesOf(old: readonly string[], young: readonly string[]): Change[] {
  let start = 0;
  while (start < old.length && start < young.length && old[start] === young[start]) start++;
  let [to, until] = [old.length, young.length];
  while (to > start && until > start && old[to - 1] === young[until - 1]) [to, until] = [to - 1, until - 1];
  const isLong = to - start > MCP_DIFF_WORDS_MAX || until - start > MCP_DIFF_WORDS_MAX;
  if (isLong) return [{ from: start, to, at: start, until }];
  return joined(gapsOf(commonWords(old.slice(start, to), young.slice(start, until)), start, to, until));
}

/** Pairs of positions of a longest common subsequence. */
function commonWords(old: readonly string[], young: readonly string[]): [number, number][] {
  const width = young.length + 1;
  const lengths = new Uint16Array((old.length + 1) * width);
  const at = (i: number, j: number): number => lengths[i * width + j] as number;
  for (let i = old.length - 1; i >= 0; i--)
    for (let j = young.length - 1; j >= 0; j--)
      lengths[i * width + j] = old[i] === young[j] ? at(i + 1, j + 1) + 1 : Math.max(at(i + 1, j), at(i, j + 1));
  const pairs: [number, number][] = [];
  for (let i = 0, j = 0; i < old.length && j < young.length; ) {
    if (old[i] === young[j]) pairs.push([i++, j++]);
    else if (at(i + 1, j) >= at(i, j + 1)) i++;
    else j++;
  }
  return pairs;
}

function gapsOf(pairs: readonly [number, number][], start: number, to: number, until: number): Change[] {
  const changes: Change[] = [];
  let [from, at] = [start, start];
  for (const [i, j] of [...pairs.map(([a, b]) => [a + start, b + start] as const), [to, until] as const]) {
    if (i > from || j > at) changes.push({ from, to: i, at, until: j });
    [from, at] = [i + 1, j + 1];
  }
  return changes;
}

/** Changes whose surroundings would overlap are one. */
function joined(changes: readonly Change[]): Change[] {
  const out: Change[] = [];
  for (const change of changes) {
    const last = out.at(-1);
    if (last !== undefined && change.from - last.to <= AROUND_WORDS)
      out[out.length - 1] = { ...last, to: change.to, until: change.until };
    else out.push(change);
  }
  return out;
}

/** Nobody reads more, and what is left out is said: a long change may hide a short one. */
function bounded(lines: readonly string[]): string {
  const out: string[] = [];
  let left = MCP_DIFF_LETTERS_MAX;
  for (const [i, text] of lines.entries()) {
    if (text.length > left) {
      const cut = text.slice(0, left).toWellFormed();
      const rest = lines.slice(i).reduce((sum, { length }) => sum + length, 0) - cut.length;
      return [
        ...out,
        cut,
        `… ${rest} letters in ${lines.length - i} changes are not shown; look at the definition`,
      ].join('\n');
    }
    out.push(text);
    left -= text.length;
  }
  return out.join('\n');
}
