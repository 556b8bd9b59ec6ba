import { mkdtempSync, rmSync } from 'node:fs';
import { Agent, createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { readText, send } from '../../sdk/http.ts';

test.each([
  ['of its own', undefined],
  ['that is kept', new Agent({ keepAlive: true })],
])('a request on a connection %s may be cancelled at the very moment at which its answer ends', async (_, agent) => {
  const directory = mkdtempSync(join(tmpdir(), 'agentmesh-http-'));
  const socketPath = join(directory, 'x.sock');
  const server = createServer((request, response) => {
    request.resume().once('end', () => response.end('{}'));
  });
  await new Promise<void>((settle) => server.listen(socketPath, settle));
  try {
    for (let n = 0; n < 5; n++) {
      const stop = new AbortController();
      const asked = { method: 'POST', path: '/', token: undefined, body: {}, idleMs: 5_000, signal: stop.signal };
      const answer = await send({ socketPath }, { ...asked, ...(agent !== undefined && { agent }) });
      answer.once('data', () => stop.abort());
      await expect(readText(answer, stop.signal).catch(() => '')).resolves.toMatch(/^(?:\{\})?$/);
    }
    expect(
      (await send({ socketPath }, { method: 'POST', path: '/', token: undefined, idleMs: 5_000, signal: undefined }))
        .statusCode,
    ).toBe(200);
  } finally {
    agent?.destroy();
    server.closeAllConnections();
    await new Promise<void>((settle) => server.close(() => settle()));
    rmSync(directory, { recursive: true });
  }
});
