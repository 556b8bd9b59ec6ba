/** Whole nodes of the daemon's core in one process: memory network, memory store, virtual time. */
import { createBackend } from '../../../daemon/core/backend.ts';
import type { AuditLog } from '../../../daemon/core/log/audit-log.ts';
import { MeshNode, type NodeComponents, type NodeOptions } from '../../../daemon/core/node.ts';
import type { Keys, Signer } from '../../../daemon/ports.ts';
import { MemoryStore } from '../../../daemon/store/memory.ts';
import type { ControlBackend } from '../../../protocol/control/index.ts';
import { peerIdOfKey } from '../../../protocol/index.ts';
import { isSignatureValidSodium } from '../../../protocol/sodium.ts';
import { keyOf } from '../../builders.ts';
import { seededRandom } from '../../random.ts';
import { quiet } from './handshake-world.ts';
import { MemoryAnchor } from './log/log-world.ts';
import { MemoryMesh, type MemoryNetwork } from './memory-network.ts';
import { VirtualClock } from './virtual-clock.ts';

export interface Member {
  readonly name: string;
  readonly node: MeshNode;
  readonly api: ControlBackend;
  readonly network: MemoryNetwork;
  readonly store: MemoryStore;
  readonly did: string;
  readonly auditLog: AuditLog;
}

/** Keys from names, so that a node opened again has the same. */
function memoryKeys(owner: string): Keys {
  const names = new Set<string>();
  const signer = (name: string): Signer => keyOf(`${owner}/${name}`);
  return {
    names: () => [...names],
    has: (name) => names.has(name),
    signer,
    create: async (name) => {
      names.add(name);
      return signer(name);
    },
    remove: async (name) => {
      names.delete(name);
    },
  };
}

export class NodeWorld {
  readonly clock = new VirtualClock();
  readonly mesh = new MemoryMesh({ clock: this.clock });
  readonly members = new Map<string, Member>();
  readonly #keys = new Map<string, Keys>();
  /** Of each store, the file beside it. */
  readonly anchors = new WeakMap<MemoryStore, MemoryAnchor>();
  readonly #options: NodeOptions;
  #ephemeral = 0;

  constructor(options: NodeOptions = {}) {
    this.#options = options;
  }

  /** Opens a node; with the store of one that was there before, it is that one again. */
  async open(
    name: string,
    store = new MemoryStore(),
    options: NodeOptions = {},
    more: Partial<NodeComponents> = {},
  ): Promise<Member> {
    const nodeSigner = keyOf(`${name}/node`);
    const random = seededRandom(
      [...name].reduce((sum, letter) => sum * 31 + letter.charCodeAt(0), this.members.size + 1),
    );
    const keys = this.#keys.get(name) ?? memoryKeys(name);
    this.#keys.set(name, keys);
    const peer = peerIdOfKey(nodeSigner.publicKey);
    this.mesh.nodes.delete(peer);
    const network = this.mesh.join(peer);
    const anchor = this.anchors.get(store) ?? new MemoryAnchor();
    this.anchors.set(store, anchor);
    const node = await MeshNode.open(
      {
        network,
        store,
        keys,
        clock: this.clock,
        random: {
          bytes: (count) => Uint8Array.from({ length: count }, () => Math.floor(random() * 256)),
          fraction: random,
        },
        log: quiet,
        isSignatureValid: isSignatureValidSodium,
        nodeSigner,
        ephemeralSigner: () => keyOf(`${name}/ephemeral/${++this.#ephemeral}`),
        makeRecoveryKeys: async (count) =>
          Array.from({ length: count }, (_, i) => keyOf(`${name}/recovery-${i}`).publicKey),
        anchor,
        ...more,
      },
      { organisationName: name, ...this.#options, ...options },
    );
    await node.start();
    const api = createBackend(node, {
      version: '0.0.0',
      home: `/${name}`,
      socket: `/${name}/socket`,
      startedMs: this.clock.nowMs(),
      networkName: 'agentmesh',
      keysEncrypted: false,
      listening: 'loopback',
      witnessUrl: null,
      warnings: () => [],
    });
    const member: Member = {
      name,
      node,
      api,
      network,
      store,
      did: node.organisation.did,
      get auditLog() {
        return node.audit.auditLog;
      },
    };
    this.members.set(name, member);
    return member;
  }

  async close(): Promise<void> {
    const closing = [...this.members.values()].map(async ({ node, network }) => {
      await node.close();
      await network.close();
    });
    await this.clock.advance(0);
    await Promise.all(closing);
  }

  /** What somebody started, seen to its end while time passes. */
  async during<T>(work: Promise<T>, forMs = 100): Promise<T> {
    const settled = work.then(
      (value) => ({ value }),
      (error: unknown) => ({ error }),
    );
    await this.clock.advance(forMs);
    const result = await settled;
    if ('error' in result) throw result.error;
    return result.value;
  }
}

export const operator = { kind: 'operator' } as const;
export const never = new AbortController().signal;
/** An input of a route with what is left out. */
export const input = <B, P>(body: B, params: P = {} as P): { body: B; params: P; query: Record<never, never> } => ({
  body,
  params,
  query: {},
});
