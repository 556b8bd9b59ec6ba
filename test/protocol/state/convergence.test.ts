/**
 * The set and what follows from it depend on what was offered, not on order, repetition, batches or partitions; and
 * where quotas make room, on what is left once everybody has offered what the others lack.
 */
import { describe, expect, test } from 'vitest';
import type { StateLimits, Statement } from '../../../protocol/index.ts';
import { NOW_MS } from '../../builders.ts';
import { type SeededRandom, seededRandom, suiteSeed } from '../../fuzz/random.ts';
import { exchange, formatView, Replica, saturate, type Shuffle } from './replica.ts';
import { createUniverse, type Universe } from './universe.ts';

const SEED = suiteSeed(7_001);
const UNIVERSES = 25;
const universes = Array.from({ length: UNIVERSES }, (_, i) => createUniverse(SEED + i));

/** So few that every universe has more. */
const TINY: StateLimits = {
  didsPerOrganisation: 3,
  linksPerOrganisation: 3,
  operationsASeq: 2,
  revocationsASeq: 2,
  bindingsPerOrganisation: 3,
  originsPerOrganisation: 2,
};
const QUOTAS: [string, Partial<StateLimits>][] = [
  ['the quotas of the network', {}],
  ['quotas that hardly hold anything', TINY],
];

interface World extends Universe {
  readonly random: SeededRandom;
  readonly shuffle: Shuffle;
  readonly create: () => Replica;
}

/** What happened in all universes together, so that a test notices when it looked at nothing. */
class Tally {
  readonly #counts = new Map<string, number>();
  add(...names: string[]): void {
    for (const name of names) this.#counts.set(name, (this.#counts.get(name) ?? 0) + 1);
  }
  of(name: string): number {
    return this.#counts.get(name) ?? 0;
  }
}

/** Runs `scene` in many universes; the replicas that it returns must all be equal, bit for bit. */
function inManyUniverses(limits: Partial<StateLimits>, scene: (world: World) => Replica[]): Tally {
  const tally = new Tally();
  for (const [i, universe] of universes.entries()) {
    const seed = SEED + i;
    const random = seededRandom(seed);
    const shuffle: Shuffle = (items) =>
      items
        .map((item) => [random.fraction(), item] as const)
        .sort(([a], [b]) => a - b)
        .map(([, item]) => item);
    const replicas = scene({ ...universe, random, shuffle, create: () => new Replica(NOW_MS, limits) });
    verifyEqual(replicas, universe, `AGENTMESH_SEED=${seed}`);
    record(tally, replicas, universe);
  }
  return tally;
}

function verifyEqual(replicas: readonly Replica[], universe: Universe, seed: string): void {
  const [first, ...others] = replicas as [Replica, ...Replica[]];
  const want = formatView(first.state, universe);
  for (const other of others) expect(formatView(other.state, universe), seed).toEqual(want);
  for (const replica of replicas) expect(replica.isMirrored(), seed).toBe(true);
  const given = (verdict: 'accept' | 'reject'): Set<string> =>
    new Set(replicas.flatMap(({ verdicts }) => [...verdicts].filter(([, all]) => all.has(verdict)).map(([id]) => id)));
  expect(
    [...given('reject')].filter((id) => given('accept').has(id)),
    `rejected and accepted, ${seed}`,
  ).toEqual([]);
}

function record(tally: Tally, replicas: readonly Replica[], { targets }: Universe): void {
  for (const { verdicts, evicted, state } of replicas) {
    tally.add(...[...verdicts.values()].flatMap((all) => [...all]), ...evicted.map(({ t }) => `evicted ${t}`));
    for (const did of state.dids()) tally.add(state.didState(did)?.status ?? '');
    tally.add(...[...state.convicted()].map(() => 'convicted'));
    tally.add(...[...state.statements()].map(({ t }) => `held ${t}`));
    tally.add(...targets.filter((target) => state.revocationsOf(target).length > 0).map(() => 'revoked'));
  }
}

