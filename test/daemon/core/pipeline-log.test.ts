/** Statements of the audit log on their way through the pipeline, and what others hang into it. */
import { describe, expect, test } from 'vitest';
import type { Outcome, Source } from '../../../daemon/core/pipeline.ts';
import {
  type CborMap,
  decodeCbor,
  encodeCbor,
  isMeshError,
  MeshError,
  type Statement,
} from '../../../protocol/index.ts';
import { openCheckpoint } from '../../../protocol/log/index.ts';
import { createAgent, createOrganisation, createRevocation, type Identity, NOW_SECONDS } from '../../builders.ts';
import { createBinding, createCheckpoint, createFork, noteOf, ownLog } from '../../protocol/log/own-log.ts';
import { Door, formatOutcome, rowOf } from './pipeline-world.ts';
import { settle } from './virtual-clock.ts';

const acme = createOrganisation('acme');
const beta = createOrganisation('beta');
const everyone = [acme.genesis, beta.genesis];
const log = ownLog('acme');
const binding = createBinding(acme);
const fork = createFork(binding, log, [5, 9]);
const pulled: Source = { via: 'pulled', peer: 'peer' };
const gossip = (topic: 'cp' | 'rev'): Source => ({ via: 'gossip', peer: 'peer', topic });

const changed = ({ payloadBytes }: Statement, change: CborMap): Uint8Array =>
  encodeCbor([encodeCbor({ ...(decodeCbor(payloadBytes) as CborMap), ...change }), []]);
/** As long as it has to be, and by nobody. */
const spoilt = (note: Uint8Array): Uint8Array => {
  const at = note.length - 20; // a letter in the middle of the signature
  return Uint8Array.from(note, (byte, i) => (i === at ? (byte === 65 ? 66 : 65) : byte));
};

const ways: readonly (readonly [string, boolean, number])[] = [
  ['one by one', true, 1],
  ['in bulk', true, 20],
  ['in bulk without a port for it', false, 20],
];
async function offer(door: Door, envelope: Uint8Array, source: Source, count: number): Promise<Outcome> {
  const others = Array.from({ length: count - 1 }, () => new Uint8Array(1));
  return (await door.pipeline.receiveMany([...others, envelope], source)).at(-1) as Outcome;
}

describe.each(ways)('what proves itself, %s', (_, bulk, count) => {
  const doorOf = (...held: readonly Statement[]): Door => new Door({ bulk }).hold(...held);

  test.each<[string, Statement, string, Uint8Array]>([
    [
      'a checkpoint that its log did not sign',
      createCheckpoint(log, 5),
      'reject bad_signature',
      changed(createCheckpoint(log, 5), { note: spoilt(noteOf(log, 5)) }),
    ],
    ['a proof of one history', fork, 'reject bad_proof', createFork(binding, log, [5, 9], { salt: '' }).envelope],
    ['a proof against another', fork, 'reject bad_proof', changed(fork, { who: beta.did })],
    ['a proof with a spoilt note', fork, 'reject bad_proof', changed(fork, { a: spoilt(fork.payload.a) })],
    [
      'a proof with a spoilt binding',
      fork,
      'reject bad_signature',
      changed(fork, {
        binding: Uint8Array.from(binding.envelope, (byte, i) => byte ^ (i === binding.envelope.length - 1 ? 1 : 0)),
      }),
    ],
  ])('is refused as %s, and accepted as it was', async (__, good, want, envelope) => {
    const door = doorOf(...everyone, binding);
    const outcome = await offer(door, envelope, pulled, count);
    expect(formatOutcome(outcome)).toBe(want);
    expect(door.heard.at(-1)).toEqual(['refused', want.split(' ')[1], 'pulled']);
    expect(door.ids()).toHaveLength(3);
    expect(formatOutcome(await offer(door, good.envelope, pulled, count))).toBe('accept');
    expect(door.ids()).toHaveLength(4);
  });
});

