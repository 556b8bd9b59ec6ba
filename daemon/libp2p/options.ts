import { multiaddr } from '@multiformats/multiaddr';
import { DEFAULT_NETWORK, isNetworkName, limits, MeshError } from '../../protocol/index.ts';
import { messageOf } from './deadline.ts';
import type { PinnedPeer } from './peers.ts';

export interface Libp2pNetworkOptions {
  /** Seed (RFC 8032) of the node's Ed25519 key, 32 bytes; its PeerId follows from it. */
  readonly privateKeySeed: Uint8Array;
  /** Name of the network; peers of other networks are hung up on. Default "agentmesh". */
  readonly network?: string;
  /** Multiaddrs to listen on. Default none: this node only dials. */
  readonly listen?: readonly string[];
  /** Multiaddrs of peers to start with, with or without /p2p/<PeerId>. Redialled for ever. Default none. */
  readonly bootstrap?: readonly string[];
  /** Multiaddrs of peers to stay connected to, with /p2p/<PeerId>: what an attacker cannot push out. Default none. */
  readonly anchors?: readonly string[];
  /** The text of a libp2p swarm key file (/key/swarm/psk/1.0.0/, /base16/, 64 hex digits). Default none. */
  readonly preSharedKey?: Uint8Array;
  /** Where known peers, libp2p's peer store and provider records are kept. Default: in memory, forgotten at the end. */
  readonly directory?: string;
  /** Peers to be connected to; the loop dials while there are fewer. Default 8. */
  readonly targetDegree?: number;
  /** Connections in all; beyond it inbound ones are refused. Default 300. */
  readonly connectionsMax?: number;
  /** True where many peers share an IP address or have private ones (one machine, one LAN, tests). Default false. */
  readonly localNetwork?: boolean;
  /** Milliseconds after which a connection to a peer that is not bound is closed. Default 10,000. */
  readonly unboundGraceMs?: number;
  /** Milliseconds between checks whether a connection still answers. Default 10,000. */
  readonly pingEveryMs?: number;
}

export interface CheckedOptions {
  readonly privateKeySeed: Uint8Array;
  readonly network: string;
  readonly listen: readonly string[];
  readonly pinned: readonly PinnedPeer[];
  readonly preSharedKey: Uint8Array | undefined;
  readonly directory: string | undefined;
  readonly targetDegree: number;
  readonly connectionsMax: number;
  readonly localNetwork: boolean;
  readonly unboundGraceMs: number;
  readonly pingEveryMs: number;
}

const SEED_BYTES = 32;
const PING_EVERY_MS = 10_000;
const SWARM_KEY = /^\/key\/swarm\/psk\/1\.0\.0\/\r?\n\/base16\/\r?\n[0-9a-fA-F]{64}\s*$/;

/** Errors: config_invalid. */
export function checkOptions(options: Libp2pNetworkOptions): CheckedOptions {
  if (options.privateKeySeed.length !== SEED_BYTES) {
    throw invalid('privateKeySeed', `seed is ${options.privateKeySeed.length} bytes, want ${SEED_BYTES}`);
  }
  const network = options.network ?? DEFAULT_NETWORK;
  if (!isNetworkName(network)) throw invalid('network', `"${network}" is no network name`);
  const listen = options.listen ?? [];
  for (const address of listen) peerOf('listen', address);
  return {
    privateKeySeed: options.privateKeySeed,
    network,
    listen,
    pinned: [...pinned('bootstrap', options.bootstrap ?? [], false), ...pinned('anchors', options.anchors ?? [], true)],
    preSharedKey: options.preSharedKey === undefined ? undefined : checkSwarmKey(options.preSharedKey),
    directory: options.directory,
    targetDegree: within('targetDegree', options.targetDegree ?? limits.DEGREE_DEFAULT, 1, limits.DEGREE_MAX),
    connectionsMax: within(
      'connectionsMax',
      options.connectionsMax ?? limits.CONNECTIONS_MAX,
      1,
      10 * limits.CONNECTIONS_MAX,
    ),
    localNetwork: options.localNetwork ?? false,
    unboundGraceMs: within(
      'unboundGraceMs',
      options.unboundGraceMs ?? limits.UNBOUND_GRACE_MS,
      1,
      10 * limits.UNBOUND_GRACE_MS,
    ),
    pingEveryMs: within('pingEveryMs', options.pingEveryMs ?? PING_EVERY_MS, 100, 10 * PING_EVERY_MS),
  };
}

function pinned(field: string, addresses: readonly string[], wantsPeer: boolean): PinnedPeer[] {
  return addresses.map((address) => {
    const peer = peerOf(field, address);
    if (wantsPeer && peer === undefined) throw invalid(field, `"${address}" names no PeerId, want …/p2p/12D3KooW…`);
    return { address, peer };
  });
}

/** The PeerId in the address, if there is one. */
function peerOf(field: string, address: string): string | undefined {
  if (address.length > limits.MULTIADDR_TEXT_MAX) throw invalid(field, `an address of ${address.length} characters`);
  try {
    return multiaddr(address)
      .getComponents()
      .findLast(({ name }) => name === 'p2p')?.value;
  } catch (cause) {
    throw invalid(field, `"${address}" is no multiaddr: ${messageOf(cause)}`);
  }
}

/** libp2p's own check looks at the last line only. */
function checkSwarmKey(key: Uint8Array): Uint8Array {
  if (!SWARM_KEY.test(new TextDecoder().decode(key)))
    throw invalid('preSharedKey', 'not the text of a libp2p swarm key file');
  return key;
}

function within(field: string, value: number, min: number, max: number): number {
  if (!Number.isFinite(value) || value < min || value > max)
    throw invalid(field, `${value} is out of bounds, want ${min} to ${max}`);
  return value;
}

const invalid = (field: string, what: string): MeshError =>
  new MeshError('config_invalid', `Cannot make a network: ${field}: ${what}`, { field });
