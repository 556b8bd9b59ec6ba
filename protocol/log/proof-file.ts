/**
 * Proofs that an entry is in a log, to be verified offline (C2SP tlog-proof, `.tlog-proof`):
 *
 *   c2sp.org/tlog-proof@v1
 *   extra <base64>                 optional; authenticated by nothing
 *   index <leaf index>
 *   <base64(hash)>                 from the leaf's sibling up; none in a tree of one leaf
 *   (an empty line)
 *   <the checkpoint as it was signed>
 */
import { PROOF_FILE_CONTEXT } from '../domains.ts';
import { MeshError } from '../errors.ts';
import { MERKLE_PROOF_HASHES_MAX, PROOF_FILE_BYTES_MAX } from '../limits.ts';
import { parseCheckpoint, type SignedCheckpoint } from './checkpoint.ts';
import { formatNote } from './note.ts';
import {
  formatDecimal,
  fromBase64,
  malformed,
  parseHashLine,
  parsePrefixedDecimal,
  readLines,
  toBase64,
  utf8,
} from './text.ts';

export interface ProofFile {
  readonly leafIndex: number;
  readonly hashes: readonly Uint8Array[];
  readonly signed: SignedCheckpoint;
  /** Whatever the file's maker put there: nothing vouches for it. */
  readonly extra?: Uint8Array;
}

const WHAT = 'a tlog-proof';
const EXTRA = 'extra ';

/** Errors: too_large, malformed. Nothing is verified yet. */
export function parseProofFile(bytes: Uint8Array): ProofFile {
  const { head, note } = splitAtEmptyLine(readLines(bytes, WHAT, PROOF_FILE_BYTES_MAX), WHAT);
  const [version, ...lines] = head;
  if (version !== PROOF_FILE_CONTEXT) throw malformed(WHAT, `want a first line "${PROOF_FILE_CONTEXT}"`);
  const extra = lines[0]?.startsWith(EXTRA) === true ? parseExtra(lines.shift()) : undefined;
  const leafIndex = parsePrefixedDecimal(lines.shift(), 'index ', WHAT);
  const hashes = parseHashLines(lines, WHAT);
  return { leafIndex, hashes, signed: parseCheckpoint(note), ...(extra === undefined ? {} : { extra }) };
}

function parseExtra(line = ''): Uint8Array {
  const extra = fromBase64(line.slice(EXTRA.length));
  if (extra === undefined || extra.length === 0) throw malformed(WHAT, 'the extra data is not base64, or empty');
  return extra;
}

/** Errors: too_large, malformed, for what would not be read again. */
export function formatProofFile({ leafIndex, hashes, signed, extra }: ProofFile): Uint8Array {
  const lines = [
    PROOF_FILE_CONTEXT,
    ...(extra === undefined ? [] : [`${EXTRA}${toBase64(extra)}`]),
    `index ${formatDecimal(leafIndex, 'a leaf index')}`,
    ...hashes.map(toBase64),
  ];
  const bytes = joinAtEmptyLine(lines, signed);
  parseProofFile(bytes);
  return bytes;
}

/** A head of lines, an empty line, and a note, whose own empty lines come later. */
export function splitAtEmptyLine(text: string, what: string): { head: string[]; note: Uint8Array } {
  const end = text.indexOf('\n\n');
  if (end < 0) throw malformed(what, 'no empty line separates the proof and the checkpoint');
  return { head: text.slice(0, end).split('\n'), note: utf8(text.slice(end + 2)) };
}

export const joinAtEmptyLine = (head: readonly string[], { note }: SignedCheckpoint): Uint8Array => {
  const start = utf8(`${head.join('\n')}\n\n`);
  const end = formatNote(note);
  const bytes = new Uint8Array(start.length + end.length);
  bytes.set(start, 0);
  bytes.set(end, start.length);
  return bytes;
};

/** Errors: too_large, malformed. */
export function parseHashLines(lines: readonly string[], what: string): Uint8Array[] {
  if (lines.length > MERKLE_PROOF_HASHES_MAX)
    throw new MeshError(
      'too_large',
      `Cannot read ${what}: it has ${lines.length} hashes, want at most ${MERKLE_PROOF_HASHES_MAX}`,
    );
  return lines.map((line) => parseHashLine(line, what));
}
