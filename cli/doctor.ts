/** What `doctor` looks at. Each check says what is, and for what is wrong what to do. */
import { readdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Agent, ApprovalView, Peer, Policies, Readyz, Status } from '../protocol/control/index.ts';
import {
  type FileFacts,
  type HomePaths,
  isMeshError,
  limits,
  verifyOwn,
  verifyPrivate,
  verifyUnwritable,
} from '../protocol/index.ts';
import { factsOf, isErrno } from './files.ts';
import type { Invocation } from './invocation.ts';
import type { Mesh } from './mesh.ts';
import { problemOf } from './problem.ts';
import { formatCommand } from './text/command.ts';
import { formatDuration } from './text/time.ts';
import { plural } from './views/common.ts';
import type { Finding } from './views/doctor.ts';

const NODE_MIN = [22, 18] as const; // "engines" in package.json
const CLOCK_WARN_SECONDS = 5; // NTP keeps machines within milliseconds

const ok = (name: string, detail: string): Finding => ({ name, outcome: 'ok', detail, next: null });
const warn = (name: string, detail: string, next: string | null): Finding => ({ name, outcome: 'warn', detail, next });
const fail = (name: string, detail: string, next: string | null): Finding => ({ name, outcome: 'fail', detail, next });
const skip = (name: string, detail: string): Finding => ({ name, outcome: 'skip', detail, next: null });

export async function findings(invocation: Invocation): Promise<Finding[]> {
  const { world, paths } = invocation;
  const found = [nodeFinding(world.nodeVersion), ...(await homeFindings(invocation))];
  const { finding, mesh } = await daemonFinding(invocation);
  found.push(await socketFinding(paths, world.uid, mesh !== undefined), finding);
  if (mesh === undefined) {
    found.push(
      await keysAtRest(paths),
      ...['readiness', 'reach', 'peers', 'clock', 'agents', 'log', 'policies', 'approvals', 'exposed'].map((name) =>
        skip(name, 'needs the daemon'),
      ),
    );
    return found;
  }
  return [...found, ...(await daemonFindings(mesh, invocation))];
}

export function nodeFinding(version: string): Finding {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const [wantMajor, wantMinor] = NODE_MIN;
  if (major > wantMajor || (major === wantMajor && minor >= wantMinor)) return ok('node', `Node ${version}`);
  return fail('node', `Node ${version}, want >= ${wantMajor}.${wantMinor}`, 'install a newer Node');
}

async function homeFindings({ paths, world, place }: Invocation): Promise<Finding[]> {
  const home = await factsOf(paths.home);
  if (home === undefined) {
    const next = `set it up: ${formatCommand(['init', '--name', 'my-agent', '--sponsor', 'you@company.com'], place)}`;
    return [fail('home', `"${paths.home}" does not exist`, next)];
  }
  const inside: (readonly [path: string, want: 'directory' | 'file', verify: typeof verifyPrivate])[] = [
    [paths.keys, 'directory', verifyPrivate],
    [paths.recovery, 'directory', verifyPrivate],
    [paths.database, 'directory', verifyPrivate],
    [paths.config, 'file', verifyUnwritable],
  ];
  const found = [permission('home', home, 'directory', verifyUnwritable, world.uid)];
  for (const [path, want, verify] of inside) {
    const facts = await factsOf(path);
    if (facts !== undefined) found.push(permission('home', facts, want, verify, world.uid));
  }
  const broken = found.filter(({ outcome }) => outcome !== 'ok');
  const settings =
    (await factsOf(paths.config)) === undefined
      ? warn('settings', `no "${paths.config}": everything has its default`, null)
      : ok('settings', paths.config);
  return [...(broken.length > 0 ? broken : [ok('home', `${paths.home}, closed to others`)]), settings];
}

function permission(
  name: string,
  facts: FileFacts,
  want: 'directory' | 'file',
  verify: typeof verifyPrivate,
  uid: number,
): Finding {
  try {
    verify(facts, want, uid);
    return ok(name, facts.path);
  } catch (error) {
    if (!isMeshError(error)) throw error;
    return fail(name, error.message, `chmod ${want === 'directory' ? '700' : '600'} '${facts.path}', owned by you`);
  }
}

