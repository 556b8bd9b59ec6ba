/** JSON with comments and trailing commas, as editors read it. */
import {
  applyEdits,
  createScanner,
  type Edit,
  type Node,
  parseTree,
  type ParseError,
  printParseErrorCode,
} from 'jsonc-parser';
import { MeshError } from '../../protocol/index.ts';
import type { Format } from './document.ts';
import type { Json } from './json-value.ts';
import type { Change } from './shapes.ts';

const BOM = '\ufeff';
const COMMA_TOKEN = 5; // SyntaxKind.CommaToken, whose enum is not there at run time

export const jsonFormat: Format = {
  parse: (text) => {
    const root = treeOf(text);
    return root === undefined ? {} : valueOf(root);
  },
  textAt: (text, path) => {
    const { offset, length } = find(text, path);
    return text.slice(offset, offset + length);
  },
  replace: (text, path, content) => {
    const { offset, length } = find(text, path);
    return applyEdits(text, [{ offset, length, content }]);
  },
  edit: (text, path, { at, ...change }) => {
    const object = find(text, [...path, ...at.slice(0, -1)]);
    const key = at.at(-1);
    if (key === undefined || object.type !== 'object') throw notObject(path);
    return applyEdits(
      text,
      change.value === undefined ? removal(text, object, key) : setting(text, object, key, change),
    );
  },
};

/** The newest: an edit reads the text that was just looked at, and of ~/.claude.json each reading takes a while. */
let newest: { readonly text: string; readonly root: Node | undefined } | undefined;

/** Undefined for a file without a value: some editors make one. Errors: malformed. */
function treeOf(text: string): Node | undefined {
  if (newest?.text !== text) newest = { text, root: readTree(text) };
  return newest.root;
}

function readTree(text: string): Node | undefined {
  // A byte order mark is one character of white space, so that offsets are those of the text.
  const plain = text.startsWith(BOM) ? ` ${text.slice(1)}` : text;
  const errors: ParseError[] = [];
  let root: Node | undefined;
  try {
    root = parseTree(plain, errors, { allowTrailingComma: true, allowEmptyContent: true });
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause; // its stack is the parser's depth
    throw new MeshError('malformed', 'it is nested too deeply', {}, { cause });
  }
  const [first] = errors;
  if (first !== undefined) {
    const before = plain.slice(0, first.offset).split('\n');
    const [line, column] = [before.length, (before.at(-1)?.length ?? 0) + 1];
    const what = printParseErrorCode(first.error)
      .replaceAll(/(?<=[a-z])(?=[A-Z])/g, ' ')
      .toLowerCase();
    throw new MeshError('malformed', `line ${line}, column ${column}: ${what}`, { line, column });
  }
  if (root !== undefined && root.type !== 'object')
    throw new MeshError('malformed', `it holds ${root.type === 'array' ? 'a list' : 'a single value'}, want an object`);
  return root;
}

/** As a program reads it: of two members with one name the last counts. */
function valueOf(node: Node): Json {
  if (node.type === 'array') return (node.children ?? []).map(valueOf);
  if (node.type !== 'object') return node.value as Json;
  return Object.fromEntries(membersOf(node).map(({ key, value }) => [key, valueOf(value)]));
}

interface Member {
  readonly key: string;
  readonly value: Node;
  /** Key, colon and value. */
  readonly node: Node;
}

const membersOf = (object: Node): readonly Member[] =>
  (object.children ?? []).flatMap((node) => {
    const [key, value] = node.children ?? [];
    return key === undefined || value === undefined ? [] : [{ key: String(key.value), value, node }];
  });

/** Errors: conflict, where a member on the way is there twice: clients would not agree which one counts. */
function find(text: string, path: readonly string[]): Node {
  let at = treeOf(text);
  for (const key of path) {
    const found = at?.type === 'object' ? membersOf(at).filter((member) => member.key === key) : [];
    if (found.length > 1)
      throw new MeshError('conflict', `"${key}" is there twice; remove one of them`, { field: key });
    at = found[0]?.value;
  }
  if (at === undefined) throw new MeshError('not_found', `there is no "${path.join('.')}"`, { field: path.join('.') });
  return at;
}

function memberOf(object: Node, key: string): Member | undefined {
  const found = membersOf(object).filter((member) => member.key === key);
  if (found.length > 1) throw new MeshError('conflict', `"${key}" is there twice; remove one of them`, { field: key });
  return found[0];
}

const notObject = (path: readonly string[]): MeshError =>
  new MeshError('conflict', `"${path.join('.')}" is not an object`, { field: path.join('.') });

