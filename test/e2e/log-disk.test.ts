/** The disk fills up while the log is written: on a small tmpfs, in a mount namespace of its own. */
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import type { DiskReport } from './disk-full.ts';

const PROGRAM = fileURLToPath(new URL('disk-full.ts', import.meta.url));
const SIZE = '24m'; // LevelDB's write-ahead log and first table, and room to fill
const seed = Number(process.env['AGENTMESH_SEED'] ?? Date.now() % 1_000_000);
const exec = promisify(execFile);

const inNamespace = (directory: string, ...command: readonly string[]): Promise<{ readonly stdout: string }> =>
  exec('unshare', ['-rm', 'sh', '-c', `mount -t tmpfs -o size=${SIZE} none "$0" && exec "$@"`, directory, ...command]);

async function mountError(): Promise<string | undefined> {
  const directory = await mkdtemp(join(tmpdir(), 'agentmesh-disk-'));
  try {
    await inNamespace(directory, 'true');
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  } finally {
    await rm(directory, { recursive: true });
  }
}

const why = await mountError();
if (why !== undefined) console.warn(`SKIPPED: no test of a full disk, as this system mounts no tmpfs for it: ${why}`);

describe('a disk that fills up', () => {
  test.skipIf(why !== undefined)(
    `loses nothing that was acknowledged, and says what is wrong (seed ${seed})`,
    { timeout: 120_000 },
    async () => {
      const directory = await mkdtemp(join(tmpdir(), 'agentmesh-disk-'));
      try {
        const { stdout } = await inNamespace(
          directory,
          process.execPath,
          '-C',
          'agentmesh-source',
          PROGRAM,
          directory,
          `${seed}`,
        );
        const report = JSON.parse(stdout) as DiskReport;
        const full = expect.stringMatching(/^Cannot write the audit log: .*No space left on device/);
        expect(report.refusals).toEqual([
          { code: 'read_only', message: full },
          { code: 'read_only', message: full },
        ]);
        expect(report.grant).toBe('read_only');
        expect(report.readsMeanwhile).toBe(true);
        expect(report.ended).toBe(0);
        expect(report.acknowledged).toBeGreaterThan(1);
        expect(report.lost).toEqual([]);
        expect(report.treeSize).toBeGreaterThan(report.acknowledged);
        expect(report.after).toBeGreaterThanOrEqual(report.treeSize);
      } finally {
        await rm(directory, { recursive: true });
      }
    },
  );
});
