import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isMeshError } from '../../../protocol/errors.ts';
import { RANGE_MESSAGE_BYTES_MAX, RANGE_MESSAGE_BYTES_MIN, RANGE_ROUNDS_MAX } from '../../../protocol/limits.ts';
import {
  type ReconcilerOptions,
  createReconciler,
  parseMessage,
  shortestBound,
} from '../../../protocol/sync/negentropy.ts';
import { RangeIndex, type RangeItem } from '../../../protocol/sync/range-index.ts';
import { mutateBytes } from '../../fuzz/mutate.ts';
import { type SeededRandom, seededRandom, suiteSeed } from '../../fuzz/random.ts';
import { bytesOf, hashId, hex, idOf, naiveFingerprint } from './sets.ts';

const tiny = { messageBytesMax: RANGE_MESSAGE_BYTES_MIN, roundsMax: 10_000 };
const whole = { roundsMax: 10_000 };

const codeOf = (act: () => unknown): unknown => {
  try {
    act();
    return 'accepted';
  } catch (error) {
    return isMeshError(error) ? error.code : error;
  }
};

interface Outcome {
  readonly have: Set<string>;
  readonly need: Set<string>;
  readonly rounds: number;
  readonly bytes: number;
  readonly complete: boolean;
}

/** Runs one reconciliation to its end; `between` may change either set after every answer. */
function reconcile(
  asker: RangeIndex,
  other: RangeIndex,
  options: ReconcilerOptions,
  between: (soFar: Outcome) => void = () => {},
): Outcome {
  const { messageBytesMax = RANGE_MESSAGE_BYTES_MAX } = options;
  const ours = createReconciler(asker, options);
  const theirs = createReconciler(other, options);
  const have = new Set<string>();
  const need = new Set<string>();
  let rounds = 0;
  let bytes = 0;
  let question: Uint8Array | undefined = ours.initiate();
  while (question !== undefined) {
    const reply = theirs.respond(question);
    expect(Math.max(question.length, reply.length)).toBeLessThanOrEqual(messageBytesMax);
    const result = ours.reconcile(reply);
    expect(result.complete && result.reply !== undefined).toBe(false);
    for (const id of result.have) have.add(hex(id));
    for (const id of result.need) need.add(hex(id));
    rounds += 1;
    bytes += question.length + reply.length;
    between({ have, need, rounds, bytes, complete: result.complete });
    question = result.reply;
    if (question === undefined) return { have, need, rounds, bytes, complete: result.complete };
  }
  throw new Error('the asker had nothing to ask');
}

interface Sets {
  readonly asker: RangeItem[];
  readonly other: RangeItem[];
}

/** Two overlapping sets: `onlyPercent` of the items are on one side alone. */
function drawSets(random: SeededRandom, count: number, epochs: number, onlyPercent: number, prefixBytes: number): Sets {
  const sets: Sets = { asker: [], other: [] };
  for (let i = 0; i < count; i++) {
    const id = hashId(`${random.fraction()}`);
    id.fill(0x5a, 0, prefixBytes);
    const item = { epoch: random.below(epochs), id };
    const side = random.below(100) < onlyPercent ? random.below(2) : 2;
    if (side !== 1) sets.asker.push(item);
    if (side !== 0) sets.other.push(item);
  }
  return sets;
}

const idsOf = (items: Iterable<RangeItem>): Set<string> => new Set(Array.from(items, ({ id }) => hex(id)));

function expectDifferences({ asker, other }: Sets, { have, need, complete }: Outcome): void {
  const [ours, theirs] = [idsOf(asker), idsOf(other)];
  expect(have).toEqual(new Set([...ours].filter((id) => !theirs.has(id))));
  expect(need).toEqual(new Set([...theirs].filter((id) => !ours.has(id))));
  expect(complete).toBe(true);
}