describe('a checkpoint', () => {
  test('waits for a binding of its log, and is judged and told of when one comes', async () => {
    const door = new Door().hold(...everyone);
    const checkpoint = createCheckpoint(log, 5);
    expect(formatOutcome(door.pipeline.receive(checkpoint.envelope, gossip('cp')))).toBe(`pending ${log.vkey.name}`);
    expect(door.heard).toEqual([]);
    expect(formatOutcome(door.pipeline.receive(binding.envelope, gossip('cp')))).toBe('accept');
    expect(door.heard).toEqual([
      ['accepted', binding.id, 'gossip'],
      ['accepted', checkpoint.id, 'gossip'],
    ]);
    expect(door.pipeline.pendingCount).toBe(0);
    await door.clock.advance(50);
    expect(await door.rows()).toEqual([...everyone, binding, checkpoint].map(rowOf).toSorted());
  });

  test('that is superseded leaves the index and the store', async () => {
    const [small, large] = [createCheckpoint(log, 5), createCheckpoint(log, 6)];
    const door = new Door().hold(...everyone, binding, small);
    expect(formatOutcome(door.pipeline.receive(large.envelope, pulled))).toBe('accept');
    expect(door.heard).toEqual([
      ['removed', small.id],
      ['accepted', large.id, 'pulled'],
    ]);
    await door.clock.advance(50);
    expect(await door.rows()).toEqual([...everyone, binding, large].map(rowOf).toSorted());
  });

  test('is of those who bind its log where the store is full', () => {
    const door = new Door({ statementsMax: 4 }).hold(...everyone, binding, createBinding(beta));
    const checkpoint = createCheckpoint(log, 5);
    expect(formatOutcome(door.pipeline.receive(checkpoint.envelope, pulled))).toBe('ignore full');
    expect(formatOutcome(door.pipeline.receive(fork.envelope, pulled))).toBe('ignore full');
    door.pipeline.setInUse(acme.did, true);
    expect(formatOutcome(door.pipeline.receive(checkpoint.envelope, pulled))).toBe('accept');
    expect(formatOutcome(door.pipeline.receive(fork.envelope, pulled))).toBe('accept');
    expect(formatOutcome(door.pipeline.receive(createCheckpoint(ownLog('beta'), 1).envelope, pulled))).toBe(
      'ignore full',
    );
  });
});

test('all of it is read back from the store, which has checkpoints and proofs before what they need', async () => {
  const [one, other] = ['one', 'other'].map((name) => createOrganisation(name, { iat: NOW_SECONDS - 86_400 })) as [
    Identity,
    Identity,
  ];
  // In the order of rows the first to bind the shared log is one that has no place for it.
  const claims = [5, 4, 3, 2, 1, 0].map((generation, i) =>
    createBinding(other, { log: ownLog('other', generation), iat: NOW_SECONDS - 6_000 + 600 * i }),
  );
  const shared = createBinding(one, { log: ownLog('other', 0) });
  const checkpoints = [createCheckpoint(ownLog('other', 0), 2), createCheckpoint(ownLog('other', 3), 2)];
  const proof = createFork(shared, ownLog('other', 0), [5, 9]);
  const door = new Door().hold(one.genesis, other.genesis, shared, ...claims, ...checkpoints, proof);
  await door.pipeline.close();
  const again = new Door({ store: door.store });
  expect(await again.pipeline.open()).toEqual({ statements: door.state.size, unplaced: 0 });
  expect(again.ids()).toEqual(door.ids());
  expect(again.state.convictionsOf(one.did).map(({ id }) => id)).toEqual([proof.id]);
  expect(again.state.checkpointOf(ownLog('other', 0).vkey.name)?.id).toBe(checkpoints[0]?.id);
  expect(await again.rows()).toEqual(await door.rows());
});

