/**
 * What it takes until three witnesses, each a daemon of its own in its own process, have cosigned an entry: the API call
 * that appends it and waits, beside one that waits for the disk alone and a raw synced put of the same size into LevelDB
 * in the same run. `node bench/quorum.ts`; exits 1 if the p50 of the first is over 50 ms.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Level } from 'level';
import { startDaemonProcess, until } from '../test/e2e/daemon-process.ts';
import { row } from './percentiles.ts';

const BAR_MS = 50;
const WITNESSES = 3;
const COUNT = 200;
const WARM = 20;
const ENTRY_BYTES = 500; // about what an entry takes

async function timed(count: number, call: (i: number) => Promise<unknown>): Promise<number[]> {
  const took: number[] = [];
  for (let i = 0; i < count; i++) {
    const beganMs = performance.now();
    await call(i);
    if (i >= WARM) took.push(performance.now() - beganMs);
  }
  return took;
}

const folder = await mkdtemp(join(tmpdir(), 'agentmesh-bench-'));
try {
  const quiet = { args: ['--log-level', 'error'] };
  await using own = await startDaemonProcess({ home: join(folder, 'own'), name: 'Own', ...quiet });
  await using watchers = new AsyncDisposableStack();
  for (let i = 1; i <= WITNESSES; i++) {
    const name = `Witness ${i}`;
    watchers.use(await startDaemonProcess({ home: join(folder, name), name, bootstrap: [own.address], ...quiet }));
  }
  const mesh = await own.connect();
  await until('three witnesses', async () => {
    const { released } = await mesh.log.status();
    return released?.cosignatures.length === WITNESSES;
  });
  const append = (witnessed?: number) => (i: number) =>
    mesh.log.append({ op: 'bench', facts: { i }, ...(witnessed !== undefined && { witnessed }) });

  const level = new Level<Uint8Array, Uint8Array>(join(folder, 'raw'), { keyEncoding: 'view', valueEncoding: 'view' });
  await level.open();
  const value = new Uint8Array(ENTRY_BYTES).fill(7);
  const put = (i: number): Promise<void> => level.put(Uint8Array.of(i >> 8, i & 255), value, { sync: true });
  const raw = row('raw synced put', await timed(WARM + COUNT, put));
  row('append, on disk, as the API call', await timed(WARM + COUNT, append()));
  const witnessed = row(`the same, cosigned by ${WITNESSES}`, await timed(WARM + COUNT, append(WITNESSES)));
  row('raw synced put once more', await timed(WARM + COUNT, put));
  await level.close();
  console.log(`p50 ${(witnessed.p50 / raw.p50).toFixed(1)}x of a raw synced put; bar ${BAR_MS} ms`);
  if (!(witnessed.p50 <= BAR_MS)) process.exitCode = 1;
} finally {
  await rm(folder, { recursive: true, force: true });
}
