/** An organisation with three people and an agent, and what its governance keeps over a store that the test holds. */
import {
  type Approval,
  Approvals,
  type ApprovalsOptions,
  type GivenDecision,
  type NewApproval,
} from '../../../../daemon/core/governance/approvals.ts';
import type { Settle } from '../../../../daemon/core/log/write-ahead.ts';
import type { Random, Store } from '../../../../daemon/ports.ts';
import { MemoryStore } from '../../../../daemon/store/memory.ts';
import { didKeyOf, MeshState, type Statement, toBase64url, signedBytes } from '../../../../protocol/index.ts';
import { approvalMessage, type LimitUse } from '../../../../protocol/policy/index.ts';
import { isSignatureValidSodium } from '../../../../protocol/sodium.ts';
import { createAgent, createOrganisation, createPerson, keyOf, NOW_MS, type TestKey } from '../../../builders.ts';
import { seededRandom } from '../../../random.ts';
import { quiet } from '../log/log-world.ts';
import { VirtualClock } from '../virtual-clock.ts';

export const acme = createOrganisation('acme');
export const ann = createPerson(acme, 'ann');
export const ben = createPerson(acme, 'ben');
export const cleo = createPerson(acme, 'cleo');
export const agent = createAgent(acme, 'agent');
export const outsider = keyOf('outsider');
export const outsiderDid: string = didKeyOf(outsider.text);

export const SEED = 20_261_122;
export function randomFrom(seed: number): Random {
  const fraction = seededRandom(seed);
  return { fraction, bytes: (count) => Uint8Array.from({ length: count }, () => Math.floor(fraction() * 256)) };
}

/** Of a limit that is not used up by a test that counts its uses. */
export const CRASH_USE: LimitUse = { policy: 'p', rule: 'r', count: 1_000_000, windowMs: 86_400_000 };

const MINUTE = 60_000;
export const wanted = (more: Partial<NewApproval> = {}): NewApproval => ({
  kind: 'action',
  digest: 'd1'.repeat(32),
  agent: agent.did,
  request: { action: 'tool_call', tool: 'delete_file', server: 'files', arguments: { path: '/srv/a' } },
  policy: { name: 'baseline', digest: 'ab'.repeat(32) },
  rule: 'no-deletes',
  approvers: [],
  quorum: 1,
  expiresMs: 15 * MINUTE,
  ...more,
});

interface GiveOptions {
  readonly did?: string;
  readonly key?: TestKey;
  readonly decision?: 'approve' | 'deny';
  readonly reason?: string;
  readonly at?: string;
  /** Signed in place of what the approval has. */
  readonly id?: string;
  readonly digest?: string;
}

export class GovernanceWorld {
  readonly clock = new VirtualClock();
  readonly random: Random;
  readonly state = new MeshState();
  /** What is told, in order. */
  readonly told: string[] = [];
  /** What the log was asked to hold, in order, and how it ended. */
  readonly log: string[] = [];
  logFailure: Error | undefined;
  sponsors: readonly string[] = [ann.did, ben.did];
  groups: Readonly<Record<string, readonly string[]>> = { 'security-team': [ben.did, cleo.did] };

  constructor(random: Random = randomFrom(SEED)) {
    this.random = random;
    for (const { genesis } of [acme, ann, ben, cleo, agent]) this.admit(genesis);
  }

  admit(statement: Statement): void {
    const { verdict } = this.state.admit(statement, NOW_MS);
    if (verdict !== 'accept') throw new Error(`the statement is not admitted: ${verdict}`);
  }

  open(store: Store = new MemoryStore(), options: ApprovalsOptions = {}): Promise<Approvals> {
    return Approvals.open(
      {
        store,
        clock: this.clock,
        random: this.random,
        log: quiet,
        state: this.state,
        resolveApprovers: (names) =>
          names.length === 0
            ? this.sponsors
            : names.flatMap((name) => this.groups[name] ?? (name.startsWith('did:') ? [name] : [])),
        isSignatureValid: isSignatureValidSodium,
        ahead: (approval, decision) => this.#ahead(approval, decision),
        events: {
          requested: ({ id }) => void this.told.push(`requested ${id}`),
          decided: ({ id, state }) => void this.told.push(`${state} ${id}`),
        },
      },
      options,
    );
  }

  async #ahead({ id, state }: Approval, { decision }: GivenDecision): Promise<Settle> {
    if (this.logFailure !== undefined) throw this.logFailure;
    this.log.push(`${decision} ${id}: ${state}`);
    return (problem) => void this.log.push(`settled: ${problem?.code ?? 'ok'}`);
  }

  /** As ann approves, or as the test says. */
  given(
    approval: Approval,
    { did = ann.did, key = ann.keys.sign, decision = 'approve', ...more }: GiveOptions = {},
  ): GivenDecision {
    const { reason = 'looked at it', at = new Date(this.clock.nowMs()).toISOString() } = more;
    const said = { approver: did, decision, reason, at };
    const message = approvalMessage({ id: more.id ?? approval.id, digest: more.digest ?? approval.digest, ...said });
    return { ...said, signature: toBase64url(key.sign(signedBytes('approval', message))) };
  }
}
