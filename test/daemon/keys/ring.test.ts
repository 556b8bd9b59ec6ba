import { spawnSync } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readdir, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { format, inspect } from 'node:util';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readKeyFile } from '../../../daemon/keys/key-file.ts';
import { Passphrase } from '../../../daemon/keys/passphrase.ts';
import { type KeyRing, openKeyRing } from '../../../daemon/keys/ring.ts';
import { isMultikey, MeshError, multikeyText, rawKeyOf, toHex } from '../../../protocol/index.ts';
import { isSignatureValidSodium } from '../../../protocol/sodium.ts';
import { Lines, openQuick, QUICK, spellings, testRandom } from './fixtures.ts';

let root: string;
let directory: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'agentmesh-keys-'));
  directory = join(root, 'keys');
});
afterEach(async () => {
  await rm(root, { recursive: true, force: true });
});

const right = new Passphrase('correct horse battery staple');
const wrong = new Passphrase('correct horse battery stapler');
const NAMES = [
  'organisation',
  'node',
  'rotation-1',
  `agent/did:mesh:bafyrei${'a'.repeat(52)}`,
  'credential/z6MkAbC',
  'Node',
  '..',
  '.',
  'a%2fb',
  'a/b',
];
const MODES = [
  ['without a passphrase', undefined],
  ['with a passphrase', right],
] as const;

async function filled(
  passphrase?: Passphrase,
  names: readonly string[] = NAMES,
): Promise<{ ring: KeyRing; seeds: Map<string, Uint8Array> }> {
  const ring = await openQuick({ directory, passphrase });
  for (const name of names) await ring.create(name);
  return { ring, seeds: new Map(names.map((name) => [name, ring.exportSeed(name)])) };
}

const pathOf = async (start: string): Promise<string> => {
  const found = (await readdir(directory)).filter((name) => name.startsWith(start));
  expect(found).toHaveLength(1);
  return join(directory, found[0] ?? '');
};

