/** Judging chains with what this daemon knows, and refreshing what it knows where that is too old. */
import {
  type ChainReport,
  type ChainRequest,
  collectBundle,
  createChainCache,
  encodeBundle,
  type ErrorData,
  type Holder,
  type IsSignatureValid,
  isMeshError,
  linksTo,
  MeshError,
  type MeshView,
  stalenessOf,
  type Statement,
} from '../../protocol/index.ts';
import type { Clock } from '../ports.ts';
import type { MeshNode } from './node.ts';

type Link = Statement<'delegation/v1'>;

export interface ChainQuestion {
  /** Default: those that the daemon trusts. */
  readonly roots?: ReadonlySet<string>;
  readonly request?: ChainRequest;
  readonly holder?: Holder;
  /** Default: now. Another time is judged by what is held, and nothing is refreshed for it. */
  readonly nowMs?: number;
  /** Default: the daemon's own; a handshake lays presented private links over it. */
  readonly view?: MeshView;
  /** A peer that may hold the newest heartbeats. */
  readonly peer?: string;
  readonly signal?: AbortSignal;
}

export class Chains {
  readonly #node: MeshNode;
  readonly #clock: Clock;
  readonly #isSignatureValid: IsSignatureValid;
  readonly #cache = createChainCache();

  constructor(node: MeshNode) {
    this.#node = node;
    this.#clock = node.components.clock;
    this.#isSignatureValid = node.components.isSignatureValid;
  }

  /** With what is known now, whatever its age. Errors: CHAIN_CODES. */
  judge(chain: readonly Link[] | string, question: ChainQuestion = {}, askedSinceMs?: number): ChainReport {
    let report: ChainReport;
    try {
      report = this.#verify(chain, question, askedSinceMs);
    } catch (error) {
      // What is known of a convicted organisation grows old, since nothing is asked of it any more: that is no reason.
      if (isMeshError(error) && error.code === 'status_stale')
        this.#verifyNoneRefused(error.data.report as ChainReport, partiesOf);
      throw error;
    }
    this.#verifyNoneRefused(report, ({ checkedThrough }) => checkedThrough.map(({ did }) => did));
    return report;
  }

  #verify(chain: readonly Link[] | string, question: ChainQuestion, askedSinceMs: number | undefined): ChainReport {
    const { state, staleness, roots } = this.#node;
    return this.#cache.verify(chain, {
      view: question.view ?? state,
      roots: question.roots ?? roots,
      nowMs: question.nowMs ?? this.#clock.nowMs(),
      isSignatureValid: this.#isSignatureValid,
      // What the own store holds has passed the door; what lies over it has not.
      isVerified: (link) => state.link(link.id) === link,
      staleness,
      ...(question.request !== undefined && { request: question.request }),
      ...(question.holder !== undefined && { holder: question.holder }),
      ...(askedSinceMs !== undefined && { askedSinceMs }),
    });
  }

  /** A verdict of this daemon, not of the chain: whoever verifies a bundle by itself does not share it. Errors: convicted. */
  #verifyNoneRefused(report: ChainReport, didsOf: (report: ChainReport) => readonly string[]): void {
    try {
      this.#node.convictions.verifyNoneRefused(didsOf(report), `accept the chain "${report.leaf}"`);
    } catch (error) {
      if (!isMeshError(error)) throw error;
      throw new MeshError(error.code, error.message, { ...error.data, report }, { cause: error });
    }
  }

  /** As judge; knowledge that is too old is refreshed first, and an accepted chain is kept fresh. Errors: CHAIN_CODES. */
  async verify(chain: readonly Link[] | string, question: ChainQuestion = {}): Promise<ChainReport> {
    const askedSinceMs = this.#clock.nowMs();
    try {
      return this.#rely(this.judge(chain, question, askedSinceMs));
    } catch (error) {
      if (question.nowMs !== undefined || !isMeshError(error) || error.code !== 'status_stale') throw error;
    }
    await this.freshen(chain, question);
    return this.#rely(this.judge(chain, question, askedSinceMs));
  }

  /** Tries to know the status of all organisations in the chain as recently as the request needs it. */
  async freshen(
    chain: readonly Link[] | string,
    question: ChainQuestion & { readonly ageShare?: number } = {},
  ): Promise<void> {
    const links = typeof chain === 'string' ? linksTo(question.view ?? this.#node.state, chain) : chain;
    const staleAfterSeconds = this.#stalenessOf(links, question.request);
    const maxAgeSeconds = Math.floor(staleAfterSeconds * (question.ageShare ?? 1));
    const { peer, signal } = question;
    await Promise.all(
      this.organisationsOf(links).map((organisation) =>
        this.#node.freshness.freshen(organisation, {
          maxAgeSeconds,
          ...(peer !== undefined && { peer }),
          ...(signal !== undefined && { signal }),
        }),
      ),
    );
  }

  /** The organisation of every issuer, of the root and of the audience, as far as their logs are held. */
  organisationsOf(links: readonly Link[]): string[] {
    const dids = links.flatMap(({ payload: { iss, sub } }) => [iss, sub]);
    return [...new Set(dids.flatMap((did) => this.#node.state.didState(did)?.organisation ?? []))];
  }

  /** The chain with all that an offline verifier needs; heartbeats older than half the staleness are pulled first. Errors: CHAIN_CODES. */
  async bundle(leaf: string, signal: AbortSignal): Promise<Uint8Array> {
    await this.freshen(leaf, { ageShare: 0.5, signal });
    return encodeBundle(collectBundle(this.#node.state, leaf, this.#clock.nowMs()));
  }

  #stalenessOf(links: readonly Link[], request: ChainRequest | undefined): number {
    const named = links.flatMap(({ payload: { stl } }) => (stl === undefined ? [] : [stl]));
    return stalenessOf(
      request?.capabilities ?? [],
      named.length === 0 ? null : Math.min(...named),
      this.#node.staleness,
    );
  }

  #rely(report: ChainReport): ChainReport {
    const organisations = report.checkedThrough.map(({ did }) => did);
    if (report.staleAfterSeconds !== null && report.staleAfterSeconds > 0)
      this.#node.relyOn(organisations, report.staleAfterSeconds);
    return report;
  }
}

const partiesOf = ({ links }: ChainReport): string[] => links.flatMap(({ issuer, audience }) => [issuer, audience]);

/** A verdict as data: ok, or the one code; the report is part of either. */
export interface Verdict {
  readonly ok: boolean;
  readonly code: MeshError['code'] | null;
  readonly message: string | null;
  readonly data: ErrorData;
}

export function verdictOf(judge: () => ChainReport): { readonly verdict: Verdict; readonly report: ChainReport } {
  try {
    return { verdict: { ok: true, code: null, message: null, data: {} }, report: judge() };
  } catch (error) {
    if (!isMeshError(error)) throw error;
    const { report, ...data } = error.data;
    if (report === undefined) throw error;
    return { verdict: { ok: false, code: error.code, message: error.message, data }, report: report as ChainReport };
  }
}
