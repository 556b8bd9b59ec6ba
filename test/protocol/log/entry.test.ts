import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fromBase64url, fromHex, toBase64url, toHex } from '../../../protocol/encoding/bytes.ts';
import { digestOf } from '../../../protocol/encoding/cid.ts';
import { encodeJcs, type Json, type JsonObject } from '../../../protocol/encoding/jcs.ts';
import { LOG_ENTRY_BYTES_MAX, LOG_ENTRY_OWN_BYTES_MAX, LOG_TEXT_MAX } from '../../../protocol/limits.ts';
import {
  commitmentOf,
  createEntry,
  type EntryFields,
  isOfType,
  parseEntry,
  parseUuid7,
  verifyEntry,
} from '../../../protocol/log/index.ts';
import { isSignatureValidPure } from '../../../protocol/signature.ts';
import { isSignatureValidSodium } from '../../../protocol/sodium.ts';
import { NOW_MS } from '../../builders.ts';
import { mutateBytes } from '../../fuzz/mutate.ts';
import { seededRandom, suiteSeed } from '../../fuzz/random.ts';
import { acme, actionEntry, agent, beta, entryOf, HASH, idOf, rootLink, SAMPLES, TRACE } from './entry-sample.ts';
import { codeOf, textOf } from './sample.ts';

const SEED = suiteSeed(20261122);
const samples = Object.entries(SAMPLES);
const action = actionEntry();

type Changes = { readonly [name: string]: Json | undefined };
/** The entry's object with members of its envelope and of its data changed (undefined: left out), in canonical bytes. */
function changed(envelope: Changes, data: Changes = {}, of = action): Uint8Array {
  const object = JSON.parse(textOf(of.bytes)) as JsonObject & { readonly data: JsonObject };
  return encodeJcs(clean({ ...object, data: clean({ ...object.data, ...data }), ...envelope }));
}
const clean = (object: Changes): JsonObject =>
  Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as JsonObject;
const parsing = (envelope: Changes, data?: Changes, of?: typeof action): string =>
  codeOf(() => parseEntry(changed(envelope, data, of)));
const verifying = (bytes: Uint8Array): string => codeOf(() => verifyEntry(parseEntry(bytes), isSignatureValidSodium));
const sigOf = (): JsonObject => ({ ...action.entry.data.sig });

describe('an entry', () => {
  test.each(samples)('of type %s is read as it was written, and its signature verifies', (_, made) => {
    const parsed = parseEntry(made.bytes);
    expect(parsed.entry).toEqual(made.entry);
    expect(parsed.id16).toEqual(made.id16);
    expect(toHex(encodeJcs(parsed.entry))).toBe(toHex(made.bytes));
    for (const isValid of [isSignatureValidSodium, isSignatureValidPure]) verifyEntry(parsed, isValid);
  });

  test('is a CloudEvent with the bytes that a reader expects', () => {
    const { sig } = action.entry.data.sig;
    expect(textOf(action.bytes)).toBe(
      `{"data":{"actor":"${agent.did}","facts":{"rows":12,"table":"orders"},"op":"execute_tool","phase":"outcome",` +
        `"principal":"${action.entry.data.principal}",` +
        `"sig":{"kid":"${agent.keys.sign.text}","sig":"${sig}"},"tool":"sql.query","trace":"${TRACE}"},` +
        `"datacontenttype":"application/json","id":"${idOf(0)}","source":"${acme.did}","specversion":"1.0",` +
        `"time":"2026-11-18T11:06:40.000Z","type":"agentmesh.agent.action.v1"}`,
    );
  });

  test('is signed over its canonical JSON without the signature, under the context of entries', () => {
    const { sig, ...data } = action.entry.data;
    const message = Buffer.concat([Buffer.from('AgentMesh/entry/v1\0'), encodeJcs({ ...action.entry, data })]);
    expect(fromBase64url(sig.sig)).toEqual(agent.keys.sign.sign(message));
  });

  test('knows its type', () => {
    const { entry } = parseEntry(SAMPLES['session.ended'].bytes);
    expect(isOfType(entry, 'session.ended') && entry.data.code).toBe('expired');
    expect(isOfType(entry, 'session.opened')).toBe(false);
  });

  test('may be of a type of somebody else, with facts alone', () => {
    const made = createEntry(
      {
        id: idOf(1),
        source: acme.did,
        timeMs: NOW_MS,
        type: 'com.example.order.paid',
        subject: 'order 7',
        data: { actor: agent.did, phase: 'intent', facts: { order: 7, lines: [{ sku: 'x', tags: [null, true] }] } },
      },
      agent.keys.sign,
    );
    const parsed = parseEntry(made.bytes);
    expect(parsed.entry.subject).toBe('order 7');
    verifyEntry(parsed, isSignatureValidSodium);
    expect(parsing({}, { facts: undefined }, made)).toBe('accepted');
    expect(parsing({}, { order: 7 }, made)).toBe('schema');
    expect(parsing({}, { facts: [1] }, made)).toBe('schema');
    expect(parsing({}, { facts: null }, made)).toBe('schema');
    expect(parsing({}, { facts: 'x' }, made)).toBe('schema');
    expect(parsing({}, { facts: JSON.parse('{"a":[{"__proto__":1}]}') as Json }, made)).toBe('schema');
  });

  test('leaves out what its writer leaves undefined', () => {
    const made = entryOf('daemon.started', { version: '1' }, { trace: undefined, peer: undefined } as object);
    expect(textOf(made.bytes)).not.toContain('trace');
    expect(parseEntry(made.bytes).entry).toEqual(made.entry);
  });
});

