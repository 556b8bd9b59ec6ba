/**
 * The side that exposes servers and is called (SPEC "Serving calls"): links by session and organisation, how many of
 * them there may be, and what ends them. Nobody's flood takes what others need.
 */
import type { CallFrameOf } from '../../../protocol/call/index.ts';
import { coversSome } from '../../../protocol/call/index.ts';
import { type ErrorCode, isMeshError, limits, MeshError } from '../../../protocol/index.ts';
import type { ExposedServer } from '../../ports.ts';
import type { Session, Sessions } from '../sessions.ts';
import { TokenBuckets } from '../token-buckets.ts';
import { CallNumbers } from './call-orders.ts';
import { refuseIn } from './callee-gate.ts';
import { CalleeLink, type CalleeLinkComponents, type OrganisationShare } from './callee-link.ts';
import type { Exposure, Exposures } from './exposures.ts';
import type { CallMessages } from './message-stream.ts';

export interface CalleeComponents extends Omit<CalleeLinkComponents, 'sessions' | 'share' | 'numbersOf'> {
  readonly sessions: Pick<Sessions, 'get' | 'verify' | 'useOf' | 'onEnded'>;
  readonly exposures: Pick<Exposures, 'get' | 'onChanged'>;
}

const PACE_MS = 20; // between two looks whether more may be answered

export class Callee {
  readonly #components: CalleeComponents;
  readonly #links = new Set<CalleeLink>();
  readonly #numbers = new Map<string, CallNumbers>();
  readonly #shares = new Map<string, OrganisationShare>();
  readonly #refusals: TokenBuckets;
  readonly #served = new Set<Promise<void>>();
  #isClosed = false;

