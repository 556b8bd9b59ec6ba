import { type Command, Option } from 'commander';
import type { LogEntryView } from '../../protocol/control/index.ts';
import { integerBetween } from '../arguments.ts';
import { withHelp } from '../help.ts';
import type { Invocation } from '../invocation.ts';
import { findMeshDid, localNames } from '../lookup.ts';
import type { Act } from '../program.ts';
import { auditRow, formatAudit, formatAuditCsv } from '../views/log.ts';

const LIMIT_DEFAULT = 20;
const FORMATS = ['table', 'json', 'csv'] as const;

interface AuditOptions {
  readonly agent?: string;
  readonly limit: number;
  readonly format: (typeof FORMATS)[number];
}

export function addAudit(program: Command, act: Act): void {
  withHelp(program.command('audit'), {
    summary: 'What agents did and what was decided, newest first',
    about:
      'The same entries as "log tail", as a table for people who audit. Each is signed by whoever acted; "log verify" checks all of them, ' +
      '"log prove" hands one out with its proof.',
    examples: [
      ['audit --agent my-agent', 'one agent'],
      ['audit --limit 1000 --format csv > audit.csv', 'for a spreadsheet'],
    ],
  })
    .option('--agent <agent>', 'who acted: DID, or name of an own agent')
    .option('--limit <count>', 'how many', integerBetween(1, 1_000_000), LIMIT_DEFAULT)
    .addOption(new Option('--format <format>', 'how to show them').choices(FORMATS).default('table'))
    .action(act(audit));
}

async function audit(invocation: Invocation, { agent, limit, format }: AuditOptions): Promise<void> {
  const { signal, world } = invocation;
  const mesh = await invocation.mesh();
  const actor = agent === undefined ? {} : { actor: await findMeshDid(mesh, agent) };
  const entries: LogEntryView[] = [];
  for await (const entry of mesh.client.log.entries({ ...actor, limit }, { signal })) entries.push(entry);
  if (invocation.json || format === 'json') {
    world.out.write(`${JSON.stringify({ entries }, null, 2)}\n`);
    return;
  }
  const rows = entries.map(auditRow);
  if (format === 'csv') {
    world.out.write(formatAuditCsv(rows));
    return;
  }
  const names = await localNames(mesh);
  invocation.answer({ entries }, (view) => formatAudit(rows, view, names));
}
