import { approvalVectors } from './approval.ts';
import { callVectors } from './call.ts';
import { chainVectors } from './chain.ts';
import { didVectors } from './did.ts';
import { entryVectors } from './entry.ts';
import { iatpVectors } from './iatp.ts';
import { policyVectors } from './policy.ts';
import { mcpVectors } from './mcp.ts';
import { statementVectors } from './statement.ts';
import type { VectorSet } from './vectors.ts';

/** Every folder of vectors, by its name. */
export const SETS: Readonly<Record<string, VectorSet>> = {
  approval: approvalVectors,
  call: callVectors,
  chain: chainVectors,
  did: didVectors,
  entry: entryVectors,
  iatp: iatpVectors,
  mcp: mcpVectors,
  policy: policyVectors,
  statement: statementVectors,
};
