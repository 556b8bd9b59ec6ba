/**
 * Messages that own agents have not acknowledged yet (SPEC "Messages"). A message is on disk before its sender is told
 * that it is kept, and leaves when it is acknowledged or expires. Of each pair of sender and recipient the newest number
 * is remembered, so that what is sent again after a lost answer is kept once.
 *
 * What others send is bounded for each pair, for each organisation, and in all: who fills their share is refused `full`,
 * and nobody else notices.
 */
import { equalBytes, limits, type MessageFields, MeshError, toHex } from '../../../protocol/index.ts';
import type { Clock, Logger, Store, StoreWrite, Timer } from '../../ports.ts';
import { afterWritten, type Settle } from '../log/write-ahead.ts';
import { Serial } from '../serial.ts';
import {
  encodeRow,
  inboxKey,
  type InboxRow,
  newestKey,
  type NewestRow,
  parseRow,
  positionOf,
  rowRange,
} from './rows.ts';

export interface InboxComponents {
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Logger;
  /** Writes that a message is put into an inbox, before it is. Errors: of the log. */
  readonly ahead: (incoming: Incoming) => Promise<Settle>;
  readonly expired: (held: HeldMessage) => void;
}

export interface InboxOptions {
  /** Default INBOX_A_PAIR_MAX. */
  readonly pairMax?: number;
  /** Default INBOX_AN_ORGANISATION_MAX. */
  readonly organisationMax?: number;
  /** Default INBOX_AN_ORGANISATION_BYTES_MAX. */
  readonly organisationBytesMax?: number;
  /** Default INBOX_MAX. */
  readonly max?: number;
  /** Default INBOX_BYTES_MAX. */
  readonly bytesMax?: number;
  /** Pairs remembered of one organisation; default INBOX_SENDERS_AN_ORGANISATION_MAX. */
  readonly sendersMax?: number;
}

export type Incoming = Omit<InboxRow, 'arrivedMs'>;

/** A message in an inbox, without its body. */
export interface HeldMessage {
  /** Where it stands among all: rises, and is never used again. */
  readonly position: number;
  /** hex */
  readonly mid: string;
  readonly seq: number;
  readonly sender: string;
  readonly organisation: string;
  readonly recipient: string;
  readonly bytes: number;
  /** Unix seconds. */
  readonly exp: number;
}

export interface InboxMessage {
  readonly position: number;
  readonly row: InboxRow;
}

export interface WaitOptions {
  readonly waitMs: number;
  readonly signal: AbortSignal;
}

const POSITIONS_A_MS = 100; // more than can be synced, and 15 digits for a thousand years

/** How much is held of somebody. */
interface Share {
  count: number;
  bytes: number;
}

export class Inbox {
  readonly #components: InboxComponents;
  readonly #options: Required<InboxOptions>;
  /** By position, which is the order of keys. */
  readonly #held = new Map<number, HeldMessage>();
  readonly #byRecipient = new Map<string, Set<number>>();
  /** By which recipients acknowledge. */
  readonly #ids = new Set<string>();
  readonly #newest = new Map<string, NewestRow>();
  /** Being taken, one after the other for each pair. */
  readonly #pairs = new Map<string, { readonly serial: Serial; users: number }>();
  readonly #shares = new Map<string, Share>();
  readonly #senders = new Map<string, number>();
  /** Positions given and not on disk yet, by recipient: what stands behind them is not shown before them. */
  readonly #underWay = new Map<string, Set<number>>();
  readonly #waiting = new Map<string, Set<() => void>>();
  #waitingCount = 0;
  #next = 1;
  #timer: Timer | undefined;
  #isClosed = false;

