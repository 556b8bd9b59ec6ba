/**
 * Real daemons, each its own process, and others of their mesh that live in the test's: real nodes with organisations,
 * logs and bindings, which show of their logs what they are told to.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { witnessOfPeer } from '../../daemon/core/log/witness-stream.ts';
import { createLibp2pNetwork, type Libp2pNetwork } from '../../daemon/libp2p/index.ts';
import { createSystemClock, createSystemRandom } from '../../daemon/system.ts';
import { type Answer, encodeQuestion, limits, parseAnswer, type Question } from '../../protocol/index.ts';
import { formatAddCheckpoint, originHash, type SignedCheckpoint } from '../../protocol/log/index.ts';
import { toHex } from '../../protocol/index.ts';
import { type AgentMesh, type ErrorCode, isMeshError, type MeshEvent } from '../../sdk/index.ts';
import { createOrganisation } from '../builders.ts';
import { quiet } from '../daemon/core/handshake-world.ts';
import { openWatcher, type Watcher, type WatchOptions } from '../daemon/core/log/monitor-world.ts';
import { seededRandom } from '../random.ts';
import { type DaemonProcess, startDaemonProcess, until } from './daemon-process.ts';

const STARTING_MAX = 2; // at once: a start takes a processor
const BOOTSTRAPS = 3; // of each daemon, among those that started before it
const READY_MS = 120_000; // the last ones start beside eighteen that get to know each other
const JOINED_MS = 60_000;
const DIAL_AGAIN_MS = 500;
const ANSWER_MS = 15_000; // nineteen others answer on the same two processors

export interface Member {
  readonly name: string;
  readonly process: DaemonProcess;
  readonly mesh: AgentMesh;
  /** What it said, and when that was heard: performance.now(). */
  readonly events: { readonly atMs: number; readonly event: MeshEvent }[];
}

export type Participant = Watcher<Libp2pNetwork>;

export class ForkMesh implements AsyncDisposable {
  readonly members: Member[] = [];
  readonly #folder: string;
  readonly #participants: Participant[] = [];
  readonly #stop = new AbortController();
  readonly #listening: Promise<void>[] = [];
  readonly #clock = createSystemClock();

  private constructor(folder: string) {
    this.#folder = folder;
  }

  /** So many daemons, each bootstrapped by some of those before it, all of which know each other's logs. */
  static async start(count: number, seed: number): Promise<ForkMesh> {
    const mesh = new ForkMesh(await mkdtemp(join(tmpdir(), 'agentmesh-fork-')));
    try {
      await mesh.#startAll(count, seededRandom(seed));
      return mesh;
    } catch (error) {
      await mesh[Symbol.asyncDispose]();
      throw error;
    }
  }