describe.each(MODES)('a key ring %s', (_mode, passphrase) => {
  it('signs with the key that it names, and has the same keys when it is opened again', async () => {
    const { ring, seeds } = await filled(passphrase);
    const publicKeys = NAMES.map((name) => ring.publicKey(name));
    expect(new Set(publicKeys.map(toHex)).size).toBe(NAMES.length);
    await ring.close();

    await using again = await openQuick({ directory, passphrase, random: testRandom(7) });
    expect(again.isEncrypted).toBe(passphrase !== undefined);
    expect(again.names()).toEqual(NAMES.toSorted());
    const message = Buffer.from('statement');
    for (const [i, name] of NAMES.entries()) {
      const signer = again.signer(name);
      expect(isMultikey(signer.publicKey)).toBe(true);
      expect(signer.publicKey).toStrictEqual(publicKeys[i]);
      expect(isSignatureValidSodium(signer.sign(message), message, rawKeyOf(signer.publicKey))).toBe(true);
      expect(again.exportSeed(name)).toStrictEqual(seeds.get(name));
    }
  });

  it('keeps files and directory closed to others, and leaves no temporary file', async () => {
    const { ring } = await filled(passphrase);
    await ring.close();
    expect((await stat(directory)).mode & 0o777).toBe(0o700);
    const files = await readdir(directory);
    expect(files).toHaveLength(NAMES.length + 1);
    for (const file of files) {
      expect(file).toMatch(/^(?:ring\.json|[a-z0-9_%-]+\.(?:key|sealed))$/);
      expect((await stat(join(directory, file))).mode & 0o777).toBe(0o600);
    }
  });

  it('refuses a second key of one name, at once or later, and keeps the first', async () => {
    await using ring = await openQuick({ directory, passphrase });
    const [first, second] = await Promise.allSettled([ring.create('node'), ring.create('node')]);
    expect([first.status, second.status]).toEqual(['fulfilled', 'rejected']);
    const key = toHex(ring.publicKey('node'));
    await expect(ring.create('node')).rejects.toMatchObject({ code: 'conflict' });
    await expect(ring.import('node', new Uint8Array(32).fill(9))).rejects.toMatchObject({ code: 'conflict' });
    expect(toHex(ring.publicKey('node'))).toBe(key);
  });

  it('imports the key of a seed', async () => {
    await using ring = await openQuick({ directory, passphrase });
    const signer = await ring.import('node', new Uint8Array(32).fill(1));
    expect(multikeyText(signer.publicKey)).toBe('z6Mkon3Necd6NkkyfoGoHxid2znGc59LU3K7mubaRcFbLfLX');
    await expect(ring.import('short', new Uint8Array(31))).rejects.toMatchObject({ code: 'malformed' });
    expect(ring.names()).toEqual(['node']);
  });

  it('answers key_missing for a key that it does not hold', async () => {
    const { ring } = await filled(passphrase, ['node']);
    for (const use of [() => ring.signer('other'), () => ring.publicKey('other'), () => ring.exportSeed('other')]) {
      expect(use).toThrow(expect.objectContaining({ code: 'key_missing', data: { key: 'other' } }));
    }
    await expect(ring.remove('other')).rejects.toMatchObject({ code: 'key_missing' });
    expect([ring.has('node'), ring.has('other'), ring.has('__proto__')]).toEqual([true, false, false]);
    await ring.close();
  });

  it('ends the signers of a key that is removed, and its file', async () => {
    const { ring } = await filled(passphrase, ['node', 'organisation']);
    const signer = ring.signer('node');
    await ring.remove('node');
    expect(ring.has('node')).toBe(false);
    expect(() => signer.sign(new Uint8Array(1))).toThrow(expect.objectContaining({ code: 'key_missing' }));
    await ring.create('node');
    expect(() => signer.sign(new Uint8Array(1))).toThrow(expect.objectContaining({ code: 'key_missing' }));
    await ring.remove('node');
    await ring.close();
    await using again = await openQuick({ directory, passphrase });
    expect(again.names()).toEqual(['organisation']);
  });

  it('ends all signers when closed', async () => {
    const { ring } = await filled(passphrase, ['node']);
    const signer = ring.signer('node');
    await ring.close();
    await ring.close();
    expect(() => signer.sign(new Uint8Array(1))).toThrow(expect.objectContaining({ code: 'key_missing' }));
    expect(() => ring.signer('node')).toThrow(expect.objectContaining({ code: 'key_missing' }));
    await expect(ring.create('other')).rejects.toMatchObject({ code: 'closed' });
  });

  it('shows no seed, however the ring, its signers, its errors or its logs are printed', async () => {
    const log = new Lines();
    const ring = await openQuick({ directory, passphrase, log });
    for (const name of NAMES) await ring.create(name);
    const signers = NAMES.map((name) => ring.signer(name));
    const errors: unknown[] = [];
    for (const attempt of [() => ring.create('node'), () => ring.create('a b'), async () => ring.signer('none')]) {
      await attempt().catch((cause: unknown) => errors.push(cause));
    }
    expect(errors).toHaveLength(3);
    const everything = [ring, signers, errors, passphrase].flatMap((value) => [
      inspect(value, { depth: 99, showHidden: true, getters: true, maxArrayLength: null, showProxy: true }),
      JSON.stringify(value) ?? '',
      Object.prototype.toString.call(value),
      format('%s %o %O %j', value, value, value, value),
      JSON.stringify(Object.getOwnPropertyDescriptors(value ?? {})),
    ]);
    const printed = [...everything, ...log.lines].join('\n');
    expect(printed).toContain(directory); // something was printed
    for (const name of NAMES) {
      for (const spelling of spellings(ring.exportSeed(name)))
        expect(printed.includes(spelling), `seed of ${name}`).toBe(false);
    }
    expect(printed).not.toContain('battery');
    await ring.close();
  });

  it('holds distinct files for distinct names, whatever their letters', async () => {
    const name = fc.string({ unit: fc.constantFrom(...'aA/.%2fF:-_~'), minLength: 1, maxLength: 6 });
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(name, { minLength: 2, maxLength: 5 }), async (names) => {
        await rm(directory, { recursive: true, force: true });
        const { ring } = await filled(passphrase, names);
        await ring.close();
        const files = (await readdir(directory)).filter((file) => file !== 'ring.json');
        expect(new Set(files.map((file) => file.toLowerCase())).size).toBe(names.length);
        await using again = await openQuick({ directory, passphrase });
        expect(again.names()).toEqual(names.toSorted());
      }),
      { numRuns: 20 },
    );
  });

  it.each(['', 'a b', 'é', 'a\n', 'x'.repeat(201), 'Z'.repeat(100)])('refuses the name %j', async (name) => {
    await using ring = await openQuick({ directory, passphrase });
    await expect(ring.create(name)).rejects.toMatchObject({ code: 'malformed' });
    expect(await readdir(directory)).toEqual(['ring.json']);
  });

  it.each(['640', '604', '620'])('refuses to open a key file of mode %s, and says what to run', async (mode) => {
    await (await filled(passphrase, ['node'])).ring.close();
    const path = await pathOf('node');
    await chmod(path, Number.parseInt(mode, 8));
    await expect(openQuick({ directory, passphrase })).rejects.toThrow(
      expect.objectContaining({ code: 'permissions', message: expect.stringContaining(`chmod 600 '${path}'`) }),
    );
    await chmod(path, 0o400);
    await (await openQuick({ directory, passphrase })).close();
  });

  it('refuses a directory that others may enter', async () => {
    await mkdir(directory, { mode: 0o755 });
    await expect(openQuick({ directory, passphrase })).rejects.toMatchObject({ code: 'permissions' });
    expect(await readdir(directory)).toEqual([]);
  });

  it('refuses a key file that is a symbolic link', async () => {
    await (await filled(passphrase, ['node'])).ring.close();
    const path = await pathOf('node');
    await rename(path, join(root, 'elsewhere'));
    await symlink(join(root, 'elsewhere'), path);
    await expect(openQuick({ directory, passphrase })).rejects.toMatchObject({ code: 'permissions' });
  });

  it('refuses a file of another key or name', async () => {
    await (await filled(passphrase, ['node', 'other'])).ring.close();
    const [node, other] = [await pathOf('node'), await pathOf('other')];
    const text = await readFile(node, 'utf8');

    await writeFile(other, text); // another name
    await expect(openQuick({ directory, passphrase })).rejects.toMatchObject({ code: 'key_damaged' });

    await writeFile(other, text.replace('"node"', '"other"')); // a name that was not sealed, or a public key not its own
    const opened = openQuick({ directory, passphrase });
    if (passphrase === undefined) await (await opened).close();
    else await expect(opened).rejects.toMatchObject({ code: 'key_damaged' });
  });

  it("refuses a public key that is not the private key's", async () => {
    const { ring } = await filled(passphrase, ['node', 'other']);
    const [from, to] = ['node', 'other'].map((name) => multikeyText(ring.publicKey(name)));
    await ring.close();
    const path = await pathOf('node');
    await writeFile(path, (await readFile(path, 'utf8')).replace(from ?? '', to ?? ''));
    await expect(openQuick({ directory, passphrase })).rejects.toMatchObject({ code: 'key_damaged' });
  });

  it('answers a coded error, without the seed, for every changed byte of a key file', async () => {
    const { ring, seeds } = await filled(passphrase, ['node']);
    await ring.close();
    const path = await pathOf('node');
    const text = await readFile(path);
    const seed = spellings(seeds.get('node') ?? new Uint8Array());
    let refused = 0;
    for (let at = 0; at < text.length; at++) {
      const changed = Buffer.from(text);
      changed[at] = (changed[at] ?? 0) ^ 1;
      await writeFile(path, changed);
      try {
        await (await openQuick({ directory, passphrase })).close();
      } catch (cause) {
        if (!(cause instanceof MeshError)) throw cause;
        expect(cause.code, `byte ${at}`).toBe('key_damaged');
        const printed = inspect(cause, { depth: 9 });
        for (const spelling of seed) expect(printed.includes(spelling), `byte ${at}`).toBe(false);
        refused++;
      }
    }
    expect(refused).toBeGreaterThanOrEqual(text.length - 15); // white space between fields carries no meaning
  });

  it('opens after leftovers of a write that was interrupted', async () => {
    await (await filled(passphrase, ['node'])).ring.close();
    await writeFile(join(directory, '.other.key.0123456789abcdef.tmp'), 'half');
    await using again = await openQuick({ directory, passphrase });
    expect(again.names()).toEqual(['node']);
    expect(await readdir(directory)).toHaveLength(2);
  });
});

