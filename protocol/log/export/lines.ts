/** Entries as lines for tools that read JSON, one a line, without the line's end (SPEC "Audit entries"). */
import { toHex } from '../../encoding/bytes.ts';
import type { ParsedEntry } from '../entry.ts';

/** Where an entry stands. */
export interface Leaf {
  /** Of the log. */
  readonly origin: string;
  readonly index: number;
  readonly leafHash: Uint8Array;
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
export const textOf = ({ bytes }: Pick<ParsedEntry, 'bytes'>): string => decoder.decode(bytes);

/** A CloudEvent in its JSON format: that is what an entry is, to the byte. */
export const toCloudEventLine = (parsed: Pick<ParsedEntry, 'bytes'>): string => textOf(parsed);

/** The entry with its place. Its bytes come last and as they are, so the leaf hash can be made again from the line. */
export const toJsonLine = (parsed: Pick<ParsedEntry, 'bytes'>, { index, leafHash }: Omit<Leaf, 'origin'>): string =>
  `{"index":${index},"leafHash":"${toHex(leafHash)}","entry":${textOf(parsed)}}`;
