/** A libp2p node (TCP, Noise, Yamux) that echoes what comes, as its own process: prints its address. For bench/handshake.ts. */
import { noise } from '@chainsafe/libp2p-noise';
import { tcp } from '@libp2p/tcp';
import { yamux } from '@libp2p/yamux';
import { createLibp2p } from 'libp2p';

export const ECHO = '/echo/1.0.0';
export const createBare = async (listen: readonly string[]) =>
  createLibp2p({
    addresses: { listen: [...listen] },
    transports: [tcp()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    connectionManager: { inboundConnectionThreshold: Number.POSITIVE_INFINITY },
  });

if (process.argv[2] === 'serve') {
  const node = await createBare(['/ip4/127.0.0.1/tcp/0']);
  await node.handle(
    ECHO,
    async (stream) => {
      for await (const bytes of stream) stream.send(bytes);
    },
    { maxInboundStreams: 1_024 },
  );
  console.log(node.getMultiaddrs()[0]?.toString());
  process.once('disconnect', () => process.exit(0));
}
