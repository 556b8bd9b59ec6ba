import type { Agent, Sponsor, Status } from '../../protocol/control/index.ts';
import { formatFields, type View } from '../text/table.ts';
import { formatCapability, type Immutable } from './common.ts';

/** What `init` made. */
export interface Init {
  readonly organisation: Immutable<Status['organisation']>;
  readonly sponsor: Immutable<Sponsor>;
  readonly agent: Immutable<Agent>;
  /** Whether the organisation was made too. */
  readonly isNew: boolean;
  readonly home: string;
  readonly config: string | null;
  /** Folder of the recovery keys, when they were made. */
  readonly recovery: string | null;
}

export function formatInit({ organisation, sponsor, agent, isNew, home, config, recovery }: Init, view: View): string {
  const { paint } = view;
  const head = `${paint('good', 'created')} ${isNew ? 'organisation, sponsor and agent' : 'agent'}\n\n`;
  const fields = formatFields(
    [
      ['Organisation', organisation.name === null ? organisation.did : [organisation.name, organisation.did]],
      ['Sponsor', [sponsor.contact, sponsor.did]],
      ['Agent', [agent.name, agent.did]],
      ['May', agent.capabilities.map(formatCapability)],
      ['Status', agent.status === 'unregistered' ? 'not published yet' : agent.status],
      ['Home', home],
      ['Settings', config ?? '-'],
      ...(recovery === null ? [] : [['Recovery keys', recovery] as const]),
    ],
    view,
  );
  const warning =
    recovery === null
      ? ''
      : `\n${paint('warn', 'Move the recovery keys offline')}, to two places: any two of the three can take the organisation back, or away.\n`;
  return head + fields + warning;
}
