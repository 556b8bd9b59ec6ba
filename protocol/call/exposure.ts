/**
 * What an organisation exposes to others: a server of MCP under a name, started here or reached by URL, with what its
 * calls need and the policy that decides them (SPEC "Exposed servers"). One form in agentmesh.yaml and the control API.
 */
import { isCapability } from '../delegation/capability.ts';
import * as limits from '../limits.ts';
import { isOwnHeader } from '../mcp/own-header.ts';

/** A program, started once for each link, or a server behind Streamable HTTP. */
export type ServerPlace =
  | {
      readonly command: readonly string[];
      readonly cwd: string;
      readonly env?: Readonly<Record<string, string>> | undefined;
    }
  | { readonly url: string; readonly headers?: Readonly<Record<string, string>> | undefined };

/** As people write it. */
export interface ExposureInput {
  readonly name: string;
  /** Program and arguments; or `url`. */
  readonly command?: readonly string[] | undefined;
  /** Absolute, once it is read. */
  readonly cwd?: string | undefined;
  /** The server's environment, beside what every program needs. */
  readonly env?: Readonly<Record<string, string>> | undefined;
  readonly url?: string | undefined;
  /** Sent with every request. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** Needed for every tool that `needs` does not name; without it mcp:NAME/TOOL. */
  readonly capability?: string | undefined;
  /** By tool. */
  readonly needs?: Readonly<Record<string, string>> | undefined;
  /** Name of a built-in policy; a file in agentmesh.yaml, a digest in the control API. Default: moderate. */
  readonly policy?: string | undefined;
  readonly description?: string | undefined;
}

export interface ExposureFault {
  /** Empty: the whole. */
  readonly path: readonly (string | number)[];
  readonly is: unknown;
  readonly want: string;
}

/** A segment of a capability, too: mcp:NAME/TOOL. */
export const isExposedName = (name: string): boolean => /^[a-z][a-z0-9._-]{0,63}$/.test(name);

const isPrintable = (text: string): boolean => !/[\p{Cc}\p{Zl}\p{Zp}]/u.test(text) && text.isWellFormed();
const isVariable = (name: string): boolean => /^[A-Za-z_][A-Za-z0-9_]{0,127}$/.test(name);
const isText = (value: string, lengthMax: number): boolean =>
  value.length <= lengthMax && !value.includes('\0') && value.isWellFormed();
const isValue = (value: string): boolean => isText(value, limits.EXPOSED_VALUE_TEXT_MAX);

/** RFC 9110 5.6.2 and 5.5: a token. Of a value, what no implementation trips over. */
const isHeaderName = (name: string): boolean => /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$/.test(name);
const isHeaderValue = (value: string): boolean =>
  value.length <= limits.EXPOSED_VALUE_TEXT_MAX && /^[\t\x20-\x7e]*$/.test(value);

const isWord = (word: string): boolean => isText(word, limits.EXPOSED_WORD_TEXT_MAX);

function isServerUrl(text: string): boolean {
  if (text.length > limits.EXPOSED_URL_TEXT_MAX || !URL.canParse(text)) return false;
  const { protocol, username, password } = new URL(text);
  return ['http:', 'https:'].includes(protocol) && username === '' && password === '';
}

interface Rule {
  readonly isRight: (value: unknown) => boolean;
  readonly want: string;
}

const text = (isRight: (value: string) => boolean, want: string): Rule => ({
  isRight: (value) => typeof value === 'string' && isRight(value),
  want,
});
const capability = text(isCapability, 'a capability like "read:reports/q3" or "read:reports/*"');
const word = text(isWord, `text of at most ${limits.EXPOSED_WORD_TEXT_MAX} characters`);

/** Members whose value is one text. */
const TEXTS: Readonly<Record<string, Rule>> = {
  name: text(isExposedName, '1 to 64 of a-z, 0-9, ".", "_" and "-", beginning with a letter'),
  cwd: text((value) => value !== '' && isWord(value), 'a directory'),
  url: text(isServerUrl, 'http://… or https://… without a password'),
  capability,
  policy: text(
    (value) => value !== '' && isWord(value),
    'strict, moderate, permissive, or another policy by file or digest',
  ),
  description: text(
    (value) =>
      value !== '' &&
      value.length <= limits.EXPOSED_DESCRIPTION_TEXT_MAX &&
      isPrintable(value) &&
      value.trim() === value,
    `one line of at most ${limits.EXPOSED_DESCRIPTION_TEXT_MAX} printable characters`,
  ),
};