async function socketFinding(paths: HomePaths, uid: number, answers: boolean): Promise<Finding> {
  const facts = await factsOf(paths.socket);
  if (facts === undefined) {
    return answers ? ok('socket', 'elsewhere, as the settings say') : warn('socket', `none at "${paths.socket}"`, null);
  }
  try {
    verifyOwn(facts, 'socket', uid);
    if (dirname(paths.socket) !== paths.home) {
      const directory = await factsOf(dirname(paths.socket));
      if (directory !== undefined) verifyPrivate(directory, 'directory', uid);
    }
  } catch (error) {
    if (!isMeshError(error)) throw error;
    return fail('socket', error.message, 'remove it while no daemon runs; somebody else put it there');
  }
  if ((facts.mode & 0o077) !== 0)
    return fail('socket', `"${paths.socket}" is open to other users`, `chmod 600 '${paths.socket}'`);
  if (!answers) return warn('socket', `"${paths.socket}" was left by a daemon that was killed`, null);
  return ok('socket', `${paths.socket}, for you alone`);
}

async function daemonFinding(invocation: Invocation): Promise<{ finding: Finding; mesh?: Mesh }> {
  try {
    const mesh = await invocation.mesh();
    const { version } = await mesh.call('version');
    const own = invocation.world.version;
    const finding =
      version === own
        ? ok('daemon', `agentmeshd ${version} answers`)
        : warn('daemon', `agentmeshd ${version} answers, this program is ${own}`, 'restart the daemon after an update');
    return { finding, mesh };
  } catch (error) {
    if (!isMeshError(error) || error.code === 'cancelled') throw error;
    return { finding: fail('daemon', error.message, problemOf(error, invocation.place).next) };
  }
}

/** Without a daemon the names of the files tell. */
async function keysAtRest({ keys }: HomePaths): Promise<Finding> {
  try {
    const names = await readdir(keys);
    const plain = names.filter((name) => name.endsWith('.key')).length;
    if (names.length === 0) return skip('keys', 'there are none yet');
    return keysFinding(plain === 0);
  } catch (error) {
    if (!isErrno(error, 'ENOENT', 'EACCES')) throw error;
    return skip('keys', 'there are none yet');
  }
}

const keysFinding = (isEncrypted: boolean): Finding =>
  isEncrypted
    ? ok('keys', 'encrypted')
    : warn(
        'keys',
        'not encrypted: whoever reads this disk or a backup can act in their name',
        'start agentmeshd once with --passphrase-file FILE',
      );

async function daemonFindings(mesh: Mesh, invocation: Invocation): Promise<Finding[]> {
  const [status, { peers }, { agents }, policies, { approvals }] = await Promise.all([
    mesh.call('status'),
    mesh.call('peerList'),
    mesh.call('agentList'),
    mesh.call('policyList'),
    mesh.call('approvalList'),
  ]);
  const nowMs = invocation.world.nowMs();
  const command = (...args: string[]): string => formatCommand(args, invocation.place);
  return [
    await readiness(mesh),
    organisationFinding(status),
    keysFinding(status.keysEncrypted),
    reachFinding(status),
    peersFinding(peers, command),
    clockFinding(peers, nowMs),
    agentsFinding(agents, nowMs, command),
    logFinding(status, command),
    policiesFinding(policies, command),
    approvalsFinding(approvals, command),
    await tryExposed(mesh, command),
    ...status.warnings
      .filter(({ code }) => code !== 'keys_unencrypted' && code !== 'policies')
      .map(({ message }) => warn('warning', message, null)),
  ];
}

async function readiness(mesh: Mesh): Promise<Finding> {
  let answer: Readyz;
  try {
    answer = await mesh.call('readyz');
  } catch (error) {
    if (!isMeshError(error) || error.code === 'cancelled') throw error;
    return fail('readiness', 'the daemon says that it is not ready', "see the daemon's log");
  }
  const broken = answer.checks.filter((check) => !check.ok);
  if (answer.ready && broken.length === 0) return ok('readiness', answer.checks.map(({ name }) => name).join(', '));
  const detail = broken.map(({ name, detail: why }) => (why === undefined ? name : `${name}: ${why}`)).join('; ');
  return fail('readiness', `not ready: ${detail}`, "see the daemon's log");
}

