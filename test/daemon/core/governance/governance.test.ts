import { afterEach, describe, expect, it } from 'vitest';
import { toHex } from '../../../../protocol/index.ts';
import { commitmentOf, parseUuid7 } from '../../../../protocol/log/index.ts';
import type { DecisionPoint, GateRequest, PointAnswer, PolicyContext } from '../../../../protocol/policy/index.ts';
import { RequestArchive } from '../../../../daemon/core/governance/request-archive.ts';
import { keyOf } from '../../../builders.ts';
import { didKeyOf, isMeshError, limits, MeshError } from '../../../../protocol/index.ts';
import { quiet } from '../log/log-world.ts';
import { input, never, operator } from '../node-world.ts';
import { settle } from '../virtual-clock.ts';
import { asAgent, call, DecideWorld, live, yaml } from './decide-world.ts';
import { randomFrom, SEED } from './governance-world.ts';

let world: DecideWorld;
afterEach(async () => {
  await world.close();
});
const open = async (...[sources, options]: ConstructorParameters<typeof DecideWorld>): Promise<DecideWorld> => {
  world = new DecideWorld(sources, options);
  return world.open();
};

const READS = `{ name: reads, condition: "tool.name == 'read_file'", action: allow }`;
const LIMITED = `{ name: reads, condition: "tool.name == 'read_file'", action: allow, limit: "3/hour" }`;
const DELETES = `{ name: deletes, condition: "tool.name == 'delete_file'", action: require_approval }`;
const DELETES_ONCE = `{ name: deletes, condition: "tool.name == 'delete_file'", action: require_approval, limit: "1/hour" }`;
const remove = (path = '/srv/a'): GateRequest => call('delete_file', { name: 'delete_file', arguments: { path } });

