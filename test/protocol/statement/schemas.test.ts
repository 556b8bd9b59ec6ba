/** Every field of every kind: missing, unknown, of another type, out of bounds. The tables are SPEC.md's, not the code's. */
import { describe, expect, test } from 'vitest';
import {
  type Cbor,
  encodeCbor,
  isMeshError,
  Link,
  limits,
  multikeyOf,
  multikeyText,
  parseStatement,
  peerIdOfKey,
  SIGNATURE_BYTES,
} from '../../../protocol/index.ts';
import { did } from './worked-example.ts';

type Fields = Readonly<Record<string, Cbor>>;

const key = (byte: number): Uint8Array => multikeyOf(new Uint8Array(32).fill(byte));
const id = (byte: number): Link => Link.ofDigest(new Uint8Array(32).fill(byte));
const times = <T>(count: number, of: (i: number) => T): T[] => Array.from({ length: count }, (_, i) => of(i));
const meshDid = (byte: number): string => `did:mesh:${id(byte).text}`;
const foreignLink = new Link(Uint8Array.of(1, 0x55, 0, 0));
const P256_DID = 'did:key:zDnaerx9CtbPJ1q36T5Ln5wYt3MQYeGRG5ehnPAmxcf5mDZpv';
const IAT = 1_795_000_000;

const SHAPES: readonly Cbor[] = [
  null,
  false,
  true,
  0,
  1,
  -1,
  '',
  'x',
  new Uint8Array(),
  new Uint8Array(32),
  id(1),
  foreignLink,
  [],
  [1],
  {},
  { a: 1 },
];
const typeOf = (value: Cbor | undefined): string => {
  if (value === null || value === undefined) return 'null';
  if (value instanceof Uint8Array) return 'bytes';
  if (value instanceof Link) return 'link';
  return Array.isArray(value) ? 'list' : typeof value;
};

interface Sample {
  readonly name: string;
  readonly payload: Fields;
  readonly optional?: readonly string[];
  /** Fields that may be null as well, where the rest of the payload allows it. */
  readonly nullable?: readonly string[];
  /** Changes that must be refused, and ones that must not: at the bounds. */
  readonly bad: readonly Fields[];
  readonly good: readonly Fields[];
  /** Maps inside, as paths, each of which is closed as well. */
  readonly inner?: readonly (readonly (string | number)[])[];
}

const by = [key(1), key(2)];
const badSigners: Fields[] = [
  { by: [] },
  { by: times(limits.SIGNERS_MAX + 1, key) },
  { by: [key(1), key(1)] },
  { by: [new Uint8Array(32)] },
  { by: [Uint8Array.from([0x80, 0x24, ...new Uint8Array(32)])] },
];
const badSeconds = (field: string): Fields[] => [-1, limits.SECONDS_MAX + 1].map((value) => ({ [field]: value }));
const badDids = (field: string): Fields[] =>
  [
    '',
    'did:mesh:',
    'did:mesh:bafy',
    did.toUpperCase(),
    `${did} `,
    `${did}#key`,
    did.slice(0, -1),
    `did:key:${multikeyText(key(1))}`,
    'did:web:example.org',
  ].map((value) => ({ [field]: value }));
