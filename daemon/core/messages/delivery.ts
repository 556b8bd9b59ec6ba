/**
 * Brings what waits in the outbox to whom it is for (SPEC "Messages"): of each pair of sender and recipient one message
 * at a time, in order. What may go better later is tried again, with longer and longer rests, and at once when a peer of
 * the recipient's organisation shows itself; what is refused for good, or too late, is over, and the next one follows.
 */
import { type ErrorCode, isMeshError, limits, MeshError } from '../../../protocol/index.ts';
import type { Clock, Logger, Random, Timer } from '../../ports.ts';
import { deadline } from '../deadline.ts';
import { problemOf } from '../log/write-ahead.ts';
import type { Content, Outbox, Outgoing, Pair } from './outbox.ts';

/** A way to one recipient, as long as it lasts. */
export interface MailLine {
  /**
   * Resolves once the recipient keeps the message. What it answers instead is a Refusal, after which the line is as good
   * as before; any other error ends it.
   */
  deliver(content: Content, signal: AbortSignal): Promise<void>;
  close(): void;
}

/** What a recipient said of one message. */
export class Refusal extends Error {
  readonly problem: MeshError;

  constructor(problem: MeshError) {
    super(problem.message);
    this.name = 'Refusal';
    this.problem = problem;
  }
}

export interface DeliveryComponents {
  readonly outbox: Outbox;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  /** Errors: why nobody is reached, or why they do not let this side in. */
  readonly open: (pair: Pair, grant: string | null, signal: AbortSignal) => Promise<MailLine>;
  /** Of a recipient, where it is known. */
  readonly organisationOf: (did: string) => string | undefined;
  /** A message is over. */
  readonly settled: (message: Outgoing, intent: string) => void;
}

interface Route {
  readonly pair: Pair;
  /** In a row, without one that was delivered or refused for good. */
  failures: number;
  isRunning: boolean;
  retry: Timer | undefined;
  open: { readonly line: MailLine; readonly grant: string | null } | undefined;
  /** Of a line that is kept for what may follow. */
  linger: Timer | undefined;
}

/** What may go better at another time; whatever else a recipient or this side says is said for good. */
const PASSING: ReadonlySet<ErrorCode> = new Set([
  'approval_pending', // a person of the recipient is asked
  'busy',
  'cancelled',
  'closed',
  'did_unknown', // nobody who could be asked is there
  'did_forked',
  'full',
  'internal',
  'key_locked',
  'key_missing', // a credential that is not renewed yet
  'limit_exceeded',
  'log_halted',
  'no_channel_binding',
  'no_route',
  'peer_not_bound',
  'pending',
  'policy_changed',
  'read_only',
  'status_stale',
  'suspended',
  'timeout',
  'too_early', // a clock is wrong
  'unreachable',
  'version', // one of the two is about to be brought up to date
]);

/** Of a handshake the chain's own code counts. */
function isPassing({ code, data }: MeshError): boolean {
  return PASSING.has(code) || (code === 'chain' && PASSING.has(data.reason as ErrorCode));
}

/** A line that was kept may have ended without a word. */
const STALE: ReadonlySet<ErrorCode> = new Set(['closed', 'timeout', 'cancelled', 'not_found', 'policy_changed']);

export class Delivery {
  readonly #components: DeliveryComponents;
  readonly #routes = new Map<string, Route>();
  /** In the order in which they want to run. */
  readonly #ready = new Set<Route>();
  readonly #running = new Set<Promise<void>>();
  /** By organisation. */
  readonly #busy = new Map<string, number>();
  /** The longest unused first. */
  readonly #lingering = new Set<Route>();
  readonly #stop = new AbortController();
  #sweep: Timer | undefined;

  constructor(components: DeliveryComponents) {
    this.#components = components;
  }

