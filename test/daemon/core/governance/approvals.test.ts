import { describe, expect, it } from 'vitest';
import { boundedRequest, pendingApproval } from '../../../../daemon/core/governance/approvals.ts';
import { MemoryStore } from '../../../../daemon/store/memory.ts';
import { isMeshError } from '../../../../protocol/index.ts';
import { createDeactivate, createRevocation, createRotate, keyOf } from '../../../builders.ts';
import { FragileStore, storeOf } from '../log/log-world.ts';
import { settle } from '../virtual-clock.ts';
import { acme, agent, ann, ben, cleo, GovernanceWorld, outsider, outsiderDid, wanted } from './governance-world.ts';

const MINUTE = 60_000;
const asBen = { did: ben.did, key: ben.keys.sign };
const asCleo = { did: cleo.did, key: cleo.keys.sign };

describe('request()', () => {
  it('gives what waits an id, its time, and tells of it once', async () => {
    const world = new GovernanceWorld();
    await using approvals = await world.open();
    const { approval, isNew } = await approvals.request(wanted());
    expect(isNew).toBe(true);
    expect(approval).toMatchObject({
      digest: wanted().digest,
      request: wanted().request,
      state: 'pending',
      decisions: [],
    });
    expect(approval.id).toMatch(/^[0-9a-f]{16}$/);
    expect(pendingApproval(approval)).toEqual({
      id: approval.id,
      approvers: [],
      quorum: 1,
      expiresAt: new Date(world.clock.nowMs() + 15 * MINUTE).toISOString(),
    });
    expect(approvals.get(approval.id)).toEqual(approval);
    expect(approvals.list()).toEqual([approval]);
    expect(approvals.mayDecide(approval)).toEqual([ann.did, ben.did]);
    expect(world.told).toEqual([`requested ${approval.id}`]);
  });

  it('joins what waits already, also while that is being written', async () => {
    const world = new GovernanceWorld();
    await using approvals = await world.open();
    const [first, second] = await Promise.all([approvals.request(wanted()), approvals.request(wanted())]);
    const third = await approvals.request(wanted());
    expect([first.isNew, second.isNew, third.isNew]).toEqual([true, false, false]);
    expect([second.approval.id, third.approval.id]).toEqual([first.approval.id, first.approval.id]);
    expect(world.told).toHaveLength(1);
  });

  it.each([
    ['digest', { digest: 'd2'.repeat(32) }],
    ['agent', { agent: ben.did }],
    ['approvers', { approvers: ['security-team'] }],
    ['quorum', { quorum: 2 }],
    ['kind', { kind: 'tool' as const }],
  ])('does not join one of another %s', async (_what, more) => {
    const world = new GovernanceWorld();
    await using approvals = await world.open();
    const { approval } = await approvals.request(wanted());
    const other = await approvals.request(wanted(more));
    expect(other.isNew).toBe(true);
    expect(other.approval.id).not.toBe(approval.id);
  });

  it('refuses more than an agent, or all together, may have waiting, also at once', async () => {
    const world = new GovernanceWorld();
    await using approvals = await world.open(new MemoryStore(), { pendingMax: 5, pendingAnAgentMax: 3 });
    const ask = (i: number, who: string) =>
      approvals.request(wanted({ digest: i.toString(16).padStart(64, '0'), agent: who })).then(
        () => 'asked',
        (error: unknown) => (isMeshError(error) ? error.code : 'fault'),
      );
    expect(await Promise.all([1, 2, 3, 4].map((i) => ask(i, agent.did)))).toEqual(['asked', 'asked', 'asked', 'busy']);
    expect(await Promise.all([5, 6, 7].map((i) => ask(i, ben.did)))).toEqual(['asked', 'asked', 'busy']);
    const [newest] = approvals.list({ agent: agent.did });
    if (newest === undefined) throw new Error('nothing waits');
    await approvals.decide(newest.id, world.given(newest, { decision: 'deny' }));
    expect(await ask(8, agent.did)).toBe('asked');
  });

  it('answers with the denial for a minute after it, then asks anew', async () => {
    const world = new GovernanceWorld();
    await using approvals = await world.open();
    const { approval } = await approvals.request(wanted());
    await approvals.decide(approval.id, world.given(approval, { decision: 'deny', at: '2001-01-01T00:00:00Z' }));
    await world.clock.advance(59_000);
    expect(await approvals.request(wanted())).toMatchObject({
      isNew: false,
      approval: { id: approval.id, state: 'denied' },
    });
    await world.clock.advance(1_000);
    expect(await approvals.request(wanted())).toMatchObject({ isNew: true, approval: { state: 'pending' } });
  });

  it('shows the approver no more than fits, and of long texts both ends', () => {
    const short = { tool: 'write', arguments: { text: 'x'.repeat(100) } };
    expect(boundedRequest(short, 1_000)).toBe(short);
    const long = boundedRequest(
      { tool: 'write', arguments: { path: '/a', text: `begin${'é'.repeat(5_000)}end` } },
      2_000,
    );
    expect(long).toMatchObject({ tool: 'write', arguments: { path: '/a' } });
    expect(JSON.stringify(long)).toMatch(/begin.*\(4496 characters are not shown\).*end/);
    const many = boundedRequest(
      { tool: 'write', arguments: Object.fromEntries(Array.from({ length: 900 }, (_, i) => [`"😀${i}`, '"😀"'])) },
      2_000,
    );
    expect(new TextEncoder().encode(JSON.stringify(many)).length).toBeLessThanOrEqual(2_000);
    expect(many).toMatchObject({
      cut: expect.stringContaining('"tool":"write"') as string,
      bytes: expect.any(Number) as number,
    });
  });
});

