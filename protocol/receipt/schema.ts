/**
 * What two parties sign about a call between them (SPEC "Receipts"): the order, the taking, the receipt. They are
 * statements by form and are kept by these two alone: never in the set, refused at the door.
 */
import {
  bytes,
  bytesOfAtMost,
  type Checked,
  integer,
  link,
  literal,
  map,
  nullable,
  oneOf,
  refine,
  textWhere,
} from '../encoding/schema.ts';
import { meshDid, seconds, signers } from '../identity/operations.ts';
import {
  CALL_KEY_BYTES_MAX,
  CALL_KEY_BYTES_MIN,
  CALL_NUMBER_MAX,
  CALL_SERVER_TEXT_MAX,
  SECONDS_MAX,
  SESSION_ID_BYTES,
} from '../limits.ts';

/** How a call ended. */
export const OUTCOMES = [
  'ok',
  'error', // the server answered with an error, or with a result that says so
  'denied', // by a policy, or for want of an approval
  'refused', // before that: the chain, a rate, a size, a server that is not there
  'timeout',
  'cancelled', // by the caller, or because the session ended
] as const;
export type CallOutcome = (typeof OUTCOMES)[number];

const SERVER_NAME = new RegExp(`^[a-z][a-z0-9._-]{0,${CALL_SERVER_TEXT_MAX - 1}}$`);
/** By which a server is exposed. It is a segment of capabilities too. */
export const isServerName = (name: string): boolean => SERVER_NAME.test(name);

export const serverName = textWhere(
  isServerName,
  'a name like "files" (a lower-case letter, then letters, digits, ".", "_", "-")',
);
const digest = bytes(32);
const sid = bytes(SESSION_ID_BYTES);
const milliseconds = integer(0, SECONDS_MAX * 1000 + 999);
const key = refine(bytesOfAtMost(CALL_KEY_BYTES_MAX), ({ length }, fail) => {
  if (length < CALL_KEY_BYTES_MIN) fail('key', `${CALL_KEY_BYTES_MIN} to ${CALL_KEY_BYTES_MAX} bytes`);
});

const oneSigner = (
  { by }: { readonly by: readonly Uint8Array[] },
  fail: (field: string, want: string) => never,
): void => {
  if (by.length !== 1) fail('by', 'one key');
};

/** From the caller to the callee: do this. */
export const order = refine(
  map(
    {
      t: literal('call/v1'),
      by: signers,
      iat: seconds,
      iss: meshDid,
      aud: meshDid,
      sid,
      n: integer(1, CALL_NUMBER_MAX),
      hs: digest,
      srv: serverName,
      req: digest,
    },
    { key },
  ),
  oneSigner,
);

/** From the callee to the caller: this order is in my log, and I am about to do it. */
export const taking = refine(
  map({ t: literal('taken/v1'), by: signers, iat: seconds, iss: meshDid, aud: meshDid, call: link }),
  oneSigner,
);

/** By both, or half: what became of a call, or (n = 0) of a session without calls. */
export const receipt = refine(
  map(
    {
      t: literal('receipt/v1'),
      by: signers,
      iat: seconds,
      iss: meshDid,
      aud: meshDid,
      sid,
      n: integer(0, CALL_NUMBER_MAX),
      hs: digest,
      req: nullable(digest),
      res: nullable(digest),
      out: oneOf(...OUTCOMES),
      start: milliseconds,
      end: milliseconds,
    },
    { srv: serverName, call: link, half: literal(true) },
  ),
  (value, fail) => {
    const isCall = value.n > 0;
    if ((value.call !== undefined) !== isCall) fail('call', 'the order of a call, and none where there was no call');
    if ((value.srv !== undefined) !== isCall) fail('srv', 'the server of a call, and none where there was no call');
    if ((value.req !== null) !== isCall) fail('req', 'the commitment of a call, and null where there was no call');
    if (!isCall && value.res !== null) fail('res', 'null where there was no call');
    if (value.end < value.start) fail('end', 'an end that is not before the start');
    if (value.by.length !== (value.half === true ? 1 : 2))
      fail('by', "the caller's and the callee's key, in a half receipt one of them");
  },
);

export type Order = Checked<typeof order>;
export type Receipt = Checked<typeof receipt>;
