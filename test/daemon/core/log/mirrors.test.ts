import { afterEach, expect, test } from 'vitest';
import { type AuditLog, createGeneration, openAuditLog } from '../../../../daemon/core/log/audit-log.ts';
import { Mirrors } from '../../../../daemon/core/log/mirrors.ts';
import { recoverFromMirrors } from '../../../../daemon/core/log/recover-log.ts';

import { MemoryStore } from '../../../../daemon/store/memory.ts';
import { isMeshError, toHex } from '../../../../protocol/index.ts';
import {
  createUuid7,
  formatNote,
  parseUuid7,
  rootFromTiles,
  type SignedCheckpoint,
} from '../../../../protocol/log/index.ts';
import { isSignatureValidSodium } from '../../../../protocol/sodium.ts';
import { NOW_MS } from '../../../builders.ts';
import { seededRandom } from '../../../random.ts';
import { ownWitness } from '../../../protocol/log/own-log.ts';
import { cosignLine } from '../../../protocol/log/sample.ts';
import { quiet } from '../handshake-world.ts';
import { MemoryAnchor } from './log-world.ts';
import { History, MonitorWorld, type Watcher } from './monitor-world.ts';

let world: MonitorWorld;
const closing: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await world.during(close());
  await world.close();
});

const random = seededRandom(23);
let made = 0;
function entry(text: string): { bytes: Uint8Array; id16: Uint8Array } {
  const random16 = Uint8Array.from({ length: 16 }, () => Math.floor(random() * 256));
  const id = createUuid7(NOW_MS + made++, random16);
  return { bytes: new TextEncoder().encode(JSON.stringify({ id, text })), id16: parseUuid7(id).bytes };
}

/** Its own log, a real one, in a store beside what else it keeps. */
interface Own {
  readonly watcher: Watcher;
  readonly anchor: MemoryAnchor;
  store: MemoryStore;
  log: AuditLog;
}

const partsOf = ({ watcher, anchor, store }: Omit<Own, 'log'>) => ({
  store,
  anchor,
  signer: watcher.log.key,
  clock: world.clock,
  log: quiet,
  isSignatureValid: isSignatureValidSodium,
});

async function append(log: AuditLog, count: number): Promise<void> {
  await world.during(Promise.all(Array.from({ length: count }, (_, i) => log.append(entry(`entry ${i}`)))));
}

const release = (log: AuditLog) => world.during(log.release());

async function ownLog(watcher: Watcher): Promise<Own> {
  const parts = { watcher, anchor: new MemoryAnchor(), store: new MemoryStore() };
  const log = await world.during(createGeneration(partsOf(parts), () => entry('the first')));
  const own: Own = { ...parts, log };
  closing.push(() => own.log.close());
  watcher.shows = () => {
    const released = own.log.released();
    return released === undefined ? undefined : { history: own.log.files, released };
  };
  return own;
}

async function copyOf(store: MemoryStore): Promise<MemoryStore> {
  const copy = new MemoryStore();
  for await (const [key, value] of store.range(Uint8Array.of(0), Uint8Array.of(0xff)))
    await copy.batch([{ type: 'put', key, value }], { sync: true });
  return copy;
}

/** The log as it is when the daemon starts with this in place of its database. */
async function openedWith(own: Own, store: MemoryStore): Promise<AuditLog> {
  await world.during(own.log.close());
  own.store = store;
  const log = await world.during(openAuditLog(partsOf(own)));
  if (log === undefined) throw new Error('there is no log');
  own.log = log;
  return log;
}

/** acme's log, which beta mirrors; gamma looks on. */
async function mirrored(): Promise<[Own, Watcher, Watcher, Mirrors]> {
  world = new MonitorWorld();
  const isReader = (did: string): boolean => did === readers;
  let readers = '';
  const acme = await world.open('acme', { server: { isReader } });
  const beta = await world.open('beta');
  const gamma = await world.open('gamma');
  readers = beta.did;
  const own = await ownLog(acme);
  await append(own.log, 299);
  await release(own.log);
  await world.connect([acme, beta], [beta, gamma], [gamma, acme]);
  const mirrors = await mirrorsAt(beta, acme.did);
  mirrors.peerBound(acme.network.peer, acme.did);
  await world.clock.advance(1_000);
  return [own, beta, gamma, mirrors];
}

