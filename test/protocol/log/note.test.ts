import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { concatBytes, fromHex } from '../../../protocol/encoding/bytes.ts';
import { NOTE_BYTES_MAX, NOTE_SIGNATURES_MAX } from '../../../protocol/limits.ts';
import {
  createCosignatureLine,
  createSignatureLine,
  createVkey,
  formatNote,
  formatVkey,
  isKeyName,
  LOG_KEY_TYPE,
  noteMessage,
  parseCheckpoint,
  parseNote,
  parseVkey,
  verifyNote,
  type Vkey,
  type VkeyType,
  WITNESS_KEY_TYPE,
} from '../../../protocol/log/index.ts';
import { isSignatureValidPure } from '../../../protocol/signature.ts';
import { isSignatureValidSodium } from '../../../protocol/sodium.ts';
import { describeWithShared } from '../../shared.ts';
import { bytesOf, codeOf, cosignLine, logSigner, signLine, textOf, witnessSigner } from './sample.ts';

const log = logSigner('example.org/log');
const witness = witnessSigner('witness.example/w');
const TEXT = 'first line\nsecond line\n';
const line = signLine(log, TEXT);
const note = formatNote({ text: TEXT, signatures: [line] });
const written = textOf(note);
const verify = (bytes: Uint8Array, vkeys: readonly Vkey[] = [log.vkey, witness.vkey]): string =>
  codeOf(() => verifyNote(parseNote(bytes), vkeys, isSignatureValidSodium));

