import { readFileSync } from 'node:fs';
import { afterEach, describe, expect, test } from 'vitest';
import type { WitnessAnswer } from '../../../../daemon/core/log/witness.ts';
import type { Store } from '../../../../daemon/ports.ts';
import { MemoryStore } from '../../../../daemon/store/memory.ts';
import { isMeshError, MeshError } from '../../../../protocol/index.ts';
import {
  evaluateFork,
  formatAddCheckpoint,
  formatNote,
  originHash,
  parseCheckpoint,
  parseCosignatures,
  parseVkey,
  verifyNote,
} from '../../../../protocol/log/index.ts';
import { toHex } from '../../../../protocol/encoding/bytes.ts';
import { isSignatureValidSodium } from '../../../../protocol/sodium.ts';
import { bytesOf, cosignLine, textOf, witnessSigner } from '../../../protocol/log/sample.ts';
import { seededRandom } from '../../../random.ts';
import { describeWithShared } from '../../../shared.ts';
import { VirtualClock } from '../virtual-clock.ts';
import { SampleLog, witnessFor } from './witness-world.ts';

const clock = new VirtualClock();
const hashOf = (log: SampleLog): string => toHex(originHash(log.origin));
const said = ({ status, body }: WitnessAnswer): [number, string] => [status, textOf(body)];

const timesOf = (log: SampleLog, treeSize: number, answer: WitnessAnswer): number[] => {
  const note = { text: log.at(treeSize).note.text, signatures: parseCosignatures(answer.body) };
  return verifyNote(note, [witnessFor('w', { clock }).witness.vkey], isSignatureValidSodium).map(
    ({ timeSeconds }) => timeSeconds ?? Number.NaN,
  );
};

afterEach(() => expect(clock.timers).toBe(0));

