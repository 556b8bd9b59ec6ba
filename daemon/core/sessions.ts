/**
 * Sessions: what handshakes came to, for as long as it holds (SPEC "Handshake", "Sessions").
 *
 * Each rests on links, DIDs, keys and one connection. When something is learnt about any of them the session is judged
 * anew in the same turn, and ends if it would not be opened now. The stream of the handshake stays open as its lifeline:
 * whoever ends the session says so on it, and when it breaks the session is over too.
 */
import {
  type Capability,
  didOfGenesis,
  encodeHandshakeFrame,
  type Ending,
  ENDINGS,
  freshnessOf,
  fromHex,
  isMeshError,
  isOfKind,
  limits,
  MeshError,
  type MeshView,
  parseHandshakeFrame,
  type Role,
  type Statement,
  type Transcript,
} from '../../protocol/index.ts';
import type { MeshEventInput, SessionView } from '../../protocol/control/index.ts';
import type { Clock, FrameStream, Logger, Signer, Timer } from '../ports.ts';

export interface Session {
  /** 16 bytes, hex. */
  readonly sid: string;
  /** Own agent or organisation. */
  readonly as: string;
  /** The other side, and its organisation. */
  readonly did: string;
  readonly organisation: string;
  readonly peer: string;
  /** Id of the connection. */
  readonly connection: string;
  /** inbound: the other side began it, and is granted what follows here. outbound: this side is granted it there. */
  readonly direction: 'inbound' | 'outbound';
  readonly granted: readonly Capability[];
  /** Each counts under its own link id; null where only the other side knows the link. */
  readonly rates: readonly {
    readonly link: string | null;
    readonly can: string;
    readonly n: number;
    readonly per: number;
  }[];
  readonly sponsor: string | null;
  /** Of the other side, in this daemon's own view. */
  readonly score: number;
  readonly scoreBasis: string;
  readonly minScore: number;
  readonly checked: readonly string[];
  /** Links that the other side stands on. */
  readonly links: readonly string[];
  /** All links and DIDs that the session rests on, those of this side included. */
  readonly restsOn: { readonly links: readonly string[]; readonly dids: readonly string[] };
  /** Tolerated staleness, seconds, by organisation. */
  readonly organisations: ReadonlyMap<string, number>;
  /** Wall clock. */
  readonly openedMs: number;
  readonly expiresMs: number;
  /** Of the handshake, where this side began it. */
  readonly durationMs: number | null;
  /** What was said and signed when it was agreed: everything done in the session is bound to it. */
  readonly agreed: Agreement;
}

/** A handshake that came to a session, as both sides can show it to others. */
export interface Agreement {
  /** This side's role. */
  readonly role: Role;
  /** With all four messages. */
  readonly transcript: Transcript;
  /** SHA-256 over channel and messages (`transcriptDigest`): both sides have the same. */
  readonly hash: Uint8Array;
  /** The key by which this side signed the handshake, and signs what it does in the session. */
  readonly signer: Signer;
  /** Multikey by which the other side signed. */
  readonly peerKey: Uint8Array;
  /** From the root to the leaf for whose sake it is granted; empty where an organisation acts by itself. */
  readonly chain: readonly Statement<'delegation/v1'>[];
}

/** What came of an open session so far. */
export interface SessionUse {
  /** Asked of this side or by it, whatever came of them. */
  calls: number;
  /** Of these, those that were not done. */
  refused: number;
  /** Under way now. */
  running: number;
  /** Of messages, by this side's view. */
  bytesIn: number;
  bytesOut: number;
  /** Conversations with exposed servers that are open in it; whoever opens one adds it, and takes it out again. */
  readonly links: Set<SessionLink>;
}

/** One client's conversation with one exposed server. */
export interface SessionLink {
  readonly server: string;
  readonly openedMs: number;
}

/** How an open session is judged anew. Each throws a MeshError when it does not hold any more. */
export interface SessionGrounds {
  /** After something was learnt about what it rests on. */
  verifyStanding(): void;
  /** After scores or the policy changed. Errors: score_below, policy_denied. */
  verifyTrust(): void;
}