describe('the log', () => {
  it('holds the entry before anybody has the answer', async () => {
    await open([live(yaml([READS]))]);
    world.log.shut();
    let isAnswered = false;
    const deciding = world.deciding(call()).finally(() => (isAnswered = true));
    await world.nodes.clock.advance(5_000);
    expect(isAnswered).toBe(false);
    world.log.open();
    const { id, index, effect } = await world.during(deciding);
    const [entry] = await world.written('action.allowed');
    expect({ id, index, effect }).toEqual({ id: entry?.['id'], index: entry?.index, effect: 'allow' });
    expect(entry).toMatchObject({
      phase: 'intent',
      actor: world.clerk,
      principal: world.ann,
      action: 'tool_call',
      op: 'execute_tool',
      tool: 'read_file',
      server: 'files',
      policy: { version: 'base', rule: 'reads', decision: 'allow' },
    });
  });

  it('holds what is refused too, and what waits', async () => {
    await open([live(yaml([READS, DELETES]))]);
    const denied = await world.decide(call('write_file'));
    const waiting = await world.decide(remove());
    const [first, second] = await world.written('action.refused');
    expect(denied).toMatchObject({ effect: 'deny', code: 'policy_denied', id: first?.['id'], index: first?.index });
    expect(first).toMatchObject({ phase: 'outcome', code: 'policy_denied', policy: { rule: null, decision: 'deny' } });
    expect(waiting).toMatchObject({ effect: 'require_approval', code: 'approval_pending', index: second?.index });
    expect(second).toMatchObject({ code: 'approval_pending', approval: waiting.approval?.id });
    expect(await world.written('approval.requested')).toMatchObject([{ subject: waiting.approval?.id }]);
  });

  it('holds what whoever asks does not do, and uses up no limit and no approval for it', async () => {
    await open([
      live(yaml([`{ name: reads, condition: "tool.name == 'read_file'", action: allow, limit: "1/hour" }`, DELETES])),
    ]);
    const withheld = 'tool_changed';
    for (const request of [call(), remove()])
      expect(await world.outcome({ ...request, withheld })).toBe('deny tool_changed');
    expect(await world.outcome({ ...call('write_file'), withheld })).toBe('deny policy_denied');
    expect(await world.written('approval.requested')).toEqual([]);
    expect(await world.outcome(call())).toBe('allow');
    expect(await world.written('action.refused')).toMatchObject([
      { tool: 'read_file', code: 'tool_changed', policy: { rule: null, decision: 'deny' } },
      { tool: 'delete_file', code: 'tool_changed' },
      { tool: 'write_file', code: 'policy_denied' },
    ]);
  });

  it('says of what is allowed to somebody who left meanwhile that it was cancelled, and nothing where the daemon stops', async () => {
    await open([live(yaml([READS]))]);
    const ends: unknown[] = [];
    for (const code of ['cancelled', 'closed'] as const) {
      const leaving = new AbortController();
      world.log.shut();
      const deciding = world.deciding(call(), { signal: leaving.signal });
      await world.nodes.clock.advance(50);
      leaving.abort(new MeshError(code, 'Cannot go on'));
      world.log.open();
      const { id } = await world.during(deciding);
      ends.push(
        (await world.written('intent.settled')).filter(({ intent }) => intent === id).map(({ result }) => result),
      );
    }
    expect(ends).toEqual([[{ code: 'cancelled' }], []]);
  });

  it('holds what an agent wants that was stopped', async () => {
    await open([live(yaml([READS]))]);
    await world.during(world.member.api.agentSuspend(input(undefined, { did: world.clerk }), operator, never));
    expect(await world.outcome(call())).toBe('suspended');
    expect(
      await world.outcome(call(), { as: 'did:mesh:bafyreie2ns2ucvcdfvhtlxsejtk4m4oxsgjahb5ydiwy4vsvytzogxvm4i' }),
    ).toBe('not_found');
    expect(await world.written('action.refused')).toMatchObject([
      { actor: world.clerk, action: 'tool_call', tool: 'read_file', server: 'files', code: 'suspended' },
    ]);
  });

  it('says how each ended, once, and by its own agent alone', async () => {
    await open([live(yaml([READS]))]);
    const other = await world.employ('other');
    const [{ id }, failing] = [await world.decide(call()), await world.decide(call())];
    const settling = async (as: string, of: string | null, code: 'ok' | 'failed'): Promise<number> => {
      const body = { as, outcomes: [{ id: of ?? '', code, ...(code === 'ok' && { labels: ['pii.email'] }) }] };
      return (await world.during(world.member.api.decisionSettle(input(body), operator, never))).settled;
    };
    expect(await settling(other, id, 'ok')).toBe(0);
    expect(await settling(world.clerk, id, 'ok')).toBe(1);
    expect(await settling(world.clerk, id, 'failed')).toBe(0);
    expect(await settling(world.clerk, failing.id, 'failed')).toBe(1);
    const ends = await world.written('intent.settled');
    const of = (intent: string | null) => ends.filter((end) => end['intent'] === intent);
    expect(of(id)).toMatchObject([{ actor: world.clerk, result: { code: 'ok' }, labels: ['pii.email'] }]);
    expect(of(failing.id)).toMatchObject([{ actor: world.clerk, result: { code: 'failed' } }]);
    expect(of(failing.id)[0]).not.toHaveProperty('labels');
  });

  it('says which policies are in force, from the start on, after each reading, and those that are brought', async () => {
    await open([live(yaml([READS])), { ...live(yaml([]), 'next'), use: 'shadow' }]);
    const loaded = async (): Promise<unknown[]> =>
      (await world.written('policy.loaded')).map(({ name, source }) => `${String(name)} ${String(source)}`);
    expect(await loaded()).toEqual(['base configuration', 'next shadow']);
    const digest = await world.bring(yaml([READS]));
    await world.bring(yaml([READS])); // known already
    expect((await world.written('policy.loaded')).at(-1)).toMatchObject({ digest, subject: digest, source: 'caller' });
    world.sources = [live(yaml([]))];
    await world.during(world.member.api.policyReload(input(undefined), operator, never));
    expect(await loaded()).toEqual(['base configuration', 'next shadow', 'own caller', 'base configuration']);
    const before = (await loaded()).length;
    world.sources = [live('rules: nonsense')];
    const reloading = world.member.api.policyReload(input(undefined), operator, never);
    await expect(world.during(reloading)).rejects.toMatchObject({ code: 'policy_invalid' });
    expect(await loaded()).toHaveLength(before);
  });

  it('takes whatever names a request may have, or nothing is allowed', async () => {
    await open([live(yaml([`{ name: "${'r'.repeat(limits.POLICY_RULE_NAME_TEXT_MAX)}", action: allow }`]))]);
    const odd = ['\n', '\u0000', '\u202E', '"', '\\', '🙂', '\uFFFD', ' ', 'é\u0301', '\u001B[31m', '.', '__proto__'];
    const long = 'n'.repeat(limits.MCP_NAME_TEXT_MAX);
    const asked = [...odd, long, '🙂'.repeat(limits.MCP_NAME_TEXT_MAX / 2)].map(
      (name): GateRequest => ({
        action: 'tool_call',
        tool: { name, server: name, arguments: { [name]: name } },
        labels: Array.from({ length: limits.LABELS_MAX }, (_, i) => `l${i}`.padEnd(limits.LABEL_TEXT_MAX, 'x')),
      }),
    );
    for (const request of asked) expect(await world.outcome(request), JSON.stringify(request.tool?.name)).toBe('allow');
    expect(await world.written('action.allowed')).toHaveLength(asked.length);
    // A lone surrogate has no UTF-8: it can be neither committed to nor logged.
    expect(await world.outcome(call('\uD800'))).toBe('malformed');
    expect(await world.written('action.allowed')).toHaveLength(asked.length);
  });
});