describe('messages byte for byte', () => {
  it('an empty asker lists no ids up to infinity', () => {
    //                                                                    v  inf   ids n=0
    expect(hex(createReconciler(new RangeIndex()).initiate())).toBe('61' + '0000' + '02' + '00');
  });

  it('31 items are listed, in order', () => {
    const items = Array.from({ length: 31 }, (_, i) => ({ epoch: i >> 2, id: idOf(i & 3, i) }));
    const message = createReconciler(RangeIndex.of(items.toReversed())).initiate();
    //                        v  inf  ids n=31
    expect(hex(message)).toBe(`610000021f${items.map(({ id }) => hex(id)).join('')}`);
  });

  it('32 items are 16 fingerprints of 2, with epochs as differences', () => {
    // Item i = 1..32: epoch 100 i, id 31 zero bytes ‖ i. The first bound is item 3: number(1 + 300) = 82 2d, no prefix;
    // the next ones 1 + 200 further: 81 49; the last is infinity.
    const items = Array.from({ length: 32 }, (_, i) => ({
      epoch: 100 * (i + 1),
      id: idOf(...new Uint8Array(31), i + 1),
    }));
    const message = hex(createReconciler(RangeIndex.of(items)).initiate());
    const fingerprints = [
      '66a30d7fe40a00febafa5189d86eb1c5', // SHA-256(31 zero bytes ‖ 03 ‖ 02): 1 + 2 in the highest byte, two ids
      'db22ff93a94a75daf11adef549aeb7db', // 3 + 4
      'd35eb388e7377d5e2c5ee6eb04c8b43c',
      ...Array.from({ length: 13 }, (_, i) => hex(naiveFingerprint(items.slice(2 * i + 6, 2 * i + 8)))),
    ];
    const bounds = ['822d00', ...Array.from({ length: 14 }, () => '814900'), '0000'];
    expect(message).toBe(`61${bounds.map((bound, i) => `${bound}01${fingerprints[i]}`).join('')}`);
  });

  it('items of one epoch are parted by the shortest prefix, and the epoch is written once', () => {
    // 33 items: the first part has 3, the others 2. First bound: epoch 0 -> 01, prefix of 3 bytes aa bb 03.
    const items = Array.from({ length: 33 }, (_, i) => ({ epoch: 0, id: idOf(0xaa, 0xbb, i, 0xff) }));
    const message = hex(createReconciler(RangeIndex.of(items)).initiate());
    const starts = [0, ...Array.from({ length: 15 }, (_, i) => 3 + 2 * i), 33];
    const parts = starts.slice(1).map((to, i) => {
      const bound = to === 33 ? '0000' : `0103aabb${to.toString(16).padStart(2, '0')}`;
      return `${bound}01${hex(naiveFingerprint(items.slice(starts[i], to)))}`;
    });
    expect(message).toBe(`61${parts.join('')}`);
  });

  it('an answer skips what agrees, in one piece, and leaves out the skip at the end', () => {
    const items = [5, 15, 25, 35].map((epoch) => ({ epoch, id: idOf(epoch) }));
    const [five, fifteen, , last] = items as [RangeItem, RangeItem, RangeItem, RangeItem];
    const { respond } = createReconciler(RangeIndex.of(items));
    const wrong = '00'.repeat(16);
    // up to 10: skip; to 20: the right fingerprint; to 30: a wrong one; to 40: an id list; to infinity: the right one
    const question = `61 0b0000 0b0001${hex(naiveFingerprint([fifteen]))} 0b0001${wrong} 0b000201${hex(five.id)} 000001${hex(naiveFingerprint([]))}`;
    // up to 20: 15 00 skip; to 30: +10, list of one; to 40: +10, list of one; nothing more
    expect(hex(respond(bytesOf(question)))).toBe(`61150000${'0b000201'}${hex(idOf(25))}${'0b000201'}${hex(last.id)}`);
    expect(hex(respond(bytesOf(`61 000001 ${hex(naiveFingerprint(items))}`)))).toBe('61');
    expect(hex(respond(bytesOf('61')))).toBe('61');
  });

  it('the asker learns from a list what it has and needs, and has no more to ask', () => {
    const index = RangeIndex.of([1, 2, 3].map((epoch) => ({ epoch, id: idOf(epoch) })));
    // up to epoch 3: they list 2 and 9
    const result = createReconciler(index).reconcile(bytesOf(`61 0400 02 02 ${hex(idOf(9))} ${hex(idOf(2))}`));
    expect(result).toEqual({ complete: true, have: [idOf(1)], need: [idOf(9)] });
  });

  it('an answer without room closes with a fingerprint of the rest', () => {
    const items = Array.from({ length: 200 }, (_, i) => ({ epoch: i, id: hashId(`${i}`) }));
    const { respond } = createReconciler(RangeIndex.of(items), tiny);
    const answer = respond(bytesOf('61 0000 02 00'));
    // 4,096 less 1 version, 39 + 19 kept for a skip and the closing, 44 for the head of the list: 124 ids of 32 bytes
    const ids = items
      .slice(0, 124)
      .map(({ id }) => hex(id))
      .join('');
    expect(hex(answer)).toBe(`617d00027c${ids}000001${hex(naiveFingerprint(items.slice(124)))}`);
  });

  it.each([
    ['epochs differ', 4, '0102', 5, '0102', 5, ''],
    ['first byte differs', 4, '01', 4, '02ff', 4, '02'],
    ['third byte differs, to zero bytes after it', 4, '010200', 4, '010201', 4, '010201'],
    ['all but the last byte shared', 4, 'aa'.repeat(31), 4, `${'aa'.repeat(31)}01`, 4, `${'aa'.repeat(31)}01`],
  ])('shortestBound() when %s', (_, epochA, idA, epochB, idB, epoch, prefix) => {
    const bound = shortestBound(
      { epoch: epochA, id: idOf(...bytesOf(idA)) },
      { epoch: epochB, id: idOf(...bytesOf(idB)) },
    );
    expect({ epoch: bound.epoch, prefix: hex(bound.prefix) }).toEqual({ epoch, prefix });
  });
});

