/** A MeshState with what a daemon has around it: the place where statements wait, and exchange with others. */
import {
  didOfGenesis,
  isOfKind,
  MeshState,
  type RevocationTargetKey,
  type StateLimits,
  type Statement,
  toHex,
} from '../../../protocol/index.ts';
import { openCheckpoint, originOf } from '../../../protocol/log/index.ts';
import { formatState } from './histories.ts';
import type { Universe } from './universe.ts';

type Verdict = ReturnType<MeshState['admit']>['verdict'];

export class Replica {
  readonly state: MeshState;
  /** All verdicts that each id was ever given here. */
  readonly verdicts = new Map<string, Set<Verdict>>();
  /** How often something was accepted. */
  accepted = 0;
  /** What had to make room, and what left with it. */
  readonly evicted: Statement[] = [];
  #nowMs: number;
  readonly #pending = new Map<string, { readonly statement: Statement; readonly waitsFor: string }>();
  /** The set as the returned evictions say that it is. */
  readonly #mirror = new Set<string>();

  constructor(nowMs: number, limits: Partial<StateLimits> = {}) {
    this.#nowMs = nowMs;
    this.state = new MeshState(limits);
  }

  get ids(): Set<string> {
    return new Set([...this.state.statements()].map(({ id }) => id));
  }

  take(statements: Iterable<Statement>): void {
    for (const statement of statements) this.#admit(statement);
  }

  expire(nowMs: number): void {
    this.#nowMs = nowMs;
    this.#gone(this.state.expire(nowMs));
  }

  /** Whether the set is what those who follow the verdicts and evictions believe it to be. */
  isMirrored(): boolean {
    return equalSets(this.ids, this.#mirror);
  }

  #admit(statement: Statement): void {
    const admission = this.state.admit(statement, this.#nowMs, { awaiting: (id) => this.#waitingFor(id) });
    const verdicts = this.verdicts.get(statement.id) ?? new Set();
    this.verdicts.set(statement.id, verdicts.add(admission.verdict));
    if (admission.verdict === 'pending') this.#pending.set(statement.id, { statement, waitsFor: admission.waitsFor });
    else this.#pending.delete(statement.id);
    if (admission.verdict !== 'accept') return;
    this.accepted++;
    if (this.state.inSet(statement.id) !== undefined) this.#mirror.add(statement.id);
    this.#gone(admission.evicted);
    for (const name of awaitedAs(statement)) for (const waiting of this.#waitingFor(name)) this.#admit(waiting);
  }

  #gone(statements: readonly Statement[]): void {
    this.evicted.push(...statements);
    for (const { id } of statements) {
      if (!this.#mirror.delete(id)) throw new Error(`Cannot evict "${id}": it was not in the set`);
    }
  }

  #waitingFor(id: string): Statement[] {
    return [...this.#pending.values()].filter(({ waitsFor }) => waitsFor === id).map(({ statement }) => statement);
  }
}

function awaitedAs(statement: Statement): string[] {
  if (isOfKind(statement, 'binding/v1')) return [originOf(statement.payload)];
  if (!isOfKind(statement, 'didop/v1')) return [];
  const { id, payload } = statement;
  return [id, payload.op === 'genesis' ? didOfGenesis(id) : payload.iss];
}

const equalSets = (a: ReadonlySet<string>, b: ReadonlySet<string>): boolean =>
  a.size === b.size && [...a].every((id) => b.has(id));

export type Shuffle = <T>(items: readonly T[]) => T[];
const ROUNDS_MAX = 20;

/** What one holds and another lacks is offered, in turns, until nobody accepts anything. */
export function exchange(replicas: readonly Replica[], shuffle: Shuffle): void {
  untilSettled(replicas, () => {
    for (const to of replicas) {
      for (const from of replicas) {
        const held = to.ids;
        to.take(shuffle([...from.state.statements()].filter(({ id }) => !held.has(id))));
      }
    }
  });
}

/** Offers everything again and again until nothing is accepted. */
export function saturate(replica: Replica, statements: readonly Statement[]): Replica {
  untilSettled([replica], () => replica.take(statements));
  return replica;
}

function untilSettled(replicas: readonly Replica[], offer: () => void): void {
  const accepted = (): number => replicas.reduce((sum, replica) => sum + replica.accepted, 0);
  for (let round = 0; round < ROUNDS_MAX; round++) {
    const before = accepted();
    offer();
    if (accepted() === before) return;
  }
  throw new Error(`Cannot settle: statements are still accepted in round ${ROUNDS_MAX}`);
}

/** Everything that can be asked of the state, but for heartbeats and private links, as text. */
export function formatView(state: MeshState, { statements, targets }: Universe): string[] {
  const sorted = (items: Iterable<{ readonly id: string }>): string =>
    [...items]
      .map(({ id }) => id)
      .toSorted()
      .join(' ');
  const dids = [...state.dids()].toSorted();
  const origins = [
    ...new Set(
      statements.flatMap((statement) => {
        if (isOfKind(statement, 'checkpoint/v1')) return [openCheckpoint(statement.payload).origin];
        return isOfKind(statement, 'binding/v1') ? [originOf(statement.payload)] : [];
      }),
    ),
  ].toSorted();
  const witnesses = [
    ...new Set(statements.flatMap((statement) => (isOfKind(statement, 'binding/v1') ? [statement.payload.wit] : []))),
  ].toSorted();
  const inOrder = (items: readonly Statement[]): string => items.map(({ id }) => id).join(' ');
  const revocations = statements.filter((statement) => isOfKind(statement, 'revocation/v1'));
  return [
    `set ${sorted(state.statements())}`,
    ...dids.map((did) => `${did} ${formatState(state.didState(did))}`),
    ...dids.map(
      (did) =>
        `operations ${state
          .operationsOf(did)
          .map(({ id }) => id)
          .join(' ')}`,
    ),
    ...dids.map(
      (did) => `of ${did}: ${sorted(state.statementsOf(did))}; ${[...state.didsOf(did)].toSorted().join(' ')}`,
    ),
    ...dids.map(
      (did) =>
        `revocations ${state
          .revocationsBy(did)
          .map(({ id }) => id)
          .join(' ')}`,
    ),
    ...targets.map(
      (target) =>
        `revoked ${nameOf(target)} by ${state
          .revocationsOf(target)
          .map(({ id }) => id)
          .join(' ')}`,
    ),
    ...dids.map((did) => `bindings of ${did}: ${inOrder(state.bindingsOf(did))}`),
    ...dids.map((did) => `convictions of ${did}: ${inOrder(state.convictionsOf(did))}`),
    `convicted ${[...state.convicted()].toSorted().join(' ')}`,
    `bindings ${sorted(state.bindings())}`,
    ...origins.map(
      (origin) =>
        `${origin} bound by ${inOrder(state.bindingsOfOrigin(origin))}, first ${state.bindingOfOrigin(origin)?.id}, at ${state.checkpointOf(origin)?.id}`,
    ),
    ...witnesses.map(
      (vkey) => `${vkey} bound by ${inOrder(state.bindingsOfWitness(vkey))}, first ${state.bindingOfWitness(vkey)?.id}`,
    ),
    ...revocations.map(({ id, payload: { org, seq } }) => `complete ${id} ${state.holdsRevocations(org, seq, id)}`),
  ];
}

const nameOf = (target: RevocationTargetKey): string =>
  JSON.stringify(target, (_, value: unknown) => (value instanceof Uint8Array ? toHex(value) : value));
