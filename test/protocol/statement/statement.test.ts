import { describe, expect, test } from 'vitest';
import {
  type Cbor,
  concatBytes,
  digestOf,
  encodeCbor,
  type ErrorCode,
  fromHex,
  isMeshError,
  isSignatureValidPure,
  type IsSignatureValid,
  KINDS,
  type KindName,
  limits,
  parseStatement,
  parseStatementOf,
  signingInput,
  signStatement,
  SIGNATURE_BYTES,
  toHex,
  verifySignatures,
} from '../../../protocol/index.ts';
import { assembleStatement, encodePayload } from '../../../protocol/statement/statement.ts';
import { isSignatureValidSodium } from '../../../protocol/sodium.ts';
import {
  createHeartbeat,
  createOrganisation,
  createRootLink,
  createPerson,
  createAgent,
  keyOf,
} from '../../builders.ts';
import { seededRandom, suiteSeed } from '../../fuzz/random.ts';
import { did, genesis, heartbeat, ORGANISATION, revocation } from './worked-example.ts';

const SEED = suiteSeed(556);
const bytesOf = (hex: string): Uint8Array => {
  const bytes = fromHex(hex.replaceAll(/\s/g, ''));
  if (bytes === undefined) throw new Error(`"${hex}" is not hex`);
  return bytes;
};
const codeOf = (attempt: () => unknown): ErrorCode => {
  try {
    attempt();
  } catch (error) {
    if (isMeshError(error)) return error.code;
    throw error;
  }
  throw new Error('nothing was refused');
};

describe('the worked example of SPEC.md', () => {
  test('has the genesis, the DID and the heartbeat that it prints', () => {
    expect(genesis.payloadBytes.length).toBe(419);
    expect(genesis.envelope.length).toBe(556);
    expect(did).toBe('did:mesh:bafyreiexcyh7qya34rmoyjoc4hsoc6z426clqt3pdim6ydyf36hkh434gy');
    expect(heartbeat.id).toBe('bafyreibngsuak3yaehslxn6hw3o723pyqbzmn5rvb4exts4nace2mcwwsy');
    expect(heartbeat.envelope.length).toBe(274);
  });

  test('has the revocation byte for byte', () => {
    const issuer = Buffer.from(did, 'ascii').toString('hex');
    const text = (value: string): string => Buffer.from(value, 'ascii').toString('hex');
    const expected = bytesOf(`
      82 59 0122
        a9
        61 74       6d ${text('revocation/v1')}
        62 6279     81 5822 ed01 8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c
        63 696174   1a 6afd86fc
        63 697373   78 44 ${issuer}
        63 6f7267   78 44 ${issuer}
        63 707276   f6
        63 72736e   6a ${text('superseded')}
        63 736571   01
        63 746774   a1 64 6c696e6b d82a 5825 00 01711220 2d34a8056f0021e4bbb7c7b6ddfd6df88072c6f6350f0979cb8d0089a60ad696
      81 5840 088434f93bc68ed355e1ce65dfbc27b1964453e056a58b3e6f999e782b90a824
              1d9b7c21a2576dceaaf6aacebae13914838e576ea41d41daecfd400144bb7f0a`);
    expect(toHex(revocation.envelope)).toBe(toHex(expected));
    expect(revocation.envelope.length).toBe(361);
    expect(revocation.payloadBytes.length).toBe(290);
    expect(toHex(revocation.digest)).toBe('1ea7946112745f41b06425cd668a7e50c9158d7ee6c98b2c624b8cea5f3d41d4');
    expect(revocation.epoch).toBe(0x01c87dfb);
    expect(toHex(digestOf(revocation.envelope))).toBe(
      '930e34802ea3db9711b6e63af950544a57f3b0b43add303a0436b64e195a79ca',
    );
  });

  test.each<[string, IsSignatureValid]>([
    ['libsodium', isSignatureValidSodium],
    ['noble points', isSignatureValidPure],
  ])('verifies with %s', (_, isValid) => {
    for (const statement of [genesis, heartbeat, revocation]) {
      expect(() => verifySignatures(parseStatement(statement.envelope), isValid)).not.toThrow();
    }
  });

  test('is read back as it was written', () => {
    const read = parseStatementOf('revocation/v1', revocation.envelope);
    expect(read.payload).toMatchObject({ iss: did, org: did, seq: 1, prv: null, rsn: 'superseded' });
    expect(read.payload.tgt.link?.text).toBe(heartbeat.id);
    expect(read.id).toBe(revocation.id);
    expect(toHex(encodePayload(read.payload))).toBe(toHex(revocation.payloadBytes));
  });
});

const signature = new Uint8Array(SIGNATURE_BYTES);
const { payloadBytes } = heartbeat;
const payload = heartbeat.payload as unknown as Record<string, Cbor>;
const envelopeOf = (inner: Cbor, signatures: Cbor = [signature]): Uint8Array =>
  encodeCbor([encodeCbor(inner), signatures]);

