import type { Checked, Schema } from '../encoding/schema.ts';
import { delegation } from '../delegation/link.ts';
import type { SigningContext, Topic } from '../domains.ts';
import { didOperation } from '../identity/operations.ts';
import {
  BINDING_BYTES_MAX,
  CALL_STATEMENT_BYTES_MAX,
  CHECKPOINT_BYTES_MAX,
  DELEGATION_BYTES_MAX,
  DIDOP_BYTES_MAX,
  EXPIRED_KEEP_SECONDS,
  HEARTBEAT_BYTES_MAX,
  MESSAGE_BYTES_MAX,
  PROOF_BYTES_MAX,
  REVOCATION_BYTES_MAX,
} from '../limits.ts';
import { binding } from '../log/binding.ts';
import { checkpoint } from '../log/checkpoint-statement.ts';
import { proof } from '../log/conviction.ts';
import { message } from '../message/schema.ts';
import { order, receipt, taking } from '../receipt/schema.ts';
import { heartbeat, revocation } from '../revocation/revocation.ts';

/**
 * One row a kind: its schema, where it travels, how long it lives. A new kind is a file with its schema, a row here,
 * and its entry in the door (protocol/state).
 */
export interface Kind<P> {
  /** Undefined: nobody signs it, it proves itself (verifySignatures says how). */
  readonly context: SigningContext | undefined;
  readonly schema: Schema<P>;
  readonly bytesMax: number;
  /** Undefined: not gossiped and not in the reconciled set. */
  readonly topic: Topic | undefined;
  /** Kept by the two whom it is about, and refused at the door. Default: no. */
  readonly isOfTwo?: true;
  /** Unix seconds from which it is no longer live; undefined: never. */
  readonly until: (payload: P) => number | undefined;
}

const kind = <P>(row: Kind<P>): Kind<P> => row;

export const KINDS = {
  'didop/v1': kind<Checked<typeof didOperation>>({
    context: 'didop',
    schema: didOperation,
    bytesMax: DIDOP_BYTES_MAX,
    topic: 'id',
    until: () => undefined,
  }),
  'delegation/v1': kind<Checked<typeof delegation>>({
    context: 'delegation',
    schema: delegation,
    bytesMax: DELEGATION_BYTES_MAX,
    topic: 'link',
    until: ({ exp }) => exp + EXPIRED_KEEP_SECONDS,
  }),
  'revocation/v1': kind<Checked<typeof revocation>>({
    context: 'revocation',
    schema: revocation,
    bytesMax: REVOCATION_BYTES_MAX,
    topic: 'rev',
    until: () => undefined,
  }),
  'binding/v1': kind<Checked<typeof binding>>({
    context: 'binding',
    schema: binding,
    bytesMax: BINDING_BYTES_MAX,
    topic: 'cp',
    until: () => undefined,
  }),
  'checkpoint/v1': kind<Checked<typeof checkpoint>>({
    context: undefined,
    schema: checkpoint,
    bytesMax: CHECKPOINT_BYTES_MAX,
    topic: 'cp',
    until: () => undefined,
  }),
  'proof/v1': kind<Checked<typeof proof>>({
    context: undefined,
    schema: proof,
    bytesMax: PROOF_BYTES_MAX,
    topic: 'rev',
    until: () => undefined,
  }),
  'heartbeat/v1': kind<Checked<typeof heartbeat>>({
    context: 'heartbeat',
    schema: heartbeat,
    bytesMax: HEARTBEAT_BYTES_MAX,
    topic: undefined,
    until: ({ iat }) => iat + EXPIRED_KEEP_SECONDS,
  }),
  'call/v1': kind<Checked<typeof order>>({
    context: 'call',
    schema: order,
    bytesMax: CALL_STATEMENT_BYTES_MAX,
    topic: undefined,
    isOfTwo: true,
    until: () => undefined,
  }),
  'taken/v1': kind<Checked<typeof taking>>({
    context: 'taken',
    schema: taking,
    bytesMax: CALL_STATEMENT_BYTES_MAX,
    topic: undefined,
    isOfTwo: true,
    until: () => undefined,
  }),
  'receipt/v1': kind<Checked<typeof receipt>>({
    context: 'receipt',
    schema: receipt,
    bytesMax: CALL_STATEMENT_BYTES_MAX,
    topic: undefined,
    isOfTwo: true,
    until: () => undefined,
  }),
  'message/v1': kind<Checked<typeof message>>({
    context: 'message',
    schema: message,
    bytesMax: MESSAGE_BYTES_MAX,
    topic: undefined,
    isOfTwo: true,
    until: ({ exp }) => exp,
  }),
} as const;

export type KindName = keyof typeof KINDS;
export type PayloadOf<K extends KindName> = Checked<(typeof KINDS)[K]['schema']>;
export type Payload = PayloadOf<KindName>;

export const isKindName = (t: unknown): t is KindName => typeof t === 'string' && Object.hasOwn(KINDS, t);
export const kindRow = (name: KindName): Kind<Payload> => KINDS[name] as unknown as Kind<Payload>;
