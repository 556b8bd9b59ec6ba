/**
 * Which texts of a request may name a path, and every way in which a server may read one. A policy that names
 * directories sees them all (SPEC "MCP as governed"), so that no spelling gets past it. What needs the file system (links,
 * the working directory, variables, case) is the port's. A short 8.3 name of Windows cannot be told from a name.
 */
import type { Json } from '../encoding/jcs.ts';
import { type JsonScan, scanJson } from '../encoding/json.ts';
import { MeshError } from '../errors.ts';
import {
  MCP_DECODINGS_MAX,
  MCP_DEPTH_MAX,
  MCP_PATH_FORMS_MAX,
  MCP_PATH_LETTERS_MAX,
  MCP_PATH_LINES_MAX,
  PATH_TEXT_MAX,
  PATHS_MAX,
} from '../limits.ts';

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
  let letters = 0;
  for (const text of pathCandidates(args)) {
    for (const form of lexicalForms(text)) {
      letters += form.length;
      forms.add(form);
    }
    if (letters > MCP_PATH_LETTERS_MAX) throw tooMany('letters in its paths', MCP_PATH_LETTERS_MAX);
  }
  return [...forms];
}

/** Texts that may name paths, at any depth, names of members too. Errors: malformed, too_large. */
export function pathCandidates(args: Json): readonly string[] {
  const found = new Set<string>();
  collect(args, undefined, 0, found);
  return [...found];
}

/** What the names of members above a text say of it: a path, or a word that is one where it is short. */
type Named = 'path' | 'place' | undefined;

function collect(value: Json, named: Named, depth: number, found: Set<string>): void {
  if (depth > MCP_DEPTH_MAX) throw tooMany('levels of JSON within JSON', MCP_DEPTH_MAX);
  if (typeof value === 'string') return collectText(value, named, depth, found);
  if (typeof value !== 'object' || value === null) return;
  if (Array.isArray(value)) {
    for (const item of value as readonly Json[]) collect(item, named, depth + 1, found);
    return;
  }
  for (const [name, item] of Object.entries(value)) {
    if (mayBePath(name)) add(name, found);
    collect(item, named === 'path' ? named : (namedBy(name) ?? named), depth + 1, found);
  }
}

function collectText(text: string, named: Named, depth: number, found: Set<string>): void {
  if (named === undefined ? mayBePath(text) : isOneLine(text) && !isElsewhere(text)) add(text, found);
  if (named === 'path') for (const line of linesOf(text)) add(line, found);
  const inner = jsonWithin(text);
  if (inner !== undefined) collect(inner, named, depth + 1, found);
}

function add(text: string, found: Set<string>): void {
  found.add(text);
  if (found.size > PATHS_MAX) throw tooMany('texts that may name paths', PATHS_MAX);
}

const tooMany = (what: string, want: number): MeshError =>
  new MeshError('too_large', `Cannot judge the request: there are more than ${want} ${what}`, { want });

const LINE_BREAK = /[\r\n]/;
const isOneLine = (text: string): boolean => text.trim() !== '' && !LINE_BREAK.test(text.trim());

/** A list of paths in one text; of so many lines it is the content of a file. */
function linesOf(text: string): readonly string[] {
  if (!LINE_BREAK.test(text)) return [];
  const lines = text.split(/[\r\n]+/).filter((line) => line.trim() !== '');
  return lines.length <= MCP_PATH_LINES_MAX ? lines : [];
}

