import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { LogEntryView } from '../../protocol/control/index.ts';
import { limits } from '../../protocol/index.ts';
import {
  commitmentOf,
  formatNote,
  formatTilePath,
  type LogFiles,
  listLogFiles,
  parseCheckpoint,
  parsePolicy,
} from '../../protocol/log/index.ts';
import {
  AgentIdentity,
  AgentMesh,
  createCommitment,
  createSigner,
  exportToDirectory,
  filesIn,
  verifyLogDirectory,
  verifyLogFiles,
  verifyProof,
} from '../../sdk/index.ts';
import { startServer, type Started } from '../daemon/control/start.ts';

let started: Started;
let mesh: AgentMesh;
let directory: string;
beforeEach(async () => {
  started = await startServer();
  mesh = await AgentMesh.connect({ socket: started.socketPath, token: null });
  directory = await mkdtemp(join(tmpdir(), 'agentmesh-log-'));
});
afterEach(async () => {
  await started[Symbol.asyncDispose]();
  await rm(directory, { recursive: true });
});

const terms = { sponsor: 'alice@company.com', capabilities: ['read:data'] };
const create = (name: string, options: object = {}): Promise<AgentIdentity> =>
  AgentIdentity.create({ name, ...terms, mesh, ...options });
const record = async (count: number): Promise<void> => {
  for (let i = 0; i < count; i++) await started.fake.recorder.record('daemon.started', { version: String(i) });
};
const release = () => started.fake.cosigning.witnessed(started.fake.auditLog.treeSize, 2);
async function collected(entries: AsyncIterable<LogEntryView>): Promise<number[]> {
  const found: number[] = [];
  for await (const { index } of entries) found.push(index);
  return found;
}

describe('mesh.log.entries()', () => {
  test('gives all that fit as one sequence, in either order, up to a limit', async () => {
    await record(limits.LOG_ENTRIES_A_PAGE_MAX + 20);
    const { treeSize } = started.fake.auditLog;
    const all = Array.from({ length: treeSize }, (_, i) => i);
    expect(await collected(mesh.log.entries())).toEqual(all.toReversed());
    expect(await collected(mesh.log.entries({ order: 'oldest' }))).toEqual(all);
    expect(await collected(mesh.log.entries({ limit: 3 }))).toEqual(all.slice(-3).toReversed());
    expect(await collected(mesh.log.entries({ limit: 0 }))).toEqual([]);
    expect(await collected(mesh.log.entries({ after: 5, before: 9, order: 'oldest' }))).toEqual([6, 7, 8]);
    expect(await collected(mesh.log.entries({ types: ['agentmesh.log', 'agentmesh.did'] }))).toEqual([1, 0]);
    expect(await collected(mesh.log.entries({ since: new Date(Date.now() + 60_000) }))).toEqual([]);
  });

  test('follows: nothing is missed or told twice, until it is left or cancelled', async () => {
    const { treeSize } = started.fake.auditLog;
    const found: number[] = [];
    const controller = new AbortController();
    const following = (async () => {
      for await (const { index } of mesh.log.entries({ follow: true }, { signal: controller.signal })) {
        found.push(index);
        if (found.length < treeSize + 20) await record(3);
      }
    })();
    for (const end = Date.now() + 10_000; found.length < treeSize + 20 && Date.now() < end; )
      await new Promise((settle) => setTimeout(settle, 50));
    controller.abort();
    await expect(following).rejects.toMatchObject({ code: 'cancelled' });
    expect(found.length).toBeGreaterThanOrEqual(treeSize + 10);
    expect(found).toEqual(Array.from({ length: found.length }, (_, i) => i));
  });
});

