/**
 * Who is convicted, here (SPEC "Monitoring and convictions"). The proofs are statements and make no two daemons differ;
 * what a human lifted on this one is its own, kept beside them.
 */
import {
  concatBytes,
  digestOf,
  isOfKind,
  limits,
  MeshError,
  type MeshState,
  type Statement,
  toHex,
  u32be,
} from '../../../protocol/index.ts';
import { parseCheckpoint } from '../../../protocol/log/index.ts';
import type { Clock, Logger, Store } from '../../ports.ts';
import type { Pipeline } from '../pipeline.ts';

type Proof = Statement<'proof/v1'>;

export interface ConvictionsComponents {
  readonly state: Pick<MeshState, 'convictionsOf' | 'convicted' | 'didState'>;
  /** Proofs are announced by it. */
  readonly pipeline: Pick<Pipeline, 'listen'>;
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Logger;
  /** Own organisation: nobody acts against himself. */
  readonly organisation: string;
}

export interface ConvictionsListener {
  /** From this turn on the organisation counts as convicted here. */
  convicted?(organisation: string, proof: Proof): void;
  lifted?(organisation: string, reason: string): void;
}

/** What a human decided. */
export interface Lift {
  readonly reason: string;
  /** Wall clock. */
  readonly liftedMs: number;
}

export interface Conviction {
  readonly organisation: string;
  /** Of its log, its witness or both; never empty. */
  readonly proofs: readonly Proof[];
  /** Whether it counts: not lifted, or convicted again by another pair of notes since. */
  readonly isInForce: boolean;
  readonly lift: Lift | undefined;
}

/** Rows: `n` DID → JSON of a lift. */
const PREFIX = 0x6e;
const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true });

interface LiftRow extends Lift {
  /** SHA-256 over the pairs of notes that this forgives, hex. */
  readonly pairs: readonly string[];
  /** Over pairs that came since, where the proof that is held of the organisation is one of the forgiven. */
  readonly since: readonly string[];
}

export class Convictions {
  readonly #components: ConvictionsComponents;
  readonly #lifts: Map<string, LiftRow>;
  readonly #listeners: ConvictionsListener[] = [];
  /** Told to listeners as convicted. */
  readonly #inForce = new Set<string>();
  readonly #pairs = new WeakMap<Proof, string>();

  private constructor(components: ConvictionsComponents, lifts: Map<string, LiftRow>) {
    this.#components = components;
    this.#lifts = lifts;
    for (const organisation of components.state.convicted())
      if (this.isConvicted(organisation)) this.#enter(organisation);
    components.pipeline.listen({
      accepted: (statement) => {
        if (isOfKind(statement, 'proof/v1')) this.#accepted(statement);
      },
    });
  }

  /** After the pipeline has read its store. Errors: store_corrupt. */
  static async open(components: ConvictionsComponents): Promise<Convictions> {
    const lifts = new Map<string, LiftRow>();
    for await (const [key, value] of components.store.range(Uint8Array.of(PREFIX), Uint8Array.of(PREFIX + 1))) {
      const organisation = decoder.decode(key.subarray(1));
      lifts.set(organisation, readLift(organisation, value));
    }
    return new Convictions(components, lifts);
  }

  listen(listener: ConvictionsListener): void {
    this.#listeners.push(listener);
  }

  /** Whether the DID's organisation signed two histories and nobody lifted that here. */
  isConvicted(did: string): boolean {
    const organisation = this.#organisationOf(did);
    return this.#components.state.convictionsOf(organisation).some((proof) => this.#counts(organisation, proof));
  }

