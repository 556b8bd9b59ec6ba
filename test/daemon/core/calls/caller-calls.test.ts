import { expect, test } from 'vitest';
import { CallerCalls } from '../../../../daemon/core/calls/caller-calls.ts';
import { asking } from '../../../../daemon/core/calls/caller-gate.ts';
import type { HeldSession } from '../../../../daemon/core/calls/caller-sessions.ts';
import type { EarlierCall, EarlierCalls } from '../../../../daemon/core/calls/earlier-calls.ts';
import type { NewReceipt } from '../../../../daemon/core/calls/receipts.ts';
import type { Session } from '../../../../daemon/core/sessions.ts';
import { limits } from '../../../../protocol/index.ts';
import { parseMessage, type RequestMessage } from '../../../../protocol/mcp/index.ts';
import { receiptPayload, requestCommitment, signReceiptPayload } from '../../../../protocol/receipt/index.ts';
import { isSignatureValidSodium } from '../../../../protocol/sodium.ts';
import { createAgent, createOrganisation, keyOf } from '../../../builders.ts';
import { seededRandom } from '../../../fuzz/random.ts';
import { VirtualClock } from '../virtual-clock.ts';
import { encode } from './caller-world.ts';

const [signer, callee] = [keyOf('caller'), keyOf('callee')];

function heldSession(): HeldSession {
  const organisation = createOrganisation('caller-calls');
  const session = {
    as: organisation.did,
    did: createAgent(organisation, 'callee').did,
    sid: '07'.repeat(16),
    agreed: { hash: new Uint8Array(32), signer, peerKey: callee.publicKey },
  } as unknown as Session;
  let n = 0;
  const held: HeldSession = { session, renewAtMs: 0, next: () => ++n, share: () => held, release: () => {} };
  return held;
}

test('a call that is given up while its earlier receipt is looked up is over: no answer comes of it any more', async () => {
  const found = Promise.withResolvers<EarlierCall>();
  const kept: unknown[] = [];
  const calls = new CallerCalls(
    {
      clock: new VirtualClock(),
      random: seededRandom(7),
      isSignatureValid: isSignatureValidSodium,
      earlier: { of: () => found.promise, add: () => {}, settled: () => {} } as unknown as EarlierCalls,
      keep: (receipt: NewReceipt) => void kept.push(receipt),
    },
    'files',
  );
  const held = heldSession();
  const meta = { 'agentmesh/idempotency-key': 'a-key-that-is-used-twice' };
  const [first, again] = [1, 2].map((id) => {
    const params = { name: 'read', _meta: meta };
    const message = parseMessage(encode({ jsonrpc: '2.0', id, method: 'tools/call', params }), 'client');
    return calls.begin(message as RequestMessage, asking(true), held);
  });
  if (first === undefined || again === undefined) throw new Error('no calls');
  const half = calls.giveUp(first, 'timeout');
  if (half === undefined) throw new Error('no half receipt');

  const body = encode({ jsonrpc: '2.0', id: 1, result: {} });
  const salt = new Uint8Array(limits.CALL_SALT_BYTES);
  const at = { startMs: 1, endMs: 2, iat: 1 };
  const res = requestCommitment(salt, body);
  const rcpt = receiptPayload(first.order, { ...at, res, out: 'ok', calleeKey: callee.publicKey });
  const sig = signReceiptPayload(rcpt, callee);
  const settled = calls.result({ f: 'result', n: again.n, rcpt, sig, salt }, body);
  expect(calls.giveUp(again, 'timeout')).toBeDefined();
  found.resolve({
    ...first,
    receipt: half,
    session: held.session,
    calleeKey: callee.publicKey,
    sign: (payload) => signReceiptPayload(payload, signer),
  });
  expect(await settled).toBeUndefined();
  expect(kept).toHaveLength(2);
});
