import { expect, test } from 'vitest';
import { createCallMessages } from '../../../../daemon/core/calls/message-stream.ts';
import { VirtualClock } from '../virtual-clock.ts';
import { createPipe } from './frame-pipe.ts';

const json = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));
const filled = (length: number, byte: number): Uint8Array => new Uint8Array(length).fill(byte);

function createPair() {
  const clock = new VirtualClock();
  const [a, b] = createPipe(clock);
  return { clock, a, b, caller: createCallMessages(a, { clock }), callee: createCallMessages(b, { clock }) };
}

test('a message arrives with its body, small or large', async () => {
  const { caller, callee } = createPair();
  const large = filled(700_000, 7);
  await caller.send({ f: 'msg' }, json({ id: 1 }));
  await caller.send({ f: 'msg' }, large);
  await caller.send({ f: 'end', code: 'closed', why: '' });
  await caller.close();
  expect(await callee.receive()).toEqual({ frame: { f: 'msg' }, body: json({ id: 1 }) });
  const got = await callee.receive();
  expect(Buffer.compare(got?.body ?? json(0), large)).toBe(0);
  expect(await callee.receive()).toEqual({ frame: { f: 'end', code: 'closed', why: '' } });
  expect(await callee.receive()).toBeUndefined();
  expect(callee.bytesIn).toBe(caller.bytesOut);
});
