import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type ErrorCode, isMeshError, type MeshError } from '../../../protocol/errors.ts';
import {
  type Checkpoint,
  createTreeHasher,
  formatProofFile,
  formatTile,
  formatVkey,
  leafHash,
  listLogFiles,
  type LogReport,
  parseBundle,
  parseCheckpoint,
  parsePolicy,
  parseTilePath,
  parseVkey,
  type Policy,
  proveInclusion,
  rootFromTiles,
  rootOfHashes,
  tileReaderOf,
  verifyEntryProof,
  verifyLog,
  type VerifyLogOptions,
} from '../../../protocol/log/index.ts';
import { isSignatureValidSodium } from '../../../protocol/sodium.ts';
import { createOrganisation } from '../../builders.ts';
import { seededRandom, suiteSeed } from '../../fuzz/random.ts';
import { describeWithShared } from '../../shared.ts';
import { acme, auditEntries, robot } from './audit-entries.ts';
import { createBinding, ownLog, ownWitness } from './own-log.ts';
import { bytesOf, logSigner, signedNote, type Signer, textOf } from './sample.ts';
import { filesOf } from './tiled.ts';

const SEED = suiteSeed(4711);
type Files = Map<string, Uint8Array>;

const hasher = createTreeHasher((bytes) => new Uint8Array(createHash('sha256').update(bytes).digest()));
const log = ownLog('acme');
const witnesses = [1, 2, 3].map((i) => ownWitness(`witness ${i}`));
const policy: Policy = parsePolicy(
  bytesOf(
    `${witnesses.map(({ vkey }, i) => `witness w${i} ${formatVkey(vkey)}\n`).join('')}group all all w0 w1 w2\nquorum all\n`,
  ),
);

/** The files of a log of these entries, under a checkpoint that the log and its witnesses signed. */
function logOf(entries: readonly Uint8Array[], signer: Signer = log, by: readonly Signer[] = witnesses): Files {
  const files = filesOf(entries);
  const root = rootOfHashes(entries.map(leafHash));
  files.set('checkpoint', signedNote({ origin: signer.vkey.name, treeSize: entries.length, root }, signer, by));
  return files;
}

interface Outcome {
  readonly report?: LogReport;
  readonly error?: MeshError;
  readonly read: readonly string[];
}

async function check(files: Files, options: Partial<VerifyLogOptions> = {}): Promise<Outcome> {
  const read: string[] = [];
  const reader = {
    read: async (path: string) => {
      read.push(path);
      return files.get(path);
    },
  };
  try {
    const report = await verifyLog(reader, { isSignatureValid: isSignatureValidSodium, policy, hasher, ...options });
    return { report, read };
  } catch (error) {
    if (isMeshError(error)) return { error, read };
    throw error;
  }
}

async function refused(files: Files, options: Partial<VerifyLogOptions> = {}): Promise<MeshError> {
  const { error } = await check(files, options);
  if (error === undefined) throw new Error('The log was accepted');
  return error;
}

const with_ = (files: Files, changes: Readonly<Record<string, Uint8Array | undefined>>): Files => {
  const changed = new Map(files);
  for (const [path, bytes] of Object.entries(changes))
    if (bytes === undefined) changed.delete(path);
    else changed.set(path, bytes);
  return changed;
};
const fileIn = (files: Files, path: string): Uint8Array => {
  const bytes = files.get(path);
  if (bytes === undefined) throw new Error(`No file "${path}"`);
  return bytes;
};
const flipped = (bytes: Uint8Array, at: number, by = 1): Uint8Array =>
  bytes.map((byte, i) => (i === at ? byte ^ by : byte));

/** The entry that a byte of a bundle belongs to, its length included. */
function entryAt(path: string, bytes: Uint8Array, at: number): number {
  const { index, width } = parseTilePath(path);
  let end = 0;
  for (const [i, entry] of parseBundle(bytes, width).entries()) {
    end += 2 + entry.length;
    if (at < end) return index * 256 + i;
  }
  throw new Error('beyond the bundle');
}