/** How an object is written. */
interface Style {
  /** Between members: a line end and the indentation, a space, or nothing. */
  readonly gap: string;
  readonly isMultiline: boolean;
  /** One more level. */
  readonly unit: string;
  readonly eol: string;
  /** After colons, and after commas in a list on one line. */
  readonly space: string;
}

function styleOf(text: string, object: Node): Style {
  const eol = text.includes('\r\n') ? '\r\n' : '\n';
  const [first] = membersOf(object);
  const lead = text.slice(object.offset + 1, first?.node.offset ?? object.offset + 1);
  const isMultiline = lead.includes('\n');
  const indent = first === undefined ? '' : indentAt(text, first.node.offset);
  const outer = indentAt(text, object.offset);
  const unit = indent.startsWith(outer) && indent.length > outer.length ? indent.slice(outer.length) : '  ';
  const isSpaced = first === undefined || /\s/.test(text[(first.node.colonOffset ?? -1) + 1] ?? ' ');
  const space = isSpaced ? ' ' : '';
  return { gap: isMultiline ? `${eol}${indent}` : space, isMultiline, unit, eol, space };
}

/** White space that the line begins with. */
const indentAt = (text: string, offset: number): string =>
  /^\ufeff?([ \t]*)/.exec(text.slice(text.lastIndexOf('\n', offset - 1) + 1, offset))?.[1] ?? '';

function setting(text: string, object: Node, key: string, { value, inPlaceOf, after }: Omit<Change, 'at'>): Edit[] {
  const style = styleOf(text, object);
  const own = memberOf(object, key);
  if (own !== undefined) {
    const old = text.slice(own.value.offset, own.value.offset + own.value.length);
    const isStructure = own.value.type === 'array' || own.value.type === 'object';
    const multiline = isStructure && (own.value.children ?? []).length > 0 ? old.includes('\n') : style.isMultiline;
    return [{ offset: own.value.offset, length: own.value.length, content: format(value, style, multiline) }];
  }
  const content = `${JSON.stringify(key)}:${style.space}${format(value, style, style.isMultiline)}`;
  const replaced = inPlaceOf === undefined ? undefined : memberOf(object, inPlaceOf);
  if (replaced !== undefined) return [{ offset: replaced.node.offset, length: replaced.node.length, content }];
  const before = (after === undefined ? undefined : memberOf(object, after)) ?? membersOf(object).at(-1);
  if (before === undefined) return [{ offset: object.offset + 1, length: 0, content }];
  return [{ offset: before.node.offset + before.node.length, length: 0, content: `,${style.gap}${content}` }];
}

function format(value: Json | undefined, { gap, unit, eol, space }: Style, isMultiline: boolean): string {
  if (isMultiline) return JSON.stringify(value, null, unit).replaceAll('\n', gap.startsWith(eol) ? gap : eol);
  return inline(value ?? null, space);
}

function inline(value: Json, space: string): string {
  if (Array.isArray(value)) return `[${value.map((each: Json) => inline(each, space)).join(`,${space}`)}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const members = Object.entries(value).map(([key, each]) => `${JSON.stringify(key)}:${space}${inline(each, space)}`);
  return members.length === 0 ? '{}' : `{${space}${members.join(`,${space}`)}${space}}`;
}

/** The member with the white space before it, and the one comma that it needed. */
function removal(text: string, object: Node, key: string): Edit[] {
  const own = memberOf(object, key);
  if (own === undefined) return [];
  const [start, end] = [own.node.offset, own.node.offset + own.node.length];
  const members = membersOf(object);
  const index = members.findIndex(({ key: name }) => name === key);
  const [previous, next] = [members[index - 1], members[index + 1]];
  const comma = commaAfter(text, end, next?.node.offset ?? object.offset + object.length);
  let from = start;
  while (from > 0 && ' \t\r\n'.includes(text[from - 1] ?? '')) from -= 1;
  if (comma !== undefined) {
    return [
      { offset: from, length: end - from, content: '' },
      { offset: comma, length: 1, content: '' },
    ];
  }
  const before =
    previous === undefined ? undefined : commaAfter(text, previous.node.offset + previous.node.length, start);
  return [
    ...(before === undefined ? [] : [{ offset: before, length: 1, content: '' }]),
    { offset: Math.max(from, (before ?? -1) + 1), length: end - Math.max(from, (before ?? -1) + 1), content: '' },
  ];
}

/** Where the comma is, which may stand behind a comment. */
function commaAfter(text: string, from: number, to: number): number | undefined {
  const scanner = createScanner(text.slice(0, to), true);
  scanner.setPosition(from);
  return (scanner.scan() as number) === COMMA_TOKEN ? scanner.getTokenOffset() : undefined;
}
