/** A delegation link, `delegation/v1` (SPEC "Delegation links"). */
import {
  bytes,
  type Checked,
  integer,
  link,
  list,
  literal,
  map,
  multikey,
  nullable,
  refine,
  textWhere,
} from '../encoding/schema.ts';
import { isAudienceDid } from '../identity/did.ts';
import { meshDid, seconds, signers } from '../identity/operations.ts';
import {
  AT_MAX,
  CREDENTIAL_SECONDS_MAX,
  DEPTH_MAX,
  LINK_SECONDS_MAX,
  NONCE_BYTES,
  PURPOSES_MAX,
  PURPOSE_TEXT_MAX,
  RATES_MAX,
  RATE_N_MAX,
  RATE_SECONDS_MAX,
  SCORE_MAX,
  STALENESS_SECONDS_MAX,
} from '../limits.ts';
import { capabilities, isCapability } from './capability.ts';

export const rate = map({
  can: textWhere(isCapability, 'a capability like "read:reports/q3"'),
  n: integer(1, RATE_N_MAX),
  per: integer(1, RATE_SECONDS_MAX),
});

export const purpose = textWhere(
  (value) => /^[a-z0-9][a-z0-9._-]*$/.test(value) && value.length <= PURPOSE_TEXT_MAX,
  'a purpose like "billing" (lower-case letters, digits, ".", "_", "-")',
);

export const delegation = refine(
  map(
    {
      t: literal('delegation/v1'),
      by: signers,
      iat: seconds,
      iss: meshDid,
      aud: textWhere(isAudienceDid, 'a did:mesh or an Ed25519 did:key'),
      sub: meshDid,
      spo: meshDid,
      prf: nullable(link),
      cap: capabilities,
      nbf: seconds,
      exp: seconds,
      nce: bytes(NONCE_BYTES),
    },
    {
      cnf: multikey,
      dep: integer(0, DEPTH_MAX),
      rate: list(rate, 1, RATES_MAX),
      at: list(textWhere(isAudienceDid, 'a DID'), 1, AT_MAX),
      pur: list(purpose, 1, PURPOSES_MAX),
      mts: integer(0, SCORE_MAX),
      stl: integer(0, STALENESS_SECONDS_MAX),
      pri: literal(true),
    },
  ),
  (value, fail) => {
    if (value.exp <= value.nbf) fail('exp', 'an expiry after the start');
    if (value.exp - value.iat > LINK_SECONDS_MAX) fail('exp', `a life of at most ${LINK_SECONDS_MAX} seconds from iat`);
    if (value.cnf !== undefined && value.exp - value.iat > CREDENTIAL_SECONDS_MAX) {
      fail('exp', `a life of at most ${CREDENTIAL_SECONDS_MAX} seconds where cnf is set`);
    }
    if (value.cnf !== undefined && value.pri === undefined) fail('pri', 'a link with cnf to be private');
    if (value.prf === null ? value.iss !== value.sub || value.by.length !== 2 : value.by.length !== 1) {
      fail('by', 'at the root the organisation and its sponsor, elsewhere one key');
    }
  },
);
export type Delegation = Checked<typeof delegation>;
export type Rate = Checked<typeof rate>;
