import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Cosigning, type CosigningOptions } from '../../../../daemon/core/log/cosigning.ts';
import { TlogAsker, type TlogAnswer } from '../../../../daemon/core/log/tlog-stream.ts';
import type { Witness } from '../../../../daemon/core/log/witness.ts';
import type { OperatedWitness, WitnessOperator } from '../../../../daemon/core/log/witness-policy.ts';
import {
  serveWitness,
  WITNESS_FRAME_BYTES_MAX,
  type WitnessEndpoint,
  witnessOfPeer,
} from '../../../../daemon/core/log/witness-stream.ts';
import { isMeshError, limits, MeshError } from '../../../../protocol/index.ts';
import {
  formatCosignatures,
  formatNote,
  formatTreeSize,
  parseAddCheckpoint,
  type SignedCheckpoint,
  verifyCheckpoint,
  verifyNote,
} from '../../../../protocol/log/index.ts';
import { isSignatureValidSodium } from '../../../../protocol/sodium.ts';
import { keyOf } from '../../../builders.ts';
import { bytesOf, cosignLine, witnessSigner } from '../../../protocol/log/sample.ts';
import { quiet } from '../handshake-world.ts';
import { MemoryMesh, type MemoryNetwork } from '../memory-network.ts';
import { settle, VirtualClock } from '../virtual-clock.ts';
import { SampleLog, witnessFor } from './witness-world.ts';

const LATENCY_MS = 5;

let clock: VirtualClock;
let mesh: MemoryMesh;
let own: MemoryNetwork;
let log: SampleLog;
let asker: TlogAsker;
let released: SignedCheckpoint[];
let cosigning: Cosigning;
/** By name; a test may take one away, or put its own endpoint in its place. */
let operators: Map<string, { operator: WitnessOperator; endpoint: WitnessEndpoint | undefined; witness: Witness }>;
let asked: { readonly name: string; readonly what: 'read' | 'add'; readonly oldSize: number; readonly lines: number }[];

beforeEach(() => {
  clock = new VirtualClock();
  mesh = new MemoryMesh({ clock, latencyMs: LATENCY_MS });
  own = mesh.join('own');
  log = new SampleLog('own');
  asker = new TlogAsker({ network: own, clock }, 'tlog/witness', { frameBytesMax: WITNESS_FRAME_BYTES_MAX });
  [released, asked, operators] = [[], [], new Map()];
});
afterEach(async () => {
  await cosigning.close();
  asker.close();
  await clock.advance(100);
  for (const network of mesh.nodes.values()) {
    expect(network.faults).toEqual([]);
    await network.close();
  }
  expect(clock.timers).toBe(0);
});

/** An organisation with a witness at its peer, connected. */
async function join(
  name: string,
  world: Partial<Parameters<typeof witnessFor>[1]> = {},
): Promise<ReturnType<typeof witnessFor>> {
  const made = witnessFor(name, { clock, ...world });
  const network = mesh.join(name);
  await serveWitness({ network, log: quiet, witness: made.witness });
  mesh.connect(own, network);
  network.setBound('own', true);
  const operator = { did: `did:${name}`, witnesses: [{ vkey: made.witness.vkey, peer: name }] };
  operators.set(name, { operator, endpoint: witnessOfPeer(asker, name), witness: made.witness });
  return made;
}

const namesOf = (count: number): string[] => Array.from({ length: count }, (_, i) => `w${i + 1}`);

function begin(options: CosigningOptions = {}): Cosigning {
  const nameOf = ({ peer }: OperatedWitness): string => peer ?? '';
  cosigning = new Cosigning(
    {
      auditLog: log,
      clock,
      log: quiet,
      isSignatureValid: isSignatureValidSodium,
      operators: () => [...operators.values()].map(({ operator }) => operator),
      endpointOf: (witness) => {
        const endpoint = operators.get(nameOf(witness))?.endpoint;
        return endpoint === undefined ? undefined : noted(nameOf(witness), endpoint);
      },
      onReleased: (signed) => released.push(signed),
    },
    options,
  );
  cosigning.start();
  return cosigning;
}

