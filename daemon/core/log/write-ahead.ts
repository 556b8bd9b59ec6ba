/**
 * What the parts of the daemon ask of the log before they grant something: to hold, on disk, that they are about to
 * (SPEC "Audit entries"). Whoever is refused here grants nothing.
 */
import { isMeshError, MeshError, type Statement } from '../../../protocol/index.ts';
import type { AgentRow } from '../registry.ts';
import type { Session } from '../sessions.ts';

/** Says how it ended; undefined: as announced. `found`: labels of what came back. Written too, but nobody waits for it. */
export type Settle = (problem: MeshError | undefined, found?: readonly string[]) => void;

type Link = Statement<'delegation/v1'>;

/** What a session is decided by, beside what it says of itself. */
export interface SessionBasis {
  readonly purpose: string | null;
  /** From the root to the leaf for whose sake it is granted; empty where an organisation itself takes part. */
  readonly chain: readonly Link[];
  /** The policy that had the last word, where it has a name. */
  readonly policy: { readonly version: string; readonly text: string } | undefined;
}

/** Each resolves once what is announced is durable. Errors: log_halted, read_only, busy, key_missing. */
export interface WriteAhead {
  /** Whether anything may be granted now: to refuse before work is spent. Errors: log_halted. */
  verifyOpen(): void;
  /** Inbound: before the other side learns that it is granted. Outbound: before this side uses it. */
  session(session: Session, basis: SessionBasis): Promise<Settle>;
  /** A link that binds an ephemeral key and passes no door. */
  credential(link: Link): Promise<Settle>;
  /** `untilMs` undefined: good until the agent is suspended or revoked. */
  token(did: string, untilMs: number | undefined): Promise<Settle>;
  sponsor(did: string): Promise<Settle>;
  resumed(agent: AgentRow): Promise<Settle>;
}

const settled = async (): Promise<Settle> => () => {};

/** For parts that stand alone, without a daemon's log around them. */
export const UNRECORDED: WriteAhead = {
  verifyOpen: () => {},
  session: settled,
  credential: settled,
  token: settled,
  sponsor: settled,
  resumed: settled,
};

/** Does something once it is written that it will be done, and writes how it ended. Errors: of either. */
export async function afterWritten<T>(written: Promise<Settle>, effect: () => T | Promise<T>): Promise<T> {
  const settle = await written;
  try {
    const result = await effect();
    settle(undefined);
    return result;
  } catch (error) {
    settle(problemOf(error));
    throw error;
  }
}

/** What is written of an error that need not be one of ours. */
export const problemOf = (error: unknown): MeshError =>
  isMeshError(error) ? error : new MeshError('internal', 'Cannot go on: a fault of this program');
