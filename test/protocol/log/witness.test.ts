import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import {
  emptyRoot,
  formatAddCheckpoint,
  formatCosignatures,
  formatTreeSize,
  monitoringPath,
  parseAddCheckpoint,
  parseCheckpoint,
  parseCosignatures,
  parseMonitoringPath,
  parseTreeSize,
  parseVkey,
  verifyExtension,
  verifyNote,
  WITNESS_STATUSES,
} from '../../../protocol/log/index.ts';
import { isSignatureValidSodium } from '../../../protocol/sodium.ts';
import { describeWithShared } from '../../shared.ts';
import { sectionOf, specPath } from '../spec-tables.ts';
import { naiveConsistency, naiveRoot } from './naive-tree.ts';
import { bytesOf, codeOf, cosignLine, leaves, logSigner, signedNote, textOf, witnessSigner } from './sample.ts';

const ALL = leaves(9);
const log = logSigner('example.org/log');
const witness = witnessSigner('witness.example/w');
const signed = parseCheckpoint(signedNote({ origin: 'example.org/log', treeSize: 9, root: naiveRoot(ALL) }, log));
const request = { oldSize: 5, proof: naiveConsistency(5, ALL), signed };
const body = textOf(formatAddCheckpoint(request));

describe('an add-checkpoint request', () => {
  test('is read and written again, with a proof and without', () => {
    expect(parseAddCheckpoint(bytesOf(body))).toEqual(request);
    const first = { oldSize: 0, proof: [], signed };
    expect(parseAddCheckpoint(formatAddCheckpoint(first))).toEqual(first);
    expect(textOf(formatAddCheckpoint(first)).startsWith('old 0\n\nexample.org/log\n9\n')).toBe(true);
    expect(codeOf(() => formatAddCheckpoint({ ...first, oldSize: 9 }))).toBe('accepted'); // refreshes the time
  });

  test.each([
    ['an old size beyond the checkpoint', body.replace('old 5', 'old 10')],
    ['an old size with a leading zero', body.replace('old 5', 'old 05')],
    ['an old size with a sign', body.replace('old 5', 'old +5')],
    ['an old size that no number holds', body.replace('old 5', 'old 9007199254740993')],
    ['no old size', body.replace('old 5\n', '')],
    ['another word', body.replace('old', 'Old')],
    ['two spaces', body.replace('old ', 'old  ')],
    ['a line that is no hash', body.replace('old 5\n', 'old 5\nAQ==\n')],
    ['a hash with a space', body.replace('=\n', '= \n')],
    ['no empty line', body.replace('\n\n', '\n')],
    ['two empty lines', body.replace('\n\n', '\n\n\n')],
    ['an extension line', body.replace('\n9\n', '\n9\nx\n')],
    ['no checkpoint', body.slice(0, body.indexOf('\n\n') + 2)],
    ['nothing', ''],
    ['a carriage return', body.replaceAll('\n', '\r\n')],
    ['something after it', `${body}x`],
  ])('with %s is refused', (_, wrong) => {
    expect(wrong).not.toBe(body);
    expect(codeOf(() => parseAddCheckpoint(bytesOf(wrong)))).toBe('malformed');
  });

  test('of size 0 with another root is read, for its proof is what fails', () => {
    const text = `example.org/log\n0\n${Buffer.alloc(32, 7).toString('base64')}\n`;
    const odd = { ...signed, note: { ...signed.note, text } };
    const read = parseAddCheckpoint(formatAddCheckpoint({ oldSize: 0, proof: [], signed: odd }));
    const { treeSize, root } = read.signed.checkpoint;
    expect(codeOf(() => verifyExtension(0, treeSize, emptyRoot(), root, []))).toBe('bad_proof');
  });

  test('has at most 63 hashes and 64 KiB', () => {
    const proof = (count: number) => Array.from({ length: count }, () => emptyRoot());
    expect(codeOf(() => formatAddCheckpoint({ ...request, proof: proof(63) }))).toBe('accepted');
    expect(codeOf(() => formatAddCheckpoint({ ...request, proof: proof(64) }))).toBe('too_large');
    expect(codeOf(() => parseAddCheckpoint(bytesOf(body.padEnd(64 * 1024 + 1))))).toBe('too_large');
  });
});

