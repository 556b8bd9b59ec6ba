import {
  type AgentCreateBody,
  API_VERSION,
  type BodyOf,
  checkJson,
  type DelegateBody,
  type EventType,
  type HandshakeBody,
  type InputOf,
  loginMessage,
  type MeshEvent,
  type OperationAnswer,
  type OperationId,
  type ResponseOf,
  type RevokeBody,
  routeOf,
  type ToSign,
  type Version,
} from '../protocol/control/index.ts';
import { approvalMessage, limits, MeshError, signedBytes } from '../protocol/index.ts';
import { type CallOptions, codeOf, isPassing, pause } from './calls.ts';
import type { LogFiles } from '../protocol/log/index.ts';
import type { Gate } from '../protocol/policy/index.ts';
import { parseEvents } from './event-stream.ts';
import { openDaemonGate, type PolicySource } from './gate/index.ts';
import { parseAnswer, readText, send, streamError } from './http.ts';
import { verifyOperation, signChecked } from './payloads.ts';
import { entriesOf, type EntryProof, type EntryQuery, type ProveOptions } from './log-entries.ts';
import { type McpClient, type McpClientOptions, openMcpClient } from './mcp-client.ts';
import { type ExportOptions, exportToDirectory } from './log-export.ts';
import { messagesOf, type ReadMessagesOptions } from './messages.ts';
import { findPlace, type Place, type PlaceOptions } from './place.ts';
import { type ReceiptQuery, receiptsOf } from './receipts.ts';
import { bytesOfText, publicKeyText, type Signer, textOfBytes } from './signer.ts';

/** An agent that keeps its own key proves it, and gets a token for 15 minutes, again and again. */
export interface Login {
  /** The agent's DID. */
  readonly did: string;
  readonly signer: Signer;
  /** Its organisation: no other daemon gets a signature. */
  readonly organisation?: string;
}

export interface ConnectOptions extends PlaceOptions, CallOptions {
  /** Acts as one agent; default $AGENTMESH_AGENT_TOKEN. Null: as the operator, whatever the environment says. */
  readonly token?: string | null | undefined;
  readonly login?: Login | undefined;
  /** Without a byte from the daemon for so long a call fails; default 60,000. */
  readonly timeoutMs?: number | undefined;
}

export interface EventOptions extends CallOptions {
  readonly types?: readonly EventType[] | undefined;
  /** Id of the last event seen before: what came after it is sent first. */
  readonly after?: string | undefined;
  /** First wait before asking again where the stream broke; default 1,000, doubled up to 10,000. */
  readonly retryMs?: number | undefined;
}

/** Signs an operation of the organisation with keys that the daemon never sees. */
export interface OfflineSigners {
  /** As many as the threshold wants, in any order. */
  readonly signers: readonly Signer[];
}

export interface OpenGateOptions extends CallOptions {
  readonly as?: string | undefined;
  readonly policies?: readonly PolicySource[] | undefined;
}

/** What a person decides. */
export interface ApproveOptions extends CallOptions {
  readonly decision: 'approve' | 'deny';
  /** DID: a sponsor's, or a did:key that the configuration names. */
  readonly approver: string;
  /** It is logged, so no personal data. */
  readonly reason: string;
  /** The approver's key; default: the daemon holds it. */
  readonly signer?: Signer | undefined;
}

/** A daemon's control API. Calls fail with the protocol's codes, and with `not_running` where no daemon answers. */
export class AgentMesh {
  readonly #place: Place;
  readonly #timeoutMs: number;
  readonly #login: Login | undefined;
  #token: string | undefined;
  #tokenUntilMs = Number.POSITIVE_INFINITY;
  #version: Version = { version: '', api: 0 };

  private constructor(place: Place, options: ConnectOptions) {
    this.#place = place;
    this.#timeoutMs = options.timeoutMs ?? limits.API_CALL_MS;
    this.#login = options.login;
    if (options.login === undefined) this.#token = tokenOf(options);
  }

