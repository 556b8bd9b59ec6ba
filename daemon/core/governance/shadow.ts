/**
 * Candidates beside the policies in force: what they would have decided otherwise, on traffic as it comes and on requests
 * that are kept. They decide nothing. Limits count as free and approvals as not given, on both sides.
 */
import { limits } from '../../../protocol/index.ts';
import {
  ComparisonCount,
  type Decision,
  type Divergence,
  type Effect,
  type PolicyContext,
  type PolicyFile,
  type PolicyRef,
} from '../../../protocol/policy/index.ts';
import type { Clock } from '../../ports.ts';
import type { PolicyLibrary } from './policy-library.ts';
import type { ArchivedRequest } from './request-archive.ts';

/** One request on which the candidate differs. */
export interface DivergedRequest {
  readonly atMs: number;
  readonly agent: string;
  readonly action: string;
  readonly tool: string | null;
  readonly live: Effect;
  /** Null: the default decided. */
  readonly liveRule: string | null;
  readonly candidate: Effect;
  readonly candidateRule: string | null;
}

export interface Comparison {
  readonly policy: PolicyRef;
  readonly compared: number;
  readonly diverged: number;
  /** Where less is asked by the candidate than now. */
  readonly loosened: number;
  readonly tightened: number;
  /** Newest first. */
  readonly newest: readonly DivergedRequest[];
}

export interface ShadowComponents {
  readonly clock: Clock;
  readonly library: Pick<PolicyLibrary, 'candidates' | 'candidatesFor' | 'candidateOf'>;
  /** Each divergence on traffic as it comes: for the log, which limits how many it takes. */
  readonly diverged: (policy: PolicyRef, request: DivergedRequest) => void;
}

export interface ShadowOptions {
  /** Divergences that are shown of one candidate. Default REPLAY_DIVERGENCES_MAX. */
  readonly newestMax?: number;
}

export class Shadow {
  readonly #components: ShadowComponents;
  readonly #newestMax: number;
  /** By digest, of those that run now. */
  readonly #tallies = new Map<string, Tally>();

  constructor(components: ShadowComponents, { newestMax = limits.REPLAY_DIVERGENCES_MAX }: ShadowOptions = {}) {
    this.#components = components;
    this.#newestMax = newestMax;
  }

  /**
   * What the candidates would say where the policies of a request said this: those of the configuration, and those that
   * its caller brought. Costs nothing where there are none.
   */
  observe(context: PolicyContext, { effect, rule, policy: by }: Decision, brought: readonly string[]): void {
    const { library, clock, diverged } = this.#components;
    if (library.candidates.length === 0) return;
    for (const { policy, policies } of library.candidatesFor(brought)) {
      const tally = this.#tally(policy);
      const divergence = tally.count.addTo({ effect, rule, policy: by.name }, policies, context);
      if (divergence !== undefined) diverged(tally.policy, tally.keep(clock.nowMs(), divergence));
    }
  }

  /** Of the candidates that run now. */
  comparisons(): Comparison[] {
    const { candidates } = this.#components.library;
    const running = new Set(candidates.map(({ policy }) => policy.digest));
    for (const digest of this.#tallies.keys()) if (!running.has(digest)) this.#tallies.delete(digest);
    return candidates.map(({ policy }) => this.#tally(policy).result());
  }

  /** What a policy would have said of requests that are kept, beside what was decided. Errors: policy_invalid, store_corrupt. */
  async replay(
    { name, files }: { readonly name: string; readonly files: readonly PolicyFile[] },
    requests: AsyncIterable<ArchivedRequest>,
    { signal }: { readonly signal?: AbortSignal } = {},
  ): Promise<Comparison> {
    const { policy, policies } = this.#components.library.candidateOf(name, files);
    const tally = new Tally(policy, this.#newestMax);
    let count = 0;
    for await (const { kept, timeMs } of requests) {
      signal?.throwIfAborted();
      if (++count % TURN === 0) await this.#components.clock.soon();
      if (kept === undefined) continue; // too large to be kept
      const { effect, rule } = kept.decided;
      const divergence = tally.count.addTo({ effect, rule, policy: '' }, policies, kept.context);
      if (divergence !== undefined) tally.keep(timeMs, divergence);
    }
    return tally.result();
  }

  #tally(policy: PolicyRef): Tally {
    const tally = this.#tallies.get(policy.digest) ?? new Tally(policy, this.#newestMax);
    this.#tallies.set(policy.digest, tally);
    return tally;
  }
}

const TURN = 256; // requests compared before other work gets a turn: some 5 ms

class Tally {
  readonly policy: PolicyRef;
  /** Without their contexts, which hold arguments. */
  readonly count = new ComparisonCount(0);
  readonly #newest: DivergedRequest[] = [];
  readonly #newestMax: number;

  constructor({ name, digest }: PolicyRef, newestMax: number) {
    this.policy = { name, digest };
    this.#newestMax = newestMax;
  }

  keep(atMs: number, { context, live, candidate }: Divergence): DivergedRequest {
    const request: DivergedRequest = {
      atMs,
      agent: context.agent.did,
      action: context.action.type,
      tool: context.tool?.name ?? null,
      live: live.effect,
      liveRule: live.rule,
      candidate: candidate.effect,
      candidateRule: candidate.rule,
    };
    this.#newest.push(request);
    if (this.#newest.length > this.#newestMax) this.#newest.shift();
    return request;
  }

  result(): Comparison {
    const { compared, diverged, loosened, tightened } = this.count.result();
    return { policy: this.policy, compared, diverged, loosened, tightened, newest: this.#newest.toReversed() };
  }
}
