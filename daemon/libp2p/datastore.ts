import { type Datastore, Key } from 'interface-datastore';
import { LevelDatastore } from 'datastore-level';
import { limits, MeshError } from '../../protocol/index.ts';
import type { Logger } from '../ports.ts';
import { messageOf } from './deadline.ts';
import type { KnownPeer } from './peers.ts';

/** libp2p's datastore, with one row of our own for the peers to dial at the next start. */
export interface PeerDatastore {
  /** Undefined: libp2p's own, in memory. */
  readonly datastore: Datastore | undefined;
  loadKnownPeers(log: Logger): Promise<KnownPeer[]>;
  saveKnownPeers(peers: readonly KnownPeer[]): Promise<void>;
  close(): Promise<void>;
}

const KNOWN_PEERS = new Key('/agentmesh/known-peers');

/** Errors: already_running, store_corrupt. */
export async function openDatastore(directory: string | undefined): Promise<PeerDatastore> {
  if (directory === undefined) return FORGETFUL;
  const datastore = new LevelDatastore(directory);
  try {
    await datastore.db.open(); // LevelDatastore's own open() hides why it failed
  } catch (cause) {
    throw openError(directory, cause);
  }
  return new DirectoryDatastore(datastore);
}

const FORGETFUL: PeerDatastore = {
  datastore: undefined,
  loadKnownPeers: async () => [],
  saveKnownPeers: async () => undefined,
  close: async () => undefined,
};

class DirectoryDatastore implements PeerDatastore {
  readonly datastore: LevelDatastore;

  constructor(datastore: LevelDatastore) {
    this.datastore = datastore;
  }

  /** A row that cannot be read costs the peers of the last run, no more: bootstrap peers are configured. */
  async loadKnownPeers(log: Logger): Promise<KnownPeer[]> {
    if (!(await this.datastore.has(KNOWN_PEERS))) return [];
    try {
      return parseKnownPeers(new TextDecoder().decode(await this.datastore.get(KNOWN_PEERS)));
    } catch (cause) {
      log.warn({ cause: messageOf(cause) }, 'known peers could not be read');
      return [];
    }
  }

  async saveKnownPeers(peers: readonly KnownPeer[]): Promise<void> {
    await this.datastore.put(KNOWN_PEERS, new TextEncoder().encode(JSON.stringify(peers)));
  }

  close(): Promise<void> {
    return this.datastore.close();
  }
}

/** Errors: store_corrupt. */
export function parseKnownPeers(text: string): KnownPeer[] {
  let rows: unknown;
  try {
    rows = JSON.parse(text);
  } catch (cause) {
    throw new MeshError('store_corrupt', 'Cannot read known peers: not JSON', {}, { cause });
  }
  if (!Array.isArray(rows) || !rows.every(isKnownPeer))
    throw new MeshError('store_corrupt', 'Cannot read known peers: not what was written');
  return rows.slice(0, limits.KNOWN_PEERS_MAX);
}

function isKnownPeer(row: unknown): row is KnownPeer {
  if (typeof row !== 'object' || row === null) return false;
  const { peer, addresses, seenMs } = row as Partial<Record<keyof KnownPeer, unknown>>;
  const isAddressList = Array.isArray(addresses) && addresses.every((address) => typeof address === 'string');
  return typeof peer === 'string' && isAddressList && typeof seenMs === 'number';
}

function openError(directory: string, cause: unknown): MeshError {
  const reason = cause instanceof Error ? cause.cause : undefined;
  const isLocked = reason instanceof Error && 'code' in reason && reason.code === 'LEVEL_LOCKED';
  if (isLocked)
    return new MeshError(
      'already_running',
      `Cannot open "${directory}": another process holds it`,
      { path: directory },
      { cause },
    );
  return new MeshError(
    'store_corrupt',
    `Cannot open "${directory}": ${messageOf(reason ?? cause)}`,
    { path: directory },
    { cause },
  );
}