describe('an encrypted key ring', () => {
  it('holds no seed on disk', async () => {
    const { ring, seeds } = await filled(right);
    await ring.close();
    for (const file of await readdir(directory)) {
      const text = await readFile(join(directory, file), 'utf8');
      for (const seed of seeds.values())
        for (const spelling of spellings(seed)) expect(text.includes(spelling), file).toBe(false);
    }
  });

  it('answers key_locked to a wrong passphrase or none, also while it is empty', async () => {
    await (await openQuick({ directory, passphrase: right })).close();
    for (const passphrase of [wrong, undefined]) {
      await expect(openQuick({ directory, passphrase })).rejects.toMatchObject({ code: 'key_locked' });
    }
    await (await filled(right)).ring.close();
    for (const passphrase of [wrong, undefined]) {
      await expect(openQuick({ directory, passphrase })).rejects.toMatchObject({ code: 'key_locked' });
    }
  });

  it('takes a passphrase that is composed of other code points for the same letters', async () => {
    await (await openQuick({ directory, passphrase: new Passphrase('caf\u00e9') })).close();
    await (await openQuick({ directory, passphrase: new Passphrase('cafe\u0301') })).close();
  });

  it('refuses a key of another ring, and an unencrypted one', async () => {
    await (await filled(right, ['node'])).ring.close();
    const elsewhere = join(root, 'elsewhere');
    const plain = await openQuick({ directory: join(root, 'plain') });
    await plain.create('guest');
    await plain.close();
    const other = await openQuick({ directory: elsewhere, passphrase: right, random: testRandom(9) });
    await other.create('guest');
    await other.close();

    await writeFile(join(directory, 'guest.sealed'), await readFile(join(elsewhere, 'guest.sealed')), { mode: 0o600 });
    await expect(openQuick({ directory, passphrase: right })).rejects.toMatchObject({ code: 'key_damaged' });
    await writeFile(join(directory, 'guest.sealed'), await readFile(join(root, 'plain', 'guest.key')), { mode: 0o600 });
    await expect(openQuick({ directory, passphrase: right })).rejects.toMatchObject({ code: 'key_damaged' });
    await rename(join(directory, 'guest.sealed'), join(directory, 'guest.key'));
    await expect(openQuick({ directory, passphrase: right })).rejects.toMatchObject({ code: 'key_damaged' });
  });

  it('is not taken for an empty one when ring.json is lost', async () => {
    await (await filled(right, ['node'])).ring.close();
    await rm(join(directory, 'ring.json'));
    await expect(openQuick({ directory, passphrase: right })).rejects.toMatchObject({ code: 'key_damaged' });
    await expect(openQuick({ directory })).rejects.toMatchObject({ code: 'key_damaged' });
  });

  it('asks no more of the machine than the bound on scrypt, whatever its file says', async () => {
    await (await filled(right, ['node'])).ring.close();
    const path = join(directory, 'ring.json');
    const text = await readFile(path, 'utf8');
    for (const cost of ['1152921504606846976', '2097152', '3', '0', '-16', '"16"', '1.5']) {
      await writeFile(path, text.replace(`"N": ${QUICK}`, `"N": ${cost}`));
      await expect(openQuick({ directory, passphrase: right }), cost).rejects.toMatchObject({ code: 'key_damaged' });
    }
    await writeFile(path, text.replace(`"N": ${QUICK}`, '"N": 8')); // weaker: gives another key, so nothing opens
    await expect(openQuick({ directory, passphrase: right })).rejects.toMatchObject({ code: 'key_locked' });
  });

  it('uses scrypt with N = 2^17 unless told otherwise, once for any number of keys', async () => {
    const counting = new CountingPassphrase('staple');
    const options = { directory, passphrase: counting, random: testRandom(), log: new Lines() };
    const ring = await openKeyRing(options);
    for (let i = 0; i < 20; i++) await ring.create(`agent-${i}`);
    await ring.close();
    expect(JSON.parse(await readFile(join(directory, 'ring.json'), 'utf8')).kdf).toMatchObject({
      name: 'scrypt',
      N: 131_072,
      r: 8,
      p: 1,
    });
    await (await openKeyRing(options)).close();
    expect(counting.costs).toEqual([131_072, 131_072]);
  });
});

