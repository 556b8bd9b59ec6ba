/** The calling side of calls made by hand: handshakes, links, orders and signatures as honest or as wrong as one likes. */
import { randomBytes } from 'node:crypto';
import {
  type CallMessages,
  createCallMessages,
  type ReceivedFrame,
} from '../../../daemon/core/calls/message-stream.ts';
import type { Presenter } from '../../../daemon/core/handshake.ts';
import { presenterFor } from '../../../daemon/core/presenter.ts';
import type { FrameStream, PeerConnection, Signer } from '../../../daemon/ports.ts';
import { type CallFrameOf, encodeCallFrame, openProof } from '../../../protocol/call/index.ts';
import {
  type Capability,
  createPresentation,
  encodeHandshakeFrame,
  isMeshError,
  limits,
  MeshError,
  parseReply,
  protocolId,
  signFrame,
  startTranscript,
  toHex,
  transcriptDigest,
  withMessage,
} from '../../../protocol/index.ts';
import {
  createOrder,
  type OrderFields,
  type OrderStatement,
  parseReceiptPayload,
  requestCommitment,
  signReceiptPayload,
} from '../../../protocol/receipt/index.ts';
import type { OwnNode } from '../own-node.ts';

export const PROTOCOL = protocolId('agentmesh', 'call');
const ANSWER_MS = 15_000; // two shared cores and other tests beside it
const utf8 = new TextEncoder();

export interface HandSession {
  readonly node: OwnNode;
  readonly connection: PeerConnection;
  readonly sid: Uint8Array;
  readonly hash: Uint8Array;
  readonly signer: Signer;
  readonly as: string;
  readonly to: string;
  /** Of the next call. */
  n: number;
  /** Its lifeline. */
  readonly stream: FrameStream;
  end(): void;
}

export interface HandShake {
  readonly peer: string;
  readonly as: string;
  readonly to: string;
  readonly grant?: string | undefined;
  readonly want?: readonly Capability[];
  /** Own agent that is shown; default `as`. */
  readonly shown?: string;
  /** What is shown in place of the truth, and who signs. */
  readonly forge?: (presenter: Presenter) => Presenter;
}

export function connectionTo({ network }: OwnNode, peer: string): PeerConnection {
  const found = network.connections().find((connection) => connection.peer === peer);
  if (found === undefined) throw new Error(`no connection to ${peer}`);
  return found;
}

/** Errors: what the other side refuses with. */
export async function shakeByHand(node: OwnNode, shake: HandShake): Promise<HandSession> {
  const { peer, as, to, grant, want = [], shown = as, forge = (presenter) => presenter } = shake;
  const { organisation, agents, state } = node.node;
  const {
    ident,
    grant: leaf,
    envelopes,
    signer,
  } = forge(await presenterFor({ state, organisation, agents, clock: node.clock }, shown, grant));
  const connection = connectionTo(node, peer);
  const stream = await node.network.openStream(connection, 'iatp', { frameBytesMax: limits.IATP_FRAME_BYTES_MAX });
  const { network } = node;
  const channel = {
    protocolId: protocolId('agentmesh', 'iatp'),
    initiator: network.peer,
    responder: peer,
    channelBinding: connection.channelBinding,
  };
  let transcript = startTranscript(channel);
  const say = async (frame: Uint8Array): Promise<void> => {
    transcript = withMessage(transcript, frame);
    await stream.send(frame);
  };
  const hear = async (): Promise<Uint8Array> => {
    const frame = await stream.receive({ timeoutMs: ANSWER_MS });
    if (frame === undefined) throw new MeshError('closed', 'Cannot shake hands: the stream ended');
    return frame;
  };
  try {
    await say(
      encodeHandshakeFrame('hello', { v: 1, did: as, to, non: new Uint8Array(randomBytes(32)), want, min: 300 }),
    );
    const offer = await hear();
    parseReply('offer', offer);
    transcript = withMessage(transcript, offer);
    const pres = createPresentation(
      { ...(ident !== undefined && { ident }), ...(leaf !== undefined && { grant: leaf }) },
      envelopes,
    );
    await say(signFrame('proof', 'I', transcript, { pres }, signer));
    const last = await hear();
    const { sid } = parseReply('result', last);
    transcript = withMessage(transcript, last);
    const end = (): void => stream.abort('over');
    return { node, connection, sid, hash: transcriptDigest(transcript), signer, as, to, n: 1, stream, end };
  } catch (error) {
    stream.abort('refused');
    throw error;
  }
}

