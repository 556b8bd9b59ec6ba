/**
 * TOML, edited by statement: a server is changed where it is a table of its own ([mcp_servers.NAME], with or without
 * tables below it). Written as an inline table or with dotted keys it is refused, not guessed at. smol-toml says what the
 * text means; what is here only finds where a statement begins and ends.
 */
import { parse as parseToml, stringify, TomlError } from 'smol-toml';
import { MeshError } from '../../protocol/index.ts';
import type { Format } from './document.ts';
import type { Json } from './json-value.ts';

export const tomlFormat: Format = {
  parse,
  textAt: (text, path) => {
    const { start, end } = bodyOf(text, path);
    return text.slice(start, end);
  },
  replace: (text, path, content) => {
    const { start, end } = bodyOf(text, path);
    return text.slice(0, start) + content + text.slice(end);
  },
  edit: (text, path, { at, value, inPlaceOf, after }) => {
    const [key, ...deeper] = at;
    if (key === undefined || deeper.length > 0)
      throw new MeshError('internal', `Cannot edit "${at.join('.')}" in TOML`);
    const body = bodyOf(text, path);
    return value === undefined ? remove(text, body, key) : set(text, body, key, value, { inPlaceOf, after });
  },
};

function parse(text: string): Json {
  try {
    // Dates stay what they are: no client has any in a server, and elsewhere they are only compared.
    return parseToml(text.replace(/^\ufeff/, ''), { integersAsBigInt: 'asNeeded' }) as unknown as Json;
  } catch (cause) {
    if (cause instanceof RangeError) throw new MeshError('malformed', 'it is nested too deeply', {}, { cause });
    if (!(cause instanceof TomlError)) throw cause;
    const { line, column, message } = cause;
    const what = /^Invalid TOML document: (.*)$/m.exec(message)?.[1] ?? 'not TOML';
    throw new MeshError('malformed', `line ${line}, column ${column}: ${what}`, { line, column });
  }
}

/** A header, or a key with its value. */
interface Statement {
  readonly kind: 'table' | 'list' | 'pair';
  readonly path: readonly string[];
  /** Of the line. */
  readonly start: number;
  /** Behind the line's end. */
  readonly end: number;
  readonly valueStart: number;
  readonly valueEnd: number;
}

/** The statements of a text that smol-toml took. */
function statementsOf(text: string): Statement[] {
  const statements: Statement[] = [];
  let at = text.startsWith('\ufeff') ? 1 : 0;
  while (at < text.length) {
    const start = at;
    at = skip(text, at, ' \t');
    const letter = text[at] ?? '\n';
    if (letter === '#' || letter === '\n' || letter === '\r') {
      at = lineEnd(text, at);
      continue;
    }
    if (letter === '[') {
      const kind = text[at + 1] === '[' ? 'list' : 'table';
      const { path, next } = keyAt(text, at + (kind === 'list' ? 2 : 1));
      at = lineEnd(text, next);
      statements.push({ kind, path, start, end: at, valueStart: next, valueEnd: next });
      continue;
    }
    const { path, next } = keyAt(text, at);
    const valueStart = skip(text, next + 1, ' \t'); // behind "="
    const valueEnd = valueEndAt(text, valueStart);
    at = lineEnd(text, valueEnd);
    statements.push({ kind: 'pair', path, start, end: at, valueStart, valueEnd });
  }
  return statements;
}

const skip = (text: string, from: number, letters: string): number => {
  let at = from;
  while (at < text.length && letters.includes(text[at] ?? '')) at += 1;
  return at;
};

/** Behind the end of the line, or of the text. */
const lineEnd = (text: string, from: number): number => {
  const found = text.indexOf('\n', from);
  return found < 0 ? text.length : found + 1;
};

/** A dotted key; `next` is at what follows it: "=" or "]". */
function keyAt(text: string, from: number): { path: string[]; next: number } {
  const path: string[] = [];
  let at = from;
  for (;;) {
    at = skip(text, at, ' \t');
    const quote = text[at];
    if (quote === '"' || quote === "'") {
      const end = stringEnd(text, at);
      const content = text.slice(at + 1, end - 1);
      path.push(quote === '"' ? unescape(content) : content);
      at = end;
    } else {
      const word = /^[\w-]+/.exec(text.slice(at, at + 1024))?.[0] ?? '';
      if (word === '') throw unreadable(text, at);
      path.push(word);
      at += word.length;
    }
    at = skip(text, at, ' \t');
    if (text[at] !== '.') return { path, next: at };
    at += 1;
  }
}

const unescape = (content: string): string => {
  const { key } = parseToml(`key = "${content}"`);
  return typeof key === 'string' ? key : content;
};

const unreadable = (text: string, at: number): MeshError => {
  const line = text.slice(0, at).split('\n').length;
  return new MeshError('conflict', `line ${line} is written in a way that is not edited here`, { line });
};

