import { describe, expect, test } from 'vitest';
import type { Outcome, Source } from '../../../daemon/core/pipeline.ts';
import {
  type CborMap,
  decodeCbor,
  encodeCbor,
  KINDS,
  kindRow,
  limits,
  parseStatement,
  signingInput,
  type Statement,
  type Topic,
  TOPICS,
} from '../../../protocol/index.ts';
import {
  createAgent,
  createChildLink,
  createCredential,
  createHeartbeat,
  createOrganisation,
  createPerson,
  createRecover,
  createRevocation,
  createRootLink,
  createRotate,
  createUpdate,
  type Identity,
  keyOf,
  keySet,
  NOW_SECONDS,
} from '../../builders.ts';
import { createBinding, createCheckpoint, createFork, ownLog } from '../../protocol/log/own-log.ts';
import { Door, type DoorOptions, formatOutcome, rowOf } from './pipeline-world.ts';
import { ofTwo } from '../../fuzz/world.ts';

const acme = createOrganisation('acme');
const alice = createPerson(acme, 'alice');
const bot = createAgent(acme, 'bot');
const beta = createOrganisation('beta');
const bit = createAgent(beta, 'bit');
const everyone = [acme, alice, bot, beta, bit].map(({ genesis }) => genesis);
const root = createRootLink(acme, alice, { aud: bit.did });
const credential = createCredential(root, bit, keyOf('ephemeral'));

const gossip = (topic: Topic, peer = 'peer'): Source => ({ via: 'gossip', peer, topic });
const put = (peer = 'peer'): Source => ({ via: 'put', peer });
const pulled: Source = { via: 'pulled', peer: 'peer' };
const presented: Source = { via: 'presented', peer: 'peer' };

/** The same statement with its last signature damaged. */
const forged = ({ envelope }: Statement): Uint8Array => {
  const bytes = Uint8Array.from(envelope);
  bytes[bytes.length - 1] = (bytes.at(-1) as number) ^ 1;
  return bytes;
};

/** Signed by whom one likes, whatever the schema says. */
function signAnything(payload: CborMap): Uint8Array {
  const bytes = encodeCbor({ ...payload, by: [keyOf('anyone').publicKey] });
  return encodeCbor([bytes, [keyOf('anyone').sign(signingInput('didop/v1', bytes))]]);
}
const payloadOf = ({ payloadBytes }: Statement): CborMap => decodeCbor(payloadBytes) as CborMap;
const heartbeat = createHeartbeat(acme);
const revocation = createRevocation(acme, root);

/** Ignored wherever it comes from. */
const ofTomorrow = signAnything({ t: 'didop/v2', iat: 0 });
/** One by one, and in bulk among others. */
const ways = [
  ['receive()', async (door: Door, envelope: Uint8Array, source: Source) => door.pipeline.receive(envelope, source)],
  [
    'receiveMany()',
    async (door: Door, envelope: Uint8Array, source: Source) => {
      const others = Array.from({ length: 20 }, () => ofTomorrow);
      const many = await door.pipeline.receiveMany([...others, envelope], source);
      expect(new Set(many.slice(0, 20).map(formatOutcome))).toEqual(new Set(['ignore unknown_kind']));
      return many[20] as Outcome;
    },
  ],
] as const;

interface Row {
  readonly name: string;
  readonly want: string;
  readonly envelope: Uint8Array;
  readonly source?: Source;
  readonly options?: DoorOptions;
  /** Held before; default all identities. */
  readonly held?: readonly Statement[];
}

const unlistedKey = createChildLink(root, bit, { aud: bot.did, signers: [keyOf('stranger')] });
const unlistedOfOrganisation = createRevocation(acme, root, { signers: [keyOf('stranger')] });
const inOrder = [1, 2].map((i) =>
  createRootLink(acme, alice, { aud: bit.did, iat: NOW_SECONDS + 20 * i, nonce: `${i}` }),
);
const [lower, higher] = inOrder.toSorted((a, b) => a.epoch - b.epoch || (a.id < b.id ? -1 : 1)) as [
  Statement,
  Statement,
];