type OpenFrame = CallFrameOf<'open'>;

/** A proof for this session, as the honest make it. */
export function openFrameOf({ sid, hash, signer }: HandSession, srv: string): OpenFrame {
  const non = new Uint8Array(randomBytes(limits.CALL_NONCE_BYTES));
  const claim = { protocolId: PROTOCOL, hash, sid, frame: 'open', subject: srv, nonce: non } as const;
  return { f: 'open', v: 1, sid, srv, non, sig: openProof(claim, signer) };
}

/** A stream of calls; the bound of what is sent is this side's own affair. */
export const streamTo = ({ node, connection }: Pick<HandSession, 'node' | 'connection'>): Promise<FrameStream> =>
  node.network.openStream(connection, 'call', { frameBytesMax: 2 ** 30 });

export interface OpenOptions {
  readonly srv?: string;
  /** In place of the honest first frame; its bytes where it is one that cannot be encoded. */
  readonly first?: OpenFrame | CallFrameOf<'ask'> | Uint8Array;
  /** Signs receipts; default true. */
  readonly isSigning?: boolean;
}

/** A link that was opened. Errors: what the other side refuses with. */
export async function openByHand(
  session: HandSession,
  { srv = 'witness', first = openFrameOf(session, srv), isSigning = true }: OpenOptions = {},
): Promise<HandLink> {
  const stream = await streamTo(session);
  const link = new HandLink(session, stream, srv, isSigning);
  await stream.send(first instanceof Uint8Array ? first : encodeCallFrame(first));
  const { frame } = await link.next(({ frame: { f } }) => f === 'opened' || f === 'rej' || f === 'told');
  if (frame.f !== 'rej') return link;
  stream.abort('refused');
  throw new MeshError(frame.code, frame.why, { side: 'peer' });
}

interface HandCall {
  readonly n?: number;
  /** Of the frame, where it is not that of the order. */
  readonly frameN?: number;
  readonly key?: string;
  /** In place of what the order should say. */
  readonly order?: Partial<OrderFields>;
  readonly signer?: Signer;
  /** Of the frame, where it is not that of the order. */
  readonly salt?: Uint8Array;
  readonly envelope?: Uint8Array;
  /** In place of the message that is ordered. */
  readonly message?: string | Uint8Array;
  /** In place of the body that goes out. */
  readonly body?: string;
}

export interface Outcome {
  readonly out: string;
  readonly code: string | undefined;
  readonly frame: CallFrameOf<'result'>;
}

export class HandLink {
  session: HandSession;
  readonly stream: FrameStream;
  readonly messages: CallMessages;
  readonly got: ReceivedFrame[] = [];
  readonly orders = new Map<number, OrderStatement>();
  readonly srv: string;
  isSigning: boolean;
  isOver = false;
  #changed = Promise.withResolvers<void>();

  constructor(session: HandSession, stream: FrameStream, srv: string, isSigning: boolean) {
    this.session = session;
    this.stream = stream;
    this.srv = srv;
    this.isSigning = isSigning;
    this.messages = createCallMessages(stream, { clock: session.node.clock });
    void this.#read();
  }

