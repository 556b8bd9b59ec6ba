/**
 * What of several messages is sent next (SPEC "Calls", order). Frames without a body first. Then bodies in the order
 * in which they were given, save that calls and results may overtake one another: large ones take turns by parts, with a
 * small one in between. Whatever else has a body waits for all before it and holds back all after it, since it may be
 * about them; so does `end`.
 */
import { limits, MeshError } from '../../../protocol/index.ts';
import type { FrameBytes } from '../../ports.ts';
import { type CallFrame, encodeCallFrame, encodePartFrame } from '../../../protocol/call/index.ts';

/** A message that waits. */
export interface Outgoing {
  readonly frame: CallFrame;
  /** As it goes out; undefined for a large body, which goes out in parts. */
  readonly whole: Uint8Array | undefined;
  readonly body: Uint8Array | undefined;
  /** That count while it waits; becomes less as it is sent. */
  bytes: number;
  readonly sent: PromiseWithResolvers<void>;
}

/** Errors: schema, too_large. */
export function outgoingOf(frame: CallFrame, body: Uint8Array | undefined): Outgoing {
  if (body !== undefined && body.length > limits.MCP_MESSAGE_BYTES_MAX) throw tooLarge(body.length);
  const isLarge = body !== undefined && body.length > limits.CALL_INLINE_BYTES_MAX;
  // A large one is encoded again under its number; what is wrong with it must show now.
  const first = encodeCallFrame(frame, body && (isLarge ? { m: 1, size: body.length } : { inline: body }));
  const bytes = limits.CALL_QUEUE_MESSAGE_BYTES + (isLarge ? body.length : first.length);
  return { frame, whole: isLarge ? undefined : first, body, bytes, sent: Promise.withResolvers() };
}

/** One frame to be sent now. */
export interface Dispatch {
  readonly bytes: FrameBytes;
  readonly of: Outgoing;
  /** Of what its message counts, that it settles. */
  readonly settles: number;
  readonly isLast: boolean;
}

interface BegunBody {
  readonly of: Outgoing;
  readonly body: Uint8Array;
  readonly m: number;
  at: number;
}

/** What may be overtaken by its like. */
const isFree = ({ frame: { f } }: Outgoing): boolean => f === 'call' || f === 'result';
const isControl = ({ frame: { f }, body }: Outgoing): boolean => body === undefined && f !== 'end';

export class SendQueue {
  readonly #control: Outgoing[] = [];
  readonly #waiting: Outgoing[] = [];
  /** The first is next. */
  readonly #begun: BegunBody[] = [];
  #bodies = 0;
  #wasPart = false;

  get isEmpty(): boolean {
    return this.#control.length + this.#waiting.length + this.#begun.length === 0;
  }

  push(message: Outgoing): void {
    (isControl(message) ? this.#control : this.#waiting).push(message);
  }

  next(): Dispatch | undefined {
    const control = this.#control.shift();
    if (control?.whole !== undefined) return wholeOf(control, control.whole);
    this.#begin();
    return this.#small() ?? this.#part();
  }

  /** All that was in it. */
  clear(): Outgoing[] {
    return [...this.#begun.splice(0).map(({ of }) => of), ...this.#control.splice(0), ...this.#waiting.splice(0)];
  }

  #mayGo(message: Outgoing): boolean {
    const [first] = this.#begun;
    return first === undefined || (isFree(first.of) && isFree(message));
  }

  #begin(): void {
    for (;;) {
      const [head] = this.#waiting;
      if (head?.body === undefined || head.whole !== undefined || !this.#mayGo(head)) return;
      if (this.#begun.length === limits.CALL_OPEN_BODIES_SENT_MAX) return;
      this.#waiting.shift();
      this.#begun.push({ of: head, body: head.body, m: ++this.#bodies, at: 0 });
    }
  }

  #small(): Dispatch | undefined {
    const [head] = this.#waiting;
    const isTurn = this.#wasPart || this.#begun.length === 0;
    if (head?.whole === undefined || !isTurn || !this.#mayGo(head)) return undefined;
    this.#waiting.shift();
    this.#wasPart = false;
    return wholeOf(head, head.whole);
  }

  #part(): Dispatch | undefined {
    const begun = this.#begun.shift();
    if (begun === undefined) return undefined;
    this.#wasPart = true;
    const { of, body, m, at } = begun;
    if (at === body.length) {
      return { bytes: encodeCallFrame(of.frame, { m, size: body.length }), of, settles: of.bytes, isLast: true };
    }
    const part = body.subarray(at, at + limits.CALL_PART_BYTES);
    begun.at += part.length;
    if (begun.at === body.length) this.#begun.unshift(begun);
    else this.#begun.push(begun);
    return { bytes: encodePartFrame(m, part), of, settles: part.length, isLast: false };
  }
}

const wholeOf = (of: Outgoing, bytes: Uint8Array): Dispatch => ({ bytes, of, settles: of.bytes, isLast: true });

const tooLarge = (is: number): MeshError =>
  new MeshError('too_large', `Cannot send a message: ${is} bytes, want at most ${limits.MCP_MESSAGE_BYTES_MAX}`, {
    is,
    want: limits.MCP_MESSAGE_BYTES_MAX,
  });
