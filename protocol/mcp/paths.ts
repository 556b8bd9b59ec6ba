/**
 * Which texts of a request may name a path, and every way in which a server may read one. A policy that names
 * directories sees them all (SPEC "MCP as governed"), so that no spelling gets past it. What needs the file system (links,
 * the working directory, environment variables, case, short 8.3 names) is the port's.
 */
import type { Json } from '../encoding/jcs.ts';
import { scanJson } from '../encoding/json.ts';
import { MeshError } from '../errors.ts';
import { MCP_DECODINGS_MAX, MCP_DEPTH_MAX, MCP_PATH_FORMS_MAX, MCP_PATH_TEXT_MAX, MCP_PATHS_MAX } from '../limits.ts';

export interface Paths {
  /**
   * Absolute paths that these texts may mean to the server: resolved against its working directory, `~`, `$HOME` and
   * `%USERPROFILE%` expanded, as they are written and with links followed, and folded where the file system folds case.
   */
  canonicalPaths(texts: readonly string[]): readonly string[];
}

/** Every form of every text in a request's arguments that may name a path. Errors: malformed, too_large. */
export function pathTexts(args: Json): readonly string[] {
  const forms = new Set<string>();
  for (const text of pathCandidates(args)) for (const form of lexicalForms(text)) forms.add(form);
  return [...forms];
}

/** Texts, at any depth, names of members too. Errors: malformed, too_large. */
export function pathCandidates(args: Json): readonly string[] {
  const found = new Set<string>();
  collect(args, false, 0, found);
  return [...found];
}

function collect(value: Json, isNamed: boolean, depth: number, found: Set<string>): void {
  if (depth > MCP_DEPTH_MAX) throw tooMany(`levels of JSON within JSON`, MCP_DEPTH_MAX);
  if (typeof value === 'string') return collectText(value, isNamed, depth, found);
  if (typeof value !== 'object' || value === null) return;
  if (Array.isArray(value)) {
    for (const item of value as readonly Json[]) collect(item, isNamed, depth + 1, found);
    return;
  }
  for (const [name, item] of Object.entries(value)) {
    if (mayBePath(name)) add(name, found);
    collect(item, isNamed || namesPath(name), depth + 1, found);
  }
}

function collectText(text: string, isNamed: boolean, depth: number, found: Set<string>): void {
  if (isNamed ? text.trim() !== '' : mayBePath(text)) add(text, found);
  if (isNamed && /[\r\n]/.test(text))
    for (const line of text.split(/[\r\n]+/)) if (line.trim() !== '') add(line, found);
  const inner = jsonWithin(text);
  if (inner !== undefined) collect(inner, isNamed, depth + 1, found);
}

function add(text: string, found: Set<string>): void {
  found.add(text);
  if (found.size > MCP_PATHS_MAX) throw tooMany('texts that may name paths', MCP_PATHS_MAX);
}

const tooMany = (what: string, want: number): MeshError =>
  new MeshError('too_large', `Cannot judge the arguments: there are more than ${want} ${what}`, { want });