export function organisationFinding({ organisation }: Pick<Status, 'organisation'>): Finding {
  const { status, did, name } = organisation;
  if (status === 'active') return ok('organisation', name === null ? did : `${name}, ${did}`);
  if (status === 'frozen') {
    return fail(
      'organisation',
      `${did} is frozen: it has two histories`,
      'take it back with its recovery keys: agentmesh did recover --key FILE --key FILE',
    );
  }
  return fail('organisation', `${did} is ${status}`, 'set up a new organisation in another home');
}

export function reachFinding({ listening, addresses }: Pick<Status, 'listening' | 'addresses'>): Finding {
  const where = addresses[0] ?? 'no address';
  if (listening === 'none')
    return warn('reach', 'nobody can connect to it: it only dials out', 'set "listen" in agentmesh.yaml to be reached');
  if (listening === 'loopback')
    return warn(
      'reach',
      `only this machine can connect to it (${where})`,
      'set "listen" in agentmesh.yaml to an address of the network',
    );
  return ok(
    'reach',
    `${listening === 'public' ? 'any host' : 'the local network'} can connect (${plural(addresses.length, 'address', 'addresses')}); strangers get no further than identity, sync and handshake`,
  );
}

type CommandText = (...args: string[]) => string;

export function peersFinding(
  peers: readonly Pick<Peer, 'bound' | 'lastHeartbeatAgeSeconds'>[],
  command: CommandText,
): Finding {
  if (peers.length === 0)
    return warn('peers', 'none is connected', `connect to one: ${command('peers', 'add', 'MULTIADDR')}`);
  const bound = peers.filter((peer) => peer.bound).length;
  const fresh = peers.filter(
    ({ lastHeartbeatAgeSeconds: age }) => age !== null && age <= limits.STALENESS_READ_SECONDS,
  ).length;
  const detail = `${peers.length} connected, ${bound} bound to an organisation, ${fresh} with a heartbeat of the last ${formatDuration(limits.STALENESS_READ_SECONDS)}`;
  if (bound === 0)
    return warn('peers', detail, 'none proved its organisation: other versions, or another network name?');
  return fresh === 0
    ? warn('peers', detail, 'nothing recent is known of any organisation: privileged decisions fail until it is')
    : ok('peers', detail);
}

/** A heartbeat is dated by its organisation's clock: one from the future shows that a clock is wrong. */
export function clockFinding(peers: readonly Pick<Peer, 'did' | 'lastHeartbeatAt'>[], nowMs: number): Finding {
  const ahead = peers.flatMap(({ lastHeartbeatAt }) =>
    lastHeartbeatAt === null ? [] : [(Date.parse(lastHeartbeatAt) - nowMs) / 1000],
  );
  if (ahead.length === 0) return skip('clock', 'no heartbeat to compare it with');
  const most = Math.max(...ahead);
  if (most <= CLOCK_WARN_SECONDS)
    return ok('clock', `no heartbeat of ${plural(ahead.length, 'peer')} is from the future`);
  const behind = ahead.filter((seconds) => seconds > CLOCK_WARN_SECONDS).length;
  const whose = behind === ahead.length ? "this machine's clock is behind" : 'a clock is wrong, here or there';
  const detail = `${plural(behind, 'heartbeat')} up to ${formatDuration(most)} ahead of this machine: ${whose}`;
  return warn('clock', detail, `set the clock by NTP; more than ${limits.SKEW_SECONDS} s are refused`);
}

export function agentsFinding(
  agents: readonly Pick<Agent, 'name' | 'status' | 'credential' | 'keyHeldBy'>[],
  nowMs: number,
  command: CommandText,
): Finding {
  if (agents.length === 0)
    return warn(
      'agents',
      'there are none',
      `create one: ${command('init', '--name', 'my-agent', '--sponsor', 'you@company.com')}`,
    );
  const waiting = agents.filter(({ status }) => status === 'unregistered').map(({ name }) => name);
  const lapsed = agents.filter(
    ({ status, credential }) =>
      status === 'active' && (credential === null || Date.parse(credential.expiresAt) < nowMs),
  );
  const [first] = waiting;
  if (first !== undefined)
    return warn('agents', `not published yet: ${waiting.join(', ')}`, `publish: ${command('register', first)}`);
  if (lapsed.length > 0) {
    const own = lapsed.some(({ keyHeldBy }) => keyHeldBy === 'daemon');
    const detail = `without a credential: ${lapsed.map(({ name }) => name).join(', ')}`;
    return warn(
      'agents',
      detail,
      own ? "see the daemon's log: it renews them by itself" : 'start the program that holds the key of the agent',
    );
  }
  return ok('agents', plural(agents.length, 'agent'));
}

