/** Every parser of bytes that others send or leave in files, what it is fed with, and the codes that it may answer. */
import { parseConfigFile } from '../../daemon/config.ts';
import { parseEventTypes } from '../../daemon/control/event-streams.ts';
import { parseKnownPeers } from '../../daemon/libp2p/datastore.ts';
import { checkJson, parseJsonStrict } from '../../protocol/control/index.ts';
import { formatPlainKey, parseKeyFile } from '../../protocol/control/key-file.ts';
import { formatDaemonInfo, formatRoots, parseDaemonInfo, parseRoots } from '../../protocol/control/paths.ts';
import { parseCapability } from '../../protocol/delegation/capability.ts';
import { encodeBundle, collectBundle, verifyBundle } from '../../protocol/delegation/bundle.ts';
import { CHAIN_CODES, verifyChainBytes } from '../../protocol/delegation/verify.ts';
import { toHex } from '../../protocol/encoding/bytes.ts';
import { type Cbor, decodeCbor, encodeCbor } from '../../protocol/encoding/cbor.ts';
import { digestOf, Link } from '../../protocol/encoding/cid.ts';
import { keyOfPeerId, parseMultikeyText } from '../../protocol/encoding/multikey.ts';
import { decodeVarint, encodeVarint } from '../../protocol/encoding/varint.ts';
import { type ErrorCode, MeshError } from '../../protocol/errors.ts';
import {
  encodeHandshakeFrame,
  ENDINGS,
  parseHandshakeFrame,
  parseReply,
  REFUSALS,
} from '../../protocol/iatp/frames.ts';
import { createPresentation, openPresentation } from '../../protocol/iatp/presentation.ts';
import { parsePrivateJwk, parsePublicJwk, privateJwk, publicJwk } from '../../protocol/identity/jwk.ts';
import * as limits from '../../protocol/limits.ts';
import { isSignatureValidSodium } from '../../protocol/sodium.ts';
import { admitAll, MeshState } from '../../protocol/state/mesh-state.ts';
import { parseStatement, verifySignatures } from '../../protocol/statement/statement.ts';
import { encodeAnswer, encodeQuestion, parseAnswer, parseQuestion } from '../../protocol/sync/frames.ts';
import { createReconciler } from '../../protocol/sync/negentropy.ts';
import { RangeIndex } from '../../protocol/sync/range-index.ts';
import { keyOf } from '../builders.ts';
import { SAMPLES } from '../protocol/control/samples.ts';
import { CALL_PARSERS } from './call-parsers.ts';
import { CONDITION_PARSERS } from './condition-parsers.ts';
import { LOG_PARSERS } from './log-parsers.ts';
import { MCP_PARSERS } from './mcp-parsers.ts';
import type { SeededRandom } from './random.ts';
import { RECEIPT_PARSERS } from './receipt-parsers.ts';
import { CBOR, type Format, JSON_TEXT, mutateStructure } from './structure.ts';
import {
  acme,
  agent,
  beta,
  chain,
  ground,
  heartbeats,
  NOW_MS,
  plausibleLink,
  revocations,
  signedAgain,
  statements,
  worker,
} from './world.ts';

export interface FuzzedParser {
  readonly name: string;
  /** Made anew for each run, so that what a parser keeps can be let go. */
  readonly start: () => (bytes: Uint8Array) => unknown;
  /** What it accepts. */
  readonly corpus: readonly Uint8Array[];
  readonly codes: readonly ErrorCode[];
  readonly format?: Format;
  readonly bytesMax?: number;
  readonly make?: (random: SeededRandom) => Uint8Array;
}

const utf8 = new TextEncoder();
const lossy = new TextDecoder();
const envelopes = statements.map(({ envelope }) => envelope);
const payloads = statements.map(({ payloadBytes }) => payloadBytes);
const DECODING: readonly ErrorCode[] = ['too_large', 'malformed', 'noncanonical'];
const PARSING: readonly ErrorCode[] = [...DECODING, 'unknown_kind', 'schema', 'signers'];

/** Wrong content under right signatures. */
const signedMutation = (random: SeededRandom): Uint8Array =>
  signedAgain(mutateStructure(CBOR, random.pick(envelopes), random, envelopes));

// The door

const DOOR: readonly ErrorCode[] = [
  ...PARSING,
  'bad_signature',
  'bad_proof',
  'duplicate',
  'too_early',
  'expired',
  'pending',
  'not_entitled',
  'superseded',
  'quota',
  'private',
];

