/** Logs of whole nodes in memory, with what a test needs to look into them and to get in their way. */
import type { AuditLog } from '../../../../daemon/core/log/audit-log.ts';
import { type ErrorCode, MeshError } from '../../../../protocol/index.ts';
import { type Entry, EntrySigners, parseEntry, verifyEntry } from '../../../../protocol/log/index.ts';
import { isSignatureValidSodium } from '../../../../protocol/sodium.ts';

/** Appends wait while it is shut, and fail while it is broken. */
export class LogGate {
  #opened = Promise.resolve();
  #open = (): void => {};
  broken: ErrorCode | undefined;

  constructor(log: AuditLog) {
    const append = log.append.bind(log);
    log.append = async (entry) => {
      if (this.broken !== undefined) throw new MeshError(this.broken, 'Cannot append: the gate is broken');
      await this.#opened;
      return append(entry);
    };
  }

  shut(): void {
    this.#opened = new Promise((resolve) => {
      this.#open = resolve;
    });
  }

  open(): void {
    this.#open();
  }
}

/** All that is durable, each verified by what the log shows of its signers. */
export async function entriesOf(log: AuditLog): Promise<Entry[]> {
  const entries: Entry[] = [];
  const signers = new EntrySigners(isSignatureValidSodium);
  for await (const bytes of log.files.entries(0, log.treeSize)) {
    const parsed = parseEntry(bytes);
    verifyEntry(parsed, isSignatureValidSodium);
    signers.read(parsed);
    entries.push(parsed.entry);
  }
  signers.end();
  return entries;
}
