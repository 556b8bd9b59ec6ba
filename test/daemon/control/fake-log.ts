/**
 * An audit log in memory whose tree, signatures and proofs are real, with two witnesses that cosign at once: what
 * createLogBackend answers from in tests of the server, the SDK and the CLI.
 */
import type { AuditLog, LogProblem } from '../../../daemon/core/log/audit-log.ts';
import type { LogStore } from '../../../daemon/core/log/log-store.ts';
import {
  didOfGenesis,
  MeshError,
  multikeyText,
  type Statement,
  type StatementSigner,
  toHex,
} from '../../../protocol/index.ts';
import {
  createEntry,
  createUuid7,
  type EntryMembers,
  type EntryTypeName,
  formatBundle,
  formatCheckpointText,
  formatTile,
  leafHash,
  type NoteSignature,
  parseCheckpointText,
  type Policy,
  proveConsistency,
  proveInclusion,
  rootOfHashes,
  type SignedCheckpoint,
  TILE_WIDTH,
  type TilePlace,
  wireTypeOf,
} from '../../../protocol/log/index.ts';
import type { Identity } from '../../builders.ts';
import { createBinding, ownLog, ownWitness } from '../../protocol/log/own-log.ts';
import { cosignLine, signLine } from '../../protocol/log/sample.ts';

export class FakeLog implements AuditLog, LogStore {
  readonly #signer: ReturnType<typeof ownLog>;
  readonly #entries: Uint8Array[] = [];
  readonly #byId = new Map<string, number>();
  readonly #released = new Map<number, SignedCheckpoint>();
  readonly #listeners: ((treeSize: number) => void)[] = [];
  readonly generation = 0;
  problem: LogProblem | undefined;

  constructor(name: string) {
    this.#signer = ownLog(name);
  }

  get origin(): string {
    return this.vkey.name;
  }
  get vkey(): AuditLog['vkey'] {
    return this.#signer.vkey;
  }
  get treeSize(): number {
    return this.#entries.length;
  }
  get root(): Uint8Array {
    return this.#rootOf(this.treeSize);
  }
  get files(): LogStore {
    return this;
  }

