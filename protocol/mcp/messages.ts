/**
 * One message of MCP, read strictly: what passes means the same to every reader, so its own bytes can be sent on (SPEC
 * "MCP as governed"). Big numbers, order and unknown members survive, since nothing is written anew.
 */
import { toHex } from '../encoding/bytes.ts';
import { digestOf } from '../encoding/cid.ts';
import type { Json, JsonObject } from '../encoding/jcs.ts';
import { type JsonScan, scanJson, type Span } from '../encoding/json.ts';
import { isMeshError, MeshError } from '../errors.ts';
import { MCP_DEPTH_MAX, MCP_ID_TEXT_MAX, MCP_MESSAGE_BYTES_MAX, MCP_NAME_TEXT_MAX } from '../limits.ts';
import { isMethod, methodVariant, paramVariant, topVariant } from './names.ts';

/** Who sent it. */
export type Sender = 'client' | 'server';
export type Id = string | number;

interface Bytes {
  /** As they came, without the line's end; on one line for every reader. */
  readonly bytes: Uint8Array;
  /** A number in it is another one once it is a double. */
  readonly hasInexact: boolean;
}
export interface RequestMessage extends Bytes {
  readonly kind: 'request';
  readonly id: Id;
  readonly method: string;
  readonly params?: Json;
}
export interface NotificationMessage extends Bytes {
  readonly kind: 'notification';
  readonly method: string;
  readonly params?: Json;
}
export interface ResultMessage extends Bytes {
  readonly kind: 'result';
  readonly id: Id;
  readonly result: Json;
}
export interface ErrorMessage extends Bytes {
  readonly kind: 'error';
  /** Null: of a message whose id could not be read. */
  readonly id: Id | null;
  readonly error: Json;
}
export type Message = RequestMessage | NotificationMessage | ResultMessage | ErrorMessage;

export interface MessageLimits {
  readonly bytesMax: number;
  readonly depthMax: number;
}
export const MESSAGE_LIMITS: MessageLimits = { bytesMax: MCP_MESSAGE_BYTES_MAX, depthMax: MCP_DEPTH_MAX };

/** JSON-RPC 2.0 section 5.1, and of MCP. */
export const RPC_CODES = {
  parse: -32700,
  invalidRequest: -32600,
  methodNotFound: -32601,
  invalidParams: -32602,
  internal: -32603,
  /** Of implementations: AgentMesh denies. */
  denied: -32001,
  /** MCP 2026-07-28: headers and body differ. */
  headerMismatch: -32020,
} as const;

/** What a refused message says about itself, in the error's data: enough to answer it. */
export interface Refusal {
  readonly rpcCode: number;
  /** Null: none that could be told. */
  readonly rpcId: Id | null;
  /** Undefined: it could not be told what it is. */
  readonly kind?: Message['kind'];
}

/** Undefined for a line of white space. Errors: malformed, too_large; each has a Refusal in its data. */
export function parseMessage(
  bytes: Uint8Array,
  from: Sender,
  limits: MessageLimits = MESSAGE_LIMITS,
): Message | undefined {
  if (bytes.length > limits.bytesMax)
    throw new MeshError(
      'too_large',
      `Cannot accept the message: it has ${bytes.length} bytes, want at most ${limits.bytesMax}`,
      {
        is: bytes.length,
        want: limits.bytesMax,
        ...refusal(RPC_CODES.invalidRequest),
      },
    );
  const line = withoutLineEnd(bytes);
  const text = decoded(line);
  if (isBlank(text)) return undefined;
  const scan = scanned(text, limits.depthMax);
  return messageOf(scan, { text, bytes: onOneLine(line, text) }, from);
}

/** What a refused message is answered with, as bytes of an error; undefined: it asked nothing. */
export function refusalAnswer(error: MeshError): Uint8Array | undefined {
  const { rpcCode, rpcId, kind } = error.data as unknown as Partial<Refusal>;
  if (kind === 'notification' || kind === 'result' || kind === 'error') return undefined;
  return errorResponse(rpcId ?? null, rpcCode ?? RPC_CODES.invalidRequest, error.message);
}

export const errorResponse = (id: Id | null, code: number, message: string, data?: Json): Uint8Array =>
  utf8Encoder.encode(
    JSON.stringify({ jsonrpc: '2.0', id, error: { code, message, ...(data === undefined ? {} : { data }) } }),
  );