describe('parseMessage()', () => {
  const id = '07'.repeat(32);

  it.each([
    ['only the version', '61', 0],
    ['infinity twice', '61 0000 00 0000 00', 2],
    ['equal bounds', '61 0500 00 0100 00', 2],
    ['equal bounds, one written with zero bytes', '61 05020700 00 010107 00', 2],
    ['the largest epoch', '61 908080800000 00', 1],
    ['a full id as bound', `61 0120${id} 00`, 1],
    ['an id list with an id twice', `61 0000 02 02 ${id} ${id}`, 1],
  ])('accepts %s', (_, text, count) => {
    expect(parseMessage(bytesOf(text)).length).toBe(count);
  });

  it.each([
    ['no bytes', '', 'malformed'],
    ['a byte that is no version', '41', 'malformed'],
    ['version 0', '60', 'version'],
    ['version 2', '62', 'version'],
    ['a bound alone', '61 0500', 'malformed'],
    ['mode 3', '61 0000 03', 'malformed'],
    ['an epoch with a leading zero digit', '61 800500 00', 'malformed'],
    ['an epoch above 2^32 - 1', '61 908080800100 00', 'malformed'],
    ['a finite bound after infinity', '61 0000 00 0100 00', 'malformed'],
    ['infinity with an id prefix', '61 000107 00', 'malformed'],
    ['a prefix of 33 bytes', `61 0121${id}07 00`, 'malformed'],
    ['a prefix that ends early', '61 012007', 'malformed'],
    ['a bound below the one before it', '61 050107 00 010106 00', 'malformed'],
    ['a fingerprint of 15 bytes', `61 0000 01 ${'07'.repeat(15)}`, 'malformed'],
    ['an id list shorter than it says', `61 0000 02 02 ${id}`, 'malformed'],
    ['an id list of 2^34 ids', '61 0000 02 bfffffff7f', 'malformed'],
    ['a byte after the last range', '61 0000 00 00', 'malformed'],
  ])('rejects %s', (_, text, code) => {
    expect(codeOf(() => parseMessage(bytesOf(text)))).toBe(code);
    const reconciler = createReconciler(RangeIndex.of([{ epoch: 4, id: idOf(7) }]));
    expect(codeOf(() => reconciler.respond(bytesOf(text)))).toBe(code);
    expect(codeOf(() => reconciler.reconcile(bytesOf(text)))).toBe(code);
  });

  it('rejects one byte more than the limit, before reading any', () => {
    const message = new Uint8Array(RANGE_MESSAGE_BYTES_MAX + 1);
    expect(codeOf(() => parseMessage(message))).toBe('too_large');
    expect(codeOf(() => parseMessage(message.subarray(1)))).toBe('malformed');
    expect(codeOf(() => createReconciler(new RangeIndex(), tiny).respond(new Uint8Array(4_097)))).toBe('too_large');
  });
});