  async append({ bytes, id16 }: { readonly bytes: Uint8Array; readonly id16: Uint8Array }): Promise<number> {
    if (this.problem !== undefined) throw new MeshError('log_halted', `Cannot append: ${this.problem.message}`);
    const id = toHex(id16);
    if (this.#byId.has(id)) throw new MeshError('conflict', 'Cannot append: the id is used');
    const index = this.#entries.push(bytes) - 1;
    this.#byId.set(id, index);
    for (const listener of this.#listeners) listener(this.treeSize);
    return index;
  }

  head(): SignedCheckpoint {
    const text = formatCheckpointText({ origin: this.origin, treeSize: this.treeSize, root: this.root });
    return { checkpoint: parseCheckpointText(text), note: { text, signatures: [signLine(this.#signer, text)] } };
  }

  async release(): Promise<SignedCheckpoint> {
    const signed = this.#released.get(this.treeSize) ?? this.head();
    this.#released.set(this.treeSize, signed);
    return signed;
  }

  released(): SignedCheckpoint | undefined {
    return [...this.#released.values()].at(-1);
  }

  cosigned(): SignedCheckpoint | undefined {
    return [...this.#released.values()].findLast(({ note }) => note.signatures.length > 1);
  }

  async addCosignatures(treeSize: number, lines: readonly NoteSignature[]): Promise<void> {
    const signed = this.#released.get(treeSize);
    if (signed === undefined) throw new MeshError('not_found', 'Cannot add cosignatures: nothing is released');
    const { note, checkpoint } = signed;
    const kept = note.signatures.filter(({ name }) => !lines.some((line) => line.name === name));
    this.#released.set(treeSize, { checkpoint, note: { text: note.text, signatures: [...kept, ...lines] } });
  }

  onGrown(call: (treeSize: number) => void): void {
    this.#listeners.push(call);
  }

  halt(problem: LogProblem): void {
    this.problem = problem;
  }

  async flush(): Promise<void> {}
  async close(): Promise<void> {}
  async [Symbol.asyncDispose](): Promise<void> {}

  // LogStore

  async entry(index: number): Promise<Uint8Array | undefined> {
    return this.#entries[index];
  }

  async *entries(from: number, to: number): AsyncIterable<Uint8Array> {
    yield* this.#entries.slice(from, to);
  }

  async indexOf(id16: Uint8Array): Promise<number | undefined> {
    return this.#byId.get(toHex(id16));
  }

  async tile({ level, index, width }: TilePlace): Promise<Uint8Array | undefined> {
    const start = index * TILE_WIDTH;
    if (level === 'entries') {
      const entries = this.#entries.slice(start, start + width);
      return entries.length < width ? undefined : formatBundle(entries);
    }
    const each = TILE_WIDTH ** level;
    if ((start + width) * each > this.treeSize) return undefined;
    const hashes = Array.from({ length: width }, (_, i) =>
      rootOfHashes(this.#entries.slice((start + i) * each, (start + i + 1) * each).map(leafHash)),
    );
    return formatTile(hashes);
  }

  proveInclusion(leafIndex: number, treeSize: number = this.treeSize): Promise<Uint8Array[]> {
    return proveInclusion(leafIndex, treeSize, this);
  }

  proveConsistency(oldSize: number, newSize: number = this.treeSize): Promise<Uint8Array[]> {
    return proveConsistency(oldSize, newSize, this);
  }

  async rootAt(treeSize: number): Promise<Uint8Array> {
    return this.#rootOf(treeSize);
  }

  async checkpointAt(treeSize: number): Promise<SignedCheckpoint | undefined> {
    return this.#released.get(treeSize);
  }

  async checkpoints(from: number, count: number): Promise<SignedCheckpoint[]> {
    const sizes = [...this.#released.keys()].filter((size) => size >= from).toSorted((a, b) => a - b);
    return sizes.slice(0, count).flatMap((size) => this.#released.get(size) ?? []);
  }

  #rootOf(treeSize: number): Uint8Array {
    return rootOfHashes(this.#entries.slice(0, treeSize).map(leafHash));
  }

  /** Two entries in the place of each other, and no trace of what was released: what a full rewrite looks like. */
  rewrite(one: number, other: number): void {
    this.#released.clear();
    const [a, b] = [this.#entries[one], this.#entries[other]];
    if (a === undefined || b === undefined) return;
    this.#entries[one] = b;
    this.#entries[other] = a;
  }

  /** Puts another entry in the place of one: what nobody may do. */
  tamper(index: number, bytes: Uint8Array): void {
    this.#entries[index] = bytes;
  }
}

/** As the daemon writes its own entries. */
export class FakeRecorder {
  readonly #log: FakeLog;
  readonly #organisation: Identity;
  #count = 0;

  constructor(log: FakeLog, organisation: Identity) {
    this.#log = log;
    this.#organisation = organisation;
  }

  /** In the log when it returns. */
  record<N extends EntryTypeName>(
    type: N,
    members: EntryMembers<N>,
    { actor = this.#organisation.did, timeMs = Date.now(), signer = this.#organisation.keys.sign }: RecordOptions = {},
  ): Promise<number> {
    this.#count += 1;
    const random = Uint8Array.from({ length: 16 }, (_, i) => (this.#count >> (8 * (15 - i))) & 255);
    const entry = createEntry(
      {
        id: createUuid7(timeMs, random),
        source: this.#organisation.did,
        timeMs,
        type: wireTypeOf(type) as string,
        data: { actor, phase: 'outcome', ...members },
      },
      signer,
    );
    return this.#log.append(entry);
  }
}

interface RecordOptions {
  readonly actor?: string;
  readonly timeMs?: number;
  readonly signer?: StatementSigner;
}

/** Two organisations whose witnesses cosign whatever they are shown; the policy asks for both. */
export class FakeCosigning {
  readonly #log: FakeLog;
  readonly #witnesses: readonly { readonly did: string; readonly witness: ReturnType<typeof ownWitness> }[];
  /** What a witness that does not answer says. */
  error: string | null = null;
  /** Why whoever waits for witnesses waits in vain. */
  refusal: MeshError | undefined;

  constructor(log: FakeLog, organisations: readonly Identity[]) {
    this.#log = log;
    this.#witnesses = organisations.map(({ did, name }) => ({ did, witness: ownWitness(name) }));
  }

  policy(): Policy {
    const witnesses = this.#witnesses.map(({ did, witness }) => ({ name: `${did}/1`, vkey: witness.vkey }));
    const groups = this.#witnesses.map(({ did }) => ({ name: did, threshold: 1, members: [`${did}/1`] }));
    const logs = [{ vkey: this.#log.vkey }];
    if (witnesses.length === 0) return { logs, witnesses, groups, quorum: undefined };
    const members = groups.map(({ name }) => name);
    return {
      logs,
      witnesses,
      groups: [...groups, { name: 'operators', threshold: members.length, members }],
      quorum: 'operators',
    };
  }

  async witnessed(treeSize: number, count = this.#witnesses.length): Promise<SignedCheckpoint> {
    if (this.refusal !== undefined) throw this.refusal;
    if (count > this.#witnesses.length)
      throw new MeshError(
        'quorum',
        `Cannot have a checkpoint witnessed by ${count}: ${this.#witnesses.length} are known`,
      );
    const held = this.#log.released();
    const { checkpoint, note } =
      held === undefined || held.checkpoint.treeSize < treeSize ? await this.#log.release() : held;
    const now = Math.floor(Date.now() / 1000);
    const asked = this.#witnesses.slice(0, count);
    const lines = asked.map(({ witness }) => cosignLine(witness, note.text, now));
    await this.#log.addCosignatures(checkpoint.treeSize, lines);
    return this.#log.released() as SignedCheckpoint;
  }

  status() {
    const { treeSize } = this.#log.released()?.checkpoint ?? { treeSize: null };
    return {
      isConfirmed: true,
      operators: this.#witnesses.length,
      quorum: this.#witnesses.length,
      witnessed: null,
      witnesses: this.#witnesses.map(({ did, witness }) => ({
        did,
        name: witness.vkey.name,
        treeSize,
        timeSeconds: treeSize === null ? null : Math.floor(Date.now() / 1000) - 5,
        isReachable: this.error === null,
        error: this.error,
      })),
    };
  }
}

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64url');

/** The first entries of a log: what it is, and whose keys sign in it. */
export async function openFakeLog(recorder: FakeRecorder, organisation: Identity): Promise<void> {
  await Promise.all([
    recorder.record('log.opened', { binding: text(createBinding(organisation).envelope) }),
    recordOperation(recorder, organisation.genesis),
  ]);
}

export function recordOperation(recorder: FakeRecorder, genesis: Statement<'didop/v1'>): Promise<number> {
  const statement = text(genesis.envelope);
  return recorder.record('did.operation', { did: didOfGenesis(genesis.id), operation: 'genesis', seq: 0, statement });
}

export function recordCredential(recorder: FakeRecorder, link: Statement<'delegation/v1'>): Promise<number> {
  const { iss, cnf, exp } = link.payload;
  return recorder.record('credential.issued', {
    did: iss,
    leaf: link.id,
    key: multikeyText(cnf ?? new Uint8Array()),
    until: new Date(exp * 1000).toISOString(),
    statement: text(link.envelope),
  });
}
