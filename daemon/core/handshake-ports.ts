/** What handshakes need of the daemon around them. */
import {
  type Capability,
  type IsSignatureValid,
  limits,
  type MeshView,
  type Presented,
  type StalenessPolicy,
} from '../../protocol/index.ts';
import type { MeshEventInput } from '../../protocol/control/index.ts';
import type { Clock, Logger, Network, PeerConnection, Random, Signer } from '../ports.ts';
import type { ExchangeOptions } from './exchange.ts';
import type { WriteAhead } from './log/write-ahead.ts';
import type { Sessions } from './sessions.ts';

/** What this side shows of one of its own, and the key that signs for it. */
export interface Presenter extends Presented {
  readonly did: string;
  /** The credential's key where `ident` or `grant` is one, else a key of `auth` use. */
  readonly signer: Signer;
  /** What the other side is unlikely to hold, the most needed first; all of `ident` and `grant` that is private. */
  readonly envelopes: readonly Uint8Array[];
}

/** What a handshake is about. What it says of the other side is proved only where `Judged` comes with it. */
export interface HandshakeFacts {
  readonly direction: 'inbound' | 'outbound';
  readonly as: string;
  readonly did: string;
  readonly peer: string;
  readonly wanted: readonly Capability[];
  readonly purpose: string | null;
}
export interface Judged {
  readonly organisation: string;
  readonly sponsor: string | null;
  readonly score: number;
}
export interface HandshakeNeed {
  readonly minScore: number;
  /** That the other side's chain must cover besides what it wants. */
  readonly capabilities?: readonly Capability[];
}

export interface HandshakePolicy {
  /** How the log names it; absent: the log names none. `text` says all of its rules, and its hash pins them. */
  readonly name?: { readonly version: string; readonly text: string } | undefined;
  /** What is asked of somebody who knocks, by what HELLO says alone; no look-up. Errors: policy_denied. */
  need(facts: HandshakeFacts): HandshakeNeed;
  /** The last check on either side, and again whenever trust changed. Errors: policy_denied. */
  verify(facts: HandshakeFacts, judged: Judged): void;
}

/** Lets everybody in whose score reaches the default minimum. */
export const OPEN_POLICY: HandshakePolicy = {
  name: { version: 'open/1', text: `score >= ${limits.HANDSHAKE_SCORE_DEFAULT}; nothing else` },
  need: () => ({ minScore: limits.HANDSHAKE_SCORE_DEFAULT }),
  verify: () => {},
};

export interface HandshakeComponents {
  readonly network: Network;
  readonly sessions: Sessions;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  /** The daemon's own: what it holds has passed the door. */
  readonly view: MeshView;
  readonly isSignatureValid: IsSignatureValid;
  readonly emit: (event: MeshEventInput) => void;
  /** Own organisation. */
  readonly organisation: string;
  /** For an own agent or the organisation. Errors: not_found, suspended, key_missing. */
  readonly presenterFor: (did: string, grant: string | undefined) => Promise<Presenter>;
  /** A connection to a peer of the DID's organisation. Errors: did_unknown, unreachable, cancelled. */
  readonly reach: (did: string, signal: AbortSignal) => Promise<PeerConnection>;
  /** Public statements that a peer presented, through the door; what is refused there is simply not held. */
  readonly admit: (envelopes: readonly Uint8Array[], peer: string) => Promise<void>;
  /** Asks the peer for what it holds of these DIDs. */
  readonly pull: (dids: readonly string[], peer: string, signal: AbortSignal) => Promise<void>;
  /** Tries to know an organisation's status as recently as this; 0: by an answer to a question asked from now on. */
  readonly freshen: (
    organisation: string,
    options: { readonly maxAgeSeconds: number; readonly peer: string; readonly signal: AbortSignal },
  ) => Promise<void>;
  /** In this daemon's own view, and what that rests on. */
  readonly scoreOf: (did: string) => { readonly score: number; readonly basis: string };
  /** None of these DIDs is of an organisation convicted here; default: nobody is. Errors: convicted. */
  readonly verifyNoneRefused?: (dids: Iterable<string>, attempted: string) => void;
  /** Organisations whose grants count here. */
  readonly roots: () => ReadonlySet<string>;
  /** Default: everybody whose score reaches HANDSHAKE_SCORE_DEFAULT. */
  readonly policy?: HandshakePolicy;
  /** Each session is in the log before it is granted or used. Default: there is no log. */
  readonly ahead?: WriteAhead;
}

export interface HandshakeOptions extends ExchangeOptions {
  /** Name of the network, which is part of the protocol's id. Default DEFAULT_NETWORK. */
  readonly network?: string;
  /** Under way at a time, in each role; default HANDSHAKES_PENDING_MAX. */
  readonly pendingMax?: number;
  /** That one PeerId may begin a second, and how many at once. Default HANDSHAKES_PER_SECOND, HANDSHAKES_BURST. */
  readonly perSecond?: number;
  readonly burst?: number;
  readonly staleness?: StalenessPolicy;
}
