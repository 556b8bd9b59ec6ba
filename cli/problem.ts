/** What went wrong, for a person on stderr or for a program: what was attempted, what is, what was wanted, what next. */
import { type ErrorCode, type ErrorData, isMeshError } from '../protocol/errors.ts';
import { EXIT, type ExitCode, exitOf } from './exit.ts';
import { formatCommand } from './text/command.ts';
import { plainLines } from './text/plain.ts';
import type { Paint } from './text/style.ts';

export interface Problem {
  readonly code: ErrorCode | 'usage';
  readonly message: string;
  readonly data: ErrorData;
  /** What to do about it; null: the message says it all. */
  readonly next: string | null;
  readonly exit: ExitCode;
}

/** A command line that cannot be meant. */
export class UsageError extends Error {
  readonly next: string | null;

  constructor(message: string, next: string | null = null) {
    super(message);
    this.name = 'UsageError';
    this.next = next;
  }
}

/** Where the reader stands, for commands to run next. */
export interface Place {
  readonly home: string;
  /** Whether the home was named by a flag, so that other commands have to name it too. */
  readonly isHomeGiven: boolean;
  /** Whether it holds an organisation. */
  readonly isSetUp: boolean;
}

export function problemOf(error: unknown, place: Place): Problem {
  if (error instanceof UsageError) {
    return { code: 'usage', message: error.message, data: {}, next: error.next, exit: EXIT.usage };
  }
  if (isMeshError(error)) {
    const { code, message } = error;
    const { next, ...data } = error.data;
    return {
      code,
      message,
      data,
      next: typeof next === 'string' ? next : nextOf(code, place, data),
      exit: exitOf(code),
    };
  }
  const message = error instanceof Error ? error.message : String(error);
  return { code: 'internal', message, data: {}, next: null, exit: EXIT.failure };
}

/** What to do about a code; null: nothing that holds for all its causes. */
export function nextOf(code: ErrorCode, place: Place, { id }: ErrorData = {}): string | null {
  const next =
    code === 'not_running' && !place.isSetUp
      ? SET_UP
      : code === 'approval_pending' && typeof id === 'string'
        ? approveNext(id)
        : NEXT[code];
  if (next === undefined) return null;
  return typeof next === 'string' ? next : `${next[1]}: ${formatCommand(next[0], place)}`;
}

/** A sentence, or a command (without the program's name) and what it is for. */
type Next = string | readonly [command: readonly string[], why: string];

const SET_UP: Next = [['init', '--name', 'my-agent', '--sponsor', 'you@company.com'], 'set it up'];
const approveNext = (id: string): Next => [
  ['approvals', 'approve', id, '--reason', 'WHY'],
  'let it happen once, then do this again',
];
const DAMAGED = 'the file was changed or damaged on its way: have it exported anew';

const NEXT: Partial<Record<ErrorCode, Next>> = {
  not_running: [['run'], 'start a daemon in the background'],
  permissions: 'let the file belong to you alone (chmod go-rwx), or name another home with --home',
  sponsor_full: 'name another sponsor, or raise sponsor_agents_max in agentmesh.yaml',
  suspended: [['agent', 'resume', 'NAME'], 'let the agent work again'],
  key_locked: 'give the passphrase in AGENTMESH_PASSPHRASE_FILE',
  key_missing: 'bring the key file back from where it is kept, and name it with --key',
  did_unknown: 'connect to a daemon that knows it, such as one of its organisation: agentmesh peers add MULTIADDR',
  unknown_root: 'name an organisation that you trust as the root with --root DID',
  status_stale: 'export the chain anew: its knowledge of revocations is too old or incomplete',
  widened: 'ask for no more than the parent link grants',
  malformed: DAMAGED,
  noncanonical: DAMAGED,
  bad_signature: DAMAGED,
  broken_link: DAMAGED,
  expired: 'ask its issuer for a new link',
  not_covered: 'ask for what every link of the chain grants, or for a wider chain',
  unreachable: [['peers'], 'see who is connected, and add whom you miss'],
  caps_insufficient: 'ask for what the chain covers, or name a wider one with --grant LINK',
  score_below: 'ask for a lower score with --min-score; without evidence everyone has 300',
  config_invalid: 'correct agentmesh.yaml or the flag that the message names',
  store_corrupt: 'restore the home from a backup; the daemon does not go on from a damaged store',
  log_halted: [['log', 'recover', '--help'], 'read what it contradicts, then choose the way out'],
  quorum: [['log', 'status'], 'see which witnesses are known and answer'],
  policy_denied: [['policy', 'explain', '--help'], 'ask what would change it'],
  limit_exceeded: 'try again once earlier uses are long enough ago, or raise the limit of the rule',
  approval_pending: [['approvals', 'list'], 'see what waits, then approve or deny it'],
  approval_denied: [['approvals', 'list', '--all'], 'see who denied it, and why'],
  tool_changed: [['approvals', 'list'], 'see what changed, then approve or deny it'],
  policy_invalid:
    'correct the policy where the message says; "agentmesh policy check FILE" checks it before it is used',
  no_route: [['version'], 'compare the version of the daemon with this one'],
  timeout: 'try again; if it stays so, see "agentmesh doctor"',
  busy: 'try again in a moment',
  internal: "see the daemon's log",
};

/** Three lines at most: what, why, next. */
export function formatProblem({ message, code, data, next }: Problem, paint: Paint): string {
  const label = data.dimension === undefined ? code : `${code}: ${data.dimension}`;
  const lines = [`${paint('bad', 'error')} ${paint('dim', `(${label})`)} ${plainLines(message)}`];
  if (next !== null) lines.push(`${paint('dim', 'next ')} ${plainLines(next)}`);
  return `${lines.join('\n')}\n`;
}

export const problemJson = ({ code, message, data, next, exit }: Problem): object => ({
  error: { code, message, data, next, exit },
});
