/**
 * The three-organisation story, with real processes on this machine: npm run demo.
 *
 * Three daemons (Acme, Beta, Gamma) in homes of their own trust each other, delegate, hand a chain to a fourth process
 * that has no network, shake hands, lose a daemon, and revoke; an agent works on a real MCP server under policy, and another
 * one on those of another organisation. Then what happened is read from their audit logs, and checked by bytes alone once
 * all daemons are gone, and so is a receipt. Each step says what it expects; the first that is otherwise ends the story with
 * exit code 1. Every process is ended, whatever happens.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  AgentMesh,
  filesIn,
  isMeshError,
  type LogEntryView,
  type MeshError,
  verifyLogFiles,
  verifyProof,
} from 'agentmesh/sdk';
import { playCallsBetween, verifyReceipt } from './acts/calls-between.ts';
import { playGovernedTools } from './acts/governed-tools.ts';

const DAEMON = fileURLToPath(new URL('../daemon/bin.js', import.meta.url));
const CLI = fileURLToPath(new URL('../cli/bin.js', import.meta.url));
const STALENESS_SECONDS = 5; // of the links in this story, so that "too old to trust" takes seconds to see
const READY_MS = 60_000; // a second, when nothing else runs
const SPREAD_MS = 15_000; // for what takes milliseconds when nothing else runs
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
async function refusal(call: Promise<unknown>): Promise<{ code: string; data: MeshError['data'] }> {
  try {
    await call;
  } catch (error) {
    if (!isMeshError(error)) throw error;
    return { code: error.code, data: error.data };
  }
  throw new Error('not as it should be: nothing was refused');
}

/** What an entry says, beside who acted. */
interface Said {
  readonly index: number;
  readonly id: string;
  readonly data: Readonly<Record<string, unknown>>;
}

const said = ({ index, id, entry }: LogEntryView): Said => ({ index, id, data: entry['data'] as Said['data'] });

/** The one entry of this type that fits: observations come within moments. */
async function logged(
  { name, mesh }: Organisation,
  type: string,
  actor: string,
  fits: (data: Said['data']) => boolean,
): Promise<Said> {
  let found: Said[] = [];
  await until(`${name}'s log having "${type}" of ${short(actor)}`, SPREAD_MS, async () => {
    const entries: Said[] = [];
    for await (const entry of mesh.log.entries({ actor, types: [`agentmesh.${type}`], order: 'oldest' }))
      entries.push(said(entry));
    found = entries.filter(({ data }) => fits(data));
    return found.length > 0;
  });
  const [entry, ...more] = found;
  if (entry === undefined || more.length > 0)
    throw new Error(`not as it should be: ${name}'s log has ${found.length} such entries of "${type}", want 1`);
  return entry;
}

