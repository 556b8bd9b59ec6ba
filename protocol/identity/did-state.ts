/**
 * The state of a DID as a pure function of the set of its admitted operations (SPEC "DID operations").
 *
 * Admitted = valid against its own path of prv alone, so admission never depends on arrival order. The state then is:
 *
 *   1. any deactivate                             deactivated, whatever else exists
 *   2. from genesis, recovers with none between   two or more: deactivated; one: it is the new start; repeat
 *   3. from there, rotates with only updates      two or more answer one commitment: frozen at start; one: new start;
 *      between                                    repeat
 *   4. then the updates, lowest id first; contested if there was a choice
 */
import { compareBytes, equalBytes, toHex } from '../encoding/bytes.ts';
import { digestOf } from '../encoding/cid.ts';
import { keyOfPeerId } from '../encoding/multikey.ts';
import { MeshError } from '../errors.ts';
import type { DidState, DidStatus, KeyStanding } from '../state/view.ts';
import type { Statement } from '../statement/statement.ts';
import { didOfGenesis } from './did.ts';
import type { DidKind, DidOperation, Genesis, KeyUse, Recover, Rotate, SuccessorOperation } from './operations.ts';

export type Operation = Statement<'didop/v1'>;
type ListedKey = readonly [multikey: Uint8Array, uses: readonly KeyUse[]];

/** What an operation's path of prv says, up to and including itself. */
export interface PathState {
  readonly did: string;
  readonly kind: DidKind;
  readonly ctl: string | undefined;
  readonly seq: number;
  readonly keys: readonly ListedKey[];
  readonly nxt: readonly Uint8Array[];
  readonly nthr: number;
  readonly rec: readonly Uint8Array[];
  readonly rthr: number;
  readonly peers: readonly string[];
  readonly services: readonly (readonly [string, string])[];
  readonly deactivated: boolean;
}

const refuse = (why: string, facts: object = {}): never => {
  throw new MeshError('not_entitled', `Cannot admit a DID operation: ${why}`, { ...facts });
};

/**
 * The path of a genesis. Its own key and the PeerIds' signatures are judged here; the organisation's is for the caller,
 * who holds the organisation's log (`controllerKeyOf`). Errors: not_entitled.
 */
export function genesisPath(operation: Operation): PathState {
  const op = operation.payload as Genesis;
  const [first, ...rest] = op.by;
  if (!op.keys.some(([key, uses]) => uses.includes('sign') && equalBytes(key, first as Uint8Array)))
    refuse('the first signer is no listed "sign" key');
  verifyPeerSigners(op.ctl === undefined ? rest : rest.slice(1), op.peer);
  return {
    did: didOfGenesis(operation.id),
    kind: op.kind,
    ctl: op.ctl,
    seq: 0,
    keys: op.keys,
    nxt: op.nxt,
    nthr: op.nthr,
    rec: op.rec,
    rthr: op.rthr,
    peers: op.peer,
    services: op.svc ?? [],
    deactivated: false,
  };
}

/** The key with which the organisation co-signed the genesis of its agent or person. Errors: not_entitled. */
export function controllerKeyOf(op: Genesis): Uint8Array {
  return op.by[1] ?? refuse('the organisation did not sign it');
}

/** The path of a successor, judged against its prv alone. Errors: not_entitled. */
export function successorPath(operation: Operation, prv: PathState): PathState {
  const op = operation.payload as SuccessorOperation;
  if (op.iss !== prv.did) refuse('its prv belongs to another DID', { did: op.iss });
  if (op.seq !== prv.seq + 1) refuse(`seq is ${op.seq}, want ${prv.seq + 1}`, { is: op.seq, want: prv.seq + 1 });
  if (prv.deactivated) refuse('its prv is a deactivate');
  const base = { ...prv, seq: op.seq };
  switch (op.op) {
    case 'rotate':
      verifyRevealed(op.by, prv.nxt, prv.nthr, 'rotation');
      return { ...base, keys: op.keys, nxt: op.nxt, nthr: op.nthr };
    case 'update':
      verifyPeersAllowed(prv.kind, op.peer);
      if (!prv.keys.some(([key, uses]) => uses.includes('sign') && equalBytes(key, op.by[0] as Uint8Array)))
        refuse('the first signer is no current "sign" key');
      verifyPeerSigners(op.by.slice(1), op.peer);
      return { ...base, peers: op.peer, services: op.svc };
    case 'recover': {
      verifyPeersAllowed(prv.kind, op.peer);
      const count = op.by.length - op.peer.length;
      verifyRevealed(op.by.slice(0, Math.max(0, count)), prv.rec, prv.rthr, 'recovery');
      verifyPeerSigners(op.by.slice(count), op.peer);
      return {
        ...base,
        keys: op.keys,
        nxt: op.nxt,
        nthr: op.nthr,
        rec: op.rec,
        rthr: op.rthr,
        peers: op.peer,
        services: op.svc,
      };
    }
    case 'deactivate':
      if (!isRevealed(op.by, prv.nxt, prv.nthr)) verifyRevealed(op.by, prv.rec, prv.rthr, 'rotation or recovery');
      return { ...base, deactivated: true };
  }
}

