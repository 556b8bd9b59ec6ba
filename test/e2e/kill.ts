/** kill -9 at random moments while the daemon writes: what it acknowledged is there when it starts again. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isMeshError } from '../../protocol/index.ts';
import { seededRandom } from '../random.ts';
import { startDaemonProcess } from './daemon-process.ts';

const WRITERS = 4;

export interface KillReport {
  readonly acknowledged: number;
  readonly lost: readonly string[];
  readonly starts: number;
}

/** One home, killed `rounds` times. */
export async function killRepeatedly(rounds: number, seed: number): Promise<KillReport> {
  const random = seededRandom(seed);
  const home = await mkdtemp(join(tmpdir(), 'agentmesh-kill-'));
  const acknowledged = new Set<string>();
  let did: string | undefined;
  try {
    for (let round = 0; round < rounds; round++) {
      await using daemon = await startDaemonProcess({ home, name: 'Kill', args: ['--log-level', 'error'] });
      if (did !== undefined && daemon.did !== did)
        throw new Error(`round ${round}: the organisation is another, "${daemon.did}"`);
      did = daemon.did;
      const mesh = await daemon.connect();
      const [sponsor] = await mesh.sponsors.list();
      if (sponsor === undefined) await mesh.sponsors.create({ contact: 'kill@example.com' });
      const before = await heldOf(mesh);
      const lost = [...acknowledged].filter((id) => !before.has(id));
      if (lost.length > 0) return { acknowledged: acknowledged.size, lost, starts: round + 1 };
      const killed = new Promise<void>((resolve) => {
        setTimeout(
          () => {
            void daemon.end('SIGKILL').then(() => resolve());
          },
          20 + random() * 300,
        );
      });
      await Promise.all(Array.from({ length: WRITERS }, (_, i) => write(mesh, did as string, acknowledged, i)));
      await killed;
    }
    await using daemon = await startDaemonProcess({ home, name: 'Kill', args: ['--log-level', 'error'] });
    const held = await heldOf(await daemon.connect());
    return {
      acknowledged: acknowledged.size,
      lost: [...acknowledged].filter((id) => !held.has(id)),
      starts: rounds + 1,
    };
  } finally {
    await rm(home, { recursive: true, force: true });
  }
}

type Mesh = Awaited<ReturnType<Awaited<ReturnType<typeof startDaemonProcess>>['connect']>>;

/** Links and revocations until the daemon is gone; remembers what was acknowledged. */
async function write(mesh: Mesh, did: string, acknowledged: Set<string>, writer: number): Promise<void> {
  try {
    for (let i = 0; ; i++) {
      const { link } = await mesh.delegations.create({
        to: did,
        capabilities: [{ can: `read:w${writer}/n${i}` }],
        ttlSeconds: 86_400,
      });
      acknowledged.add(link.id);
      if (i % 5 === 4)
        acknowledged.add((await mesh.revocations.create({ target: { link: link.id }, reason: 'kill' })).revocation.id);
    }
  } catch (error) {
    if (!isMeshError(error) || !['not_running', 'closed', 'internal', 'unreachable'].includes(error.code)) throw error;
  }
}

async function heldOf(mesh: Mesh): Promise<Set<string>> {
  const chains = await mesh.chains.list();
  const revocations = await mesh.revocations.list();
  return new Set([...chains.map(({ leaf }) => leaf), ...revocations.map(({ revocation }) => revocation.id)]);
}