describe('decide()', () => {
  it('approves by a signature of a sponsor, after the log holds it, and tells of it', async () => {
    const world = new GovernanceWorld();
    await using approvals = await world.open();
    const { approval } = await approvals.request(wanted());
    const decided = await approvals.decide(approval.id, world.given(approval));
    expect(decided).toMatchObject({
      state: 'approved',
      decidedMs: world.clock.nowMs(),
      decisions: [{ approver: ann.did, decision: 'approve', reason: 'looked at it', key: ann.keys.sign.text }],
    });
    expect(world.log).toEqual([`approve ${approval.id}: approved`, 'settled: ok']);
    expect(world.told).toEqual([`requested ${approval.id}`, `approved ${approval.id}`]);
    expect(approvals.list()).toEqual([]);
    expect(approvals.list({ all: true })).toEqual([decided]);
    expect(approvals.list({ all: true, agent: ben.did })).toEqual([]);
  });

  it('counts different people, and one twice only once', async () => {
    const world = new GovernanceWorld();
    await using approvals = await world.open();
    const { approval } = await approvals.request(wanted({ approvers: ['security-team'], quorum: 2 }));
    expect(await approvals.decide(approval.id, world.given(approval, asBen))).toMatchObject({ state: 'pending' });
    const again = await approvals.decide(approval.id, world.given(approval, { ...asBen, reason: 'sure' }));
    expect(again).toMatchObject({ state: 'pending', decisions: [{ reason: 'sure' }] });
    expect(await approvals.decide(approval.id, world.given(approval, asCleo))).toMatchObject({ state: 'approved' });
    expect(world.told).toEqual([`requested ${approval.id}`, `approved ${approval.id}`]);
  });

  it('lets one denial end it, also of somebody who approved before', async () => {
    const world = new GovernanceWorld();
    await using approvals = await world.open();
    const { approval } = await approvals.request(wanted({ quorum: 2 }));
    await approvals.decide(approval.id, world.given(approval));
    const denied = await approvals.decide(approval.id, world.given(approval, { decision: 'deny' }));
    expect(denied).toMatchObject({ state: 'denied', decisions: [{ decision: 'deny' }] });
    await expect(approvals.decide(approval.id, world.given(approval, asBen))).rejects.toMatchObject({
      code: 'conflict',
    });
    expect(await approvals.take(wanted({ quorum: 2 }))).toBeUndefined();
  });

  it('answers the same decision, sent again, as before', async () => {
    const world = new GovernanceWorld();
    await using approvals = await world.open();
    const { approval } = await approvals.request(wanted());
    const given = world.given(approval);
    const [first, second] = await Promise.all([
      approvals.decide(approval.id, given),
      approvals.decide(approval.id, given),
    ]);
    expect(second).toEqual(first);
    expect(world.log).toHaveLength(2);
  });

  it('takes a did:key that the configuration names', async () => {
    const world = new GovernanceWorld();
    await using approvals = await world.open();
    const { approval } = await approvals.request(wanted({ approvers: [outsiderDid] }));
    expect(approvals.mayDecide(approval)).toEqual([outsiderDid]);
    const asOutsider = { did: outsiderDid, key: outsider };
    expect(await approvals.decide(approval.id, world.given(approval, asOutsider))).toMatchObject({ state: 'approved' });
  });

  it.each([
    ['somebody whom the names do not stand for', { did: cleo.did, key: cleo.keys.sign }, 'forbidden'],
    ['a did:key that nobody named', { did: outsiderDid, key: outsider }, 'forbidden'],
    ['the signature of another person', { key: ben.keys.sign }, 'bad_signature'],
    ['the signature of a key for other uses', { key: ann.keys.auth }, 'bad_signature'],
    ['a signature over another approval', { id: '0'.repeat(16) }, 'bad_signature'],
    ['a signature over another request', { digest: 'd2'.repeat(32) }, 'bad_signature'],
    ['a decision of tomorrow', { at: '2099-01-01T00:00:00Z' }, 'too_early'],
  ])('refuses %s', async (_what, more, code) => {
    const world = new GovernanceWorld();
    await using approvals = await world.open();
    const { approval } = await approvals.request(wanted());
    await expect(approvals.decide(approval.id, world.given(approval, more))).rejects.toMatchObject({ code });
    expect(approvals.get(approval.id)).toEqual(approval);
    expect(world.log).toEqual([]);
  });

  it('refuses a signature for the other decision, or another reason', async () => {
    const world = new GovernanceWorld();
    await using approvals = await world.open();
    const { approval } = await approvals.request(wanted());
    const denial = world.given(approval, { decision: 'deny' });
    for (const given of [
      { ...denial, decision: 'approve' as const },
      { ...denial, reason: 'go ahead' },
    ])
      await expect(approvals.decide(approval.id, given)).rejects.toMatchObject({ code: 'bad_signature' });
  });

  it('never takes an agent, even where the configuration names it, nor an organisation', async () => {
    const world = new GovernanceWorld();
    await using approvals = await world.open();
    for (const who of [agent, acme]) {
      const { approval } = await approvals.request(wanted({ approvers: [who.did] }));
      expect(approvals.mayDecide(approval)).toEqual([]);
      const given = world.given(approval, { did: who.did, key: who.keys.sign });
      await expect(approvals.decide(approval.id, given)).rejects.toMatchObject({ code: 'forbidden' });
    }
  });

  it('refuses a person who is revoked, or whose log is not held, and a key that is no longer theirs', async () => {
    const world = new GovernanceWorld();
    await using approvals = await world.open();
    const { approval } = await approvals.request(wanted());
    world.admit(createRotate(ben, 'ben later', {}));
    await expect(approvals.decide(approval.id, world.given(approval, asBen))).rejects.toMatchObject({
      code: 'bad_signature',
    });
    world.admit(createRevocation(acme, ann));
    await expect(approvals.decide(approval.id, world.given(approval))).rejects.toMatchObject({ code: 'revoked' });
    const unknown = 'did:mesh:bafyreigv7ch4tu6ee2iq2eyxvdmdsv5dh4gxtr4oltz3q6mfiofrlmi3fe';
    world.sponsors = [unknown];
    await expect(
      approvals.decide(approval.id, world.given(approval, { did: unknown, key: keyOf('x') })),
    ).rejects.toMatchObject({
      code: 'did_unknown',
    });
  });

  it('refuses a person whose DID is deactivated', async () => {
    const world = new GovernanceWorld();
    await using approvals = await world.open();
    const { approval } = await approvals.request(wanted());
    world.admit(createDeactivate(ann));
    await expect(approvals.decide(approval.id, world.given(approval))).rejects.toMatchObject({ code: 'revoked' });
    expect(approvals.mayDecide(approval)).toEqual([ben.did]);
  });

  it('refuses a key that the organisation or the person revoked', async () => {
    const world = new GovernanceWorld();
    await using approvals = await world.open();
    const { approval } = await approvals.request(wanted());
    world.admit(createRevocation(acme, { of: ann, key: ann.keys.sign }));
    await expect(approvals.decide(approval.id, world.given(approval))).rejects.toMatchObject({ code: 'bad_signature' });
    expect(approvals.mayDecide(approval)).toEqual([ben.did]);
  });

  it('decides nothing that the log cannot hold', async () => {
    const world = new GovernanceWorld();
    await using approvals = await world.open();
    const { approval } = await approvals.request(wanted());
    world.logFailure = new Error('the log is full');
    await expect(approvals.decide(approval.id, world.given(approval))).rejects.toThrow('the log is full');
    expect(approvals.get(approval.id)).toEqual(approval);
    expect(await approvals.take(wanted())).toBeUndefined();
    world.logFailure = undefined;
    expect(await approvals.decide(approval.id, world.given(approval))).toMatchObject({ state: 'approved' });
  });

  it('refuses what is over, and what never was', async () => {
    const world = new GovernanceWorld();
    await using approvals = await world.open();
    const { approval } = await approvals.request(wanted());
    world.clock.step(15 * MINUTE);
    await expect(approvals.decide(approval.id, world.given(approval))).rejects.toMatchObject({ code: 'expired' });
    await expect(approvals.decide('0'.repeat(16), world.given(approval))).rejects.toMatchObject({ code: 'not_found' });
  });
});

