/**
 * Organisations that watch each other's logs, over a network in memory: each with a log of given leaves, its reader and
 * server, and a monitor. A log may have a second history under the same key and show one or the other by who asks: that is
 * a real fork, of which every note and proof verifies by itself.
 */
import { Convictions } from '../../../../daemon/core/log/convictions.ts';
import {
  LogReader,
  LogReadServer,
  type LogReadServerOptions,
  type ServedLog,
} from '../../../../daemon/core/log/log-read.ts';
import type { LogStore } from '../../../../daemon/core/log/log-store.ts';
import type { LogProblem } from '../../../../daemon/core/log/audit-log.ts';
import { Monitor } from '../../../../daemon/core/log/monitor.ts';
import { serveTlog, type TlogAnswer, TlogAsker, type TlogRequest } from '../../../../daemon/core/log/tlog-stream.ts';
import { answerWitness, WITNESS_FRAME_BYTES_MAX, witnessOfPeer } from '../../../../daemon/core/log/witness-stream.ts';
import type { Witness } from '../../../../daemon/core/log/witness.ts';
import { Pipeline } from '../../../../daemon/core/pipeline.ts';
import { Sync } from '../../../../daemon/core/sync.ts';
import type { Clock, Network, PeerConnection, Signer } from '../../../../daemon/ports.ts';
import { MemoryStore } from '../../../../daemon/store/memory.ts';
import {
  equalBytes,
  isMeshError,
  kindRow,
  limits,
  MeshState,
  RangeIndex,
  rawKeyOf,
  type Statement,
  TOPICS,
} from '../../../../protocol/index.ts';
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
import { createHeartbeat, createOrganisation, type Identity, keyOf, type TestKey } from '../../../builders.ts';
import { seededRandom } from '../../../random.ts';
import { quiet } from '../handshake-world.ts';
import { MemoryMesh, type MemoryNetwork } from '../memory-network.ts';
import { VirtualClock } from '../virtual-clock.ts';

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

  sign(history: History, treeSize: number = history.treeSize): Promise<SignedCheckpoint> {
    return signCheckpoint(this.vkey, this.key, history, treeSize);
  }
}

