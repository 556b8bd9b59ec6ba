/** The side that calls: links of own clients to servers that other organisations expose (SPEC "Making calls"). */
import { type ErrorCode, isCredential, type IsSignatureValid, limits, MeshError } from '../../../protocol/index.ts';
import { openProof } from '../../../protocol/call/index.ts';
import { isServerName } from '../../../protocol/receipt/index.ts';
import type { Clock, FrameStream, Logger, Network, Random } from '../../ports.ts';
import type { Acting, Governance } from '../governance/governance.ts';
import type { Handshakes } from '../handshake.ts';
import { type Session, type Sessions, sidOf } from '../sessions.ts';
import { ByteBudget } from './byte-budget.ts';
import { createCallerGate } from './caller-gate.ts';
import { StreamLink } from './caller-link.ts';
import type { CallerLink, LinkEvents, LinkInfo, LinkWanted } from './caller-ports.ts';
import { CallerSessions, type HeldSession } from './caller-sessions.ts';
import { EarlierCalls } from './earlier-calls.ts';
import { chooseGrant, type GrantsComponents } from './grants.ts';
import { type CallMessages, createCallMessages } from './message-stream.ts';
import type { Receipts } from './receipts.ts';

export type { CallerLink, LinkControl, LinkEvents, LinkInfo, LinkWanted } from './caller-ports.ts';

export interface CallerComponents extends GrantsComponents {
  readonly network: Pick<Network, 'connections' | 'openStream'>;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly isSignatureValid: IsSignatureValid;
  readonly sessions: Pick<Sessions, 'get' | 'end' | 'useOf' | 'onEnded'>;
  readonly handshakes: Pick<Handshakes, 'shake'>;
  readonly governance: Pick<Governance, 'decide' | 'filter' | 'settle' | 'checkTools' | 'waitForApproval'>;
  readonly receipts: Pick<Receipts, 'keep' | 'get'>;
  /** Own agent or organisation that may act now. Errors: not_found, suspended, revoked. */
  readonly acting: (did: string) => Acting;
  /** Of a DID, whose log is fetched if it is not held. Errors: did_unknown, unreachable, cancelled. */
  readonly organisationOf: (did: string, signal: AbortSignal) => Promise<string>;
  /** Own organisation. */
  readonly organisation: string;
  /** Of the protocol of calls, with the network's name. */
  readonly protocolId: string;
}

export interface CallerOptions {
  /** Links at a time, in all and of one agent. Default CALL_LINKS_OUT_MAX, CALL_LINKS_AN_AGENT_MAX. */
  readonly linksMax?: number;
  readonly linksAnAgentMax?: number;
}

export class Caller {
  readonly #components: CallerComponents;
  readonly #options: CallerOptions;
  readonly #sessions: CallerSessions;
  readonly #earlier: EarlierCalls;
  readonly #bytes = new ByteBudget(limits.CALL_BYTES_OUT_MAX);
  readonly #links = new Set<StreamLink>();
  /** Those that are being opened too. */
  readonly #ofAgents = new Map<string, number>();
  readonly #stop = new AbortController();