  async #startAll(count: number, random: () => number): Promise<void> {
    // Compiled once: most of what a start costs. It is kept by a process that ends in order.
    const first = await this.#startProcess('compiling', []);
    await first.end('SIGTERM');
    await this.#startOne(0, []);
    let next = 1;
    const startNext = async (): Promise<void> => {
      while (next < count) {
        const bootstrap = this.members
          .map(({ process: { address } }) => ({ address, order: random() }))
          .sort((a, b) => a.order - b.order)
          .slice(0, BOOTSTRAPS);
        await this.#startOne(
          next++,
          bootstrap.map(({ address }) => address),
        );
      }
    };
    const started = await Promise.allSettled(Array.from({ length: STARTING_MAX }, startNext));
    for (const each of started) if (each.status === 'rejected') throw each.reason; // none is starting any more
  }

  async #startOne(number: number, bootstrap: readonly string[]): Promise<void> {
    const name = `node-${number}`;
    const process = await this.#startProcess(name, bootstrap);
    const member: Member = { name, process, mesh: await process.connect(), events: [] };
    this.members.push(member);
    this.#listening.push(this.#listen(member));
  }

  #startProcess(name: string, bootstrap: readonly string[]): Promise<DaemonProcess> {
    return startDaemonProcess({
      home: join(this.#folder, name),
      name,
      bootstrap,
      env: { AGENTMESH_LOCAL_NETWORK: 'true', NODE_COMPILE_CACHE: join(this.#folder, 'compiled') },
      args: ['--log-level', 'error'],
      readyMs: READY_MS,
    });
  }

  async #listen({ mesh, events }: Member): Promise<void> {
    const { signal } = this.#stop;
    try {
      for await (const event of mesh.events({ types: ['conviction.made', 'statement.rejected', 'log.halted'], signal }))
        events.push({ atMs: performance.now(), event });
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  /** One who is bound at every daemon, and whose log every daemon knows by its binding. */
  async join(name: string, options: WatchOptions = {}): Promise<Participant> {
    const clock = this.#clock;
    const organisation = createOrganisation(name, { iat: Math.floor(clock.nowMs() / 1000) });
    const network = await createLibp2pNetwork(
      { clock, random: createSystemRandom(), log: quiet },
      { listen: ['/ip4/127.0.0.1/tcp/0'], localNetwork: true, privateKeySeed: organisation.node.seed },
    );
    const one = await openWatcher(organisation, { clock, network }, { watches: false, ...options });
    this.#participants.push(one);
    await network.start();
    await Promise.all(this.members.map((member) => this.#connect(one, member)));
    // A daemon that knows whose log it is asks the log for its checkpoint.
    const path = `${toHex(originHash(one.log.origin))}/checkpoint`;
    const hasAsked = ({ process: { peerId } }: Member): boolean =>
      one.asked.some((question) => question.peer === peerId && question.path === path);
    await until(`all daemons know the log of ${name}`, async () => this.members.every(hasAsked), JOINED_MS);
    return one;
  }

  /** Tries again where a daemon had no time for the handshake. */
  async #connect({ network, sync }: Participant, { name, process: { peerId, address } }: Member): Promise<void> {
    await until(
      `connected to ${name}`,
      async () => {
        if (sync.boundPeers().includes(peerId)) return true;
        if (network.connections().every(({ peer }) => peer !== peerId))
          await network.dial(address).catch((error: unknown) => {
            if (!isMeshError(error)) throw error;
            return new Promise((resolve) => setTimeout(resolve, DIAL_AGAIN_MS));
          });
        return false;
      },
      JOINED_MS,
    );
  }

  /** Resolves to the status of the answer; a code, where the daemon ended the connection instead. */
  async submit(from: Participant, to: Member, signed: SignedCheckpoint): Promise<number | ErrorCode> {
    const body = formatAddCheckpoint({ oldSize: 0, proof: [], signed });
    try {
      const { status } = await witnessOfPeer(from.asker, to.process.peerId).addCheckpoint(body, this.#stop.signal);
      return status;
    } catch (error) {
      if (isMeshError(error)) return error.code;
      throw error;
    }
  }

  /** A question of the sync protocol, on a connection made for it where there is none. */
  async ask(from: Participant, to: Member, question: Question): Promise<Answer> {
    const { network } = from;
    const { peerId, address } = to.process;
    const connection = network.connections().find(({ peer }) => peer === peerId) ?? (await network.dial(address));
    const frameBytesMax = limits.SYNC_FRAME_BYTES_MAX;
    const stream = await network.openStream(connection, 'sync', { frameBytesMax });
    await stream.send(encodeQuestion(question));
    const frame = await stream.receive({ timeoutMs: ANSWER_MS });
    await stream.close();
    if (frame === undefined) throw new Error(`${to.name} ended the stream`);
    return parseAnswer(frame);
  }

  async leave(one: Participant): Promise<void> {
    this.#participants.splice(this.#participants.indexOf(one), 1);
    await one.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#participants.map((one) => one.close()));
    await Promise.all(this.members.map(({ process }) => process.end('SIGKILL')));
    await Promise.all(this.#listening);
    await rm(this.#folder, { recursive: true, force: true });
  }
}
