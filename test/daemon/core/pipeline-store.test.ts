import { describe, expect, test } from 'vitest';
import { compareStatements, fromHex, type Statement, toHex } from '../../../protocol/index.ts';
import {
  createAgent,
  createChildLink,
  createCredential,
  createHeartbeat,
  createOrganisation,
  createPerson,
  createRevocations,
  createRootLink,
  createRotate,
  keyOf,
  NOW_SECONDS,
  type Operation,
} from '../../builders.ts';
import { Door, formatOutcome, HeldStore, rowOf } from './pipeline-world.ts';
import { settle } from './virtual-clock.ts';

const acme = createOrganisation('acme');
const alice = createPerson(acme, 'alice');
const bot = createAgent(acme, 'bot');
const everyone = [acme, alice, bot].map(({ genesis }) => genesis);
const root = createRootLink(acme, alice, { aud: bot.did });
const rotate = createRotate(acme, 'acme 1');
const pulled = { via: 'pulled', peer: 'peer' } as const;

/** What became of a promise by now. */
async function outcomeBy<T>(promise: Promise<T>): Promise<string> {
  const waits = Symbol('waits');
  await settle();
  try {
    return (await Promise.race([promise, Promise.resolve(waits)])) === waits ? 'waits' : 'done';
  } catch (error) {
    return (error as { readonly code: string }).code;
  }
}

describe('own statements', () => {
  test('are acknowledged and told of when they are on disk, by a write that waits for the disk', async () => {
    const door = new Door().hold(...everyone);
    await door.pipeline.flush();
    door.store.hold();
    const submitted = door.pipeline.submit([rotate, root]);
    expect(await outcomeBy(submitted)).toBe('waits');
    expect(door.state.inSet(root.id)).toBe(root);
    expect(door.heard).toEqual([]);
    expect(door.store.batches.at(-1)).toMatchObject({ sync: true, writes: [{ type: 'put' }, { type: 'put' }] });
    door.store.release();
    expect(await outcomeBy(submitted)).toBe('done');
    expect(door.heard).toEqual([
      ['accepted', rotate.id, 'local'],
      ['accepted', root.id, 'local'],
    ]);
    expect(await door.rows()).toEqual([...everyone, rotate, root].map(rowOf).toSorted());
  });

  test('wait for a write of their own when one is under way', async () => {
    const door = new Door().hold(...everyone);
    await door.pipeline.flush();
    door.store.hold();
    const first = door.pipeline.submit([rotate]);
    const second = door.pipeline.submit([root]);
    expect(await outcomeBy(second)).toBe('waits');
    expect(door.store.batches.at(-1)?.writes).toHaveLength(1);
    door.store.release();
    await Promise.all([first, second]);
    expect(door.store.batches.at(-1)?.writes).toMatchObject([{ key: fromHex(rowOf(root)) }]);
  });

  test('that are held already are acknowledged, and told of no second time', async () => {
    const door = new Door().hold(...everyone, root);
    await door.pipeline.submit([root]);
    expect(door.heard).toEqual([]);
    expect(await door.rows()).toContain(rowOf(root));
  });

  test('behind a refused one are not admitted; those before it are held and told of', async () => {
    const door = new Door().hold(...everyone);
    const late = createRootLink(acme, alice, { aud: bot.did, iat: NOW_SECONDS - 4000, exp: NOW_SECONDS - 3600 });
    await expect(door.pipeline.submit([rotate, late, root])).rejects.toMatchObject({
      code: 'expired',
      data: { id: late.id },
    });
    expect(door.heard).toEqual([['accepted', rotate.id, 'local']]);
    expect(door.ids()).toEqual([...everyone, rotate].map(({ id }) => id).toSorted());
    expect(await door.rows()).toContain(rowOf(rotate));
  });

  test('with a signature that does not verify are refused', async () => {
    const door = new Door().hold(...everyone);
    const forged = { ...root, signatures: root.signatures.map(() => new Uint8Array(64)) };
    await expect(door.pipeline.submit([forged])).rejects.toMatchObject({ code: 'bad_signature' });
    expect(door.state.inSet(root.id)).toBeUndefined();
  });

  test('let in at once what waited for them', async () => {
    const door = new Door();
    door.pipeline.receive(alice.genesis.envelope, pulled);
    await door.pipeline.submit([acme.genesis]);
    expect(door.heard).toEqual([
      ['awaiting', acme.did, 'peer'],
      ['accepted', alice.genesis.id, 'pulled'],
      ['accepted', acme.genesis.id, 'local'],
    ]);
  });
});