describe('where the log takes nothing', () => {
  for (const [name, breakIt] of [
    ['halted', (): void => world.member.auditLog.halt({ place: 'entry', message: 'a test' } as never)],
    ['broken in the middle', (): void => void (world.log.broken = 'read_only')],
  ] as const)
    it(`nothing is allowed and nothing used up: ${name}`, async () => {
      await open([live(yaml([LIMITED, DELETES]))]);
      const { approval } = await world.decide(remove());
      await world.judge(approval?.id ?? '');
      await settle();
      const before = (await world.written()).length;
      breakIt();
      const code = name === 'halted' ? 'log_halted' : 'read_only';
      for (let i = 0; i < 5; i++) expect(await world.outcome(call())).toBe(code);
      expect(await world.outcome(remove())).toBe(code);
      expect(await world.outcome(call('write_file'))).toBe(code); // nor a denial told
      expect(await world.written()).toHaveLength(before);
      if (name === 'halted') return;
      world.log.broken = undefined;
      expect(await world.outcome(remove())).toBe('allow'); // the approval was given back
      for (let i = 0; i < 3; i++) expect(await world.outcome(call())).toBe('allow'); // and so was the limit
      expect(await world.outcome(call())).toBe('deny limit_exceeded');
    });

  it('what it rests on that cannot be written ends an intent that is there already', async () => {
    await open([live(yaml([LIMITED]))]);
    const { store } = world.member;
    const batch = store.batch.bind(store);
    store.batch = async (writes, options) => {
      if (writes.some(({ key }) => key[0] === 0x67 && key[1] === 0x6c))
        throw new MeshError('read_only', 'Cannot write: a test');
      return batch(writes, options);
    };
    expect(await world.outcome(call())).toBe('read_only');
    const [allowed] = await world.written('action.allowed');
    const ends = (await world.written('intent.settled')).filter((end) => end['intent'] === allowed?.['id']);
    expect(ends).toMatchObject([{ result: { code: 'read_only' } }]);
    store.batch = batch;
    for (let i = 0; i < 3; i++) expect(await world.outcome(call())).toBe('allow');
  });
});

describe('layers', () => {
  it('decide by the strictest, whichever of them it is', async () => {
    await open([live(yaml([READS, DELETES]))]);
    const open1 = await world.bring(yaml([], 'default: allow'), 'open');
    const shut = await world.bring(yaml([]), 'shut');
    const asking = await world.bring(yaml([`{ name: ask, action: require_approval }`]), 'asking');
    expect(await world.outcome(call())).toBe('allow');
    expect(await world.outcome(call(), { policies: [open1] })).toBe('allow');
    expect(await world.outcome(call(), { policies: [open1, shut] })).toBe('deny policy_denied');
    expect(await world.outcome(call(), { policies: [asking] })).toBe('require_approval approval_pending');
    expect(await world.outcome(call('write_file'), { policies: [open1] })).toBe('deny policy_denied');
    expect(await world.outcome(remove(), { policies: [open1] })).toBe('require_approval approval_pending');
    const { policy } = await world.decide(call(), { policies: [open1, shut] });
    expect(policy).toEqual({ name: 'shut', digest: shut });
  });

  it('there being none, or none for the agent, deny', async () => {
    await open([]);
    expect(await world.outcome(call())).toBe('deny policy_denied');
    world.sources = [live(yaml([], 'agent: somebody-else\ndefault: allow'))];
    await world.member.node.governance.library.reload();
    const { reason, policy } = await world.decide(call());
    expect(reason).toBe('No policy that is loaded is for this agent');
    expect(policy.name).toBe('none');
  });

  it('refuse one that is not held, and ask for it again', async () => {
    await open([live(yaml([READS]))]);
    await expect(world.decide(call(), { policies: ['ab'.repeat(32)] })).rejects.toMatchObject({
      code: 'not_found',
      data: { field: 'policies' },
    });
  });

  it('of a caller outlive a restart', async () => {
    await open([live(yaml([READS]))]);
    const shut = await world.bring(yaml([]), 'shut');
    await world.reopen();
    expect(await world.outcome(call(), { policies: [shut] })).toBe('deny policy_denied');
  });
});