const badKeys: Fields[] = [
  { keys: [] },
  { keys: times(limits.DID_KEYS_MAX + 1, (i) => [key(i), ['sign']]) },
  {
    keys: [
      [key(1), ['sign']],
      [key(1), ['auth']],
    ],
  },
  { keys: [[key(1), []]] },
  { keys: [[key(1), ['sign', 'auth']]] },
  { keys: [[key(1), ['auth', 'auth']]] },
  { keys: [[key(1), ['admin']]] },
  { keys: [[key(1)]] },
  { keys: [[key(1), ['sign'], 1]] },
  { keys: [[new Uint8Array(32), ['sign']]] },
];
const badCommitments = (list: string, threshold: string): Fields[] => [
  { [list]: times(limits.DID_COMMITMENTS_MAX + 1, (i) => new Uint8Array(32).fill(i)) },
  { [list]: [new Uint8Array(31)] },
  { [list]: [key(1)] },
  { [list]: times(2, () => new Uint8Array(32)), [threshold]: 1 },
  { [threshold]: 0 },
  { [threshold]: 9 },
  { [threshold]: -1 },
  { [list]: [], [threshold]: 1 },
  { [list]: [new Uint8Array(32)], [threshold]: 2 },
];
const goodCommitments = (list: string, threshold: string): Fields[] => [
  { [list]: [], [threshold]: 0 },
  { [list]: times(8, (i) => new Uint8Array(32).fill(i)), [threshold]: 8 },
];
const peer = peerIdOfKey(key(9));
const badPeers: Fields[] = [
  { peer: times(limits.DID_PEERS_MAX + 1, (i) => peerIdOfKey(key(i))) },
  { peer: [peer, peer] },
  { peer: ['QmcgpsyWgH8Y8ajJz1Cu72KnS5uo2Aa2LpzU7kinSupNKC'] },
  { peer: [multikeyText(key(1))] },
  { peer: [''] },
];
const badServices: Fields[] = [
  { svc: times(limits.DID_SERVICES_MAX + 1, () => ['libp2p', 'x']) },
  { svc: [['libp2p']] },
  { svc: [['libp2p', 'x', 'y']] },
  { svc: [['x'.repeat(limits.SERVICE_TEXT_MAX + 1), 'x']] },
  { svc: [['x', 'x'.repeat(limits.SERVICE_TEXT_MAX + 1)]] },
];
const goodServices: Fields[] = [
  { svc: [] },
  { svc: times(8, () => ['𐅑'.repeat(10), 'x'.repeat(limits.SERVICE_TEXT_MAX)]) },
];
const retired = (until: Cbor, ids: Cbor): Fields => ({ ret: [[key(30), until, ids]] });
const badRetired: Fields[] = [
  { ret: times(limits.DID_KEYS_MAX + 1, (i) => [key(30 + i), null, []]) },
  { ret: times(2, () => [key(30), null, []]) },
  { ret: [[key(5), null, []]] }, // listed below as well
  { ret: [[key(30), null]] },
  { ret: [[key(30), null, [], 1]] },
  retired(-1, []),
  retired(IAT + limits.GRACE_SECONDS_MAX + 1, []),
  retired('soon', []),
  retired(null, times(limits.KEPT_IDS_MAX + 1, id)),
  retired(null, [foreignLink]),
  retired(null, null),
];
const goodRetired: Fields[] = [
  retired(0, []),
  retired(IAT + limits.GRACE_SECONDS_MAX, []),
  retired(null, times(limits.KEPT_IDS_MAX, id)),
];
const badRevocationLog: Fields[] = [
  { rseq: -1 },
  { rseq: limits.REVOCATION_SEQ_MAX + 1 },
  { rseq: 0 }, // with rhead
  { rhead: null }, // with rseq
  { rhead: foreignLink },
];

const operation = { t: 'didop/v1', by, iat: IAT };
const successor = { ...operation, iss: did, seq: 1, prv: id(1) };
const badSuccessor: Fields[] = [
  ...badSigners,
  ...badSeconds('iat'),
  ...badDids('iss'),
  { seq: 0 },
  { seq: limits.DID_SEQ_MAX + 1 },
  { prv: foreignLink },
  { op: 'genesis' },
  { op: 'create' },
];
const goodSuccessor: Fields[] = [
  { seq: limits.DID_SEQ_MAX },
  { iat: limits.SECONDS_MAX },
  { by: times(limits.SIGNERS_MAX, key) },
];
const commitments = { nxt: [new Uint8Array(32)], nthr: 1 };
const recovery = { rec: [new Uint8Array(32), new Uint8Array(32).fill(1)], rthr: 2 };
const listed = { keys: [[key(5), ['auth', 'delegate', 'sign']]] };
const revocationLog = { rseq: 2, rhead: id(4) };

const genesis: Fields = {
  ...operation,
  op: 'genesis',
  kind: 'org',
  ...listed,
  ...commitments,
  ...recovery,
  peer: [peer],
  nce: new Uint8Array(16),
};
const link: Fields = {
  t: 'delegation/v1',
  by: [key(1)],
  iat: IAT,
  iss: did,
  aud: meshDid(3),
  sub: meshDid(4),
  spo: meshDid(5),
  prf: id(6),
  cap: [{ can: 'read:reports/*', res: ['s3://reports/q3/'] }],
  nbf: IAT,
  exp: IAT + 600,
  nce: new Uint8Array(16),
  cnf: key(7),
  dep: 3,
  rate: [{ can: 'read:reports/*', n: 10, per: 60 }],
  at: [meshDid(8)],
  pur: ['billing'],
  mts: 300,
  stl: 5,
  pri: true,
};
const optionalOfLink = ['cnf', 'dep', 'rate', 'at', 'pur', 'mts', 'stl', 'pri'];
const bare = Object.fromEntries(Object.entries(link).filter(([field]) => !optionalOfLink.includes(field)));
const resources = (...res: Cbor[]): Fields => ({ cap: [{ can: 'read:x', res }] });
const revocation: Fields = {
  t: 'revocation/v1',
  by,
  iat: IAT,
  iss: did,
  org: meshDid(9),
  seq: 2,
  prv: id(1),
  tgt: { link: id(2) },
  rsn: 'superseded',
};

