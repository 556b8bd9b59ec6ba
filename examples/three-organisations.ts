/**
 * The three-organisation story, with real processes on this machine: npm run demo.
 *
 * Three daemons (Acme, Beta, Gamma) in homes of their own trust each other, delegate, hand a chain to a fourth process
 * that has no network, shake hands, lose a daemon, and revoke. Each step says what it expects; the first that is
 * otherwise ends the story with exit code 1. Every process is ended, whatever happens.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { AgentMesh, isMeshError } from 'agentmesh/sdk';

const DAEMON = fileURLToPath(new URL('../daemon/bin.js', import.meta.url));
const CLI = fileURLToPath(new URL('../cli/bin.js', import.meta.url));
const STALENESS_SECONDS = 5; // of the links in this story, so that "too old to trust" takes seconds to see
const READY_MS = 15_000;
const SPREAD_MS = 5_000; // for what takes milliseconds when nothing else runs
const REVOKED_WITHIN_MS = 1_000;

interface Organisation {
  readonly name: string;
  readonly home: string;
  readonly did: string;
  readonly address: string;
  readonly mesh: AgentMesh;
  process: ChildProcess;
}

const running = new Set<ChildProcess>();
const startedMs = performance.now();
let step = 0;

const heading = (text: string): void => {
  step += 1;
  console.log(`\n${String(step).padStart(2)}. ${text}  [${((performance.now() - startedMs) / 1000).toFixed(1)} s]`);
};
const say = (text: string): void => console.log(`    ${text}`);
const short = (id: string): string => `${id.slice(0, 'did:mesh:'.length)}…${id.slice(-6)}`;

/** The story stops at the first thing that is not as it should be. */
function check(holds: boolean, what: string): asserts holds {
  if (!holds) throw new Error(`not as it should be: ${what}`);
  say(`✓ ${what}`);
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Asks until the answer is there; how long that took, milliseconds. */
async function until(what: string, withinMs: number, isSo: () => Promise<boolean>): Promise<number> {
  const beganMs = performance.now();
  for (;;) {
    if (await isSo()) return performance.now() - beganMs;
    if (performance.now() - beganMs > withinMs)
      throw new Error(`not as it should be: ${what} took more than ${withinMs} ms`);
    await sleep(20);
  }
}

/** The code with which a call is refused. */
async function refusal(
  call: Promise<unknown>,
): Promise<{ code: string; dimension: string | undefined; message: string }> {
  try {
    await call;
  } catch (error) {
    if (isMeshError(error)) return { code: error.code, dimension: error.data.dimension, message: error.message };
    throw error;
  }
  throw new Error('not as it should be: nothing was refused');
}

/** Starts a daemon process and waits for what it prints when it is ready. */
async function startDaemon(
  name: string,
  home: string,
  listen: string,
  bootstrap: readonly string[],
): Promise<{ child: ChildProcess; address: string; did: string }> {
  const args = [
    '--home',
    home,
    '--org',
    name,
    '--listen',
    listen,
    '--log-level',
    'error',
    ...bootstrap.flatMap((address) => ['--bootstrap', address]),
  ];
  const child = spawn(process.execPath, [DAEMON, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  running.add(child);
  child.once('exit', () => running.delete(child));
  let printed = '';
  const ready = new Promise<void>((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`${name}'s daemon ended with ${code} before it was ready`)));
    child.stdout?.on('data', (bytes: Buffer) => {
      printed += bytes.toString();
      if (printed.includes('\nNext:')) resolve();
    });
  });
  const late = setTimeout(() => child.kill('SIGKILL'), READY_MS);
  await ready;
  clearTimeout(late);
  const [address, did] = [/address +(\S+)/.exec(printed)?.[1], /organisation +(\S+)/.exec(printed)?.[1]];
  if (address === undefined || did === undefined)
    throw new Error(`${name}'s daemon printed neither address nor DID:\n${printed}`);
  return { child, address, did };
}

async function found(name: string, folder: string, bootstrap: readonly string[]): Promise<Organisation> {
  const home = join(folder, name.toLowerCase());
  const { child, address, did } = await startDaemon(name, home, '/ip4/127.0.0.1/tcp/0', bootstrap);
  say(`${name.padEnd(6)} ${did}`);
  return { name, home, did, address, process: child, mesh: await AgentMesh.connect({ home }) };
}

