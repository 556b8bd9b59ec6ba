/**
 * A daemon whose disk fills up, on a small file system of its own: run by log-disk.test.ts in a mount namespace, with the
 * directory where that is mounted. Writes what it saw to standard output, as JSON.
 */
import { statfs, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isMeshError } from '../../protocol/index.ts';
import { type AgentMesh, verifyLogFiles } from '../../sdk/index.ts';
import { seededRandom } from '../random.ts';
import { startDaemonProcess } from './daemon-process.ts';
import { LogRecord } from './log-record.ts';

export interface DiskReport {
  readonly acknowledged: number;
  /** What the first refused append said, and one after it. */
  readonly refusals: readonly { readonly code: string; readonly message: string }[];
  /** What asking for an agent said meanwhile. */
  readonly grant: string;
  readonly readsMeanwhile: boolean;
  /** Leaf indices. */
  readonly lost: readonly number[];
  readonly treeSize: number;
  /** Acknowledged after the disk had space again. */
  readonly after: number;
  readonly ended: number | NodeJS.Signals;
}

const LEFT_BYTES = 300_000; // room for some entries: the disk fills while they are written
const WRITERS = 8;

const [folder, seed] = process.argv.slice(2);
if (folder === undefined || seed === undefined) throw new Error('want the directory and a seed');
process.stdout.write(`${JSON.stringify(await fillUp(folder, Number(seed)))}\n`);

async function fillUp(directory: string, seedNumber: number): Promise<DiskReport> {
  const options = { home: join(directory, 'home'), name: 'Full', args: ['--log-level', 'error'] };
  const record = new LogRecord(seededRandom(seedNumber));
  const filler = join(directory, 'filler');
  const { ended, ...seen } = await untilFull();
  await rm(filler);

  await using daemon = await startDaemonProcess(options);
  const mesh = await daemon.connect();
  const lost = await record.lost(mesh);
  const treeSize = await record.verify(mesh);
  const after = await record.append(mesh);
  await record.verify(mesh);
  return { ...seen, ended, lost, treeSize, after };

  async function untilFull() {
    await using daemon = await startDaemonProcess(options);
    const mesh = await daemon.connect();
    await record.register(mesh);
    await record.append(mesh);
    const { bavail, bsize } = await statfs(directory);
    await writeFile(filler, new Uint8Array(Math.max(0, bavail * bsize - LEFT_BYTES)));
    const refused = await Promise.all(Array.from({ length: WRITERS }, () => untilRefused(() => record.append(mesh))));
    const later = await untilRefused(() => record.append(mesh));
    const grant = await untilRefused(() =>
      mesh.agents.create({ name: 'late', sponsor: 'kill@example.com', capabilities: [{ can: 'read:x' }] }),
    );
    const [first] = refused;
    if (first === undefined) throw new Error('nobody wrote');
    return {
      acknowledged: record.acknowledged.size,
      refusals: [first, later],
      grant: grant.code,
      readsMeanwhile: await reads(mesh),
      ended: await daemon.end('SIGTERM'),
    };
  }
}

async function reads(mesh: AgentMesh): Promise<boolean> {
  const { treeSize, released } = await mesh.log.status();
  if (released === null || treeSize < released.treeSize) return false;
  await verifyLogFiles(mesh.log.files());
  return (await mesh.log.entry(treeSize - 1)).index === treeSize - 1;
}

async function untilRefused(step: () => Promise<unknown>): Promise<{ code: string; message: string }> {
  try {
    for (;;) await step();
  } catch (error) {
    if (!isMeshError(error)) throw error;
    return { code: error.code, message: error.message };
  }
}