describe('parseEntry() refuses', () => {
  test.each<[string, Changes, Changes?]>([
    ['an unknown member beside data', { extra: 1 }],
    ['an unknown member in data', {}, { extra: 1 }],
    ['a member of another type', {}, { status: 'active' }],
    ['no specversion', { specversion: undefined }],
    ['another specversion', { specversion: '1.1' }],
    ['another datacontenttype', { datacontenttype: 'text/plain' }],
    ['a time without milliseconds', { time: '2026-11-18T11:06:40Z' }],
    ['a time in another zone', { time: '2026-11-18T11:06:40.000+00:00' }],
    ['a day that there was not', { time: '2026-02-30T11:06:40.000Z' }],
    ['the hour 24', { time: '2026-11-18T24:00:00.000Z' }],
    ['a leap second', { time: '2016-12-31T23:59:60.000Z' }],
    ['a time as a number', { time: 1 }],
    ['an id that is no UUID', { id: 'x' }],
    ['a UUID of version 4', { id: '01a1ee56-5e00-4505-8505-050505050505' }],
    ['a UUID of another variant', { id: '01a1ee56-5e00-7505-c505-050505050505' }],
    ['a UUID in capitals', { id: '01A1EE56-5E00-7505-8505-050505050505' }],
    ['a source that is no did:mesh', { source: `did:key:${agent.keys.sign.text}` }],
    ['an empty subject', { subject: '' }],
    ['a long subject', { subject: 'x'.repeat(LOG_TEXT_MAX + 1) }],
    ['data that is a list', { data: [] }],
    ['data that is null', { data: null }],
    ['no actor', {}, { actor: undefined }],
    ['an actor that is no DID', {}, { actor: 'worker' }],
    ['no phase', {}, { phase: undefined }],
    ['an unknown phase', {}, { phase: 'begin' }],
    ['an intent that names an intent', {}, { phase: 'intent', intent: idOf(1) }],
    ['an intent with a result', {}, { phase: 'intent', result: { code: 'ok' } }],
    ['an unknown result', {}, { result: { code: 'OK' } }],
    ['a result with more', {}, { result: { code: 'ok', extra: 1 } }],
    ['a trace of zeros', {}, { trace: '0'.repeat(32) }],
    ['a trace in capitals', {}, { trace: TRACE.toUpperCase() }],
    ['a short trace', {}, { trace: TRACE.slice(2) }],
    ['a short session', {}, { session: 'ab' }],
    ['an empty op', {}, { op: '' }],
    ['a long tool', {}, { tool: 'x'.repeat(LOG_TEXT_MAX + 1) }],
    ['a delegation without its chain', {}, { delegation: { leaf: rootLink.id } }],
    ['a delegation whose leaf is a DID', {}, { delegation: { chain: HASH, leaf: agent.did } }],
    ['a policy without its rule', {}, { policy: { hash: HASH, version: '1', decision: 'allow' } }],
    ['a commitment of 31 bytes', {}, { in: toBase64url(new Uint8Array(31)) }],
    ['a commitment with padding', {}, { in: `${toBase64url(new Uint8Array(32))}=` }],
    ['a commitment whose last bits are not zero', {}, { out: `${'A'.repeat(42)}B` }],
    ['a score above the scale', {}, { trust: { peer: beta.did, before: 300, after: 1001, cause: 'x' } }],
    ['a score that is no integer', {}, { trust: { peer: beta.did, before: '1', after: 1, cause: 'x' } }],
    ['no signature', {}, { sig: undefined }],
    ['a signature with more', {}, { sig: { ...sigOf(), alg: 'EdDSA' } }],
    ['a signature without its key', {}, { sig: { sig: sigOf().sig as Json } }],
    ['a key as a DID URL', {}, { sig: { ...sigOf(), kid: `${agent.did}#key-1` } }],
    ['a key of another kind', {}, { sig: { ...sigOf(), kid: 'zDnaerDaTF5BXEavCrfRZEk316dpbLsfPDZ3WJ5hRTPFU2169' } }],
    ['a signature of 63 bytes', {}, { sig: { ...sigOf(), sig: toBase64url(new Uint8Array(63)) } }],
    ['a signature whose last bits are not zero', {}, { sig: { ...sigOf(), sig: `${'A'.repeat(85)}B` } }],
    ['a type of AgentMesh that there is not', { type: 'agentmesh.agent.vanished.v1' }],
    ['a type of AgentMesh in another version', { type: 'agentmesh.agent.action.v2' }],
    ['a type of AgentMesh without its version', { type: 'agentmesh.agent.action' }],
    ['a type with two words', { type: 'example.paid' }],
    ['a type with an empty word', { type: 'com..paid' }],
    ['a type that is a URL', { type: 'https://example.com/paid' }],
    ['a type with a line end', { type: 'com.example.paid\n' }],
    ['a long type', { type: `com.example.${'x'.repeat(60)}.${'y'.repeat(60)}` }],
    ['an empty type', { type: '' }],
  ])('%s', (_, envelope, data) => {
    expect(parsing({}, {})).toBe('accepted');
    expect(parsing(envelope, data)).toBe('schema');
  });

  test.each(samples)('%s without any one of its members, or with one of another kind', (_, made) => {
    const optional = new Set([
      'intent',
      'principal',
      'peer',
      'session',
      'trace',
      'op',
      'tool',
      'delegation',
      'in',
      'result',
    ]);
    const ownOptional = new Set([
      'previous',
      'place',
      'reason',
      'omitted',
      'facts',
      'as',
      'id',
      'peerId',
      'address',
      'purpose',
      'lost',
      'action',
      'server',
      'labels',
      'approval',
      'calls',
      'refused',
      'bytesIn',
      'bytesOut',
      'url',
    ]);
    const { data } = JSON.parse(textOf(made.bytes)) as { data: JsonObject };
    for (const member of Object.keys(data)) {
      for (const wrong of [{}, true, 'no such', -1]) {
        const isFine = isSameKind(wrong, data[member] as Json, member);
        if (!isFine)
          expect(parsing({}, { [member]: wrong }, made), `${member}: ${JSON.stringify(wrong)}`).toBe('schema');
      }
      const code = parsing({}, { [member]: undefined }, made);
      if (code !== 'schema') expect([...optional, ...ownOptional], member).toContain(member);
    }
  });

  test('an entry that is not canonical', () => {
    const text = textOf(action.bytes);
    for (const other of [`${text}\n`, ` ${text}`, text.replace(':', ': '), text.replace('"rows":12', '"rows":12.0')])
      expect(
        codeOf(() => parseEntry(Buffer.from(other))),
        other.slice(0, 20),
      ).toBe('noncanonical');
  });

  test('what is no JSON, no UTF-8 or no object', () => {
    expect(codeOf(() => parseEntry(new Uint8Array()))).toBe('malformed');
    expect(codeOf(() => parseEntry(action.bytes.subarray(1)))).toBe('malformed');
    expect(codeOf(() => parseEntry(Uint8Array.of(0x22, 0xff, 0x22)))).toBe('malformed');
    for (const text of ['[]', 'null', '1', '""', '{}'])
      expect(
        codeOf(() => parseEntry(Buffer.from(text))),
        text,
      ).toBe('schema');
  });

  test('fractions, wherever they are', () => {
    const text = textOf(action.bytes).replace('"rows":12', '"rows":12.5');
    expect(codeOf(() => parseEntry(Buffer.from(text)))).toBe('malformed');
  });

  test('a byte more than 60 KiB, which a bundle could still hold', () => {
    expect(LOG_ENTRY_OWN_BYTES_MAX).toBeLessThan(LOG_ENTRY_BYTES_MAX);
    const room = LOG_ENTRY_OWN_BYTES_MAX - changed({}, { facts: { text: '' } }).length;
    expect(changed({}, { facts: { text: 'x'.repeat(room) } }).length).toBe(LOG_ENTRY_OWN_BYTES_MAX);
    expect(parsing({}, { facts: { text: 'x'.repeat(room) } })).toBe('accepted');
    expect(parsing({}, { facts: { text: 'x'.repeat(room + 1) } })).toBe('too_large');
  });
});