class CountingPassphrase extends Passphrase {
  readonly costs: number[] = [];
  override deriveKey(salt: Uint8Array, cost: number) {
    this.costs.push(cost);
    return super.deriveKey(salt, cost);
  }
}

describe('an unencrypted key ring', () => {
  it('warns at every opening, and an encrypted one does not', async () => {
    for (let i = 0; i < 2; i++) {
      const log = new Lines();
      await (await openQuick({ directory, log })).close();
      expect(log.lines.filter((line) => /^warn .*UNENCRYPTED/.test(line))).toHaveLength(1);
    }
    const log = new Lines();
    await (await openQuick({ directory: join(root, 'sealed'), passphrase: right, log })).close();
    expect(log.lines).toEqual([]);
  });

  it('is encrypted by the first opening with a passphrase, says so, and stays so', async () => {
    const { ring, seeds } = await filled();
    await ring.close();
    const log = new Lines();
    const sealed = await openQuick({ directory, passphrase: right, log });
    expect(sealed.isEncrypted).toBe(true);
    for (const name of NAMES) expect(sealed.exportSeed(name)).toStrictEqual(seeds.get(name));
    await sealed.close();
    expect(log.lines.filter((line) => /^warn .*are encrypted now/.test(line))).toHaveLength(1);
    expect((await readdir(directory)).filter((name) => name.endsWith('.key'))).toEqual([]);
    await expect(openQuick({ directory })).rejects.toMatchObject({ code: 'key_locked' });
    await expect(openQuick({ directory, passphrase: wrong })).rejects.toMatchObject({ code: 'key_locked' });
    await (await openQuick({ directory, passphrase: right })).close();
  });

  it('stays as it was when encrypting it fails before its last write, wherever', async () => {
    const { ring, seeds } = await filled(undefined, ['node', 'organisation']);
    await ring.close();
    const draws = 4; // salt, a nonce for each key, the nonce of ring.json: each just before something is written
    for (let failing = 1; failing <= draws + 1; failing++) {
      let drawn = 0;
      const random = testRandom(failing);
      const bytes = (count: number) => {
        if (++drawn === failing) throw new Error('stopped');
        return random.bytes(count);
      };
      const opening = openQuick({ directory, passphrase: right, random: { ...random, bytes } });
      if (failing > draws) {
        await (await opening).close();
        await expect(openQuick({ directory })).rejects.toMatchObject({ code: 'key_locked' });
      } else {
        await expect(opening).rejects.toThrow('stopped');
        const still = await openQuick({ directory });
        for (const [name, seed] of seeds) expect(still.exportSeed(name), `draw ${failing}`).toStrictEqual(seed);
        await still.close();
      }
    }
  });

  it('keeps every key when encrypting it is stopped at any write', async () => {
    const { ring, seeds } = await filled(undefined, ['node', 'organisation']);
    await ring.close();
    const before = await contentOf(directory);
    await (await openQuick({ directory, passphrase: right })).close();
    const after = await contentOf(directory);
    const textOf = (content: ReadonlyMap<string, string>, name: string) =>
      [name, content.get(name) ?? 'missing'] as const;
    const stops: [string, Map<string, string>, 'plain' | 'sealed'][] = [
      ['after the first encrypted file', new Map([...before, textOf(after, 'node.sealed')]), 'plain'],
      [
        'after all encrypted files',
        new Map([...before, textOf(after, 'node.sealed'), textOf(after, 'organisation.sealed')]),
        'plain',
      ],
      ['after ring.json', new Map([...before, ...after]), 'sealed'],
      ['after the first removal', new Map([...after, textOf(before, 'organisation.key')]), 'sealed'],
    ];
    for (const [when, content, state] of stops) {
      await restore(directory, content);
      if (state === 'sealed')
        await expect(openQuick({ directory }), when).rejects.toMatchObject({ code: 'key_locked' });
      else {
        const still = await openQuick({ directory });
        expect(still.names(), when).toEqual(['node', 'organisation']);
        await still.close();
        await restore(directory, content);
      }
      const sealed = await openQuick({ directory, passphrase: right, random: testRandom(11) });
      for (const [name, seed] of seeds) expect(sealed.exportSeed(name), when).toStrictEqual(seed);
      await sealed.close();
      expect((await readdir(directory)).toSorted(), when).toEqual(['node.sealed', 'organisation.sealed', 'ring.json']);
    }
  });

  it('refuses an encrypted key that it never had', async () => {
    await (await filled(undefined, ['node'])).ring.close();
    await writeFile(join(directory, 'guest.sealed'), '{}', { mode: 0o600 });
    await expect(openQuick({ directory })).rejects.toMatchObject({ code: 'key_damaged' });
    expect(await readdir(directory)).toContain('guest.sealed');
  });
});