describe('limits', () => {
  it('are used up by what goes ahead alone', async () => {
    const small = (path?: string, request = remove(path)): GateRequest => ({ ...request, facts: { big: false } });
    await open([live(yaml([LIMITED, DELETES_ONCE, `{ name: no-big, condition: "facts.big == true", action: deny }`]))]);
    for (let i = 0; i < 5; i++) expect(await world.outcome({ ...call(), facts: { big: true } })).toMatch(/^deny/);
    for (let i = 0; i < 3; i++) expect(await world.outcome(small('', call()))).toBe('allow');
    const { reason } = await world.decide(small('', call()));
    expect(reason).toMatch(/^Rule "reads" of policy "base" allows 3\/hour, and they are used up: try again in \d+ s$/);
    for (let i = 0; i < 3; i++) expect(await world.outcome(small())).toBe('require_approval approval_pending');
    const { approval } = await world.decide(small());
    await world.judge(approval?.id ?? '');
    expect(await world.outcome(small())).toBe('allow');
    const next = await world.decide(small('/srv/b'));
    await world.judge(next.approval?.id ?? '');
    expect(await world.outcome(small('/srv/b'))).toBe('deny limit_exceeded'); // and the approval is kept
    await world.during(Promise.resolve(), 3_600_000 / 64);
    expect(
      (
        await world.member.api.approvalShow(
          { params: { id: next.approval?.id ?? '' }, query: {}, body: undefined },
          operator,
          never,
        )
      ).approval.state,
    ).toBe('approved');
  });

  it('let exactly as many through as they say, however many ask at once, and after a restart none more', async () => {
    await open([live(yaml([LIMITED]))]);
    const verdicts = await world.during(Promise.all(Array.from({ length: 40 }, () => world.deciding(call()))));
    expect(verdicts.filter(({ effect }) => effect === 'allow')).toHaveLength(3);
    expect(await world.written('action.allowed')).toHaveLength(3);
    await world.reopen();
    expect(await world.outcome(call())).toBe('deny limit_exceeded');
    const other = await world.employ('other');
    expect(await world.outcome(call(), { as: other })).toBe('allow');
  });

  it('of a configured policy count on beside a brought one of the same names', async () => {
    await open([live(yaml([LIMITED]))]);
    const wide = `{ name: reads, condition: "tool.name == 'read_file'", action: allow, limit: "1000/second" }`;
    const same = await world.bring(yaml([wide], 'name: base\ndefault: deny'), 'base');
    for (let i = 0; i < 3; i++) expect(await world.outcome(call(), { policies: [same] })).toBe('allow');
    await world.during(Promise.resolve(), 5_000); // longer than the brought one's window
    expect(await world.outcome(call(), { policies: [same] })).toBe('deny limit_exceeded');
    expect(await world.outcome(call())).toBe('deny limit_exceeded');
  });
});

