/** Links that lead nowhere: what the control server asks of them is kept, and what they say is the test's. */
import type {
  CallerLink,
  LinkEvents,
  LinkInfo,
  LinkWanted,
  OpenLink,
} from '../../../daemon/core/calls/caller-ports.ts';
import { MeshError } from '../../../protocol/index.ts';
import { createAgent, createOrganisation } from '../../builders.ts';

const organisation = createOrganisation('elsewhere');
/** Whose servers they are. */
export const PEER = { organisation: organisation.did, did: createAgent(organisation, 'files').did };

export class FakeLink implements CallerLink {
  readonly info: LinkInfo;
  readonly wanted: LinkWanted;
  readonly events: LinkEvents;
  /** What the client sent, as text. */
  readonly received: string[] = [];
  /** What `setPaused` was told. */
  readonly paused: boolean[] = [];
  receivedBytes = 0;
  isFull = false;
  /** Something that was asked has no answer yet. */
  isBusy = false;
  isClosed = false;
  hasClientEnded = false;
  readonly #drained: (() => void)[] = [];
  readonly #over = Promise.withResolvers<void>();
  readonly #onMessage: (line: string, link: FakeLink) => void;

  constructor(wanted: LinkWanted, events: LinkEvents, onMessage: (line: string, link: FakeLink) => void) {
    this.wanted = wanted;
    this.events = events;
    this.#onMessage = onMessage;
    this.info = {
      sid: '0123456789abcdef0123456789abcdef',
      as: wanted.as ?? PEER.did,
      did: wanted.did,
      server: wanted.server,
      organisation: PEER.organisation,
      grant: wanted.grant ?? null,
      score: 300,
      capabilities: [{ can: `mcp:${wanted.server}/*` }],
      expiresAt: '2026-11-23T12:00:00.000Z',
    };
  }

  fromClient(bytes: Uint8Array): void {
    const line = Buffer.from(bytes).toString();
    this.receivedBytes += bytes.length;
    this.received.push(line);
    this.#onMessage(line, this);
  }

  onDrained(call: () => void): void {
    this.#drained.push(call);
  }

  setPaused(isPaused: boolean): void {
    this.paused.push(isPaused);
  }

  clientEnded(): Promise<void> {
    this.hasClientEnded = true;
    if (!this.isBusy) this.settle();
    return this.#over.promise;
  }

  async close(): Promise<void> {
    this.isClosed = true;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Takes more again. */
  drain(): void {
    this.isFull = false;
    for (const call of this.#drained) call();
  }

  /** Nothing is without an answer any more. */
  settle(): void {
    this.#over.resolve();
  }

  say(message: unknown): void {
    this.events.line(Buffer.from(JSON.stringify(message)));
  }
}

export class FakeLinks {
  readonly opened: FakeLink[] = [];
  readonly signals: AbortSignal[] = [];
  /** What happens before one is open; default: nothing. */
  before: (wanted: LinkWanted, signal: AbortSignal) => Promise<void> = async () => undefined;
  /** What is done with a message of the client; default: nothing. */
  onMessage: (line: string, link: FakeLink) => void = () => undefined;

  readonly open: OpenLink = async (wanted, events, signal) => {
    this.signals.push(signal);
    await this.before(wanted, signal);
    const link = new FakeLink(wanted, events, (line, from) => this.onMessage(line, from));
    this.opened.push(link);
    events.control({ type: 'opened', ...link.info });
    return link;
  };

  get last(): FakeLink {
    const link = this.opened.at(-1);
    if (link === undefined) throw new Error('No link was opened');
    return link;
  }
}

/** Until its signal fires. */
export const never = (_: LinkWanted, signal: AbortSignal): Promise<never> =>
  new Promise((_settle, fail) => {
    signal.addEventListener('abort', () => fail(new MeshError('cancelled', 'Cannot go on: it was cancelled')));
  });
