/** Who signed two histories, and the proof that anybody can check. */
import type { ConvictionAnswer, ConvictionProofView, ConvictionView } from '../../protocol/control/index.ts';
import { isMeshError } from '../../protocol/index.ts';
import { parseCheckpoint } from '../../protocol/log/index.ts';
import { type Cell, type Column, formatFields, formatTable, type View } from '../text/table.ts';
import { formatTimeFully } from '../text/time.ts';
import { formatDid, formatDidShort, type Immutable, type Names, NO_NAMES } from './common.ts';

type Conviction = Immutable<ConvictionView>;

const stateCell = ({ inForce }: Conviction): Cell =>
  inForce ? { text: 'convicted', tone: 'bad' } : { text: 'lifted here', tone: 'warn' };

export function formatConvictions(convictions: readonly Conviction[], view: View, names: Names = NO_NAMES): string {
  if (convictions.length === 0) return 'Nobody is convicted: no proof of two histories is held here.\n';
  const columns: Column<Conviction>[] = [
    { title: 'Organisation', cell: ({ did }) => formatDidShort(did, names) },
    { title: 'State', cell: stateCell },
    { title: 'By its', cell: ({ of }) => of.join(', ') },
    { title: 'Reason of lifting', cell: ({ lifted }) => lifted?.reason ?? '-', optional: true },
  ];
  return formatTable(convictions, columns, view);
}

export function formatConviction(
  { conviction, proofs }: Immutable<ConvictionAnswer>,
  view: View,
  names: Names = NO_NAMES,
): string {
  const { did, lifted } = conviction;
  const head = formatFields(
    [
      ['Organisation', formatDid(did, names)],
      ['State', stateCell(conviction)],
      ...(lifted === null
        ? []
        : ([
            ['Lifted', formatTimeFully(lifted.at, view.nowMs)],
            ['Reason', lifted.reason],
          ] as const)),
    ],
    view,
  );
  return [head, ...proofs.map((proof) => formatProof(proof, view))].join('\n');
}

function formatProof(proof: Immutable<ConvictionProofView>, view: View): string {
  const { id, of, log, witness, a, b } = proof;
  const whose = of === 'log' ? 'its log' : 'its witness';
  return `Proof ${id}: ${whose} signed two histories\n${formatFields(
    [
      ['Key', log ?? witness ?? '-'],
      ['One note', noteCell(a)],
      ['Other note', noteCell(b)],
      [
        'Why',
        'no log has both: its root at the smaller size follows from the larger note and the proof, and is another',
      ],
    ],
    view,
  )}`;
}

function noteCell(base64url: string): Cell {
  try {
    const { origin, treeSize, root } = parseCheckpoint(Buffer.from(base64url, 'base64url')).checkpoint;
    return `${origin}, ${treeSize} entries, root ${Buffer.from(root).toString('base64')}`;
  } catch (error) {
    if (!isMeshError(error)) throw error;
    return { text: 'not readable', tone: 'bad' };
  }
}
