import type { Agent, RevocationAnswer, RevocationTargetJson } from '../../protocol/control/index.ts';
import { formatFields, type View } from '../text/table.ts';
import { formatTimeFully } from '../text/time.ts';
import { formatDid, type Immutable, type Names, NO_NAMES, plural } from './common.ts';

type Answer = Immutable<RevocationAnswer & { readonly agent?: Agent }>;

/** What was revoked, and everything that fell with it. */
export function formatRevocation(
  { revocation, cascade, sessionsEnded }: Answer,
  view: View,
  names: Names = NO_NAMES,
): string {
  const { target } = revocation;
  const head = `${view.paint('bad', 'revoked')} ${targetOf(target, names)}, for ever\n\n`;
  const fields = formatFields(
    [
      ['Revocation', `${revocation.id} (number ${revocation.number} of ${formatDid(revocation.organisation, names)})`],
      ['By', formatDid(revocation.issuer, names)],
      ['Reason', revocation.reason === '' ? '-' : revocation.reason],
      ['At', formatTimeFully(revocation.at, view.nowMs)],
      ['Sessions ended', String(sessionsEnded)],
    ],
    view,
  );
  return `${head}${fields}\n${cascadeOf(cascade, target)}`;
}

export const targetOf = (target: Immutable<RevocationTargetJson>, names: Names): string => {
  if ('link' in target) return `link ${target.link}`;
  const did = formatDid(target.did, names);
  return 'key' in target ? `key ${target.key} of ${did}` : did;
};

function cascadeOf(cascade: readonly string[], target: Immutable<RevocationTargetJson>): string {
  const others = cascade.filter((id) => !('link' in target) || id !== target.link);
  if (others.length === 0) return 'No other link falls with it.\n';
  const verb = others.length === 1 ? 'falls' : 'fall';
  return `${plural(others.length, 'further link')} ${verb} with it:\n${others.map((id) => `  ${id}\n`).join('')}`;
}
