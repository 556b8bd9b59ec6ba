import type { Sponsor } from '../../protocol/control/index.ts';
import { formatFields, formatTable, type View } from '../text/table.ts';
import { formatTime, formatTimeFully } from '../text/time.ts';
import { type Immutable, statusCell } from './common.ts';

type SponsorView = Immutable<Sponsor>;

export function formatSponsors(sponsors: readonly SponsorView[], view: View): string {
  if (sponsors.length === 0) return 'This organisation has no sponsors.\n';
  return formatTable(
    sponsors,
    [
      { title: 'Contact', cell: ({ contact }) => ({ text: contact, tone: 'strong' }) },
      { title: 'Name', cell: ({ name }) => name ?? '-' },
      { title: 'Status', cell: ({ status }) => statusCell(status) },
      { title: 'DID', cell: ({ did }) => did },
      { title: 'Agents', cell: ({ agents, agentsMax }) => `${agents} of ${agentsMax}`, align: 'right' },
      { title: 'Created', cell: ({ createdAt }) => formatTime(createdAt, view.nowMs), optional: true },
    ],
    view,
  );
}

export const formatSponsor = (sponsor: SponsorView, view: View): string =>
  formatFields(
    [
      ['Contact', `${sponsor.contact} (never leaves this machine)`],
      ['Name', sponsor.name ?? '-'],
      ['DID', sponsor.did],
      ['Status', statusCell(sponsor.status)],
      ['Agents', `${sponsor.agents} of at most ${sponsor.agentsMax}`],
      ['Created', formatTimeFully(sponsor.createdAt, view.nowMs)],
    ],
    view,
  );