/** Behind the closing quotes of the string that begins here. */
function stringEnd(text: string, from: number): number {
  const quote = text[from] ?? '';
  const triple = quote.repeat(3);
  const isLong = text.startsWith(triple, from);
  const closing = isLong ? triple : quote;
  let at = from + closing.length;
  while (at < text.length && !text.startsWith(closing, at)) at += quote === '"' && text[at] === '\\' ? 2 : 1;
  if (at >= text.length) throw unreadable(text, from);
  at += closing.length;
  // Up to two quotes may stand before the closing three.
  while (isLong && text[at] === quote) at += 1;
  return at;
}

/** Behind the value that begins here. */
function valueEndAt(text: string, from: number): number {
  let depth = 0;
  let at = from;
  let end = from;
  while (at < text.length) {
    const letter = text[at] ?? '';
    if (letter === '"' || letter === "'") {
      at = end = stringEnd(text, at);
      continue;
    }
    if (letter === '#') {
      if (depth === 0) return end;
      at = lineEnd(text, at);
      continue;
    }
    if (depth === 0 && (letter === '\n' || letter === '\r')) return end;
    if (letter === '[' || letter === '{') depth += 1;
    if (letter === ']' || letter === '}') depth -= 1;
    at += 1;
    if (!' \t\r\n'.includes(letter)) end = at;
  }
  if (depth !== 0) throw unreadable(text, from);
  return end;
}

/** A table as it stands: its own pairs, and the tables below it. */
interface Body {
  readonly path: readonly string[];
  readonly pairs: readonly Statement[];
  readonly header: Statement;
  readonly below: readonly Statement[];
  /** From behind the header to behind the last pair. */
  readonly start: number;
  readonly end: number;
}

const startsWith = (path: readonly string[], head: readonly string[]): boolean =>
  path.length >= head.length && head.every((key, i) => path[i] === key);

/** Errors: conflict, where it is no table of its own. */
function bodyOf(text: string, path: readonly string[]): Body {
  const statements = statementsOf(text);
  const isHeader = ({ kind, path: own }: Statement): boolean =>
    kind === 'table' && own.length === path.length && startsWith(own, path);
  const at = statements.findIndex(isHeader);
  const header = statements[at];
  const name = path.at(-1) ?? '';
  if (header === undefined) {
    throw new MeshError(
      'conflict',
      `"${name}" is written as an inline table or with dotted keys; write it as [${path.map(formatKey).join('.')}]`,
      { field: name },
    );
  }
  const next = statements.findIndex(({ kind }, i) => i > at && kind !== 'pair');
  const pairs = statements.slice(at + 1, next < 0 ? undefined : next);
  const dotted = pairs.find((pair) => pair.path.length > 1);
  if (dotted !== undefined)
    throw new MeshError('conflict', `"${name}" has the dotted key "${dotted.path.join('.')}"; write it as a table`, {
      field: name,
    });
  const below = statements.filter(
    ({ kind, path: own }) => kind !== 'pair' && own.length > path.length && startsWith(own, path),
  );
  return { path, header, pairs, below, start: header.end, end: pairs.at(-1)?.end ?? header.end };
}

/** The pair of a key. Errors: conflict, where a table of its own holds what is meant. */
function pairOf({ pairs, below, path }: Body, key: string): Statement | undefined {
  if (below.some(({ path: own }) => own[path.length] === key)) {
    const name = path.at(-1) ?? '';
    throw new MeshError('conflict', `"${name}" has a table "${key}" of its own; write it as one line: ${key} = { … }`, {
      field: name,
    });
  }
  return pairs.find((pair) => pair.path[0] === key);
}

const formatKey = (key: string): string =>
  /^[\w-]+$/.test(key) ? key : stringify({ [key]: 0 }).replace(/ = 0\s*$/, '');

function formatValue(value: Json): string {
  if (Array.isArray(value)) return `[${value.map((each: Json) => formatValue(each)).join(', ')}]`;
  if (typeof value !== 'object' || value === null) return stringify({ a: value }).trim().slice('a = '.length);
  const members = Object.entries(value).map(([key, each]) => `${formatKey(key)} = ${formatValue(each)}`);
  return `{ ${members.join(', ')} }`;
}

function set(
  text: string,
  body: Body,
  key: string,
  value: Json,
  { inPlaceOf, after }: { readonly inPlaceOf: string | undefined; readonly after: string | undefined },
): string {
  const own = pairOf(body, key) ?? (inPlaceOf === undefined ? undefined : pairOf(body, inPlaceOf));
  const pair = `${formatKey(key)} = ${formatValue(value)}`;
  if (own !== undefined) {
    const keyStart = skip(text, own.start, ' \t\ufeff');
    return text.slice(0, keyStart) + pair + text.slice(own.valueEnd);
  }
  const before = body.pairs.find((each) => each.path[0] === after) ?? body.pairs.at(-1) ?? body.header;
  const eol = text.includes('\r\n') ? '\r\n' : '\n';
  const lead = text.slice(0, before.end).endsWith('\n') ? '' : eol;
  const indent = /^[ \t]*/.exec(text.slice(before.start, before.end))?.[0] ?? '';
  return `${text.slice(0, before.end)}${lead}${indent}${pair}${lead === '' ? eol : ''}${text.slice(before.end)}`;
}

function remove(text: string, body: Body, key: string): string {
  const own = pairOf(body, key);
  return own === undefined ? text : text.slice(0, own.start) + text.slice(own.end);
}
