import { readFileSync } from 'node:fs';
import { createServer, type RequestListener, type Server } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { witnessAtUrl } from '../../../daemon/control/witness-client.ts';
import { createWitnessServer, type WitnessServer } from '../../../daemon/control/witness-server.ts';
import type { Witness } from '../../../daemon/core/log/witness.ts';
import { isMeshError, limits, MeshError } from '../../../protocol/index.ts';
import { monitoringPath, parseCheckpoint, parseCosignatures, parseVkey } from '../../../protocol/log/index.ts';
import { bytesOf, textOf } from '../../protocol/log/sample.ts';
import { describeWithShared } from '../../shared.ts';
import { quiet } from '../core/handshake-world.ts';
import { SampleLog, witnessFor } from '../core/log/witness-world.ts';
import { VirtualClock } from '../core/virtual-clock.ts';

const clock = new VirtualClock();
const never = new AbortController().signal;
const closing: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const each of closing.splice(0)) await each.close();
});

async function listen(witness: Witness, options: { requestMs?: number } = {}): Promise<WitnessServer> {
  const server = await createWitnessServer(witness, { host: '127.0.0.1', port: 0, log: quiet, ...options });
  closing.push(server);
  return server;
}

async function serveAs(answer: RequestListener): Promise<string> {
  const server: Server = createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closing.push({
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const codeOf = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => 'answered',
    (error: unknown) => (isMeshError(error) ? error.code : `fault: ${String(error)}`),
  );

describe('the witness over HTTP', () => {
  test('cosigns by POST and shows by GET, with the content types of the specification', async () => {
    const { witness } = witnessFor('w', { clock });
    const { url } = await listen(witness);
    const log = new SampleLog('a');
    const post = (body: string | Uint8Array, headers: Record<string, string> = {}) =>
      fetch(`${url}/add-checkpoint`, {
        method: 'POST',
        body: typeof body === 'string' ? body : Uint8Array.from(body),
        headers,
      });
    const shown = () => fetch(`${url}/${monitoringPath(log.origin)}`);
    expect((await shown()).status).toBe(404);
    const first = await post(log.request(0, 3));
    expect([first.status, first.headers.get('content-type')]).toEqual([200, 'text/plain; charset=utf-8']);
    expect(parseCosignatures(new Uint8Array(await first.arrayBuffer()))).toHaveLength(1);
    const stale = await post(log.request(0, 4), { 'content-type': 'application/octet-stream' });
    expect([stale.status, stale.headers.get('content-type'), await stale.text()]).toEqual([
      409,
      'text/x.tlog.size',
      '3\n',
    ]);
    expect((await post(log.request(3, 4), { 'content-type': 'text/plain' })).status).toBe(200);
    const note = await shown();
    expect([note.status, note.headers.get('content-type')]).toEqual([200, 'text/plain; charset=utf-8']);
    expect(parseCheckpoint(new Uint8Array(await note.arrayBuffer())).checkpoint).toEqual(log.at(4).checkpoint);
  });

  test('answers what is no request of a witness with 4xx, and tells nothing of itself', async () => {
    const { witness } = witnessFor('w', { clock, options: { burst: 1_000 } });
    const { url } = await listen(witness);
    const asked: readonly (readonly [string, RequestInit | undefined, number])[] = [
      ['/add-checkpoint', { method: 'POST' }, 400],
      ['/add-checkpoint', { method: 'POST', body: 'old 0\n' }, 400],
      ['/add-checkpoint', { method: 'POST', body: 'x'.repeat(limits.ADD_CHECKPOINT_BYTES_MAX) }, 400],
      ['/add-checkpoint', { method: 'POST', body: 'x'.repeat(limits.ADD_CHECKPOINT_BYTES_MAX + 1) }, 413],
      ['/add-checkpoint', undefined, 404],
      ['/add-checkpoint/', { method: 'POST', body: '' }, 404],
      ['/', undefined, 404],
      ['/checkpoint', undefined, 404],
      [`/${'a'.repeat(63)}/checkpoint`, undefined, 404],
      [`/${'A'.repeat(64)}/checkpoint`, undefined, 404],
      [`/${'a'.repeat(64)}/checkpoint`, { method: 'DELETE' }, 404],
      ['/%2e%2e/checkpoint', undefined, 404],
      ['/openapi.json', undefined, 404],
    ];
    for (const [path, init, status] of asked) {
      const response = await fetch(`${url}${path}`, init);
      expect(response.status, `${init?.method ?? 'GET'} ${path}`).toBe(status);
      expect([...response.headers.keys()].includes('server')).toBe(false);
      expect((await response.text()).length).toBeLessThan(200);
    }
  });

  test('answers 500 without a reason where nothing could be stored', async () => {
    const { witness } = witnessFor('w', { clock });
    const failing: Witness = {
      ...witness,
      addCheckpoint: () => Promise.reject(new MeshError('read_only', 'Cannot write: no room on sda1')),
    };
    const { url } = await listen(failing);
    const response = await fetch(`${url}/add-checkpoint`, { method: 'POST', body: 'x' });
    expect([response.status, await response.text()]).toEqual([500, 'internal\n']);
  });

  test('gives one host one budget, whatever connection it comes by', async () => {
    const { witness } = witnessFor('w', { clock, options: { perSecond: 1, burst: 2 } });
    const { url } = await listen(witness);
    const log = new SampleLog('a');
    const statuses = [];
    for (const oldSize of [0, 1, 1])
      statuses.push(
        (
          await fetch(`${url}/add-checkpoint`, {
            method: 'POST',
            body: Uint8Array.from(log.request(oldSize, 1)),
            headers: { connection: 'close' },
          })
        ).status,
      );
    expect(statuses).toEqual([200, 200, 429]);
  });

  test('ends a request that does not get on', async () => {
    const { witness } = witnessFor('w', { clock });
    const { url } = await listen(witness, { requestMs: 200 });
    const socket = connect(Number(new URL(url).port), '127.0.0.1');
    socket.write('POST /add-checkpoint HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nold');
    const answer = await new Promise<string>((resolve) => {
      let text = '';
      socket.on('data', (chunk) => (text += chunk.toString()));
      socket.on('close', () => resolve(text));
    });
    expect(answer).toContain('408');
  });

  test('is refused where another server listens, and where there is no such address', async () => {
    const { witness } = witnessFor('w', { clock });
    const { url } = await listen(witness);
    const at = (host: string, port: number): Promise<string> =>
      codeOf(createWitnessServer(witness, { host, port, log: quiet }));
    expect(await at('127.0.0.1', Number(new URL(url).port))).toBe('already_running');
    expect(await at('192.0.2.1', 0)).toBe('config_invalid');
  });

  test('ends while a client keeps its connection', async () => {
    const { witness } = witnessFor('w', { clock });
    const server = await listen(witness);
    await fetch(`${server.url}/`);
    await server.close();
    await expect(fetch(`${server.url}/`)).rejects.toThrow('fetch failed');
  });
});

describe('a client of a witness over HTTP', () => {
  test('submits and reads, below any prefix', async () => {
    const { witness } = witnessFor('w', { clock });
    const { url } = await listen(witness);
    const log = new SampleLog('a');
    for (const prefix of [url, `${url}/`]) {
      const endpoint = witnessAtUrl(prefix);
      const size = prefix === url ? 3 : 4;
      expect((await endpoint.addCheckpoint(log.request(size === 3 ? 0 : 3, size), never)).status).toBe(200);
      const shown = await endpoint.readCheckpoint(log.origin, never);
      expect([shown.status, parseCheckpoint(shown.body).checkpoint.treeSize]).toEqual([200, size]);
    }
    const stale = await witnessAtUrl(url).addCheckpoint(log.request(1, 2), never);
    expect([stale.status, stale.contentType, textOf(stale.body)]).toEqual([409, 'text/x.tlog.size', '4\n']);
    const seen: string[] = [];
    const prefixed = await serveAs((request, response) => {
      seen.push(`${request.method} ${request.url}`);
      response.end();
    });
    await witnessAtUrl(`${prefixed}/w/1`).addCheckpoint(bytesOf('x'), never);
    await witnessAtUrl(`${prefixed}/w/1/`).readCheckpoint('o', never);
    expect(seen).toEqual(['POST /w/1/add-checkpoint', `GET /w/1/${monitoringPath('o')}`]);
  });

  test('says why there is no answer: nobody, elsewhere, too much, none in time, cancelled', async () => {
    const gone = await listen(witnessFor('w', { clock }).witness);
    await gone.close();
    expect(await codeOf(witnessAtUrl(gone.url).addCheckpoint(bytesOf('x'), never))).toBe('unreachable');
    const moved = await serveAs((_, response) => response.writeHead(307, { location: gone.url }).end());
    expect(await codeOf(witnessAtUrl(moved).addCheckpoint(bytesOf('x'), never))).toBe('unreachable');
    const large = await serveAs((_, response) => response.end('x'.repeat(limits.NOTE_BYTES_MAX + 1)));
    expect(await codeOf(witnessAtUrl(large).addCheckpoint(bytesOf('x'), never))).toBe('too_large');
    const silent = await serveAs(() => {});
    for (const [reason, code] of [
      [new MeshError('timeout', 'Cannot wait'), 'timeout'],
      [undefined, 'cancelled'],
    ] as const) {
      const stop = new AbortController();
      const asked = codeOf(witnessAtUrl(silent).addCheckpoint(bytesOf('x'), stop.signal));
      setTimeout(() => stop.abort(reason), 20);
      expect(await asked).toBe(code);
    }
  });
});

describeWithShared('vectors/tlog/witness-exchange-litewitness.json', "litewitness's exchange over HTTP", (file) => {
  test('has the same answers', async () => {
    const { logVkey, origin, steps } = JSON.parse(readFileSync(file, 'utf8')) as {
      logVkey: string;
      origin: string;
      steps: { body: string; status: number; assert: { bodyEquals?: string } }[];
    };
    const { witness } = witnessFor('w', {
      clock,
      admits: (asked) => (asked === origin ? [parseVkey(logVkey)] : undefined),
    });
    const { url } = await listen(witness);
    expect(steps).toHaveLength(9);
    for (const [i, { body, status, assert }] of steps.entries()) {
      const response = await fetch(`${url}/add-checkpoint`, { method: 'POST', body });
      const text = await response.text();
      expect(response.status, `step ${i + 1}`).toBe(i === 2 ? 404 : status);
      if (assert.bodyEquals !== undefined) {
        expect(text).toBe(assert.bodyEquals);
        expect(response.headers.get('content-type')).toBe('text/x.tlog.size');
      }
    }
  });
});
