/** One side's judgement of the other: what it showed, checked against what is held, asking for what is missing. */
import {
  type Capability,
  type ErrorCode,
  type IsSignatureValid,
  isMeshDid,
  isMeshError,
  linksTo,
  MeshError,
  type MeshView,
  openPresentation,
  overlayView,
  type PeerCheck,
  type PeerClaim,
  type PeerReport,
  type Presentation,
  type Presented,
  type SignatureShown,
  type Statement,
  verifyPeer,
  verifySignatures,
  verifyStanding,
} from '../../protocol/index.ts';
import type { Exchange } from './exchange.ts';
import {
  type HandshakeComponents,
  type HandshakeFacts,
  type HandshakeOptions,
  type HandshakePolicy,
  OPEN_POLICY,
} from './handshake-ports.ts';
import type { OwnStanding } from './own-standing.ts';
import type { SessionGrounds } from './sessions.ts';

/** What the other side showed, and what it is held to. */
export interface Shown {
  readonly did: string;
  readonly presentation: Presentation;
  readonly signed: SignatureShown;
  readonly mustCover: readonly Capability[];
  readonly minScore: number;
}

export interface Judgement {
  readonly claim: PeerClaim;
  readonly report: PeerReport;
  readonly view: MeshView;
  readonly isVerified: PeerCheck['isVerified'];
  readonly score: { readonly score: number; readonly basis: string };
  readonly minScore: number;
}

/** What a refusal says was tried. */
export const ATTEMPT = 'shake hands';

const CURES_MAX = 6; // rounds of asking for what is missing: logs, links and the heartbeats of a chain's organisations

export class PeerJudge {
  readonly #components: HandshakeComponents;
  readonly #options: Pick<HandshakeOptions, 'staleness'>;
  readonly #policy: HandshakePolicy;

  constructor(components: HandshakeComponents, options: Pick<HandshakeOptions, 'staleness'>) {
    this.#components = components;
    this.#options = options;
    this.#policy = components.policy ?? OPEN_POLICY;
  }

  /** Everything about the other side, asking it and others for what is missing. */
  async judge(exchange: Exchange, facts: HandshakeFacts, shown: Shown): Promise<Judgement> {
    const { view: held, clock, isSignatureValid, admit, scoreOf } = this.#components;
    const askedSinceMs = clock.nowMs();
    const opened = openPresentation(shown.presentation);
    const isPresented = verifiedLinks(opened.private, isSignatureValid);
    if (opened.published.length > 0) await exchange.within(() => admit(opened.published, facts.peer));
    const view = overlayView(held, opened.private);
    const claim: PeerClaim = { did: shown.did, peer: facts.peer, ...identAndGrant(opened) };
    const isVerified: PeerCheck['isVerified'] = (link) => held.link(link.id) === link || isPresented(link);
    const score = scoreOf(shown.did);
    const report = await this.#curing(exchange, facts.peer, () =>
      verifyPeer(claim, {
        view,
        nowMs: clock.nowMs(),
        askedSinceMs,
        isSignatureValid,
        isVerified,
        roots: this.#components.roots(),
        signed: shown.signed,
        wanted: shown.mustCover,
        asked: shown.mustCover.length > 0 ? shown.mustCover : facts.wanted,
        at: [facts.as, this.#components.organisation],
        score: score.score,
        minScore: shown.minScore,
        ...(facts.purpose === null ? {} : { purpose: facts.purpose }),
        ...(this.#options.staleness === undefined ? {} : { staleness: this.#options.staleness }),
      }),
    );
    this.#components.verifyNoneRefused?.([report.organisation, ...report.organisations.keys()], ATTEMPT);
    this.#policy.verify(facts, { organisation: report.organisation, sponsor: report.sponsor, score: score.score });
    const minScore = Math.max(shown.minScore, report.grant?.effective?.minScore ?? 0);
    return { claim, report, view, isVerified, score, minScore };
  }

  /** Checks again after asking for what was missing, each thing once. */
  async #curing<T>(exchange: Exchange, peer: string, verify: () => T): Promise<T> {
    const tried = new Set<string>();
    for (;;) {
      try {
        return verify();
      } catch (error) {
        const cure = isMeshError(error) ? this.#cureOf(error, peer) : undefined;
        if (cure === undefined || tried.has(cure.name) || tried.size === CURES_MAX) throw error;
        tried.add(cure.name);
        await exchange.within((signal) => this.#attempt(cure, signal));
      }
    }
  }

  #cureOf({ code, data }: MeshError, peer: string): Cure | undefined {
    const { pull, freshen } = this.#components;
    const reason = code === 'chain' ? data.reason : code;
    if (reason === 'status_stale') {
      const organisations = Array.isArray(data.organisations) ? (data.organisations as readonly string[]) : [];
      const maxAgeSeconds = data.staleAfterSeconds ?? 0;
      return {
        name: `status of ${organisations.join(' ')} to ${maxAgeSeconds}`,
        run: async (signal) => {
          await Promise.all(organisations.map((did) => freshen(did, { maxAgeSeconds, peer, signal })));
        },
      };
    }
    // A key or PeerId that is not known may be newer than the log held here.
    const missing = MISSING.includes(reason as ErrorCode) ? data.did : undefined;
    return missing === undefined || !isMeshDid(missing)
      ? undefined
      : { name: `log of ${missing}`, run: (signal) => pull([missing], peer, signal) };
  }

