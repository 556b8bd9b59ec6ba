/**
 * Handshakes, both roles (SPEC "Handshake"): four frames over one stream, bound to the connection under it. What comes
 * of one is a session (sessions.ts), and the stream stays open as its lifeline.
 *
 *   I  HELLO →                      who asks whom for what
 *   R          ← OFFER              shows itself, after its first policy check and nothing dearer
 *   I  checks R, then PROOF →       shows itself to whom it now knows
 *   R  checks I, then  ← RESULT     what is granted
 */
import {
  type Capability,
  createPresentation,
  DEFAULT_NETWORK,
  encodeCbor,
  encodeHandshakeFrame,
  equalBytes,
  type FrameOf,
  isErrorCode,
  isMeshError,
  limits,
  MeshError,
  parseHandshakeFrame,
  parseReply,
  type Presentation,
  protocolId,
  refusalOf,
  type Role,
  signatureShown,
  type SignatureShown,
  type SignedFrameName,
  signFrame,
  startTranscript,
  toHex,
  transcriptDigest,
  verifyShown,
  withMessage,
} from '../../protocol/index.ts';
import type { FrameStream, PeerConnection, Signer } from '../ports.ts';
import { prefixOf } from './address-prefix.ts';
import { Exchange } from './exchange.ts';
import {
  type HandshakeComponents,
  type HandshakeFacts,
  type HandshakeOptions,
  type HandshakePolicy,
  OPEN_POLICY,
  type Presenter,
} from './handshake-ports.ts';
import { afterWritten, problemOf, type SessionBasis, UNRECORDED, type WriteAhead } from './log/write-ahead.ts';
import { createOwnStanding, type OwnStanding } from './own-standing.ts';
import { ATTEMPT, chainOf, identAndGrant, type Judgement, PeerJudge } from './peer-judge.ts';
import { factsOf, type Session } from './sessions.ts';
import { TokenBuckets } from './token-buckets.ts';

export type {
  HandshakeComponents,
  HandshakeFacts,
  HandshakeOptions,
  HandshakePolicy,
  Presenter,
} from './handshake-ports.ts';

export interface HandshakeRequest {
  /** The agent or organisation asked. */
  readonly did: string;
  /** Own agent or organisation that asks. */
  readonly as: string;
  /** Asked of the other side; default HANDSHAKE_SCORE_DEFAULT. */
  readonly minScore?: number;
  /** What `as` wants to be granted there. */
  readonly capabilities?: readonly Capability[];
  readonly purpose?: string;
  /** Leaf of the chain to present. */
  readonly grant?: string;
  readonly signal?: AbortSignal;
}

/** Call start() before the network starts. */
export const createHandshakes = (components: HandshakeComponents, options: HandshakeOptions = {}): Handshakes =>
  new Handshakes(components, options);

/** Who takes part, as far as is known when something fails. */
interface Parties {
  as: string | null;
  did: string | null;
  readonly peer: string;
  readonly direction: 'inbound' | 'outbound';
}

export class Handshakes {
  readonly #components: HandshakeComponents;
  readonly #options: HandshakeOptions;
  readonly #policy: HandshakePolicy;
  readonly #judge: PeerJudge;
  readonly #ahead: WriteAhead;
  readonly #pendingMax: number;
  readonly #pending = { inbound: 0, outbound: 0 };
  readonly #byPeer: TokenBuckets;
  readonly #byPrefix: TokenBuckets;
  readonly #stop = new AbortController();
  /** Streams being ended after a refusal. */
  readonly #leaving = new Set<Promise<void>>();

  constructor(components: HandshakeComponents, options: HandshakeOptions) {
    const { clock } = components;
    const { perSecond = limits.HANDSHAKES_PER_SECOND, burst = limits.HANDSHAKES_BURST } = options;
    const factor = limits.HANDSHAKES_PREFIX_FACTOR;
    this.#components = components;
    this.#options = options;
    this.#policy = components.policy ?? OPEN_POLICY;
    this.#judge = new PeerJudge(components, options);
    this.#ahead = components.ahead ?? UNRECORDED;
    this.#pendingMax = options.pendingMax ?? limits.HANDSHAKES_PENDING_MAX;
    this.#byPeer = new TokenBuckets(clock, { perSecond, burst });
    this.#byPrefix = new TokenBuckets(clock, { perSecond: perSecond * factor, burst: burst * factor });
  }