describe('take()', () => {
  it('gives an approval to one alone', async () => {
    const world = new GovernanceWorld();
    await using approvals = await world.open();
    const { approval } = await approvals.request(wanted());
    expect(await approvals.take(wanted())).toBeUndefined();
    await approvals.decide(approval.id, world.given(approval));
    const taken = await Promise.all([1, 2, 3].map(() => approvals.take(wanted())));
    expect(taken.filter((each) => each !== undefined)).toMatchObject([
      { approval: { id: approval.id, state: 'used' } },
    ]);
    expect(approvals.get(approval.id)).toMatchObject({ state: 'used' });
    expect(await approvals.request(wanted())).toMatchObject({ isNew: true });
  });

  it('gives nothing for other terms', async () => {
    const world = new GovernanceWorld();
    await using approvals = await world.open();
    const { approval } = await approvals.request(wanted());
    await approvals.decide(approval.id, world.given(approval));
    for (const more of [{ digest: 'd2'.repeat(32) }, { agent: ben.did }, { approvers: [ann.did] }, { quorum: 2 }])
      expect(await approvals.take(wanted(more))).toBeUndefined();
    expect(await approvals.take(wanted())).toBeDefined();
  });

  it('gives nothing once its time is over, whatever the timers say', async () => {
    const world = new GovernanceWorld();
    await using approvals = await world.open();
    const { approval } = await approvals.request(wanted());
    await approvals.decide(approval.id, world.given(approval));
    world.clock.step(15 * MINUTE);
    expect(await approvals.take(wanted())).toBeUndefined();
    expect(approvals.get(approval.id)).toMatchObject({ state: 'expired' });
  });

  it('gives nothing where those who approved may not any more', async () => {
    const world = new GovernanceWorld();
    await using approvals = await world.open();
    const { approval } = await approvals.request(wanted());
    await approvals.decide(approval.id, world.given(approval));
    world.sponsors = [ben.did];
    expect(await approvals.take(wanted())).toBeUndefined();
    expect(await approvals.request(wanted())).toMatchObject({ isNew: true });
    world.sponsors = [ann.did];
    world.admit(createRevocation(acme, ann));
    expect(await approvals.take(wanted())).toBeUndefined();
  });

  it('can be given back', async () => {
    const world = new GovernanceWorld();
    const store = await FragileStore.of([]);
    const approvals = await world.open(store);
    const { approval } = await approvals.request(wanted());
    await approvals.decide(approval.id, world.given(approval));
    await (await approvals.take(wanted()))?.giveBack();
    await using reopened = await world.open(await storeOf(await store.cutPower()));
    expect(await reopened.take(wanted())).toMatchObject({ approval: { id: approval.id } });
    expect(await reopened.take(wanted())).toBeUndefined();
  });
});

