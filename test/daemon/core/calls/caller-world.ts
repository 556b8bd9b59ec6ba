/**
 * Beta's agent calls Acme's: real handshakes, sessions, streams and receipts over a network in memory; Acme's side of a
 * link is whatever a test says, honest or not. What Beta's policies say is a switch.
 */
import { Caller, type CallerLink, type LinkControl, type LinkWanted } from '../../../../daemon/core/calls/caller.ts';
import type { NewReceipt } from '../../../../daemon/core/calls/receipts.ts';
import {
  type CallMessages,
  createCallMessages,
  type ReceivedFrame,
} from '../../../../daemon/core/calls/message-stream.ts';
import type { Governance } from '../../../../daemon/core/governance/governance.ts';
import type { Session } from '../../../../daemon/core/sessions.ts';
import { type CallFrameOf, verifyOpenProof } from '../../../../protocol/call/index.ts';
import {
  DEFAULT_NETWORK,
  type ErrorCode,
  isMeshError,
  type Json,
  limits,
  MeshError,
  parseStatementOf,
  protocolId,
  type Statement,
  toHex,
  verifyChain,
} from '../../../../protocol/index.ts';
import type { GateRequest, Outcome, Verdict } from '../../../../protocol/policy/index.ts';
import {
  type CallOutcome,
  createTaking,
  type OrderStatement,
  receiptPayload,
  requestCommitment,
  signReceiptPayload,
} from '../../../../protocol/receipt/index.ts';
import { isSignatureValidSodium } from '../../../../protocol/sodium.ts';
import { createCredential, createHeartbeat, keyOf } from '../../../builders.ts';
import { seededRandom } from '../../../fuzz/random.ts';
import { verdict as sampleVerdict } from '../../../protocol/mcp/sample.ts';
import { createHandshakeWorld, grantTo, type Party, quiet, type World } from '../handshake-world.ts';
import { settle } from '../virtual-clock.ts';

export const PROTOCOL = protocolId(DEFAULT_NETWORK, 'call');
const HEARTBEAT_MS = 20_000; // so that nobody's knowledge grows old
const utf8 = new TextEncoder();
const json = (bytes: Uint8Array | undefined): Json => JSON.parse(new TextDecoder().decode(bytes)) as Json;
export const encode = (value: Json): Uint8Array => utf8.encode(JSON.stringify(value));

/** A call as it came to Acme. */
export interface Came {
  readonly order: OrderStatement;
  readonly frame: CallFrameOf<'call'>;
  readonly body: Uint8Array;
  readonly request: { readonly id: Json; readonly method: string; readonly params: Readonly<Record<string, Json>> };
}

/** What Acme gives with a result; change anything to be dishonest. */
export interface Given {
  body: Uint8Array;
  rcpt: Uint8Array;
  sig: Uint8Array;
  salt: Uint8Array;
  n: number;
}

/** Acme's end of one link. */
export class FakeCallee {
  readonly messages: CallMessages;
  readonly came: ReceivedFrame[] = [];
  session: Session;
  /** Of the first frame. */
  readonly server: string;
  readonly #sessionOf: (sid: string) => Session;
  readonly #acts: (callee: FakeCallee, came: Came) => void;
  #salts = 0;

  constructor(
    messages: CallMessages,
    session: Session,
    server: string,
    parts: { sessionOf: (sid: string) => Session; acts: (callee: FakeCallee, came: Came) => void },
  ) {
    this.messages = messages;
    this.session = session;
    this.server = server;
    this.#sessionOf = parts.sessionOf;
    this.#acts = parts.acts;
  }

  /** Calls that came, oldest first. */
  readonly calls: Came[] = [];

  /** JSON-RPC messages without an order. */
  said(): Json[] {
    return this.came.filter(({ frame }) => frame.f === 'msg').map(({ body }) => json(body));
  }
  cancelled(): Json[] {
    return this.said().flatMap((message) => {
      const { method, params } = message as { method?: string; params?: { requestId?: Json } };
      return method === 'notifications/cancelled' ? [params?.requestId ?? null] : [];
    });
  }
  frames(name: ReceivedFrame['frame']['f']): ReceivedFrame['frame'][] {
    return this.came.map(({ frame }) => frame).filter(({ f }) => f === name);
  }