const noted = (name: string, endpoint: WitnessEndpoint): WitnessEndpoint => ({
  addCheckpoint: (body, signal) => {
    const { oldSize, signed } = parseAddCheckpoint(body);
    asked.push({ name, what: 'add', oldSize, lines: signed.note.signatures.length });
    return endpoint.addCheckpoint(body, signal);
  },
  readCheckpoint: (origin, signal) => {
    asked.push({ name, what: 'read', oldSize: 0, lines: 0 });
    return endpoint.readCheckpoint(origin, signal);
  },
});

const sizes = (): number[] => released.map(({ checkpoint }) => checkpoint.treeSize);
const cosigners = (signed: SignedCheckpoint | undefined): string[] =>
  (signed?.note.signatures ?? [])
    .flatMap(({ name }) =>
      [...operators].filter(([, { witness }]) => witness.vkey.name === name).map(([known]) => known),
    )
    .toSorted((a, b) => a.localeCompare(b));
const outcome = (work: Promise<SignedCheckpoint>): Promise<SignedCheckpoint | string> =>
  work.catch((error: unknown) => (isMeshError(error) ? error.code : `fault: ${String(error)}`));
async function during<T>(work: Promise<T>, forMs = 100): Promise<T> {
  await clock.advance(forMs);
  return Promise.race([work, settle().then(() => Promise.reject(new Error('it still waits')))]);
}
const stands = async (work: Promise<unknown>): Promise<boolean> =>
  Promise.race([work.then(() => false), settle().then(() => true)]);
const answering = (
  answer: (body: Uint8Array) => Promise<TlogAnswer> | TlogAnswer,
  shown?: TlogAnswer,
): WitnessEndpoint => ({
  addCheckpoint: async (body) => answer(body),
  readCheckpoint: async () => shown ?? { status: 404, contentType: 'text/plain', body: bytesOf('never cosigned\n') },
});
const plain = (status: number, text: string): TlogAnswer => ({
  status,
  contentType: 'text/plain',
  body: bytesOf(text),
});
const put = (name: string, endpoint: WitnessEndpoint | undefined): void => {
  const held = operators.get(name);
  if (held !== undefined) operators.set(name, { ...held, endpoint });
};

describe('a log that is watched', () => {
  test('is cosigned by all who can, with lines that verify under the policy', async () => {
    for (const name of namesOf(4)) await join(name);
    begin();
    const signed = await during(cosigning.witnessed(1));
    expect(signed.checkpoint).toEqual(log.at(1).checkpoint);
    verifyCheckpoint(signed.note, cosigning.policy(), isSignatureValidSodium, {
      nowMs: clock.nowMs(),
      ageSecondsMax: 60,
    });
    expect(cosigners(log.released())).toEqual(namesOf(4));
    expect(cosigning.status()).toMatchObject({
      isConfirmed: true,
      operators: 4,
      quorum: 3,
      witnessed: { treeSize: 1, operators: 4 },
    });
    for (const row of cosigning.status().witnesses)
      expect(row).toMatchObject({
        treeSize: 1,
        isReachable: true,
        error: null,
        timeSeconds: Math.floor(clock.nowMs() / 1000),
      });
  });

  test('of which nobody is known to be a witness is released all the same, with a quorum of none', async () => {
    begin();
    const signed = await during(cosigning.witnessed(1));
    expect([signed.checkpoint.treeSize, signed.note.signatures.length]).toEqual([1, 1]);
    expect(await outcome(cosigning.witnessed(1, 1))).toBe('quorum');
    expect(cosigning.policy().quorum).toBeUndefined();
  });

  test('shows the witness what it had before, and only the own line', async () => {
    await join('w1');
    begin({ releaseMs: 100 });
    await during(cosigning.witnessed(1, 1));
    log.grow(4);
    await during(cosigning.witnessed(5, 1));
    log.grow(4);
    await during(cosigning.witnessed(9, 1));
    expect(asked.map(({ what, oldSize }) => [what, oldSize])).toEqual([
      ['read', 0],
      ['add', 0],
      ['add', 1],
      ['add', 5],
    ]);
  });
});

