import type { Peer } from '../../protocol/control/index.ts';
import { type Column, formatFields, formatTable, type View } from '../text/table.ts';
import { formatLatency, formatTime, formatTimeFully } from '../text/time.ts';
import type { Immutable } from './common.ts';

type PeerView = Immutable<Peer>;

const heartbeatOf = ({ lastHeartbeatAgeSeconds, lastHeartbeatAt }: PeerView, view: View): string =>
  lastHeartbeatAgeSeconds === null
    ? formatTime(lastHeartbeatAt, view.nowMs)
    : formatTime(view.nowMs - lastHeartbeatAgeSeconds * 1000, view.nowMs);

export function formatPeers(peers: readonly PeerView[], view: View): string {
  if (peers.length === 0) return 'No peers are connected.\n';
  const columns: Column<PeerView>[] = [
    { title: 'DID', cell: ({ did }) => (did === null ? { text: 'not bound', tone: 'warn' } : did) },
    { title: 'PeerId', cell: ({ peerId }) => peerId },
    { title: 'Address', cell: ({ addresses }) => addressOf(addresses) },
    { title: 'Dir', cell: ({ direction }) => (direction === 'inbound' ? 'in' : 'out'), optional: true },
    { title: 'Latency', cell: ({ latencyMs }) => formatLatency(latencyMs), align: 'right' },
    { title: 'Heartbeat', cell: (peer) => heartbeatOf(peer, view), align: 'right' },
    { title: 'Agents', cell: ({ agents }) => String(agents), align: 'right' },
    {
      title: 'Since',
      cell: ({ connectedSince }) => formatTime(connectedSince, view.nowMs),
      align: 'right',
      optional: true,
    },
    { title: 'Protocols', cell: ({ protocols }) => protocolsOf(protocols).join(' ') },
  ];
  return formatTable(peers, columns, view);
}

export const formatPeer = (peer: PeerView, view: View): string =>
  formatFields(
    [
      ['DID', peer.did ?? { text: 'not bound to an organisation (yet)', tone: 'warn' }],
      ['PeerId', peer.peerId],
      ['Addresses', peer.addresses],
      ['Direction', peer.direction],
      ['Latency', formatLatency(peer.latencyMs)],
      ['Heartbeat', heartbeatOf(peer, view)],
      ['Agents', String(peer.agents)],
      ['Connected', formatTimeFully(peer.connectedSince, view.nowMs)],
      ['Protocols', protocolsOf(peer.protocols).join(' ')],
    ],
    view,
  );

/** Its PeerId has a column of its own. */
const addressOf = (addresses: readonly string[]): string => (addresses[0] ?? '-').replace(/\/p2p\/[^/]+$/, '');

/** "/agentmesh/<network>/sync/1.0.0" as "sync", "/ipfs/ping/1.0.0" as "ping"; each once. */
export function protocolsOf(protocols: readonly string[]): string[] {
  const names = protocols.map((protocol) => {
    const parts = protocol.split('/').filter((part) => part !== '' && !/^\d+(?:\.\d+)*$/.test(part));
    return parts.slice(parts[0] === 'agentmesh' ? 2 : parts[0] === 'ipfs' ? 1 : 0).join('/');
  });
  return [...new Set(names)].filter((name) => name !== '').toSorted();
}
