/**
 * Everything that signed statements say, in memory, and the part of the door that needs it (SPEC "The door").
 *
 * The door is monotone: it rejects only what the bytes, or operations that they name by id, condemn. Whether a key is
 * still good, a parent wider or an issuer revoked is judged at use. So all that hold the same statements hold the same
 * state, whatever the order, and no honest peer is punished for what it could not know.
 */
import { compareBytes, toHex } from '../encoding/bytes.ts';
import { type ErrorCode, isMeshError, MeshError } from '../errors.ts';
import { didOfGenesis } from '../identity/did.ts';
import {
  controllerKeyOf,
  DidLog,
  genesisPath,
  type Operation,
  type PathState,
  successorPath,
} from '../identity/did-state.ts';
import type { Genesis } from '../identity/operations.ts';
import {
  BINDINGS_PER_ORGANISATION_MAX,
  DID_OPS_A_SEQ_MAX,
  DIDS_PER_ORGANISATION_MAX,
  LINKS_PER_ORGANISATION_MAX,
  ORIGINS_PER_ORGANISATION_MAX,
  REVOCATIONS_A_SEQ_MAX,
  SKEW_SECONDS,
} from '../limits.ts';
import { logOf, originOf } from '../log/binding.ts';
import { openCheckpoint } from '../log/checkpoint-statement.ts';
import type { ConvictedAs } from '../log/conviction.ts';
import type { IsSignatureValid } from '../signature.ts';
import { kindRow } from '../statement/kinds.ts';
import { bindingInside, isOfKind, parseStatement, type Statement, verifySignatures } from '../statement/statement.ts';
import type { RevocationTarget } from '../revocation/revocation.ts';
import { compareStatements, Places, type Signer } from './places.ts';
import type { DidState, HeldHeartbeat, MeshView, RevocationTargetKey } from './view.ts';

export { compareStatements };

type Link = Statement<'delegation/v1'>;
type Revocation = Statement<'revocation/v1'>;
type Binding = Statement<'binding/v1'>;
type Checkpoint = Statement<'checkpoint/v1'>;
type Proof = Statement<'proof/v1'>;

export type Admission =
  /** In the set now (a heartbeat or private link: held beside it). `evicted` left the set to make room. */
  | { readonly verdict: 'accept'; readonly evicted: readonly Statement[] }
  | { readonly verdict: 'ignore'; readonly code: ErrorCode }
  /** Not held and not refused: run the door again when statements of `waitsFor` (a DID, an operation id or an origin) arrive. */
  | { readonly verdict: 'pending'; readonly waitsFor: string }
  | { readonly verdict: 'reject'; readonly code: ErrorCode; readonly message: string };

const ignore = (code: ErrorCode): Admission => ({ verdict: 'ignore', code });
const pending = (waitsFor: string): Admission => ({ verdict: 'pending', waitsFor });
const reject = (message: string): Admission => ({ verdict: 'reject', code: 'not_entitled', message });
/** A key that the log does not list for the use: operations not held may, unless its genesis rules that out. */
const unlisted = (log: DidLog): Admission =>
  log.isKeyChangePossible
    ? pending(log.did)
    : reject(`Cannot admit a statement: "${log.did}" never listed the signing key for this use`);

/** Orders, takings and receipts are the business of the two who signed them. */
const rejectOfTwo = ({ t }: Statement): Admission => ({
  verdict: 'reject',
  code: 'private',
  message: `Cannot admit a "${t}": it is kept by the two whom it is about`,
});

export interface StateLimits {
  readonly didsPerOrganisation: number;
  readonly linksPerOrganisation: number;
  readonly operationsASeq: number;
  readonly revocationsASeq: number;
  readonly bindingsPerOrganisation: number;
  readonly originsPerOrganisation: number;
}
const LIMITS: StateLimits = {
  didsPerOrganisation: DIDS_PER_ORGANISATION_MAX,
  linksPerOrganisation: LINKS_PER_ORGANISATION_MAX,
  operationsASeq: DID_OPS_A_SEQ_MAX,
  revocationsASeq: REVOCATIONS_A_SEQ_MAX,
  bindingsPerOrganisation: BINDINGS_PER_ORGANISATION_MAX,
  originsPerOrganisation: ORIGINS_PER_ORGANISATION_MAX,
};

const targetKey = (target: RevocationTargetKey): string =>
  'link' in target ? target.link : 'key' in target ? `${target.did} ${toHex(target.key)}` : target.did;

/** What a revocation is about, as MeshView asks for it. */
export function targetKeyOf(tgt: RevocationTarget): RevocationTargetKey {
  if (tgt.link !== undefined) return { link: tgt.link.text };
  const did = tgt.did as string; // the schema wants one of the two
  return tgt.key === undefined ? { did } : { did, key: tgt.key };
}

/** The revocations that an operation stands by, from `rhead` down as far as they are held. */
interface Ancestry {
  /** Ids, each with the number that it has to stay below. */
  readonly below: Map<string, number>;
  /** The last one named, which may not be held yet; null after number 1. */
  next: string | null;
}

interface Organisation {
  /** DIDs that it controls, itself included. */
  readonly dids: Set<string>;
  /** The genesis of each but its own. */
  readonly members: Places<Operation>;
  readonly links: Places<Link>;
  readonly bindings: Places<Binding>;
  /** Of those that it binds, the logs whose checkpoint has a place. */
  origins: readonly string[];
  readonly revocations: Map<number, Revocation[]>;
  /** By rseq and rhead. */
  readonly ancestries: Map<string, Ancestry>;
  /** Numbers that more revocations claim than may stand. */
  readonly crowded: Set<number>;
  /** Ids whose chain of prv reaches number 1. */
  readonly complete: Set<string>;
  /** Whether it is frozen by its crowded numbers, as of this state of its own log; undefined after a change. */
  forked: { readonly as: DidState; readonly is: boolean } | undefined;
  stapled: HeldHeartbeat | undefined;
  answered: HeldHeartbeat | undefined;
}

