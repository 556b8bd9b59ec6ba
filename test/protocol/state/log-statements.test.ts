/** Bindings, checkpoints and proofs at the door: what they wait for, who is entitled, who has a place, what leaves with what. */
import { describe, expect, test } from 'vitest';
import {
  admitAll,
  compareStatements,
  MeshState,
  type StateLimits,
  type Statement,
  viewOfStatements,
} from '../../../protocol/index.ts';
import { formatVkey } from '../../../protocol/log/index.ts';
import { isSignatureValidSodium } from '../../../protocol/sodium.ts';
import {
  createAgent,
  createOrganisation,
  createRotate,
  createUpdate,
  keyOf,
  keySet,
  NOW_MS,
  NOW_SECONDS,
  type Operation,
} from '../../builders.ts';
import { createBinding, createCheckpoint, createFork, ownLog, ownWitness } from '../log/own-log.ts';

const acme = createOrganisation('acme');
const beta = createOrganisation('beta');
const agent = createAgent(acme, 'agent');
const everyone = [acme.genesis, beta.genesis, agent.genesis];
const log = ownLog('acme');
const stranger = keyOf('stranger');

function admit(state: MeshState, statement: Statement): string {
  const admission = state.admit(statement, NOW_MS);
  if (admission.verdict === 'accept') return 'accept';
  return `${admission.verdict} ${admission.verdict === 'pending' ? admission.waitsFor : admission.code}`;
}
function stateOf(statements: readonly Statement[], limits: Partial<StateLimits> = {}): MeshState {
  const state = new MeshState(limits);
  for (const statement of statements) expect(admit(state, statement)).toBe('accept');
  return state;
}
function evictedBy(state: MeshState, statement: Statement): string[] {
  const admission = state.admit(statement, NOW_MS);
  if (admission.verdict !== 'accept') throw new Error(`Cannot go on: the door says ${admission.verdict}`);
  return admission.evicted.map(({ id }) => id).toSorted();
}
const idsOf = (statements: Iterable<Statement>): string[] => [...statements].map(({ id }) => id).toSorted();
const sorted = <S extends Statement>(statements: readonly S[]): S[] => statements.toSorted(compareStatements);
const binding = createBinding(acme);

describe('a binding', () => {
  test('waits for the log of its organisation, and for operations that may list its key', () => {
    expect(admit(new MeshState(), binding)).toBe(`pending ${acme.did}`);
    const unlisted = createBinding(acme, { signer: stranger });
    expect(admit(stateOf(everyone), unlisted)).toBe(`pending ${acme.did}`);
  });

  test('is rejected of an agent', () => {
    expect(admit(stateOf(everyone), createBinding(agent))).toBe('reject not_entitled');
  });

  test('is found by its organisation, its log and its witness', () => {
    const other = createBinding(beta, { log, witness: ownWitness('acme'), iat: NOW_SECONDS - 60 });
    const state = stateOf([...everyone, binding, other]);
    expect(state.bindingsOf(acme.did)).toEqual([binding]);
    expect(idsOf(state.bindings())).toEqual(idsOf([binding, other]));
    expect(state.bindingsOfOrigin(log.vkey.name)).toEqual([other, binding]);
    expect(state.bindingOfOrigin(log.vkey.name)).toBe(other);
    expect(state.bindingsOfWitness(binding.payload.wit)).toEqual([other, binding]);
    expect(state.bindingOfWitness(binding.payload.wit)).toBe(other);
    expect(state.bindingOfOrigin('agentmesh/v1/log/none/0')).toBeUndefined();
    expect(state.bindingOfWitness(formatVkey(ownWitness('none').vkey))).toBeUndefined();
    expect(idsOf(state.statementsOf(acme.did))).toEqual(idsOf([acme.genesis, agent.genesis, binding]));
  });

  test('of one too many makes the highest (epoch, id) yield, and before it what a dead key signed', () => {
    const bindings = [0, 1, 2].map((i) => createBinding(acme, { log: ownLog('acme', i), iat: NOW_SECONDS - 60 * i }));
    const [first, second, third] = sorted(bindings) as [Statement, Statement, Statement];
    expect(admit(stateOf([...everyone, first, second], { bindingsPerOrganisation: 2 }), third)).toBe('ignore quota');
    expect(evictedBy(stateOf([...everyone, third, first], { bindingsPerOrganisation: 2 }), second)).toEqual([third.id]);

    const rotated = createRotate(acme, 'acme 1', { retire: [[acme.keys.sign, null]] });
    const late = createBinding(acme, { log: ownLog('acme', 9), signer: keySet('acme 1').sign, iat: NOW_SECONDS });
    const state = stateOf([...everyone, rotated, first, second], { bindingsPerOrganisation: 2 });
    expect(evictedBy(state, late)).toEqual([second.id]);
    expect(admit(state, second)).toBe('ignore quota');
  });

  test('that yields takes the checkpoint with it, unless another binds the same log', () => {
    const [low, high] = [ownLog('acme', 1), ownLog('acme', 0)].map((of, i) =>
      createBinding(acme, { log: of, iat: NOW_SECONDS + 60 * (i - 1) }),
    ) as [Statement, Statement];
    const checkpoint = createCheckpoint(log, 3);
    const alone = stateOf([...everyone, high, checkpoint], { bindingsPerOrganisation: 1 });
    expect(evictedBy(alone, low)).toEqual([high, checkpoint].map(({ id }) => id).toSorted());
    expect(idsOf(alone.statements())).toEqual(idsOf([...everyone, low]));

    const claim = createBinding(beta, { log });
    const shared = stateOf([...everyone, claim, high, checkpoint], { bindingsPerOrganisation: 1 });
    expect(evictedBy(shared, low)).toEqual([high.id]);
    expect(shared.checkpointOf(log.vkey.name)).toBe(checkpoint);

    const earlier = createBinding(acme, { iat: NOW_SECONDS - 6_000 });
    const again = stateOf([...everyone, high, checkpoint], { bindingsPerOrganisation: 1 });
    expect(evictedBy(again, earlier)).toEqual([high.id]);
    expect(again.checkpointOf(log.vkey.name)).toBe(checkpoint);
  });

  test('leaves with the operation that listed its key, and its checkpoint with it', () => {
    const names = new Map(['acme a', 'acme b'].map((each) => [createRotate(acme, each), each]));
    const [low, high] = sorted([...names.keys()]) as [Operation, Operation];
    const name = names.get(high) as string;
    const bound = createBinding(acme, { signer: keySet(name).sign });
    const checkpoint = createCheckpoint(log, 3);
    const proof = createFork(bound, log, [2, 3]);
    const state = stateOf([...everyone, high, bound, checkpoint, proof], { operationsASeq: 1 });
    expect(evictedBy(state, low)).toEqual([high, bound, checkpoint, proof].map(({ id }) => id).toSorted());
    expect(state.bindingsOf(acme.did)).toEqual([]);
    expect([...state.bindings(), ...state.convicted()]).toEqual([]);
    expect(admit(state, checkpoint)).toBe(`pending ${log.vkey.name}`);
    expect(admit(state, proof)).toBe(`pending ${acme.did}`);
  });
});