  constructor(components: CallerComponents, options: CallerOptions = {}) {
    this.#components = components;
    this.#options = options;
    this.#sessions = new CallerSessions(components);
    this.#earlier = new EarlierCalls(components.receipts);
    components.sessions.onEnded(({ sid }, code) => {
      for (const link of this.#links) link.sessionEnded(sid, code);
    });
  }

  get size(): number {
    return this.#links.size;
  }

  /**
   * Errors: malformed (the server's name), busy, closed, cancelled; not_found, suspended, revoked (own agent);
   * did_unknown, unreachable; those of chooseGrant and of the handshake; what the other side refuses with, with data.side
   * "peer": not_found, busy, caps_insufficient.
   */
  async openLink(wanted: LinkWanted, events: LinkEvents, signal: AbortSignal): Promise<CallerLink> {
    const { as = this.#components.organisation, server } = wanted;
    if (!isServerName(server))
      throw new MeshError('malformed', `Cannot open a link to "${server}": want a name like "files"`, {
        field: 'server',
      });
    if (this.#stop.signal.aborted) throw stopping();
    this.#components.acting(as);
    this.#take(as);
    let link: StreamLink | undefined;
    try {
      link = await this.#open({ ...wanted, as }, events, AbortSignal.any([signal, this.#stop.signal]));
      return link;
    } finally {
      if (link === undefined) this.#give(as);
    }
  }

  async close(): Promise<void> {
    this.#stop.abort(stopping());
    await Promise.all([...this.#links].map((link) => link.close()));
    this.#sessions.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #open(wanted: OwnWanted, events: LinkEvents, signal: AbortSignal): Promise<StreamLink> {
    const acquire = (until: AbortSignal): Promise<HeldSession> => this.#acquire(wanted, until);
    const held = await acquire(signal);
    let messages: CallMessages | undefined;
    try {
      messages = await this.#stream(held.session, wanted.server, signal);
      const info = infoOf(held.session, wanted);
      events.control({ type: 'opened', ...info });
      return this.#start({ messages, held, info }, wanted, events, acquire);
    } catch (error) {
      messages?.abort('the link was not opened');
      held.release();
      throw error;
    }
  }

  async #acquire({ did, as, server, purpose, minScore, grant }: OwnWanted, signal: AbortSignal): Promise<HeldSession> {
    const organisation = await this.#components.organisationOf(did, signal);
    const about = `mcp:${server}/*`;
    const chosen = await chooseGrant(this.#components, { as, did, organisation, about, purpose, grant }, signal);
    const { leaf, capabilities } = chosen;
    return this.#sessions.acquire({ as, did, grant: leaf, capabilities, purpose, minScore }, signal);
  }

  /** Errors: unreachable, no_route, busy, timeout, cancelled, and what the other side refuses with. */
  async #stream(session: Session, server: string, signal: AbortSignal): Promise<CallMessages> {
    const { network, clock, random, protocolId } = this.#components;
    const connection = network.connections().find(({ id }) => id === session.connection);
    if (connection === undefined)
      throw new MeshError('unreachable', `Cannot open a link to "${session.did}": its connection is gone`);
    const stream: FrameStream = await network.openStream(connection, 'call', {
      frameBytesMax: limits.CALL_FRAME_BYTES_MAX,
      signal,
    });
    const messages = createCallMessages(stream, { clock }, { budgets: [this.#bytes] });
    try {
      const [sid, nonce] = [sidOf(session), random.bytes(limits.CALL_NONCE_BYTES)];
      const { hash, signer } = session.agreed;
      const sig = openProof({ protocolId, hash, sid, frame: 'open', subject: server, nonce }, signer);
      await messages.send({ f: 'open', v: 1, sid, srv: server, non: nonce, sig });
      const answer = await messages.receive({ timeoutMs: limits.CALL_OPEN_MS, signal });
      verifyOpened(answer?.frame, server);
      return messages;
    } catch (error) {
      messages.abort('the link was not opened');
      throw error;
    }
  }

  #start(
    link: { readonly messages: CallMessages; readonly held: HeldSession; readonly info: LinkInfo },
    wanted: OwnWanted,
    events: LinkEvents,
    renew: (signal: AbortSignal) => Promise<HeldSession>,
  ): StreamLink {
    const { governance, clock, acting, sessions } = this.#components;
    const { sid } = link.held.session;
    if (sessions.get(sid) === undefined)
      throw new MeshError('closed', 'Cannot open a link: the session ended while it was opened', { id: sid });
    const { as, policies = [] } = wanted;
    const started = new StreamLink(
      {
        ...this.#components,
        earlier: this.#earlier,
        createGate: (session, refused) =>
          createCallerGate({ governance, clock, acting: () => acting(as), policies, session, refused }),
        renew,
        over: () => {
          this.#links.delete(started);
          this.#give(as);
        },
      },
      link,
      events,
      { approvalWaitMs: wanted.approvalWaitMs ?? limits.CALL_APPROVAL_WAIT_MS },
    );
    this.#links.add(started);
    started.start();
    return started;
  }

  /** Errors: busy. */
  #take(as: string): void {
    const { linksMax = limits.CALL_LINKS_OUT_MAX, linksAnAgentMax = limits.CALL_LINKS_AN_AGENT_MAX } = this.#options;
    const own = this.#ofAgents.get(as) ?? 0;
    const all = [...this.#ofAgents.values()].reduce((sum, one) => sum + one, 0);
    const [is, want] = own >= linksAnAgentMax ? [own, linksAnAgentMax] : [all, linksMax];
    if (is >= want)
      throw new MeshError('busy', `Cannot open a link as "${as}": ${is} are open, want < ${want}`, { is, want });
    this.#ofAgents.set(as, own + 1);
  }

  #give(as: string): void {
    const left = (this.#ofAgents.get(as) ?? 1) - 1;
    if (left === 0) this.#ofAgents.delete(as);
    else this.#ofAgents.set(as, left);
  }
}

type OwnWanted = LinkWanted & { readonly as: string };

function infoOf(session: Session, { server, as, did }: OwnWanted): LinkInfo {
  return {
    sid: session.sid,
    as,
    did,
    server,
    organisation: session.organisation,
    grant: session.agreed.chain.findLast(({ payload }) => !isCredential(payload))?.id ?? null,
    score: session.score,
    capabilities: session.granted,
    expiresAt: new Date(session.expiresMs).toISOString(),
  };
}

/** Errors: what the other side refuses with; closed, schema. */
function verifyOpened(
  frame: { readonly f: string; readonly code?: ErrorCode; readonly why?: string } | undefined,
  server: string,
): void {
  if (frame?.f === 'opened') return;
  if ((frame?.f === 'rej' || frame?.f === 'end') && frame.code !== undefined)
    throw new MeshError(frame.code, `Cannot open a link to "${server}": the other side refused (${frame.why ?? ''})`, {
      side: 'peer',
    });
  if (frame === undefined)
    throw new MeshError('closed', `Cannot open a link to "${server}": the other side ended the stream`);
  throw new MeshError('schema', `Cannot open a link to "${server}": a frame "${frame.f}" came, want "opened"`, {
    field: 'f',
  });
}

const stopping = (): MeshError => new MeshError('closed', 'Cannot open a link: this daemon is stopping');