describe('statements of others', () => {
  test('are on disk 50 ms later, all with one write and one timer', async () => {
    const door = new Door();
    for (const { envelope } of everyone) door.pipeline.receive(envelope, pulled);
    expect(door.clock.timers).toBe(1);
    expect(door.heard).toHaveLength(3); // may be handed on before
    await door.clock.advance(49);
    expect(door.store.batches).toEqual([]);
    await door.clock.advance(1);
    expect(door.store.batches).toMatchObject([{ sync: true, writes: [{}, {}, {}] }]);
    expect(door.clock.timers).toBe(0);
    door.pipeline.receive(root.envelope, pulled);
    await door.clock.advance(50);
    expect(await door.rows()).toHaveLength(4);
  });

  test('that come while a write is under way are written after it', async () => {
    const door = new Door();
    door.store.hold();
    door.pipeline.receive(acme.genesis.envelope, pulled);
    await door.clock.advance(50);
    door.pipeline.receive(alice.genesis.envelope, pulled);
    await door.clock.advance(50);
    expect(door.store.batches).toHaveLength(1);
    door.store.release();
    await settle();
    expect(door.store.batches).toHaveLength(2);
    expect(await door.rows()).toEqual([acme.genesis, alice.genesis].map(rowOf).toSorted());
  });
});

describe('after a failed write', () => {
  const failed = async (): Promise<{ readonly door: Door; readonly submitted: Promise<void> }> => {
    const door = new Door().hold(...everyone);
    await door.pipeline.flush();
    door.store.hold();
    const submitted = door.pipeline.submit([rotate]);
    submitted.catch(() => undefined); // looked at below
    await settle();
    return { door, submitted };
  };

  test('whoever waited hears read_only, whatever the store said, and nothing is told of', async () => {
    const { door, submitted } = await failed();
    const behind = door.pipeline.submit([root]);
    const flushed = door.pipeline.flush();
    const all = Promise.allSettled([submitted, behind, flushed]);
    door.store.failWith(new Error('disk on fire'));
    door.store.release();
    for (const result of await all)
      expect(result).toMatchObject({
        status: 'rejected',
        reason: { code: 'read_only', cause: { message: 'disk on fire' } },
      });
    expect(door.heard).toEqual([]);
    expect(door.store.batches).toHaveLength(2); // the one of everyone, and the failed one: none is tried again
  });

  test('nothing is admitted any more, neither in the state nor in the index', async () => {
    const { door, submitted } = await failed();
    door.store.failWith(new Error('disk on fire'));
    door.store.release();
    await expect(submitted).rejects.toMatchObject({ code: 'read_only' });
    const before = door.ids();
    expect(formatOutcome(door.pipeline.receive(root.envelope, pulled))).toBe('ignore read_only');
    const many = await door.pipeline.receiveMany(
      Array.from({ length: 20 }, () => root.envelope),
      pulled,
    );
    expect(new Set(many.map(formatOutcome))).toEqual(new Set(['ignore read_only']));
    await expect(door.pipeline.submit([root])).rejects.toMatchObject({ code: 'read_only' });
    expect(door.ids()).toEqual(before);
    expect(door.state.get(root.id)).toBeUndefined();
    await expect(door.pipeline.close()).rejects.toMatchObject({ code: 'read_only' });
  });

  test('of statements of others it is logged', async () => {
    const door = new Door();
    door.store.failWith(new Error('disk on fire'));
    door.pipeline.receive(acme.genesis.envelope, pulled);
    await door.clock.advance(50);
    expect(door.logged).toEqual(['statements cannot be written']);
    expect(formatOutcome(door.pipeline.receive(alice.genesis.envelope, pulled))).toBe('ignore read_only');
  });
});

test('close() writes what was admitted, and admits nothing more', async () => {
  const door = new Door().hold(...everyone);
  door.store.hold();
  const closed = door.pipeline.close();
  expect(formatOutcome(door.pipeline.receive(root.envelope, pulled))).toBe('ignore read_only');
  expect(await outcomeBy(closed)).toBe('waits');
  door.store.release();
  await closed;
  await expect(door.pipeline.submit([root])).rejects.toMatchObject({ code: 'read_only' });
  expect(await door.rows()).toEqual(everyone.map(rowOf).toSorted());
});