async function mirrorsAt(watcher: Watcher, ...organisations: readonly string[]): Promise<Mirrors> {
  const { store, state, pipeline, reader, sync, monitor } = watcher;
  const mirrors = await Mirrors.open(
    {
      store,
      clock: world.clock,
      log: quiet,
      isSignatureValid: isSignatureValidSodium,
      state,
      pipeline,
      reader,
      peersOf: (did) => sync.peersOf(did),
      noticed: (signed, peer) => monitor.noticed(signed, peer),
    },
    organisations,
  );
  mirrors.start();
  watcher.copies = () => mirrors.copies();
  closing.push(() => mirrors.close());
  return mirrors;
}

const recover = (
  { watcher, store, anchor, log, published }: Own & { readonly published?: SignedCheckpoint },
  ...peers: readonly Watcher[]
) =>
  recoverFromMirrors(
    { store, anchor, log: quiet, isSignatureValid: isSignatureValidSodium, reader: watcher.reader, published },
    log,
    peers.map(({ network }) => network.peer),
    new AbortController().signal,
  );

async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await world.during(work, 500);
    return 'ok';
  } catch (error) {
    if (isMeshError(error)) return error.code;
    throw error;
  }
}

test('a mirror keeps what is released, follows it, and shows it like the log itself', async () => {
  const [own, beta, gamma, mirrors] = await mirrored();
  const [acme, origin] = [own.watcher, own.log.origin];
  expect(mirrors.status()).toEqual([{ organisation: acme.did, origin, treeSize: 300, problem: null }]);
  for (const count of [4_000, 1_000, 7]) await append(own.log, count); // more than a portion
  const { checkpoint } = await release(own.log);
  world.tell(beta, gamma, own.log.head());
  await world.clock.advance(1_000);
  expect(mirrors.status()).toMatchObject([{ treeSize: 5_307, problem: null }]);
  const [copy] = mirrors.copies();
  expect(toHex(await rootFromTiles(5_307, copy?.files ?? new History([])))).toBe(toHex(checkpoint.root));
  const shown = await world.during(gamma.reader.readCheckpoint(beta.network.peer, origin));
  expect(shown?.checkpoint).toEqual(checkpoint);
  // Entries of a copy are the owner's, whoever may read those of beta.
  const bundle = { index: 20, width: 187 };
  expect(await codeOf(gamma.reader.readBundle(beta.network.peer, origin, bundle))).toBe('policy_denied');
  const entries = await world.during(acme.reader.readBundle(beta.network.peer, origin, bundle));
  expect(entries?.at(-1)).toEqual(await own.log.files.entry(5_306));
  // And it is there after a restart.
  const again = await world.restart(beta);
  expect((await mirrorsAt(again, acme.did)).status()).toMatchObject([{ treeSize: 5_307 }]);
});

test('a mirror takes nothing that the checkpoint does not hold', async () => {
  const [own, beta, gamma, mirrors] = await mirrored();
  await append(own.log, 300);
  const signed = await release(own.log);
  world.mesh.onFrame = (frame, { from, name }) =>
    from === own.watcher.network.peer && name === 'tlog/read' && frame.length > 4_000
      ? frame.with(frame.length - 10, 0x30)
      : frame;
  world.tell(beta, gamma, signed);
  await world.clock.advance(1_000);
  expect(mirrors.status()).toMatchObject([{ treeSize: 300, problem: 'bad_proof' }]);
  world.mesh.onFrame = undefined;
  mirrors.peerBound(own.watcher.network.peer, own.watcher.did);
  await world.clock.advance(1_000);
  expect(mirrors.status()).toMatchObject([{ treeSize: 600, problem: null }]);
});

