import type { ExposeAnswer, ExposureView, ServicesAnswer } from '../../protocol/control/index.ts';
import { visibleText } from '../../protocol/index.ts';
import { type Cell, formatFields, formatTable, type View } from '../text/table.ts';
import { formatCount } from '../text/time.ts';
import { formatDid, type Immutable, type Names, NO_NAMES } from './common.ts';

type Exposure = Immutable<ExposureView>;

const serverText = ({ command, url }: Exposure): string => visibleText(command?.join(' ') ?? url ?? '-');
const needText = ({ name, capability }: Exposure): string => capability ?? `mcp:${name}/TOOL`;

export function formatExposed(exposed: readonly Exposure[], view: View): string {
  if (exposed.length === 0) return 'Nothing is exposed to other organisations.\n';
  return formatTable(
    exposed,
    [
      { title: 'Server', cell: ({ name }) => ({ text: name, tone: 'strong' }) },
      { title: 'Tools need', cell: needCell },
      { title: 'Policy', cell: policyCell },
      { title: 'Links', cell: ({ links }) => String(links), align: 'right' },
      { title: 'By', cell: ({ origin }) => (origin === 'configuration' ? 'agentmesh.yaml' : 'command') },
      { title: 'Is', cell: serverText, optional: true },
    ],
    view,
  );
}

const needCell = (exposure: Exposure): string => {
  const others = Object.keys(exposure.needs).length;
  return others === 0 ? needText(exposure) : `${needText(exposure)} +${others}`;
};

const policyCell = ({ policy }: Exposure): Cell =>
  policy === null ? { text: 'gone: all is denied', tone: 'bad' } : visibleText(policy.name);

export function formatExposure({ exposure, tools }: Immutable<ExposeAnswer>, view: View): string {
  const { name, description, cwd, env, headers, needs } = exposure;
  const fields: (readonly [string, Cell | readonly Cell[]])[] = [
    ['Server', { text: name, tone: 'strong' }],
    ['Is', serverText(exposure)],
    ...(cwd === null ? [] : [['In', visibleText(cwd)] as const]),
    ...(env.length === 0 ? [] : [['Variables', env.map(visibleText).join(', ')] as const]),
    ...(headers.length === 0 ? [] : [['Headers', headers.join(', ')] as const]),
    ['About', description === null ? '-' : visibleText(description)],
    ['Policy', policyCell(exposure)],
    ['Tools need', [needText(exposure), ...Object.entries(needs).map(([tool, can]) => `${visibleText(tool)}: ${can}`)]],
  ];
  const head = formatFields(fields, view);
  if (tools === null) return `${head}\nIt was not started to see whether it works.\n`;
  if (tools.length === 0) return `${head}\nIt works, and has no tools.\n`;
  const table = formatTable(
    tools,
    [
      { title: 'Tool', cell: (tool) => visibleText(tool.name) },
      { title: 'Needs', cell: ({ can }) => can ?? { text: 'nothing can be granted for it', tone: 'warn' } },
      { title: 'About', cell: (tool) => cut(visibleText(tool.description ?? '-')), optional: true },
    ],
    view,
  );
  return `${head}\n${table}`;
}

const ABOUT_MAX = 60; // what tells a tool from others; models read the rest
const cut = (text: string): string => (text.length > ABOUT_MAX ? `${text.slice(0, ABOUT_MAX).trimEnd()}…` : text);

export function formatServices(
  { did, services, grants }: Immutable<ServicesAnswer>,
  view: View,
  names: Names = NO_NAMES,
): string {
  if (grants === 0)
    return `No chain is held here that ${formatDid(did, names)} granted, so nothing is told.\nIts operator grants one with: agentmesh delegate --to YOUR-DID --can mcp:NAME/*\n`;
  if (services.length === 0)
    return grants === null
      ? 'Nothing is exposed to other organisations.\n'
      : `${formatDid(did, names)} exposes nothing of which ${formatCount(grants, 'chain')} held here ${grants === 1 ? 'covers' : 'cover'} something.\n`;
  return formatTable(
    services,
    [
      { title: 'Server', cell: ({ name }) => ({ text: name, tone: 'strong' }) },
      { title: 'About', cell: ({ description }) => visibleText(description ?? '-') },
    ],
    view,
  );
}