/** A new door on the same store. */
async function reopened(door: Door, options: ConstructorParameters<typeof Door>[0] = {}): Promise<Door> {
  await door.pipeline.flush();
  const again = new Door({ store: door.store, ...options });
  await again.pipeline.open();
  return again;
}

/** A store with these rows, as a pipeline would have written them. */
async function storeOf(statements: readonly Statement[]): Promise<HeldStore> {
  const store = new HeldStore();
  await store.rows.batch(
    statements.map((statement) => ({
      type: 'put',
      key: fromHex(rowOf(statement)) as Uint8Array,
      value: statement.envelope,
    })),
    { sync: true },
  );
  return store;
}

describe('open()', () => {
  const credential = createCredential(root, bot, keyOf('ephemeral'));

  test('gives what was held: the set, private links, bytes; no heartbeats', async () => {
    const revocations = createRevocations(acme, [root, bot]);
    const heartbeat = createHeartbeat(acme, { signers: [keyOf('acme 1 sign')] });
    const door = new Door().hold(...everyone, root, rotate, ...revocations, heartbeat);
    expect(formatOutcome(door.pipeline.receive(credential.envelope, { via: 'presented', peer: 'peer' }))).toBe(
      'accept',
    );
    const again = await reopened(door);
    expect(again.ids()).toEqual(door.ids());
    expect(again.ids()).toHaveLength(7);
    expect(again.pipeline.bytes).toBe(door.pipeline.bytes);
    expect(again.state.link(credential.id)?.id).toBe(credential.id);
    expect(again.state.didState(acme.did)).toEqual(door.state.didState(acme.did));
    expect(again.state.revocationsBy(acme.did).map(({ id }) => id)).toEqual(revocations.map(({ id }) => id));
    expect(door.state.heartbeatsOf(acme.did, door.clock.nowMs())).toHaveLength(1);
    expect(again.state.heartbeatsOf(acme.did, again.clock.nowMs())).toEqual([]);
    expect(formatOutcome(again.pipeline.receive(root.envelope, pulled))).toBe('ignore duplicate');
    expect(again.heard).toEqual([]);
  });

  test('reads rows that build on each other in the wrong order', async () => {
    // In reconciliation order each comes before what it builds on: dates are claims.
    const earlier = (minutes: number): { readonly iat: number } => ({ iat: NOW_SECONDS - 60 * minutes });
    const operations: Operation[] = [];
    for (let i = 1; i <= 40; i++)
      operations.push(
        createRotate(acme, `acme ${i}`, {
          ...earlier(i),
          prv: operations.at(-1) ?? acme.genesis,
          signers: [keyOf(i === 1 ? 'acme next' : `acme ${i - 1} next`)],
        }),
      );
    const late = createAgent(acme, 'late', { ...earlier(60), controllerKey: keyOf('acme 40 sign') });
    const sponsor = createPerson(acme, 'sponsor', earlier(70));
    const link = createRootLink(acme, sponsor, {
      aud: late.did,
      ...earlier(80),
      signers: [keyOf('acme 40 delegate'), sponsor.keys.delegate],
    });
    const child = createChildLink(link, late, { aud: bot.did, ...earlier(90) });
    const all: Statement[] = [acme.genesis, ...operations, late.genesis, sponsor.genesis, link, child];
    expect(all.toSorted(compareStatements)).toEqual(all.toReversed());
    const door = new Door({ store: await storeOf(all) });
    expect(await door.pipeline.open()).toEqual({ statements: all.length, unplaced: 0 });
    expect(door.ids()).toEqual(all.map(({ id }) => id).toSorted());
    expect(door.state.didState(acme.did)?.seq).toBe(40);
    expect(door.store.batches).toEqual([]);
  });

  test('takes each row a few times at most, however long the chain that they form', async () => {
    const operations: Operation[] = [];
    for (let i = 1; i <= 120; i++)
      operations.push(
        createRotate(acme, `acme ${i}`, {
          iat: NOW_SECONDS - 60 * i,
          prv: operations.at(-1) ?? acme.genesis,
          signers: [keyOf(i === 1 ? 'acme next' : `acme ${i - 1} next`)],
        }),
      );
    const door = new Door({ store: await storeOf([acme.genesis, ...operations]) });
    let admissions = 0;
    const admit = door.state.admit.bind(door.state);
    door.state.admit = (...all) => {
      admissions += 1;
      return admit(...all);
    };
    expect(await door.pipeline.open()).toEqual({ statements: 121, unplaced: 0 });
    expect(admissions).toBeLessThanOrEqual(3 * 121);
  });

  test('drops from the store what expired meanwhile', async () => {
    const door = new Door().hold(...everyone, root);
    door.pipeline.receive(credential.envelope, { via: 'presented', peer: 'peer' });
    await door.pipeline.flush();
    await door.clock.advance(1000 * (root.payload.exp + 3600 - NOW_SECONDS));
    const again = await reopened(door, { clock: door.clock });
    expect(again.ids()).toEqual(everyone.map(({ id }) => id).toSorted());
    expect(again.state.link(credential.id)).toBeUndefined();
    expect(await again.rows()).toEqual(everyone.map(rowOf).toSorted());
  });

  test('leaves on disk what has lost what it builds on, says how much, and places it when that comes', async () => {
    const door = new Door({ store: await storeOf([acme.genesis, bot.genesis, root]) });
    expect(await door.pipeline.open()).toEqual({ statements: 2, unplaced: 1 });
    expect(door.ids()).toEqual([acme.genesis.id, bot.genesis.id].toSorted());
    expect(await door.rows()).toContain(rowOf(root));
    door.hold(alice.genesis);
    const again = await reopened(door);
    expect(again.ids()).toEqual([...everyone, root].map(({ id }) => id).toSorted());
  });

  test('drops what has no place any more, from index and store alike', async () => {
    const links = Array.from({ length: 6 }, (_, i) =>
      createRootLink(acme, alice, { aud: bot.did, nonce: `${i}` }),
    ).toSorted(compareStatements);
    // Read from the highest place down, so that each but the first pushes one out.
    const store = await storeOf([...everyone, ...links]);
    const reversed = new HeldStore();
    const rows: (readonly [Uint8Array, Uint8Array])[] = [];
    for await (const row of store.range(new Uint8Array(), Uint8Array.of(255))) rows.push(row);
    reversed.range = async function* (gte) {
      if (gte[0] === 0x73) yield* rows.toReversed();
    };
    const door = new Door({ store: reversed, limits: { linksPerOrganisation: 2 } });
    await door.pipeline.open();
    const kept = [...everyone, ...links.slice(0, 2)];
    expect(door.ids()).toEqual(kept.map(({ id }) => id).toSorted());
    expect(door.pipeline.bytes).toBe(kept.reduce((sum, { envelope }) => sum + envelope.length, 0));
    const dropped = reversed.batches.flatMap(({ writes }) => writes.map(({ type, key }) => `${type} ${toHex(key)}`));
    expect(dropped.toSorted()).toEqual(
      links
        .slice(2)
        .map((link) => `del ${rowOf(link)}`)
        .toSorted(),
    );
  });

  test.each<readonly [string, string, Uint8Array]>([
    ['bytes that are no statement', rowOf(root), Uint8Array.of(1, 2, 3)],
    ['a damaged statement', rowOf(root), root.envelope.slice(0, 200)],
    ['another statement', rowOf(root), alice.genesis.envelope],
    ['a private link in the set', `73${rowOf(root).slice(2)}`, credential.envelope],
    ['a link of the set among the private ones', `76${toHex(root.digest)}`, root.envelope],
    ['a heartbeat', `76${toHex(createHeartbeat(acme).digest)}`, createHeartbeat(acme).envelope],
  ])('names the row that holds %s', async (_, row, value) => {
    const store = await storeOf(everyone);
    await store.rows.batch([{ type: 'put', key: fromHex(row) as Uint8Array, value }], { sync: true });
    await expect(new Door({ store }).pipeline.open()).rejects.toMatchObject({
      code: 'store_corrupt',
      message: expect.stringContaining(`"${row}"`),
      data: { id: row },
    });
  });

  test('leaves the rows of others alone', async () => {
    const store = await storeOf(everyone);
    const foreign = [0x72, 0x74, 0x75, 0x77].map((first) => Uint8Array.of(first, 1));
    await store.rows.batch(
      foreign.map((key) => ({ type: 'put', key, value: key })),
      { sync: true },
    );
    const door = new Door({ store });
    expect(await door.pipeline.open()).toEqual({ statements: 3, unplaced: 0 });
    expect(await door.rows()).toHaveLength(7);
  });

  test('reads a store that is empty', async () => {
    const door = new Door();
    expect(await door.pipeline.open()).toEqual({ statements: 0, unplaced: 0 });
    expect(door.store.batches).toEqual([]);
  });
});