/** Whether a value stands where others like it may stand as well. */
const FREE_TEXTS = new Set('op tool version reason message place basis address purpose action server name'.split(' '));
function isSameKind(wrong: Json, right: Json, member: string): boolean {
  if (member === 'facts') return typeof wrong === 'object';
  if (typeof wrong === 'string' && typeof right === 'string') return FREE_TEXTS.has(member);
  return typeof wrong === 'boolean' && typeof right === 'boolean';
}

describe('a signature', () => {
  test('does not outlive a change of any member', () => {
    const others: [Changes, Changes?][] = [
      [{ id: idOf(9) }],
      [{ source: beta.did }],
      [{ time: '2026-11-18T11:06:40.001Z' }],
      [{ subject: 'x' }],
      [{ type: 'com.example.action' }],
      [{}, { actor: beta.did }],
      [{}, { phase: 'intent' }],
      [{}, { principal: undefined }],
      [{}, { op: 'execute_tools' }],
      [{}, { facts: { rows: 13, table: 'orders' } }],
      [{}, { sig: { ...sigOf(), kid: acme.keys.sign.text } }],
      [{}, { sig: { ...sigOf(), sig: toBase64url(new Uint8Array(64)) } }],
    ];
    expect(verifying(action.bytes)).toBe('accepted');
    for (const [envelope, data] of others)
      expect(verifying(changed(envelope, data)), JSON.stringify([envelope, data])).toBe('bad_signature');
  });

  test('of another context is none', () => {
    const { sig, ...data } = action.entry.data;
    expect(sig.kid).toBe(agent.keys.sign.text);
    const message = Buffer.concat([Buffer.from('AgentMesh/login/v1\0'), encodeJcs({ ...action.entry, data })]);
    const forged = { kid: sig.kid, sig: toBase64url(agent.keys.sign.sign(message)) };
    expect(verifying(changed({}, { sig: forged }))).toBe('bad_signature');
  });

  test('holds for no other bytes: of mutated entries only the entry itself verifies', () => {
    const random = seededRandom(SEED);
    const corpus = samples.map(([, { bytes }]) => bytes);
    const codes = new Map<string, number>();
    for (let i = 0; i < 4_000; i++) {
      const bytes = random.pick(corpus);
      const mutated = mutateBytes(bytes, random, corpus);
      const code = verifying(mutated);
      if (code === 'accepted') expect(corpus.map(toHex), `seed ${SEED}`).toContain(toHex(mutated));
      codes.set(code, (codes.get(code) ?? 0) + 1);
    }
    for (const code of ['malformed', 'noncanonical', 'schema', 'bad_signature'])
      expect(codes.get(code) ?? 0, `${code}, seed ${SEED}`).toBeGreaterThan(10);
  });

  test('of one bit changed in a letter never verifies', () => {
    const { bytes } = SAMPLES['fork.proven'];
    for (let at = 0; at < bytes.length; at++) {
      const other = Uint8Array.from(bytes);
      other[at] = (other[at] as number) ^ 1;
      expect(verifying(other), `byte ${at}`).not.toBe('accepted');
    }
  });
});