  async serve(): Promise<void> {
    for (;;) {
      const received = await this.messages.receive();
      if (received === undefined) return this.messages.close();
      this.came.push(received);
      const { frame, body = new Uint8Array() } = received;
      if (frame.f === 'call') {
        const order = parseStatementOf('call/v1', frame.order);
        const came: Came = { order, frame, body, request: json(body) as unknown as Came['request'] };
        this.calls.push(came);
        this.#acts(this, came);
      } else if (frame.f === 'renew') {
        const session = this.#sessionOf(toHex(frame.sid));
        const { hash, peerKey } = session.agreed;
        const claim = { protocolId: PROTOCOL, hash, sid: frame.sid, frame: 'renew', subject: this.server } as const;
        verifyOpenProof({ ...claim, nonce: frame.non }, frame.sig, peerKey, isSignatureValidSodium);
        this.session = session;
        await this.messages.send({ f: 'renewed', sid: frame.sid });
      } else if (frame.f === 'msg') this.#answerHousekeeping(json(body));
    }
  }

  #answerHousekeeping(message: Json): void {
    const { id, method } = message as { id?: Json; method?: string };
    if (id === undefined || method === undefined) return;
    const result: Json =
      method === 'tools/list'
        ? { tools: [{ name: 'read', description: 'reads', inputSchema: { type: 'object' } }] }
        : { protocolVersion: '2025-11-25', capabilities: { tools: {} }, serverInfo: { name: 'files', version: '1' } };
    this.say({ jsonrpc: '2.0', id, result });
  }

  say(message: Json): void {
    void this.messages.send({ f: 'msg' }, encode(message));
  }

  /** An order names its session. */
  sessionOf({ order }: Came): Session {
    return this.#sessionOf(toHex(order.payload.sid));
  }

  take(came: Came, by: Session = this.sessionOf(came)): void {
    const taking = createTaking(came.order, { iat: came.order.payload.iat }, by.agreed.signer);
    void this.messages.send({ f: 'taken', n: came.frame.n, stmt: taking.envelope });
  }

  /** A result with its receipt; `change` sees it before it is sent. */
  answer(came: Came, result: Json, out: CallOutcome = 'ok', change: (given: Given) => void = () => {}): Given {
    const { signer } = this.sessionOf(came).agreed;
    const body = encode({ jsonrpc: '2.0', id: came.request.id, result });
    const salt = new Uint8Array(limits.CALL_SALT_BYTES).fill(++this.#salts);
    const startMs = came.order.payload.iat * 1000;
    const rcpt = receiptPayload(came.order, {
      res: requestCommitment(salt, body),
      out,
      startMs,
      endMs: startMs + 5,
      iat: came.order.payload.iat,
      calleeKey: signer.publicKey,
    });
    const given: Given = { body, rcpt, sig: signReceiptPayload(rcpt, signer), salt, n: came.frame.n };
    change(given);
    this.give(given);
    return given;
  }

  give({ body, ...frame }: Given): void {
    void this.messages.send({ f: 'result', ...frame }, body);
  }
}

/** Beta's client. */
export class Client {
  readonly lines: Json[] = [];
  readonly controls: LinkControl[] = [];
  readonly endings: { readonly code: ErrorCode; readonly message: string }[] = [];
  link: CallerLink | undefined;

  readonly events = {
    line: (bytes: Uint8Array): void => void this.lines.push(json(bytes)),
    control: (control: LinkControl): void => void this.controls.push(control),
    ended: (code: ErrorCode, message: string): void => void this.endings.push({ code, message }),
  };

