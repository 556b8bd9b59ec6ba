/** Makes the statements of the audit log (SPEC "Audit log statements"), in the one form that each content has. */
import { MeshError } from '../errors.ts';
import { equalBytes } from '../encoding/bytes.ts';
import { type Statement, type StatementSigner, signStatement } from '../statement/statement.ts';
import { type Checkpoint, parseCheckpoint } from './checkpoint.ts';
import { compareNotes, type ConvictedAs } from './conviction.ts';
import { parseLogOrigin } from './names.ts';
import { formatNote, type Note } from './note.ts';
import { formatVkey, type Vkey } from './vkey.ts';

export interface BindingTerms {
  /** The organisation. */
  readonly iss: string;
  readonly log: Vkey;
  readonly witness: Vkey;
  /** PeerId text. */
  readonly peer: string;
  readonly nowSeconds: number;
}

export interface BindingSigners {
  /** A key that the organisation lists for `sign`. */
  readonly organisation: StatementSigner;
  readonly log: StatementSigner;
  readonly witness: StatementSigner;
}

/** Signed by all three. Errors: schema, for keys that are not named after themselves or are others than those that sign. */
export const signBinding = (
  { iss, log, witness, peer, nowSeconds }: BindingTerms,
  signers: BindingSigners,
): Statement<'binding/v1'> =>
  signStatement<'binding/v1'>(
    { t: 'binding/v1', iat: nowSeconds, iss, log: formatVkey(log), wit: formatVkey(witness), peer },
    [signers.organisation, signers.log, signers.witness],
  );

/** The note with the lines of this key alone: one, unless somebody doubled it. Errors: not_signed. */
export function stripNote({ text, signatures }: Note, { name, keyId }: Vkey): Note {
  const line = signatures.find((each) => each.name === name && equalBytes(each.keyId, keyId));
  if (line === undefined) throw new MeshError('not_signed', `Cannot strip a note: it has no line by "${name}"`);
  return { text, signatures: [line] };
}

/**
 * A checkpoint of a log of ours, without the cosignatures. Errors: too_large, malformed (also for a log of others),
 * not_signed, schema.
 */
export function checkpointStatement(note: Uint8Array): Statement<'checkpoint/v1'> {
  const signed = parseCheckpoint(note);
  const log = parseLogOrigin(signed.checkpoint.origin);
  if (log === undefined)
    throw new MeshError('malformed', `Cannot publish a checkpoint: "${signed.checkpoint.origin}" is no log of ours`);
  return signStatement<'checkpoint/v1'>(
    { t: 'checkpoint/v1', iat: 0, note: formatNote(stripNote(signed.note, log.vkey)) },
    [],
  );
}

export interface ForkFound {
  readonly of: ConvictedAs;
  /** The organisation of the binding. */
  readonly who: string;
  /** That signed both notes: type 01 for a log, 04 for a witness. */
  readonly vkey: Vkey;
  /** Two notes, in either order, with whatever lines they came with. */
  readonly a: Uint8Array;
  readonly b: Uint8Array;
  /** The root of the larger tree at the size of the smaller; at equal sizes it is not looked at. */
  readonly rootOfAOnB: Uint8Array;
  /** From the smaller size to the larger. */
  readonly proof: readonly Uint8Array[];
  /** By which the key is `who`'s. */
  readonly binding: Statement<'binding/v1'>;
}

/**
 * The proof in its one form: notes stripped to the line that matters, in order. Whether it convicts is for
 * `verifySignatures` to say. Errors: too_large, malformed, not_signed, schema.
 */
export function createForkProof({ of, who, vkey, a, b, rootOfAOnB, proof, binding }: ForkFound): Statement<'proof/v1'> {
  const notes = [strip(a, vkey), strip(b, vkey)].sort(compareNotes);
  const [[older, first], [newer, second]] = notes as [Stripped, Stripped];
  const isEqual = older.treeSize === newer.treeSize;
  return signStatement<'proof/v1'>(
    {
      t: 'proof/v1',
      iat: 0,
      of,
      who,
      ...(of === 'log' ? { log: formatVkey(vkey) } : { witness: formatVkey(vkey) }),
      a: first,
      b: second,
      rootOfAOnB: isEqual ? newer.root : rootOfAOnB,
      proof: isEqual ? [] : proof,
      binding: binding.envelope,
    },
    [],
  );
}

type Stripped = readonly [Checkpoint, Uint8Array];

function strip(bytes: Uint8Array, vkey: Vkey): Stripped {
  const { checkpoint, note } = parseCheckpoint(bytes);
  return [checkpoint, formatNote(stripNote(note, vkey))];
}