describe('reconciliation', () => {
  const shape = fc.record({
    seed: fc.integer(),
    count: fc.oneof(fc.integer({ min: 0, max: 80 }), fc.integer({ min: 0, max: 4_000 })),
    epochs: fc.constantFrom(1, 2, 60, 40_000),
    onlyPercent: fc.constantFrom(0, 1, 10, 60, 100),
    prefixBytes: fc.constantFrom(0, 3, 28),
  });
  const setsOf = ({
    seed,
    count,
    epochs,
    onlyPercent,
    prefixBytes,
  }: {
    seed: number;
    count: number;
    epochs: number;
    onlyPercent: number;
    prefixBytes: number;
  }): Sets => drawSets(seededRandom(seed), count, epochs, onlyPercent, prefixBytes);

  it('finds exactly the differences, within 4 rounds while messages have room', () => {
    fc.assert(
      fc.property(shape, (drawn) => {
        const sets = setsOf(drawn);
        const outcome = reconcile(RangeIndex.of(sets.asker), RangeIndex.of(sets.other), whole);
        expectDifferences(sets, outcome);
        // Both sides divide by 16 in turn: 4,000, 250, 16, then a list that is answered with a list.
        expect(outcome.rounds).toBeLessThanOrEqual(4);
      }),
      { numRuns: 60 },
    );
  });

  it('finds exactly the differences in messages of 4 KiB, within a bounded number of rounds', () => {
    fc.assert(
      fc.property(shape, (drawn) => {
        const sets = setsOf(drawn);
        const outcome = reconcile(RangeIndex.of(sets.asker), RangeIndex.of(sets.other), tiny);
        expectDifferences(sets, outcome);
        // The first range that differs is settled within 4 rounds, wherever a message ends, and with it at least one id.
        expect(outcome.rounds).toBeLessThanOrEqual(4 * (outcome.have.size + outcome.need.size + 1));
      }),
      { numRuns: 60 },
    );
  });

  it('finds any small sets of near ids, shrunk to the least that fails', () => {
    const item = fc.record({
      epoch: fc.integer({ min: 0, max: 2 }),
      id: fc.uint8Array({ minLength: 2, maxLength: 2 }),
      side: fc.integer({ min: 0, max: 2 }),
    });
    const distinct = fc.uniqueArray(item, { maxLength: 120, selector: ({ id }) => hex(id) });
    fc.assert(
      fc.property(distinct, (drawn) => {
        const items = drawn.map(({ epoch, id, side }) => ({ epoch, id: idOf(0xff, ...id), side }));
        const sets = { asker: items.filter(({ side }) => side !== 1), other: items.filter(({ side }) => side !== 0) };
        expectDifferences(sets, reconcile(RangeIndex.of(sets.asker), RangeIndex.of(sets.other), whole));
      }),
      { numRuns: 200 },
    );
  });

  it.each([
    ['nothing', 0, 0],
    ['a few of them', 9, 0],
    ['a few others', 0, 9],
    ['a few of them and others', 9, 9],
    ['half of them and as many others', 3_000, 3_000],
  ])('reports at most a message of ids at once to a peer that holds %s', (_, shared, own) => {
    const random = seededRandom(11);
    const asker = Array.from({ length: 6_000 }, (_unused, i) => ({ epoch: i, id: hashId(`a${i}`) }));
    const other = Array.from({ length: own }, (_unused, i) => ({ epoch: random.below(6_000), id: hashId(`b${i}`) }));
    for (let i = 0; i < shared; i++) other.push(random.pick(asker));
    let before = 0;
    const outcome = reconcile(RangeIndex.of(asker), RangeIndex.of(other), tiny, ({ have }) => {
      expect(have.size - before).toBeLessThanOrEqual(RANGE_MESSAGE_BYTES_MIN / 32);
      before = have.size;
    });
    expectDifferences({ asker, other }, outcome);
  });

  it('stops after 24 rounds and says that it is not complete', () => {
    const items = Array.from({ length: 8_000 }, (_, i) => ({ epoch: i, id: hashId(`${i}`) }));
    const outcome = reconcile(new RangeIndex(), RangeIndex.of(items), { messageBytesMax: RANGE_MESSAGE_BYTES_MIN });
    expect(outcome.rounds).toBe(RANGE_ROUNDS_MAX);
    expect(outcome.complete).toBe(false);
    expect(outcome.need).toEqual(idsOf(items.slice(0, outcome.need.size)));
  });

  it('ends while both sets change between rounds, and finds the rest the next time', () => {
    fc.assert(
      fc.property(shape, fc.boolean(), (drawn, isTiny) => {
        const random = seededRandom(drawn.seed ^ 1);
        const { asker, other } = setsOf(drawn);
        const [ours, theirs] = [RangeIndex.of(asker), RangeIndex.of(other)];
        const change = (index: RangeIndex): void => {
          for (let i = random.below(4); i > 0; i--)
            index.insert({ epoch: random.below(drawn.epochs), id: hashId(`new ${random.fraction()}`) });
          for (let i = random.below(4); i > 0 && index.size > 0; i--) index.delete(index.at(random.below(index.size)));
        };
        const options = isTiny ? tiny : whole;
        reconcile(ours, theirs, options, ({ rounds }) => {
          if (rounds > 200) return; // changes must end for the reconciliation to
          change(ours);
          change(theirs);
        });
        expectDifferences({ asker: [...ours.items()], other: [...theirs.items()] }, reconcile(ours, theirs, options));
      }),
      { numRuns: 40 },
    );
  });

  it('makes both sets equal when differences are handed over as they are found', () => {
    const random = seededRandom(suiteSeed(5));
    const { asker, other } = drawSets(random, 3_000, 300, 30, 0);
    const all = new Map([...asker, ...other].map((item) => [hex(item.id), item]));
    const [ours, theirs] = [RangeIndex.of(asker), RangeIndex.of(other)];
    const give = (index: RangeIndex, ids: Set<string>): void => {
      for (const id of ids) index.insert(all.get(id) as RangeItem);
    };
    reconcile(ours, theirs, tiny, ({ have, need }) => {
      give(theirs, have);
      give(ours, need);
    });
    expect(ours.size).toBe(all.size);
    expect(hex(theirs.fingerprint(0, theirs.size))).toBe(hex(ours.fingerprint(0, ours.size)));
    expect(reconcile(ours, theirs, tiny).rounds).toBe(1);
  });
});

