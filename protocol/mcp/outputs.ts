/** Results that a policy looks at, and how one is written anew where something in it changed. */
import type { Json, JsonObject } from '../encoding/jcs.ts';
import type { Message, NotificationMessage, RequestMessage, ResultMessage } from './messages.ts';

/**
 * The message with another result. All other members stay; numbers are written with the letters that they had, where
 * they are what and where they were.
 */
export const withResult = (message: ResultMessage, result: Json): Uint8Array => withMember(message, 'result', result);

/** As `withResult`, of a request's or notification's params. */
export const withParams = (message: RequestMessage | NotificationMessage, params: Json): Uint8Array =>
  withMember(message, 'params', params);

function withMember({ bytes }: Message, member: string, value: Json): Uint8Array {
  const spelt = speltOf(bytes);
  return encoded({ ...spelt, [member]: respelt(value, spelt[member]) });
}

/** The message with what `change` makes of its result, in which numbers are as they were spelt (JSON.rawJSON). */
export function withChangedResult(message: ResultMessage, change: (result: Json) => Json): Uint8Array {
  const spelt = speltOf(message.bytes);
  return encoded({ ...spelt, result: change(spelt['result'] ?? null) });
}

const utf8Encoder = new TextEncoder();
const utf8Decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const encoded = (value: JsonObject): Uint8Array => utf8Encoder.encode(JSON.stringify(value));

/** TC39 "JSON.parse source text access", which the library of ES2024 does not declare. */
interface SourceJson {
  parse(
    text: string,
    reviver: (name: string, value: unknown, context: { readonly source?: string }) => unknown,
  ): unknown;
  rawJSON(text: string): object;
  isRawJSON(value: unknown): value is { readonly rawJSON: string };
}
const sourceJson = JSON as unknown as SourceJson;

const speltOf = (bytes: Uint8Array): JsonObject =>
  sourceJson.parse(utf8Decoder.decode(bytes), (_, value, { source }) =>
    typeof value === 'number' && source !== undefined && source !== String(value) ? sourceJson.rawJSON(source) : value,
  ) as JsonObject;

/** Takes a number's letters from the same place of the tree before. */
function respelt(value: Json, before: Json | undefined): Json {
  if (typeof value === 'number') return isSpelling(before, value) ? (before as Json) : value;
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

const isSpelling = (before: unknown, value: number): boolean =>
  sourceJson.isRawJSON(before) && Object.is(Number(before.rawJSON), value);