interface MapRule {
  readonly itemsMax: number;
  readonly want: string;
  readonly key: Rule;
  readonly value: Rule;
  /** What is wrong may be a secret. */
  readonly isSecret: boolean;
}

/** Members whose value is a map of texts. */
const MAPS: Readonly<Record<string, MapRule>> = {
  env: {
    itemsMax: limits.EXPOSED_VARIABLES_MAX,
    want: `a map of at most ${limits.EXPOSED_VARIABLES_MAX} variables`,
    key: text(isVariable, 'the name of a variable like "API_TOKEN"'),
    value: text(
      isValue,
      `text of at most ${limits.EXPOSED_VALUE_TEXT_MAX} characters (in quotes, where it is a number)`,
    ),
    isSecret: true,
  },
  headers: {
    itemsMax: limits.EXPOSED_VARIABLES_MAX,
    want: `a map of at most ${limits.EXPOSED_VARIABLES_MAX} headers`,
    key: text((name) => isHeaderName(name) && !isOwnHeader(name), 'the name of a header that is not set anyway'),
    value: text(isHeaderValue, `at most ${limits.EXPOSED_VALUE_TEXT_MAX} printable characters of ASCII`),
    isSecret: true,
  },
  needs: {
    itemsMax: limits.EXPOSED_NEEDS_MAX,
    want: `a map of at most ${limits.EXPOSED_NEEDS_MAX} tools, each with its capability`,
    key: text(
      (name) => name !== '' && isText(name, limits.MCP_NAME_TEXT_MAX),
      `the name of a tool of at most ${limits.MCP_NAME_TEXT_MAX} characters`,
    ),
    value: capability,
    isSecret: false,
  },
};

const MEMBERS = [...Object.keys(TEXTS), ...Object.keys(MAPS), 'command'];

const isMap = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** What is wrong with it first; undefined: nothing. */
export function exposureFault(value: unknown): ExposureFault | undefined {
  if (!isMap(value)) return { path: [], is: value, want: 'a map with "name" and either "command" or "url"' };
  for (const [member, is] of Object.entries(value)) {
    const fault = memberFault(member, is);
    if (fault !== undefined) return fault;
  }
  return togetherFault(value);
}

function memberFault(member: string, is: unknown): ExposureFault | undefined {
  if (!MEMBERS.includes(member)) return { path: [member], is: member, want: `one of ${MEMBERS.toSorted().join(', ')}` };
  if (is === undefined) return undefined;
  const rule = TEXTS[member];
  if (rule !== undefined) return rule.isRight(is) ? undefined : { path: [member], is, want: rule.want };
  const map = MAPS[member];
  return map === undefined ? commandFault(is) : mapFault(member, is, map);
}

function commandFault(is: unknown): ExposureFault | undefined {
  if (!Array.isArray(is) || is.length === 0 || is.length > limits.EXPOSED_WORDS_MAX)
    return { path: ['command'], is, want: `a list of 1 to ${limits.EXPOSED_WORDS_MAX}: a program and its arguments` };
  const wrong = is.findIndex((each, index) => !word.isRight(each) || (index === 0 && each === ''));
  return wrong < 0 ? undefined : { path: ['command', wrong], is: is[wrong], want: word.want };
}

function mapFault(
  member: string,
  is: unknown,
  { itemsMax, want, key, value, isSecret }: MapRule,
): ExposureFault | undefined {
  if (!isMap(is) || Object.keys(is).length > itemsMax)
    return { path: [member], is: isMap(is) || isSecret ? 'another' : is, want };
  for (const [name, each] of Object.entries(is)) {
    if (!key.isRight(name)) return { path: [member, name], is: name, want: key.want };
    if (!value.isRight(each)) return { path: [member, name], is: isSecret ? 'another' : each, want: value.want };
  }
  return undefined;
}

/** What each member cannot tell. */
function togetherFault(value: Readonly<Record<string, unknown>>): ExposureFault | undefined {
  const has = (member: string): boolean => value[member] !== undefined;
  if (!has('name')) return { path: ['name'], is: undefined, want: 'a name by which others call it' };
  if (has('command') === has('url'))
    return { path: [], is: has('url') ? 'with both' : 'with neither', want: 'either "command" or "url"' };
  const [other, members] = has('url') ? (['command', ['cwd', 'env']] as const) : (['url', ['headers']] as const);
  const without = members.find(has);
  return without === undefined ? undefined : { path: [without], is: 'there', want: `it only with "${other}"` };
}
