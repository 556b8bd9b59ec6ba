import { afterEach, expect, test } from 'vitest';
import { isMeshError, limits, toHex } from '../../../../protocol/index.ts';
import {
  formatReadPath,
  leafHash,
  originHash,
  parseTile,
  rootOfHashes,
  verifyConsistency,
  verifyInclusion,
} from '../../../../protocol/log/index.ts';
import { cosign, History, MonitorWorld, type Watcher, type WatchOptions } from './monitor-world.ts';

let world: MonitorWorld;
afterEach(async () => {
  await world.close();
});

const during = <T>(work: Promise<T>, forMs = 200): Promise<T> => world.during(work, forMs);

async function codeOf(work: Promise<unknown>, forMs?: number): Promise<string> {
  try {
    return (await during(work, forMs)) === undefined ? 'nothing' : 'ok';
  } catch (error) {
    if (isMeshError(error)) return error.code;
    throw error;
  }
}

/** acme keeps a log of 700 entries, of which 600 are released; beta reads it. */
async function two(options: WatchOptions = {}): Promise<[Watcher, Watcher, History]> {
  world = new MonitorWorld();
  const acme = await world.open('acme', options);
  const beta = await world.open('beta');
  const history = History.of('only', 700, 700);
  const released = cosign(await acme.log.sign(history, 600), 'beta');
  acme.shows = () => ({ history, released });
  await world.connect([acme, beta]);
  return [acme, beta, history];
}

test('the newest released checkpoint is shown with its cosignatures, and all that is proved of it verifies', async () => {
  const [acme, { reader }, history] = await two();
  const [peer, origin] = [acme.network.peer, acme.log.origin];
  const signed = await during(reader.readCheckpoint(peer, origin));
  expect([signed?.checkpoint.treeSize, signed?.note.signatures.length]).toEqual([600, 2]);
  const root = signed?.checkpoint.root as Uint8Array;
  const [old, consistency] = [await history.rootAt(256), await during(reader.readConsistency(peer, origin, 256, 600))];
  verifyConsistency(256, 600, old, root, consistency ?? []);
  const inclusion = (await during(reader.readInclusion(peer, origin, 311, 600))) ?? [];
  verifyInclusion(311, 600, leafHash(history.entries[311] as Uint8Array), inclusion, root);
  const bytes = await during(reader.readTile(peer, origin, { level: 1, index: 0, width: 2 }));
  expect(toHex(rootOfHashes(parseTile(bytes as Uint8Array, 2)))).toBe(toHex(await history.rootAt(512)));
});

test('nothing beyond what is released is shown, nor of logs that are not kept here', async () => {
  const [acme, { reader }] = await two();
  const [peer, origin] = [acme.network.peer, acme.log.origin];
  const tile = (level: number, index: number, width: number) =>
    codeOf(reader.readTile(peer, origin, { level, index, width }));
  expect(await tile(0, 2, 88)).toBe('ok');
  expect(await tile(0, 2, 89)).toBe('nothing');
  expect(await tile(0, 2, 256)).toBe('nothing');
  expect(await tile(1, 0, 2)).toBe('ok');
  expect(await tile(1, 0, 3)).toBe('nothing');
  expect(await codeOf(reader.readConsistency(peer, origin, 5, 601))).toBe('nothing');
  expect(await codeOf(reader.readInclusion(peer, origin, 5, 601))).toBe('nothing');
  expect(await codeOf(reader.readConsistency(peer, origin, 6, 5))).toBe('malformed');
  expect(await codeOf(reader.readInclusion(peer, origin, 5, 5))).toBe('malformed');
  expect(await codeOf(reader.readCheckpoint(peer, `${origin}7`))).toBe('nothing');
  expect(await codeOf(reader.ask(peer, 'what else'))).toBe('closed');
  expect(await codeOf(reader.ask(peer, `${toHex(originHash(origin))}/else`))).toBe('malformed');
  acme.shows = () => undefined;
  expect(await codeOf(reader.readCheckpoint(peer, origin))).toBe('nothing');
});

