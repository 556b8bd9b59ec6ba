/** What somebody tries who wants to get away with a fork, or to stop or convict one who made none. */
import { afterEach, describe, expect, test } from 'vitest';
import { Monitor } from '../../../../daemon/core/log/monitor.ts';
import { MemoryStore } from '../../../../daemon/store/memory.ts';
import { limits, MeshState, rawKeyOf } from '../../../../protocol/index.ts';
import { formatAddCheckpoint, signBinding, witnessVkey } from '../../../../protocol/log/index.ts';
import { isSignatureValidSodium } from '../../../../protocol/sodium.ts';
import { keyOf, NOW_SECONDS } from '../../../builders.ts';
import { VirtualClock } from '../virtual-clock.ts';
import { MemoryAnchor, quiet, type Rows, rowsOf, storeOf } from './log-world.ts';
import { input, type Member, never, NodeWorld, operator } from '../node-world.ts';
import { cosign, forkOf, History, LogKey, MonitorWorld, type Watcher, withLines } from './monitor-world.ts';

describe('a monitor', () => {
  let world: MonitorWorld;
  afterEach(async () => {
    await world.close();
  });

  test('that forgot a log for lack of room begins again with what the set holds of it, not with what is shown next', async () => {
    world = new MonitorWorld();
    const acme = await world.open('acme', { originsMax: 2 });
    const flood = await world.open('flood', { shows: () => undefined, watches: false });
    const forker = await world.open('forker', { shows: () => undefined, watches: false });
    await world.connect([acme, flood], [acme, forker]);
    const { left, right } = forkOf([8, 12], 3);
    expect(world.tell(acme, forker, await forker.log.sign(left))).toBe('accept');
    for (const generation of [1, 2, 3]) {
      const log = new LogKey('flood', generation);
      await world.during(flood.pipeline.submit([world.bindingOf({ ...flood, log })]));
      acme.monitor.noticed(await log.sign(History.of('flood', 4, 0)));
    }
    const signed = await forker.log.sign(right);
    forker.shows = () => ({ history: right, released: signed });
    world.tell(acme, forker, signed);
    await world.clock.advance(2_000);
    expect(world.convictedBy(forker)).toContain('acme');
  });

  test.each([false, true])(
    'convicts a log whose owner pushed its binding out of the set; restarted %s',
    async (again) => {
      world = new MonitorWorld();
      let acme = await world.open('acme');
      const forker = await world.open('forker', { shows: () => undefined, watches: false });
      await world.connect([acme, forker]);
      const { left, right } = forkOf([8, 8], 3);
      world.tell(acme, forker, await forker.log.sign(left));
      const { organisation, did, log, name } = forker;
      const [witnessKey, nowSeconds] = [keyOf(`${name}/witness`), NOW_SECONDS - 86_400];
      for (let generation = 1; generation <= limits.BINDINGS_PER_ORGANISATION_MAX; generation++) {
        const other = new LogKey('forker', generation);
        const terms = { iss: did, log: other.vkey, witness: witnessVkey(rawKeyOf(witnessKey.publicKey)), nowSeconds };
        const signers = { organisation: organisation.keys.sign, log: other.key, witness: witnessKey };
        await world.during(
          forker.pipeline.submit([signBinding({ ...terms, peer: organisation.node.peerId }, signers)]),
        );
      }
      expect(acme.state.bindingsOfOrigin(log.origin)).toEqual([]);
      if (again) {
        await world.restart(acme);
        acme = world.watchers.get('acme') as Watcher;
      }
      world.tell(acme, forker, await log.sign(right));
      await world.clock.advance(2_000);
      expect(world.convictedBy(forker)).toContain('acme');
    },
  );

  test('convicts a log that doubles its line, so that no proof could hold the note', async () => {
    world = new MonitorWorld();
    const acme = await world.open('acme');
    const forker = await world.open('forker', { shows: () => undefined, watches: false });
    await world.connect([acme, forker]);
    const { left, right } = forkOf([8, 8], 3);
    for (const history of [left, right]) {
      const signed = await forker.log.sign(history);
      acme.monitor.noticed(withLines(signed, signed.note.signatures), forker.network.peer);
    }
    await world.clock.advance(2_000);
    expect(world.convictedBy(forker)).toContain('acme');
  });

  test('convicts a witness beneath whose line somebody put others in its name, and lines of nobody', async () => {
    world = new MonitorWorld();
    const acme = await world.open('acme');
    const forker = await world.open('forker', { shows: () => undefined, watches: false });
    const twofaced = await world.open('twofaced', { watches: false });
    await world.connect([acme, forker], [acme, twofaced]);
    const { left, right } = forkOf([6, 6], 3);
    const [one, other] = [await forker.log.sign(left), await forker.log.sign(right)];
    const bad = cosign(other, 'twofaced').note.signatures.slice(1);
    const junk = Array.from({ length: 15 }, (_, i) => cosign(other, `nobody-${i}`).note.signatures.slice(1)).flat();
    acme.monitor.noticed(withLines(one, [...junk, ...bad]), forker.network.peer);
    acme.monitor.noticed(cosign(withLines(one, bad), 'twofaced'), forker.network.peer);
    acme.monitor.noticed(cosign(other, 'twofaced', 'twofaced'), forker.network.peer);
    await world.clock.advance(10_000);
    expect(world.convictedBy(twofaced)).toContain('acme');
  });
});

