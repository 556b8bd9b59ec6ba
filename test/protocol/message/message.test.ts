import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  createMessage,
  isMeshError,
  isMediaType,
  type MessageFields,
  type MessageSession,
  MeshError,
  MeshState,
  openMessage,
  signStatement,
} from '../../../protocol/index.ts';
import { isSignatureValidSodium } from '../../../protocol/sodium.ts';
import { createAgent, createOrganisation, keyOf, NOW_MS, NOW_SECONDS } from '../../builders.ts';

const acme = createOrganisation('acme');
const [bot, clerk] = [createAgent(acme, 'bot'), createAgent(acme, 'clerk')];
const key = keyOf('session');
const sid = new Uint8Array(16).fill(3);
const fields: MessageFields = {
  iat: NOW_SECONDS,
  iss: bot.did,
  aud: clerk.did,
  mid: new Uint8Array(16).fill(1),
  seq: 7,
  exp: NOW_SECONDS + 60,
  ct: 'text/plain; charset=utf-8',
  slt: new Uint8Array(32).fill(2),
  body: new TextEncoder().encode('hello'),
};
const session: MessageSession = { sid, sender: bot.did, senderKey: key.publicKey, recipient: clerk.did };
const made = createMessage(fields, sid, key);

function codeOf(work: () => unknown): string | undefined {
  try {
    work();
    return undefined;
  } catch (error) {
    if (isMeshError(error)) return error.code;
    throw error;
  }
}
const open = (envelope: Uint8Array, of: MessageSession = session, nowMs = NOW_MS) =>
  openMessage(envelope, of, isSignatureValidSodium, nowMs);

describe('openMessage()', () => {
  test('gives what was said in the session', () => {
    expect(open(made.envelope).payload).toEqual({ t: 'message/v1', ...fields, sid, by: [key.publicKey] });
  });

  test.each([
    ['of another session', { sid: new Uint8Array(16).fill(4) }, 'sid'],
    ['of another sender', { sender: clerk.did }, 'iss'],
    ['for another recipient', { recipient: acme.did }, 'aud'],
    ['by another key than the session has', { senderKey: keyOf('other').publicKey }, 'by'],
  ])('refuses one %s', (_, change, field) => {
    try {
      open(made.envelope, { ...session, ...change });
      expect.unreachable();
    } catch (error) {
      expect(error).toMatchObject({ code: 'conflict', data: { field } });
    }
  });

  test('refuses one that another key signed in its name', () => {
    const forged = { publicKey: key.publicKey, sign: (bytes: Uint8Array) => keyOf('other').sign(bytes) };
    expect(codeOf(() => open(createMessage(fields, sid, forged).envelope))).toBe('bad_signature');
  });

  test('refuses one that is over, and one from the future beyond the skew of clocks', () => {
    const at = (seconds: number) => (NOW_SECONDS + seconds) * 1000;
    expect(codeOf(() => open(made.envelope, session, at(60)))).toBe('expired');
    expect(codeOf(() => open(made.envelope, session, at(60) - 1))).toBeUndefined();
    expect(codeOf(() => open(made.envelope, session, at(-60)))).toBeUndefined();
    expect(codeOf(() => open(made.envelope, session, at(-60) - 1))).toBe('too_early');
  });

  test('refuses a statement of another kind', () => {
    expect(codeOf(() => open(acme.genesis.envelope))).toBe('schema');
  });

  test('refuses every change of a byte', () => {
    fc.assert(
      fc.property(fc.nat(made.envelope.length - 1), fc.integer({ min: 1, max: 255 }), (at, change) => {
        const envelope = made.envelope.slice();
        envelope[at] = (envelope[at] as number) ^ change;
        expect(codeOf(() => open(envelope))).toBeDefined();
      }),
      { numRuns: 500 },
    );
  });

  test('answers any bytes with a code', () => {
    const mutated = fc
      .array(fc.tuple(fc.nat(made.envelope.length - 1), fc.integer({ min: 0, max: 255 })), {
        minLength: 1,
        maxLength: 8,
      })
      .map((changes) => {
        const envelope = made.envelope.slice();
        for (const [at, byte] of changes) envelope[at] = byte;
        return envelope;
      });
    const cut = fc.nat(made.envelope.length).map((length) => made.envelope.subarray(0, length));
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 400 }), mutated, cut), (envelope) => {
        const attempt = (): unknown => {
          try {
            return open(envelope).id;
          } catch (error) {
            return error;
          }
        };
        const result = attempt();
        if (result !== made.id) expect(result).toBeInstanceOf(MeshError);
      }),
      { numRuns: 2_000 },
    );
  });
});

test('a message under another session is another statement with the same number', () => {
  const again = createMessage(fields, new Uint8Array(16).fill(4), key);
  expect(again.id).not.toBe(made.id);
  expect(again.payload.mid).toEqual(made.payload.mid);
});

test('the door refuses a message: it is of two', () => {
  expect(new MeshState().admit(made, NOW_MS)).toMatchObject({ verdict: 'reject', code: 'private' });
});

test('what a message may not say is not signed', () => {
  const toItself = { t: 'message/v1', ...fields, sid, aud: bot.did } as const;
  expect(codeOf(() => signStatement<'message/v1'>(toItself, [key]))).toBe('schema');
});

test('isMediaType() never takes what a header could not carry', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 60 }), (text) => {
      const isPlain = /^[\x20-\x7e]+$/.test(text);
      if (!isPlain) expect(isMediaType(text)).toBe(false);
    }),
  );
  expect(isMediaType('text/plain; charset=utf-8')).toBe(true);
});