describe('approvals', () => {
  it('are for one request of one agent to the letter, and once', async () => {
    await open([live(yaml([DELETES]))]);
    const other = await world.employ('other');
    const request = call('delete_file', { name: 'delete_file', arguments: { path: 'a' }, paths: ['/srv/a'] });
    const { approval } = await world.decide(request);
    expect(await world.judge(approval?.id ?? '')).toBe('approved');
    const pending = 'require_approval approval_pending';
    expect(await world.outcome(request, { as: other })).toBe(pending);
    expect(await world.outcome(remove('b'))).toBe(pending);
    expect(await world.outcome(call('delete_file', { ...request.tool, name: 'Delete_File' }))).toBe(pending);
    expect(await world.outcome({ ...request, tool: { ...request.tool, name: 'delete_file', paths: ['/etc/a'] } })).toBe(
      pending,
    );
    expect(await world.outcome({ ...request, tool: { ...request.tool, name: 'delete_file', server: 'other' } })).toBe(
      pending,
    );
    expect(await world.outcome({ ...request, exact: 'ab'.repeat(32) })).toBe(pending);
    expect(await world.outcome({ ...request, facts: { x: 1 } })).toBe(pending);
    const allowed = await world.decide(request);
    expect(allowed.effect).toBe('allow');
    expect(allowed.reason).toContain(`approved as "${approval?.id}"`);
    expect(await world.written('action.allowed')).toMatchObject([
      { approval: approval?.id, policy: { rule: 'deletes' } },
    ]);
    expect(await world.outcome(request)).toBe(pending);
  });

  it('let one through of many that ask at once', async () => {
    await open([live(yaml([DELETES]))]);
    const { approval } = await world.decide(remove());
    await world.judge(approval?.id ?? '');
    const verdicts = await world.during(Promise.all(Array.from({ length: 20 }, () => world.deciding(remove()))));
    expect(verdicts.filter(({ effect }) => effect === 'allow')).toHaveLength(1);
    const waiting = new Set(verdicts.flatMap((verdict) => verdict.approval?.id ?? []));
    expect(waiting.size).toBe(1);
    expect(waiting).not.toContain(approval?.id);
  });

  it('stand where they were denied, and nothing waits then', async () => {
    await open([live(yaml([DELETES]))]);
    const { approval } = await world.decide(remove());
    expect(await world.judge(approval?.id ?? '', 'deny')).toBe('denied');
    const again = await world.decide(remove());
    expect(again).toMatchObject({ effect: 'deny', code: 'approval_denied' });
    expect(again.approval).toBeUndefined();
    expect((await world.written('action.refused')).at(-1)).toMatchObject({
      code: 'approval_denied',
      approval: approval?.id,
    });
    await world.during(Promise.resolve(), 61_000);
    expect(await world.outcome(remove())).toBe('require_approval approval_pending');
  });

  it('end with their time, approved or not', async () => {
    await open([live(yaml([DELETES]))]);
    const { approval } = await world.decide(remove());
    await world.judge(approval?.id ?? '');
    await world.during(Promise.resolve(), limits.APPROVAL_MS_DEFAULT);
    const later = await world.decide(remove());
    expect(later.effect).toBe('require_approval');
    expect(later.approval?.id).not.toBe(approval?.id);
  });

  it('want as many as they say, each another person, and outlive a restart', async () => {
    const two = `{ name: deletes, condition: "tool.name == 'delete_file'", action: require_approval, quorum: 2 }`;
    await open([live(yaml([two]))]);
    await world.employ('second', 'ben@example.com');
    const { sponsors } = await world.member.api.sponsorList(input(undefined), operator, never);
    const ben = sponsors.find(({ contact }) => contact === 'ben@example.com')?.did ?? '';
    const { approval } = await world.decide(remove());
    const id = approval?.id ?? '';
    expect(await world.judge(id)).toBe('pending');
    await world.nodes.clock.advance(5);
    expect(await world.judge(id)).toBe('pending');
    expect(await world.outcome(remove())).toBe('require_approval approval_pending');
    await world.reopen();
    expect(await world.judge(id, 'approve', ben)).toBe('approved');
    await world.reopen();
    expect(await world.outcome(remove())).toBe('allow');
    await world.reopen();
    expect(await world.outcome(remove())).toBe('require_approval approval_pending');
    expect((await world.written('approval.decided')).map(({ approver }) => approver)).toEqual([
      world.ann,
      world.ann,
      ben,
    ]);
  });

  it('are nobody to give whom only the caller names: itself, a key of its own, another organisation', async () => {
    await open([live(yaml([], 'default: allow'))]);
    const key = keyOf('of the agent');
    const own = didKeyOf(key.text);
    for (const who of [world.clerk, own, world.member.did, 'security-team']) {
      const digest = await world.bring(yaml([`{ name: ask, action: require_approval, approvers: ["${who}"] }`]), 'own');
      const { approval } = await world.decide(remove(who), { policies: [digest] });
      const id = approval?.id ?? '';
      const { approval: shown } = await world.member.api.approvalShow(
        { params: { id }, query: {}, body: undefined },
        operator,
        never,
      );
      expect(shown.mayDecide).toEqual([]);
      for (const approver of [world.clerk, own, world.ann])
        await expect(world.judge(id, 'approve', approver), approver).rejects.toMatchObject({
          code: expect.stringMatching(/^(forbidden|key_missing|did_unknown)$/) as string,
        });
      expect(await world.outcome(remove(who), { policies: [digest] })).toBe('require_approval approval_pending');
    }
  });

  it('cannot be decided for others by an agent with its token, nor at a time that is none', async () => {
    await open([live(yaml([DELETES]))]);
    const { approval } = await world.decide(remove());
    const id = approval?.id ?? '';
    const deciding = (body: object, caller = asAgent(world.clerk)): Promise<unknown> =>
      world.during(
        world.member.api.approvalDecide(
          input({ decision: 'approve', approver: world.ann, reason: '', ...body } as never, { id }),
          caller,
          never,
        ),
      );
    await expect(deciding({})).rejects.toMatchObject({ code: 'forbidden' });
    for (const at of ['2026-02-31T00:00:00.000Z', '2026-13-01T00:00:00.000Z', 'yesterday'])
      await expect(deciding({ at, signature: 'A'.repeat(86) }, operator as never), at).rejects.toMatchObject({
        code: 'bad_request',
      });
    expect(await world.outcome(remove())).toBe('require_approval approval_pending');
  });

  it('are shown to their own agent alone', async () => {
    await open([live(yaml([DELETES]))]);
    const other = await world.employ('other');
    const { approval } = await world.decide(remove());
    const params = { id: approval?.id ?? '' };
    const show = (did: string) =>
      world.member.api.approvalShow({ params, query: {}, body: undefined }, asAgent(did), never);
    expect((await show(world.clerk)).approval.request).toMatchObject({ tool: { arguments: { path: '/srv/a' } } });
    await expect(show(other)).rejects.toMatchObject({ code: 'not_found' });
    const list = async (did: string): Promise<number> => {
      const asked = { params: {}, query: { all: 'true' }, body: undefined } as const;
      return (await world.member.api.approvalList(asked, asAgent(did), never)).approvals.length;
    };
    expect([await list(world.clerk), await list(other)]).toEqual([1, 0]);
  });

  it('are waited for until whoever waits is gone', async () => {
    await open([live(yaml([DELETES]))]);
    const { approval } = await world.decide(remove());
    const asked = { params: { id: approval?.id ?? '' }, query: { wait: '60' }, body: undefined } as const;
    const timers = world.nodes.clock.timers;
    const gone = new AbortController();
    const waiting = world.member.api.approvalShow(asked, operator, gone.signal);
    await settle();
    expect(world.nodes.clock.timers).toBe(timers + 1);
    gone.abort();
    await expect(waiting).rejects.toMatchObject({ code: 'cancelled' });
    expect(world.nodes.clock.timers).toBe(timers);
  });
});