/** As a daemon takes a statement in; what is not accepted becomes an error with the door's code. */
function startDoor(): (bytes: Uint8Array) => void {
  let state = new MeshState();
  let admitted = 0;
  const restart = (): void => {
    state = new MeshState();
    admitAll(state, ground, NOW_MS);
    admitted = 0;
  };
  restart();
  return (bytes) => {
    const statement = parseStatement(bytes);
    verifySignatures(statement, isSignatureValidSodium);
    const admission = state.admit(statement, NOW_MS);
    if (++admitted === 200) restart(); // an adversary's statements in one set: enough to meet each other
    if (admission.verdict === 'pending') throw new MeshError('pending', 'waits');
    if (admission.verdict !== 'accept') throw new MeshError(admission.code, 'not accepted');
    for (const { did } of [acme, beta, worker]) state.didState(did);
    // Only acme's keys ever signed two histories.
    for (const did of state.convicted()) if (did !== acme.did) throw new Error(`"${did}" was convicted`);
  };
}

/** All operations of a DID at once, as the `log` question brings them: a CBOR list of envelopes. */
function startLog(): (bytes: Uint8Array) => void {
  return (bytes) => {
    const items = decodeCbor(bytes);
    if (!Array.isArray(items)) throw new MeshError('malformed', 'want a list');
    const log = (items as readonly Cbor[]).map((item) => {
      if (!(item instanceof Uint8Array)) throw new MeshError('malformed', 'want envelopes');
      const statement = parseStatement(item);
      verifySignatures(statement, isSignatureValidSodium);
      return statement;
    });
    const state = new MeshState();
    admitAll(state, log, NOW_MS);
    state.didState(acme.did);
  };
}
const logs = [acme, beta].map(({ did }) =>
  encodeCbor(
    statements
      .filter(({ t, payload }) => t === 'didop/v1' && (!('iss' in payload) || payload.iss === did))
      .map(({ envelope }) => envelope),
  ),
);
/** Takes a list of envelopes apart, changes one under right signatures, and puts it back. */
const signedInside = (list: Uint8Array, random: SeededRandom, at: (value: Cbor) => Uint8Array[]): Uint8Array => {
  const value = decodeCbor(list);
  const inner = at(value);
  const i = random.below(inner.length);
  inner[i] = signedAgain(mutateStructure(CBOR, inner[i] as Uint8Array, random, envelopes));
  return encodeCbor(value);
};

// Chains and bundles

const full = new MeshState();
admitAll(full, [...ground, ...heartbeats], NOW_MS);
const check = {
  roots: new Set([acme.did]),
  nowMs: NOW_MS,
  isSignatureValid: isSignatureValidSodium,
  request: {
    capabilities: [{ can: 'read:reports/q3', res: ['s3://reports/1'] }],
    at: [beta.did],
    purpose: 'billing',
    score: 300,
  },
};
const chainFrame = encodeCbor(chain.map(({ envelope }) => envelope));
const source = new MeshState();
admitAll(source, [...ground, ...heartbeats], NOW_MS);
const bundle = encodeBundle(collectBundle(source, chain, NOW_MS));

/** The chain with one link changed, or cut short, or in another order. */
function plausibleLinks(random: SeededRandom): Uint8Array[] {
  const links = chain.map(({ envelope }) => envelope);
  const { position, envelope } = plausibleLink(random);
  links[position] = envelope;
  if (random.below(8) === 0) links.splice(random.below(3), 1);
  if (random.below(16) === 0) links.reverse();
  return links;
}
const plausibleChain = (random: SeededRandom): Uint8Array => encodeCbor(plausibleLinks(random));
const idOf = (envelope: Uint8Array): string => Link.ofDigest(digestOf((decodeCbor(envelope) as [Uint8Array])[0])).text;
function plausibleBundle(random: SeededRandom): Uint8Array {
  const links = plausibleLinks(random);
  const rest = [...ground, ...heartbeats, ...revocations]
    .map(({ envelope }) => envelope)
    .filter(() => random.below(20) > 0);
  return encodeBundle({ leaf: idOf(links.at(-1) as Uint8Array), envelopes: [...links, ...rest] });
}

// Reconciliation

const items = (from: number, to: number): { epoch: number; id: Uint8Array }[] =>
  Array.from({ length: to - from }, (_, i) => ({
    epoch: 29_916_666 + ((from + i) % 40),
    id: digestOf(encodeCbor(from + i)),
  }));