export async function signCheckpoint(
  vkey: Vkey,
  signer: Pick<Signer, 'sign'>,
  history: History,
  treeSize: number = history.treeSize,
): Promise<SignedCheckpoint> {
  const text = formatCheckpointText({ origin: vkey.name, treeSize, root: await history.rootAt(treeSize) });
  const line = createSignatureLine(vkey, signer.sign(noteMessage(text)));
  return parseCheckpoint(formatNote({ text, signatures: [line] }));
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

export interface Watcher<N extends Network = MemoryNetwork> {
  readonly name: string;
  readonly did: string;
  readonly organisation: Identity;
  readonly network: N;
  readonly store: MemoryStore;
  readonly pipeline: Pipeline;
  readonly state: MeshState;
  readonly sync: Sync;
  readonly convictions: Convictions;
  readonly log: LogKey;
  readonly reader: LogReader;
  /** Of witnesses. */
  readonly asker: TlogAsker;
  readonly monitor: Monitor;
  /** What its own log was halted for. */
  readonly problems: LogProblem[];
  /** Forks that this node found. */
  readonly found: Statement<'proof/v1'>[];
  /** What it shows; by default one history of eight entries to all. */
  shows: (peer: string) => Shown | undefined;
  /** Copies of others' logs that it shows too. */
  copies: () => readonly ServedLog[];
  readonly asked: { readonly peer: string; readonly path: string }[];
  close(): Promise<void>;
}

export interface Shown {
  readonly history: ServedLog['files'] & Pick<LogStore, 'treeSize' | 'rootAt'>;
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

/** Where one lives. */
export interface Ground<N extends Network> {
  readonly clock: Clock;
  /** With the key of the organisation's node. */
  readonly network: N;
}

/** All of one but connections: it waits for them, and its binding is held. */
export async function openWatcher<N extends Network>(
  organisation: Identity,
  { clock, network }: Ground<N>,
  options: WatchOptions = {},
): Promise<Watcher<N>> {
  const { did, name } = organisation;
  const store = options.store ?? new MemoryStore();
  const index = new RangeIndex();
  const state = new MeshState();
  const pipeline = new Pipeline({ state, index, store, clock, log: quiet, isSignatureValid: isSignatureValidSodium });
  await pipeline.open();
  await pipeline.submit([organisation.genesis]);
  const convictions = await Convictions.open({ state, pipeline, store, clock, log: quiet, organisation: did });
  const reader = new LogReader({ network, clock });
  const asker = new TlogAsker({ network, clock }, 'tlog/witness', { frameBytesMax: WITNESS_FRAME_BYTES_MAX });
  const log = new LogKey(name);
  const history = History.of('usual', 8, 8);
  const usual: Shown = { history, released: await log.sign(history) };
  const problems: LogProblem[] = [];
  const found: Statement<'proof/v1'>[] = [];
  const monitor = await Monitor.open(
    {
      store,
      clock,
      log: quiet,
      isSignatureValid: isSignatureValidSodium,
      state,
      convictions,
      pipeline,
      reader,
      organisation: did,
      ownLog: () => {
        const files = watcher.shows('')?.history ?? history;
        const halt = (problem: LogProblem): void => void problems.push(problem);
        return { origin: log.origin, treeSize: files.treeSize, files: files as never, halt };
      },
      peersOf: (other) => sync.peersOf(other),
      boundPeers: () => sync.boundPeers(),
      readCosigned: async (peer, origin, signal) => {
        const { status, body } = await witnessOfPeer(asker, peer).readCheckpoint(origin, signal);
        return status === 200 ? parseCheckpoint(body) : undefined;
      },
    },
    options.originsMax === undefined ? {} : { originsMax: options.originsMax },
  );
  monitor.listen({ proven: (proof) => found.push(proof) });
  const random = seededRandom([...name].reduce((sum, letter) => sum * 31 + letter.charCodeAt(0), 7));
  const sync = new Sync({
    network,
    pipeline,
    index,
    clock,
    random: { bytes: (count) => new Uint8Array(count), fraction: random },
    log: quiet,
    did,
    heartbeat: (nonce) => createHeartbeat(organisation, { iat: Math.floor(clock.nowMs() / 1000), nonce }),
    reliedOn: () => [],
    isRefused: (other) => convictions.isRefused(other),
    onBound: (peer, other) => {
      if (options.watches !== false) monitor.peerBound(peer, other);
    },
  });
  const watcher: Watcher<N> = {
    name,
    did,
    organisation,
    network,
    store,
    pipeline,
    state,
    sync,
    convictions,
    log,
    reader,
    asker,
    monitor,
    problems,
    found,
    asked: [],
    copies: () => [],
    shows: options.shows ?? (() => usual),
    close: async () => {
      sync.close();
      await monitor.close();
      reader.close();
      asker.close();
      await pipeline.close();
      await network.close();
    },
  };
  convictions.listen({ convicted: (other) => sync.recheck(other) });
  gossip(watcher);
  await serve(watcher, clock, options);
  if (options.watches !== false) monitor.start();
  await sync.start();
  await pipeline.submit([bindingOf(watcher)]);
  return watcher;
}

async function serve(watcher: Watcher<Network>, clock: Clock, { server, witness }: WatchOptions): Promise<void> {
  const { network, state, sync, reader, monitor, log } = watcher;
  const servers = new Map<string, LogReadServer>();
  const serverFor = (peer: string): LogReadServer =>
    new LogReadServer(
      {
        network,
        clock,
        log: quiet,
        state,
        reader,
        organisationOf: (one) => sync.organisationOf(one),
        peersOf: (did) => sync.peersOf(did),
        logs: () => [...served(log.origin, watcher.shows(peer)), ...watcher.copies()],
        seen: (hash) => monitor.newest(hash),
      },
      server,
    );
  const answer = (request: TlogRequest, { peer }: PeerConnection): Promise<TlogAnswer> => {
    watcher.asked.push({ peer, path: request.path });
    const own = servers.get(peer) ?? serverFor(peer);
    servers.set(peer, own);
    return own.answer(request, { peer });
  };
  const frameBytesMax = limits.TLOG_READ_FRAME_BYTES_MAX;
  await serveTlog({ network, log: quiet, answer }, 'tlog/read', { frameBytesMax });
  if (witness === undefined) return;
  await serveTlog(
    { network, log: quiet, answer: (request, { peer }) => answerWitness(witness as Witness, request, peer) },
    'tlog/witness',
    { frameBytesMax: WITNESS_FRAME_BYTES_MAX },
  );
}

/** Made when its organisation was founded. */
function bindingOf({
  organisation,
  name,
  log,
}: Pick<Watcher, 'organisation' | 'name' | 'log'>): Statement<'binding/v1'> {
  const witnessKey = keyOf(`${name}/witness`);
  const witness = witnessVkey(rawKeyOf(witnessKey.publicKey));
  const { did, node, genesis, keys } = organisation;
  return signBinding(
    { iss: did, log: log.vkey, witness, peer: node.peerId, nowSeconds: genesis.payload.iat },
    { organisation: keys.sign, log: log.key, witness: witnessKey },
  );
}

export class MonitorWorld {
  readonly clock = new VirtualClock();
  readonly mesh: MemoryMesh;
  readonly watchers = new Map<string, Watcher>();

  /** @param latencyMs one way, of every frame and message; default 0. */
  constructor(latencyMs = 0) {
    this.mesh = new MemoryMesh({ clock: this.clock, latencyMs });
  }

  async open(name: string, options: WatchOptions = {}): Promise<Watcher> {
    const organisation = createOrganisation(name);
    const network = this.mesh.join(organisation.node.peerId);
    const watcher = await openWatcher(organisation, { clock: this.clock, network }, options);
    this.watchers.set(name, watcher);
    return watcher;
  }

  bindingOf(watcher: Pick<Watcher, 'organisation' | 'name' | 'log'>): Statement<'binding/v1'> {
    return bindingOf(watcher);
  }

  /** Closed, and opened again with what its store holds; not connected. */
  async restart({ name, store, close }: Watcher): Promise<Watcher> {
    await this.during(close());
    return this.open(name, { store });
  }

  /** Connects these, and lets them get to know each other. */
  async connect(...pairs: readonly (readonly [Watcher, Watcher])[]): Promise<void> {
    for (const [a, b] of pairs) this.mesh.connect(a.network, b.network);
    await this.clock.advance(1_000);
  }

  /** As if the log had gossiped a checkpoint to this node alone. */
  tell(to: Watcher, from: Watcher, signed: SignedCheckpoint): string {
    const statement = checkpointStatement(formatNote(signed.note));
    const source = { via: 'gossip', peer: from.network.peer, topic: 'cp' } as const;
    const outcome = to.pipeline.receive(statement.envelope, source);
    return outcome.verdict === 'accept' ? 'accept' : outcome.code;
  }

  /** Names of those on which the organisation of this one is convicted. */
  convictedBy(of: Watcher): string[] {
    return [...this.watchers.values()]
      .filter(({ convictions }) => convictions.isConvicted(of.did))
      .map(({ name }) => name);
  }

  /** Organisations that are convicted anywhere. */
  convicted(): string[] {
    const all = [...this.watchers.values()].flatMap(({ convictions }) => convictions.list());
    return [...new Set(all.map(({ organisation }) => organisation))];
  }

  /** What somebody started, seen to its end while time passes. */
  async during<T>(work: Promise<T>, forMs = 100): Promise<T> {
    const settled = work.then(
      (value) => ({ value }),
      (error: unknown) => ({ error }),
    );
    await this.clock.advance(forMs);
    const result = await settled;
    if ('error' in result) throw result.error;
    return result.value;
  }

  async close(): Promise<void> {
    const closing = [...this.watchers.values()].map((one) => one.close());
    await this.clock.advance(0);
    await Promise.all(closing);
  }
}

/** As the node does: gossip hands on what its validator accepts; what came in another way is published. */
function gossip({ network, pipeline }: Pick<Watcher<Network>, 'network' | 'pipeline'>): void {
  let validating: Uint8Array | undefined;
  pipeline.listen({
    accepted: (statement, { via }) => {
      const { topic } = kindRow(statement.t);
      const isForwarded = validating !== undefined && equalBytes(validating, statement.envelope);
      if (topic !== undefined && !isForwarded && (via === 'local' || via === 'gossip'))
        network.publish(topic, statement.envelope).catch((error: unknown) => {
          if (!isMeshError(error)) throw error; // before it starts and while it closes: reconciliation brings it
        });
    },
  });
  for (const topic of TOPICS) {
    network.validate(topic, (message, peer) => {
      validating = message;
      const { verdict } = pipeline.receive(message, { via: 'gossip', peer, topic });
      validating = undefined;
      return verdict === 'pending' ? 'ignore' : verdict;
    });
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