describe('createEntry() refuses', () => {
  const fields: EntryFields<'agentmesh.agent.action.v1'> = {
    id: idOf(0),
    source: acme.did,
    timeMs: NOW_MS,
    type: 'agentmesh.agent.action.v1',
    data: { actor: agent.did, phase: 'outcome' },
  };
  const creating = (change: object): string => codeOf(() => createEntry({ ...fields, ...change }, agent.keys.sign));

  test.each([
    ['what parseEntry() would', { id: 'x' }, 'schema'],
    ['a member that its type lacks', { data: { ...fields.data, status: 'active' } }, 'schema'],
    ['a type of ours that there is not', { type: 'agentmesh.agent.sneezed.v1' }, 'schema'],
    ['a time that is none', { timeMs: Number.NaN }, 'schema'],
    ['a time beyond the year 9999', { timeMs: 253_402_300_800_000 }, 'schema'],
    ['a time before the year 0', { timeMs: -62_167_219_200_001 }, 'schema'],
    ['facts with a fraction', { data: { ...fields.data, facts: { x: 0.5 } } }, 'malformed'],
    ['facts that JSON has not', { data: { ...fields.data, facts: { x: new Date(0) } } }, 'malformed'],
    ['more than 60 KiB', { data: { ...fields.data, facts: { x: 'x'.repeat(LOG_ENTRY_OWN_BYTES_MAX) } } }, 'too_large'],
  ])('%s', (_, change, code) => {
    expect(creating({})).toBe('accepted');
    expect(creating(change)).toBe(code);
  });

  test('a byte more than 60 KiB', () => {
    const size = (letters: number): number =>
      createEntry({ ...fields, data: { ...fields.data, facts: { x: 'x'.repeat(letters) } } }, agent.keys.sign).bytes
        .length;
    const most = LOG_ENTRY_OWN_BYTES_MAX - size(0);
    expect(size(most)).toBe(LOG_ENTRY_OWN_BYTES_MAX);
    expect(codeOf(() => size(most + 1))).toBe('too_large');
  });

  test('nothing that it wrote itself: whatever it makes is parsed to the same', () => {
    const facts = fc.dictionary(
      fc.string({ unit: 'binary', maxLength: 5 }).filter((name) => name !== '__proto__'),
      fc.oneof(fc.maxSafeInteger(), fc.string({ unit: 'binary', maxLength: 9 }), fc.boolean(), fc.constant(null)),
      { maxKeys: 5, noNullPrototype: true },
    );
    fc.assert(
      fc.property(facts, fc.integer({ min: 0, max: 253_402_300_799_999 }), (value, timeMs) => {
        const data = { ...fields.data, facts: value as JsonObject };
        const made = createEntry({ ...fields, timeMs, data }, agent.keys.sign);
        const parsed = parseEntry(made.bytes);
        expect(Date.parse(parsed.entry.time)).toBe(timeMs);
        expect(toHex(encodeJcs(parsed.entry))).toBe(toHex(made.bytes));
        verifyEntry(parsed, isSignatureValidSodium);
      }),
      { seed: SEED, numRuns: 100 },
    );
  });
});

