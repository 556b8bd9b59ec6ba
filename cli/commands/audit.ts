import { type Command, Option } from 'commander';
import type { LogEntryView } from '../../protocol/control/index.ts';
import { integerBetween } from '../arguments.ts';
import { withHelp } from '../help.ts';
import type { Invocation } from '../invocation.ts';
import { findMeshDid, peopleNames } from '../lookup.ts';
import type { Mesh } from '../mesh.ts';
import type { Act } from '../program.ts';
import { type AuditRow, auditRow, formatAudit, formatAuditCsv, intentOf } from '../views/log.ts';

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
  const { world } = invocation;
  const mesh = await invocation.mesh();
  const actor = agent === undefined ? {} : { actor: await findMeshDid(mesh, agent) };
  const found = await rowsOf(invocation, mesh, actor, limit);
  const rows = found.map(({ row }) => row);
  const json = { entries: found.map(({ row, entry }) => ({ ...row, entry })) };
  if (invocation.json || format === 'json') {
    world.out.write(`${JSON.stringify(json, null, 2)}\n`);
    return;
  }
  if (format === 'csv') {
    world.out.write(formatAuditCsv(rows));
    return;
  }
  const names = await peopleNames(mesh);
  if (rows.length === 0 && agent !== undefined)
    invocation.note(`"${agent}" has logged nothing itself; what was decided about it is there without --agent.`);
  invocation.answer(json, (view) => formatAudit(rows, view, names));
}

interface Audited {
  readonly row: AuditRow;
  /** As it was logged. */
  readonly entry: LogEntryView['entry'];
}

/** Newest first; an intent and the entry that says what came of it are one row. */
async function rowsOf(
  { signal }: Invocation,
  mesh: Mesh,
  actor: { readonly actor?: string },
  limit: number,
): Promise<Audited[]> {
  const outcomes = new Map<string, { readonly entry: LogEntryView; readonly isBare: boolean }>();
  const rows: Audited[] = [];
  for await (const entry of mesh.client.log.entries(actor, { signal })) {
    const intent = intentOf(entry);
    if (intent !== undefined) outcomes.set(intent.id, { entry, isBare: intent.isBare });
    const outcome = outcomes.get(entry.id);
    if (intent?.isBare === true || outcome?.isBare === false) continue;
    rows.push({ row: auditRow(entry, outcome?.entry), entry: entry.entry });
    if (rows.length === limit) break;
  }
  return rows;
}