const rows: readonly Row[] = [
  { name: 'more bytes than any kind has', want: 'reject too_large', envelope: new Uint8Array(64 * 1024 + 1) },
  {
    name: 'more bytes than its kind has',
    want: 'reject too_large',
    envelope: signAnything({ t: 'revocation/v1', rsn: 'x'.repeat(limits.REVOCATION_BYTES_MAX) }),
  },
  { name: 'bytes that end early', want: 'reject malformed', envelope: acme.genesis.envelope.subarray(0, 100) },
  { name: 'no bytes', want: 'reject malformed', envelope: new Uint8Array() },
  {
    name: 'a number in more bytes than it needs',
    want: 'reject noncanonical',
    envelope: Uint8Array.of(0x98, 0x02, ...acme.genesis.envelope.subarray(1)),
  },
  { name: 'a kind of a later version', want: 'ignore unknown_kind', envelope: ofTomorrow },
  {
    name: 'a field that is not in its schema',
    want: 'reject schema',
    envelope: signAnything({ ...payloadOf(root), more: 1 }),
  },
  {
    name: 'a signature too few',
    want: 'reject signers',
    envelope: encodeCbor([root.payloadBytes, root.signatures.slice(1)]),
  },
  { name: 'another topic', want: 'reject topic', envelope: root.envelope, source: gossip('rev') },
  { name: 'a heartbeat on any topic', want: 'reject topic', envelope: heartbeat.envelope, source: gossip('id') },
  { name: 'an id that is held', want: 'ignore duplicate', envelope: bot.genesis.envelope, source: gossip('id') },
  {
    name: 'a time 61 s ahead',
    want: 'ignore too_early',
    envelope: createRootLink(acme, alice, { aud: bit.did, iat: NOW_SECONDS + 61 }).envelope,
  },
  {
    name: 'a time 60 s ahead',
    want: 'accept',
    envelope: createRootLink(acme, alice, { aud: bit.did, iat: NOW_SECONDS + 60 }).envelope,
  },
  {
    name: 'a link that expired an hour ago',
    want: 'ignore expired',
    envelope: createRootLink(acme, alice, { aud: bit.did, iat: NOW_SECONDS - 4000, exp: NOW_SECONDS - 3600 }).envelope,
  },
  {
    name: 'a link that expired a second less than an hour ago',
    want: 'accept',
    envelope: createRootLink(acme, alice, { aud: bit.did, iat: NOW_SECONDS - 4000, exp: NOW_SECONDS - 3599 }).envelope,
  },
  {
    name: 'a budget spent',
    want: 'ignore busy',
    envelope: root.envelope,
    source: put(),
    options: { unaskedBurst: 0 },
  },
  { name: 'a private link by gossip', want: 'reject private', envelope: credential.envelope, source: gossip('link') },
  { name: 'a private link by put', want: 'reject private', envelope: credential.envelope, source: put() },
  { name: 'a private link pulled', want: 'reject private', envelope: credential.envelope },
  { name: 'a private link presented', want: 'accept', envelope: credential.envelope, source: presented },
  ...ofTwo.flatMap(({ t, envelope }): Row[] => [
    { name: `a ${t} by gossip`, want: 'reject topic', envelope, source: gossip('id') },
    { name: `a ${t} by put`, want: 'reject private', envelope, source: put() },
    { name: `a ${t} pulled`, want: 'reject private', envelope },
    { name: `a ${t} presented`, want: 'reject private', envelope, source: presented },
  ]),
  { name: 'a damaged signature', want: 'reject bad_signature', envelope: forged(root) },
  {
    name: 'a full store',
    want: 'ignore full',
    envelope: root.envelope,
    options: { statementsMax: everyone.length },
  },
  {
    name: 'an issuer whose log is not held',
    want: `pending ${alice.did}`,
    envelope: root.envelope,
    held: [acme.genesis],
  },
  {
    name: 'an organisation that is not held',
    want: `pending ${beta.did}`,
    envelope: bit.genesis.envelope,
    held: [acme.genesis],
  },
  {
    name: 'an operation whose prv is not held',
    want: `pending ${createRotate(acme, 'acme 1').id}`,
    envelope: createRotate(acme, 'acme 2', { prv: createRotate(acme, 'acme 1'), signers: [keyOf('acme 1 next')] })
      .envelope,
  },
  {
    name: 'a key that a later operation may list',
    want: `pending ${acme.did}`,
    envelope: unlistedOfOrganisation.envelope,
  },
  { name: 'a key that no operation can ever list', want: 'reject not_entitled', envelope: unlistedKey.envelope },
  {
    name: 'an operation that its prv does not allow',
    want: 'reject not_entitled',
    envelope: createRotate(acme, 'acme 1', { signers: [keyOf('stranger')] }).envelope,
  },
  {
    name: 'a link too many, of a higher place',
    want: 'ignore quota',
    envelope: higher.envelope,
    options: { limits: { linksPerOrganisation: 1 } },
    held: [...everyone, lower],
  },
  {
    name: 'an older heartbeat than the one held',
    want: 'ignore superseded',
    envelope: createHeartbeat(acme, { iat: NOW_SECONDS - 1 }).envelope,
    held: [...everyone, heartbeat],
  },
  { name: 'an operation by gossip', want: 'accept', envelope: createUpdate(acme).envelope, source: gossip('id') },
  { name: 'a link by gossip', want: 'accept', envelope: root.envelope, source: gossip('link') },
  {
    name: 'a revocation by gossip',
    want: 'accept',
    envelope: revocation.envelope,
    source: gossip('rev'),
  },
  { name: 'a heartbeat pulled', want: 'accept', envelope: heartbeat.envelope },
];

