import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type CallFrame,
  encodeCallFrame,
  encodePartFrame,
  hasBody,
  parseCallFrame,
} from '../../../protocol/call/index.ts';
import { type Cbor, concatBytes, decodeCbor, encodeCbor, limits } from '../../../protocol/index.ts';
import { encoded, FRAMES, LARGE_BODY, largeMessage } from './worked-example.ts';

const code = (wanted: string) => expect.objectContaining({ code: wanted });
const filled = (length: number): Uint8Array => new Uint8Array(length).fill(7);
const changed = (name: string, change: Record<string, Cbor | undefined>): Uint8Array =>
  encodeCbor({ ...(decodeCbor(encoded(name)) as Record<string, Cbor>), ...change });

describe.each(Object.entries(FRAMES))('the frame %s', (name, [frame, body]) => {
  test('is read as it was written', () => {
    const parsed = parseCallFrame(encoded(name));
    expect(parsed).toEqual(body === undefined ? { frame } : { frame, body: { inline: body } });
  });

  test('is one map of text keys, with its name as "f" and nothing unknown', () => {
    expect((decodeCbor(encoded(name)) as Record<string, Cbor>).f).toBe(frame.f);
    expect(() => parseCallFrame(changed(name, { x: 1 }))).toThrow(code('schema'));
    for (const field of Object.keys(frame).filter((key) => key !== 'id'))
      expect(() => parseCallFrame(changed(name, { [field]: undefined })), field).toThrow(code('schema'));
    for (const field of Object.keys(frame))
      expect(() => parseCallFrame(changed(name, { [field]: null })), field).toThrow(code('schema'));
  });

  test('has a body, or cannot have one', () => {
    expect(hasBody(frame.f)).toBe(body !== undefined);
    if (body !== undefined) expect(() => encodeCallFrame(frame)).toThrow(code('schema'));
    else expect(() => encodeCallFrame(frame, { inline: filled(3) })).toThrow(code('schema'));
  });
});

test('a body is inline up to 64 KiB, and beyond it in parts', () => {
  const most = limits.CALL_INLINE_BYTES_MAX;
  const msg: CallFrame = { f: 'msg' };
  expect(parseCallFrame(encodeCallFrame(msg, { inline: filled(most) }))).toEqual({
    frame: msg,
    body: { inline: filled(most) },
  });
  expect(() => encodeCallFrame(msg, { inline: filled(most + 1) })).toThrow(code('schema'));
  expect(() => encodeCallFrame(msg, { inline: filled(0) })).toThrow(code('schema'));
  const sizes = [most + 1, limits.MCP_MESSAGE_BYTES_MAX];
  for (const size of sizes)
    expect(parseCallFrame(encodeCallFrame(msg, { m: 3, size }))).toEqual({ frame: msg, body: { m: 3, size } });
  for (const size of [most, limits.MCP_MESSAGE_BYTES_MAX + 1])
    expect(() => encodeCallFrame(msg, { m: 3, size })).toThrow(code('schema'));
  expect(() => encodeCallFrame(msg, { m: 0, size: most + 1 })).toThrow(code('schema'));
});

test('a body is in one place', () => {
  expect(() => parseCallFrame(changed('msg', { m: 1 }))).toThrow(code('schema'));
  expect(() => parseCallFrame(changed('msg', { m: 1, size: 70_000 }))).toThrow(code('schema'));
  expect(() => parseCallFrame(changed('msg', { b: undefined, m: 1 }))).toThrow(code('schema'));
  expect(() => parseCallFrame(changed('msg', { b: undefined, size: 70_000 }))).toThrow(code('schema'));
});

test('a part is the one encoding of its number and bytes', () => {
  fc.assert(
    fc.property(
      fc.oneof(fc.nat(300), fc.integer({ min: 1, max: limits.CALL_NUMBER_MAX })),
      fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 60_000, max: limits.CALL_PART_BYTES })),
      (number, length) => {
        const m = Math.max(1, number);
        const frame = concatBytes(...encodePartFrame(m, filled(length)));
        expect(Buffer.compare(frame, encodeCbor({ f: 'part', m, p: filled(length) }))).toBe(0);
        expect(parseCallFrame(frame)).toEqual({ part: { m, bytes: filled(length) } });
      },
    ),
    { numRuns: 50 },
  );
});

