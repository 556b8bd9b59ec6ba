import { describe, expect, test } from 'vitest';
import {
  encodePayload,
  type ErrorCode,
  isMeshError,
  KINDS,
  limits,
  parseStatement,
  type PayloadOf,
  signStatement,
  verifySignatures,
} from '../../../protocol/index.ts';
import {
  assembleReceipt,
  createHalfReceipt,
  createTaking,
  halfRoleOf,
  parseReceiptPayload,
  type Receipt,
  receiptPayload,
  requestCommitment,
  signReceiptPayload,
  verifyReceiptOffer,
  verifyTakingOf,
} from '../../../protocol/receipt/index.ts';
import { isSignatureValidSodium } from '../../../protocol/sodium.ts';
import { keyOf, NOW_SECONDS } from '../../builders.ts';
import { calleeKey, callerKey, happened, orderOf, receiptOf, RESULT, SALTS } from './world.ts';

const order = orderOf();
const payload = receiptPayload(order, { ...happened(), calleeKey: calleeKey.publicKey });
const offer = {
  sig: signReceiptPayload(payload, calleeKey),
  calleeKey: calleeKey.publicKey,
  body: RESULT,
  salt: SALTS.res,
};

function codeOf(run: () => unknown): ErrorCode {
  try {
    run();
  } catch (error) {
    if (isMeshError(error)) return error.code;
    throw error;
  }
  throw new Error('Cannot test a refusal: nothing was refused');
}

describe('orders, takings and receipts', () => {
  test('are statements of at most the bytes that they may have, with the longest names', () => {
    const long = orderOf(undefined, { srv: 'a'.repeat(64), key: new Uint8Array(64), n: limits.CALL_NUMBER_MAX });
    const taking = createTaking(long, { iat: NOW_SECONDS }, calleeKey);
    const all = [long, taking, receiptOf(long)];
    for (const statement of all) {
      verifySignatures(parseStatement(statement.envelope), isSignatureValidSodium);
      expect(statement.envelope.length).toBeLessThan(limits.CALL_STATEMENT_BYTES_MAX / 2);
    }
    expect(KINDS['receipt/v1'].isOfTwo).toBe(true);
  });

  test('commit to messages with salts of 16 bytes', () => {
    expect(requestCommitment(SALTS.res, RESULT)).toHaveLength(32);
    expect(codeOf(() => requestCommitment(new Uint8Array(32), RESULT))).toBe('malformed');
  });

  const fields = parseReceiptPayload(payload);
  const wrong: readonly (readonly [string, Partial<Record<keyof Receipt, unknown>>])[] = [
    ['a call without an order', { call: undefined }],
    ['a call without a server', { srv: undefined }],
    ['a call that commits to nothing', { req: null }],
    ['an end before the start', { end: fields.start - 1 }],
    ['one key for both', { by: [callerKey.publicKey] }],
    ['two keys in a half receipt', { half: true }],
    ['the same key twice', { by: [callerKey.publicKey, callerKey.publicKey] }],
    ['an outcome that there is none of', { out: 'fine' }],
    ['a result of no call', { n: 0, call: undefined, srv: undefined, req: null }],
  ];
  test.each(wrong)('refuse %s', (_, change) => {
    expect(codeOf(() => encodePayload({ ...fields, ...change } as PayloadOf<'receipt/v1'>))).toBe('schema');
  });

  test('allow a receipt of a session without calls', () => {
    const { sid, hs, iss, aud, iat, start, end } = fields;
    const none = {
      t: 'receipt/v1',
      n: 0,
      req: null,
      res: null,
      out: 'ok',
      sid,
      hs,
      iss,
      aud,
      iat,
      start,
      end,
    } as const;
    expect(signStatement<'receipt/v1'>(none, [callerKey, calleeKey]).payload.n).toBe(0);
  });
});

describe('verifyReceiptOffer()', () => {
  test('accepts what the callee made of this order and this answer, and both signatures make a receipt', () => {
    expect(verifyReceiptOffer(payload, order, offer, isSignatureValidSodium).out).toBe('ok');
    const receipt = assembleReceipt(payload, [signReceiptPayload(payload, callerKey), offer.sig]);
    verifySignatures(receipt, isSignatureValidSodium);
    expect(receipt.id).toBe(receiptOf(order).id);
  });

  const other = orderOf(undefined, { n: 4 });
  test.each([
    ['of another order', () => verifyReceiptOffer(payload, other, offer, isSignatureValidSodium), 'conflict'],
    [
      'that commits to another answer',
      () => verifyReceiptOffer(payload, order, { ...offer, body: SALTS.req }, isSignatureValidSodium),
      'conflict',
    ],
    [
      'that commits to an answer that did not come',
      () => verifyReceiptOffer(payload, order, { sig: offer.sig, calleeKey: offer.calleeKey }, isSignatureValidSodium),
      'conflict',
    ],
    [
      'with another key',
      () => verifyReceiptOffer(payload, order, { ...offer, calleeKey: keyOf('x').publicKey }, isSignatureValidSodium),
      'conflict',
    ],
    [
      'that the callee did not sign',
      () =>
        verifyReceiptOffer(
          payload,
          order,
          { ...offer, sig: signReceiptPayload(payload, keyOf('x')) },
          isSignatureValidSodium,
        ),
      'bad_signature',
    ],
    [
      'by one side alone',
      () => {
        const half = createHalfReceipt(order, happened(), 'callee', calleeKey);
        return verifyReceiptOffer(half.payloadBytes, order, offer, isSignatureValidSodium);
      },
      'conflict',
    ],
    [
      'of too many bytes',
      () => verifyReceiptOffer(new Uint8Array(4096), order, offer, isSignatureValidSodium),
      'too_large',
    ],
  ] as const)('refuses one %s', (_, run, code) => {
    expect(codeOf(run)).toBe(code);
  });
});

describe('createHalfReceipt()', () => {
  test('says who signed', () => {
    const mine = createHalfReceipt(order, happened('timeout'), 'caller', callerKey);
    const theirs = createHalfReceipt(order, happened(), 'callee', calleeKey);
    expect([mine, theirs].map((receipt) => halfRoleOf(receipt.payload, order))).toEqual(['caller', 'callee']);
  });

  test('refuses the key of the other side', () => {
    expect(codeOf(() => createHalfReceipt(order, happened(), 'caller', calleeKey))).toBe('conflict');
    expect(codeOf(() => createHalfReceipt(order, happened(), 'callee', callerKey))).toBe('conflict');
  });
});

test('verifyTakingOf() refuses one of another order', () => {
  const taking = createTaking(order, { iat: NOW_SECONDS }, calleeKey);
  verifyTakingOf(taking, order);
  expect(codeOf(() => verifyTakingOf(taking, orderOf(undefined, { n: 4 })))).toBe('conflict');
});