/** Halted, it grants nothing; unwatched, nobody but its own anchor would notice that it was cut or rewritten. */
export function logFinding({ log }: Pick<Status, 'log'>, command: CommandText): Finding {
  if (log.problem !== null)
    return fail(
      'log',
      `it is halted: ${log.problem.message}`,
      `see, then choose the way out: ${command('log', 'status')}`,
    );
  const size = plural(log.treeSize, 'entry', 'entries');
  if (!log.watched)
    return warn('log', `${size}, and nobody watches it`, `connect to peers: ${command('peers', 'add', 'MULTIADDR')}`);
  if (!log.quorumMet)
    return warn(
      'log',
      `${size}, not cosigned by a quorum: ${plural(log.cosigners, 'witness', 'witnesses')} so far`,
      `see which answer: ${command('log', 'status')}`,
    );
  return ok('log', `${size}, ${log.releasedSize ?? 0} of them cosigned by a quorum`);
}

/** With none in force agents can do what a proxy or program brings a policy for, and delegate and shake hands freely. */
export function policiesFinding(
  { policies, problem }: Pick<Policies, 'policies' | 'problem'>,
  command: CommandText,
): Finding {
  if (problem !== null)
    return fail(
      'policies',
      `the newest files are not in force: ${problem.message}`,
      `correct the file, then see: ${command('policy', 'list')}`,
    );
  const inForce = policies.filter(({ source }) => source === 'configuration');
  if (inForce.length === 0)
    return warn(
      'policies',
      'none is in force for this daemon',
      `begin with ${command('policy', 'print', 'moderate')}, and name the file under "policies" in agentmesh.yaml`,
    );
  const candidates = policies.filter(({ source }) => source === 'shadow').length;
  const also = candidates === 0 ? '' : `, ${plural(candidates, 'candidate')} beside`;
  return ok('policies', `${inForce.map(({ name }) => name).join(', ')} in force${also}`);
}

const TRIED_AT_ONCE = 4; // as many as the daemon tries

/** Each exposed server is started once: what has moved or lost its licence would only show when somebody calls. */
async function tryExposed(mesh: Mesh, command: CommandText): Promise<Finding> {
  const { exposed } = await mesh.call('exposeList');
  const problems: ExposedProblem[] = [];
  for (let from = 0; from < exposed.length; from += TRIED_AT_ONCE) {
    const tried = exposed.slice(from, from + TRIED_AT_ONCE).map(async ({ name, policy }) => {
      if (policy === null) return { name, message: 'its policy is gone' };
      try {
        await mesh.call('exposeCheck', { params: { name } });
        return undefined;
      } catch (error) {
        if (!isMeshError(error) || error.code === 'cancelled') throw error;
        return { name, message: error.message };
      }
    });
    problems.push(...(await Promise.all(tried)).filter((problem) => problem !== undefined));
  }
  return exposedFinding(exposed.length, problems, command);
}

interface ExposedProblem {
  readonly name: string;
  readonly message: string;
}

export function exposedFinding(count: number, problems: readonly ExposedProblem[], command: CommandText): Finding {
  if (count === 0) return ok('exposed', 'no server, to nobody');
  const [first] = problems;
  if (first === undefined) return ok('exposed', `${plural(count, 'server')}, which can be started`);
  const others = problems.length === 1 ? '' : `, and ${problems.length - 1} more of ${count}`;
  return warn(
    'exposed',
    `"${first.name}": ${first.message}${others}`,
    `try it: ${command('expose', 'check', first.name)}`,
  );
}

export function approvalsFinding(approvals: readonly Pick<ApprovalView, 'mayDecide'>[], command: CommandText): Finding {
  if (approvals.length === 0) return ok('approvals', 'none waits');
  const stuck = approvals.filter(({ mayDecide }) => mayDecide.length === 0).length;
  if (stuck > 0)
    return warn(
      'approvals',
      `${plural(stuck, 'approval')} for which nobody here may decide`,
      'name who belongs to the groups of the policy under "approvers" in agentmesh.yaml',
    );
  return warn(
    'approvals',
    `${plural(approvals.length, 'approval')} to be decided`,
    `see them: ${command('approvals', 'list')}`,
  );
}