describe('a checkpoint', () => {
  const held = [...everyone, binding];

  test('waits for a binding of its log, whoever gives one', () => {
    const checkpoint = createCheckpoint(log, 5);
    expect(admit(stateOf(everyone), checkpoint)).toBe(`pending ${log.vkey.name}`);
    expect(admit(stateOf(held), checkpoint)).toBe('accept');
    expect(admit(stateOf([...everyone, createBinding(beta, { log })]), checkpoint)).toBe('accept');
    expect(admit(stateOf(held), createCheckpoint(ownLog('acme', 1), 5))).toMatch(/^pending .*\/1$/);
  });

  test('of the largest tree stays; of equal ones the lowest id', () => {
    const [small, large] = [createCheckpoint(log, 5), createCheckpoint(log, 6)];
    const state = stateOf([...held, small]);
    expect(evictedBy(state, large)).toEqual([small.id]);
    expect(admit(state, small)).toBe('ignore superseded');
    expect(state.checkpointOf(log.vkey.name)).toBe(large);
    const [low, high] = sorted([createCheckpoint(log, 7), createCheckpoint(log, 7, 'other')]) as [Statement, Statement];
    expect(evictedBy(stateOf([...held, high]), low)).toEqual([high.id]);
    expect(admit(stateOf([...held, low]), high)).toBe('ignore superseded');
  });

  test('of an empty tree is as good as any', () => {
    const state = stateOf([...held, createCheckpoint(log, 0)]);
    expect(evictedBy(state, createCheckpoint(log, 1))).toHaveLength(1);
  });

  test('has a place for the logs of the highest (generation, key) of somebody who binds it', () => {
    const logs = [ownLog('acme', 2), ownLog('other', 10), ownLog('acme', 10)];
    const byKey = logs.slice(1).toSorted((a, b) => (a.vkey.name < b.vkey.name ? 1 : -1));
    const bindings = logs.map((of) => createBinding(acme, { log: of }));
    const checkpoints = logs.map((of) => createCheckpoint(of, 3));
    const one = stateOf([...everyone, ...bindings], { originsPerOrganisation: 1 });
    expect(checkpoints.map((each) => admit(one, each))).toEqual(
      logs.map((each) => (each === byKey[0] ? 'accept' : 'ignore quota')),
    );
    const two = stateOf([...everyone, ...bindings], { originsPerOrganisation: 2 });
    expect(checkpoints.map((each) => admit(two, each))).toEqual(['ignore quota', 'accept', 'accept']);
    expect(evictedBy(two, createBinding(beta, { log: logs[0] as (typeof logs)[0] }))).toEqual([]);
    expect(admit(two, checkpoints[0] as Statement)).toBe('accept');
  });

  test('leaves when another log takes its place, whatever others give it', () => {
    const [old, current] = [createCheckpoint(ownLog('acme', 0), 3), createBinding(acme, { log: ownLog('acme', 1) })];
    expect(evictedBy(stateOf([...held, old], { originsPerOrganisation: 1 }), current)).toEqual([old.id]);
    const shared = stateOf([...held, createBinding(beta, { log }), old], { originsPerOrganisation: 1 });
    expect(evictedBy(shared, current)).toEqual([]);
    expect(admit(shared, createCheckpoint(ownLog('acme', 0), 4))).toBe('accept');
  });

  test('is of those who bind its log', () => {
    const checkpoint = createCheckpoint(log, 5);
    const claim = createBinding(beta, { log });
    const state = stateOf([...held, claim, checkpoint]);
    expect(idsOf(state.statementsOf(acme.did))).toEqual(idsOf([acme.genesis, agent.genesis, binding, checkpoint]));
    expect(idsOf(state.statementsOf(beta.did))).toEqual(idsOf([beta.genesis, claim, checkpoint]));
  });
});