  /** Finds the daemon, compares versions, and logs in if asked to. Errors: not_running, version, unauthorized, permissions, config_invalid. */
  static async connect(options: ConnectOptions = {}): Promise<AgentMesh> {
    const mesh = new AgentMesh(findPlace(options, process.env), options);
    mesh.#version = await mesh.#compareVersions(options);
    return mesh;
  }

  /** Of the daemon, and of the API that it speaks. */
  get version(): Version {
    return this.#version;
  }

  /** Any route of the table, by its operation id. The answer has passed its schema. */
  async call<K extends OperationId>(
    operationId: K,
    input: Partial<InputOf<K>> = {},
    { signal }: CallOptions = {},
  ): Promise<ResponseOf<K>> {
    return this.#withToken(operationId, signal, (token) => this.#ask(operationId, input, token, signal));
  }

  status(options?: CallOptions): Promise<ResponseOf<'status'>> {
    return this.call('status', {}, options);
  }

  /** Whom this connection acts for: the operator, or one agent. */
  caller(options?: CallOptions): Promise<ResponseOf<'caller'>> {
    return this.call('caller', {}, options);
  }

  /** Whether everything that the daemon needs is up. */
  async readiness(options?: CallOptions): Promise<ResponseOf<'readyz'>> {
    return this.call('readyz', {}, options);
  }

  /** Organisations whose chains this daemon trusts; its own is marked. */
  async roots(options?: CallOptions): Promise<ResponseOf<'rootList'>['roots']> {
    return (await this.call('rootList', {}, options)).roots;
  }

  /** The DID of the daemon's organisation. */
  async organisationDid(options?: CallOptions): Promise<string> {
    const own = (await this.roots(options)).find((root) => root.own);
    if (own === undefined)
      throw new MeshError('internal', 'Cannot tell the organisation of the daemon: it names no root of its own');
    return own.did;
  }

  readonly peers = {
    list: async (options?: CallOptions) => (await this.call('peerList', {}, options)).peers,
    dial: async (address: string, options?: CallOptions) =>
      (await this.call('peerDial', { body: { address } }, options)).peer,
  };

  readonly agents = {
    list: async (options?: CallOptions) => (await this.call('agentList', {}, options)).agents,
    create: (body: AgentCreateBody, options?: CallOptions) => this.call('agentCreate', { body }, options),
    show: async (did: string, options?: CallOptions) =>
      (await this.call('agentShow', { params: { did } }, options)).agent,
    complete: (did: string, signatures: readonly string[], options?: CallOptions) =>
      this.call('agentComplete', { params: { did }, body: { signatures } }, options),
    register: (did: string, options?: CallOptions) => this.call('agentRegister', { params: { did } }, options),
    suspend: async (did: string, options?: CallOptions) =>
      (await this.call('agentSuspend', { params: { did } }, options)).agent,
    resume: async (did: string, options?: CallOptions) =>
      (await this.call('agentResume', { params: { did } }, options)).agent,
    revoke: (did: string, reason: string, options?: CallOptions) =>
      this.call('agentRevoke', { params: { did }, body: { reason } }, options),
    token: (did: string, options?: CallOptions) => this.call('agentToken', { params: { did } }, options),
    credential: async (did: string, options?: CallOptions) =>
      (await this.call('credentialShow', { params: { did } }, options)).credential,
    prepareCredential: (did: string, body: BodyOf<'credentialPrepare'> = {}, options?: CallOptions) =>
      this.call('credentialPrepare', { params: { did }, body }, options),
    completeCredential: async (did: string, body: BodyOf<'credentialComplete'>, options?: CallOptions) =>
      (await this.call('credentialComplete', { params: { did }, body }, options)).credential,
  };

  readonly sponsors = {
    list: async (options?: CallOptions) => (await this.call('sponsorList', {}, options)).sponsors,
    create: async (body: BodyOf<'sponsorCreate'>, options?: CallOptions) =>
      (await this.call('sponsorCreate', { body }, options)).sponsor,
    show: async (did: string, options?: CallOptions) =>
      (await this.call('sponsorShow', { params: { did } }, options)).sponsor,
  };

