/** What a daemon said about its audit log, remembered outside of it: to be compared with what it says after a crash. */
import { encodeJcs, equalBytes, MeshError, toHex } from '../../protocol/index.ts';
import {
  createEntry,
  createUuid7,
  type LogFiles,
  monitoringPath,
  parseCheckpoint,
  proveConsistency,
  tileReaderOf,
  verifyConsistency,
} from '../../protocol/log/index.ts';
import { AgentIdentity, type AgentMesh, createSigner, type Signer, verifyLogFiles } from '../../sdk/index.ts';

export class LogRecord {
  /** Bytes of every entry that was acknowledged, by leaf index. */
  readonly acknowledged = new Map<number, Uint8Array>();
  /** Every checkpoint that was shown, by its text: two of one size would be two here. */
  readonly checkpoints = new Map<string, Uint8Array>();
  readonly #random: () => number;
  readonly #signer: Signer;
  #agent: { readonly did: string; readonly organisation: string } | undefined;
  #made = 0;

  constructor(random: () => number) {
    this.#random = random;
    this.#signer = createSigner(this.#bytes(32));
  }

  /** An agent that keeps its own key: so the bytes of its entries are known here. Once for all lives of the daemon. */
  async register(mesh: AgentMesh): Promise<void> {
    if (this.#agent !== undefined) return;
    using agent = await AgentIdentity.create({
      mesh,
      name: 'writer',
      sponsor: 'kill@example.com',
      capabilities: ['write:log/*'],
      signer: this.#signer,
    });
    const { did, organisation } = agent;
    this.#agent = { did, organisation };
  }

  /** Of the agent. */
  async append(mesh: AgentMesh, witnessed?: number): Promise<number> {
    if (this.#agent === undefined) throw new Error('nobody is registered who could append');
    const { did, organisation } = this.#agent;
    const timeMs = Date.now();
    const facts = { made: this.#made++, text: 'x'.repeat(Math.floor(this.#random() * 2_000)) };
    const { bytes } = createEntry(
      {
        id: createUuid7(timeMs, this.#bytes(16)),
        source: organisation,
        timeMs,
        type: 'agentmesh.agent.action.v1',
        data: { actor: did, phase: 'outcome', op: 'execute_tool', facts },
      },
      this.#signer,
    );
    const entry = Buffer.from(bytes).toString('base64url');
    const { index } = await mesh.log.append({ as: did, entry, ...(witnessed !== undefined && { witnessed }) });
    const other = this.acknowledged.get(index);
    if (other !== undefined) throw new Error(`leaf ${index} was given twice: ${toHex(other)} and ${toHex(bytes)}`);
    this.acknowledged.set(index, bytes);
    return index;
  }

  /** The newest released one. */
  async look(files: LogFiles): Promise<void> {
    const note = await files.read('checkpoint');
    if (note !== undefined) this.#see(note);
  }

  /** What a witness shows over HTTP to whoever asks. */
  async lookAt(witnessUrl: string, origin: string): Promise<void> {
    const answer = await fetch(`${witnessUrl}/${monitoringPath(origin)}`);
    if (answer.status === 200) this.#see(new Uint8Array(await answer.arrayBuffer()));
    else if (answer.status !== 404) throw new Error(`the witness answered ${answer.status}`);
  }

  /** Leaf indices of acknowledged entries that are not there, or are others. */
  async lost(mesh: AgentMesh): Promise<number[]> {
    const held = new Map<number, Uint8Array>();
    if (this.#agent === undefined) return [];
    for await (const { index, entry } of mesh.log.entries({ order: 'oldest', actor: this.#agent.did }))
      held.set(index, encodeJcs(entry));
    return [...this.acknowledged].flatMap(([index, bytes]) => {
      const found = held.get(index);
      return found !== undefined && equalBytes(found, bytes) ? [] : [index];
    });
  }

  /** Every byte of the log, every checkpoint that it ever showed, and one after the other by proof. Returns its size. */
  async verify(mesh: AgentMesh): Promise<number> {
    const newest = Math.max(-1, ...this.acknowledged.keys());
    if (newest >= 0) await mesh.log.prove(newest); // releases a checkpoint that holds all of them
    const files = mesh.log.files();
    await this.look(files);
    const { checkpoint, known } = await verifyLogFiles(files, { since: [...this.checkpoints.values()] });
    if (known !== this.checkpoints.size)
      throw new Error(`of ${this.checkpoints.size} checkpoints the log was compared with ${known}`);
    if (checkpoint.treeSize <= newest)
      throw new Error(`the released checkpoint is of ${checkpoint.treeSize} entries, and ${newest} is acknowledged`);
    await this.#verifyPairs(files);
    return checkpoint.treeSize;
  }

  async #verifyPairs(files: LogFiles): Promise<void> {
    const all = [...this.checkpoints.values()]
      .map((note) => parseCheckpoint(note).checkpoint)
      .sort((a, b) => a.treeSize - b.treeSize);
    for (const [i, next] of all.entries()) {
      const old = all[i - 1];
      if (old === undefined) continue;
      if (old.treeSize === next.treeSize)
        throw new MeshError('bad_proof', `two checkpoints of ${old.treeSize} entries were shown`);
      const proof = await proveConsistency(old.treeSize, next.treeSize, tileReaderOf(files));
      verifyConsistency(old.treeSize, next.treeSize, old.root, next.root, proof);
    }
  }

  #see(note: Uint8Array): void {
    const { note: parsed } = parseCheckpoint(note);
    this.checkpoints.set(parsed.text, note);
  }

  #bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => Math.floor(this.#random() * 256));
  }
}
