import { afterEach, describe, expect, test } from 'vitest';
import { createForkProof, evaluateFork, formatNote, isPowerOfTwo, parseVkey } from '../../../../protocol/log/index.ts';
import { isSignatureValidSodium } from '../../../../protocol/sodium.ts';
import { seededRandom } from '../../../random.ts';
import { cosign, type Fork, forkOf, History, LogKey, MonitorWorld, type Watcher, withLines } from './monitor-world.ts';

let world: MonitorWorld;
afterEach(async () => {
  await world.close();
});

/** A log that shows the left history to some and the right one to all others; nobody has seen any of it yet. */
async function forker(fork: Fork, others: readonly string[], lefts: readonly string[]): Promise<[Watcher, Watcher[]]> {
  world = new MonitorWorld();
  const log = await world.open('forker', { shows: () => undefined, watches: false });
  const watchers: Watcher[] = [];
  for (const name of others) watchers.push(await world.open(name));
  const left = { history: fork.left, released: await log.log.sign(fork.left) };
  const right = { history: fork.right, released: await log.log.sign(fork.right) };
  const leftPeers = watchers.filter(({ name }) => lefts.includes(name)).map(({ network }) => network.peer);
  log.shows = (peer) => (leftPeers.includes(peer) ? left : right);
  return [log, watchers];
}

const star = (log: Watcher, watchers: readonly Watcher[]): [Watcher, Watcher][] => watchers.map((one) => [log, one]);

describe('a log that shows two histories', () => {
  test.each([
    ['equal', 5, 5, 3],
    ['unequal', 5, 9, 3],
    ['unequal, the older one longer shared', 7, 20, 6],
    ['a power of two: 1', 1, 6, 0],
    ['a power of two: 2', 2, 6, 1],
    ['a power of two: 4', 4, 9, 3],
    ['a power of two: 4, of the next size', 4, 5, 3],
    ['a power of two: 8, to the next one', 8, 16, 7],
    ['a power of two: 256', 256, 300, 255],
    ['beyond one tile', 300, 700, 299],
    ['a power of two: 512', 512, 700, 300],
  ])('is convicted on every node by its own signatures: sizes %s', async (_, m, n, shared) => {
    const [log, watchers] = await forker(forkOf([m, n], shared), ['acme', 'beta', 'gamma'], ['acme']);
    const [acme, beta, gamma] = watchers as [Watcher, Watcher, Watcher];
    await world.connect(...star(log, watchers), [acme, beta], [beta, gamma]);
    // Each has read its side of it when it was bound; now one of them hears of the other side.
    expect(world.convicted()).toEqual([]);
    world.tell(acme, beta, await log.log.sign(forkOf([m, n], shared).right));
    await world.clock.advance(2_000);
    expect(world.convictedBy(log)).toEqual(['acme', 'beta', 'gamma']);
    expect(world.convicted()).toEqual([log.did]);
    expect([acme.found.length, beta.found.length]).toEqual([1, 0]);
    const [proof] = acme.state.convictionsOf(log.did);
    if (proof === undefined) throw new Error('convicted without a proof');
    const verdict = evaluateFork(
      { ...proof.payload, vkey: parseVkey(proof.payload.log ?? '') },
      isSignatureValidSodium,
    );
    expect(verdict).toEqual({ proven: true, origin: log.log.origin, sizes: [m, n] });
    // The log shows acme nothing of the right side: what it shows beta was asked for by beta.
    if (m !== n) expect(log.asked.some(({ path }) => path.endsWith(`consistency/${m}/${n}/direct`))).toBe(true);
    expect(log.asked.some(({ path }) => path.endsWith('/direct') && path.includes('/tile/'))).toBe(
      isPowerOfTwo(m) && m !== n,
    );
  });

  test('is convicted also by who hears of an older checkpoint of the other side', async () => {
    const fork = forkOf([40, 30], 10);
    const [log, watchers] = await forker(fork, ['acme', 'beta'], ['acme']);
    const [acme, beta] = watchers as [Watcher, Watcher];
    await world.connect(...star(log, watchers), [acme, beta]);
    world.tell(acme, beta, await log.log.sign(fork.right, 20));
    await world.clock.advance(2_000);
    // At 20 the right side differs from what acme saw at 40, of which the log shows acme that it has it at 20.
    expect(world.convictedBy(log)).toEqual(['acme', 'beta']);
  });

  test('is convicted by a witness that refused its second history, whatever it shows to whom', async () => {
    const fork = forkOf([5, 9], 3);
    const [log, watchers] = await forker(fork, ['acme', 'beta'], ['acme', 'beta']);
    const [acme, beta] = watchers as [Watcher, Watcher];
    await world.connect(...star(log, watchers), [acme, beta]);
    log.shows = () => undefined;
    const [held, signed] = [await log.log.sign(fork.left), await log.log.sign(fork.right)];
    const proof = await fork.right.proveConsistency(5, 9);
    acme.monitor.conflict(held, { oldSize: 4, proof, signed });
    await world.clock.advance(2_000);
    expect(world.convicted(), 'of a proof between other sizes').toEqual([]);
    acme.monitor.conflict(held, { oldSize: 5, proof, signed });
    await world.clock.advance(2_000);
    expect(world.convictedBy(log)).toEqual(['acme', 'beta']);
  });

  test('is convicted by what it showed before a restart', async () => {
    const fork = forkOf([5, 5], 3);
    const [log, watchers] = await forker(fork, ['acme'], ['acme']);
    const [acme] = watchers as [Watcher];
    await world.connect(...star(log, watchers));
    await world.restart(acme);
    const again = world.watchers.get('acme') as Watcher;
    expect(again.monitor.status()).toMatchObject({ logs: 1, checkpoints: 1 });
    world.tell(again, log, await log.log.sign(fork.right));
    await world.clock.advance(2_000);
    expect(world.convictedBy(log)).toEqual(['acme']);
  });

  test('hears of its conviction when it comes back, and says so', async () => {
    const fork = forkOf([5, 5], 3);
    const [log, watchers] = await forker(fork, ['acme'], ['acme']);
    const [acme] = watchers as [Watcher];
    await world.connect(...star(log, watchers));
    world.tell(acme, log, await log.log.sign(fork.right));
    await world.clock.advance(1_000);
    expect(log.network.connections()).toEqual([]);
    await world.connect([log, acme]);
    expect(world.convictedBy(log)).toEqual(['forker', 'acme']);
    expect(log.convictions.isRefused(log.did)).toBe(false);
    expect(acme.sync.boundPeers()).toEqual([]);
  });
});

