/**
 * Finds the log of a DID: here, then from connected peers, then through DHT providers (SPEC "Resolution"). Every answer
 * goes through the door, so it is verified from genesis and joins what is held: a short log cannot hide a long one.
 */
import { type DidState, genesisIdOf, isMeshError, MeshError } from '../../protocol/index.ts';
import type { Clock, Logger, Network } from '../ports.ts';
import { deadline } from './deadline.ts';
import type { Pipeline } from './pipeline.ts';
import type { Sync } from './sync.ts';

export interface ResolverComponents {
  readonly network: Network;
  readonly pipeline: Pipeline;
  readonly sync: Sync;
  readonly clock: Clock;
  readonly log: Logger;
}

export interface Resolved {
  readonly state: DidState;
  readonly source: 'local' | 'peer' | 'dht';
  readonly from: string | null;
}

const PEERS_ASKED = 8; // connected ones, before the DHT is asked
const DHT_TIMEOUT_MS = 10_000; // a look-up of a missing key takes 0.2 to 0.5 s on a LAN
const DIAL_TIMEOUT_MS = 5_000;

export class Resolver {
  readonly #components: ResolverComponents;

  constructor(components: ResolverComponents) {
    this.#components = components;
  }

  /** Errors: did_unknown, when nobody who could be asked knows it; cancelled. */
  async resolve(
    did: string,
    { peer, signal }: { readonly peer?: string; readonly signal?: AbortSignal } = {},
  ): Promise<Resolved> {
    const { pipeline, sync } = this.#components;
    const held = pipeline.state.didState(did);
    if (held !== undefined) return { state: held, source: 'local', from: null };
    for (const candidate of [...new Set([...(peer === undefined ? [] : [peer]), ...sync.boundPeers()])].slice(
      0,
      PEERS_ASKED,
    )) {
      const state = await this.#learn(did, candidate, signal);
      if (state !== undefined) return { state, source: 'peer', from: candidate };
    }
    for await (const provider of this.#providers(did, signal)) {
      const state = await this.#learn(did, provider, signal);
      if (state !== undefined) return { state, source: 'dht', from: provider };
    }
    throw new MeshError(
      'did_unknown',
      `Cannot resolve "${did}": not held here, and no peer that could be asked knows it`,
      { did },
    );
  }

  /** Tries to have a bound connection to the organisation: by the PeerIds that it lists, then by providers of its DID. */
  async connect(organisation: string, signal: AbortSignal): Promise<void> {
    const { network, pipeline, sync } = this.#components;
    for (const peer of pipeline.state.didState(organisation)?.peers ?? []) {
      if (peer !== network.peer && (await this.#dial(peer, signal)) && (await this.#untilBound(peer, signal))) return;
    }
    if (sync.peersOf(organisation).length > 0) return;
    for await (const provider of this.#providers(organisation, signal)) {
      if (await this.#untilBound(provider, signal)) return;
    }
  }

  async #learn(did: string, peer: string, signal: AbortSignal | undefined): Promise<DidState | undefined> {
    const { sync, pipeline, log } = this.#components;
    try {
      await sync.learnLog(did, peer, signal);
    } catch (error) {
      if (signal?.aborted === true || !isMeshError(error)) throw error;
      log.debug({ did, peer, code: error.code }, 'a peer could not say who a DID is');
    }
    return pipeline.state.didState(did);
  }

  /** Connected peers that the DHT names for a DID. */
  async *#providers(did: string, signal: AbortSignal | undefined): AsyncIterable<string> {
    const { network, log } = this.#components;
    const either = deadline(this.#components.clock, DHT_TIMEOUT_MS, signal);
    try {
      for await (const { peer, addresses } of network.providers(genesisIdOf(did), { signal: either })) {
        if (peer === network.peer) continue;
        network.rememberPeer(peer, addresses);
        if (await this.#dial(peer, either)) yield peer;
      }
    } catch (error) {
      if (signal?.aborted === true) throw error;
      log.debug({ did, error }, 'the DHT was of no help');
    }
  }

  async #dial(peer: string, signal: AbortSignal): Promise<boolean> {
    const { network, log } = this.#components;
    if (network.connections().some((connection) => connection.peer === peer)) return true;
    try {
      await network.dial(peer, { signal: deadline(this.#components.clock, DIAL_TIMEOUT_MS, signal) });
      return true;
    } catch (error) {
      if (!isMeshError(error)) throw error;
      log.debug({ peer, code: error.code }, 'a peer could not be reached');
      return false;
    }
  }

  async #untilBound(peer: string, signal: AbortSignal): Promise<boolean> {
    const { sync } = this.#components;
    return sync.untilBound(peer, deadline(this.#components.clock, DIAL_TIMEOUT_MS, signal));
  }
}
