/** The own log: what it holds it never changes, and what it signs it has written before. */
import type { ErrorCode } from '../../../protocol/index.ts';
import type { NoteSignature, SignedCheckpoint, Vkey } from '../../../protocol/log/index.ts';
import type { LogStore } from './log-store.ts';

/** Why nothing is signed any more. */
export interface LogProblem {
  readonly code: Extract<ErrorCode, 'log_halted'>;
  /** What was found, what was wanted. */
  readonly message: string;
  /** The row, file or witness that shows it. */
  readonly place?: string;
}

export interface AuditLog extends AsyncDisposable {
  readonly origin: string;
  readonly generation: number;
  readonly vkey: Vkey;
  /** Durable leaves. */
  readonly treeSize: number;
  /** Of the durable tree. */
  readonly root: Uint8Array;
  /** While there is one, `append` and `release` answer log_halted; reads go on. */
  readonly problem: LogProblem | undefined;
  readonly files: LogStore;

  /**
   * The leaf index, once the entry is on disk under a signed head.
   * Errors: busy (the queue is full), conflict (the id is used), too_large, log_halted, read_only (a write failed or the
   * log is closed: then nobody knows whether the entry is in it, until it is opened again).
   */
  append(entry: { readonly bytes: Uint8Array; readonly id16: Uint8Array }): Promise<number>;
  /** The signed head of the durable tree; it may not be released. */
  head(): SignedCheckpoint;
  /** The head, from now on for others to see: kept for good, and anchored outside the database. Errors: log_halted, read_only. */
  release(): Promise<SignedCheckpoint>;
  /** The newest released checkpoint, with the cosignatures known. */
  released(): SignedCheckpoint | undefined;
  /** Adds lines to the checkpoint released at this size; the caller has verified them. Errors: not_found, read_only. */
  addCosignatures(treeSize: number, lines: readonly NoteSignature[]): Promise<void>;
  /** Called after every batch that is on disk. */
  onGrown(call: (treeSize: number) => void): void;
  /** Stops signing for good: a witness or peer has shown what contradicts this log. Kept over restarts. */
  halt(problem: LogProblem): void;
  /** Resolves when all that was asked for before is settled. */
  flush(): Promise<void>;
  close(): Promise<void>;
}