async function stop(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  child.kill(signal);
  await ended;
}

/** An agent with a human sponsor. */
async function employ({ mesh, name }: Organisation, agent: string, sponsor: string, can: string): Promise<string> {
  const made = await mesh.agents.create({ name: agent, sponsor, capabilities: [{ can }] });
  say(`${name}'s agent "${agent}" ${short(made.agent.did)}, sponsored by ${sponsor}, may ${can}`);
  return made.agent.did;
}

/** A fourth process: no daemon, no network, an empty home; only the file and the root that it trusts. */
function verifyOffline(
  file: string,
  root: string,
  home: string,
): Promise<{ exit: number; code: string | undefined; printed: string }> {
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [CLI, 'verify-chain', file, '--root', root, '--can', 'read:reports/q3', '--home', home, '--json'],
      (error, stdout, stderr) => {
        const exit = error === null ? 0 : Number(error.code);
        const code = /"code": *"([a-z_]+)"/.exec(stdout + stderr)?.[1];
        resolve({ exit, code, printed: stdout + stderr });
      },
    );
  });
}

const holds = async (mesh: AgentMesh, leaf: string): Promise<boolean> => {
  try {
    await mesh.chains.show(leaf);
    return true;
  } catch (error) {
    if (isMeshError(error) && (error.code === 'not_found' || error.code === 'broken_link')) return false;
    throw error;
  }
};