/** That a change of one byte is found, and blamed on the file, and in a bundle on the entry, where it is. */
async function expectBlamed(files: Files, path: string, at: number, by: number, options = {}): Promise<void> {
  const bytes = fileIn(files, path);
  const error = await refused(with_(files, { [path]: flipped(bytes, at, by) }), options);
  const what = `seed ${SEED}: byte ${at} of ${path}: ${error.message}`;
  expect(error.data.path, what).toBe(path);
  expect(error.message, what).toContain(`"${path}"`);
  if (!path.startsWith('tile/entries')) return;
  const index = entryAt(path, bytes, at);
  expect(error.data.index, what).toBe(index);
  expect(error.message, what).toContain(`entry ${index}`);
}

const audit600 = auditEntries(600);
const log600 = logOf(audit600);
const opaque: Partial<VerifyLogOptions> = { entries: 'opaque' };
const opaqueEntries = (count: number, salt = ''): Uint8Array[] =>
  Array.from({ length: count }, (_, i) => bytesOf(`entry ${i} ${salt}`));
const log70000 = logOf(opaqueEntries(70_000));

/** The log as it was at a size at which it has no partial tiles that it has no longer. */
async function cutBack(files: Files, treeSize: number): Promise<Files> {
  const cut: Files = new Map([...listLogFiles(treeSize)].map(({ path }) => [path, fileIn(files, path)]));
  const root = await rootFromTiles(treeSize, tileReaderOf({ read: async (path) => cut.get(path) }));
  return cut.set('checkpoint', signedNote({ origin: log.vkey.name, treeSize, root }, log, witnesses));
}

describe('a log', () => {
  test.each([0, 2, 255, 256, 257, 600])(
    'of %d audit entries is good, and the report says what was looked at',
    async (n) => {
      const files = logOf(audit600.slice(0, n));
      const { report, error, read } = await check(files);
      expect(error).toBeUndefined();
      const places = [...listLogFiles(n)].map(({ path }) => path);
      expect(report).toMatchObject({
        checkpoint: { origin: log.vkey.name, treeSize: n },
        log: log.vkey,
        entries: n,
        signatures: n,
        bundles: places.filter((path) => path.startsWith('tile/entries/')).length,
        tiles: places.filter((path) => !path.startsWith('tile/entries/')).length,
        known: 0,
      });
      expect(report?.cosignatures).toHaveLength(3);
      expect(read.toSorted()).toEqual([...places, 'checkpoint', 'log.v0.vkey'].toSorted());
    },
  );

  test.each([65_536, 70_000])('of %d opaque entries is good, each file read once', async (n) => {
    const files = n === 70_000 ? log70000 : await cutBack(log70000, n);
    const { report, error, read } = await check(files, opaque);
    expect(error).toBeUndefined();
    expect(report).toMatchObject({ entries: n, signatures: 0, bundles: Math.ceil(n / 256) });
    expect(new Set(read).size).toBe(read.length);
    expect(read).toHaveLength(files.size + 1);
  });

  test('tells how far it is, and stops when it is told to', async () => {
    const seen: number[] = [];
    const controller = new AbortController();
    await check(log600, { onProgress: ({ entries, treeSize }) => seen.push(entries, treeSize) });
    expect(seen).toEqual([256, 600, 512, 600, 600, 600]);
    const error = await refused(log600, { signal: controller.signal, onProgress: () => controller.abort() });
    expect(error).toMatchObject({ code: 'cancelled', message: expect.stringContaining('after 256 entries') });
  });

  test('of which there is nothing is not good', async () => {
    expect(await refused(new Map())).toMatchObject({ code: 'not_found', data: { path: 'checkpoint' } });
    for (const bytes of [new Uint8Array(), bytesOf('x'), bytesOf('a\n1\nb\n\n')])
      expect(await refused(new Map([['checkpoint', bytes]]))).toMatchObject({
        code: 'malformed',
        data: { path: 'checkpoint' },
      });
  });
});

