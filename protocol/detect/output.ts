/** What is done about findings in a result before anybody reads it (SPEC "Labels and output rules"). */
import type { Json, JsonObject } from '../encoding/jcs.ts';
import { DETECT_DEPTH_MAX, DETECT_ROUNDS_MAX, FINDINGS_NOTED_MAX } from '../limits.ts';
import type { OutputAction, OutputRules } from '../policy/decision.ts';
import type { Span } from './finding.ts';
import { classOf, type Label } from './labels.ts';
import { MARK_END, MARK_START } from './marks.ts';
import { scanText } from './text.ts';
import { binaryOf, encodeBase64, isObject, joinedSpans, NameScanner, type Place, pointerOf } from './walk.ts';

/** Beside labels: more bytes than the rules allow, or nested deeper than DETECT_DEPTH_MAX. */
export type RefusalLabel = Label | 'size' | 'depth';

export interface OutputResult {
  /** Null where it is refused. The very value that was given, where nothing changed. */
  readonly result: Json;
  readonly refused?: { readonly label: RefusalLabel };
  /** Sorted: what was found, whatever was done about it. */
  readonly labels: readonly Label[];
  readonly changed: boolean;
}

/** The member of `_meta` that says what was found and kept: [{label, path}]. */
const NOTE_MEMBER = 'agentmesh/findings';
const NOTE_START = '[agentmesh: found in this result: ';

class Refusal extends Error {
  readonly label: RefusalLabel;
  constructor(label: RefusalLabel) {
    super(label);
    this.label = label;
  }
}

interface Noted {
  readonly label: Label;
  readonly path: string;
}

/**
 * `redact` puts `[redacted: label]` in the place of what was found, in texts, names of members and texts in base64.
 * `mark` keeps it: in texts of content, what speaks to the model is put between marks that say that it is data, and
 * invisible characters are shown as ⟨U+200B⟩; all else, and everything in structured content, is named in
 * `_meta["agentmesh/findings"]` and in a text block of its own. Of a value that is no MCP result it only labels. `refuse`
 * lets nothing through. What it returns it returns unchanged when it is asked again. Never throws.
 */
export function applyOutput(result: Json, rules: OutputRules): OutputResult {
  const labels = new Set<Label>();
  const done = (value: Json, label?: RefusalLabel): OutputResult => ({
    result: value,
    ...(label !== undefined && { refused: { label } }),
    labels: [...labels].sort(),
    changed: label !== undefined || value !== result,
  });
  try {
    if (isTooDeep(result)) return done(null, 'depth');
    if (isTooLarge(result, rules.bytesMax)) return done(null, 'size');
    let current = result;
    let last: Label | undefined;
    for (let round = 0; round < DETECT_ROUNDS_MAX; round++) {
      const pass = new Pass(rules);
      const next = pass.result(current);
      for (const label of pass.labels) labels.add(label);
      if (next === current) return isTooLarge(current, rules.bytesMax) ? done(null, 'size') : done(current);
      last = [...pass.labels].at(-1);
      current = next;
    }
    return done(null, last ?? 'hidden.instruction'); // what was put in place of a finding makes another, again and again
  } catch (error) {
    if (error instanceof Refusal) {
      if (error.label !== 'size' && error.label !== 'depth') labels.add(error.label);
      return done(null, error.label);
    }
    throw error;
  }
}

function isTooDeep(value: Json): boolean {
  const stack: { readonly value: Json; readonly depth: number }[] = [{ value, depth: 1 }];
  for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
    if (typeof next.value !== 'object' || next.value === null) continue;
    if (next.depth > DETECT_DEPTH_MAX) return true;
    for (const inner of Object.values<Json>(next.value as JsonObject))
      stack.push({ value: inner, depth: next.depth + 1 });
  }
  return false;
}

function isTooLarge(value: Json, bytesMax: number): boolean {
  const text = JSON.stringify(value) ?? '';
  if (text.length > bytesMax) return true;
  return text.length * 3 > bytesMax && new TextEncoder().encode(text).length > bytesMax;
}

/** One way through the value. */
class Pass {
  readonly labels = new Set<Label>();
  readonly #rules: OutputRules;
  readonly #names = new NameScanner();
  readonly #noted: Noted[] = [];

