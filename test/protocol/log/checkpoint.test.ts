import { describe, expect, test } from 'vitest';
import {
  emptyRoot,
  formatCheckpointText,
  formatProofFile,
  parseCheckpoint,
  parseCheckpointText,
  parseProofFile,
} from '../../../protocol/log/index.ts';
import { toBase64 } from '../../../protocol/log/text.ts';
import { naiveInclusion, naiveRoot } from './naive-tree.ts';
import { bytesOf, codeOf, leaves, logSigner, ORIGIN, signedNote, textOf } from './sample.ts';

const ALL = leaves(9);
const root = naiveRoot(ALL);
const checkpoint = { origin: ORIGIN, treeSize: 9, root };
const text = formatCheckpointText(checkpoint);
const log = logSigner('example.org/log');

describe('a checkpoint', () => {
  test('is three lines, read and written again', () => {
    expect(text).toBe(`${ORIGIN}\n9\n${toBase64(root)}\n`);
    expect(parseCheckpointText(text)).toEqual(checkpoint);
    expect(parseCheckpoint(signedNote(checkpoint, log)).checkpoint).toEqual(checkpoint);
  });

  test.each(['9', '0', '1', '9007199254740991'])('of size %s is read exactly', (size) => {
    const hash = size === '0' ? emptyRoot() : root;
    expect(String(parseCheckpointText(`o\n${size}\n${toBase64(hash)}\n`).treeSize)).toBe(size);
  });

  test.each([
    '',
    '09',
    '00',
    '+9',
    '-9',
    '-0',
    '9x',
    ' 9',
    '9 ',
    '9.0',
    '9e0',
    '0x9',
    '９',
    '1_0',
    'Infinity',
    'NaN',
    '9007199254740992',
    '9007199254740993',
    '18446744073709551615',
    '99999999999999999999999',
  ])('of size "%s" is refused: no number stands for it exactly', (size) => {
    expect(codeOf(() => parseCheckpointText(`o\n${size}\n${toBase64(root)}\n`))).toBe('malformed');
  });

  const hash = toBase64(root);
  test.each([
    ['an extension line', `${text}more\n`],
    ['an empty line', `${text}\n`],
    ['no final newline', text.slice(0, -1)],
    ['no root', `${ORIGIN}\n9\n`],
    ['no origin', text.slice(ORIGIN.length)],
    ['a carriage return', text.replaceAll('\n', '\r\n')],
    ['a short root', `o\n9\n${toBase64(root.slice(1))}\n`],
    ['a long root', `o\n9\n${toBase64(Uint8Array.from([...root, 0]))}\n`],
    ['a root without padding', `o\n9\n${hash.slice(0, -1)}\n`],
    ['a root with another last letter', `o\n9\n${hash.slice(0, -2)}${String.fromCharCode(hash.charCodeAt(42) + 1)}=\n`],
    ['a root with a space', `o\n9\n${hash} \n`],
    ['another root than the empty one at size 0', `o\n0\n${hash}\n`],
    ['an origin of 256 bytes', text.replace(ORIGIN, 'é'.repeat(128))],
  ])('with %s is refused', (_, wrong) => {
    expect(wrong).not.toBe(text);
    expect(codeOf(() => parseCheckpointText(wrong))).toBe('malformed');
  });

  test('is not written where it would not be read again', () => {
    for (const wrong of [
      { ...checkpoint, origin: '' },
      { ...checkpoint, origin: 'a\nb' },
      { ...checkpoint, origin: '\ud800' },
      { ...checkpoint, treeSize: 2 ** 53 },
      { ...checkpoint, treeSize: -1 },
      { ...checkpoint, treeSize: 0 },
      { ...checkpoint, root: root.slice(1) },
    ])
      expect(codeOf(() => formatCheckpointText(wrong))).toBe('malformed');
  });
});

describe('a proof file', () => {
  const signed = parseCheckpoint(signedNote(checkpoint, log));
  const proof = { leafIndex: 3, hashes: naiveInclusion(3, ALL), signed };
  const file = textOf(formatProofFile(proof));
  const extra = Uint8Array.of(1, 2, 3, 4);

  test('is read and written again, with extra data and without', () => {
    expect(parseProofFile(bytesOf(file))).toEqual(proof);
    expect(parseProofFile(formatProofFile({ ...proof, extra }))).toEqual({ ...proof, extra });
    expect(textOf(formatProofFile({ ...proof, extra }))).toBe(file.replace('\nindex', '\nextra AQIDBA==\nindex'));
    expect(file.startsWith('c2sp.org/tlog-proof@v1\nindex 3\n')).toBe(true);
    expect(file.endsWith(textOf(signedNote(checkpoint, log)))).toBe(true);
  });

  test('of a tree of one leaf has no hashes', () => {
    const one = { origin: ORIGIN, treeSize: 1, root: naiveRoot(ALL, 1) };
    const bytes = formatProofFile({ leafIndex: 0, hashes: [], signed: parseCheckpoint(signedNote(one, log)) });
    expect(textOf(bytes)).toContain('v1\nindex 0\n\nexample');
    expect(parseProofFile(bytes).hashes).toEqual([]);
  });

  test.each([
    ['another version', file.replace('@v1', '@v2')],
    ['no index', file.replace('index 3\n', '')],
    ['an index with a leading zero', file.replace('index 3', 'index 03')],
    ['an index with a sign', file.replace('index 3', 'index +3')],
    ['an index beyond 2^53 - 1', file.replace('index 3', 'index 18446744073709551615')],
    ['two spaces', file.replace('index 3', 'index  3')],
    ['empty extra data', file.replace('index 3', 'extra \nindex 3')],
    ['extra data that is not base64', file.replace('index 3', 'extra x!\nindex 3')],
    ['extra data twice', file.replace('index 3', 'extra AQ==\nextra AQ==\nindex 3')],
    ['extra data after the index', file.replace('index 3\n', 'index 3\nextra AQ==\n')],
    ['a hash that is too short', file.replace('index 3\n', 'index 3\nAQ==\n')],
    ['no empty line before the checkpoint', file.replace('\n\n', '\n')],
    ['two empty lines before the checkpoint', file.replace('\n\n', '\n\n\n')],
    ['nothing after its head', `${file.slice(0, file.indexOf('\n\n'))}\n\n`],
    ['an extension line in its checkpoint', file.replace('\n9\n', '\n9\nx\n').replace('x\n', 'x\nx\n')],
    ['something at its end', `${file}x`],
    ['a carriage return', file.replaceAll('\n', '\r\n')],
  ])('with %s is refused', (_, wrong) => {
    expect(wrong).not.toBe(file);
    expect(codeOf(() => parseProofFile(bytesOf(wrong)))).toBe('malformed');
  });

  test('has at most 63 hashes', () => {
    const hashes = (count: number) => Array.from({ length: count }, () => root);
    expect(codeOf(() => formatProofFile({ ...proof, hashes: hashes(63) }))).toBe('accepted');
    expect(codeOf(() => formatProofFile({ ...proof, hashes: hashes(64) }))).toBe('too_large');
    expect(codeOf(() => formatProofFile({ ...proof, extra: new Uint8Array(100_000) }))).toBe('too_large');
    expect(codeOf(() => formatProofFile({ ...proof, leafIndex: 0.5 }))).toBe('malformed');
  });
});