const [ours, theirs] = [RangeIndex.of(items(0, 300)), RangeIndex.of(items(20, 320))];
/** Every message of one reconciliation, questions and answers. */
const rangeMessages = ((): Uint8Array[] => {
  const [asker, other] = [createReconciler(ours), createReconciler(theirs)];
  const messages: Uint8Array[] = [];
  for (let question: Uint8Array | undefined = asker.initiate(); question !== undefined; ) {
    const answer = other.respond(question);
    messages.push(question, answer);
    question = asker.reconcile(answer).reply;
  }
  return messages;
})();

// The sync protocol

const digests = statements.map(({ digest }) => digest);
const questions = [
  encodeQuestion(['hello', acme.did, envelopes.slice(0, 3)]),
  encodeQuestion(['range', rangeMessages[0] as Uint8Array, null]),
  encodeQuestion(['range', rangeMessages[0] as Uint8Array, acme.did]),
  encodeQuestion(['get', digests]),
  encodeQuestion(['put', envelopes]),
  encodeQuestion(['log', acme.did, 0]),
  encodeQuestion(['beat', [acme.did, beta.did], new Uint8Array(16)]),
];
const answers = [
  encodeAnswer(['hello', acme.did, envelopes.slice(0, 3)]),
  encodeAnswer(['range', rangeMessages[1] as Uint8Array]),
  encodeAnswer(['have', envelopes]),
  encodeAnswer([
    'took',
    [
      ['accept', null, null],
      ['ignore', 'duplicate', null],
      ['pending', null, acme.did],
      ['reject', 'schema', null],
    ],
  ]),
  encodeAnswer(['no', 'busy']),
];

// The handshake

const presentation = createPresentation(
  { ident: (chain[0] as (typeof chain)[0]).id, grant: (chain[2] as (typeof chain)[0]).id },
  envelopes.slice(0, 8),
);
const sig = new Uint8Array(64);
const capabilities = [{ can: 'read:reports/q3', res: ['s3://reports/'] }];
const hellos = [
  encodeHandshakeFrame('hello', {
    v: 1,
    did: worker.did,
    to: acme.did,
    non: new Uint8Array(32),
    want: capabilities,
    min: 300,
  }),
  encodeHandshakeFrame('hello', {
    v: 1,
    did: worker.did,
    to: agent.did,
    non: new Uint8Array(32),
    want: [],
    min: 0,
    pur: 'billing',
  }),
];
const offers = [
  encodeHandshakeFrame('offer', {
    did: acme.did,
    non: new Uint8Array(32),
    pres: { set: [] },
    need: { min: 300, caps: capabilities },
    sig,
  }),
  encodeHandshakeFrame('offer', {
    did: acme.did,
    non: new Uint8Array(32),
    pres: presentation,
    need: { min: 300 },
    sig,
  }),
];
const proofs = [encodeHandshakeFrame('proof', { pres: presentation, sig })];
const results = [
  encodeHandshakeFrame('result', {
    sid: new Uint8Array(16),
    caps: capabilities,
    exp: NOW_MS / 1000,
    rates: [{ can: 'read:reports/q3', n: 1, per: 60 }],
    sig,
  }),
];
const HANDSHAKE: readonly ErrorCode[] = [...PARSING, 'version'];

const texts = (...all: string[]): Uint8Array[] => all.map((text) => utf8.encode(text));
const json = (...all: unknown[]): Uint8Array[] => texts(...all.map((value) => JSON.stringify(value)));

/** The body of every operation that takes one, as the control server reads it: by then it is no longer than it may be. */
const BODIES: readonly FuzzedParser[] = SAMPLES.flatMap(({ operationId, route: { body: schema }, body }) => {
  if (schema === undefined || body === undefined) return [];
  return {
    name: `body of ${operationId}`,
    start: () => (bytes) =>
      checkJson(schema, parseJsonStrict(strictUtf8(bytes), limits.API_JSON_DEPTH_MAX), 'the body', 'bad_request'),
    corpus: json(body),
    codes: ['bad_request', 'too_large'],
    format: JSON_TEXT,
    bytesMax: limits.API_BODY_BYTES_MAX,
  };
});
function strictUtf8(bytes: Uint8Array): string {
  if (bytes.length > limits.API_BODY_BYTES_MAX) throw new MeshError('too_large', 'a longer body is not read');
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new MeshError('bad_request', 'not UTF-8', {}, { cause });
  }
}