describe('add-checkpoint', () => {
  test('cosigns a first checkpoint, what extends it, and the same one again', async () => {
    const { witness, cosigned, conflicts } = witnessFor('w', { clock });
    const log = new SampleLog('a');
    for (const [oldSize, treeSize] of [
      [0, 3],
      [3, 8],
      [8, 8],
      [8, 300],
    ] as const) {
      const answer = await witness.addCheckpoint(log.request(oldSize, treeSize));
      expect(answer.status, `${oldSize} to ${treeSize}`).toBe(200);
      expect(answer.contentType).toBe('text/plain; charset=utf-8');
      expect(timesOf(log, treeSize, answer)).toEqual([clock.nowMs() / 1000]);
      const shown = parseCheckpoint((await witness.checkpointOf(hashOf(log))) ?? new Uint8Array());
      expect(shown.checkpoint).toEqual(log.at(treeSize).checkpoint);
      expect(verifyNote(shown.note, [log.vkey, witness.vkey], isSignatureValidSodium)).toHaveLength(2);
    }
    expect(cosigned.map(({ checkpoint }) => checkpoint.treeSize)).toEqual([3, 8, 8, 300]);
    expect(conflicts).toEqual([]);
    expect(await witness.originCount()).toBe(1);
  });

  test('takes a tree of no leaves as the first one, and what follows it', async () => {
    const { witness } = witnessFor('w', { clock });
    const log = new SampleLog('a');
    expect((await witness.addCheckpoint(log.request(0, 0))).status).toBe(200);
    expect((await witness.addCheckpoint(log.request(0, 0))).status).toBe(200);
    expect((await witness.addCheckpoint(log.request(0, 5))).status).toBe(200);
    expect((await witness.addCheckpoint(log.request(5, 6))).status).toBe(200);
  });

  test('answers in the order of the specification, each with its status', async () => {
    const log = new SampleLog('a');
    const other = new SampleLog('a', { salt: 'other' });
    const convicted = new SampleLog('convicted');
    const { witness, conflicts } = witnessFor('w', {
      clock,
      admits: (origin) => (origin === log.origin ? [log.vkey] : origin === convicted.origin ? [] : undefined),
    });
    await witness.addCheckpoint(log.request(0, 5));
    const before = await witness.checkpointOf(hashOf(log));
    const body = textOf(log.request(5, 7));
    const line = body.slice(body.lastIndexOf('\u2014'));
    const cases: readonly (readonly [what: string, body: Uint8Array | string, status: number])[] = [
      ['nothing', '', 400],
      ['no checkpoint', 'old 5\n\n', 400],
      ['an old size beyond it', body.replace('old 5', 'old 8'), 400],
      [
        'an old size beyond that of an unknown log',
        textOf(new SampleLog('b').request(0, 7)).replace('old 0', 'old 8'),
        400,
      ],
      ['more than 64 KiB', body.padEnd(64 * 1024 + 1), 400],
      ['more than 16 signatures', `${body}${line.repeat(16)}`, 400],
      ['a log that is not known', new SampleLog('b').request(0, 7), 404],
      ['another generation of a known log', new SampleLog('a', { generation: 1 }).request(0, 7), 404],
      ['a convicted one', convicted.request(0, 7), 403],
      ['no line by the log', body.replace(line, `${line.replace('— agentmesh', '— agentmesj')}`), 403],
      [
        'a line that does not verify',
        formatAddCheckpoint({
          ...log.addCheckpoint(5, 7),
          signed: { ...log.at(7), note: { ...log.at(7).note, signatures: log.at(6).note.signatures } },
        }),
        403,
      ],
      [
        'a good line and a bad one of the same key',
        `${body}${textOf(log.request(5, 6)).slice(textOf(log.request(5, 6)).lastIndexOf('\u2014'))}`,
        403,
      ],
      ['an old size below', log.request(3, 7), 409],
      ['an old size of 0', log.request(0, 7), 409],
      ['an old size of another tree', other.request(3, 7), 409],
      ['an old size above', log.request(6, 7), 409],
      ['equal size and another root', other.request(5, 5), 422],
      ['equal size and a proof', formatAddCheckpoint({ ...log.addCheckpoint(5, 5), proof: [log.rootAt(1)] }), 422],
      ['another tree with its own proof', other.request(5, 7), 422],
      ['no proof', formatAddCheckpoint({ ...log.addCheckpoint(5, 7), proof: [] }), 422],
      [
        'a proof with a hash too many',
        formatAddCheckpoint({ ...log.addCheckpoint(5, 7), proof: [...log.prove(5, 7), log.rootAt(1)] }),
        422,
      ],
      ['a proof of another step', formatAddCheckpoint({ ...log.addCheckpoint(5, 7), proof: log.prove(5, 8) }), 422],
    ];
    for (const [what, request, status] of cases) {
      const answer = await witness.addCheckpoint(typeof request === 'string' ? bytesOf(request) : request);
      expect(answer.status, what).toBe(status);
      if (status === 409) expect([answer.contentType, textOf(answer.body)], what).toEqual(['text/x.tlog.size', '5\n']);
      else expect(answer.contentType, what).toBe('text/plain; charset=utf-8');
      expect(await witness.checkpointOf(hashOf(log)), what).toEqual(before);
    }
    expect((await witness.addCheckpoint(bytesOf(body))).status).toBe(200);
    // Only what the log itself signed is told to whoever looks for forks.
    expect(conflicts).toHaveLength(cases.filter(([, , status]) => status === 409 || status === 422).length);
    expect(conflicts.every(({ held }) => held.checkpoint.treeSize === 5)).toBe(true);
  });

  test('refuses a first checkpoint with a proof, and one of size 0 with another root', async () => {
    const { witness, conflicts } = witnessFor('w', { clock });
    const log = new SampleLog('a');
    const proof = [log.rootAt(1)];
    expect((await witness.addCheckpoint(formatAddCheckpoint({ ...log.addCheckpoint(0, 2), proof }))).status).toBe(422);
    const odd = formatAddCheckpoint({ oldSize: 0, proof: [], signed: log.sign(0, log.rootAt(1)) });
    expect((await witness.addCheckpoint(odd)).status).toBe(422);
    await witness.addCheckpoint(log.request(0, 0));
    expect((await witness.addCheckpoint(odd)).status).toBe(422);
    expect(await witness.originCount()).toBe(1);
    expect(conflicts).toEqual([]); // of the tree without leaves there are no two histories
  });

  test('hands over what proves a fork, at equal and at larger sizes', async () => {
    const { witness, conflicts } = witnessFor('w', { clock });
    const log = new SampleLog('a');
    const other = new SampleLog('a', { salt: 'other', from: 4 });
    await witness.addCheckpoint(log.request(0, 6));
    await witness.addCheckpoint(other.request(6, 6));
    await witness.addCheckpoint(other.request(6, 9));
    expect(conflicts.map(({ request }) => request.signed.checkpoint.treeSize)).toEqual([6, 9]);
    for (const { held, request } of conflicts) {
      const verdict = evaluateFork(
        {
          vkey: log.vkey,
          a: formatNote(held.note),
          b: formatNote(request.signed.note),
          rootOfAOnB: other.rootAt(6),
          proof: request.proof,
        },
        isSignatureValidSodium,
      );
      expect(verdict.proven).toBe(true);
    }
  });

  test('keeps of a note only the lines of the log and its own', async () => {
    const { witness } = witnessFor('w', { clock });
    const log = new SampleLog('a');
    const signed = log.at(2);
    const stranger = cosignLine(witnessSigner('stranger.example/w'), signed.note.text, 1_800_000_000);
    const note = { ...signed.note, signatures: [stranger, ...signed.note.signatures, ...signed.note.signatures] };
    const answer = await witness.addCheckpoint(
      formatAddCheckpoint({ oldSize: 0, proof: [], signed: { ...signed, note } }),
    );
    expect(answer.status).toBe(200);
    expect(parseCosignatures(answer.body).map(({ name }) => name)).toEqual([witness.vkey.name]);
    const shown = parseCheckpoint((await witness.checkpointOf(hashOf(log))) ?? new Uint8Array());
    expect(shown.note.signatures.map(({ name }) => name)).toEqual([log.origin, witness.vkey.name]);
  });

  test('never dates a cosignature of a log before an earlier one, also after a restart', async () => {
    const mine = new VirtualClock();
    const store = new MemoryStore();
    const log = new SampleLog('a');
    const first = await witnessFor('w', { clock: mine, store }).witness.addCheckpoint(log.request(0, 2));
    mine.step(-3_600_000);
    const second = await witnessFor('w', { clock: mine, store }).witness.addCheckpoint(log.request(2, 3));
    const third = await witnessFor('w', { clock: mine, store }).witness.addCheckpoint(log.request(3, 3));
    expect(timesOf(log, 3, second)).toEqual(timesOf(log, 2, first));
    expect(timesOf(log, 3, third)).toEqual(timesOf(log, 2, first));
    mine.step(3_600_000 + 5_000);
    const fourth = await witnessFor('w', { clock: mine, store }).witness.addCheckpoint(log.request(3, 4));
    expect(timesOf(log, 4, fourth)[0]).toBe((timesOf(log, 2, first)[0] ?? 0) + 5);
  });

  test('takes so many requests of one submitter, and so many of all', async () => {
    const mine = new VirtualClock();
    const { witness } = witnessFor('w', { clock: mine, options: { perSecond: 2, burst: 3, allPerSecond: 5 } });
    const log = new SampleLog('a');
    await witness.addCheckpoint(log.request(0, 2), 'p1');
    const statuses = async (from: string, count: number): Promise<number[]> => {
      const out: number[] = [];
      for (let i = 0; i < count; i++) out.push((await witness.addCheckpoint(log.request(2, 2), from)).status);
      return out;
    };
    expect(await statuses('p1', 3)).toEqual([200, 200, 429]);
    expect(await statuses('p2', 3)).toEqual([200, 200, 429]);
    expect(await statuses('p3', 1)).toEqual([429]);
    await mine.advance(1_000);
    expect(await statuses('p1', 3)).toEqual([200, 200, 429]);
  });

  test('keeps so many logs, and those that it has go on', async () => {
    const store = new MemoryStore();
    const [a, b, c] = ['a', 'b', 'c'].map((name) => new SampleLog(name)) as [SampleLog, SampleLog, SampleLog];
    const { witness } = witnessFor('w', { clock, store, options: { originsMax: 2 } });
    for (const log of [a, b]) expect((await witness.addCheckpoint(log.request(0, 1))).status).toBe(200);
    expect((await witness.addCheckpoint(c.request(0, 1))).status).toBe(429);
    const again = witnessFor('w', { clock, store, options: { originsMax: 2 } }).witness;
    expect((await again.addCheckpoint(c.request(0, 1))).status).toBe(429);
    expect((await again.addCheckpoint(a.request(1, 2))).status).toBe(200);
    expect(await again.originCount()).toBe(2);
  });
});

