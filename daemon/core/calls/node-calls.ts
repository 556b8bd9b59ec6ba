/** Calls between organisations, put together for one node: who is let in on a stream of calls, and to whom it goes. */
import type { Asked, CallFrame, CallFrameOf, ExposureInput } from '../../../protocol/call/index.ts';
import {
  type ErrorCode,
  type IsSignatureValid,
  isMeshError,
  limits,
  MeshError,
  type MeshState,
  protocolId,
  type StalenessPolicy,
} from '../../../protocol/index.ts';
import type { Clock, FrameStream, Logger, McpServers, Network, Random, Store, Timer } from '../../ports.ts';
import type { Chains } from '../chains.ts';
import type { Freshness } from '../freshness.ts';
import type { NodeGovernance } from '../governance/node-governance.ts';
import type { Handshakes } from '../handshake.ts';
import type { NodeLog } from '../log/node-log.ts';
import type { Resolver } from '../resolver.ts';
import type { Session, Sessions } from '../sessions.ts';
import { TokenBuckets } from '../token-buckets.ts';
import { ByteBudget } from './byte-budget.ts';
import { Callee } from './callee.ts';
import { Caller } from './caller.ts';
import { evidenceAnswers, evidenceBy } from './evidence.ts';
import { createExposureEntries } from './exposure-entries.ts';
import { Exposures } from './exposures.ts';
import { IdempotencyKeys } from './idempotency.ts';
import { type CallMessages, createCallMessages } from './message-stream.ts';
import { Receipts } from './receipts.ts';
import { SessionProofs } from './session-proofs.ts';

export interface NodeCallsComponents {
  readonly network: Network;
  readonly store: Store;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly isSignatureValid: IsSignatureValid;
  readonly governance: NodeGovernance;
  readonly state: MeshState;
  readonly organisation: string;
  readonly audit: Pick<NodeLog, 'recorder' | 'auditLog' | 'cosigning'>;
  /** Starts exposed servers; absent: nothing can be exposed. */
  readonly mcpServers?: McpServers | undefined;
}

export interface NodeCallsOptions {
  /** Name of the network, part of protocol ids. */
  readonly networkName: string;
  /** Servers that the configuration exposes, with absolute paths. Default none. */
  readonly exposed?: readonly ExposureInput[] | undefined;
}

export interface NodeCallsSurroundings {
  readonly sessions: Sessions;
  readonly freshen: Freshness['freshen'];
  readonly staleness: StalenessPolicy;
  readonly handshakes: Handshakes;
  readonly chains: Chains;
  readonly resolver: Resolver;
}

/** What somebody asks in a session, beside opening a link. */
export interface Asking {
  readonly session: Session;
  readonly frame: CallFrameOf<'ask'>;
  /** Closed once the handler is over. */
  readonly messages: CallMessages;
  /** Fires when the session ends or this side stops. */
  readonly signal: AbortSignal;
}
/** Answers, or throws a MeshError, which the other side is told as `rej`. */
export type AskHandler = (asking: Asking) => Promise<void>;

const PRUNE_MS = 600_000; // idempotency keys that are over
const EXPOSE_AGAIN_MS = 10_000; // what the log could not hold: a person mends it meanwhile

export class NodeCalls {
  readonly exposures: Exposures;
  readonly receipts: Receipts;
  readonly keys: IdempotencyKeys;
  readonly #components: NodeCallsComponents;
  readonly #protocolId: string;
  readonly #asked = new Map<Asked, AskHandler>();
  readonly #stop = new AbortController();
  /** Streams by organisation, for the pace at which one may open them. */
  readonly #pace: TokenBuckets;
  readonly #streams = new Set<Promise<void>>();
  /** Questions under way, by session. */
  readonly #asking = new Map<string, Set<AbortController>>();
  /** Of messages under way, by peer; gone with its last stream. */
  readonly #budgets = new Map<string, { readonly budget: ByteBudget; streams: number }>();
  readonly #budget = new ByteBudget(limits.CALL_BYTES_MAX);
  #timer: Timer | undefined;
  #exposing: Timer | undefined;
  #parts: Parts | undefined;

