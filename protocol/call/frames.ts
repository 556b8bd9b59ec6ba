/**
 * Frames of calls (SPEC "Calls"): each a strict DAG-CBOR map of a closed schema, at most 256 KiB.
 *
 *   first, caller  open {f, v: 1, sid, srv, non, sig} · ask {f, v: 1, sid, what, id?, non, sig}
 *   caller         call {f, n, order, salt}+body · msg {f}+body · sign {f, n, sig} · decline {f, n, code}
 *                  renew {f, sid, non, sig} · mail {f, seq, env}
 *   callee         opened {f} · rej {f, code, why} · taken {f, n, stmt} · result {f, n, rcpt, sig, salt}+body
 *                  msg {f}+body · renewed {f, sid} · told {f}+body · kept {f, seq}
 *   either         end {f, code, why} · part {f, m, p}
 *
 * A body of at most 64 KiB lies in its frame as `b`. A larger one goes ahead in `part` frames under a number `m`, and the
 * frame then names `m` and the `size`: a message counts as sent when its frame is, wherever its parts were.
 */
import { concatBytes } from '../encoding/bytes.ts';
import { type Cbor, decodeCbor, encodeCbor } from '../encoding/cbor.ts';
import {
  bytes,
  bytesOfAtMost,
  type Checked,
  integer,
  link,
  literal,
  map,
  oneOf,
  refine,
  type Schema,
  text,
  textWhere,
} from '../encoding/schema.ts';
import { type ErrorCode, isErrorCode, MeshError } from '../errors.ts';
import {
  CALL_FRAME_BYTES_MAX,
  CALL_INLINE_BYTES_MAX,
  CALL_MAIL_BYTES_MAX,
  CALL_NONCE_BYTES,
  CALL_NUMBER_MAX,
  CALL_PART_BYTES,
  CALL_SALT_BYTES,
  CALL_STATEMENT_BYTES_MAX,
  CALL_WHY_TEXT_MAX,
  MCP_MESSAGE_BYTES_MAX,
  SESSION_ID_BYTES,
} from '../limits.ts';
import { serverName } from '../receipt/schema.ts';
import { SIGNATURE_BYTES } from '../signature.ts';

const CALL_VERSION = 1;

/** What a caller may ask of a callee beside opening a link. */
export const ASKED = ['services', 'evidence', 'mail'] as const;
export type Asked = (typeof ASKED)[number];

const version = literal(CALL_VERSION);
const sid = bytes(SESSION_ID_BYTES);
const non = bytes(CALL_NONCE_BYTES);
const sig = bytes(SIGNATURE_BYTES);
const salt = bytes(CALL_SALT_BYTES);
const n = integer(1, CALL_NUMBER_MAX);
const statement = bytesOfAtMost(CALL_STATEMENT_BYTES_MAX);
const seq = integer(1, Number.MAX_SAFE_INTEGER);
const code = textWhere(isErrorCode, 'a code of the closed list') as Schema<ErrorCode>;
const why = text(CALL_WHY_TEXT_MAX);

const frame = <const N extends string, const R extends Readonly<Record<string, Schema<unknown>>>>(name: N, fields: R) =>
  map({ f: literal(name), ...fields });

/** Frames without a body. */
const BARE = {
  open: frame('open', { v: version, sid, srv: serverName, non, sig }),
  ask: map({ f: literal('ask'), v: version, sid, what: oneOf(...ASKED), non, sig }, { id: link }),
  opened: frame('opened', {}),
  rej: frame('rej', { code, why }),
  sign: frame('sign', { n, sig }),
  decline: frame('decline', { n, code }),
  renew: frame('renew', { sid, non, sig }),
  renewed: frame('renewed', { sid }),
  taken: frame('taken', { n, stmt: statement }),
  mail: frame('mail', { seq, env: bytesOfAtMost(CALL_MAIL_BYTES_MAX) }),
  kept: frame('kept', { seq }),
  end: frame('end', { code, why }),
} as const;

/** What carries a body has these fields beside its own, without the body's. */
const CARRYING = {
  call: { n, order: statement, salt },
  result: { n, rcpt: statement, sig, salt },
  msg: {},
  told: {},
} as const;

const inline = refine(bytesOfAtMost(CALL_INLINE_BYTES_MAX), ({ length }, fail) => {
  if (length === 0) fail('b', 'at least 1 byte');
});
const bodyFields = {
  b: inline,
  m: integer(1, CALL_NUMBER_MAX),
  size: integer(CALL_INLINE_BYTES_MAX + 1, MCP_MESSAGE_BYTES_MAX),
} as const;
const carrying = <const N extends string, const R extends Readonly<Record<string, Schema<unknown>>>>(
  name: N,
  fields: R,
) =>
  refine(map({ f: literal(name), ...fields }, bodyFields), (value, fail) => {
    const { b, m, size } = value as BodyFields;
    if (b === undefined ? m === undefined || size === undefined : m !== undefined || size !== undefined)
      fail('b', 'either it, or both "m" and "size"');
  });
interface BodyFields {
  readonly b?: Uint8Array;
  readonly m?: number;
  readonly size?: number;
}

const part = refine(
  frame('part', { m: integer(1, CALL_NUMBER_MAX), p: bytesOfAtMost(CALL_PART_BYTES) }),
  ({ p }, fail) => {
    if (p.length === 0) fail('p', 'at least 1 byte');
  },
);