describe.each(ways)('%s', (_, offer) => {
  test.each(rows)('$name: $want', async ({ want, envelope, source = pulled, options, held = everyone }) => {
    const door = new Door(options).hold(...held);
    const before = door.ids();
    const outcome = await offer(door, envelope, source);
    expect(formatOutcome(outcome)).toBe(want);
    const id = outcome.statement?.id;
    switch (outcome.verdict) {
      case 'accept':
        expect(door.heard).toEqual([['accepted', id, source.via]]);
        expect(
          door.state.get(id as string) ?? door.state.heartbeatsOf(acme.did, door.clock.nowMs())[0]?.statement,
        ).toBe(outcome.statement);
        break;
      case 'reject':
        expect(door.heard).toEqual([['refused', outcome.code, source.via]]);
        break;
      case 'pending':
        expect(door.heard).toEqual([['awaiting', expect.stringContaining('did:mesh:'), 'peer']]);
        expect(door.pipeline.pendingCount).toBe(1);
        break;
      case 'ignore':
        expect(door.heard).toEqual([]);
    }
    if (outcome.verdict !== 'accept') expect(door.ids()).toEqual(before);
    await door.clock.advance(50);
    const kept = [...held, ...(outcome.verdict === 'accept' ? [outcome.statement] : [])];
    expect(await door.rows()).toEqual(
      kept
        .filter(({ t }) => t !== 'heartbeat/v1')
        .map(rowOf)
        .toSorted(),
    );
  });

  // Of two faults the first in this order is named, and no work is done for the second.
  const forgedRow = (
    name: string,
    want: string,
    signatures: number,
    statement: Statement,
    row: Partial<Row> = {},
  ): Row & { readonly signatures: number } => ({ name, want, signatures, envelope: forged(statement), ...row });
  const early = createRootLink(acme, alice, { aud: bit.did, iat: NOW_SECONDS + 61 });
  const late = createRootLink(acme, alice, { aud: bit.did, iat: NOW_SECONDS - 4000, exp: NOW_SECONDS - 3600 });
  const tooFew: DoorOptions = { unaskedBurst: 0 };
  const full: DoorOptions = { statementsMax: everyone.length };
  test.each<Row & { readonly signatures: number }>([
    forgedRow('the topic before what is held', 'reject topic', 0, acme.genesis, { source: gossip('rev') }),
    forgedRow('the topic before the budget', 'reject topic', 0, root, { source: gossip('rev'), options: tooFew }),
    forgedRow('what is held before signatures', 'ignore duplicate', 0, bot.genesis),
    forgedRow('what is held before the budget', 'ignore duplicate', 0, bot.genesis, { source: put(), options: tooFew }),
    forgedRow('the future before the budget', 'ignore too_early', 0, early, { source: put(), options: tooFew }),
    forgedRow('the future before signatures', 'ignore too_early', 0, early),
    forgedRow('the past before the budget', 'ignore expired', 0, late, { source: put(), options: tooFew }),
    forgedRow('the past before signatures', 'ignore expired', 0, late),
    forgedRow('the budget before signatures', 'ignore busy', 0, root, { source: put(), options: tooFew }),
    forgedRow('the budget before privacy', 'ignore busy', 0, credential, { source: put(), options: tooFew }),
    forgedRow('privacy before signatures', 'reject private', 0, credential),
    forgedRow('signatures before the mark', 'reject bad_signature', 2, root, { options: full }),
    forgedRow('signatures before what it waits for', 'reject bad_signature', 2, root, { held: [acme.genesis] }),
    forgedRow('signatures before entitlement', 'reject bad_signature', 1, unlistedKey),
    {
      name: 'the mark before entitlement',
      want: 'ignore full',
      signatures: 1,
      envelope: unlistedKey.envelope,
      options: full,
    },
    {
      name: 'the mark before what it waits for',
      want: 'ignore full',
      signatures: 2,
      envelope: root.envelope,
      options: { statementsMax: 1 },
      held: [acme.genesis],
    },
    {
      name: 'what it waits for before its place',
      want: `pending ${bit.did}`,
      signatures: 1,
      envelope: createChildLink(root, bit, { aud: bot.did }).envelope,
      options: { limits: { linksPerOrganisation: 0 } },
      held: [acme.genesis, alice.genesis],
    },
    {
      name: 'entitlement before its place',
      want: 'reject not_entitled',
      signatures: 1,
      envelope: unlistedKey.envelope,
      options: { limits: { linksPerOrganisation: 0 } },
    },
  ])('looks at $name: $want', async ({ want, envelope, signatures, source = pulled, options, held = everyone }) => {
    const door = new Door(options).hold(...held);
    expect(formatOutcome(await offer(door, envelope, source))).toBe(want);
    expect(door.signaturesChecked).toBe(signatures);
  });
});