  private constructor(components: NodeCallsComponents, { networkName }: NodeCallsOptions, kept: Kept) {
    this.#components = components;
    this.exposures = kept.exposures;
    this.receipts = kept.receipts;
    this.keys = kept.keys;
    this.#protocolId = protocolId(networkName, 'call');
    this.#pace = new TokenBuckets(components.clock, {
      perSecond: limits.CALL_STREAMS_PER_SECOND,
      burst: limits.CALL_STREAMS_BURST,
    });
  }

  /** Errors: store_corrupt, config_invalid, and those of the policies of exposed servers. */
  static async open(components: NodeCallsComponents, options: NodeCallsOptions): Promise<NodeCalls> {
    const { store, clock, random, log, governance, state, audit } = components;
    const exposures = await Exposures.open(
      { store, log, library: governance.library, entries: createExposureEntries({ recorder: audit.recorder, log }) },
      { configured: options.exposed },
    );
    const receipts = await Receipts.open({
      store,
      clock,
      random,
      log,
      state,
      recorder: audit.recorder,
      auditLog: () => audit.auditLog,
      cosigning: () => audit.cosigning,
      isSignatureValid: components.isSignatureValid,
    });
    const keys = await IdempotencyKeys.open({ store, clock, log });
    return new NodeCalls(components, options, { exposures, receipts, keys });
  }

  /** Called once, before start. */
  attach({ sessions, freshen, staleness, handshakes, chains, resolver }: NodeCallsSurroundings): void {
    const { isSignatureValid, governance, state, mcpServers = NO_SERVERS, ...components } = this.#components;
    const { exposures, receipts, keys } = this;
    sessions.onEnded((session, code) => this.#sessionEnded(session, code));
    const proofs = new SessionProofs({ sessions, isSignatureValid, protocolId: this.#protocolId });
    const callee = new Callee({
      ...components,
      isSignatureValid,
      sessions,
      proofs,
      freshen,
      staleness,
      view: state,
      exposures,
      receipts,
      keys,
      servers: mcpServers,
      governance: governance.governance,
      acting: (did) => governance.acting(did),
    });
    const caller = new Caller({
      ...components,
      isSignatureValid,
      sessions,
      handshakes,
      chains,
      state,
      receipts,
      governance: governance.governance,
      acting: (did) => governance.acting(did),
      organisationOf: async (did, signal) => (await resolver.resolve(did, { signal })).state.organisation,
      protocolId: this.#protocolId,
    });
    this.#parts = { proofs, callee, caller };
    this.onAsk('evidence', evidenceAnswers(receipts));
    receipts.askBy(evidenceBy({ ...components, protocolId: this.#protocolId, sessions, handshakes }));
  }

  get callee(): Callee {
    return this.#attached().callee;
  }

  get caller(): Caller {
    return this.#attached().caller;
  }

  /** Who answers what is asked; until then it is refused. */
  onAsk(what: Asked, handler: AskHandler): void {
    this.#asked.set(what, handler);
  }

  async start(): Promise<void> {
    this.#pruneLater();
    await this.#expose();
    await this.#components.network.handle(
      'call',
      {
        frameBytesMax: limits.CALL_FRAME_BYTES_MAX,
        inboundStreamsMax: limits.CALL_STREAMS_A_CONNECTION_MAX,
        unbound: false,
      },
      (stream) => {
        const served = this.#serve(stream).finally(() => this.#streams.delete(served));
        this.#streams.add(served);
        return served;
      },
    );
  }

  async close(): Promise<void> {
    this.#stop.abort(new MeshError('closed', 'Cannot go on: this side is stopping'));
    this.#timer?.cancel();
    this.#exposing?.cancel();
    await this.#parts?.caller.close();
    await this.#parts?.callee.close();
    await Promise.all(this.#streams);
    await this.receipts.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Never rejects. */
  async #serve(stream: FrameStream): Promise<void> {
    const { peer } = stream.connection;
    const share = this.#budgets.get(peer) ?? { budget: new ByteBudget(limits.CALL_BYTES_A_PEER_MAX), streams: 0 };
    this.#budgets.set(peer, share);
    share.streams += 1;
    const messages = createCallMessages(stream, this.#components, { budgets: [share.budget, this.#budget] });
    try {
      await this.#dispatch(messages);
    } catch (error) {
      await this.#reject(messages, error);
    } finally {
      await messages.close();
      share.streams -= 1;
      if (share.streams === 0) this.#budgets.delete(peer);
    }
  }

  /** Errors: those of SessionProofs.verify; busy, not_found, and of whoever takes the stream. */
  async #dispatch(messages: CallMessages): Promise<void> {
    const { proofs, callee } = this.#attached();
    const { connection } = messages;
    const first = await messages.receive({ timeoutMs: limits.CALL_OPEN_MS, signal: this.#stop.signal });
    if (first === undefined) return;
    const { frame } = first;
    if (!isFirst(frame))
      throw new MeshError('schema', `Cannot begin with a frame "${frame.f}": want "open" or "ask"`, { field: 'f' });
    const session = proofs.verify(frame, connection);
    if (!this.#pace.take(session.organisation))
      throw new MeshError('busy', 'Cannot take another stream: too many were opened just now; try again later');
    if (frame.f === 'open') return callee.open(messages, frame, session);
    const handler = this.#asked.get(frame.what);
    if (handler === undefined) throw new MeshError('not_found', `Cannot answer "${frame.what}": nobody does here`);
    const over = new AbortController();
    const asking = this.#asking.get(session.sid) ?? new Set();
    this.#asking.set(session.sid, asking.add(over));
    try {
      await handler({ session, frame, messages, signal: AbortSignal.any([over.signal, this.#stop.signal]) });
    } finally {
      asking.delete(over);
      if (asking.size === 0) this.#asking.delete(session.sid);
    }
  }

  #sessionEnded({ sid }: Session, code: ErrorCode): void {
    for (const over of this.#asking.get(sid) ?? [])
      over.abort(new MeshError(code, `Cannot go on: session "${sid}" is over`, { id: sid }));
  }

  async #reject(messages: CallMessages, error: unknown): Promise<void> {
    const { log } = this.#components;
    const { peer } = messages.connection;
    const problem = isMeshError(error) ? error : new MeshError('internal', 'Cannot go on: a fault of this program');
    if (!isMeshError(error)) log.error({ peer, error }, 'a stream of calls could not be served');
    else log.debug({ peer, code: error.code, reason: error.message }, 'a stream of calls was refused');
    try {
      await messages.send({ f: 'rej', code: problem.code, why: problem.message.slice(0, limits.CALL_WHY_TEXT_MAX) });
    } catch {
      // it is gone: nobody is left to be told
    }
  }

  /** Errors: store_corrupt, read_only. */
  async #expose(): Promise<void> {
    if ((await this.exposures.begin()) || this.#stop.signal.aborted) return;
    const { clock, log } = this.#components;
    this.#exposing = clock.after(EXPOSE_AGAIN_MS, () => {
      this.#expose().catch((error: unknown) => log.error({ error }, 'servers of the configuration cannot be exposed'));
    });
  }

  #pruneLater(): void {
    const { clock, log } = this.#components;
    this.#timer = clock.after(PRUNE_MS, () => {
      this.keys
        .prune()
        .catch((error: unknown) => log.warn({ error }, 'old idempotency keys cannot be removed'))
        .finally(() => {
          if (!this.#stop.signal.aborted) this.#pruneLater();
        });
    });
  }

  #attached(): Parts {
    if (this.#parts === undefined)
      throw new MeshError('internal', 'Cannot take calls: the node is not put together yet');
    return this.#parts;
  }
}

interface Kept {
  readonly exposures: Exposures;
  readonly receipts: Receipts;
  readonly keys: IdempotencyKeys;
}

interface Parts {
  readonly proofs: SessionProofs;
  readonly callee: Callee;
  readonly caller: Caller;
}

const isFirst = (frame: CallFrame): frame is CallFrameOf<'open'> | CallFrameOf<'ask'> =>
  frame.f === 'open' || frame.f === 'ask';

/** Of a node that can start none: what it exposes ends at once. */
const NO_SERVERS: McpServers = {
  open: () => {
    throw new MeshError('not_found', 'Cannot open a link: this node starts no servers');
  },
};
