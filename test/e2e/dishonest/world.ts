/**
 * Honest daemons as processes, and dishonest ones in this process, over real libp2p: Acme exposes a server that writes
 * down what it does; Gamma's agent uses it all the while, and must notice nothing; Mallory and Eve are up to no good.
 */
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { mkdtemp, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Network } from '../../../daemon/ports.ts';
import type { Capability } from '../../../protocol/index.ts';
import { toHex } from '../../../protocol/index.ts';
import {
  type AgentMesh,
  type LogEntryView,
  type DelegateBody,
  TrustBridge,
  verifyLogFiles,
} from '../../../sdk/index.ts';
import type { ReceiptView } from '../../../protocol/control/index.ts';
import { type DaemonProcess, startDaemonProcess, until } from '../daemon-process.ts';
import { never, openOwnNode, operator, type OwnNode } from '../own-node.ts';
import { type HandSession, type HandShake, shakeByHand } from './by-hand.ts';
import type { Deed } from './witness-server.ts';

const WITNESS = fileURLToPath(new URL('./witness-server.ts', import.meta.url));
const POLICY = `version: "1.0"
name: acme
default: allow
rules:
  - { name: ask, condition: "tool.name == 'erase'", action: require_approval }
  - { name: never, condition: "tool.name == 'forbidden'", action: deny }
`;
export const ALL: readonly Capability[] = [{ can: 'mcp:witness/*' }];

export interface Honest {
  readonly daemon: DaemonProcess;
  readonly mesh: AgentMesh;
  readonly agent: string;
}
export interface Dishonest {
  readonly node: OwnNode;
  /** Agents by name. */
  readonly agents: Readonly<Record<string, string>>;
}
export interface DishonestWorldOptions {
  /** What Mallory's core is given in place of the network. */
  readonly wrap?: (network: Network) => Network;
}

export class DishonestWorld implements AsyncDisposable {
  readonly acme: Honest;
  readonly gamma: Honest;
  readonly mallory: Dishonest;
  readonly eve: Dishonest;
  /** Where files that may be read are, and those that may not. */
  readonly open: string;
  readonly closed: string;
  readonly approver: string;
  readonly #log: string;
  readonly #opened: AsyncDisposableStack;

  private constructor(
    sides: Pick<DishonestWorld, 'acme' | 'gamma' | 'mallory' | 'eve' | 'open' | 'closed' | 'approver'>,
    log: string,
    opened: AsyncDisposableStack,
  ) {
    this.acme = sides.acme;
    this.gamma = sides.gamma;
    this.mallory = sides.mallory;
    this.eve = sides.eve;
    this.open = sides.open;
    this.closed = sides.closed;
    this.approver = sides.approver;
    this.#log = log;
    this.#opened = opened;
  }

  static async create({ wrap }: DishonestWorldOptions = {}): Promise<DishonestWorld> {
    await using opened = new AsyncDisposableStack();
    const directory = await realpath(await mkdtemp(join(tmpdir(), 'agentmesh-dishonest-')));
    opened.defer(() => rm(directory, { recursive: true, force: true }));
    const log = join(directory, 'witness.log');
    writeFileSync(log, '');
    const honest = async (name: string, bootstrap: readonly string[], agent: string): Promise<Honest> => {
      const home = join(directory, name.toLowerCase());
      const daemon = opened.use(await startDaemonProcess({ home, name, bootstrap }));
      const mesh = await daemon.connect();
      const sponsor = `${agent}@${name.toLowerCase()}.example`;
      const made = await mesh.agents.create({ name: agent, sponsor, capabilities: [{ can: 'mcp:witness/*' }] });
      return { daemon, mesh, agent: made.agent.did };
    };
    const acme = await honest('Acme', [], 'clerk');
    const bootstrap = [acme.daemon.address];
    const dishonest = async (name: string, names: readonly string[], more: object = {}): Promise<Dishonest> => {
      const node = opened.use(await openOwnNode({ home: join(directory, name), name, bootstrap, ...more }));
      const agents: Record<string, string> = {};
      for (const each of names) {
        const body = { name: each, sponsor: `bob@${name}.example`, capabilities: [{ can: 'mcp:witness/*' }] };
        agents[each] = (await node.api.agentCreate({ params: {}, query: {}, body }, operator, never)).agent.did;
      }
      return { node, agents };
    };
    const [gamma, mallory, eve] = await Promise.all([
      honest('Gamma', bootstrap, 'reader'),
      dishonest('Mallory', ['reader', 'other', 'third', 'fourth'], wrap && { wrap }),
      dishonest('Eve', ['reader']),
    ]);
    await until('all meet', async () => (await acme.mesh.status()).peers.bound === 3);
    const { digest } = await acme.mesh.policies.load({ name: 'acme', files: [{ path: 'acme.yaml', text: POLICY }] });
    const command = [process.execPath, WITNESS, '--log', log];
    for (const name of ['witness', 'side'])
      await acme.mesh.exposed.add({ name, command, cwd: directory, policy: digest, check: false });
    const approver = (await acme.mesh.sponsors.list())[0]?.did ?? '';
    const [open, closed] = [join(directory, 'open'), join(directory, 'closed')];
    for (const place of [open, closed]) mkdirSync(place);
    writeFileSync(join(open, 'a'), 'open');
    writeFileSync(join(closed, 'key'), 'closed');
    symlinkSync(closed, join(open, 'link'));
    return new DishonestWorld({ acme, gamma, mallory, eve, open, closed, approver }, log, opened.move());
  }

