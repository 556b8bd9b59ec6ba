/**
 * Acme exposes a server; Beta's agent calls it by frames that a test makes by hand, honest or not. Both are whole nodes
 * over a network in memory; the server is a few tools in this process.
 */
import {
  type CallMessages,
  createCallMessages,
  type ReceivedFrame,
} from '../../../../daemon/core/calls/message-stream.ts';
import type { ConfiguredPolicy } from '../../../../daemon/core/governance/policy-library.ts';
import type { Session } from '../../../../daemon/core/sessions.ts';
import type { McpServerEnd, McpServerEvents, McpServers } from '../../../../daemon/ports.ts';
import { MemoryStore } from '../../../../daemon/store/memory.ts';
import { type CallFrameOf, type ExposureInput, openProof } from '../../../../protocol/call/index.ts';
import {
  DEFAULT_NETWORK,
  fromHex,
  isMeshError,
  type Json,
  type JsonObject,
  limits,
  protocolId,
} from '../../../../protocol/index.ts';
import { isObject, type Message } from '../../../../protocol/mcp/index.ts';
import {
  createOrder,
  type OrderStatement,
  parseReceiptPayload,
  requestCommitment,
  signReceiptPayload,
} from '../../../../protocol/receipt/index.ts';
import type { StatementSigner } from '../../../../protocol/index.ts';
import { keyOf } from '../../../builders.ts';
import { live, type Written, yaml } from '../governance/decide-world.ts';
import { entriesOf } from '../log/own-log.ts';
import { input, type Member, never, NodeWorld, operator } from '../node-world.ts';

export { live, yaml };

const PROTOCOL = protocolId(DEFAULT_NETWORK, 'call');
const utf8 = new TextEncoder();
export const encode = (value: Json): Uint8Array => utf8.encode(JSON.stringify(value));
export const decode = (bytes: Uint8Array | undefined): JsonObject =>
  JSON.parse(new TextDecoder().decode(bytes)) as JsonObject;

/** A server that does what its tools are called. */
export class FakeServer implements McpServerEnd {
  readonly events: McpServerEvents;
  /** Names of tools that it was asked to call. */
  readonly did: string[] = [];
  readonly sent: Message[] = [];
  isFull = false;
  readonly backlogBytes = 0;
  isPaused = false;
  isEnded = false;
  readonly paths = {
    canonicalPaths: (texts: readonly string[]) => texts.map((text) => (text.startsWith('/') ? text : `/srv/${text}`)),
  };

  constructor(events: McpServerEvents) {
    this.events = events;
  }

  send(message: Message): void {
    this.sent.push(message);
    if (message.kind !== 'request') return;
    const { id, method, params } = message;
    if (method === 'tools/list') {
      const tool = (name: string): Json => ({ name, description: name, inputSchema: { type: 'object' } });
      return this.say({ jsonrpc: '2.0', id, result: { tools: ['echo', 'read', 'fail', 'hang', 'die'].map(tool) } });
    }
    if (method !== 'tools/call' || !isObject(params)) return this.say({ jsonrpc: '2.0', id, result: {} });
    const name = typeof params['name'] === 'string' ? params['name'] : '';
    this.did.push(name);
    if (name === 'hang') return;
    if (name === 'die') return this.events.ended('exit code 1 in /srv/secret');
    const content = [{ type: 'text', text: JSON.stringify(params['arguments'] ?? null) }];
    this.say({ jsonrpc: '2.0', id, result: { content, ...(name === 'fail' && { isError: true }) } });
  }

  say(message: Json): void {
    this.events.message(encode(message));
  }

  setPaused(isPaused: boolean): void {
    this.isPaused = isPaused;
  }

  async end(): Promise<void> {
    this.isEnded = true;
  }
}

export class FakeServers implements McpServers {
  readonly opened: FakeServer[] = [];

  open(_server: unknown, events: McpServerEvents): FakeServer {
    const server = new FakeServer(events);
    this.opened.push(server);
    return server;
  }

  /** Tools that any of them was asked to call. */
  get did(): string[] {
    return this.opened.flatMap(({ did }) => did);
  }
}

export interface CallOptions {
  readonly n?: number;
  readonly key?: Uint8Array;
  readonly id?: string;
  /** In place of the session's. */
  readonly signer?: StatementSigner;
  /** In place of what the order should say. */
  readonly order?: Partial<Parameters<typeof createOrder>[0]>;
  /** In place of the whole message. */
  readonly body?: Uint8Array;
  readonly meta?: JsonObject;
}

/** Beta's end of a link. */
export class HandLink {
  readonly messages: CallMessages;
  session: Session;
  readonly server: string;
  readonly got: ReceivedFrame[] = [];
  readonly orders = new Map<number, OrderStatement>();
  readonly #world: CalleeWorld;
  isSigning = true;

  constructor(world: CalleeWorld, messages: CallMessages, session: Session, server: string) {
    this.#world = world;
    this.messages = messages;
    this.session = session;
    this.server = server;
    void this.#read();
  }

