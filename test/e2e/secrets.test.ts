/** Private keys and passphrases show up nowhere: not in logs, not in errors, not in answers, not on stdout. */
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { fromBase64url, toHex } from '../../protocol/index.ts';
import { base58btc } from 'multiformats/bases/base58';
import { startDaemonProcess } from './daemon-process.ts';

/** Every spelling of a seed that code here could print by mistake. */
function spellings(seed: Uint8Array): string[] {
  const buffer = Buffer.from(seed);
  return [
    toHex(seed),
    buffer.toString('base64'),
    buffer.toString('base64url'),
    base58btc.encode(seed).slice(1),
    JSON.stringify([...seed]).slice(1, -1),
  ];
}

async function seedsIn(folder: string): Promise<Uint8Array[]> {
  const seeds: Uint8Array[] = [];
  for (const name of await readdir(folder)) {
    if (!name.endsWith('.key')) continue;
    const { seed } = JSON.parse(await readFile(join(folder, name), 'utf8')) as { seed: string };
    seeds.push(fromBase64url(seed) as Uint8Array);
  }
  return seeds;
}

const raw = (socketPath: string, method: string, path: string, body?: string): Promise<string> =>
  new Promise((resolve, reject) => {
    const call = request(
      { socketPath, method, path, headers: body === undefined ? {} : { 'content-type': 'application/json' } },
      (response) => {
        let text = '';
        response.on('data', (bytes: Buffer) => (text += bytes.toString()));
        response.on('end', () => resolve(text));
      },
    );
    call.on('error', reject);
    call.end(body);
  });

const SLOW = { timeout: 90_000 }; // daemons start beside other tests on two cores, and scrypt takes most of a second

test('no seed is in any log line, answer or error of a daemon at level debug', SLOW, async () => {
  const home = await mkdtemp(join(tmpdir(), 'agentmesh-secrets-'));
  try {
    const daemon = await startDaemonProcess({ home, name: 'Acme', args: ['--log-level', 'debug'] });
    const socket = join(home, 'agentmeshd.sock');
    const agent = await raw(
      socket,
      'POST',
      '/v1/agents',
      JSON.stringify({ name: 'clerk', sponsor: 'a@example.com', capabilities: [{ can: 'read:x' }] }),
    );
    const { did } = (JSON.parse(agent) as { agent: { did: string } }).agent;
    const answers = [agent];
    for (const path of [
      '/v1/status',
      '/v1/peers',
      '/v1/agents',
      `/v1/agents/${did}`,
      `/v1/agents/${did}/credential`,
      '/v1/sponsors',
      `/v1/dids/${did}`,
      `/v1/dids/${daemon.did}`,
      `/v1/dids/${did}/log`,
      '/v1/chains',
      '/v1/revocations',
      '/v1/sessions',
      '/v1/roots',
      '/readyz',
      '/openapi.json',
      '/v1/nowhere',
    ]) {
      answers.push(await raw(socket, 'GET', path));
    }
    answers.push(
      await raw(socket, 'POST', `/v1/agents/${did}/suspend`),
      await raw(socket, 'POST', `/v1/agents/${did}/resume`),
    );
    answers.push(
      await raw(socket, 'POST', '/v1/agents', '{"name":'),
      await raw(socket, 'POST', '/v1/organisation/rotate', '{"retire":[]}'),
    );
    const seeds = [...(await seedsIn(join(home, 'keys'))), ...(await seedsIn(join(home, 'recovery')))];
    expect(seeds.length).toBeGreaterThanOrEqual(8); // organisation, node, two rotation, three recovery, person, agent
    expect(await daemon.end('SIGTERM')).toBe(0);
    const all = `${daemon.printed()}${daemon.logged()}${answers.join('')}`;
    expect(all).toContain('control request');
    for (const seed of seeds) for (const spelling of spellings(seed)) expect(all).not.toContain(spelling);
  } finally {
    await rm(home, { recursive: true, force: true });
  }
});

test('with a passphrase no seed is on disk in the clear, and a daemon without it does not start', SLOW, async () => {
  const home = await mkdtemp(join(tmpdir(), 'agentmesh-secrets-'));
  const env = { AGENTMESH_PASSPHRASE: 'correct horse battery staple' };
  try {
    const daemon = await startDaemonProcess({ home, name: 'Acme', env });
    expect(await daemon.end('SIGTERM')).toBe(0);
    expect(await seedsIn(join(home, 'keys'))).toEqual([]);
    expect(daemon.printed() + daemon.logged()).not.toContain('correct horse');
    await expect(startDaemonProcess({ home, name: 'Acme' })).rejects.toThrow(/key_locked/);
    await expect(startDaemonProcess({ home, name: 'Acme', env: { AGENTMESH_PASSPHRASE: 'wrong' } })).rejects.toThrow(
      /key_locked/,
    );
    const again = await startDaemonProcess({ home, name: 'Acme', env });
    expect(again.did).toBe(daemon.did);
    expect(await again.end('SIGINT')).toBe(0);
  } finally {
    await rm(home, { recursive: true, force: true });
  }
});

test('a second daemon in one home is refused, and leaves the first alone', SLOW, async () => {
  const home = await mkdtemp(join(tmpdir(), 'agentmesh-twice-'));
  try {
    await using daemon = await startDaemonProcess({ home, name: 'Acme', args: ['--log-level', 'error'] });
    await expect(startDaemonProcess({ home, name: 'Acme' })).rejects.toThrow(/already_running/);
    expect((await (await daemon.connect()).status()).organisation.did).toBe(daemon.did);
  } finally {
    await rm(home, { recursive: true, force: true });
  }
});