async function tell(folder: string): Promise<void> {
  heading('Three organisations, three homes, three daemons');
  const acme = await found('Acme', folder, []);
  const beta = await found('Beta', folder, [acme.address]);
  const gamma = await found('Gamma', folder, [acme.address, beta.address]);
  for (const { name, mesh } of [acme, beta, gamma]) {
    await until(`${name} meeting both others`, SPREAD_MS, async () => (await mesh.status()).peers.bound === 2);
  }
  check(true, 'each is connected to both others, and each has shown which organisation it speaks for');

  heading('Each has an agent, each agent a human sponsor');
  const clerk = await employ(acme, 'clerk', 'alice@acme.example', 'read:reports/*');
  const analyst = await employ(beta, 'analyst', 'bob@beta.example', 'read:tables/*');
  const reader = await employ(gamma, 'reader', 'carol@gamma.example', 'read:mail/*');

  heading("Acme delegates read:reports/* to Beta's agent, which narrows it to read:reports/q3 for Gamma's");
  const root = (
    await acme.mesh.delegations.create({
      to: analyst,
      capabilities: [{ can: 'read:reports/*' }],
      stalenessSeconds: STALENESS_SECONDS,
      ttlSeconds: 3_600,
    })
  ).link.id;
  await until("Acme's link reaching Beta", SPREAD_MS, () => holds(beta.mesh, root));
  const leaf = (
    await beta.mesh.delegations.create({
      as: analyst,
      from: root,
      to: reader,
      capabilities: [{ can: 'read:reports/q3' }],
    })
  ).link.id;
  await until("Beta's link reaching Gamma", SPREAD_MS, () => holds(gamma.mesh, leaf));
  const report = await gamma.mesh.chains.verify(leaf, {
    roots: [acme.did],
    capabilities: [{ can: 'read:reports/q3' }],
  });
  check(
    report.root === acme.did && report.audience === reader,
    `Gamma verified ${report.ids.length} links from Acme to its agent: ${report.checked.join(', ')}`,
  );

  heading('A widening attempt');
  const widened = await refusal(
    beta.mesh.delegations.create({ as: analyst, from: root, to: reader, capabilities: [{ can: 'write:reports/q3' }] }),
  );
  check(
    widened.code === 'widened' && widened.dimension === 'capability',
    `refused with ${widened.code}, naming the dimension "${widened.dimension}"`,
  );

  heading('Gamma hands the chain to a fourth process, which is offline');
  const file = join(folder, 'chain.bundle');
  await writeFile(file, await gamma.mesh.chains.bundle(leaf));
  const bundledMs = performance.now();
  const offline = await verifyOffline(file, acme.did, join(folder, 'offline'));
  check(offline.exit === 0, 'it verified the chain from bytes alone');
  const stranger = await verifyOffline(file, gamma.did, join(folder, 'offline'));
  check(stranger.exit === 3 && stranger.code === 'unknown_root', 'with another root to trust it refuses: unknown_root');

  heading("Gamma's agent and Acme's agent shake hands");
  const request = { did: clerk, as: reader, grant: leaf, capabilities: [{ can: 'read:reports/q3' }] };
  const session = await gamma.mesh.handshake(request);
  check(
    session.granted.length === 1 && session.granted[0]?.can === 'read:reports/q3',
    `granted ${session.granted[0]?.can} in ${Math.round(session.durationMs ?? 0)} ms`,
  );
  say(`score ${session.score} of 1000: ${session.scoreBasis}`);
  const high = await refusal(gamma.mesh.handshake({ did: clerk, as: reader, minScore: 700 }));
  check(high.code === 'score_below', 'a required score of 700 is honestly refused: score_below');

  heading("Acme's daemon is killed; Beta rotates a key; Acme returns");
  await stop(acme.process, 'SIGKILL');
  const betaNow = await beta.mesh.dids.show(beta.did);
  const retired = betaNow.keys.find(({ standing }) => standing === 'current')?.key;
  if (retired === undefined) throw new Error('not as it should be: Beta has no key to rotate');
  const rotated = await beta.mesh.organisation.rotate({ retire: [{ key: retired, graceSeconds: 600 }] });
  check(rotated.applied && rotated.seq === 1, 'Beta replaced its key while Acme was away');
  const returned = await startDaemon('Acme', acme.home, acme.address.split('/p2p/')[0] ?? '', []);
  acme.process = returned.child;
  check(returned.did === acme.did, 'Acme is back as the same organisation');
  const caughtUpMs = await until(
    'Acme catching up',
    SPREAD_MS,
    async () => (await acme.mesh.dids.show(beta.did)).seq === 1,
  );
  check(true, `and knows Beta's new key (${Math.round(caughtUpMs)} ms after it was ready)`);

  heading('Acme revokes its link');
  await until('Acme and Gamma meeting again', SPREAD_MS, async () => (await gamma.mesh.status()).peers.bound === 2);
  await gamma.mesh.handshake(request);
  check((await gamma.mesh.sessions.list()).length === 1, 'a session between Gamma and Acme is open');
  const { cascade } = await acme.mesh.revocations.create({ target: { link: root }, reason: 'the quarter is over' });
  check(
    cascade.length === 2 && cascade.includes(leaf),
    `revoked, and with it ${cascade.length - 1} link that continues it`,
  );
  for (const { name, mesh } of [acme, beta, gamma]) {
    const tookMs = await until(`${name} knowing`, REVOKED_WITHIN_MS, async () => {
      const shown = await mesh.chains.verify(leaf, { roots: [acme.did] }).then(
        () => 'valid',
        (error: unknown) => {
          if (isMeshError(error)) return error.code;
          throw error;
        },
      );
      return shown === 'revoked';
    });
    check(true, `${name}: revoked (after ${Math.round(tookMs)} ms more)`);
  }
  const open = (await Promise.all([acme, gamma].map(({ mesh }) => mesh.sessions.list()))).flat();
  check(open.length === 0, 'the session ended on both sides');

  heading('The offline process, with the bundle of before');
  await sleep(Math.max(0, (STALENESS_SECONDS + 1) * 1000 - (performance.now() - bundledMs)));
  const stale = await verifyOffline(file, acme.did, join(folder, 'offline'));
  check(
    stale.exit === 3 && stale.code === 'status_stale',
    'says status_stale, not valid: what it knows is too old to rely on',
  );
}

const folder = await mkdtemp(join(tmpdir(), 'agentmesh-demo-'));
const interrupted = (): void => {
  for (const child of running) child.kill('SIGKILL');
  process.exit(130);
};
process.once('SIGINT', interrupted);
process.once('SIGTERM', interrupted);
try {
  await tell(folder);
  console.log(`\nAs it should be, in ${((performance.now() - startedMs) / 1000).toFixed(1)} s.`);
} catch (error) {
  console.error(`\n${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
} finally {
  await Promise.all([...running].map((child) => stop(child, 'SIGTERM')));
  await rm(folder, { recursive: true, force: true });
}