export interface SessionsComponents {
  readonly clock: Clock;
  readonly log: Logger;
  readonly view: MeshView;
  readonly emit: (event: MeshEventInput) => void;
  /** Is told of each that is over, once. */
  readonly ended?: (session: Session, code: Ending, use: SessionUse) => void;
}

export interface SessionsOptions {
  /** Open at a time; default SESSIONS_MAX. */
  readonly sessionsMax?: number;
}

interface Open {
  readonly session: Session;
  readonly stream: FrameStream;
  readonly grounds: SessionGrounds;
  readonly use: SessionUse;
  readonly expiry: Timer;
  /** Stops listening to the other side. */
  readonly deaf: AbortController;
  /** Telling the other side, once it has ended. */
  farewell: Promise<void> | undefined;
}

type By = 'this side' | 'other side';

/**
 * A decision that needed its own answer cannot be held between decisions: such a session lives by the class of writes,
 * and whatever critical is done in it is asked about again.
 */
const BETWEEN_CRITICAL_SECONDS = limits.STALENESS_WRITE_SECONDS;

export class Sessions {
  readonly #components: SessionsComponents;
  readonly #sessionsMax: number;
  readonly #open = new Map<string, Open>();
  readonly #byLink = new Map<string, Set<string>>();
  readonly #byDid = new Map<string, Set<string>>();
  readonly #byConnection = new Map<string, Set<string>>();
  readonly #enders: ((session: Session, code: Ending) => void)[] = [];
  /** Lifelines that are listened to. */
  readonly #lifelines = new Set<Promise<void>>();
  #ageTimer: Timer | undefined;
  #ageDueMs = Number.POSITIVE_INFINITY;
  #isClosed = false;

  constructor(components: SessionsComponents, { sessionsMax = limits.SESSIONS_MAX }: SessionsOptions = {}) {
    this.#components = components;
    this.#sessionsMax = sessionsMax;
  }

  get size(): number {
    return this.#open.size;
  }

  /** Whether one more may be opened, by this side on that connection if one is named. Errors: busy, closed. */
  verifyRoom(connection?: string): void {
    if (this.#isClosed) throw new MeshError('closed', 'Cannot open a session: this side is stopping');
    verifyBelow(this.size, this.#sessionsMax, 'are open');
    const shared = connection === undefined ? [] : this.#find(this.#byConnection.get(connection));
    const own = shared.filter(({ session }) => session.direction === 'outbound');
    verifyBelow(own.length, limits.SESSIONS_A_CONNECTION_MAX, 'hold a stream of the connection each');
  }

  /**
   * Judges it anew by what is known now. A session that does not hold any more has ended when this throws.
   * Errors: closed.
   */
  verify(sid: string): Session {
    const open = this.#open.get(sid);
    if (open !== undefined)
      this.#judge(open, () => {
        open.grounds.verifyTrust();
        open.grounds.verifyStanding();
      });
    const session = this.get(sid);
    if (session === undefined) throw new MeshError('closed', `Cannot go on: session "${sid}" is over`, { id: sid });
    return session;
  }

  /** To be counted up by whoever does something in it. Undefined: there is none of this id. */
  useOf(sid: string): SessionUse | undefined {
    return this.#open.get(sid)?.use;
  }

  /** Calls in the same turn in which one is over. */
  onEnded(call: (session: Session, code: Ending) => void): void {
    this.#enders.push(call);
  }

  /** Only what holds now by the clock too, whatever timers have come to. */
  get(sid: string): Session | undefined {
    const open = this.#open.get(sid);
    return open !== undefined && this.#isInTime(open) ? open.session : undefined;
  }

