import type { DidResolved, DidView, OperationAnswer } from '../../protocol/control/index.ts';
import { type Cell, formatFields, formatTable, type View } from '../text/table.ts';
import { formatDuration, formatTime, formatTimeFully } from '../text/time.ts';
import { type Immutable, plural, statusCell } from './common.ts';

type Fields = readonly (readonly [string, Cell | readonly Cell[]])[];

const KINDS: Readonly<Record<DidView['kind'], string>> = { org: 'organisation', person: 'person', agent: 'agent' };

export function formatDidView(did: Immutable<DidView>, view: View, more: Fields = []): string {
  const { kind, revoked, freshness } = did;
  const fields: Fields = [
    ['DID', did.did],
    ['Kind', KINDS[kind]],
    ...(kind === 'org' ? [] : [['Organisation', did.organisation] as const]),
    [
      'State',
      did.contested ? [statusCell(did.status), 'updates competed; the lowest id was followed'] : statusCell(did.status),
    ],
    ...(revoked === null ? [] : [['Revoked', revokedCells(revoked, view)] as const]),
    ['Log', `${plural(did.seq + 1, 'operation')}, head ${did.head}`],
    ...(did.peers.length === 0 ? [] : [['Peers', did.peers] as const]),
    ...(did.services.length === 0
      ? []
      : [['Services', did.services.map(({ type, endpoint }) => `${type}  ${endpoint}`)] as const]),
    ...(did.rotation.commitments === 0 ? [] : [['Rotation', committed(did.rotation)] as const]),
    ...(did.recovery.commitments === 0 ? [] : [['Recovery', committed(did.recovery)] as const]),
    ['Created', formatTimeFully(did.createdAt, view.nowMs)],
    ['Updated', formatTimeFully(did.updatedAt, view.nowMs)],
    ['Known as of', freshnessCell(freshness)],
    ...more,
  ];
  return `${formatFields(fields, view)}\n${formatKeys(did.keys, view)}`;
}

const committed = ({ threshold, commitments }: DidView['rotation']): string =>
  `${threshold} of ${plural(commitments, 'committed key')} must sign`;

const revokedCells = ({ by, at, reason }: Immutable<NonNullable<DidView['revoked']>>, { nowMs }: View): Cell[] => [
  { text: formatTimeFully(at, nowMs), tone: 'bad' },
  `by ${by}`,
  ...(reason === '' ? [] : [`because "${reason}"`]),
];

function freshnessCell({ ageSeconds, revocations }: DidView['freshness']): Cell {
  if (ageSeconds === null) return { text: 'no heartbeat of its organisation is held', tone: 'warn' };
  return `${formatDuration(ageSeconds)} ago, by a heartbeat; ${plural(revocations, 'revocation')} of its organisation`;
}

function formatKeys(keys: Immutable<DidView['keys']>, view: View): string {
  if (keys.length === 0) return 'It lists no keys.\n';
  const standing = (key: Immutable<DidView['keys'][number]>): Cell => {
    if (key.standing === 'current') return { text: 'current', tone: 'good' };
    if (key.standing === 'dead') return { text: 'dead', tone: 'bad' };
    return {
      text: key.until === null ? 'retired' : `retired, counts until ${formatTime(key.until, view.nowMs)}`,
      tone: 'warn',
    };
  };
  return formatTable(
    keys,
    [
      { title: 'Key', cell: ({ key }) => key },
      { title: 'Uses', cell: ({ uses }) => uses.join(', ') },
      { title: 'Standing', cell: standing },
    ],
    view,
  );
}

const SOURCES: Readonly<Record<DidResolved['source'], string>> = {
  local: 'held here already',
  peer: 'learnt from a connected peer',
  dht: 'learnt from a provider in the DHT',
};

export const formatResolved = ({ resolved, source, from }: Immutable<DidResolved>, view: View): string =>
  formatDidView(resolved, view, [['Source', from === null ? SOURCES[source] : `${SOURCES[source]}: ${from}`]]);

const DONE: Readonly<Record<OperationAnswer['operation'], string>> = {
  rotate: 'rotated',
  recover: 'recovered',
  deactivate: 'deactivated',
};

export function formatOperation(answer: Immutable<OperationAnswer>, files: readonly string[], view: View): string {
  const head = `${view.paint('good', DONE[answer.operation])} ${answer.did}\n\n`;
  const fields = formatFields(
    [
      ['Operation', `${answer.id} (number ${answer.seq})`],
      ['Keys now', answer.keys.map(({ key, uses }) => `${key}  ${uses.join(', ')}`)],
      ...(files.length === 0 ? [] : [['New key files', files] as const]),
    ],
    view,
  );
  const note =
    files.length === 0 ? '' : '\nTake the new key files offline: whoever has them can take the organisation over.\n';
  return head + fields + note;
}