/** Each signer hashes to one of the commitments, and there are enough of them. */
function isRevealed(by: readonly Uint8Array[], commitments: readonly Uint8Array[], threshold: number): boolean {
  return (
    commitments.length > 0 &&
    by.length >= threshold &&
    by.every((key) => commitments.some((committed) => equalBytes(committed, digestOf(key))))
  );
}

function verifyRevealed(
  by: readonly Uint8Array[],
  commitments: readonly Uint8Array[],
  threshold: number,
  which: string,
): void {
  if (!isRevealed(by, commitments, threshold))
    refuse(`want ${threshold} ${which} keys that were committed to`, { want: threshold });
}

/** Each listed PeerId's key signs, in order, so that neither side can claim the other. */
function verifyPeerSigners(by: readonly Uint8Array[], peers: readonly string[]): void {
  if (by.length !== peers.length || !peers.every((peer, i) => equalBytes(keyOfPeerId(peer), by[i] as Uint8Array))) {
    refuse('want the signature of every listed PeerId, in order');
  }
}

function verifyPeersAllowed(kind: DidKind, peers: readonly string[]): void {
  if (kind !== 'org' && peers.length > 0) refuse('PeerIds are for organisations only');
}

/** Retires keys in an operation: [key, until or null, kept link ids]. */
type Retirement = Rotate | Recover;
const isRetirement = (op: DidOperation): op is Retirement => op.op === 'rotate' || op.op === 'recover';

interface Successors {
  readonly operations: Map<string, { readonly operation: Operation; readonly path: PathState }>;
  /** By the operation that they build on. */
  readonly children: Map<string, readonly Operation[]>;
  /** Operations that compete for a place, by `${seq} ${type}`. */
  readonly siblings: Map<string, readonly Operation[]>;
}

/** All admitted operations of one DID. Mutable; its `state` is a pure function of what it holds. */
export class DidLog {
  readonly did: string;
  readonly genesis: Operation;
  #genesisPath: PathState | undefined;
  // Most logs are an agent's genesis and nothing else: what only others need is made when they come.
  #successors: Successors | undefined;
  #listedUses: Map<string, Set<KeyUse>> | undefined;
  #state: DidState | undefined;

  /** @param genesis one whose path is valid. */
  constructor(genesis: Operation) {
    this.did = didOfGenesis(genesis.id);
    this.genesis = genesis;
  }

  /** Whether operations not held may list keys: without commitments to next or recovery keys none ever will. */
  get isKeyChangePossible(): boolean {
    const { nxt, rec } = this.genesis.payload as Genesis;
    return nxt.length > 0 || rec.length > 0;
  }

  get kind(): DidKind {
    return (this.genesis.payload as Genesis).kind;
  }

  get ctl(): string | undefined {
    return (this.genesis.payload as Genesis).ctl;
  }

  /** Itself for an organisation, else ctl. */
  get organisation(): string {
    return this.ctl ?? this.did;
  }

