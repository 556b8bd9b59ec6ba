import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { fromHex } from '../../../protocol/encoding/bytes.ts';
import { POLICY_LINES_OF_A_KIND_MAX } from '../../../protocol/limits.ts';
import {
  createVkey,
  formatProofFile,
  formatVkey,
  isQuorumMet,
  LOG_KEY_TYPE,
  parseCheckpoint,
  parseNote,
  parsePolicy,
  parseProofFile,
  type Policy,
  verifyCheckpoint,
  verifyProofFile,
  WITNESS_KEY_TYPE,
} from '../../../protocol/log/index.ts';
import { isSignatureValidSodium } from '../../../protocol/sodium.ts';
import { describeWithShared } from '../../shared.ts';
import { naiveInclusion, naiveRoot } from './naive-tree.ts';
import { bytesOf, codeOf, leaves, logSigner, ORIGIN, signedNote, witnessSigner } from './sample.ts';

const log = logSigner('example.org/log');
const log2 = logSigner('example.org/log2');
const [w1, w2, w3, w4] = [1, 2, 3, 4].map((i) => witnessSigner(`w${i}.example`)) as [
  ReturnType<typeof witnessSigner>,
  ReturnType<typeof witnessSigner>,
  ReturnType<typeof witnessSigner>,
  ReturnType<typeof witnessSigner>,
];
const [L, W1, W2, W3, W4] = [log, w1, w2, w3, w4].map(({ vkey }) => formatVkey(vkey)) as [
  string,
  string,
  string,
  string,
  string,
];
const parse = (text: string): Policy => parsePolicy(bytesOf(text));
const met = (policy: Policy, ...names: string[]): boolean => isQuorumMet(policy, new Set(names));

