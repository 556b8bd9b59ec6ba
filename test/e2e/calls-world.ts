/** Acme exposes a real filesystem server; an agent of Gamma holds a grant for it. Two daemons, each a process. */
import { mkdir, mkdtemp, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { AgentMesh } from '../../sdk/index.ts';
import { type DaemonProcess, startDaemonProcess, until } from './daemon-process.ts';
import { FILESYSTEM } from './proxy-client.ts';

export interface Side {
  readonly home: string;
  readonly daemon: DaemonProcess;
  readonly mesh: AgentMesh;
  /** Its agent. */
  readonly agent: string;
}

export interface CallsWorld extends AsyncDisposable {
  readonly acme: Side;
  readonly gamma: Side;
  /** What Acme's server shows; `notes.txt` is in it. */
  readonly files: string;
  /** The link from Acme to Gamma's agent. */
  readonly grant: string;
}

export const NOTE = 'what Acme knows';

export async function createCallsWorld(): Promise<CallsWorld> {
  await using opened = new AsyncDisposableStack();
  const directory = await realpath(await mkdtemp(join(tmpdir(), 'agentmesh-calls-')));
  opened.defer(() => rm(directory, { recursive: true, force: true }));
  const files = join(directory, 'files');
  await mkdir(files);
  await writeFile(join(files, 'notes.txt'), NOTE);

  const start = async (name: string, bootstrap: readonly string[], agent: string): Promise<Side> => {
    const home = join(directory, name.toLowerCase());
    const daemon = opened.use(await startDaemonProcess({ home, name, bootstrap }));
    const mesh = await daemon.connect();
    const sponsor = `${agent}@${name.toLowerCase()}.example`;
    const made = await mesh.agents.create({ name: agent, sponsor, capabilities: [{ can: 'read:x' }] });
    return { home, daemon, mesh, agent: made.agent.did };
  };
  const acme = await start('Acme', [], 'clerk');
  const gamma = await start('Gamma', [acme.daemon.address], 'reader');
  await until('they meet', async () => (await gamma.mesh.status()).peers.bound === 1);
  await acme.mesh.exposed.add({ name: 'files', command: [...FILESYSTEM, files], cwd: files });
  const { link } = await acme.mesh.delegations.create({
    to: gamma.agent,
    capabilities: [{ can: 'mcp:files/*' }],
    ttlSeconds: 3_600,
  });
  const isHeld = (): Promise<boolean> =>
    gamma.mesh.chains.show(link.id).then(
      () => true,
      () => false,
    );
  await until('the grant reaches Gamma', isHeld);
  const stack = opened.move();
  return { acme, gamma, files, grant: link.id, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}
