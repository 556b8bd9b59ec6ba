/** Vectors of audit entries: bytes to parse and verify, and short logs whose entries show, or do not show, whose keys sign. */
import {
  encodeCbor,
  encodeJcs,
  isMeshError,
  type Json,
  type JsonObject,
  limits,
  signedBytes,
  toBase64url,
  toHex,
} from '../../protocol/index.ts';
import {
  createEntry,
  EntrySigners,
  ENTRY_TYPE_NAMES,
  leafHash,
  type ParsedEntry,
  parseEntry,
  verifyEntry,
} from '../../protocol/log/index.ts';
import { isSignatureValidSodium } from '../../protocol/sodium.ts';
import { createAgent, createCredential, createRotate, keySet, NOW_MS, NOW_SECONDS, type TestKey } from '../builders.ts';
import {
  acme,
  actionEntry,
  agent,
  alice,
  beta,
  credential,
  credentialEntry,
  entryOf,
  ephemeral,
  idOf,
  opened,
  operationEntry,
  rootLink,
  SAMPLES,
  TRACE,
} from '../protocol/log/entry-sample.ts';
import type { InvalidVector, ValidVector, VectorSet } from './vectors.ts';

const SOURCE = 'Audit entries';
const utf8 = new TextEncoder();
const textOf = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

export interface EntryVector {
  /** Entries of the log before it, in order. Absent: only the entry itself is looked at. */
  readonly before?: readonly string[];
  readonly entryBytes: string;
}

/** The code with which the entry of a vector, or one before it, is refused. */
export function refusalOfEntry({ before, entryBytes }: EntryVector): string | undefined {
  try {
    signedByOf({ before: before ?? [], entryBytes }, before !== undefined);
    return undefined;
  } catch (error) {
    if (isMeshError(error)) return error.code;
    throw error;
  }
}

/** The DID whose key signed the entry, by what the log shows before it. */
export function signedByOf({ before = [], entryBytes }: EntryVector, isLog = true): string {
  const signers = new EntrySigners(isSignatureValidSodium);
  let signedBy = '';
  for (const bytes of [...before, entryBytes]) {
    const parsed = parseEntry(Uint8Array.from(Buffer.from(bytes, 'hex')));
    verifyEntry(parsed, isSignatureValidSodium);
    if (isLog) signedBy = signers.read(parsed);
  }
  if (isLog) signers.end();
  return signedBy;
}

const unsigned = ({ entry }: ParsedEntry): Uint8Array => {
  const { sig: _, ...data } = entry.data;
  return encodeJcs({ ...entry, data });
};
const valid = (made: ParsedEntry): ValidVector => ({
  source: SOURCE,
  type: made.entry.type,
  id: made.entry.id,
  idBytes: toHex(made.id16),
  key: made.entry.data.sig.kid,
  signedBytes: toHex(signedBytes('entry', unsigned(made))),
  entry: textOf(made.bytes),
  entryBytes: toHex(made.bytes),
  leafHash: toHex(leafHash(made.bytes)),
});
const hexOf = (entries: readonly ParsedEntry[]): string[] => entries.map(({ bytes }) => toHex(bytes));
const shown = (signedBy: string, before: readonly ParsedEntry[], made: ParsedEntry): ValidVector => ({
  source: SOURCE,
  before: hexOf(before),
  entryBytes: toHex(made.bytes),
  signedBy,
});
const notShown = (code: string, before: readonly ParsedEntry[], made: ParsedEntry): InvalidVector => ({
  source: SOURCE,
  code,
  before: hexOf(before),
  entryBytes: toHex(made.bytes),
});
const refused = (code: string, bytes: Uint8Array): InvalidVector => ({
  source: SOURCE,
  code,
  entryBytes: toHex(bytes),
});
const text = (code: string, of: string): InvalidVector => refused(code, utf8.encode(of));

type Changes = { readonly [name: string]: Json | undefined };
const object = (made: ParsedEntry): JsonObject & { readonly data: JsonObject } => JSON.parse(textOf(made.bytes));
const clean = (from: Changes): JsonObject =>
  Object.fromEntries(Object.entries(from).filter(([, value]) => value !== undefined)) as JsonObject;

/** With members changed (undefined: left out) and signed all the same, so that nothing but the schema refuses it. */
function resigned(envelope: Changes, data: Changes = {}, key: TestKey = agent.keys.sign): Uint8Array {
  const { data: before, ...rest } = object(action);
  const { sig: _, ...members } = before;
  const inner = clean({ ...members, ...data });
  const whole = clean({ ...rest, ...envelope });
  const sig = toBase64url(key.sign(signedBytes('entry', encodeJcs({ ...whole, data: inner }))));
  return encodeJcs({ ...whole, data: { ...inner, sig: { kid: key.text, sig } } });
}
const schema = (envelope: Changes, data?: Changes): InvalidVector => refused('schema', resigned(envelope, data));