test('entries are for the organisations that the log names, in parts that fit a frame', async () => {
  const [acme, beta, history] = await two({ server: { isReader: (did) => did === reads } });
  let reads = '';
  const [peer, origin] = [acme.network.peer, acme.log.origin];
  const bundle = { index: 1, width: 256 };
  expect(await codeOf(beta.reader.readBundle(peer, origin, bundle))).toBe('policy_denied');
  reads = beta.did;
  const entries = (await during(beta.reader.readBundle(peer, origin, bundle))) ?? [];
  expect(entries).toEqual(history.entries.slice(256, 512));
  expect(await codeOf(beta.reader.readBundle(peer, origin, { index: 2, width: 89 }))).toBe('nothing');
  // Four of the largest to a part, and one bundle that ends where a part does.
  const sizes = [60_000, 60_000, 60_000, 60_000, limits.TLOG_READ_PART_BYTES - 4 * 60_002 - 2];
  for (const lengths of [[60_000, 60_000, 60_000, 60_000, 60_000, 60_000, 60_000, 60_000, 60_000], sizes]) {
    const large = new History(lengths.map((length, i) => String(i).repeat(length)));
    const released = await acme.log.sign(large);
    acme.shows = () => ({ history: large, released });
    const width = large.treeSize;
    expect(await during(beta.reader.readBundle(peer, origin, { index: 0, width }))).toEqual(large.entries);
  }
});

test('a question about a log is passed on to it once, and only what was asked for comes back', async () => {
  const [acme, beta, history] = await two();
  const [gamma, origin] = [await world.open('gamma'), acme.log.origin];
  await world.connect([beta, gamma]);
  const { reader } = gamma;
  const peer = beta.network.peer;
  expect(gamma.sync.peersOf(acme.did)).toEqual([]);
  acme.asked.length = 0;
  const proof = await during(reader.readConsistency(peer, origin, 5, 600));
  expect(proof).toEqual(await history.proveConsistency(5, 600));
  expect(await codeOf(reader.readTile(peer, origin, { level: 0, index: 0, width: 5 }))).toBe('ok');
  expect(acme.asked.map(({ path }) => path.slice(65))).toEqual(['consistency/5/600/direct', 'tile/0/000.p/5/direct']);
  // Neither entries nor inclusion, and never further.
  expect(await codeOf(reader.readInclusion(peer, origin, 5, 600))).toBe('nothing');
  expect(await codeOf(reader.readBundle(peer, origin, { index: 0, width: 5 }))).toBe('nothing');
  const direct = formatReadPath(originHash(origin), { of: 'consistency', oldSize: 5, newSize: 600, isDirect: true });
  expect(await codeOf(reader.ask(peer, direct))).toBe('nothing');
  expect(acme.asked).toHaveLength(2);
  // What the log does not show, or shows too much of, is not passed on.
  expect(await codeOf(reader.readConsistency(peer, origin, 5, 601))).toBe('unreachable');
  world.mesh.onFrame = (frame, { from, name }) =>
    from === acme.network.peer && name === 'tlog/read'
      ? Uint8Array.from([...frame, ...new Uint8Array(4_000).fill(0x41)])
      : frame;
  expect(await codeOf(reader.readConsistency(peer, origin, 5, 600))).toBe('unreachable');
  // A log that is silent costs the asker an answer, not his stream.
  world.mesh.onFrame = (frame, { from, name }) =>
    from === acme.network.peer && name === 'tlog/read' ? undefined : frame;
  expect(await codeOf(reader.readConsistency(peer, origin, 5, 600), limits.TLOG_RELAY_MS + 100)).toBe('unreachable');
  world.mesh.onFrame = undefined;
  expect(await codeOf(reader.readConsistency(peer, origin, 5, 600))).toBe('ok');
});

test('of another log the newest checkpoint seen is shown, with the lines that came along', async () => {
  const [acme, beta] = await two();
  const gamma = await world.open('gamma');
  await world.connect([beta, gamma]);
  const signed = await during(gamma.reader.readCheckpoint(beta.network.peer, acme.log.origin));
  expect([signed?.checkpoint.treeSize, signed?.note.signatures.length]).toEqual([600, 2]);
});

test('questions have a rate, and those about logs of others a lower one', async () => {
  const [acme, beta] = await two({ server: { perSecond: 10, burst: 20 } });
  const gamma = await world.open('gamma');
  await world.connect([beta, gamma]);
  await world.clock.advance(5_000);
  const [peer, origin] = [acme.network.peer, acme.log.origin];
  const codes: string[] = [];
  for (let i = 0; i < 22; i++) codes.push(await codeOf(beta.reader.readCheckpoint(peer, origin), 0));
  expect(codes).toEqual([...Array.from({ length: 20 }, () => 'ok'), 'busy', 'busy']);
  await world.clock.advance(1_000);
  expect(await codeOf(beta.reader.readCheckpoint(peer, origin))).toBe('ok');
  const relayed: string[] = [];
  for (let i = 0; i < limits.TLOG_RELAYS_BURST + 1; i++) {
    const asked = gamma.reader.readConsistency(beta.network.peer, `${origin}0`, 1, 2);
    relayed.push(await codeOf(asked, 0));
  }
  expect(new Set(relayed.slice(0, -1))).toEqual(new Set(['nothing']));
  expect(relayed.at(-1)).toBe('busy');
});