test('one of twenty that shows two histories to two halves is convicted on all others within two seconds', async () => {
  world = new MonitorWorld(25);
  const fork = forkOf([256, 300], 200);
  const log = await world.open('forker', { shows: () => undefined, watches: false });
  const others: Watcher[] = [];
  for (let i = 0; i < 19; i++) others.push(await world.open(`node-${i}`));
  const peers = others.map(({ network }) => network.peer);
  const left = { history: fork.left, released: await log.log.sign(fork.left) };
  const right = { history: fork.right, released: await log.log.sign(fork.right) };
  // The halves are next to each other at 0 and 18, and between 9 and 10; each has another neighbour in its own half.
  log.shows = (peer) => (peers.indexOf(peer) < 10 ? left : right);
  const ring = others.map((one, i): [Watcher, Watcher] => [one, others[(i + 1) % 19] as Watcher]);
  const chords = [0, 2, 4, 6, 11, 13, 15].map((i): [Watcher, Watcher] => [
    others[i] as Watcher,
    others[i + 3] as Watcher,
  ]);
  await world.connect(
    ...ring,
    ...chords,
    ...star(
      log,
      [0, 4, 9, 12, 18].map((i) => others[i] as Watcher),
    ),
  );
  await world.clock.advance(60_000);
  expect(world.convicted(), 'each half has seen one history').toEqual([]);

  // Meanwhile one of them makes trouble: old notes, and proofs that are none, against everybody.
  const random = seededRandom(3);
  const liar = others[7] as Watcher;
  for (const victim of others) {
    if (victim === liar) continue;
    const history = History.of('usual', 8, 8);
    const [a, b] = [await victim.log.sign(history, 3), await victim.log.sign(history, 7)];
    const [binding] = liar.state.bindingsOf(victim.did);
    if (binding === undefined) throw new Error('a log has no binding');
    const rootOfAOnB = Uint8Array.from({ length: 32 }, () => Math.floor(random() * 256));
    const notes = { a: formatNote(a.note), b: formatNote(b.note) };
    const proof = await history.proveConsistency(3, 7);
    const claim = { of: 'log', who: victim.did, vkey: victim.log.vkey, ...notes, rootOfAOnB, proof, binding } as const;
    for (const { network } of [others[6], others[8]] as Watcher[])
      await network.hear('rev', createForkProof(claim).envelope, liar.network.peer);
    world.tell(others[8] as Watcher, liar, a);
  }

  const [first] = [others[0] as Watcher];
  const heardMs = world.clock.monotonicMs();
  world.tell(first, others[18] as Watcher, right.released);
  let lastMs = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 200 && lastMs === Number.POSITIVE_INFINITY; i++) {
    await world.clock.advance(10);
    if (world.convictedBy(log).length === others.length) lastMs = world.clock.monotonicMs() - heardMs;
  }
  expect(lastMs).toBeLessThan(2_000);
  await world.clock.advance(10_000);
  expect(world.convicted()).toEqual([log.did]);
  expect(world.convictedBy(log)).toEqual(others.map(({ name }) => name));
  expect(others.flatMap(({ sync }) => sync.peersOf(log.did))).toEqual([]);
});