describe('filter() and explain()', () => {
  it('lists what some arguments could be allowed or approved for, and use nothing up', async () => {
    const some = `{ name: some, condition: "tool.name == 'write_file' && tool.arguments.path.startsWith('/tmp/')", action: allow }`;
    await open([live(yaml([LIMITED, DELETES, some]))]);
    const requests = ['read_file', 'delete_file', 'write_file', 'format_disk'].map((name) => call(name));
    const before = (await world.written()).length;
    for (let i = 0; i < 5; i++) {
      const { allowed } = await world.member.api.decisionFilter(
        input({ as: world.clerk, requests: requests as never }),
        operator,
        never,
      );
      expect(allowed).toEqual([true, true, true, false]);
      const { decision } = await world.member.api.decisionExplain(
        input({ as: world.clerk, request: call() as never }),
        operator,
        never,
      );
      expect(decision).toMatchObject({ effect: 'allow', rule: 'reads' });
    }
    expect(await world.written()).toHaveLength(before);
    for (let i = 0; i < 3; i++) expect(await world.outcome(call())).toBe('allow');
  });
});

describe('what an agent may', () => {
  it('ends when it is suspended or revoked', async () => {
    await open([live(yaml([], 'default: allow'))]);
    await world.during(world.member.api.agentSuspend(input(undefined, { did: world.clerk }) as never, operator, never));
    expect(await world.outcome(call())).toBe('suspended');
    await world.during(world.member.api.agentResume(input(undefined, { did: world.clerk }) as never, operator, never));
    expect(await world.outcome(call())).toBe('allow');
    const body = { reason: 'superseded' };
    await world.during(world.member.api.agentRevoke(input(body, { did: world.clerk }) as never, operator, never));
    expect(await world.outcome(call())).toMatch(/^(revoked|suspended)$/);
    expect(await world.outcome(call(), { as: 'did:mesh:zQmNobody' })).toBe('not_found');
  });
});