  async #read(): Promise<void> {
    try {
      for (;;) {
        const received = await this.messages.receive();
        if (received === undefined) return await this.messages.close();
        this.got.push(received);
        const { frame } = received;
        if (frame.f === 'result' && this.isSigning) await this.sign(frame);
      }
    } catch (error) {
      if (!isMeshError(error)) throw error;
    }
  }

  async sign({ n, rcpt }: CallFrameOf<'result'>, signer: StatementSigner = this.session.agreed.signer): Promise<void> {
    await this.messages.send({ f: 'sign', n, sig: signReceiptPayload(rcpt, signer) });
  }

  frames<N extends ReceivedFrame['frame']['f']>(name: N): CallFrameOf<N>[] {
    return this.got.map(({ frame }) => frame).filter((frame): frame is CallFrameOf<N> => frame.f === name);
  }

  /** JSON-RPC that came without an order. */
  said(): JsonObject[] {
    return this.got.filter(({ frame }) => frame.f === 'msg').map(({ body }) => decode(body));
  }

  /** Without waiting. */
  async start(tool: string, args: Json = {}, options: CallOptions = {}): Promise<number> {
    const n = options.n ?? this.#world.nextNumber(this.session.sid);
    const params = { name: tool, arguments: args, ...(options.meta !== undefined && { _meta: options.meta }) };
    const body =
      options.body ?? encode({ jsonrpc: '2.0', id: options.id ?? `call ${n}`, method: 'tools/call', params });
    const salt = keyOf(`salt ${n}`).publicKey.slice(4, 20);
    const { agreed, as, did } = this.session;
    const order = createOrder(
      {
        iat: Math.floor(this.#world.nodes.clock.nowMs() / 1000),
        iss: as,
        aud: did,
        sid: fromHex(this.session.sid) ?? new Uint8Array(),
        n,
        hs: agreed.hash,
        srv: this.server,
        req: requestCommitment(salt, body),
        ...(options.key !== undefined && { key: options.key }),
        ...options.order,
      },
      options.signer ?? agreed.signer,
    );
    this.orders.set(n, order);
    await this.messages.send({ f: 'call', n, order: order.envelope, salt }, body);
    return n;
  }

  /** What came of it. */
  async call(tool: string, args: Json = {}, options: CallOptions = {}, forMs = 200): Promise<Result> {
    const n = await this.start(tool, args, options);
    await this.#world.nodes.clock.advance(forMs);
    return this.result(n);
  }

  result(n: number): Result {
    const found = this.got.find(({ frame }) => frame.f === 'result' && frame.n === n);
    if (found === undefined)
      throw new Error(`no result of call ${n}; got ${this.got.map(({ frame }) => frame.f).join(' ')}`);
    const { frame, body } = found;
    const receipt = parseReceiptPayload((frame as CallFrameOf<'result'>).rcpt);
    const message = decode(body);
    const result = message['result'];
    const isError = isObject(result) && result['isError'] === true;
    const content =
      isObject(result) && Array.isArray(result['content']) ? (result['content'][0] as JsonObject) : undefined;
    const meta =
      isObject(result) && isObject(result['_meta']) ? (result['_meta']['agentmesh/decision'] as JsonObject) : undefined;
    const error = message['error'] as JsonObject | undefined;
    return {
      frame: frame as CallFrameOf<'result'>,
      body: body ?? new Uint8Array(),
      out: receipt.out,
      receipt,
      text: (content?.['text'] ?? error?.['message'] ?? '') as string,
      code: (meta?.['code'] ?? (isObject(error?.['data']) ? error['data']['code'] : undefined)) as string | undefined,
      isError: isError || error !== undefined,
    };
  }

  tell(message: Json): Promise<void> {
    return this.messages.send({ f: 'msg' }, encode(message));
  }

  cancel(requestId: string): Promise<void> {
    return this.tell({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId } });
  }

  ended(): CallFrameOf<'end'> | undefined {
    return this.frames('end')[0];
  }
}

export interface Result {
  readonly frame: CallFrameOf<'result'>;
  readonly body: Uint8Array;
  readonly out: string;
  readonly receipt: ReturnType<typeof parseReceiptPayload>;
  readonly text: string;
  readonly code: string | undefined;
  readonly isError: boolean;
}

type Grant = Omit<Parameters<Member['api']['delegationCreate']>[0]['body'], 'to'>;

export class CalleeWorld {
  readonly nodes = new NodeWorld();
  readonly servers = new FakeServers();
  sources: readonly ConfiguredPolicy[];
  #acme: Member | undefined;
  #beta: Member | undefined;
  store = new MemoryStore();
  /** Acme's agent, and Beta's. */
  clerk = '';
  reader = '';
  readonly #numbers = new Map<string, number>();
  #nonces = 0;

  constructor(sources: readonly ConfiguredPolicy[] = []) {
    this.sources = sources;
  }

