/** The tables of SPEC.md that the code decides. `npm run generate` writes them into it. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { LABELS } from '../../protocol/detect/index.ts';
import { ERRORS } from '../../protocol/errors.ts';
import * as limits from '../../protocol/limits.ts';
import { ENTRY_TYPES } from '../../protocol/log/index.ts';
import { FIELDS } from '../../protocol/policy/condition/fields.ts';

const protocol = join(import.meta.dirname, '..', '..', 'protocol');
export const specPath: string = join(protocol, 'SPEC.md');

/** Sections of limits.ts that other implementations need to know; of the rest only what the text names. */
const PROTOCOL_SECTIONS = [
  'Time',
  'Statements',
  'DIDs',
  'Delegation',
  'Revocation and freshness',
  'Reconciliation',
  'Handshake',
  'Transparency log',
  'Storage',
  'Trust',
];

export interface LimitRow {
  readonly section: string;
  readonly name: string;
  readonly value: number;
  readonly reason: string;
}

export function limitRows(): LimitRow[] {
  const rows: LimitRow[] = [];
  let section = '';
  for (const line of readFileSync(join(protocol, 'limits.ts'), 'utf8').split('\n')) {
    const heading = /^\/\/ (.+)$/.exec(line);
    if (heading?.[1] !== undefined) section = heading[1];
    const row = /^export const (\w+) = .+; \/\/ (.+)$/.exec(line);
    const [, name = '', reason = ''] = row ?? [];
    if (row !== null)
      rows.push({ section, name, value: (limits as Record<string, number>)[name] ?? Number.NaN, reason });
  }
  return rows;
}

const cell = (text: string): string => text.replaceAll('|', '\\|');

/** Limits that the text names, in code font. */
export const namedLimits = (spec: string): Set<string> =>
  new Set([...spec.matchAll(/`([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)`/g)].map(([, name = '']) => name));

export function limitsTable(spec: string): string {
  const named = namedLimits(spec);
  const rows = limitRows().filter(({ section, name }) => PROTOCOL_SECTIONS.includes(section) || named.has(name));
  return [
    '| limit | value | because |',
    '|---|---|---|',
    ...rows.map(({ name, value, reason }) => `| ${name} | ${value.toLocaleString('en')} | ${cell(reason)} |`),
  ].join('\n');
}

export const errorsTable = (): string =>
  ['| code | when |', '|---|---|', ...Object.entries(ERRORS).map(([code, when]) => `| ${code} | ${cell(when)} |`)].join(
    '\n',
  );

export const entryTypesTable = (): string =>
  [
    '| type | members | signed by | says |',
    '|---|---|---|---|',
    ...Object.entries(ENTRY_TYPES).map(
      ([type, { members, signedBy, summary }]) =>
        `| ${type} | ${members.map((member) => `\`${member}\``).join(', ')} | ${signedBy} | ${cell(summary)} |`,
    ),
  ].join('\n');

const TYPE_WORDS: Readonly<Record<string, string>> = {
  'list<path>': 'list of paths',
  'list<text>': 'list of texts',
  'map<dyn>': 'map of any',
  'map<text>': 'map of texts',
};

export const fieldsTable = (): string =>
  [
    '| field | type | |',
    '|---|---|---|',
    ...Object.entries(FIELDS)
      .filter(([, { type }]) => type !== 'object')
      .map(([name, { type, says }]) => `| ${name} | ${TYPE_WORDS[type] ?? type} | ${cell(says)} |`),
  ].join('\n');

export const labelsTable = (): string =>
  [
    '| label | output rule | found is |',
    '|---|---|---|',
    ...Object.entries(LABELS).map(([label, row]) => `| ${label} | ${row.class} | ${cell(row.summary)} |`),
  ].join('\n');

/** From its heading to the next one of the same level. */
export function sectionOf(spec: string, title: string): string {
  const start = spec.indexOf(`\n## ${title}\n`);
  if (start < 0) throw new Error(`SPEC.md has no section "${title}"`);
  const end = spec.indexOf('\n## ', start + 1);
  return spec.slice(start, end < 0 ? spec.length : end);
}

/** The section with its table, or the placeholder in capitals of a first draft, replaced. */
function withTable(spec: string, title: string, table: string): string {
  const before = sectionOf(spec, title);
  const start = before.search(/^(\||[A-Z]+$)/m);
  return spec.replace(before, () => `${before.slice(0, start)}${table}\n`);
}

if (import.meta.main) {
  let spec = readFileSync(specPath, 'utf8');
  spec = withTable(spec, 'Entry types', entryTypesTable());
  spec = withTable(spec, 'Policy conditions', fieldsTable());
  spec = withTable(spec, 'Labels and output rules', labelsTable());
  spec = withTable(spec, 'Limits', limitsTable(spec));
  spec = withTable(spec, 'Error codes', errorsTable());
  writeFileSync(specPath, spec);
}
