import { describe, expect, test } from 'vitest';
import { encodeCbor } from '../../../protocol/encoding/cbor.ts';
import { CHAIN_CODES } from '../../../protocol/delegation/verify.ts';
import { ERRORS, type ErrorCode, isMeshError, MeshError } from '../../../protocol/errors.ts';
import {
  encodeHandshakeFrame,
  ENDINGS,
  errorOfRefusal,
  type FrameName,
  parseHandshakeFrame,
  parseReply,
  refusalOf,
  REFUSALS,
} from '../../../protocol/iatp/frames.ts';
import * as limits from '../../../protocol/limits.ts';
import { isSignatureValidSodium } from '../../../protocol/sodium.ts';
import { signatureShown, verifyShown } from '../../../protocol/iatp/transcript.ts';
import { cborLikeBytes, mutateBytes } from '../../fuzz/mutate.ts';
import { seededRandom, suiteSeed } from '../../fuzz/random.ts';
import { acme, before, frames, wanted, worker } from './worked-example.ts';

const NAMES = ['hello', 'offer', 'proof', 'result', 'refusal', 'end'] as const satisfies readonly FrameName[];
const codeOf = (run: () => unknown): unknown => {
  try {
    run();
    return undefined;
  } catch (error) {
    return isMeshError(error) ? error.code : error;
  }
};

describe('parseHandshakeFrame()', () => {
  test.each(['hello', 'offer', 'proof', 'result'] as const)(
    'gives back what encodeHandshakeFrame() was given: %s',
    (name) => {
      expect(encodeHandshakeFrame(name, parseHandshakeFrame(name, frames[name]))).toEqual(frames[name]);
    },
  );

  test.each(NAMES)('refuses every other frame where %s is due', (due) => {
    const all = {
      ...frames,
      refusal: encodeHandshakeFrame('refusal', { rej: 'busy' }),
      end: encodeHandshakeFrame('end', { end: 'closed' }),
    };
    const others = NAMES.filter((name) => name !== due);
    expect(others.map((name) => codeOf(() => parseHandshakeFrame(due, all[name])))).toEqual(others.map(() => 'schema'));
  });

  test('takes a frame of 64 KiB and none of a byte more', () => {
    const padded = (bytes: number): Uint8Array =>
      encodeCbor({ ...parseHandshakeFrame('proof', frames.proof), x: new Uint8Array(bytes) });
    const room =
      limits.IATP_FRAME_BYTES_MAX -
      padded(limits.IATP_FRAME_BYTES_MAX - 4096).length +
      limits.IATP_FRAME_BYTES_MAX -
      4096;
    expect(padded(room)).toHaveLength(limits.IATP_FRAME_BYTES_MAX);
    expect(codeOf(() => parseHandshakeFrame('proof', padded(room)))).toBe('schema');
    expect(codeOf(() => parseHandshakeFrame('proof', padded(room + 1)))).toBe('too_large');
  });

  test('throws nothing but coded errors, for 2,000 inputs', () => {
    const seed = suiteSeed(50_302);
    const random = seededRandom(seed);
    const corpus = [
      ...Object.values(frames),
      encodeHandshakeFrame('refusal', { rej: 'chain:expired' }),
      encodeHandshakeFrame('end', { end: 'revoked' }),
    ];
    const seen = new Map<unknown, number>();
    for (let run = 0; run < 2_000; run++) {
      const bytes = random.below(4) === 0 ? cborLikeBytes(random) : mutateBytes(random.pick(corpus), random, corpus);
      const name = random.pick(NAMES);
      for (const parse of [parseHandshakeFrame, parseReply]) {
        const code = codeOf(() => parse(name, bytes));
        seen.set(code, (seen.get(code) ?? 0) + 1);
      }
    }
    for (const code of seen.keys())
      expect(code === undefined || (typeof code === 'string' && code in ERRORS), `seed ${seed}: ${String(code)}`).toBe(
        true,
      );
    expect([...seen.keys()]).toEqual(expect.arrayContaining([undefined, 'malformed', 'noncanonical', 'schema']));
  });
});

