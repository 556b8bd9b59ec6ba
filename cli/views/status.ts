import type { Status } from '../../protocol/control/index.ts';
import { type Cell, formatFields, type View } from '../text/table.ts';
import { formatBytes, formatCount, formatDuration, formatTimeFully } from '../text/time.ts';
import type { Immutable } from './common.ts';
import { statusCell } from './common.ts';
import { logCell } from './log.ts';

const LISTENING: Readonly<Record<Status['listening'], Cell>> = {
  none: { text: 'nowhere: this daemon only dials out', tone: 'warn' },
  loopback: { text: 'this machine only', tone: 'warn' },
  private: 'the local network',
  public: 'the internet',
};

export function formatStatus(status: Immutable<Status>, view: View): string {
  const { organisation, statements, peers } = status;
  const name = organisation.name ?? 'without a name';
  const fields: (readonly [string, Cell | readonly Cell[]])[] = [
    ['Organisation', [name, organisation.did]],
    ['State', statusCell(organisation.status)],
    ['PeerId', status.peerId],
    ['Network', status.network],
    ['Reachable from', LISTENING[status.listening]],
    ['Addresses', status.addresses.length === 0 ? '-' : status.addresses],
    ['Peers', peersCell(peers)],
    ['Agents', `${formatCount(status.agents, 'agent')}, ${formatCount(status.sponsors, 'sponsor')}`],
    ['Sessions', formatCount(status.sessions, 'open session')],
    ['Exposed', status.exposed === 0 ? 'nothing' : formatCount(status.exposed, 'MCP server')],
    ['Statements', `${formatCount(statements.count, 'statement')}, ${formatBytes(statements.bytes)}`],
    ['Set', `${statements.setRoot.slice(0, 16)}… (equal on daemons that hold the same)`],
    ['Audit log', logCell(status.log)],
    ['Keys', status.keysEncrypted ? 'encrypted' : { text: 'not encrypted', tone: 'warn' }],
    ['Home', status.home],
    ['Socket', status.socket],
    ['Daemon', `${status.version}, up ${formatDuration(status.uptimeSeconds)}`],
    ['Started', formatTimeFully(status.startedAt, view.nowMs)],
  ];
  const warnings = status.warnings.map(({ message }) => `${view.paint('warn', 'warning')} ${message}\n`);
  return formatFields(fields, view) + (warnings.length === 0 ? '' : `\n${warnings.join('')}`);
}

function peersCell({ connected, bound }: Status['peers']): Cell {
  if (connected === 0) return { text: 'none connected', tone: 'warn' };
  return `${connected} connected, ${bound} of them bound to an organisation`;
}
