import { describe, expect, test } from 'vitest';
import {
  type Cbor,
  decodeCbor,
  encodeCbor,
  parseStatement,
  parseStatementOf,
  type Statement,
  toHex,
  verifySignatures,
} from '../../../protocol/index.ts';
import {
  type Checkpoint,
  checkpointSignature,
  checkpointStatement,
  createForkProof,
  createSignatureLine,
  formatCheckpointText,
  formatNote,
  formatVkey,
  type NoteSignature,
  originOf,
  parseNote,
  signBinding,
} from '../../../protocol/log/index.ts';
import { witnessVkey } from '../../../protocol/log/names.ts';
import { isSignatureValidSodium } from '../../../protocol/sodium.ts';
import { createOrganisation, keyOf, NOW_SECONDS } from '../../builders.ts';
import { seededRandom, suiteSeed } from '../../fuzz/random.ts';
import { naiveConsistency, naiveRoot } from './naive-tree.ts';
import {
  checkpointOf,
  cosignedNote,
  createBinding,
  createCheckpoint,
  createFork,
  noteOf,
  ownLog,
  ownWitness,
} from './own-log.ts';
import { bytesOf, codeOf, leaves, logSigner, type Signer, signedNote, signLine, textOf } from './sample.ts';

const SEED = suiteSeed(404);
const acme = createOrganisation('acme');
const beta = createOrganisation('beta');
const log = ownLog('acme');
const witness = ownWitness('acme');
const foreign = logSigner('example.org/log');
const binding = createBinding(acme);
const fields = ({ payloadBytes }: Statement): Record<string, Cbor> => ({
  ...(decodeCbor(payloadBytes) as Record<string, Cbor>),
});

/** The statement with fields changed (undefined: left out), under the signatures that it had. */
const changed = (statement: Statement, change: Record<string, Cbor | undefined>): Uint8Array =>
  encodeCbor([encodeCbor({ ...fields(statement), ...change }), statement.signatures]);
/** Another payload under the same signatures; of another length, or with its first byte changed. */
const lineOf = ({ keyId, ...line }: NoteSignature, length: number, change = 0): NoteSignature => {
  const signature = Uint8Array.from({ length }, (_, i) => (line.signature[i] ?? 0) ^ (i === 0 ? change : 0));
  return createSignatureLine({ ...log.vkey, keyId }, signature);
};
/** The letter of base64 with its lowest bit set. */
const next = (letter: string): string => BASE64.charAt(BASE64.indexOf(letter) | 1);
const BASE64 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
/** The last byte of the envelope is of its signature. */
const forged = ({ envelope }: Statement): Uint8Array =>
  Uint8Array.from(envelope, (byte, i) => (i === envelope.length - 1 ? byte ^ 1 : byte));
const unsigned = (note: Uint8Array): Uint8Array => {
  const { text, signatures } = parseNote(note);
  return formatNote({ text, signatures: signatures.map((line) => lineOf(line, 64, 1)) });
};
const verdictOf = (envelope: Uint8Array): string =>
  codeOf(() => verifySignatures(parseStatement(envelope), isSignatureValidSodium));

describe('a binding', () => {
  test('is made by signBinding(), and says which origin it is about', () => {
    const made = signBinding(
      { iss: acme.did, log: log.vkey, witness: witness.vkey, peer: acme.node.peerId, nowSeconds: NOW_SECONDS },
      { organisation: acme.keys.sign, log: log.key, witness: witness.key },
    );
    expect(made.id).toBe(binding.id);
    expect(verdictOf(made.envelope)).toBe('accepted');
    expect(originOf(made.payload)).toBe(log.vkey.name);
    expect(made.envelope.length).toBeLessThan(900);
  });

  const vkeyText = (signer: Signer): string => formatVkey(signer.vkey);
  const misnamed = logSigner(ownLog('beta').vkey.name, 'acme log');
  const sameKey = ownWitness('x');
  test.each<[string, Record<string, Cbor>]>([
    ['a log that is not named after its key', { log: vkeyText(misnamed) }],
    ['a log of somebody else', { log: vkeyText(foreign) }],
    ['a generation with a leading zero', { log: vkeyText(logSigner(log.vkey.name.replace(/0$/, '00'), 'acme log')) }],
    ['a witness in place of the log', { log: vkeyText(witness) }],
    ['a log in place of the witness', { wit: vkeyText(log) }],
    [
      'a witness that is not named after its key',
      { wit: vkeyText({ ...sameKey, vkey: { ...sameKey.vkey, name: 'w' } }) },
    ],
    ['a key ID of another key', { log: vkeyText(log).replace(/\+[0-9a-f]{8}\+/, '+00000000+') }],
    ['a PeerId of no key', { peer: '12D3KooW' }],
    ['a key that is not the log', { by: [acme.keys.sign.publicKey, keyOf(2).publicKey, witness.key.publicKey] }],
    ['a key that is not the witness', { by: [acme.keys.sign.publicKey, log.key.publicKey, keyOf(2).publicKey] }],
    ['the keys in another order', { by: [acme.keys.sign.publicKey, witness.key.publicKey, log.key.publicKey] }],
    ['the organisation alone for a signer', { by: [acme.keys.sign.publicKey] }],
    ['no signer', { by: [] }],
  ])('with %s is refused', (_, change) => {
    expect(codeOf(() => parseStatement(changed(binding, change)))).toBe('schema');
  });

  test('of one key as log and as witness is refused', () => {
    const sharing = witnessVkey(log.vkey.publicKey);
    expect(codeOf(() => parseStatement(changed(binding, { wit: formatVkey(sharing) })))).toBe('schema');
  });
});