type Awaiting = (id: string) => Iterable<Statement>;
const NOTHING_AWAITS: Awaiting = () => [];

export interface AdmitOptions {
  /** What waits for this operation: if it has a place, what it builds on has one too. */
  readonly awaiting?: Awaiting;
  /** For a heartbeat that answers an own nonce: own wall clock when the question was sent. */
  readonly askedMs?: number;
}

export class MeshState implements MeshView {
  revision = 0;
  readonly #limits: StateLimits;
  readonly #held = new Map<string, Statement>();
  readonly #private = new Map<string, Link>();
  readonly #logs = new Map<string, DidLog>();
  readonly #organisations = new Map<string, Organisation>();
  /** By target, then by who revokes. */
  readonly #revocationsByTarget = new Map<string, Map<string, Revocation[]>>();
  readonly #links = new Map<string, Link>();
  /** Links, public and private, by parent and by audience: what falls with a revocation is found without a search. */
  readonly #childLinks = new Map<string, Set<Link>>();
  readonly #linksTo = new Map<string, Set<Link>>();
  readonly #bindingsByOrigin = new Map<string, Set<Binding>>();
  readonly #bindingsByWitness = new Map<string, Set<Binding>>();
  /** Logs whose checkpoint has a place, with the number of organisations that give it one. */
  readonly #placed = new Map<string, number>();
  /** By origin: of each log the one that counts. */
  readonly #checkpoints = new Map<string, { readonly statement: Checkpoint; readonly treeSize: number }>();
  readonly #proofs = new Map<string, Map<ConvictedAs, Proof>>();
  /** Links, revocations, bindings and proofs by the DIDs whose logs they need; so that they leave with them. */
  readonly #needing = new Map<string, Set<Statement>>();
  /** Live statements by the minute in which they end. */
  readonly #ending = new Map<number, Set<Statement>>();
  readonly #merged = new Map<
    string,
    { readonly from: DidState; readonly forked: boolean; readonly merged: DidState }
  >();

  constructor(limits: Partial<StateLimits> = {}) {
    this.#limits = { ...LIMITS, ...limits };
  }

  // Reading

  /** Number of live statements in the set. */
  get size(): number {
    return this.#held.size;
  }

  get(id: string): Statement | undefined {
    return this.#held.get(id) ?? this.#private.get(id);
  }

  /** A statement of the reconciled set: never a private link or a heartbeat. */
  inSet(id: string): Statement | undefined {
    return this.#held.get(id);
  }

  /** Every live statement of the set, in no order. */
  statements(): Iterable<Statement> {
    return this.#held.values();
  }

  /** All links held, public and private. */
  *links(): Iterable<Link> {
    yield* this.#links.values();
    yield* this.#private.values();
  }

  /** Links given to a DID. */
  linksTo(did: string): Iterable<Link> {
    return this.#linksTo.get(did) ?? [];
  }