describe('nobody is convicted', () => {
  /** An honest log of many checkpoints, and two who watch it. */
  async function honest(watches: readonly string[] = ['acme', 'beta']): Promise<[Watcher, Watcher[], History]> {
    world = new MonitorWorld();
    const log = await world.open('honest');
    const watchers: Watcher[] = [];
    for (const name of watches) watchers.push(await world.open(name));
    const history = History.of('only', 600, 600);
    log.shows = () => shown;
    const shown = { history, released: await log.log.sign(history) };
    await world.connect(...star(log, watchers), [watchers[0] as Watcher, watchers[1] as Watcher]);
    return [log, watchers, history];
  }

  test('of an honest log whose old checkpoints are replayed in any order, and the clock leaps', async () => {
    const [log, [acme, beta], history] = (await honest()) as [Watcher, [Watcher, Watcher], History];
    const random = seededRandom(11);
    for (let i = 0; i < 60; i++) {
      const size = 1 + Math.floor(random() * 600);
      world.tell(acme, beta, await log.log.sign(history, size));
      if (i % 10 === 0) world.clock.step((random() - 0.5) * 2 * 86_400_000);
      await world.clock.advance(random() * 100);
    }
    await world.clock.advance(5_000);
    expect(world.convicted()).toEqual([]);
    const { agreed, withheld, garbage } = acme.monitor.status();
    expect({ withheld, garbage }).toEqual({ withheld: [], garbage: 0 });
    expect(agreed).toBeGreaterThan(30);
  });

  test('for answers that prove nothing: they are counted, and the log is asked again until it shows that all agrees', async () => {
    const [log, [acme, beta], history] = (await honest()) as [Watcher, [Watcher, Watcher], History];
    const [from, random] = [log.network.peer, seededRandom(5)];
    let isSilent = true;
    world.mesh.onFrame = (frame, passage) => {
      if (!isSilent || passage.name !== 'tlog/read' || passage.to !== acme.network.peer) return frame;
      if (passage.from === from) return undefined; // the log's answers are lost
      return frame.map((byte, i) => (i > 40 && random() < 0.05 ? byte ^ 1 : byte)); // another's are spoilt
    };
    for (const size of [100, 128, 250, 256]) world.tell(acme, beta, await log.log.sign(history, size));
    await world.clock.advance(20_000);
    expect(world.convicted()).toEqual([]);
    const status = acme.monitor.status();
    expect(status.withheld).toMatchObject([{ origin: log.log.origin, organisations: [log.did] }]);
    expect(status.agreed).toBe(0);
    isSilent = false;
    await world.clock.advance(600_000);
    expect(acme.monitor.status()).toMatchObject({ withheld: [], agreed: 4 });
    expect(world.convicted()).toEqual([]);
  });

  test('for a log that is silent: what is held against it passes with time', async () => {
    const [log, [acme, beta], history] = (await honest()) as [Watcher, [Watcher, Watcher], History];
    const shows = log.shows;
    log.shows = () => undefined;
    world.tell(acme, beta, await log.log.sign(history, 77));
    await world.clock.advance(3_000);
    expect(acme.monitor.withheld().map(({ treeSizes }) => treeSizes)).toEqual([[77, 600]]);
    await world.during(log.close(), 5_000);
    beta.network.breakWhere(() => true);
    await world.clock.advance(1_300_000);
    expect(acme.monitor.withheld()).toEqual([]);
    expect(world.convicted()).toEqual([]);
    log.shows = shows;
  });

  test('for a note that somebody spoilt: it says nothing about the log', async () => {
    const [log, [acme, beta], history] = (await honest()) as [Watcher, [Watcher, Watcher], History];
    const other = await log.log.sign(History.of('invented', 600, 0));
    const [line] = other.note.signatures;
    const released = await log.log.sign(history, 599);
    const spoilt = withLines(released, line === undefined ? [] : [line]);
    log.shows = () => ({ history, released: spoilt });
    const before = acme.monitor.status();
    for (const one of [acme, beta]) one.monitor.peerBound(log.network.peer, log.did);
    await world.clock.advance(2_000);
    expect(acme.monitor.status()).toMatchObject({ spoiled: before.spoiled + 1, checkpoints: before.checkpoints });
    // Nor does a note that the key of another log signed under this origin.
    const forged = { ...other, note: { text: other.note.text, signatures: released.note.signatures } };
    log.shows = () => ({ history, released: forged });
    acme.monitor.peerBound(log.network.peer, log.did);
    await world.clock.advance(2_000);
    expect(world.convicted()).toEqual([]);
  });

  test('by a proof that does not prove: the door rejects it', async () => {
    const [log, [acme], history] = (await honest()) as [Watcher, [Watcher], History];
    const [a, b] = [await log.log.sign(history, 100), await log.log.sign(history, 200)];
    const [binding] = acme.state.bindingsOf(log.did);
    if (binding === undefined) throw new Error('the log has no binding');
    const notes = { a: formatNote(a.note), b: formatNote(b.note) };
    const proof = await history.proveConsistency(100, 200);
    const codes = [a.checkpoint.root, new Uint8Array(32)].map((rootOfAOnB) => {
      const claim = {
        of: 'log',
        who: log.did,
        vkey: log.log.vkey,
        ...notes,
        rootOfAOnB,
        proof,
        binding,
      } as const;
      const { envelope } = createForkProof(claim);
      const outcome = acme.pipeline.receive(envelope, {
        via: 'gossip',
        peer: log.network.peer,
        topic: 'rev',
      });
      return outcome.verdict === 'accept' ? outcome.verdict : outcome.code;
    });
    expect(codes).toEqual(['bad_proof', 'bad_proof']);
    expect(world.convicted()).toEqual([]);
  });

  test('of those who pass on what a forker shows', async () => {
    const fork = forkOf([64, 100], 3);
    const [log, watchers] = await forker(fork, ['acme', 'beta', 'gamma'], ['acme']);
    const [acme, beta, gamma] = watchers as [Watcher, Watcher, Watcher];
    await world.connect(...star(log, watchers), [acme, beta], [beta, gamma]);
    log.shows = () => undefined; // it shows nothing more
    world.tell(acme, beta, await log.log.sign(fork.right));
    await world.clock.advance(30_000);
    expect(world.convicted(), 'without a proof nobody is').toEqual([]);
    expect(acme.monitor.withheld()).toHaveLength(1);
  });
});

