/** A home with an audit log whose daemon is stopped, and what bad disks, restored backups and thieves do to it. */
import { hash } from 'node:crypto';
import { cp, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createGeneration } from '../../daemon/core/log/audit-log.ts';
import { LogKeys, ownPrefix, parseU64 } from '../../daemon/core/log/log-rows.ts';
import { type Daemon, startDaemon } from '../../daemon/daemon.ts';
import type { Store, StoreWrite } from '../../daemon/ports.ts';
import { createFileAnchor } from '../../daemon/store/anchor.ts';
import { createSystemClock } from '../../daemon/system.ts';
import { openLevelStore } from '../../daemon/store/level.ts';
import { MemoryStore } from '../../daemon/store/memory.ts';
import { parseEntry, parseUuid7 } from '../../protocol/log/index.ts';
import { isSignatureValidSodium } from '../../protocol/sodium.ts';
import { AgentMesh, createSigner } from '../../sdk/index.ts';
import { type Ran, run } from '../cli/start.ts';
import { MemoryAnchor, quiet, rowsOf } from '../daemon/core/log/log-world.ts';

/** Of the first generation. */
export const keys = new LogKeys(ownPrefix(0));
export const GENERATION_ROW = Uint8Array.of(0x41);

/** The daemon in this process: the same parts on the same files, without what a process costs. */
export const startHere = (home: string): Promise<Daemon> =>
  startDaemon({
    home,
    env: {},
    flags: { listen: ['/ip4/127.0.0.1/tcp/0'], logLevel: 'error' },
    passphrase: undefined,
    version: '0.1.0',
  });

export class LogHome implements AsyncDisposable {
  readonly home: string;

  constructor(home: string) {
    this.home = home;
  }

  /** Alone, with at least so many entries, most of them released on the way. */
  static async make(entries: number): Promise<LogHome> {
    const made = new LogHome(await emptyHome());
    await using _daemon = await startHere(made.home);
    const mesh = await AgentMesh.connect({ home: made.home });
    for (let { treeSize } = await mesh.log.status(); treeSize < entries; treeSize += 64) {
      const indices = await Promise.all(Array.from({ length: 64 }, (_, i) => mesh.log.append({ facts: { i } })));
      await mesh.log.prove(Math.max(...indices.map(({ index }) => index)));
    }
    return made;
  }

  get anchor(): string {
    return join(this.home, 'log.anchor');
  }

  async copy(): Promise<LogHome> {
    const home = await emptyHome();
    await cp(this.home, home, { recursive: true });
    return new LogHome(home);
  }

  cli(...words: readonly string[]): Promise<Ran> {
    return run(this.home, words);
  }

  async read<T>(work: (store: Store) => Promise<T>): Promise<T> {
    await using store = await openLevelStore(join(this.home, 'db'));
    return await work(store);
  }

  change(work: (store: Store) => Promise<readonly StoreWrite[]>): Promise<void> {
    return this.read(async (store) => store.batch(await work(store), { sync: true }));
  }

  /** Leaves of the head, and of the newest released checkpoint. */
  sizes(): Promise<{ readonly head: number; readonly released: number }> {
    return this.read(async (store) => {
      const head = new TextDecoder().decode(await rowOf(store, keys.head));
      return { head: Number(head.split('\n')[1]), released: parseU64(await rowOf(store, keys.released), 'released') };
    });
  }

  /** By somebody who has the log's key: two entries change places, and all above them is made anew and signed. */
  async rewrite(index: number, { withAnchor }: { readonly withAnchor: boolean }): Promise<void> {
    const anchor = new MemoryAnchor();
    await this.change(async (store) => {
      const entries: Uint8Array[] = [];
      for await (const [, bytes] of store.range(keys.entry(0), keys.end('entry'))) entries.push(bytes);
      const [a, b] = [entries[index], entries[index + 1]];
      if (a === undefined || b === undefined) throw new Error(`there is no entry ${index + 1}`);
      entries.splice(index, 2, b, a);
      const { seed } = JSON.parse(await readFile(join(this.home, 'keys/log.key'), 'utf8')) as { seed: string };
      const other = new MemoryStore();
      const components = {
        store: other,
        anchor,
        signer: createSigner(Buffer.from(seed, 'base64url')),
        clock: createSystemClock(),
        log: quiet,
        isSignatureValid: isSignatureValidSodium,
      };
      const sha256 = (bytes: Uint8Array): Uint8Array => hash('sha256', bytes, 'buffer');
      const [first, ...rest] = entries.map((bytes) => ({ bytes, id16: parseUuid7(parseEntry(bytes).entry.id).bytes }));
      if (first === undefined) throw new Error('there is no entry');
      const log = await createGeneration(components, () => first, { sha256 });
      for (const entry of rest) await log.append(entry); // together they could go in another order
      await log.release();
      await log.close();
      const gone: StoreWrite[] = [];
      for await (const [key] of store.range(ownPrefix(0), ownPrefix(1))) gone.push({ type: 'del', key });
      return [...gone, ...(await rowsOf(other)).map(([key, value]) => ({ type: 'put' as const, key, value }))];
    });
    if (!withAnchor) return;
    await rm(this.anchor);
    await using file = createFileAnchor(this.anchor);
    for (const { note, isReleased } of anchor.slots ?? []) await file.write(note, { sync: true, isReleased });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return rm(join(this.home, '..'), { recursive: true, force: true });
  }
}

const emptyHome = async (): Promise<string> => join(await mkdtemp(join(tmpdir(), 'agentmesh-log-')), 'home');

export async function rowOf(store: Store, key: Uint8Array): Promise<Uint8Array> {
  const row = await store.get(key);
  if (row === undefined) throw new Error(`there is no row ${Buffer.from(key).toString('hex')}`);
  return row;
}

/** One bit of one byte. */
export const flipped = (bytes: Uint8Array, at: number, bit: number): Uint8Array =>
  bytes.map((byte, i) => (i === at ? byte ^ (1 << bit) : byte));