describe('releases', () => {
  test('come at once when somebody waits, and not before the round under way is over', async () => {
    for (const name of namesOf(3)) await join(name);
    begin();
    await during(cosigning.witnessed(1, 3));
    const startMs = clock.monotonicMs();
    const times: number[] = [];
    for (let i = 0; i < 3; i++) {
      const size = log.grow();
      const waits = cosigning.witnessed(size, 3).then((signed) => {
        times.push(clock.monotonicMs() - startMs);
        return signed;
      });
      log.grow();
      const later = cosigning.witnessed(size + 1, 2);
      await clock.advance(4 * LATENCY_MS + 1);
      await Promise.all([waits, later]);
    }
    expect(sizes()).toEqual([1, 3, 5, 7]); // what came meanwhile is in the same one
    expect(Math.max(...times)).toBeLessThan(3 * (4 * LATENCY_MS + 1));
  });

  test('wait for each other while a round is in flight', async () => {
    for (const name of namesOf(2)) await join(name);
    begin();
    await during(cosigning.witnessed(1, 2));
    log.grow();
    const first = cosigning.witnessed(2, 2);
    await clock.advance(1);
    log.grow();
    const second = cosigning.witnessed(3, 2);
    await clock.advance(1);
    expect(sizes()).toEqual([1, 2]);
    await clock.advance(2 * LATENCY_MS);
    expect([(await first).checkpoint.treeSize, sizes()]).toEqual([2, [1, 2, 3]]);
    await clock.advance(2 * LATENCY_MS);
    expect((await second).checkpoint.treeSize).toBe(3);
  });

  test('are at most one a second while the log grows and nobody waits', async () => {
    await join('w1');
    begin();
    await clock.advance(100);
    for (let i = 0; i < 100; i++) {
      log.grow();
      await clock.advance(50);
    }
    expect(released.length).toBeGreaterThanOrEqual(5);
    expect(released.length).toBeLessThanOrEqual(7);
    await clock.advance(1_000);
    expect(sizes().at(-1)).toBe(101);
  });

  test('of an idle log are refreshed, by the same checkpoint', async () => {
    await join('w1');
    begin();
    await clock.advance(limits.COSIGNING_REFRESH_MS - 1_000);
    const before = cosigning.status().witnesses[0]?.timeSeconds ?? 0;
    expect(asked.filter(({ what }) => what === 'add')).toHaveLength(1);
    await clock.advance(2_000);
    expect(asked.filter(({ what }) => what === 'add').map(({ oldSize }) => oldSize)).toEqual([0, 1]);
    expect((cosigning.status().witnesses[0]?.timeSeconds ?? 0) - before).toBe(600);
    expect(asked.map(({ lines }) => lines)).toEqual([0, 1, 1]); // cosignatures are nobody else's business
    expect([log.releases.length, cosigners(log.released())]).toEqual([1, ['w1']]);
  });

  test('are one at a time, however long the disk takes', async () => {
    await join('w1');
    begin();
    await during(cosigning.witnessed(1, 1));
    let pass = (): void => {};
    log.gate = new Promise((resolve) => {
      pass = resolve;
    });
    const waits = [log.grow(), log.grow()].map((size) => cosigning.witnessed(size, 1));
    await clock.advance(2_000);
    waits.push(cosigning.witnessed(3, 1));
    await clock.advance(2_000);
    expect(log.releasing).toBe(1);
    pass();
    expect((await during(Promise.all(waits))).map(({ checkpoint }) => checkpoint.treeSize)).toEqual([3, 3, 3]);
  });

  test('go on while one witness is silent, which is asked again later', async () => {
    for (const name of namesOf(3)) await join(name);
    let silent = true;
    const real = operators.get('w3')?.endpoint as WitnessEndpoint;
    put('w3', {
      readCheckpoint: (origin, signal) => real.readCheckpoint(origin, signal),
      addCheckpoint: (body, signal) =>
        silent
          ? new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)))
          : real.addCheckpoint(body, signal),
    });
    begin();
    await during(cosigning.witnessed(1));
    for (let size = 2; size <= 6; size++) {
      log.grow();
      expect((await during(cosigning.witnessed(size), 20)).checkpoint.treeSize).toBe(size);
    }
    expect(clock.monotonicMs()).toBeLessThan(limits.TLOG_ANSWER_MS);
    const all = cosigning.witnessed(6, 3);
    silent = false;
    await clock.advance(limits.TLOG_ANSWER_MS);
    expect(cosigning.status().witnesses[2]).toMatchObject({ treeSize: 0 });
    await clock.advance(1_100);
    expect(cosigners(await all)).toEqual(namesOf(3));
    expect(cosigning.status().witnesses[2]).toMatchObject({ treeSize: 6, error: null });
  });

  test('that fail are told to whoever waits, and tried again', async () => {
    await join('w1');
    log.refusal = new MeshError('read_only', 'Cannot write: no room');
    begin();
    expect(await during(outcome(cosigning.witnessed(1)))).toBe('read_only');
    log.refusal = undefined;
    expect(await during(outcome(cosigning.witnessed(1)))).toMatchObject({ checkpoint: { treeSize: 1 } });
  });
});

