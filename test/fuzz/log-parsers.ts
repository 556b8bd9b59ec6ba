/** The parsers of the transparency log's formats, which are all reached by what strangers send or leave in files. */
import * as limits from '../../protocol/limits.ts';
import {
  emptyRoot,
  evaluateFork,
  formatAddCheckpoint,
  formatBundle,
  formatCosignatures,
  formatNote,
  formatProofFile,
  formatTile,
  formatTilePath,
  formatTreeSize,
  formatVkey,
  parseAddCheckpoint,
  parseBundle,
  parseCheckpoint,
  parseCosignatures,
  parseNote,
  parsePolicy,
  parseProofFile,
  parseTile,
  parseTilePath,
  parseTreeSize,
  parseVkey,
  verifyNote,
} from '../../protocol/log/index.ts';
import { isSignatureValidSodium } from '../../protocol/sodium.ts';
import { equalBytes } from '../../protocol/encoding/bytes.ts';
import { naiveConsistency, naiveInclusion, naiveRoot } from '../protocol/log/naive-tree.ts';
import { cosignLine, leaves, logSigner, signedNote, witnessSigner } from '../protocol/log/sample.ts';
import type { FuzzedParser } from './parsers.ts';

const utf8 = new TextEncoder();
const lossy = new TextDecoder();
const texts = (...all: string[]): Uint8Array[] => all.map((text) => utf8.encode(text));

const log = logSigner('example.org/log');
const witnesses = ['w1.example', 'w2.example'].map((name) => witnessSigner(name));
const ALL = leaves(21);
const notes = [0, 1, 8, 21].map((treeSize) =>
  signedNote({ origin: 'example.org/log', treeSize, root: naiveRoot(ALL, treeSize) }, log, witnesses),
);
const largest = parseCheckpoint(notes[3] as Uint8Array);

/** What is read must be written again as it was: else two byte strings would mean one thing. */
const again =
  <T>(parse: (bytes: Uint8Array) => T, format: (value: T) => Uint8Array) =>
  (bytes: Uint8Array): void => {
    const value = parse(bytes);
    if (!equalBytes(format(value), bytes)) throw new Error('what was read is written in another way');
  };

const LINES = ['malformed', 'too_large'] as const;

export const LOG_PARSERS: readonly FuzzedParser[] = [
  { name: 'signed note', start: () => again(parseNote, formatNote), corpus: notes, codes: LINES },
  {
    name: 'signed note with its signatures',
    start: () => (bytes) =>
      verifyNote(
        parseNote(bytes),
        [log, ...witnesses].map(({ vkey }) => vkey),
        isSignatureValidSodium,
      ),
    corpus: notes,
    codes: [...LINES, 'bad_signature', 'not_signed'],
  },
  { name: 'checkpoint', start: () => parseCheckpoint, corpus: notes, codes: LINES },
  {
    name: 'verifier key',
    start: () =>
      again(
        (bytes) => parseVkey(lossy.decode(bytes)),
        (vkey) => utf8.encode(formatVkey(vkey)),
      ),
    corpus: [log, ...witnesses].map(({ vkey }) => utf8.encode(formatVkey(vkey))),
    codes: [...LINES, 'key_type'],
    bytesMax: 400,
  },
  {
    name: 'tlog-proof',
    start: () => again(parseProofFile, formatProofFile),
    corpus: [undefined, Uint8Array.of(1, 2, 3)].map((extra) =>
      formatProofFile({
        leafIndex: 3,
        hashes: naiveInclusion(3, ALL),
        signed: largest,
        ...(extra === undefined ? {} : { extra }),
      }),
    ),
    codes: LINES,
    bytesMax: limits.PROOF_FILE_BYTES_MAX,
  },
  {
    name: 'witness policy',
    start: () => parsePolicy,
    corpus: texts(
      'quorum none\n',
      `# us\nlog ${formatVkey(log.vkey)} https://l.example\n${witnesses.map(({ vkey }, i) => `witness w${i} ${formatVkey(vkey)}\n`).join('')}group g any w0 w1\nquorum g\n`,
    ),
    codes: [...LINES, 'key_type'],
    bytesMax: limits.POLICY_BYTES_MAX,
  },
  {
    name: 'add-checkpoint request',
    start: () => again(parseAddCheckpoint, formatAddCheckpoint),
    corpus: [
      formatAddCheckpoint({ oldSize: 0, proof: [], signed: largest }),
      formatAddCheckpoint({ oldSize: 13, proof: naiveConsistency(13, ALL), signed: largest }),
    ],
    codes: LINES,
    bytesMax: limits.ADD_CHECKPOINT_BYTES_MAX,
  },
  {
    name: 'cosignatures that a witness answers',
    start: () => again(parseCosignatures, formatCosignatures),
    corpus: [formatCosignatures(witnesses.map((witness) => cosignLine(witness, largest.note.text, 1_800_000_000)))],
    codes: LINES,
  },
  {
    name: 'tree size that a witness answers',
    start: () => again(parseTreeSize, formatTreeSize),
    corpus: [0, 7, 2 ** 53 - 1].map(formatTreeSize),
    codes: LINES,
    bytesMax: 64,
  },
  {
    name: 'tile path',
    start: () =>
      again(
        (bytes) => parseTilePath(lossy.decode(bytes)),
        (place) => utf8.encode(formatTilePath(place)),
      ),
    corpus: texts('tile/0/x001/x234/067', 'tile/entries/000.p/7', 'tile/2/000.p/1'),
    codes: ['malformed'],
    bytesMax: 128,
  },
  {
    name: 'tile',
    start: () => again((bytes) => parseTile(bytes, 21), formatTile),
    corpus: [formatTile(ALL)],
    codes: ['malformed'],
  },
  {
    name: 'entry bundle',
    start: () => again((bytes) => parseBundle(bytes, 3), formatBundle),
    corpus: [formatBundle(texts('one', '', 'three')), formatBundle([emptyRoot(), emptyRoot(), emptyRoot()])],
    codes: ['malformed'],
  },
  {
    name: 'evidence of a fork: a note against those of an honest log',
    start: () => (bytes) => {
      for (const [a, b] of [
        [notes[2] as Uint8Array, bytes],
        [bytes, notes[3] as Uint8Array],
      ] as const) {
        const claim = { vkey: log.vkey, a, b, rootOfAOnB: emptyRoot(), proof: naiveConsistency(8, ALL) };
        if (evaluateFork(claim, isSignatureValidSodium).proven) throw new Error('an honest log was convicted');
      }
      parseCheckpoint(bytes); // its verdicts are no errors: the codes are those of the note
    },
    corpus: notes,
    codes: LINES,
  },
];
