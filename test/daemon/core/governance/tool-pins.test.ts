import { describe, expect, it } from 'vitest';
import type { Approvals } from '../../../../daemon/core/governance/approvals.ts';
import { type PinTerms, ToolPins, type ToolPinsOptions } from '../../../../daemon/core/governance/tool-pins.ts';
import type { Store } from '../../../../daemon/ports.ts';
import { MemoryStore } from '../../../../daemon/store/memory.ts';
import { definitionHash } from '../../../../protocol/mcp/index.ts';
import type { PinAction, ToolDefinition, ToolState } from '../../../../protocol/policy/index.ts';
import { FragileStore, quiet, rowsOf, storeOf } from '../log/log-world.ts';
import { agent, ann, ben, cleo, GovernanceWorld } from './governance-world.ts';

const tool = (name: string, description = `does ${name}`): ToolDefinition => ({
  name,
  description,
  inputSchema: { type: 'object', properties: { path: { type: 'string' } } },
});
const terms = (changes: PinAction = 'approve', approvers: readonly string[] = []): PinTerms => ({
  agent: agent.did,
  policy: { name: 'baseline', digest: 'ab'.repeat(32) },
  changes,
  approvers,
});
const listing = (
  tools: readonly ToolDefinition[],
  more: { isComplete?: boolean; origin?: string; server?: string } = {},
) => ({
  server: 'files',
  isComplete: true,
  tools,
  ...more,
});
const statesOf = (states: readonly ToolState[]): string[] =>
  states.map(({ name, state, action }) => `${name} ${state} ${action}`);

class PinsWorld extends GovernanceWorld {
  readonly seen: string[] = [];
  approvals: Approvals | undefined;

  async pins(store: Store = new MemoryStore(), options: ToolPinsOptions = {}): Promise<ToolPins> {
    this.approvals = await this.open(store);
    return ToolPins.open(
      {
        store,
        clock: this.clock,
        log: quiet,
        approvals: this.approvals,
        events: {
          pinned: (server, hashes, approval) =>
            void this.seen.push(
              `pinned ${server}: ${Object.keys(hashes).join(' ')}${approval === undefined ? '' : ' as approved'}`,
            ),
          changed: ({ server, changes, states }) =>
            void this.seen.push(
              `${changes} ${server}: ${states.map(({ name, state }) => `${name} ${state}`).join(', ')}`,
            ),
        },
      },
      options,
    );
  }

  async approve(pins: ToolPins, state: ToolState | undefined, decision: 'approve' | 'deny' = 'approve'): Promise<void> {
    const approvals = this.approvals;
    const id = state?.approval?.id;
    if (approvals === undefined || id === undefined) throw new Error('nothing waits');
    const approval = approvals.get(id);
    const [by] = approval.approvers.length === 0 ? [ann] : [ben];
    await pins.approved(await approvals.decide(id, this.given(approval, { did: by.did, key: by.keys.sign, decision })));
  }
}

