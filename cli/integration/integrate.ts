/** Servers of MCP clients, put behind the proxy and taken from behind it, in the files of those clients. */
import { realpathSync } from 'node:fs';
import { basename, isAbsolute, sep } from 'node:path';
import { type ErrorCode, isMeshError, MeshError } from '../../protocol/index.ts';
import { type Client, type ClientId, clientOf, isManaged, type Place } from './clients.ts';
import { type ConfigFile, readConfig, replaceConfig, verifyWritable } from './config-file.ts';
import { unifiedDiff } from './diff.ts';
import { type Format, formatOf } from './document.ts';
import { isObject, isSame, type Json, type JsonObject, valueAt, withValueAt } from './json-value.ts';
import { isFileHere } from './machine.ts';
import { type EntryRecord, type FileRecord, type Records, sha256 } from './records.ts';
import { type Change, changesOf, readServer, type Server, type Transport } from './shapes.ts';
import type { WrapOptions } from './wrapper.ts';

export interface FoundServer {
  readonly name: string;
  /** Project that it belongs to, where the file has servers of several. */
  readonly project: string | null;
  readonly state: 'wrapped' | 'open' | 'left';
  readonly transport: Transport;
  readonly policy: string | null;
  /** Why it is left alone, or what is wrong with its wrapper. */
  readonly note: string | null;
  /** Whether its wrapper can start; null: it has none. */
  readonly works: boolean | null;
}

export interface Problem {
  readonly code: ErrorCode;
  readonly message: string;
}

export interface FoundFile {
  readonly client: ClientId;
  readonly title: string;
  readonly file: string;
  readonly servers: readonly FoundServer[];
  /** Why it cannot be read. */
  readonly problem: Problem | null;
}

export interface ServerOutcome {
  readonly name: string;
  readonly project: string | null;
  readonly action: 'wrapped' | 'updated' | 'unchanged' | 'left' | 'restored';
  readonly note: string | null;
}

export interface FileOutcome {
  readonly client: ClientId;
  readonly title: string;
  readonly file: string;
  readonly servers: readonly ServerOutcome[];
  readonly changed: boolean;
  /** Where the file as it was is kept. */
  readonly backup: string | null;
  /** Undo: whether it is now, byte for byte, what it was before anything was changed. */
  readonly identical: boolean | null;
  /** Where nothing was to be written. It may hold secrets, as the file does. */
  readonly diff: string | null;
}

interface Entry {
  readonly path: readonly string[];
  readonly name: string;
  readonly project: string | null;
  readonly value: Json;
}

function entriesOf({ servers }: Client, id: ClientId, root: Json): readonly Entry[] {
  const groups: { path: readonly string[]; project: string | null }[] = [{ path: servers, project: null }];
  if (id === 'claude-code') {
    const projects = valueAt(root, ['projects']);
    for (const project of isObject(projects) ? Object.keys(projects) : [])
      groups.push({ path: ['projects', project, ...servers], project });
  }
  return groups.flatMap(({ path, project }) => {
    const found = valueAt(root, path);
    if (!isObject(found)) return [];
    return Object.entries(found).map(([name, value]) => ({ path: [...path, name], name, project, value }));
  });
}

/** Dates and large integers of TOML cannot be kept in a record. */
const isPlain = (value: unknown): boolean =>
  typeof value !== 'bigint' &&
  !(value instanceof Date) &&
  (typeof value !== 'object' || value === null || Object.values(value).every(isPlain));

function serverOf(client: Client, { value }: Entry): Server {
  if (!isPlain(value))
    return { kind: 'left', transport: 'other', why: 'it holds a date or a number that is too large' };
  return readServer(client.shape, value);
}

/** With the file in front of what is wrong with it. */
function named(error: unknown, what: string, file: string): unknown {
  if (!isMeshError(error) || error.message.startsWith('Cannot ')) return error;
  return new MeshError(
    error.code,
    `Cannot ${what} "${file}": ${error.message}`,
    { ...error.data, path: file },
    { cause: error },
  );
}

