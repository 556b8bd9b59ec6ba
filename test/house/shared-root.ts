import { resolve } from 'node:path';

/** Where the vectors lie that this repository shares with others: beside it, or where AGENTMESH_SHARED says. */
export const sharedRoot: string = resolve(
  process.env.AGENTMESH_SHARED ?? resolve(import.meta.dirname, '..', '..', '..', 'shared'),
);

/** How the name of a test begins which stands for a group that was skipped for want of the shared root. */
export const SKIPPED_FOR_SHARED = 'skipped for want of shared';