  /** Answers others from now on. */
  async start(): Promise<void> {
    const { network, sessions } = this.#components;
    network.onDisconnect(({ id }) => sessions.connectionClosed(id));
    await network.handle(
      'iatp',
      {
        frameBytesMax: limits.IATP_FRAME_BYTES_MAX,
        inboundStreamsMax: limits.SESSIONS_A_CONNECTION_MAX,
        unbound: true,
      },
      (stream) => this.#serve(stream),
    );
  }

  /** Under way now, in both roles. */
  get pending(): number {
    return this.#pending.inbound + this.#pending.outbound;
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#leaving);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  // I

  /**
   * Begins a handshake. Errors: what this side finds wrong; what the other side refused with (data.side "peer");
   * did_unknown, unreachable; busy, timeout, cancelled, closed.
   */
  async shake(request: HandshakeRequest): Promise<Session> {
    const { did, as } = request;
    if (did === as)
      throw new MeshError('reflection', `Cannot shake hands with "${did}": it is the one that asks`, { did });
    const signal =
      request.signal === undefined ? this.#stop.signal : AbortSignal.any([request.signal, this.#stop.signal]);
    if (signal.aborted) throw new MeshError('cancelled', 'Cannot shake hands: cancelled');
    this.#components.verifyNoneRefused?.([did], ATTEMPT);
    this.#components.sessions.verifyRoom();
    this.#ahead.verifyOpen();
    this.#take('outbound');
    try {
      const presenter = await this.#components.presenterFor(as, request.grant);
      const connection = await this.#components.reach(did, signal);
      return await this.#initiate(request, presenter, connection, signal);
    } finally {
      this.#pending.outbound -= 1;
    }
  }

  async #initiate(
    request: HandshakeRequest,
    presenter: Presenter,
    connection: PeerConnection,
    signal: AbortSignal,
  ): Promise<Session> {
    const parties: Parties = { as: request.as, did: request.did, peer: connection.peer, direction: 'outbound' };
    let stream: FrameStream | undefined;
    try {
      const transcript = startTranscript(this.#channel('I', connection));
      this.#components.sessions.verifyRoom(connection.id);
      const startedMs = this.#components.clock.monotonicMs();
      stream = await this.#components.network.openStream(connection, 'iatp', {
        frameBytesMax: limits.IATP_FRAME_BYTES_MAX,
        signal,
      });
      const exchange = new Exchange({ stream, transcript, clock: this.#components.clock, signal }, this.#options);
      return await this.#ask(exchange, request, presenter, startedMs);
    } catch (error) {
      const refusal = this.#refused(error, parties);
      if (stream !== undefined) this.#leave(stream, refusal);
      throw refusal;
    }
  }

  async #ask(exchange: Exchange, request: HandshakeRequest, presenter: Presenter, startedMs: number): Promise<Session> {
    const { clock, random, sessions } = this.#components;
    const { did: to, as: did, capabilities: want = [], purpose, minScore = limits.HANDSHAKE_SCORE_DEFAULT } = request;
    const facts: HandshakeFacts = {
      direction: 'outbound',
      as: did,
      did: to,
      peer: exchange.stream.connection.peer,
      wanted: want,
      purpose: purpose ?? null,
    };
    const non = random.bytes(limits.HANDSHAKE_NONCE_BYTES);
    await exchange.send(
      encodeHandshakeFrame('hello', {
        v: 1,
        did,
        to,
        non,
        want,
        min: minScore,
        ...(purpose === undefined ? {} : { pur: purpose }),
      }),
    );

    const { frame: offer, signed } = await exchange.receive((frame) => readSigned('offer', 'R', frame, exchange));
    if (offer.did !== to) throw answeredAs(offer.did, to, did);
    if (equalBytes(offer.non, non)) throw sameNonce();
    const judgement = await this.#judge.judge(exchange, facts, {
      did: to,
      presentation: offer.pres,
      signed,
      mustCover: [],
      minScore,
    });

    const own = presentationOf(presenter);
    const standing = createOwnStanding(this.#components, did, own);
    await exchange.send(signFrame('proof', 'I', exchange.transcript, { pres: own }, presenter.signer));

    const { frame: result, signed: granted } = await exchange.receive((frame) =>
      readSigned('result', 'R', frame, exchange),
    );
    verifyShown(granted, [judgement.report.key], this.#components.isSignatureValid, to);
    verifyGranted(result.caps, want);
    const session = this.#session(facts, judgement, standing, exchange, {
      sid: toHex(result.sid),
      granted: result.caps,
      rates: result.rates.map((rate) => ({ ...rate, link: null })),
      untilMs: result.exp * 1000,
      durationMs: clock.monotonicMs() - startedMs,
      role: 'I',
      signer: presenter.signer,
      chain: standing.chain,
      last: undefined,
    });
    const basis = this.#basis(facts, standing.chain);
    return this.#recorded(exchange, session, basis, async () => {
      sessions.open(session, exchange.stream, this.#judge.groundsOf(facts, judgement, standing));
      const opened = sessions.get(session.sid);
      if (opened === undefined)
        throw new MeshError('closed', 'Cannot keep the session: what it rests on changed while it was made', {
          id: session.sid,
        });
      return opened;
    });
  }

  // R

  async #serve(stream: FrameStream): Promise<void> {
    const { connection } = stream;
    const parties: Parties = { as: null, did: null, peer: connection.peer, direction: 'inbound' };
    // Without an event or a line in the log each: whoever floods would flood those too.
    if (this.#isTooOften(connection)) {
      await this.#tell(stream, new MeshError('busy', `Cannot shake hands with ${connection.peer}: it asks too often`));
      return;
    }
    let session: { readonly over: Promise<void> } | undefined;
    try {
      this.#take('inbound');
      try {
        const transcript = startTranscript(this.#channel('R', connection));
        const exchange = new Exchange(
          { stream, transcript, clock: this.#components.clock, signal: this.#stop.signal },
          this.#options,
        );
        session = await this.#answer(exchange, parties);
      } finally {
        this.#pending.inbound -= 1;
      }
    } catch (error) {
      await this.#tell(stream, this.#refused(error, parties));
    }
    await session?.over; // the stream is the session's while that lasts
  }

  async #answer(exchange: Exchange, parties: Parties): Promise<{ readonly over: Promise<void> }> {
    const { sessions, random, presenterFor } = this.#components;
    const {
      to: as,
      did,
      want,
      pur,
      non: asked,
    } = await exchange.receive((frame) => parseHandshakeFrame('hello', frame));
    Object.assign(parties, { as, did });
    if (did === as)
      throw new MeshError('reflection', `Cannot shake hands with "${did}": it is the one that is asked`, { did });
    this.#components.verifyNoneRefused?.([did], ATTEMPT);
    sessions.verifyRoom();
    this.#ahead.verifyOpen();
    const facts: HandshakeFacts = {
      direction: 'inbound',
      as,
      did,
      peer: parties.peer,
      wanted: want,
      purpose: pur ?? null,
    };
    const need = this.#policy.need(facts);

    const presenter = await exchange.within(() => presenterFor(as, undefined));
    const own = presentationOf(presenter);
    const standing = createOwnStanding(this.#components, as, own);
    const non = random.bytes(limits.HANDSHAKE_NONCE_BYTES);
    if (equalBytes(non, asked)) throw sameNonce();
    const { minScore, capabilities = [] } = need;
    const needed = { min: minScore, ...(capabilities.length === 0 ? {} : { caps: capabilities }) };
    await exchange.send(
      signFrame('offer', 'R', exchange.transcript, { did: as, non, pres: own, need: needed }, presenter.signer),
    );

    const { frame: proof, signed } = await exchange.receive((frame) => readSigned('proof', 'I', frame, exchange));
    const judgement = await this.#judge.judge(exchange, facts, {
      did,
      presentation: proof.pres,
      signed,
      mustCover: [...want, ...capabilities],
      minScore,
    });
    const sid = random.bytes(limits.SESSION_ID_BYTES);
    const expiresMs = this.#expiryOf(judgement, standing, Number.POSITIVE_INFINITY);
    const rates = judgement.report.rates.map(({ can, n, per }) => ({ can, n, per }));
    const result = { sid, caps: want, exp: Math.floor(expiresMs / 1000), rates };
    const last = signFrame('result', 'R', exchange.transcript, result, presenter.signer);
    const session = this.#session(facts, judgement, standing, exchange, {
      sid: toHex(sid),
      granted: want,
      rates: judgement.report.rates,
      untilMs: expiresMs,
      durationMs: null,
      role: 'R',
      signer: presenter.signer,
      chain: chainOf(judgement),
      last,
    });
    const grounds = this.#judge.groundsOf(facts, judgement, standing);
    return this.#recorded(exchange, session, this.#basis(facts, chainOf(judgement)), async () => {
      grounds.verifyStanding(); // something may have been learnt while it was written
      await exchange.send(last);
      return sessions.open(session, exchange.stream, grounds);
    });
  }

  // Both

  /** Grants or takes up a session once the log holds that it will. Errors: log_halted, read_only, busy, timeout, of the effect. */
  async #recorded<T>(exchange: Exchange, session: Session, basis: SessionBasis, effect: () => Promise<T>): Promise<T> {
    const written = this.#ahead.session(session, basis);
    const inTime = exchange.within(() => written);
    // Too late for this handshake, it may be written yet: then so is that nothing came of it.
    inTime.catch((error: unknown) =>
      written.then(
        (settle) => settle(problemOf(error)),
        () => {},
      ),
    );
    return afterWritten(inTime, effect);
  }

  #basis({ purpose }: HandshakeFacts, chain: SessionBasis['chain']): SessionBasis {
    return { purpose, chain, policy: this.#policy.name };
  }

  #take(role: 'inbound' | 'outbound'): void {
    if (this.#pending[role] >= this.#pendingMax) {
      throw new MeshError('busy', `Cannot shake hands: ${this.#pending[role]} handshakes are under way`, {
        is: this.#pending[role],
        want: this.#pendingMax,
      });
    }
    this.#pending[role] += 1;
  }

  #isTooOften({ peer, address }: PeerConnection): boolean {
    return !this.#byPeer.take(peer) || !this.#byPrefix.take(prefixOf(address));
  }

  #channel(role: Role, { peer, channelBinding }: PeerConnection) {
    const own = this.#components.network.peer;
    const [initiator, responder] = role === 'I' ? [own, peer] : [peer, own];
    return {
      protocolId: protocolId(this.#options.network ?? DEFAULT_NETWORK, 'iatp'),
      initiator,
      responder,
      channelBinding,
    };
  }

  #session(
    facts: HandshakeFacts,
    { report, score, minScore }: Judgement,
    standing: OwnStanding,
    exchange: Exchange,
    agreed: Agreed,
  ): Session {
    const openedMs = this.#components.clock.nowMs();
    const expiresMs = this.#expiryOf({ report }, standing, agreed.untilMs);
    const transcript = agreed.last === undefined ? exchange.transcript : withMessage(exchange.transcript, agreed.last);
    const { as, did, peer, direction } = facts;
    return {
      sid: agreed.sid,
      as,
      did,
      organisation: report.organisation,
      peer,
      connection: exchange.stream.connection.id,
      direction,
      granted: agreed.granted,
      rates: agreed.rates,
      sponsor: report.sponsor,
      score: score.score,
      scoreBasis: score.basis,
      minScore,
      checked: [...report.checked, 'policy'],
      links: report.links,
      restsOn: { links: [...report.links, ...standing.links], dids: [...report.dids, ...standing.dids] },
      organisations: report.organisations,
      openedMs,
      expiresMs,
      durationMs: agreed.durationMs,
      agreed: {
        role: agreed.role,
        transcript,
        hash: transcriptDigest(transcript),
        signer: agreed.signer,
        peerKey: report.key,
        chain: agreed.chain,
      },
    };
  }

  /** Wall clock. Errors: chain (expired). */
  #expiryOf({ report }: Pick<Judgement, 'report'>, standing: OwnStanding, untilMs: number): number {
    const nowMs = this.#components.clock.nowMs();
    const ends = [nowMs + limits.SESSION_SECONDS_MAX * 1000, untilMs];
    for (const seconds of [report.validUntilSeconds, standing.validUntilSeconds])
      if (seconds !== null) ends.push(seconds * 1000);
    const expiresMs = Math.min(...ends);
    if (expiresMs <= nowMs)
      throw new MeshError('chain', 'Cannot open a session: what it would rest on ends now', { reason: 'expired' });
    return expiresMs;
  }

  // Refusing

  /** Details stay here; the other side is told the code. */
  #refused(error: unknown, parties: Parties): MeshError {
    const { log, emit } = this.#components;
    const refusal = isMeshError(error)
      ? error
      : new MeshError('internal', 'Cannot shake hands: a fault of this program', {}, { cause: error });
    const { as, did, peer, direction } = parties;
    const { code, message } = refusal;
    if (code === 'internal' && refusal.data.side !== 'peer')
      log.error({ as, did, peer, direction, error }, 'a handshake failed by a fault of this program');
    else log.info({ as, did, peer, direction, code, reason: message, data: factsOf(refusal) }, 'handshake refused');
    const reason = refusal.data.reason;
    emit({
      type: 'handshake.refused',
      data: { as, did, peerId: peer, direction, code, reason: code === 'chain' && isErrorCode(reason) ? reason : null },
    });
    return refusal;
  }

  #leave(stream: FrameStream, refusal: MeshError): void {
    const leaving = this.#tell(stream, refusal)
      .then(() => stream.close())
      .finally(() => this.#leaving.delete(leaving));
    this.#leaving.add(leaving);
  }

  async #tell(stream: FrameStream, refusal: MeshError): Promise<void> {
    if (refusal.data.side === 'peer') return; // it knows
    try {
      await stream.send(encodeHandshakeFrame('refusal', { rej: refusalOf(refusal) }));
    } catch (error) {
      this.#components.log.debug({ peer: stream.connection.peer, error }, 'a refusal could not be told');
    }
  }
}