export const resultResponse = (id: Id, result: Json): Uint8Array =>
  utf8Encoder.encode(JSON.stringify({ jsonrpc: '2.0', id, result }));

/**
 * What tells ids of one direction apart: 1 and "1" are two. A request's number has one spelling (1.0 is refused), so an
 * answer that spells it otherwise is to the same one.
 */
export const idKey = (id: Id): string => (typeof id === 'string' ? `"${id}` : String(id));

/** Hex SHA-256 of the arguments as they were spelt, where a number in them does not survive parsing. */
export function exactOf(message: Message): string | undefined {
  if (!message.hasInexact || message.kind !== 'request') return undefined;
  const text = utf8Decoder.decode(message.bytes);
  const params = within(text, 'params');
  const spelt = params === undefined ? undefined : within(params, 'arguments');
  if (spelt === undefined || scanJson(spelt, Number.POSITIVE_INFINITY).inexact.length === 0) return undefined;
  return toHex(digestOf(utf8Encoder.encode(spelt)));
}

function within(text: string, name: string): string | undefined {
  const span: Span | undefined = scanJson(text, Number.POSITIVE_INFINITY).members.get(name);
  return span === undefined ? undefined : text.slice(...span);
}

const utf8Encoder = new TextEncoder();
const utf8Decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;

function withoutLineEnd(bytes: Uint8Array): Uint8Array {
  let end = bytes.length;
  if (bytes[end - 1] === LF) end--;
  if (bytes[end - 1] === CR) end--;
  return bytes.subarray(0, end);
}

/** What Node's readline and Python's splitlines take for a line's end, and JSON lets stand in a text. */
const OTHER_BREAKS = /[\u0085\u2028\u2029]/g;

/**
 * Over stdio each line is a message. Inside strings JSON has no LF and CR, so these stand between tokens and become
 * spaces; other breaks stand inside strings and become their escapes.
 */
