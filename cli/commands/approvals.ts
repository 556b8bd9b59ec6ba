import type { Command } from 'commander';
import type { ApprovalView, Sponsor } from '../../protocol/control/index.ts';
import { didKeyOf, digestOf, encodeJcs, isAudienceDid, limits, MeshError, toHex } from '../../protocol/index.ts';
import { publicKeyText, type Signer } from '../../sdk/index.ts';
import { parseReason, secondsBetween } from '../arguments.ts';
import { EXIT, type ExitCode } from '../exit.ts';
import { withHelp } from '../help.ts';
import type { Invocation } from '../invocation.ts';
import { readKeys } from '../key-files.ts';
import { findApproval, findSponsor, peopleNames } from '../lookup.ts';
import { UsageError } from '../problem.ts';
import type { Act } from '../program.ts';
import { formatApproval, formatApprovals, wantsOf } from '../views/approvals.ts';
import type { Names } from '../views/common.ts';

const WAIT_SECONDS = 30; // of one question; the next one follows

export function addApprovals(program: Command, act: Act): void {
  const approvals = withHelp(program.command('approvals'), {
    summary: 'What waits for the approval of a person',
    about:
      'Where a policy says require_approval, the agent waits until one of those it names decides. An approval is for exactly the request that is ' +
      'shown, once; the decision is signed by whoever gives it, and logged.',
    examples: [
      ['approvals list', 'what waits'],
      ['approvals show 3f2a', 'everything that would be approved'],
      ['approvals approve 3f2a --reason "asked for in #4711"', 'let it happen, once'],
      ['approvals deny 3f2a --reason "wrong folder"', 'or not'],
    ],
  });
  addList(approvals, act);
  addShow(approvals, act);
  addDecision(approvals, act, 'approve');
  addDecision(approvals, act, 'deny');
  addWait(approvals, act);
}

const NAMED = 'id, or at least 4 letters of its beginning';

function addList(approvals: Command, act: Act): void {
  withHelp(approvals.command('list'), {
    summary: 'What waits, newest first',
    examples: [
      ['approvals list', 'what waits'],
      ['approvals list --all', 'with what was decided or came to its end'],
    ],
  })
    .option('--all', 'also what waits no longer, as long as it is remembered')
    .action(
      act(async (invocation, { all }: { all?: true }) => {
        const mesh = await invocation.mesh();
        const query = all === true ? { all: 'true' as const } : {};
        const [answer, names] = await Promise.all([mesh.call('approvalList', { query }), peopleNames(mesh)]);
        invocation.answer(answer, (view) => formatApprovals(answer.approvals, { isAll: all === true }, view, names));
        const waiting = answer.approvals.find(({ state }) => state === 'pending');
        if (waiting !== undefined) invocation.suggest('see what it is for', 'approvals', 'show', waiting.id);
      }),
    );
}

function addShow(approvals: Command, act: Act): void {
  withHelp(approvals.command('show'), {
    summary: 'Everything that an approval is for',
    about:
      'Agent, tool, server and arguments in full, with what is invisible spelt out. The digest is what an approver signs; it is computed here ' +
      'again from what is shown.',
    examples: [['approvals show 3f2a', 'by the beginning of its id']],
  })
    .argument('<id>', NAMED)
    .action(
      act(async (invocation, text: string) => {
        const mesh = await invocation.mesh();
        const [approval, names] = await Promise.all([findApproval(mesh, text), peopleNames(mesh)]);
        tell(invocation, approval, names);
        if (approval.state === 'pending') suggestDecision(invocation, approval.id);
      }),
    );
}

function tell(invocation: Invocation, approval: ApprovalView, names: Names): void {
  invocation.answer({ approval }, (view) => formatApproval(approval, { isWhole: isWhole(approval) }, view, names));
}

const suggestDecision = (invocation: Invocation, id: string): void =>
  invocation.suggest('or "deny"', 'approvals', 'approve', id, '--reason', 'WHY');

/** Whether the digest is of what is shown; undefined where it is of definitions, which are shown by what changed. */
function isWhole({ kind, request, digest }: ApprovalView): boolean | undefined {
  if (kind !== 'action') return undefined;
  const bytes = encodeJcs(request, { numbers: 'any', depthMax: limits.DECISION_JSON_DEPTH_MAX });
  return toHex(digestOf(bytes)) === digest;
}

interface DecisionOptions {
  readonly as?: string;
  readonly reason: string;
  readonly key?: string;
  readonly passphraseFile?: string;
}

type Verb = 'approve' | 'deny';
const DONE = { approve: 'approved', deny: 'denied' } as const;

function addDecision(approvals: Command, act: Act, verb: Verb): void {
  withHelp(approvals.command(verb), {
    summary: verb === 'approve' ? 'Let it happen, once' : 'Refuse it; one denial is enough',
    about:
      'Signed by whoever decides: a sponsor, whose key the daemon holds, or with --key the holder of a key that never leaves this machine. Without ' +
      '--as it is the one sponsor who may decide, if there is just one.' +
      (verb === 'approve' ? ' Exit code 5: more approvals are needed.' : ''),
    examples: [
      [`approvals ${verb} 3f2a --reason "seen with Bob"`, 'as the only sponsor who may'],
      [`approvals ${verb} 3f2a --as alice@company.com --reason "seen"`, 'as one of several'],
      [`approvals ${verb} 3f2a --key security.key --reason "seen"`, 'with a key of your own'],
    ],
  })
    .argument('<id>', NAMED)
    .requiredOption('--reason <text>', 'why; it is logged, so no personal data', parseReason)
    .option('--as <who>', 'contact, name or DID of who decides (default: the only sponsor who may, or the key)')
    .option('--key <file>', "the approver's own key file: it signs here")
    .option('--passphrase-file <file>', 'passphrase of this file (default: $AGENTMESH_PASSPHRASE_FILE)')
    .action(
      act(
        async (invocation, text: string, options: DecisionOptions): Promise<ExitCode> =>
          decide(verb, invocation, text, options),
      ),
    );
}