describe('an agent', () => {
  test('logs what it does and sees that alone; intent and outcome name each other', async () => {
    const one = await create('one');
    const two = await create('two');
    const { commitment, salt } = createCommitment(Buffer.from('a question'));
    const intent = await one.append({ phase: 'intent', op: 'execute_tool', tool: 'search', in: commitment });
    const outcome = await one.append({ intent: intent.id, op: 'execute_tool', tool: 'search', facts: { hits: 3 } });
    await two.append({ op: 'x' });
    expect(await collected(one.audit())).toEqual([outcome.index, intent.index]);
    expect(commitmentOf(salt, Buffer.from('a question'))).toBe(commitment);
    const token = started.fake.issueToken(one.did);
    const asOne = await AgentMesh.connect({ socket: started.socketPath, token });
    expect(await collected(asOne.log.entries())).toEqual([outcome.index, intent.index]);
    await expect(asOne.log.append({ as: two.did, op: 'x' })).rejects.toMatchObject({ code: 'forbidden' });
    await expect(asOne.log.entries({ actor: two.did }).next()).rejects.toMatchObject({ code: 'forbidden' });
    await expect(asOne.log.entry(0)).rejects.toMatchObject({ code: 'not_found' });
    await expect(asOne.log.files().read('checkpoint')).rejects.toMatchObject({ code: 'forbidden' });
  });

  test('that keeps its own key signs in its own process, as proofs of its entries show', async () => {
    const signer = createSigner();
    const own = await create('own', { signer });
    const { index, cosigned } = await own.append({ op: 'pay', facts: { cents: 5 }, witnessed: 2 });
    expect(cosigned).toMatchObject({ cosigners: 2 });
    const { bytes, proof } = await mesh.log.prove(index, { witnessed: 2 });
    const { entry } = verifyProof(proof, bytes, await mesh.log.policy(), { ageSecondsMax: 60 });
    expect(entry.entry.data).toMatchObject({ actor: own.did, op: 'pay', facts: { cents: 5 } });
    const { publicKeyText } = await import('../../sdk/index.ts');
    expect(entry.entry.data.sig.kid).toBe(publicKeyText(signer));
    await expect(own.append({ facts: { a: 0.5 } })).rejects.toMatchObject({ code: 'malformed' });
    await expect(own.append({ type: 'agentmesh.session.ended.v1' })).rejects.toMatchObject({ code: 'schema' });
    own.close();
  });
});

describe('verifyProof()', () => {
  test('refuses another entry, another policy, too few witnesses and old ones', async () => {
    const one = await create('one');
    const { index } = await one.append({ op: 'x' });
    const { bytes, proof } = await mesh.log.prove(index, { witnessed: 1 });
    const text = await mesh.log.policy();
    const policy = parsePolicy(Buffer.from(text));
    const codeOf = (check: () => unknown): unknown => {
      try {
        check();
        return undefined;
      } catch (error) {
        return (error as { code?: unknown }).code;
      }
    };
    expect(codeOf(() => verifyProof(proof, bytes, text))).toBe('quorum');
    const lenient = { ...policy, quorum: undefined };
    expect(codeOf(() => verifyProof(proof, bytes, lenient))).toBeUndefined();
    expect(codeOf(() => verifyProof(proof, Buffer.concat([bytes, Buffer.from(' ')]), lenient))).toBe('bad_proof');
    expect(codeOf(() => verifyProof(proof, bytes, { ...lenient, logs: [] }))).toBe('not_signed');
    const whole = await mesh.log.prove(index, { witnessed: 2 });
    expect(codeOf(() => verifyProof(whole.proof, bytes, Buffer.from(text)))).toBeUndefined();
    const later = { ageSecondsMax: 600, nowMs: Date.now() + 3_600_000 };
    expect(codeOf(() => verifyProof(whole.proof, bytes, text, later))).toBe('quorum');
  });
});

