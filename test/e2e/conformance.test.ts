/**
 * The official conformance suite, against a server and against the proxy before it: not one check may be lost. Every
 * scenario of a revision runs, the ones that are not scored too.
 */
import { expect, test } from 'vitest';
import { proxyToProgram, proxyToUrl, startLines } from '../cli/proxy/http-world.ts';
import { serveConformanceLines, startConformanceServer } from './conformance-server.ts';
import { ONLY_OVER_HTTP, PASSED_MIN, passedAt } from './conformance-suite.ts';

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