/** What is in a file; never throws for what is wrong with the file. */
export async function lookInto({ client: id, file }: Place): Promise<FoundFile> {
  const client = clientOf(id);
  const about = { client: id, title: client.title, file };
  try {
    const { text } = await readConfig(file);
    const entries = entriesOf(client, id, formatOf(client.format).parse(text));
    return { ...about, servers: entries.map((entry) => look(client, entry)), problem: null };
  } catch (error) {
    const shown = named(error, 'read', file);
    if (!isMeshError(shown)) throw shown;
    return { ...about, servers: [], problem: { code: shown.code, message: shown.message } };
  }
}

function look(client: Client, entry: Entry): FoundServer {
  const { name, project } = entry;
  const server = serverOf(client, entry);
  const none = { name, project, policy: null, note: null, works: null };
  if (server.kind === 'left') return { ...none, state: 'left', transport: server.transport, note: server.why };
  if (server.kind === 'url') return { ...none, state: 'open', transport: 'http' };
  const { wrapped } = server;
  if (wrapped === undefined) return { ...none, state: 'open', transport: 'stdio' };
  const policy = wrapped.policy ?? null;
  const missing = [...wrapped.launcher, ...(policy === null ? [] : [policy])].find(
    (word) => isAbsolute(word) && !isFileHere(word),
  );
  const transport = wrapped.flags.some((flag) => flag === '--url' || flag.startsWith('--url=')) ? 'http' : 'stdio';
  const note = missing === undefined ? (wrapped.isOurs ? null : BY_HAND) : `"${missing}" is not there any more`;
  return { name, project, state: 'wrapped', transport, policy, note, works: missing === undefined };
}

const BY_HAND = 'its command line was written by hand, and stays';

/** Names of servers to deal with; undefined: all. */
export type Chosen = ReadonlySet<string> | undefined;

export interface WriteOptions {
  readonly chosen: Chosen;
  readonly records: Records;
  readonly nowMs: () => number;
  /** Say what would change, and write nothing. */
  readonly dryRun: boolean;
}

/** Errors: malformed, conflict, permissions, too_large, not_found. */
export async function wrapFile(
  { client: id, file }: Place,
  wrapping: WrapOptions,
  { backup, ...options }: WriteOptions & { readonly backup: boolean },
): Promise<FileOutcome> {
  refuseManaged(file);
  const client = clientOf(id);
  const format = formatOf(client.format);
  const config = await readConfig(file);
  const known = await options.records.read(config.realPath);
  try {
    const plan = planWrap(client, id, format, config.text, wrapping, options.chosen);
    const about = { client: id, title: client.title, file, servers: plan.servers, identical: null };
    const diff = options.dryRun ? unifiedDiff(config.text, plan.text, file) : null;
    if (plan.changed.length === 0) return { ...about, changed: false, backup: null, diff };
    if (options.dryRun) {
      await verifyWritable(config);
      return { ...about, changed: true, backup: null, diff };
    }
    const kept = backup ? await options.records.keep(config.realPath, config.bytes, options.nowMs()) : null;
    const record = recordOf(id, config, plan, format, known, kept, options.nowMs());
    await writeRecorded(config, plan.text, record, known, options.records);
    return { ...about, changed: true, backup: kept === null ? null : `${options.records.directory}/${kept}`, diff };
  } catch (error) {
    throw named(error, 'change', file);
  }
}

function refuseManaged(file: string): void {
  if (isManaged(file)) {
    throw new MeshError('permissions', `Cannot change "${file}": an administrator manages it`, {
      path: file,
      next: 'ask the administrator; files of this kind are never changed here',
    });
  }
}

/** The record first: should the write not come about, the record says nothing that the file does not show. */
async function writeRecorded(
  config: ConfigFile,
  text: string,
  record: FileRecord | undefined,
  known: FileRecord | undefined,
  records: Records,
): Promise<void> {
  const keep = (each: FileRecord | undefined): Promise<void> =>
    each === undefined ? records.forget(config.realPath) : records.save(each);
  await verifyWritable(config);
  if (record !== undefined) await records.save(record);
  try {
    await replaceConfig(config, text);
  } catch (error) {
    await keep(known);
    throw error;
  }
  if (record === undefined) await records.forget(config.realPath);
}

