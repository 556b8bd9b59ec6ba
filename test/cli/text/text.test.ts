import { describe, expect, test } from 'vitest';
import { formatCommand } from '../../../cli/text/command.ts';
import { shortenIds } from '../../../cli/text/ids.ts';
import { nearest } from '../../../protocol/control/index.ts';
import { plain, plainJson, plainLines, widthOf } from '../../../cli/text/plain.ts';
import { createPaint, hasColour } from '../../../cli/text/style.ts';
import { type Column, formatFields, formatTable, indent, type View } from '../../../cli/text/table.ts';
import {
  formatBytes,
  formatCount,
  formatDuration,
  formatLatency,
  formatTime,
  formatTimeFully,
} from '../../../cli/text/time.ts';
import { createOrganisation, NOW_MS } from '../../builders.ts';

const view: View = { nowMs: NOW_MS, paint: createPaint(false), columns: undefined };

describe('text from elsewhere', () => {
  test('cannot move the cursor, recolour what follows, or read backwards', () => {
    expect(plain('a\u001b[31mb\rc\u0000\u009b2J\u202ed')).toBe('a�[31mb�c��2J�d');
    expect(plain('Zoë 山田 👩‍💻')).toBe('Zoë 山田 👩‍💻');
    expect(plain('one\ntwo')).toBe('one�two');
    expect(plainLines('one\ntwo\u0007')).toBe('one\ntwo�');
  });

  test('is measured as terminals draw it', () => {
    expect(widthOf('abc')).toBe(3);
    expect(widthOf('山田')).toBe(4);
    expect(widthOf('e\u0301')).toBe(1);
    expect(widthOf('did:mesh:bafy…')).toBe(14);
  });
});

describe('times', () => {
  test.each([
    [0, '0 s'],
    [0.4, '0 s'],
    [59, '59 s'],
    [60, '1 min'],
    [119, '1 min'],
    [3600, '1 h'],
    [12_000, '3 h 20 min'],
    [86_399, '23 h 59 min'],
    [86_400, '1 d'],
    [30 * 86_400, '30 d'],
  ])('%s seconds are "%s"', (seconds, text) => {
    expect(formatDuration(seconds)).toBe(text);
  });

  test('are said from now on, or back', () => {
    expect(formatTime(new Date(NOW_MS - 120_000).toISOString(), NOW_MS)).toBe('2 min ago');
    expect(formatTime(new Date(NOW_MS + 900_000).toISOString(), NOW_MS)).toBe('in 15 min');
    expect(formatTime(NOW_MS + 999, NOW_MS)).toBe('now');
    expect(formatTime(null, NOW_MS)).toBe('-');
    expect(formatTimeFully('2026-11-18T11:05:40.000Z', NOW_MS)).toBe('1 min ago (2026-11-18T11:05:40Z)');
    expect(formatTimeFully(null, NOW_MS)).toBe('-');
  });

  test('of answers, and sizes and counts', () => {
    expect([0.44, 12.3, 1234, null].map(formatLatency)).toEqual(['0.4 ms', '12 ms', '1.2 s', '-']);
    expect([1023, 1536, 5 * 1024 ** 2, 3 * 1024 ** 3].map(formatBytes)).toEqual([
      '1023 B',
      '1.5 KiB',
      '5.0 MiB',
      '3.0 GiB',
    ]);
    expect([0, 1, 2].map((count) => formatCount(count, 'link'))).toEqual(['0 links', '1 link', '2 links']);
  });
});

describe('shortenIds()', () => {
  const dids = ['acme', 'beta', 'gamma'].map((name) => createOrganisation(name).did);

  test('leaves each id its own beginning, whatever else is shown', () => {
    const short = shortenIds(dids);
    expect(new Set(short.values()).size).toBe(3);
    for (const [id, text] of short) {
      expect(text).toMatch(/^did:mesh:bafyrei[a-z2-7]{6}…$/);
      expect(id.startsWith(text.slice(0, -1))).toBe(true);
    }
  });

  test('keeps as many letters as tell two alike apart', () => {
    const head = `did:mesh:bafyrei${'a'.repeat(20)}`;
    const [first, second] = [`${head}b${'a'.repeat(31)}`, `${head}c${'a'.repeat(31)}`];
    expect(shortenIds([first, second]).get(first)).toBe(`${head}b…`);
  });

  test('leaves alone what is no id', () => {
    expect(shortenIds(['my-agent', 'read:reports/*', 'bafyrei']).size).toBe(0);
  });
});