const SAMPLES: readonly Sample[] = [
  {
    name: 'genesis of an organisation',
    payload: { ...genesis, svc: [['libp2p', '/ip4/127.0.0.1/tcp/4001']] },
    optional: ['svc'],
    bad: [
      ...badSigners,
      ...badSeconds('iat'),
      ...badKeys,
      ...badCommitments('nxt', 'nthr'),
      ...badCommitments('rec', 'rthr'),
      ...badPeers,
      ...badServices,
      { kind: 'robot' },
      { kind: 'agent' }, // without ctl
      { kind: 'person' },
      { ctl: did }, // an organisation with one
      { op: 'rotate' },
      { nce: new Uint8Array(15) },
      { nce: new Uint8Array(17) },
    ],
    good: [
      ...goodCommitments('nxt', 'nthr'),
      ...goodCommitments('rec', 'rthr'),
      ...goodServices,
      { peer: [] },
      { peer: times(limits.DID_PEERS_MAX, (i) => peerIdOfKey(key(i))) },
      { keys: times(limits.DID_KEYS_MAX, (i) => [key(i), ['sign']]) },
      { iat: limits.SECONDS_MAX },
    ],
  },
  ...(['agent', 'person'] as const).map((kind) => ({
    name: `genesis of ${kind === 'agent' ? 'an agent' : 'a person'}`,
    payload: { ...genesis, kind, ctl: did, peer: [], svc: [] },
    optional: ['svc'],
    bad: [...badDids('ctl'), { peer: [peer] }, { kind: 'org' }],
    good: [{ nxt: [], nthr: 0, rec: [], rthr: 0 }],
  })),
  {
    name: 'rotate',
    payload: {
      ...successor,
      op: 'rotate',
      ...listed,
      ret: [[key(30), null, [id(1)]]],
      ...commitments,
      ...revocationLog,
    },
    nullable: ['rhead'],
    bad: [
      ...badSuccessor,
      ...badKeys,
      ...badCommitments('nxt', 'nthr'),
      ...badRetired,
      ...badRevocationLog,
      { peer: [] },
      { svc: [] },
      { rec: [], rthr: 0 },
    ],
    good: [...goodSuccessor, ...goodCommitments('nxt', 'nthr'), ...goodRetired, { ret: [] }, { rseq: 0, rhead: null }],
  },
  {
    name: 'update',
    payload: { ...successor, op: 'update', peer: [peer], svc: [['libp2p', 'x']] },
    bad: [...badSuccessor, ...badPeers, ...badServices, { keys: listed.keys }, { nxt: [] }],
    good: [...goodSuccessor, ...goodServices, { peer: [] }],
  },
  {
    name: 'recover',
    payload: {
      ...successor,
      op: 'recover',
      ...listed,
      ret: [[key(30), IAT, []]],
      ...commitments,
      ...recovery,
      peer: [peer],
      svc: [],
      ...revocationLog,
    },
    nullable: ['rhead'],
    bad: [
      ...badSuccessor,
      ...badKeys,
      ...badCommitments('nxt', 'nthr'),
      ...badCommitments('rec', 'rthr'),
      ...badRetired,
      ...badPeers,
      ...badServices,
      ...badRevocationLog,
      { ctl: did },
    ],
    good: [
      ...goodSuccessor,
      ...goodCommitments('rec', 'rthr'),
      ...goodRetired,
      ...goodServices,
      { rseq: 0, rhead: null },
    ],
  },
  {
    name: 'deactivate',
    payload: { ...successor, op: 'deactivate' },
    bad: [...badSuccessor, { keys: [] }, { peer: [] }, { rsn: 'x' }],
    good: goodSuccessor,
  },
  {
    name: 'credential, which has every optional field',
    payload: link,
    optional: optionalOfLink.filter((field) => field !== 'pri'),
    inner: [
      ['cap', 0],
      ['rate', 0],
    ],
    bad: [
      ...badSigners,
      ...badSeconds('iat'),
      ...badSeconds('nbf'),
      ...badSeconds('exp'),
      ...['iss', 'sub', 'spo'].flatMap(badDids),
      { aud: P256_DID },
      { aud: 'did:web:example.org' },
      { aud: '' },
      { by }, // two keys below the root
      { prf: foreignLink },
      { prf: null }, // a root whose issuer is not its subject
      { cap: [] },
      { cap: times(limits.CAPABILITIES_MAX + 1, (i) => ({ can: `read:x${i}` })) },
      ...[
        '*',
        'read',
        'read:',
        ':x',
        'READ:x',
        'read:*/x',
        'read:x//y',
        'read:x/',
        'read:a:b',
        'read:..',
        'read:a%2f',
        'read:é',
        `${'r'.repeat(33)}:x`,
        `read:${'x'.repeat(129)}`,
        `read:${times(5, () => 'x'.repeat(120)).join('/')}`,
      ].map((can) => ({ cap: [{ can }] })),
      { cap: [{ res: ['a'] }] },
      { cap: ['read:x'] },
      resources(),
      resources(...times(limits.RESOURCES_MAX + 1, (i) => `r${i}`)),
      ...[
        '',
        '..',
        'a/../b',
        './a',
        'a//b',
        'a\\b',
        'a%2fb',
        'a\nb',
        '/',
        'x'.repeat(limits.RESOURCE_TEXT_MAX + 1),
      ].map((res) => resources(res)),
      resources(1),
      { exp: IAT }, // as soon as it begins
      { nbf: IAT + 600 },
      { exp: IAT + limits.CREDENTIAL_SECONDS_MAX + 1 }, // with cnf
      { cnf: new Uint8Array(32) },
      { dep: -1 },
      { dep: limits.DEPTH_MAX + 1 },
      { rate: [] },
      { rate: times(limits.RATES_MAX + 1, () => ({ can: 'read:x', n: 1, per: 1 })) },
      ...[{ n: 0 }, { n: limits.RATE_N_MAX + 1 }, { per: 0 }, { per: limits.RATE_SECONDS_MAX + 1 }, { can: '*' }].map(
        (change) => ({ rate: [{ can: 'read:x', n: 1, per: 1, ...change }] }),
      ),
      { rate: [{ can: 'read:x', n: 1 }] },
      { at: [] },
      { at: times(limits.AT_MAX + 1, meshDid) },
      { at: ['example.org'] },
      { pur: [] },
      { pur: times(limits.PURPOSES_MAX + 1, (i) => `p${i}`) },
      ...['', 'Billing', '-x', 'a b', 'x'.repeat(limits.PURPOSE_TEXT_MAX + 1)].map((purpose) => ({ pur: [purpose] })),
      { mts: -1 },
      { mts: limits.SCORE_MAX + 1 },
      { stl: -1 },
      { stl: limits.STALENESS_SECONDS_MAX + 1 },
      { pri: false },
      { nce: new Uint8Array(15) },
    ],
    good: [
      { aud: `did:key:${multikeyText(key(1))}` },
      { at: [`did:key:${multikeyText(key(1))}`, ...times(limits.AT_MAX - 1, meshDid)] },
      { cap: times(limits.CAPABILITIES_MAX, (i) => ({ can: `read:x${i}` })) },
      { cap: [{ can: `${'r'.repeat(32)}:${'x'.repeat(128)}/~@-._/*` }] },
      resources(...times(limits.RESOURCES_MAX, (i) => `https://h/${i}/`)),
      resources('é'.repeat(limits.RESOURCE_TEXT_MAX)),
      { exp: IAT + limits.CREDENTIAL_SECONDS_MAX },
      { dep: 0, mts: 0, stl: 0 },
      { dep: limits.DEPTH_MAX, mts: limits.SCORE_MAX, stl: limits.STALENESS_SECONDS_MAX },
      { rate: times(limits.RATES_MAX, () => ({ can: 'read:x', n: limits.RATE_N_MAX, per: limits.RATE_SECONDS_MAX })) },
      { pur: times(limits.PURPOSES_MAX, (i) => `${i}${'x'.repeat(limits.PURPOSE_TEXT_MAX - 2)}`) },
    ],
  },
  {
    name: 'bare link',
    payload: bare,
    bad: [
      { exp: IAT + limits.LINK_SECONDS_MAX + 1 },
      { cnf: key(7) }, // without pri
      { cnf: key(7), pri: true, exp: IAT + limits.CREDENTIAL_SECONDS_MAX + 1 },
    ],
    good: [{ exp: IAT + limits.LINK_SECONDS_MAX }, { pri: true }, { nbf: IAT + 599 }],
  },
  {
    name: 'root link',
    payload: { ...bare, by, prf: null, sub: did },
    nullable: ['prf'],
    bad: [{ by: [key(1)] }, { by: [...by, key(3)] }, { sub: meshDid(4) }, { iss: meshDid(4) }, { prf: id(1) }],
    good: [{ spo: did }],
  },
  {
    name: 'revocation of a link, for an agent',
    payload: revocation,
    inner: [['tgt']],
    bad: [
      ...badSigners,
      ...badSeconds('iat'),
      ...['iss', 'org'].flatMap(badDids),
      { seq: 0 },
      { seq: limits.REVOCATION_SEQ_MAX + 1 },
      { seq: 1 }, // with prv
      { prv: null }, // without being number 1
      { prv: foreignLink },
      { tgt: {} },
      { tgt: { link: id(1), did } },
      { tgt: { key: key(1) } },
      { tgt: { link: id(1), key: key(1) } },
      { tgt: { link: foreignLink } },
      { tgt: { did: 'did:web:x' } },
      { tgt: { did, key: new Uint8Array(32) } },
      { rsn: 'x'.repeat(limits.REASON_TEXT_MAX + 1) },
      { by: [key(1)] }, // the organisation's is missing
      { org: did }, // one key suffices then
      { by: times(3, key) },
    ],
    good: [
      { seq: 1, prv: null },
      { seq: limits.REVOCATION_SEQ_MAX },
      { tgt: { did } },
      { tgt: { did, key: key(1) } },
      { rsn: '' },
      { rsn: 'é'.repeat(limits.REASON_TEXT_MAX) }, // 140 characters of four bytes would fill the statement's kibibyte
      { org: did, by: [key(1)] },
    ],
  },
  {
    name: 'heartbeat',
    payload: {
      t: 'heartbeat/v1',
      by: [key(1)],
      iat: IAT,
      iss: did,
      dseq: 0,
      head: id(1),
      rseq: 1,
      rhead: id(2),
      non: new Uint8Array(16),
    },
    optional: ['non'],
    bad: [
      ...badSigners,
      ...badSeconds('iat'),
      ...badDids('iss'),
      { by },
      { dseq: -1 },
      { dseq: limits.DID_SEQ_MAX + 1 },
      { head: foreignLink },
      { rseq: -1 },
      { rseq: limits.REVOCATION_SEQ_MAX + 1 },
      { rseq: 0 }, // with rhead
      { rhead: null }, // with rseq
      { rhead: foreignLink },
      { non: new Uint8Array(15) },
      { non: new Uint8Array(32) },
    ],
    good: [
      { rseq: 0, rhead: null },
      { dseq: limits.DID_SEQ_MAX, rseq: limits.REVOCATION_SEQ_MAX },
    ],
  },
  {
    name: 'message',
    payload: {
      t: 'message/v1',
      by: [key(1)],
      iat: IAT,
      iss: did,
      aud: meshDid(2),
      sid: new Uint8Array(16),
      mid: new Uint8Array(16),
      seq: 1,
      exp: IAT + 60,
      ct: 'text/plain; charset=utf-8',
      slt: new Uint8Array(32),
      body: new Uint8Array(5),
    },
    bad: [
      ...badSigners,
      ...badSeconds('iat'),
      ...badDids('iss'),
      ...badDids('aud'),
      { by },
      { aud: did }, // the same as iss
      { sid: new Uint8Array(15) },
      { mid: new Uint8Array(17) },
      { seq: 0 },
      { seq: -1 },
      { exp: IAT },
      { exp: IAT + limits.MESSAGE_SECONDS_MAX + 1 },
      ...[
        '',
        'text',
        'text/',
        '/plain',
        'Text/plain',
        'text/plain;',
        'text/plain; charset="utf-8"',
        'text/plain\n',
      ].map((ct) => ({ ct })),
      { ct: `text/${'x'.repeat(limits.MEDIA_TYPE_TEXT_MAX)}` },
      { slt: new Uint8Array(16) },
      { body: new Uint8Array(limits.MESSAGE_BODY_BYTES_MAX + 1) },
    ],
    good: [
      { body: new Uint8Array() },
      { body: new Uint8Array(limits.MESSAGE_BODY_BYTES_MAX) },
      { seq: limits.MESSAGE_SEQ_MAX },
      { exp: IAT + limits.MESSAGE_SECONDS_MAX },
      { ct: 'application/vnd.acme+json' },
      { ct: 'a/b;v=1' },
    ],
  },
];