describe('an answer', () => {
  test('of cosignatures is read and written again, and completes the note', () => {
    const lines = [1, 2].map((time) => cosignLine(witness, signed.note.text, time));
    const bytes = formatCosignatures(lines);
    expect(parseCosignatures(bytes)).toEqual(lines);
    const note = { ...signed.note, signatures: [...signed.note.signatures, ...parseCosignatures(bytes)] };
    expect(verifyNote(note, [log.vkey, witness.vkey], isSignatureValidSodium)).toHaveLength(3);
    const text = textOf(bytes);
    for (const wrong of ['', '\n', text.slice(0, -1), `${text}\n`, `${text}x\n`, text.replace('—', '-')])
      expect(
        codeOf(() => parseCosignatures(bytesOf(wrong))),
        wrong,
      ).toBe('malformed');
    expect(codeOf(() => formatCosignatures([]))).toBe('malformed');
  });

  test('of a size is one decimal line', () => {
    for (const size of [0, 7, 2 ** 53 - 1]) expect(parseTreeSize(formatTreeSize(size))).toBe(size);
    expect(textOf(formatTreeSize(7))).toBe('7\n');
    for (const wrong of ['', '\n', '7', '07\n', '7\n\n', ' 7\n', '7\r\n', '9007199254740992\n', 'error\n'])
      expect(
        codeOf(() => parseTreeSize(bytesOf(wrong))),
        wrong,
      ).toBe('malformed');
    expect(codeOf(() => parseTreeSize(bytesOf(`${'1'.repeat(20)}\n`)))).toBe('too_large');
    expect(codeOf(() => formatTreeSize(-1))).toBe('malformed');
  });

  test('has one of the statuses of the protocol, and a log is shown under the hash of its origin', () => {
    expect(Object.keys(WITNESS_STATUSES)).toEqual(['200', '400', '403', '404', '409', '422', '429']);
    const section = sectionOf(readFileSync(specPath, 'utf8'), 'Transparency log formats');
    const rows = [...section.matchAll(/^\| (\d{3}) \| (.+) \|$/gm)].map(([, status, when]) => [status, when]);
    expect(rows).toEqual(Object.entries(WITNESS_STATUSES));
    // The folder under which FiloSottile/sunlight keeps this origin in its test data.
    expect(monitoringPath('rome2026h1.example.org')).toBe(
      '000de184301123b9278c086a7d9f68c9577e83872224c197058fd90784ea9706/checkpoint',
    );
    const hash = 'a0'.repeat(32);
    expect(parseMonitoringPath(`${hash}/checkpoint`)).toBe(hash);
    for (const wrong of [
      hash,
      `/${hash}/checkpoint`,
      `${hash}/checkpoint/`,
      `${hash}0/checkpoint`,
      `A${hash.slice(1)}/checkpoint`,
    ])
      expect(parseMonitoringPath(wrong), wrong).toBeUndefined();
  });
});

describeWithShared('vectors/tlog/witness-exchange-litewitness.json', 'an exchange with litewitness', (file) => {
  const { logVkey, origin, steps } = JSON.parse(readFileSync(file, 'utf8')) as {
    logVkey: string;
    origin: string;
    steps: { body: string; status: number; assert: { bodyEquals?: string } }[];
  };

  test('is read, and gets the statuses that these rules give in the order of the specification', () => {
    let [size, root] = [0, emptyRoot()];
    /** The rules of a witness, over this door's functions. */
    const answer = (bytes: Uint8Array): [status: number, body?: string] => {
      const { oldSize, proof, signed: submitted } = parseAddCheckpoint(bytes);
      if (submitted.checkpoint.origin !== origin) return [404];
      const signature = codeOf(() => verifyNote(submitted.note, [parseVkey(logVkey)], isSignatureValidSodium));
      if (signature !== 'accepted') return [403];
      if (oldSize !== size) return [409, textOf(formatTreeSize(size))];
      const { treeSize, root: next } = submitted.checkpoint;
      if (codeOf(() => verifyExtension(size, treeSize, root, next, proof)) !== 'accepted') return [422];
      [size, root] = [treeSize, next];
      return [200];
    };
    expect(steps).toHaveLength(9);
    for (const [i, step] of steps.entries()) {
      const bytes = bytesOf(step.body);
      expect(formatAddCheckpoint(parseAddCheckpoint(bytes)), `step ${i + 1}`).toEqual(bytes);
      const [status, answered] = answer(bytes);
      expect(status, `step ${i + 1}`).toBe(i === 2 ? 404 : step.status); // litewitness says 403 to an unknown origin
      expect(answered).toBe(step.assert.bodyEquals);
    }
    expect(size).toBe(5);
  });
});
