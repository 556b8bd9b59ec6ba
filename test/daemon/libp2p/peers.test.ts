import { beforeEach, describe, expect, test } from 'vitest';
import { type KnownPeer, Peers, type PinnedPeer } from '../../../daemon/libp2p/peers.ts';
import { limits } from '../../../protocol/index.ts';
import { seededRandom } from '../../fuzz/random.ts';
import { VirtualClock } from '../core/virtual-clock.ts';
import { quietLog } from './world.ts';

const SEED = 20_261_122;
const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;

const addressOf = (peer: string): string => `/dns4/${peer}/tcp/4001`;

/** Peers that are up answer; the loop under test does the rest. */
class Neighbourhood {
  readonly clock = new VirtualClock();
  readonly up = new Set<string>();
  readonly connected = new Set<string>();
  readonly hungUp: string[] = [];
  dials: { peer: string; atMs: number }[] = [];
  saved: readonly KnownPeer[] = [];
  peers: Peers;

  constructor(targetDegree: number, pinned: readonly PinnedPeer[] = []) {
    this.peers = this.#make(targetDegree, pinned);
  }

  #make(targetDegree: number, pinned: readonly PinnedPeer[]): Peers {
    const random = seededRandom(SEED);
    return new Peers(
      {
        clock: this.clock,
        random: { bytes: (count) => random.bytes(count), fraction: () => random.fraction() },
        log: quietLog,
        dial: async ([address], peer) => {
          const name = peer ?? address?.split('/')[2] ?? '';
          this.dials.push({ peer: name, atMs: this.clock.monotonicMs() });
          if (!this.up.has(name)) throw new Error(`${name} is down`);
          this.join(name, 'outbound');
          return name;
        },
        hangUp: (peer) => {
          this.hungUp.push(peer);
          this.part(peer, { isOurs: true });
        },
        save: async (known) => {
          this.saved = known;
        },
      },
      { self: 'self', pinned, targetDegree },
    );
  }

  join(peer: string, direction: 'inbound' | 'outbound'): void {
    this.connected.add(peer);
    this.peers.connected(peer, direction);
    this.peers.proved(peer, [addressOf(peer)]);
  }

  part(peer: string, how: { isBroken?: boolean; isOurs?: boolean } = {}): void {
    this.connected.delete(peer);
    this.peers.disconnected(peer, { isBroken: how.isBroken ?? false, isOurs: how.isOurs ?? false });
  }

  dialsTo(peer: string): number[] {
    return this.dials.flatMap((dial) => (dial.peer === peer ? [dial.atMs] : []));
  }
}

const names = (count: number): string[] => Array.from({ length: count }, (_, i) => `peer-${i}`);