test('a log whose database was rolled back gets back what it lost, and goes on', async () => {
  const [own, beta, gamma] = await mirrored();
  const backup = await copyOf(own.store);
  await append(own.log, 400);
  world.tell(beta, gamma, await release(own.log));
  await world.clock.advance(1_000);
  const lost = await openedWith(own, backup);
  expect([lost.treeSize, lost.problem?.code]).toEqual([300, 'log_halted']);
  expect(await codeOf(lost.append(entry('not now')))).toBe('log_halted');
  expect(await world.during(recover(own, gamma, beta), 500)).toEqual({ before: 300, treeSize: 700, lost: 0 });
  const again = await openedWith(own, own.store);
  expect([again.treeSize, again.problem]).toEqual([700, undefined]);
  expect(again.released()?.checkpoint.treeSize).toBe(700);
  await append(again, 3);
  expect((await release(again)).checkpoint.treeSize).toBe(703);
  expect(toHex(await rootFromTiles(703, again.files))).toBe(toHex(again.root));
  await world.clock.advance(5_000);
  expect(world.convicted()).toEqual([]);
});

test('a log whose database is gone gets all of it back', async () => {
  const [own, beta] = await mirrored();
  const lost = await openedWith(own, new MemoryStore());
  expect(lost.problem?.code).toBe('log_halted');
  expect(await world.during(recover(own, beta), 500)).toEqual({ before: 0, treeSize: 300, lost: 0 });
  const again = await openedWith(own, own.store);
  expect([again.treeSize, again.problem]).toEqual([300, undefined]);
  await append(again, 1);
});

test('nothing is recovered to less than was released, nor over another history, nor where nothing is wrong', async () => {
  const [own, beta, gamma] = await mirrored();
  expect(await codeOf(recover(own, beta))).toBe('conflict');
  const backup = await copyOf(own.store);
  await append(own.log, 10);
  await release(own.log); // others may have seen it, and none of these has
  await openedWith(own, backup);
  expect(await codeOf(recover(own))).toBe('unreachable');
  expect(await codeOf(recover(own, beta, gamma))).toBe('not_found');
  expect((await openedWith(own, own.store)).problem?.code).toBe('log_halted');

  // Another history under the same key: what is here stays as it is.
  const other: Own = { ...own, anchor: new MemoryAnchor(), store: new MemoryStore() };
  other.log = await world.during(createGeneration(partsOf(other), () => entry('another first')));
  await append(other.log, 99);
  other.log.halt({ code: 'log_halted', message: 'shown to be another' });
  await world.during(other.log.flush());
  const before = await copyOf(other.store);
  expect(await codeOf(recover(other, beta))).toBe('bad_proof');
  const rows = async (store: MemoryStore): Promise<string[]> => {
    const all: string[] = [];
    for await (const [key, value] of store.range(Uint8Array.of(0), Uint8Array.of(0xff)))
      all.push(`${toHex(key)} ${toHex(value)}`);
    return all;
  };
  expect(await rows(other.store)).toEqual(await rows(before));
  await world.during(other.log.close());
});

test('heads that were never released are lost without a trace for others, and the log goes on without them', async () => {
  const [own, beta, gamma] = await mirrored();
  const backup = await copyOf(own.store);
  await append(own.log, 40);
  world.tell(beta, gamma, await release(own.log));
  await world.clock.advance(1_000);
  await append(own.log, 1);
  await append(own.log, 2); // what a daemon writes as it stops
  const unreleased = own.log.head();
  const lost = await openedWith(own, backup);
  expect(lost.problem?.message).toContain('it holds a checkpoint of 343 leaves, the database has 300');
  expect(own.anchor.sizes({ isReleased: true }).at(-1)).toBe(340);
  expect(await world.during(recover(own, gamma, beta), 500)).toEqual({ before: 300, treeSize: 340, lost: 3 });
  expect(own.anchor.sizes()).toEqual([300, 340, 340, 340]);

  const again = await openedWith(own, own.store);
  expect([again.treeSize, again.problem]).toEqual([340, undefined]);
  await append(again, 3);
  world.tell(beta, gamma, await release(again));
  expect(again.head().checkpoint.treeSize).toBe(unreleased.checkpoint.treeSize);
  expect(toHex(again.root)).not.toBe(toHex(unreleased.checkpoint.root));
  await world.clock.advance(5_000);
  expect(world.convicted()).toEqual([]);
  expect((await openedWith(own, own.store)).problem).toBeUndefined();
});

test('where no slot of the anchor tells what was released, no head is given up', async () => {
  const [own, beta] = await mirrored();
  const backup = await copyOf(own.store);
  await append(own.log, 10);
  await openedWith(own, backup);
  own.anchor.slots = (own.anchor.slots ?? []).filter(({ isReleased }) => !isReleased);
  expect(await codeOf(recover(own, beta))).toBe('not_found');
  expect(own.anchor.sizes().at(-1)).toBe(310);
});