const FILE = 'a file';
const PROTOCOL_PARSERS: readonly FuzzedParser[] = [
  { name: 'DAG-CBOR', start: () => decodeCbor, corpus: [...payloads, ...envelopes], codes: DECODING, format: CBOR },
  {
    name: 'DAG-CBOR, read and written again',
    start: () => (bytes) => {
      const again = encodeCbor(decodeCbor(bytes));
      if (toHex(again) !== toHex(bytes)) throw new Error('the decoder accepts what is not canonical');
    },
    corpus: payloads,
    codes: DECODING,
    format: CBOR,
  },
  {
    name: 'varint',
    start: () => (bytes) => {
      if (decodeVarint(bytes) === undefined) throw new MeshError('malformed', 'ends early');
    },
    corpus: [0, 127, 128, 65_536, 0xffff_ffff].map(encodeVarint),
    codes: ['malformed', 'noncanonical'],
    bytesMax: 64,
  },
  { name: 'statement', start: () => parseStatement, corpus: envelopes, codes: PARSING, format: CBOR },
  {
    name: 'statement with its signatures, at the door',
    start: startDoor,
    corpus: envelopes.slice(ground.length, -6),
    codes: DOOR,
    format: CBOR,
    make: signedMutation,
  },
  {
    name: 'DID log',
    start: startLog,
    corpus: logs,
    codes: [...PARSING, 'bad_signature', 'bad_proof'],
    format: CBOR,
    bytesMax: limits.SYNC_FRAME_BYTES_MAX,
    make: (random) => signedInside(random.pick(logs), random, (value) => value as unknown as Uint8Array[]),
  },
  {
    name: 'chain',
    start: () => (bytes) => {
      const items = decodeCbor(bytes);
      const list = (Array.isArray(items) ? (items as readonly Cbor[]) : [bytes]).map((item) =>
        item instanceof Uint8Array ? item : new Uint8Array(),
      );
      verifyChainBytes(list, { ...check, view: full });
    },
    corpus: [chainFrame],
    codes: [...CHAIN_CODES, 'too_large'],
    format: CBOR,
    make: (random) =>
      random.below(4) === 0
        ? signedInside(chainFrame, random, (value) => value as unknown as Uint8Array[])
        : plausibleChain(random),
  },
  {
    name: 'bundle',
    start: () => (bytes) => verifyBundle(bytes, check),
    corpus: [bundle],
    codes: CHAIN_CODES,
    format: CBOR,
    bytesMax: limits.BUNDLE_BYTES_MAX,
    make: (random) =>
      random.below(4) === 0
        ? signedInside(bundle, random, (value) => (value as readonly unknown[])[2] as Uint8Array[])
        : plausibleBundle(random),
  },
  {
    name: 'reconciliation, the answering side',
    start: () => (bytes) => createReconciler(theirs).respond(bytes),
    corpus: rangeMessages,
    codes: ['malformed', 'noncanonical', 'too_large', 'version'],
    bytesMax: limits.RANGE_MESSAGE_BYTES_MAX,
  },
  {
    name: 'reconciliation, the asking side',
    start: () => (bytes) => createReconciler(ours).reconcile(bytes),
    corpus: rangeMessages,
    codes: ['malformed', 'noncanonical', 'too_large', 'version'],
    bytesMax: limits.RANGE_MESSAGE_BYTES_MAX,
  },
  {
    name: 'sync question',
    start: () => parseQuestion,
    corpus: questions,
    codes: [...DECODING, 'schema'],
    format: CBOR,
    bytesMax: limits.SYNC_FRAME_BYTES_MAX,
  },
  {
    name: 'sync answer',
    start: () => parseAnswer,
    corpus: answers,
    codes: [...DECODING, 'schema'],
    format: CBOR,
    bytesMax: limits.SYNC_FRAME_BYTES_MAX,
  },
  {
    name: 'handshake HELLO',
    start: () => (bytes) => parseHandshakeFrame('hello', bytes),
    corpus: hellos,
    codes: HANDSHAKE,
    format: CBOR,
  },
  {
    name: 'handshake OFFER with what it presents',
    start: () => (bytes) => openPresentation(parseReply('offer', bytes).pres),
    corpus: offers,
    codes: [...HANDSHAKE, 'busy'],
    format: CBOR,
  },
  {
    name: 'handshake PROOF with what it presents',
    start: () => (bytes) => openPresentation(parseReply('proof', bytes).pres),
    corpus: proofs,
    codes: HANDSHAKE,
    format: CBOR,
  },
  {
    name: 'handshake RESULT',
    start: () => (bytes) => parseReply('result', bytes),
    corpus: results,
    codes: HANDSHAKE,
    format: CBOR,
  },
  {
    name: 'handshake refusal or ending',
    start: () => (bytes) => {
      try {
        parseHandshakeFrame('refusal', bytes);
      } catch {
        parseHandshakeFrame('end', bytes); // its own error will do
      }
    },
    corpus: [
      ...REFUSALS.map((rej) => encodeHandshakeFrame('refusal', { rej })),
      encodeHandshakeFrame('refusal', { rej: 'chain:revoked' }),
      ...ENDINGS.map((end) => encodeHandshakeFrame('end', { end })),
    ],
    codes: HANDSHAKE,
    format: CBOR,
  },
  {
    name: 'capability',
    start: () => (bytes) => parseCapability(lossy.decode(bytes)),
    corpus: texts('read:reports/q3', 'execute:tools:calculator', 'mcp:x/*'),
    codes: ['malformed'],
  },
  {
    name: 'id',
    start: () => (bytes) => Link.parse(lossy.decode(bytes)),
    corpus: texts(...statements.map(({ id }) => id)),
    codes: ['malformed'],
  },
  {
    name: 'key',
    start: () => (bytes) => parseMultikeyText(lossy.decode(bytes)),
    corpus: texts(keyOf(1).text, keyOf(2).text),
    codes: ['malformed'],
  },
  {
    name: 'PeerId',
    start: () => (bytes) => keyOfPeerId(lossy.decode(bytes)),
    corpus: texts(keyOf(1).peerId, keyOf(2).peerId),
    codes: ['malformed'],
  },
  {
    name: 'public JWK',
    start: () => (bytes) => parsePublicJwk(parseJsonStrict(lossy.decode(bytes), limits.API_JSON_DEPTH_MAX)),
    corpus: json(publicJwk(keyOf(1).publicKey), publicJwk(keyOf(2).publicKey, acme.did)),
    codes: ['malformed', 'bad_request'],
    format: JSON_TEXT,
  },
  {
    name: 'private JWK',
    start: () => (bytes) => parsePrivateJwk(parseJsonStrict(lossy.decode(bytes), limits.API_JSON_DEPTH_MAX)),
    corpus: json(privateJwk(keyOf(1).seed), privateJwk(keyOf(2).seed, acme.did)),
    codes: ['malformed', 'bad_request'],
    format: JSON_TEXT,
  },
];

