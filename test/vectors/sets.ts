import { chainVectors } from './chain.ts';
import { didVectors } from './did.ts';
import { entryVectors } from './entry.ts';
import { iatpVectors } from './iatp.ts';
import { statementVectors } from './statement.ts';
import type { VectorSet } from './vectors.ts';

/** Every folder of vectors, by its name. */
export const SETS: Readonly<Record<string, VectorSet>> = {
  chain: chainVectors,
  did: didVectors,
  entry: entryVectors,
  iatp: iatpVectors,
  statement: statementVectors,
};