  async #attempt({ name, run }: Cure, signal: AbortSignal): Promise<void> {
    try {
      await run(signal);
    } catch (error) {
      if (!isMeshError(error) || signal.aborted) throw error;
      this.#components.log.debug(
        { missing: name, code: error.code, reason: error.message },
        'what a handshake lacked was not found',
      );
    }
  }

  /** How a session that was agreed on is judged anew. */
  groundsOf(
    facts: HandshakeFacts,
    { claim, report, view, isVerified, minScore }: Judgement,
    standing: OwnStanding,
  ): SessionGrounds {
    const { clock, isSignatureValid, scoreOf, roots } = this.#components;
    return {
      verifyStanding: () => {
        this.#components.verifyNoneRefused?.([report.organisation, ...report.organisations.keys()], 'keep a session');
        const nowMs = clock.nowMs();
        const { staleness } = this.#options;
        verifyStanding(claim, {
          view,
          nowMs,
          askedSinceMs: nowMs,
          isSignatureValid,
          isVerified,
          roots: roots(),
          signed: { key: report.key },
          ...(staleness === undefined ? {} : { staleness }),
        });
        standing.verify();
      },
      verifyTrust: () => {
        const { score } = scoreOf(claim.did);
        if (score < minScore)
          throw new MeshError(
            'score_below',
            `Cannot keep a session with "${claim.did}": its score is ${score}, want >= ${minScore}`,
            { min: minScore, is: score },
          );
        this.#policy.verify(facts, { organisation: report.organisation, sponsor: report.sponsor, score });
      },
    };
  }
}

interface Cure {
  /** What is asked for, to ask once. */
  readonly name: string;
  readonly run: (signal: AbortSignal) => Promise<void>;
}

/** What the other side's log, read anew, may cure. */
const MISSING: readonly ErrorCode[] = ['did_unknown', 'peer_not_bound', 'bad_signature', 'key_unknown'];

/** What the other side stands on, from the root to the leaf: its grant, else the chain of what it is. */
export function chainOf({ claim: { ident, grant }, view }: Judgement): readonly Statement<'delegation/v1'>[] {
  const leaf = grant ?? ident;
  return leaf === undefined ? [] : linksTo(view, leaf);
}

export const identAndGrant = ({ ident, grant }: Presented): Presented => ({
  ...(ident === undefined ? {} : { ident }),
  ...(grant === undefined ? {} : { grant }),
});

/** Errors: chain (bad_signature). */
function verifiedLinks(
  links: readonly Statement<'delegation/v1'>[],
  isSignatureValid: IsSignatureValid,
): (link: Statement<'delegation/v1'>) => boolean {
  for (const link of links) {
    try {
      verifySignatures(link, isSignatureValid);
    } catch (error) {
      if (!isMeshError(error)) throw error;
      throw new MeshError('chain', error.message, { ...error.data, id: link.id, reason: error.code }, { cause: error });
    }
  }
  const verified = new Set(links);
  return (link) => verified.has(link);
}
