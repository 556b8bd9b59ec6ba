/**
 * Keeps knowledge of other organisations' revocations as recent as decisions need it: pulls heartbeats from the issuer,
 * and where one names what is not held, syncs that organisation once (SPEC "Revocation and freshness").
 */
import { freshnessOf, isMeshError, type Heartbeat, limits, type MeshState } from '../../protocol/index.ts';
import type { Clock, Logger, Random, Timer } from '../ports.ts';
import type { Organisation } from './organisation.ts';
import type { Pipeline } from './pipeline.ts';
import type { Resolver } from './resolver.ts';
import type { Sync } from './sync.ts';

export interface FreshnessComponents {
  readonly pipeline: Pipeline;
  readonly sync: Sync;
  readonly resolver: Resolver;
  readonly organisation: Organisation;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  /** Organisations that open sessions and accepted chains stand on, with the staleness tolerated, seconds. */
  readonly reliedOn: () => ReadonlyMap<string, number>;
}

export interface FreshenOptions {
  /** How old what is known may be, seconds; 0: only the answer to a question asked from now on. */
  readonly maxAgeSeconds: number;
  /** A connected peer that may hold the newest heartbeat. */
  readonly peer?: string;
  readonly signal?: AbortSignal;
}

const LOOK_MS = 1_000; // the strictest staleness but 0 that a link can name is a second
const NEIGHBOURS_ASKED = 3; // for what they hold of an issuer that cannot be reached

export class Freshness {
  readonly #components: FreshnessComponents;
  readonly #underWay = new Map<string, Promise<void>>();
  readonly #beatMs: number;
  readonly #stop = new AbortController();
  #timer: Timer | undefined;
  #beatenMs = Number.NEGATIVE_INFINITY;

  /** @param options.beatMs between own heartbeats; default 60,000. */
  constructor(components: FreshnessComponents, options: { readonly beatMs?: number } = {}) {
    this.#components = components;
    this.#beatMs = options.beatMs ?? 60_000;
  }

  start(): void {
    this.#tick();
  }

  close(): void {
    this.#stop.abort();
    this.#timer?.cancel();
  }

  /** Tries to know the organisation's status to within the age; what that came to shows when the chain is verified. */
  async freshen(organisation: string, options: FreshenOptions): Promise<void> {
    if (organisation === this.#components.organisation.did) return this.beat();
    if (options.maxAgeSeconds > 0 && this.#isFresh(organisation, options.maxAgeSeconds)) return;
    if (options.maxAgeSeconds <= 0) return this.#pull(organisation, options);
    const { signal, ...shared } = options; // others may wait for the same answer when this one gives up
    let work = this.#underWay.get(organisation);
    if (work === undefined) {
      work = this.#pull(organisation, shared).finally(() => this.#underWay.delete(organisation));
      this.#underWay.set(organisation, work);
    }
    return signal === undefined ? work : Promise.race([work, fired(signal)]);
  }

  /** Signs where the own logs end, as of now; an organisation without keys (deactivated, or moved elsewhere) cannot. */
  beat(): void {
    const { pipeline, organisation, random, clock, log } = this.#components;
    const nonce = random.bytes(limits.NONCE_BYTES);
    try {
      pipeline.receiveAnswer(organisation.heartbeat(nonce).envelope, nonce, clock.nowMs());
    } catch (error) {
      if (!isMeshError(error)) throw error;
      log.warn({ code: error.code, reason: error.message }, 'no heartbeat of the own organisation');
    }
  }

  #isFresh(organisation: string, maxAgeSeconds: number): boolean {
    const { pipeline, clock } = this.#components;
    const nowMs = clock.nowMs();
    // The verifier's own rule: one that names what is not held outweighs any that is fresh.
    const need = { staleAfterSeconds: maxAgeSeconds };
    return freshnessOf(pipeline.state, organisation, nowMs, need).stale === undefined;
  }

  async #pull(organisation: string, { peer, signal, maxAgeSeconds }: FreshenOptions): Promise<void> {
    const { sync, resolver, random } = this.#components;
    const either = signal === undefined ? this.#stop.signal : AbortSignal.any([signal, this.#stop.signal]);
    let issuers = sync.peersOf(organisation);
    if (issuers.length === 0) {
      await resolver.connect(organisation, either);
      issuers = sync.peersOf(organisation);
    }
    for (const issuer of issuers) {
      const nonce = random.bytes(limits.NONCE_BYTES);
      if (
        await this.#try(
          () => sync.pullHeartbeats([organisation], issuer, { nonce, signal: either }),
          organisation,
          issuer,
        )
      ) {
        return this.#complete(organisation, issuer, either);
      }
    }
    if (maxAgeSeconds === 0) return; // only the issuer's answer would count
    const neighbours = [...new Set([...(peer === undefined ? [] : [peer]), ...sync.boundPeers()])].slice(
      0,
      NEIGHBOURS_ASKED,
    );
    for (const neighbour of neighbours) {
      if (
        !(await this.#try(
          () => sync.pullHeartbeats([organisation], neighbour, { signal: either }),
          organisation,
          neighbour,
        ))
      )
        continue;
      await this.#complete(organisation, neighbour, either);
      if (this.#isFresh(organisation, maxAgeSeconds)) return;
    }
  }

  /** Syncs the organisation once if its newest heartbeat names what is not held. */
  async #complete(organisation: string, peer: string, signal: AbortSignal): Promise<void> {
    const { pipeline, clock, sync } = this.#components;
    const newest = pipeline.state.heartbeatsOf(organisation, clock.nowMs());
    if (newest.every(({ statement: { payload } }) => holdsThrough(pipeline.state, payload))) return;
    await this.#try(() => sync.learnLog(organisation, peer, signal), organisation, peer);
    await this.#try(() => sync.reconcile(peer, organisation, signal), organisation, peer);
  }

  async #try(work: () => Promise<unknown>, organisation: string, peer: string): Promise<boolean> {
    try {
      await work();
      return true;
    } catch (error) {
      if (!isMeshError(error) && !this.#stop.signal.aborted) throw error;
      this.#components.log.debug({ organisation, peer, error }, 'status not refreshed');
      return false;
    }
  }

  #tick(): void {
    const { clock, log } = this.#components;
    if (clock.monotonicMs() - this.#beatenMs >= this.#beatMs) {
      this.#beatenMs = clock.monotonicMs();
      this.beat();
    }
    for (const [organisation, staleAfterSeconds] of this.#components.reliedOn()) {
      if (this.#isFresh(organisation, staleAfterSeconds / 2)) continue;
      this.freshen(organisation, { maxAgeSeconds: Math.max(1, staleAfterSeconds / 2) }).catch((error: unknown) =>
        log.error({ error, organisation }, 'status not refreshed'),
      );
    }
    this.#timer = clock.after(LOOK_MS, () => this.#tick());
  }
}

const holdsThrough = (state: MeshState, { iss, dseq, head, rseq, rhead }: Heartbeat): boolean =>
  state.holdsOperation(iss, dseq, head.text) && state.holdsRevocations(iss, rseq, rhead?.text ?? null);

function fired(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