  send(message: Json): void {
    this.link?.fromClient(encode(message));
  }
  call(id: number, args: Json = {}, meta?: Json): void {
    const params = { name: 'read', arguments: args, ...(meta !== undefined && { _meta: meta }) };
    this.send({ jsonrpc: '2.0', id, method: 'tools/call', params });
  }
  answerTo(id: number): Json | undefined {
    return this.lines.find((line) => (line as { id?: Json }).id === id && !('method' in (line as object)));
  }
  codeOf(id: number): Json | undefined {
    const answer = this.answerTo(id) as
      | { result?: { _meta?: Record<string, { code: Json }> }; error?: { data?: { code: Json } } }
      | undefined;
    return answer?.result?._meta?.['agentmesh/decision']?.code ?? answer?.error?.data?.code;
  }
  receipts(): Extract<LinkControl, { type: 'receipt' }>[] {
    return this.controls.flatMap((control) => (control.type === 'receipt' ? [control] : []));
  }
}

export interface CallerWorld extends World {
  readonly acme: Party;
  readonly beta: Party;
  readonly caller: Caller;
  readonly grant: Statement<'delegation/v1'>;
  readonly callees: FakeCallee[];
  readonly kept: NewReceipt[];
  readonly settled: { readonly id: string; readonly outcome: Outcome }[];
  readonly decided: GateRequest[];
  readonly is: {
    /** In place of an allowance. */
    decides: (request: GateRequest) => Partial<Verdict>;
    /** What Acme does with a call; default: takes and answers it. */
    acts: (callee: FakeCallee, came: Came) => void;
    /** Refuses a link. */
    rejects: { readonly code: ErrorCode; readonly why: string } | undefined;
  };
  open(client: Client, wanted?: Partial<LinkWanted>, signal?: AbortSignal): Promise<void>;
  callee(): FakeCallee;
  pass(ms?: number): Promise<void>;
}

export const honest = (callee: FakeCallee, came: Came): void => {
  callee.take(came);
  callee.answer(came, { content: [{ type: 'text', text: `did ${JSON.stringify(came.request.params['arguments'])}` }] });
};