describe('wait()', () => {
  it('ends with the decision, for all who wait', async () => {
    const world = new GovernanceWorld();
    await using approvals = await world.open();
    const { approval } = await approvals.request(wanted());
    const waits = [approvals.wait(approval.id), approvals.wait(approval.id, { waitMs: MINUTE })];
    await world.clock.advance(1_000);
    await approvals.decide(approval.id, world.given(approval));
    expect((await Promise.all(waits)).map(({ state }) => state)).toEqual(['approved', 'approved']);
    expect((await approvals.wait(approval.id)).state).toBe('approved');
    expect(world.clock.timers).toBe(1); // of the approval itself, which may lapse
  });

  it('ends when its time is over, and tells of it once', async () => {
    const world = new GovernanceWorld();
    await using approvals = await world.open();
    const { approval } = await approvals.request(wanted());
    const wait = approvals.wait(approval.id);
    await world.clock.advance(15 * MINUTE);
    expect((await wait).state).toBe('expired');
    expect(world.told).toEqual([`requested ${approval.id}`, `expired ${approval.id}`]);
    expect(world.clock.timers).toBe(0);
  });

  it('goes on where the clock was set back', async () => {
    const world = new GovernanceWorld();
    await using approvals = await world.open();
    const { approval } = await approvals.request(wanted());
    const wait = approvals.wait(approval.id);
    world.clock.step(-MINUTE);
    await world.clock.advance(15 * MINUTE);
    expect(approvals.get(approval.id).state).toBe('pending');
    await world.clock.advance(MINUTE);
    expect((await wait).state).toBe('expired');
  });

  it('ends with what is pending after the time given, and when cancelled or closed', async () => {
    const world = new GovernanceWorld();
    const approvals = await world.open();
    const { approval } = await approvals.request(wanted());
    const short = approvals.wait(approval.id, { waitMs: 10 });
    const controller = new AbortController();
    const cancelled = approvals.wait(approval.id, { signal: controller.signal });
    const rest = approvals.wait(approval.id);
    const outcomes = Promise.allSettled([short, cancelled, rest]);
    await world.clock.advance(10);
    controller.abort();
    await settle();
    await approvals.close();
    expect(await outcomes).toMatchObject([
      { value: { state: 'pending' } },
      { reason: { code: 'cancelled' } },
      { reason: { code: 'closed' } },
    ]);
    await expect(approvals.wait(approval.id, { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'cancelled',
    });
    await expect(approvals.request(wanted({ quorum: 3 }))).rejects.toMatchObject({ code: 'closed' });
    expect(world.clock.timers).toBe(0);
  });
});

describe('after a restart', () => {
  it('has every change that was acknowledged before the power went, and no other', async () => {
    const world = new GovernanceWorld();
    const store = await FragileStore.of([]);
    const before = await world.open(store);
    const make = async (digest: string, quorum = 1) =>
      (await before.request(wanted({ digest: digest.repeat(32), quorum }))).approval;
    const [waits, half, approved, denied, used] = [
      await make('a1'),
      await make('a2', 2),
      await make('a3'),
      await make('a4'),
      await make('a5'),
    ];
    await before.decide(half.id, world.given(half));
    await before.decide(approved.id, world.given(approved));
    await before.decide(denied.id, world.given(denied, { decision: 'deny' }));
    await before.decide(used.id, world.given(used));
    await before.take(used);

    await using after = await world.open(await storeOf(await store.cutPower()));
    expect([waits, half, approved, denied, used].map(({ id }) => after.get(id).state)).toEqual([
      'pending',
      'pending',
      'approved',
      'denied',
      'used',
    ]);
    expect(
      after
        .list()
        .map(({ id }) => id)
        .sort(),
    ).toEqual([waits.id, half.id].sort());
    expect(await after.request(wanted({ digest: waits.digest }))).toMatchObject({ isNew: false });
    expect(await after.decide(half.id, world.given(half, asBen))).toMatchObject({ state: 'approved' });
    expect(await after.take(approved)).toBeDefined();
    expect(await after.take(used)).toBeUndefined();
  });

  it('lets what waited expire that expired meanwhile, and tells of it', async () => {
    const world = new GovernanceWorld();
    const store = new MemoryStore();
    const before = await world.open(store);
    const { approval } = await before.request(wanted());
    await before.close();
    await world.clock.advance(20 * MINUTE);
    world.told.length = 0;
    await using after = await world.open(store);
    expect(after.get(approval.id).state).toBe('expired');
    await world.clock.advance(0);
    expect(world.told).toEqual([`expired ${approval.id}`]);
    await using later = await world.open(store);
    await world.clock.advance(0);
    expect(later.get(approval.id).state).toBe('expired');
    expect(world.told).toHaveLength(1);
  });

  it('acknowledges nothing that could not be written', async () => {
    const world = new GovernanceWorld();
    const store = await FragileStore.of([]);
    const before = await world.open(store);
    const { approval } = await before.request(wanted());
    store.failsAt = store.batches + 1;
    await expect(before.decide(approval.id, world.given(approval))).rejects.toThrow('no space left');
    expect(before.get(approval.id).state).toBe('pending');
    expect(world.log.at(-1)).toBe('settled: internal');
    await using after = await world.open(await storeOf(await store.cutPower()));
    expect(after.get(approval.id).state).toBe('pending');
  });

  it('answers store_corrupt for rows that it did not write', async () => {
    const world = new GovernanceWorld();
    const store = new MemoryStore();
    await store.batch([{ type: 'put', key: Uint8Array.of(0x67, 0x61, 1), value: Uint8Array.of(0x7b) }], { sync: true });
    await expect(world.open(store)).rejects.toMatchObject({ code: 'store_corrupt' });
  });
});

describe('what ended', () => {
  it('is forgotten a while after its time, and the oldest where there are too many', async () => {
    const world = new GovernanceWorld();
    const store = new MemoryStore();
    await using approvals = await world.open(store, { keptMax: 2, keepMs: MINUTE });
    const ids: string[] = [];
    for (const digest of ['a1', 'a2', 'a3']) {
      const { approval } = await approvals.request(wanted({ digest: digest.repeat(32) }));
      await approvals.decide(approval.id, world.given(approval, { decision: 'deny' }));
      ids.push(approval.id);
      await world.clock.advance(1_000);
    }
    expect(approvals.list({ all: true }).map(({ id }) => id)).toEqual([ids[2], ids[1]]);
    await world.clock.advance(16 * MINUTE);
    const { approval } = await approvals.request(wanted());
    expect(approvals.list({ all: true }).map(({ id }) => id)).toEqual([approval.id]);
    await settle();
    await using reopened = await world.open(store);
    expect(reopened.list({ all: true }).map(({ id }) => id)).toEqual([approval.id]);
  });
});