function onOneLine(line: Uint8Array, text: string): Uint8Array {
  const bytes =
    text.search(OTHER_BREAKS) < 0
      ? line
      : utf8Encoder.encode(
          text.replaceAll(OTHER_BREAKS, (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, '0')}`),
        );
  if (!bytes.includes(LF) && !bytes.includes(CR)) return bytes;
  return bytes.map((byte) => (byte === LF || byte === CR ? SPACE : byte));
}

const isBlank = (text: string): boolean => /^[ \t\r\n]*$/.test(text);

function decoded(bytes: Uint8Array): string {
  try {
    return utf8Decoder.decode(bytes);
  } catch (cause) {
    throw new MeshError(
      'malformed',
      'Cannot read the message: it is not UTF-8',
      { ...refusal(RPC_CODES.parse) },
      { cause },
    );
  }
}

function scanned(text: string, depthMax: number): JsonScan {
  try {
    return scanJson(text, depthMax);
  } catch {
    // The engine's message quotes the text, which may hold a secret.
    throw new MeshError('malformed', 'Cannot read the message: it is not JSON', { ...refusal(RPC_CODES.parse) });
  }
}

const refusal = (rpcCode: number, rpcId: Id | null = null, kind?: Message['kind']): Refusal => ({
  rpcCode,
  rpcId,
  ...(kind === undefined ? {} : { kind }),
});

function messageOf(scan: JsonScan, { text, bytes }: { text: string; bytes: Uint8Array }, from: Sender): Message {
  const { value, fault } = scan;
  if (Array.isArray(value)) throw refused('it is a batch; send each message by itself');
  if (!isObject(value)) throw refused(fault?.why ?? 'it is no object');
  if (fault?.isOutermost === true) throw refused(fault.why);
  for (const name of Object.keys(value)) {
    const word = topVariant(name);
    if (word !== undefined) throw refused(`it has a member that some readers take for "${word}"`);
  }
  const kind = kindOf(value);
  const id = answerable(value, kind);
  const wrong = (why: string, code: number = RPC_CODES.invalidRequest): MeshError => refused(why, id, kind, code);
  if (kind === undefined) throw wrong('it is not exactly one of request, notification, result and error');
  if (fault !== undefined) throw wrong(fault.why);
  if (value['jsonrpc'] !== '2.0') throw wrong('its member "jsonrpc" is not "2.0"');
  verifyId(value, kind, scan, text, wrong);
  if (kind === 'request' || kind === 'notification') verifyCall(value, from, scan, wrong);
  return { ...partsOf(value, kind), bytes, hasInexact: scan.inexact.length > 0 };
}

type Wrong = (why: string, code?: number) => MeshError;

function refused(
  why: string,
  id: Id | null = null,
  kind?: Message['kind'],
  code: number = RPC_CODES.invalidRequest,
): MeshError {
  return new MeshError('malformed', `Cannot accept the message: ${why}`, { ...refusal(code, id, kind) });
}

function kindOf(value: JsonObject): Message['kind'] | undefined {
  const has = (name: string): boolean => Object.hasOwn(value, name);
  if (has('method')) return has('result') || has('error') ? undefined : has('id') ? 'request' : 'notification';
  if (has('result')) return has('error') ? undefined : 'result';
  return has('error') ? 'error' : undefined;
}

/** The id that an answer may name even where the message is refused. */
function answerable(value: JsonObject, kind: Message['kind'] | undefined): Id | null {
  if (kind === 'notification') return null;
  const id = value['id'];
  return isId(id) ? id : null;
}

const isId = (id: unknown): id is Id =>
  (typeof id === 'string' && id.length <= MCP_ID_TEXT_MAX) ||
  (typeof id === 'number' && Number.isFinite(id) && Math.abs(id) <= Number.MAX_SAFE_INTEGER);

function verifyId(value: JsonObject, kind: Message['kind'], scan: JsonScan, text: string, wrong: Wrong): void {
  if (kind === 'notification') return;
  const id = value['id'];
  if (kind === 'error' && (id === null || id === undefined)) return;
  if (!isId(id))
    throw wrong(`its id is no text of at most ${MCP_ID_TEXT_MAX} letters and no number within ±(2^53 - 1)`);
  if (kind !== 'request' || typeof id === 'string') return;
  // 1, 1.0 and 1e0 come back from most servers as one.
  const span = scan.members.get('id');
  const spelt = span === undefined ? '' : text.slice(...span);
  if (spelt !== String(id)) throw wrong(`its id is not spelt "${id}"`);
}

function verifyCall(value: JsonObject, from: Sender, scan: JsonScan, wrong: Wrong): void {
  const { method, params } = value;
  if (typeof method !== 'string') throw wrong('its method is no text');
  if (method.length > MCP_NAME_TEXT_MAX) throw wrong(`its method has more than ${MCP_NAME_TEXT_MAX} letters`);
  const word = methodVariant(method);
  if (word !== undefined) throw wrong(`its method is one that some readers take for "${word}"`);
  if (params === undefined || params === null) return;
  if (typeof params !== 'object') throw wrong('its params are no object', RPC_CODES.invalidParams);
  if (!isMethod(method)) return;
  if (!isObject(params)) throw wrong('its params are no object', RPC_CODES.invalidParams);
  if (from === 'server') return;
  if (scan.isOverflowing) throw wrong('a number in it is beyond the range of doubles', RPC_CODES.invalidParams);
  for (const name of Object.keys(params)) {
    const meant = paramVariant(name);
    if (meant !== undefined)
      throw wrong(`its params have a member that some readers take for "${meant}"`, RPC_CODES.invalidParams);
  }
}

function partsOf(
  value: JsonObject,
  kind: Message['kind'],
):
  | Omit<RequestMessage, keyof Bytes>
  | Omit<NotificationMessage, keyof Bytes>
  | Omit<ResultMessage, keyof Bytes>
  | Omit<ErrorMessage, keyof Bytes> {
  const id = value['id'] as Id;
  const method = value['method'] as string;
  const params = value['params'];
  if (kind === 'result') return { kind, id, result: value['result'] as Json };
  if (kind === 'error') return { kind, id: id ?? null, error: value['error'] as Json };
  const call = { method, ...(params === undefined || params === null ? {} : { params }) };
  return kind === 'request' ? { kind, id, ...call } : { kind, ...call };
}

export const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

export const isRefusal = (error: unknown): error is MeshError => isMeshError(error) && 'rpcCode' in error.data;