describe('one changed byte', () => {
  test('is found, wherever it is in a small log, and the place is named', async () => {
    const entries = audit600.slice(3, 6);
    const files = logOf(entries, log, witnesses.slice(0, 1));
    const one = { ...policy, quorum: 'w0' };
    const random = seededRandom(SEED);
    let count = 0;
    for (const [path, bytes] of files)
      for (let at = 0; at < bytes.length; at++, count++)
        await expectBlamed(files, path, at, 1 << random.below(8), { ...opaque, policy: one });
    expect(count).toBeGreaterThan(2_000);
  });

  test('is found in a log of 257 with a tile above', async () => {
    const files = logOf(opaqueEntries(257));
    const random = seededRandom(SEED + 1);
    for (const [path, bytes] of files) {
      const sample =
        bytes.length < 100 ? [...bytes.keys()] : Array.from({ length: 60 }, () => random.below(bytes.length));
      for (const at of sample) await expectBlamed(files, path, at, 1 + random.below(255), opaque);
    }
  });

  test('is found in a log of 600 audit entries', async () => {
    const random = seededRandom(SEED + 2);
    for (let i = 0; i < 30; i++) {
      const path = random.pick([...log600.keys()]);
      await expectBlamed(log600, path, random.below(fileIn(log600, path).length), 1 + random.below(255));
    }
  });

  test('is found in a log of 70,000, in tiles of every level', async () => {
    const files = log70000;
    const random = seededRandom(SEED + 3);
    const paths = [
      'tile/2/000.p/1',
      'tile/1/000',
      'tile/1/001.p/17',
      'tile/0/018',
      'tile/entries/018',
      random.pick([...files.keys()]),
    ];
    for (const path of paths)
      await expectBlamed(files, path, random.below(fileIn(files, path).length), 1 + random.below(255), opaque);
  });
});