describe('a checkpoint', () => {
  const note = noteOf(log, 7);
  const statement = checkpointStatement(note);

  test('is the same from whatever copy of the note, with the line of the log alone', () => {
    const cosigned = noteOf(log, 7, '', [ownWitness('beta'), ownWitness('gamma')]);
    const { text, signatures } = parseNote(cosigned);
    const shuffled = formatNote({ text, signatures: [...signatures].reverse() });
    for (const copy of [note, cosigned, shuffled]) expect(checkpointStatement(copy).id).toBe(statement.id);
    expect(textOf(statement.payload.note)).toBe(textOf(note));
    expect(statement.payload).toMatchObject({ by: [], iat: 0 });
    expect(statement.epoch).toBe(0);
    expect(statement.envelope.length).toBeLessThan(400);
    expect(verdictOf(statement.envelope)).toBe('accepted');
  });

  test('is not made of a log that is not ours, nor without its line', () => {
    const other = { origin: foreign.vkey.name, treeSize: 1, root: naiveRoot(leaves(1)) };
    expect(codeOf(() => checkpointStatement(signedNote(other, foreign)))).toBe('malformed');
    expect(codeOf(() => checkpointStatement(cosignedNote(checkpointOf(log, 7), witness)))).toBe('not_signed');
  });

  const text = formatCheckpointText(checkpointOf(log, 7));
  const [line] = parseNote(note).signatures;
  if (line === undefined) throw new Error('the note has no line');
  const respelt = { ...line, encoded: line.encoded.replace(/(.)=$/, (_, last: string) => `${next(last)}=`) };
  test.each<[string, Uint8Array]>([
    ['with a cosignature', noteOf(log, 7, '', [witness])],
    ['with its line twice', formatNote({ text, signatures: [line, line] })],
    ['with the line of another log alone', formatNote({ text, signatures: [signLine(ownLog('beta'), text)] })],
    [
      'with a line under its name by another key',
      formatNote({ text, signatures: [lineOf({ ...line, keyId: bytesOf('abcd') }, 64)] }),
    ],
    ['with the line of another generation', formatNote({ text, signatures: [signLine(ownLog('acme', 1), text)] })],
    ['whose signature is too long', formatNote({ text, signatures: [lineOf(line, 65)] })],
    ['whose signature is too short', formatNote({ text, signatures: [lineOf(line, 63)] })],
    ['whose base64 has a second spelling', formatNote({ text, signatures: [respelt] })],
    ['of a log that is not ours', signedNote({ ...checkpointOf(log, 7), origin: foreign.vkey.name }, foreign)],
    ['with an extension line', bytesOf(textOf(note).replace('\n\n', '\nmore\n\n'))],
    ['that is none', bytesOf('hello\n')],
    ['that is longer than any', new Uint8Array(1025)],
  ])('%s is refused before any signature', (_, bytes) => {
    expect(codeOf(() => parseStatement(changed(statement, { note: bytes })))).toBe('schema');
  });

  test.each<[string, Record<string, Cbor>]>([
    ['a time', { iat: 1 }],
    ['a signer', { by: [keyOf(1).publicKey] }],
    ['an issuer', { iss: acme.did }],
  ])('with %s is refused', (_, change) => {
    expect(codeOf(() => parseStatement(changed(statement, change)))).toBe('schema');
  });

  test('says what it says under the signature of its log alone', () => {
    const forged = formatNote({ text, signatures: [lineOf(line, 64, 1)] });
    expect(verdictOf(changed(statement, { note: forged }))).toBe('bad_signature');
    const larger = formatCheckpointText(checkpointOf(log, 8));
    expect(verdictOf(changed(statement, { note: formatNote({ text: larger, signatures: [line] }) }))).toBe(
      'bad_signature',
    );
  });

  test('gives those who verify many at once the one signature that there is', () => {
    const { message, signature, publicKey } = checkpointSignature(statement.payload);
    expect(isSignatureValidSodium(signature, message, publicKey)).toBe(true);
    expect(textOf(message)).toBe(text);
  });
});