  constructor(rules: OutputRules) {
    this.#rules = rules;
  }

  /** The same value where nothing changes. */
  result(value: Json): Json {
    const applied = this.#value(value, undefined, typeof value === 'string');
    return this.#noted.length > 0 && isObject(applied) && isMcpResult(applied)
      ? withNote(applied, this.#noted)
      : applied;
  }

  #value(value: Json, place: Place | undefined, isText: boolean, joined: readonly Span[] = []): Json {
    if (typeof value === 'string') return this.#text(value, scanText(value).spans, place, isText, joined);
    if (Array.isArray(value)) return this.#list(value as readonly Json[], place, isText);
    return isObject(value) ? this.#object(value, place, isText, joined) : value;
  }

  #list(list: readonly Json[], place: Place | undefined, isText: boolean): Json {
    const crossing = joinedSpans(list);
    let changed: Json[] | undefined;
    for (let name = 0; name < list.length; name++) {
      const item = list[name] as Json;
      const next = this.#value(item, { parent: place, name }, isText, crossing.get(name));
      if (next !== item) (changed ??= [...list])[name] = next;
    }
    return changed ?? list;
  }

  #object(value: JsonObject, place: Place | undefined, isText: boolean, joined: readonly Span[]): Json {
    const binary = binaryOf(value);
    const isBlock = value.type === 'text' || typeof value.uri === 'string';
    const entries: [string, Json][] = [];
    let changed = false;
    for (const [name, member] of Object.entries(value)) {
      const inside = { parent: place, name };
      const newName = this.#name(name, inside);
      const isStructured = name === 'structuredContent' || name === '_meta';
      let next = member;
      if (name !== binary?.name)
        next = this.#value(
          member,
          inside,
          typeof member === 'string' ? isBlock && name === 'text' && !isOutside(place) : !isStructured && isText,
          name === 'text' ? joined : [],
        );
      else if (binary.text !== undefined) {
        const text = this.#value(binary.text, inside, true);
        if (text !== binary.text) next = encodeBase64(text as string);
      }
      if (next !== member || newName !== name) changed = true;
      entries.push([newName, next]);
    }
    if (!changed) return value;
    if (new Set(entries.map(([name]) => name)).size < entries.length)
      throw new Refusal([...this.labels].at(-1) ?? 'secret.generic');
    return Object.fromEntries(entries);
  }

  #name(name: string, place: Place): string {
    const spans = this.#names.spansOf(name);
    return spans.length === 0 ? name : this.#text(name, spans, place, false);
  }

  #text(
    text: string,
    own: readonly Span[],
    place: Place | undefined,
    isText: boolean,
    joined: readonly Span[] = [],
  ): string {
    if (own.length === 0 && joined.length === 0) return text;
    const redacted: Span[] = [];
    const wrapped: Span[] = [];
    const shown: Span[] = [];
    for (const span of joined.length === 0 ? own : [...own, ...joined].sort((a, b) => a.start - b.start)) {
      this.labels.add(span.label);
      const action: OutputAction = this.#rules[classOf(span.label)];
      if (action === 'refuse') throw new Refusal(span.label);
      if (action === 'redact') redacted.push(span);
      if (action !== 'mark') continue;
      const kind = classOf(span.label);
      if (isText && kind === 'instructions') wrapped.push(span);
      else if (isText && kind === 'invisible') shown.push(span);
      else this.#noted.push({ label: span.label, path: pointerOf(place) });
    }
    return edited(text, merged(redacted), wrapped, shown);
  }
}

/** Whether it is in what programs read, not models. */
function isOutside(place: Place | undefined): boolean {
  for (let at = place; at !== undefined; at = at.parent)
    if (at.name === 'structuredContent' || at.name === '_meta') return true;
  return false;
}

function merged(spans: readonly Span[]): Span[] {
  const out: Span[] = [];
  for (const span of spans) {
    const last = out.at(-1);
    if (last !== undefined && span.start < last.end)
      out[out.length - 1] = { ...last, end: Math.max(last.end, span.end) };
    else out.push(span);
  }
  return out;
}

interface Edit {
  readonly start: number;
  readonly end: number;
  readonly insert: string;
}