describe('a note', () => {
  test('is read and written again as it was, and verifies', () => {
    const parsed = parseNote(note);
    expect(parsed.text).toBe(TEXT);
    expect(formatNote(parsed)).toEqual(note);
    const [verified] = verifyNote(parsed, [log.vkey], isSignatureValidSodium);
    expect(verified).toEqual({ vkey: log.vkey, line });
  });

  test('is split at its last empty line', () => {
    const text = 'a\n\nb\n\n\nc\n';
    const bytes = formatNote({ text, signatures: [signLine(log, text)] });
    expect(parseNote(bytes).text).toBe(text);
    expect(verify(bytes)).toBe('accepted');
  });

  test('keeps a byte order mark, which a decoder drops unless told not to', () => {
    const text = '\ufeffa\n';
    const bytes = formatNote({ text, signatures: [signLine(log, text)] });
    expect(parseNote(bytes).text).toBe(text);
    expect(formatNote(parseNote(bytes))).toEqual(bytes);
    expect(verify(bytes)).toBe('accepted');
  });

  test('may have as many signatures as allowed, at least 16, and no more', () => {
    const stranger = (i: number) => signLine(logSigner(`stranger ${i}`.replace(' ', '-')), TEXT);
    const many = (count: number): string =>
      `${TEXT}\n${Array.from({ length: count }, (_, i) => {
        const { name, encoded } = i === 0 ? line : stranger(i % 4);
        return `— ${name} ${encoded}\n`;
      }).join('')}`;
    for (const count of [16, NOTE_SIGNATURES_MAX]) expect(verify(bytesOf(many(count)))).toBe('accepted');
    expect(codeOf(() => parseNote(bytesOf(many(NOTE_SIGNATURES_MAX + 1))))).toBe('too_large');
  });

  test('is refused beyond its bytes', () => {
    const room = NOTE_BYTES_MAX - note.length + TEXT.length - 1;
    const exact = `${'x'.repeat(room)}\n`;
    expect(codeOf(() => parseNote(formatNote({ text: exact, signatures: [line] })))).toBe('accepted');
    expect(codeOf(() => formatNote({ text: `x${exact}`, signatures: [line] }))).toBe('too_large');
  });

  test.each([
    ['no empty line', written.replace('\n\n', '\n')],
    ['no signature', `${TEXT}\n`],
    ['no end of the last line', written.slice(0, -1)],
    ['a carriage return', written.replaceAll('\n', '\r\n')],
    ['a tab in its text', written.replace(' ', '\t')],
    ['a NUL', written.replace(' ', '\0')],
    ['a hyphen for the em dash', written.replace('—', '-')],
    ['two spaces after the dash', written.replace('— ', '—  ')],
    ['two spaces before the signature', written.replace(`${log.vkey.name} `, `${log.vkey.name}  `)],
    ['something after the signature', `${written.slice(0, -1)} x\n`],
    ['a space after the signature', `${written.slice(0, -1)} \n`],
    ['a no-break space in a name', written.replace('example.org', 'example\u00a0org')],
    [
      'a next-line character in a name, which \\s of JavaScript misses',
      written.replace('example.org', 'example\u0085org'),
    ],
    ['a plus in a name', written.replace('example.org', 'example+org')],
    ['no name', written.replace(log.vkey.name, '')],
    ['a line that is no signature among them', `${written}x\n`],
    ['an empty line at its end', `${written}\n`],
    ['base64 without padding', written.replaceAll('=', '')],
    ['base64 of the URL alphabet', written.replace(line.encoded, line.encoded.replace(/[A-Z]/, '-'))],
    [
      'junk in base64, which Buffer skips',
      written.replace(line.encoded, `${line.encoded.slice(0, 8)}!!!!${line.encoded.slice(8)}`),
    ],
    ['a key ID and nothing else', written.replace(line.encoded, 'AAAAAA==')],
    ['no signature bytes', written.replace(line.encoded, '')],
  ])('with %s is refused', (_, text) => {
    expect(text).not.toBe(written);
    expect(codeOf(() => parseNote(bytesOf(text)))).toBe('malformed');
  });

  test.each([
    ['a lone continuation byte', [0x80]],
    ['an overlong newline', [0xc0, 0x8a]],
    ['a surrogate', [0xed, 0xa0, 0x80]],
    ['a code point beyond Unicode', [0xf4, 0x90, 0x80, 0x80]],
  ])('with %s is not UTF-8, and no replacement character is put there', (_, bad) => {
    expect(codeOf(() => parseNote(concatBytes(Uint8Array.from(bad), note)))).toBe('malformed');
    expect(codeOf(() => parseNote(concatBytes(bytesOf('\ufffd'), note)))).toBe('accepted');
  });

  test('is not written where it would not be read again as it is', () => {
    for (const text of ['', 'no end', 'a\ud800\n', 'a\r\n', 'a\tb\n'])
      expect(
        codeOf(() => formatNote({ text, signatures: [line] })),
        JSON.stringify(text),
      ).toBe('malformed');
    expect(codeOf(() => formatNote({ text: TEXT, signatures: [] }))).toBe('malformed');
    expect(codeOf(() => formatNote({ text: TEXT, signatures: [{ ...line, name: 'a b' }] }))).toBe('malformed');
  });
});

