/** Rows and fields, aligned. */
import { shortenIds } from './ids.ts';
import { plain, widthOf } from './plain.ts';
import type { Paint, Tone } from './style.ts';

/** How the reader sees the answer. */
export interface View {
  readonly nowMs: number;
  readonly paint: Paint;
  /** Columns of the terminal; undefined where the answer goes elsewhere: then nothing is cut short. */
  readonly columns: number | undefined;
}

export type Cell = string | { readonly text: string; readonly tone: Tone };

export interface Column<Row> {
  readonly title: string;
  readonly cell: (row: Row) => Cell;
  readonly align?: 'right';
  /** Left out, the last one first, where the terminal is too narrow for it. */
  readonly optional?: true;
}

const GAP = '  ';

const textOf = (cell: Cell): string => plain(typeof cell === 'string' ? cell : cell.text);
const toneOf = (cell: Cell): Tone | undefined => (typeof cell === 'string' ? undefined : cell.tone);

/**
 * Titles and rows. On a terminal that is too narrow ids are cut short, then optional columns left out; where not even
 * that will do, every row is a list of its fields, with nothing cut or left out.
 */
export function formatTable<Row>(rows: readonly Row[], columns: readonly Column<Row>[], view: View): string {
  const table = tableOf(rows, columns);
  if (fits(table, view)) return layOut(table, view);
  const short = shortenIds(table.texts.flat());
  for (let shown = [...columns]; ; ) {
    const whole = tableOf(rows, shown);
    const cut = { ...whole, texts: whole.texts.map((row) => row.map((text) => short.get(text) ?? text)) };
    if (fits(cut, view)) return layOut(cut, view);
    const last = shown.findLastIndex(({ optional }) => optional === true);
    if (last < 0) break;
    shown = shown.toSpliced(last, 1);
  }
  return table.cells
    .map((row) =>
      formatFields(
        row.map((cell, i) => [columns[i]?.title ?? '', cell] as const),
        view,
      ),
    )
    .join('\n');
}

interface Table {
  readonly columns: readonly { readonly title: string; readonly align?: 'right' }[];
  readonly cells: readonly (readonly Cell[])[];
  readonly texts: readonly (readonly string[])[];
}

function tableOf<Row>(rows: readonly Row[], columns: readonly Column<Row>[]): Table {
  const cells = rows.map((row) => columns.map(({ cell }) => cell(row)));
  return { columns, cells, texts: cells.map((row) => row.map(textOf)) };
}

const widthsOf = ({ texts, columns }: Table): number[] =>
  columns.map(({ title }, i) => Math.max(widthOf(title), ...texts.map((row) => widthOf(row[i] ?? ''))));

const fits = (table: Table, view: View): boolean =>
  view.columns === undefined ||
  widthsOf(table).reduce((sum, width) => sum + width + GAP.length, -GAP.length) <= view.columns;

function layOut(table: Table, { paint }: View): string {
  const { texts, cells, columns } = table;
  const widths = widthsOf(table);
  const line = (row: readonly string[], tones: readonly (Tone | undefined)[]): string => {
    const padded = row.map((text, i) => {
      const space = ' '.repeat(Math.max(0, (widths[i] ?? 0) - widthOf(text)));
      const painted = paint(tones[i], text);
      if (columns[i]?.align === 'right') return space + painted;
      return i === row.length - 1 ? painted : painted + space;
    });
    return `${padded.join(GAP)}\n`;
  };
  const head = line(
    columns.map(({ title }) => title.toUpperCase()),
    columns.map(() => 'dim'),
  );
  return head + texts.map((row, i) => line(row, (cells[i] ?? []).map(toneOf))).join('');
}

/** A line for each label; nothing is cut short. Values of several lines continue under the first. */
export function formatFields(
  fields: readonly (readonly [label: string, value: Cell | readonly Cell[]])[],
  view: View,
): string {
  const width = Math.max(0, ...fields.map(([label]) => widthOf(label)));
  const margin = ' '.repeat(width + GAP.length);
  return fields
    .map(([label, value]) => {
      const values = isList(value) ? value : [value];
      const lines = values.length === 0 ? ['-'] : values.map((cell) => view.paint(toneOf(cell), textOf(cell)));
      const space = ' '.repeat(width - widthOf(label));
      return `${view.paint('dim', label)}${space}${GAP}${lines.join(`\n${margin}`)}\n`;
    })
    .join('');
}

const isList = (value: Cell | readonly Cell[]): value is readonly Cell[] => Array.isArray(value);

/** Lines, indented by two. */
export const indent = (text: string): string => text.replaceAll(/^(?=.)/gm, '  ');