function edited(text: string, redacted: readonly Span[], wrapped: readonly Span[], shown: readonly Span[]): string {
  const edits: Edit[] = redacted.map(({ label, start, end }) => ({ start, end, insert: `[redacted: ${label}]` }));
  edits.push(...shownEdits(text, redacted, shown));
  for (const { start, end } of merged(widened(wrapped, redacted))) {
    if (text.startsWith(MARK_START, start - MARK_START.length) && text.startsWith(MARK_END, end)) continue;
    edits.push({ start, end: start, insert: MARK_START }, { start: end, end, insert: MARK_END });
  }
  if (edits.length === 0) return text;
  // At one place: what ends a passage, what begins one, what stands for something.
  const rank = ({ start, end, insert }: Edit): number => (end > start ? 2 : insert === MARK_END ? 0 : 1);
  edits.sort((a, b) => a.start - b.start || rank(a) - rank(b));
  const parts: string[] = [];
  let at = 0;
  for (const { start, end, insert } of edits) {
    parts.push(text.slice(at, start), insert);
    at = Math.max(at, end);
  }
  parts.push(text.slice(at));
  return parts.join('');
}

/** Each character on its own, except in what is taken out as a whole. */
function shownEdits(text: string, redacted: readonly Span[], shown: readonly Span[]): Edit[] {
  const edits: Edit[] = [];
  let r = 0;
  for (const { start, end } of merged(shown)) {
    for (let i = start; i < end; ) {
      const cp = text.codePointAt(i) ?? 0;
      const width = cp > 0xffff ? 2 : 1;
      while (r < redacted.length && (redacted[r] as Span).end <= i) r++;
      const cut = redacted[r];
      if (cut === undefined || i < cut.start)
        edits.push({ start: i, end: i + width, insert: `⟨U+${cp.toString(16).toUpperCase().padStart(4, '0')}⟩` });
      i += width;
    }
  }
  return edits;
}

/** A mark does not stand inside of what is taken out. */
function widened(wrapped: readonly Span[], redacted: readonly Span[]): Span[] {
  let r = 0;
  return wrapped.map((span) => {
    while (r < redacted.length && (redacted[r] as Span).end <= span.start) r++;
    let { start, end } = span;
    for (let k = r; k < redacted.length && (redacted[k] as Span).start < span.end; k++) {
      const cut = redacted[k] as Span;
      if (cut.start < start) start = cut.start;
      if (cut.end > end) end = cut.end;
    }
    return { ...span, start, end };
  });
}

const isMcpResult = ({ content, contents, messages, structuredContent }: JsonObject): boolean =>
  Array.isArray(content) || Array.isArray(contents) || Array.isArray(messages) || structuredContent !== undefined;

/** What was noted before stays: some of it may have been made visible in between. */
function withNote(result: JsonObject, noted: readonly Noted[]): JsonObject {
  const meta = isObject(result._meta) ? result._meta : {};
  const before = Array.isArray(meta[NOTE_MEMBER]) ? (meta[NOTE_MEMBER] as readonly Json[]) : [];
  const keyOf = (item: Json): string => (isObject(item) ? JSON.stringify([item.label, item.path]) : '');
  const known = new Set(before.map(keyOf));
  const fresh = new Map(noted.map(({ label, path }) => [JSON.stringify([label, path]), { label, path }]));
  const wanted = [...fresh].slice(0, FINDINGS_NOTED_MAX);
  if (wanted.every(([key]) => known.has(key))) return result;
  const kept = before.filter((item) => !fresh.has(keyOf(item)));
  const findings: Json[] = [...wanted.map(([, item]) => item), ...kept].slice(0, FINDINGS_NOTED_MAX);
  const labels = [...new Set(noted.map(({ label }) => label))].sort();
  const block = { type: 'text', text: `${NOTE_START}${labels.join(', ')}]` };
  const content = Array.isArray(result.content) ? (result.content as readonly Json[]) : undefined;
  const isNote = (item: Json): boolean =>
    isObject(item) && typeof item.text === 'string' && item.text.startsWith(NOTE_START);
  return {
    ...result,
    ...(content !== undefined && {
      content: [...content.filter((item, i) => i < content.length - 1 || !isNote(item)), block],
    }),
    _meta: { ...meta, [NOTE_MEMBER]: findings },
  };
}