async function contentOf(folder: string): Promise<Map<string, string>> {
  return new Map(
    await Promise.all(
      (await readdir(folder)).map(async (name) => [name, await readFile(join(folder, name), 'utf8')] as const),
    ),
  );
}

async function restore(folder: string, content: ReadonlyMap<string, string>): Promise<void> {
  await rm(folder, { recursive: true });
  await mkdir(folder, { mode: 0o700 });
  for (const [name, text] of content) await writeFile(join(folder, name), text, { mode: 0o600 });
}

describe('readKeyFile()', () => {
  it('reads a key file that was taken elsewhere, encrypted or not', async () => {
    for (const [, passphrase] of MODES) {
      const { ring, seeds } = await filled(passphrase, ['recovery-1']);
      const publicKey = ring.publicKey('recovery-1');
      const carried = join(root, 'carried');
      await rename(await pathOf('recovery-1'), carried);
      await ring.close();
      expect(await readKeyFile(carried, passphrase)).toStrictEqual({
        name: 'recovery-1',
        publicKey,
        seed: seeds.get('recovery-1'),
      });
      if (passphrase !== undefined) {
        await expect(readKeyFile(carried)).rejects.toMatchObject({ code: 'key_locked' });
        await expect(readKeyFile(carried, wrong)).rejects.toMatchObject({ code: 'key_locked' });
      }
      await chmod(carried, 0o644);
      await expect(readKeyFile(carried, passphrase)).rejects.toMatchObject({ code: 'permissions' });
      await rm(directory, { recursive: true });
    }
    await expect(readKeyFile(join(root, 'none'))).rejects.toMatchObject({ code: 'key_missing' });
  });
});

describe('a process that prints a key ring', () => {
  it('has no seed in what console.log and an uncaught error show', async () => {
    const { ring, seeds } = await filled(undefined, ['node']);
    await ring.close();
    const modules = join(import.meta.dirname, '../../../daemon');
    const script = `
      import { openKeyRing } from ${JSON.stringify(join(modules, 'keys/ring.ts'))};
      const log = { debug() {}, info() {}, warn: (...all) => console.error(...all), error() {} };
      const ring = await openKeyRing({ directory: process.argv[1], random: {}, log });
      const signer = ring.signer('node');
      console.log(ring, signer, [signer], { ring });
      throw Object.assign(new Error('with its ring'), { ring, signer });`;
    const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script, '--', directory], {
      encoding: 'utf8',
    });
    expect(stdout).toContain('RingSigner');
    expect(stderr).toContain('with its ring');
    for (const spelling of spellings(seeds.get('node') ?? new Uint8Array()))
      expect((stdout + stderr).includes(spelling)).toBe(false);
  });
});
