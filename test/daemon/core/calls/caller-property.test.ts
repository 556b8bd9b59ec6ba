/** Whatever a callee does, nothing is shown without a receipt of both, and every order ends in exactly one receipt. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createTaking } from '../../../../protocol/receipt/index.ts';
import { type Came, Client, createCallerWorld, encode, type FakeCallee, honest } from './caller-world.ts';

const SHOWN = { content: [{ type: 'text', text: 'FORGED' }] };

/** What a callee may do with a call, in the order of how bad it is. */
const DEEDS: Readonly<Record<string, (callee: FakeCallee, came: Came) => void>> = {
  honest,
  untaken: (callee, came) => void callee.answer(came, { content: [{ type: 'text', text: 'did {}' }] }),
  failed: (callee, came) => void callee.answer(came, { content: [], isError: true }, 'error'),
  silent: () => {},
  takenAndSilent: (callee, came) => callee.take(came),
  swapped: (callee, came) =>
    void callee.answer(came, { content: [] }, 'ok', (given) => {
      given.body = encode({ jsonrpc: '2.0', id: came.request.id, result: SHOWN });
    }),
  unsigned: (callee, came) => void callee.answer(came, SHOWN, 'ok', (given) => void (given.sig = new Uint8Array(64))),
  broken: (callee, came) => void callee.answer(came, SHOWN, 'ok', (given) => void given.rcpt.fill(7, 20, 60)),
  ofAnother: (callee, came) => {
    const first = callee.calls[0] ?? came;
    if (first !== came) callee.answer(first, SHOWN, 'ok', (given) => void (given.n = came.frame.n));
  },
  okOverError: (callee, came) => void callee.answer(came, { ...SHOWN, isError: true }, 'ok'),
  bare: (callee, came) => callee.say({ jsonrpc: '2.0', id: came.request.id, result: SHOWN }),
  twice: (callee, came) => {
    honest(callee, came);
    callee.answer(came, SHOWN);
  },
  unasked: (callee, came) => void callee.answer(came, SHOWN, 'ok', (given) => void (given.n += 1_000)),
  takenByNobody: (callee, came) => {
    const taking = createTaking(came.order, { iat: came.order.payload.iat + 1 }, callee.sessionOf(came).agreed.signer);
    const stmt = taking.envelope.slice();
    stmt.fill(1, -20);
    void callee.messages.send({ f: 'taken', n: came.frame.n, stmt });
  },
  gone: (callee) => callee.messages.abort('gone'),
};

test('whatever a callee does, what is shown has a receipt of both and every order ends in one receipt', async () => {
  const deed = fc.constantFrom(...Object.keys(DEEDS));
  await fc.assert(
    fc.asyncProperty(fc.array(deed, { minLength: 1, maxLength: 8 }), fc.boolean(), async (deeds, isAtOnce) => {
      const world = await createCallerWorld();
      const client = new Client();
      try {
        const left = [...deeds];
        world.is.acts = (callee, came) => DEEDS[left.shift() ?? 'honest']?.(callee, came);
        await world.open(client);
        for (let id = 1; id <= deeds.length; id++) {
          client.call(id);
          if (!isAtOnce) await world.pass();
        }
        await world.pass();
        const closing = client.link?.close();
        await world.pass(3_000);
        await closing;
        const orders = world.callee().calls.map(({ order }) => order.id);
        const kept = world.kept.map(({ order }) => order.id);
        expect(new Set(kept).size).toBe(kept.length);
        expect(kept).toEqual(expect.arrayContaining(orders)); // others may have been lost on their way
        expect(JSON.stringify(client.lines)).not.toContain('FORGED');
        const full = world.kept.filter(({ receipt }) => receipt.payload.half !== true);
        const shown = client.lines.filter((line) => JSON.stringify(line).includes('"did {}"'));
        expect(shown.length).toBeLessThanOrEqual(full.length);
        expect(
          client
            .receipts()
            .map(({ id }) => id)
            .toSorted(),
        ).toEqual(world.kept.map(({ receipt }) => receipt.id).toSorted());
        expect(client.endings).toHaveLength(1);
        expect([world.caller.size, world.beta.network.faults.length]).toEqual([0, 0]);
      } finally {
        await world.close();
      }
      expect(world.clock.timers).toBe(0);
    }),
    { numRuns: 40 },
  );
}, 60_000);