  /** Every held link that a revocation of the target may hit, and all that continue those. */
  *linksAround(target: RevocationTargetKey): Iterable<Link> {
    const open: Link[] = [];
    if ('link' in target) {
      const link = this.link(target.link);
      if (link !== undefined) open.push(link);
    } else {
      for (const statement of this.#needing.get(target.did) ?? [])
        if (isOfKind(statement, 'delegation/v1')) open.push(statement);
      open.push(...this.linksTo(target.did));
    }
    const seen = new Set<Link>();
    for (let link = open.pop(); link !== undefined; link = open.pop()) {
      if (seen.has(link)) continue;
      seen.add(link);
      yield link;
      open.push(...(this.#childLinks.get(link.id) ?? []));
    }
  }

  dids(): Iterable<string> {
    return this.#logs.keys();
  }

  didsOf(organisation: string): Iterable<string> {
    return this.#organisations.get(organisation)?.dids ?? [];
  }

  didState(did: string): DidState | undefined {
    const log = this.#logs.get(did);
    if (log === undefined) return undefined;
    const { state } = log;
    const forked = state.kind === 'org' && state.status === 'active' && this.#isRevocationForked(did, state);
    const known = this.#merged.get(did);
    if (known !== undefined && known.from === state && known.forked === forked) return known.merged;
    const merged: DidState = forked ? { ...state, status: 'frozen' } : state;
    this.#merged.set(did, { from: state, forked, merged });
    return merged;
  }

  /** The DID's admitted operations in order of (seq, id). */
  operationsOf(did: string): Operation[] {
    return this.#logs.get(did)?.operations() ?? [];
  }

  /** The organisation's revocations in order of (seq, id). */
  revocationsBy(organisation: string): Revocation[] {
    const all = [...(this.#organisations.get(organisation)?.revocations.values() ?? [])].flat();
    return all.sort((a, b) => a.payload.seq - b.payload.seq || compareBytes(a.digest, b.digest));
  }

  /** The live statements of one organisation that are in the set. */
  statementsOf(organisation: string): Statement[] {
    const own = this.#organisations.get(organisation);
    if (own === undefined) return [];
    return [...own.dids]
      .flatMap<Statement>((did) => this.operationsOf(did))
      .concat([...own.links], this.revocationsBy(organisation), this.#logStatementsOf(own), [
        ...this.convictionsOf(organisation),
      ]);
  }

  #logStatementsOf({ bindings }: Organisation): Statement[] {
    const held = [...bindings];
    const checkpoints = new Set(held.flatMap(({ payload }) => this.checkpointOf(originOf(payload)) ?? []));
    return [...held, ...checkpoints];
  }

  link(id: string): Link | undefined {
    return this.#links.get(id) ?? this.#private.get(id);
  }

  revocationsOf(target: RevocationTargetKey, issuers?: readonly string[]): readonly Revocation[] {
    const byIssuer = this.#revocationsByTarget.get(targetKey(target));
    if (byIssuer === undefined) return [];
    const found = [...new Set(issuers ?? byIssuer.keys())].flatMap((issuer) => byIssuer.get(issuer) ?? []);
    return found.filter((revocation) => this.#counts(revocation)).sort(compareStatements);
  }

  /** Lowest (epoch, id) first. */
  bindingsOf(organisation: string): Binding[] {
    return [...(this.#organisations.get(organisation)?.bindings ?? [])].sort(compareStatements);
  }

  *bindings(): Iterable<Binding> {
    for (const bindings of this.#bindingsByOrigin.values()) yield* bindings;
  }

  /**
   * Every binding of a log, lowest (epoch, id) first. Anybody may bind a key that is not his: so the first is not the
   * owner's for sure, and what the key signs twice convicts all who claimed it.
   */
  bindingsOfOrigin(origin: string): Binding[] {
    return [...(this.#bindingsByOrigin.get(origin) ?? [])].sort(compareStatements);
  }

  bindingOfOrigin(origin: string): Binding | undefined {
    return lowestOf(this.#bindingsByOrigin.get(origin));
  }

  /** Every binding of a witness key, lowest (epoch, id) first; as bindingsOfOrigin. */
  bindingsOfWitness(vkey: string): Binding[] {
    return [...(this.#bindingsByWitness.get(vkey) ?? [])].sort(compareStatements);
  }

  bindingOfWitness(vkey: string): Binding | undefined {
    return lowestOf(this.#bindingsByWitness.get(vkey));
  }

  /** Of the largest tree of this log that was heard of. */
  checkpointOf(origin: string): Checkpoint | undefined {
    return this.#checkpoints.get(origin)?.statement;
  }

  /** What convicts an organisation by its own signatures: as a log, as a witness. */
  convictionsOf(did: string): readonly Proof[] {
    const proofs = this.#proofs.get(did);
    return proofs === undefined ? [] : [...proofs.values()].sort(compareStatements);
  }

  /** DIDs of organisations with a conviction. */
  convicted(): Iterable<string> {
    return this.#proofs.keys();
  }

  heartbeatsOf(organisation: string, nowMs: number): readonly HeldHeartbeat[] {
    const own = this.#organisations.get(organisation);
    if (own === undefined) return [];
    return [own.answered, own.stapled].filter(
      (held) => held !== undefined && this.#isVouching(held.statement, nowMs),
    ) as HeldHeartbeat[];
  }

  holdsOperation(did: string, seq: number, id: string): boolean {
    return this.#logs.get(did)?.path(id)?.seq === seq;
  }

  holdsRevocations(organisation: string, seq: number, head: string | null): boolean {
    if (head === null) return seq === 0;
    const revocation = this.#held.get(head);
    if (revocation === undefined || !isOfKind(revocation, 'revocation/v1')) return false;
    return (
      revocation.payload.org === organisation &&
      revocation.payload.seq === seq &&
      this.#organisation(organisation).complete.has(head)
    );
  }

  // The door

  /** What needs no signature and no look-up of signers. Undefined: go on. */
  precheck(statement: Statement, nowMs: number): Admission | undefined {
    if (this.#held.has(statement.id) || this.#private.has(statement.id)) return ignore('duplicate');
    const nowSeconds = nowMs / 1000;
    if (statement.payload.iat > nowSeconds + SKEW_SECONDS) return ignore('too_early');
    const until = kindRow(statement.t).until(statement.payload);
    return until !== undefined && nowSeconds >= until ? ignore('expired') : undefined;
  }

  /** The door after the signatures, which the caller has verified. Never throws. */
  admit(statement: Statement, nowMs: number, options: AdmitOptions = {}): Admission {
    const early = this.precheck(statement, nowMs);
    if (early !== undefined) return early;
    if (kindRow(statement.t).isOfTwo === true) return rejectOfTwo(statement);
    try {
      if (isOfKind(statement, 'didop/v1')) return this.#admitOperation(statement, options);
      if (isOfKind(statement, 'delegation/v1')) return this.#admitLink(statement);
      if (isOfKind(statement, 'revocation/v1')) return this.#admitRevocation(statement);
      if (isOfKind(statement, 'binding/v1')) return this.#admitBinding(statement);
      if (isOfKind(statement, 'checkpoint/v1')) return this.#admitCheckpoint(statement);
      if (isOfKind(statement, 'proof/v1')) return this.#admitProof(statement);
      return this.#admitHeartbeat(statement as Statement<'heartbeat/v1'>, nowMs, options.askedMs);
    } catch (error) {
      if (isMeshError(error)) return { verdict: 'reject', code: error.code, message: error.message };
      throw error;
    }
  }

  #admitOperation(operation: Operation, { awaiting = NOTHING_AWAITS }: AdmitOptions): Admission {
    const { payload } = operation;
    if (payload.op === 'genesis') return this.#admitGenesis(operation, payload);
    const log = this.#logs.get(payload.iss);
    if (log === undefined) return pending(payload.iss);
    const prv = log.path(payload.prv.text);
    if (prv === undefined) {
      if (this.#held.has(payload.prv.text))
        return reject(`Cannot admit a DID operation: its prv is no operation of "${payload.iss}"`);
      return pending(payload.prv.text);
    }
    const path = successorPath(operation, prv);
    if (!this.#hasPlace(log, operation, path, awaiting)) return ignore('quota');
    log.add(operation, path);
    this.#hold(operation);
    return { verdict: 'accept', evicted: this.#settle(log, awaiting) };
  }

  /**
   * Whether an operation is by those whom its DID's held path names: what `admit` asks first of it. For one that is to be
   * promised before it is admitted. Errors: not_entitled; pending, where what it builds on is not held.
   */
  verifyEntitled(operation: Operation): void {
    const { payload } = operation;
    const waitsFor = payload.op === 'genesis' ? payload.ctl : payload.iss;
    const log = waitsFor === undefined ? undefined : this.#logs.get(waitsFor);
    const verifyHeld = (isHeld: boolean, id: string | undefined): void => {
      if (!isHeld && id !== undefined)
        throw new MeshError('pending', `Cannot make a DID operation: "${id}" is not held`, { waitsFor: id });
    };
    verifyHeld(log !== undefined, waitsFor);
    if (payload.op !== 'genesis') {
      const prv = log?.path(payload.prv.text);
      verifyHeld(prv !== undefined, payload.prv.text);
      if (prv !== undefined) successorPath(operation, prv);
      return;
    }
    genesisPath(operation);
    if (log !== undefined && !log.isListed(controllerKeyOf(payload), 'sign'))
      throw new MeshError('not_entitled', `Cannot make a DID: "${log.did}" never listed the key that signs for it`, {
        did: log.did,
      });
  }

  #admitGenesis(operation: Operation, op: Genesis): Admission {
    const { did } = genesisPath(operation);
    if (op.ctl !== undefined) {
      const controller = this.#logs.get(op.ctl);
      if (controller === undefined) return pending(op.ctl);
      if (controller.kind !== 'org') return reject(`Cannot admit a DID: "${op.ctl}" is not an organisation`);
      if (!controller.isListed(controllerKeyOf(op), 'sign')) return unlisted(controller);
    }
    const own = this.#organisation(op.ctl ?? did);
    const evicted: Statement[] = [];
    if (own.dids.size >= this.#limits.didsPerOrganisation) {
      const loser = own.members.yielding(operation, memberSigner(op), (signer) => this.#isDead(signer));
      if (loser === operation) return ignore('quota');
      evicted.push(...this.#removeDid(didOfGenesis(loser.id)));
    }
    const log = new DidLog(operation);
    this.#logs.set(log.did, log);
    own.dids.add(log.did);
    if (op.ctl !== undefined) own.members.add(operation, memberSigner(op));
    this.#hold(operation);
    return { verdict: 'accept', evicted };
  }

  /** Among siblings of its type the lowest have a place, and those that others with a place build on. */
  #hasPlace(log: DidLog, operation: Operation, path: PathState, awaiting: Awaiting): boolean {
    const isLower = (sibling: Operation): boolean => compareStatements(sibling, operation) < 0;
    const lower = log.siblings(path.seq, operation.payload.op).filter(isLower);
    if (lower.length < this.#limits.operationsASeq || log.childrenOf(operation.id).length > 0) return true;
    for (const next of awaiting(operation.id)) {
      if (!isOfKind(next, 'didop/v1') || next.payload.op === 'genesis' || next.payload.prv.text !== operation.id)
        continue;
      const nextPath = pathIfEntitled(next, path);
      if (nextPath !== undefined && this.#hasPlace(log, next, nextPath, awaiting)) return true;
    }
    return false;
  }

  /** Lets go of a DID's operations that have no place any more. */
  #settle(log: DidLog, awaiting: Awaiting): Statement[] {
    const gone: Statement[] = [];
    // From the highest seq down, so that an operation whose only child goes now is seen without it.
    for (const siblings of log.crowds(this.#limits.operationsASeq)) {
      for (const operation of siblings) {
        if (this.#hasPlace(log, operation, log.path(operation.id) as PathState, awaiting)) continue;
        log.remove(operation);
        this.#release(operation);
        gone.push(operation);
        if ('keys' in operation.payload) gone.push(...this.#removeUnlisted(log));
      }
    }
    return gone;
  }

  /** What only keys of an operation that left could have brought in leaves with it. */
  #removeUnlisted(log: DidLog): Statement[] {
    const { did } = log;
    const statements = [...(this.#needing.get(did) ?? [])].filter((statement) => {
      const { payload } = isOfKind(statement, 'proof/v1') ? bindingInside(statement) : statement;
      const use = payload.t === 'delegation/v1' ? 'delegate' : 'sign';
      const signer = payload.by['spo' in payload && payload.spo === did && payload.iss !== did ? 1 : 0];
      return signer !== undefined && !log.isListed(signer, use);
    });
    const controlled = [...this.didsOf(did)].filter((other) => {
      const genesis = this.#logs.get(other)?.genesis.payload as Genesis;
      return other !== did && !log.isListed(controllerKeyOf(genesis), 'sign');
    });
    const revocations = this.revocationsBy(did).filter(
      ({ payload }) => payload.by[1] !== undefined && !log.isListed(payload.by[1], 'sign'),
    );
    return [...statements, ...revocations]
      .flatMap((statement) => (this.#held.has(statement.id) ? this.#removeStatement(statement) : []))
      .concat(controlled.flatMap((other) => this.#removeDid(other)));
  }

  #admitLink(link: Link): Admission {
    const { payload } = link;
    const issuer = this.#logs.get(payload.iss);
    if (issuer === undefined) return pending(payload.iss);
    const sponsor = this.#logs.get(payload.spo);
    if (sponsor === undefined) return pending(payload.spo);
    if (sponsor.kind !== 'person' || sponsor.ctl !== payload.sub) {
      return reject(`Cannot admit a link: its sponsor is no person of "${payload.sub}"`);
    }
    // A private link may be signed by its parent's cnf key, and parents are judged at use.
    if (payload.pri !== true || payload.prf === null) {
      const [first, second] = payload.by as [Uint8Array, Uint8Array?];
      if (!issuer.isListed(first, 'delegate')) return unlisted(issuer);
      if (second !== undefined && !sponsor.isListed(second, 'delegate')) return unlisted(sponsor);
    }
    return payload.pri === true ? this.#holdPrivate(link) : this.#placeLink(link, issuer.organisation);
  }

  #holdPrivate(link: Link): Admission {
    this.#private.set(link.id, link);
    this.#indexLink(link);
    this.#endLater(link);
    this.revision++;
    return { verdict: 'accept', evicted: [] };
  }

  #placeLink(link: Link, organisation: string): Admission {
    const own = this.#organisation(organisation);
    const evicted: Statement[] = [];
    if (own.links.size >= this.#limits.linksPerOrganisation) {
      const loser = own.links.yielding(link, linkSigner(link), (signer) => this.#isDead(signer));
      if (loser === link) return ignore('quota');
      evicted.push(...this.#removeStatement(loser));
    }
    own.links.add(link, linkSigner(link));
    this.#links.set(link.id, link);
    this.#indexLink(link);
    this.#needs(link, [link.payload.iss, link.payload.spo]);
    this.#hold(link);
    return { verdict: 'accept', evicted };
  }

  #admitRevocation(revocation: Revocation): Admission {
    const { iss, org, by, seq } = revocation.payload;
    const issuer = this.#logs.get(iss);
    if (issuer === undefined) return pending(iss);
    if (issuer.organisation !== org)
      return reject(`Cannot admit a revocation: "${org}" is not the organisation of "${iss}"`);
    const organisation = this.#logs.get(org);
    if (organisation === undefined) return pending(org);
    if (!issuer.isListed(by[0] as Uint8Array, 'sign')) return unlisted(issuer);
    if (by[1] !== undefined && !organisation.isListed(by[1], 'sign')) return unlisted(organisation);
    const own = this.#organisation(org);
    const rivals = own.revocations.get(seq) ?? [];
    const evicted: Statement[] = [];
    // One more than may stand is kept: the fifth is what freezes.
    if (rivals.length > this.#limits.revocationsASeq) {
      const loser = this.#yielding([...rivals, revocation]);
      if (loser === revocation) return ignore('superseded');
      evicted.push(...this.#removeStatement(loser));
    }
    const numbered = [...(own.revocations.get(seq) ?? []), revocation];
    own.revocations.set(seq, numbered);
    if (numbered.length > this.#limits.revocationsASeq) own.crowded.add(seq);
    own.forked = undefined;
    const key = targetKey(targetKeyOf(revocation.payload.tgt));
    const byIssuer = this.#revocationsByTarget.get(key) ?? new Map<string, Revocation[]>();
    this.#revocationsByTarget.set(key, byIssuer.set(iss, [...(byIssuer.get(iss) ?? []), revocation]));
    this.#needs(revocation, [iss]);
    this.#hold(revocation);
    this.#complete(own, revocation);
    return { verdict: 'accept', evicted };
  }

  #admitBinding(binding: Binding): Admission {
    const { iss, by, wit } = binding.payload;
    const issuer = this.#logs.get(iss);
    if (issuer === undefined) return pending(iss);
    if (issuer.kind !== 'org') return reject(`Cannot admit a binding: "${iss}" is not an organisation`);
    if (!issuer.isListed(by[0] as Uint8Array, 'sign')) return unlisted(issuer);
    const own = this.#organisation(iss);
    const isFull = own.bindings.size >= this.#limits.bindingsPerOrganisation;
    const loser = isFull
      ? own.bindings.yielding(binding, bindingSigner(binding), (signer) => this.#isDead(signer))
      : undefined;
    if (loser === binding) return ignore('quota');
    own.bindings.add(binding, bindingSigner(binding));
    addTo(this.#bindingsByOrigin, originOf(binding.payload), binding);
    addTo(this.#bindingsByWitness, wit, binding);
    this.#needs(binding, [iss]);
    this.#hold(binding);
    // Once it has come, so that a checkpoint stays whose log it binds as the one that leaves did.
    return { verdict: 'accept', evicted: loser === undefined ? this.#placeOrigins(own) : this.#removeStatement(loser) };
  }

  /**
   * Gives the logs of an organisation their places anew, after its bindings changed: to those of the highest
   * (generation, key). Checkpoints of logs that nobody has a place for leave; returned.
   */
  #placeOrigins(own: Organisation): Statement[] {
    const before = own.origins;
    own.origins = originsOf(own).slice(0, this.#limits.originsPerOrganisation);
    for (const origin of own.origins) this.#placed.set(origin, (this.#placed.get(origin) ?? 0) + 1);
    return before.flatMap((origin) => {
      const left = (this.#placed.get(origin) ?? 1) - 1;
      if (left > 0) this.#placed.set(origin, left);
      else this.#placed.delete(origin);
      const held = left > 0 ? undefined : this.checkpointOf(origin);
      return held === undefined ? [] : this.#removeStatement(held);
    });
  }

  #admitCheckpoint(statement: Checkpoint): Admission {
    const { origin, treeSize } = openCheckpoint(statement.payload);
    if (!this.#bindingsByOrigin.has(origin)) return pending(origin);
    if (!this.#placed.has(origin)) return ignore('quota');
    const held = this.#checkpoints.get(origin);
    if (held !== undefined) {
      const grown = treeSize - held.treeSize;
      if (grown < 0 || (grown === 0 && compareBytes(statement.digest, held.statement.digest) > 0))
        return ignore('superseded');
    }
    const evicted = held === undefined ? [] : this.#removeStatement(held.statement);
    this.#checkpoints.set(origin, { statement, treeSize });
    this.#hold(statement);
    return { verdict: 'accept', evicted };
  }

  /** What became of the key that signed the binding does not matter: the organisation stood by it once. */
  #admitProof(proof: Proof): Admission {
    const { who, of } = proof.payload;
    const log = this.#logs.get(who);
    if (log === undefined) return pending(who);
    if (log.kind !== 'org') return reject(`Cannot admit a proof: "${who}" is not an organisation`);
    if (!log.isListed(bindingInside(proof).payload.by[0] as Uint8Array, 'sign')) return unlisted(log);
    const proofs = this.#proofs.get(who) ?? new Map<ConvictedAs, Proof>();
    const held = proofs.get(of);
    if (held !== undefined && compareBytes(proof.digest, held.digest) > 0) return ignore('superseded');
    const evicted = held === undefined ? [] : this.#removeStatement(held);
    this.#proofs.set(who, proofs.set(of, proof));
    this.#needs(proof, [who]);
    this.#hold(proof);
    return { verdict: 'accept', evicted };
  }

  #admitHeartbeat(statement: Statement<'heartbeat/v1'>, nowMs: number, askedMs: number | undefined): Admission {
    const { iss, by } = statement.payload;
    const issuer = this.#logs.get(iss);
    if (issuer === undefined) return pending(iss);
    if (issuer.kind !== 'org') return reject(`Cannot admit a heartbeat: "${iss}" is not an organisation`);
    if (!issuer.isListed(by[0] as Uint8Array, 'sign')) return unlisted(issuer);
    // Else a thief with a retired key could keep the genuine ones out by dating his own later.
    if (!this.#isVouching(statement, nowMs)) return ignore('superseded');
    const own = this.#organisation(iss);
    // One from the future is of a time before the own clock was set back, and would keep the others out until then.
    const isVoid = ({ statement: other, askedMs: asked = 0 }: HeldHeartbeat): boolean =>
      !this.#isVouching(other, nowMs) || other.payload.iat > nowMs / 1000 + SKEW_SECONDS || asked > nowMs;
    const isNewer = (held: HeldHeartbeat | undefined): boolean =>
      held === undefined || isVoid(held) || isLater(statement, held.statement);
    let news = false;
    if (isNewer(own.stapled)) {
      own.stapled = { statement, askedMs: undefined };
      news = true;
    }
    if (
      askedMs !== undefined &&
      (own.answered === undefined || askedMs > (own.answered.askedMs as number) || isVoid(own.answered))
    ) {
      own.answered = { statement, askedMs };
      news = true;
    }
    if (!news) return ignore('superseded');
    this.revision++;
    return { verdict: 'accept', evicted: [] };
  }

  /** Whether the heartbeat's key counts: current, or in its grace. */
  #isVouching({ payload: { iss, by } }: Statement<'heartbeat/v1'>, nowMs: number): boolean {
    const standing = this.#logs.get(iss)?.state.listed.get(toHex(by[0] as Uint8Array));
    if (standing === undefined || !standing.uses.includes('sign')) return false;
    return standing.standing === 'current' || (standing.standing === 'grace' && nowMs <= standing.untilSeconds * 1000);
  }

  /** Who yields where several claim one number: what does not count, then the highest (epoch, id). */
  #yielding(rivals: readonly Revocation[]): Revocation {
    const idle = rivals.filter((rival) => !this.#counts(rival));
    return (idle.length > 0 ? idle : rivals).reduce((a, b) => (compareStatements(a, b) > 0 ? a : b));
  }

  #isDead({ did, multikey }: Signer): boolean {
    return this.#logs.get(did)?.state.listed.get(toHex(multikey))?.standing === 'dead';
  }

  // Leaving

  /** Takes out what is no longer live at nowMs, and returns it. */
  expire(nowMs: number): Statement[] {
    const gone: Statement[] = [];
    const nowSeconds = nowMs / 1000;
    for (const [minute, statements] of this.#ending) {
      if (minute * 60 > nowSeconds) continue;
      for (const statement of statements) {
        const until = kindRow(statement.t).until(statement.payload);
        if (until !== undefined && nowSeconds >= until) gone.push(...this.#removeStatement(statement));
      }
    }
    return gone;
  }

  #removeStatement(statement: Statement): Statement[] {
    if (isOfKind(statement, 'delegation/v1')) {
      this.#links.delete(statement.id);
      this.#private.delete(statement.id);
      this.#unindexLink(statement);
      const organisation = this.#logs.get(statement.payload.iss)?.organisation ?? '';
      this.#organisations.get(organisation)?.links.delete(statement, linkSigner(statement));
      this.#noLongerNeeds(statement, [statement.payload.iss, statement.payload.spo]);
    } else if (isOfKind(statement, 'revocation/v1')) {
      this.#removeRevocation(statement);
    } else if (isOfKind(statement, 'binding/v1')) {
      return this.#removeBinding(statement);
    } else if (isOfKind(statement, 'checkpoint/v1')) {
      this.#checkpoints.delete(openCheckpoint(statement.payload).origin);
    } else if (isOfKind(statement, 'proof/v1')) {
      const { who, of } = statement.payload;
      const proofs = this.#proofs.get(who);
      proofs?.delete(of);
      if (proofs?.size === 0) this.#proofs.delete(who);
      this.#noLongerNeeds(statement, [who]);
    }
    this.#release(statement);
    return [statement];
  }

  /** With the checkpoint that could not have come without it. */
  #removeBinding(binding: Binding): Statement[] {
    const { iss, wit } = binding.payload;
    const own = this.#organisation(iss);
    own.bindings.delete(binding, bindingSigner(binding));
    removeFrom(this.#bindingsByOrigin, originOf(binding.payload), binding);
    removeFrom(this.#bindingsByWitness, wit, binding);
    this.#noLongerNeeds(binding, [iss]);
    this.#release(binding);
    return [binding, ...this.#placeOrigins(own)];
  }

  #removeRevocation(revocation: Revocation): void {
    const { org, seq, iss } = revocation.payload;
    const own = this.#organisation(org);
    const numbered = (own.revocations.get(seq) ?? []).filter((other) => other !== revocation);
    own.revocations.set(seq, numbered);
    if (numbered.length <= this.#limits.revocationsASeq) own.crowded.delete(seq);
    own.forked = undefined;
    for (const [name, { below }] of own.ancestries) if (below.has(revocation.id)) own.ancestries.delete(name);
    const key = targetKey(targetKeyOf(revocation.payload.tgt));
    const byIssuer = this.#revocationsByTarget.get(key);
    const others = (byIssuer?.get(iss) ?? []).filter((other) => other !== revocation);
    if (others.length > 0) byIssuer?.set(iss, others);
    else byIssuer?.delete(iss);
    if (byIssuer?.size === 0) this.#revocationsByTarget.delete(key);
    this.#noLongerNeeds(revocation, [iss]);
    if (own.complete.has(revocation.id)) for (const { id } of following(own, revocation)) own.complete.delete(id);
  }

  /** A DID leaves with its log and with all that could not have come without it. */
  #removeDid(did: string): Statement[] {
    const log = this.#logs.get(did) as DidLog;
    const gone: Statement[] = [...(this.#needing.get(did) ?? [])].flatMap((statement) =>
      this.#removeStatement(statement),
    );
    for (const operation of log.operations()) {
      this.#release(operation);
      gone.push(operation);
    }
    const own = this.#organisation(log.organisation);
    own.dids.delete(did);
    if (log.ctl !== undefined) own.members.delete(log.genesis, memberSigner(log.genesis.payload as Genesis));
    this.#needing.delete(did);
    this.#logs.delete(did);
    this.#merged.delete(did);
    return gone;
  }

  // Bookkeeping

  #organisation(did: string): Organisation {
    let own = this.#organisations.get(did);
    if (own === undefined) {
      own = {
        dids: new Set(),
        members: new Places(),
        links: new Places(),
        bindings: new Places(),
        origins: [],
        revocations: new Map(),
        ancestries: new Map(),
        crowded: new Set(),
        complete: new Set(),
        forked: undefined,
        stapled: undefined,
        answered: undefined,
      };
      this.#organisations.set(did, own);
    }
    return own;
  }

  #hold(statement: Statement): void {
    this.#held.set(statement.id, statement);
    this.#endLater(statement);
    this.revision++;
  }

  #release(statement: Statement): void {
    this.#held.delete(statement.id);
    const minute = endMinute(statement);
    if (minute !== undefined) {
      const ending = this.#ending.get(minute);
      ending?.delete(statement);
      if (ending?.size === 0) this.#ending.delete(minute);
    }
    this.revision++;
  }

  #endLater(statement: Statement): void {
    const minute = endMinute(statement);
    if (minute === undefined) return;
    const ending = this.#ending.get(minute);
    if (ending === undefined) this.#ending.set(minute, new Set([statement]));
    else ending.add(statement);
  }

  #indexLink(link: Link): void {
    addTo(this.#linksTo, link.payload.aud, link);
    if (link.payload.prf !== null) addTo(this.#childLinks, link.payload.prf.text, link);
  }

  #unindexLink(link: Link): void {
    removeFrom(this.#linksTo, link.payload.aud, link);
    if (link.payload.prf !== null) removeFrom(this.#childLinks, link.payload.prf.text, link);
  }

  #needs(statement: Statement, dids: readonly string[]): void {
    for (const did of dids) {
      const needing = this.#needing.get(did);
      if (needing === undefined) this.#needing.set(did, new Set([statement]));
      else needing.add(statement);
    }
  }

  #noLongerNeeds(statement: Statement, dids: readonly string[]): void {
    for (const did of dids) this.#needing.get(did)?.delete(statement);
  }

  #complete(own: Organisation, revocation: Revocation): void {
    const { seq, prv } = revocation.payload;
    if (prv !== null) {
      const before = (own.revocations.get(seq - 1) ?? []).some(({ id }) => id === prv.text);
      if (!before || !own.complete.has(prv.text)) return;
    }
    for (const { id } of following(own, revocation)) own.complete.add(id);
  }

  /** Whether the number of a revocation counts: a key retired as dead numbers nothing beyond what its owner stood by. */
  #counts(revocation: Revocation): boolean {
    const { org, by, seq } = revocation.payload;
    const state = this.#logs.get(org)?.state;
    if (state === undefined || state.status !== 'active') return true; // fails closed: it grants nothing, and what it revoked stays so
    const standing = state.listed.get(toHex(by.at(-1) as Uint8Array));
    if (standing?.standing !== 'dead') return true;
    return seq < (this.#ancestry(org, standing.rseq, standing.rhead).below.get(revocation.id) ?? 0);
  }

  /** Numbers have to fall along the way, so that whether one counts follows from higher numbers alone. */
  #ancestry(organisation: string, rseq: number, rhead: string | null): Ancestry {
    const own = this.#organisation(organisation);
    const key = `${rseq} ${rhead}`;
    const known = own.ancestries.get(key);
    const ancestry: Ancestry = known ?? { below: new Map(), next: rhead };
    if (known === undefined) {
      own.ancestries.set(key, ancestry);
      if (rhead !== null) ancestry.below.set(rhead, rseq + 1);
    }
    while (ancestry.next !== null) {
      const held = this.#held.get(ancestry.next);
      if (held === undefined || !isOfKind(held, 'revocation/v1')) break;
      const { org, seq, prv } = held.payload;
      ancestry.next =
        org === organisation && seq < (ancestry.below.get(held.id) as number) ? (prv?.text ?? null) : null;
      if (ancestry.next !== null) ancestry.below.set(ancestry.next, seq);
    }
    return ancestry;
  }

  /** More revocations for one number than may stand: two histories of what was revoked. */
  #isRevocationForked(organisation: string, as: DidState): boolean {
    const own = this.#organisations.get(organisation);
    if (own === undefined || own.crowded.size === 0) return false;
    if (own.forked?.as !== as) {
      const isCrowd = (rivals: readonly Revocation[] = []): boolean =>
        rivals.filter((rival) => this.#counts(rival)).length > this.#limits.revocationsASeq;
      own.forked = { as, is: [...own.crowded].some((seq) => isCrowd(own.revocations.get(seq))) };
    }
    return own.forked.is;
  }
}

/** The newest counts; of one second the lowest id, so that all keep the same. */
const isLater = (a: Statement, b: Statement): boolean =>
  a.payload.iat > b.payload.iat || (a.payload.iat === b.payload.iat && compareBytes(a.digest, b.digest) < 0);

const linkSigner = ({ payload: { iss, by } }: Link): Signer => ({ did: iss, multikey: by[0] as Uint8Array });
const bindingSigner = ({ payload: { iss, by } }: Binding): Signer => ({ did: iss, multikey: by[0] as Uint8Array });

const lowestOf = <S extends Statement>(statements: Iterable<S> = []): S | undefined =>
  [...statements].reduce<S | undefined>(
    (least, next) => (least === undefined || compareStatements(next, least) < 0 ? next : least),
    undefined,
  );

/** The logs that an organisation binds, the highest (generation, key) first. */
function originsOf({ bindings }: Organisation): string[] {
  const logs = new Map([...bindings].map(({ payload }) => [originOf(payload), logOf(payload)]));
  return [...logs]
    .sort(([, a], [, b]) => b.generation - a.generation || compareBytes(b.publicKey, a.publicKey))
    .map(([origin]) => origin);
}

/** The organisation's, which brought the DID in. */
const memberSigner = (op: Genesis): Signer => ({ did: op.ctl ?? '', multikey: controllerKeyOf(op) });

/** A revocation and all that follow it, number by number. */
function* following(own: Organisation, revocation: Revocation): Iterable<Revocation> {
  const open = [revocation];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    yield next;
    const { id, payload } = next;
    open.push(...(own.revocations.get(payload.seq + 1) ?? []).filter((later) => later.payload.prv?.text === id));
  }
}

function pathIfEntitled(operation: Operation, prv: PathState): PathState | undefined {
  try {
    return successorPath(operation, prv);
  } catch (error) {
    if (isMeshError(error)) return undefined; // its own admission will say why
    throw error;
  }
}

function addTo<T>(index: Map<string, Set<T>>, key: string, item: T): void {
  const items = index.get(key);
  if (items === undefined) index.set(key, new Set([item]));
  else items.add(item);
}

function removeFrom<T>(index: Map<string, Set<T>>, key: string, item: T): void {
  const items = index.get(key);
  items?.delete(item);
  if (items?.size === 0) index.delete(key);
}

function endMinute(statement: Statement): number | undefined {
  const until = kindRow(statement.t).until(statement.payload);
  return until === undefined ? undefined : Math.floor(until / 60);
}

/**
 * The state that a handful of statements makes, in whatever order they come: for bundles and handshakes. What is
 * refused is left out; what that means shows at use. Errors: as parseStatement, bad_signature.
 */
export function viewOfStatements(
  envelopes: readonly Uint8Array[],
  { isSignatureValid, nowMs }: { readonly isSignatureValid: IsSignatureValid; readonly nowMs: number },
): MeshState {
  const state = new MeshState();
  const statements = envelopes.map(parseStatement);
  for (const statement of statements) verifySignatures(statement, isSignatureValid);
  admitAll(state, statements, nowMs);
  return state;
}

/** Admits until nothing more gets in; each round lets in at least one, so there are at most as many as statements. */
export function admitAll(state: MeshState, statements: readonly Statement[], nowMs: number): void {
  let open = [...statements];
  for (let before = -1; open.length !== before; ) {
    before = open.length;
    const waiting = Map.groupBy(open, ({ payload }) => ('prv' in payload ? payload.prv?.text : undefined));
    const awaiting: Awaiting = (id) => waiting.get(id) ?? [];
    open = open.filter((statement) => state.admit(statement, nowMs, { awaiting }).verdict === 'pending');
  }
}