describe('parseStatement() refuses', () => {
  test.each<[string, Uint8Array, ErrorCode]>([
    ['nothing', new Uint8Array(), 'malformed'],
    ['a number', encodeCbor(1), 'malformed'],
    ['a payload without its envelope', payloadBytes, 'malformed'],
    ['an envelope of one part', encodeCbor([payloadBytes]), 'malformed'],
    ['an envelope of three parts', encodeCbor([payloadBytes, [signature], null]), 'malformed'],
    ['a payload that is not wrapped in bytes', encodeCbor([payload, [signature]]), 'malformed'],
    ['signatures that are no list', encodeCbor([payloadBytes, signature]), 'malformed'],
    ['a signature of 63 bytes', encodeCbor([payloadBytes, [new Uint8Array(63)]]), 'malformed'],
    ['a signature of 65 bytes', encodeCbor([payloadBytes, [new Uint8Array(65)]]), 'malformed'],
    ['a signature that is text', encodeCbor([payloadBytes, ['x'.repeat(64)]]), 'malformed'],
    ['a byte after the envelope', concatBytes(heartbeat.envelope, Uint8Array.of(0)), 'malformed'],
    ['a byte after the payload', encodeCbor([concatBytes(payloadBytes, Uint8Array.of(0)), [signature]]), 'malformed'],
    ['a payload that ends early', encodeCbor([payloadBytes.subarray(0, -1), [signature]]), 'malformed'],
    ['a payload with a key twice', encodeCbor([bytesOf('a2617401617402'), [signature]]), 'malformed'],
    ['a payload with a float', encodeCbor([bytesOf('a16174f93c00'), [signature]]), 'malformed'],
    // 82 58xx payload …: the same array with a count in two bytes, or of indefinite length.
    ['an envelope with a longer count', concatBytes(bytesOf('9802'), heartbeat.envelope.subarray(1)), 'noncanonical'],
    [
      'an envelope of indefinite length',
      concatBytes(bytesOf('9f'), heartbeat.envelope.subarray(1), bytesOf('ff')),
      'noncanonical',
    ],
    [
      'a payload with a longer count',
      encodeCbor([concatBytes(bytesOf('b808'), payloadBytes.subarray(1)), [signature]]),
      'noncanonical',
    ],
    ['a payload with its keys out of order', encodeCbor([bytesOf('a2626279806174f6'), [signature]]), 'noncanonical'],
    ['a kind that nobody knows', envelopeOf({ ...payload, t: 'heartbeat/v2' }), 'unknown_kind'],
    ['a kind that only a prototype knows', envelopeOf({ ...payload, t: 'toString' }), 'unknown_kind'],
    ['a payload without a kind', envelopeOf({ by: [] }), 'schema'],
    ['a payload whose kind is a number', envelopeOf({ ...payload, t: 1 }), 'schema'],
    ['a payload that is a list', envelopeOf(['heartbeat/v1']), 'schema'],
    ['a payload that is a text', envelopeOf('heartbeat/v1'), 'schema'],
    ['no signature', encodeCbor([payloadBytes, []]), 'signers'],
    ['a signature too many', encodeCbor([payloadBytes, [signature, signature]]), 'signers'],
    [
      'more signatures than anything has',
      encodeCbor([payloadBytes, Array.from({ length: limits.SIGNERS_MAX + 1 }, () => signature)]),
      'signers',
    ],
    ['more bytes than any kind has', encodeCbor([new Uint8Array(limits.STATEMENT_BYTES_MAX), []]), 'too_large'],
    ['more levels than any kind has', encodeCbor([bytesOf(`${'81'.repeat(40)}00`), [signature]]), 'too_large'],
  ])('%s', (_, envelope, code) => {
    expect(codeOf(() => parseStatement(envelope))).toBe(code);
  });

  test('more bytes than its kind has, and not one byte fewer', () => {
    for (const [t, row] of Object.entries(KINDS) as [KindName, (typeof KINDS)[KindName]][]) {
      // What is measured is the envelope: 1 for the array, 3 for the head of the payload, 2 for an empty text and 67 for a signature.
      const ofSize = (size: number): Uint8Array => {
        let padding = size - 200;
        for (;;) {
          const envelope = envelopeOf({ t, by: [], x: 'x'.repeat(padding) });
          if (envelope.length === size) return envelope;
          padding += size - envelope.length;
        }
      };
      expect(
        codeOf(() => parseStatement(ofSize(row.bytesMax))),
        t,
      ).toBe('schema');
      expect(
        codeOf(() => parseStatement(ofSize(row.bytesMax + 1))),
        t,
      ).toBe('too_large');
    }
  });

  test('size before shape, shape before kind, kind before schema, schema before the number of signatures', () => {
    const big = 'x'.repeat(2000);
    expect(codeOf(() => parseStatement(new Uint8Array(limits.STATEMENT_BYTES_MAX + 1)))).toBe('too_large');
    expect(codeOf(() => parseStatement(encodeCbor([encodeCbor({ t: 'unknown', x: big }), [Uint8Array.of(1)]])))).toBe(
      'malformed',
    );
    expect(codeOf(() => parseStatement(envelopeOf({ t: 'unknown', x: big })))).toBe('unknown_kind');
    expect(codeOf(() => parseStatement(envelopeOf({ ...payload, rsn: big })))).toBe('too_large');
    expect(codeOf(() => parseStatement(envelopeOf({ ...payload, x: 1 }, [])))).toBe('schema');
    expect(codeOf(() => parseStatement(envelopeOf(payload, [])))).toBe('signers');
  });

  test('another kind where one is wanted', () => {
    expect(codeOf(() => parseStatementOf('revocation/v1', heartbeat.envelope))).toBe('schema');
    expect(parseStatementOf('heartbeat/v1', heartbeat.envelope).id).toBe(heartbeat.id);
  });
});