describe('decision points outside', () => {
  const POINT = 'default: allow\nexternal: [ { name: opa, type: opa, url: "http://127.0.0.1:9/" } ]';
  const pointed = (decide: DecisionPoint['decide']): Promise<DecideWorld> =>
    open([live(yaml([READS, DELETES], POINT))], { pointOf: ({ name }) => ({ name, decide }) });

  it('may be stricter than the policies and never less strict', async () => {
    let answer: unknown = { effect: 'allow', reason: '' };
    const seen: PolicyContext[] = [];
    await pointed(async (context) => {
      seen.push(context);
      return answer as PointAnswer;
    });
    expect(await world.outcome(call())).toBe('allow');
    expect(seen[0]).toMatchObject({ action: { type: 'tool_call' }, agent: { did: world.clerk } });
    expect(await world.outcome(remove())).toBe('require_approval approval_pending');
    answer = { effect: 'require_approval', reason: 'big' };
    const { approval, reason } = await world.decide(call());
    expect(reason).toContain('Decision point "opa" wants an approval: big');
    await world.judge(approval?.id ?? '');
    expect(await world.outcome(call())).toBe('allow');
    answer = { effect: 'deny', reason: 'no' };
    expect(await world.outcome(call())).toBe('deny policy_denied');
    for (const odd of [undefined, null, 'allow', true, {}, { effect: 'ALLOW' }, { effect: 'constructor' }, []]) {
      answer = odd;
      expect(await world.outcome(call()), JSON.stringify(odd)).toBe('deny policy_denied');
    }
  });

  it('that fail, do not answer, or are asked by somebody who left deny', async () => {
    let how: 'throws' | 'rejects' | 'hangs' = 'throws';
    await pointed((): Promise<PointAnswer> => {
      if (how === 'throws') throw new Error('at once');
      return how === 'rejects' ? Promise.reject(new Error('later')) : new Promise(() => {});
    });
    expect(await world.outcome(call())).toBe('deny policy_denied');
    how = 'rejects';
    expect(await world.outcome(call())).toBe('deny policy_denied');
    how = 'hangs';
    const gone = AbortSignal.abort();
    expect(await world.outcome(call(), { signal: gone })).toBe('deny policy_denied');
    const deciding = world.deciding(call());
    const { reason } = await world.during(deciding, 60_000);
    expect(reason).toContain('it did not answer');
    expect(await world.written('action.allowed')).toEqual([]);
  });

  it('are never asked for a policy that a caller brings', async () => {
    let asked = 0;
    await open([live(yaml([], 'default: allow'))], {
      pointOf: ({ name }) => ({ name, decide: async () => ({ effect: (asked++, 'allow'), reason: '' }) }),
    });
    await expect(world.bring(yaml([], POINT))).rejects.toMatchObject({ code: 'policy_invalid' });
    expect(asked).toBe(0);
  });

  it('leave what the policies said for shadows and replays to compare with', async () => {
    await open([live(yaml([READS], POINT)), { ...live(yaml([READS], 'default: allow')), use: 'shadow' }], {
      pointOf: ({ name }) => ({ name, decide: async () => ({ effect: 'deny', reason: 'always' }) }),
    });
    expect(await world.outcome(call())).toBe('deny policy_denied');
    const { candidates } = await world.member.api.policyShadow(input(undefined), operator, never);
    expect(candidates).toMatchObject([{ compared: 1, diverged: 0 }]);
    const body = {
      name: 'base',
      files: [{ path: 'base.yaml', text: yaml([READS], 'default: allow') }],
      sinceSeconds: 60,
    };
    const { comparison } = await world.member.api.policyReplay(input(body), operator, never);
    expect(comparison).toMatchObject({ compared: 1, diverged: 0 });
  });
});

describe('shadow and replay', () => {
  it('compare with what was decided by the policies of each request', async () => {
    const next = { ...live(yaml([`{ name: all, condition: "action.type == 'tool_call'", action: allow }`]), 'next') };
    await open([{ ...next, use: 'shadow' }]);
    const strict = await world.bring(yaml([READS]), 'strict');
    expect(await world.outcome(call(), { policies: [strict] })).toBe('allow');
    expect(await world.outcome(remove(), { policies: [strict] })).toBe('deny policy_denied');
    const { candidates } = await world.member.api.policyShadow(input(undefined), operator, never);
    expect(candidates).toMatchObject([{ compared: 2, diverged: 1, loosened: 1 }]);
    const diverged = await world.written('policy.diverged');
    expect(diverged).toMatchObject([{ action: 'tool_call', live: 'deny', other: 'allow' }]);
    const body = { name: 'next', files: [{ path: 'next.yaml', text: next.text }], sinceSeconds: 60 };
    const { comparison } = await world.member.api.policyReplay(input(body), operator, never);
    expect(comparison).toMatchObject({ compared: 2, diverged: 1, loosened: 1 });
    expect(JSON.stringify(comparison)).not.toContain('/srv/a');
  });
});

