import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Acting, DecideByDaemon } from '../../../../daemon/core/governance/governance.ts';
import { isMeshError, limits } from '../../../../protocol/index.ts';
import type { Verdict } from '../../../../protocol/policy/index.ts';
import { call, DecideWorld, live, yaml } from './decide-world.ts';

const GAMMA = 'did:mesh:bafyreiadkxi6lxiciv7iu7ph5ogyiemz66ykxbkwq67t6hbmzjfxhoffjy';
const CALLER = 'did:mesh:bafyreigymlqdcwuq7u4z4dz55xkr4xvfjffm6z4vrydofd2o6szqfadmoi';
const LINK = 'bafyreifvoifymb6wahmimlr6eeg3fpp5xkgmk6zeb3qucnf5mqnmtqx7fi';
const SID = 'ab'.repeat(16);

let world: DecideWorld;
beforeEach(async () => {
  const rules = [
    '{name: ask, condition: "tool.name == \'remove\'", action: require_approval, approvers: [ann@example.com]}',
  ];
  world = await new DecideWorld([live(yaml(rules, 'default: allow'))]).open();
});
afterEach(async () => {
  await world.close();
});

const foreign = (did = CALLER): Acting => ({ did, organisation: GAMMA, actor: world.clerk });
const details = { peer: CALLER, session: SID, delegation: { chain: 'cd'.repeat(32), leaf: LINK } };
const decide = (by: DecideByDaemon = {}, tool = 'read_file', agent = foreign()): Promise<Verdict> =>
  world.during(world.governance.decide(agent, [], call(tool), {}, { details, ...by }));
const settled = async () => (await world.written('intent.settled')).filter(({ peer }) => peer === CALLER);
const once = { of: LINK, policy: 'link 1/60', rule: 'mcp:files/*', count: 1, windowMs: 60_000 };

describe('decide() for somebody of another organisation', () => {
  test('is logged by the own agent, with who asks, session and chain', async () => {
    await decide();
    const [allowed] = await world.written('action.allowed');
    expect(allowed).toMatchObject({ actor: world.clerk, ...details });
  });

  test('is settled by the one who asked', async () => {
    const { id } = await decide();
    expect(world.governance.settle(world.clerk, id ?? '', { code: 'ok' })).toBe(false);
    expect(world.governance.settle(CALLER, id ?? '', { code: 'ok' })).toBe(true);
    expect(await settled()).toMatchObject([{ actor: world.clerk, peer: CALLER, session: SID }]);
  });

  test('asks for approvals as the own agent, and all of one organisation share what may wait', async () => {
    expect(await decide({}, 'remove')).toMatchObject({ effect: 'require_approval' });
    expect(await world.written('approval.requested')).toMatchObject([{ actor: world.clerk, peer: CALLER }]);
    const outcomes: string[] = [];
    for (let i = 0; i < limits.APPROVALS_PENDING_AN_AGENT_MAX; i++) {
      const agent = { ...foreign(`${CALLER.slice(0, -2)}${'abcdefghijklmnop'[i]}q`) };
      try {
        outcomes.push((await decide({}, 'remove', agent)).effect);
      } catch (error) {
        outcomes.push(isMeshError(error) ? error.code : 'fault');
      }
    }
    expect(outcomes.at(-2)).toBe('require_approval');
    expect(outcomes.at(-1)).toBe('busy');
  });
});

describe('a refusal that is brought', () => {
  test('is what is decided and logged, whatever policies allow, and uses nothing up', async () => {
    const refusal = { code: 'caps_insufficient', reason: `Link "${LINK}" does not cover it` } as const;
    const refused = await decide({ refusal, limits: [once] });
    expect(refused).toMatchObject({ effect: 'deny', code: 'caps_insufficient', rule: null, reason: refusal.reason });
    expect(await world.written('action.refused')).toMatchObject([{ code: 'caps_insufficient', ...details }]);
    expect(await decide({ limits: [once] })).toMatchObject({ effect: 'allow' });
  });

  test('leaves no approval waiting', async () => {
    const refusal = { code: 'status_stale', reason: 'Nobody answers' } as const;
    expect(await decide({ refusal }, 'remove')).toMatchObject({ effect: 'deny', code: 'status_stale' });
    expect(await world.written('approval.requested')).toEqual([]);
  });
});

describe('limits of links', () => {
  test('count for everybody below the link, beside those of the agent', async () => {
    expect(await decide({ limits: [once] })).toMatchObject({ effect: 'allow' });
    const refused = await decide({ limits: [once] }, 'read_file', foreign(world.ann));
    expect(refused).toMatchObject({ effect: 'deny', code: 'limit_exceeded', rule: null });
    expect(refused.reason).toMatch(
      /^Link "bafy[a-z2-7]+" allows 1\/minute of "mcp:files\/\*", and they are used up: try again in \d+ s$/,
    );
    await world.reopen();
    expect(await decide({ limits: [once] })).toMatchObject({ code: 'limit_exceeded' });
  });

  test('are not used by what waits for an approval', async () => {
    expect(await decide({ limits: [once] }, 'remove')).toMatchObject({ effect: 'require_approval' });
    expect(await decide({ limits: [once] })).toMatchObject({ effect: 'allow' });
  });
});

describe('rows that go with the intent', () => {
  test('are written for what goes ahead alone, and told its entry', async () => {
    const told: string[] = [];
    const written = async (entry: string): Promise<void> => void told.push(entry);
    const { id } = await decide({ written });
    await decide({ written }, 'remove');
    expect(told).toEqual([id]);
  });

  test('that cannot be written keep it from going ahead, give the limit back, and the log says so', async () => {
    const written = async (): Promise<void> => {
      throw new Error('no space left');
    };
    await expect(decide({ written, limits: [once] })).rejects.toThrow('no space left');
    expect(await settled()).toMatchObject([{ result: { code: 'internal' } }]);
    expect(await decide({ limits: [once] })).toMatchObject({ effect: 'allow' });
  });
});
