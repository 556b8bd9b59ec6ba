/**
 * kill -9 of either side of calls, at random moments: two daemons, a server that tallies what it does, and a client that
 * asks again under the same keys. Messages of both agents go on meanwhile.
 */
import { readFileSync, statSync } from 'node:fs';
import { mkdtemp, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { isMeshError } from '../../protocol/index.ts';
import { type AgentMesh, TrustBridge } from '../../sdk/index.ts';
import { seededRandom } from '../random.ts';
import {
  type CallsEvidence,
  type Execution,
  type MailEvidence,
  readSide,
  type Told,
  type ToolName,
} from './calls-evidence.ts';
import { type DaemonProcess, startDaemonProcess, until } from './daemon-process.ts';

const TALLY = fileURLToPath(new URL('./tally-server.ts', import.meta.url));
const POLICY = `version: "1.0"
default: allow
rules:
  - { name: never, condition: "tool.name == 'never'", action: deny }
`;
const NEW_CALLS = 8; // a round
const WORKERS = 6;
const WORK_MS_MAX = 60;
const MOMENT_MS_MAX = 250;
const ROUND_MS_MAX = 10_000; // a round in which nothing happens is over too
const TRIES_MAX = 3; // of one key, before it is left as it is
const MESSAGES = 6; // a round, of each agent
const LOGGED_MS = 500; // entries of receipts are written a moment after these are kept
const SETTLED_MS = 60_000; // seconds on a quiet machine: a server that does not want to go has four

/** Of a daemon that is gone, or that does not reach the other one. */
const GONE: readonly string[] = [
  'not_running',
  'closed',
  'unreachable',
  'cancelled',
  'no_route',
  'timeout',
  'peer_not_bound',
  'internal',
];

export interface CallsKilled {
  readonly evidence: CallsEvidence;
  readonly kills: Readonly<Record<string, number>>;
  readonly mail: readonly MailEvidence[];
  readonly figures: Readonly<Record<string, number>>;
}

interface Plan {
  readonly key: string;
  readonly tool: ToolName;
  readonly ms: number;
  tries: number;
}

interface Side {
  readonly name: 'Acme' | 'Gamma';
  readonly home: string;
  readonly env: Readonly<Record<string, string>>;
  daemon: DaemonProcess;
  mesh: AgentMesh;
  agent: string;
  life: number;
}

export async function killCalls(kills: number, seed: number): Promise<CallsKilled> {
  const folder = await realpath(await mkdtemp(join(tmpdir(), 'agentmesh-calls-kill-')));
  for (const file of ['tally', 'pids']) await writeFile(join(folder, file), '');
  try {
    await using started = new AsyncDisposableStack();
    await using world = await KillWorld.open(folder, seed, started);
    for (let round = 0; round < kills; round++) await world.round();
    return await world.finish();
  } finally {
    for (const pid of pidsIn(folder)) if (isServerOf(folder, pid)) process.kill(pid, 'SIGKILL'); // where a check failed
    await rm(folder, { recursive: true, force: true });
  }
}

class KillWorld implements AsyncDisposable {
  readonly #folder: string;
  /** Every daemon there was. */
  readonly #started: AsyncDisposableStack;
  readonly #random: () => number;
  readonly #acme: Side;
  readonly #gamma: Side;
  readonly #told: Told[] = [];
  readonly #plans: Plan[] = [];
  readonly #killedLives: number[] = [];
  readonly #kills: Record<string, number> = {};
  readonly #mail: Mail[];
  #open: Plan[] = [];

  private constructor(folder: string, seed: number, started: AsyncDisposableStack, acme: Side, gamma: Side) {
    this.#folder = folder;
    this.#started = started;
    this.#random = seededRandom(seed);
    this.#acme = acme;
    this.#gamma = gamma;
    this.#mail = [new Mail(acme, gamma), new Mail(gamma, acme)];
  }

  static async open(folder: string, seed: number, started: AsyncDisposableStack): Promise<KillWorld> {
    const policy = join(folder, 'acme.yaml');
    await writeFile(policy, POLICY, { mode: 0o600 });
    const env = { NODE_COMPILE_CACHE: join(folder, 'compiled') };
    const own = { name: 'Acme', home: join(folder, 'acme'), env: { ...env, AGENTMESH_POLICIES: policy } } as const;
    // Compiled once: most of what a start costs. It is kept by a process that ends in order.
    await (await start(started, own)).daemon.end('SIGTERM');
    const acme = await start(started, own);
    const gamma = await start(started, { name: 'Gamma', home: join(folder, 'gamma'), env }, acme);
    const world = new KillWorld(folder, seed, started, acme, gamma);
    for (const [side, name] of [[acme, 'clerk'] as const, [gamma, 'reader'] as const]) {
      const sponsor = `${name}@${side.name.toLowerCase()}.example`;
      const { agent } = await side.mesh.agents.create({ name, sponsor, capabilities: [{ can: 'read:x' }] });
      side.agent = agent.did;
    }
    await world.#meet();
    const tally = ['--tally', join(folder, 'tally'), '--pids', join(folder, 'pids')];
    const command = [process.execPath, TALLY, ...tally];
    await acme.mesh.exposed.add({ name: 'tally', command, cwd: folder, policy: 'permissive' });
    await grant(acme, gamma, ['mcp:tally/*', 'mesh:message']);
    await grant(gamma, acme, ['mesh:message']);
    for (const mail of world.#mail) mail.start();
    return world;
  }

  /** Until one of the two is killed and is back. */
  async round(): Promise<void> {
    const victim = this.#random() < 0.5 ? this.#acme : this.#gamma;
    const survivor = victim === this.#acme ? this.#gamma : this.#acme;
    const moment = momentOf(this.#random);
    this.#plan(NEW_CALLS);
    const round: Round = { isOver: false, isIdle: false, answers: 0 };
    const kill = (): void => {
      if (round.isOver) return;
      round.isOver = true;
      process.kill(victim.daemon.pid, 'SIGKILL');
    };
    const mails = this.#mail.map((mail) => mail.send(MESSAGES, () => round.isOver));
    const worked = this.#work(round, () => {
      round.answers += 1;
      if (moment.answers === round.answers) kill(); // in the turn in which the client has it
    });
    await this.#until(moment, round);
    kill();
    await victim.daemon.end('SIGKILL');
    if (victim === this.#gamma) this.#killedLives.push(victim.life);
    const name = `${victim.name} ${moment.name}`;
    this.#kills[name] = (this.#kills[name] ?? 0) + 1;
    await Promise.all([worked, ...mails]);
    await until(
      `${survivor.name} ends what it had with ${victim.name}`,
      async () => {
        const left = await survivor.mesh.sessions.list();
        return left.length === 0;
      },
      SETTLED_MS,
    );
    await this.#restart(victim, survivor);
    await this.#meet();
  }

  /** Everything is asked to its end, then shown. */
  async finish(): Promise<CallsKilled> {
    const unsettled = this.#open.length;
    await this.#work({ isOver: false, isIdle: false, answers: 0 }, () => undefined);
    // What was answered is asked again: it has to be the same answer, or an honest one.
    this.#open = this.#plans.filter(({ key }) => this.#told.some((one) => one.key === key && one.answer !== undefined));
    for (const plan of this.#open) plan.tries = TRIES_MAX;
    const again = this.#open.length;
    await this.#work({ isOver: false, isIdle: false, answers: 0 }, () => undefined);
    const pids = pidsIn(this.#folder);
    const isAnyLeft = (): boolean => pids.some((pid) => isServerOf(this.#folder, pid));
    if (!isAnyLeft()) throw new Error('no server is seen where one should still be ending');
    for (const mail of this.#mail) await until('all mail is there', async () => mail.isComplete, SETTLED_MS);
    await until('no server is left', async () => !isAnyLeft(), SETTLED_MS);
    for (const { mesh, name } of [this.#acme, this.#gamma]) {
      const isUnused = async (): Promise<boolean> =>
        (await mesh.sessions.list()).every(({ servers }) => servers.length === 0);
      await until(`${name} has no link open`, isUnused, SETTLED_MS);
      await sleep(LOGGED_MS);
      await until(`${name} releases what it logged`, () => isReleased(mesh), SETTLED_MS);
    }
    const roots = [this.#acme.daemon.did, this.#gamma.daemon.did];
    const at = (name: string): string => join(this.#folder, 'export', name);
    const evidence: CallsEvidence = {
      caller: await readSide({ mesh: this.#gamma.mesh, directory: at('gamma'), roots }),
      callee: await readSide({ mesh: this.#acme.mesh, directory: at('acme'), roots }),
      executions: readFileSync(join(this.#folder, 'tally'), 'utf8')
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as Execution),
      told: this.#told,
      killedLives: this.#killedLives,
    };
    return {
      evidence,
      kills: this.#kills,
      mail: this.#mail.map(({ to, sent, received }) => ({ to: to.name, sent, received })),
      figures: {
        unsettled,
        again,
        servers: pids.length,
        mail: this.#mail.reduce((sum, { sent }) => sum + sent.length, 0),
        mailCame: this.#mail.reduce((sum, { received }) => sum + received.length, 0),
        ...figuresOf(evidence),
      },
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#mail.map((mail) => mail.close()));
  }

  async #restart(side: Side, other: Side): Promise<void> {
    const { daemon } = await start(this.#started, side, other);
    if (daemon.did !== side.daemon.did) throw new Error(`${side.name} is another organisation now`);
    side.daemon = daemon;
    side.life += 1;
  }

  #plan(count: number): void {
    for (let i = 0; i < count; i++) {
      const random = this.#random();
      const tool = random < 0.7 ? 'work' : random < 0.9 ? 'fail' : 'never';
      const key = `kill-key-${String(this.#plans.length).padStart(8, '0')}`;
      const plan: Plan = { key, tool, ms: Math.floor(this.#random() * WORK_MS_MAX), tries: 0 };
      this.#plans.push(plan);
      this.#open.push(plan);
    }
  }

  async #until({ name, ms = 0, executions = 0 }: Moment, round: Round): Promise<void> {
    if (name === 'at once') return sleep(ms);
    const tally = join(this.#folder, 'tally');
    const count = (): number => readFileSync(tally, 'utf8').split('\n').length;
    const want = count() + executions;
    let bytes = 0;
    for (const endMs = performance.now() + ROUND_MS_MAX; performance.now() < endMs; await sleep(1)) {
      if (round.isOver || round.isIdle) return;
      if (name === 'at a time' && round.answers > 0) return sleep(ms);
      const { size } = statSync(tally);
      if (name === 'after an execution' && size !== bytes && count() >= want) return;
      bytes = size;
    }
  }

  /** What is open, under its keys, over two links; until it is all settled or the round is over. */
  async #work(round: Round, answered: () => void): Promise<void> {
    const { mesh, agent } = this.#gamma;
    const bridges = [new TrustBridge({ mesh, as: agent }), new TrustBridge({ mesh, as: agent })];
    const left: Plan[] = [];
    const worker = async (bridge: TrustBridge): Promise<void> => {
      for (let plan = this.#open.shift(); plan !== undefined; plan = this.#open.shift()) {
        const told = round.isOver ? undefined : await this.#attempt(bridge, plan, answered);
        const isUnsettled = told === undefined || (told.answer === undefined && told.code !== 'policy_denied');
        if (isUnsettled && plan.tries < TRIES_MAX) left.push(plan);
      }
    };
    await Promise.all(Array.from({ length: WORKERS }, (_, i) => worker(bridges[i % 2] as TrustBridge)));
    round.isIdle = true;
    this.#open = left;
    for (const bridge of bridges) await bridge.close();
  }

  async #attempt(bridge: TrustBridge, plan: Plan, answered: () => void): Promise<Told> {
    const { key, tool, ms } = plan;
    const { life } = this.#gamma;
    let told: Told;
    try {
      const { isError, content, receipt } = await bridge.call(this.#acme.agent, 'tally', tool, { key, ms }, { key });
      answered();
      const nonce = String((content[0] as { text?: string } | undefined)?.text);
      told = { key, tool, life, answer: { nonce, isError }, code: undefined, receipt: receipt ?? undefined };
    } catch (error) {
      if (!isMeshError(error)) throw error;
      const { code, data } = error;
      if (code === 'outcome_unknown') plan.tries += 1;
      else if (code === 'policy_denied' ? tool !== 'never' : !GONE.includes(code)) throw error;
      const receipt = typeof data['receipt'] === 'string' ? { id: data['receipt'] } : undefined;
      told = { key, tool, life, answer: undefined, code, receipt };
    }
    this.#told.push(told);
    return told;
  }

  /** Both know of each other what calls need. */
  async #meet(): Promise<void> {
    for (const { name, mesh } of [this.#acme, this.#gamma])
      await until(`${name} has met the other`, async () => (await mesh.status()).peers.bound === 1, SETTLED_MS);
  }
}

interface Round {
  /** Somebody is killed. */
  isOver: boolean;
  /** There is nothing left to ask. */
  isIdle: boolean;
  answers: number;
}

interface Moment {
  readonly name: 'at once' | 'at a time' | 'after an answer' | 'after an execution';
  readonly ms?: number;
  readonly answers?: number;
  readonly executions?: number;
}

function momentOf(random: () => number): Moment {
  const kind = random();
  if (kind < 0.15) return { name: 'at once', ms: random() * MOMENT_MS_MAX };
  if (kind < 0.4) return { name: 'at a time', ms: random() * MOMENT_MS_MAX };
  const count = 1 + Math.floor(random() * NEW_CALLS);
  return kind < 0.7 ? { name: 'after an answer', answers: count } : { name: 'after an execution', executions: count };
}

function figuresOf({ caller, callee, executions, told }: CallsEvidence): Record<string, number> {
  const keys = new Set(told.map(({ key }) => key));
  const answered = new Set(told.flatMap(({ key, answer }) => (answer === undefined ? [] : [key])));
  const denied = new Set(told.flatMap(({ key, code }) => (code === 'policy_denied' ? [key] : [])));
  const codes: Record<string, number> = {};
  for (const { code } of told) if (code !== undefined) codes[`told ${code}`] = (codes[`told ${code}`] ?? 0) + 1;
  const full = ({ stored }: CallsEvidence['caller']): number => stored.filter(({ half }) => !half).length;
  return {
    keys: keys.size,
    attempts: told.length,
    executions: executions.length,
    answered: answered.size,
    denied: denied.size,
    unknown: keys.size - answered.size - denied.size,
    receiptsOfCaller: full(caller),
    halfOfCaller: caller.stored.length - full(caller),
    receiptsOfCallee: full(callee),
    halfOfCallee: callee.stored.length - full(callee),
    entries: caller.treeSize + callee.treeSize,
    ...codes,
  };
}

/** Numbers, from the agent of one side to that of the other. */
class Mail {
  readonly to: Side;
  readonly sent: number[] = [];
  readonly received: number[] = [];
  readonly #from: Side;
  readonly #stop = new AbortController();
  #made = 0;
  #reading: Promise<void> | undefined;

  constructor(from: Side, to: Side) {
    this.#from = from;
    this.to = to;
  }

  get isComplete(): boolean {
    return this.sent.every((number) => this.received.includes(number));
  }

  start(): void {
    this.#reading = this.#read();
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.#reading;
  }

  async send(count: number, isOver: () => boolean): Promise<void> {
    await using bridge = new TrustBridge({ mesh: this.#from.mesh, as: this.#from.agent });
    for (let i = 0; i < count && !isOver(); i++) {
      const number = this.#made++;
      try {
        await bridge.sendMessage(this.to.agent, String(number));
      } catch (error) {
        if (!isMeshError(error) || !GONE.includes(error.code)) throw error;
        return;
      }
      this.sent.push(number);
    }
  }

  async #read(): Promise<void> {
    const { signal } = this.#stop;
    const bridge = new TrustBridge({ mesh: this.to.mesh, as: this.to.agent });
    while (!signal.aborted) {
      try {
        for await (const message of bridge.messages({ signal })) {
          this.received.push(Number(message.text()));
          await message.ack();
        }
      } catch (error) {
        if (!isMeshError(error) || !GONE.includes(error.code)) throw error;
        await sleep(20);
      }
    }
  }
}

type OwnSide = Pick<Side, 'name' | 'home' | 'env'>;

async function start(started: AsyncDisposableStack, own: OwnSide, other?: Side): Promise<Side> {
  const bootstrap = other === undefined ? [] : [other.daemon.address];
  const options = { ...own, bootstrap, args: ['--log-level', 'error'], readyMs: SETTLED_MS };
  const daemon = started.use(await startDaemonProcess(options));
  return { ...own, daemon, mesh: await daemon.connect(), agent: '', life: 0 };
}

async function grant(from: Side, to: Side, can: readonly string[]): Promise<void> {
  const { link } = await from.mesh.delegations.create({
    to: to.agent,
    capabilities: can.map((one) => ({ can: one })),
    ttlSeconds: 86_400,
  });
  await until('the grant is known', () =>
    to.mesh.chains.show(link.id).then(
      () => true,
      () => false,
    ),
  );
}

/** Receipts may have no entry for ever, of a life that was killed in between: so it is waited for what can be waited for. */
async function isReleased(mesh: AgentMesh): Promise<boolean> {
  const { released, treeSize } = await mesh.log.status();
  return released?.treeSize === treeSize;
}

const pidsIn = (folder: string): number[] => {
  const lines = readFileSync(join(folder, 'pids'), 'utf8').split('\n');
  return lines.filter((line) => line !== '').map(Number);
};

/** Of orphans that nobody reaps, as in a container, the command line is empty. */
const isServerOf = (folder: string, pid: number): boolean => {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(folder);
  } catch {
    return false; // no such process
  }
};
