/**
 * Messages of own agents on their way (SPEC "Messages"): on disk before whoever sent one is answered, in the order in
 * which they were sent for each pair of sender and recipient, until each is delivered, refused for good, or expired.
 */
import { type ErrorCode, limits, type MessageFields, MeshError, toHex } from '../../../protocol/index.ts';
import type { Clock, Logger, Store, StoreWrite } from '../../ports.ts';
import { Serial } from '../serial.ts';
import { encodeRow, NUMBER_KEY, outboxKey, type OutboxRow, parseRow, rowRange } from './rows.ts';

export interface OutboxComponents {
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Logger;
}

export interface OutboxOptions {
  /** Waiting of a pair; default OUTBOX_A_PAIR_MAX. */
  readonly pairMax?: number;
  /** Waiting of a sender; default OUTBOX_A_SENDER_MAX. */
  readonly senderMax?: number;
  /** Waiting in all; default OUTBOX_MAX. */
  readonly max?: number;
  /** Default OUTBOX_BYTES_MAX. */
  readonly bytesMax?: number;
  /** That are over; default OUTBOX_KEPT_MAX. */
  readonly keptMax?: number;
}

/** From whom to whom. */
export interface Pair {
  readonly sender: string;
  readonly recipient: string;
}

export type OutgoingState = 'waiting' | 'delivered' | 'failed' | 'expired';

/** A message, without its body. */
export interface Outgoing extends Pair {
  /** hex */
  readonly mid: string;
  readonly seq: number;
  readonly contentType: string;
  readonly bytes: number;
  readonly state: OutgoingState;
  /** Why it failed; while it waits, what came of the last try. */
  readonly code: ErrorCode | null;
  readonly tries: number;
  readonly createdMs: number;
  /** Unix seconds. */
  readonly exp: number;
  /** Of the next try, where there was one. */
  readonly nextMs: number | null;
  readonly overMs: number | null;
}

export interface NewMessage {
  readonly message: Omit<MessageFields, 'seq'>;
  readonly grant: string | null;
}

/** What to send, and what the log said of it. */
export interface Content {
  readonly message: MessageFields;
  readonly grant: string | null;
  readonly intent: string;
}

interface Held {
  row: Omit<OutboxRow, 'content'>;
  readonly mid: string;
  tries: number;
  code: ErrorCode | null;
  nextMs: number | null;
}

interface Queue {
  readonly pair: Pair;
  /** In order. */
  readonly waiting: Held[];
  readonly adding: Serial;
  /** Being added. */
  reserved: number;
}

export class Outbox {
  readonly #components: OutboxComponents;
  readonly #options: Required<OutboxOptions>;
  readonly #queues = new Map<string, Queue>();
  readonly #bySender = new Map<string, number>();
  readonly #held = new Map<string, Held>();
  /** In the order in which they were over. */
  readonly #over = new Set<Held>();
  #waiting = 0;
  #bytes = 0;
  #seq = 0;

