import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openLevelStore } from '../../../daemon/store/level.ts';
import { equalBytes } from '../../../protocol/index.ts';
import { seededRandom, suiteSeed } from '../../fuzz/random.ts';
import { bytes, describeStore, put, rowsOf } from './compliance.ts';
import { keyOf, ROWS_A_BATCH, valueOf } from './crash-rows.ts';

const WRITER = fileURLToPath(new URL('./crash-writer.ts', import.meta.url));

let directory: string;
let made = 0;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'agentmesh-level-'));
});
afterEach(async () => {
  await rm(directory, { recursive: true, force: true });
});

describeStore('LevelStore', () => openLevelStore(join(directory, `db${made++}`)));

describe('openLevelStore()', () => {
  it('answers already_running while another store holds the directory, in this process or another', async () => {
    const held = await openLevelStore(directory);
    await expect(openLevelStore(directory)).rejects.toMatchObject({ code: 'already_running' });
    await held.close();

    const writer = startWriter(0);
    await once(writer.acknowledged, 'line');
    await expect(openLevelStore(directory)).rejects.toMatchObject({ code: 'already_running' });
    await kill(writer.child);
    await (await openLevelStore(directory)).close();
  });

  it('finds after a reopening what was written before, synced or not', async () => {
    const first = await openLevelStore(directory);
    await first.batch([put(bytes(1), bytes(1))], { sync: true });
    await first.batch([put(bytes(2), bytes(2))], { sync: false });
    await first.close();
    await using second = await openLevelStore(directory);
    expect(await rowsOf(second, bytes(0), bytes(9))).toEqual(['01=01', '02=02']);
  });

  it('answers store_corrupt for a database whose files are damaged', async () => {
    const store = await openLevelStore(directory);
    await store.batch([put(bytes(1), bytes(1))], { sync: true });
    await store.close();
    const manifest = (await readdir(directory)).find((name) => name.startsWith('MANIFEST-'));
    await truncate(join(directory, manifest ?? 'missing'), 0);
    await expect(openLevelStore(directory)).rejects.toMatchObject({ code: 'store_corrupt' });
  });

  it('fails with the reason of the system where no database can be', async () => {
    const file = join(directory, 'file');
    await writeFile(file, '');
    await expect(openLevelStore(file)).rejects.toThrow();
  });
});

describe('kill -9 while writing', () => {
  it('loses no acknowledged batch and tears none, in 5 rounds', async () => {
    const seed = suiteSeed(20261122);
    const random = seededRandom(seed);
    const acknowledged = new Set<number>();
    let first = 0;
    for (let round = 0; round < 5; round++) {
      const writer = startWriter(first);
      writer.acknowledged.on('line', (line) => acknowledged.add(Number(line)));
      await once(writer.acknowledged, 'line');
      await new Promise((resolve) => setTimeout(resolve, random.fraction() * 250));
      await kill(writer.child);
      first = 1 + (await verifyBatches(acknowledged, `seed ${seed}, round ${round}`));
    }
    expect(acknowledged.size).toBeGreaterThan(20);
  });
});

describe('a disk that refuses a write', () => {
  // A limit on the size of files stands in for a full disk: LevelDB's log cannot grow beyond it.
  it('makes the store read_only, with every batch acknowledged before still there', async () => {
    const acknowledged = new Set<number>();
    const shell = `trap '' XFSZ; ulimit -f 256; exec "$0" "$@"`;
    const child = spawn('sh', ['-c', shell, process.execPath, WRITER, directory, '0'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const lines: string[] = [];
    for await (const line of createInterface({ input: child.stdout })) lines.push(line);
    expect(lines.pop()).toBe('refused read_only');
    for (const line of lines) acknowledged.add(Number(line));
    expect(acknowledged.size).toBeGreaterThan(20);
    await verifyBatches(acknowledged, 'after a refused write');
  });
});

function startWriter(first: number) {
  const child = spawn(process.execPath, [WRITER, directory, String(first)], { stdio: ['ignore', 'pipe', 'inherit'] });
  return { child, acknowledged: createInterface({ input: child.stdout }) };
}

async function kill(child: ChildProcess): Promise<void> {
  const closed = once(child, 'close'); // after the last line is read
  child.kill('SIGKILL');
  await closed;
}

/** Every acknowledged batch is there, and every batch there is whole; the highest number. */
async function verifyBatches(acknowledged: ReadonlySet<number>, when: string): Promise<number> {
  await using store = await openLevelStore(directory);
  const rows = new Map<number, number>();
  let highest = -1;
  for await (const [key, value] of store.range(keyOf(0, 0), bytes(0xff))) {
    const batch = new DataView(key.buffer, key.byteOffset).getUint32(0);
    expect(equalBytes(value, valueOf(batch, key[4] ?? -1)), `value of batch ${batch}, ${when}`).toBe(true);
    rows.set(batch, (rows.get(batch) ?? 0) + 1);
    highest = Math.max(highest, batch);
  }
  expect(
    [...acknowledged].filter((batch) => !rows.has(batch)),
    `lost batches, ${when}`,
  ).toEqual([]);
  expect(
    [...rows].filter(([, count]) => count !== ROWS_A_BATCH),
    `torn batches, ${when}`,
  ).toEqual([]);
  return highest;
}