describe('a proof of a fork', () => {
  const sizes = [
    [5, 9],
    [4, 9],
    [8, 8],
    [1, 2],
    [7, 7],
    [1, 1],
    [16, 17],
  ] as const;
  const forks = sizes.flatMap(([m, n]) => [
    [`of a log at ${m} and ${n}`, createFork(binding, log, [m, n])] as const,
    [`of a witness at ${m} and ${n}`, createFork(binding, witness, [m, n], { log: ownLog('beta') })] as const,
    [`of a witness of a foreign log at ${m} and ${n}`, createFork(binding, witness, [m, n], { log: foreign })] as const,
  ]);

  test.each(forks)('%s convicts', (_, fork) => {
    expect(verdictOf(fork.envelope)).toBe('accepted');
    expect(fork.payload).toMatchObject({ who: acme.did, by: [], iat: 0 });
    expect(fork.envelope.length).toBeLessThan(6 * 1024);
  });

  test('is the same whoever makes it, in whatever order and with whatever lines the notes came', () => {
    for (const [m, n] of [
      [5, 9],
      [6, 6],
    ] as const) {
      const notes = [noteOf(log, m, '', [ownWitness('beta')]), noteOf(log, n, 'other', [witness])] as const;
      const found = {
        of: 'log',
        who: acme.did,
        vkey: log.vkey,
        rootOfAOnB: naiveRoot(leaves(n, 'other'), m),
        proof: m === n ? [] : naiveConsistency(m, leaves(n, 'other')),
        binding,
      } as const;
      const made = [notes, notes.toReversed()].map(([a, b]) => createForkProof({ ...found, a, b }));
      expect(new Set(made.map(({ id }) => id))).toEqual(new Set([createFork(binding, log, [m, n]).id]));
      expect(verdictOf((made[0] as Statement).envelope)).toBe('accepted');
    }
  });

  const fork = createFork(binding, log, [5, 9]);
  const atEqual = createFork(binding, log, [6, 6]);
  const { a, b, proof, rootOfAOnB } = fork.payload;
  const flip = (bytes: Uint8Array): Uint8Array => Uint8Array.from(bytes, (byte, i) => (i === 0 ? byte ^ 1 : byte));
  const noteAt = (checkpoint: Checkpoint): Uint8Array => signedNote(checkpoint, log);
  const longer = noteAt(checkpointOf(log, 9));
  test.each<[string, string, Uint8Array]>([
    // The form
    ['schema', 'its notes in the other order', changed(fork, { a: b, b: a })],
    [
      'schema',
      'its notes of equal size in the other order',
      changed(atEqual, { a: atEqual.payload.b, b: atEqual.payload.a }),
    ],
    ['schema', 'one note twice', changed(fork, { b: a })],
    ['schema', 'a cosignature on a note', changed(fork, { a: noteOf(log, 5, '', [witness]) })],
    ['schema', 'a note by another log', changed(fork, { a: noteOf(ownLog('beta'), 5) })],
    ['schema', 'a note of another generation', changed(fork, { a: noteOf(ownLog('acme', 1), 5) })],
    [
      'schema',
      'a note of another origin under the key of the log',
      changed(fork, { a: signedNote({ ...checkpointOf(log, 5), origin: foreign.vkey.name }, log) }),
    ],
    ['schema', 'the key of a witness where it is of a log', changed(fork, { witness: formatVkey(witness.vkey) })],
    ['schema', 'no key', changed(fork, { log: undefined })],
    ['schema', 'another role than its key', changed(fork, { of: 'witness' })],
    ['schema', 'a role that there is not', changed(fork, { of: 'rating' })],
    ['schema', 'the key of a foreign log', changed(fork, { log: formatVkey(foreign.vkey) })],
    [
      'schema',
      'more hashes than any tree needs',
      changed(fork, { proof: Array.from({ length: 64 }, () => rootOfAOnB) }),
    ],
    ['schema', 'a hash of 31 bytes', changed(fork, { proof: [rootOfAOnB.subarray(1)] })],
    ['schema', 'a time', changed(fork, { iat: NOW_SECONDS })],
    ['schema', 'a signer', changed(fork, { by: [acme.keys.sign.publicKey] })],
    ['schema', 'more than the binding', changed(fork, { binding: new Uint8Array(1025) })],
    // What it shows
    ['bad_proof', 'another DID than that of the binding', changed(fork, { who: beta.did })],
    ['bad_proof', 'the binding of another organisation', changed(fork, { binding: createBinding(beta).envelope })],
    [
      'bad_proof',
      'a binding of another log of the same organisation',
      changed(fork, { binding: createBinding(acme, { log: ownLog('acme', 1) }).envelope }),
    ],
    [
      'bad_proof',
      'a checkpoint in place of the binding',
      changed(fork, { binding: createCheckpoint(log, 5).envelope }),
    ],
    ['bad_proof', 'no binding', changed(fork, { binding: new Uint8Array() })],
    ['bad_signature', 'a binding that its organisation did not sign', changed(fork, { binding: forged(binding) })],
    ['bad_proof', 'a note that the log did not sign', changed(fork, { a: unsigned(a) })],
    ['bad_proof', 'a longer note that the log did not sign', changed(fork, { b: unsigned(b) })],
    ['bad_proof', 'a note of the other history', changed(fork, { b: longer })],
    [
      'bad_proof',
      'one history',
      changed(fork, { b: longer, rootOfAOnB: checkpointOf(log, 5).root, proof: naiveConsistency(5, leaves(9)) }),
    ],
    ['bad_proof', 'one history and another root', changed(fork, { b: longer, proof: naiveConsistency(5, leaves(9)) })],
    ['bad_proof', 'another root at the older size', changed(fork, { rootOfAOnB: flip(rootOfAOnB) })],
    ['bad_proof', 'the root of A', changed(fork, { rootOfAOnB: checkpointOf(log, 5).root })],
    ['bad_proof', 'a hash too few', changed(fork, { proof: proof.slice(1) })],
    ['bad_proof', 'a hash too many', changed(fork, { proof: [...proof, rootOfAOnB] })],
    ['bad_proof', 'another hash', changed(fork, { proof: proof.map((hash, i) => (i === 1 ? flip(hash) : hash)) })],
    ['bad_proof', 'a hash where sizes are equal', changed(atEqual, { proof: [rootOfAOnB] })],
    ['bad_proof', 'the root of A where sizes are equal', changed(atEqual, { rootOfAOnB: flip(rootOfAOnB) })],
    [
      'bad_proof',
      'a tree without leaves',
      changed(fork, { a: noteAt(checkpointOf(log, 0)), rootOfAOnB: flip(rootOfAOnB), proof: [] }),
    ],
  ])('is refused with %s for %s', (code, _, envelope) => {
    expect(verdictOf(envelope)).toBe(code);
  });

  test('does not convict of cosigning one tree twice, or one history at two sizes', () => {
    const checkpoint = checkpointOf(ownLog('beta'), 6);
    const twice = createForkProof({
      of: 'witness',
      who: acme.did,
      vkey: witness.vkey,
      a: cosignedNote(checkpoint, witness, NOW_SECONDS),
      b: cosignedNote(checkpoint, witness, NOW_SECONDS + 60),
      rootOfAOnB: checkpoint.root,
      proof: [],
      binding,
    });
    expect(verdictOf(twice.envelope)).toBe('bad_proof');
    const grown = createFork(binding, witness, [5, 9], { log: ownLog('beta'), salt: '' });
    expect(verdictOf(grown.envelope)).toBe('bad_proof');
  });

  test('is not valid with any bit of its envelope flipped, and neither is a checkpoint or a binding', () => {
    const random = seededRandom(SEED);
    for (const { envelope } of [fork, atEqual, createCheckpoint(log, 7), binding]) {
      for (let i = 0; i < 600; i++) {
        const bit = random.below(envelope.length * 8);
        const flipped = Uint8Array.from(envelope);
        flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7));
        expect(verdictOf(flipped), `seed ${SEED}, bit ${bit}`).not.toBe('accepted');
      }
    }
  });

  test('is read back as it was written', () => {
    const read = parseStatementOf('proof/v1', fork.envelope);
    expect(read.payload).toMatchObject({ of: 'log', who: acme.did, log: formatVkey(log.vkey) });
    expect(toHex(read.payload.binding)).toBe(toHex(binding.envelope));
  });
});