describe('entries that are swapped', () => {
  const swapped = <T>(items: readonly T[], a: number, b: number): T[] =>
    items.map((item, i) => items[i === a ? b : i === b ? a : i] ?? item);
  const entries = opaqueEntries(600);
  const files = logOf(entries);

  test.each([
    [3, 4],
    [10, 255],
    [255, 256],
    [511, 512],
    [0, 599],
  ])('%d and %d are found at the first', async (a, b) => {
    const other = filesOf(swapped(entries, a, b));
    const bundles = [...other].filter(([path]) => path.startsWith('tile/entries/'));
    const error = await refused(with_(files, Object.fromEntries(bundles)), opaque);
    expect(error).toMatchObject({ code: 'bad_proof', data: { index: a } });
    expect(error.message).toMatch(new RegExp(`^Cannot accept entry ${a} in ".*": its leaf hash is not that of`));
  });

  test('together with their leaf hashes are found at the tile above, which leads to the root', async () => {
    const other = filesOf(swapped(entries, 300, 301));
    const bottom = [...other].filter(([path]) => /^tile\/(?:entries|0)\//.test(path));
    const error = await refused(with_(files, Object.fromEntries(bottom)), opaque);
    expect(error).toMatchObject({ code: 'bad_proof', data: { path: 'tile/0/001', index: 256 } });
    expect(error.message).toMatch(
      /^Cannot accept entries 256 to 511: they agree with "tile\/0\/001", whose root is not that of "tile\/1\/000.p\/2"; it is [0-9a-f]{64}, want [0-9a-f]{64}$/,
    );
  });

  test('with all hashes made anew contradict the checkpoint, which is named', async () => {
    for (const [a, b] of [
      [300, 301],
      [598, 599],
    ] as const) {
      const other = filesOf(swapped(entries, a, b)).set('checkpoint', fileIn(files, 'checkpoint'));
      const error = await refused(other, opaque);
      expect(error).toMatchObject({ code: 'bad_proof', data: { path: 'checkpoint' } });
      expect(error.message).toMatch(
        `Cannot accept checkpoint "${log.vkey.name}" of size 600: all entries and tiles agree with one another, but their root is `,
      );
    }
  });
});

describe('a log that was rewritten', () => {
  const seen = (entries: readonly Uint8Array[]): Checkpoint => ({
    origin: log.vkey.name,
    treeSize: entries.length,
    root: rootOfHashes(entries.map(leafHash)),
  });
  const entries = opaqueEntries(600);
  const rewritten = opaqueEntries(600, 'rewritten');

  test('contradicts the checkpoint that it had', async () => {
    const files = filesOf(rewritten).set('checkpoint', fileIn(logOf(entries), 'checkpoint'));
    expect(await refused(files, opaque)).toMatchObject({ code: 'bad_proof', data: { path: 'checkpoint' } });
  });

  test('by the owner of its key lacks the cosignatures', async () => {
    expect(await refused(logOf(rewritten, log, []), opaque)).toMatchObject({
      code: 'quorum',
      data: { path: 'checkpoint' },
    });
    expect(
      (await check(logOf(rewritten, log, []), { ...opaque, policy: { ...policy, quorum: undefined } })).report,
    ).toBeDefined();
  });

  test('contradicts a checkpoint known from elsewhere, of any size', async () => {
    const parted = [...entries.slice(0, 300), ...rewritten.slice(300)];
    for (const size of [1, 255, 256, 300, 301, 599, 600]) {
      const known = [seen(entries.slice(0, size)), seen(entries.slice(0, 100))].slice(0, size > 100 ? 2 : 1);
      const { report, error } = await check(logOf(parted), { ...opaque, known });
      if (size <= 300) expect(report?.known).toBe(known.length);
      else {
        expect(error).toMatchObject({ code: 'bad_proof', data: { path: 'checkpoint', treeSize: size } });
        expect(error?.message).toContain(`contradicts the checkpoint of size ${size} that is known`);
      }
    }
    expect((await check(logOf(entries), { ...opaque, known: [seen([])] })).report?.known).toBe(1);
  });

  test('so as to end earlier is as good as its checkpoint, unless a later one is known', async () => {
    const files = logOf(entries.slice(0, 500));
    expect((await check(files, opaque)).report?.entries).toBe(500);
    const error = await refused(files, { ...opaque, known: [seen(entries)] });
    expect(error).toMatchObject({ code: 'bad_proof', data: { is: 500, want: 600 } });
    expect(error.message).toMatch(/it ends after 500 entries, and a checkpoint of 600 is known$/);
  });

  test('is not compared with a checkpoint of another log', async () => {
    const other = { ...seen(entries), origin: ownLog('beta').vkey.name };
    expect(await refused(logOf(entries), { ...opaque, known: [other] })).toMatchObject({ code: 'bad_proof' });
  });
});

describe('files that are missing or wrong', () => {
  const entries = opaqueEntries(600);
  const files = logOf(entries);

  test('are named: each in turn', async () => {
    for (const path of files.keys()) {
      const error = await refused(with_(files, { [path]: undefined }), opaque);
      expect(error).toMatchObject({ code: 'not_found', data: { path } });
      expect(error.message).toBe(`Cannot read "${path}": it is missing`);
    }
  });

  test('of the tail are named, the first', async () => {
    const cut = new Map([...files].filter(([path]) => !/00[12]/.test(path)));
    expect(await refused(cut, opaque)).toMatchObject({ code: 'not_found', data: { path: 'tile/entries/001' } });
    const bundle = fileIn(files, 'tile/entries/002.p/88');
    const last = 2 + (entries[599]?.length ?? 0);
    for (const drop of [1, last - 1, last, last + 1]) {
      const error = await refused(with_(files, { 'tile/entries/002.p/88': bundle.slice(0, -drop) }), opaque);
      expect(error).toMatchObject({ code: 'malformed', data: { index: drop > last ? 598 : 599 } });
    }
  });

  test('that hold more than their width are refused', async () => {
    for (const path of [
      'tile/0/002.p/88',
      'tile/0/000',
      'tile/1/000.p/2',
      'tile/entries/002.p/88',
      'tile/entries/000',
    ]) {
      const error = await refused(with_(files, { [path]: Uint8Array.from([...fileIn(files, path), 0]) }), opaque);
      expect(error).toMatchObject({ code: 'malformed', data: { path } });
    }
  });

  test('may be full ones in place of partial ones', async () => {
    const larger = filesOf(opaqueEntries(1_024));
    const grown = new Map(
      [...files].map(([path, bytes]) =>
        path === 'checkpoint'
          ? [path, bytes]
          : [path.replace(/\.p\/88$/, ''), larger.get(path.replace(/\.p\/88$/, '')) ?? bytes],
      ),
    );
    expect(grown.has('tile/0/002')).toBe(true);
    expect((await check(grown, opaque)).report?.entries).toBe(600);
    // What follows the checkpoint's entries there is no business of it.
    const damaged = with_(grown, { 'tile/entries/002': fileIn(grown, 'tile/entries/002').slice(0, -5) });
    expect((await check(damaged, opaque)).report?.entries).toBe(600);
    await expectBlamed(grown, 'tile/0/002', 87 * 32, 1, opaque);
    await expectBlamed(grown, 'tile/entries/002', 7, 1, opaque);
  });

  test('of the key mislead nobody', async () => {
    const vkey = bytesOf(`${formatVkey(log.vkey)}\n`);
    expect((await check(with_(files, { 'log.v0.vkey': vkey }), opaque)).report).toBeDefined();
    for (const wrong of [
      bytesOf(formatVkey(log.vkey)),
      bytesOf(`${formatVkey(ownLog('beta').vkey)}\n`),
      new Uint8Array(),
    ])
      expect(await refused(with_(files, { 'log.v0.vkey': wrong }), opaque)).toMatchObject({
        code: 'malformed',
        data: { path: 'log.v0.vkey' },
      });
  });

  test('in several places are named by the first, also where neither hash leads to the root', async () => {
    const [bundle, tile] = [fileIn(files, 'tile/entries/001'), fileIn(files, 'tile/0/001')];
    const at = 2 + (entries[256]?.length ?? 0) + 4; // within entry 257
    const error = await refused(
      with_(files, { 'tile/entries/001': flipped(bundle, at), 'tile/0/001': flipped(tile, 40 * 32) }),
      opaque,
    );
    expect(error).toMatchObject({ code: 'bad_proof', data: { path: 'tile/entries/001', index: 257 } });
    expect(error.message).toContain('and neither leads to the root of the checkpoint');
    const above = fileIn(files, 'tile/1/000.p/2');
    const both = with_(files, {
      'tile/1/000.p/2': flipped(flipped(above, 0), 40),
      'tile/0/002.p/88': flipped(fileIn(files, 'tile/0/002.p/88'), 5),
    });
    const first = await refused(both, opaque);
    expect(first).toMatchObject({ code: 'bad_proof', data: { path: 'tile/0/000', index: 0 } });
    expect(first.message).toMatch(/^Cannot accept entries 0 to 255: .*neither leads to the root/);
  });
});

describe('an audit entry', () => {
  const resealed = (entries: readonly Uint8Array[]): Files => logOf(entries);
  const at = (index: number, bytes: Uint8Array): Uint8Array[] =>
    audit600.map((entry, i) => (i === index ? bytes : entry));
  const cases: readonly (readonly [string, (text: string) => string, ErrorCode])[] = [
    ['that says something else than was signed', (text) => text.replace('"n":"471"', '"n":"472"'), 'bad_signature'],
    ['that is not canonical', (text) => `${text} `, 'noncanonical'],
    ['that is no entry', () => '{}', 'schema'],
    ['that is no JSON', () => 'entry', 'malformed'],
  ];
  test.each(cases)('%s is found in a tree that is in order', async (_, change, code) => {
    const changed = bytesOf(change(textOf(audit600[471] as Uint8Array)));
    expect(changed).not.toEqual(audit600[471]);
    const error = await refused(resealed(at(471, changed)));
    expect(error).toMatchObject({ code, data: { index: 471, path: 'tile/entries/001' } });
    expect(error.message).toMatch(/\(entry 471, in "tile\/entries\/001"\)$/);
    expect((await check(resealed(at(471, changed)), opaque)).report?.signatures).toBe(0);
  });
});

describe('the keys of an audit log', () => {
  test('are those that it has shown: by then, and of the organisation at all', async () => {
    const [opened, acmeListed, robotListed, action] = audit600 as [Uint8Array, Uint8Array, Uint8Array, Uint8Array];
    for (const [entries, code, index] of [
      [[opened], 'key_unknown', 0],
      [[opened, acmeListed, action], 'key_unknown', 2],
      [[opened, robotListed], 'key_unknown', 1],
      [[acmeListed, robotListed, action], 'schema', 0],
      [[opened, acmeListed, robotListed, auditEntries(4, { by: acme.keys.auth })[3]], 'key_unknown', 3],
    ] as const) {
      const error = await refused(logOf(entries as readonly Uint8Array[]));
      expect(error).toMatchObject({ code, data: { index } });
      expect(error.message).toContain(`(entry ${index}, in "tile/entries/000`);
    }
    expect((await check(logOf([opened, acmeListed, robotListed, action]))).report?.organisation).toBe(acme.did);
    expect(robot.organisation).toBe(acme);
  });

  test('do not make the entries of one log good in another', async () => {
    const error = await refused(logOf(audit600.slice(0, 4), ownLog('beta')));
    expect(error).toMatchObject({ code: 'not_entitled', data: { index: 0, is: log.vkey.name } });
    const next = ownLog('acme', 1);
    expect(await refused(logOf(audit600.slice(0, 4), next))).toMatchObject({
      code: 'not_entitled',
      data: { index: 0 },
    });
    const beta = createOrganisation('beta');
    const bound = createBinding(beta, { log }).envelope;
    expect(await refused(logOf(auditEntries(4, { binding: bound })))).toMatchObject({ code: 'not_entitled' });
    const stranger = createBinding(acme, { signer: beta.keys.sign }).envelope;
    expect(await refused(logOf(auditEntries(4, { binding: stranger })))).toMatchObject({
      code: 'key_unknown',
      data: { index: 0, key: beta.keys.sign.text },
    });
    expect(await refused(logOf(auditEntries(3, { openedBy: beta.keys.sign })))).toMatchObject({
      code: 'key_unknown',
      data: { index: 0, key: beta.keys.sign.text },
    });
    const { envelope } = createBinding(acme);
    const spoilt = flipped(envelope, envelope.length - 1);
    expect(await refused(logOf(auditEntries(4, { binding: spoilt })))).toMatchObject({
      code: 'bad_signature',
      data: { index: 0 },
    });
  });
});

describe('whose log it is', () => {
  const files = logOf(opaqueEntries(3));
  const foreign = logSigner('example.org/log');
  const foreignFiles = logOf(opaqueEntries(3), foreign, []);
  const nobody = { ...opaque, policy: undefined } as unknown as Partial<VerifyLogOptions>;
  const policyOf = (...logs: Signer[]): Policy =>
    parsePolicy(bytesOf(`${logs.map(({ vkey }) => `log ${formatVkey(vkey)}\n`).join('')}quorum none\n`));

  test('an AgentMesh origin says by itself', async () => {
    expect((await check(files, nobody)).report?.log).toEqual(log.vkey);
    expect((await check(files, { ...opaque, vkey: log.vkey })).report?.log).toEqual(log.vkey);
    const forged: Signer = { key: ownLog('beta').key, vkey: { ...ownLog('beta').vkey, name: log.vkey.name } };
    expect(await refused(logOf(opaqueEntries(3), forged), { ...opaque, vkey: forged.vkey })).toMatchObject({
      code: 'not_signed',
    });
    expect(await refused(logOf(opaqueEntries(3), forged), opaque)).toMatchObject({ code: 'not_signed' });
  });

  test('must be one asked for', async () => {
    const beta = ownLog('beta');
    for (const options of [{ vkey: beta.vkey }, { vkey: foreign.vkey }, { policy: policyOf(beta, foreign) }])
      expect(await refused(files, { ...opaque, ...options })).toMatchObject({
        code: 'not_signed',
        data: { path: 'checkpoint' },
      });
    expect((await check(files, { ...opaque, policy: policyOf(beta, log) })).report?.log).toEqual(log.vkey);
  });

  test('another origin does not say', async () => {
    expect(await refused(foreignFiles, nobody)).toMatchObject({ code: 'not_signed' });
    expect((await check(foreignFiles, { ...nobody, vkey: foreign.vkey })).report?.log).toEqual(foreign.vkey);
    expect((await check(foreignFiles, { ...opaque, policy: policyOf(foreign) })).report?.log).toEqual(foreign.vkey);
    const impostor = logSigner('example.org/log', 'another key');
    expect(await refused(foreignFiles, { ...nobody, vkey: impostor.vkey })).toMatchObject({ code: 'not_signed' });
  });

  test('and how long ago it was cosigned can matter', async () => {
    const nowMs = 1_800_000_600_000;
    expect((await check(files, { ...opaque, freshness: { nowMs, ageSecondsMax: 600 } })).report).toBeDefined();
    expect(await refused(files, { ...opaque, freshness: { nowMs, ageSecondsMax: 599 } })).toMatchObject({
      code: 'quorum',
    });
  });
});

describe('an export', () => {
  test('lists the files of any size, without empty ones', () => {
    const paths = (n: number): string[] => [...listLogFiles(n)].map(({ path }) => path);
    expect(paths(0)).toEqual([]);
    expect(paths(1)).toEqual(['tile/entries/000.p/1', 'tile/0/000.p/1']);
    expect(paths(256)).toEqual(['tile/entries/000', 'tile/0/000', 'tile/1/000.p/1']);
    expect(paths(257)).toEqual([
      'tile/entries/000',
      'tile/entries/001.p/1',
      'tile/0/000',
      'tile/0/001.p/1',
      'tile/1/000.p/1',
    ]);
    expect(paths(65_536)).toHaveLength(256 + 256 + 1 + 1);
    expect(paths(70_000)).toHaveLength(274 + 274 + 2 + 1);
    expect(() => paths(-1)).toThrow('want an integer');
    expect(listLogFiles(2 ** 53 - 1).next().value).toMatchObject({ path: 'tile/entries/000' });
  });

  test('is read for proofs, also through full files in place of partial ones', async () => {
    const larger = filesOf(opaqueEntries(512)).set(
      'tile/1/000.p/1',
      fileIn(filesOf(opaqueEntries(256)), 'tile/1/000.p/1'),
    );
    const reader = tileReaderOf({ read: async (path) => larger.get(path) });
    const hashes = opaqueEntries(300).map(leafHash);
    expect(await rootFromTiles(300, reader)).toEqual(rootOfHashes(hashes));
    const bundle = await reader.tile({ level: 'entries', index: 1, width: 44 });
    expect(parseBundle(bundle ?? new Uint8Array(), 44)).toEqual(opaqueEntries(300).slice(256));
    expect(await reader.tile({ level: 0, index: 2, width: 1 })).toBeUndefined();
    const wrong = tileReaderOf({ read: async () => formatTile(hashes.slice(0, 3)) });
    await expect(wrong.tile({ level: 0, index: 0, width: 4 })).rejects.toMatchObject({
      data: { path: 'tile/0/000.p/4' },
    });
    const cut = tileReaderOf({ read: async (path) => (path.endsWith('/000') ? bytesOf('x') : undefined) });
    await expect(cut.tile({ level: 'entries', index: 0, width: 4 })).rejects.toMatchObject({
      code: 'malformed',
      data: { path: 'tile/entries/000' },
    });
  });
});

describe('verifyEntryProof()', () => {
  const files = log600;
  const reader = tileReaderOf({ read: async (path) => files.get(path) });
  const signed = parseCheckpoint(fileIn(files, 'checkpoint'));
  const ours = { ...policy, logs: [{ vkey: log.vkey }] };
  const entry = audit600[471] as Uint8Array;
  const proof = async (leafIndex = 471): Promise<Uint8Array> =>
    formatProofFile({ leafIndex, hashes: await proveInclusion(leafIndex, 600, reader), signed });

  test('takes an entry with its proof, and says what it is about', async () => {
    const verified = verifyEntryProof(await proof(), entry, ours, isSignatureValidSodium);
    expect(verified).toMatchObject({ leafIndex: 471, checkpoint: signed.checkpoint, log: log.vkey });
    expect(verified.entry.bytes).toEqual(entry);
    expect(verified.cosignatures).toHaveLength(3);
  });

  test('refuses another entry, another place, another log, too few witnesses and old cosignatures', async () => {
    const right = await proof();
    const run = (...args: Parameters<typeof verifyEntryProof>): ErrorCode | 'accepted' => {
      try {
        verifyEntryProof(...args);
        return 'accepted';
      } catch (error) {
        if (isMeshError(error)) return error.code;
        throw error;
      }
    };
    const valid = isSignatureValidSodium;
    expect(run(right, audit600[472] as Uint8Array, ours, valid)).toBe('bad_proof');
    expect(run(await proof(470), entry, ours, valid)).toBe('bad_proof');
    expect(run(right, entry, { ...policy, logs: [{ vkey: ownLog('beta').vkey }] }, valid)).toBe('not_signed');
    expect(run(right.slice(0, -150), entry, ours, valid)).not.toBe('accepted');
    const freshness = { nowMs: 1_800_000_600_000, ageSecondsMax: 599 };
    expect(run(right, entry, ours, valid, freshness)).toBe('quorum');
    expect(run(right, entry, ours, () => false)).toBe('bad_signature');
    const forged = bytesOf(textOf(entry).replace('"n":"471"', '"n":"472"'));
    const other = logOf(audit600.map((each, i) => (i === 471 ? forged : each)));
    const forgedProof = formatProofFile({
      leafIndex: 471,
      hashes: await proveInclusion(471, 600, tileReaderOf({ read: async (path) => other.get(path) })),
      signed: parseCheckpoint(fileIn(other, 'checkpoint')),
    });
    expect(run(forgedProof, forged, ours, valid)).toBe('bad_signature');
  });
});

describeWithShared('vectors/tlog/tessera-log-15', 'a log of Tessera', (folder) => {
  const read = (path: string): Uint8Array | undefined => {
    try {
      return Uint8Array.from(readFileSync(join(folder, path)));
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
      throw error;
    }
  };
  const vkey = parseVkey(textOf(read('vkey') ?? new Uint8Array()).trim());
  const sizes = [1, 2, 3, 4, 5, 6, 7, 8, 15];
  const filesAt = (size: number, change: (path: string) => Uint8Array | undefined = read) => ({
    read: async (path: string) => change(path === 'checkpoint' ? `checkpoint.${size}` : path),
  });
  const options = { isSignatureValid: isSignatureValidSodium, vkey, entries: 'opaque' } as const;

  test.each([0, ...sizes])('of size %d is good from its files alone', async (size) => {
    const known = [1, 2, 3, 4, 5, 6, 7, 8, 15]
      .filter((each) => each <= size)
      .map((each) => parseCheckpoint(read(`checkpoint.${each}`) as Uint8Array).checkpoint);
    const report = await verifyLog(filesAt(size), { ...options, known });
    expect(report).toMatchObject({ entries: size, known: known.length, tiles: Math.min(size, 1) });
  });

  test('with any byte changed is not', async () => {
    for (const path of ['checkpoint.15', 'tile/0/000.p/15', 'tile/entries/000.p/15']) {
      const bytes = read(path) ?? new Uint8Array();
      for (let at = 0; at < bytes.length; at++) {
        const changed = flipped(bytes, at);
        const files = filesAt(15, (asked) => (asked === path ? changed : read(asked)));
        await expect(verifyLog(files, options), `byte ${at} of ${path}`).rejects.toMatchObject({
          data: { path: path.replace(/^checkpoint.15$/, 'checkpoint') },
        });
      }
    }
  });
});