/** Undefined where it parses; signatures are not looked at here. */
function refusal(payload: Cbor): { code: string; field: string | undefined } | undefined {
  const signers = (payload as { by?: readonly unknown[] }).by;
  const count = Array.isArray(signers) ? Math.min(signers.length, limits.SIGNERS_MAX) : 1;
  try {
    parseStatement(encodeCbor([encodeCbor(payload), times(count, () => new Uint8Array(SIGNATURE_BYTES))]));
    return undefined;
  } catch (error) {
    if (!isMeshError(error)) throw error;
    return { code: error.code, field: error.data.field };
  }
}
const expectSchema = (payload: Cbor, message: string): string | undefined => {
  const found = refusal(payload);
  expect(found?.code, message).toBe('schema');
  return found?.field;
};
const without = (payload: Fields, field: string): Fields =>
  Object.fromEntries(Object.entries(payload).filter(([name]) => name !== field));
const show = (value: Cbor): string =>
  JSON.stringify(value, (_, item: unknown) => (item instanceof Uint8Array ? `${item.length} bytes` : item)).slice(
    0,
    120,
  );

describe.each(SAMPLES)('$name', ({ payload, optional = [], nullable = [], bad, good, inner = [] }) => {
  const required = Object.keys(payload).filter((field) => !optional.includes(field) && field !== 't');

  test('parses as it is', () => {
    expect(refusal(payload)).toBeUndefined();
  });

  test('parses without each optional field', () => {
    for (const field of optional) expect(refusal(without(payload, field)), field).toBeUndefined();
  });

  test('is refused without each required field, which the error names', () => {
    expect(required.length).toBeGreaterThan(5);
    for (const field of required) {
      const named = expectSchema(without(payload, field), field);
      // What a kind is (and what follows from that) decides which of its fields are wanted.
      if (!['kind', 'ctl', 'op', 'pri'].includes(field)) expect(named).toBe(field);
    }
  });

  test('is refused with a field more, at every level', () => {
    for (const field of ['x', '', 'T', 'sig', '__proto__', 'constructor']) {
      const more = Object.fromEntries([...Object.entries(payload), [field, 1]]) as Fields;
      expect(expectSchema(more, field)).toBe(field);
    }
    for (const path of inner) {
      const copy = structuredCloneOf(payload);
      const at = path.reduce<Cbor>((value, step) => (value as Record<string | number, Cbor>)[step] as Cbor, copy);
      (at as Record<string, Cbor>).x = 1;
      expectSchema(copy, path.join('.'));
    }
  });

  test('is refused with each field of another type', () => {
    for (const [field, value] of Object.entries(payload)) {
      for (const shape of SHAPES) {
        if (typeOf(shape) === typeOf(value) || (shape === null && nullable.includes(field))) continue;
        expectSchema({ ...payload, [field]: shape }, `${field} = ${show(shape)}`);
      }
    }
  });

  test('is refused with each field out of bounds', () => {
    expect(bad.length).toBeGreaterThan(2);
    for (const change of bad) {
      const tooMany = Array.isArray(change.by) && change.by.length > limits.SIGNERS_MAX; // and too large for small kinds
      const codes = tooMany ? ['schema', 'too_large'] : ['schema'];
      expect(codes, show(change)).toContain(refusal({ ...payload, ...change })?.code);
    }
  });

  test('parses with each field at its bounds', () => {
    for (const change of good) expect(refusal({ ...payload, ...change }), show(change)).toBeUndefined();
  });
});

/** Copies maps and lists; bytes and links are shared. */
function structuredCloneOf(value: Cbor): Cbor {
  if (Array.isArray(value)) return (value as readonly Cbor[]).map(structuredCloneOf);
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array || value instanceof Link) return value;
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, structuredCloneOf(item as Cbor)]));
}

test('the samples are of every kind and operation', () => {
  const kinds = new Set(
    SAMPLES.map(({ payload }) => [payload.t, payload.op].filter((word) => typeof word === 'string').join(' ')),
  );
  expect([...kinds].sort()).toEqual([
    'delegation/v1',
    'didop/v1 deactivate',
    'didop/v1 genesis',
    'didop/v1 recover',
    'didop/v1 rotate',
    'didop/v1 update',
    'heartbeat/v1',
    'message/v1',
    'revocation/v1',
  ]);
});
