/** What somebody tries who wants to get away with a fork, or to stop or convict one who made none. */
import { afterEach, describe, expect, test } from 'vitest';
import { Monitor } from '../../../../daemon/core/log/monitor.ts';
import { MemoryStore } from '../../../../daemon/store/memory.ts';
import { MeshState } from '../../../../protocol/index.ts';
import { isSignatureValidSodium } from '../../../../protocol/sodium.ts';
import { VirtualClock } from '../virtual-clock.ts';
import { quiet } from './log-world.ts';
import { forkOf, History, LogKey, MonitorWorld } from './monitor-world.ts';

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