describe('a signed frame', () => {
  test.each(['offer', 'proof', 'result'] as const)('does not survive the change of any one byte: %s', (name) => {
    const key = name === 'proof' ? worker.keys.auth.publicKey : acme.keys.auth.publicKey;
    const role = name === 'proof' ? 'I' : 'R';
    const read = (bytes: Uint8Array): unknown =>
      codeOf(() =>
        verifyShown(signatureShown(role, before[name], parseReply(name, bytes)), [key], isSignatureValidSodium, ''),
      );
    expect(read(frames[name])).toBeUndefined();
    const codes = new Set<unknown>();
    for (let at = 0; at < frames[name].length; at++) {
      const bytes = Uint8Array.from(frames[name]);
      bytes[at] = (bytes[at] as number) ^ (1 + (at % 255));
      const code = read(bytes);
      expect(typeof code, `byte ${at}`).toBe('string');
      codes.add(code);
    }
    expect(codes.has('bad_signature')).toBe(true);
  });

  test('does not survive the change of any byte said before it', () => {
    const proof = parseReply('proof', frames.proof);
    for (const [i, message] of before.proof.messages.entries()) {
      for (let at = 0; at < message.length; at += 7) {
        const messages = before.proof.messages.map((one) => Uint8Array.from(one));
        (messages[i] as Uint8Array)[at] = (message[at] as number) ^ 1;
        const shown = signatureShown('I', { ...before.proof, messages }, proof);
        expect(codeOf(() => verifyShown(shown, [worker.keys.auth.publicKey], isSignatureValidSodium, ''))).toBe(
          'bad_signature',
        );
      }
    }
  });
});

describe('refusals', () => {
  const all = [...REFUSALS, ...CHAIN_CODES.map((code) => `chain:${code}` as const)];

  test.each(all)('%s comes back as an error of this side, marked as said by the other', (rej) => {
    const frame = encodeHandshakeFrame('refusal', { rej });
    const error = (() => {
      try {
        return parseReply('offer', frame);
      } catch (cause) {
        return cause;
      }
    })();
    if (!isMeshError(error)) throw new Error('a refusal is an error');
    expect(error.data.side).toBe('peer');
    expect(refusalOf(error)).toBe(rej);
  });

  test("have no code for what is nobody else's business", () => {
    const said = (code: ErrorCode, data = {}): string => refusalOf(new MeshError(code, '', data));
    expect(said('suspended')).toBe('policy_denied');
    expect(said('not_found')).toBe('did_unknown');
    expect(said('cancelled')).toBe('closed');
    expect(said('store_corrupt')).toBe('internal');
    expect(said('chain', { reason: 'store_corrupt' })).toBe('internal');
    expect(said('chain')).toBe('internal');
  });

  test('and endings are codes of the closed list', () => {
    expect([...REFUSALS, ...ENDINGS].filter((code) => !(code in ERRORS))).toEqual([]);
    expect(errorOfRefusal('chain:expired')).toMatchObject({ code: 'chain', data: { reason: 'expired', side: 'peer' } });
  });
});

describe('encodeHandshakeFrame()', () => {
  test('sends nothing that the other side would have to refuse', () => {
    const hello = parseHandshakeFrame('hello', frames.hello);
    expect(codeOf(() => encodeHandshakeFrame('hello', { ...hello, non: new Uint8Array(31) }))).toBe('schema');
    expect(codeOf(() => encodeHandshakeFrame('hello', { ...hello, want: [{ can: '*' }] }))).toBe('schema');
    const res = Array.from({ length: limits.RESOURCES_MAX }, (_, i) => `s3://${'x'.repeat(200)}/${i}`);
    const want = Array.from({ length: limits.CAPABILITIES_MAX }, (_, i) => ({ ...wanted[0], can: `read:x/${i}`, res }));
    expect(codeOf(() => encodeHandshakeFrame('hello', { ...hello, want }))).toBe('too_large');
  });
});