describe('check()', () => {
  it('pins what is listed until all was, and then tells what is new or changed', async () => {
    const world = new PinsWorld();
    const pins = await world.pins();
    expect(statesOf(await pins.check(listing([tool('a')], { isComplete: false }), terms()))).toEqual([
      'a pinned ignore',
    ]);
    expect(statesOf(await pins.check(listing([tool('b')]), terms()))).toEqual(['b pinned ignore']);
    expect(world.seen).toEqual(['pinned files: a', 'pinned files: b']);
    const states = await pins.check(listing([tool('a', 'sends all to me'), tool('b'), tool('c')]), terms());
    expect(statesOf(states)).toEqual(['a changed approve', 'b pinned ignore', 'c new approve']);
    expect(states[0]?.diff).toMatch(/- description: does a\n\+ description: sends all to me/);
    expect(states[0]?.approval).toEqual(states[2]?.approval);
    expect(world.seen.at(-1)).toBe('approve files: a changed, c new');
    expect(world.approvals?.list()).toMatchObject([
      {
        kind: 'tool',
        request: { action: 'tools_changed', server: 'files', tools: [{ name: 'a', state: 'changed' }, { name: 'c' }] },
      },
    ]);
  });

  it('tells a changed tool also before all were listed', async () => {
    const world = new PinsWorld();
    const pins = await world.pins();
    await pins.check(listing([tool('a')], { isComplete: false }), terms());
    expect(statesOf(await pins.check(listing([tool('a', 'other')], { isComplete: false }), terms()))).toEqual([
      'a changed approve',
    ]);
  });

  it('pins nothing more once all were listed, also of listings that are not complete', async () => {
    const world = new PinsWorld();
    const pins = await world.pins();
    await pins.check(listing([tool('a')]), terms());
    for (let i = 0; i < 2; i++)
      expect(statesOf(await pins.check(listing([tool('b')], { isComplete: false }), terms()))).toEqual([
        'b new approve',
      ]);
  });

  it('does not mind the order of members, nor `_meta`', async () => {
    const world = new PinsWorld();
    const pins = await world.pins();
    await pins.check(listing([tool('a')]), terms());
    const { inputSchema, ...rest } = tool('a');
    const same = { _meta: { seen: 2 }, inputSchema: inputSchema ?? null, ...rest };
    expect(statesOf(await pins.check(listing([same]), terms()))).toEqual(['a pinned ignore']);
  });

  it('keeps pinned what is gone: back as it was it is known, otherwise it has changed, and a new name is new', async () => {
    const world = new PinsWorld();
    const pins = await world.pins();
    await pins.check(listing([tool('a'), tool('b')]), terms());
    expect(statesOf(await pins.check(listing([tool('b')]), terms()))).toEqual(['b pinned ignore']);
    expect(statesOf(await pins.check(listing([tool('a'), tool('b')]), terms()))).toEqual([
      'a pinned ignore',
      'b pinned ignore',
    ]);
    expect(statesOf(await pins.check(listing([tool('a', 'bad'), tool('b')]), terms()))).toEqual([
      'a changed approve',
      'b pinned ignore',
    ]);
    expect(statesOf(await pins.check(listing([{ ...tool('a'), name: 'a2' }]), terms()))).toEqual(['a2 new approve']);
  });

  it('takes a server that is started in another way for another one, whatever its tools say', async () => {
    const world = new PinsWorld();
    const pins = await world.pins();
    await pins.check(listing([tool('a')], { origin: 'npx good' }), terms());
    expect(statesOf(await pins.check(listing([tool('a')], { origin: 'npx good' }), terms()))).toEqual([
      'a pinned ignore',
    ]);
    const [moved] = await pins.check(listing([tool('a')], { origin: 'npx evil' }), terms());
    expect(moved).toMatchObject({
      state: 'changed',
      action: 'approve',
      diff: expect.stringContaining('in another way') as string,
    });
    expect(statesOf(await pins.check(listing([tool('a')], { origin: 'npx evil' }), terms()))).toEqual([
      'a changed approve',
    ]);
    await world.approve(pins, moved);
    expect(statesOf(await pins.check(listing([tool('a')], { origin: 'npx evil' }), terms()))).toEqual([
      'a pinned ignore',
    ]);
    expect(statesOf(await pins.check(listing([tool('a')], { origin: 'npx good' }), terms()))).toEqual([
      'a changed approve',
    ]);
  });

  it('keeps no secret of how a server is started', async () => {
    const world = new PinsWorld();
    const store = new MemoryStore();
    const pins = await world.pins(store);
    await pins.check(listing([tool('a')], { origin: 'npx good --token hunter2' }), terms());
    await pins.check(listing([tool('a')], { origin: 'npx good --token hunter3' }), terms());
    const rows = (await rowsOf(store)).map(([, value]) => new TextDecoder().decode(value)).join('');
    expect(rows).toContain('"files"');
    expect(rows).not.toContain('hunter');
  });

  it.each(['warn', 'deny', 'ignore'] as const)(
    'leaves it at "%s" where the policies say so, and pins nothing anew',
    async (changes) => {
      const world = new PinsWorld();
      const pins = await world.pins();
      await pins.check(listing([tool('a')]), terms(changes));
      world.seen.length = 0;
      for (let i = 0; i < 2; i++)
        expect(await pins.check(listing([tool('a', 'other')]), terms(changes))).toMatchObject([
          { state: 'changed', action: changes },
        ]);
      expect(world.seen).toEqual(changes === 'ignore' ? [] : [`${changes} files: a changed`]);
      expect(world.approvals?.list({ all: true })).toEqual([]);
      expect(statesOf(await pins.check(listing([tool('a')]), terms(changes)))).toEqual(['a pinned ignore']);
    },
  );

  it('reads names that JavaScript has itself', async () => {
    const world = new PinsWorld();
    const pins = await world.pins();
    const names = ['__proto__', 'constructor', 'toString', 'hasOwnProperty'];
    await pins.check(listing([tool('a')]), terms());
    const states = await pins.check(listing(names.map((name) => tool(name))), terms());
    expect(statesOf(states)).toEqual(names.map((name) => `${name} new approve`));
    await world.approve(pins, states[0]);
    expect(statesOf(await pins.check(listing(names.map((name) => tool(name))), terms()))).toEqual(
      names.map((name) => `${name} pinned ignore`),
    );
  });

  it('refuses what it cannot tell apart, and more than it keeps', async () => {
    const world = new PinsWorld();
    const pins = await world.pins(new MemoryStore(), { serversMax: 1 });
    for (const bad of [
      [tool('a'), tool('a', 'other')],
      [{ description: 'no name' }],
      [tool('')],
      [tool('x'.repeat(257))],
    ])
      await expect(pins.check(listing(bad), terms())).rejects.toMatchObject({ code: 'malformed' });
    const many = Array.from({ length: 1_025 }, (_, i) => tool(`t${i}`));
    await expect(pins.check(listing(many), terms())).rejects.toMatchObject({ code: 'too_large' });
    await pins.check(listing([tool('a')]), terms());
    await expect(pins.check(listing([tool('a')], { server: 'mail' }), terms())).rejects.toMatchObject({
      code: 'too_large',
    });
    expect(await pins.forget('files')).toBe(true);
    await pins.check(listing([tool('a')], { server: 'mail' }), terms());
  });

  it('pins no more of a server that lists page after page without end, and keeps what is pinned', async () => {
    const pins = await new PinsWorld().pins(new MemoryStore(), { toolsMax: 3 });
    const page = (...names: string[]) =>
      pins.check(
        listing(
          names.map((name) => tool(name)),
          { isComplete: false },
        ),
        terms('deny'),
      );
    await page('a', 'b');
    await page('c');
    await expect(page('d')).rejects.toMatchObject({ code: 'too_large', data: { is: 4, want: 3 } });
    expect(statesOf(await page('a', 'c'))).toEqual(['a pinned ignore', 'c pinned ignore']);
    expect(await pins.servers()).toMatchObject([{ tools: { a: expect.any(String), c: expect.any(String) } }]);
  });

  it('tells that a definition changed that was too large to keep', async () => {
    const world = new PinsWorld();
    const pins = await world.pins();
    await pins.check(listing([tool('a', 'x'.repeat(70_000))]), terms());
    expect(await pins.check(listing([tool('a', 'x'.repeat(70_001))]), terms())).toMatchObject([
      { state: 'changed', diff: expect.stringContaining('too large to show') as string },
    ]);
    expect(statesOf(await pins.check(listing([tool('a', 'x'.repeat(70_000))]), terms()))).toEqual(['a pinned ignore']);
  });

  it('keeps telling a change that nobody can approve now', async () => {
    const world = new PinsWorld();
    const pins = await world.pins();
    for (let i = 0; i < 17; i++) await pins.check(listing([tool('a')], { server: `s${i}` }), terms());
    const states: (ToolState | undefined)[] = [];
    for (let i = 0; i < 17; i++)
      states.push((await pins.check(listing([tool('a', 'other')], { server: `s${i}` }), terms()))[0]);
    expect(statesOf(states.flatMap((state) => state ?? []))).toEqual(
      Array.from({ length: 17 }, () => 'a changed approve'),
    );
    expect(states.filter((state) => state?.approval !== undefined)).toHaveLength(16);
  });
});

