/** Results that a policy looks at, and how one is written anew where something in it changed. */
import type { Json, JsonObject } from '../encoding/jcs.ts';
import { isExact } from '../encoding/json.ts';
import type { ResultMessage } from './messages.ts';

/** What these answer is read by models. Of a task: its result comes with `tasks/result`, or with `tasks/get` (2026-07-28). */
const SCANNED: ReadonlySet<string> = new Set([
  'tools/call',
  'resources/read',
  'prompts/get',
  'tasks/result',
  'tasks/get',
]);

/** Whether the result of a request with this method goes through the output rules. */
export const isScanned = (method: string): boolean => SCANNED.has(method);

/**
 * The message with another result. Members beside the result stay; numbers that are what they were are written with the
 * letters that they had, as far as they are where they were.
 */
export function withResult(message: ResultMessage, result: Json): Uint8Array {
  if (!message.hasInexact) return encoded({ ...envelopeOf(message), result });
  const spelt = speltOf(message);
  return encoded({ ...spelt, result: respelt(result, spelt['result'] as Spelt) });
}

/** A tree of JSON in which numbers that doubles cannot hold are as they were spelt (JSON.rawJSON). */
export type Spelt = Json;

/** The message's result, in which numbers are as they were spelt. */
export const speltResult = (message: ResultMessage): Json =>
  message.hasInexact ? (speltOf(message)['result'] as Json) : message.result;

/** The message with a result made of what `speltResult` gave. */
export const withSpeltResult = (message: ResultMessage, result: Spelt): Uint8Array =>
  encoded({ ...(message.hasInexact ? speltOf(message) : envelopeOf(message)), result });

const utf8Encoder = new TextEncoder();
const utf8Decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const encoded = (value: JsonObject): Uint8Array => utf8Encoder.encode(JSON.stringify(value));
const envelopeOf = (message: ResultMessage): JsonObject => JSON.parse(utf8Decoder.decode(message.bytes)) as JsonObject;

/** TC39 "JSON.parse source text access", which lib.es2024 does not declare yet. */
interface SourceJson {
  parse(
    text: string,
    reviver: (name: string, value: unknown, context: { readonly source?: string }) => unknown,
  ): unknown;
  rawJSON(text: string): object;
  isRawJSON(value: unknown): boolean;
}
const sourceJson = JSON as unknown as SourceJson;

const speltOf = (message: ResultMessage): JsonObject =>
  sourceJson.parse(utf8Decoder.decode(message.bytes), (_, value, { source }) =>
    typeof value === 'number' && source !== undefined && !isExact(source) ? sourceJson.rawJSON(source) : value,
  ) as JsonObject;

/** Takes a number's letters from the same place of the tree before. */
function respelt(value: Json, before: Spelt | undefined): Json {
  if (typeof value === 'number') return isSameNumber(value, before) ? (before as Json) : value;
  if (typeof value !== 'object' || value === null) return value;
  if (typeof before !== 'object' || before === null || sourceJson.isRawJSON(before)) return value;
  if (Array.isArray(value)) {
    const items = Array.isArray(before) ? (before as readonly Json[]) : [];
    return (value as readonly Json[]).map((item, i) => respelt(item, items[i]));
  }
  const members = Array.isArray(before) ? {} : (before as JsonObject);
  return Object.fromEntries(
    Object.entries(value).map(([name, item]) => [
      name,
      respelt(item, Object.hasOwn(members, name) ? members[name] : undefined),
    ]),
  );
}

const isSameNumber = (value: number, before: Spelt | undefined): boolean =>
  sourceJson.isRawJSON(before) && Object.is(Number((before as unknown as { rawJSON: string }).rawJSON), value);
