/**
 * The one file that knows @libp2p/gossipsub. Settings: trust and network measurements of the design (D 8/6/10, flood
 * publishing, unsigned messages that carry their own signatures).
 */
import { createHash } from 'node:crypto';
import {
  type GossipSub,
  gossipsub,
  type GossipSubComponents,
  type TopicValidatorFn,
  TopicValidatorResult,
} from '@libp2p/gossipsub';
import type { Connection, PeerId, Topology } from '@libp2p/interface';
import { limits, MeshError, type Topic, topicName, TOPICS } from '../../protocol/index.ts';
import type { Clock, GossipVerdict, Logger } from '../ports.ts';
import { type BoundPeers, boundRegistrar } from './bound-peers.ts';
import { messageOf } from './deadline.ts';
import { overlay } from './overlay.ts';

export interface GossipDependencies {
  readonly clock: Clock;
  readonly log: Logger;
  readonly bound: BoundPeers;
  /** <= 0; below zero keeps a peer out of the mesh. */
  offenceScore(peer: string): number;
  /** monotonicMs() at which the peer's oldest connection opened; undefined without one. */
  connectedSinceMs(peer: string): number | undefined;
  /** A message of this peer's was rejected. */
  onReject(peer: string, topic: Topic): void;
  /** As many messages of this peer's as end a connection were invalid, counting those that gossip itself condemned. */
  onInvalid(peer: string): void;
}

export interface GossipOptions {
  readonly network: string;
  /** True: many peers on one IP address are no sign of an attack. */
  readonly localNetwork: boolean;
}

export type GossipValidator = (message: Uint8Array, from: string) => Promise<GossipVerdict> | GossipVerdict;

/** Members of the class behind the GossipSub interface, which leaves them out. */
interface GossipSubState {
  readonly peers: Map<string, PeerId>;
  readonly streamsOutbound: Map<string, unknown>;
  readonly score: {
    readonly peerStats: Map<string, { readonly topics: Record<string, { readonly invalidMessageDeliveries: number }> }>;
  };
  getMeshPeers(topic: string): string[];
}

const UNBOUND_SCORE = -1000; // below every threshold
const UNBOUND_SCORE_AFTER_MS = 3_000; // a GRAFT refused while `hello` is under way costs a minute of backoff
const OUTBOUND_BYTES_MAX = 2 * 1024 * 1024; // eight full messages; gossipsub itself never waits for a slow peer
const STREAMS_MAX = 8; // one is in use; the rest are ending
const REPAIR_AFTER_HEARTBEATS = 3; // subscriptions cross within one
const REPAIR_EVERY_HEARTBEATS_MAX = 60;

/** 20 of 32 bytes, as the ids travel in IHAVE and IDONTWANT. The topic is part: a copy on another one must not mask it. */
const messageId = (topic: string, data: Uint8Array): Uint8Array =>
  createHash('sha256').update(topic).update(Uint8Array.of(0)).update(data).digest().subarray(0, 20);

export class Gossip {
  /** For libp2p's services: started and stopped by it. */
  readonly service: GossipSub;
  readonly #state: GossipSubState;
  readonly #dependencies: GossipDependencies;
  readonly #options: GossipOptions;
  readonly #validators = new Map<Topic, GossipValidator>();
  #topology: Topology | undefined;
  /** Heartbeats that a connected, bound peer has been without working gossip streams. */
  readonly #ailing = new Map<string, { beats: number; repairAt: number }>();