describe('an exported log', () => {
  /** Fails after some reads, as a daemon that is killed. */
  const failing = (source: LogFiles, reads: number): LogFiles => {
    let left = reads;
    return {
      read: async (path) => {
        left -= 1;
        if (left < 0) throw new Error('the daemon is gone');
        return source.read(path);
      },
    };
  };
  const paths = async (): Promise<string[]> => {
    const all = await readdir(directory, { recursive: true, withFileTypes: true });
    return all.filter((entry) => entry.isFile()).map(({ parentPath, name }) => join(parentPath, name));
  };

  test('is whole, and nothing else is in the directory', async () => {
    await record(600);
    await release();
    const { treeSize } = started.fake.auditLog;
    const progress: number[] = [];
    const exported = await mesh.log.export(directory, { onProgress: (entries) => progress.push(entries) });
    expect(exported).toMatchObject({ treeSize, before: null, filesKept: 0 });
    expect(progress.at(-1)).toBe(treeSize);
    const wanted = [...listLogFiles(treeSize)].map(({ path }) => path);
    const files = (await paths()).map((path) => path.slice(directory.length + 1)).toSorted();
    expect(files).toEqual([...wanted, 'checkpoint', 'log.v0.vkey', 'policy'].toSorted());
    const report = await verifyLogDirectory(directory, { policy: await mesh.log.policy() });
    expect(report).toMatchObject({ entries: treeSize, signatures: treeSize });
  });

  test('that was interrupted at any read has no checkpoint that its files do not carry, and goes on', async () => {
    await record(300);
    await release();
    const source = mesh.log.files();
    const first = parseCheckpoint((await source.read('checkpoint')) ?? new Uint8Array()).checkpoint.treeSize;
    let interrupted = 0;
    for (let reads = 0; ; reads++) {
      const done = await exportToDirectory(failing(source, reads), directory).catch(() => undefined);
      if (done !== undefined) break;
      interrupted += 1;
      expect(await filesIn(directory).read('checkpoint')).toBeUndefined();
    }
    expect(interrupted).toBeGreaterThan(5);
    await record(300);
    await release();
    for (let reads = 0; ; reads++) {
      const done = await exportToDirectory(failing(source, reads), directory).catch(() => undefined);
      const report = await verifyLogDirectory(directory);
      expect(report.entries).toBe(done?.treeSize ?? first);
      if (done !== undefined) break;
    }
    expect((await paths()).filter((path) => path.endsWith('.new'))).toEqual([]);
  });

  test.each(['entries', 0, 1] as const)('is mended where a file of level %s is damaged', async (level) => {
    await record(300);
    await release();
    await mesh.log.export(directory);
    const width = level === 1 ? 1 : 256;
    const file = join(directory, formatTilePath({ level, index: 0, width }));
    const good = await readFile(file);
    for (const bad of [good.subarray(0, 10), Buffer.from(good).fill(7, 20, 30), Buffer.alloc(0)]) {
      await writeFile(file, bad);
      await expect(verifyLogDirectory(directory)).rejects.toMatchObject({
        data: { path: expect.any(String) as string },
      });
      await mesh.log.export(directory);
      expect(await readFile(file)).toEqual(good);
    }
    expect((await verifyLogDirectory(directory)).entries).toBe(started.fake.auditLog.treeSize);
  });

  test('is not made of files that do not fit the checkpoint, whoever gives them', async () => {
    await record(300);
    await release();
    const source = mesh.log.files();
    for (const path of ['tile/0/000', 'tile/1/000.p/1', 'tile/entries/000', 'checkpoint', 'log.v0.vkey']) {
      const lying: LogFiles = {
        read: async (asked) => {
          const bytes = await source.read(asked);
          return asked === path && bytes !== undefined
            ? Uint8Array.from(bytes, (byte, i) => (i === 20 ? byte ^ 1 : byte))
            : bytes;
        },
      };
      await expect(exportToDirectory(lying, directory), path).rejects.toMatchObject({
        code: expect.stringMatching(/^(?:bad_proof|bad_signature|malformed|not_signed)$/) as string,
      });
      expect(await filesIn(directory).read('checkpoint')).toBeUndefined();
    }
  });

  test('contains the checkpoints that were seen before, or is refused', async () => {
    await record(10);
    const kept = formatNote((await release()).note);
    await record(10);
    await release();
    await mkdir(join(directory, 'deep'), { recursive: true });
    await mesh.log.export(join(directory, 'deep', 'er'));
    const place = join(directory, 'deep', 'er');
    expect((await verifyLogDirectory(place, { since: [kept] })).known).toBe(1);
    const forged = Buffer.from(
      Buffer.from(kept)
        .toString('utf8')
        .replace(/\n(\d+)\n/, '\n1$1\n'),
    );
    await expect(verifyLogDirectory(place, { since: [forged] })).rejects.toMatchObject({ code: 'bad_signature' });
    const newer = formatNote((await release()).note);
    await record(1);
    const latest = formatNote((await release()).note);
    expect(newer).not.toEqual(latest);
    await expect(verifyLogDirectory(place, { since: [latest] })).rejects.toMatchObject({ code: 'bad_proof' });
    const cancelled = verifyLogFiles(filesIn(place), { signal: AbortSignal.abort() });
    await expect(cancelled).rejects.toMatchObject({ code: 'cancelled' });
  });
});