  async #read(): Promise<void> {
    try {
      for (let one = await this.messages.receive(); one !== undefined; one = await this.messages.receive()) {
        this.got.push(one);
        if (one.frame.f === 'result' && this.isSigning) await this.sign(one.frame);
        this.#tell();
      }
    } catch (error) {
      if (!isMeshError(error)) throw error; // the other side ended it, or this one
    }
    this.isOver = true;
    this.#tell();
  }

  #tell(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }

  /** Errors: closed, timeout. */
  async next(isMeant: (received: ReceivedFrame) => boolean, withinMs = ANSWER_MS): Promise<ReceivedFrame> {
    const late = performance.now() + withinMs;
    for (;;) {
      const found = this.got.find(isMeant);
      if (found !== undefined) return found;
      if (this.isOver) throw new MeshError('closed', 'Cannot wait: the link is over');
      if (performance.now() > late) throw new MeshError('timeout', 'Cannot wait longer');
      await Promise.race([this.#changed.promise, new Promise((resolve) => setTimeout(resolve, 50))]);
    }
  }

  orderOf(body: Uint8Array, salt: Uint8Array, n: number, { key, order, signer }: HandCall): OrderStatement {
    const { as, to, sid, hash, signer: own } = this.session;
    const made = createOrder(
      {
        iat: Math.floor(Date.now() / 1000),
        iss: as,
        aud: to,
        sid,
        n,
        hs: hash,
        srv: this.srv,
        req: requestCommitment(salt, body),
        ...(key !== undefined && { key: utf8.encode(key) }),
        ...order,
      },
      signer ?? own,
    );
    this.orders.set(n, made);
    return made;
  }

  /** The frame of a call and its body, not sent yet. */
  prepare(tool: string, args: object, options: HandCall = {}): [frame: CallFrameOf<'call'>, body: Uint8Array] {
    const n = options.n ?? this.session.n++;
    const { message = toolCall(`call ${n}`, tool, args) } = options;
    const ordered = typeof message === 'string' ? utf8.encode(message) : message;
    const salt = new Uint8Array(randomBytes(limits.CALL_SALT_BYTES));
    const order = options.envelope ?? this.orderOf(ordered, salt, n, options).envelope;
    const frame = { f: 'call', n: options.frameN ?? n, order, salt: options.salt ?? salt } as const;
    return [frame, options.body === undefined ? ordered : utf8.encode(options.body)];
  }

  /** Without waiting for what comes of it. */
  async start(tool: string, args: object, options: HandCall = {}): Promise<number> {
    const [frame, body] = this.prepare(tool, args, options);
    await this.messages.send(frame, body);
    return frame.n;
  }

  /** Errors: closed (the link ended), timeout. */
  async outcome(n: number, withinMs?: number): Promise<Outcome> {
    const { frame, body = new Uint8Array() } = await this.next(
      ({ frame: is }) => is.f === 'result' && is.n === n,
      withinMs,
    );
    const result = frame as CallFrameOf<'result'>;
    return { out: parseReceiptPayload(result.rcpt).out, code: codeOf(body), frame: result };
  }

  async call(tool: string, args: object, options: HandCall = {}): Promise<Outcome> {
    return this.outcome(await this.start(tool, args, options));
  }

  async tell(message: string | Uint8Array): Promise<void> {
    await this.messages.send({ f: 'msg' }, typeof message === 'string' ? utf8.encode(message) : message);
  }

  async sign({ n, rcpt }: CallFrameOf<'result'>, signer: Signer = this.session.signer): Promise<void> {
    await this.messages.send({ f: 'sign', n, sig: signReceiptPayload(rcpt, signer) });
  }

  /** How it ended: the code that the other side gave, or `aborted` where it gave none. */
  async ended(withinMs = ANSWER_MS): Promise<string> {
    try {
      const { frame } = await this.next(({ frame: { f } }) => f === 'end', withinMs);
      return (frame as CallFrameOf<'end'>).code;
    } catch (error) {
      if (isMeshError(error) && error.code === 'closed') return 'aborted';
      throw error;
    }
  }

  close(): void {
    this.messages.abort('over');
  }
}

export const toolCall = (id: string, name: string, args: object): string =>
  JSON.stringify({ jsonrpc: '2.0', id, method: 'tools/call', params: { name, arguments: args } });

type Members = Readonly<Record<string, unknown>>;
const membersOf = (value: unknown): Members =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Members) : {};

/** The code with which a client is refused. */
function codeOf(body: Uint8Array): string | undefined {
  const { result, error } = membersOf(JSON.parse(new TextDecoder().decode(body)));
  const decision = membersOf(membersOf(membersOf(result)['_meta'])['agentmesh/decision']);
  const code = decision['code'] ?? membersOf(membersOf(error)['data'])['code'];
  return typeof code === 'string' ? code : undefined;
}

/**
 * Bytes of which the transport is told another number: less, and what is left over goes out behind the frame as it is;
 * more, and the frame never ends. So whatever a raw stream could carry goes over one of frames.
 */
function lyingAbout(bytes: Uint8Array, length: number): Uint8Array {
  const lying = new Uint8Array(bytes);
  let asked = 0;
  Object.defineProperty(lying, 'length', { get: () => (asked++ === 0 ? length : bytes.length) });
  return lying;
}

export const sendRaw = (stream: FrameStream, bytes: Uint8Array, claimed: number): Promise<void> =>
  stream.send([lyingAbout(bytes, claimed)]);

export const hexOf = ({ sid }: HandSession): string => toHex(sid);