const someOf = ({ statements, random, shuffle }: World): Statement[] =>
  shuffle([...statements, ...statements]).filter(() => random.below(3) > 0);

describe.each(QUOTAS)('with %s', (_, limits) => {
  const isTiny = limits === TINY;
  const wanted = ['accept', 'ignore', 'pending', 'reject', 'active', 'frozen', 'deactivated', 'revoked', 'convicted'];
  wanted.push('held binding/v1', 'held checkpoint/v1', 'held proof/v1', 'evicted checkpoint/v1', 'evicted proof/v1');
  if (isTiny) wanted.push('evicted didop/v1', 'evicted delegation/v1', 'evicted revocation/v1', 'evicted binding/v1');

  test('whatever order everything is offered in, the set and the state are the same', () => {
    const tally = inManyUniverses(limits, (world) => [
      saturate(world.create(), world.statements),
      saturate(world.create(), world.statements.toReversed()),
      saturate(world.create(), world.shuffle(world.statements)),
      saturate(world.create(), world.shuffle([...world.statements, ...world.statements])),
    ]);
    for (const what of wanted) expect(tally.of(what), what).toBeGreaterThan(10);
  });

  test('two that were apart agree once each has offered what the other lacks', () => {
    const tally = inManyUniverses(limits, (world) => {
      const replicas = [world.create(), world.create()];
      for (const replica of replicas) replica.take(someOf(world));
      exchange(replicas, world.shuffle);
      return replicas;
    });
    for (const what of wanted) expect(tally.of(what), what).toBeGreaterThan(10);
  });

  test('four agree that met by chance, exchanged parts and heard more meanwhile', () => {
    inManyUniverses(limits, (world) => {
      const replicas = [world.create(), world.create(), world.create(), world.create()];
      for (const replica of replicas) replica.take(someOf(world).slice(0, 40));
      for (let i = 0; i < 12; i++) {
        const [from, to] = world.shuffle(replicas) as [Replica, Replica];
        to.take(world.shuffle([...from.state.statements()]).filter(() => world.random.below(2) > 0));
        from.take(world.shuffle(world.statements).slice(0, 5));
      }
      exchange(replicas, world.shuffle);
      return replicas;
    });
  });

  test('once DID logs agree, and for checkpoints bindings, two that were apart come to hold what one holds that was offered everything', () => {
    inManyUniverses(limits, (world) => {
      // Which revocations count follows from others of the log, not from DID logs alone: their owner offers them again.
      const operations = world.statements.filter(({ t }) => t === 'didop/v1');
      const links = world.statements.filter(({ t }) => ['delegation/v1', 'binding/v1', 'proof/v1'].includes(t));
      // As links need DID logs, checkpoints need bindings: which logs have a place follows from them.
      const checkpoints = world.statements.filter(({ t }) => t === 'checkpoint/v1');
      const [left, right, whole] = [world.create(), world.create(), world.create()];
      for (const replica of [left, right]) saturate(replica, world.shuffle(operations));
      for (const link of world.shuffle(links)) (world.random.below(2) > 0 ? left : right).take([link]);
      exchange([left, right], world.shuffle);
      for (const checkpoint of world.shuffle(checkpoints))
        (world.random.below(2) > 0 ? left : right).take([checkpoint]);
      exchange([left, right], world.shuffle);
      return [left, right, saturate(whole, [...operations, ...links, ...checkpoints])];
    });
  });

  test('what is held, read back in any order, gives the same state', () => {
    inManyUniverses(limits, (world) => {
      const replica = world.create();
      replica.take(someOf(world));
      return [replica, saturate(world.create(), world.shuffle([...replica.state.statements()]))];
    });
  });

  test('what leaves with time leaves the same behind', () => {
    inManyUniverses(limits, (world) => {
      const replicas = [world.create(), world.create()];
      for (const replica of replicas) replica.take(someOf(world));
      exchange(replicas, world.shuffle);
      for (const replica of replicas) replica.expire(NOW_MS + 3_600_000);
      exchange(replicas, world.shuffle);
      return replicas;
    });
  });
});
