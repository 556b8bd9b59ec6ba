/** An older database put back under a daemon that stopped in order, and its log got back from a neighbour's copy. */
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { run } from '../cli/start.ts';
import { type DaemonProcess, startDaemonProcess, until } from './daemon-process.ts';

test('agentmesh log recover --from-mirrors goes on without what nobody was shown, and says how much that is', {
  timeout: 240_000, // six starts beside other tests on two cores
}, async () => {
  const folder = await mkdtemp(join(tmpdir(), 'agentmesh-recover-'));
  const [home, mirror] = [join(folder, 'acme'), join(folder, 'beta')];
  const env = { AGENTMESH_LOCAL_NETWORK: 'true', NODE_COMPILE_CACHE: join(folder, 'compiled') };
  const startAcme = (): Promise<DaemonProcess> => startDaemonProcess({ home, name: 'Acme', env });
  const startBeta = (...bootstrap: readonly string[]): Promise<DaemonProcess> =>
    startDaemonProcess({ home: mirror, name: 'Beta', env, bootstrap });
  const settings = async (at: string, name: string, did: string): Promise<void> =>
    writeFile(join(at, 'agentmesh.yaml'), `${name}: ['${did}']\n`, { mode: 0o600 });
  const ended = async (daemon: DaemonProcess): Promise<void> => expect(await daemon.end('SIGTERM')).toBe(0);
  try {
    // Each must know the other's DID for its settings.
    const dids: string[] = [];
    for (const start of [startAcme, startBeta]) {
      await using daemon = await start();
      dids.push(daemon.did);
      await ended(daemon);
    }
    const [acmeDid = '', betaDid = ''] = dids;
    await settings(home, 'log_readers', betaDid);
    await settings(mirror, 'log_mirrors', acmeDid);
    await cp(join(home, 'db'), join(folder, 'backup'), { recursive: true });

    await using acme = await startAcme();
    await using beta = await startBeta(acme.address);
    const watching = await beta.connect();
    const copied = async (): Promise<number> => (await watching.log.status()).mirrors[0]?.treeSize ?? 0;
    const mesh = await acme.connect();
    for (let i = 0; i < 20; i++) await mesh.log.append({ facts: { i } });
    await until(
      'the copy is as long as the log',
      async () => {
        const { treeSize, released } = await mesh.log.status();
        return released?.treeSize === treeSize && (await copied()) === treeSize;
      },
      60_000,
    );
    await ended(acme);
    const kept = await copied();

    await rm(join(home, 'db'), { recursive: true });
    await cp(join(folder, 'backup'), join(home, 'db'), { recursive: true });
    await using again = await startDaemonProcess({ home, name: 'Acme', env, bootstrap: [beta.address] });
    const status = await run(home, ['log', 'status']);
    expect([status.exit, status.out]).toEqual([1, expect.stringMatching(/HALTED: .*is an older copy/)]);
    const back = await again.connect();
    await until('Beta is connected', async () => (await back.peers.list()).some(({ did }) => did === betaDid), 60_000);
    const recovered = await run(home, ['log', 'recover', '--from-mirrors', '--reason', 'x', '--json']);
    expect([recovered.exit, recovered.json]).toMatchObject([0, { generation: 0, problem: null }]);
    const { lost } = recovered.json as { lost: number };
    expect(lost).toBeGreaterThan(0); // at least that the daemon stopped
    const { out } = await run(home, ['log', 'tail', '--type', 'log.recovered']);
    expect(out).toContain(`lost=${lost}`);
    const verified = await run(home, ['log', 'verify']);
    expect([verified.exit, verified.err]).toEqual([0, expect.anything()]);
    const { index } = await back.log.append({ facts: { after: 'the recovery' } });
    expect((await back.log.prove(index, { witnessed: 1 })).cosignatures).toMatchObject([{ did: betaDid }]);
    await until('the copy goes on', async () => (await copied()) > Math.max(kept, index), 60_000);
    for (const each of [back, watching]) expect(await each.convictions.list()).toEqual([]);
    await ended(again);
    // What is anchored agrees with what is held.
    await using last = await startAcme();
    expect((await (await last.connect()).log.status()).problem).toBeNull();
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