  /** Oldest first. */
  list(): Session[] {
    return [...this.#open.values()].filter((open) => this.#isInTime(open)).map(({ session }) => session);
  }

  /**
   * Opens a session on the stream over which it was agreed, and judges it once more, since something may have been
   * learnt while the last frame was under way. The promise resolves when it is over and the stream has ended.
   * Errors: busy, closed, replay (the id is in use).
   */
  open(session: Session, stream: FrameStream, grounds: SessionGrounds): { readonly over: Promise<void> } {
    const { sid, as, did, organisation, peer, direction, expiresMs } = session;
    this.verifyRoom();
    if (this.#open.has(sid)) {
      throw new MeshError('replay', `Cannot open session "${sid}": it is open already`, { id: sid });
    }
    const { clock, emit } = this.#components;
    const expiry = clock.after(expiresMs - clock.nowMs(), () => this.end(sid, 'expired'));
    const use = unused();
    const open: Open = { session, stream, grounds, use, expiry, deaf: new AbortController(), farewell: undefined };
    this.#open.set(sid, open);
    this.#index(open, (sids) => sids.add(sid));
    emit({
      type: 'session.opened',
      data: { sid, as, did, organisation, peerId: peer, direction, expiresAt: new Date(expiresMs).toISOString() },
    });
    this.#judge(open, () => grounds.verifyStanding());
    if (this.#open.has(sid)) this.#lookAgainBy(this.#ageDue(session));
    const over = this.#listen(open).finally(() => this.#lifelines.delete(over));
    this.#lifelines.add(over);
    return { over };
  }

  /** False if there is no such session. */
  end(sid: string, code: Ending = 'closed'): boolean {
    const open = this.#open.get(sid);
    if (open !== undefined) this.#end(open, code, 'this side');
    return open !== undefined;
  }

  // What the rest of the daemon learns

  /** A statement became held, or left the set: to be called in the same turn. */
  statementChanged(statement: Statement): void {
    for (const open of this.#touchedBy(statement)) this.#judge(open, () => open.grounds.verifyStanding());
  }

  connectionClosed(connection: string): void {
    for (const open of this.#find(this.#byConnection.get(connection))) this.#end(open, 'closed', 'other side');
  }

  peerUnbound(peer: string): void {
    for (const open of this.#open.values())
      if (open.session.peer === peer) this.#end(open, 'peer_not_bound', 'this side');
  }

  /** The organisation is convicted: to be called in the same turn. */
  convicted(organisation: string): void {
    for (const open of this.#open.values())
      if (open.session.organisation === organisation || open.session.organisations.has(organisation))
        this.#end(open, 'convicted', 'this side');
  }

  /** Scores, the policy or the trusted roots are others than before. */
  trustChanged(): void {
    for (const open of this.#open.values()) {
      this.#judge(open, () => {
        open.grounds.verifyTrust();
        open.grounds.verifyStanding();
      });
    }
  }

  /** Organisations whose revocations must be known, with the strictest staleness tolerated, seconds. */
  organisationsReliedOn(): ReadonlyMap<string, number> {
    const all = new Map<string, number>();
    for (const { session } of this.#open.values()) {
      for (const [did, seconds] of session.organisations)
        all.set(did, Math.min(all.get(did) ?? Number.POSITIVE_INFINITY, toleratedSeconds(seconds)));
    }
    return all;
  }

  /** Ends all, and waits until the other sides were told as far as they listen. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#ageTimer?.cancel();
    for (const open of this.#open.values()) this.#end(open, 'closed', 'this side');
    await Promise.all(this.#lifelines);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  // Judging

  #touchedBy(statement: Statement): Open[] {
    const sids = new Set<string>();
    const add = (ids: ReadonlySet<string> | undefined): void => {
      for (const sid of ids ?? []) sids.add(sid);
    };
    if (isOfKind(statement, 'didop/v1')) {
      add(this.#byDid.get(statement.payload.op === 'genesis' ? didOfGenesis(statement.id) : statement.payload.iss));
    } else if (isOfKind(statement, 'revocation/v1')) {
      // Whoever may revoke anything that a session rests on is of an organisation that it rests on, and that numbers it;
      // and one number too often freezes the organisation.
      add(this.#byDid.get(statement.payload.org));
    } else if (isOfKind(statement, 'delegation/v1')) {
      add(this.#byLink.get(statement.id));
    }
    return this.#find(sids);
  }

  #judge(open: Open, verify: () => void): void {
    try {
      verify();
    } catch (error) {
      const { sid, did } = open.session;
      if (isMeshError(error))
        this.#components.log.info(
          { sid, did, code: error.code, data: factsOf(error), reason: error.message },
          'a session does not hold any more',
        );
      else this.#components.log.error({ sid, did, error }, 'a session could not be judged');
      this.#end(open, isMeshError(error) ? endingOf(error) : 'closed', 'this side');
    }
  }

  /** Timers may be late, as after a machine slept. */
  #isInTime(open: Open): boolean {
    const { clock } = this.#components;
    if (clock.nowMs() >= open.session.expiresMs) this.#end(open, 'expired', 'this side');
    else if (this.#ageDue(open.session) <= clock.monotonicMs()) this.#end(open, 'status_stale', 'this side');
    return this.#open.has(open.session.sid);
  }

  // Age of knowledge

  #lookAgainBy(dueMs: number): void {
    const { clock } = this.#components;
    if (dueMs >= this.#ageDueMs) return;
    this.#ageTimer?.cancel();
    this.#ageDueMs = dueMs;
    this.#ageTimer = clock.after(dueMs - clock.monotonicMs(), () => this.#lookAgain());
  }

  /**
   * Whoever pulls heartbeats begins at half the tolerated age (organisationsReliedOn), so a session of which knowledge
   * reaches the whole could not be refreshed: it ends. Acting on would be trusting what may have been revoked.
   */
  #lookAgain(): void {
    this.#ageDueMs = Number.POSITIVE_INFINITY;
    this.#ageTimer = undefined;
    const nowMs = this.#components.clock.monotonicMs();
    let nextMs = Number.POSITIVE_INFINITY;
    for (const open of this.#open.values()) {
      const dueMs = this.#ageDue(open.session);
      if (dueMs <= nowMs) this.#end(open, 'status_stale', 'this side');
      else nextMs = Math.min(nextMs, dueMs);
    }
    if (nextMs < Number.POSITIVE_INFINITY) this.#lookAgainBy(nextMs);
  }

  /** When knowledge of an organisation becomes too old unless something newer comes: monotonicMs. */
  #ageDue(session: Session): number {
    const { clock, view } = this.#components;
    const nowMs = clock.nowMs();
    let leftMs = Number.POSITIVE_INFINITY;
    for (const [did, seconds] of session.organisations) {
      const staleAfterSeconds = toleratedSeconds(seconds);
      const { stale, through } = freshnessOf(view, did, nowMs, { staleAfterSeconds });
      const ageMs = (through.ageSeconds ?? Number.POSITIVE_INFINITY) * 1000;
      leftMs = Math.min(leftMs, stale === undefined ? staleAfterSeconds * 1000 - ageMs + 1 : 0);
    }
    return clock.monotonicMs() + leftMs;
  }

  // Ending

  #end(open: Open, code: Ending, by: By): void {
    const { sid, as, did } = open.session;
    if (!this.#open.delete(sid)) return;
    this.#index(open, (ids) => ids.delete(sid));
    open.expiry.cancel();
    if (this.#open.size === 0) {
      this.#ageTimer?.cancel();
      this.#ageDueMs = Number.POSITIVE_INFINITY;
    }
    this.#components.log.debug({ sid, did, code, by }, 'session ended');
    this.#components.emit({ type: 'session.ended', data: { sid, as, did, code } });
    this.#components.ended?.(open.session, code, open.use);
    for (const call of this.#enders) call(open.session, code);
    open.farewell = this.#leave(open, code, by);
  }

  async #leave({ stream, deaf }: Open, code: Ending, by: By): Promise<void> {
    try {
      if (by === 'this side') await stream.send(encodeHandshakeFrame('end', { end: code }));
    } catch (error) {
      // The other side learns it as the end of the stream: that says "closed".
      this.#components.log.debug({ peer: stream.connection.peer, error }, 'the end of a session could not be told');
    } finally {
      await stream.close();
      deaf.abort();
    }
  }

  async #listen(open: Open): Promise<void> {
    const { stream, deaf, session } = open;
    let code: Ending = 'closed';
    try {
      const frame = await stream.receive({ signal: deaf.signal });
      if (frame !== undefined) code = parseHandshakeFrame('end', frame).end;
    } catch (error) {
      // The connection broke, this side ended it, or what came is no ending: the session is over in any case.
      const isEnd = isMeshError(error) && (error.code === 'closed' || error.code === 'cancelled');
      if (!isEnd)
        this.#components.log.info(
          { sid: session.sid, peer: session.peer, error },
          'what came after a handshake is no ending',
        );
    }
    this.#end(open, code, 'other side');
    await open.farewell;
  }