describe('the archive', () => {
  it('holds what the entry commits to, until it is erased; the log stays as it is', async () => {
    await open([live(yaml([READS]))]);
    const { id } = await world.decide(call('read_file', { name: 'read_file', arguments: { path: '/srv/secret' } }));
    const [entry] = await world.written('action.allowed');
    expect(JSON.stringify(entry)).not.toContain('/srv/secret');
    const { store } = world.member;
    const archive = await RequestArchive.open({
      store,
      clock: world.nodes.clock,
      random: randomFrom(SEED),
      log: quiet,
    });
    const bytes16 = parseUuid7(id ?? '').bytes;
    const held = await archive.get(bytes16);
    expect(held?.kept).toMatchObject({
      context: { tool: { arguments: { path: '/srv/secret' } } },
      decided: { effect: 'allow', rule: 'reads' },
    });
    const bytes = held?.bytes ?? new Uint8Array();
    expect(commitmentOf(held?.salt ?? new Uint8Array(), bytes)).toBe(entry?.['in']);
    const other = held?.salt.slice() ?? new Uint8Array();
    other[0] = (other[0] ?? 0) ^ 1;
    expect(commitmentOf(other, bytes)).not.toBe(entry?.['in']);
    expect(await archive.erase(bytes16)).toBe(true);
    expect(await archive.get(bytes16)).toBeUndefined();
    for await (const [key, value] of store.range(new Uint8Array(), Uint8Array.of(0xff))) {
      expect(new TextDecoder().decode(value), toHex(key)).not.toContain('/srv/secret');
    }
    expect(await world.written('action.allowed')).toEqual([entry]);
  });
});

describe('delegating', () => {
  const grant = { to: '', capabilities: [{ can: 'read:data/q3', res: ['a'] }], ttlSeconds: 3600 };
  const delegating = (body: object): Promise<string> =>
    world.during(
      world.member.api.delegationCreate(input({ ...grant, ...body } as never), operator, never).then(
        () => 'ok',
        (error: unknown) => (isMeshError(error) ? error.code : String(error)),
      ),
    );

  it('is as before where no policy concerns whoever delegates, and not denied by a default', async () => {
    await open([live(yaml([], 'agent: somebody-else\ndefault: deny'))]);
    const to = await world.employ('reader');
    expect(await delegating({ to, as: world.clerk })).toBe('ok');
    world.sources = [live(yaml([]))];
    await world.member.node.governance.library.reload();
    expect(await delegating({ to, as: world.clerk })).toBe('ok');
    expect(await world.written('action.allowed')).toMatchObject([{ action: 'delegate', actor: world.clerk }]);
  });

  it('is denied, limited, and told how it ended', async () => {
    const rules = [
      `{ name: no-admin, condition: "action.type == 'delegate' && delegation.capabilities.exists(c, c.startsWith('write:'))", action: deny }`,
      `{ name: some, condition: "action.type == 'delegate'", action: allow, limit: "1/hour" }`,
    ];
    await open([live(yaml(rules))]);
    const to = await world.employ('reader');
    expect(await delegating({ to, as: world.clerk, capabilities: [{ can: 'write:data/x' }] })).toBe('policy_denied');
    expect(await delegating({ to, as: world.clerk })).toBe('ok');
    expect(await delegating({ to, as: world.clerk })).toBe('limit_exceeded');
    const [allowed] = await world.written('action.allowed');
    const ends = (await world.written('intent.settled')).filter((end) => end['intent'] === allowed?.['id']);
    expect(ends).toMatchObject([{ result: { code: 'ok' } }]);
  });

  it('is approved for just what was asked for', async () => {
    await open([live(yaml([`{ name: ask, condition: "action.type == 'delegate'", action: require_approval }`]))]);
    const to = await world.employ('reader');
    expect(await delegating({ to, as: world.clerk })).toBe('approval_pending');
    const { approvals } = await world.member.api.approvalList(
      { params: {}, query: {}, body: undefined },
      operator,
      never,
    );
    await world.judge(approvals[0]?.id ?? '');
    expect(await delegating({ to, as: world.clerk, ttlSeconds: 7200 })).toBe('approval_pending');
    expect(await delegating({ to, as: world.clerk, capabilities: [{ can: 'read:data/q3' }] })).toBe('approval_pending');
    expect(await delegating({ to, as: world.clerk, depth: 2 })).toBe('approval_pending');
    expect(await delegating({ to, as: world.clerk })).toBe('ok');
    expect(await delegating({ to, as: world.clerk })).toBe('approval_pending');
  });

  it('from a link is asked of whoever issues it', async () => {
    await open([live(yaml([`{ name: none, condition: "action.type == 'delegate'", action: deny }`], 'agent: clerk'))]);
    const to = await world.employ('reader');
    const { agent } = await world.member.api.agentShow(
      input(undefined, { did: world.clerk }) as never,
      operator,
      never,
    );
    expect(await delegating({ to, from: agent.rootLink })).toBe('policy_denied');
  });
});