/** Servers in Python (FastMCP) parse a text where their function wants a list or an object. */
function jsonWithin(text: string): Json | undefined {
  if (!/^\s*[[{]/.test(text)) return undefined;
  let scan: ReturnType<typeof scanJson>;
  try {
    scan = scanJson(text, MCP_DEPTH_MAX);
  } catch {
    return undefined; // a text that only begins like JSON
  }
  if (scan.fault !== undefined)
    throw new MeshError('malformed', `Cannot judge the arguments: a text in them is JSON, and ${scan.fault.why}`);
  return scan.value as Json;
}

const PATH_WORDS = new Set(
  (
    'path paths filepath filepaths file files filename filenames dir dirs directory directories folder folders cwd ' +
    'root roots source sources src destination destinations dest dst target targets uri uris url urls location workdir ' +
    'workspace pathname'
  ).split(' '),
);

/** `file`, `file_path`, `sourceFile`, `allowedDirs`: one of its words names paths. */
function namesPath(name: string): boolean {
  const words = name
    .normalize('NFKC')
    .replaceAll(/(\p{Ll})(\p{Lu})/gu, '$1 $2')
    .toLowerCase()
    .split(/[^\p{L}]+/u);
  return words.some((word) => PATH_WORDS.has(word));
}

/** Of a text that nothing calls a path. */
function mayBePath(text: string): boolean {
  if (!PATH_LETTER.test(text)) return false;
  const short = text.trim();
  if (/^file:/i.test(short.replaceAll(/[\t\r\n]/g, ''))) return true;
  if (/[\r\n]/.test(short)) return false; // text of several lines: what is written, not where
  return !OTHER_SCHEME.test(short) || DOTS.test(decodedOften(short));
}

/** A separator (of any script or encoded), or what begins a path without one. */
const PATH_LETTER =
  /[/\\%\u2044\u2215\u29f8\uff0f\uff3c\ufe68]|^\s*[~.$\uff0e\uff5e\u2024]|^\s*file:|^\s*[a-z]:|:\s*$|:\$/i;
/** A URL of another scheme is a place in the file system only to who joins it to a directory. */
const OTHER_SCHEME = /^(?!file:)[a-z][-+.a-z0-9]+:\/\//i;
const DOTS = /(?:^|[/\\])\s*\.\.\s*(?:[/\\]|$)/;

/**
 * The ways to read a text as a path. Errors: malformed (a NUL, which ends the path for some and not for others; more
 * ways than anyone needs).
 */
export function lexicalForms(text: string): readonly string[] {
  const start = text.length > MCP_PATH_TEXT_MAX ? shortened(text) : [text];
  const forms = new Set<string>(start);
  const open: [form: string, decodings: number][] = start.map((form) => [form, 0]);
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const [form, decodings] = next;
    if (form.includes('\0')) throw new MeshError('malformed', 'Cannot judge the arguments: a path in them holds a NUL');
    for (const reading of readingsOf(form)) enter(reading, decodings);
    const decoded = percentDecoded(form);
    if (decoded !== form && decodings === MCP_DECODINGS_MAX)
      throw new MeshError('malformed', 'Cannot judge the arguments: a path in them is percent-encoded too many times', {
        want: MCP_DECODINGS_MAX,
      });
    enter(decoded, decodings + 1);
  }
  return [...forms].filter((form) => form !== '' && form.length <= MCP_PATH_TEXT_MAX);

  function enter(form: string, decodings: number): void {
    if (forms.has(form)) return;
    forms.add(form);
    open.push([form, decodings]);
    if (forms.size > MCP_PATH_FORMS_MAX)
      throw new MeshError('malformed', 'Cannot judge the arguments: a path in them can be read in too many ways', {
        want: MCP_PATH_FORMS_MAX,
      });
  }
}

/** Longer than any path, but `..` may make it short. */
function shortened(text: string): string[] {
  const plain = normalized(text);
  const decoded = decodedOften(text.normalize('NFKC'));
  return [plain, normalized(decoded.replaceAll('\\', '/')), ...fileUriPaths(decoded).map(normalized)].filter(
    (form) => form.length <= MCP_PATH_TEXT_MAX,
  );
}

function readingsOf(form: string): string[] {
  if (/^[/\w-]+$/.test(form) && !form.includes('//')) return []; // as most are
  return [
    form.trim(),
    form.normalize('NFC'),
    form.normalize('NFKC').replaceAll(INVISIBLE, ''),
    form.replaceAll('\\', '/'),
    ...fileUriPaths(form),
    withoutDevicePrefix(form),
    withoutStreams(form),
    withoutWindowsEnds(form),
    normalized(form),
  ];
}

const INVISIBLE = /[\p{Cf}\p{Default_Ignorable_Code_Point}]/gu;

/**
 * `file:` in every spelling: `file:/x`, `file:///x`, `file://localhost/x`, `file:x`, `file:\\\x`, `file:///C|/x`, with
 * tabs and line breaks in it, which the URL standard takes out. A host may be one (UNC) or a first directory.
 */
function fileUriPaths(text: string): string[] {
  const uri = text.replaceAll(/[\t\r\n]/g, '').trim();
  const rest = /^(?:url:)?file:(.*)$/is.exec(uri)?.[1];
  if (rest === undefined) return [];
  const [, slashes = '', path = ''] = /^([/\\]*)(.*)$/s.exec(rest) ?? [];
  const whole = slashes.length === 0 ? path : `/${path}`;
  const out = slashes.length === 2 ? [whole, path.replace(/^[^/\\]*/, ''), `//${path}`] : [whole];
  return out.flatMap((form) => {
    const drive = form.replace(/^[/\\]*([a-z])[:|]/i, '$1:');
    return [...new Set([form, drive])].flatMap((each) => [each, each.replace(/[?#].*$/s, '')]);
  });
}

/** `\\?\C:\x`, `\\.\C:\x`, `\??\C:\x`, `\\?\UNC\host\share`, `\\localhost\c$\x`. */
const withoutDevicePrefix = (form: string): string =>
  form
    .replace(/^[/\\]{2}[?.][/\\](?:unc[/\\]+)?/i, (prefix) => (/unc/i.test(prefix) ? '//' : ''))
    .replace(/^[/\\]\?\?[/\\]/, '')
    .replace(/^[/\\]{2}(?:localhost|127\.0\.0\.1|\[?::1\]?|\.)[/\\]([a-z])\$/i, '$1:');

/** NTFS: `x.txt::$DATA` and `x.txt:stream` are x.txt to who asks for access. The colon of a drive stays. */
const withoutStreams = (form: string): string =>
  form.replaceAll(/([^/\\:]+):[^/\\]*/g, (whole, name: string, at: number) =>
    at === 0 && name.length === 1 ? whole : name,
  );

/** Windows drops dots and spaces at the end of a name. */
const withoutWindowsEnds = (form: string): string =>
  form
    .split(/(?<=[/\\])/)
    .map((segment) => (/^\.{1,2}[/\\]?$/.test(segment) ? segment : withoutEnds(segment)))
    .join('');

function withoutEnds(segment: string): string {
  const separator = /[/\\]$/.exec(segment)?.[0] ?? '';
  const name = segment.slice(0, segment.length - separator.length);
  let end = name.length;
  while (end > 0 && (name[end - 1] === '.' || name[end - 1] === ' ')) end--;
  return (end === 0 ? name : name.slice(0, end)) + separator;
}

/** Without empty segments, `.` and `..`, where the text itself says what they undo. */
function normalized(path: string): string {
  const isAbsolute = path.startsWith('/');
  const kept: string[] = [];
  for (const segment of path.split('/')) {
    if (segment === '' || segment === '.') continue;
    if (segment !== '..') kept.push(segment);
    else if (kept.length > 0 && kept.at(-1) !== '..') kept.pop();
    else if (!isAbsolute) kept.push('..');
  }
  return (isAbsolute ? '/' : '') + kept.join('/') || (path === '' ? '' : '.');
}

function decodedOften(text: string): string {
  let decoded = text;
  for (let i = 0; i < MCP_DECODINGS_MAX; i++) decoded = percentDecoded(decoded);
  return decoded;
}

/** As lax decoders do it: what is no escape stays, and escapes of no UTF-8 are looked at for the overlong ones. */
export function percentDecoded(text: string): string {
  if (!text.includes('%')) return text;
  return text
    .replaceAll(/%u([0-9a-f]{4})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
    .replaceAll(/(?:%[0-9a-f]{2})+/gi, (run) => {
      const bytes = Uint8Array.from(run.slice(1).split('%'), (hex) => Number.parseInt(hex, 16));
      return lax.decode(withoutOverlong(bytes));
    })
    .toWellFormed();
}

const lax = new TextDecoder('utf-8', { ignoreBOM: true });

/** C0 AE is no UTF-8, but decoders that only shift bits make a dot of it. */
function withoutOverlong(bytes: Uint8Array): Uint8Array {
  const out: number[] = [];
  for (let i = 0; i < bytes.length; i++) {
    const [a = 0, b = 0, c = 0] = bytes.subarray(i, i + 3);
    if ((a === 0xc0 || a === 0xc1) && b >> 6 === 2) {
      out.push(((a & 1) << 6) | (b & 0x3f));
      i += 1;
    } else if (a === 0xe0 && b === 0x80 + ((b & 1) as number) && c >> 6 === 2) {
      out.push(((b & 1) << 6) | (c & 0x3f));
      i += 2;
    } else out.push(a);
  }
  return Uint8Array.from(out);
}
