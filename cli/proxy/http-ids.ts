/**
 * One server process for clients that know nothing of each other (MCP 2026-07-28 has no sessions, and stdio has one
 * channel): the names that they chose for their requests are exchanged for names of this process. Only those tokens
 * are written anew; every other byte of a message stays what it was.
 */
import * as limits from '../../protocol/limits.ts';
import { type Message, parseMessage, type Id, scanJson, type Sender } from '../../protocol/mcp/index.ts';

const PROGRESS_TOKEN = ['params', '_meta', 'progressToken'];
const META_SUBSCRIPTION = 'io.modelcontextprotocol/subscriptionId';

/** What a client called its request, and what it is called here. */
export interface Renamed {
  readonly own: Id;
  readonly theirs: Id;
  /** Undefined: it wants no progress. */
  readonly theirToken: Id | undefined;
}

/** A request under another id, which is its progress token too. */
export function rename(request: Message & { readonly kind: 'request' }, own: Id): [Message, Renamed] {
  const theirToken = valueAt(request, PROGRESS_TOKEN);
  const edits: Edit[] = [[['id'], own]];
  if (theirToken !== undefined) edits.push([PROGRESS_TOKEN, own]);
  return [edit(request, 'client', edits), { own, theirs: request.id, theirToken }];
}

/** What the server says of a renamed request, as its client has to read it. */
export function restore(message: Message, { own, theirs, theirToken }: Renamed): Message {
  const edits: Edit[] = [];
  if (message.kind === 'result' || message.kind === 'error') edits.push([['id'], theirs]);
  if (theirToken !== undefined && valueAt(message, ['params', 'progressToken']) === own)
    edits.push([['params', 'progressToken'], theirToken]);
  for (const part of ['params', 'result']) {
    const path = [part, '_meta', META_SUBSCRIPTION];
    if (valueAt(message, path) === own) edits.push([path, theirs]);
  }
  return edits.length === 0 ? message : edit(message, 'server', edits);
}

/** The request that a message without an id is about, by the name that it has here. */
export function subjectOf(message: Message): Id | undefined {
  return (
    valueAt(message, ['params', '_meta', META_SUBSCRIPTION]) ??
    valueAt(message, ['params', 'progressToken']) ??
    valueAt(message, ['params', 'requestId'])
  );
}

type Edit = readonly [path: readonly string[], value: Id];

function valueAt(message: Message, path: readonly string[]): Id | undefined {
  let value: unknown = message;
  for (const name of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined;
    value = (value as Record<string, unknown>)[name];
  }
  return typeof value === 'string' || typeof value === 'number' ? value : undefined;
}

function edit(message: Message, sender: Sender, edits: readonly Edit[]): Message {
  let text = Buffer.from(message.bytes).toString('utf8');
  for (const [path, value] of edits) {
    const [start, end] = spanAt(text, path);
    text = text.slice(0, start) + JSON.stringify(value) + text.slice(end);
  }
  // The same message but for a name: read once more, so that whoever gets it has bytes and value that agree.
  const edited = parseMessage(Buffer.from(text), sender, {
    bytesMax: Number.POSITIVE_INFINITY,
    depthMax: limits.MCP_DEPTH_MAX,
  });
  if (edited === undefined) throw new Error('an edited message is empty');
  return edited;
}

/** Where the value stands; it is known to be there. */
function spanAt(text: string, path: readonly string[]): readonly [number, number] {
  let [start, end] = [0, text.length];
  for (const name of path) {
    const span = scanJson(text.slice(start, end), Number.POSITIVE_INFINITY).members.get(name);
    if (span === undefined) throw new Error(`a message without "${path.join('.')}"`);
    [start, end] = [start + span[0], start + span[1]];
  }
  return [start, end];
}