describe('whoever waits', () => {
  test('is answered by operators, not by keys', async () => {
    for (const name of namesOf(3)) await join(name);
    const [first, second] = [operators.get('w1'), operators.get('w2')];
    if (first === undefined || second === undefined) throw new Error('nobody joined');
    const one = { did: 'did:w1', witnesses: [...first.operator.witnesses, ...second.operator.witnesses] };
    const known = [one, operators.get('w3')?.operator as WitnessOperator];
    put('w3', undefined);
    cosigning = new Cosigning({
      auditLog: log,
      clock,
      log: quiet,
      isSignatureValid: isSignatureValidSodium,
      operators: () => known,
      endpointOf: ({ peer }) => operators.get(peer ?? '')?.endpoint,
    });
    cosigning.start();
    const two = cosigning.witnessed(1, 2);
    await clock.advance(100);
    expect(cosigners(log.released())).toEqual(['w1', 'w2']);
    expect(await stands(two)).toBe(true);
    put('w3', witnessOfPeer(asker, 'w3'));
    cosigning.changed();
    expect(cosigners(await during(two, 1_000))).toEqual(namesOf(3));
  });

  test('may stop, is told when the daemon does, and waits for no more operators than there are', async () => {
    await join('w1');
    put('w1', undefined);
    begin();
    const stop = new AbortController();
    const [mine, others] = [
      outcome(cosigning.witnessed(1, 1, { signal: stop.signal })),
      outcome(cosigning.witnessed(1, 1)),
    ];
    expect(await outcome(cosigning.witnessed(1, 2))).toBe('quorum');
    expect(await outcome(cosigning.witnessed(2, 1))).toBe('not_found');
    await clock.advance(100);
    stop.abort();
    expect(await mine).toBe('cancelled');
    expect(await stands(others)).toBe(true);
    await cosigning.close();
    expect(await others).toBe('cancelled');
    expect(await outcome(cosigning.witnessed(1, 1))).toBe('cancelled');
  });

  test('is refused beyond a bound', async () => {
    await join('w1');
    put('w1', undefined);
    begin();
    const waiting = Array.from({ length: limits.COSIGNING_WAITERS_MAX }, () => outcome(cosigning.witnessed(1, 1)));
    expect(await outcome(cosigning.witnessed(1, 1))).toBe('busy');
    await cosigning.close();
    expect(new Set(await Promise.all(waiting))).toEqual(new Set(['cancelled']));
  });

  test('does not count what an operator cosigned that is none any more', async () => {
    for (const name of namesOf(2)) await join(name);
    begin();
    await during(cosigning.witnessed(1, 2));
    operators.delete('w2');
    cosigning.changed();
    await clock.advance(500);
    expect(cosigning.status()).toMatchObject({ operators: 1, quorum: 1, witnessed: { operators: 1 } });
    expect(await outcome(cosigning.witnessed(1, 2))).toBe('quorum');
  });
});