export async function createCallerWorld(): Promise<CallerWorld> {
  const world = await createHandshakeWorld();
  const [acme, beta] = world.parties as readonly [Party, Party];
  acme.network.setBound(beta.network.peer, true);
  beta.network.setBound(acme.network.peer, true);
  const grant = grantTo(world, acme, beta, { cap: [{ can: 'mcp:files/*' }] });
  const nowSeconds = (): number => Math.floor(world.clock.nowMs() / 1000);
  let credentials = 0;
  beta.is.presents = (usual) => {
    if (usual.grant === undefined) return usual;
    const key = keyOf(`credential ${++credentials}`);
    const iat = nowSeconds();
    const credential = createCredential(grant, beta.agent, key, { iat, nbf: iat, exp: iat + 900 });
    return {
      ...usual,
      grant: credential.id,
      signer: key,
      envelopes: [credential.envelope, ...usual.envelopes.slice(1)],
    };
  };
  let heartbeats = 0;
  const beat = (): void => {
    const nonce = new Uint8Array(16);
    nonce.set([++heartbeats >> 8, heartbeats & 255]);
    for (const { organisation } of world.parties)
      for (const { state } of world.parties)
        state.admit(createHeartbeat(organisation, { iat: nowSeconds(), nonce }), world.clock.nowMs(), {
          askedMs: world.clock.nowMs(),
        });
  };
  const callees: FakeCallee[] = [];
  const kept: NewReceipt[] = [];
  const settled: CallerWorld['settled'] = [];
  const decided: GateRequest[] = [];
  const is: CallerWorld['is'] = { decides: () => ({}), acts: honest, rejects: undefined };
  const inbound = new Map<string, Session>();
  const sessionOf = (sid: string): Session => {
    const session = acme.sessions.get(sid) ?? inbound.get(sid);
    if (session === undefined) throw new Error(`no session ${sid}`);
    inbound.set(sid, session);
    return session;
  };

  await acme.network.handle(
    'call',
    { frameBytesMax: limits.CALL_FRAME_BYTES_MAX, inboundStreamsMax: 64, unbound: false },
    async (stream) => {
      const messages = createCallMessages(stream, { clock: world.clock });
      const first = await messages.receive();
      if (first?.frame.f !== 'open') throw new Error('no open frame');
      const { sid, srv, non, sig } = first.frame;
      if (is.rejects !== undefined) {
        await messages.send({ f: 'rej', ...is.rejects });
        return messages.close();
      }
      const session = sessionOf(toHex(sid));
      const claim = { protocolId: PROTOCOL, hash: session.agreed.hash, sid, subject: srv, nonce: non } as const;
      verifyOpenProof({ ...claim, frame: 'open' }, sig, session.agreed.peerKey, isSignatureValidSodium);
      await messages.send({ f: 'opened' });
      const callee = new FakeCallee(messages, session, srv, { sessionOf, acts: (...of) => is.acts(...of) });
      callees.push(callee);
      try {
        await callee.serve();
      } catch (error) {
        if (!isMeshError(error) || error.code !== 'closed') throw error;
      }
    },
  );

  let decisions = 0;
  const governance: Pick<Governance, 'decide' | 'filter' | 'settle' | 'checkTools' | 'waitForApproval'> = {
    decide: async (_agent, _policies, request) => {
      decided.push(request);
      const { code: _code, ...allowed } = sampleVerdict;
      const id = `intent-${++decisions}`;
      return {
        ...allowed,
        id,
        effect: 'allow',
        output: { ...allowed.output, bytesMax: 1 << 20 },
        ...is.decides(request),
      };
    },
    filter: async (_agent, _policies, requests) => requests.map(() => true),
    settle: (_agent, id, outcome) => {
      settled.push({ id, outcome });
      return true;
    },
    checkTools: async (_agent, _policies, _server, tools) =>
      tools.map(({ name }) => ({ name: name as string, state: 'pinned', action: 'ignore' })),
    waitForApproval: async (id) => {
      throw new MeshError('not_found', `Cannot wait for approval "${id}"`);
    },
  };
  const random = seededRandom(99);
  const caller = new Caller({
    network: beta.network,
    clock: world.clock,
    random: { bytes: (count) => random.bytes(count), fraction: () => random.fraction() },
    log: quiet,
    isSignatureValid: isSignatureValidSodium,
    state: beta.state,
    chains: {
      judge: (leaf, question) =>
        verifyChain(leaf, {
          view: beta.state,
          roots: question?.roots ?? new Set(),
          nowMs: world.clock.nowMs(),
          isSignatureValid: isSignatureValidSodium,
        }),
      freshen: async () => {},
    },
    sessions: beta.sessions,
    handshakes: beta.handshakes,
    governance,
    receipts: {
      keep: async (receipt) => void kept.push(receipt),
      get: async (id) => {
        throw new MeshError('not_found', `Cannot find receipt "${id}": none is kept here`, { id });
      },
    },
    acting: (did) => ({ did }),
    organisationOf: async (did) => beta.state.didState(did)?.organisation ?? did,
    organisation: beta.organisation.did,
    protocolId: PROTOCOL,
  });

  return {
    ...world,
    acme,
    beta,
    caller,
    grant,
    callees,
    kept,
    settled,
    decided,
    is,
    open: async (client, wanted = {}, signal = new AbortController().signal) => {
      const opening = caller.openLink(
        { did: acme.agent.did, server: 'files', as: beta.agent.did, ...wanted },
        client.events,
        signal,
      );
      opening.catch(() => {}); // whoever asked has it
      await world.clock.advance(100);
      client.link = await opening;
    },
    callee: () => {
      const callee = callees.at(-1);
      if (callee === undefined) throw new Error('no link was opened');
      return callee;
    },
    pass: async (ms = 100) => {
      for (let left = ms; left > 0; left -= HEARTBEAT_MS) {
        await world.clock.advance(Math.min(left, HEARTBEAT_MS));
        beat();
      }
      await settle();
    },
    close: async () => {
      const closing = caller.close();
      await world.clock.advance(3_000);
      await closing;
      await world.close();
    },
  };
}
