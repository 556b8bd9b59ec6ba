/**
 * From the text of a condition to its tree, by hand and strictly (SPEC "Policy conditions"):
 *
 *   condition = and *( ( "or" / "||" ) and )
 *   and       = not *( ( "and" / "&&" ) not )
 *   not       = "not" not / relation
 *   relation  = unary [ ( "==" / "!=" / "<" / "<=" / ">" / ">=" / "in" / "not" "in" ) unary ]
 *   unary     = "!" unary / value
 *   value     = primary *( "." word [ arguments ] / "[" ( text / integer ) "]" )
 *   primary   = text / number / "true" / "false" / "null" / list / "(" condition ")" / word [ arguments ]
 *   list      = "[" [ unary *( "," unary ) ] "]"
 *   arguments = "(" [ condition *( "," condition ) ] ")"
 *
 * CEL's grammar without arithmetic, `?:`, map literals and messages, and with the words `and`, `or` and `not`. What a tree
 * means is decided in check.ts.
 */
import { MeshError } from '../../errors.ts';
import { CONDITION_DEPTH_MAX, CONDITION_NODES_MAX, CONDITION_TEXT_MAX } from '../../limits.ts';

/** Offsets into the text, in UTF-16 code units. */
export interface Span {
  readonly start: number;
  readonly end: number;
}
export type Constant = null | boolean | number | string;
export type Relation = '==' | '!=' | '<' | '<=' | '>' | '>=';

export type Expression = Span &
  (
    | { readonly kind: 'constant'; readonly value: Constant }
    | { readonly kind: 'list'; readonly items: readonly Expression[] }
    | { readonly kind: 'word'; readonly word: string }
    | { readonly kind: 'member'; readonly of: Expression; readonly step: string | number; readonly at: Span }
    | { readonly kind: 'call'; readonly name: Word; readonly args: readonly Expression[] }
    | { readonly kind: 'method'; readonly of: Expression; readonly name: Word; readonly args: readonly Expression[] }
    | { readonly kind: 'not'; readonly of: Expression }
    | { readonly kind: 'and' | 'or'; readonly items: readonly Expression[] }
    | { readonly kind: 'relation'; readonly op: Relation; readonly left: Expression; readonly right: Expression }
    | { readonly kind: 'in'; readonly isNegated: boolean; readonly left: Expression; readonly right: Expression }
  );
export interface Word extends Span {
  readonly word: string;
}

type Token = Span &
  (
    | { readonly kind: 'text'; readonly value: string }
    | { readonly kind: 'number'; readonly value: number }
    | { readonly kind: 'word' | 'symbol' | 'end'; readonly value: string }
  );

const RELATIONS: ReadonlySet<string> = new Set(['==', '!=', '<', '<=', '>', '>=']);
const isRelation = (value: unknown): value is Relation => typeof value === 'string' && RELATIONS.has(value);
/** Mean something themselves and name nothing, but for members: `facts.in` is one. */
export const KEYWORDS: ReadonlySet<string> = new Set(['and', 'or', 'not', 'in', 'true', 'false', 'null']);

/** `policy_invalid`, with where in the text: line and column from 1, in characters, and the offset. */
export function invalid(text: string, offset: number, is: string, want: string): MeshError {
  const before = text.slice(0, offset);
  const line = before.split('\n').length;
  const column = Array.from(before.slice(before.lastIndexOf('\n') + 1)).length + 1;
  return new MeshError(
    'policy_invalid',
    `Cannot read condition at line ${line}, column ${column}: it is ${is}, want ${want}`,
    { line, column, offset, is, want },
  );
}

export const quoted = (text: string): string =>
  JSON.stringify(text.length > QUOTED_MAX ? `${text.slice(0, QUOTED_MAX)}…` : text);
const QUOTED_MAX = 64;

export function parseSyntax(text: string): Expression {
  if (text.length > CONDITION_TEXT_MAX)
    throw invalid(text, 0, `${text.length} characters long`, `at most ${CONDITION_TEXT_MAX}`);
  return new Parser(text).whole();
}

