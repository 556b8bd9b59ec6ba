import fc from 'fast-check';
import { describe, expect, test, vi } from 'vitest';
import { ByteBudget } from '../../../../daemon/core/calls/byte-budget.ts';
import { type CallMessages, createCallMessages } from '../../../../daemon/core/calls/message-stream.ts';
import { type CallFrame, encodeCallFrame, encodePartFrame, parseCallFrame } from '../../../../protocol/call/index.ts';
import { concatBytes, limits } from '../../../../protocol/index.ts';
import { settle, VirtualClock } from '../virtual-clock.ts';
import { createPipe, type PipeEnd } from './frame-pipe.ts';

const { CALL_INLINE_BYTES_MAX, CALL_PART_BYTES, CALL_PART_BYTES_MIN, CALL_STALL_MS } = limits;
const LARGE = CALL_INLINE_BYTES_MAX + 1;
const sig = new Uint8Array(64);
const salt = new Uint8Array(limits.CALL_SALT_BYTES);

const filled = (length: number, byte = 1): Uint8Array => new Uint8Array(length).fill(byte);
const call = (n: number): CallFrame => ({ f: 'call', n, order: filled(10), salt });
const result = (n: number): CallFrame => ({ f: 'result', n, rcpt: filled(10), sig, salt });
const msg: CallFrame = { f: 'msg' };
const end: CallFrame = { f: 'end', code: 'closed', why: 'over' };
const sign = (n: number): CallFrame => ({ f: 'sign', n, sig });
const code = (wanted: string) => expect.objectContaining({ code: wanted });

function createPair(options: { budgets?: readonly ByteBudget[] } = {}) {
  const clock = new VirtualClock();
  const [a, b] = createPipe(clock);
  return {
    clock,
    a,
    b,
    mine: createCallMessages(a, { clock }, options),
    theirs: createCallMessages(b, { clock }, options),
  };
}

/** Nothing passes until the answer is called. */
function block(pipe: PipeEnd): () => void {
  const { promise, resolve } = Promise.withResolvers<void>();
  pipe.blocked = promise;
  return () => {
    pipe.blocked = undefined;
    resolve();
  };
}

/** "call 1", "part 1", "msg": what left this end, in order. */
const leftBy = (pipe: PipeEnd): string[] =>
  pipe.sent.map((bytes) => {
    const parsed = parseCallFrame(bytes);
    if ('part' in parsed) return `part ${parsed.part.m}`;
    return 'n' in parsed.frame ? `${parsed.frame.f} ${parsed.frame.n}` : parsed.frame.f;
  });

async function receiveAll(messages: CallMessages): Promise<string[]> {
  const got: string[] = [];
  for (let next = await messages.receive(); next !== undefined; next = await messages.receive())
    got.push('n' in next.frame ? `${next.frame.f} ${next.frame.n}` : next.frame.f);
  return got;
}

const wholePart = filled(CALL_PART_BYTES_MIN);
const part = (m: number, bytes = wholePart): Uint8Array => concatBytes(...encodePartFrame(m, bytes));
const ofBody = (m: number, size: number): Uint8Array => encodeCallFrame(msg, { m, size });

