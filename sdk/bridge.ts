import { type Capability, isCapabilityWithin, limits, MeshError } from '../protocol/index.ts';
import type { SessionView } from '../protocol/control/index.ts';
import { capabilitiesOf, type CapabilityInput } from './capability-input.ts';
import { defaultMesh } from './default-mesh.ts';
import type { AgentIdentity } from './identity.ts';
import type { CallOptions } from './calls.ts';
import type { AgentMesh } from './mesh.ts';

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

/** Who is at the other end, and may it do this? */
export class TrustBridge {
  readonly #mesh: AgentMesh | undefined;
  readonly #as: string | undefined;
  readonly #identity: AgentIdentity | undefined;

  constructor({ mesh, as }: TrustBridgeOptions = {}) {
    this.#mesh = mesh ?? (typeof as === 'object' ? as.mesh : undefined);
    this.#identity = typeof as === 'object' ? as : undefined;
    this.#as = this.#identity?.did ?? (typeof as === 'string' ? as : undefined);
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