class Parser {
  readonly #text: string;
  readonly #tokens: readonly Token[];
  #next = 0;
  #depth = 0;
  #nodes = 0;

  constructor(text: string) {
    this.#text = text;
    this.#tokens = tokensOf(text);
  }

  whole(): Expression {
    if (this.#peek().kind === 'end') throw this.#unexpected('a condition');
    const expression = this.#or();
    if (this.#peek().kind !== 'end') throw this.#unexpected('"and", "or" or the end');
    return expression;
  }

  #or(): Expression {
    return this.#joined('or', '||', () => this.#joined('and', '&&', () => this.#not()));
  }

  #joined(kind: 'and' | 'or', symbol: string, item: () => Expression): Expression {
    const first = item();
    const items = [first];
    while (this.#takeWord(kind) || this.#takeSymbol(symbol)) items.push(item());
    const last = items.at(-1) ?? first;
    return items.length === 1 ? first : this.#node({ kind, items, start: first.start, end: last.end });
  }

  #not(): Expression {
    const { start } = this.#peek();
    if (!this.#takeWord('not')) return this.#relation();
    return this.#nested(() => {
      const of = this.#not();
      return this.#node({ kind: 'not', of, start, end: of.end });
    });
  }

  #relation(): Expression {
    const left = this.#unary();
    const relation = this.#relationAfter(left);
    const again = this.#peek();
    if (relation !== left && (isRelation(again.value) || this.#isWord('in') || this.#isWord('not')))
      throw this.#unexpected('"and" or "or": comparisons do not chain');
    return relation;
  }

  #relationAfter(left: Expression): Expression {
    const token = this.#peek();
    if (token.kind === 'symbol' && isRelation(token.value)) {
      this.#next++;
      const right = this.#unary();
      return this.#node({ kind: 'relation', op: token.value, left, right, start: left.start, end: right.end });
    }
    const isNegated = this.#takeWord('not');
    if (!this.#takeWord('in')) {
      if (isNegated) throw this.#unexpected('"in" after "not"');
      return left;
    }
    const right = this.#unary();
    return this.#node({ kind: 'in', isNegated, left, right, start: left.start, end: right.end });
  }

  #unary(): Expression {
    const { start } = this.#peek();
    if (!this.#takeSymbol('!')) return this.#value();
    return this.#nested(() => {
      const of = this.#unary();
      return this.#node({ kind: 'not', of, start, end: of.end });
    });
  }

  #value(): Expression {
    let of = this.#primary();
    for (;;) {
      if (this.#takeSymbol('.')) of = this.#afterDot(of);
      else if (this.#takeSymbol('[')) of = this.#indexed(of);
      else return of;
    }
  }

  #afterDot(of: Expression): Expression {
    const name = this.#peek();
    if (name.kind !== 'word') throw this.#unexpected("the name of a member: others are written as ['name']");
    this.#next++;
    const { start } = of;
    if (!this.#takeSymbol('('))
      return this.#node({ kind: 'member', of, step: name.value, at: name, start, end: name.end });
    const args = this.#args();
    return this.#node({
      kind: 'method',
      of,
      name: { word: name.value, start: name.start, end: name.end },
      args,
      start,
      end: this.#endBefore(),
    });
  }

  #indexed(of: Expression): Expression {
    const token = this.#peek();
    const isIndex = token.kind === 'number' && Number.isSafeInteger(token.value) && token.value >= 0;
    if (token.kind !== 'text' && !isIndex) throw this.#unexpected('a text, or an integer from 0');
    this.#next++;
    this.#closeWith(']');
    return this.#node({
      kind: 'member',
      of,
      step: token.value,
      at: token,
      start: of.start,
      end: this.#endBefore(),
    });
  }

  #primary(): Expression {
    const token = this.#peek();
    const { start, end } = token;
    if (token.kind === 'text' || token.kind === 'number') {
      this.#next++;
      return this.#node({ kind: 'constant', value: token.value, start, end });
    }
    if (token.kind === 'word') return this.#word(token.value, { start, end });
    if (this.#takeSymbol('(')) return this.#parenthesised(start);
    if (this.#takeSymbol('[')) return this.#list(start);
    throw this.#unexpected('a field, a value, "not" or "("');
  }

  #word(word: string, { start, end }: Span): Expression {
    const constant = word === 'true' ? true : word === 'false' ? false : word === 'null' ? null : undefined;
    if (constant === undefined && KEYWORDS.has(word)) throw this.#unexpected('a field, a value, "not" or "("');
    this.#next++;
    if (constant !== undefined) return this.#node({ kind: 'constant', value: constant, start, end });
    if (!this.#takeSymbol('(')) return this.#node({ kind: 'word', word, start, end });
    const args = this.#args();
    return this.#node({ kind: 'call', name: { word, start, end }, args, start, end: this.#endBefore() });
  }

  #parenthesised(start: number): Expression {
    return this.#nested(() => {
      const inner = this.#or();
      this.#closeWith(')');
      return { ...inner, start, end: this.#endBefore() };
    });
  }

  #list(start: number): Expression {
    return this.#nested(() => {
      const items = this.#separated(']', () => this.#unary());
      return this.#node({ kind: 'list', items, start, end: this.#endBefore() });
    });
  }

  #args(): readonly Expression[] {
    return this.#nested(() => this.#separated(')', () => this.#or()));
  }

  #separated(close: string, item: () => Expression): Expression[] {
    const items: Expression[] = [];
    if (this.#takeSymbol(close)) return items;
    do items.push(item());
    while (this.#takeSymbol(','));
    if (!this.#takeSymbol(close)) throw this.#unexpected(`"," or "${close}"`);
    return items;
  }

  /** What calls itself, once deeper. */
  #nested<T>(inside: () => T): T {
    if (++this.#depth > CONDITION_DEPTH_MAX)
      throw invalid(this.#text, this.#peek().start, 'nested deeper', `at most ${CONDITION_DEPTH_MAX} levels`);
    const result = inside();
    this.#depth--;
    return result;
  }

  #node(expression: Expression): Expression {
    if (++this.#nodes > CONDITION_NODES_MAX)
      throw invalid(
        this.#text,
        expression.start,
        'longer',
        `at most ${CONDITION_NODES_MAX} fields, values and operators`,
      );
    return expression;
  }

  #peek(): Token {
    const token = this.#tokens[this.#next] ?? this.#tokens.at(-1);
    if (token === undefined) throw new MeshError('internal', 'Cannot read condition: it has no tokens, want an end');
    return token;
  }
  #endBefore(): number {
    return this.#tokens[this.#next - 1]?.end ?? 0;
  }
  #isWord(word: string): boolean {
    const token = this.#peek();
    return token.kind === 'word' && token.value === word;
  }
  #takeWord(word: string): boolean {
    const isIt = this.#isWord(word);
    if (isIt) this.#next++;
    return isIt;
  }
  #takeSymbol(symbol: string): boolean {
    const token = this.#peek();
    const isIt = token.kind === 'symbol' && token.value === symbol;
    if (isIt) this.#next++;
    return isIt;
  }
  #closeWith(symbol: string): void {
    if (!this.#takeSymbol(symbol)) throw this.#unexpected(`"${symbol}"`);
  }

  #unexpected(want: string): MeshError {
    const { kind, start, end } = this.#peek();
    const is = kind === 'end' ? 'at its end' : quoted(this.#text.slice(start, end));
    return invalid(this.#text, start, is, want);
  }
}