describe('receiveMany()', () => {
  test('answers in order, and checks the signatures of those alone that got so far', async () => {
    const links = Array.from({ length: 200 }, (_, i) => createRootLink(acme, alice, { aud: bit.did, nonce: `${i}` }));
    const door = new Door().hold(...everyone);
    const envelopes = links.map((link, i) => {
      if (i % 10 === 3) return forged(link);
      if (i % 10 === 5) return new Uint8Array(i);
      return i % 10 === 7 ? bot.genesis.envelope : link.envelope;
    });
    const outcomes = await door.pipeline.receiveMany(envelopes, pulled);
    expect(outcomes.map(formatOutcome)).toEqual(
      links.map((_, i) => {
        if (i % 10 === 3) return 'reject bad_signature';
        if (i % 10 === 5) return 'reject malformed';
        return i % 10 === 7 ? 'ignore duplicate' : 'accept';
      }),
    );
    expect(outcomes.map(({ statement }) => statement?.id)).toEqual(
      links.map(({ id }, i) => (i % 10 === 5 ? undefined : i % 10 === 7 ? bot.genesis.id : id)),
    );
    expect(door.signaturesChecked).toBe(2 * 160);
  });

  test('accepts once what comes twice in one go, or meanwhile from elsewhere', async () => {
    const links = Array.from({ length: 20 }, (_, i) => createRootLink(acme, alice, { aud: bit.did, nonce: `${i}` }));
    const door = new Door().hold(...everyone);
    const envelopes = links.map(({ envelope }) => envelope);
    const many = door.pipeline.receiveMany([...envelopes, ...envelopes], pulled);
    expect(formatOutcome(door.pipeline.receive(envelopes[0] as Uint8Array, gossip('link')))).toBe('accept');
    expect((await many).map(formatOutcome)).toEqual(
      [...envelopes, ...envelopes].map((_, i) => (i > 0 && i < 20 ? 'accept' : 'ignore duplicate')),
    );
    expect(door.heard).toHaveLength(20);
  });

  test('goes one by one where there is no port for bulk', async () => {
    const links = Array.from({ length: 20 }, (_, i) => createRootLink(acme, alice, { aud: bit.did, nonce: `${i}` }));
    const door = new Door({ bulk: false }).hold(...everyone);
    const outcomes = await door.pipeline.receiveMany(
      links.map((link, i) => (i === 7 ? forged(link) : link.envelope)),
      pulled,
    );
    expect(outcomes.map(formatOutcome)).toEqual(links.map((_, i) => (i === 7 ? 'reject bad_signature' : 'accept')));
  });

  test('keeps the bytes of a statement alone, not the frame that they came in', () => {
    const door = new Door().hold(...everyone);
    const frame = new Uint8Array(100_000);
    frame.set(root.envelope, 500);
    const outcome = door.pipeline.receive(frame.subarray(500, 500 + root.envelope.length), pulled);
    expect(formatOutcome(outcome)).toBe('accept');
    frame.fill(0);
    const { envelope, payloadBytes, signatures, payload } = outcome.statement as Statement;
    expect(parseStatement(envelope).id).toBe(root.id);
    for (const part of [envelope, payloadBytes, ...signatures, ...payload.by])
      expect(part.buffer.byteLength).toBe(root.envelope.length);
  });
});

