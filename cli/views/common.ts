import type { Capability } from '../../protocol/index.ts';
import { formatCount, formatDuration, formatTimeFully } from '../text/time.ts';
import type { Cell, View } from '../text/table.ts';

/** What the API answers with and what verifies here, both only to be read. */
export type Immutable<T> = T extends object ? { readonly [K in keyof T]: Immutable<T[K]> } : T;

export const formatCapability = ({ can, res }: Immutable<Capability>): string =>
  res === undefined ? can : `${can} on ${res.join(', ')}`;

/** In one cell: the first two, and how many more. */
export function formatCapabilitiesShort(capabilities: Immutable<Capability[]>): string {
  const shown = capabilities.slice(0, 2).map(({ can, res }) => (res === undefined ? can : `${can} (${res.length})`));
  const more = capabilities.length - shown.length;
  return more > 0 ? `${shown.join(', ')} +${more}` : shown.join(', ');
}

const STATUS_TONES: Readonly<Record<string, 'good' | 'warn' | 'bad'>> = {
  active: 'good',
  unregistered: 'warn',
  suspended: 'warn',
  revoked: 'bad',
  frozen: 'bad',
  deactivated: 'bad',
};

export function statusCell(status: string): Cell {
  const tone = STATUS_TONES[status];
  return tone === undefined ? status : { text: status, tone };
}

/** A DID, with the local name of its owner where there is one. */
export const formatDid = (did: string, names: Names): string => {
  const name = names.get(did);
  return name === undefined ? did : `${did} (${name})`;
};

/** In tables: the name alone, which commands take as well as the DID. */
export const formatDidShort = (did: string, names: Names): string => names.get(did) ?? did;

/** Local names by DID. */
export type Names = ReadonlyMap<string, string>;
export const NO_NAMES: Names = new Map();

export const unixTime = (seconds: number, { nowMs }: View): string =>
  formatTimeFully(new Date(seconds * 1000).toISOString(), nowMs);

export const formatRate = ({
  can,
  n,
  per,
}: {
  readonly can: string;
  readonly n: number;
  readonly per: number;
}): string => `${can}: ${formatCount(n, 'use')} in ${formatDuration(per)}`;

export const plural = formatCount;
