import { type Stream, type StreamMessageEvent, TypedEventEmitter } from '@libp2p/interface';
import { expect, test } from 'vitest';
import { gatherWindowUpdates } from '../../../daemon/libp2p/window-updates.ts';

/** What of Yamux's stream is looked at: it asks for an update after each frame, and when it goes on. */
class FakeStream extends TypedEventEmitter<{ message: StreamMessageEvent }> {
  readStatus = 'readable';
  updates = 0;
  #waiting = 0;

  sendWindowUpdate(): void {
    if (this.readStatus !== 'paused') this.updates += 1;
  }

  arrive(byteLength: number): void {
    this.#waiting += byteLength;
    this.#handOut();
    this.sendWindowUpdate();
  }

  resume(): void {
    this.readStatus = 'readable';
    this.#handOut();
    this.sendWindowUpdate();
  }

  #handOut(): void {
    if (this.readStatus === 'paused' || this.#waiting === 0) return;
    const data = { byteLength: this.#waiting };
    this.#waiting = 0;
    this.dispatchEvent(Object.assign(new Event('message'), { data }));
  }
}

function gathered(): FakeStream {
  const stream = new FakeStream();
  gatherWindowUpdates(stream as unknown as Stream);
  return stream;
}

test('short messages are no reason to let more come until half of the window is used', () => {
  const stream = gathered();
  for (let i = 0; i < 127; i++) stream.arrive(1024);
  expect(stream.updates).toBe(0);
  stream.arrive(1024);
  expect(stream.updates).toBe(1);
  for (let i = 0; i < 128; i++) stream.arrive(1024);
  expect(stream.updates).toBe(2);
});

test('a window that was used up while nobody read is opened when somebody does', () => {
  const stream = gathered();
  stream.readStatus = 'paused';
  for (let i = 0; i < 256; i++) stream.arrive(1024);
  expect(stream.updates).toBe(0);
  stream.resume();
  expect(stream.updates).toBe(1);
});

test('one who pauses at the message that uses up half opens it when it goes on', () => {
  const stream = gathered();
  stream.addEventListener('message', () => {
    stream.readStatus = 'paused';
  });
  stream.arrive(128 * 1024);
  expect(stream.updates).toBe(0);
  stream.resume();
  expect(stream.updates).toBe(1);
});

test('a stream of another muxer is left as it is', () => {
  const stream = { addEventListener: (): void => expect.unreachable() };
  gatherWindowUpdates(stream as unknown as Stream);
  expect(stream).not.toHaveProperty('sendWindowUpdate');
});