const SCHEMAS: Readonly<Record<string, Schema<unknown>>> = {
  ...BARE,
  ...Object.fromEntries(Object.entries(CARRYING).map(([name, fields]) => [name, carrying(name, fields)])),
  part,
};

type BareFrame = { readonly [N in keyof typeof BARE]: Checked<(typeof BARE)[N]> }[keyof typeof BARE];
type CarryingFrame = {
  readonly [N in keyof typeof CARRYING]: { readonly f: N } & {
    readonly [K in keyof (typeof CARRYING)[N]]: Checked<(typeof CARRYING)[N][K]>;
  };
}[keyof typeof CARRYING];
/** What is said, without its body. */
export type CallFrame = BareFrame | CarryingFrame;
export type CallFrameName = CallFrame['f'];
export type CallFrameOf<N extends CallFrameName> = Extract<CallFrame, { readonly f: N }>;

/** Where a body is: in the frame, or in the parts that went ahead. */
export type BodyOnWire =
  | { readonly inline: Uint8Array }
  | { /** Number of the body. */ readonly m: number; readonly size: number };
export type ParsedCallFrame =
  | { readonly frame: CallFrame; readonly body?: BodyOnWire }
  | { readonly part: { readonly m: number; readonly bytes: Uint8Array } };

/** Whether a frame of this name has a body, which it then must have. */
export const hasBody = (name: CallFrameName): boolean => Object.hasOwn(CARRYING, name);

/** Byte strings are views of the input. Errors: too_large, malformed, noncanonical, version, schema. */
export function parseCallFrame(input: Uint8Array): ParsedCallFrame {
  verifySize(input);
  const value = decodeCbor(input);
  const fields = schemaOf(value).check(value, '') as { readonly f: CallFrameName | 'part' } & BodyFields & {
      readonly p?: Uint8Array;
    };
  if (fields.f === 'part') return { part: { m: fields.m as number, bytes: fields.p as Uint8Array } };
  if (!hasBody(fields.f)) return { frame: fields as unknown as CallFrame };
  const { b, m, size, ...rest } = fields;
  const body = b === undefined ? { m: m as number, size: size as number } : { inline: b };
  return { frame: rest as unknown as CallFrame, body };
}

/** Errors: schema, malformed, too_large. */
export function encodeCallFrame(frame: CallFrame, body?: BodyOnWire): Uint8Array {
  const fields = body === undefined ? {} : 'inline' in body ? { b: body.inline } : { m: body.m, size: body.size };
  const value = { ...(frame as unknown as Record<string, Cbor>), ...fields };
  schemaOf(value).check(value, '');
  const bytes = encodeCbor(value);
  verifySize(bytes);
  return bytes;
}

const PART_FRAME_START = Uint8Array.of(0xa3, 0x61, 0x66, 0x64, 0x70, 0x61, 0x72, 0x74, 0x61, 0x6d); // f: "part", m:
const PART_FRAME_BYTES = Uint8Array.of(0x61, 0x70); // p:

/** The `part` frame in pieces, of which the last is the bytes themselves: large ones are not copied here. Errors: schema. */
export function encodePartFrame(m: number, bytes: Uint8Array): readonly Uint8Array[] {
  part.check({ f: 'part', m, p: bytes }, '');
  return [concatBytes(PART_FRAME_START, headOf(0, m), PART_FRAME_BYTES, headOf(2, bytes.length)), bytes];
}

/** Of a CBOR item whose argument is below 2^32. */
function headOf(major: number, value: number): Uint8Array {
  const top = major << 5;
  if (value < 24) return Uint8Array.of(top | value);
  if (value < 0x100) return Uint8Array.of(top | 24, value);
  if (value < 0x10000) return Uint8Array.of(top | 25, value >>> 8, value & 255);
  return Uint8Array.of(top | 26, value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255);
}

function schemaOf(value: Cbor): Schema<unknown> {
  const name = fieldOf(value, 'f');
  const schema = typeof name === 'string' && Object.hasOwn(SCHEMAS, name) ? SCHEMAS[name] : undefined;
  if (schema === undefined)
    throw new MeshError(
      'schema',
      `Cannot accept a call frame: want "f" to be one of "${Object.keys(SCHEMAS).join('", "')}"`,
      {
        field: 'f',
      },
    );
  if (name === 'open' || name === 'ask') verifyVersion(value);
  return schema;
}

/** Before the schema: another version has fields of its own. */
function verifyVersion(value: Cbor): void {
  const is = fieldOf(value, 'v');
  if (typeof is !== 'number' || is === CALL_VERSION) return;
  throw new MeshError('version', `Cannot take calls in version ${is}: want ${CALL_VERSION}`, {
    is,
    want: CALL_VERSION,
  });
}

const fieldOf = (value: Cbor, name: string): Cbor | undefined =>
  typeof value === 'object' && value !== null && Object.hasOwn(value, name)
    ? (value as Record<string, Cbor>)[name]
    : undefined;

function verifySize({ length }: Uint8Array): void {
  if (length <= CALL_FRAME_BYTES_MAX) return;
  throw new MeshError(
    'too_large',
    `Cannot accept a call frame: ${length} bytes, want at most ${CALL_FRAME_BYTES_MAX}`,
    {
      is: length,
      want: CALL_FRAME_BYTES_MAX,
    },
  );
}
