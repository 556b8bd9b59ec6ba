import { describe, expect, test } from 'vitest';
import {
  type CallsEvidence,
  contradictionsIn,
  type Kept,
  mailProblemsIn,
  type Signed,
  type Stored,
  type Told,
} from './calls-evidence.ts';
import { DOCTORED, DOCTORED_MAIL, doctoredCopy } from './calls-doctored.ts';

const signed = (name: string, out: Signed['out'], more: Partial<Signed> = {}): Signed => ({
  receipt: `receipt-${name}`,
  order: `order-${name}`,
  half: false,
  out,
  n: 1,
  res: `res-${name}`,
  ...more,
});
const kept = (one: Signed, intent?: string): Kept => {
  const { receipt, half, out, n } = one;
  return { ...one, entry: `entry-${receipt}`, intent, told: { receipt, half, out, n } };
};
const stored = (one: Signed, key: string): Stored => ({ ...one, key, entry: `entry-${one.receipt}` });
const told = (key: string, more: Partial<Told>): Told => ({
  key,
  tool: 'work',
  life: 0,
  answer: undefined,
  code: undefined,
  receipt: undefined,
  ...more,
});

const done = signed('done', 'ok');
const failed = signed('failed', 'error');
const denied = signed('denied', 'denied');
// The callee was killed at work: this side has no answer.
const lost = signed('lost', 'timeout', { half: true, res: null });
// The caller was killed before it signed, and cannot check what it is shown when it asks again.
const unsigned = signed('unsigned', 'ok', { half: true });
const unchecked = signed('unchecked', 'timeout', { half: true });

const HONEST: CallsEvidence = {
  caller: {
    treeSize: 20,
    intents: ['done', 'failed', 'denied', 'lost', 'unsigned', 'unchecked'].map((name) => ({
      id: `caller-${name}`,
      isAllowed: true,
      tool: 'work',
    })),
    settled: [
      { intent: 'caller-done', code: 'ok' },
      { intent: 'caller-failed', code: 'failed' },
      { intent: 'caller-denied', code: 'failed' },
      { intent: 'caller-lost', code: 'outcome_unknown' },
      { intent: 'caller-unchecked', code: 'outcome_unknown' },
    ],
    kept: [
      kept(done, 'caller-done'),
      kept(failed, 'caller-failed'),
      kept(denied, 'caller-denied'),
      kept(lost, 'caller-lost'),
      kept(unchecked, 'caller-unchecked'),
    ],
    stored: [stored(done, 'a'), stored(failed, 'b'), stored(denied, 'c'), stored(lost, 'd'), stored(unchecked, 'e')],
  },
  callee: {
    treeSize: 20,
    intents: [
      { id: 'callee-done', isAllowed: true, tool: 'work' },
      { id: 'callee-failed', isAllowed: true, tool: 'fail' },
      { id: 'callee-denied', isAllowed: false, tool: 'never' },
      { id: 'callee-lost', isAllowed: true, tool: 'work' },
      { id: 'callee-unsigned', isAllowed: true, tool: 'work' },
      { id: 'callee-again', isAllowed: false, tool: 'work' },
    ],
    settled: [
      { intent: 'callee-done', code: 'ok' },
      { intent: 'callee-failed', code: 'failed' },
      { intent: 'callee-unsigned', code: 'ok' },
    ],
    kept: [
      kept(done, 'callee-done'),
      kept(failed, 'callee-failed'),
      kept(denied, 'callee-denied'),
      kept(unsigned, 'callee-unsigned'),
    ],
    stored: [stored(done, 'a'), stored(failed, 'b'), stored(denied, 'c'), stored(unsigned, 'e')],
  },
  executions: [
    { key: 'a', nonce: 'nonce-a', tool: 'work' },
    { key: 'b', nonce: 'nonce-b', tool: 'fail' },
    { key: 'd', nonce: 'nonce-d', tool: 'work' },
    { key: 'e', nonce: 'nonce-e', tool: 'work' },
  ],
  told: [
    told('a', { answer: { nonce: 'nonce-a', isError: false }, receipt: { id: done.receipt, out: 'ok', half: false } }),
    told('b', {
      tool: 'fail',
      answer: { nonce: 'nonce-b', isError: true },
      receipt: { id: failed.receipt, out: 'error', half: false },
    }),
    told('c', { tool: 'never', code: 'policy_denied', receipt: { id: denied.receipt } }),
    told('d', { code: 'outcome_unknown', receipt: { id: lost.receipt } }),
    told('e', { code: 'outcome_unknown' }),
    told('e', { life: 1, code: 'outcome_unknown', receipt: { id: unchecked.receipt } }),
  ],
  killedLives: [0],
};
const MAIL = { to: 'Acme', sent: [0, 1, 3, 4], received: [0, 1, 1, 2, 3, 4] };

describe('contradictionsIn()', () => {
  test('finds none where a side does not know', () => {
    expect(contradictionsIn(HONEST)).toEqual([]);
  });

  test.each(DOCTORED)('finds it where $name', (doctored) => {
    expect(contradictionsIn(doctoredCopy(HONEST, doctored)).join('\n')).toMatch(doctored.says);
  });
});

describe('mailProblemsIn()', () => {
  test('finds none in what came twice, or was not acknowledged to its sender', () => {
    expect(mailProblemsIn(MAIL)).toEqual([]);
  });

  test.each(DOCTORED_MAIL)('finds it where $name', (doctored) => {
    expect(mailProblemsIn(doctoredCopy(MAIL, doctored)).join('\n')).toMatch(doctored.says);
  });
});