  private constructor(components: OutboxComponents, options: OutboxOptions) {
    this.#components = components;
    this.#options = {
      pairMax: options.pairMax ?? limits.OUTBOX_A_PAIR_MAX,
      senderMax: options.senderMax ?? limits.OUTBOX_A_SENDER_MAX,
      max: options.max ?? limits.OUTBOX_MAX,
      bytesMax: options.bytesMax ?? limits.OUTBOX_BYTES_MAX,
      keptMax: options.keptMax ?? limits.OUTBOX_KEPT_MAX,
    };
  }

  /** With what waited when the daemon ended. Errors: store_corrupt. */
  static async open(components: OutboxComponents, options: OutboxOptions = {}): Promise<Outbox> {
    const outbox = new Outbox(components, options);
    const number = await components.store.get(NUMBER_KEY);
    if (number !== undefined) outbox.#seq = parseRow('number', number).seq;
    const all: Held[] = [];
    for await (const [, value] of components.store.range(...rowRange('outbox')))
      all.push(heldOf(parseRow('outbox', value)));
    all.sort((a, b) => a.row.message.seq - b.row.message.seq);
    for (const held of all) {
      outbox.#held.set(held.mid, held);
      if (held.row.over === null) outbox.#enqueue(held);
    }
    const over = all.filter(({ row }) => row.over !== null);
    over.sort((a, b) => (a.row.over?.atMs ?? 0) - (b.row.over?.atMs ?? 0));
    for (const held of over) outbox.#over.add(held);
    return outbox;
  }

  /** With messages that wait. */
  pairs(): Pair[] {
    return [...this.#queues.values()].filter(({ waiting }) => waiting.length > 0).map(({ pair }) => pair);
  }

  /**
   * Numbers a message and puts it behind those of its pair; on disk when it resolves. `ahead` is asked first, and
   * answers with the entry that says that it will be sent. Errors: full, of `ahead`, read_only.
   */
  async add({ message, grant }: NewMessage, ahead: (numbered: MessageFields) => Promise<string>): Promise<Outgoing> {
    const pair = { sender: message.iss, recipient: message.aud };
    const bytes = message.body.length;
    const queue = this.#queueOf(pair);
    this.#verifyRoom(queue, bytes);
    this.#reserve(queue, bytes, 1);
    try {
      // One after the other, so that numbers come to the disk in the order in which they are delivered.
      return await queue.adding.run(async () => {
        const numbered: MessageFields = { ...message, seq: this.#number() };
        const intent = await ahead(numbered);
        return this.#write(numbered, grant, intent);
      });
    } finally {
      this.#reserve(queue, bytes, -1);
      this.#tidy(queue);
    }
  }

  async #write(message: MessageFields, grant: string | null, intent: string): Promise<Outgoing> {
    const { body, slt, ...rest } = message;
    const createdMs = Math.floor(this.#components.clock.nowMs());
    const row: OutboxRow = {
      message: rest,
      content: { body, slt },
      bytes: body.length,
      grant,
      intent,
      createdMs,
      over: null,
    };
    await this.#components.store.batch(
      [
        { type: 'put', key: outboxKey(message.mid), value: encodeRow('outbox', row) },
        { type: 'put', key: NUMBER_KEY, value: encodeRow('number', { seq: this.#seq }) },
      ],
      { sync: true },
    );
    const held = heldOf(row);
    this.#held.set(held.mid, held);
    this.#enqueue(held);
    return outgoingOf(held);
  }

  /** The first of a pair that waits. */
  head(pair: Pair): Outgoing | undefined {
    const [first] = this.#queues.get(keyOf(pair))?.waiting ?? [];
    return first === undefined ? undefined : outgoingOf(first);
  }

  /** With its body. Errors: not_found, store_corrupt. */
  async content(mid: string): Promise<Content> {
    const held = this.#find(mid);
    const value = await this.#components.store.get(outboxKey(held.row.message.mid));
    const row = value === undefined ? undefined : parseRow('outbox', value);
    if (row === undefined || row.content === null)
      throw new MeshError('store_corrupt', `Cannot send message "${mid}": its content is gone`, { id: mid });
    return { message: { ...row.message, ...row.content }, grant: row.grant, intent: row.intent };
  }

  /** The entry that said that it will be sent. Errors: not_found. */
  intentOf(mid: string): string {
    return this.#find(mid).row.intent;
  }

  /** What came of a try that may be made again. Not written: after a restart it is tried at once. */
  tried(mid: string, code: ErrorCode, nextMs: number): void {
    const held = this.#held.get(mid);
    if (held === undefined || held.row.over !== null) return;
    held.tries += 1;
    held.code = code;
    held.nextMs = nextMs;
  }

  /**
   * It is over: delivered (code null), expired, or refused for good. Its body goes. Without a sync: what a crash takes
   * back is sent again, and kept once. Errors: read_only.
   */
  async settle(mid: string, code: ErrorCode | null): Promise<Outgoing> {
    const held = this.#find(mid);
    if (held.row.over !== null) return outgoingOf(held);
    const row: OutboxRow = {
      ...held.row,
      content: null,
      over: { code, atMs: Math.floor(this.#components.clock.nowMs()) },
    };
    await this.#components.store.batch(
      [{ type: 'put', key: outboxKey(row.message.mid), value: encodeRow('outbox', row) }],
      { sync: false },
    );
    this.#leave(held);
    held.row = row;
    if (stateOf(row) !== 'expired') held.tries += 1;
    held.nextMs = null;
    this.#over.add(held);
    this.#prune();
    return outgoingOf(held);
  }

  /** Waiting beyond their time, wherever they stand. */
  expired(): Outgoing[] {
    const nowMs = this.#components.clock.nowMs();
    return [...this.#queues.values()]
      .flatMap(({ waiting }) => waiting.filter(({ row }) => row.message.exp * 1000 <= nowMs))
      .map(outgoingOf);
  }

  /** Newest first; of one sender, where one is named. */
  list({ sender, max = limits.OUTBOX_PAGE_MAX }: { readonly sender?: string; readonly max?: number } = {}): Outgoing[] {
    return [...this.#held.values()]
      .filter(({ row }) => sender === undefined || row.message.iss === sender)
      .sort((a, b) => b.row.message.seq - a.row.message.seq)
      .slice(0, max)
      .map(outgoingOf);
  }

  // Room

  /** Errors: full. */
  #verifyRoom({ pair, waiting, reserved }: Queue, bytes: number): void {
    const { pairMax, senderMax, max, bytesMax } = this.#options;
    const bounds: readonly (readonly [is: number, want: number, what: string])[] = [
      [waiting.length + reserved + 1, pairMax, `messages to "${pair.recipient}"`],
      [(this.#bySender.get(pair.sender) ?? 0) + 1, senderMax, `messages of "${pair.sender}"`],
      [this.#waiting + 1, max, 'messages'],
      [this.#bytes + bytes, bytesMax, 'bytes'],
    ];
    for (const [is, want, what] of bounds) {
      if (is <= want) continue;
      throw new MeshError('full', `Cannot send a message: with it ${is} ${what} would wait, want <= ${want}`, {
        is,
        want,
      });
    }
  }

  #reserve(queue: Queue, bytes: number, by: 1 | -1): void {
    queue.reserved += by;
    this.#count(queue.pair, bytes, by);
  }

  #count({ sender }: Pair, bytes: number, by: 1 | -1): void {
    this.#waiting += by;
    this.#bytes += by * bytes;
    const left = (this.#bySender.get(sender) ?? 0) + by;
    if (left === 0) this.#bySender.delete(sender);
    else this.#bySender.set(sender, left);
  }

  // Queues

  /**
   * Higher than any before, also of a daemon that was put back to an older copy of its store: then a recipient would
   * take a number that it knows for one sent again.
   */
  #number(): number {
    this.#seq = Math.max(this.#seq + 1, Math.floor(this.#components.clock.nowMs()));
    return this.#seq;
  }

  #queueOf(pair: Pair): Queue {
    const known = this.#queues.get(keyOf(pair));
    if (known !== undefined) return known;
    const queue: Queue = { pair, waiting: [], adding: new Serial(), reserved: 0 };
    this.#queues.set(keyOf(pair), queue);
    return queue;
  }

  #enqueue(held: Held): void {
    const { iss, aud } = held.row.message;
    const queue = this.#queueOf({ sender: iss, recipient: aud });
    queue.waiting.push(held);
    this.#count(queue.pair, held.row.bytes, 1);
  }

  #leave(held: Held): void {
    const { iss, aud } = held.row.message;
    const queue = this.#queueOf({ sender: iss, recipient: aud });
    const at = queue.waiting.indexOf(held);
    if (at < 0) return;
    queue.waiting.splice(at, 1);
    this.#count(queue.pair, held.row.bytes, -1);
    this.#tidy(queue);
  }

  #tidy({ pair, waiting, reserved }: Queue): void {
    if (waiting.length === 0 && reserved === 0) this.#queues.delete(keyOf(pair));
  }

  /** Forgets what was over long ago, and of what is over the oldest beyond the bound. */
  #prune(): void {
    const { clock, store, log } = this.#components;
    const nowMs = clock.nowMs();
    const gone: Held[] = [];
    for (const held of this.#over) {
      const isOld = (held.row.over?.atMs ?? 0) + limits.OUTBOX_KEPT_MS <= nowMs;
      if (!isOld && this.#over.size - gone.length <= this.#options.keptMax) break;
      gone.push(held);
    }
    if (gone.length === 0) return;
    for (const held of gone) {
      this.#over.delete(held);
      this.#held.delete(held.mid);
    }
    const writes = gone.map(({ row }): StoreWrite => ({ type: 'del', key: outboxKey(row.message.mid) }));
    store
      .batch(writes, { sync: false })
      .catch((error: unknown) => log.warn({ error }, 'old messages cannot be removed'));
  }

  #find(mid: string): Held {
    const held = this.#held.get(mid);
    if (held !== undefined) return held;
    throw new MeshError('not_found', `Cannot find message "${mid}": there is none, or it was long ago`, { id: mid });
  }
}

const keyOf = ({ sender, recipient }: Pair): string => `${sender} ${recipient}`;

/** What is kept in memory holds no view of the row, and so no body. */
function heldOf(whole: OutboxRow): Held {
  const { content: _, message, ...rest } = whole;
  const row = { ...rest, message: { ...message, mid: message.mid.slice() } };
  return { row, mid: toHex(message.mid), tries: 0, code: null, nextMs: null };
}

function outgoingOf({ row, mid, tries, code, nextMs }: Held): Outgoing {
  const { message, bytes, createdMs, over } = row;
  return {
    mid,
    seq: message.seq,
    sender: message.iss,
    recipient: message.aud,
    contentType: message.ct,
    bytes,
    state: stateOf(row),
    code: over === null ? code : over.code,
    tries,
    createdMs,
    exp: message.exp,
    nextMs,
    overMs: over?.atMs ?? null,
  };
}

function stateOf({ over, message }: Held['row']): OutgoingState {
  if (over === null) return 'waiting';
  if (over.code === null) return 'delivered';
  return over.code === 'expired' && over.atMs >= message.exp * 1000 ? 'expired' : 'failed'; // a grant may have expired
}