describe('a policy', () => {
  test('is read: logs, witnesses, groups of groups, URLs, comments, any white space', () => {
    const policy = parse(
      `# first\n\n \t# indented\nlog ${L}\nlog\t${formatVkey(log2.vkey)}   https://l.example/#x\n` +
        `  witness X1 ${W1} https://w.example/ \nwitness X2 ${W2}\nwitness X3 ${W3}\ngroup X 2 X1 X2 X3\n` +
        `witness Y1 ${W4}\ngroup Y any Y1\ngroup both all X Y\nquorum both\n# last\n`,
    );
    expect(policy).toEqual({
      logs: [{ vkey: log.vkey }, { vkey: log2.vkey, url: 'https://l.example/#x' }],
      witnesses: [
        { name: 'X1', vkey: w1.vkey, url: 'https://w.example/' },
        { name: 'X2', vkey: w2.vkey },
        { name: 'X3', vkey: w3.vkey },
        { name: 'Y1', vkey: w4.vkey },
      ],
      groups: [
        { name: 'X', threshold: 2, members: ['X1', 'X2', 'X3'] },
        { name: 'Y', threshold: 1, members: ['Y1'] },
        { name: 'both', threshold: 2, members: ['X', 'Y'] },
      ],
      quorum: 'both',
    });
    expect(met(policy, 'X1', 'X3', 'Y1')).toBe(true);
    for (const names of [['X1', 'Y1'], ['X1', 'X2', 'X3'], ['X', 'Y'], ['both'], []])
      expect(met(policy, ...names)).toBe(false);
  });

  test('asks for nobody, for one witness, for any, for all or for k', () => {
    const witnesses = `witness a ${W1}\nwitness b ${W2}\nwitness c ${W3}\n`;
    const policies = [
      'quorum none',
      'quorum b',
      'group g any a b c\nquorum g',
      'group g 2 a b c\nquorum g',
      'group g all a b c\nquorum g',
    ];
    const found = policies.map((rest) => {
      const policy = parse(`${witnesses}${rest}\n`);
      return [[], ['a'], ['b'], ['a', 'c'], ['a', 'b', 'c']].map((names) => (met(policy, ...names) ? 1 : 0)).join('');
    });
    expect(found).toEqual(['11111', '00101', '01111', '00011', '00001']);
    expect(parse('quorum none\n')).toEqual({ logs: [], witnesses: [], groups: [], quorum: undefined });
  });

  const base = `witness a ${W1}\nwitness b ${W2}\n`;
  test.each([
    ['nothing', '', 'malformed'],
    ['no quorum', base, 'malformed'],
    ['two quorums', `${base}quorum a\nquorum a\n`, 'malformed'],
    ['two quorums of nobody', 'quorum none\nquorum none\n', 'malformed'],
    ['a quorum before its witness', `quorum a\n${base}`, 'malformed'],
    ['a quorum of two', `${base}quorum a b\n`, 'malformed'],
    ['a member before its definition', `${base}group g any h\ngroup h any a\nquorum g\n`, 'malformed'],
    ['a group of itself', `${base}group g any g\nquorum g\n`, 'malformed'],
    ['a group of nobody', `${base}group g any\nquorum g\n`, 'malformed'],
    ['a group with "none" in it', `${base}group g any none\nquorum g\n`, 'malformed'],
    ['a member twice', `${base}group g any a a\nquorum g\n`, 'malformed'],
    ['a member of two groups', `${base}group g any a\ngroup h any a b\nquorum h\n`, 'malformed'],
    ['a name twice', `${base}witness a ${W3}\nquorum a\n`, 'malformed'],
    ['a group named as a witness', `${base}group a any b\nquorum a\n`, 'malformed'],
    ['a witness named "none"', `witness none ${W1}\nquorum none\n`, 'malformed'],
    ['a witness twice', `${base}witness c ${W1}\nquorum a\n`, 'malformed'],
    [
      'the key of a witness under another key name',
      `${base}witness c ${formatVkey(createVkey('x', WITNESS_KEY_TYPE, w1.vkey.publicKey))}\nquorum a\n`,
      'malformed',
    ],
    [
      'the key of a log under another key name',
      `log ${L}\nlog ${formatVkey(createVkey('x', LOG_KEY_TYPE, log.vkey.publicKey))}\nquorum none\n`,
      'malformed',
    ],
    ['a threshold of 0', `${base}group g 0 a b\nquorum g\n`, 'malformed'],
    ['a threshold above the members', `${base}group g 3 a b\nquorum g\n`, 'malformed'],
    ['a threshold with a leading zero', `${base}group g 01 a b\nquorum g\n`, 'malformed'],
    ['a threshold with a sign', `${base}group g +1 a b\nquorum g\n`, 'malformed'],
    ['a threshold in words', `${base}group g ANY a b\nquorum g\n`, 'malformed'],
    ['an unknown keyword', `${base}Quorum a\n`, 'malformed'],
    ['a comment after a line', `${base}quorum a # why\n`, 'malformed'],
    ['a third item of a log', `log ${L} u v\nquorum none\n`, 'malformed'],
    ['a log without a key', 'log\nquorum none\n', 'malformed'],
    ['a witness without a key', 'witness a\nquorum none\n', 'malformed'],
    ['a hex key', `log ${'ab'.repeat(32)}\nquorum none\n`, 'malformed'],
    ['a witness key for a log', `log ${W1}\nquorum none\n`, 'key_type'],
    ['a log key for a witness', `witness a ${L}\nquorum none\n`, 'key_type'],
    ['a carriage return', 'quorum none\r\n', 'malformed'],
    ['a DEL', '# \u007f\nquorum none\n', 'malformed'],
    ['no final newline', 'quorum none', 'malformed'],
    ['a no-break space between its words', 'quorum\u00a0none\n', 'malformed'],
  ])('with %s is refused', (_, text, code) => {
    expect(codeOf(() => parse(text))).toBe(code);
  });

  test('says in which line it is wrong', () => {
    expect(() => parse(`# c\n\n${base}group g 3 a b\nquorum g\n`)).toThrow(
      expect.objectContaining({ data: { line: 5 }, message: expect.stringContaining('(line 5)') }),
    );
  });

  test('takes names as octets: a Kelvin sign is no K, and what is not UTF-8 is a name as well', () => {
    const octets = (...parts: (string | number[])[]): Uint8Array =>
      Uint8Array.from(parts.flatMap((part) => (typeof part === 'string' ? [...bytesOf(part)] : part)));
    const policy = parsePolicy(
      octets(
        'witness K ',
        W1,
        '\nwitness \u212a ',
        W2,
        '\nwitness ',
        [0xff, 0xfe],
        ` ${W3} `,
        [0xff],
        '\nquorum ',
        [0xff, 0xfe],
        '\n',
      ),
    );
    expect(policy.witnesses.map(({ name }) => name)).toEqual(['K', '\u00e2\u0084\u00aa', '\u00ff\u00fe']);
    expect(met(policy, '\u00ff\u00fe')).toBe(true);
    expect(met(policy, 'K')).toBe(false);
  });

  test('names keys in UTF-8', () => {
    const umlaut = createVkey('zürich.example', LOG_KEY_TYPE, log.vkey.publicKey);
    expect(parse(`log ${formatVkey(umlaut)}\nquorum none\n`).logs).toEqual([{ vkey: umlaut }]);
    const latin1 = Uint8Array.from(`log ${formatVkey(umlaut)}\nquorum none\n`, (letter) => letter.charCodeAt(0));
    expect(codeOf(() => parsePolicy(latin1))).toBe('malformed');
  });

  test('may have as many lines of a kind as allowed, at least 32, and no more', () => {
    const many = (count: number): string => {
      const numbers = Array.from({ length: count }, (_, i) => i);
      const keys = numbers.map((i) => Uint8Array.from({ length: 32 }, (__, at) => (at === 0 ? i & 255 : i >> 8)));
      return [
        ...keys.map((key) => `log ${formatVkey(createVkey('l', LOG_KEY_TYPE, key))}`),
        ...keys.map((key, i) => `witness w${i} ${formatVkey(createVkey('w', WITNESS_KEY_TYPE, key))}`),
        ...numbers.map((i) => `group g${i} any w${i}`),
        'quorum g0\n',
      ].join('\n');
    };
    for (const count of [32, POLICY_LINES_OF_A_KIND_MAX]) expect(parse(many(count)).groups).toHaveLength(count);
    expect(codeOf(() => parse(many(POLICY_LINES_OF_A_KIND_MAX + 1)))).toBe('too_large');
    expect(codeOf(() => parse(`${'#'.repeat(200_000)}\nquorum none\n`))).toBe('too_large');
  });
});

