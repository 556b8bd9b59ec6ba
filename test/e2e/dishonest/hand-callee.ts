/**
 * A callee made by hand: whoever opens a link gets a server that lists a tool and does what it is asked, with takings
 * and receipts as they should be, until a script says otherwise. The handshakes under it are the daemon's own.
 */
import { randomBytes } from 'node:crypto';
import { type CallMessages, createCallMessages } from '../../../daemon/core/calls/message-stream.ts';
import type { Session, Sessions } from '../../../daemon/core/sessions.ts';
import type { Clock, FrameStream, Network, Signer } from '../../../daemon/ports.ts';
import type { CallFrameOf } from '../../../protocol/call/index.ts';
import { isMeshError, limits, parseStatementOf, toHex } from '../../../protocol/index.ts';
import {
  type CallOutcome,
  createTaking,
  type OrderStatement,
  receiptPayload,
  requestCommitment,
  signReceiptPayload,
} from '../../../protocol/receipt/index.ts';

export interface AnswerOptions {
  readonly n?: number;
  /** Of which the receipt is. */
  readonly order?: OrderStatement;
  readonly out?: CallOutcome;
  readonly signer?: Signer;
  /** Who is named as the callee. */
  readonly calleeKey?: Uint8Array;
  /** That goes out in place of the one that the receipt commits to. */
  readonly swapped?: string;
  readonly salt?: Uint8Array;
  /** In place of the whole payload, signed as the rest. */
  readonly payload?: (honest: Uint8Array) => Uint8Array;
  readonly sig?: Uint8Array;
}

/** One call as the dishonest callee has it. */
export interface Taken {
  readonly link: DishonestLink;
  readonly frame: CallFrameOf<'call'>;
  readonly order: OrderStatement;
  readonly id: string | number;
  readonly args: Readonly<Record<string, unknown>>;
  take(options?: { readonly order?: OrderStatement; readonly signer?: Signer; readonly n?: number }): Promise<void>;
  /** The result as text, or the members of the message that is the answer. */
  answer(result: string | object, options?: AnswerOptions): Promise<void>;
}

export interface Script {
  /** Default: takes it, and answers `did it`. */
  readonly call?: (call: Taken) => Promise<void>;
  /** In place of its answer to tools/list. */
  readonly tools?: readonly object[];
  readonly server?: string;
  /** Reads nothing more once the first call came. */
  readonly isDeaf?: boolean;
}

const utf8 = new TextEncoder();
const HONEST_TOOLS: readonly object[] = [
  { name: 'note', description: 'Writes a note', inputSchema: { type: 'object' } },
];

export class DishonestCallee {
  script: Script = {};
  readonly links: DishonestLink[] = [];
  #sessions: Pick<Sessions, 'get'> | undefined;
  #clock: Clock | undefined;

  /** Once the node under it is there. */
  attach(sessions: Pick<Sessions, 'get'>, clock: Clock): void {
    this.#sessions = sessions;
    this.#clock = clock;
  }

