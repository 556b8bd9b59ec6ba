/** `revocation/v1` and `heartbeat/v1` (SPEC "Revocation and freshness"). */
import {
  bytes,
  type Checked,
  integer,
  link,
  literal,
  map,
  multikey,
  nullable,
  refine,
  text,
} from '../encoding/schema.ts';
import { meshDid, seconds, signers } from '../identity/operations.ts';
import { DID_SEQ_MAX, NONCE_BYTES, REASON_TEXT_MAX, REVOCATION_SEQ_MAX } from '../limits.ts';

const target = refine(map({}, { link, did: meshDid, key: multikey }), (tgt, fail) => {
  if ((tgt.link === undefined) === (tgt.did === undefined)) fail('tgt', 'either {link}, {did} or {did, key}');
  if (tgt.key !== undefined && tgt.did === undefined) fail('tgt', 'a DID beside the key');
});

const reason = text(REASON_TEXT_MAX);

export const revocation = refine(
  map({
    t: literal('revocation/v1'),
    by: signers,
    iat: seconds,
    iss: meshDid,
    org: meshDid,
    seq: integer(1, REVOCATION_SEQ_MAX),
    prv: nullable(link),
    tgt: target,
    rsn: reason,
  }),
  (value, fail) => {
    if ((value.seq === 1) !== (value.prv === null)) fail('prv', 'null for number 1, the one before for all others');
    if (value.by.length !== (value.iss === value.org ? 1 : 2))
      fail('by', 'the issuer, then its organisation; once where they are one');
  },
);
export type Revocation = Checked<typeof revocation>;
export type RevocationTarget = Revocation['tgt'];

export const heartbeat = refine(
  map(
    {
      t: literal('heartbeat/v1'),
      by: signers,
      iat: seconds,
      iss: meshDid,
      dseq: integer(0, DID_SEQ_MAX),
      head: link,
      rseq: integer(0, REVOCATION_SEQ_MAX),
      rhead: nullable(link),
    },
    { non: bytes(NONCE_BYTES) },
  ),
  (value, fail) => {
    if ((value.rseq === 0) !== (value.rhead === null)) fail('rhead', 'null exactly when nothing was revoked');
    if (value.by.length !== 1) fail('by', 'one key');
  },
);
export type Heartbeat = Checked<typeof heartbeat>;