  start(): void {
    for (const pair of this.#components.outbox.pairs()) this.wake(pair);
    this.#sweepLater();
  }

  /** Something waits for this pair: it is tried now, unless it rests after a failure. */
  wake(pair: Pair): void {
    if (this.#stop.signal.aborted) return;
    const route = this.#routeOf(pair);
    if (route.isRunning || route.retry !== undefined) return;
    this.#ready.add(route);
    this.#pump();
  }

  /** A peer of this organisation can be asked: whatever rests is tried now. */
  organisationSeen(organisation: string): void {
    for (const route of this.#routes.values()) {
      const of = this.#components.organisationOf(route.pair.recipient) ?? organisation; // of one that is not known yet
      if (of !== organisation || route.retry === undefined) continue;
      route.retry.cancel();
      route.retry = undefined;
      route.failures = 0;
      this.wake(route.pair);
    }
  }

  async close(): Promise<void> {
    this.#stop.abort(new MeshError('closed', 'Cannot deliver: this side is stopping'));
    this.#sweep?.cancel();
    for (const route of this.#routes.values()) {
      route.retry?.cancel();
      this.#drop(route);
    }
    await Promise.all(this.#running);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  // Whose turn it is

  #routeOf(pair: Pair): Route {
    const key = `${pair.sender} ${pair.recipient}`;
    const known = this.#routes.get(key);
    if (known !== undefined) return known;
    const route: Route = {
      pair,
      failures: 0,
      isRunning: false,
      retry: undefined,
      open: undefined,
      linger: undefined,
    };
    this.#routes.set(key, route);
    return route;
  }

  #pump(): void {
    for (const route of this.#ready) {
      if (this.#running.size >= limits.DELIVERIES_MAX) return;
      const place = this.#placeOf(route);
      const busy = this.#busy.get(place) ?? 0;
      if (busy >= limits.DELIVERIES_AN_ORGANISATION_MAX) continue;
      this.#ready.delete(route);
      this.#busy.set(place, busy + 1);
      route.isRunning = true;
      const running = this.#run(route).finally(() => {
        this.#running.delete(running);
        const left = (this.#busy.get(place) ?? 1) - 1;
        if (left === 0) this.#busy.delete(place);
        else this.#busy.set(place, left);
        this.#ended(route);
        this.#pump();
      });
      this.#running.add(running);
    }
  }

  #placeOf({ pair }: Route): string {
    return this.#components.organisationOf(pair.recipient) ?? pair.recipient;
  }

  #ended(route: Route): void {
    route.isRunning = false;
    if (this.#stop.signal.aborted) return this.#drop(route);
    const isWaiting = this.#components.outbox.head(route.pair) !== undefined;
    if (isWaiting && route.retry === undefined)
      this.wake(route.pair); // it came after the last look
    else if (route.open !== undefined) this.#keep(route);
    else this.#forget(route);
  }

  #forget(route: Route): void {
    const { sender, recipient } = route.pair;
    const isIdle = !route.isRunning && route.retry === undefined && route.open === undefined && !this.#ready.has(route);
    if (isIdle) this.#routes.delete(`${sender} ${recipient}`);
  }

  // One pair