  get size(): number {
    return 1 + (this.#successors?.operations.size ?? 0);
  }

  path(id: string): PathState | undefined {
    if (id !== this.genesis.id) return this.#successors?.operations.get(id)?.path;
    this.#genesisPath ??= genesisPath(this.genesis);
    return this.#genesisPath;
  }

  operation(id: string): Operation | undefined {
    return id === this.genesis.id ? this.genesis : this.#successors?.operations.get(id)?.operation;
  }

  /** In order of (seq, id bytes). */
  operations(): Operation[] {
    const seqOf = ({ payload }: Operation): number => (payload.op === 'genesis' ? 0 : payload.seq);
    return this.#all().sort((a, b) => seqOf(a) - seqOf(b) || compareBytes(a.digest, b.digest));
  }

  childrenOf(id: string): readonly Operation[] {
    return this.#successors?.children.get(id) ?? [];
  }

  /** Operations of one type at one seq: those that compete for a place. */
  siblings(seq: number, type: DidOperation['op']): readonly Operation[] {
    return this.#successors?.siblings.get(`${seq} ${type}`) ?? [];
  }

  /** Siblings that are more than `count`, the highest seq first. */
  crowds(count: number): (readonly Operation[])[] {
    const seqOf = (group: readonly Operation[]): number => ((group[0] as Operation).payload as SuccessorOperation).seq;
    return [...(this.#successors?.siblings.values() ?? [])]
      .filter(({ length }) => length > count)
      .sort((a, b) => seqOf(b) - seqOf(a));
  }

  add(operation: Operation, path: PathState): void {
    const op = operation.payload as SuccessorOperation;
    this.#successors ??= { operations: new Map(), children: new Map(), siblings: new Map() };
    this.#successors.operations.set(operation.id, { operation, path });
    this.#setRelatives(op, [...this.childrenOf(op.prv.text), operation], [...this.siblings(op.seq, op.op), operation]);
    if (this.#listedUses !== undefined) list(this.#listedUses, op);
    this.#state = undefined;
  }

  remove(operation: Operation): void {
    const op = operation.payload as SuccessorOperation;
    const isOther = ({ id }: Operation): boolean => id !== operation.id;
    this.#successors?.operations.delete(operation.id);
    this.#setRelatives(op, this.childrenOf(op.prv.text).filter(isOther), this.siblings(op.seq, op.op).filter(isOther));
    this.#listedUses = undefined;
    this.#state = undefined;
  }

  #setRelatives(op: SuccessorOperation, children: readonly Operation[], siblings: readonly Operation[]): void {
    this.#successors?.children.set(op.prv.text, children);
    this.#successors?.siblings.set(`${op.seq} ${op.op}`, siblings);
  }

  #all(): Operation[] {
    return [this.genesis, ...[...(this.#successors?.operations.values() ?? [])].map(({ operation }) => operation)];
  }

  /** Whether an admitted operation ever listed the key for this use. */
  isListed(multikey: Uint8Array, use: KeyUse): boolean {
    const { keys } = this.genesis.payload as Genesis; // which most ask for, and few to compare with
    if (keys.some(([key, uses]) => equalBytes(key, multikey) && uses.includes(use))) return true;
    return this.#successors !== undefined && (this.#listed().get(toHex(multikey))?.has(use) ?? false);
  }

  #listed(): ReadonlyMap<string, ReadonlySet<KeyUse>> {
    if (this.#listedUses === undefined) {
      this.#listedUses = new Map();
      for (const { payload } of this.#all()) list(this.#listedUses, payload);
    }
    return this.#listedUses;
  }

  get state(): DidState {
    this.#state ??= this.#compute();
    return this.#state;
  }

  #compute(): DidState {
    const { status, contested, head } = this.#follow();
    const history = this.#historyTo(head);
    const path = this.path(head.id) as PathState;
    return {
      did: this.did,
      kind: path.kind,
      ctl: path.ctl,
      organisation: path.ctl ?? this.did,
      status,
      head: head.id,
      seq: path.seq,
      keys: status === 'deactivated' ? [] : path.keys,
      listed: this.#standings(history, status !== 'deactivated'),
      peers: path.peers,
      services: path.services,
      next: { commitments: path.nxt, threshold: path.nthr },
      recovery: { commitments: path.rec, threshold: path.rthr },
      contested,
      createdSeconds: this.genesis.payload.iat,
      updatedSeconds: head.payload.iat,
    };
  }

  #follow(): { status: DidStatus; head: Operation; contested: boolean } {
    const deactivates = this.#all().filter(({ payload }) => payload.op === 'deactivate');
    let start = this.genesis;
    if (deactivates.length > 0)
      return { status: 'deactivated', head: lowest(deactivates), contested: deactivates.length > 1 };
    for (
      let recovers = this.#first(start, 'recover', true);
      recovers.length > 0;
      recovers = this.#first(start, 'recover', true)
    ) {
      if (recovers.length > 1) return { status: 'deactivated', head: start, contested: true };
      start = recovers[0] as Operation;
    }
    for (
      let rotates = this.#first(start, 'rotate', false);
      rotates.length > 0;
      rotates = this.#first(start, 'rotate', false)
    ) {
      if (rotates.length > 1) return { status: 'frozen', head: start, contested: true };
      start = rotates[0] as Operation;
    }
    let head = start;
    let contested = false;
    for (let updates = this.childrenOf(head.id); updates.length > 0; updates = this.childrenOf(head.id)) {
      contested ||= updates.length > 1;
      head = lowest(updates);
    }
    return { status: 'active', head, contested };
  }

  /** The operations of a type below `start`, first on their path. `throughRotates`: whether rotates may lie between. */
  #first(start: Operation, type: 'recover' | 'rotate', throughRotates: boolean): Operation[] {
    const found: Operation[] = [];
    const open = [...this.childrenOf(start.id)];
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      if (next.payload.op === type) found.push(next);
      else if (next.payload.op === 'update' || throughRotates) open.push(...this.childrenOf(next.id));
    }
    return found;
  }

  #historyTo(head: Operation): Operation[] {
    const history = [head];
    for (let at = head; at.payload.op !== 'genesis'; ) {
      at = this.operation(at.payload.prv.text) as Operation;
      history.push(at);
    }
    return history.reverse();
  }