describe('answers of a witness', () => {
  test('with a line that does not verify, or none of its own, add nothing and blame nobody', async () => {
    const { witness } = await join('w1');
    const real = operators.get('w1')?.endpoint as WitnessEndpoint;
    const stranger = witnessSigner('stranger.example/w');
    const text = log.at(1).note.text;
    const spoiled: TlogAnswer[] = [
      plain(200, ''),
      plain(200, 'thank you\n'),
      plain(200, new TextDecoder().decode(formatCosignatures([cosignLine(stranger, text, 1_800_000_000)]))),
      plain(
        200,
        new TextDecoder().decode(
          formatCosignatures([cosignLine({ key: stranger.key, vkey: witness.vkey }, text, 1_800_000_000)]),
        ),
      ),
      plain(500, 'internal\n'),
      plain(403, 'no\n'),
      plain(429, 'too many requests\n'),
    ];
    let answers = 0;
    put(
      'w1',
      answering((body) => spoiled[answers++] ?? real.addCheckpoint(body, new AbortController().signal)),
    );
    begin();
    const signed = cosigning.witnessed(1, 1);
    for (const [i] of spoiled.entries()) {
      await clock.advance(i === 0 ? 10 : Math.min(60_000, 1_000 * 2 ** (i - 1)));
      expect(answers, `answer ${i}`).toBe(i + 1);
      expect(cosigners(log.released()), `answer ${i}`).toEqual([]);
      expect(cosigning.status().witnesses[0]?.error, `answer ${i}`).toMatch(/^Cannot /);
    }
    await clock.advance(64_000);
    expect(cosigners(await signed)).toEqual(['w1']);
    expect(log.problem).toBeUndefined();
  });

  test('with a line of its own and one of a stranger add the own one', async () => {
    await join('w1');
    const real = operators.get('w1')?.endpoint as WitnessEndpoint;
    const line = formatCosignatures([cosignLine(witnessSigner('stranger.example/w'), log.at(1).note.text, 1)]);
    put('w1', {
      ...real,
      addCheckpoint: async (body, signal) => {
        const answer = await real.addCheckpoint(body, signal);
        return { ...answer, body: Uint8Array.from([...line, ...answer.body]) };
      },
    });
    begin();
    const signed = await during(cosigning.witnessed(1, 1));
    expect(signed.note.signatures).toHaveLength(2);
    expect(
      verifyNote(signed.note, [log.vkey, operators.get('w1')?.witness.vkey ?? log.vkey], isSignatureValidSodium),
    ).toHaveLength(2);
  });

  test('with the size that it has are followed once, from there', async () => {
    const { witness } = await join('w1');
    begin();
    await during(cosigning.witnessed(1, 1));
    log.grow(5);
    await witness.addCheckpoint(log.request(1, 4)); // an answer that was lost
    expect((await during(cosigning.witnessed(6, 1))).checkpoint.treeSize).toBe(6);
    expect(asked.filter(({ what }) => what === 'add').map(({ oldSize }) => oldSize)).toEqual([0, 1, 4]);
  });

  test('with a later size than that of the checkpoint are no fault of anybody', async () => {
    const { witness } = await join('w1');
    begin();
    await during(cosigning.witnessed(1, 1));
    log.grow(4);
    await clock.advance(900); // a release of 5 is due at 1,000
    mesh.onFrame = (frame) => {
      log.treeSize = 8; // after the release, before the witness has it
      return frame;
    };
    await witness.addCheckpoint(log.request(1, 7));
    await clock.advance(150);
    expect(sizes()).toEqual([1, 5]);
    expect(cosigning.status().witnesses[0]).toMatchObject({ treeSize: 7, error: null });
    mesh.onFrame = undefined;
    expect((await during(cosigning.witnessed(8, 1))).checkpoint.treeSize).toBe(8);
  });

  test('of a witness that lost its memory are followed from the start', async () => {
    await join('w1');
    begin();
    await during(cosigning.witnessed(1, 1));
    const { witness } = witnessFor('w1', { clock });
    put(
      'w1',
      answering((body) => witness.addCheckpoint(body)),
    );
    log.grow(5);
    expect((await during(cosigning.witnessed(6, 1))).checkpoint.treeSize).toBe(6);
    expect(log.problem).toBeUndefined();
  });

  test('that name sizes again and again end the try', async () => {
    await join('w1');
    put(
      'w1',
      answering(() => ({ status: 409, contentType: 'text/x.tlog.size', body: formatTreeSize(0) })),
    );
    begin();
    await clock.advance(500);
    expect(asked.filter(({ what }) => what === 'add')).toHaveLength(2);
    expect(cosigning.status().witnesses[0]?.error).toContain('409');
    expect(log.problem).toBeUndefined();
  });
});