const CONFIG = `network: lab # one of ours
listen:
  - /ip4/127.0.0.1/tcp/0
`;
const FILE_PARSERS: readonly FuzzedParser[] = [
  {
    name: 'agentmesh.yaml',
    start: () => (bytes) => parseConfigFile(lossy.decode(bytes), FILE),
    corpus: texts(CONFIG, '', 'network: lab\n'),
    codes: ['config_invalid'],
    bytesMax: 4096,
  },
  {
    name: 'daemon.json',
    start: () => (bytes) => parseDaemonInfo(lossy.decode(bytes)),
    corpus: texts(formatDaemonInfo({ pid: 1, version: '1.0.0', socket: '/run/s', started: '2026-11-22T00:00:00Z' })),
    codes: ['malformed', 'too_large'],
    format: JSON_TEXT,
    bytesMax: limits.DAEMON_INFO_BYTES_MAX,
  },
  {
    name: 'roots.json',
    start: () => (bytes) => parseRoots(lossy.decode(bytes)),
    corpus: texts(formatRoots([]), formatRoots([acme.did, beta.did])),
    codes: ['malformed', 'too_large'],
    format: JSON_TEXT,
    bytesMax: limits.ROOTS_BYTES_MAX,
  },
  {
    name: 'known peers',
    start: () => (bytes) => parseKnownPeers(lossy.decode(bytes)),
    corpus: json([], [{ peer: keyOf(1).peerId, addresses: ['/ip4/127.0.0.1/tcp/1'], seenMs: 1 }]),
    codes: ['store_corrupt'],
    format: JSON_TEXT,
  },
  {
    name: 'types of events',
    start: () => (bytes) => parseEventTypes(lossy.decode(bytes)),
    corpus: texts('session.opened', 'session.opened,session.ended'),
    codes: ['bad_request'],
  },
  {
    name: 'key file',
    start: () => (bytes) => parseKeyFile(lossy.decode(bytes), FILE),
    corpus: texts(formatPlainKey({ name: 'organisation', publicKey: keyOf(1).publicKey, seed: keyOf(1).seed })),
    codes: ['key_damaged'],
    format: JSON_TEXT,
    bytesMax: limits.KEY_FILE_BYTES_MAX,
  },
];

export const PARSERS: readonly FuzzedParser[] = [
  ...PROTOCOL_PARSERS,
  ...CALL_PARSERS,
  ...RECEIPT_PARSERS,
  ...LOG_PARSERS,
  ...MCP_PARSERS,
  ...CONDITION_PARSERS,
  ...BODIES,
  ...FILE_PARSERS,
];