  /** What became of every key ever listed: along the history that counts, then those listed only beside it. */
  #standings(history: readonly Operation[], active: boolean): Map<string, KeyStanding> {
    const out = new Map<string, KeyStanding>();
    let stand: Retirement | undefined;
    let listed: readonly ListedKey[] = [];
    for (const { payload } of history) {
      if (!('keys' in payload)) continue;
      if (isRetirement(payload)) {
        stand = payload;
        for (const [key] of listed) this.#retire(out, key, payload);
        for (const [key] of payload.ret) this.#retire(out, key, payload);
      }
      for (const [key, uses] of payload.keys) out.set(toHex(key), { standing: 'current', uses });
      listed = payload.keys;
    }
    for (const [id, uses] of [...this.#listed()].sort(([a], [b]) => (a < b ? -1 : 1))) {
      const known = out.get(id);
      if (known === undefined || (!active && known.standing === 'current')) out.set(id, dead(uses, stand));
    }
    return out;
  }

  /** A key neither kept nor named is dead; a re-listed one becomes current again right after. */
  #retire(out: Map<string, KeyStanding>, key: Uint8Array, op: Retirement): void {
    const id = toHex(key);
    const uses = this.#listed().get(id);
    if (uses === undefined) return; // retiring a key that was never listed changes nothing
    const named = op.ret.find(([retired]) => equalBytes(retired, key));
    if (named !== undefined && named[1] !== null) {
      out.set(id, { standing: 'grace', uses: [...uses].sort(), untilSeconds: named[1] });
    } else {
      const kept = new Set((named?.[2] ?? []).map(({ text }) => text));
      out.set(id, { standing: 'dead', uses: [...uses].sort(), kept, rseq: op.rseq, rhead: op.rhead?.text ?? null });
    }
  }
}

function list(listed: Map<string, Set<KeyUse>>, op: DidOperation): void {
  if (!('keys' in op)) return;
  for (const [key, uses] of op.keys) {
    const id = toHex(key);
    listed.set(id, new Set([...(listed.get(id) ?? []), ...uses]));
  }
}

/** A key listed only beside the history that counts: the revocation log that the history last stood by is all it has. */
const dead = (uses: ReadonlySet<KeyUse>, stand: Retirement | undefined): KeyStanding => ({
  standing: 'dead',
  uses: [...uses].sort(),
  kept: new Set(),
  rseq: stand?.rseq ?? 0,
  rhead: stand?.rhead?.text ?? null,
});

const lowest = (operations: readonly Operation[]): Operation =>
  operations.reduce((least, operation) => (compareBytes(operation.digest, least.digest) < 0 ? operation : least));
