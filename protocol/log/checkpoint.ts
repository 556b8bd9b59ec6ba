/**
 * Checkpoints (C2SP tlog-checkpoint) without extension lines, which ML-DSA cosignatures do not cover and some
 * witnesses refuse:
 *
 *   <origin>
 *   <tree size, decimal>
 *   <base64(root hash)>
 */
import { equalBytes } from '../encoding/bytes.ts';
import { LOG_NAME_BYTES_MAX, NOTE_BYTES_MAX } from '../limits.ts';
import { type Note, parseNote } from './note.ts';
import { formatDecimal, malformed, parseDecimal, parseHashLine, readLines, toBase64, utf8 } from './text.ts';
import { emptyRoot } from './tree.ts';

export interface Checkpoint {
  readonly origin: string;
  readonly treeSize: number;
  readonly root: Uint8Array;
}

const WHAT = 'a checkpoint';

/** The text of a note. Errors: too_large, malformed. */
export function parseCheckpointText(text: string): Checkpoint {
  const checkpoint = parseLines(text);
  if (checkpoint.treeSize === 0 && !equalBytes(checkpoint.root, emptyRoot()))
    throw malformed(WHAT, 'the root is not that of a tree without leaves');
  return checkpoint;
}

function parseLines(text: string): Checkpoint {
  readLines(utf8(text), WHAT, NOTE_BYTES_MAX);
  const lines = text.split('\n');
  const [origin = '', size = '', hash = ''] = lines;
  if (lines.length !== 4 || lines[3] !== '') throw malformed(WHAT, 'want three lines: origin, tree size and root hash');
  if (origin === '') throw malformed(WHAT, 'the origin is empty');
  if (utf8(origin).length > LOG_NAME_BYTES_MAX)
    throw malformed(WHAT, `the origin has over ${LOG_NAME_BYTES_MAX} bytes`);
  return { origin, treeSize: parseDecimal(size, 'a tree size'), root: parseHashLine(hash, 'a root hash') };
}

/** Errors: malformed, for what would not be read again. */
export function formatCheckpointText({ origin, treeSize, root }: Checkpoint): string {
  const text = `${origin}\n${formatDecimal(treeSize, 'a tree size')}\n${toBase64(root)}\n`;
  if (!origin.isWellFormed()) throw malformed('a checkpoint to write', 'the origin is not Unicode text');
  parseCheckpointText(text);
  return text;
}

/** A checkpoint with the note that holds it; nothing is said about the signatures yet. */
export interface SignedCheckpoint {
  readonly checkpoint: Checkpoint;
  readonly note: Note;
}

/** Errors: too_large, malformed. */
export function parseCheckpoint(bytes: Uint8Array): SignedCheckpoint {
  const note = parseNote(bytes);
  return { note, checkpoint: parseCheckpointText(note.text) };
}

/**
 * As a witness reads what is submitted: a size 0 with another root than that of no leaves is a proof that fails (422),
 * not a request that cannot be read (400). Errors: too_large, malformed.
 */
export function parseSubmittedCheckpoint(bytes: Uint8Array): SignedCheckpoint {
  const note = parseNote(bytes);
  return { note, checkpoint: parseLines(note.text) };
}