describe('a statement', () => {
  test('keeps its id when it is signed again, and changes it with every field', () => {
    const again = parseStatement(encodeCbor([payloadBytes, [new Uint8Array(64).fill(9)]]));
    expect(again.id).toBe(heartbeat.id);
    expect(codeOf(() => verifySignatures(again, isSignatureValidSodium))).toBe('bad_signature');
    expect(createHeartbeat(createOrganisation('a'), { iat: 1_795_000_001 }).id).not.toBe(
      createHeartbeat(createOrganisation('a')).id,
    );
  });

  test('is not valid with any bit of its envelope flipped', () => {
    const random = seededRandom(SEED);
    const acme = createOrganisation('acme');
    const person = createPerson(acme, 'alice');
    const link = createRootLink(acme, person, { aud: createAgent(acme, 'agent').did });
    for (const { envelope } of [genesis, revocation, heartbeat, link]) {
      const bits = envelope.length <= 361 ? envelope.length * 8 : 1500;
      for (let i = 0; i < bits; i++) {
        const bit = bits === envelope.length * 8 ? i : random.below(envelope.length * 8);
        const flipped = Uint8Array.from(envelope);
        flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7));
        expect(
          () => verifySignatures(parseStatement(flipped), isSignatureValidSodium),
          `seed ${SEED}, bit ${bit}`,
        ).toThrow(expect.objectContaining({ code: expect.any(String) as string }));
      }
    }
  });

  test('needs every signature, each by the key at its place', () => {
    const [first, second] = genesis.signatures as [Uint8Array, Uint8Array];
    const other = keyOf(9).sign(signingInput('didop/v1', genesis.payloadBytes));
    for (const signatures of [
      [second, first],
      [first, first],
      [first, other],
      [other, second],
    ]) {
      const statement = assembleStatement(genesis.payloadBytes, signatures);
      expect(codeOf(() => verifySignatures(statement, isSignatureValidSodium))).toBe('bad_signature');
    }
  });

  test('verifies under the context of its own kind only', () => {
    const kinds = (Object.keys(KINDS) as KindName[]).filter((t) => KINDS[t].context !== undefined);
    expect(kinds.length).toBeGreaterThan(3);
    for (const statement of [genesis, revocation, heartbeat]) {
      for (const t of kinds) {
        const signatures = statement.payload.by.map((_, i) =>
          keyOf(i + 1).sign(signingInput(t, statement.payloadBytes)),
        );
        const attempt = (): void =>
          verifySignatures(assembleStatement(statement.payloadBytes, signatures), isSignatureValidSodium);
        if (t === statement.t) expect(attempt).not.toThrow();
        else expect(codeOf(attempt), `${statement.t} signed as ${t}`).toBe('bad_signature');
      }
    }
  });

  test('is signed by nobody where it proves itself', () => {
    for (const t of ['checkpoint/v1', 'proof/v1'] as const)
      expect(codeOf(() => signingInput(t, payloadBytes))).toBe('signers');
  });

  test('signs the ASCII text of its context, a zero byte and the payload', () => {
    const input = concatBytes(new TextEncoder().encode('AgentMesh/heartbeat/v1\0'), payloadBytes);
    expect(toHex(signingInput('heartbeat/v1', payloadBytes))).toBe(toHex(input));
    expect(toHex(heartbeat.signatures[0] as Uint8Array)).toBe(toHex(ORGANISATION.sign(input)));
  });

  test('counts its epoch in whole minutes of iat', () => {
    const acme = createOrganisation('acme');
    const epochs = [0, 59, 60, 119, 120].map((iat) => createHeartbeat(acme, { iat }).epoch);
    expect(epochs).toEqual([0, 0, 1, 1, 2]);
  });

  test('cannot be made against its schema, nor with a signer twice', () => {
    const fields = { t: 'heartbeat/v1', iat: 0, iss: did, dseq: 0, head: payload.head, rseq: 1, rhead: null } as never;
    expect(codeOf(() => signStatement<'heartbeat/v1'>(fields, [ORGANISATION]))).toBe('schema');
    const { by: _, ...rest } = genesis.payload;
    expect(codeOf(() => signStatement<'didop/v1'>(rest, [ORGANISATION, ORGANISATION]))).toBe('schema');
  });
});
