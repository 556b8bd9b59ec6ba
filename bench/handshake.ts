/**
 * Handshakes between two daemons, each its own process, against the least that libp2p could do between two processes:
 * open a stream and send two messages there and back. `node bench/handshake.ts`; exits 1 if p50 or p99 is over the
 * reference's target of 200 ms.
 */
import { fork } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { multiaddr } from '@multiformats/multiaddr';
import { startDaemonProcess, until } from '../test/e2e/daemon-process.ts';
import { createBare, ECHO } from './bare-echo.ts';
import { row } from './percentiles.ts';

const TARGET_MS = 200; // what the reference system aims at
const COUNT = 200;
const WARM = 20;
const PACE_MS = 60; // a PeerId may begin 20 handshakes a second
const MESSAGE = new Uint8Array(600).fill(7); // about what a handshake message carries

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

async function bare(): Promise<number[]> {
  const child = fork(fileURLToPath(new URL('./bare-echo.ts', import.meta.url)), ['serve'], {
    stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
  });
  const node = await createBare([]);
  try {
    const address = await new Promise<string>((resolve) =>
      child.stdout?.once('data', (bytes: Buffer) => resolve(bytes.toString().trim())),
    );
    const connection = await node.dial(multiaddr(address));
    const took: number[] = [];
    for (let i = 0; i < WARM + COUNT; i++) {
      const beganMs = performance.now();
      const stream = await connection.newStream(ECHO, { maxOutboundStreams: 1_024 });
      const arriving = stream[Symbol.asyncIterator]();
      for (let trip = 0; trip < 2; trip++) {
        stream.send(MESSAGE);
        for (let got = 0; got < MESSAGE.length; ) got += (await arriving.next()).value?.byteLength ?? MESSAGE.length;
      }
      if (i >= WARM) took.push(performance.now() - beganMs);
      stream.abort(new Error('done'));
      await sleep(5);
    }
    return took;
  } finally {
    await node.stop();
    child.kill('SIGKILL');
  }
}

async function ours(folder: string): Promise<{ handshakes: number[]; calls: number[] }> {
  await using acme = await startDaemonProcess({
    home: join(folder, 'acme'),
    name: 'Acme',
    args: ['--log-level', 'error'],
  });
  await using beta = await startDaemonProcess({
    home: join(folder, 'beta'),
    name: 'Beta',
    bootstrap: [acme.address],
    args: ['--log-level', 'error'],
  });
  const [a, b] = [await acme.connect(), await beta.connect()];
  await until('bound', async () => (await a.status()).peers.bound === 1);
  const clerk = (await a.agents.create({ name: 'clerk', sponsor: 'a@example.com', capabilities: [{ can: 'read:x' }] }))
    .agent.did;
  const reader = (
    await b.agents.create({ name: 'reader', sponsor: 'b@example.com', capabilities: [{ can: 'read:x' }] })
  ).agent.did;
  const grant = (await a.delegations.create({ to: reader, capabilities: [{ can: 'read:x' }] })).link.id;
  await until('the grant', async () => (await b.chains.list({ to: reader })).some(({ leaf }) => leaf === grant));
  const handshakes: number[] = [];
  const calls: number[] = [];
  for (let i = 0; i < WARM + COUNT; i++) {
    const beganMs = performance.now();
    const session = await b.handshake({ did: clerk, as: reader, grant, capabilities: [{ can: 'read:x' }] });
    if (i >= WARM) {
      handshakes.push(session.durationMs ?? Number.NaN);
      calls.push(performance.now() - beganMs);
    }
    await b.sessions.close(session.sid);
    await sleep(PACE_MS);
  }
  return { handshakes, calls };
}

const folder = await mkdtemp(join(tmpdir(), 'agentmesh-bench-'));
try {
  const baseline = row('bare libp2p: a new stream and 2 round trips', await bare());
  const { handshakes, calls } = await ours(folder);
  const ours50 = row('handshake with a grant, both sides checked', handshakes);
  row('the same, as the API call that asks for it', calls);
  console.log(
    `ratio p50 ${(ours50.p50 / baseline.p50).toFixed(1)}x, p99 ${(ours50.p99 / baseline.p99).toFixed(1)}x; target ${TARGET_MS} ms`,
  );
  if (!(ours50.p50 <= TARGET_MS && ours50.p99 <= TARGET_MS)) process.exitCode = 1;
} finally {
  await rm(folder, { recursive: true, force: true });
}