  /** Until nothing waits, or it has to rest. Never rejects. */
  async #run(route: Route): Promise<void> {
    this.#unkeep(route);
    const { outbox, clock, log } = this.#components;
    try {
      for (let head = outbox.head(route.pair); head !== undefined; head = outbox.head(route.pair)) {
        if (this.#stop.signal.aborted) return;
        if (head.exp * 1000 <= clock.nowMs()) await this.#settle(head, 'expired');
        else if (!(await this.#try(route, head))) return;
      }
    } catch (error) {
      // The outbox itself cannot be read or written: nothing of it is lost.
      log.error({ ...route.pair, error }, 'messages cannot be delivered');
      this.#rest(route, undefined, problemOf(error));
    }
  }

  /** False: the pair rests now. Errors: of the outbox. */
  async #try(route: Route, head: Outgoing): Promise<boolean> {
    const content = await this.#components.outbox.content(head.mid);
    const isKept = route.open !== undefined;
    try {
      const until = deadline(this.#components.clock, limits.MAIL_ATTEMPT_MS, this.#stop.signal);
      const line = await this.#lineOf(route, content.grant, until);
      await line.deliver(content, until);
    } catch (error) {
      if (this.#stop.signal.aborted) return false;
      const problem = error instanceof Refusal ? error.problem : problemOf(error);
      if (!(error instanceof Refusal)) {
        this.#drop(route);
        if (!isMeshError(error)) this.#components.log.error({ ...route.pair, error }, 'a message could not be sent');
        if (isKept && STALE.has(problem.code)) return true;
      }
      if (isPassing(problem)) {
        this.#rest(route, head, problem);
        return false;
      }
      route.failures = 0;
      await this.#settle(head, problem.code === 'chain' ? codeOfChain(problem) : problem.code);
      return true;
    }
    route.failures = 0;
    await this.#settle(head, null);
    return true;
  }

  async #lineOf(route: Route, grant: string | null, signal: AbortSignal): Promise<MailLine> {
    if (route.open !== undefined && route.open.grant === grant) return route.open.line;
    this.#drop(route);
    const line = await this.#components.open(route.pair, grant, signal);
    route.open = { line, grant };
    return line;
  }

  async #settle({ mid }: Outgoing, code: ErrorCode | null): Promise<void> {
    const { outbox, settled } = this.#components;
    const intent = outbox.intentOf(mid);
    settled(await outbox.settle(mid, code), intent);
  }

  /** Twice as long each time, somewhere between half of it and all. */
  #rest(route: Route, head: Outgoing | undefined, { code }: MeshError): void {
    const { clock, random, outbox } = this.#components;
    this.#drop(route);
    const longestMs = Math.min(
      limits.MESSAGE_RETRY_MS * 2 ** Math.min(route.failures, 20),
      limits.MESSAGE_RETRY_MS_MAX,
    );
    const delayMs = longestMs * (0.5 + 0.5 * random.fraction());
    route.failures += 1;
    if (head !== undefined) outbox.tried(head.mid, code, Math.floor(clock.nowMs() + delayMs));
    route.retry = clock.after(delayMs, () => {
      route.retry = undefined;
      this.wake(route.pair);
    });
  }

  // Lines

  /** Keeps the line of a pair for what may follow; of too many to one place the longest unused goes. */
  #keep(route: Route): void {
    this.#lingering.add(route);
    route.linger = this.#components.clock.after(limits.MAIL_LINGER_MS, () => this.#drop(route));
    const place = this.#placeOf(route);
    const there = [...this.#lingering].filter((each) => this.#placeOf(each) === place);
    for (const each of there.slice(0, Math.max(0, there.length - limits.DELIVERIES_AN_ORGANISATION_MAX)))
      this.#drop(each);
  }

  #unkeep(route: Route): void {
    this.#lingering.delete(route);
    route.linger?.cancel();
    route.linger = undefined;
  }

  #drop(route: Route): void {
    this.#unkeep(route);
    route.open?.line.close();
    route.open = undefined;
    this.#forget(route);
  }

  // Time

  #sweepLater(): void {
    this.#sweep = this.#components.clock.after(limits.MESSAGE_SWEEP_MS, () => {
      this.#expire()
        .catch((error: unknown) => this.#components.log.warn({ error }, 'expired messages cannot be written'))
        .finally(() => {
          if (!this.#stop.signal.aborted) this.#sweepLater();
        });
    });
  }

  /** Whatever rests or stands behind others; what is under way comes to its end by itself. */
  async #expire(): Promise<void> {
    for (const message of this.#components.outbox.expired()) {
      if (this.#routes.get(`${message.sender} ${message.recipient}`)?.isRunning === true) continue;
      await this.#settle(message, 'expired');
    }
  }
}

/** What is told of a chain is what is wrong with it. */
const codeOfChain = ({ data }: MeshError): ErrorCode => (data.reason as ErrorCode | undefined) ?? 'chain';