test('a note of the log that was left does not halt the one that was begun while it was looked at', async () => {
  const left = new LogKey('acme');
  const begun = new LogKey('acme', 1);
  const halted: string[] = [];
  const root = Promise.withResolvers<Uint8Array>();
  const own = {
    origin: left.origin,
    treeSize: 8,
    files: { rootAt: () => root.promise } as never,
    halt: () => void halted.push(own.origin),
  };
  const monitor = await Monitor.open({
    store: new MemoryStore(),
    clock: new VirtualClock(),
    log: quiet,
    isSignatureValid: isSignatureValidSodium,
    state: new MeshState(),
    convictions: {} as never,
    pipeline: {} as never,
    reader: {} as never,
    organisation: 'did:mesh:acme',
    ownLog: () => own,
    peersOf: () => [],
    boundPeers: () => [],
  });
  monitor.noticed(await left.sign(History.of('other', 4, 0)));
  own.origin = begun.origin;
  root.resolve(new Uint8Array(32));
  await monitor.settled();
  expect(halted).toEqual([]);
});

describe('a home that is an older copy, with its anchor', () => {
  let world: NodeWorld;
  afterEach(async () => {
    await world.close();
  });

  async function copyOf({ store }: Member) {
    const copy = await storeOf(await rowsOf(store));
    world.anchors.set(copy, new MemoryAnchor(world.anchors.get(store)?.slots));
    return copy;
  }

  async function stop({ node, network }: Member): Promise<void> {
    await world.during(node.close(), 5_000);
    await network.close();
    await world.clock.advance(1_000);
  }

  const halt = ({ node }: Member): void => node.audit.auditLog.halt({ code: 'log_halted', message: 'a test says so' });
  const begin = ({ node }: Member) => world.during(node.audit.beginGeneration('a test says so'), 15_000);

  test('begins no generation a second time', async () => {
    world = new NodeWorld();
    const acme = await world.open('acme');
    const beta = await world.open('beta');
    world.mesh.connect(acme.network, beta.network);
    await world.clock.advance(5_000);
    const backup = await copyOf(acme);
    halt(acme);
    await begin(acme);
    expect(acme.auditLog.generation).toBe(1);
    await world.clock.advance(5_000);
    await stop(acme);

    const again = await world.open('acme', backup);
    expect([again.auditLog.generation, again.auditLog.problem]).toEqual([0, undefined]);
    halt(again);
    world.mesh.connect(again.network, beta.network);
    await world.clock.advance(100);
    await begin(again);
    expect(again.auditLog.generation).toBe(2);
    await world.clock.advance(10_000);
    expect(beta.node.convictions.list()).toEqual([]);
  });

  test('shows nothing of a generation that was begun a second time before a witness has told what it knows', async () => {
    world = new NodeWorld();
    const acme = await world.open('acme');
    const beta = await world.open('beta');
    world.mesh.connect(acme.network, beta.network);
    await world.clock.advance(5_000);
    const backup = await copyOf(acme);
    halt(acme);
    await begin(acme);
    await world.clock.advance(5_000);
    await stop(acme);

    const again = await world.open('acme', backup);
    halt(again);
    await begin(again); // alone
    expect(again.auditLog.generation).toBe(1);
    world.mesh.connect(again.network, beta.network);
    await world.clock.advance(10_000);
    expect(again.auditLog.problem?.code).toBe('log_halted');
    expect(beta.node.convictions.list()).toEqual([]);
  });

  test('signs nothing where the set still holds what the log has published', async () => {
    world = new NodeWorld();
    const acme = await world.open('acme');
    const beta = await world.open('beta');
    world.mesh.connect(acme.network, beta.network);
    await world.clock.advance(5_000);
    const older = await rowsOf(acme.store);
    const anchor = new MemoryAnchor(world.anchors.get(acme.store)?.slots);
    await world.during(acme.api.sponsorCreate(input({ contact: 'alice@example.com' }), operator, never));
    await world.clock.advance(5_000);
    await stop(acme);
    const isOfLog = ([key]: Rows[number]): boolean => key[0] === 0x61 || key[0] === 0x41;
    const newer = (await rowsOf(acme.store)).filter((row) => !isOfLog(row));
    const store = await storeOf([...newer, ...older.filter(isOfLog)]);
    world.anchors.set(store, anchor);
    const again = await world.open('acme', store);
    expect(again.auditLog.problem?.message).toContain('signed a tree of');
    expect(again.auditLog.treeSize).toBe(Math.max(...anchor.sizes()));
  });

  test('cosigns nothing while it may be older than what it has cosigned', async () => {
    world = new NodeWorld();
    const acme = await world.open('acme');
    const beta = await world.open('beta');
    world.mesh.connect(acme.network, beta.network);
    await world.clock.advance(5_000);
    const signed = acme.auditLog.released();
    if (signed === undefined) throw new Error('nothing was released');
    const body = formatAddCheckpoint({ oldSize: 0, proof: [], signed });
    const ask = async ({ node }: Member) => (await node.audit.witness.addCheckpoint(body, 'somebody')).status;
    expect(await ask(beta)).toBe(409);
    const backup = await copyOf(beta);
    await stop(beta);

    const again = await world.open('beta', backup);
    expect(await ask(again)).toBe(429);
    world.mesh.connect(again.network, acme.network);
    await world.clock.advance(5_000);
    expect(await ask(again)).toBe(409);
    halt(again);
    expect(await ask(again)).toBe(429);
  });
});