describe('those who listen', () => {
  function watched(...held: readonly Statement[]): { readonly door: Door; readonly seen: string[] } {
    const door = new Door().hold(...held);
    const seen: string[] = [];
    door.pipeline.listen({
      seen: ({ payload }, { via }) => {
        const { treeSize } = openCheckpoint(payload);
        seen.push(`${treeSize} ${via}`);
      },
    });
    return { door, seen };
  }

  test('see every checkpoint that verifies, whatever becomes of it', async () => {
    const { door, seen } = watched(...everyone, binding);
    const other = createCheckpoint(log, 5, 'other');
    const sizes = [5, 7, 3].map((size) => createCheckpoint(log, size));
    for (const { envelope } of sizes) door.pipeline.receive(envelope, gossip('cp'));
    await door.pipeline.receiveMany(
      [other, createCheckpoint(ownLog('beta'), 1)].map(({ envelope }) => envelope),
      pulled,
    );
    expect(seen).toEqual(['5 gossip', '7 gossip', '3 gossip', '5 pulled', '1 pulled']);
    expect(door.pipeline.pendingCount).toBe(1); // that of beta
    const many = Array.from({ length: 30 }, (_, i) => createCheckpoint(log, i % 10, `${i}`).envelope);
    await door.pipeline.receiveMany(many, { via: 'put', peer: 'b' });
    expect(seen.length).toBe(35);
    await door.pipeline.submit([createCheckpoint(log, 40)]);
    expect(seen.at(-1)).toBe('40 local');
  });

  test('see none that is held already, that does not verify or that came over another topic', async () => {
    const held = createCheckpoint(log, 5);
    const { door, seen } = watched(...everyone, binding, held);
    door.pipeline.receive(held.envelope, gossip('cp'));
    await door.pipeline.submit([held]);
    door.pipeline.receive(changed(held, { note: spoilt(held.payload.note) }), gossip('cp'));
    door.pipeline.receive(createCheckpoint(log, 6).envelope, gossip('rev'));
    door.pipeline.receive(fork.envelope, pulled);
    await door.pipeline.receiveMany(
      Array.from({ length: 20 }, (_, i) => changed(held, { note: spoilt(noteOf(log, i)) })),
      pulled,
    );
    expect(seen).toEqual([]);
  });

  test('see it before it is admitted, and one that waited not again when it is', () => {
    const { door, seen } = watched(...everyone);
    const checkpoint = createCheckpoint(log, 5);
    let wasHeld: boolean | undefined;
    door.pipeline.listen({ seen: ({ id }) => (wasHeld = door.state.inSet(id) !== undefined) });
    door.pipeline.receive(checkpoint.envelope, gossip('cp'));
    expect(wasHeld).toBe(false);
    door.pipeline.receive(binding.envelope, gossip('cp'));
    expect(door.state.inSet(checkpoint.id)).toBeDefined();
    expect(seen).toEqual(['5 gossip']);
  });
});

describe('what is asked before own statements are kept', () => {
  const agent = createAgent(acme, 'agent');
  const revocation = createRevocation(acme, agent);

  test('is asked about all of them at once before any is admitted, and hears that they are kept', async () => {
    let goOn = (): void => {};
    const asked: string[][] = [];
    const ended: (string | undefined)[] = [];
    const door: Door = new Door({
      beforeKept: async (statements) => {
        asked.push(statements.map(({ id }) => id));
        await new Promise<void>((resolve) => (goOn = resolve));
        return (error) => ended.push(error?.code);
      },
    }).hold(...everyone);
    const done = door.pipeline.submit([agent.genesis, revocation]);
    await settle();
    expect(asked).toEqual([[agent.genesis.id, revocation.id]]);
    expect(door.ids()).toHaveLength(2);
    goOn();
    await done;
    expect(ended).toEqual([undefined]);
    expect(door.ids()).toHaveLength(4);
  });

  test('refuses them by throwing: none is held', async () => {
    const door = new Door({
      beforeKept: async () => {
        throw new MeshError('busy', 'Cannot write ahead');
      },
    }).hold(...everyone);
    await expect(door.pipeline.submit([agent.genesis])).rejects.toMatchObject({ code: 'busy' });
    expect(door.ids()).toHaveLength(2);
    expect(door.heard).toEqual([]);
  });

  test('hears what the door says, and that a write failed', async () => {
    const ended: (string | undefined)[] = [];
    const door = new Door({ beforeKept: async () => (error) => ended.push(error?.code) }).hold(...everyone);
    const unknown = createRevocation(createOrganisation('gamma'), agent);
    await expect(door.pipeline.submit([agent.genesis, unknown])).rejects.toMatchObject({ code: 'pending' });
    door.store.failWith(new Error('disk full'));
    await expect(door.pipeline.submit([revocation])).rejects.toMatchObject({ code: 'read_only' });
    expect(ended).toEqual(['pending', 'read_only']);
  });

  test('is not asked about what does not verify, nor about what others send', async () => {
    let count = 0;
    const door = new Door({
      beforeKept: async () => {
        count += 1;
        return () => {};
      },
    }).hold(...everyone);
    const forged = { ...revocation, signatures: [new Uint8Array(64)] };
    const code = await door.pipeline.submit([agent.genesis, forged]).catch((error: unknown) => {
      if (isMeshError(error)) return error.code;
      throw error;
    });
    expect(code).toBe('bad_signature');
    expect(door.ids()).toHaveLength(2);
    door.pipeline.receive(agent.genesis.envelope, pulled);
    expect(count).toBe(0);
    await door.pipeline.submit([revocation]);
    expect(count).toBe(1);
  });
});