test('nothing is recovered to less than the set of statements holds', async () => {
  const [own, beta] = await mirrored();
  const backup = await copyOf(own.store);
  const slots = own.anchor.slots;
  await append(own.log, 50);
  const published = await release(own.log); // and beta has not fetched it
  await world.during(own.log.close());
  own.anchor.slots = slots; // the whole home is an older copy
  const log = await openedWith(own, backup);
  log.halt({ code: 'log_halted', message: 'for another reason' });
  await world.during(log.flush());
  const before = own.anchor.slots;
  expect(await codeOf(recover({ ...own, published }, beta))).toBe('not_found');
  expect(own.anchor.slots).toEqual(before);
  expect(await codeOf(recover(own, beta))).toBe('ok');
});

test('an anchored head that contradicts the copy is not written over', async () => {
  const [own, beta] = await mirrored();
  const other: Own = { ...own, anchor: new MemoryAnchor(), store: new MemoryStore() };
  other.log = await world.during(createGeneration(partsOf(other), () => entry('another first')));
  await append(other.log, 99);
  await world.during(other.log.close());
  await world.during(own.log.close());
  own.anchor.slots = [...(own.anchor.slots ?? []), ...(other.anchor.slots ?? []).slice(-1)];
  const slots = own.anchor.slots;
  await openedWith(own, new MemoryStore());
  expect(await codeOf(recover(own, beta))).toBe('bad_proof');
  expect(own.anchor.slots).toEqual(slots);
});

test('a copy with more cosignatures than fit the anchor is recovered like any other', async () => {
  const [own, beta] = await mirrored();
  const { checkpoint, note } = await release(own.log);
  const lines = Array.from({ length: 7 }, (_, i) => cosignLine(ownWitness(`w${i}`), note.text, 1_700_000_000));
  await world.during(own.log.addCosignatures(checkpoint.treeSize, lines));
  const [copy] = beta.copies();
  const held = copy?.released();
  const cosigned = own.log.released();
  if (copy === undefined || held === undefined || cosigned === undefined) throw new Error('there is a copy');
  Object.assign(copy, { released: () => cosigned });
  await openedWith(own, new MemoryStore());
  expect(await world.during(recover(own, beta), 500)).toEqual({ before: 0, treeSize: 300, lost: 0 });
  const again = await openedWith(own, own.store);
  expect(again.problem).toBeUndefined();
  expect(again.released()?.note.signatures).toHaveLength(8);
  expect(again.head().note.signatures).toHaveLength(1);
  await world.during(again.close());
});

test('a log that was halted by what the own key signed is not recovered to less than that, whoever has forgotten it', async () => {
  const [own, beta] = await mirrored();
  const backup = await copyOf(own.store);
  const notes = own.anchor.slots;
  await append(own.log, 50);
  const seen = await release(own.log); // to a witness, and to nobody who keeps copies
  await world.during(own.log.close());
  own.anchor.slots = notes; // the whole home is an older copy
  const rolledBack = await openedWith(own, backup);
  expect([rolledBack.treeSize, rolledBack.problem]).toEqual([300, undefined]);
  rolledBack.halt({ code: 'log_halted', message: 'a witness shows more', note: formatNote(seen.note) });
  await world.during(rolledBack.flush());
  expect(await codeOf(recover(own, beta))).toBe('not_found');
  const again = await openedWith(own, own.store);
  expect(again.problem?.message).toBe('a witness shows more');
});

test('a log is not recovered to one history of two that its key signed', async () => {
  const [own, beta] = await mirrored();
  const other: Own = { ...own, anchor: new MemoryAnchor(), store: new MemoryStore() };
  other.log = await world.during(createGeneration(partsOf(other), () => entry('another first')));
  await append(other.log, 99);
  const note = formatNote((await release(other.log)).note);
  await world.during(other.log.close());
  own.log.halt({ code: 'log_halted', message: 'another tree', note });
  await world.during(own.log.flush());
  expect(await codeOf(recover(own, beta))).toBe('bad_proof');
  expect((await openedWith(own, own.store)).problem?.message).toBe('another tree');
});
