import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { CheckpointGossip } from '../../../../daemon/core/log/checkpoint-gossip.ts';
import { ensureBinding } from '../../../../daemon/core/log/own-binding.ts';
import { limits } from '../../../../protocol/index.ts';
import {
  checkpointStatement,
  formatNote,
  formatVkey,
  parseCheckpoint,
  type SignedCheckpoint,
  witnessVkey,
} from '../../../../protocol/log/index.ts';
import { rawKeyOf } from '../../../../protocol/encoding/multikey.ts';
import { createOrganisation, keyOf } from '../../../builders.ts';
import { cosignLine, logSigner, signedNote, witnessSigner } from '../../../protocol/log/sample.ts';
import { quiet } from '../handshake-world.ts';
import { Door } from '../pipeline-world.ts';
import { settle } from '../virtual-clock.ts';
import { SampleLog } from './witness-world.ts';

const acme = createOrganisation('acme');
const witness = witnessVkey(rawKeyOf(keyOf('acme witness').publicKey));
const log = new SampleLog('acme');
const components = (door: Door, organisation = acme.keys.sign, witnessKey = keyOf('acme witness')) => ({
  pipeline: door.pipeline,
  clock: door.clock,
  did: acme.did,
  signers: { organisation, log: log.key, witness: witnessKey },
});
const bound = { log: log.vkey, witness, peer: acme.node.peerId };

let door: Door;
let gossip: CheckpointGossip;
let organisations: number;
beforeEach(async () => {
  door = new Door().hold(acme.genesis);
  organisations = 1;
  gossip = new CheckpointGossip({
    pipeline: door.pipeline,
    state: door.state,
    clock: door.clock,
    log: quiet,
    organisations: () => organisations,
  });
  await ensureBinding(components(door), bound);
  door.heard.length = 0;
});
afterEach(async () => {
  gossip.close();
  await door.clock.advance(100); // the pipeline's own
  await door.pipeline.close();
  expect(door.clock.timers).toBe(0);
});

const heldSize = (): number | undefined => {
  const held = door.state.checkpointOf(log.origin);
  return held === undefined ? undefined : parseCheckpoint(held.payload.note).checkpoint.treeSize;
};
/** Sizes of what was put here, in order. */
const puts = (): number => door.heard.filter(([what, , via]) => what === 'accepted' && via === 'local').length;
const fromPeer = (signed: SignedCheckpoint): void => {
  door.pipeline.receive(checkpointStatement(formatNote(signed.note)).envelope, {
    via: 'gossip',
    peer: 'p',
    topic: 'cp',
  });
};

describe('the own binding', () => {
  test('is made once, and again where log, witness or node are others', async () => {
    const state = door.state;
    expect(state.bindingsOf(acme.did).map(({ payload }) => [payload.log, payload.wit, payload.peer])).toEqual([
      [formatVkey(log.vkey), formatVkey(witness), acme.node.peerId],
    ]);
    const again = await ensureBinding(components(door), bound);
    expect(again).toBe(state.bindingsOf(acme.did)[0]);
    const another = keyOf('another');
    const others = [
      { what: { ...bound, log: new SampleLog('acme', { generation: 1 }).vkey } },
      { what: { ...bound, witness: witnessVkey(rawKeyOf(another.publicKey)) }, witnessKey: another },
      { what: { ...bound, peer: another.peerId } },
    ];
    for (const [i, { what, witnessKey }] of others.entries()) {
      await ensureBinding(components(door, acme.keys.sign, witnessKey), what);
      await ensureBinding(components(door, acme.keys.sign, witnessKey), what);
      expect(state.bindingsOf(acme.did)).toHaveLength(i + 2);
    }
  });

  test('is refused as any statement is, by a key that does not speak for the organisation', async () => {
    await expect(
      ensureBinding(components(door, keyOf('nobody')), { ...bound, peer: keyOf('x').peerId }),
    ).rejects.toMatchObject({ code: 'pending' });
  });
});

describe('a checkpoint', () => {
  test('is put at once where none was seen, without the cosignatures', async () => {
    const signed = log.at(3);
    const line = cosignLine(witnessSigner(witness.name, 'acme witness'), signed.note.text, 1_795_000_000);
    gossip.put({ ...signed, note: { ...signed.note, signatures: [line, ...signed.note.signatures] } });
    await settle();
    expect([heldSize(), puts()]).toEqual([3, 1]);
    const held = door.state.checkpointOf(log.origin);
    expect(parseCheckpoint(held?.payload.note ?? new Uint8Array()).note.signatures).toHaveLength(1);
  });

  test('waits for a second since the last one of its log, and then the newest one goes', async () => {
    gossip.put(log.at(3));
    await door.clock.advance(100);
    for (const size of [4, 6, 5]) gossip.put(log.at(size));
    await door.clock.advance(limits.CHECKPOINT_GOSSIP_MS_MIN - 101);
    expect([heldSize(), puts()]).toEqual([3, 1]);
    await door.clock.advance(2);
    expect([heldSize(), puts()]).toEqual([6, 2]);
    await door.clock.advance(60_000);
    expect(puts()).toBe(2);
  });

  test('is not put where somebody else put one as large', async () => {
    gossip.put(log.at(3));
    await settle();
    gossip.put(log.at(5));
    await door.clock.advance(500);
    fromPeer(log.at(5));
    await door.clock.advance(60_000);
    expect([heldSize(), puts()]).toEqual([5, 1]);
    door.signaturesChecked = 0;
    gossip.put(log.at(5));
    gossip.put(log.at(2));
    await door.clock.advance(60_000);
    expect([puts(), door.signaturesChecked]).toEqual([1, 0]);
  });

  test('waits from whatever was seen last, also from others', async () => {
    fromPeer(log.at(3));
    gossip.put(log.at(5));
    await door.clock.advance(900);
    fromPeer(log.at(4));
    await door.clock.advance(900);
    expect([heldSize(), puts()]).toEqual([4, 0]);
    await door.clock.advance(101);
    expect([heldSize(), puts()]).toEqual([5, 1]);
  });

  test('is rarer in a large network', async () => {
    organisations = 1_000;
    gossip.put(log.at(3));
    await settle();
    gossip.put(log.at(5));
    await door.clock.advance(1_000 * limits.CHECKPOINT_GOSSIP_MS_AN_ORGANISATION - 1);
    expect(heldSize()).toBe(3);
    await door.clock.advance(1);
    expect(heldSize()).toBe(5);
  });

  test('of one log does not wait for another, and one of a foreign log is not put', async () => {
    const second = new SampleLog('acme', { generation: 1 });
    await ensureBinding(components(door), { ...bound, log: second.vkey });
    gossip.put(log.at(3));
    gossip.put(second.at(2));
    gossip.put(
      parseCheckpoint(
        signedNote({ origin: 'example.org/log', treeSize: 2, root: log.rootAt(2) }, logSigner('example.org/log')),
      ),
    );
    await settle();
    expect(heldSize()).toBe(3);
    expect(door.state.checkpointOf(second.origin)).toBeDefined();
    expect(door.logged).toEqual([]);
  });

  test('is not put once this is closed', async () => {
    gossip.put(log.at(3));
    await settle();
    gossip.put(log.at(5));
    gossip.close();
    gossip.put(log.at(6));
    await door.clock.advance(60_000);
    expect(heldSize()).toBe(3);
  });
});