  get acme(): Member {
    if (this.#acme === undefined) throw new Error('the world is not open');
    return this.#acme;
  }
  get beta(): Member {
    if (this.#beta === undefined) throw new Error('the world is not open');
    return this.#beta;
  }

  async open(exposed: Partial<ExposureInput> = {}): Promise<this> {
    await this.openAcme();
    this.#beta = await this.nodes.open('beta');
    this.nodes.mesh.connect(this.acme.network, this.beta.network);
    await this.nodes.clock.advance(200);
    this.clerk = await this.employ(this.acme, 'clerk');
    this.reader = await this.employ(this.beta, 'reader');
    await this.during(
      this.acme.node.calls.exposures.add({
        name: 'files',
        command: ['files'],
        cwd: '/srv',
        policy: 'permissive',
        ...exposed,
      }),
    );
    return this;
  }

  async openAcme(): Promise<void> {
    const load = async (): Promise<readonly ConfiguredPolicy[]> => this.sources;
    this.#acme = await this.nodes.open('acme', this.store, { governance: { load } }, { mcpServers: this.servers });
  }

  /** Closed as if it had been killed, as far as its store goes, and opened again. */
  async reopenAcme(): Promise<void> {
    const { network, node } = this.acme;
    await this.during(node.close(), 5_000);
    await network.close();
    await this.openAcme();
    this.nodes.mesh.connect(this.acme.network, this.beta.network);
    await this.nodes.clock.advance(1_000);
  }

  during<T>(work: Promise<T>, forMs = 500): Promise<T> {
    return this.nodes.during(work, forMs);
  }

  async close(): Promise<void> {
    const closing = this.nodes.close();
    await this.nodes.clock.advance(10_000);
    await closing;
  }

  async employ({ api }: Member, name: string): Promise<string> {
    const body = { name, sponsor: `${name}@example.com`, capabilities: [{ can: 'read:data/*' }] };
    return (await this.during(api.agentCreate(input(body), operator, never))).agent.did;
  }

  /** From Acme to Beta's agent. */
  async grant(grant: Grant = { capabilities: [{ can: 'mcp:files/*' }] }, to = this.reader): Promise<string> {
    const { link } = await this.during(this.acme.api.delegationCreate(input({ ...grant, to }), operator, never));
    await this.nodes.clock.advance(200);
    return link.id;
  }

  /** Beta's side of a session with Acme's agent. */
  async session(
    grant: string,
    capabilities: Grant['capabilities'] = [{ can: 'mcp:files/*' }],
    as = this.reader,
    from = this.beta,
  ): Promise<Session> {
    const work = from.node.handshake({ did: this.clerk, as, grant, capabilities: [...capabilities] }, never);
    return this.during(work, 1_000);
  }

  async openLink(
    session: Session,
    server = 'files',
    more: Partial<CallFrameOf<'open'>> = {},
    from = this.beta,
  ): Promise<HandLink> {
    const messages = await this.stream(session, from);
    const link = new HandLink(this, messages, session, server);
    await messages.send({ ...this.opening(session, server), ...more });
    await this.nodes.clock.advance(50);
    return link;
  }

  async stream(session: Session, { network }: Member): Promise<CallMessages> {
    const connection = network.connections().find(({ id }) => id === session.connection);
    if (connection === undefined) throw new Error('the connection is gone');
    const stream = await network.openStream(connection, 'call', { frameBytesMax: limits.CALL_FRAME_BYTES_MAX });
    return createCallMessages(stream, { clock: this.nodes.clock });
  }

  opening(session: Session, srv: string): CallFrameOf<'open'> {
    const { sid, non, sig } = this.proof(session, 'open', srv);
    return { f: 'open', v: 1, sid, srv, non, sig };
  }

  proof(session: Session, frame: 'open' | 'renew', subject: string) {
    const sid = fromHex(session.sid) ?? new Uint8Array();
    const non = keyOf(`nonce ${++this.#nonces}`).publicKey.slice(2);
    const { hash, signer } = session.agreed;
    return { sid, non, sig: openProof({ protocolId: PROTOCOL, hash, sid, frame, subject, nonce: non }, signer) };
  }

  nextNumber(sid: string): number {
    const n = (this.#numbers.get(sid) ?? 0) + 1;
    this.#numbers.set(sid, n);
    return n;
  }

  /** The usual: a grant, a session, a link. */
  async ready(grant?: Grant): Promise<HandLink> {
    const id = await this.grant(grant);
    return this.openLink(await this.session(id, grant?.capabilities));
  }

  /** Of Acme's log. */
  async written(...types: readonly string[]): Promise<Written[]> {
    await this.nodes.clock.advance(100);
    const entries = await entriesOf(this.acme.auditLog);
    return entries
      .map(({ type, data, id, subject }, index): Written => {
        return { ...data, id, subject, index, type: type.slice('agentmesh.'.length, -'.v1'.length) };
      })
      .filter(({ type }) => types.length === 0 || types.includes(type));
  }
}