describe('the budget of unasked statements', () => {
  const none = (): boolean => false;

  test('is 5,000 at once and 200 a second, for each peer', async () => {
    const door = new Door({ isSignatureValid: none });
    const offer = (source: Source): string => formatOutcome(door.pipeline.receive(root.envelope, source));
    const count = (source: Source): number => {
      let taken = 0;
      while (offer(source) === 'reject bad_signature') taken += 1;
      expect(offer(source)).toBe('ignore busy');
      return taken;
    };
    expect(count(put('a'))).toBe(5_000);
    expect(offer(gossip('link', 'a'))).toBe('ignore busy'); // gossip and put share it
    expect(count(put('b'))).toBe(5_000);
    await door.clock.advance(1_000);
    expect(count(put('a'))).toBe(200);
    await door.clock.advance(60_000);
    expect(count(gossip('link', 'a'))).toBe(5_000);
  });

  test('is not touched by what was asked for, and refuses what is still welcome later', async () => {
    const door = new Door({ unaskedBurst: 1, unaskedPerSecond: 1 }).hold(acme.genesis);
    expect(formatOutcome(door.pipeline.receive(alice.genesis.envelope, put()))).toBe('accept');
    expect(formatOutcome(door.pipeline.receive(bot.genesis.envelope, put()))).toBe('ignore busy');
    expect(formatOutcome(door.pipeline.receive(beta.genesis.envelope, pulled))).toBe('accept');
    expect(formatOutcome(door.pipeline.receive(root.envelope, presented))).toBe(`accept`);
    expect(formatOutcome(door.pipeline.receive(bot.genesis.envelope, put()))).toBe('ignore busy');
    await door.clock.advance(1_000);
    expect(formatOutcome(door.pipeline.receive(bot.genesis.envelope, put()))).toBe('accept');
    expect(door.ids()).toContain(bot.genesis.id);
  });
});

describe('what waits', () => {
  const child = createChildLink(root, bit, { aud: bot.did });

  test('is in no set: neither held, nor stored, nor told of', async () => {
    const door = new Door().hold(acme.genesis, alice.genesis);
    expect(formatOutcome(door.pipeline.receive(child.envelope, gossip('link')))).toBe(`pending ${bit.did}`);
    await door.clock.advance(1_000);
    expect(door.state.get(child.id)).toBeUndefined();
    expect(door.ids()).toEqual([acme.genesis.id, alice.genesis.id].toSorted());
    expect(await door.rows()).toEqual([acme.genesis, alice.genesis].map(rowOf).toSorted());
    expect(door.pipeline.bytes).toBe(acme.genesis.envelope.length + alice.genesis.envelope.length);
    expect(door.heard).toEqual([['awaiting', bit.did, 'peer']]);
  });

  test('is judged again when the DID comes, step by step, and told of after what it waited for', () => {
    const door = new Door();
    for (const statement of [child, root, alice.genesis, bit.genesis])
      expect(door.pipeline.receive(statement.envelope, put(statement.id)).verdict).toBe('pending');
    expect(door.heard).toEqual([
      ['awaiting', bit.did, child.id],
      ['awaiting', acme.did, root.id],
      ['awaiting', acme.did, alice.genesis.id],
      ['awaiting', beta.did, bit.genesis.id],
    ]);
    door.heard.length = 0;
    expect(formatOutcome(door.pipeline.receive(beta.genesis.envelope, pulled))).toBe('accept');
    // Its agent came in at once, and its link waits for the sponsor now.
    expect(door.heard).toEqual([
      ['accepted', beta.genesis.id, 'pulled'],
      ['accepted', bit.genesis.id, 'put'],
      ['awaiting', alice.did, child.id],
    ]);
    door.heard.length = 0;
    expect(formatOutcome(door.pipeline.receive(acme.genesis.envelope, gossip('id')))).toBe('accept');
    expect(door.heard).toEqual([
      ['accepted', acme.genesis.id, 'gossip'],
      ['awaiting', alice.did, root.id],
      ['accepted', alice.genesis.id, 'put'],
      ['accepted', child.id, 'put'],
      ['accepted', root.id, 'put'],
    ]);
    expect(door.pipeline.pendingCount).toBe(0);
    expect(door.ids()).toHaveLength(6);
  });

  test('is judged again when the operation comes that it builds on', () => {
    const rotations = [1, 2, 3, 4].reduce<Statement<'didop/v1'>[]>((all, i) => {
      const prv = all.at(-1) ?? acme.genesis;
      return [
        ...all,
        createRotate(acme, `acme ${i}`, { prv, signers: [keyOf(i === 1 ? 'acme next' : `acme ${i - 1} next`)] }),
      ];
    }, []);
    const [first, ...later] = rotations as [Statement, ...Statement[]];
    const door = new Door().hold(acme.genesis);
    for (const { envelope } of later.toReversed())
      expect(door.pipeline.receive(envelope, pulled).verdict).toBe('pending');
    expect(door.heard).toEqual(later.map(() => ['awaiting', acme.did, 'peer']));
    expect(formatOutcome(door.pipeline.receive(first.envelope, pulled))).toBe('accept');
    expect(door.pipeline.pendingCount).toBe(0);
    expect(door.state.didState(acme.did)?.seq).toBe(4);
    expect(door.ids()).toHaveLength(5);
  });

  test('asks once: not when it is offered again, nor when an operation comes that does not help', async () => {
    const door = new Door().hold(...everyone);
    const rotate = createRotate(acme, 'acme 1');
    const signed = createRevocation(acme, root, { signers: [keySet('acme 2').sign] });
    expect(formatOutcome(door.pipeline.receive(signed.envelope, gossip('rev', 'a')))).toBe(`pending ${acme.did}`);
    expect(formatOutcome(door.pipeline.receive(signed.envelope, gossip('rev', 'b')))).toBe(`pending ${acme.did}`);
    expect(formatOutcome(door.pipeline.receive(rotate.envelope, pulled))).toBe('accept');
    expect(door.heard).toEqual([
      ['awaiting', acme.did, 'a'],
      ['accepted', rotate.id, 'pulled'],
    ]);
    expect(door.pipeline.pendingCount).toBe(1);
    const next = createRotate(acme, 'acme 2', { prv: rotate, signers: [keyOf('acme 1 next')] });
    expect(formatOutcome(door.pipeline.receive(next.envelope, pulled))).toBe('accept');
    expect(door.heard.slice(2)).toEqual([
      ['accepted', next.id, 'pulled'],
      ['accepted', signed.id, 'gossip'],
    ]);
  });

  test('is refused with its own sender when what it waited for condemns it', () => {
    const door = new Door().hold(acme.genesis, alice.genesis, beta.genesis);
    expect(formatOutcome(door.pipeline.receive(unlistedKey.envelope, gossip('link', 'thief')))).toBe(
      `pending ${bit.did}`,
    );
    expect(formatOutcome(door.pipeline.receive(bit.genesis.envelope, pulled))).toBe('accept');
    expect(door.heard).toEqual([
      ['awaiting', bit.did, 'thief'],
      ['accepted', bit.genesis.id, 'pulled'],
      ['refused', 'not_entitled', 'gossip'],
    ]);
    expect(door.pipeline.pendingCount).toBe(0);
  });

  test('is forgotten after ten minutes, however often it was judged again', async () => {
    const door = new Door().hold(...everyone);
    const signed = createRevocation(acme, root, { signers: [keySet('acme 2').sign] });
    door.pipeline.receive(signed.envelope, pulled);
    await door.clock.advance(5 * 60_000);
    expect(formatOutcome(door.pipeline.receive(createRotate(acme, 'acme 1').envelope, pulled))).toBe('accept');
    await door.clock.advance(5 * 60_000 - 1);
    door.pipeline.sweep();
    expect(door.pipeline.pendingCount).toBe(1);
    await door.clock.advance(1);
    door.pipeline.sweep();
    expect(door.pipeline.pendingCount).toBe(0);
  });

  test('is at most 256 statements of one peer: its own oldest gives way', () => {
    const door = new Door().hold(acme.genesis, alice.genesis);
    const waiting = Array.from({ length: 258 }, (_, i) => createChildLink(root, bit, { aud: bot.did, nonce: `${i}` }));
    const [other, ...own] = waiting as [Statement, ...Statement[]];
    door.pipeline.receive(other.envelope, put('other'));
    for (const { envelope } of own) door.pipeline.receive(envelope, put('peer'));
    expect(door.pipeline.pendingCount).toBe(257);
    door.hold(beta.genesis, bit.genesis);
    expect(door.ids()).toHaveLength(4 + 257);
    expect(door.state.get((own[0] as Statement).id)).toBeUndefined();
    expect(door.state.get(other.id)).toBeDefined();
  });

  test('is nothing of this daemon: its own statements are admitted or refused', async () => {
    const door = new Door().hold(acme.genesis, alice.genesis);
    await expect(door.pipeline.submit([child])).rejects.toMatchObject({ code: 'pending' });
    expect(door.pipeline.pendingCount).toBe(0);
    expect(door.heard).toEqual([]);
  });
});