interface Plan {
  readonly text: string;
  readonly servers: readonly ServerOutcome[];
  readonly changed: readonly { readonly entry: Entry; readonly originalText: string; readonly wasWrapped: boolean }[];
}

function planWrap(
  client: Client,
  id: ClientId,
  format: Format,
  before: string,
  wrapping: WrapOptions,
  chosen: Chosen,
): Plan {
  let text = before;
  let value = format.parse(before);
  const servers: ServerOutcome[] = [];
  const changed: Plan['changed'][number][] = [];
  for (const entry of entriesOf(client, id, value)) {
    const { name, project } = entry;
    if (chosen?.has(name) === false) continue;
    const tell = (action: ServerOutcome['action'], note: string | null = null): number =>
      servers.push({ name, project, action, note });
    const server = serverOf(client, entry);
    if (server.kind === 'left') {
      tell('left', server.why);
      continue;
    }
    const wrapped = server.kind === 'stdio' ? server.wrapped : undefined;
    const changes = changesOf(client.shape, name, entry.value, server, wrapping);
    if (changes.length === 0) {
      tell('unchanged', wrapped?.isOurs === false ? BY_HAND : null);
      continue;
    }
    try {
      const originalText = format.textAt(text, entry.path);
      const edited = editEntry(format, text, value, entry.path, changes);
      ({ text, value } = edited);
      changed.push({ entry, originalText, wasWrapped: wrapped !== undefined });
      tell(wrapped === undefined ? 'wrapped' : 'updated', server.kind === 'url' ? urlNote(server.url) : null);
    } catch (error) {
      if (!isMeshError(error) || error.code !== 'conflict') throw error;
      tell('left', error.message);
    }
  }
  return { text, servers, changed };
}

function urlNote(url: string): string {
  if (/[?@]/.test(url)) return 'its address is shown in the list of processes, with what is in it';
  return 'if it asks the client to sign in (OAuth), the proxy cannot: take it back with --undo';
}

/** Errors: conflict, where the edit would change anything else. */
export function editEntry(
  format: Format,
  text: string,
  value: Json,
  path: readonly string[],
  changes: readonly Change[],
): { text: string; value: Json } {
  const edited = changes.reduce((at, change) => format.edit(at, path, change), text);
  const wanted = changes.reduce<unknown>((at, change) => applied(at, path, change), value);
  return { text: edited, value: verified(format, edited, wanted) };
}

function applied(root: unknown, path: readonly string[], { at, value, inPlaceOf }: Change): unknown {
  const table = [...path, ...at.slice(0, -1)];
  const freed = inPlaceOf === undefined ? root : withValueAt(root, [...table, inPlaceOf], undefined);
  return withValueAt(freed, [...path, ...at], value);
}

function verified(format: Format, text: string, wanted: unknown): Json {
  let found: Json | undefined;
  try {
    found = format.parse(text);
  } catch (error) {
    if (!isMeshError(error)) throw error; // said below: what was written cannot be read
  }
  if (found !== undefined && isSame(found, wanted)) return found;
  throw new MeshError('conflict', 'it is written in a way that is not edited here');
}

function recordOf(
  client: ClientId,
  { realPath, text }: ConfigFile,
  plan: Plan,
  format: Format,
  known: FileRecord | undefined,
  backup: string | null,
  nowMs: number,
): FileRecord {
  const root = format.parse(plan.text);
  const fresh = plan.changed.map(({ entry, originalText, wasWrapped }): EntryRecord => {
    const before = wasWrapped ? known?.entries.find(({ path }) => isSame(path, entry.path)) : undefined;
    return {
      path: entry.path,
      original: before === undefined ? { text: originalText, value: entry.value } : rebased(before, entry.value),
      written: { text: format.textAt(plan.text, entry.path), value: valueAt(root, entry.path) as Json },
    };
  });
  const others = (known?.entries ?? []).filter(({ path }) => !fresh.some((each) => isSame(each.path, path)));
  const isOurWork = known?.afterSha256 === sha256(text); // nobody wrote in between: what was before is still before
  return {
    client,
    file: realPath,
    changedAt: new Date(nowMs).toISOString(),
    beforeSha256: isOurWork ? known.beforeSha256 : sha256(text),
    afterSha256: sha256(plan.text),
    backup: backup ?? known?.backup ?? null,
    entries: [...others, ...fresh],
  };
}

