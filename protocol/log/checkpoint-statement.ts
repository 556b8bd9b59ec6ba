/**
 * `checkpoint/v1` (SPEC "Audit log statements"): a checkpoint of a log of ours on its way through the network. The note
 * is signed by the key that its own origin names, so it proves itself before anything is looked up, and whoever passes
 * it on passes on the same bytes: no cosignatures, no second spelling.
 */
import { bytesOfAtMost, type Checked, integer, list, literal, map, multikey, refine } from '../encoding/schema.ts';
import { equalBytes } from '../encoding/bytes.ts';
import { isMeshError } from '../errors.ts';
import { CHECKPOINT_NOTE_BYTES_MAX } from '../limits.ts';
import type { IsSignatureValid } from '../signature.ts';
import { type Checkpoint, parseCheckpoint, type SignedCheckpoint } from './checkpoint.ts';
import {
  createSignatureLine as lineOf,
  type NoteSignature,
  noteMessage,
  signatureBytesOf,
  verifyNote,
} from './note.ts';
import { type LogName, parseLogOrigin } from './names.ts';
import { malformed } from './text.ts';
import type { Vkey } from './vkey.ts';

/** What proves itself is signed by nobody and made at no time, so that one content has one id. */
export const provesItself = { by: list(multikey, 0, 0), iat: integer(0, 0) } as const;

/**
 * A checkpoint whose only line is under this key, by name and key ID, in its one spelling; whether it verifies is
 * another question. Errors: too_large, malformed.
 */
export function parseOneLine(bytes: Uint8Array, vkeyOf: (origin: string) => Vkey | undefined): SignedCheckpoint {
  const signed = parseCheckpoint(bytes);
  const vkey = vkeyOf(signed.checkpoint.origin);
  const [line, ...others] = signed.note.signatures;
  if (vkey === undefined || line === undefined || others.length > 0)
    throw malformed('a checkpoint', 'want one line, by a key that is known for its origin');
  if (line.name !== vkey.name || !equalBytes(line.keyId, vkey.keyId))
    throw malformed('a checkpoint', `its line is by "${line.name}", want "${vkey.name}"`);
  if (line.signature.length !== signatureBytesOf(vkey) || lineOf(vkey, line.signature).encoded !== line.encoded)
    throw malformed('a checkpoint', `its line is not the base64 of a signature of type ${vkey.type}`);
  return signed;
}

/** Whether bytes are such a checkpoint; for schemas, which say what they wanted in one way. */
export function isOneLine(bytes: Uint8Array, vkeyOf: (origin: string) => Vkey | undefined): boolean {
  try {
    parseOneLine(bytes, vkeyOf);
    return true;
  } catch (error) {
    if (isMeshError(error)) return false;
    throw error;
  }
}

const ownKey = (origin: string): Vkey | undefined => parseLogOrigin(origin)?.vkey;

export const checkpoint = refine(
  map({ t: literal('checkpoint/v1'), ...provesItself, note: bytesOfAtMost(CHECKPOINT_NOTE_BYTES_MAX) }),
  ({ note }, fail) => {
    if (!isOneLine(note, ownKey)) fail('note', 'a checkpoint with one line, by the key that its origin names');
  },
);
export type CheckpointPayload = Checked<typeof checkpoint>;

/** The checkpoint that passed the schema, and whose log it is of. */
export function openCheckpoint({ note }: Pick<CheckpointPayload, 'note'>): Checkpoint & LogName {
  const { checkpoint: opened } = parseCheckpoint(note);
  return { ...opened, ...(parseLogOrigin(opened.origin) as LogName) };
}

/** Errors: bad_signature. */
export function verifyCheckpointPayload(
  { note }: Pick<CheckpointPayload, 'note'>,
  isSignatureValid: IsSignatureValid,
): void {
  const signed = parseOneLine(note, ownKey);
  verifyNote(signed.note, [ownKey(signed.checkpoint.origin) as Vkey], isSignatureValid);
}

/** What `verifyCheckpointPayload` looks at, for whoever verifies many at once. */
export function checkpointSignature({ note }: Pick<CheckpointPayload, 'note'>): {
  readonly message: Uint8Array;
  readonly signature: Uint8Array;
  readonly publicKey: Uint8Array;
} {
  const signed = parseOneLine(note, ownKey);
  const { publicKey } = ownKey(signed.checkpoint.origin) as Vkey;
  const [line] = signed.note.signatures as readonly [NoteSignature];
  return { message: noteMessage(signed.note.text), signature: line.signature, publicKey };
}