const action = actionEntry();
const written = textOf(action.bytes);
const foreign = createEntry(
  {
    id: idOf(40),
    source: acme.did,
    timeMs: NOW_MS,
    type: 'com.example.order.paid',
    subject: 'order 7',
    data: { actor: agent.did, phase: 'intent', facts: { '10': 1, '2': [null, true], '€': 'ü\n"\\', '\u{1f600}': 0 } },
  },
  agent.keys.sign,
);
const full = entryOf(
  'agent.action',
  { facts: {} },
  {
    actor: agent.did,
    intent: idOf(41),
    principal: alice.did,
    peer: beta.did,
    session: '0f'.repeat(16),
    trace: TRACE,
    op: 'execute_tool',
    tool: 'sql.query',
    delegation: { chain: '5c'.repeat(32), leaf: credential.id },
    policy: { hash: '6d'.repeat(32), version: '3', rule: null, decision: 'allow' },
    in: toBase64url(new Uint8Array(32).fill(1)),
    out: toBase64url(new Uint8Array(32).fill(2)),
    trust: { peer: beta.did, before: 300, after: 310, cause: 'task done' },
    result: { code: 'timeout', message: 'no answer after 5 s' },
  },
  { n: 42, key: agent.keys.sign, subject: 'invoice 12' },
);

const opening = [opened(), operationEntry(acme.genesis, acme.did)];
const known = [...opening, operationEntry(alice.genesis, alice.did), operationEntry(agent.genesis, agent.did)];
const started = (key?: TestKey): ParsedEntry =>
  entryOf('daemon.started', { version: '1' }, {}, { n: 50, ...(key !== undefined && { key }) });
const rotation = operationEntry(createRotate(acme, 'acme second'), acme.did, { n: 51 });
const second = keySet('acme second').sign;
const smuggled = createAgent(acme, 'smuggled', { controllerKey: acme.keys.auth });
const byEphemeral = (seconds: number): ParsedEntry =>
  actionEntry({ n: 52, key: ephemeral, timeMs: (NOW_SECONDS + seconds) * 1000 });