describe(`the peer-maintenance loop (seed ${SEED})`, () => {
  let world: Neighbourhood;
  beforeEach(() => {
    world = new Neighbourhood(3);
  });

  test('dials known peers until the target degree is reached, and no more', async () => {
    for (const peer of names(8)) {
      world.up.add(peer);
      world.peers.remember(peer, [addressOf(peer)]);
    }
    world.peers.start([]);
    await world.clock.advance(10 * SECOND);
    expect(world.connected.size).toBe(3);
    expect(world.dials).toHaveLength(3);
  });

  test('counts those who dialled us', async () => {
    for (const peer of names(3)) world.join(peer, 'inbound');
    world.up.add('other');
    world.peers.remember('other', [addressOf('other')]);
    world.peers.start([]);
    await world.clock.advance(10 * SECOND);
    expect(world.dials).toEqual([]);
  });

  test('never dials itself', async () => {
    const alone = new Neighbourhood(3, [{ address: addressOf('self'), peer: 'self' }]);
    alone.peers.remember('self', [addressOf('self')]);
    alone.peers.hear('self', [addressOf('self')]);
    alone.peers.start([{ peer: 'self', addresses: [addressOf('self')], seenMs: 0 }]);
    await alone.clock.advance(MINUTE);
    expect(alone.dials).toEqual([]);
  });

  test('waits longer after each failure, up to 30 s', async () => {
    world.peers.remember('down', [addressOf('down')]);
    world.peers.start([]);
    await world.clock.advance(4 * MINUTE);
    const times = world.dialsTo('down');
    const waits = times.slice(1).map((atMs, i) => atMs - (times[i] ?? 0));
    expect(waits.slice(0, 3).every((wait) => wait <= 1 * SECOND)).toBe(true);
    expect(Math.max(...waits)).toBeGreaterThan(15 * SECOND);
    expect(Math.max(...waits)).toBeLessThanOrEqual(30 * SECOND);
  });

  test('gives the hopeless a rest of minutes', async () => {
    world.peers.proved('down', [addressOf('down')]);
    world.peers.start([]);
    await world.clock.advance(10 * HOUR);
    const times = world.dialsTo('down');
    expect(times.length).toBeLessThan(20 + 10 * 12);
    expect(times.length).toBeGreaterThan(20 + 10 * 5);
  });

  test('redials pinned peers at least every 5 s for ever, and beyond the target degree', async () => {
    const pinned = new Neighbourhood(1, [{ address: addressOf('anchor'), peer: 'anchor' }]);
    pinned.join('other', 'inbound');
    pinned.peers.start([]);
    await pinned.clock.advance(HOUR);
    const times = pinned.dialsTo('anchor');
    expect(Math.max(...times.slice(1).map((atMs, i) => atMs - (times[i] ?? 0)))).toBeLessThanOrEqual(5 * SECOND);
    pinned.up.add('anchor');
    await pinned.clock.advance(5 * SECOND);
    expect(pinned.connected).toContain('anchor');
  });

  test('learns the PeerId of a bootstrap address, and dials it once', async () => {
    const pinned = new Neighbourhood(3, [{ address: addressOf('first'), peer: undefined }]);
    pinned.up.add('first');
    pinned.peers.start([]);
    await pinned.clock.advance(MINUTE);
    expect(pinned.dials).toHaveLength(1);
    expect(pinned.peers.isPinned('first')).toBe(true);
    pinned.part('first', { isBroken: true });
    await pinned.clock.advance(SECOND);
    expect(pinned.dials).toHaveLength(2);
  });

  test('redials a lost peer within 2 s of its return, however full the neighbourhood is', async () => {
    for (const peer of names(4)) {
      world.up.add(peer);
      world.join(peer, 'outbound');
    }
    world.peers.start([]);
    await world.clock.advance(30 * SECOND);
    world.up.delete('peer-0');
    world.part('peer-0', { isBroken: true });
    await world.clock.advance(60 * SECOND);
    world.up.add('peer-0');
    await world.clock.advance(2 * SECOND);
    expect(world.connected).toContain('peer-0');
  });

  test('lets a peer go that closed in order, while it has neighbours enough', async () => {
    for (const peer of names(4)) world.join(peer, 'outbound');
    world.peers.start([]);
    await world.clock.advance(25 * SECOND);
    world.part('peer-0');
    await world.clock.advance(10 * SECOND);
    expect(world.dialsTo('peer-0').length).toBeLessThanOrEqual(1); // a look may try it
  });

  test('finds the other half after a longer cut: it looks at a known peer now and then', async () => {
    for (const peer of names(4)) world.join(peer, 'inbound');
    world.up.add('far');
    world.peers.remember('far', [addressOf('far')]);
    world.peers.start([]);
    await world.clock.advance(31 * SECOND);
    expect(world.connected).toContain('far');
  });

  test('ends one of its own connections when looking has made too many, never a pinned or an inbound one', async () => {
    const full = new Neighbourhood(2, [{ address: addressOf('anchor'), peer: 'anchor' }]);
    for (const peer of ['anchor', ...names(8)]) full.up.add(peer);
    for (const peer of names(8)) full.peers.remember(peer, [addressOf(peer)]);
    full.join('guest', 'inbound');
    full.peers.start([]);
    await full.clock.advance(10 * MINUTE);
    expect(full.hungUp.length).toBeGreaterThan(0);
    expect(full.hungUp).not.toContain('anchor');
    expect(full.hungUp).not.toContain('guest');
    expect(full.connected.size).toBeLessThanOrEqual(2 + 2 + 1);
  });

  test('a connection that dies young is a failure: no peer is redialled without pause', async () => {
    world.up.add('rude');
    world.peers.remember('rude', [addressOf('rude')]);
    world.peers.start([]);
    for (let i = 0; i < 60; i++) {
      await world.clock.advance(SECOND);
      if (world.connected.has('rude')) {
        world.connected.delete('rude');
        world.peers.disconnected('rude', { isBroken: false, isOurs: false });
      }
    }
    expect(world.dialsTo('rude').length).toBeLessThan(45);
  });

  test('a peer that breaks every connection after seconds is urgent for two minutes only', async () => {
    for (const peer of names(3)) world.join(peer, 'inbound');
    world.up.add('fickle');
    world.join('fickle', 'outbound');
    world.peers.start([]);
    for (let i = 0; i < 60; i++) {
      if (world.connected.has('fickle')) world.part('fickle', { isBroken: true });
      await world.clock.advance(10 * SECOND);
    }
    const late = world.dialsTo('fickle').filter((atMs) => atMs > 4 * MINUTE);
    expect(late.length).toBeLessThanOrEqual(6 * 2 + 6); // a look every half minute
  });

  test('does not come back to a peer that it hung up on for half a minute', async () => {
    world.up.add('peer-0');
    world.join('peer-0', 'outbound');
    world.peers.start([]);
    world.part('peer-0', { isOurs: true });
    await world.clock.advance(30 * SECOND);
    expect(world.dialsTo('peer-0')).toEqual([]);
  });

  test('news of a peer ends its backoff, the same address again does not', async () => {
    world.peers.remember('moved', ['/dns4/old/tcp/1']);
    world.peers.start([]);
    await world.clock.advance(5 * MINUTE);
    const before = world.dialsTo('moved').length;
    world.peers.remember('moved', ['/dns4/old/tcp/1']);
    await world.clock.advance(100);
    expect(world.dialsTo('moved')).toHaveLength(before);
    world.peers.remember('moved', ['/dns4/new/tcp/1']);
    await world.clock.advance(100);
    expect(world.dialsTo('moved')).toHaveLength(before + 1);
    expect(world.peers.addressesOf('moved')).toEqual(['/dns4/new/tcp/1', '/dns4/old/tcp/1']);
  });

  test('writes down what it was told or has seen, not hearsay, and starts from it', async () => {
    world.peers.start([]);
    world.peers.remember('told', [addressOf('told')]);
    world.peers.hear('heard', [addressOf('heard')]);
    world.join('seen', 'inbound');
    await world.peers.close();
    expect(world.saved.map(({ peer, seenMs }) => `${peer} ${seenMs > 0 ? 'seen' : 'never'}`).toSorted()).toEqual([
      'seen seen',
      'told never',
    ]);
    const next = new Neighbourhood(3);
    next.up.add('seen');
    next.peers.start(world.saved);
    await next.clock.advance(SECOND);
    expect(next.connected).toContain('seen');
  });

  test('keeps a bounded number of peers, of addresses, and of letters in them', async () => {
    for (let i = 0; i < limits.KNOWN_PEERS_MAX + 100; i++) world.peers.remember(`p${i}`, [addressOf(`p${i}`)]);
    expect(world.peers.knownCount).toBe(limits.KNOWN_PEERS_MAX);
    world.peers.remember('many', [...names(20).map(addressOf), `/dns4/${'x'.repeat(limits.MULTIADDR_TEXT_MAX)}/tcp/1`]);
    expect(world.peers.addressesOf('many')).toEqual(names(8).map(addressOf));
  });

  test('hearsay never displaces what was told, and news displaces hearsay first', () => {
    for (let i = 0; i < limits.KNOWN_PEERS_MAX; i++) world.peers.remember(`told-${i}`, [addressOf(`told-${i}`)]);
    world.peers.hear('heard', [addressOf('heard')]);
    expect(world.peers.addressesOf('heard')).toEqual([]);
    const other = new Neighbourhood(3);
    for (let i = 0; i < limits.KNOWN_PEERS_MAX - 1; i++) other.peers.proved(`seen-${i}`, [addressOf(`seen-${i}`)]);
    other.peers.hear('heard', [addressOf('heard')]);
    other.peers.remember('told', [addressOf('told')]);
    expect(other.peers.addressesOf('heard')).toEqual([]);
    expect(other.peers.addressesOf('told')).toEqual([addressOf('told')]);
    expect(other.peers.addressesOf('seen-0')).toEqual([addressOf('seen-0')]);
  });

  test('forgets whom it only heard of after an hour of failures, and whom it knew after a week', async () => {
    world.peers.hear('heard', [addressOf('heard')]);
    world.peers.proved('seen', [addressOf('seen')]);
    world.peers.start([]);
    await world.clock.advance(3 * HOUR);
    expect(world.peers.addressesOf('heard')).toEqual([]);
    expect(world.peers.addressesOf('seen')).not.toEqual([]);
    world.clock.step(8 * 24 * HOUR);
    await world.clock.advance(HOUR);
    expect(world.peers.addressesOf('seen')).toEqual([]);
  });

  test('close() ends it: no timer is left, and no dial follows', async () => {
    world.peers.remember('down', [addressOf('down')]);
    world.peers.start([]);
    await world.clock.advance(SECOND);
    await world.peers.close();
    expect(world.clock.timers).toBe(0);
    const before = world.dials.length;
    world.peers.remember('other', [addressOf('other')]);
    await world.clock.advance(MINUTE);
    expect(world.dials).toHaveLength(before);
  });
});
