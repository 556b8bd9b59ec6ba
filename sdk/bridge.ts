import { randomBytes } from 'node:crypto';
import { type Capability, isCapabilityWithin, limits, MeshError } from '../protocol/index.ts';
import type { SessionView } from '../protocol/control/index.ts';
import { capabilitiesOf, type CapabilityInput } from './capability-input.ts';
import { defaultMesh } from './default-mesh.ts';
import type { AgentIdentity } from './identity.ts';
import type { CallOptions } from './calls.ts';
import { readPolicySource } from './gate/index.ts';
import { cancelled, verifyNotAborted } from './http.ts';
import type { CallReceipt, JsonObject, McpClient, McpClientOptions, Progress } from './mcp-client.ts';
import type { AgentMesh } from './mesh.ts';
import {
  encodeMessage,
  type MessageInput,
  type ReadMessagesOptions,
  type ReceivedMessage,
  type SendMessageOptions,
  type SentMessage,
} from './messages.ts';

export interface TrustBridgeOptions {
  /** Default: the daemon that the environment names. */
  readonly mesh?: AgentMesh | undefined;
  /** Who asks: an agent of this daemon; default the token's agent, or the organisation itself. */
  readonly as?: AgentIdentity | string | undefined;
}

export interface VerifyPeerOptions extends CallOptions {
  /** Least score, in this side's own view; default 300. */
  readonly minScore?: number | undefined;
  /** The same, as in the older API; where both are given both hold. */
  readonly requiredTrustScore?: number | undefined;
  /** All must be granted in the session. */
  readonly capabilities?: readonly CapabilityInput[] | undefined;
  readonly purpose?: string | undefined;
  /** Leaf of the chain that this side presents. */
  readonly grant?: string | undefined;
}

export interface CallToolOptions extends CallOptions {
  /** 16 to 64 visible letters of ASCII: called again with it, what was done is not done twice. Default: random. */
  readonly key?: string | undefined;
  /** Leaf of the chain to present; default: of those that are held, the one that covers most. */
  readonly grant?: string | undefined;
  readonly purpose?: string | undefined;
  /** strict, moderate, permissive, or a file; the daemon's policies hold beside it. Default permissive. */
  readonly policy?: string | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  /** After which it is cancelled; default: as long as the mesh allows a call. */
  readonly timeoutMs?: number | undefined;
}

/** What a tool of another organisation answered; `isError` is its own word for what went wrong in it. */
export interface ToolResult {
  readonly content: readonly JsonObject[];
  readonly structuredContent?: JsonObject;
  readonly isError: boolean;
  /** What both sides signed about it, or with `half` this one alone: see AgentMesh.receipts. */
  readonly receipt: CallReceipt | null;
  /** All of the answer. */
  readonly result: JsonObject;
}

/** What a handshake showed. There is none for a peer that failed it: verifyPeer throws. */
export interface PeerVerification extends AsyncDisposable {
  readonly verified: true;
  readonly did: string;
  readonly organisation: string;
  readonly sponsor: string | null;
  /** In this side's own view, from `scoreBasis`; never the peer's word. */
  readonly score: number;
  readonly scoreBasis: string;
  /** What the session grants: the meet of the links of the chain that was presented for it. */
  readonly capabilities: readonly Capability[];
  readonly checked: readonly string[];
  /** It counts no longer; sooner where a revocation touches it (`session.ended`). */
  readonly expiresAt: string;
  readonly session: SessionView;
  /** Ends the session. */
  close(options?: CallOptions): Promise<void>;
}

/** Who is at the other end, and may it do this? Links that calls need are kept for the next ones until it is closed. */
export class TrustBridge implements AsyncDisposable {
  readonly #clients = new Map<string, Promise<McpClient>>();
  readonly #mesh: AgentMesh | undefined;
  readonly #as: string | undefined;
  readonly #identity: AgentIdentity | undefined;

  constructor({ mesh, as }: TrustBridgeOptions = {}) {
    this.#mesh = mesh ?? (typeof as === 'object' ? as.mesh : undefined);
    this.#identity = typeof as === 'object' ? as : undefined;
    this.#as = this.#identity?.did ?? (typeof as === 'string' ? as : undefined);
  }