describe('sending', () => {
  test('a message arrives with its body, inline or in parts', async () => {
    const { mine, theirs } = createPair();
    const lengths = [1, CALL_INLINE_BYTES_MAX, LARGE, CALL_PART_BYTES, CALL_PART_BYTES + 1, 5 * CALL_PART_BYTES + 3];
    const bodies = lengths.map((length, i) => filled(length, i + 1));
    for (const body of bodies) await mine.send(msg, body);
    await mine.send(end);
    await mine.close();
    for (const body of bodies) {
      const got = await theirs.receive();
      expect(got?.frame).toEqual(msg);
      expect(Buffer.compare(got?.body ?? filled(0), body)).toBe(0);
    }
    expect(await theirs.receive()).toEqual({ frame: end });
    expect(await theirs.receive()).toBeUndefined();
    expect(theirs.bytesIn).toBe(mine.bytesOut);
    expect(mine.backlogBytes).toBe(0);
  });

  test('a frame without a body passes the parts of large bodies', async () => {
    const { a, mine } = createPair();
    const unblock = block(a);
    const sent = [mine.send(result(1), filled(4 * CALL_PART_BYTES)), mine.send(sign(2))];
    unblock();
    await Promise.all(sent);
    expect(leftBy(a)).toEqual(['part 1', 'sign 2', 'part 1', 'part 1', 'part 1', 'result 1']);
  });

  test('calls and results overtake one another: small ones pass large ones, large ones take turns', async () => {
    const { a, mine } = createPair();
    const unblock = block(a);
    const large = filled(3 * CALL_PART_BYTES);
    const sent = [
      mine.send(result(1), large),
      mine.send(result(2), large),
      mine.send(result(3), filled(1)),
      mine.send(result(4), filled(1)),
    ];
    unblock();
    await Promise.all(sent);
    const left = leftBy(a);
    expect(left.filter((name) => name.startsWith('result'))).toEqual(['result 3', 'result 4', 'result 1', 'result 2']);
    expect(left.slice(0, 6)).toEqual(['part 1', 'result 3', 'part 1', 'result 4', 'part 2', 'part 1']);
  });

  test('a msg overtakes nothing and is overtaken by nothing that has a body', async () => {
    const { a, mine } = createPair();
    const unblock = block(a);
    const large = filled(2 * CALL_PART_BYTES);
    const sent = [
      mine.send(call(1), large),
      mine.send(msg, filled(1)),
      mine.send(call(2), filled(1)),
      mine.send(msg, large),
      mine.send(call(3), filled(1)),
    ];
    unblock();
    await Promise.all(sent);
    expect(leftBy(a).filter((name) => !name.startsWith('part'))).toEqual(['call 1', 'msg', 'call 2', 'msg', 'call 3']);
  });

  test('end comes after all that has a body, and nothing is taken after it', async () => {
    const { a, mine } = createPair();
    const unblock = block(a);
    const sent = [mine.send(result(1), filled(2 * CALL_PART_BYTES)), mine.send(end)];
    await expect(mine.send(sign(1))).rejects.toEqual(code('closed'));
    unblock();
    await Promise.all(sent);
    expect(leftBy(a).at(-1)).toBe('end');
  });

  test('at most eight large bodies are on their way at a time', async () => {
    const { a, mine } = createPair();
    const unblock = block(a);
    const sent = Array.from({ length: 12 }, (_, i) => mine.send(result(i + 1), filled(2 * CALL_PART_BYTES)));
    unblock();
    await Promise.all(sent);
    const open = new Set<string>();
    let most = 0;
    for (const name of leftBy(a)) {
      if (name.startsWith('part')) open.add(name.slice(5));
      else open.delete(name.slice(7));
      most = Math.max(most, open.size);
    }
    expect(most).toBe(limits.CALL_OPEN_BODIES_SENT_MAX);
  });

  test('a body that a frame cannot have, or lacks, is refused at once', async () => {
    const { a, mine } = createPair();
    await expect(mine.send(sign(1), filled(3))).rejects.toEqual(code('schema'));
    await expect(mine.send(msg)).rejects.toEqual(code('schema'));
    await expect(mine.send(msg, filled(0))).rejects.toEqual(code('schema'));
    await expect(mine.send(sign(1), filled(LARGE))).rejects.toEqual(code('schema'));
    await expect(mine.send(msg, filled(limits.MCP_MESSAGE_BYTES_MAX + 1))).rejects.toEqual(code('too_large'));
    await expect(mine.send({ f: 'sign', n: 0, sig })).rejects.toEqual(code('schema'));
    expect(a.sent).toEqual([]);
    expect(mine.backlogBytes).toBe(0);
  });

  test('beyond CALL_QUEUE_BYTES_MAX a message is refused with busy, except for end', async () => {
    const { a, mine } = createPair();
    const unblock = block(a);
    const sent = [mine.send(result(1), filled(limits.CALL_QUEUE_BYTES_MAX))];
    await expect(mine.send(sign(1))).rejects.toEqual(code('busy'));
    await expect(mine.send(result(2), filled(1))).rejects.toEqual(code('busy'));
    sent.push(mine.send(end));
    unblock();
    await Promise.all(sent);
    expect(leftBy(a).at(-1)).toBe('end');
    expect(mine.backlogBytes).toBe(0);
  });

  test('a budget that others spend refuses with busy and has all back in the end', async () => {
    const budget = new ByteBudget(2 * LARGE);
    const { a, mine } = createPair({ budgets: [budget] });
    const unblock = block(a);
    const sent = mine.send(result(1), filled(LARGE));
    await expect(mine.send(result(2), filled(LARGE))).rejects.toEqual(code('busy'));
    unblock();
    await sent;
    expect(budget.heldBytes).toBe(0);
    await mine.send(result(2), filled(LARGE));
  });

  test('who has a choice is told when it is full and when it is not any more', async () => {
    const { a, mine } = createPair();
    const drained = vi.fn();
    mine.onDrained(drained);
    const unblock = block(a);
    const sent = mine.send(result(1), filled(limits.CALL_QUEUE_PAUSE_BYTES + 1));
    expect(mine.isFull).toBe(true);
    unblock();
    await sent;
    expect(mine.isFull).toBe(false);
    expect(drained).toHaveBeenCalledTimes(1);
    await mine.send(result(2), filled(5));
    expect(drained).toHaveBeenCalledTimes(1);
  });

  test('a peer that takes nothing for CALL_STALL_MS is cut off, and all that waits fails', async () => {
    const { a, clock, mine } = createPair();
    block(a);
    const sent = [mine.send(sign(1)), mine.send(result(1), filled(LARGE)), mine.send(sign(2))].map(async (promise) =>
      promise.catch((error: unknown) => error),
    );
    await clock.advance(CALL_STALL_MS - 1);
    expect(a.abortedWith).toBeUndefined();
    await clock.advance(1);
    expect(a.abortedWith).toBeDefined();
    for (const failure of await Promise.all(sent)) expect(failure).toEqual(code('timeout'));
    expect(mine.backlogBytes).toBe(0);
    await expect(mine.send(sign(2))).rejects.toEqual(code('timeout'));
    await expect(mine.receive()).rejects.toEqual(code('timeout'));
  });

  test('close() sends what waits, and gives up where that is not taken in time', async () => {
    const { a, clock, mine } = createPair();
    const unblock = block(a);
    const sent = mine.send(result(1), filled(2 * CALL_PART_BYTES));
    const closed = mine.close();
    await settle();
    expect(a.isClosed).toBe(false);
    unblock();
    await Promise.all([sent, closed]);
    expect(leftBy(a).at(-1)).toBe('result 1');
    expect(a.isClosed).toBe(true);
    await expect(mine.send(sign(1))).rejects.toEqual(code('closed'));
    expect(clock.timers).toBe(0);

    const other = createPair();
    block(other.a);
    const lost = other.mine.send(result(1), filled(LARGE)).catch((error: unknown) => error);
    const given = other.mine.close();
    await other.clock.advance(CALL_STALL_MS);
    await given;
    expect(other.a.abortedWith).toBeDefined();
    expect(await lost).toMatchObject({ code: expect.stringMatching(/closed|timeout/) });
  });

  test('abort() resets at once: both sides fail, and nothing is held any more', async () => {
    const budget = new ByteBudget(10 * LARGE);
    const { a, b, mine, theirs } = createPair({ budgets: [budget] });
    b.arrive(part(1));
    const waiting = theirs.receive().catch((error: unknown) => error);
    await settle();
    expect(budget.heldBytes).toBe(CALL_PART_BYTES_MIN);
    const unblock = block(a);
    const sent = mine.send(result(1), filled(5)).catch((error: unknown) => error);
    mine.abort('enough');
    theirs.abort('enough');
    expect(a.abortedWith).toBe('enough');
    expect(await waiting).toEqual(code('closed'));
    unblock();
    expect(await sent).toEqual(code('closed'));
    expect(budget.heldBytes).toBe(0);
    await expect(mine.receive()).rejects.toEqual(code('closed'));
    await expect(mine.send(sign(1))).rejects.toEqual(code('closed'));
  });
});

