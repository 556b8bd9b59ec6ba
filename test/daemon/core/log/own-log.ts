/** Logs of whole nodes in memory, with what a test needs to look into them and to get in their way. */
import { type AuditLog, createGeneration, openAuditLog } from '../../../../daemon/core/log/audit-log.ts';
import type { Organisation } from '../../../../daemon/core/organisation.ts';
import type { Anchor, Clock, Store } from '../../../../daemon/ports.ts';
import { type ErrorCode, MeshError, rawKeyOf, toBase64url } from '../../../../protocol/index.ts';
import {
  createEntry,
  createUuid7,
  type Entry,
  EntrySigners,
  parseEntry,
  signBinding,
  verifyEntry,
  witnessVkey,
} from '../../../../protocol/log/index.ts';
import { isSignatureValidSodium } from '../../../../protocol/sodium.ts';
import { keyOf } from '../../../builders.ts';
import { quiet } from '../handshake-world.ts';

export class MemoryAnchor implements Anchor {
  readonly #slots: Uint8Array[] = [];

  async read(): Promise<readonly Uint8Array[] | undefined> {
    return this.#slots.length === 0 ? undefined : [...this.#slots];
  }

  async write(note: Uint8Array): Promise<void> {
    this.#slots.push(note);
    if (this.#slots.length > 2) this.#slots.shift();
  }
}

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

export interface OwnLogOptions {
  readonly name: string;
  readonly store: Store;
  readonly anchor: Anchor;
  readonly clock: Clock;
}

export async function openOwnLog(
  organisation: Organisation,
  { name, store, anchor, clock }: OwnLogOptions,
): Promise<AuditLog> {
  const { did } = organisation;
  const key = keyOf(`${name}/log`);
  const components = { store, anchor, signer: key, clock, log: quiet, isSignatureValid: isSignatureValidSodium };
  const known = await openAuditLog(components);
  if (known !== undefined) return known;
  const own = organisation.signer('sign');
  const nowSeconds = Math.floor(clock.nowMs() / 1000);
  const witness = witnessVkey(rawKeyOf(keyOf(`${name}/witness`).publicKey));
  return createGeneration(components, ({ vkey }) => {
    const peer = keyOf(`${name}/node`).peerId;
    const binding = signBinding({ iss: did, log: vkey, witness, peer, nowSeconds }, own);
    return createEntry(
      {
        id: createUuid7(clock.nowMs(), keyOf(`${name}/leaf 0`).seed.subarray(16)),
        source: did,
        timeMs: clock.nowMs(),
        type: 'agentmesh.log.opened.v1',
        data: { actor: did, phase: 'outcome', binding: toBase64url(binding.envelope) },
      },
      own,
    );
  });
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
