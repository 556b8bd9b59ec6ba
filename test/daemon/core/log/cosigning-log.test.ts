import { afterEach, expect, test } from 'vitest';
import type { AuditLog } from '../../../../daemon/core/log/audit-log.ts';
import { Cosigning } from '../../../../daemon/core/log/cosigning.ts';
import type { Witness } from '../../../../daemon/core/log/witness.ts';
import { answerWitness, type WitnessEndpoint } from '../../../../daemon/core/log/witness-stream.ts';
import { MemoryStore } from '../../../../daemon/store/memory.ts';
import { limits } from '../../../../protocol/index.ts';
import { formatVkey, monitoringPath, type SignedCheckpoint, verifyCheckpoint } from '../../../../protocol/log/index.ts';
import { isSignatureValidSodium } from '../../../../protocol/sodium.ts';
import { settle, VirtualClock } from '../virtual-clock.ts';
import { create, entryOf, growTo, MemoryAnchor, open, quiet, rootOf, rowsOf, storeOf } from './log-world.ts';
import { witnessFor } from './witness-world.ts';

const clock = new VirtualClock();
const closing: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const each of closing.splice(0).toReversed()) await each.close();
  expect(clock.timers).toBe(0);
});

const endpointOf = (witness: Witness): WitnessEndpoint => ({
  addCheckpoint: (body) => witness.addCheckpoint(body),
  readCheckpoint: (origin) => answerWitness(witness, { path: monitoringPath(origin), body: new Uint8Array() }, 'test'),
});

function watch(auditLog: AuditLog, witnesses: readonly Witness[]): Cosigning {
  const cosigning = new Cosigning({
    auditLog,
    clock,
    log: quiet,
    isSignatureValid: isSignatureValidSodium,
    operators: () =>
      witnesses.map((witness, i) => ({ did: `did:${i}`, witnesses: [{ vkey: witness.vkey, peer: `${i}` }] })),
    endpointOf: ({ vkey }) => {
      const asked = witnesses.find((witness) => formatVkey(witness.vkey) === formatVkey(vkey));
      return asked === undefined ? undefined : endpointOf(asked);
    },
  });
  closing.push(auditLog, cosigning);
  cosigning.start();
  return cosigning;
}

/** What needs no time, and the turns of the event loop that the log takes between batches. */
async function rest(): Promise<void> {
  for (let i = 0; i < 20; i++) await settle();
}

const outcome = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => 'done',
    (error: unknown) => (error as { code?: string }).code ?? String(error),
  );

test('a log in a database is cosigned as it grows, and keeps each checkpoint with its cosignatures', async () => {
  const world = { store: new MemoryStore(), anchor: new MemoryAnchor() };
  const auditLog = await create(world);
  const witnesses = ['w1', 'w2', 'w3', 'w4'].map((name) => witnessFor(name, { clock }).witness);
  const cosigning = watch(auditLog, witnesses);
  const signed: SignedCheckpoint[] = [await cosigning.witnessed(1, 4)];
  for (const size of [2, 255, 256, 257, 600]) {
    await growTo(auditLog, size);
    signed.push(await cosigning.witnessed(size, 4));
  }
  for (const { checkpoint, note } of signed) {
    expect(checkpoint.root).toEqual(rootOf(checkpoint.treeSize));
    verifyCheckpoint(note, cosigning.policy(), isSignatureValidSodium);
    const kept = await auditLog.files.checkpointAt(checkpoint.treeSize);
    expect(kept?.note.signatures).toHaveLength(5);
    verifyCheckpoint(kept?.note ?? note, cosigning.policy(), isSignatureValidSodium);
  }
  expect(signed.map(({ checkpoint }) => checkpoint.treeSize)).toEqual([1, 2, 255, 256, 257, 600]);
});

test('a log that is opened again goes on with its witnesses', async () => {
  const world = { store: new MemoryStore(), anchor: new MemoryAnchor() };
  const { witness } = witnessFor('w1', { clock });
  const first = await create(world);
  const before = watch(first, [witness]);
  await growTo(first, 5);
  await before.witnessed(5, 1);
  for (const each of closing.splice(0).toReversed()) await each.close();
  const again = await open(world);
  const cosigning = watch(again, [witness]);
  expect(cosigning.isConfirmed).toBe(false);
  await growTo(again, 9);
  expect((await cosigning.witnessed(9, 1)).checkpoint.treeSize).toBe(9);
  expect(cosigning.isConfirmed).toBe(true);
});

test('who cosigned is remembered over what was released since without them, and over a restart', async () => {
  const world = { store: new MemoryStore(), anchor: new MemoryAnchor() };
  const { witness } = witnessFor('w1', { clock });
  const first = await create(world);
  const before = watch(first, [witness]);
  await growTo(first, 5);
  await before.witnessed(5, 1);
  await before.close();
  await growTo(first, 7);
  await first.release();
  expect([first.released()?.checkpoint.treeSize, first.cosigned()?.checkpoint.treeSize]).toEqual([7, 5]);
  for (const each of closing.splice(0).toReversed()) await each.close();
  const again = await open(world);
  closing.push(again);
  expect(again.released()?.note.signatures).toHaveLength(1);
  expect(again.cosigned()?.note.signatures.map(({ name }) => name)).toEqual([again.origin, witness.vkey.name]);
});

test('a database and anchor restored from an older copy release nothing: the witness shows what they forgot', async () => {
  const world = { store: new MemoryStore(), anchor: new MemoryAnchor() };
  const { witness } = witnessFor('w1', { clock });
  const first = await create(world);
  const before = watch(first, [witness]);
  await growTo(first, 5);
  await before.witnessed(5, 1);
  const copy = { rows: await rowsOf(world.store), slots: world.anchor.slots ?? [] };
  await growTo(first, 9);
  await before.witnessed(9, 1);
  for (const each of closing.splice(0).toReversed()) await each.close();

  const restored = { store: await storeOf(copy.rows), anchor: new MemoryAnchor(copy.slots) };
  const auditLog = await open(restored);
  expect(auditLog.problem).toBeUndefined(); // by itself it cannot know
  await growTo(auditLog, 7);
  const cosigning = watch(auditLog, [witness]);
  const waiting = outcome(cosigning.witnessed(7, 1));
  await rest();
  expect(await waiting).toBe('log_halted');
  expect(auditLog.problem?.message).toContain('it cosigned a tree of 9 entries, and 7 are held here');
  expect(auditLog.released()?.checkpoint.treeSize).toBe(5);
  expect(await outcome(auditLog.append(entryOf(7)))).toBe('log_halted');
  await clock.advance(2 * limits.COSIGNING_REFRESH_MS);
  await auditLog.flush();
  for (const each of closing.splice(0).toReversed()) await each.close();

  const again = await open(restored);
  closing.push(again);
  expect(again.problem?.place).toBe(`witness ${witness.vkey.name}`);
  expect(again.released()?.checkpoint.treeSize).toBe(5);
});