  /** Takes the place of what the core would do with streams of calls. */
  readonly wrap = (network: Network): Network =>
    new Proxy(network, {
      get: (target, key: keyof Network) => {
        if (key === 'handle') {
          const handle: Network['handle'] = (name, options, handler) =>
            target.handle(name, options, name === 'call' ? (stream) => this.#serve(stream) : handler);
          return handle;
        }
        const value: unknown = target[key];
        return typeof value === 'function' ? (value.bind(target) as unknown) : value; // its fields are private
      },
    });

  async #serve(stream: FrameStream): Promise<void> {
    if (this.#clock === undefined) return stream.abort('not there yet');
    const messages = createCallMessages(stream, { clock: this.#clock });
    const first = await messages.receive({ timeoutMs: 5_000 });
    const { frame } = first ?? {};
    const session = frame !== undefined && 'sid' in frame ? this.#sessions?.get(toHex(frame.sid)) : undefined;
    if (frame?.f !== 'open' || session === undefined) {
      await messages.send({ f: 'rej', code: 'not_found', why: 'nothing here' });
      return messages.close();
    }
    const link = new DishonestLink(this, stream, messages, session);
    this.links.push(link);
    await messages.send({ f: 'opened' });
    await link.run();
  }
}

export class DishonestLink {
  readonly stream: FrameStream;
  readonly messages: CallMessages;
  readonly session: Session;
  readonly got: string[] = [];
  readonly orders: OrderStatement[] = [];
  readonly #callee: DishonestCallee;

  constructor(callee: DishonestCallee, stream: FrameStream, messages: CallMessages, session: Session) {
    this.#callee = callee;
    this.stream = stream;
    this.messages = messages;
    this.session = session;
  }

  async run(): Promise<void> {
    try {
      for (let one = await this.messages.receive(); one !== undefined; one = await this.messages.receive()) {
        const { frame, body = new Uint8Array() } = one;
        this.got.push(
          frame.f === 'decline' ? `decline ${frame.code}` : frame.f === 'end' ? `end ${frame.code}` : frame.f,
        );
        if (frame.f === 'end') break;
        if (frame.f === 'renew') await this.messages.send({ f: 'renewed', sid: frame.sid });
        if (frame.f === 'msg') await this.#said(body);
        if (frame.f !== 'call') continue;
        const called = this.#called(frame, body).catch(gone);
        if (this.#callee.script.isDeaf === true) await called;
      }
    } catch (error) {
      gone(error);
    }
    await this.messages.close();
  }

  tell(message: object): Promise<void> {
    return this.messages.send({ f: 'msg' }, utf8.encode(JSON.stringify({ jsonrpc: '2.0', ...message })));
  }

  async #said(body: Uint8Array): Promise<void> {
    const { id, method, params } = JSON.parse(new TextDecoder().decode(body)) as {
      readonly id?: number;
      readonly method?: string;
      readonly params?: { readonly protocolVersion?: string };
    };
    this.got.push(`msg ${method ?? 'answer'}`);
    if (id === undefined || method === undefined) return;
    const { tools = HONEST_TOOLS, server = 'note-taker' } = this.#callee.script;
    const about = {
      protocolVersion: params?.protocolVersion,
      capabilities: { tools: { listChanged: true } },
      serverInfo: { name: server, version: '1' },
    };
    await this.tell({ id, result: method === 'initialize' ? about : method === 'tools/list' ? { tools } : {} });
  }

  async #called(frame: CallFrameOf<'call'>, body: Uint8Array): Promise<void> {
    const order = parseStatementOf('call/v1', frame.order);
    this.orders.push(order);
    const { id, params } = JSON.parse(new TextDecoder().decode(body)) as {
      readonly id: number;
      readonly params?: { readonly arguments?: Readonly<Record<string, unknown>> };
    };
    const call: Taken = {
      link: this,
      frame,
      order,
      id,
      args: params?.arguments ?? {},
      take: async ({ order: of = order, signer = this.session.agreed.signer, n = frame.n } = {}) => {
        const { envelope } = createTaking(of, { iat: Math.floor(Date.now() / 1000) }, signer);
        await this.messages.send({ f: 'taken', n, stmt: envelope });
      },
      answer: (result, options = {}) => this.#answer(call, result, options),
    };
    const { call: plays = honestly } = this.#callee.script;
    await plays(call);
  }

  async #answer({ frame, order, id }: Taken, result: string | object, options: AnswerOptions): Promise<void> {
    const { signer: own } = this.session.agreed;
    const { n = frame.n, order: of = order, out = 'ok', signer = own, calleeKey = signer.publicKey } = options;
    const messageOf = (one: string | object): Uint8Array =>
      utf8.encode(
        JSON.stringify({
          jsonrpc: '2.0',
          id,
          ...(typeof one === 'string' ? { result: { content: [{ type: 'text', text: one }] } } : one),
        }),
      );
    const committed = messageOf(result);
    const salt = new Uint8Array(randomBytes(limits.CALL_SALT_BYTES));
    const [now, res] = [Date.now(), requestCommitment(salt, committed)];
    const happened = { res, out, startMs: now, endMs: now, iat: Math.floor(now / 1000) };
    const honest = receiptPayload(of, { ...happened, calleeKey });
    const payload = options.payload?.(honest) ?? honest;
    await this.messages.send(
      {
        f: 'result',
        n,
        rcpt: payload,
        sig: options.sig ?? signReceiptPayload(payload, signer),
        salt: options.salt ?? salt,
      },
      options.swapped === undefined ? committed : messageOf(options.swapped),
    );
  }
}

export const honestly = async (call: Taken): Promise<void> => {
  await call.take();
  await call.answer('did it');
};

/** What a peer that is gone leaves behind. */
function gone(error: unknown): void {
  if (!isMeshError(error)) throw error;
}
