/** Receipts as both sides keep and show them, after calls between two whole nodes. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { MemoryStore } from '../../../../daemon/store/memory.ts';
import { parseEvidence } from '../../../../daemon/core/calls/evidence.ts';
import { type NewReceipt, Receipts } from '../../../../daemon/core/calls/receipts.ts';
import type { Session } from '../../../../daemon/core/sessions.ts';
import { encodeJcs, isMeshError, MeshError, MeshState, toHex, transcriptDigest } from '../../../../protocol/index.ts';
import {
  parseReceiptFile,
  type ReceiptReport,
  verifyReceiptFile,
  type VerifyReceiptOptions,
} from '../../../../protocol/receipt/index.ts';
import { isSignatureValidSodium } from '../../../../protocol/sodium.ts';
import { acme, desk, grace, handshakeOf, orderOf, receiptOf, SALTS, SID } from '../../../protocol/receipt/world.ts';
import { input, type Member, never, operator } from '../node-world.ts';
import { VirtualClock } from '../virtual-clock.ts';
import { CalleeWorld } from './callee-world.ts';
import { Client } from './caller-world.ts';

describe('after a call', () => {
  let world: CalleeWorld;
  let client: Client;
  beforeEach(async () => {
    world = await new CalleeWorld().open();
    client = new Client();
    await world.grant();
    const body = { name: 'brought', files: [{ path: 'a.yaml', text: 'version: "1.0"\ndefault: allow\n' }] };
    const { policy } = await world.during(world.beta.api.policyLoad(input(body), operator, never));
    const wanted = { did: world.clerk, server: 'files', as: world.reader, policies: [policy.digest] };
    client.link = await world.during(world.beta.node.calls.caller.openLink(wanted, client.events, never), 1_000);
    const params = { name: 'echo', arguments: { text: 'hello' } };
    client.send({ jsonrpc: '2.0', id: 1, method: 'tools/call', params });
    await world.nodes.clock.advance(300);
  });
  afterEach(() => world.close());

  const list = async ({ api }: Member, query = {}) =>
    api.receiptList({ params: {}, query, body: undefined }, operator, never);
  const idOf = async (member: Member): Promise<string> => {
    const [first] = (await list(member)).receipts;
    return first?.id ?? expect.fail('no receipt is kept');
  };
  const fileOf = async (member: Member, id: string): Promise<Uint8Array> =>
    world.during(member.node.calls.receipts.fileOf(id, never), 5_000);
  const verify = (file: Uint8Array, more: Partial<VerifyReceiptOptions> = {}): ReceiptReport =>
    verifyReceiptFile(file, {
      isSignatureValid: isSignatureValidSodium,
      roots: new Set([world.acme.did, world.beta.did]),
      ...more,
    });
  const status = (report: ReceiptReport) => Object.fromEntries(report.checks.map((line) => [line.check, line.status]));

  test("the caller's file holds proofs of both logs, and verifies from its bytes", async () => {
    const report = verify(await fileOf(world.beta, await idOf(world.beta)));
    expect(status(report)).toMatchObject({
      receipt: 'ok',
      order: 'ok',
      taking: 'ok',
      caller: 'ok',
      callee: 'ok',
      authority: 'ok',
      need: 'ok',
      callerLog: 'ok',
      calleeLog: 'ok',
    });
    expect(report.tool?.name).toBe('echo');
    expect([report.caller, report.callee]).toEqual([world.reader, world.clerk]);
  });

  test("the callee's file holds proofs of both logs too: whoever took part may ask, with no chain", async () => {
    const report = verify(await fileOf(world.acme, await idOf(world.acme)));
    expect(status(report)).toMatchObject({ caller: 'ok', callee: 'ok', calleeLog: 'ok', callerLog: 'ok' });
    expect(world.acme.node.sessions.list().filter(({ direction }) => direction === 'outbound')).toEqual([]);
  });

  test('without the other side a file has the own proof alone', async () => {
    const id = await idOf(world.acme);
    world.acme.node.calls.receipts.askBy(async () => {
      throw new MeshError('unreachable', 'Cannot reach the other side');
    });
    const report = verify(await fileOf(world.acme, id));
    expect(status(report)).toMatchObject({ caller: 'ok', callee: 'ok', calleeLog: 'ok', callerLog: 'notChecked' });
  });

  test('a file that is made when the session and its credentials are long over verifies as of the order', async () => {
    await world.during(client.link?.close() ?? Promise.resolve());
    await world.nodes.clock.advance(2 * 3_600_000);
    const report = verify(await fileOf(world.acme, await idOf(world.acme)));
    expect(status(report)).toMatchObject({ caller: 'ok', callee: 'ok', authority: 'ok' });
  }, 30_000);

  test('salts in the file open the commitments for whoever has the messages', async () => {
    const file = await fileOf(world.beta, await idOf(world.beta));
    expect(parseReceiptFile(file).salts).toMatchObject({ req: expect.any(Uint8Array), res: expect.any(Uint8Array) });
    const other = new TextEncoder().encode('{}');
    expect(() => verify(file, { request: other })).toThrow(/request/);
  });

  test('evidence is told to the other side of the receipt alone', async () => {
    const { receipts } = world.acme.node.calls;
    const { order } = await receipts.get(await idOf(world.acme));
    const told = await world.during(receipts.evidenceOf(order.id, world.reader, never));
    expect(told.entry.length).toBeGreaterThan(0);
    await expect(receipts.evidenceOf(order.id, world.beta.did, never)).rejects.toMatchObject({ code: 'not_found' });
  });

  test('a proof of the other side that is none is left out of the file', async () => {
    const { receipts } = world.beta.node.calls;
    const id = await idOf(world.beta);
    const own = await world.during(receipts.evidenceOf(id, world.clerk, never));
    receipts.askBy(async () => own); // what the callee's log holds is not what the caller's does
    const report = verify(await fileOf(world.beta, id));
    expect(status(report)).toMatchObject({ callerLog: 'ok', calleeLog: 'notChecked' });
    receipts.askBy(async () => ({ entry: new Uint8Array(9), proof: new Uint8Array(9) }));
    expect(status(verify(await fileOf(world.beta, id)))).toMatchObject({ calleeLog: 'notChecked' });
  });

  test('an agent sees its own receipts, and no others', async () => {
    const id = await idOf(world.beta);
    const params = { params: { id }, query: {}, body: undefined };
    const reader = { kind: 'agent', did: world.reader } as const;
    const other = { kind: 'agent', did: world.clerk } as const;
    expect((await world.beta.api.receiptShow(params, reader, never)).receipt.id).toBe(id);
    await expect(world.beta.api.receiptShow(params, other, never)).rejects.toMatchObject({ code: 'not_found' });
    await expect(world.beta.api.receiptFile(params, other, never)).rejects.toMatchObject({ code: 'not_found' });
    expect((await list(world.beta, { did: world.clerk })).receipts).toHaveLength(1);
    expect((await list(world.beta, { did: world.acme.did })).receipts).toEqual([]);
    await expect(list(world.beta, { limit: '0' })).rejects.toMatchObject({ code: 'bad_request' });
  });

  test('receipts are there after a restart', async () => {
    const id = await idOf(world.acme);
    await world.reopenAcme();
    expect(await idOf(world.acme)).toBe(id);
    expect(status(verify(await fileOf(world.acme, id))).calleeLog).toBe('ok');
  });
});

describe('the store', () => {
  const session = {
    as: desk.did,
    did: grace.did,
    organisation: acme.did,
    sid: toHex(SID),
    agreed: { transcript: handshakeOf(), hash: transcriptDigest(handshakeOf()), chain: [] },
  } as unknown as Session;
  const made = (n: number): NewReceipt => {
    const order = orderOf(undefined, { n });
    return { receipt: receiptOf(order), order, salts: SALTS, role: 'callee', server: 'files', session };
  };
  const warnings: string[] = [];
  const entries: unknown[] = [];
  let store: MemoryStore;
  let isLogging = true;
  let logged: Promise<void> = Promise.resolve();

  const open = (receiptsMax = 1_000): Promise<Receipts> =>
    Receipts.open(
      {
        store,
        clock: new VirtualClock(),
        random: { bytes: (count) => new Uint8Array(count).fill(entries.length) },
        log: { debug() {}, info() {}, warn: (_, message) => warnings.push(message), error() {} },
        state: new MeshState(),
        isSignatureValid: isSignatureValidSodium,
        recorder: {
          organisation: acme.did,
          record: async (_type, members) => {
            if (!isLogging) throw new MeshError('log_halted', 'Cannot record');
            await logged;
            entries.push(members);
            return { id: '', index: entries.length };
          },
        },
        auditLog: () => expect.fail('no log is asked'),
        cosigning: () => expect.fail('nobody is asked to cosign'),
      },
      { receiptsMax },
    );
  beforeEach(() => {
    store = new MemoryStore();
    entries.length = 0;
    warnings.length = 0;
    isLogging = true;
    logged = Promise.resolve();
  });
  const rows = async (): Promise<number> => {
    let count = 0;
    for await (const _ of store.range(Uint8Array.of(0), Uint8Array.of(0xff))) count++;
    return count;
  };

  test('lists the newest first, page by page', async () => {
    const receipts = await open();
    for (let n = 1; n <= 5; n++) await receipts.keep(made(n));
    const first = await receipts.list({ limit: 3 });
    expect(first.receipts.map(({ order }) => order.payload.n)).toEqual([5, 4, 3]);
    const rest = await receipts.list({ limit: 3, before: first.next ?? expect.fail('there is no next page') });
    expect(rest.receipts.map(({ order }) => order.payload.n)).toEqual([2, 1]);
    expect(rest.next).toBeNull();
  });

  test('whoever asks for what is just being kept gets it once the log has it', async () => {
    const receipts = await open();
    const { promise, resolve } = Promise.withResolvers<void>();
    logged = promise;
    const { receipt, order } = made(1);
    void receipts.keep(made(1));
    const told = [receipt.id, order.id].map(async (id) => {
      await receipts.get(id);
      return entries.length;
    });
    await new Promise((settle) => setTimeout(settle, 20));
    expect(entries).toEqual([]);
    resolve();
    expect(await Promise.all(told)).toEqual([1, 1]);
  });

  test('keeps as many as it may, the newest, and nothing of those that go', async () => {
    const receipts = await open(16);
    for (let n = 1; n <= 40; n++) await receipts.keep(made(n));
    await receipts.close();
    expect(receipts.count).toBeLessThanOrEqual(16);
    const { receipts: kept } = await receipts.list();
    expect(kept[0]?.order.payload.n).toBe(40);
    await expect(receipts.get(made(1).receipt.id)).rejects.toMatchObject({ code: 'not_found' });
    expect(await rows()).toBe(4 * kept.length + 2); // the receipt, two digests and its session; handshake and numbers
    const again = await open(16);
    expect((await again.list()).receipts.map(({ number }) => number)).toEqual(kept.map(({ number }) => number));
    await again.keep(made(41));
    expect((await again.list({ limit: 1 })).receipts[0]?.order.payload.n).toBe(41);
  });

  test('keeps what the log cannot hold, and says so', async () => {
    const receipts = await open();
    isLogging = false;
    await receipts.keep(made(1));
    expect(warnings).toEqual(['a receipt could not be kept']);
    expect(receipts.count).toBe(1);
    expect((await receipts.get(made(1).order.id)).receipt.id).toBe(made(1).receipt.id);
  });

  test('finds a row that it cannot have written', async () => {
    const receipts = await open();
    await receipts.keep(made(1));
    for await (const [key, value] of store.range(Uint8Array.of(0x63, 0x72), Uint8Array.of(0x63, 0x73)))
      await store.batch([{ type: 'put', key, value: value.subarray(1) }], { sync: false });
    await expect(receipts.list()).rejects.toMatchObject({ code: 'store_corrupt' });
  });
});

describe('parseEvidence()', () => {
  test.each([
    ['an empty object', encodeJcs({})],
    ['a member more', encodeJcs({ entry: 'AA', proof: 'AA', more: 1 })],
    ['what is no base64url', encodeJcs({ entry: '=', proof: 'AA' })],
    ['a list', encodeJcs([])],
    ['no JSON', new Uint8Array([0xff])],
  ])('refuses %s', (_, bytes) => {
    try {
      parseEvidence(bytes);
    } catch (error) {
      expect(isMeshError(error) && error.code).toBe('malformed');
      return;
    }
    expect.fail('it was read');
  });

  test('reads what is told', () => {
    expect(parseEvidence(encodeJcs({ entry: 'AA', proof: 'AQ' }))).toEqual({
      entry: Uint8Array.of(0),
      proof: Uint8Array.of(1),
    });
  });
});