describe('verifying a note', () => {
  const withLines = (...lines: string[]): Uint8Array => bytesOf(`${TEXT}\n${lines.join('')}`);
  const asLine = ({ name, encoded }: { name: string; encoded: string }): string => `— ${name} ${encoded}\n`;
  const own = asLine(line);
  const bad = asLine(createSignatureLine(log.vkey, new Uint8Array(64)));

  test('ignores lines of others, also those that share a name or a key ID with a known key', () => {
    const stranger = signLine(logSigner('stranger'), TEXT);
    const sameName = signLine(logSigner(log.vkey.name, 'another key'), TEXT);
    const sameId = { ...line, name: 'other' };
    expect(verify(withLines(asLine(stranger), own, asLine(sameName), asLine(sameId)))).toBe('accepted');
    expect(verify(withLines(asLine(stranger), asLine(sameName), asLine(sameId)))).toBe('not_signed');
    expect(verify(note, [])).toBe('not_signed');
  });

  test('ignores lines of signature types that it does not know, whatever they hold', () => {
    for (const length of [1, 63, 71, 2428]) {
      const foreign = { ...witness.vkey, name: 'mldsa.example', keyId: Uint8Array.of(1, 2, 3, length & 255) };
      expect(verify(withLines(own, asLine(createSignatureLine(foreign, new Uint8Array(length)))))).toBe('accepted');
    }
  });

  test('refuses the whole note for one bad line by a known key, before or after good ones', () => {
    expect(verify(withLines(own, bad))).toBe('bad_signature');
    expect(verify(withLines(bad, own))).toBe('bad_signature');
    expect(verify(withLines(bad))).toBe('bad_signature');
    const cosigned = asLine(cosignLine(witness, 'another text\n', 7));
    expect(verify(withLines(own, cosigned))).toBe('bad_signature');
    expect(verify(withLines(own, cosigned), [log.vkey])).toBe('accepted');
  });

  test('refuses a known line in another spelling of its base64, and ignores such a line of a stranger', () => {
    const last = line.encoded.indexOf('=') - 1;
    const respelt = (encoded: string): string => {
      const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
      return `${encoded.slice(0, last)}${letters.charAt(letters.indexOf(encoded.charAt(last)) + 1)}${encoded.slice(last + 1)}`;
    };
    const twin = respelt(line.encoded);
    expect(Buffer.from(twin, 'base64')).toEqual(Buffer.from(line.encoded, 'base64'));
    const bytes = withLines(asLine({ ...line, encoded: twin }));
    expect(formatNote(parseNote(bytes))).toEqual(bytes);
    expect(verify(bytes)).toBe('bad_signature');
    const stranger = signLine(logSigner('stranger'), TEXT);
    expect(verify(withLines(own, asLine({ ...stranger, encoded: respelt(stranger.encoded) })))).toBe('accepted');
  });

  test("reads a witness's time, up to what a number holds exactly", () => {
    const times = [0, 1, 1_800_000_000, 2 ** 32, 2 ** 53 - 1];
    const lines = times.map((time) => asLine(cosignLine(witness, TEXT, time)));
    const verified = verifyNote(parseNote(withLines(...lines)), [witness.vkey], isSignatureValidSodium);
    expect(verified.map(({ timeSeconds }) => timeSeconds)).toEqual(times);
    // 2^53 is signed for, but a number could not tell it from 2^53 + 1.
    const signature = witness.key.sign(bytesOf(`cosignature/v1\ntime 9007199254740992\n${TEXT}`));
    const late = createSignatureLine(witness.vkey, concatBytes(Uint8Array.of(0, 0x20, 0, 0, 0, 0, 0, 0), signature));
    expect(verify(withLines(asLine(late)))).toBe('bad_signature');
    for (const time of [-1, 0.5, 2 ** 53, Number.NaN])
      expect(codeOf(() => createCosignatureLine(witness.vkey, time, signature))).toBe('malformed');
  });

  test("binds the time, and tells a log's signature from a cosignature", () => {
    const cosigned = cosignLine(witness, TEXT, 1000);
    const moved = Uint8Array.from(cosigned.signature);
    moved[7] = (moved[7] as number) + 1;
    expect(verify(withLines(asLine(createSignatureLine(witness.vkey, moved))))).toBe('bad_signature');
    const asLog = createSignatureLine(witness.vkey, witness.key.sign(noteMessage(TEXT)));
    expect(verify(withLines(asLine(asLog)))).toBe('bad_signature');
    for (const length of [1, 7, 8, 63, 71, 73]) {
      const short = createSignatureLine(witness.vkey, cosigned.signature.slice(0, length));
      const padded = createSignatureLine(
        witness.vkey,
        concatBytes(short.signature, new Uint8Array(length > 71 ? 1 : 0)),
      );
      expect(verify(withLines(asLine(padded))), `${length} bytes`).toBe('bad_signature');
    }
    expect(verify(withLines(asLine(createSignatureLine(log.vkey, cosigned.signature.slice(8)))))).toBe('bad_signature');
  });

  test('gives a line to whichever key verifies it where two keys share a name and ID', () => {
    const twin: Vkey = { ...witness.vkey, name: log.vkey.name, keyId: log.vkey.keyId };
    const verified = verifyNote(parseNote(note), [twin, log.vkey], isSignatureValidSodium);
    expect(verified.map(({ vkey }) => vkey)).toEqual([log.vkey]);
  });

  test('fails for every changed bit of text, key ID or signature', () => {
    for (let bit = 0; bit < 8 * note.length; bit++) {
      const changed = Uint8Array.from(note);
      changed[bit >> 3] = (changed[bit >> 3] as number) ^ (1 << (bit & 7));
      expect(verify(changed), `bit ${bit}`).not.toBe('accepted');
    }
  });
});