  private constructor(components: InboxComponents, options: InboxOptions) {
    this.#components = components;
    this.#options = {
      pairMax: options.pairMax ?? limits.INBOX_A_PAIR_MAX,
      organisationMax: options.organisationMax ?? limits.INBOX_AN_ORGANISATION_MAX,
      organisationBytesMax: options.organisationBytesMax ?? limits.INBOX_AN_ORGANISATION_BYTES_MAX,
      max: options.max ?? limits.INBOX_MAX,
      bytesMax: options.bytesMax ?? limits.INBOX_BYTES_MAX,
      sendersMax: options.sendersMax ?? limits.INBOX_SENDERS_AN_ORGANISATION_MAX,
    };
  }

  /** With what was there when the daemon ended. Errors: store_corrupt. */
  static async open(components: InboxComponents, options: InboxOptions = {}): Promise<Inbox> {
    const inbox = new Inbox(components, options);
    for await (const [key, value] of components.store.range(...rowRange('inbox'))) {
      const position = positionOf(key);
      inbox.#next = Math.max(inbox.#next, position + 1);
      inbox.#enter(heldOf(position, parseRow('inbox', value)));
    }
    for await (const [, value] of components.store.range(...rowRange('newest')))
      inbox.#remember(copyOf(parseRow('newest', value)));
    // Above whatever was given before, of which no row may be left.
    inbox.#next = Math.max(inbox.#next, Math.floor(components.clock.nowMs()) * POSITIONS_A_MS);
    return inbox;
  }

  start(): void {
    this.#sweepLater();
  }

  /** Not acknowledged, of all recipients. */
  get size(): number {
    return this.#held.size;
  }

  /**
   * Puts a message of somebody into the inbox of whom it is for; on disk when it resolves. False: it is there, or was
   * acknowledged, already. Errors: replay (its number is no higher than the newest of the pair), conflict (another that
   * waits has its id), expired, full, busy, read_only, closed, those of the log.
   */
  async take(incoming: Incoming): Promise<boolean> {
    const { iss, aud } = incoming.message;
    return this.#inOrder(pairOf(iss, aud), () => this.#take(incoming));
  }

  async #take(incoming: Incoming): Promise<boolean> {
    this.#verifyOpen();
    const { message, organisation } = incoming;
    if (this.isKept(message)) return false;
    this.verifyRoom(incoming);
    const position = this.#next++;
    const row: InboxRow = { ...incoming, arrivedMs: Math.floor(this.#components.clock.nowMs()) };
    const held = heldOf(position, row);
    const remembered = newestOf(message, organisation, this.#newest.get(pairOf(message.iss, message.aud)));
    const underWay = this.#underWay.get(message.aud) ?? new Set();
    this.#underWay.set(message.aud, underWay.add(position));
    this.#count(held, 1);
    try {
      await afterWritten(this.#components.ahead(incoming), () =>
        this.#components.store.batch(
          [
            { type: 'put', key: inboxKey(position), value: encodeRow('inbox', row) },
            {
              type: 'put',
              key: newestKey(message.iss, message.aud),
              value: encodeRow('newest', remembered),
            },
          ],
          { sync: true },
        ),
      );
      this.#remember(remembered);
      this.#hold(held);
      return true;
    } catch (error) {
      this.#count(held, -1);
      throw error;
    } finally {
      underWay.delete(position);
      if (underWay.size === 0) this.#underWay.delete(message.aud);
      this.#wake(message.aud);
    }
  }

  /**
   * Whether it was taken before: the newest of its pair, sent again. Errors: replay (its number is no higher than the
   * newest's, and it is another).
   */
  isKept({ iss, aud, seq, mid }: Pick<MessageFields, 'iss' | 'aud' | 'seq' | 'mid'>): boolean {
    const newest = this.#newest.get(pairOf(iss, aud));
    if (newest === undefined || seq > newest.seq) return false;
    if (seq === newest.seq && equalBytes(mid, newest.mid)) return true;
    throw new MeshError('replay', `Cannot take message ${seq} of "${iss}": ${newest.seq} was taken already`, {
      is: seq,
      want: newest.seq + 1,
    });
  }

  /** Whether it could be put there now. Errors: full, expired, conflict (another one that waits has its id). */
  verifyRoom({ message, organisation }: Incoming): void {
    const isNewPair = !this.#newest.has(pairOf(message.iss, message.aud));
    const { pairMax, organisationMax, organisationBytesMax, max, bytesMax, sendersMax } = this.#options;
    if (message.exp * 1000 <= this.#components.clock.nowMs())
      throw new MeshError('expired', 'Cannot take a message: its time is over');
    const mid = toHex(message.mid);
    if (this.#ids.has(idOf(message.aud, mid)))
      throw new MeshError('conflict', `Cannot take message "${mid}": another of this id waits for its recipient`, {
        field: 'mid',
        id: mid,
      });
    const bytes = message.body.length;
    const own = this.#shareOf(`organisation ${organisation}`);
    const all = this.#shareOf('all');
    const senders = this.#senders.get(organisation) ?? 0;
    const bounds: readonly (readonly [is: number, want: number, what: string])[] = [
      [this.#shareOf(pairOf(message.iss, message.aud)).count + 1, pairMax, 'messages of its sender'],
      [own.count + 1, organisationMax, 'messages of its organisation'],
      [own.bytes + bytes, organisationBytesMax, 'bytes of its organisation'],
      [all.count + 1, max, 'messages'],
      [all.bytes + bytes, bytesMax, 'bytes'],
      [isNewPair ? senders + 1 : 0, sendersMax, 'senders of its organisation'],
      [isNewPair ? this.#newest.size + 1 : 0, limits.INBOX_SENDERS_MAX, 'senders'],
    ];
    for (const [is, want, what] of bounds) {
      if (is <= want) continue;
      throw new MeshError('full', `Cannot take a message: with it there would be ${is} ${what}, want <= ${want}`, {
        is,
        want,
      });
    }
  }

  /** Of one recipient, in the order in which they came, from behind a position on. Errors: store_corrupt, closed. */
  async list(recipient: string, { after = 0, max = limits.INBOX_PAGE_MAX } = {}): Promise<InboxMessage[]> {
    const messages: InboxMessage[] = [];
    for (const { position } of this.#shown(recipient, after).slice(0, max)) {
      const value = await this.#components.store.get(inboxKey(position));
      if (value !== undefined) messages.push({ position, row: parseRow('inbox', value) }); // else acknowledged meanwhile
    }
    return messages;
  }

  /** Resolves once there is something behind the position, or the time is over. Errors: busy, cancelled, closed. */
  async wait(recipient: string, after: number, { waitMs, signal }: WaitOptions): Promise<void> {
    if (this.#shown(recipient, after).length > 0 || waitMs <= 0) return;
    if (this.#waitingCount >= limits.INBOX_WAITING_MAX)
      throw new MeshError('busy', `Cannot wait for a message: ${this.#waitingCount} wait already`);
    const { promise: over, resolve, reject } = Promise.withResolvers<void>();
    const look = (): void => {
      if (this.#isClosed) reject(closed());
      else if (this.#shown(recipient, after).length > 0) resolve();
    };
    const cancel = (): void => reject(new MeshError('cancelled', 'Cannot wait for a message: cancelled'));
    const waiting = this.#waiting.get(recipient) ?? new Set();
    this.#waiting.set(recipient, waiting.add(look));
    this.#waitingCount += 1;
    const timer = this.#components.clock.after(waitMs, resolve);
    signal.addEventListener('abort', cancel);
    try {
      if (signal.aborted) cancel();
      look();
      await over;
    } finally {
      timer.cancel();
      signal.removeEventListener('abort', cancel);
      waiting.delete(look);
      if (waiting.size === 0 && this.#waiting.get(recipient) === waiting) this.#waiting.delete(recipient);
      this.#waitingCount -= 1;
    }
  }

  /** Removes what its recipient has dealt with; on disk when it resolves. How many there were. Errors: read_only, closed. */
  async acknowledge(recipient: string, mids: readonly string[]): Promise<number> {
    this.#verifyOpen();
    const wanted = new Set(mids);
    const found = this.#shown(recipient, 0).filter(({ mid }) => wanted.has(mid));
    if (found.length > 0) await this.#remove(found, { sync: true });
    return found.length;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#timer?.cancel();
    for (const recipient of this.#waiting.keys()) this.#wake(recipient);
    await Promise.all([...this.#pairs.values()].map(({ serial }) => serial.run(async () => {})));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  // Room

  #shareOf(of: string): Share {
    return this.#shares.get(of) ?? { count: 0, bytes: 0 };
  }

  #count({ sender, recipient, organisation, bytes, mid }: HeldMessage, by: 1 | -1): void {
    if (by === 1) this.#ids.add(idOf(recipient, mid));
    else this.#ids.delete(idOf(recipient, mid));
    for (const holder of [pairOf(sender, recipient), `organisation ${organisation}`, 'all']) {
      const share = this.#shareOf(holder);
      share.count += by;
      share.bytes += by * bytes;
      if (share.count === 0) this.#shares.delete(holder);
      else this.#shares.set(holder, share);
    }
  }

  // Rows

  #enter(held: HeldMessage): void {
    this.#count(held, 1);
    this.#hold(held);
  }

  #hold(held: HeldMessage): void {
    this.#held.set(held.position, held);
    const positions = this.#byRecipient.get(held.recipient) ?? new Set();
    this.#byRecipient.set(held.recipient, positions.add(held.position));
  }

  async #remove(messages: readonly HeldMessage[], options: { readonly sync: boolean }): Promise<void> {
    const writes = messages.map(({ position }): StoreWrite => ({ type: 'del', key: inboxKey(position) }));
    await this.#components.store.batch(writes, options);
    for (const held of messages) {
      if (!this.#held.delete(held.position)) continue; // acknowledged twice at the same time
      this.#count(held, -1);
      const positions = this.#byRecipient.get(held.recipient);
      positions?.delete(held.position);
      if (positions?.size === 0) this.#byRecipient.delete(held.recipient);
    }
  }

  /** In order, without what expired, and nothing behind what may still come before it. */
  #shown(recipient: string, after: number): HeldMessage[] {
    const before = Math.min(Number.POSITIVE_INFINITY, ...(this.#underWay.get(recipient) ?? []));
    const nowMs = this.#components.clock.nowMs();
    return [...(this.#byRecipient.get(recipient) ?? [])]
      .filter((position) => position > after && position < before)
      .sort((a, b) => a - b)
      .flatMap((position) => this.#held.get(position) ?? [])
      .filter(({ exp }) => exp * 1000 > nowMs);
  }

  #wake(recipient: string): void {
    for (const look of this.#waiting.get(recipient) ?? []) look();
  }

  #remember(newest: NewestRow): void {
    const pair = pairOf(newest.sender, newest.recipient);
    if (!this.#newest.has(pair))
      this.#senders.set(newest.organisation, (this.#senders.get(newest.organisation) ?? 0) + 1);
    this.#newest.set(pair, newest);
  }

  #forget({ sender, recipient, organisation }: NewestRow): void {
    this.#newest.delete(pairOf(sender, recipient));
    const left = (this.#senders.get(organisation) ?? 1) - 1;
    if (left === 0) this.#senders.delete(organisation);
    else this.#senders.set(organisation, left);
  }

  /** One after the other, for each pair. */
  async #inOrder<T>(pair: string, work: () => Promise<T>): Promise<T> {
    const entry = this.#pairs.get(pair) ?? { serial: new Serial(), users: 0 };
    this.#pairs.set(pair, entry);
    entry.users += 1;
    try {
      return await entry.serial.run(work);
    } finally {
      entry.users -= 1;
      if (entry.users === 0) this.#pairs.delete(pair);
    }
  }

  // Time

  #sweepLater(): void {
    const { clock, log } = this.#components;
    this.#timer = clock.after(limits.MESSAGE_SWEEP_MS, () => {
      this.#sweep()
        .catch((error: unknown) => log.warn({ error }, 'expired messages cannot be removed'))
        .finally(() => {
          if (!this.#isClosed) this.#sweepLater();
        });
    });
  }

  async #sweep(): Promise<void> {
    const { clock, store, expired } = this.#components;
    const nowMs = clock.nowMs();
    const over = [...this.#held.values()].filter(({ exp }) => exp * 1000 <= nowMs);
    if (over.length > 0) await this.#remove(over, { sync: false });
    for (const held of over) expired(held);
    // By then whatever could be sent again is refused as expired.
    const gone = [...this.#newest.values()].filter(
      ({ sender, recipient, until }) =>
        (until + limits.SKEW_SECONDS) * 1000 <= nowMs && !this.#pairs.has(pairOf(sender, recipient)),
    );
    for (const newest of gone) this.#forget(newest);
    const writes = gone.map(
      ({ sender, recipient }): StoreWrite => ({ type: 'del', key: newestKey(sender, recipient) }),
    );
    if (writes.length > 0) await store.batch(writes, { sync: false });
  }

  #verifyOpen(): void {
    if (this.#isClosed) throw closed();
  }
}

const pairOf = (sender: string, recipient: string): string => `${sender} ${recipient}`;
const idOf = (recipient: string, mid: string): string => `${recipient} ${mid}`;

const heldOf = (position: number, { message, organisation }: InboxRow): HeldMessage => ({
  position,
  mid: toHex(message.mid),
  seq: message.seq,
  sender: message.iss,
  organisation,
  recipient: message.aud,
  bytes: message.body.length,
  exp: message.exp,
});

const newestOf = (
  { iss, aud, seq, mid, exp }: MessageFields,
  organisation: string,
  before: NewestRow | undefined,
): NewestRow => ({
  sender: iss,
  recipient: aud,
  organisation,
  seq,
  mid: mid.slice(),
  until: Math.max(exp, before?.until ?? 0),
});

/** What was read from a row is a view of the whole of it. */
const copyOf = (newest: NewestRow): NewestRow => ({ ...newest, mid: newest.mid.slice() });

const closed = (): MeshError => new MeshError('closed', 'Cannot take messages any more: the daemon is stopping');
