/** did:mesh operations, `didop/v1` (SPEC "DID operations"). */
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
  oneOf,
  refine,
  text,
  textWhere,
  tuple,
  variant,
} from '../encoding/schema.ts';
import { isPeerId } from '../encoding/multikey.ts';
import { compareBytes } from '../encoding/bytes.ts';
import {
  DID_COMMITMENTS_MAX,
  DID_KEYS_MAX,
  DID_PEERS_MAX,
  DID_SEQ_MAX,
  DID_SERVICES_MAX,
  GRACE_SECONDS_MAX,
  KEPT_IDS_MAX,
  NONCE_BYTES,
  REVOCATION_SEQ_MAX,
  SECONDS_MAX,
  SERVICE_TEXT_MAX,
  SIGNERS_MAX,
} from '../limits.ts';
import { isMeshDid } from './did.ts';

export const KEY_USES = ['auth', 'delegate', 'sign'] as const;
export type KeyUse = (typeof KEY_USES)[number];
export const DID_KINDS = ['org', 'person', 'agent'] as const;
export type DidKind = (typeof DID_KINDS)[number];

export const seconds = integer(0, SECONDS_MAX);
export const meshDid = textWhere(isMeshDid, 'a DID like "did:mesh:bafyrei…"');
export const signers = refine(list(multikey, 1, SIGNERS_MAX), (keys, fail) => {
  if (hasRepeats(keys)) fail('by', 'each signing key once');
});

const digest = bytes(32);
const uses = refine(list(oneOf(...KEY_USES), 1, KEY_USES.length), (value, fail) => {
  for (let i = 1; i < value.length; i++)
    if ((value[i - 1] as string) >= (value[i] as string)) fail('uses', 'uses sorted, each once');
});
const keys = refine(list(tuple(multikey, uses), 1, DID_KEYS_MAX), (value, fail) => {
  if (hasRepeats(value.map(([key]) => key))) fail('keys', 'each key once');
});
const peers = refine(
  list(textWhere(isPeerId, 'an Ed25519 PeerId like "12D3KooW…"'), 0, DID_PEERS_MAX),
  (value, fail) => {
    if (new Set(value).size !== value.length) fail('peer', 'each PeerId once');
  },
);
const services = list(tuple(text(SERVICE_TEXT_MAX), text(SERVICE_TEXT_MAX)), 0, DID_SERVICES_MAX);
const commitments = refine(list(digest, 0, DID_COMMITMENTS_MAX), (value, fail) => {
  if (hasRepeats(value)) fail('nxt', 'each commitment once');
});
const retired = list(tuple(multikey, nullable(seconds), list(link, 0, KEPT_IDS_MAX)), 0, DID_KEYS_MAX);
const threshold = integer(0, DID_COMMITMENTS_MAX);
const common = { t: literal('didop/v1'), by: signers, iat: seconds };
const successor = { ...common, iss: meshDid, seq: integer(1, DID_SEQ_MAX), prv: link };
const revocationLog = { rseq: integer(0, REVOCATION_SEQ_MAX), rhead: nullable(link) };

const genesis = refine(
  map(
    {
      ...common,
      op: literal('genesis'),
      kind: oneOf(...DID_KINDS),
      keys,
      nxt: commitments,
      nthr: threshold,
      rec: commitments,
      rthr: threshold,
      peer: peers,
      nce: bytes(NONCE_BYTES),
    },
    { svc: services, ctl: meshDid },
  ),
  (op, fail) => {
    if ((op.kind === 'org') !== (op.ctl === undefined))
      fail('ctl', 'the organisation of an agent or person, and none for an organisation');
    if (op.kind !== 'org' && op.peer.length > 0) fail('peer', 'PeerIds for organisations only');
    checkThreshold('nthr', op.nthr, op.nxt.length, fail);
    checkThreshold('rthr', op.rthr, op.rec.length, fail);
  },
);
const rotate = refine(
  map({ ...successor, op: literal('rotate'), keys, ret: retired, nxt: commitments, nthr: threshold, ...revocationLog }),
  (op, fail) => {
    checkThreshold('nthr', op.nthr, op.nxt.length, fail);
    checkRetired(op, fail);
    checkRevocationLog(op, fail);
  },
);
const update = map({ ...successor, op: literal('update'), peer: peers, svc: services });
const recover = refine(
  map({
    ...successor,
    op: literal('recover'),
    keys,
    ret: retired,
    nxt: commitments,
    nthr: threshold,
    rec: commitments,
    rthr: threshold,
    peer: peers,
    svc: services,
    ...revocationLog,
  }),
  (op, fail) => {
    checkThreshold('nthr', op.nthr, op.nxt.length, fail);
    checkThreshold('rthr', op.rthr, op.rec.length, fail);
    checkRetired(op, fail);
    checkRevocationLog(op, fail);
  },
);
const deactivate = map({ ...successor, op: literal('deactivate') });

export const didOperation = variant('op', { genesis, rotate, update, recover, deactivate });

export type Genesis = Checked<typeof genesis>;
export type Rotate = Checked<typeof rotate>;
export type Update = Checked<typeof update>;
export type Recover = Checked<typeof recover>;
export type Deactivate = Checked<typeof deactivate>;
export type DidOperation = Genesis | Rotate | Update | Recover | Deactivate;
export type SuccessorOperation = Exclude<DidOperation, Genesis>;

type Fail = (field: string, want: string) => never;

/** No commitments: threshold 0, the DID cannot rotate (or recover). Otherwise 1..n of n. */
function checkThreshold(field: string, value: number, of: number, fail: Fail): void {
  if (of === 0 ? value !== 0 : value < 1 || value > of) fail(field, `a threshold from ${Math.min(1, of)} to ${of}`);
}

function checkRetired(
  op: {
    readonly iat: number;
    readonly keys: readonly (readonly [Uint8Array, unknown])[];
    readonly ret: readonly (readonly [Uint8Array, number | null, unknown])[];
  },
  fail: Fail,
): void {
  if (hasRepeats(op.ret.map(([key]) => key))) fail('ret', 'each retired key once');
  if (hasRepeats([...op.ret.map(([key]) => key), ...op.keys.map(([key]) => key)]))
    fail('ret', 'no key both listed and retired');
  for (const [, until] of op.ret) {
    if (until !== null && until > op.iat + GRACE_SECONDS_MAX)
      fail('ret', `grace of at most ${GRACE_SECONDS_MAX} seconds`);
  }
}

function checkRevocationLog({ rseq, rhead }: { readonly rseq: number; readonly rhead: unknown }, fail: Fail): void {
  if ((rseq === 0) !== (rhead === null)) fail('rhead', 'null exactly when nothing was revoked');
}

function hasRepeats(values: readonly Uint8Array[]): boolean {
  for (let i = 0; i < values.length; i++) {
    for (let k = 0; k < i; k++) if (compareBytes(values[i] as Uint8Array, values[k] as Uint8Array) === 0) return true;
  }
  return false;
}