describe('hostile messages', () => {
  /** Counts what a message makes the index do. */
  class CountingIndex extends RangeIndex {
    fingerprints = 0;
    read = 0;
    override fingerprint(lower: number, upper: number): Uint8Array {
      this.fingerprints += 1;
      return super.fingerprint(lower, upper);
    }
    override *items(lower = 0, upper = this.size): Generator<RangeItem, void, undefined> {
      for (const item of super.items(lower, upper)) {
        this.read += 1;
        yield item;
      }
    }
  }
  const index = new CountingIndex();
  for (let i = 0; i < 40_000; i++) index.insert({ epoch: i, id: hashId(`${i}`) });

  const repeated = (range: string): Uint8Array => {
    const bytes = bytesOf(range);
    const message = new Uint8Array(1 + Math.floor((RANGE_MESSAGE_BYTES_MAX - 1) / bytes.length) * bytes.length).fill(
      0x61,
      0,
      1,
    );
    for (let at = 1; at < message.length; at += bytes.length) message.set(bytes, at);
    return message;
  };

  it.each([
    ['one wrong fingerprint a minute', repeated(`0200 01 ${'09'.repeat(16)}`)],
    ['wrong fingerprints of nothing', repeated(`0100 01 ${'09'.repeat(16)}`)],
    ['wrong fingerprints behind everything', repeated(`0000 01 ${'09'.repeat(16)}`)],
    ['an empty list a minute', repeated('0200 02 00')],
    ['skips', repeated('0200 00')],
    ['an empty list of everything', bytesOf('61 0000 02 00')],
    ['one unknown id for everything', bytesOf(`61 0000 02 01 ${'09'.repeat(32)}`)],
    ['as many unknown ids as fit, for everything', bytesOf(`61 0000 02 bb70 ${'09'.repeat(32 * 7_664)}`)],
  ])('%s cost no more than two messages of fingerprints and one of ids', (_, message) => {
    const fingerprintsMax = (2 * RANGE_MESSAGE_BYTES_MAX) / 19 + 1;
    for (const side of ['respond', 'reconcile'] as const) {
      index.fingerprints = 0;
      index.read = 0;
      createReconciler(index)[side](message);
      expect(index.fingerprints).toBeLessThanOrEqual(fingerprintsMax);
      expect(index.read).toBeLessThanOrEqual(RANGE_MESSAGE_BYTES_MAX / 32);
    }
  });

  it('2,000 random and mutated messages are answered or refused with a code', () => {
    const seed = suiteSeed(20_260_901);
    const random = seededRandom(seed);
    const { asker, other } = drawSets(random, 2_500, 50, 20, 2);
    const [ours, theirs] = [RangeIndex.of(asker), RangeIndex.of(other)];
    const corpus: Uint8Array[] = [];
    const asking = createReconciler(ours, tiny);
    for (let question: Uint8Array | undefined = asking.initiate(); question !== undefined && corpus.length < 40; ) {
      const reply = createReconciler(theirs, tiny).respond(question);
      corpus.push(question, reply);
      question = asking.reconcile(reply).reply;
    }
    const seen = new Map<unknown, number>();
    for (let i = 0; i < 2_000; i++) {
      const message =
        i % 4 === 0
          ? Uint8Array.from([0x61, ...random.bytes(random.below(60))])
          : mutateBytes(random.pick(corpus), random, corpus);
      for (const side of ['respond', 'reconcile'] as const) {
        const code = codeOf(() => createReconciler(theirs, tiny)[side](message));
        seen.set(code, (seen.get(code) ?? 0) + 1);
        if (!['accepted', 'malformed', 'too_large', 'version'].includes(String(code))) {
          throw new Error(`seed ${seed}, message ${i}, ${side}: ${String(code)} for ${hex(message)}`, { cause: code });
        }
      }
    }
    expect(seen.get('accepted')).toBeGreaterThan(100);
    expect(seen.get('malformed')).toBeGreaterThan(100);
  });
});