describe('a commitment', () => {
  test('is the SHA-256 of salt and bytes, in base64url', () => {
    const salt = new Uint8Array(32).fill(1);
    const bytes = Buffer.from('SELECT 1');
    expect(commitmentOf(salt, bytes)).toBe(toBase64url(digestOf(Buffer.concat([salt, bytes]))));
    expect(commitmentOf(salt, new Uint8Array())).toBe('cs1uhCLEB_ttCYaQ8RMLfe1-wvf14dML2dUh8BU2N5M');
    expect(commitmentOf(new Uint8Array(32), bytes)).not.toBe(commitmentOf(salt, bytes));
    expect(parsing({}, { in: commitmentOf(salt, bytes), out: commitmentOf(salt, salt) })).toBe('accepted');
  });

  test.each([0, 31, 33])('refuses a salt of %i bytes', (length) => {
    expect(codeOf(() => commitmentOf(new Uint8Array(length), new Uint8Array()))).toBe('malformed');
  });
});

test('the id of an entry is the 16 bytes of its UUID', () => {
  expect(toHex(action.id16)).toBe(idOf(0).replaceAll('-', ''));
  expect(parseUuid7(idOf(0)).timeMs).toBe(NOW_MS);
  expect(fromHex(idOf(0).replaceAll('-', ''))).toEqual(action.id16);
});
