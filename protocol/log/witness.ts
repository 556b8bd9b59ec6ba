/**
 * Bodies of the witness protocol (C2SP tlog-witness, main of July 2026). A submission:
 *
 *   old <size of the tree that the witness cosigned last, or 0>
 *   <base64(hash)>                 0 to 63 lines: consistency proof from old to the checkpoint; none for old 0
 *   (an empty line)
 *   <the checkpoint as it was signed>
 */
import { toHex } from '../encoding/bytes.ts';
import { ADD_CHECKPOINT_BYTES_MAX, NOTE_BYTES_MAX, TREE_SIZE_BYTES_MAX } from '../limits.ts';
import { parseSubmittedCheckpoint, type SignedCheckpoint } from './checkpoint.ts';
import { originHash } from './names.ts';
import { formatSignatureLines, type NoteSignature, parseSignatureLines } from './note.ts';
import { joinAtEmptyLine, parseHashLines, splitAtEmptyLine } from './proof-file.ts';
import { formatDecimal, malformed, parseDecimal, parsePrefixedDecimal, readLines, toBase64, utf8 } from './text.ts';

/** Every status of add-checkpoint, and when. */
export const WITNESS_STATUSES = {
  200: 'cosigned: the body is one or more signature lines by the witness',
  400: 'malformed, or the old size is greater than that of the checkpoint',
  403: 'no line by a key trusted for this origin, or one that does not verify',
  404: 'the origin is unknown',
  409: 'the old size is not the size last cosigned, which is the body',
  422: 'the proof fails, or equal sizes have different roots',
  429: 'too many requests',
} as const;
export type WitnessStatus = keyof typeof WITNESS_STATUSES;

/** Of the body of a 409. A 409 without it is how older witnesses say 422. */
export const TREE_SIZE_CONTENT_TYPE = 'text/x.tlog.size';

export interface AddCheckpointRequest {
  readonly oldSize: number;
  readonly proof: readonly Uint8Array[];
  /** Of size 0 it may have any root: verifyExtension() refuses those. */
  readonly signed: SignedCheckpoint;
}

const WHAT = 'an add-checkpoint request';

/** Errors: too_large, malformed: all of them are a 400. */
export function parseAddCheckpoint(bytes: Uint8Array): AddCheckpointRequest {
  const { head, note } = splitAtEmptyLine(readLines(bytes, WHAT, ADD_CHECKPOINT_BYTES_MAX), WHAT);
  const [old, ...lines] = head;
  const oldSize = parsePrefixedDecimal(old, 'old ', WHAT);
  const proof = parseHashLines(lines, WHAT);
  const signed = parseSubmittedCheckpoint(note);
  if (oldSize > signed.checkpoint.treeSize)
    throw malformed(WHAT, `the old size is ${oldSize}, want at most ${signed.checkpoint.treeSize}`);
  return { oldSize, proof, signed };
}

/** Errors: too_large, malformed, for what would not be read again. */
export function formatAddCheckpoint({ oldSize, proof, signed }: AddCheckpointRequest): Uint8Array {
  const bytes = joinAtEmptyLine([`old ${formatDecimal(oldSize, 'an old size')}`, ...proof.map(toBase64)], signed);
  parseAddCheckpoint(bytes);
  return bytes;
}

/** The body of a 200. Errors: too_large, malformed. Whose lines they are, and whether they verify, is not looked at. */
export const parseCosignatures = (bytes: Uint8Array): NoteSignature[] =>
  parseSignatureLines(readLines(bytes, 'an answer of a witness', NOTE_BYTES_MAX), 'an answer of a witness');

/** Errors: too_large, malformed, for what would not be read again. */
export function formatCosignatures(lines: readonly NoteSignature[]): Uint8Array {
  const bytes = utf8(formatSignatureLines(lines));
  parseCosignatures(bytes);
  return bytes;
}

/** The body of a 409. Errors: too_large, malformed. */
export function parseTreeSize(bytes: Uint8Array): number {
  const text = readLines(bytes, 'a tree size', TREE_SIZE_BYTES_MAX);
  if (!text.endsWith('\n')) throw malformed('a tree size', 'the line has no end');
  return parseDecimal(text.slice(0, -1), 'a tree size');
}

export const formatTreeSize = (treeSize: number): Uint8Array => utf8(`${formatDecimal(treeSize, 'a tree size')}\n`);

/** Where a witness shows what it cosigned last, below its monitoring prefix. */
export const monitoringPath = (origin: string): string => `${toHex(originHash(origin))}/checkpoint`;

/** The lower-case hex of the origin's hash. Undefined: another path. */
export const parseMonitoringPath = (path: string): string | undefined => /^([0-9a-f]{64})\/checkpoint$/.exec(path)?.[1];
