/**
 * A daemon's core in this process, composed as daemon/daemon.ts does it, on real LevelDB and real libp2p, without a
 * control server. Whoever plays a dishonest peer puts its own Network in between.
 */
import { randomBytes } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { createBackend } from '../../daemon/core/backend.ts';
import { MeshNode, type NodeComponents, type NodeOptions } from '../../daemon/core/node.ts';
import { openKeyRing } from '../../daemon/keys/ring.ts';
import { createLibp2pNetwork } from '../../daemon/libp2p/index.ts';
import type { Clock, Logger, Network, Random } from '../../daemon/ports.ts';
import { createFileAnchor } from '../../daemon/store/anchor.ts';
import { openLevelStore } from '../../daemon/store/level.ts';
import { createSystemClock, createSystemRandom, sha256 } from '../../daemon/system.ts';
import type { Caller, ControlBackend } from '../../protocol/control/index.ts';
import { isSignatureValidSodium, SecretKey } from '../../protocol/sodium.ts';

const NODE_KEY = 'node';
const NETWORK = 'agentmesh';

export interface OwnNodeOptions extends NodeOptions {
  /** A directory of its own. */
  readonly home: string;
  readonly name: string;
  readonly bootstrap?: readonly string[];
  /** Default: loopback, a free port. */
  readonly listen?: readonly string[];
  /** What the core is given in place of the network. */
  readonly wrap?: (network: Network) => Network;
  /** In place of those of the system. */
  readonly components?: Partial<NodeComponents>;
  /** Is told warnings and errors; default: nobody is. */
  readonly log?: Logger;
}

export interface OwnNode extends AsyncDisposable {
  readonly node: MeshNode;
  readonly api: ControlBackend;
  readonly network: Network;
  readonly clock: Clock;
  readonly random: Random;
  readonly did: string;
  readonly addresses: readonly string[];
}

const silent = (): void => {};
export const SILENT: Logger = { debug: silent, info: silent, warn: silent, error: silent };
export const operator: Caller = { kind: 'operator' };
export const never: AbortSignal = new AbortController().signal;

export async function openOwnNode(options: OwnNodeOptions): Promise<OwnNode> {
  const { home, name, bootstrap = [], listen = ['/ip4/127.0.0.1/tcp/0'], wrap, log = SILENT, ...rest } = options;
  await using opened = new AsyncDisposableStack();
  await mkdir(home, { recursive: true, mode: 0o700 });
  const clock = createSystemClock();
  const random = createSystemRandom();
  const store = opened.use(await openLevelStore(join(home, 'database')));
  const anchor = opened.use(createFileAnchor(join(home, 'anchor')));
  const keys = opened.use(await openKeyRing({ directory: join(home, 'keys'), passphrase: undefined, random, log }));
  const nodeSigner = keys.has(NODE_KEY) ? keys.signer(NODE_KEY) : await keys.create(NODE_KEY);
  const libp2p = opened.use(
    await createLibp2pNetwork(
      { clock, random, log },
      {
        privateKeySeed: keys.exportSeed(NODE_KEY),
        network: NETWORK,
        listen,
        bootstrap,
        directory: join(home, 'peers'),
      },
    ),
  );
  const network = wrap?.(libp2p) ?? libp2p;
  const { components, ...nodeOptions } = rest;
  const node = await MeshNode.open(
    {
      network,
      store,
      keys,
      clock,
      random,
      log,
      isSignatureValid: isSignatureValidSodium,
      nodeSigner,
      ephemeralSigner: () => new SecretKey(randomBytes(32)),
      anchor,
      sha256,
      makeRecoveryKeys: recoveryKeys,
      ...components,
    },
    { networkName: NETWORK, organisationName: name, ...nodeOptions },
  );
  opened.defer(() => node.close());
  await node.start();
  await libp2p.start();
  const api = createBackend(node, {
    version: 'test',
    home,
    socket: '',
    startedMs: clock.nowMs(),
    networkName: NETWORK,
    keysEncrypted: false,
    listening: 'loopback',
    witnessUrl: null,
    warnings: () => [],
  });
  const owned = opened.move();
  return {
    node,
    api,
    network,
    clock,
    random,
    did: node.organisation.did,
    addresses: libp2p.addresses(),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

const recoveryKeys = async (count: number): Promise<Uint8Array[]> =>
  Array.from({ length: count }, () => new SecretKey(randomBytes(32)).publicKey);