describe('receiving', () => {
  const refuses = async (wanted: string, ...frames: readonly Uint8Array[]): Promise<void> => {
    const { b, theirs } = createPair();
    for (const frame of frames) b.arrive(frame);
    const receive = async (): Promise<void> => {
      for (;;) if ((await theirs.receive()) === undefined) return;
    };
    await expect(receive()).rejects.toEqual(code(wanted));
    expect(b.abortedWith).toBeDefined();
    await expect(theirs.receive()).rejects.toEqual(code(wanted));
    await expect(theirs.send(sign(1))).rejects.toEqual(code(wanted));
  };

  test('any interleaving of bodies gives each back whole, in the order in which their frames came', async () => {
    const bodies = fc.array(fc.integer({ min: LARGE, max: LARGE + 3 * CALL_PART_BYTES }), {
      minLength: 1,
      maxLength: 6,
    });
    await fc.assert(
      fc.asyncProperty(bodies, fc.infiniteStream(fc.nat()), async (sizes, choices) => {
        const { b, theirs } = createPair();
        const open = sizes.map((size, i) => ({
          body: Buffer.alloc(size, `body ${i}, `),
          at: 0,
          m: 0,
        }));
        const expected: Uint8Array[] = [];
        let bodiesBegun = 0;
        while (open.length > 0) {
          const choice = (choices.next().value as number) % open.length;
          const one = open[choice];
          if (one === undefined) break;
          one.m ||= ++bodiesBegun;
          if (one.at === one.body.length) {
            b.arrive(ofBody(one.m, one.body.length));
            expected.push(one.body);
            open.splice(choice, 1);
            continue;
          }
          const length =
            CALL_PART_BYTES_MIN + ((choices.next().value as number) % (CALL_PART_BYTES - CALL_PART_BYTES_MIN));
          b.arrive(part(one.m, one.body.subarray(one.at, one.at + length)));
          one.at = Math.min(one.body.length, one.at + length);
        }
        for (const body of expected) expect(Buffer.compare((await theirs.receive())?.body ?? filled(0), body)).toBe(0);
      }),
      { numRuns: 30 },
    );
  });

  test('whatever is sent arrives once and whole, and a msg keeps its place', async () => {
    const sizes = fc.oneof(
      fc.integer({ min: 1, max: 100 }),
      fc.integer({ min: LARGE, max: LARGE + 2 * CALL_PART_BYTES }),
    );
    const messages = fc.array(fc.tuple(fc.constantFrom('result', 'msg', 'sign'), sizes), { maxLength: 12 });
    await fc.assert(
      fc.asyncProperty(messages, async (list) => {
        const { a, mine, theirs } = createPair();
        const unblock = block(a);
        const sent = list.map(async ([kind, size], i) =>
          kind === 'sign'
            ? mine.send(sign(i + 1))
            : mine.send(kind === 'msg' ? msg : result(i + 1), filled(size, i + 1)),
        );
        unblock();
        await Promise.all(sent);
        await mine.close();
        const got: [string, number, number][] = [];
        for (let next = await theirs.receive(); next !== undefined; next = await theirs.receive()) {
          const { frame, body } = next;
          got.push([frame.f, body === undefined ? (frame as { n: number }).n : (body[0] as number), body?.length ?? 0]);
        }
        const wanted = list.map(([kind, size], i) => [kind, i + 1, kind === 'sign' ? 0 : size]);
        expect(got.toSorted((x, y) => x[1] - y[1])).toEqual(wanted);
        const bodied = got.filter(([kind]) => kind !== 'sign').map(([, number]) => number);
        for (const [kind, number] of got.filter(([name]) => name === 'msg')) {
          const place = bodied.indexOf(number);
          expect(kind).toBe('msg');
          expect(bodied.slice(0, place).every((before) => before < number)).toBe(true);
          expect(bodied.slice(place + 1).every((after) => after > number)).toBe(true);
        }
      }),
      { numRuns: 60 },
    );
  });

  test('what is no frame, or one cut short, ends the stream', async () => {
    await refuses('malformed', filled(20, 0xff));
    await refuses('malformed', ofBody(1, LARGE).subarray(0, -1));
    await refuses('schema', Uint8Array.of(0xa0));
    await refuses('noncanonical', Uint8Array.of(0xa1, 0x61, 0x66, 0x78, 0x03, 0x6d, 0x73, 0x67));
  });

  test('parts of a body that is not open, or out of turn, end the stream', async () => {
    await refuses('malformed', part(2));
    await refuses('malformed', part(1), part(3));
    await refuses('malformed', ofBody(1, LARGE));
  });

  test('a number that was used ends the stream', async () => {
    const parts = [part(1), part(1), part(1), part(1), part(1, filled(1))];
    await refuses('malformed', ...parts, ofBody(1, LARGE), part(1));
    await refuses('malformed', ...parts, ofBody(1, LARGE), ofBody(1, LARGE));
  });

  test('a body that is not of the size that its frame says ends the stream', async () => {
    await refuses('malformed', part(1), ofBody(1, LARGE));
    const five = Array.from({ length: 5 }, () => part(1));
    await refuses('malformed', ...five, ofBody(1, LARGE));
  });

  test('a part after a short one ends the stream', async () => {
    await refuses('malformed', part(1, filled(CALL_PART_BYTES_MIN - 1)), part(1));
  });

  test('more open bodies than CALL_OPEN_BODIES_MAX end the stream', async () => {
    const most = Array.from({ length: limits.CALL_OPEN_BODIES_MAX }, (_, i) => part(i + 1));
    const { b, clock, theirs } = createPair();
    for (const frame of most) b.arrive(frame);
    const waiting = theirs.receive({ timeoutMs: 5 }).catch((error: unknown) => error);
    await clock.advance(5);
    expect(await waiting).toEqual(code('timeout'));
    expect(b.abortedWith).toBeUndefined();
    await refuses('too_large', ...most, part(limits.CALL_OPEN_BODIES_MAX + 1));
  });

  test('a body larger than a message, and more under way than CALL_ASSEMBLY_BYTES_MAX, end the stream', async () => {
    const full = filled(CALL_PART_BYTES);
    const whole = Math.floor(limits.MCP_MESSAGE_BYTES_MAX / CALL_PART_BYTES);
    await refuses('too_large', ...Array.from({ length: whole + 1 }, () => part(1, full)));
    const three = Array.from({ length: 3 }, (_, i) => Array.from({ length: whole }, () => part(i + 1, full))).flat();
    await refuses('too_large', ...three);
  });

  test('a budget that is spent ends the stream with busy', async () => {
    const budget = new ByteBudget(3 * CALL_PART_BYTES_MIN);
    const { b, theirs } = createPair({ budgets: [budget] });
    for (let i = 0; i < 4; i++) b.arrive(part(1));
    await expect(theirs.receive()).rejects.toEqual(code('busy'));
    expect(b.abortedWith).toBeDefined();
    expect(budget.heldBytes).toBe(0);
  });

  test('a sender that leaves a body unfinished is cut off after CALL_STALL_MS, one that says nothing is not', async () => {
    const { b, clock, theirs } = createPair();
    const waiting = theirs.receive();
    await clock.advance(10 * CALL_STALL_MS);
    b.arrive(encodeCallFrame(sign(1)));
    expect(await waiting).toEqual({ frame: sign(1) });

    b.arrive(part(1));
    const stalled = theirs.receive().catch((error: unknown) => error);
    await clock.advance(CALL_STALL_MS - 1);
    b.arrive(part(1));
    await clock.advance(CALL_STALL_MS - 1);
    expect(b.abortedWith).toBeUndefined();
    await clock.advance(1);
    expect(await stalled).toMatchObject({ code: 'timeout', data: { reason: 'stalled' } });
    expect(b.abortedWith).toBeDefined();
  });

  test('receive() that ran out of time or was cancelled can be called again, and no part is lost', async () => {
    const { b, clock, theirs } = createPair();
    b.arrive(part(1, filled(CALL_PART_BYTES)));
    const late = theirs.receive({ timeoutMs: 50 }).catch((error: unknown) => error);
    await clock.advance(50);
    expect(await late).toMatchObject({ code: 'timeout', data: {} });
    const stop = new AbortController();
    const cancelled = theirs.receive({ signal: stop.signal }).catch((error: unknown) => error);
    await settle();
    await expect(theirs.receive()).rejects.toEqual(code('conflict'));
    stop.abort();
    expect(await cancelled).toEqual(code('cancelled'));
    b.arrive(ofBody(1, CALL_PART_BYTES));
    expect((await theirs.receive())?.body?.length).toBe(CALL_PART_BYTES);
    expect(clock.timers).toBe(0);
  });

  test('an end of the stream inside a message is no end in order', async () => {
    const { b, theirs } = createPair();
    b.arrive(part(1));
    b.end();
    await expect(theirs.receive()).rejects.toEqual(code('closed'));
    const other = createPair();
    other.b.end();
    expect(await other.theirs.receive()).toBeUndefined();
    expect(await receiveAll(other.theirs)).toEqual([]);
  });
});