async function decide(
  decision: Verb,
  invocation: Invocation,
  text: string,
  { as, reason, key, passphraseFile }: DecisionOptions,
): Promise<ExitCode> {
  const mesh = await invocation.mesh();
  const { signal, world } = invocation;
  const asked = await findApproval(mesh, text);
  const [names, { sponsors }] = await Promise.all([peopleNames(mesh), mesh.call('sponsorList')]);
  const [signer] = key === undefined ? [] : await readKeys(world, [key], passphraseFile);
  const approver = approverOf(asked, decision, { as, signer, sponsors });
  if (isWhole(asked) === false)
    invocation.note(`What is signed is more than the daemon shows of approval ${asked.id}.`);
  const signing = signer === undefined ? {} : { signer };
  const approval = await mesh.client.approvals.decide(asked.id, { decision, approver, reason, signal, ...signing });
  invocation.answer({ approval }, (view) => {
    const head = `${view.paint(decision === 'approve' ? 'good' : 'bad', DONE[decision])} ${approval.id}  ${wantsOf(approval)}\n`;
    return `${head}\n${formatApproval(approval, { isWhole: isWhole(approval) }, view, names)}`;
  });
  if (approval.state !== 'pending') return EXIT.ok;
  const given = approval.decisions.length;
  invocation.note(`It still waits: ${given} of ${approval.quorum} approvals so far.`);
  return EXIT.waiting;
}

interface Known {
  readonly as: string | undefined;
  readonly signer: Signer | undefined;
  readonly sponsors: readonly Sponsor[];
}

/** Errors: not_found, usage (several may), forbidden (nobody here may), key_missing, conflict (they all have decided). */
function approverOf(approval: ApprovalView, verb: Verb, { as, signer, sponsors }: Known): string {
  const { id, mayDecide, decisions } = approval;
  if (as !== undefined) return isAudienceDid(as) ? as : findSponsor(as, sponsors).did;
  if (signer !== undefined) return didKeyOf(publicKeyText(signer));
  if (mayDecide.length === 0)
    throw new MeshError('forbidden', `Cannot ${verb} "${id}": this daemon knows nobody who may`, {
      next: 'name who belongs to the groups of the policy under "approvers" in agentmesh.yaml',
    });
  const people = sponsors.filter(({ did, status }) => mayDecide.includes(did) && status === 'active');
  const [only, ...others] = people.filter(({ did }) => !decisions.some(({ approver }) => approver === did));
  if (only !== undefined && others.length === 0) return only.did;
  if (only !== undefined) {
    const contacts = [only, ...others].map(({ contact }) => contact).join(', ');
    throw new UsageError(`Cannot ${verb} "${id}": it is not said as whom, and ${contacts} may`, 'name one with --as');
  }
  if (people.length > 0)
    throw new MeshError('conflict', `Cannot ${verb} "${id}": every sponsor who may has decided already`, { id });
  throw new MeshError('key_missing', `Cannot ${verb} "${id}": those who may are no sponsors of this organisation`, {
    next: 'give the key of one who may with --key FILE',
  });
}

function addWait(approvals: Command, act: Act): void {
  withHelp(approvals.command('wait'), {
    summary: 'Wait until it is decided',
    about: 'Exit code 0: approved; 3: denied, or it came to its end; 5: it still waits when the time is over.',
    examples: [
      ['approvals wait 3f2a', 'as long as it takes'],
      ['approvals wait 3f2a --timeout 10m', 'for a script'],
    ],
  })
    .argument('<id>', NAMED)
    .option(
      '--timeout <time>',
      'how long, like 10m or 1h (default: until it is decided or ends)',
      secondsBetween(0, limits.APPROVAL_MS_MAX / 1000, 'from 0s to 7d'),
    )
    .action(act(wait));
}

async function wait(invocation: Invocation, text: string, { timeout }: { timeout?: number }): Promise<ExitCode> {
  const mesh = await invocation.mesh();
  const { signal, world } = invocation;
  const untilMs = timeout === undefined ? Number.POSITIVE_INFINITY : world.nowMs() + 1000 * timeout;
  const { id } = await findApproval(mesh, text);
  for (;;) {
    const leftSeconds = Math.max(0, Math.ceil((untilMs - world.nowMs()) / 1000));
    const approval = await mesh.client.approvals.show(id, { waitSeconds: Math.min(WAIT_SECONDS, leftSeconds), signal });
    if (approval.state === 'pending' && leftSeconds > WAIT_SECONDS) continue;
    tell(invocation, approval, await peopleNames(mesh));
    if (approval.state === 'pending') suggestDecision(invocation, id);
    return EXITS[approval.state];
  }
}

const EXITS: Readonly<Record<ApprovalView['state'], ExitCode>> = {
  pending: EXIT.waiting,
  approved: EXIT.ok,
  used: EXIT.ok,
  denied: EXIT.refused,
  expired: EXIT.refused,
};