interface Agreed {
  readonly sid: string;
  readonly granted: readonly Capability[];
  readonly rates: Session['rates'];
  readonly untilMs: number;
  readonly durationMs: number | null;
  readonly role: Role;
  readonly signer: Signer;
  readonly chain: Session['agreed']['chain'];
  /** The message that is not sent yet. */
  readonly last: Uint8Array | undefined;
}

/** A signed frame with what its signature covers, which is everything said before it. */
function readSigned<N extends SignedFrameName>(
  name: N,
  role: Role,
  bytes: Uint8Array,
  { transcript }: Exchange,
): { frame: FrameOf<N>; signed: SignatureShown } {
  const frame = parseReply(name, bytes);
  return { frame, signed: signatureShown<N>(role, transcript, frame) };
}

const presentationOf = (presenter: Presenter): Presentation =>
  createPresentation(identAndGrant(presenter), presenter.envelopes);

/** R may refuse, but what it grants is what was asked, no more and no less. Errors: caps_insufficient. */
function verifyGranted(granted: readonly Capability[], wanted: readonly Capability[]): void {
  if (equalBytes(encodeCbor(granted), encodeCbor(wanted))) return;
  throw new MeshError(
    'caps_insufficient',
    'Cannot accept the result of a handshake: it grants something else than was asked for',
  );
}

const answeredAs = (is: string, want: string, own: string): MeshError =>
  is === own
    ? new MeshError('reflection', `Cannot shake hands with "${want}": it answered as "${is}", which is this side`, {
        is,
        want,
      })
    : new MeshError('did_unknown', `Cannot shake hands with "${want}": "${is}" answered`, { is, want });

const sameNonce = (): MeshError => new MeshError('replay', "Cannot shake hands: the other side's nonce is this side's");
