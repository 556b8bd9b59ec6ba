/**
 * Frames of the handshake (SPEC "Handshake"): each a strict DAG-CBOR map of a closed schema, at most 64 KiB.
 *
 *   1  I→R  HELLO    {v: 1, did, to, non, want, min, pur?}
 *   2  R→I  OFFER    {did, non, pres, need: {min, caps?}, sig}
 *   3  I→R  PROOF    {pres, sig}
 *   4  R→I  RESULT   {sid, caps, exp, rates, sig}
 *   either  {rej: code}     in place of the next frame
 *   either  {end: code}     after RESULT: the session is over
 */
import { type Cbor, decodeCbor, encodeCbor } from '../encoding/cbor.ts';
import {
  bytes,
  bytesOfAtMost,
  type Checked,
  integer,
  link,
  list,
  literal,
  map,
  oneOf,
  type Schema,
  textWhere,
} from '../encoding/schema.ts';
import { capabilities, capability } from '../delegation/capability.ts';
import { purpose, rate } from '../delegation/link.ts';
import { CHAIN_CODES, type ChainCode } from '../delegation/verify.ts';
import { type ErrorCode, MeshError } from '../errors.ts';
import { meshDid, seconds } from '../identity/operations.ts';
import {
  CAPABILITIES_MAX,
  HANDSHAKE_NONCE_BYTES,
  IATP_FRAME_BYTES_MAX,
  PRESENTED_STATEMENTS_MAX,
  SCORE_MAX,
  SESSION_ID_BYTES,
  SESSION_RATES_MAX,
  STATEMENT_BYTES_MAX,
} from '../limits.ts';
import { SIGNATURE_BYTES } from '../signature.ts';

const IATP_VERSION = 1;

/** What one side tells the other when it refuses; details stay in its log. */
export const REFUSALS = [
  'version',
  'too_large',
  'malformed',
  'noncanonical',
  'schema',
  'reflection',
  'replay',
  'no_channel_binding',
  'busy',
  'timeout',
  'did_unknown',
  'did_forked',
  'did_deactivated',
  'peer_not_bound',
  'status_stale',
  'sponsor_missing',
  'sponsor_revoked',
  'convicted',
  'key_missing',
  'bad_signature',
  'caps_insufficient',
  'score_below',
  'policy_denied',
  'log_halted',
  'closed',
  'internal',
] as const satisfies readonly ErrorCode[];
export type Refusal = (typeof REFUSALS)[number] | `chain:${ChainCode}`;

/** Why sessions end. */
export const ENDINGS = [
  'revoked', // a link, key or DID that it rests on
  'expired',
  'convicted',
  'score_below',
  'policy_changed',
  'closed', // by one of the sides, or with the connection
  'did_forked',
  'did_deactivated',
  'key_retired',
  'peer_not_bound', // its organisation does not list the PeerId any more
  'status_stale', // nothing recent enough is known of an organisation that it rests on
] as const satisfies readonly ErrorCode[];
export type Ending = (typeof ENDINGS)[number];

const isRefusal = (code: string): code is Refusal =>
  (REFUSALS as readonly string[]).includes(code) ||
  (code.startsWith('chain:') && (CHAIN_CODES as readonly string[]).includes(code.slice('chain:'.length)));

const nonce = bytes(HANDSHAKE_NONCE_BYTES);
const score = integer(0, SCORE_MAX);
const sig = bytes(SIGNATURE_BYTES);
const wanted = list(capability, 0, CAPABILITIES_MAX);
const presentation = map(
  { set: list(bytesOfAtMost(STATEMENT_BYTES_MAX), 0, PRESENTED_STATEMENTS_MAX) },
  { ident: link, grant: link },
);

const FRAMES = {
  hello: map(
    { v: literal(IATP_VERSION), did: meshDid, to: meshDid, non: nonce, want: wanted, min: score },
    { pur: purpose },
  ),
  offer: map({ did: meshDid, non: nonce, pres: presentation, need: map({ min: score }, { caps: capabilities }), sig }),
  proof: map({ pres: presentation, sig }),
  result: map({
    sid: bytes(SESSION_ID_BYTES),
    caps: wanted,
    exp: seconds,
    rates: list(rate, 0, SESSION_RATES_MAX),
    sig,
  }),
  refusal: map({ rej: textWhere(isRefusal, 'a code of the closed list') as Schema<Refusal> }),
  end: map({ end: oneOf(...ENDINGS) }),
} as const;