describe('an approved change', () => {
  it('pins exactly what was approved', async () => {
    const world = new PinsWorld();
    const pins = await world.pins();
    await pins.check(listing([tool('a'), tool('b')]), terms('approve', ['security-team']));
    const [first] = await pins.check(listing([tool('a', 'second'), tool('b')]), terms('approve', ['security-team']));
    expect(first?.approval?.approvers).toEqual(['security-team']);
    const [meanwhile] = await pins.check(listing([tool('a', 'third'), tool('b')]), terms('approve', ['security-team']));
    expect(meanwhile?.approval?.id).not.toBe(first?.approval?.id);
    await world.approve(pins, first);
    expect(world.seen.at(-1)).toBe('pinned files: a as approved');
    expect(statesOf(await pins.check(listing([tool('a', 'second'), tool('b')]), terms()))).toEqual([
      'a pinned ignore',
      'b pinned ignore',
    ]);
    const [third] = await pins.check(listing([tool('a', 'third'), tool('b')]), terms());
    expect(third).toMatchObject({ state: 'changed', diff: expect.stringContaining('+ description: third') as string });
    expect(statesOf(await pins.check(listing([tool('a')]), terms()))).toEqual(['a changed approve']);
    expect(await pins.servers()).toMatchObject([
      { server: 'files', tools: { a: definitionHash(tool('a', 'second')), b: definitionHash(tool('b')) } },
    ]);
  });

  it('can show what changes next, page by page too', async () => {
    const world = new PinsWorld();
    const pins = await world.pins();
    await pins.check(listing([tool('a'), tool('b')]), terms());
    const [a] = await pins.check(listing([tool('a', 'second')], { isComplete: false }), terms());
    await pins.check(listing([tool('b', 'second')], { isComplete: false }), terms());
    await world.approve(pins, a);
    const [again] = await pins.check(listing([tool('a', 'third')]), terms());
    expect(again?.diff).toBe('- description: second\n+ description: third');
  });

  it('is refused for a while after it was denied', async () => {
    const world = new PinsWorld();
    const pins = await world.pins();
    await pins.check(listing([tool('a')]), terms());
    const [state] = await pins.check(listing([tool('a', 'bad')]), terms());
    await world.approve(pins, state, 'deny');
    expect(statesOf(await pins.check(listing([tool('a', 'bad')]), terms()))).toEqual(['a changed deny']);
    await world.clock.advance(60_000);
    expect(await pins.check(listing([tool('a', 'bad')]), terms())).toMatchObject([{ action: 'approve', approval: {} }]);
  });

  it('is pinned after a restart, whenever the power went', async () => {
    for (const cut of ['after the approval', 'after the pin'] as const) {
      const world = new PinsWorld();
      const store = await FragileStore.of([]);
      const pins = await world.pins(store);
      await pins.check(listing([tool('a')]), terms());
      const [state] = await pins.check(listing([tool('a', 'second')]), terms());
      if (cut === 'after the pin') await world.approve(pins, state);
      else {
        const approval = world.approvals?.get(state?.approval?.id ?? '');
        if (approval === undefined) throw new Error('nothing waits');
        await world.approvals?.decide(approval.id, world.given(approval));
      }
      const after = await world.pins(await storeOf(await store.cutPower()));
      expect(statesOf(await after.check(listing([tool('a', 'second')]), terms()))).toEqual(['a pinned ignore']);
      expect(world.approvals?.list({ all: true })).toMatchObject([{ state: 'used' }]);
      expect(world.seen.filter((line) => line === 'pinned files: a as approved')).toHaveLength(1);
    }
  });

  it('pins nothing where who approved may not any more', async () => {
    const world = new PinsWorld();
    const pins = await world.pins();
    await pins.check(listing([tool('a')]), terms());
    const [state] = await pins.check(listing([tool('a', 'second')]), terms());
    const approval = world.approvals?.get(state?.approval?.id ?? '');
    if (approval === undefined) throw new Error('nothing waits');
    const approved = await world.approvals?.decide(approval.id, world.given(approval));
    world.sponsors = [cleo.did];
    if (approved !== undefined) await pins.approved(approved);
    expect(statesOf(await pins.check(listing([tool('a', 'second')]), terms()))).toEqual(['a changed approve']);
  });
});

describe('forget()', () => {
  it('lets the server be seen for the first time again', async () => {
    const world = new PinsWorld();
    const store = await FragileStore.of([]);
    const pins = await world.pins(store);
    await pins.check(listing([tool('a')], { origin: 'x' }), terms());
    expect(await pins.forget('mail')).toBe(false);
    expect(await pins.forget('files')).toBe(true);
    const after = await world.pins(await storeOf(await store.cutPower()));
    expect(await after.servers()).toEqual([]);
    expect(statesOf(await after.check(listing([tool('a', 'other')], { origin: 'y' }), terms()))).toEqual([
      'a pinned ignore',
    ]);
  });
});
