/** `message/v1` (SPEC "Messages"): what an agent says to another, as it is signed under the session that carries it. */
import { bytes, bytesOfAtMost, type Checked, integer, literal, map, refine, textWhere } from '../encoding/schema.ts';
import { meshDid, seconds, signers } from '../identity/operations.ts';
import {
  LOG_SALT_BYTES,
  MEDIA_TYPE_TEXT_MAX,
  MESSAGE_BODY_BYTES_MAX,
  MESSAGE_ID_BYTES,
  MESSAGE_SECONDS_MAX,
  MESSAGE_SEQ_MAX,
  SESSION_ID_BYTES,
} from '../limits.ts';

const TOKEN = '[a-z0-9][a-z0-9!#$&^_.+-]{0,126}'; // RFC 6838 section 4.2, in lower case alone
const PARAMETER = '[a-z0-9][a-z0-9-]{0,31}=[A-Za-z0-9._+-]{1,64}';
const MEDIA_TYPE = new RegExp(`^${TOKEN}/${TOKEN}(?:; ?${PARAMETER}){0,4}$`);

/** "text/plain; charset=utf-8": one spelling of names, and values without quotes. */
export const isMediaType = (text: string): boolean => text.length <= MEDIA_TYPE_TEXT_MAX && MEDIA_TYPE.test(text);

export const message = refine(
  map({
    t: literal('message/v1'),
    by: signers,
    iat: seconds,
    iss: meshDid,
    aud: meshDid,
    sid: bytes(SESSION_ID_BYTES),
    mid: bytes(MESSAGE_ID_BYTES),
    seq: integer(1, MESSAGE_SEQ_MAX),
    exp: seconds,
    ct: textWhere(isMediaType, 'a media type like "text/plain; charset=utf-8"'),
    slt: bytes(LOG_SALT_BYTES),
    body: bytesOfAtMost(MESSAGE_BODY_BYTES_MAX),
  }),
  (value, fail) => {
    if (value.by.length !== 1) fail('by', 'one key');
    if (value.aud === value.iss) fail('aud', 'another than iss');
    if (value.exp <= value.iat || value.exp - value.iat > MESSAGE_SECONDS_MAX)
      fail('exp', `a time after iat, by ${MESSAGE_SECONDS_MAX} seconds at most`);
  },
);
export type Message = Checked<typeof message>;