describe('the own log', () => {
  test('is halted by a note under its key that its tree does not have, and accuses nobody', async () => {
    world = new MonitorWorld();
    const [acme, beta] = [await world.open('acme'), await world.open('beta')];
    await world.connect([acme, beta]);
    const usual = acme.shows('')?.history as History;
    world.tell(acme, beta, await acme.log.sign(usual, 5));
    await world.clock.advance(1_000);
    expect(acme.problems).toEqual([]);
    world.tell(acme, beta, await acme.log.sign(History.of('usual', 12, 12)));
    await world.clock.advance(1_000);
    expect(acme.problems.map(({ code }) => code)).toEqual(['log_halted']);
    world.tell(acme, beta, await acme.log.sign(History.of('other', 7, 2)));
    await world.clock.advance(1_000);
    expect(acme.problems.map(({ message }) => message)).toEqual([
      expect.stringMatching(/^Cannot go on with log "\S+": its key signed a tree of 12 entries, and 8 are held here$/),
      expect.stringMatching(/: its key signed another tree of 7 entries than the one held here$/),
    ]);
    expect(acme.found).toEqual([]);
  });

  test('of an earlier generation is watched by others alone', async () => {
    world = new MonitorWorld();
    const [acme, beta] = [await world.open('acme'), await world.open('beta')];
    await world.connect([acme, beta]);
    const log = new LogKey('acme', 7);
    await world.during(acme.pipeline.submit([world.bindingOf({ ...acme, log })]));
    const [before, fork] = [acme.monitor.status().logs, forkOf([5, 5], 3)];
    for (const one of [acme, beta])
      for (const history of [fork.left, fork.right]) one.monitor.noticed(await log.sign(history), beta.network.peer);
    await world.clock.advance(2_000);
    expect([acme.monitor.status().logs - before, acme.found.length, beta.found.length]).toEqual([0, 0, 1]);
    expect(world.convictedBy(acme)).toContain('beta');
  });
});

