/** Whatever happens in whatever order: what was acknowledged is there, and what was released is one history. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { AuditLog } from '../../../../daemon/core/log/audit-log.ts';
import { toHex } from '../../../../protocol/index.ts';
import {
  leafHash,
  parseCheckpoint,
  rootOfHashes,
  type SignedCheckpoint,
  verifyExtension,
} from '../../../../protocol/log/index.ts';
import { keyOf } from '../../../builders.ts';
import { create, entryOf, FragileStore, logKey, MemoryAnchor, open, type Rows } from './log-world.ts';

type Step =
  | { readonly do: 'append'; readonly count: number; readonly waits: boolean }
  | { readonly do: 'release'; readonly waits: boolean }
  | { readonly do: 'turn' }
  /** The power goes, now or in the middle of the batch after so many. */
  | { readonly do: 'crash'; readonly keepsAnchor: boolean }
  | { readonly do: 'fail'; readonly after: number; readonly isWritten: boolean }
  | { readonly do: 'restart' };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('append' as const),
      count: fc.oneof(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 100, max: 300 })),
      waits: fc.boolean(),
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('release' as const), waits: fc.boolean() }) },
  { weight: 3, arbitrary: fc.constant({ do: 'turn' as const }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('crash' as const), keepsAnchor: fc.boolean() }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('fail' as const),
      after: fc.integer({ min: 0, max: 3 }),
      isWritten: fc.boolean(),
    }),
  },
  { weight: 1, arbitrary: fc.constant({ do: 'restart' as const }) },
);

/** The log over many lives of its machine, and what its users were told. */
class Lives {
  store: FragileStore;
  anchor = new MemoryAnchor();
  log: AuditLog;
  readonly acknowledged = new Map<number, string>();
  readonly released = new Map<number, string>();
  /** Text of every head that anybody could read, by size. */
  readonly heads = new Map<number, string>();
  #made = 1;
  #under: Promise<unknown>[] = [];

  private constructor(store: FragileStore, log: AuditLog) {
    this.store = store;
    this.log = log;
  }

  static async start(): Promise<Lives> {
    const store = await FragileStore.of([]);
    const anchor = new MemoryAnchor();
    const lives = new Lives(store, await create({ store, anchor }));
    lives.anchor = anchor;
    return lives;
  }

  async run(each: Step): Promise<void> {
    if (each.do === 'append') {
      const entries = Array.from({ length: each.count }, () => entryOf(this.#made++));
      await this.#told(
        entries.map((entry) => this.#append(entry)),
        each.waits,
      );
    } else if (each.do === 'release') {
      await this.#told([this.#release()], each.waits);
    } else if (each.do === 'turn') {
      await new Promise((resolve) => setImmediate(resolve));
    } else if (each.do === 'crash') {
      await this.#reopen(await this.store.cutPower(), this.anchor.crashed(each.keepsAnchor));
    } else if (each.do === 'fail') {
      this.store.writesWhatFails = each.isWritten;
      this.store.failsAt = this.store.batches + 1 + each.after;
    } else {
      await this.log.close();
      await this.#reopen(await this.store.cutPower(), this.anchor);
    }
    this.#see(this.log.head());
  }

  async #append(entry: ReturnType<typeof entryOf>): Promise<void> {
    const index = await this.log.append(entry);
    expect(this.acknowledged.has(index), `leaf ${index} was given twice`).toBe(false);
    this.acknowledged.set(index, toHex(entry.bytes));
  }

  async #release(): Promise<void> {
    const signed = await this.log.release();
    this.#see(signed);
    this.released.set(signed.checkpoint.treeSize, signed.note.text);
  }

