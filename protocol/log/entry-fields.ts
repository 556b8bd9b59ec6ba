/** What fields of an entry may be, and those that every entry may have (SPEC "Audit entries"). */
import { isCapability } from '../delegation/capability.ts';
import { fromBase64url } from '../encoding/bytes.ts';
import type { Json, JsonObject } from '../encoding/jcs.ts';
import { isMultikeyText, isPeerId } from '../encoding/multikey.ts';
import {
  integer,
  isTextOfAtMost,
  list,
  map,
  nullable,
  oneOf,
  refine,
  type Schema,
  textWhere,
} from '../encoding/schema.ts';
import { type ErrorCode, isErrorCode } from '../errors.ts';
import { didOfGenesis, isAudienceDid, isMeshDid } from '../identity/did.ts';
import {
  CAPABILITIES_MAX,
  EXPOSED_URL_TEXT_MAX,
  LOG_MESSAGE_TEXT_MAX,
  LOG_TEXT_MAX,
  REASON_TEXT_MAX,
  SCORE_MAX,
  SESSION_ID_BYTES,
} from '../limits.ts';
import { isUuid7 } from './uuid7.ts';

// Texts that stand for bytes or times have one spelling each.

export const text = (charactersMax: number): Schema<string> =>
  textWhere(
    (value) => value !== '' && isTextOfAtMost(value, charactersMax),
    `text of 1 to ${charactersMax} characters`,
  );
export const name: Schema<string> = text(LOG_TEXT_MAX);
export const message: Schema<string> = text(LOG_MESSAGE_TEXT_MAX);
export const reason: Schema<string> = textWhere(
  (value) => isTextOfAtMost(value, REASON_TEXT_MAX),
  `text of at most ${REASON_TEXT_MAX} characters`,
);

export const did: Schema<string> = textWhere(isMeshDid, 'a DID like "did:mesh:bafyrei…"');
export const audience: Schema<string> = textWhere(isAudienceDid, 'a did:mesh, or an Ed25519 did:key');
export const statementId: Schema<string> = textWhere(
  (value) => isMeshDid(didOfGenesis(value)), // a did:mesh holds such an id, and is told without decoding it
  'the id of a statement like "bafyrei…"',
);
export const entryId: Schema<string> = textWhere(isUuid7, 'a UUID of version 7');
export const urlOrigin: Schema<string> = textWhere(
  (value) => value.length <= EXPOSED_URL_TEXT_MAX && URL.canParse(value) && new URL(value).origin === value,
  'an origin like "https://mcp.example.com"',
);
export const multikeyInText: Schema<string> = textWhere(isMultikeyText, 'an Ed25519 multikey like "z6Mk…"');
export const peerId: Schema<string> = textWhere(isPeerId, 'an Ed25519 PeerId like "12D3KooW…"');
export const capabilities: Schema<readonly string[]> = list(
  textWhere(isCapability, 'a capability like "read:reports/q3"'),
  0,
  CAPABILITIES_MAX,
);
export const errorCode = textWhere(isErrorCode, 'an error code of SPEC.md') as Schema<ErrorCode>;
const resultCode = textWhere((value) => value === 'ok' || isErrorCode(value), '"ok" or an error code') as Schema<
  'ok' | ErrorCode
>;
export const direction: Schema<'inbound' | 'outbound'> = oneOf('inbound', 'outbound');
export const score: Schema<number> = integer(0, SCORE_MAX);
export const count: Schema<number> = integer(0, Number.MAX_SAFE_INTEGER);

export const hex = (bytes: number): Schema<string> => {
  const pattern = new RegExp(`^[0-9a-f]{${2 * bytes}}$`);
  return textWhere((value) => pattern.test(value), `${bytes} bytes as lower-case hex`);
};
/** The one base64url spelling, without padding, of 1 to `bytesMax` bytes. */
export const base64url = (bytesMax: number): Schema<string> => {
  const lettersMax = Math.ceil((bytesMax * 4) / 3);
  return textWhere(
    (value) => value !== '' && value.length <= lettersMax && fromBase64url(value) !== undefined,
    `base64url of 1 to ${bytesMax} bytes, without padding`,
  );
};
// Of 32 and 64 bytes: the bits that the last letter has left are zero.
const COMMITMENT = /^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$/;
const TRACE = /^(?!0+$)[0-9a-f]{32}$/;
const SIGNATURE = /^[A-Za-z0-9_-]{85}[AQgw]$/;
const commitment = textWhere((value) => COMMITMENT.test(value), 'base64url of 32 bytes, without padding');

const TIME = /^[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9]\.[0-9]{3}Z$/;
/** RFC 3339 with one spelling: UTC, milliseconds, no leap second, a day that there was. */
export const time: Schema<string> = textWhere((value) => {
  if (!TIME.test(value)) return false;
  const ms = Date.parse(value);
  return !Number.isNaN(ms) && new Date(ms).toISOString() === value;
}, 'a time like "2026-11-22T18:00:00.000Z"');

/** An object of any members: whoever defines the type says what they mean. Numbers and depth are the encoding's rule. */
export const facts: Schema<JsonObject> = refine({ check: (value) => value as unknown as JsonObject }, (value, fail) => {
  if (!isObject(value)) fail('data.facts', 'an object');
  // A name that programs may take for more than a name.
  if (hasName(value, '__proto__')) fail('data.facts', 'no member named "__proto__"');
});
const isObject = (value: Json): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const hasName = (value: Json, name: string): boolean =>
  typeof value === 'object' &&
  value !== null &&
  (Object.hasOwn(value, name) || Object.values(value as JsonObject).some((inner) => hasName(inner, name)));

/** Members of `data` that every entry has. */
export const commonRequired = {
  actor: did,
  phase: oneOf('intent', 'outcome'),
};
/** And those that every entry may have. */
export const commonOptional = {
  /** The entry that this is the outcome of. */
  intent: entryId,
  principal: did,
  peer: did,
  session: hex(SESSION_ID_BYTES),
  trace: textWhere((value) => TRACE.test(value), 'a W3C trace id: 16 bytes as lower-case hex, not all zero'),
  op: name,
  tool: name,
  delegation: map({ chain: hex(32), leaf: statementId }),
  policy: map({ hash: hex(32), version: name, rule: nullable(name), decision: name }),
  in: commitment,
  out: commitment,
  trust: map({ peer: did, before: score, after: score, cause: name }),
  result: map({ code: resultCode }, { message }),
};
export const signature = map({
  kid: multikeyInText,
  sig: textWhere((value) => SIGNATURE.test(value), 'base64url of 64 bytes, without padding'),
});