describe('a proof', () => {
  const fork = createFork(binding, log, [5, 9]);
  const asWitness = createFork(binding, ownWitness('acme'), [5, 9], { log: ownLog('beta') });

  test('waits for the log of the DID, not for the binding, which it holds', () => {
    expect(admit(new MeshState(), fork)).toBe(`pending ${acme.did}`);
    expect(admit(stateOf([acme.genesis]), fork)).toBe('accept');
  });

  test('needs a binding by a key that was listed once, whatever became of it', () => {
    const unlisted = createFork(createBinding(acme, { signer: stranger }), log, [5, 9]);
    expect(admit(stateOf(everyone), unlisted)).toBe(`pending ${acme.did}`);
    const rotated = createRotate(acme, 'acme 1', { retire: [[acme.keys.sign, null]] });
    expect(admit(stateOf([...everyone, rotated]), fork)).toBe('accept');
    expect(admit(stateOf(everyone), createFork(createBinding(agent, { log }), log, [5, 9]))).toBe(
      'reject not_entitled',
    );
  });

  test('convicts once for each role, by the lowest id', () => {
    const state = stateOf(everyone);
    expect(state.convictionsOf(acme.did)).toEqual([]);
    const [low, high] = sorted([fork, createFork(binding, log, [6, 8])]) as [Statement, Statement];
    expect(admit(state, high)).toBe('accept');
    expect(evictedBy(state, low)).toEqual([high.id]);
    expect(admit(state, high)).toBe('ignore superseded');
    expect(evictedBy(state, asWitness)).toEqual([]);
    expect(state.convictionsOf(acme.did)).toEqual(sorted([low, asWitness]));
    expect([...state.convicted()]).toEqual([acme.did]);
    expect(idsOf(state.statementsOf(acme.did))).toEqual(idsOf([acme.genesis, agent.genesis, low, asWitness]));
  });

  test('convicts all who bound the key', () => {
    const claim = createBinding(beta, { log, iat: 0 });
    const state = stateOf([...everyone, claim, binding, fork, createFork(claim, log, [5, 9])]);
    expect([...state.convicted()].toSorted()).toEqual([acme.did, beta.did].toSorted());
  });

  test('is part of what a bundle shows, once it is verified', () => {
    const view = viewOfStatements(
      [fork, createUpdate(acme), acme.genesis].map(({ envelope }) => envelope),
      { isSignatureValid: isSignatureValidSodium, nowMs: NOW_MS },
    );
    expect(view.convictionsOf(acme.did).map(({ id }) => id)).toEqual([fork.id]);
    const honest = createFork(binding, log, [5, 9], { salt: '' });
    expect(() =>
      viewOfStatements([acme.genesis.envelope, honest.envelope], {
        isSignatureValid: isSignatureValidSodium,
        nowMs: NOW_MS,
      }),
    ).toThrow(expect.objectContaining({ code: 'bad_proof' }));
  });
});

test('all of them are held for ever, and get in by admitAll() in whatever order they come', () => {
  const all = [createFork(binding, log, [5, 9]), createCheckpoint(log, 9), binding, acme.genesis];
  for (const order of [all, all.toReversed()]) {
    const state = new MeshState();
    admitAll(state, order, NOW_MS);
    expect(idsOf(state.statements())).toEqual(idsOf(all));
    expect(state.expire(NOW_MS * 2)).toEqual([]);
    expect(state.size).toBe(4);
  }
});