/** What was there before us, with what a person has changed beside our members since. */
function rebased({ original, written }: EntryRecord, current: Json): EntryRecord['original'] {
  if (isSame(written.value, current) || !isObject(current)) return original;
  const at = (value: Json, key: string): unknown => valueAt(value, [key]);
  const keys = new Set([written.value, current].flatMap((each) => (isObject(each) ? Object.keys(each) : [])));
  const theirs = [...keys].filter(
    (key) =>
      isSame(at(original.value, key), at(written.value, key)) && !isSame(at(written.value, key), at(current, key)),
  );
  if (theirs.length === 0) return original;
  const value = theirs.reduce<unknown>((root, key) => withValueAt(root, [key], at(current, key)), original.value);
  return { text: null, value: value as Json };
}

/** Takes back what a record says, as far as it is still there. Errors: malformed, conflict, permissions, too_large, not_found. */
export async function undoFile(
  record: FileRecord,
  { chosen, records, nowMs, dryRun }: WriteOptions,
): Promise<FileOutcome> {
  const { file } = record;
  const client = clientOf(record.client);
  const format = formatOf(client.format);
  if (!isFileHere(file)) {
    if (!dryRun) await records.forget(file);
    return goneOutcome(record);
  }
  const config = await readConfig(file);
  try {
    const plan = planUndo(format, config.text, record, chosen);
    const diff = dryRun ? unifiedDiff(config.text, plan.text, file) : null;
    const changed = plan.text !== config.text;
    const outcome = {
      client: record.client,
      title: client.title,
      file,
      servers: plan.servers,
      changed,
      backup: record.backup === null ? null : `${records.directory}/${record.backup}`,
      identical: sha256(plan.text) === record.beforeSha256,
      diff,
    };
    if (dryRun) return outcome;
    const rest: FileRecord | undefined =
      plan.remaining.length === 0
        ? undefined
        : {
            ...record,
            changedAt: new Date(nowMs()).toISOString(),
            afterSha256: sha256(plan.text),
            entries: plan.remaining,
          };
    if (changed) await writeRecorded(config, plan.text, rest, record, records);
    else if (rest === undefined) await records.forget(file);
    return outcome;
  } catch (error) {
    throw named(error, 'change', file);
  }
}

/** Nothing is left to take back. */
function goneOutcome({ client, file, entries }: FileRecord): FileOutcome {
  const servers = entries.map(({ path }): ServerOutcome => {
    return { name: nameOf(path), project: projectOf(path), action: 'left', note: 'its file is not there any more' };
  });
  const nothing = { changed: false, backup: null, identical: null, diff: null };
  return { client, title: clientOf(client).title, file, servers, ...nothing };
}

const nameOf = (path: readonly string[]): string => path.at(-1) ?? '';
const projectOf = (path: readonly string[]): string | null => (path[0] === 'projects' ? (path[1] ?? null) : null);

interface UndoPlan {
  readonly text: string;
  readonly servers: readonly ServerOutcome[];
  /** Entries that are still not as they were. */
  readonly remaining: readonly EntryRecord[];
}

const CHANGED_SINCE = 'it was changed since; change it back yourself';