describe('a verifier key', () => {
  const text = formatVkey(log.vkey);

  test('is read and written again', () => {
    for (const { vkey } of [log, witness]) expect(parseVkey(formatVkey(vkey))).toEqual(vkey);
    expect(log.vkey.type).toBe(LOG_KEY_TYPE);
    expect(witness.vkey.type).toBe(WITNESS_KEY_TYPE);
    const both = ([LOG_KEY_TYPE, WITNESS_KEY_TYPE] as const).map((type) => createVkey('a', type, log.vkey.publicKey));
    expect(both[0]?.keyId).not.toEqual(both[1]?.keyId);
  });

  test('may have a plus in its base64, and none in its name', () => {
    let plus = 0;
    for (let i = 0; i < 300; i++) {
      const vkey = createVkey('n', LOG_KEY_TYPE, new Uint8Array(32).fill(i & 255, i % 32));
      if (formatVkey(vkey).split('+').length > 3) plus++;
      expect(parseVkey(formatVkey(vkey))).toEqual(vkey);
    }
    expect(plus).toBeGreaterThan(10);
  });

  const [name = '', id = '', key = ''] = text.split('+');
  test.each([
    ['the key ID of another name', `${name}x+${id}+${key}`],
    ['an upper-case key ID', `${name}+${id.toUpperCase()}+${key}`],
    ['a short key ID', `${name}+${id.slice(1)}+${key}`],
    ['no name', `+${id}+${key}`],
    ['a space in its name', `a b+${id}+${key}`],
    ['a space at its end', `${text} `],
    ['a newline at its end', `${text}\n`],
    ['no key', `${name}+${id}+`],
    ['half a key', `${name}+${id}+${key.slice(0, 20)}`],
    ['base64 that is not padded', text.slice(0, -1)],
    ['nothing', ''],
    ['a name of 256 bytes', `${'é'.repeat(128)}+${id}+${key}`],
  ])('with %s is refused', (_, wrong) => {
    expect(wrong).not.toBe(text);
    expect(codeOf(() => parseVkey(wrong))).toBe('malformed');
  });

  test('of another type is refused as such', () => {
    for (const type of [0, 2, 3, 5, 6, 255])
      expect(
        codeOf(() => parseVkey(`x+00000000+${Buffer.from([type, ...log.vkey.publicKey]).toString('base64')}`)),
      ).toBe('key_type');
    expect(codeOf(() => createVkey('x', 6 as VkeyType, log.vkey.publicKey))).toBe('key_type');
    expect(codeOf(() => createVkey('x', LOG_KEY_TYPE, new Uint8Array(31)))).toBe('malformed');
    expect(codeOf(() => createVkey('é'.repeat(128), LOG_KEY_TYPE, log.vkey.publicKey))).toBe('malformed');
    expect(codeOf(() => createVkey(`${'é'.repeat(127)}x`, LOG_KEY_TYPE, log.vkey.publicKey))).toBe('accepted');
    expect(codeOf(() => createVkey('\u0001', LOG_KEY_TYPE, log.vkey.publicKey))).toBe('malformed');
  });

  test('has a name without what Unicode calls white space', () => {
    const spaces = '\t\n\v\f\r \u0085\u00a0\u1680\u2000\u200a\u2028\u2029\u202f\u205f\u3000';
    for (const space of spaces) expect(isKeyName(`a${space}b`), JSON.stringify(space)).toBe(false);
    for (const other of ['a', '\ufeff', '\u200b', 'K', '名', '𝒜']) expect(isKeyName(other)).toBe(true);
    for (const other of ['', 'a+b', '\ud800']) expect(isKeyName(other)).toBe(false);
  });
});