describe('a checkpoint under a policy', () => {
  const ALL = leaves(9);
  const checkpoint = { origin: log.vkey.name, treeSize: 9, root: naiveRoot(ALL) };
  const TIME = 1_800_000_000;
  const policy = parse(`log ${L}\nwitness a ${W1}\nwitness b ${W2}\nwitness c ${W3}\ngroup g 2 a b c\nquorum g\n`);
  const verdict = (bytes: Uint8Array, age?: number): string =>
    codeOf(() =>
      verifyCheckpoint(
        parseNote(bytes),
        policy,
        isSignatureValidSodium,
        age === undefined ? undefined : { nowMs: (TIME + age) * 1000, ageSecondsMax: 600 },
      ),
    );

  test('is accepted with its log and the quorum', () => {
    const found = verifyCheckpoint(
      parseNote(signedNote(checkpoint, log, [w1, w3], TIME)),
      policy,
      isSignatureValidSodium,
    );
    expect(found).toMatchObject({ checkpoint, log: log.vkey });
    expect(found.cosignatures.map(({ vkey, timeSeconds }) => [vkey.name, timeSeconds])).toEqual([
      ['w1.example', TIME],
      ['w3.example', TIME],
    ]);
  });

  test('is refused without its log, with too few witnesses, with one who signs twice, or with strangers', () => {
    expect(verdict(signedNote(checkpoint, log, [w1]))).toBe('quorum');
    expect(verdict(signedNote(checkpoint, log, [w1, w1, w1]))).toBe('quorum');
    expect(verdict(signedNote(checkpoint, log, [w1, w4]))).toBe('quorum');
    expect(verdict(signedNote(checkpoint, log2, [w1, w2]))).toBe('not_signed');
    expect(verdict(signedNote(checkpoint, log2, [w4]))).toBe('not_signed');
  });

  test('is refused where its origin is not the name of the log that signed it', () => {
    expect(verdict(signedNote({ ...checkpoint, origin: ORIGIN }, log, [w1, w2]))).toBe('not_signed');
  });

  test('is refused once the k-th cosignature is too old, or is dated ahead of every clock', () => {
    const both = signedNote(checkpoint, log, [w1, w2], TIME);
    expect([0, 600, -60].map((age) => verdict(both, age))).toEqual(['accepted', 'accepted', 'accepted']);
    expect([601, -61].map((age) => verdict(both, age))).toEqual(['quorum', 'quorum']);
  });

  test('gives a proof file its verdict', () => {
    const signed = parseCheckpoint(signedNote(checkpoint, log, [w1, w2], TIME));
    const file = parseProofFile(formatProofFile({ leafIndex: 4, hashes: naiveInclusion(4, ALL), signed }));
    const check = (hash: Uint8Array, changed = {}): string =>
      codeOf(() => verifyProofFile({ ...file, ...changed }, hash, policy, isSignatureValidSodium));
    expect(check(ALL[4] as Uint8Array)).toBe('accepted');
    expect(check(ALL[5] as Uint8Array)).toBe('bad_proof');
    expect(check(ALL[4] as Uint8Array, { leafIndex: 5 })).toBe('bad_proof');
    const unsigned = parseCheckpoint(signedNote(checkpoint, log2, [w1, w2], TIME));
    expect(check(ALL[4] as Uint8Array, { signed: unsigned })).toBe('not_signed');
    // What was parsed beside the note is not believed: the note is.
    const other = { ...signed, checkpoint: { ...checkpoint, root: ALL[5] as Uint8Array, treeSize: 1 } };
    expect(check(ALL[5] as Uint8Array, { signed: other, leafIndex: 0, hashes: [] })).toBe('bad_proof');
  });
});

