/**
 * The official conformance suite, against a server and against the proxy before it: not one check may be lost. Every
 * scenario of a revision runs, the ones that are not scored too.
 */
import { spawn } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { proxyToProgram, proxyToUrl, startLines } from '../cli/proxy/http-world.ts';
import { serveConformanceLines, startConformanceServer } from './conformance-server.ts';

const SUITE = createRequire(import.meta.url).resolve('@modelcontextprotocol/conformance/dist/index.js');

/** Scored by the suite: fewer would mean that it looked at less than it does. */
const PASSED_MIN = { '2025-11-25': 70, '2026-07-28': 110 } as const;

/** A server over HTTP ends a stream and lets its client come back; one over stdio has no way to ask for it. */
const ONLY_OVER_HTTP = ['server-sse-polling/server-sse-disconnect-resume'];

/** "scenario/check", of all that passed. */
async function passedAt(url: string, revision: string): Promise<string[]> {
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

test.each(['2025-11-25', '2026-07-28'] as const)(
  'no check of MCP %s that a server passes is lost behind the proxy, before HTTP or a program',
  { timeout: 120_000 },
  async (revision) => {
    await using server = await startConformanceServer();
    await using relay = await proxyToUrl(server.url);
    await using bridge = await proxyToProgram(startLines(serveConformanceLines));
    const [direct, relayed, bridged] = await Promise.all(
      [server.url, relay.url, bridge.url].map((url) => passedAt(url, revision)),
    );
    expect(direct?.length).toBeGreaterThanOrEqual(PASSED_MIN[revision]);
    expect(relayed).toEqual(direct);
    expect(bridged).toEqual(direct?.filter((check) => !ONLY_OVER_HTTP.includes(check)));
    // It was the proxy that was asked.
    for (const { decided } of [relay.gate, bridge.gate])
      expect(decided.filter(({ action }) => action === 'tool_call').length).toBeGreaterThan(10);
  },
);