describe('what two parties keep', () => {
  test.each(ofTwo.map(({ t, ...statement }) => [t, { t, ...statement }] as const))(
    'is not held, stored or waited for, wherever a %s comes from',
    async (_, { id, envelope }) => {
      const door = new Door().hold(...everyone, root);
      await door.clock.advance(50);
      const rows = await door.rows();
      for (const source of [put(), presented, gossip('link')]) door.pipeline.receive(envelope, source);
      await door.pipeline.receiveMany(
        Array.from({ length: 20 }, () => envelope),
        presented,
      );
      await expect(door.pipeline.submit([parseStatement(envelope)])).rejects.toMatchObject({ code: 'private' });
      await door.clock.advance(1_000);
      expect(door.state.get(id)).toBeUndefined();
      expect(door.pipeline.pendingCount).toBe(0);
      expect(await door.rows()).toEqual(rows);
    },
  );
});

describe('private links', () => {
  test('are held and stored, outside the set', async () => {
    const door = new Door().hold(...everyone, root);
    expect(formatOutcome(door.pipeline.receive(credential.envelope, presented))).toBe('accept');
    expect(door.state.link(credential.id)).toBeDefined();
    expect(door.ids()).not.toContain(credential.id);
    await door.clock.advance(50);
    expect(await door.rows()).toContain(rowOf(credential));
    expect(formatOutcome(door.pipeline.receive(credential.envelope, presented))).toBe('ignore duplicate');
  });

  test('leave when they have expired', async () => {
    const door = new Door().hold(...everyone, root);
    door.pipeline.receive(credential.envelope, presented);
    const { bytes } = door.pipeline;
    await door.clock.advance(1000 * (credential.payload.exp + 3600 - NOW_SECONDS));
    door.pipeline.sweep();
    expect(door.heard.at(-1)).toEqual(['removed', credential.id]);
    expect(door.state.link(credential.id)).toBeUndefined();
    expect(door.pipeline.bytes).toBe(bytes - credential.envelope.length);
    await door.pipeline.flush();
    expect(await door.rows()).not.toContain(rowOf(credential));
  });
});