  /**
   * Calls a tool that another organisation exposes. Returns what the tool answered; whatever kept it from running, or
   * leaves open whether it did, is an error.
   * Errors: caps_insufficient, policy_denied, approval_pending (data.approval), limit_exceeded and other refusals of
   * either side; outcome_unknown (data.key repeats it safely); failed (the server answered with an error);
   * unreachable and others of a handshake; timeout, cancelled.
   */
  async call(
    did: string,
    server: string,
    tool: string,
    args: JsonObject = {},
    options: CallToolOptions = {},
  ): Promise<ToolResult> {
    const { signal, onProgress, timeoutMs, key = randomBytes(16).toString('base64url') } = options;
    const client = await untilAborted(this.#clientOf(did, server, options), signal);
    const { result, receipt } = await client.callTool(tool, args, { key, signal, onProgress, timeoutMs });
    const { content, structuredContent, isError } = result;
    return {
      content: Array.isArray(content) ? (content as JsonObject[]) : [],
      ...(isObject(structuredContent) && { structuredContent }),
      isError: isError === true,
      receipt,
      result,
    };
  }

  /**
   * Sends a message to an agent or organisation, of this daemon or another. It resolves once the daemon keeps it, which
   * tries until it is delivered, refused for good, or expires: at least once, in the order of sending.
   * Errors: policy_denied, approval_pending, limit_exceeded; full (too much waits already); too_large; bad_request.
   */
  async sendMessage(did: string, message: MessageInput, options: SendMessageOptions = {}): Promise<SentMessage> {
    const { signal, expiresInSeconds, grant } = options;
    const { body, contentType } = encodeMessage(message);
    const mesh = this.#mesh ?? (await defaultMesh({ signal }));
    if (grant !== undefined) await this.#identity?.bindGrant(grant, { signal });
    const { id, seq, state } = await mesh.messages.send(
      {
        to: did,
        contentType: options.contentType ?? contentType,
        body,
        ...(this.#as !== undefined && { as: this.#as }),
        ...(expiresInSeconds !== undefined && { expiresInSeconds }),
        ...(grant !== undefined && { grant }),
      },
      { signal },
    );
    return { id, seq, state };
  }

  /**
   * Messages to whom this bridge acts for: those that wait, then those that come, until the signal fires (`cancelled`) or
   * the loop is left. Each comes again to the next reader until its `ack()`.
   */
  async *messages({ signal }: CallOptions = {}): AsyncGenerator<ReceivedMessage, void, undefined> {
    const mesh = this.#mesh ?? (await defaultMesh({ signal }));
    const options: ReadMessagesOptions = { signal, as: this.#as };
    yield* mesh.messages.receive(options);
  }

  /** Ends the links of calls. */
  async close(): Promise<void> {
    const clients = [...this.#clients.values()];
    this.#clients.clear();
    const closed = clients.map(async (opening) => (await opening).close());
    await Promise.allSettled(closed); // one that did not open is told to whoever opened it
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #clientOf(did: string, server: string, options: CallToolOptions): Promise<McpClient> {
    const { grant, purpose, policy = 'permissive' } = options;
    const name = JSON.stringify([did, server, grant, purpose, policy]);
    const kept = this.#clients.get(name);
    if (kept !== undefined && (await kept).ended === undefined) return kept;
    // Others may have seen the same, and be opening it.
    const newer = this.#clients.get(name);
    if (newer !== undefined && newer !== kept) return newer;
    const opening = this.#open({ did, server, grant, purpose }, policy);
    this.#clients.set(name, opening);
    opening.catch(() => {
      if (this.#clients.get(name) === opening) this.#clients.delete(name);
    });
    return opening;
  }

  /** Without the signal of a call: others may use it. */
  async #open(wanted: Omit<McpClientOptions, 'token'>, policy: string): Promise<McpClient> {
    const mesh = this.#mesh ?? (await defaultMesh({}));
    if (wanted.grant !== undefined) await this.#identity?.bindGrant(wanted.grant);
    const policies = [await readPolicySource(policy)];
    return mesh.openClient({ ...wanted, as: this.#as, policies });
  }

  /**
   * Shakes hands with an agent or organisation. Returns only for a peer that passed: a refusal is an error, so that it
   * cannot be overlooked.
   * Errors: score_below, caps_insufficient, did_unknown, unreachable, chain (data.reason says which of its codes), and
   * the others of a handshake; malformed for a capability.
   */
  async verifyPeer(did: string, options: VerifyPeerOptions = {}): Promise<PeerVerification> {
    const { minScore, requiredTrustScore, purpose, grant, signal } = options;
    const mesh = this.#mesh ?? (await defaultMesh({ signal }));
    const capabilities = capabilitiesOf(options.capabilities ?? []);
    const min = Math.max(
      minScore ?? 0,
      requiredTrustScore ?? 0,
      ...(minScore === undefined && requiredTrustScore === undefined ? [limits.NETWORK_SCORE_NEUTRAL] : []),
    );
    if (grant !== undefined) await this.#identity?.bindGrant(grant, { signal });
    const session = await mesh.handshake(
      {
        did,
        minScore: min,
        ...(this.#as !== undefined && { as: this.#as }),
        ...(capabilities.length > 0 && { capabilities }),
        ...(purpose !== undefined && { purpose }),
        ...(grant !== undefined && { grant }),
      },
      { signal },
    );
    verifySession(session, did, min, capabilities);
    const close = async (closing?: CallOptions): Promise<void> =>
      void (await mesh.sessions.close(session.sid, closing));
    const { organisation, sponsor, score, scoreBasis, granted, checked, expiresAt } = session;
    return {
      verified: true,
      did,
      organisation,
      sponsor,
      score,
      scoreBasis,
      capabilities: granted,
      checked,
      expiresAt,
      session,
      close,
      [Symbol.asyncDispose]: () => close(),
    };
  }
}

const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Errors: cancelled, those of the promise. */
async function untilAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  verifyNotAborted(signal);
  if (signal === undefined) return promise;
  const aborted = Promise.withResolvers<never>();
  const onAbort = (): void => aborted.reject(cancelled(signal));
  signal.addEventListener('abort', onAbort);
  try {
    return await Promise.race([promise, aborted.promise]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

/** The daemon's answer against what was asked of it. Errors: internal. */
function verifySession(session: SessionView, did: string, min: number, capabilities: readonly Capability[]): void {
  const missing = capabilities.find(
    (wanted) => !session.granted.some((granted) => isCapabilityWithin(wanted, granted)),
  );
  if (session.did === did && session.score >= min && missing === undefined) return;
  throw new MeshError('internal', `Cannot accept the daemon's answer about "${did}": it is not about what was asked`, {
    did,
    is: session.score,
    min,
  });
}
