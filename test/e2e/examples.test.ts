/** The programs under examples/ run as written. */
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { startDaemonProcess } from './daemon-process.ts';

const SLOW = { timeout: 120_000 }; // daemons start beside other tests on two cores

const run = (example: string, env: Readonly<Record<string, string>> = {}): Promise<{ exit: number; out: string }> =>
  new Promise((resolve) => {
    const path = fileURLToPath(new URL(`../../examples/${example}`, import.meta.url));
    execFile(process.execPath, ['-C', 'agentmesh-source', path], { env: { ...process.env, ...env } }, (error, stdout, stderr) => {
      resolve({ exit: error === null ? 0 : Number(error.code), out: stdout + stderr });
    });
  });

const processes = (): Promise<string> => new Promise((resolve, reject) => execFile('ps', ['-eo', 'args'], (error, stdout) => (error === null ? resolve(stdout) : reject(error))));

test('the three-organisation story is as it should be, and leaves no process behind', SLOW, async () => {
  const { exit, out } = await run('three-organisations.ts');
  expect(out).toContain('As it should be');
  expect(exit).toBe(0);
  expect(out.match(/✓/g)?.length).toBeGreaterThanOrEqual(18);
  expect(await processes()).not.toContain('agentmesh-demo-');
});

test("the original project's examples run against a daemon", SLOW, async () => {
  const home = await mkdtemp(join(tmpdir(), 'agentmesh-seed-'));
  try {
    await using daemon = await startDaemonProcess({ home, name: 'Acme', args: ['--log-level', 'error'] });
    const env = { AGENTMESH_HOME: home };
    const identity = await run('seed-identity.ts', env);
    expect(identity).toMatchObject({ exit: 0 });
    const bridge = await run('seed-bridge.ts', env);
    expect(bridge.out).toContain('score_below');
    expect(bridge.exit).toBe(0);
    expect(daemon.logged()).not.toContain('"level":"error"');
  } finally {
    await rm(home, { recursive: true, force: true });
  }
});