  /** Refusals are no answer: after a failed write nobody knows. */
  async #told(answers: readonly Promise<unknown>[], waits: boolean): Promise<void> {
    const settled = Promise.allSettled(answers).then((outcomes) => {
      for (const outcome of outcomes) {
        if (outcome.status === 'rejected' && (outcome.reason as { code?: string }).code !== 'read_only')
          throw outcome.reason;
      }
    });
    if (waits) await settled;
    else this.#under.push(settled);
  }

  #see({ checkpoint, note }: SignedCheckpoint): void {
    const seen = this.heads.get(checkpoint.treeSize);
    expect(note.text, `two heads of ${checkpoint.treeSize} leaves`).toBe(seen ?? note.text);
    this.heads.set(checkpoint.treeSize, note.text);
  }

  async #reopen(rows: Rows, anchor: MemoryAnchor): Promise<void> {
    await Promise.all(this.#under.splice(0)); // what the old life still says, it says of batches that are on the disk
    this.store = await FragileStore.of(rows);
    this.anchor = anchor;
    this.log = await open({ store: this.store, anchor });
    expect(this.log.problem).toBeUndefined();
    await this.#verify();
  }

  async end(): Promise<void> {
    await this.log.flush();
    await Promise.all(this.#under.splice(0));
    await this.#reopen(await this.store.cutPower(), this.anchor.crashed(false));
  }

  async #verify(): Promise<void> {
    const { log } = this;
    for (const [index, bytes] of this.acknowledged) {
      const entry = await log.files.entry(index);
      expect(entry === undefined ? undefined : toHex(entry), `leaf ${index}`).toBe(bytes);
      expect(await log.files.indexOf(entryIdOf(bytes))).toBe(index);
    }
    const hashes: Uint8Array[] = [];
    for await (const entry of log.files.entries(0, log.treeSize)) hashes.push(leafHash(entry));
    expect(hashes.length).toBe(log.treeSize);
    expect(toHex(log.root)).toBe(toHex(rootOfHashes(hashes)));
    const sizes = [...this.released.keys()].toSorted((a, b) => a - b);
    expect(log.treeSize).toBeGreaterThanOrEqual(sizes.at(-1) ?? 0);
    for (const size of sizes) expect((await log.files.checkpointAt(size))?.note.text).toBe(this.released.get(size));
    for (const [i, size] of sizes.entries()) {
      const [old, next] = [rootIn(this.released.get(size)), rootIn(this.released.get(sizes[i + 1] ?? size))];
      const newSize = sizes[i + 1] ?? size;
      verifyExtension(size, newSize, old, next, await log.files.proveConsistency(size, newSize));
      expect(toHex(rootOfHashes(hashes.slice(0, size)))).toBe(toHex(old));
    }
  }
}

const entryIdOf = (hex: string): Uint8Array => new Uint8Array(Buffer.from(hex.slice(0, 32), 'hex'));
const rootIn = (text = ''): Uint8Array => {
  const line = `\n\u2014 x ${Buffer.alloc(68).toString('base64')}\n`;
  return parseCheckpoint(new TextEncoder().encode(text + line)).checkpoint.root;
};

test('acknowledged entries outlive every crash, and released checkpoints are one history', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 14 }), async (steps) => {
      const lives = await Lives.start();
      for (const each of steps) await lives.run(each);
      await lives.end();
    }),
    { numRuns: 60 },
  );
});

test('of a batch that fails at any point nothing is acknowledged, and all or none of it is there', async () => {
  for (const failsAfter of [0, 1, 2, 3]) {
    for (const isWritten of [false, true]) {
      const lives = await Lives.start();
      await lives.run({ do: 'append', count: 250, waits: true });
      await lives.run({ do: 'release', waits: true });
      await lives.run({ do: 'fail', after: failsAfter, isWritten });
      await lives.run({ do: 'append', count: 700, waits: true });
      const told = lives.acknowledged.size;
      expect(told).toBe(250 + Math.min(700, 256 * failsAfter));
      await lives.run({ do: 'crash', keepsAnchor: true });
      const { treeSize } = lives.log;
      const inBatch = Math.min(256, 700 - 256 * failsAfter);
      expect(treeSize).toBe(1 + told + (isWritten && inBatch > 0 ? inBatch : 0));
      await lives.run({ do: 'append', count: 20, waits: true });
      await lives.end();
      expect(lives.acknowledged.size).toBe(told + 20);
    }
  }
});

test('would notice an acknowledged entry that is gone', async () => {
  const lives = await Lives.start();
  await lives.run({ do: 'append', count: 5, waits: true });
  lives.acknowledged.set(9, '00');
  await expect(lives.end()).rejects.toThrow('leaf 9');
});

test('would notice a released checkpoint of another history', async () => {
  const lives = await Lives.start();
  await lives.run({ do: 'append', count: 5, waits: true });
  await lives.run({ do: 'release', waits: true });
  const store = await FragileStore.of([]);
  const fork = await create({ store, anchor: new MemoryAnchor(), signer: logKey }, entryOf(0, 'another past'));
  lives.released.set(1, fork.head().note.text);
  await expect(lives.end()).rejects.toThrow();
  expect(keyOf('log')).toBe(logKey);
});