/** A store whose synced batches wait to be let through, or fail. */
class SlowStore extends MemoryStore {
  readonly waiting: { readonly pass: () => void; readonly fail: () => void }[] = [];
  synced: boolean[] = [];

  override async batch(...[writes, options]: Parameters<Store['batch']>): Promise<void> {
    this.synced.push(options.sync);
    await new Promise<void>((resolve, reject) => {
      this.waiting.push({ pass: resolve, fail: () => reject(new MeshError('read_only', 'Cannot write: no room')) });
    });
    return super.batch(writes, options);
  }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('what is stored', () => {
  test('is on disk before the answer leaves', async () => {
    const store = new SlowStore();
    const { witness, cosigned } = witnessFor('w', { clock, store });
    const log = new SampleLog('a');
    let answered: WitnessAnswer | undefined;
    const asked = witness.addCheckpoint(log.request(0, 2)).then((answer) => {
      answered = answer;
    });
    await turn();
    expect([answered, cosigned, store.synced]).toEqual([undefined, [], [true]]);
    expect(await witness.checkpointOf(hashOf(log))).toBeUndefined();
    store.waiting[0]?.pass();
    await asked;
    expect(answered?.status).toBe(200);
  });

  test('decides between two who submit at once: one wins, and no two cosignatures contradict each other', async () => {
    for (const winner of [0, 1]) {
      const store = new SlowStore();
      const { witness, conflicts } = witnessFor('w', { clock, store });
      const log = new SampleLog('a');
      const other = new SampleLog('a', { salt: 'other' });
      const bodies = [log.request(0, 4), other.request(0, 4)];
      const answers = Promise.all(
        (winner === 0 ? bodies : bodies.toReversed()).map((body) => witness.addCheckpoint(body)),
      );
      await turn();
      expect(store.waiting).toHaveLength(1); // the second is decided on what the first has stored
      store.waiting[0]?.pass();
      expect((await answers).map(said)).toEqual([
        [200, expect.any(String)],
        [409, '4\n'],
      ]);
      expect(conflicts).toHaveLength(1);
    }
  });

  test('lets different logs wait for the disk together', async () => {
    const store = new SlowStore();
    const { witness } = witnessFor('w', { clock, store });
    const answers = Promise.all(
      ['a', 'b', 'c'].map((name) => witness.addCheckpoint(new SampleLog(name).request(0, 1))),
    );
    await turn();
    expect(store.waiting).toHaveLength(3);
    for (const { pass } of store.waiting) pass();
    expect((await answers).map(({ status }) => status)).toEqual([200, 200, 200]);
    expect(await witness.originCount()).toBe(3);
  });

  test('was not cosigned for anybody where it could not be stored', async () => {
    const store = new SlowStore();
    const { witness, cosigned } = witnessFor('w', { clock, store });
    const log = new SampleLog('a');
    const failing = witness.addCheckpoint(log.request(0, 2)).then(
      () => 'answered',
      (error: unknown) => (isMeshError(error) ? error.code : 'fault'),
    );
    await turn();
    store.waiting[0]?.fail();
    expect([await failing, cosigned, await witness.originCount()]).toEqual(['read_only', [], 0]);
  });

  test('is found again after a crash between storing and answering: the log asks again from there', async () => {
    const store = new MemoryStore();
    const log = new SampleLog('a');
    await witnessFor('w', { clock, store }).witness.addCheckpoint(log.request(0, 3)); // nobody heard the answer
    const { witness } = witnessFor('w', { clock, store });
    expect(said(await witness.addCheckpoint(log.request(0, 3)))).toEqual([409, '3\n']);
    expect((await witness.addCheckpoint(log.request(3, 3))).status).toBe(200);
    expect((await witness.addCheckpoint(log.request(3, 4))).status).toBe(200);
  });

  test('is neither signed over nor held against the log where it is damaged', async () => {
    const store = new MemoryStore();
    const { witness, conflicts } = witnessFor('w', { clock, store });
    const log = new SampleLog('a');
    await witness.addCheckpoint(log.request(0, 3));
    const key = Uint8Array.of(0x77, ...originHash(log.origin));
    const row = await store.get(key);
    const text = textOf(row ?? new Uint8Array());
    for (const damaged of [
      text.replace('\n3\n', '\n2\n'),
      text.slice(0, -3),
      '',
      text.replace(/— agentmesh\/v1\/witness.*\n/, ''),
    ]) {
      await store.batch([{ type: 'put', key, value: bytesOf(damaged) }], { sync: true });
      for (const body of [log.request(3, 4), log.request(2, 4), log.request(0, 4)])
        await expect(witness.addCheckpoint(body), damaged).rejects.toMatchObject({ code: 'store_corrupt' });
    }
    expect(conflicts).toEqual([]);
  });

  test('never contradicts itself, whatever order requests of two histories come in', async () => {
    for (let seed = 1; seed <= 10; seed++) {
      const random = seededRandom(seed);
      const store = new MemoryStore();
      const histories = [new SampleLog('a'), new SampleLog('a', { salt: 'other', from: 3 })] as const;
      const { witness, cosigned } = witnessFor('w', { clock, store, options: { burst: 1_000, allPerSecond: 1_000 } });
      const pick = (max: number): number => Math.floor(random() * max);
      const answers = await Promise.all(
        Array.from({ length: 60 }, () => {
          const log = histories[pick(2)] ?? histories[0];
          const treeSize = 1 + pick(20);
          return witness.addCheckpoint(log.request(pick(treeSize + 1), treeSize));
        }),
      );
      expect(answers.filter(({ status }) => status === 200).length, `seed ${seed}`).toBe(cosigned.length);
      expect(cosigned.length, `seed ${seed}`).toBeGreaterThan(0);
      const fits = histories.some((log) =>
        cosigned.every(({ checkpoint }) => toHex(log.rootAt(checkpoint.treeSize)) === toHex(checkpoint.root)),
      );
      expect(fits, `seed ${seed}: all of one history`).toBe(true);
    }
  });
});

describeWithShared('vectors/tlog/witness-exchange-litewitness.json', "litewitness's exchange", (file) => {
  test('is answered step by step, but for the unknown log, which is 404 in the specification', async () => {
    const { logVkey, origin, steps } = JSON.parse(readFileSync(file, 'utf8')) as {
      logVkey: string;
      origin: string;
      steps: { body: string; status: number; assert: { bodyEquals?: string } }[];
    };
    const { witness, conflicts } = witnessFor('w', {
      clock,
      admits: (asked) => (asked === origin ? [parseVkey(logVkey)] : undefined),
    });
    expect(steps).toHaveLength(9);
    for (const [i, step] of steps.entries()) {
      const answer = await witness.addCheckpoint(bytesOf(step.body));
      expect(answer.status, `step ${i + 1}`).toBe(i === 2 ? 404 : step.status);
      if (step.assert.bodyEquals !== undefined) {
        expect(textOf(answer.body)).toBe(step.assert.bodyEquals);
        expect(answer.contentType).toBe('text/x.tlog.size');
      }
      if (answer.status === 200) expect(textOf(answer.body)).toMatch(/^— agentmesh\/v1\/witness\/z6Mk\S+ \S+\n$/);
    }
    expect(conflicts).toHaveLength(4); // both 422 and both 409
  });
});