export type FrameName = keyof typeof FRAMES;
export type FrameOf<N extends FrameName> = Checked<(typeof FRAMES)[N]>;
export type Presentation = Checked<typeof presentation>;
/** Frames that are signed over everything before them. */
export type SignedFrameName = 'offer' | 'proof' | 'result';

/** Errors: too_large, malformed, noncanonical, schema, version. */
export function parseHandshakeFrame<N extends FrameName>(name: N, frame: Uint8Array): FrameOf<N> {
  verifySize(frame);
  const value = decodeCbor(frame);
  if (name === 'hello') verifyVersion(value);
  return (FRAMES[name] as Schema<unknown>).check(value, '') as FrameOf<N>;
}

/**
 * As parseHandshakeFrame, where a refusal may come instead. Errors: besides those the other side's code, with
 * `data.side` "peer"; `chain` has the chain's own code in `data.reason`.
 */
export function parseReply<N extends FrameName>(name: N, frame: Uint8Array): FrameOf<N> {
  verifySize(frame);
  const value = decodeCbor(frame);
  if (fieldOf(value, 'rej') === undefined) return (FRAMES[name] as Schema<unknown>).check(value, '') as FrameOf<N>;
  throw errorOfRefusal(FRAMES.refusal.check(value, '').rej);
}

/** Errors: schema, malformed, too_large. */
export function encodeHandshakeFrame<N extends FrameName>(name: N, value: FrameOf<N>): Uint8Array {
  const item = value as unknown as Cbor;
  (FRAMES[name] as Schema<unknown>).check(item, '');
  const frame = encodeCbor(item);
  verifySize(frame);
  return frame;
}

/** The message without its `sig`, as its signature covers it. */
export const encodeUnsigned = <N extends SignedFrameName>(frame: FrameOf<N> | Omit<FrameOf<N>, 'sig'>): Uint8Array =>
  encodeCbor({ ...(frame as unknown as Record<string, Cbor>), sig: undefined });

function verifySize({ length }: Uint8Array): void {
  if (length <= IATP_FRAME_BYTES_MAX) return;
  throw new MeshError(
    'too_large',
    `Cannot accept a handshake frame: ${length} bytes, want at most ${IATP_FRAME_BYTES_MAX}`,
    {
      is: length,
      want: IATP_FRAME_BYTES_MAX,
    },
  );
}

/** Before the schema: another version has fields of its own. */
function verifyVersion(value: Cbor): void {
  const version = fieldOf(value, 'v');
  if (typeof version !== 'number' || version === IATP_VERSION) return;
  throw new MeshError('version', `Cannot shake hands in version ${version}: want ${IATP_VERSION}`, {
    is: version,
    want: IATP_VERSION,
  });
}

const fieldOf = (value: Cbor, name: string): Cbor | undefined =>
  typeof value === 'object' && value !== null && name in value ? (value as Record<string, Cbor>)[name] : undefined;

/** What the other side said, as an error of this side's. */
export function errorOfRefusal(refusal: Refusal): MeshError {
  const [code, reason] = refusal.split(':') as [ErrorCode, string | undefined];
  const data = { side: 'peer', ...(reason === undefined ? {} : { reason }) };
  return new MeshError(code, `Cannot shake hands: the other side refused with "${refusal}"`, data);
}

/** The code that the other side is told; what has none of its own is `internal`. */
export function refusalOf({ code, data }: MeshError): Refusal {
  const text = code === 'chain' ? `chain:${data.reason}` : (SAID_AS[code] ?? code);
  return isRefusal(text) ? text : 'internal';
}

/** Whether an agent is suspended or unknown here is nobody else's business. */
const SAID_AS: Partial<Record<ErrorCode, Refusal>> = {
  suspended: 'policy_denied',
  forbidden: 'policy_denied',
  not_found: 'did_unknown',
  cancelled: 'closed',
};
