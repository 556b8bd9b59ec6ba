/** The door of daemon/libp2p: the Network port, with libp2p behind it. */
export { createLibp2pNetwork, type Libp2pNetwork } from './network.ts';
export type { Libp2pNetworkOptions } from './options.ts';