/** Servers in Python (FastMCP) parse a text where their function wants a list or an object. */
function jsonWithin(text: string): Json | undefined {
  if (!/^\s*[[{]/.test(text)) return undefined;
  let scan: JsonScan;
  try {
    scan = scanJson(text, MCP_DEPTH_MAX);
  } catch {
    return undefined; // a text that only begins like JSON
  }
  if (scan.fault !== undefined)
    throw new MeshError(
      'malformed',
      `Cannot judge the request: a text in its arguments is JSON, and ${scan.fault.why}`,
    );
  return scan.value as Json;
}

const PATH_WORD = /^(?:path|pathname|filepath|file|filename|dir|directory|directorie|folder|cwd|workdir|uri|url)s?$/;
const PLACE_WORD = /^(?:root|source|src|destination|dest|dst|target|location|workspace)s?$/;

/** `file`, `file_path`, `sourceFile`, `allowedDirs`: one of its words names paths. */
function namedBy(name: string): Named {
  const words = name
    .normalize('NFKC')
    .replaceAll(/(\p{Ll})(\p{Lu})/gu, '$1 $2')
    .toLowerCase()
    .split(/[^\p{L}]+/u);
  if (words.some((word) => PATH_WORD.test(word))) return 'path';
  return words.some((word) => PLACE_WORD.test(word)) ? 'place' : undefined;
}

/** Of a text that nothing calls a path. */
function mayBePath(text: string): boolean {
  if (!PATH_LETTER.test(text)) return false;
  if (isFileUri(text)) return true;
  return isOneLine(text) && !isElsewhere(text); // of several lines: what is written, not where
}

/** A separator, of any script or encoded, or what begins a path without one. */
const PATH_LETTER =
  /[/\\\u2044\u2215\u29f8\uff0f\uff3c\ufe68]|%(?:[0-9a-f]{2}|u[0-9a-f]{4}|\w+%)|^\s*(?:[~.\uff0e\uff5e\u2024]|\$[{(\w]|[a-z]:)|file:/i;

const isFileUri = (text: string): boolean => /^(?:url:)?file:/i.test(unbroken(text));
/** As the URL standard has it: tabs and line breaks are taken out. */
const unbroken = (uri: string): string => uri.replaceAll(/[\t\r\n]/g, '').trim();

/** A URL of another scheme is a place in the file system only to who joins it to a directory, and leaves that by `..`. */
const isElsewhere = (text: string): boolean =>
  /^\s*(?:data:|(?!file:)[a-z][-+.a-z0-9]+:\/\/)/i.test(text) && !hasDots(decodedOften(text));

/** Whether a segment is `..`, for whom `;` begins parameters too. */
export const hasDots = (path: string): boolean => /(?:^|[/\\])\s*\.\.\s*(?:[/\\?#;]|$)/.test(path.normalize('NFKC'));

/**
 * The ways to read a text as a path. Errors: malformed (a NUL, which ends the path for some and not for others; more
 * ways or more layers of encoding than anyone needs).
 */
export function lexicalForms(text: string): readonly string[] {
  const start = text.length > PATH_TEXT_MAX ? shortened(text) : [text];
  const forms = new Set<string>(start);
  const open: [form: string, decodings: number][] = start.map((form) => [form, 0]);
  const enter = (form: string, decodings: number): void => {
    if (forms.has(form)) return;
    forms.add(form);
    open.push([form, decodings]);
    if (forms.size > MCP_PATH_FORMS_MAX) throw tooMany('ways to read a path in it', MCP_PATH_FORMS_MAX);
  };
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const [form, decodings] = next;
    if (form.includes('\0')) throw new MeshError('malformed', 'Cannot judge the request: a path in it holds a NUL');
    for (const reading of readingsOf(form)) enter(reading, decodings);
    const decoded = percentDecoded(form);
    if (decoded !== form && decodings === MCP_DECODINGS_MAX) throw tooOften();
    enter(decoded, decodings + 1);
  }
  return [...forms].filter(isPath);
}

/** A file: URI taken for a name is one below the working directory, unless it leaves that. */
const isPath = (form: string): boolean =>
  form.trim() !== '' && form.length <= PATH_TEXT_MAX && (!isFileUri(form) || hasDots(form));

/** Longer than any path, but what `..` undoes makes it short. */
function shortened(text: string): string[] {
  if (text.length > MCP_PATH_LETTERS_MAX && text.includes('%'))
    throw tooMany('letters in its paths', MCP_PATH_LETTERS_MAX);
  const decoded = decodedOften(text.normalize('NFKC'));
  return [text, decoded, ...fileUriPaths(decoded)]
    .map((form) => normalized(form.replaceAll('\\', '/')))
    .filter((form) => form.length <= PATH_TEXT_MAX);
}

function readingsOf(form: string): string[] {
  if (/^[/.\w-]+$/.test(form) && !/\/\/|\.(?:\/|$)|.\/$/.test(form)) return []; // most are of one reading
  const spellings = [form.trim(), form.replaceAll('\\', '/')];
  if (!/^[ -~]*$/.test(form)) spellings.push(form.normalize('NFC'), form.normalize('NFKC').replaceAll(INVISIBLE, ''));
  if (isFileUri(form) && !hasDots(form)) return [...spellings, ...fileUriPaths(form)];
  return [
    ...spellings,
    ...fileUriPaths(form),
    withoutDevicePrefix(form),
    withoutStreams(form),
    withoutWindowsEnds(form),
    normalized(form),
  ];
}

const INVISIBLE = /[\p{Cf}\p{Default_Ignorable_Code_Point}]/gu;

/**
 * `file:` in every spelling: `file:/x`, `file:///x`, `file://localhost/x`, `file:x`, `file:\\\x`, `file:///C|/x`. A host
 * may be one (UNC), or a first directory to who does not know of hosts.
 */
function fileUriPaths(text: string): string[] {
  const rest = /^(?:url:)?file:(.*)$/is.exec(unbroken(text))?.[1];
  if (rest === undefined) return [];
  const [, slashes = '', path = ''] = /^([/\\]*)(.*)$/s.exec(rest) ?? [];
  return hostReadings(slashes.length, path).flatMap((form) => {
    const drive = form.replace(/^[/\\]*([a-z])[:|](?=[/\\]|$)/i, '$1:');
    return [form, drive, form.replace(/[?#].*$/s, ''), drive.replace(/[?#].*$/s, '')];
  });
}

function hostReadings(slashes: number, path: string): string[] {
  if (slashes === 0) return [path];
  if (slashes !== 2) return [`/${path}`];
  const below = path.replace(/^[^/\\]*/, '');
  return /^localhost(?:[/\\]|$)/i.test(path) ? [below] : [below, `/${path}`, `//${path}`];
}

/** `\\?\C:\x`, `\\.\C:\x`, `\??\C:\x`, `\\?\UNC\host\share`, `\\localhost\c$\x`. */
const withoutDevicePrefix = (form: string): string =>
  form
    .replace(/^[/\\]{2}[?.][/\\](?:unc[/\\]+)?/i, (prefix) => (/unc/i.test(prefix) ? '//' : ''))
    .replace(/^[/\\]\?\?[/\\]/, '')
    .replace(/^[/\\]{2}(?:localhost|127\.0\.0\.1|\[?::1\]?)[/\\]([a-z])\$/i, '$1:');

/** NTFS: `x.txt::$DATA` and `x.txt:stream` are x.txt to who asks for access. The colon of a drive or scheme stays. */
function withoutStreams(form: string): string {
  const drive = /^[a-z]:/i.exec(form)?.[0] ?? '';
  return drive + form.slice(drive.length).replaceAll(/([^/\\:]):[^/\\]+/g, '$1');
}

/** Windows drops dots and spaces at the end of a name. */
const withoutWindowsEnds = (form: string): string =>
  form
    .split(/(?<=[/\\])/)
    .map(withoutEnds)
    .join('');

function withoutEnds(segment: string): string {
  const separator = /[/\\]$/.exec(segment)?.[0] ?? '';
  const name = segment.slice(0, segment.length - separator.length);
  const dots = /^(\.\.?) *$/.exec(name)?.[1];
  if (dots !== undefined) return dots + separator;
  let end = name.length;
  while (end > 0 && (name[end - 1] === '.' || name[end - 1] === ' ')) end--;
  return (end === 0 ? name : name.slice(0, end)) + separator;
}

/** Without empty segments, `.` and `..`, as far as the text itself says what they undo. */
function normalized(path: string): string {
  const isAbsolute = path.startsWith('/');
  const kept: string[] = [];
  for (const segment of path.split('/')) {
    if (segment === '' || segment === '.') continue;
    if (segment !== '..') kept.push(segment);
    else if (kept.length > 0 && kept.at(-1) !== '..') kept.pop();
    else if (!isAbsolute) kept.push('..');
  }
  const rest = kept.join('/');
  if (isAbsolute) return `/${rest}`;
  return rest === '' && path !== '' ? '.' : rest;
}

/** Until nothing is encoded any more. Errors: malformed. */
export function decodedOften(text: string): string {
  let decoded = text;
  for (let i = 0; i < MCP_DECODINGS_MAX; i++) {
    const before = decoded;
    decoded = percentDecoded(before);
    if (decoded === before) return decoded;
  }
  if (percentDecoded(decoded) !== decoded) throw tooOften();
  return decoded;
}

const tooOften = (): MeshError =>
  new MeshError('malformed', `Cannot judge the request: a path in it is encoded more than ${MCP_DECODINGS_MAX} times`, {
    want: MCP_DECODINGS_MAX,
  });

/** As lax decoders do it: what is no escape stays, and "%u002e" and overlong UTF-8 count. */
function percentDecoded(text: string): string {
  if (!text.includes('%')) return text;
  return text
    .replaceAll(/%u([0-9a-f]{4})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
    .toWellFormed()
    .replaceAll(/(?:%[0-9a-f]{2})+/gi, (run) => {
      const bytes = Uint8Array.from(run.slice(1).split('%'), (hex) => Number.parseInt(hex, 16));
      return lax.decode(withoutOverlong(bytes));
    });
}

const lax = new TextDecoder('utf-8', { ignoreBOM: true });

/** C0 AE is no UTF-8, but decoders that only shift bits make a dot of it. */
function withoutOverlong(bytes: Uint8Array): Uint8Array {
  const out: number[] = [];
  for (let i = 0; i < bytes.length; i++) {
    const [a = 0, b = 0, c = 0] = bytes.subarray(i, i + 3);
    if (a >> 1 === 0x60 && b >> 6 === 2) {
      out.push(((a & 1) << 6) | (b & 0x3f));
      i += 1;
    } else if (a === 0xe0 && b >> 1 === 0x40 && c >> 6 === 2) {
      out.push(((b & 1) << 6) | (c & 0x3f));
      i += 2;
    } else out.push(a);
  }
  return Uint8Array.from(out);
}