describe('a full store', () => {
  const gamma = createOrganisation('gamma');
  const lateAgent = createAgent(acme, 'late agent');

  test('admits organisations in use alone, and says so once', () => {
    const door = new Door({ statementsMax: 3 }).hold(acme.genesis, alice.genesis, beta.genesis);
    door.pipeline.setInUse(acme.did, true);
    const offer = ({ envelope }: Statement): string => formatOutcome(door.pipeline.receive(envelope, pulled));
    expect(offer(bit.genesis)).toBe('ignore full');
    expect(offer(gamma.genesis)).toBe('ignore full');
    expect(offer(lateAgent.genesis)).toBe('accept'); // a genesis: its organisation is its ctl
    expect(offer(createUpdate(acme))).toBe('accept');
    expect(offer(root)).toBe('accept');
    expect(offer(createChildLink(root, lateAgent, { aud: bot.did }))).toBe('accept'); // its issuer's organisation
    expect(offer(revocation)).toBe('accept');
    expect(offer(createHeartbeat(beta))).toBe('accept'); // takes no place
    expect(door.logged).toEqual([expect.stringContaining('at its mark')]);
    door.pipeline.setInUse(acme.did, false);
    expect(offer(bot.genesis)).toBe('ignore full');
    door.pipeline.setInUse(gamma.did, true);
    expect(offer(gamma.genesis)).toBe('accept'); // an organisation's own genesis
  });

  test('is full by bytes too, and has room again when something leaves', async () => {
    const bytesMax = everyone.reduce((sum, { envelope }) => sum + envelope.length, 0) + 1;
    const door = new Door({ bytesMax }).hold(...everyone, root);
    const other = createRootLink(acme, alice, { aud: bit.did, nonce: 'other', exp: NOW_SECONDS + 200_000 });
    expect(formatOutcome(door.pipeline.receive(other.envelope, pulled))).toBe('ignore full');
    await door.clock.advance(1000 * (root.payload.exp + 3600 - NOW_SECONDS));
    door.pipeline.sweep();
    expect(formatOutcome(door.pipeline.receive(other.envelope, pulled))).toBe('accept');
    expect(door.logged).toHaveLength(1);
    expect(formatOutcome(door.pipeline.receive(gamma.genesis.envelope, pulled))).toBe('ignore full');
    expect(door.logged).toHaveLength(2);
  });
});