  /** From Acme; held by whoever it is for when it resolves. */
  async grant(of: Dishonest | Honest, to: string, grant: Omit<DelegateBody, 'to'> = { capabilities: [...ALL] }) {
    const { link } = await this.acme.mesh.delegations.create({ to, ...grant });
    await until('the grant arrives', async () =>
      'node' in of
        ? of.node.node.state.link(link.id) !== undefined
        : of.mesh.chains.show(link.id).then(
            () => true,
            () => false,
          ),
    );
    return link.id;
  }

  shake(by: Dishonest, as: string, how: Partial<HandShake> = {}): Promise<HandSession> {
    const { daemon, agent } = this.acme;
    return shakeByHand(by.node, { peer: daemon.peerId, as, to: agent, want: ALL, ...how });
  }

  deeds(tag: string): Deed[] {
    return this.allDeeds().filter((deed) => deed.tag === tag);
  }

  allDeeds(): Deed[] {
    return readFileSync(this.#log, 'utf8')
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line) as Deed);
  }

  async entries(of: Honest, types: readonly string[]): Promise<readonly LogEntryView[]> {
    const found: LogEntryView[] = [];
    for await (const one of of.mesh.log.entries({ types: types.map((type) => `agentmesh.${type}`) })) found.push(one);
    return found;
  }

  /** The receipt that this side keeps of a call, once it does. */
  async receipt(of: Honest, sid: Uint8Array | string, n: number): Promise<ReceiptView> {
    const session = typeof sid === 'string' ? sid : toHex(sid);
    let kept: ReceiptView | undefined;
    await until(`a receipt of call ${n}`, async () => {
      const { receipts } = await of.mesh.call('receiptList', { query: { limit: '100' } });
      kept = receipts.find((receipt) => receipt.sid === session && receipt.n === n);
      return kept !== undefined;
    });
    return kept as ReceiptView;
  }

  /** The whole log of an honest daemon, by its bytes, in this process. */
  async verifyLog({ mesh }: Honest): Promise<number> {
    return (await verifyLogFiles(mesh.log.files())).entries;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#opened.disposeAsync();
  }
}

/** Resident memory, bytes. */
export function residentBytes(pid: number): number {
  const kilobytes = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  if (kilobytes === undefined) throw new Error(`process ${pid} says nothing of its memory`);
  return Number(kilobytes) * 1024;
}

/** An honest caller beside the attacks: each of its calls has to succeed. */
export class Bystander {
  readonly #world: DishonestWorld;
  readonly #bridge: TrustBridge;
  #done = 0;
  readonly #failures: unknown[] = [];
  /** In its tags. */
  readonly #name: string;
  #isOn = true;
  readonly #linked = Promise.withResolvers<void>();
  readonly #run: Promise<void>;

  constructor(world: DishonestWorld, everyMs = 100, name = '') {
    this.#world = world;
    this.#name = `honest ${name} `;
    this.#bridge = new TrustBridge({ mesh: world.gamma.mesh, as: world.gamma.agent });
    this.#run = this.#callOn(everyMs);
  }

  async #callOn(everyMs: number): Promise<void> {
    while (this.#isOn) {
      try {
        const args = { tag: `${this.#name}${this.#done + this.#failures.length}` };
        const { isError, receipt } = await this.#bridge.call(this.#world.acme.agent, 'witness', 'note', args);
        if (isError || receipt?.half !== false) this.#failures.push({ isError, receipt });
        this.#done += 1;
      } catch (error) {
        this.#failures.push(error);
      }
      this.#linked.resolve();
      await sleep(everyMs);
    }
  }

  /** Its first call is over, and with it the start of a server of its own. */
  linked(): Promise<void> {
    return this.#linked.promise;
  }

  /**
   * How long its calls took after the first, by the honest caller's own log, since this process is busy with the attack:
   * milliseconds. Errors: the first that did not succeed.
   */
  async end(): Promise<readonly number[]> {
    this.#isOn = false;
    await this.#run;
    await this.#bridge.close();
    if (this.#failures.length > 0) throw new Error('an honest call was hurt', { cause: this.#failures[0] });
    const deeds = this.#world.allDeeds().filter(({ tag }) => tag.startsWith(this.#name));
    if (deeds.length !== this.#done) throw new Error(`${this.#done} honest calls were done ${deeds.length} times`);
    const entries = await this.#world.entries(this.#world.gamma, ['action.allowed', 'receipt.kept']);
    const beganMs = new Map(entries.map(({ entry }) => [entry.id, Date.parse(String(entry.time))]));
    const tookMs = entries.flatMap(({ entry }) => {
      const { intent, peer } = entry.data as { readonly intent?: string; readonly peer?: string };
      const began = intent === undefined || peer !== this.#world.acme.agent ? undefined : beganMs.get(intent);
      return began === undefined ? [] : [Date.parse(String(entry.time)) - began];
    });
    return tookMs.slice(0, this.#done).toReversed().slice(1);
  }
}