export const entryVectors: VectorSet = {
  valid: {
    ...Object.fromEntries(ENTRY_TYPE_NAMES.map((type) => [`type-${type.replace('.', '-')}`, valid(SAMPLES[type])])),
    'type-of-another-maker': valid(foreign),
    'every-member': valid(full),
    'log-of-nothing-but-its-opening': shown(acme.did, opening.slice(0, 1), opening[1] as ParsedEntry),
    'log-organisation-signs-for-the-daemon': shown(acme.did, known, started()),
    'log-agent-signs-for-itself': shown(agent.did, known, action),
    'log-agent-signs-by-its-credential': shown(agent.did, [...known, credentialEntry()], byEphemeral(960)),
    'log-key-of-a-rotation': shown(acme.did, [...known, rotation], started(second)),
    'log-key-before-a-rotation': shown(acme.did, [...known, rotation], started()),
  },
  invalid: {
    // Bytes
    'no-bytes': refused('malformed', new Uint8Array()),
    'byte-after-the-entry': text('noncanonical', `${written}\n`),
    'byte-order-mark': text('malformed', `\ufeff${written}`),
    'no-utf-8': refused(
      'malformed',
      Uint8Array.from([...action.bytes.subarray(0, 20), 0xff, ...action.bytes.subarray(21)]),
    ),
    'white-space': text('noncanonical', written.replace(':', ': ')),
    'members-out-of-order': text('noncanonical', JSON.stringify({ type: action.entry.type, ...object(action) })),
    'member-twice': text('noncanonical', written.replace('"op":', '"op":"execute_tool","op":')),
    'escape-that-needs-not-be': text('noncanonical', written.replace('"rows"', '"\\u0072ows"')),
    'integer-with-a-fraction': text('noncanonical', written.replace(':12,', ':12.0,')),
    'minus-zero': text('noncanonical', written.replace(':12,', ':-0,')),
    'a-fraction': text('malformed', written.replace(':12,', ':12.5,')),
    'integer-of-2-53': text('malformed', written.replace(':12,', ':9007199254740992,')),
    'lone-surrogate': text('malformed', written.replace('"orders"', '"\\ud800"')),
    'nested-too-deep': text('too_large', written.replace(':12,', `:${'['.repeat(14)}${']'.repeat(14)},`)),
    'beyond-60-kib': refused(
      'too_large',
      resigned({}, { facts: { text: 'x'.repeat(limits.LOG_ENTRY_OWN_BYTES_MAX) } }),
    ),
    'a-list': text('schema', '[]'),
    // Members
    'unknown-member': schema({ dataschema: 'https://example.com' }),
    'unknown-member-of-data': schema({}, { score: 1 }),
    'no-id': schema({ id: undefined }),
    'id-of-version-4': schema({ id: '01a1ee56-5e00-4505-8505-050505050505' }),
    'id-in-capitals': schema({ id: idOf(0).toUpperCase() }),
    'specversion-0-3': schema({ specversion: '0.3' }),
    'another-content-type': schema({ datacontenttype: 'application/json; charset=utf-8' }),
    'source-that-is-no-did-mesh': schema({ source: `did:key:${acme.keys.sign.text}` }),
    'time-without-milliseconds': schema({ time: '2026-11-18T11:06:40Z' }),
    'time-with-an-offset': schema({ time: '2026-11-18T12:06:40.000+01:00' }),
    'time-on-the-30th-of-february': schema({ time: '2026-02-30T11:06:40.000Z' }),
    'empty-subject': schema({ subject: '' }),
    'unknown-type-of-ours': schema({ type: 'agentmesh.agent.vanished.v1' }),
    'type-of-two-words': schema({ type: 'example.paid' }),
    'facts-that-are-a-list': schema({}, { facts: [] }),
    'facts-with-a-proto': refused(
      'schema',
      resigned({}, { facts: JSON.parse('{"__proto__":{"admin":true}}') as JsonObject }),
    ),
    'no-actor': schema({}, { actor: undefined }),
    'unknown-phase': schema({}, { phase: 'done' }),
    'intent-with-a-result': schema({}, { phase: 'intent', result: { code: 'ok' } }),
    'unknown-error-code': schema({}, { result: { code: 'oops' } }),
    'trace-of-zeros': schema({}, { trace: '0'.repeat(32) }),
    'commitment-with-other-last-bits': schema({}, { in: `${'A'.repeat(42)}B` }),
    'score-of-1001': schema({}, { trust: { peer: beta.did, before: 0, after: 1001, cause: 'x' } }),
    'null-for-an-absent-member': schema({}, { tool: null }),
    'no-signature': refused(
      'schema',
      encodeJcs({ ...object(action), data: clean({ ...object(action).data, sig: undefined }) }),
    ),
    // Signatures
    'changed-after-signing': text('bad_signature', written.replace('"rows":12', '"rows":13')),
    'signed-as-a-login': refused(
      'bad_signature',
      (() => {
        const sig = toBase64url(agent.keys.sign.sign(signedBytes('login', unsigned(action))));
        const { data, ...rest } = object(action);
        return encodeJcs({ ...rest, data: { ...data, sig: { kid: agent.keys.sign.text, sig } } });
      })(),
    ),
    'signed-by-another-key-than-named': text(
      'bad_signature',
      written.replace(agent.keys.sign.text, acme.keys.sign.text),
    ),
    // Whose keys
    'log-that-shows-no-key': notShown('key_unknown', [], opened()),
    'log-opened-by-a-key-never-shown': notShown(
      'key_unknown',
      [opened({ key: beta.keys.sign })],
      opening[1] as ParsedEntry,
    ),
    'log-of-two-sources': notShown(
      'not_entitled',
      known,
      entryOf('daemon.started', { version: '1' }, { actor: beta.did }, { source: beta.did, key: beta.keys.sign }),
    ),
    'log-agent-that-was-not-shown': notShown('key_unknown', opening, action),
    'log-action-signed-by-the-organisation': notShown('key_unknown', known, actionEntry({ key: acme.keys.sign })),
    'log-daemon-signed-by-an-agent': notShown('key_unknown', known, started(agent.keys.sign)),
    'log-key-for-another-use': notShown('key_unknown', known, started(acme.keys.delegate)),
    'log-key-before-its-rotation': notShown('key_unknown', known, started(second)),
    'log-credential-after-it-expired': notShown('key_unknown', [...known, credentialEntry()], byEphemeral(961)),
    'log-credential-not-shown': notShown('key_unknown', known, byEphemeral(1)),
    'log-credential-that-the-organisation-signed': notShown(
      'key_unknown',
      known,
      credentialEntry(createCredential(rootLink, agent, ephemeral, { signers: [acme.keys.delegate] })),
    ),
    'log-credential-of-another-key': notShown(
      'schema',
      known,
      credentialEntry(credential, { key: beta.keys.sign.text }),
    ),
    'log-credential-with-a-bad-signature': notShown(
      'bad_signature',
      known,
      credentialEntry(credential, {
        statement: toBase64url(encodeCbor([credential.payloadBytes, [new Uint8Array(64)]])),
      }),
    ),
    'log-agent-of-another-organisation': notShown(
      'not_entitled',
      known,
      operationEntry(createAgent(beta, 'stranger').genesis, createAgent(beta, 'stranger').did),
    ),
    'log-agent-that-the-organisation-did-not-sign-for': notShown(
      'key_unknown',
      known,
      operationEntry(smuggled.genesis, smuggled.did),
    ),
    'log-operation-without-the-one-before': notShown('pending', [opened()], rotation),
  },
};