  readonly dids = {
    show: (did: string, options?: CallOptions) => this.call('didShow', { params: { did } }, options),
    resolve: (did: string, options?: CallOptions) => this.call('didResolve', { params: { did } }, options),
    log: async (did: string, options?: CallOptions) =>
      (await this.call('didLog', { params: { did } }, options)).operations.map(({ id, envelope }) => ({
        id,
        envelope: bytesOfText(envelope),
      })),
  };

  /** Operations on the organisation's DID. With `signers` their keys stay here: what the daemon wrote is checked, then signed. */
  readonly organisation = {
    rotate: (
      body: Omit<BodyOf<'organisationRotate'>, 'rotationKeys'>,
      options: CallOptions & Partial<OfflineSigners> = {},
    ) =>
      this.#operate('rotate', options, body, (keys) =>
        this.call(
          'organisationRotate',
          { body: { ...body, ...(keys !== undefined && { rotationKeys: keys }) } },
          options,
        ),
      ),
    recover: (body: Omit<BodyOf<'organisationRecover'>, 'recoveryKeys'>, options: CallOptions & OfflineSigners) =>
      this.#operate('recover', options, body, (keys = []) =>
        this.call('organisationRecover', { body: { ...body, recoveryKeys: keys } }, options),
      ),
    deactivate: (
      body: Omit<BodyOf<'organisationDeactivate'>, 'keys'>,
      options: CallOptions & Partial<OfflineSigners> = {},
    ) =>
      this.#operate('deactivate', options, {}, (keys) =>
        this.call('organisationDeactivate', { body: { ...body, ...(keys !== undefined && { keys }) } }, options),
      ),
    /** With signatures made elsewhere, over `toSign` in order. */
    complete: (id: string, signatures: readonly string[], options?: CallOptions) =>
      this.call('operationComplete', { params: { id }, body: { signatures } }, options),
  };

  readonly delegations = {
    create: (body: DelegateBody, options?: CallOptions) => this.call('delegationCreate', { body }, options),
    complete: (id: string, signatures: readonly string[], options?: CallOptions) =>
      this.call('delegationComplete', { params: { id }, body: { signatures } }, options),
  };

  readonly chains = {
    list: async (query: InputOf<'chainList'>['query'] = {}, options?: CallOptions) =>
      (await this.call('chainList', { query }, options)).chains,
    show: (leaf: string, options?: CallOptions) => this.call('chainShow', { params: { leaf } }, options),
    /** Bytes for `verifyChain`, here or on a machine without a network. */
    bundle: async (leaf: string, options?: CallOptions) =>
      bytesOfText((await this.call('chainBundle', { params: { leaf } }, options)).bundle),
    /** By the daemon, with all that it knows now. */
    verify: (leaf: string, body: BodyOf<'chainVerify'> = {}, options?: CallOptions) =>
      this.call('chainVerify', { params: { leaf }, body }, options),
  };

  readonly revocations = {
    list: async (query: InputOf<'revocationList'>['query'] = {}, options?: CallOptions) =>
      (await this.call('revocationList', { query }, options)).revocations,
    create: (body: RevokeBody, options?: CallOptions) => this.call('revocationCreate', { body }, options),
  };

  /** The daemon's audit log. An agent's connection sees and writes its own entries alone. */
  readonly log = {
    status: (options?: CallOptions) => this.call('logStatus', {}, options),
    /**
     * Entries that fit, newest first unless asked otherwise; `follow` goes on, oldest first, with what is appended until
     * the signal fires (`cancelled`) or the loop is left.
     */
    entries: (query: EntryQuery = {}, options?: CallOptions) =>
      entriesOf((...asked) => this.call(...asked), query, options),
    /** By leaf index or id; with the bytes that are the leaf. Errors: not_found. */
    entry: async (at: number | string, options?: CallOptions) => {
      const answer = await this.call('logEntry', { params: { at: String(at) } }, options);
      return { ...answer, bytes: bytesOfText(answer.bytes) };
    },
    /** What an agent does, signed by the daemon, or with `entry` by the agent itself. See also AgentIdentity.append. */
    append: (body: BodyOf<'logAppend'>, options?: CallOptions) => this.call('logAppend', { body }, options),
    /** The entry's bytes, and those of a .tlog-proof file, for `verifyProof` here or anywhere. Errors: not_found, quorum. */
    prove: async (at: number | string, { witnessed, signal }: ProveOptions = {}): Promise<EntryProof> => {
      const query = witnessed === undefined ? {} : { witnessed: String(witnessed) };
      const answer = await this.call('logProof', { params: { at: String(at) }, query }, { signal });
      return { ...answer, bytes: bytesOfText(answer.bytes), proof: bytesOfText(answer.proof) };
    },
    /** C2SP tlog-policy: whom a reader of this log believes, as this daemon sees it. */
    policy: async (options?: CallOptions) => (await this.call('logPolicy', {}, options)).policy,
    /** The log as files, for `verifyLogFiles` and for what reads C2SP tlog-tiles. */
    files: (options?: CallOptions): LogFiles => ({ read: async (path) => this.#logFile(path, options) }),
    /** Writes the log into a directory that any web server can serve, or brings it up to date. See exportToDirectory. */
    export: (directory: string, options: ExportOptions = {}) =>
      exportToDirectory(this.log.files(options), directory, options),
    recover: (body: BodyOf<'logRecover'>, options?: CallOptions) => this.call('logRecover', { body }, options),
  };

  /** What both sides of calls with other organisations signed. An agent's connection sees its own alone. */
  readonly receipts = {
    /** Newest first. */
    list: (query: ReceiptQuery = {}, options?: CallOptions) =>
      receiptsOf((...asked) => this.call(...asked), query, options),
    /** By its id or that of its order, with what was signed. Errors: not_found. */
    get: (id: string, options?: CallOptions) => this.call('receiptShow', { params: { id } }, options),
    /** All that convinces others, for `verifyReceipt` here or anywhere. Errors: not_found. */
    file: async (id: string, options?: CallOptions) =>
      bytesOfText((await this.call('receiptFile', { params: { id } }, options)).file),
  };

  /** What this daemon cosigns for others. */
  readonly witness = {
    status: (options?: CallOptions) => this.call('witnessStatus', {}, options),
  };

  /** Organisations that signed two histories. */
  readonly convictions = {
    list: async (options?: CallOptions) => (await this.call('convictionList', {}, options)).convictions,
    show: (did: string, options?: CallOptions) => this.call('convictionShow', { params: { did } }, options),
    lift: (did: string, reason: string, options?: CallOptions) =>
      this.call('convictionLift', { params: { did }, body: { reason } }, options),
  };

  /** What the daemon's policies say. `openDaemonGate` and `govern` hold a tool up by it. */
  readonly decisions = {
    /** Logged, and uses up limits and approvals; once it is done, `settle` says how it ended. */
    decide: (body: BodyOf<'decide'>, options?: CallOptions) => this.call('decide', { body }, options),
    /** Which of these may be done with some arguments or other. */
    filter: async (body: BodyOf<'decisionFilter'>, options?: CallOptions) =>
      (await this.call('decisionFilter', { body }, options)).allowed,
    /** What would be decided, why, and what would change it; nothing is logged or used up. */
    explain: (body: BodyOf<'decisionExplain'>, options?: CallOptions) =>
      this.call('decisionExplain', { body }, options),
    settle: (body: BodyOf<'decisionSettle'>, options?: CallOptions) => this.call('decisionSettle', { body }, options),
  };

  /** What waits, or waited, for a person. */
  readonly approvals = {
    list: async ({ all = false }: { readonly all?: boolean } = {}, options?: CallOptions) =>
      (await this.call('approvalList', { query: all ? { all: 'true' } : {} }, options)).approvals,
    /** With `waitSeconds` once it is decided or expired, or after that time. */
    show: async (id: string, { waitSeconds, signal }: CallOptions & { readonly waitSeconds?: number } = {}) => {
      const query = waitSeconds === undefined ? {} : { wait: String(waitSeconds) };
      return (await this.call('approvalShow', { params: { id }, query }, { signal })).approval;
    },
    /**
     * With `signer` the approver's key stays here; without, the daemon signs with the one that it holds for them.
     * Errors: forbidden (not one of those who may), conflict (decided already), expired, key_missing.
     */
    decide: async (id: string, { signer, signal, ...decision }: ApproveOptions) => {
      const body = signer === undefined ? decision : await this.#signApproval(id, decision, signer, signal);
      return (await this.call('approvalDecide', { params: { id }, body }, { signal })).approval;
    },
  };

  /** The policies in force, and those that callers brought. */
  readonly policies = {
    list: (options?: CallOptions) => this.call('policyList', {}, options),
    show: (digest: string, options?: CallOptions) => this.call('policyShow', { params: { digest } }, options),
    load: async (body: BodyOf<'policyLoad'>, options?: CallOptions) =>
      (await this.call('policyLoad', { body }, options)).policy,
    reload: (options?: CallOptions) => this.call('policyReload', {}, options),
    /** What a policy would have said of the requests that are kept. */
    replay: async (body: BodyOf<'policyReplay'>, options?: CallOptions) =>
      (await this.call('policyReplay', { body }, options)).comparison,
    shadow: async (options?: CallOptions) => (await this.call('policyShadow', {}, options)).candidates,
  };

  /**
   * Where requests are decided by this daemon: see govern. Policies that are brought narrow its own. `as`: for whom the
   * operator asks; default: the organisation. Close it when done.
   */
  openGate({ as, policies, signal }: OpenGateOptions = {}): Promise<Gate> {
    const token = (): Promise<string | undefined> => this.#tokenFor('decide', undefined);
    return openDaemonGate({ place: this.#place, token, as, policies, signal });
  }

  /**
   * A conversation in MCP with a server that another organisation exposes, under the daemon's policies and those that
   * are brought. Close it when done; see TrustBridge.call for single calls. Errors: see openLink.
   */
  openClient(options: Omit<McpClientOptions, 'token'>): Promise<McpClient> {
    return this.#withToken('link', options.signal, (token) => openMcpClient(this.#place, { ...options, token }));
  }

  readonly tools = {
    /** A server's definitions, beside those that were seen first. */
    check: async (body: BodyOf<'toolCheck'>, options?: CallOptions) =>
      (await this.call('toolCheck', { body }, options)).tools,
  };

  /** MCP servers that this daemon exposes to other organisations. */
  readonly exposed = {
    list: async (options?: CallOptions) => (await this.call('exposeList', {}, options)).exposed,
    /** In place of one of its name. It is started once to see what tools it has, unless `check` is false. */
    add: (body: BodyOf<'exposeAdd'>, options?: CallOptions) => this.call('exposeAdd', { body }, options),
    /** Starts it once, and says what its tools need. */
    check: (name: string, options?: CallOptions) => this.call('exposeCheck', { params: { name } }, options),
    remove: (name: string, options?: CallOptions) => this.call('exposeRemove', { params: { name } }, options),
  };

  /** What an agent or organisation exposes, as far as chains held here cover something of it; default: what this daemon does. */
  services(
    { did, as }: { readonly did?: string | undefined; readonly as?: string | undefined } = {},
    options?: CallOptions,
  ): Promise<ResponseOf<'services'>> {
    const query = { ...(did !== undefined && { did }), ...(as !== undefined && { as }) };
    return this.call('services', { query }, options);
  }

  /**
   * Messages of an agent to others, and of others to it; for the operator `as` names whose, else they are the
   * organisation's own. See TrustBridge.sendMessage and TrustBridge.messages.
   */
  readonly messages = {
    /** Resolves once it waits on disk; `outbox` says what becomes of it. */
    send: async (body: BodyOf<'messageSend'>, options?: CallOptions) =>
      (await this.call('messageSend', { body }, options)).message,
    /** Newest first; without `as` the operator sees those of all. */
    outbox: async ({ as, signal }: ReadMessagesOptions = {}) =>
      (await this.call('outboxList', { query: as === undefined ? {} : { as } }, { signal })).messages,
    /** What was not acknowledged, from behind a position on. */
    inbox: (query: InputOf<'inboxList'>['query'] = {}, options?: CallOptions) =>
      this.call('inboxList', { query }, options),
    ack: async (ids: readonly string[], { as, signal }: ReadMessagesOptions = {}) =>
      (await this.call('inboxAck', { body: { ...(as !== undefined && { as }), ids: [...ids] } }, { signal }))
        .acknowledged,
    /** One after the other, as they come; each is to be acknowledged. */
    receive: (options: ReadMessagesOptions = {}) => messagesOf((...asked) => this.call(...asked), options),
  };

  readonly sessions = {
    list: async (options?: CallOptions) => (await this.call('sessionList', {}, options)).sessions,
    /** With the chain that it was granted on. */
    show: (sid: string, options?: CallOptions) => this.call('sessionShow', { params: { sid } }, options),
    close: (sid: string, options?: CallOptions) => this.call('sessionClose', { params: { sid } }, options),
  };

  async handshake(body: HandshakeBody, options?: CallOptions): Promise<ResponseOf<'handshakeCreate'>['session']> {
    return (await this.call('handshakeCreate', { body }, options)).session;
  }

  /**
   * What happens, as it happens, until the signal fires (`cancelled`) or the loop is left. Where the stream breaks it is
   * taken up again after the last event; a `gap` event says where some were lost. A first call without a daemon fails.
   */
  async *events({
    types,
    after,
    retryMs = limits.EVENT_RETRY_MS,
    signal,
  }: EventOptions = {}): AsyncGenerator<MeshEvent, void, undefined> {
    let last = after;
    let waitMs = retryMs;
    for (let started = false; ; ) {
      try {
        for await (const event of this.#stream(types, last, signal, () => (started = true))) {
          last = event.id;
          waitMs = retryMs;
          yield event;
        }
      } catch (error) {
        if (!started || !isPassing(error)) throw error;
      }
      await pause(waitMs, signal);
      waitMs = Math.min(2 * waitMs, limits.EVENT_RETRY_MS_MAX);
    }
  }

  async *#stream(
    types: readonly EventType[] | undefined,
    after: string | undefined,
    signal: AbortSignal | undefined,
    onStart: () => void,
  ): AsyncGenerator<MeshEvent> {
    const response = await send(this.#place, {
      method: 'GET',
      path: pathOf('events', { query: types === undefined ? {} : { types: types.join(',') } }),
      token: await this.#tokenFor('events', signal),
      headers: { accept: 'text/event-stream', ...(after === undefined ? {} : { 'last-event-id': after }) },
      signal,
      idleMs: 3 * limits.EVENT_HEARTBEAT_MS,
    });
    onStart();
    try {
      yield* parseEvents(response as AsyncIterable<Uint8Array>);
    } catch (error) {
      throw streamError(error, signal);
    } finally {
      response.destroy();
    }
  }

  async #signApproval(
    id: string,
    { decision, approver, reason }: Omit<ApproveOptions, 'signer' | 'signal'>,
    signer: Signer,
    signal: AbortSignal | undefined,
  ): Promise<BodyOf<'approvalDecide'>> {
    const { digest } = await this.approvals.show(id, { signal });
    const at = new Date().toISOString();
    const message = approvalMessage({ id, digest, decision, approver, reason, at });
    return { decision, approver, reason, at, signature: textOfBytes(signer.sign(signedBytes('approval', message))) };
  }

  async #logFile(path: string, options: CallOptions | undefined): Promise<Uint8Array | undefined> {
    try {
      return bytesOfText((await this.call('logFile', { query: { path } }, options)).bytes);
    } catch (error) {
      if (codeOf(error) === 'not_found') return undefined;
      throw error;
    }
  }

  async #withToken<T>(
    operationId: OperationId,
    signal: AbortSignal | undefined,
    ask: (token: string | undefined) => Promise<T>,
  ): Promise<T> {
    const token = await this.#tokenFor(operationId, signal);
    try {
      return await ask(token);
    } catch (error) {
      // The daemon forgets tokens of a login when it restarts: prove the key once more.
      if (this.#login === undefined || token === undefined || codeOf(error) !== 'unauthorized') throw error;
      this.#token = undefined;
      return ask(await this.#tokenFor(operationId, signal));
    }
  }

  async #ask<K extends OperationId>(
    operationId: K,
    input: Partial<InputOf<K>>,
    token: string | undefined,
    signal: AbortSignal | undefined,
  ): Promise<ResponseOf<K>> {
    const route = routeOf(operationId);
    const response = await send(this.#place, {
      method: route.method,
      path: pathOf(operationId, input),
      token,
      body: input.body,
      signal,
      idleMs: this.#timeoutMs,
    });
    const answer = parseAnswer(await readText(response, signal));
    return checkJson(route.response, answer, `the daemon's answer to "${operationId}"`, 'internal') as ResponseOf<K>;
  }

  async #compareVersions({ signal }: CallOptions): Promise<Version> {
    const version = await this.call('version', {}, { signal });
    if (version.api === API_VERSION) return version;
    throw new MeshError(
      'version',
      `Cannot talk to daemon ${version.version}: it speaks API version ${version.api}, want ${API_VERSION}`,
      {
        is: version.api,
        want: API_VERSION,
      },
    );
  }

  async #tokenFor(operationId: OperationId, signal: AbortSignal | undefined): Promise<string | undefined> {
    if (this.#login === undefined || routeOf(operationId).who === 'anyone')
      return this.#login === undefined ? this.#token : undefined;
    if (this.#token === undefined || Date.now() > this.#tokenUntilMs) await this.#logIn(this.#login, signal);
    return this.#token;
  }

  async #logIn({ did, signer, organisation }: Login, signal: AbortSignal | undefined): Promise<void> {
    const { daemon, nonce } = await this.#ask('loginChallenge', { body: { did } }, undefined, signal);
    if (organisation !== undefined && daemon !== organisation) {
      throw new MeshError('conflict', `Cannot log in: the daemon is of "${daemon}", want "${organisation}"`, {
        did: daemon,
        want: organisation,
      });
    }
    const signature = textOfBytes(signer.sign(signedBytes('login', loginMessage(daemon, bytesOfText(nonce)))));
    const { token, expiresAt } = await this.#ask('login', { body: { did, nonce, signature } }, undefined, signal);
    this.#token = token;
    // A minute early, so that no call starts with a token that ends under way.
    this.#tokenUntilMs = expiresAt === null ? Number.POSITIVE_INFINITY : Date.parse(expiresAt) - 60_000;
  }

  async #operate(
    operation: OperationAnswer['operation'],
    { signers, signal }: CallOptions & Partial<OfflineSigners>,
    body: Parameters<typeof verifyOperation>[1]['body'],
    prepare: (keys: string[] | undefined) => Promise<OperationAnswer>,
  ): Promise<OperationAnswer> {
    const prepared = await prepare(signers?.map(publicKeyText));
    if (signers === undefined || prepared.applied) return prepared;
    const did = await this.organisationDid({ signal });
    const asked = { id: prepared.id, did, operation, signers, body };
    const signatures = prepared.toSign.map((toSign: ToSign) => {
      const signer = signers.find((one) => publicKeyText(one) === toSign.key);
      if (signer === undefined)
        throw new MeshError('key_missing', `Cannot sign with key "${toSign.key}": it was not given`, {
          key: toSign.key,
        });
      return signChecked(toSign, operation, signer, (statement) => verifyOperation(statement, asked));
    });
    return this.organisation.complete(prepared.id, signatures, { signal });
  }
}

function tokenOf({ token }: ConnectOptions): string | undefined {
  if (token === null) return undefined;
  const found = token ?? process.env['AGENTMESH_AGENT_TOKEN'];
  return found === '' ? undefined : found;
}

function pathOf<K extends OperationId>(
  operationId: K,
  { params = {}, query = {} }: { readonly params?: object; readonly query?: object },
): string {
  const values = params as Readonly<Record<string, string | undefined>>;
  const path = routeOf(operationId).path.replaceAll(/\{(\w+)\}/g, (_, name: string) =>
    encodeURIComponent(values[name] ?? ''),
  );
  const given = Object.entries(query as Readonly<Record<string, string | undefined>>).filter(
    (entry): entry is [string, string] => entry[1] !== undefined,
  );
  const search = new URLSearchParams(given).toString();
  return search === '' ? path : `${path}?${search}`;
}
