import type { Command } from 'commander';
import { EVENT_TYPES, type EventType, isEventType, nearest } from '../../protocol/control/index.ts';
import { collect } from '../arguments.ts';
import { withHelp } from '../help.ts';
import { UsageError } from '../problem.ts';
import type { Act } from '../program.ts';
import { formatEvent } from '../views/events.ts';

export function addEvents(program: Command, act: Act): void {
  withHelp(program.command('events'), {
    summary: 'What happens, as it happens',
    about: `Follows the daemon until it is interrupted. With --json one object a line. Types: ${EVENT_TYPES.join(', ')}.`,
    examples: [
      ['events', 'everything'],
      ['events --type link.revoked --type session.ended', 'some types only'],
      ['events --json | jq .type', 'for a program'],
    ],
  })
    .option('--type <type>', 'only events of this type; may be repeated', collect(eventType))
    .action(
      act(async (invocation, { type: types = [] }: { type?: readonly EventType[] }) => {
        const mesh = await invocation.mesh();
        if (!invocation.json) invocation.note('Following events; Ctrl-C ends it.');
        const { signal } = invocation;
        for await (const event of mesh.client.events({ signal, ...(types.length > 0 && { types }) })) {
          invocation.answerLine(event, (view) => formatEvent(event, view));
        }
      }),
    );
}

function eventType(type: string): EventType {
  if (isEventType(type)) return type;
  const near = nearest(type, EVENT_TYPES);
  throw new UsageError(
    `Cannot follow "${type}": no event has this type`,
    near === undefined ? `want one of ${EVENT_TYPES.join(', ')}` : `did you mean "${near}"?`,
  );
}