describe('a witness that cosigned both histories', () => {
  test('is convicted beside the log; those who cosigned one are not', async () => {
    const fork = forkOf([6, 9], 3);
    const [log, watchers] = await forker(fork, ['acme', 'beta', 'twofaced', 'honest'], ['acme']);
    const [acme, beta, twofaced, honest] = watchers as [Watcher, Watcher, Watcher, Watcher];
    const left = cosign(await log.log.sign(fork.left), 'twofaced', 'honest');
    const right = cosign(await log.log.sign(fork.right), 'twofaced', 'acme');
    log.shows = (peer) =>
      peer === acme.network.peer ? { history: fork.left, released: left } : { history: fork.right, released: right };
    await world.connect(...star(log, watchers), [acme, beta], [acme, twofaced], [beta, honest]);
    world.tell(acme, beta, await log.log.sign(fork.right));
    await world.clock.advance(10_000);
    expect(new Set(world.convicted())).toEqual(new Set([log.did, twofaced.did]));
    expect(world.convictedBy(twofaced)).toEqual(expect.arrayContaining(['acme', 'beta', 'honest']));
    expect([world.convictedBy(honest), world.convictedBy(acme)]).toEqual([[], []]);
    const kinds = acme.state.convictionsOf(twofaced.did).map(({ payload }) => payload.of);
    expect(kinds).toEqual(['witness']);
  });

  test('is convicted by what it shows itself, if that is the other history', async () => {
    const fork = forkOf([6, 9], 3);
    world = new MonitorWorld();
    const right = { note: undefined as Uint8Array | undefined };
    const witness = { checkpointOf: async () => right.note };
    const log = await world.open('forker', { shows: () => undefined, watches: false });
    const [acme, beta] = [await world.open('acme'), await world.open('beta', { watches: false })];
    const twofaced = await world.open('twofaced', { watches: false, witness });
    const left = cosign(await log.log.sign(fork.left), 'twofaced');
    const signed = await log.log.sign(fork.right);
    right.note = formatNote(cosign(signed, 'twofaced').note);
    log.shows = (peer) =>
      peer === acme.network.peer ? { history: fork.left, released: left } : { history: fork.right, released: signed };
    await world.connect([log, acme], [log, beta], [log, twofaced], [acme, beta], [acme, twofaced]);
    world.tell(acme, beta, signed);
    await world.clock.advance(10_000);
    expect(world.convictedBy(twofaced)).toEqual(expect.arrayContaining(['acme', 'beta']));
  });

  test('is not convicted by a line that somebody wrote beneath its name', async () => {
    const fork = forkOf([6, 9], 3);
    const [log, watchers] = await forker(fork, ['acme', 'beta', 'framed'], ['acme']);
    const [acme, beta, framed] = watchers as [Watcher, Watcher, Watcher];
    const left = cosign(await log.log.sign(fork.left), 'framed');
    const [, line] = left.note.signatures;
    const right = withLines(await log.log.sign(fork.right), line === undefined ? [] : [line]);
    log.shows = (peer) =>
      peer === acme.network.peer ? { history: fork.left, released: left } : { history: fork.right, released: right };
    await world.connect(...star(log, watchers), [acme, beta], [acme, framed]);
    world.tell(acme, beta, await log.log.sign(fork.right));
    await world.clock.advance(10_000);
    expect(world.convicted()).toEqual([log.did]);
  });
});

