/** A libp2p node that is none of ours: speaks every protocol of the network, and keeps none of its rules. */
import { noise } from '@chainsafe/libp2p-noise';
import { generateKeyPairFromSeed } from '@libp2p/crypto/keys';
import { type GossipSub, gossipsub } from '@libp2p/gossipsub';
import { identify } from '@libp2p/identify';
import type { Libp2p } from '@libp2p/interface';
import { type KadDHT, kadDHT } from '@libp2p/kad-dht';
import { type Ping, ping } from '@libp2p/ping';
import { tcp } from '@libp2p/tcp';
import { yamux } from '@libp2p/yamux';
import { multiaddr } from '@multiformats/multiaddr';
import { createLibp2p } from 'libp2p';
import { concatBytes, encodeVarint, protocolId, TOPICS, topicName } from '../../../protocol/index.ts';
import type { Libp2pNetwork } from '../../../daemon/libp2p/index.ts';
import { addressOf, seedOf, type World } from './world.ts';

export type Stranger = Libp2p<{ ping: Ping; gossip: GossipSub; dht: KadDHT }>;

export async function createStranger(
  world: World,
  number: number,
  network = 'agentmesh',
  options: { readonly signs?: boolean } = {},
): Promise<Stranger> {
  const node: Stranger = await createLibp2p({
    privateKey: await generateKeyPairFromSeed('Ed25519', seedOf(number)),
    addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
    transports: [tcp()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    connectionMonitor: { enabled: false },
    services: {
      identify: identify(),
      ping: ping({ maxInboundStreams: 8, maxOutboundStreams: 8 }),
      gossip: gossipsub({
        globalSignaturePolicy: options.signs === true ? 'StrictSign' : 'StrictNoSign',
        allowPublishToZeroTopicPeers: true,
        fallbackToFloodsub: false,
      }),
      dht: kadDHT({
        protocol: protocolId(network, 'kad'),
        clientMode: false,
        allowQueryWithZeroPeers: true,
        peerInfoMapper: (info) => info,
      }),
    },
  });
  world.own({ close: () => node.stop() });
  for (const topic of TOPICS) node.services.gossip.subscribe(topicName(network, topic));
  return node;
}

export const dialFrom = (node: Stranger, network: Libp2pNetwork): ReturnType<Stranger['dial']> =>
  node.dial(multiaddr(addressOf(network)));

const prefixed = (bytes: Uint8Array): Uint8Array => concatBytes(encodeVarint(bytes.length), bytes);
const field = (number: number, bytes: Uint8Array): Uint8Array =>
  concatBytes(Uint8Array.of(number * 8 + 2), prefixed(bytes));

/** An RPC of gossipsub with one message: publish (2) of data (2) and topic (4), after its length. */
export const gossipRpc = (topic: string, data: Uint8Array): Uint8Array =>
  prefixed(field(2, concatBytes(field(2, data), field(4, new TextEncoder().encode(topic)))));

/** A question of kad-dht, after its length: type (1) 4 is FIND_NODE, key (2). */
export const findNode = (key: Uint8Array): Uint8Array => prefixed(concatBytes(Uint8Array.of(8, 4), field(2, key)));

/** An order of kad-dht, after its length: type (1) 0 is PUT_VALUE, key (2), record (3) with key (1) and value (2). */
export const putValue = (key: Uint8Array, value: Uint8Array): Uint8Array =>
  prefixed(concatBytes(Uint8Array.of(8, 0), field(2, key), field(3, concatBytes(field(1, key), field(2, value)))));