  #find(sids: Iterable<string> | undefined): Open[] {
    return [...(sids ?? [])].flatMap((sid) => this.#open.get(sid) ?? []);
  }

  #index({ session }: Open, change: (sids: Set<string>) => void): void {
    const { restsOn, connection } = session;
    for (const id of restsOn.links) changeIn(this.#byLink, id, change);
    for (const did of restsOn.dids) changeIn(this.#byDid, did, change);
    changeIn(this.#byConnection, connection, change);
  }
}

function verifyBelow(is: number, want: number, what: string): void {
  if (is >= want) throw new MeshError('busy', `Cannot open a session: ${is} ${what}, want < ${want}`, { is, want });
}

function changeIn(index: Map<string, Set<string>>, key: string, change: (sids: Set<string>) => void): void {
  const sids = index.get(key) ?? new Set();
  change(sids);
  if (sids.size === 0) index.delete(key);
  else index.set(key, sids);
}

const toleratedSeconds = (staleAfterSeconds: number): number =>
  staleAfterSeconds === 0 ? BETWEEN_CRITICAL_SECONDS : staleAfterSeconds;

/** What is said of a session that would not be opened now. */
function endingOf({ code, data }: MeshError): Ending {
  const said = code === 'chain' ? data.reason : code;
  return ENDINGS.find((ending) => ending === said) ?? ENDED_AS[String(said)] ?? 'closed';
}
const ENDED_AS: Readonly<Record<string, Ending>> = {
  sponsor_revoked: 'revoked',
  sponsor_missing: 'revoked',
  key_unknown: 'key_retired',
  bad_signature: 'key_retired',
  policy_denied: 'policy_changed',
  unknown_root: 'policy_changed',
};

/** The bytes of a session's id. */
export function sidOf({ sid }: Pick<Session, 'sid'>): Uint8Array {
  const bytes = fromHex(sid);
  if (bytes === undefined) throw new MeshError('internal', `Cannot name session "${sid}": it is no id`);
  return bytes;
}

/** Facts for the log, without the report, which repeats the chain. */
export const factsOf = ({ data }: MeshError): object => ({ ...data, report: undefined });

const unused = (): SessionUse => ({ calls: 0, refused: 0, running: 0, bytesIn: 0, bytesOut: 0, links: new Set() });

/** The control API's object. */
export const formatSession = (session: Session, { links, ...use }: SessionUse = unused()): SessionView => ({
  sid: session.sid,
  as: session.as,
  did: session.did,
  organisation: session.organisation,
  peerId: session.peer,
  direction: session.direction,
  granted: session.granted.map(({ can, res }) => (res === undefined ? { can } : { can, res: [...res] })),
  rates: session.rates.map(({ can, n, per }) => ({ can, n, per })),
  sponsor: session.sponsor,
  score: session.score,
  scoreBasis: session.scoreBasis,
  minScore: session.minScore,
  checked: [...session.checked],
  links: [...session.links],
  use: { ...use },
  servers: [...links].map(({ server, openedMs }) => ({ server, openedAt: new Date(openedMs).toISOString() })),
  openedAt: new Date(session.openedMs).toISOString(),
  expiresAt: new Date(session.expiresMs).toISOString(),
  durationMs: session.durationMs,
});