  constructor(components: GossipSubComponents, dependencies: GossipDependencies, options: GossipOptions) {
    this.#dependencies = dependencies;
    this.#options = options;
    const registrar = boundRegistrar(components.registrar, dependencies.bound);
    this.service = gossipsub(this.#settings())(overlay(components, { registrar: this.#rememberTopology(registrar) }));
    this.#state = stateOf(this.service);
    for (const topic of TOPICS) this.service.topicValidators.set(this.#name(topic), this.#validator(topic));
    this.service.addEventListener('gossipsub:heartbeat', () => this.#onHeartbeat());
  }

  /** After the start: gossipsub forgets subscriptions made before. */
  subscribe(): void {
    for (const topic of TOPICS) this.service.subscribe(this.#name(topic));
  }

  validate(topic: Topic, validator: GossipValidator): void {
    this.#validators.set(topic, validator);
  }

  async publish(topic: Topic, message: Uint8Array): Promise<number> {
    if (message.length > limits.GOSSIP_MESSAGE_BYTES_MAX) {
      throw new MeshError(
        'too_large',
        `Cannot publish on "${topic}": ${message.length} bytes, want <= ${limits.GOSSIP_MESSAGE_BYTES_MAX}`,
        {
          is: message.length,
          want: limits.GOSSIP_MESSAGE_BYTES_MAX,
        },
      );
    }
    const { recipients } = await this.service.publish(this.#name(topic), message);
    return recipients.length;
  }

  meshPeers(topic: Topic): string[] {
    return this.#state.getMeshPeers(this.#name(topic));
  }

  /** Sees to it that gossip runs over this connection; another one that carried it is gone. */
  use(peer: PeerId, connection: Connection): void {
    void this.#topology?.onConnect?.(peer, connection);
  }

  /**
   * Gossip opens its streams once, when a connection is identified. What breaks them later (a connection of two
   * closing, an oversized message) would leave the peer silent for as long as it stays connected. Called with every
   * heartbeat and all connections to bound peers.
   */
  repair(connections: readonly Connection[]): void {
    const subscribers = TOPICS.map((topic) => new Set(this.service.getSubscribers(this.#name(topic)).map(String)));
    for (const connection of connections) {
      const peer = connection.remotePeer.toString();
      // Both directions work: we can send, and have been told what the peer listens to.
      const isWell = this.#state.streamsOutbound.has(peer) && subscribers.every((peers) => peers.has(peer));
      if (isWell) this.#ailing.delete(peer);
      else if (this.#isTimeToRepair(peer)) this.#startAnew(connection);
    }
  }

  forget(peer: string): void {
    this.#ailing.delete(peer);
  }

  #settings(): Parameters<typeof gossipsub>[0] {
    const topics = TOPICS.map((topic) => this.#name(topic));
    return {
      D: 8,
      Dlo: 6,
      Dhi: 10,
      Dout: 3,
      Dlazy: 12,
      floodPublish: true,
      fallbackToFloodsub: false,
      batchPublish: true,
      emitSelf: false,
      tagMeshPeers: false, // tags only order what the connection limit prunes, and cost a database write each
      allowedTopics: topics,
      globalSignaturePolicy: 'StrictNoSign',
      msgIdFn: (message) => messageId(message.topic, message.data),
      fastMsgIdFn: (message) =>
        Buffer.from(messageId(message.topic ?? '', message.data ?? new Uint8Array(0))).toString('latin1'),
      allowPublishToZeroTopicPeers: true,
      ignoreDuplicatePublishError: true,
      maxInboundDataLength: limits.GOSSIP_RPC_BYTES_MAX,
      maxOutboundBufferSize: OUTBOUND_BYTES_MAX,
      maxInboundStreams: STREAMS_MAX,
      maxOutboundStreams: STREAMS_MAX,
      scoreThresholds: { gossipThreshold: -10, publishThreshold: -50, graylistThreshold: -80 },
      scoreParams: {
        IPColocationFactorWeight: this.#options.localNetwork ? 0 : -5,
        appSpecificWeight: 1,
        appSpecificScore: (peer) => this.#appScore(peer),
        topics: Object.fromEntries(topics.map((topic) => [topic, TOPIC_SCORE])),
      },
    };
  }

  #appScore(peer: string): number {
    const world = this.#dependencies;
    if (world.bound.has(peer)) return world.offenceScore(peer);
    const sinceMs = world.connectedSinceMs(peer);
    return sinceMs !== undefined && world.clock.monotonicMs() - sinceMs < UNBOUND_SCORE_AFTER_MS ? 0 : UNBOUND_SCORE;
  }

  #validator(topic: Topic): TopicValidatorFn {
    return async (peer, message) => {
      const from = peer.toString();
      if (!this.#dependencies.bound.has(from)) return TopicValidatorResult.Ignore;
      const verdict = await this.#verdict(topic, message.data, from);
      if (verdict === 'reject') this.#dependencies.onReject(from, topic);
      return VERDICTS[verdict];
    };
  }

  async #verdict(topic: Topic, message: Uint8Array, from: string): Promise<GossipVerdict> {
    const validator = this.#validators.get(topic);
    if (validator === undefined) return 'ignore'; // what nobody judges is not handed on
    try {
      return await validator(message, from);
    } catch (cause) {
      this.#dependencies.log.error({ topic, cause: messageOf(cause) }, 'a gossip validator failed');
      return 'ignore'; // our fault, not the sender's
    }
  }

  #onHeartbeat(): void {
    for (const peer of this.#state.peers.keys()) {
      const topics = Object.values(this.#state.score.peerStats.get(peer)?.topics ?? {});
      const invalid = topics.reduce((sum, topic) => sum + topic.invalidMessageDeliveries, 0);
      if (invalid > limits.GOSSIP_REJECTS_MAX - 0.5) this.#dependencies.onInvalid(peer);
    }
  }

  #isTimeToRepair(peer: string): boolean {
    const state = this.#ailing.get(peer) ?? { beats: 0, repairAt: REPAIR_AFTER_HEARTBEATS };
    this.#ailing.set(peer, state);
    if (++state.beats < state.repairAt) return false;
    state.repairAt = state.beats + Math.min(2 * state.repairAt, REPAIR_EVERY_HEARTBEATS_MAX);
    return true;
  }

  #startAnew(connection: Connection): void {
    const { remotePeer: peer } = connection;
    this.#dependencies.log.debug({ peer: peer.toString() }, 'gossip streams are opened again');
    for (const stream of connection.streams) {
      if (this.service.protocols.includes(stream.protocol)) stream.abort(new Error('gossip starts anew'));
    }
    void this.#topology?.onDisconnect?.(peer);
    void this.#topology?.onConnect?.(peer, connection);
  }

  #rememberTopology(registrar: GossipSubComponents['registrar']): GossipSubComponents['registrar'] {
    return overlay(registrar, {
      register: (protocol, topology) => {
        this.#topology = topology; // the same one for each version of the protocol
        return registrar.register(protocol, topology);
      },
    });
  }

  #name(topic: Topic): string {
    return topicName(this.#options.network, topic);
  }
}

/** P4 alone is harsh: a true reject is condemned by its bytes. Quiet topics must not cost an honest peer (P3, P3b off). */
const TOPIC_SCORE = {
  topicWeight: 1,
  timeInMeshWeight: 0.01,
  timeInMeshQuantum: 1000,
  timeInMeshCap: 100,
  firstMessageDeliveriesWeight: 0,
  firstMessageDeliveriesDecay: 0.5,
  firstMessageDeliveriesCap: 1,
  meshMessageDeliveriesWeight: 0,
  meshMessageDeliveriesDecay: 0.5,
  meshMessageDeliveriesCap: 1,
  meshMessageDeliveriesThreshold: 1,
  meshMessageDeliveriesWindow: 10,
  meshMessageDeliveriesActivation: 5_000,
  meshFailurePenaltyWeight: 0,
  meshFailurePenaltyDecay: 0.5,
  invalidMessageDeliveriesWeight: -10,
  invalidMessageDeliveriesDecay: 0.99,
};

const VERDICTS: Record<GossipVerdict, TopicValidatorResult> = {
  accept: TopicValidatorResult.Accept,
  ignore: TopicValidatorResult.Ignore,
  reject: TopicValidatorResult.Reject,
};

function stateOf(service: GossipSub): GossipSubState {
  const state = service as GossipSub & GossipSubState;
  const isWhole =
    state.peers instanceof Map &&
    state.streamsOutbound instanceof Map &&
    state.score.peerStats instanceof Map &&
    typeof state.getMeshPeers === 'function';
  if (!isWhole)
    throw new MeshError('internal', 'Cannot use this gossipsub: it does not show its peers, streams and scores');
  return state;
}