describeWithShared('vectors/tlog', 'the published vectors', (folder) => {
  const read = (name: string): unknown => JSON.parse(readFileSync(join(folder, name), 'utf8'));

  test('of real checkpoints verify under every key that they name', () => {
    const { cases } = read('checkpoints-real.json') as {
      cases: { origin: string; size: number; note: string; verifiedBy: string[] }[];
    };
    expect(cases).toHaveLength(14);
    let times = 0;
    for (const each of cases) {
      const { checkpoint, note: parsed } = parseCheckpoint(bytesOf(each.note));
      expect(checkpoint).toMatchObject({ origin: each.origin, treeSize: each.size });
      expect(textOf(formatNote(parsed))).toBe(each.note);
      for (const isSignatureValid of [isSignatureValidSodium, isSignatureValidPure]) {
        const verified = verifyNote(parsed, each.verifiedBy.map(parseVkey), isSignatureValid);
        expect(verified.map(({ vkey }) => formatVkey(vkey)).sort()).toEqual([...each.verifiedBy].sort());
        times += verified.filter(({ timeSeconds = 0 }) => timeSeconds > 1_700_000_000).length;
      }
      const spoilt = { ...parsed, text: parsed.text.replace(String(each.size), String(each.size + 1)) };
      expect(codeOf(() => verifyNote(spoilt, each.verifiedBy.map(parseVkey), isSignatureValidSodium))).toBe(
        'bad_signature',
      );
    }
    expect(times).toBe(6);
  });

  test('of Rekor: an Ed25519 line verifies or not as stated, and ECDSA keys are of no type known here', () => {
    const { cases } = read('rekor-entries.json') as {
      cases: { name: string; checkpoint: string; keys: string[]; expect: { logSignatureValid: boolean } }[];
    };
    const seen = { ed25519: 0, ecdsa: 0, unsigned: 0 };
    for (const each of cases) {
      const types = each.keys.map((key) => codeOf(() => parseVkey(key)));
      const vkeys = each.keys.filter((_, i) => types[i] === 'accepted').map(parseVkey);
      expect(types.filter((code) => code !== 'accepted' && code !== 'key_type')).toEqual([]);
      const verdict = verify(bytesOf(each.checkpoint), vkeys);
      const names = vkeys.map(({ name }) => name);
      const isEd25519 = each.checkpoint.split('\n').some((row) => names.includes(row.split(' ')[1] ?? ''));
      if (isEd25519) seen.ed25519++;
      else if (verdict === 'malformed') seen.unsigned++;
      else seen.ecdsa++;
      if (isEd25519) expect(verdict === 'accepted', each.name).toBe(each.expect.logSignatureValid);
      else expect(verdict, each.name).toMatch(/^(?:not_signed|malformed)$/);
    }
    expect(seen).toEqual({ ed25519: 12, ecdsa: 15, unsigned: 1 });
  });

  test("of odd Ed25519 signatures: in notes, those accepted are a subset of Go's", () => {
    const cases = read('ed25519-edge-cases.json') as { key: string; sig: string; msg: string; accept: boolean }[];
    expect(cases).toHaveLength(437);
    const hex = (text: string): Uint8Array => fromHex(text) ?? new Uint8Array();
    const accepted = cases.filter(({ key, sig, msg }) => {
      const vkey = createVkey('log', LOG_KEY_TYPE, hex(key));
      const crafted = { text: msg, signatures: [createSignatureLine(vkey, hex(sig))] };
      const verdicts = [isSignatureValidSodium, isSignatureValidPure].map((isValid) =>
        codeOf(() => verifyNote(crafted, [vkey], isValid)),
      );
      expect(verdicts[0]).toBe(verdicts[1]);
      return verdicts[0] === 'accepted';
    });
    expect(accepted.every(({ accept }) => accept)).toBe(true);
    expect(accepted).toHaveLength(21);
    expect(cases.filter(({ accept }) => accept)).toHaveLength(104);
  });

  test('of the witness network: every log key of its list has the key ID that it states', () => {
    const keys = readFileSync(join(folder, 'witness-network-log-list.1'), 'utf8').match(/(?<=^vkey ).+$/gm) ?? [];
    expect(keys.length).toBeGreaterThan(7);
    for (const key of keys) expect(formatVkey(parseVkey(key))).toBe(key);
  });
});
