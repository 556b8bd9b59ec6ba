/** The parsers of the transparency log's formats, which are all reached by what strangers send or leave in files. */
import * as limits from '../../protocol/limits.ts';
import {
  emptyRoot,
  EntrySigners,
  evaluateFork,
  formatAddCheckpoint,
  formatBundle,
  formatCosignatures,
  formatHashLines,
  formatNote,
  formatProofFile,
  formatReadPath,
  formatTile,
  formatTilePath,
  formatTreeSize,
  formatVkey,
  parseAddCheckpoint,
  parseBundle,
  parseCheckpoint,
  parseCosignatures,
  parseEntry,
  parseHashLinesOf,
  parseNote,
  parsePolicy,
  parseProofFile,
  parseReadPath,
  parseTile,
  parseTilePath,
  parseTreeSize,
  parseVkey,
  verifyEntry,
  verifyNote,
} from '../../protocol/log/index.ts';
import { isSignatureValidSodium } from '../../protocol/sodium.ts';
import { signedBytes } from '../../protocol/domains.ts';
import { equalBytes, fromHex, toBase64url } from '../../protocol/encoding/bytes.ts';
import { encodeJcs, type JsonObject } from '../../protocol/encoding/jcs.ts';
import { acme, agent, credentialEntry, opened, operationEntry, SAMPLES } from '../protocol/log/entry-sample.ts';
import { naiveConsistency, naiveInclusion, naiveRoot } from '../protocol/log/naive-tree.ts';
import { cosignLine, leaves, logSigner, signedNote, witnessSigner } from '../protocol/log/sample.ts';
import type { FuzzedParser } from './parsers.ts';
import type { SeededRandom } from './random.ts';

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

const OPENING = [opened(), operationEntry(acme.genesis, acme.did), operationEntry(agent.genesis, agent.did)];
const ENTRIES = [...Object.values(SAMPLES), credentialEntry()].map(({ bytes }) => bytes);

/** Still canonical: a text or number somewhere in it is that of somewhere else. */
function withOneValueChanged(random: SeededRandom, entry: Uint8Array): Uint8Array {
  const valueOf = /:("[^"]*"|\d+)(?=[,}])/g;
  const [text, other] = [lossy.decode(entry), lossy.decode(random.pick(ENTRIES))];
  const places = [...text.matchAll(valueOf)];
  const place = random.pick(places);
  const [value = ''] = random.pick([...other.matchAll(valueOf)]);
  return utf8.encode(text.slice(0, place.index) + value + text.slice(place.index + place[0].length));
}

/** With the signature that its content asks for, by the organisation. */
function signedAnew(entry: Uint8Array): Uint8Array {
  const { data, ...rest } = JSON.parse(lossy.decode(entry)) as JsonObject & { readonly data: JsonObject };
  const { sig: _, ...members } = data;
  const { sign } = acme.keys;
  const sig = toBase64url(sign.sign(signedBytes('entry', encodeJcs({ ...rest, data: members }))));
  return encodeJcs({ ...rest, data: { ...members, sig: { kid: sign.text, sig } } });
}

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
    name: 'path of a log to read',
    start: () => (bytes) => {
      const path = lossy.decode(bytes);
      const { hash, question } = parseReadPath(path);
      if (formatReadPath(fromHex(hash) ?? new Uint8Array(), question) !== path) throw new Error('another spelling');
    },
    corpus: texts(
      ...[
        'checkpoint',
        'tile/1/x001/002.p/3',
        'tile/entries/000/part/4',
        'consistency/5/60/direct',
        'inclusion/7/80',
      ].map((rest) => `${'0a'.repeat(32)}/${rest}`),
    ),
    codes: ['malformed'],
  },
  {
    name: 'proof that a log answers',
    start: () => again((bytes) => parseHashLinesOf(bytes, 'a proof'), formatHashLines),
    corpus: [formatHashLines([]), formatHashLines(ALL.slice(0, 1)), formatHashLines(ALL)],
    codes: LINES,
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
    name: 'audit entry with its signature',
    start: () => (bytes) => {
      const parsed = parseEntry(bytes);
      if (!equalBytes(encodeJcs(parsed.entry), bytes)) throw new Error('what was read is written in another way');
      verifyEntry(parsed, isSignatureValidSodium);
    },
    corpus: ENTRIES,
    codes: [...LINES, 'noncanonical', 'schema', 'bad_signature'],
    bytesMax: limits.LOG_ENTRY_OWN_BYTES_MAX,
    make: (random) => signedAnew(withOneValueChanged(random, random.pick(ENTRIES))),
  },
  {
    name: 'audit entries of a log: whose keys sign',
    start: () => (bytes) => {
      const parsed = parseEntry(bytes);
      const signers = new EntrySigners(isSignatureValidSodium);
      for (const entry of [...OPENING, parsed]) signers.read(entry);
      signers.end();
    },
    corpus: ENTRIES,
    // Operations and credentials with members changed are refused as the statements that they are.
    codes: [
      ...LINES,
      'noncanonical',
      'schema',
      'signers',
      'unknown_kind',
      'bad_signature',
      'key_unknown',
      'not_entitled',
      'pending',
    ],
    bytesMax: limits.LOG_ENTRY_OWN_BYTES_MAX,
    // Otherwise hardly anything would get past the canonical form.
    make: (random) => withOneValueChanged(random, random.pick(ENTRIES)),
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
