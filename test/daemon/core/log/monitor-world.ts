/**
 * Nodes that watch each other's logs, over a network in memory: each with a log of given leaves, its reader and server,
 * and a monitor. A log may have a second history under the same key and show one or the other by who asks: that is a real
 * fork, of which every note and proof verifies by itself.
 */
import {
  LogReader,
  LogReadServer,
  type LogReadServerOptions,
  type ServedLog,
} from '../../../../daemon/core/log/log-read.ts';
import type { LogProblem } from '../../../../daemon/core/log/audit-log.ts';
import { Monitor } from '../../../../daemon/core/log/monitor.ts';
import { serveTlog, TlogAsker } from '../../../../daemon/core/log/tlog-stream.ts';
import { answerWitness, WITNESS_FRAME_BYTES_MAX, witnessOfPeer } from '../../../../daemon/core/log/witness-stream.ts';
import type { Witness } from '../../../../daemon/core/log/witness.ts';
import type { MemoryStore } from '../../../../daemon/store/memory.ts';
import { limits, rawKeyOf, type Statement } from '../../../../protocol/index.ts';
import {
  checkpointStatement,
  cosignatureMessage,
  createCosignatureLine,
  createSignatureLine,
  formatBundle,
  formatCheckpointText,
  formatNote,
  formatTile,
  leafHash,
  logVkey,
  type Note,
  noteMessage,
  parseCheckpoint,
  proveConsistency,
  proveInclusion,
  rootFromTiles,
  rootOfHashes,
  type SignedCheckpoint,
  signBinding,
  type TilePlace,
  type TileReader,
  type Vkey,
  witnessVkey,
} from '../../../../protocol/log/index.ts';
import { isSignatureValidSodium } from '../../../../protocol/sodium.ts';
import { keyOf, type TestKey } from '../../../builders.ts';
import { type Member, NodeWorld } from '../node-world.ts';

const encoder = new TextEncoder();

/** A history of entries, and all that can be proved of it. */
export class History implements TileReader {
  readonly entries: readonly Uint8Array[];
  readonly #hashes: readonly Uint8Array[];

  constructor(entries: readonly string[]) {
    this.entries = entries.map((entry) => encoder.encode(entry));
    this.#hashes = this.entries.map((entry) => leafHash(entry));
  }

  /** Of so many entries, the first `shared` of which every other history of this size has too. */
  static of(branch: string, size: number, shared: number): History {
    return new History(Array.from({ length: size }, (_, i) => (i < shared ? `entry ${i}` : `${branch} ${i}`)));
  }

