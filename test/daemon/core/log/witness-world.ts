/** Logs and witnesses around one network in memory: trees by the naive definition, keys from names. */
import type { AuditLog, LogProblem } from '../../../../daemon/core/log/audit-log.ts';
import type { LogStore } from '../../../../daemon/core/log/log-store.ts';
import { createWitness, type Witness, type WitnessOptions } from '../../../../daemon/core/log/witness.ts';
import type { Clock, Store } from '../../../../daemon/ports.ts';
import { MemoryStore } from '../../../../daemon/store/memory.ts';
import { MeshError, rawKeyOf } from '../../../../protocol/index.ts';
import {
  type AddCheckpointRequest,
  createSignatureLine,
  emptyRoot,
  formatAddCheckpoint,
  formatCheckpointText,
  logVkey,
  type NoteSignature,
  noteMessage,
  parseLogOrigin,
  type SignedCheckpoint,
  type Vkey,
} from '../../../../protocol/log/index.ts';
import { isSignatureValidSodium } from '../../../../protocol/sodium.ts';
import { keyOf, type TestKey } from '../../../builders.ts';
import { naiveConsistency, naiveRoot } from '../../../protocol/log/naive-tree.ts';
import { leaves } from '../../../protocol/log/sample.ts';

const LEAVES_MAX = 600;

/** A log that signs whatever a test asks of it, also two histories. */
export class SampleLog implements AuditLog {
  readonly key: TestKey;
  readonly vkey: Vkey;
  readonly origin: string;
  readonly generation: number;
  /** All that it will ever have. */
  readonly history: readonly Uint8Array[];
  readonly releases: SignedCheckpoint[] = [];
  treeSize: number;
  problem: LogProblem | undefined;
  /** Thrown by the next release. */
  refusal: MeshError | undefined;
  /** Releases wait for it. */
  gate: Promise<void> = Promise.resolve();
  /** Releases that were asked for at once, the most. */
  releasing = 0;
  #underWay = 0;
  #released: SignedCheckpoint | undefined;
  #cosigned: SignedCheckpoint | undefined;
  readonly #grown: ((treeSize: number) => void)[] = [];

  /** `salt` makes another history from `from` on. */
  constructor(
    name: string,
    {
      treeSize = 1,
      salt = '',
      from = 0,
      generation = 0,
    }: { treeSize?: number; salt?: string; from?: number; generation?: number } = {},
  ) {
    this.key = keyOf(`${name} log`);
    this.vkey = logVkey(rawKeyOf(this.key.publicKey), generation);
    this.origin = this.vkey.name;
    this.generation = generation;
    this.history = [...leaves(LEAVES_MAX).slice(0, from), ...leaves(LEAVES_MAX, salt).slice(from)];
    this.treeSize = treeSize;
  }

  get root(): Uint8Array {
    return this.rootAt(this.treeSize);
  }

  rootAt(treeSize: number): Uint8Array {
    return treeSize === 0 ? emptyRoot() : naiveRoot(this.history, treeSize);
  }

  /** Signed at any size, whatever was released. */
  at(treeSize: number): SignedCheckpoint {
    return this.sign(treeSize, this.rootAt(treeSize));
  }

  sign(treeSize: number, root: Uint8Array): SignedCheckpoint {
    const checkpoint = { origin: this.origin, treeSize, root };
    const text =
      treeSize === 0
        ? `${this.origin}\n0\n${Buffer.from(root).toString('base64')}\n`
        : formatCheckpointText(checkpoint);
    return {
      checkpoint,
      note: { text, signatures: [createSignatureLine(this.vkey, this.key.sign(noteMessage(text)))] },
    };
  }

  /** The body that submits the tree of `treeSize` to a witness that has cosigned `oldSize`. */
  request(oldSize: number, treeSize: number): Uint8Array {
    return formatAddCheckpoint(this.addCheckpoint(oldSize, treeSize));
  }

  addCheckpoint(oldSize: number, treeSize: number): AddCheckpointRequest {
    return { oldSize, proof: this.prove(oldSize, treeSize), signed: this.at(treeSize) };
  }

  prove(oldSize: number, treeSize: number): Uint8Array[] {
    return oldSize === 0 || oldSize === treeSize ? [] : naiveConsistency(oldSize, this.history, treeSize);
  }

  grow(by = 1): number {
    this.treeSize += by;
    for (const call of this.#grown) call(this.treeSize);
    return this.treeSize;
  }

  head(): SignedCheckpoint {
    return this.at(this.treeSize);
  }

  async release(): Promise<SignedCheckpoint> {
    if (this.problem !== undefined) throw new MeshError('log_halted', this.problem.message);
    if (this.refusal !== undefined) throw this.refusal;
    this.releasing = Math.max(this.releasing, ++this.#underWay);
    await this.gate;
    this.#underWay -= 1;
    this.#released = this.head();
    this.releases.push(this.#released);
    return this.#released;
  }

  released(): SignedCheckpoint | undefined {
    return this.#released;
  }

  /** As it comes from a database. */
  restore(released: SignedCheckpoint, cosigned = released): void {
    this.#released = released;
    this.#cosigned = cosigned;
  }

  cosigned(): SignedCheckpoint | undefined {
    return this.#cosigned;
  }

  async addCosignatures(treeSize: number, lines: readonly NoteSignature[]): Promise<void> {
    const held = this.#released;
    if (held === undefined || held.checkpoint.treeSize !== treeSize) return; // an older one; nobody asks for it here
    const names = new Set(lines.map(({ name }) => name));
    const kept = held.note.signatures.filter(({ name }) => !names.has(name));
    this.#released = { ...held, note: { ...held.note, signatures: [...kept, ...lines] } };
    this.#cosigned = this.#released;
  }

  onGrown(call: (treeSize: number) => void): void {
    this.#grown.push(call);
  }

  halt(problem: LogProblem): void {
    this.problem ??= problem;
  }

  readonly files: LogStore = {
    rootAt: async (treeSize: number) => this.rootAt(treeSize),
    proveConsistency: async (oldSize: number, newSize = this.treeSize) => this.prove(oldSize, newSize),
  } as LogStore; // all that submitting asks for

  append(): Promise<number> {
    throw new Error('Cannot append to a sample: call grow()');
  }
  async flush(): Promise<void> {}
  async close(): Promise<void> {}
  async [Symbol.asyncDispose](): Promise<void> {}
}

export interface Conflict {
  readonly held: SignedCheckpoint;
  readonly request: AddCheckpointRequest;
}

/** A witness that admits every log of ours but those named, with what it told of. */
export function witnessFor(
  name: string,
  {
    clock,
    store = new MemoryStore(),
    admits = (origin) => admitted(origin),
    options = {},
  }: {
    clock: Clock;
    store?: Store;
    admits?: (origin: string) => readonly Vkey[] | undefined;
    options?: WitnessOptions;
  },
): {
  readonly witness: Witness;
  readonly store: Store;
  readonly conflicts: Conflict[];
  readonly cosigned: SignedCheckpoint[];
} {
  const conflicts: Conflict[] = [];
  const cosigned: SignedCheckpoint[] = [];
  const witness = createWitness(
    {
      store,
      signer: keyOf(`${name} witness`),
      clock,
      isSignatureValid: isSignatureValidSodium,
      admits,
      onConflict: (held, request) => conflicts.push({ held, request }),
      onCosigned: (signed) => cosigned.push(signed),
    },
    options,
  );
  return { witness, store, conflicts, cosigned };
}

function admitted(origin: string): readonly Vkey[] | undefined {
  const name = parseLogOrigin(origin);
  return name === undefined ? undefined : [name.vkey];
}
