/** govern() with an agent's token against a daemon of its own, whose policies change while it runs. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { AgentIdentity, AgentMesh, govern, verifyLogFiles } from '../../sdk/index.ts';
import { startDaemonProcess, until } from './daemon-process.ts';

const policyOf = (action: string): string =>
  `version: "1.0"\ndefault: allow\nrules: [ { name: writes, condition: "tool.name == 'write'", action: ${action} } ]\n`;

test('an agent with its token calls its tools under the policies of the daemon, and SIGHUP changes them', {
  timeout: 90_000,
}, async () => {
  const folder = await mkdtemp(join(tmpdir(), 'agentmesh-govern-'));
  const policy = join(folder, 'acme.yaml');
  const put = (text: string): Promise<void> => writeFile(policy, text, { mode: 0o600 });
  try {
    await put(policyOf('deny'));
    const home = join(folder, 'home');
    const env = { AGENTMESH_POLICIES: policy };
    await using daemon = await startDaemonProcess({ home, name: 'Acme', args: ['--log-level', 'error'], env });
    const mesh = await daemon.connect();
    const { pid } = JSON.parse(await readFile(join(home, 'daemon.json'), 'utf8')) as { pid: number };
    const hangUp = async (): Promise<void> => void process.kill(pid, 'SIGHUP');
    const terms = { sponsor: 'ann@example.com', capabilities: ['read:data'], mesh };
    const { did } = await AgentIdentity.create({ name: 'clerk', ...terms });
    const { token } = await mesh.agents.token(did);
    const own = await AgentMesh.connect({ home, token });
    const ran: string[] = [];
    await using read = govern(({ path }: { path: string }) => void ran.push(`read ${path}`), {
      name: 'read',
      mesh: own,
    });
    await using write = govern(({ path }: { path: string }) => void ran.push(`write ${path}`), {
      name: 'write',
      mesh: own,
    });
    await read({ path: 'a' });
    expect(await write({ path: 'a' })).toMatchObject({ isError: true });
    await put(policyOf('allow'));
    await hangUp();
    await until(
      'the next policy is in force',
      async () => !JSON.stringify((await write({ path: 'b' })) ?? '').includes('isError'),
    );
    await put('rules: nonsense');
    await hangUp();
    const warned = async (): Promise<boolean> =>
      (await mesh.status()).warnings.some(({ code, message }) => code === 'policies' && message.includes('acme.yaml'));
    await until('the status warns of it', warned);
    await write({ path: 'c' });
    expect(ran).toEqual(['read a', 'write b', 'write c']);
    await put(policyOf('deny'));
    await until('the warning is gone', async () => !(await warned()));
    expect(await write({ path: 'd' })).toMatchObject({ isError: true });
    await write[Symbol.asyncDispose]();
    const actors = new Set<unknown>();
    for await (const { entry } of mesh.log.entries({ types: ['agentmesh.action'] }))
      actors.add((entry.data as { actor?: unknown }).actor);
    expect([...actors]).toEqual([did]);
    expect((await verifyLogFiles(mesh.log.files())).checkpoint.treeSize).toBeGreaterThan(8);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