describe('what leaves the set', () => {
  test('to make room is gone from state, index and store', async () => {
    const door = new Door({ limits: { linksPerOrganisation: 1 } }).hold(...everyone, higher);
    await door.pipeline.flush();
    expect(await door.rows()).toContain(rowOf(higher));
    const { bytes } = door.pipeline;
    expect(formatOutcome(door.pipeline.receive(lower.envelope, pulled))).toBe('accept');
    expect(door.heard).toEqual([
      ['removed', higher.id],
      ['accepted', lower.id, 'pulled'],
    ]);
    expect(door.ids()).toEqual([...everyone, lower].map(({ id }) => id).toSorted());
    expect(door.pipeline.bytes).toBe(bytes + lower.envelope.length - higher.envelope.length);
    await door.pipeline.flush();
    expect(await door.rows()).toEqual([...everyone, lower].map(rowOf).toSorted());
    expect(formatOutcome(door.pipeline.receive(higher.envelope, pulled))).toBe('ignore quota');
  });

  test('before it was ever written leaves no row', async () => {
    const door = new Door({ limits: { linksPerOrganisation: 1 } }).hold(...everyone, higher);
    door.hold(lower);
    await door.pipeline.flush();
    expect(await door.rows()).toEqual([...everyone, lower].map(rowOf).toSorted());
  });

  test('takes along what could not have come without it', async () => {
    const others = [1, 2, 3].map((i) => createAgent(acme, `other ${i}`));
    const agents = others.toSorted((a, b) => (a.genesis.id < b.genesis.id ? -1 : 1)) as [Identity, Identity, Identity];
    const link = createChildLink(root, agents[2], { aud: bit.did });
    const door = new Door({ limits: { didsPerOrganisation: 3 } }).hold(
      acme.genesis,
      alice.genesis,
      agents[2].genesis,
      beta.genesis,
      bit.genesis,
      root,
      link,
    );
    expect(formatOutcome(door.pipeline.receive(agents[0].genesis.envelope, pulled))).toBe('accept');
    const gone = door.heard.filter(([what]) => what === 'removed').map(([, id]) => id);
    const kept = [
      acme.genesis,
      alice.genesis,
      agents[2].genesis,
      beta.genesis,
      bit.genesis,
      root,
      link,
      agents[0].genesis,
    ]
      .map(({ id }) => id)
      .filter((id) => !gone.includes(id));
    expect(gone).toContain(link.id); // whether its issuer or its sponsor had to go
    expect(door.ids()).toEqual(kept.toSorted());
    await door.pipeline.flush();
    expect(await door.rows()).toHaveLength(kept.length);
  });

  test('by expiry goes with a sweep, and is not taken back', async () => {
    const door = new Door().hold(...everyone, root);
    await door.pipeline.flush();
    await door.clock.advance(1000 * (root.payload.exp + 3600 - NOW_SECONDS) - 1);
    door.pipeline.sweep();
    expect(door.heard).toEqual([]);
    await door.clock.advance(1);
    door.pipeline.sweep();
    expect(door.heard).toEqual([['removed', root.id]]);
    expect(door.ids()).toEqual(everyone.map(({ id }) => id).toSorted());
    expect(formatOutcome(door.pipeline.receive(root.envelope, pulled))).toBe('ignore expired');
    await door.clock.advance(50);
    expect(await door.rows()).toEqual(everyone.map(rowOf).toSorted());
  });
});

describe('receiveAnswer()', () => {
  const nonce = new Uint8Array(16).fill(3);
  const answer = createHeartbeat(acme, { nonce });
  const attempt =
    (door: Door, envelope: Uint8Array, asked = nonce) =>
    () =>
      door.pipeline.receiveAnswer(envelope, asked, door.clock.nowMs());

  test('takes the answer to an own nonce, whose age counts from the question', () => {
    const door = new Door().hold(...everyone);
    const { id } = door.pipeline.receiveAnswer(answer.envelope, nonce, 1234);
    expect(id).toBe(answer.id);
    expect(door.state.heartbeatsOf(acme.did, door.clock.nowMs())[0]).toMatchObject({ askedMs: 1234 });
    expect(door.heard).toEqual([['accepted', answer.id, 'local']]);
    expect(door.store.batches).toEqual([]);
  });

  test.each([
    ['another kind', root.envelope, 'schema'],
    ['no nonce', heartbeat.envelope, 'replay'],
    ['another nonce', createHeartbeat(acme, { nonce: new Uint8Array(16) }).envelope, 'replay'],
    ['a damaged signature', forged(answer), 'bad_signature'],
    [
      'a key that may be listed later',
      createHeartbeat(acme, { nonce, signers: [keyOf('stranger')] }).envelope,
      'pending',
    ],
    ['no statement', new Uint8Array(9), 'malformed'],
  ])('refuses %s: %3$s', (_, envelope, code) => {
    const door = new Door().hold(...everyone);
    expect(attempt(door, envelope)).toThrow(expect.objectContaining({ code }));
    expect(door.heard).toEqual([]);
  });
});

test('every kind that is in the set is admitted by gossip on its own topic alone', () => {
  const binding = createBinding(acme);
  const logStatements = [binding, createCheckpoint(ownLog('acme'), 3), createFork(binding, ownLog('acme'), [2, 3])];
  const samples = [createRecover(acme, 'acme 1'), root, revocation, heartbeat, ...logStatements];
  const kinds = Object.entries<{ isOfTwo?: true }>(KINDS).flatMap(([t, { isOfTwo }]) => (isOfTwo === true ? [] : t));
  expect(new Set(samples.map(({ t }) => t))).toEqual(new Set(kinds));
  for (const sample of samples) {
    for (const topic of TOPICS) {
      const door = new Door().hold(...everyone, ...(sample.t === 'checkpoint/v1' ? [binding] : []));
      const outcome = formatOutcome(door.pipeline.receive(sample.envelope, gossip(topic)));
      expect(outcome).toBe(kindRow(sample.t).topic === topic ? 'accept' : 'reject topic');
    }
  }
});