  constructor(components: CalleeComponents) {
    this.#components = components;
    this.#refusals = new TokenBuckets(components.clock, {
      perSecond: limits.CALLS_REFUSED_PER_SECOND,
      burst: limits.CALLS_REFUSED_BURST,
    });
    components.sessions.onEnded((session, code) => this.#sessionEnded(session, code));
    components.exposures.onChanged((name) => {
      this.#endAll(({ exposure }) => exposure.name === name, 'closed', `server "${name}" is exposed otherwise now`);
    });
  }

  /** Names of the servers of open links, by session. */
  linksOf(sid: string): readonly string[] {
    return [...this.#links].filter(({ session }) => session.sid === sid).map(({ exposure }) => exposure.name);
  }

  /** Calls under way, of everybody. */
  get running(): number {
    return [...this.#links].reduce((sum, { running }) => sum + running, 0);
  }

  /** Until the link is over. Errors, logged: not_found, busy, suspended, revoked, closed. */
  async open(messages: CallMessages, { srv }: CallFrameOf<'open'>, session: Session): Promise<void> {
    const exposure = this.#components.exposures.get(srv);
    try {
      const link = this.#linkFor(messages, exposure, srv, session);
      const served = link.serve().finally(() => {
        this.#links.delete(link);
        this.#served.delete(served);
        this.#forgetShare(session.organisation);
      });
      this.#served.add(served);
      await served;
    } catch (error) {
      if (isMeshError(error)) await this.#logRefusal(session, exposure, error);
      throw error;
    }
  }

  /** Other policies are in force than before. */
  policiesChanged(): void {
    for (const link of this.#links)
      link.rejudge().catch((error: unknown) => {
        this.#components.log.error({ error }, 'calls under way could not be judged anew');
        link.end('policy_changed', 'what it does could not be judged anew');
      });
  }

  /** An own agent is suspended, revoked, or may act again. */
  agentChanged(did: string): void {
    try {
      this.#components.acting(did);
    } catch (error) {
      if (!isMeshError(error)) throw error;
      this.#endAll(({ session }) => session.as === did, error.code, `"${did}" may not act now`);
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#endAll(() => true, 'closed', 'this side is stopping');
    await Promise.all(this.#served);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #linkFor(messages: CallMessages, exposure: Exposure | undefined, name: string, session: Session): CalleeLink {
    if (this.#isClosed) throw new MeshError('closed', 'Cannot open a link: this side is stopping');
    if (exposure === undefined || !coversSome(exposure, session.granted)) throw noServer(name);
    const { acting, exposures } = this.#components;
    acting(session.as);
    this.#verifyRoom(session, exposure.server);
    const link = new CalleeLink(
      {
        ...this.#components,
        share: this.#shareOf(session.organisation),
        numbersOf: (sid) => this.#numbersOf(sid),
      },
      { exposure, policy: () => exposures.get(name)?.policy ?? exposure.policy, session, messages },
    );
    this.#links.add(link);
    return link;
  }

  /** Errors: busy. */
  #verifyRoom({ sid, organisation }: Session, server: ExposedServer): void {
    const links = [...this.#links];
    const own = links.filter(({ session }) => session.organisation === organisation);
    const isProcess = ({ exposure }: CalleeLink): boolean => 'command' in exposure.server;
    const bounds: [is: number, want: number][] = [
      [links.length, limits.CALL_LINKS_IN_MAX],
      [own.length, limits.CALL_LINKS_AN_ORGANISATION_MAX],
      [own.filter(({ session }) => session.sid === sid).length, limits.CALL_LINKS_A_SESSION_MAX],
    ];
    if ('command' in server)
      bounds.push(
        [links.filter(isProcess).length, limits.CALL_SERVERS_MAX],
        [own.filter(isProcess).length, limits.CALL_SERVERS_AN_ORGANISATION_MAX],
      );
    const full = bounds.find(([is, want]) => is >= want);
    if (full !== undefined)
      throw new MeshError('busy', `Cannot open a link: ${full[0]} are open, want fewer than ${full[1]}`, {
        is: full[0],
        want: full[1],
      });
  }

  #numbersOf(sid: string): CallNumbers {
    const numbers = this.#numbers.get(sid) ?? new CallNumbers();
    this.#numbers.set(sid, numbers);
    return numbers;
  }

  #shareOf(organisation: string): OrganisationShare {
    const { clock } = this.#components;
    const share = this.#shares.get(organisation) ?? {
      running: 0,
      pace: async (signal) => {
        while (!signal.aborted && !this.#refusals.take(organisation))
          await new Promise<void>((settle) => clock.after(PACE_MS, settle));
      },
    };
    this.#shares.set(organisation, share);
    return share;
  }

  #forgetShare(organisation: string): void {
    if (![...this.#links].some(({ session }) => session.organisation === organisation))
      this.#shares.delete(organisation);
  }

  #sessionEnded({ sid }: Session, code: ErrorCode): void {
    this.#numbers.delete(sid);
    const why = `session "${sid}" ended (${code})`;
    this.#endAll(({ session }) => session.sid === sid, code, why);
    // One that made place for the next and ran out did not lose its grounds.
    if (code === 'expired' || code === 'closed') return;
    for (const link of this.#links) link.sessionEnded(sid, { code, message: `Cannot go on: ${why}` });
  }

  #endAll(isMeant: (link: CalleeLink) => boolean, code: ErrorCode, why: string): void {
    for (const link of this.#links) if (isMeant(link)) link.end(code, why);
  }

  async #logRefusal(session: Session, exposure: Exposure | undefined, error: MeshError): Promise<void> {
    const { governance, log } = this.#components;
    const refusal = { code: error.code, reason: error.message };
    const policies = exposure === undefined ? [] : [exposure.policy];
    try {
      await refuseIn(session, { governance, policies, request: { action: 'peer_call' }, refusal });
    } catch (problem) {
      log.warn({ code: error.code, error: problem }, 'that a link was refused is not in the audit log');
    }
  }
}

/** The same for whoever may not know of it. */
const noServer = (name: string): MeshError =>
  new MeshError('not_found', `Cannot open a link: no server "${name}" is exposed here to this session`, { id: name });