describeWithShared('vectors/tlog/sigsum-policies', 'the policies of Sigsum', (folder) => {
  test.each([
    ['sigsum-generic-2025-1', 2, 3, ['witness.glasklar.is', 'witness.mullvad.net'], ['witness.glasklar.is']],
    ['sigsum-test1-2025', 1, 3, ['poc.sigsum.org/nisse', 'rgdd.se/poc-witness'], ['rgdd.se/poc-witness']],
    [
      'sigsum-test-2025-3',
      2,
      8,
      [
        'poc.sigsum.org/nisse',
        'rgdd.se/poc-witness',
        'remora.n621.de',
        'witness.stagemole.eu',
        'tillitis.se/test-witness-1',
      ],
      ['poc.sigsum.org/nisse', 'remora.n621.de', 'witness.stagemole.eu', 'tillitis.se/test-witness-1'],
    ],
  ])('%s, with vkeys for its hex keys', (name, logs, witnesses, enough, tooFew) => {
    const text = readFileSync(join(folder, `${name}.builtin-policy`), 'utf8');
    expect(codeOf(() => parse(text))).toBe('malformed');
    const policy = parse(
      text
        .replaceAll(/^log ([0-9a-f]{64})/gm, (_, hex: string) => `log ${vkeyOf('log', LOG_KEY_TYPE, hex)}`)
        .replaceAll(
          /^(witness +\S+ +)([0-9a-f]{64})/gm,
          (_, head: string, hex: string) => head + vkeyOf('w', WITNESS_KEY_TYPE, hex),
        ),
    );
    expect([policy.logs.length, policy.witnesses.length]).toEqual([logs, witnesses]);
    expect(met(policy, ...enough)).toBe(true);
    expect(met(policy, ...tooFew)).toBe(false);
  });
  const vkeyOf = (name: string, type: typeof LOG_KEY_TYPE | typeof WITNESS_KEY_TYPE, hex: string): string =>
    formatVkey(createVkey(name, type, fromHex(hex) ?? new Uint8Array()));
});