describe('tables', () => {
  interface Row {
    readonly did: string;
    readonly count: number;
    readonly note: string;
  }
  const columns: Column<Row>[] = [
    { title: 'DID', cell: ({ did }) => did },
    { title: 'Count', cell: ({ count }) => String(count), align: 'right' },
    { title: 'Note', cell: ({ note }) => ({ text: note, tone: 'bad' }), optional: true },
  ];
  const did = createOrganisation('acme').did;
  const rows: Row[] = [
    { did, count: 7, note: 'first' },
    { did: 'short', count: 100, note: '山' },
  ];

  test('are aligned, by what a terminal draws, with nothing cut where nobody said how wide', () => {
    expect(formatTable(rows, columns, view)).toBe(
      `DID${' '.repeat(65)}  COUNT  NOTE\n${did}      7  first\nshort${' '.repeat(63)}    100  山\n`,
    );
  });

  test('have short ids, then fewer columns, then no columns at all where the terminal is narrow', () => {
    const cut = `${did.slice(0, 22)}…`;
    expect(formatTable(rows, columns, { ...view, columns: 79 })).toContain(`${cut}      7  first\n`);
    expect(formatTable(rows, columns, { ...view, columns: 37 })).toContain(`${cut}      7  first\n`);
    expect(formatTable(rows, columns, { ...view, columns: 36 })).toBe(
      `DID                      COUNT\n${cut}      7\nshort                      100\n`,
    );
    expect(formatTable(rows, columns, { ...view, columns: 29 })).toBe(
      `DID    ${did}\nCount  7\nNote   first\n\nDID    short\nCount  100\nNote   山\n`,
    );
  });

  test('say nothing by colour alone, and align the same with it', () => {
    const coloured = formatTable(rows, columns, { ...view, paint: createPaint(true) });
    expect(coloured).toContain('\u001b[31mfirst\u001b[39m');
    // oxlint-disable-next-line no-control-regex
    expect(coloured.replaceAll(/\u001b\[\d+m/g, '')).toBe(formatTable(rows, columns, view));
  });

  test('fields are aligned, lists continue under the first, and text from elsewhere is made plain', () => {
    expect(
      formatFields(
        [
          ['Name', 'a\u001bb'],
          ['Addresses', ['one', 'two']],
          ['None', []],
        ],
        view,
      ),
    ).toBe('Name       a�b\nAddresses  one\n           two\nNone       -\n');
    expect(indent('a\n\nb\n')).toBe('  a\n\n  b\n');
  });
});

describe('colour', () => {
  test('is for terminals, unless NO_COLOR says otherwise or the terminal has none', () => {
    expect(hasColour(true, {})).toBe(true);
    expect(hasColour(true, { NO_COLOR: '' })).toBe(true);
    expect(hasColour(true, { NO_COLOR: '1' })).toBe(false);
    expect(hasColour(true, { TERM: 'dumb' })).toBe(false);
    expect(hasColour(false, {})).toBe(false);
  });

  test('leaves the text as it is where there is none', () => {
    expect(createPaint(false)('bad', 'x')).toBe('x');
    expect(createPaint(true)(undefined, 'x')).toBe('x');
    expect(createPaint(true)('bad', '')).toBe('');
  });
});

test('formatCommand() gives what can be pasted into a shell', () => {
  const place = { home: "/h/it's mine", isHomeGiven: true };
  expect(formatCommand(['agent', 'show', 'my agent'], place)).toBe(
    `agentmesh --home '/h/it'\\''s mine' agent show 'my agent'`,
  );
  expect(formatCommand(['status'], { ...place, isHomeGiven: false })).toBe('agentmesh status');
});

test('nearest() is what was probably meant, or nothing', () => {
  const names = ['status', 'sponsor', 'my-agent', 'did'];
  expect(nearest('statsu', names)).toBe('status');
  expect(nearest('MY-AGNT', names)).toBe('my-agent');
  expect(nearest('peers', names)).toBeUndefined();
  expect(nearest('x', ['did'])).toBeUndefined();
});

test('plainJson() says the same, with nothing in it that a terminal acts on', () => {
  const value = { text: 'a\n\u001b[2J\u009b2J\u007f\u202eb', list: [1, 'Grüße'] };
  for (const indentation of [0, 2]) {
    const text = plainJson(value, indentation);
    expect(JSON.parse(text)).toEqual(value);
    expect(text.replaceAll('\n', '')).toBe(plain(text.replaceAll('\n', '')));
  }
});