/** Announced before it was done, and what came of it is there too; the index of that. */
async function settled({ name, mesh }: Organisation, { index, id, data }: Said): Promise<number> {
  if (data['phase'] !== 'intent') throw new Error(`not as it should be: entry ${index} of ${name} announces nothing`);
  for await (const entry of mesh.log.entries({ after: index, order: 'oldest' })) {
    const { index: at, data: outcome } = said(entry);
    if (outcome['intent'] !== id) continue;
    if ((outcome['result'] as { code?: unknown } | undefined)?.code === 'ok') return at;
    throw new Error(`not as it should be: entry ${at} of ${name} says that entry ${index} failed`);
  }
  throw new Error(`not as it should be: nothing in ${name}'s log says what came of entry ${index}`);
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

interface Story {
  readonly acme: Organisation;
  readonly beta: Organisation;
  readonly gamma: Organisation;
  readonly agents: { readonly clerk: string; readonly analyst: string; readonly reader: string };
  readonly links: { readonly root: string; readonly leaf: string };
  /** That the revocation ended. */
  readonly sid: string;
}

async function readLogs(story: Story): Promise<Said> {
  const { acme, beta, gamma, agents, links, sid } = story;
  heading('What happened, as the three audit logs have it');
  const grants = [
    { who: acme, actor: acme.did, link: links.root, what: 'the delegation of Acme, by Acme itself' },
    { who: beta, actor: agents.analyst, link: links.leaf, what: 'its continuation, by the agent "analyst"' },
  ];
  for (const { who, actor, link, what } of grants) {
    const grant = await logged(who, 'delegation.issued', actor, (data) => data['link'] === link);
    const done = await settled(who, grant);
    check(grant.index < done, `${who.name}: ${what}: announced as entry ${grant.index}, done by ${done}`);
  }
  const sides = [
    { who: acme, actor: agents.clerk, type: 'handshake.accepted', peer: agents.reader },
    { who: gamma, actor: agents.reader, type: 'session.opened', peer: agents.clerk },
  ];
  const opened: number[] = [];
  for (const { who, actor, type, peer } of sides) {
    const session = await logged(who, type, actor, (data) => data['session'] === sid && data['peer'] === peer);
    const done = await settled(who, session);
    check(session.index < done, `${who.name}: ${type} by its agent: announced as ${session.index}, done by ${done}`);
    opened.push(done);
  }
  const isOfRoot = (data: Said['data']): boolean => (data['target'] as { link?: unknown }).link === links.root;
  const revoked = await logged(acme, 'revocation.issued', acme.did, isOfRoot);
  const revokedBy = await settled(acme, revoked);
  check(revoked.index < revokedBy, `Acme: the revocation: announced as ${revoked.index}, done by ${revokedBy}`);
  for (const [i, { who, actor }] of sides.entries()) {
    const { index, data } = await logged(who, 'session.ended', actor, (each) => each['session'] === sid);
    const after = who === acme ? revoked.index : opened[i];
    check(
      after !== undefined && after < index && data['code'] === 'revoked',
      `${who.name}: entry ${index}: it ended: revoked`,
    );
  }
  return revoked;
}

async function beWatched({ acme, beta, gamma }: Story): Promise<void> {
  heading('Each log is cosigned by the two other organisations');
  const all = [acme, beta, gamma];
  for (const who of all) {
    const { treeSize } = await who.mesh.log.status();
    const { cosignatures, ...proof } = await who.mesh.log.prove(treeSize - 1, { witnessed: 2 });
    const { released, problem } = await who.mesh.log.status();
    const others = all.filter((other) => other !== who);
    check(
      problem === null &&
        released?.quorumMet === true &&
        others.every(({ did }) => cosignatures.some((cosignature) => cosignature.did === did)),
      `${who.name}: ${proof.treeSize} entries, cosigned by ${others.map(({ name }) => name).join(' and ')}: the quorum`,
    );
  }
}

/** By a reader who believes none of the three: their keys, from the witnesses themselves, are his policy. */
async function verifyAlone(folder: string, { acme, beta, gamma }: Story, revoked: Said): Promise<void> {
  heading('One entry proven, the whole log copied, and every daemon ended');
  const { bytes, proof, cosignatures } = await acme.mesh.log.prove(revoked.index, { witnessed: 2 });
  check(cosignatures.length === 2, `a proof of entry ${revoked.index}, the revocation, in ${proof.length} bytes`);
  const directory = join(folder, 'log-of-acme');
  const exported = await acme.mesh.log.export(directory);
  check(
    exported.treeSize > revoked.index,
    `a static log of ${exported.treeSize} entries, in ${exported.filesWritten} files`,
  );
  const policy = [
    `log ${(await acme.mesh.log.status()).vkey}`,
    `witness beta ${(await beta.mesh.witness.status()).vkey}`,
    `witness gamma ${(await gamma.mesh.witness.status()).vkey}`,
    'group both all beta gamma',
    'quorum both\n',
  ].join('\n');
  const daemons = [acme, beta, gamma].map(({ process: child }) => child);
  for (const child of daemons) await stop(child, 'SIGTERM');
  check(running.size === 0 && daemons.every(({ exitCode }) => exitCode === 0), 'all three daemons ended in order');

  heading('Verified here, from bytes alone');
  const proven = verifyProof(proof, bytes, policy);
  check(
    proven.leafIndex === revoked.index && proven.cosignatures.length === 2,
    `the proof: entry ${proven.leafIndex} is in the log of ${proven.checkpoint.treeSize}, which both others cosigned`,
  );
  const { entries, signatures, organisation } = await verifyLogFiles(filesIn(directory), { policy });
  check(
    entries === exported.treeSize && organisation === acme.did,
    `the copy: ${entries} entries, ${signatures} signatures, every tile; leaf 0 says that it is Acme's`,
  );

  heading('A byte is changed');
  const file = `tile/entries/000.p/${exported.treeSize}`;
  const bundle = await readFile(join(directory, file));
  const at = bundle.indexOf(bytes) + Buffer.from(bytes).indexOf('the quarter is over');
  bundle[at] = (bundle[at] ?? 0) ^ 1;
  await writeFile(join(directory, file), bundle);
  const changed = await refusal(verifyLogFiles(filesIn(directory), { policy }));
  check(
    changed.code === 'bad_proof' && changed.data['index'] === revoked.index && changed.data['path'] === file,
    `in "${file}", and found: ${changed.code} at entry ${revoked.index}`,
  );
  const forged = bytes.with(Buffer.from(bytes).indexOf('the quarter is over'), 'T'.charCodeAt(0));
  const refused = await refusal((async () => verifyProof(proof, forged, policy))());
  check(refused.code === 'bad_proof', `the proof is of no other entry either: ${refused.code}`);
}

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
    widened.code === 'widened' && widened.data.dimension === 'capability',
    `refused with ${widened.code}, naming the dimension "${widened.data.dimension}"`,
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
  const { sid } = await gamma.mesh.handshake(request);
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

  heading("Acme's own agent works on a filesystem server, under policy");
  await playGovernedTools({
    home: acme.home,
    mesh: acme.mesh,
    agent: { name: 'clerk', did: clerk },
    folder,
    say,
    check,
  });

  heading("Gamma's agent works on servers that Acme exposes");
  const agents = { clerk, analyst, reader };
  const between = { acme, beta, gamma, agents, folder, say, check };
  const receipt = await playCallsBetween(between);

  const story = { acme, beta, gamma, agents, links: { root, leaf }, sid };
  const revoked = await readLogs(story);
  await beWatched(story);
  await verifyAlone(folder, story, revoked);

  heading('A receipt, verified by a process that has no daemon and no network');
  await verifyReceipt(between, receipt);
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