function planUndo(format: Format, before: string, { entries }: FileRecord, chosen: Chosen): UndoPlan {
  let text = before;
  let value = format.parse(before);
  const servers: ServerOutcome[] = [];
  const remaining: EntryRecord[] = [];
  for (const entry of entries) {
    const { path, original, written } = entry;
    const name = nameOf(path);
    if (chosen?.has(name) === false) {
      remaining.push(entry);
      continue;
    }
    const project = projectOf(path);
    const tell = (action: ServerOutcome['action'], note: string | null = null): number =>
      servers.push({ name, project, action, note });
    const current = valueAt(value, path);
    if (current === undefined) tell('left', 'it is not there any more');
    else if (isSame(current, original.value)) tell('unchanged', 'it is as it was');
    else {
      const restored = restore(format, text, value, entry, current);
      if (restored === undefined) {
        tell('left', CHANGED_SINCE);
        remaining.push(entry);
        continue;
      }
      ({ text, value } = restored);
      tell('restored', isSame(current, written.value) ? null : 'what was changed beside it stays');
    }
  }
  return { text, servers, remaining };
}

/** Undefined where somebody changed what we wrote. */
function restore(
  format: Format,
  text: string,
  value: Json,
  { path, original, written }: EntryRecord,
  current: unknown,
): { text: string; value: Json } | undefined {
  try {
    // Laid out anew, or with a comment by somebody: then the text of before does not fit in.
    if (original.text !== null && format.textAt(text, path) === written.text) {
      const replaced = format.replace(text, path, original.text);
      return { text: replaced, value: verified(format, replaced, withValueAt(value, path, original.value)) };
    }
    const changes = membersBack(original.value, written.value, current);
    return changes === undefined ? undefined : editEntry(format, text, value, path, changes);
  } catch (error) {
    if (!isMeshError(error) || error.code !== 'conflict') throw error;
    return undefined; // it is written in another way now, which the edit would not leave as it is
  }
}

/** The members that we changed, as they were; undefined where one of them is not what we wrote. */
function membersBack(original: Json, written: Json, current: unknown): readonly Change[] | undefined {
  if (!isObject(original) || !isObject(written) || !isObject(current)) return undefined;
  const at = (value: JsonObject, key: string): Json | undefined => (Object.hasOwn(value, key) ? value[key] : undefined);
  const keys = [...new Set([...Object.keys(written), ...Object.keys(original)])];
  const ours = keys.filter((key) => !isSame(at(original, key), at(written, key)));
  if (!ours.every((key) => isSame(at(current, key), at(written, key)))) return undefined;
  const added = ours.filter((key) => at(written, key) === undefined);
  const gone = ours.filter((key) => at(original, key) === undefined);
  return [
    ...added.map((key, i): Change => {
      const place = gone[i];
      return { at: [key], value: at(original, key), ...(place !== undefined && { inPlaceOf: place }) };
    }),
    ...gone.slice(added.length).map((key): Change => ({ at: [key], value: undefined })),
    ...ours
      .filter((key) => !added.includes(key) && !gone.includes(key))
      .map((key): Change => ({ at: [key], value: at(original, key) })),
  ];
}

/** One place for each file, however many names lead to it. */
export function withoutTwins(places: readonly Place[]): readonly Place[] {
  const seen = new Set<string>();
  return places.filter(({ file }) => {
    const real = realpathSync(file);
    return seen.has(real) ? false : seen.add(real);
  });
}

/** Whose file this is: by its name, then by what is in it. */
export function guessClient(file: string, text: string): ClientId {
  const name = basename(file).toLowerCase();
  if (name.endsWith('.toml')) return 'codex';
  if (name === '.claude.json' || name === '.mcp.json') return 'claude-code';
  if (name === 'claude_desktop_config.json') return 'claude';
  const folder = file.split(sep).at(-2);
  const root = formatOf('json').parse(text);
  const has = (key: string): boolean => isObject(root) && root[key] !== undefined;
  if (has('context_servers')) return 'zed';
  if (has('servers')) return 'vscode';
  if (has('amp.mcpServers')) return 'amp';
  if (has('mcp')) return 'opencode';
  if (folder === '.gemini') return 'gemini';
  if (folder === 'windsurf') return 'windsurf';
  return 'cursor'; // what most clients have: mcpServers, command or url
}
