/** The official conformance suite as a process: which checks pass at a URL. Every scenario runs, the ones that are not scored too. */
import { spawn } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const SUITE = createRequire(import.meta.url).resolve('@modelcontextprotocol/conformance/dist/index.js');

/** Scored by the suite: fewer would mean that it looked at less than it does. */
export const PASSED_MIN = { '2025-11-25': 70, '2026-07-28': 110 } as const;

/** A server over HTTP ends a stream and lets its client come back; in lines there is no way to ask for it. */
export const ONLY_OVER_HTTP = ['server-sse-polling/server-sse-disconnect-resume'];

/** "scenario/check", of all that passed. */
export async function passedAt(url: string, revision: string): Promise<string[]> {
  const dir = await mkdtemp(join(tmpdir(), 'agentmesh-conformance-'));
  try {
    const child = spawn(process.execPath, [SUITE, 'server', '--url', url, '--requirements', revision, '-o', dir], {
      cwd: dir,
      stdio: 'ignore',
    });
    await new Promise((settle) => child.once('close', settle));
    const passed: string[] = [];
    for (const run of await readdir(dir)) {
      const scenario = run.replace(/^server-/, '').replace(/-\d{4}-\d\d-\d\dT.*$/, '');
      const checks = JSON.parse(await readFile(join(dir, run, 'checks.json'), 'utf8')) as {
        id: string;
        status: string;
      }[];
      passed.push(...checks.filter(({ status }) => status === 'SUCCESS').map(({ id }) => `${scenario}/${id}`));
    }
    return passed.sort();
  } finally {
    await rm(dir, { recursive: true });
  }
}
