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
}

const GAP = '  ';

const textOf = (cell: Cell): string => plain(typeof cell === 'string' ? cell : cell.text);
const toneOf = (cell: Cell): Tone | undefined => (typeof cell === 'string' ? undefined : cell.tone);

/** Titles and rows; a list where a row does not fit the terminal even with its ids cut short. */
export function formatTable<Row>(rows: readonly Row[], columns: readonly Column<Row>[], view: View): string {
  const cells = rows.map((row) => columns.map(({ cell }) => cell(row)));
  const full = cells.map((row) => row.map(textOf));
  if (fits(full, columns, view)) return layOut(full, cells, columns, view);
  const short = shortenIds(full.flat());
  const cut = full.map((row) => row.map((text) => short.get(text) ?? text));
  if (fits(cut, columns, view)) return layOut(cut, cells, columns, view);
  return cells
    .map((row) =>
      formatFields(
        row.map((cell, i) => [columns[i]?.title ?? '', cell] as const),
        view,
      ),
    )
    .join('\n');
}

type Titled = readonly { readonly title: string; readonly align?: 'right' }[];

const widthsOf = (texts: readonly (readonly string[])[], columns: Titled): number[] =>
  columns.map(({ title }, i) => Math.max(widthOf(title), ...texts.map((row) => widthOf(row[i] ?? ''))));

const fits = (texts: readonly (readonly string[])[], columns: Titled, view: View): boolean =>
  view.columns === undefined ||
  widthsOf(texts, columns).reduce((sum, width) => sum + width + GAP.length, -GAP.length) <= view.columns;

function layOut(
  texts: readonly (readonly string[])[],
  cells: readonly (readonly Cell[])[],
  columns: Titled,
  { paint }: View,
): string {
  const widths = widthsOf(texts, columns);
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