describe('a database that is older than what was cosigned', () => {
  const cosignedBefore = (signed: SignedCheckpoint, { vkey }: Witness): SignedCheckpoint => {
    const line = cosignLine({ key: keyOf('w1 witness'), vkey }, signed.note.text, 1_700_000_000);
    return { ...signed, note: { ...signed.note, signatures: [...signed.note.signatures, line] } };
  };

  test('is found before anything is released, and stops the log', async () => {
    const { witness } = await join('w1');
    for (const [from, to] of [
      [0, 3],
      [3, 9],
    ] as const)
      await witness.addCheckpoint(log.request(from, to));
    log.treeSize = 5; // restored: it has forgotten 9
    log.restore(cosignedBefore(log.at(3), witness));
    begin();
    const waiting = outcome(cosigning.witnessed(5, 1));
    expect(await during(waiting)).toBe('log_halted');
    expect(log.problem?.message).toContain('it cosigned a tree of 9 entries, and 5 are held here');
    expect(log.problem?.message).toContain(witness.vkey.name);
    expect([log.releases, released]).toEqual([[], []]);
    log.grow();
    await clock.advance(120_000);
    expect([log.releases, asked.filter(({ what }) => what === 'add')]).toEqual([[], []]);
    expect(await outcome(cosigning.witnessed(5, 1))).toBe('log_halted');
  });

  test('and has grown another way since is found by its root', async () => {
    const { witness } = await join('w1');
    await witness.addCheckpoint(new SampleLog('own', { salt: 'lost', from: 3 }).request(0, 5));
    log.treeSize = 8;
    log.restore(cosignedBefore(log.at(3), witness));
    begin();
    await clock.advance(100);
    expect(log.problem?.message).toContain('it cosigned another tree of 5 entries');
    expect(log.releases).toEqual([]);
  });

  test('keeps silent until a witness from before has answered, however many others do', async () => {
    const { witness } = await join('w1');
    await join('w2');
    await witness.addCheckpoint(log.request(0, 3));
    log.treeSize = 4;
    log.restore(cosignedBefore(log.at(3), witness));
    const real = operators.get('w1')?.endpoint;
    put('w1', undefined);
    begin();
    await clock.advance(30_000);
    expect([cosigning.isConfirmed, log.releases.length]).toEqual([false, 0]);
    expect(asked.filter(({ name }) => name === 'w2').map(({ what }) => what)).toEqual(['read']);
    put('w1', real);
    cosigning.changed();
    await clock.advance(1_000);
    expect([cosigning.isConfirmed, sizes(), cosigners(log.released())]).toEqual([true, [4], ['w1', 'w2']]);
  });

  test('keeps silent for whoever cosigned an earlier checkpoint, where the newest one has no cosignatures', async () => {
    const { witness } = await join('w1');
    await join('w2');
    await witness.addCheckpoint(log.request(0, 3));
    log.treeSize = 5;
    log.restore(log.at(4), cosignedBefore(log.at(3), witness));
    const real = operators.get('w1')?.endpoint;
    put('w1', undefined);
    begin();
    await clock.advance(30_000);
    expect([cosigning.isConfirmed, log.releases.length]).toEqual([false, 0]);
    put('w1', real);
    cosigning.changed();
    await clock.advance(1_000);
    expect([cosigning.isConfirmed, sizes()]).toEqual([true, [5]]);
  });

  test('is not confirmed by a witness from before that knows nothing of it any more, until the minute is over', async () => {
    const { witness } = await join('w1');
    log.treeSize = 4;
    log.restore(cosignedBefore(log.at(3), witness));
    begin();
    await clock.advance(limits.COSIGNING_CONFIRM_MS - 1);
    expect([cosigning.isConfirmed, log.releases.length]).toEqual([false, 0]);
    await clock.advance(1_000);
    expect([cosigning.isConfirmed, sizes()]).toEqual([true, [4]]);
  });

  test('goes on after a minute with whoever answers, and not without anybody', async () => {
    const { witness } = await join('w1');
    await join('w2');
    log.treeSize = 4;
    log.restore(cosignedBefore(log.at(3), witness));
    const other = operators.get('w2')?.endpoint;
    put('w1', undefined);
    put('w2', undefined);
    begin();
    await clock.advance(limits.COSIGNING_CONFIRM_MS + 5_000);
    expect([cosigning.isConfirmed, log.releases.length]).toEqual([false, 0]);
    put('w2', other);
    cosigning.changed();
    await clock.advance(1_000);
    expect([cosigning.isConfirmed, sizes()]).toEqual([true, [4]]);
  });

  test('that nobody cosigned waits for a first answer where there are witnesses, but for a minute only', async () => {
    await join('w1');
    log.treeSize = 4;
    log.restore(log.at(3));
    put('w1', undefined);
    begin();
    await clock.advance(limits.COSIGNING_CONFIRM_MS - 1);
    expect(log.releases).toEqual([]);
    await clock.advance(2);
    expect(sizes()).toEqual([4]);
  });

  test('is not released before it was started, however long ago this program began', async () => {
    const { witness } = await join('w1');
    await clock.advance(2 * limits.COSIGNING_CONFIRM_MS);
    log.treeSize = 4;
    log.restore(cosignedBefore(log.at(3), witness));
    cosigning = new Cosigning({
      auditLog: log,
      clock,
      log: quiet,
      isSignatureValid: isSignatureValidSodium,
      operators: () => [...operators.values()].map(({ operator }) => operator),
      endpointOf: () => undefined,
    });
    cosigning.changed();
    await clock.advance(10_000);
    expect(log.releases).toEqual([]);
  });

  test('is not believed of a witness that shows nothing, nor what the log did not sign', async () => {
    await join('w1');
    const conflict: TlogAnswer = { status: 409, contentType: 'text/x.tlog.size', body: formatTreeSize(50) };
    put(
      'w1',
      answering(() => conflict),
    );
    begin();
    await clock.advance(500);
    expect(cosigning.status().witnesses[0]?.error).toContain('50 entries');
    expect(log.problem).toBeUndefined();
    const stranger = new SampleLog('stranger');
    const forged = { ...stranger.at(50), note: { ...stranger.at(50).note, text: log.at(50).note.text } };
    put(
      'w1',
      answering(() => conflict, plain(200, new TextDecoder().decode(formatNote(forged.note)))),
    );
    await clock.advance(5_000);
    put(
      'w1',
      answering(() => conflict, plain(200, new TextDecoder().decode(formatNote(stranger.at(50).note)))),
    );
    await clock.advance(10_000);
    expect(log.problem).toBeUndefined();
  });

  test('is not believed by its word of a witness that a human configured either', async () => {
    await join('w1');
    const held = operators.get('w1');
    if (held === undefined) throw new Error('nobody joined');
    operators.set('w1', {
      ...held,
      operator: { did: null, witnesses: held.operator.witnesses },
      endpoint: answering(() => ({ status: 409, contentType: 'text/x.tlog.size', body: formatTreeSize(50) })),
    });
    begin();
    await clock.advance(500);
    expect(cosigning.status().witnesses[0]?.error).toContain('50 entries, of which 1 are held, and shows nothing');
    expect(log.problem).toBeUndefined();
  });

  test('is found in the middle of a run too, when a witness refuses and shows why', async () => {
    const { witness } = await join('w1');
    begin();
    await during(cosigning.witnessed(1, 1));
    const other = new SampleLog('own', { salt: 'a copy that runs elsewhere', from: 1 });
    await witness.addCheckpoint(other.request(1, 3));
    log.grow(6);
    expect(await during(outcome(cosigning.witnessed(7, 1)))).toBe('log_halted');
    expect(log.problem?.message).toContain('it cosigned another tree of 3 entries');
    asked = [];
    await clock.advance(2 * limits.COSIGNING_REFRESH_MS);
    expect(asked).toEqual([]);
  });
});

test('a witness without an operator any more is forgotten', async () => {
  for (const name of namesOf(2)) await join(name);
  begin();
  await during(cosigning.witnessed(1, 2));
  expect(cosigning.status().witnesses).toHaveLength(2);
  operators.delete('w2');
  cosigning.changed();
  log.grow();
  await during(cosigning.witnessed(2, 1));
  expect(cosigning.status().witnesses.map(({ did }) => did)).toEqual(['did:w1']);
});