  /** As isConvicted, for one role of an organisation. */
  isConvictedAs(of: 'log' | 'witness', organisation: string): boolean {
    const proofs = this.#components.state.convictionsOf(organisation);
    return proofs.some((proof) => proof.payload.of === of && this.#counts(organisation, proof));
  }

  /** Convicted, and not the own organisation: nothing is to be had from this daemon but statements. */
  isRefused(did: string): boolean {
    return this.#organisationOf(did) !== this.#components.organisation && this.isConvicted(did);
  }

  /** None of these DIDs is refused. Errors: convicted. */
  verifyNoneRefused(dids: Iterable<string>, attempted: string): void {
    for (const did of dids) {
      if (!this.isRefused(did)) continue;
      const organisation = this.#organisationOf(did);
      throw new MeshError('convicted', `Cannot ${attempted}: "${organisation}" is convicted by its own signatures`, {
        did: organisation,
      });
    }
  }

  list(): Conviction[] {
    return [...this.#components.state.convicted()].flatMap((organisation) => this.get(organisation) ?? []);
  }

  /** Of the DID's organisation. Undefined: no proof against it is held. */
  get(did: string): Conviction | undefined {
    const organisation = this.#organisationOf(did);
    const proofs = this.#components.state.convictionsOf(organisation);
    if (proofs.length === 0) return undefined;
    const lift = this.#lifts.get(organisation);
    return {
      organisation,
      proofs,
      isInForce: this.isConvicted(organisation),
      lift: lift === undefined ? undefined : { reason: lift.reason, liftedMs: lift.liftedMs },
    };
  }

  /**
   * A human's decision, for this daemon alone: what is proven by now does not count any more. Another pair of notes
   * convicts again. On disk when it resolves. Errors: not_found, too_large (the reason), read_only.
   */
  async lift(did: string, reason: string): Promise<Conviction> {
    const { state, clock, log } = this.#components;
    const organisation = this.#organisationOf(did);
    const proofs = state.convictionsOf(organisation);
    if (proofs.length === 0)
      throw new MeshError('not_found', `Cannot lift a conviction of "${did}": no proof against it is held`, { did });
    if ([...reason].length > limits.REASON_TEXT_MAX)
      throw new MeshError(
        'too_large',
        `Cannot lift a conviction: the reason has ${[...reason].length} characters, want at most ${limits.REASON_TEXT_MAX}`,
      );
    // What was forgiven stays so, whichever of the proofs is the one held.
    const before = this.#lifts.get(organisation);
    const pairs = new Set([
      ...(before?.pairs ?? []),
      ...(before?.since ?? []),
      ...proofs.map((proof) => this.#pairOf(proof)),
    ]);
    const row: LiftRow = {
      reason,
      liftedMs: clock.nowMs(),
      pairs: [...pairs].slice(-limits.CONVICTION_PAIRS_LIFTED_MAX),
      since: [],
    };
    await this.#write(organisation, row);
    if (!this.isConvicted(organisation)) this.#inForce.delete(organisation);
    log.warn({ did: organisation, reason }, 'a conviction was lifted on this daemon');
    for (const listener of this.#listeners) listener.lifted?.(organisation, reason);
    return this.get(organisation) as Conviction;
  }

  /**
   * A proof that verifies and has no place among the statements, since another holds it: where that was lifted, this one
   * convicts by what it shows. Errors: read_only.
   */
  async convictAgain(proof: Proof): Promise<void> {
    const { who } = proof.payload;
    const lift = this.#lifts.get(who);
    const pair = this.#pairOf(proof);
    if (lift === undefined || lift.pairs.includes(pair) || lift.since.includes(pair)) return;
    await this.#write(who, { ...lift, since: [...lift.since, pair].slice(-limits.CONVICTION_PAIRS_LIFTED_MAX) });
    this.#convict(proof);
  }

  async #write(organisation: string, row: LiftRow): Promise<void> {
    const key = concatBytes(Uint8Array.of(PREFIX), encoder.encode(organisation));
    const value = encoder.encode(JSON.stringify(row));
    await this.#components.store.batch([{ type: 'put', key, value }], { sync: true });
    this.#lifts.set(organisation, row);
  }

  #accepted(proof: Proof): void {
    if (this.#counts(proof.payload.who, proof)) this.#convict(proof);
  }

  #convict(proof: Proof): void {
    const { who, of } = proof.payload;
    if (this.#inForce.has(who)) return;
    this.#enter(who);
    if (who !== this.#components.organisation)
      this.#components.log.warn({ did: who, of, id: proof.id }, 'an organisation is convicted by its own signatures');
    for (const listener of this.#listeners) listener.convicted?.(who, proof);
  }

  #enter(organisation: string): void {
    this.#inForce.add(organisation);
    if (organisation === this.#components.organisation)
      this.#components.log.error(
        { did: organisation },
        'THIS ORGANISATION IS CONVICTED: two of its signed checkpoints contradict each other. Others end their sessions ' +
          'with it; its log goes on being read. See "agentmesh conviction show"',
      );
  }

  #counts(organisation: string, proof: Proof): boolean {
    const lift = this.#lifts.get(organisation);
    return lift === undefined || lift.since.length > 0 || !lift.pairs.includes(this.#pairOf(proof));
  }

  /** What tells one offence from another: the notes, whatever binding a proof brings along. */
  #pairOf(proof: Proof): string {
    let pair = this.#pairs.get(proof);
    if (pair === undefined) {
      const { a, b } = proof.payload;
      pair = toHex(digestOf(concatBytes(u32be(a.length), a, b)));
      this.#pairs.set(proof, pair);
    }
    return pair;
  }

  #organisationOf(did: string): string {
    return this.#components.state.didState(did)?.organisation ?? did;
  }
}

function readLift(organisation: string, value: Uint8Array): LiftRow {
  const what = `Cannot read the lifted conviction of "${organisation}"`;
  try {
    const { reason, liftedMs, pairs, since } = JSON.parse(decoder.decode(value)) as Partial<LiftRow>;
    if (typeof reason === 'string' && typeof liftedMs === 'number' && Array.isArray(pairs) && Array.isArray(since))
      return { reason, liftedMs, pairs, since };
  } catch (cause) {
    throw new MeshError('store_corrupt', `${what}: the row is no JSON`, { id: organisation }, { cause });
  }
  throw new MeshError('store_corrupt', `${what}: the row is something else`, { id: organisation });
}

/** What a proof is about, for people. */
export interface Offence {
  readonly of: 'log' | 'witness';
  readonly origin: string;
  readonly treeSizes: readonly [number, number];
}

export function offenceOf({ payload: { of, a, b } }: Proof): Offence {
  const [older, newer] = [parseCheckpoint(a).checkpoint, parseCheckpoint(b).checkpoint];
  return { of, origin: older.origin, treeSizes: [older.treeSize, newer.treeSize] };
}