const WORD = /[A-Za-z_][A-Za-z0-9_]*/y;
const NUMBER = /-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?/y;
const SYMBOL = /==|!=|<=|>=|&&|\|\||[()[\],.<>!]/y;
const SPACE = /[ \t\r\n]+/y;
const WORD_AFTER = /[A-Za-z0-9_]/;
/** What people write who know other languages. */
const MEANT: Readonly<Record<string, string>> = {
  '=': '"=="',
  '&': '"&&" or "and"',
  '|': '"||" or "or"',
  '’': `a text in ' or "`,
  '“': `a text in ' or "`,
  '”': `a text in ' or "`,
};

function tokensOf(text: string): Token[] {
  const tokens: Token[] = [];
  let at = 0;
  const take = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at;
    const found = pattern.exec(text);
    if (found !== null) at = pattern.lastIndex;
    return found;
  };
  while (at < text.length) {
    if (take(SPACE) !== null) continue;
    const start = at;
    const textStart = /["']/.test(text[at] ?? '') ? at : /^[rR]["']/.test(text.slice(at, at + 2)) ? at + 1 : undefined;
    if (textStart !== undefined) {
      const { value, end } = textAt(text, textStart, textStart > start);
      at = end;
      tokens.push({ kind: 'text', value, start, end });
      continue;
    }
    const number = take(NUMBER);
    if (number !== null) {
      tokens.push({ kind: 'number', value: numberOf(text, number, at), start, end: at });
      continue;
    }
    const kind = take(WORD) !== null ? 'word' : take(SYMBOL) !== null ? 'symbol' : undefined;
    if (kind === undefined) throw unreadable(text, at);
    tokens.push({ kind, value: text.slice(start, at), start, end: at });
  }
  tokens.push({ kind: 'end', value: '', start: text.length, end: text.length });
  return tokens;
}

