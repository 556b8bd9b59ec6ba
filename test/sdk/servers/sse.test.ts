import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createEventReader, formatEvent, KEEP_ALIVE, type ServerEvent } from '../../../sdk/servers/sse.ts';
import { isMeshError } from '../../../protocol/index.ts';

const BYTES_MAX = 4_096;

function read(chunks: readonly Uint8Array[], bytesMax = BYTES_MAX): (Omit<ServerEvent, 'data'> & { data: string })[] {
  const events: (Omit<ServerEvent, 'data'> & { data: string })[] = [];
  const reader = createEventReader(
    (event) => events.push({ ...event, data: Buffer.from(event.data).toString('utf8') }),
    bytesMax,
  );
  for (const chunk of chunks) reader.push(chunk);
  return events;
}

const readText = (text: string) => read([Buffer.from(text)]);

function cut(bytes: Buffer, at: readonly number[]): Buffer[] {
  const ends = [...new Set(at.map((place) => place % (bytes.length + 1)))].sort((a, b) => a - b);
  return [...ends, bytes.length].map((end, index) => bytes.subarray(ends[index - 1] ?? 0, end));
}

describe('createEventReader()', () => {
  test('reads fields with and without a space after the colon', () => {
    expect(readText('event:message\nid:  7\ndata: {"a":1}\n\n')).toEqual([
      { event: 'message', id: ' 7', data: '{"a":1}' },
    ]);
  });

  test('joins the lines of data with LF', () => {
    expect(readText('data: a\ndata\ndata: b\n\n')).toEqual([{ data: 'a\n\nb' }]);
  });

  test.each([
    ['LF', '\n'],
    ['CR LF', '\r\n'],
    ['CR', '\r'],
  ])('takes %s as end of a line', (_name, end) => {
    expect(readText(['data: a', '', 'data: b', '', ''].join(end))).toEqual([{ data: 'a' }, { data: 'b' }]);
  });

  test('takes a CR LF that two chunks share as one end of a line', () => {
    expect(read([Buffer.from('data: a\r'), Buffer.from('\ndata: b\r\n\r'), Buffer.from('\n')])).toEqual([
      { data: 'a\nb' },
    ]);
  });

  test('says the event that primes a client to resume, though it has no data', () => {
    expect(readText('id: 7\nretry: 500\ndata: \n\n')).toEqual([{ id: '7', retryMs: 500, data: '' }]);
  });

  test('leaves out comments, empty events and fields that it does not know', () => {
    expect(readText(`${KEEP_ALIVE.toString()}\n\nunknown: x\n\ndata: a\n\n`)).toEqual([{ data: 'a' }]);
  });

  test('leaves out an id with NUL and a retry that is not a number', () => {
    expect(readText('id: a\0b\nretry: 5s\ndata: a\n\n')).toEqual([{ data: 'a' }]);
  });

  test('takes a byte order mark off the first line only', () => {
    expect(readText('\uFEFFdata: a\n\n\uFEFFdata: b\n\n')).toEqual([{ data: 'a' }]);
  });

  test('drops an event that the end of the stream cuts', () => {
    expect(readText('data: a\n\ndata: b\n')).toEqual([{ data: 'a' }]);
  });

  test('refuses a line longer than the bound before it ends', () => {
    expect(() => read([Buffer.from('data: '), Buffer.alloc(10, 'a')], 12)).toThrow(
      expect.objectContaining({ code: 'too_large' }),
    );
  });

  test('refuses an event of many lines longer than the bound', () => {
    const refused = (): unknown => read([Buffer.from('data: a\n'.repeat(20))], 100);
    expect(refused).toThrow(expect.toSatisfy(isMeshError));
  });

  test('counts the bound anew for each event', () => {
    expect(read([Buffer.from('data: a\n\n'.repeat(50))], 10)).toHaveLength(50);
  });

  test('reads the same events however the bytes are cut, inside characters too', () => {
    const event = fc.record(
      {
        data: fc.oneof(fc.string({ unit: 'grapheme', minLength: 1 }), fc.constant('{"text":"🙂é漢"}')),
        event: fc.constant('message'),
        id: fc.stringMatching(/^[!-~]{1,12}$/),
        retryMs: fc.nat(100_000),
      },
      { requiredKeys: ['data'] },
    );
    fc.assert(
      fc.property(fc.array(event, { maxLength: 5 }), fc.array(fc.nat(), { maxLength: 8 }), (events, at) => {
        const bytes = Buffer.concat(events.map((one) => formatEvent({ ...one, data: Buffer.from(one.data) })));
        const wanted = events.map((one) => ({ ...one, data: one.data.replaceAll(/\r\n|\r/g, '\n') }));
        expect(read(cut(bytes, at))).toEqual(wanted);
      }),
    );
  });
});

describe('formatEvent()', () => {
  test('writes one line of data for each line of it', () => {
    const event = { event: 'message', id: '7', retryMs: 5, data: Buffer.from('{\r\n"a":\r1\n}') };
    expect(formatEvent(event).toString()).toBe(
      'event: message\nid: 7\nretry: 5\ndata: {\ndata: "a":\ndata: 1\ndata: }\n\n',
    );
  });

  test('keeps the bytes of data that has one line', () => {
    expect(formatEvent({ data: Buffer.from('{"text":"🙂"}') }).toString()).toBe('data: {"text":"🙂"}\n\n');
  });
});