test('a part has a number, at least a byte and at most CALL_PART_BYTES', () => {
  expect(() => encodePartFrame(0, filled(1))).toThrow(code('schema'));
  expect(() => encodePartFrame(1, filled(0))).toThrow(code('schema'));
  expect(() => encodePartFrame(1, filled(limits.CALL_PART_BYTES + 1))).toThrow(code('schema'));
  expect(() => encodePartFrame(limits.CALL_NUMBER_MAX + 1, filled(1))).toThrow(code('schema'));
});

test('the example of a large message is its body in two parts and a frame that says how much there is', () => {
  const [first, second, last] = largeMessage.map(parseCallFrame);
  const parts = [first, second].map((one) => (one !== undefined && 'part' in one ? one.part.bytes : filled(0)));
  expect(Buffer.compare(concatBytes(...parts), LARGE_BODY)).toBe(0);
  expect(last).toEqual({ frame: { f: 'msg' }, body: { m: 1, size: 70_000 } });
});

test('another version is told from a frame that is wrong', () => {
  expect(() => parseCallFrame(changed('open', { v: 2 }))).toThrow(code('version'));
  expect(() => parseCallFrame(changed('ask-for-services', { v: 9, more: 1 }))).toThrow(code('version'));
  expect(() => parseCallFrame(changed('open', { v: '1' }))).toThrow(code('schema'));
});

test('names, numbers and codes are within their bounds', () => {
  for (const srv of ['', 'A', '1a', 'a/b', 'a*', `a${'b'.repeat(64)}`])
    expect(() => parseCallFrame(changed('open', { srv })), srv).toThrow(code('schema'));
  for (const n of [0, -1, limits.CALL_NUMBER_MAX + 1])
    expect(() => parseCallFrame(changed('sign', { n }))).toThrow(code('schema'));
  expect(() => parseCallFrame(changed('end', { code: 'because' }))).toThrow(code('schema'));
  expect(() => parseCallFrame(changed('end', { why: 'x'.repeat(limits.CALL_WHY_TEXT_MAX + 1) }))).toThrow(
    code('schema'),
  );
  expect(() => parseCallFrame(changed('ask-for-services', { what: 'secrets' }))).toThrow(code('schema'));
  expect(() => parseCallFrame(changed('taken', { stmt: filled(limits.CALL_STATEMENT_BYTES_MAX + 1) }))).toThrow(
    code('schema'),
  );
});

test('what is no frame is refused for what it is', () => {
  expect(() => parseCallFrame(new Uint8Array(limits.CALL_FRAME_BYTES_MAX + 1))).toThrow(code('too_large'));
  expect(() => parseCallFrame(new Uint8Array())).toThrow(code('malformed'));
  for (const value of [1, null, [], {}, { f: 1 }, { f: 'toString' }, { f: '__proto__' }] as Cbor[])
    expect(() => parseCallFrame(encodeCbor(value))).toThrow(code('schema'));
});

test('every frame fits its bound with all fields at their longest', () => {
  const longest = encodeCallFrame(
    {
      f: 'result',
      n: limits.CALL_NUMBER_MAX,
      rcpt: filled(limits.CALL_STATEMENT_BYTES_MAX),
      sig: filled(64),
      salt: filled(16),
    },
    { inline: filled(limits.CALL_INLINE_BYTES_MAX) },
  );
  const mail = encodeCallFrame({ f: 'mail', seq: Number.MAX_SAFE_INTEGER, env: filled(limits.CALL_MAIL_BYTES_MAX) });
  const part = concatBytes(...encodePartFrame(limits.CALL_NUMBER_MAX, filled(limits.CALL_PART_BYTES)));
  for (const frame of [longest, mail, part]) expect(frame.length).toBeLessThanOrEqual(limits.CALL_FRAME_BYTES_MAX);
});