function unreadable(text: string, at: number): MeshError {
  const character = String.fromCodePoint(text.codePointAt(at) ?? 0);
  const is = /[\p{C}\p{Z}]/u.test(character)
    ? `U+${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}`
    : quoted(character);
  return invalid(text, at, is, MEANT[character] ?? 'a field, a value or an operator');
}

function numberOf(text: string, found: RegExpExecArray, end: number): number {
  const [digits, fraction, exponent] = found;
  const value = Number(digits);
  if (WORD_AFTER.test(text[end] ?? ''))
    throw invalid(text, found.index, quoted(text.slice(found.index, end + 1)), 'a number such as 10, -2 or 0.5');
  // Digits that are rounded would compare as another number than the one that is written.
  const isKept =
    fraction === undefined && exponent === undefined ? Number.isSafeInteger(value) : Number.isFinite(value);
  if (!isKept)
    throw invalid(text, found.index, quoted(digits), 'a number that a double holds: integers within ±(2^53 - 1)');
  return value === 0 ? 0 : value;
}

const SIMPLE_ESCAPES: Readonly<Record<string, string>> = {
  '\\': '\\',
  "'": "'",
  '"': '"',
  n: '\n',
  r: '\r',
  t: '\t',
};
const HEX_ESCAPE = /x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})/y;

/** CEL's, on one line; `r` before the quote: a backslash is a letter. */
function textAt(text: string, start: number, isRaw: boolean): { value: string; end: number } {
  const quote = text[start];
  let value = '';
  let at = start + 1;
  for (;;) {
    const letter = text[at];
    if (letter === undefined || letter === '\n' || letter === '\r')
      throw invalid(text, start, 'a text without an end', `${quote} on the same line`);
    if (letter === quote) break;
    if (letter === '\\' && !isRaw) {
      const escape = escapeAt(text, at);
      value += escape.value;
      at = escape.end;
    } else {
      value += letter;
      at++;
    }
  }
  if (!value.isWellFormed()) throw invalid(text, start, 'half of a surrogate pair', 'Unicode text');
  return { value, end: at + 1 };
}

function escapeAt(text: string, at: number): { value: string; end: number } {
  const simple = SIMPLE_ESCAPES[text[at + 1] ?? ''];
  if (simple !== undefined) return { value: simple, end: at + 2 };
  HEX_ESCAPE.lastIndex = at + 1;
  const found = HEX_ESCAPE.exec(text);
  const point = Number.parseInt(found?.[1] ?? found?.[2] ?? found?.[3] ?? '', 16);
  if (found === null || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff))
    throw invalid(
      text,
      at,
      quoted(text.slice(at, at + 2)),
      `\\\\ \\' \\" \\n \\r \\t \\xHH \\uHHHH or \\UHHHHHHHH; a pattern is best written as r'…'`,
    );
  return { value: String.fromCodePoint(point), end: HEX_ESCAPE.lastIndex };
}