describe('what a monitor remembers', () => {
  test('is bounded: the newest, and one of each doubling', async () => {
    world = new MonitorWorld();
    const [log, acme] = [await world.open('honest'), await world.open('acme')];
    const history = History.of('only', 300, 300);
    const shown = { history, released: await log.log.sign(history, 1) };
    log.shows = () => shown;
    await world.connect([log, acme]);
    for (let size = 1; size <= 300; size++) {
      shown.released = await log.log.sign(history, size);
      acme.monitor.noticed(shown.released, log.network.peer);
      await world.clock.advance(1);
    }
    expect(acme.monitor.status()).toMatchObject({ logs: 1, checkpoints: 64 + 8, agreed: 299, withheld: [] });
    // Of each doubling the smallest: also those of exactly a power of two.
    const rows: number[] = [];
    for await (const [key] of acme.store.range(Uint8Array.of(0x6b), Uint8Array.of(0x6c)))
      rows.push(Number(new DataView(key.buffer, key.byteOffset + 33).getBigUint64(0)));
    expect(rows).toEqual([1, 2, 4, 8, 16, 32, 64, 128, ...Array.from({ length: 64 }, (_, i) => 237 + i)]);
  });

  test('is bounded in logs: of those that nobody names nothing is kept, of the others the ones noticed last', async () => {
    world = new MonitorWorld();
    const [acme, beta] = [await world.open('acme', { originsMax: 3 }), await world.open('beta')];
    await world.connect([acme, beta]);
    const history = History.of('only', 5, 5);
    acme.monitor.noticed(await new LogKey('nobody').sign(history));
    expect(acme.monitor.status().logs).toBe(1); // beta's
    const logs = [1, 2, 3].map((generation) => new LogKey('beta', generation));
    for (const log of logs) {
      await world.during(beta.pipeline.submit([world.bindingOf({ ...beta, log })]));
      acme.monitor.noticed(await log.sign(history));
    }
    expect(acme.monitor.status()).toMatchObject({ logs: 3, checkpoints: 3 });
  });

  test('asks one question at a time about a log, and none about what is known to agree', async () => {
    const fork = forkOf([300, 300], 300);
    const [log, watchers] = await forker(fork, ['acme', 'beta'], []);
    const [acme, beta] = watchers as [Watcher, Watcher];
    await world.connect(...star(log, watchers), [acme, beta]);
    log.asked.length = 0;
    const sizes = Array.from({ length: 29 }, (_, i) => 10 * (i + 1));
    const notes = await Promise.all(sizes.map((size) => log.log.sign(fork.left, size)));
    for (const note of [...notes, ...notes]) acme.monitor.noticed(note, beta.network.peer);
    await world.clock.advance(1_000);
    const questions = log.asked.filter(({ path }) => path.includes('/consistency/'));
    // 8 wait at most; 300 itself was read.
    expect(questions.map(({ path }) => Number(path.split('/')[2]))).toEqual([
      10, 290, 280, 270, 260, 250, 240, 230, 220,
    ]);
    for (const note of notes.slice(-8)) acme.monitor.noticed(note, beta.network.peer);
    await world.clock.advance(1_000);
    expect(acme.monitor.status()).toMatchObject({ asked: 9, agreed: 9 });
  });
});
