/** MCP clients, their servers, and what was changed about them. */
import type { FileOutcome, FoundFile, Problem, ServerOutcome } from '../integration/index.ts';
import { plain } from '../text/plain.ts';
import type { Tone } from '../text/style.ts';
import { type Cell, type Column, formatTable, indent, type View } from '../text/table.ts';
import { plural } from './common.ts';

/** What was done with a file, or why nothing was. */
export interface Told extends FileOutcome {
  readonly problem: Problem | null;
}

type Server = FoundFile['servers'][number];

/** A name, and the project where the file has several. */
const nameOf = ({ name, project }: { readonly name: string; readonly project: string | null }): string =>
  project === null ? name : `${name} (${project})`;

function stateCell({ state, works }: Server): Cell {
  if (works === false) return { text: 'broken', tone: 'bad' };
  const tones: Readonly<Record<Server['state'], Tone>> = { wrapped: 'good', open: 'warn', left: 'dim' };
  return { text: state, tone: tones[state] };
}

const head = ({ title, file }: { readonly title: string; readonly file: string }, { paint }: View): string =>
  `${paint('strong', title)}  ${plain(file)}\n`;

export function formatFound(files: readonly FoundFile[], view: View): string {
  if (files.length === 0) return 'No configuration of an MCP client is found.\n';
  const columns: Column<Server>[] = [
    { title: 'Server', cell: nameOf },
    { title: 'State', cell: stateCell },
    { title: 'Transport', cell: ({ transport }) => transport },
    { title: 'Policy', cell: ({ policy }) => policy ?? '-' },
    { title: 'Note', cell: ({ note }) => note ?? '-', optional: true },
  ];
  return files
    .map((file) => {
      const { servers, problem } = file;
      if (problem !== null) return head(file, view) + problemLine(problem, view);
      if (servers.length === 0) return `${head(file, view)}  no servers\n`;
      return head(file, view) + indent(formatTable(servers, columns, view));
    })
    .join('\n');
}

const problemLine = ({ message }: Problem, { paint }: View): string =>
  `  ${paint('bad', 'broken')}  ${plain(message)}\n`;

export function formatStatus(files: readonly FoundFile[], view: View): string {
  if (files.length === 0) return 'No configuration of an MCP client is found.\n';
  return files
    .map((file) => {
      const { servers, problem } = file;
      if (problem !== null) return head(file, view) + problemLine(problem, view);
      const wrapped = servers.filter(({ state }) => state === 'wrapped');
      const broken = wrapped.filter(({ works }) => works === false);
      const open = servers.filter(({ state }) => state === 'open');
      const lines = [
        `${wrapped.length} of ${plural(servers.length, 'server')} wrapped${open.length === 0 ? '' : `; open: ${open.map(nameOf).join(', ')}`}`,
        ...broken.map(
          (server) => `${view.paint('bad', 'broken')}  ${plain(nameOf(server))}: ${plain(server.note ?? '')}`,
        ),
      ];
      return head(file, view) + indent(`${lines.join('\n')}\n`);
    })
    .join('\n');
}

const ACTION_TONES: Readonly<Record<ServerOutcome['action'], Tone>> = {
  wrapped: 'good',
  updated: 'good',
  restored: 'good',
  unchanged: 'dim',
  left: 'warn',
};

/** With `isDry` the diffs alone: what patch(1) reads. */
export function formatOutcomes(told: readonly Told[], isDry: boolean, view: View): string {
  const diff = told.map((file) => file.diff ?? '').join('');
  if (isDry && diff !== '') return plainDiff(diff);
  return told.map((file) => formatOutcome(file, view)).join('\n');
}

/** Tabs and the ends of lines stay what they are: the diff is to be applied. */
const plainDiff = (diff: string): string =>
  diff
    .split('\n')
    .map((line) => {
      const end = line.endsWith('\r') ? '\r' : '';
      return (
        line
          .slice(0, line.length - end.length)
          .split('\t')
          .map(plain)
          .join('\t') + end
      );
    })
    .join('\n');

function formatOutcome(file: Told, view: View): string {
  const { servers, problem, changed, backup, identical } = file;
  if (problem !== null) return `${head(file, view)}  ${view.paint('bad', 'failed')}  ${plain(problem.message)}\n`;
  if (servers.length === 0) return `${head(file, view)}  no servers\n`;
  const width = Math.max(...servers.map(({ action }) => action.length));
  const lines = servers.map((server) => {
    const action = view.paint(ACTION_TONES[server.action], server.action.padEnd(width));
    return `${action}  ${plain(nameOf(server))}${server.note === null ? '' : `: ${plain(server.note)}`}`;
  });
  const more = [
    ...(changed && identical === true ? ['The file is again what it was, byte for byte.'] : []),
    ...(changed && identical === null && backup !== null ? [`The file as it was: ${plain(backup)}`] : []),
    ...(changed ? [] : ['Nothing had to be changed.']),
  ];
  return head(file, view) + indent(`${[...lines, ...more].join('\n')}\n`);
}