  async tile({ level, index, width }: TilePlace): Promise<Uint8Array | undefined> {
    const from = index * 256;
    if (level === 'entries') {
      const entries = this.entries.slice(from, from + width);
      return entries.length === width ? formatBundle(entries) : undefined;
    }
    const span = 256 ** level;
    const hashes: Uint8Array[] = [];
    for (let i = from; i < from + width; i++) {
      if ((i + 1) * span > this.#hashes.length) return undefined;
      hashes.push(rootOfHashes(this.#hashes.slice(i * span, (i + 1) * span)));
    }
    return formatTile(hashes);
  }

  get treeSize(): number {
    return this.entries.length;
  }
  rootAt(treeSize: number): Promise<Uint8Array> {
    return rootFromTiles(treeSize, this);
  }
  proveInclusion(leafIndex: number, treeSize: number = this.treeSize): Promise<Uint8Array[]> {
    return proveInclusion(leafIndex, treeSize, this);
  }
  proveConsistency(oldSize: number, newSize: number = this.treeSize): Promise<Uint8Array[]> {
    return proveConsistency(oldSize, newSize, this);
  }
}

/** A key that signs what it is told to. */
export class LogKey {
  readonly key: TestKey;
  readonly vkey: Vkey;

  constructor(name: string, generation = 0) {
    this.key = keyOf(`${name}/log`);
    this.vkey = logVkey(rawKeyOf(this.key.publicKey), generation);
  }

  get origin(): string {
    return this.vkey.name;
  }

  async sign(history: History, treeSize: number = history.treeSize): Promise<SignedCheckpoint> {
    const text = formatCheckpointText({ origin: this.origin, treeSize, root: await history.rootAt(treeSize) });
    const line = createSignatureLine(this.vkey, this.key.sign(noteMessage(text)));
    return parseCheckpoint(formatNote({ text, signatures: [line] }));
  }
}

export function cosign({ note }: SignedCheckpoint, ...witnesses: readonly string[]): SignedCheckpoint {
  const lines = witnesses.map((name) => {
    const key = keyOf(`${name}/witness`);
    const vkey = witnessVkey(rawKeyOf(key.publicKey));
    return createCosignatureLine(vkey, 1_795_000_000, key.sign(cosignatureMessage(note.text, 1_795_000_000)));
  });
  return parseCheckpoint(formatNote({ ...note, signatures: [...note.signatures, ...lines] }));
}

export const withLines = (signed: SignedCheckpoint, lines: Note['signatures']): SignedCheckpoint => ({
  ...signed,
  note: { ...signed.note, signatures: [...signed.note.signatures, ...lines] },
});

export interface Watcher {
  readonly member: Member;
  readonly name: string;
  readonly log: LogKey;
  readonly reader: LogReader;
  readonly monitor: Monitor;
  /** What its own log was halted for. */
  readonly problems: LogProblem[];
  /** Forks that this node found. */
  readonly found: Statement<'proof/v1'>[];
  /** What it shows; by default one history of eight entries to all. */
  shows: (peer: string) => Shown | undefined;
  readonly asked: { readonly peer: string; readonly path: string }[];
  close(): Promise<void>;
}

export interface Shown {
  readonly history: History;
  /** The newest that may be seen. */
  readonly released: SignedCheckpoint;
}

export interface WatchOptions {
  /** Whether it compares what it sees. Default true. */
  readonly watches?: boolean;
  readonly shows?: (peer: string) => Shown | undefined;
  readonly server?: LogReadServerOptions;
  readonly store?: MemoryStore;
  readonly originsMax?: number;
  /** Notes that its witness shows. */
  readonly witness?: Pick<Witness, 'checkpointOf'>;
}

export class MonitorWorld {
  readonly nodes = new NodeWorld();
  readonly watchers = new Map<string, Watcher>();

  get clock(): NodeWorld['clock'] {
    return this.nodes.clock;
  }

  async open(name: string, options: WatchOptions = {}): Promise<Watcher> {
    const member = await this.nodes.open(name, options.store);
    const { node, network, store } = member;
    const { clock, log: logger } = node.components;
    const log = new LogKey(name);
    const history = History.of('usual', 8, 8);
    const released = await log.sign(history);
    const usual: Shown = { history, released };
    const problems: LogProblem[] = [];
    const found: Statement<'proof/v1'>[] = [];
    const asked: Watcher['asked'] = [];
    const reader = new LogReader({ network, clock });
    const asker = new TlogAsker({ network, clock }, 'tlog/witness', { frameBytesMax: WITNESS_FRAME_BYTES_MAX });
    const monitor = await Monitor.open(
      {
        store,
        clock,
        log: logger,
        isSignatureValid: isSignatureValidSodium,
        state: node.state,
        convictions: node.convictions,
        pipeline: node.pipeline,
        reader,
        organisation: node.organisation.did,
        ownLog: () => {
          const { history: own } = watcher.shows('') ?? usual;
          return {
            origin: log.origin,
            treeSize: own.treeSize,
            files: own as never,
            halt: (problem: LogProblem) => problems.push(problem),
          };
        },
        peersOf: (did) => node.sync.peersOf(did),
        boundPeers: () => node.sync.boundPeers(),
        readCosigned: async (peer, origin, signal) => {
          const { status, body } = await witnessOfPeer(asker, peer).readCheckpoint(origin, signal);
          return status === 200 ? parseCheckpoint(body) : undefined;
        },
      },
      options.originsMax === undefined ? {} : { originsMax: options.originsMax },
    );
    monitor.listen({ proven: (proof) => found.push(proof) });
    const watcher: Watcher = {
      member,
      name,
      log,
      reader,
      monitor,
      problems,
      found,
      asked,
      shows: options.shows ?? (() => usual),
      close: async () => {
        reader.close();
        asker.close();
        await monitor.close();
      },
    };
    const serverFor = (peer: string): LogReadServer =>
      new LogReadServer(
        {
          network,
          clock,
          log: logger,
          state: node.state,
          reader,
          organisationOf: (one) => node.sync.organisationOf(one),
          peersOf: (did) => node.sync.peersOf(did),
          logs: () => served(log.origin, watcher.shows(peer)),
          seen: (hash) => monitor.newest(hash),
        },
        options.server,
      );
    const servers = new Map<string, LogReadServer>();
    await serveTlog(
      {
        network,
        log: logger,
        answer: (request, { peer }) => {
          asked.push({ peer, path: request.path });
          const server = servers.get(peer) ?? serverFor(peer);
          servers.set(peer, server);
          return server.answer(request, { peer });
        },
      },
      'tlog/read',
      { frameBytesMax: limits.TLOG_READ_FRAME_BYTES_MAX },
    );
    const { witness } = options;
    if (witness !== undefined)
      await serveTlog(
        { network, log: logger, answer: (request, { peer }) => answerWitness(witness as Witness, request, peer) },
        'tlog/witness',
        { frameBytesMax: WITNESS_FRAME_BYTES_MAX },
      );
    if (options.watches !== false) monitor.start();
    await this.nodes.during(node.pipeline.submit([this.bindingOf(watcher)]));
    this.watchers.set(name, watcher);
    return watcher;
  }

  bindingOf({ member: { node, network, did }, log, name }: Pick<Watcher, 'member' | 'log' | 'name'>) {
    const witness = witnessVkey(rawKeyOf(keyOf(`${name}/witness`).publicKey));
    const signer = node.signers.signerFor(node.state.didState(did), did, 'sign');
    const nowSeconds = Math.floor(this.clock.nowMs() / 1000);
    return signBinding({ iss: did, log: log.vkey, witness, peer: network.peer, nowSeconds }, signer);
  }

  /** Closed, and opened again with what its store holds; not connected. */
  async restart({ name, member, close }: Watcher): Promise<Watcher> {
    await this.nodes.during(close(), 0);
    await this.nodes.during(member.node.close());
    await member.network.close();
    return this.open(name, { store: member.store });
  }

  /** Connects these in a row, and lets them get to know each other. */
  async connect(...pairs: readonly (readonly [Watcher, Watcher])[]): Promise<void> {
    for (const [a, b] of pairs) this.nodes.mesh.connect(a.member.network, b.member.network);
    await this.clock.advance(1_000);
  }

  /** As if the log had gossiped a checkpoint to this node alone. */
  tell(to: Watcher, from: Watcher, signed: SignedCheckpoint): string {
    const statement = checkpointStatement(formatNote(signed.note));
    const source = { via: 'gossip', peer: from.member.network.peer, topic: 'cp' } as const;
    const outcome = to.member.node.pipeline.receive(statement.envelope, source);
    return outcome.verdict === 'accept' ? 'accept' : outcome.code;
  }

  /** Names of those on which the organisation of this one is convicted. */
  convictedBy(of: Watcher): string[] {
    return [...this.watchers.values()]
      .filter(({ member }) => member.node.convictions.isConvicted(of.member.did))
      .map(({ name }) => name);
  }

  /** Organisations that are convicted anywhere. */
  convicted(): string[] {
    const all = [...this.watchers.values()].flatMap(({ member }) => member.node.convictions.list());
    return [...new Set(all.map(({ organisation }) => organisation))];
  }

  async close(): Promise<void> {
    const closing = [...this.watchers.values()].map((one) => one.close());
    await this.clock.advance(0);
    await Promise.all(closing);
    await this.nodes.close();
  }
}

const served = (origin: string, shown: Shown | undefined): ServedLog[] =>
  shown === undefined ? [] : [{ origin, files: shown.history, released: () => shown.released }];

/** Two histories that part after `shared` entries. */
export interface Fork {
  readonly left: History;
  readonly right: History;
}
export const forkOf = (sizes: readonly [number, number], shared: number): Fork => ({
  left: History.of('left', sizes[0], shared),
  right: History.of('right', sizes[1], shared),
});
